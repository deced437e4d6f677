package azureevidence

import (
	"encoding/binary"
	"fmt"
)

// Marshal returns the one encoding of the evidence.
//
// Errors: where [Parse] would refuse it: a mandatory part is missing, or a part is over its limit.
func (e Evidence) Marshal() ([]byte, error) {
	w := writer{out: append(make([]byte, 1, len(prefix)+len(e.HCLReport)+len(e.TPM)+len(e.TDQuote)+64),
		prefix...), pairs: 1}
	w.part(keyHCLReport, e.HCLReport)
	w.part(keyTPM, e.TPM)
	w.part(keyTDQuote, e.TDQuote)
	if len(e.Certificates) != 0 {
		w.pair(keyCertificates)
		w.head(4, uint64(len(e.Certificates)))
		for _, certificate := range e.Certificates {
			w.bytes(certificate)
		}
	}
	w.out[0] = 0xa0 | w.pairs
	if _, err := Parse(w.out); err != nil {
		return nil, fmt.Errorf("evidence that cannot be read back: %w", err)
	}
	return w.out, nil
}

// writer writes the pairs of the map, in the order in which they are given.
type writer struct {
	out   []byte
	pairs byte
}

func (w *writer) pair(key uint64) {
	w.pairs++
	w.head(0, key)
}

func (w *writer) part(key uint64, data []byte) {
	if len(data) != 0 {
		w.pair(key)
		w.bytes(data)
	}
}

func (w *writer) bytes(data []byte) {
	w.head(2, uint64(len(data)))
	w.out = append(w.out, data...)
}

// head writes the head of an item with its argument in the shortest form (RFC 8949, section 4.2.1).
func (w *writer) head(major byte, argument uint64) {
	major <<= 5
	switch {
	case argument < 24:
		w.out = append(w.out, major|byte(argument))
	case argument < 1<<8:
		w.out = append(w.out, major|24, byte(argument))
	case argument < 1<<16:
		w.out = binary.BigEndian.AppendUint16(append(w.out, major|25), uint16(argument))
	default: // Parse refuses what does not fit
		w.out = binary.BigEndian.AppendUint32(append(w.out, major|26), uint32(argument)) //nolint:gosec // see above
	}
}
