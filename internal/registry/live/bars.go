package live

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// fingerprint stands for a key: SHA-256 under a salt of this process, cut to 128 bits, so that
// nobody can look for two that coincide.
type fingerprint [16]byte

// ref is a shard's number and a record's number in it, plus one; 0 is none.
type ref uint32

func refOf(shard uint8, number uint32) ref { return ref(number<<8|uint32(shard)) + 1 }

func (r ref) split() (shard uint8, number uint32) {
	return uint8((r - 1) & 0xff), uint32(r-1) >> 8 //nolint:gosec // masked
}

// key is something that subjects have or that a bar lies on.
type key struct {
	print fingerprint
	first ref // entry that has it; each entry names the next
	// durable is what the registry's bar says, direct what [Index.Hold] says.
	durable, direct uint8
}

// hold is what a bar of that state says. There are two; any other is a mistake and holds for good.
func hold(state attestd.State) uint8 {
	if state == attestd.StateQuarantined {
		return uint8(state)
	}
	return uint8(attestd.StateRevoked)
}

func (k *key) held() attestd.State { return attestd.State(max(k.durable, k.direct)) }

// keys holds the keys that are in use. Its lock is taken before a shard's.
type keys struct {
	salt   [32]byte
	mu     sync.RWMutex
	barred int // keys with a bar
	shards [shards]struct {
		table
		arena[key]
		free []uint32
	}
}

func newKeys() *keys {
	k := &keys{}
	_, _ = rand.Read(k.salt[:]) // it never fails
	return k
}

func (k *keys) print(of subject.Key) fingerprint {
	buffer := make([]byte, 0, 256)
	buffer = append(buffer, k.salt[:]...)
	buffer = append(buffer, of.Kind...)
	buffer = append(buffer, 0) // no kind has one
	buffer = append(buffer, of.Value...)
	digest := sha256.Sum256(buffer)
	return fingerprint(digest[:16])
}

func (p fingerprint) hash() uint32 { return binary.LittleEndian.Uint32(p[4:]) }

func (k *keys) hashOf(shard uint8) func(uint32) uint32 {
	return func(number uint32) uint32 { return k.shards[shard].at(number).print.hash() }
}

func (k *keys) at(r ref) *key {
	shard, number := r.split()
	return k.shards[shard].at(number)
}

// find returns the key, 0 where it is not in use.
func (k *keys) find(print fingerprint) ref {
	r, _ := k.seek(print)
	return r
}

func (k *keys) seek(print fingerprint) (ref, uint32) {
	s := &k.shards[print[0]]
	if len(s.slots) == 0 {
		return 0, 0
	}
	hash := print.hash()
	for at := s.home(hash); s.slots[at] != 0; at = s.after(at) {
		slot := s.slots[at]
		number := slot&slotNumber - 1
		if slot == slotOf(hash, number) && s.at(number).print == print {
			return refOf(print[0], number), at
		}
	}
	return 0, 0
}

// take returns the key and makes it where it is not in use; 0 where its shard is full.
func (k *keys) take(print fingerprint) ref {
	if r := k.find(print); r != 0 {
		return r
	}
	s := &k.shards[print[0]]
	var number uint32
	switch {
	case len(s.free) != 0:
		number = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
	case s.len >= maxRecords:
		return 0
	default:
		number, _ = s.add()
	}
	*s.at(number) = key{print: print}
	s.grow(k.hashOf(print[0]))
	s.put(print.hash(), number)
	return refOf(print[0], number)
}

// drop forgets a key that nothing has and no bar lies on.
func (k *keys) drop(r ref) {
	one := k.at(r)
	if one.first != 0 || one.held() != attestd.StateUnknown {
		return
	}
	shard, number := r.split()
	_, at := k.seek(one.print)
	k.shards[shard].remove(at, k.hashOf(shard))
	*one = key{}
	k.shards[shard].free = append(k.shards[shard].free, number)
}

// held returns what bars on the key say.
func (k *keys) held(of subject.Key) attestd.State {
	if r := k.find(k.print(of)); r != 0 {
		return k.at(r).held()
	}
	return attestd.StateUnknown
}
