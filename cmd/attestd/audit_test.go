package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
)

// leaves are a log as a source.
type leaves [][]byte

func (l leaves) Leaves(_ context.Context, start int64, limit int) ([][]byte, error) {
	if start >= int64(len(l)) {
		return nil, audit.ErrAbsent
	}
	return l[start:min(start+int64(limit), int64(len(l)))], nil
}

func (leaves) Hashes(context.Context, int, int64, int) ([]byte, error) { return nil, nil }

// writtenLog is a log of so many entries, its newest checkpoint, and the key.
func writtenLog(t *testing.T, size int, key *audit.Key) (log leaves, signed string) {
	t.Helper()
	var tree audit.Tree
	for number := range size {
		entry, err := tree.Append(audit.Record{
			At: night.Add(time.Duration(number-size) * time.Second), Actor: "ann", Via: "certificate",
			Tenant: "default", Action: "quarantine", Target: fmt.Sprintf("spiffe://example.org/agent/%d", number),
			Outcome: "done", Reason: "alert \x1b[31m 4471",
		})
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, entry.Leaf)
	}
	signed, err := audit.Checkpoint{Origin: key.Name(), Size: tree.Size(), Hash: tree.Hash()}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return log, signed
}

// put writes a file into a folder and returns its path.
func put(t *testing.T, folder, name, content string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func auditKey(t *testing.T) *audit.Key {
	t.Helper()
	key, err := audit.NewEphemeralKey("example.org/attestd/audit")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestAuditVerifyOfAFolder works without a network and names the first entry that is wrong. neg: 186
func TestAuditVerifyOfAFolder(t *testing.T) {
	key := auditKey(t)
	beside := t.TempDir()
	pinned := put(t, beside, "key.pub", key.Public()+"\n")
	stranger := put(t, beside, "other.pub", auditKey(t).Public())
	_, newer := writtenLog(t, 310, key)
	external := put(t, beside, "newer", newer)
	for _, row := range []struct {
		name   string
		change func(folder string)
		flags  []string
		code   int
		want   []string
	}{
		{"a log that is whole", nil, nil, exitAccepted, []string{"WHOLE   300 entries", "came with the log"}},
		{"a log that is whole, with its key", nil, []string{"--key", pinned}, exitAccepted, []string{"WHOLE"}},
		{"a log by another key", nil, []string{"--key", stranger}, exitRejected, []string{"not signed by the key"}},
		{"a log that was cut, and a checkpoint from elsewhere", nil, []string{"--checkpoint", external}, exitRejected,
			[]string{"TAMPERED   first bad index 300", "missing"}},
		{"an entry that was edited", func(folder string) {
			path := filepath.Join(folder, "tile", "entries", "000")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			put(t, folder, "tile/entries/000", strings.Replace(string(data), "agent/77", "agent/78", 1))
		}, nil, exitRejected, []string{"TAMPERED   first bad index 77", "audit ls --start 74"}},
		{"a checkpoint that is gone", func(folder string) {
			if err := os.Remove(filepath.Join(folder, "checkpoint")); err != nil {
				t.Fatal(err)
			}
		}, nil, exitUsage, []string{"holds no exported audit log"}},
		{"a key that is gone", func(folder string) {
			if err := os.Remove(filepath.Join(folder, "key")); err != nil {
				t.Fatal(err)
			}
		}, nil, exitUsage, []string{"came without its key", "--key"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			log, signed := writtenLog(t, 300, key)
			if _, err := audit.Export(t.Context(), log, signed, key.Public(), folder); err != nil {
				t.Fatal(err)
			}
			if row.change != nil {
				row.change(folder)
			}
			// No server is asked: there is none.
			args := append([]string{"audit", "verify", folder}, row.flags...)
			code, stdout, stderr := runAt("unix:/nonexistent/s", args...)
			if code != row.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, row.code, stdout, stderr)
			}
			for _, want := range row.want {
				said := strings.Join(strings.Fields(stdout.String()+stderr.String()), " ")
				if !strings.Contains(said, strings.Join(strings.Fields(want), " ")) {
					t.Errorf("%q is not in\n%s%s", want, stdout, stderr)
				}
			}
			if code, stdout, _ = runAt("unix:/nonexistent/s", append(args, "-o", "json")...); code != row.code {
				t.Errorf("exit code %d with JSON, want %d", code, row.code)
			}
			if stdout.Len() > 0 {
				if err := obeysSchema("attestd.audit-verify.v1", stdout.Bytes()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func pageOf(log leaves, signed, key string) wire.AuditEntries {
	page := wire.AuditEntries{
		Schema: "attestd.audit-entries.v1", Leaves: log, Size: int64(len(log)), Checkpoint: signed, Key: key,
		Records: []audit.Record{},
	}
	for _, leaf := range log {
		page.Records = append(page.Records, audit.Read(leaf))
	}
	return page
}

// TestAuditOfAServer lists, verifies and exports; a server that lies about its log is found out.
// neg: 186
func TestAuditOfAServer(t *testing.T) {
	key := auditKey(t)
	log, signed := writtenLog(t, 30, key)
	server, _ := adminServerOf(t, map[string]any{"GET audit/entries": pageOf(log, signed, key.Public())})
	folder := filepath.Join(t.TempDir(), "export")
	for _, row := range []struct {
		args   []string
		schema string
		want   string
	}{
		{[]string{"audit", "verify"}, "attestd.audit-verify.v1", "WHOLE   30 entries"},
		{[]string{"audit", "ls"}, "attestd.audit-entries.v1", "ENTRIES   0 to 29 of 30"},
		{[]string{"audit", "export", folder}, "attestd.audit-export.v1", "EXPORTED   30 entries"},
		{[]string{"audit", "ls", folder}, "attestd.audit-entries.v1", "spiffe://example.org/agent/29"},
	} {
		code, stdout, stderr := runAt(server, row.args...)
		if code != exitAccepted || !strings.Contains(stdout.String(), row.want) {
			t.Errorf("%v: exit code %d\n%s%s", row.args, code, stdout, stderr)
		}
		if strings.Contains(stdout.String(), "\x1b") {
			t.Errorf("%v: what a caller wrote steers the terminal", row.args)
		}
		for line := range strings.SplitSeq(stdout.String(), "\n") {
			if len(line) > 100 {
				t.Errorf("%v: line of %d columns", row.args, len(line))
			}
		}
		code, stdout, _ = runAt(server, append(row.args, "-o", "json")...)
		if code != exitAccepted {
			t.Errorf("%v: exit code %d with JSON", row.args, code)
		}
		if err := obeysSchema(row.schema, stdout.Bytes()); err != nil {
			t.Errorf("%v: %v", row.args, err)
		}
	}

	forged := bytes.Replace(log[12], []byte("ann"), []byte("eve"), 1)
	changed := append(append(append(leaves{}, log[:12]...), forged), log[13:]...)
	lying, _ := adminServerOf(t, map[string]any{"GET audit/entries": pageOf(changed, signed, key.Public())})
	code, stdout, _ := runAt(lying, "audit", "verify")
	if code != exitRejected || !strings.Contains(stdout.String(), "TAMPERED   first bad index between 0 and 29") {
		t.Errorf("a server that changed an entry: exit code %d\n%s", code, stdout)
	}
	before, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, _ = runAt(lying, "audit", "export", folder)
	if code != exitRejected || !strings.Contains(stdout.String(), "TAMPERED") {
		t.Errorf("a server that changed an entry was exported: exit code %d\n%s", code, stdout)
	}
	if after, err := os.ReadFile(filepath.Join(folder, "checkpoint")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the earlier export was touched: %v", err)
	}

	signedAnew := bytes.Replace(log[12], []byte("ann"), []byte("eve"), 1)
	_, rewritten := rewrite(t, log, 12, signedAnew, key)
	broken, _ := adminServerOf(t, map[string]any{"GET audit/entries": pageOf(changed, rewritten, key.Public())})
	code, stdout, _ = runAt(broken, "audit", "export", folder)
	if code != exitRejected || !strings.Contains(stdout.String(), "first bad index 12") {
		t.Errorf("a server whose key was taken: exit code %d\n%s", code, stdout)
	}
	if code, _, stderr := runAt("unix:/nonexistent/s", "audit", "verify"); code != exitUndecided && code != exitUsage {
		t.Errorf("no server: exit code %d\n%s", code, stderr)
	}
}

// rewrite signs a log with another leaf in it.
func rewrite(t *testing.T, log leaves, at int, leaf []byte, key *audit.Key) (leaves, string) {
	t.Helper()
	var tree audit.Tree
	out := append(leaves{}, log...)
	out[at] = leaf
	for _, one := range out {
		record, err := audit.Decode(one)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Append(record); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := audit.Checkpoint{Origin: key.Name(), Size: tree.Size(), Hash: tree.Hash()}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return out, signed
}

func TestAuditWordsThatCannotBeRead(t *testing.T) {
	for _, args := range [][]string{
		{"audit", "ls", "--limit", "0"}, {"audit", "ls", "--limit", "1001"}, {"audit", "ls", "--start", "-2"},
		{"audit", "export"}, {"audit", "verify", "a", "b"}, {"audit", "forget"}, {"audit", "verify", "/nonexistent"},
		{"audit", "verify", "-o", "xml"},
	} {
		code, stdout, stderr := runAt("unix:/nonexistent/s", args...)
		if code != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), "hint:") {
			t.Errorf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

// TestDoctorSaysTheWorstFirst reads a server's conditions.
func TestDoctorSaysTheWorstFirst(t *testing.T) {
	condition := func(id, severity string) wire.Condition {
		return wire.Condition{ID: id, Severity: severity, Detail: "so", Effect: "that", Fix: "this"}
	}
	well := condition("audit/unavailable", "ok")
	for _, row := range []struct {
		name  string
		found []wire.Condition
		flags []string
		code  int
		lead  string
	}{
		{"all well", []wire.Condition{well}, nil, exitAccepted, "OK   2 looked at   2 ok"},
		{"a warning", []wire.Condition{well, condition("store/space-low", "warning")}, nil, exitAccepted, "WARNING"},
		{"a warning, strictly", []wire.Condition{condition("store/space-low", "warning")}, []string{"--strict"},
			exitRejected, "WARNING"},
		{"a failure", []wire.Condition{
			well, condition("store/space-low", "warning"), condition("workers/failing", "unknown"),
			condition("audit/tampered", "failure"),
		}, nil, exitRejected, "FAILURE   5 looked at   1 failure   1 unknown   1 warning   2 ok"},
		{"what is unknown", []wire.Condition{well, condition("audit/tampered", "unknown")}, nil, exitUndecided, "UNKNOWN"},
		{"a word from a later version", []wire.Condition{well, condition("audit/odd", "dire")}, nil, exitUndecided,
			"UNKNOWN"},
		{"two words about one", []wire.Condition{
			condition("audit/tampered", "failure"), condition("audit/tampered", "ok"),
		}, nil, exitRejected, "FAILURE   2 looked at   1 failure   1 ok"},
		{"one part", []wire.Condition{condition("audit/tampered", "failure"), condition("store/guard-failing", "ok")},
			[]string{"--only", "store"}, exitAccepted, "OK"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server, _ := adminServerOf(t, map[string]any{"GET conditions": wire.Conditions{
				Schema: "attestd.conditions.v1", Conditions: row.found,
			}})
			code, stdout, stderr := runAt(server, append([]string{"doctor"}, row.flags...)...)
			if code != row.code || !strings.HasPrefix(stdout.String(), row.lead) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, row.code, row.lead, stdout, stderr)
			}
			if row.name == "a failure" && strings.Index(stdout.String(), "FAIL") > strings.Index(stdout.String(), "WARN") {
				t.Errorf("the worst is not first:\n%s", stdout)
			}
			_, stdout, _ = runAt(server, append([]string{"doctor", "-o", "json"}, row.flags...)...)
			if err := obeysSchema("attestd.doctor.v1", stdout.Bytes()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDoctorWithoutAServerKnowsNothing: silence is not health.
func TestDoctorWithoutAServerKnowsNothing(t *testing.T) {
	code, stdout, _ := runAt("unix:/nonexistent/s", "doctor")
	if code != exitUndecided || !strings.Contains(stdout.String(), "server/unreachable") ||
		!strings.Contains(stdout.String(), "fix") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// TestDoctorLooksAtFiles without a server.
func TestDoctorLooksAtFiles(t *testing.T) {
	state := t.TempDir()
	if err := os.Chmod(state, 0o700); err != nil { //nolint:gosec // a folder
		t.Fatal(err)
	}
	good := "schema: attestd.config.v1\nstate_dir: " + state + "\n"
	for _, row := range []struct {
		name, config string
		mode         os.FileMode
		code         int
		want         string
	}{
		{"all well", good, 0o600, exitAccepted, "OK"},
		{"a laboratory", good + "verify:\n  policy: laboratory\n", 0o600, exitAccepted, "policy/laboratory"},
		{"no workers", good + "verify:\n  isolation: none\n", 0o600, exitRejected, "workers/not-isolated"},
		{"a word that is no key", good + "verfy: {}\n", 0o600, exitRejected, "verfy"},
		{"a policy that is not there", good + "verify:\n  policy: /nonexistent.yaml\n", 0o600, exitRejected,
			"/nonexistent.yaml"},
		{"a key that others can read", good, 0o644, exitRejected, "audit.key (0644)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			key := put(t, state, "audit.key", "x")
			if err := os.Chmod(key, row.mode); err != nil {
				t.Fatal(err)
			}
			file := put(t, t.TempDir(), "attestd.yaml", row.config)
			code, stdout, stderr := runAt("", "doctor", "--offline", "--config", file)
			if code != row.code || !strings.Contains(stdout.String(), row.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, row.code, row.want, stdout, stderr)
			}
			var answer diagnosis
			_, stdout, _ = runAt("", "doctor", "--offline", "--config", file, "-o", "json")
			if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil || answer.Schema == "" {
				t.Errorf("%v: %s", err, stdout)
			}
		})
	}
	for _, args := range [][]string{{"doctor", "--offline"}, {"doctor", "--only", "nothing"}} {
		if code, _, stderr := runAt("", args...); code != exitUsage || !strings.Contains(stderr.String(), "hint:") {
			t.Errorf("%v: exit code %d\n%s", args, code, stderr)
		}
	}
}
