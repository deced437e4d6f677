package main

import (
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/spire/controller"
	spirewire "github.com/attestd/attestd/internal/spire/wire"
)

func newController(a *app) *cobra.Command {
	var settings controller.Config
	var level string
	command := &cobra.Command{
		Use:    "controller",
		Hidden: true,
		Short:  "Carry out holds in SPIRE for attestd serve, in a process that sees no evidence",
		Long: `Controller talks to SPIRE's server API for an attestd: it bans agents, holds entries, mints what
POST /v1/svid asked for, and tells attestd which identities run where. attestd serve starts it where
spire.server is configured; by itself it is for a SPIRE server on another machine than attestd's
socket. It is let in on the socket as root or as attestd's own user.`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			if _, err := a.form(formText); err != nil {
				return usagef("drop -o: controller has no answer, its log is JSON", "%w", err)
			}
			ctx, stop := untilStopped(command.Context())
			defer stop()
			var leveler slog.LevelVar
			if err := leveler.UnmarshalText([]byte(level)); err != nil {
				return usagef("--log-level takes debug, info, warn or error", "%w", err)
			}
			settings.Logger = slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: &leveler})).
				With("part", "controller")
			settings.CanaryID = "spiffe://" + settings.TrustDomain + spirewire.CanaryPath
			return controller.Run(ctx, settings)
		},
	}
	flags := command.Flags()
	flags.StringVar(&settings.Server, "server", "", "SPIRE's server API: unix:PATH or HOST:`PORT`")
	flags.StringVar(&settings.WorkloadAPI, "workload-api", "", "unix:`PATH` of a Workload API, for --server HOST:PORT")
	flags.StringSliceVar(&settings.Attestd, "attestd", nil, "attestd's socket for plugins: unix:`PATH`")
	flags.StringVar(&settings.TrustDomain, "trust-domain", "", "trust `DOMAIN` of the SPIRE server")
	flags.StringVar(&settings.EntryPrefix, "entry-prefix", "", "how the `IDS` of entries begin that may be held")
	flags.DurationVar(&settings.Poll, "poll", 5*time.Second, "how often entries and agents are read")
	flags.DurationVar(&settings.Canary, "canary", 10*time.Second, "how often the canaries run")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return command
}
