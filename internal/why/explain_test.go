package why_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/why"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const id = subject.ID("spiffe://example.org/spire/agent/attestd/tpm/9c41f3aa")

var instance = subject.Key{Kind: "instance", Value: "9c41f3aa"}

// well is a machine that nothing stands in the way of.
func well() why.Facts {
	one := subject.Subject{
		ID: id, Tenant: "blue", Format: attestd.FormatTPM, State: attestd.StateTrusted,
		Instance:  attestd.Handle{Kind: attestd.HandleInstance, Value: instance.Value},
		Ownership: subject.MethodInventory, Floor: attestd.Risk(12), Host: "5d3e77a0",
		EvidenceAt: noon.Add(-12 * time.Minute), DueAt: noon.Add(48 * time.Minute),
	}
	return why.Facts{
		Target: string(id), Now: noon, Sees: func(tenant string) bool { return tenant == "blue" },
		Known: &subject.Known{Subject: &one, Owners: []subject.Ownership{{
			Key: instance, Tenant: "blue", Method: subject.MethodInventory, Status: subject.StatusApproved,
			Label: "rack 4", CreatedAt: noon.Add(-time.Hour),
		}}},
		Standing: live.Standing{
			ID: id, Known: true, Tenant: "blue", Ownership: subject.MethodInventory,
			State: attestd.StateTrusted, Tier: attestd.TierLow, Risk: attestd.Risk(12),
			EvidenceAt: one.EvidenceAt, DueAt: one.DueAt,
		},
	}
}

func bar(kind string, state attestd.State, tenant string) subject.Bar {
	return subject.Bar{
		Key: subject.Key{Kind: kind, Value: "v"}, State: state, Tenant: tenant, Text: "alert 4471",
		Ticket: "SEC-17", By: "ann", At: noon.Add(-time.Minute), Code: subject.CodeOperator,
	}
}

func TestWhyNamesTheFirstThingThatIsMissing(t *testing.T) {
	for _, row := range []struct {
		name  string
		world func(*why.Facts)
		code  string
		// cause, fix and missing are part of the answer; missing is the name of the step.
		cause, fix, missing string
	}{
		{"nothing is in the way", func(*why.Facts) {}, why.Granted, "nothing stands", "", ""},
		{"nobody of that name was ever seen", func(f *why.Facts) {
			f.Known, f.Standing = &subject.Known{}, live.Standing{}
		}, why.NeverSeen, "ever been seen", "attestd subject ls --text", "evidence"},
		{"enrolled, but its agent never came", func(f *why.Facts) {
			f.Known.Subject, f.Standing = nil, live.Standing{}
		}, why.NeverSeen, "is enrolled, but has never", "attestd evidence tpm", "evidence"},
		{"the machine waits for approval", func(f *why.Facts) {
			f.Known.Subject, f.Standing = nil, live.Standing{}
			f.Known.Owners[0].Status, f.Known.Owners[0].Seen = subject.StatusPending, 7
		}, why.NotEnrolled, "nobody has said that it is ours",
			"attestd enroll approve instance:9c41f3aa --tenant blue", "ownership"},
		{"somebody denied the machine", func(f *why.Facts) {
			f.Known.Subject, f.Standing = nil, live.Standing{}
			f.Known.Owners[0].Status, f.Known.Owners[0].By = subject.StatusDenied, "bob"
		}, why.Denied, "refused it (rack 4)", "attestd enroll rm instance:9c41f3aa", "ownership"},
		{"its enrolment has expired", func(f *why.Facts) {
			f.Known.Owners[0].ExpiresAt = noon.Add(-time.Second)
			f.Standing = live.Standing{}
		}, why.Expired, "expired (rack 4)", "attestd enroll approve instance:9c41f3aa", "ownership"},
		{"the hardware is another tenant's", func(f *why.Facts) {
			f.Sees = func(string) bool { return true }
			f.Known.Owners[0].Tenant, f.Standing = "red", live.Standing{}
		}, why.OtherTenant, "for another tenant", "attestd enroll ls --text 9c41f3aa", "ownership"},
		{"its latest evidence is rejected", func(f *why.Facts) {
			f.Known.Subject.State, f.Standing.State = attestd.StateSuspect, attestd.StateSuspect
			f.Verdict = &attestd.Appraisal{Verdict: attestd.VerdictRejected, At: noon, Reasons: []attestd.Reason{
				{Check: "collateral/crl-age", Effect: attestd.EffectScored, Points: 12},
				{Check: "measurement/known", Effect: attestd.EffectRejects, Points: 100, Detail: "PCR9 differs"},
			}}
		}, why.EvidenceRejected, "measurement/known: PCR9 differs", "attestd explain measurement/known", "evidence"},
		{"its evidence was judged again by a stricter policy", func(f *why.Facts) {
			f.Known.Subject.State, f.Standing.State = attestd.StateSuspect, attestd.StateSuspect
			f.Known.Subject.Floor = attestd.Risk(100)
		}, why.EvidenceRejected, "the policy or the reference values in force now reject it",
			"attestd subject history " + string(id), "evidence"},
		{"fresh evidence is late", func(f *why.Facts) {
			f.Known.Subject.DueAt = noon.Add(-90 * time.Second)
			f.Standing.Overdue, f.Standing.State = true, attestd.StateSuspect
		}, why.Overdue, "has not attested in time", "attestd evidence tpm", "deadline"},
		{"a signal speaks against it", func(f *why.Facts) {
			f.Known.Subject.State, f.Standing.State = attestd.StateSuspect, attestd.StateSuspect
			f.Known.Subject.Signals = []subject.Signal{
				{Code: subject.CodeKeyChurn, Points: 60, Detail: "three keys in 40 s"},
				{Code: subject.CodeClone, Points: 90, Detail: "long over", Until: noon.Add(-time.Hour)},
			}
		}, why.Suspect, "key-churn +60 (three keys in 40 s)", "attestd subject history " + string(id), "state"},
		{"a person quarantined the name", func(f *why.Facts) {
			f.Known.Bars = []subject.Bar{bar("subject", attestd.StateQuarantined, "blue")}
			f.Standing.State = attestd.StateQuarantined
		}, why.Quarantined, "the name is quarantined: alert 4471 [SEC-17]", "attestd release " + string(id), "holds"},
		{"the hardware is quarantined", func(f *why.Facts) {
			f.Known.Subject, f.Standing = nil, live.Standing{}
			f.Known.Bars = []subject.Bar{bar("instance", attestd.StateQuarantined, "blue")}
		}, why.Quarantined, "the hardware is quarantined", "attestd release instance:v", "holds"},
		{"the host is quarantined", func(f *why.Facts) {
			f.Known.Bars = []subject.Bar{bar("host", attestd.StateQuarantined, "blue")}
			f.Standing.State = attestd.StateQuarantined
		}, why.Quarantined, "the host it runs on is quarantined", "attestd release host:v", "holds"},
		{"the host is quarantined by those who run it for all", func(f *why.Facts) {
			f.Known.Bars = []subject.Bar{bar("host", attestd.StateQuarantined, "*")}
			f.Standing.State = attestd.StateQuarantined
		}, why.Quarantined, "the host it runs on is quarantined", "ask whoever runs attestd for all tenants", "holds"},
		{"revoked counts before quarantined", func(f *why.Facts) {
			f.Known.Bars = []subject.Bar{
				bar("subject", attestd.StateQuarantined, "blue"), bar("host", attestd.StateRevoked, "blue"),
			}
			f.Standing.State = attestd.StateRevoked
		}, why.Revoked, "is revoked", "nothing lifts it", "holds"},
		{"the store is down and memory refuses", func(f *why.Facts) {
			f.Known = nil
			f.Standing.State = attestd.StateSuspect
		}, why.StoreDown, "store is down: nothing new", "attestd doctor", "registry"},
		{"another tenant's machine looks like one that was never seen", func(f *why.Facts) {
			f.Sees = func(tenant string) bool { return tenant == "red" }
			f.Known.Bars = []subject.Bar{bar("instance", attestd.StateRevoked, "blue")}
		}, why.NeverSeen, "ever been seen", "attestd subject ls --text", "evidence"},
		{"the index refuses what the registry has as trusted", func(f *why.Facts) {
			f.Standing = live.Standing{}
		}, why.Changing, "differs at this moment", "attestd why", ""},
		{"the index would grant what the registry has as held", func(f *why.Facts) {
			f.Known.Bars = []subject.Bar{bar("subject", attestd.StateQuarantined, "blue")}
		}, why.Changing, "differs at this moment", "attestd why", "holds"},
	} {
		t.Run(row.name, func(t *testing.T) {
			facts := well()
			row.world(&facts)
			got := why.Explain(facts)
			if got.Code != row.code || got.Granted != (row.code == why.Granted) || got.Schema != why.Schema {
				t.Errorf("got %q, granted %t, want %q", got.Code, got.Granted, row.code)
			}
			if !strings.Contains(got.Cause, row.cause) || !strings.Contains(got.Fix, row.fix) {
				t.Errorf("cause %q\nfix %q\nwant %q\nand %q", got.Cause, got.Fix, row.cause, row.fix)
			}
			missing := ""
			for _, step := range got.Steps {
				if !step.OK && missing == "" {
					missing = step.Name
				}
				if step.Detail == "" {
					t.Errorf("step %s says nothing", step.Name)
				}
			}
			if missing != row.missing {
				t.Errorf("missing step %q, want %q", missing, row.missing)
			}
			if (got.Fix == "") != got.Granted {
				t.Errorf("granted %t, fix %q", got.Granted, got.Fix)
			}
		})
	}
}

// TestWhyOfAStoreThatIsDownStillSaysWhatMemoryGrants: people must not be told that a machine is cut off
// while it is not.
func TestWhyOfAStoreThatIsDownStillSaysWhatMemoryGrants(t *testing.T) {
	facts := well()
	facts.Known = nil
	got := why.Explain(facts)
	if !got.Granted || got.Code != why.StoreDown || !strings.Contains(got.Cause, "granted from memory") {
		t.Errorf("%+v", got)
	}
}

// TestWhyTellsNothingOfOtherTenants: neither their names nor their words. neg: 188
func TestWhyTellsNothingOfOtherTenants(t *testing.T) {
	for _, hide := range []func(string) bool{nil, func(tenant string) bool { return tenant == "red" }} {
		facts := well()
		facts.Sees = hide
		facts.Known.Bars = []subject.Bar{bar("instance", attestd.StateQuarantined, "blue")}
		facts.Known.Subject.Signals = []subject.Signal{{Code: subject.CodeClone, Detail: "seen in cellar"}}
		facts.Verdict = &attestd.Appraisal{Verdict: attestd.VerdictRejected}
		stranger := why.Facts{Target: facts.Target, Now: noon, Sees: hide, Known: &subject.Known{}}
		got, want := why.Explain(facts), why.Explain(stranger)
		if got.Code != want.Code || got.Cause != want.Cause || got.Fix != want.Fix ||
			len(got.Steps) != len(want.Steps) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		for i := range got.Steps {
			if got.Steps[i] != want.Steps[i] {
				t.Errorf("step %d: got %+v, want %+v", i, got.Steps[i], want.Steps[i])
			}
		}
	}
	facts := well()
	facts.Known.Bars = []subject.Bar{bar("host", attestd.StateQuarantined, "red")}
	facts.Standing.State = attestd.StateQuarantined
	got := why.Explain(facts)
	for _, step := range got.Steps {
		if said := step.Detail + got.Cause + got.Fix; strings.Contains(said, "4471") ||
			strings.Contains(said, "SEC-17") || strings.Contains(said, "ann") {
			t.Errorf("it says %q", said)
		}
	}
}

func TestZeroFactsGrantNothing(t *testing.T) {
	if got := why.Explain(why.Facts{}); got.Granted || got.Code != why.StoreDown {
		t.Errorf("%+v", got)
	}
}
