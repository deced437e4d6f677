package azurevtpm_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/azurevtpm"
)

// TestQuestionsThatCannotBeAnswered are the caller's mistake, whatever the evidence is.
func TestQuestionsThatCannotBeAnswered(t *testing.T) {
	t.Parallel()
	v := forgedVerifier(t)
	for words, input := range map[string]attestd.Input{
		"no time to judge at":                 {Demand: attestd.Recorded()},
		"nothing is demanded of the evidence": {At: forge.AMDTime},
	} {
		claims, err := v.Verify(input)
		var caller *attestd.CallerError
		if claims != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed ||
			caller.Hint == "" || caller.Err.Error() != words {
			t.Errorf("got %v, want a mistake of the caller's: %s", err, words)
		}
	}
	rejected(t, v, attestd.Input{Demand: attestd.Recorded(), At: time.Unix(0, 0)}, "",
		"azure-vtpm/encoding", attestd.ClassMalformed)
}

// TestRefusalsInTheirOwnWords: what stands behind these refuses as well, and says something else that
// would send people to look in another place.
func TestRefusalsInTheirOwnWords(t *testing.T) {
	v := forgedVerifier(t)
	config := func(text string) string { return strings.Replace(nullConfig(text), "null", "5", 1) }
	for name, row := range map[string]struct {
		change func(*scene)
		not    string
		check  attestd.CheckID
	}{
		"claims that are no object": {document(func(string) string { return "[]" }), "no key HCLAkPub",
			"azure-vtpm/runtime-claims"},
		"keys that are no list": {document(func(string) string { return `{"keys":5}` }), "no key HCLAkPub",
			"azure-vtpm/runtime-claims"},
		"a configuration that is a number": {document(config), "null in place",
			"azure-vtpm/runtime-claims"},
		"user data that is a number": {instead(`"user-data":"`, `"user-data":5,"more":"`), "no error",
			"azure-vtpm/runtime-claims"},
		"no TPM evidence": {func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { e.TPM = []byte{1} }
		}, "public", "azure-vtpm/attestation-key"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, false)
			row.change(s)
			_, err := v.Verify(s.build())
			var bad *attestd.EvidenceError
			if !errors.As(err, &bad) || bad.Check != row.check || bad.Class != attestd.ClassMalformed {
				t.Fatalf("got %v, want a rejection by %s", err, row.check)
			}
			if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(row.not)) {
				t.Errorf("got %v, which is what the next check says", err)
			}
		})
	}
}

// TestInspectionOfWhatCannotBeOpened says so and shows nothing.
func TestInspectionOfWhatCannotBeOpened(t *testing.T) {
	t.Parallel()
	shown, err := forgedVerifier(t).Inspect([]byte("no container"))
	var bad *attestd.EvidenceError
	if !errors.As(err, &bad) || bad.Check != "azure-vtpm/encoding" || len(shown.Fields) != 0 {
		t.Errorf("got %v and %d fields, want a rejection", err, len(shown.Fields))
	}
}

// refuses is a verifier that answers with an error.
type refuses struct {
	verifiers.Verifier
	err error
}

func (r refuses) Verify(attestd.Input) (*attestd.Claims, error) { return nil, r.err }

// TestAnswersOfPartsAreTheAnswer: what a part's verifier could not decide, and what it could not be
// asked, stay that on the whole, with the device named.
func TestAnswersOfPartsAreTheAnswer(t *testing.T) {
	t.Parallel()
	input := newScene(t, false).build()
	answer := func(given error) error {
		all := forgedVerifier(t).Parts()
		for i, part := range all {
			if part.Format() == attestd.FormatTPM {
				all[i] = refuses{part, given}
			}
		}
		v, err := azurevtpm.New(azurevtpm.Config{Parts: all})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(input)
		return err
	}
	failed := []attestd.Check{{ID: "tpm/nonce", Result: attestd.ResultFail}}
	var undecided *attestd.UndecidedError
	err := answer(&attestd.UndecidedError{Check: "tpm/nonce", Class: attestd.ClassCollateralStale,
		Hint: "h", Checks: failed})
	if !errors.As(err, &undecided) || undecided.Class != attestd.ClassCollateralStale ||
		len(undecided.Checks) < 3 || undecided.Checks[len(undecided.Checks)-1].Device != "vtpm" {
		t.Errorf("got %v, want it undecided behind the checks of the whole", err)
	}
	var caller *attestd.CallerError
	err = answer(&attestd.CallerError{Class: attestd.ClassUnsupported, Hint: "h",
		Err: errors.New("no such question")})
	if !errors.As(err, &caller) || caller.Hint != "h" || caller.Err.Error() != "device vtpm: no such question" {
		t.Errorf("got %v, want the caller's mistake with the device", err)
	}
}
