package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/subject"
)

// tokenShown is a token as a server would make one.
var tokenShown = "attestd-enrol-0123456789abcdef-" + strings.Repeat("A", 43)

// enrolmentDocs are what a server answers about enrolments.
func enrolmentDocs() map[string]any {
	waits := subject.Ownership{
		Key:    subject.Key{Kind: "instance", Value: "ek:9c41f3aa07" + strings.Repeat("0", 54)},
		Tenant: "default", Method: subject.MethodNone, Status: subject.StatusPending, Source: "192.0.2.7",
		Format: "tpm", CreatedAt: night.Add(-time.Hour), SeenAt: night.Add(-90 * time.Second), Seen: 41,
		ExpiresAt: night.Add(time.Hour), Generation: 3,
	}
	ours := subject.Ownership{
		Key:    subject.Key{Kind: "gce-project", Value: "acme-prod"},
		Tenant: "blue", Method: subject.MethodCloud, Status: subject.StatusApproved, Source: "rack-3.csv",
		Label: "prod \x1b[31m red", By: "ann", CreatedAt: night.Add(-24 * time.Hour),
		DecidedAt: night.Add(-24 * time.Hour), ExpiresAt: night.Add(-time.Minute), Generation: 1,
	}
	decided := waits
	decided.Status, decided.Method, decided.By, decided.DecidedAt = subject.StatusApproved, subject.MethodEnrolment, "ann", night
	decided.Label, decided.ExpiresAt = "rack-3-host-7", time.Time{}
	denied := waits
	denied.Status, denied.By, denied.DecidedAt, denied.ExpiresAt = subject.StatusDenied, "ann", night, time.Time{}
	return map[string]any{
		"GET enrolments": wire.Enrolments{
			Schema: "attestd.enrolments.v1", Enrolments: []subject.Ownership{ours, waits},
		},
		"POST enrolments/approve": wire.Decided{Schema: "attestd.enrolment.v1", Enrolment: decided},
		"POST enrolments/deny":    wire.Decided{Schema: "attestd.enrolment.v1", Enrolment: denied, DryRun: true},
		"POST enrolments/remove":  wire.Decided{Schema: "attestd.enrolment.v1", Enrolment: ours},
		"POST enrolments/import": wire.Imported{
			Schema: "attestd.imported.v1", Added: 102, Updated: 1, Same: 7, Problems: []string{},
			Entries: []subject.Ownership{ours, decided},
		},
		"POST enrolments/tokens": wire.Token{
			Schema: "attestd.enrolment-token.v1", ID: "0123456789abcdef", Token: tokenShown, Tenant: "default",
			ExpiresAt: night.Add(time.Hour),
		},
	}
}

// listFile is a list in a file.
func listFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rack-3.csv")
	if err := os.WriteFile(path, []byte("kind,value\ngce-project,acme-prod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhatEnrollSays compares each answer with the page that people read (testdata/admin; -update
// writes it anew), and its JSON with its schema.
func TestWhatEnrollSays(t *testing.T) {
	path := listFile(t)
	for _, row := range []struct {
		page, schema string
		args         []string
	}{
		{"enroll-ls", "attestd.enrolments.v1", []string{"enroll", "ls"}},
		{"enroll-approve", "attestd.enrolment.v1", []string{"enroll", "approve", "9c41f3aa", "--label", "rack-3-host-7"}},
		{"enroll-deny", "attestd.enrolment.v1", []string{"enroll", "deny", "9c41f3aa", "--reason", "not ours", "--dry-run"}},
		{"enroll-rm", "attestd.enrolment.v1", []string{"enroll", "rm", "gce-project:acme-prod"}},
		{"enroll-import", "attestd.imported.v1", []string{"enroll", "import", path, "--tenant", "blue"}},
		{"enroll-token", "attestd.enrolment-token.v1", []string{"enroll", "token", "--format", "tpm"}},
	} {
		t.Run(row.page, func(t *testing.T) {
			server, _ := adminServerOf(t, enrolmentDocs())
			code, stdout, stderr := runAt(server, row.args...)
			if code != exitAccepted || stderr.Len() != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			text := stdout.String()
			golden := filepath.Join("testdata", "admin", row.page+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
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
			if err := obeysSchema(row.schema, stdout.Bytes()); err != nil || code != exitAccepted {
				t.Errorf("exit code %d: %v", code, err)
			}
		})
	}
}

func TestAListThatIsRefusedIsNoSuccess(t *testing.T) {
	docs := enrolmentDocs()
	docs["POST enrolments/import"] = wire.Imported{
		Schema: "attestd.imported.v1", Problems: []string{"line 2: is wrong", "line 9: too"},
		Entries: []subject.Ownership{},
	}
	server, requests := adminServerOf(t, docs)
	code, stdout, _ := runAt(server, "enroll", "import", listFile(t))
	if code != exitRejected || !strings.HasPrefix(stdout.String(), "REFUSED") ||
		!strings.Contains(stdout.String(), "line 9: too") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	body := (*requests)[0].body
	if body["kind"] != "csv" || body["tenant"] != "default" || body["source"] != "rack-3.csv" {
		t.Errorf("asked for %v", body)
	}
	code, stdout, _ = runAt(server, "enroll", "import", listFile(t), "-o", "json")
	if err := obeysSchema("attestd.imported.v1", stdout.Bytes()); code != exitRejected || err != nil {
		t.Errorf("exit code %d: %v", code, err)
	}
}

func TestATokenGoesIntoAFileAndNowhereElse(t *testing.T) {
	server, requests := adminServerOf(t, enrolmentDocs())
	path := filepath.Join(t.TempDir(), "token")
	for _, form := range []string{"text", "json"} {
		code, stdout, stderr := runAt(server, "enroll", "token", "--format", "tpm", "--out", path+form, "-o", form)
		kept, err := os.ReadFile(path + form)
		if code != exitAccepted || err != nil || string(kept) != tokenShown+"\n" {
			t.Fatalf("exit code %d: %q, %v, %s", code, kept, err, stderr)
		}
		if strings.Contains(stdout.String()+stderr.String(), tokenShown) { // neg: 166
			t.Errorf("%s shows it too: %s", form, stdout)
		}
		if info, err := os.Stat(path + form); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v: %v", info.Mode(), err)
		}
	}
	asked := len(*requests)
	code, _, stderr := runAt(server, "enroll", "token", "--format", "tpm", "--out", path+"text")
	if code != exitUsage || len(*requests) != asked || !strings.Contains(stderr.String(), "exists") {
		t.Errorf("over a file: exit code %d, %d more requests: %s", code, len(*requests)-asked, stderr)
	}
	down, _ := adminServerOf(t, nil)
	code, _, _ = runAt(down, "enroll", "token", "--format", "tpm", "--out", path+"2")
	if _, err := os.Stat(path + "2"); code != exitUndecided || err == nil {
		t.Errorf("with a server that is down: exit code %d, the file: %v", code, err)
	}
}

func TestEnrollCommandsThatAreRefusedBeforeTheyAsk(t *testing.T) {
	for name, args := range map[string][]string{
		"a list of no kind":               {"import", "/dev/null"},
		"a kind that there is not":        {"import", "x.csv", "--kind", "xlsx"},
		"a list that is not there":        {"import", "/nonexistent/x.csv"},
		"a day for a time":                {"approve", "9c41f3aa", "--expires", "2027-01-31"},
		"no key":                          {"approve"},
		"two keys":                        {"deny", "9c41f3aa", "9c41f3ab"},
		"a status that there is not":      {"ls", "--status", "lost"},
		"two statuses":                    {"ls", "--pending", "--status", "denied"},
		"a page of nothing":               {"ls", "--limit", "0"},
		"a token for nothing":             {"token"},
		"a token for no format there is":  {"token", "--format", "any"},
		"a token for a year":              {"token", "--format", "tpm", "--lifetime", "8760h"},
		"a token for half a second":       {"token", "--format", "tpm", "--lifetime", "60.5s"},
		"a command that there is not":     {"aprove", "9c41f3aa"},
		"an expiry of a denial":           {"deny", "9c41f3aa", "--expires", "2027-01-31T00:00:00Z"},
		"a token in a folder not there":   {"token", "--format", "tpm", "--out", "/nonexistent/token"},
		"an empty tenant, as of a script": {"token", "--format", "tpm", "--tenant", ""},
	} {
		server, requests := adminServerOf(t, enrolmentDocs())
		code, stdout, stderr := runAt(server, append([]string{"enroll"}, args...)...)
		if code != exitUsage || len(*requests) != 0 || stdout.Len() != 0 ||
			!strings.Contains(stderr.String(), "hint:") {
			t.Errorf("%s: exit code %d, %d requests, %s%s", name, code, len(*requests), stdout, stderr)
		}
	}
}
