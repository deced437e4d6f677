package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	pdp "github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/decision/rehearse"
)

// decided is a question that every gate lets through, answered by the policies of a folder.
func decided(t *testing.T, number int, folder string, change func(*pdp.Input)) *pdp.Answer {
	t.Helper()
	set, err := cedarset.Load(mustFolder(t, folder))
	if err != nil {
		t.Fatal(err)
	}
	at := night.Add(time.Duration(number-1000) * time.Second)
	one := deniedBy(fmt.Sprintf("019ca755-%04d-7000-8000-000000000001", number), at, attestd.StateTrusted)
	in := one.Input
	in.Standing.Attested, in.Standing.DueAt = true, at.Add(time.Hour)
	in.Record.Tools, in.Record.Datasets = []string{"*"}, []string{"*"}
	in.Resource = pdp.Resource{Type: "dataset", ID: "scores", Tenant: "acme"}
	in.Supported = []string{pdp.ObligationStepUp}
	change(in)
	one.Result, one.Policy = pdp.Judge(in, set), set.Digest()
	return one
}

func week(t *testing.T) string {
	t.Helper()
	const acme = "testdata/policy/acme"
	write := func(*pdp.Input) {}
	ask := func(in *pdp.Input) {
		in.Action.Name, in.Resource.Type, in.Resource.ID = pdp.ActionModelInvoke, "model", "large"
	}
	read := func(in *pdp.Input) { in.Action.Name = pdp.ActionDataRead }
	folder, _ := recordsOf(t,
		decided(t, 1, acme, write), decided(t, 2, acme, ask), decided(t, 3, acme, ask), decided(t, 4, acme, read),
		decided(t, 5, acme, func(in *pdp.Input) { read(in); in.Record.Zone = "untrusted" }),
		decided(t, 6, acme, func(in *pdp.Input) { in.Standing.State = attestd.StateQuarantined }),
		decided(t, 7, acme, func(in *pdp.Input) { ask(in); in.Resource.Tenant = "globex" }),
	)
	return folder
}

func TestPolicyRehearse(t *testing.T) {
	folder := week(t)
	reader, err := journal.OpenReader(folder)
	if err != nil {
		t.Fatal(err)
	}
	page, err := reader.List(t.Context(), journal.Query{Tenants: everyTenant, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	server, _ := adminServerOf(t, map[string]any{
		"GET decisions": wire.Decisions{Schema: "attestd.decisions.v1", Decisions: page.Records},
	})
	none, _ := adminServerOf(t, map[string]any{
		"GET decisions": wire.Decisions{Schema: "attestd.decisions.v1", Decisions: []journal.Record{}},
	})
	const acme = "testdata/policy/acme"
	policyPages(t, "rehearse", "attestd.rehearsal.v1", exitRejected, "rehearse", acme+"-next", "--server", server)
	policyPages(t, "rehearse-same", "attestd.rehearsal.v1", exitAccepted, "rehearse", acme, "--server", server)
	policyPages(t, "rehearse-nothing", "attestd.rehearsal.v1", exitUndecided, "rehearse", acme, "--server", none)
	code, stdout, _ := runAt("", "policy", "rehearse", acme+"-next", "--records", folder)
	if code != exitRejected || !strings.HasSuffix(stdout.String(), " "+folder+"\n") {
		t.Errorf("exit code %d: the next command reads other records\n%s", code, stdout)
	}
	for _, row := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"by a filter", []string{"acme-next", "--action", "data.read", "--decision", "allow"}, exitAccepted, "NO CHANGE 1 decision"},
		{"by another reason", []string{"acme-next", "--reason", "quarantined"}, exitAccepted, "NO CHANGE 1 decision"},
		{"no folder", []string{"none"}, exitUsage, "does not exist"},
		{"a time that is none", []string{"acme", "--since", "once"}, exitUsage, "--since is"},
	} {
		row.args[0] = "testdata/policy/" + row.args[0]
		code, stdout, stderr := runAt("", append(append([]string{"policy", "rehearse"}, row.args...), "--records", folder)...)
		said := strings.Join(strings.Fields(stdout.String()+stderr.String()), " ")
		if code != row.code || !strings.Contains(said, row.want) {
			t.Errorf("%s: exit code %d, want %d and %q in\n%s", row.name, code, row.code, row.want, said)
		}
	}
	code, _, stderr := runAt("", "policy", "rehearse", "standard", "--records", t.TempDir())
	if code != exitUsage || !strings.Contains(stderr.String(), "holds no records") {
		t.Errorf("no records: exit code %d\n%s", code, stderr)
	}
}

// paged is a source of pages, the newest first.
type paged struct {
	decisionSource
	pages []wire.Decisions
	asked []string
}

func (p *paged) Decisions(_ context.Context, query client.DecisionQuery) (wire.Decisions, error) {
	p.asked = append(p.asked, query.After)
	return p.pages[len(p.asked)-1], nil
}

// All pages are read, also those that are short or empty, and those who wait are told.
func TestRehearsalsReadEveryPage(t *testing.T) {
	one := func(count int64) journal.Record {
		return journal.Record{Schema: journal.FoldSchema, Decision: journal.Deny, At: night, Last: night.Add(time.Minute), Count: count}
	}
	set, err := (&app{}).policySet(shippedPolicies)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	now := night
	a := &app{streams: streams{err: &stderr, getenv: func(string) string { return "" },
		terminal: func() (int, bool) { return 0, false }, now: func() time.Time { now = now.Add(time.Second); return now }}}
	source := &paged{pages: []wire.Decisions{
		{Decisions: []journal.Record{one(2)}, Next: "a"}, {Next: "b"}, {Next: "c"}, {Decisions: []journal.Record{one(3), one(1)}},
	}}
	doc := rehearsalDoc{}
	if err := a.rehearse(t.Context(), source, client.DecisionQuery{}, set, &doc); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(source.asked, ","); got != ",a,b,c" {
		t.Errorf("asked for %q", got)
	}
	if doc.Totals.Folded != 6 || doc.Verdict != rehearse.VerdictUndecided || exitOfRehearsal(doc.Verdict) != exitUndecided {
		t.Errorf("got %+v", doc)
	}
	if !strings.Contains(stderr.String(), "progress: 2 decisions, back to 2026-03-01T03:00:00Z") {
		t.Errorf("nobody is told: %q", stderr.String())
	}
	text := bytes.Buffer{}
	if err := doc.text("").Text(&text, a.page()); err != nil || !strings.HasPrefix(text.String(), "UNDECIDED") ||
		!strings.Contains(text.String(), "not rehearsed: counted in a flood  6") {
		t.Errorf("%v\n%s", err, text.String())
	}
	source = &paged{pages: []wire.Decisions{{Next: "a"}, {Next: "a"}, {Next: "a"}}}
	if err := a.rehearse(t.Context(), source, client.DecisionQuery{}, set, &doc); err == nil || len(source.asked) != 2 {
		t.Errorf("a server that goes round is asked %d times: %v", len(source.asked), err)
	}
}

// What a caller asked for is its own choice: it moves no cursor and starts no line.
func TestRehearsalsOfManyAndOfHostileNames(t *testing.T) {
	var answers []*pdp.Answer
	for n := range 60 {
		answers = append(answers, decided(t, n, "testdata/policy/acme", func(in *pdp.Input) {
			in.Resource.ID = fmt.Sprintf("x%02d\n\x1b[31m%s", n, strings.Repeat("y", 300))
		}))
	}
	folder, _ := recordsOf(t, answers...)
	code, stdout, stderr := runAt("", "policy", "rehearse", "testdata/policy/acme-next", "--records", folder)
	if code != exitRejected || !strings.Contains(stdout.String(), "35     and more, in 35 groups or more: -o json") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for line := range strings.SplitSeq(stdout.String(), "\n") {
		if len(line) > 100 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("line %q", line)
		}
	}
	_, stdout, _ = runAt("", "policy", "rehearse", "testdata/policy/acme-next", "--records", folder, "-o", "json")
	var doc rehearsalDoc
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil || len(doc.Changes) != 60 {
		t.Errorf("%d changes: %v", len(doc.Changes), err)
	}
	if err := obeysSchema("attestd.rehearsal.v1", stdout.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestRehearsalsOfAServer(t *testing.T) {
	reader, err := journal.OpenReader(week(t))
	if err != nil {
		t.Fatal(err)
	}
	page, err := reader.List(t.Context(), journal.Query{Tenants: everyTenant, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	server, requests := adminServerOf(t, map[string]any{
		"GET decisions": wire.Decisions{Schema: "attestd.decisions.v1", Decisions: page.Records},
	})
	code, stdout, stderr := runAt(server, "policy", "rehearse", "testdata/policy/acme-next", "--since", "1h", "--tenant", "acme")
	if code != exitRejected || !strings.HasPrefix(stdout.String(), "CHANGES   5 of 7") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	query, err := url.ParseQuery((*requests)[0].query)
	if err != nil || query.Get("limit") != "500" || query.Get("oldest") != "" || query.Get("tenant") != "acme" {
		t.Errorf("asked for %v", query)
	}
	server, _ = adminServerOf(t, map[string]any{})
	if code, stdout, _ = runAt(server, "policy", "rehearse", "standard"); code != exitUndecided || stdout.Len() != 0 {
		t.Errorf("a server that cannot answer: exit code %d\n%s", code, stdout)
	}
}
