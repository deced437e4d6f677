package live

// chunkLen is how many records are allocated at a time: 128 entries, and as many keys, fill a size of
// the allocator's without waste. Records never move, so that growing copies nothing but slots.
const chunkLen = 128

// arena holds records by number, from 0 on.
type arena[T any] struct {
	chunks []*[chunkLen]T
	len    uint32
}

func (a *arena[T]) at(number uint32) *T { return &a.chunks[number/chunkLen][number%chunkLen] }

func (a *arena[T]) add() (uint32, *T) {
	if a.len%chunkLen == 0 {
		a.chunks = append(a.chunks, new([chunkLen]T))
	}
	a.len++
	return a.len - 1, a.at(a.len - 1)
}

// A slot is 12 bits of a hash above the number of a record plus one; 0 is empty. With 256 shards that
// is room for 268 million records; one more is not taken up, and is refused as unknown.
const (
	tagShift   = 20
	slotNumber = 1<<tagShift - 1
	maxRecords = slotNumber - 1
)

// table finds the numbers of records by hash: linear probing from where the high bits of the hash
// say, tags from the low ones.
type table struct {
	slots []uint32
	used  int
}

func (t *table) home(hash uint32) uint32 {
	return uint32(uint64(hash) * uint64(len(t.slots)) >> 32)
}

func (t *table) after(at uint32) uint32 {
	if at++; int(at) == len(t.slots) {
		return 0
	}
	return at
}

func slotOf(hash, number uint32) uint32 { return hash<<tagShift | (number + 1) }

// grow makes room for one more. A shard's slots are all that is ever copied at once.
func (t *table) grow(hashOf func(number uint32) uint32) {
	const start = 16
	if t.used*5 < len(t.slots)*4 {
		return
	}
	old := t.slots
	t.slots = make([]uint32, max(start, len(old)*3/2))
	t.used = 0
	for _, slot := range old {
		if slot != 0 {
			number := slot&slotNumber - 1
			t.put(hashOf(number), number)
		}
	}
}

// put files a number that is not there yet; grow comes first.
func (t *table) put(hash, number uint32) {
	at := t.home(hash)
	for t.slots[at] != 0 {
		at = t.after(at)
	}
	t.slots[at] = slotOf(hash, number)
	t.used++
}

// remove empties the slot at, and moves those behind it that would no longer be found.
func (t *table) remove(at uint32, hashOf func(number uint32) uint32) {
	size := uint32(len(t.slots)) //nolint:gosec // at most 2^20 and half of that again
	for next := t.after(at); t.slots[next] != 0; next = t.after(next) {
		home := t.home(hashOf(t.slots[next]&slotNumber - 1))
		// It may move to the gap where the gap lies between its home and where it is, going round.
		if (next+size-home)%size >= (next+size-at)%size {
			t.slots[at] = t.slots[next]
			at = next
		}
	}
	t.slots[at] = 0
	t.used--
}
