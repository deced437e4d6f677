package imports

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"
)

// kind is the major type of a CBOR item (RFC 8949, section 3.1).
type kind uint8

const (
	kindUint kind = iota
	kindNegative
	kindBytes
	kindText
	kindArray
	kindMap
	kindTag
	kindSimple // false, true and null
)

// Limits of one CBOR document.
const (
	maxDepth = 24
	maxItems = 200_000
)

// item is one CBOR item with what is in it. It aliases the input.
type item struct {
	kind kind
	// number of an integer (of a negative one n, for -1-n), a tag, or a simple value.
	number uint64
	// text of a byte or text string.
	text []byte
	// items of an array; of a map, keys and values in turn; of a tag, its content.
	items []item
	// raw is the whole item as it is encoded.
	raw []byte
}

// decode reads exactly one item. Refused are: indefinite lengths, integers and lengths that are not in
// their shortest form, floats, simple values other than false, true and null, keys that stand twice,
// text that is not UTF-8, bytes behind the item, and what is deeper or more than the limits.
func decode(data []byte) (item, error) {
	d := decoder{rest: data, total: len(data)}
	out, err := d.item(0)
	if err == nil && len(d.rest) > 0 {
		err = d.wrong("%d bytes behind the end", len(d.rest))
	}
	if err != nil {
		return item{}, err
	}
	return out, nil
}

type decoder struct {
	rest  []byte
	total int
	items int
}

func (d *decoder) wrong(format string, args ...any) error {
	return fmt.Errorf("CBOR at byte %d: "+format, append([]any{d.total - len(d.rest)}, args...)...)
}

func (d *decoder) item(depth int) (item, error) {
	if d.items++; d.items > maxItems || depth > maxDepth {
		return item{}, d.wrong("more than %d items, or deeper than %d", maxItems, maxDepth)
	}
	from := d.rest
	major, number, err := d.head()
	if err != nil {
		return item{}, err
	}
	out := item{kind: kind(major), number: number}
	switch out.kind {
	case kindUint, kindNegative, kindSimple:
	case kindBytes, kindText:
		if number > uint64(len(d.rest)) {
			return item{}, d.wrong("a string of %d bytes, of which %d are there", number, len(d.rest))
		}
		out.text, d.rest = d.rest[:number:number], d.rest[number:]
		if out.kind == kindText && !utf8.Valid(out.text) {
			return item{}, d.wrong("text that is not UTF-8")
		}
	default:
		if err := d.children(&out, depth); err != nil {
			return item{}, err
		}
	}
	out.raw = from[:len(from)-len(d.rest)]
	return out, nil
}

// children reads what is in an array, a map or a tag.
func (d *decoder) children(out *item, depth int) error {
	count := out.number
	switch out.kind {
	case kindTag:
		count = 1
	case kindMap:
		count *= 2
	}
	// Each item has a byte at least, so that a count cannot make us allocate more than was sent.
	if count > uint64(len(d.rest)) || out.number > maxItems {
		return d.wrong("%d items, of which %d bytes are there", count, len(d.rest))
	}
	var keys map[string]bool
	if out.kind == kindMap {
		keys = make(map[string]bool, out.number)
	}
	out.items = make([]item, 0, min(count, 64))
	for i := range count {
		child, err := d.item(depth + 1)
		if err != nil {
			return err
		}
		if keys != nil && i%2 == 0 {
			if keys[string(child.raw)] {
				return d.wrong("a key stands twice")
			}
			keys[string(child.raw)] = true
		}
		out.items = append(out.items, child)
	}
	return nil
}

// head reads the initial byte and its argument.
func (d *decoder) head() (major byte, number uint64, err error) {
	if len(d.rest) == 0 {
		return 0, 0, d.wrong("the end, where an item was expected")
	}
	initial := d.rest[0]
	major, info := initial>>5, initial&0x1f
	d.rest = d.rest[1:]
	if major == 7 {
		if info < 20 || info > 22 {
			return 0, 0, d.wrong("a float, a break or an unknown simple value")
		}
		return major, uint64(info), nil
	}
	if info < 24 {
		return major, uint64(info), nil
	}
	if info > 27 {
		return 0, 0, d.wrong("an indefinite or reserved length")
	}
	width := 1 << (info - 24)
	if len(d.rest) < width {
		return 0, 0, d.wrong("the end, inside an item")
	}
	var wide [8]byte
	copy(wide[8-width:], d.rest)
	d.rest = d.rest[width:]
	number = binary.BigEndian.Uint64(wide[:])
	least := []uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]
	if number < least {
		return 0, 0, d.wrong("a number that is not in its shortest form")
	}
	return major, number, nil
}

// get returns the value of an integer key of a map.
func (i item) get(key int64) (item, bool) {
	if i.kind != kindMap {
		return item{}, false
	}
	for at := 0; at < len(i.items); at += 2 {
		if n, ok := i.items[at].integer(); ok && n == key {
			return i.items[at+1], true
		}
	}
	return item{}, false
}

// integer returns the value of an integer that fits.
func (i item) integer() (int64, bool) {
	switch {
	case i.number > 1<<62:
		return 0, false
	case i.kind == kindUint:
		return int64(i.number), true //nolint:gosec // bounded above
	case i.kind == kindNegative:
		return -1 - int64(i.number), true //nolint:gosec // bounded above
	default:
		return 0, false
	}
}

// tagged returns the content of a tag with the number.
func (i item) tagged(number uint64) (item, bool) {
	if i.kind != kindTag || i.number != number {
		return item{}, false
	}
	return i.items[0], true
}

// only reports the first key of a map that is none of the known ones.
func (i item) only(known ...int64) (foreign string, ok bool) {
	for at := 0; at < len(i.items); at += 2 {
		if n, whole := i.items[at].integer(); !whole || !slices.Contains(known, n) {
			return i.items[at].String(), false
		}
	}
	return "", true
}

// String names an item as people are told of it.
func (i item) String() string {
	switch i.kind {
	case kindText:
		return fmt.Sprintf("%q", i.text)
	case kindUint, kindNegative:
		if n, ok := i.integer(); ok {
			return fmt.Sprint(n)
		}
		return "a large number"
	case kindBytes:
		return fmt.Sprintf("h'%x'", i.text[:min(len(i.text), 16)])
	case kindTag:
		return fmt.Sprintf("%d(%s)", i.number, i.items[0].String())
	case kindArray:
		return fmt.Sprintf("an array of %d", len(i.items))
	case kindMap:
		return fmt.Sprintf("a map of %d", len(i.items)/2)
	default:
		return "a simple value"
	}
}
