package uki_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
)

// The digests of signed images are what osslsigncode 2.9 (Debian 2.9-1~bpo12+1) signs:
//
//	osslsigncode sign -certs c.pem -key k.pem -h sha256 -in odd.efi -out signed.efi
//
// Like sbsign and pesign it fills the file up to a multiple of eight bytes before its certificates,
// and those zeros are then part of the file. Firmware does not fill up what it loads (edk2,
// DxeTpm2MeasureBootLib, MeasurePeImageAndExtend: the bytes behind the sections are as many as the
// file has), so that the same image has another digest while nobody has signed it.
func TestOddSizesAreNotPadded(t *testing.T) {
	signer, err := forge.NewImageSigner("db", someDay)
	if err != nil {
		t.Fatal(err)
	}
	base := forge.UKI(252, forge.PESection{Name: ".linux", Data: forge.Kernel("a kernel")})
	for _, row := range []struct {
		behind, signed string
	}{
		{"", "1bab5bd2be5b607d559dc0f415bbf1b7f1f6f7e67349635c50dc5be7cfd58774"},
		{"b", "407375a6549724df84b1c68d1923eae41885e7a0faca219bf19c425e22253fd2"},
		{"beh", "453efee62ac54c6f6eb7a04fc3b5cf809113278407a0e9ba8f2dfa0909c01c58"},
		{"behind ", "7b76723244e32dddae7aac799e8ab116f47f1b7b508f082e2b8d98c64cc2b70e"},
		{"behind a", "16b0e5617ba713c79c31f6215bee1fed690024957bfd51d9d4fcd552a9e42ace"},
	} {
		image := append(append([]byte{}, base...), row.behind...)
		padded := append(append([]byte{}, image...), make([]byte, (8-len(image)%8)%8)...)
		signed, err := signer.Sign(append([]byte{}, padded...))
		if err != nil {
			t.Fatal(err)
		}
		got := hex.EncodeToString(parse(t, "", signed).Image.Authenticode(sha256.New()))
		if got != row.signed {
			t.Errorf("%q behind the sections, signed: got %s, want %s", row.behind, got, row.signed)
		}
		got = hex.EncodeToString(parse(t, "", image).Image.Authenticode(sha256.New()))
		if (got == row.signed) != (len(image) == len(padded)) {
			t.Errorf("%q behind the sections, not signed: got %s", row.behind, got)
		}
	}
}
