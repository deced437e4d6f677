package tpmtrust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/attestd/attestd"
)

// rootFiles hold the roots of the table in PEM; what is in a file and not in the table, or the
// other way round, is an error.
//
//go:embed roots/*.pem
var rootFiles embed.FS

// intermediateFiles hold CA certificates below the pinned roots, for TPMs that bring their EK
// certificate alone: a TPM's memory has no room for more, and a verifier fetches nothing. They are
// candidates like those that an attester sends: each is believed only along a signed path to a
// root.
//
//go:embed intermediates/*.pem
var intermediateFiles embed.FS

// Root is a root that is compiled in.
type Root struct {
	// Vendor as people know it, and Use: "endorsement", "gce" or "azure".
	Vendor, Use string
	// Sources are the public repositories in which the same bytes were found, space separated.
	Sources     string
	Certificate *x509.Certificate
}

// anchor is where a path may end.
type anchor struct {
	certificate *x509.Certificate
	vendor      string
	use         use // empty for a root that was loaded by hand: it may be used for anything
	insecure    bool
}

// Pinned returns the roots that are compiled in, in the table's order.
//
// Errors: a [*attestd.CallerError] of class CONFIG where files and table differ.
func Pinned() ([]Root, error) { return pinnedIn(rootFiles) }

func pinnedIn(files fs.FS) ([]Root, error) {
	certificates, err := certificatesIn(files, "roots")
	if err != nil {
		return nil, err
	}
	found := make(map[string]*x509.Certificate)
	for _, certificate := range certificates {
		digest := sha256.Sum256(certificate.Raw)
		found[hex.EncodeToString(digest[:])] = certificate
	}
	if len(found) != len(pinned) {
		return nil, notPinned(fmt.Errorf("%d roots, want %d", len(found), len(pinned)))
	}
	roots := make([]Root, 0, len(pinned))
	for _, row := range pinned {
		certificate := found[row.sha256]
		if certificate == nil {
			return nil, notPinned(fmt.Errorf("no root with SHA-256 %s", row.sha256))
		}
		roots = append(roots, Root{
			Vendor: row.vendor, Use: string(row.use), Sources: row.sources, Certificate: certificate,
		})
	}
	return roots, nil
}

// PinnedRoots returns the certificates of [Pinned].
//
// Errors: those of Pinned.
func PinnedRoots() ([]*x509.Certificate, error) {
	roots, err := Pinned()
	certificates := make([]*x509.Certificate, len(roots))
	for index, root := range roots {
		certificates[index] = root.Certificate
	}
	return certificates, err
}

// Intermediates returns the CA certificates that are compiled in as candidates.
//
// Errors: a [*attestd.CallerError] of class CONFIG where one cannot be read.
func Intermediates() ([]*x509.Certificate, error) {
	return certificatesIn(intermediateFiles, "intermediates")
}

// certificatesIn reads every certificate in the folder's files.
func certificatesIn(files fs.FS, folder string) ([]*x509.Certificate, error) {
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return nil, notPinned(err)
	}
	var certificates []*x509.Certificate
	for _, entry := range entries {
		name := folder + "/" + entry.Name()
		rest, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, notPinned(err)
		}
		for len(bytes.TrimSpace(rest)) > 0 {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return nil, notPinned(fmt.Errorf("%s: text that is no PEM", name))
			}
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, notPinned(fmt.Errorf("%s: %w", name, err))
			}
			certificates = append(certificates, certificate)
		}
	}
	return certificates, nil
}

func notPinned(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "this binary is damaged: build it again",
		Err: fmt.Errorf("pinned TPM roots: %w", err),
	}
}

// checkAuthority demands what every CA on a path must be, roots included: a certificate that may
// not sign certificates, or has a weak key, must not become an issuer because its name fits.
func checkAuthority(certificate *x509.Certificate) error {
	switch {
	case !certificate.BasicConstraintsValid || !certificate.IsCA:
		return errors.New("it is no certificate authority")
	case certificate.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its key usage has no keyCertSign")
	case len(certificate.UnhandledCriticalExtensions) != 0:
		return fmt.Errorf("critical extension %s", certificate.UnhandledCriticalExtensions[0])
	case hasNameConstraints(certificate):
		return errors.New("it has name constraints, which are not applied here")
	}
	return checkSigningKey(certificate.PublicKey)
}

// checkSigningKey: NIST SP 800-57 Part 1 Rev. 5, table 2: 112 bits of security or more.
func checkSigningKey(public any) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > 4096 {
			return fmt.Errorf("RSA key of %d bits", bits)
		}
		if key.E != 65537 {
			return fmt.Errorf("RSA exponent %d", key.E)
		}
		return nil
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < 256 {
			return fmt.Errorf("ECDSA key of %d bits", bits)
		}
		return nil
	default:
		return errors.New("its key is neither RSA nor ECDSA")
	}
}

// hasNameConstraints: crypto/x509 marks them as handled, and only its own path building applies
// them.
func hasNameConstraints(certificate *x509.Certificate) bool {
	for _, extension := range certificate.Extensions {
		if extension.Id.Equal(oidNameConstraints) {
			return true
		}
	}
	return false
}

// checkInsecure demands of a root that was loaded by hand what the pinned ones have, and that it is
// signed by itself: a mistyped file must not become an anchor.
func checkInsecure(certificate *x509.Certificate) error {
	if err := checkAuthority(certificate); err != nil {
		return err
	}
	if err := certificate.CheckSignature(certificate.SignatureAlgorithm,
		certificate.RawTBSCertificate, certificate.Signature); err != nil {
		return errors.New("it is not signed by itself")
	}
	return nil
}
