package uki

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/attestd/attestd"
)

// Boot is what is booted, in which order, as far as the operator says.
type Boot struct {
	// Bank is the PCR bank: sha256, sha384 or sha512.
	Bank string
	// Before are the images that are started before the unified kernel image, in order: a boot loader,
	// shim. The firmware measures each.
	Before []Named
	// Image is the unified kernel image.
	Image Named
	// Phases are the words that systemd-pcrphase measures into PCR 11 up to the moment of the quote.
	Phases []string
	// CommandLine is what the boot entry passes beside the image; empty for nothing.
	CommandLine string
	// InnerKernel says whether the firmware measures the kernel inside the image as an application of
	// its own; empty where the operator does not know.
	InnerKernel InnerKernel
	// Variables are those of Secure Boot; nil where they were not given.
	Variables *Variables
}

// Named is an image and what people call it.
type Named struct {
	Name  string
	Image *Image
}

// InnerKernel says how a stub starts the kernel in its image.
type InnerKernel string

// How a kernel is started.
const (
	// InnerMeasured: by LoadImage of a firmware that measures what is loaded.
	InnerMeasured InnerKernel = "measured"
	// InnerUnmeasured: by the stub itself, or past the firmware's measurements.
	InnerUnmeasured InnerKernel = "unmeasured"
)

// PCR is one register of the prediction.
type PCR struct {
	Index int
	// Value is nil where it cannot be predicted; Why says why, in a sentence.
	Value []byte
	Why   string
	// Events are what the register is extended with, in order.
	Events []Event
	// Assumes are sentences that must be true of the machine.
	Assumes []string
}

// Event is one extension.
type Event struct {
	// Type is the event's type in a log (TCG PC Client PFP), or what measures it.
	Type string
	// What was measured, in words. Foreign text went through attestd.Excerpt.
	What   string
	Digest []byte
	Role   attestd.Role
}

// newHash returns the bank's hash; nil for an unknown bank.
func newHash(bank string) func() hash.Hash {
	switch bank {
	case "sha256":
		return sha256.New
	case "sha384":
		return sha512.New384
	case "sha512":
		return sha512.New
	default:
		return nil
	}
}

// Predict returns PCRs 4, 7, 11 and 12.
//
// Errors: a bank or a phase that there is not; a command line that a stub would not pass on as it
// is.
func Predict(boot Boot) ([]PCR, error) {
	fresh := newHash(boot.Bank)
	if fresh == nil {
		return nil, malformed("sha256, sha384 or sha512", "bank %q", attestd.Excerpt(boot.Bank, 20))
	}
	for _, phase := range boot.Phases {
		if !phaseForm(phase) {
			return nil, malformed("words of a-z and - between colons, as in enter-initrd:leave-initrd",
				"phase %q", attestd.Excerpt(phase, 40))
		}
	}
	if !plain(boot.CommandLine) {
		return nil, malformed("printable text without spaces around it",
			"the command line %q", attestd.Excerpt(boot.CommandLine, 60))
	}
	p := prediction{Boot: boot, fresh: fresh}
	return []PCR{p.pcr4(), p.pcr7(), p.pcr11(), p.pcr12()}, nil
}

func phaseForm(word string) bool {
	return word != "" && len(word) <= 64 && strings.Trim(word,
		"abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// plain reports whether a stub passes a command line on as it is: it cuts spaces off and turns
// control characters into spaces (systemd, mangle_stub_cmdline).
func plain(line string) bool {
	return utf8.ValidString(line) && strings.TrimSpace(line) == line &&
		!strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) &&
		!strings.HasPrefix(line, "@") // the choice of a profile, which is measured in another way
}

type prediction struct {
	Boot
	fresh func() hash.Hash
}

func (p prediction) digest(data []byte) []byte {
	h := p.fresh()
	h.Write(data)
	return h.Sum(nil)
}

// total extends a register that starts at zero with the events of a PCR.
func (p prediction) total(pcr PCR) PCR {
	pcr.Value = make([]byte, p.fresh().Size())
	for _, event := range pcr.Events {
		h := p.fresh()
		h.Write(pcr.Value)
		h.Write(event.Digest)
		pcr.Value = h.Sum(nil)
	}
	return pcr
}

// unknown is a PCR that cannot be predicted.
func unknown(index int, why string) PCR { return PCR{Index: index, Why: why} }

func (p prediction) separator() Event {
	return Event{
		Type: "EV_SEPARATOR", What: "the firmware hands over to the operating system's code",
		Digest: p.digest(make([]byte, 4)), Role: attestd.RoleSeparator,
	}
}

// noSeparatorOfOS is what versions of systemd after those known here change.
const noSeparatorOfOS = "The initrd's systemd is older than 261, which measures os-separator here."

// pcr4 is what the firmware measures of the images that it starts (TCG PC Client PFP 1.05 r23,
// section 3.3.4.5; section 10.4.4 for the action).
func (p prediction) pcr4() PCR {
	const action = "Calling EFI Application from Boot Option"
	pcr := PCR{Index: 4, Events: []Event{
		{Type: "EV_EFI_ACTION", What: action, Digest: p.digest([]byte(action)), Role: attestd.RoleOther},
		p.separator(),
	}, Assumes: []string{
		"The first boot option starts: an attempt that fails leaves an event of its own.",
		noSeparatorOfOS,
	}}
	application := func(what string, image *Image) {
		pcr.Events = append(pcr.Events, Event{
			Type: "EV_EFI_BOOT_SERVICES_APPLICATION", What: what, Digest: image.Authenticode(p.fresh()),
			Role: attestd.RoleApplication,
		})
	}
	for _, before := range p.Before {
		application(attestd.Excerpt(before.Name, 100), before.Image)
	}
	application(attestd.Excerpt(p.Image.Name, 100), p.Image.Image)
	inner, why := p.innerKernel()
	if why != "" {
		return PCR{Index: 4, Why: why, Events: pcr.Events}
	}
	if inner == InnerMeasured {
		section, _ := p.Image.Image.kernel()
		kernel, err := Parse(section.Contents())
		if err != nil {
			return PCR{Index: 4, Events: pcr.Events, Why: "The section .linux is no PE image, which a " +
				"firmware could load: " + err.Error() + "."}
		}
		application("the kernel in section .linux", kernel)
	}
	return p.total(pcr)
}

// innerKernel says whether the firmware measures the kernel inside the image, or why that cannot
// be known. Stubs up to 257 load it by LoadImage, which measures, unless the kernel is so old that
// they jump into it; under Secure Boot they put a hook of their own in the firmware's place, which
// keeps it from measuring where the firmware has that place (src/boot/secure-boot.c). Since 258
// they start it themselves, unless shim is there (src/boot/linux.c).
func (p prediction) innerKernel() (InnerKernel, string) {
	const say = " Say --inner-kernel measured or unmeasured: a log of one boot shows whether PCR 4 " +
		"has an application more than files were given."
	if p.InnerKernel != "" {
		return p.InnerKernel, ""
	}
	version, why := p.Image.Image.stub()
	if why != "" {
		return "", why + say
	}
	shim := false
	for _, before := range p.Before {
		shim = shim || before.Image.isShim()
	}
	switch {
	case version >= 258 && !shim:
		return InnerUnmeasured, ""
	case version >= 258:
		return "", "Whether the kernel in the image is measured depends on shim's version and on " +
			"Secure Boot." + say
	case p.Variables == nil:
		return "", fmt.Sprintf("Whether the kernel in the image is measured by the firmware depends on "+
			"Secure Boot with systemd-stub %d.", version) + say
	case p.Variables.On:
		return "",
			fmt.Sprintf("Whether the kernel in the image is measured under Secure Boot depends on "+
				"the firmware with systemd-stub %d.", version) + say
	}
	section, ok := p.Image.Image.kernel()
	if !ok {
		return "", "The image has no section .linux, so it is no unified kernel image."
	}
	kernel, err := Parse(section.Contents())
	switch {
	case err != nil:
		return "", "The section .linux is no PE image: " + err.Error() + "."
	case kernel.Major < 1:
		return "",
			"The kernel in the image is older than Linux 5.8, or says so; stubs start such kernels " +
				"in other ways." + say
	}
	return InnerMeasured, ""
}

// pcr11 is what systemd-stub measures of its own image: of each section the name with its NUL, then
// the contents (systemd-stub(7); src/boot/stub.c, measure_sections), and then the phases
// (systemd-pcrphase.service(8)).
func (p prediction) pcr11() PCR {
	list, why := p.Image.Image.measured()
	if why != "" {
		return unknown(11, why)
	}
	pcr := PCR{Index: 11}
	for _, section := range list {
		role := attestd.RoleUKI
		switch section.name {
		case ".linux":
			role = attestd.RoleKernel
		case ".initrd":
			role = attestd.RoleInitrd
		case ".cmdline":
			role = attestd.RoleCommandLine
		}
		pcr.Events = append(pcr.Events,
			Event{"EV_IPL", "name of section " + section.name,
				p.digest(append([]byte(section.name), 0)), attestd.RoleOther},
			Event{"EV_IPL", fmt.Sprintf("section %s, %d bytes", section.name, len(section.contents)),
				p.digest(section.contents), role})
	}
	for _, phase := range p.Phases {
		pcr.Events = append(pcr.Events,
			Event{"systemd-pcrphase", phase, p.digest([]byte(phase)), attestd.RoleOther})
	}
	if len(p.Phases) == 0 {
		pcr.Assumes = []string{"No phase of the boot is measured (systemd-pcrphase); else say --phase."}
	} else {
		pcr.Assumes = []string{
			"The quote is made after the last phase that is given, and before the next.",
		}
	}
	if _, ok := p.Image.Image.Section(".profile"); ok {
		pcr.Assumes = append(pcr.Assumes, "The first profile is booted.")
	}
	return p.total(pcr)
}

// pcr12 is what is added to the kernel's command line from outside the image, and other parameters
// (systemd-stub(7)).
func (p prediction) pcr12() PCR {
	if len(p.Before) > 0 {
		return unknown(12, "A boot loader before the image passes options of its own and measures them.")
	}
	if _, why := p.Image.Image.stub(); why != "" {
		return unknown(12, why)
	}
	pcr := PCR{Index: 12, Assumes: []string{
		"No add-ons, credentials, extensions or SMBIOS strings are given to the stub.",
		noSeparatorOfOS,
	}}
	line := p.CommandLine
	if line != "" && p.Image.Image.hasCommandLine() {
		switch {
		case p.Variables == nil:
			return unknown(12, "The image has a command line of its own, and under Secure Boot the stub "+
				"drops the one that is passed. Give --secure-boot-dir.")
		case p.Variables.On:
			line = ""
		}
	}
	if line != "" {
		// tpm_log_load_options: UTF-16 with its NUL.
		var text []byte
		for _, unit := range append(utf16.Encode([]rune(line)), 0) {
			text = binary.LittleEndian.AppendUint16(text, unit)
		}
		pcr.Events = append(pcr.Events, Event{
			"EV_IPL", "command line " + attestd.Excerpt(line, 200), p.digest(text), attestd.RoleCommandLine,
		})
	}
	return p.total(pcr)
}
