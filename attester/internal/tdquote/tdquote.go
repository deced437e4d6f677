// Package tdquote finds the end of a TD quote in what a host gave.
//
// What comes in: bytes of a host's. What is true where [Cut] returns no error: they begin as a quote of
// version 4 or 5 of a trust domain, and nothing but zeros lies behind the end that its lengths name.
// What is not shown: that the quote is genuine.
package tdquote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
)

// Layout of quotes in bytes (Intel TDX DCAP Quoting Library API, revision 0.9, appendix A.3: version 4
// in A.3.1 to A.3.2, version 5 in A.3.5 and later).
const (
	headerSize   = 48
	bodyTD10     = 584
	bodyTD15     = 648
	bodyHead     = 6 // of version 5: type in 2 bytes, size in 4
	dataInBody   = 520
	dataSize     = 64
	teeTypeTDX   = 0x81
	minSignature = 64 + 64 + 6 // signature, key, and the head of the certification data
)

// Quote is a quote without what lies behind its end.
type Quote struct{ Bytes, ReportData []byte }

// Cut finds the end of a quote by the lengths in it. Kernels and services hand out as much as the host
// says, and hosts fill up: a verifier takes no byte behind the end.
func Cut(blob []byte) (Quote, error) {
	if len(bytes.Trim(blob, "\x00")) == 0 {
		return Quote{}, &attestd.CallerError{
			Class: attestd.ClassConfig, Err: errors.New("the quote is empty"),
			Hint: "look at the host: what makes quotes there (Intel's quote generation service) gave none",
		}
	}
	if len(blob) < headerSize+bodyHead {
		return Quote{}, fmt.Errorf("the quote has %d bytes, want more than %d", len(blob), headerSize+bodyHead)
	}
	version, tee := binary.LittleEndian.Uint16(blob), binary.LittleEndian.Uint32(blob[4:])
	if tee != teeTypeTDX {
		return Quote{}, fmt.Errorf("the quote is of TEE type 0x%x, want 0x%x for TDX", tee, teeTypeTDX)
	}
	body, size := headerSize, bodyTD10
	switch version {
	case 4:
	case 5:
		body += bodyHead
		switch kind, said := binary.LittleEndian.Uint16(blob[headerSize:]),
			binary.LittleEndian.Uint32(blob[headerSize+2:]); {
		case kind == 2 && said == bodyTD10:
		case kind == 3 && said == bodyTD15:
			size = bodyTD15
		default:
			return Quote{}, fmt.Errorf("the quote's body is of type %d with %d bytes, want 2 with %d or 3 with %d",
				kind, said, bodyTD10, bodyTD15)
		}
	default:
		return Quote{}, &attestd.CallerError{
			Class: attestd.ClassUnsupported, Hint: "quotes of version 4 and 5 are collected",
			Err: fmt.Errorf("the quote is of version %d", version),
		}
	}
	at := body + size
	if len(blob) < at+4 {
		return Quote{}, fmt.Errorf("the quote has %d bytes, want more than %d", len(blob), at+4)
	}
	signature := uint64(binary.LittleEndian.Uint32(blob[at:]))
	end := uint64(at) + 4 + signature //nolint:gosec // at is below 1,000
	if signature < minSignature || end > uint64(len(blob)) {
		return Quote{}, fmt.Errorf("the quote says that its signature has %d bytes, and %d lie behind its body",
			signature, len(blob)-at-4)
	}
	if len(bytes.Trim(blob[end:], "\x00")) != 0 {
		return Quote{}, fmt.Errorf("%d bytes that are not zero lie behind the end of the quote",
			len(bytes.TrimRight(blob[end:], "\x00")))
	}
	return Quote{Bytes: bytes.Clone(blob[:end]), ReportData: bytes.Clone(blob[body+dataInBody:][:dataSize])}, nil
}
