package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/subject"
)

var night = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

const rag = subject.ID("spiffe://example.org/agent/rag-7")

// resultKey is a key in that state, as its commands show it.
func resultKey(state string) wire.Key {
	key := wire.Key{
		ID: "wX3kFh0vYz9m4mB8rH2c7N1qLr5t" + "aaaaaaaaaaaaaaa", Purpose: "result", State: state,
		PublishedAt: night.Add(-40 * 24 * time.Hour),
	}
	switch state {
	case "active":
		key.ActiveAt = night.Add(-10 * 24 * time.Hour)
	case "retiring":
		key.EndedAt, key.PublishedUntil = night.Add(-time.Hour), night.Add(23*time.Hour)
	case "withdrawn":
		key.EndedAt, key.PublishedUntil, key.Reason = night, night, "a laptop was lost"
	}
	return key
}

// adminDocs are what a server answers, by method and path.
func adminDocs() map[string]any {
	held := wire.Receipt{
		Schema: "attestd.receipt.v1", Action: "quarantine",
		Subjects: []wire.Changed{{
			ID: rag, Tenant: "default", From: attestd.StateTrusted, To: attestd.StateQuarantined, Epoch: 18,
		}},
		Bars: []string{"subject:" + string(rag), "instance:9c41f3aa07"}, Shared: 3,
		Channels: []wire.Channel{
			{Name: "grants", State: "effective", After: 410, Detail: "the index refuses from here on"},
			{Name: "store", State: "durable", After: 1900, Detail: "audit entry 88213"},
		},
		Grants: 1, GrantsUntil: night.Add(192 * time.Second), GrantsSince: night.Add(-76 * time.Hour),
		Hostile: "what was issued lives until then; root on the node can go on using the agent's key",
		Undo:    "attestd release " + string(rag) + " --reason ...   # after rebirth, by somebody else",
	}
	one := wire.Subject{
		Schema: "attestd.subject.v1", ID: rag, Tenant: "default", State: attestd.StateQuarantined,
		Tier: attestd.TierCritical, Risk: attestd.Risk(95), Epoch: 18, Generation: 41,
		Format: attestd.FormatTPM, Instance: "9c41f3aa07", Boot: "77", Host: "5d3e77a0",
		Ownership: subject.MethodInventory, FirstSeen: night.Add(-500 * time.Hour),
		EvidenceAt: night.Add(-12 * time.Minute), ChangedAt: night.Add(-time.Second), DueAt: night.Add(48 * time.Minute),
		Signals: []subject.Signal{{
			Code: subject.CodeKeyChurn, Points: 60, Detail: "three keys in 40 s", Source: "attestd",
			At: night.Add(-time.Minute), Until: night.Add(time.Hour),
		}, {Code: subject.CodeTwoKeys, Points: 40, Detail: "a key came back", Source: "attestd", At: night}},
		Bars: []wire.Bar{{
			Key: "subject:" + string(rag), State: attestd.StateQuarantined, Code: subject.CodeOperator,
			Reason: "exfil \x1b[31m alert", Ticket: "SEC-17", By: "ann", At: night.Add(-time.Second),
		}},
		Risks: []attestd.Reason{ // they sum to the risk, and a signal among them stands there once
			{Check: "subject/key-churn", Points: 60, Detail: "three keys in 40 s"},
			{Check: "subject/evidence", Points: 35, Detail: "as the policy scored it"},
		},
	}
	return map[string]any{
		"POST quarantine": held, "POST release": wire.Receipt{
			Schema: "attestd.receipt.v1", Action: "release", Bars: held.Bars, GrantsSince: night,
			Subjects: []wire.Changed{{ID: rag, Tenant: "default", From: attestd.StateQuarantined,
				To: attestd.StateSuspect, Epoch: 19}},
			Channels: []wire.Channel{{Name: "store", State: "durable", After: 250_000}},
		},
		"POST revoke": wire.Receipt{
			Schema: "attestd.receipt.v1", Action: "revoke", GrantsSince: night, Bars: []string{"instance:9c41f3aa07"},
			Channels: []wire.Channel{
				{Name: "grants", State: "effective", After: 90}, {Name: "store", State: "failed",
					After: 2_100_000, Detail: "full"},
				{Name: "journal", State: "journaled", After: 3000},
			},
		},
		"GET subject": one, "GET subjects": wire.Subjects{
			Schema: "attestd.subjects.v1", Subjects: []wire.Subject{one}, Next: string(rag),
		},
		"GET subject/history": wire.History{Schema: "attestd.history.v1", Events: []wire.Event{
			{At: night.Add(-time.Second), Kind: "quarantined", From: attestd.StateTrusted, To: attestd.StateQuarantined,
				Risk: attestd.Risk(95), Epoch: 18, Actor: "ann", Detail: "exfil alert"},
			{At: night.Add(-time.Hour), Kind: "evidence", From: attestd.StateTrusted, To: attestd.StateTrusted,
				Risk: attestd.Risk(34), Epoch: 17, Actor: "evidence"},
		}},
		"GET why": wire.Why{
			Schema: "attestd.why.v1", Target: string(rag), Code: "quarantined",
			Cause: "the name is quarantined: exfil alert [SEC-17]", Fix: "attestd release " + string(rag) + " --reason ...",
			Steps: []wire.WhyStep{
				{Name: "registry", OK: true, Detail: "read"},
				{Name: "holds", Detail: "subject quarantined at 2026-03-01T02:59:59Z (1s ago) by ann"},
			},
		},
		"POST reattest": wire.Reattest{
			Schema: "attestd.reattest.v1", ID: rag, State: "waiting", Waiting: 5, PerMinute: 2,
			Turn: night.Add(3 * time.Minute),
		},
		"GET status": wire.Status{
			Schema: "attestd.status.v1", Version: "0.4.2", Now: night, Started: night.Add(-76 * time.Hour), Ready: true,
			Store: "sqlite, fsync p99 1.1 ms", Policies: []string{"production sha256:9f2c41d7"},
			States:  map[string]int{"trusted": 401, "suspect": 6, "quarantined": 4, "revoked": 1},
			Tiers:   map[string]int{"low": 389, "medium": 12, "high": 8, "critical": 3},
			Formats: map[string]int{"tpm": 14, "sev-snp": 20, "nitro": 4}, Pending: 2, Overdue: 1,
			Oldest: night.Add(-41*time.Minute - 10*time.Second),
			Channels: []wire.Channel{{Name: "grants", State: "effective", After: 300}, {Name: "store",
				State: "durable", After: 2100}},
			Conditions: []wire.Condition{
				{ID: "store/space", Severity: "ok", Detail: "40 GiB free"},
				{ID: "policy/laboratory", Severity: "warning", Detail: "the laboratory policy is in force",
					Fix: "set verify.policy"},
				{ID: "store/fsync-slow", Severity: "warning", Fix: "move state_dir"}, // as one tenant sees it
			},
		},
		"GET whoami": wire.Whoami{
			Schema: "attestd.whoami.v1", Name: "ann", Roles: []string{"security"}, Tenants: []string{"*"}, Via: "certificate",
		},
		"GET operators": wire.Operators{Schema: "attestd.operators.v1", Operators: []wire.Operator{
			{Name: "ann", Roles: []string{"security"}, Tenants: []string{"*"}, CertificateUntil: night.Add(time.Hour)},
			{Name: "bob", Roles: []string{"viewer"}, Tenants: []string{"blue"}, RevokedAt: night},
		}},
		"POST operators/revoke": wire.Operators{Schema: "attestd.operators.v1", Operators: []wire.Operator{
			{Name: "ann", Roles: []string{"security"}, Tenants: []string{"*"}, RevokedAt: night},
		}},
		"POST operators": wire.OperatorAdded{
			Schema: "attestd.operator-added.v1", Token: "attestd-login~ann~" + strings.Repeat("A",
				43) + "~" + strings.Repeat("B", 43),
			Operator:  wire.Operator{Name: "ann", Roles: []string{"security"}, Tenants: []string{"*"}},
			ExpiresAt: night.Add(15 * time.Minute),
		},
		"POST reappraisals": wire.Reappraisal{
			Schema: "attestd.reappraisal.v1", ID: "r1", DryRun: true, State: "running", Total: 412, Started: night,
		},
		"GET reappraisals": wire.Reappraisal{
			Schema: "attestd.reappraisal.v1", ID: "r1", DryRun: true, State: "done", Total: 412, Done: 412, Changed: 1,
			Started: night, Ended: night.Add(1200 * time.Millisecond), Changes: []wire.ReappraisalChange{{
				ID: rag, Tenant: "default", Why: []string{"measurement/known"},
				From: wire.ReappraisalSide{Verdict: attestd.VerdictAccepted, Tier: attestd.TierLow, Risk: attestd.Risk(12)},
				To:   wire.ReappraisalSide{Verdict: attestd.VerdictRejected, Tier: attestd.TierCritical, Risk: attestd.Risk(100)},
			}},
		},
		"GET record":          inventoryRecord(),
		"GET records":         wire.Records{Schema: "attestd.records.v1", Records: []nhi.Record{inventoryRecord().Record}},
		"POST records/import": changedRecords(), "POST records/retire": changedRecords(),
		"GET records/lint": lintedRecords(), "GET records/report": reportedRecords(),
		"GET keys": wire.Keys{Schema: "attestd.keys.v1", Keys: []wire.Key{
			resultKey("active"), resultKey("next"), resultKey("retiring"), resultKey("withdrawn"),
		}},
		"POST keys/rotate": wire.KeyRotated{
			Schema: "attestd.key-rotated.v1", Active: resultKey("active"), Next: resultKey("next"),
			Before: resultKey("retiring"),
		},
		"POST keys/compromise": wire.KeyCompromised{
			Schema: "attestd.key-compromised.v1", Withdrawn: []wire.Key{resultKey("withdrawn")},
			BelievedUntil: night.Add(5 * time.Minute), Active: resultKey("active"), Next: resultKey("next"),
			Signed: []wire.SignedToken{{
				ID: "0b0f3f5e-8f5c-4d4e-9d53-2f1a8b6c7d80", Appraisal: "5f0e8f5c-4d4e-4d53-8f1a-8b6c7d800b0f",
				At: night.Add(-time.Minute), ExpiresAt: night.Add(4 * time.Minute),
			}}, Total: 300_001, KnownSince: night.Add(-40 * time.Hour),
		},
		"GET log-level":  wire.LogLevel{Schema: "attestd.log-level.v1", Level: "info"},
		"POST log-level": wire.LogLevel{Schema: "attestd.log-level.v1", Level: "debug", Until: night.Add(15 * time.Minute)},
	}
}

// notThere is answered by what is not there, or is another tenant's.
type notThere string

// request is one as a server got it.
type request struct {
	what, query string
	body        map[string]any
}

// adminServerOf serves documents on a socket; it returns the address and what was asked.
func adminServerOf(t *testing.T, docs map[string]any) (address string, requests *[]request) {
	t.Helper()
	folder := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(folder, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "admin.token"), []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	requests = new([]request)
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			what := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/admin/")
			one := request{what: what, query: r.URL.RawQuery}
			_ = json.NewDecoder(r.Body).Decode(&one.body)
			*requests = append(*requests, one)
			doc, found := docs[what]
			if !found {
				w.WriteHeader(http.StatusServiceUnavailable)
				doc = map[string]string{"class": "STORE_UNAVAILABLE", "detail": "the disk is full", "hint": "attestd doctor"}
			}
			if refused, ok := doc.(notThere); ok {
				w.WriteHeader(http.StatusNotFound)
				doc = map[string]string{"class": "FORBIDDEN", "detail": "no such " + string(refused), "hint": "check the spelling"}
			}
			_ = json.NewEncoder(w).Encode(doc)
		}),
	}}
	server.Start()
	t.Cleanup(server.Close)
	return "unix:" + listener.Addr().String(), requests
}

// runAt runs a command line at night against a server.
func runAt(server string, args ...string) (code int, stdout, stderr *bytes.Buffer) {
	world, stdout, stderr := quiet()
	world.now = func() time.Time { return night }
	world.getenv = func(key string) string {
		return map[string]string{"ATTESTD_SERVER": server, "HOME": "/nonexistent"}[key]
	}
	return run(context.Background(), world, args), stdout, stderr
}

// TestWhatOperatorsSee compares each answer with the page that people read (testdata/admin; -update
// writes it anew), and its JSON with its schema.
func TestWhatOperatorsSee(t *testing.T) {
	for _, row := range []struct {
		page, schema string
		code         int
		args         []string
	}{
		{"quarantine", "attestd.receipt.v1", 0, []string{"quarantine", string(rag), "--reason", "exfil alert"}},
		{"release", "attestd.receipt.v1", 0, []string{"release", string(rag), "--reason", "re-imaged",
			"--reimaged", "OPS-1"}},
		{"revoke-in-part", "attestd.receipt.v1", 4, []string{"revoke", "9c41f3aa", "--reason", "sold", "--direct"}},
		{"subject", "attestd.subject.v1", 0, []string{"subject", "show", string(rag)}},
		{"subjects", "attestd.subjects.v1", 0, []string{"subject", "ls", "--state", "quarantined,suspect", "--limit", "1"}},
		{"history", "attestd.history.v1", 0, []string{"subject", "history", string(rag)}},
		{"why", "attestd.why.v1", 3, []string{"why", string(rag)}},
		{"status", "attestd.status.v1", 0, []string{"status"}},
		{"reattest", "attestd.reattest.v1", 0, []string{"reattest", string(rag)}},
		{"whoami", "attestd.whoami.v1", 0, []string{"operator", "whoami"}},
		{"operators", "attestd.operators.v1", 0, []string{"operator", "ls"}},
		{"operator-revoked", "attestd.operators.v1", 0, []string{"operator", "revoke", "ann"}},
		{"operator-added", "attestd.operator-added.v1", 0, []string{"operator", "add", "ann", "--role", "security"}},
		{"reappraisal", "attestd.reappraisal.v1", 3, []string{"reappraise", "--dry-run"}},
		{"record", "attestd.record.v1", 0, []string{"subject", "record", string(rag)}},
		{"records", "attestd.records.v1", 0, []string{"subject", "records"}},
		{"record-retire", "attestd.records-changed.v1", 0, []string{"subject", "retire", string(rag), "--dry-run"}},
		{"record-import", "attestd.records-changed.v1", 0, []string{"subject", "import",
			"testdata/inventory.yaml"}},
		{"inventory-lint", "attestd.inventory-lint.v1", 3, []string{"subject", "lint"}},
		{"inventory-report", "attestd.inventory-report.v1", 0, []string{"subject", "report"}},
		{"keys", "attestd.keys.v1", 0, []string{"keys", "ls"}},
		{"key-rotated", "attestd.key-rotated.v1", 0, []string{"keys", "rotate"}},
		{"key-compromised", "attestd.key-compromised.v1", 0, []string{"keys", "compromise", "k",
			"--reason", "a laptop was lost", "--since", "2026-02-01T00:00:00Z"}},
		{"log-level", "attestd.log-level.v1", 0, []string{"log-level"}},
		{"log-level-for", "attestd.log-level.v1", 0, []string{"log-level", "debug", "--for", "15m"}},
	} {
		t.Run(row.page, func(t *testing.T) {
			server, _ := adminServerOf(t, adminDocs())
			code, stdout, stderr := runAt(server, row.args...)
			if code != row.code || stderr.Len() != 0 {
				t.Fatalf("exit code %d, want %d: %s", code, row.code, stderr)
			}
			text := strings.ReplaceAll(stdout.String(), server, "SERVER")
			path := filepath.Join("testdata", "admin", row.page+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Error(diff)
			}
			for line := range strings.SplitSeq(text, "\n") {
				if len(line) > report.MaxWidth || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("line %q", line)
				}
			}
			code, stdout, _ = runAt(server, append(slices.Clone(row.args), "-o", "json")...)
			if err := obeysSchema(row.schema, stdout.Bytes()); err != nil || code != row.code {
				t.Errorf("exit code %d: %v", code, err)
			}
		})
	}
}

// TestAHostIsHeldOnlyByWhoHasSeenHowManyThatIs: one flag must not take a fleet down.
func TestAHostIsHeldOnlyByWhoHasSeenHowManyThatIs(t *testing.T) {
	server, requests := adminServerOf(t, adminDocs())
	order := []string{"quarantine", string(rag), "--reason", "x", "--host"}
	code, stdout, stderr := runAt(server, order...)
	if code != exitUsage || stdout.Len() != 0 || !strings.Contains(stderr.String(),
		"--host holds 1 subject: "+string(rag)) ||
		!strings.Contains(stderr.String(), "nothing was changed") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = runAt(server, append(order, "--yes")...)
	if code != exitAccepted || !strings.HasPrefix(stdout.String(), "QUARANTINED") ||
		!strings.HasPrefix(stderr.String(), "warning: --host holds 1 subject") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	var dry []bool
	for _, one := range *requests {
		is, _ := one.body["dry_run"].(bool)
		dry = append(dry, is)
	}
	if !slices.Equal(dry, []bool{true, true, false}) {
		t.Errorf("dry runs: %v, want the count twice and the order once", dry)
	}
}

func TestOrdersSayWhatWasTyped(t *testing.T) {
	server, requests := adminServerOf(t, adminDocs())
	code, _, stderr := runAt(server, "revoke", "9c41f3aa", "--reason", "sold", "--ticket", "OPS-9",
		"--scope", "instance",
		"--tenant", "blue", "--dry-run", "--direct")
	want := []request{{what: "POST revoke", body: map[string]any{
		"target": "9c41f3aa", "reason": "sold", "ticket": "OPS-9", "scope": "instance", "tenant": "blue",
		"dry_run": true, "direct": true,
	}}}
	if code != exitUndecided {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if diff := cmp.Diff(want, *requests, cmp.AllowUnexported(request{})); diff != "" {
		t.Error(diff)
	}
}

func TestOrdersThatCannotBeGivenSayWhatToDo(t *testing.T) {
	server, _ := adminServerOf(t, map[string]any{})
	for _, row := range []struct {
		name       string
		args       []string
		code       int
		says, hint string
	}{
		{"no reason", []string{"quarantine", "9c41f3aa"}, 2, "no --reason", "whoever reads the log"},
		{"a blank reason", []string{"release", "9c41f3aa", "--reason", " "}, 2, "no --reason", "add --reason"},
		{"a scope that is none", []string{"quarantine", "9c41f3aa", "--reason", "x", "--scope", "all"}, 2,
			`unknown --scope "all"`, "subject, instance"},
		{"the store is down", []string{"quarantine", "9c41f3aa", "--reason", "x"}, 4, "the disk is full",
			"repeat with --direct"},
		{"the store is down and so was asked", []string{"revoke", "9c41f3aa", "--reason", "x", "--direct"}, 4,
			"the disk is full", "attestd doctor"},
		{"release has no --direct", []string{"release", "9c41f3aa", "--reason", "x", "--direct"}, 2,
			"unknown flag", "--help"},
		{"nobody to name", []string{"operator", "add", "ann"}, 2, "no --role", "--role viewer"},
		{"a role that is none", []string{"operator", "add", "ann", "--role", "root"}, 2,
			`unknown --role "root"`, "security"},
		{"a state that is none", []string{"subject", "ls", "--state", "fine"}, 2, `unknown --state "fine"`, "quarantined"},
		{"a key that is withdrawn without a reason", []string{"keys", "compromise", "k"}, 2, "no --reason", "--reason"},
		{"a time that is none", []string{"keys", "compromise", "k", "--reason", "x", "--since", "monday"}, 2,
			`"monday" is no time`, "--since 2026"},
		{"a level that is none", []string{"log-level", "loud"}, 2, `unknown level "loud"`, "debug"},
		{"a policy that would come into force", []string{"reappraise", "--policy", "x"}, 2,
			"show what would be", "--dry-run"},
		{"a login over the socket", []string{"login", "--token-file", "testdata/admin/status.txt"}, 2,
			"https alone", "leave --server out"},
		{"a login without a token", []string{"login", "--server", "https://localhost"}, 2,
			"no token was given", "--token-file"},
		{"no time to wait", []string{"status", "--timeout", "0s"}, 2, "--timeout is 0s", "30s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, stdout, stderr := runAt(server, row.args...)
			said := strings.Join(strings.Fields(stderr.String()), " ")
			if code != row.code || stdout.Len() != 0 || !strings.Contains(said, row.says) ||
				!strings.Contains(said, row.hint) {
				t.Errorf("exit code %d, want %d: %s%s", code, row.code, stdout, stderr)
			}
		})
	}
}

func TestIdsAreCompleted(t *testing.T) {
	server, requests := adminServerOf(t, adminDocs())
	for _, verb := range [][]string{{"quarantine"}, {"why"}, {"subject", "show"}} {
		args := append(append([]string{"__complete"}, verb...), "spiffe://ex")
		code, stdout, _ := runAt(server, args...)
		if code != 0 || !strings.HasPrefix(stdout.String(), string(rag)+"\tquarantined, default\n") {
			t.Errorf("%v: exit code %d, %s", verb, code, stdout)
		}
	}
	if len(*requests) != 3 {
		t.Errorf("%d requests", len(*requests))
	}
	code, stdout, _ := runAt("unix:/nonexistent/s", "__complete", "why", "x")
	if code != 0 || stdout.String() != ":4\n" {
		t.Errorf("without a server: exit code %d, %q", code, stdout)
	}
}

// TestASupportBundleIsAFileOfItsOwn: what exists is left as it is, and half of one is not left.
func TestASupportBundleIsAFileOfItsOwn(t *testing.T) {
	server, _ := adminServerOf(t, map[string]any{})
	path := filepath.Join(t.TempDir(), "b.tar.gz")
	if code, _, stderr := runAt(server, "support", "bundle", path); code != exitUndecided {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a bundle that failed is there: %v", err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runAt(server, "support", "bundle", path)
	if kept, _ := os.ReadFile(path); code != exitUsage || string(kept) != "mine" {
		t.Errorf("exit code %d: %s, file %q", code, stderr, kept)
	}
}
