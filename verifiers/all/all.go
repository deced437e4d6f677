// Package all is the one list of the verifiers in this build.
//
// What comes in is where chains may end; what is true if New returns no error is that each format in
// the list has exactly one verifier. What is not shown is anything about evidence.
package all

import (
	"crypto/x509"

	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/nitrotpm"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// Config says what every verifier of the list is built with.
type Config struct {
	// InsecureRoots are roots that were loaded by hand, for tests and laboratories. Claims that end
	// in one of them say so.
	InsecureRoots []*x509.Certificate
}

// New returns one verifier per format, in the order in which evidence is shown to them.
//
// Errors: those of the verifiers, which are about the configuration.
func New(config Config) ([]verifiers.Verifier, error) {
	enclaves, err := nitro.New(nitro.Config{InsecureRoots: config.InsecureRoots})
	if err != nil {
		return nil, err
	}
	instances, err := nitrotpm.New(nitrotpm.Config{InsecureRoots: config.InsecureRoots})
	if err != nil {
		return nil, err
	}
	guests, err := sevsnp.New(sevsnp.Config{InsecureRoots: config.InsecureRoots})
	if err != nil {
		return nil, err
	}
	return []verifiers.Verifier{enclaves, instances, guests}, nil
}
