package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/result"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// givers are results over a real index, with a signer that a test can look into.
type givers struct {
	testing.TB
	index   *live.Index
	results *service.Results
	notes   *notes
	stored  map[string][]byte
	now     time.Time
	// signing is called in place of a signer, where it is set.
	signing func(ctx context.Context, said result.Statement) (string, error)
	said    []result.Statement
	mu      sync.Mutex
}

func (g *givers) Sign(ctx context.Context, said result.Statement) (string, error) {
	g.mu.Lock()
	g.said = append(g.said, said)
	g.mu.Unlock()
	if g.signing != nil {
		return g.signing(ctx, said)
	}
	return "token", nil
}

func (g *givers) Lifetime() time.Duration       { return 5 * time.Minute }
func (g *givers) JWKS() ([]byte, time.Duration) { return []byte(`{"keys":[]}`), time.Minute }
func (g *givers) last() result.Statement {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.said[len(g.said)-1]
}
func none[T any]() iter.Seq2[T, error]    { return func(func(T, error) bool) {} }
func subjectKey(value string) subject.Key { return subject.ID(value).Key() }
func barOf(key subject.Key, to attestd.State) subject.Bar {
	return subject.Bar{Key: key, State: to, Tenant: "blue"}
}

func newGivers(t testing.TB) *givers {
	t.Helper()
	g := &givers{TB: t, index: live.New(), notes: &notes{}, stored: map[string][]byte{}, now: time.Unix(1_800_000_000, 0).UTC()}
	if err := g.index.Load(g.now.Add(-time.Hour), none[subject.Subject](), none[subject.Bar]()); err != nil {
		t.Fatal(err)
	}
	g.publish(func(*subject.Subject) {})
	var err error
	g.results, err = service.NewResults(service.ResultsConfig{
		Appraisal: func(_ context.Context, id string) ([]byte, bool, error) {
			document, found := g.stored[id]
			return document, found, nil
		},
		Fence: g.index, Signer: g, TrustDomain: "example.org", MaxAge: 10 * time.Minute, Now: func() time.Time { return g.now }, Notes: g.notes,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// publish makes the machine a subject that is trusted, with a change.
func (g *givers) publish(change func(*subject.Subject)) {
	one := subject.Subject{
		ID: agent, Tenant: "blue", Format: attestd.FormatNitro, Ownership: subject.MethodInventory,
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: "i-1"}, Host: "the-host",
		State: attestd.StateTrusted, Generation: uint64(g.now.UnixNano()), Epoch: 3, Floor: attestd.Risk(10), //nolint:gosec // after 1970
		EvidenceAt: g.now, DueAt: g.now.Add(8 * time.Minute),
	}
	change(&one)
	g.index.Publish([]subject.Subject{one}, nil)
}

func (g *givers) given() attestd.Appraisal {
	return attestd.Appraisal{
		Schema: attestd.VerdictSchema, ID: "0b0f3f5e-8f5c-4d4e-9d53-2f1a8b6c7d80", Verdict: attestd.VerdictAccepted,
		Format: attestd.FormatNitro, Tier: attestd.TierLow, Risk: attestd.Risk(10), At: g.now.Add(-time.Second),
		Freshness: attestd.FreshnessBinding, Claims: json.RawMessage(`{"a":1}`),
		Handles: []attestd.Handle{
			{Kind: attestd.HandleInstance, Value: "i-1"}, {Kind: attestd.HandleHost, Value: "the-host"},
		},
		Standing: &attestd.Standing{Subject: agent, Tenant: "blue", Ownership: "inventory", State: attestd.StateTrusted,
			Risk: attestd.Risk(10)},
	}
}

func (g *givers) sign(given attestd.Appraisal) (string, error) {
	return g.results.SignGiven(context.Background(), given, service.ResultOptions{Source: "192.0.2.1"})
}

func demandRefused(t testing.TB, token string, err error, want attestd.Class) {
	t.Helper()
	var caller *attestd.CallerError
	if token != "" || !errors.As(err, &caller) || caller.Class != want || caller.Hint == "" {
		t.Errorf("got %q, %v, want class %s with a hint", token, err, want)
	}
}

func TestAResultIsCountedAsAGrant(t *testing.T) {
	g := newGivers(t)
	for range 3 {
		if token, err := g.sign(g.given()); token != "token" || err != nil {
			t.Fatal(token, err)
		}
	}
	n, until := g.index.Outstanding(agent, g.now)
	if n != 3 || until.Before(g.now.Add(5*time.Minute)) || until.After(g.now.Add(5*time.Minute+2*time.Second)) {
		t.Errorf("%d grants until %s", n, until)
	}
	if said := g.last(); said.State != attestd.StateTrusted || said.Appraisal.Standing.DueAt.IsZero() ||
		said.Until.After(g.now.Add(8*time.Minute)) {
		t.Errorf("signed: %+v", said)
	}
	records := g.notes.all()
	if len(records) != 3 || records[0].Action != "result" || records[0].Outcome != "done" ||
		records[0].Target != agent || records[0].Tenant != "blue" || records[0].Actor != "source:192.0.2.1" {
		t.Errorf("noted: %+v", records)
	}
}

func TestNoResultIsGivenForWhatIsHeld(t *testing.T) {
	for name, row := range map[string]struct {
		key   subject.Key
		state attestd.State
		class attestd.Class
	}{
		"the subject is quarantined":  {subjectKey(agent), attestd.StateQuarantined, attestd.ClassQuarantined},
		"the subject is revoked":      {subjectKey(agent), attestd.StateRevoked, attestd.ClassRevokedSubject},
		"the instance is quarantined": {subject.Key{Kind: string(subject.BarInstance), Value: "i-1"}, attestd.StateQuarantined, attestd.ClassQuarantined},
		"the host is quarantined":     {subject.Key{Kind: string(subject.BarHost), Value: "the-host"}, attestd.StateQuarantined, attestd.ClassQuarantined},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGivers(t)
			g.index.Hold([]subject.Bar{barOf(row.key, row.state)})
			for _, verdict := range []attestd.Verdict{attestd.VerdictAccepted, attestd.VerdictRejected, attestd.VerdictUndecided} {
				given := g.given()
				given.Verdict = verdict
				token, err := g.sign(given)
				demandRefused(t, token, err, row.class)
			}
			nobody := g.given()
			nobody.Standing = &attestd.Standing{Ownership: "none"}
			if row.key.Kind != string(subject.BarSubject) {
				token, err := g.sign(nobody)
				demandRefused(t, token, err, row.class)
			}
			if n, _ := g.index.Outstanding(agent, g.now); n != 0 || len(g.said) != 0 {
				t.Errorf("%d grants are counted, %d statements were signed", n, len(g.said))
			}
			if records := g.notes.all(); len(records) == 0 || records[0].Outcome != "refused" || records[0].Class != string(row.class) {
				t.Errorf("noted: %+v", records)
			}
		})
	}
}

// TestAHoldThatIsAnotherTenantsIsNotTold: a verdict that names no subject and accepts nothing is answered
// alike, whether the machine is held or not.
func TestAHoldThatIsAnotherTenantsIsNotTold(t *testing.T) {
	g := newGivers(t)
	foreign := g.given()
	foreign.Verdict, foreign.Tier = attestd.VerdictRejected, attestd.TierCritical
	foreign.Standing = &attestd.Standing{Ownership: "none", Enrolment: "none"}
	before, err := g.sign(foreign)
	if err != nil {
		t.Fatal(err)
	}
	g.index.Hold([]subject.Bar{barOf(subject.Key{Kind: string(subject.BarInstance), Value: "i-1"}, attestd.StateQuarantined)})
	if after, err := g.sign(foreign); after != before || err != nil {
		t.Errorf("got %q, %v", after, err)
	}
}

func TestAResultSaysHowTheSubjectStandsNow(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*subject.Subject)
		state  attestd.State
		class  attestd.Class
	}{
		"it became suspect": {func(s *subject.Subject) { s.State = attestd.StateSuspect }, attestd.StateSuspect, ""},
		"its evidence is overdue": {func(s *subject.Subject) { s.DueAt = s.EvidenceAt.Add(-time.Second) },
			attestd.StateSuspect, ""},
		"its row alone says that it is quarantined": {
			func(s *subject.Subject) { s.State = attestd.StateQuarantined }, 0, attestd.ClassQuarantined,
		},
		"its row alone says that it is revoked": {
			func(s *subject.Subject) { s.State = attestd.StateRevoked }, 0, attestd.ClassRevokedSubject,
		},
		"it is another tenant's": {func(s *subject.Subject) { s.Tenant = "green" }, 0, attestd.ClassPolicyDeny},
		"it is nobody's":         {func(s *subject.Subject) { s.Tenant = "" }, 0, attestd.ClassPolicyDeny},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGivers(t)
			g.now = g.now.Add(time.Second) // a newer generation
			g.publish(row.change)
			token, err := g.sign(g.given())
			if row.class != "" {
				demandRefused(t, token, err, row.class)
				return
			}
			if err != nil || g.last().State != row.state || g.last().Appraisal.Standing.State != row.state {
				t.Errorf("got %v, %+v", err, g.said)
			}
		})
	}
	g := newGivers(t)
	stranger := g.given()
	stranger.Standing.Subject = "spiffe://example.org/spire/agent/attestd/nitro/stranger"
	token, err := g.sign(stranger)
	demandRefused(t, token, err, attestd.ClassPolicyDeny)
}

func TestOldVerdictsHaveNoResult(t *testing.T) {
	g := newGivers(t)
	for _, at := range []time.Time{g.now.Add(-10*time.Minute - time.Second), g.now.Add(time.Minute), {}} {
		given := g.given()
		given.At = at
		token, err := g.sign(given)
		demandRefused(t, token, err, attestd.ClassStale)
	}
	old := g.given()
	old.At = g.now.Add(-9 * time.Minute)
	if _, err := g.sign(old); err != nil || !g.last().Until.Equal(g.now.Add(time.Minute)) {
		t.Errorf("it outlives what it rests on: %+v, %v", g.last(), err)
	}
	if _, until := g.index.Outstanding(agent, g.now); until.After(g.now.Add(time.Minute + 2*time.Second)) {
		t.Errorf("a minute is counted until %s", until)
	}
}

func TestAStoredVerdictHasItsResult(t *testing.T) {
	g := newGivers(t)
	given := g.given()
	document, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	g.stored[given.ID], g.stored["other"], g.stored["broken"] = document, document, []byte(`{"verdict":7}`)
	ask := service.ResultOptions{KeySPKI: []byte("a key that somebody says it is")}
	if token, err := g.results.Sign(context.Background(), given.ID, ask); token != "token" || err != nil {
		t.Fatal(token, err)
	}
	if said := g.last(); said.KeySPKI != nil || said.Appraisal.ID != given.ID {
		t.Errorf("a caller's word is signed: %+v", said)
	}
	if token, err := g.results.Sign(context.Background(), "nothing", ask); token != "" || !errors.Is(err, service.ErrNoAppraisal) {
		t.Errorf("got %q, %v", token, err)
	}
	for _, id := range []string{"other", "broken"} {
		if token, err := g.results.Sign(context.Background(), id, ask); token != "" || err == nil {
			t.Errorf("%s: %q", id, token)
		}
	}
}

func TestASignerThatFailsGivesNoResult(t *testing.T) {
	g := newGivers(t)
	down := &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
	g.signing = func(context.Context, result.Statement) (string, error) { return "half a token", down }
	if token, err := g.sign(g.given()); token != "" || !errors.Is(err, down) {
		t.Errorf("got %q, %v", token, err)
	}
	// The grant is counted: too many is honest, too few is not.
	if n, _ := g.index.Outstanding(agent, g.now); n != 1 {
		t.Errorf("%d grants", n)
	}
}

// TestAHoldThatComesWhileTheSignerIsSlowIsSeen: what is given after a quarantine was acknowledged is
// given to nobody.
func TestAHoldThatComesWhileTheSignerIsSlowIsSeen(t *testing.T) {
	g := newGivers(t)
	g.signing = func(context.Context, result.Statement) (string, error) {
		g.index.Hold([]subject.Bar{barOf(subjectKey(agent), attestd.StateQuarantined)})
		if n, _ := g.index.Outstanding(agent, g.now); n != 1 {
			t.Errorf("the hold counts %d grants", n)
		}
		return "token", nil
	}
	token, err := g.sign(g.given())
	demandRefused(t, token, err, attestd.ClassQuarantined)
}

// TestTheFenceOfResults: of results and a quarantine at once, each result is refused, or was counted
// before the quarantine returned.
func TestTheFenceOfResults(t *testing.T) {
	for round := range 40 {
		g := newGivers(t)
		var given, begun atomic.Int64
		var running sync.WaitGroup
		var held atomic.Bool
		for range 4 {
			running.Go(func() {
				for range 25 {
					after := held.Load()
					begun.Add(1)
					token, err := g.sign(g.given())
					switch {
					case err == nil && after:
						t.Errorf("round %d: a result after the quarantine was acknowledged: %q", round, token)
					case err == nil:
						given.Add(1)
					}
				}
			})
		}
		for begun.Load() < 10 {
			time.Sleep(time.Microsecond)
		}
		g.index.Hold([]subject.Bar{barOf(subjectKey(agent), attestd.StateQuarantined)})
		counted, _ := g.index.Outstanding(agent, g.now)
		held.Store(true)
		running.Wait()
		if int(given.Load()) > counted {
			t.Errorf("round %d: %d results were given, the acknowledgement counts %d", round, given.Load(), counted)
		}
	}
}

func TestResultsNeedTheirParts(t *testing.T) {
	g := newGivers(t)
	good := service.ResultsConfig{
		Appraisal: func(context.Context, string) ([]byte, bool, error) { return nil, false, nil },
		Fence:     g.index, Signer: g, MaxAge: time.Minute, Now: time.Now, Notes: g.notes, TrustDomain: "example.org",
	}
	for i, change := range []func(*service.ResultsConfig){
		func(c *service.ResultsConfig) { c.Appraisal = nil }, func(c *service.ResultsConfig) { c.Fence = nil },
		func(c *service.ResultsConfig) { c.Signer = nil }, func(c *service.ResultsConfig) { c.MaxAge = 0 },
		func(c *service.ResultsConfig) { c.Now = nil }, func(c *service.ResultsConfig) { c.Notes = nil },
		func(c *service.ResultsConfig) { c.TrustDomain = "" },
	} {
		bad := good
		if change(&bad); func() error { _, err := service.NewResults(bad); return err }() == nil {
			t.Error(fmt.Sprint("results without part ", i))
		}
	}
}
