package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPolicyDiff(t *testing.T) {
	const acme = "testdata/policy/acme"
	policyPages(t, "diff", "attestd.policy-diff.v1", exitRejected, "diff", acme, acme+"-next")
	policyPages(t, "diff-same", "attestd.policy-diff.v1", exitAccepted, "diff", acme, acme)
	code, stdout, _ := runAt("", "policy", "diff", "standard", acme)
	said := strings.Join(strings.Fields(stdout.String()), " ")
	if code != exitRejected || !strings.Contains(said, "binds anew agents") ||
		!strings.Contains(said, "standard: records that are bound to it are denied as no_policy") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if code, stdout, _ = runAt("", "policy", "diff", "standard", acme, "-o", "json"); code != exitRejected {
		t.Errorf("exit code %d", code)
	}
	if err := obeysSchema("attestd.policy-diff.v1", stdout.Bytes()); err != nil {
		t.Error(err)
	}
	if code, stdout, _ = runAt("", "policy", "diff", "standard", acme+"-none"); code != exitUsage || stdout.Len() != 0 {
		t.Errorf("no folder: exit code %d\n%s", code, stdout)
	}
}

// Comments are no difference, but the digest that records name is another one: that is said.
func TestPoliciesThatDifferInCommentsAlone(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "policy", "acme-next", "shared", "agents.cedar"))
	if err != nil {
		t.Fatal(err)
	}
	other := policyFiles(t, map[string]string{"shared/agents.cedar": "// Reviewed.\n" + string(text)})
	code, stdout, _ := runAt("", "policy", "diff", "testdata/policy/acme-next", other)
	if code != exitAccepted || !strings.HasPrefix(stdout.String(), "SAME") ||
		!strings.Contains(stdout.String(), "The digests differ") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
