package sevsnp_test

import (
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// authorities are made once for all tests: 4096-bit RSA keys take seconds.
var authorities = sync.OnceValues(func() (map[string]*forge.AMD, error) {
	out := map[string]*forge.AMD{}
	for name, config := range map[string]forge.AMDConfig{
		"Milan": {Line: "Milan"}, "Genoa": {Line: "Genoa"}, "Turin": {Line: "Turin"},
		"old ASVK": {Line: "Milan", EditASVK: func(c *x509.Certificate) {
			c.NotAfter = forge.AMDTime.AddDate(0, -1, 0)
		}},
		"ASVK of another line's name": {Line: "Milan", EditASVK: func(c *x509.Certificate) {
			c.Subject = forge.AMDName("SEV-VLEK-Milan2")
		}},
		"ASVK named as an ASK": {Line: "Milan", EditASVK: func(c *x509.Certificate) {
			c.Subject = forge.AMDName("SEV-Milan")
		}},
		"impostor": {Line: "Milan", Impostor: true},
		"old ASK": {Line: "Milan", EditASK: func(c *x509.Certificate) {
			c.NotAfter = forge.AMDTime.AddDate(0, -1, 0)
		}},
		"ASK for lists": {Line: "Milan", EditASK: func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageCRLSign
		}},
	} {
		authority, err := forge.NewAMD(config)
		if err != nil {
			return nil, err
		}
		out[name] = authority
	}
	return out, nil
})

func authority(t testing.TB, name string) *forge.AMD {
	t.Helper()
	all, err := authorities()
	if err != nil {
		t.Fatal(err)
	}
	return all[name]
}

// forgedVerifier trusts the test authorities of all lines.
func forgedVerifier(t testing.TB) *sevsnp.Verifier {
	t.Helper()
	v, err := sevsnp.New(sevsnp.Config{InsecureRoots: []*x509.Certificate{
		authority(t, "Milan").ARK, authority(t, "Genoa").ARK, authority(t, "Turin").ARK,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// scene is forged evidence in the making; a row of a test changes it before it is built.
type scene struct {
	t      testing.TB
	report forge.SNPReport
	// raw changes the report before it is signed, sent after.
	raw  func([]byte)
	sent func([]byte) []byte
	// vcek changes the certificate that goes with the report.
	vcek func(*forge.VCEKConfig)
	// cloud makes the report one that this cloud's VLEK signed.
	cloud string
	// product stands in the VCEK; issuer signs it.
	product, issuer string
	// given makes the endorsements of VCEK and ASK, or VLEK and ASVK.
	given  func(vcek forge.VCEK, ask []byte) [][]byte
	at     time.Time
	demand attestd.Demand
	// table follows the report where it is set; changeTable spoils it.
	table       *[]byte
	changeTable func([]byte) []byte
}

func newScene(t testing.TB, product string, version uint32) *scene {
	// The names that AMD's KDS puts into VCEKs of these products.
	line, named := product, product
	switch product {
	case "Milan", "Milan-X":
		line, named = "Milan", "Milan-B0"
	case "Bergamo", "Genoa-X":
		line, named = "Genoa", "Genoa"
	case "Turin-Dense":
		line, named = "Turin", "Turin"
	}
	return &scene{
		t: t, report: forge.NewSNPReport(product, version), product: named, issuer: line,
		raw: func([]byte) {}, sent: func(b []byte) []byte { return b },
		vcek:  func(*forge.VCEKConfig) {},
		given: func(vcek forge.VCEK, ask []byte) [][]byte { return [][]byte{ask, vcek.DER} },
		at:    forge.AMDTime, demand: attestd.Recorded(),
	}
}

// build returns the input, and the VCEK that it was signed with.
func (s *scene) build() (attestd.Input, forge.VCEK) {
	s.t.Helper()
	from := authority(s.t, s.issuer)
	config, issue, above := s.report.VCEKConfig(s.product), from.IssueVCEK, from.ASK
	if s.cloud != "" {
		s.report = s.report.WithVLEK()
		config, issue, above = s.report.VLEKConfig(s.product, s.cloud), from.IssueVLEK, asvk(s.t, from)
	}
	s.vcek(&config)
	vcek, err := issue(config)
	if err != nil {
		s.t.Fatal(err)
	}
	raw := s.report.Bytes()
	s.raw(raw)
	evidence, err := forge.SignSNP(raw, vcek.Key)
	if err != nil {
		// A key that cannot sign reports: the certificate will be refused before it matters.
		evidence = raw
		evidence[672], evidence[672+72] = 1, 1
	}
	given := s.given(vcek, above.Raw)
	evidence = s.sent(evidence)
	if s.table != nil {
		if s.changeTable != nil {
			*s.table = s.changeTable(*s.table)
		}
		evidence = append(evidence, *s.table...)
	}
	return attestd.Input{
		Evidence: evidence, At: s.at, Demand: s.demand,
		Endorsements: attestd.Endorsements{Certificates: given},
	}, vcek
}

func asvk(t testing.TB, from *forge.AMD) *x509.Certificate {
	t.Helper()
	cert, err := from.ASVK()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (s *scene) verify(v *sevsnp.Verifier) (*attestd.Claims, error) {
	s.t.Helper()
	input, _ := s.build()
	return v.Verify(input)
}

func fresh(t testing.TB, nonce []byte) attestd.Demand {
	t.Helper()
	demand, err := attestd.Fresh(nonce)
	if err != nil {
		t.Fatal(err)
	}
	return demand
}

func TestForgedGoodEvidenceIsAccepted(t *testing.T) {
	v := forgedVerifier(t)
	for _, row := range []struct {
		product string
		version uint32
		summary string
	}{
		{"Milan", 2, "Milan, report v2"}, {"Milan", 3, "Milan, report v3"},
		{"Milan", 4, "Milan, report v4"}, {"Milan", 5, "Milan, report v5"},
		{"Genoa", 2, "Genoa, report v2"}, {"Genoa", 3, "Genoa, report v3"},
		{"Milan-X", 3, "Milan-X, report v3"}, {"Genoa-X", 3, "Genoa-X, report v3"},
		{"Bergamo", 3, "Bergamo or Siena, report v3"}, {"Bergamo", 5, "Bergamo or Siena, report v5"},
		{"Turin", 3, "Turin, report v3"}, {"Turin", 5, "Turin, report v5"}, // neg: 102
		{"Turin-Dense", 5, "Turin-Dense, report v5"}, // neg: 103
	} {
		t.Run(row.summary, func(t *testing.T) {
			claims, err := newScene(t, row.product, row.version).verify(v)
			if err != nil {
				t.Fatal(err)
			}
			if claims.Summary() != row.summary || claims.Product() != row.product {
				t.Errorf("got %q %q", claims.Summary(), claims.Product())
			}
			if !claims.InsecureRoots() {
				t.Error("a root that was loaded by hand must be told")
			}
			host, boot := 0, 0
			for handle := range claims.Handles() {
				switch handle.Kind {
				case attestd.HandleHost:
					host++
				case attestd.HandleBoot:
					boot++
				}
			}
			if host != 1 || boot != 1 {
				t.Errorf("%d host and %d boot handles, want one each", host, boot)
			}
			for register := range claims.Registers() {
				if register.Name != "MEASUREMENT" || register.Algorithm != "SHA384" ||
					len(register.Digest) != 48 {
					t.Errorf("register %v", register)
				}
			}
		})
	}
}

func TestForgedEvidenceIsRefusedWithoutItsRoot(t *testing.T) {
	v := newVerifier(t)
	input, _ := newScene(t, "Milan", 3).build()
	before := v.SignaturesVerified()
	claims, err := v.Verify(input)
	wantFailure(t, claims, err, "sev-snp/chain", attestd.ClassChain) // neg: 108
	if !strings.Contains(err.Error(), "SEV-Milan did not sign") {
		t.Errorf("the reason is not told: %v", err)
	}
	if v.SignaturesVerified() == before {
		t.Error("the names did not fit AMD's, so that no signature was asked: the row shows nothing")
	}
}
