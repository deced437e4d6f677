package uki_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog/uki"
)

// Offsets in the images that package forge writes.
const (
	peCOFF     = 0x84
	peOptional = 0x98
	peCerts    = peOptional + 112 + 32
	peTable    = peOptional + 240
)

func TestImagesRefused(t *testing.T) {
	put16 := func(at int, value uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], value); return b }
	}
	put32 := func(at int, value uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], value); return b }
	}
	size := uint32(len(forge.UKI(258, parts()...)))
	for _, row := range []struct {
		name string
		do   func([]byte) []byte
		want string
	}{
		{"nothing", func([]byte) []byte { return nil }, "MZ"},
		{"an ELF file", func(b []byte) []byte { return append([]byte("\x7fELF"), b...) }, "MZ"},
		{"a file of 63 bytes", func(b []byte) []byte { return b[:63] }, "MZ"},
		{"a PE header inside the MZ header", put32(0x3c, 60), "without a PE header"},
		{"a PE header beyond the end", put32(0x3c, size-23), "without a PE header"},
		{"no PE header", put16(0x80, 0), "without a PE header"},
		{"no sections", put16(peCOFF+2, 0), "0 sections"},
		{"97 sections", put16(peCOFF+2, 97), "97 sections"},
		{"an optional header beyond the end", func(b []byte) []byte { return b[:peOptional+239] },
			"beyond the file's end"},
		{"an optional header of 95 bytes", put16(peCOFF+16, 95), "of 95 bytes"},
		{"an optional header of 95 bytes in PE32", func(b []byte) []byte {
			return put16(peOptional, 0x10b)(put16(peCOFF+16, 95)(b))
		}, "of 95 bytes"},
		{"an optional header of 111 bytes", put16(peCOFF+16, 111), "of 111 bytes"},
		{"an optional header of another kind", put16(peOptional, 0x107), "0x107"},
		{"headers beyond the end", put32(peOptional+60, size+1), "headers of"},
		{"headers that end before the optional one", put32(peOptional+60, peTable-1), "headers of"},
		{"17 directories in the room of 16", put32(peOptional+108, 17), "17 data directories"},
		{"a section table beyond the headers", put32(peOptional+60, peTable+10), "section table"},
		{"raw data beyond the end", put32(peTable+20, size), `section ".text"`},
		{"raw data in the headers", put32(peTable+20, 8), `section ".text"`},
		{"sections that overlap", put32(peTable+40+20, binary.LittleEndian.Uint32(
			forge.UKI(258, parts()...)[peTable+20:])), "overlap"},
		{"a section of 2 GiB in memory", put32(peTable+8, 1<<31), "in memory"},
		{"two sections of nearly 1 GiB in memory", func(b []byte) []byte {
			return put32(peTable+40+8, 1<<30-1)(put32(peTable+8, 1<<30-1)(b))
		}, "with those before"},
		{"a certificate table beyond the end", func(b []byte) []byte {
			return put32(peCerts+4, 16)(put32(peCerts, size-8)(b))
		}, "certificate table"},
		{"a certificate table before the end", func(b []byte) []byte {
			return put32(peCerts+4, 8)(put32(peCerts, size-16)(b))
		}, "certificate table"},
		{"a certificate table in the headers", func(b []byte) []byte {
			return put32(peCerts+4, size-8)(put32(peCerts, 8)(b))
		}, "certificate table"},
		{"a certificate table at an odd place", func(b []byte) []byte {
			return put32(peCerts+4, 7)(put32(peCerts, size-7)(b))
		}, "certificate table"},
	} {
		t.Run(row.name, func(t *testing.T) {
			image, err := uki.Parse(row.do(forge.UKI(258, parts()...)))
			var fault *uki.Fault
			if image != nil || !errors.As(err, &fault) || fault.Class != attestd.ClassMalformed ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestImagesOfOtherShapes(t *testing.T) {
	// Without a directory of certificates, all of the headers but the checksum is hashed.
	data := forge.UKI(258, parts()...)
	binary.LittleEndian.PutUint32(data[peOptional+108:], 4)
	image, err := uki.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	h.Write(data[:peOptional+64])
	h.Write(data[peOptional+68:])
	if !bytes.Equal(image.Authenticode(sha256.New()), h.Sum(nil)) {
		t.Error("another digest")
	}
	// PE32, of 32-bit firmware: its directories begin 16 bytes earlier.
	binary.LittleEndian.PutUint16(data[peOptional:], 0x10b)
	binary.LittleEndian.PutUint32(data[peOptional+92:], 16)
	if _, err := uki.Parse(data); err != nil {
		t.Error(err)
	}
}

func FuzzPE(f *testing.F) {
	f.Add(forge.UKI(258, parts()...), []byte{})
	signer, err := forge.NewImageSigner("db", someDay)
	if err != nil {
		f.Fatal(err)
	}
	image, err := signer.Sign(forge.UKI(257, parts()...))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image, forge.SignatureList(signer.Certificate()))
	f.Fuzz(func(t *testing.T, data, db []byte) {
		image, err := uki.Parse(data)
		if (image == nil) == (err == nil) {
			t.Fatalf("got %v, %v", image, err)
		}
		if err != nil {
			return
		}
		for _, section := range image.Sections {
			if section.VirtualSize > 1<<20 {
				return // a fuzzer's time is not for zeros
			}
		}
		list, err := uki.Predict(uki.Boot{
			Bank: "sha256", Image: uki.Named{Name: "uki.efi", Image: image},
			Variables: &uki.Variables{On: true, DB: db},
		})
		if err != nil || len(list) != 4 {
			t.Fatalf("got %v, %v", list, err)
		}
		for _, pcr := range list {
			if (pcr.Value == nil) == (pcr.Why == "") {
				t.Fatalf("PCR %d has value %x and reason %q", pcr.Index, pcr.Value, pcr.Why)
			}
		}
	})
}
