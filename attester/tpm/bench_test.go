package tpm_test

import (
	"crypto"
	"testing"

	"github.com/attestd/attestd/attester/tpm"
)

// BenchmarkCollect is evidence from a software TPM, with and without a key that is certified. On a
// chip the two or three signatures are most of it.
func BenchmarkCollect(b *testing.B) {
	chip, err := made.template.Clone("bench")
	if err == nil {
		err = chip.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = chip.Close() })
	device, err := tpm.Open("swtpm:"+chip.Socket(), tpm.Options{StateDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	key, err := device.Key(b.Context(), "agent")
	if err != nil {
		b.Fatal(err)
	}
	for _, row := range []struct {
		name string
		key  *tpm.Key
	}{{"quote", nil}, {"quote and key", key}} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := device.Collect(b.Context(), tpm.Request{Freshness: freshness(1), Key: row.key}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("signature", func(b *testing.B) {
		for b.Loop() {
			if _, err := key.Sign(nil, freshness(1), crypto.SHA256); err != nil {
				b.Fatal(err)
			}
		}
	})
}
