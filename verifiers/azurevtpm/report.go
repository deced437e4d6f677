package azurevtpm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/attestd/attestd"
)

// Layout of an HCL report, all little-endian: the header, room for the CPU's report, a header of the
// runtime claims, and the claims.
const (
	headerSize     = 32
	hardwareSize   = 1184 // an SNP report's size; a TDREPORT is shorter
	dataHeaderSize = 20
	offData        = headerSize + hardwareSize
	offClaims      = offData + dataHeaderSize

	magic         = "HCLA"
	requestAKCert = 2 // AK_CERT_REQUEST, the request that the kept report was made for
	dataVersion   = 1
	hashSHA256    = 1
)

// kind is the type of the CPU's report inside an HCL report.
type kind uint32

const (
	kindSNP kind = 2
	kindTDX kind = 4
)

// kindNames are the types that the paravisor's sources name, for messages.
var kindNames = map[kind]string{1: "VBS", kindSNP: "SNP", 3: "TVM", kindTDX: "TDX", 5: "CCA"}

func (k kind) String() string {
	if name, known := kindNames[k]; known {
		return fmt.Sprintf("%d (%s)", uint32(k), name)
	}
	return fmt.Sprint(uint32(k))
}

// hclReport is an HCL report taken apart. Its parts are slices of the input.
type hclReport struct {
	version  uint32
	kind     kind
	hardware []byte // the CPU's report, without the zeros behind it
	claims   []byte
}

// readReport makes the checks of the HCL report. The CPU signs neither header: each of their bytes must
// have the one value that the lengths of the other parts leave it, so that no two reports say the same.
func (s *session) readReport(raw []byte) *fault {
	if bad := checkHeader(raw); bad != nil {
		return bad
	}
	s.report.version = binary.LittleEndian.Uint32(raw[4:])
	s.trail.Pass(checkHCLHeader, wantHeader, wantHeader)
	data := raw[offData:offClaims]
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(data[at:]) }
	claims := len(raw) - offClaims
	switch {
	case word(4) != dataVersion:
		return refuseAs(checkHCLData, attestd.ClassUnsupported, fmt.Sprintf("runtime data of version %d",
			word(4)), "version 1")
	case int64(word(0)) != int64(dataHeaderSize+claims) || int64(word(16)) != int64(claims):
		return refuse(checkHCLData, fmt.Sprintf("runtime data of %d bytes, claims of %d", word(0), word(16)),
			fmt.Sprintf("%d and %d, which the report has", dataHeaderSize+claims, claims))
	case word(12) != hashSHA256:
		return refuseAs(checkHCLData, attestd.ClassUnsupported, fmt.Sprintf("hash type %d", word(12)),
			"1 (SHA-256)")
	}
	s.trail.Pass(checkHCLData, wantData, wantData)
	s.report.claims = raw[offClaims:]
	return s.checkKind(kind(word(8)), raw[headerSize:offData])
}

func checkHeader(raw []byte) *fault {
	if len(raw) <= offClaims || string(raw[:len(magic)]) != magic {
		return refuse(checkHCLHeader, fmt.Sprintf("%d bytes", len(raw)),
			fmt.Sprintf("HCLA, and more than %d bytes", offClaims))
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	switch {
	case word(4) != 1 && word(4) != 2:
		return refuseAs(checkHCLHeader, attestd.ClassUnsupported, fmt.Sprintf("version %d", word(4)),
			"version 1 or 2")
	case int64(word(8)) != int64(len(raw)):
		return refuse(checkHCLHeader, fmt.Sprintf("a report of %d bytes", word(8)),
			fmt.Sprintf("%d, which came", len(raw)))
	case word(12) != requestAKCert:
		return refuseAs(checkHCLHeader, attestd.ClassUnsupported, fmt.Sprintf("request type %d", word(12)),
			"2 (for the attestation key)")
	case word(16) != 0 || !allZero(raw[20:headerSize]):
		return refuse(checkHCLHeader, "a status or reserved bytes that are not zero", "zeros")
	}
	return nil
}

// checkKind finds the CPU's report in its room.
func (s *session) checkKind(of kind, room []byte) *fault {
	const want = "a report of SNP, or one of TDX with zeros behind it"
	switch of {
	case kindSNP:
		s.report.hardware = room
	case kindTDX:
		s.report.hardware = room[:tdReportSize:tdReportSize]
		if !allZero(room[tdReportSize:]) {
			return refuse(checkHCLType, "bytes behind the TDREPORT", want)
		}
	default:
		return refuseAs(checkHCLType, attestd.ClassUnsupported, "a report of type "+of.String(),
			"type "+kindSNP.String()+" or "+kindTDX.String())
	}
	s.report.kind = of
	s.trail.Pass(checkHCLType, "type "+of.String(), want)
	return nil
}

// certificateKinds are the GUIDs of a certificate table (AMD 56421, SNP Extended Guest Request) for the
// certificates of the evidence, in their order: VCEK, ASK, ARK.
var certificateKinds = [...][16]byte{
	{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd},
	{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82},
	{0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae},
}

// derSequence is the first byte of a certificate in DER.
const derSequence = 0x30

// extended is the report with its certificates as a host gives them to a guest that asks for both. In
// that form the verifier of SNP holds every certificate to account: one that is not the chain's is
// refused, where it would pass over one that merely lies beside the evidence.
func extended(report []byte, certificates [][]byte) []byte {
	const entry = 24
	size, header := len(report), entry*(len(certificates)+1)
	for _, certificate := range certificates {
		size += len(certificate)
	}
	out := append(make([]byte, 0, size+header), report...)
	offset := header
	for index, certificate := range certificates {
		out = append(out, certificateKinds[index][:]...)
		out = binary.LittleEndian.AppendUint32(out, uint32(offset))           //nolint:gosec // kilobytes
		out = binary.LittleEndian.AppendUint32(out, uint32(len(certificate))) //nolint:gosec // kilobytes
		offset += len(certificate)
	}
	out = append(out, make([]byte, entry)...)
	for _, certificate := range certificates {
		out = append(out, certificate...)
	}
	return out
}

func allZero(data []byte) bool { return bytes.Count(data, []byte{0}) == len(data) }
