package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
)

// MaxAge is how long others may keep the published set without asking again: after a compromise nobody
// who keeps to it believes a withdrawn key for longer.
const MaxAge = 5 * time.Minute

// MaxLifetime bounds what is signed; a key stays published for that long after it ceased to sign.
const MaxLifetime = 24 * time.Hour

// defaultTimeout is how long one signature may take.
const defaultTimeout = 2 * time.Second

// Config says what a ring is made of. Fields without another word are required.
type Config struct {
	Purpose Purpose
	// Folder of the ring; it is made where there is none. Nobody else may write to it meanwhile.
	Folder string
	// Withdrawn is a file outside of Folder that remembers for good which keys were withdrawn; empty for
	// none: then a folder that is put back to an older copy brings them back.
	Withdrawn string
	// Vault has the private keys; nil for files in the folder.
	Vault Vault
	// Lifetime is the longest that anything signed may live, at most MaxLifetime.
	Lifetime time.Duration
	// Timeout of one signature; 0 for two seconds.
	Timeout time.Duration
	// Now is the store's clock.
	Now func() time.Time
}

// Ring has the keys of one purpose: one that signs, one that is next, and those before. It is safe for
// concurrent use.
type Ring struct {
	config Config
	path   string
	vault  Vault
	ledger *ledger
	slots  chan struct{}

	// changing is held while keys change, and mu for moments: signing goes on meanwhile.
	changing sync.Mutex
	mu       sync.RWMutex
	keys     []Key
	signer   Signer // of the active key; nil where there is none
	// undurable are withdrawals that the disk did not take.
	undurable map[string]bool
}

// Open returns the ring of the folder. Where there is none it is made, with a key that signs and one
// that is next.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the folder holds something that no ring left
// there, or a key is gone that should sign. Nothing that is broken is replaced: others have its public
// half.
func Open(ctx context.Context, config Config) (*Ring, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	files, err := OpenFiles(config.Folder)
	if err != nil {
		return nil, err
	}
	r := &Ring{
		config: config, path: filepath.Join(config.Folder, stateFile), vault: config.Vault,
		slots: make(chan struct{}, maxSigning), undurable: map[string]bool{},
	}
	if r.vault == nil {
		r.vault = files
	}
	if r.config.Timeout == 0 {
		r.config.Timeout = defaultTimeout
	}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	r.ledger = newLedger(config.Folder)
	return r, nil
}

func (c Config) check() error {
	if err := c.Purpose.check(); err != nil {
		return err
	}
	if c.Folder == "" || c.Now == nil || c.Lifetime <= 0 || c.Lifetime > MaxLifetime || c.Timeout < 0 {
		return fmt.Errorf("a ring of keys needs a folder, a clock, and a lifetime of at most %s", MaxLifetime)
	}
	return nil
}

// load reads the ring and fills what is missing. The file is there before the first key is: a key
// without a ring is one that somebody may have published.
func (r *Ring) load(ctx context.Context) error {
	keys, found, err := readState(r.path, r.config.Purpose)
	if err != nil {
		return err
	}
	if !found {
		ids, err := r.vault.IDs(ctx)
		if err != nil {
			return err
		}
		if len(ids) != 0 {
			return unfit("put "+stateFile+" back from a backup, or move the folder away for new keys",
				"there are %d keys in %s and no ring that they belong to", len(ids), r.config.Folder)
		}
		if err := writeState(r.path, r.config.Purpose, nil); err != nil {
			return err
		}
	}
	withdrawn, err := readWithdrawn(r.config.Withdrawn)
	if err != nil {
		return err
	}
	r.withdrawRecorded(keys, withdrawn)
	r.keys = keys
	if active, is := r.find(StateActive); is {
		if r.signer, err = r.open(ctx, active); err != nil {
			return err
		}
	}
	if next, is := r.find(StateNext); is {
		if _, err := r.open(ctx, next); err != nil {
			return err
		}
	}
	if err := r.fill(ctx); err != nil {
		return err
	}
	return errors.Join(r.recordWithdrawn(), r.sweep(ctx))
}

// open returns the signer of a key that is to sign, and demands that it is that key's.
func (r *Ring) open(ctx context.Context, key Key) (Signer, error) {
	signer, err := r.vault.Open(ctx, key.ID)
	if err != nil {
		return nil, err
	}
	if id, err := KeyID(signer.Public()); err != nil || id != key.ID {
		return nil, unfit("look at where the keys are kept", "asked for key %s, got another", key.ID)
	}
	return signer, nil
}

// find returns the one key in that state.
func (r *Ring) find(state State) (Key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at := slices.IndexFunc(r.keys, func(key Key) bool { return key.State == state })
	if at < 0 {
		return Key{}, false
	}
	return r.keys[at], true
}

// fill makes the keys that a ring must have: one that signs, and one that is next.
func (r *Ring) fill(ctx context.Context) error {
	keys, signer, now := slices.Clone(r.keys), r.signer, r.now()
	for _, state := range []State{StateActive, StateNext} {
		if slices.ContainsFunc(keys, func(key Key) bool { return key.State == state }) {
			continue
		}
		made, able, err := r.make(ctx, state, now)
		if err != nil {
			return err
		}
		if state == StateActive {
			signer = able
		}
		keys = append(keys, made)
	}
	return r.put(keys, signer)
}

func (r *Ring) make(ctx context.Context, state State, now time.Time) (Key, Signer, error) {
	signer, err := r.vault.Make(ctx)
	if err != nil {
		return Key{}, nil, err
	}
	id, err := KeyID(signer.Public())
	if err != nil {
		return Key{}, nil, fmt.Errorf("make key: %w", err)
	}
	key := Key{ID: id, State: state, PublishedAt: now}
	if key.X, key.Y, err = coordinates(signer.Public()); err != nil {
		return Key{}, nil, fmt.Errorf("make key: %w", err)
	}
	if state == StateActive {
		key.ActiveAt = now
	}
	return key, signer, nil
}

func (r *Ring) now() time.Time { return r.config.Now().UTC().Truncate(time.Second) }

// put makes a change effective, after it is durable. Keys that are published no more are remembered
// as far as there is room.
func (r *Ring) put(keys []Key, signer Signer) error {
	now := r.now()
	for i := range keys {
		if keys[i].State == StateRetiring && !now.Before(keys[i].PublishedUntil) {
			keys[i].State = StateRetired
		}
	}
	slices.SortStableFunc(keys, func(a, b Key) int { return rank(a.State) - rank(b.State) })
	if extra := len(keys) - maxEnded; extra > 0 {
		keys = slices.DeleteFunc(keys, func(key Key) bool {
			old := extra > 0 && (key.State == StateRetired || key.State == StateWithdrawn)
			if old {
				extra--
			}
			return old
		})
	}
	if err := writeState(r.path, r.config.Purpose, keys); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.signer = keys, signer
	clear(r.undurable)
	return nil
}

func rank(state State) int {
	return slices.Index([]State{StateActive, StateNext, StateRetiring, StateRetired, StateWithdrawn}, state)
}

// sweep destroys private keys that sign no more, and ledgers of keys that are forgotten. A crash can
// leave some behind.
func (r *Ring) sweep(ctx context.Context) error {
	ids, err := r.vault.IDs(ctx)
	if err != nil {
		return err
	}
	r.mu.RLock()
	keys := slices.Clone(r.keys)
	r.mu.RUnlock()
	var errs []error
	for _, id := range ids {
		if !slices.ContainsFunc(keys, func(key Key) bool {
			return key.ID == id && (key.State == StateActive || key.State == StateNext)
		}) {
			errs = append(errs, r.vault.Destroy(ctx, id))
		}
	}
	errs = append(errs, sweepLedgers(r.config.Folder, func(id string) bool {
		return slices.ContainsFunc(keys, func(key Key) bool { return key.ID == id })
	}))
	return errors.Join(errs...)
}

// List returns the keys that are known, those that are published first.
func (r *Ring) List() []Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.keys)
}

// Purpose returns what the keys sign.
func (r *Ring) Purpose() Purpose { return r.config.Purpose }

// published reports whether the key is in the published set at now.
func (k Key) published(now time.Time) bool {
	switch k.State {
	case StateActive, StateNext:
		return true
	case StateRetiring:
		return now.Before(k.PublishedUntil)
	default:
		return false
	}
}

// jwk is a public key as RFC 7517 has it.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
}

// JWKS returns the published set (RFC 7517, section 5), and for how long it may be kept.
func (r *Ring) JWKS() (document []byte, maxAge time.Duration) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	now := r.config.Now()
	for _, key := range r.List() {
		if key.published(now) {
			set.Keys = append(set.Keys, jwk{
				Kty: "EC", Crv: "P-256", X: key.X, Y: key.Y, Use: "sig", Alg: Algorithm, Kid: key.ID,
			})
		}
	}
	document, err := json.Marshal(set)
	if err != nil { // of strings alone: it cannot
		return []byte(`{"keys":[]}`), 0
	}
	return document, MaxAge
}

// Close ends the ring, after what is under way.
func (r *Ring) Close() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.ledger.close()
}

func conflict(hint, format string, args ...any) error {
	return &attestd.CallerError{Class: attestd.ClassConflict, Hint: hint, Err: fmt.Errorf(format, args...)}
}
