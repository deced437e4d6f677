package forward_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/forward"
)

// shipped returns a configuration of docs/deploy.
func shipped(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "deploy", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the configuration has no %s", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// TestEveryShippedRouteIsAQuestion: the URLs in docs/deploy are read as the server reads them.
func TestEveryShippedRouteIsAQuestion(t *testing.T) {
	for _, path := range []string{"nginx/attestd.conf", "caddy/Caddyfile", "traefik/dynamic.yaml"} {
		text := shipped(t, path)
		found := regexp.MustCompile(`/v1/forward-auth\?([^\s;]+)`).FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s asks nothing", path)
		}
		for _, one := range found {
			w := newWorld(t, ordinary)
			// Each writes the method and the path by its own headers.
			if out := w.ask(t, one[1], map[string]string{
				"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/search/x",
			}); out.Code != 204 {
				t.Errorf("%s: got %d %s", path, out.Code, out.Body)
			}
			asked := w.last(t)
			if asked.Resource.Tenant != "acme" || asked.Action.Name != decision.ActionToolCall ||
				asked.Resource.ID != "search" {
				t.Errorf("%s: was asked %+v", path, asked)
			}
		}
	}
}

// behind is what stands behind a proxy: it shows the headers that came.
func behind(t *testing.T) (address string, seen func() []http.Header) {
	t.Helper()
	requests := make(chan http.Header, 64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Header.Clone()
		_, _ = w.Write([]byte("the upstream"))
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), func() (all []http.Header) {
		for {
			select {
			case one := <-requests:
				all = append(all, one)
			default:
				return all
			}
		}
	}
}

// guarded is a world that answers on a unix socket, to this process's user.
func guarded(t *testing.T) (w *world, socket string, stop func()) {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "e.yaml")
	document := "schema: attestd.enforcers.v1\nenforcers:\n  - user: proxy\n" + ordinary
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	book, err := enforcer.New(enforcer.Config{
		Path: path, Identifier: nobody{}, Standings: nobody{}, Now: time.Now,
		LookupUser: func(string) (uint32, error) { return uint32(os.Geteuid()), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, ordinary)
	server, err := forward.New(forward.Config{
		Decider: w, Enforcers: book, Deadline: 200 * time.Millisecond, Now: time.Now, Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server.Register(mux)
	socket = filepath.Join(folder, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	running := &http.Server{Handler: mux, ConnContext: enforcer.ConnContext, ReadHeaderTimeout: time.Second}
	go func() { _ = running.Serve(listener) }()
	stop = func() { _ = running.Close() }
	t.Cleanup(stop)
	return w, socket, stop
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// start runs a proxy until the test ends, and waits until it listens.
func start(t *testing.T, address string, environment []string, name string, args ...string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: .ci/install nginx caddy does it, and make test runs that first", name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, program, args...)
	command.Env = append(os.Environ(), environment...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 5 * time.Second
	var said strings.Builder
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("%s has ended: %s", name, said.String())
		default:
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("%s does not listen", name)
}

func startNginx(t *testing.T, socket, upstream string) string {
	t.Helper()
	address, folder := freePort(t), t.TempDir()
	site := replace(t, shipped(t, "nginx/attestd.conf"), "/run/attestd/decide.sock", socket,
		"127.0.0.1:9000", upstream, "127.0.0.1:8080", address)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	owner := ""
	if os.Geteuid() == 0 { // else its workers would be nobody's
		owner = "user " + me.Username + " root;\n"
	}
	main := fmt.Sprintf("%sdaemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\nhttp {\n"+
		"access_log off;\nclient_body_temp_path %s/b;\nproxy_temp_path %s/p;\nfastcgi_temp_path %s/f;\n"+
		"uwsgi_temp_path %s/u;\nscgi_temp_path %s/s;\n%s}\n", owner, folder, folder, folder, folder, folder, folder, site)
	path := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(path, []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, address, nil, "nginx", "-p", folder, "-c", path)
	return address
}

func startCaddy(t *testing.T, socket, upstream string) string {
	t.Helper()
	address, folder := freePort(t), t.TempDir()
	site := "{\n\tadmin off\n\tauto_https off\n}\n" + replace(t, shipped(t, "caddy/Caddyfile"),
		"unix//run/attestd/decide.sock", "unix/"+socket, "127.0.0.1:9000", upstream, "127.0.0.1:8081", address)
	path := filepath.Join(folder, "Caddyfile")
	if err := os.WriteFile(path, []byte(site), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, address, []string{"HOME=" + folder, "XDG_DATA_HOME=" + folder, "XDG_CONFIG_HOME=" + folder},
		"caddy", "run", "--adapter", "caddyfile", "--config", path)
	return address
}

// TestARealProxyEnforces: the shipped configurations of nginx and Caddy let through what was allowed, with
// the caller's name for the upstream and not the caller's own words, and nothing else, also where attestd
// is gone or slow.
func TestARealProxyEnforces(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, socket, upstream string) string{
		"nginx": startNginx, "caddy": startCaddy,
	} {
		t.Run(name, func(t *testing.T) {
			w, socket, stop := guarded(t)
			upstream, seen := behind(t)
			address := run(t, socket, upstream)
			send := func(credential string) (int, http.Header, string) {
				t.Helper()
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
					"http://"+address+"/search/items?q=x", strings.NewReader("a body"))
				if err != nil {
					t.Fatal(err)
				}
				if credential != "" {
					request.Header.Set("Authorization", "Bearer "+credential)
				}
				for _, header := range []string{"X-Attestd-Subject", "X-Attestd-Tenant", "X-Attestd-Risk-Tier",
					"X-Attestd-Decision-Id", "X-Attestd-Enforcer", "X-Attestd-Reason"} {
					request.Header.Set(header, "forged")
				}
				request.Header.Set("X-Original-Uri", "/public")
				request.Header.Set("X-Forwarded-Uri", "/public")
				answer, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = answer.Body.Close() }()
				body, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				return answer.StatusCode, answer.Header, string(body)
			}

			if status, _, body := send(token); status != 200 || body != "the upstream" {
				t.Fatalf("an allow: got %d %s", status, body)
			}
			came := seen()
			if len(came) != 1 || came[0].Get("X-Attestd-Subject") != caller || came[0].Get("X-Attestd-Tenant") != "acme" ||
				came[0].Get("X-Attestd-Risk-Tier") != "low" || came[0].Get("X-Attestd-Decision-Id") != record.String() ||
				came[0].Get("Authorization") != "" || strings.Contains(fmt.Sprint(came), "forged") {
				t.Errorf("the upstream got %v", came)
			}
			asked := w.last(t)
			if asked.Enforcer != "user:proxy" || asked.Credential.Token != token || asked.Resource.Tenant != "acme" ||
				asked.Resource.ID != "search" || asked.Credential.Source.String() != "127.0.0.1" {
				t.Errorf("was asked %+v", asked)
			}

			attack(t, w, address, seen)

			for _, row := range []struct {
				name, credential string
				code             decision.Code
				want             []int
			}{
				{"no token", "", "", []int{401}},
				{"not permitted", token, decision.CodeNotPermitted, []int{403}},
				{"quarantined", token, decision.CodeQuarantined, []int{403}},
				{"a step-up", token, decision.CodeStepUp, []int{401}},
				{"too often", token, decision.CodeThrottled, []int{429, 503}},
				{"undecided", token, decision.CodeDeadline, []int{503}},
				{"a bug", token, decision.CodeInternal, []int{500, 503}},
			} {
				w.answer(like())
				if row.code != "" {
					w.answer(like(row.code))
				}
				status, header, body := send(row.credential)
				if status != row.want[0] && status != row.want[len(row.want)-1] || strings.Contains(body, "the upstream") {
					t.Errorf("%s: got %d %s, want %v", row.name, status, body, row.want)
				}
				if status == 401 && !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer ") {
					t.Errorf("%s: the challenge is %q", row.name, header.Get("WWW-Authenticate"))
				}
				if status == 403 && header.Get("X-Attestd-Reason") != string(row.code) {
					t.Errorf("%s: the reason is %q", row.name, header.Get("X-Attestd-Reason"))
				}
			}

			w.answer(func(ask decision.Ask) decision.Answer {
				time.Sleep(600 * time.Millisecond)
				return like()(ask)
			})
			if status, _, body := send(token); status < 500 || strings.Contains(body, "the upstream") {
				t.Errorf("an answer that comes late: got %d %s", status, body)
			}
			stop()
			w.answer(like())
			if status, _, body := send(token); status < 500 || strings.Contains(body, "the upstream") {
				t.Errorf("attestd is gone: got %d %s", status, body)
			}
			if came := seen(); len(came) != 0 {
				t.Errorf("the upstream got %d requests that were not allowed", len(came))
			}
		})
	}
}

// attack sends what clients of libraries cannot: other spellings of the path and of the headers. What comes
// through must be what was decided about, in the caller's own name.
func attack(t *testing.T, w *world, address string, seen func() []http.Header) {
	t.Helper()
	send := func(path string, headers ...string) string {
		t.Helper()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		request := "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nAuthorization: Bearer " + token + "\r\n"
		for _, one := range headers {
			request += one + "\r\n"
		}
		if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return "no answer"
		}
		_ = answer.Body.Close()
		return answer.Status
	}
	if status := send("/search/x"); status != "200 OK" || len(seen()) != 1 {
		t.Fatalf("a plain request: %s", status)
	}
	for _, path := range []string{
		"/admin/../search/x", "/admin/%2e%2e/search/x", "/admin%2f..%2fsearch/x", "/search/..;/admin",
		"/search/..%5cadmin", `/search/..\admin`, "/search//x", "/search/%252e%252e/admin", "/search/./x",
		"http://evil/admin/../search/x",
	} {
		if status, came := send(path), seen(); len(came) != 0 {
			t.Errorf("%s reached the upstream: %s", path, status)
		}
	}
	for _, headers := range [][]string{
		{"X_Attestd_Tenant: forged", "X_Attestd_Subject: forged", "x-attestd_subject: forged"},
		{"Connection: X-Attestd-Tenant, X-Attestd-Subject", "X_Attestd_Subject: forged"},
		{"Connection: x-attestd-subject"},
	} {
		status := send("/search/x", headers...)
		for _, came := range seen() {
			if strings.Contains(fmt.Sprint(came), "forged") || came.Get("X-Attestd-Subject") != caller ||
				came.Get("X-Attestd-Tenant") != "acme" {
				t.Errorf("%v: %s, the upstream got %v", headers, status, came)
			}
		}
	}
	w.last(t)
}
