package crl

import (
	"encoding/asn1"
	"errors"
	"time"
)

// der reads elements of DER (ITU-T X.690, sections 8.1 and 10.1): definite lengths in their
// shortest form, low tag numbers. It never reads behind its input.
type der []byte

var errDER = errors.New("not DER of a CertificateList's shape")

// next takes one element off the front; whole has its header.
func (d *der) next() (tag byte, value, whole der, err error) {
	data := *d
	if len(data) < 2 || data[0]&0x1f == 0x1f {
		return 0, nil, nil, errDER
	}
	tag, length, head := data[0], int(data[1]), 2
	if data[1] >= 0x80 {
		octets := int(data[1] & 0x7f)
		if octets == 0 || octets > 3 || len(data) < 2+octets || data[2] == 0 {
			return 0, nil, nil, errDER
		}
		length = 0
		for _, octet := range data[2 : 2+octets] {
			length = length<<8 | int(octet)
		}
		if head += octets; length < 0x80 {
			return 0, nil, nil, errDER
		}
	}
	if len(data)-head < length {
		return 0, nil, nil, errDER
	}
	end := head + length
	*d = data[end:]
	return tag, data[head:end:end], data[:end:end], nil
}

// take takes one element of that tag.
func (d *der) take(want byte) (der, error) {
	tag, value, _, err := d.next()
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

// is reports whether an element of that tag is next.
func (d der) is(tag byte) bool { return len(d) > 0 && d[0] == tag }

// integer takes an INTEGER in its shortest form that is not negative, and returns its contents:
// with a leading zero where the number would otherwise read as negative.
func (d *der) integer() (der, error) {
	value, err := d.take(asn1.TagInteger)
	if err != nil || len(value) == 0 || value[0]&0x80 != 0 ||
		len(value) > 1 && value[0] == 0 && value[1]&0x80 == 0 {
		return nil, errDER
	}
	return value, nil
}

// moment takes a Time (RFC 5280, section 5.1.2.4): UTCTime or GeneralizedTime in UTC, with seconds
// and without fractions.
func (d *der) moment() (time.Time, error) {
	tag, value, _, err := d.next()
	layout, want := "060102150405Z", byte(asn1.TagUTCTime)
	if tag == asn1.TagGeneralizedTime {
		layout, want = "20060102150405Z", tag
	}
	if err != nil || tag != want || len(value) == 0 {
		return time.Time{}, errDER
	}
	for _, digit := range value[:len(value)-1] {
		if digit < '0' || digit > '9' { // time.Parse would take a sign
			return time.Time{}, errDER
		}
	}
	read, err := time.Parse(layout, string(value)) // which wants every digit of the layout
	if err != nil {
		return time.Time{}, errDER
	}
	// RFC 5280 section 4.1.2.5.1: two digits from 50 on are of the last century. Go says 69.
	if tag == asn1.TagUTCTime && read.Year() >= 2050 {
		read = read.AddDate(-100, 0, 0)
	}
	return read, nil
}
