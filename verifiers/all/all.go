// Package all is the one list of the verifiers in this build.
//
// What comes in is where chains may end; what is true if New returns no error is that each format
// in the list has exactly one verifier. What is not shown is anything about evidence.
package all

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/azurevtpm"
	"github.com/attestd/attestd/verifiers/composite"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/nitrotpm"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/tdx"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
	"github.com/attestd/attestd/verifiers/tpm"
)

// Config says what every verifier of the list is built with.
type Config struct {
	// InsecureRoots are roots that were loaded by hand, for tests and laboratories. Claims that end
	// in one of them say so.
	InsecureRoots []*x509.Certificate
}

// New returns one verifier per format, in the order in which evidence is shown to them.
//
// Errors: those of the verifiers, which are about the configuration, and a [*attestd.CallerError]
// of class CONFIG for a root that no vendor's chains could end in.
func New(config Config) ([]verifiers.Verifier, error) {
	roots, err := rootsByVendor(config.InsecureRoots)
	if err != nil {
		return nil, err
	}
	enclaves, noEnclaves := nitro.New(nitro.Config{InsecureRoots: roots.aws})
	instances, noInstances := nitrotpm.New(nitrotpm.Config{InsecureRoots: roots.aws})
	guests, noGuests := sevsnp.New(sevsnp.Config{InsecureRoots: roots.amd})
	domains, noDomains := tdx.New(tdx.Config{InsecureRoots: roots.intel})
	machines, noMachines := tpm.New(tpm.Config{InsecureRoots: roots.tpm})
	if err := cmp.Or(noEnclaves, noInstances, noGuests, noDomains, noMachines); err != nil {
		return nil, err
	}
	list := []verifiers.Verifier{enclaves, instances, guests, domains, machines}
	// Its parts are those that evidence of one device is shown to: what one of them remembers of a chain
	// spares the other the work.
	whole, noWhole := composite.New(composite.Config{Parts: list})
	confidential, noConfidential := azurevtpm.New(azurevtpm.Config{Parts: list})
	if err := cmp.Or(noWhole, noConfidential); err != nil {
		return nil, err
	}
	return append(list, confidential, whole), nil
}

// byVendor is the same list of roots as each verifier gets it. One root may stand in two.
type byVendor struct{ aws, amd, intel, tpm []*x509.Certificate }

// rootsByVendor tells roots apart by name and key. AMD's are called ARK and sign with RSA; AWS
// signs with ECDSA on P-384, and so does many a TPM maker, so that such a root goes to both: no
// chain of the one has the other's shape. Intel's is on P-256 and has a name of its own. Each verifier refuses a root that is not shaped like its
// vendor's, so a wrong guess is an error and never a wider trust.
func rootsByVendor(roots []*x509.Certificate) (out byVendor, err error) {
	for _, root := range roots {
		switch {
		case root != nil && root.PublicKeyAlgorithm == x509.RSA &&
			strings.HasPrefix(root.Subject.CommonName, "ARK-"):
			out.amd = append(out.amd, root)
		case root != nil && root.PublicKeyAlgorithm == x509.RSA:
			out.tpm = append(out.tpm, root)
		case root != nil && root.Subject.CommonName == pcs.NameRoot:
			out.intel = append(out.intel, root)
		case root != nil && root.PublicKeyAlgorithm == x509.ECDSA:
			if key, ok := root.PublicKey.(*ecdsa.PublicKey); ok && key.Curve == elliptic.P384() {
				out.aws = append(out.aws, root)
			}
			out.tpm = append(out.tpm, root)
		default:
			return byVendor{}, &attestd.CallerError{
				Class: attestd.ClassConfig,
				Hint:  "load roots with RSA or ECDSA keys: AWS's, AMD's, Intel's or those of TPM makers",
				Err:   errors.New("an insecure root has neither an ECDSA nor an RSA key"),
			}
		}
	}
	return out, nil
}
