package forge

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// OVMF describes firmware for SEV-SNP guests as package forge writes it. Nothing in it runs.
type OVMF struct {
	// Size in bytes; whole pages of 4096, and one at least.
	Size int
	// Reset is where further processors start, Hashes where the area for kernel hashes lies and how
	// large it is.
	Reset    uint32
	Hashes   [2]uint32
	Sections []OVMFSection
}

// OVMFSection is memory that the firmware asks for.
type OVMFSection struct{ Start, Size, Kind uint32 }

// AmdSevOVMF has the table of edk2's OvmfPkg/AmdSev as of edk2-stable202405, which measures a
// kernel.
func AmdSevOVMF(size int) OVMF {
	return OVMF{
		Size: size, Reset: 0x80b004, Hashes: [2]uint32{0x810c00, 0x400},
		Sections: []OVMFSection{
			{0x800000, 0x9000, 1}, {0x80a000, 0x3000, 1}, {0x80d000, 0x1000, 2}, {0x80e000, 0x1000, 3},
			{0x80f000, 0x1000, 4}, {0x810000, 0x1000, 0x10}, {0x811000, 0xf000, 1},
		},
	}
}

// AmdSevOVMFOf2023 has the table that OvmfPkg/AmdSev had before there were areas for an SVSM.
func AmdSevOVMFOf2023(size int) OVMF {
	return OVMF{
		Size: size, Reset: 0x80b004, Hashes: [2]uint32{0x80fc00, 0x400},
		Sections: []OVMFSection{
			{0x800000, 0x9000, 1}, {0x80a000, 0x3000, 1}, {0x80d000, 0x1000, 2}, {0x80e000, 0x1000, 3},
			{0x80f000, 0x1000, 0x10}, {0x810000, 0x10000, 1},
		},
	}
}

// PlainOVMF has the table of edk2's OvmfPkgX64, which measures no kernel.
func PlainOVMF(size int) OVMF {
	return OVMF{
		Size: size, Reset: 0x80b004,
		Sections: []OVMFSection{
			{0x800000, 0x9000, 1}, {0x80a000, 0x3000, 1}, {0x80d000, 0x1000, 2}, {0x80e000, 0x1000, 3},
			{0x80f000, 0x1000, 4}, {0x810000, 0x10000, 1},
		},
	}
}

// Image writes the firmware. Of the same description it is always the same; its pages differ.
func (o OVMF) Image() []byte {
	out := make([]byte, o.Size)
	for at := range out {
		out[at] = byte(at>>12) ^ byte(at*7)
	}
	const behind, tail = 32, 18
	metadata := append([]byte("ASEV"), make([]byte, 12)...)
	binary.LittleEndian.PutUint32(metadata[4:], uint32(16+12*len(o.Sections)))
	binary.LittleEndian.PutUint32(metadata[8:], 1)
	binary.LittleEndian.PutUint32(metadata[12:], uint32(len(o.Sections)))
	for _, s := range o.Sections {
		for _, word := range []uint32{s.Start, s.Size, s.Kind} {
			metadata = binary.LittleEndian.AppendUint32(metadata, word)
		}
	}
	const metadataAt = 0x600 // bytes before the end
	copy(out[len(out)-metadataAt:], metadata)

	var table []byte
	entry := func(id string, words ...uint32) {
		for _, word := range words {
			table = binary.LittleEndian.AppendUint32(table, word)
		}
		table = binary.LittleEndian.AppendUint16(table, uint16(4*len(words)+tail))
		table = append(table, GUID(id)...)
	}
	entry("e47a6535-984a-4798-865e-4685a7bf8ec2", 0x9d0) // of TDX
	entry("dc886566-984a-4798-a75e-5585a7bf67cc", metadataAt)
	entry("7255371f-3a3b-4b04-927b-1da6efa8d454", o.Hashes[0], o.Hashes[1])
	entry("00f771de-1a7e-4fcb-890e-68c77e2fb44e", o.Reset)
	table = binary.LittleEndian.AppendUint16(table, uint16(len(table)+tail))
	table = append(table, GUID("96b582de-1fb2-45f7-baea-a366c55a082d")...)
	copy(out[len(out)-behind-len(table):], table)
	return out
}

// GUID returns a GUID as it lies in memory (UEFI 2.10, appendix A).
func GUID(text string) []byte {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != 16 {
		panic("forge: no GUID: " + text)
	}
	for _, field := range [][]byte{raw[0:4], raw[4:6], raw[6:8]} {
		for i, j := 0, len(field)-1; i < j; i, j = i+1, j-1 {
			field[i], field[j] = field[j], field[i]
		}
	}
	return raw
}
