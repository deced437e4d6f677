package stage

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// ReadyLimit is how long a part may take until it answers, on a machine with much else to do.
	ReadyLimit = time.Minute
	stopLimit  = 20 * time.Second
)

// Process is a program that runs beside this one, and what it said.
type Process struct {
	Name  string
	cmd   *exec.Cmd
	said  *said
	ended chan struct{}
	err   error // to be read after ended
}

type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (s *said) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Start starts the command. What it writes to its standard error is kept, and its standard output too
// where the command has no other use for it. It ends with this program.
func Start(name string, command *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, cmd: command, said: &said{}, ended: make(chan struct{})}
	command.Stderr = p.said
	if command.Stdout == nil {
		command.Stdout = p.said
	}
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread ends that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			p.err = command.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s does not start: %w", name, err)
	}
	return p, nil
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Tail is the end of what the process said.
func (p *Process) Tail(most int) string {
	text := strings.TrimSpace(p.said.String())
	if len(text) > most {
		text = "[..]" + text[len(text)-most:]
	}
	return text
}

// Stop ends the process in order. One that ended before is left alone.
func (p *Process) Stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not stop in %s when it was told to", p.Name, stopLimit)
	}
}

// Until tries until it succeeds; it fails when the process ends, or takes too long.
func (p *Process) Until(ctx context.Context, try func() error) error {
	return Until(ctx, ReadyLimit, func() error {
		err := try()
		select {
		case <-p.ended:
			return final{fmt.Errorf("%s has ended: %w\n%s", p.Name, p.err, p.Tail(2000))}
		default:
			return err
		}
	})
}

// final is an error that another attempt will not mend.
type final struct{ error }

// Until tries until it succeeds, and returns the last error where it does not in that time.
func Until(ctx context.Context, within time.Duration, try func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if _, ends := err.(final); ends { //nolint:errorlint // never wrapped
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", within, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Say runs a command to its end and returns its standard output; an error has what it said besides.
func Say(ctx context.Context, command *exec.Cmd) (string, error) {
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s%s", strings.Join(command.Args, " "), err,
			out.String(), problems.String())
	}
	return out.String(), ctx.Err()
}
