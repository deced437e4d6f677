package tdx_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// unpadded returns the quote without the zeros behind it.
func unpadded(t testing.TB, quote []byte) []byte {
	t.Helper()
	size := 48 + 584
	if binary.LittleEndian.Uint16(quote) == 5 {
		size = 54 + int(binary.LittleEndian.Uint32(quote[50:]))
	}
	return quote[:size+4+int(binary.LittleEndian.Uint32(quote[size:]))]
}

// TestConformance runs the suite on published quotes of every shape, in the container that gives a quote
// one encoding. What may follow a quote without one is in TestZerosBehindAQuote.
// neg: 117, 118
func TestConformance(t *testing.T) {
	build := func() verifiers.Verifier { return newVerifier(t) }
	corpus := must(testvectors.Load(testvectors.FromEnvironment()))(t)
	ran := map[string]bool{}
	for _, vector := range corpus.Format(attestd.FormatTDX) {
		if vector.Expect == attestd.VerdictRejected || tdxevidence.IsEvidence(vector.Evidence) {
			continue
		}
		quote := unpadded(t, vector.Evidence)
		shape := fmt.Sprintf("version %d, last byte %d", quote[0], quote[len(quote)-1])
		if ran[shape] {
			continue // the suite is about bytes, of which quotes of one shape have the same
		}
		ran[shape] = true
		evidence := must(tdxevidence.Evidence{Quote: quote}.Marshal())(t)
		t.Run(vector.Name, func(t *testing.T) {
			verifiertest.Conformance(t, verifiertest.Case{
				New: build, OtherTimes: verifiertest.OutsideValidity(), Nonce: reportData(quote),
				Input: attestd.Input{Evidence: evidence, At: vector.At, Demand: attestd.Recorded()},
			})
		})
	}
	t.Log(corpus.Report())
	if len(corpus.Missing) == 0 && len(ran) < 3 {
		t.Errorf("only %v", ran)
	}
}

func reportData(quote []byte) []byte {
	at := 48 + 520
	if binary.LittleEndian.Uint16(quote) == 5 {
		at += 6
	}
	return quote[at : at+64]
}

// TestConformanceOfShapesThatNobodyPublished runs the suite on quotes that an authority of the test
// signed: with a body of TDX 1.0 in version 5, with a PCK of the CA over processors, and with a log.
func TestConformanceOfShapesThatNobodyPublished(t *testing.T) {
	boot := forge.NewBoot(forge.BootOptions{Confidential: true})
	for name, change := range map[string]func(*scene){
		"a body of TDX 1.0 in version 5":  quoted(func(q *forge.TDQuote) { q.BodyType = 2 }),
		"a PCK of the CA over processors": func(s *scene) { s.pck.Processor = true },
		"a quote with its log": func(s *scene) {
			values := boot.Registers(forge.LogSHA384)
			for i, value := range values[1:5] {
				copy(s.quote.RTMR[i][:], value)
			}
			s.log = boot.Log()
		},
	} {
		s := newScene(t, 5)
		change(s)
		s.box = true
		input := s.input(t)
		c := verifiertest.Case{
			New: func() verifiers.Verifier { return forgedVerifier(t) }, Input: input,
			Nonce: s.quote.ReportData[:], OtherTimes: verifiertest.OutsideValidity(),
		}
		if s.log != nil {
			at := bytes.Index(input.Evidence, s.log)
			c.Either = []verifiertest.ByteRange{{From: at, To: at + len(s.log),
				Section: "UEFI 2.10, section 38.4: types and data of events are in no digest of their own"}}
		}
		t.Run(name, func(t *testing.T) { verifiertest.Conformance(t, c) })
	}
}

// TestZerosBehindAQuote: a quoting service's buffer is longer than its quote, and the rest of it is
// zeros. They change nothing, and nothing else may stand there. neg: 118
func TestZerosBehindAQuote(t *testing.T) {
	v := forgedVerifier(t)
	input := newScene(t, 4).input(t)
	quote := input.Evidence
	for _, zeros := range []int{1, 39, 70, 3065, 8192} {
		input.Evidence = append(bytes.Clone(quote), make([]byte, zeros)...)
		mustVerify(t, v, input)
		for _, at := range []int{0, zeros / 2, zeros - 1} {
			for bit := range 8 {
				changed := input
				changed.Evidence = bytes.Clone(input.Evidence)
				changed.Evidence[len(quote)+at] = 1 << bit
				mustReject(t, v, changed, "tdx/layout", attestd.ClassMalformed)
			}
		}
	}
}
