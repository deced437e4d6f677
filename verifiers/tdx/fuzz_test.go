package tdx_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// answered fails unless the answer is claims for bytes that were signed, or an error of a class.
func answered(t *testing.T, claims *attestd.Claims, err error, genuine bool) {
	t.Helper()
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	switch {
	case err == nil && !genuine:
		t.Fatal("accepted what nobody signed")
	case err == nil:
	case claims != nil:
		t.Fatal("claims beside an error")
	case errors.As(err, &rejected) && rejected.Class != "" && rejected.Hint != "":
	case errors.As(err, &undecided) && undecided.Class.Undecided() && undecided.Hint != "":
	default:
		t.Fatalf("an error of no class: %v", err)
	}
}

// fuzzQuote holds quotes to an answer of a class, without a panic, without a write to the input, and
// within the budget of signatures. What is accepted holds what was signed.
func fuzzQuote(f *testing.F, version uint16) {
	s := newScene(f, version)
	base := s.input(f)
	genuine, signed := base.Evidence, s.quote.Signed()
	f.Add(genuine)
	f.Add(append(bytes.Clone(genuine), make([]byte, 70)...))
	for _, change := range []func(*forge.TDParts){
		func(p *forge.TDParts) { p.SignedDataSize = ptr(uint32(130)) },
		func(p *forge.TDParts) { p.AuthSize = ptr(uint16(0xffff)) },
		func(p *forge.TDParts) { p.CertSize = ptr(uint32(0xfffffff0)) },
		func(p *forge.TDParts) { p.ChainSize = ptr(uint32(1)) },
		func(p *forge.TDParts) { p.CertType = 5 },
		func(p *forge.TDParts) { p.Chain = append(p.Chain, 0) },
	} {
		s.edit = func(p *forge.TDParts, _ forge.PCK) { change(p) }
		f.Add(s.bytes(f))
	}
	f.Add(genuine[:636])
	v := forgedVerifier(f)
	f.Fuzz(func(t *testing.T, evidence []byte) {
		input := base
		input.Evidence = bytes.Clone(evidence)
		before := v.SignaturesVerified()
		claims, err := v.Verify(input)
		// The same statement may come in a container, with zeros behind it or behind its certificates.
		answered(t, claims, err, bytes.Contains(evidence, signed))
		if !bytes.Equal(input.Evidence, evidence) {
			t.Fatal("the verifier wrote to its input")
		}
		if v.SignaturesVerified()-before > 8 {
			t.Fatal("more than eight signatures")
		}
		v.Detect(evidence)
		if _, err := v.Inspect(evidence); err != nil && claims != nil {
			t.Fatalf("accepted and not decoded: %v", err)
		}
	})
}

func FuzzQuoteV4(f *testing.F) { fuzzQuote(f, 4) }

func FuzzQuoteV5(f *testing.F) { fuzzQuote(f, 5) }

// FuzzEventLog puts any log beside a genuine quote: it is replayed to the quote's registers or refused.
func FuzzEventLog(f *testing.F) {
	boot := forge.NewBoot(forge.BootOptions{Confidential: true})
	s := newScene(f, 5)
	values := boot.Registers(forge.LogSHA384)
	for i, value := range values[1:5] {
		copy(s.quote.RTMR[i][:], value)
	}
	base := s.input(f)
	f.Add(boot.Log())
	f.Add(boot.Log()[:200])
	v := forgedVerifier(f)
	f.Fuzz(func(t *testing.T, log []byte) {
		evidence, err := tdxevidence.Evidence{Quote: base.Evidence, EventLog: log}.Marshal()
		if err != nil {
			return
		}
		input := base
		input.Evidence = evidence
		claims, err := v.Verify(input)
		answered(t, claims, err, true)
		if claims != nil {
			for event := range claims.Events() {
				if event.Log != "ccel" || len(event.Digest) != 48 {
					t.Fatalf("event %+v", event)
				}
			}
		}
	})
}
