package snp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements/compute"
	"github.com/attestd/attestd/measurements/compute/snp"
	"github.com/attestd/attestd/testvectors/forge"
)

// Where parts of a forged image lie, counted from its end.
const (
	footer   = 32 + 18
	reset    = footer + 18 + 4
	hashes   = reset + 18 + 8
	metadata = hashes + 18 + 4
	tdx      = metadata + 18 + 4
	list     = 0x600
)

func TestFirmwareRefused(t *testing.T) {
	put16 := func(back int, value uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[len(b)-back:], value); return b }
	}
	put32 := func(back int, value uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[len(b)-back:], value); return b }
	}
	section := func(n int, word int, value uint32) func([]byte) []byte {
		return put32(list-16-12*n-4*word, value)
	}
	rename := func(back int) func([]byte) []byte {
		return func(b []byte) []byte { b[len(b)-back] ^= 1; return b }
	}
	const malformed, unsupported = attestd.ClassMalformed, attestd.ClassUnsupported
	for _, row := range []struct {
		name  string
		do    func([]byte) []byte
		class attestd.Class
		want  string
	}{
		{"nothing", func([]byte) []byte { return nil }, malformed, "0 bytes"},
		{"not whole pages", func(b []byte) []byte { return b[1:] }, malformed, "4095 bytes"},
		{"more than 16 MiB", func([]byte) []byte { return make([]byte, 16<<20+4096) },
			attestd.ClassTooLarge, "16781312 bytes"},
		{"no table", rename(footer - 2), malformed, "without that table"},
		{"a table shorter than its footer", put16(footer, 17), malformed, "table of 17 bytes"},
		{"a table longer than the image", put16(footer, 4096), malformed, "table of 4096 bytes"},
		{"a table that ends inside an entry", put16(footer, 18+22+5), malformed, "5 bytes left over"},
		{"an entry shorter than its tail", put16(reset-4, 17), malformed, "of 17 bytes"},
		{"an entry longer than the table", put16(reset-4, 200), malformed, "of 200 bytes"},
		{"an entry that stands twice", func(b []byte) []byte {
			copy(b[len(b)-tdx+6:][:16], b[len(b)-metadata+6:][:16])
			return b
		}, malformed, "twice"},
		{"no reset block", rename(reset - 6), unsupported, "without a block for the reset"},
		{"a reset block that takes in the rest of the table", put16(reset-4, 18+4+26+22+22), unsupported,
			"without a block for the reset"},
		{"a reset at 0", put32(reset, 0), malformed, "start at 0"},
		{"no metadata", rename(metadata - 6), unsupported, "without SEV metadata"},
		{"a place of metadata that takes in the rest of the table", put16(metadata-4, 18+4+22), malformed,
			"metadata of 26 bytes"},
		{"metadata beyond the image", put32(metadata, 4097), malformed, "4097 bytes before its end"},
		{"metadata in the last bytes", put32(metadata, 15), malformed, "15 bytes before its end"},
		{"metadata of another name", rename(list), malformed, "begins otherwise"},
		{"metadata of version 2", put32(list-8, 2), unsupported, "version 2"},
		{"no sections", func(b []byte) []byte { return put32(list-12, 0)(put32(list-4, 16)(b)) },
			malformed, "0 sections"},
		{"65 sections", func(b []byte) []byte {
			return put32(list-12, 65)(put32(list-4, 16+12*65)(b))
		}, malformed, "65 sections"},
		{"metadata that goes on behind the image", func(b []byte) []byte {
			copy(b[len(b)-20:], "ASEV")
			for back, value := range map[int]uint32{16: 28, 12: 1, 8: 1, metadata: 20} {
				put32(back, value)(b)
			}
			return b
		}, malformed, "28 bytes for 1 sections"},
		{"a table of 65 entries", func(b []byte) []byte {
			for n := range 65 {
				entry := b[len(b)-footer-18*(n+1):][:18]
				binary.LittleEndian.PutUint16(entry, 18)
				copy(entry[2:], bytes.Repeat([]byte{byte(n)}, 16))
			}
			return put16(footer, 18*66)(b)
		}, malformed, "a table of more"},
		{"a length that does not fit the sections", put32(list-4, 101), malformed, "101 bytes for 7"},
		{"a section of no size", section(0, 1, 0), malformed, "of 0 bytes"},
		{"a section that begins inside a page", section(0, 0, 0x800010), malformed, "0x800010"},
		{"a section that ends inside a page", section(0, 1, 0x8ff0), malformed, "36848 bytes"},
		{"a section in the firmware", section(0, 0, 0xfffff000), malformed, "0xfffff000"},
		{"a section of 65 MiB", section(6, 1, 65<<20), malformed, "sections of"},
		{"sections that overlap", section(1, 0, 0x808000), malformed, "two sections at 0x808000"},
		{"a section of an unknown kind", section(4, 2, 5), unsupported, "kind 5"},
		{"two pages of secrets", section(4, 2, 2), malformed, "kind 2"},
		{"secrets of two pages", func(b []byte) []byte {
			return section(3, 2, 1)(section(2, 1, 0x2000)(section(3, 0, 0xa00000)(b)))
		}, malformed, "kind 2 of 8192 bytes"},
		{"kernel hashes in a page that is not measured for them", put32(hashes, 0x80fc00), malformed,
			"hashes at 0x80fc00"},
		{"kernel hashes that leave their page", put32(hashes, 0x810f60), malformed,
			"hashes at 0x810f60"},
		{"an area for hashes that takes in the rest of the table", put16(hashes-8, 18+8+22+22), malformed,
			"of 52 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			firmware, err := snp.ParseFirmware(row.do(forge.AmdSevOVMF(4096).Image()))
			var fault *compute.Fault
			if firmware != nil || !errors.As(err, &fault) || fault.Class != row.class ||
				!strings.Contains(fault.Got, row.want) {
				t.Errorf("got %v, want %s with %q", err, row.class, row.want)
			}
		})
	}
}

func TestFirmwareThatReadsNoHashes(t *testing.T) {
	image := forge.AmdSevOVMF(4096).Image()
	binary.LittleEndian.PutUint32(image[len(image)-hashes:], 0) // the page is there, the area is not
	for name, data := range map[string][]byte{
		"no page and no area": forge.PlainOVMF(4096).Image(), "a page and no area": image,
	} {
		firmware, err := snp.ParseFirmware(data)
		if err != nil || firmware.ReadsKernelHashes() {
			t.Errorf("%s: got %v, %v", name, firmware, err)
		}
	}
	// An area that no page is measured with shows nothing.
	plain := forge.PlainOVMF(4096)
	plain.Hashes = [2]uint32{0x810c00, 0x400}
	if firmware, err := snp.ParseFirmware(plain.Image()); err != nil || firmware.ReadsKernelHashes() {
		t.Errorf("got %v, %v", firmware, err)
	}
}

func FuzzOVMF(f *testing.F) {
	f.Add(forge.AmdSevOVMF(4096).Image())
	f.Add(forge.PlainOVMF(8192).Image())
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		firmware, err := snp.ParseFirmware(data)
		if (firmware == nil) == (err == nil) {
			t.Fatalf("got %v, %v", firmware, err)
		}
		if err != nil {
			var fault *compute.Fault
			if !errors.As(err, &fault) || fault.Got == "" || fault.Want == "" {
				t.Fatalf("got %v, want a fault", err)
			}
			return
		}
		if !firmware.ReadsKernelHashes() {
			return
		}
		profile, _ := snp.FindProfile("qemu@linux-6.10")
		launch := snp.Launch{Firmware: firmware, Profile: profile, VCPUs: 2, CPU: 1, Features: 1,
			Boot: &snp.DirectBoot{}, FirmwareDigest: make([]byte, snp.Size)}
		one, err := launch.Digest()
		if err != nil {
			t.Fatal(err)
		}
		launch.Boot.Kernel[0] = 1
		if other, _ := launch.Digest(); other == one {
			t.Fatal("another kernel has the same digest")
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the input was written to")
		}
	})
}
