package eif_test

import (
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd/measurements/compute/eif"
	"github.com/attestd/attestd/testvectors/forge"
)

var someDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func signer(t testing.TB) *forge.EIFSigner {
	t.Helper()
	signer, err := forge.NewEIFSigner("release\x1b[31m", someDay)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func parse(t *testing.T, data []byte) *eif.Image {
	t.Helper()
	image, err := eif.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// extended is what Amazon's guide says a measurement is: PCR = SHA384(zeros | SHA384(contents)).
func extended(parts ...string) string {
	h := sha512.New384()
	for _, part := range parts {
		h.Write([]byte(part))
	}
	value := sha512.Sum384(append(make([]byte, 48), h.Sum(nil)...))
	return hex.EncodeToString(value[:])
}

func demandPCRs(t *testing.T, image *eif.Image, want map[int]string) {
	t.Helper()
	pcrs := image.PCRs()
	if len(pcrs) != len(want) {
		t.Errorf("got %d PCRs, want %d", len(pcrs), len(want))
	}
	for _, pcr := range pcrs {
		if got := hex.EncodeToString(pcr.Value[:]); got != want[pcr.Index] || pcr.What == "" {
			t.Errorf("PCR%d: got %s (%s), want %s", pcr.Index, got, pcr.What, want[pcr.Index])
		}
	}
}

const (
	kernel, line  = "a kernel", "reboot=k panic=30 console=ttyS0"
	first, second = "a ramdisk that starts", "a ramdisk with the application"
)

func TestPCRsOfAnImage(t *testing.T) {
	want := map[int]string{
		0: extended(kernel, line, first, second), 1: extended(kernel, line, first), 2: extended(second),
	}
	image := parse(t, forge.EIF(4, 0, forge.EIFParts()...))
	demandPCRs(t, image, want)
	if image.Signer != nil || image.ARM64 || image.Version != 4 || image.Ramdisks() != 2 ||
		string(image.CommandLine()) != line {
		t.Errorf("got %+v", image)
	}
	// What it was built of by whom is not measured.
	parts := forge.EIFParts()
	parts[2].Data = []byte("{}")
	demandPCRs(t, parse(t, forge.EIF(4, 1, parts...)), want)
	// Three ramdisks: the application's are one behind the other.
	parts = append(parts, forge.EIFSection{Type: forge.EIFRamdisk, Data: []byte("one more")})
	demandPCRs(t, parse(t, forge.EIF(4, 0, parts...)), map[int]string{
		0: extended(kernel, line, first, second, "one more"), 1: want[1], 2: extended(second, "one more"),
	})
}

// TestPublishedPCR2: images with one ramdisk have nothing for PCR2, and PCR0 and PCR1 are equal.
// That value is what such enclaves report; many projects publish it, among them tkhq/qos (its
// end-to-end tests) and MystenLabs/nautilus (its README).
func TestPublishedPCR2(t *testing.T) {
	image := parse(t, forge.EIF(2, 1,
		forge.EIFSection{Type: forge.EIFKernel, Data: []byte(kernel)},
		forge.EIFSection{Type: forge.EIFLine, Data: []byte(line)},
		forge.EIFSection{Type: forge.EIFRamdisk, Data: []byte(first)}))
	demandPCRs(t, image, map[int]string{
		0: extended(kernel, line, first), 1: extended(kernel, line, first),
		2: "21b9efbc184807662e966d34f390821309eeac6802309798" +
			"826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a",
	})
	if !image.ARM64 {
		t.Error("an image for arm64 is taken for one for x86-64")
	}
}

func TestPCR8IsOfTheCertificate(t *testing.T) {
	s := signer(t)
	data, err := s.SignedEIF(forge.EIFParts()...)
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(data)
	image := parse(t, data)
	demandPCRs(t, image, map[int]string{
		0: extended(kernel, line, first, second), 1: extended(kernel, line, first), 2: extended(second),
		8: extended(string(s.DER)),
	})
	if !slices.Equal(before, data) {
		t.Error("the input was written to")
	}
	if image.Signer.Name != "CN=release?[31m" || !image.Signer.NotBefore.Equal(someDay) ||
		!image.Signer.NotAfter.Equal(someDay.AddDate(1, 0, 0)) {
		t.Errorf("got %+v", image.Signer)
	}
}

func TestImagesSignedOnOtherCurves(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P521()} {
		s, err := forge.NewEIFSignerOn(curve, "release", someDay)
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.SignedEIF(forge.EIFParts()...)
		if err != nil {
			t.Fatal(err)
		}
		if image := parse(t, data); image.Signer == nil {
			t.Errorf("%s: got no signer", curve.Params().Name)
		}
	}
}
