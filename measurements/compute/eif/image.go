package eif

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/attestd/attestd/measurements/compute"
)

// MaxImage is the largest image that files should be read for, in bytes. Enclaves hold their whole
// system in memory. Parse itself copies nothing and takes as long as the hashes.
const MaxImage = 2<<30 - 1

// Sizes and limits of the format (aws-nitro-enclaves-image-format, src/defs/mod.rs).
const (
	headerSize   = 548
	sectionHead  = 12
	maxSections  = 32
	crcAt        = headerSize - 4
	offsetsAt    = 4 + 2 + 2 + 8 + 8 + 2 + 2
	sizesAt      = offsetsAt + 8*maxSections
	maxSignature = 256 << 10
)

// kind is the type of a section.
type kind uint16

const (
	kindKernel    kind = 1
	kindLine      kind = 2
	kindRamdisk   kind = 3
	kindSignature kind = 4
	kindMetadata  kind = 5
)

// Image is a parsed image. It keeps the bytes that it was parsed from.
type Image struct {
	// Version of the format: 2 to 4.
	Version uint16
	// ARM64 says that it is built for that processor, and not for x86-64.
	ARM64 bool
	// Signer is nil where the image is not signed.
	Signer *Signer

	kernel, line []byte
	ramdisks     [][]byte
}

// CommandLine returns the kernel's command line as it is measured.
func (i *Image) CommandLine() []byte { return bytes.Clone(i.line) }

// Ramdisks counts them. The first is the one that starts the enclave, the others hold the
// application.
func (i *Image) Ramdisks() int { return len(i.ramdisks) }

// Parse reads an image strictly. The programs that build images are the only ones that write them:
// what those never write, a reader and the hypervisor may take differently.
//
// Errors: a [*compute.Fault] of class MALFORMED, UNSUPPORTED or SIGNATURE.
func Parse(data []byte) (*Image, error) {
	if len(data) < headerSize || !bytes.HasPrefix(data, []byte(".eif")) {
		return nil, compute.Malformed("an enclave image, which begins with .eif", "something else")
	}
	i := &Image{Version: binary.BigEndian.Uint16(data[4:])}
	if i.Version < 2 || i.Version > 4 {
		// Version 1 has no checksum, and versions to come may measure otherwise.
		return nil, compute.Unsupported("version 2, 3 or 4", "an image of version %d", i.Version)
	}
	flags := binary.BigEndian.Uint16(data[6:])
	if i.ARM64 = flags&1 == 1; flags > 1 {
		return nil, compute.Unsupported("0 (x86-64) or 1 (arm64)", "flags 0x%x", flags)
	}
	if i.unused(data) {
		return nil, compute.Malformed("zeros in fields that mean nothing", "others")
	}
	sum := crc32.Update(crc32.ChecksumIEEE(data[:crcAt]), crc32.IEEETable, data[headerSize:])
	if want := binary.BigEndian.Uint32(data[crcAt:]); sum != want {
		return nil, compute.Malformed("that of its bytes, "+hex32(sum)+
			": the file was cut, or changed after it was built", "a checksum of %s", hex32(want))
	}
	signature, err := i.readSections(data)
	if err != nil {
		return nil, err
	}
	if signature != nil {
		pcr0 := i.pcr0()
		if i.Signer, err = readSigner(signature, pcr0[:]); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// unused reports whether a field that means nothing says something: a count of sections beyond the
// table, or an entry behind the last.
func (i *Image) unused(data []byte) bool {
	count := int(binary.BigEndian.Uint16(data[26:]))
	if count > maxSections {
		return false // reported where it is read
	}
	zero := func(from, to int) bool { return len(bytes.Trim(data[from:to], "\x00")) == 0 }
	return !zero(24, 26) || !zero(crcAt-4, crcAt) ||
		!zero(offsetsAt+8*count, sizesAt) || !zero(sizesAt+8*count, crcAt-4)
}

// readSections reads the sections one behind the other and returns the signature's contents. Header
// and sections each say where sections are; who reads the one must find what the other says.
func (i *Image) readSections(data []byte) ([]byte, error) {
	count := int(binary.BigEndian.Uint16(data[26:]))
	if count < 3 || count > maxSections {
		return nil, compute.Malformed("3 to 32", "%d sections", count)
	}
	var signature []byte
	seen, at := make(map[kind]int), uint64(headerSize)
	for n := range count {
		if at+sectionHead > uint64(len(data)) {
			return nil, compute.Malformed("sections inside the file", "one at %d", at)
		}
		head := data[at : at+sectionHead]
		size := binary.BigEndian.Uint64(head[4:])
		if offset := binary.BigEndian.Uint64(data[offsetsAt+8*n:]); offset != at {
			return nil, compute.Malformed("the place behind the section before",
				"section %d at %d by the header, and %d by those before", n, offset, at)
		}
		if told := binary.BigEndian.Uint64(data[sizesAt+8*n:]); told != size {
			return nil, compute.Malformed("one size", "section %d of %d bytes by the header, and %d by "+
				"itself", n, told, size)
		}
		if size > uint64(len(data))-at-sectionHead {
			return nil, compute.Malformed("sections inside the file", "section %d of %d bytes", n, size)
		}
		what := kind(binary.BigEndian.Uint16(head))
		if flags := binary.BigEndian.Uint16(head[2:]); flags != 0 {
			return nil, compute.Unsupported("0", "section %d with flags 0x%x", n, flags)
		}
		body := data[at+sectionHead : at+sectionHead+size]
		if err := i.take(n, what, body, seen); err != nil {
			return nil, err
		}
		if what == kindSignature {
			signature = body
		}
		seen[what]++
		at += sectionHead + size
	}
	switch {
	case at != uint64(len(data)):
		return nil, compute.Malformed("a file that ends with its last section",
			"%d bytes behind it", uint64(len(data))-at)
	case len(i.ramdisks) == 0:
		return nil, compute.Malformed("one at least", "no ramdisk")
	}
	return signature, nil
}

// take keeps a section. Builders write the kernel, its command line, then the rest: PCR0 is one
// hash over them, so that what is kernel and what is ramdisk must not be for the file to shift.
func (i *Image) take(n int, what kind, body []byte, seen map[kind]int) error {
	switch {
	case (n == 0) != (what == kindKernel):
		return compute.Malformed("the kernel first, and one", "section %d of type %d", n, what)
	case (n == 1) != (what == kindLine):
		return compute.Malformed("the command line second, and one", "section %d of type %d", n, what)
	case (what == kindSignature || what == kindMetadata) && seen[what] > 0:
		return compute.Malformed("one", "a second section of type %d", what)
	case what == kindSignature && i.Version < 3, what == kindMetadata && i.Version < 4:
		return compute.Malformed("what version it is of", "a section of type %d in version %d", what,
			i.Version)
	case len(body) == 0:
		return compute.Malformed("contents", "an empty section of type %d", what)
	}
	switch what {
	case kindKernel:
		i.kernel = body
	case kindLine:
		i.line = body
	case kindRamdisk:
		i.ramdisks = append(i.ramdisks, body)
	case kindSignature:
		if len(body) > maxSignature {
			return compute.Malformed("256 KiB at most", "a signature of %d bytes", len(body))
		}
	case kindMetadata: // when, of what and by what it was built; nothing measures it
	default:
		return compute.Unsupported("a type from 1 to 5", "section %d of type %d", n, what)
	}
	return nil
}
