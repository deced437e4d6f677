package journal_test

import (
	"testing"

	"github.com/attestd/attestd/internal/decision/journal"
)

// neg: 188
func TestPlacesTellNothing(t *testing.T) {
	places, err := journal.NewPlaces()
	if err != nil {
		t.Fatal(err)
	}
	other, err := journal.NewPlaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"", "0:0", "1:0", "4294967295:4294967295", "17:123456"} {
		first, err := places.Hide(at)
		if err != nil {
			t.Fatal(err)
		}
		second, _ := places.Hide(at)
		if at != "" && (first == second || first == at) {
			t.Errorf("%q shows through: %s, %s", at, first, second)
		}
		if back, err := places.Show(first); err != nil || back != at {
			t.Errorf("%q comes back as %q, %v", at, back, err)
		}
		if back, err := other.Show(first); at != "" && err == nil {
			t.Errorf("another process reads %q", back)
		}
	}
	for _, hidden := range []string{"x", "1:2", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		if back, err := places.Show(hidden); err == nil {
			t.Errorf("%q is the place %q", hidden, back)
		}
	}
	for _, at := range []string{"x", "1:-1", "01:1", "4294967296:0"} {
		if hidden, err := places.Hide(at); err == nil {
			t.Errorf("%q is hidden as %s", at, hidden)
		}
	}
}
