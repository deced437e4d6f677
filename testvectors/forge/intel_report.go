package forge

import (
	"crypto/sha512"
	"encoding/binary"
)

// Offsets within a TDREPORT (Intel TDX Module ABI, section TDREPORT_STRUCT).
const (
	tdReportSize = 1024
	tdTCBInfo    = 256 // TEE_TCB_INFO, 239 bytes
	tdInfo       = 512 // TDINFO, 512 bytes
)

// Report returns a TDREPORT with the quote's fields: what a trust domain gets from its module, for
// the quoting enclave of the same machine alone. Its MAC is nobody's.
func (q TDQuote) Report() []byte {
	out := make([]byte, tdReportSize)
	little := binary.LittleEndian
	little.PutUint32(out, q.TEE)
	copy(out[16:], q.QE.CPUSVN[:])
	copy(out[128:], q.ReportData[:])
	for at := range 32 {
		out[224+at] = byte(0x40 + at)
	}
	tcb := out[tdTCBInfo:]
	little.PutUint64(tcb, 0x301ff)
	copy(tcb[8:], q.TEETCBSVN[:])
	copy(tcb[24:], q.MRSEAM[:])
	copy(tcb[72:], q.MRSignerSEAM[:])
	little.PutUint64(tcb[120:], q.SEAMAttributes)
	copy(tcb[128:], q.TEETCBSVN2[:])
	info := out[tdInfo:]
	little.PutUint64(info, q.TDAttributes)
	little.PutUint64(info[8:], q.XFAM)
	for at, field := range [][48]byte{q.MRTD, q.MRConfigID, q.MROwner, q.MROwnerConfig,
		q.RTMR[0], q.RTMR[1], q.RTMR[2], q.RTMR[3], q.MRServiceTD} {
		copy(info[16+48*at:], field[:])
	}
	digest := sha512.Sum384(tcb[:239])
	copy(out[32:], digest[:])
	digest = sha512.Sum384(info[:512])
	copy(out[80:], digest[:])
	return out
}
