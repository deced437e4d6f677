package registry_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/subject"
)

// TestOneSubjectsHistoryIsBounded: it does not push out another's.
func TestOneSubjectsHistoryIsBounded(t *testing.T) {
	store, _ := withIndex(t, filepath.Join(t.TempDir(), "attestd.db"))
	write := subject.Write{Audit: record(store)}
	write.History = append(write.History, subject.Event{ID: agentOf(2), Kind: "seen", At: store.Now()})
	for range 3000 {
		write.History = append(write.History, subject.Event{ID: agentOf(1), Kind: "seen", At: store.Now()})
	}
	if err := store.Write(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	count, after := 0, int64(0)
	for {
		list, err := store.History(t.Context(), agentOf(1), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		count += len(list)
		after = list[len(list)-1].Number
	}
	if count < 1000 || count > 1064 {
		t.Errorf("%d events are kept, want 1000 and at most 64 more", count)
	}
	if list, err := store.History(t.Context(), agentOf(2), 0, 10); err != nil || len(list) != 1 {
		t.Errorf("the other's: %d, %v", len(list), err)
	}
}

func TestTokensAreForgottenAMonthAfterTheirEnd(t *testing.T) {
	moving := newFakeTime()
	store := fresh(t, moving.clock(), roomy)
	err := store.Write(t.Context(), subject.Write{
		NewToken: &subject.Token{
			ID: "t", Secret: [32]byte{1}, Tenant: "default", Formats: []string{"tpm"}, By: "ines",
			ExpiresAt: store.Now().Add(time.Hour),
		},
		Audit: record(store),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		pass  time.Duration
		found bool
	}{{time.Hour + 30*24*time.Hour, true}, {time.Nanosecond, false}} {
		moving.pass(row.pass)
		if err := store.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, found, err := store.Token(t.Context(), "t"); err != nil || found != row.found {
			t.Errorf("found %t, %v; want %t", found, err, row.found)
		}
	}
}
