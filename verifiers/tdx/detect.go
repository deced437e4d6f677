package tdx

import (
	"encoding/binary"

	"github.com/attestd/attestd/internal/tdxevidence"
)

// Detect implements verifiers.Verifier. A quote has no magic number: what must stand in its header
// decides. Quotes that will be refused, such as those of an unknown version or of an SGX enclave, and
// TDREPORTs are recognised too: their refusal says more than "unknown format".
func (v *Verifier) Detect(evidence []byte) bool {
	if tdxevidence.IsEvidence(evidence) {
		return true
	}
	if len(evidence) < headerSize+body10Size+4 {
		return false
	}
	if len(evidence) == tdReportSize && binary.LittleEndian.Uint32(evidence) == teeTDX {
		return true // REPORTTYPE: TDX, subtype, version and reserved zero
	}
	signs := 0
	for _, plausible := range []bool{
		binary.LittleEndian.Uint16(evidence)-3 <= 5,           // version 3 to 8
		binary.LittleEndian.Uint16(evidence[2:])-1 <= 3,       // key type; SNP reports have 0
		binary.LittleEndian.Uint32(evidence[4:])&^teeTDX == 0, // TEE type
		[16]byte(evidence[12:28]) == vendorIntel,              // quoting enclave's vendor
	} {
		if plausible {
			signs++
		}
	}
	return signs >= 3
}
