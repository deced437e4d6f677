package sevsnp

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"

	"github.com/attestd/attestd/verifiers/internal/crl"
)

// WithoutBudget returns what a call says that has no verification left, of a list and of a report.
func WithoutBudget() (list, signature error) {
	s := &search{count: &counter{total: &new(Verifier).signatures}}
	_, noList := s.verifyList(&x509.Certificate{}, crl.Outline{}, func(err error) *fault { return nil })
	noSignature := s.checkSigned(report{}, &vcek{})
	return noList.err, noSignature.err
}

// PinnedAs opens a chain as if these certificates were AMD's for the line, and vouched for.
func PinnedAs(name string, vlek bool, ask, ark []byte) error {
	hexOf := func(der []byte) string { digest := sha256.Sum256(der); return hex.EncodeToString(digest[:]) }
	encoded := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	chain := pinnedChain{
		line: line(name), ask: hexOf(ask), ark: hexOf(ark),
		bundle: func() []byte { return append(encoded(ask), encoded(ark)...) },
	}
	if vlek {
		chain.kind = kindVLEK
	}
	_, err := pinnedAuthorities([]pinnedChain{chain}, &counter{total: &new(Verifier).signatures, left: -1})
	return err
}
