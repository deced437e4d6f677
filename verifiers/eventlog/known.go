package eventlog

// mark is a text that firmware measures word for word. It is recognised by its digest, so that
// neither the type nor the data of an event can hide it.
type mark uint8

const (
	markNone mark = iota
	markSeparator
	markSeparatorOnes
	markSeparatorError
	markCalling
	markReturning
	markOmitted
	markExit
	markExitFailure
	markExitSuccess
	markDebugger
	markDMA
	markCount
)

// markTexts: separators as PFP 1.06 section 10.4.1 has them (EV_SEPARATOR: "The event field MUST
// contain the hex value 00000000h or FFFFFFFFh"; 00000001h is what an error is measured as),
// actions as tables "EV_EFI_ACTION strings" and "EV_ACTION strings" of section 10.4.4 have them.
var markTexts = [markCount]string{
	markSeparator:      "\x00\x00\x00\x00",
	markSeparatorOnes:  "\xff\xff\xff\xff",
	markSeparatorError: "\x01\x00\x00\x00",
	markCalling:        "Calling EFI Application from Boot Option",
	markReturning:      "Returning from EFI Application from Boot Option",
	markOmitted:        "BOOT ATTEMPTS OMITTED",
	markExit:           "Exit Boot Services Invocation",
	markExitFailure:    "Exit Boot Services Returned with Failure",
	markExitSuccess:    "Exit Boot Services Returned with Success",
	markDebugger:       "UEFI Debug Mode",
	markDMA:            "DMA Protection Disabled",
}

// section is a section of a unified kernel image whose name systemd-stub measures into PCR 11 in
// front of its contents (systemd, "TPM2 PCR Measurements Made by systemd"): ASCII with the zero
// that ends it.
type section uint8

const (
	sectionNone section = iota
	sectionLinux
	sectionInitrd
	sectionCommandLine
	sectionOther // the first of those that are no role of their own
)

var sectionNames = [...]string{
	sectionLinux: ".linux", sectionInitrd: ".initrd", sectionCommandLine: ".cmdline",
	sectionOther: ".osrel", 5: ".ucode", 6: ".splash", 7: ".dtb", 8: ".uname", 9: ".sbat",
	10: ".pcrpkey", 11: ".profile", 12: ".dtbauto", 13: ".hwids", 14: ".efifw",
}

// phases are the words that systemd-pcrphase measures into PCR 11 while a machine starts and stops,
// in their order; a system without initial ramdisk starts with the third.
var phases = [...]string{"enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final"}

// osSeparator is the word that systemd from 261 on measures in user space into the registers of
// osSeparated (systemd-pcrosseparator.service(8)).
const osSeparator = "os-separator"

// osSeparated are the registers of osSeparator that a firmware's log can have events of.
var osSeparated = [...]int{0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14}

// knowledge holds the digests of marks and section names in one bank.
type knowledge struct {
	marks    [markCount]digest
	sections [len(sectionNames)]digest
}

func (k *knowledge) learn(bank Bank, withSections bool) {
	var room [64]byte
	for index := 1; index < len(markTexts); index++ {
		k.marks[index].of(bank, append(room[:0], markTexts[index]...))
	}
	if !withSections {
		return
	}
	for index := 1; index < len(sectionNames); index++ {
		k.sections[index].of(bank, append(append(room[:0], sectionNames[index]...), 0))
	}
}

func (k *knowledge) mark(value []byte) mark {
	for index := markNone + 1; index < markCount; index++ {
		if string(k.marks[index][:len(value)]) == string(value) {
			return index
		}
	}
	return markNone
}

func (k *knowledge) section(value []byte) section {
	for index := 1; index < len(sectionNames); index++ {
		if string(k.sections[index][:len(value)]) == string(value) {
			return section(index) //nolint:gosec // below 16
		}
	}
	return sectionNone
}

// supplement tries what is known to be measured after a log was read: the end of boot services in
// PCR 5, boot phases in PCR 11, and the separator of systemd's user space. What it adds are fixed
// words, so that a register which then has the quoted value was extended with them. It changes a
// register only where that gives the quoted value.
func (s *replay) supplement() (exitSupplied bool, phase string) {
	if s.layout != layoutPCR {
		return false, ""
	}
	invoked, left := markTexts[markExit], markTexts[markExitSuccess]
	failed := markTexts[markExitFailure]
	exits := [...][]string{
		{invoked, left, osSeparator}, {invoked, failed, invoked, left, osSeparator},
		{invoked, failed, left, osSeparator},
	}
	for _, register := range osSeparated {
		if s.lags(register) {
			s.try(register, []string{osSeparator})
		}
	}
	if s.lags(5) {
		for _, words := range exits {
			if exitSupplied = s.try(5, words) >= len(words)-1; exitSupplied {
				break
			}
		}
	}
	if s.lags(11) {
		for _, words := range [...][]string{phases[:], phases[2:]} {
			if count := s.try(11, words); count > 0 {
				phase = words[count-1]
				break
			}
		}
	}
	return exitSupplied, phase
}

// lags reports whether the register was quoted, has events, and has another value than the quoted
// one.
func (s *replay) lags(register int) bool {
	return s.quoted[register] != nil && s.counts[register] > 0 && !s.matches(register)
}

// try extends a copy of the register with words, one after the other, until it has the quoted
// value. It returns the number of words that this took and keeps the copy then; 0 where none did.
func (s *replay) try(register int, words []string) int {
	before := s.values[register]
	var sum digest
	for index, word := range words {
		s.values[register].extend(s.bank, sum.of(s.bank, []byte(word)))
		if s.matches(register) {
			return index + 1
		}
	}
	s.values[register] = before
	return 0
}
