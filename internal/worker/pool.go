package worker

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// Config says what a Pool is built with. Zero values of all but Logger have defaults.
type Config struct {
	// Command starts a worker; by default this same executable file with the argument "worker", even
	// if the file's name has since been given to a newer version.
	Command []string
	// Size is the number of workers, by default one for each processor.
	Size int
	// Recycle is the number of requests after which a worker is replaced, by default 10,000: it
	// bounds how long one that evidence has taken over can lie about other evidence.
	Recycle int
	// Timeout bounds one request in a worker, by default 5 s; twice that bounds the wait for a free
	// worker.
	Timeout time.Duration
	// StartTimeout bounds the start of a worker, by default 10 s.
	StartTimeout time.Duration
	// Memory is the hard limit of a worker's writable memory, by default 1 GiB; Go's collector is
	// told half of it.
	Memory uint64
	// InsecureRoots go to judge.Config.
	InsecureRoots []*x509.Certificate
	// Logger is told of starts, replacements and faults.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		return c, errors.New("worker pool has no logger")
	}
	if c.Size < 0 || c.Recycle < 0 || c.Timeout < 0 || c.StartTimeout < 0 {
		return c, errors.New("worker pool has a negative size, recycle count or time-out")
	}
	if len(c.Command) == 0 {
		c.Command = []string{"/proc/self/exe", "worker"}
	}
	if c.Size == 0 {
		c.Size = runtime.GOMAXPROCS(0)
	}
	if c.Recycle == 0 {
		c.Recycle = 10_000
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 10 * time.Second
	}
	if c.Memory == 0 {
		c.Memory = 1 << 30
	}
	return c, nil
}

// Pool judges in workers. It implements [service.Judge] and is safe for concurrent use.
//
// Whoever asks takes a worker and speaks with it on their own goroutine: handing a question to
// another one and its answer back would cost as much as the two system calls in between. Each place
// of the pool has a goroutine that keeps it filled.
type Pool struct {
	config  Config
	library *library
	idle    idle
	closing chan struct{}
	close   sync.Once
	running sync.WaitGroup
	stats   counters
}

type counters struct{ live, started, served, faults atomic.Int64 }

// Stats count what a pool did since it was built.
type Stats struct {
	// Live workers are locked and take requests; Size is how many there should be.
	Live, Size int
	// Started counts processes, Served replies that were not faults, Faults workers that failed.
	Started, Served, Faults int64
}

// NewPool starts the workers and waits until each has locked itself.
//
// Errors: a [*attestd.CallerError] of class CONFIG where a worker cannot be started or cannot lock
// itself. There is no way to have it judge unlocked; who accepts that must use the judge in process.
func NewPool(config Config) (*Pool, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool{
		config: config, library: newLibrary(), idle: newIdle(config.Size), closing: make(chan struct{}),
	}
	first := make(chan error, config.Size)
	for range config.Size {
		p.running.Go(func() { p.supervise(first) })
	}
	for range config.Size {
		if failed := <-first; failed != nil {
			err = failed
		}
	}
	if err != nil {
		p.Close()
		return nil, unfit(err)
	}
	return p, nil
}

// Judge has one worker answer the job. When ctx ends while Judge waits for a worker or for its answer,
// Judge returns the error of ctx at once; the worker finishes within the time-out what it was doing, or
// is replaced, so that a caller who hangs up cannot make attestd start a process each time.
//
// Errors: a [*attestd.CallerError] (class RATE_LIMITED where no worker became free in time), the
// error of ctx, or a [*Fault].
func (p *Pool) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	c, err := p.library.newCall(ctx, job)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	out, err := p.ask(c)
	return out.appraisal, err
}

// Credential has one worker make a credential; otherwise it is as Judge.
func (p *Pool) Credential(
	ctx context.Context, job service.CredentialJob,
) (service.CredentialReply, error) {
	c, err := newCredentialCall(ctx, job)
	if err != nil {
		return service.CredentialReply{}, err
	}
	out, err := p.ask(c)
	return out.credential, err
}

func (p *Pool) ask(c *call) (outcome, error) {
	process, err := p.take(c.ctx)
	if err != nil {
		return outcome{}, err
	}
	deadline := time.Now().Add(p.config.Timeout)
	out, err := process.exchange(c, deadline)
	if errors.Is(err, errLeft) {
		go func() {
			_, err := process.finish(c, deadline)
			p.giveBack(process, err)
		}()
		return outcome{}, c.ctx.Err()
	}
	p.giveBack(process, err)
	return out, err
}

// take waits for a worker that is idle.
func (p *Pool) take(ctx context.Context) (*process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var late <-chan time.Time // that one worker hangs must not be all of the time there is
	for {
		select {
		case <-p.idle.there:
		default:
			if late == nil {
				wait := time.NewTimer(2 * p.config.Timeout)
				defer wait.Stop()
				late = wait.C
			}
			select {
			case <-p.idle.there:
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-p.closing:
				return nil, errClosed
			case <-late:
				return nil, errBusy
			}
		}
		if process := p.idle.pop(); process != nil {
			return process, nil
		}
	}
}

// giveBack makes a worker idle again, or says to its place why it is not to be used again: it failed,
// or it has served enough (nil).
func (p *Pool) giveBack(process *process, err error) {
	var failed *Fault
	if errors.As(err, &failed) {
		process.over <- failed
		return
	}
	process.answered = true
	p.stats.served.Add(1)
	// The latter before a next call could bring more documents than a worker keeps.
	if process.served >= p.config.Recycle || len(process.sent) > maxDocuments/2 ||
		!p.idle.push(process) {
		process.over <- nil
	}
}

var (
	errClosed = fault(ReasonClosed, errors.New("attestd is shutting down"))
	errBusy   = &attestd.CallerError{
		Class: attestd.ClassRateLimited,
		Hint:  "try again in a moment; attestd has more to verify than its processors can",
		Err:   errors.New("no worker became free in time"),
	}
)

// Stats returns the counts so far.
func (p *Pool) Stats() Stats {
	return Stats{
		Live: int(p.stats.live.Load()), Size: p.config.Size, Started: p.stats.started.Load(),
		Served: p.stats.served.Load(), Faults: p.stats.faults.Load(),
	}
}

// Close ends all workers and waits for their end. Requests that are in a worker are answered first.
func (p *Pool) Close() error {
	p.close.Do(func() { close(p.closing) })
	p.running.Wait()
	return nil
}

// supervise keeps one place of the pool filled with a worker. It reports the first start to first.
func (p *Pool) supervise(first chan<- error) {
	failures := 0
	for turn := 0; ; turn++ {
		process, err := startProcess(p.config)
		p.stats.started.Add(1)
		if err == nil {
			p.stats.live.Add(1)
			p.logStart(process)
		}
		if turn == 0 {
			first <- err
		}
		if err == nil {
			err = p.serve(process)
			p.stats.live.Add(-1)
			process.end(lastWords)
			if process.answered {
				failures = 0
			}
		} else {
			err = fault(ReasonStart, err)
		}
		longest := longestPause
		if err != nil {
			failures++
			p.stats.faults.Add(1)
			p.logFault(process, err, failures)
			if process != nil {
				longest = shortPause
			}
		}
		if !p.pause(failures, longest) {
			return
		}
	}
}

// serve lets a worker be asked until it has served enough (nil), has failed (its fault), or the pool
// closes (nil).
func (p *Pool) serve(process *process) error {
	p.idle.push(process) // which nobody else knows yet, so that it is taken
	select {
	case err := <-process.over:
		return err
	case <-process.ended:
		// Whoever has it meanwhile finds out, unless they have their answer already.
		if !p.idle.remove(process) {
			if err := <-process.over; err != nil {
				return err
			}
		}
		return fault(ReasonDied, process.explain(errors.New("a worker ended while it had nothing to do")))
	case <-p.closing:
		if p.idle.remove(process) {
			return nil
		}
		return <-process.over // what it was asked is answered first
	}
}

// The longest pauses before a place is filled again: where workers cannot be started, and where
// they start but fail at a request. The second is short, or evidence that ends workers would buy its
// sender more of our time than it costs to start them.
const (
	longestPause = 2 * time.Second
	shortPause   = 100 * time.Millisecond
)

// pause waits before a place is filled again: not at all after an orderly replacement and a first
// failure, then twice as long after each failure in a row, so that workers that die at once do not
// take the machine with them. It reports whether to go on.
func (p *Pool) pause(failures int, longest time.Duration) bool {
	var delay time.Duration
	if failures > 1 {
		delay = min(5*time.Millisecond<<min(failures-1, 10), longest)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-p.closing:
		return false
	default:
	}
	select {
	case <-p.closing:
		return false
	case <-timer.C:
		return true
	}
}

func (p *Pool) logStart(process *process) {
	p.config.Logger.LogAttrs(context.Background(), slog.LevelDebug, "worker started",
		slog.Int("pid", process.command.Process.Pid), slog.Bool("seccomp", process.lock.Seccomp),
		slog.Int("landlock", process.lock.Landlock))
}

func (p *Pool) logFault(process *process, err error, failures int) {
	attributes := []slog.Attr{slog.Any("err", err), slog.Int("failures_in_a_row", failures)}
	if process != nil {
		attributes = append(attributes, slog.Int("pid", process.command.Process.Pid),
			slog.String("stderr", process.said.String()))
	}
	p.config.Logger.LogAttrs(context.Background(), slog.LevelError, "worker failed and is replaced",
		attributes...)
}
