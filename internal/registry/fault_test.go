package registry_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// record is what a write of these tests leaves in the log.
func record(store *registry.Store) []audit.Record {
	return []audit.Record{{
		At: store.Now(), Actor: "ines", Tenant: "default", Action: "quarantine", Outcome: "done",
	}}
}

// quarantine holds the machine that accepted gives verdicts over.
func quarantine(store *registry.Store, fold int) subject.Write {
	key := subject.Key{Kind: "instance", Value: fmt.Sprintf("%064x", fold)}
	return subject.Write{
		Bars: []subject.BarWrite{{Key: key, Next: &subject.Bar{
			Key: key, State: attestd.StateQuarantined, Tenant: "default", Code: subject.CodeOperator, By: "ines",
			At: store.Now(),
		}}},
		Audit: record(store),
	}
}

func agentOf(fold int) subject.ID {
	return subject.ID(fmt.Sprintf("spiffe://example.org/spire/agent/attestd/tpm/%064x", fold))
}

// withIndex opens a store with an index of its own.
func withIndex(t *testing.T, path string) (*registry.Store, *live.Index) {
	t.Helper()
	index := live.New()
	store, err := registry.Open(t.Context(), registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy, Index: index,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store, index
}

// undecided wants an error that says that no answer could be found, in words for an operator.
func undecided(t *testing.T, what string, err error) {
	t.Helper()
	var want *attestd.UndecidedError
	if !errors.As(err, &want) || want.Class != attestd.ClassStoreUnavailable || want.Hint == "" {
		t.Errorf("%s: got %v, want STORE_UNAVAILABLE with a hint", what, err)
	}
}

// refusesAll wants every durable step to fail, and none of them to have shown anywhere.
func refusesAll(t *testing.T, store *registry.Store, index *live.Index) {
	t.Helper()
	ctx := context.Background()
	id := agentOf(1)
	undecided(t, "verdict", store.Keep(ctx, accepted(100, 1, 1, store.Now())))
	undecided(t, "quarantine", store.Write(ctx, quarantine(store, 1)))
	undecided(t, "audit", store.Audit(ctx, record(store)))
	if err := store.Pulse(ctx); err == nil {
		t.Error("the store says that it takes durable writes")
	}
	if err := store.InsertChallenge(ctx, issuedFrom(newChallenge(store.Now()), "192.0.2.1")); err == nil {
		t.Error("a challenge was issued")
	}
	if standing := index.Check(id, store.Now()); standing.Generation != 1 || standing.State != attestd.StateTrusted {
		t.Errorf("what was not committed was published: %+v", standing)
	}
}

// fullDiskVariable is set in the process whose disk is full.
const fullDiskVariable = "ATTESTD_FULL_DISK"

// neg: 179
func TestAFullDiskRefusesAndMends(t *testing.T) {
	if os.Getenv(fullDiskVariable) == "" {
		// The limit below is the whole process's, and the test binary has files of its own to write.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		alone := exec.CommandContext(t.Context(), self, "-test.run", "^"+t.Name()+"$", "-test.v")
		alone.Env = append(os.Environ(), fullDiskVariable+"=1")
		out, err := alone.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, index := withIndex(t, path)
	if err := store.Keep(t.Context(), accepted(1, 1, 0, store.Now())); err != nil {
		t.Fatal(err)
	}
	issued := insert(t, store)
	// The kernel refuses to let files grow, as a full disk does. The log is as long as it may be.
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4096, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	refusesAll(t, store, index)
	_, _, consumed := store.Consume(t.Context(), useOf(issued))
	health := store.Health()
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if consumed == nil {
		t.Error("a challenge was used up that cannot be marked as used")
	}
	if health.Failed == 0 || health.LastFailure == nil {
		t.Errorf("nobody would see it: %+v", health)
	}
	// With room again the store goes on by itself, and the log has no gap. The hold that failed is none.
	if err := store.Keep(t.Context(), accepted(2, 1, 1, store.Now())); err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), quarantine(store, 1)); err != nil {
		t.Fatal(err)
	}
	if standing := index.Check(agentOf(1), store.Now()); standing.Grants() {
		t.Errorf("held and granted: %+v", standing)
	}
	if size, err := store.AuditSize(t.Context()); err != nil || size != 3 {
		t.Errorf("the log has %d records, %v; want those of the three writes", size, err)
	}
	if health := store.Health(); health.LastFailure != nil {
		t.Errorf("still failed: %v", health.LastFailure)
	}
}

// neg: 179
func TestALockedDatabaseRefusesAndMends(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, index := withIndex(t, path)
	if err := store.Keep(t.Context(), accepted(1, 1, 0, store.Now())); err != nil {
		t.Fatal(err)
	}
	beside, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	lock, err := beside.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	undecided(t, "quarantine", store.Write(t.Context(), quarantine(store, 1))) // after its 5 s
	if !index.Check(agentOf(1), store.Now()).Grants() {
		t.Error("published before it was committed")
	}
	if _, found, err := store.Subject(t.Context(), agentOf(1)); err != nil || !found {
		t.Errorf("reading waits for the lock: %v", err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), quarantine(store, 1)); err != nil {
		t.Fatal(err)
	}
}

// neg: 179
func TestACorruptPageRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	for fold := range 200 {
		if err := store.Keep(t.Context(), accepted(fold, fold, 0, store.Now())); err != nil {
			t.Fatal(err)
		}
	}
	_ = store.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	broken := 0
	for at := page; at < len(content); at += page { // each page that has the subject, but no blob
		if bytes.Contains(content[at:at+page], []byte(agentOf(77))) {
			copy(content[at:at+page], bytes.Repeat([]byte{0xff}, 512))
			broken++
		}
	}
	if err := os.WriteFile(path, content, 0o600); err != nil || broken == 0 {
		t.Fatal(broken, err)
	}
	_, err = registry.Open(t.Context(), registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy, Index: live.New(),
	})
	if err == nil {
		t.Error("an index was loaded from a corrupt database")
	}
	store, err = registry.Open(t.Context(), registry.Config{Path: path, Clock: registry.SystemClock(), Limits: roomy})
	if err != nil {
		return // that is as good
	}
	defer func() { _ = store.Close() }()
	_, err = store.Known(t.Context(), subject.Ask{ID: agentOf(77)})
	undecided(t, "what is known", err)
	undecided(t, "verdict", store.Keep(t.Context(), accepted(1000, 77, 1, store.Now())))
}

// neg: 179
func TestEvidenceThatTheDiskChangedIsNotJudged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	if err := store.Keep(t.Context(), accepted(1, 1, 0, store.Now())); err != nil {
		t.Fatal(err)
	}
	if list, _, err := store.Stored(t.Context(), []string{"default"}, "", 10); err != nil || len(list) != 1 {
		t.Fatal(len(list), err)
	}
	beside, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	if _, err := beside.ExecContext(t.Context(), "UPDATE blobs SET data = zeroblob(length(data))"); err != nil {
		t.Fatal(err)
	}
	_, _, err = store.Stored(t.Context(), []string{"default"}, "", 10)
	undecided(t, "stored evidence", err)
}

// neg: 179
func TestANonceThatTheDiskCutShortIsTheStoresFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	issued := insert(t, store)
	beside, err := sql.Open("sqlite", path+"?_pragma=ignore_check_constraints(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	if _, err := beside.ExecContext(t.Context(), "UPDATE challenges SET nonce = substr(nonce, 1, 16)"); err != nil {
		t.Fatal(err)
	}
	taken, outcome, err := store.Consume(t.Context(), useOf(issued))
	if outcome == challenge.Consumed || len(taken.Nonce) != 0 {
		t.Errorf("half of a nonce was handed out: %v", taken)
	}
	undecided(t, "half of a nonce", err)
	consume(t, store, useOf(issued), challenge.UsedBefore) // it came to nothing, for good
}

// neg: 179
func TestAReadOnlyDatabaseIsNotOpened(t *testing.T) {
	if path := os.Getenv("ATTESTD_READ_ONLY"); path != "" {
		if os.Geteuid() == 0 {
			if err := errors.Join(syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := registry.Open(t.Context(), registry.Config{Path: path, Clock: registry.SystemClock(), Limits: roomy})
		if err == nil {
			t.Fatal("opened")
		}
		t.Logf("refused: %v", err)
		return
	}
	folder, err := os.MkdirTemp("", "attestd-read-only-") //nolint:usetesting // its parents are open to all
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	path := filepath.Join(folder, "attestd.db")
	_ = open(t, path, registry.SystemClock(), roomy).Close()
	for name, mode := range map[string]os.FileMode{path: 0o400, path + ".guard": 0o400, folder: 0o500} {
		err := os.Chmod(name, mode)
		if os.Geteuid() == 0 {
			err = errors.Join(err, os.Chown(name, 65534, 65534))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run", "^TestAReadOnlyDatabaseIsNotOpened$", "-test.v")
	child.Env = append(os.Environ(), "ATTESTD_READ_ONLY="+path)
	out, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("refused: ")) {
		t.Errorf("%v\n%s", err, out)
	}
	if os.Geteuid() != 0 {
		_ = os.Chmod(folder, 0o700) //nolint:gosec // so that it can be removed
	}
}

func TestWhatIsSetAsideIsForHoldsAndRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	if err := store.Keep(t.Context(), accepted(1, 1, 0, store.Now())); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	store, err := registry.Open(t.Context(), registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy, Reserve: 1 << 62,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	ctx := t.Context()
	undecided(t, "verdict", store.Keep(ctx, accepted(2, 1, 1, store.Now())))
	undecided(t, "challenge", store.InsertChallenge(ctx, issuedFrom(newChallenge(store.Now()), "192.0.2.1")))
	undecided(t, "pulse", store.Pulse(ctx))
	if err := store.Write(ctx, quarantine(store, 1)); err != nil {
		t.Errorf("a hold waits for room: %v", err)
	}
	if err := store.Audit(ctx, record(store)); err != nil {
		t.Errorf("a record waits for room: %v", err)
	}
	if err := store.Purge(ctx); err != nil {
		t.Errorf("what makes room waits for room: %v", err)
	}
	if health := store.Health(); !health.Low || health.Free == 0 || health.Subjects != 1 || health.Bars != 1 {
		t.Errorf("got %+v", health)
	}
}

// neg: 181
func TestAnAcknowledgedHoldIsInTheFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	if err := store.Keep(t.Context(), accepted(1, 1, 0, store.Now())); err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), quarantine(store, 1)); err != nil {
		t.Fatal(err)
	}
	// What a process that is killed now leaves behind.
	left := copyStore(t, path)
	found, index := withIndex(t, left)
	if index.Check(agentOf(1), found.Now()).Grants() {
		t.Error("the hold is gone")
	}
	var barred *subject.BarredError
	if err := found.Keep(t.Context(), accepted(2, 1, 1, found.Now())); !errors.As(err, &barred) {
		t.Errorf("got %v, want that it is held", err)
	}
}

// copyStore copies the files of a store as they are.
func copyStore(t *testing.T, path string) string {
	t.Helper()
	left := filepath.Join(t.TempDir(), "attestd.db")
	for _, end := range []string{"", "-wal", ".guard"} {
		content, err := os.ReadFile(path + end)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(left+end, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return left
}

// neg: 189
func TestWhatIsKnownIsOfOneMoment(t *testing.T) {
	t.Parallel()
	store, _ := withIndex(t, filepath.Join(t.TempDir(), "attestd.db"))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	key := subject.Key{Kind: "instance", Value: fmt.Sprintf("%064x", 1)}
	free := subject.Key{Kind: "boot", Value: "another"}
	done := make(chan error, 1)
	go func() {
		var bar, owner uint64
		for number := 1; ctx.Err() == nil; number++ {
			write := accepted(number, 1, uint64(number-1), store.Now()).Write
			write.Subjects[0].Next.Good = number
			write.Bars = []subject.BarWrite{{Key: free, Expect: bar, Next: &subject.Bar{
				Key: free, State: attestd.StateQuarantined, Tenant: "default", Ticket: fmt.Sprint(number),
			}}}
			write.Owners = []subject.OwnershipWrite{{Key: key, Expect: owner, Next: &subject.Ownership{
				Key: key, Tenant: "default", Status: subject.StatusApproved, Seen: number,
			}}}
			if err := store.Write(context.Background(), write); err != nil {
				done <- err
				return
			}
			known, err := store.Known(context.Background(), subject.Ask{Bars: []subject.Key{free}, Owners: []subject.Key{key}})
			if err != nil {
				done <- err
				return
			}
			bar, owner = known.Bars[0].Generation, known.Owners[0].Generation
		}
		done <- nil
	}()
	asked := 0
	for ; ctx.Err() == nil; asked++ {
		known, err := store.Known(context.Background(), subject.Ask{
			ID: agentOf(1), Bars: []subject.Key{free}, Owners: []subject.Key{key},
		})
		if err != nil {
			t.Fatal(err)
		}
		if known.Subject == nil {
			continue
		}
		if got := known.Subject.Good; known.Bars[0].Ticket != fmt.Sprint(got) || known.Owners[0].Seen != got {
			t.Fatalf("the subject is of write %d, its hold of %s, its ownership of %d",
				got, known.Bars[0].Ticket, known.Owners[0].Seen)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("asked %d times while %d writes came", asked, store.Commits())
}
