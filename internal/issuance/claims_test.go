package issuance_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/subject"
)

var update = flag.Bool("update", false, "write the table of docs/svid-claims.md instead of comparing")

// TestDocsHaveTheClaims compares the published table with the claims that there are.
func TestDocsHaveTheClaims(t *testing.T) {
	const file, begin, end = "../../docs/svid-claims.md", "<!-- claims -->\n", "<!-- end -->"
	text, err := os.ReadFile(file)
	must(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", file)
	}
	var want strings.Builder
	want.WriteString("| Claim | Type | Says | For |\n|---|---|---|---|\n")
	for _, claim := range issuance.Claims() {
		who := "everybody"
		if claim.Risk {
			who = "`spire.audiences`"
		}
		if !claim.Always {
			who += ", where `attested`"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", claim.Name, claim.Type, claim.Meaning, who)
	}
	if *update {
		must(t, os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o600))
		return
	}
	if got != want.String() {
		t.Errorf("%s has\n%s\nwant\n%s\nhint: go test ./internal/issuance -update", file, got, want.String())
	}
}

// TestEveryClaimIsListedAndOfItsKind: SPIRE writes other numbers than integers below 10^6 as 1e+06, and
// consumers that want an integer fail. neg: 148
func TestEveryClaimIsListedAndOfItsKind(t *testing.T) {
	w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	for risk := range 70 {
		w.publish(func(s *subject.Subject) {
			s.Floor, s.Generation = attestd.Risk(risk), uint64(risk)+2 //nolint:gosec // small
		}, 1)
		w.on(1)
		listed := map[string]issuance.Claim{}
		for _, claim := range issuance.Claims() {
			listed[claim.Name] = claim
		}
		for name, value := range w.granted(jwt(workload)).Claims {
			if _, there := listed[name]; !there {
				t.Errorf("claim %s is not listed", name)
			}
			switch value := value.(type) {
			case string:
				if strings.HasSuffix(name, "_at") {
					_, err := time.Parse(time.RFC3339, value)
					must(t, err)
				}
			case bool:
			case int:
				if value < 0 || value >= 1_000_000 || name == "risk_score" && value != risk {
					t.Errorf("%s is %d at a risk of %d", name, value, risk)
				}
			default:
				t.Errorf("%s is a %T", name, value)
			}
		}
	}
}
