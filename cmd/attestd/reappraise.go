package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
)

func newReappraise(a *app) *cobra.Command {
	var server *adminServer
	var policy, at, collateral string
	var references []string
	var request wire.ReappraisalRequest
	command := &cobra.Command{
		Use:   "reappraise",
		Short: "Judge stored evidence again, without touching a host",
		Long: `Reappraise judges the evidence that every subject's state stands on again: under the policy and
the reference values in force, or, with --dry-run, under those of --policy and --reference, and
with the revocation lists of --collateral added. It lists whose verdict changes and which checks
make the difference. Without --dry-run the changes take effect.

Exit code 0 is that no verdict changes, 3 that some do.`,
		Example: `  attestd reappraise --dry-run
  attestd reappraise --policy strict.yaml --reference hosts.yaml --dry-run
  attestd reappraise --collateral new-lists/ --dry-run
  attestd reappraise --at 2026-01-01T00:00:00Z --dry-run -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) (err error) {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if (policy != "" || len(references) > 0 || at != "" || collateral != "") && !request.DryRun {
				return usagef("add --dry-run; what is in force is changed in the configuration",
					"--policy, --reference, --collateral and --at show what would be")
			}
			if err := a.readReappraisal(&request, policy, at, references); err != nil {
				return err
			}
			added, err := a.collateral(collateral)
			if err != nil {
				return err
			}
			request.CRLs, request.Certificates = added.CRLs, added.Certificates
			request.Documents = added.Documents
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			done, err := a.reappraise(command.Context(), asking, request)
			if err != nil {
				return err
			}
			switch {
			case done.State != "done":
				a.exit = exitUndecided
			case done.Changed > 0:
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, done)
			}
			return reappraisedText(done).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&policy, "policy", "", "judge under the policy of this `FILE` (with --dry-run)")
	flags.StringArrayVar(&references, "reference", nil,
		"judge by the reference values of this `FILE` (with --dry-run); may be repeated")
	flags.StringVar(&collateral, "collateral", "",
		"add the certificates and revocation lists of this `FOLDER` (with --dry-run)")
	flags.StringVar(&at, "at", "", "judge as of this `TIME` of RFC 3339 (with --dry-run)")
	flags.StringVar(&request.Tenant, "tenant", "", "one `TENANT` alone")
	flags.BoolVar(&request.DryRun, "dry-run", false, "say whose verdict would change, and change nothing")
	return command
}

func (a *app) readReappraisal(
	request *wire.ReappraisalRequest, policy, at string, references []string,
) (err error) {
	if policy != "" {
		if request.Policy, err = a.read("policy", policy, maxDocument); err != nil {
			return err
		}
	}
	for _, path := range references {
		doc, err := a.read("reference values", path, maxDocument)
		if err != nil {
			return err
		}
		request.References = append(request.References, doc)
	}
	if at != "" {
		request.At, err = parseAt(at)
	}
	return err
}

// reappraise starts one and waits until it is over. Whoever interrupts it ends the waiting alone.
func (a *app) reappraise(
	ctx context.Context, asking *client.Client, request wire.ReappraisalRequest,
) (wire.Reappraisal, error) {
	state, err := asking.Reappraise(ctx, request)
	defer a.progress("judging stored evidence again")()
	for err == nil && state.State == "running" {
		select {
		case <-ctx.Done():
			return state, usagef("it goes on in the server; start another to see", "interrupted at %d of %d",
				state.Done, state.Total)
		case <-time.After(200 * time.Millisecond):
		}
		state, err = asking.Reappraisal(ctx, state.ID)
	}
	return state, err
}

func reappraisedText(done wire.Reappraisal) report.Blocks {
	word := "REAPPRAISED"
	if done.DryRun {
		word = "WOULD CHANGE"
	}
	if done.State != "done" {
		word = "FAILED"
	}
	out := report.Blocks{
		Lead: []string{word, fmt.Sprintf("%d of %d subjects change", done.Changed, done.Total)},
		Good: done.State == "done" && done.Changed == 0, Bad: done.State != "done",
		Next: "attestd status",
	}
	if !done.Ended.IsZero() {
		out.Lead = append(out.Lead, "took "+done.Ended.Sub(done.Started).Round(time.Millisecond).String())
	}
	if done.Failed > 0 {
		out.Lead = append(out.Lead, fmt.Sprintf("%d could not be judged", done.Failed))
	}
	if done.Error != "" {
		out.Notes = append(out.Notes, done.Error)
	}
	rows := report.Block{Heads: []string{"id", "tenant", "verdict", "why"}}
	side := func(s wire.ReappraisalSide) string {
		return s.Verdict.String() + " " + s.Risk.String() + " " + s.Tier.String()
	}
	for _, one := range done.Changes[:min(len(done.Changes), 50)] {
		rows.Rows = append(rows.Rows, []string{
			shortID(string(one.ID)), one.Tenant, side(one.From) + " -> " + side(one.To), strings.Join(one.Why, ", "),
		})
	}
	if more := done.Changed - len(rows.Rows); more > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d more change; -o json lists up to 1,000.", more))
	}
	if done.State != "done" {
		out.Next = "attestd doctor"
	}
	if len(done.Changes) > 0 {
		out.Next = look("attestd why", string(done.Changes[0].ID))
	}
	out.Blocks = []report.Block{rows}
	return out
}
