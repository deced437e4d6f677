package measurements_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

func hexOf(fill string) string { return strings.Repeat(fill, 48) }

func document(format, values string) string {
	return "schema: attestd.reference-values.v1\nname: web-guest\nversion: \"2025.5\"\nformat: " +
		format + "\nvalues:\n" + values
}

func snpValue(name, state, measurement string) string {
	return fmt.Sprintf("  - name: %s\n    state: %s\n    measurement: %q\n", name, state, measurement)
}

func nitroValue(name, state, pcr0, pcr1, pcr2 string) string {
	return fmt.Sprintf("  - name: %s\n    state: %s\n    registers: {PCR0: %q, PCR1: %q, PCR2: %q}\n",
		name, state, pcr0, pcr1, pcr2)
}

func TestParseRefusesWhatWouldMatchTooMuch(t *testing.T) {
	good := snpValue("a", "active", hexOf("a1"))
	for _, row := range []struct {
		name, doc, want string
		neg             int
	}{
		{name: "an empty digest", doc: document("sev-snp", snpValue("a", "active", "")),
			want: "line 8: values[0].measurement: is empty", neg: 139},
		{name: "an all-zero digest", doc: document("sev-snp", snpValue("a", "active", hexOf("00"))),
			want: "is all zero"},
		{name: "no values", doc: document("sev-snp", "  []\n"), want: "values: is empty", neg: 139},
		{name: "a value with no registers",
			doc:  document("nitro", "  - name: a\n    state: active\n    registers: {}\n"),
			want: "values[0].registers: is empty", neg: 139},
		{name: "a value that says nothing at all",
			doc:  document("nitro", "  - name: a\n    state: active\n"),
			want: "registers is missing"},
		{name: "a digest of 32 bytes where SHA-384 is measured",
			doc:  document("sev-snp", snpValue("a", "active", strings.Repeat("a1", 32))),
			want: "got 32 bytes, want 48 (SHA384)"},
		{name: "a digest that is not hex", doc: document("sev-snp", snpValue("a", "active", "xyz")),
			want: "is not hex"},
		{name: "PCR0 without PCR1 and PCR2",
			doc: document("nitro", "  - name: a\n    state: active\n    registers: {PCR0: \""+
				hexOf("a1")+"\"}\n"),
			want: "does not name PCR1, PCR2", neg: 45},
		{name: "two values of one name", doc: document("sev-snp", good+
			snpValue("a", "active", hexOf("b2"))), want: `name "a" stands twice`},
		{name: "two states for one measurement", doc: document("sev-snp", good+
			snpValue("b", "retiring", hexOf("a1"))), want: `same registers as "a"`},
		{name: "an unknown state", doc: document("sev-snp", snpValue("a", "gone", hexOf("a1"))),
			want: `got "gone", want one of: proposed, active, canary, retiring, retired`},
		{name: "an unknown register", doc: document("nitro",
			"  - name: a\n    state: active\n    registers: {PCRO: \""+hexOf("a1")+"\"}\n"),
			want: "unknown register; did you mean PCR0?"},
		{name: "both forms at once", doc: document("sev-snp", "  - name: a\n    state: active\n"+
			"    measurement: \""+hexOf("a1")+"\"\n    registers: {MEASUREMENT: \""+hexOf("a1")+"\"}\n"),
			want: "either measurement or registers"},
		{name: "a format without reference values", doc: document("azure-vtpm", good),
			want: `no reference values for format "azure-vtpm"`},
		{name: "a misspelt key", doc: document("sev-snp",
			"  - name: a\n    state: active\n    meassurement: \""+hexOf("a1")+"\"\n"),
			want: "unknown key; did you mean measurement?", neg: 177},
		{name: "another schema", doc: strings.Replace(document("sev-snp", good), ".v1", ".v2", 1),
			want: "want attestd.reference-values.v1"},
		{name: "a name that breaks lines", doc: strings.Replace(document("sev-snp", good),
			"name: web-guest", `name: "web\nguest"`, 1), want: "letters, digits"},
		{name: "nothing", doc: "", want: "documents"},
	} {
		t.Run(row.name, func(t *testing.T) {
			set, err := measurements.Parse("ref.yaml", []byte(row.doc))
			var caller *attestd.CallerError
			if set != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
				t.Fatalf("got %v, %v, want a CallerError of class CONFIG", set, err)
			}
			if caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %q, want it to contain %q", err, row.want)
			}
		})
	}
}

func TestParseReportsEverythingAtOnce(t *testing.T) {
	_, err := measurements.Parse("ref.yaml", []byte(document("sev-snp",
		snpValue("a", "activ", hexOf("a1"))+snpValue("b", "active", "a1")+"  - name: c\n")))
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"3 problems", "line 7: values[0].state",
		"line 11: values[1].measurement", "values[2].state: is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to contain %q", err, want)
		}
	}
}

func TestSetsRoundTripThroughYAML(t *testing.T) {
	for _, doc := range []string{
		document("sev-snp", snpValue("4-vcpu", "active", hexOf("a1"))+
			snpValue("8-vcpu", "proposed", hexOf("b2"))),
		document("nitro", nitroValue("a", "retiring", hexOf("a1"), hexOf("b2"), hexOf("c3"))),
		strings.Replace(document("sev-snp", snpValue("a", "active", hexOf("a1"))),
			"version: \"2025.5\"\n", "", 1),
	} {
		set, err := measurements.Parse("ref.yaml", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		written, err := set.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := measurements.Parse("written", written)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(set) == "" || fmt.Sprintf("%+v", *set) != fmt.Sprintf("%+v", *again) {
			t.Errorf("got %+v, want %+v", again, set)
		}
	}
	if _, err := (&measurements.Set{Name: "empty"}).YAML(); err == nil {
		t.Error("a set that Parse would refuse was written")
	}
}

func index(t *testing.T, docs ...string) *measurements.Index {
	t.Helper()
	var sets []*measurements.Set
	for _, doc := range docs {
		set, err := measurements.Parse("ref.yaml", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, set)
	}
	made, err := measurements.NewIndex(sets...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// registers of evidence, as PCR0, PCR1, ... from one byte each.
func registers(fill ...byte) []attestd.Register {
	var made []attestd.Register
	for i, b := range fill {
		made = append(made, attestd.Register{
			Name: fmt.Sprintf("PCR%d", i), Algorithm: "SHA384", Digest: bytes.Repeat([]byte{b}, 48),
		})
	}
	return made
}

func TestMatchNeedsEveryRegisterOfALivingValue(t *testing.T) {
	known := index(t, document("nitro",
		nitroValue("live", "active", hexOf("a1"), hexOf("b2"), hexOf("c3"))+
			nitroValue("going", "retiring", hexOf("a1"), hexOf("b2"), hexOf("c4"))+
			nitroValue("wish", "proposed", hexOf("d1"), hexOf("d2"), hexOf("d3"))))
	for _, row := range []struct {
		name      string
		registers []attestd.Register
		format    attestd.Format
		want      measurements.Match
	}{
		{name: "an active value matches, further registers are not compared",
			registers: registers(0xa1, 0xb2, 0xc3, 0xff),
			want: measurements.Match{Found: true, Loaded: 2, Label: "web-guest 2025.5", Value: "live",
				State: measurements.StateActive, Registers: 3}},
		{name: "a retiring value matches and says so", registers: registers(0xa1, 0xb2, 0xc4),
			want: measurements.Match{Found: true, Loaded: 2, Label: "web-guest 2025.5", Value: "going",
				State: measurements.StateRetiring, Registers: 3}},
		{name: "a proposed value never matches", registers: registers(0xd1, 0xd2, 0xd3),
			want: measurements.Match{Loaded: 2, Label: "web-guest 2025.5", Value: "wish", Registers: 3,
				Why: "proposed"}},
		{name: "one other register is no match", registers: registers(0xa1, 0xb2, 0xcc),
			want: measurements.Match{Loaded: 2, Label: "web-guest 2025.5", Value: "live",
				State: measurements.StateActive, Differs: 1, Registers: 3}},
		// neg: 45
		{name: "a register that is absent is no match", registers: registers(0xa1, 0xb2),
			want: measurements.Match{Loaded: 2, Label: "web-guest 2025.5", Value: "live",
				State: measurements.StateActive, Differs: 1, Registers: 3}},
		{name: "nothing in common", registers: registers(1, 2, 3),
			want: measurements.Match{Loaded: 2}},
		{name: "no registers at all", registers: nil, want: measurements.Match{Loaded: 2}},
		{name: "another format", registers: registers(0xa1, 0xb2, 0xc3),
			format: attestd.FormatNitroTPM, want: measurements.Match{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			format := row.format
			if format == "" {
				format = attestd.FormatNitro
			}
			if got := known.Match(format, slices.Values(row.registers), nil); got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
	if got := (*measurements.Index)(nil).Match("nitro", slices.Values(registers(1)), nil); got.Found {
		t.Error("a nil index matched")
	}
	swapped := registers(0xa1, 0xb2, 0xc3)
	swapped[0].Digest, swapped[1].Digest = swapped[1].Digest, swapped[0].Digest
	if known.Match(attestd.FormatNitro, slices.Values(swapped), nil).Found {
		t.Error("the right digests in the wrong registers matched")
	}
	other := registers(0xa1, 0xb2, 0xc3)
	other[0].Algorithm = "SHA512"
	if known.Match(attestd.FormatNitro, slices.Values(other), nil).Found {
		t.Error("a digest of another algorithm matched")
	}
}

func TestActiveWinsOverRetiring(t *testing.T) {
	retiring := document("sev-snp", snpValue("old", "retiring", hexOf("a1")))
	active := strings.Replace(document("sev-snp", snpValue("new", "active", hexOf("a1"))),
		"2025.5", "2025.6", 1)
	for _, docs := range [][]string{{retiring, active}, {active, retiring}} {
		got := index(t, docs...).Match(attestd.FormatSEVSNP, slices.Values([]attestd.Register{
			{Name: "MEASUREMENT", Algorithm: "SHA384", Digest: bytes.Repeat([]byte{0xa1}, 48)},
		}), nil)
		if !got.Found || got.Value != "new" {
			t.Errorf("got %+v, want the active value", got)
		}
	}
}

func TestIndexRefusesSetsThatContradictOrWouldMatchEverything(t *testing.T) {
	set, err := measurements.Parse("ref.yaml",
		[]byte(document("sev-snp", snpValue("a", "active", hexOf("a1")))))
	if err != nil {
		t.Fatal(err)
	}
	empty := &measurements.Set{Name: "x", Format: attestd.FormatSEVSNP,
		Values: []measurements.Value{{Name: "all", State: measurements.StateActive}}}
	zero := &measurements.Set{Name: "x", Format: attestd.FormatSEVSNP,
		Values: []measurements.Value{{Name: "zero", State: measurements.StateActive,
			Registers: []attestd.Register{{Name: "MEASUREMENT", Algorithm: "SHA384",
				Digest: make([]byte, 48)}}}}}
	for name, sets := range map[string][]*measurements.Set{
		"one name and version twice":  {set, set},
		"a value without registers":   {empty}, // neg: 139
		"a register that is all zero": {zero},
		"a set without values":        {{Name: "x", Format: attestd.FormatSEVSNP}},
		"a set of no known format":    {{Name: "x", Format: "azure-vtpm", Values: set.Values}},
		"a TPM's set of no bank":      {{Name: "x", Format: "tpm", Values: set.Values}},
	} {
		if made, err := measurements.NewIndex(sets...); err == nil || made != nil {
			t.Errorf("%s: got %v, %v, want an error", name, made, err)
		}
	}
}

// Every choice of registers is a lookup of its own, which whoever sends evidence would make us pay.
func TestIndexBoundsTheChoicesOfRegisters(t *testing.T) {
	choices := func(count int) *measurements.Set {
		set := &measurements.Set{Name: "many", Format: attestd.FormatNitro}
		for i := range count {
			value := measurements.Value{Name: fmt.Sprint("v", i), State: measurements.StateActive}
			for pcr := range 16 {
				if pcr < 3 || i>>(pcr-3)&1 == 1 {
					value.Registers = append(value.Registers, attestd.Register{Name: fmt.Sprint("PCR", pcr),
						Algorithm: "SHA384", Digest: bytes.Repeat([]byte{1}, 48)})
				}
			}
			set.Values = append(set.Values, value)
		}
		return set
	}
	if _, err := measurements.NewIndex(choices(64)); err != nil {
		t.Error(err)
	}
	if _, err := measurements.NewIndex(choices(65)); err == nil || !strings.Contains(err.Error(),
		"want at most 64") {
		t.Errorf("got %v, want 65 choices refused", err)
	}
}

func TestProposedIsTheZeroStateAndMatchesNothing(t *testing.T) {
	var state measurements.State
	if state.Matches() || state != measurements.StateProposed {
		t.Error("the zero state matches")
	}
	if measurements.State(9).Matches() {
		t.Error("a state that does not exist matches")
	}
}

func FuzzReferenceValues(f *testing.F) {
	f.Add([]byte(document("sev-snp", snpValue("a", "active", hexOf("a1")))))
	f.Add([]byte(document("nitro", nitroValue("a", "retiring", hexOf("a1"), hexOf("b2"), hexOf("c3")))))
	f.Add([]byte(bootRules))
	f.Add([]byte(tpmDocument("attestation-keys: {a: \"" + hex32("01") + "\"}\n")))
	f.Add([]byte("a: [{"))
	f.Add([]byte("&a {? *a : [*a]}"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		set, err := measurements.Parse("fuzz", doc)
		if err != nil {
			return
		}
		if _, err := measurements.NewIndex(set); err != nil {
			t.Fatalf("parsed, and yet refused: %v", err)
		}
		written, err := set.YAML()
		if err != nil {
			t.Fatalf("parsed, and yet not to be written: %v", err)
		}
		if _, err := measurements.Parse("again", written); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, count := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			set := &measurements.Set{Name: "many", Format: attestd.FormatSEVSNP}
			digest := func(i int) []byte {
				return append(bytes.Repeat([]byte{1}, 44), byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
			}
			for i := range count {
				set.Values = append(set.Values, measurements.Value{
					Name: fmt.Sprint(i), State: measurements.StateActive,
					Registers: []attestd.Register{
						{Name: "MEASUREMENT", Algorithm: "SHA384", Digest: digest(i)},
					},
				})
			}
			known, err := measurements.NewIndex(set)
			if err != nil {
				b.Fatal(err)
			}
			seen := []attestd.Register{
				{Name: "MEASUREMENT", Algorithm: "SHA384", Digest: digest(count / 2)},
			}
			b.ReportAllocs()
			for b.Loop() {
				if !known.Match(attestd.FormatSEVSNP, slices.Values(seen), nil).Found {
					b.Fatal("not found")
				}
			}
		})
	}
}
