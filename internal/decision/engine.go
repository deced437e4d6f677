package decision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Config says what an engine works with. Every field is required.
type Config struct {
	Identifier Identifier
	Standings  Standings
	Records    Records
	Watch      Watch
	Policies   Policies
	Journal    Journal
	Rules      Rules
	// Deadline is how long an answer may take where its asker says nothing shorter.
	Deadline time.Duration
	// Spike is told of each denial for risk. It must not wait.
	Spike func(in *Input)
	// Now is the store's clock.
	Now        func() time.Time
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

func (c *Config) check() error {
	var errs []error
	need := func(ok bool, name string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is not set", name))
		}
	}
	need(c.Identifier != nil, "Identifier")
	need(c.Standings != nil, "Standings")
	need(c.Records != nil, "Records")
	need(c.Watch != nil, "Watch")
	need(c.Policies != nil, "Policies")
	need(c.Journal != nil, "Journal")
	need(c.Rules.Fresh > 0 && c.Rules.FreshPrivileged > 0 && c.Rules.MaxChain > 0, "Rules")
	need(c.Deadline > 0, "Deadline")
	need(c.Spike != nil, "Spike")
	need(c.Now != nil, "Now")
	need(c.Registerer != nil, "Registerer")
	need(c.Logger != nil, "Logger")
	if err := errors.Join(errs...); err != nil {
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "give every field", Err: fmt.Errorf("engine of decisions: %w", err),
		}
	}
	return nil
}

// Engine decides about questions as they come. It is safe for concurrent use.
type Engine struct {
	config  Config
	figures *figures
}

var (
	_ Decider      = (*Engine)(nil)
	_ Introspector = (*Engine)(nil)
)

// NewEngine returns an engine.
//
// Errors: a [*attestd.CallerError] of class CONFIG that names every field that will not do.
func NewEngine(config Config) (*Engine, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	figures, err := newFigures(config.Registerer)
	if err != nil {
		return nil, err
	}
	return &Engine{config: config, figures: figures}, nil
}

// Decide implements [Decider].
func (e *Engine) Decide(ctx context.Context, ask Ask) (answer Answer) {
	received := ask.Received
	if received.IsZero() {
		received = e.config.Now()
	}
	began := time.Now()
	oversized := ask.clip()
	answer.Input = &Input{
		Oversized: oversized, Refused: ask.Refused, RefusedDetail: attestd.Excerpt(ask.RefusedDetail, 160),
		Schema: InputSchema, At: received, Via: ask.Via, Enforcer: ask.Enforcer, Source: ask.Credential.Source,
		Action: ask.Action, Resource: ask.Resource, Context: ask.Context, Supported: ask.Supported,
		Rules: e.config.Rules,
	}
	defer func() {
		if broken := recover(); broken != nil {
			e.config.Logger.ErrorContext(ctx, "a decision broke", "err", attestd.Excerpt(fmt.Sprint(broken), 400))
			answer.Result = answer.Input.deny(Proofs{}, CodeInternal, "attestd failed")
		}
		answer.Took = time.Since(began)
		e.figures.see(&answer)
	}()
	ends := received.Add(e.config.Deadline)
	if !ask.Deadline.IsZero() && ask.Deadline.Before(ends) {
		ends = ask.Deadline
	}
	e.decide(ctx, ask, began, received, ends, &answer)
	return answer
}

// decide fills the answer in.
func (e *Engine) decide(ctx context.Context, ask Ask, began, received, ends time.Time, answer *Answer) {
	in := answer.Input
	var err error
	if answer.ID, err = uuid.NewV7(); err != nil {
		answer.Result = in.deny(Proofs{}, CodeInternal, "no id for the decision")
		return
	}
	if in.Refused != "" {
		answer.Result = Judge(in, nil)
		e.record(ctx, began, answer)
		return
	}
	// The number comes before the state that is read under it: a change with a number of at most this
	// one is in what is read.
	in.Sequence = e.config.Standings.Sequence()
	limited, cancel := context.WithTimeout(ctx, ends.Sub(received))
	in.Who = e.config.Identifier.Identify(limited, ask.Credential, received, func(id subject.ID) uint64 {
		return e.config.Standings.Stands(id, received).Epoch
	})
	e.verify(limited, in, received)
	cancel()
	in.At = e.config.Now()
	if in.Who.Fault == "" && in.Who.ID != "" {
		in.Standing = e.config.Standings.Stands(in.Who.ID, in.At)
		if record, found := e.config.Records.Record(string(in.Who.ID)); found {
			in.Record = record
		}
		e.own(in)
		in.Foreign = ask.Sees == nil || !ask.Sees(in)
		in.Findings = e.config.Watch.Before(in)
	}
	set := e.config.Policies.InForce()
	if set != nil {
		answer.Policy = set.Digest()
	}
	answer.Result = Judge(in, set)
	if ctx.Err() != nil || !e.config.Now().Before(ends) {
		in.Late = true
		answer.Result = Judge(in, set)
	}
	if in.Who.Fault == "" && in.Who.ID != "" {
		e.config.Watch.After(in, &answer.Result)
	}
	e.record(ctx, began, answer)
	if len(answer.Reasons) != 0 && answer.Reasons[0].Code == CodeRiskSpike {
		e.config.Spike(in)
	}
}

// record hands the answer to the journal. What cannot be recorded is not allowed.
func (e *Engine) record(ctx context.Context, began time.Time, answer *Answer) {
	answer.Took = time.Since(began) // the record has it, and what recording takes is not in it
	err := e.config.Journal.Keep(answer)
	if err == nil {
		return
	}
	e.figures.unrecorded.Inc()
	if answer.Allow {
		answer.Result = answer.Input.deny(answer.Proofs, CodeRecordsUnavailable, "no room for its record")
	}
	e.config.Logger.WarnContext(ctx, "a decision was not recorded", "err", attestd.Excerpt(err.Error(), 200))
}

// Introspect implements [Introspector].
func (e *Engine) Introspect(ctx context.Context, credential Credential) (*Input, Code) {
	now := e.config.Now()
	in := &Input{Schema: InputSchema, At: now, Rules: e.config.Rules, Standing: Standing{Status: "none"}}
	in.Sequence = e.config.Standings.Sequence()
	limited, cancel := context.WithTimeout(ctx, e.config.Deadline)
	defer cancel()
	in.Who = e.config.Identifier.Identify(limited, credential, now, func(id subject.ID) uint64 {
		return e.config.Standings.Stands(id, now).Epoch
	})
	if in.Who.Fault == "" && in.Who.ID != "" {
		in.At = e.config.Now()
		in.Standing = e.config.Standings.Stands(in.Who.ID, in.At)
		in.Record, _ = e.config.Records.Record(string(in.Who.ID))
	}
	return in, in.shut()
}
