package inspect_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/report/inspect"
)

func TestWhatIsNoEvidenceIsDecodedByContent(t *testing.T) {
	certificate, list := issued(t)
	armoured := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for _, row := range []struct {
		name  string
		data  []byte
		kind  string // empty: not decoded
		holds string
	}{
		{"a certificate in DER", certificate, inspect.KindCertificate, "not_after"},
		{"a certificate in PEM", armoured("CERTIFICATE", certificate), inspect.KindCertificate, "subject"},
		{"a CRL in DER", list, inspect.KindCRL, "revoked.2a"},
		{"a CRL in PEM", armoured("X509 CRL", list), inspect.KindCRL, "next_update"},
		{"two certificates in PEM", append(armoured("CERTIFICATE", certificate),
			armoured("CERTIFICATE", certificate)...), inspect.KindCertificate, "1.subject"},
		{"an array of CBOR", []byte{0x83, 1, 2, 0x41, 0xff}, inspect.KindCBOR, "cbor"},
		{"a single CBOR number, which any byte is", []byte{0x01}, "", ""},
		{"CBOR with bytes behind it", []byte{0x81, 1, 2}, "", ""},
		{"CBOR that nests too deep", append(bytes.Repeat([]byte{0x81}, 40), 0), "", ""},
		{"CBOR that promises 2^32 items", []byte{0x9a, 0xff, 0xff, 0xff, 0xff}, "", ""},
		{"a certificate cut short", certificate[:len(certificate)-1], "", ""},
		{"a private key's PEM", armoured("PRIVATE KEY", []byte("secret")), "", ""},
		{"nothing", nil, "", ""},
		{"text", []byte("hello"), "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			kind, inspection, ok := inspect.Any(row.data)
			if ok != (row.kind != "") || kind != row.kind {
				t.Fatalf("got %q %t, want %q", kind, ok, row.kind)
			}
			for _, field := range inspection.Fields {
				if strings.Contains(field.Name, row.holds) {
					return
				}
			}
			if row.holds != "" {
				t.Errorf("no field %q in %v", row.holds, inspection.Fields)
			}
		})
	}
}

func FuzzAny(f *testing.F) {
	f.Add([]byte{0x83, 1, 2, 0x41, 0xff})
	f.Add([]byte{0x30, 0x82})
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		kind, _, ok := inspect.Any(data)
		if ok != (kind != "") {
			t.Errorf("kind %q with ok %t", kind, ok)
		}
		if !bytes.Equal(before, data) {
			t.Error("the input was written to")
		}
	})
}

func issued(t *testing.T) (certificate, list []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "a test root"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: []byte{1},
	}
	if certificate, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	issuer, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	list, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{
			{SerialNumber: big.NewInt(0x2a), RevocationTime: time.Now()},
		},
	}, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, list
}
