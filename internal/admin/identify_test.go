package admin_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
)

const status = "/v1/admin/status"

// guessed has the form of a login token.
var guessed = "attestd-login~alice~" + strings.Repeat("A", 43) + "~" + strings.Repeat("A", 43)

// clear asks the public port.
func (w *world) clear(bearer string) asker {
	transport := &http.Transport{DisableKeepAlives: true}
	return asker{client: &http.Client{Transport: transport}, base: "http://" + w.inClear, bearer: bearer}
}

// neg: 164
func TestWaysInThatAreNone(t *testing.T) {
	w := newWorld(t)
	token, root := w.token(), w.root()
	alice := w.named("alice", "*", operator.Viewer)
	for _, as := range []asker{root, alice} {
		if got := w.get(as, "status"); got.status != http.StatusOK {
			t.Fatalf("the rows below would be refused in any case: %d %s", got.status, got.body)
		}
	}
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	clear, inClear := w.clear(""), w.clear(token)
	withToken := alice
	withToken.bearer = token
	tokenOverTLS := w.remote()
	tokenOverTLS.bearer = token
	rows := []struct {
		name   string
		as     asker
		change func(*http.Request)
		class  attestd.Class // UNAUTHENTICATED where empty
	}{
		{name: "the socket without a token", as: w.local("")},
		{name: "the socket with another token", as: w.local(strings.Repeat("A", 43))},
		{name: "the socket with a login token", as: w.local(guessed)},
		{name: "two tokens", as: w.local(""), change: header("Authorization", "Bearer "+token, "Bearer "+token)},
		{name: "a token of another scheme", as: w.local(""), change: header("Authorization", "Basic "+token)},
		{name: "a token without a scheme", as: w.local(""), change: header("Authorization", token)},
		{name: "a token in the query", as: w.local(""), change: func(r *http.Request) {
			r.URL.RawQuery = "token=" + token
		}},
		{name: "the token in the clear", as: inClear},
		{name: "nothing in the clear", as: clear},
		{name: "the token over TLS", as: tokenOverTLS},
		{name: "the token beside a certificate", as: withToken},
		{name: "no certificate", as: w.remote()},
		{name: "a certificate that nobody signed", as: w.remote(selfSigned(t, "alice"))},
		{name: "another method in a header", as: alice, change: header("X-HTTP-Method-Override", "POST")},
		{name: "another path in a header", as: root, change: header("X-Original-URL", "/v1/admin/quarantine")},
		{name: "a host with a dot at its end", as: alice, change: host("attestd.")},
		{name: "a host with a dot and a port, over the socket", as: root, change: host("localhost.:8422")},
		{name: "a request of a web page", as: root, change: header("Origin", "https://evil.example"),
			class: attestd.ClassForbidden},
		{name: "a request that a browser marks", as: root, change: header("Sec-Fetch-Site", "same-origin"),
			class: attestd.ClassForbidden},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w.TB = t
			w.parts.since()
			w.advance(time.Minute) // failures are bounded by the minute
			change := row.change
			if change == nil {
				change = func(*http.Request) {}
			}
			got := w.ask(row.as, http.MethodGet, status, nil, change)
			class, code := attestd.ClassUnauthenticated, http.StatusUnauthorized
			if row.class != "" {
				class, code = row.class, http.StatusForbidden
			}
			w.refused(got, code, class)
			if asked := w.parts.since(); len(asked) != 0 {
				t.Errorf("a part was asked: %q", asked)
			}
			if bytes.Contains(got.body, []byte(token)) {
				t.Error("the answer repeats the token")
			}
		})
	}
	if strings.Contains(w.logged.text(), token) {
		t.Error("the log has the token")
	}
}

// neg: 164
func TestPathsOfStrangersTellNothing(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{status, "/v1/admin/nothing", "/v1/admin//status", "/v1/admin/audit/entries"} {
		w.refused(w.ask(w.remote(), http.MethodGet, path, nil), http.StatusUnauthorized, attestd.ClassUnauthenticated)
		w.refused(w.ask(w.remote(), http.MethodDelete, path, nil), http.StatusUnauthorized, attestd.ClassUnauthenticated)
	}
	got := w.raw("GET //admin HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + w.token() +
		"\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 400") || strings.Contains(got, "Location") {
		t.Errorf("//admin was answered with %.200s", got)
	}
	got = w.raw("GET http://localhost/v1/admin/status HTTP/1.1\r\nHost: localhost\r\n" +
		"Authorization: Bearer " + w.token() +
		"\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("a whole URL for a path was answered with %.200s", got)
	}
}

// raw sends bytes through the socket and returns what comes back.
func (w *world) raw(request string) string {
	w.Helper()
	conn, err := net.Dial("unix", w.socket)
	must(w, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, request)
	must(w, err)
	answer, err := io.ReadAll(conn)
	must(w, err)
	return string(answer)
}

// neg: 164
func TestTheHostMustBeTheNameThatTLSWasAskedFor(t *testing.T) {
	w := newWorld(t)
	alice := w.named("alice", "*", operator.Viewer)
	alice.client.Transport.(*http.Transport).TLSClientConfig.ServerName = "localhost"
	for name, want := range map[string]int{
		"localhost": 200, "localhost:8422": 200, "127.0.0.1:8422": 200, "[::1]:8422": 200, "evil.example": 401,
		"localhost.": 401, "localhost.:8422": 401,
	} {
		got := w.ask(alice, http.MethodGet, status, nil, func(r *http.Request) { r.Host = name })
		if got.status != want {
			t.Errorf("host %q: %d, want %d", name, got.status, want)
		}
	}
}

// neg: 182
func TestLogin(t *testing.T) {
	w := newWorld(t)
	added := w.ask(w.root(), http.MethodPost, "/v1/admin/operators",
		map[string]any{"name": "alice", "roles": []string{"security"}, "tenants": []string{"*"}})
	if added.status != http.StatusOK {
		t.Fatal(string(added.body))
	}
	_, rest, _ := strings.Cut(string(added.body), `"token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	key, csr := w.csr()
	body := map[string]any{"csr": base64.StdEncoding.EncodeToString(csr)}
	as := w.remote()
	inClear := w.clear(token)
	w.refused(w.post(inClear, "login", body), http.StatusUnauthorized, attestd.ClassUnauthenticated)
	w.refused(w.post(as, "login", body), http.StatusUnauthorized, attestd.ClassUnauthenticated)
	as.bearer = token
	w.refused(w.post(as, "login", map[string]any{"csr": "AAAA"}), http.StatusBadRequest, attestd.ClassMalformed)
	given := w.post(as, "login", body)
	var document struct {
		Certificates [][]byte `json:"certificates"`
		CA           []byte   `json:"ca"`
		Name         string   `json:"name"`
	}
	w.read(given, &document)
	if document.Name != "alice" || !bytes.Equal(document.CA, w.pki.CA()) {
		t.Fatalf("logged in as %q", document.Name)
	}
	alice := w.remote(tls.Certificate{Certificate: document.Certificates, PrivateKey: key})
	if got := w.get(alice, "status"); got.status != http.StatusOK {
		t.Fatal(string(got.body))
	}
	w.refused(w.post(as, "login", body), http.StatusUnauthorized, attestd.ClassUnauthenticated)
	if strings.Contains(w.logged.text(), token) {
		t.Error("the log has the login token")
	}
	w.post(w.root(), "operators/revoke", map[string]any{"name": "alice"})
	w.refused(w.get(alice, "status"), http.StatusUnauthorized, attestd.ClassUnauthenticated)
}

// neg: 182
func TestABytewiseReplayOfARequestDoesNothing(t *testing.T) {
	w := newWorld(t)
	alice := w.named("alice", "*", operator.Security)
	// Somebody on the way records what alice's client sends, and sends it again.
	tap, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var recorded bytes.Buffer
	var tapping sync.WaitGroup
	tapping.Go(func() {
		conn, err := tap.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.address)
		if err != nil {
			return
		}
		var back sync.WaitGroup
		back.Go(func() { _, _ = io.Copy(conn, server); _ = conn.Close() })
		_, _ = io.Copy(io.MultiWriter(server, &recorded), conn)
		_ = server.Close()
		back.Wait()
	})
	alice.base = "https://" + tap.Addr().String()
	got := w.post(alice, "release", `{"target":"aaaaaa11","reason":"false alarm"}`)
	if got.status != http.StatusOK {
		t.Fatal(string(got.body))
	}
	_ = tap.Close()
	tapping.Wait()
	if asked := w.parts.since(); len(asked) != 1 {
		t.Fatalf("asked %q", asked)
	}
	conn, err := net.Dial("tcp", w.address)
	must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write(recorded.Bytes())
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, _ = io.Copy(io.Discard, bufio.NewReader(conn))
	if asked := w.parts.since(); len(asked) != 0 {
		t.Errorf("a replay was carried out: %q", asked)
	}
}

func TestWhoFailsTooOftenIsAnsweredLess(t *testing.T) {
	w := newWorld(t)
	alice := w.named("alice", "*", operator.Viewer)
	guess := w.remote()
	guess.bearer = guessed
	counts := map[int]int{}
	for range 30 {
		counts[w.post(guess, "login", `{"csr":"AAAA"}`).status]++
	}
	if counts[http.StatusUnauthorized] != 20 || counts[http.StatusTooManyRequests] != 10 {
		t.Errorf("30 guesses were answered with %v", counts)
	}
	w.refused(w.ask(w.remote(), http.MethodGet, status, nil), http.StatusTooManyRequests, attestd.ClassRateLimited)
	if got := w.get(alice, "status"); got.status != http.StatusOK {
		t.Errorf("guesses from the same address keep an operator out: %d", got.status)
	}
	// Guesses are not even looked at: a token that is good is refused as well, and not used up.
	_, token, err := w.book.Add(t.Context(), operator.Principal{
		Name: "admin", Roles: []operator.Role{operator.Security}, Tenants: []string{"*"}, Via: operator.ViaToken,
	}, "bob", []operator.Role{operator.Viewer}, []string{"blue"})
	must(t, err)
	_, csr := w.csr()
	late := w.remote()
	late.bearer = token.String()
	body := map[string]any{"csr": base64.StdEncoding.EncodeToString(csr)}
	w.refused(w.post(late, "login", body), http.StatusTooManyRequests, attestd.ClassRateLimited)
	w.advance(time.Minute)
	w.read(w.post(late, "login", body), new(struct{}))
	w.refused(w.post(guess, "login", `{"csr":"AAAA"}`), http.StatusUnauthorized, attestd.ClassUnauthenticated)
}
