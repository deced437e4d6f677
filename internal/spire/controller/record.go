package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// record is which bans and holds in SPIRE are attestd's own: what a person laid is never lifted.
// attestd keeps it over restarts of the controller.
type record struct {
	c *controller

	mu      sync.Mutex
	known   bool // attestd's record was taken once
	bans    map[string]bool
	holds   map[string]bool // by entry id
	missing map[string]bool // holds whose entry the last poll did not have
	changes uint64
	kept    uint64
	dirty   chan struct{}
	wrote   chan struct{} // closed when kept changes
}

func newRecord(c *controller) *record {
	return &record{
		c: c, bans: map[string]bool{}, holds: map[string]bool{},
		dirty: make(chan struct{}, 1), wrote: make(chan struct{}),
	}
}

// maxOwn bounds what is believed of a record.
const maxOwn = 1_000_000

// take reads attestd's record. After the first time the controller's own is the newer one.
func (r *record) take(state wire.ControllerState) error {
	if len(state.Bans) > maxOwn || len(state.Holds) > maxOwn {
		return &attestd.CallerError{Class: attestd.ClassTooLarge, Hint: "see attestd's log",
			Err: fmt.Errorf("a record of %d bans and %d holds", len(state.Bans), len(state.Holds))}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known {
		// Another daemon may have answered: it is told.
		r.changes++
		r.signal()
		return nil
	}
	for _, id := range state.Bans {
		r.bans[id] = true
	}
	for _, id := range state.Holds {
		r.holds[id] = true
	}
	r.known = true
	return nil
}

func (r *record) signal() {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

func (r *record) has(set map[string]bool, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return set[id]
}

// set notes that something is attestd's own, or no more.
func (r *record) set(set map[string]bool, id string, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if set[id] == own {
		return
	}
	if own {
		set[id] = true
	} else {
		delete(set, id)
	}
	r.changes++
	r.signal()
}

// saved waits until everything noted so far is on attestd's disk, or ctx ends.
func (r *record) saved(ctx context.Context) bool {
	r.mu.Lock()
	want := r.changes
	r.mu.Unlock()
	for {
		r.mu.Lock()
		done, wrote := r.kept >= want, r.wrote
		r.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-wrote:
		case <-ctx.Done():
			return false
		}
	}
}

// keep hands the record to attestd whenever it changed, until it has it.
func (r *record) keep(ctx context.Context) {
	for {
		select {
		case <-r.dirty:
		case <-ctx.Done():
			return
		}
		for {
			r.mu.Lock()
			at := r.changes
			state := wire.ControllerState{Bans: sorted(r.bans), Holds: sorted(r.holds)}
			r.mu.Unlock()
			err := call(ctx, func(ctx context.Context) error {
				return r.c.link.Call(ctx, wire.MethodKeepState, state, nil)
			})
			if err == nil {
				r.mu.Lock()
				r.kept = at
				close(r.wrote)
				r.wrote = make(chan struct{})
				r.mu.Unlock()
				break
			}
			if ctx.Err() != nil {
				return
			}
			if !notLinked(err) {
				r.c.log.WarnContext(ctx, "attestd did not keep which bans and holds are its own",
					"err", attestd.Excerpt(err.Error(), 200))
			}
			if !pause(ctx, time.Second) {
				return
			}
		}
	}
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for id := range set {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func (r *record) ownBans() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sorted(r.bans)
}

// forgetHolds drops what is noted of entries that are no more. An entry must be missing in two polls:
// one that was held while the first was read may not have been in it.
func (r *record) forgetHolds(there map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := map[string]bool{}
	for id := range r.holds {
		switch {
		case there[id]:
		case r.missing[id]:
			delete(r.holds, id)
			r.changes++
			r.signal()
		default:
			missing[id] = true
		}
	}
	r.missing = missing
}
