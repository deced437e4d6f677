// Package reappraisal judges stored evidence again, without touching the machine that gave it, when
// policy or reference values have changed or somebody asks what a change would do.
//
// What comes in are the latest accepted evidence of each subject and the documents of the day. What is
// true when a run is done that was no dry run: each subject whose stored evidence the documents in force
// reject is no longer trusted. It takes trust away and never gives it: stored evidence is as old as it
// was. What is not shown: that the machine is today what it was when it gave the evidence.
package reappraisal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// Schema names the document that a run is shown as.
const Schema = "attestd.reappraisal.v1"

// Store has the evidence and what is known of its subjects.
type Store interface {
	Now() time.Time
	Stored(ctx context.Context, tenants []string, after string, limit int) (
		list []registry.StoredVerdict, next string, err error)
	Subjects(ctx context.Context, filter subject.Filter) (
		list []subject.Subject, next string, err error)
	Known(ctx context.Context, ask subject.Ask) (subject.Known, error)
	Write(ctx context.Context, write subject.Write) error
	Appraisal(ctx context.Context, id string) (document []byte, found bool, err error)
}

// Desk says whose machines are.
type Desk interface {
	Settle(machine enrol.Machine, owners []subject.Ownership) enrol.Settlement
}

// Config is what an Engine is made of. Every field is required but DocumentFloor.
type Config struct {
	Store Store
	Judge service.Judge
	Desk  Desk
	Rules subject.Rules
	// InForce returns the documents in force.
	InForce func() *service.Standard
	// DocumentFloor reads, unverified, what a signed document says of its own age, for rehearsals that
	// bring documents; false for what is none. Without it documents that are newer than the stored
	// evidence are refused as ones from the future.
	DocumentFloor func(document []byte) (attestd.DocumentFloor, bool)
	// Tenants there are.
	Tenants []string
	// Grounds is told what speaks for a quarantine, after it is on disk.
	Grounds func(ctx context.Context, grounds []subject.Grounds)
	// Concurrency is how many judgements are under way, Timeout bounds each of them.
	Concurrency int
	Timeout     time.Duration
	Logger      *slog.Logger
}

// Bounds of what is kept of runs, and of how many wait.
const (
	maxRuns    = 64
	maxWaiting = 8
	// maxOwn is how many of one operator's wait: the places are for all tenants.
	maxOwn     = 2
	maxChanges = 1000
	pageLength = 25 // pieces of evidence in memory at a time, each of up to a MiB
)

// Engine is safe for concurrent use. Runs are carried out one after the other by Run,
// first those that follow from other documents.
type Engine struct {
	config Config

	mu      sync.Mutex
	runs    []*run // oldest first
	waiting []*run
	wake    chan struct{}
}

// run is one re-appraisal.
type run struct {
	mu      sync.Mutex
	shown   wire.Reappraisal
	tenants []string
	owner   operator.Principal
	// standard to judge by; nil for the one in force when it begins.
	standard *service.Standard
	at       time.Time
	// stale leaves out what was judged by these very documents.
	stale bool
}

// New returns an engine.
//
// Errors: where a field is missing.
func New(config Config) (*Engine, error) {
	if config.Store == nil || config.Judge == nil || config.Desk == nil || config.InForce == nil ||
		config.Grounds == nil || config.Logger == nil || len(config.Tenants) == 0 ||
		config.Concurrency < 1 || config.Timeout <= 0 || config.Rules.Reattest <= 0 {
		return nil, errors.New("a re-appraisal needs every field of its configuration")
	}
	return &Engine{config: config, wake: make(chan struct{}, 1)}, nil
}

// Start begins a run for an operator and returns it as it stands.
//
// Errors: a [*attestd.CallerError] of class FORBIDDEN for a tenant that is not the operator's, MALFORMED
// for one that would change states by other documents or another time than those in force, CONFIG for
// documents that will not do, RATE_LIMITED where too many of the operator's wait, or of all.
func (e *Engine) Start(
	_ context.Context, who operator.Principal, ask wire.ReappraisalRequest,
) (wire.Reappraisal, error) {
	made := &run{tenants: who.Tenants, owner: who, at: ask.At.UTC()}
	if ask.At.IsZero() {
		made.at = time.Time{}
	}
	if ask.Tenant != "" {
		made.tenants = []string{ask.Tenant}
	}
	for _, tenant := range made.tenants {
		known := tenant == operator.AllTenants || slices.Contains(e.config.Tenants, tenant)
		if !known || !who.May(operator.Operator, tenant) {
			return wire.Reappraisal{}, &attestd.CallerError{
				Class: attestd.ClassForbidden, Hint: "name a tenant that you act for, or none for all of them",
				Err: fmt.Errorf("no tenant %q here", attestd.Excerpt(tenant, 40)),
			}
		}
	}
	replaced := len(ask.Policy) != 0 || len(ask.References) != 0 || len(ask.CRLs) != 0 ||
		len(ask.Certificates) != 0 || len(ask.Documents) != 0
	if !ask.DryRun && (replaced || !ask.At.IsZero()) {
		return wire.Reappraisal{}, &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint: "add --dry-run; to put a policy or reference values in force, change the configuration, and " +
				"collateral: attestd collateral import",
			Err: errors.New("states follow from the documents in force and from when evidence was given"),
		}
	}
	if replaced {
		var err error
		if made.standard, err = e.variant(ask); err != nil {
			return wire.Reappraisal{}, err
		}
	}
	made.shown.DryRun = ask.DryRun
	return e.enqueue(made)
}

// variant returns the documents in force with those of the request in their place.
func (e *Engine) variant(ask wire.ReappraisalRequest) (*service.Standard, error) {
	documents := e.config.InForce().Documents()
	if len(ask.Policy) != 0 {
		documents.Policy = service.Document{Source: "request", Bytes: ask.Policy}
		documents.Tenants = nil // the one asked about is for all
	}
	if len(ask.References) != 0 {
		documents.References = nil
		for i, reference := range ask.References {
			documents.References = append(documents.References, service.Document{
				Source: fmt.Sprintf("request[%d]", i), Bytes: reference,
			})
		}
	}
	if len(ask.CRLs) != 0 || len(ask.Certificates) != 0 || len(ask.Documents) != 0 {
		if err := addCollateral(&documents, ask, e.config.DocumentFloor); err != nil {
			return nil, err
		}
	}
	return documents.Read(e.config.Tenants)
}

// addCollateral adds what the request brings to the collateral of every format: verifiers leave the
// lists of other issuers alone.
func addCollateral(
	documents *service.Documents, ask wire.ReappraisalRequest,
	floorOf func([]byte) (attestd.DocumentFloor, bool),
) error {
	changed := make(map[attestd.Format]service.Document, len(attestd.Formats()))
	for _, format := range attestd.Formats() {
		kept, err := set.Parse(documents.Collateral[format].Bytes)
		if err != nil {
			return err
		}
		kept.CRLs = slices.Concat(kept.CRLs, ask.CRLs)
		kept.Certificates = slices.Concat(kept.Certificates, ask.Certificates)
		kept.Documents = slices.Concat(kept.Documents, ask.Documents)
		kept.DocumentFloors = raised(kept.DocumentFloors, ask.Documents, floorOf)
		document, err := kept.Marshal()
		if err != nil {
			return &attestd.CallerError{
				Class: attestd.ClassTooLarge, Hint: "ask about a few lists at a time", Err: err,
			}
		}
		changed[format] = service.Document{Source: "request", Bytes: document}
	}
	documents.Collateral = changed
	return nil
}

// raised returns the floors with those of the documents that are newer. Stored evidence is judged as of its
// own day, and a verifier would leave what is newer alone, as something from the future, unless a floor says
// that it exists. What cannot be read has none: verifiers refuse it.
func raised(
	floors []attestd.DocumentFloor, documents [][]byte,
	floorOf func([]byte) (attestd.DocumentFloor, bool),
) []attestd.DocumentFloor {
	if floorOf == nil {
		return floors
	}
	out := slices.Clone(floors)
	for _, document := range documents {
		floor, is := floorOf(document)
		if !is {
			continue
		}
		place := slices.IndexFunc(out, func(other attestd.DocumentFloor) bool {
			return other.Subject == floor.Subject
		})
		switch {
		case place < 0:
			out = append(out, floor)
		case isNewer(floor, out[place]):
			out[place] = floor
		}
	}
	return out
}

// isNewer compares as verifiers do: the evaluation number comes first.
func isNewer(one, other attestd.DocumentFloor) bool {
	if one.Evaluation != other.Evaluation {
		return one.Evaluation > other.Evaluation
	}
	return one.IssuedAt.After(other.IssuedAt)
}

// Trigger begins a run over everything that was judged by other documents than those in force. It is
// for when they were replaced, and for a start: they may have changed while nobody served.
func (e *Engine) Trigger() {
	e.mu.Lock()
	for _, waiting := range e.waiting {
		if waiting.stale {
			e.mu.Unlock()
			return // it begins later, by what is in force then
		}
	}
	e.mu.Unlock()
	_, err := e.enqueue(&run{
		tenants: []string{operator.AllTenants}, stale: true,
		owner: operator.Principal{Name: subject.SourceSelf, Tenants: []string{operator.AllTenants}},
	})
	if err != nil {
		e.config.Logger.Error("re-appraisal was not begun", "err", err.Error())
	}
}

func (e *Engine) enqueue(made *run) (wire.Reappraisal, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return wire.Reappraisal{}, fmt.Errorf("re-appraisal id: %w", err)
	}
	made.shown.Schema, made.shown.ID, made.shown.State = Schema, id.String(), stateRunning
	made.shown.Started, made.shown.Changes = e.config.Store.Now(), []wire.ReappraisalChange{}
	e.mu.Lock()
	defer e.mu.Unlock()
	if made.stale {
		e.waiting = slices.Insert(e.waiting, 0, made) // what takes trust away waits for nobody's trial
	} else {
		if err := e.room(made.owner.Name); err != nil {
			return wire.Reappraisal{}, err
		}
		e.waiting = append(e.waiting, made)
	}
	e.runs = append(e.runs, made)
	if len(e.runs) > maxRuns {
		e.runs = slices.DeleteFunc(e.runs, func(r *run) bool {
			return len(e.runs) > maxRuns && r.show().State != stateRunning && r == e.runs[0]
		})
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return made.show(), nil
}

// room refuses an operator where too many runs wait: their own, or all. The caller holds mu.
func (e *Engine) room(name string) error {
	own := 0
	for _, one := range e.waiting {
		if !one.stale && one.owner.Name == name {
			own++
		}
	}
	busy := &attestd.CallerError{Class: attestd.ClassRateLimited, Hint: "wait until one of them is done"}
	switch {
	case own >= maxOwn:
		busy.Err = fmt.Errorf("%d re-appraisals of yours wait already", own)
	case len(e.waiting) >= maxWaiting:
		busy.Err = errors.New("too many re-appraisals wait already")
	default:
		return nil
	}
	return busy
}

// States of a run.
const (
	stateRunning = "running"
	stateDone    = "done"
	stateFailed  = "failed"
)

// Find returns a run by its id; an empty id is the newest one. A run over tenants that the operator may
// not see looks like one that is not there.
func (e *Engine) Find(
	_ context.Context, who operator.Principal, id string,
) (wire.Reappraisal, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range slices.Backward(e.runs) {
		seen := !slices.ContainsFunc(one.tenants, func(t string) bool { return !who.Sees(t) })
		if shown := one.show(); seen && (shown.ID == id || id == "") {
			return shown, true, nil
		}
	}
	return wire.Reappraisal{}, false, nil
}

// Run carries out what was begun, until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	for {
		one := e.next()
		if one == nil {
			select {
			case <-ctx.Done():
				return
			case <-e.wake:
				continue
			}
		}
		err := e.carryOut(ctx, one)
		shown := one.end(e.config.Store.Now(), err)
		level := slog.LevelInfo
		if err != nil {
			level = slog.LevelError
		}
		e.config.Logger.Log(ctx, level, "re-appraisal ended", "id", shown.ID, "state", shown.State,
			"dry_run", shown.DryRun, "done", shown.Done, "failed", shown.Failed, "changed", shown.Changed,
			"err", text(err))
		if ctx.Err() != nil {
			return
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return attestd.Excerpt(err.Error(), 1000)
}

func (e *Engine) next() *run {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		return nil
	}
	one := e.waiting[0]
	e.waiting = slices.Delete(e.waiting, 0, 1)
	return one
}

func (r *run) show() wire.Reappraisal {
	r.mu.Lock()
	defer r.mu.Unlock()
	shown := r.shown
	shown.Changes = slices.Clone(shown.Changes)
	return shown
}

func (r *run) end(at time.Time, err error) wire.Reappraisal {
	r.mu.Lock()
	r.shown.Ended, r.shown.State = at, stateDone
	if err != nil {
		// The cause can name files; it is in the log of whoever runs attestd.
		r.shown.State, r.shown.Error = stateFailed, "the run ended before it was done; the log has the cause"
	} else {
		r.shown.Total = r.shown.Done + r.shown.Failed
	}
	slices.SortFunc(r.shown.Changes, func(a, b wire.ReappraisalChange) int {
		return cmp.Compare(a.ID, b.ID)
	})
	r.mu.Unlock()
	return r.show()
}
