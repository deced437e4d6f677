package sevsnp

import (
	"crypto/x509"
	"fmt"
)

// PinnedIntermediates returns AMD's ASKs that are compiled in beside the ARKs that signed them.
//
// Errors: a *attestd.CallerError of class CONFIG where the bytes are not the pinned ones.
func PinnedIntermediates() ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for _, pinned := range pinnedChains {
		der, _, err := pinned.open()
		if err != nil {
			return nil, err
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, notPinned(pinned.line, fmt.Errorf("parse: %w", err))
		}
		found = append(found, certificate)
	}
	return found, nil
}
