package tpmtrust

import (
	"encoding/asn1"
	"errors"
	"unicode/utf8"
)

// der reads the contents of certificate extensions: definite lengths in shortest form, low tag
// numbers (ITU-T X.690, section 10.1). It never reads behind its input.
type der []byte

var errDER = errors.New("not DER of the expected shape")

// Tags with their class and constructed bits.
const (
	tagSequence = 0x30
	tagSet      = 0x31
	// tagDirectoryName is [4] EXPLICIT Name inside GeneralName (RFC 5280, section 4.2.1.6).
	tagDirectoryName = 0xa4
)

// next takes one element off the front.
func (d *der) next() (tag byte, value der, err error) {
	data := *d
	if len(data) < 2 || data[0]&0x1f == 0x1f {
		return 0, nil, errDER
	}
	tag, length, head := data[0], int(data[1]), 2
	if data[1] >= 0x80 {
		octets := int(data[1] & 0x7f)
		if octets == 0 || octets > 2 || len(data) < 2+octets {
			return 0, nil, errDER
		}
		length = 0
		for _, octet := range data[2 : 2+octets] {
			length = length<<8 | int(octet)
		}
		if head += octets; length < 0x80 || octets == 2 && length < 0x100 {
			return 0, nil, errDER
		}
	}
	if len(data)-head < length {
		return 0, nil, errDER
	}
	*d = data[head+length:]
	return tag, data[head : head+length : head+length], nil
}

// take takes one element of that tag.
func (d *der) take(want byte) (der, error) {
	tag, value, err := d.next()
	if err == nil && tag != want {
		err = errDER
	}
	return value, err
}

// only takes one element of that tag, behind which nothing follows.
func (d der) only(want byte) (der, error) {
	value, err := d.take(want)
	if err == nil && len(d) != 0 {
		err = errDER
	}
	return value, err
}

// text takes a UTF8String or PrintableString of 1 to limits.text bytes without control characters.
func (d *der) text() (string, error) {
	tag, value, err := d.next()
	if err != nil || tag != asn1.TagUTF8String && tag != asn1.TagPrintableString ||
		len(value) == 0 || len(value) > limits.text || !utf8.Valid(value) {
		return "", errDER
	}
	for _, letter := range string(value) {
		if letter < 0x20 || letter == 0x7f {
			return "", errDER
		}
	}
	return string(value), nil
}

// number takes an INTEGER from 0 to 2^64-1 in its shortest form.
func (d *der) number() (uint64, error) {
	value, err := d.take(asn1.TagInteger)
	if err != nil || len(value) == 0 || value[0]&0x80 != 0 {
		return 0, errDER
	}
	if len(value) > 1 && value[0] == 0 {
		if value[1]&0x80 == 0 {
			return 0, errDER
		}
		value = value[1:]
	}
	if len(value) > 8 {
		return 0, errDER
	}
	var number uint64
	for _, octet := range value {
		number = number<<8 | uint64(octet)
	}
	return number, nil
}

// boolean takes a BOOLEAN, which DER spells 0x00 or 0xff.
func (d *der) boolean() (bool, error) {
	value, err := d.take(asn1.TagBoolean)
	if err != nil || len(value) != 1 || value[0] != 0 && value[0] != 0xff {
		return false, errDER
	}
	return value[0] == 0xff, nil
}
