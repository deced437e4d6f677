package issuance

import (
	"slices"
	"strings"
	"sync"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// orders are those last said.
type orders struct {
	mu   sync.Mutex
	said wire.Orders
	// version of the index's holds and atlas that said was made from.
	version uint64
	atlas   *atlas
}

// Orders returns what must hold in SPIRE, and a channel that is closed when that may have changed: the
// number says whether it did. Agents that are held must be banned, whatever attested them; entries of
// every other id that is held must match nothing. A hold on hardware holds the ids that have it. The
// lists are shared and must not be written to.
func (o *Office) Orders() (wire.Orders, <-chan struct{}) {
	changed := o.config.Index.Changed() // first, so that nothing in between is missed
	o.spread.mu.RLock()
	atlas := o.spread.atlas
	o.spread.mu.RUnlock()
	s := &o.orders
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said.Number != 0 && s.version == o.config.Index.HoldsVersion() && s.atlas == atlas {
		return s.said, changed
	}
	ids, version := o.config.Index.Holds()
	next := o.order(ids, atlas)
	s.version, s.atlas = version, atlas
	if s.said.Number == 0 || !slices.Equal(next.Bans, s.said.Bans) ||
		!slices.Equal(next.Holds, s.said.Holds) {
		now := o.config.Now()
		next.Since = now
		// Above every number of an attestd that ran before this one.
		next.Number = max(s.said.Number+1, uint64(now.UnixMicro())) //nolint:gosec // after 1970
		s.said = next
	}
	return s.said, changed
}

// order sorts what is held into bans and holds.
func (o *Office) order(ids []subject.ID, atlas *atlas) wire.Orders {
	var out wire.Orders
	domain := "spiffe://" + o.config.TrustDomain + "/"
	for _, id := range ids {
		if !strings.HasPrefix(id.Fold(), domain) {
			continue
		}
		spellings := []string{string(id)}
		if atlas != nil {
			spellings = atlas.spellings(id)
		}
		if strings.HasPrefix(id.Fold(), strings.TrimSuffix(domain, "/")+agentPath) {
			out.Bans = append(out.Bans, spellings...)
		} else {
			out.Holds = append(out.Holds, spellings...)
		}
	}
	slices.Sort(out.Bans)
	slices.Sort(out.Holds)
	out.Bans, out.Holds = slices.Compact(out.Bans), slices.Compact(out.Holds)
	return out
}
