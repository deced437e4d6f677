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
	"github.com/attestd/attestd/internal/subject"
)

// decision is one of the commands that decide about one machine.
type decision struct {
	ask     wire.Decide
	expires string
	server  *adminServer
	done    string // first word of the answer
	call    func(*client.Client, context.Context, wire.Decide) (wire.Decided, error)
}

const keyArgument = "one KEY: kind:value, or the beginning of a value"

func newEnrollApprove(a *app) *cobra.Command {
	made := &decision{done: "APPROVED", call: (*client.Client).Approve}
	command := a.decides(made, &cobra.Command{
		Use:   "approve KEY",
		Short: "Enrol one machine",
		Long: `Approve enrols one machine: one that waits, one that was denied, or by its whole key one that
nobody has seen yet. KEY is kind:value as attestd enroll ls shows it, or the unique beginning of a
value of at least 6 characters. It takes effect with the machine's next evidence.`,
		Example: `  attestd enroll approve 9c41f3aa --label rack-3-host-7
  attestd enroll approve gce-project:acme-prod --tenant blue --expires 2027-01-31T00:00:00Z`,
	})
	flags := command.Flags()
	flags.StringVar(&made.ask.Tenant, "tenant", "", "`TENANT` whose it is (default: the one that it waits for)")
	flags.StringVar(&made.ask.Label, "label", "", "`NAME` that you call the machine")
	flags.StringVar(&made.expires, "expires", "", "`TIME` at which it ends, like 2027-01-31T00:00:00Z; never by default")
	return command
}

func newEnrollDeny(a *app) *cobra.Command {
	made := &decision{done: "DENIED", call: (*client.Client).Deny}
	command := a.decides(made, &cobra.Command{
		Use:   "deny KEY",
		Short: "Refuse one machine until it is approved or removed",
		Long: `Deny refuses one machine: a denial of any of its keys wins over every ownership, and it is not
queued again. What many machines share (host, gce-project, aws-role), and what nobody has seen,
only those who may act for every tenant can deny.

The subject of a denied machine (instance:) is suspect at once; what shares another denied key loses
its trust with its next evidence. Approving lifts a denial: what must stay out, quarantine.`,
		Example: `  attestd enroll deny 9c41f3aa --reason unlisted`,
	})
	command.Flags().StringVar(&made.ask.Label, "label", "", "`NAME` that you call the machine")
	return command
}

func newEnrollRemove(a *app) *cobra.Command {
	made := &decision{done: "REMOVED", call: (*client.Client).Remove}
	return a.decides(made, &cobra.Command{
		Use:   "rm KEY",
		Short: "Forget whose a machine is",
		Long: `Rm forgets an enrolment, a denial, or a machine that waits. The machine is nobody's then: the
subject of one that is named itself (instance:) is suspect at once, others lose their tenant with
their next evidence. It may ask again: what must stay out, quarantine.`,
		Example: `  attestd enroll rm instance:i-0123456789abcdef0-enc0123 --reason "sold"`,
	})
}

// decides makes a command of a decision.
func (a *app) decides(made *decision, command *cobra.Command) *cobra.Command {
	command.Args = arguments(1, 1, keyArgument)
	command.RunE = func(command *cobra.Command, args []string) error {
		form, err := a.form(formText, formJSON)
		if err != nil {
			return err
		}
		if made.ask.ExpiresAt, err = parseExpires(made.expires); err != nil {
			return err
		}
		made.ask.Key = args[0]
		asking, err := a.admin(made.server)
		if err != nil {
			return err
		}
		done, err := made.call(asking, command.Context(), made.ask)
		if err != nil {
			return err
		}
		if form == formJSON {
			return report.JSON(a.out, done)
		}
		return made.text(done, again(command, "dry-run"), a.now()).Text(a.out, a.page())
	}
	made.server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&made.ask.Reason, "reason", "", "`WHY`, for the audit log")
	flags.BoolVar(&made.ask.DryRun, "dry-run", false, "say what would change, and change nothing")
	command.ValidArgsFunction = a.completeKeys(made.server)
	return command
}

// completeKeys offers the keys that wait. Nothing is said where nobody answers.
func (a *app) completeKeys(
	s *adminServer,
) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(command *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		asked := *s
		asked.timeout = 250 * time.Millisecond
		asking, err := a.admin(&asked)
		if err != nil || len(args) > 0 {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(command.Context(), asked.timeout)
		defer cancel()
		page, err := asking.Enrolments(ctx, client.Query{Status: "pending", Limit: 100})
		if err != nil {
			return nil, directive
		}
		var keys []string
		for _, one := range page.Enrolments {
			if key := one.Key.String(); strings.HasPrefix(key, start) {
				keys = append(keys, cobra.CompletionWithDesc(key, one.Tenant+", "+one.Format))
			}
		}
		return keys, directive
	}
}

// text shows what was decided.
func (d *decision) text(done wire.Decided, really string, now time.Time) report.Blocks {
	one := done.Enrolment
	lead := []string{d.done, one.Key.String()}
	out := report.Blocks{Good: d.done == "APPROVED", Next: "attestd enroll ls --pending"}
	if done.DryRun {
		lead, out.Good, out.Next = []string{"WOULD BE " + d.done, one.Key.String()}, false, really
	}
	out.Lead = append(lead, "tenant "+one.Tenant)
	facts := [][]string{{"method", string(one.Method)}, {"source", one.Source}}
	if one.Label != "" {
		facts = append(facts, []string{"label", one.Label})
	}
	if !one.ExpiresAt.IsZero() {
		facts = append(facts, []string{"expires", when(one.ExpiresAt, now)})
	}
	out.Blocks = []report.Block{{Rows: facts}}
	out.Notes = []string{d.counts(one.Key)}
	return out
}

// counts says from when a decision counts.
func (d *decision) counts(key subject.Key) string {
	const later = "It counts with the machine's next evidence."
	switch {
	case d.done == "APPROVED":
		return later
	case key.Kind == string(subject.BarInstance):
		return "Its subject, if it has one, is suspect at once and gets no grant. What was issued before lives on; " +
			"what must stay out is for attestd quarantine."
	default:
		return later + " What was issued before lives on; attestd quarantine stops a machine now."
	}
}

// importedText shows what an import did.
func importedText(done wire.Imported, ask wire.Import, really string) report.Blocks {
	if len(done.Problems) > 0 {
		out := report.Blocks{
			Lead: []string{"REFUSED", ask.Source, "nothing was enrolled"}, Bad: true,
			Next: "attestd enroll import --help",
		}
		rows := make([][]string, len(done.Problems))
		for i, problem := range done.Problems {
			rows[i] = []string{problem}
		}
		out.Blocks = []report.Block{{Rows: rows}}
		return out
	}
	out := report.Blocks{
		Lead: []string{"IMPORTED", ask.Source, "tenant " + ask.Tenant}, Good: true,
		Blocks: []report.Block{{Rows: [][]string{
			{"added", fmt.Sprint(done.Added)}, {"updated", fmt.Sprint(done.Updated)},
			{"unchanged", fmt.Sprint(done.Same)},
		}}},
		Next: "attestd enroll ls --tenant " + report.QuoteArg(ask.Tenant),
	}
	if done.DryRun {
		out.Lead, out.Good = []string{"WOULD IMPORT", ask.Source, "tenant " + ask.Tenant}, false
		out.Next = really
	}
	entries := report.Block{Heads: []string{"key", "method", "label"}}
	for _, one := range done.Entries {
		entries.Rows = append(entries.Rows, []string{shownKey(one.Key), string(one.Method), one.Label})
	}
	out.Blocks = append(out.Blocks, entries)
	if more := done.Added + done.Updated - len(done.Entries); more > 0 {
		out.Notes = []string{fmt.Sprintf("and %d more", more)}
	}
	return out
}

// shownKey is a key as lists show it: of a long value the beginning, which stands for the whole.
func shownKey(key subject.Key) string {
	if len(key.Value) > 40 {
		key.Value = key.Value[:19] + ".."
	}
	return key.String()
}

// enrolmentsText shows one page.
func enrolmentsText(page wire.Enrolments, next string, now time.Time) report.Blocks {
	rows := report.Block{Heads: []string{"key", "tenant", "status", "since", "method", "label"}}
	waits := ""
	for _, one := range page.Enrolments {
		since, status := one.DecidedAt, string(one.Status)
		switch {
		case one.Status == subject.StatusPending:
			since = one.SeenAt
			status += fmt.Sprintf(" (%d)", one.Seen)
			if waits == "" {
				waits = shownKey(one.Key)
			}
		case !one.ExpiresAt.IsZero() && !now.Before(one.ExpiresAt):
			status = "expired"
		}
		rows.Rows = append(rows.Rows, []string{
			shownKey(one.Key), one.Tenant, status, age(now.Sub(since).Round(time.Second)) + " ago",
			string(one.Method), one.Label,
		})
	}
	out := report.Blocks{
		Lead:   []string{"ENROLMENTS", number(len(page.Enrolments), "machine", "machines")},
		Blocks: []report.Block{rows}, Next: next,
	}
	if waits != "" {
		out.Notes = []string{"pending (N): gave authentic evidence N times, and waits for approval."}
	}
	switch {
	case next != "":
		out.Lead = append(out.Lead, "there are more")
	case waits != "":
		out.Next = "attestd enroll approve " + report.QuoteArg(waits)
	default:
		out.Next = "attestd enroll import --help"
	}
	return out
}

// tokenText shows a token, or where it went.
func tokenText(made wire.Token, path string, now time.Time) report.Blocks {
	out := report.Blocks{
		Lead: []string{"TOKEN", made.ID, "tenant " + made.Tenant}, Good: true,
		Next: "attestd evidence tpm --server https://HOST:PORT --enrolment-token FILE",
	}
	kept := "valid until " + when(made.ExpiresAt, now) + ", once; it is not shown again"
	if path != "" {
		out.Blocks = []report.Block{{Rows: [][]string{{"file", path}, {"token", kept}}}}
		return out
	}
	out.Blocks = []report.Block{{Rows: [][]string{{made.Token}}}, {Rows: [][]string{{"token", kept}}}}
	return out
}
