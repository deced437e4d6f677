package tdxevidence

import (
	"encoding/binary"
	"fmt"
)

// Marshal returns the one encoding of the evidence.
//
// Errors: where [Parse] would refuse it: there is no quote, or a part is over its limit.
func (e Evidence) Marshal() ([]byte, error) {
	pairs := byte(2)
	out := make([]byte, 1, len(prefix)+16+len(e.Quote)+len(e.EventLog))
	out = append(out, prefix...)
	out = appendPart(out, keyQuote, e.Quote)
	if len(e.EventLog) != 0 {
		pairs++
		out = appendPart(out, keyEventLog, e.EventLog)
	}
	out[0] = 0xa0 | pairs
	if _, err := Parse(out); err != nil {
		return nil, fmt.Errorf("evidence that cannot be read back: %w", err)
	}
	return out, nil
}

// appendPart writes a key and a byte string, its length in the shortest form (RFC 8949, section 4.2.1).
func appendPart(out []byte, key uint64, data []byte) []byte {
	out = append(out, byte(key))
	size := uint64(len(data))
	switch {
	case size < 24:
		out = append(out, 0x40|byte(size))
	case size < 1<<8:
		out = append(out, 0x58, byte(size))
	case size < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0x59), uint16(size))
	default: // Parse refuses what does not fit
		out = binary.BigEndian.AppendUint32(append(out, 0x5a), uint32(size)) //nolint:gosec // see above
	}
	return append(out, data...)
}
