package sevsnp

import "encoding/binary"

// Detect implements verifiers.Verifier. A report has no magic number, so its length and what must
// stand in a few fields decide. Reports that will be refused, such as those of an unknown version,
// are still recognised: their refusal says more than "unknown format".
func (v *Verifier) Detect(evidence []byte) bool {
	if len(evidence) < reportSize || len(evidence) > limits.evidence || otherEnvelope(evidence) {
		return false
	}
	word := func(offset int) uint32 { return binary.LittleEndian.Uint32(evidence[offset:]) }
	signs := 0
	for _, plausible := range []bool{
		word(0) <= 0xff,                         // a small version
		word(offAlgorithm) == 1,                 // ECDSA P-384
		word(0x4c) == 0,                         // reserved
		word(offKeyInfo)>>5 == 0,                // reserved bits
		allBytes(evidence[0x208:0x2a0], 0),      // reserved
		allBytes(evidence[0x330:reportSize], 0), // behind S
	} {
		if plausible {
			signs++
		}
	}
	if len(evidence) == reportSize {
		return signs >= 2
	}
	return signs >= 4
}

// otherEnvelope recognises what begins as CBOR (COSE_Sign1, tagged or not) or text does.
func otherEnvelope(evidence []byte) bool {
	switch evidence[0] {
	case 0x84, 0xd2, '{', '-':
		return true
	default:
		return false
	}
}
