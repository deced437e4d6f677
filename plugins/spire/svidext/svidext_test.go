package svidext_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

func full() svidext.Info {
	return svidext.Info{
		Attested: true, RiskShown: true, Risk: attestd.Risk(20), Tier: attestd.TierLow, Status: "affirming",
		AttestedAt: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), TEE: "tpm", Tenant: "blue",
		KeyGrade: "resident", Measurement: "web-1.2",
	}
}

func marshal(t testing.TB, info svidext.Info) []byte {
	t.Helper()
	der, err := info.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestTheEncodingIsWhatItIs: others read it by the published form.
func TestTheEncodingIsWhatItIs(t *testing.T) {
	got := hex.EncodeToString(marshal(t, svidext.Info{Attested: true, RiskShown: true,
		Risk: attestd.Risk(20), Tier: attestd.TierLow, Status: "affirming", TEE: "tpm"}))
	const encoded = "3024" + "020101" + "0101ff" +
		"a015" + "3013" + "020114" + "0c036c6f77" + "0c09616666" + "69726d696e67" +
		"a205" + "0c0374706d"
	if got != encoded {
		t.Errorf("got\n%s, want\n%s", got, encoded)
	}
	if got := hex.EncodeToString(marshal(t, svidext.Info{})); got != "3006"+"020101"+"010100" {
		t.Errorf("the worst is %s", got)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for name, change := range map[string]func(*svidext.Info){
		"all of it":          func(*svidext.Info) {},
		"nothing":            func(i *svidext.Info) { *i = svidext.Info{} },
		"no risk":            func(i *svidext.Info) { *i = svidext.Info{Attested: true, TEE: "tpm"} },
		"a risk of 0":        func(i *svidext.Info) { i.Risk = attestd.Risk(0) },
		"a risk of 100":      func(i *svidext.Info) { i.Risk, i.Tier, i.Status = attestd.RiskScore{}, 0, "none" },
		"no measurement":     func(i *svidext.Info) { i.Measurement = "" },
		"escaped characters": func(i *svidext.Info) { i.Measurement = "a%3Ab" },
	} {
		t.Run(name, func(t *testing.T) {
			info := full()
			change(&info)
			got, err := svidext.Parse(marshal(t, info))
			if err != nil || got != info {
				t.Errorf("got %+v, %v, want %+v", got, err, info)
			}
		})
	}
	local := full()
	local.AttestedAt = local.AttestedAt.In(time.FixedZone("x", 3600)).Add(time.Millisecond)
	if got, err := svidext.Parse(marshal(t, local)); err != nil || got != full() {
		t.Errorf("got %+v, %v, want the time in UTC, in whole seconds", got, err)
	}
}

func TestWhatIsOutOfRangeIsNotWritten(t *testing.T) {
	for name, change := range map[string]func(*svidext.Info){
		"a long name":       func(i *svidext.Info) { i.Measurement = strings.Repeat("x", 257) },
		"a line break":      func(i *svidext.Info) { i.Tenant = "a\nb" },
		"broken UTF-8":      func(i *svidext.Info) { i.TEE = "\xff" },
		"an unknown status": func(i *svidext.Info) { i.Status = "fine" },
		"no status":         func(i *svidext.Info) { i.Status = "" },
		"a tier of 9":       func(i *svidext.Info) { i.Tier = 9 },
	} {
		info := full()
		change(&info)
		if der, err := info.Marshal(); err == nil {
			t.Errorf("%s is written as %x", name, der)
		}
	}
}

// TestOnlyTheOneEncodingIsRead: beside every error is the worst there is. neg: 148
func TestOnlyTheOneEncodingIsRead(t *testing.T) {
	good := marshal(t, full())
	replace := func(old, fresh string) []byte {
		from, err := hex.DecodeString(old)
		if err != nil {
			t.Fatal(err)
		}
		to, err := hex.DecodeString(fresh)
		if err != nil || !bytes.Contains(good, from) || len(from) != len(to) {
			t.Fatalf("%s cannot take the place of %s in %x", fresh, old, good)
		}
		return bytes.Replace(good, from, to, 1)
	}
	for name, der := range map[string][]byte{
		"empty":                       nil,
		"cut":                         good[:len(good)-1],
		"bytes behind it":             append(bytes.Clone(good), 0),
		"another version":             replace("020101", "020102"),
		"a score of 101":              replace("020114", "020165"),
		"a score below 0":             replace("020114", "0201ff"),
		"a boolean of 1":              replace("0101ff", "010101"),
		"an unknown tier":             replace("0c036c6f77", "0c036c6f78"),
		"a tier as another string":    replace("0c036c6f77", "13036c6f77"),
		"a line break":                replace("0c0374706d", "0c0374700a"),
		"another order":               replace("a2050c0374706d", "a5050c0374706d"),
		"a set":                       append([]byte{0x31}, good[1:]...),
		"a length in the long form":   append([]byte{0x30, 0x81, good[1]}, good[2:]...),
		"an indefinite length":        append(append([]byte{0x30, 0x80}, good[2:]...), 0, 0),
		"a megabyte":                  make([]byte, 1<<20),
		"an optional text of no byte": {0x30, 0x0a, 2, 1, 1, 1, 1, 0, 0xa2, 2, 0x0c, 0},
		"a member more":               {0x30, 0x09, 2, 1, 1, 1, 1, 0, 2, 1, 0},
		"an integer with a zero more": {0x30, 0x07, 2, 2, 0, 1, 1, 1, 0},
	} {
		if got, err := svidext.Parse(der); err == nil || got != (svidext.Info{}) || got.Risk.Int() != 100 {
			t.Errorf("%s: got %+v, %v, want an error", name, got, err)
		}
	}
}

func certificate(t *testing.T, extensions ...pkix.Extension) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestAnExtensionIsFoundByItsOID(t *testing.T) {
	oid, err := svidext.ParseOID(svidext.DefaultOID)
	if err != nil {
		t.Fatal(err)
	}
	good := pkix.Extension{Id: oid, Value: marshal(t, full())}
	if got, found, err := svidext.Of(certificate(t, good), svidext.DefaultOID); err != nil || !found || got != full() {
		t.Errorf("got %+v, %t, %v", got, found, err)
	}
	if got, found, err := svidext.Of(certificate(t), svidext.DefaultOID); err != nil || found || got.Attested {
		t.Errorf("got %+v, %t, %v of a certificate without it", got, found, err)
	}
	if got, found, err := svidext.Of(certificate(t, good), "1.3.6.1.4.1.32473.1.2"); err != nil || found || got.Attested {
		t.Errorf("got %+v, %t, %v under another name", got, found, err)
	}
	bad := pkix.Extension{Id: oid, Value: []byte{5, 0}}
	if got, found, err := svidext.Of(certificate(t, bad), svidext.DefaultOID); err == nil || !found || got.Attested {
		t.Errorf("got %+v, %t, %v of one that cannot be read", got, found, err)
	}
	twice := certificate(t, good)
	for _, one := range twice.Extensions {
		if one.Id.Equal(oid) {
			twice.Extensions = append(twice.Extensions, one) // x509 would not read it
			break
		}
	}
	if got, _, err := svidext.Of(twice, svidext.DefaultOID); err == nil || got.Attested {
		t.Errorf("got %+v, %v of two", got, err)
	}
	if _, _, err := svidext.Of(certificate(t, good), "x"); err == nil {
		t.Error("a name that is no OID finds something")
	}
}

func TestOIDs(t *testing.T) {
	for text, fine := range map[string]bool{
		svidext.DefaultOID: true, "1.2.3.4": true, "2.999.1.1": true,
		"": false, "1": false, "1.2.3": false, "1.2.3.": false, "1..2.3": false, "3.1.1.1": false, "1.40.1.1": false,
		"1.2.3.04": false, "1.2.3.-4": false, "1.2.3.2147483648": false, "1.2.3.+4": false, " 1.2.3.4": false,
		"2.25.329800735698586629295641978511506172918": false, // Go cannot read certificates with it
		strings.Repeat("1.", 20) + "1":                 false,
	} {
		if _, err := svidext.ParseOID(text); (err == nil) != fine {
			t.Errorf("%q: got %v, want it to pass: %t", text, err, fine)
		}
	}
}

// FuzzParse: whatever is read is written the same again, and within its range.
func FuzzParse(f *testing.F) {
	f.Add(marshal(f, full()))
	f.Add(marshal(f, svidext.Info{}))
	f.Fuzz(func(t *testing.T, der []byte) {
		info, err := svidext.Parse(der)
		if err != nil {
			if info != (svidext.Info{}) {
				t.Fatalf("%+v beside an error", info)
			}
			return
		}
		again, err := info.Marshal()
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x is read as %+v and written as %x, %v", der, info, again, err)
		}
	})
}
