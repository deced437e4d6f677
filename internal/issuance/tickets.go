package issuance

import (
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of tickets.
const (
	// ticketLife is how long after its evidence a credential may be asked for.
	ticketLife = time.Minute
	// perID is how many keys of one id can wait at a time: an agent that is started again and again
	// makes a new one each time. The oldest go first.
	perID = 8
	// maxIDs is how many ids can have tickets at a time.
	maxIDs = 1 << 17
)

// ticket lets something be issued that evidence was given for.
type ticket struct {
	// key is the SHA-256 of the SubjectPublicKeyInfo that the evidence bound; unbound says that it bound
	// none, and any will do.
	key     [sha256.Size]byte
	unbound bool
	ends    time.Time
	// The rest is for what is issued without an agent: the node that gave the evidence, who may be told
	// (sorted, for a JWT-SVID), and what more is said.
	node     subject.ID
	audience []string
	claims   map[string]any
	// shown is what that evidence showed, nil for what the node's own showed; x509 is the lifetime of an
	// X509-SVID in seconds, 0 where nothing but the longest is known.
	shown *facts
	x509  int
}

// tickets are those in force, by id. Those of agents are good for any number of requests within their
// time, since SPIRE repeats one whose answer was lost.
type tickets struct {
	mu  sync.Mutex
	ids map[subject.ID][]ticket
	// bound are the ids that had a ticket for a key since the start.
	bound map[subject.ID]struct{}
	sweep int
}

func newTickets() tickets {
	return tickets{ids: map[subject.ID][]ticket{}, bound: map[subject.ID]struct{}{}, sweep: 1 << 10}
}

var errRatchet = errors.New("a node that once bound its key gave evidence without one")

// add puts a ticket in force. One for a key ends those without.
//
// Errors: errRatchet where one is without a key and the id had one for a key before; a
// [*attestd.CallerError] of class RATE_LIMITED where too many ids have tickets.
func (t *tickets) add(id subject.ID, one ticket, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, was := t.bound[id]; was && one.unbound {
		return errRatchet
	}
	if len(t.ids) >= t.sweep {
		for other, list := range t.ids {
			if list = alive(list, now); len(list) == 0 {
				delete(t.ids, other)
			} else {
				t.ids[other] = list
			}
		}
		t.sweep = max(1<<10, 2*len(t.ids))
	}
	list := alive(t.ids[id], now)
	if list == nil && len(t.ids) >= maxIDs {
		return &attestd.CallerError{
			Class: attestd.ClassRateLimited, Hint: "try again in a minute",
			Err: errors.New("too many identities wait to be issued"),
		}
	}
	if !one.unbound && one.audience == nil && one.node == "" {
		t.bound[id] = struct{}{}
		list = slices.DeleteFunc(list, func(other ticket) bool { return other.unbound })
	}
	list = slices.DeleteFunc(list, one.same)
	if len(list) >= perID {
		list = slices.Delete(list, 0, len(list)-perID+1)
	}
	t.ids[id] = append(list, one)
	return nil
}

// same reports whether the other ticket is for the same.
func (t ticket) same(other ticket) bool {
	return t.key == other.key && t.unbound == other.unbound &&
		slices.Equal(t.audience, other.audience) &&
		t.node == other.node && t.audience == nil // those for a JWT-SVID are for one each
}

func alive(list []ticket, now time.Time) []ticket {
	return slices.DeleteFunc(list, func(one ticket) bool { return !now.Before(one.ends) })
}

// agent finds a ticket for an agent's key.
func (t *tickets) agent(id subject.ID, key []byte, now time.Time) (ticket, bool) {
	return t.find(id, now, false, func(one ticket) bool {
		return one.node == "" && one.audience == nil && one.fits(key)
	})
}

// fits reports whether the ticket is for the key.
func (t ticket) fits(key []byte) bool {
	return len(key) == sha256.Size && (t.unbound || t.key == [sha256.Size]byte(key))
}

// direct finds a ticket for what is issued without an agent: for a key, or for exactly these
// audiences, and that one is used up.
func (t *tickets) direct(
	id subject.ID, key []byte, audience []string, now time.Time,
) (ticket, bool) {
	if len(audience) == 0 {
		return t.find(id, now, false, func(one ticket) bool {
			return one.node != "" && one.audience == nil && !one.unbound && one.fits(key)
		})
	}
	audience = slices.Sorted(slices.Values(audience))
	return t.find(id, now, true, func(one ticket) bool {
		return one.node != "" && slices.Equal(one.audience, audience)
	})
}

func (t *tickets) find(
	id subject.ID, now time.Time, once bool, wanted func(ticket) bool,
) (ticket, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.ids[id]
	for i, one := range list {
		if !now.Before(one.ends) || !wanted(one) {
			continue
		}
		if once {
			t.ids[id] = slices.Delete(slices.Clone(list), i, i+1)
		}
		return one, true
	}
	return ticket{}, false
}
