package uki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"

	"github.com/attestd/attestd"
)

// authority returns the entry of db that lets the firmware start an image, or why it cannot be
// known which one: there is none, or more than one, among which firmware may choose.
func authority(image Named, db []signature) (signature, string) {
	name := attestd.Excerpt(image.Name, 60)
	digest := image.Image.Authenticode(sha256.New())
	signed, why := image.Image.signers()
	if why != "" {
		return signature{}, name + ": " + why
	}
	var found []signature
	for _, entry := range db {
		switch entry.kind {
		case certSHA256:
			if bytes.Equal(entry.data[16:], digest) {
				found = append(found, entry)
			}
		case certX509:
			anchor, err := x509.ParseCertificate(entry.data[16:])
			if err == nil && vouches(anchor, signed, digest) {
				found = append(found, entry)
			}
		}
	}
	switch len(found) {
	case 0:
		return signature{}, "No entry of db vouches for " + name + ", so the firmware would not start it."
	case 1:
		return found[0], ""
	default:
		return signature{}, "More than one entry of db vouches for " + name + ", and which of them is " +
			"measured depends on the firmware."
	}
}

// signed is one Authenticode signature of an image.
type signed struct {
	digest       []byte // that it states, SHA-256
	certificates []*x509.Certificate
}

// vouches reports whether an anchor stands in, or issued a certificate of, one of the signatures.
// Whether the signatures are good is the firmware's to find out: with a bad one it starts nothing.
func vouches(anchor *x509.Certificate, list []signed, digest []byte) bool {
	for _, one := range list {
		if !bytes.Equal(one.digest, digest) {
			continue
		}
		for _, certificate := range one.certificates {
			if certificate.Equal(anchor) {
				return true
			}
			if bytes.Equal(certificate.RawIssuer, anchor.RawSubject) && anchor.CheckSignature(
				certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature) == nil {
				return true
			}
		}
	}
	return false
}

// signers reads the certificate table: entries of WIN_CERTIFICATE (UEFI 2.10, section 32.2.1), each
// on a multiple of eight bytes.
func (i *Image) signers() (list []signed, why string) {
	for rest := i.table; len(rest) > 0; {
		if len(rest) < 8 {
			return nil, "its certificate table is cut off."
		}
		size := uint64(binary.LittleEndian.Uint32(rest))
		kind := binary.LittleEndian.Uint16(rest[6:])
		if size < 8 || size > uint64(len(rest)) {
			return nil, "its certificate table has an entry beyond its end."
		}
		if kind != 0x0002 { // WIN_CERT_TYPE_PKCS_SIGNED_DATA
			return nil, "its certificate table has an entry that is no PKCS #7 signature."
		}
		one, ok := readSigned(rest[8:size])
		if !ok {
			return nil, "its signature cannot be read as one of Authenticode over SHA-256."
		}
		list = append(list, one)
		rest = rest[min((size+7)&^7, uint64(len(rest))):]
	}
	return list, ""
}

var (
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidSpcData    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version      int
	Algorithms   asn1.RawValue
	Content      contentInfo
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
	Lists        asn1.RawValue `asn1:"optional,tag:1"`
	Signers      asn1.RawValue
}

type indirectData struct {
	Data   asn1.RawValue
	Digest struct {
		Algorithm struct {
			OID        asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Value []byte
	}
}

// readSigned reads SignedData (RFC 2315 section 9.1) over SpcIndirectDataContent. Padding behind it
// is not looked at.
func readSigned(data []byte) (signed, bool) {
	var outer contentInfo
	var inner signedData
	var spc indirectData
	if _, err := asn1.Unmarshal(data, &outer); err != nil || !outer.Type.Equal(oidSignedData) {
		return signed{}, false
	}
	if _, err := asn1.Unmarshal(outer.Content.Bytes, &inner); err != nil ||
		!inner.Content.Type.Equal(oidSpcData) {
		return signed{}, false
	}
	if _, err := asn1.Unmarshal(inner.Content.Content.Bytes, &spc); err != nil ||
		!spc.Digest.Algorithm.OID.Equal(oidSHA256) {
		return signed{}, false
	}
	certificates, err := x509.ParseCertificates(inner.Certificates.Bytes)
	if err != nil || len(certificates) == 0 {
		return signed{}, false
	}
	return signed{digest: spc.Digest.Value, certificates: certificates}, true
}
