package eif

import (
	"encoding/binary"
	"math"

	"github.com/attestd/attestd/measurements/compute"
)

// Major types (RFC 8949, section 3.1).
const (
	majorUnsigned = 0
	majorNegative = 1
	majorBytes    = 2
	majorText     = 3
	majorArray    = 4
	majorMap      = 5
	majorTag      = 6
)

// reader takes CBOR items off bytes (RFC 8949). It knows what a signature section has, in its one
// shortest form: no indefinite lengths, no floats. The first fault stays, and all that is read
// after it is empty.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(want, got string, args ...any) {
	if r.err == nil {
		r.err = compute.Malformed(want, got, args...)
	}
	r.rest = nil
}

// peek returns the major type of the next item, or 255 at the end.
func (r *reader) peek() byte {
	if len(r.rest) == 0 {
		return 255
	}
	return r.rest[0] >> 5
}

// head reads an item's head of a major type and returns its argument.
func (r *reader) head(major byte, what string) uint64 {
	if got := r.peek(); got != major {
		r.fail("another type there", "%s of major type %d in the signature", what, got)
		return 0
	}
	short := r.rest[0] & 31
	r.rest = r.rest[1:]
	if short < 24 {
		return uint64(short)
	}
	width, least := 1<<(short-24), uint64(24)
	if short > 27 || len(r.rest) < width {
		r.fail("a length inside it", "%s without one in the signature", what)
		return 0
	}
	var value uint64
	switch width {
	case 1:
		value = uint64(r.rest[0])
	case 2:
		value, least = uint64(binary.BigEndian.Uint16(r.rest)), 1<<8
	case 4:
		value, least = uint64(binary.BigEndian.Uint32(r.rest)), 1<<16
	default:
		value, least = binary.BigEndian.Uint64(r.rest), 1<<32
	}
	r.rest = r.rest[width:]
	if value < least {
		r.fail("the shortest form", "%s in a longer one in the signature", what)
		return 0
	}
	return value
}

// exactly reads a head whose argument must be one number.
func (r *reader) exactly(major byte, count uint64, what string) {
	if got := r.head(major, what); r.err == nil && got != count {
		r.fail("another number", "%s of %d in the signature", what, got)
	}
}

// text reads a text that must be one word.
func (r *reader) text(word string) {
	got := r.string(majorText, word)
	if r.err == nil && string(got) != word {
		r.fail(word, "another name in the signature")
	}
}

// string reads a string of bytes or text.
func (r *reader) string(major byte, what string) []byte {
	size := r.head(major, what)
	if size > uint64(len(r.rest)) {
		r.fail("a length inside it", "%s of %d bytes in the signature", what, size)
		return nil
	}
	out := r.rest[:size:size]
	r.rest = r.rest[size:]
	return out
}

// numbers reads bytes that are written as an array of numbers, which is how the library that builds
// images writes all bytes but those of the signature itself.
func (r *reader) numbers(what string) []byte {
	count := r.head(majorArray, what)
	if count > uint64(len(r.rest)) {
		r.fail("a length inside it", "%s of %d numbers in the signature", what, count)
		return nil
	}
	out := make([]byte, 0, count)
	for range count {
		value := r.head(majorUnsigned, what)
		if value > math.MaxUint8 {
			r.fail("bytes", "%s with the number %d in the signature", what, value)
		}
		out = append(out, byte(value))
	}
	return out
}

// end refuses anything left over.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("nothing behind it", "%d bytes behind %s in the signature", len(r.rest), what)
	}
	return r.err
}
