package crl_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/verifiers/internal/crl"
)

var now = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// issuer is a CA of P-256, which is quick to make.
type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newIssuer(t testing.TB, usage x509.KeyUsage) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "A list's issuer"},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: usage, SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{certificate, key}
}

// list makes a list with Go's writer.
func (i issuer) list(t testing.TB, edit func(*x509.RevocationList)) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: now.AddDate(0, -1, 0), NextUpdate: now.AddDate(0, 1, 0),
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, i.certificate, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func entries(serials ...int64) []x509.RevocationListEntry {
	out := make([]x509.RevocationListEntry, len(serials))
	for index, serial := range serials {
		out[index] = x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: now}
	}
	return out
}

// revoking edits a list so that it revokes these.
func revoking(serials ...int64) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.RevokedCertificateEntries = entries(serials...) }
}

func open(t testing.TB, i issuer, raw []byte) *crl.List {
	t.Helper()
	outline, err := crl.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	list, err := outline.Verified(i.certificate)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// built writes a list by hand and signs it, for what Go's writer does not write.
func (i issuer) built(t testing.TB, body ...[]byte) []byte {
	t.Helper()
	algorithm := element(0x30, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2})
	head := [][]byte{{2, 1, 1}, algorithm, i.certificate.RawSubject}
	return i.signed(t, append(head, body...), algorithm)
}

func (i issuer) signed(t testing.TB, parts [][]byte, outer []byte) []byte {
	t.Helper()
	tbs := element(0x30, bytes.Join(parts, nil))
	digest := crypto.SHA256.New()
	digest.Write(tbs)
	signature, err := i.key.Sign(rand.Reader, digest.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return element(0x30, slices.Concat(tbs, outer, element(3, append([]byte{0}, signature...))))
}

// element writes one element of DER of any length.
func element(tag byte, value []byte) []byte {
	length := big.NewInt(int64(len(value))).Bytes()
	if len(value) < 0x80 {
		return append([]byte{tag, byte(len(value))}, value...)
	}
	return slices.Concat([]byte{tag, 0x80 | byte(len(length))}, length, value)
}

func utc(text string) []byte { return element(asn1.TagUTCTime, []byte(text)) }

var (
	from  = utc("250501000000Z")
	until = utc("250701000000Z")
)

// extensions writes crlExtensions.
func extensions(all ...[]byte) []byte {
	return element(0xa0, element(0x30, bytes.Join(all, nil)))
}

func extension(last byte, critical bool, value []byte) []byte {
	body := []byte{6, 3, 0x55, 0x1d, last}
	if critical {
		body = append(body, 1, 1, 0xff)
	}
	return element(0x30, append(body, element(4, value)...))
}

func TestWhatAListSays(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	raw := i.list(t, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = entries(0, 1, 127, 128, 255, 256, 0x020001, 1<<40)
	})
	before := bytes.Clone(raw)
	list := open(t, i, raw)
	if !bytes.Equal(raw, before) {
		t.Error("reading wrote to the list")
	}
	clear(raw) // what a List says does not change with the bytes that it was read from
	for _, serial := range []int64{0, 1, 127, 128, 255, 256, 0x020001, 1 << 40} {
		if !list.Revokes(big.NewInt(serial)) {
			t.Errorf("%#x is not revoked", serial)
		}
	}
	for _, serial := range []*big.Int{
		big.NewInt(2), big.NewInt(-1), big.NewInt(-128), big.NewInt(0x0200), big.NewInt(1 << 41),
		nil,
		new(big.Int).Lsh(big.NewInt(1), 500),
	} {
		if list.Revokes(serial) {
			t.Errorf("%v is revoked", serial)
		}
	}
	if list.Entries() != 8 || !bytes.Equal(list.Number, []byte{7}) || list.Unusable != nil ||
		!bytes.Equal(list.Issuer(), i.certificate.RawSubject) || list.Points != nil {
		t.Errorf("%d entries, number %x, %v", list.Entries(), list.Number, list.Unusable)
	}
	for at, covered := range map[time.Time]bool{
		now: true, list.From: true, list.Until: true, list.Until.Add(time.Second): false,
		list.From.AddDate(-10, 0, 0): true, // it says what was revoked by then, and more
	} {
		if list.Covers(i.certificate, at) != covered {
			t.Errorf("covers %s: %t", at, !covered)
		}
	}
	// What expired before the list was issued may have left it.
	for from, covered := range map[time.Time]bool{
		list.From: true, list.From.Add(-time.Second): false,
	} {
		expired := &x509.Certificate{NotAfter: from}
		if list.Covers(expired, list.From.Add(-time.Hour)) != covered ||
			!list.Covers(expired, list.From) {
			t.Errorf("of a certificate that expired at %s: covered %t", from, !covered)
		}
	}
}

func TestTheCertificatesThatAListIsFor(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	names := element(0xa0, element(0xa0, element(0x86, []byte("http://here"))))
	list := open(t, i, i.built(t, from, until,
		extensions(extension(28, true, element(0x30, names)))))
	if list.Unusable != nil || !slices.Equal(list.Points, []string{"http://here"}) {
		t.Fatalf("%v, for %q", list.Unusable, list.Points)
	}
	for point, want := range map[string]bool{"http://here": true, "http://there": false} {
		if list.IsFor(&x509.Certificate{CRLDistributionPoints: []string{point}}) != want {
			t.Errorf("%s: %t", point, !want)
		}
	}
	if list.IsFor(&x509.Certificate{}) || !open(t, i, i.list(t, nil)).IsFor(&x509.Certificate{}) {
		t.Error("a certificate without a distribution point")
	}
}

// TestWhatCannotBeUsed has lists that are authentic and from which nothing may be concluded.
func TestWhatCannotBeUsed(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	uri := element(0xa0, element(0xa0, element(0x86, []byte("http://here"))))
	point := func(behind ...byte) []byte {
		return extension(28, true, element(0x30, append(bytes.Clone(uri), behind...)))
	}
	entry := func(critical bool) []byte {
		return element(0x30, element(0x30, slices.Concat([]byte{2, 1, 9}, utc("250101000000Z"),
			element(0x30, extension(29, critical, []byte{5, 0})))))
	}
	for name, row := range map[string]struct {
		behind [][]byte
		reason string
	}{
		"delta, critical": {
			[][]byte{extensions(extension(27, true, []byte{2, 1, 1}))}, "delta",
		},
		"delta, not critical": {
			[][]byte{extensions(extension(27, false, []byte{2, 1, 1}))}, "delta",
		},
		"for CAs alone":    {[][]byte{extensions(point(0x82, 1, 0xff))}, "indirect"},
		"indirect":         {[][]byte{extensions(point(0x84, 1, 0xff))}, "indirect"},
		"for some reasons": {[][]byte{extensions(point(0x83, 2, 1, 0x40))}, "indirect"},
		"an empty point": {
			[][]byte{extensions(extension(28, true, []byte{0x30, 0}))}, "indirect",
		},
		"something unknown": {
			[][]byte{extensions(extension(99, true, nil))}, "critical extension",
		},
		"an entry of another's": {[][]byte{entry(true)}, "critical entry extension"},
		"the same, then a delta": {
			[][]byte{entry(true), extensions(extension(27, true, nil))}, "entry",
		},
		"something, not critical":  {[][]byte{extensions(extension(99, false, nil))}, ""},
		"an entry with a remark":   {[][]byte{entry(false)}, ""},
		"nothing":                  {nil, ""},
		"an empty list of entries": {[][]byte{{0x30, 0}}, ""},
		"a number, and an unknown": {
			[][]byte{extensions(extension(20, false, []byte{2, 1, 0}), extension(99, true, nil))},
			"critical",
		},
		"a freshest CRL of its own": {
			[][]byte{extensions(extension(46, false, []byte{0x30, 0}))}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			list := open(t, i, i.built(t, append([][]byte{from, until}, row.behind...)...))
			switch {
			case (list.Unusable == nil) != (row.reason == ""):
				t.Errorf("unusable: %v", list.Unusable)
			case row.reason != "" && !strings.Contains(list.Unusable.Error(), row.reason):
				t.Errorf("unusable: %v, want %q", list.Unusable, row.reason)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	number := func(value ...byte) []byte {
		list := open(t, i, i.built(t, from, until, extensions(extension(20, false,
			element(2, value)))))
		return list.Number
	}
	for _, row := range []struct{ der, want []byte }{
		{[]byte{0}, []byte{}}, {[]byte{1}, []byte{1}}, {[]byte{0, 0x80}, []byte{0x80}},
		{[]byte{1, 0}, []byte{1, 0}},
	} {
		if got := number(row.der...); !bytes.Equal(got, row.want) || got == nil {
			t.Errorf("%x is read as %x", row.der, got)
		}
	}
	if list := open(t, i, i.built(t, from, until)); list.Number != nil {
		t.Errorf("no number is read as %x", list.Number)
	}
	for _, row := range []struct {
		a, b []byte
		want int
	}{
		{nil, nil, 0}, {nil, []byte{}, 0}, {[]byte{2}, []byte{1}, 1}, {[]byte{1}, []byte{2}, -1},
		{[]byte{1, 0}, []byte{255}, 1}, {[]byte{255}, []byte{1, 0}, -1}, {nil, []byte{1}, -1},
	} {
		got := crl.CompareNumbers(row.a, row.b)
		if (got > 0) != (row.want > 0) || (got < 0) != (row.want < 0) {
			t.Errorf("%x and %x compare as %d", row.a, row.b, got)
		}
	}
}

func TestTimes(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	list := open(t, i, i.built(t, utc("500101000000Z"),
		element(asn1.TagGeneralizedTime, []byte("20510203040506Z"))))
	if got := list.From.Format(time.RFC3339) + " " + list.Until.Format(time.RFC3339); got !=
		"1950-01-01T00:00:00Z 2051-02-03T04:05:06Z" {
		t.Error(got)
	}
	// Without a next update, a list covers the second of its issue: nothing says that it is
	// current.
	list = open(t, i, i.built(t, from))
	if !list.Covers(i.certificate, list.From) ||
		list.Covers(i.certificate, list.From.Add(time.Second)) {
		t.Error("a list without a next update")
	}
}

// TestWhatIsNoList has what Read refuses before a signature, and Verified behind one.
func TestWhatIsNoList(t *testing.T) {
	i, other := newIssuer(t, x509.KeyUsageCRLSign), newIssuer(t, x509.KeyUsageCRLSign)
	good := i.list(t, revoking(9))
	ecdsa256 := element(0x30, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2})
	ecdsa384 := element(0x30, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3})
	name := i.certificate.RawSubject
	number := func(value ...byte) []byte { return extensions(extension(20, false, value)) }
	entry := func(parts ...[]byte) []byte {
		return element(0x30, element(0x30, bytes.Join(parts, nil)))
	}
	twice := extension(20, false, []byte{2, 1, 1})
	for what, raw := range map[string][]byte{
		"nothing":             nil,
		"no sequence":         {4, 0},
		"an empty sequence":   {0x30, 0},
		"something behind it": append(bytes.Clone(good), 0),
		"cut short":           good[:len(good)-1],
		"too long":            make([]byte, crl.MaxBytes+1),
		"version 1":           i.signed(t, [][]byte{ecdsa256, name, from, until}, ecdsa256),
		"version 3": i.signed(t,
			[][]byte{{2, 1, 2}, ecdsa256, name, from, until}, ecdsa256),
		"two algorithms": i.signed(t,
			[][]byte{{2, 1, 1}, ecdsa256, name, from, until}, ecdsa384),
		"another signature's": other.built(t, from, until),
		"an algorithm nobody has": i.signed(t,
			[][]byte{{2, 1, 1}, {0x30, 0}, name, from, until}, []byte{0x30, 0}),
		"no time":                  i.built(t),
		"a time that is none":      i.built(t, utc("251301000000Z"), until),
		"a time without seconds":   i.built(t, utc("2501010000Z"), until),
		"a time with a sign":       i.built(t, utc("+00101000000Z"), until),
		"a time with a zone":       i.built(t, utc("250101000000+0000"), until),
		"behind the extensions":    i.built(t, from, until, number(2, 1, 1), []byte{5, 0}),
		"no extensions":            i.built(t, from, until, extensions()),
		"an extension twice":       i.built(t, from, until, extensions(twice, twice)),
		"a number that is none":    i.built(t, from, until, number(4, 0)),
		"a negative number":        i.built(t, from, until, number(2, 1, 0x80)),
		"a number with a zero":     i.built(t, from, until, number(2, 2, 0, 1)),
		"something after a number": i.built(t, from, until, number(2, 1, 1, 0)),
		"a number of 22 bytes": i.built(t, from, until,
			number(append([]byte{2, 22, 1}, make([]byte, 21)...)...)),
		"an entry without a time": i.built(t, from, until, entry([]byte{2, 1, 9})),
		"an entry without serial": i.built(t, from, until, entry(from)),
		"a negative serial":       i.built(t, from, until, entry([]byte{2, 1, 0xff}, from)),
		"a serial with a zero":    i.built(t, from, until, entry([]byte{2, 2, 0, 9}, from)),
		"a serial of 22 bytes": i.built(t, from, until,
			entry(element(2, append([]byte{1}, make([]byte, 21)...)), from)),
		"an entry and more": i.built(t, from, until,
			entry([]byte{2, 1, 9}, from, []byte{5, 0})),
		"a false critical": i.built(t, from, until,
			extensions(element(0x30, []byte{6, 3, 0x55, 0x1d, 99, 1, 1, 0, 4, 0}))),
		"a long form of a length": i.built(t, from, until, []byte{0x30, 0x81, 0}),
		"an indefinite length":    i.built(t, from, until, []byte{0x30, 0x80, 0, 0}),
	} {
		t.Run(what, func(t *testing.T) {
			outline, err := crl.Read(raw)
			if err != nil {
				return
			}
			if list, err := outline.Verified(i.certificate); err == nil {
				t.Errorf("read as %+v", list)
			}
		})
	}
	if _, err := (crl.Outline{}).Verified(i.certificate); err == nil {
		t.Error("the zero Outline is verified")
	}
}

// TestEveryBit: no bit of a list can be another one.
func TestEveryBit(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	good := i.list(t, revoking(9, 300))
	open(t, i, good)
	for bit := range 8 * len(good) {
		changed := bytes.Clone(good)
		changed[bit/8] ^= 1 << (bit % 8)
		if outline, err := crl.Read(changed); err == nil {
			if _, err := outline.Verified(i.certificate); err == nil {
				t.Errorf("bit %d of byte %d may be either", bit%8, bit/8)
			}
		}
	}
}

// TestTheRightToSign is RFC 5280 section 6.3.3 (f).
func TestTheRightToSign(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	raw := i.list(t, nil)
	outline, err := crl.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	without := *i.certificate
	without.KeyUsage = x509.KeyUsageCertSign
	_, err = outline.Verified(&without)
	if err == nil || !strings.Contains(err.Error(), "cRLSign") {
		t.Errorf("a CA without the right to sign lists: %v", err)
	}
}
