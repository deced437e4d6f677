package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/daemon"
	"github.com/attestd/attestd/internal/report"
)

func newServe(a *app) *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API",
		Long: `Serve answers the HTTP API (docs/api.md) until it is stopped: by default on a unix socket in its
state folder and on 127.0.0.1:8421. Evidence is judged in worker processes without keys, files or
network. Standard error is a log of JSON lines. Without --config every key has its default
(docs/config.md).`,
		Example: `  attestd serve --config /etc/attestd/attestd.yaml`,
		Args:    arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			if _, err := a.form(formText); err != nil {
				return usagef("drop -o: serve has no answer, its log is JSON", "%w", err)
			}
			settings := config.Default()
			if path != "" {
				doc, err := a.read("configuration", path, maxDocument)
				if err != nil {
					return err
				}
				if settings, err = config.Parse(path, doc); err != nil {
					return hinted(err, "mend the lines that are named; docs/config.md has every key")
				}
			}
			return a.serve(command.Context(), settings, func(bound daemon.Bound) {
				a.banner(report.Table{Lead: serving("SERVING", bound), Next: "curl " + probe(bound)})
			})
		},
	}
	command.Flags().StringVar(&path, "config", "", "configuration `FILE` (default: every default)")
	return command
}

// untilStopped returns a context that ends at the first interrupt; the second one ends the process.
// Only servers ask for it: a command that waits for its input must die at the first.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// serve runs the daemon until the process is told to stop.
func (a *app) serve(ctx context.Context, settings config.Config, ready func(daemon.Bound)) error {
	ctx, stop := untilStopped(ctx)
	defer stop()
	level := &slog.LevelVar{} // info where the key will not do; Run reports that
	_ = level.UnmarshalText([]byte(settings.LogLevel))
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	started := false
	err := daemon.Run(ctx, daemon.Options{
		Config: settings, Version: buildVersion(), Level: level, Reload: reload, Ready: func(bound daemon.Bound) {
			started = true
			ready(bound)
		},
		Logger: slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level})),
	})
	if !started && ctx.Err() != nil {
		return nil // told to stop before it served: whatever broke off is no reason of its own
	}
	return startProblem(err)
}

// startProblem gives a hint to what keeps a daemon from starting on a machine that is not ready for
// it; everything else stays what it is.
func startProblem(err error) error {
	var onDisk *os.PathError
	var onNetwork *net.OpError
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "stop what listens there, or change listen.http (attestd dev: --port)"
	case errors.Is(err, os.ErrPermission):
		hint = "run as a user who may, or change state_dir and listen in the configuration"
	case errors.As(err, &onDisk):
		hint = "check the path; docs/config.md says which key names it"
	case errors.As(err, &onNetwork):
		hint = "check listen.http and listen.unix in the configuration"
	default:
		return err
	}
	var caller *attestd.CallerError
	if errors.As(err, &caller) && caller.Hint != "" {
		return err
	}
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}

// serving lists where a daemon answers.
func serving(word string, bound daemon.Bound) []string {
	lead := []string{word}
	if bound.URL != "" {
		lead = append(lead, bound.URL)
	}
	if bound.Socket != "" {
		lead = append(lead, "unix:"+bound.Socket)
	}
	if bound.Admin != "" {
		lead = append(lead, "operators "+bound.Admin)
	}
	return lead
}

func probe(bound daemon.Bound) string {
	if bound.URL != "" {
		return bound.URL + "/readyz"
	}
	return "--unix-socket " + report.QuoteArg(bound.Socket) + " http://localhost/readyz"
}

// banner writes a table whose loss changes nothing: the server runs whether it is read or not.
func (a *app) banner(table report.Table) { _ = table.Text(a.out, a.page()) }
