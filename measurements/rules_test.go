package measurements_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// An image's bytes are what its digest covers, too: `any` of a command line is any that can be read.
func TestAnyCommandLineIsOneThatCanBeRead(t *testing.T) {
	known := index(t, ruleOf("command-line: any"))
	for text, want := range map[string]bool{
		"root=/dev/vda1": true, "": false, "MZ\x90\x00\x03": false, "\xff\xfe": false,
		strings.Repeat("x", 4097): false,
	} {
		event := logged(0, "PCR7", attestd.RoleCommandLine, 1)
		event.Text, event.What = text, "what the log says"
		got := known.Match(attestd.FormatTPM, slices.Values(pcrs(0xa4, 1)),
			slices.Values([]attestd.Event{event}))
		if got.Found != want {
			t.Errorf("%.20q: got %t, want %t", text, got.Found, want)
		}
	}
}

// Registers and rules of one value must both be met, whichever comes first in the document.
func TestRulesDoNotStandInForRegisters(t *testing.T) {
	known := index(t, ruleOf("command-line: {text: [\"ro\"]}"))
	event := logged(0, "PCR7", attestd.RoleCommandLine, 1)
	event.Text = "ro"
	events := slices.Values([]attestd.Event{event})
	for four, want := range map[byte]bool{0xa4: true, 0xa5: false} {
		got := known.Match(attestd.FormatTPM, slices.Values(pcrs(four, 1)), events)
		if got.Found != want || !want && got.Differs != 1 {
			t.Errorf("PCR4 %x: %+v, want a match: %t", four, got, want)
		}
	}
	if got := known.Match(attestd.FormatTPM, slices.Values(pcrs(0xa4, 1)[1:]), events); got.Found {
		t.Errorf("without PCR4: %+v", got)
	}
}

func TestRulesAreBounded(t *testing.T) {
	digests := func(count int) string {
		var list strings.Builder
		for n := range count {
			fmt.Fprintf(&list, "\"%064x\",", n+1)
		}
		return ruleOf("kernel: {digest: [" + strings.TrimSuffix(list.String(), ",") + "]}")
	}
	if _, err := measurements.Parse("ref.yaml", []byte(digests(8192))); err != nil {
		t.Error(err)
	}
	_, err := measurements.Parse("ref.yaml", []byte(digests(8193)))
	if err == nil || !strings.Contains(err.Error(), "got 8193, want at most 8192") {
		t.Errorf("got %v", err)
	}
}

func TestPatternsAreAnchoredAtBothEnds(t *testing.T) {
	for _, row := range []struct {
		pattern, text string
		want          bool
	}{
		{"root=/dev/vda1 ro", "root=/dev/vda1 ro", true},
		{"root=/dev/vda1 ro", "root=/dev/vda1 ro init=/bin/sh", false},
		{"root=/dev/vda1 ro", "x root=/dev/vda1 ro", false},
		{"root=* ro", "root=/dev/vda1 ro", true},
		{"root=* ro", "root=/dev/vda1 ro single", false},
		{"root=*", "root=", true},
		{"root=* ro", "root=/dev/vda1 init=/bin/sh ro", false}, // a star is no second parameter
		{"root=* ro", "root=/dev/vda1\tinit=/bin/sh ro", false},
		{"root=* ro", "root=/dev/vda1\u00e0init=/bin/sh ro", false}, // holds the byte a0
		{"root=* ro", `root=" ro`, false},                           // ro would be the root's name
		{"root=* ro", "root=' ro", false},
		{"root=* ro", `root=\ ro`, false},
		{"root=*", "root=/dev/vda1 init=/bin/sh", false},
		{"* ro", "root=/dev/vda1 init=/bin/sh ro", false},
		{"a*c d*f", "abc def", true},
		{"a*c d*f", "ac c df", false},
		{"ro*quiet", "ro quiet", false},
		{"ro *quiet", "ro quiet", true},
		{"*quiet", "quiet", true},
		{"*quiet", "quiet ro", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"ab*ba", "aba", false}, // the ends do not overlap
		{"a?c", "abc", false},   // a question mark is one
		{"a[b]c", "abc", false},
	} {
		doc := ruleOf("command-line: {like: [\"" + row.pattern + "\"]}")
		event := logged(0, "PCR7", attestd.RoleCommandLine, 1)
		event.Text = row.text
		got := index(t, doc).Match(attestd.FormatTPM, slices.Values(pcrs(0xa4, 1)),
			slices.Values([]attestd.Event{event}))
		if got.Found != row.want {
			t.Errorf("%q like %q: got %t, want %t (%+v)", row.text, row.pattern, got.Found, row.want, got)
		}
	}
}
