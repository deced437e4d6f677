package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/report"
)

func newSubjectRecords(a *app) *cobra.Command {
	var server *adminServer
	var query client.RecordQuery
	command := &cobra.Command{
		Use:   "records",
		Short: "List records of the inventory",
		Long: `Records lists the inventory by id, a page at a time; the last line is the command for the next page.
What is wrong with it says attestd subject lint, what it comes to attestd subject report.`,
		Example: `  attestd subject records --text github:
  attestd subject records --tenant blue --limit 1000 -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			if query.Limit < 1 || query.Limit > 1000 {
				return usagef("give a number from 1 to 1000", "--limit is %d", query.Limit)
			}
			page, err := asking.Records(command.Context(), query)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, page)
			}
			return recordTable(page, nextPage(command, page.Next)).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&query.Text, "text", "", "`PART` of the id")
	flags.StringVar(&query.Tenant, "tenant", "", "one `TENANT` alone")
	flags.StringVar(&query.After, "after", "", "go on behind this `ID`")
	flags.IntVar(&query.Limit, "limit", 50, "most `LINES`, 1 to 1000")
	return command
}

func recordTable(page wire.Records, next string) report.Blocks {
	rows := report.Block{Heads: []string{"id", "tenant", "purpose", "owner", "policy", "credential"}}
	for _, one := range page.Records {
		credential := orDash(string(one.Credential))
		if one.Lifecycle == nhi.LifecycleRetired {
			credential = "retired"
		}
		rows.Rows = append(rows.Rows, []string{
			shortID(one.ID), orDash(one.Tenant), orDash(string(one.Purpose)), orDash(one.Owner),
			orDash(one.Policy), credential,
		})
	}
	out := report.Blocks{
		Lead:   []string{"RECORDS", fmt.Sprintf("%d shown", len(page.Records))},
		Blocks: []report.Block{rows}, Next: next,
	}
	switch {
	case next != "":
		out.Lead = append(out.Lead, "there are more")
	case len(page.Records) > 0:
		out.Next = "attestd subject lint"
	default:
		out.Notes = []string{"None that you may see is like that."}
		out.Next = "attestd subject import FILE --dry-run"
	}
	return out
}

func newSubjectRecord(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use:   "record ID",
		Short: "Show one record of the inventory",
		Long: `Record shows what the inventory says of an identity, how it stands now, and what lint finds. ID is
the whole id, as in spiffe://example.org/agent/rag or github:acme/train.yml.`,
		Example: `  attestd subject record github:acme/train.yml`,
		Args:    arguments(1, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			one, err := asking.Record(command.Context(), args[0])
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, one)
			}
			return recordText(one, a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	return command
}

func recordText(one wire.Record, now time.Time) report.Blocks {
	state := "no node stands behind it"
	switch {
	case !one.Seen.Known:
		state = "how it stands cannot be told"
	case one.Seen.Attested:
		state = "attested " + when(one.Seen.AttestedAt, now)
	case !strings.HasPrefix(one.Record.ID, "spiffe://"):
		state = "no SPIFFE ID"
	}
	out := report.Blocks{
		Lead: []string{"RECORD", shortID(one.Record.ID), state}, Good: len(one.Findings) == 0,
		Blocks: []report.Block{{Rows: recordRows(one.Record, now)}, findingRows(one.Findings)},
		Next:   "attestd why " + report.QuoteArg(one.Record.ID),
	}
	if len(one.Findings) > 0 {
		out.Next = "attestd subject lint"
	}
	return out
}

// recordRows are what a record says, the fields that it leaves empty too: those are what is
// missing.
func recordRows(one nhi.Record, now time.Time) [][]string {
	return [][]string{
		{"id", one.ID},
		{"tenant", orDash(one.Tenant) + "   project " + orDash(one.Project)},
		{"owner", orDash(one.Owner)},
		{"purpose", orDash(string(one.Purpose)) + "   stage " + orDash(one.Stage)},
		{"ring", orDash(one.Ring) + "   zone " + orDash(string(one.Zone))},
		{"tools", orDash(strings.Join(one.Tools, " "))},
		{"datasets", orDash(strings.Join(one.Datasets, " "))},
		{"policy", orDash(one.Policy)},
		{"credential", orDash(string(one.Credential)) + "   lifecycle " + orDash(string(one.Lifecycle))},
		{"written", when(one.Updated, now) + "   from " + orDash(one.Source)},
	}
}

func findingRows(found []nhi.Finding) report.Block {
	rows := report.Block{Heads: []string{"finding", "what it means", ""}}
	for _, one := range found {
		rows.Rows = append(rows.Rows, []string{string(one.Code), findingSpec(one.Code).Meaning, one.Detail})
	}
	return rows
}

// findingSpec returns what there is to say of a finding; one of a newer server says nothing.
func findingSpec(code nhi.FindingCode) nhi.FindingSpec {
	for _, spec := range nhi.FindingSpecs() {
		if spec.Code == code {
			return spec
		}
	}
	return nhi.FindingSpec{Code: code}
}

// inventoryOf returns the record of an identity where there is one that the asker may see.
func inventoryOf(ctx context.Context, asking *client.Client, id string) (wire.Record, bool, error) {
	one, err := asking.Record(ctx, id)
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		switch caller.Class {
		// None that is there, no inventory, and a server that knows of none.
		case attestd.ClassForbidden, attestd.ClassConfig, attestd.ClassUnsupported:
			return wire.Record{}, false, nil
		}
	}
	return one, err == nil, err
}

func newSubjectRetire(a *app) *cobra.Command {
	return newRecordOrder(a, "retire ID", "Say that an identity is in use no longer",
		`Retire writes into the record that its identity is in use no longer: decisions deny it from then
on. The record stays; attestd subject import with another lifecycle takes it back.`,
		`  attestd subject retire github:acme/train.yml --reason "replaced by a workload identity"`,
		(*client.Client).RetireRecord)
}

func newSubjectRemove(a *app) *cobra.Command {
	return newRecordOrder(a, "remove ID", "Take a record out of the inventory",
		`Remove takes a record out of the inventory. Decisions deny who has none.`,
		`  attestd subject remove github:acme/old.yml --reason "the repository is gone" --dry-run`,
		(*client.Client).RemoveRecord)
}

func newRecordOrder(a *app, use, short, long, example string, carryOut func(
	*client.Client, context.Context, wire.RecordOrder,
) (wire.RecordsChanged, error)) *cobra.Command {
	var server *adminServer
	ask := wire.RecordOrder{}
	command := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: arguments(1, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			ask.ID = args[0]
			done, err := carryOut(asking, command.Context(), ask)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, done)
			}
			text := changedText(done, "attestd subject records", again(command, "dry-run"))
			return text.Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&ask.Reason, "reason", "", "`WORDS` for the audit log")
	flags.BoolVar(&ask.DryRun, "dry-run", false, "say what would change, and change nothing")
	return command
}
