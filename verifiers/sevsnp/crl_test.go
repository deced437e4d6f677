package sevsnp_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// turinAuthority stands beside the authorities of the other lines.
var turinAuthority = sync.OnceValues(func() (*forge.AMD, error) {
	return forge.NewAMD(forge.AMDConfig{Line: "Turin"})
})

func lineAuthority(t testing.TB, line string) *forge.AMD {
	t.Helper()
	if line != "Turin" {
		return authority(t, line)
	}
	made, err := turinAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// listVerifier trusts the test authorities of all lines.
func listVerifier(t testing.TB) *sevsnp.Verifier {
	t.Helper()
	var roots []*x509.Certificate
	for _, line := range []string{"Milan", "Genoa", "Turin"} {
		roots = append(roots, lineAuthority(t, line).ARK)
	}
	v, err := sevsnp.New(sevsnp.Config{InsecureRoots: roots})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// signedReport returns good evidence of a line without lists, signed by a VCEK, or by a VLEK with
// this serial number where it is not zero.
func signedReport(t testing.TB, line string, vlek int64) attestd.Input {
	t.Helper()
	from := lineAuthority(t, line)
	report := forge.NewSNPReport(line, 5)
	product := map[string]string{"Milan": "Milan-B0", "Genoa": "Genoa", "Turin": "Turin"}[line]
	issuer, issue, config := from.ASK, from.IssueVCEK, report.VCEKConfig(product)
	if vlek != 0 {
		report = report.WithVLEK()
		asvk, err := from.ASVK()
		if err != nil {
			t.Fatal(err)
		}
		issuer, issue, config = asvk, from.IssueVLEK, report.VLEKConfig(line, "a cloud")
		config.Edit = func(c *x509.Certificate) { c.SerialNumber = big.NewInt(vlek) }
	}
	key, err := issue(config)
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := forge.SignSNP(report.Bytes(), key.Key)
	if err != nil {
		t.Fatal(err)
	}
	return attestd.Input{
		Evidence: evidence, At: forge.AMDTime, Demand: attestd.Recorded(),
		Endorsements: endorsed(key.DER, issuer.Raw),
	}
}

func list(t testing.TB, line string, config forge.AMDCRLConfig) []byte {
	t.Helper()
	der, err := lineAuthority(t, line).CRL(config)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// extended makes a list with one more extension.
func extended(t testing.TB, arc int, critical bool, value []byte) []byte {
	t.Helper()
	return list(t, "Milan", forge.AMDCRLConfig{Edit: func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, arc}, Critical: critical, Value: value}}
	}})
}

// floor is what was seen of a line's lists before.
func floor(t testing.TB, line string, number ...byte) attestd.CRLFloor {
	t.Helper()
	return attestd.CRLFloor{
		Issuer: sha256.Sum256(lineAuthority(t, line).ARK.RawSubjectPublicKeyInfo), Number: number,
	}
}

// publishedList returns AMD's own list of a line, as it was recorded.
func publishedList(t testing.TB, vector string) []byte {
	t.Helper()
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range corpus.Format(attestd.FormatSEVSNP) {
		if found.Name == "sev-snp/"+vector && len(found.Endorsements.CRLs) == 1 {
			return found.Endorsements.CRLs[0]
		}
	}
	if os.Getenv(testvectors.ExtraVariable) != "" {
		t.Fatalf("vector %s has no list", vector)
	}
	t.Skip("its module is not in the module cache")
	return nil
}

func wantFact(t testing.TB, claims *attestd.Claims, name, want string) {
	t.Helper()
	if value, ok := claims.Fact(name); !ok || value.String() != want {
		t.Errorf("%s is %q, want %q", name, value, want)
	}
}

// TestRevocationListsThatAreTaken has lists that leave the evidence accepted, and what they show.
func TestRevocationListsThatAreTaken(t *testing.T) {
	now := forge.AMDTime
	fresh := list(t, "Milan", forge.AMDCRLConfig{Number: 6})
	old := list(t, "Milan", forge.AMDCRLConfig{Number: 5, At: now.AddDate(-3, 0, 0)})
	early := list(t, "Milan", forge.AMDCRLConfig{Number: 9, At: now.AddDate(0, 0, 1)})
	genoa := list(t, "Genoa", forge.AMDCRLConfig{Serials: []int64{forge.SerialASK, 0}})
	for name, row := range map[string]struct {
		crls   [][]byte
		floors []attestd.CRLFloor
		state  string
		number string
	}{
		"none": {nil, nil, "missing", "not visible"},
		"none, and a floor": {
			nil, []attestd.CRLFloor{floor(t, "Milan", 6)}, "missing", "not visible",
		},
		"one":                      {[][]byte{fresh}, nil, "fresh", "6"},
		"one, twice":               {[][]byte{fresh, bytes.Clone(fresh)}, nil, "fresh", "6"},
		"another line's alone":     {[][]byte{genoa}, nil, "missing", "not visible"},
		"another line's beside it": {[][]byte{genoa, fresh}, nil, "fresh", "6"},
		"at its floor": {
			[][]byte{fresh}, []attestd.CRLFloor{floor(t, "Milan", 6)}, "fresh", "6",
		},
		"above its floor": {
			[][]byte{fresh}, []attestd.CRLFloor{floor(t, "Milan", 5)}, "fresh", "6",
		},
		"a floor of another root": {
			[][]byte{fresh}, []attestd.CRLFloor{{Issuer: [32]byte{1}, Number: []byte{7}}},
			"fresh", "6",
		},
		"an old one beside the new": {
			[][]byte{old, fresh}, []attestd.CRLFloor{floor(t, "Milan", 6)}, "fresh", "6",
		},
		"at a floor with zeros": {
			[][]byte{fresh}, []attestd.CRLFloor{floor(t, "Milan", 0, 6)}, "fresh", "6",
		},
		"an old one":                {[][]byte{old}, nil, "stale", "5"},
		"one from after the time":   {[][]byte{early}, nil, "fresh", "9"},
		"an old and a later one":    {[][]byte{old, early}, nil, "fresh", "9"},
		"a later one and one of it": {[][]byte{early, fresh}, nil, "fresh", "9"},
		"one from after the ASK's end": {
			[][]byte{list(t, "Milan", forge.AMDCRLConfig{At: lineAuthority(t, "Milan").
				ASK.NotAfter.Add(time.Second)})}, nil, "stale", "1",
		},
		"one that revokes others": {
			[][]byte{list(t, "Milan", forge.AMDCRLConfig{Serials: []int64{77, 0x020001}})},
			nil, "fresh", "1",
		},
		"one that is due at this second": {
			[][]byte{list(t, "Milan", forge.AMDCRLConfig{At: now.AddDate(-1, 0, 0)})},
			nil, "fresh", "1",
		},
		"one that was due a second ago": { // neg: 106
			[][]byte{list(t, "Milan",
				forge.AMDCRLConfig{At: now.AddDate(-1, 0, 0).Add(-time.Second)})},
			nil, "stale", "1",
		},
		"one that never says when the next is due": {
			[][]byte{list(t, "Milan", forge.AMDCRLConfig{Rewrite: withoutNext})}, nil, "stale", "1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			input := signedReport(t, "Milan", 0)
			input.Endorsements.CRLs, input.Anchors.CRLFloors = row.crls, row.floors
			v := listVerifier(t)
			for range 2 { // the second time from the cache
				claims, err := v.Verify(input)
				if err != nil {
					t.Fatal(err)
				}
				wantFact(t, claims, "crl", row.state)
				wantFact(t, claims, "crl_stale", fmt.Sprint(row.state == "stale"))
				wantFact(t, claims, "crl_number", row.number)
			}
		})
	}
	input := signedReport(t, "Milan", 0)
	input.Endorsements.CRLs = [][]byte{fresh}
	claims, err := listVerifier(t).Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	wantFact(t, claims, "crl_next_update", "2025-12-01T12:00:00Z")
}

// withoutNext takes nextUpdate away, the second of two times.
func withoutNext(tbs []byte) []byte {
	return slices.Delete(tbs, bytes.LastIndex(tbs, []byte{asn1.TagUTCTime, 13}),
		bytes.LastIndex(tbs, []byte{asn1.TagUTCTime, 13})+15)
}

func flipped(der []byte, at int) []byte {
	out := bytes.Clone(der)
	out[at] ^= 1
	return out
}

func fiveLists(t testing.TB) [][]byte {
	t.Helper()
	out := make([][]byte, 5)
	for index := range out {
		out[index] = list(t, "Milan", forge.AMDCRLConfig{Number: int64(index + 1)})
	}
	return out
}

// behindReport puts a table behind the report.
func behindReport(t testing.TB, input attestd.Input, entries ...forge.SNPTableEntry) attestd.Input {
	t.Helper()
	table, err := forge.SNPTable(entries...)
	if err != nil {
		t.Fatal(err)
	}
	input.Evidence = slices.Concat(input.Evidence, table)
	return input
}

// TestAListInTheTable is read like one that was given, and must be the ARK's: nobody else vouches
// for these bytes of the evidence.
func TestAListInTheTable(t *testing.T) {
	good := list(t, "Milan", forge.AMDCRLConfig{Number: 4})
	armoured := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: good})
	wrong := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good})
	for name, row := range map[string]struct {
		data  []byte
		check attestd.CheckID
		class attestd.Class
	}{
		"in DER":                  {good, "", ""},
		"in PEM":                  {armoured, "", ""},
		"in PEM of a certificate": {wrong, "sev-snp/certificate-table", attestd.ClassMalformed},
		"of another line": {
			list(t, "Genoa", forge.AMDCRLConfig{}),
			"sev-snp/revocation-list", attestd.ClassCollateralInvalid,
		},
		"made up": {list(t, "Milan", forge.AMDCRLConfig{Signer: authority(t, "impostor")}),
			"sev-snp/revocation-list", attestd.ClassCollateralInvalid},
		"no list": {[]byte{0x30, 0}, "sev-snp/revocation-list", attestd.ClassCollateralInvalid},
		"one that revokes": {
			list(t, "Milan", forge.AMDCRLConfig{Serials: []int64{forge.SerialASK}}),
			"sev-snp/revoked", attestd.ClassRevokedCert},
	} {
		t.Run(name, func(t *testing.T) {
			input := behindReport(t, signedReport(t, "Milan", 0),
				forge.SNPTableEntry{GUID: forge.GUIDCRL, Data: row.data})
			claims, err := listVerifier(t).Verify(input)
			if row.check != "" {
				wantFailure(t, claims, err, row.check, row.class)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantFact(t, claims, "crl", "fresh")
			wantFact(t, claims, "crl_number", "4")
		})
	}
	// What the table holds and what was given count together.
	input := behindReport(t, signedReport(t, "Milan", 0),
		forge.SNPTableEntry{GUID: forge.GUIDCRL, Data: good})
	input.Endorsements.CRLs = [][]byte{list(t, "Milan", forge.AMDCRLConfig{
		Number: 5, Serials: []int64{forge.SerialASK}})}
	claims, err := listVerifier(t).Verify(input)
	wantFailure(t, claims, err, "sev-snp/revoked", attestd.ClassRevokedCert)
	for at := range good {
		input := behindReport(t, commonReport(t),
			forge.SNPTableEntry{GUID: forge.GUIDCRL, Data: good})
		input.Evidence[1184+48+at] ^= 1
		if claims, err := commonVerifier(t).Verify(input); err == nil || claims != nil {
			t.Errorf("byte %d of the table's list may be another", at)
		}
	}
}

// One report and one verifier serve the bit changes.
var (
	oneReport   sync.Once
	oneInput    attestd.Input
	oneVerifier *sevsnp.Verifier
)

func commonReport(t testing.TB) attestd.Input {
	oneReport.Do(func() { oneInput, oneVerifier = signedReport(t, "Milan", 0), listVerifier(t) })
	return oneInput
}

func commonVerifier(t testing.TB) *sevsnp.Verifier {
	commonReport(t)
	return oneVerifier
}

// TestAMDsListBesideALaboratorys: where a root was loaded by hand, AMD's own list of the same name
// is no forgery, and it says nothing of the laboratory's chain.
func TestAMDsListBesideALaboratorys(t *testing.T) {
	real := publishedList(t, "openpcc-azure-genoa-v3-crl-of-milan")
	input := signedReport(t, "Milan", 0)
	input.Endorsements.CRLs = [][]byte{real}
	claims, err := listVerifier(t).Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	wantFact(t, claims, "crl", "missing")
}

// TestAListCostsOneSignature counts: a list is verified once, and none is looked at for evidence
// that does not hold.
func TestAListCostsOneSignature(t *testing.T) {
	v, input := listVerifier(t), signedReport(t, "Milan", 0)
	mustVerify(t, v, input)
	input.Endorsements.CRLs = [][]byte{list(t, "Milan", forge.AMDCRLConfig{}),
		list(t, "Genoa", forge.AMDCRLConfig{})}
	for round, want := range []uint64{2, 1, 1} {
		before := v.SignaturesVerified()
		mustVerify(t, v, input)
		if got := v.SignaturesVerified() - before; got != want {
			t.Errorf("round %d: %d signatures, want %d", round, got, want)
		}
	}
	input.Endorsements.CRLs = fiveLists(t)
	input.Evidence = flipped(input.Evidence, 0x90)
	before := v.SignaturesVerified()
	claims, err := v.Verify(input)
	wantFailure(t, claims, err, "sev-snp/signature", attestd.ClassSignature)
	if got := v.SignaturesVerified() - before; got != 1 {
		t.Errorf("%d signatures for a changed report with five lists, want 1", got)
	}
}

// TestALongListCostsNothingAgain gates what 10^5 entries add to a verification: nothing that grows.
func TestALongListCostsNothingAgain(t *testing.T) {
	entries := make([]x509.RevocationListEntry, 100_000)
	for index := range entries {
		serial := make([]byte, 16)
		binary.BigEndian.PutUint64(serial, uint64(index)+1<<62)
		entries[index] = x509.RevocationListEntry{
			SerialNumber: new(big.Int).SetBytes(serial), RevocationTime: forge.AMDTime}
	}
	long := list(t, "Milan", forge.AMDCRLConfig{Edit: func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = entries
	}})
	v, input := listVerifier(t), signedReport(t, "Milan", 0)
	allocations := func(lists ...[]byte) float64 {
		input.Endorsements.CRLs = lists
		mustVerify(t, v, input)
		return testing.AllocsPerRun(10, func() { mustVerify(t, v, input) })
	}
	none, short := allocations(), allocations(list(t, "Milan", forge.AMDCRLConfig{}))
	// The race detector makes one count differ from the next by some; an entry read would be 100,000.
	if many := allocations(long); many > none+12 || short > none+12 {
		t.Errorf("%v allocations without a list, %v with one, %v with one of %d entries",
			none, short, many, len(entries))
	}
}

// extraExtension is an extension of a list with a value that fits it.
func extraExtension(arc int, critical bool) []pkix.Extension {
	value := map[int][]byte{
		27: {2, 1, 1}, 28: {0x30, 9, 0xa0, 7, 0xa0, 5, 0x86, 3, 'u', 'r', 'i'}, 99: {5, 0},
	}[arc]
	return []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, arc}, Critical: critical, Value: value},
	}
}
