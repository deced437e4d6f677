package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
)

// Times of a supervisor.
const (
	// Between the deaths of children that did not live: at first the one, in the end the second, or the
	// third where they cannot even start.
	firstPause, readyPause, lastPause = 10 * time.Millisecond, 100 * time.Millisecond, time.Second
	// lived is how long a child must have been there for its death to count as the first: what dies
	// of a call now and then is started again at once, what cannot start is not started in a loop.
	lived = 100 * time.Millisecond
	// grace is how long SPIRE has to end the plugin itself, after a SIGTERM that both got.
	grace = 5 * time.Second
	// parting is how long a child may take to end after SPIRE has told it so. SPIRE waits 2 s.
	parting = 1500 * time.Millisecond
	// parentEvery is how often the supervisor looks whether SPIRE still is its parent.
	parentEvery = 500 * time.Millisecond
)

// errParent says that SPIRE is gone.
var errParent = errors.New("SPIRE is gone")

// supervisor is the process that SPIRE has started.
type supervisor struct {
	name      string
	logger    hclog.Logger
	address   *net.UnixAddr
	socket    *os.File
	keep      *os.File
	announced bool
	// configuration is the ConfigureRequest that was accepted last; nil before the first.
	configuration []byte
}

// supervise starts children until SPIRE wants no more of them.
func supervise(terminated <-chan struct{}, name string, logger hclog.Logger) (int, error) {
	// A child dies with the thread that started it (prctl(2), PR_SET_PDEATHSIG); this one stays.
	runtime.LockOSThread()
	ctx, stop := untilEnd(terminated)
	defer stop()
	folder, remove, err := makeFolder()
	if err != nil {
		return exitFailed, fmt.Errorf("no folder for the plugin's socket: %w", err)
	}
	defer remove()
	address := &net.UnixAddr{Name: filepath.Join(folder, "plugin.sock"), Net: "unix"}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		return exitFailed, err
	}
	defer func() { _ = listener.Close() }()
	s := &supervisor{name: name, logger: logger, address: address}
	if s.socket, err = listener.File(); err != nil {
		return exitFailed, err
	}
	if s.keep, err = memory(); err != nil {
		return exitFailed, fmt.Errorf("no memory to keep for the plugin: %w", err)
	}
	return s.run(ctx)
}

// untilEnd returns a context that ends when the plugin must, whatever SPIRE says: it is gone, or there
// was a SIGTERM (which a service manager sends to SPIRE as well) and SPIRE has not ended the plugin.
func untilEnd(terminated <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	parent := os.Getppid()
	go func() {
		ticker := time.NewTicker(parentEvery)
		defer ticker.Stop()
		var late <-chan time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case <-terminated:
				terminated, late = nil, time.After(grace)
			case <-late:
				cancel(errors.New("terminated by a signal"))
			case <-ticker.C:
				if os.Getppid() != parent {
					cancel(errParent)
				}
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// run starts one child after the other. The first one must come up: SPIRE waits for it, and says so
// where it does not. From then on there is always another.
func (s *supervisor) run(ctx context.Context) (int, error) {
	pause := time.Duration(0)
	for starts := 1; ; starts++ {
		life := s.live(ctx, starts)
		switch {
		case ctx.Err() != nil:
			return exitFailed, context.Cause(ctx)
		case life.goodbye:
			return exitOK, nil
		case !s.announced:
			return life.code, life.err
		}
		longest := lastPause
		if life.ready {
			longest = readyPause
		}
		if life.ready && life.lasted >= lived {
			pause = 0
		}
		pause = min(pause, longest)
		s.logger.Error("the plugin died and is started again", "plugin", s.name, "starts", starts,
			"lived", life.lasted.Round(time.Millisecond).String(), "pause", pause.String(), "err", life.err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return exitFailed, context.Cause(ctx)
		}
		pause = max(2*pause, firstPause)
	}
}

// life is what there is to say about a child that has ended.
type life struct {
	ready, goodbye bool
	lasted         time.Duration
	code           int
	err            error
}

// live starts a child and returns when it has ended.
func (s *supervisor) live(ctx context.Context, starts int) life {
	fromChild, up, err := os.Pipe()
	if err != nil {
		return life{code: exitFailed, err: err}
	}
	defer func() { _ = fromChild.Close() }()
	down, toChild, err := os.Pipe()
	if err != nil {
		_ = up.Close()
		return life{code: exitFailed, err: err}
	}
	defer func() { _ = toChild.Close() }()
	// The program that runs, also where its file was replaced meanwhile: SPIRE has checked this one.
	command := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	command.Args[0] = os.Args[0]
	command.Env = append(os.Environ(), childVariable+"="+strconv.Itoa(starts))
	command.Stdout, command.Stderr = os.Stderr, os.Stderr // SPIRE reads one line of our stdout, and it is ours
	command.ExtraFiles = []*os.File{s.socket, up, down, s.keep}
	command.SysProcAttr = dieWithUs()
	err = command.Start()
	_, _ = up.Close(), down.Close()
	if err != nil {
		return life{code: exitFailed, err: err}
	}
	started := time.Now()
	kind, body := controlNothing, []byte(nil)
	if s.configuration != nil {
		kind, body = controlConfiguration, s.configuration
	}
	if err := writeControl(toChild, kind, body); err != nil {
		s.logger.Debug("the child takes no configuration", "err", err)
	}
	out := s.listen(fromChild, command.Process)
	err = command.Wait()
	out.lasted, out.code = time.Since(started), command.ProcessState.ExitCode()
	if out.err == nil {
		out.err = err
	}
	if out.code < 0 {
		out.code = exitFailed
	}
	return out
}

// listen takes what the child says, until it has ended and everything it said was taken: an accepted
// configuration must not be lost because the child died right after it.
func (s *supervisor) listen(fromChild io.Reader, process *os.Process) (out life) {
	for {
		kind, body, err := readControl(fromChild)
		switch {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			_ = process.Kill()
			out.err = fmt.Errorf("the child broke off: %w", err)
			return out
		}
		switch kind {
		case controlReady:
			out.ready = true
			if err := s.announce(); err != nil {
				_ = process.Kill()
				out.err = err
				return out
			}
		case controlConfiguration:
			s.configuration = body
		case controlGoodbye:
			out.goodbye = true
			timer := time.AfterFunc(parting, func() { _ = process.Kill() })
			defer timer.Stop()
		}
	}
}

// announce prints go-plugin's handshake line, the only thing that is ever written to standard output:
// core protocol, protocol of the plugin, network, address, kind of RPC, certificate, multiplexing.
func (s *supervisor) announce() error {
	if s.announced {
		return nil
	}
	s.announced = true
	line := fmt.Sprintf("%d|1|%s|%s|%s|", goplugin.CoreProtocolVersion, s.address.Network(),
		s.address.Name, goplugin.ProtocolGRPC)
	if os.Getenv("PLUGIN_MULTIPLEX_GRPC") != "" {
		line += "|false" // understood only by those who ask
	}
	_, err := fmt.Println(line)
	return err
}
