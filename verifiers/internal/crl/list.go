package crl

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// List is a revocation list that its issuer signed. It never changes and may be shared.
type List struct {
	// From is thisUpdate. Until is nextUpdate; where the list has none it is From, because then
	// nothing says that the list is current.
	From, Until time.Time
	// Number is the CRL number, big-endian and without leading zeros: empty for 0, nil for none.
	Number []byte
	// Points are the URIs of the distribution point that the list is for alone; none for a list of
	// all certificates of its issuer.
	Points []string
	// Unusable says what of the list is not understood, so that nothing can be concluded from it.
	Unusable error

	issuer  []byte
	text    string
	serials map[string]struct{}
}

// maxNumber is the longest CRL number, and the longest serial number, in bytes of contents (RFC
// 5280, sections 5.2.3 and 4.1.2.2: 20 octets, to which DER may add a zero).
const maxNumber = 21

// maxPoints bounds the URIs of a distribution point.
const maxPoints = 16

// readList reads what stands behind the outline.
func readList(o Outline) (*List, error) {
	// One copy of the bytes serves all serial numbers, as pieces of one string.
	list := &List{text: string(o.raw), issuer: bytes.Clone(o.Issuer)}
	body := o.body
	var err error
	if list.From, err = body.moment(); err != nil {
		return nil, err
	}
	list.Until = list.From
	if body.is(asn1.TagUTCTime) || body.is(asn1.TagGeneralizedTime) {
		if list.Until, err = body.moment(); err != nil {
			return nil, err
		}
	}
	if body.is(tagSequence) {
		entries, err := body.take(tagSequence)
		if err == nil {
			err = list.readEntries(entries, o.end-len(body))
		}
		if err != nil {
			return nil, err
		}
	}
	if len(body) != 0 {
		extensions, err := body.only(tagExtensions)
		if err == nil {
			err = eachExtension(extensions, list.extension)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// readEntries reads revokedCertificates (RFC 5280, section 5.1.2.6), which end at that byte of the
// list.
func (l *List) readEntries(entries der, end int) error {
	const smallest = 20 // SEQUENCE, INTEGER of one byte, UTCTime
	l.serials = make(map[string]struct{}, len(entries)/smallest)
	for len(entries) > 0 {
		entry, err := entries.take(tagSequence)
		if err != nil {
			return err
		}
		serial, err := entry.integer()
		if err != nil || len(serial) > maxNumber {
			return errDER
		}
		until := end - len(entries) - len(entry)
		l.serials[l.text[until-len(serial):until]] = struct{}{}
		if _, err := entry.moment(); err != nil {
			return err
		}
		if len(entry) != 0 {
			if err := eachExtension(entry, l.entryExtension); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryExtension refuses what is critical: RFC 5280 section 5.3 has one such extension,
// certificateIssuer, and with it the serial number would be another CA's.
func (l *List) entryExtension(id asn1.ObjectIdentifier, critical bool, _ der) error {
	if critical {
		l.cannot(fmt.Errorf("critical entry extension %s", id))
	}
	return nil
}

var (
	oidNumber            = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDelta             = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidAuthorityKey      = asn1.ObjectIdentifier{2, 5, 29, 35}
)

func (l *List) extension(id asn1.ObjectIdentifier, critical bool, value der) error {
	switch {
	case id.Equal(oidNumber):
		number, err := value.integer()
		if err != nil || len(value) != 0 || len(number) > maxNumber {
			return errors.New("a CRL number that is none")
		}
		l.Number = bytes.TrimLeft(bytes.Clone(number), "\x00")
		if l.Number == nil {
			l.Number = []byte{}
		}
	case id.Equal(oidDelta):
		l.cannot(errors.New("it is a delta CRL"))
	case id.Equal(oidDistributionPoint):
		points, err := Points(value)
		if err != nil {
			l.cannot(err)
		}
		l.Points = points
	case id.Equal(oidAuthorityKey) && !critical:
		// It chooses among an issuer's keys, and here the signature has chosen. It must be
		// well-formed.
		inside, err := value.only(tagSequence)
		for err == nil && len(inside) > 0 {
			_, _, _, err = inside.next()
		}
		return err
	case critical:
		l.cannot(fmt.Errorf("critical extension %s", id))
	}
	return nil
}

// cannot keeps the first reason.
func (l *List) cannot(err error) {
	if l.Unusable == nil {
		l.Unusable = err
	}
}

// eachExtension reads Extensions (RFC 5280, section 4.1.2.9), no extension twice.
func eachExtension(
	extensions der, see func(id asn1.ObjectIdentifier, critical bool, value der) error,
) error {
	all, err := extensions.only(tagSequence)
	if err != nil || len(all) == 0 {
		return errDER
	}
	const most = 32
	var seen []string
	for len(all) > 0 {
		one, err := all.take(tagSequence)
		_, _, whole, _ := one.next()
		var id asn1.ObjectIdentifier // asn1 takes no element of another tag for one, and no empty one
		if _, bad := asn1.Unmarshal(whole, &id); err != nil || bad != nil {
			return errDER
		}
		if slices.Contains(seen, string(whole)) || len(seen) == most {
			return errors.New("an extension twice, or too many of them")
		}
		seen = append(seen, string(whole))
		critical := false
		if one.is(asn1.TagBoolean) {
			value, err := one.take(asn1.TagBoolean)
			// DER leaves out what is the default, and has one spelling of true.
			if err != nil || len(value) != 1 || value[0] != 0xff {
				return errDER
			}
			critical = true
		}
		value, err := one.only(asn1.TagOctetString)
		if err != nil {
			return err
		}
		if err := see(id, critical, value); err != nil {
			return err
		}
	}
	return nil
}

// Points reads the value of an IssuingDistributionPoint (RFC 5280, section 5.2.5) that has nothing but URIs:
// one that leaves certificates or reasons out, or has those of other CAs, is not read here.
//
// Errors: for any other.
func Points(extension []byte) ([]string, error) {
	partial := errors.New("it is indirect, or for some certificates or reasons alone")
	inside, err := der(extension).only(tagSequence)
	point, noPoint := inside.only(0xa0) // distributionPoint [0]
	names, noName := point.only(0xa0)   // fullName [0]
	if err != nil || noPoint != nil || noName != nil {
		return nil, partial
	}
	var points []string
	for len(names) > 0 && len(points) < maxPoints {
		uri, err := names.take(0x86) // uniformResourceIdentifier [6]
		if err != nil {
			return nil, partial
		}
		points = append(points, string(uri))
	}
	if len(points) == 0 || len(names) != 0 {
		return nil, partial
	}
	return points, nil
}

// Issuer returns the DER of the issuer's name.
func (l *List) Issuer() []byte { return bytes.Clone(l.issuer) }

// Entries returns how many serial numbers are on the list.
func (l *List) Entries() int { return len(l.serials) }

// Revokes reports whether serial is on the list, in constant time of the list's length.
func (l *List) Revokes(serial *big.Int) bool {
	if serial == nil || serial.Sign() < 0 || serial.BitLen() > 8*maxNumber {
		return false
	}
	// The contents of an INTEGER: one bit more than the number has, in whole bytes.
	var room [maxNumber + 1]byte
	contents := serial.FillBytes(room[:serial.BitLen()/8+1])
	_, revoked := l.serials[string(contents)]
	return revoked
}

// Covers reports whether the list would name the certificate if it had been revoked by that time:
// its issuer has not promised a newer list until then, and the list is not so much newer that the
// entry may have left it.
//
// A list from after the time says more, not less, since what was revoked stays on it: stored
// evidence is judged again as of its own time with the lists of today. It does so until the
// certificate expires. RFC 5280, section 3.3: "An entry MUST NOT be removed from the CRL until it
// appears on one regularly scheduled CRL issued beyond the revoked certificate's validity period."
func (l *List) Covers(certificate *x509.Certificate, at time.Time) bool {
	return !at.After(l.Until) && (!l.From.After(at) || !l.From.After(certificate.NotAfter))
}

// IsFor reports whether the list says something of the certificate. RFC 5280 section 6.3.3 (b) (2):
// a list for one distribution point is for certificates that name it.
func (l *List) IsFor(certificate *x509.Certificate) bool {
	if len(l.Points) == 0 {
		return true
	}
	for _, point := range certificate.CRLDistributionPoints {
		if slices.Contains(l.Points, strings.TrimSpace(point)) {
			return true
		}
	}
	return false
}

// CompareNumbers compares two CRL numbers as [List.Number] has them; none counts as 0.
func CompareNumbers(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare(a, b)
}
