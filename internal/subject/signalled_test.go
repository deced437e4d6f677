package subject_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

const workload = subject.ID("spiffe://example.org/agent/ranker")

// behaviours are what attestd's detectors see.
var behaviours = []subject.Code{
	subject.CodeTenantPivot, subject.CodeTwoPlaces, subject.CodeNovelScope, subject.CodeDenialBurst,
}

// native returns a detector's signal.
func native(code subject.Code, at time.Time) subject.Signal {
	group, points, lasts, _ := subject.Behaviour(code)
	return subject.Signal{
		Code: code, Group: group, Points: points, Source: subject.SourceSelf, At: at, Until: at.Add(lasts),
	}
}

func reported(source string, points int, at time.Time) subject.Signal {
	return subject.Signal{
		Code: "prompt-injection", Group: "prompt", Points: points, Source: source, Detail: "a rule", At: at,
		Until: at.Add(time.Hour), Fade: 30 * time.Minute,
	}
}

func signal(row *subject.Subject, one subject.Signal) subject.Reported {
	return subject.Signalled(row, subject.Report{ID: workload, Tenant: "blue", Signal: one, Cap: 30})
}

// TestNoBehaviourAloneMakesRiskHigh: whoever makes a caller ask for what it is denied does not take
// it out, however often and in however many ways it is denied.
func TestNoBehaviourAloneMakesRiskHigh(t *testing.T) {
	var row *subject.Subject
	for _, code := range []subject.Code{
		subject.CodeTenantPivot, subject.CodeNovelScope, subject.CodeDenialBurst, subject.CodeDenialBurst,
	} {
		out := signal(row, native(code, start))
		row = &out.Next
	}
	if risk, _ := row.RiskAt(start); risk.Int() != 45 || risk.Tier() != attestd.TierMedium {
		t.Errorf("all that comes of denials is a risk of %s", risk)
	}
	out := signal(row, native(subject.CodeTwoPlaces, start))
	if risk, _ := out.Next.RiskAt(start); risk.Tier() != attestd.TierHigh {
		t.Errorf("with its credential in two places the risk is %s", risk)
	}
	if _, _, _, found := subject.Behaviour(subject.CodeClone); found {
		t.Error("a proof of a copy is no behaviour")
	}
}

// TestANameWithoutHardwareHasARowOfItsSignalsAlone: it owns nothing, grants nothing, and its risk
// is what was said of it.
func TestANameWithoutHardwareHasARowOfItsSignalsAlone(t *testing.T) {
	out := signal(nil, reported("token:guard", 20, start))
	if out.Points != 20 || len(out.Subjects) != 1 || out.Subjects[0].Expect != 0 {
		t.Fatalf("got %+v", out)
	}
	next := out.Next
	risk, _ := next.RiskAt(start)
	if risk.Int() != 20 || next.State != attestd.StateUnknown || next.Format != "" || next.Tenant != "blue" ||
		next.Ownership != subject.MethodNone || next.Epoch != 1 || next.TierAt(start) != attestd.TierUnknown {
		t.Errorf("risk %s, %+v", risk, next)
	}
	if len(out.Audit) != 1 || out.Audit[0].Action != "subject.signal" || out.Audit[0].Actor != "token:guard" ||
		len(out.History) != 1 || out.History[0].Kind != subject.EventSignal {
		t.Errorf("records %+v, history %+v", out.Audit, out.History)
	}
	again := signal(&next, native(subject.CodeTwoPlaces, start))
	again = signal(&again.Next, native(subject.CodeTenantPivot, start))
	if again.Next.State != attestd.StateUnknown {
		t.Errorf("a name that no evidence can mend became %s", again.Next.State)
	}
}

// TestAMachineWithHighRiskIsSuspectAtOnce in the write of the signal.
func TestAMachineWithHighRiskIsSuspectAtOnce(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted")
	m.carryOut(signal(m.row, native(subject.CodeTwoPlaces, m.now)).Write)
	if m.state() != attestd.StateTrusted {
		t.Fatalf("at medium risk it is %s", m.state())
	}
	m.carryOut(signal(m.row, native(subject.CodeTenantPivot, m.now)).Write)
	if m.state() != attestd.StateSuspect {
		t.Errorf("at high risk it is %s", m.state())
	}
	m.lay(attestd.StateQuarantined, "anna")
	m.carryOut(signal(m.row, native(subject.CodeNovelScope, m.now)).Write)
	if m.state() != attestd.StateQuarantined {
		t.Errorf("a signal made it %s", m.state())
	}
}

// TestASourceHasACapOnEachSubject over all that it says, and one that has used it up writes
// nothing.
func TestASourceHasACapOnEachSubject(t *testing.T) {
	first := reported("token:guard", 25, start)
	out := signal(nil, first)
	second := first
	second.Code, second.Group = "exfiltration", "tools"
	out = signal(&out.Next, second)
	if out.Points != 5 || !out.Capped {
		t.Errorf("got %d points of 25 over 25 under a cap of 30", out.Points)
	}
	third := first
	third.Code, third.Group = "jailbreak", "prompt"
	full := signal(&out.Next, third)
	if full.Points != 0 || !full.Empty() || !full.Capped || len(full.Audit) != 0 {
		t.Errorf("over the cap it writes %+v", full)
	}
	other := first
	other.Source, other.Code, other.Group = "token:edr", "host-compromise", "host"
	more := signal(&out.Next, other)
	if more.Points != 25 || more.Capped {
		t.Errorf("another source got %d points", more.Points)
	}
	if risk, _ := more.Next.RiskAt(start); risk.Int() != subject.SourceCap {
		t.Errorf("all sources together make a risk of %s", risk)
	}
}

// TestSignalsFade: half is left after each half-life, nothing after the end, and at the zero time,
// which the index of grants reads as "at worst", all of it.
func TestSignalsFade(t *testing.T) {
	one := reported("token:guard", 20, start)
	for _, row := range []struct {
		at   time.Time
		want int
	}{
		{time.Time{}, 20}, {start, 20}, {start.Add(30*time.Minute - 1), 20}, {start.Add(30 * time.Minute), 10},
		{start.Add(time.Hour - 1), 10}, {start.Add(time.Hour), 0},
	} {
		if got, _ := subject.Weigh(attestd.Risk(0), []subject.Signal{one}, row.at); got.Int() != row.want {
			t.Errorf("after %s it has %s points, want %d", row.at.Sub(start), got, row.want)
		}
	}
	out := signal(nil, one)
	if next, ever := out.Next.Changes(start); !ever || !next.Equal(start.Add(30*time.Minute)) {
		t.Errorf("it changes at %s, %t", next, ever)
	}
	later := start.Add(30 * time.Minute)
	write, follows := subject.Ended(out.Next, later)
	if !follows {
		t.Fatal("nothing follows from fading")
	}
	faded := write.Subjects[0].Next
	if risk, _ := faded.RiskAt(later); risk.Int() != 10 || faded.Epoch != out.Next.Epoch+1 {
		t.Errorf("risk %s, epoch %d", risk, faded.Epoch)
	}
	if _, follows = subject.Ended(faded, later.Add(time.Second)); follows {
		t.Error("the same again is written again")
	}
	if next, ever := faded.Changes(later); !ever || !next.Equal(start.Add(time.Hour)) {
		t.Errorf("then it changes at %s, %t", next, ever)
	}
	if _, ever := (subject.Subject{}).Changes(start); ever {
		t.Error("nothing changes by itself")
	}
}

// TestASignalNeverLowersRisk, whoever gives it and whatever stands already; nor does a repetition
// make anything weaker.
func TestASignalNeverLowersRisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := subject.Subject{ID: workload, Tenant: "blue", Floor: attestd.Risk(rapid.IntRange(0, 100).Draw(t, "floor"))}
		at := start
		for range rapid.IntRange(1, 12).Draw(t, "signals") {
			at = at.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "minutes")) * time.Minute)
			before, _ := row.RiskAt(at)
			one := native(rapid.SampledFrom(behaviours).Draw(t, "code"), at)
			if rapid.Bool().Draw(t, "foreign") {
				one = reported(rapid.SampledFrom([]string{"token:a", "token:b"}).Draw(t, "source"),
					rapid.IntRange(-5, 120).Draw(t, "points"), at)
			}
			out := signal(&row, one)
			row = out.Next
			after, _ := row.RiskAt(at)
			if after.Int() < before.Int() {
				t.Fatalf("%s after, %s before", after, before)
			}
			if after != before && !out.Empty() && out.Subjects[0].Next.Epoch != row.Epoch {
				t.Fatal("the epoch stayed")
			}
		}
	})
}

// TestReleaseLeavesNoRiskOfEvidenceToAName that has none: it could never be used again.
func TestReleaseLeavesNoRiskOfEvidenceToAName(t *testing.T) {
	row := subject.Subject{ID: workload, Tenant: "blue", FirstSeenAt: start}
	key := workload.Key()
	held := subject.Lay(attestd.StateQuarantined, []subject.Key{key}, "blue", []subject.Subject{row}, nil,
		subject.Act{By: subject.SourceSelf, Automatic: true, At: start})
	bar := *held.Bars[0].Next
	free, err := subject.Lift([]subject.Key{key}, []subject.Subject{held.Subjects[0].Next},
		[]subject.Bar{bar}, subject.Release{Act: subject.Act{By: "ben", At: start}, Reimaged: "CHG-1"})
	if err != nil {
		t.Fatal(err)
	}
	next := free.Subjects[0].Next
	if risk, _ := next.RiskAt(start); risk.Int() != 0 || next.State.Grants() {
		t.Errorf("after its release it is %s at risk %s", next.State, risk)
	}
}

// TestKindsAreFoundByEachOfTheirIDs and by nothing that only looks like one.
func TestKindsAreFoundByEachOfTheirIDs(t *testing.T) {
	seen := map[subject.Code]bool{}
	for _, kind := range subject.Kinds() {
		if seen[kind.Code] || kind.Meaning == "" || kind.Group == "" || kind.Points < 1 || kind.Points > 30 {
			t.Errorf("kind %+v", kind)
		}
		seen[kind.Code] = true
		if got, found := subject.KindOf(string(kind.Code)); !found || got.Code != kind.Code {
			t.Errorf("%s is found as %s", kind.Code, got.Code)
		}
		for _, id := range slices.Concat(kind.OWASP, kind.ATLAS) {
			if got, found := subject.KindOf(id); !found || !slices.Contains(slices.Concat(got.OWASP, got.ATLAS), id) {
				t.Errorf("%s is found as %s", id, got.Code)
			}
		}
		for _, code := range behaviours {
			if kind.Code == code {
				t.Errorf("others could report what attestd sees itself: %s", code)
			}
		}
	}
	for _, list := range []struct{ prefix, edition string }{{"LLM", ":2025"}, {"ASI", ":2026"}} {
		for i := range 10 {
			id := list.prefix + string([]byte{'0' + byte((i+1)/10), '0' + byte((i+1)%10)})
			if _, found := subject.KindOf(id + list.edition); !found {
				t.Errorf("%s is no kind", id)
			}
		}
	}
	for _, name := range []string{
		"", "llm01", "LLM11", "LLM01:2026", "ASI01:2025", "LLM01:2024", "LLM01:2025:2025", "AML.T9999",
		"AML.T0051.000:2025", "clone", "tenant-pivot", strings.Repeat("L", 4096),
	} {
		if kind, found := subject.KindOf(name); found {
			t.Errorf("%q is found as %s", name, kind.Code)
		}
	}
}
