package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
)

// Rotation says what a rotation did.
type Rotation struct {
	// Active signs from now on, and Next is published for the time after it.
	Active, Next Key
	// Before signed until now; what it signed is believed until its PublishedUntil.
	Before Key
}

// Rotate lets the next key sign, and publishes another one for the time after it. What was signed
// before stays good.
//
// Errors: a [*attestd.CallerError] of class CONFLICT where the next key is published for less than
// [MaxAge]: somebody would not know it yet.
func (r *Ring) Rotate(ctx context.Context) (Rotation, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	now := r.now()
	next, is := r.find(StateNext)
	if !is {
		return Rotation{}, fmt.Errorf("ring of keys: no key is next")
	}
	if age := now.Sub(next.PublishedAt); age < MaxAge {
		left := (MaxAge - age).Round(time.Second)
		return Rotation{}, conflict("wait for "+left.String()+"; for a key that was lost: attestd keys compromise",
			"the next key is published for %s, want at least %s", age, MaxAge)
	}
	signer, err := r.open(ctx, next)
	if err != nil {
		return Rotation{}, err
	}
	fresh, _, err := r.make(ctx, StateNext, now)
	if err != nil {
		return Rotation{}, err
	}
	done := Rotation{Next: fresh}
	keys := r.List()
	for i := range keys {
		switch keys[i].State {
		case StateActive:
			keys[i].State, keys[i].EndedAt = StateRetiring, now
			// The longest that anything can have been signed for, also under an earlier configuration.
			keys[i].PublishedUntil = now.Add(MaxLifetime + time.Minute)
			done.Before = keys[i]
		case StateNext:
			keys[i].State, keys[i].ActiveAt = StateActive, now
			done.Active = keys[i]
		}
	}
	if err := r.put(append(keys, fresh), signer); err != nil {
		return Rotation{}, err
	}
	return done, r.sweep(ctx)
}

// RotateIfDue rotates where the active key has signed for that long, and says whether it did. Where the
// next key is too young it is not due yet. It makes the keys that a withdrawal could not make.
func (r *Ring) RotateIfDue(ctx context.Context, every time.Duration) (Rotation, bool, error) {
	active, is := r.find(StateActive)
	next, has := r.find(StateNext)
	if !is || !has { // a withdrawal that found no place for new keys
		r.changing.Lock()
		defer r.changing.Unlock()
		return Rotation{}, false, r.fill(ctx)
	}
	now := r.now()
	if every <= 0 || now.Sub(active.ActiveAt) < every || now.Sub(next.PublishedAt) < MaxAge {
		return Rotation{}, false, nil
	}
	done, err := r.Rotate(ctx)
	return done, err == nil, err
}

// Compromise says what was done about a key that somebody else may have.
type Compromise struct {
	// Withdrawn are the keys that are published no more: the one that was named and, where it could
	// sign, the next one too, which lay beside it.
	Withdrawn []Key
	// Active signs from now on. Next is published for the time after it.
	Active, Next Key
	// Signed is what attestd signed with the named key since the time that was given, the newest
	// first; Total is how many there were, of which Signed has as many as were asked for.
	Signed []Signed
	Total  int
	// KnownSince is when the ledger of the key begins; what it signed before that is not known. Zero
	// where it is whole.
	KnownSince time.Time
	// BelievedUntil is when the last reader that keeps to the published set's age has stopped to
	// believe it.
	BelievedUntil time.Time
}

// Compromise withdraws a key at once, and lists what attestd signed with it since a time, at most most
// of them. Where the key signs or is next, both are withdrawn and new keys take their places: whoever
// read one file of the folder may have read the other. Readers that meet the new key before they
// fetched the set again have to fetch it.
//
// Errors: a [*attestd.CallerError] of class MALFORMED where the ring has no such key, of class CONFLICT
// where it is withdrawn already or nothing believes it any more.
func (r *Ring) Compromise(
	ctx context.Context, id, reason string, since time.Time, most int,
) (Compromise, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	now := r.now()
	keys := r.List()
	at := slices.IndexFunc(keys, func(key Key) bool { return key.ID == id })
	if at < 0 {
		return Compromise{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "attestd keys ls",
			Err: fmt.Errorf("there is no key %s for %s", attestd.Excerpt(id, 60), r.config.Purpose),
		}
	}
	if !keys[at].published(now) && !r.lost(id) {
		return Compromise{}, conflict("attestd keys ls", "key %s is %s: nobody believes it", id, keys[at].State)
	}
	done := Compromise{BelievedUntil: now.Add(MaxAge)}
	signs := keys[at].State == StateActive || keys[at].State == StateNext || r.lost(id)
	for i := range keys {
		if keys[i].State == StateWithdrawn || keys[i].State == StateRetired {
			continue
		}
		paired := signs && (keys[i].State == StateActive || keys[i].State == StateNext)
		if keys[i].ID != id && !paired {
			continue
		}
		keys[i].State, keys[i].EndedAt, keys[i].PublishedUntil = StateWithdrawn, now, now
		keys[i].Reason = reason
		done.Withdrawn = append(done.Withdrawn, keys[i])
	}
	if err := r.replace(ctx, keys, signs, now); err != nil {
		return Compromise{}, err
	}
	done.Active, _ = r.find(StateActive)
	done.Next, _ = r.find(StateNext)
	if err := errors.Join(r.recordWithdrawn(), r.sweep(ctx)); err != nil {
		return done, err
	}
	var err error
	done.Signed, done.Total, done.KnownSince, err = r.ledger.since(id, since, most)
	return done, err
}

// lost reports whether the withdrawal of a key is known to this process alone.
func (r *Ring) lost(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.undurable[id]
}

// replace withdraws whatever comes of new keys: with a vault that makes none nothing is signed, and
// where the disk takes nothing the keys are withdrawn until this process ends, and the caller is told.
func (r *Ring) replace(ctx context.Context, keys []Key, signs bool, now time.Time) error {
	withdrawn := slices.Clone(keys)
	err := r.exchange(ctx, keys, signs, now)
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if stillThere := slices.ContainsFunc(r.keys, func(key Key) bool {
		return slices.ContainsFunc(withdrawn, func(gone Key) bool {
			return gone.ID == key.ID && gone.State == StateWithdrawn && key.State != StateWithdrawn
		})
	}); stillThere {
		if r.keys = withdrawn; signs {
			r.signer = nil
		}
		for _, key := range withdrawn {
			if key.State == StateWithdrawn {
				r.undurable[key.ID] = true
			}
		}
	}
	return err
}

func (r *Ring) exchange(ctx context.Context, keys []Key, signs bool, now time.Time) error {
	if !signs {
		r.mu.RLock()
		signer := r.signer
		r.mu.RUnlock()
		return r.put(keys, signer)
	}
	var signer Signer
	var missing error
	for _, state := range []State{StateActive, StateNext} {
		key, made, err := r.make(ctx, state, now)
		if err != nil {
			missing = err
			break
		}
		if state == StateActive {
			signer = made
		}
		keys = append(keys, key)
	}
	if err := r.put(keys, signer); err != nil {
		return err
	}
	return missing
}

// Signed lists what attestd signed with a key since a time, as [Compromise] does.
func (r *Ring) Signed(id string, since time.Time, most int) (
	list []Signed, total int, knownSince time.Time, err error,
) {
	if !isKeyID(id) {
		return nil, 0, time.Time{}, fmt.Errorf("%q is not an id of a key", attestd.Excerpt(id, 60))
	}
	return r.ledger.since(id, since, most)
}
