package enrol_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/enrol"
)

// The certificates in testdata/platform are those of an Intel NUC and of an ST TPM that the National
// Security Agency publishes with HIRS (Apache-2.0); they do not belong together.
func published(t testing.TB, name string) string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("testdata", "platform", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

func nucEK(t testing.TB) string { return published(t, "nuc-ek.pem") }

// chip is a TPM as far as lists name it: a certificate, and the key as evidence would show it.
type chip struct {
	der []byte
	key string
}

func newChip(t testing.TB, serial int64, key crypto.Signer, edit func(*x509.Certificate)) chip {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: clock, NotAfter: clock.Add(time.Hour),
		Subject: pkix.Name{CommonName: "chip"}, KeyUsage: x509.KeyUsageKeyEncipherment,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
	}
	if edit != nil {
		edit(template)
	}
	authority := &x509.Certificate{Subject: pkix.Name{CommonName: "maker", Organization: []string{"ACME"}}}
	made, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(spki)
	return chip{der: made, key: "instance:ek:" + hex.EncodeToString(digest[:])}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func read(t testing.TB, kind string, document []byte) (keys []string, problems string) {
	t.Helper()
	entries, wrong := enrol.ReadList(kind, document)
	for _, entry := range entries {
		keys = append(keys, entry.Key.String())
	}
	return keys, strings.Join(wrong, "\n")
}

func TestEndorsementKeysAreThoseThatEvidenceShows(t *testing.T) {
	one, two := newChip(t, 1, newKey(t), nil), newChip(t, 2, newKey(t), nil)
	want := []string{one.key, two.key}
	if got, problems := read(t, "ek-certificates", append(bytes.Clone(one.der), two.der...)); !slices.Equal(got, want) {
		t.Errorf("DER: got %q: %s", got, problems)
	}
	var text bytes.Buffer
	for _, der := range [][]byte{one.der, two.der} {
		text.WriteString("subject=a chip\n")
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	if got, problems := read(t, "ek-certificates", text.Bytes()); !slices.Equal(got, want) {
		t.Errorf("PEM: got %q: %s", got, problems)
	}
	// An ST TPM's certificate of 2014 names RSAES-OAEP; the TPM shows the bare key, whose modulus this
	// takes from the certificate by hand.
	block, _ := pem.Decode([]byte(nucEK(t)))
	at := bytes.Index(block.Bytes, []byte{0x02, 0x82, 0x01, 0x01, 0x00, 0xb1, 0xd4})
	bare := &rsa.PublicKey{N: new(big.Int).SetBytes(block.Bytes[at+5 : at+5+256]), E: 65537}
	spki, err := x509.MarshalPKIXPublicKey(bare)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(spki)
	got, problems := read(t, "ek-certificates", []byte(nucEK(t)))
	if !slices.Equal(got, []string{"instance:ek:" + hex.EncodeToString(digest[:])}) {
		t.Errorf("a published certificate: got %q: %s", got, problems)
	}
}

func TestCertificatesThatAreNoEndorsementKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // that is what is refused
	if err != nil {
		t.Fatal(err)
	}
	good := newChip(t, 1, newKey(t), nil)
	for _, row := range []struct {
		name, problem string
		document      []byte
	}{
		{"a server's certificate", "endorsement key", newChip(t, 1, newKey(t), func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}).der},
		{"an authority's certificate", "endorsement key", newChip(t, 1, newKey(t), func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}).der},
		{"a key that anybody can factor", "1024 bits", newChip(t, 1, weak, nil).der},
		{"the same certificate twice", "once more", append(bytes.Clone(good.der), good.der...)},
		{"bytes behind it", "neither PEM nor DER", append(bytes.Clone(good.der), 0)},
		{"a certificate cut short", "neither PEM nor DER", good.der[:100]},
		{"an object of ASN.1 that is no certificate", "no certificate", []byte{0x30, 3, 2, 1, 5}},
	} {
		if got, problems := read(t, "ek-certificates", row.document); len(got) > 0 ||
			!strings.Contains(problems, row.problem) {
			t.Errorf("%s: got %q: %q, want %q", row.name, got, problems, row.problem)
		}
	}
}

// der wraps contents into a tag.
func der(tag byte, contents ...[]byte) []byte {
	out, err := asn1.Marshal(asn1.RawValue{
		Class: int(tag >> 6), IsCompound: tag&0x20 != 0, Tag: int(tag & 0x1f), Bytes: bytes.Join(contents, nil),
	})
	if err != nil {
		panic(err)
	}
	return out
}

func marshal(value any) []byte {
	out, err := asn1.Marshal(value)
	if err != nil {
		panic(err)
	}
	return out
}

// bySerial is a holder's baseCertificateID. The name is encoded as another kind of text than in the
// certificate, as makers do.
func bySerial(serial int64, common string) []byte {
	name := der(0x30,
		der(0x31, der(0x30, marshal(asn1.ObjectIdentifier{2, 5, 4, 10}), der(0x0c, []byte("ACME")))),
		der(0x31, der(0x30, marshal(asn1.ObjectIdentifier{2, 5, 4, 3}), der(0x0c, []byte(common)))))
	return der(0xa0, der(0x30, der(0xa4, name)), marshal(big.NewInt(serial)))
}

// byDigest is a holder's objectDigestInfo over a key (0) or a certificate (1).
func byDigest(kind asn1.Enumerated, digest []byte) []byte {
	sha := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}}
	return der(0xa2, marshal(kind), marshal(sha), marshal(asn1.BitString{Bytes: digest, BitLength: 8 * len(digest)}))
}

// platformOf is a platform certificate of the profile 1.1 for a holder.
func platformOf(version int, holder ...[]byte) []byte {
	text := func(oid asn1.ObjectIdentifier, value string) []byte {
		return der(0x31, der(0x30, marshal(oid), der(0x0c, []byte(value))))
	}
	names := der(0x30, der(0xa4, der(0x30,
		text(asn1.ObjectIdentifier{2, 23, 133, 5, 1, 1}, "ACME"),
		text(asn1.ObjectIdentifier{2, 23, 133, 5, 1, 4}, "R3"),
		text(asn1.ObjectIdentifier{2, 23, 133, 5, 1, 6}, "SN-0007"))))
	info := der(0x30, marshal(version), der(0x30, holder...), der(0xa0, der(0x30)), der(0x30), marshal(99),
		der(0x30), der(0x30), marshal([]pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}))
	return der(0x30, info, der(0x30), marshal(asn1.BitString{Bytes: []byte{1}, BitLength: 8}))
}

func TestPlatformCertificatesNameTheTPMOfTheirHolder(t *testing.T) {
	one, two := newChip(t, 1, newKey(t), nil), newChip(t, 2, newKey(t), nil)
	keyDigest, _ := hex.DecodeString(strings.TrimPrefix(two.key, "instance:ek:"))
	whole := sha256.Sum256(two.der)
	for _, row := range []struct {
		name, want, problem string
		platform            []byte
	}{
		{"by serial number", two.key, "", platformOf(1, bySerial(2, "maker"))},
		{"by serial number, with a name of the owner's", two.key, "",
			platformOf(1, bySerial(2, "maker"), der(0xa1, der(0xa4, der(0x30))))},
		{"by the digest of the key", two.key, "", platformOf(1, byDigest(0, keyDigest))},
		{"by the digest of the certificate", two.key, "", platformOf(1, byDigest(1, whole[:]))},
		{"by both, alike", two.key, "", platformOf(1, bySerial(2, "maker"), byDigest(0, keyDigest))},
		{"by both, of two TPMs", "", "one key by serial number and another",
			platformOf(1, bySerial(1, "maker"), byDigest(0, keyDigest))},
		{"a TPM that is not in the list", "", "serial 3", platformOf(1, bySerial(3, "maker"))},
		{"another maker's TPM with that number", "", "is not in the list", platformOf(1, bySerial(2, "other"))},
		{"a certificate that is not in the list", "", "is not in the list", platformOf(1, byDigest(1, keyDigest))},
		{"a digest of 31 bytes", "", "no digest of 32 bytes", platformOf(1, byDigest(0, keyDigest[1:]))},
		{"nobody", "", "names no certificate", platformOf(1)},
		{"a name alone", "", "names no certificate", platformOf(1, der(0xa1, der(0xa4, der(0x30))))},
		{"parts out of order", "", "out of order", platformOf(1, byDigest(0, keyDigest), bySerial(2, "maker"))},
		{"version 1", "", "version 1, want 2", platformOf(0, bySerial(2, "maker"))},
		{"bytes behind it", "", "neither PEM nor DER", append(platformOf(1, bySerial(2, "maker")), 0)},
	} {
		document := slices.Concat(one.der, two.der, row.platform)
		entries, problems := enrol.ReadList("platform-certificates", document)
		text := strings.Join(problems, "\n")
		switch {
		case row.problem != "":
			if len(entries) > 0 || !strings.Contains(text, row.problem) {
				t.Errorf("%s: got %+v: %q, want %q", row.name, entries, text, row.problem)
			}
		case len(entries) != 1 || entries[0].Key.String() != row.want || entries[0].Label != "ACME R3 SN-0007":
			t.Errorf("%s: got %+v: %q", row.name, entries, text)
		}
	}
}

func TestAPublishedPlatformCertificateNamesItsTPM(t *testing.T) {
	got, problems := read(t, "platform-certificates", []byte(published(t, "nuc-platform.pem")+nucEK(t)))
	if len(got) > 0 || problems != "certificate 1: the EK certificate with serial "+
		"2bcf4ff9fb32df89ed53550a6ccf9ee4c86b6add of CN=STMicro is not in the list: add it" {
		t.Errorf("got %q: %s", got, problems)
	}
}

func FuzzEnrolCSV(f *testing.F) {
	f.Add([]byte("kind,value,label,expires_at\nek," + eks + ",\"a, b\",2027-01-31T00:00:00Z\n"))
	f.Add([]byte("\xef\xbb\xbfvalue,kind\r\n" + ek(0).Value + ",instance\r\n"))
	f.Fuzz(func(t *testing.T, doc []byte) { fuzzed(t, "csv", doc) })
}

func FuzzEnrolCloud(f *testing.F) {
	for index, doc := range []string{ec2, roles, gce, azure} {
		f.Add(min(index, 2), []byte(doc))
	}
	kinds := []string{"aws", "gce", "azure"}
	f.Fuzz(func(t *testing.T, kind int, doc []byte) { fuzzed(t, kinds[uint(kind)%3], doc) })
}

func FuzzEnrolCertificates(f *testing.F) {
	one := newChip(f, 2, newKey(f), nil)
	f.Add(false, one.der)
	f.Add(false, []byte(nucEK(f)))
	f.Add(true, slices.Concat(one.der, platformOf(1, bySerial(2, "maker"))))
	f.Add(true, slices.Concat(one.der, platformOf(1, byDigest(0, make([]byte, 32)))))
	f.Add(true, []byte(published(f, "nuc-platform.pem")))
	f.Fuzz(func(t *testing.T, platform bool, doc []byte) {
		fuzzed(t, map[bool]string{false: "ek-certificates", true: "platform-certificates"}[platform], doc)
	})
}

// fuzzed demands what is true of every list: entries or problems, never both; keys in their one
// spelling, none twice; nothing that leaves its line; and an input that stays as it was.
func fuzzed(t *testing.T, kind string, document []byte) {
	before := bytes.Clone(document)
	entries, problems := enrol.ReadList(kind, document)
	if (len(entries) == 0) != (len(problems) > 0) || len(problems) > 101 {
		t.Fatalf("%d entries and %d problems", len(entries), len(problems))
	}
	seen := map[string]bool{}
	for _, entry := range entries {
		text := entry.Key.String()
		if key, err := enrol.ParseKey(text); err != nil || key != entry.Key || seen[text] {
			t.Fatalf("key %q: %v, twice %t", text, err, seen[text])
		}
		if seen[text] = true; strings.ContainsAny(entry.Label, "\n\r\x1b\x00") || len(entry.Label) > 200 {
			t.Fatalf("label %q", entry.Label)
		}
	}
	for _, problem := range problems {
		if strings.ContainsAny(problem, "\n\r\x1b\x00") || len(problem) > 600 {
			t.Fatalf("problem %q", problem)
		}
	}
	if !bytes.Equal(before, document) {
		t.Fatal("the list was written to")
	}
}
