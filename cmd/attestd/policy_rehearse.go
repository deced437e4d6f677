package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	pdp "github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/decision/rehearse"
	"github.com/attestd/attestd/internal/report"
)

// rehearsalDoc answers attestd policy rehearse.
type rehearsalDoc struct {
	Schema string `json:"schema"` // attestd.rehearsal.v1
	// Verdict is same, different, undecided or nothing.
	Verdict string `json:"verdict"`
	Source  string `json:"source"`
	Digest  string `json:"digest"`
	// Decisions is how many there were, First and Last when.
	Decisions int64     `json:"decisions"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	rehearse.Result
}

func newPolicyRehearse(a *app) *cobra.Command {
	var flags *decisionFlags
	var filter decisionFilter
	command := &cobra.Command{
		Use:   "rehearse DIR",
		Short: "Judge recorded decisions again by new policies, and show who would change",
		Long: `Rehearse reads records of decisions, the newest first, and judges what each rested on by the
policies of DIR (or the word standard), which are not put in force. It shows who would be answered
otherwise: what would be newly allowed first, then what would be newly denied, then other reasons
and obligations. Filters are those of attestd decision ls; without one all that is kept is judged.

What was counted in a flood and not written, and a record that something was taken out of, cannot
be judged again: it is counted as that.

Exit code 0 is no change; 3 a change; 4 that nothing changed as far as could be told, as not every
decision could be judged again or there was none. Rehearse shows what was asked, not what may be
asked tomorrow: for that, attestd policy test.`,
		Example: `  attestd policy rehearse policies.new --since 168h
  attestd policy rehearse policies.new --records /backup/decisions -o json
  attestd policy rehearse standard --tenant acme --decision allow`,
		Args: arguments(1, 1, "one DIR"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			query, err := filter.read(a.now())
			if err != nil {
				return err
			}
			set, err := a.policySet(args[0])
			if err != nil {
				return err
			}
			source, err := a.decisions(flags)
			if err != nil {
				return err
			}
			doc := rehearsalDoc{Schema: "attestd.rehearsal.v1", Source: args[0], Digest: set.Digest()}
			if err := a.rehearse(command.Context(), source, query, set, &doc); err != nil {
				return err
			}
			a.exit = exitOfRehearsal(doc.Verdict)
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return doc.text(flags.records).Text(a.out, a.page())
		},
	}
	flags = a.decisionFlags(command)
	filter.define(command)
	return command
}

func exitOfRehearsal(verdict string) int {
	switch verdict {
	case rehearse.VerdictSame:
		return exitAccepted
	case rehearse.VerdictDifferent:
		return exitRejected
	}
	return exitUndecided
}

const (
	// rehearsalPage is how many records are asked for at once: some megabytes.
	rehearsalPage = 500
	// progressAfter is when those who wait are told how far it is, and how often from then on.
	progressAfter = 2 * time.Second
)

// rehearse judges every record that a query selects. The newest come first, so that what is decided
// meanwhile does not keep it from ending.
func (a *app) rehearse(
	ctx context.Context, source decisionSource, query client.DecisionQuery, set pdp.PolicySet, doc *rehearsalDoc,
) error {
	run, err := rehearse.New(set, pdp.Judge)
	if err != nil {
		return err
	}
	told := a.now()
	for query.Limit = rehearsalPage; ; {
		page, err := source.Decisions(ctx, query)
		if err != nil {
			return err
		}
		for index := range page.Decisions {
			run.Add(&page.Decisions[index])
			doc.span(&page.Decisions[index])
		}
		if page.Next == "" {
			break
		}
		if page.Next == query.After {
			return usagef("check that --server names an attestd of this version: attestd version",
				"the records do not go on behind %q", attestd.Excerpt(query.After, 40))
		}
		query.After = page.Next
		if a.now().Sub(told) >= progressAfter && !a.flags.quiet {
			told = a.now()
			// Standard error may be gone; that is no reason to withhold the answer.
			_ = report.Remark(a.err, report.Page{Width: a.page().Width}, "progress", fmt.Sprintf("%s, back to %s",
				counted(int(run.Totals().Decisions()), "decision", "decisions"), doc.First.UTC().Format(timeForm)))
		}
	}
	doc.Result = run.Result()
	doc.Verdict, doc.Decisions = doc.Totals.Verdict(), doc.Totals.Decisions()
	return nil
}

// span widens the time that the decisions are of.
func (d *rehearsalDoc) span(one *journal.Record) {
	last := one.At
	if one.Folded() {
		last = one.Last
	}
	if d.First.IsZero() || one.At.Before(d.First) {
		d.First = one.At
	}
	if last.After(d.Last) {
		d.Last = last
	}
}

// mostGroupsShown is how many changes of a kind the text shows; JSON has them all.
const mostGroupsShown = 25

// text lays a rehearsal out; records is the folder that it read, or empty.
func (d rehearsalDoc) text(records string) report.Blocks {
	out := report.Blocks{
		Lead: []string{"NO CHANGE", counted(int(d.Decisions), "decision", "decisions") + " rehearsed"},
		Good: d.Verdict == rehearse.VerdictSame, Bad: d.Verdict == rehearse.VerdictDifferent,
		Next: "attestd policy test " + report.QuoteArg(d.Source) + " CASES.yaml",
	}
	t := d.Totals
	switch d.Verdict {
	case rehearse.VerdictNothing:
		out.Lead = []string{"NOTHING", "no decision that is kept, and that you may see, is like that"}
		out.Next = "attestd decision ls"
	case rehearse.VerdictUndecided:
		out.Next = "attestd decision ls"
		out.Lead = []string{"UNDECIDED", fmt.Sprintf("%d of %d could not be rehearsed", t.Undecided(), d.Decisions),
			"no change in the others"}
	case rehearse.VerdictDifferent:
		out.Lead = []string{"CHANGES", fmt.Sprintf("%d of %d", t.Changed(), d.Decisions),
			fmt.Sprintf("%d newly allowed", t.NewlyAllowed), fmt.Sprintf("%d newly denied", t.NewlyDenied)}
		out.Next = "attestd decision show " + d.Changes[0].Example.String()
	}
	if records != "" && d.Verdict != rehearse.VerdictSame {
		out.Next += " --records " + report.QuoteArg(records)
	}
	for _, kind := range rehearse.Kinds() {
		out.Blocks = append(out.Blocks, d.changes(kind))
	}
	out.Blocks = append(out.Blocks, d.counts())
	if d.Engine > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%d of the changes were decided by these very policies: "+
			"this attestd decides otherwise than the one that wrote the records (attestd decision replay --all).",
			d.Engine))
	}
	if t.Undecided() > 0 {
		out.Notes = append(out.Notes, "What could not be rehearsed may change as well: "+
			"the counts say no more of it.")
	}
	return out
}

var kindWords = map[rehearse.Kind]string{
	rehearse.NewlyAllowed: "newly allowed", rehearse.NewlyDenied: "newly denied",
	rehearse.Otherwise: "for another reason, or bound otherwise",
}

// changes are two lines for each group: who asks for what, and what becomes of it.
func (d rehearsalDoc) changes(kind rehearse.Kind) report.Block {
	block := report.Block{Heads: []string{"count", kindWords[kind]}}
	shown, groups, decisions := 0, 0, d.More[kind]
	for _, one := range d.Changes {
		if one.Kind != kind {
			continue
		}
		if shown == mostGroupsShown {
			groups++
			decisions += one.Count
			continue
		}
		shown++
		who := orNone(shortID(string(one.Subject)))
		asks := one.Action + " " + one.Resource.Type + " " + attestd.Excerpt(one.Resource.ID, 80)
		if one.Resource.Tenant != "" {
			asks += " of " + one.Resource.Tenant
		}
		becomes := one.Was + " -> " + one.WouldBe
		if len(one.Policies) > 0 {
			becomes += ", by " + strings.Join(one.Policies, ", ")
		}
		block.Rows = append(block.Rows, []string{strconv.FormatInt(one.Count, 10), who + "  " + asks},
			[]string{"", attestd.Excerpt(becomes, 300) + ", as in " + one.Example.String()[:briefID]})
	}
	if decisions > 0 {
		more := "in groups that are not told apart"
		if groups > 0 {
			more = fmt.Sprintf("in %d groups or more: -o json", groups)
		}
		block.Rows = append(block.Rows, []string{strconv.FormatInt(decisions, 10), "and more, " + more})
	}
	return block
}

// counts say what became of every decision that was read.
func (d rehearsalDoc) counts() report.Block {
	var block report.Block
	t := d.Totals
	add := func(name string, count int64) {
		if count > 0 || name == "same" {
			block.Rows = append(block.Rows, []string{name, strconv.FormatInt(count, 10)})
		}
	}
	if d.Decisions == 0 {
		return block
	}
	add("same", t.Same)
	add("newly allowed", t.NewlyAllowed)
	add("newly denied", t.NewlyDenied)
	add("otherwise", t.Otherwise)
	add("not rehearsed: counted in a flood", t.Folded)
	add("not rehearsed: no input", t.NoInput)
	add("not rehearsed: a text was taken out", t.Scrubbed)
	block.Rows = append(block.Rows, []string{"from", d.First.UTC().Format(timeForm)},
		[]string{"to", d.Last.UTC().Format(timeForm)}, []string{"by", d.Source + " " + d.Digest})
	return block
}
