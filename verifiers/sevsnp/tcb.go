package sevsnp

import (
	"fmt"

	"github.com/attestd/attestd"
)

// tcb is a TCB_VERSION of Milan or Genoa: four security patch levels that are compared one by one.
// As one 64-bit number a high microcode level would hide a boot loader that was rolled back
// (AMD 56860 rev 1.58, section 2.2, Table 3).
type tcb struct{ bootloader, tee, snp, microcode uint8 }

func readTCB(raw []byte) tcb {
	return tcb{bootloader: raw[0], tee: raw[1], snp: raw[6], microcode: raw[7]}
}

// noneAbove reports whether every component of t is at most that of other.
func (t tcb) noneAbove(other tcb) bool {
	return t.bootloader <= other.bootloader && t.tee <= other.tee && t.snp <= other.snp &&
		t.microcode <= other.microcode
}

func (t tcb) value() attestd.Value {
	return attestd.Components(
		attestd.Component{Name: "bootloader", Value: uint64(t.bootloader)},
		attestd.Component{Name: "tee", Value: uint64(t.tee)},
		attestd.Component{Name: "snp", Value: uint64(t.snp)},
		attestd.Component{Name: "microcode", Value: uint64(t.microcode)},
	)
}

func (t tcb) String() string {
	return fmt.Sprintf("bootloader=%d tee=%d snp=%d microcode=%d",
		t.bootloader, t.tee, t.snp, t.microcode)
}
