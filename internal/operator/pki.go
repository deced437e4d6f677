package operator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/attestd/attestd"
)

// ServerName is a name in every server certificate. Clients can ask for it (SNI) whatever address they
// dial: the CA is of one attestd alone, so the name need not tell several apart.
const ServerName = "attestd"

const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 30 * 24 * time.Hour
	// backdate is what certificates begin before their time, for clients whose clock is behind.
	backdate = 5 * time.Minute
)

// Files of the PKI within its folder.
const (
	caKeyFile  = "ca.key"
	caCertFile = "ca.pem"
)

// PKI is attestd's own: one CA that signs certificates of this server and of its operators, and
// nothing else. It is no part of any workload's trust.
type PKI struct {
	now   func() time.Time
	names names
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool

	mu     sync.Mutex
	server *tls.Certificate
}

// names are those that clients may know the server by.
type names struct {
	dns []string
	ips []net.IP
}

// namesOf sorts names into DNS names and addresses and adds those that every server has.
func namesOf(given []string) names {
	out := names{
		dns: []string{ServerName, "localhost"}, ips: []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback},
	}
	for _, name := range given {
		if ip := net.ParseIP(name); ip != nil {
			out.ips = append(out.ips, ip)
		} else {
			out.dns = append(out.dns, name)
		}
	}
	return out
}

// asked refuses a client that asks for another server. The name is compared as it stands: one with a
// dot at its end is another. A client that dials an address cannot send a name (RFC 6066 section 3:
// "Literal IPv4 and IPv6 addresses are not permitted"), so none is taken where the address that the
// connection came to is one of ours.
func (n names) asked(hello *tls.ClientHelloInfo) error {
	if slices.Contains(n.dns, hello.ServerName) {
		return nil
	}
	if hello.ServerName == "" && hello.Conn != nil {
		if local, ok := hello.Conn.LocalAddr().(*net.TCPAddr); ok &&
			slices.ContainsFunc(n.ips, local.IP.Equal) {
			return nil
		}
	}
	return errors.New("the client asks for another server name")
}

// Certificate is one that was given to an operator.
type Certificate struct {
	// DER is the certificate, CA the one that signed it.
	DER, CA  []byte
	Name     string
	Serial   string
	NotAfter time.Time
}

// OpenPKI returns the PKI of the folder, which it makes where there is none. The CA's key is made
// once and never replaced: operators have pinned it. Names are DNS names and addresses that the server
// is reached by, beside [ServerName] and localhost.
//
// Errors: a [*attestd.CallerError] of class CONFIG where key and certificate do not fit, are readable
// by others, or have ended.
func OpenPKI(folder string, names []string, now func() time.Time) (*PKI, error) {
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make folder of the PKI: %w", err)
	}
	key, err := openKey(filepath.Join(folder, caKeyFile))
	if err != nil {
		return nil, err
	}
	ca, err := openCA(filepath.Join(folder, caCertFile), key, now())
	if err != nil {
		return nil, err
	}
	p := &PKI{now: now, names: namesOf(names), ca: ca, key: key, roots: x509.NewCertPool()}
	p.roots.AddCert(ca)
	_, err = p.serverCertificate()
	return p, err
}

func openKey(path string) (*ecdsa.PrivateKey, error) {
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	err = createFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	content, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	parsed, err := decodeOne(content, "PRIVATE KEY", x509.ParsePKCS8PrivateKey)
	if err != nil {
		return nil, unfit(caKeyFile, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, unfit(caKeyFile, errors.New("not a P-256 key"))
	}
	return key, nil
}

func openCA(path string, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "attestd operators"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	err = createFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	content, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	ca, err := decodeOne(content, "CERTIFICATE", x509.ParseCertificate)
	switch {
	case err != nil:
		return nil, unfit(caCertFile, err)
	case !key.PublicKey.Equal(ca.PublicKey) || !ca.IsCA:
		return nil, unfit(caCertFile, errors.New("it is not a CA certificate of "+caKeyFile))
	case !now.Before(ca.NotAfter) || now.Before(ca.NotBefore):
		return nil, unfit(caCertFile, fmt.Errorf("it is in force from %s to %s",
			ca.NotBefore.Format(time.RFC3339), ca.NotAfter.Format(time.RFC3339)))
	}
	return ca, nil
}

func decodeOne[T any](content []byte, kind string, parse func([]byte) (T, error)) (parsed T, err error) {
	block, rest := pem.Decode(content)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) != 0 {
		return parsed, fmt.Errorf("not one PEM block of type %q", kind)
	}
	return parse(block.Bytes)
}

func unfit(file string, err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint: "restore the folder pki from a backup; or move it away, restart, and let every operator " +
			"log in anew",
		Err: fmt.Errorf("pki/%s: %w", file, err),
	}
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial, nil
}

// CA returns the CA's certificate in DER.
func (p *PKI) CA() []byte { return slices.Clone(p.ca.Raw) }

// Pin returns the SHA-256 of the CA's certificate in DER.
func (p *PKI) Pin() [32]byte { return sha256.Sum256(p.ca.Raw) }

// Ends returns when the CA and the present server certificate end.
func (p *PKI) Ends() (ca, server time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ca.NotAfter, p.server.Leaf.NotAfter
}

// ServerTLS returns the configuration of the admin listener: TLS 1.3 alone (which leaves no RSA key
// exchange and no renegotiation), no session tickets, and only for those who ask for this server. A
// client certificate is asked for and looked at with each request, by [Book.ByCertificate], not here:
// whoever logs in has none yet, and a refusal shall have a reason and an entry in the audit log.
func (p *PKI) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, Time: p.now,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequestClientCert, ClientCAs: p.roots,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := p.names.asked(hello); err != nil {
				return nil, err
			}
			return p.serverCertificate()
		},
	}
}

// serverCertificate returns the server's certificate, a new one once half its life is over. Its key is
// never written down.
func (p *PKI) serverCertificate() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.server != nil && p.server.Leaf.NotAfter.Sub(now) > serverLifetime/2 {
		return p.server, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make server key: %w", err)
	}
	leaf, err := p.sign(key.Public(), &x509.Certificate{
		Subject: pkix.Name{CommonName: ServerName}, DNSNames: p.names.dns, IPAddresses: p.names.ips,
		NotAfter: now.Add(serverLifetime), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, err
	}
	p.server = &tls.Certificate{Certificate: [][]byte{leaf.Raw, p.ca.Raw}, PrivateKey: key, Leaf: leaf}
	return p.server, nil
}

func (p *PKI) sign(public crypto.PublicKey, template *x509.Certificate) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.KeyUsage = serial, x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid, template.NotBefore = true, p.now().Add(-backdate)
	if template.NotAfter.After(p.ca.NotAfter) {
		template.NotAfter = p.ca.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.ca, public, p.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// issue signs a client certificate for the operator of the record.
func (p *PKI) issue(record Record, key crypto.PublicKey, end time.Time) (Certificate, error) {
	leaf, err := p.sign(key, &x509.Certificate{
		Subject: pkix.Name{CommonName: record.Name}, NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{
			Scheme: "attestd", Host: "operator",
			Path: "/" + record.Name + "/" + strconv.FormatUint(record.Version, 10),
		}},
	})
	if err != nil {
		return Certificate{}, err
	}
	return Certificate{
		DER: leaf.Raw, CA: p.CA(), Name: record.Name, Serial: leaf.SerialNumber.Text(16),
		NotAfter: leaf.NotAfter.UTC(),
	}, nil
}

// clientURI is the one form of the name in a client certificate.
var clientURI = regexp.MustCompile(`^attestd://operator/([a-z0-9][a-z0-9._@-]{0,63})/([1-9][0-9]{0,18})$`)

// client returns the operator and the version that a client certificate names.
//
// Errors: UNAUTHENTICATED, where it is not one of this PKI, is not in force now, is not for clients
// alone, or names anything but one operator.
func (p *PKI) client(leaf *x509.Certificate) (name string, version uint64, err error) {
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: p.roots, Intermediates: x509.NewCertPool(), CurrentTime: p.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "", 0, unknown("the client certificate is not in force, or not one that attestd gave to an operator")
	}
	clientOnly := len(leaf.ExtKeyUsage) == 1 && leaf.ExtKeyUsage[0] == x509.ExtKeyUsageClientAuth &&
		len(leaf.UnknownExtKeyUsage) == 0
	if leaf.IsCA || !clientOnly || len(leaf.URIs) != 1 || len(leaf.DNSNames) != 0 ||
		len(leaf.EmailAddresses) != 0 || len(leaf.IPAddresses) != 0 {
		return "", 0, unknown("the client certificate is not of the form of an operator's")
	}
	match := clientURI.FindStringSubmatch(leaf.URIs[0].String())
	if match == nil || leaf.Subject.CommonName != match[1] {
		return "", 0, unknown("the client certificate names no operator")
	}
	version, err = strconv.ParseUint(match[2], 10, 64)
	if err != nil {
		return "", 0, unknown("the client certificate names no operator")
	}
	return match[1], version, nil
}

// maxCSR bounds a PKCS #10 request.
const maxCSR = 8 << 10

// keyOf returns the key of a PKCS #10 request whose signature shows that the asker has it. Whatever
// else the request asks for is not looked at.
func keyOf(csr []byte) (crypto.PublicKey, error) {
	bad := &attestd.CallerError{
		Class: attestd.ClassMalformed,
		Hint:  "send a PKCS #10 request in DER over a P-256, P-384 or Ed25519 key",
	}
	if len(csr) > maxCSR {
		bad.Err = fmt.Errorf("the request has more than %d bytes", maxCSR)
		return nil, bad
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		bad.Err = errors.New("the request cannot be read")
		return nil, bad
	}
	switch key := request.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			bad.Err = errors.New("the request's key is on another curve")
			return nil, bad
		}
	default:
		bad.Err = errors.New("the request's key is of another kind")
		return nil, bad
	}
	if err := request.CheckSignature(); err != nil {
		bad.Err = errors.New("the request is not signed by its key")
		return nil, bad
	}
	return request.PublicKey, nil
}
