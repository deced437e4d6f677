package live

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// holds is who is held, kept up with every change so that nobody has to look through all subjects.
// What it points to is changed under the publishing lock.
type holds struct {
	rows map[ref]struct{}
	// names are barred names, folded, with and without a row.
	names   map[string]struct{}
	version atomic.Uint64
}

func newHolds() holds {
	return holds{rows: map[ref]struct{}{}, names: map[string]struct{}{}}
}

// see takes in how an entry is by now. The publishing lock is held.
func (h *holds) see(at ref, e *entry) {
	held := e.held != 0 || subject.Barred(attestd.State(e.state))
	if _, was := h.rows[at]; was == held {
		return
	}
	if held {
		h.rows[at] = struct{}{}
	} else {
		delete(h.rows, at)
	}
	h.version.Add(1)
}

// name takes in what bars on a name say by now. The publishing lock is held.
func (h *holds) name(folded string, held attestd.State) {
	if _, was := h.names[folded]; was == (held != attestd.StateUnknown) {
		return
	}
	if held != attestd.StateUnknown {
		h.names[folded] = struct{}{}
	} else {
		delete(h.names, folded)
	}
	h.version.Add(1)
}

// Holds returns every id that is quarantined or revoked, by its own row or by a bar on anything it
// has, as the registry spells it; and barred names without a row in their folded form. The version
// rises with every change of that set.
func (x *Index) Holds() (ids []subject.ID, version uint64) {
	x.publishing.Lock()
	defer x.publishing.Unlock()
	names := maps.Clone(x.holds.names)
	for at := range x.holds.rows {
		place, number := at.split()
		s := &x.shards[place]
		s.mu.RLock()
		id := x.name(s, number, s.at(number))
		s.mu.RUnlock()
		ids = append(ids, id)
		delete(names, id.Fold())
	}
	for name := range names {
		ids = append(ids, subject.ID(name))
	}
	slices.Sort(ids)
	return ids, x.holds.version.Load()
}

// HoldsVersion returns the version of [Index.Holds].
func (x *Index) HoldsVersion() uint64 { return x.holds.version.Load() }

// notice tells all who wait that something changed.
type notice struct {
	mu sync.Mutex
	ch chan struct{}
}

func (n *notice) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notice) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

// Changed returns a channel that is closed after the next publication, hold or settlement is
// effective. Ask for it before reading what it is waited with, or a change in between is missed.
func (x *Index) Changed() <-chan struct{} { return x.notice.wait() }

// changed says that a change is effective: its number first, so that whoever is told by it reads it.
func (x *Index) changed() {
	x.sequence.Add(1)
	x.notice.tell()
}

// Sequence is the number of the last change that is effective, counted from the start. Whoever reads a
// state after Sequence returned n reads every change up to n; a change that was made effective before
// Sequence is asked has a number of at most what it returns.
func (x *Index) Sequence() uint64 { return x.sequence.Load() }

// Announce closes the channel of [Index.Changed], for whoever changed what its readers go by too.
func (x *Index) Announce() { x.notice.tell() }
