package pcs

import (
	"bytes"
	"testing"
)

// DamageRoot changes a byte of the embedded root for one test.
func DamageRoot(t *testing.T, index int) {
	t.Helper()
	intact := rootDER
	t.Cleanup(func() { rootDER = intact })
	rootDER = bytes.Clone(intact)
	rootDER[index] ^= 1
}
