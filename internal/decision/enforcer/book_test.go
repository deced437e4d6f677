package enforcer_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/nhi"
)

// ask sends one request and returns its status and its body.
func ask(t *testing.T, client *http.Client, url string, header http.Header) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode == http.StatusUnauthorized && answer.Header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 has no challenge")
	}
	return answer.StatusCode, string(body)
}

func over(dial func(ctx context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
}

func (w *world) unix(right enforcer.Right, header string) *http.Client {
	path := filepath.Join(w.t.TempDir(), "s")
	w.serve(listen(w.t, "unix", path), right, header)
	return over(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	})
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

func TestALocalProcessIsKnownByItsUID(t *testing.T) {
	w := newWorld(t)
	client := w.unix(enforcer.RightForward, enforcer.HeaderToken)
	if status, body := ask(t, client, "http://x/", nil); status != 200 || body != "user:proxy" {
		t.Errorf("got %d %s", status, body)
	}
	// The caller's own Authorization says nothing about the proxy.
	if status, body := ask(t, client, "http://x/", bearer(secret)); status != 200 || body != "user:proxy" {
		t.Errorf("with a caller's token: got %d %s", status, body)
	}
	authzen := w.unix(enforcer.RightAuthZEN, enforcer.HeaderAuthorization)
	if status, _ := ask(t, authzen, "http://x/", nil); status != 403 {
		t.Errorf("without the right: got %d, want 403", status)
	}
	w.write(replaced(plain(), "user: proxy", "token: proxy\n    sha256: "+sumOf("other")))
	if err := w.book.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := ask(t, client, "http://x/", nil); status != 401 {
		t.Errorf("a uid that is not named: got %d, want 401", status)
	}
}

func TestATokenIsOneOfTheFile(t *testing.T) {
	w := newWorld(t)
	for name, client := range map[string]*http.Client{
		"unix": w.unix(enforcer.RightAuthZEN, enforcer.HeaderAuthorization),
		"loopback": func() *http.Client {
			listener := listen(t, "tcp", "127.0.0.1:0")
			w.serve(listener, enforcer.RightAuthZEN, enforcer.HeaderAuthorization)
			return over(func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
			})
		}(),
	} {
		for _, row := range []struct {
			name   string
			header http.Header
			want   int
		}{
			{"the token", bearer(secret), 200},
			{"the scheme in another case", http.Header{"Authorization": {"bearer " + secret}}, 200},
			{"another token", bearer(secret + "x"), 401},
			{"a shorter one", bearer(secret[:21]), 401},
			{"no token but the word", http.Header{"Authorization": {"Bearer"}}, 401},
			{"another scheme", http.Header{"Authorization": {"Basic " + secret}}, 401},
			{"two headers", http.Header{"Authorization": {"Bearer " + secret, "Bearer " + secret}}, 401},
			{"its digest", bearer(sumOf(secret)), 401},
		} {
			status, body := ask(t, client, "http://x/", row.header)
			if status != row.want || status == 200 && body != "token:edge" {
				t.Errorf("%s, %s: got %d %s, want %d", name, row.name, status, body, row.want)
			}
			if strings.Contains(body, secret) {
				t.Errorf("%s, %s: the answer quotes the token", name, row.name)
			}
		}
	}
}

// A bad token of a process whose uid would do is refused: it meant to be somebody else.
func TestAWayThatFailsIsNotFollowedByAnother(t *testing.T) {
	w := newWorld(t)
	client := w.unix(enforcer.RightForward, enforcer.HeaderToken)
	status, _ := ask(t, client, "http://x/", http.Header{enforcer.HeaderToken: {"Bearer " + secret + "x"}})
	if status != 401 {
		t.Errorf("got %d, want 401", status)
	}
}

func TestATokenIsNotTakenInTheClear(t *testing.T) {
	w := newWorld(t)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header = bearer(secret)
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	request = request.WithContext(enforcer.ConnContext(t.Context(), near))
	request.RemoteAddr = "192.0.2.1:4711"
	if _, err := w.book.Of(request, enforcer.RightAuthZEN, "Authorization"); classOf(err) != attestd.ClassUnauthenticated {
		t.Errorf("from another machine: got %v", err)
	}
	request.RemoteAddr = "[::1]:4711"
	if _, err := w.book.Of(request, enforcer.RightAuthZEN, "Authorization"); err != nil {
		t.Errorf("from this machine: got %v", err)
	}
}

func TestAServerThatDoesNotSayWhoseConnectionItIsAnswersNobody(t *testing.T) {
	w := newWorld(t)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header = bearer(secret)
	request.RemoteAddr = "127.0.0.1:1"
	_, err := w.book.Of(request, enforcer.RightAuthZEN, "Authorization")
	if err == nil || enforcer.Refusal(err).Status != http.StatusInternalServerError {
		t.Errorf("got %v", err)
	}
}

func (w *world) overTLS(right enforcer.Right, show ...tls.Certificate) *http.Client {
	listener := tls.NewListener(listen(w.t, "tcp", "127.0.0.1:0"), enforcer.TLS(&tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{w.ca.issue(w.t, "spiffe://example.org/attestd")},
	}))
	w.serve(listener, right, enforcer.HeaderAuthorization)
	return over(func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: w.ca.pool, ServerName: "localhost", Certificates: show,
		}}).DialContext(ctx, "tcp", listener.Addr().String())
	})
}

func TestAnSVIDIsOneThatIsNamed(t *testing.T) {
	w := newWorld(t)
	good := w.overTLS(enforcer.RightAuthZEN, w.ca.issue(t, gateway))
	if status, body := ask(t, good, "http://x/", nil); status != 200 || body != gateway {
		t.Errorf("the gateway: got %d %s", status, body)
	}
	if status, _ := ask(t, good, "http://x/", bearer(secret)); status != 401 {
		t.Errorf("a token beside a certificate: got %d, want 401", status)
	}
	none := w.overTLS(enforcer.RightAuthZEN)
	if status, _ := ask(t, none, "http://x/", nil); status != 401 {
		t.Errorf("no certificate: got %d, want 401", status)
	}
	if status, body := ask(t, none, "http://x/", bearer(secret)); status != 200 || body != "token:edge" {
		t.Errorf("a token over TLS: got %d %s", status, body)
	}
	other := w.overTLS(enforcer.RightAuthZEN, w.ca.issue(t, "spiffe://example.org/gateway2"))
	if status, _ := ask(t, other, "http://x/", nil); status != 401 {
		t.Errorf("an SVID that is not named: got %d, want 401", status)
	}
	forged := w.overTLS(enforcer.RightAuthZEN, newAuthority(t).issue(t, gateway))
	if status, _ := ask(t, forged, "http://x/", nil); status != 401 {
		t.Errorf("another authority's: got %d, want 401", status)
	}
	if status, _ := ask(t, w.overTLS(enforcer.RightSignals, w.ca.issue(t, gateway)), "http://x/", nil); status != 403 {
		t.Errorf("without the right: got %d, want 403", status)
	}
}

// neg: 174
func TestACertificateThatShowsNobodyNowIsNobodys(t *testing.T) {
	for name, twist := range map[string]func(*decision.Who){
		"over":                   func(who *decision.Who) { who.Expires = time.Now().Add(-time.Second) },
		"without an end":         func(who *decision.Who) { who.Expires = time.Time{} },
		"a token's in its place": func(who *decision.Who) { who.Method = decision.MethodJWT },
		"nobody's":               func(who *decision.Who) { who.ID = "" },
		"the zero one":           func(who *decision.Who) { *who = decision.Who{} },
	} {
		w := newWorld(t)
		w.twist = twist
		client := w.overTLS(enforcer.RightAuthZEN, w.ca.issue(t, gateway))
		if status, _ := ask(t, client, "http://x/", nil); status != 401 {
			t.Errorf("%s: got %d, want 401", name, status)
		}
	}
}

// neg: 172
func TestAnEnforcementPointThatIsHeldIsRefusedAtItsNextRequest(t *testing.T) {
	w := newWorld(t)
	client := w.overTLS(enforcer.RightAuthZEN, w.ca.issue(t, gateway))
	for _, row := range []struct {
		name     string
		standing decision.Standing
		want     int
	}{
		{"nothing is known of it", decision.Standing{}, 200},
		{"quarantined", decision.Standing{State: attestd.StateQuarantined}, 403},
		{"released", decision.Standing{State: attestd.StateSuspect}, 200},
		{"revoked", decision.Standing{State: attestd.StateRevoked}, 403},
		{"its state cannot be told", decision.Standing{Fault: decision.CodeStateUnavailable}, 503},
	} {
		w.hold(gateway, row.standing)
		if status, body := ask(t, client, "http://x/", nil); status != row.want {
			t.Errorf("%s: got %d %s, want %d", row.name, status, body, row.want)
		}
	}
	w.hold(gateway, decision.Standing{})
	w.mu.Lock()
	w.fault = decision.CodeBundleUnavailable
	w.mu.Unlock()
	status, body := ask(t, client, "http://x/", nil)
	var shaped struct{ Class attestd.Class }
	if err := json.Unmarshal([]byte(body), &shaped); err != nil || status != 503 || !shaped.Class.Undecided() {
		t.Errorf("without a bundle: got %d %s", status, body)
	}
}

func TestAReloadEndsWhoIsNotNamedAnyMoreAndKeepsWhatWasUsed(t *testing.T) {
	w := newWorld(t)
	client := w.unix(enforcer.RightAuthZEN, enforcer.HeaderAuthorization)
	at := time.Now()
	take := func() time.Duration {
		t.Helper()
		near, far := net.Pipe()
		t.Cleanup(func() { _, _ = near.Close(), far.Close() })
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header, request.RemoteAddr = bearer(secret), "127.0.0.1:1"
		one, err := w.book.Of(request.WithContext(enforcer.ConnContext(t.Context(), near)),
			enforcer.RightAuthZEN, "Authorization")
		if err != nil {
			t.Fatal(err)
		}
		return one.Take(at)
	}
	for i := range 3 {
		if wait := take(); wait != 0 {
			t.Fatalf("question %d has to wait %s", i, wait)
		}
	}
	if err := w.book.Reload(); err != nil {
		t.Fatal(err)
	}
	if wait := take(); wait != 500*time.Millisecond {
		t.Errorf("after a reload it has to wait %s, want 500ms", wait)
	}
	at = at.Add(-time.Hour)
	if wait := take(); wait <= 0 {
		t.Error("a clock that goes back fills the bucket")
	}
	at = at.Add(time.Hour + 500*time.Millisecond)
	if wait := take(); wait != 0 {
		t.Errorf("after the wait it has to wait %s", wait)
	}
	// A document that will not do leaves everything as it was.
	w.write("schema: attestd.enforcers.v1\n")
	if err := w.book.Reload(); err == nil {
		t.Fatal("a document without enforcement points is taken")
	}
	if status, _ := ask(t, client, "http://x/", bearer(secret)); status != 200 {
		t.Errorf("after a bad reload: got %d", status)
	}
	w.write(replaced(plain(), sumOf(secret), sumOf("another one")))
	if err := w.book.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := ask(t, client, "http://x/", bearer(secret)); status != 401 {
		t.Errorf("a token that is not named any more: got %d, want 401", status)
	}
}

func TestSeveralQuestionsAreTakenTogetherOrNotAtAll(t *testing.T) {
	w := newWorld(t)
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header, request.RemoteAddr = bearer(secret), "127.0.0.1:1"
	one, err := w.book.Of(request.WithContext(enforcer.ConnContext(t.Context(), near)),
		enforcer.RightAuthZEN, "Authorization")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	if one.TakeN(4, at) == 0 {
		t.Error("more than the burst are taken")
	}
	if one.TakeN(0, at) == 0 || one.TakeN(-5, at) == 0 {
		t.Error("no questions are taken")
	}
	if wait := one.TakeN(3, at); wait != 0 {
		t.Errorf("the burst has to wait %s: what was refused was counted", wait)
	}
	if one.TakeN(1, at) == 0 {
		t.Error("an empty bucket gives")
	}
}

// neg: 188
func TestAnEnforcementPointSeesItsTenantsCallersAlone(t *testing.T) {
	w := newWorld(t)
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header, request.RemoteAddr = bearer(secret), "127.0.0.1:1"
	one, err := w.book.Of(request.WithContext(enforcer.ConnContext(t.Context(), near)),
		enforcer.RightAuthZEN, "Authorization")
	if err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]bool{
		"acme": true, "globex": true, "initech": false, "": false, "*": false, "ACME": false, "acm": false,
	} {
		if one.Speaks(tenant) != want {
			t.Errorf("it speaks for %q: %v", tenant, !want)
		}
	}
	for _, row := range []struct {
		standing, record string
		want             bool
	}{
		{"acme", "", true}, {"", "acme", true}, {"", "", false}, {"acme", "globex", true},
		{"initech", "", false}, {"initech", "acme", false}, {"acme", "initech", false}, {"", "initech", false},
	} {
		in := &decision.Input{
			Who:      decision.Who{ID: "spiffe://example.org/agent"},
			Standing: decision.Standing{Tenant: row.standing, Attested: true}, Record: &nhi.Record{Tenant: row.record},
		}
		if got := one.Sees(in); got != row.want {
			t.Errorf("hardware of %q, record of %q: got %v", row.standing, row.record, got)
		}
	}
	// Of nobody, and of whom nothing is known, there is nothing to learn.
	for _, in := range []*decision.Input{{}, {Who: decision.Who{ID: "spiffe://example.org/agent"}}} {
		if !one.Sees(in) {
			t.Errorf("it does not see %+v", in.Who)
		}
	}
}
