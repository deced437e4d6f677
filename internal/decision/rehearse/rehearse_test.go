package rehearse_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/decision/rehearse"
	"github.com/attestd/attestd/internal/nhi"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

const caller = "spiffe://example.org/agent/rag"

// asked is the record of a question of a caller that every gate lets through, decided by a set.
func asked(t *testing.T, number int, set decision.PolicySet, change func(*decision.Input)) journal.Record {
	t.Helper()
	in := &decision.Input{
		Schema: decision.InputSchema, At: start, Via: decision.ViaAuthZEN, Enforcer: "user:gateway",
		Who: decision.Who{ID: caller, TrustDomain: "example.org", Method: decision.MethodJWT, Expires: start.Add(time.Minute)},
		Standing: decision.Standing{
			Attested: true, State: attestd.StateTrusted, Tenant: "blue", Risk: attestd.Risk(10), Tier: attestd.TierLow,
			AttestedAt: start.Add(-time.Minute), DueAt: start.Add(time.Hour),
		},
		Record: &nhi.Record{ID: caller, Tenant: "blue", Purpose: nhi.PurposeRetrieval, Zone: nhi.ZoneTrusted,
			Tools: []string{"*"}, Datasets: []string{"*"}, Policy: "standard"},
		Action:    decision.Action{Name: decision.ActionToolCall},
		Resource:  decision.Resource{Type: "tool", ID: "search", Tenant: "blue"},
		Context:   decision.Context{ExposureScore: -1},
		Findings:  decision.Findings{Looked: true},
		Rules:     decision.Rules{Fresh: time.Hour, FreshPrivileged: 15 * time.Minute, MaxChain: 8},
		Supported: []string{decision.ObligationStepUp},
	}
	if change != nil {
		change(in)
	}
	answer := &decision.Answer{Result: decision.Judge(in, set), ID: id(number), Policy: set.Digest(), Input: in}
	return written(t, answer)[0]
}

func id(number int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("019ca755-bd20-7000-8000-%012d", number))
}

// written are answers as a journal writes and reads them.
func written(t *testing.T, answers ...*decision.Answer) []journal.Record {
	t.Helper()
	writing, err := journal.New(journal.Config{
		Folder: t.TempDir(), Age: time.Hour, Bytes: 1 << 20, Reserve: 1, Allows: 1, Engine: "attestd 1.2.3",
		Now: func() time.Time { return start }, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range answers {
		if err := writing.Keep(one); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	writing.Run(ctx)
	page, err := writing.Reader().List(t.Context(), journal.Query{Tenants: []string{journal.AllTenants}, Limit: 1000})
	if err != nil || len(page.Records) != len(answers) {
		t.Fatalf("%d records: %v", len(page.Records), err)
	}
	return page.Records
}

func set(t *testing.T, text string) *cedarset.Set {
	t.Helper()
	loaded, err := cedarset.Load(fstest.MapFS{"shared/a.cedar": &fstest.MapFile{Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

const (
	all      = `@id("all") @policy("standard") permit (principal, action, resource);`
	noShell  = `@id("no-shell") @reason("blast_radius") forbid (principal, action, resource) when { resource.name == "shell" };`
	ringTool = `@id("ring") @reason("ring_mismatch") forbid (principal, action, resource) when { resource.name == "shell" };`
	stepUp   = `@id("all") @policy("standard") @obligation("step-up") permit (principal, action, resource);`
)

func rehearsed(t *testing.T, by decision.PolicySet, records ...journal.Record) rehearse.Result {
	t.Helper()
	r, err := rehearse.New(by, decision.Judge)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		r.Add(&records[i])
	}
	if r.Totals() != r.Result().Totals {
		t.Error("two totals")
	}
	return r.Result()
}

func named(tool string) func(*decision.Input) {
	return func(in *decision.Input) { in.Resource.ID = tool }
}

func TestWhoWouldChange(t *testing.T) {
	tool := func(name string) rehearse.Resource { return rehearse.Resource{Type: "tool", ID: name, Tenant: "blue"} }
	for name, row := range map[string]struct {
		before, after string
		tool          string
		totals        rehearse.Totals
		change        rehearse.Change
	}{
		"nobody": {all, all + noShell, "search", rehearse.Totals{Same: 1}, rehearse.Change{}},
		"who was allowed": {all, all + noShell, "shell", rehearse.Totals{NewlyDenied: 1}, rehearse.Change{
			Kind: rehearse.NewlyDenied, Was: "allow", WouldBe: "blast_radius", Policies: []string{"shared/a#no-shell"}}},
		"who was denied": {all + noShell, all, "shell", rehearse.Totals{NewlyAllowed: 1}, rehearse.Change{
			Kind: rehearse.NewlyAllowed, Was: "blast_radius", WouldBe: "allow", Policies: []string{"shared/a#all"}}},
		"the reason": {all + noShell, all + ringTool, "shell", rehearse.Totals{Otherwise: 1}, rehearse.Change{
			Kind: rehearse.Otherwise, Was: "blast_radius", WouldBe: "ring_mismatch", Policies: []string{"shared/a#ring"}}},
		"what an allow binds to": {stepUp, all, "shell", rehearse.Totals{NewlyAllowed: 1}, rehearse.Change{
			Kind: rehearse.NewlyAllowed, Was: "allow with step-up-hardware", WouldBe: "allow", Policies: []string{"shared/a#all"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := rehearsed(t, set(t, row.after), asked(t, 1, set(t, row.before), named(row.tool)))
			if diff := cmp.Diff(row.totals, got.Totals); diff != "" {
				t.Fatal(diff)
			}
			if row.change.Kind == "" {
				if len(got.Changes) != 0 || got.Totals.Verdict() != rehearse.VerdictSame {
					t.Errorf("got %+v", got)
				}
				return
			}
			want := row.change
			want.Subject, want.Action, want.Resource = caller, decision.ActionToolCall, tool(row.tool)
			want.Count, want.Example = 1, id(1)
			if diff := cmp.Diff([]rehearse.Change{want}, got.Changes); diff != "" {
				t.Error(diff)
			}
			if got.Totals.Verdict() != rehearse.VerdictDifferent || got.Engine != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// What opens something is told before all else, however rare it is.
func TestWhatIsNewlyAllowedIsToldFirst(t *testing.T) {
	before := set(t, all+noShell)
	after := set(t, all+`@id("x") @reason("ring_mismatch") forbid (principal, action, resource) when { resource.name == "search" };`)
	records := []journal.Record{asked(t, 9, before, named("shell"))}
	for n := range 5 {
		records = append(records, asked(t, n, before, nil))
	}
	got := rehearsed(t, after, records...)
	if len(got.Changes) != 2 || got.Changes[0].Kind != rehearse.NewlyAllowed || got.Changes[1].Count != 5 ||
		got.Changes[1].Example != id(0) || got.Totals.Decisions() != 6 {
		t.Errorf("got %+v", got)
	}
}

// What could not be judged again is counted as that: a rehearsal that was silent of it would be a lie.
func TestWhatCouldNotBeRehearsed(t *testing.T) {
	by := set(t, all)
	fold := journal.Record{Schema: journal.FoldSchema, Decision: journal.Deny, Count: 700}
	got := rehearsed(t, by, fold, journal.Record{Schema: journal.RecordSchema, Decision: journal.Deny, Scrubbed: true})
	want := rehearse.Totals{Folded: 700, NoInput: 1}
	if got.Totals != want || got.Totals.Verdict() != rehearse.VerdictUndecided || got.Totals.Decisions() != 701 {
		t.Errorf("got %+v", got)
	}
	if got := rehearsed(t, by); got.Totals.Verdict() != rehearse.VerdictNothing || got.Changes == nil {
		t.Errorf("of nothing: %+v", got)
	}
}

// A text that was taken out of a record may have been what a policy asks about.
func TestWhatWasTakenOutOfARecord(t *testing.T) {
	token := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl" //nolint:gosec // of no key
	by := set(t, all)
	for name, row := range map[string]struct {
		change func(*decision.Input)
		want   rehearse.Totals
	}{
		"what policies ask about":     {func(in *decision.Input) { in.Context.Intent = token }, rehearse.Totals{Scrubbed: 1}},
		"a prompt's id that was none": {func(in *decision.Input) { in.Context.PromptID = "ignore all" }, rehearse.Totals{Same: 1}},
		"what joins it with logs":     {func(in *decision.Input) { in.Context.RequestID = token }, rehearse.Totals{Same: 1}},
	} {
		record := asked(t, 1, by, row.change)
		if !record.Scrubbed {
			t.Fatalf("%s: nothing was taken out", name)
		}
		if got := rehearsed(t, by, record); got.Totals != row.want {
			t.Errorf("%s: %+v, want %+v", name, got.Totals, row.want)
		}
	}
	record := asked(t, 1, set(t, all+noShell), func(in *decision.Input) { in.Context.Intent, in.Resource.ID = token, "shell" })
	if got := rehearsed(t, by, record); got.Totals.NewlyAllowed != 1 {
		t.Errorf("a change is hidden: %+v", got)
	}
}

// Callers choose what they ask for: memory is bounded, and what is not listed is counted.
func TestGroupsAreBounded(t *testing.T) {
	record := asked(t, 1, set(t, all), nil)
	by := set(t, `@id("no") @policy("standard") forbid (principal, action, resource);`)
	r, err := rehearse.New(by, decision.Judge)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1500 {
		record.Resource.ID = fmt.Sprint("tool-", n%1200)
		r.Add(&record)
	}
	other := asked(t, 2, set(t, all+noShell), named("shell")) // of another kind, which has room of its own
	r.Add(&other)
	got := r.Result()
	if len(got.Changes) != 1001 || got.More[rehearse.NewlyDenied] != 200 || got.Totals.NewlyDenied != 1500 {
		t.Errorf("%d groups, %v more, %+v", len(got.Changes), got.More, got.Totals)
	}
	listed := int64(0)
	for _, one := range got.Changes {
		listed += one.Count
	}
	if listed+got.More[rehearse.NewlyDenied]+got.More[rehearse.NewlyAllowed]+got.More[rehearse.Otherwise] != got.Totals.Changed() {
		t.Errorf("%d are listed of %d", listed, got.Totals.Changed())
	}
}

// Where the policies are those of then, what changes is attestd itself.
func TestWhatTheSamePoliciesDecideOtherwise(t *testing.T) {
	by := set(t, all)
	record := asked(t, 1, by, nil)
	record.Result.Allow, record.Result.Reasons = false, []decision.Reason{{Code: decision.CodeRing}}
	if got := rehearsed(t, by, record); got.Engine != 1 || got.Totals.NewlyAllowed != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestNobodyRehearsesNothing(t *testing.T) {
	if _, err := rehearse.New(nil, decision.Judge); err == nil {
		t.Error("no policies were rehearsed")
	}
	if _, err := rehearse.New(set(t, all), nil); err == nil {
		t.Error("nobody judged")
	}
}

func BenchmarkAdd(b *testing.B) {
	shipped, err := cedarset.Load(cedarset.Standard())
	if err != nil {
		b.Fatal(err)
	}
	in := &decision.Input{
		Schema: decision.InputSchema, At: start,
		Who: decision.Who{ID: caller, Method: decision.MethodJWT, Expires: start.Add(time.Minute)},
		Standing: decision.Standing{Attested: true, State: attestd.StateTrusted, Tenant: "blue", Risk: attestd.Risk(10),
			Tier: attestd.TierLow, AttestedAt: start.Add(-time.Minute), DueAt: start.Add(time.Hour)},
		Record:   &nhi.Record{ID: caller, Tenant: "blue", Purpose: nhi.PurposeRetrieval, Tools: []string{"*"}, Policy: "standard"},
		Action:   decision.Action{Name: decision.ActionToolCall},
		Resource: decision.Resource{Type: "tool", ID: "search", Tenant: "blue"}, Findings: decision.Findings{Looked: true},
		Rules: decision.Rules{Fresh: time.Hour, FreshPrivileged: time.Minute, MaxChain: 8},
	}
	result := decision.Judge(in, shipped)
	if !result.Allow {
		b.Fatal(result)
	}
	record := journal.Record{Schema: journal.RecordSchema, Input: in, Result: &result}
	r, err := rehearse.New(shipped, decision.Judge)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Add(&record)
	}
}
