package snp

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/attestd/attestd/measurements/compute"
)

// DirectBoot is a kernel that the monitor loads and the firmware measures.
type DirectBoot struct {
	// Kernel and Initrd are the SHA-256 of the files as they are given to the monitor. Without an
	// initrd, it is that of no bytes.
	Kernel, Initrd [32]byte
	// CommandLine as it is given to the monitor, without a NUL.
	CommandLine string
}

// GUIDs of the table of hashes (QEMU, target/i386/sev.c, and edk2, OvmfPkg/AmdSev/
// BlobVerifierLibSevHashes).
var (
	hashesGUID      = mustGUID("9438d606-4f22-4cc9-b479-a793d411fd21")
	kernelEntryGUID = mustGUID("4de79437-abd2-427f-b835-d5b172d2045b")
	initrdEntryGUID = mustGUID("44baf731-3a2f-4bd7-9af1-41e29169781d")
	lineEntryGUID   = mustGUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
)

// hashTableSize is that of the table, filled up to a multiple of 16 bytes.
const hashTableSize = (entryTail + 3*(entryTail+sha256.Size) + 15) &^ 15

// page returns the page that has the table at an offset, zero around it.
func (d *DirectBoot) page(offset uint32) ([]byte, error) {
	if strings.ContainsRune(d.CommandLine, 0) {
		return nil, compute.Misdescribed("a command line without a NUL, which would end it",
			"one with a NUL")
	}
	const entry = entryTail + sha256.Size
	line := sha256.Sum256(append([]byte(d.CommandLine), 0)) // it is loaded with its NUL
	page := make([]byte, pageSize)
	table := page[offset:offset]
	table = appendHead(table, hashesGUID, entryTail+3*entry)
	table = append(appendHead(table, lineEntryGUID, entry), line[:]...)
	table = append(appendHead(table, initrdEntryGUID, entry), d.Initrd[:]...)
	_ = append(appendHead(table, kernelEntryGUID, entry), d.Kernel[:]...)
	return page, nil
}

func appendHead(to []byte, id guid, length uint16) []byte {
	return binary.LittleEndian.AppendUint16(append(to, id[:]...), length)
}
