package daemon

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
)

// controllerVerb is the word with which attestd starts its controller: a process of its own, since
// what may talk to SPIRE's server API must never see evidence.
const controllerVerb = "controller"

// controllerCommand returns the words that start the controller of a configuration.
func controllerCommand(options Options) ([]string, error) {
	settings := options.Config
	words := options.ControllerCommand
	if len(words) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		words = []string{self, controllerVerb}
	}
	words = append(words[:len(words):len(words)],
		"--server", settings.SPIRE.Server, "--attestd", "unix:"+settings.SPIRESocketPath(),
		"--trust-domain", settings.TrustDomain, "--entry-prefix", settings.SPIRE.EntryPrefix,
		"--poll", settings.SPIRE.Poll.String(), "--log-level", settings.LogLevel)
	if settings.SPIRE.WorkloadAPI != "" {
		words = append(words, "--workload-api", settings.SPIRE.WorkloadAPI)
	}
	return words, nil
}

// runController keeps a controller running until ctx ends.
func runController(ctx context.Context, options Options) {
	if options.Config.SPIRE.Server == config.Off {
		return
	}
	words, err := controllerCommand(options)
	if err != nil {
		options.Logger.ErrorContext(ctx, "the controller was not started", "err", err)
		return
	}
	keepRunning(ctx, "the controller", words, options.Logger)
}

// keepRunning keeps a process of ours running until ctx ends.
func keepRunning(ctx context.Context, name string, words []string, logger *slog.Logger) {
	const least, most = 100 * time.Millisecond, 5 * time.Second
	for wait := least; ctx.Err() == nil; wait = min(2*wait, most) {
		began := time.Now()
		err := runOnce(ctx, words, logger)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			wait = least
		}
		logger.ErrorContext(ctx, name+" ended and is started again",
			"err", attestd.Excerpt(err.Error(), 400), "wait", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// runOnce runs the controller until it ends, which is always an error, or ctx does.
func runOnce(ctx context.Context, words []string, logger *slog.Logger) error {
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	// It dies with this process, however this one ends: two controllers would lift each other's orders.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.Env = []string{"PATH=/usr/bin:/bin"}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 2 * time.Second
	lines, err := command.StderrPipe()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	// The thread that starts a process with Pdeathsig must not end before it (prctl(2)).
	go func() { ended <- startOn(command, lines, logger) }()
	return <-ended
}

func startOn(command *exec.Cmd, lines io.Reader, logger *slog.Logger) error {
	runtime.LockOSThread()
	if err := command.Start(); err != nil {
		return err
	}
	passOn(lines, logger)
	if err := command.Wait(); err != nil {
		return err
	}
	return errors.New("it ended without an error")
}

// longestLine of the controller's log is passed on; a longer one is left out.
const longestLine = 64 << 10

// passOn reads to the end, whatever comes: a controller whose log is not read stands still with its
// next line.
func passOn(lines io.Reader, logger *slog.Logger) {
	reader := bufio.NewReaderSize(lines, longestLine)
	for long := false; ; {
		line, more, err := reader.ReadLine()
		switch {
		case err != nil:
			return
		case more && !long:
			logger.Warn("a line of the controller was too long", "line", attestd.Excerpt(string(line), 200))
		case !more && !long:
			// The controller's log is JSON lines, as this one is: they go out as they are.
			if _, err := os.Stderr.Write(append(line, '\n')); err != nil {
				logger.Warn("a line of the controller was lost", "err", err)
			}
		}
		long = more
	}
}
