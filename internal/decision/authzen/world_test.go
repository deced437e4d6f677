package authzen_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/subject"
)

const (
	caller = "spiffe://example.org/agent/rag-7"
	secret = "Zm9yIHRoaXMgdGVzdCBhbG9uZQ-0123456789"
	// canary is part of every token and must be in no answer and no log.
	canary = "cGxhbnRlZGNhbmFyeQ"
)

// tokenOf returns a token of the form of a JWT-SVID with that sub, which nobody has signed.
func tokenOf(sub string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256","kid":"k"}`)) + "." +
		encode(fmt.Appendf(nil, `{"sub":%q,"aud":["attestd"]}`, sub)) + "." + canary
}

// world is a server over a real socket, before a decider that answers what its test says.
type world struct {
	t      *testing.T
	client *http.Client
	log    *bytes.Buffer
	// now is the server's time.
	now time.Time

	mu    sync.Mutex
	asked []decision.Ask
	// refused are those that were refused before anybody was asked.
	refused []decision.Ask
	say     func(decision.Ask) decision.Answer
}

// Decide implements [decision.Decider].
func (w *world) Decide(_ context.Context, ask decision.Ask) decision.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ask.Refused != "" { // recorded, and no question
		w.refused = append(w.refused, ask)
		return decision.Answer{ID: record, Input: &decision.Input{}}
	}
	w.asked = append(w.asked, ask)
	return w.say(ask)
}

// only returns what was asked, which is one question.
func (w *world) only() decision.Ask {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) != 1 {
		w.t.Fatalf("got %d questions, want one", len(w.asked))
	}
	return w.asked[0]
}

var record = uuid.MustParse("01939d8e-0000-7000-8000-000000000001")

// like answers as the engine does: a question without a credential is denied; else without reasons it
// allows.
func like(reasons ...decision.Reason) func(decision.Ask) decision.Answer {
	return func(ask decision.Ask) decision.Answer {
		out := decision.Answer{
			ID: record, Policy: "sha256:ab", Took: 1500 * time.Microsecond,
			Result: decision.Result{
				Allow: len(reasons) == 0, Reasons: reasons, Policies: []string{"tenant-isolation"},
				Proofs: decision.Proofs{Who: decision.Proof{OK: true, Source: "jwt-svid", Age: 90 * time.Second}},
			},
			Input: &decision.Input{
				Who: decision.Who{ID: caller},
				Standing: decision.Standing{
					Attested: true, State: attestd.StateTrusted, Tenant: "acme", Risk: attestd.Risk(7),
					Tier: attestd.TierLow, Epoch: 3, AttestedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
				},
			},
		}
		if ask.Credential.Token == "" && len(ask.Credential.Chain) == 0 {
			out.Allow, out.Input = false, &decision.Input{}
			out.Reasons = []decision.Reason{{Code: decision.CodeUnauthenticated}}
		} else if len(ask.Credential.Chain) != 0 {
			out.Input.Who.ID = subject.ID(ask.Credential.Chain[0].URIs[0].String())
		}
		return out
	}
}

func because(code decision.Code) decision.Reason {
	return decision.Reason{Code: code, Detail: "the detail"}
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

// enforcers names one enforcement point with the secret; more are lines of its entry.
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

const ordinary = "    may: [authzen]\n    tenants: [acme]\n"

func newWorld(t *testing.T, entry string) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}, say: like(), now: time.Now()}
	server, err := authzen.New(authzen.Config{
		Decider: w, Enforcers: enforcers(t, entry), URL: "https://pdp.example.org:8425",
		Deadline: 200 * time.Millisecond, Bodies: &problem.Bodies{Most: 1 << 22, Small: 1 << 10},
		Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server.Register(mux)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	http1 := &http.Server{Handler: mux, ConnContext: enforcer.ConnContext, ReadHeaderTimeout: time.Second}
	go func() { _ = http1.Serve(listener) }()
	t.Cleanup(func() { _ = http1.Close() })
	w.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

func (w *world) post(path, body string, change ...func(*http.Request)) reply {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://pdp"+path,
		strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+secret)
	for _, one := range change {
		one(request)
	}
	answer, err := w.client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	out := reply{status: answer.StatusCode, header: answer.Header, body: string(content)}
	for _, secret := range []string{canary, secret} {
		if strings.Contains(out.body, secret) || strings.Contains(w.log.String(), secret) {
			w.t.Errorf("a token is in the answer or the log: %s", out.body)
		}
	}
	return out
}

// evaluation returns a question about the caller; a tenant's name and members of context are put in.
func evaluation(properties, context string) string {
	return fmt.Sprintf(`{"subject":{"type":"workload","id":%q,"properties":{"token":%q}},
		"action":{"name":"data.read"},
		"resource":{"type":"dataset","id":"features","properties":{"tenant":"acme"%s}},
		"context":{%s}}`, caller, tokenOf(caller), properties, context)
}

// pipe is a connection that is no unix socket's.
var pipe, _ = net.Pipe()
