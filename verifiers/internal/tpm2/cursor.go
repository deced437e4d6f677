package tpm2

import (
	"encoding/binary"
	"fmt"
)

// Reason says what kind of fault a reader met.
type Reason uint8

// Reasons. The zero Reason is the general one.
const (
	// ReasonSyntax: lengths, reserved bits, trailing bytes, selectors out of place.
	ReasonSyntax Reason = iota
	// ReasonMagic: a TPMS_ATTEST that no TPM generated.
	ReasonMagic
	// ReasonType: an attestation of another type than quote and certify.
	ReasonType
	// ReasonAlgorithm: an algorithm that is not read here.
	ReasonAlgorithm
)

// Error says where a structure leaves its definition, and how.
type Error struct {
	// Structure is the TCG name of the structure that was read.
	Structure string
	// Offset in bytes from its start.
	Offset  int
	Problem string
	Reason  Reason
}

// Error names structure, problem and place.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s at byte %d", e.Structure, e.Problem, e.Offset)
}

// cursor reads big-endian fields. After the first fault every read returns zero and the fault stays,
// so that a structure is read in a straight line and judged once at its end.
type cursor struct {
	data      []byte
	off       int
	structure string
	fault     *Error
}

func (c *cursor) failAs(reason Reason, offset int, problem string) {
	if c.fault == nil {
		c.fault = &Error{Structure: c.structure, Offset: offset, Problem: problem, Reason: reason}
	}
}

func (c *cursor) fail(offset int, problem string) { c.failAs(ReasonSyntax, offset, problem) }

// take returns the next n bytes, or nil.
func (c *cursor) take(n int, name string) []byte {
	if c.fault != nil {
		return nil
	}
	if n > len(c.data)-c.off {
		c.fail(c.off, name+" is cut off")
		return nil
	}
	part := c.data[c.off : c.off+n : c.off+n]
	c.off += n
	return part
}

func (c *cursor) u8(name string) uint8 {
	if part := c.take(1, name); part != nil {
		return part[0]
	}
	return 0
}

func (c *cursor) u16(name string) uint16 {
	if part := c.take(2, name); part != nil {
		return binary.BigEndian.Uint16(part)
	}
	return 0
}

func (c *cursor) u32(name string) uint32 {
	if part := c.take(4, name); part != nil {
		return binary.BigEndian.Uint32(part)
	}
	return 0
}

func (c *cursor) u64(name string) uint64 {
	if part := c.take(8, name); part != nil {
		return binary.BigEndian.Uint64(part)
	}
	return 0
}

// sized reads a TPM2B of at most limit bytes.
func (c *cursor) sized(limit int, name string) []byte {
	start := c.off
	size := int(c.u16(name))
	if size > limit {
		c.fail(start, fmt.Sprintf("%s of %d bytes where %d are allowed", name, size, limit))
		return nil
	}
	return c.take(size, name)
}

// end refuses bytes behind the structure. An attacker could hide in them what another reader takes
// for a second structure; go-tpm leaves them unread.
func (c *cursor) end() error {
	if c.fault == nil && c.off != len(c.data) {
		c.fail(c.off, fmt.Sprintf("%d trailing bytes", len(c.data)-c.off))
	}
	if c.fault != nil {
		return c.fault
	}
	return nil
}
