package measurements_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// kept is a document as people write them, with comments that must survive.
const kept = `# Reviewed by the platform team.
schema: attestd.reference-values.v1
name: web-guest
format: sev-snp
values:
  - name: old
    state: active   # since March
    measurement: "` + snpDigest + `"
  # the next release
  - name: new
    state: canary
    canary:
      percent: 5
      instances:
        - "host:ab"
    until: "2026-12-31T12:00:00Z"
    measurement: "b81e07d44f62a93c05e8d17ba6c3902f5d74be18a0963fc2417d8eb5902ac6f3884e10d75b29fa36c1e4078d52b3961a"
  - measurement: "c81e07d44f62a93c05e8d17ba6c3902f5d74be18a0963fc2417d8eb5902ac6f3884e10d75b29fa36c1e4078d52b3961a"
    name: wish
    state: proposed
`

func TestApplyChangesStatesAndNothingElse(t *testing.T) {
	host := attestd.Handle{Kind: attestd.HandleHost, Value: "cd"}
	later := noon.Add(24 * time.Hour)
	for _, row := range []struct {
		name  string
		steps []measurements.Step
		want  [][2]string // what is replaced in the document
	}{
		{"a canary becomes active and retires the old one", []measurements.Step{
			{Value: "new", To: measurements.StateActive},
			{Value: "old", To: measurements.StateRetiring, Until: later},
		}, [][2]string{
			{"state: active   # since March\n", "state: retiring   # since March\n    until: \"2026-12-02T12:00:00Z\"\n"},
			{"state: canary\n    canary:\n      percent: 5\n      instances:\n        - \"host:ab\"\n" +
				"    until: \"2026-12-31T12:00:00Z\"\n", "state: active\n"},
		}},
		{"a proposed value becomes a canary", []measurements.Step{{
			Value: "wish", To: measurements.StateCanary,
			Canary: &measurements.Canary{Percent: 10, Handles: []attestd.Handle{host}},
		}}, [][2]string{{"state: proposed\n",
			"state: canary\n    canary:\n      percent: 10\n      instances:\n        - \"host:cd\"\n"}}},
		{"a canary grows", []measurements.Step{{
			Value: "new", To: measurements.StateCanary, Canary: &measurements.Canary{Percent: 50},
		}}, [][2]string{{"      percent: 5\n      instances:\n        - \"host:ab\"\n" +
			"    until: \"2026-12-31T12:00:00Z\"\n", "      percent: 50\n"}}},
		{"a canary is withdrawn", []measurements.Step{{Value: "new", To: measurements.StateProposed}},
			[][2]string{{"state: canary\n    canary:\n      percent: 5\n      instances:\n        - \"host:ab\"\n" +
				"    until: \"2026-12-31T12:00:00Z\"\n", "state: proposed\n"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := kept
			for _, one := range row.want {
				if strings.Count(want, one[0]) != 1 {
					t.Fatalf("the document has not one %q", one[0])
				}
				want = strings.Replace(want, one[0], one[1], 1)
			}
			signed := newSigner(t, "example.org/references").sign(t, kept)
			for _, doc := range []string{kept, signed} {
				got, set, err := measurements.Apply("test", []byte(doc), noon, row.steps...)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != want || len(set.Values) != 3 {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	retired := strings.Replace(kept, "state: active ", "state: retired ", 1)
	flow := strings.Replace(kept, "    name: wish\n    state: proposed\n", "    \"name\": wish\n    \"state\": proposed\n", 1)
	for _, row := range []struct {
		name, doc string
		steps     []measurements.Step
		want      string
	}{
		{"a value that is not there", kept, []measurements.Step{{Value: "x", To: measurements.StateActive}},
			`no value is called "x"`},
		{"a value twice", kept, []measurements.Step{{Value: "new", To: measurements.StateActive},
			{Value: "new", To: measurements.StateRetired}}, "two states"},
		{"a retired value", retired, []measurements.Step{{Value: "old", To: measurements.StateActive}},
			"does not go to active from there"},
		{"an active value back to a canary", kept, []measurements.Step{{Value: "old",
			To: measurements.StateCanary, Canary: &measurements.Canary{Percent: 5}}}, "does not go to canary"},
		{"an end that is past", kept, []measurements.Step{{Value: "old", To: measurements.StateRetiring,
			Until: noon}}, "which is past"},
		{"an end of an active value", kept, []measurements.Step{{Value: "new", To: measurements.StateActive,
			Until: noon.Add(time.Hour)}}, "only the states canary and retiring"},
		{"a canary for nobody", kept, []measurements.Step{{Value: "wish", To: measurements.StateCanary}},
			"canary for nobody"},
		{"a state that is none", kept, []measurements.Step{{Value: "wish", To: 9, BringBack: true}},
			"no state that is known"},
		{"no document", "name: x\n", nil, "is missing"},
		{"lines that cannot be changed alone", flow, []measurements.Step{{Value: "wish",
			To: measurements.StateActive}}, "without losing its comments"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, set, err := measurements.Apply("test", []byte(row.doc), noon, row.steps...)
			if got != nil || set != nil || err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %s, %v; want %q", got, err, row.want)
			}
		})
	}
	back, _, err := measurements.Apply("test", []byte(retired), noon,
		measurements.Step{Value: "old", To: measurements.StateActive, BringBack: true})
	if err != nil || string(back) != kept {
		t.Errorf("brought back: got %v\n%s", err, back)
	}
	// Without comments, a document in another style is written anew.
	bare := "schema: attestd.reference-values.v1\nname: a\nformat: sev-snp\n" +
		"values: [{name: x, state: proposed, measurement: \"" + snpDigest + "\"}]\n"
	if _, set, err := measurements.Apply("test", []byte(bare), noon,
		measurements.Step{Value: "x", To: measurements.StateActive}); err != nil ||
		set.Values[0].State != measurements.StateActive {
		t.Errorf("got %v, %v", set, err)
	}
}

func TestProposeAddsWhatIsNotKnown(t *testing.T) {
	fresh := strings.Replace(strings.Replace(smallDoc, "3f9a61", "aaaa61", 1), "4-vcpu", "8-vcpu", 1)
	from, err := measurements.Parse("new", []byte(fresh))
	if err != nil {
		t.Fatal(err)
	}
	got, set, known, err := measurements.Propose("test", []byte(kept), from)
	if err != nil || len(known) != 0 || !strings.HasPrefix(string(got), kept) {
		t.Fatalf("got %v, %v\n%s", known, err, got)
	}
	if last := set.Values[3]; last.Name != "8-vcpu" || last.State != measurements.StateProposed {
		t.Errorf("got %+v", last)
	}
	if _, _, known, err := measurements.Propose("test", got, from); err == nil || len(known) != 1 {
		t.Errorf("the same again: got %v, %v", known, err)
	}
	from.Values[0].Name = "old"
	if _, _, _, err := measurements.Propose("test", []byte(kept), from); err == nil {
		t.Error("a name was taken twice")
	}
	from.Format = attestd.FormatNitro
	if _, _, _, err := measurements.Propose("test", []byte(kept), from); err == nil {
		t.Error("values of another format were added")
	}
}

func TestCompareNamesEveryDifference(t *testing.T) {
	parse := func(doc string) *measurements.Set {
		set, err := measurements.Parse("test", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	before := parse(kept)
	if c := measurements.Compare(before, parse(kept)); !c.Same() || c.Widens() {
		t.Errorf("got %+v", c)
	}
	for _, row := range []struct {
		name, old, new string
		values         int
		widens         bool
		check          func(measurements.Comparison) bool
	}{
		{"a digest of an active value", "3f9a61", "3f9a62", 1, true, func(c measurements.Comparison) bool {
			return c.Values[0].Registers[0].Name == "MEASUREMENT" && !c.Values[0].Lifecycle
		}},
		{"an active value retires", "state: active", "state: retired", 1, false,
			func(c measurements.Comparison) bool { return c.Values[0].Lifecycle }},
		{"a canary grows", "percent: 5", "percent: 50", 1, true,
			func(c measurements.Comparison) bool {
				return c.Values[0].After.Lifecycle() ==
					"canary 50% 1 instance(s) until 2026-12-31T12:00:00Z"
			}},
		{"a proposed value becomes active", "state: proposed", "state: active", 1, true,
			func(c measurements.Comparison) bool { return c.Values[0].Before.Lifecycle() == "proposed" }},
		{"a value is called otherwise", "name: wish", "name: hope", 2, false,
			func(c measurements.Comparison) bool { return c.Values[0].Before == nil && c.Values[1].After == nil }},
		{"the document is called otherwise", "name: web-guest", "name: web", 0, false,
			func(c measurements.Comparison) bool { return c.Head[0] == "name web-guest -> web" }},
	} {
		c := measurements.Compare(before, parse(strings.Replace(kept, row.old, row.new, 1)))
		if c.Same() || len(c.Values) != row.values || c.Widens() != row.widens || !row.check(c) {
			t.Errorf("%s: got %+v", row.name, c)
		}
	}
	keys := func(name string) *measurements.Set {
		return parse(tpmDocument("attestation-keys: {" + name + ": \"" + hex32("01") + "\"}\n"))
	}
	if c := measurements.Compare(keys("a"), keys("b")); len(c.Keys) != 2 || !c.Widens() {
		t.Errorf("keys: got %+v", c)
	}
}
