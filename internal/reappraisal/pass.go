package reappraisal

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// carryOut judges the evidence of a run's tenants, page by page.
//
// Errors: the store's. What one piece of evidence comes to ends nothing but its own judgement.
func (e *Engine) carryOut(ctx context.Context, one *run) error {
	standard := one.standard
	if standard == nil {
		standard = e.config.InForce()
	}
	if err := e.count(ctx, one); err != nil {
		return err
	}
	for after := ""; ; {
		page, next, err := e.config.Store.Stored(ctx, one.tenants, after, pageLength)
		if err != nil {
			return err
		}
		if err := e.page(ctx, one, standard, page); err != nil {
			return err
		}
		if next == "" {
			return ctx.Err()
		}
		after = next
	}
}

// count finds out how many subjects there are to look at, for whoever watches.
func (e *Engine) count(ctx context.Context, one *run) error {
	filter := subject.Filter{Tenants: one.tenants, Limit: 1000}
	for {
		list, next, err := e.config.Store.Subjects(ctx, filter)
		if err != nil {
			return err
		}
		gave := 0
		for _, row := range list {
			if !row.EvidenceAt.IsZero() {
				gave++
			}
		}
		one.mu.Lock()
		one.shown.Total += gave
		one.mu.Unlock()
		if next == "" {
			return nil
		}
		filter.After = next
	}
}

// page judges one page, as many at a time as the configuration allows.
func (e *Engine) page(
	ctx context.Context, one *run, standard *service.Standard, page []registry.StoredVerdict,
) error {
	places := make(chan struct{}, e.config.Concurrency)
	var group sync.WaitGroup
	errs := make([]error, len(page))
	for i := range page {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			errs[i] = e.evidence(ctx, one, standard, page[i])
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// evidence judges what is stored of one subject. An error ends the run.
func (e *Engine) evidence(
	ctx context.Context, one *run, standard *service.Standard, stored registry.StoredVerdict,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	recalled, err := standard.Recall(stored.Job, stored.Blobs)
	if err == nil && one.stale && recalled.Current {
		one.done(nil)
		return nil
	}
	var given attestd.Appraisal
	if err == nil {
		if !one.at.IsZero() {
			recalled.Job.At = one.at
		}
		given, err = e.judge(ctx, recalled.Job)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		e.config.Logger.WarnContext(ctx, "stored evidence was not judged", "subject", string(stored.Subject),
			"tenant", stored.Tenant, "err", attestd.Excerpt(err.Error(), 400))
		one.failed()
		return nil
	}
	given.ID = stored.AppraisalID
	return e.settle(ctx, one, stored, recalled.Policy, given)
}

func (e *Engine) judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	limited, cancel := context.WithTimeout(ctx, e.config.Timeout)
	defer cancel()
	return e.config.Judge.Judge(limited, job)
}

// maxRounds bounds how often a decision is taken anew because what it rested on had changed.
const maxRounds = 8

// settle says what the verdict means for the subject today, and writes it unless it is a dry run.
func (e *Engine) settle(
	ctx context.Context, one *run, stored registry.StoredVerdict, policy *appraisal.Policy,
	given attestd.Appraisal,
) error {
	var moved *subject.MovedError
	var barred *subject.BarredError
	for range maxRounds {
		made, err := e.decide(ctx, stored, policy, given)
		if err == nil && made.superseded {
			one.done(nil) // fresh evidence came meanwhile, and was judged by what is in force
			return nil
		}
		if err == nil && !one.dryRun() && !made.reaction.Write.Empty() {
			err = e.config.Store.Write(ctx, made.reaction.Write)
		}
		switch {
		case errors.As(err, &moved), errors.As(err, &barred):
			continue
		case err != nil:
			return err
		}
		if !one.dryRun() && len(made.reaction.Grounds) != 0 {
			e.config.Grounds(ctx, made.reaction.Grounds)
		}
		change, err := e.compare(ctx, stored, made)
		if err != nil {
			return err
		}
		one.done(change)
		return nil
	}
	one.failed()
	return nil
}

// decision is what a verdict on stored evidence comes to.
type decision struct {
	given attestd.Appraisal
	row   subject.Subject
	// superseded says that the subject's latest evidence is another than was judged.
	superseded bool
	reaction   subject.Reaction
}

// decide reads the subject, then everything that a decision about it rests on in one snapshot.
//
// Errors: the store's; a [*subject.MovedError] where the subject changed in between.
func (e *Engine) decide(
	ctx context.Context, stored registry.StoredVerdict, policy *appraisal.Policy,
	given attestd.Appraisal,
) (decision, error) {
	first, err := e.config.Store.Known(ctx, subject.Ask{ID: stored.Subject})
	if err != nil {
		return decision{}, err
	}
	if first.Subject == nil || !first.Subject.EvidenceAt.Equal(stored.At) {
		return decision{superseded: true}, nil
	}
	row := *first.Subject
	machine := enrol.MachineOf(given, stored.Tenant, subject.SourceSelf)
	if len(machine.Keys) == 0 && row.Instance.Value != "" {
		// Evidence that is not even authentic any more names nobody. Whose it was is known.
		machine.Keys = []subject.Key{{Kind: enrol.KindInstance, Value: row.Instance.Value}}
	}
	seen := e.observed(row, stored, given)
	known, err := e.config.Store.Known(ctx, subject.Ask{
		ID: stored.Subject, Bars: seen.Keys(), Owners: machine.Keys,
	})
	if err != nil {
		return decision{}, err
	}
	if known.Subject == nil || known.Subject.Generation != row.Generation {
		return decision{}, &subject.MovedError{What: "the subject"}
	}
	settled := e.config.Desk.Settle(machine, known.Owners)
	if settled.Standing == enrol.StandingForeign {
		given = appraisal.Foreign(policy, given)
	} else {
		given = appraisal.Own(policy, given, string(settled.Method()))
	}
	seen.Verdict, seen.Risk = given.Verdict, given.Risk
	seen.Detail, seen.Owned = subject.Observe(given).Detail, settled.Expect
	if settled.Owned() {
		seen.Owner = settled.Owner
	}
	return decision{
		given: given, row: row, reaction: subject.React(known, seen, e.config.Rules),
	}, nil
}

// observed is what stored evidence showed. What it showed of the machine it showed when it was fresh,
// and that is in the subject's row; a verifier that has learned to refuse it takes nothing of that
// back. Whether the machine is held, and whose it is, is asked of today.
func (e *Engine) observed(
	row subject.Subject, stored registry.StoredVerdict, given attestd.Appraisal,
) subject.Observation {
	seen := subject.Observe(given)
	seen.Proven, seen.Again = true, true
	seen.ID, seen.Format, seen.Instance = row.ID, row.Format, row.Instance
	seen.Boot, seen.Host, seen.Key = row.Boot, row.Host, row.Key
	// Where that is not what the row has, evidence that was rejected came after it.
	seen.Evidence = sha256.Sum256(stored.Blobs[0])
	seen.Tenant, seen.Source, seen.At = stored.Tenant, subject.SourceSelf, e.config.Store.Now()
	return seen
}

// compare says how a verdict differs from the one that the caller was given; nil where neither its word
// nor its tier does.
func (e *Engine) compare(
	ctx context.Context, stored registry.StoredVerdict, made decision,
) (*wire.ReappraisalChange, error) {
	change := &wire.ReappraisalChange{
		ID: stored.Subject, Tenant: stored.Tenant, To: sideOf(made.given),
		From: wire.ReappraisalSide{
			Verdict: made.row.Floor.Tier().Verdict(), Tier: made.row.Floor.Tier(), Risk: made.row.Floor,
		},
	}
	if change.From.Verdict == change.To.Verdict && change.From.Tier == change.To.Tier {
		return nil, nil
	}
	var before attestd.Appraisal
	document, found, err := e.config.Store.Appraisal(ctx, stored.AppraisalID)
	if err != nil {
		return nil, err
	}
	if found {
		if err := json.Unmarshal(document, &before); err != nil {
			return nil, fmt.Errorf("stored verdict: %s", attestd.Excerpt(err.Error(), 160))
		}
	}
	change.Why = differences(before.Reasons, made.given.Reasons)
	return change, nil
}

func sideOf(given attestd.Appraisal) wire.ReappraisalSide {
	return wire.ReappraisalSide{Verdict: given.Verdict, Tier: given.Tier, Risk: given.Risk}
}

// differences names the checks for which the verdicts have different reasons, those of the new one
// first, worst first.
func differences(before, after []attestd.Reason) []string {
	var names []string
	add := func(of, other []attestd.Reason) {
		for _, reason := range of {
			same := slices.ContainsFunc(other, func(o attestd.Reason) bool {
				return o.Check == reason.Check && o.Effect == reason.Effect && o.Points == reason.Points
			})
			if name := string(reason.Check); !same && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	add(after, before)
	add(before, after)
	return names
}

func (r *run) dryRun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown.DryRun
}

// done counts a subject, with what would change for it; nil for nothing.
func (r *run) done(change *wire.ReappraisalChange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown.Done++
	if change == nil {
		return
	}
	r.shown.Changed++
	if len(r.shown.Changes) < maxChanges {
		r.shown.Changes = append(r.shown.Changes, *change)
	}
}

func (r *run) failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown.Failed++
}
