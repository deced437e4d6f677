package snp

import (
	"crypto/sha512"
	"encoding/binary"

	"github.com/attestd/attestd/measurements/compute"
)

// Size is that of a launch digest, in bytes: SHA-384.
const Size = sha512.Size384

// MaxVCPUs is the largest number of processors of a guest that is predicted: that of KVM and QEMU.
const MaxVCPUs = 4096

// featureSNP is the bit of SEV_FEATURES that each SNP guest has: SNPActive (AMD 24593, table B-4).
const featureSNP = 1

// Types of pages (AMD 56860, section 8.17.2, "PAGE_TYPE").
const (
	pageNormal     = 1
	pageVMSA       = 2
	pageZero       = 3
	pageUnmeasured = 4
	pageSecrets    = 5
	pageCPUID      = 6
)

// vmsaAddress is what stands for the address of a save area, which has none: the highest page of 48
// bits. (KVM gives all ones, and the Secure Processor drops the bits that guests do not have.)
const vmsaAddress = 0xfffffffff000

// Launch describes how a guest is started.
type Launch struct {
	Firmware *Firmware
	// FirmwareDigest, where it is not nil, is the digest after the firmware's own pages, as
	// [Firmware.Digest] returns it; the image's code is not looked at then, only its table. It
	// stands for images of which only the end is at hand.
	FirmwareDigest []byte
	Profile        Profile
	VCPUs          int
	// CPU is the signature of the virtual processor, CPUID Fn0000_0001_EAX, where the profile
	// measures it; else it must be 0.
	CPU uint32
	// Features is SEV_FEATURES of the save areas.
	Features uint64
	// Boot is nil where the firmware starts what it finds on a disk.
	Boot *DirectBoot
}

// Digest predicts the launch digest.
//
// Errors: a [*compute.Fault] of class CONFIG where the description fits no machine, and UNSUPPORTED
// where the firmware cannot do what it says.
func (l Launch) Digest() ([Size]byte, error) {
	if err := l.check(); err != nil {
		return [Size]byte{}, err
	}
	var c chain
	if l.FirmwareDigest != nil {
		copy(c[:], l.FirmwareDigest)
	} else {
		c = l.Firmware.pages()
	}
	if err := l.sections(&c); err != nil {
		return [Size]byte{}, err
	}
	regs := l.Profile.registers
	if l.Profile.MeasuresCPU {
		regs.rdx = uint64(l.CPU)
	}
	first := sha512.Sum384(regs.vmsa(firstEIP, regs.csFirst, l.Features))
	others := sha512.Sum384(regs.vmsa(l.Firmware.reset, regs.csOthers, l.Features))
	c.add(pageVMSA, vmsaAddress, first)
	for range l.VCPUs - 1 {
		c.add(pageVMSA, vmsaAddress, others)
	}
	return c, nil
}

// check refuses descriptions that fit no machine. Each would give a digest, which nothing has.
func (l Launch) check() error {
	switch {
	case l.Profile.Name == "":
		return compute.Misdescribed("a profile of a monitor", "none")
	case l.Firmware == nil:
		return compute.Misdescribed("a firmware image", "none")
	case l.FirmwareDigest != nil && len(l.FirmwareDigest) != Size:
		return compute.Misdescribed("48 bytes (SHA-384)", "a digest of the firmware of %d bytes",
			len(l.FirmwareDigest))
	case l.VCPUs < 1 || l.VCPUs > MaxVCPUs:
		return compute.Misdescribed("1 to 4096", "%d processors", l.VCPUs)
	case l.Profile.MeasuresCPU && l.CPU == 0:
		return compute.Misdescribed("the kind of the processors, which "+l.Profile.Name+" measures",
			"none")
	case !l.Profile.MeasuresCPU && l.CPU != 0:
		return compute.Misdescribed("none: "+l.Profile.Name+" measures the same for all",
			"a kind of processors")
	case l.Features&featureSNP == 0:
		return compute.Misdescribed("bit 0, which each SNP guest has", "guest features 0x%x", l.Features)
	case l.Boot != nil && !l.Profile.directBoot:
		return compute.Misdescribed("none: under "+l.Profile.Name+
			" the firmware starts what is on the disk", "a kernel")
	case l.Boot != nil && l.Firmware.hashes == 0:
		// The firmware would start any kernel, and the digest say nothing of it.
		return compute.Unsupported("firmware that is built for it (OvmfPkg/AmdSev)",
			"a kernel, and firmware that measures none")
	}
	return nil
}

// sections adds the pages that the firmware asks for, in the order of its metadata.
func (l Launch) sections(c *chain) error {
	for _, s := range l.Firmware.sections {
		switch s.kind {
		case sectionMemory:
			c.addEmpty(l.Profile.memory, s)
		case sectionCalling:
			c.addEmpty(pageZero, s)
		case sectionSecrets:
			c.addEmpty(pageSecrets, s)
		case sectionCPUID:
			if !l.Profile.cpuidLast {
				c.addEmpty(pageCPUID, s)
			}
		case sectionHashes:
			if l.Boot == nil {
				c.addEmpty(pageZero, s)
				continue
			}
			page, err := l.Boot.page(l.Firmware.hashes % pageSize)
			if err != nil {
				return err
			}
			c.add(pageNormal, uint64(s.start), sha512.Sum384(page))
		}
	}
	for _, s := range l.Firmware.sections {
		if l.Profile.cpuidLast && s.kind == sectionCPUID {
			c.addEmpty(pageCPUID, s)
		}
	}
	return nil
}

// Digest returns the launch digest after the firmware's own pages, which come first under every
// profile.
func (f *Firmware) Digest() [Size]byte { return f.pages() }

func (f *Firmware) pages() chain {
	var c chain
	for at := 0; at < len(f.data); at += pageSize {
		c.add(pageNormal, f.start()+uint64(at), sha512.Sum384(f.data[at:at+pageSize]))
	}
	return c
}

// chain is a launch digest that grows page by page.
type chain [Size]byte

// add extends the digest by a page (AMD 56860, section 8.17.2, table "Layout of the PAGE_INFO
// Structure"): the digest so far, the digest of the page's content or zeros, and what the page is.
func (c *chain) add(kind uint8, address uint64, content [Size]byte) {
	const length = 0x70
	info := make([]byte, 0, length)
	info = append(append(info, c[:]...), content[:]...)
	info = binary.LittleEndian.AppendUint16(info, length)
	// No migration image, no permissions of VMPLs 3, 2 and 1, and a reserved byte.
	info = append(info, kind, 0, 0, 0, 0, 0)
	info = binary.LittleEndian.AppendUint64(info, address)
	*c = sha512.Sum384(info)
}

// addEmpty extends the digest by the pages of a section whose contents are not measured.
func (c *chain) addEmpty(kind uint8, s section) {
	for address := uint64(s.start); address < s.end(); address += pageSize {
		c.add(kind, address, [Size]byte{})
	}
}
