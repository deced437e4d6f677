package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client"
)

// ask returns a client of a server that answers everything with the handler.
func ask(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	asked, err := client.New(server.URL, client.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(asked.Close)
	return asked
}

func says(status int, media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func refused(t *testing.T, err error) *client.Error {
	t.Helper()
	var out *client.Error
	if !errors.As(err, &out) {
		t.Fatalf("got %v, want an Error", err)
	}
	return out
}

func TestInTheClearNothingLeavesTheMachine(t *testing.T) {
	for address, good := range map[string]bool{
		"https://verifier.example.org": true, "http://127.0.0.1:8421": true, "http://[::1]:1": true,
		"http://localhost:8421/": true, "unix:/run/attestd.sock": true,

		"http://verifier.example.org": false, "http://127.0.0.1.example.org": false, "http://10.0.0.1": false,
		"": false, "verifier.example.org": false, "ftp://localhost": false, "unix:": false,
		"https://verifier.example.org/path": false, "https://user@verifier.example.org": false,
		"https://verifier.example.org?x=1": false, "https://": false, "http://0x7f000001.example": false,
	} {
		_, err := client.New(address, client.Options{})
		var caller *attestd.CallerError
		if good != (err == nil) || !good && (!errors.As(err, &caller) || caller.Hint == "") {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestEvidenceFollowsNoRedirect(t *testing.T) {
	fetched := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched = true }))
	defer elsewhere.Close()
	asked := ask(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	_, err := asked.Challenge(t.Context(), client.Wish{Format: attestd.FormatNitro})
	if got := refused(t, err); got.Status != http.StatusTemporaryRedirect || fetched {
		t.Errorf("got %v, elsewhere asked: %t", err, fetched)
	}
}

func TestAProblemIsAnErrorThatSaysWhatToDo(t *testing.T) {
	const document = `{"type": "urn:attestd:problem:rate-limited", "title": "t", "status": 429,
		"detail": "too many\u001b[31m", "class": "RATE_LIMITED", "hint": "try again in a second"}`
	asked := ask(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		says(429, "application/problem+json", document)(w, r)
	})
	_, err := asked.Challenge(t.Context(), client.Wish{Format: attestd.FormatNitro})
	got := refused(t, err)
	if got.Class != attestd.ClassRateLimited || got.RetryAfter != 7*time.Second || !got.Temporary() ||
		got.Hint != "try again in a second" || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %+v: %v", got, err)
	}
}

func TestAnAnswerThatNoAttestdGivesIsNoVerdict(t *testing.T) {
	evidence := []byte("evidence")
	digest := sha256.Sum256(evidence)
	verdict := func(change func(map[string]any)) string {
		document := map[string]any{
			"schema": attestd.VerdictSchema, "verdict": "accepted", "format": "nitro", "tier": "low",
			"risk_score": 1, "freshness": "binding", "at": time.Now(),
			"evidence_sha256": hex.EncodeToString(digest[:]),
		}
		change(document)
		out, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	same := func(map[string]any) {}
	problem := func(appraisal string) string {
		return fmt.Sprintf(`{"class": "COLLATERAL_STALE", "detail": "d", "hint": "h", "appraisal": %s}`, appraisal)
	}
	const json, problems = "application/json", "application/problem+json"
	for name, row := range map[string]struct {
		status      int
		media, body string
		accepted    bool
		undecided   bool // the error has a verdict
	}{
		"a verdict": {200, json, verdict(same), true, false},
		"one about other evidence": {200, json, verdict(func(d map[string]any) {
			d["evidence_sha256"] = strings.Repeat("0", 64)
		}), false, false},
		"one of another schema":   {200, json, verdict(func(d map[string]any) { d["schema"] = "v2" }), false, false},
		"one that is undecided":   {200, json, verdict(func(d map[string]any) { d["verdict"] = "undecided" }), false, false},
		"one of an unknown word":  {200, json, verdict(func(d map[string]any) { d["verdict"] = "fine" }), false, false},
		"one without a verdict":   {200, json, verdict(func(d map[string]any) { delete(d, "verdict") }), false, false},
		"one with another status": {201, json, verdict(same), false, false},
		"no JSON":                 {200, json, "<html>", false, false},
		"nothing":                 {200, json, "", false, false},
		"a page of a proxy":       {502, "text/html", "<html>", false, false},
		"a problem in plain JSON": {403, json, `{"class": "QUARANTINED"}`, false, false},
		"an undecided verdict": {503, problems, problem(verdict(func(d map[string]any) {
			d["verdict"] = "undecided"
		})), false, true},
		"an accepted verdict in a problem": {503, problems, problem(verdict(same)), false, false},
		"more than is read":                {200, json, strings.Repeat(" ", 5<<20) + verdict(same), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ask(t, says(row.status, row.media, row.body))
			got, err := asked.Verify(t.Context(), client.Challenge{}, client.Wish{}, client.Evidence{Bytes: evidence})
			if (err == nil) != row.accepted || got.Accepted() != row.accepted {
				t.Fatalf("got %+v, %v", got, err)
			}
			if err != nil {
				if found := refused(t, err); (found.Appraisal != nil) != row.undecided || found.Hint == "" {
					t.Errorf("got %+v", found)
				}
			}
		})
	}
}

func TestAChallengeForSomethingElseIsNotAnswered(t *testing.T) {
	reply := func(format, tenant, nonce string) string {
		return fmt.Sprintf(`{"schema": "attestd.challenge.v1", "signature": "a.b.c", "challenge": {"id": "x",
			"nonce": %q, "tenant": %q, "purpose": "verify", "format": %q}}`, nonce, tenant, format)
	}
	const good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	for name, row := range map[string]struct {
		reply string
		good  bool
	}{
		"as asked":       {reply("nitro", "blue", good), true},
		"another format": {reply("tpm", "blue", good), false},
		"another tenant": {reply("nitro", "green", good), false},
		"a short nonce":  {reply("nitro", "blue", "AAECAwQFBgc="), false},
	} {
		server := httptest.NewServer(says(201, "application/json", row.reply))
		asked, err := client.New(server.URL, client.Options{Tenant: "blue"})
		if err != nil {
			t.Fatal(err)
		}
		collected := false
		_, err = asked.Attest(t.Context(), client.Wish{Format: attestd.FormatNitro},
			func(context.Context, client.Challenge) (client.Evidence, error) {
				collected = true
				return client.Evidence{}, errors.New("enough")
			})
		if collected != row.good || err == nil {
			t.Errorf("%s: collected %t, %v", name, collected, err)
		}
		server.Close()
	}
}

func TestAServerThatIsNotThereOrTooSlowIsNoVerdict(t *testing.T) {
	gone, err := client.New("unix:"+filepath.Join(t.TempDir(), "none.sock"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := refused(t, gone.Ready(t.Context()))
	if got.Status != 0 || !got.Temporary() || got.Hint == "" {
		t.Errorf("got %+v", got)
	}
	slow := ask(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	limited, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := slow.Ready(limited); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestASocketIsAskedAsAnyServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: says(200, "application/json", `{"status": "ready"}`), ReadHeaderTimeout: time.Second,
	}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	asked, err := client.New("unix:"+path, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := asked.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
