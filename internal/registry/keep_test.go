package registry_test

import (
	"database/sql"
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

// TestNoBlobIsLeftBehind: what nothing refers to any more is gone, what something does is there.
func TestNoBlobIsLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	beside, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	own := []byte("own")
	for step, row := range []struct {
		fold  int
		blobs [][]byte
		want  int
	}{
		{1, [][]byte{own, sharedCollateral, sharedCollateral}, 2},
		{1, [][]byte{own, sharedCollateral, sharedCollateral}, 2},
		{2, [][]byte{sharedCollateral}, 2},
		{1, [][]byte{own}, 2},
		{2, [][]byte{own}, 1},
		{1, nil, 1},
		{2, nil, 0},
	} {
		known, err := store.Known(t.Context(), subject.Ask{ID: agentOf(row.fold)})
		if err != nil {
			t.Fatal(err)
		}
		generation := uint64(0)
		if known.Subject != nil {
			generation = known.Subject.Generation
		}
		verdict := accepted(step, row.fold, generation, store.Now())
		verdict.Evidence.Blobs = row.blobs
		if err := store.Keep(t.Context(), verdict); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := beside.QueryRowContext(t.Context(), "SELECT count(*) FROM blobs").Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left != row.want {
			t.Errorf("step %d: %d blobs, want %d", step, left, row.want)
		}
	}
}
