package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/report"
)

// verifiedDecisions answers attestd decision verify.
type verifiedDecisions struct {
	Schema  string `json:"schema"`  // attestd.decision-verify.v1
	Verdict string `json:"verdict"` // whole or tampered
	journal.Verified
}

func newDecisionVerify(a *app) *cobra.Command {
	var auditFolder, key string
	command := &cobra.Command{
		Use:   "verify DIR",
		Short: "Show that no record was changed or taken away",
		Long: `Verify reads every record in DIR (state_dir/decisions, or a copy) and compares each file with what
the next one says that it was. What is deleted by decisions.records.keep and decisions.records.bytes
is the oldest, and no problem. That the newest were not taken away shows --audit, with an exported
audit log: it has the digest of each file. Where something is wrong it exits 3.`,
		Example: `  attestd decision verify /var/lib/attestd/decisions
  attestd decision verify /backup/decisions --audit /backup/audit --key audit.key.pub`,
		Args: arguments(1, 1, "one DIR"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			reader, err := journal.OpenReader(args[0])
			if err != nil {
				return err
			}
			var seals []journal.Seal
			if auditFolder != "" {
				if seals, err = a.seals(command.Context(), auditFolder, key); err != nil {
					return err
				}
			} else if key != "" {
				return usagef("give the exported log with --audit", "--key is the key of an audit log")
			}
			found, err := reader.Verify(command.Context(), seals)
			if err != nil {
				return hinted(err, "look whether the folder may be read")
			}
			answer := verifiedDecisions{Schema: "attestd.decision-verify.v1", Verdict: "whole", Verified: found}
			if found.Total > 0 {
				answer.Verdict, a.exit = "tampered", exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, answer)
			}
			return verifiedText(answer, len(seals), args[0]).Text(a.out, a.page())
		},
	}
	command.Flags().StringVar(&auditFolder, "audit", "", "`DIR` with an exported audit log")
	command.Flags().StringVar(&key, "key", "", "`FILE` with the public key of that log")
	return command
}

// seals reads the digests of files of records from an audit log that is whole.
func (a *app) seals(ctx context.Context, folder, key string) (seals []journal.Seal, err error) {
	log, err := a.openLog(ctx, auditFlags{key: key}, []string{folder})
	if err != nil {
		return nil, err
	}
	err = audit.Verify(ctx, log.source, log.checkpoint)
	var tampered *audit.TamperError
	if errors.As(err, &tampered) {
		return nil, notSigned(folder, err)
	}
	if err != nil {
		return nil, hinted(err, "attestd audit verify "+report.QuoteArg(folder))
	}
	for at := int64(0); at < log.checkpoint.Size; {
		leaves, err := log.source.Leaves(ctx, at, mostEntries)
		if err != nil || len(leaves) == 0 {
			return nil, hinted(err, "attestd audit verify "+report.QuoteArg(folder))
		}
		for _, leaf := range leaves {
			if seal, ok := journal.SealOf(audit.Read(leaf)); ok {
				seals = append(seals, seal)
			}
		}
		at += int64(len(leaves))
	}
	return seals, nil
}

func verifiedText(answer verifiedDecisions, seals int, folder string) report.Blocks {
	out := report.Blocks{
		Lead: []string{"WHOLE", fmt.Sprintf("%d records in %d files", answer.Records, answer.Segments)},
		Good: answer.Total == 0, Bad: answer.Total > 0,
		Next: "attestd decision replay --all --records " + report.QuoteArg(folder),
	}
	rows := [][]string{{"bytes", strconv.FormatInt(answer.Bytes, 10)}}
	if answer.Folded > 0 {
		rows = append(rows, []string{"counted", fmt.Sprintf("%d decisions in counts of alike ones", answer.Folded)})
	}
	if !answer.First.IsZero() {
		rows = append(rows, []string{"from", answer.First.UTC().Format(timeForm)},
			[]string{"to", answer.Last.UTC().Format(timeForm)})
	}
	rows = append(rows, []string{"policy sets", strconv.Itoa(len(answer.Policies))},
		[]string{"sealed", fmt.Sprintf("%d files compared with the audit log", answer.Sealed)})
	found := report.Block{Heads: []string{"file", "line", "what is wrong"}}
	if answer.Total > 0 {
		out.Lead = []string{"TAMPERED", fmt.Sprintf("%d problems", answer.Total),
			fmt.Sprintf("%d records in %d files", answer.Records, answer.Segments)}
		out.Next = ""
		out.Notes = []string{"Keep a copy of the folder as it is, and of every export of the audit log."}
		for _, one := range answer.Problems {
			line := "-"
			if one.Line > 0 {
				line = strconv.Itoa(one.Line)
			}
			found.Rows = append(found.Rows, []string{orNone(one.Segment), line, one.What})
		}
	}
	if seals == 0 {
		out.Notes = append(out.Notes, "That the newest records were not taken away shows --audit, with an exported "+
			"audit log.")
	}
	out.Blocks = []report.Block{found, {Rows: rows}}
	return out
}

// timeForm is a time to the second, in UTC.
const timeForm = "2006-01-02T15:04:05Z"
