package worker

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/service"
)

const (
	// streamFD is where a worker finds its end of the socket pair.
	streamFD = 3
	// openFiles bounds the worker's files: three standard ones, the stream, the two of the Go runtime's
	// poller, and one or two while the lock is put up.
	openFiles = 16
	// maxDocuments is how many documents a worker keeps. One request brings at most half of them, and
	// a worker that has more than half is replaced before the next.
	maxDocuments = 256
	// grace is how much later than attestd's own time-out the worker's watchdog fires.
	grace = time.Second
)

// exit codes of a worker; they are read by people, not by attestd.
const (
	exitDone    = 0 // the stream ended
	exitUnfit   = 1 // could not be built, locked, or spoken to
	exitTimeout = 3 // the watchdog fired
)

// answerer is what a worker can do.
type answerer interface {
	answer(question) (attestd.Appraisal, error)
	credential(service.CredentialJob) (service.CredentialReply, error)
}

// builder makes the answerer of a worker, once, before the lock. Whatever judging will ever need
// from files must be read by then.
type builder func(setup) (answerer, error)

// Main is the life of a worker process: it reads its set-up from file descriptor 3, builds the
// judge, locks itself, and answers questions until the stream ends. It returns the exit code. It
// must be called from main itself, before anything else was opened.
func Main() int { return run(buildJudge) }

func run(build builder) int {
	// The zone would be read from a file by the first formatting of a local time.
	time.Local = time.UTC
	// A service manager signals every process at once. attestd decides when workers end, behind the
	// last answer, by closing the stream.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	// A worker answers one question at a time. Setting the number also ends the runtime's regular
	// reading of CPU limits from files.
	runtime.GOMAXPROCS(1)
	if err := closeOthers(streamFD); err != nil {
		fmt.Fprintln(os.Stderr, "attestd worker: close other files:", err)
		return exitUnfit
	}
	stream := os.NewFile(streamFD, "stream")
	reader := bufio.NewReaderSize(stream, 64<<10)
	w := &child{reader: reader, writer: stream, documents: make(map[digest]service.Document)}
	if err := w.prepare(build); err != nil {
		fmt.Fprintln(os.Stderr, "attestd worker:", err)
		reply := complaint{class: attestd.ClassConfig, message: err.Error()}
		_ = w.send(kindUnfit, reply.append(newFrame(0))) // nobody is left to tell where this fails
		return exitUnfit
	}
	for {
		switch err := w.turn(); {
		case errors.Is(err, io.EOF):
			return exitDone
		case err != nil:
			fmt.Fprintln(os.Stderr, "attestd worker:", err)
			return exitUnfit
		}
	}
}

// child is the worker's side of the stream.
type child struct {
	reader    *bufio.Reader
	writer    io.Writer
	documents map[digest]service.Document
	answers   answerer
	timeout   time.Duration
	watchdog  *time.Timer
	frame     []byte // of the last verdict; its memory is used again
}

// prepare reads the set-up and locks the process. Until the lock is up, only attestd's own words
// have been read.
func (w *child) prepare(build builder) error {
	k, payload, err := readFrame(w.reader, maxDocument)
	if err != nil || k != kindSetup {
		return errors.New("no set-up on file descriptor 3: workers are started by attestd serve, not by hand")
	}
	s, err := readSetup(payload)
	if err != nil {
		return err
	}
	// Half of the hard limit: the collector works harder before the kernel says no.
	debug.SetMemoryLimit(int64(s.memory / 2)) //nolint:gosec // a few hundred MiB
	if w.answers, err = build(s); err != nil {
		return err
	}
	// The watchdog ends a worker that attestd can no longer end, because attestd itself is gone. The
	// first timer opens the runtime's poller, which cannot be done later.
	w.timeout = s.timeout + grace
	w.watchdog = time.AfterFunc(w.timeout, func() {
		fmt.Fprintln(os.Stderr, "attestd worker: no answer in time")
		os.Exit(exitTimeout)
	})
	w.watchdog.Stop()
	locked, err := lock(s.memory)
	if err != nil {
		return err
	}
	return w.send(kindReady, locked.append(newFrame(0)))
}

// turn reads one frame and answers it.
func (w *child) turn() error {
	k, payload, err := readFrame(w.reader, maxDocument)
	if err != nil {
		return err
	}
	switch k {
	case kindDocument:
		document, err := readDocument(payload)
		if err != nil {
			return err
		}
		if len(w.documents) == maxDocuments {
			return fmt.Errorf("more than %d documents", maxDocuments)
		}
		w.documents[sha256.Sum256(document.Bytes)] = document
		return nil
	case kindJob:
		q, err := readQuestion(payload)
		if err != nil {
			return err
		}
		return w.judge(q)
	case kindKeys:
		job, err := readCredentialJob(payload)
		if err != nil {
			return err
		}
		return w.make(job)
	default:
		return fmt.Errorf("unknown frame %q", byte(k))
	}
}

// judge answers a question. It has no recover of its own: what the judge does not catch ends the
// process, and attestd sees the end of the stream.
func (w *child) judge(q question) error {
	var known bool
	if q.job.Policy, known = w.documents[q.policy]; !known {
		return errors.New("policy was not sent")
	}
	for _, reference := range q.references {
		document, known := w.documents[reference]
		if !known {
			return errors.New("reference values were not sent")
		}
		q.job.References = append(q.job.References, document)
	}
	if q.collateral != (digest{}) {
		if q.job.Collateral, known = w.documents[q.collateral]; !known {
			return errors.New("collateral was not sent")
		}
	}
	w.watchdog.Reset(w.timeout)
	defer w.watchdog.Stop()
	appraisal, err := w.answers.answer(q)
	if err != nil {
		return w.complain(err)
	}
	if w.frame == nil {
		w.frame = newFrame(32 << 10)
	}
	frame := appendAppraisal(w.frame[:headerSize], appraisal)
	w.frame = frame
	if len(frame)-headerSize > maxReply {
		reply := complaint{class: attestd.ClassInternal, message: "verdict is too large for a frame"}
		return w.send(kindBug, reply.append(newFrame(64)))
	}
	return w.send(kindVerdict, frame)
}

// make answers with a credential. Like judge it has no recover of its own.
func (w *child) make(job service.CredentialJob) error {
	w.watchdog.Reset(w.timeout)
	defer w.watchdog.Stop()
	made, err := w.answers.credential(job)
	if err != nil {
		return w.complain(err)
	}
	return w.send(kindMade, appendCredential(newFrame(1<<10), made))
}

// complain answers with an error.
func (w *child) complain(err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		reply := complaint{class: caller.Class, hint: caller.Hint, message: caller.Error()}
		return w.send(kindCaller, reply.append(newFrame(512)))
	}
	var bug *judge.Bug
	if errors.As(err, &bug) {
		fmt.Fprintf(os.Stderr, "%s\n", bug.Stack)
	}
	reply := complaint{class: attestd.ClassInternal, message: err.Error()}
	return w.send(kindBug, reply.append(newFrame(512)))
}

func (w *child) send(k kind, frame []byte) error {
	frame, err := sealFrame(frame, k, maxReply)
	if err != nil {
		return err
	}
	_, err = w.writer.Write(frame)
	return err
}
