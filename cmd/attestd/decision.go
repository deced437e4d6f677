package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	pdp "github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/subject"
)

func newDecision(a *app) *cobra.Command {
	return nounGroup("decision", "Decisions: what was asked, what was answered, and why",
		newDecisionList(a), newDecisionShow(a), newDecisionReplay(a), newDecisionVerify(a))
}

// decisionSource is where records of decisions are read: a server, or a folder.
type decisionSource interface {
	Decision(ctx context.Context, id string) (wire.Decisions, error)
	Decisions(ctx context.Context, query client.DecisionQuery) (wire.Decisions, error)
	Replay(ctx context.Context, id string) (wire.Replayed, error)
	ReplayAll(ctx context.Context, query client.DecisionQuery) (wire.Replayed, error)
}

// decisionFlags say whose records are meant.
type decisionFlags struct {
	server  *adminServer
	records string
}

func (a *app) decisionFlags(command *cobra.Command) *decisionFlags {
	flags := &decisionFlags{server: a.adminFlags(command)}
	command.Flags().StringVar(&flags.records, "records", "",
		"`DIR` with records, as state_dir/decisions, in place of a server")
	return flags
}

func (a *app) decisions(flags *decisionFlags) (decisionSource, error) {
	if flags.records == "" {
		return a.admin(flags.server)
	}
	reader, err := journal.OpenReader(flags.records)
	if err != nil {
		return nil, err
	}
	replayer, err := journal.NewReplayer(reader, storedPolicies, pdp.Judge)
	return recordFolder{replayer}, err
}

// recordFolder reads the records of a folder. Who may read the folder may read all of it.
type recordFolder struct{ records *journal.Replayer }

var everyTenant = []string{journal.AllTenants}

func (r recordFolder) find(ctx context.Context, id string) (journal.Record, error) {
	one, err := r.records.Find(ctx, id, everyTenant)
	if errors.Is(err, journal.ErrNone) {
		return one, usagef("attestd decision ls --records DIR lists those that there are", "%s: %w",
			attestd.Excerpt(id, 60), err)
	}
	return one, hinted(err, "look whether the folder may be read")
}

func (r recordFolder) Decision(ctx context.Context, id string) (wire.Decisions, error) {
	one, err := r.find(ctx, id)
	return wire.Decisions{Schema: "attestd.decisions.v1", Decisions: []journal.Record{one}}, err
}

func (r recordFolder) Decisions(ctx context.Context, query client.DecisionQuery) (wire.Decisions, error) {
	page, err := r.records.List(ctx, folderQuery(query))
	return wire.Decisions{
		Schema: "attestd.decisions.v1", Decisions: append([]journal.Record{}, page.Records...), Next: page.Next,
	}, hinted(err, "look whether the folder may be read")
}

func (r recordFolder) Replay(ctx context.Context, id string) (wire.Replayed, error) {
	one, err := r.find(ctx, id)
	if err != nil {
		return wire.Replayed{}, err
	}
	replayed, err := r.records.Replay(&one)
	if err != nil {
		return wire.Replayed{}, err
	}
	run := journal.Run{Same: 1, Changed: []journal.Replayed{}}
	if !replayed.Same {
		run = journal.Run{Different: 1, Changed: []journal.Replayed{replayed}}
	}
	return replayAnswer(run), nil
}

func (r recordFolder) ReplayAll(ctx context.Context, query client.DecisionQuery) (wire.Replayed, error) {
	run, err := r.records.ReplayPage(ctx, folderQuery(query))
	return replayAnswer(run), err
}

func replayAnswer(run journal.Run) wire.Replayed {
	return wire.Replayed{Schema: "attestd.replay.v1", Verdict: wire.Verdict(run), Run: run}
}

func folderQuery(query client.DecisionQuery) journal.Query {
	selected := journal.Query{
		Tenants: everyTenant, Since: query.Since, Until: query.Until, Decision: query.Decision,
		Reason: pdp.Code(query.Reason), Subject: subject.ID(query.Subject), Enforcer: query.Enforcer,
		Action: query.Action, ATLAS: query.ATLAS, Oldest: query.Oldest, After: query.After, Limit: query.Limit,
	}
	if query.Tenant != "" {
		selected.Tenants = []string{query.Tenant}
	}
	return selected
}

// decisionFilter are the flags that select decisions.
type decisionFilter struct {
	query        client.DecisionQuery
	since, until string
}

func (f *decisionFilter) define(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.query.Reason, "reason", "", "`CODE` of the denial")
	flags.StringVar(&f.query.Subject, "subject", "", "SPIFFE `ID` of the caller")
	flags.StringVar(&f.query.Tenant, "tenant", "", "one `TENANT` alone")
	flags.StringVar(&f.query.ATLAS, "atlas", "", "`ID` of a technique, as AML.T0053")
	flags.StringVar(&f.query.Enforcer, "enforcer", "", "`NAME` of the enforcement point")
	flags.StringVar(&f.query.Action, "action", "", "`NAME` of the action")
	flags.StringVar(&f.query.Decision, "decision", "", "`allow` or deny")
	flags.StringVar(&f.since, "since", "", "from that `TIME` on: a duration back, or as 2026-03-01T12:00:00Z")
	flags.StringVar(&f.until, "until", "", "before that `TIME`")
	complete(command, "decision", journal.Allow, journal.Deny)
	codes := make([]string, 0, len(pdp.Specs()))
	for _, one := range pdp.Specs() {
		codes = append(codes, string(one.Code))
	}
	complete(command, "reason", codes...)
}

// read returns the query as the flags have it.
func (f *decisionFilter) read(now time.Time) (query client.DecisionQuery, err error) {
	query = f.query
	code := pdp.Code(query.Reason)
	if code != "" && pdp.SpecOf(code).Code != code {
		return query, usagef("docs/reference/reasons.md lists the codes", "unknown --reason %q",
			attestd.Excerpt(query.Reason, 60))
	}
	if err := knownNames("decision", strings.Fields(query.Decision), []string{journal.Allow, journal.Deny}); err != nil {
		return query, err
	}
	if query.Since, err = moment("since", f.since, now); err == nil {
		query.Until, err = moment("until", f.until, now)
	}
	return query, err
}

// moment reads a time, or a duration back from now.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if back, err := time.ParseDuration(text); err == nil && back >= 0 {
		return now.Add(-back), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, usagef("give a duration as 1h30m, or a time as 2026-03-01T12:00:00Z", "--%s is %q", flag,
			attestd.Excerpt(text, 60))
	}
	return at, nil
}
