package tpm_test

import (
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

// TestABootLogIsRefusedBesideTwoBanksOfItsPCRs: both banks have what the log gives, so that nothing
// else is wrong.
func TestABootLogIsRefusedBesideTwoBanksOfItsPCRs(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	boot := s.boots(forge.BootOptions{SecureBoot: true})
	anotherBank(s, map[uint8][]byte{7: boot.Registers(forge.LogSHA384)[7]})
	refused(t, newVerifier(t), s.build(), "tpm/event-log", attestd.ClassMeasurement)
}

// TestASignatureOfAnotherSchemeIsNamed: the key would refuse it, and could not say why.
func TestASignatureOfAnotherSchemeIsNamed(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.parts = func(e *tpmevidence.Evidence) { e.QuoteSignature[3] = 0x0c } // SHA-384 for SHA-256
	_, err := newVerifier(t).Verify(s.build())
	var rejected *attestd.EvidenceError
	if !errors.As(err, &rejected) || rejected.Check != "tpm/signature" ||
		rejected.Want != "the key's scheme" {
		t.Errorf("got %v", err)
	}
}

func TestACacheOfLessThanNothing(t *testing.T) {
	_, err := tpm.New(tpm.Config{ChainCacheSize: -1})
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Err.Error() != "cache for -1 certificates" {
		t.Errorf("got %v", err)
	}
}
