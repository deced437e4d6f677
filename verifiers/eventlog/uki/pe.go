package uki

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
)

// MaxImage is the largest image that is read, in bytes. Unified kernel images with a whole system
// in their initrd have some hundred megabytes.
const MaxImage = 1 << 30

// maxSections is the largest number of sections that the PE format allows in an image.
const maxSections = 96

// Fault says why a file is not what it was given as.
type Fault struct {
	Class     attestd.Class
	Got, Want string
}

// Error says what was seen and wanted.
func (f *Fault) Error() string { return "got " + f.Got + ", want " + f.Want }

func malformed(want, got string, args ...any) *Fault {
	return &Fault{Class: attestd.ClassMalformed, Got: fmt.Sprintf(got, args...), Want: want}
}

// Image is a PE image (Microsoft PE Format, as UEFI 2.10 section 2.1.1 takes it over). It keeps the
// bytes that it was parsed from.
type Image struct {
	// Machine is the processor, as in 0x8664.
	Machine uint16
	// Major is the image's own major version; Linux says there which EFI boot protocol it has.
	Major uint16
	// Sections in the order of the file's table.
	Sections []Section

	data     []byte
	checksum int // offset of the checksum, which the digest leaves out
	entry    int // offset of the certificate table's entry, left out too; 0 for none
	headers  int // size of the headers
	table    []byte
}

// Section is a section of an image.
type Section struct {
	Name string
	// VirtualSize is its size in memory, and raw its bytes in the file.
	VirtualSize uint32
	raw         []byte
	offset      int
}

// Contents returns what is in memory after the section was loaded: bytes of the file, cut or filled
// up with zeros to the virtual size.
func (s Section) Contents() []byte {
	size := int(s.VirtualSize)
	if size <= len(s.raw) {
		return s.raw[:size:size]
	}
	out := make([]byte, size)
	copy(out, s.raw)
	return out
}

// Parse reads an image strictly: every part lies inside the file, sections do not overlap, and the
// certificate table ends the file.
func Parse(data []byte) (*Image, error) {
	if len(data) > MaxImage {
		return nil, &Fault{Class: attestd.ClassTooLarge, Got: fmt.Sprintf("%d bytes", len(data)),
			Want: fmt.Sprintf("%d bytes at most", MaxImage)}
	}
	if len(data) < 64 || !bytes.HasPrefix(data, []byte("MZ")) {
		return nil, malformed("a PE image, which begins with MZ", "something else")
	}
	start := binary.LittleEndian.Uint32(data[0x3c:])
	if start < 64 || uint64(start)+24 > uint64(len(data)) ||
		!bytes.Equal(data[start:start+4], []byte("PE\x00\x00")) {
		return nil, malformed("a PE image, with PE and two NULs where the MZ header points",
			"an MZ file without a PE header")
	}
	coff := data[start+4 : start+24]
	image := &Image{data: data, Machine: binary.LittleEndian.Uint16(coff)}
	count := int(binary.LittleEndian.Uint16(coff[2:]))
	optional := int(binary.LittleEndian.Uint16(coff[16:]))
	at := int(start) + 24
	if at+optional > len(data) {
		return nil, malformed("headers inside the file", "an optional header beyond the file's end")
	}
	if count == 0 || count > maxSections {
		return nil, malformed(fmt.Sprintf("1 to %d", maxSections), "%d sections", count)
	}
	if err := image.readOptional(at, optional); err != nil {
		return nil, err
	}
	if err := image.readSections(at+optional, count); err != nil {
		return nil, err
	}
	return image, nil
}

// readOptional reads the optional header: PE32 or PE32+.
func (i *Image) readOptional(at, size int) error {
	header := i.data[at : at+size]
	directories := 96 // offset of the data directories in PE32
	if size < directories {
		return malformed("96 bytes at least", "an optional header of %d bytes", size)
	}
	switch magic := binary.LittleEndian.Uint16(header); magic {
	case 0x10b:
	case 0x20b:
		directories = 112
	default:
		return malformed("0x10b (PE32) or 0x20b (PE32+)", "an optional header of kind 0x%x", magic)
	}
	if size < directories {
		return malformed("112 bytes at least", "an optional header of %d bytes", size)
	}
	i.Major = binary.LittleEndian.Uint16(header[44:])
	i.checksum = at + 64
	i.headers = int(binary.LittleEndian.Uint32(header[60:]))
	count := binary.LittleEndian.Uint32(header[directories-4:])
	if uint64(count)*8 > uint64(size-directories) {
		return malformed("directories inside the optional header", "%d data directories", count)
	}
	if i.headers < at+size || i.headers > len(i.data) {
		return malformed("headers inside the file", "headers of %d bytes", i.headers)
	}
	// Directory 4 is the certificate table. Its address is an offset in the file.
	const security = 4
	if count <= security {
		return nil
	}
	i.entry = at + directories + 8*security
	offset := uint64(binary.LittleEndian.Uint32(i.data[i.entry:]))
	length := uint64(binary.LittleEndian.Uint32(i.data[i.entry+4:]))
	if offset == 0 && length == 0 {
		return nil
	}
	if offset < uint64(i.headers) || offset%8 != 0 || offset+length != uint64(len(i.data)) {
		// The digest leaves the table out by its size alone. Bytes behind it would be hashed by some
		// and not by others.
		return malformed("a table that ends the file", "a certificate table of %d bytes at %d in %d",
			length, offset, len(i.data))
	}
	i.table = i.data[offset:]
	return nil
}

func (i *Image) readSections(at, count int) error {
	if at+40*count > i.headers {
		return malformed("a section table inside the headers", "one of %d sections at %d", count, at)
	}
	inMemory := uint64(0)
	for n := range count {
		header := i.data[at+40*n : at+40*n+40]
		name, _, _ := bytes.Cut(header[:8], []byte{0})
		size := uint64(binary.LittleEndian.Uint32(header[16:]))
		offset := uint64(binary.LittleEndian.Uint32(header[20:]))
		section := Section{Name: string(name), VirtualSize: binary.LittleEndian.Uint32(header[8:])}
		if size > 0 {
			if offset < uint64(i.headers) || offset+size > uint64(len(i.data)-len(i.table)) {
				return malformed("raw data between headers and certificates",
					"section %q of %d bytes at %d", attestd.Excerpt(section.Name, 8), size, offset)
			}
			section.offset, section.raw = int(offset), i.data[offset:offset+size:offset+size]
		}
		// Sections may be larger in memory than in the file, but not by what no kernel needs: each is
		// hashed as it is in memory, and forty bytes of a table ask for four gigabytes.
		if inMemory += uint64(section.VirtualSize); inMemory > MaxImage {
			return malformed(fmt.Sprintf("%d bytes at most", MaxImage),
				"section %q of %d bytes in memory, %d with those before", attestd.Excerpt(section.Name, 8),
				section.VirtualSize, inMemory)
		}
		i.Sections = append(i.Sections, section)
	}
	ordered := i.inFileOrder()
	for n := 1; n < len(ordered); n++ {
		if before := ordered[n-1]; before.offset+len(before.raw) > ordered[n].offset {
			return malformed("sections apart from each other", "sections %q and %q that overlap",
				attestd.Excerpt(before.Name, 8), attestd.Excerpt(ordered[n].Name, 8))
		}
	}
	return nil
}

// inFileOrder returns the sections that have bytes in the file, by where these lie.
func (i *Image) inFileOrder() []Section {
	var ordered []Section
	for _, section := range i.Sections {
		if len(section.raw) > 0 {
			ordered = append(ordered, section)
		}
	}
	slices.SortStableFunc(ordered, func(a, b Section) int { return a.offset - b.offset })
	return ordered
}

// Section returns the first section of a name, and whether there is one.
func (i *Image) Section(name string) (Section, bool) {
	for _, section := range i.Sections {
		if section.Name == name {
			return section, true
		}
	}
	return Section{}, false
}
