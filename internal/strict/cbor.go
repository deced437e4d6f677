package strict

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// Kind is the major type of a CBOR item (RFC 8949 section 3.1), as far as this package reads them.
type Kind uint8

// Kinds of items.
const (
	KindInvalid  Kind = iota // end of input
	KindUint                 // major type 0
	KindNegative             // major type 1
	KindBytes                // major type 2
	KindText                 // major type 3
	KindArray                // major type 4
	KindMap                  // major type 5
	KindTag                  // major type 6: never read, only named
	KindNull                 // simple value 22
	KindBreak                // the stop code 0xff
	KindOther                // floats and other simple values: never read, only named
)

var kindNames = [...]string{
	"the end of the input", "an unsigned integer", "a negative integer", "a byte string",
	"a text string", "an array", "a map", "a tag", "null", "a break", "a float or simple value",
}

// String names the kind with its article.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "an unknown kind"
}

// SyntaxError says where input leaves the encoding, and how.
type SyntaxError struct {
	// Offset in bytes from the start of the input that the reader was given.
	Offset  int
	Problem string
}

// Error names the problem and its place.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Problem, e.Offset) }

// CBOR is a cursor over one CBOR encoding (RFC 8949). It copies nothing: strings that it returns are
// parts of the input. It never recurses and allocates only for errors. After an error the position is
// unspecified and the input is to be dropped.
type CBOR struct {
	data []byte
	off  int
}

// NewCBOR returns a cursor at the start of data.
func NewCBOR(data []byte) CBOR { return CBOR{data: data} }

// Offset returns the number of bytes read.
func (c *CBOR) Offset() int { return c.off }

// Kind returns the kind of the next item and reads nothing.
func (c *CBOR) Kind() Kind {
	if c.off >= len(c.data) {
		return KindInvalid
	}
	initial := c.data[c.off]
	switch {
	case initial>>5 < 7:
		return KindUint + Kind(initial>>5)
	case initial == 0xf6:
		return KindNull
	case initial == 0xff:
		return KindBreak
	default:
		return KindOther
	}
}

// Uint reads an unsigned integer.
func (c *CBOR) Uint() (uint64, error) { return c.head(KindUint) }

// Int reads a signed integer.
func (c *CBOR) Int() (int64, error) {
	start, negative := c.off, c.Kind() == KindNegative
	kind := KindUint
	if negative {
		kind = KindNegative
	}
	number, err := c.head(kind)
	if err != nil {
		return 0, err
	}
	if number > math.MaxInt64 {
		return 0, c.wrong(start, "an integer beyond 64 bits with sign")
	}
	if negative {
		return -1 - int64(number), nil
	}
	return int64(number), nil
}

// Bytes reads a byte string of definite length. The result is a part of the input and never nil.
func (c *CBOR) Bytes() ([]byte, error) { return c.str(KindBytes) }

// Text reads a text string of definite length in valid UTF-8. The result is a part of the input.
func (c *CBOR) Text() ([]byte, error) {
	start := c.off
	text, err := c.str(KindText)
	if err != nil {
		return nil, err
	}
	// RFC 8949 section 3.1: "a text string ... encoded as UTF-8"; a decoder that replaces bad bytes
	// makes two different keys equal.
	if !utf8.Valid(text) {
		return nil, c.wrong(start, "a text string in invalid UTF-8")
	}
	return text, nil
}

// Array reads the head of an array of definite length and returns its number of items, at most limit.
func (c *CBOR) Array(limit int) (int, error) { return c.count(KindArray, limit) }

// Map reads the head of a map of definite length and returns its number of pairs, at most limit.
func (c *CBOR) Map(limit int) (int, error) { return c.count(KindMap, limit) }

// OpenMap reads the head of a map of definite or indefinite length (RFC 8949 section 3.2.2). The
// caller reads pairs until Pairs.More returns false.
func (c *CBOR) OpenMap(limit int) (Pairs, error) {
	if c.off < len(c.data) && c.data[c.off] == 0xbf {
		c.off++
		return Pairs{cursor: c, left: limit, open: true}, nil
	}
	count, err := c.Map(limit)
	return Pairs{cursor: c, left: count}, err
}

// Pairs counts the pairs of a map that are still to be read.
type Pairs struct {
	cursor *CBOR
	left   int
	open   bool
}

// Indefinite reports whether the map was of indefinite length.
func (p *Pairs) Indefinite() bool { return p.open }

// More reports whether another pair follows; at the end of an open map it reads the break.
func (p *Pairs) More() (bool, error) {
	if p.open && p.cursor.Kind() == KindBreak {
		p.cursor.off++
		return false, nil
	}
	if p.left == 0 {
		if p.open {
			return false, p.cursor.wrong(p.cursor.off, "a map with more pairs than allowed")
		}
		return false, nil
	}
	p.left--
	return true, nil
}

// Null reads a null and reports whether one was there; anything else is left unread.
func (c *CBOR) Null() bool {
	if c.Kind() != KindNull {
		return false
	}
	c.off++
	return true
}

// End returns an error where bytes are left. An attacker could hide in them what another parser reads.
func (c *CBOR) End() error {
	if c.off != len(c.data) {
		return c.wrong(c.off, fmt.Sprintf("%d trailing bytes", len(c.data)-c.off))
	}
	return nil
}

func (c *CBOR) str(kind Kind) ([]byte, error) {
	start := c.off
	length, err := c.head(kind)
	if err != nil {
		return nil, err
	}
	if length > uint64(len(c.data)-c.off) {
		return nil, c.wrong(start, fmt.Sprintf("%s longer than the input", kind))
	}
	end := c.off + int(length) //nolint:gosec // at most the input's length
	part := c.data[c.off:end:end]
	c.off = end
	return part, nil
}

func (c *CBOR) count(kind Kind, limit int) (int, error) {
	start := c.off
	count, err := c.head(kind)
	if err != nil {
		return 0, err
	}
	// An item takes a byte at least: a head of 2^28 items over 8 bytes of input ends here, before
	// anybody makes room for them.
	if count > uint64(len(c.data)-c.off) {
		return 0, c.wrong(start, fmt.Sprintf("%s with more items than the input has bytes", kind))
	}
	if count > uint64(max(limit, 0)) {
		return 0, c.wrong(start, fmt.Sprintf("%s of %d items where %d are allowed", kind, count, limit))
	}
	return int(count), nil //nolint:gosec // at most limit
}

// head reads the head of an item of the wanted kind: RFC 8949 section 3, with the "preferred
// serialization" of section 4.1 demanded: the shortest form of the argument.
func (c *CBOR) head(want Kind) (uint64, error) {
	start := c.off
	if got := c.Kind(); got != want {
		return 0, c.wrong(start, fmt.Sprintf("%s in place of %s", got, want))
	}
	info := c.data[start] & 0x1f
	c.off++
	if info < 24 {
		return uint64(info), nil
	}
	if info > 27 {
		if info == 31 {
			return 0, c.wrong(start, fmt.Sprintf("%s of indefinite length", want))
		}
		return 0, c.wrong(start, "a reserved length")
	}
	size := 1 << (info - 24)
	if size > len(c.data)-c.off {
		return 0, c.wrong(start, "an item cut off in its head")
	}
	var number uint64
	for _, b := range c.data[c.off : c.off+size] {
		number = number<<8 | uint64(b)
	}
	c.off += size
	// RFC 8949 section 4.2.1: "Preferred serialization MUST be used." Without this line one value has
	// five spellings, and a parser that stops at the first sees another document than we do.
	if number < shortest[info-24] {
		return 0, c.wrong(start, "an integer or length that is not in its shortest form")
	}
	return number, nil
}

// shortest holds the least argument that needs 1, 2, 4 and 8 bytes behind the initial byte.
var shortest = [4]uint64{24, 1 << 8, 1 << 16, 1 << 32}

func (c *CBOR) wrong(offset int, problem string) error {
	return &SyntaxError{Offset: offset, Problem: problem}
}
