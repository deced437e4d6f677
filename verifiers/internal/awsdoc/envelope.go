package awsdoc

import (
	"bytes"
	"crypto/sha512"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// problem is why a step of reading failed: the check it belongs to, and what was seen and wanted.
type problem struct {
	check     string
	class     attestd.Class
	got, want string
	err       error
}

// envelope is a COSE_Sign1 (RFC 9052 section 4.2), as parts of the input. Its protected header is
// always protectedES384 and its unprotected header always empty, so neither is kept.
type envelope struct {
	payload   []byte
	signature []byte
}

// protectedES384 is the one protected header there is: {1: -35}, alg = ES384 (RFC 9053 section 2.1),
// in the encoding of RFC 8949 section 4.2.1.
var protectedES384 = []byte{0xa1, 0x01, 0x38, 0x22}

const (
	wantEnvelope = "an untagged array of 4, the first a byte string"
	wantHeader   = "protected header exactly {1: -35} (ES384), unprotected header empty"
	wantStrict   = "definite lengths, shortest integers, known keys once each, no tag, nothing behind"
)

// openEnvelope reads the first half of a COSE_Sign1: that it is one.
func openEnvelope(cursor *strict.CBOR) (protected []byte, found *problem) {
	if cursor.Kind() == strict.KindTag {
		// NSM section 3.1: "can be encoded as either tagged or untagged"; the device gives it untagged.
		// A second spelling of one document would be a second name for it in every log and ledger.
		return nil, &problem{check: checkEnvelope, got: "a tag", want: wantEnvelope}
	}
	count, err := cursor.Array(4)
	if err == nil && count != 4 {
		err = fmt.Errorf("array of %d items", count)
	}
	if err == nil {
		protected, err = cursor.Bytes()
	}
	if err != nil {
		return nil, &problem{check: checkEnvelope, got: "another structure", want: wantEnvelope, err: err}
	}
	return protected, nil
}

// readHeaders demands the one protected header, and an empty unprotected one: RFC 9052 section 3
// leaves the unprotected header out of what is signed, so anything in it is the sender's to choose.
func readHeaders(cursor *strict.CBOR, protected []byte) *problem {
	if !bytes.Equal(protected, protectedES384) {
		class, got := classifyHeader(protected)
		return &problem{check: checkHeader, class: class, got: got, want: wantHeader}
	}
	count, err := cursor.Map(limits.document)
	if err != nil {
		return &problem{check: checkHeader, got: "no unprotected header", want: wantHeader, err: err}
	}
	if count != 0 {
		return &problem{
			check: checkHeader, got: fmt.Sprintf("%d unprotected parameters", count), want: wantHeader,
		}
	}
	return nil
}

// classifyHeader says what is wrong with a protected header that is not the one there is: not
// readable, or readable and meaning something that is not supported.
func classifyHeader(protected []byte) (attestd.Class, string) {
	if len(protected) == 0 {
		return attestd.ClassMalformed, "empty protected header"
	}
	cursor := strict.NewCBOR(protected)
	count, err := cursor.Map(8)
	if err != nil {
		return attestd.ClassMalformed, "protected header that is no map in strict encoding"
	}
	seen := make(map[int64]bool)
	got := ""
	for range count {
		label, err := cursor.Int()
		if err != nil || seen[label] {
			return attestd.ClassMalformed, "protected header with a label twice or not readable"
		}
		seen[label] = true
		if label != 1 {
			// RFC 9052 section 3.1: a "crit" that lists a label not understood is a fatal error.
			return attestd.ClassUnsupported, fmt.Sprintf("protected parameter %d", label)
		}
		if cursor.Kind() == strict.KindText {
			return attestd.ClassUnsupported, "algorithm named by text"
		}
		algorithm, err := cursor.Int()
		if err != nil {
			return attestd.ClassMalformed, "algorithm that is no integer"
		}
		got = fmt.Sprintf("algorithm %d", algorithm)
	}
	if cursor.End() != nil || got == "" {
		return attestd.ClassMalformed, "protected header without an algorithm, or with trailing bytes"
	}
	return attestd.ClassUnsupported, got
}

// closeEnvelope reads payload and signature and demands the end.
func closeEnvelope(cursor *strict.CBOR) (envelope, *problem) {
	wrong := func(err error) (envelope, *problem) {
		return envelope{}, &problem{check: checkEncoding, want: wantStrict, err: err}
	}
	// RFC 9052 section 4.1 allows a detached (nil) payload; what is signed must be here.
	payload, err := cursor.Bytes()
	if err != nil {
		return wrong(fmt.Errorf("payload: %w", err))
	}
	if cursor.Kind() == strict.KindArray {
		return envelope{}, &problem{
			check: checkEncoding, class: attestd.ClassUnsupported,
			got: "a COSE_Sign with several signers", want: "a COSE_Sign1",
		}
	}
	signature, err := cursor.Bytes()
	if err != nil {
		return wrong(fmt.Errorf("signature: %w", err))
	}
	if err := cursor.End(); err != nil {
		return wrong(err)
	}
	return envelope{payload: payload, signature: signature}, nil
}

// digest is the SHA-384 of the Sig_structure (RFC 9052 section 4.4): the context "Signature1", the
// protected header, an empty external_aad and the payload, exactly as received.
func (e envelope) digest() [sha512.Size384]byte {
	head := append(make([]byte, 0, 32), 0x84, 0x6a)
	head = append(head, "Signature1"...)
	head = append(head, 0x44)
	head = append(head, protectedES384...)
	head = append(head, 0x40)
	switch length := len(e.payload); {
	case length < 24:
		head = append(head, 0x40|byte(length))
	case length < 1<<8:
		head = append(head, 0x58, byte(length))
	default: // below 2^16 by the limit on the document
		head = append(head, 0x59, byte(length>>8), byte(length))
	}
	hash := sha512.New384()
	hash.Write(head)
	hash.Write(e.payload)
	var digest [sha512.Size384]byte
	hash.Sum(digest[:0])
	return digest
}
