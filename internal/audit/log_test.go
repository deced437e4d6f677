package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
)

func (m *memory) AuditSize(context.Context) (int64, error) { return int64(len(m.leaves)), nil }

func opened(t *testing.T, kept *memory, key *audit.Key, path string) *audit.Log {
	t.Helper()
	log, err := audit.Open(t.Context(), audit.Config{Store: kept, Signer: key, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestCheckpointsFollowTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.checkpoint")
	key := ephemeral(t)
	tree, kept := written(t, 0)
	log := opened(t, kept, key, path)
	for number := range 1300 {
		entry, err := tree.Append(record(number))
		if err != nil {
			t.Fatal(err)
		}
		kept.keep(t, entry)
		if number%97 != 0 && number != 1299 {
			continue
		}
		signed, err := log.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := audit.OpenCheckpoint(signed, key.Public())
		if err != nil || got != checkpointOf(tree) {
			t.Fatalf("got %+v, %v, want %+v", got, err, checkpointOf(tree))
		}
		log = opened(t, kept, key, path) // a restart is nothing that shows
	}
	if err := log.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNoCheckpointIsSignedOverAnotherHistory: the file beside the database knows what was signed.
// neg: 186
func TestNoCheckpointIsSignedOverAnotherHistory(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*memory)
	}{
		{"a store that lost its tail", func(m *memory) { m.leaves = m.leaves[:250] }},
		{"a store with another leaf", func(m *memory) { m.leaves[299] = other(t, 299) }},
		{"a store with other tiles", func(m *memory) { m.tiles[key(0, 0)] = make([]byte, 256*32) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.checkpoint")
			key := ephemeral(t)
			_, kept := written(t, 300)
			opened(t, kept, key, path)
			row.change(kept)
			_, err := audit.Open(t.Context(), audit.Config{Store: kept, Signer: key, Path: path})
			var refused *attestd.CallerError
			if !errors.As(err, &refused) || !errors.Is(err, audit.ErrOtherHistory) || refused.Class != attestd.ClassConfig || refused.Hint == "" {
				t.Errorf("got %v, want a refusal to start", err)
			}
		})
	}
	t.Run("a store that shrinks while it is open", func(t *testing.T) {
		_, kept := written(t, 300)
		log := opened(t, kept, ephemeral(t), filepath.Join(t.TempDir(), "audit.checkpoint"))
		kept.leaves = kept.leaves[:299]
		_, err := log.Checkpoint(t.Context())
		if found := tampered(t, err); found.First != 299 {
			t.Errorf("got %v", found)
		}
	})
	t.Run("another key", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.checkpoint")
		_, kept := written(t, 3)
		opened(t, kept, ephemeral(t), path)
		if _, err := audit.Open(t.Context(), audit.Config{Store: kept, Signer: ephemeral(t), Path: path}); err == nil {
			t.Error("a log went on under another key")
		}
	})
}

// TestRestoredLogBeginsUnderANewKey: what was signed before stays as it was. neg: 185
func TestRestoredLogBeginsUnderANewKey(t *testing.T) {
	folder := t.TempDir()
	keyPath, path := filepath.Join(folder, "audit.key"), filepath.Join(folder, "audit.checkpoint")
	before, err := audit.OpenKey(keyPath, origin)
	if err != nil {
		t.Fatal(err)
	}
	_, kept := written(t, 300)
	signed, err := opened(t, kept, before, path).Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept.leaves = kept.leaves[:260]
	if _, err := audit.Open(t.Context(), audit.Config{Store: kept, Signer: before, Path: path}); err == nil {
		t.Fatal("an older store was signed under the same key")
	}
	if err := audit.SetAside(keyPath, path, morning); err != nil {
		t.Fatal(err)
	}
	after, err := audit.OpenKey(keyPath, origin)
	if err != nil {
		t.Fatal(err)
	}
	if after.Public() == before.Public() {
		t.Error("the key signs two histories")
	}
	opened(t, kept, after, path)
	old, err := os.ReadFile(path + ".until-20260301T080000Z")
	if err != nil || string(old) != signed {
		t.Errorf("the checkpoint of before is %q, %v", old, err)
	}
	if err := audit.SetAside(keyPath, path, morning); err == nil {
		t.Error("what was set aside was overwritten")
	}
}

func TestEntriesAreWhatWasRecorded(t *testing.T) {
	_, kept := written(t, 30)
	key := ephemeral(t)
	log := opened(t, kept, key, filepath.Join(t.TempDir(), "audit.checkpoint"))
	page, err := log.Entries(t.Context(), 25, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Leaves) != 5 || len(page.Records) != 5 || page.Size != 30 || page.Start != 25 {
		t.Fatalf("got %d leaves of %d from %d", len(page.Leaves), page.Size, page.Start)
	}
	if got := page.Records[4].Target; got != "spiffe://example.org/agent/29" {
		t.Errorf("the last record is about %q", got)
	}
	if checkpoint, err := audit.OpenCheckpoint(page.Checkpoint, key.Public()); err != nil || checkpoint.Size != 30 {
		t.Errorf("got %+v, %v", checkpoint, err)
	}
	if page, err := log.Entries(t.Context(), 30, 10); err != nil || len(page.Leaves) != 0 {
		t.Errorf("behind the end: %d leaves, %v", len(page.Leaves), err)
	}
	for _, bad := range [][2]int{{-1, 10}, {0, 0}, {0, 1001}} {
		if _, err := log.Entries(t.Context(), int64(bad[0]), bad[1]); err == nil {
			t.Errorf("start %d, limit %d were taken", bad[0], bad[1])
		}
	}
}

// TestCheckpointsOfOthersAreRefused: a checkpoint is worth what its signature is.
func TestCheckpointsOfOthersAreRefused(t *testing.T) {
	tree, _ := written(t, 5)
	key := ephemeral(t)
	good := signedBy(t, key, tree)
	elsewhere, err := audit.NewEphemeralKey("example.com/attestd/audit")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := audit.Checkpoint{Origin: elsewhere.Name(), Size: 5, Hash: tree.Hash()}.Sign(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	// By the right key, but not what a checkpoint of this log says.
	odd := func(text string) string {
		t.Helper()
		signed, err := note.Sign(&note.Note{Text: text}, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(signed)
	}
	text, _, _ := strings.Cut(good, "\n\n")
	text += "\n"
	if _, err := audit.OpenCheckpoint(odd(text), key.Public()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, signed, public string }{
		{"another log's origin", odd(strings.Replace(text, origin, "example.com/log", 1)), key.Public()},
		{"a size in another form", odd(strings.Replace(text, "\n5\n", "\n+5\n", 1)), key.Public()},
		{"a negative size", odd(strings.Replace(text, "\n5\n", "\n-5\n", 1)), key.Public()},
		{"a line more", odd(text + "more\n"), key.Public()},
		{"a line less", odd(origin + "\n5\n"), key.Public()},
		{"another key of the same name", signedBy(t, ephemeral(t), tree), key.Public()},
		{"a log of another name", foreign, key.Public()},
		{"another size under the same signature", strings.Replace(good, "\n5\n", "\n4\n", 1), key.Public()},
		{"a size with a zero before it", strings.Replace(good, "\n5\n", "\n05\n", 1), key.Public()},
		{"no signature", strings.Split(good, "\n\n")[0] + "\n", key.Public()},
		{"nothing", "", key.Public()},
		{"a public key that is none", good, "example.org"},
		{"a note too large", good + strings.Repeat("x", 64<<10), key.Public()},
	} {
		if _, err := audit.OpenCheckpoint(row.signed, row.public); err == nil {
			t.Errorf("%s was taken", row.name)
		}
	}
	if _, err := (audit.Checkpoint{Origin: "example.com", Hash: tree.Hash()}).Sign(key); err == nil {
		t.Error("a key signed for another log")
	}
	if _, err := audit.OpenCheckpoint(good, key.Public()); err != nil {
		t.Error(err)
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	var wait sync.WaitGroup
	keys := make([]*audit.Key, 8)
	for index := range keys {
		wait.Go(func() { keys[index], _ = audit.OpenKey(path, origin) })
	}
	wait.Wait()
	for _, key := range keys {
		if key == nil || key.Public() != keys[0].Public() {
			t.Fatal("processes that start at once have several keys")
		}
	}
	public, err := os.ReadFile(path + ".pub")
	if err != nil || strings.TrimSpace(string(public)) != keys[0].Public() {
		t.Errorf("the public half is %q, %v", public, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.OpenKey(path, origin); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte("half of a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = audit.OpenKey(path, origin)
	if err == nil || strings.Contains(err.Error(), "half of") {
		t.Errorf("a broken key: %v", err)
	}
	if content, _ := os.ReadFile(path); string(content) != "half of a k" {
		t.Error("a broken key was replaced")
	}
}

// slow is a store that fails.
type failing struct {
	*memory
	err error
}

func (f failing) AuditSize(context.Context) (int64, error) { return 0, f.err }

// TestRunReportsEachTime: a log that cannot be signed is told, and told again when it can. neg: 187
func TestRunReportsEachTime(t *testing.T) {
	_, kept := written(t, 3)
	store := &failing{memory: kept}
	down := errors.New("disk on fire")
	path := filepath.Join(t.TempDir(), "audit.checkpoint")
	log, err := audit.Open(t.Context(), audit.Config{Store: store, Signer: ephemeral(t), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	store.err = down
	ctx, stop := context.WithCancel(t.Context())
	reports := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		log.Run(ctx, time.Millisecond, func(err error) {
			select {
			case reports <- err:
			case <-ctx.Done():
			}
		})
	}()
	for range 2 {
		if got := <-reports; !errors.Is(got, down) {
			t.Errorf("got %v, want %v", got, down)
		}
	}
	stop()
	<-ended
	for _, config := range []audit.Config{{}, {Store: kept}, {Store: kept, Signer: ephemeral(t)}} {
		if _, err := audit.Open(t.Context(), config); err == nil {
			t.Errorf("a log was opened with %+v", fmt.Sprint(config))
		}
	}
}
