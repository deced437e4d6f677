package snp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/attestd/attestd/measurements/compute"
)

// pageSize is that of the pages that are measured, in bytes.
const pageSize = 4096

// Limits of a firmware image.
const (
	// MaxFirmware is the largest image that is read, in bytes. It lies below 4 GiB, beside what
	// chipsets keep there; OVMF has 2 to 8 MiB.
	MaxFirmware = 16 << 20
	// maxSections of its metadata; OVMF has six or seven.
	maxSections = 64
	// maxReserved is the largest sum of their sizes, in bytes; OVMF has 128 KiB.
	maxReserved = 64 << 20
)

const fourGiB = 1 << 32

// sectionKind tells what a monitor puts into a section of memory before the guest starts (edk2,
// OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm).
type sectionKind uint32

const (
	sectionMemory  sectionKind = 1 // must be private when the firmware starts, of any content
	sectionSecrets sectionKind = 2
	sectionCPUID   sectionKind = 3
	sectionCalling sectionKind = 4 // an SVSM's calling area; zero where there is none
	sectionHashes  sectionKind = 0x10
)

// section is memory that the firmware asks for.
type section struct {
	start, size uint32
	kind        sectionKind
}

func (s section) end() uint64 { return uint64(s.start) + uint64(s.size) }

// Firmware is a parsed OVMF image. It keeps the bytes that it was parsed from.
type Firmware struct {
	data     []byte
	sections []section
	reset    uint32 // where processors but the first begin
	hashes   uint32 // where the table of kernel hashes lies; 0 where the firmware reads none
}

// Size returns the size of the image in bytes.
func (f *Firmware) Size() int { return len(f.data) }

// ReadsKernelHashes reports whether the firmware measures a kernel that the monitor loads for it.
func (f *Firmware) ReadsKernelHashes() bool { return f.hashes != 0 }

// start is where the image lies in the guest: it ends at 4 GiB.
func (f *Firmware) start() uint64 { return fourGiB - uint64(len(f.data)) }

// ParseFirmware reads an OVMF image strictly.
//
// Errors: a [*compute.Fault] of class MALFORMED, TOO_LARGE or UNSUPPORTED.
func ParseFirmware(data []byte) (*Firmware, error) {
	switch {
	case len(data) > MaxFirmware:
		return nil, compute.Oversized(len(data), MaxFirmware)
	case len(data) == 0 || len(data)%pageSize != 0:
		return nil, compute.Malformed("an OVMF image of whole pages of 4096 bytes",
			"%d bytes", len(data))
	}
	table, err := readTable(data)
	if err != nil {
		return nil, err
	}
	f := &Firmware{data: data}
	reset := table[resetBlockGUID]
	if len(reset) != 4 {
		// Without it, no second processor starts; all images with SEV support have it.
		return nil, compute.Unsupported("an OVMF image that is built with SEV support",
			"one without a block for the reset of further processors")
	}
	if f.reset = binary.LittleEndian.Uint32(reset); f.reset == 0 {
		return nil, compute.Malformed("an address", "further processors that start at 0")
	}
	if hashes, ok := table[hashTableGUID]; ok {
		if len(hashes) != 8 {
			return nil, compute.Malformed("8 bytes", "an area for hashes of %d bytes", len(hashes))
		}
		f.hashes = binary.LittleEndian.Uint32(hashes)
	}
	entry, ok := table[metadataGUID]
	if !ok {
		return nil, compute.Unsupported("an OVMF image that is built with SEV-SNP support",
			"one without SEV metadata")
	}
	if err := f.readMetadata(entry); err != nil {
		return nil, err
	}
	if err := f.checkHashes(); err != nil {
		return nil, err
	}
	return f, nil
}

// readMetadata reads the list of sections. Its entry of the table has the distance from the end.
func (f *Firmware) readMetadata(entry []byte) error {
	const header, item = 16, 12
	if len(entry) != 4 {
		return compute.Malformed("4 bytes", "an offset of metadata of %d bytes", len(entry))
	}
	back := binary.LittleEndian.Uint32(entry)
	if back < header || uint64(back) > uint64(len(f.data)) {
		return compute.Malformed("metadata inside the image", "metadata %d bytes before its end", back)
	}
	raw := f.data[len(f.data)-int(back):]
	if !bytes.Equal(raw[:4], []byte("ASEV")) {
		return compute.Malformed("ASEV", "metadata that begins otherwise")
	}
	if version := binary.LittleEndian.Uint32(raw[8:]); version != 1 {
		return compute.Unsupported("version 1", "metadata of version %d", version)
	}
	size, count := binary.LittleEndian.Uint32(raw[4:]), binary.LittleEndian.Uint32(raw[12:])
	if count == 0 || count > maxSections {
		return compute.Malformed("1 to 64", "%d sections", count)
	}
	if want := header + item*count; size != want || uint64(size) > uint64(len(raw)) {
		return compute.Malformed("16 bytes, and 12 for each section, inside the image",
			"metadata of %d bytes for %d sections", size, count)
	}
	for n := range int(count) {
		one := raw[header+item*n:]
		f.sections = append(f.sections, section{
			start: binary.LittleEndian.Uint32(one), size: binary.LittleEndian.Uint32(one[4:]),
			kind: sectionKind(binary.LittleEndian.Uint32(one[8:])),
		})
	}
	return f.checkSections()
}

// checkSections refuses what would be measured by some monitors in one way and by some in another.
func (f *Firmware) checkSections() error {
	single, total := make(map[sectionKind]bool), uint64(0)
	for _, s := range f.sections {
		if s.start%pageSize != 0 || s.size%pageSize != 0 || s.size == 0 || s.end() > f.start() {
			return compute.Malformed("whole pages of 4096 bytes below the firmware",
				"a section of %d bytes at 0x%x", s.size, s.start)
		}
		if total += uint64(s.size); total > maxReserved {
			return compute.Malformed("64 MiB at most", "sections of %d bytes", total)
		}
		switch s.kind {
		case sectionMemory, sectionCalling:
		case sectionSecrets, sectionCPUID, sectionHashes:
			// One page each, so that whether a monitor measures the page or the section is one.
			if s.size != pageSize || single[s.kind] {
				return compute.Malformed("one page of each", "a section of kind %d of %d bytes, or a "+
					"second one", s.kind, s.size)
			}
			single[s.kind] = true
		default:
			return compute.Unsupported("a kind from 1 to 4, or 16",
				"a section of kind %d, of which is not known how it is measured", s.kind)
		}
	}
	ordered := slices.Clone(f.sections)
	slices.SortFunc(ordered, func(a, b section) int { return cmp.Compare(a.start, b.start) })
	for n := 1; n < len(ordered); n++ {
		// The Secure Processor refuses a page that it has; a guest like that does not start.
		if ordered[n-1].end() > uint64(ordered[n].start) {
			return compute.Malformed("sections apart from each other", "two sections at 0x%x",
				ordered[n].start)
		}
	}
	return nil
}

// checkHashes holds the two places that speak of the area for kernel hashes against each other. The
// monitor writes where the table says, and measures the page that the metadata names.
func (f *Firmware) checkHashes() error {
	page := slices.IndexFunc(f.sections, func(s section) bool { return s.kind == sectionHashes })
	switch {
	case page < 0:
		// Hashes that no page is measured with show nothing.
		f.hashes = 0
		return nil
	case f.hashes == 0:
		return nil // the page is there, and stays zero
	}
	first := f.sections[page]
	if f.hashes < first.start || uint64(f.hashes)+hashTableSize > first.end() {
		return compute.Malformed("an area in the page that is measured for it",
			"an area for hashes at 0x%x, and a page at 0x%x", f.hashes, first.start)
	}
	return nil
}
