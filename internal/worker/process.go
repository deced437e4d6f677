package worker

import (
	"bufio"
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
	reader  *bufio.Reader
	lock    Lock
	sent    map[digest]bool // documents that the worker has
	served  int
	said    *excerpt
	ended   chan struct{} // closed when the process has ended and was waited for
}

// startProcess starts a worker and waits until it has locked itself. A worker that cannot is not
// used: there is no unlocked mode here.
func startProcess(config Config) (*process, error) {
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	p := &process{
		conn: conn, reader: bufio.NewReaderSize(conn, 16<<10), sent: make(map[digest]bool),
		said: &excerpt{}, ended: make(chan struct{}),
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
	k, payload, err := readFrame(p.reader, maxReply)
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

// exchange sends a question, with the documents that the worker does not have yet, and reads the one
// reply. On a fault the worker must not be used again.
func (p *process) exchange(c *call, timeout time.Duration) (outcome, error) {
	if err := p.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
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
	k, payload, err := readFrame(p.reader, maxReply)
	if err != nil {
		return outcome{}, p.blame(err)
	}
	if p.reader.Buffered() != 0 {
		return outcome{}, fault(ReasonGarbage, errors.New("more than one reply to a request"))
	}
	p.served++
	return c.read(k, payload)
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
