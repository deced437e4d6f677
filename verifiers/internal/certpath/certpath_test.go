package certpath_test

import (
	"crypto/x509"
	"testing"

	"github.com/attestd/attestd/verifiers/internal/certpath"
)

func TestRoomBelowNeverGrows(t *testing.T) {
	ca := func(length int) *x509.Certificate {
		return &x509.Certificate{
			BasicConstraintsValid: true, IsCA: true, MaxPathLen: length, MaxPathLenZero: length == 0,
		}
	}
	for _, row := range []struct {
		name             string
		above, own, want int
	}{
		{"no limit above and none of its own", -1, -1, -1},
		{"no limit above, one of its own", -1, 2, 2},
		{"a limit above, none of its own", 3, -1, 2},
		{"a limit above that is narrower", 1, 5, 0},
		{"a limit of its own that is narrower", 5, 0, 0},
		{"no room above stays none", 0, 4, 0},
	} {
		if got := certpath.RoomBelow(row.above, ca(row.own)); got != row.want {
			t.Errorf("%s: got %d, want %d", row.name, got, row.want)
		}
	}
	if got := certpath.Length(&x509.Certificate{MaxPathLen: 3}); got != -1 {
		t.Errorf("without basic constraints the length is %d, want -1", got)
	}
}

func TestAnotherSpellingOfTheSignatureIsSeen(t *testing.T) {
	signature := []byte{0x30, 0x01, 0x02}
	good := &x509.Certificate{Raw: append([]byte{1, 2, 0}, signature...), Signature: signature}
	if !certpath.WholeBytes(good) {
		t.Error("whole bytes were not seen as such")
	}
	shifted := &x509.Certificate{Raw: append([]byte{1, 2, 1}, 0x60, 0x02, 0x04), Signature: signature}
	if certpath.WholeBytes(shifted) {
		t.Error("a signature with an unused bit passed for whole bytes")
	}
}
