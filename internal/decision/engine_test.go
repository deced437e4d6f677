package decision_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/subject"
)

// house is an engine over parts that do as the test says.
type house struct {
	testing.TB
	engine   *decision.Engine
	sequence atomic.Uint64
	state    atomic.Int64 // attestd.State
	stands   func(subject.ID) decision.Standing
	identify func(ctx context.Context) decision.Who
	// credential answers in place of identify, where it is set.
	credential func(decision.Credential) decision.Who
	set        decision.PolicySet
	full       bool
	mu         sync.Mutex
	now        func() time.Time
	kept       []*decision.Answer
	spikes     int
	seen       int
}

func newHouse(tb testing.TB) *house {
	tb.Helper()
	h := &house{TB: tb, set: allowAll(), now: func() time.Time { return start }}
	h.state.Store(int64(attestd.StateTrusted))
	h.stands = func(subject.ID) decision.Standing {
		out := good().Standing
		out.State = attestd.State(h.state.Load()) //nolint:gosec // a state
		return out
	}
	h.identify = func(context.Context) decision.Who { return good().Who }
	var err error
	h.engine, err = decision.NewEngine(h.config())
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func (h *house) config() decision.Config {
	return decision.Config{
		Identifier: h, Standings: h, Records: h, Watch: h, Policies: h, Journal: h, Rules: good().Rules,
		Deadline: 200 * time.Millisecond, Spike: func(*decision.Input) { h.spikes++ },
		Now: func() time.Time { return h.now() }, Registerer: prometheus.NewRegistry(),
		Logger: slog.New(slog.DiscardHandler),
	}
}

func (h *house) Identify(
	ctx context.Context, shown decision.Credential, _ time.Time, epoch func(subject.ID) uint64,
) decision.Who {
	epoch(caller)
	if h.credential != nil {
		return h.credential(shown)
	}
	return h.identify(ctx)
}
func (h *house) Stands(id subject.ID, _ time.Time) decision.Standing { return h.stands(id) }
func (h *house) Sequence() uint64                                    { return h.sequence.Load() }
func (h *house) Record(id string) (*nhi.Record, bool) {
	return &nhi.Record{ID: id, Tenant: "blue", Policy: "standard"}, true
}
func (h *house) Before(*decision.Input) decision.Findings { return decision.Findings{Looked: true} }
func (h *house) After(*decision.Input, *decision.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen++
}
func (h *house) InForce() decision.PolicySet { return h.set }
func (h *house) Keep(answer *decision.Answer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.full {
		return errors.New("no room")
	}
	h.kept = append(h.kept, answer)
	return nil
}

func ask() decision.Ask {
	in := good()
	return decision.Ask{
		Via: in.Via, Enforcer: in.Enforcer, Credential: decision.Credential{Token: "t"}, Action: in.Action,
		Resource: in.Resource, Received: start,
	}
}

func (h *house) asks() decision.Answer { return h.engine.Decide(context.Background(), ask()) }

func TestAQuestionIsAnsweredAndRecorded(t *testing.T) {
	h := newHouse(t)
	h.sequence.Store(7)
	got := h.asks()
	if !got.Allow || got.ID.Version() != 7 || got.Policy != "sha256:00" || got.Input.Sequence != 7 ||
		got.Input.Who.ID != caller || len(h.kept) != 1 || h.seen != 1 || got.Took <= 0 {
		t.Errorf("got %+v", got)
	}
}

func TestWhatIsNotRecordedIsNotAllowed(t *testing.T) {
	h := newHouse(t)
	h.full = true
	if got := h.asks(); got.Allow || got.Reasons[0].Code != decision.CodeRecordsUnavailable {
		t.Errorf("got %+v", got)
	}
	h.set = nil
	if got := h.asks(); got.Reasons[0].Code != decision.CodePolicyUnavailable {
		t.Errorf("a denial stays what it is: %+v", got)
	}
}

// neg: 176: an answer that comes too late is a denial, however it would have been.
func TestAnAnswerThatIsLateDenies(t *testing.T) {
	for name, row := range map[string]func(*house, *decision.Ask){
		"the identity took long": func(h *house, _ *decision.Ask) {
			h.identify = func(ctx context.Context) decision.Who {
				<-ctx.Done()
				return good().Who
			}
			h.now = time.Now
		},
		"the asker waits no longer": func(h *house, ask *decision.Ask) { ask.Deadline = start.Add(-time.Second) },
		"the clock went past it": func(h *house, _ *decision.Ask) {
			h.now = func() time.Time { return start.Add(201 * time.Millisecond) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			question := ask()
			row(h, &question)
			if question.Received = start; h.now().After(start.Add(time.Hour)) {
				question.Received = h.now()
			}
			began := time.Now()
			got := h.engine.Decide(context.Background(), question)
			if got.Allow || got.Reasons[0].Code != decision.CodeDeadline || !got.Input.Late {
				t.Errorf("got %+v", got)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	h := newHouse(t)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if got := h.engine.Decide(ended, ask()); got.Allow || got.Reasons[0].Code != decision.CodeDeadline {
		t.Errorf("whose asker has gone: %+v", got)
	}
}

func TestAPartThatBreaksDenies(t *testing.T) {
	h := newHouse(t)
	h.identify = func(context.Context) decision.Who { panic("broken") }
	if got := h.asks(); got.Allow || got.Reasons[0].Code != decision.CodeInternal {
		t.Errorf("got %+v", got)
	}
}

// Whom nobody identified is looked up nowhere, and counts against nobody.
func TestNobodyIsLookedUpNowhere(t *testing.T) {
	h := newHouse(t)
	h.identify = func(context.Context) decision.Who {
		return decision.Who{ID: caller, Fault: decision.CodeUnauthenticated}
	}
	got := h.asks()
	if got.Allow || got.Reasons[0].Code != decision.CodeUnauthenticated || h.seen != 0 ||
		got.Input.Record != nil || got.Input.Standing.Tenant != "" {
		t.Errorf("got %+v", got)
	}
}

func TestASpikeIsTold(t *testing.T) {
	h := newHouse(t)
	h.stands = func(subject.ID) decision.Standing {
		out := good().Standing
		out.Risk, out.Tier = attestd.Risk(80), attestd.TierHigh
		return out
	}
	if got := h.asks(); got.Reasons[0].Code != decision.CodeRiskSpike || h.spikes != 1 {
		t.Errorf("got %+v, told %d times", got, h.spikes)
	}
}

// neg: 172: after a change of state was acknowledged with its number, no answer allows that began to
// read at that number or later.
func TestNoAllowBeginsBehindAHold(t *testing.T) {
	h := newHouse(t)
	const rounds = 200
	var acknowledged [rounds]uint64
	var all sync.WaitGroup
	stop := make(chan struct{})
	answers := make([][]decision.Answer, 4)
	for i := range answers {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				answers[i] = append(answers[i], h.asks())
			}
		})
	}
	type span struct{ from, to uint64 }
	var held []span
	for n := range rounds {
		h.state.Store(int64(attestd.StateQuarantined))
		acknowledged[n] = h.sequence.Add(1)
		time.Sleep(50 * time.Microsecond)
		// The next number is that of the release, taken before the state is free.
		held = append(held, span{acknowledged[n], h.sequence.Add(1)})
		h.state.Store(int64(attestd.StateTrusted))
	}
	close(stop)
	all.Wait()
	violations, total := 0, 0
	for _, list := range answers {
		for _, one := range list {
			total++
			for _, span := range held {
				if one.Allow && one.Input.Sequence >= span.from && one.Input.Sequence < span.to {
					// It read its state at once behind the number, before the release.
					if one.Input.Standing.State != attestd.StateTrusted {
						violations++
					}
				}
			}
			if one.Allow && one.Input.Standing.State == attestd.StateQuarantined {
				violations++
			}
		}
	}
	if violations != 0 || total == 0 {
		t.Errorf("%d of %d answers", violations, total)
	}
}

func TestAnEngineNeedsEveryPart(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string]func(*decision.Config){
		"identifier": func(c *decision.Config) { c.Identifier = nil }, "standings": func(c *decision.Config) { c.Standings = nil },
		"records": func(c *decision.Config) { c.Records = nil }, "watch": func(c *decision.Config) { c.Watch = nil },
		"policies": func(c *decision.Config) { c.Policies = nil }, "journal": func(c *decision.Config) { c.Journal = nil },
		"rules": func(c *decision.Config) { c.Rules = decision.Rules{} }, "deadline": func(c *decision.Config) { c.Deadline = 0 },
		"spike": func(c *decision.Config) { c.Spike = nil }, "now": func(c *decision.Config) { c.Now = nil },
		"registerer": func(c *decision.Config) { c.Registerer = nil }, "logger": func(c *decision.Config) { c.Logger = nil },
	} {
		config := h.config()
		change(&config)
		if _, err := decision.NewEngine(config); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}

func TestIntrospectionDecidesNothing(t *testing.T) {
	h := newHouse(t)
	got, shut := h.engine.Introspect(context.Background(), decision.Credential{Token: "t"})
	if got.Who.ID != caller || got.Standing.Tenant != "blue" || got.Record == nil || len(h.kept) != 0 || h.seen != 0 ||
		shut != "" {
		t.Errorf("got %+v, shut by %q", got, shut)
	}
	h.identify = func(context.Context) decision.Who { return decision.Who{Fault: decision.CodeExpired} }
	got, shut = h.engine.Introspect(context.Background(), decision.Credential{})
	if shut != decision.CodeExpired || got.Standing.Attested || got.Record != nil {
		t.Errorf("got %+v, shut by %q", got, shut)
	}
}

func BenchmarkDecide(b *testing.B) {
	h := newHouse(b)
	question := ask()
	b.ReportAllocs()
	for b.Loop() {
		h.kept = h.kept[:0]
		if got := h.engine.Decide(context.Background(), question); !got.Allow {
			b.Fatal(got)
		}
	}
}

// TestAQuestionThatIsTooLargeIsCutAndDenied, and its record is small. neg: 177
func TestAQuestionThatIsTooLargeIsCutAndDenied(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("<", 20<<10)
	for name, change := range map[string]func(*decision.Ask){
		"id":       func(a *decision.Ask) { a.Resource.ID = long },
		"intent":   func(a *decision.Ask) { a.Context.Intent = long },
		"datasets": func(a *decision.Ask) { a.Resource.Datasets = make([]decision.Dataset, 600) },
		"classes":  func(a *decision.Ask) { a.Context.Classification = make([]string, 600) },
		"chain":    func(a *decision.Ask) { a.Context.Chain = []decision.Link{{Issuer: long}} },
		"class": func(a *decision.Ask) {
			a.Resource.Datasets = []decision.Dataset{{ID: "d", Classification: []string{long}}}
		},
	} {
		one := ask()
		change(&one)
		got := h.engine.Decide(context.Background(), one)
		record, err := json.Marshal(got.Input)
		if got.Allow || got.Reasons[0].Code != decision.CodeMalformed || err != nil || len(record) > 8<<10 {
			t.Errorf("%s: %+v, %d bytes, %v", name, got.Reasons, len(record), err)
		}
	}
}

// TestWhoMayKnowOfTheCallerIsAsked: without the enforcement point's right its word counts as foreign.
func TestWhoMayKnowOfTheCallerIsAsked(t *testing.T) {
	h := newHouse(t)
	one := ask()
	for foreign, sees := range map[bool]func(*decision.Input) bool{
		true: nil, false: func(in *decision.Input) bool { return in.Standing.Tenant == "blue" && in.Record != nil },
	} {
		one.Sees = sees
		if got := h.engine.Decide(context.Background(), one); got.Input.Foreign != foreign {
			t.Errorf("foreign is %v, want %v", got.Input.Foreign, foreign)
		}
	}
}

// TestIntrospectionSaysWhichGateIsShut: whoever no decision would allow is not active.
func TestIntrospectionSaysWhichGateIsShut(t *testing.T) {
	for code, change := range map[decision.Code]func(*decision.Standing){
		"":                            func(*decision.Standing) {},
		decision.CodeRiskSpike:        func(s *decision.Standing) { s.Risk, s.Tier = attestd.Risk(95), attestd.TierCritical },
		decision.CodeStale:            func(s *decision.Standing) { s.DueAt = start.Add(-time.Hour) },
		decision.CodeTenantUnknown:    func(s *decision.Standing) { s.Tenant = "" },
		decision.CodeTenantMismatch:   func(s *decision.Standing) { s.Tenant = "globex" },
		decision.CodeNotAttested:      func(s *decision.Standing) { s.Attested = false },
		decision.CodeQuarantined:      func(s *decision.Standing) { s.State = attestd.StateQuarantined },
		decision.CodeStateUnavailable: func(s *decision.Standing) { s.Fault = decision.CodeStateUnavailable },
	} {
		h := newHouse(t)
		h.stands = func(subject.ID) decision.Standing {
			out := good().Standing
			change(&out)
			return out
		}
		if _, shut := h.engine.Introspect(context.Background(), decision.Credential{Token: "t"}); shut != code {
			t.Errorf("shut by %q, want %q", shut, code)
		}
	}
}

// TestWhatAnInterfaceRefusesIsRecorded, and nobody is identified for it: denials are never left out.
func TestWhatAnInterfaceRefusesIsRecorded(t *testing.T) {
	h := newHouse(t)
	h.identify = func(context.Context) decision.Who { t.Error("somebody was identified"); return decision.Who{} }
	one := ask()
	one.Refused, one.RefusedDetail = decision.CodeMalformed, "two paths"
	got := h.engine.Decide(context.Background(), one)
	if got.Allow || got.Reasons[0] != (decision.Reason{Code: decision.CodeMalformed, Detail: "two paths"}) ||
		got.ID.Version() != 7 || len(h.kept) != 1 || h.seen != 0 || decision.Judge(got.Input, h.set).Allow {
		t.Errorf("got %+v, %d records", got.Result, len(h.kept))
	}
}

// TestLinksAreVerifiedByTheirTokens, and the caller's by its own; what anybody says of a link is not.
func TestLinksAreVerifiedByTheirTokens(t *testing.T) {
	h := newHouse(t)
	origin := subject.ID("spiffe://example.org/agent/origin")
	h.credential = func(shown decision.Credential) decision.Who {
		who := good().Who
		switch shown.Token {
		case "t":
		case "origin's":
			who.ID = origin
		default:
			return decision.Who{Fault: decision.CodeUnauthenticated}
		}
		return who
	}
	held := false
	h.stands = func(id subject.ID) decision.Standing {
		out := good().Standing
		if id == origin && held {
			out.State = attestd.StateQuarantined
		}
		return out
	}
	config := h.config()
	config.Rules.MaxChain = 8
	engine, err := decision.NewEngine(config)
	if err != nil {
		t.Fatal(err)
	}
	one := ask()
	one.Context.Chain = []decision.Link{
		{Type: "human", ID: "ann", Token: "origin's"},
		{Type: "nhi", ID: string(origin), Token: "origin's"},
		{Type: "nhi", ID: string(origin), Token: "another's"},
		{Type: "nhi", ID: "spiffe://example.org/agent/else", Token: "origin's"},
		{Type: "nhi", ID: string(origin)},
		{Type: "nhi", ID: caller},
	}
	for _, held = range []bool{false, true} {
		got := engine.Decide(context.Background(), one).Input.Context.Chain
		for i, link := range got {
			verified := i == 1 || i == 5
			tier := map[bool]string{true: "low", false: ""}[verified]
			if held && i == 1 {
				tier = "critical"
			}
			if link.Verified != verified || link.Attested != (verified && tier == "low") || link.RiskTier != tier ||
				link.Token != "" {
				t.Errorf("held %v, link %d is %+v", held, i, link)
			}
		}
		if one.Context.Chain[1].Verified || one.Context.Chain[1].Token == "" {
			t.Error("the asker's question was changed")
		}
	}
}
