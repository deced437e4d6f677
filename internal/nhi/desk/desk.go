package desk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// Store keeps records.
type Store interface {
	// FindRecord returns the record of the id where it is of one of the tenants.
	FindRecord(ctx context.Context, tenants []string, id string) (nhi.Record, bool, error)
	Records(ctx context.Context, filter nhi.Filter) (list []nhi.Record, next string, err error)
	// RecordsAs returns the records of the ids, whosever they are.
	RecordsAs(ctx context.Context, ids []string) ([]nhi.Record, error)
	WriteRecords(ctx context.Context, write nhi.Write) error
}

// Config says what a desk works with. Every field is required.
type Config struct {
	Store Store
	// Stands says how an identity stands.
	Stands func(id subject.ID, at time.Time) decision.Standing
	// Attested yields the ids that SPIRE or the registry has now: those who ought to have a record.
	Attested func(ctx context.Context) iter.Seq2[string, error]
	// Policies returns the names of policies in force; ok is false where that cannot be told.
	Policies func() (names []string, ok bool)
	// Tenants are those that there are.
	Tenants []string
	// Now is the store's clock.
	Now func() time.Time
}

// Desk is safe for concurrent use.
type Desk struct{ config Config }

// New returns a desk.
//
// Errors: a [*attestd.CallerError] of class CONFIG that names every field that will not do.
func New(config Config) (*Desk, error) {
	var errs []error
	need := func(ok bool, name string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is not set", name))
		}
	}
	need(config.Store != nil, "Store")
	need(config.Stands != nil, "Stands")
	need(config.Attested != nil, "Attested")
	need(config.Policies != nil, "Policies")
	need(len(config.Tenants) > 0 && !slices.Contains(config.Tenants, "") &&
		!slices.Contains(config.Tenants, operator.AllTenants), "Tenants")
	need(config.Now != nil, "Now")
	if err := errors.Join(errs...); err != nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "give every field",
			Err: fmt.Errorf("desk of the inventory: %w", err),
		}
	}
	config.Tenants = slices.Clone(config.Tenants)
	return &Desk{config: config}, nil
}

// standing returns how the identity of a record stands. One that is no SPIFFE ID stands nowhere.
func (d *Desk) standing(id string, at time.Time) decision.Standing {
	if nhi.Kind(id) != "spiffe" {
		return decision.Standing{}
	}
	return d.config.Stands(subject.ID(id), at)
}

func seenOf(standing decision.Standing) nhi.Seen {
	return nhi.Seen{
		Attested: standing.Attested, Tenant: standing.Tenant, AttestedAt: standing.AttestedAt,
		Unknown: standing.Fault != "",
	}
}

// known returns what tells whether a policy is in force; nil where that cannot be told.
func (d *Desk) known() func(policy string) bool {
	names, ok := d.config.Policies()
	if !ok {
		return nil
	}
	in := make(map[string]bool, len(names))
	for _, name := range names {
		in[name] = true
	}
	return func(policy string) bool { return in[policy] }
}

func malformed(hint, format string, arguments ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: hint, Err: fmt.Errorf(format, arguments...),
	}
}
