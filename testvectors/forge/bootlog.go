package forge

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // real logs list it; nothing believes it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf16"
)

// Digest algorithms of a log, by their TPM_ALG_ID.
const (
	LogSHA1   uint16 = 0x0004
	LogSHA256 uint16 = 0x000b
	LogSHA384 uint16 = 0x000c
	LogSHA512 uint16 = 0x000d
)

// BootOptions say what a machine starts. The zero value is a machine with Secure Boot off that
// starts a kernel with shim and grub and has digests of SHA-1, SHA-256 and SHA-384.
type BootOptions struct {
	SecureBoot bool
	// Kernel, Initrd and Firmware are what is measured of them; defaults where they are nil.
	Kernel, Initrd, Firmware []byte
	// CommandLine is the kernel's, without its path in front.
	CommandLine string
	// Unified starts a unified kernel image by systemd-stub in place of shim, grub and a kernel.
	Unified bool
	// DB and DBX are hashes of images; a certificate is in db besides. DBX has 3 where it is nil.
	DB, DBX [][]byte
	// Locality of TPM2_Startup, where it is not 0.
	Locality byte
	// Algorithms of the log.
	Algorithms []uint16
	// Confidential writes the log of a confidential virtual machine (CCEL): RTMRs in place of PCRs,
	// SHA-384.
	Confidential bool
}

// BootStep is an event of a synthetic boot.
type BootStep struct {
	// Name to find it by, as in "kernel".
	Name string
	PCR  uint32
	Type uint32
	// Measured is what the digests are of; nil for an event that extends nothing.
	Measured []byte
	// Data is what the log has beside the digests.
	Data []byte
}

// Boot is a synthetic boot, step by step. Change Steps before asking for the log or the extensions.
type Boot struct {
	Steps        []BootStep
	Algorithms   []uint16
	confidential bool
}

// Types of events that a synthetic boot has (TCG PC Client Platform Firmware Profile 1.06, section
// 10.4.1).
const (
	logNoAction       = 0x03
	logSeparator      = 0x04
	logEventTag       = 0x06
	logVersion        = 0x08
	logIPL            = 0x0d
	logVariable       = 0x80000001
	logVariableBoot   = 0x80000002
	logApplication    = 0x80000003
	logDriver         = 0x80000004
	logGPT            = 0x80000006
	logAction         = 0x80000007
	logFirmwareBlob   = 0x80000008
	logVariableAuth   = 0x800000e0
	logTagLoadOptions = 0x8f3b22ed
)

// NewBoot returns the boot of a machine that measures what real ones measure, in the order in which
// they do.
func NewBoot(options BootOptions) *Boot {
	b := &Boot{Algorithms: options.Algorithms, confidential: options.Confidential}
	switch {
	case options.Confidential:
		b.Algorithms = []uint16{LogSHA384}
	case len(b.Algorithms) == 0:
		b.Algorithms = []uint16{LogSHA1, LogSHA256, LogSHA384}
	}
	b.firmware(options)
	b.policy(options)
	b.add("calling", 4, logAction, []byte("Calling EFI Application from Boot Option"))
	for pcr := range uint32(7) {
		b.add(fmt.Sprintf("separator%d", pcr), pcr, logSeparator, make([]byte, 4))
	}
	b.add("gpt", 5, logGPT, append([]byte("EFI PART"), make([]byte, 476)...))
	if options.SecureBoot {
		b.add("authority", 7, logVariableAuth,
			EFIVariable(databaseGUID, "db", owned(bootCertificate("db"))))
	}
	if options.Unified {
		b.unified(options)
	} else {
		b.grub(options)
	}
	b.add("exit", 5, logAction, []byte("Exit Boot Services Invocation"))
	b.add("exited", 5, logAction, []byte("Exit Boot Services Returned with Success"))
	return b
}

func (b *Boot) firmware(options BootOptions) {
	if options.Locality != 0 {
		b.Steps = append(b.Steps, BootStep{
			Name: "locality", Type: logNoAction,
			Data: append([]byte("StartupLocality\x00"), options.Locality),
		})
	}
	b.add("version", 0, logVersion, UTF16("forge firmware 1.0", true))
	b.unlogged("firmware", 0, logFirmwareBlob, orDefault(options.Firmware, "firmware volume"),
		bytes.Repeat([]byte{0, 0, 0xf0, 0xff, 0, 0, 0, 0}, 2))
}

func (b *Boot) policy(options BootOptions) {
	on := byte(0)
	if options.SecureBoot {
		on = 1
	}
	certificates := func(name string) []byte {
		return EFISignatureList(certificateGUID, 0, owned(bootCertificate(name)))
	}
	dbx := options.DBX
	if dbx == nil {
		for index := range 3 {
			sum := sha256.Sum256([]byte{byte(index)})
			dbx = append(dbx, sum[:])
		}
	}
	b.add("secure-boot", 7, logVariable, EFIVariable(globalGUID, "SecureBoot", []byte{on}))
	b.add("pk", 7, logVariable, EFIVariable(globalGUID, "PK", certificates("PK")))
	b.add("kek", 7, logVariable, EFIVariable(globalGUID, "KEK", certificates("KEK")))
	db := append(certificates("db"), hashes(options.DB)...)
	b.add("db", 7, logVariable, EFIVariable(databaseGUID, "db", db))
	b.add("dbx", 7, logVariable, EFIVariable(databaseGUID, "dbx", hashes(dbx)))
	b.add("separator7", 7, logSeparator, make([]byte, 4))
	b.unlogged("driver", 2, logDriver, []byte("option ROM"), imageLoad(`\driver.efi`))
	order := []byte{1, 0}
	b.unlogged("boot-order", 1, logVariableBoot, order, EFIVariable(globalGUID, "BootOrder", order))
}

// grub is a boot by shim and grub, as Fedora's and Ubuntu's.
func (b *Boot) grub(options BootOptions) {
	b.unlogged("shim", 4, logApplication, []byte("shim"), imageLoad(`\EFI\BOOT\BOOTX64.EFI`))
	b.unlogged("mok", 14, logIPL, []byte("machine owner keys"), []byte("MokList\x00"))
	b.add("sbat", 7, logVariableAuth,
		EFIVariable(shimGUID, "SbatLevel", []byte("sbat,1,2021030218\n")))
	b.unlogged("grub", 4, logApplication, []byte("grub"), imageLoad(`\EFI\forge\grubx64.efi`))
	const path = "/vmlinuz"
	line := path + " " + orDefaultText(options.CommandLine, "root=/dev/vda2 ro")
	b.unlogged("grub-config", 9, logIPL, []byte("grub.cfg"), []byte("(hd0,gpt2)/grub2/grub.cfg\x00"))
	b.grubText("command-linux", "grub_cmd: ", "linux "+line)
	b.unlogged("kernel", 9, logIPL, orDefault(options.Kernel, "kernel"),
		[]byte("(hd0,gpt2)"+path+"\x00"))
	b.grubText("command-line", "kernel_cmdline: ", line)
	b.grubText("command-initrd", "grub_cmd: ", "initrd /initramfs.img")
	b.unlogged("initrd", 9, logIPL, orDefault(options.Initrd, "initrd"),
		[]byte("(hd0,gpt2)/initramfs.img\x00"))
	b.grubText("command-boot", "grub_cmd: ", "boot")
	b.unlogged("load-options", 9, logEventTag, UTF16("BOOT_IMAGE="+line, false),
		Tagged(logTagLoadOptions, "LOADED_IMAGE::LoadOptions"))
}

// unified is a boot of a unified kernel image.
func (b *Boot) unified(options BootOptions) {
	b.unlogged("image", 4, logApplication, []byte("unified kernel image"),
		imageLoad(`\EFI\Linux\forge.efi`))
	line := orDefaultText(options.CommandLine, "root=/dev/vda2 ro")
	for _, section := range []struct {
		name    string
		content []byte
	}{
		{".linux", orDefault(options.Kernel, "kernel")}, {".osrel", []byte("ID=forge\n")},
		{".cmdline", []byte(line)}, {".initrd", orDefault(options.Initrd, "initrd")},
	} {
		label := UTF16(section.name, true)
		b.unlogged("name"+section.name, 11, logIPL, append([]byte(section.name), 0), label)
		b.unlogged("section"+section.name, 11, logIPL, section.content, label)
	}
	b.unlogged("image-kernel", 4, logApplication, orDefault(options.Kernel, "kernel"),
		imageLoad(""))
	b.unlogged("added-line", 12, logIPL, UTF16("quiet", false), UTF16("quiet", true))
}

// add appends an event whose digests are of its data, or, with measured, of something else.
func (b *Boot) add(name string, pcr, kind uint32, data []byte) {
	b.unlogged(name, pcr, kind, data, data)
}

func (b *Boot) unlogged(name string, pcr, kind uint32, measured, data []byte) {
	b.Steps = append(b.Steps, BootStep{
		Name: name, PCR: pcr, Type: kind, Measured: measured, Data: data,
	})
}

func (b *Boot) grubText(name, prefix, text string) {
	b.unlogged(name, 8, logIPL, []byte(text), []byte(prefix+text+"\x00"))
}

// Step returns the step of that name for changing it; nil where there is none.
func (b *Boot) Step(name string) *BootStep {
	for index := range b.Steps {
		if b.Steps[index].Name == name {
			return &b.Steps[index]
		}
	}
	return nil
}

// Drop removes the step of that name.
func (b *Boot) Drop(name string) {
	b.Steps = slices.DeleteFunc(b.Steps, func(s BootStep) bool { return s.Name == name })
}

// InsertAfter puts a step behind the one of that name, or at the end where there is none.
func (b *Boot) InsertAfter(name string, step BootStep) {
	place := slices.IndexFunc(b.Steps, func(s BootStep) bool { return s.Name == name }) + 1
	if place == 0 {
		place = len(b.Steps)
	}
	b.Steps = slices.Insert(b.Steps, place, step)
}

// Extension is what a TPM is extended with for one event: a digest for each algorithm of the log.
type Extension struct {
	// Step is the name of the step, PCR the register (of a confidential machine: the index in its log,
	// RTMR and 1).
	Step    string
	PCR     uint32
	Digests map[uint16][]byte
}

// Extensions returns what the registers are extended with, in their order.
func (b *Boot) Extensions() []Extension {
	var out []Extension
	for _, step := range b.Steps {
		if step.Measured == nil {
			continue
		}
		one := Extension{Step: step.Name, PCR: b.register(step.PCR), Digests: map[uint16][]byte{}}
		for _, algorithm := range b.Algorithms {
			one.Digests[algorithm] = LogDigest(algorithm, step.Measured)
		}
		out = append(out, one)
	}
	return out
}

// Registers returns the values of registers 0 to 23 after the boot. Only the locality of a
// "locality" step changes an initial value.
func (b *Boot) Registers(algorithm uint16) [24][]byte {
	var out [24][]byte
	size := len(LogDigest(algorithm, nil))
	for index := range out {
		out[index] = make([]byte, size)
		if index >= 17 && index <= 22 && !b.confidential {
			out[index] = bytes.Repeat([]byte{0xff}, size)
		}
	}
	if step := b.Step("locality"); step != nil {
		out[0][size-1] = step.Data[len(step.Data)-1]
	}
	for _, one := range b.Extensions() {
		out[one.PCR] = LogDigest(algorithm, append(out[one.PCR], one.Digests[algorithm]...))
	}
	return out
}

// Log returns the log in the crypto-agile format.
func (b *Boot) Log() []byte {
	little := binary.LittleEndian
	var spec []byte
	spec = append(spec, "Spec ID Event03\x00"...)
	spec = little.AppendUint32(spec, 0)
	spec = append(spec, 0, 2, 0, 2)
	spec = little.AppendUint32(spec, uint32(len(b.Algorithms)))
	for _, algorithm := range b.Algorithms {
		spec = little.AppendUint16(spec, algorithm)
		spec = little.AppendUint16(spec, uint16(len(LogDigest(algorithm, nil))))
	}
	spec = append(spec, 0)
	out := little.AppendUint32(nil, b.register(0))
	out = little.AppendUint32(out, logNoAction)
	out = append(out, make([]byte, 20)...)
	out = append(little.AppendUint32(out, uint32(len(spec))), spec...)
	for _, step := range b.Steps {
		out = little.AppendUint32(out, b.register(step.PCR))
		out = little.AppendUint32(out, step.Type)
		out = little.AppendUint32(out, uint32(len(b.Algorithms)))
		for _, algorithm := range b.Algorithms {
			digest := LogDigest(algorithm, step.Measured)
			if step.Measured == nil {
				clear(digest)
			}
			out = append(little.AppendUint16(out, algorithm), digest...)
		}
		out = append(little.AppendUint32(out, uint32(len(step.Data))), step.Data...)
	}
	return out
}

// register returns the index in the log: of a confidential machine by UEFI 2.10 section 38.4.1.
func (b *Boot) register(pcr uint32) uint32 {
	switch {
	case !b.confidential:
		return pcr
	case pcr == 0, pcr == 1, pcr == 7:
		return 1
	case pcr < 7:
		return 2
	default:
		return 3
	}
}

// LogDigest returns the digest of data in one of the algorithms of a log; others have none.
func LogDigest(algorithm uint16, data []byte) []byte {
	switch algorithm {
	case LogSHA1:
		sum := sha1.Sum(data) //nolint:gosec // as above
		return sum[:]
	case LogSHA256:
		sum := sha256.Sum256(data)
		return sum[:]
	case LogSHA384:
		sum := sha512.Sum384(data)
		return sum[:]
	case LogSHA512:
		sum := sha512.Sum512(data)
		return sum[:]
	default:
		return nil
	}
}

// GUIDs as they lie in memory (UEFI 2.10 sections 3.3, 32.4.1 and 32.6.1; shim).
var (
	globalGUID = [16]byte{
		0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
		0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
	}
	databaseGUID = [16]byte{
		0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
		0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
	}
	shimGUID = [16]byte{
		0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43,
		0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23,
	}
	certificateGUID = [16]byte{
		0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
		0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
	}
	hashGUID = [16]byte{
		0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
		0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28,
	}
	ownerGUID = [16]byte{0xf0, 0x79, 0xe0, 0xf0}
)

// EFIVariable returns a UEFI_VARIABLE_DATA.
func EFIVariable(vendor [16]byte, name string, value []byte) []byte {
	units := utf16.Encode([]rune(name))
	out := binary.LittleEndian.AppendUint64(slices.Clone(vendor[:]), uint64(len(units)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(value)))
	return append(append(out, UTF16(name, false)...), value...)
}

// SecureBootVariable returns the UEFI_VARIABLE_DATA of SecureBoot with a value.
func SecureBootVariable(value []byte) []byte {
	return EFIVariable(globalGUID, "SecureBoot", value)
}

// DatabaseVariable returns the UEFI_VARIABLE_DATA of "db" or "dbx" with a value.
func DatabaseVariable(name string, value []byte) []byte {
	return EFIVariable(databaseGUID, name, value)
}

// EFISignatureList returns an EFI_SIGNATURE_LIST of entries of one length, owners included, behind
// a header of zeros.
func EFISignatureList(kind [16]byte, header int, entries ...[]byte) []byte {
	size, body := 0, make([]byte, header)
	for _, entry := range entries {
		size, body = len(entry), append(body, entry...)
	}
	little := binary.LittleEndian
	out := little.AppendUint32(slices.Clone(kind[:]), uint32(28+len(body)))
	out = little.AppendUint32(out, uint32(header))
	return append(little.AppendUint32(out, uint32(size)), body...)
}

// EFIHashList returns an EFI_SIGNATURE_LIST of SHA-256 hashes.
func EFIHashList(sums ...[]byte) []byte { return hashes(sums) }

func hashes(sums [][]byte) []byte {
	if len(sums) == 0 {
		return nil
	}
	var entries [][]byte
	for _, sum := range sums {
		entries = append(entries, owned(sum))
	}
	return EFISignatureList(hashGUID, 0, entries...)
}

// owned returns an EFI_SIGNATURE_DATA.
func owned(data []byte) []byte { return append(slices.Clone(ownerGUID[:]), data...) }

// bootCertificate is a DER sequence of a certificate's length. Nothing that reads logs looks
// inside.
func bootCertificate(name string) []byte {
	body := bytes.Repeat([]byte(name+" "), 100)[:300]
	return append([]byte{0x30, 0x82, 300 >> 8, 300 & 0xff}, body...)
}

// imageLoad is a UEFI_IMAGE_LOAD_EVENT with a file's path, which no digest covers.
func imageLoad(path string) []byte {
	name := UTF16(path, true)
	device := append([]byte{4, 4, byte(4 + len(name)), 0}, name...)
	device = append(device, 0x7f, 0xff, 4, 0)
	out := make([]byte, 24)
	return append(binary.LittleEndian.AppendUint64(out, uint64(len(device))), device...)
}

// Tagged returns a TCG_PCClientTaggedEvent.
func Tagged(tag uint32, text string) []byte {
	out := binary.LittleEndian.AppendUint32(nil, tag)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)+1))
	return append(append(out, text...), 0)
}

// UTF16 returns text in little-endian UTF-16, with a zero behind it where it is to end with one.
func UTF16(text string, terminated bool) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	if terminated {
		out = append(out, 0, 0)
	}
	return out
}

func orDefault(value []byte, text string) []byte {
	if value == nil {
		return []byte(text)
	}
	return value
}

func orDefaultText(value, text string) string {
	if value == "" {
		return text
	}
	return value
}
