package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/attestd/attestd"
)

// SignatureKind is what an entry of a signature database is.
type SignatureKind uint8

// Kinds of entries.
const (
	SignatureOther           SignatureKind = iota // a bare key, or of a type that is not known here
	SignatureCertificate                          // an X.509 certificate
	SignatureImageHash                            // the hash of an image
	SignatureCertificateHash                      // the hash of a certificate's to-be-signed part
)

// Signature is an entry of PK, KEK, db or dbx.
type Signature struct {
	Kind SignatureKind
	// Owner is the GUID of who entered it, as it lies in memory.
	Owner [16]byte
	// Data of the entry: the certificate in DER, or the hash. It is a part of what was parsed.
	Data []byte
}

// Digest returns what rules compare: a hash as it stands, anything else by its SHA-256.
func (s Signature) Digest() []byte {
	if s.Kind == SignatureImageHash || s.Kind == SignatureCertificateHash {
		return s.Data
	}
	sum := sha256.Sum256(s.Data)
	return sum[:]
}

// signatureType is a type of EFI_SIGNATURE_LIST (UEFI 2.10 section 32.4.1): the length of an
// entry's data, 0 for any, and how much of it is the hash.
type signatureType struct {
	id   guid
	kind SignatureKind
	size int
	hash int
}

var signatureTypes = [...]signatureType{
	{newGUID(0xc1c41626, 0x504c, 0x4092, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28),
		SignatureImageHash, 32, 32}, // EFI_CERT_SHA256_GUID
	{newGUID(0xa5c059a1, 0x94e4, 0x4aa7, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72),
		SignatureCertificate, 0, 0}, // EFI_CERT_X509_GUID
	{newGUID(0x826ca512, 0xcf10, 0x4ac9, 0xb1, 0x87, 0xbe, 0x01, 0x49, 0x66, 0x31, 0xbd),
		SignatureImageHash, 20, 20}, // EFI_CERT_SHA1_GUID
	{newGUID(0x0b6e5233, 0xa65c, 0x44c9, 0x94, 0x07, 0xd9, 0xab, 0x83, 0xbf, 0xc8, 0xbd),
		SignatureImageHash, 28, 28}, // EFI_CERT_SHA224_GUID
	{newGUID(0xff3e5307, 0x9fd0, 0x48c9, 0x85, 0xf1, 0x8a, 0xd5, 0x6c, 0x70, 0x1e, 0x01),
		SignatureImageHash, 48, 48}, // EFI_CERT_SHA384_GUID
	{newGUID(0x093e0fae, 0xa6c4, 0x4f50, 0x9f, 0x1b, 0xd4, 0x1e, 0x2b, 0x89, 0xc1, 0x9a),
		SignatureImageHash, 64, 64}, // EFI_CERT_SHA512_GUID
	{newGUID(0x3bd2a492, 0x96c0, 0x4079, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed),
		SignatureCertificateHash, 48, 32}, // EFI_CERT_X509_SHA256_GUID: hash and EFI_TIME
	{newGUID(0x7076876e, 0x80c2, 0x4ee6, 0xaa, 0xd2, 0x28, 0xb3, 0x49, 0xa6, 0x86, 0x5b),
		SignatureCertificateHash, 64, 48}, // EFI_CERT_X509_SHA384_GUID
	{newGUID(0x446dbf63, 0x2502, 0x4cda, 0xbc, 0xfa, 0x24, 0x65, 0xd2, 0xb0, 0xfe, 0x9d),
		SignatureCertificateHash, 80, 64}, // EFI_CERT_X509_SHA512_GUID
	{newGUID(0x3c5766e8, 0x269c, 0x4e34, 0xaa, 0x14, 0xed, 0x77, 0x6e, 0x85, 0xb3, 0xb6),
		SignatureOther, 256, 0}, // EFI_CERT_RSA2048_GUID
	{newGUID(0xe2b36190, 0x879b, 0x4a3d, 0xad, 0x8d, 0xf2, 0xe7, 0xbb, 0xa3, 0x27, 0x84),
		SignatureOther, 256, 0}, // EFI_CERT_RSA2048_SHA256_GUID
	{newGUID(0x67f8444f, 0x8743, 0x48f1, 0xa3, 0x28, 0x1e, 0xaa, 0xb8, 0x73, 0x60, 0x80),
		SignatureOther, 256, 0}, // EFI_CERT_RSA2048_SHA1_GUID
}

// ParseSignatures reads the EFI_SIGNATURE_LISTs of a variable, which must fill data to its end.
func ParseSignatures(data []byte) ([]Signature, *Fault) {
	var out []Signature
	if problem := signatures(data, func(one Signature) { out = append(out, one) }); problem != nil {
		return nil, &Fault{Class: problem.class, Event: -1, Got: problem.got}
	}
	return out, nil
}

// problem is a fault that does not know its event yet.
type problem struct {
	class attestd.Class
	got   string
}

func unlisted(format string, args ...any) *problem {
	return &problem{attestd.ClassMalformed, fmt.Sprintf(format, args...)}
}

const signatureListHead = 16 + 4 + 4 + 4

// signatures gives every entry to yield. It allocates only for a problem. An entry counts only
// where the sizes of its list leave no byte unexplained: bytes between header and entries, or
// entries of another size than their type has, are where a parser that trusts them reads a hash
// that no firmware looked at (GO-2026-5298).
func signatures(data []byte, yield func(Signature)) *problem {
	count := 0
	for lists := 0; len(data) > 0; lists++ {
		if lists == limits.lists {
			return &problem{attestd.ClassTooLarge, fmt.Sprintf("more than %d signature lists", lists)}
		}
		if len(data) < signatureListHead {
			return unlisted("%d bytes behind the last signature list", len(data))
		}
		size := binary.LittleEndian.Uint32(data[16:])
		if size < signatureListHead || uint64(size) > uint64(len(data)) {
			return unlisted("a signature list of %d bytes where %d are left", size, len(data))
		}
		found, problem := signatureList(data[:size], limits.entries-count, yield)
		if problem != nil {
			return problem
		}
		count += found
		data = data[size:]
	}
	return nil
}

// signatureList gives the entries of one list to yield and returns their number.
func signatureList(list []byte, room int, yield func(Signature)) (int, *problem) {
	kind := signatureType{kind: SignatureOther}
	for _, known := range signatureTypes {
		if known.id == guid(list) {
			kind = known
		}
	}
	header, size := binary.LittleEndian.Uint32(list[20:]), binary.LittleEndian.Uint32(list[24:])
	// UEFI 2.10 section 32.4.1 gives each of its types "a SignatureHeader size of 0".
	if header != 0 {
		return 0, unlisted("a signature list with a header of %d bytes, want none", header)
	}
	const owner = 16
	if size <= owner || kind.size != 0 && int(size) != owner+kind.size {
		return 0, unlisted("a signature list with entries of %d bytes", size)
	}
	body := list[signatureListHead:]
	if uint64(len(body))%uint64(size) != 0 {
		return 0, unlisted("a signature list of %d bytes with entries of %d", len(body), size)
	}
	count := len(body) / int(size)
	if count > room {
		return 0, &problem{attestd.ClassTooLarge, fmt.Sprintf("more than %d signatures", limits.entries)}
	}
	for ; len(body) > 0; body = body[size:] {
		one := Signature{Kind: kind.kind, Owner: [16]byte(body), Data: body[owner:size:size]}
		if kind.hash != 0 {
			one.Data = one.Data[:kind.hash:kind.hash]
		}
		if kind.kind == SignatureCertificate && !isDER(one.Data) {
			return 0, unlisted("a certificate of %d bytes that is no DER sequence of that length",
				len(one.Data))
		}
		yield(one)
	}
	return count, nil
}

// isDER reports whether data are one DER sequence with a length of two or more bytes that fills
// them, as every certificate is. What is inside is not looked at: entries are compared by their
// digest.
func isDER(data []byte) bool {
	if len(data) < 4 || data[0] != 0x30 || data[1] < 0x81 || data[1] > 0x83 {
		return false
	}
	size, length := 0, int(data[1]&0x7f)
	if len(data) < 2+length {
		return false
	}
	for _, one := range data[2 : 2+length] {
		size = size<<8 | int(one)
	}
	return size == len(data)-2-length
}

// authority returns the entry of a database that an EV_EFI_VARIABLE_AUTHORITY shows: an
// EFI_SIGNATURE_DATA (PFP 1.06 section 10.4.1), or, from shim for its own certificate, the bare
// one.
func authority(data []byte) (Signature, bool) {
	const owner = 16
	if isDER(data) {
		return Signature{Kind: SignatureCertificate, Data: data}, true
	}
	if len(data) <= owner {
		return Signature{}, false
	}
	one := Signature{Kind: SignatureImageHash, Owner: [16]byte(data), Data: data[owner:]}
	switch len(one.Data) {
	case 20, 28, 32, 48, 64:
		return one, true
	default:
		one.Kind = SignatureCertificate
		return one, isDER(one.Data)
	}
}
