package watch

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/decision"
)

// places are where credentials were shown last. One is only compared with itself as the same
// enforcement point sees it, and within one family of addresses: two enforcement points can stand
// on different sides of a NAT, and a host has an address of each family.
type places struct {
	most   int
	shared []netip.Prefix
	shards [shards]placeShard
}

type placeShard struct {
	mu   sync.Mutex
	last map[uint64]place
	_    [64]byte
}

type place struct {
	where uint64
	at    uint32
}

// Networks that count as one place. The pods of one node share an address range (a /24 is what a
// cluster gives a node by default) and the SVIDs that its agent holds; a host has a /64 of IPv6 and
// changes its address within (RFC 8981).
const (
	prefix4 = 24
	prefix6 = 64
)

// whereIs returns a number for the place of an address; false for one that says nothing of a place.
func (p *places) whereIs(source netip.Addr) (where uint64, family byte, ok bool) {
	source = source.Unmap().WithZone("")
	if !source.IsValid() || source.IsUnspecified() || source.IsLoopback() || source.IsLinkLocalUnicast() {
		return 0, 0, false
	}
	family = 6
	if source.Is4() {
		family = 4
	}
	for i, prefix := range p.shared {
		if prefix.Contains(source) {
			return ^uint64(i), family, true //nolint:gosec // an index; no masked address is that high
		}
	}
	bits := prefix6
	if family == 4 {
		bits = prefix4
	}
	masked, err := source.Prefix(bits)
	if err != nil {
		return 0, 0, false
	}
	bytes := masked.Addr().As16()
	if family == 4 {
		return uint64(binary.BigEndian.Uint32(bytes[12:])), family, true
	}
	return binary.BigEndian.Uint64(bytes[:8]), family, true
}

// twice reports whether the credential was shown from another place within the window.
func (w *Watch) twice(in *decision.Input) bool {
	if in.Who.Credential == "" {
		return false
	}
	where, family, ok := w.places.whereIs(in.Source)
	if !ok {
		return false
	}
	key := maphash.String(w.seed, in.Who.Credential) ^
		maphash.String(w.seed, in.Enforcer)*0x9e3779b97f4a7c15 ^ uint64(family)
	s := &w.places.shards[key>>58]
	now := seconds(in.At)
	s.mu.Lock()
	defer s.mu.Unlock()
	known, found := s.last[key]
	if !found && len(s.last) >= w.places.most/shards {
		s.forget(now, w.config.Bounds.PlacesWindow)
	}
	s.last[key] = place{where, now}
	return found && known.where != where && within(known.at, now, w.config.Bounds.PlacesWindow)
}

// forget makes room for one: of a few, those whose window is over, else the oldest.
func (s *placeShard) forget(now uint32, window time.Duration) {
	oldest, at, seen := uint64(0), uint32(0), 0
	for key, one := range s.last {
		if !within(one.at, now, window) {
			delete(s.last, key)
		} else if seen == 0 || one.at < at {
			oldest, at = key, one.at
		}
		if seen++; seen == looks {
			break
		}
	}
	if seen > 0 && at != 0 {
		delete(s.last, oldest)
	}
}
