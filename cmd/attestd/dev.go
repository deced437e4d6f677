package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/daemon"
	"github.com/attestd/attestd/internal/report"
)

func newDev(a *app) *cobra.Command {
	var (
		port      int
		demo      bool
		synthetic bool
		folder    string
	)
	command := &cobra.Command{
		Use:   "dev",
		Short: "Serve for development, or show what attestd does (--demo)",
		Long: `Dev serves like attestd serve, with a state that is gone when it stops, on loopback alone, and
judges recorded evidence too. It is for development: do not build on its verdicts.

With --demo it starts that server, sends it evidence through the HTTP API, prints the verdicts and
stops. The evidence was made by real hardware and published; the go command loads it from where it
was published and digests are compared. Where that cannot be had (no go command, no network), the
demo forges evidence under test authorities made on the spot, and says so. It ends with exit code
1 if any verdict is not the one it must be.`,
		Example: `  attestd dev --demo
  attestd dev --demo --save evidence
  attestd dev --port 0`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if demo || synthetic {
				if command.Flags().Changed("port") {
					return usagef("drop --port: the demo takes a free one", "--port has no meaning with a demo")
				}
				return a.demo(command.Context(), form, synthetic, folder)
			}
			if folder != "" {
				return usagef("add --demo", "--save keeps what a demo judged")
			}
			if form == formJSON {
				return usagef("drop -o, or add --demo", "attestd dev without --demo has no answer")
			}
			return a.dev(command.Context(), port)
		},
	}
	flags := command.Flags()
	flags.IntVar(&port, "port", 8421, "`PORT` on 127.0.0.1; 0 takes a free one")
	flags.BoolVar(&demo, "demo", false, "send evidence through the API, print the verdicts, stop")
	flags.StringVar(&folder, "save", "", "write the evidence of the demo into `DIR`, for attestd verify")
	flags.BoolVar(&synthetic, "synthetic", false, "as --demo, with forged evidence (no network, no go command)")
	return command
}

func (a *app) dev(ctx context.Context, port int) error {
	if port < 0 || port > 65535 {
		return usagef("give a number from 0 to 65535", "--port is %d", port)
	}
	settings, remove, err := devSettings(port)
	if err != nil {
		return err
	}
	defer remove()
	started := false
	ready := func(bound daemon.Bound) {
		started = true
		a.banner(report.Table{
			Lead: append(serving("DEVELOPMENT", bound), "state "+settings.StateDir),
			Notes: []string{
				"Not for production: recorded evidence is judged, the key that signs challenges and all state " +
					"are gone when this stops.",
			},
			Next: "curl --data-binary @FILE -H 'Content-Type: application/octet-stream' " +
				bound.URL + "/v1/verify-recorded",
		})
	}
	err = a.serve(ctx, settings, ready)
	if err == nil || started || settingsProblem(err) {
		return err
	}
	a.warnUnisolated(err)
	settings.Verify.Isolation = config.IsolateNone
	return a.serve(ctx, settings, ready)
}

// settingsProblem reports whether a start failed for a reason that judging in this process would not
// mend, such as a port that is taken.
func settingsProblem(err error) bool {
	var onNetwork *net.OpError
	var onDisk *os.PathError
	return errors.As(err, &onNetwork) || errors.As(err, &onDisk)
}

// devSettings returns a configuration with a state folder of its own, and what removes that folder.
func devSettings(port int) (config.Config, func(), error) {
	folder, err := os.MkdirTemp("", "attestd-dev-")
	if err != nil {
		return config.Config{}, nil, hinted(fmt.Errorf("folder for the state: %w", pathless(err)),
			"set TMPDIR to a folder that can be written to")
	}
	settings := config.Default()
	settings.StateDir = filepath.Join(folder, "state")
	settings.Listen.HTTP = "127.0.0.1:" + strconv.Itoa(port)
	settings.Challenges.EphemeralKey = true
	settings.Verify.AllowRecorded = true
	return settings, func() { _ = os.RemoveAll(folder) }, nil
}
