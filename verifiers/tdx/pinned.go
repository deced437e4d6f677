package tdx

import (
	"crypto/x509"
	"fmt"
	"sync/atomic"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// PinnedRoots returns Intel's root that is compiled in, for people to compare with what Intel publishes.
//
// Errors: a *attestd.CallerError of class CONFIG where the bytes are not the pinned ones.
func PinnedRoots() ([]*x509.Certificate, error) {
	root, err := pcs.Root()
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{root}, nil
}

// PinnedIntermediates returns the CA over platforms that is compiled in, after showing that the root
// signed it.
//
// Errors: a *attestd.CallerError of class CONFIG where the bytes are not the pinned ones.
func PinnedIntermediates() ([]*x509.Certificate, error) {
	root, err := pcs.Root()
	if err != nil {
		return nil, err
	}
	ca, err := openPlatformCA(root, &counter{total: new(atomic.Uint64), left: 1})
	if err != nil {
		return nil, damaged(err)
	}
	return []*x509.Certificate{ca}, nil
}

func damaged(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint:  "this build of attestd is damaged; install it again and compare its checksum",
		Err:   fmt.Errorf("embedded CA over Intel's platforms: %w", err),
	}
}
