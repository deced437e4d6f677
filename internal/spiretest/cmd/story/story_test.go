package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// limitOfStory is how long the story may take once everything is built.
const limitOfStory = 90 * time.Second

// TestTheStory tells the whole story: it ends only where every scene was as it must be.
func TestTheStory(t *testing.T) {
	var out bytes.Buffer
	shown := newPage(&out)
	if err := run(t.Context(), shown); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	text := out.String()
	took := time.Since(shown.began)
	t.Logf("%s\n%s", took.Round(time.Second), text)
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > width {
			t.Errorf("line of %d columns: %q", len(line), line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("a line with more than ASCII where there is no terminal: %q", line)
		}
	}
	for _, want := range []string{
		"risk_score=10", "state suspect, risk 10 -> 100 critical", "effective  spire-ban", "still valid",
		"released by somebody else", "yes  no: tenant_mismatch", "no: quarantined -    not asked",
		"still valid JWT-SVID until", "9 of 9 scenes as they must be",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the story does not say %q", want)
		}
	}
	if took > limitOfStory {
		t.Errorf("it took %s, want at most %s", took.Round(time.Second), limitOfStory)
	}
}
