package ima_test

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

func TestRefused(t *testing.T) {
	digest := func(k *kernel) []byte { return digestField("sha256", k.sum(crypto.SHA256, nil)) }
	raw := func(pcr uint32, template string, data func(k *kernel) []byte) func(*kernel) {
		return func(k *kernel) {
			bytes := data(k)
			k.extend(entry(pcr, k.sum(crypto.SHA1, bytes), template, bytes), k.sum(k.hash, bytes))
		}
	}
	good := func(k *kernel) []byte { return lengthed(digest(k), nameField("/x")) }
	for _, row := range []struct {
		name  string
		do    func(k *kernel)
		class attestd.Class
		want  string
	}{
		{"a register that no entry leads to", func(k *kernel) { k.pcrs[10] = k.sum(k.hash, nil) },
			attestd.ClassMeasurement, "another value after every entry"},
		{"an entry that was left out", func(k *kernel) {
			k.list = append(k.list[:k.ends[0]:k.ends[0]], k.list[k.ends[1]:]...)
		}, attestd.ClassMeasurement, "another value after every entry"},
		{"entries in another order", func(k *kernel) {
			a, b := k.list[k.ends[0]:k.ends[1]], k.list[k.ends[1]:]
			k.list = append(append(k.list[:k.ends[0]:k.ends[0]], b...), a...)
		}, attestd.ClassMeasurement, "another value after every entry"},
		{"a template digest of other data", func(k *kernel) { k.list[k.ends[1]+4] ^= 1 },
			attestd.ClassMeasurement, "template digest"},
		{"a name that the digest is not of", func(k *kernel) { k.list[len(k.list)-2] ^= 1 },
			attestd.ClassMeasurement, "template digest"},
		{"a register that was never extended", func(k *kernel) { clear(k.pcrs[10]) },
			attestd.ClassMeasurement, "another value after every entry"},
		{"a violation shown in place of an entry",
			func(k *kernel) { clear(k.list[k.ends[0]+4 : k.ends[0]+24]) },
			attestd.ClassMeasurement, "another value after every entry"},
		{"a boot aggregate of other PCRs", func(k *kernel) { k.pcrs[4] = k.sum(k.hash, nil) },
			attestd.ClassMeasurement, "boot aggregate"},
		{"a list that begins with a file", func(k *kernel) {
			*k = *newKernel(k.t, k.hash).file("/init")
		}, attestd.ClassMeasurement, "boot_aggregate, which the kernel measures before all else"},
		{"a violation for the boot aggregate", func(k *kernel) {
			*k = *newKernel(k.t, k.hash)
			k.violation("boot_aggregate")
		}, attestd.ClassMeasurement, "a violation for the boot aggregate"},
		{"another PCR", raw(11, "ima-ng", good), attestd.ClassUnsupported, "PCR 11"},
		{"the oldest template", raw(10, "ima", good), attestd.ClassUnsupported, `template "ima"`},
		{"a template of the command line", raw(10, "d-ng|n-ng", good), attestd.ClassUnsupported,
			`template "d-ng|n-ng"`},
		{"a template name beyond all", raw(10, strings.Repeat("x", 97), good), attestd.ClassMalformed,
			"template name of 97 bytes"},
		{"an algorithm that no kernel has", raw(10, "ima-ng", func(*kernel) []byte {
			return lengthed(digestField("sha257", make([]byte, 32)), nameField("/x"))
		}), attestd.ClassUnsupported, "sha257"},
		{"a digest of another length", raw(10, "ima-ng", func(*kernel) []byte {
			return lengthed(digestField("sha256", make([]byte, 31)), nameField("/x"))
		}), attestd.ClassMalformed, "31 bytes for sha256"},
		{"a digest without an algorithm", raw(10, "ima-ng", func(*kernel) []byte {
			return lengthed(make([]byte, 32), nameField("/x"))
		}), attestd.ClassMalformed, "without an algorithm"},
		{"an algorithm without its NUL", raw(10, "ima-ng", func(*kernel) []byte {
			return lengthed(append([]byte("sha256:"), bytes.Repeat([]byte{1}, 33)...), nameField("/x"))
		}), attestd.ClassMalformed, "without an algorithm"},
		{"an algorithm alone", raw(10, "ima-ng", func(*kernel) []byte {
			return lengthed([]byte("sha256:"), nameField("/x"))
		}), attestd.ClassMalformed, "without an algorithm"},
		{"a digest without its type", raw(10, "ima-ngv2", good), attestd.ClassMalformed,
			"without its type"},
		{"a name without its NUL", raw(10, "ima-ng", func(k *kernel) []byte {
			return lengthed(digest(k), []byte("/x"))
		}), attestd.ClassMalformed, "one NUL"},
		{"a name with a NUL inside", raw(10, "ima-ng", func(k *kernel) []byte {
			return lengthed(digest(k), nameField("/bin/good\x00/bin/bad"))
		}), attestd.ClassMalformed, "one NUL"},
		{"an empty name field", raw(10, "ima-ng", func(k *kernel) []byte {
			return lengthed(digest(k), nil)
		}), attestd.ClassMalformed, "one NUL"},
		{"a name beyond all paths", raw(10, "ima-ng", func(k *kernel) []byte {
			return lengthed(digest(k), nameField(strings.Repeat("x", 5000)))
		}), attestd.ClassTooLarge, "a name of 5000 bytes"},
		{"a field too few", raw(10, "ima-sig", good), attestd.ClassMalformed, "cut off before a field"},
		{"a field too many", raw(10, "ima-ng", func(k *kernel) []byte {
			return lengthed(digest(k), nameField("/x"), nil)
		}), attestd.ClassMalformed, "4 bytes behind the last field"},
		{"a field beyond its data", raw(10, "ima-ng", func(*kernel) []byte {
			return []byte{255, 255, 255, 255, 1}
		}), attestd.ClassMalformed, "longer than its template data"},
		{"template data beyond all", func(k *kernel) {
			at := k.ends[0] + 4 + 20 + 4 + len("ima-ng")
			binary.LittleEndian.PutUint32(k.list[at:], 1<<20+1)
		}, attestd.ClassTooLarge, "template data of 1048577 bytes"},
		{"trailing bytes", func(k *kernel) { k.list = append(k.list, 0) }, attestd.ClassMalformed,
			"cut off in its head"},
		{"an empty list", func(k *kernel) { k.list = nil }, attestd.ClassMeasurement,
			"another value after every entry"},
		{"a list of 33 MiB", func(k *kernel) { k.list = make([]byte, 33<<20) }, attestd.ClassTooLarge,
			"34603008 bytes"},
		{"no PCR 10", func(k *kernel) { k.pcrs[10] = nil }, attestd.ClassMalformed, "PCR 10 of 0 bytes"},
		{"a PCR 10 of another bank", func(k *kernel) { k.pcrs[10] = make([]byte, 48) },
			attestd.ClassMalformed, "PCR 10 of 48 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := newKernel(t, crypto.SHA256).boot(10).file("/init").file("/bin/sh")
			row.do(k)
			out, fault := k.replay()
			demandFault(t, fault, row.class, row.want)
			if out.Entries != 0 || out.State.Register != nil {
				t.Errorf("a log beside a fault: %+v", out)
			}
		})
	}
}

func demandFault(t *testing.T, fault *ima.Fault, class attestd.Class, want string) {
	t.Helper()
	if fault == nil {
		t.Fatal("got no fault")
	}
	if fault.Class != class || !strings.Contains(fault.Error(), want) || fault.Want == "" {
		t.Fatalf("got %s %v, want %s %s", fault.Class, fault, class, want)
	}
}

func TestEveryCutIsRefused(t *testing.T) {
	k := newKernel(t, crypto.SHA256).boot(10).file("/init")
	for end := range len(k.list) {
		cut := k.list[:end:end]
		if _, fault := ima.Replay(cut, attestd.IMAState{}, "SHA256", &k.pcrs); fault == nil {
			t.Fatalf("a list of %d bytes out of %d was replayed", end, len(k.list))
		}
	}
}

// Every bit of what was quoted is covered, but for the names of templates and what violations say.
func TestEveryBitIsCovered(t *testing.T) {
	k := newKernel(t, crypto.SHA256).boot(10).file("/init").file("/bin/sh")
	for bit := range len(k.list) * 8 {
		k.list[bit/8] ^= 1 << (bit % 8)
		if _, fault := k.replay(); fault == nil {
			t.Fatalf("bit %d of byte %d may be anything", bit%8, bit/8)
		}
		k.list[bit/8] ^= 1 << (bit % 8)
	}
}

func TestStatesThatAreNone(t *testing.T) {
	k := newKernel(t, crypto.SHA256).boot(10).file("/init")
	good := k.demand().State
	for _, row := range []struct {
		name string
		bank string
		do   func(s *attestd.IMAState)
		want string
	}{
		{"of another bank", "SHA256", func(s *attestd.IMAState) { s.Bank = "SHA384" }, "SHA384"},
		{"with a register of another bank", "SHA256",
			func(s *attestd.IMAState) { s.Register = make([]byte, 48) }, "a state of bank"},
		{"without a register", "SHA256", func(s *attestd.IMAState) { s.Register = nil },
			"a state of bank"},
		{"with a register before the first entry", "SHA256",
			func(s *attestd.IMAState) { s.Entries, s.Offset = 0, 0 }, "no entries"},
		{"with an offset before the first entry", "SHA256",
			func(s *attestd.IMAState) { *s = attestd.IMAState{Offset: 1} }, "no entries"},
		{"beyond any list", "SHA256", func(s *attestd.IMAState) { s.Entries = 1 << 63 },
			"beyond any list"},
		{"with an offset beyond any list", "SHA256",
			func(s *attestd.IMAState) { s.Offset = 1 << 63 }, "beyond any list"},
		{"in the SHA-1 bank", "SHA1", func(s *attestd.IMAState) { s.Bank = "SHA1" }, `bank "SHA1"`},
		{"in no bank", "", func(*attestd.IMAState) {}, `bank ""`},
	} {
		t.Run(row.name, func(t *testing.T) {
			state := good
			row.do(&state)
			_, fault := ima.Replay(nil, state, row.bank, &k.pcrs)
			demandFault(t, fault, attestd.ClassUnsupported, row.want)
		})
	}
}

func TestASecondKernelsListIsNotGoneOnWith(t *testing.T) {
	before := newKernel(t, crypto.SHA256).boot(10).file("/init").demand().State
	k := newKernel(t, crypto.SHA256).boot(10).file("/init").file("/bin/sh").file("/bin/ls")
	before.Register = k.sum(k.hash, nil) // of another boot
	_, fault := ima.Replay(k.list[before.Offset:], before, "SHA256", &k.pcrs)
	demandFault(t, fault, attestd.ClassMeasurement, "since entry 2")
}

// No kernel pads anything but SHA-1, and lists for other banks are younger than padding.
func TestOnlySHA1IsPadded(t *testing.T) {
	k := newKernel(t, crypto.SHA384)
	k.listed = crypto.SHA256
	add := func(name string) {
		data := lengthed(digestField("sha256", k.sum(crypto.SHA256, nil)), nameField(name))
		digest := k.sum(crypto.SHA256, data)
		k.extend(entry(10, digest, "ima-ng", data), append(digest, make([]byte, 16)...))
	}
	add("boot_aggregate")
	add("/init")
	_, fault := k.replay()
	demandFault(t, fault, attestd.ClassMeasurement, "another value after every entry")
}
