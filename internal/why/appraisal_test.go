package why_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/why"
)

const named = "019f0c3e-5b7a-7c31-9d2e-8f6a41c07b55"

func rejected(by attestd.CheckID, handles ...attestd.Handle) attestd.Appraisal {
	return attestd.Appraisal{
		ID: named, Verdict: attestd.VerdictRejected, Format: attestd.FormatTPM, At: noon.Add(-time.Minute),
		Reasons: []attestd.Reason{{Check: by, Points: 100, Detail: "got 1, want 0"}}, Handles: handles,
	}
}

// TestWhyOfAnAppraisal: what SPIRE's log tells people to type is answered by that verdict's own check,
// and by what is of its subject now.
func TestWhyOfAnAppraisal(t *testing.T) {
	hardware := attestd.Handle{Kind: attestd.HandleInstance, Value: instance.Value}
	stands := &attestd.Standing{Subject: string(id), Tenant: "blue"}
	for _, row := range []struct {
		name    string
		verdict attestd.Appraisal
		world   func(*shelf, index)
		tenant  string
		code    string
		granted bool
		// cause and steps are parts of the answer; whom is the subject that it names.
		cause, steps string
		whom         subject.ID
	}{
		{
			"rejected, and its subject's latest", rejected("tpm/event-log", hardware),
			func(s *shelf, x index) {
				s.subjects[0].AppraisalID, x[id] = named, live.Standing{ID: id, Known: true, Tenant: "blue"}
			},
			"blue", why.EvidenceRejected, false, "this evidence was rejected by tpm/event-log: got 1",
			"appraisal holds ownership", id,
		},
		{
			"rejected, and better evidence came since", rejected("tpm/event-log", hardware), nil,
			"blue", why.Granted, true, "better evidence came since", "appraisal holds evidence", id,
		},
		{
			"rejected, of hardware that nobody owns",
			rejected("nitro/debug", attestd.Handle{Kind: attestd.HandleInstance, Value: "77"}), nil,
			"blue", why.EvidenceRejected, false, "nitro/debug", "appraisal holds ownership", "",
		},
		{
			"not authentic, so it names nobody", rejected("tpm/signature"), nil,
			"blue", why.EvidenceRejected, false, "tpm/signature", "registry appraisal", "",
		},
		{
			"undecided", func() attestd.Appraisal {
				v := rejected("sev-snp/vcek-present")
				v.Verdict, v.Reasons[0].Effect = attestd.VerdictUndecided, attestd.EffectUndecided
				return v
			}(), nil, "blue", why.EvidenceUndecided, false, "could not be judged, by sev-snp/vcek-present",
			"registry appraisal", "",
		},
		{
			"accepted, and held since",
			attestd.Appraisal{ID: named, Verdict: attestd.VerdictAccepted, At: noon, Standing: stands},
			func(s *shelf, x index) {
				x[id] = live.Standing{ID: id, Known: true, Tenant: "blue"}
				s.bars = []subject.Bar{{Key: instance, Tenant: "blue", State: attestd.StateQuarantined, Text: "alert"}}
			},
			"blue", why.Quarantined, false, "alert", "appraisal holds", id,
		},
		{
			"another tenant's",
			attestd.Appraisal{ID: named, Verdict: attestd.VerdictRejected, Standing: stands},
			nil, "red", why.NeverSeen, false, "no appraisal of that id", "registry", "",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			whole := well()
			store := &shelf{
				subjects: []subject.Subject{*whole.Known.Subject}, owners: whole.Known.Owners,
				verdicts: map[string]attestd.Appraisal{named: row.verdict},
			}
			states := index{id: whole.Standing}
			if row.world != nil {
				row.world(store, states)
			}
			asker, err := why.New(why.Config{
				Store: store, Index: states, Now: func() time.Time { return noon }, SPIRE: no{},
			})
			if err != nil {
				t.Fatal(err)
			}
			who := operator.Principal{
				Name: "ann", Roles: []operator.Role{operator.Viewer}, Tenants: []string{row.tenant},
			}
			got, err := asker.Why(t.Context(), who, strings.ToUpper(named))
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			for _, step := range got.Steps {
				steps = append(steps, step.Name)
			}
			if got.Code != row.code || got.Granted != row.granted || got.Subject != row.whom ||
				!strings.Contains(got.Cause, row.cause) || !strings.Contains(strings.Join(steps, " "), row.steps) {
				t.Errorf("%s (granted %t) of %q: %s; steps %q", got.Code, got.Granted, got.Subject, got.Cause, steps)
			}
		})
	}
}

// TestWhyOfAnAppraisalThatIsGone says so, in place of that nobody has that name; a store that is down
// is said as of any target.
func TestWhyOfAnAppraisalThatIsGone(t *testing.T) {
	store := &shelf{}
	asker, err := why.New(why.Config{
		Store: store, Index: index{}, Now: func() time.Time { return noon }, SPIRE: no{},
	})
	if err != nil {
		t.Fatal(err)
	}
	who := operator.Principal{Name: "ann", Roles: []operator.Role{operator.Viewer}, Tenants: []string{"*"}}
	got, err := asker.Why(t.Context(), who, named)
	if err != nil || got.Code != why.NeverSeen || !strings.Contains(got.Cause, "no appraisal of that id") {
		t.Errorf("%v: %s: %s", err, got.Code, got.Cause)
	}
	store.broken = errors.New("disk")
	if got, err = asker.Why(t.Context(), who, named); err != nil || got.Code != why.StoreDown {
		t.Errorf("store down: %v: %s", err, got.Code)
	}
	for target, want := range map[string]bool{
		named: true, strings.ToUpper(named): true, named + "0": false, named[:35]: false,
		strings.Replace(named, "-7", "-4", 1): false, strings.Replace(named, "9", "g", 1): false,
	} {
		if why.NamesAppraisal(target) != want {
			t.Errorf("%s: want %t", target, want)
		}
	}
}
