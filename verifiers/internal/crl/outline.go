package crl

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

const (
	tagSequence = 0x30
	// tagExtensions is crlExtensions [0] EXPLICIT.
	tagExtensions = 0xa0
)

// MaxBytes bounds a list. One of 100,000 entries has some 4 MB, AMD's have 900 bytes.
const MaxBytes = 8 << 20

// Outline is a list that says who its issuer is, before anybody has looked at its signature. It
// must not be believed: [Outline.Verified] is the only way on. It aliases the bytes that it was
// read from.
type Outline struct {
	// Issuer is the DER of the name that the list claims as its issuer's.
	Issuer []byte

	raw, signed, signature, algorithm der
	// body is what of the signed part stands behind the issuer, and end where in raw that ends.
	body der
	end  int
}

// Read reads the outline of a list in DER and leaves its entries alone.
//
// Errors: where raw is longer than MaxBytes, is no CertificateList of version 2 (RFC 5280, section
// 5.1), something follows it, or it names two signature algorithms.
func Read(raw []byte) (Outline, error) {
	if len(raw) > MaxBytes {
		return Outline{}, fmt.Errorf("a list of %d bytes, want at most %d", len(raw), MaxBytes)
	}
	list, err := der(raw).only(tagSequence)
	if err != nil {
		return Outline{}, err
	}
	start := len(raw) - len(list)
	out := Outline{raw: raw}
	tag, body, signed, err := list.next()
	if err != nil || tag != tagSequence {
		return Outline{}, errDER
	}
	out.signed, out.end = signed, start+len(signed)
	outer, err := list.sequence()
	if err != nil {
		return Outline{}, err
	}
	bits, err := list.only(asn1.TagBitString)
	// A signature is whole bytes. Were unused bits allowed, one list could be spelled in two ways.
	if err != nil || len(bits) < 2 || bits[0] != 0 {
		return Outline{}, errDER
	}
	out.signature = bits[1:]
	version, err := body.integer()
	if err != nil || len(version) != 1 || version[0] != 1 {
		return Outline{}, errors.New("not a list of version 2")
	}
	inner, err := body.sequence()
	// RFC 5280 section 5.1.1.2: "This field MUST contain the same algorithm identifier as the
	// signature field in the sequence tbsCertList". The outer one is not signed.
	if err != nil || string(inner) != string(outer) {
		return Outline{}, errors.New("two signature algorithms")
	}
	issuer, err := body.sequence()
	if err != nil {
		return Outline{}, err
	}
	out.Issuer, out.body, out.algorithm = issuer, body, inner
	return out, nil
}

// sequence takes a SEQUENCE and returns it with its header.
func (d *der) sequence() (der, error) {
	tag, _, whole, err := d.next()
	if err == nil && tag != tagSequence {
		err = errDER
	}
	return whole, err
}

// Algorithm returns the algorithm of the signature; x509.UnknownSignatureAlgorithm where the
// standard library has none of that name. The library knows all spellings and has no function for
// them, so it is shown a list without entries that says nothing else.
func (o Outline) Algorithm() x509.SignatureAlgorithm {
	const longest = 256 // RSASSA-PSS has 67 bytes
	if len(o.algorithm) > longest {
		return x509.UnknownSignatureAlgorithm
	}
	body := append([]byte{asn1.TagInteger, 1, 1}, o.algorithm...)
	body = append(body, tagSequence, 0, asn1.TagUTCTime, 13)
	body = append(body, "000101000000Z"...)
	empty := append(element(tagSequence, body), o.algorithm...)
	list, err := x509.ParseRevocationList(
		element(tagSequence, append(empty, asn1.TagBitString, 2, 0, 0)))
	if err != nil {
		return x509.UnknownSignatureAlgorithm
	}
	return list.SignatureAlgorithm
}

// element writes one element of up to 65,535 bytes.
func element(tag byte, value []byte) []byte {
	head := []byte{tag, byte(len(value))}
	switch {
	case len(value) >= 0x100:
		head = []byte{tag, 0x82, byte(len(value) >> 8), byte(len(value))}
	case len(value) >= 0x80:
		head = []byte{tag, 0x81, byte(len(value))}
	}
	return append(head, value...)
}

// Verified returns the list if issuer's key signed it, whatever its name. It makes one public-key
// verification.
//
// Errors: where the issuer's key usage has no cRLSign, the signature is not the issuer's, or the
// bytes behind the outline are no DER of a list.
func (o Outline) Verified(issuer *x509.Certificate) (*List, error) {
	// RFC 5280 section 6.3.3 (f): "If a key usage extension is present in the CRL issuer's
	// certificate, verify that the cRLSign bit is set." Without one it is not set either.
	if issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return nil, errors.New("the issuer's key usage has no cRLSign")
	}
	if o.signed == nil || issuer.CheckSignature(o.Algorithm(), o.signed, o.signature) != nil {
		return nil, errors.New("its signature is not the issuer's")
	}
	return readList(o)
}
