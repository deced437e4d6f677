package crl_test

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/attestd/attestd/verifiers/internal/crl"
)

// FuzzList reads a list whose signature holds whatever its bytes are, and compares what is read
// with the standard library: whatever is accepted here the library accepts, and both read the same.
func FuzzList(f *testing.F) {
	i := newIssuer(f, x509.KeyUsageCRLSign)
	f.Add(i.list(f, nil))
	f.Add(i.list(f, revoking(0, 128, 1<<40)))
	f.Add(i.built(f, from))
	f.Add(i.built(f, from, until, extensions(extension(20, false, []byte{2, 1, 0}))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		list, err := crl.ReadUnverified(raw)
		if !bytes.Equal(raw, before) {
			t.Fatal("reading wrote to the list")
		}
		if err != nil || !bytes.Equal(list.Issuer(), i.certificate.RawSubject) {
			return // names are compared with a certificate's and not read
		}
		theirs, err := x509.ParseRevocationList(raw)
		if err != nil {
			t.Fatalf("the standard library refuses what is read here: %v", err)
		}
		if !list.From.Equal(theirs.ThisUpdate) ||
			!bytes.Equal(list.Issuer(), theirs.RawIssuer) {
			t.Fatalf("%s of %x, the standard library reads %s of %x", list.From, list.Issuer(),
				theirs.ThisUpdate, theirs.RawIssuer)
		}
		if !theirs.NextUpdate.IsZero() && !list.Until.Equal(theirs.NextUpdate) {
			t.Fatalf("until %s, the standard library reads %s", list.Until, theirs.NextUpdate)
		}
		if theirs.Number != nil && !bytes.Equal(list.Number, theirs.Number.Bytes()) {
			t.Fatalf("number %x, the standard library reads %x", list.Number, theirs.Number)
		}
		for _, entry := range theirs.RevokedCertificateEntries {
			if !list.Revokes(entry.SerialNumber) {
				t.Fatalf("%x is not revoked", entry.SerialNumber)
			}
		}
	})
}
