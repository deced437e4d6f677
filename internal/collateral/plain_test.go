package collateral_test

//lint:file-ignore SA1019 the old form writes lists that x509.CreateRevocationList refuses to

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

// authorityOf is a CA of any shape, whose key the test has.
type authorityOf struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (a *authorityOf) issue(t *testing.T, name string, usage x509.KeyUsage) *authorityOf {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, KeyUsage: usage, IsCA: true,
		BasicConstraintsValid: true, NotBefore: forge.AMDTime.AddDate(-1, 0, 0), NotAfter: forge.AMDTime.AddDate(5, 0, 0),
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authorityOf{cert, key}
}

func (a *authorityOf) list(t *testing.T, number int64, edit func(*x509.RevocationList)) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: forge.AMDTime.AddDate(0, -1, int(number)),
		NextUpdate: forge.AMDTime.AddDate(0, 6, 0),
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// resigned changes the signed part of a list and signs it again.
func (a *authorityOf) resigned(t *testing.T, der []byte, change func(*pkix.TBSCertificateList)) []byte {
	t.Helper()
	var list struct {
		TBS       pkix.TBSCertificateList
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &list); err != nil {
		t.Fatal(err)
	}
	list.TBS.Raw = nil
	change(&list.TBS)
	body, err := asn1.Marshal(list.TBS)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(body)
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	list.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	if der, err = asn1.Marshal(list); err != nil {
		t.Fatal(err)
	}
	return der
}

// sceneUnder is a scene whose only root besides those that are compiled in is root.
func sceneUnder(t *testing.T, root *authorityOf) *scene {
	t.Helper()
	s := &scene{T: t, now: forge.AMDTime, folder: filepath.Join(t.TempDir(), "c"), only: root.cert}
	s.store = s.open()
	return s
}

const caUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign

// TestListsNeedANumberAnEndAndTheRightSigner: each of these is signed by a key that is trusted for something.
//
// neg: 106
func TestListsNeedANumberAnEndAndTheRightSigner(t *testing.T) {
	ark := (*authorityOf)(nil).issue(t, "ARK-Milan", caUsage)
	ask := ark.issue(t, "SEV-Milan", caUsage)
	numberless := func(list *pkix.TBSCertificateList) {
		list.Extensions = list.Extensions[:1] // the authority's key id
	}
	for name, row := range map[string]struct {
		words string
		der   []byte
	}{
		"no number": {"has no number", ark.resigned(t, ark.list(t, 5, nil), numberless)},
		"no next update": {
			"until when",
			ark.resigned(t, ark.list(t, 5, nil), func(list *pkix.TBSCertificateList) { list.NextUpdate = time.Time{} }),
		},
		"an end before it": {
			"until when",
			ark.resigned(t, ark.list(t, 5, nil), func(list *pkix.TBSCertificateList) { list.NextUpdate = list.ThisUpdate }),
		},
		"an ASK's": {"no root of AMD's", ask.list(t, 5, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			s := sceneUnder(t, ark)
			s.take(ask.cert.Raw)
			s.refuse(row.words, row.der)
			s.take(ark.list(t, 5, nil)) // the row it is made from is good
		})
	}
	mute := (*authorityOf)(nil).issue(t, "ARK-Genoa", x509.KeyUsageCertSign)
	// crypto/x509 makes no list for an issuer without cRLSign: the list is made with it under the same key.
	loud := *mute
	loudCert := *mute.cert
	loudCert.KeyUsage |= x509.KeyUsageCRLSign
	loud.cert = &loudCert
	s := sceneUnder(t, mute)
	s.refuse("not that of", loud.list(t, 5, nil))
}

// TestListsOfTPMMakers: partitioned lists have numbers of their own, and only whole ones make floors.
func TestListsOfTPMMakers(t *testing.T) {
	root := (*authorityOf)(nil).issue(t, "A TPM maker", caUsage)
	middle := root.issue(t, "An intermediate", caUsage)
	stranger := (*authorityOf)(nil).issue(t, "Somebody", caUsage)
	s := sceneUnder(t, root)
	part := func(uri string) func(*x509.RevocationList) {
		return func(list *x509.RevocationList) {
			inner := append([]byte{0x86, byte(len(uri))}, uri...)
			for _, tag := range []byte{0xa0, 0xa0, 0x30} {
				inner = append([]byte{tag, byte(len(inner))}, inner...)
			}
			list.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: inner}}
		}
	}
	s.refuse("is not known", middle.list(t, 1, nil))
	s.refuse("is not known", stranger.list(t, 1, nil))
	s.take(middle.cert.Raw, middle.list(t, 9, nil), middle.list(t, 3, part("http://a/1")), middle.list(t, 2, part("http://a/2")))
	set := s.open().Sets()[attestd.FormatTPM]
	if len(set.CRLs) != 3 || len(set.Certificates) != 1 || len(set.Floors) != 1 || set.Floors[0].Number[0] != 9 {
		t.Errorf("%d lists, %d CAs, floors %v", len(set.CRLs), len(set.Certificates), set.Floors)
	}
	s.refuse("number 1, and 2 was seen", middle.list(t, 1, part("http://a/2")))
	s.take(middle.list(t, 4, part("http://a/2")))
	s.refuse("indirect", middle.list(t, 10, func(list *x509.RevocationList) {
		list.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
	}))
	if found, wanted := s.store.For(attestd.FormatTPM, []byte("evidence")); found != nil || wanted != nil {
		t.Error("a TPM's evidence wants something")
	}
	if outcome := s.take(root.cert.Raw)[0].Outcome; outcome != collateral.Held {
		t.Errorf("the root is %s", outcome)
	}
}

func FuzzScope(f *testing.F) {
	f.Add([]byte{0x30, 8, 0xa0, 6, 0xa0, 4, 0x86, 2, 'a', 'b'})
	f.Add([]byte{0x30, 3, 0x84, 1, 0xff})
	f.Fuzz(func(t *testing.T, value []byte) {
		scope, err := collateral.ReadScope(value)
		if err == nil && scope == "" {
			t.Error("a distribution point without a scope is a list for everything")
		}
	})
}
