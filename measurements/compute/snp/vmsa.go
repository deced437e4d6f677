package snp

import "encoding/binary"

// firstEIP is where the first processor starts (AMD 24593, "AMD64 Architecture Programmer's Manual
// Volume 2", section 14.1.5: the reset vector).
const firstEIP = 0xfffffff0

// registers are those of a processor's first state in which monitors differ.
type registers struct {
	// Attributes of segments, in the form of the save area.
	csFirst, csOthers, ss, tr uint16
	pat, rdx                  uint64
	mxcsr                     uint32
	fcw                       uint16
}

// vmsa returns the save area of a processor as it is measured (AMD 24593, table B-4, "VMSA Layout,
// State Save Area for SEV-ES"). What is not named here is zero.
func (r registers) vmsa(eip uint32, cs uint16, features uint64) []byte {
	page := make([]byte, pageSize)
	segment := func(at int, selector, attributes uint16, base uint64) {
		binary.LittleEndian.PutUint16(page[at:], selector)
		binary.LittleEndian.PutUint16(page[at+2:], attributes)
		binary.LittleEndian.PutUint32(page[at+4:], 0xffff)
		binary.LittleEndian.PutUint64(page[at+8:], base)
	}
	const data = 0x93
	segment(0x00, 0, data, 0)                         // ES
	segment(0x10, 0xf000, cs, uint64(eip)&0xffff0000) // CS
	segment(0x20, 0, r.ss, 0)                         // SS
	for _, at := range []int{0x30, 0x40, 0x50} {      // DS, FS, GS
		segment(at, 0, data, 0)
	}
	segment(0x60, 0, 0, 0)    // GDTR
	segment(0x70, 0, 0x82, 0) // LDTR
	segment(0x80, 0, 0, 0)    // IDTR
	segment(0x90, 0, r.tr, 0) // TR
	for _, field := range []struct {
		at    int
		value uint64
	}{
		{0xd0, 0x1000},                // EFER: SVME, which KVM sets
		{0x148, 0x40},                 // CR4: MCE, which KVM sets
		{0x158, 0x10},                 // CR0: ET
		{0x160, 0x400},                // DR7
		{0x168, 0xffff0ff0},           // DR6
		{0x170, 0x2},                  // RFLAGS
		{0x178, uint64(eip) & 0xffff}, // RIP
		{0x268, r.pat},                // G_PAT
		{0x310, r.rdx},                // RDX
		{0x3b0, features},             // SEV_FEATURES
		{0x3e8, 0x1},                  // XCR0: x87
	} {
		binary.LittleEndian.PutUint64(page[field.at:], field.value)
	}
	binary.LittleEndian.PutUint32(page[0x408:], r.mxcsr)
	binary.LittleEndian.PutUint16(page[0x410:], r.fcw)
	return page
}
