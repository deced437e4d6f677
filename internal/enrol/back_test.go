package enrol_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// TestWhatIsTakenBackIsSuspectAtOnce: in the transaction of the decision, for the machine and its
// tenant alone.
func TestWhatIsTakenBackIsSuspectAtOnce(t *testing.T) {
	green := operator.Principal{
		Name: "gil", Roles: []operator.Role{operator.Operator}, Tenants: []string{"default"}, Via: "token",
	}
	for _, row := range []struct {
		name  string
		who   operator.Principal
		ask   wire.Decide
		deny  bool
		class attestd.Class
		want  attestd.State
	}{
		{name: "a removal", who: root, ask: wire.Decide{Key: ek(1).String()}, want: attestd.StateSuspect},
		{name: "a denial", who: blue, ask: wire.Decide{Key: ek(1).String()}, deny: true, want: attestd.StateSuspect},
		{name: "a dry run", who: root, ask: wire.Decide{Key: ek(1).String(), DryRun: true},
			want: attestd.StateTrusted},
		{name: "another machine", who: root, ask: wire.Decide{Key: ek(2).String()}, want: attestd.StateTrusted},
		{name: "another tenant's operator", who: green, ask: wire.Decide{Key: ek(1).String()},
			class: attestd.ClassForbidden, want: attestd.StateTrusted},
	} {
		t.Run(row.name, func(t *testing.T) {
			desk, store := onDisk(t)
			own(t, desk, ek(1).Value, ek(2).Value)
			id := trust(t, store.Write, ek(1).Value, store.Now())
			decide := desk.Remove
			if row.deny {
				decide = desk.Deny
			}
			_, err := decide(t.Context(), row.who, row.ask)
			var caller *attestd.CallerError
			if class := attestd.Class(""); errors.As(err, &caller) {
				if class = caller.Class; class != row.class {
					t.Fatal(err)
				}
			} else if err != nil || row.class != "" {
				t.Fatalf("%v, want class %q", err, row.class)
			}
			one, _, err := store.Subject(t.Context(), id)
			if err != nil || one.State != row.want {
				t.Errorf("%s, want %s (%v)", one.State, row.want, err)
			}
		})
	}
}

// racing has something happen right before the next write.
type racing struct {
	*registry.Store
	before func()
}

func (r *racing) Write(ctx context.Context, write subject.Write) error {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	return r.Store.Write(ctx, write)
}

// TestAMachineThatAttestsMeanwhileDoesNotKeepItsTrust, and nobody is told to look again for it.
func TestAMachineThatAttestsMeanwhileDoesNotKeepItsTrust(t *testing.T) {
	_, store := onDisk(t)
	between := &racing{Store: store}
	desk, err := enrol.New(enrol.Config{
		Store: between, Now: store.Now, Tenants: []string{"default", "blue"}, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 100, PendingPerSource: 100, PendingKeep: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	own(t, desk, ek(1).Value)
	id := trust(t, store.Write, ek(1).Value, store.Now())
	between.before = func() {
		one, _, err := store.Subject(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		next := one
		next.Generation++
		write := recorded(store.Now())
		write.Subjects = []subject.SubjectWrite{{Expect: one.Generation, Next: next}}
		if err := store.Write(t.Context(), write); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := desk.Remove(t.Context(), root, wire.Decide{Key: ek(1).String()}); err != nil {
		t.Fatal(err)
	}
	if one, _, err := store.Subject(t.Context(), id); err != nil || one.State != attestd.StateSuspect {
		t.Errorf("%s, want suspect (%v)", one.State, err)
	}
}

// recorded is a write that has a record and nothing else yet.
func recorded(at time.Time) subject.Write {
	return subject.Write{Audit: []audit.Record{{
		At: at, Actor: "test", Tenant: "blue", Action: "verify", Outcome: "done",
	}}}
}

// own approves machines of the tenant blue.
func own(t *testing.T, desk interface {
	Approve(ctx context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error)
}, values ...string,
) {
	t.Helper()
	for _, value := range values {
		key := subject.Key{Kind: "instance", Value: value}
		if _, err := desk.Approve(t.Context(), root, wire.Decide{Key: key.String(), Tenant: "blue"}); err != nil {
			t.Fatal(err)
		}
	}
}

// trust writes a trusted subject of the tenant blue.
func trust(
	t *testing.T, write func(context.Context, subject.Write) error, instance string, at time.Time,
) subject.ID {
	t.Helper()
	const id = "spiffe://example.org/spire/agent/attestd/tpm/one"
	first := recorded(at)
	first.Subjects = []subject.SubjectWrite{{Next: subject.Subject{
		ID: id, Tenant: "blue", Format: attestd.FormatTPM, State: attestd.StateTrusted,
		Instance:  attestd.Handle{Kind: attestd.HandleInstance, Value: instance},
		Ownership: subject.MethodEnrolment, Generation: 1, Epoch: 1, Floor: attestd.Risk(10),
		FirstSeenAt: at, EvidenceAt: at, ChangedAt: at, DueAt: at.Add(time.Hour),
	}}}
	if err := write(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	return id
}
