package revocation_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// Operators of the tests.
var (
	anna = operator.Principal{
		Name: "anna", Roles: []operator.Role{operator.Security}, Tenants: []string{"*"}, Via: operator.ViaToken,
	}
	ben = operator.Principal{
		Name: "ben", Roles: []operator.Role{operator.Security}, Tenants: []string{"*"}, Via: operator.ViaToken,
	}
	blue = operator.Principal{
		Name: "bea", Roles: []operator.Role{operator.Security}, Tenants: []string{"blue"}, Via: operator.ViaToken,
	}
	viewer = operator.Principal{
		Name: "vic", Roles: []operator.Role{operator.Viewer, operator.Operator}, Tenants: []string{"*"},
		Via: operator.ViaToken,
	}
)

// faulty is the registry, which can be made to fail.
type faulty struct {
	*registry.Store
	writes, reads atomic.Bool
	// left is after how many writes they fail, 0 for never.
	left atomic.Int64
}

var errDown = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable, Got: "a store that is down"}

func (f *faulty) Write(ctx context.Context, write subject.Write) error {
	if f.writes.Load() {
		return errDown
	}
	if f.left.Load() > 0 && f.left.Add(-1) == 0 {
		f.writes.Store(true)
	}
	return f.Store.Write(ctx, write)
}

func (f *faulty) Known(ctx context.Context, ask subject.Ask) (subject.Known, error) {
	if f.reads.Load() {
		return subject.Known{}, errDown
	}
	return f.Store.Known(ctx, ask)
}

func (f *faulty) Subject(ctx context.Context, id subject.ID) (subject.Subject, bool, error) {
	if f.reads.Load() {
		return subject.Subject{}, false, errDown
	}
	return f.Store.Subject(ctx, id)
}

// world is a registry with its index and an authority over both.
type world struct {
	t         *testing.T
	dir       string
	elapsed   atomic.Int64
	clock     *registry.Clock
	store     *faulty
	index     *live.Index
	authority *revocation.Authority
	rules     revocation.Rules
}

func newWorld(t *testing.T, change func(*revocation.Rules)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), rules: revocation.Rules{
		Rules: subject.Rules{
			Reattest: time.Hour, Grace: 30 * time.Minute, Bad: 1, Good: 1,
			Codes: []subject.Code{subject.CodeClone, subject.CodeKeyChurn, subject.CodeEvidence},
		},
		Mode: subject.ModeOn, PerHour: 2,
	}}
	if change != nil {
		change(&w.rules)
	}
	w.clock = registry.NewClock(w.wall, func() time.Duration { return time.Duration(w.elapsed.Load()) })
	w.open()
	return w
}

func (w *world) wall() time.Time { return start.Add(time.Duration(w.elapsed.Load())) }

func (w *world) now() time.Time { return w.clock.Now() }

func (w *world) pass(d time.Duration) { w.elapsed.Add(int64(d)) }

func (w *world) open() {
	w.t.Helper()
	w.index = live.New()
	store, err := registry.Open(w.t.Context(), registry.Config{
		Path: filepath.Join(w.dir, "attestd.db"), Clock: w.clock, Index: w.index,
		Limits: registry.Limits{
			Outstanding: 100, PerTenant: 100, PerSource: 100, Appraisals: 100, KeepAppraisals: time.Hour,
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = &faulty{Store: store}
	w.authority, err = revocation.New(w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.close)
}

func (w *world) config() revocation.Config {
	return revocation.Config{
		Store: w.store, Index: w.index, Now: w.now, TrustDomain: "example.org",
		JournalPath: filepath.Join(w.dir, "direct.journal"), Rules: w.rules,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) close() {
	if w.store == nil {
		return
	}
	for _, err := range []error{w.authority.Close(), w.store.Close()} {
		if err != nil {
			w.t.Error(err)
		}
	}
	w.store = nil
}

// restart is a new process on the same files.
func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func idOf(name string) subject.ID {
	return subject.ID("spiffe://example.org/spire/agent/attestd/tpm/" + name)
}

// ekOf is the endorsement key of the machine of that name, chip the host of them all.
func ekOf(name string) string {
	return "ek:" + (hex.EncodeToString([]byte(name)) + strings.Repeat("0", 64))[:64]
}

var chip = strings.Repeat("c1", 64)

// seen is good evidence of the machine of that name.
func (w *world) seen(name, tenant string, boot int) subject.Observation {
	return subject.Observation{
		Proven: true, ID: idOf(name), Format: attestd.FormatTPM,
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: ekOf(name)},
		Boot:     fmt.Sprintf("%s/%d", ekOf(name), boot), Host: chip,
		Verdict: attestd.VerdictAccepted, Risk: attestd.Risk(10), Tenant: tenant,
		Owner: subject.Ownership{
			Tenant: tenant, Method: subject.MethodInventory, Status: subject.StatusApproved,
		},
		AppraisalID: "a-" + name, Source: "192.0.2.1", At: w.now(),
	}
}

// attest carries out what evidence leads to, as the service does.
func (w *world) attest(seen subject.Observation) subject.Reaction {
	w.t.Helper()
	for {
		known, err := w.store.Store.Known(w.t.Context(), subject.Ask{
			ID: seen.ID, Instance: seen.Instance, Bars: seen.Keys(),
		})
		if err != nil {
			w.t.Fatal(err)
		}
		reaction := subject.React(known, seen, w.rules.Rules)
		if reaction.Write.Empty() {
			return reaction
		}
		err = w.store.Store.Write(w.t.Context(), reaction.Write)
		var moved *subject.MovedError
		if errors.As(err, &moved) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		return reaction
	}
}

// fleet has two machines of tenant blue and one of red on one host.
func (w *world) fleet() *world {
	w.t.Helper()
	w.attest(w.seen("alpha1", "blue", 1))
	w.attest(w.seen("alpha2", "blue", 1))
	w.attest(w.seen("rouge1", "red", 1))
	for _, name := range []string{"alpha1", "alpha2", "rouge1"} {
		w.wantGrant(name, true)
	}
	return w
}

func (w *world) grant(name string) error {
	_, err := w.index.Grant(idOf(name), 300, "x509-svid", w.now())
	return err
}

func (w *world) wantGrant(name string, want bool) {
	w.t.Helper()
	if err := w.grant(name); (err == nil) != want {
		w.t.Errorf("a grant for %s: %v, want one: %v", name, err, want)
	}
}

func (w *world) wantState(name string, want attestd.State) {
	w.t.Helper()
	got, found, err := w.store.Store.Subject(w.t.Context(), idOf(name))
	if err != nil || !found || got.State != want {
		w.t.Errorf("%s is %s (found %v, %v), want %s", name, got.State, found, err, want)
	}
}

// records returns the log's records of an action.
func (w *world) records(action string) (out []audit.Record) {
	w.t.Helper()
	leaves, _, err := w.store.AuditEntries(w.t.Context(), 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, leaf := range leaves {
		if !strings.Contains(string(leaf), `"`+action+`"`) {
			continue
		}
		record, err := audit.Decode(leaf)
		if err != nil {
			w.t.Fatal(err)
		}
		if record.Action == action {
			out = append(out, record)
		}
	}
	return out
}

func order(target string) wire.Order { return wire.Order{Target: target, Reason: "exfil alert 4471"} }

func wantClass(t *testing.T, err error, want attestd.Class) {
	t.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != want || caller.Hint == "" {
		t.Errorf("%v, want a refusal of class %s with a hint", err, want)
	}
}
