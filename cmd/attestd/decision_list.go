package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/report"
)

func newDecisionList(a *app) *cobra.Command {
	var flags *decisionFlags
	var filter decisionFilter
	var watch bool
	command := &cobra.Command{
		Use:   "ls",
		Short: "List decisions",
		Long: `Ls lists decisions, the newest first, a page at a time; the last line is the command for the next
page. Filters are joined by "and". In a flood alike denials are counted: such a line shows how many
stand in it. With --watch it shows what is decided from now on, until it is stopped; with -o json
each is one line.`,
		Example: `  attestd decision ls --reason tenant_mismatch --since 1h
  attestd decision ls --decision deny --watch
  attestd decision ls --records /backup/decisions --atlas AML.T0085.000 -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			query, err := filter.read(a.now())
			if err != nil {
				return err
			}
			if query.Limit < 1 || query.Limit > journal.MostRecords {
				return usagef("give a number from 1 to 1000", "--limit is %d", query.Limit)
			}
			source, err := a.decisions(flags)
			if err != nil {
				return err
			}
			if watch {
				return a.watchDecisions(command.Context(), source, query, form)
			}
			page, err := source.Decisions(command.Context(), query)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, page)
			}
			return decisionTable(page, nextPage(command, page.Next), a.now()).Text(a.out, a.page())
		},
	}
	flags = a.decisionFlags(command)
	filter.define(command)
	command.Flags().BoolVar(&watch, "watch", false, "show decisions as they are made")
	command.Flags().StringVar(&filter.query.After, "after", "", "go on behind this `PLACE`")
	command.Flags().IntVar(&filter.query.Limit, "limit", 50, "most `LINES`, 1 to 1000")
	return command
}

// briefID is how much of a decision's id tells it from others: the time to the millisecond and a
// number within it.
const briefID = 18

func decisionRow(one journal.Record) []string {
	what := one.Action
	if one.Resource.ID != "" {
		what += " " + attestd.Excerpt(one.Resource.ID, 40)
	}
	outcome := one.Decision
	if one.Reason != "" {
		outcome = string(one.Reason)
	}
	if one.Folded() {
		what = fmt.Sprintf("%d alike until %s", one.Count, one.Last.UTC().Format(time.TimeOnly))
	}
	return []string{one.At.UTC().Format("01-02 15:04:05"), one.ID.String()[:briefID], outcome,
		tail(string(one.Subject)), what}
}

// tail is the end of an id, which tells callers of one trust domain apart.
func tail(id string) string {
	const most = 18
	id = shortID(id)
	if len(id) <= most {
		return orNone(id)
	}
	return ".." + id[len(id)-most+2:]
}

func decisionTable(page wire.Decisions, next string, now time.Time) report.Blocks {
	rows := report.Block{Heads: []string{"time", "id", "outcome", "caller", "what"}}
	for _, one := range page.Decisions {
		rows.Rows = append(rows.Rows, decisionRow(one))
	}
	out := report.Blocks{Lead: []string{"DECISIONS", fmt.Sprintf("%d shown", len(page.Decisions))},
		Blocks: []report.Block{rows}, Next: next}
	if len(page.Decisions) > 0 {
		out.Lead = append(out.Lead, "the newest "+when(page.Decisions[0].At, now))
	}
	switch {
	case next != "":
	case len(page.Decisions) > 0:
		out.Next = "attestd decision show " + page.Decisions[0].ID.String()[:briefID]
	default:
		out.Notes = []string{"None that is kept, and that you may see, is like that."}
		out.Next = "attestd decision ls"
	}
	return out
}

// watchEvery is how often new decisions are asked for.
const watchEvery = 500 * time.Millisecond

// watchDecisions shows what is decided from now on until ctx ends. It begins behind the newest.
func (a *app) watchDecisions(
	ctx context.Context, source decisionSource, query client.DecisionQuery, form string,
) error {
	query.Oldest, query.Limit = true, journal.MostRecords
	if query.Since.IsZero() {
		query.Since = a.now()
	}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		page, err := source.Decisions(ctx, query)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return nil // the watcher has seen enough
		case err != nil:
			return err
		}
		for _, one := range page.Decisions {
			if err := a.writeDecision(one, form); err != nil {
				return err
			}
		}
		query.After = page.Next
		if len(page.Decisions) == journal.MostRecords {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// writeDecision writes a decision as one line.
func (a *app) writeDecision(one journal.Record, form string) error {
	if form == formJSON {
		line, err := json.Marshal(one)
		if err != nil {
			return err
		}
		return a.write(append(line, '\n'))
	}
	line := ""
	for index, cell := range decisionRow(one) {
		if index > 0 {
			line += "  "
		}
		line += attestd.Excerpt(cell, 120)
	}
	return a.write([]byte(line + "\n"))
}
