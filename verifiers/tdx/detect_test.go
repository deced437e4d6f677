package tdx_test

import (
	"bytes"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
)

// TestOtherEvidenceIsLeftAlone: what is detected is asked of this verifier and of no other.
func TestOtherEvidenceIsLeftAlone(t *testing.T) {
	v := newVerifier(t)
	for _, product := range []string{"Milan", "Genoa", "Turin"} {
		for version := range uint32(7) {
			report := forge.NewSNPReport(product, version).Bytes()
			if v.Detect(report) {
				t.Errorf("a report of version %d of %s is detected", version, product)
			}
		}
	}
	for name, evidence := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 5006), "ones": bytes.Repeat([]byte{0xff}, 5006),
		"text": bytes.Repeat([]byte("attestation "), 400),
		"the beginning of a paravisor's report": append([]byte("HCLA\x02\x00\x00\x00"),
			make([]byte, 2592)...),
	} {
		if v.Detect(evidence) {
			t.Errorf("%s is detected", name)
		}
	}
}

// TestWhatWillBeRefusedIsDetected: a refusal by name says more than "unknown format".
func TestWhatWillBeRefusedIsDetected(t *testing.T) {
	v := newVerifier(t)
	for name, change := range map[string]func(*scene){
		"version 3":         quoted(func(q *forge.TDQuote) { q.Version = 3 }),
		"version 6":         quoted(func(q *forge.TDQuote) { q.Version = 6 }),
		"of an SGX enclave": quoted(func(q *forge.TDQuote) { q.TEE = 0 }),
		"another vendor's":  quoted(func(q *forge.TDQuote) { q.Vendor[3] ^= 1 }),
		"P-384":             quoted(func(q *forge.TDQuote) { q.KeyType = 3 }),
		"cut":               sent(func(b []byte) []byte { return b[:900] }),
		"with bytes behind": sent(func(b []byte) []byte { return append(b, 1) }),
		"a TDREPORT": sent(func([]byte) []byte {
			return append([]byte{0x81}, make([]byte, 1023)...)
		}),
	} {
		s := newScene(t, 4)
		change(s)
		if !v.Detect(s.bytes(t)) {
			t.Errorf("%s: not detected", name)
		}
	}
}
