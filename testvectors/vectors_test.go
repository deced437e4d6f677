package testvectors_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors"
)

// TestVectorsThroughTheLibrary judges every vector that could be loaded.
func TestVectorsThroughTheLibrary(t *testing.T) {
	entry := newLibrary(t, judge.Config{})
	counts := map[attestd.Verdict]int{}
	for _, vector := range corpus(t).Vectors {
		t.Run(vector.Name, func(t *testing.T) {
			verdict := entry.ask(t, vector, vector.At)
			counts[verdict.Verdict]++
			compare(t, vector, verdict)
		})
	}
	t.Logf("%d accepted, %d rejected, %d undecided", counts[attestd.VerdictAccepted],
		counts[attestd.VerdictRejected], counts[attestd.VerdictUndecided])
}

// TestRecordedDocumentsFailNow judges every Nitro document at the present time: the leaf of a
// document lives for three hours, so whoever takes the document's own time for the present accepts
// it for ever.
//
// neg: 37
func TestRecordedDocumentsFailNow(t *testing.T) {
	entry := newLibrary(t, judge.Config{})
	vectors := corpus(t).Format(attestd.FormatNitro)
	for _, vector := range vectors {
		t.Run(vector.Name, func(t *testing.T) {
			verdict := entry.ask(t, vector, time.Now())
			want := attestd.CheckID("nitro/chain-validity")
			if slices.Contains(beforeValidity, vector.Check) {
				want = vector.Check
			}
			if verdict.Verdict != attestd.VerdictRejected || decisive(verdict) != want {
				t.Errorf("%v by %q, want rejected by %q", verdict.Verdict, decisive(verdict), want)
			}
		})
	}
	t.Logf("%d documents", len(vectors))
}

// beforeValidity are the checks that come before the one of validity.
var beforeValidity = []attestd.CheckID{"nitro/certificates"}

// TestSplices puts parts of one vector into another: the signature, the certificate beside it, or
// the signed part. Only what belongs together is accepted.
func TestSplices(t *testing.T) {
	entry := newLibrary(t, judge.Config{})
	good := slices.DeleteFunc(corpus(t).Vectors, func(v testvectors.Vector) bool {
		return v.Expect != attestd.VerdictAccepted
	})
	tried, accepted, refusedBy := 0, 0, map[attestd.CheckID]int{}
	for _, body := range good {
		for _, donor := range good {
			// Some evidence stands in several rows, each beside other certificates or lists.
			if body.Format != donor.Format || bytes.Equal(body.Evidence, donor.Evidence) {
				continue
			}
			for what, spliced := range splices(body, donor) {
				tried++
				for _, at := range []time.Time{body.At, donor.At} {
					verdict := entry.ask(t, spliced, at)
					refusedBy[decisive(verdict)]++
					if verdict.Verdict == attestd.VerdictAccepted {
						accepted++
						t.Errorf("%s with the %s of %s was accepted", body.Name, what, donor.Name)
					}
				}
			}
		}
	}
	t.Logf("%d splices of %d vectors, %d accepted; refused by %v", tried, len(good), accepted, refusedBy)
}

// sameChip compares CHIP_ID and REPORTED_TCB, which a chip's key is derived from.
func sameChip(a, b []byte) bool {
	const tcb, chip = 0x180, 0x1a0
	return string(a[tcb:tcb+8]) == string(b[tcb:tcb+8]) && string(a[chip:chip+64]) == string(b[chip:chip+64])
}

// leafOf returns the certificate field of a document with its two-byte CBOR length, and withLeaf a
// document with another one, its payload length mended: the splice must fail by what it says and not
// by how it is written.
func leafOf(document []byte) []byte {
	at := bytes.Index(document, []byte("certificateY")) + len("certificate")
	return document[at : at+3+int(binary.BigEndian.Uint16(document[at+1:]))]
}

func withLeaf(document, leaf []byte) []byte {
	const payloadLength = 8 // behind 84 44 a1013822 a0 59
	old := leafOf(document)
	changed := bytes.Replace(document, old, leaf, 1)
	length := int(binary.BigEndian.Uint16(changed[payloadLength:])) + len(leaf) - len(old)
	binary.BigEndian.PutUint16(changed[payloadLength:], uint16(length)) //nolint:gosec // some 4,500
	return changed
}

// parts takes a container of TPM evidence apart, packed puts one together.
func parts(container []byte) tpmevidence.Evidence {
	evidence, err := tpmevidence.Parse(container)
	if err != nil {
		panic(err)
	}
	return evidence
}

func packed(evidence tpmevidence.Evidence) []byte {
	container, err := evidence.Marshal()
	if err != nil {
		panic(err)
	}
	return container
}

// splices returns body with parts of donor.
func splices(body, donor testvectors.Vector) map[string]testvectors.Vector {
	out := map[string]testvectors.Vector{}
	put := func(what string, evidence []byte, endorsements attestd.Endorsements) {
		changed := body
		changed.Evidence, changed.Endorsements = evidence, endorsements
		out[what] = changed
	}
	switch body.Format {
	case attestd.FormatNitro:
		// A COSE_Sign1 of ES384 ends in its 96-byte signature.
		const signature = 96
		cut := len(body.Evidence) - signature
		put("signature", slices.Concat(body.Evidence[:cut],
			donor.Evidence[len(donor.Evidence)-signature:]), body.Endorsements)
		put("leaf certificate", withLeaf(body.Evidence, leafOf(donor.Evidence)), body.Endorsements)
		put("leaf certificate and signature", slices.Concat(
			withLeaf(body.Evidence[:cut], leafOf(donor.Evidence)),
			donor.Evidence[len(donor.Evidence)-signature:]), body.Endorsements)
	case attestd.FormatSEVSNP:
		// Signed bytes 0 to 0x2A0, then the signature up to 0x4A0 (AMD 56860, section 7.3, table 23).
		const signed, report = 0x2a0, 0x4a0
		put("signature", slices.Concat(body.Evidence[:signed], donor.Evidence[signed:report],
			body.Evidence[report:]), body.Endorsements)
		if sameChip(body.Evidence, donor.Evidence) {
			break // AMD issues certificates for one key again and again; each of them will do
		}
		if len(body.Endorsements.Certificates) > 0 && len(donor.Endorsements.Certificates) > 0 {
			put("certificate", body.Evidence, donor.Endorsements)
		}
		if len(body.Evidence) > report || len(donor.Evidence) > report {
			put("certificate table", slices.Concat(body.Evidence[:report], donor.Evidence[report:]),
				donor.Endorsements)
		}
	case attestd.FormatTDX:
		for what, evidence := range tdxSplices(body, donor) {
			put(what, evidence, body.Endorsements)
		}
	case attestd.FormatTPM:
		own, other := parts(body.Evidence), parts(donor.Evidence)
		splice := func(what string, edit func(*tpmevidence.Evidence)) {
			changed := own
			edit(&changed)
			if evidence := packed(changed); !bytes.Equal(evidence, body.Evidence) &&
				!bytes.Equal(evidence, donor.Evidence) {
				put(what, evidence, body.Endorsements)
			}
		}
		splice("signature", func(e *tpmevidence.Evidence) { e.QuoteSignature = other.QuoteSignature })
		splice("quote", func(e *tpmevidence.Evidence) { e.Quote = other.Quote })
		splice("PCR values", func(e *tpmevidence.Evidence) { e.PCRs = other.PCRs })
		splice("attestation key", func(e *tpmevidence.Evidence) { e.AKPublic = other.AKPublic })
		splice("parents", func(e *tpmevidence.Evidence) { e.AKParents = other.AKParents })
	}
	return out
}
