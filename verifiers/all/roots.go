package all

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/tdx"
)

// Root is a vendor's root certificate that is compiled in.
type Root struct {
	// Name is the subject's common name.
	Name string
	// Formats whose chains may end in it.
	Formats []attestd.Format
	// SHA256 of the DER, in hex: what vendors print as its fingerprint.
	SHA256   string
	NotAfter time.Time
}

// Roots lists every root that a chain may end in without one being loaded by hand.
//
// Errors: where a root is not the one that this build pins.
func Roots() ([]Root, error) {
	aws, noAWS := awsdoc.PinnedRoot()
	amd, noAMD := sevsnp.PinnedRoots()
	intel, noIntel := tdx.PinnedRoots()
	makers, noMakers := tpmtrust.PinnedRoots()
	if err := cmp.Or(noAWS, noAMD, noIntel, noMakers); err != nil {
		return nil, err
	}
	roots := []Root{rootOf(aws, attestd.FormatNitro, attestd.FormatNitroTPM)}
	for _, certificate := range amd {
		roots = append(roots, rootOf(certificate, attestd.FormatSEVSNP))
	}
	for _, certificate := range intel {
		roots = append(roots, rootOf(certificate, attestd.FormatTDX))
	}
	for _, certificate := range makers {
		roots = append(roots, rootOf(certificate, attestd.FormatTPM))
	}
	return roots, nil
}

func rootOf(certificate *x509.Certificate, formats ...attestd.Format) Root {
	digest := sha256.Sum256(certificate.Raw)
	return Root{
		Name: certificate.Subject.CommonName, Formats: formats,
		SHA256: hex.EncodeToString(digest[:]), NotAfter: certificate.NotAfter.UTC(),
	}
}
