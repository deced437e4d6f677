package nitro_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/nitro"
)

// Serial numbers of a forged chain.
const (
	serialRoot = iota + 1
	serialRegional
	serialZonal
	serialInstance
	serialLeaf
)

func listing(t testing.TB, a *forge.AWS, config forge.AWSCRLConfig) []byte {
	t.Helper()
	der, err := a.CRL(config)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func extension(arc int, critical bool, value ...byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, arc}, Critical: critical, Value: value},
		}
	}
}

// pointOf makes a list one for a distribution point alone.
func pointOf(uri string, behind ...byte) func(*x509.RevocationList) {
	name := forge.DER(0xa0, forge.DER(0xa0, forge.DER(0x86, []byte(uri))))
	return extension(28, true, forge.DER(0x30, append(name, behind...))...)
}

// TestRevocationLists has what lists show of a chain, and those that end a verification.
func TestRevocationLists(t *testing.T) {
	a := authority(t, forge.AWSOptions{Alter: forge.AWSPoints})
	stranger := authority(t, forge.AWSOptions{})
	elsewhere := authority(t, forge.AWSOptions{Region: "eu-west-1"})
	list := func(config forge.AWSCRLConfig) []byte { return listing(t, a, config) }
	zonal := func(config forge.AWSCRLConfig) []byte {
		config.Issuer = forge.AWSRegional
		return list(config)
	}
	now := a.At()
	root, region := list(forge.AWSCRLConfig{Number: 6}), zonal(forge.AWSCRLConfig{Number: 3})
	ended := now.AddDate(0, 0, -7)
	old := zonal(forge.AWSCRLConfig{At: ended.Add(-time.Second)})
	floor := func(of *x509.Certificate, number ...byte) []attestd.CRLFloor {
		return []attestd.CRLFloor{
			{Issuer: sha256.Sum256(of.RawSubjectPublicKeyInfo), Number: number},
		}
	}
	many := make([][]byte, 17)
	for index := range many {
		many[index] = list(forge.AWSCRLConfig{Number: int64(index + 1)})
	}
	ca, err := x509.ParseCertificate(a.Bundle()[1])
	if err != nil {
		t.Fatal(err)
	}
	const (
		invalid = attestd.ClassCollateralInvalid
		revoked = attestd.ClassRevokedCert
		large   = attestd.ClassTooLarge
	)
	for name, row := range map[string]struct {
		crls   [][]byte
		floors []attestd.CRLFloor
		state  string
		class  attestd.Class
	}{
		"none":                        {nil, nil, "missing", ""},
		"the root's and the region's": {[][]byte{root, region}, nil, "fresh", ""},
		"each of them twice":          {[][]byte{root, region, root, region}, nil, "fresh", ""},
		"the root's alone":            {[][]byte{root}, nil, "missing", ""},
		"the region's alone":          {[][]byte{region}, nil, "missing", ""},
		"the zone's alone, that no one names": {
			[][]byte{list(forge.AWSCRLConfig{Issuer: forge.AWSZonal})}, nil, "missing", "",
		},
		"another region's beside": {[][]byte{listing(t, elsewhere, forge.AWSCRLConfig{
			Issuer: forge.AWSRegional, Serials: []int64{serialZonal}}), root, region},
			nil, "fresh", ""},
		"one that is due now": {
			[][]byte{root, zonal(forge.AWSCRLConfig{At: ended})}, nil, "fresh", "",
		},
		"one that was due a second ago": {[][]byte{root, old}, nil, "stale", ""},
		"the root's that was due": {
			[][]byte{list(forge.AWSCRLConfig{At: ended.Add(-time.Second)}), region},
			nil, "stale", "",
		},
		"both were due": {
			[][]byte{list(forge.AWSCRLConfig{At: ended.Add(-time.Second)}), old}, nil, "stale", "",
		},
		"an ended one beside a fresh one": {[][]byte{root, old, region}, nil, "fresh", ""},
		"a fresh one beside an ended one": {[][]byte{root, region, old}, nil, "fresh", ""},
		"from after the time": {
			[][]byte{root, zonal(forge.AWSCRLConfig{At: now.AddDate(0, 0, 2)})}, nil, "fresh", "",
		},
		"from after the zone's end": {
			[][]byte{root, zonal(forge.AWSCRLConfig{At: now.AddDate(0, 0, 4)})}, nil, "stale", "",
		},
		"for the point that the zone names": {
			[][]byte{root, zonal(forge.AWSCRLConfig{Edit: pointOf(forge.AWSRegionalPoint)})},
			nil, "fresh", "",
		},
		"for another point": {
			[][]byte{root, zonal(forge.AWSCRLConfig{Edit: pointOf("http://other")})},
			nil, "missing", "",
		},
		"others' serial numbers": {
			[][]byte{root, zonal(forge.AWSCRLConfig{Serials: []int64{serialRoot, serialRegional,
				serialInstance, serialLeaf, 77}})}, nil, "fresh", "",
		},
		"at the floor": {[][]byte{root, region}, floor(a.Root(), 6), "fresh", ""},
		"a floor of somebody else's": {
			[][]byte{root, region}, floor(stranger.Root(), 9), "fresh", "",
		},
		"an old one and one at the floor": {
			[][]byte{list(forge.AWSCRLConfig{Number: 5}), root, region}, floor(a.Root(), 0, 6),
			"fresh", "",
		},
		"a point's number is not the issuer's": {
			[][]byte{root, zonal(forge.AWSCRLConfig{Edit: pointOf(forge.AWSRegionalPoint)})},
			floor(ca, 9), "fresh", "",
		},
		"below the floor":          {[][]byte{root, region}, floor(a.Root(), 7), "", invalid},
		"below the region's floor": {[][]byte{root, region}, floor(ca, 1, 0), "", invalid},
		"the region is revoked": {
			[][]byte{list(forge.AWSCRLConfig{Serials: []int64{serialRegional}})}, nil, "", revoked,
		},
		"the zone is revoked": {
			[][]byte{zonal(forge.AWSCRLConfig{Serials: []int64{5, serialZonal}})}, nil, "", revoked,
		},
		"the instance is revoked": {[][]byte{list(forge.AWSCRLConfig{
			Issuer: forge.AWSZonal, Serials: []int64{serialInstance}})}, nil, "", revoked},
		"the root revoked itself": {
			[][]byte{list(forge.AWSCRLConfig{Serials: []int64{serialRoot}})}, nil, "", revoked,
		},
		"the zone was revoked long ago": {[][]byte{root, region, zonal(forge.AWSCRLConfig{
			At: now.AddDate(-1, 0, 0), Serials: []int64{serialZonal}})}, nil, "", revoked},
		"the zone is revoked in the future": {[][]byte{root, region, zonal(forge.AWSCRLConfig{
			At: now.AddDate(1, 0, 0), Serials: []int64{serialZonal}})}, nil, "", revoked},
		"the zone is revoked for another point": {[][]byte{root, region, zonal(forge.AWSCRLConfig{
			Edit: func(l *x509.RevocationList) {
				pointOf("http://other")(l)
				l.RevokedCertificateEntries = []x509.RevocationListEntry{
					{SerialNumber: big.NewInt(serialZonal), RevocationTime: now}}
			}})}, nil, "", revoked},
		"made up": {[][]byte{list(forge.AWSCRLConfig{Impostor: stranger})}, nil, "", invalid},
		"made up for the region": {
			[][]byte{root, zonal(forge.AWSCRLConfig{Impostor: stranger})}, nil, "", invalid,
		},
		"a changed bit":       {[][]byte{changed(root)}, nil, "", invalid},
		"bytes that are none": {[][]byte{root, {1, 2, 3}}, nil, "", invalid},
		"with SHA-256": {[][]byte{list(forge.AWSCRLConfig{Edit: func(l *x509.RevocationList) {
			l.SignatureAlgorithm = x509.ECDSAWithSHA256
		}})}, nil, "", invalid},
		"by an instance, which may sign none": {
			nil, nil, "", invalid, // see barred
		},
		"a delta": {[][]byte{list(forge.AWSCRLConfig{Edit: extension(27, true, 2, 1, 1)})},
			nil, "", invalid},
		"for CAs alone": {[][]byte{list(forge.AWSCRLConfig{
			Edit: pointOf(forge.AWSRootPoint, 0x82, 1, 0xff)})}, nil, "", invalid},
		"with an unknown critical extension": {
			[][]byte{list(forge.AWSCRLConfig{Edit: extension(99, true, 5, 0)})}, nil, "", invalid,
		},
		"without a number": {[][]byte{list(forge.AWSCRLConfig{Rewrite: withoutNumber})},
			nil, "", invalid},
		"seventeen of the root's": {many, nil, "", large},
		"too many": {slices.Repeat([][]byte{listing(t, elsewhere,
			forge.AWSCRLConfig{Issuer: forge.AWSZonal})}, 257), nil, "", large},
		"seventeen MiB": {[][]byte{make([]byte, 17<<20)}, nil, "", large},
	} {
		t.Run(name, func(t *testing.T) {
			of, crls := a, row.crls
			if name == "by an instance, which may sign none" {
				of, crls = barred(t)
			}
			v := verifier(t, of.Root())
			input := attestd.Input{
				Evidence: document(t, of, forge.Document{}), At: now, Demand: attestd.Recorded(),
			}
			input.Endorsements.CRLs, input.Anchors.CRLFloors = crls, row.floors
			for range 2 { // the second time from the cache
				claims, err := v.Verify(input)
				if row.class == "" {
					if err != nil {
						t.Fatal(err)
					}
					if got, _ := claims.Fact("crl"); got.String() != row.state {
						t.Errorf("crl is %s, want %s", got, row.state)
					}
					continue
				}
				check := attestd.CheckID("nitro/revocation-list")
				if row.class == revoked {
					check = "nitro/revoked"
				}
				var rejected *attestd.EvidenceError
				if claims != nil || !errors.As(err, &rejected) || rejected.Check != check ||
					rejected.Class != row.class {
					t.Errorf("got %v, want %s of class %s", err, check, row.class)
				}
			}
		})
	}
}

// TestListsAreCounted: each once, and those of others not at all.
func TestListsAreCounted(t *testing.T) {
	a := authority(t, forge.AWSOptions{})
	root := listing(t, a, forge.AWSCRLConfig{})
	other := listing(t, authority(t, forge.AWSOptions{Region: "eu-west-1"}),
		forge.AWSCRLConfig{Issuer: forge.AWSZonal})
	for want, lists := range map[string][][]byte{
		"1 of the chain's CAs": {root, other, root},
		"no list of the chain's CAs was given; the policy judges that as crl": {other},
	} {
		input := attestd.Input{
			Evidence: document(t, a, forge.Document{}), At: a.At(), Demand: attestd.Recorded(),
		}
		input.Endorsements.CRLs = lists
		claims, err := verifier(t, a.Root()).Verify(input)
		if err != nil {
			t.Fatal(err)
		}
		for _, check := range claims.Checks() {
			if check.ID == "nitro/revocation-list" && check.Got != want {
				t.Errorf("got %q, want %q", check.Got, want)
			}
		}
	}
}

// barred returns an authority whose instance's certificate has no cRLSign, as published ones, and a
// list that it signed all the same.
func barred(t testing.TB) (*forge.AWS, [][]byte) {
	t.Helper()
	a := authority(t, forge.AWSOptions{Alter: func(role string, c *x509.Certificate) {
		if role == forge.AWSInstance {
			c.KeyUsage = x509.KeyUsageCertSign
		}
	}})
	return a, [][]byte{listing(t, a, forge.AWSCRLConfig{Issuer: forge.AWSInstance})}
}

func changed(raw []byte) []byte {
	out := bytes.Clone(raw)
	out[len(out)-1] ^= 1
	return out
}

// withoutNumber turns the CRL number into an extension that nobody knows.
func withoutNumber(tbs []byte) []byte {
	return bytes.Replace(tbs, []byte{6, 3, 0x55, 0x1d, 20}, []byte{6, 3, 0x55, 0x1d, 99}, 1)
}

// TestAChainWithoutDistributionPoints cannot be fresh: nothing says where its lists would be.
func TestAChainWithoutDistributionPoints(t *testing.T) {
	a := authority(t, forge.AWSOptions{})
	input := attestd.Input{
		Evidence: document(t, a, forge.Document{}), At: a.At(), Demand: attestd.Recorded(),
	}
	input.Endorsements.CRLs = [][]byte{
		listing(t, a, forge.AWSCRLConfig{}),
		listing(t, a, forge.AWSCRLConfig{Issuer: forge.AWSRegional}),
	}
	claims, err := verifier(t, a.Root()).Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := claims.Fact("crl"); got.String() != "missing" {
		t.Errorf("crl is %s", got)
	}
}

// TestAListOfAnotherRootOfTheSameName: where two roots of one name are trusted, the list of one is
// no forgery in the other's name, and it says nothing of the other's chain.
func TestAListOfAnotherRootOfTheSameName(t *testing.T) {
	a, b := authority(t, forge.AWSOptions{}), authority(t, forge.AWSOptions{})
	v := verifier(t, a.Root(), b.Root())
	input := attestd.Input{
		Evidence: document(t, a, forge.Document{}), At: a.At(), Demand: attestd.Recorded(),
	}
	input.Endorsements.CRLs = [][]byte{
		listing(t, b, forge.AWSCRLConfig{Serials: []int64{serialRegional}}),
	}
	if _, err := v.Verify(input); err != nil {
		t.Fatal(err)
	}
	var rejected *attestd.EvidenceError
	if _, err := verifier(t, a.Root()).Verify(input); !errors.As(err, &rejected) ||
		rejected.Check != "nitro/revocation-list" {
		t.Errorf("where the other root is not trusted: %v", err)
	}
}

// TestAListCostsOneSignature counts: a list is verified once, none is looked at for a document that
// does not hold, and a known chain is refused from the first list on that names one of its CAs.
func TestAListCostsOneSignature(t *testing.T) {
	a := authority(t, forge.AWSOptions{Alter: forge.AWSPoints})
	v := verifier(t, a.Root())
	input := attestd.Input{
		Evidence: document(t, a, forge.Document{}), At: a.At(), Demand: attestd.Recorded(),
	}
	made := func(want uint64) (*attestd.Claims, error) {
		t.Helper()
		before := v.SignaturesVerified()
		claims, err := v.Verify(input)
		if got := v.SignaturesVerified() - before; got != want {
			t.Errorf("%d signatures, want %d", got, want)
		}
		return claims, err
	}
	if _, err := made(5); err != nil {
		t.Fatal(err)
	}
	good := [][]byte{
		listing(t, a, forge.AWSCRLConfig{}),
		listing(t, a, forge.AWSCRLConfig{Issuer: forge.AWSRegional}),
	}
	input.Endorsements.CRLs = good
	for _, want := range []uint64{3, 1, 1} {
		if _, err := made(want); err != nil {
			t.Fatal(err)
		}
	}
	allocations := testing.AllocsPerRun(20, func() { _, _ = v.Verify(input) })
	if allocations > warmAllocations+16 {
		t.Errorf("%v allocations with two known lists", allocations)
	}
	input.Endorsements.CRLs = append(slices.Clone(good), listing(t, a, forge.AWSCRLConfig{
		Number: 2, Serials: []int64{serialRegional}}))
	var rejected *attestd.EvidenceError
	if _, err := made(2); !errors.As(err, &rejected) || rejected.Check != "nitro/revoked" {
		t.Errorf("a known chain with its region on a new list: %v", err)
	}
	input.Endorsements.CRLs = [][]byte{listing(t, a, forge.AWSCRLConfig{Number: 9})}
	whole := input.Evidence
	input.Evidence = changed(whole)
	if _, err := made(1); !errors.As(err, &rejected) || rejected.Check != "nitro/signature" {
		t.Errorf("a changed document with a list: %v", err)
	}
	input.Evidence = whole
	if _, err := made(2); err != nil {
		t.Error(err)
	}
}

// TestWhatIsKeptOfAChainIsItsOwn: what a verifier remembers does not change with a caller's bytes.
func TestWhatIsKeptOfAChainIsItsOwn(t *testing.T) {
	a := authority(t, forge.AWSOptions{Alter: forge.AWSPoints})
	root := a.Root()
	v, err := nitro.New(nitro.Config{InsecureRoots: []*x509.Certificate{root}})
	if err != nil {
		t.Fatal(err)
	}
	evidence := document(t, a, forge.Document{})
	first := bytes.Clone(evidence)
	if _, err := v.Verify(attestd.Input{
		Evidence: first, At: a.At(), Demand: attestd.Recorded(),
	}); err != nil {
		t.Fatal(err)
	}
	clear(first)
	input := attestd.Input{Evidence: evidence, At: a.At(), Demand: attestd.Recorded()}
	input.Endorsements.CRLs = [][]byte{
		listing(t, a, forge.AWSCRLConfig{}),
		listing(t, a, forge.AWSCRLConfig{Issuer: forge.AWSRegional}),
	}
	claims, err := v.Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := claims.Fact("crl"); got.String() != "fresh" {
		t.Errorf("crl is %s", got)
	}
}
