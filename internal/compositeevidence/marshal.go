package compositeevidence

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Marshal returns the one encoding of the devices, whatever their order in e.
//
// Errors: where [Parse] would refuse it: no device, a path twice or that is none, an empty part, too
// many or too large ones.
func (e Evidence) Marshal() ([]byte, error) {
	devices := slices.SortedFunc(slices.Values(e.Devices), func(a, b Device) int {
		return cmp.Compare(a.Path, b.Path)
	})
	out := appendHead([]byte(prefix), 4, uint64(len(devices)))
	for _, device := range devices {
		out = appendHead(out, 4, 3)
		out = append(appendHead(out, 3, uint64(len(device.Path))), device.Path...)
		out = append(appendHead(out, 3, uint64(len(device.Format))), device.Format...)
		out = append(appendHead(out, 2, uint64(len(device.Evidence))), device.Evidence...)
	}
	if _, err := Parse(out); err != nil {
		return nil, fmt.Errorf("evidence that cannot be read back: %w", err)
	}
	return out, nil
}

// appendHead writes the head of an item with its argument in the shortest form (RFC 8949, section
// 4.2.1).
func appendHead(out []byte, major byte, argument uint64) []byte {
	major <<= 5
	switch {
	case argument < 24:
		return append(out, major|byte(argument))
	case argument < 1<<8:
		return append(out, major|24, byte(argument))
	case argument < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, major|25), uint16(argument))
	case argument < 1<<32:
		return binary.BigEndian.AppendUint32(append(out, major|26), uint32(argument))
	default:
		return binary.BigEndian.AppendUint64(append(out, major|27), argument)
	}
}
