package collateral

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"

	"github.com/attestd/attestd"
)

var (
	oidDelta = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// maxPoints bounds the URIs of one scope.
const maxPoints = 8

// readScope reads an IssuingDistributionPoint (RFC 5280, section 5.2.5) that has nothing but URIs. A list
// that leaves certificates or reasons out, or has those of other CAs, is not taken.
func readScope(value []byte) (string, error) {
	refused := errors.New("it is indirect, or for some certificates or reasons alone")
	read := func(data []byte, class, tag int) (inside, rest []byte) {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(data, &element)
		if err != nil || element.Class != class || element.Tag != tag {
			return nil, nil
		}
		return element.Bytes, rest
	}
	inside, rest := read(value, asn1.ClassUniversal, asn1.TagSequence)
	if len(inside) == 0 || len(rest) != 0 {
		return "", refused
	}
	point, rest := read(inside, asn1.ClassContextSpecific, 0) // distributionPoint [0]
	if len(point) == 0 || len(rest) != 0 {
		return "", refused
	}
	names, rest := read(point, asn1.ClassContextSpecific, 0) // fullName [0]
	if len(names) == 0 || len(rest) != 0 {
		return "", refused
	}
	var points []string
	for len(names) > 0 {
		var uri []byte
		uri, names = read(names, asn1.ClassContextSpecific, 6) // uniformResourceIdentifier [6]
		if len(uri) == 0 || len(points) == maxPoints {
			return "", refused
		}
		points = append(points, attestd.Excerpt(string(uri), 400))
	}
	return strings.Join(points, " "), nil
}

// padded makes numbers in hex comparable as text.
func padded(number string) string {
	return strings.Repeat("0", max(0, 2*maxNumber-len(number))) + number
}

// decimal is a number as vendors print it.
func decimal(number string) string {
	raw, _ := hex.DecodeString(number)
	return new(big.Int).SetBytes(raw).String()
}
