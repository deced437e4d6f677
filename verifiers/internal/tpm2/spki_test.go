package tpm2_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

func TestAKeyOfAnUnknownCurveSaysWhich(t *testing.T) {
	public := tpm2.Public{Type: tpm2.AlgECC, Curve: 0x20}
	if _, err := public.SPKI(); err == nil || !strings.Contains(err.Error(), "no public key for ECC") {
		t.Errorf("got %v", err)
	}
}
