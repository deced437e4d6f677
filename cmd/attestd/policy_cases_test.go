package main

import (
	"strings"
	"testing"
)

func TestPolicyTest(t *testing.T) {
	const acme, written = "testdata/policy/acme", "testdata/policy/cases.yaml"
	policyPages(t, "test", "attestd.policy-test.v1", exitAccepted, "test", acme, written)
	policyPages(t, "test-failed", "attestd.policy-test.v1", exitRejected, "test", acme+"-next", written)
	shipped := "../../docs/decisions/standard-cases.yaml"
	code, stdout, stderr := runAt("", "policy", "test", "standard", shipped)
	if code != exitAccepted || !strings.HasPrefix(stdout.String(), "PASSED   3") ||
		strings.Contains(stdout.String(), "decided in no case") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ = runAt("", "policy", "test", "standard", shipped, "-o", "json"); code != exitAccepted {
		t.Errorf("exit code %d", code)
	}
	if err := obeysSchema("attestd.policy-test.v1", stdout.Bytes()); err != nil {
		t.Error(err)
	}
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"no cases":    {[]string{"standard"}, "got 1 arguments"},
		"no file":     {[]string{"standard", "nothing.yaml"}, "does not exist"},
		"no folder":   {[]string{"nothing", shipped}, "does not exist"},
		"other cases": {[]string{"standard", "testdata/inventory.yaml"}, "attestd.policy-cases.v1"},
		"a test of nothing": {[]string{"standard", put(t, t.TempDir(), "c.yaml",
			"schema: attestd.policy-cases.v1\ncases: []\n")}, "is empty"},
	} {
		code, stdout, stderr := runAt("", append([]string{"policy", "test"}, row.args...)...)
		if code != exitUsage || stdout.Len() != 0 || !strings.Contains(stderr.String(), row.want) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
	}
}
