package enforcer_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/enforcer"
)

func TestWhatIsInDoubtAboutEnforcersIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct{ name, document, want string }{
		{"another schema", replaced(plain(), "enforcers.v1", "enforcers.v2"), `want "attestd.enforcers.v1"`},
		{"nobody", "schema: attestd.enforcers.v1\nenforcers: []\n", "is empty"},
		{"an unknown key", replaced(plain(), "vouches:", "vouchs:"), "did you mean vouches?"},
		{"an unknown right", replaced(plain(), "ext_authz", "ext_auth"), "did you mean ext_authz?"},
		{"no rights", replaced(plain(), "    may: [forward-auth]\n", ""), "may: is missing"},
		{"an empty list of rights", replaced(plain(), "[forward-auth]", "[]"), "is empty"},
		{"a right that stands twice", replaced(plain(), "[forward-auth]", "[signals, signals]"), "stands twice"},
		{"no tenants", replaced(plain(), "    tenants: [acme]\n", ""), "tenants: is missing"},
		{"an empty tenant", replaced(plain(), "[acme]", "['']"), "is empty"},
		{"every tenant and one", replaced(plain(), "[acme]", "['*', acme]"), `want "*" alone`},
		{"a tenant with a blank", replaced(plain(), "[acme]", "['a b']"), "printable ASCII"},
		{"known in two ways", replaced(plain(), "  - user: proxy", "  - user: proxy\n    spiffe: "+gateway+"2"),
			"got 2 of spiffe, user and token"},
		{"known in no way", replaced(plain(), "user: proxy", "vouches: true"), "got 0 of spiffe, user and token"},
		{"a user that is none", replaced(plain(), "user: proxy", "user: ghost"), "unknown user ghost"},
		{"no SPIFFE ID", replaced(plain(), gateway, "https://example.org/gateway"), "is no SPIFFE ID"},
		{"a SPIFFE ID twice in another case", plain() + "  - spiffe: spiffe://example.org/Gateway\n" +
			"    may: [authzen]\n    tenants: [globex]\n", "a second time"},
		{"a token without its digest", replaced(plain(), "    sha256: "+sumOf(secret)+"\n", ""), "token and sha256 together"},
		{"a digest of a user", replaced(plain(), "user: proxy", "user: proxy\n    sha256: "+sumOf("x")), "together"},
		{"a token in place of its digest", replaced(plain(), sumOf(secret), secret), "64 lower-case hex digits"},
		{"a digest in capitals", replaced(plain(), sumOf(secret), strings.ToUpper(sumOf(secret))), "lower-case"},
		{"one token for two", plain() + "  - token: other\n    sha256: " + sumOf(secret) +
			"\n    may: [authzen]\n    tenants: [x]\n", "a second time"},
		{"no rate", replaced(plain(), "rate: 2", "rate: 0"), "want 1 to 1000000"},
		{"a rate beyond reason", replaced(plain(), "rate: 2", "rate: 1000001"), "want 1 to 1000000"},
		{"a name with a colon", replaced(plain(), "token: edge", "token: 'e:dge'"), "letters, digits"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.write(row.document)
			err := w.book.Reload()
			if err == nil || !strings.Contains(err.Error(), row.want) || classOf(err) != attestd.ClassConfig {
				t.Errorf("got %v (%s), want CONFIG with %q", err, classOf(err), row.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) && !strings.Contains(row.name, "in place") {
				t.Error("the error quotes the token")
			}
			_, err = enforcer.New(w.config())
			if classOf(err) != attestd.ClassConfig {
				t.Errorf("a start with it has %v", err)
			}
		})
	}
}

func TestAFileThatOthersCanWriteIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, mode := range []os.FileMode{0o620, 0o602} {
		if err := os.Chmod(w.path, mode); err != nil {
			t.Fatal(err)
		}
		if err := w.book.Reload(); classOf(err) != attestd.ClassConfig {
			t.Errorf("mode %o: got %v", mode, err)
		}
	}
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	if err := w.book.Reload(); classOf(err) != attestd.ClassConfig {
		t.Errorf("without a file: got %v", err)
	}
	if err := os.Mkdir(w.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.book.Reload(); classOf(err) != attestd.ClassConfig {
		t.Errorf("a folder: got %v", err)
	}
}

func TestEveryFieldOfTheConfigurationIsRequired(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*enforcer.Config){
		"Path":       func(c *enforcer.Config) { c.Path = "" },
		"Identifier": func(c *enforcer.Config) { c.Identifier = nil },
		"Standings":  func(c *enforcer.Config) { c.Standings = nil },
		"LookupUser": func(c *enforcer.Config) { c.LookupUser = nil },
		"Now":        func(c *enforcer.Config) { c.Now = nil },
	} {
		config := w.config()
		change(&config)
		if _, err := enforcer.New(config); classOf(err) != attestd.ClassConfig {
			t.Errorf("without %s: got %v", name, err)
		}
	}
}

func TestTheZeroEnforcerMayDoNothing(t *testing.T) {
	var one enforcer.Enforcer
	for _, right := range append(enforcer.Rights(), "") {
		if one.May(right) {
			t.Errorf("it may use %q", right)
		}
	}
	if one.Vouches() || one.Speaks("acme") || one.Speaks("") || one.Speaks(enforcer.AllTenants) {
		t.Error("it vouches, or speaks for a tenant")
	}
	if one.Take(time.Now()) <= 0 {
		t.Error("it may ask")
	}
}
