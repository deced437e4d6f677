package judge_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/all"
)

// broken is a verifier that is at fault in the way that a test asks for. It makes no Claims; no
// package outside of verifiers/ can.
type broken struct {
	format attestd.Format
	detect func() bool
	verify func() (*attestd.Claims, error)
	asked  int
}

func (b *broken) Format() attestd.Format { return b.format }

func (b *broken) Detect([]byte) bool {
	if b.detect == nil {
		return true
	}
	return b.detect()
}

func (b *broken) Verify(attestd.Input) (*attestd.Claims, error) {
	b.asked++
	return b.verify()
}

func (b *broken) Inspect([]byte) (attestd.Inspection, error) { panic("inspect") }
func (b *broken) Checks() []attestd.CheckSpec                { return nil }
func (b *broken) Facts() []attestd.FactSpec                  { return nil }
func (b *broken) SignaturesVerified() uint64                 { return 0 }

var authority = sync.OnceValues(func() (*forge.AWS, error) { return forge.NewAWS(forge.AWSOptions{}) })

// enclave returns a judge that knows the laboratory's root, and a request that it answers.
func enclave(t *testing.T) (*judge.Judge, judge.Request) {
	t.Helper()
	aws, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := aws.Document(forge.Document{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := judge.New(judge.Config{InsecureRoots: []*x509.Certificate{aws.Root()}})
	if err != nil {
		t.Fatal(err)
	}
	return made, judge.Request{
		Evidence: evidence, At: aws.At(), Demand: attestd.Recorded(), Policy: recorded(t),
	}
}

func recorded(t *testing.T) *appraisal.Policy {
	t.Helper()
	policy, err := appraisal.Builtin(appraisal.Recorded)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func TestJudgeTakesEvidenceAllTheWay(t *testing.T) {
	made, request := enclave(t)
	for _, format := range []attestd.Format{"", attestd.FormatNitro} {
		request.Format = format
		verdict, err := made.Judge(request)
		if err != nil {
			t.Fatal(err)
		}
		if verdict.Verdict != attestd.VerdictAccepted || verdict.Format != attestd.FormatNitro ||
			verdict.Risk.Int() != appraisal.RootsFloor {
			t.Errorf("got %v %v risk %v, want nitro accepted with 60", verdict.Verdict, verdict.Format,
				verdict.Risk)
		}
	}
}

func TestJudgeRefusesWhatCannotBeAsked(t *testing.T) {
	made, good := enclave(t)
	for _, row := range []struct {
		name   string
		change func(*judge.Request)
		class  attestd.Class
		want   string
	}{
		{"evidence over the limit", func(r *judge.Request) {
			r.Evidence = make([]byte, judge.MaxEvidence+1)
		}, attestd.ClassTooLarge, "want at most 1048576"},
		{"no evidence", func(r *judge.Request) { r.Evidence = nil }, attestd.ClassMalformed, "empty"},
		{"an envelope that is none", func(r *judge.Request) { r.Evidence = []byte("hello") },
			attestd.ClassUnsupported, "no known format"},
		{"a format that does not exist", func(r *judge.Request) { r.Format = "sgx" },
			attestd.ClassUnsupported, `unknown format "sgx"`},
		{"a zero demand", func(r *judge.Request) { r.Demand = attestd.Demand{} },
			attestd.ClassMalformed, "nothing was demanded"},
		{"a time that no verdict can say", func(r *judge.Request) {
			r.At = time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600))
		}, attestd.ClassMalformed, "in year 10000, UTC"},
		{"a time before all others", func(r *judge.Request) {
			r.At = time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))
		}, attestd.ClassMalformed, "in year 0, UTC"},
		{"no time", func(r *judge.Request) { r.At = time.Time{} }, attestd.ClassMalformed, "no time"},
	} {
		t.Run(row.name, func(t *testing.T) {
			request := good
			row.change(&request)
			verdict, err := made.Judge(request)
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != row.class || caller.Hint == "" ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s, %q and a hint", err, row.class, row.want)
			}
			if verdict.Verdict == attestd.VerdictAccepted {
				t.Error("got a verdict beside the error")
			}
			if _, err := made.Refuse(request, judge.CheckChallengeKnown, "unknown", "ours"); err == nil {
				t.Error("a refusal was given to what cannot be asked")
			}
		})
	}
}

func TestAFormatWithoutAVerifierIsRefused(t *testing.T) {
	_, request := enclave(t)
	request.Format = attestd.FormatTDX
	made := judge.NewWith([]verifiers.Verifier{&broken{format: attestd.FormatNitro}})
	_, err := made.Judge(request)
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassUnsupported || caller.Hint == "" ||
		!strings.Contains(err.Error(), `no verifier for format "tdx"`) {
		t.Errorf("got %v, want UNSUPPORTED with a hint", err)
	}
}

func TestTheNamesOfAllFormatsAreInTheHint(t *testing.T) {
	made, _ := enclave(t)
	_, err := made.Detect([]byte("hello"))
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || !strings.Contains(caller.Hint, "nitro, nitrotpm, sev-snp") {
		t.Errorf("got %v, want a hint that names the formats", err)
	}
}

func TestAChallengeThatExpiredIsRejectedBeforeTheEvidenceIsRead(t *testing.T) {
	verifier := &broken{format: attestd.FormatNitro, verify: func() (*attestd.Claims, error) {
		return nil, &attestd.EvidenceError{Check: "nitro/size", Class: attestd.ClassTooLarge}
	}}
	made := judge.NewWith([]verifiers.Verifier{verifier})
	_, request := enclave(t)
	for _, row := range []struct {
		name  string
		late  time.Duration
		check attestd.CheckID
		asked int
	}{
		{"at its last moment it is answered", 0, "nitro/size", 1},
		// neg: 155
		{"one millisecond later it is not", time.Millisecond, judge.CheckChallengeExpired, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			verifier.asked = 0
			request.ChallengeExpiresAt = request.At.Add(-row.late)
			verdict, err := made.Judge(request)
			if err != nil || verdict.Verdict != attestd.VerdictRejected {
				t.Fatalf("got %v, %v, want rejected", verdict.Verdict, err)
			}
			if verdict.Reasons[0].Check != row.check || verifier.asked != row.asked {
				t.Errorf("got %s after %d calls, want %s after %d", verdict.Reasons[0].Check,
					verifier.asked, row.check, row.asked)
			}
		})
	}
}

func TestRefuseIsARejectionWithTheCheckOfTheChallenge(t *testing.T) {
	made, request := enclave(t)
	for _, check := range []attestd.CheckID{judge.CheckChallengeKnown, judge.CheckChallengeExpired} {
		verdict, err := made.Refuse(request, check, "a nonce that was used", "one that is outstanding")
		if err != nil || verdict.Verdict != attestd.VerdictRejected || len(verdict.Reasons) != 1 ||
			verdict.Reasons[0].Check != check || verdict.Reasons[0].Group != attestd.GroupChallenge ||
			verdict.Reasons[0].Remedy == "" || verdict.Policy.ID != appraisal.Recorded {
			t.Errorf("got %+v, %v, want rejected by %s", verdict, err, check)
		}
	}
	if _, err := made.Refuse(request, "nitro/debug", "", ""); err == nil {
		t.Error("a check that is none of challenges was refused with")
	}
}

// TestAFaultOfAVerifierIsNeverAVerdict: a verifier that fails is a bug of ours, not bad evidence.
//
// neg: 169
func TestAFaultOfAVerifierIsNeverAVerdict(t *testing.T) {
	_, request := enclave(t)
	for _, row := range []struct {
		name   string
		verify func() (*attestd.Claims, error)
		want   string
	}{
		{"a panic", func() (*attestd.Claims, error) { panic("secret bytes of evidence") }, "panic"},
		{"an index out of range", func() (*attestd.Claims, error) {
			return nil, errors.New(string(request.Evidence[len(request.Evidence)+len(t.Name()):]))
		}, "out of range"},
		{"an error that is no answer", func() (*attestd.Claims, error) {
			return nil, errors.New("disk full")
		}, "disk full"},
		{"an answer that is nil", func() (*attestd.Claims, error) {
			return nil, (*attestd.EvidenceError)(nil)
		}, "nil pointer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			made := judge.NewWith([]verifiers.Verifier{
				&broken{format: attestd.FormatNitro, verify: row.verify},
			})
			verdict, err := made.Judge(request)
			var bug *judge.Bug
			var caller *attestd.CallerError
			if !errors.As(err, &bug) || errors.As(err, &caller) {
				t.Fatalf("got %v, want a bug", err)
			}
			if !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q and nothing of the evidence", err, row.want)
			}
			if verdict.Verdict != attestd.VerdictUndecided || verdict.Risk.Int() != 100 {
				t.Errorf("got %v, want the zero appraisal", verdict.Verdict)
			}
		})
	}
	made := judge.NewWith([]verifiers.Verifier{&broken{format: attestd.FormatNitro,
		detect: func() bool { panic("detect") }}})
	var bug *judge.Bug
	if _, err := made.Detect([]byte("x")); !errors.As(err, &bug) || len(bug.Stack) == 0 {
		t.Errorf("detect: got %v, want a bug with its stack", err)
	}
	if _, err := made.Inspect(attestd.FormatNitro, []byte("x")); !errors.As(err, &bug) {
		t.Errorf("inspect: got %v, want a bug", err)
	}
}

func TestAVerifierThatSaysNothingIsRejected(t *testing.T) {
	_, request := enclave(t)
	made := judge.NewWith([]verifiers.Verifier{&broken{format: attestd.FormatNitro,
		verify: func() (*attestd.Claims, error) { return nil, nil }}})
	verdict, err := made.Judge(request)
	if err != nil || verdict.Verdict != attestd.VerdictRejected ||
		verdict.Reasons[0].Check != appraisal.CheckClaims {
		t.Errorf("got %v, %v, want rejected by %s", verdict.Verdict, err, appraisal.CheckClaims)
	}
}

func TestWhatTheCallerMustMendStaysTheCallers(t *testing.T) {
	_, request := enclave(t)
	want := &attestd.CallerError{Class: attestd.ClassUnsupported, Hint: "use a binding"}
	made := judge.NewWith([]verifiers.Verifier{&broken{format: attestd.FormatNitro,
		verify: func() (*attestd.Claims, error) { return nil, want }}})
	var caller *attestd.CallerError
	if _, err := made.Judge(request); !errors.As(err, &caller) || caller != want {
		t.Errorf("got %v, want the verifier's own error", err)
	}
}

func TestEvidenceOfTwoFormatsIsNotGuessed(t *testing.T) {
	made := judge.NewWith([]verifiers.Verifier{
		&broken{format: attestd.FormatNitro}, &broken{format: attestd.FormatNitroTPM},
	})
	var caller *attestd.CallerError
	if _, err := made.Detect([]byte("x")); !errors.As(err, &caller) ||
		!strings.Contains(err.Error(), "nitro and like nitrotpm") {
		t.Errorf("got %v, want an error that names both", err)
	}
}

func TestInspectBelievesNothingAndSaysSo(t *testing.T) {
	made, request := enclave(t)
	inspection, err := made.Inspect("", request.Evidence)
	if err != nil || inspection.Format != attestd.FormatNitro || len(inspection.Fields) == 0 {
		t.Errorf("got %+v, %v, want decoded fields", inspection, err)
	}
	for _, evidence := range [][]byte{nil, make([]byte, judge.MaxEvidence+1), []byte("hello")} {
		if _, err := made.Inspect("", evidence); err == nil {
			t.Errorf("%d bytes were inspected", len(evidence))
		}
	}
}

func TestSpecsAndFactsAreWholeAndOnce(t *testing.T) {
	made, _ := enclave(t)
	seen := map[attestd.CheckID]bool{}
	for _, spec := range made.Specs() {
		if seen[spec.ID] {
			t.Errorf("%s stands twice", spec.ID)
		}
		seen[spec.ID] = true
	}
	for _, id := range []attestd.CheckID{
		"nitro/debug", "nitrotpm/region", "sev-snp/tcb-floor", "tpm/clock-order", appraisal.CheckMeasurement,
		appraisal.CheckOwnership, appraisal.CheckRoots, appraisal.CheckPolicy, appraisal.CheckFormat,
		appraisal.CheckClaims, judge.CheckChallengeKnown, judge.CheckChallengeExpired,
	} {
		if !seen[id] {
			t.Errorf("%s is missing", id)
		}
	}
	facts := made.Facts()
	for _, format := range made.Formats() {
		if len(facts[format]) == 0 {
			t.Errorf("%s has no facts", format)
		}
	}
	list, err := all.New(all.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := made.Formats(); len(got) != len(list) {
		t.Errorf("got %v, want a format for each of %d verifiers", got, len(list))
	}
	for _, verifier := range list {
		if !slices.Contains(made.Formats(), verifier.Format()) {
			t.Errorf("%s is missing", verifier.Format())
		}
	}
}

func TestSignaturesAreCountedOverAllVerifiers(t *testing.T) {
	made, request := enclave(t)
	if _, err := made.Judge(request); err != nil {
		t.Fatal(err)
	}
	cold := made.SignaturesVerified()
	if _, err := made.Judge(request); err != nil {
		t.Fatal(err)
	}
	if warm := made.SignaturesVerified() - cold; cold == 0 || warm != 1 {
		t.Errorf("got %d signatures cold and %d warm, want some and 1", cold, warm)
	}
}

// TestOneJudgeServesManyAtOnce judges in parallel under two policies: each verdict names exactly the
// one it was asked for.
//
// neg: 178
func TestOneJudgeServesManyAtOnce(t *testing.T) {
	made, request := enclave(t)
	production, err := appraisal.Builtin(appraisal.Production)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 64 {
		request := request
		if i%2 == 0 {
			request.Policy = production
		}
		group.Go(func() {
			verdict, err := made.Judge(request)
			if err != nil || verdict.Policy != request.Policy.Ref() {
				t.Errorf("got %+v, %v, want %+v", verdict.Policy, err, request.Policy.Ref())
			}
		})
	}
	group.Wait()
}

func TestVerifyGivesClaimsAndAppraisesNothing(t *testing.T) {
	made, request := enclave(t)
	request.Policy = nil
	claims, err := made.Verify(request)
	if err != nil || !claims.Proven() || claims.Format() != attestd.FormatNitro {
		t.Errorf("got %v, %v, want claims", claims, err)
	}
	request.Evidence = append(request.Evidence, 0)
	var rejected *attestd.EvidenceError
	if claims, err := made.Verify(request); claims != nil || !errors.As(err, &rejected) {
		t.Errorf("got %v, %v, want a rejection alone", claims, err)
	}
	request.Demand = attestd.Demand{}
	if claims, err := made.Verify(request); claims != nil || err == nil {
		t.Errorf("got %v, %v, want an error", claims, err)
	}
}
