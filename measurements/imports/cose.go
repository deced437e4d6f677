package imports

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"math/big"
	"time"
)

// Tags and labels of COSE (RFC 9052, sections 2, 3.1 and 4.2; RFC 9597) and of CoRIM's signed form
// (draft-ietf-rats-corim-11, section 4.2).
const (
	tagSign1 = 18

	headAlgorithm = 1
	headCritical  = 2
	headContent   = 3
	headKeyID     = 4
	headMeta      = 8
	headClaims    = 15

	claimIssuer  = 1
	claimSubject = 2
	claimExpiry  = 4
	claimNotYet  = 5
)

// contentTypes are those of a CoRIM inside a signature; the second is what tools wrote before.
var contentTypes = []string{"application/rim+cbor", "application/corim-unsigned+cbor"}

// openSign1 verifies a COSE_Sign1 and returns its payload. Nothing of the payload is looked at before
// the signature holds.
//
// Errors: where there is no key, where the signature is not by it, where the algorithm is not the
// key's, for headers that change what is signed (crit, a hash in place of the payload), and where the
// signer's validity does not include the time.
func openSign1(message item, key crypto.PublicKey, at time.Time) (payload []byte, err error) {
	if len(message.items) != 4 || message.kind != kindArray ||
		message.items[0].kind != kindBytes || message.items[1].kind != kindMap ||
		message.items[2].kind != kindBytes || message.items[3].kind != kindBytes {
		return nil, malformed("signed CoRIM: not a COSE_Sign1 with its payload inside")
	}
	if key == nil {
		return nil, refuse("give --key FILE with the signer's public key, in PEM",
			"the CoRIM is signed, and there is no key to verify it")
	}
	protected, err := decode(message.items[0].text)
	if err != nil || protected.kind != kindMap {
		return nil, malformed("signed CoRIM: the protected header is no map of CBOR")
	}
	if _, ok := message.items[1].get(headAlgorithm); ok {
		return nil, malformed("signed CoRIM: the algorithm stands where nobody signed it")
	}
	if foreign, ok := protected.only(headAlgorithm, headContent, headKeyID, headMeta, headClaims); !ok {
		return nil, malformed("signed CoRIM: a protected header is not understood: %s", foreign)
	}
	if err := verifySign1(protected, message, key); err != nil {
		return nil, err
	}
	if content, ok := protected.get(headContent); !ok || !content.isText(contentTypes...) {
		return nil, malformed("signed CoRIM: the content is not %s", contentTypes[0])
	}
	return message.items[2].text, signerValid(protected, at)
}

func (i item) isText(texts ...string) bool {
	for _, text := range texts {
		if i.kind == kindText && string(i.text) == text {
			return true
		}
	}
	return false
}

// verifySign1 verifies the signature over the bytes as they came (RFC 9052, section 4.4).
func verifySign1(protected, message item, key crypto.PublicKey) error {
	algorithm, given := protected.get(headAlgorithm)
	number, ok := algorithm.integer()
	if !given || !ok {
		return malformed("signed CoRIM: no algorithm")
	}
	signed := []byte{0x84}
	signed = appendHead(signed, kindText, len("Signature1"))
	signed = append(signed, "Signature1"...)
	signed = append(signed, message.items[0].raw...)
	signed = append(signed, 0x40) // no external data
	signed = append(signed, message.items[2].raw...)
	signature := message.items[3].text
	const wrong = "the signature of the CoRIM does not hold under the key"
	const hint = "get the file again, or the key of whoever signed it"
	switch key := key.(type) {
	case ed25519.PublicKey:
		if number != -8 {
			return refuse(hint, "the CoRIM is signed with COSE algorithm %d, and the key is Ed25519", number)
		}
		if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, signed, signature) {
			return refuse(hint, wrong)
		}
		return nil
	case *ecdsa.PublicKey:
		var digest []byte
		var curve elliptic.Curve
		switch number {
		case -7:
			sum := sha256.Sum256(signed)
			digest, curve = sum[:], elliptic.P256()
		case -35:
			sum := sha512.Sum384(signed)
			digest, curve = sum[:], elliptic.P384()
		default:
			return refuse(hint, "the CoRIM is signed with COSE algorithm %d, want -7 (ES256), -35 (ES384) or -8 (EdDSA)",
				number)
		}
		// ES256 is P-256 here, ES384 P-384: a key of another curve was meant for another algorithm.
		if key.Curve != curve {
			return refuse(hint, "the CoRIM is signed with COSE algorithm %d, and the key is of another curve", number)
		}
		size := (curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return refuse(hint, wrong)
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		if !ecdsa.Verify(key, digest, r, s) {
			return refuse(hint, wrong)
		}
		return nil
	default:
		return refuse("give an ECDSA key on P-256 or P-384, or an Ed25519 key", "no signature of a CoRIM is by a %T",
			key)
	}
}

// appendHead writes the head of an item with a length.
func appendHead(out []byte, major kind, length int) []byte {
	head := byte(major) << 5
	switch n := uint64(length); { //nolint:gosec // lengths are positive
	case n < 24:
		return append(out, head|byte(n))
	case n < 1<<8:
		return append(out, head|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, head|25), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(out, head|26), uint32(n))
	}
}

// signerValid holds the signer's validity against the time: that of corim-meta, that of CWT claims.
func signerValid(protected item, at time.Time) error {
	meta, hasMeta := protected.get(headMeta)
	claims, hasClaims := protected.get(headClaims)
	if !hasMeta && !hasClaims {
		return malformed("signed CoRIM: neither CWT claims nor corim-meta say who signed")
	}
	if hasMeta {
		inner, err := decode(meta.text)
		if meta.kind != kindBytes || err != nil || inner.kind != kindMap {
			return malformed("signed CoRIM: corim-meta is no map in a byte string")
		}
		if validity, ok := inner.get(1); ok {
			if err := valid("signature", validity, at); err != nil {
				return err
			}
		}
	}
	if !hasClaims {
		return nil
	}
	if claims.kind != kindMap {
		return malformed("signed CoRIM: the CWT claims are no map")
	}
	if foreign, ok := claims.only(claimIssuer, claimSubject, claimExpiry, claimNotYet); !ok {
		return malformed("signed CoRIM: a CWT claim is not understood: %s", foreign)
	}
	for _, bound := range []struct {
		claim int64
		end   bool
	}{{claimNotYet, false}, {claimExpiry, true}} {
		given, ok := claims.get(bound.claim)
		if !ok {
			continue
		}
		if err := within("signature", given, bound.end, at); err != nil {
			return err
		}
	}
	return nil
}

// valid holds a validity-map (not-before 0, not-after 1) against the time.
func valid(what string, validity item, at time.Time) error {
	if foreign, ok := validity.only(0, 1); !ok || validity.kind != kindMap {
		return malformed("the validity of the %s is not understood: %s", what, foreign)
	}
	if _, ok := validity.get(1); !ok {
		return malformed("the validity of the %s has no end", what)
	}
	for key, end := range []bool{false, true} {
		if given, ok := validity.get(int64(key)); ok {
			given, tagged := given.tagged(1)
			if !tagged {
				return malformed("the validity of the %s is not a time", what)
			}
			if err := within(what, given, end, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func within(what string, bound item, end bool, at time.Time) error {
	seconds, ok := bound.integer()
	if !ok || seconds < 0 || seconds > 1<<40 {
		return malformed("the validity of the %s is not a time in seconds", what)
	}
	moment := time.Unix(seconds, 0).UTC()
	switch {
	case end && !at.Before(moment):
		return refuse("get a newer one", "the %s was valid until %s", what, moment.Format(time.RFC3339))
	case !end && at.Before(moment):
		return refuse("wait, or set the clock", "the %s is valid from %s", what, moment.Format(time.RFC3339))
	default:
		return nil
	}
}
