package live_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd/internal/subject"
)

// TestGrantsThatWereNotCountedArePresumed: for every id, with and without a row, and until that
// time alone; what was counted goes on beside them.
func TestGrantsThatWereNotCountedArePresumed(t *testing.T) {
	index := loaded(t, 2)
	one, two := machine(0).ID, subject.ID("spiffe://example.org/never/seen")
	if n, _ := index.Outstanding(one, start); n != 0 {
		t.Fatalf("%d grants before any", n)
	}
	end := start.Add(time.Minute)
	index.Presume(end)
	index.Presume(start.Add(time.Second)) // an earlier end takes nothing back
	index.Presume(time.Time{})
	for _, id := range []subject.ID{one, two} {
		if n, until := index.Outstanding(id, start); n != 1 || !until.Equal(end) {
			t.Errorf("%s: %d until %s, want 1 until %s", id, n, until, end)
		}
	}
	if _, err := index.Grant(one, 600, "x509-svid", start); err != nil {
		t.Fatal(err)
	}
	longest := start.Add(10 * time.Minute)
	if n, until := index.Outstanding(one, start); n != 2 || until.Before(longest) {
		t.Errorf("%d until %s, want 2 and the later end", n, until)
	}
	if n, until := index.Outstanding(two, end); n != 0 || !until.IsZero() {
		t.Errorf("%d until %s after the end", n, until)
	}
	if n, _ := index.Outstanding(one, end); n != 1 {
		t.Errorf("%d after the end, want the one that was counted", n)
	}
}
