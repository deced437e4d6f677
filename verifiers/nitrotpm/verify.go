package nitrotpm

import (
	"crypto/x509"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
)

// Config of a verifier. The zero Config is the one for production.
type Config struct {
	// InsecureRoots are roots of test CAs, accepted beside AWS's; claims say where a chain ends in one.
	InsecureRoots []*x509.Certificate
	// ChainCacheSize is the number of verified certificates to keep; 0 for a default of some thousand.
	ChainCacheSize int
}

// Verifier verifies instance documents. It is safe for concurrent use.
type Verifier struct {
	engine *awsdoc.Engine
	checks []attestd.CheckSpec
}

// New returns a verifier.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the embedded root is not AWS's, or a
// configured root is no P-384 CA certificate.
func New(config Config) (*Verifier, error) {
	checks := checkSpecs()
	engine, err := awsdoc.New(awsdoc.Config{
		Profile: awsdoc.Profile{
			Format: attestd.FormatNitroTPM, RegisterField: "nitrotpm_pcrs", Checks: checks,
		},
		InsecureRoots: config.InsecureRoots, ChainCacheSize: config.ChainCacheSize,
	})
	if err != nil {
		return nil, err
	}
	return &Verifier{engine: engine, checks: checks}, nil
}

// Format returns attestd.FormatNitroTPM.
func (v *Verifier) Format() attestd.Format { return attestd.FormatNitroTPM }

// Detect reports whether evidence looks like an instance document, well-formed or not.
func (v *Verifier) Detect(evidence []byte) bool { return v.engine.Detect(evidence) }

// Inspect decodes a document and believes none of it.
func (v *Verifier) Inspect(evidence []byte) (attestd.Inspection, error) {
	return v.engine.Inspect(evidence)
}

// Checks lists the checks in their order.
func (v *Verifier) Checks() []attestd.CheckSpec { return slices.Clone(v.checks) }

// SignaturesVerified counts public-key operations since New.
func (v *Verifier) SignaturesVerified() uint64 { return v.engine.SignaturesVerified() }

// Verify verifies a document; see the package comment for what its Claims then say.
func (v *Verifier) Verify(input attestd.Input) (*attestd.Claims, error) {
	verified, err := v.engine.Verify(input)
	if err != nil {
		return nil, err
	}
	values := verified.Values(attestd.FormatNitroTPM, input.Evidence, shape)
	values.Summary = "EC2 instance with NitroTPM"
	return attestd.NewClaims(claims.Grant(), values), nil
}
