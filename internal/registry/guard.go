package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
)

// guard keeps, in a file beside the database, how far the database had come. A database that is behind
// it is an older copy: with it holds come off and used nonces come back, and nobody would see it. The
// file is also what keeps a second writer away.
//
// It is written once a second, when the store is closed, and before a hold is acknowledged; so no copy
// from before an acknowledged hold passes for the newest. Whoever restores both files together is
// not noticed here; a checkpoint of the audit log that was kept elsewhere shows it.
type guard struct {
	file *os.File
	// accepted says that the database was behind, and that an operator said it is meant to be.
	accepted bool
	why      string

	mu    sync.Mutex
	store [16]byte
	// known is how far the database is, kept what the file says.
	known, kept mark
	slot        int64
	err         error
	// open says that the database was found to be the newest. Before that nothing is written: a start
	// that is refused must not make the next one pass.
	open bool
}

// mark is a point in the life of a database.
type mark struct {
	commits uint64
	audit   int64
}

// The file has two slots that are written in turn, so that one of them is whole after a loss of power.
const (
	guardMagic = "attestd guard 1\n"
	slotBytes  = len(guardMagic) + 16 + 8 + 8 + sha256.Size
	slotStride = 4096
	slotCount  = 2
)

// openGuard opens the file and takes it for this process.
func openGuard(path string) (*guard, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		_ = file.Close()
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "stop the other one, or give this one a state_dir of its own",
			Err: errors.New("another process has the store open"),
		}
	}
	return &guard{file: file}, nil
}

// read returns the newest mark of the file, and whether there is any.
//
// Errors: where there is something that is no mark.
func (g *guard) read() (store [16]byte, newest mark, found bool, err error) {
	info, err := g.file.Stat()
	if err != nil || info.Size() == 0 {
		return store, newest, false, err
	}
	for slot := range int64(slotCount) {
		data := make([]byte, slotBytes)
		if _, err := g.file.ReadAt(data, slot*slotStride); err != nil && !errors.Is(err, io.EOF) {
			return store, newest, false, err
		}
		body := data[:slotBytes-sha256.Size]
		sum := sha256.Sum256(body)
		if string(data[:len(guardMagic)]) != guardMagic || string(sum[:]) != string(data[len(body):]) {
			continue
		}
		rest := body[len(guardMagic):]
		one := mark{
			commits: binary.BigEndian.Uint64(rest[16:]),
			audit:   int64(binary.BigEndian.Uint64(rest[24:])), //nolint:gosec // as written
		}
		if !found || one.commits > newest.commits {
			newest, found = one, true
			copy(store[:], rest)
			g.slot = slot
		}
	}
	if !found {
		return store, newest, false, errors.New("the file beside the database is damaged")
	}
	return store, newest, true, nil
}

// demandNewest refuses a database that is behind what this machine has seen, unless accept says that
// an operator wants it. It then moves the count past all that was seen, and ends every challenge and
// enrolment token that the older copy takes for unused.
func (g *guard) demandNewest(ctx context.Context, database *sql.DB, accept bool) error {
	var id []byte
	row := database.QueryRowContext(ctx, "SELECT store_id, commits FROM meta")
	if err := row.Scan(&id, &g.known.commits); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	copy(g.store[:], id)
	size, err := auditRows{database}.size(ctx)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	g.known.audit = size
	seen, newest, found, err := g.read()
	var why string
	switch {
	case err != nil:
		why = err.Error()
	case !found && g.known.commits > 0:
		why = "the file beside the database, which says how far it had come, is gone"
	case found && seen != g.store:
		why = "this is another database than the one that was here"
	case newest.commits > g.known.commits || newest.audit > g.known.audit:
		why = fmt.Sprintf("the database is at commit %d with %d audit records, and was at %d with %d before",
			g.known.commits, g.known.audit, newest.commits, newest.audit)
	}
	if why != "" {
		if err := g.accept(ctx, database, why, newest.commits, accept); err != nil {
			return err
		}
	}
	if err := g.write(); err != nil {
		return err
	}
	g.open = true
	return nil
}

func (g *guard) accept(
	ctx context.Context, database *sql.DB, why string, newest uint64, accept bool,
) error {
	if !accept {
		return &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint: "put the newest copy back; if this one is meant to be used, set store.accept_rollback " +
				"once: holds, denials and revocations of operators since then are lost and must be " +
				"ordered again, and enrolment tokens made anew",
			Err: errors.New(why),
		}
	}
	g.accepted, g.why = true, why
	next := max(g.known.commits, newest) + 1
	_, err := database.ExecContext(ctx, "UPDATE meta SET commits = ?", int64(next)) //nolint:gosec // a count
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	for _, table := range []string{"challenges", "enrolment_tokens"} {
		_, err := database.ExecContext(ctx, "DELETE FROM "+table+" WHERE used_at IS NULL")
		if err != nil {
			return fmt.Errorf("open store: %w", err)
		}
	}
	g.known.commits = next
	return nil
}

// saw notes how far the database has come.
func (g *guard) saw(commits uint64, audit int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known = mark{commits, audit}
}

// keep writes the file where the database went on since. What is committed stays so where it fails;
// the error is kept for Health.
func (g *guard) keep() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open && (g.known != g.kept || g.err != nil) {
		g.err = g.write()
	}
}

func (g *guard) trouble() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// write overwrites the older slot. The file keeps its size and its blocks, so that a full disk does
// not stop it.
func (g *guard) write() error {
	body := append([]byte(guardMagic), g.store[:]...)
	body = binary.BigEndian.AppendUint64(body, g.known.commits)
	body = binary.BigEndian.AppendUint64(body, uint64(g.known.audit)) //nolint:gosec // a count
	sum := sha256.Sum256(body)
	next := (g.slot + 1) % slotCount
	if _, err := g.file.WriteAt(append(body, sum[:]...), next*slotStride); err != nil {
		return fmt.Errorf("guard of the store: %w", err)
	}
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("guard of the store: %w", err)
	}
	g.slot, g.kept = next, g.known
	return nil
}

// close writes the file a last time and gives it up.
func (g *guard) close() error {
	g.keep()
	return errors.Join(g.trouble(), g.file.Close())
}
