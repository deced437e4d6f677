package all

import (
	"crypto/x509"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/tdx"
)

// Issuer is a vendor's CA certificate that is compiled in.
type Issuer struct {
	Certificate *x509.Certificate
	Format      attestd.Format
	// Root says that chains end in it. Others are candidates: each is believed only along a signed
	// path to a root.
	Root bool
}

// Issuers lists the CA certificates that collateral from outside evidence can be signed by: AMD's,
// Intel's, the TPM makers', and AWS's root, which stands under nitro and serves nitrotpm as well.
//
// Errors: where a certificate is not the one that this build pins.
func Issuers() ([]Issuer, error) {
	var issuers []Issuer
	for _, source := range []struct {
		format attestd.Format
		root   bool
		read   func() ([]*x509.Certificate, error)
	}{
		{attestd.FormatSEVSNP, true, sevsnp.PinnedRoots},
		{attestd.FormatSEVSNP, false, sevsnp.PinnedIntermediates},
		{attestd.FormatTDX, true, tdx.PinnedRoots},
		{attestd.FormatTDX, false, tdx.PinnedIntermediates},
		{attestd.FormatNitro, true, awsRoots},
		{attestd.FormatTPM, true, tpmtrust.PinnedRoots},
		{attestd.FormatTPM, false, tpmtrust.Intermediates},
	} {
		certificates, err := source.read()
		if err != nil {
			return nil, err
		}
		for _, certificate := range certificates {
			issuers = append(issuers, Issuer{certificate, source.format, source.root})
		}
	}
	return issuers, nil
}

func awsRoots() ([]*x509.Certificate, error) {
	root, err := awsdoc.PinnedRoot()
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{root}, nil
}
