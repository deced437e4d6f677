package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSubcommands(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args     []string
		code     int
		out, err string
	}{
		{[]string{"version"}, 0, "attestd-spire ", ""},
		{[]string{"help"}, 0, "composer", ""},
		{nil, 2, "", "want one sub-command"},
		{[]string{"composers"}, 2, "", "hint: "},
		{[]string{"composer", "--config"}, 2, "", "want one sub-command"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(row.args, &stdout, &stderr); code != row.code || !strings.Contains(stdout.String(), row.out) ||
			!strings.Contains(stderr.String(), row.err) {
			t.Errorf("%q: %d, %q, %q", row.args, code, &stdout, &stderr)
		}
	}
}
