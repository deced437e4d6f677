package watch_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/watch"
	"github.com/attestd/attestd/internal/subject"
)

func raised(found decision.Findings, code decision.Code) bool {
	return slices.Contains(found.Raised, code)
}

func (w *world) foreign(tenant string) decision.Findings {
	in := w.ask("a")
	in.Resource.Tenant = tenant
	return w.watch.Before(in)
}

// TestSeveralOtherTenantsAreAPivot: one is a mistake, two within the window are a pivot, which is
// told once in a while.
func TestSeveralOtherTenantsAreAPivot(t *testing.T) {
	w := newWorld(t, nil)
	for range 5 {
		if raised(w.foreign("red"), decision.CodeTenantPivot) || raised(w.foreign("blue"), decision.CodeTenantPivot) {
			t.Fatal("one other tenant is a pivot")
		}
	}
	if raised(w.foreign(""), decision.CodeTenantPivot) {
		t.Error("a tenant that is not known is one")
	}
	w.pass(11 * time.Minute)
	if raised(w.foreign("green"), decision.CodeTenantPivot) {
		t.Error("two outside of the window are a pivot")
	}
	w.pass(9 * time.Minute)
	if !raised(w.foreign("red"), decision.CodeTenantPivot) {
		t.Error("two within the window are none")
	}
	if raised(w.foreign("blue"), decision.CodeTenantPivot) {
		t.Error("a question for its own data is one")
	}
	for i := range 20 {
		if !raised(w.foreign(fmt.Sprint("t", i)), decision.CodeTenantPivot) {
			t.Error("a pivot that goes on is none")
		}
	}
	w.wantSightings(subject.CodeTenantPivot)
	w.pass(6 * time.Minute)
	w.foreign("red")
	w.wantSightings(subject.CodeTenantPivot, subject.CodeTenantPivot)
	seen := w.sightings()[0]
	if seen.Tenant != "blue" || !strings.HasSuffix(string(seen.ID), "/a") || strings.Contains(seen.Detail, "red") {
		t.Errorf("told %+v", seen)
	}
}

// TestOnlyDenialsOfWhatWasAskedForAreCounted: not those for what a caller is, and not those that
// others made.
func TestOnlyDenialsOfWhatWasAskedForAreCounted(t *testing.T) {
	counted := []decision.Code{
		decision.CodeNotPermitted, decision.CodeTenantMismatch, decision.CodePurposeMismatch,
		decision.CodeBlastRadius, decision.CodeRing, decision.CodeClassification, decision.CodeNovelScope,
		decision.CodeTenantPivot,
	}
	for _, spec := range decision.Specs() {
		t.Run(string(spec.Code), func(t *testing.T) {
			w := newWorld(t, nil)
			for range 20 {
				w.denied(w.ask("a"), spec.Code)
			}
			want := slices.Contains(counted, spec.Code)
			if got := raised(w.watch.Before(w.ask("a")), decision.CodeDenialBurst); got != want {
				t.Errorf("20 denials are a burst: %t", got)
			}
		})
	}
}

func TestDenialsAreABurstWithinTheirWindow(t *testing.T) {
	w := newWorld(t, nil)
	for range 19 {
		w.denied(w.ask("a"), decision.CodeBlastRadius)
	}
	w.pass(time.Minute)
	w.denied(w.ask("a"), decision.CodeBlastRadius)
	w.denied(w.ask("b"), decision.CodeBlastRadius)
	if raised(w.watch.Before(w.ask("a")), decision.CodeDenialBurst) {
		t.Error("those of the former minute are counted")
	}
	for range 19 {
		w.denied(w.ask("a"), decision.CodeBlastRadius)
	}
	if !raised(w.watch.Before(w.ask("a")), decision.CodeDenialBurst) ||
		raised(w.watch.Before(w.ask("b")), decision.CodeDenialBurst) {
		t.Error("20 in a minute are none, or count for another")
	}
	w.wantSightings(subject.CodeDenialBurst)
	w.watch.After(w.ask("c"), &decision.Result{}) // a denial without a reason
}

// TestNobodyIsBlamedForWhatOthersShow: a bad token that names a subject, a caller without hardware
// and one whose state cannot be told leave no trace, so that nobody is limited or suspected by
// them.
func TestNobodyIsBlamedForWhatOthersShow(t *testing.T) {
	for name, change := range map[string]func(*decision.Input){
		"a token that was not verified": func(in *decision.Input) { in.Who.Fault = decision.CodeUnauthenticated },
		"no method":                     func(in *decision.Input) { in.Who.Method = "" },
		"nobody":                        func(in *decision.Input) { in.Who.ID = "" },
		"no hardware":                   func(in *decision.Input) { in.Standing.Attested = false },
		"a state that cannot be told":   func(in *decision.Input) { in.Standing.Fault = decision.CodeStateUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			for i := range 100 {
				in := w.ask("a")
				in.Resource.Tenant, in.Source = fmt.Sprint("t", i), netip.AddrFrom4([4]byte{10, byte(i), 0, 1})
				change(in)
				found := w.watch.Before(in)
				if !found.Looked || found.Throttled || len(found.Raised) != 0 || found.Novel != 0 {
					t.Fatalf("found %+v", found)
				}
				w.denied(in, decision.CodeNotPermitted)
			}
			if n := w.watch.Counts().Subjects; n != 0 {
				t.Errorf("%d callers are remembered", n)
			}
			if found := w.watch.Before(w.ask("a")); found.Throttled || len(found.Raised) != 0 {
				t.Errorf("the caller itself: %+v", found)
			}
			w.wantSightings()
		})
	}
}

func (w *world) scope(ids ...string) *decision.Input {
	in := w.ask("a")
	in.Resource.ID = ids[0]
	for _, id := range ids[1:] {
		in.Resource.Datasets = append(in.Resource.Datasets, decision.Dataset{ID: id})
	}
	return in
}

// TestWhatWasNeverAskedForIsNew, after a caller has a history; before that nothing is.
func TestWhatWasNeverAskedForIsNew(t *testing.T) {
	w := newWorld(t, nil)
	usual := func() *decision.Input { return w.scope("search", "features/a", "features/b") }
	if found := w.watch.Before(usual()); found.Novel != 0 {
		t.Errorf("with no history %d %% is new", found.Novel)
	}
	w.allowed(50, usual)
	if found := w.watch.Before(usual()); found.Novel != 0 || found.NovelIDs != nil {
		t.Errorf("of the usual %d %% is new: %v", found.Novel, found.NovelIDs)
	}
	found := w.watch.Before(w.scope("search", "features/a", "payroll/1", "payroll/2"))
	if found.Novel != 50 || !slices.Equal(found.NovelIDs, []string{"payroll/1", "payroll/2"}) {
		t.Errorf("%d %% is new: %v", found.Novel, found.NovelIDs)
	}
	if raised(found, decision.CodeNovelScope) {
		t.Error("two new ids are a novel scope")
	}
	for i := range 20 { // what is denied does not become usual, and the same is new once
		w.pass(time.Second)
		in := w.scope("search", "features/a", "payroll/1", "payroll/2")
		if found = w.watch.Before(in); found.Novel != 50 || raised(found, decision.CodeNovelScope) {
			t.Fatalf("try %d: %+v", i, found)
		}
		w.denied(in, decision.CodeBlastRadius)
	}
	many := []string{"search"}
	for i := range 20 {
		many = append(many, fmt.Sprintf("payroll/%d", i))
	}
	// What is remembered is a sketch: now and then it takes something new for known.
	if found = w.watch.Before(w.scope(many...)); !raised(found, decision.CodeNovelScope) || found.Novel < 80 ||
		len(found.NovelIDs) != 3 {
		t.Errorf("twenty new ids: %+v", found)
	}
	if found = w.watch.Before(usual()); raised(found, decision.CodeNovelScope) {
		t.Error("the usual is blamed for the new")
	}
	if seen := w.sightings(); len(seen) == 0 || seen[len(seen)-1].Code != subject.CodeNovelScope ||
		!strings.Contains(seen[len(seen)-1].Detail, "payroll/0") {
		t.Errorf("told %+v", seen)
	}
}

// TestAStepUpMakesRoomForWhatIsNew: evidence given since, and no older one, lets a new release ask
// for what it needs, and learn it; the next burst of new ids needs the next step-up.
func TestAStepUpMakesRoomForWhatIsNew(t *testing.T) {
	w := newWorld(t, nil)
	w.allowed(50, func() *decision.Input { return w.scope("search", "features/a") })
	attested := w.now.Add(-time.Minute)
	release := func(name string) *decision.Input {
		ids := []string{"search"}
		for i := range 15 { // eight are a burst; of a sketch some look known
			ids = append(ids, fmt.Sprint(name, i))
		}
		in := w.scope(ids...)
		in.Standing.AttestedAt = attested
		return in
	}
	fires := func(name string) bool {
		in := release(name)
		fired := raised(w.watch.Before(in), decision.CodeNovelScope)
		if fired {
			w.denied(in, decision.CodeNovelScope)
		} else {
			w.watch.After(in, &decision.Result{Allow: true})
		}
		return fired
	}
	if !fires("v2/") {
		t.Fatal("evidence of before the burst is a step-up")
	}
	w.pass(40 * time.Minute)
	if !fires("v2/") {
		t.Error("it is over without a step-up")
	}
	w.pass(time.Minute)
	attested = w.now
	w.pass(time.Second)
	if fires("v2/") {
		t.Error("a step-up does not help")
	}
	w.pass(time.Hour)
	if fires("v2/") {
		t.Error("what was allowed after a step-up was not learnt")
	}
	if !fires("v3/") {
		t.Error("one step-up is for ever")
	}
}

// TestHistoryIsForgottenWithTime: what was not asked for through two memories is new again.
func TestHistoryIsForgottenWithTime(t *testing.T) {
	w := newWorld(t, nil)
	w.allowed(50, func() *decision.Input { return w.scope("search", "features/a", "old") })
	w.pass(8 * 24 * time.Hour)
	w.allowed(2, func() *decision.Input { return w.scope("search", "features/a") })
	if found := w.watch.Before(w.scope("search", "old")); found.Novel != 0 {
		t.Error("what is remembered from the former week is new")
	}
	w.pass(8 * 24 * time.Hour)
	w.allowed(2, func() *decision.Input { return w.scope("search", "features/a") })
	if found := w.watch.Before(w.scope("search", "old")); found.Novel != 50 {
		t.Errorf("%d %% is new after two weeks", found.Novel)
	}
}

// TestNothingHidesBehindManyIDs: beyond those that are looked at each one counts as new.
func TestNothingHidesBehindManyIDs(t *testing.T) {
	w := newWorld(t, nil)
	w.allowed(50, func() *decision.Input { return w.scope("search", "features/a") })
	in := w.scope("search")
	for range 1000 {
		in.Resource.Datasets = append(in.Resource.Datasets, decision.Dataset{ID: "features/a"})
	}
	if found := w.watch.Before(in); found.Novel != 74 {
		t.Errorf("%d %% is new", found.Novel)
	}
	route := w.ask("a")
	route.Resource.Type, route.Resource.ID = "route", "/orders/77"
	if found := w.watch.Before(route); found.Novel != 0 {
		t.Error("each address of a route is new")
	}
}

func (w *world) from(enforcer, source string) bool {
	in := w.ask("a")
	in.Enforcer = enforcer
	if source != "" {
		in.Source = netip.MustParseAddr(source)
	} else {
		in.Source = netip.Addr{}
	}
	return raised(w.watch.Before(in), decision.CodeTwoPlaces)
}

// TestOneCredentialIsInOnePlace: as one enforcement point sees it, within a family of addresses,
// within the window, and within what counts as one place.
func TestOneCredentialIsInOnePlace(t *testing.T) {
	nat := netip.MustParsePrefix("198.51.100.0/22")
	for name, row := range map[string]struct {
		first, second string
		enforcer      string
		after         time.Duration
		want          bool
	}{
		"another network":                   {"192.0.2.7", "203.0.113.9", "token:gateway", 0, true},
		"within the window":                 {"192.0.2.7", "203.0.113.9", "token:gateway", 59 * time.Second, true},
		"after the window":                  {"192.0.2.7", "203.0.113.9", "token:gateway", time.Minute, false},
		"the same network":                  {"192.0.2.7", "192.0.2.200", "token:gateway", 0, false},
		"another enforcement point":         {"192.0.2.7", "203.0.113.9", "token:other", 0, false},
		"both families of a host":           {"192.0.2.7", "2001:db8::7", "token:gateway", 0, false},
		"one /64":                           {"2001:db8::7", "2001:db8::1:2:3:4", "token:gateway", 0, false},
		"two /64":                           {"2001:db8::7", "2001:db8:0:1::7", "token:gateway", 0, true},
		"a mapped address is what it maps":  {"192.0.2.7", "::ffff:192.0.2.9", "token:gateway", 0, false},
		"a mapped address elsewhere":        {"192.0.2.7", "::ffff:203.0.113.9", "token:gateway", 0, true},
		"no address":                        {"192.0.2.7", "", "token:gateway", 0, false},
		"a sidecar":                         {"192.0.2.7", "127.0.0.1", "token:gateway", 0, false},
		"both sides of a NAT's pool":        {"198.51.100.1", "198.51.103.250", "token:gateway", 0, false},
		"a NAT and what is not behind it":   {"198.51.100.1", "192.0.2.7", "token:gateway", 0, true},
		"a link-local address says nothing": {"192.0.2.7", "fe80::1", "token:gateway", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *watch.Config) { c.Shared = []netip.Prefix{nat.Masked()} })
			if w.from("token:gateway", row.first) {
				t.Fatal("the first place is two")
			}
			w.pass(row.after)
			if got := w.from(row.enforcer, row.second); got != row.want {
				t.Errorf("two places: %t", got)
			}
			if row.want {
				w.wantSightings(subject.CodeTwoPlaces)
			}
		})
	}
}

// TestDetectorsOfDifferentCallersAreApart, also for one credential of nobody.
func TestDetectorsOfDifferentCallersAreApart(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 40 {
		in := w.ask(fmt.Sprint("c", i))
		in.Source = netip.AddrFrom4([4]byte{10, byte(i), 0, 1})
		in.Resource.Tenant = fmt.Sprint("t", i)
		if found := w.watch.Before(in); len(found.Raised) != 0 {
			t.Fatalf("caller %d: %v", i, found.Raised)
		}
	}
	in := w.ask("x")
	in.Who.Credential = ""
	w.watch.Before(in)
	in.Source = netip.MustParseAddr("203.0.113.9")
	if found := w.watch.Before(in); len(found.Raised) != 0 {
		t.Error("a credential without a digest is in two places")
	}
}

// TestConfigurationsInDoubtAreRefused, each for its own field.
func TestConfigurationsInDoubtAreRefused(t *testing.T) {
	for name, change := range map[string]func(*watch.Config){
		"no sink":             func(c *watch.Config) { c.Sink = nil },
		"no logger":           func(c *watch.Config) { c.Logger = nil },
		"no rate":             func(c *watch.Config) { c.Rate = 0 },
		"no burst":            func(c *watch.Config) { c.Burst = 0 },
		"a rate beyond count": func(c *watch.Config) { c.Rate = 1e9 },
		"no room":             func(c *watch.Config) { c.Subjects = 0 },
		"too much room":       func(c *watch.Config) { c.Subjects = 1 << 30 },
		"one tenant a pivot":  func(c *watch.Config) { c.Bounds.PivotTenants = 1 },
		"too many tenants":    func(c *watch.Config) { c.Bounds.PivotTenants = 5 },
		"no denials":          func(c *watch.Config) { c.Bounds.BurstDenials = 0 },
		"no new ids":          func(c *watch.Config) { c.Bounds.NovelIDs = 0 },
		"too many new ids":    func(c *watch.Config) { c.Bounds.NovelIDs = 33 },
		"no history":          func(c *watch.Config) { c.Bounds.Learn = 0 },
		"no window":           func(c *watch.Config) { c.Bounds.PivotWindow = 0 },
		"no memory":           func(c *watch.Config) { c.Bounds.Memory = 0 },
		"no cooldown":         func(c *watch.Config) { c.Bounds.Cooldown = 0 },
		"no calm":             func(c *watch.Config) { c.Bounds.Calm = 0 },
		"no pause":            func(c *watch.Config) { c.Bounds.Pause = 0 },
		"no range":            func(c *watch.Config) { c.Shared = []netip.Prefix{{}} },
	} {
		t.Run(name, func(t *testing.T) {
			config := configOf(&sink{})
			change(&config)
			var caller *attestd.CallerError
			if _, err := watch.New(config); !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestWhatIsToldOfNewIDsHoldsNoSecret: it goes on to the registry, the audit log and pages.
func TestWhatIsToldOfNewIDsHoldsNoSecret(t *testing.T) {
	w := newWorld(t, nil)
	w.allowed(60, func() *decision.Input { return w.ask("a") })
	for i := range 12 {
		in := w.ask("a")
		in.Resource.ID = fmt.Sprintf("%d?t=eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOjF9.c2ln", i)
		w.watch.Before(in)
	}
	told := w.sightings()
	if len(told) != 1 || told[0].Code != subject.CodeNovelScope || strings.Contains(told[0].Detail, "eyJ") {
		t.Errorf("told %+v", told)
	}
}

// TestAnotherTenantsWordHurtsNobody: an enforcement point of another tenant that was shown a token once uses
// up none of the caller's limit and makes no signal of places, scope, denials, nor alone of a pivot.
func TestAnotherTenantsWordHurtsNobody(t *testing.T) {
	w := newWorld(t, nil)
	abroad := func(enforcer, tenant string, i int) decision.Findings {
		in := w.ask("victim")
		in.Foreign, in.Enforcer, in.Resource.Tenant = true, enforcer, tenant
		in.Resource.ID, in.Source = fmt.Sprint("new-", i), netip.AddrFrom4([4]byte{198, 51, byte(i), 1})
		found := w.watch.Before(in)
		w.denied(in, decision.CodeTenantMismatch)
		return found
	}
	for i := range 200 {
		if found := abroad("token:b", fmt.Sprint("other-", i%2), i); found.Throttled || !found.Looked {
			t.Fatalf("question %d: %+v", i, found)
		}
	}
	w.wantSightings()
	if found := w.watch.Before(w.ask("victim")); found.Throttled || len(found.Raised) != 0 {
		t.Errorf("the caller itself: %+v", found)
	}
	// Enough other tenants deny the question at hand, and two who saw it make a signal.
	for i := range 3 {
		abroad("token:c", fmt.Sprint("third-", i), i)
	}
	w.wantSightings(subject.CodeTenantPivot)
}
