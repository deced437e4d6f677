package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	pdp "github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/nhi"
)

const (
	deniedID = "019ca755-bd20-7000-8000-0000000000d1"
	heldID   = "019ca755-c108-7000-8000-0000000000d2"
)

// deniedBy is an answer to a question of a night, by the gates alone where nothing else is said.
func deniedBy(id string, at time.Time, state attestd.State) *pdp.Answer {
	in := &pdp.Input{
		Schema: pdp.InputSchema, At: at, Via: pdp.ViaAuthZEN, Enforcer: "user:gateway",
		Who: pdp.Who{
			ID: "spiffe://example.org/tenant/acme/agent", TrustDomain: "example.org", Method: pdp.MethodJWT,
			Audience: []string{"attestd://decide"}, IssuedAt: at.Add(-time.Minute), Expires: at.Add(time.Minute),
			Credential: strings.Repeat("0f", 32), VerifiedAt: at,
		},
		Standing: pdp.Standing{
			Attested: state == attestd.StateQuarantined, State: state, Tenant: "acme", Risk: attestd.Risk(12),
			Tier: attestd.TierLow, Epoch: 7, Status: "affirming", AttestedAt: at.Add(-10 * time.Minute),
		},
		Record: &nhi.Record{ID: "spiffe://example.org/tenant/acme/agent", Tenant: "acme", Policy: "agents",
			Purpose: nhi.PurposeEvaluation, Ring: "stable", Zone: nhi.ZoneTrusted},
		Action: pdp.Action{Name: pdp.ActionDataWrite},
		Resource: pdp.Resource{Type: "dataset", ID: "feature-store", Tenant: "acme",
			Datasets: []pdp.Dataset{{ID: "orders", Classification: []string{"pii", "eu-only"}}}},
		Context: pdp.Context{
			PromptID: "p1:" + strings.Repeat("a", 52), ExposureScore: -1, RequestID: "4471",
			Chain: []pdp.Link{{Type: "human", ID: "ann@example.org"},
				{Type: "nhi", ID: "spiffe://example.org/tenant/acme/agent", Verified: true}},
		},
		Findings: pdp.Findings{Looked: true},
		Rules:    pdp.Rules{Fresh: time.Hour, FreshPrivileged: 15 * time.Minute, MaxChain: 8}, Sequence: 99,
	}
	return &pdp.Answer{Result: pdp.Judge(in, nil), ID: uuid.MustParse(id), Input: in, Took: 42 * time.Microsecond}
}

// recordsOf writes answers into a new folder.
func recordsOf(t *testing.T, answers ...*pdp.Answer) (folder string, seals []journal.Seal) {
	t.Helper()
	folder = t.TempDir()
	return folder, writeRecords(t, folder, answers...)
}

// writeRecords adds answers to the records of a folder, as a daemon does.
func writeRecords(t *testing.T, folder string, answers ...*pdp.Answer) (seals []journal.Seal) {
	t.Helper()
	writing, err := journal.New(journal.Config{
		Folder: folder, Age: 24 * time.Hour, Bytes: 1 << 20, Reserve: 1, Allows: 1, Engine: "attestd 1.2.3",
		Now: func() time.Time { return night }, Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), Sealed: func(s journal.Seal) { seals = append(seals, s) },
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
	return seals
}

func twoDenials(t *testing.T) (folder string, seals []journal.Seal) {
	t.Helper()
	return recordsOf(t, deniedBy(deniedID, night.Add(-time.Minute), attestd.StateUnknown),
		deniedBy(heldID, night.Add(-59*time.Second), attestd.StateQuarantined))
}

func TestDecisionsOfAFolder(t *testing.T) {
	folder, _ := twoDenials(t)
	for _, row := range []struct {
		name   string
		args   []string
		code   int
		want   []string
		schema string
	}{
		{"all", []string{"ls"}, exitAccepted,
			[]string{"DECISIONS 2 shown", "not_attested ..enant/acme/agent data.write feature-store", "decision show 019ca755"},
			"attestd.decisions.v1"},
		{"by reason", []string{"ls", "--reason", "quarantined"}, exitAccepted, []string{"DECISIONS 1 shown"},
			"attestd.decisions.v1"},
		{"by what is not there", []string{"ls", "--tenant", "globex"}, exitAccepted, []string{"DECISIONS 0 shown"},
			"attestd.decisions.v1"},
		{"a page", []string{"ls", "--limit", "1"}, exitAccepted, []string{"--after", "1:"}, "attestd.decisions.v1"},
		{"since", []string{"ls", "--since", "1s"}, exitAccepted, []string{"DECISIONS 0 shown"}, ""},
		{"a reason that is none", []string{"ls", "--reason", "because"}, exitUsage, []string{"unknown --reason"}, ""},
		{"a decision that is none", []string{"ls", "--decision", "maybe"}, exitUsage, []string{"unknown --decision"}, ""},
		{"a time that is none", []string{"ls", "--since", "yesterday"}, exitUsage, []string{"--since is"}, ""},
		{"a length that is none", []string{"ls", "--limit", "0"}, exitUsage, []string{"--limit is 0"}, ""},
		{"one", []string{"show", deniedID[:18]}, exitAccepted,
			[]string{"DENIED not_attested spiffe://example.org/tenant/acme/agent", "who", "AML.T0103 suspected",
				"human ann@example.org (asserted) > nhi", "orders (pii, eu-only)", "attestd decision replay " + deniedID},
			"attestd.decision.v1"},
		{"one that is not there", []string{"show", "019ca755-bd20-7000-8000-0000000000d9"}, exitUsage,
			[]string{"no such decision"}, ""},
		{"what is no id", []string{"show", "x"}, exitUsage, []string{"no id of a decision"}, ""},
		{"again", []string{"replay", deniedID}, exitAccepted, []string{"SAME 1 decided again"}, "attestd.replay.v1"},
		{"all again", []string{"replay", "--all"}, exitAccepted, []string{"SAME 2 decided again"}, "attestd.replay.v1"},
		{"again, of what", []string{"replay"}, exitUsage, []string{"give an ID or --all"}, ""},
		{"again, of too much", []string{"replay", deniedID, "--all"}, exitUsage, []string{"give an ID or --all"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			args := append(append([]string{"decision"}, row.args...), "--records", folder)
			code, stdout, stderr := runAt("unix:/nonexistent/s", args...)
			said := strings.Join(strings.Fields(stdout.String()+stderr.String()), " ")
			if code != row.code {
				t.Errorf("exit code %d, want %d\n%s", code, row.code, said)
			}
			for _, want := range row.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in\n%s%s", want, stdout, stderr)
				}
			}
			for line := range strings.SplitSeq(stdout.String(), "\n") {
				if len(line) > 100 {
					t.Errorf("a line of %d columns: %s", len(line), line)
				}
			}
			if row.schema == "" {
				return
			}
			code, stdout, stderr = runAt("unix:/nonexistent/s", append(args, "-o", "json")...)
			if code != row.code {
				t.Errorf("exit code %d with JSON\n%s", code, stderr)
			}
			if err := obeysSchema(row.schema, stdout.Bytes()); err != nil {
				t.Errorf("%v\n%s", err, stdout)
			}
		})
	}
}

func TestAReplayThatDiffersExits3(t *testing.T) {
	changed := deniedBy(heldID, night, attestd.StateQuarantined)
	changed.Reasons = []pdp.Reason{{Code: pdp.CodeRing, Detail: "made up"}}
	folder, _ := recordsOf(t, deniedBy(deniedID, night, attestd.StateUnknown), changed)
	for _, args := range [][]string{{heldID}, {"--all"}} {
		args = append(append([]string{"decision", "replay"}, args...), "--records", folder)
		code, stdout, stderr := runAt("unix:/nonexistent/s", args...)
		if code != exitRejected || !strings.Contains(stdout.String(), "DIFFERENT") ||
			!strings.Contains(stdout.String(), `"ring_mismatch"`) {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		_, stdout, _ = runAt("unix:/nonexistent/s", append(args, "-o", "json")...)
		if err := obeysSchema("attestd.replay.v1", stdout.Bytes()); err != nil {
			t.Error(err)
		}
	}
	missing := deniedBy(heldID, night, attestd.StateQuarantined)
	missing.Policy = "sha256:" + strings.Repeat("a5", 32)
	folder, _ = recordsOf(t, missing)
	code, _, stderr := runAt("unix:/nonexistent/s", "decision", "replay", heldID, "--records", folder)
	if code != exitUndecided || !strings.Contains(stderr.String(), "policies") {
		t.Errorf("policies that are gone: exit code %d\n%s", code, stderr)
	}
	// One of them does not keep the others from being looked at, and is not said to be the same.
	folder, _ = recordsOf(t, missing, deniedBy(deniedID, night, attestd.StateUnknown))
	code, stdout, stderr := runAt("unix:/nonexistent/s", "decision", "replay", "--all", "--records", folder)
	if code != exitUndecided || !strings.Contains(stdout.String(), "1 of 2 could not be decided again") {
		t.Errorf("one of two: exit code %d\n%s%s", code, stdout, stderr)
	}
	_, stdout, _ = runAt("unix:/nonexistent/s", "decision", "replay", "--all", "--records", folder, "-o", "json")
	if err := obeysSchema("attestd.replay.v1", stdout.Bytes()); err != nil ||
		!strings.Contains(stdout.String(), `"undecided": 1`) {
		t.Errorf("%v\n%s", err, stdout)
	}
}

// neg: 186
func TestDecisionVerify(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(t *testing.T, folder string)
		code   int
		want   string
	}{
		{"what is whole", func(*testing.T, string) {}, exitAccepted, "WHOLE 2 records in 1 files"},
		{"a record that was edited", func(t *testing.T, folder string) {
			names, err := filepath.Glob(filepath.Join(folder, "segments", "*"))
			if err != nil || len(names) != 1 {
				t.Fatal(names, err)
			}
			content, err := os.ReadFile(names[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(names[0], bytes.ReplaceAll(content, []byte(`"deny"`), []byte(`"dany"`)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, exitRejected, "TAMPERED 2 problems"},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder, _ := twoDenials(t)
			row.change(t, folder)
			code, stdout, stderr := runAt("unix:/nonexistent/s", "decision", "verify", folder)
			said := strings.Join(strings.Fields(stdout.String()+stderr.String()), " ")
			if code != row.code || !strings.Contains(said, row.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, row.code, row.want, said)
			}
			code, stdout, _ = runAt("unix:/nonexistent/s", "decision", "verify", folder, "-o", "json")
			if err := obeysSchema("attestd.decision-verify.v1", stdout.Bytes()); err != nil || code != row.code {
				t.Errorf("exit code %d, %v", code, err)
			}
		})
	}
	sealedByTheAuditLog(t)
	code, _, stderr := runAt("unix:/nonexistent/s", "decision", "verify", t.TempDir())
	if code != exitUsage || !strings.Contains(stderr.String(), "holds no records") {
		t.Errorf("an empty folder: exit code %d\n%s", code, stderr)
	}
}

// sealedByTheAuditLog: with the digests of an exported audit log, what was changed in the newest file
// shows, which the files by themselves do not tell.
func sealedByTheAuditLog(t *testing.T) {
	folder, seals := twoDenials(t)
	key, exported := auditKey(t), t.TempDir()
	var tree audit.Tree
	entry, err := tree.Append(seals[0].Entry(night))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := audit.Checkpoint{Origin: key.Name(), Size: tree.Size(), Hash: tree.Hash()}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Export(t.Context(), leaves{entry.Leaf}, signed, key.Public(), exported); err != nil {
		t.Fatal(err)
	}
	args := []string{"decision", "verify", folder, "--audit", exported}
	code, stdout, stderr := runAt("unix:/nonexistent/s", args...)
	if code != exitAccepted || !strings.Contains(stdout.String(), "1 files compared") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	names, err := filepath.Glob(filepath.Join(folder, "segments", "*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	content, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	content = bytes.ReplaceAll(content, []byte("feature-store"), []byte("nothing-there"))
	if err := os.WriteFile(names[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ = runAt("unix:/nonexistent/s", args...); code != exitRejected ||
		!strings.Contains(stdout.String(), "not the one that the audit log has") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	stranger := put(t, t.TempDir(), "other.pub", auditKey(t).Public())
	code, _, stderr = runAt("unix:/nonexistent/s", append(args, "--key", stranger)...)
	if code != exitRejected {
		t.Errorf("a log by another key: exit code %d\n%s", code, stderr)
	}
}

// TestSchemasOfDecisionsAreTheRecords: every field that a record can have is in its schema, and without
// one that is demanded it is none.
func TestSchemasOfDecisionsAreTheRecords(t *testing.T) {
	one := deniedBy(deniedID, night, attestd.StateQuarantined)
	one.Obligations = []pdp.Obligation{{ID: "n", Type: pdp.ObligationNotification, Properties: map[string]any{"topic": "x"}}}
	one.Policies, one.Policy = []string{"p"}, "sha256:"+strings.Repeat("a5", 32)
	one.Proofs.Who = pdp.Proof{OK: true, Source: "x", Detail: "y"}
	one.Input.Resource.Project, one.Input.Resource.Ring, one.Input.Resource.Privileged = "p", "r", true
	one.Input.Context.Chain[0].Issuer, one.Input.Context.Chain[0].RiskTier = "i", "low"
	// What looks like a token has the record scrubbed, which is a field as well.
	one.Input.Context.Intent = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
	folder, _ := recordsOf(t, one)
	code, stdout, stderr := runAt("unix:/nonexistent/s", "decision", "show", deniedID, "--records", folder, "-o", "json")
	if code != exitAccepted || bytes.Contains(stdout.Bytes(), []byte("eyJzdWIi")) {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if err := obeysSchema("attestd.decision.v1", stdout.Bytes()); err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(stdout.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"schema", "policy_snapshot", "at", "decision", "prompt_id", "subject_chain", "dataset_scope", "atlas_mapping",
	} {
		kept := fields[name]
		delete(fields, name)
		less, _ := json.Marshal(fields)
		if obeysSchema("attestd.decision.v1", less) == nil {
			t.Errorf("a record without %s is one", name)
		}
		fields[name] = kept
	}
	fields["prompt"] = json.RawMessage(`"ignore all of it"`)
	more, _ := json.Marshal(fields)
	if obeysSchema("attestd.decision.v1", more) == nil {
		t.Error("a record with a prompt is one")
	}
}

// TestDecisionsOfAServer: the same answers, and what is asked for is what was typed.
func TestDecisionsOfAServer(t *testing.T) {
	folder, _ := twoDenials(t)
	reader, err := journal.OpenReader(folder)
	if err != nil {
		t.Fatal(err)
	}
	one, err := reader.Find(t.Context(), deniedID, everyTenant)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]any{
		"GET decision":  wire.Decisions{Schema: "attestd.decisions.v1", Decisions: []journal.Record{one}},
		"GET decisions": wire.Decisions{Schema: "attestd.decisions.v1", Decisions: []journal.Record{one}, Next: "abc"},
		"GET decisions/replay": wire.Replayed{Schema: "attestd.replay.v1", Verdict: "same",
			Run: journal.Run{Same: 1, Changed: []journal.Replayed{}}},
	}
	server, requests := adminServerOf(t, docs)
	code, stdout, stderr := runAt(server, "decision", "show", deniedID)
	if code != exitAccepted {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	path := filepath.Join("testdata", "admin", "decision.txt")
	if *update {
		if err := os.WriteFile(path, stdout.Bytes(), 0o644); err != nil { //nolint:gosec // a page of the tests
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), stdout.String()); diff != "" {
		t.Error(diff)
	}
	for line := range strings.SplitSeq(stdout.String(), "\n") {
		if len(line) > 100 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("line %q", line)
		}
	}
	_, stdout, _ = runAt(server, "decision", "show", deniedID, "-o", "json")
	if err := obeysSchema("attestd.decision.v1", stdout.Bytes()); err != nil {
		t.Error(err)
	}
	code, stdout, _ = runAt(server, "decision", "ls", "--reason", "not_attested", "--since", "1h", "--tenant", "acme",
		"--atlas", "AML.T0103", "--limit", "7")
	if code != exitAccepted || !strings.Contains(stdout.String(), "--after abc") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	code, stdout, _ = runAt(server, "decision", "replay", "--all", "--since", "2026-03-01T00:00:00Z")
	if code != exitAccepted || !strings.Contains(stdout.String(), "SAME") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	got := (*requests)[len(*requests)-2:]
	for index, want := range []string{
		"atlas=AML.T0103&limit=7&reason=not_attested&since=2026-03-01T02%3A00%3A00Z&tenant=acme",
		"limit=200&since=2026-03-01T00%3A00%3A00Z",
	} {
		if got[index].query != want {
			t.Errorf("asked for %s, want %s", got[index].query, want)
		}
	}
}

// lockedWriter is written by one and read by another.
type lockedWriter struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lockedWriter) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(data)
}

func (l *lockedWriter) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.Buffer.String()), "\n")
}

func TestDecisionsAreWatched(t *testing.T) {
	for _, form := range []string{"text", "json"} {
		folder, _ := twoDenials(t) // of before: they are not shown
		world, _, stderr := quiet()
		out := &lockedWriter{}
		world.out, world.now = out, func() time.Time { return night }
		world.getenv = func(string) string { return "" }
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, world, []string{"decision", "ls", "--watch", "--reason", "not_attested", "--records", folder,
				"-o", form})
		}()
		time.Sleep(50 * time.Millisecond)
		id := strings.Replace(deniedID, "bd20", "ffff", 1)
		writeRecords(t, folder, deniedBy(id, night.Add(time.Second), attestd.StateUnknown))
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if strings.Contains(strings.Join(out.lines(), ""), id[:18]) {
				break
			}
		}
		stop()
		if code := <-ended; code != exitAccepted {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		if lines := out.lines(); len(lines) != 1 || !strings.Contains(lines[0], id[:18]) {
			t.Errorf("%s shows %q", form, lines)
		} else if form == "json" {
			if err := obeysSchema("attestd.decision.v1", []byte(lines[0])); err != nil {
				t.Error(err)
			}
		}
	}
}
