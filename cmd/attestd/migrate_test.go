package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/migrate"
	"github.com/attestd/attestd/internal/subject"
)

// Lists as SPIRE's commands print them: one entry on an agent of another attestor, one on a node that
// attested itself, and one on a node that is quarantined.
const (
	savedEntries = `{"entries":[
{"id":"e-web","spiffe_id":{"trust_domain":"example.org","path":"/web"},
 "parent_id":{"trust_domain":"example.org","path":"/spire/agent/x509pop/11"},
 "selectors":[{"type":"unix","value":"uid:1"}]},
{"id":"attestd.good","spiffe_id":{"trust_domain":"example.org","path":"/good"},
 "parent_id":{"trust_domain":"example.org","path":"/spire/agent/attestd/tpm/good"},
 "selectors":[{"type":"unix","value":"uid:1"}]},
{"id":"attestd.held","spiffe_id":{"trust_domain":"example.org","path":"/held"},
 "parent_id":{"trust_domain":"example.org","path":"/spire/agent/attestd/tpm/held"},
 "selectors":[{"type":"unix","value":"uid:1"}]}],"next_page_token":""}`
	savedAgents = `{"agents":[
{"id":{"trust_domain":"example.org","path":"/spire/agent/x509pop/11"},"attestation_type":"x509pop"},
{"id":{"trust_domain":"example.org","path":"/spire/agent/attestd/tpm/good"},"attestation_type":"attestd"},
{"id":{"trust_domain":"example.org","path":"/spire/agent/attestd/tpm/held"},"attestation_type":"attestd"}]}`
)

func saved(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMigrateFromSavedLists goes the three steps; nothing is changed.
func TestMigrateFromSavedLists(t *testing.T) {
	docs := adminDocs()
	node := func(name string, state attestd.State) wire.Subject {
		one := docs["GET subject"].(wire.Subject)
		one.ID, one.State, one.Tier = subject.ID("spiffe://example.org/spire/agent/attestd/tpm/"+name), state, attestd.TierLow
		return one
	}
	docs["GET subjects"] = wire.Subjects{Schema: "attestd.subjects.v1", Subjects: []wire.Subject{
		node("good", attestd.StateTrusted), node("held", attestd.StateQuarantined),
	}}
	server, _ := adminServerOf(t, docs)
	lists := []string{"--entries", saved(t, "entries.json", savedEntries), "--agents", saved(t, "agents.json", savedAgents)}
	pairs := saved(t, "nodes.csv", "spiffe://example.org/spire/agent/x509pop/11,"+
		"spiffe://example.org/spire/agent/attestd/tpm/good\n")
	out := filepath.Join(t.TempDir(), "create.json")
	for _, row := range []struct {
		args  []string
		code  int
		lead  string
		check func(migrated) bool
	}{
		{[]string{"plan"}, 0, "PLAN   1 agents of other attestors", func(m migrated) bool {
			return len(m.Entries) == 0 && len(m.Lost) == 1 && m.Lost[0] == "e-web"
		}},
		{[]string{"plan", "--nodes", pairs}, 0, "PLAN   1 agents", func(m migrated) bool {
			return len(m.Entries) == 1 && m.Entries[0].ID == "attestd.e-web" && len(m.Lost) == 0
		}},
		{[]string{"shadow"}, 3, "SHADOW   2 entries would be refused", func(m migrated) bool {
			return len(m.Verdicts) == 3 && !m.Verdicts[0].Granted && !m.Verdicts[1].Granted && m.Verdicts[2].Granted
		}},
		{[]string{"enforce", "--prefix", "attestd."}, 3, "WOULD ENFORCE   1 entries   1 left as they are",
			func(m migrated) bool {
				return len(m.Entries) == 1 && m.Entries[0].ID == "attestd.good" && !m.Applied &&
					strings.Contains(m.Left["attestd.held"], "is quarantined")
			}},
	} {
		words := append(append([]string{"migrate"}, row.args...), lists...)
		code, stdout, stderr := runAt(server, words...)
		if code != row.code || !strings.HasPrefix(stdout.String(), row.lead) || stderr.Len() != 0 {
			t.Errorf("%q: exit code %d, want %d\n%s%s", row.args, code, row.code, stdout, stderr)
		}
		code, stdout, _ = runAt(server, append(words, "-o", "json")...)
		var said migrated
		if err := json.Unmarshal(stdout.Bytes(), &said); code != row.code || err != nil || !row.check(said) {
			t.Errorf("%q: %v: %s", row.args, err, stdout)
		}
		if err := obeysSchema("attestd.migrate.v1", stdout.Bytes()); err != nil {
			t.Errorf("%q: %v", row.args, err)
		}
	}
	words := append([]string{"migrate", "plan", "--nodes", pairs, "--out", out}, lists...)
	if code, stdout, stderr := runAt(server, words...); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	document, err := os.ReadFile(out)
	var entries migrate.Entries
	if err != nil || json.Unmarshal(document, &entries) != nil || len(entries.Entries) != 1 {
		t.Errorf("%v: %s", err, document)
	}
	if code, _, _ := runAt(server, words...); code != exitUsage {
		t.Errorf("a file is replaced: exit code %d", code)
	}
	for _, args := range [][]string{
		{"plan"}, {"plan", "--spire", "/tmp/s"}, {"plan", "--entries", lists[1]}, append([]string{"enforce"}, lists...),
		append([]string{"enforce", "--prefix", "attestd.", "--apply"}, lists...),
		append([]string{"enforce", "--prefix", "attestd.", "--selector", "unix:uid:0"}, lists...),
		append([]string{"plan", "--spire", "unix:/tmp/s"}, lists...),
	} {
		code, stdout, stderr := runAt(server, append([]string{"migrate"}, args...)...)
		if code != exitUsage || stdout.Len() != 0 || !strings.Contains(stderr.String(), "hint: ") {
			t.Errorf("%q: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
	code, _, stderr := runAt(server, "migrate", "plan", "--spire", "unix:"+filepath.Join(t.TempDir(), "none"))
	if code != 4 {
		t.Errorf("a SPIRE that does not answer: exit code %d: %s", code, stderr)
	}
}
