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

func hex32(fill string) string { return strings.Repeat(fill, 32) }

// tpmDocument is a document of format tpm with the given keys below its head.
func tpmDocument(rest string) string {
	return "schema: attestd.reference-values.v1\nname: host\nformat: tpm\n" + rest
}

// tpmValue is one active value, whose further keys are indented by four.
func tpmValue(rest string) string {
	return tpmDocument("bank: sha256\nvalues:\n  - name: golden\n    state: active\n" + rest)
}

const pcr4Any = "      PCR4: any\n"

// ruleOf is a value with one rule in PCR7, beside PCR4 as it must be.
func ruleOf(rule string) string {
	return tpmValue("    registers: {PCR4: \"" + hex32("a4") + "\"}\n" +
		"    rules:\n      PCR7:\n        " + rule + "\n")
}

func TestDocumentsOfTPMsRefuse(t *testing.T) {
	registers := "    registers: {PCR4: \"" + hex32("a4") + "\"}\n"
	event := "      - {index: 3, register: PCR4, role: kernel, type: EV_IPL, digest: \"" +
		hex32("a4") + "\"}\n"
	for _, row := range []struct{ name, doc, want string }{
		{"neither values nor keys", tpmDocument(""), "want values, attestation-keys or endorsement-keys"},
		{"values without a bank", strings.Replace(tpmValue(registers), "bank: sha256\n", "", 1),
			"bank: is missing; want one of: sha256, sha384, sha512"},
		{"a SHA-1 bank", strings.Replace(tpmValue(registers), "sha256", "sha1", 1), `got "sha1", want one of`},
		{"a bank without values", tpmDocument("bank: sha256\nattestation-keys: {a: \"" + hex32("01") + "\"}\n"),
			"says nothing where there are no values"},
		{"a digest of another bank", strings.Replace(tpmValue(registers), "sha256", "sha384", 1),
			"got 32 bytes, want 48 (SHA384)"},
		{"no PCR4", tpmValue("    registers: {PCR7: \"" + hex32("a7") + "\"}\n"), "does not name PCR4"},
		{"a firmware register of zeros", tpmValue("    registers: {PCR4: \"" + hex32("00") + "\"}\n"),
			"is all zero"},
		{"registers of zeros only by any", tpmValue("    rules:\n" + pcr4Any), "demands nothing"},
		{"a register and rules for it", tpmValue(registers + "    rules:\n" + pcr4Any),
			"PCR4 stands in registers too"},
		{"neither registers nor rules", tpmValue("    events:\n" + event), "want registers, rules or both"},
		{"rules that are empty", tpmValue(registers + "    rules: {}\n"), "rules: is empty"},
		{"a register that is none", tpmValue("    rules: {PCR99: any}\n"), "unknown register"},
		{"rules over IMA's register", tpmValue("    rules: {PCR4: any, PCR10: any}\n"), "no rule sees all"},
		{"a role that is none", ruleOf("kernal: {digest: [\"" + hex32("01") + "\"]}"),
			"unknown role; did you mean kernel?"},
		{"any image", ruleOf("kernel: any"), "any would let every image pass"},
		{"any other event", ruleOf("other: any"), "any would let every image pass"},
		{"a rule that says nothing", ruleOf("dbx: {}"), "dbx: is empty"},
		// neg: 139
		{"an empty list", ruleOf("dbx: {contains: []}"), "is empty"},
		{"an empty entry", ruleOf("dbx: {contains: [\"\"]}"), "is empty"},
		{"a zero entry", ruleOf("dbx: {contains: [\"" + hex32("00") + "\"]}"), "is all zero"},
		{"an entry twice", ruleOf("dbx: {contains: [\"" + hex32("01") + "\", \"" + hex32("01") + "\"]}"),
			"stands twice"},
		{"an entry that is no digest", ruleOf("dbx: {contains: [\"0102\"]}"), "got 2 bytes, want a digest"},
		{"a digest that is not hex", ruleOf("kernel: {digest: [zz]}"), "is not hex"},
		{"a demand of another role", ruleOf("kernel: {like: [\"a*\"]}"), "unknown key; want one of: digest"},
		{"two demands", ruleOf("dbx: {entry: [\"" + hex32("01") + "\"], contains: [\"" + hex32("01") + "\"]}"),
			"want one of: digest, entry, contains"},
		{"text for a rule", ruleOf("dbx: some"), "want a map with one of"},
		{"a pattern that matches all", ruleOf("command-line: {like: [\"*\"]}"), "write any instead"},
		{"stars and spaces", ruleOf("command-line: {like: [\"* *\"]}"), "write any instead"},
		{"a pattern that is too long", ruleOf("command-line: {like: [\"" + strings.Repeat("a", 4097) + "\"]}"),
			"got 4097 characters"},
		{"a text that does not show", ruleOf("command-line: {text: [\"a\\tb\"]}"), "do not show"},
		{"secure boot that may be so or so", ruleOf("secure-boot: {text: [maybe]}"), "want on or off"},
		{"events that are empty", tpmValue(registers + "    events: []\n"), "is empty"},
		{"an event of another bank", tpmValue(registers + "    events:\n" +
			strings.Replace(event, hex32("a4"), "a4", 1)), "want 32 bytes in hex"},
		{"events out of order", tpmValue(registers + "    events:\n" + event + event),
			"events stand in the log's order"},
		{"an event of a role that is none", tpmValue(registers + "    events:\n" +
			strings.Replace(event, "kernel", "kernle", 1)), "unknown role; did you mean kernel?"},
		{"an event of a register that is none", tpmValue(registers + "    events:\n" +
			strings.Replace(event, "PCR4", "PCR44", 1)), "unknown register"},
		{"an event far out", tpmValue(registers + "    events:\n" +
			strings.Replace(event, "index: 3", "index: 9999999999999", 1)), "want the place of an event"},
		// neg: 139
		{"keys that are empty", tpmDocument("attestation-keys: {}\n"), "attestation-keys: is empty"},
		{"a list of no keys", tpmDocument("endorsement-keys: []\n"), "endorsement-keys: is empty"},
		{"keys that are text", tpmDocument("endorsement-keys: mine\n"), "want a map from names to digests"},
		{"a key that is zero", tpmDocument("attestation-keys: {a: \"" + hex32("00") + "\"}\n"), "is all zero"},
		{"a key that is empty", tpmDocument("attestation-keys: {a: \"\"}\n"), "is empty"},
		{"a key of another length", tpmDocument("attestation-keys: {a: \"0102\"}\n"), "got 2 bytes, want 32"},
		{"a key that is not hex", tpmDocument("attestation-keys: {a: zz}\n"), "is not hex"},
		{"one key under two names", tpmDocument("attestation-keys: {a: \"" + hex32("01") + "\", b: \"" +
			hex32("01") + "\"}\n"), `is the same key as "a"`},
		{"one key in both roles", tpmDocument("attestation-keys: {a: \"" + hex32("01") +
			"\"}\nendorsement-keys: {b: \"" + hex32("01") + "\"}\n"), `is the same key as "a"`},
		{"one name for two keys", tpmDocument("attestation-keys:\n  - {name: a, sha256: \"" + hex32("01") +
			"\"}\n  - {name: a, sha256: \"" + hex32("02") + "\"}\n"), `name "a" stands twice`},
		{"a name that breaks lines", tpmDocument("attestation-keys: {\"a\\nb\": \"" + hex32("01") + "\"}\n"),
			"letters, digits"},
		{"a key without a digest", tpmDocument("attestation-keys: [{name: a}]\n"), "sha256: is missing"},
		{"two values that demand the same", ruleOf("dbx: any") + strings.Replace(strings.SplitN(
			ruleOf("dbx: any"), "values:\n", 2)[1], "golden", "other", 1), "same registers and rules"},
		{"keys for another format", document("sev-snp", snpValue("a", "active", hexOf("a1"))) +
			"attestation-keys: {a: \"" + hex32("01") + "\"}\n", "only documents of format tpm have it"},
		{"rules for another format", document("nitro", nitroValue("a", "active", hexOf("a1"), hexOf("b2"),
			hexOf("c3"))) + "    rules: {PCR4: any}\n", "only values of format tpm have it"},
		{"no values for another format", "schema: attestd.reference-values.v1\nname: a\nformat: nitro\n",
			"values: is missing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			set, err := measurements.Parse("ref.yaml", []byte(row.doc))
			var caller *attestd.CallerError
			if set != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
				t.Fatalf("got %+v, %v, want a CallerError of class CONFIG", set, err)
			}
			if caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %q, want it to contain %q", err, row.want)
			}
		})
	}
}

func TestKeysAloneVouchAndAreNoMeasurement(t *testing.T) {
	known := index(t,
		tpmDocument("attestation-keys: {a: \""+hex32("01")+"\"}\nendorsement-keys:\n"+
			"  - {name: e, sha256: \""+hex32("02")+"\"}\n"),
		strings.Replace(tpmDocument("attestation-keys: {c: \""+hex32("01")+"\", d: \""+hex32("03")+"\"}\n"),
			"name: host", "name: others", 1))
	attestation, endorsement := known.Keys(attestd.FormatTPM)
	key := func(fill byte) (sum [32]byte) { copy(sum[:], bytes.Repeat([]byte{fill}, 32)); return sum }
	if !slices.Equal(attestation, [][32]byte{key(1), key(3)}) ||
		!slices.Equal(endorsement, [][32]byte{key(2)}) {
		t.Errorf("got %x and %x", attestation, endorsement)
	}
	got := known.Match(attestd.FormatTPM, slices.Values(pcrs(0xa4, 0xa7)), nil)
	if got.Loaded != 0 || got.Found {
		t.Errorf("got %+v, want keys to be no reference values", got)
	}
	if a, e := known.Keys(attestd.FormatNitro); a != nil || e != nil {
		t.Errorf("got keys %x, %x for another format", a, e)
	}
	if a, e := (*measurements.Index)(nil).Keys(attestd.FormatTPM); a != nil || e != nil {
		t.Errorf("got keys %x, %x of no index", a, e)
	}
}

// pcrs are PCR4 and PCR7 of the SHA-256 bank.
func pcrs(four, seven byte) []attestd.Register {
	return []attestd.Register{
		{Name: "PCR4", Algorithm: "SHA256", Digest: bytes.Repeat([]byte{four}, 32)},
		{Name: "PCR7", Algorithm: "SHA256", Digest: bytes.Repeat([]byte{seven}, 32)},
	}
}

// logged is one event; its digest is fill over and over.
func logged(index int, register string, role attestd.Role, fill byte) attestd.Event {
	return attestd.Event{
		Log: "boot", Index: index, Register: register, Role: role, Type: "EV_IPL",
		Digest: bytes.Repeat([]byte{fill}, 32),
	}
}

// boot is a whole log of PCR4 and PCR7, every event as a good boot has it.
func boot() []attestd.Event {
	entries := func(fills ...byte) (out [][]byte) {
		for _, fill := range fills {
			out = append(out, bytes.Repeat([]byte{fill}, 32))
		}
		return out
	}
	secure := logged(0, "PCR7", attestd.RoleSecureBoot, 0x10)
	secure.Text, secure.What = "on", "SecureBoot is on"
	dbx := logged(1, "PCR7", attestd.RoleDBX, 0x11)
	dbx.Entries, dbx.What = entries(0xd1, 0xd2, 0xd3), "dbx, 3 entries"
	separator := logged(2, "PCR7", attestd.RoleSeparator, 0x12)
	separator.What = "separator"
	authority := logged(3, "PCR7", attestd.RoleAuthority, 0x13)
	authority.Entries, authority.What = entries(0xc1), "db entry"
	loader := logged(4, "PCR4", attestd.RoleApplication, 0x41)
	kernel := logged(5, "PCR4", attestd.RoleApplication, 0x42)
	line := logged(6, "PCR4", attestd.RoleCommandLine, 0x43)
	line.Text, line.What = "root=/dev/vda1 ro quiet", "command line"
	return []attestd.Event{secure, dbx, separator, authority, loader, kernel, line}
}

// bootRules are met by boot.
var bootRules = tpmValue(`    rules:
      PCR7:
        secure-boot: {text: ["on"]}
        dbx: {contains: ["` + hex32("d1") + `", "` + hex32("d3") + `"]}
        separator: any
        authority: {entry: ["` + hex32("c1") + `", "` + hex32("c2") + `"]}
      PCR4:
        boot-application: {digest: ["` + hex32("41") + `", "` + hex32("42") + `", "` + hex32("44") + `"]}
        command-line: {like: ["root=/dev/vda? *", "root=/dev/vda1 ro q*"]}
`)

func TestRulesDecideOverEveryEventOfTheirRegisters(t *testing.T) {
	change := func(at int, by func(*attestd.Event)) func([]attestd.Event) []attestd.Event {
		return func(events []attestd.Event) []attestd.Event { by(&events[at]); return events }
	}
	without := func(at int) func([]attestd.Event) []attestd.Event {
		return func(events []attestd.Event) []attestd.Event { return slices.Delete(events, at, at+1) }
	}
	with := func(event attestd.Event) func([]attestd.Event) []attestd.Event {
		return func(events []attestd.Event) []attestd.Event { return append(events, event) }
	}
	foreign := bytes.Repeat([]byte{0xee}, 32)
	for _, row := range []struct {
		name   string
		change func([]attestd.Event) []attestd.Event
		want   string // in Match.Event; empty for a match
	}{
		{name: "the boot itself"},
		{name: "another application of the list", change: change(5, func(e *attestd.Event) {
			e.Digest = bytes.Repeat([]byte{0x44}, 32)
		})},
		{name: "an event of a register without rules", change: with(logged(9, "PCR5", "other", 1))},
		{name: "a dbx that has grown", change: change(1, func(e *attestd.Event) {
			e.Entries = append(e.Entries, foreign)
		})},
		{name: "another kernel", change: change(5, func(e *attestd.Event) { e.Digest = foreign }),
			want: "PCR4 event 5 EV_IPL boot-application: got eeeeeeee.., want one of 3"},
		{name: "another kernel that is called a separator", change: change(5, func(e *attestd.Event) {
			e.Digest, e.Role, e.What = foreign, attestd.RoleSeparator, "separator"
		}), want: "PCR4 event 5 EV_IPL separator: got eeeeeeee.., want no such event"},
		{name: "another kernel that is called other", change: change(5, func(e *attestd.Event) {
			e.Digest, e.Role = foreign, attestd.RoleOther
		}), want: "PCR4 event 5 EV_IPL other: got eeeeeeee.., want no such event"},
		{name: "another kernel that is called a command line", change: change(5, func(e *attestd.Event) {
			e.Digest, e.Role, e.Text = foreign, attestd.RoleCommandLine, "MZ\x00root=/dev/vda1 ro quiet"
		}), want: "want a text like"},
		{name: "a command line that ends in a zero", change: change(6, func(e *attestd.Event) {
			e.Text += "\x00"
		})},
		{name: "an image whose bytes match a pattern", change: change(5, func(e *attestd.Event) {
			e.Digest, e.Role, e.Text = foreign, attestd.RoleCommandLine, "root=/dev/vda1 ro \x90\x00"
		}), want: "want a text like"},
		{name: "a command line longer than any kernel takes", change: change(6, func(e *attestd.Event) {
			e.Text = "root=/dev/vda1 ro q" + strings.Repeat("x", 4096)
		}), want: "want a text like"},
		{name: "secure boot off", change: change(0, func(e *attestd.Event) { e.Text = "off" }),
			want: `PCR7 event 0 EV_IPL secure-boot: got "off", want "on"`},
		{name: "secure boot that the digest does not cover", change: change(0, func(e *attestd.Event) {
			e.Text = ""
		}), want: `secure-boot: got 10101010.., want "on"`},
		{name: "a dbx that was set back", change: change(1, func(e *attestd.Event) {
			e.Entries = e.Entries[:1]
		}), want: "dbx: got 1 entries, want entry d3d3d3d3.."},
		{name: "a dbx that is empty", change: change(1, func(e *attestd.Event) { e.Entries = nil }),
			want: "dbx: got 0 entries, want entry d1d1d1d1.. and 1 more"},
		{name: "a foreign signer", change: change(3, func(e *attestd.Event) { e.Entries = [][]byte{foreign} }),
			want: "authority: got entry eeeeeeee.., want one of 2"},
		{name: "a signer that the digest does not cover", change: change(3, func(e *attestd.Event) {
			e.Entries = nil
		}), want: "authority: got no entries"},
		{name: "a separator that the digest does not cover", change: change(2, func(e *attestd.Event) {
			e.What = ""
		}), want: "separator: got 12121212.., want data that its digest covers"},
		{name: "a longer command line", change: change(6, func(e *attestd.Event) {
			e.Text = "root=/dev/vda1 rw init=/bin/sh"
		}), want: "command-line: got"},
		{name: "a command line with a word more", change: change(6, func(e *attestd.Event) {
			e.Text = "root=/dev/vda1 ro quiet init=/bin/sh"
		}), want: "command-line: got"},
		{name: "no command line", change: without(6), want: "PCR4: no event command-line was replayed"},
		{name: "no dbx", change: without(1), want: "PCR7: no event dbx was replayed"},
		{name: "no log at all", change: func([]attestd.Event) []attestd.Event { return nil },
			want: "PCR7: no event secure-boot was replayed"},
		{name: "a log of another bank", change: change(4, func(e *attestd.Event) {
			e.Digest = bytes.Repeat([]byte{0x41}, 48)
		}), want: "got 48 bytes, want 32"},
	} {
		t.Run(row.name, func(t *testing.T) {
			events := boot()
			if row.change != nil {
				events = row.change(events)
			}
			got := index(t, bootRules).Match(attestd.FormatTPM, slices.Values(pcrs(0xa4, 0xa7)),
				slices.Values(events))
			if got.Found != (row.want == "") || !strings.Contains(got.Event, row.want) {
				t.Fatalf("got %+v, want %q", got, row.want)
			}
			if got.Loaded != 1 || got.Label != "host" || len(got.Event) > measurements.MaxLine {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// Events of a register that nobody quoted are anybody's: a log can say what it likes of it.
func TestRulesWantTheirRegistersQuoted(t *testing.T) {
	known, events := index(t, bootRules), slices.Values(boot())
	if got := known.Match(attestd.FormatTPM, slices.Values(pcrs(1, 2)[:1]), events); got.Found ||
		got.Event != "PCR7 is not quoted in bank sha256" || got.Differs != 1 {
		t.Errorf("got %+v", got)
	}
	other := pcrs(1, 2)
	other[1].Algorithm, other[1].Digest = "SHA384", bytes.Repeat([]byte{2}, 48)
	if got := known.Match(attestd.FormatTPM, slices.Values(other), events); got.Found {
		t.Error("a register that was quoted in another bank was believed")
	}
	if got := known.Match(attestd.FormatTPM, slices.Values(pcrs(1, 2)), nil); got.Found {
		t.Error("rules matched without events")
	}
	if got := known.Match(attestd.FormatTPM, slices.Values([]attestd.Register(nil)), events); got.Found {
		t.Error("rules matched without registers")
	}
}

func TestRegistersOfAnotherBankAreNotCompared(t *testing.T) {
	known := index(t, tpmValue("    registers: {PCR4: \""+hex32("a4")+"\", PCR7: \""+hex32("a7")+"\"}\n"))
	other := []attestd.Register{
		{Name: "PCR4", Algorithm: "SHA384", Digest: bytes.Repeat([]byte{9}, 48)},
		{Name: "PCR7", Algorithm: "SHA384", Digest: bytes.Repeat([]byte{9}, 48)},
	}
	if known.Match(attestd.FormatTPM, slices.Values(other), nil).Found {
		t.Error("another bank matched")
	}
	// Both banks are quoted, the other one first.
	if !known.Match(attestd.FormatTPM, slices.Values(append(other, pcrs(0xa4, 0xa7)...)), nil).Found {
		t.Error("the bank that was meant was not found beside another")
	}
}

func TestAnActiveValueWithRulesWinsOverARetiringOne(t *testing.T) {
	retiring := strings.Replace(bootRules, "state: active", "state: retiring", 1)
	active := strings.Replace(strings.Replace(bootRules, "name: host", "name: new", 1),
		"secure-boot: {text: [\"on\"]}", "secure-boot: any", 1)
	for _, docs := range [][]string{{retiring, active}, {active, retiring}} {
		got := index(t, docs...).Match(attestd.FormatTPM, slices.Values(pcrs(1, 2)), slices.Values(boot()))
		if !got.Found || got.Label != "new" {
			t.Errorf("got %+v", got)
		}
	}
	proposed := strings.Replace(bootRules, "state: active", "state: proposed", 1)
	got := index(t, proposed).Match(attestd.FormatTPM, slices.Values(pcrs(1, 2)), slices.Values(boot()))
	if got.Found || got.Loaded != 0 || got.Differs != 0 || got.Label != "host" {
		t.Errorf("got %+v, want a proposed value that is equal and matches nothing", got)
	}
}

func TestIndexRefusesRulesThatParseWouldRefuse(t *testing.T) {
	register := attestd.Register{Name: "PCR4", Algorithm: "SHA256", Digest: bytes.Repeat([]byte{1}, 32)}
	rule := func(r measurements.Rule) []measurements.RegisterRules {
		return []measurements.RegisterRules{{Register: "PCR7", Roles: []measurements.Rule{r}}}
	}
	set := func(value measurements.Value) *measurements.Set {
		value.Name, value.State = "a", measurements.StateActive
		return &measurements.Set{Name: "x", Format: attestd.FormatTPM, Bank: "sha256",
			Values: []measurements.Value{value}}
	}
	digests := [][]byte{bytes.Repeat([]byte{1}, 32)}
	good := measurements.Value{Registers: []attestd.Register{register},
		Rules: rule(measurements.Rule{Role: "dbx", Demand: measurements.DemandContains, Digests: digests})}
	if _, err := measurements.NewIndex(set(good)); err != nil {
		t.Fatal(err)
	}
	beside := func(rules []measurements.RegisterRules) measurements.Value {
		return measurements.Value{Registers: good.Registers, Rules: rules}
	}
	for name, value := range map[string]measurements.Value{
		"the zero rule":   beside(rule(measurements.Rule{})),
		"the zero demand": beside(rule(measurements.Rule{Role: "dbx"})),
		"a list of none": beside(rule(measurements.Rule{
			Role: "dbx", Demand: measurements.DemandContains})),
		"an empty text": beside(rule(measurements.Rule{
			Role: "command-line", Demand: measurements.DemandText, Texts: []string{""}})),
		"any image": beside(rule(measurements.Rule{
			Role: "kernel", Demand: measurements.DemandAny})),
		"a register of another algorithm": {Registers: []attestd.Register{{Name: "PCR4",
			Algorithm: "SHA3_256", Digest: register.Digest}}},
		"rules of no role": beside([]measurements.RegisterRules{{Register: "PCR7"}}),
		"any of all":       {Rules: []measurements.RegisterRules{{Register: "PCR4", Any: true}}},
		"any of each role": {Rules: append([]measurements.RegisterRules{{Register: "PCR4", Any: true}},
			rule(measurements.Rule{Role: "separator", Demand: measurements.DemandAny})...)},
		"IMA's register": beside([]measurements.RegisterRules{{Register: "PCR10", Any: true}}),
		"no PCR4":        {Rules: good.Rules},
	} {
		if made, err := measurements.NewIndex(set(value)); err == nil || made != nil {
			t.Errorf("%s: got %v, %v, want an error", name, made, err)
		}
	}
}

// Each value with rules is held against each event, which whoever sends evidence makes us pay for.
func TestIndexBoundsTheValuesWithRules(t *testing.T) {
	values := func(count int) string {
		doc := tpmDocument("bank: sha256\nvalues:\n")
		for i := range count {
			doc += fmt.Sprintf("  - name: v%d\n    state: active\n    rules:\n      PCR4:\n        "+
				"kernel: {digest: [\"%064x\"]}\n", i, i+1)
		}
		return doc
	}
	index(t, values(64))
	set, err := measurements.Parse("ref.yaml", []byte(values(65)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := measurements.NewIndex(set); err == nil ||
		!strings.Contains(err.Error(), "want at most 64") {
		t.Errorf("got %v, want 65 values with rules refused", err)
	}
}

// BenchmarkMatchRules is what a lookup costs among the most values with rules that a format may have,
// none of which matches.
func BenchmarkMatchRules(b *testing.B) {
	doc := tpmDocument("bank: sha256\nvalues:\n")
	for i := range 64 {
		doc += fmt.Sprintf("  - name: v%d\n    state: active\n    rules:\n      PCR4:\n        "+
			"boot-application: {digest: [\"%064x\"]}\n", i, i+1)
	}
	set, err := measurements.Parse("ref.yaml", []byte(doc))
	if err != nil {
		b.Fatal(err)
	}
	known, err := measurements.NewIndex(set)
	if err != nil {
		b.Fatal(err)
	}
	for _, count := range []int{100, 10_000} {
		var events []attestd.Event
		for i := range count {
			events = append(events, logged(i, "PCR4", attestd.RoleApplication, 0xee))
		}
		b.Run(fmt.Sprint(count, " events"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got := known.Match(attestd.FormatTPM, slices.Values(pcrs(1, 2)), slices.Values(events))
				if got.Found {
					b.Fatal("found")
				}
			}
		})
	}
}
