package measurements_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/measurements"
)

// sequence is a log of PCR4 with one event for each letter, whose digest the letter is.
func sequence(letters string) []attestd.Event {
	var events []attestd.Event
	for i := range len(letters) {
		role := attestd.RoleOther
		if letters[i] >= 'k' && letters[i] <= 'm' {
			role = attestd.RoleKernel
		}
		events = append(events, logged(i, "PCR4", role, letters[i]))
	}
	return events
}

func TestDiffNamesWhatIsChangedMissingAndExtra(t *testing.T) {
	for _, row := range []struct{ name, golden, now, want string }{
		{"nothing differs", "abc", "abc", ""},
		{"one is changed", "abc", "axc", "changed b>x@1"},
		{"one is missing", "abc", "ac", "missing b@1"},
		{"one is extra", "abc", "abxc", "extra x@2"},
		{"one is extra at the end", "abc", "abcx", "extra x@3"},
		{"the last are missing", "abc", "a", "missing b@1 missing c@2"},
		{"the kernel is paired with the kernel", "akb", "axlb", "extra x@1 changed k>l@2"},
		{"a kernel is missing and something else is there", "akb", "axb", "missing k@1 extra x@1"},
		{"two places", "abcdef", "axcdyf", "changed b>x@1 changed e>y@4"},
		{"two are swapped", "abcd", "acbd", "missing b@1 extra b@2"},
		{"no log", "ab", "", "missing a@0 missing b@1"},
	} {
		var said []string
		for _, d := range measurements.Diff(sequence(row.golden), slices.Values(sequence(row.now)), nil) {
			switch d.Change {
			case measurements.Changed:
				said = append(said, fmt.Sprintf("changed %c>%c@%d", d.Golden.Digest[0], d.Now.Digest[0], d.Now.Index))
			case measurements.Missing:
				said = append(said, fmt.Sprintf("missing %c@%d", d.Golden.Digest[0], d.Golden.Index))
			default:
				said = append(said, fmt.Sprintf("extra %c@%d", d.Now.Digest[0], d.Now.Index))
			}
			if d.Register != "PCR4" || len(d.String()) > measurements.MaxLine {
				t.Errorf("%s: got %+v, %q", row.name, d, d)
			}
		}
		if got := strings.Join(said, " "); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	if got := measurements.Diff(nil, slices.Values(sequence("ab")), nil); got != nil {
		t.Errorf("got %v of no golden boot", got)
	}
	if got := measurements.Diff(sequence("ab"), nil, nil); len(got) != 2 {
		t.Errorf("got %v of no log", got)
	}
}

// Whoever sends evidence writes the log: aligning it must not cost the square of its length.
func TestDiffOfLongLogsStaysCheap(t *testing.T) {
	long := func(first int) []attestd.Event {
		events := make([]attestd.Event, 20_000)
		for i := range events {
			events[i] = logged(i, "PCR4", attestd.RoleOther, 0)
			events[i].Digest = fmt.Appendf(nil, "%032d", first+i)
		}
		return events
	}
	if got := len(measurements.Diff(long(0)[:4096], slices.Values(long(50_000)), nil)); got != 20_000 {
		t.Errorf("got %d differences", got)
	}
}

// goldenBoot is a value of registers with the events of boot.
func goldenBoot(t *testing.T, registers []attestd.Register) *measurements.Set {
	t.Helper()
	value := measurements.Value{Name: "golden", State: measurements.StateActive, Registers: registers}
	for _, event := range boot() {
		value.Events = append(value.Events, attestd.Event{Log: event.Log, Index: event.Index,
			Register: event.Register, Type: event.Type, Role: event.Role, Digest: event.Digest, What: event.What})
	}
	return &measurements.Set{Name: "host", Format: attestd.FormatTPM, Bank: "sha256",
		Values: []measurements.Value{value}}
}

func TestMatchNamesTheFirstEventThatDiffersFromTheGoldenBoot(t *testing.T) {
	events := boot()
	events[5].Digest = bytes.Repeat([]byte{0xee}, 32)
	events[0].Digest = bytes.Repeat([]byte{0xdd}, 32) // of PCR7, which is not compared or equal
	plain := goldenBoot(t, pcrs(0xa4, 0xa7))
	plain.Name, plain.Values[0].Events = "without-events", nil
	plain.Values[0].Registers[1].Digest = bytes.Repeat([]byte{0xa7}, 32)
	for _, row := range []struct {
		name    string
		sets    []*measurements.Set
		seen    []attestd.Register
		events  []attestd.Event
		label   string
		differs int
		want    string
	}{
		{"the kernel of a value that is close", []*measurements.Set{goldenBoot(t, pcrs(0xa4, 0xa7))},
			pcrs(0xee, 0xa7), events, "host", 1,
			"PCR4 event 5 EV_IPL boot-application: got eeeeeeee.., want 42424242.."},
		{"a value with events before one without", []*measurements.Set{plain, goldenBoot(t, pcrs(0xa4, 0xa7))},
			pcrs(0xee, 0xa7), events, "host", 1, "PCR4 event 5 EV_IPL boot-application"},
		{"a value that has no register in common", []*measurements.Set{goldenBoot(t, pcrs(0xa4, 0xa7)[:1])},
			pcrs(0xee, 0xa7), events, "host", 1, "PCR4 event 5"},
		{"evidence without the register", []*measurements.Set{goldenBoot(t, pcrs(0xa4, 0xa7))},
			pcrs(0xa4, 0xa7)[:1], events, "host", 1, "PCR7 is not quoted in the value's bank"},
		{"evidence without a log", []*measurements.Set{goldenBoot(t, pcrs(0xa4, 0xa7))},
			pcrs(0xee, 0xa7), nil, "host", 1, "no event log was replayed"},
		{"a value without events", []*measurements.Set{plain}, pcrs(0xee, 0xa7), events,
			"without-events", 1, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			known, err := measurements.NewIndex(row.sets...)
			if err != nil {
				t.Fatal(err)
			}
			got := known.Match(attestd.FormatTPM, slices.Values(row.seen), slices.Values(row.events))
			if got.Found || got.Label != row.label || got.Differs != row.differs ||
				!strings.Contains(got.Event, row.want) || (row.want == "") != (got.Event == "") {
				t.Errorf("got %+v, want %q", got, row.want)
			}
		})
	}
}

// A lookup among values without rules asks for no event, and an event is nobody's business where the
// registers are known.
func TestEventsAreOnlyAskedForWhereTheyCount(t *testing.T) {
	known, err := measurements.NewIndex(goldenBoot(t, pcrs(0xa4, 0xa7)))
	if err != nil {
		t.Fatal(err)
	}
	got := known.Match(attestd.FormatTPM, slices.Values(pcrs(0xa4, 0xa7)),
		func(func(attestd.Event) bool) { t.Error("events were asked for") })
	if !got.Found {
		t.Errorf("got %+v", got)
	}
}

// evidence is claims of a TPM with the given registers and events.
func evidence(registers []attestd.Register, events []attestd.Event) *attestd.Claims {
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format: attestd.FormatTPM, Summary: "TPM", EvidenceDigest: [32]byte{1},
		Registers: registers, Events: slices.Values(events),
		Checks: []attestd.Check{{ID: "tpm/signature", Result: attestd.ResultPass}},
	})
}

func TestMeasureWritesWhatTheSameEvidenceMatches(t *testing.T) {
	events := boot()
	events = append(events, logged(7, "PCR4", attestd.RoleOther, 0x51),
		logged(8, "PCR10", attestd.RoleFile, 0x52),
		logged(9, "PCR4", attestd.RoleCommandLine, 0x53))
	events[9].Text = strings.Repeat("x y=\"z\" \\ ", 40) + "end"
	events[1].What = strings.Repeat("long \u00e9 ", 40)
	seen := append(pcrs(0xa4, 0xa7),
		attestd.Register{Name: "PCR3", Algorithm: "SHA256", Digest: make([]byte, 32)},
		attestd.Register{Name: "PCR8", Algorithm: "SHA256", Digest: bytes.Repeat([]byte{8}, 32)},
		attestd.Register{Name: "PCR4", Algorithm: "SHA512", Digest: bytes.Repeat([]byte{4}, 64)})
	made := evidence(seen, events)
	for _, row := range []struct {
		name             string
		options          measurements.Options
		registers, rules int
		events           int
	}{
		{"registers", measurements.Options{}, 2, 0, 9},
		{"registers by name", measurements.Options{Registers: []string{"PCR4", "PCR8"}}, 2, 0, 5},
		{"rules", measurements.Options{Rules: true}, 0, 2, 9},
		{"rules, and a register without events", measurements.Options{Rules: true,
			Registers: []string{"PCR4", "PCR8"}}, 1, 1, 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			set, err := measurements.Measure("host", made, row.options)
			if err != nil {
				t.Fatal(err)
			}
			value := &set.Values[0]
			if set.Bank != "sha256" || value.State.Matches() || len(value.Registers) != row.registers ||
				len(value.Rules) != row.rules || len(value.Events) != row.events {
				t.Fatalf("got %+v", set)
			}
			value.State = measurements.StateActive
			doc, err := set.YAML()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(string(doc), "\n") {
				if len(line) > 100 {
					t.Errorf("a line of %d columns: %s", len(line), line)
				}
			}
			again, err := measurements.Parse("again", doc)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", again.Values) != fmt.Sprintf("%+v", set.Values) {
				t.Errorf("got %+v\nwant %+v", again.Values, set.Values)
			}
			known, err := measurements.NewIndex(again)
			if err != nil {
				t.Fatal(err)
			}
			if got := known.Match(attestd.FormatTPM, made.Registers(), made.Events()); !got.Found {
				t.Errorf("got %+v of the evidence that it was made from", got)
			}
			changed := slices.Clone(events)
			changed[5].Digest = bytes.Repeat([]byte{0xee}, 32)
			other := slices.Clone(seen)
			other[0].Digest = bytes.Repeat([]byte{0xee}, 32)
			got := known.Match(attestd.FormatTPM, slices.Values(other), slices.Values(changed))
			if got.Found || !strings.HasPrefix(got.Event, "PCR4 event 5 EV_IPL boot-application: got eeeeeeee..") {
				t.Errorf("got %+v of another kernel", got)
			}
		})
	}
}

func TestMeasureRefuses(t *testing.T) {
	zero := pcrs(0, 0xa7)
	for _, row := range []struct {
		name    string
		claims  *attestd.Claims
		options measurements.Options
		want    string
	}{
		{"no registers", evidence(nil, nil), measurements.Options{}, "evidence has no PCR4"},
		{"no boot loader", evidence(pcrs(1, 2)[1:], boot()), measurements.Options{}, "evidence has no PCR4"},
		{"a SHA-1 bank alone", evidence([]attestd.Register{{Name: "PCR4", Algorithm: "SHA1",
			Digest: bytes.Repeat([]byte{1}, 20)}}, nil), measurements.Options{}, "evidence has no PCR4"},
		{"a boot loader that was not measured", evidence(zero, nil), measurements.Options{},
			"PCR4 is all zero"},
		{"rules without a log", evidence(pcrs(1, 2), nil), measurements.Options{Rules: true},
			"no replayed event log"},
		{"a register that was not quoted", evidence(pcrs(1, 2), nil),
			measurements.Options{Registers: []string{"PCR4", "PCR9"}}, "evidence has no PCR9"},
		{"a register that is none", evidence(pcrs(1, 2), nil),
			measurements.Options{Registers: []string{"PCR44"}}, "no register is called"},
		{"registers without the boot loader's", evidence(pcrs(1, 2), nil),
			measurements.Options{Registers: []string{"PCR7"}}, "evidence has no PCR4"},
	} {
		if set, err := measurements.Measure("host", row.claims, row.options); err == nil || set != nil ||
			!strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, %v, want %q", row.name, set, err, row.want)
		}
	}
}
