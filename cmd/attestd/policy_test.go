package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/decision/cedarset"
)

// samePage compares what was printed with a page below testdata; -update writes it anew.
func samePage(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "policy", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil { //nolint:gosec // a page of the tests
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // of this tree
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
	for line := range strings.SplitSeq(string(got), "\n") {
		if strings.HasSuffix(name, ".txt") &&
			(len(line) > 100 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' })) {
			t.Errorf("%s: line %q", name, line)
		}
	}
}

// policyPages runs a command in both forms, and compares both with their pages and the JSON with its
// schema.
func policyPages(t *testing.T, page, schema string, code int, args ...string) {
	t.Helper()
	args = append([]string{"policy"}, args...)
	got, stdout, stderr := runAt("unix:/nonexistent/s", args...)
	if got != code || stderr.Len() != 0 {
		t.Errorf("%s: exit code %d, want %d: %s", page, got, code, stderr)
	}
	samePage(t, page+".txt", stdout.Bytes())
	got, stdout, stderr = runAt("unix:/nonexistent/s", append(args, "-o", "json")...)
	if got != code || stderr.Len() != 0 {
		t.Errorf("%s: exit code %d with JSON, want %d: %s", page, got, code, stderr)
	}
	if err := obeysSchema(schema, stdout.Bytes()); err != nil {
		t.Errorf("%s: %v", page, err)
	}
	samePage(t, page+".json", stdout.Bytes())
}

// policyFiles writes a folder of policies.
func policyFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestPolicyShow(t *testing.T) {
	policyPages(t, "show-acme", "attestd.policy.v1", exitAccepted, "show", "testdata/policy/acme")
	_, stdout, _ := runAt("", "policy", "show", "standard", "-o", "json")
	code, again, _ := runAt("", "policy", "show", "-o", "json")
	if err := obeysSchema("attestd.policy.v1", again.Bytes()); err != nil || code != exitAccepted {
		t.Errorf("exit code %d: %v", code, err)
	}
	if stdout.String() != again.String() || !strings.Contains(stdout.String(), `"shared/isolation#tenant-isolation"`) {
		t.Errorf("the word standard shows other policies than nothing does: %s", stdout)
	}
	code, stdout, _ = runAt("", "policy", "show", "--schema")
	if code != exitAccepted || stdout.String() != cedarset.Schema() {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// What would not be put in force is not shown either, and each of its problems is told with its place.
func TestFoldersOfPoliciesThatAreRefused(t *testing.T) {
	bad := policyFiles(t, map[string]string{
		"shared/a.cedar": "// A remark.\n@id(\"x\")\npermit (principal, action, resource)\nwhen { principal.tenannt == \"a\" };\n" +
			"@id(\"y\") @reason(\"quarantined\") forbid (principal, action, resource);",
		"shared/b.cedar": "\n\n@id(\"z\")\npermit (principal, actoin, resource);",
	})
	file := filepath.Join(bad, "shared", "a.cedar")
	for _, row := range []struct {
		name string
		args []string
		want []string
	}{
		{"every problem", []string{"show", bad},
			[]string{"shared/a.cedar:2: for policy `shared/a#x`, attribute `tenannt`", `shared/a.cedar:5: @reason("quarantined")`,
				"shared/b.cedar:", "4:26", "hint: mend each"}},
		{"no folder", []string{"show", bad + "/none"}, []string{"does not exist"}},
		{"a file", []string{"show", file}, []string{"not a folder"}},
		{"nothing", []string{"show", t.TempDir()}, []string{"no policies"}},
		{"the schema of a folder", []string{"show", bad, "--schema"}, []string{"same for every folder"}},
		{"the schema as JSON", []string{"show", "--schema", "-o", "json"}, []string{"drop -o"}},
	} {
		code, stdout, stderr := runAt("", append([]string{"policy"}, row.args...)...)
		said := strings.Join(strings.Fields(stderr.String()), " ")
		if code != exitUsage || stdout.Len() != 0 {
			t.Errorf("%s: exit code %d, stdout %q", row.name, code, stdout)
		}
		for _, want := range row.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is not in %s", row.name, want, said)
			}
		}
	}
	code, stdout, stderr := runAt("", "policy", "show", bad, "-o", "json")
	if err := obeysSchema("attestd.error.v1", stderr.Bytes()); err != nil || code != exitUsage || stdout.Len() != 0 {
		t.Errorf("exit code %d: %v", code, err)
	}
}

func mustFolder(t *testing.T, path string) fs.FS {
	t.Helper()
	files, err := policyFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
