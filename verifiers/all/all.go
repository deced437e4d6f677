// Package all is the one list of the verifiers in this build.
//
// What comes in is where chains may end; what is true if New returns no error is that each format in
// the list has exactly one verifier. What is not shown is anything about evidence.
package all

import (
	"crypto/x509"
	"errors"

	"github.com/attestd/attestd"
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
// Errors: those of the verifiers, which are about the configuration, and a [*attestd.CallerError] of
// class CONFIG for a root that no vendor's chains could end in.
func New(config Config) ([]verifiers.Verifier, error) {
	aws, amd, err := rootsByVendor(config.InsecureRoots)
	if err != nil {
		return nil, err
	}
	enclaves, err := nitro.New(nitro.Config{InsecureRoots: aws})
	if err != nil {
		return nil, err
	}
	instances, err := nitrotpm.New(nitrotpm.Config{InsecureRoots: aws})
	if err != nil {
		return nil, err
	}
	guests, err := sevsnp.New(sevsnp.Config{InsecureRoots: amd})
	if err != nil {
		return nil, err
	}
	return []verifiers.Verifier{enclaves, instances, guests}, nil
}

// rootsByVendor tells roots apart by their keys: AWS signs with ECDSA, AMD's ARKs with RSA. Each
// verifier refuses a root that is not shaped like its vendor's, so a wrong guess is an error and
// never a wider trust.
func rootsByVendor(roots []*x509.Certificate) (aws, amd []*x509.Certificate, err error) {
	for _, root := range roots {
		switch {
		case root != nil && root.PublicKeyAlgorithm == x509.ECDSA:
			aws = append(aws, root)
		case root != nil && root.PublicKeyAlgorithm == x509.RSA:
			amd = append(amd, root)
		default:
			return nil, nil, &attestd.CallerError{
				Class: attestd.ClassConfig, Hint: "load roots with ECDSA keys (AWS) or RSA keys (AMD)",
				Err: errors.New("an insecure root has neither an ECDSA nor an RSA key"),
			}
		}
	}
	return aws, amd, nil
}
