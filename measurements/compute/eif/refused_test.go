package eif_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements/compute"
	"github.com/attestd/attestd/measurements/compute/eif"
	"github.com/attestd/attestd/testvectors/forge"
)

// Offsets in an image.
const (
	version, flags, reserved, count = 4, 6, 24, 26
	offsets, sizes, unused, sum     = 28, 284, 540, 544
	firstSection                    = 548
)

type refusal struct {
	name  string
	data  []byte
	class attestd.Class
	want  string
}

func demandRefusals(t *testing.T, rows []refusal) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			image, err := eif.Parse(row.data)
			var fault *compute.Fault
			if image != nil || !errors.As(err, &fault) || fault.Class != row.class ||
				!strings.Contains(fault.Got, row.want) {
				t.Errorf("got %v, want %s with %q", err, row.class, row.want)
			}
		})
	}
}

func TestImagesRefused(t *testing.T) {
	const malformed, unsupported = attestd.ClassMalformed, attestd.ClassUnsupported
	// edited is the image with a change, and the checksum that it then has.
	edited := func(do func([]byte) []byte) []byte {
		return forge.SumEIF(do(forge.EIF(4, 0, forge.EIFParts()...)))
	}
	put16 := func(at int, value uint16) []byte {
		return edited(func(b []byte) []byte { binary.BigEndian.PutUint16(b[at:], value); return b })
	}
	put64 := func(at int, value uint64) []byte {
		return edited(func(b []byte) []byte { binary.BigEndian.PutUint64(b[at:], value); return b })
	}
	both := func(n int, at int, size uint64) []byte {
		return edited(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[sizes+8*n:], size)
			binary.BigEndian.PutUint64(b[at+4:], size)
			return b
		})
	}
	with := func(version uint16, do func([]forge.EIFSection) []forge.EIFSection) []byte {
		return forge.EIF(version, 0, do(forge.EIFParts())...)
	}
	add := func(kind uint16, data string) []byte {
		return with(4, func(parts []forge.EIFSection) []forge.EIFSection {
			return append(parts, forge.EIFSection{Type: kind, Data: []byte(data)})
		})
	}
	whole := forge.EIF(4, 0, forge.EIFParts()...)
	demandRefusals(t, []refusal{
		{"nothing", nil, malformed, "something else"},
		{"a header that is cut", whole[:547], malformed, "something else"},
		{"another magic", edited(func(b []byte) []byte { b[0] = ','; return b }), malformed,
			"something else"},
		{"version 1", put16(version, 1), unsupported, "version 1"},
		{"version 5", put16(version, 5), unsupported, "version 5"},
		{"unknown flags", put16(flags, 2), unsupported, "flags 0x2"},
		{"a reserved field", put16(reserved, 1), malformed, "others"},
		{"an unused field", put16(unused, 1), malformed, "others"},
		{"an offset behind the last section", put64(offsets+8*5, 1), malformed, "others"},
		{"a size behind the last section", put64(sizes+8*31, 1), malformed, "others"},
		{"one bit of the checksum", func() []byte {
			b := slices.Clone(whole)
			b[sum] ^= 1
			return b
		}(), malformed, "checksum"},
		{"one bit of the last ramdisk", func() []byte {
			b := slices.Clone(whole)
			b[len(b)-1] ^= 1
			return b
		}(), malformed, "checksum"},
		{"no sections", put16(count, 0), malformed, "others"},
		{"two sections", with(4, func(p []forge.EIFSection) []forge.EIFSection { return p[:2] }), malformed,
			"2 sections"},
		{"33 sections", put16(count, 33), malformed, "33 sections"},
		{"more sections than there are", edited(func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[count:], 6)
			binary.BigEndian.PutUint64(b[offsets+8*5:], uint64(len(b)))
			return b
		}), malformed, "one at"},
		{"a header that points elsewhere", put64(offsets, firstSection+1), malformed, "by the header"},
		{"a header with another size", put64(sizes, 7), malformed, "of 7 bytes by the header"},
		{"a section beyond the file", both(0, firstSection, 1<<20), malformed, "section 0 of 1048576"},
		{"a section of 2^64-1 bytes", both(0, firstSection, 1<<64-1), malformed, "section 0 of 18446744"},
		{"bytes behind the last section", edited(func(b []byte) []byte { return append(b, 0) }), malformed,
			"1 bytes behind"},
		{"a section with flags", put16(firstSection+2, 1), unsupported, "section 0 with flags"},
		{"an unknown section", add(6, "?"), unsupported, "type 6"},
		{"the invalid section", add(0, "?"), unsupported, "type 0"},
		{"two kernels", add(forge.EIFKernel, "another"), malformed, "section 5 of type 1"},
		{"two command lines", add(forge.EIFLine, "another"), malformed, "section 5 of type 2"},
		{"two sections of metadata", add(forge.EIFMetadata, "{}"), malformed, "second section of type 5"},
		{"two signatures", with(4, func(p []forge.EIFSection) []forge.EIFSection {
			one := forge.EIFSection{Type: forge.EIFSignature, Data: []byte{0x80}}
			return append(p, one, one)
		}), malformed, "second section of type 4"},
		{"an empty ramdisk", add(forge.EIFRamdisk, ""), malformed, "empty section of type 3"},
		{"a ramdisk before the kernel", with(4, func(p []forge.EIFSection) []forge.EIFSection {
			return []forge.EIFSection{p[3], p[0], p[1]}
		}), malformed, "section 0 of type 3"},
		{"a ramdisk before the command line", with(4, func(p []forge.EIFSection) []forge.EIFSection {
			return []forge.EIFSection{p[0], p[3], p[1]}
		}), malformed, "section 1 of type 3"},
		{"no ramdisk", with(4, func(p []forge.EIFSection) []forge.EIFSection { return p[:3] }), malformed,
			"no ramdisk"},
		{"metadata in version 3", with(3, slices.Clip), malformed, "type 5 in version 3"},
		{"a signature in version 2", with(2, func(p []forge.EIFSection) []forge.EIFSection {
			return []forge.EIFSection{p[0], p[1], p[3], {Type: forge.EIFSignature, Data: []byte{0x80}}}
		}), malformed, "type 4 in version 2"},
		{"a signature of 256 KiB and a byte", add(forge.EIFSignature, strings.Repeat("x", 256<<10+1)),
			malformed, "262145 bytes"},
	})
}

// signatures has sections that only differ from a good one in what their row says.
func TestSignaturesRefused(t *testing.T) {
	const malformed, unsupported = attestd.ClassMalformed, attestd.ClassUnsupported
	s := signer(t)
	pcr0, err := hex.DecodeString(extended(kernel, line, first, second))
	if err != nil {
		t.Fatal(err)
	}
	image := func(section []byte) []byte {
		return forge.EIF(4, 0, append(forge.EIFParts(),
			forge.EIFSection{Type: forge.EIFSignature, Data: section})...)
	}
	sign := func(payload []byte) []byte {
		signed, err := s.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	entry := func(certificate, signed []byte) []byte {
		return forge.CBORMap(forge.CBORField{Key: forge.CBORText("signing_certificate"),
			Value: forge.CBORNumbers(certificate)},
			forge.CBORField{Key: forge.CBORText("signature"), Value: forge.CBORNumbers(signed)})
	}
	signed := sign(s.Payload(0, pcr0))
	cose := func(signed []byte) []byte { return image(forge.CBORArray(entry(s.PEM(), signed))) }
	certificate := func(text []byte) []byte { return image(forge.CBORArray(entry(text, signed))) }
	// parts of a COSE_Sign1, to put together what no signer would
	parts := func(protected, unprotected, payload, raw []byte) []byte {
		return cose(forge.CBORArray(forge.CBORBytes(protected), unprotected, forge.CBORBytes(payload),
			forge.CBORBytes(raw)))
	}
	es384 := forge.CBORMap(forge.CBORField{Key: forge.CBORUint(1), Value: forge.CBORNegative(34)})
	es256 := forge.CBORMap(forge.CBORField{Key: forge.CBORUint(1), Value: forge.CBORNegative(6)})
	eddsa := forge.CBORMap(forge.CBORField{Key: forge.CBORUint(1), Value: forge.CBORNegative(7)})
	payload, raw := s.Payload(0, pcr0), signed[len(signed)-96:]
	flipped := slices.Clone(signed)
	flipped[len(flipped)-1] ^= 1
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger := *s
	stranger.Key = other
	foreign, err := stranger.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	// The rows below differ from this.
	if _, err := eif.Parse(cose(signed)); err != nil {
		t.Fatal(err)
	}
	if _, err := eif.Parse(cose(forge.CBORTag(18, signed))); err != nil {
		t.Fatal(err)
	}
	good := entry(s.PEM(), signed)
	demandRefusals(t, []refusal{
		{"no entry", image(forge.CBORArray()), malformed, "list of signatures of 0"},
		{"two entries", image(forge.CBORArray(good, good)), malformed, "list of signatures of 2"},
		{"no list", image(good), malformed, "a list of signatures of major type 5"},
		{"a byte behind the list", image(append(forge.CBORArray(good), 0)), malformed, "1 bytes behind"},
		{"a list that ends early", image(forge.CBORArray(good[:len(good)-1])), malformed,
			"a signature"},
		{"a list of indefinite length", image(append(append([]byte{0x9f}, good...), 0xff)), malformed,
			"without one"},
		{"a length in a longer form", image(append([]byte{0x98, 1}, good...)), malformed, "longer one"},
		{"a certificate as bytes", image(forge.CBORArray(forge.CBORMap(
			forge.CBORField{Key: forge.CBORText("signing_certificate"), Value: forge.CBORBytes(s.PEM())},
			forge.CBORField{Key: forge.CBORText("signature"), Value: forge.CBORNumbers(signed)},
		))), malformed, "a certificate of major type 2"},
		{"a number beyond a byte", image(forge.CBORArray(forge.CBORMap(
			forge.CBORField{Key: forge.CBORText("signing_certificate"),
				Value: forge.CBORArray(forge.CBORUint(256))},
			forge.CBORField{Key: forge.CBORText("signature"), Value: forge.CBORNumbers(signed)},
		))), malformed, "the number 256"},
		{"an entry without a signature", image(forge.CBORArray(forge.CBORMap(
			forge.CBORField{Key: forge.CBORText("signing_certificate"), Value: forge.CBORNumbers(s.PEM())},
		))), malformed, "an entry of 1"},
		{"a COSE_Sign1 that is cut", cose(signed[:len(signed)-1]), malformed, "a signature of 96 bytes"},
		{"names in another order", image(forge.CBORArray(forge.CBORMap(
			forge.CBORField{Key: forge.CBORText("signature"), Value: forge.CBORNumbers(signed)},
			forge.CBORField{Key: forge.CBORText("signing_certificate"), Value: forge.CBORNumbers(s.PEM())},
		))), malformed, "another name"},
		{"2^32 numbers", image(append(append(forge.CBORHead(4, 1), forge.CBORHead(5, 2)...),
			append(forge.CBORText("signing_certificate"), forge.CBORHead(4, 1<<32)...)...)), malformed,
			"of 4294967296 numbers"},
		{"no PEM", certificate(s.DER), malformed, "something else"},
		{"a key in PEM", certificate(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: s.DER})),
			malformed, "something else"},
		{"two certificates", certificate(append(s.PEM(), s.PEM()...)), malformed, "something else"},
		{"a certificate with a key that signs no images", certificate(pem.EncodeToMemory(
			&pem.Block{Type: "CERTIFICATE", Bytes: ed25519Certificate(t)})), unsupported, "another kind"},
		{"no certificate in the PEM", certificate(pem.EncodeToMemory(
			&pem.Block{Type: "CERTIFICATE", Bytes: s.DER[:len(s.DER)-1]})), malformed, "cannot be read"},
		{"one bit of the signature", cose(flipped), attestd.ClassSignature, "bad signature"},
		{"a signature by another key", cose(foreign), attestd.ClassSignature, "bad signature"},
		{"a signature over another image", cose(sign(s.Payload(0, make([]byte, 48)))),
			attestd.ClassSignature, "another PCR0"},
		{"a signature over no register", cose(sign(s.Payload(0, nil))), attestd.ClassSignature,
			"another PCR0"},
		{"a signature over PCR1", cose(sign(s.Payload(1, pcr0))), malformed, "a register's number of 1"},
		{"a payload with more in it", cose(sign(append(s.Payload(0, pcr0), 0))), malformed, "behind what"},
		{"an unprotected algorithm", parts([]byte{0xa0}, es384, payload, raw), malformed,
			"an unprotected header of 1"},
		{"no algorithm", parts([]byte{0xa0}, []byte{0xa0}, payload, raw), malformed,
			"a protected header of 0"},
		{"the algorithm of another curve", parts(es256, []byte{0xa0}, payload, raw),
			attestd.ClassSignature, "two curves"},
		{"EdDSA", parts(eddsa, []byte{0xa0}, payload, raw), unsupported, "algorithm -8"},
		{"an algorithm far away", parts(forge.CBORMap(forge.CBORField{Key: forge.CBORUint(1),
			Value: forge.CBORNegative(1<<64 - 1)}), []byte{0xa0}, payload, raw), unsupported, "algorithm"},
		{"a signature of 95 bytes", parts(es384, []byte{0xa0}, payload, raw[1:]), malformed, "95 bytes"},
		{"no signature", parts(es384, []byte{0xa0}, payload, nil), malformed, "0 bytes"},
		{"a signature of zeros", parts(es384, []byte{0xa0}, payload, make([]byte, 96)),
			attestd.ClassSignature, "bad signature"},
		{"another tag", cose(forge.CBORTag(98, signed)), malformed, "a tag of 98"},
		{"a detached payload", cose(forge.CBORArray(forge.CBORBytes(es384), forge.CBORMap(),
			forge.CBORNull(), forge.CBORBytes(raw))), malformed, "a payload of major type 7"},
	})
}

func ed25519Certificate(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: someDay, NotAfter: someDay}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func FuzzEIF(f *testing.F) {
	f.Add(forge.EIF(4, 0, forge.EIFParts()...))
	s := signer(f)
	signed, err := s.SignedEIF(forge.EIFParts()...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Behind the checksum is what is worth finding.
		data = forge.SumEIF(bytes.Clone(data))
		before := bytes.Clone(data)
		image, err := eif.Parse(data)
		if (image == nil) == (err == nil) {
			t.Fatalf("got %v, %v", image, err)
		}
		if err != nil {
			var fault *compute.Fault
			if !errors.As(err, &fault) || fault.Got == "" || fault.Want == "" {
				t.Fatalf("got %v, want a fault", err)
			}
			return
		}
		if got := len(image.PCRs()); got != 3 && (got != 4 || image.Signer == nil) {
			t.Fatalf("got %d PCRs", got)
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the input was written to")
		}
	})
}
