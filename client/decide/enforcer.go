package decide

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/attestd/attestd"
)

// Enforcer asks, and carries out what answers bind to. It is safe for concurrent use.
type Enforcer struct {
	client      *Client
	obligations map[string]func(context.Context, Obligation) error
	supported   []string
}

// NewEnforcer returns an enforcer. The obligations are the types that the program carries out, and how;
// none is a good number. A step-up needs no entry: it always refuses, with a challenge.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func NewEnforcer(
	client *Client, obligations map[string]func(context.Context, Obligation) error,
) (*Enforcer, error) {
	if client == nil {
		return nil, config("give decide.New's client", "there is no client")
	}
	for name, carry := range obligations {
		if name == "" || name == ObligationStepUp || carry == nil {
			return nil, config("leave it out", "obligation %q cannot be carried out by the program",
				attestd.Excerpt(name, 40))
		}
	}
	obligations = maps.Clone(obligations)
	supported := append(slices.Sorted(maps.Keys(obligations)), ObligationStepUp)
	return &Enforcer{client, obligations, supported}, nil
}

// Decide asks and carries out what the answer binds to. Obligations of a denial are carried out too; one
// that fails makes a denial of an allow. The Decision is to be enforced, whether or not there is an error.
//
// Errors: as of [Client.Decide], and what an obligation failed with.
func (e *Enforcer) Decide(ctx context.Context, question Question) (Decision, error) {
	decision, err := e.client.Decide(ctx, question, e.supported...)
	if err != nil {
		return unasked(err), err
	}
	return e.carryOut(ctx, decision)
}

func (e *Enforcer) carryOut(ctx context.Context, decision Decision) (Decision, error) {
	var failed []error
	for _, one := range decision.Obligations {
		if one.Type == ObligationStepUp {
			// An allow with a step-up is one for afterwards, with another credential or fresher evidence.
			if decision.Allow {
				decision = decision.refused(reasonStepUp)
			}
			continue
		}
		carry, known := e.obligations[one.Type]
		if !known {
			if decision.Allow {
				decision = decision.refused(reasonObligation)
			}
			continue
		}
		if err := carry(ctx, one); err != nil {
			failed = append(failed, fmt.Errorf("obligation %s: %w", attestd.Excerpt(one.Type, 40), err))
			if decision.Allow {
				decision = decision.refused(reasonObligation)
			}
		}
	}
	return decision, errors.Join(failed...)
}

// DecideAll asks for several wishes of one caller together, and carries out as [Enforcer.Decide] does.
// There are as many decisions as wishes, and all deny where nobody could be asked.
func (e *Enforcer) DecideAll(
	ctx context.Context, credential Credential, wishes []Wish,
) ([]Decision, error) {
	out, err := e.client.DecideAll(ctx, credential, wishes, e.supported...)
	if err != nil {
		return slices.Repeat([]Decision{unasked(err)}, len(wishes)), err
	}
	var failed []error
	for i := range out {
		out[i], err = e.carryOut(ctx, out[i])
		failed = append(failed, err)
	}
	return out, errors.Join(failed...)
}

// unasked is the denial where there is no answer.
func unasked(err error) Decision {
	var caller *attestd.CallerError
	if errors.As(err, &caller) && caller.Class == attestd.ClassUnauthenticated {
		return Decision{}.refused(reasonUnauthenticated)
	}
	if errors.As(err, &caller) {
		return Decision{}.refused(reasonMalformed)
	}
	out := Decision{}.refused("state_unavailable")
	var missing *Error
	if errors.As(err, &missing) {
		out.RetryAfter = missing.RetryAfter
	}
	return out
}
