package live

import (
	"encoding/hex"
	"strings"
	"sync/atomic"

	"github.com/attestd/attestd/internal/subject"
)

// Forms in which an entry keeps the last segment of its id; any other number is the length of a
// segment kept as text.
const (
	formHex   = 0xff // 64 lower-case hexadecimal digits, kept as 32 bytes
	formWhole = 0xfe // the id as it was published, in the shard's texts
	segment   = 40   // holds a UUID, and the module id of an enclave
)

// words numbers strings that many entries share. Numbers are given under the index's publishing
// lock; reading needs none.
type words struct {
	number map[string]uint32
	list   atomic.Pointer[[]string]
}

func newWords() *words {
	w := &words{number: map[string]uint32{}}
	w.list.Store(&[]string{})
	return w
}

func (w *words) text(number uint32) string { return (*w.list.Load())[number] }

func (w *words) take(text string) uint32 {
	number, there := w.number[text]
	if !there {
		list := append(*w.list.Load(), text)
		number = uint32(len(list) - 1) //nolint:gosec // prefixes are bounded, tenants and formats few
		w.number[strings.Clone(text)] = number
		w.list.Store(&list)
	}
	return number
}

// maxPrefixes is how many prefixes of ids are shared; ids under others are kept whole.
const maxPrefixes = 4096

func cut(id string) (prefix, last string) {
	at := strings.LastIndexByte(id, '/') + 1
	return id[:at], id[at:]
}

// setName stores the id in the entry, or says that the shard must keep it whole.
func (x *Index) setName(e *entry, id subject.ID, folded string) {
	e.form = formWhole
	prefix, last := cut(string(id))
	_, there := x.prefixes.number[prefix]
	if folded != string(id) || !there && len(x.prefixes.number) >= maxPrefixes {
		return
	}
	switch {
	case len(last) == 64 && unhex((*[32]byte)(e.last[:]), last):
		e.form = formHex
	case len(last) <= segment:
		e.form = uint8(copy(e.last[:], last)) //nolint:gosec // at most 40
	default:
		return
	}
	e.prefix = uint16(x.prefixes.take(prefix)) //nolint:gosec // below maxPrefixes
}

// isNamed reports whether the entry's id is folded, which is in its folded form.
func (x *Index) isNamed(s *shard, number uint32, e *entry, folded string) bool {
	if e.form == formWhole {
		return strings.ToLower(s.texts[number]) == folded
	}
	prefix, last := cut(folded)
	if x.prefixes.text(uint32(e.prefix)) != prefix {
		return false
	}
	if e.form == formHex {
		var digest [32]byte
		return len(last) == 64 && unhex(&digest, last) && digest == [32]byte(e.last[:])
	}
	return last == string(e.last[:e.form])
}

// name returns the id as it was published.
func (x *Index) name(s *shard, number uint32, e *entry) subject.ID {
	switch e.form {
	case formWhole:
		return subject.ID(s.texts[number])
	case formHex:
		return subject.ID(x.prefixes.text(uint32(e.prefix)) + hex.EncodeToString(e.last[:32]))
	default:
		return subject.ID(x.prefixes.text(uint32(e.prefix)) + string(e.last[:e.form]))
	}
}

// nibbles has the value of each lower-case hexadecimal digit, 0xff for everything else.
var nibbles = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i, digit := range []byte("0123456789abcdef") {
		values[digit] = byte(i)
	}
	return values
}()

// unhex reads 64 lower-case digits; text must have that length.
func unhex(into *[32]byte, text string) bool {
	var bad byte
	for i := range into {
		high, low := nibbles[text[2*i]], nibbles[text[2*i+1]]
		bad |= high | low
		into[i] = high<<4 | low&0xf
	}
	return bad < 16
}
