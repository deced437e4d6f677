package why

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// Store is what is asked of the registry.
type Store interface {
	Find(ctx context.Context, tenants []string, prefix string) ([]subject.Subject, error)
	Known(ctx context.Context, ask subject.Ask) (subject.Known, error)
	Ownerships(ctx context.Context, filter subject.Filter) ([]subject.Ownership, string, error)
	Appraisal(ctx context.Context, id string) (document []byte, found bool, err error)
}

// Index is what is asked of the index of states.
type Index interface {
	Check(id subject.ID, now time.Time) live.Standing
}

// Config is what an [Asker] is made of; every field is required.
type Config struct {
	Store Store
	Index Index
	// Now is the store's clock.
	Now func() time.Time
	// SPIRE says what SPIRE has; it answers nil where attestd answers none.
	SPIRE SPIRE
}

// Asker answers "why" for operators.
type Asker struct{ config Config }

// New returns an asker.
func New(config Config) (*Asker, error) {
	if config.Store == nil || config.Index == nil || config.Now == nil || config.SPIRE == nil {
		return nil, errors.New("why needs a store, an index, a clock and SPIRE")
	}
	return &Asker{config}, nil
}

// Why explains a target: a SPIFFE ID, "instance:VALUE", "host:VALUE", the id of an appraisal, or the
// unique beginning of an id or an instance's value of at least 6 characters. A store that is down is an answer, not an error.
//
// Errors: a [*attestd.CallerError]: MALFORMED for what is no target, CONFLICT for a beginning that more
// than one has.
func (a *Asker) Why(ctx context.Context, asker operator.Principal, target string) (wire.Why, error) {
	now := a.config.Now()
	facts := Facts{Target: target, Sees: asker.Sees, Now: now}
	facts.Appraisal = a.appraisal(ctx, asker, target)
	ask, err := askOf(facts.Appraisal), error(nil)
	if facts.Appraisal == nil {
		ask, err = a.ask(ctx, asker, target)
	}
	var caller *attestd.CallerError
	if errors.As(err, &caller) && !caller.Class.Undecided() {
		return wire.Why{}, err
	}
	if err == nil {
		known, broken := a.known(ctx, asker, ask)
		if broken == nil {
			facts.Known = &known
		}
	}
	if facts.Known != nil && facts.Known.Subject != nil {
		ask.ID = facts.Known.Subject.ID
		facts.Verdict = a.verdict(ctx, facts.Known.Subject.AppraisalID)
	}
	if ask.ID != "" {
		facts.Standing = a.config.Index.Check(ask.ID, now)
		facts.SPIRE = a.look(ctx, asker, string(ask.ID), now)
	}
	return lost(Explain(facts)), nil
}

// mostBlamed is how many nodes of an id are looked at one by one, for what keeps them from identities.
const mostBlamed = 3

// look asks what SPIRE has of an id, and why the first nodes that can obtain it are granted nothing.
func (a *Asker) look(ctx context.Context, asker operator.Principal, id string, now time.Time) *Shown {
	found := a.config.SPIRE.Look(ctx, id)
	if found == nil {
		return nil
	}
	looked := 0
	for i := range found.Nodes {
		node := &found.Nodes[i]
		node.Standing = a.config.Index.Check(node.ID, now)
		if node.Standing.Grants() || !asker.Sees(node.Standing.Tenant) || looked == mostBlamed {
			continue
		}
		looked++
		facts := Facts{Target: string(node.ID), Sees: asker.Sees, Now: now, Standing: node.Standing}
		known, err := a.known(ctx, asker, subject.Ask{ID: node.ID, Bars: []subject.Key{node.ID.Key()}})
		if err == nil {
			facts.Known = &known
		}
		if facts.Known != nil && known.Subject != nil {
			facts.Verdict = a.verdict(ctx, known.Subject.AppraisalID)
		}
		said := Explain(facts)
		node.Cause, node.Code, node.Fix = said.Cause, said.Code, said.Fix
	}
	return found
}

const shortest = 6

// ask says what to look up for a target.
func (a *Asker) ask(ctx context.Context, asker operator.Principal, target string) (subject.Ask, error) {
	if strings.HasPrefix(target, "spiffe://") {
		if id, err := subject.ParseID(target); err == nil {
			return subject.Ask{ID: id, Bars: []subject.Key{id.Key()}}, nil
		}
	}
	kind, value, typed := strings.Cut(target, ":")
	value = spelled(subject.BarKind(kind), value)
	switch {
	case typed && kind == string(subject.BarInstance) && value != "":
		return ofInstance(value), nil
	case typed && kind == string(subject.BarHost) && value != "":
		return subject.Ask{Bars: []subject.Key{{Kind: kind, Value: value}}}, nil
	case len(target) < shortest || len(target) > 2048:
		return subject.Ask{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "give a SPIFFE ID, instance:VALUE, host:VALUE, an appraisal's id, or " +
				"at least 6 characters of an id or an instance's value",
			Err: fmt.Errorf("%q names nothing", attestd.Excerpt(target, 80)),
		}
	}
	found, err := a.config.Store.Find(ctx, asker.Tenants, target)
	switch {
	case err != nil:
		return subject.Ask{}, err
	case len(found) > 1:
		return subject.Ask{}, &attestd.CallerError{
			Class: attestd.ClassConflict, Hint: "give more of it: attestd subject ls --text " + target,
			Err: fmt.Errorf("%q is the beginning of more than one", attestd.Excerpt(target, 80)),
		}
	case len(found) == 1:
		ask := subject.Ask{ID: found[0].ID, Bars: []subject.Key{found[0].ID.Key()}}
		return ask, nil
	}
	return a.waiting(ctx, asker, target)
}

// waiting looks for a machine without a subject among those that asked to be somebody's.
func (a *Asker) waiting(ctx context.Context, asker operator.Principal, target string) (subject.Ask, error) {
	folded := spelled(subject.BarInstance, target)
	owners, _, err := a.config.Store.Ownerships(ctx, subject.Filter{
		Tenants: asker.Tenants, Text: folded, Limit: 100,
	})
	if err != nil {
		return subject.Ask{}, err
	}
	owners = slices.DeleteFunc(owners, func(o subject.Ownership) bool {
		// An endorsement key's digest is what names and lists show of it, without its scheme.
		digest, _ := strings.CutPrefix(o.Key.Value, "ek:")
		return !strings.HasPrefix(o.Key.Value, folded) && !strings.HasPrefix(digest, folded)
	})
	if len(owners) == 1 && owners[0].Key.Kind == string(subject.BarInstance) {
		return ofInstance(owners[0].Key.Value), nil
	}
	if len(owners) == 1 {
		return subject.Ask{Owners: []subject.Key{owners[0].Key}}, nil
	}
	return ofInstance(folded), nil
}

// spelled returns hardware as verifiers spell it where a person named it whole, in whatever case.
func spelled(kind subject.BarKind, value string) string {
	if whole, err := subject.SpellHardware(kind, value); err == nil {
		return whole
	}
	return subject.FoldHardware(kind, value)
}

func ofInstance(value string) subject.Ask {
	key := subject.Key{Kind: string(subject.BarInstance), Value: value}
	return subject.Ask{
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: value},
		Bars:     []subject.Key{key}, Owners: []subject.Key{key},
	}
}

// known reads what the registry has. A subject brings keys of its own, which the first reading could
// not ask for: the second one does. For another tenant's subject there is none: what was never seen is
// answered after one reading, and how long an answer takes must not tell the two apart.
func (a *Asker) known(
	ctx context.Context, asker operator.Principal, ask subject.Ask,
) (subject.Known, error) {
	known, err := a.config.Store.Known(ctx, ask)
	if err != nil || known.Subject == nil {
		return known, err
	}
	one := known.Subject
	if !asker.Sees(one.Tenant) {
		known.Subject = nil
		return known, nil
	}
	again := subject.Ask{ID: one.ID, Bars: []subject.Key{one.ID.Key()}, Owners: ask.Owners}
	for kind, value := range map[subject.BarKind]string{
		subject.BarInstance: one.Instance.Value, subject.BarBoot: one.Boot, subject.BarHost: one.Host,
	} {
		if value == "" {
			continue
		}
		key := subject.Key{Kind: string(kind), Value: value}
		again.Bars = append(again.Bars, key)
		if kind != subject.BarBoot && !slices.Contains(again.Owners, key) {
			again.Owners = append(again.Owners, key)
		}
	}
	return a.config.Store.Known(ctx, again)
}

// verdict reads the verdict that a state stands on; one that was thrown away by now is none.
func (a *Asker) verdict(ctx context.Context, id string) *attestd.Appraisal {
	if id == "" {
		return nil
	}
	document, found, err := a.config.Store.Appraisal(ctx, id)
	if err != nil || !found {
		return nil
	}
	var verdict attestd.Appraisal
	if json.Unmarshal(document, &verdict) != nil {
		return nil
	}
	return &verdict
}
