package pcs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Kind is what a document is about.
type Kind uint8

// Kinds of documents. The zero Kind is that of bytes which are neither.
const (
	KindNone Kind = iota
	// KindTCBInfo is TCB information: {"tcbInfo":{...},"signature":"..."}.
	KindTCBInfo
	// KindIdentity is the identity of an enclave: {"enclaveIdentity":{...},"signature":"..."}.
	KindIdentity
)

// String returns "tcb-info", "enclave-identity" or "none".
func (k Kind) String() string {
	switch k {
	case KindTCBInfo:
		return "tcb-info"
	case KindIdentity:
		return "enclave-identity"
	default:
		return "none"
	}
}

// Header is what every document says of itself.
type Header struct {
	Kind Kind
	// Subject is what the document is about, as in [attestd.DocumentFloor]: "tcb-info/TDX/" and the FMSPC
	// in lower-case hex, or "enclave-identity/TD_QE".
	Subject string
	// Evaluation is tcbEvaluationDataNumber, which Intel counts up with each TCB recovery event.
	Evaluation uint64
	// IssuedAt is when the document was made, NextUpdate when a newer one is due.
	IssuedAt, NextUpdate time.Time
}

// Before reports whether the document is older than one of that evaluation number and time of issue.
// The number comes first: the early and the standard channel are issued every day, each with its own.
func (h Header) Before(evaluation uint64, issued time.Time) bool {
	if h.Evaluation != evaluation {
		return h.Evaluation < evaluation
	}
	return h.IssuedAt.Before(issued)
}

// SubjectOfTCBInfo is the subject of the TCB information for platforms of that FMSPC.
func SubjectOfTCBInfo(fmspc [6]byte) string { return "tcb-info/TDX/" + hex.EncodeToString(fmspc[:]) }

// SubjectOfIdentity is the subject of the identity of the enclave that makes quotes of TDs.
const SubjectOfIdentity = "enclave-identity/TD_QE"

// SubjectOfCRL is the subject under which a floor for the revocation lists of an issuer stands among
// the [attestd.DocumentFloor]s: Intel gives every list of one issuer the CRL number 1, so that only
// thisUpdate (as IssuedAt, with evaluation 0) tells an old list from a new one.
//
// spki is the issuer's DER SubjectPublicKeyInfo.
func SubjectOfCRL(spki []byte) string {
	digest := sha256.Sum256(spki)
	return "crl/" + hex.EncodeToString(digest[:])
}

// KindOf looks at the first key of a document, unverified and without reading on.
func KindOf(document []byte) Kind {
	rest := bytes.TrimLeft(document, " \t\r\n")
	if len(rest) == 0 || rest[0] != '{' {
		return KindNone
	}
	rest = bytes.TrimLeft(rest[1:], " \t\r\n")
	switch {
	case bytes.HasPrefix(rest, []byte(`"tcbInfo"`)):
		return KindTCBInfo
	case bytes.HasPrefix(rest, []byte(`"enclaveIdentity"`)):
		return KindIdentity
	default:
		return KindNone
	}
}

// IsAbout reports whether TCB information seems to be for that FMSPC, by a search of its bytes that
// costs next to nothing. Nothing may be concluded from it but whether to read the document.
func IsAbout(document []byte, fmspc [6]byte) bool {
	const key = `"fmspc"`
	index := bytes.Index(document, []byte(key))
	if index < 0 {
		return false
	}
	rest := bytes.TrimLeft(document[index+len(key):], " \t\r\n")
	rest = bytes.TrimLeft(bytes.TrimPrefix(rest, []byte(":")), " \t\r\n")
	if len(rest) < 14 || rest[0] != '"' || rest[13] != '"' {
		return false
	}
	var raw [6]byte
	_, err := hex.Decode(raw[:], rest[1:13])
	return err == nil && raw == fmspc
}

// Document is one that was read: a *[TCBInfo] or an *[Identity].
type Document interface {
	// Head returns what the document says of itself.
	Head() Header
	// SignedBy demands that the signer signed the document; one public-key verification.
	SignedBy(signer *Signer) error
}

// Parse reads a document of either kind. Nothing in it is shown before SignedBy.
//
// Errors: a plain error that says what is wrong with it.
func Parse(document []byte) (Document, error) {
	switch KindOf(document) {
	case KindTCBInfo:
		return orError(ParseTCBInfo(document))
	case KindIdentity:
		return orError(ParseIdentity(document))
	default:
		return nil, errors.New("neither TCB information nor the identity of an enclave")
	}
}

// orError keeps a nil pointer from becoming a Document.
func orError[T Document](document T, err error) (Document, error) {
	if err != nil {
		return nil, err
	}
	return document, nil
}

// Subject reads a document and returns its subject; it is not shown to be true.
//
// Errors: as Parse.
func Subject(document []byte) (string, error) {
	read, err := Parse(document)
	if err != nil {
		return "", err
	}
	return read.Head().Subject, nil
}

// signed is the signature of a document and the bytes that it is over.
type signed struct {
	body      []byte
	signature [64]byte
}

// open takes a document apart: {"<key>":{...},"signature":"<128 hex digits>"}, in either order.
func open(document []byte, key string) (node, signed, error) {
	value, err := parse(bytes.Clone(document))
	var out signed
	outer := fieldsOf(value, "document", &err) // which keeps the first error
	inner, _ := outer.get(key, '{', "an object")
	outer.bytes("signature", out.signature[:])
	outer.closed()
	out.body = inner.raw
	return inner, out, err
}

// SignedBy demands that the signer's key made the signature (ECDSA P-256 over SHA-256, r and s of 32
// bytes each) over the object's bytes as they came.
func (s signed) SignedBy(signer *Signer) error {
	if signer == nil || signer.key == nil || len(s.body) == 0 {
		return errors.New("nobody to have signed it")
	}
	digest := sha256.Sum256(s.body)
	r, t := new(big.Int).SetBytes(s.signature[:32]), new(big.Int).SetBytes(s.signature[32:])
	if !ecdsa.Verify(signer.key, digest[:], r, t) {
		return errors.New("its signature is not the TCB signing key's")
	}
	return nil
}

// readHeader reads the fields that both kinds have.
func readHeader(f *fields, kind Kind, id string, version uint64) Header {
	f.is("id", id)
	if got := f.uint("version", 1<<16); got != version {
		f.wrong("version", "%d, want %d", got, version)
	}
	out := Header{
		Kind: kind, IssuedAt: f.time("issueDate"), NextUpdate: f.time("nextUpdate"),
		Evaluation: f.uint("tcbEvaluationDataNumber", 1<<31-1),
	}
	if out.NextUpdate.Before(out.IssuedAt) {
		f.wrong("nextUpdate", "before issueDate")
	}
	return out
}

// SVNLevel is one level of a TDX module or of the quoting enclave.
type SVNLevel struct {
	// ISVSVN is the least security version that has this level.
	ISVSVN uint16
	Judgement
}

// Judgement is what Intel says of a level.
type Judgement struct {
	Status Status
	// Date is tcbDate: the level has every fix that Intel had published by then.
	Date time.Time
	// Advisories are the advisories that the level does not mend, or that need something done beside
	// the update.
	Advisories []string
}

func readJudgement(f *fields) Judgement {
	word := f.text("tcbStatus")
	status, known := statusOf(word)
	if !known {
		f.wrong("tcbStatus", "unknown status %q", attestd.Excerpt(word, 40))
	}
	return Judgement{Status: status, Date: f.time("tcbDate"), Advisories: readAdvisories(f)}
}

func readAdvisories(f *fields) []string {
	value, found := f.optional("advisoryIDs")
	if !found {
		return nil
	}
	if value.kind != '[' || len(value.list) > limits.advisories {
		f.wrong("advisoryIDs", "no list of up to %d", limits.advisories)
		return nil
	}
	out := make([]string, 0, len(value.list))
	for _, one := range value.list {
		if one.kind != '"' || !isAdvisory(one.text) {
			f.wrong("advisoryIDs", "%q is no advisory", attestd.Excerpt(one.text, 40))
			return nil
		}
		out = append(out, one.text)
	}
	return out
}

// isAdvisory allows what Intel's names are made of, so that nothing else reaches a list in a policy or
// a terminal.
func isAdvisory(text string) bool {
	if text == "" || len(text) > limits.advisory {
		return false
	}
	return strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// readSVNLevels reads levels, the highest first: the first one that is not above what is judged is its
// level, so an order that is not falling would hide one.
func readSVNLevels(f *fields, unknown *[]string) []SVNLevel {
	var out []SVNLevel
	for i, one := range f.array("tcbLevels", limits.levels) {
		level := fieldsOf(one, fmt.Sprintf("%s.tcbLevels[%d]", f.at, i), f.err)
		tcb, _ := level.get("tcb", '{', "an object")
		svn := fieldsOf(tcb, level.at+".tcb", f.err)
		read := SVNLevel{
			ISVSVN: uint16(svn.uint("isvsvn", 1<<16-1)), Judgement: readJudgement(level), //nolint:gosec // bounded
		}
		svn.closed()
		*unknown = level.unknown(*unknown)
		if i > 0 && *f.err == nil && out[i-1].ISVSVN <= read.ISVSVN {
			f.wrong("tcbLevels", "level %d is not below the one before it", i)
		}
		out = append(out, read)
	}
	return out
}
