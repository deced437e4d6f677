package sevsnp

import "crypto/x509"

// PinnedIntermediates returns AMD's ASKs that are compiled in beside the ARKs that signed them.
//
// Errors: a *attestd.CallerError of class CONFIG where the bytes are not the pinned ones.
func PinnedIntermediates() ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for _, pinned := range pinnedChains {
		intermediate, _, err := pinned.certificates()
		if err != nil {
			return nil, err
		}
		found = append(found, intermediate)
	}
	return found, nil
}
