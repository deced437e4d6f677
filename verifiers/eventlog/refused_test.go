package eventlog_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

const (
	evIPL      = 0x0d
	evVariable = 0x80000001
	evAction   = 0x80000007
)

// TestLogsThatDoNotLeadToTheQuote keeps the machine's registers and changes its log.
func TestLogsThatDoNotLeadToTheQuote(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*testing.T, *forge.Boot)
		words  string
	}{
		{"the SHA-256 digests are left out", func(_ *testing.T, b *forge.Boot) { // neg: 64
			b.Algorithms = []uint16{forge.LogSHA1}
		}, "digests of SHA1"},
		{"an event is dropped", func(_ *testing.T, b *forge.Boot) { // neg: 65
			b.Drop("shim")
		}, "PCR4"},
		{"the last event of a register is dropped", func(_ *testing.T, b *forge.Boot) { // neg: 65
			b.Drop("added-line")
			b.Drop("load-options")
		}, "PCR9"},
		{"all events of a register are dropped", func(_ *testing.T, b *forge.Boot) { // neg: 65
			for _, name := range []string{"calling", "separator4", "shim", "grub"} {
				b.Drop(name)
			}
		}, "PCR4 is 0000000000000000.. after its 0 events: events are missing"},
		{"an event is there twice", func(t *testing.T, b *forge.Boot) { // neg: 65
			b.InsertAfter("grub", *step(t, b, "grub"))
		}, "first too many"},
		{"two events change places", func(t *testing.T, b *forge.Boot) { // neg: 65
			shim, grub := step(t, b, "shim"), step(t, b, "grub")
			*shim, *grub = *grub, *shim
		}, "out of its order"},
		{"the log ends early", func(_ *testing.T, b *forge.Boot) { // neg: 65
			b.Steps = b.Steps[:len(b.Steps)/2]
		}, "PCR4"},
		{"a digest is changed", func(t *testing.T, b *forge.Boot) { // neg: 64, 65
			step(t, b, "firmware").Measured = []byte("other firmware")
		}, "PCR0"},
		{"an event moves to another register", func(t *testing.T, b *forge.Boot) { // neg: 65
			step(t, b, "driver").PCR = 3
		}, "PCR2"},
		{"a measured event calls itself one that extends nothing", func(t *testing.T, b *forge.Boot) {
			step(t, b, "shim").Type = 3 // neg: 65
		}, "PCR4"},
		{"another locality is claimed", func(t *testing.T, b *forge.Boot) {
			step(t, b, "locality").Data[16] = 4 // neg: 65
		}, "PCR0"},
		{"the locality is left out", func(_ *testing.T, b *forge.Boot) { b.Drop("locality") }, "PCR0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			boot := forge.NewBoot(forge.BootOptions{Locality: 3})
			quoted := quote(boot, eventlog.SHA256)
			if _, fault := eventlog.ReplayBoot(boot.Log(), quoted); fault != nil {
				t.Fatal(fault)
			}
			row.change(t, boot)
			facts, fault := eventlog.ReplayBoot(boot.Log(), quoted)
			wantFault(t, facts, fault, attestd.ClassMeasurement, row.words)
		})
	}
}

// TestMachinesThatAreRefused changes what the machine does, so that log and registers agree.
func TestMachinesThatAreRefused(t *testing.T) {
	t.Parallel()
	type change = func(*testing.T, *forge.Boot)
	type row struct {
		name   string
		change change
		class  attestd.Class
		words  string
	}
	value := func(name string, value []byte) change {
		return func(t *testing.T, b *forge.Boot) {
			one := step(t, b, name)
			one.Data = forge.DatabaseVariable(name, value)
			one.Measured = one.Data
		}
	}
	sum := bytes.Repeat([]byte{7}, 32)
	list := func(offset int, field uint32) []byte {
		out := forge.EFIHashList(sum, sum)
		binary.LittleEndian.PutUint32(out[offset:], field)
		return out
	}
	misshapen := func(offset int, field uint32) change {
		return func(t *testing.T, b *forge.Boot) {
			one := step(t, b, "db")
			one.Data = forge.DatabaseVariable("db", make([]byte, 28))
			binary.LittleEndian.PutUint32(one.Data[offset:], field)
			one.Measured = one.Data
		}
	}
	hashes := [16]byte(forge.EFIHashList(sum))
	owned := append(make([]byte, 16), sum...)
	rows := []row{
		{"data of a variable beside its digest", func(t *testing.T, b *forge.Boot) { // neg: 64, 66
			step(t, b, "secure-boot").Data = forge.SecureBootVariable([]byte{1})
		}, attestd.ClassMeasurement, "PCR7 EV_EFI_VARIABLE_DRIVER_CONFIG) has data"},
		{"a variable that hides behind another type", func(t *testing.T, b *forge.Boot) { // neg: 66
			one := step(t, b, "secure-boot")
			one.Data, one.Type = []byte("nothing to see"), evIPL
		}, attestd.ClassMeasurement, "has data that its SHA256 digest does not cover"},
		{"entries behind a vendor's header", value("dbx", // neg: 67
			forge.EFISignatureList(hashes, 48, owned)), attestd.ClassMalformed, "header of 48 bytes"},
		{"a header that is there by its size only", value("dbx", list(20, 1)), // neg: 67
			attestd.ClassMalformed, "header of 1 bytes"},
		{"entries of 4 GiB", value("dbx", list(24, 0xffffffff)), // neg: 68
			attestd.ClassMalformed, "entries of 4294967295 bytes"},
		{"entries shorter than their owner", value("dbx", list(24, 8)), // neg: 68
			attestd.ClassMalformed, "entries of 8 bytes"},
		{"entries of no length", value("dbx", list(24, 0)), // neg: 68
			attestd.ClassMalformed, "entries of 0 bytes"},
		{"a list shorter than its head", value("dbx", list(16, 27)), // neg: 68
			attestd.ClassMalformed, "list of 27 bytes"},
		{"a list longer than the variable", value("dbx", list(16, 0xfffffff0)), // neg: 68
			attestd.ClassMalformed, "list of 4294967280 bytes"},
		{"a list that its entries do not fill", value("dbx", list(16, 28+95)), // neg: 68
			attestd.ClassMalformed, "list of 95 bytes with entries of 48"},
		{"a byte behind the last list", value("dbx", // neg: 68
			append(forge.EFIHashList(sum), 0)), attestd.ClassMalformed, "behind the last"},
		{"more entries than any machine has", value("dbx", // neg: 68
			forge.EFIHashList(many(sum, 20_000)...)), attestd.ClassTooLarge, "more than"},
		{"more lists than any machine has", value("dbx", // neg: 68
			bytes.Repeat(forge.EFISignatureList(hashes, 0, owned), 2000)), attestd.ClassTooLarge, "1024"},
		{"a certificate that is none", value("db", forge.EFISignatureList( // neg: 68
			[16]byte{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b,
				0xf0, 0x72}, 0, owned)), attestd.ClassMalformed, "no DER sequence"},
		{"a SecureBoot of two bytes", func(t *testing.T, b *forge.Boot) {
			one := step(t, b, "secure-boot")
			one.Data = forge.SecureBootVariable([]byte{1, 0})
			one.Measured = one.Data
		}, attestd.ClassMalformed, "SecureBoot with 2 bytes"},
		{"two SecureBoot that contradict", func(t *testing.T, b *forge.Boot) {
			data := forge.SecureBootVariable([]byte{1})
			b.InsertAfter("pk", forge.BootStep{PCR: 7, Type: evVariable, Measured: data, Data: data})
		}, attestd.ClassMeasurement, "contrary of an earlier SecureBoot"},
		{"a SecureBoot that is extended later", func(t *testing.T, b *forge.Boot) {
			data := forge.SecureBootVariable([]byte{1})
			b.InsertAfter("sbat", forge.BootStep{PCR: 7, Type: evVariable, Measured: data, Data: data})
		}, attestd.ClassMeasurement, "contrary of an earlier SecureBoot"},
		{"another dbx that is extended later", func(t *testing.T, b *forge.Boot) {
			data := forge.DatabaseVariable("dbx", forge.EFIHashList(sum))
			b.InsertAfter("sbat", forge.BootStep{PCR: 7, Type: evVariable, Measured: data, Data: data})
		}, attestd.ClassMeasurement, "another dbx"},
		{"a variable that does not parse", func(t *testing.T, b *forge.Boot) {
			one := step(t, b, "db")
			one.Data = one.Data[:20]
			one.Measured = one.Data
		}, attestd.ClassMalformed, "with 20 bytes"},
		{"a variable with a name longer than its data", misshapen(16, 0x7fffffff), // neg: 68
			attestd.ClassMalformed, "with 64 bytes"},
		{"a variable with a name of 2^63 units", misshapen(20, 0x80000000), // neg: 68
			attestd.ClassMalformed, "with 64 bytes"},
		{"a variable with less data than it says", misshapen(24, 17),
			attestd.ClassMalformed, "with 64 bytes"},
		{"a variable with more data than it says", misshapen(24, 1),
			attestd.ClassMalformed, "with 64 bytes"},
		{"an event behind the end of boot services", func(_ *testing.T, b *forge.Boot) { // neg: 72
			b.InsertAfter("exited", forge.BootStep{PCR: 4, Type: evAction, Measured: sum, Data: sum})
		}, attestd.ClassStale, "after boot services were left"},
		{"a second end of boot services", func(t *testing.T, b *forge.Boot) { // neg: 72
			b.InsertAfter("exited", *step(t, b, "exit"))
		}, attestd.ClassStale, "after boot services were left"},
	}
	for pcr := range 8 {
		name := fmt.Sprintf("separator%d", pcr)
		rows = append(rows,
			row{"no separator in PCR" + name[9:], // neg: 71
				func(_ *testing.T, b *forge.Boot) { b.Drop(name) },
				attestd.ClassMeasurement, "without a separator"},
			row{"an error separator in PCR" + name[9:], // neg: 71
				func(t *testing.T, b *forge.Boot) {
					one := step(t, b, name)
					one.Measured, one.Data = []byte{1, 0, 0, 0}, []byte{1, 0, 0, 0}
				}, attestd.ClassMeasurement, "is the separator of an error"},
			row{"an error separator in PCR" + name[9:] + " that hides", // neg: 71
				func(t *testing.T, b *forge.Boot) {
					one := step(t, b, name)
					one.Measured, one.Type = []byte{1, 0, 0, 0}, evIPL
				}, attestd.ClassMeasurement, ""},
			row{"a separator of something else in PCR" + name[9:], // neg: 71
				func(t *testing.T, b *forge.Boot) { step(t, b, name).Measured = []byte("error 7") },
				attestd.ClassMeasurement, "want the digest of 0 or ffffffff"},
			row{"two separators in PCR" + name[9:], // neg: 71
				func(t *testing.T, b *forge.Boot) { b.InsertAfter(name, *step(t, b, name)) },
				attestd.ClassMeasurement, "second separator"})
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			boot := forge.NewBoot(forge.BootOptions{})
			row.change(t, boot)
			facts, fault := eventlog.ReplayBoot(boot.Log(), quote(boot, eventlog.SHA256))
			wantFault(t, facts, fault, row.class, row.words)
		})
	}
}

func many(one []byte, count int) [][]byte {
	out := make([][]byte, count)
	for index := range out {
		out[index] = one
	}
	return out
}

// TestLogsThatLeaveTheirFormat changes bytes of the log of a machine.
func TestLogsThatLeaveTheirFormat(t *testing.T) { // not parallel: it counts what is allocated
	boot := forge.NewBoot(forge.BootOptions{Algorithms: []uint16{forge.LogSHA1, forge.LogSHA256}})
	whole, quoted := boot.Log(), quote(boot, eventlog.SHA256)
	// The first event is 32 bytes of head, then signature (16), class (4), version (4), count (4) and
	// the algorithms, 4 bytes each, then a byte of vendor information: 61 bytes.
	const count, algorithms, first = 56, 60, 69
	put := func(offset int, value uint32) []byte {
		out := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(out[offset:], value)
		return out
	}
	// An event that extends nothing, with a digest of SHA-1 alone.
	nothing := append([]byte{0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 4, 0}, make([]byte, 24)...)
	lacking := put(first+8, 1)
	lacking = append(lacking[:first+12+22], lacking[first+12+22+34:]...)
	twice := append([]byte{0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0}, bytes.Repeat(
		append([]byte{0x0b, 0}, make([]byte, 32)...), 2)...)
	twice = append(append(bytes.Clone(whole), twice...), 0, 0, 0, 0)
	legacy := append(make([]byte, 28), 4, 0, 0, 0, 1, 2, 3, 4)
	copy(legacy[4:], []byte{8})
	for _, row := range []struct {
		name  string
		log   []byte
		class attestd.Class
		words string
	}{
		{"nothing", nil, attestd.ClassMalformed, "a log of 0 bytes"},
		{"a head cut short", whole[:31], attestd.ClassMalformed, "a log of 31 bytes"},
		{"a log of SHA-1 digests in the old format", legacy, // neg: 70
			attestd.ClassMalformed, "SHA-1 digests only"},
		{"a first event of another type", put(4, 8), attestd.ClassMalformed, "want a crypto-agile log"},
		{"a first event of 1 GiB in 32 bytes", put(28, 0x3fffffff)[:32], // neg: 69
			attestd.ClassMalformed, "1073741823"},
		{"a first event that ends in its version", append(put(28, 20)[:32+20], whole[first:]...),
			attestd.ClassMalformed, "ends after 4 bytes"},
		{"2^32-1 algorithms", put(count, 0xffffffff), // neg: 69
			attestd.ClassMalformed, "4294967295 algorithms"},
		{"no algorithm", put(count, 0), attestd.ClassMalformed, "0 algorithms"},
		{"SHA-256 with 20 bytes", put(algorithms+4, 0x0014000b), // neg: 70
			attestd.ClassMalformed, "SHA256 with 20 bytes"},
		{"an algorithm that nobody knows", put(algorithms, 0x0014beef), // neg: 70
			attestd.ClassMalformed, "algorithm 0xbeef with 20 bytes"},
		{"an algorithm twice", put(algorithms, 0x0020000b), // neg: 70
			attestd.ClassMalformed, "each algorithm once"},
		{"version 1.2", put(52, 0x02000201), attestd.ClassMalformed, "version"},
		{"vendor information behind the event", put(first-1, 0x00000005),
			attestd.ClassMalformed, "vendor"},
		{"a second Spec ID event", append(bytes.Clone(whole), asEvent(whole[32:first])...), // neg: 70
			attestd.ClassMalformed, "another Spec ID event"},
		{"register 24", put(first, 24), attestd.ClassMalformed, "register 0x00000018"},
		{"2^32-1 digests", put(first+8, 0xffffffff), // neg: 69
			attestd.ClassMalformed, "4294967295 digests"},
		{"no digest", put(first+8, 0), attestd.ClassMalformed, "0 digests"},
		{"one digest where two are listed", lacking, attestd.ClassMalformed, "without SHA256"},
		{"a digest that is not listed", put(first+12, 0x0000000c), // neg: 70
			attestd.ClassMalformed, "algorithm 0x000c"},
		{"an event with two digests of one algorithm", twice, // neg: 70
			attestd.ClassMalformed, "algorithm 0x000b"},
		{"an event of 4 GiB", put(first+12+22+34, 0xffffffff), // neg: 69
			attestd.ClassMalformed, "4294967295 bytes"},
		{"zeros behind the last event", append(bytes.Clone(whole), make([]byte, 16)...),
			attestd.ClassMalformed, "0 digests"},
		{"0xff behind the last event", append(bytes.Clone(whole), bytes.Repeat([]byte{0xff}, 64)...),
			attestd.ClassMalformed, "4294967295 digests"},
		{"more events than any machine has", append(bytes.Clone(whole), // neg: 69
			bytes.Repeat(nothing, 1<<17+1)...), attestd.ClassTooLarge, "131072 events"},
		{"an event of a MiB and a byte", append(bytes.Clone(whole), // neg: 69
			asEvent(make([]byte, 1<<20+1))...), attestd.ClassTooLarge, "1048577 bytes"},
		{"8 MiB and a byte", append(bytes.Clone(whole), make([]byte, 8<<20)...), // neg: 69
			attestd.ClassTooLarge, "8388608 are allowed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := allocatedBytes()
			facts, fault := eventlog.ReplayBoot(row.log, quoted)
			if spent := allocatedBytes() - before; spent > 1<<20 {
				t.Errorf("%d bytes were allocated", spent)
			}
			wantFault(t, facts, fault, row.class, row.words)
			// A walk wants no digest of a certain bank; all else is refused in the same way.
			if row.words != "without SHA256" {
				if fault := eventlog.Walk(row.log, func(eventlog.Entry) bool { return true }); fault == nil {
					t.Error("a walk read it")
				}
			}
		})
	}
	for size := range len(whole) {
		facts, fault := eventlog.ReplayBoot(whole[:size], quoted)
		// The end of boot services is known without its events.
		if fault == nil && !facts.ExitSupplied {
			t.Fatalf("a log cut off after %d of %d bytes was replayed", size, len(whole))
		}
	}
}

func allocatedBytes() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// asEvent puts data into an EV_NO_ACTION of PCR 0 with digests of SHA-1 and SHA-256.
func asEvent(data []byte) []byte {
	out := []byte{0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0}
	out = append(append(out, make([]byte, 20)...), 0x0b, 0)
	out = append(out, make([]byte, 32)...)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(data))), data...)
}

// TestStartupLocality wants at most one, of a locality that there is, before PCR 0 is extended.
func TestStartupLocality(t *testing.T) {
	t.Parallel()
	locality := func(pcr uint32, data ...byte) forge.BootStep {
		return forge.BootStep{PCR: pcr, Type: 3, Data: append([]byte("StartupLocality\x00"), data...)}
	}
	for _, row := range []struct {
		name  string
		after string
		step  forge.BootStep
		alone bool // it is the only one
	}{
		{"a second one", "locality", locality(0, 3), false},
		{"one behind an event of PCR 0", "version", locality(0, 0), true},
		{"one of another register", "locality", locality(1, 3), true},
		{"one of locality 1", "locality", locality(0, 1), true},
		{"one without locality", "locality", locality(0), true},
		{"one of two bytes", "locality", locality(0, 3, 3), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			boot := forge.NewBoot(forge.BootOptions{Locality: 3})
			quoted := quote(boot, eventlog.SHA256)
			boot.InsertAfter(row.after, row.step)
			if row.alone {
				boot.Drop("locality")
			}
			facts, fault := eventlog.ReplayBoot(boot.Log(), quoted)
			wantFault(t, facts, fault, attestd.ClassMalformed, "StartupLocality")
		})
	}
}

func TestQuotesThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	boot := forge.NewBoot(forge.BootOptions{})
	facts, fault := eventlog.ReplayBoot(boot.Log(), eventlog.Registers{Bank: 4}) // neg: 64
	wantFault(t, facts, fault, attestd.ClassUnsupported, "SHA1")
	facts, fault = eventlog.ReplayBoot(boot.Log(), eventlog.Registers{})
	wantFault(t, facts, fault, attestd.ClassUnsupported, "bank 0x0000")
	quoted := quote(boot, eventlog.SHA256)
	quoted.Values[4] = quoted.Values[4][:31]
	facts, fault = eventlog.ReplayBoot(boot.Log(), quoted)
	wantFault(t, facts, fault, attestd.ClassMalformed, "PCR4 quoted with 31 bytes")
	quoted.Values[4] = []byte{}
	facts, fault = eventlog.ReplayBoot(boot.Log(), quoted)
	wantFault(t, facts, fault, attestd.ClassMalformed, "PCR4 quoted with 0 bytes")
}
