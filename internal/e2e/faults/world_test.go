package faults_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/daemon"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

const trustDomain = "faults.example"

// patience is how long anything may take before it counts as hanging: more than the five seconds that
// the store waits for a lock, twice.
const patience = 25 * time.Second

// clock is a wall clock and an elapsed time that a test sets.
type clock struct {
	mu            sync.Mutex
	ahead         time.Duration // what is added to the wall clock
	wall, elapsed time.Time     // where it stands still; zero where it runs
	start         time.Time
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) set(change func(*clock)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

func (c *clock) registry() *registry.Clock {
	return registry.NewClock(func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.wall.IsZero() {
			return c.wall
		}
		return time.Now().Round(0).Add(c.ahead)
	}, func() time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.elapsed.IsZero() {
			return c.elapsed.Sub(c.start)
		}
		return time.Since(c.start)
	})
}

// made is what every world starts from.
var made = sync.OnceValues(func() (m struct {
	aws   *forge.AWS
	chips *forge.TPMCA
}, err error) {
	if m.aws, err = forge.NewAWS(forge.AWSOptions{At: time.Now()}); err != nil {
		return m, err
	}
	m.chips, err = forge.NewTPMCA(forge.TPMCAConfig{})
	return m, err
})

// world is a daemon with one machine that is enrolled and trusted.
type world struct {
	testing.TB
	settings config.Config
	clock    *clock
	vault    *vault
	reload   chan os.Signal
	log      *lockedBuffer
	aws      *forge.AWS
	chips    *forge.TPMCA
	// public asks as anybody does, admin as the operator who has the token, and issuer as the one that
	// gives identities to machines.
	public        *http.Client
	admin, issuer *client.Client
	id            subject.ID

	stop  context.CancelFunc
	ended chan error
}

// newWorld starts a daemon and makes its machine a trusted one.
func newWorld(t testing.TB) *world {
	t.Helper()
	parts, err := made()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "fault") // short: a socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	w := &world{TB: t, clock: newClock(), aws: parts.aws, chips: parts.chips, settings: config.Default()}
	w.settings.StateDir, w.settings.TrustDomain = folder, trustDomain
	w.settings.Listen.HTTP, w.settings.Admin.HTTP = config.Off, "127.0.0.1:0"
	w.settings.Verify.Isolation = config.IsolateNone
	w.settings.Verify.Workers = 4
	w.settings.Verify.Policy = w.path("policy.yaml")
	w.settings.Limits.ReadTimeout = 2 * time.Second
	for name, root := range map[string][]byte{"aws.pem": parts.aws.RootDER(), "tpm.pem": parts.chips.Root.Raw} {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
		w.write(w.path(name), block)
		w.settings.Verify.InsecureRoots = append(w.settings.Verify.InsecureRoots, w.path(name))
	}
	w.write(w.path("policy.yaml"), policy(t, "first"))
	files, err := keys.OpenFiles(w.path("keys/result"))
	w.must(err)
	w.vault = &vault{Vault: files}
	w.must(w.start())
	t.Cleanup(func() {
		if w.stop != nil {
			w.end()
		}
		if t.Failed() {
			t.Logf("the daemon said:\n%s", w.log.text())
		}
	})
	w.must(w.approve())
	if got := w.attest(); !got.accepted() {
		t.Fatalf("a healthy daemon says %s", got)
	}
	w.mayHave(true)
	return w
}

// policy is that of archives, but ownership counts as in production and nothing is decided about a TPM
// without fresh revocation lists.
func policy(t testing.TB, id string) []byte {
	t.Helper()
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	if err != nil {
		t.Fatal(err)
	}
	document := recorded.Document()
	for _, change := range [][2]string{
		{"\nid: recorded", "\nid: " + id},
		{"ownership/known: any", "ownership/known: {want: [inventory, cloud-account, enrolment], otherwise: reject}"},
		{"ek-crl: {want: [fresh], otherwise: 5}", "ek-crl: {want: [fresh], otherwise: undecided}"},
	} {
		if !bytes.Contains(document, []byte(change[0])) {
			t.Fatalf("the policy for archives has no %q any more", change[0])
		}
		document = bytes.ReplaceAll(document, []byte(change[0]), []byte(change[1]))
	}
	return document
}

func (w *world) path(name string) string { return filepath.Join(w.settings.StateDir, name) }

func (w *world) write(path string, content []byte) {
	w.Helper()
	w.must(os.WriteFile(path, content, 0o600))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// start starts the daemon, or returns why it refuses to.
func (w *world) start() error {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.log, w.ended, w.reload = &lockedBuffer{}, make(chan error, 1), make(chan os.Signal)
	ready := make(chan daemon.Bound, 1)
	go func(ended chan error) {
		ended <- daemon.Run(ctx, daemon.Options{
			Config: w.settings, Clock: w.clock.registry(), Reload: w.reload, ResultVault: w.vault,
			Ready:  func(bound daemon.Bound) { ready <- bound },
			Logger: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
	}(w.ended)
	select {
	case bound := <-ready:
		w.stop = stop
		return w.connect(bound)
	case err := <-w.ended:
		stop()
		if err == nil {
			w.Fatal("it ended at once, and without a word")
		}
		return err
	case <-time.After(patience):
		stop()
		w.Fatal("it neither serves nor refuses to")
		return nil
	}
}

func (w *world) connect(bound daemon.Bound) error {
	w.public = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", bound.Socket)
		},
	}}
	var err error
	w.admin, err = client.New(client.Config{
		Server: "unix://" + bound.Socket, TokenFile: w.path("admin.token"), Timeout: patience, Now: time.Now,
	})
	if err != nil {
		return err
	}
	identity := w.path("issuer")
	if _, err := os.Stat(identity); err != nil {
		if err := w.login(bound.Admin, identity); err != nil {
			return err
		}
	}
	w.issuer, err = client.New(client.Config{
		Server: bound.Admin, Identity: identity, Timeout: patience, Now: time.Now,
	})
	return err
}

// login makes an operator that may give identities to machines.
func (w *world) login(server, identity string) error {
	added, err := w.admin.AddOperator(context.Background(), wire.Operator{
		Name: "issuer", Roles: []string{string(operator.Issuer)}, Tenants: []string{operator.AllTenants},
	})
	if err != nil {
		return err
	}
	asking, err := client.New(client.Config{
		Server: server, LoginToken: added.Token, Timeout: patience, Now: time.Now,
	})
	if err != nil {
		return err
	}
	_, err = asking.Login(context.Background(), identity)
	return err
}

// end stops the daemon, which it must do in time whatever has happened to it.
func (w *world) end() {
	w.Helper()
	w.stop()
	w.stop = nil
	select {
	case err := <-w.ended:
		if err != nil {
			w.Logf("ended with %v", err)
		}
	case <-time.After(patience):
		w.Fatal("it does not end")
	}
}

// restart stops the daemon and starts it again.
func (w *world) restart() error {
	w.Helper()
	w.end()
	return w.start()
}

// approve makes the machine the default tenant's.
func (w *world) approve() error { return w.approves("instance:" + forge.AWSModuleID) }

func (w *world) approves(key string) error {
	_, err := w.admin.Approve(context.Background(), wire.Decide{Key: key, Tenant: "default", Reason: "ours"})
	return err
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

func (b *lockedBuffer) count(words string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Count(b.data.Bytes(), []byte(words))
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.data.String()
	return fmt.Sprintf("…%s", text[max(0, len(text)-4000):])
}
