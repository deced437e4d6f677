package sevsnp

import (
	"fmt"

	"github.com/attestd/attestd"
)

// tcb is a TCB_VERSION: security patch levels that are compared one by one. As one 64-bit number a
// high microcode level would hide a boot loader that was rolled back (AMD 56860 rev 1.58, section
// 2.2, Tables 3 and 4).
type tcb struct {
	fmc, bootloader, tee, snp, microcode uint8
	// turin says that the level fmc exists: Turin's TCB_VERSION has it, in the byte where Milan and
	// Genoa have the boot loader's.
	turin bool
}

// readTCB reads a TCB_VERSION in the order of bytes of the product line. In the wrong one Turin's
// microcode would still stand in its place, and a boot loader of level 0 in that of the firmware.
func readTCB(raw []byte, turin bool) tcb {
	if turin {
		return tcb{fmc: raw[0], bootloader: raw[1], tee: raw[2], snp: raw[3], microcode: raw[7],
			turin: true}
	}
	return tcb{bootloader: raw[0], tee: raw[1], snp: raw[6], microcode: raw[7]}
}

// reservedTCB are the bytes of a TCB_VERSION that must be zero.
func reservedTCB(turin bool) (from, until int) {
	if turin {
		return 4, 7
	}
	return 2, 6
}

// noneAbove reports whether every component of t is at most that of other.
func (t tcb) noneAbove(other tcb) bool {
	return t.fmc <= other.fmc && t.bootloader <= other.bootloader && t.tee <= other.tee &&
		t.snp <= other.snp && t.microcode <= other.microcode
}

func (t tcb) value() attestd.Value {
	parts := [...]attestd.Component{
		{Name: "fmc", Value: uint64(t.fmc)},
		{Name: "bootloader", Value: uint64(t.bootloader)},
		{Name: "tee", Value: uint64(t.tee)},
		{Name: "snp", Value: uint64(t.snp)},
		{Name: "microcode", Value: uint64(t.microcode)},
	}
	if !t.turin {
		return attestd.Components(parts[1:]...)
	}
	return attestd.Components(parts[:]...)
}

func (t tcb) String() string {
	text := fmt.Sprintf("bootloader=%d tee=%d snp=%d microcode=%d",
		t.bootloader, t.tee, t.snp, t.microcode)
	if t.turin {
		return fmt.Sprintf("fmc=%d ", t.fmc) + text
	}
	return text
}
