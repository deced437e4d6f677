package introspect_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/introspect"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/subject"
)

const (
	caller = "spiffe://example.org/agent/rag-7"
	secret = "Zm9yIHRoaXMgdGVzdCBhbG9uZQ-0123456789"
	token  = "eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOiJwbGFudGVkIn0.c2lnbmF0dXJl"
)

// pipe is a connection that is no unix socket's.
var pipe, _ = net.Pipe()

// world answers what its test says of the one token.
type world struct {
	server   *introspect.Server
	log      bytes.Buffer
	asked    []decision.Credential
	who      decision.Who
	standing decision.Standing
	record   *nhi.Record
	shut     decision.Code
}

// Introspect implements [decision.Introspector].
func (w *world) Introspect(
	ctx context.Context, credential decision.Credential,
) (*decision.Input, decision.Code) {
	if _, limited := ctx.Deadline(); !limited {
		panic("an introspection has no deadline")
	}
	w.asked = append(w.asked, credential)
	return &decision.Input{Who: w.who, Standing: w.standing, Record: w.record}, w.shut
}

// nobody identifies nobody: the tests' enforcement points are known by token.
type nobody struct{}

func (nobody) Identify(
	context.Context, decision.Credential, time.Time, func(subject.ID) uint64,
) decision.Who {
	return decision.Who{Fault: decision.CodeUnauthenticated}
}
func (nobody) Stands(subject.ID, time.Time) decision.Standing { return decision.Standing{} }
func (nobody) Sequence() uint64                               { return 1 }

const ordinary = "    may: [introspect]\n    tenants: [acme]\n"

func enforcers(t testing.TB, more string) *enforcer.Book {
	t.Helper()
	sum := sha256.Sum256([]byte(secret))
	path := filepath.Join(t.TempDir(), "e.yaml")
	document := "schema: attestd.enforcers.v1\nenforcers:\n  - token: pep\n    sha256: " +
		hex.EncodeToString(sum[:]) + "\n" + more
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	book, err := enforcer.New(enforcer.Config{
		Path: path, Identifier: nobody{}, Standings: nobody{}, Now: time.Now,
		LookupUser: func(string) (uint32, error) { return 0, os.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newWorld(t testing.TB, entry string) *world {
	t.Helper()
	w := &world{
		who: decision.Who{
			ID: caller, TrustDomain: "example.org", Method: decision.MethodJWT, Audience: []string{"attestd"},
			IssuedAt: now.Add(-time.Minute), Expires: now.Add(time.Minute),
		},
		standing: decision.Standing{
			Attested: true, State: attestd.StateTrusted, Tenant: "acme", Risk: attestd.Risk(7),
			Tier: attestd.TierLow, Epoch: 3, Status: "affirming", AttestedAt: now.Add(-time.Hour),
			DueAt: now.Add(time.Hour), TEE: "sev-snp",
		},
		record: &nhi.Record{ID: caller, Tenant: "acme", Purpose: nhi.PurposeRetrieval, Ring: "stable", Policy: "standard"},
	}
	server, err := introspect.New(introspect.Config{
		Introspector: w, Enforcers: enforcers(t, entry), Deadline: time.Second, Now: func() time.Time { return now },
		Bodies: &problem.Bodies{Most: 1 << 20}, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	return w
}

func (w *world) post(t testing.TB, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, introspect.Path, strings.NewReader(body))
	request.RemoteAddr = "127.0.0.1:1"
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "Bearer "+secret)
	for _, one := range change {
		one(request)
	}
	out := httptest.NewRecorder()
	w.server.ServeHTTP(out, request.WithContext(enforcer.ConnContext(t.Context(), pipe)))
	for _, one := range []string{token, secret} {
		if strings.Contains(out.Body.String()+w.log.String(), one) {
			t.Error("a token is in the answer or the log")
		}
	}
	return out
}

func TestATokenThatCountsHasItsLiveState(t *testing.T) {
	w := newWorld(t, ordinary)
	out := w.post(t, "token="+token+"&token_type_hint=access_token")
	var got map[string]any
	if err := json.Unmarshal(out.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"active": true, "sub": caller, "token_type": "Bearer", "aud": []any{"attestd"}, "exp": 1767323105.0,
		"iat": 1767322985.0, "trust_domain": "example.org", "tenant": "acme", "state": "trusted",
		"risk_score": 7.0, "risk_tier": "low", "risk_epoch": 3.0, "ear_status": "affirming",
		"attested_at": "2026-01-02T02:04:05Z", "due_at": "2026-01-02T04:04:05Z", "tee": "sev-snp",
		"purpose": "retrieval", "ring": "stable", "policy": "standard",
	}
	if out.Code != 200 || !reflect.DeepEqual(got, want) || out.Header().Get("Cache-Control") != "no-store" ||
		out.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d %v\nwant %v", out.Code, got, want)
	}
	if len(w.asked) != 1 || w.asked[0].Token != token {
		t.Errorf("was asked %v", w.asked)
	}
}

// What does not count is inactive, without a word more; what cannot be told is no answer.
//
// neg: 143, 144, 145, 172, 174, 188
func TestWhatDoesNotCountIsNotActive(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*world)
		want   int
	}{
		{"a signature that is bad", func(w *world) { w.who = decision.Who{Fault: decision.CodeUnauthenticated} }, 200},
		{"a token that is over", func(w *world) { w.who = decision.Who{Fault: decision.CodeExpired} }, 200},
		{"no token", func(w *world) { w.who = decision.Who{Fault: decision.CodeMalformed} }, 200},
		{"one that ends this second", func(w *world) { w.who.Expires = now }, 200},
		{"one without an end", func(w *world) { w.who.Expires = time.Time{} }, 200},
		{"quarantined", func(w *world) { w.standing.State = attestd.StateQuarantined }, 200},
		{"revoked", func(w *world) { w.standing.State = attestd.StateRevoked }, 200},
		{"suspect", func(w *world) { w.standing.State = attestd.StateSuspect }, 200},
		{"unknown", func(w *world) { w.standing = decision.Standing{} }, 200},
		{"not attested", func(w *world) { w.standing.Attested = false }, 200},
		{"of another tenant", func(w *world) { w.standing.Tenant = "globex" }, 200},
		{"of another tenant by its record", func(w *world) { w.record.Tenant = "globex" }, 200},
		{"no bundle", func(w *world) { w.who = decision.Who{Fault: decision.CodeBundleUnavailable} }, 503},
		{"no time", func(w *world) { w.who.Fault = decision.CodeDeadline }, 503},
		{"nobody without a fault", func(w *world) { w.who = decision.Who{} }, 503},
		{"a state that cannot be told", func(w *world) { w.standing.Fault = decision.CodeStateUnavailable }, 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, ordinary)
			row.change(w)
			out := w.post(t, "token="+token)
			if out.Code != row.want || row.want == 200 && out.Body.String() != "{\"active\":false}\n" ||
				strings.Contains(out.Body.String(), `"active":true`) ||
				row.want == 503 && (strings.Contains(out.Body.String(), "active") || out.Header().Get("Retry-After") == "") {
				t.Errorf("got %d %s", out.Code, out.Body)
			}
		})
	}
}

func TestARequestThatIsNoQuestionIsRefused(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	same := func(*http.Request) {}
	for _, row := range []struct {
		name, entry, body string
		change            func(*http.Request)
		want              int
	}{
		{"no token", ordinary, "", same, 400},
		{"an empty one", ordinary, "token=", same, 400},
		{"two", ordinary, "token=a&token=b", same, 400},
		{"a long one", ordinary, "token=" + strings.Repeat("a", 8193), same, 400}, // neg: 147
		{"a long body", ordinary, strings.Repeat("a", 17<<10), same, 413},
		{"no form", ordinary, "token=%zz", same, 400},
		{"a token in the URL", ordinary, "token=" + token, func(r *http.Request) { r.URL.RawQuery = "token=x" }, 400},
		{"JSON", ordinary, `{"token":"a"}`, header("Content-Type", "application/json"), 415},
		{"GET", ordinary, "", func(r *http.Request) { r.Method = http.MethodGet }, 405},
		{"nobody", ordinary, "token=" + token, header("Authorization", "Bearer "+secret+"x"), 401},
		{"without the right", "    may: [authzen]\n    tenants: [acme]\n", "token=" + token, same, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.entry)
			if out := w.post(t, row.body, row.change); out.Code != row.want || len(w.asked) != 0 {
				t.Errorf("got %d %s after %d questions, want %d", out.Code, out.Body, len(w.asked), row.want)
			}
		})
	}
	w := newWorld(t, ordinary+"    rate: 1\n    burst: 1\n")
	w.post(t, "token="+token)
	if out := w.post(t, "token="+token); out.Code != 429 || len(w.asked) != 1 {
		t.Errorf("too often: got %d", out.Code)
	}
}

func TestEveryFieldOfTheConfigurationIsRequired(t *testing.T) {
	whole := introspect.Config{
		Introspector: &world{}, Enforcers: enforcers(t, ordinary), Deadline: 1, Bodies: &problem.Bodies{},
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	if _, err := introspect.New(whole); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*introspect.Config){
		"Introspector": func(c *introspect.Config) { c.Introspector = nil },
		"Enforcers":    func(c *introspect.Config) { c.Enforcers = nil },
		"Deadline":     func(c *introspect.Config) { c.Deadline = 0 },
		"Bodies":       func(c *introspect.Config) { c.Bodies = nil },
		"Now":          func(c *introspect.Config) { c.Now = nil },
		"Log":          func(c *introspect.Config) { c.Log = nil },
	} {
		config := whole
		change(&config)
		if _, err := introspect.New(config); err == nil {
			t.Errorf("without %s there is a server", name)
		}
	}
}

// FuzzIntrospect: whatever the body and its type, a token that nobody verified is not active.
func FuzzIntrospect(f *testing.F) {
	f.Add([]byte("token="+token), "application/x-www-form-urlencoded")
	f.Add([]byte("token=a&token=b&x=%41"), "application/x-www-form-urlencoded; charset=utf-8")
	w := newWorld(f, ordinary+"    rate: 1000000\n")
	w.who = decision.Who{Fault: decision.CodeUnauthenticated}
	f.Fuzz(func(t *testing.T, body []byte, media string) {
		w.asked, w.log = nil, bytes.Buffer{}
		out := w.post(t, string(body), func(r *http.Request) { r.Header["Content-Type"] = []string{media} })
		if strings.Contains(out.Body.String(), `"active":true`) ||
			out.Code != 200 && out.Code != 400 && out.Code != 413 && out.Code != 415 && out.Code != 429 {
			t.Errorf("got %d %s", out.Code, out.Body)
		}
		if len(w.asked) > 1 || len(w.asked) == 1 && (w.asked[0].Token == "" || len(w.asked[0].Token) > 8<<10) {
			t.Errorf("was asked %d questions", len(w.asked))
		}
	})
}

// TestWhomNoDecisionWouldAllowIsNotActive: a gate that is shut is as good as no token. neg: 176
func TestWhomNoDecisionWouldAllowIsNotActive(t *testing.T) {
	w := newWorld(t, ordinary)
	if out := w.post(t, "token="+token); !strings.Contains(out.Body.String(), `"active":true`) {
		t.Fatalf("got %s", out.Body)
	}
	w.shut = decision.CodeRiskSpike
	if out := w.post(t, "token="+token); strings.TrimSpace(out.Body.String()) != `{"active":false}` {
		t.Errorf("got %s", out.Body)
	}
}
