package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"

	"github.com/attestd/attestd/internal/spire/wire"
)

// Ways to say more in a certificate request than a key and a SPIFFE ID.

func dnsName(r *x509.CertificateRequest)   { r.DNSNames = []string{"bank.example.org"} }
func ipAddress(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} }
func named(r *x509.CertificateRequest)     { r.Subject.CommonName = "root" }

func authority(r *x509.CertificateRequest) {
	r.ExtraExtensions = []pkix.Extension{{
		Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff},
	}}
}

// names is a subjectAltName with the id and more.
func names(more ...asn1.RawValue) []byte {
	list := append([]asn1.RawValue{{Class: 2, Tag: 6, Bytes: []byte(signerID)}}, more...)
	der, err := asn1.Marshal(list)
	if err != nil {
		panic(err)
	}
	return der
}

// otherName has a name of a kind that crypto/x509 does not return.
func otherName(r *x509.CertificateRequest) {
	r.ExtraExtensions = []pkix.Extension{{
		Id:    asn1.ObjectIdentifier{2, 5, 29, 17},
		Value: names(asn1.RawValue{Class: 2, Tag: 8, Bytes: []byte{0x2a, 3}}), // registeredID
	}}
}

// critical is as a certificate without a subject has it.
func critical(r *x509.CertificateRequest) {
	r.URIs = nil
	r.ExtraExtensions = []pkix.Extension{{
		Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: names(),
	}}
}

// resign writes a certificate request anew around changed parts, signed by the key.
func resign(m *mint, change func(parts []asn1.RawValue) []asn1.RawValue, key crypto.Signer) []byte {
	m.Helper()
	var whole struct {
		Info, Algorithm asn1.RawValue
		Signature       asn1.BitString
	}
	_, err := asn1.Unmarshal(m.request(nil, signerID), &whole)
	m.must(err)
	var parts []asn1.RawValue
	_, err = asn1.Unmarshal(whole.Info.FullBytes, &parts)
	m.must(err)
	info, err := asn1.Marshal(change(parts))
	m.must(err)
	digest := sha256.Sum256(info)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	m.must(err)
	whole.Info = asn1.RawValue{FullBytes: info}
	whole.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err := asn1.Marshal(whole)
	m.must(err)
	return der
}

// resigned is a request over the enclave's key that another one signed.
func resigned(m *mint) []byte {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.must(err)
	return resign(m, func(parts []asn1.RawValue) []asn1.RawValue { return parts }, other)
}

// attributed has a challengePassword (RFC 2985, section 5.4.1) beside its extensions.
func attributed(m *mint) []byte {
	return resign(m, func(parts []asn1.RawValue) []asn1.RawValue {
		password, err := asn1.Marshal(struct {
			ID     asn1.ObjectIdentifier
			Values []string `asn1:"set"`
		}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}, []string{"x"}})
		m.must(err)
		parts[3] = asn1.RawValue{
			Class: 2, Tag: 0, IsCompound: true, Bytes: append(password, parts[3].Bytes...),
		}
		return parts
	}, m.key)
}

// modulus is a request over an RSA key of that size, which is never computed with.
func modulus(m *mint, bits uint, exponent int) func() object {
	return func() object {
		key, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{
			N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), bits-1), big.NewInt(1)), E: exponent,
		})
		m.must(err)
		return object{"csr": resign(m, func(parts []asn1.RawValue) []asn1.RawValue {
			parts[2] = asn1.RawValue{FullBytes: key}
			return parts
		}, m.key)}
	}
}

func curveKey(m *mint) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	m.must(err)
	return key
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pemTwice(m *mint) string {
	one := pemOf("CERTIFICATE REQUEST", m.request(nil, signerID))
	return one + one
}

func mintJWT(audience string) wire.MintJWT {
	return wire.MintJWT{ID: signerID, Audience: []string{audience}, TTLSeconds: 60}
}

func mintX509(csr []byte) wire.MintX509 { return wire.MintX509{CSR: csr, TTLSeconds: 60} }
