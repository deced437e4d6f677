package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/subject"
)

func newSubject(a *app) *cobra.Command {
	group := nounGroup("subject", "Subjects: who there is, in which state, and what happened",
		newSubjectList(a), newSubjectShow(a), newSubjectHistory(a), newSubjectImport(a), newSubjectRecords(a),
		newSubjectRecord(a), newSubjectRetire(a), newSubjectRemove(a), newSubjectLint(a), newSubjectReport(a))
	group.Aliases = []string{"nhi"}
	return group
}

var (
	stateNames = []string{"unknown", "trusted", "suspect", "quarantined", "revoked"}
	tierNames  = []string{"unknown", "low", "medium", "high", "critical"}
)

func newSubjectList(a *app) *cobra.Command {
	var server *adminServer
	var query client.Query
	command := &cobra.Command{
		Use:   "ls",
		Short: "List subjects",
		Long: `Ls lists subjects by id, a page at a time; the last line is the command for the next page. Filters
are joined by "and"; within --state and --tier the names that commas part are joined by "or".`,
		Example: `  attestd subject ls --state quarantined,suspect
  attestd subject ls --text web- --format tpm --limit 20
  attestd subject ls --overdue -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if err := knownNames("state", query.States, stateNames); err != nil {
				return err
			}
			if err := knownNames("tier", query.Tiers, tierNames); err != nil {
				return err
			}
			if query.Limit < 1 || query.Limit > 1000 {
				return usagef("give a number from 1 to 1000", "--limit is %d", query.Limit)
			}
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			page, err := asking.Subjects(command.Context(), query)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, page)
			}
			return subjectTable(page, nextPage(command, page.Next), a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringSliceVar(&query.States, "state", nil, "`STATES` to show: "+strings.Join(stateNames, ", "))
	flags.StringSliceVar(&query.Tiers, "tier", nil, "`TIERS` of risk to show: "+strings.Join(tierNames, ", "))
	flags.StringVar(&query.Format, "format", "", "`FORMAT` of the evidence")
	flags.StringVar(&query.Host, "host", "", "`VALUE` of the host that they run on")
	flags.StringVar(&query.Text, "text", "", "`PART` of the id")
	flags.StringVar(&query.Tenant, "tenant", "", "one `TENANT` alone")
	flags.BoolVar(&query.Overdue, "overdue", false, "those whose fresh evidence is late")
	flags.StringVar(&query.After, "after", "", "go on behind this `ID`")
	flags.IntVar(&query.Limit, "limit", 50, "most `LINES`, 1 to 1000")
	complete(command, "state", stateNames...)
	complete(command, "tier", tierNames...)
	complete(command, "format", formatNames()...)
	return command
}

func knownNames(flag string, given, known []string) error {
	for _, name := range given {
		if !slices.Contains(known, name) {
			return usagef("give some of: "+strings.Join(known, ", "), "unknown --%s %q", flag,
				attestd.Excerpt(name, 40))
		}
	}
	return nil
}

// nextPage is the same command behind the last line; empty at the end.
func nextPage(command *cobra.Command, next string) string {
	if next == "" {
		return ""
	}
	return again(command, "after") + " --after " + report.QuoteArg(next)
}

func subjectTable(page wire.Subjects, next string, now time.Time) report.Blocks {
	rows := report.Block{Heads: []string{"id", "tenant", "state", "risk", "format", "evidence"}}
	for _, one := range page.Subjects {
		seen := "-"
		if !one.EvidenceAt.IsZero() {
			seen = age(now.Sub(one.EvidenceAt).Round(time.Second)) + " ago"
		}
		rows.Rows = append(rows.Rows, []string{
			shortID(string(one.ID)), one.Tenant, one.State.String(), one.Risk.String() + " " + one.Tier.String(),
			string(one.Format), seen,
		})
	}
	out := report.Blocks{Lead: []string{"SUBJECTS", fmt.Sprintf("%d shown", len(page.Subjects))},
		Blocks: []report.Block{rows}, Next: next}
	switch {
	case next != "":
		out.Lead = append(out.Lead, "there are more")
	case len(page.Subjects) > 0:
		out.Next = "attestd subject show " + typable(string(page.Subjects[0].ID), page.Subjects[0].Instance)
	default:
		out.Notes = []string{"None that you may see is like that."}
		out.Next = "attestd enroll ls --pending"
	}
	return out
}

func newSubjectShow(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use:   "show ID",
		Short: "Show one subject",
		Long: `Show prints what is known about a subject: state, risk with what adds up to it, hardware,
evidence, ownership, what is held against it, and its record of the inventory. ID is a SPIFFE ID, or
the unique beginning of an instance's value. An identity of the inventory alone, as that of a
pipeline, is shown by its record; with -o json that is attestd.record.v1.`,
		Example: `  attestd subject show spiffe://example.org/agent/web-1`,
		Args:    arguments(1, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			return a.showSubject(command.Context(), asking, args[0], form)
		},
	}
	server = a.adminFlags(command)
	command.ValidArgsFunction = a.completeIDs(server)
	return command
}

// showSubject shows what the registry and the inventory have of an id.
func (a *app) showSubject(ctx context.Context, asking *client.Client, id, form string) error {
	one, err := asking.Subject(ctx, id)
	if err == nil && form == formJSON {
		return report.JSON(a.out, one)
	}
	if err == nil {
		id = string(one.ID)
	}
	var caller *attestd.CallerError
	if err != nil && !(errors.As(err, &caller) && caller.Class == attestd.ClassForbidden) {
		return err
	}
	record, recorded, trouble := inventoryOf(ctx, asking, id)
	switch {
	case err != nil && !recorded:
		return err
	case err != nil && form == formJSON:
		return report.JSON(a.out, record)
	case err != nil:
		return recordText(record, a.now()).Text(a.out, a.page())
	}
	out := subjectText(one, a.now())
	switch {
	case trouble != nil:
		out.Notes = append(out.Notes, "inventory: not told: "+attestd.Excerpt(trouble.Error(), 200))
	case recorded:
		rows := recordRows(record.Record, a.now())[2:] // id and tenant stand there already
		out.Blocks = append(out.Blocks, report.Block{Rows: rows}, findingRows(record.Findings))
	default:
		out.Notes = append(out.Notes, "The inventory has no record of it that you may see.")
	}
	return out.Text(a.out, a.page())
}

func subjectText(one wire.Subject, now time.Time) report.Blocks {
	var facts [][]string
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, []string{name, value})
		}
	}
	if whole := string(one.ID); shortID(whole) != whole {
		add("id", whole)
	}
	add("tenant", one.Tenant+"   by "+string(one.Ownership))
	add("format", string(one.Format))
	add("instance", one.Instance)
	add("boot", one.Boot)
	add("host", one.Host)
	add("evidence", when(one.EvidenceAt, now))
	add("due", when(one.DueAt, now))
	add("first seen", when(one.FirstSeen, now))
	add("changed", when(one.ChangedAt, now))
	add("risk epoch", fmt.Sprintf("%d   generation %d", one.Epoch, one.Generation))
	add("verdict", one.Appraisal)
	add("sha256", one.Evidence)
	risks := report.Block{Heads: []string{"points", "check", "why"}, Rows: riskRows(one, now)}
	holds := report.Block{Heads: []string{"hold", "state", "why"}}
	for _, bar := range one.Bars {
		text := bar.Reason
		if bar.Ticket != "" {
			text += " [" + bar.Ticket + "]"
		}
		text += ", by " + bar.By + " " + when(bar.At, now)
		if bar.Automatic {
			text += ", by itself (" + string(bar.Code) + ")"
		}
		holds.Rows = append(holds.Rows, []string{shortKey(bar.Key, one.ID), bar.State.String(), text})
	}
	id := typable(string(one.ID), one.Instance)
	out := report.Blocks{
		Lead: []string{strings.ToUpper(one.State.String()), shortID(string(one.ID)),
			"risk " + one.Risk.String() + " " + one.Tier.String()},
		Good: one.State.Grants(), Bad: !one.State.Grants(),
		Blocks: []report.Block{{Rows: facts}, risks, holds}, Next: "attestd why " + id,
	}
	if one.State.Grants() {
		out.Next = "attestd subject history " + id
	}
	return out
}

// riskRows are the reasons that the risk is the sum of, those of signals with whence and until when. A
// signal that is not among them adds nothing beside a stronger one of its cause, or has ended.
func riskRows(one wire.Subject, now time.Time) (rows [][]string) {
	signals := slices.Clone(one.Signals)
	for _, reason := range one.Risks {
		text := reason.Detail
		for i, signal := range signals {
			if string(reason.Check) == "subject/"+string(signal.Code) && reason.Detail == signal.Detail {
				text, signals = signalText(signal, now), slices.Delete(signals, i, i+1)
				break
			}
		}
		rows = append(rows, []string{fmt.Sprintf("+%d", reason.Points), string(reason.Check), text})
	}
	for _, signal := range signals {
		rows = append(rows, []string{"-", "subject/" + string(signal.Code),
			signalText(signal, now) + "; adds nothing"})
	}
	return rows
}

func signalText(signal subject.Signal, now time.Time) string {
	text := signal.Detail + ", from " + signal.Source + " " + when(signal.At, now)
	if !signal.Until.IsZero() {
		text += ", until " + when(signal.Until, now)
	}
	return text
}

// shortKey leaves out the name that stands in the first line already.
func shortKey(key string, id subject.ID) string {
	if key == id.Key().String() {
		return string(subject.BarSubject)
	}
	return key
}

func newSubjectHistory(a *app) *cobra.Command {
	var server *adminServer
	var after string
	var limit int
	command := &cobra.Command{
		Use:     "history ID",
		Short:   "Show what happened to a subject, the newest first",
		Long:    `History lists what changed a subject: when, from which state to which, by whom, and why.`,
		Example: `  attestd subject history spiffe://example.org/agent/web-1 --limit 10`,
		Args:    arguments(1, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if limit < 1 || limit > 1000 {
				return usagef("give a number from 1 to 1000", "--limit is %d", limit)
			}
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			history, err := asking.History(command.Context(), args[0], after, limit)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, history)
			}
			return historyText(args[0], history, nextPage(command, history.Next), a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	command.Flags().StringVar(&after, "after", "", "go on behind this `MARK` of the page before")
	command.Flags().IntVar(&limit, "limit", 50, "most `LINES`, 1 to 1000")
	command.ValidArgsFunction = a.completeIDs(server)
	return command
}

func historyText(id string, history wire.History, next string, now time.Time) report.Blocks {
	rows := report.Block{Heads: []string{"at", "what", "state", "risk", "by", ""}}
	for _, one := range history.Events {
		state := one.To.String()
		if one.From != one.To {
			state = one.From.String() + " -> " + state
		}
		rows.Rows = append(rows.Rows, []string{
			one.At.UTC().Format(time.RFC3339), one.Kind, state, one.Risk.String(), one.Actor, one.Detail,
		})
	}
	out := report.Blocks{
		Lead:   []string{"HISTORY", shortID(id), number(len(history.Events), "event", "events")},
		Blocks: []report.Block{rows}, Next: next,
	}
	if len(history.Events) > 0 {
		out.Lead = append(out.Lead, "newest "+when(history.Events[0].At, now))
	}
	if next == "" {
		out.Next = look("attestd why", id)
	}
	return out
}
