package eventlog_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// late is an event that root on the machine extends and writes into the log itself.
func late(pcr, kind uint32, data []byte) forge.BootStep {
	return forge.BootStep{Name: "late", PCR: pcr, Type: kind, Measured: data, Data: data}
}

// A policy that firmware never measured cannot be supplied by what it started: rules over events
// ask for the role, and a dbx of root's own would hold whatever a rule wants.
func TestPolicyBehindTheSeparatorHasNoRole(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"secure-boot", "pk", "kek", "db", "dbx"} {
		for _, kind := range []uint32{evVariable, 0x800000e0, evIPL} {
			boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
			data := slices.Clone(step(t, boot, name).Data)
			boot.Drop(name)
			boot.InsertAfter("authority", late(7, kind, data))
			facts := replay(t, boot)
			role := attestd.Role(name)
			for _, one := range ofRole(facts, role) {
				t.Errorf("%s, type %x: event %+v", name, kind, one)
			}
			for _, one := range ofRole(facts, attestd.RoleAuthority) {
				if bytes.Equal(one.Digest, forge.LogDigest(forge.LogSHA256, data)) && len(one.Entries) > 0 {
					t.Errorf("%s, type %x: an authority with entries %+v", name, kind, one)
				}
			}
		}
	}
}

// A dbx of one SHA-1 hash is as long as an authority with a hash of 48 bytes. The type, which no
// digest covers, must not turn one into the other.
func TestADatabaseThatCallsItselfAnAuthorityIsNone(t *testing.T) {
	t.Parallel()
	sha1List := [16]byte{
		0x12, 0xa5, 0x6c, 0x82, 0x10, 0xcf, 0xc9, 0x4a,
		0xb1, 0x87, 0xbe, 0x01, 0x49, 0x66, 0x31, 0xbd,
	}
	boot := forge.NewBoot(forge.BootOptions{})
	list := forge.EFISignatureList(sha1List, 0, bytes.Repeat([]byte{5}, 16+20))
	dbx := step(t, boot, "dbx")
	dbx.Data = forge.DatabaseVariable("dbx", list)
	dbx.Measured, dbx.Type = dbx.Data, 0x800000e0
	facts := replay(t, boot)
	if !facts.DBX.Known || facts.DBX.Hashes != 1 || len(ofRole(facts, attestd.RoleDBX)) != 1 ||
		len(ofRole(facts, attestd.RoleAuthority)) != 0 {
		t.Errorf("%+v", eventlog.Public(facts))
	}
}

// Firmware's words count in the register that it measures them into.
func TestFirmwareWordsInOtherRegisters(t *testing.T) {
	t.Parallel()
	words := func(boot *forge.Boot, pcr uint32) {
		success := late(pcr, evAction, []byte("Exit Boot Services Returned with Success"))
		success.Name = "success"
		boot.InsertAfter("nowhere", late(pcr, evAction, []byte("Exit Boot Services Invocation")))
		boot.InsertAfter("nowhere", success)
	}
	for pcr := range uint32(8) {
		boot := forge.NewBoot(forge.BootOptions{})
		boot.Drop("exit")
		boot.Drop("exited")
		words(boot, pcr)
		if facts := replay(t, boot); facts.ExitBootServices != (pcr == 5) {
			t.Errorf("words in PCR%d: boot services left: %t", pcr, facts.ExitBootServices)
		}
		boot.Drop("late") // the invocation, without which nothing was left
		if facts := replay(t, boot); facts.ExitBootServices {
			t.Errorf("words in PCR%d: boot services left without their invocation", pcr)
		}
		boot = forge.NewBoot(forge.BootOptions{})
		boot.InsertAfter("boot-order", late(4, evIPL, []byte("early image")))
		calling := []byte("Calling EFI Application from Boot Option")
		boot.InsertAfter("boot-order", late(pcr, evAction, calling))
		want := 1
		if pcr == 4 {
			want = 0 // in front of the image, in the one register whose order is known
		}
		if facts := replay(t, boot); facts.Early != want {
			t.Errorf("a boot option in PCR%d: %d early applications, want %d", pcr, facts.Early, want)
		}
	}
}

// A command without a space is one long name, which every file after it is compared with.
func TestLongCommandsCostNoMoreThanTheirLength(t *testing.T) {
	took := func(command string) time.Duration {
		boot := forge.NewBoot(forge.BootOptions{Algorithms: []uint16{forge.LogSHA256}})
		boot.Steps = slices.DeleteFunc(boot.Steps, func(s forge.BootStep) bool { return s.PCR == 9 })
		boot.InsertAfter("command-boot", forge.BootStep{
			PCR: 8, Type: evIPL, Measured: []byte(command), Data: []byte("grub_cmd: " + command),
		})
		for range 60_000 {
			boot.Steps = append(boot.Steps, forge.BootStep{
				PCR: 9, Type: evIPL, Measured: []byte("file"), Data: []byte("(hd0)"),
			})
		}
		log, quoted := boot.Log(), quote(boot, eventlog.SHA256)
		start := time.Now()
		if _, fault := eventlog.ReplayBoot(log, quoted); fault != nil {
			t.Fatal(fault)
		}
		return time.Since(start)
	}
	long, short := took("initrd "+strings.Repeat("a", 1<<20-64)), took("initrd /a")
	if long > 10*short+200*time.Millisecond {
		t.Errorf("60,000 events behind one long name took %v, behind shorter ones %v", long, short)
	}
}

// Root boots as he likes, extends events of another boot behind his own, and writes the log: types,
// data, and how events of different registers follow each other. No fact gets better by it.
func TestNoLogOfRootMakesAFact(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same rows in every run
	believed := 0
	for range 3000 {
		options := forge.BootOptions{
			SecureBoot: random.IntN(2) == 0, Unified: random.IntN(2) == 0,
			Algorithms: []uint16{forge.LogSHA256},
		}
		boot := forge.NewBoot(options)
		honest := replay(t, boot)
		options.SecureBoot, options.DBX = !options.SecureBoot, [][]byte{bytes.Repeat([]byte{9}, 32)}
		other := forge.NewBoot(options).Steps
		for range random.IntN(3) {
			one := other[random.IntN(len(other))]
			if registers := []uint32{one.PCR, 4, 5, 7, random.Uint32N(16)}; one.Measured != nil {
				one.Name, one.PCR = "late", registers[random.IntN(len(registers))]
				boot.Steps = append(boot.Steps, one)
			}
		}
		quoted := quote(boot, eventlog.SHA256)
		for range 1 + random.IntN(4) {
			rewrite(random, boot.Steps)
		}
		facts, fault := eventlog.ReplayBoot(boot.Log(), quoted)
		if fault != nil {
			continue
		}
		believed++
		if now := facts.SecureBoot; now.Known && now != honest.SecureBoot ||
			facts.PK.Known && facts.PK != honest.PK || facts.KEK.Known && facts.KEK != honest.KEK ||
			facts.DB.Known && facts.DB != honest.DB || facts.DBX.Known && facts.DBX != honest.DBX ||
			facts.Applications < honest.Applications || facts.Early < honest.Early ||
			facts.Drivers < honest.Drivers || facts.CommandLines < honest.CommandLines ||
			facts.Authorities < honest.Authorities {
			t.Fatalf("%+v\nof the boot\n%+v", eventlog.Public(facts), eventlog.Public(honest))
		}
	}
	if believed < 300 {
		t.Errorf("only %d logs were believed: the test shows little", believed)
	}
}

// rewrite changes what no digest covers.
func rewrite(random *rand.Rand, steps []forge.BootStep) {
	types := []uint32{4, 5, 6, 8, evIPL, 17, evVariable, 0x80000003, evAction, 0x800000e0}
	at := random.IntN(len(steps))
	switch random.IntN(3) {
	case 0:
		if steps[at].Measured != nil {
			steps[at].Type = types[random.IntN(len(types))]
		}
	case 1:
		steps[at].Data = steps[random.IntN(len(steps))].Data
	default:
		for ; at+1 < len(steps) && steps[at].PCR != steps[at+1].PCR; at++ {
			steps[at], steps[at+1] = steps[at+1], steps[at]
		}
	}
}
