package forward_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/forward"
	"github.com/attestd/attestd/internal/subject"
)

const (
	caller = "spiffe://example.org/agent/rag-7"
	secret = "Zm9yIHRoaXMgdGVzdCBhbG9uZQ-0123456789"
	token  = "eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOiJwbGFudGVkIn0.c2lnbmF0dXJl"
)

// world is a decider that answers what its test says, with the server before it.
type world struct {
	server *forward.Server
	log    *bytes.Buffer

	mu    sync.Mutex
	asked []decision.Ask
	// refused are those that were refused before anybody was asked.
	refused []decision.Ask
	say     func(decision.Ask) decision.Answer
}

// Decide implements [decision.Decider].
func (w *world) Decide(_ context.Context, ask decision.Ask) decision.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ask.Refused != "" { // recorded, and no question
		w.refused = append(w.refused, ask)
		return decision.Answer{ID: record, Input: &decision.Input{}}
	}
	w.asked = append(w.asked, ask)
	return w.say(ask)
}

func (w *world) last(t *testing.T) decision.Ask {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) == 0 {
		t.Fatal("nothing was asked")
	}
	return w.asked[len(w.asked)-1]
}

var record = uuid.MustParse("01939d8e-0000-7000-8000-000000000001")

// like answers as the engine does: a question without a credential is denied; else without reasons it
// allows.
func like(codes ...decision.Code) func(decision.Ask) decision.Answer {
	return func(ask decision.Ask) decision.Answer {
		out := decision.Answer{
			ID: record, Policy: "sha256:ab", Took: 1500 * time.Microsecond,
			Result: decision.Result{Allow: len(codes) == 0},
			Input: &decision.Input{
				Who: decision.Who{ID: caller},
				Standing: decision.Standing{
					Attested: true, State: attestd.StateTrusted, Tenant: "acme", Risk: attestd.Risk(7),
					Tier: attestd.TierLow,
				},
			},
		}
		for _, code := range codes {
			out.Reasons = append(out.Reasons, decision.Reason{Code: code, Detail: "the detail"})
		}
		if ask.Credential.Token == "" && len(ask.Credential.Chain) == 0 {
			out.Allow, out.Input = false, &decision.Input{}
			out.Reasons = []decision.Reason{{Code: decision.CodeUnauthenticated}}
		}
		return out
	}
}

// nobody identifies nobody: the tests' enforcement points are known by token or uid.
type nobody struct{}

func (nobody) Identify(
	context.Context, decision.Credential, time.Time, func(subject.ID) uint64,
) decision.Who {
	return decision.Who{Fault: decision.CodeUnauthenticated}
}
func (nobody) Stands(subject.ID, time.Time) decision.Standing { return decision.Standing{} }
func (nobody) Sequence() uint64                               { return 1 }

const ordinary = "    may: [forward-auth]\n    tenants: [acme]\n    vouches: true\n"

func enforcers(t testing.TB, more string) *enforcer.Book {
	t.Helper()
	sum := sha256.Sum256([]byte(secret))
	path := filepath.Join(t.TempDir(), "e.yaml")
	document := "schema: attestd.enforcers.v1\nenforcers:\n  - token: proxy\n    sha256: " +
		hex.EncodeToString(sum[:]) + "\n" + more
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	book, err := enforcer.New(enforcer.Config{
		Path: path, Identifier: nobody{}, Standings: nobody{}, Now: time.Now,
		LookupUser: func(string) (uint32, error) { return 0, os.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func newWorld(t testing.TB, entry string) *world {
	t.Helper()
	w := &world{log: &bytes.Buffer{}, say: like()}
	server, err := forward.New(forward.Config{
		Decider: w, Enforcers: enforcers(t, entry), Deadline: 200 * time.Millisecond, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	return w
}

// answer has it answer so from now on.
func (w *world) answer(say func(decision.Ask) decision.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say = say
}
