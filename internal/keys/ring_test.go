package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a ring in a folder, at a time.
type world struct {
	testing.TB
	folder string
	vault  *faulty
	ring   *keys.Ring
	mu     sync.Mutex
	now    time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, folder: filepath.Join(t.TempDir(), "keys"), now: time.Unix(1_800_000_000, 0).UTC()}
	files, err := keys.OpenFiles(w.folder)
	w.must(err)
	w.vault = &faulty{Vault: files}
	w.must(w.open())
	t.Cleanup(func() { w.must(w.ring.Close()) })
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) advance(by time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(by) }

func (w *world) open() error {
	ring, err := keys.Open(context.Background(), keys.Config{
		Purpose: keys.PurposeResult, Folder: w.folder, Vault: w.vault, Lifetime: 5 * time.Minute,
		Timeout: 300 * time.Millisecond, Now: w.clock,
	})
	if err == nil {
		w.ring = ring
	}
	return err
}

func (w *world) reopen() {
	w.Helper()
	w.must(w.ring.Close())
	w.must(w.open())
}

func (w *world) sign() (string, error) {
	return w.ring.SignJWT(context.Background(), "eat+jwt", []byte(`{"a":1}`), keys.Signed{
		ID: [16]byte{1}, About: [16]byte{2}, ExpiresAt: w.clock().Add(5 * time.Minute),
	})
}

// token is what sign gives where it must give something.
func (w *world) token() string {
	w.Helper()
	token, err := w.sign()
	w.must(err)
	return token
}

// in returns the keys in a state.
func (w *world) in(state keys.State) (ids []string) {
	for _, key := range w.ring.List() {
		if key.State == state {
			ids = append(ids, key.ID)
		}
	}
	return ids
}

func (w *world) only(state keys.State) string {
	w.Helper()
	ids := w.in(state)
	if len(ids) != 1 {
		w.Fatalf("%d keys are %s, want one: %+v", len(ids), state, w.ring.List())
	}
	return ids[0]
}

// published returns the ids of the published set.
func (w *world) published() (ids []string) {
	w.Helper()
	document, maxAge := w.ring.JWKS()
	if maxAge != keys.MaxAge || maxAge > 300*time.Second {
		w.Errorf("the set may be kept for %s", maxAge)
	}
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	w.must(json.Unmarshal(document, &set))
	for _, key := range set.Keys {
		if key["d"] != "" || key["alg"] != "ES256" || key["use"] != "sig" || key["kty"] != "EC" {
			w.Errorf("published: %v", key)
		}
		ids = append(ids, key["kid"])
	}
	return ids
}

// private returns the ids of the private keys in the folder.
func (w *world) private() []string {
	w.Helper()
	ids, err := w.vault.IDs(context.Background())
	w.must(err)
	return ids
}

func kidOf(t testing.TB, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	document, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var header map[string]string
	if err := json.Unmarshal(document, &header); err != nil || len(header) != 3 {
		t.Fatal(header, err)
	}
	return header["kid"]
}

// faulty is a vault whose keys fail as a test wants.
type faulty struct {
	keys.Vault
	mu     sync.Mutex
	answer func(ctx context.Context, good []byte) ([]byte, error)
	making error
	asked  int
}

func (f *faulty) set(answer func(ctx context.Context, good []byte) ([]byte, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *faulty) Make(ctx context.Context) (keys.Signer, error) {
	f.mu.Lock()
	err := f.making
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	made, err := f.Vault.Make(ctx)
	return signer{made, f}, err
}

func (f *faulty) Open(ctx context.Context, id string) (keys.Signer, error) {
	opened, err := f.Vault.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return signer{opened, f}, nil
}

type signer struct {
	keys.Signer
	vault *faulty
}

func (s signer) Sign(ctx context.Context, digest [sha256.Size]byte) ([]byte, error) {
	good, err := s.Signer.Sign(ctx, digest)
	s.vault.mu.Lock()
	s.vault.asked++
	answer := s.vault.answer
	s.vault.mu.Unlock()
	if err != nil || answer == nil {
		return good, err
	}
	return answer(ctx, good)
}

func TestARingIsMadeOnceAndFoundAgain(t *testing.T) {
	w := newWorld(t)
	active, next := w.only(keys.StateActive), w.only(keys.StateNext)
	if got := w.published(); !slices.Equal(got, []string{active, next}) {
		t.Errorf("published: %v", got)
	}
	if kid := kidOf(t, w.token()); kid != active {
		t.Errorf("signed by %s", kid)
	}
	w.reopen()
	if w.only(keys.StateActive) != active || w.only(keys.StateNext) != next {
		t.Error("another ring was made")
	}
	for _, name := range []string{"ring.json", active + ".key", next + ".key", active + ".signed"} {
		info, err := os.Stat(filepath.Join(w.folder, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestRotationOverlaps(t *testing.T) {
	w := newWorld(t)
	first, next := w.only(keys.StateActive), w.only(keys.StateNext)
	_, err := w.ring.Rotate(context.Background())
	demandClass(t, err, attestd.ClassConflict) // nobody knows the next key yet
	w.advance(keys.MaxAge - time.Second)
	_, err = w.ring.Rotate(context.Background())
	demandClass(t, err, attestd.ClassConflict)
	w.advance(time.Second)
	before := w.token()
	done, err := w.ring.Rotate(context.Background())
	w.must(err)
	if done.Active.ID != next || done.Before.ID != first || w.only(keys.StateActive) != next {
		t.Errorf("rotated: %+v", done)
	}
	if got := w.published(); len(got) != 3 || !slices.Contains(got, kidOf(t, before)) {
		t.Errorf("published: %v", got)
	}
	if got := w.private(); len(got) != 2 || slices.Contains(got, first) {
		t.Errorf("the private half of the key before is still there: %v", got)
	}
	if kid := kidOf(t, w.token()); kid != next {
		t.Errorf("signed by %s", kid)
	}
	w.advance(keys.MaxLifetime) // whatever it signed, it is just about to end
	if !slices.Contains(w.published(), first) {
		t.Error("what a key signed outlives the key")
	}
	w.advance(2 * time.Minute)
	if slices.Contains(w.published(), first) {
		t.Error("a key is published for ever")
	}
}

func TestRotationByTheClock(t *testing.T) {
	w := newWorld(t)
	first := w.only(keys.StateActive)
	for _, row := range []struct {
		after time.Duration
		does  bool
	}{{time.Hour - time.Second, false}, {time.Second, true}, {time.Minute, false}, {time.Hour, true}} {
		w.advance(row.after)
		if _, did, err := w.ring.RotateIfDue(context.Background(), time.Hour); did != row.does || err != nil {
			t.Errorf("after %s: %t, %v", row.after, did, err)
		}
	}
	if slices.Contains(w.in(keys.StateActive), first) {
		t.Error("the first key still signs")
	}
	if _, did, err := w.ring.RotateIfDue(context.Background(), 0); did || err != nil {
		t.Errorf("without a time: %t, %v", did, err)
	}
}

func TestACompromisedKeyIsWithdrawnAtOnce(t *testing.T) {
	w := newWorld(t)
	lost, next := w.only(keys.StateActive), w.only(keys.StateNext)
	w.token()
	w.advance(time.Minute)
	since := w.clock()
	w.token()
	w.token()
	done, err := w.ring.Compromise(context.Background(), lost, "a laptop", since, 1)
	w.must(err)
	if got := w.published(); slices.Contains(got, lost) || slices.Contains(got, next) || len(got) != 2 {
		t.Errorf("published: %v", got)
	}
	if len(done.Withdrawn) != 2 || done.Total != 2 || len(done.Signed) != 1 || !done.KnownSince.IsZero() ||
		!done.Signed[0].At.Equal(w.clock()) || done.Signed[0].ID != [16]byte{1} || done.Signed[0].About != [16]byte{2} ||
		!done.BelievedUntil.Equal(w.clock().Add(keys.MaxAge)) || done.Withdrawn[0].Reason != "a laptop" {
		t.Errorf("got %+v", done)
	}
	if kid := kidOf(t, w.token()); kid != done.Active.ID || kid == lost || kid == next {
		t.Errorf("signed by %s", kid)
	}
	if got := w.private(); len(got) != 2 || slices.Contains(got, lost) || slices.Contains(got, next) {
		t.Errorf("private halves: %v", got)
	}
	w.reopen()
	if got := w.published(); slices.Contains(got, lost) || len(got) != 2 {
		t.Errorf("published after a restart: %v", got)
	}
	_, err = w.ring.Compromise(context.Background(), lost, "again", since, 1)
	demandClass(t, err, attestd.ClassConflict)
	_, err = w.ring.Compromise(context.Background(), strings.Repeat("A", 43), "nobody", since, 1)
	demandClass(t, err, attestd.ClassMalformed)
	_, err = w.ring.Compromise(context.Background(), "../ring", "nobody", since, 1)
	demandClass(t, err, attestd.ClassMalformed)
}

func TestAnEarlierKeyIsWithdrawnAlone(t *testing.T) {
	w := newWorld(t)
	w.advance(keys.MaxAge)
	done, err := w.ring.Rotate(context.Background())
	w.must(err)
	lost, err := w.ring.Compromise(context.Background(), done.Before.ID, "a backup", time.Time{}, 10)
	w.must(err)
	if len(lost.Withdrawn) != 1 || w.only(keys.StateActive) != done.Active.ID || w.only(keys.StateNext) != done.Next.ID {
		t.Errorf("got %+v", lost)
	}
	if slices.Contains(w.published(), done.Before.ID) {
		t.Error("it is still published")
	}
}

// TestWithdrawingDoesNotWaitForTheDisk: where the disk takes nothing, the key is believed no more for as
// long as the process runs, nothing is signed, and the caller is told. Later it mends itself.
func TestWithdrawingDoesNotWaitForTheDisk(t *testing.T) {
	w := newWorld(t)
	lost := w.only(keys.StateActive)
	w.vault.mu.Lock()
	w.vault.making = errors.New("no room")
	w.vault.mu.Unlock()
	ring := filepath.Join(w.folder, "ring.json")
	w.must(os.Rename(ring, ring+".aside"))
	w.must(os.Mkdir(ring, 0o700)) // nothing can be put in its place
	if _, err := w.ring.Compromise(context.Background(), lost, "lost", time.Time{}, 10); err == nil {
		t.Fatal("it claims to be durable")
	}
	if slices.Contains(w.published(), lost) {
		t.Error("it is still published")
	}
	if token, err := w.sign(); err == nil {
		t.Errorf("something signs: %s", token)
	} else {
		demandUndecided(t, err)
	}
	w.must(os.Remove(ring))
	w.must(os.Rename(ring+".aside", ring))
	w.vault.mu.Lock()
	w.vault.making = nil
	w.vault.mu.Unlock()
	if _, _, err := w.ring.RotateIfDue(context.Background(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if kid := kidOf(t, w.token()); kid == lost {
		t.Error("the withdrawn key signs")
	}
	w.reopen()
	if slices.Contains(w.published(), lost) {
		t.Error("after a restart it is published again")
	}
}

func TestAFolderThatIsNotAsItWasLeftIsRefused(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"the folder is open to others": func(w *world) { w.must(os.Chmod(w.folder, 0o750)) },
		"the ring is open to others":   func(w *world) { w.must(os.Chmod(w.path("ring.json"), 0o640)) },
		"a key is open to others":      func(w *world) { w.must(os.Chmod(w.key(), 0o640)) },
		"the ring is gone":             func(w *world) { w.must(os.Remove(w.path("ring.json"))) },
		"a key is gone":                func(w *world) { w.must(os.Remove(w.key())) },
		"a key is empty":               func(w *world) { w.must(os.WriteFile(w.key(), nil, 0o600)) },
		"a key is huge":                func(w *world) { w.must(os.WriteFile(w.key(), make([]byte, 1<<20), 0o600)) },
		"a key is another's": func(w *world) {
			other, err := os.ReadFile(w.path(w.only(keys.StateNext) + ".key"))
			w.must(err)
			w.must(os.WriteFile(w.key(), other, 0o600))
		},
		"a key is a link": func(w *world) {
			w.must(os.Rename(w.key(), w.path("elsewhere")))
			w.must(os.Symlink(w.path("elsewhere"), w.key()))
		},
		"the ring is cut":           func(w *world) { w.must(os.Truncate(w.path("ring.json"), 100)) },
		"the ring is another's":     func(w *world) { w.replace(`"result"`, `"status"`) },
		"the ring has a new state":  func(w *world) { w.replace(`"next"`, `"best"`) },
		"two keys sign":             func(w *world) { w.replace(`"next"`, `"active"`) },
		"a key has another's point": func(w *world) { w.replace(`"x": "`, `"x": "A`) },
		"a member that nobody knows": func(w *world) {
			w.replace(`"purpose"`, `"force": true, "purpose"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(w.ring.Close())
			change(w)
			err := w.open()
			demandClass(t, err, attestd.ClassConfig)
		})
	}
}

func (w *world) path(name string) string { return filepath.Join(w.folder, name) }

func (w *world) key() string { w.Helper(); return w.path(w.only(keys.StateActive) + ".key") }

func (w *world) replace(old, with string) {
	w.Helper()
	document, err := os.ReadFile(w.path("ring.json"))
	w.must(err)
	if !strings.Contains(string(document), old) {
		w.Fatalf("there is no %s in %s", old, document)
	}
	w.must(os.WriteFile(w.path("ring.json"), []byte(strings.Replace(string(document), old, with, 1)), 0o600))
}

// TestAKeyThatACrashLeftBehindIsDestroyed: it was never published.
func TestAKeyThatACrashLeftBehindIsDestroyed(t *testing.T) {
	w := newWorld(t)
	stray, err := w.vault.Make(context.Background())
	w.must(err)
	id, err := keys.KeyID(stray.Public())
	w.must(err)
	w.reopen()
	if slices.Contains(w.private(), id) {
		t.Error("it is still there")
	}
}

func demandClass(t *testing.T, err error, want attestd.Class) {
	t.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != want || caller.Hint == "" {
		t.Errorf("got %v, want class %s with a hint", err, want)
	}
}

func demandUndecided(t *testing.T, err error) {
	t.Helper()
	var undecided *attestd.UndecidedError
	if !errors.As(err, &undecided) || undecided.Class != attestd.ClassStoreUnavailable || undecided.Hint == "" {
		t.Errorf("got %v, want that nothing was decided, with a hint", err)
	}
}

func TestKeysOfOthersHaveNoID(t *testing.T) {
	if _, err := keys.KeyID(nil); err == nil {
		t.Error("no key has an id")
	}
	if _, err := keys.KeyID(&ecdsa.PublicKey{}); err == nil {
		t.Error("an empty key has an id")
	}
	for _, purpose := range []keys.Purpose{"", "../x", "Result", "a b"} {
		_, err := keys.Open(context.Background(), keys.Config{
			Purpose: purpose, Folder: t.TempDir(), Lifetime: time.Minute, Now: time.Now,
		})
		if err == nil {
			t.Errorf("%q is a purpose", purpose)
		}
	}
	if _, err := os.Stat("../x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a purpose is a path")
	}
}

func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.sign(); err != nil {
				b.Error(err)
			}
		}
	})
}
