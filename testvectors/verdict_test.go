package testvectors_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors"
)

// entry is one way into the product. All of them are asked the same question: the vector as it
// stands, under the policy "recorded", at a time, with the nonce and the trusted key of its record.
type entry interface {
	ask(t *testing.T, vector testvectors.Vector, at time.Time) attestd.Appraisal
}

// library is the entry of Go programs: the judge in this process.
type library struct {
	judge  *judge.Judge
	policy *appraisal.Policy
}

func newLibrary(t *testing.T, config judge.Config) library {
	t.Helper()
	built, err := judge.New(config)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := appraisal.Builtin("recorded")
	if err != nil {
		t.Fatal(err)
	}
	return library{judge: built, policy: policy}
}

func (l library) request(
	t *testing.T, vector testvectors.Vector, at time.Time,
) judge.Request {
	t.Helper()
	request := judge.Request{
		Evidence: vector.Evidence, Endorsements: vector.Endorsements, At: at,
		Demand: attestd.Recorded(), Policy: l.policy,
	}
	if len(vector.DemandNonce) > 0 {
		demand, err := request.Demand.WithNonce(vector.DemandNonce)
		if err != nil {
			t.Fatal(err)
		}
		request.Demand = demand
	}
	if document := vector.Reference(); document != nil {
		set, err := measurements.Parse("reference", document)
		if err != nil {
			t.Fatal(err)
		}
		if request.References, err = measurements.NewIndex(set); err != nil {
			t.Fatal(err)
		}
	}
	return request
}

func (l library) ask(t *testing.T, vector testvectors.Vector, at time.Time) attestd.Appraisal {
	t.Helper()
	verdict, err := l.judge.Judge(l.request(t, vector, at))
	if err != nil {
		t.Fatalf("no verdict: %v", err)
	}
	return verdict
}

// decisive returns the check that an unfavourable verdict rests on: the first failed check that the
// policy does not merely score. Empty for an acceptance.
func decisive(verdict attestd.Appraisal) attestd.CheckID {
	for _, reason := range verdict.Reasons {
		if reason.Effect != attestd.EffectScored {
			return reason.Check
		}
	}
	return ""
}

// compare wants the verdict that the vector's record states.
func compare(t *testing.T, vector testvectors.Vector, verdict attestd.Appraisal) {
	t.Helper()
	if verdict.Verdict != vector.Expect || decisive(verdict) != vector.Check {
		t.Fatalf("%v by %q, want %v by %q; reasons: %+v", verdict.Verdict, decisive(verdict),
			vector.Expect, vector.Check, verdict.Reasons)
	}
	if verdict.Format != vector.Format || verdict.Freshness != attestd.FreshnessNotShown {
		t.Errorf("format %q, freshness %v", verdict.Format, verdict.Freshness)
	}
	if verdict.Verdict.String() != verdict.Tier.Verdict().String() {
		t.Errorf("verdict %v beside tier %v", verdict.Verdict, verdict.Tier)
	}
	goldenFacts(t, vector, verdict)
}

// goldenFacts compares facts as their compact JSON text, without the quotes of a text.
func goldenFacts(t *testing.T, vector testvectors.Vector, verdict attestd.Appraisal) {
	t.Helper()
	var facts map[string]json.RawMessage
	if len(vector.Claims) > 0 {
		if err := json.Unmarshal(verdict.Claims, &facts); err != nil {
			t.Fatalf("claims %.80q: %v", verdict.Claims, err)
		}
	}
	for name, want := range vector.Claims {
		var compact bytes.Buffer
		if err := json.Compact(&compact, facts[name]); err != nil {
			t.Errorf("fact %s: %v", name, err)
			continue
		}
		got, text := compact.String(), ""
		if json.Unmarshal(facts[name], &text) == nil {
			got = text
		}
		if got != want {
			t.Errorf("fact %s is %s, want %s", name, got, want)
		}
	}
}

// agrees asks an entry about a vector and wants the verdict of its record and the library's answer.
func agrees(t *testing.T, through entry, vector testvectors.Vector, want attestd.Appraisal) {
	t.Helper()
	verdict := through.ask(t, vector, vector.At)
	compare(t, vector, verdict)
	sameAnswer(t, verdict, want)
}

// sameAnswer wants two entries to answer alike in everything but the name under which one stored it.
func sameAnswer(t *testing.T, got, want attestd.Appraisal) {
	t.Helper()
	got.ID, want.ID = "", ""
	gotText, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(gotText) != string(wantText) {
		t.Errorf("answers differ:\n%s\nwant the library's:\n%s", gotText, wantText)
	}
}
