package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
)

// collateralEvent is a line of what pull writes as JSON.
type collateralEvent struct {
	Schema string    `json:"schema"`
	At     time.Time `json:"at"`
	collateral.Event
}

func newCollateralPull(a *app) *cobra.Command {
	var flags collateralFlags
	var config collateral.FetchConfig
	var watch bool
	var proxy, level string
	var intel intelFlags
	command := &cobra.Command{
		Use:   "pull",
		Short: "Fetch lists, Intel's documents and wanted certificates from AMD and Intel, slowly",
		Long: `Pull asks AMD's key distribution service (kdsintf.amd.com) for the revocation list of each product
line, and for the VCEKs of machines whose evidence could not be decided for want of one. Once a
platform of Intel's is held, was named by evidence that could not be decided, or is given with
--fmspc, it asks Intel's service (api.trustedservices.intel.com, and
certificates.trustedservices.intel.com for the root's list) for TCB information, the identity of the
quoting enclave and revocation lists, or the PCCS of --intel-pccs instead. It asks no other host.
What comes is verified like an import. It asks each service once in ten seconds, and less often when
the service says so. With --watch it goes on until it is stopped, as attestd serve has it do for
itself where collateral.fetch is set.`,
		Example: `  attestd collateral pull --folder ./collateral
  attestd collateral pull --folder ./collateral --fmspc 50806f000000
  attestd collateral pull --watch -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if proxy != "" {
				if config.Proxy, err = url.Parse(proxy); err != nil {
					return usagef("give http://HOST:PORT", "--proxy %q is no address", attestd.Excerpt(proxy, 100))
				}
			}
			if config.Intel, err = a.intelConfig(intel); err != nil {
				return err
			}
			store, err := a.collateralStore(flags, true)
			if err != nil {
				return err
			}
			config.Report = func(event collateral.Event) { a.tellEvent(event, form, watch) }
			if level != "" {
				if config.Report, err = a.logEvents(level); err != nil {
					return err
				}
			}
			fetcher, err := collateral.NewFetcher(store, config)
			if err != nil {
				return hinted(err, "attestd collateral pull --help lists the flags")
			}
			ctx, stop := untilStopped(command.Context())
			defer stop()
			if !watch {
				return hinted(fetcher.Pull(ctx), "look at the folder: may this user write in it?")
			}
			if err := fetcher.Watch(ctx); !errors.Is(err, context.Canceled) {
				return hinted(err, "look at the folder: may this user write in it?")
			}
			return nil
		},
	}
	flags.add(command)
	set := command.Flags()
	set.BoolVar(&watch, "watch", false, "go on, and fetch what evidence wants")
	set.StringSliceVar(&config.Lines, "lines", nil, "product `LINES`, as in Milan,Genoa (default: all)")
	set.DurationVar(&config.Pace, "pace", collateral.DefaultPace, "least `TIME` between two requests")
	set.DurationVar(&config.Refresh, "every", collateral.DefaultRefresh, "`TIME` between two looks for a list")
	intel.add(command)
	set.StringVar(&level, "log-level", "",
		"log steps as JSON to standard error instead: debug, info, warn or error")
	set.StringVar(&proxy, "proxy", "", "HTTP proxy, as in http://`HOST:PORT` (the environment is not asked)")
	complete(command, "lines", collateral.Lines()...)
	return command
}

// logEvents writes steps as a log, which a server that started this process takes up.
func (a *app) logEvents(level string) (func(collateral.Event), error) {
	var leveler slog.LevelVar
	if err := leveler.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level takes debug, info, warn or error", "%w", err)
	}
	logger := slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: &leveler})).
		With("part", "collateral")
	return func(event collateral.Event) {
		at := slog.LevelInfo
		switch event.Outcome {
		case collateral.OutcomeFailed:
			at = slog.LevelWarn
		case collateral.OutcomeWaiting, collateral.Held:
			at = slog.LevelDebug
		}
		logger.Log(context.Background(), at, "collateral was asked for", "what", event.What,
			"outcome", event.Outcome, "detail", event.Detail)
	}, nil
}

// tellEvent writes a step as it happens. That it waits is told to people alone, and with --watch not at all.
func (a *app) tellEvent(event collateral.Event, form string, watch bool) {
	if form == formJSON {
		line, err := json.Marshal(collateralEvent{collateralEventSchema, time.Now().UTC(), event})
		if err == nil {
			_ = a.write(append(line, '\n')) // a reader that went away stops nothing
		}
		return
	}
	if _, terminal := a.terminal(); event.Outcome == collateral.OutcomeWaiting && (watch || !terminal) {
		return
	}
	text := fmt.Sprintf("%-8s %s", event.Outcome, event.What)
	if event.Detail != "" {
		text += ": " + event.Detail
	}
	_ = a.write([]byte(attestd.Excerpt(text, a.page().Columns()) + "\n"))
}
