package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
)

// overSocket serves on a unix socket with a token beside it, and returns its address.
func overSocket(t *testing.T, serve http.HandlerFunc) string {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: serve, ReadHeaderTimeout: time.Second}}
	server.Start()
	t.Cleanup(server.Close)
	writeFile(t, filepath.Join(folder, "admin.token"), "abc123\n")
	return "unix:" + path
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func reply(status int, doc any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(doc)
	}
}

// demand looks at an error: its class, what it says and what it tells to do.
func demand(t *testing.T, err error, class attestd.Class, says, hint string) {
	t.Helper()
	var caller *attestd.CallerError
	switch {
	case !errors.As(err, &caller):
		t.Fatalf("got %v, want a CallerError of class %s", err, class)
	case caller.Class != class:
		t.Errorf("class %s, want %s: %v", caller.Class, class, err)
	}
	if !strings.Contains(err.Error(), says) || !strings.Contains(caller.Hint, hint) || caller.Hint == "" {
		t.Errorf("error %q\nhint %q\nwant %q\nand %q", err, caller.Hint, says, hint)
	}
}

func TestOverTheSocketTheTokenBesideItIsSent(t *testing.T) {
	var got *http.Request
	var order wire.Order
	address := overSocket(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		_ = json.NewDecoder(r.Body).Decode(&order)
		reply(200, wire.Receipt{Schema: "attestd.receipt.v1", Action: "quarantine"})(w, r)
	})
	for _, form := range []string{address, strings.Replace(address, "unix:", "unix://", 1)} {
		asking, err := client.New(client.Config{Server: form})
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := asking.Quarantine(context.Background(), wire.Order{Target: "x", Reason: "y"})
		if err != nil {
			t.Fatal(err)
		}
		if got.Method != http.MethodPost || got.URL.Path != "/v1/admin/quarantine" || order.Target != "x" ||
			got.Header.Get("Authorization") != "Bearer abc123" ||
			got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
		}
		if receipt.Subjects == nil || receipt.Bars == nil || receipt.Channels == nil {
			t.Errorf("a list of the answer is nil: %+v", receipt)
		}
	}
}

func TestQueriesAreWhatTheServerKnows(t *testing.T) {
	var asked string
	address := overSocket(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		reply(200, wire.Subjects{Schema: "attestd.subjects.v1"})(w, r)
	})
	asking, err := client.New(client.Config{Server: address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = asking.Subjects(context.Background(), client.Query{
		States: []string{"quarantined", "suspect"}, Text: "a&b", Overdue: true, Limit: 5, After: "spiffe://x/y",
	})
	want := "/v1/admin/subjects?after=spiffe%3A%2F%2Fx%2Fy&limit=5&overdue=true&state=quarantined%2Csuspect&text=a%26b"
	if err != nil || asked != want {
		t.Errorf("%v: asked %q, want %q", err, asked, want)
	}
}

func TestAnAddressThatIsNoneIsRefusedBeforeAnythingIsSent(t *testing.T) {
	for _, row := range []struct{ server, says string }{
		{"", "is not the address"},
		{"http://127.0.0.1:8421", "is not the address"}, // a token in the clear
		{"https://user:pw@host", "is not the address"},
		{"https://host/v1", "is not the address"},
		{"https://host?x=1", "is not the address"},
		{"ftp://host", "is not the address"},
		{"unix:", "names no socket"},
		{"unix://host/path", "three slashes"},
	} {
		_, err := client.New(client.Config{Server: row.server, Identity: t.TempDir()})
		demand(t, err, attestd.ClassMalformed, row.says, "unix:/var/lib/attestd/attestd.sock")
	}
}

func TestTroubleOnTheWayIsNamed(t *testing.T) {
	folder := t.TempDir()
	dead := filepath.Join(folder, "dead")
	listener, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.Close()
	writeFile(t, filepath.Join(folder, "admin.token"), "abc\n")
	writeFile(t, filepath.Join(folder, "two.token"), "two words\n")
	bare := filepath.Join(t.TempDir(), "bare")
	writeFile(t, bare, "")
	slow := overSocket(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, row := range []struct {
		name       string
		config     client.Config
		class      attestd.Class
		says, hint string
	}{
		{"no socket", client.Config{Server: "unix:" + folder + "/nothing"}, attestd.ClassStoreUnavailable,
			"there is no such socket", "systemctl status attestd"},
		{"a socket of a process that died", client.Config{Server: "unix:" + dead}, attestd.ClassStoreUnavailable,
			"nothing listens on the socket", "journalctl -u attestd"},
		{"no token beside the socket", client.Config{Server: "unix:" + bare}, attestd.ClassUnauthenticated,
			"does not exist", "attestd login"},
		{"a token of two words", client.Config{Server: "unix:" + dead, TokenFile: folder + "/two.token"},
			attestd.ClassMalformed, "not one line", "one line"},
		{"a server that says nothing", client.Config{Server: slow, Timeout: 50 * time.Millisecond},
			attestd.ClassStoreUnavailable, "took too long", "--timeout"},
	} {
		t.Run(row.name, func(t *testing.T) {
			asking, err := client.New(row.config)
			if err == nil {
				_, err = asking.Status(context.Background())
			}
			demand(t, err, row.class, row.says, row.hint)
		})
	}
}

func TestAnAnswerThatIsNoneIsAnError(t *testing.T) {
	type problem map[string]any
	for _, row := range []struct {
		name       string
		serve      http.HandlerFunc
		class      attestd.Class
		says, hint string
	}{
		{"another document", reply(200, wire.Status{Schema: "attestd.why.v1"}), attestd.ClassMalformed,
			`schema "attestd.why.v1", want attestd.status.v1`, "attestd version"},
		{"no document", reply(200, "hello"), attestd.ClassMalformed, "want attestd.status.v1", "--server"},
		{"a field of another type", reply(200, problem{"schema": "attestd.status.v1", "ready": 7}),
			attestd.ClassMalformed, "cannot be read", "attestd version"},
		{"a score that is no score", reply(200, problem{"schema": "attestd.status.v1", "states": "none"}),
			attestd.ClassMalformed, "cannot be read", "attestd version"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/v1/admin/whoami", http.StatusTemporaryRedirect)
		}, attestd.ClassMalformed, "status 307", "--server"},
		{"a page of a proxy", reply(502, "bad gateway"), attestd.ClassStoreUnavailable, "status 502", "--server"},
		{"nobody", reply(401, problem{"class": "UNAUTHENTICATED", "detail": "no token"}),
			attestd.ClassUnauthenticated, "no token", "attestd login"},
		{"not the role", reply(403, problem{"class": "FORBIDDEN", "detail": "wants security"}),
			attestd.ClassForbidden, "wants security", "attestd operator whoami"},
		{"not released", reply(409, problem{"class": "CONFLICT", "detail": "same person", "hint": "ask another"}),
			attestd.ClassConflict, "same person", "ask another"},
		{"the server's bug is not ours", reply(500, problem{"class": "INTERNAL", "detail": "bug", "id": "e7"}),
			attestd.ClassStoreUnavailable, "bug", "log: e7"},
		{"a class nobody knows", reply(400, problem{"class": "FINE", "detail": "all is well"}),
			attestd.ClassMalformed, "status 400", "--server"},
		{"too often", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7")
			reply(429, problem{"class": "RATE_LIMITED", "detail": "slow down", "hint": "wait"})(w, r)
		}, attestd.ClassRateLimited, "slow down", "try again in 7 s"},
		{"a text that steers a terminal", reply(403, problem{"class": "FORBIDDEN", "detail": "a\x1b[2Jb"}),
			attestd.ClassForbidden, "a?[2Jb", "whoami"},
	} {
		t.Run(row.name, func(t *testing.T) {
			asking, err := client.New(client.Config{Server: overSocket(t, row.serve)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := asking.Status(context.Background())
			demand(t, err, row.class, row.says, row.hint)
			if got.Ready {
				t.Error("an error says that the server is ready")
			}
		})
	}
}

// TestAnOrderWithoutAnAnswerMayHaveBeenCarriedOut: whoever repeats it blindly, or believes that it was
// not done, is wrong half of the time.
func TestAnOrderWithoutAnAnswerMayHaveBeenCarriedOut(t *testing.T) {
	address := overSocket(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	asking, err := client.New(client.Config{Server: address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = asking.Revoke(context.Background(), wire.Order{Target: "x", Reason: "y"})
	demand(t, err, attestd.ClassStoreUnavailable, "no answer", "may have been carried out")
	_, err = asking.Status(context.Background())
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || strings.Contains(caller.Hint, "carried out") {
		t.Errorf("a question that changes nothing: %v, %q", err, caller.Hint)
	}
	gone, err := client.New(client.Config{Server: address, TokenFile: tokenOf(address)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(strings.TrimPrefix(address, "unix:")); err != nil {
		t.Fatal(err)
	}
	_, err = gone.Revoke(context.Background(), wire.Order{Target: "x", Reason: "y"})
	if !errors.As(err, &caller) || strings.Contains(caller.Hint, "carried out") {
		t.Errorf("an order that never left: %v, %q", err, caller.Hint)
	}
}

func tokenOf(address string) string {
	return filepath.Join(filepath.Dir(strings.TrimPrefix(address, "unix:")), "admin.token")
}

func TestASupportBundleIsTakenWhole(t *testing.T) {
	address := overSocket(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/gzip")
		_, _ = w.Write([]byte("0123456789"))
	})
	asking, err := client.New(client.Config{Server: address})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if n, err := asking.SupportBundle(context.Background(), &out, 10); err != nil || n != 10 {
		t.Errorf("%d bytes, %v", n, err)
	}
	_, err = asking.SupportBundle(context.Background(), &out, 9)
	demand(t, err, attestd.ClassTooLarge, "more than 9 bytes", "report it")
}
