package live_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

func key(kind subject.BarKind, value string) subject.Key {
	return subject.Key{Kind: string(kind), Value: value}
}

func lay(on subject.Key, state attestd.State) []subject.BarWrite {
	return []subject.BarWrite{{Key: on, Next: &subject.Bar{Key: on, State: state}}}
}

func lift(on subject.Key) []subject.BarWrite { return []subject.BarWrite{{Key: on}} }

// refusedFor demands a refusal of that class, and returns it.
func refusedFor(t *testing.T, index *live.Index, id subject.ID, class attestd.Class) *live.Refused {
	t.Helper()
	var refused *live.Refused
	if _, err := index.Grant(id, 60, "x509-svid", start); !errors.As(err, &refused) {
		t.Fatalf("got error %v, want a refusal", err)
	}
	if refused.Class() != class || refused.Hint == "" || refused.Error() == "" {
		t.Fatalf("got %s (%q, hint %q), want %s with a hint", refused.Class(), refused, refused.Hint, class)
	}
	if index.Check(id, start).Grants() {
		t.Fatal("the check grants what the grant refuses")
	}
	return refused
}

func granted(t *testing.T, index *live.Index, id subject.ID) live.Standing {
	t.Helper()
	standing, err := index.Grant(id, 60, "x509-svid", start)
	if err != nil {
		t.Fatalf("got %v, want a grant", err)
	}
	return standing
}

// TestNothingIsGrantedBeforeTheIndexIsLoaded: neg: 179
func TestNothingIsGrantedBeforeTheIndexIsLoaded(t *testing.T) {
	index := live.New()
	index.Publish([]subject.Subject{machine(1)}, nil)
	var undecided *attestd.UndecidedError
	if _, err := index.Grant(machine(1).ID, 60, "x509-svid", start); !errors.As(err, &undecided) ||
		undecided.Class != attestd.ClassStoreUnavailable || undecided.Hint == "" {
		t.Errorf("got %v, want STORE_UNAVAILABLE with a hint", err)
	}
	if s := index.Check(machine(1).ID, start); s.Known || s.Grants() {
		t.Errorf("got %+v, want an unknown subject", s)
	}
	if state, _ := index.Held(key(subject.BarHost, "h")); state != attestd.StateQuarantined {
		t.Errorf("a key is %s before anything is known, want quarantined", state)
	}
	if !index.Since().IsZero() {
		t.Error("grants are counted before the index is loaded")
	}
	broken := errors.New("a page is corrupt")
	err := index.Load(start, func(yield func(subject.Subject, error) bool) {
		_ = yield(machine(1), nil) && yield(subject.Subject{}, broken)
	}, bars())
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the row", err)
	}
	if index.Check(machine(1).ID, start).Grants() {
		t.Error("half a registry grants something")
	}
	noBars := func(yield func(subject.Bar, error) bool) { yield(subject.Bar{}, broken) }
	if err := index.Load(start, func(func(subject.Subject, error) bool) {}, noBars); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the hold", err)
	}
	if !index.Since().IsZero() {
		t.Error("an index without its holds says that it is loaded")
	}
}

func TestAGrantSaysWhatTheRegistryHas(t *testing.T) {
	index := loaded(t, 10)
	want := machine(3)
	got := granted(t, index, want.ID)
	if got.ID != want.ID || got.Tenant != want.Tenant || got.Format != "tpm" ||
		got.State != attestd.StateTrusted || got.Risk != want.Floor || got.Tier != attestd.TierLow ||
		got.Epoch != 1 || got.Generation != 1 || !got.DueAt.Equal(want.DueAt) ||
		!got.EvidenceAt.Equal(want.EvidenceAt) || got.Ownership != subject.MethodInventory {
		t.Errorf("got %+v of %+v", got, want)
	}
	if !index.Since().Equal(start) || index.Len() != 10 {
		t.Errorf("since %v with %d subjects, want %v with 10", index.Since(), index.Len(), start)
	}
}

// TestOnlyATrustedOwnedAcceptedTimelySubjectIsGranted: each row is a good subject with one thing
// changed.
func TestOnlyATrustedOwnedAcceptedTimelySubjectIsGranted(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*subject.Subject)
		class  attestd.Class
	}{
		{"unknown", func(s *subject.Subject) { s.State = attestd.StateUnknown }, attestd.ClassPolicyDeny},
		{"suspect", func(s *subject.Subject) { s.State = attestd.StateSuspect }, attestd.ClassPolicyDeny},
		{"quarantined", func(s *subject.Subject) { s.State = attestd.StateQuarantined },
			attestd.ClassQuarantined},
		{"revoked", func(s *subject.Subject) { s.State = attestd.StateRevoked },
			attestd.ClassRevokedSubject},
		{"a state that there is not", func(s *subject.Subject) { s.State = 7 }, attestd.ClassPolicyDeny},
		{"nobody's", func(s *subject.Subject) { s.Tenant = "" }, attestd.ClassPolicyDeny},
		{"owned by no method", func(s *subject.Subject) { s.Ownership = subject.MethodNone },
			attestd.ClassPolicyDeny},
		{"owned by an unheard-of method", func(s *subject.Subject) { s.Ownership = "gift" },
			attestd.ClassPolicyDeny},
		{"a risk that was never computed", func(s *subject.Subject) { s.Floor = attestd.RiskScore{} },
			attestd.ClassPolicyDeny},
		{"a high risk", func(s *subject.Subject) { s.Floor = attestd.Risk(70) }, attestd.ClassPolicyDeny},
		{"signals that make the risk high", func(s *subject.Subject) {
			s.Signals = []subject.Signal{{Code: subject.CodeClone, Group: "clone", Points: 90,
				Source: subject.SourceSelf, At: start}}
		}, attestd.ClassPolicyDeny},
		// neg: 182
		{"due at exactly that moment", func(s *subject.Subject) { s.DueAt = start },
			attestd.ClassPolicyDeny},
		{"without a deadline", func(s *subject.Subject) { s.DueAt = time.Time{} },
			attestd.ClassPolicyDeny},
	} {
		t.Run(row.name, func(t *testing.T) {
			one := machine(1)
			row.change(&one)
			index := loaded(t, 0)
			index.Publish([]subject.Subject{one}, nil)
			refusedFor(t, index, one.ID, row.class)
			if n, _ := index.Outstanding(one.ID, start); n != 0 {
				t.Errorf("%d grants are counted though none was given", n)
			}
		})
	}
	one := machine(1)
	one.DueAt = start.Add(1)
	index := loaded(t, 0)
	index.Publish([]subject.Subject{one}, nil)
	granted(t, index, one.ID)
	refusedFor(t, index, "spiffe://example.org/never/seen", attestd.ClassPolicyDeny)
}

// TestABarHoldsAllThatHaveItsKey: what is there, and what appears later; whatever the kind of the key
// and however the subject's name stands to its hardware. neg: 182
func TestABarHoldsAllThatHaveItsKey(t *testing.T) {
	one := machine(1)
	foreign := one // another SPIFFE ID on the same hardware
	foreign.ID = "spiffe://example.org/another/name"
	digested := one
	digested.Instance.Value = "projects/p/zones/z/instances/I"
	digested.ID, _ = subject.AgentID("example.org", "tpm", digested.Instance)
	upper := one
	upper.ID = "spiffe://example.org/Web/ONE"
	uuid := one
	uuid.Instance.Value = "02aab8a4-74ef-476e-8182-f6d2ba4166a6"
	uuid.ID, _ = subject.AgentID("example.org", "tpm", uuid.Instance)
	cloud := one
	cloud.Instance.Value = "azure:" + uuid.Instance.Value
	cloud.ID, _ = subject.AgentID("example.org", "tpm", cloud.Instance)
	for name, one := range map[string]subject.Subject{
		"named by what follows a scheme": cloud,
		"named by its instance":          one, "named otherwise": foreign, "named by a digest": digested,
		"with capitals": upper, "named by a short instance": uuid,
	} {
		for kind, on := range map[subject.BarKind]subject.Key{
			subject.BarSubject:  one.ID.Key(),
			subject.BarInstance: key(subject.BarInstance, one.Instance.Value),
			subject.BarBoot:     key(subject.BarBoot, one.Boot),
			subject.BarHost:     key(subject.BarHost, one.Host),
		} {
			t.Run(fmt.Sprintf("%s, by %s", name, kind), func(t *testing.T) {
				before, after := loaded(t, 0), loaded(t, 0)
				before.Publish([]subject.Subject{one}, nil)
				granted(t, before, one.ID)
				before.Publish(nil, lay(on, attestd.StateQuarantined))
				after.Publish(nil, lay(on, attestd.StateQuarantined))
				after.Publish([]subject.Subject{one}, nil)
				fromStart := loaded(t, 0, subject.Bar{Key: on, State: attestd.StateQuarantined})
				fromStart.Publish([]subject.Subject{one}, nil)
				for _, index := range []*live.Index{before, after, fromStart} {
					refused := refusedFor(t, index, one.ID, attestd.ClassQuarantined)
					if refused.Standing.Barred != kind || refused.Standing.ID != one.ID {
						t.Errorf("got %+v, want %s barred by %s", refused.Standing, one.ID, kind)
					}
					refusedFor(t, index, subject.ID(strings.ToUpper(string(one.ID))),
						attestd.ClassQuarantined)
					free := machine(9)
					index.Publish([]subject.Subject{free}, nil)
					if !index.Check(free.ID, start).Grants() {
						t.Error("the bar holds a machine that has nothing of it")
					}
					index.Publish(nil, lift(on))
					if !index.Check(one.ID, start).Grants() {
						t.Error("the bar holds after it was lifted")
					}
				}
			})
		}
	}
}

func TestTheWorstBarCountsAndEachIsLiftedAlone(t *testing.T) {
	one := machine(1)
	instance, host := key(subject.BarInstance, one.Instance.Value), key(subject.BarHost, one.Host)
	index := loaded(t, 3)
	index.Publish(nil, lay(instance, attestd.StateQuarantined))
	index.Publish(nil, lay(host, attestd.StateRevoked))
	refusedFor(t, index, one.ID, attestd.ClassRevokedSubject)
	refusedFor(t, index, machine(2).ID, attestd.ClassRevokedSubject) // of the same host
	state, on := index.Held(instance, host)
	if state != attestd.StateRevoked || on != host {
		t.Errorf("the keys are %s by %s, want revoked by the host", state, on)
	}
	index.Publish(nil, lift(host))
	refusedFor(t, index, one.ID, attestd.ClassQuarantined)
	granted(t, index, machine(2).ID)
	index.Publish(nil, lift(instance))
	granted(t, index, one.ID)
	if state, _ := index.Held(instance, host); state != attestd.StateUnknown {
		t.Errorf("the keys are %s after all was lifted", state)
	}
	index.Publish(nil, lay(host, attestd.StateUnknown))
	refusedFor(t, index, one.ID, attestd.ClassRevokedSubject) // a bar with a state that bars nothing
}

// TestAHoldThatIsNotDurableStaysThroughPublications: a release that was decided before it is committed
// after it.
func TestAHoldThatIsNotDurableStaysThroughPublications(t *testing.T) {
	one := machine(1)
	on := key(subject.BarInstance, one.Instance.Value)
	index := loaded(t, 3)
	index.Hold([]subject.Bar{{Key: on, State: attestd.StateQuarantined}})
	refusedFor(t, index, one.ID, attestd.ClassQuarantined)
	one.Generation++
	index.Publish([]subject.Subject{one}, lift(on))
	refusedFor(t, index, one.ID, attestd.ClassQuarantined)
	index.Publish(nil, lay(on, attestd.StateQuarantined))
	index.Settle([]subject.Key{on})
	refusedFor(t, index, one.ID, attestd.ClassQuarantined)
	index.Publish(nil, lift(on))
	granted(t, index, one.ID)
}

// TestOfOneCommitTheLastWordOnAKeyCounts: writes that share a commit may lift a bar and lay it again.
func TestOfOneCommitTheLastWordOnAKeyCounts(t *testing.T) {
	one := machine(1)
	on := key(subject.BarInstance, one.Instance.Value)
	index := loaded(t, 3)
	index.Publish(nil, lay(on, attestd.StateQuarantined))
	index.Publish(nil, append(lift(on), lay(on, attestd.StateRevoked)...))
	refusedFor(t, index, one.ID, attestd.ClassRevokedSubject)
	index.Publish(nil, append(lay(on, attestd.StateQuarantined), lift(on)...))
	granted(t, index, one.ID)
}

func TestANameThatWasBarredBeforeItWasSeenIsRefusedAsBarred(t *testing.T) {
	index := loaded(t, 0)
	index.Publish(nil, lay(machine(1).ID.Key(), attestd.StateRevoked))
	if s := refusedFor(t, index, machine(1).ID, attestd.ClassRevokedSubject).Standing; s.Known {
		t.Errorf("got %+v, want a stranger", s)
	}
}

func TestAnOlderRowDoesNotReplaceANewerOne(t *testing.T) {
	index := loaded(t, 0)
	newer, older := machine(1), machine(1)
	newer.Generation, newer.State = 5, attestd.StateQuarantined
	older.Generation = 4
	index.Publish([]subject.Subject{newer}, nil)
	index.Publish([]subject.Subject{older}, nil)
	refusedFor(t, index, older.ID, attestd.ClassQuarantined)
}

func TestSubjectsMoveBetweenBootsAndHosts(t *testing.T) {
	index := loaded(t, 16)
	moved := machine(3)
	was, oldBoot := moved.Host, moved.Boot
	moved.Generation++
	moved.Boot, moved.Host = "another boot", machine(9).Host
	index.Publish([]subject.Subject{moved}, nil)
	for host, want := range map[string]int{was: 7, moved.Host: 9, "": 0, "never seen": 0} {
		ids := index.SharedHost(host)
		if len(ids) != want || slices.Contains(ids, moved.ID) != (want == 9) {
			t.Errorf("host %.8q has %d subjects, want %d", host, len(ids), want)
		}
	}
	index.Publish(nil, lay(key(subject.BarBoot, oldBoot), attestd.StateQuarantined))
	granted(t, index, moved.ID)
	index.Publish(nil, lay(key(subject.BarHost, was), attestd.StateQuarantined))
	granted(t, index, moved.ID)
	refusedFor(t, index, machine(2).ID, attestd.ClassQuarantined)
	moved.Generation++
	moved.Host = was
	index.Publish([]subject.Subject{moved}, nil)
	refusedFor(t, index, moved.ID, attestd.ClassQuarantined)
}

func TestOverdueSubjectsAreListedOnceTheyAre(t *testing.T) {
	index := loaded(t, 0)
	for i := range 100 {
		one := machine(i)
		one.DueAt = start.Add(time.Duration(i) * time.Second)
		if i%10 == 0 {
			one.State = attestd.StateSuspect
		}
		index.Publish([]subject.Subject{one}, nil)
	}
	if got := index.Overdue(start, 100); len(got) != 0 {
		t.Errorf("got %v, want nobody", got)
	}
	at := start.Add(50 * time.Second)
	if got := index.Overdue(at, 1000); len(got) != 45 {
		t.Errorf("got %d, want the 45 trusted ones of the first 51", len(got))
	}
	seen := map[subject.ID]bool{}
	for range 100 {
		got := index.Overdue(at, 3)
		if len(got) > 3 {
			t.Fatalf("got %d, want at most 3", len(got))
		}
		for _, id := range got {
			seen[id] = true
		}
	}
	if len(seen) != 45 {
		t.Errorf("a hundred small sweeps saw %d, want each of the 45 in its turn", len(seen))
	}
	many := loaded(t, 2000)
	seen = map[subject.ID]bool{}
	for range 667 {
		for _, id := range many.Overdue(start.Add(time.Hour), 3) {
			if seen[id] && len(seen) < 2000 {
				t.Fatalf("%s came again before %d others", id, 2000-len(seen))
			}
			seen[id] = true
		}
	}
	if len(seen) != 2000 {
		t.Errorf("667 sweeps of 3 saw %d of 2000", len(seen))
	}
	fresh := machine(33)
	fresh.Generation, fresh.DueAt = 2, start.Add(time.Hour)
	index.Publish([]subject.Subject{fresh}, nil)
	if got := index.Overdue(at, 1000); len(got) != 44 || slices.Contains(got, fresh.ID) {
		t.Errorf("got %d after one was attested again, want 44 others", len(got))
	}
}

// TestCountsStayWithinTheTenantsAsked: neg: 188
func TestCountsStayWithinTheTenantsAsked(t *testing.T) {
	index := loaded(t, 70)
	held := machine(7) // of tenant-0
	index.Publish(nil, lay(held.ID.Key(), attestd.StateQuarantined))
	late := machine(14)
	late.Generation, late.DueAt, late.EvidenceAt = 2, start, start.Add(-time.Hour)
	index.Publish([]subject.Subject{late}, nil)
	for _, row := range []struct {
		tenants                              []string
		subjects, trusted, quarantined, late int
	}{
		{[]string{"*"}, 70, 68, 1, 1},
		{[]string{"tenant-0"}, 10, 8, 1, 1},
		{[]string{"tenant-1", "tenant-2"}, 20, 20, 0, 0},
		{[]string{"tenant-9"}, 0, 0, 0, 0},
		{nil, 0, 0, 0, 0},
	} {
		got := index.Counts(row.tenants, start)
		if got.Subjects != row.subjects || got.States["trusted"] != row.trusted ||
			got.States["quarantined"] != row.quarantined || got.Overdue != row.late ||
			got.Formats["tpm"] != row.subjects || got.Tiers["low"] != row.subjects {
			t.Errorf("%v: got %+v, want %+v", row.tenants, got, row)
		}
		if got.Oldest.IsZero() != (row.trusted == 0) || row.trusted != 0 && !got.Oldest.Equal(start) {
			t.Errorf("%v: the oldest evidence trusted is of %v", row.tenants, got.Oldest)
		}
	}
}

func TestAGrantOfABrokenRequestIsTheCallersFault(t *testing.T) {
	index := loaded(t, 1)
	for _, row := range []struct {
		seconds int
		what    string
	}{{0, "x"}, {-1, "x"}, {86401, "x"}, {60, ""}, {60, strings.Repeat("x", 65)}} {
		var caller *attestd.CallerError
		_, err := index.Grant(machine(0).ID, row.seconds, row.what, start)
		if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed {
			t.Errorf("%+v: got %v, want MALFORMED", row, err)
		}
	}
}

// TestAStandingGrantsOnlyWhereEverythingSaysSo: each thing refuses alone, whatever the others say.
func TestAStandingGrantsOnlyWhereEverythingSaysSo(t *testing.T) {
	good := granted(t, loaded(t, 1), machine(0).ID)
	for name, change := range map[string]func(*live.Standing){
		"not known": func(s *live.Standing) { s.Known = false },
		"barred":    func(s *live.Standing) { s.Barred = subject.BarHost },
		"overdue":   func(s *live.Standing) { s.Overdue = true },
		"suspect":   func(s *live.Standing) { s.State = attestd.StateSuspect },
		"no tier":   func(s *live.Standing) { s.Tier = attestd.TierUnknown },
		"no tenant": func(s *live.Standing) { s.Tenant = "" },
		"no owner":  func(s *live.Standing) { s.Ownership = "" },
		"zero":      func(s *live.Standing) { *s = live.Standing{} },
	} {
		one := good
		if change(&one); one.Grants() || !good.Grants() {
			t.Errorf("%s: %+v grants something", name, one)
		}
	}
}

// TestNoNameIsTakenForAnother: hashes only find; what is found is compared as a whole. With a million
// subjects two of them may well have the same one.
func TestNoNameIsTakenForAnother(t *testing.T) {
	names := []subject.ID{
		machine(1).ID, machine(2).ID,
		"spiffe://example.org/a", "spiffe://example.org/b", "spiffe://example.net/a",
		"spiffe://example.org/Capital", "spiffe://example.org/Capitals",
		subject.ID("spiffe://example.net/" + digest("ek", 1)),
		subject.ID("spiffe://example.net/" + strings.Repeat("0", 64)),
		subject.ID("spiffe://example.org/" + strings.Repeat("x", 41)),
		subject.ID("spiffe://example.org/" + strings.Repeat("x", 40)),
	}
	for _, a := range names {
		for _, b := range names {
			if live.Confuses(a, b) != (a == b) {
				t.Errorf("%q is taken for %q: %t", a, b, a != b)
			}
		}
	}
}
