package tpm_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestABootLogSaysWhatTheQuotedPCRsHold(t *testing.T) {
	v := newVerifier(t)
	for _, on := range []bool{true, false} {
		s := newScene(t, "ECDSA P-256", "ECC EK")
		s.boots(forge.BootOptions{SecureBoot: on, CommandLine: "quiet lockdown=integrity"})
		claims := good(t, v, s.build())
		for name, want := range map[string]string{"boot_log": "replayed", "boot_bank": "SHA256",
			"secure_boot": strconv.FormatBool(on), "exit_boot_services": "true", "dbx_entries": "3",
			"firmware_debugger": "false"} {
			if got := fact(t, claims, name); got != want {
				t.Errorf("secure boot %t: %s is %s, want %s", on, name, got, want)
			}
		}
		line := ""
		for event := range claims.Events() {
			if event.Role == attestd.RoleCommandLine {
				line = event.Text
			}
		}
		if !bytes.Contains([]byte(line), []byte("lockdown=integrity")) {
			t.Errorf("command line %q", line)
		}
	}
}

// neg: 61
func TestFactsOfAPCRThatWasNotQuotedAreNotVisible(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.boots(forge.BootOptions{SecureBoot: true})
	for _, pcr := range []uint8{2, 4, 5, 7} {
		delete(s.machine.PCRs[0].Values, pcr)
	}
	claims := good(t, newVerifier(t), s.build())
	for name, want := range map[string]string{"boot_log": "replayed", "secure_boot": "not visible",
		"exit_boot_services": "not visible", "firmware_debugger": "not visible",
		"dma_unprotected": "not visible", "dbx_entries": "not visible", "late_events": "not visible",
		"boot_applications": "not visible", "early_applications": "not visible",
		"boot_drivers": "not visible"} {
		if got := fact(t, claims, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for event := range claims.Events() {
		if event.Register == "PCR7" || event.Register == "PCR5" {
			t.Fatalf("event %d of %s", event.Index, event.Register)
		}
	}
}

func TestLogsThatAreRefused(t *testing.T) {
	booted := func(change func(*scene, *forge.Boot)) func(*scene) {
		return func(s *scene) { change(s, s.boots(forge.BootOptions{SecureBoot: true})) }
	}
	send := func(s *scene, log []byte) {
		s.parts = both(s.parts, func(e *tpmevidence.Evidence) { e.EventLog = log })
	}
	runRejectRows(t, []rejectRow{
		// neg: 65
		{"an event was dropped", booted(func(s *scene, b *forge.Boot) {
			b.Drop("kernel")
		}), "tpm/event-log", attestd.ClassMeasurement},
		// neg: 64
		{"digests of SHA-1 alone", booted(func(s *scene, _ *forge.Boot) {
			other := forge.NewBoot(forge.BootOptions{SecureBoot: true,
				Algorithms: []uint16{forge.LogSHA1}})
			send(s, other.Log())
		}), "tpm/event-log", attestd.ClassMeasurement},
		{"the log of another boot", booted(func(s *scene, _ *forge.Boot) {
			send(s, forge.NewBoot(forge.BootOptions{SecureBoot: true, CommandLine: "other"}).Log())
		}), "tpm/event-log", attestd.ClassMeasurement},
		{"a log that is none", booted(func(s *scene, _ *forge.Boot) { send(s, []byte("log")) }),
			"tpm/event-log", attestd.ClassMalformed},
		{"a log of which no PCR was quoted", booted(func(s *scene, _ *forge.Boot) {
			s.machine.PCRs[0].Values = map[uint8][]byte{23: make([]byte, 32)}
			b := forge.NewBoot(forge.BootOptions{})
			send(s, b.Log())
		}), "tpm/event-log", attestd.ClassMeasurement},
		{"an IMA log without PCR 10", func(s *scene) {
			k := kernel(s, 3)
			delete(s.machine.PCRs[0].Values, 10)
			k.send(s, 0)
		}, "tpm/ima-log", attestd.ClassMeasurement},
		{"an IMA log without its second entry", func(s *scene) {
			k := kernel(s, 3)
			k.log = append(bytes.Clone(k.log[:k.ends[0]]), k.log[k.ends[1]:]...)
			k.send(s, 0)
		}, "tpm/ima-log", attestd.ClassMeasurement},
		{"an IMA log from the middle of a boot that is not known", func(s *scene) {
			k := kernel(s, 3)
			k.send(s, k.ends[1])
		}, "tpm/ima-log", attestd.ClassStale},
		{"an IMA log from another place than the last one ended", func(s *scene) {
			k := kernel(s, 3)
			s.input.Anchors.LastSeen = k.state(s, 1)
			k.send(s, k.ends[1])
		}, "tpm/ima-log", attestd.ClassStale},
		{"an IMA log from where one ended in an earlier boot", func(s *scene) {
			k := kernel(s, 3)
			s.input.Anchors.LastSeen = k.state(s, 1)
			s.input.Anchors.LastSeen.ResetCount--
			k.send(s, k.ends[0])
		}, "tpm/ima-log", attestd.ClassStale},
		{"an IMA log from where one ended before a resume", func(s *scene) {
			k := kernel(s, 3)
			s.input.Anchors.LastSeen = k.state(s, 1)
			s.input.Anchors.LastSeen.RestartCount--
			k.send(s, k.ends[0])
		}, "tpm/ima-log", attestd.ClassStale},
	})
}

// measured is a kernel's list with PCR 10 after each entry.
type measured struct {
	log       []byte
	ends      []int
	registers [][]byte
}

// kernel gives the machine a kernel that has measured its boot aggregate and some files.
func kernel(s *scene, files int) *measured {
	aggregate := sha256.New()
	for index := range uint8(8) {
		aggregate.Write(s.machine.PCRs[0].Values[index])
	}
	k := &measured{}
	register := make([]byte, 32)
	for n := range files + 1 {
		name, digest := "boot_aggregate", aggregate.Sum(nil)
		if n > 0 {
			name, digest = "/bin/"+strconv.Itoa(n), bytes.Repeat([]byte{byte(n)}, 32)
		}
		data := sized(append([]byte("sha256:\x00"), digest...))
		data = append(data, sized(append([]byte(name), 0))...)
		listed, extended := sha1.Sum(data), sha256.Sum256(data)
		entry := binary.LittleEndian.AppendUint32(nil, 10)
		entry = append(append(entry, listed[:]...), sized([]byte("ima-ng"))...)
		k.log = append(append(k.log, entry...), sized(data)...)
		next := sha256.Sum256(append(register, extended[:]...))
		register = next[:]
		k.ends, k.registers = append(k.ends, len(k.log)), append(k.registers, register)
	}
	s.machine.PCRs[0].Values[10] = register
	return k
}

func sized(data []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data...)
}

// send sends the list from a byte on.
func (k *measured) send(s *scene, from int) {
	s.parts = both(s.parts, func(e *tpmevidence.Evidence) {
		e.IMA = &tpmevidence.IMALog{Offset: uint64(from), Log: k.log[from:]}
	})
}

// state is what was known after entry n, in this boot.
func (k *measured) state(s *scene, n int) *attestd.TPMState {
	return &attestd.TPMState{ResetCount: s.machine.ResetCount, RestartCount: s.machine.RestartCount,
		IMA: &attestd.IMAState{Offset: uint64(k.ends[n-1]), Entries: uint64(n), Bank: "SHA256",
			Register: k.registers[n-1]}}
}

func TestAnIMALogGoesOnWhereTheLastOneEnded(t *testing.T) {
	v := newVerifier(t)
	check := func(name string, s *scene, want map[string]string, files int) {
		claims := good(t, v, s.build())
		for fact, want := range want {
			got, _ := claims.Fact(fact)
			if got.String() != want {
				t.Errorf("%s: %s is %s, want %s", name, fact, got, want)
			}
		}
		count := 0
		for event := range claims.Events() {
			if event.Log == "ima" && event.Role == attestd.RoleFile {
				count++
			}
		}
		if count != files {
			t.Errorf("%s: %d files, want %d", name, count, files)
		}
	}
	s := newScene(t, "ECDSA P-256", "ECC EK")
	k := kernel(s, 3)
	k.send(s, 0)
	end := strconv.Itoa(k.ends[3])
	register := hex.EncodeToString(k.registers[3])
	check("the whole log", s, map[string]string{"ima": "replayed", "ima_entries": "4", "ima_offset": end,
		"ima_bank": "SHA256", "ima_register": register, "ima_aggregate": "PCR 0-7",
		"ima_unquoted": "0", "ima_violations": "0", "ima_kexecs": "0", "ima_padded": "false"}, 3)

	s = newScene(t, "ECDSA P-256", "ECC EK")
	k = kernel(s, 3)
	s.input.Anchors.LastSeen = k.state(s, 2)
	k.send(s, k.ends[1])
	check("the new part", s, map[string]string{"ima_entries": "4", "ima_offset": end,
		"ima_aggregate": "earlier"}, 2)

	s = newScene(t, "ECDSA P-256", "ECC EK")
	k = kernel(s, 3)
	s.input.Anchors.LastSeen = k.state(s, 4)
	k.send(s, k.ends[3])
	check("nothing new", s, map[string]string{"ima_entries": "4", "ima_offset": end}, 0)

	// The kernel goes on while the TPM quotes: what lies behind the quote is not believed.
	s = newScene(t, "ECDSA P-256", "ECC EK")
	k = kernel(s, 3)
	s.machine.PCRs[0].Values[10] = k.registers[2]
	k.send(s, 0)
	check("a log that ran ahead", s, map[string]string{"ima_entries": "3", "ima_unquoted": "1"}, 2)

	// Kernels before 5.8 extend the bank with what the list shows, SHA-1, and zeros.
	s = newScene(t, "ECDSA P-256", "ECC EK")
	k = kernel(s, 1)
	padded := make([]byte, 32)
	for _, entry := range [][]byte{k.log[:k.ends[0]], k.log[k.ends[0]:]} {
		next := sha256.Sum256(append(padded, append(bytes.Clone(entry[4:24]), make([]byte, 12)...)...))
		padded = next[:]
	}
	s.machine.PCRs[0].Values[10] = padded
	k.send(s, 0)
	check("padded", s, map[string]string{"ima_padded": "true", "ima_kexecs": "0"}, 1)

	// A kernel that was started from another begins with an aggregate of its own.
	s = newScene(t, "ECDSA P-256", "ECC EK")
	k = kernel(s, 0)
	data := k.log[4+20+4+len("ima-ng")+4:]
	extended := sha256.Sum256(data)
	again := sha256.Sum256(append(bytes.Clone(k.registers[0]), extended[:]...))
	s.machine.PCRs[0].Values[10] = again[:]
	k.log = append(bytes.Clone(k.log), k.log...)
	k.send(s, 0)
	check("two kernels", s, map[string]string{"ima_kexecs": "1", "ima_entries": "2"}, 0)
}

// TestNoChangeOfALogMakesAFact: what is not covered by a digest can be changed by anybody who is root.
// Then a fact may become unknown, and no more.
//
// neg: 66
func TestNoChangeOfALogMakesAFact(t *testing.T) {
	v := newVerifier(t)
	s := newScene(t, "ECDSA P-256", "")
	s.machine.EK = nil
	s.name(s.machine.AK)
	boot := s.boots(forge.BootOptions{SecureBoot: true, CommandLine: "quiet"})
	input := s.build()
	want := facts(good(t, v, input))
	from := bytes.Index(input.Evidence, boot.Log())
	accepted, changed := 0, map[string]int{}
	for n := range len(boot.Log()) * 8 {
		if n%8 != n/8%8 || testing.Short() && n%61 != 0 {
			continue // one bit of each byte
		}
		input.Evidence[from+n/8] ^= 1 << (n % 8)
		if claims, err := v.Verify(input); err == nil {
			accepted++
			for name, got := range facts(claims) {
				if got != want[name] && got != "not visible" {
					changed[name+" from "+want[name]+" to "+got]++
				}
			}
		}
		input.Evidence[from+n/8] ^= 1 << (n % 8)
	}
	if accepted == 0 {
		t.Error("no change was accepted: the test shows nothing")
	}
	for what, count := range changed {
		t.Errorf("%d changes turn %s", count, what)
	}
	t.Logf("%d changes accepted", accepted)
}

// facts renders what claims say.
func facts(claims *attestd.Claims) map[string]string {
	out := map[string]string{}
	for fact := range claims.Facts() {
		out[fact.Name] = fact.Value.String()
	}
	return out
}
