package sevsnp

import "crypto/x509"

// PinnedRoots returns AMD's ARKs that are compiled in, for people to compare with what AMD publishes.
//
// Errors: a *attestd.CallerError of class CONFIG where the bytes are not the pinned ones.
func PinnedRoots() ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for _, pinned := range pinnedChains {
		_, root, err := pinned.certificates()
		if err != nil {
			return nil, err
		}
		if pinned.kind == kindVCEK { // beside the other kind stands the same root again
			roots = append(roots, root)
		}
	}
	return roots, nil
}
