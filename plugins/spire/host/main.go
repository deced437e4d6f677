package host

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// childVariable marks the child, and says the how manieth it is.
const childVariable = "ATTESTD_SPIRE_CHILD"

// The descriptors that a child is given besides the usual ones.
const (
	childListener = 3 + iota
	childUp       // to the supervisor
	childDown     // from the supervisor
	childKeep     // Env.Keep
)

// Exit codes of a child and, where it is the first one that ends so, of the supervisor.
const (
	exitOK     = 0
	exitFailed = 1
	// exitNotSPIRE: what started the plugin is not SPIRE.
	exitNotSPIRE = 2
)

// Main runs a plugin, as supervisor or, where that has started it, as child, until SPIRE ends it. It
// returns the exit code. new is called in children alone; it starts nothing that needs a configuration.
func Main(name string, new func(Env) (Plugin, error)) int {
	keepToOurselves()
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	// As every plugin of SPIRE's: the keyboard's interrupt reaches the whole group of processes, and
	// SPIRE itself says when a plugin is to end.
	signal.Ignore(syscall.SIGINT)
	var err error
	code := exitFailed
	if starts, isChild := os.LookupEnv(childVariable); isChild {
		// A service manager's SIGTERM reaches the child too; the supervisor ends it in good time.
		signal.Ignore(syscall.SIGTERM)
		count, parse := strconv.Atoi(starts)
		if parse != nil {
			err = errors.New(childVariable + " is set, and not by a supervisor: unset it")
		} else {
			env := Env{
				Name: name, Logger: logger, Starts: count, Started: time.Now(), Version: Version(),
				Counts: &Counts{},
			}
			code, err = runChild(env, new)
		}
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		code, err = supervise(ctx.Done(), name, logger)
	}
	if err != nil {
		logger.Error("plugin "+name+" ends", "err", err)
	}
	return code
}

// Version is that of the program, as the build noted it.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
