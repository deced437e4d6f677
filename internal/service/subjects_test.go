package service_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

const agent = "spiffe://example.org/spire/agent/attestd/nitro/i-0123456789abcdef0-enc0123456789abcdef"

func TestAVerdictSaysWhoItIsWhoseItIsAndInWhichState(t *testing.T) {
	for name, row := range map[string]struct {
		owner func(w *world) *subject.Ownership
		rules []string
		want  attestd.Standing
	}{
		"a machine that is nobody's waits for approval": {
			want: attestd.Standing{Ownership: "none", Enrolment: "pending"},
		},
		"a machine of the inventory is a subject, and trusted": {
			owner: func(w *world) *subject.Ownership { return w.owner("default", subject.StatusApproved) },
			want: attestd.Standing{
				Subject: agent, Tenant: "default", Ownership: "inventory", State: attestd.StateTrusted,
			},
		},
		"a machine of a cloud account is one by the rule": {
			rules: []string{"default=aws-instance:i-0123456789abcdef0"},
			want: attestd.Standing{
				Subject: agent, Tenant: "default", Ownership: "cloud-account", State: attestd.StateTrusted,
			},
		},
		"a machine whose ownership is over is none": {
			owner: func(w *world) *subject.Ownership {
				owner := w.owner("default", subject.StatusApproved)
				owner.ExpiresAt = w.store.Now().Add(-time.Second)
				return owner
			},
			want: attestd.Standing{Ownership: "none", Enrolment: "expired"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{rules: row.rules})
			if row.owner != nil {
				w.put(row.owner(w))
			}
			given := w.accepted("default")
			got := *given.Standing
			if got.Risk != given.Risk {
				t.Errorf("risk %s, and the verdict has %s", got.Risk, given.Risk)
			}
			if got.State == attestd.StateTrusted && (got.Epoch == 0 || got.DueAt.IsZero()) {
				t.Errorf("a trusted subject without epoch or deadline: %+v", got)
			}
			got.Epoch, got.DueAt, got.Risk = 0, time.Time{}, attestd.Risk(0)
			row.want.Risk = attestd.Risk(0)
			if got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
			known := w.known()
			if (known.Subject != nil) != (row.want.Subject != "") {
				t.Errorf("the registry has %+v", known.Subject)
			}
			if known.Subject != nil && known.Subject.State != attestd.StateTrusted {
				t.Errorf("the registry has state %s", known.Subject.State)
			}
		})
	}
}

// What a policy accepts of a machine that is nobody's, an operator can have said no to.
func TestAMachineThatWasDeniedIsRejected(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.accepted("default")
	w.put(w.owner("default", subject.StatusDenied))
	given, err := w.attest("default", nil)
	if err != nil || given.Verdict != attestd.VerdictRejected || !failedBy(given, "ownership/tenant") {
		t.Fatalf("got %s, %v", given.Verdict, err)
	}
	if got := given.Standing; got.Subject != "" || got.Enrolment != "denied" || got.State.Grants() {
		t.Errorf("got %+v", got)
	}
	if known := w.known(); known.Subject != nil {
		t.Errorf("the registry has %+v", known.Subject)
	}
}

func TestAMachineThatIsNobodysIsQueuedOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.accepted("default")
	second := w.accepted("default")
	if second.Standing.Enrolment != "pending" {
		t.Errorf("got %+v", second.Standing)
	}
	known := w.known()
	if len(known.Owners) != 1 || known.Owners[0].Status != subject.StatusPending || known.Subject != nil {
		t.Errorf("got %+v", known)
	}
}

// neg: 154
func TestAMachineOfAnotherTenantIsRejectedAndNotNamed(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.own("blue")
	w.bar(w.instance(), attestd.StateQuarantined) // which is not this tenant's to learn
	given, err := w.attest("default", nil)
	w.must(err)
	if given.Verdict != attestd.VerdictRejected || !failedBy(given, "ownership/tenant") {
		t.Fatalf("got %s: %+v", given.Verdict, given.Reasons)
	}
	document, _, err := w.store.Appraisal(context.Background(), given.ID)
	w.must(err)
	for _, shown := range []string{text(t, given), string(document)} {
		if strings.Contains(shown, "blue") || strings.Contains(shown, "quarantine") {
			t.Errorf("the answer names the other tenant or the state: %s", shown)
		}
	}
	if noted := w.notes.all(); len(noted) != 1 || noted[0].Class != string(attestd.ClassPolicyDeny) {
		t.Errorf("it was not counted against its source: %+v", noted)
	}
}

func failedBy(given attestd.Appraisal, id attestd.CheckID) bool {
	for _, check := range given.Checks {
		if check.ID == id && check.Result == attestd.ResultFail {
			return true
		}
	}
	return false
}

// A hold that came directly is in force before the store has it. neg: 180
func TestWhatIsHeldDirectlyGetsNoVerdict(t *testing.T) {
	w := newWorld(t, worldOptions{held: subject.ID(agent).Key()})
	w.own("default")
	given, err := w.attest("default", nil)
	w.refused(err, attestd.ClassQuarantined)
	if given.Schema != "" {
		t.Error("a verdict beside the error")
	}
}

func TestWhatIsHeldGetsNoVerdict(t *testing.T) {
	id := subject.ID(agent)
	for name, row := range map[string]struct {
		key    subject.Key
		state  attestd.State
		class  attestd.Class
		change func(*service.Submission)
	}{
		"its instance is quarantined": {
			key: subject.Key{Kind: "instance", Value: "i-0123456789abcdef0-enc0123456789abcdef"}, state: attestd.StateQuarantined,
			class: attestd.ClassQuarantined,
		},
		"its instance is revoked": {
			key: subject.Key{Kind: "instance", Value: "i-0123456789abcdef0-enc0123456789abcdef"}, state: attestd.StateRevoked,
			class: attestd.ClassRevokedSubject,
		},
		"its name is quarantined": {key: id.Key(), state: attestd.StateQuarantined, class: attestd.ClassQuarantined},
		"its host is quarantined": {
			key: subject.Key{Kind: "host", Value: "i-0123456789abcdef0"}, state: attestd.StateQuarantined,
			class: attestd.ClassQuarantined,
		},
	} {
		for _, owned := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", of the tenant", false: ", of nobody"}[owned], func(t *testing.T) {
				w := newWorld(t, worldOptions{})
				if owned {
					w.own("default")
				}
				w.bar(row.key, row.state)
				given, err := w.attest("default", nil)
				caller := w.refused(err, row.class)
				if given.Schema != "" {
					t.Error("a verdict beside the error")
				}
				if shown := caller.Error() + caller.Hint; strings.Contains(shown, "nobody-may-read") ||
					strings.Contains(shown, "ann") {
					t.Errorf("the grounds are told: %s", shown)
				}
				if known := w.known(); known.Subject != nil && known.Subject.State.Grants() {
					t.Errorf("it is trusted: %+v", known.Subject)
				}
			})
		}
	}
}

// racing is a desk that does something once, after everything was read and before anything is written.
type racing struct {
	service.Desk
	once sync.Once
	do   func()
}

func (r *racing) Settle(machine enrol.Machine, owners []subject.Ownership) enrol.Settlement {
	settled := r.Desk.Settle(machine, owners)
	r.once.Do(r.do)
	return settled
}

// neg: 180, 189
func TestWhatChangesBetweenDecisionAndWriteIsNotMissed(t *testing.T) {
	for name, row := range map[string]struct {
		change func(w *world)
		check  func(t *testing.T, w *world, given attestd.Appraisal, err error)
	}{
		"a hold that lands after the state was read": {
			change: func(w *world) { w.bar(w.instance(), attestd.StateQuarantined) },
			check: func(t *testing.T, w *world, _ attestd.Appraisal, err error) {
				w.refused(err, attestd.ClassQuarantined)
				if known := w.known(); known.Subject != nil && known.Subject.State.Grants() {
					t.Errorf("it is trusted: %+v", known.Subject)
				}
			},
		},
		"an ownership that is denied after it was read": {
			change: func(w *world) { w.put(w.owner("default", subject.StatusDenied)) },
			check: func(t *testing.T, w *world, given attestd.Appraisal, err error) {
				w.must(err)
				if given.Standing.Enrolment != "denied" || given.Standing.State.Grants() {
					t.Errorf("got %+v", given.Standing)
				}
			},
		},
		"a machine that is moved to another tenant after it was read": {
			change: func(w *world) { w.put(w.owner("blue", subject.StatusApproved)) },
			check: func(t *testing.T, w *world, given attestd.Appraisal, err error) {
				w.must(err)
				if !failedBy(given, "ownership/tenant") {
					t.Errorf("got %s %+v", given.Verdict, given.Standing)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			w.own("default")
			w.options.desk = func(d service.Desk) service.Desk {
				return &racing{Desk: d, do: func() { row.change(w) }}
			}
			w.close()
			w.must(w.open())
			given, err := w.attest("default", nil)
			row.check(t, w, given, err)
		})
	}
}

// neg: 152
func TestEvidenceThatIsNotAuthenticTouchesNobody(t *testing.T) {
	w := newWorld(t, worldOptions{codes: []subject.Code{subject.CodeEvidence}})
	w.own("default")
	w.accepted("default")
	before := *w.known().Subject
	spoiled := func(s *service.Submission) { s.Evidence[len(s.Evidence)-1] ^= 1 }
	for range 5 {
		given, err := w.attest("default", spoiled)
		w.must(err)
		if given.Verdict != attestd.VerdictRejected || given.Standing != nil || given.ID == "" {
			t.Fatalf("got %s with %+v", given.Verdict, given.Standing)
		}
	}
	after := *w.known().Subject
	if after.Generation != before.Generation || after.State != before.State || len(w.told.grounds) != 0 {
		t.Errorf("it changed the subject it names: %+v", after)
	}
	noted := w.notes.all()
	if len(noted) != 5 || noted[0].Actor != "source:192.0.2.1" ||
		noted[0].Class != string(attestd.ClassSignature) {
		t.Errorf("it was not counted against its source: %+v", noted)
	}
}

func TestAReplayIsCountedAgainstItsSource(t *testing.T) {
	w := newWorld(t, worldOptions{})
	issued := w.issue("default")
	handed := submission(issued, w.enclave(issued))
	for range 2 {
		_, err := w.service.Verify(context.Background(), handed)
		w.must(err)
	}
	if noted := w.notes.all(); len(noted) != 1 || noted[0].Class != string(attestd.ClassReplay) {
		t.Errorf("got %+v", noted)
	}
}

func (w *world) token(tenant string) string {
	w.Helper()
	made, err := w.desk.NewToken(context.Background(), operator.Principal{
		Name: "ann", Roles: []operator.Role{operator.Operator}, Tenants: []string{"default", "blue"},
	}, wire.TokenRequest{Tenant: tenant, Formats: []string{"nitro"}, Seconds: 600})
	w.must(err)
	return made.Token
}

func TestATokenEnrolsOneMachineOnce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	token := w.token("default")
	with := func(s *service.Submission) { s.EnrolmentToken = token }
	spoiled := func(s *service.Submission) { with(s); s.Evidence[len(s.Evidence)-1] ^= 1 }
	if given, err := w.attest("default", spoiled); err != nil || given.Verdict != attestd.VerdictRejected {
		t.Fatalf("got %s, %v", given.Verdict, err)
	}
	given, err := w.attest("default", with)
	w.must(err)
	if s := given.Standing; s.Ownership != "enrolment" || s.State != attestd.StateTrusted ||
		s.Tenant != "default" || given.Verdict != attestd.VerdictAccepted {
		t.Fatalf("got %s %+v", given.Verdict, given.Standing)
	}
	if again := w.accepted("default"); again.Standing.Ownership != "enrolment" {
		t.Errorf("the machine is not ours the next time: %+v", again.Standing)
	}
	// Another machine, with the token that was used.
	other := w.machine("i-0aaaaaaaaaaaaaaa0-enc0123456789abcdef")
	_, err = other.attest("default", with)
	w.refused(err, attestd.ClassUnauthenticated)
	if known := other.known(); known.Subject != nil {
		t.Errorf("a used token enrolled %+v", known.Subject)
	}
	_, err = other.attest("default", func(s *service.Submission) { s.EnrolmentToken = "nonsense" })
	w.refused(err, attestd.ClassUnauthenticated)
	_, err = other.attest("default", func(s *service.Submission) { s.EnrolmentToken = w.token("blue") })
	w.refused(err, attestd.ClassUnauthenticated)
}

func TestOfManyMachinesWithOneTokenOneIsEnrolled(t *testing.T) {
	w := newWorld(t, worldOptions{})
	token := w.token("default")
	var group sync.WaitGroup
	var mu sync.Mutex
	enrolled := 0
	for i := range 16 {
		other := w.machine("i-0aaaaaaaaaaaaaaa0-enc0123456789abcde" + string("0123456789abcdef"[i]))
		group.Go(func() {
			given, err := other.attest("default", func(s *service.Submission) { s.EnrolmentToken = token })
			if err == nil && given.Standing.Ownership == "enrolment" {
				mu.Lock()
				enrolled++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if enrolled != 1 {
		t.Errorf("one token enrolled %d machines", enrolled)
	}
}
