package awsdoc

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/certpath"
	"github.com/attestd/attestd/verifiers/internal/crl"
)

// rootG1 is the AWS Nitro Enclaves root certificate G1 in DER. NSM section 2.1 names the archive it is
// published in; the documentation page "Verifying the root of trust" (AWS Nitro Enclaves User Guide)
// prints its SHA-256 fingerprint, which is RootG1SHA256.
//
//go:embed AWS_NitroEnclaves_Root-G1.der
var rootG1 []byte

// RootG1SHA256 is the SHA-256 fingerprint of the pinned root.
const RootG1SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

// root is a trust anchor.
type root struct {
	der      []byte
	subject  []byte
	node     *node
	insecure bool
}

// ParsePinnedRoot returns the certificate in der if its SHA-256 is fingerprint.
//
// Errors: a [*attestd.CallerError] of class CONFIG. Whoever can swap the root can sign anything, so
// the bytes that were compiled in are compared at every start.
func ParsePinnedRoot(der []byte, fingerprint string) (*x509.Certificate, error) {
	digest := sha256.Sum256(der)
	if got := hex.EncodeToString(digest[:]); got != fingerprint {
		return nil, rootError(fmt.Errorf("root certificate has SHA-256 %s, want %s", got, fingerprint))
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, rootError(fmt.Errorf("root certificate: %w", err))
	}
	return certificate, nil
}

// newRoots returns the pinned root and, behind it, the ones that the configuration adds.
func newRoots(insecure []*x509.Certificate) ([]root, error) {
	pinned, err := ParsePinnedRoot(rootG1, RootG1SHA256)
	if err != nil {
		return nil, err
	}
	roots := make([]root, 0, 1+len(insecure))
	for index, certificate := range append([]*x509.Certificate{pinned}, insecure...) {
		if certificate == nil {
			return nil, rootError(errors.New("a configured root is nil"))
		}
		anchor, err := newRoot(certificate)
		if err != nil {
			return nil, rootError(err)
		}
		anchor.insecure = index > 0
		roots = append(roots, anchor)
	}
	return roots, nil
}

func newRoot(certificate *x509.Certificate) (root, error) {
	name := attestd.Excerpt(certificate.Subject.String(), 80)
	if !certificate.IsCA || !certificate.BasicConstraintsValid {
		return root{}, fmt.Errorf("root %q is not a CA certificate", name)
	}
	key, err := newKey(certificate.PublicKey)
	if err != nil {
		return root{}, fmt.Errorf("root %q: %w", name, err)
	}
	key.Precompute()
	own, err := x509.ParseCertificate(bytes.Clone(certificate.Raw))
	if err != nil {
		return root{}, fmt.Errorf("root %q: %w", name, err)
	}
	listed := listedOf(own)
	listed.issuer = crl.NewIssuer(own)
	return root{
		der:     bytes.Clone(certificate.Raw),
		subject: bytes.Clone(certificate.RawSubject),
		node: &node{
			digest:  sha256.Sum256(certificate.Raw),
			key:     key,
			subject: bytes.Clone(certificate.RawSubject),
			room:    certpath.Length(certificate),
			window:  windowOf(certificate),
			listed:  listed,
		},
	}, nil
}

func rootError(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint:  "use an unchanged attestd binary, or a whole P-384 CA certificate as the test root",
		Err:   err,
	}
}
