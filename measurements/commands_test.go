package measurements_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// grubRules are what an operator writes for PCR 8: patterns for the kernel's command line, for the
// command that repeats it, and for what else grub runs.
const grubRules = `      PCR8:
        command-line: {like: ["/vmlinuz-* root=UUID=* ro quiet"]}
        boot-command:
          like:
            - "menuentry Linux, version * --class linux {*}"
            - "search --fs-uuid --set=root *"
            - "set timeout=*"
            - "linux /vmlinuz-* root=UUID=* ro quiet"
            - "initrd /initrd-*"
            - "boot"
`

const goodLine = "/vmlinuz-6.15 root=UUID=1f-2e ro quiet"

// goodTexts are what grub measures of a boot that the rules allow, with the prefix that it logs.
var goodTexts = [][2]string{
	{"grub_cmd: ", "set timeout=5"},
	{"grub_cmd: ", "menuentry Linux, version 6.15 --class linux {\n\tset x='a {b}'\n\tlinux /evil\n}"},
	{"grub_cmd: ", "search --fs-uuid --set=root 1f-2e"},
	{"grub_cmd: ", "linux " + goodLine},
	{"kernel_cmdline: ", goodLine},
	{"grub_cmd: ", "initrd /initrd-6.15"},
	{"grub_cmd: ", "boot"},
}

// grubBoot is a boot in which grub measures texts.
func grubBoot(texts [][2]string) *forge.Boot {
	made := forge.NewBoot(forge.BootOptions{Algorithms: []uint16{forge.LogSHA256}})
	made.Steps = slices.DeleteFunc(made.Steps, func(s forge.BootStep) bool { return s.PCR == 8 })
	for _, text := range texts {
		made.Steps = append(made.Steps, forge.BootStep{
			PCR: 8, Type: 0x0d, Measured: []byte(text[1]), Data: []byte(text[0] + text[1] + "\x00"),
		})
	}
	return made
}

// matchBoot holds the log against rules over PCR 8, with the registers that were really extended.
func matchBoot(t *testing.T, rules string, log []byte, real *forge.Boot) (measurements.Match, bool) {
	t.Helper()
	quoted := eventlog.Registers{Bank: eventlog.SHA256, Values: real.Registers(forge.LogSHA256)}
	facts, fault := eventlog.ReplayBoot(log, quoted)
	if fault != nil {
		return measurements.Match{}, false
	}
	registers := make([]attestd.Register, 0, len(quoted.Values))
	for pcr, value := range quoted.Values {
		registers = append(registers, attestd.Register{
			Name: fmt.Sprintf("PCR%d", pcr), Algorithm: "SHA256", Digest: value,
		})
	}
	doc := tpmValue("    registers: {PCR4: \"" + hex.EncodeToString(quoted.Values[4]) + "\"}\n" +
		"    rules:\n" + rules)
	return index(t, doc).Match(attestd.FormatTPM, slices.Values(registers), facts.Events()), true
}

func TestRulesOverCommandsOfTheBootLoader(t *testing.T) {
	change := func(at int, text string) [][2]string {
		texts := slices.Clone(goodTexts)
		texts[at][1] = text
		return texts
	}
	insert := func(prefix, text string) [][2]string {
		return slices.Insert(slices.Clone(goodTexts), 2, [2]string{prefix, text})
	}
	for _, row := range []struct {
		name  string
		texts [][2]string
		want  string // in Match.Event; empty for a match
	}{
		{"the boot itself", goodTexts, ""},
		{"another version", change(3, "linux /vmlinuz-6.16 root=UUID=9 ro quiet"), ""},
		{"another menu entry's block", change(1, "menuentry Linux, version 7 --class linux {}"), ""},
		{"another menu entry", change(1, "menuentry Rescue --class linux {}"), "boot-command: got"},
		{"a menu entry with an option", change(1, "menuentry Linux, version 7 --unrestricted {}"),
			"boot-command: got"},
		{"a block that cannot be read", change(1, "menuentry Linux, version 7 --class linux {\x07}"),
			"boot-command: got"},
		{"a block that is not the end", change(1, "menuentry Linux, version 7 --class linux {} x"),
			"boot-command: got"},
		{"a block of another command", insert("grub_cmd: ", "submenu Linux, version 7 --class linux {}"),
			"boot-command: got"},
		{"a command more", insert("grub_cmd: ", "insmod evil"), "boot-command: got"},
		{"a command with a word more", change(2, "search --fs-uuid --set=root 1 --file /x"),
			"boot-command: got"},
		{"a command of two lines", change(2, "search --fs-uuid --set=root 1\ninsmod"), "boot-command: got"},
		{"another kernel's parameters", change(3, "linux /vmlinuz-6.15 root=UUID=1 init=/bin/sh ro quiet"),
			"boot-command: got"},
		{"a command that no digest covers", slices.Insert(slices.Clone(goodTexts), 2,
			[2]string{"", "insmod evil"}), "command-line: got"},
		{"no command line", slices.Delete(slices.Clone(goodTexts), 4, 5), "no event command-line"},
		{"nothing but a command line", goodTexts[4:5], "no event boot-command"},
	} {
		real := grubBoot(row.texts)
		got, replayed := matchBoot(t, grubRules, real.Log(), real)
		if !replayed || got.Found != (row.want == "") || !strings.Contains(got.Event, row.want) {
			t.Errorf("%s: got %+v, want %q", row.name, got, row.want)
		}
	}
}

// prefixes are what a log can say in front of a text. None of it is covered by a digest.
var prefixes = []string{
	"grub_cmd: ", "kernel_cmdline: ", "module_cmdline: ", "grub_cmd ", "grub_kernel_cmdline ", "",
}

// Whoever writes the log says which text is a command and which the kernel's command line. A text
// that neither rule allows is allowed by no name.
func TestNoPrefixAllowsATextThatNoRuleAllows(t *testing.T) { // neg: 66
	foreign := []string{
		"/vmlinuz-6.15 root=UUID=1 ro quiet init=/bin/sh", "/vmlinuz-6.15 init=/bin/sh",
		"vmlinuz-6.15 root=UUID=1 ro quiet", "vmlinuz init=/bin/sh", "0+4096 root=UUID=1 ro quiet",
		"init=/bin/sh", "linux /vmlinuz-6.15 root=UUID=1 ro quiet init=/bin/sh", "linux vmlinuz",
		"insmod evil", "chainloader /evil.efi", "linux", "menuentry {init=/bin/sh}",
		"boot init=/bin/sh", "/boot", " boot", "boot ", "", "\x00", "boot\x00x",
	}
	for _, text := range foreign {
		for _, decoy := range []bool{false, true} {
			texts := slices.Clone(goodTexts)
			if !decoy {
				texts = slices.Delete(texts, 4, 5) // it is the kernel's own
			}
			texts = append(texts, [2]string{"", text})
			real := grubBoot(texts)
			for _, prefix := range prefixes {
				for _, end := range []string{"", "\x00"} {
					written := grubBoot(texts)
					last := &written.Steps[len(written.Steps)-1]
					last.Data = []byte(prefix + text + end)
					got, replayed := matchBoot(t, grubRules, written.Log(), real)
					if !replayed || got.Found {
						t.Errorf("%q as %q, decoy %t: %+v", text, prefix, decoy, got)
					}
				}
			}
		}
	}
}

// Root runs what he likes, extends texts of good boots behind it, and writes the log.
func TestNoLogMakesAForeignTextAllowed(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 9)) //nolint:gosec // the same rows in every run
	matched, refused := 0, 0
	words := []string{
		"linux", "/vmlinuz-6.15", "root=UUID=1", "ro", "quiet", "init=/bin/sh", "boot", "set",
		"timeout=5", "menuentry", "{", "}", "vmlinuz", "initrd", "/initrd-6", "\n",
	}
	for range 4000 {
		texts := slices.Clone(goodTexts)
		foreign := random.IntN(2) == 0
		if foreign {
			made := []string{}
			for range 1 + random.IntN(6) {
				made = append(made, words[random.IntN(len(words))])
			}
			text := strings.Join(made, " ")
			if allowed(text) {
				continue
			}
			at := random.IntN(len(texts))
			texts[at] = [2]string{prefixes[random.IntN(len(prefixes))], text}
		}
		for range random.IntN(3) {
			texts = append(texts, goodTexts[random.IntN(len(goodTexts))])
		}
		real := grubBoot(texts)
		written := slices.Clone(texts)
		for range random.IntN(4) {
			written[random.IntN(len(written))][0] = prefixes[random.IntN(len(prefixes))]
		}
		got, replayed := matchBoot(t, grubRules, grubBoot(written).Log(), real)
		switch {
		case !replayed:
			t.Fatalf("%q was not replayed", written)
		case got.Found && foreign:
			t.Fatalf("%q matched", written)
		case got.Found:
			matched++
		default:
			refused++
		}
	}
	if matched < 200 || refused < 200 {
		t.Errorf("%d matched, %d did not: the test shows little", matched, refused)
	}
}

// allowed says, without the code that is tested, whether grubRules have such a text.
func allowed(text string) bool {
	fields := strings.Split(text, " ")
	isLine := func(f []string) bool {
		return len(f) == 4 && strings.HasPrefix(f[0], "/vmlinuz-") && strings.HasPrefix(f[1], "root=UUID=") &&
			f[2] == "ro" && f[3] == "quiet"
	}
	switch {
	case strings.Contains(text, "\n"):
		return false
	case isLine(fields), text == "boot":
		return true
	case len(fields) == 2:
		return fields[0] == "set" && strings.HasPrefix(fields[1], "timeout=") ||
			fields[0] == "initrd" && strings.HasPrefix(fields[1], "/initrd-")
	default:
		return fields[0] == "linux" && isLine(fields[1:])
	}
}

// These rules would let a text pass under the role that asks least of it.
func TestRulesThatLetCommandsAndLinesPassForEachOtherAreRefused(t *testing.T) {
	beside := "command-line: {text: [ro]}\n        "
	for rule, want := range map[string]string{
		"boot-command: any":                                              "a kernel's command line pass",
		"boot-command: {like: [\"*\"]}":                                  "begins with a star",
		"boot-command: {like: [\"* ro\"]}":                               "begins with a star",
		"boot-command: {like: [\" * ro\"]}":                              "begins with a star",
		"boot-command: {like: [\"*x /vmlinuz\"]}":                        "begins with a star",
		"boot-command: {like: [\"linux {*}\"]}":                          "at the end of menuentry or submenu",
		"boot-command: {like: [\"menuentry {*} x\"]}":                    "at the end of menuentry or submenu",
		"boot-command: {like: [\"menuentry {*} {*}\"]}":                  "at the end of menuentry or submenu",
		"boot-command: {like: [\"menuentry*{*}\"]}":                      "at the end of menuentry or submenu",
		"boot-command: {text: [\"a\\u0007\"]}":                           "do not show",
		"boot-command: {text: [\"\"]}":                                   "is empty",
		"boot-command: {text: [\"" + strings.Repeat("a", 16385) + "\"]}": "want at most 16384",
		"command-line: any\n        boot-command: {text: [boot]}":        "would let every command pass",
		"boot-command: {text: [boot]}\n        command-line: any":        "would let every command pass",
	} {
		doc := ruleOf(rule)
		if !strings.Contains(rule, "command-line") {
			doc = ruleOf(beside + rule)
		}
		_, err := measurements.Parse("ref.yaml", []byte(doc))
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", rule, err, want)
		}
	}
	// Any separator is no command.
	index(t, ruleOf("boot-command: {text: [boot]}\n        separator: any"))
	// The same from rules that were not read.
	digest := bytes.Repeat([]byte{1}, 32)
	line := measurements.Rule{Role: attestd.RoleCommandLine, Demand: measurements.DemandAny}
	command := measurements.Rule{Role: attestd.RoleCommand, Demand: measurements.DemandText,
		Texts: []string{"boot"}}
	star := command
	star.Demand, star.Texts = measurements.DemandLike, []string{"boot", "* ro"}
	anyOne := measurements.Rule{Role: attestd.RoleCommand, Demand: measurements.DemandAny}
	for name, rules := range map[string][]measurements.Rule{
		"any line beside commands": {line, command}, "a star": {star}, "any command": {anyOne},
	} {
		_, err := measurements.NewIndex(&measurements.Set{
			Name: "x", Format: attestd.FormatTPM, Bank: "sha256", Values: []measurements.Value{{
				Name: "a", State: measurements.StateActive,
				Registers: []attestd.Register{{Name: "PCR4", Algorithm: "SHA256", Digest: digest}},
				Rules:     []measurements.RegisterRules{{Register: "PCR8", Roles: rules}},
			}},
		})
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// What is measured of published boots is written as texts, in the order in which they ran, and loosened
// by hand: one word, and stars.
func TestMeasureWritesCommandsAsTexts(t *testing.T) {
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	measured := 0
	for _, log := range corpus.Logs {
		if log.Kind != "boot" || log.Expect == "refused" || !bytes.Contains(log.Data, []byte("grub_cmd")) {
			continue
		}
		quoted, fault := eventlog.Replay(log.Data, eventlog.SHA256)
		if fault != nil {
			t.Fatal(log.Name, fault)
		}
		facts, fault := eventlog.ReplayBoot(log.Data, quoted)
		if fault != nil {
			t.Fatal(log.Name, fault)
		}
		measured++
		measureCommands(t, log.Name, quoted, facts)
	}
	if len(corpus.Missing) == 0 && measured < 10 {
		t.Errorf("only %d boots by grub", measured)
	}
}

func measureCommands(t *testing.T, name string, quoted eventlog.Registers, facts eventlog.Boot) {
	t.Helper()
	var registers []attestd.Register
	for _, pcr := range []int{4, 8} {
		registers = append(registers, attestd.Register{
			Name: fmt.Sprintf("PCR%d", pcr), Algorithm: "SHA256", Digest: quoted.Values[pcr],
		})
	}
	made := evidence(registers, slices.Collect(facts.Events()))
	set, err := measurements.Measure("host", made, measurements.Options{
		Rules: true, Registers: []string{"PCR4", "PCR8"},
	})
	if err != nil {
		t.Fatal(name, err)
	}
	var want []string
	for event := range facts.Events() {
		if event.Role == attestd.RoleCommand && !slices.Contains(want, event.Text) {
			want = append(want, event.Text)
		}
	}
	for _, rule := range set.Values[0].Rules[1].Roles {
		isCommand := rule.Role == attestd.RoleCommand
		if isCommand && (rule.Demand != measurements.DemandText || !slices.Equal(rule.Texts, want)) ||
			rule.Role == attestd.RoleOther {
			t.Errorf("%s: %s is %s of %d texts, want %d", name, rule.Role, rule.Demand, len(rule.Texts),
				len(want))
		}
	}
	set.Values[0].State = measurements.StateActive
	doc, err := set.YAML()
	if err != nil {
		t.Fatal(name, err)
	}
	loosened := strings.Replace(string(doc), "        boot-command:\n          text:\n",
		"        boot-command:\n          like:\n", 1)
	if loosened == string(doc) {
		t.Errorf("%s: no rule to loosen", name)
	}
	for _, doc := range []string{string(doc), loosened} {
		got := index(t, doc).Match(attestd.FormatTPM, made.Registers(), made.Events())
		if !got.Found {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
