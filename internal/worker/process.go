package worker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
)

// process is attestd's side of one worker.
type process struct {
	command *exec.Cmd
	conn    net.Conn
	lock    Lock
	said    *excerpt
	ended   chan struct{} // closed when the process has ended and was waited for
	over    chan error    // says, once, that the process is not to be asked again, and why
	leaving bool          // of package-wide idle: it is not to be idle again

	// What follows belongs to whoever took the process.

	sent        map[digest]bool // documents that the worker has
	served      int
	answered    bool          // at least one answer was no fault
	buffer      []byte        // begins with what was read of a reply; kept from one to the next
	filled      int           // length of that
	interrupted chan struct{} // says that interrupt has returned
}

// startProcess starts a worker and waits until it has locked itself. A worker that cannot is not
// used: there is no unlocked mode here.
func startProcess(config Config) (*process, error) {
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	p := &process{
		conn: conn, sent: make(map[digest]bool), buffer: make([]byte, 32<<10),
		said: &excerpt{}, ended: make(chan struct{}), over: make(chan error, 1),
		interrupted: make(chan struct{}, 1),
	}
	p.command = exec.Command(config.Command[0], config.Command[1:]...) //nolint:gosec // from the product itself
	p.command.Env = []string{}                                         // not nil, which would inherit ours
	p.command.Dir = "/"
	p.command.ExtraFiles = []*os.File{theirs}
	p.command.Stderr = p.said // standard input and output are /dev/null
	p.command.WaitDelay = time.Second
	// A group of its own: Ctrl-C at the terminal is attestd's to act on.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = p.command.Start()
	theirs.Close() // with a copy of it here, the worker's end would not end the stream
	if err != nil {
		conn.Close()
		return nil, err
	}
	go func() {
		_ = p.command.Wait() // the state says what there is to say
		close(p.ended)
	}()
	if err := p.settle(config); err != nil {
		p.end(lastWords)
		return nil, p.explain(err)
	}
	return p, nil
}

// socketPair returns our end, on the poller and so with deadlines, and the worker's, which blocks.
// Both are close-on-exec before any other goroutine can start a program.
func socketPair() (net.Conn, *os.File, error) {
	syscall.ForkLock.RLock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "attestd"), os.NewFile(uintptr(pair[1]), "worker")
	defer ours.Close()
	conn, err := net.FileConn(ours) // a duplicate
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return conn, theirs, nil
}

// settle sends the set-up and wants to hear that the filter is up.
func (p *process) settle(config Config) error {
	if err := p.conn.SetDeadline(time.Now().Add(config.StartTimeout)); err != nil {
		return err
	}
	s := setup{roots: rootsDER(config.InsecureRoots), timeout: config.Timeout, memory: config.Memory}
	if err := p.send(kindSetup, s.append(newFrame(64))); err != nil {
		return err
	}
	k, payload, err := p.reply()
	switch {
	case err != nil:
		return err
	case k == kindUnfit:
		c, err := readComplaint(payload)
		if err != nil {
			return err
		}
		return errors.New(attestd.Excerpt(c.message, 300))
	case k != kindReady:
		return fmt.Errorf("first reply is %q", byte(k))
	}
	if p.lock, err = readLock(payload); err != nil {
		return err
	}
	if !p.lock.Seccomp {
		return errors.New("worker is not under a seccomp filter")
	}
	return nil
}

func rootsDER(roots []*x509.Certificate) [][]byte {
	list := make([][]byte, 0, len(roots))
	for _, root := range roots {
		list = append(list, root.Raw)
	}
	return list
}

// errLeft says that the caller went away before there was an answer: finish must be called.
var errLeft = errors.New("the caller left before there was an answer")

// exchange sends a question, with the documents that the worker does not have yet, and reads the one
// reply. On a fault the worker must not be used again.
//
// Errors: errLeft, a [*Fault], or what the reply says.
func (p *process) exchange(c *call, deadline time.Time) (outcome, error) {
	if err := p.conn.SetDeadline(deadline); err != nil {
		return outcome{}, p.blame(err)
	}
	for _, document := range c.documents {
		if p.sent[document.digest] {
			continue
		}
		if _, err := p.conn.Write(document.frame); err != nil {
			return outcome{}, p.blame(err)
		}
		p.sent[document.digest] = true
	}
	if _, err := p.conn.Write(c.frame); err != nil {
		return outcome{}, p.blame(err)
	}
	stay := context.AfterFunc(c.ctx, p.interrupt)
	k, payload, err := p.reply()
	if !stay() {
		<-p.interrupted // from here on nobody sets a deadline but us
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline) {
			return outcome{}, errLeft
		}
	}
	return p.take(c, k, payload, err)
}

// interrupt ends the wait for a reply.
func (p *process) interrupt() {
	_ = p.conn.SetReadDeadline(time.Unix(1, 0)) // closed where this fails
	p.interrupted <- struct{}{}
}

// finish reads, for nobody, the reply that exchange did not wait for.
func (p *process) finish(c *call, deadline time.Time) (outcome, error) {
	if err := p.conn.SetReadDeadline(deadline); err != nil {
		return outcome{}, p.blame(err)
	}
	k, payload, err := p.reply()
	return p.take(c, k, payload, err)
}

func (p *process) take(c *call, k kind, payload []byte, err error) (outcome, error) {
	if err != nil {
		return outcome{}, p.blame(err)
	}
	p.served++
	return c.read(k, payload)
}

// reply reads one frame, which must be all there is to read. The payload is good until the next call.
// After an error of a deadline reply can be called again; it goes on where it was.
func (p *process) reply() (kind, []byte, error) {
	for {
		whole := headerSize
		if p.filled >= headerSize {
			size, err := announced(p.buffer, maxReply)
			if err != nil {
				return 0, nil, err
			}
			whole += size
			switch {
			case p.filled > whole:
				return 0, nil, errors.New("more than one reply to a request")
			case p.filled == whole:
				p.filled = 0
				return kind(p.buffer[0]), p.buffer[headerSize:whole], nil
			}
		}
		if whole >= len(p.buffer) { // one byte more, to see that there is none
			p.buffer = append(make([]byte, 0, whole+1), p.buffer[:p.filled]...)[:whole+1]
		}
		n, err := p.conn.Read(p.buffer[p.filled:])
		p.filled += n
		if err != nil {
			return 0, nil, err
		}
	}
}

func (p *process) send(k kind, frame []byte) error {
	frame, err := sealFrame(frame, k, maxRequest)
	if err != nil {
		return err
	}
	_, err = p.conn.Write(frame)
	return err
}

// blame turns an error of the stream into a fault.
func (p *process) blame(err error) *Fault {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.end(0)
		return fault(ReasonTimeout, fmt.Errorf("no answer in time: %w", context.DeadlineExceeded))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		p.end(lastWords)
		return fault(ReasonDied, p.explain(errors.New("the worker ended in the middle of a request")))
	default:
		return fault(ReasonGarbage, err)
	}
}

// lastWords is the time in which a worker whose stream was closed may end by itself, and say why.
const lastWords = 50 * time.Millisecond

// end closes the worker's stream, kills it where it does not end by itself within patience, and
// waits for its end. It may be called more than once.
func (p *process) end(patience time.Duration) {
	p.conn.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		_ = p.command.Process.Kill() // it has ended in this moment where this fails
		<-p.ended
	}
}

// explain adds to err how the process ended. It must have ended.
func (p *process) explain(err error) error {
	how := "still running"
	if state := p.command.ProcessState; state != nil {
		how = state.String()
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGSYS {
			how += " (it made a system call that the filter forbids)"
		}
	}
	return fmt.Errorf("%w: %s", err, how)
}

// excerpt keeps the beginning of what a worker prints and lets the rest go by: a panic says first
// what it is, and a worker that was taken over can print for ever.
type excerpt struct {
	mutex sync.Mutex
	kept  []byte
}

const maxSaid = 2 << 10

func (e *excerpt) Write(p []byte) (int, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.kept = append(e.kept, p[:min(len(p), maxSaid-len(e.kept))]...)
	return len(p), nil
}

// String returns what was kept as one line that can be logged.
func (e *excerpt) String() string {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	lines := strings.ReplaceAll(strings.TrimSpace(string(e.kept)), "\n", " | ")
	return attestd.Excerpt(strings.ReplaceAll(lines, "\t", " "), maxSaid)
}

// unfit is the error of a pool whose workers cannot be started.
func unfit(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint:  "see docs/isolation.md for what workers need; for development only: verify.isolation: none",
		Err:   fmt.Errorf("cannot start an isolated worker: %w", err),
	}
}
