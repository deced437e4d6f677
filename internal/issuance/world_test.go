package issuance_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

const (
	domain   = "example.org"
	workload = "spiffe://example.org/shop/web"
	server   = "spiffe://example.org/spire/server"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// world is an office over a real index.
type world struct {
	testing.TB
	index  *live.Index
	office *issuance.Office
	// entries is what SPIRE has and the map does not.
	mu      sync.Mutex
	now     time.Time
	entries map[string][]wire.Entry
	asked   [][]string
	broken  error
	bound   map[subject.ID]bool
	noted   []audit.Record
}

func newWorld(tb testing.TB, change func(*issuance.Config)) *world {
	tb.Helper()
	w := &world{
		TB: tb, index: live.New(), now: start, entries: map[string][]wire.Entry{},
		bound: map[subject.ID]bool{},
	}
	must(tb, w.index.Load(start, none[subject.Subject](), none[subject.Bar]()))
	config := w.config()
	if change != nil {
		change(&config)
	}
	var err error
	w.office, err = issuance.New(config)
	must(tb, err)
	return w
}

func none[T any]() iter.Seq2[T, error] { return func(func(T, error) bool) {} }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (w *world) config() issuance.Config {
	_, key, err := ed25519.GenerateKey(nil)
	must(w, err)
	return issuance.Config{
		TrustDomain: domain, Index: w.index, Verifier: nobody{}, Keys: json.RawMessage(`{"keys":[]}`),
		Now: w.clock, Unattested: issuance.Deny, Unbound: issuance.Ratchet,
		AttestedOnly: []string{"/enclave/"}, Audiences: []string{"*"}, ExtensionOID: svidext.DefaultOID,
		Lifetimes: issuance.Lifetimes{
			Agent: time.Hour, X509: time.Hour, MaxX509: 2 * time.Hour, Grace: time.Minute,
			JWT: map[attestd.Tier]time.Duration{
				attestd.TierLow: 5 * time.Minute, attestd.TierMedium: time.Minute,
				attestd.TierUnknown: 30 * time.Second,
			},
			Snapshot: 10 * time.Second, Map: time.Minute,
		},
		Bound: func(_ context.Context, id subject.ID) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.bound[id], w.broken
		},
		SnapshotKey: key, NodeCA: certifier{},
		Workloads: func(tenant string) (map[string]string, string) {
			return map[string]string{"aa": tenant + "-web"}, "1"
		},
		Addresses: []string{"tcp:127.0.0.1:8443"}, ServerCA: []byte("ca"), Refresh: w.refresh,
		Notes: w, Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(by)
}

// refresh answers as the controller does.
func (w *world) refresh(_ context.Context, ids []string) (wire.Map, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, ids)
	out := wire.Map{At: w.now}
	for _, id := range ids {
		out.Entries = append(out.Entries, w.entries[id]...)
	}
	return out, w.broken
}

// Note takes what is noted.
func (w *world) Note(record audit.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noted = append(w.noted, record)
}

type notes struct{}

func (notes) Note(audit.Record) {}

// nobody is a verifier that is never asked.
type nobody struct{}

func (nobody) Challenge(context.Context, service.Wish) (challenge.Reply, error) {
	return challenge.Reply{}, errors.New("asked for a challenge")
}

func (nobody) Verify(context.Context, service.Submission) (attestd.Appraisal, error) {
	return attestd.Appraisal{}, errors.New("asked for a verdict")
}

// certifier certifies nothing and says what it was asked for.
type certifier struct{}

func (certifier) Issue(spki []byte, id string, ends time.Time) ([][]byte, error) {
	return [][]byte{spki, []byte(id), []byte(ends.Format(time.RFC3339))}, nil
}

// node is a trusted machine.
func node(n int) subject.Subject {
	digest := sha256.Sum256(fmt.Appendf(nil, "ek %d", n))
	instance := attestd.Handle{Kind: attestd.HandleInstance, Value: "ek:" + hex.EncodeToString(digest[:])}
	id, err := subject.AgentID(domain, attestd.FormatTPM, instance)
	if err != nil {
		panic(err)
	}
	return subject.Subject{
		ID: id, Tenant: "blue", Format: attestd.FormatTPM, Instance: instance,
		Boot: fmt.Sprint("boot ", n), Host: fmt.Sprint("host ", n), Ownership: subject.MethodInventory,
		State: attestd.StateTrusted, Generation: 1, Epoch: 1, Floor: attestd.Risk(20),
		EvidenceAt: start, DueAt: start.Add(30 * time.Minute),
	}
}

// publish puts nodes into the registry, as change makes them.
func (w *world) publish(change func(*subject.Subject), which ...int) {
	for _, n := range which {
		one := node(n)
		if change != nil {
			one.Generation = 2
			change(&one)
		}
		w.index.Publish([]subject.Subject{one}, nil)
	}
}

func (w *world) hold(id subject.ID) {
	w.index.Publish(nil, []subject.BarWrite{{
		Key: id.Key(), Next: &subject.Bar{Key: id.Key(), State: attestd.StateQuarantined},
	}})
}

// entry is one entry of the id; a parent that is none of these words is the parent itself.
func entry(id, parent string, selectors ...wire.Selector) wire.Entry {
	return wire.Entry{ID: id + parent, SPIFFEID: id, ParentID: parent, Selectors: selectors}
}

// on gives the workload an entry on each of the nodes.
func (w *world) on(which ...int) {
	w.Helper()
	whole := wire.Map{At: w.clock()}
	for _, n := range which {
		whole.Entries = append(whole.Entries, entry(workload, string(node(n).ID)))
		whole.Agents = append(whole.Agents, wire.Agent{ID: string(node(n).ID), Type: "attestd"})
	}
	must(w, w.office.SetMap(whole))
}

func jwt(id string) wire.GrantRequest {
	return wire.GrantRequest{
		Kind: wire.GrantWorkloadJWT, ID: id, Audience: []string{"db"}, ExpiresAt: start.Unix() + 300,
	}
}

func x509SVID(id string) wire.GrantRequest {
	key := sha256.Sum256([]byte("a workload's key"))
	return wire.GrantRequest{Kind: wire.GrantWorkloadX509, ID: id, KeySHA256: key[:]}
}

func agentSVID(id subject.ID, key []byte) wire.GrantRequest {
	digest := sha256.Sum256(key)
	return wire.GrantRequest{Kind: wire.GrantAgentX509, ID: string(id), KeySHA256: digest[:]}
}

func (w *world) granted(ask wire.GrantRequest) wire.Granted {
	w.Helper()
	given, err := w.office.Grant(context.Background(), ask)
	if err != nil {
		w.Fatalf("got %v, want a grant for %s", err, ask.ID)
	}
	return given
}

// refused demands an error of the caller's of that class.
func (w *world) refused(ask wire.GrantRequest, class attestd.Class) {
	w.Helper()
	given, err := w.office.Grant(context.Background(), ask)
	w.failed(err, class)
	if given.Claims != nil || given.Extension != nil || given.ExpiresAt != 0 {
		w.Errorf("a refusal came with %+v", given)
	}
}

func (w *world) failed(err error, class attestd.Class) {
	w.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != class || caller.Hint == "" {
		w.Errorf("got %v, want an error of class %s with a hint", err, class)
	}
}

func (w *world) undecided(err error) {
	w.Helper()
	var undecided *attestd.UndecidedError
	if !errors.As(err, &undecided) || !undecided.Class.Undecided() || undecided.Hint == "" {
		w.Errorf("got %v, want undecided", err)
	}
}

func (w *world) outstanding(id subject.ID) int {
	n, _ := w.index.Outstanding(id, w.clock())
	return n
}

// said is what a grant's extension says.
func (w *world) said(given wire.Granted) svidext.Info {
	w.Helper()
	info, err := svidext.Parse(given.Extension)
	must(w, err)
	return info
}
