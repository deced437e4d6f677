package workloadattestor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sys/unix"
)

const (
	// remembered is how many executables have their digest remembered, for one agent's workloads.
	remembered = 4096
	// manyUsers is how many users' spending is remembered; who comes back after so many others have
	// come begins anew.
	manyUsers = 1024
	// readers is how many executables are read at once, and queue how many of one user's may wait.
	readers = 4
	queue   = 64
	// waitForDigest is how long a caller waits for one; the reading goes on, and the next caller has it.
	waitForDigest = 2 * time.Second
	// readTime is how long one executable may take to read before it is given up.
	readTime = 30 * time.Second
)

// digests takes the SHA-256 of executables. It is safe for concurrent use.
type digests struct {
	clock clock
	// largest is the greatest executable that is read, and perSecond how many bytes one user's processes
	// can have read a second, over time: whoever starts new programs without end must not keep the
	// agent from everybody else's.
	largest, perSecond int64

	known *lru.Cache[identity, string]
	slots chan struct{} // one for each file that is being read

	mu      sync.Mutex
	flights map[errand]*flight
	users   *lru.Cache[uint32, *user]
	// taken counts what was read, for tests and the status.
	taken int
}

// errand is one user's file. Two users who run one file have it read twice: who waits for another's
// waits in that one's queue, behind whatever he has put there.
type errand struct {
	file identity
	user uint32
}

// flight is one executable that is being read.
type flight struct {
	done   chan struct{}
	digest string
	err    error
}

// user is one user of the machine whose processes ask.
type user struct {
	// turn is held by the one file of the user's that is being opened and read: one that never answers
	// holds up the user's own processes alone.
	turn    chan struct{}
	waiting int
	// bytes is what may still be read, as of since.
	bytes int64
	since time.Duration
}

func newDigests(time clock, largest, perSecond int64) (*digests, error) {
	known, err := lru.New[identity, string](remembered)
	if err != nil {
		return nil, err
	}
	users, err := lru.New[uint32, *user](manyUsers)
	if err != nil {
		return nil, err
	}
	return &digests{
		clock: time, largest: largest, perSecond: perSecond, known: known, users: users,
		flights: make(map[errand]*flight), slots: make(chan struct{}, readers),
	}, nil
}

// of returns the digest of the file that the descriptor fd, opened with O_PATH, stands for. It is read
// on behalf of the user uid.
func (d *digests) of(ctx context.Context, fd int, file identity, uid uint32) (string, error) {
	if digest, ok := d.known.Get(file); ok {
		return digest, nil
	}
	under, err := d.fly(fd, file, uid)
	if err != nil {
		return "", err
	}
	timer := time.NewTimer(waitForDigest)
	defer timer.Stop()
	select {
	case <-under.done:
		return under.digest, under.err
	case <-ctx.Done():
		return "", fmt.Errorf("it is still being read: %w", ctx.Err())
	case <-timer.C:
		return "", errors.New("it is still being read; ask again")
	}
}

// fly begins to read a file, unless it is being read already.
func (d *digests) fly(fd int, file identity, uid uint32) (*flight, error) {
	if file.mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("it is no regular file")
	}
	if file.size == 0 || file.size > uint64(d.largest) { //nolint:gosec // checked to be positive
		return nil, fmt.Errorf("it has %d bytes, want 1 to %d", file.size, d.largest)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	errand := errand{file: file, user: uid}
	if under, ok := d.flights[errand]; ok {
		return under, nil
	}
	of := d.userOf(uid)
	if of.waiting >= queue {
		return nil, fmt.Errorf("%d executables of its user wait to be read; ask again", of.waiting)
	}
	size := int64(file.size) //nolint:gosec // at most largest
	if of.bytes < size {
		return nil, fmt.Errorf("its user has had executables of over %d bytes a second read; ask again",
			d.perSecond)
	}
	of.bytes -= size
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	under := &flight{done: make(chan struct{})}
	d.flights[errand] = under
	of.waiting++
	d.taken++
	go func() {
		of.turn <- struct{}{}
		under.digest, under.err = d.readSafely(own, file)
		<-of.turn
		d.mu.Lock()
		delete(d.flights, errand)
		of.waiting--
		d.mu.Unlock()
		close(under.done)
	}()
	return under, nil
}

// userOf returns a user, with what may be read now: it fills by perSecond up to twice the largest file.
func (d *digests) userOf(uid uint32) *user {
	now, most := d.clock.steady(), 2*d.largest
	of, ok := d.users.Get(uid)
	if !ok {
		of = &user{turn: make(chan struct{}, 1), bytes: most, since: now}
		d.users.Add(uid, of)
	}
	if passed := now - of.since; passed > 0 {
		gain := float64(d.perSecond) * passed.Seconds()
		of.bytes, of.since = int64(min(float64(of.bytes)+gain, float64(most))), now
	}
	return of
}

// readSafely is read, of which a panic is one file without a digest: it runs beside the call that asked,
// where nothing else would catch it.
func (d *digests) readSafely(path int, file identity) (digest string, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			digest, err = "", fmt.Errorf("internal error: %v", recovered)
		}
	}()
	return d.read(path, file)
}

// read takes the digest of a file that is still as it was when it was identified.
func (d *digests) read(path int, file identity) (string, error) {
	defer unix.Close(path)
	kind, err := fileSystemOf(path)
	if err != nil {
		return "", err
	}
	// The descriptor names the file without opening it; this opens what it names, whatever it is called.
	opened, err := os.Open("/proc/self/fd/" + strconv.Itoa(path))
	if err != nil {
		return "", fmt.Errorf("open it: %w", err)
	}
	defer opened.Close()
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	sum := sha256.New()
	bounded := &within{file: opened, left: d.largest + 1, until: time.Now().Add(readTime)}
	read, err := io.CopyBuffer(sum, bounded, make([]byte, 256<<10))
	if err != nil {
		return "", fmt.Errorf("read it: %w", err)
	}
	after, err := identify(int(opened.Fd()))
	if err != nil {
		return "", err
	}
	if after != file || uint64(read) != file.size { //nolint:gosec // counts are positive
		return "", errors.New("it changed while it was read")
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if file.remembers(kind, d.clock.wall()) {
		d.known.Add(file, digest)
	}
	return digest, nil
}

// within reads a file up to a number of bytes and a time.
type within struct {
	file  io.Reader
	left  int64
	until time.Time
}

func (w *within) Read(into []byte) (int, error) {
	if w.left <= 0 {
		return 0, errors.New("it has grown over the limit")
	}
	if time.Now().After(w.until) {
		return 0, fmt.Errorf("it takes over %s", readTime)
	}
	n, err := w.file.Read(into[:min(int64(len(into)), w.left)])
	w.left -= int64(n)
	return n, err
}
