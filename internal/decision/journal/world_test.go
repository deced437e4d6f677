package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/nhi"
)

var (
	begin  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	digest = "sha256:" + strings.Repeat("a5", 32)
	prompt = "p1:" + strings.Repeat("a", 52)
)

// idAt returns the UUIDv7 of a time with a number behind it.
func idAt(at time.Time, number uint64) (id uuid.UUID) {
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], uint64(at.UnixMilli())) //nolint:gosec // after 1970
	copy(id[:6], wide[2:])
	binary.BigEndian.PutUint64(id[8:], number)
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

// answer returns a whole answer: a denial for a code, else an allow.
func answer(number int, at time.Time, code decision.Code) *decision.Answer {
	in := &decision.Input{
		Schema: decision.InputSchema, At: at, Via: decision.ViaAuthZEN, Enforcer: "user:gateway",
		Who: decision.Who{
			ID: "spiffe://example.org/tenant/acme/agent", TrustDomain: "example.org", Method: decision.MethodJWT,
			Audience: []string{"attestd://decide"}, IssuedAt: at.Add(-time.Minute), Expires: at.Add(time.Minute),
			Credential: strings.Repeat("0f", 32), VerifiedAt: at,
		},
		Standing: decision.Standing{
			Attested: true, State: attestd.StateTrusted, Tenant: "acme", Risk: attestd.Risk(12),
			Tier: attestd.TierLow, Epoch: 7, Status: "affirming", AttestedAt: at.Add(-time.Hour),
		},
		Record: &nhi.Record{ID: "spiffe://example.org/tenant/acme/agent", Tenant: "acme", Policy: "agents",
			Tools: []string{"search"}},
		Action: decision.Action{Name: decision.ActionToolCall},
		Resource: decision.Resource{Type: "tool", ID: "search", Tenant: "acme",
			Datasets: []decision.Dataset{{ID: "orders", Classification: []string{"pii"}}}},
		Context: decision.Context{
			PromptID: prompt, ExposureScore: -1, RequestID: fmt.Sprint("request-", number),
			Chain: []decision.Link{{Type: "human", ID: "ann@example.org"}, {Type: "nhi", ID: "spiffe://x", Verified: true}},
		},
		Findings: decision.Findings{Looked: true},
		Rules:    decision.Rules{Fresh: time.Hour, FreshPrivileged: time.Minute, MaxChain: 8},
		Sequence: 99,
	}
	result := decision.Result{
		Allow:  code == "",
		Proofs: decision.Proofs{Who: decision.Proof{OK: true, Source: "jwt-svid", Age: 1500 * time.Millisecond}},
		Obligations: []decision.Obligation{{ID: "n", Type: decision.ObligationNotification,
			Properties: map[string]any{"topic": "soc", "times": 3}}},
		Policies: []string{"isolation"},
	}
	if code != "" {
		result.Reasons = []decision.Reason{{Code: code, Detail: "it is"}}
	}
	return &decision.Answer{Result: result, ID: idAt(at, uint64(number)), Policy: digest, Input: in,
		Took: 42 * time.Microsecond}
}

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// world is a journal that runs.
type world struct {
	*journal.Journal
	folder string
	clock  *clock
	log    *bytes.Buffer
	stop   func()
}

func config(t *testing.T, folder string) journal.Config {
	t.Helper()
	return journal.Config{
		Folder: folder, Age: 24 * time.Hour, Bytes: 64 << 20, Reserve: 1, Allows: 1, Engine: "attestd 1.2.3",
		Now: func() time.Time { return begin }, Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(),
	}
}

// open opens a journal, changed by change, and runs it by hand: run starts it.
func open(t *testing.T, folder string, change func(*journal.Config)) (w world, run func()) {
	t.Helper()
	w = world{folder: folder, clock: &clock{at: begin}, log: &bytes.Buffer{}}
	settings := config(t, folder)
	settings.Now = w.clock.now
	settings.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	if change != nil {
		change(&settings)
	}
	var err error
	if w.Journal, err = journal.New(settings); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, started := make(chan struct{}), false
	run = func() {
		started = true
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
	}
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		if !started {
			run()
		}
		cancel()
		<-done
	}
	t.Cleanup(w.stop)
	return w, run
}

func start(t *testing.T, folder string, change func(*journal.Config)) world {
	t.Helper()
	w, run := open(t, folder, change)
	run()
	return w
}

func (w world) keep(t *testing.T, answers ...*decision.Answer) {
	t.Helper()
	for _, one := range answers {
		if err := w.Keep(one); err != nil {
			t.Fatal(err)
		}
	}
}

// all lists every record, the oldest first.
func (w world) all(t *testing.T) []journal.Record {
	t.Helper()
	return list(t, w.Reader(), journal.Query{Tenants: []string{"*"}, Oldest: true, Limit: 1000})
}

// list reads every page.
func list(t *testing.T, reader *journal.Reader, query journal.Query) (all []journal.Record) {
	t.Helper()
	for {
		page, err := reader.List(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Records...)
		if page.Next == "" || page.Next == query.After {
			return all
		}
		query.After = page.Next
	}
}
