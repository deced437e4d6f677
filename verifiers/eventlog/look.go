package eventlog

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"

	"github.com/attestd/attestd"
)

// content says how the covered part of an event's data is to be read.
type content uint8

const (
	contentNone      content = iota // nothing of the data is covered
	contentText                     // bytes that are text
	contentUTF16                    // little-endian UTF-16
	contentSwitch                   // the variable SecureBoot
	contentDatabase                 // EFI_SIGNATURE_LISTs
	contentAuthority                // an entry of a database
	contentVariable                 // another variable
)

// sight is what an event shows, given the events of its register before it.
type sight struct {
	role    attestd.Role
	policy  attestd.Role // the variable of the Secure Boot policy that this is; empty for none
	mark    mark
	section section // this event is a section's name
	content content
	covered []byte   // the part of the data that the digest covers; for variables the value
	name    variable // of contents that are variables
	// same says that this is the command line that was seen before, as load options.
	same bool
	// hidden says that the data should be covered and are not, broken that they are and do not parse.
	hidden, broken bool
}

// observer reads events in their order. It allocates nothing per event.
type observer struct {
	knowledge
	bank   Bank
	layout layout
	// separated has bit n set where the separator of the register with index n was seen.
	separated uint32
	// open is the section whose contents the next event of PCR 11 measures.
	open section
	// reads is what the last command of grub's reads: a kernel or an initial ramdisk, and files names
	// them.
	reads attestd.Role
	files []byte
	// options is the digest of the load options that grub makes of the last command line.
	options digest
	line    bool
	room    []byte
	units   [2]uint16
	sum     digest
}

func newObserver(l layout, bank Bank) *observer {
	o := &observer{bank: bank, layout: l}
	o.learn(bank, true)
	return o
}

// covers reports whether the event's digest is that of data.
func (o *observer) covers(e *raw, data []byte) bool {
	return bytes.Equal(o.sum.of(o.bank, data), e.digest)
}

// place is what a register holds by the PFP's table "PCR usage" (1.06 section 3.3.4) and, above 7,
// by the Linux TPM PCR Registry. RTMRs hold several (UEFI 2.10 section 38.4.1: PCR 1 and 7 go to
// RTMR 0, 2 to 6 to RTMR 1, 8 to 15 to RTMR 2).
type place uint8

const (
	placeFirmware place = 1 << iota // PCR 0
	placeDrivers                    // PCR 2
	placeApplications
	placePolicy // Secure Boot policy, PCR 7
	placeLoader // PCR 8 and 9, boot loaders
	placeUnified
	placeOther
)

func (o *observer) place(register uint32) place {
	if o.layout == layoutRTMR {
		switch register {
		case 1:
			return placePolicy | placeFirmware
		case 2:
			return placeApplications
		case 3:
			return placeLoader | placeUnified
		default:
			return placeOther
		}
	}
	switch register {
	case 0:
		return placeFirmware
	case 2:
		return placeDrivers
	case 4:
		return placeApplications
	case 7:
		return placePolicy
	case 8, 9:
		return placeLoader
	case 11, 12:
		return placeUnified
	default:
		return placeOther
	}
}

// firmware reports whether the register is one that a separator closes.
func (l layout) firmware(register uint32) bool {
	if l == layoutRTMR {
		return register <= 2
	}
	return register < 8
}

// look says what an event shows. Roles are given so that nothing escapes a rule by calling itself
// something else: what is not recognised by its digest has the role that its register is about.
func (o *observer) look(e *raw) sight {
	if o.layout.firmware(e.register) {
		return o.lookFirmware(e)
	}
	switch where := o.place(e.register); {
	case where&placeLoader != 0 && where&placeUnified != 0:
		if seen := o.lookUnified(e); seen.role != attestd.RoleOther || seen.section != sectionNone {
			return seen
		}
		return o.lookLoader(e)
	case where&placeLoader != 0:
		return o.lookLoader(e)
	case where&placeUnified != 0:
		return o.lookUnified(e)
	case o.mark(e.digest) == markSeparator:
		return sight{role: attestd.RoleSeparator, mark: markSeparator}
	}
	return sight{role: attestd.RoleOther}
}

func (o *observer) lookFirmware(e *raw) sight {
	seen := sight{role: attestd.RoleOther, mark: o.mark(e.digest)}
	where := o.place(e.register)
	switch seen.mark {
	case markNone:
	case markSeparator, markSeparatorOnes:
		// Whatever it calls itself, nothing behind it is the firmware's. Some firmware measures a field
		// of zeros into PCR 0, which looks the same: then less is believed, and that is all.
		o.separated |= 1 << e.register
		if e.kind == evSeparator || where&placeFirmware == 0 {
			seen.role = attestd.RoleSeparator
			return seen
		}
		seen.mark = markNone
	case markSeparatorError:
		// The variable BootOrder with the options 1 and 0 has the same digest, and so may a field of PCR
		// 0. An error that hides behind another type leaves its register without a separator.
		if e.kind == evSeparator || !o.ambiguous(e.register) {
			seen.role = attestd.RoleSeparator
			return seen
		}
		seen.mark = markNone
	case markExit, markExitFailure, markExitSuccess:
		seen.role = attestd.RoleExit
		return seen
	default:
		return seen
	}
	covered := o.covers(e, e.data)
	if covered {
		seen.content, seen.covered = contentText, e.data
	}
	if where&placePolicy != 0 && o.lookPolicy(e, covered, where, &seen) {
		return seen
	}
	switch {
	case where&placeFirmware != 0:
		seen.role = attestd.RoleFirmware
	case where&placeDrivers != 0:
		seen.role = attestd.RoleDriver
	case where&placeApplications != 0 && o.layout == layoutPCR:
		seen.role = attestd.RoleApplication
	case where&placeApplications != 0 && !o.isData(e, covered):
		seen.role = attestd.RoleApplication
	}
	return seen
}

// isData reports whether an event of RTMR 1, which holds PCR 2 to 6, is something else than an
// image: its digest covers the data, or, as with EV_EFI_VARIABLE_BOOT (PFP 1.06 section 10.4.1),
// the value of the variable in them. What an image is hashed from starts with the letters of its
// DOS header.
func (o *observer) isData(e *raw, covered bool) bool {
	data := e.data
	if v, ok := parseVariable(data); ok && !covered {
		data = v.data
		covered = o.covers(e, data)
	}
	return covered && !bytes.HasPrefix(data, []byte("MZ"))
}

// ambiguous reports whether a register holds data that may be four bytes long.
func (o *observer) ambiguous(register uint32) bool {
	return register <= 1 // PCR 0 and 1, and RTMR 0
}

// lookPolicy reads an event of the Secure Boot policy and reports whether it is one. Before the
// separator a digest of variables covers their UEFI_VARIABLE_DATA (PFP 1.06 section 3.3.4.8). After
// it come the authorities, and shim's own variables.
func (o *observer) lookPolicy(e *raw, covered bool, where place, seen *sight) bool {
	alone := where == placePolicy
	before := o.separated&(1<<e.register) == 0
	if !covered {
		seen.hidden = alone && before || e.kind == evVariableDriverConfig && before
		if e.kind == evVariableAuthority || alone && !before {
			seen.role = attestd.RoleAuthority
			return true
		}
		return alone
	}
	v, ok := parseVariable(e.data)
	if !ok {
		seen.broken = before && e.kind == evVariableDriverConfig
		if alone && !before || e.kind == evVariableAuthority {
			seen.role = attestd.RoleAuthority
			return true
		}
		return alone
	}
	seen.name, seen.covered, seen.content = v, v.data, contentVariable
	role := policyRole(&v)
	isPolicy := role != attestd.RoleOther && !authorises(e.kind, &v)
	if isPolicy {
		seen.policy = role
	}
	// Behind the separator anybody can measure such a variable, with whatever in it. It has no role
	// there: where the firmware measured none, a rule would be met by root's own.
	if isPolicy && before {
		seen.role = role
	}
	switch {
	case isPolicy && role == attestd.RoleSecureBoot:
		seen.content = contentSwitch
	case isPolicy:
		seen.content = contentDatabase
	case e.kind == evVariableAuthority || alone && !before:
		if !harmless(&v) {
			seen.role, seen.content = attestd.RoleAuthority, contentAuthority
		}
	case !alone && e.kind != evVariableDriverConfig:
		return false
	}
	return true
}

// Texts that grub 2.06 and later measure into PCR 8 (GRUB manual, section "Measured Boot"), and Red
// Hat's earlier ones. The digest covers what follows, without the zero at the end, in some of the
// earlier ones with it. The prefix itself is not covered.
var loaderPrefixes = [...]string{
	"grub_cmd: ", "kernel_cmdline: ", "module_cmdline: ", "grub_cmd ", "grub_kernel_cmdline ",
}

func (o *observer) lookLoader(e *raw) sight {
	switch {
	case o.layout == layoutPCR && e.register == 8:
		return o.lookCommands(e)
	case o.layout == layoutRTMR && hasLoaderPrefix(e.data):
		return o.lookCommands(e)
	}
	seen := sight{role: attestd.RoleOther}
	if o.line && bytes.Equal(o.options[:len(e.digest)], e.digest) {
		seen.role, seen.same = attestd.RoleCommandLine, true
		seen.content, seen.covered = contentUTF16, o.room
		return seen
	}
	if e.kind == evEventTag {
		seen.role = linuxTag(e.data)
		return seen
	}
	// The file names that grub and Red Hat's grub log in PCR 9 are not covered. What they say is taken
	// only where a covered command before it read a file of that name.
	switch label := bytes.TrimRight(e.data, "\x00"); {
	case string(label) == "grub_linuxefi Kernel":
		seen.role = attestd.RoleKernel
	case string(label) == "grub_linuxefi Initrd":
		seen.role = attestd.RoleInitrd
	case o.reads != attestd.RoleOther && o.named(label):
		seen.role = o.reads
	}
	return seen
}

func hasLoaderPrefix(data []byte) bool {
	for _, prefix := range loaderPrefixes {
		if len(data) >= len(prefix) && string(data[:len(prefix)]) == prefix {
			return true
		}
	}
	return false
}

// lookCommands reads an event of PCR 8: a command of grub's, or a kernel's command line.
func (o *observer) lookCommands(e *raw) sight {
	seen := sight{role: attestd.RoleCommandLine} // what is not covered may be one
	for _, prefix := range loaderPrefixes {
		if len(e.data) < len(prefix) || string(e.data[:len(prefix)]) != prefix {
			continue
		}
		text := e.data[len(prefix):]
		bare := bytes.TrimSuffix(text, []byte{0})
		if !o.covers(e, bare) && !o.covers(e, text) {
			continue
		}
		seen.content, seen.covered = contentText, bare
		// The prefix is not covered: a command line under another prefix is one all the same, if it
		// starts like a path, as no command does. One that does not (a kernel on a network, without a
		// slash) can be told from a command by its text alone, and that is left to whoever reads it.
		isLine := prefix == "kernel_cmdline: " || prefix == "grub_kernel_cmdline " ||
			len(bare) > 0 && bytes.IndexByte([]byte("/(\"'\\"), bare[0]) >= 0
		if isLine {
			o.expect(bare)
		} else {
			seen.role = attestd.RoleCommand
			o.follow(bare)
		}
		return seen
	}
	if text, ok := o.wide(e); ok {
		seen.content, seen.covered = contentUTF16, text
	}
	return seen
}

// expect takes note of the load options that a Linux kernel's EFI stub measures into PCR 9 where
// grub started it with that line: UTF-16 of "BOOT_IMAGE=" and the line, without a zero behind it.
// The log has no text of them, and needs none: the digest is that of the text made here.
func (o *observer) expect(line []byte) {
	o.room = append(o.room[:0], bootImage...)
	for _, r := range string(line) {
		for _, unit := range utf16.AppendRune(o.units[:0], r) {
			o.room = binary.LittleEndian.AppendUint16(o.room, unit)
		}
	}
	o.options.of(o.bank, o.room)
	o.line = true
}

// bootImage is "BOOT_IMAGE=" in UTF-16.
const bootImage = "B\x00O\x00O\x00T\x00_\x00I\x00M\x00A\x00G\x00E\x00=\x00"

// follow notes which files a command of grub's reads next.
func (o *observer) follow(command []byte) {
	verb, files, _ := bytes.Cut(command, []byte(" "))
	files = files[:min(len(files), limits.command)]
	o.reads, o.files = attestd.RoleOther, files
	switch string(verb) {
	case "linux", "linuxefi", "linux16":
		o.reads = attestd.RoleKernel
		o.files, _, _ = bytes.Cut(files, []byte(" ")) // what follows is the command line
	case "initrd", "initrdefi", "initrd16":
		o.reads = attestd.RoleInitrd
	}
}

// named reports whether label is one of the files, with or without the device that grub puts in
// front.
func (o *observer) named(label []byte) bool {
	rest := o.files
	// A longer list than any loader has would make every event behind it dear.
	for count := 0; len(rest) > 0 && len(label) > 0 && count < limits.files; count++ {
		var file []byte
		file, rest, _ = bytes.Cut(rest, []byte(" "))
		onDevice := label[0] == '(' && bytes.HasSuffix(label, file)
		if len(file) > 0 && (onDevice || bytes.Equal(file, label)) {
			return true
		}
	}
	return false
}

// Tags of the Linux EFI stub (Linux 6.x, drivers/firmware/efi/libstub/efistub.h): the digest covers
// the load options or the initial ramdisk, which are not in the log.
const (
	tagInitrd      = 0x8f3b22ec
	tagLoadOptions = 0x8f3b22ed
)

func linuxTag(data []byte) attestd.Role {
	switch {
	case len(data) >= 4 && binary.LittleEndian.Uint32(data) == tagInitrd:
		return attestd.RoleInitrd
	case len(data) >= 4 && binary.LittleEndian.Uint32(data) == tagLoadOptions,
		bytes.HasPrefix(data, []byte("LOADED_IMAGE::LoadOptions")):
		return attestd.RoleCommandLine
	default:
		return attestd.RoleOther
	}
}

// lookUnified reads an event of systemd-stub: in PCR 11 a section's name and then its contents, in
// PCR 12 what was added from outside of the image.
func (o *observer) lookUnified(e *raw) sight {
	if o.layout == layoutPCR && e.register == 12 {
		seen := sight{role: attestd.RoleCommandLine} // what is not covered may be one
		if text, ok := o.wide(e); ok {
			seen.content, seen.covered = contentUTF16, text
		}
		return seen
	}
	// The name and the contents are extended one after the other, and every name is known by its
	// digest: which event is the kernel does not rest on the log's words.
	if open := o.open; open != sectionNone {
		o.open = sectionNone
		switch open {
		case sectionLinux:
			return sight{role: attestd.RoleKernel}
		case sectionInitrd:
			return sight{role: attestd.RoleInitrd}
		case sectionCommandLine:
			return sight{role: attestd.RoleCommandLine}
		default:
			return sight{role: attestd.RoleUKI}
		}
	}
	if o.open = o.section(e.digest); o.open != sectionNone {
		return sight{role: attestd.RoleOther, section: o.open}
	}
	if o.layout == layoutRTMR {
		return sight{role: attestd.RoleOther}
	}
	return sight{role: attestd.RoleUKI}
}

// wide returns the UTF-16 text of an event if its digest covers it: as it stands, or without the
// zeros that end it, or with all of them where the log lacks one byte (systemd-boot before version
// 250).
func (o *observer) wide(e *raw) ([]byte, bool) {
	if o.covers(e, e.data) {
		return e.data, true
	}
	text, odd := e.data, len(e.data)%2 == 1
	if odd {
		if text[len(text)-1] != 0 {
			return nil, false
		}
		text = text[: len(text)-1 : len(text)-1]
		whole := append(text, 0, 0)
		if o.covers(e, whole) {
			return whole, true
		}
	}
	for len(text) >= 2 && text[len(text)-1] == 0 && text[len(text)-2] == 0 {
		text = text[:len(text)-2]
	}
	if o.covers(e, text) {
		return text, true
	}
	return nil, false
}
