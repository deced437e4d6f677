package nitro

import (
	"crypto/x509"
	"slices"
	"strconv"

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

// Verifier verifies enclave documents. It is safe for concurrent use.
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
			Format: attestd.FormatNitro, RegisterField: "pcrs", Checks: checks,
		},
		InsecureRoots: config.InsecureRoots, ChainCacheSize: config.ChainCacheSize,
	})
	if err != nil {
		return nil, err
	}
	return &Verifier{engine: engine, checks: checks}, nil
}

// Format returns attestd.FormatNitro.
func (v *Verifier) Format() attestd.Format { return attestd.FormatNitro }

// Detect reports whether evidence looks like an enclave document, well-formed or not.
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
	// NSM section 2.2 sends all locked registers and 0 to 2 are locked from the start. A document
	// without one of them would have nothing to compare, and nothing that says "debug".
	document := verified.Document
	for index := range 3 {
		if document.PCRs[index] == nil {
			return nil, verified.Trail.Reject(checkMeasurements,
				"no register "+strconv.Itoa(index), "registers 0, 1 and 2", nil)
		}
	}
	verified.Trail.Pass(checkMeasurements, "registers 0, 1 and 2", "")
	debug := document.Zero(0) || document.Zero(1) || document.Zero(2)
	values := verified.Values(attestd.FormatNitro, input.Evidence, shape,
		attestd.Fact{Name: "debug", Value: attestd.Bool(debug)})
	values.Summary = "Nitro enclave"
	if debug {
		values.Summary = "Nitro enclave, debug mode"
	}
	// The parent instance hosts several enclaves, so it is the host and never the identity.
	if parent, ok := awsdoc.InstanceOf(verified.ModuleID()); ok {
		values.Handles = append(values.Handles, attestd.Handle{Kind: attestd.HandleHost, Value: parent})
	}
	return attestd.NewClaims(claims.Grant(), values), nil
}
