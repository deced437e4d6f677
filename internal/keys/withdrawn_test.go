package keys_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/keys"
)

// openWith opens the ring with a record of withdrawn keys beside its folder.
func (w *world) openWith(record string) error {
	w.Helper()
	w.must(w.ring.Close())
	ring, err := keys.Open(context.Background(), keys.Config{
		Purpose: keys.PurposeResult, Folder: w.folder, Vault: w.vault, Lifetime: 5 * time.Minute,
		Timeout: 300 * time.Millisecond, Now: w.clock, Withdrawn: record,
	})
	if err == nil {
		w.ring = ring
	}
	return err
}

// TestARestoredRingDoesNotBringAWithdrawnKeyBack: whoever stole the key signs with it, and a set that has it
// again makes readers believe them.
func TestARestoredRingDoesNotBringAWithdrawnKeyBack(t *testing.T) {
	for name, rotate := range map[string]bool{"the key that signs": false, "an earlier key": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			record := filepath.Join(t.TempDir(), "keys.withdrawn")
			w.must(w.openWith(record))
			stolen := w.only(keys.StateActive)
			if rotate {
				w.advance(keys.MaxAge)
				_, err := w.ring.Rotate(context.Background())
				w.must(err)
			}
			backup := filepath.Join(t.TempDir(), "backup")
			w.must(os.CopyFS(backup, os.DirFS(w.folder)))
			done, err := w.ring.Compromise(context.Background(), stolen, "stolen", w.clock(), 1)
			w.must(err)

			w.must(os.RemoveAll(w.folder))
			w.must(os.CopyFS(w.folder, os.DirFS(backup)))
			w.must(os.Chmod(w.folder, 0o700))
			entries, err := os.ReadDir(w.folder)
			w.must(err)
			for _, entry := range entries {
				w.must(os.Chmod(filepath.Join(w.folder, entry.Name()), 0o600))
			}
			w.must(w.openWith(record))
			for _, gone := range done.Withdrawn {
				if slices.Contains(w.published(), gone.ID) || !slices.Contains(w.in(keys.StateWithdrawn), gone.ID) ||
					slices.Contains(w.private(), gone.ID) {
					t.Errorf("key %s is back: %+v", gone.ID, w.ring.List())
				}
			}
			if kid := kidOf(t, w.token()); kid == stolen {
				t.Error("the stolen key signs again")
			}
			w.only(keys.StateNext)
		})
	}
}

// TestTheRecordOfWithdrawnKeysIsCompletedAndNotGuessed: a crash can leave it behind the ring, and one that
// is not what a ring wrote says nothing.
func TestTheRecordOfWithdrawnKeysIsCompletedAndNotGuessed(t *testing.T) {
	w := newWorld(t)
	done, err := w.ring.Compromise(context.Background(), w.only(keys.StateActive), "lost", w.clock(), 1)
	w.must(err)
	record := filepath.Join(t.TempDir(), "keys.withdrawn")
	w.must(w.openWith(record))
	written, err := os.ReadFile(record)
	w.must(err)
	for _, gone := range done.Withdrawn {
		if !strings.Contains(string(written), gone.ID+"\n") {
			t.Errorf("the record is %q, without %s", written, gone.ID)
		}
	}
	for _, content := range []string{"something else\n", strings.Repeat("A", 43), strings.Repeat("x", 2<<20)} {
		w.must(os.WriteFile(record, []byte(content), 0o600))
		err := w.openWith(record)
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" {
			t.Errorf("%.20q: %v", content, err)
		}
	}
	w.must(os.Remove(record))
	folder := filepath.Join(t.TempDir(), "folder")
	w.must(os.Mkdir(folder, 0o700))
	w.must(w.openWith(filepath.Join(folder, "record")))
	ids := w.only(keys.StateActive)
	w.must(os.RemoveAll(folder))
	_, err = w.ring.Compromise(context.Background(), ids, "lost", w.clock(), 1)
	if err == nil || slices.Contains(w.published(), ids) {
		t.Errorf("a record that cannot be written: %v, published %v", err, w.published())
	}
}
