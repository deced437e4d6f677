package measurements_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/measurements"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// lived returns a document whose one value has the lines of a lifecycle.
func lived(lines string) string {
	return strings.Replace(smallDoc, "    state: active\n", lines, 1)
}

func TestLifecyclesThatAreRead(t *testing.T) {
	for _, row := range []struct {
		name, lines string
		want        measurements.Value
	}{
		{"retired", "    state: retired\n", measurements.Value{State: measurements.StateRetired}},
		{"retiring with an end", "    state: retiring\n    until: \"2026-12-01T13:00:00+01:00\"\n",
			measurements.Value{State: measurements.StateRetiring, Until: noon}},
		{"a canary for a share", "    state: canary\n    canary: {percent: 10}\n",
			measurements.Value{State: measurements.StateCanary, Canary: &measurements.Canary{Percent: 10}}},
		{"a canary for machines, up to a time",
			"    state: canary\n    canary: {instances: [\"instance:i-1\", \"host:ab\"]}\n" +
				"    until: \"2026-12-01T12:00:00Z\"\n",
			measurements.Value{State: measurements.StateCanary, Until: noon,
				Canary: &measurements.Canary{Handles: []attestd.Handle{
					{Kind: attestd.HandleInstance, Value: "i-1"}, {Kind: attestd.HandleHost, Value: "ab"},
				}}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			set, err := measurements.Parse("test", []byte(lived(row.lines)))
			if err != nil {
				t.Fatal(err)
			}
			check := func(got measurements.Value) {
				t.Helper()
				if got.State != row.want.State || !got.Until.Equal(row.want.Until) ||
					fmt.Sprint(got.Canary) != fmt.Sprint(row.want.Canary) {
					t.Errorf("got %+v, want %+v", got, row.want)
				}
			}
			check(set.Values[0])
			written, err := set.YAML()
			if err != nil {
				t.Fatal(err)
			}
			again, err := measurements.Parse("again", written)
			if err != nil {
				t.Fatal(err)
			}
			check(again.Values[0])
		})
	}
}

func TestLifecyclesThatAreRefused(t *testing.T) {
	for _, row := range []struct{ name, lines, want string }{
		{"a canary for nobody", "    state: canary\n", "canary for nobody"},
		{"an empty canary", "    state: canary\n    canary: {}\n", "is empty"},
		{"a share of nothing", "    state: canary\n    canary: {percent: 0}\n", "want 1 to 99"},
		{"a share of all", "    state: canary\n    canary: {percent: 100}\n", "want 1 to 99"},
		{"no machines", "    state: canary\n    canary: {instances: []}\n", "is empty"},
		{"a machine of no kind", "    state: canary\n    canary: {instances: [\"i-1\"]}\n", "is no machine"},
		{"a machine by its boot", "    state: canary\n    canary: {instances: [\"boot:1\"]}\n", "is no machine"},
		{"a machine without a value", "    state: canary\n    canary: {instances: [\"host:\"]}\n",
			"is no machine"},
		{"a machine twice", "    state: canary\n    canary: {instances: [\"host:a\", \"host:a\"]}\n", "twice"},
		{"an active value with a canary", "    state: active\n    canary: {percent: 5}\n",
			"only the state canary has"},
		{"an active value with an end", "    state: active\n    until: \"2026-12-01T12:00:00Z\"\n",
			"only the states canary and retiring"},
		{"a day for an end", "    state: retiring\n    until: \"2026-12-01\"\n", "want a time as in"},
		{"an empty end", "    state: retiring\n    until: \"\"\n", "is empty"},
		{"an unknown key", "    state: canary\n    canary: {share: 5}\n", "unknown key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if set, err := measurements.Parse("test", []byte(lived(row.lines))); err == nil ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, %v; want an error with %q", set, err, row.want)
			}
		})
	}
	// What was not read from a document is held against the same.
	for _, change := range []func(*measurements.Value){
		func(v *measurements.Value) { v.State = 17 },
		func(v *measurements.Value) { v.State = measurements.StateCanary },
		func(v *measurements.Value) { v.Canary = &measurements.Canary{Percent: 5} },
		func(v *measurements.Value) { v.Until = noon },
		func(v *measurements.Value) {
			v.State, v.Canary = measurements.StateCanary, &measurements.Canary{Percent: 100}
		},
	} {
		set, err := measurements.Parse("test", []byte(smallDoc))
		if err != nil {
			t.Fatal(err)
		}
		change(&set.Values[0])
		if _, err := measurements.NewIndex(set); err == nil {
			t.Errorf("%+v was indexed", set.Values[0])
		}
	}
}

// running returns claims about an enclave of an instance.
func running() (*attestd.Claims, attestd.Handle) {
	me := attestd.Handle{Kind: attestd.HandleInstance, Value: "i-0123-enc4567"}
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format: attestd.FormatNitro, EvidenceDigest: [32]byte{1},
		Registers: registers(0xa1, 0xb2, 0xc3),
		Handles:   []attestd.Handle{{Kind: attestd.HandleHost, Value: "i-0123"}, me},
	}), me
}

func TestWhoAndWhenAValueMatches(t *testing.T) {
	claims, me := running()
	other := attestd.Handle{Kind: attestd.HandleInstance, Value: "i-another"}
	canary := func(handles ...attestd.Handle) *measurements.Canary {
		return &measurements.Canary{Handles: handles}
	}
	for _, row := range []struct {
		name   string
		state  measurements.State
		canary *measurements.Canary
		until  time.Time
		why    string // nothing where it matches
		// timeless asks as of the zero time.
		timeless bool
	}{
		{name: "an active value", state: measurements.StateActive},
		{name: "a proposed value", why: "proposed"},
		{name: "a retired value", state: measurements.StateRetired, why: "retired"},
		{name: "a retiring value", state: measurements.StateRetiring},
		{name: "a retiring value before its end", state: measurements.StateRetiring,
			until: noon.Add(time.Second)},
		{name: "a retiring value at its end", state: measurements.StateRetiring, until: noon,
			why: "retiring ended 2026-12-01T12:00:00Z"},
		{name: "a retiring value with an end, at no time", state: measurements.StateRetiring,
			until: noon, timeless: true, why: "retiring ended 2026-12-01T12:00:00Z"},
		{name: "a canary for this machine", state: measurements.StateCanary, canary: canary(other, me)},
		{name: "a canary for another", state: measurements.StateCanary, canary: canary(other),
			why: "canary, not for this machine"},
		{name: "a canary for a machine of that name and another kind", state: measurements.StateCanary,
			canary: canary(attestd.Handle{Kind: attestd.HandleHost, Value: me.Value}),
			why:    "canary, not for this machine"},
		{name: "a canary that ended", state: measurements.StateCanary, canary: canary(me), until: noon,
			why: "canary ended 2026-12-01T12:00:00Z"},
	} {
		t.Run(row.name, func(t *testing.T) {
			set, err := measurements.FromClaims("web", claims)
			if err != nil {
				t.Fatal(err)
			}
			value := &set.Values[0]
			value.State, value.Canary, value.Until = row.state, row.canary, row.until
			known, err := measurements.NewIndex(set)
			if err != nil {
				t.Fatal(err)
			}
			at := noon
			if row.timeless {
				at = time.Time{}
			}
			match := known.MatchClaims(claims, at)
			if match.Found != (row.why == "") || match.Why != row.why || match.State != row.state {
				t.Errorf("got %+v, want %q", match, row.why)
			}
		})
	}
	if match := (&measurements.Index{}).MatchClaims(&attestd.Claims{}, noon); match.Found {
		t.Error("claims without a verification matched")
	}
}

func TestValuesWithEqualRegisters(t *testing.T) {
	claims, me := running()
	set := func(name string, state measurements.State, until time.Time, who ...attestd.Handle) *measurements.Set {
		t.Helper()
		made, err := measurements.FromClaims(name, claims)
		if err != nil {
			t.Fatal(err)
		}
		made.Values[0].State, made.Values[0].Until = state, until
		if state == measurements.StateCanary {
			made.Values[0].Canary = &measurements.Canary{Handles: who}
		}
		return made
	}
	other := attestd.Handle{Kind: attestd.HandleInstance, Value: "i-another"}
	never, soon := time.Time{}, noon.Add(time.Hour)
	active := set("active", measurements.StateActive, never)
	mine := set("mine", measurements.StateCanary, never, me)
	theirs := set("theirs", measurements.StateCanary, never, other)
	going := set("going", measurements.StateRetiring, never)
	gone := set("gone", measurements.StateRetiring, noon)
	soonGone := set("soon", measurements.StateRetiring, soon)
	for _, row := range []struct {
		name string
		sets []*measurements.Set
		want string
	}{
		{"active before all others", []*measurements.Set{going, theirs, mine, active}, "active"},
		{"a canary before a retiring one", []*measurements.Set{going, mine}, "mine"},
		{"a canary of others leaves the retiring one", []*measurements.Set{theirs, going}, "going"},
		{"an end that is past leaves the next", []*measurements.Set{gone, soonGone}, "soon"},
		{"the first of two", []*measurements.Set{soonGone, going}, "soon"},
		{"nothing is left", []*measurements.Set{theirs, gone}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			known, err := measurements.NewIndex(row.sets...)
			if err != nil {
				t.Fatal(err)
			}
			match := known.MatchClaims(claims, noon)
			if match.Found != (row.want != "") || row.want != "" && match.Label != row.want {
				t.Errorf("got %+v, want %q", match, row.want)
			}
		})
	}
	known, err := measurements.NewIndex(soonGone, gone, active)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ after, want time.Time }{
		{noon.Add(-time.Second), noon}, {noon, soon}, {soon, never},
	} {
		if end, ok := known.NextEnd(row.after); !end.Equal(row.want) || ok == row.want.IsZero() {
			t.Errorf("after %v: got %v, %v, want %v", row.after, end, ok, row.want)
		}
	}
	many := make([]*measurements.Set, 9)
	for i := range many {
		many[i] = set(fmt.Sprint("c", i), measurements.StateCanary, never, other)
	}
	if _, err := measurements.NewIndex(many...); err == nil {
		t.Error("nine canaries with equal registers were indexed")
	}
}

func TestACanaryChoosesItsShareAndKeepsIt(t *testing.T) {
	chosen := func(set, value string, percent uint8) map[string]bool {
		canary := &measurements.Canary{Percent: percent}
		found := map[string]bool{}
		for i := range 10_000 {
			handle := attestd.Handle{Kind: attestd.HandleInstance, Value: fmt.Sprintf("i-%d", i)}
			if measurements.Chooses(canary, set, value, slices.Values([]attestd.Handle{handle})) {
				found[handle.Value] = true
			}
		}
		return found
	}
	ten, thirty := chosen("web", "6.16", 10), chosen("web", "6.16", 30)
	// Ten thousand draws of one in ten differ from a thousand by more than 150 once in 10^6 runs; this
	// is one fixed run.
	if len(ten) < 850 || len(ten) > 1150 || len(thirty) < 2770 || len(thirty) > 3230 {
		t.Errorf("10%% chose %d and 30%% chose %d of 10000", len(ten), len(thirty))
	}
	both := 0
	other := chosen("web", "6.17", 10)
	for machine := range ten {
		if !thirty[machine] {
			t.Fatalf("%s is among 10%% and not among 30%%", machine)
		}
		if other[machine] {
			both++
		}
	}
	if both > 200 {
		t.Errorf("another value chose %d of %d machines again", both, len(ten))
	}
	// The first kind that a machine has decides; a boot is none.
	canary := &measurements.Canary{Percent: 99}
	for _, handles := range [][]attestd.Handle{
		nil, {{Kind: attestd.HandleBoot, Value: "b"}}, {{Kind: attestd.HandleInstance}},
	} {
		if measurements.Chooses(canary, "web", "6.16", slices.Values(handles)) {
			t.Errorf("a machine with the handles %v was chosen", handles)
		}
	}
	if measurements.Chooses(nil, "web", "x", slices.Values([]attestd.Handle{{Kind: "host", Value: "a"}})) ||
		measurements.Chooses(canary, "web", "x", nil) {
		t.Error("no canary, or nobody, was chosen")
	}
}
