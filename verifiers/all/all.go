// Package all is the one list of the verifiers in this build.
//
// What comes in is where chains may end; what is true if New returns nil is that each format in the
// list has exactly one verifier. What is not shown is anything about evidence.
package all

import (
	"crypto/x509"

	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/nitrotpm"
)

// Config says what every verifier of the list is built with.
type Config struct {
	// InsecureRoots are roots that were loaded by hand, for tests and laboratories. Claims that end
	// in one of them say so.
	InsecureRoots []*x509.Certificate
}

// New returns one verifier per format, in the order in which people are shown the formats.
//
// Errors: those of the verifiers, where a root will not do.
func New(config Config) ([]verifiers.Verifier, error) {
	enclaves, err := nitro.New(nitro.Config{InsecureRoots: config.InsecureRoots})
	if err != nil {
		return nil, err
	}
	instances, err := nitrotpm.New(nitrotpm.Config{InsecureRoots: config.InsecureRoots})
	if err != nil {
		return nil, err
	}
	return []verifiers.Verifier{enclaves, instances}, nil
}
