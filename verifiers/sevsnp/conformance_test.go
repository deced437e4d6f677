package sevsnp_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// neg: 91, 95
func TestConformance(t *testing.T) {
	build := func() verifiers.Verifier {
		v, err := sevsnp.New(sevsnp.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	verifiertest.Vectors(t, attestd.FormatSEVSNP, build, nil)
}

// TestConformanceOfShapesThatNobodyPublished runs the suite on reports that an authority of the test
// signed: of Turin by the chip's key and by a cloud's, with the certificates beside the evidence.
// neg: 91, 95, 102, 104
func TestConformanceOfShapesThatNobodyPublished(t *testing.T) {
	for name, change := range map[string]func(*scene){
		"a dense Turin's VCEK": func(*scene) {}, "a cloud's VLEK on Turin": cloud,
	} {
		s := newScene(t, "Turin-Dense", 5)
		change(s)
		input, _ := s.build()
		t.Run(name, func(t *testing.T) {
			verifiertest.Conformance(t, verifiertest.Case{
				New: func() verifiers.Verifier { return forgedVerifier(t) }, Input: input,
				Nonce: s.report.ReportData[:], OtherTimes: verifiertest.OutsideValidity(),
			})
		})
	}
}
