package azurevtpm

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
)

// Layout of a TDREPORT (Intel TDX Module 1.5 ABI, section "TDREPORT_STRUCT").
const (
	tdReportSize = 1024
	tdReportType = 0x81
	tdSEAMSize   = 239 // TEE_TCB_INFO
	tdSEAMUsed   = 144 // of it, up to TEE_TCB_SVN2
	tdInfoSize   = 512 // TDINFO
	tdInfoUsed   = 448 // of it, up to SERVTD_HASH

	tdOffSEAMHash = 32
	tdOffInfoHash = 80
	tdOffData     = 128
	tdOffReserved = 192
	tdOffMAC      = 224
	tdOffSEAM     = 256
	tdOffInfo     = 512
)

// Layout of a quote's body behind its header, which the verifier of TDX has checked before.
const (
	quoteBody4  = 48         // a version 4 quote: header, then body
	quoteBody5  = 48 + 2 + 4 // version 5 has type and size of the body between
	quoteBody10 = 584
	quoteBody15 = 648
)

// field is where TDREPORT and quote have the same.
type field struct {
	name                string
	report, quote, size int
}

var agreed = []field{
	{"TEE_TCB_SVN", tdOffSEAM + 8, 0, 16},
	{"MRSEAM", tdOffSEAM + 24, 16, 48},
	{"MRSIGNERSEAM", tdOffSEAM + 72, 64, 48},
	{"SEAM attributes", tdOffSEAM + 120, 112, 8},
	{"ATTRIBUTES", tdOffInfo, 120, 8},
	{"XFAM", tdOffInfo + 8, 128, 8},
	{"MRTD", tdOffInfo + 16, 136, 48},
	{"MRCONFIGID", tdOffInfo + 64, 184, 48},
	{"MROWNER", tdOffInfo + 112, 232, 48},
	{"MROWNERCONFIG", tdOffInfo + 160, 280, 48},
	{"RTMR0", tdOffInfo + 208, 328, 48},
	{"RTMR1", tdOffInfo + 256, 376, 48},
	{"RTMR2", tdOffInfo + 304, 424, 48},
	{"RTMR3", tdOffInfo + 352, 472, 48},
	{"REPORTDATA", tdOffData, 520, 64},
}

// checkTDReport demands that the TDREPORT says what the quote says. A TDREPORT is for the quoting
// enclave of its own machine: its MAC shows nothing to anybody else, so that it is compared and never
// believed. One that says something else means that the quote is another domain's.
func checkTDReport(report, quote []byte) *fault {
	body, ok := bodyOf(quote)
	if !ok {
		return refuse(checkTD, "a quote whose body is not known here", "a quote of version 4 or 5")
	}
	if bad := wellFormed(report); bad != nil {
		return bad
	}
	for _, f := range agreed {
		if !bytes.Equal(report[f.report:f.report+f.size], body[f.quote:f.quote+f.size]) {
			return refuse(checkTD, "another "+f.name+" in the TDREPORT than in the quote", wantTDReport)
		}
	}
	if len(body) == quoteBody15 {
		return checkBody15(report, body)
	}
	return nil
}

// checkBody15 compares what only bodies of TDX 1.5 have.
func checkBody15(report, body []byte) *fault {
	for _, f := range [...]field{
		{"TEE_TCB_SVN_2", tdOffSEAM + 128, 584, 16}, {"MRSERVICETD", tdOffInfo + 400, 600, 48},
	} {
		if !bytes.Equal(report[f.report:f.report+f.size], body[f.quote:f.quote+f.size]) {
			return refuse(checkTD, "another "+f.name+" in the TDREPORT than in the quote", wantTDReport)
		}
	}
	return nil
}

const wantTDReport = "a TDREPORT with the quote's values"

// wellFormed leaves a TDREPORT no bytes of its own but those that no quote has: version, CPUSVN, MAC,
// VALID, and what bodies of TDX 1.0 leave out.
func wellFormed(report []byte) *fault {
	seam := sha512.Sum384(report[tdOffSEAM : tdOffSEAM+tdSEAMSize])
	info := sha512.Sum384(report[tdOffInfo : tdOffInfo+tdInfoSize])
	switch {
	case report[0] != tdReportType || report[1] != 0 || report[2] != 0 || report[3] > 1:
		return refuse(checkTD, fmt.Sprintf("report type %x", report[:4]), "type 0x81, version 0 or 1")
	case !allZero(report[4:16]), !allZero(report[tdOffReserved:tdOffMAC]),
		!allZero(report[tdOffSEAM+tdSEAMUsed : tdOffInfo]),
		!allZero(report[tdOffInfo+tdInfoUsed:]):
		return refuse(checkTD, "reserved bytes of the TDREPORT that are not zero", "zeros")
	case !bytes.Equal(seam[:], report[tdOffSEAMHash:tdOffInfoHash]),
		!bytes.Equal(info[:], report[tdOffInfoHash:tdOffData]):
		return refuse(checkTD, "a TDREPORT whose hashes are not those of its parts", wantTDReport)
	}
	return nil
}

// bodyOf returns the body of a quote that the verifier of TDX accepted.
func bodyOf(quote []byte) ([]byte, bool) {
	from, size := quoteBody4, quoteBody10
	if len(quote) < quoteBody5 {
		return nil, false
	}
	switch binary.LittleEndian.Uint16(quote) {
	case 4:
	case 5:
		from = quoteBody5
		stated := binary.LittleEndian.Uint32(quote[quoteBody4+2:])
		if stated != quoteBody10 && stated != quoteBody15 {
			return nil, false
		}
		size = int(stated)
	default:
		return nil, false
	}
	if len(quote) < from+size {
		return nil, false
	}
	return quote[from : from+size], true
}
