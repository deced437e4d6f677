package wycheproof_test

import (
	"crypto"
	"crypto/ecdsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"testing"

	"github.com/attestd/attestd/testvectors/wycheproof"
)

// TestStandardLibraryOnP521 gates the one curve that certificates of endorsement keys may be on and
// no code of this project verifies itself.
func TestStandardLibraryOnP521(t *testing.T) {
	groups, err := wycheproof.Load("ecdsa_secp521r1_sha512_test.json")
	if err != nil {
		t.Fatal(err)
	}
	cases, valid := 0, 0
	for _, group := range groups {
		parsed, err := x509.ParsePKIXPublicKey(group.Key)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := parsed.(*ecdsa.PublicKey)
		if !ok || group.Hash != "SHA-512" {
			t.Fatalf("a group of %T with %s", parsed, group.Hash)
		}
		for _, test := range group.Cases {
			hash := crypto.SHA512.New()
			hash.Write(test.Message)
			got := ecdsa.VerifyASN1(key, hash.Sum(nil), test.Signature)
			cases++
			switch {
			case got && !test.Valid:
				t.Errorf("case %d (%s) was accepted", test.ID, test.Comment)
			case !got && test.Valid:
				t.Errorf("case %d (%s) was refused", test.ID, test.Comment)
			case got:
				valid++
			}
		}
	}
	if valid < 50 || valid == cases {
		t.Errorf("%d cases, %d valid: the file was not read", cases, valid)
	}
	t.Logf("%d cases, %d valid, no mismatch", cases, valid)
}

func TestAMissingFileIsAnError(t *testing.T) {
	if groups, err := wycheproof.Load("no_such_test.json"); err == nil {
		t.Errorf("%d groups of a file that does not exist", len(groups))
	}
}
