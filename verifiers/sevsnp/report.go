package sevsnp

import (
	"encoding/binary"
	"fmt"

	"github.com/attestd/attestd"
)

// Where the fields of a report lie (AMD 56860 rev 1.58, section 7.3, Table 23).
const (
	reportSize = 0x4a0
	// signedSize are the bytes that the signature covers.
	signedSize = 0x2a0

	offPolicy          = 0x008
	offFamilyID        = 0x010
	offImageID         = 0x020
	offVMPL            = 0x030
	offAlgorithm       = 0x034
	offCurrentTCB      = 0x038
	offPlatformInfo    = 0x040
	offKeyInfo         = 0x048
	offReportData      = 0x050
	offMeasurement     = 0x090
	offHostData        = 0x0c0
	offIDKeyDigest     = 0x0e0
	offAuthorKeyDigest = 0x110
	offReportID        = 0x140
	offReportIDMA      = 0x160
	offReportedTCB     = 0x180
	offCPUID           = 0x188
	offChipID          = 0x1a0
	offCommittedTCB    = 0x1e0
	offCurrentVersion  = 0x1e8
	offCommittedVer    = 0x1ec
	offLaunchTCB       = 0x1f0
	offLaunchMIT       = 0x1f8
	offCurrentMIT      = 0x200
	offAfterMIT        = 0x208
)

// Report versions that are read. Version 3 added CPUID, version 5 the mitigation vectors.
const (
	oldestVersion   = 2
	versionCPUID    = 3
	versionMIT      = 5
	newestVersion   = 5
	hostRequestVMPL = 0xffffffff
)

// report is a view of the 1,184 bytes of a report. It aliases the evidence and never leaves a
// verification.
type report struct {
	raw     []byte
	version uint32
	// model is the product by CPUID; the zero model where the version has no CPUID.
	model model
}

func (r report) u32(offset int) uint32 { return binary.LittleEndian.Uint32(r.raw[offset:]) }
func (r report) u64(offset int) uint64 { return binary.LittleEndian.Uint64(r.raw[offset:]) }

func (r report) policy() uint64       { return r.u64(offPolicy) }
func (r report) platformInfo() uint64 { return r.u64(offPlatformInfo) }
func (r report) vmpl() uint32         { return r.u32(offVMPL) }
func (r report) signingKey() uint32   { return r.u32(offKeyInfo) >> 2 & 7 }
func (r report) reportData() []byte   { return r.raw[offReportData:offMeasurement] }
func (r report) measurement() []byte  { return r.raw[offMeasurement:offHostData] }
func (r report) reportID() []byte     { return r.raw[offReportID:offReportIDMA] }
func (r report) kind() keyKind        { return keyKind(r.signingKey()) } //nolint:gosec // 3 bits
func (r report) turin() bool          { return r.model.line.turin() }
func (r report) tcb(offset int) tcb   { return readTCB(r.raw[offset:], r.turin()) }
func (r report) fms() (f, m, s byte)  { return r.raw[0x188], r.raw[0x189], r.raw[0x18a] }
func (r report) hasCPUID() bool       { return r.version >= versionCPUID }
func (r report) hasMIT() bool         { return r.version >= versionMIT }
func (r report) migrationAgent() bool { return !allBytes(r.raw[offReportIDMA:offReportedTCB], 0xff) }

// chipIDSize is how many bytes of CHIP_ID name a chip: Turin's HWID has eight (AMD 57230 rev 0.50,
// section 3.1).
func (r report) chipIDSize() int {
	if r.turin() {
		return hwidSizeTurin
	}
	return hwidSize
}

// chipID is the name of the chip in the length that its VCEK has it.
func (r report) chipID() []byte { return r.raw[offChipID : offChipID+r.chipIDSize()] }

// chipIDMasked says that the host hides the chip's name (MASK_CHIP_ID).
func (r report) chipIDMasked() bool { return allBytes(r.chipID(), 0) }

// namesChip says that the report names its chip, and that the key that signs it is that chip's. A
// VLEK is one key in many machines: no certificate vouches for a name beside it.
func (r report) namesChip() bool { return r.kind() == kindVCEK && !r.chipIDMasked() }

func (r report) provisional() bool {
	return r.u32(offCurrentVersion) != r.u32(offCommittedVer)
}

// Byte ranges that must be zero, beside those of the TCB_VERSIONs, which are the product's.
var (
	reservedAlways = [][2]int{
		{0x4c, 0x50}, {0x18b, offChipID}, {0x1eb, 0x1ec}, {0x1ef, 0x1f0}, {offAfterMIT, signedSize},
	}
	reservedBeforeCPUID = [][2]int{{offCPUID, 0x18b}}
	// Before version 5 the mitigation vectors do not exist: bytes there are refused, never read as
	// vectors, or an old report could claim mitigations that its firmware knows nothing of.
	reservedBeforeMIT = [][2]int{{offLaunchMIT, offAfterMIT}}
)

// layout returns what is wrong with the fixed bits and reserved bytes, or nil.
func (r report) layout() *fault {
	bad := r.zero(reservedAlways...)
	from, until := reservedTCB(r.turin())
	for _, at := range [...]int{offCurrentTCB, offReportedTCB, offCommittedTCB, offLaunchTCB} {
		if bad == nil {
			bad = r.zero([2]int{at + from, at + until})
		}
	}
	if bad == nil {
		// What stands behind a short name could otherwise tell two reports of one chip apart.
		bad = r.zero([2]int{offChipID + r.chipIDSize(), offCommittedTCB})
	}
	if bad == nil && !r.hasCPUID() {
		bad = r.zero(reservedBeforeCPUID...)
	}
	if bad == nil && !r.hasMIT() {
		bad = r.zero(reservedBeforeMIT...)
	}
	if bad != nil {
		return bad
	}
	if info := r.u32(offKeyInfo); info>>5 != 0 {
		return refuse(checkLayout, fmt.Sprintf("key information 0x%08x", info), "bits 31:5 are zero")
	}
	if r.policy()&policyReservedOne == 0 {
		return refuse(checkLayout, fmt.Sprintf("guest policy 0x%x", r.policy()), "bit 17 is one")
	}
	return nil
}

func (r report) zero(ranges ...[2]int) *fault {
	for _, span := range ranges {
		for at := span[0]; at < span[1]; at++ {
			if r.raw[at] != 0 {
				return refuse(checkLayout, fmt.Sprintf("byte 0x%03x is 0x%02x", at, r.raw[at]),
					"reserved bytes are zero")
			}
		}
	}
	return nil
}

// checkReportVersion refuses versions whose layout is not known: reading a field where another one
// lies would turn a signed statement into a different one.
func (r report) checkReportVersion() *fault {
	if r.version < oldestVersion || r.version > newestVersion {
		return refuse(checkVersion, fmt.Sprintf("version %d", r.version), "version 2, 3, 4 or 5")
	}
	return nil
}

// wantSigningKey are the kinds of keys that may sign, for messages.
const wantSigningKey = "0 (VCEK) or 1 (VLEK)"

// checkSigningKey refuses reports that neither VCEK nor VLEK signed: an unsigned one proves nothing.
func (r report) checkSigningKey() *fault {
	const want = wantSigningKey
	switch key := r.signingKey(); key {
	case uint32(kindVCEK), uint32(kindVLEK):
		return nil
	case 7:
		return refuseAs(checkSigningKey, attestd.ClassChain, "7 (none: the report is not signed)", want)
	default:
		return refuseAs(checkSigningKey, attestd.ClassUnsupported,
			fmt.Sprintf("%d (reserved)", key), want)
	}
}

func allBytes(data []byte, value byte) bool {
	for _, b := range data {
		if b != value {
			return false
		}
	}
	return true
}
