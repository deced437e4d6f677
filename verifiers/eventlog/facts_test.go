package eventlog_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

func TestFactsOfAMachine(t *testing.T) {
	t.Parallel()
	for _, bank := range []eventlog.Bank{eventlog.SHA256, eventlog.SHA384, eventlog.SHA512} {
		boot := forge.NewBoot(forge.BootOptions{
			SecureBoot: true, Locality: 3, CommandLine: "root=/dev/vda2 ro quiet",
			Algorithms: []uint16{forge.LogSHA1, forge.LogSHA256, forge.LogSHA384, forge.LogSHA512},
		})
		facts, fault := eventlog.ReplayBoot(boot.Log(), quote(boot, bank))
		if fault != nil {
			t.Fatal(bank, fault)
		}
		want := eventlog.Boot{
			Log: "boot", Bank: bank, Count: len(boot.Steps), Matched: 1<<16 - 1,
			SecureBoot: eventlog.Switch{Known: true, On: true},
			PK:         eventlog.Database{Known: true, Certificates: 1},
			KEK:        eventlog.Database{Known: true, Certificates: 1},
			DB:         eventlog.Database{Known: true, Certificates: 1},
			DBX:        eventlog.Database{Known: true, Hashes: 3},
			Separators: 0xff, Authorities: 1, Applications: 2, Drivers: 1, ExitBootServices: true,
			Kernels: 1, Initrds: 1, CommandLines: 1, FirmwareVersion: "forge firmware 1.0",
		}
		if got := eventlog.Public(facts); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", bank, got, want)
		}
	}
}

func TestEventsOfAMachine(t *testing.T) {
	t.Parallel()
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true, CommandLine: "ro quiet"})
	facts := replay(t, boot)
	digest := func(name string) []byte {
		return forge.LogDigest(forge.LogSHA256, step(t, boot, name).Measured)
	}
	registers := map[string]string{"command-line": "PCR8", "load-options": "PCR9"}
	for _, want := range []struct {
		role attestd.Role
		step string
		text string
		what string
	}{
		{attestd.RoleSecureBoot, "secure-boot", "on", "Secure Boot on"},
		{attestd.RolePK, "pk", "", "pk with 1 entries"},
		{attestd.RoleKEK, "kek", "", "kek with 1 entries"},
		{attestd.RoleDB, "db", "", "db with 1 entries"},
		{attestd.RoleDBX, "dbx", "", "dbx with 3 entries"},
		{attestd.RoleAuthority, "authority", "", "entry of db"},
		{attestd.RoleDriver, "driver", "", ""},
		{attestd.RoleKernel, "kernel", "", ""},
		{attestd.RoleInitrd, "initrd", "", ""},
		{attestd.RoleCommandLine, "command-line", "/vmlinuz ro quiet", "/vmlinuz ro quiet"},
		// What Linux measures of it has no text in the log; the digest is that of the line before.
		{attestd.RoleCommandLine, "load-options", "BOOT_IMAGE=/vmlinuz ro quiet",
			"BOOT_IMAGE=/vmlinuz ro quiet"},
	} {
		found := slices.DeleteFunc(ofRole(facts, want.role), func(e attestd.Event) bool {
			return want.role == attestd.RoleCommandLine && e.Register != registers[want.step]
		})
		if len(found) != 1 {
			t.Errorf("%d events of role %s", len(found), want.role)
			continue
		}
		got := found[0]
		if !bytes.Equal(got.Digest, digest(want.step)) || got.Text != want.text || got.What != want.what {
			t.Errorf("%s: %+v", want.role, got)
		}
	}
	var commands []string
	for _, one := range ofRole(facts, attestd.RoleCommand) {
		commands = append(commands, one.Register+" "+one.Text)
		if one.What != "grub: "+one.Text {
			t.Errorf("a command: %+v", one)
		}
	}
	if want := []string{"PCR8 linux /vmlinuz ro quiet", "PCR8 initrd /initramfs.img", "PCR8 boot"}; !slices.Equal(
		commands, want) {
		t.Errorf("commands %q, want %q", commands, want)
	}
	der := step(t, boot, "authority").Measured[32+4+16:]
	sum := sha256.Sum256(der)
	if got := ofRole(facts, attestd.RoleAuthority)[0].Entries; !bytes.Equal(got[0], sum[:]) {
		t.Errorf("the authority is %x, want the certificate's SHA-256 %x", got, sum)
	}
	first := sha256.Sum256([]byte{0})
	got := ofRole(facts, attestd.RoleDBX)[0].Entries
	if len(got) != 3 || !bytes.Equal(got[0], first[:]) {
		t.Errorf("dbx is %x", got)
	}
	if got := ofRole(facts, attestd.RoleFirmware); len(got) != 2 ||
		got[0].What != "forge firmware 1.0" || got[0].Register != "PCR0" ||
		got[0].Type != "EV_S_CRTM_VERSION" || got[0].Log != "boot" {
		t.Errorf("firmware: %+v", got)
	}
	if got := len(ofRole(facts, attestd.RoleSeparator)); got != 8 {
		t.Errorf("%d separators", got)
	}
	if got := len(events(facts)); got != len(boot.Steps) {
		t.Errorf("%d events of %d", got, len(boot.Steps))
	}
	for range facts.Events() {
		break // stopping early is no error
	}
}

func TestEventsOfAUnifiedImage(t *testing.T) {
	t.Parallel()
	boot := forge.NewBoot(forge.BootOptions{Unified: true})
	facts := replay(t, boot)
	for role, name := range map[attestd.Role]string{
		attestd.RoleKernel: "section.linux", attestd.RoleInitrd: "section.initrd",
		attestd.RoleUKI: "section.osrel",
	} {
		found := ofRole(facts, role)
		want := forge.LogDigest(forge.LogSHA256, step(t, boot, name).Measured)
		if len(found) != 1 || !bytes.Equal(found[0].Digest, want) {
			t.Errorf("%s: %+v", role, found)
		}
	}
	lines := ofRole(facts, attestd.RoleCommandLine)
	if len(lines) != 2 || lines[0].Register != "PCR11" || lines[0].Text != "" ||
		lines[1].Text != "quiet" {
		t.Errorf("command lines: %+v", lines)
	}
}

// TestWhatCannotHide lets somebody with root on the machine write the log: digests and their order
// in a register must stay, everything else may change.
func TestWhatCannotHide(t *testing.T) {
	t.Parallel()
	options := forge.BootOptions{}
	evil := func(pcr uint32) forge.BootStep {
		return forge.BootStep{Name: "evil", PCR: pcr, Type: evIPL, Measured: []byte("evil"),
			Data: []byte("evil")}
	}
	t.Run("an application behind another type", func(t *testing.T) {
		boot := forge.NewBoot(options)
		hidden := evil(4)
		hidden.Type, hidden.Data = evAction, []byte("Returning from EFI Application from Boot Option")
		boot.InsertAfter("shim", hidden)
		facts := replay(t, boot)
		if facts.Applications != 3 || len(ofRole(facts, attestd.RoleApplication)) != 3 {
			t.Errorf("%d applications, want 3", facts.Applications)
		}
	})
	t.Run("an application with what it is hashed from as data", func(t *testing.T) {
		boot := forge.NewBoot(options)
		boot.InsertAfter("shim", evil(4))
		if facts := replay(t, boot); facts.Applications != 3 {
			t.Errorf("%d applications, want 3", facts.Applications)
		}
	})
	t.Run("an application before the boot option", func(t *testing.T) {
		boot := forge.NewBoot(options)
		boot.InsertAfter("boot-order", evil(4))
		if facts := replay(t, boot); facts.Early != 1 {
			t.Errorf("%d early applications, want 1", facts.Early)
		}
	})
	t.Run("a driver and firmware behind another type", func(t *testing.T) {
		boot := forge.NewBoot(options)
		boot.InsertAfter("driver", evil(2))
		boot.InsertAfter("firmware", evil(0))
		facts := replay(t, boot)
		if len(ofRole(facts, attestd.RoleDriver)) != 2 || len(ofRole(facts, attestd.RoleFirmware)) != 3 {
			t.Error("a driver or firmware volume has no role")
		}
	})
	t.Run("a command line that calls itself a command", func(t *testing.T) { // neg: 66
		boot := forge.NewBoot(options)
		line := step(t, boot, "command-line")
		text := bytes.TrimPrefix(line.Data, []byte("kernel_cmdline: "))
		line.Data = append([]byte("grub_cmd: "), text...)
		if facts := replay(t, boot); facts.CommandLines != 1 {
			t.Errorf("%d command lines, want 1", facts.CommandLines)
		}
		for _, path := range []string{"/vmlinuz", "(hd0)/vmlinuz", `"/a b"`, "'/a'", `\/a`} {
			line.Measured = []byte(path + " ro")
			line.Data = append([]byte("grub_cmd: "), line.Measured...)
			if lines := ofRole(replay(t, boot), attestd.RoleCommandLine); lines[0].Text != path+" ro" {
				t.Errorf("%s: %+v", path, lines)
			}
		}
	})
	t.Run("a command beside another text", func(t *testing.T) { // neg: 66
		boot := forge.NewBoot(options)
		step(t, boot, "command-boot").Data = []byte("grub_cmd: search\x00")
		facts := replay(t, boot)
		if len(ofRole(facts, attestd.RoleCommand)) != 2 || facts.CommandLines != 2 {
			t.Errorf("it is no command line: %+v", eventlog.Public(facts))
		}
	})
	t.Run("a command in another register", func(t *testing.T) {
		boot := forge.NewBoot(options)
		for _, pcr := range []uint32{0, 2, 4, 5, 9, 11, 12, 14} {
			boot.Steps = append(boot.Steps, forge.BootStep{
				PCR: pcr, Type: evIPL, Measured: []byte("boot"), Data: []byte("grub_cmd: boot"),
			})
		}
		boot.Drop("exit")
		boot.Drop("exited")
		for _, one := range ofRole(replay(t, boot), attestd.RoleCommand) {
			if one.Register != "PCR8" {
				t.Errorf("%+v", one)
			}
		}
	})
	t.Run("a command line beside another text", func(t *testing.T) { // neg: 66
		boot := forge.NewBoot(options)
		step(t, boot, "command-line").Data = []byte("kernel_cmdline: /vmlinuz lockdown=integrity\x00")
		// The load options rest on the line, and have none to rest on now.
		lines := ofRole(replay(t, boot), attestd.RoleCommandLine)
		for _, line := range lines {
			if line.Text != "" || line.What != "" {
				t.Errorf("text that no digest covers: %+v", line)
			}
		}
		if len(lines) != 2 {
			t.Errorf("%d command lines, want 2", len(lines))
		}
	})
	t.Run("a firmware version beside another digest", func(t *testing.T) { // neg: 66
		boot := forge.NewBoot(options)
		step(t, boot, "version").Data = forge.UTF16("forge firmware 9.9", true)
		if facts := replay(t, boot); facts.FirmwareVersion != "" ||
			ofRole(facts, attestd.RoleFirmware)[0].What != "" {
			t.Errorf("version %q is not covered", facts.FirmwareVersion)
		}
	})
	t.Run("an authority without its entry", func(t *testing.T) { // neg: 66
		boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
		boot.InsertAfter("authority", evil(7))
		step(t, boot, "authority").Data = []byte("db")
		facts := replay(t, boot)
		for _, one := range ofRole(facts, attestd.RoleAuthority) {
			if one.Entries != nil {
				t.Errorf("entries that no digest covers: %+v", one)
			}
		}
		if facts.Authorities != 2 {
			t.Errorf("%d authorities, want 2", facts.Authorities)
		}
	})
	t.Run("a section of a unified image", func(t *testing.T) { // neg: 66
		boot := forge.NewBoot(forge.BootOptions{Unified: true})
		step(t, boot, "name.linux").Data = []byte("nothing")
		step(t, boot, "section.linux").Data = []byte("to see")
		step(t, boot, "section.osrel").Data = forge.UTF16(".linux", true)
		if facts := replay(t, boot); facts.Kernels != 1 {
			t.Errorf("%d kernels, want 1", facts.Kernels)
		}
	})
	t.Run("what an operating system says of the firmware", func(t *testing.T) { // neg: 71
		boot := forge.NewBoot(options)
		late := func(pcr, kind uint32, data []byte) forge.BootStep {
			return forge.BootStep{PCR: pcr, Type: kind, Measured: data, Data: data}
		}
		boot.Drop("version")
		boot.InsertAfter("separator6", late(0, 8, forge.UTF16("forge firmware 9.9", true)))
		boot.InsertAfter("separator6", late(0, 17, append([]byte("GCE NonHostInfo\x00"),
			append([]byte{4}, make([]byte, 15)...)...)))
		facts := replay(t, boot)
		if facts.FirmwareVersion != "" || facts.GCETechnology != eventlog.GCEUnknown || facts.Late != 2 {
			t.Errorf("believed behind the separator: %+v", eventlog.Public(facts))
		}
	})
	t.Run("a Secure Boot policy behind the separator", func(t *testing.T) { // neg: 71
		boot := forge.NewBoot(options)
		for _, name := range []string{"secure-boot", "dbx"} {
			one := *step(t, boot, name)
			boot.Drop(name)
			boot.InsertAfter("separator7", one)
		}
		if facts := replay(t, boot); facts.SecureBoot.Known || facts.DBX.Known {
			t.Errorf("believed behind the separator: %+v", eventlog.Public(facts))
		}
	})
}

func TestOnlyQuotedRegistersAreBelieved(t *testing.T) {
	t.Parallel()
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
	facts := replay(t, boot, 4, 5)
	if facts.SecureBoot.Known || facts.DBX.Known || facts.FirmwareVersion != "" ||
		facts.Kernels != 0 || facts.Separators != 0x30 || facts.Matched != 0x30 ||
		!facts.ExitBootServices {
		t.Errorf("facts of registers that were not quoted: %+v", eventlog.Public(facts))
	}
	for _, one := range events(facts) {
		if one.Register != "PCR4" && one.Register != "PCR5" {
			t.Errorf("event of %s, which was not quoted", one.Register)
		}
	}
	if facts := replay(t, boot, 7); facts.ExitBootServices || facts.Applications != 0 {
		t.Errorf("facts of registers that were not quoted: %+v", eventlog.Public(facts))
	}
	none, fault := eventlog.ReplayBoot(boot.Log(), eventlog.Registers{Bank: eventlog.SHA256})
	if fault != nil || none.Matched != 0 || len(events(none)) != 0 {
		t.Errorf("facts without a quote: %v %+v", fault, eventlog.Public(none))
	}
	if got := events(eventlog.Boot{}); got != nil {
		t.Errorf("events of a zero Boot: %v", got)
	}
}

// TestWhatComesAfterTheLog extends registers with what machines measure once their log was read.
func TestWhatComesAfterTheLog(t *testing.T) {
	t.Parallel()
	const invoked, left = "Exit Boot Services Invocation", "Exit Boot Services Returned with Success"
	const failed = "Exit Boot Services Returned with Failure"
	for _, words := range [][]string{
		{invoked, left}, {invoked, failed, left}, {invoked, failed, invoked, left},
	} {
		boot := forge.NewBoot(forge.BootOptions{})
		boot.Drop("exit")
		boot.Drop("exited")
		log, quoted := boot.Log(), quote(boot, eventlog.SHA256)
		before, fault := eventlog.ReplayBoot(log, quoted)
		if fault != nil || before.ExitBootServices || before.ExitSupplied { // neg: 72
			t.Errorf("boot services were left without an event: %v", fault)
		}
		extend(&quoted, 5, words...)
		after, fault := eventlog.ReplayBoot(log, quoted)
		if fault != nil || !after.ExitBootServices || !after.ExitSupplied {
			t.Errorf("%q behind the log: %v", words, fault)
		}
		extend(&quoted, 5, "os-separator")
		separated, fault := eventlog.ReplayBoot(log, quoted)
		if fault != nil || !separated.ExitBootServices || !separated.ExitSupplied {
			t.Errorf("%q and the operating system's separator behind the log: %v", words, fault)
		}
		extend(&quoted, 5, "something else") // neg: 72
		facts, fault := eventlog.ReplayBoot(log, quoted)
		wantFault(t, facts, fault, attestd.ClassMeasurement, "PCR5")
	}
	phases := []string{"enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final"}
	for from, words := range map[int][]string{0: phases, 2: phases[2:]} {
		boot := forge.NewBoot(forge.BootOptions{Unified: true})
		log, quoted := boot.Log(), quote(boot, eventlog.SHA256)
		for index, word := range words {
			extend(&quoted, 11, word)
			facts, fault := eventlog.ReplayBoot(log, quoted)
			if fault != nil || facts.Phase != word {
				t.Errorf("phase %d from %d: %q %v", index, from, facts.Phase, fault)
			}
		}
		extend(&quoted, 11, "debug-shell")
		facts, fault := eventlog.ReplayBoot(log, quoted)
		wantFault(t, facts, fault, attestd.ClassMeasurement, "PCR11")
	}
	// An operating system extends registers of its own, of which this log knows nothing; not those
	// below 8, and not one with events.
	boot := forge.NewBoot(forge.BootOptions{})
	log := boot.Log()
	for pcr := range 16 {
		quoted := quote(boot, eventlog.SHA256)
		extend(&quoted, pcr, "something else")
		facts, fault := eventlog.ReplayBoot(log, quoted)
		switch pcr {
		case 10, 11, 12, 13, 15:
			if fault != nil || facts.Unaccounted != 1<<pcr || facts.Matched != 0xffff&^(1<<pcr) {
				t.Errorf("PCR%d: %v, unaccounted %x, matched %x", pcr, fault, facts.Unaccounted, facts.Matched)
			}
		default:
			wantFault(t, facts, fault, attestd.ClassMeasurement, "PCR")
		}
	}
}

func TestWhatAMismatchSays(t *testing.T) {
	t.Parallel()
	boot := forge.NewBoot(forge.BootOptions{})
	quoted := quote(boot, eventlog.SHA256)
	boot.InsertAfter("grub", forge.BootStep{PCR: 4, Type: evIPL, Measured: []byte("more"), Data: nil})
	_, fault := eventlog.ReplayBoot(boot.Log(), quoted)
	at := slices.IndexFunc(boot.Steps, func(s forge.BootStep) bool {
		return string(s.Measured) == "more"
	})
	if fault == nil || fault.Event != at || fault.Register != "PCR4" ||
		!strings.Contains(fault.Got, "after 4 of them") {
		t.Errorf("%+v, want event %d", fault, at)
	}
}

func TestParseSignatures(t *testing.T) {
	t.Parallel()
	sum := bytes.Repeat([]byte{7}, 32)
	machine := forge.NewBoot(forge.BootOptions{DB: [][]byte{sum}})
	value := step(t, machine, "db").Data[32+4:]
	got, fault := eventlog.ParseSignatures(value)
	if fault != nil || len(got) != 2 || got[0].Kind != eventlog.SignatureCertificate ||
		got[1].Kind != eventlog.SignatureImageHash || !bytes.Equal(got[1].Digest(), sum) {
		t.Errorf("%+v %v", got, fault)
	}
	got, fault = eventlog.ParseSignatures(value[:len(value)-1]) // neg: 68
	if fault == nil || fault.Class != attestd.ClassMalformed || got != nil {
		t.Errorf("%+v beside %v", got, fault)
	}
}

func TestFirmwareWords(t *testing.T) {
	t.Parallel()
	for words, fact := range map[string]func(eventlog.Boot) bool{
		"UEFI Debug Mode":         func(b eventlog.Boot) bool { return b.Debugger },
		"DMA Protection Disabled": func(b eventlog.Boot) bool { return b.DMAUnprotected },
	} {
		boot := forge.NewBoot(forge.BootOptions{})
		// The type and the data do not matter: the digest is the word's.
		boot.InsertAfter("secure-boot", forge.BootStep{
			PCR: 7, Type: evIPL, Measured: []byte(words), Data: []byte("nothing"),
		})
		if !fact(replay(t, boot)) {
			t.Errorf("%q was not seen", words)
		}
	}
	for value, want := range map[byte]string{
		0: "none", 1: "sev", 2: "sev-es", 3: "tdx", 4: "sev-snp", 5: "other",
	} {
		boot := forge.NewBoot(forge.BootOptions{})
		data := append([]byte("GCE NonHostInfo\x00"), append([]byte{value}, make([]byte, 15)...)...)
		boot.InsertAfter("version", forge.BootStep{PCR: 0, Type: 17, Measured: data, Data: data})
		if got := replay(t, boot).GCETechnology.String(); got != want {
			t.Errorf("%d is %q, want %q", value, got, want)
		}
		other := slices.Clone(data)
		other[16] ^= 1
		boot.InsertAfter("version", forge.BootStep{PCR: 0, Type: 17, Measured: other, Data: other})
		facts, fault := eventlog.ReplayBoot(boot.Log(), quote(boot, eventlog.SHA256))
		wantFault(t, facts, fault, attestd.ClassMeasurement, "contrary")
	}
}

// systemd from 261 on measures a separator from user space, of which no firmware's log knows.
func TestTheSeparatorOfTheOperatingSystemIsNoContradiction(t *testing.T) {
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
	log := boot.Log()
	for _, pcr := range []int{0, 1, 2, 3, 4, 5, 6, 7, 9, 14} {
		quoted := quote(boot, eventlog.SHA256)
		extend(&quoted, pcr, "os-separator")
		facts, fault := eventlog.ReplayBoot(log, quoted)
		if fault != nil || facts.Matched != 0xffff || !facts.ExitBootServices || facts.ExitSupplied {
			t.Errorf("PCR%d: %x %v", pcr, facts.Matched, fault)
		}
		extend(&quoted, pcr, "os-separator") // once, and no more
		facts, fault = eventlog.ReplayBoot(log, quoted)
		wantFault(t, facts, fault, attestd.ClassMeasurement, fmt.Sprintf("PCR%d", pcr))
	}
	quoted := quote(boot, eventlog.SHA256)
	extend(&quoted, 8, "os-separator") // grub's own register has none
	facts, fault := eventlog.ReplayBoot(log, quoted)
	wantFault(t, facts, fault, attestd.ClassMeasurement, "PCR8")
	// Of a unified image, the stub measures into PCR 12 what came beside it.
	boot = forge.NewBoot(forge.BootOptions{Unified: true, CommandLine: "ro quiet"})
	quoted = quote(boot, eventlog.SHA256)
	for _, pcr := range []int{0, 4, 7, 9, 12, 13} {
		extend(&quoted, pcr, "os-separator")
	}
	if _, fault := eventlog.ReplayBoot(boot.Log(), quoted); fault != nil {
		t.Errorf("unified: %v", fault)
	}
}

// extend measures words into a quoted register, behind whatever the log has of it.
func extend(quoted *eventlog.Registers, pcr int, words ...string) {
	for _, word := range words {
		digest := quoted.Bank.Sum(nil, []byte(word))
		quoted.Values[pcr] = quoted.Bank.Sum(nil, append(slices.Clone(quoted.Values[pcr]), digest...))
	}
}
