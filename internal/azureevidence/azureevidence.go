// Package azureevidence is the container in which the parts of an Azure confidential VM's evidence
// travel together: the report that the paravisor keeps in the vTPM, what the vTPM itself says, and what
// the host's services give about the CPU, each byte for byte as it was given.
//
// What comes in to [Parse]: bytes that an attacker chose. What is true where it returned no error:
// they are the one encoding of the [Evidence] that it returns (deterministic CBOR, RFC 8949 section
// 4.2.1: a map with ascending keys, shortest lengths, nothing behind it), and no part is over its
// limit. What is not shown: anything about the parts themselves; the TPM's part is a container of its
// own (package tpmevidence), which is not opened here.
//
// The map's keys are small numbers; 0 is first and holds the format's name, so that the first bytes
// tell this format from every other. A part that is absent has no key: nothing is null or empty.
package azureevidence

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Evidence are the parts. Parse gives slices of its input.
type Evidence struct {
	// HCLReport is the report of the host compatibility layer, Azure's paravisor: NV index 0x01400001
	// without the zeros behind the report (see [CutReport]).
	HCLReport []byte
	// TPM is evidence of the vTPM in the container of package tpmevidence: its attestation key, quote,
	// PCR values and boot log.
	TPM []byte
	// TDQuote is the quote that the host's service made of the TDREPORT inside HCLReport; nil on AMD.
	TDQuote []byte
	// Certificates are the CPU's key's VCEK, and behind it ASK and ARK, in DER and in this order; the last
	// ones may be left out, and all of them where the verifier has them. None on Intel, whose quotes
	// bring theirs.
	Certificates [][]byte
}

// limits bound every part. They are several times what Azure gives, so that an honest machine never
// meets one.
var limits = struct{ evidence, report, tpm, quote, certificate, certificates int }{
	evidence:     8<<20 + 128<<10,
	report:       8 << 10, // Azure's NV index has 2,600 bytes
	tpm:          8 << 20, // the limit of package tpmevidence
	quote:        32 << 10,
	certificate:  4 << 10, // AMD's have 1,300 to 1,700 bytes
	certificates: 3,
}

// Name is the format's name, the value of key 0.
const Name = "attestd/azure-evidence/v1"

// Keys of the map, in their order.
const (
	keyName uint64 = iota
	keyHCLReport
	keyTPM
	keyTDQuote
	keyCertificates
	keyCount
)

// prefix are the bytes behind the map's head: key 0 and the name.
const prefix = "\x00\x78\x19" + Name

// IsEvidence reports whether data begins as this format does. It is cheap and shows nothing more.
func IsEvidence(data []byte) bool {
	return len(data) > len(prefix) && data[0] > 0xa0 && data[0] <= 0xa0|byte(keyCount) &&
		string(data[1:1+len(prefix)]) == prefix
}

// CutReport returns the report at the begin of what NV index 0x01400001 holds, which is larger than
// the report: its header says in bytes 8 to 11, little-endian, where it ends.
//
// Errors: no report, one that is longer than the index, and other bytes than zeros behind it, which
// would be lost.
func CutReport(index []byte) ([]byte, error) {
	const header = 32
	if len(index) < header || string(index[:4]) != "HCLA" {
		return nil, errors.New("no HCL report: want one that begins with HCLA")
	}
	size := int64(binary.LittleEndian.Uint32(index[8:]))
	if size < header || size > int64(len(index)) || size > int64(limits.report) {
		return nil, fmt.Errorf("an HCL report of %d bytes in an index of %d", size, len(index))
	}
	for at, value := range index[size:] {
		if value != 0 {
			return nil, fmt.Errorf("byte %d behind an HCL report of %d bytes is 0x%02x, want zeros",
				int64(at)+size, size, value)
		}
	}
	return index[:size:size], nil
}
