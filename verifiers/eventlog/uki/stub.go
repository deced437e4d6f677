package uki

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// component is a program of systemd that says what it is in a section of its own.
var component = regexp.MustCompile(
	`^#### LoaderInfo: (systemd-(?:stub|boot)) ([0-9]{3,4})[^\x00]{0,60} ####`)

// loaderInfo returns the program and the version that an image names in its section .sdmagic
// (systemd, src/boot/stub.c and boot.c), or "" where it does not.
func (i *Image) loaderInfo() (program string, version int) {
	section, ok := i.Section(".sdmagic")
	if !ok {
		return "", 0
	}
	found := component.FindSubmatch(section.raw)
	if found == nil {
		return "", 0
	}
	version, err := strconv.Atoi(string(found[2]))
	if err != nil {
		return "", 0
	}
	return string(found[1]), version
}

// isShim reports whether an image is shim: it says so in its section .sbat
// (rhboot/shim, SBAT.md).
func (i *Image) isShim() bool {
	section, ok := i.Section(".sbat")
	if !ok {
		return false
	}
	for line := range bytes.Lines(section.raw) {
		if bytes.HasPrefix(line, []byte("shim,")) {
			return true
		}
	}
	return false
}

// Versions of systemd-stub whose measurements are known here. The first measures into PCR 11;
// beyond the last, user space measures a separator into other PCRs as well.
const firstStub, lastStub = 252, 260

// sections are those of unified kernel images that mean something to systemd-stub, in the order in
// which it measures them (systemd, src/fundamental/uki.h: "PLEASE DO NOT REORDER").
var sections = []struct {
	name string
	// A stub of version since or later measures the section, one up to until does not know it. What
	// lies between is not known here.
	since, until int
}{
	{".linux", firstStub, 0}, {".osrel", firstStub, 0}, {".cmdline", firstStub, 0},
	{".initrd", firstStub, 0}, {".ucode", 256, 255}, {".splash", firstStub, 0}, {".dtb", firstStub, 0},
	{".uname", 254, 253}, {".sbat", 255, 253}, {".pcrpkey", firstStub, 0}, {".profile", 257, 256},
	{".hwids", 257, 256},
}

// chosen are sections of which a stub takes one after it looked at the machine's hardware.
var chosen = []string{".dtbauto", ".efifw"}

// stub says of an image which systemd-stub it has, or why it cannot be known.
func (i *Image) stub() (version int, why string) {
	program, version := i.loaderInfo()
	switch {
	case program != "systemd-stub":
		return 0, "The image does not say that its stub is systemd-stub (section .sdmagic), and other " +
			"stubs measure otherwise."
	case version < firstStub || version > lastStub:
		return 0, fmt.Sprintf("Its systemd-stub is of version %d; what it measures is known here of "+
			"versions %d to %d.", version, firstStub, lastStub)
	}
	return version, ""
}

// measuredSection is a section as a stub measures it.
type measuredSection struct {
	name     string
	contents []byte
}

// measured returns the sections that the stub measures into PCR 11 in its order, or why that cannot
// be known. Of an image with profiles it is the first, which is booted where no other is asked for.
func (i *Image) measured() (list []measuredSection, why string) {
	version, why := i.stub()
	if why != "" {
		return nil, why
	}
	found, why := i.firstProfile(version)
	if why != "" {
		return nil, why
	}
	if found[".linux"].VirtualSize == 0 {
		return nil, "The image has no section .linux, so it is no unified kernel image."
	}
	for _, known := range sections {
		section, ok := found[known.name]
		switch {
		case !ok || section.VirtualSize == 0: // the stub takes an empty one for none
		case version >= known.since:
			list = append(list, measuredSection{known.name, section.Contents()})
		case version > known.until:
			return nil, fmt.Sprintf("Whether systemd-stub %d measures the section %s is not known here.",
				version, known.name)
		}
	}
	return list, ""
}

// firstProfile returns the sections that count for the image's first profile: those of the base,
// and in their place those that the profile brings (pe.c, pe_locate_profile_sections, since 257).
// Where a name stands twice, which one counts differs between versions, and stubs before 257 take
// a name that only begins with the one they look for.
func (i *Image) firstProfile(version int) (found map[string]Section, why string) {
	found = map[string]Section{}
	seen := map[string]int{} // by name, the profile in which it was seen last: 1 for the base
	profile := 1
	for _, section := range i.Sections {
		if slices.Contains(chosen, section.Name) {
			return nil, "The stub picks a section " + section.Name + " by the machine's hardware."
		}
		if section.Name == ".profile" && version >= 257 {
			profile++
		}
		if profile > 2 {
			break // later profiles are booted only where somebody asks for them
		}
		name, exact := knownName(section.Name)
		switch {
		case name == "", !exact && version >= 257:
			continue
		case !exact || seen[name] == profile:
			return nil, "More than one section reads as " + name + ", and which one a stub takes depends " +
				"on its version."
		}
		found[name], seen[name] = section, profile
	}
	return found, ""
}

// knownName returns the name of a section that stubs know which a name is or begins with.
func knownName(name string) (known string, exact bool) {
	for _, one := range sections {
		if strings.HasPrefix(name, one.name) {
			return one.name, name == one.name
		}
	}
	return "", false
}

// kernel returns the section of the kernel, and whether there is one.
func (i *Image) kernel() (Section, bool) {
	version, why := i.stub()
	if why != "" {
		return i.Section(".linux")
	}
	found, why := i.firstProfile(version)
	section, ok := found[".linux"]
	return section, ok && why == ""
}

// hasCommandLine reports whether the image brings a kernel command line.
func (i *Image) hasCommandLine() bool {
	section, ok := i.Section(".cmdline")
	return ok && len(strings.Trim(string(section.Contents()), "\x00 \t\r\n")) > 0
}
