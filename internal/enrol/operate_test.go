package enrol_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

func waiting(key subject.Key, tenant string) subject.Ownership {
	return subject.Ownership{
		Key: key, Tenant: tenant, Method: subject.MethodNone, Status: subject.StatusPending,
		Source: "192.0.2.7", Format: "tpm", CreatedAt: clock, SeenAt: clock, Seen: 1,
		ExpiresAt: clock.Add(time.Hour), Generation: 1,
	}
}

type decision func(context.Context, operator.Principal, wire.Decide) (wire.Decided, error)

func TestDecisions(t *testing.T) {
	host := subject.Key{Kind: "host", Value: strings.Repeat("9c", 64)}
	denied := approved(ek(4), "blue")
	denied.Status, denied.Method = subject.StatusDenied, subject.MethodNone
	rows := []subject.Ownership{
		waiting(ek(1), "default"), waiting(ek(2), "blue"), approved(ek(3), "blue"), denied,
		approved(host, "blue"), approved(ek(5), "default"),
	}
	approve := func(b *bench) decision { return b.Approve }
	deny := func(b *bench) decision { return b.Deny }
	remove := func(b *bench) decision { return b.Remove }
	const taken, unknown = attestd.ClassForbidden, attestd.ClassForbidden
	for _, row := range []struct {
		name   string
		neg    int
		do     func(*bench) decision
		who    operator.Principal
		ask    wire.Decide
		class  attestd.Class
		status subject.Status // of the row afterwards; "" for none
		method subject.Method
		tenant string
	}{
		{name: "approving what waits", do: approve, who: root, ask: wire.Decide{Key: ek(1).String()},
			status: subject.StatusApproved, method: subject.MethodEnrolment, tenant: "default"},
		{name: "approving what waits for another tenant", do: approve, who: root,
			ask:    wire.Decide{Key: ek(1).String(), Tenant: "blue"},
			status: subject.StatusApproved, method: subject.MethodEnrolment, tenant: "blue"},
		{name: "approving by the beginning of the value", do: approve, who: blue,
			ask:    wire.Decide{Key: ek(2).Value},
			status: subject.StatusApproved, method: subject.MethodEnrolment, tenant: "blue"},
		{name: "approving by the beginning of a key, as lists show it", do: approve, who: root,
			ask: wire.Decide{Key: "host:9c9c9c9c9c.."}, status: subject.StatusApproved, tenant: "blue",
			method: subject.MethodInventory},
		{name: "approving a key in capitals, which is none", do: approve, who: root,
			ask: wire.Decide{Key: "host:" + strings.Repeat("9C", 64)}, class: attestd.ClassMalformed},
		{name: "approving what nobody has seen", do: approve, who: blue, ask: wire.Decide{Key: ek(9).String()},
			status: subject.StatusApproved, method: subject.MethodEnrolment, tenant: "blue"},
		{name: "approving lifts a denial", do: approve, who: blue, ask: wire.Decide{Key: ek(4).String()},
			status: subject.StatusApproved, method: subject.MethodEnrolment, tenant: "blue"},
		{name: "approving keeps how a machine is known", do: approve, who: blue,
			ask:    wire.Decide{Key: ek(3).String(), Label: "rack 3"},
			status: subject.StatusApproved, method: subject.MethodInventory, tenant: "blue"},
		{name: "approving what waits for another's tenant", neg: 188, do: approve, who: blue,
			ask: wire.Decide{Key: ek(1).String()}, class: taken, status: subject.StatusPending, tenant: "default"},
		{name: "taking over what waits for another's tenant", neg: 188, do: approve, who: blue,
			ask: wire.Decide{Key: ek(1).String(), Tenant: "blue"}, class: taken,
			status: subject.StatusPending, tenant: "default"},
		{name: "approving for a tenant that is not one's own", neg: 188, do: approve, who: blue,
			ask: wire.Decide{Key: ek(2).String(), Tenant: "default"}, class: attestd.ClassForbidden,
			status: subject.StatusPending, tenant: "blue"},
		{name: "approving for a tenant that there is not", do: approve, who: root,
			ask: wire.Decide{Key: ek(2).String(), Tenant: "red"}, class: attestd.ClassForbidden,
			status: subject.StatusPending, tenant: "blue"},
		{name: "approving without saying whose, of two tenants", do: approve, who: root,
			ask: wire.Decide{Key: ek(9).String()}, class: attestd.ClassMalformed},
		{name: "approving by less than six characters", do: approve, who: root,
			ask: wire.Decide{Key: "ek:00000"}, class: attestd.ClassMalformed},
		{name: "approving by a beginning that several have", do: approve, who: root,
			ask: wire.Decide{Key: "ek:0000000"}, class: attestd.ClassMalformed},
		{name: "approving until yesterday", do: approve, who: root,
			ask:   wire.Decide{Key: ek(1).String(), ExpiresAt: clock.Add(-time.Hour)},
			class: attestd.ClassMalformed, status: subject.StatusPending, tenant: "default"},
		{name: "approving as one who only watches", neg: 182, do: approve, who: watcher,
			ask: wire.Decide{Key: ek(1).String()}, class: attestd.ClassForbidden,
			status: subject.StatusPending, tenant: "default"},
		{name: "approving as nobody", neg: 182, do: approve, ask: wire.Decide{Key: ek(1).String()},
			class: attestd.ClassForbidden, status: subject.StatusPending, tenant: "default"},
		{name: "a label of two lines", neg: 167, do: approve, who: root,
			ask:   wire.Decide{Key: ek(1).String(), Label: "rack\n3"},
			class: attestd.ClassMalformed, status: subject.StatusPending, tenant: "default"},
		{name: "a key with a NUL", neg: 183, do: approve, who: root,
			ask: wire.Decide{Key: "instance:ek:\x00" + strings.Repeat("1", 63)}, class: attestd.ClassMalformed},
		{name: "a beginning with a wildcard of SQL", neg: 183, do: approve, who: root,
			ask: wire.Decide{Key: "%%%%%%%%"}, class: unknown},
		{name: "denying what waits", do: deny, who: blue, ask: wire.Decide{Key: ek(2).String()},
			status: subject.StatusDenied, method: subject.MethodNone, tenant: "blue"},
		{name: "denying what is ours", do: deny, who: blue, ask: wire.Decide{Key: ek(3).String()},
			status: subject.StatusDenied, method: subject.MethodNone, tenant: "blue"},
		{name: "denying another tenant's machine", neg: 188, do: deny, who: blue,
			ask: wire.Decide{Key: ek(5).String()}, class: unknown, status: subject.StatusApproved, tenant: "default",
			method: subject.MethodInventory},
		{name: "denying what nobody has seen, as one tenant", neg: 188, do: deny, who: blue,
			ask: wire.Decide{Key: ek(9).String()}, class: unknown},
		{name: "denying what nobody has seen, for every tenant", do: deny, who: root,
			ask: wire.Decide{Key: ek(9).String()}, status: subject.StatusDenied, tenant: "*",
			method: subject.MethodNone},
		{name: "denying a host, as one tenant of it", neg: 188, do: deny, who: blue,
			ask: wire.Decide{Key: host.String()}, class: unknown, status: subject.StatusApproved, tenant: "blue",
			method: subject.MethodInventory},
		{name: "denying for a while", do: deny, who: root,
			ask:   wire.Decide{Key: ek(1).String(), ExpiresAt: clock.Add(time.Hour)},
			class: attestd.ClassMalformed, status: subject.StatusPending, tenant: "default"},
		{name: "removing what is ours", do: remove, who: blue, ask: wire.Decide{Key: ek(3).String()}},
		{name: "removing another tenant's", neg: 188, do: remove, who: blue, ask: wire.Decide{Key: ek(5).String()},
			class: unknown, status: subject.StatusApproved, tenant: "default", method: subject.MethodInventory},
		{name: "removing what there is not", do: remove, who: blue, ask: wire.Decide{Key: ek(9).String()},
			class: unknown},
		{name: "a trial changes nothing", do: remove, who: blue,
			ask:    wire.Decide{Key: ek(3).String(), DryRun: true},
			status: subject.StatusApproved, method: subject.MethodInventory, tenant: "blue"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, nil, rows...)
			done, err := row.do(b)(t.Context(), row.who, row.ask)
			if classOf(err) != row.class {
				t.Fatalf("got %v (class %q), want class %q", err, classOf(err), row.class)
			}
			key, parsed := enrol.ParseKey(row.ask.Key)
			if parsed != nil {
				key = done.Enrolment.Key // found by its beginning
			}
			got := b.store.row(key)
			if got.Status != row.status || got.Method != row.method && row.method != "" || got.Tenant != row.tenant {
				t.Errorf("got %+v", got)
			}
			wrote := err == nil && !row.ask.DryRun
			if wrote != (len(b.store.log) == 1) {
				t.Errorf("%d records of the audit log", len(b.store.log))
			}
			if wrote && (b.store.log[0].Actor != row.who.Name || b.store.log[0].Target != key.String() ||
				b.store.log[0].Tenant == "") {
				t.Errorf("record %+v", b.store.log[0])
			}
		})
	}
}

// What is another tenant's looks like what is not there: the same words, whatever was asked.
func TestAnotherTenantsMachineLooksLikeNone(t *testing.T) {
	b := newBench(t, nil, approved(ek(1), "default")) // neg: 188
	for name, do := range map[string]decision{"deny": b.Deny, "remove": b.Remove} {
		_, there := do(t.Context(), blue, wire.Decide{Key: ek(1).String()})
		_, gone := do(t.Context(), blue, wire.Decide{Key: ek(2).String()})
		if there == nil || gone == nil || there.Error() != gone.Error() || !errors.Is(there, enrol.ErrUnknown) {
			t.Errorf("%s: %v, and of none %v", name, there, gone)
		}
	}
	_, there := b.Approve(t.Context(), blue, wire.Decide{Key: ek(1).Value[:20]})
	if !errors.Is(there, enrol.ErrUnknown) {
		t.Errorf("by its beginning: %v", there)
	}
	list, err := b.List(t.Context(), blue, subject.Filter{Tenants: []string{"*"}})
	if err != nil || len(list.Enrolments) != 0 {
		t.Errorf("a list of %d: %v", len(list.Enrolments), err)
	}
	if list, err = b.List(t.Context(), watcher, subject.Filter{}); err != nil || len(list.Enrolments) != 1 {
		t.Errorf("who watches all sees %d: %v", len(list.Enrolments), err)
	}
	for _, limit := range []int{-1, 1001} {
		if _, err := b.List(t.Context(), root, subject.Filter{Limit: limit}); classOf(err) != attestd.ClassMalformed {
			t.Errorf("a page of %d: %v", limit, err)
		}
	}
	if _, err := b.List(t.Context(), operator.Principal{}, subject.Filter{}); classOf(err) != attestd.ClassForbidden {
		t.Errorf("nobody's list: %v", err)
	}
}

func TestADecisionUponWhatChangedIsAConflict(t *testing.T) {
	b := newBench(t, nil, waiting(ek(1), "default"))
	b.store.before = func() {
		if _, err := b.Deny(t.Context(), root, wire.Decide{Key: ek(1).String()}); err != nil {
			t.Error(err)
		}
	}
	_, err := b.Approve(t.Context(), root, wire.Decide{Key: ek(1).String()})
	if classOf(err) != attestd.ClassConflict || b.store.row(ek(1)).Status != subject.StatusDenied {
		t.Errorf("got %v, and the row is %s", err, b.store.row(ek(1)).Status)
	}
}

func TestADeskThatCannotWorkIsNotMade(t *testing.T) {
	whole := func(edit func(*enrol.Config)) error {
		config := enrol.Config{
			Store: newMemory(), Now: time.Now, Tenants: []string{"default"}, Rand: strings.NewReader(""),
			Limits: enrol.Limits{PendingPerTenant: 1, PendingPerSource: 1, PendingKeep: 1},
		}
		edit(&config)
		_, err := enrol.New(config)
		return err
	}
	if err := whole(func(*enrol.Config) {}); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*enrol.Config){
		"no store":                     func(c *enrol.Config) { c.Store = nil },
		"no clock":                     func(c *enrol.Config) { c.Now = nil },
		"no randomness":                func(c *enrol.Config) { c.Rand = nil },
		"no tenant":                    func(c *enrol.Config) { c.Tenants = nil },
		"a tenant of all":              func(c *enrol.Config) { c.Tenants = []string{"*"} },
		"no bound":                     func(c *enrol.Config) { c.Limits.PendingPerSource = 0 },
		"a rule for another's tenant":  func(c *enrol.Config) { c.Rules = []string{"red=gce-project:acme-prod"} },
		"a rule with a kind of no key": func(c *enrol.Config) { c.Rules = []string{"default=project:acme-prod"} },
		"a rule for everything":        func(c *enrol.Config) { c.Rules = []string{"default=host:*"} },
	} {
		if err := whole(edit); classOf(err) != attestd.ClassConfig {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
