package live_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestGrantsAreNeverCountedTooLow: whatever is granted and however time goes on, the count is at least
// that of the grants in force, the last end is exact to the second above, and after it nothing is left.
func TestGrantsAreNeverCountedTooLow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		index := loaded(t, 1)
		one := machine(0)
		now := start
		var ends []time.Time
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 40_000).Draw(t, "ms")) * time.Millisecond)
			if now.After(one.DueAt.Add(-time.Second)) {
				break
			}
			seconds := rapid.IntRange(1, 300).Draw(t, "seconds")
			if _, err := index.Grant(one.ID, seconds, "x509-svid", now); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, now.Add(time.Duration(seconds)*time.Second))
			inForce, last := 0, time.Time{}
			for _, end := range ends {
				if end.After(now) {
					inForce++
				}
				if end.After(last) {
					last = end
				}
			}
			n, until := index.Outstanding(one.ID, now)
			if n < inForce || n > len(ends) {
				t.Fatalf("%d grants are counted, %d are in force of %d", n, inForce, len(ends))
			}
			if until.Before(last) || until.Sub(last) >= time.Second {
				t.Fatalf("the last grant ends %v, got %v", last, until)
			}
			if n, until := index.Outstanding(one.ID, until); n != 0 || !until.IsZero() {
				t.Fatalf("%d grants are left after the last has ended", n)
			}
		}
	})
}

func TestTenGrantsInARowAreCountedExactly(t *testing.T) {
	index := loaded(t, 1)
	for range 10 {
		granted(t, index, machine(0).ID)
	}
	if n, until := index.Outstanding(machine(0).ID, start); n != 10 || !until.Equal(start.Add(time.Minute)) {
		t.Errorf("got %d until %v, want 10 for a minute", n, until)
	}
}

func TestGrantsThatEndedAreNotCountedWithLaterOnes(t *testing.T) {
	index := loaded(t, 1)
	for _, one := range []struct{ at, seconds int }{{0, 100}, {0, 200}, {0, 300}, {0, 400}, {401, 1}} {
		now := start.Add(time.Duration(one.at) * time.Second)
		if _, err := index.Grant(machine(0).ID, one.seconds, "x509-svid", now); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := index.Outstanding(machine(0).ID, start.Add(401*time.Second)); n != 1 {
		t.Errorf("%d grants are counted where all but one have ended", n)
	}
}
