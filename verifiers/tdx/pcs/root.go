package pcs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // the root's bytes
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/certpath"
)

// RootSHA256 is the SHA-256 of Intel's SGX Root CA certificate, as Intel publishes it at
// https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer
const RootSHA256 = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"

// Names of Intel's certificates (Intel SGX PCK Certificate and CRL Profile Specification, revision 1.5,
// section 1.3).
const (
	NameRoot      = "Intel SGX Root CA"
	NameProcessor = "Intel SGX PCK Processor CA"
	NamePlatform  = "Intel SGX PCK Platform CA"
	NamePCK       = "Intel SGX PCK Certificate"
	NameSigner    = "Intel SGX TCB Signing"
)

//go:embed root.der
var rootDER []byte

// Root returns Intel's SGX Root CA, the one root of PCK certificates and of TCB information. Each call
// returns a certificate of its own. Its signature over itself is not looked at: its bytes are pinned.
//
// Errors: a *attestd.CallerError of class CONFIG where the embedded bytes are not the pinned ones.
func Root() (*x509.Certificate, error) {
	digest := sha256.Sum256(rootDER)
	root, err := x509.ParseCertificate(bytes.Clone(rootDER))
	if err == nil && hex.EncodeToString(digest[:]) != RootSHA256 {
		err = errors.New("its digest is not the pinned one")
	}
	if err != nil {
		return nil, &attestd.CallerError{Class: attestd.ClassConfig,
			Hint: "this program was built wrong: build it again",
			Err:  fmt.Errorf("embedded Intel SGX Root CA: %w", err)}
	}
	return root, nil
}

// CheckRoot demands the form of Intel's root and that the certificate signed itself: what a root that
// was loaded by hand must be. It makes one public-key verification.
//
// Errors: a plain error that says what it is not.
func CheckRoot(root *x509.Certificate) error {
	if err := checkForm(root, NameRoot, true); err != nil {
		return err
	}
	if length := certpath.Length(root); length == 0 {
		return errors.New("a root below which no CA may stand")
	}
	return checkIssued(root, root)
}

// CheckCA demands the form of one of the two CAs over PCKs and that root signed it. It makes one
// public-key verification.
//
// Errors: a plain error that says what it is not.
func CheckCA(ca, root *x509.Certificate) error {
	name := NamePlatform
	if ca.Subject.CommonName == NameProcessor {
		name = NameProcessor
	}
	if err := checkForm(ca, name, true); err != nil {
		return err
	}
	return checkIssued(ca, root)
}

// checkForm demands what all of Intel's certificates are.
func checkForm(cert *x509.Certificate, name string, ca bool) error {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	usage := x509.KeyUsageDigitalSignature
	if ca {
		usage = x509.KeyUsageCertSign
	}
	switch {
	case cert.Subject.CommonName != name:
		return fmt.Errorf("a certificate of %q, want %q", attestd.Excerpt(cert.Subject.CommonName, 40), name)
	case !ok || key.Curve != elliptic.P256():
		return errors.New("its key is not ECDSA on P-256")
	case cert.SignatureAlgorithm != x509.ECDSAWithSHA256:
		return fmt.Errorf("signed with %s, want ECDSA-SHA256", cert.SignatureAlgorithm)
	case !cert.BasicConstraintsValid || cert.IsCA != ca:
		return fmt.Errorf("a certificate authority: %t, want %t", cert.IsCA, ca)
	case cert.KeyUsage&usage == 0:
		return errors.New("its key usage does not allow what it is used for")
	case len(cert.UnhandledCriticalExtensions) != 0:
		return fmt.Errorf("unknown critical extension %v", cert.UnhandledCriticalExtensions[0])
	case !certpath.WholeBytes(cert):
		return errors.New("its signature is not whole bytes")
	default:
		return nil
	}
}

// checkIssued demands that issuer's name and key stand over the certificate.
func checkIssued(cert, issuer *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("issued by %q", attestd.Excerpt(cert.Issuer.CommonName, 40))
	}
	err := issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	if err != nil {
		return fmt.Errorf("%s did not sign it", issuer.Subject.CommonName)
	}
	return nil
}

// Signer is the key that signs TCB information and identities, certified by a root. There is no other
// way to make one than [NewSigner].
type Signer struct {
	cert *x509.Certificate
	key  *ecdsa.PublicKey
}

// NewSigner returns the signer whose certificate root issued. It makes one public-key verification and
// does not look at times and revocation.
//
// Errors: a plain error where the certificate is not of that form, or root did not issue it.
func NewSigner(cert, root *x509.Certificate) (*Signer, error) {
	if err := checkForm(cert, NameSigner, false); err != nil {
		return nil, err
	}
	if err := checkIssued(cert, root); err != nil {
		return nil, err
	}
	key, _ := cert.PublicKey.(*ecdsa.PublicKey)
	return &Signer{cert: cert, key: key}, nil
}

// Certificate returns the signer's certificate, which must not be written to.
func (s *Signer) Certificate() *x509.Certificate { return s.cert }
