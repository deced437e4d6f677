package sevsnp_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/proto/sevsnp"
	reference "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// stricter are the checks by which mutants are refused here that google/go-sev-guest takes, and why
// that is meant. A row that no mutant needs fails the test, so that the list stays true.
var stricter = map[attestd.CheckID]string{
	"sev-snp/report-layout":     "it does not look at all reserved bytes, nor at what a version lacks",
	"sev-snp/product":           "it falls back to the product that it was given",
	"sev-snp/vcek-profile":      "it does not look at structure version, reserved levels and CA",
	"sev-snp/vcek-product":      "it does not compare product name, issuer and CPUID from version 3 on",
	"sev-snp/vcek-chip-id":      "it compares HWID with the report in validate, not in verify",
	"sev-snp/vcek-tcb":          "it compares levels with the report in validate, not in verify",
	"sev-snp/certificate-table": "it skips over what it does not know in a table",
	"sev-snp/chain":             "it takes any ASK or ARK of the line's names beside the trusted ones",
	"sev-snp/revoked":           "it looks up the ASK alone: neither ASVK, ARK, VCEK nor VLEK",
	"sev-snp/revocation-list":   "it takes parts of lists, lists without a number, and any number",
	"sev-snp/unknown-bits":      "it does not look at all bits of PLATFORM_INFO",
}

// mutantRounds is how many mutants are tried.
func mutantRounds(t testing.TB, standard int) int {
	t.Helper()
	if text := os.Getenv("ATTESTD_MUTANTS"); text != "" {
		count, err := strconv.Atoi(text)
		if err != nil || count < 1 {
			t.Fatalf("ATTESTD_MUTANTS is %q, want a count", text)
		}
		return count
	}
	if testing.Short() {
		return standard / 20
	}
	return standard
}

// mutant is evidence in the making with all that it is judged by.
type mutant struct {
	line    string
	vlek    bool
	report  []byte // as it will be signed
	key     signedKey
	sent    func([]byte) []byte
	at      time.Time
	lists   [][]byte
	entries []forge.SNPTableEntry
}

// describe says what went into a mutant.
func (m mutant) describe(evidence []byte) string {
	return fmt.Sprintf("at %s, VLEK %t, %d lists, table %x, issued by %s\nreport %x\nkey %x", m.at, m.vlek,
		len(m.lists), m.entries, m.key.issuer, evidence, m.key.DER)
}

// signedKey is a certificate and the report that fits it.
type signedKey struct {
	forge.VCEK
	issuer string // line whose authority signed it
}

// mill makes mutants out of parts that are dear to make, and that serve many of them.
type mill struct {
	t     testing.TB
	dice  *rand.Rand
	keys  map[string][]signedKey // by line, VLEKs behind "VLEK"; the first fits its report
	lists map[string][][]byte    // by line; the first two are fresh and revoke nobody of the chain
}

func (m *mill) one(of int) bool { return m.dice.IntN(of) == 0 }

// base is a report that is right, and mostly the key that fits it.
func (m *mill) base() mutant {
	product := []string{"Milan", "Milan", "Genoa", "Milan-X", "Genoa-X"}[m.dice.IntN(5)]
	version := []uint32{2, 3, 3, 4, 5, 5}[m.dice.IntN(6)]
	if version == 2 && product != "Milan" {
		version = 3 // the reference takes a report of version 2 for Milan's
	}
	out := mutant{line: product[:5], at: forge.AMDTime, sent: func(b []byte) []byte { return b }}
	report := forge.NewSNPReport(product, version)
	level := forge.NewSNPReport(out.line, version)
	report.Current, report.Reported = level.Current, level.Reported
	report.Committed, report.Launch = level.Committed, level.Launch
	pool := out.line
	if m.one(5) {
		out.vlek, pool, report = true, out.line+" VLEK", report.WithVLEK()
	}
	out.report, out.key = report.Bytes(), m.keys[pool][0]
	if m.one(4) {
		out.key = m.keys[pool][m.dice.IntN(len(m.keys[pool]))]
	}
	return out
}

// interesting are places of a report with a meaning, and how long each is.
var interesting = [][2]int{
	{0x00, 4}, {0x04, 4}, {0x08, 8}, {0x10, 16}, {0x20, 16}, {0x30, 4}, {0x34, 4}, {0x38, 8},
	{0x40, 8}, {0x48, 4}, {0x4c, 4}, {0x50, 64}, {0x90, 48}, {0xc0, 32}, {0xe0, 48}, {0x110, 48},
	{0x140, 32}, {0x160, 32}, {0x180, 8}, {0x188, 3}, {0x18b, 21}, {0x1a0, 64}, {0x1e0, 8},
	{0x1e8, 4}, {0x1ec, 4}, {0x1f0, 8}, {0x1f8, 8}, {0x200, 8}, {0x208, 152},
}

func (m *mill) field(out *mutant) {
	place := interesting[m.dice.IntN(len(interesting))]
	field := out.report[place[0] : place[0]+place[1]]
	switch at := m.dice.IntN(len(field)); m.dice.IntN(5) {
	case 0:
		field[at] ^= 1 << m.dice.IntN(8)
	case 1:
		field[at] = byte(m.dice.IntN(256))
	case 2:
		clear(field)
	case 3:
		for index := range field {
			field[index] = byte(m.dice.IntN(256))
		}
	default:
		field[at] += byte(1 + m.dice.IntN(3))
	}
}

// free are fields that a verifier only passes on: the report stays as good as it was.
func (m *mill) free(out *mutant) {
	place := [][2]int{{0x04, 4}, {0x10, 32}, {0x50, 64}, {0x90, 80}, {0x140, 32}}[m.dice.IntN(5)]
	for index := range place[1] {
		out.report[place[0]+index] = byte(m.dice.IntN(256))
	}
}

func (m *mill) spoilSent(out *mutant) {
	bit, kind := m.dice.IntN(8*1184), m.dice.IntN(4)
	out.sent = func(report []byte) []byte {
		switch kind {
		case 0: // the other of the two signatures that everyone can make of one
			field := report[672+72 : 672+72+48]
			slices.Reverse(field)
			other := new(big.Int).Sub(elliptic.P384().Params().N, new(big.Int).SetBytes(field))
			other.FillBytes(field)
			slices.Reverse(field)
		case 1:
			report[672+48+bit%24] = 1
		default:
			report[bit/8] ^= 1 << (bit % 8)
		}
		return report
	}
}

func (m *mill) time(out *mutant) {
	out.at = forge.AMDTime.Add([]time.Duration{
		-4 * 365 * 24 * time.Hour, -300 * 24 * time.Hour, 300 * 24 * time.Hour,
		5 * 365 * 24 * time.Hour, time.Duration(m.dice.IntN(100*24)) * time.Hour,
	}[m.dice.IntN(5)])
}

func (m *mill) list(out *mutant) {
	pool := m.lists[out.line]
	if out.lists = [][]byte{pool[m.dice.IntN(2)]}; m.one(2) {
		out.lists[0] = pool[m.dice.IntN(len(pool))]
	}
	if m.one(12) {
		out.lists[0] = flipped(out.lists[0], m.dice.IntN(len(out.lists[0])))
	}
}

func (m *mill) table(out *mutant) {
	from := authority(m.t, out.line)
	if m.one(8) {
		from = authority(m.t, []string{"impostor", "Genoa"}[m.dice.IntN(2)])
	}
	guid := forge.GUIDVCEK
	if out.vlek {
		guid = forge.GUIDVLEK
	}
	out.entries = []forge.SNPTableEntry{{GUID: guid, Data: out.key.DER}}
	if m.one(2) {
		out.entries = append(out.entries, forge.SNPTableEntry{GUID: forge.GUIDARK, Data: from.ARK.Raw})
		if !out.vlek {
			out.entries = append(out.entries, forge.SNPTableEntry{GUID: forge.GUIDASK, Data: from.ASK.Raw})
		}
	}
	if m.one(8) {
		out.entries = append(out.entries, forge.SNPTableEntry{
			GUID: "00112233445566778899aabbccddeeff", Data: []byte("nobody knows this"),
		})
	}
	m.dice.Shuffle(len(out.entries), func(i, k int) {
		out.entries[i], out.entries[k] = out.entries[k], out.entries[i]
	})
}

func (m *mill) next() mutant {
	out := m.base()
	for range m.dice.IntN(3) {
		[]func(*mutant){m.field, m.free, m.free, m.list, m.list, m.time, m.table}[m.dice.IntN(7)](&out)
	}
	if m.one(10) {
		m.spoilSent(&out)
	}
	return out
}

// newMill makes the parts: count certificates of each kind, most of them not quite right, and lists.
func newMill(t testing.TB, count int) *mill {
	t.Helper()
	m := &mill{t: t, dice: rand.New(rand.NewPCG(20261123, 6)),
		keys: map[string][]signedKey{}, lists: map[string][][]byte{}}
	for _, line := range []string{"Milan", "Genoa"} {
		for index := range count {
			m.keys[line] = append(m.keys[line], m.newKey(line, false, index))
			m.keys[line+" VLEK"] = append(m.keys[line+" VLEK"], m.newKey(line, true, index))
		}
		for _, config := range listConfigs(t) {
			m.lists[line] = append(m.lists[line], list(t, line, config))
		}
	}
	return m
}

func (m *mill) newKey(line string, vlek bool, index int) signedKey {
	report := forge.NewSNPReport(line, 3)
	product := map[string]string{"Milan": "Milan-B0", "Genoa": "Genoa"}[line]
	config := report.VCEKConfig(product)
	if vlek {
		config = report.VLEKConfig(line, "a cloud") // without a stepping
	}
	from := line
	if index > 0 {
		m.certificate(&config, &from, index)
	}
	issue := authority(m.t, from).IssueVCEK
	if vlek {
		issue = authority(m.t, from).IssueVLEK
	}
	key, err := issue(config)
	if err != nil {
		m.t.Fatal(err)
	}
	if index%16 == 15 {
		key.DER = flipped(key.DER, m.dice.IntN(len(key.DER)))
	}
	return signedKey{key, from}
}

// certificate changes one thing of a certificate that is signed afterwards.
func (m *mill) certificate(config *forge.VCEKConfig, from *string, index int) {
	edit := func(change func(*x509.Certificate)) { config.Edit = change }
	switch index % 14 {
	case 0:
		config.TCB[m.dice.IntN(4)]++
	case 1:
		config.TCB[m.dice.IntN(4)] = byte(m.dice.IntN(256))
	case 2:
		if len(config.HWID) > 0 {
			config.HWID[m.dice.IntN(len(config.HWID))] ^= 1
		}
	case 3:
		config.Product = []string{"Milan", "Genoa-B1", "Turin", "Milan-B0x", "", "Milan-C9"}[m.dice.IntN(6)]
	case 4:
		config.StructVersion = byte(1 + m.dice.IntN(2))
	case 5:
		config.Reserved = 1
	case 6:
		config.Omit = []string{"1", "2", "3.1", "3.2", "3.3", "3.4", "3.8", "4", "5"}[m.dice.IntN(9)]
	case 7:
		*from = []string{"impostor", "Milan", "Genoa"}[m.dice.IntN(3)]
	case 8:
		edit(func(c *x509.Certificate) { c.NotAfter = forge.AMDTime.AddDate(0, 0, -1) })
	case 9:
		edit(func(c *x509.Certificate) { c.NotBefore = forge.AMDTime.AddDate(0, 0, 1) })
	case 10:
		edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	case 11:
		edit(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS })
	case 12:
		edit(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(int64(1 + m.dice.IntN(1000))) })
	default:
		edit(func(c *x509.Certificate) { c.Subject.ExtraNames = c.Subject.ExtraNames[:3] })
	}
}

// listConfigs are lists, the first two of which are good.
func listConfigs(t testing.TB) []forge.AMDCRLConfig {
	t.Helper()
	now := forge.AMDTime
	extra := func(arc int, critical bool) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.ExtraExtensions = extraExtension(arc, critical) }
	}
	return []forge.AMDCRLConfig{
		{Number: 6}, {Number: 7, Serials: []int64{77, 0x020001}},
		{Serials: []int64{forge.SerialASK}}, {Serials: []int64{5, forge.SerialASVK}},
		{Serials: []int64{0}}, {Serials: []int64{forge.SerialARK}}, {Serials: []int64{500}},
		{At: now.AddDate(-2, 0, 0)}, {At: now.AddDate(-1, 0, -1)}, {At: now.AddDate(0, 0, 1)},
		{Signer: authority(t, "impostor")}, {Rewrite: withoutNext},
		{Edit: extra(27, true)}, {Edit: extra(27, false)}, {Edit: extra(28, true)},
		{Edit: extra(99, true)}, {Edit: extra(99, false)},
		{Edit: func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.SHA512WithRSAPSS }},
	}
}

// askGuarded asks the reference about a mutant, with fresh options, roots and bytes: it writes to
// them, and it panics on some chains.
func (m *mill) askGuarded(out mutant, evidence []byte) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	attestation := &sevsnp.Attestation{CertificateChain: &sevsnp.CertificateChain{}}
	if out.entries == nil {
		attestation.Report, err = abi.ReportToProto(bytes.Clone(evidence))
	} else {
		attestation, err = abi.ReportCertsToProto(bytes.Clone(evidence))
	}
	if err != nil {
		return err
	}
	chain := attestation.GetCertificateChain()
	from := authority(m.t, out.line)
	asvk, err := from.ASVK()
	if err != nil {
		return err
	}
	switch der := bytes.Clone(out.key.DER); {
	case out.vlek && len(chain.VlekCert) == 0:
		chain.VlekCert = der
	case !out.vlek && len(chain.VcekCert) == 0:
		chain.VcekCert = der
	}
	roots := map[string][]*trust.AMDRootCerts{}
	for _, line := range []string{"Milan", "Genoa"} {
		from := authority(m.t, line)
		asvk, err := from.ASVK()
		if err != nil {
			return err
		}
		root := trust.AMDRootCertsProduct(line)
		root.ProductCerts = &trust.ProductCerts{Ask: from.ASK, Asvk: asvk, Ark: from.ARK}
		if out.vlek {
			root.ProductCerts.Ask = asvk // it looks up the ASK, whoever issued
		}
		if len(out.lists) > 0 {
			if root.CRL, err = x509.ParseRevocationList(bytes.Clone(out.lists[0])); err != nil {
				return err
			}
		}
		roots[line] = []*trust.AMDRootCerts{root}
	}
	if len(chain.AskCert) == 0 {
		if chain.AskCert = from.ASK.Raw; out.vlek {
			chain.AskCert = asvk.Raw
		}
	}
	if len(chain.ArkCert) == 0 {
		chain.ArkCert = from.ARK.Raw
	}
	name := map[string]sevsnp.SevProduct_SevProductName{
		"Milan": sevsnp.SevProduct_SEV_PRODUCT_MILAN, "Genoa": sevsnp.SevProduct_SEV_PRODUCT_GENOA,
	}[out.line]
	return reference.SnpAttestation(attestation, &reference.Options{
		DisableCertFetching: true, Now: out.at, TrustedRoots: roots,
		CheckRevocations: len(out.lists) > 0, Getter: noNetwork{},
		Product: &sevsnp.SevProduct{Name: name},
	})
}

// noNetwork answers nothing.
type noNetwork struct{}

func (noNetwork) Get(string) ([]byte, error) { return nil, errors.New("there is no network") }

// TestMutantsAgainstGoSevGuest: whatever is accepted here, go-sev-guest accepts, too. Mutants are
// signed again after they were changed, so that what is compared is what a verifier reads and not that
// it verifies a signature. ATTESTD_MUTANTS sets their number.
func TestMutantsAgainstGoSevGuest(t *testing.T) {
	rounds := mutantRounds(t, 10_000)
	m := newMill(t, 32+rounds/1000)
	v := forgedVerifier(t)
	both, neither, wrong, unread, later, stepped := 0, 0, 0, 0, 0, 0
	differ := map[attestd.CheckID]int{}
	for round := range rounds {
		out := m.next()
		evidence, err := forge.SignSNP(out.report, out.key.Key)
		if err != nil {
			t.Fatal(err)
		}
		evidence = out.sent(evidence)
		input := attestd.Input{At: out.at, Demand: attestd.Recorded()}
		input.Endorsements = m.endorsements(out)
		input.Evidence = evidence
		if out.entries != nil {
			input = behindReport(t, input, out.entries...)
		}
		claims, err := v.Verify(input)
		check, ours := judged(len(out.lists) > 0, claims, err)
		theirs := m.askGuarded(out, input.Evidence)
		switch {
		case ours == nil && theirs == nil:
			both++
		case ours != nil && theirs != nil:
			neither++
		case ours == nil && beyond(out):
			unread++
		case ours == nil && strings.Contains(theirs.Error(), "unknown product name (new stepping"):
			stepped++ // it has a list of steppings; AMD's signature over one is enough here
		case ours == nil && listedLater(t, out):
			later++
		case ours == nil:
			if wrong++; wrong <= 5 {
				t.Errorf("mutant %d of %s is accepted here, and go-sev-guest says: %v (%s)", round,
					out.line, theirs, out.describe(input.Evidence))
			}
		default:
			if stricter[check] == "" {
				t.Errorf("mutant %d of %s is refused here alone: %v\n%x", round, out.line, ours, out.key.DER)
			}
			differ[check]++
		}
	}
	t.Logf("%d mutants: both accept %d, both refuse %d, not of its products %d, of steppings that it "+
		"does not know %d, with a list from after the time %d", rounds, both, neither, unread, stepped, later)
	for check, why := range stricter {
		t.Logf("%6d refused here alone by %s: %s", differ[check], check, why)
		if differ[check] == 0 && rounds >= 10_000 {
			t.Errorf("no mutant is refused here alone by %s", check)
		}
	}
	if both < rounds/10 || neither < rounds/10 {
		t.Error("the mutants are too good or too bad to show anything")
	}
}
