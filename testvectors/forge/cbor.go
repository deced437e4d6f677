package forge

import (
	"bytes"
	"encoding/binary"
)

// Encoded CBOR items (RFC 8949), so that tests can put together what no encoder would write.

// CBORHead returns the head of an item of a major type in its shortest form.
func CBORHead(major byte, argument uint64) []byte {
	major <<= 5
	switch {
	case argument < 24:
		return []byte{major | byte(argument)}
	case argument < 1<<8:
		return []byte{major | 24, byte(argument)}
	case argument < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{major | 25}, uint16(argument))
	case argument < 1<<32:
		return binary.BigEndian.AppendUint32([]byte{major | 26}, uint32(argument))
	default:
		return binary.BigEndian.AppendUint64([]byte{major | 27}, argument)
	}
}

// CBORUint returns an unsigned integer.
func CBORUint(v uint64) []byte { return CBORHead(0, v) }

// CBORNegative returns the integer -1-v.
func CBORNegative(v uint64) []byte { return CBORHead(1, v) }

// CBORBytes returns a byte string.
func CBORBytes(v []byte) []byte { return append(CBORHead(2, uint64(len(v))), v...) }

// CBORText returns a text string.
func CBORText(v string) []byte { return append(CBORHead(3, uint64(len(v))), v...) }

// CBORArray returns an array of encoded items.
func CBORArray(items ...[]byte) []byte {
	return append(CBORHead(4, uint64(len(items))), bytes.Join(items, nil)...)
}

// CBORTag returns an item behind a tag.
func CBORTag(number uint64, item []byte) []byte { return append(CBORHead(6, number), item...) }

// CBORNull returns null.
func CBORNull() []byte { return []byte{0xf6} }

// CBORField is a pair of a map, both parts encoded.
type CBORField struct{ Key, Value []byte }

// CBORMap returns a map of the pairs in their order.
func CBORMap(fields ...CBORField) []byte {
	out := CBORHead(5, uint64(len(fields)))
	for _, field := range fields {
		out = append(append(out, field.Key...), field.Value...)
	}
	return out
}

// CBOROpenMap returns a map of indefinite length.
func CBOROpenMap(fields ...CBORField) []byte {
	out := []byte{0xbf}
	for _, field := range fields {
		out = append(append(out, field.Key...), field.Value...)
	}
	return append(out, 0xff)
}

// SetField replaces the value of the pair with that text key, or appends the pair.
func SetField(fields []CBORField, key string, value []byte) []CBORField {
	encoded := CBORText(key)
	for index := range fields {
		if bytes.Equal(fields[index].Key, encoded) {
			fields[index].Value = value
			return fields
		}
	}
	return append(fields, CBORField{Key: encoded, Value: value})
}

// DropField removes the pair with that text key.
func DropField(fields []CBORField, key string) []CBORField {
	encoded := CBORText(key)
	kept := make([]CBORField, 0, len(fields))
	for _, field := range fields {
		if !bytes.Equal(field.Key, encoded) {
			kept = append(kept, field)
		}
	}
	return kept
}
