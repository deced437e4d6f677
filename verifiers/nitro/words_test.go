package nitro_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestRefusalsSayWhichRuleItWas: what stands behind these rules refuses the same documents, and
// could not say why.
func TestRefusalsSayWhichRuleItWas(t *testing.T) {
	t.Parallel()
	late := uint64(1<<63 - 1)
	sha256 := authority(t, forge.AWSOptions{Alter: alter(forge.AWSZonal, func(c *x509.Certificate) {
		c.SignatureAlgorithm = x509.ECDSAWithSHA256
	})})
	usual := authority(t, forge.AWSOptions{})
	for want, row := range map[string]struct {
		a    *forge.AWS
		with forge.Document
	}{
		"no nonce":                 {usual, forge.Document{Fields: drop("nonce")}},
		"a nonce of 31 bytes":      {usual, forge.Document{Nonce: nonce[:31]}},
		"95 bytes":                 {usual, forge.Document{Signature: func(s []byte) []byte { return s[:95] }}},
		"9223372036854775807 ms":   {usual, forge.Document{Milliseconds: &late}},
		"signed with ECDSA-SHA256": {sha256, forge.Document{}},
	} {
		if row.with.Nonce == nil {
			row.with.Nonce = nonce
		}
		_, err := verifier(t, row.a.Root()).Verify(attestd.Input{
			Evidence: document(t, row.a, row.with), At: row.a.At(), Demand: fresh(t, nonce),
		})
		var rejected *attestd.EvidenceError
		if !errors.As(err, &rejected) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
