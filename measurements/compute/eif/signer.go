package eif

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	_ "crypto/sha256" // for the hash of ES256
	_ "crypto/sha512" // for those of ES384 and ES512
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements/compute"
)

// Signer is who signed an image, by the certificate in it. No certificate authority stands behind
// it: PCR8 is the name of whoever has its key.
type Signer struct {
	// Name is the certificate's subject, cut to what a terminal shows.
	Name string
	// NotBefore and NotAfter bound the time in which the hypervisor starts the image.
	NotBefore, NotAfter time.Time

	certificate []byte // DER
}

// algorithm is one that signs images (RFC 9053, section 2.1).
type algorithm struct {
	id    uint64 // of COSE, as the n in -1-n
	curve elliptic.Curve
	hash  crypto.Hash
}

var algorithms = []algorithm{
	{6, elliptic.P256(), crypto.SHA256},  // ES256
	{34, elliptic.P384(), crypto.SHA384}, // ES384
	{35, elliptic.P521(), crypto.SHA512}, // ES512
}

// readSigner reads a signature section: an array of one entry, with the certificate in PEM and a
// COSE_Sign1 over PCR0 (aws-nitro-enclaves-image-format, src/defs/mod.rs, EifSignature). The
// hypervisor starts no image whose signature is bad, so that the PCR8 of one would be a value that
// nothing has.
func readSigner(section, pcr0 []byte) (*Signer, error) {
	r := &reader{rest: section}
	r.exactly(majorArray, 1, "a list of signatures")
	r.exactly(majorMap, 2, "an entry")
	r.text("signing_certificate")
	text := r.numbers("a certificate")
	r.text("signature")
	signed := r.numbers("a signature")
	if err := r.end("the list"); err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		// Of several, the hypervisor measures the first, and people would look at any.
		return nil, compute.Malformed("one certificate in PEM", "something else in the signature")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, compute.Malformed("a certificate", "one that cannot be read: %s",
			attestd.Excerpt(err.Error(), 100))
	}
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, compute.Unsupported("a key on P-256, P-384 or P-521", "another kind of key")
	}
	if err := verify(signed, key, pcr0); err != nil {
		return nil, err
	}
	return &Signer{
		Name:      attestd.Excerpt(certificate.Subject.String(), 200),
		NotBefore: certificate.NotBefore, NotAfter: certificate.NotAfter,
		certificate: block.Bytes,
	}, nil
}

// verify checks a COSE_Sign1 (RFC 9052, section 4.2) over the register.
func verify(signed []byte, key *ecdsa.PublicKey, pcr0 []byte) error {
	r := &reader{rest: signed}
	if r.peek() == majorTag {
		r.exactly(majorTag, 18, "a tag") // COSE_Sign1
	}
	r.exactly(majorArray, 4, "a COSE_Sign1")
	protected := r.string(majorBytes, "a protected header")
	r.exactly(majorMap, 0, "an unprotected header")
	payload := r.string(majorBytes, "a payload")
	raw := r.string(majorBytes, "a signature")
	if err := r.end("the COSE_Sign1"); err != nil {
		return err
	}

	r = &reader{rest: protected}
	r.exactly(majorMap, 1, "a protected header")
	r.exactly(majorUnsigned, 1, "a label") // alg
	id := r.head(majorNegative, "an algorithm")
	if err := r.end("the protected header"); err != nil {
		return err
	}

	r = &reader{rest: payload}
	r.exactly(majorMap, 2, "what is signed")
	r.text("register_index")
	r.exactly(majorUnsigned, 0, "a register's number")
	r.text("register_value")
	value := r.numbers("a register's value")
	if err := r.end("what is signed"); err != nil {
		return err
	}
	if !bytes.Equal(value, pcr0) {
		return &compute.Fault{Class: attestd.ClassSignature,
			Got:  "a signature over another PCR0 than the image has",
			Want: "one over its own: sign the image again"}
	}
	return verifyECDSA(id, key, protected, payload, raw)
}

// verifyECDSA checks the signature itself (RFC 9053, section 2.1: r and s, each as long as the
// curve's field).
func verifyECDSA(id uint64, key *ecdsa.PublicKey, protected, payload, raw []byte) error {
	for _, a := range algorithms {
		if a.id != id {
			continue
		}
		if a.curve != key.Curve {
			return &compute.Fault{Class: attestd.ClassSignature, Got: "an algorithm and a key of two curves",
				Want: "those of one"}
		}
		size := (a.curve.Params().BitSize + 7) / 8
		if len(raw) != 2*size {
			return compute.Malformed("r and s", "a signature of %d bytes", len(raw))
		}
		// Sig_structure (RFC 9052, section 4.4), without external data.
		h := a.hash.New()
		h.Write([]byte("\x84\x6aSignature1"))
		h.Write(byteString(protected))
		h.Write(byteString(nil))
		h.Write(byteString(payload))
		if !ecdsa.Verify(key, h.Sum(nil), new(big.Int).SetBytes(raw[:size]),
			new(big.Int).SetBytes(raw[size:])) {
			return &compute.Fault{Class: attestd.ClassSignature, Got: "a bad signature over PCR0",
				Want: "one by the certificate's key"}
		}
		return nil
	}
	return compute.Unsupported("ES256, ES384 or ES512", "algorithm %d", -1-int64(min(id, 1<<32)))
}

// byteString encodes bytes as one CBOR item.
func byteString(data []byte) []byte {
	var head []byte
	switch size := len(data); {
	case size < 24:
		head = []byte{majorBytes<<5 | byte(size)}
	case size < 1<<8:
		head = []byte{majorBytes<<5 | 24, byte(size)}
	case size < 1<<16:
		head = []byte{majorBytes<<5 | 25, byte(size >> 8), byte(size)}
	default:
		head = []byte{majorBytes<<5 | 26, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}
	}
	return append(head, data...)
}
