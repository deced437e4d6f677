package sevsnp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// crowded returns a certificate of about size bytes with the names and extensions of vcek and, in the
// rest, as many alternative names as fit: what takes most memory to read. Its signature is no one's.
func crowded(t testing.TB, vcek *x509.Certificate, size int, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := slices.DeleteFunc(slices.Clone(vcek.Extensions), func(e pkix.Extension) bool {
		return !slices.Equal(e.Id[:min(len(e.Id), 7)], asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704})
	})
	uris, err := asn1.Marshal(asn1.RawValue{
		Tag: asn1.TagSequence, IsCompound: true, Bytes: bytes.Repeat([]byte{0x86, 1, 'a'}, (size-800)/3),
	})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: vcek.NotBefore, NotAfter: vcek.NotAfter,
		ExtraExtensions: append(own, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: uris}),
	}, &x509.Certificate{RawSubject: vcek.RawIssuer}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// dearest are inputs of which every part is as large as it may be, and dear to read.
func dearest(t testing.TB) map[string]attestd.Input {
	t.Helper()
	out := map[string]attestd.Input{}
	base := sample(t)
	vcek, err := x509.ParseCertificate(base.Endorsements.Certificates[0])
	if err != nil {
		t.Fatal(err)
	}
	pem := armoured(make([]byte, 15<<10))
	table, err := forge.SNPTable(
		forge.SNPTableEntry{GUID: forge.GUIDVCEK, Data: pem},
		forge.SNPTableEntry{GUID: forge.GUIDASK, Data: pem},
		forge.SNPTableEntry{GUID: forge.GUIDARK, Data: pem},
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"8,000": 8000, "3,000": 3000} {
		input := base
		input.Endorsements = endorsed(
			crowded(t, vcek, size, 1), crowded(t, vcek, size, 2), crowded(t, vcek, size, 3))
		out["three VCEKs of "+name+" bytes of names"] = input
		input.Evidence = slices.Concat(input.Evidence, table)
		out["the same behind a table of long PEM, "+name] = input
	}
	return out
}
