package daemon_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
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

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/daemon"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
)

// running is a daemon that a test started.
type running struct {
	testing.TB
	daemon.Bound
	settings config.Config
	log      *lockedBuffer
	stop     context.CancelFunc
	ended    chan error
}

func settingsIn(t testing.TB) config.Config {
	t.Helper()
	settings := config.Default()
	settings.StateDir = shortDir(t)
	settings.Listen.HTTP = "127.0.0.1:0"
	settings.Verify.Isolation = config.IsolateNone
	settings.Verify.AllowRecorded = true
	settings.LogLevel = "debug"
	return settings
}

// shortDir is a folder whose path leaves room for the name of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "attestd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

func start(t testing.TB, settings config.Config, workerCommand ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{TB: t, settings: settings, log: &lockedBuffer{}, stop: stop, ended: make(chan error, 1)}
	ready := make(chan daemon.Bound, 1)
	go func() {
		r.ended <- daemon.Run(ctx, daemon.Options{
			Config: settings, Ready: func(bound daemon.Bound) { ready <- bound }, WorkerCommand: workerCommand,
			Logger: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
	}()
	t.Cleanup(stop)
	select {
	case r.Bound = <-ready:
	case err := <-r.ended:
		t.Fatalf("did not start: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("did not start in 30 s")
	}
	return r
}

func (r *running) end() {
	r.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.Fatalf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		r.Fatal("did not end in 20 s")
	}
}

func (r *running) overUnix() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.Socket)
		},
	}}
}

func fetch(t testing.TB, client *http.Client, method, url, media, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", media)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, read
}

var plainClient = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func TestADaemonAnswersOnLoopbackAndOnItsSocket(t *testing.T) {
	r := start(t, settingsIn(t))
	for name, where := range map[string]struct {
		client *http.Client
		base   string
	}{"loopback": {plainClient, r.URL}, "unix socket": {r.overUnix(), "http://attestd"}} {
		t.Run(name, func(t *testing.T) {
			if status, body := fetch(t, where.client, "GET", where.base+"/readyz", "", ""); status != 200 {
				t.Errorf("readyz: got %d %s", status, body)
			}
			status, body := fetch(t, where.client, "POST", where.base+"/v1/challenges", "application/json", `{"format":"nitro"}`)
			if _, err := challenge.ParseReply(body); status != 201 || err != nil {
				t.Errorf("challenges: got %d %s", status, body)
			}
		})
	}
	info, err := os.Stat(r.Socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket has mode %v, %v; want 0660", info.Mode(), err)
	}
	for _, name := range []string{"attestd.db", "attestd.db-wal", "challenge.key"} {
		info, err := os.Stat(filepath.Join(r.settings.StateDir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
	}
	r.end()
	if _, err := os.Stat(r.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket was left behind")
	}
}

// neg: 157
func TestARestartKeepsChallengesUsesAndTheKey(t *testing.T) {
	settings := settingsIn(t)
	r := start(t, settings)
	_, body := fetch(t, plainClient, "POST", r.URL+"/v1/challenges", "application/json", `{"format":"nitro"}`)
	reply, err := challenge.ParseReply(body)
	if err != nil {
		t.Fatal(err)
	}
	r.end()
	r = start(t, settings)
	_, keys := fetch(t, plainClient, "GET", r.URL+"/v1/keys", "", "")
	if err := reply.VerifySignature(keys); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	path := "/v1/verify?format=nitro&challenge_id=" + reply.Challenge.ID
	for i, want := range []string{"nitro/", "challenge/known"} {
		status, body := fetch(t, plainClient, "POST", r.URL+path, "application/cbor", "not evidence")
		if status != 200 || !bytes.Contains(body, []byte(`"id":"`+want)) {
			t.Errorf("use %d: got %d %s, want a rejection by %s", i, status, body, want)
		}
		r.end()
		r = start(t, settings)
	}
	r.end()
}

func TestADaemonThatCannotBeSureDoesNotStart(t *testing.T) {
	busy := start(t, settingsIn(t))
	for name, change := range map[string]func(t *testing.T, c *config.Config){
		"plaintext beyond loopback": func(_ *testing.T, c *config.Config) { c.Listen.HTTP = "0.0.0.0:0" },
		"the state of another":      func(_ *testing.T, c *config.Config) { c.StateDir = busy.settings.StateDir },
		"a state that others can write": func(t *testing.T, c *config.Config) {
			if err := os.Chmod(c.StateDir, 0o777); err != nil { //nolint:gosec // the point of the row
				t.Fatal(err)
			}
		},
		"a socket that is served": func(_ *testing.T, c *config.Config) { c.Listen.Unix = busy.Socket },
		"a file in the socket's place": func(t *testing.T, c *config.Config) {
			c.Listen.Unix = filepath.Join(c.StateDir, "file")
			if err := os.WriteFile(c.Listen.Unix, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a policy that is not there": func(_ *testing.T, c *config.Config) { c.Verify.Policy = "/nowhere.yaml" },
		"a policy that is a pipe, for which nobody writes": func(t *testing.T, c *config.Config) {
			c.Verify.Policy = filepath.Join(c.StateDir, "policy.yaml")
			if err := unix.Mkfifo(c.Verify.Policy, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a policy that is none": func(t *testing.T, c *config.Config) {
			c.Verify.Policy = filepath.Join(c.StateDir, "policy.yaml")
			if err := os.WriteFile(c.Verify.Policy, []byte("schema: x"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"reference values that are none": func(t *testing.T, c *config.Config) {
			path := filepath.Join(c.StateDir, "references.yaml")
			if err := os.WriteFile(path, []byte("schema: x"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.Verify.LocalReferences = []string{path}
		},
		"reference values that nobody signed": func(t *testing.T, c *config.Config) {
			values, key := filepath.Join(c.StateDir, "references.yaml"), filepath.Join(c.StateDir, "signers.pub")
			_, public, err := measurements.GenerateKey("example.org/references")
			if err != nil {
				t.Fatal(err)
			}
			for path, text := range map[string]string{key: public, values: `schema: attestd.reference-values.v1
name: guest
format: sev-snp
values:
  - {name: one, state: active, measurement: "` + strings.Repeat("3f9a61c0", 12) + `"}
`} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c.Verify.References, c.Verify.ReferenceKeys = []string{values}, []string{key}
		},
		"a root that is none": func(t *testing.T, c *config.Config) {
			path := filepath.Join(c.StateDir, "root.pem")
			if err := os.WriteFile(path, []byte("root"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.Verify.InsecureRoots = []string{path}
		},
		"a key that others can read": func(t *testing.T, c *config.Config) {
			if err := os.WriteFile(filepath.Join(c.StateDir, "challenge.key"), nil, 0o644); err != nil { //nolint:gosec // the point of the row
				t.Fatal(err)
			}
		},
		"a damaged database": func(t *testing.T, c *config.Config) {
			if err := os.WriteFile(filepath.Join(c.StateDir, "attestd.db"), bytes.Repeat([]byte("x"), 9000), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			settings := settingsIn(t)
			change(t, &settings)
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			err := daemon.Run(ctx, daemon.Options{
				Config: settings, Logger: slog.New(slog.DiscardHandler),
				Ready: func(daemon.Bound) { t.Error("it serves"); stop() },
			})
			if err == nil {
				t.Fatal("it started")
			}
			var caller *attestd.CallerError
			if errors.As(err, &caller) && (caller.Class != attestd.ClassConfig || caller.Hint == "") {
				t.Errorf("got %v of class %s with hint %q, want CONFIG and a hint", err, caller.Class, caller.Hint)
			}
		})
	}
	// The one that runs was not harmed by any of them.
	if status, _ := fetch(t, plainClient, "GET", busy.URL+"/readyz", "", ""); status != 200 {
		t.Errorf("readyz: got %d", status)
	}
	if status, _ := fetch(t, busy.overUnix(), "GET", "http://attestd/healthz", "", ""); status != 200 {
		t.Errorf("healthz over the socket: got %d", status)
	}
}

func TestASocketThatADeadDaemonLeftIsReplaced(t *testing.T) {
	settings := settingsIn(t)
	listener, err := net.Listen("unix", settings.SocketPath())
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.Close()
	r := start(t, settings)
	if status, _ := fetch(t, r.overUnix(), "GET", "http://attestd/healthz", "", ""); status != 200 {
		t.Errorf("got %d", status)
	}
}

// neg: 159
func TestAClockBeforeTheBuildIsRefused(t *testing.T) {
	if err := daemon.DemandSoundClock(time.Now()); err != nil {
		t.Errorf("now: %v", err)
	}
	err := daemon.DemandSoundClock(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC))
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
		t.Errorf("a clock before the build: got %v, want a CONFIG error", err)
	}
}

// neg: 162
func TestSlowCallersDisplaceEachOtherAndNobodyElse(t *testing.T) {
	settings := settingsIn(t)
	settings.Limits.Connections = 32
	r := start(t, settings)
	address := strings.TrimPrefix(r.URL, "http://")
	var slow []net.Conn
	defer func() {
		for _, conn := range slow {
			_ = conn.Close()
		}
	}()
	for i := range 200 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
		beginning := [...]string{
			"", "P", "POST /v1/verify HTTP/1.1\r\nHost: x\r\n",
			"POST /v1/verify-recorded HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 9999\r\n\r\nx",
		}[i%4]
		if _, err := io.WriteString(conn, beginning); err != nil && i < settings.Limits.Connections {
			t.Fatal(err)
		}
	}
	for range 20 {
		began := time.Now()
		status, _ := fetch(t, plainClient, "GET", r.URL+"/healthz", "", "")
		if took := time.Since(began); status != 200 || took > 3*time.Second { // less than any time-out
			t.Fatalf("an honest caller got %d after %s, want 200 at once", status, took)
		}
	}
	closed := 0
	for _, conn := range slow {
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if held := len(slow) - closed; held > settings.Limits.Connections {
		t.Errorf("%d connections are held, want at most %d", held, settings.Limits.Connections)
	}
}

// neg: 161, 162
func TestAHeaderThatNeverEndsOrIsTooLongIsCutOff(t *testing.T) {
	settings := settingsIn(t)
	settings.Limits.ReadHeaderTimeout = 200 * time.Millisecond
	settings.Limits.ReadTimeout = 300 * time.Millisecond
	r := start(t, settings)
	for name, row := range map[string]struct{ send, want string }{
		"never ends":        {"GET /healthz HTTP/1.1\r\nHost: x\r\n", ""},
		"body never comes":  {"POST /v1/verify-recorded HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 400"},
		"100 KB of headers": {"GET /healthz HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 20000) + "\r\n", "HTTP/1.1 431"},
		"two lengths":       {"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 400"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, row.send)
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			got, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection is still open after 5 s")
			}
			if row.want != "" && !strings.HasPrefix(string(got), row.want) {
				t.Errorf("got %.100q, want %s", got, row.want)
			}
		})
	}
}

func TestRunningRequestsFinishWhenADaemonStops(t *testing.T) {
	r := start(t, settingsIn(t))
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprint(conn, "POST /v1/verify-recorded?format=nitro HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 4\r\n\r\nab")
	time.Sleep(100 * time.Millisecond) // the request has begun
	r.stop()
	time.Sleep(100 * time.Millisecond)
	fmt.Fprint(conn, "cd")
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200") {
		t.Errorf("got %.100q, %v; want a verdict", got, err)
	}
	r.end()
}

// Verifications wait for their commits most of the time: one worker must not mean one at a time.
func TestMoreVerificationsAreUnderWayThanThereAreWorkers(t *testing.T) {
	settings := settingsIn(t)
	settings.Verify.Workers, settings.Verify.Waiting = 1, 0
	r := start(t, settings)
	for range 10 {
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				const path = "/v1/verify?format=nitro&challenge_id=none"
				if status, got := fetch(t, plainClient, "POST", r.URL+path, "application/cbor", "x"); status != 200 {
					t.Errorf("got %d %s", status, got)
				}
			})
		}
		group.Wait()
	}
	r.end()
}

func TestSwitchesThatMakeVerdictsLessCertainAreLogged(t *testing.T) {
	settings := settingsIn(t)
	authority, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(settings.StateDir, "root.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.RootDER()})
	if err := os.WriteFile(root, block, 0o600); err != nil {
		t.Fatal(err)
	}
	settings.Verify.InsecureRoots, settings.Verify.Policy = []string{root}, "laboratory"
	r := start(t, settings)
	if status, body := fetch(t, plainClient, "GET", r.URL+"/readyz", "", ""); status != 200 {
		t.Errorf("readyz: got %d %s", status, body)
	}
	r.end()
	for _, key := range []string{"verify.insecure_roots", "verify.policy", "verify.allow_recorded", "verify.isolation"} {
		if !strings.Contains(r.log.data.String(), `"level":"WARN","msg":`) || !strings.Contains(r.log.data.String(), `"key":"`+key+`"`) {
			t.Errorf("the log does not warn of %s", key)
		}
	}
}

type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(data)
}

// runBriefly runs a daemon that is expected not to start.
func runBriefly(t *testing.T, settings config.Config) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	return daemon.Run(ctx, daemon.Options{
		Config: settings, Logger: slog.New(slog.DiscardHandler), Ready: func(daemon.Bound) { stop() },
	})
}
