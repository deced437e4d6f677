package sevsnp

import (
	"crypto/x509"
	"fmt"
)

// PinnedRoots returns AMD's ARKs that are compiled in, for people to compare with what AMD publishes.
//
// Errors: a *attestd.CallerError of class CONFIG where the bytes are not the pinned ones.
func PinnedRoots() ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for _, pinned := range pinnedChains {
		if pinned.kind != kindVCEK {
			continue // the same root again
		}
		_, der, err := pinned.open()
		if err != nil {
			return nil, err
		}
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, notPinned(pinned.line, fmt.Errorf("parse: %w", err))
		}
		roots = append(roots, root)
	}
	return roots, nil
}
