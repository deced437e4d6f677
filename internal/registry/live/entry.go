package live

import (
	"math"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// shards is how many parts the index has. Each has a lock of its own, and grows by itself.
const shards = 256

// Kinds of keys in the order in which an entry has them.
const (
	bySubject = iota
	byInstance
	byBoot
	byHost
	kinds
)

var kindNames = [kinds]subject.BarKind{
	subject.BarSubject, subject.BarInstance, subject.BarBoot, subject.BarHost,
}

// Ways in which the last segment of an id names the instance, so that a bar on the instance finds the
// entry by its id and no key is kept for it.
const (
	namedOtherwise = iota
	namedByValue
	namedByDigest
	// namedByScheme and those behind it: by what follows one of [subject.Schemes], in their order. They
	// are told apart, or a bar that is lifted from one instance would be lifted from another.
	namedByScheme
)

// entry is one subject. Each byte counts a million times, and so does each line of cache: there are no
// pointers, and what a check reads stands together.
type entry struct {
	hash              uint32
	tenant            uint32
	last              [segment]byte
	generation, epoch uint64
	due               int64  // nanoseconds of 1970
	seen              uint32 // seconds of 1970 of the evidence, 0 for none
	prefix            uint16
	held              uint16 // three bits for each kind: what bars say
	form, format      uint8
	state, risk       uint8
	method, named     uint8
	grants            grants
	keys, next        [kinds - 1]ref // of instance, boot, host; next entry with the same one
}

func (e *entry) heldBy(kind int) attestd.State { return attestd.State(e.held >> (3 * kind) & 7) }

func (e *entry) setHeld(kind int, state attestd.State) {
	e.held = e.held&^(7<<(3*kind)) | uint16(state)<<(3*kind)
}

// methods numbers the methods of ownership; anything else is none.
var methods = []subject.Method{
	subject.MethodNone, subject.MethodInventory, subject.MethodCloud, subject.MethodEnrolment,
}

func methodNumber(method subject.Method) uint8 {
	for number, known := range methods {
		if known == method {
			return uint8(number) //nolint:gosec // four of them
		}
	}
	return 0
}

// shard is a part of the index. Its lock is the fence: a state is read and a grant counted under it,
// and a publication changes states under it.
type shard struct {
	mu sync.RWMutex
	table
	arena[entry]
	// texts are the ids that are kept whole.
	texts     map[uint32]string
	strangers strangers
	// due is not later than the earliest deadline of a trusted subject of the shard.
	due int64
	_   [64]byte // the next shard's lock is on another cache line
}

func (s *shard) hashOf(number uint32) uint32 { return s.at(number).hash }

// seek returns the entry with the id, nil where there is none. The shard's lock is held.
func (x *Index) seek(s *shard, hash uint32, folded string) (uint32, *entry) {
	if len(s.slots) == 0 {
		return 0, nil
	}
	for at := s.home(hash); s.slots[at] != 0; at = s.after(at) {
		slot := s.slots[at]
		number := slot&slotNumber - 1
		if slot != slotOf(hash, number) {
			continue
		}
		if e := s.at(number); e.hash == hash && x.isNamed(s, number, e, folded) {
			return number, e
		}
	}
	return 0, nil
}

// fill puts the subject's values into its entry; name and keys are set elsewhere.
func (x *Index) fill(s *shard, e *entry, one subject.Subject) {
	e.generation, e.epoch = one.Generation, one.Epoch
	e.due = nanoseconds(one.DueAt)
	e.seen = 0
	if at := one.EvidenceAt.Unix(); at > 0 && at < math.MaxUint32 {
		e.seen = uint32(at)
	}
	e.tenant = x.tenants.take(one.Tenant)
	e.format = 0
	if number := x.formats.take(string(one.Format)); number <= math.MaxUint8 {
		e.format = uint8(number)
	}
	e.state = uint8(one.State)
	e.risk = uint8(riskOf(one).Int()) //nolint:gosec // 0 to 100
	e.method = methodNumber(one.Ownership)
	if one.State == attestd.StateTrusted {
		s.due = min(s.due, e.due)
	}
}

// nanoseconds returns the time in a form that compares; a missing deadline has passed.
func nanoseconds(at time.Time) int64 {
	if at.IsZero() || at.Year() < 1970 || at.Year() > 2200 {
		return 0
	}
	return at.UnixNano()
}

// riskOf returns the subject's risk at its worst: a signal that ends counts until the registry has
// written that it did.
func riskOf(one subject.Subject) attestd.RiskScore {
	if len(one.Signals) == 0 && !subject.Barred(one.State) {
		return one.Floor
	}
	risk, _ := one.RiskAt(time.Time{})
	return risk
}

// standing says what holds for the entry at now.
func (x *Index) standing(e *entry, id subject.ID, now time.Time) Standing {
	s := Standing{
		ID: id, Known: true, Tenant: x.tenants.text(e.tenant),
		Format: attestd.Format(x.formats.text(uint32(e.format))), Ownership: methods[e.method],
		State: attestd.State(e.state), Risk: attestd.Risk(int(e.risk)),
		Epoch: e.epoch, Generation: e.generation,
	}
	s.Tier = s.Risk.Tier()
	if e.due != 0 {
		s.DueAt = time.Unix(0, e.due).UTC()
	}
	if e.seen != 0 {
		s.EvidenceAt = time.Unix(int64(e.seen), 0).UTC()
	}
	if s.State == attestd.StateTrusted && e.overdue(now) {
		s.State, s.Overdue = attestd.StateSuspect, true
	}
	for kind, name := range kindNames {
		if held := e.heldBy(kind); held != attestd.StateUnknown {
			if s.Barred == "" || held > s.State {
				s.Barred = name
			}
			s.State = max(s.State, held)
		}
	}
	return s
}

// overdue reports whether the deadline has come; at exactly that moment it has.
func (e *entry) overdue(now time.Time) bool { return now.UnixNano() >= e.due }
