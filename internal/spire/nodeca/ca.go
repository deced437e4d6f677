package nodeca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Files of the CA within the folder of attestd's own PKI.
const (
	KeyFile  = "node-ca.key"
	CertFile = "node-ca.pem"
)

const (
	caLifetime = 10 * 365 * 24 * time.Hour
	// backdate is what certificates begin before their time, for replicas whose clock is behind.
	backdate = 5 * time.Minute
	// MaxLifetime bounds a node's certificate: an agent_ttl, which is at most a day.
	MaxLifetime = 24 * time.Hour
)

// CA certifies keys of nodes. It is safe for concurrent use.
type CA struct {
	now   func() time.Time
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

// Open returns the CA of the folder, which it makes where there is none; the folder is made, too. The
// key is made once and never replaced.
//
// Errors: a [*attestd.CallerError] of class CONFIG where key and certificate do not fit, are readable
// by others, or are not in force.
func Open(folder string, now func() time.Time) (*CA, error) {
	if now == nil {
		return nil, errors.New("a CA of nodes needs a clock")
	}
	if err := makeFolder(folder); err != nil {
		return nil, err
	}
	key, err := openKey(filepath.Join(folder, KeyFile))
	if err != nil {
		return nil, err
	}
	cert, err := openCertificate(filepath.Join(folder, CertFile), key, now())
	if err != nil {
		return nil, err
	}
	ca := &CA{now: now, cert: cert, key: key, roots: x509.NewCertPool()}
	ca.roots.AddCert(cert)
	return ca, nil
}

// Certificate returns the CA's certificate in DER.
func (c *CA) Certificate() []byte { return slices.Clone(c.cert.Raw) }

// Pool returns what node certificates chain to, for a listener to name to its clients.
func (c *CA) Pool() *x509.CertPool { return c.roots.Clone() }

// Ends returns when the CA ends.
func (c *CA) Ends() time.Time { return c.cert.NotAfter }

// Issue certifies a key for the node with the id until notAfter, and returns the chain in DER, leaf
// first. The caller has verified that the node has the key.
//
// Errors: a [*attestd.CallerError] of class KEY_PROPERTIES or MALFORMED where key or id are not of a
// kind that [CA.Identify] accepts, or the time is past or too far off.
func (c *CA) Issue(spki []byte, id string, notAfter time.Time) ([][]byte, error) {
	public, err := parseKey(spki)
	if err != nil {
		return nil, err
	}
	if err := checkID(id); err != nil {
		return nil, err
	}
	uri, err := url.Parse(id)
	if err != nil || uri.String() != id {
		return nil, malformed("the id %q has another spelling", id)
	}
	now := c.now()
	if !now.Before(notAfter) || notAfter.Sub(now) > MaxLifetime {
		return nil, malformed("a certificate until %s, want one that ends within %s",
			notAfter.UTC().Format(time.RFC3339), MaxLifetime)
	}
	if notAfter.After(c.cert.NotAfter) {
		notAfter = c.cert.NotAfter
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: subjectName},
		NotBefore: now.Add(-backdate), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, URIs: []*url.URL{uri},
	}, c.cert, public, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of a node: %w", err)
	}
	return [][]byte{der, slices.Clone(c.cert.Raw)}, nil
}

// subjectName is the one common name of node certificates; the id is in the SAN alone.
const subjectName = "attestd node"

// Identify returns the id and the key (DER SubjectPublicKeyInfo) of the node at the other end of a TLS
// connection. It trusts nothing that TLS has found out but that the peer has the key of its
// certificate: the chain is looked at again, at this time and against this CA alone. Certificates
// beside the leaf are not looked at, so that none of them costs anything.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED.
func (c *CA) Identify(state *tls.ConnectionState) (id string, spki []byte, err error) {
	switch {
	case state == nil || !state.HandshakeComplete || len(state.PeerCertificates) == 0:
		return "", nil, unknown("no client certificate")
	case state.Version < tls.VersionTLS13:
		return "", nil, unknown("the connection is older than TLS 1.3")
	case state.DidResume:
		// A resumed session shows a certificate of some earlier time, and no proof of its key.
		return "", nil, unknown("the TLS session was resumed")
	}
	leaf := state.PeerCertificates[0]
	if _, err := parseKey(leaf.RawSubjectPublicKeyInfo); err != nil {
		return "", nil, unknown("the key of the client certificate is of another kind")
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: x509.NewCertPool(), CurrentTime: c.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "", nil, unknown("the client certificate is not in force, or not one that attestd gave to a node")
	}
	clientOnly := len(leaf.ExtKeyUsage) == 1 && leaf.ExtKeyUsage[0] == x509.ExtKeyUsageClientAuth &&
		len(leaf.UnknownExtKeyUsage) == 0
	if leaf.IsCA || !clientOnly || len(leaf.URIs) != 1 || len(leaf.DNSNames) != 0 ||
		len(leaf.EmailAddresses) != 0 || len(leaf.IPAddresses) != 0 || leaf.Subject.CommonName != subjectName {
		return "", nil, unknown("the client certificate is not of the form of a node's")
	}
	id = leaf.URIs[0].String()
	if err := checkID(id); err != nil {
		return "", nil, unknown("the client certificate names no node")
	}
	return id, slices.Clone(leaf.RawSubjectPublicKeyInfo), nil
}

// nodeID is the one form of a node's id (SPIFFE-ID, sections 2.1 to 2.3): below the part of the trust
// domain that SPIRE leaves to attestd's node attestor.
var nodeID = regexp.MustCompile(`^spiffe://[a-z0-9._-]{1,255}/spire/agent/attestd(?:/[A-Za-z0-9._-]+)+$`)

// maxID is what SPIFFE-ID section 2.3 allows.
const maxID = 2048

func checkID(id string) error {
	bad := len(id) > maxID || !nodeID.MatchString(id)
	for segment := range strings.SplitSeq(id, "/") {
		bad = bad || segment == "." || segment == ".."
	}
	if bad {
		return malformed("%q is not the id of a node that attestd attested", id)
	}
	return nil
}

// parseKey reads a key of a kind that nodes have: P-256, P-384, or RSA of 2048 to 4096 bits. What is
// longer costs more to verify than to send.
func parseKey(spki []byte) (any, error) {
	bad := &attestd.CallerError{
		Class: attestd.ClassKeyProperties, Hint: "let the agent's key manager make P-256 keys",
	}
	if len(spki) > maxSPKI {
		bad.Err = fmt.Errorf("the key has %d bytes, want at most %d", len(spki), maxSPKI)
		return nil, bad
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		bad.Err = errors.New("the key cannot be read")
		return nil, bad
	}
	if !keyOfANode(public) {
		bad.Err = errors.New("the key is not P-256, P-384 or RSA of 2048 to 4096 bits")
		return nil, bad
	}
	// A key is known by the digest of its encoding, so it must have one encoding alone.
	again, err := x509.MarshalPKIXPublicKey(public)
	if err != nil || !bytes.Equal(again, spki) {
		bad.Err = errors.New("the key has another encoding")
		return nil, bad
	}
	return public, nil
}

// maxSPKI is above what RSA of 4096 bits takes.
const maxSPKI = 1 << 10

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil // RFC 5280, section 4.1.2.2: "MUST be a positive integer"
}

func sameCurve(curve elliptic.Curve) bool {
	return curve == elliptic.P256() || curve == elliptic.P384()
}

func malformed(format string, id string, more ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: "this is a fault of whoever calls the CA",
		Err: fmt.Errorf(format, append([]any{attestd.Excerpt(id, 120)}, more...)...),
	}
}

// unknown says that no node was recognized.
func unknown(what string) error {
	return &attestd.CallerError{
		Class: attestd.ClassUnauthenticated,
		Hint:  "let the node attest again: its certificate comes with the last challenge",
		Err:   errors.New(what),
	}
}
