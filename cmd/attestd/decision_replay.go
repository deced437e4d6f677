package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/report"
)

// replayPage is how many decisions are decided again at once.
const replayPage = 200

func newDecisionReplay(a *app) *cobra.Command {
	var flags *decisionFlags
	var filter decisionFilter
	var all bool
	command := &cobra.Command{
		Use:   "replay ID | --all",
		Short: "Decide again by the stored inputs and policies, and compare",
		Long: `Replay decides again about what a decision rested on, by the policies that it names, and compares
the result to the last field. With --all it does so for all that the filters select, the newest
first. Where something differs it exits 3: this attestd decides otherwise than the one that wrote
the record, or the record is not what it wrote.`,
		Example: `  attestd decision replay 0199c2a4-7f3e-7a10
  attestd decision replay --all --since 24h
  attestd decision replay --all --records /backup/decisions -o json`,
		Args: arguments(0, 1, "one ID, or --all"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if all == (len(args) == 1) {
				return usagef("attestd decision replay ID, or --all", "give an ID or --all, and not both")
			}
			query, err := filter.read(a.now())
			if err != nil {
				return err
			}
			source, err := a.decisions(flags)
			if err != nil {
				return err
			}
			answer := replayAnswer(journal.Run{Changed: []journal.Replayed{}})
			if !all {
				answer, err = source.Replay(command.Context(), args[0])
			} else {
				// Pages can be short before the end, which is where there is no next one. The newest come first, so
				// that what is decided meanwhile does not keep this from ending.
				query.Limit = replayPage
				for more := true; more && err == nil; {
					var page wire.Replayed
					if page, err = source.ReplayAll(command.Context(), query); err == nil {
						more = page.Next != "" && page.Next != query.After
						query.After = page.Next
						answer.Add(page.Run)
					}
				}
				answer = replayAnswer(answer.Run)
				answer.Next = ""
			}
			if err != nil {
				return err
			}
			switch {
			case answer.Different > 0:
				a.exit = exitRejected
			case answer.Undecided > 0:
				a.exit = exitUndecided
			}
			if form == formJSON {
				return report.JSON(a.out, answer)
			}
			return replayText(answer, args).Text(a.out, a.page())
		},
	}
	flags = a.decisionFlags(command)
	filter.define(command)
	command.Flags().BoolVar(&all, "all", false, "every decision that the filters select")
	return command
}

func replayText(answer wire.Replayed, args []string) report.Blocks {
	out := report.Blocks{
		Lead: []string{"SAME", fmt.Sprintf("%d decided again", answer.Same+answer.Different)},
		Good: answer.Verdict == "same", Bad: answer.Verdict == "different", Next: "attestd decision ls",
	}
	switch answer.Verdict {
	case "nothing":
		out.Lead = []string{"NOTHING", "no decision that could be decided again"}
	case "undecided":
		out.Lead = []string{"UNDECIDED", fmt.Sprintf("%d of %d could not be decided again", answer.Undecided,
			answer.Same+answer.Undecided)}
		out.Notes = []string{answer.Problem}
		out.Next = "attestd decision verify DIR"
	case "different":
		out.Lead = []string{"DIFFERENT", fmt.Sprintf("%d of %d decided again", answer.Different,
			answer.Same+answer.Different)}
		out.Next = "attestd decision show " + answer.Changed[0].ID.String()
		out.Notes = []string{"The engine that wrote the record is another, or the record was changed: " +
			"attestd decision verify DIR."}
	}
	if len(args) == 1 && answer.Verdict == "same" {
		out.Next = "attestd decision show " + report.QuoteArg(args[0])
	}
	if answer.Different > 0 && answer.Undecided > 0 {
		out.Lead = append(out.Lead, fmt.Sprintf("%d could not be decided again", answer.Undecided))
	}
	if answer.Skipped > 0 {
		out.Lead = append(out.Lead, fmt.Sprintf("%d have no input", answer.Skipped))
	}
	rows := report.Block{Heads: []string{"id", "field", "was", "is"}}
	for _, one := range answer.Changed {
		for _, difference := range one.Differences {
			rows.Rows = append(rows.Rows, []string{one.ID.String()[:briefID], difference.Field,
				orNone(difference.Was), orNone(difference.Is)})
		}
	}
	out.Blocks = []report.Block{rows}
	return out
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// propertyText writes what an obligation names, in the order of the names.
func propertyText(properties map[string]any) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		value, err := json.Marshal(properties[name])
		if err != nil {
			value = []byte("?")
		}
		out = append(out, name+" "+strings.Trim(string(value), `"`))
	}
	return strings.Join(out, ", ")
}
