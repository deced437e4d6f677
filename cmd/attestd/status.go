package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
)

func newStatus(a *app) *cobra.Command {
	var server *adminServer
	var watch bool
	command := &cobra.Command{
		Use:   "status",
		Short: "Say how attestd and its fleet are",
		Long: `Status shows whether attestd is ready, how many subjects are in which state, how old the oldest
evidence is, where orders take effect and how fast, and what is not as it should be. You see the
tenants that you may act for.

Exit code 0 is ready, 4 is not ready.`,
		Example: `  attestd status
  attestd status --server https://attestd.example.org:8422 -o json
  attestd status --watch`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			if !watch {
				return a.status(command.Context(), asking, form)
			}
			return a.watchStatus(command.Context(), asking, form)
		},
	}
	server = a.adminFlags(command)
	command.Flags().BoolVar(&watch, "watch", false, "show it anew every two seconds, until it is interrupted")
	return command
}

func (a *app) status(ctx context.Context, asking *client.Client, form string) error {
	status, err := asking.Status(ctx)
	if err != nil {
		return err
	}
	if a.exit = exitAccepted; !status.Ready {
		a.exit = exitUndecided
	}
	if form == formJSON {
		return report.JSON(a.out, status)
	}
	return statusText(status).Text(a.out, a.page())
}

// watchStatus goes on over a server that is away for a while: that is when people watch.
func (a *app) watchStatus(ctx context.Context, asking *client.Client, form string) error {
	ctx, stop := untilStopped(ctx)
	defer stop()
	for {
		if err := a.status(ctx, asking, form); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			a.warn("%v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

func statusText(s wire.Status) report.Blocks {
	ready := "READY"
	if !s.Ready {
		ready = "NOT READY"
	}
	out := report.Blocks{
		Good: s.Ready, Bad: !s.Ready, Next: "attestd subject ls",
		Lead: []string{ready, "attestd " + s.Version, "store " + s.Store},
	}
	if !s.Started.IsZero() {
		out.Lead = append(out.Lead, "up "+age(s.Now.Sub(s.Started).Round(time.Second)))
	}
	total := 0
	for _, n := range s.States {
		total += n
	}
	facts := [][]string{
		{"fleet", fmt.Sprintf("%d subjects", total), counts(s.States, "trusted", "suspect", "quarantined", "revoked")},
		{"risk", "", counts(s.Tiers, "low", "medium", "high", "critical")},
		{"hardware", "", counts(s.Formats)},
		{"evidence", fmt.Sprintf("%d overdue", s.Overdue), "oldest of a trusted subject " + when(s.Oldest, s.Now)},
		{"enrolment", fmt.Sprintf("%d waiting", s.Pending), ""},
	}
	for _, policy := range s.Policies {
		facts = append(facts, []string{"policy", "", policy})
	}
	channels := report.Block{Heads: []string{"channel", "state", "last lag", ""}}
	for _, one := range s.Channels {
		channels.Rows = append(channels.Rows, []string{one.Name, one.State, lapse(one.After), one.Detail})
	}
	out.Blocks = []report.Block{{Rows: facts}, channels, {Rows: troubles(s.Conditions)}}
	switch {
	case anyOf(s.Conditions, "failure") || anyOf(s.Conditions, "unknown"):
		out.Next = "attestd doctor"
	case s.Pending > 0:
		out.Next = "attestd enroll ls --pending"
	case s.States["quarantined"]+s.States["suspect"] > 0:
		out.Next = "attestd subject ls --state quarantined,suspect"
	}
	return out
}

// counts lists figures by name: the known names in their order, then the others by their own.
func counts(of map[string]int, order ...string) string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int {
		place := func(name string) int {
			if i := slices.Index(order, name); i >= 0 {
				return i
			}
			return len(order)
		}
		return cmp.Or(cmp.Compare(place(x), place(y)), cmp.Compare(x, y))
	})
	var out []string
	for _, name := range names {
		if of[name] > 0 {
			out = append(out, fmt.Sprintf("%s %d", name, of[name]))
		}
	}
	return strings.Join(out, "   ")
}

// troubles are the conditions that are not well, the worst first.
func troubles(conditions []wire.Condition) (rows [][]string) {
	for _, severity := range []string{"failure", "unknown", "warning"} {
		for _, one := range conditions {
			if one.Severity != severity {
				continue
			}
			text := one.Detail
			if one.Detail != "" && one.Fix != "" { // who acts for some tenants alone is told no details
				text += "; "
			}
			text += one.Fix
			rows = append(rows, []string{strings.ToUpper(severity), one.ID, text})
		}
	}
	return rows
}

func anyOf(conditions []wire.Condition, severity string) bool {
	return slices.ContainsFunc(conditions, func(c wire.Condition) bool { return c.Severity == severity })
}
