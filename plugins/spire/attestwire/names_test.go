package attestwire_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd/plugins/spire/attestwire"
)

func TestAgentIDs(t *testing.T) {
	for _, good := range []string{
		agentID, "spiffe://example.org/spire/agent/attestd/x",
		"spiffe://example.org/spire/agent/attestd/" + strings.Repeat("a", 2048-41),
	} {
		if err := attestwire.CheckAgentID(good, "example.org"); err != nil {
			t.Errorf("%v", err)
		}
	}
	// neg: 142
	const in = "spiffe://example.org/spire/agent/attestd/"
	for name, bad := range map[string]string{
		"nothing":                         "",
		"a workload":                      "spiffe://example.org/web",
		"the server":                      "spiffe://example.org/spire/server",
		"an agent of another attestor":    "spiffe://example.org/spire/agent/join_token/x",
		"a name that begins like ours":    "spiffe://example.org/spire/agent/attestd2/x",
		"our part alone":                  "spiffe://example.org/spire/agent/attestd",
		"an empty name":                   in,
		"a slash at the end":              in + "x/",
		"an empty segment":                in + "x//y",
		"a dot segment":                   in + "./x",
		"a way up":                        in + "../../../web",
		"a way up at the end":             in + "x/..",
		"an escaped way up":               in + "%2e%2e/web",
		"an escape":                       in + "%41",
		"another trust domain":            "spiffe://example.com/spire/agent/attestd/x",
		"an upper-case trust domain":      "spiffe://EXAMPLE.org/spire/agent/attestd/x",
		"an upper-case scheme":            "SPIFFE://example.org/spire/agent/attestd/x",
		"a port":                          "spiffe://example.org:1/spire/agent/attestd/x",
		"a user":                          "spiffe://a@example.org/spire/agent/attestd/x",
		"a query":                         in + "x?y",
		"a fragment":                      in + "x#y",
		"a line break":                    in + "x\n",
		"a letter beyond ASCII":           in + "é",
		"2,049 bytes":                     in + strings.Repeat("a", 2049-len(in)),
		"a trust domain of our beginning": "spiffe://example.org.evil/spire/agent/attestd/x",
	} {
		if err := attestwire.CheckAgentID(bad, "example.org"); err == nil {
			t.Errorf("%s: %q was taken", name, bad)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: the error holds what it found: %q", name, err)
		}
	}
}

func TestSelectors(t *testing.T) {
	good := []string{
		"format:tpm", "tenant:blue", "tier:low", "measurement:kernel%3A6.1", "measurement:shim",
		"state:trusted",
	}
	if err := attestwire.CheckSelectors(good, "blue"); err != nil {
		t.Error(err)
	}
	// neg: 199
	for name, bad := range map[string]string{
		"a second colon":          "measurement:a:tier:low",
		"a line break":            "measurement:a\ntier:low",
		"a line break at its end": "measurement:a\n",
		"a space":                 "measurement:a b",
		"an upper-case letter":    "measurement:A",
		"an escape cut off":       "measurement:%4",
		"a lower-case escape":     "measurement:%3a",
		"a percent sign":          "measurement:%",
		"a letter beyond ASCII":   "measurement:é",
		"no value":                "measurement:",
		"no name":                 ":x",
		"no colon":                "measurement",
		"nothing":                 "",
		"a comma":                 "measurement:a,tier",
		"257 bytes":               "measurement:" + strings.Repeat("a", 257-12),
		"another tier":            "tier:medium",
		"the same again":          "measurement:shim",
		"another tenant":          "tenant:red",
	} {
		if err := attestwire.CheckSelectors(append(good[:len(good):len(good)], bad),
			"blue"); err == nil {
			t.Errorf("%s: %q was taken", name, bad)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: the error holds what it found: %q", name, err)
		}
	}
	// neg: 195
	for name, list := range map[string][]string{
		"none":                {},
		"none of a tenant":    {"tier:low"},
		"another tenant's":    {"tier:low", "tenant:red"},
		"too many to be ours": append(good[:len(good):len(good)], many(65)...),
	} {
		if err := attestwire.CheckSelectors(list, "blue"); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func many(count int) []string {
	var out []string
	for i := range count {
		out = append(out, "measurement:"+strings.Repeat("a", i+1))
	}
	return out
}
