package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
)

// maxBundle is the largest support bundle that is taken.
const maxBundle = 256 << 20

func newSupport(a *app) *cobra.Command {
	return nounGroup("support", "Support bundles: what somebody needs to help you", newSupportBundle(a))
}

func newSupportBundle(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use:   "bundle FILE",
		Short: "Write what somebody needs to help you, without secrets",
		Long: `Bundle writes a tar.gz with version, configuration (secrets taken out), conditions, status,
metrics and goroutines of the running attestd into FILE, which must not exist. It holds no
evidence, nonces, tokens or keys; it does hold names of subjects and tenants. Look into it before
you send it.`,
		Example: `  attestd support bundle attestd-support.tar.gz`,
		Args:    arguments(1, 1, "one FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			if _, err := a.form(formText); err != nil {
				return usagef("drop -o: the answer is a file", "%w", err)
			}
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			file, err := newFile(args[0])
			if err != nil {
				return err
			}
			size, err := asking.SupportBundle(command.Context(), file, maxBundle)
			if closed := file.Close(); err == nil && closed != nil {
				err = fileError("bundle", args[0], closed)
			}
			if err != nil {
				_ = os.Remove(args[0]) // half a bundle looks like a whole one
				return err
			}
			return report.Blocks{
				Lead: []string{"WRITTEN", args[0], fmt.Sprintf("%d bytes", size)}, Good: true,
				Next: "tar -tzf " + report.QuoteArg(args[0]),
			}.Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	return command
}

// newFile makes a file that its owner alone can read; one that exists is left as it is.
func newFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's own path
	if errors.Is(err, fs.ErrExist) {
		return nil, usagef("give another name, or remove it first", "bundle %q exists", attestd.Excerpt(path, 200))
	}
	if err != nil {
		return nil, fileError("bundle", path, err)
	}
	return file, nil
}

var logLevels = []string{"debug", "info", "warn", "error"}

func newLogLevel(a *app) *cobra.Command {
	var server *adminServer
	var lasting time.Duration
	command := &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "Read or change how much the running attestd logs",
		Long: `Log-level prints the level of the log, or changes it without a restart. With --for it falls back
to the configured one by itself: debug that somebody forgot fills disks.`,
		Example: `  attestd log-level
  attestd log-level debug --for 15m`,
		Args: arguments(0, 1, "one LEVEL at most"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if len(args) == 1 && !slices.Contains(logLevels, args[0]) {
				return usagef("give one of: "+strings.Join(logLevels, ", "), "unknown level %q",
					attestd.Excerpt(args[0], 40))
			}
			if lasting < 0 || lasting > 0 && len(args) == 0 {
				return usagef("give it like: attestd log-level debug --for 15m", "--for %s goes with a LEVEL alone", lasting)
			}
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			var level wire.LogLevel
			if len(args) == 0 {
				level, err = asking.LogLevel(command.Context())
			} else {
				var until time.Time
				if lasting > 0 {
					until = a.now().Add(lasting).UTC()
				}
				level, err = asking.SetLogLevel(command.Context(), args[0], until)
			}
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, level)
			}
			return levelText(level, a.now()).Text(a.out, a.page())
		},
		ValidArgs: logLevels,
	}
	server = a.adminFlags(command)
	command.Flags().DurationVar(&lasting, "for", 0, "fall back after this `LONG`; 0 keeps it until a restart")
	return command
}

func levelText(level wire.LogLevel, now time.Time) report.Blocks {
	lead := []string{"LOG LEVEL", level.Level}
	if !level.Until.IsZero() {
		lead = append(lead, "until "+when(level.Until, now))
	}
	return report.Blocks{Lead: lead, Next: "attestd log-level debug --for 15m"}
}
