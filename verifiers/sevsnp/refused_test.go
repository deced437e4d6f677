package sevsnp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

type refusedRow struct {
	name    string
	product string // Milan where empty
	version uint32 // 3 where zero
	change  func(*scene)
	check   attestd.CheckID
	class   attestd.Class
}

func set(at int, value byte) func(*scene) {
	return func(s *scene) { s.raw = func(b []byte) { b[at] = value } }
}

func sent(change func([]byte) []byte) func(*scene) {
	return func(s *scene) { s.sent = change }
}

func version(value uint32) func(*scene) {
	return func(s *scene) { s.report.Version = value }
}

func cpuid(family, model, stepping byte) func(*scene) {
	return func(s *scene) { s.report.CPUID = [3]byte{family, model, stepping} }
}

// scalar writes a number over R (0) or S (72) after signing.
func scalar(at int, value *big.Int) func(*scene) {
	return sent(func(b []byte) []byte {
		little := value.FillBytes(make([]byte, 72))
		slices.Reverse(little)
		copy(b[672+at:], little)
		return b
	})
}

func reportRows() []refusedRow {
	order := elliptic.P384().Params().N
	return []refusedRow{
		{name: "a report without its last byte", check: "sev-snp/size", class: attestd.ClassMalformed,
			change: sent(func(b []byte) []byte { return b[:1183] })},
		{name: "no bytes at all", check: "sev-snp/size", class: attestd.ClassMalformed,
			change: sent(func([]byte) []byte { return nil })},
		{name: "a report and 65 KiB", check: "sev-snp/size", class: attestd.ClassTooLarge,
			change: sent(func(b []byte) []byte { return append(b, make([]byte, 65<<10)...) })},
		// neg: 101
		{name: "version 0", check: "sev-snp/report-version", class: attestd.ClassUnsupported,
			change: version(0)},
		{name: "version 1", check: "sev-snp/report-version", class: attestd.ClassUnsupported,
			change: version(1)},
		{name: "version 6", check: "sev-snp/report-version", class: attestd.ClassUnsupported,
			change: version(6)},
		{name: "version 0xffffffff", check: "sev-snp/report-version", class: attestd.ClassUnsupported,
			change: version(0xffffffff)},
		{name: "version 3 with CPUID all zero", check: "sev-snp/product", class: attestd.ClassUnsupported,
			change: cpuid(0, 0, 0)},
		{name: "the family's model behind Turin", product: "Turin", check: "sev-snp/product",
			class: attestd.ClassUnsupported, change: cpuid(0x1a, 0x20, 0)}, // neg: 103
		{name: "Venice", product: "Turin", check: "sev-snp/product",
			class: attestd.ClassUnsupported, change: cpuid(0x1a, 0x50, 0)},
		{name: "family 0x1b", product: "Turin", check: "sev-snp/product",
			class: attestd.ClassUnsupported, change: cpuid(0x1b, 0x02, 1)},
		{name: "a desktop chip of family 0x19", check: "sev-snp/product",
			class: attestd.ClassUnsupported, change: cpuid(0x19, 0x21, 0)},
		{name: "model 0x9f", check: "sev-snp/product", class: attestd.ClassUnsupported,
			change: cpuid(0x19, 0x9f, 0)},
		{name: "model 0xb0", check: "sev-snp/product", class: attestd.ClassUnsupported,
			change: cpuid(0x19, 0xb0, 0)},
		{name: "family 0x17", check: "sev-snp/product", class: attestd.ClassUnsupported,
			change: cpuid(0x17, 0x01, 0)},
		// neg: 104
		{name: "signed by a VLEK, it says, and is not", check: "sev-snp/chain",
			class: attestd.ClassChain, change: func(s *scene) { s.report.KeyInfo = 1 << 2 }},
		{name: "signed by nobody, it says", check: "sev-snp/signing-key", class: attestd.ClassChain,
			change: func(s *scene) { s.report.KeyInfo = 7 << 2 }},
		{name: "signed by a reserved key, it says", check: "sev-snp/signing-key",
			class: attestd.ClassUnsupported, change: func(s *scene) { s.report.KeyInfo = 2 << 2 }},

		{name: "reserved bits of the key information", change: set(0x49, 1)},
		{name: "reserved bytes behind the key information", change: set(0x4f, 1)},
		{name: "policy bit 17 is zero", change: func(s *scene) { s.report.Policy = 0x10000 }},
		{name: "reserved bytes of CURRENT_TCB", change: set(0x38+2, 1)},
		{name: "reserved bytes of REPORTED_TCB", change: set(0x180+5, 1)},
		{name: "reserved bytes of COMMITTED_TCB", change: set(0x1e0+3, 1)},
		{name: "reserved bytes of LAUNCH_TCB", change: set(0x1f0+4, 1)},
		{name: "CPUID in version 2", version: 2, change: set(0x188, 0x19)},
		{name: "reserved bytes behind CPUID", change: set(0x18b, 1)},
		{name: "reserved byte behind the current version", change: set(0x1eb, 1)},
		{name: "reserved byte behind the committed version", change: set(0x1ef, 1)},
		// neg: 112
		{name: "a mitigation vector in version 2", version: 2, change: set(0x1f8, 1)},
		{name: "a mitigation vector in version 4", version: 4, change: set(0x200, 1)},
		{name: "reserved bytes behind the vectors", version: 5, change: set(0x208, 1)},
		{name: "the last reserved byte", version: 5, change: set(0x29f, 0x80)},

		// neg: 113
		{name: "signature algorithm 0", check: "sev-snp/signature-format",
			class: attestd.ClassSignature, change: set(0x34, 0)},
		{name: "signature algorithm 2", check: "sev-snp/signature-format",
			class: attestd.ClassSignature, change: set(0x34, 2)},
		{name: "bytes behind R", check: "sev-snp/signature-format", class: attestd.ClassSignature,
			change: sent(func(b []byte) []byte { b[672+48] = 1; return b })},
		{name: "bytes behind S", check: "sev-snp/signature-format", class: attestd.ClassSignature,
			change: sent(func(b []byte) []byte { b[672+143] = 1; return b })},
		{name: "bytes behind the signature", check: "sev-snp/signature-format",
			class: attestd.ClassSignature, change: sent(func(b []byte) []byte { b[1183] = 1; return b })},
		{name: "R is zero", check: "sev-snp/signature-format", class: attestd.ClassSignature,
			change: scalar(0, new(big.Int))},
		{name: "S is zero", check: "sev-snp/signature-format", class: attestd.ClassSignature,
			change: scalar(72, new(big.Int))},
		{name: "R is the order", check: "sev-snp/signature-format", class: attestd.ClassSignature,
			change: scalar(0, order)},
		{name: "S is the order", check: "sev-snp/signature-format", class: attestd.ClassSignature,
			change: scalar(72, order)},
		{name: "R is 1", check: "sev-snp/signature", class: attestd.ClassSignature,
			change: scalar(0, big.NewInt(1))},
		{name: "a measurement changed after signing", check: "sev-snp/signature",
			class:  attestd.ClassSignature,
			change: sent(func(b []byte) []byte { b[0x90] ^= 1; return b })},
		{name: "the debug bit cleared after signing", check: "sev-snp/signature",
			class: attestd.ClassSignature, change: func(s *scene) {
				s.report.Policy |= 1 << 19
				s.sent = func(b []byte) []byte { b[0x0a] &^= 8; return b }
			}},
	}
}

func vcekRows() []refusedRow {
	none := func(forge.VCEK, []byte) [][]byte { return nil }
	vcek := func(change func(*forge.VCEKConfig)) func(*scene) {
		return func(s *scene) { s.vcek = change }
	}
	edit := func(change func(*x509.Certificate)) func(*scene) {
		return vcek(func(c *forge.VCEKConfig) { c.Edit = change })
	}
	omit := func(name string) func(*scene) {
		return vcek(func(c *forge.VCEKConfig) { c.Omit = name })
	}
	level := func(index, by int) func(*scene) {
		return vcek(func(c *forge.VCEKConfig) { c.TCB[index] = byte(int(c.TCB[index]) + by) })
	}
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	const profile, product = "sev-snp/vcek-profile", "sev-snp/vcek-product"
	return []refusedRow{
		{name: "no certificates", check: "sev-snp/vcek-present",
			class: attestd.ClassCollateralUnavailable, change: func(s *scene) { s.given = none }},
		{name: "only a certificate like a VLEK's is given", check: profile,
			class: attestd.ClassChain, change: vcek(func(c *forge.VCEKConfig) {
				c.HWID, c.CSPID = nil, "some cloud"
			})}, // neg: 104

		{name: "bytes that only look like a VCEK", check: "sev-snp/chain", class: attestd.ClassChain,
			change: func(s *scene) {
				s.given = func(v forge.VCEK, ask []byte) [][]byte { return [][]byte{ask, v.DER[1:]} }
			}},
		{name: "a VCEK with a trailing byte", check: "sev-snp/chain", class: attestd.ClassChain,
			change: func(s *scene) {
				s.given = func(v forge.VCEK, ask []byte) [][]byte {
					return [][]byte{ask, append(bytes.Clone(v.DER), 0)}
				}
			}},
		// neg: 108
		{name: "a self-made ARK and ASK with AMD's subject text", check: "sev-snp/chain",
			class: attestd.ClassChain, change: func(s *scene) {
				s.issuer = "impostor"
				s.given = func(v forge.VCEK, ask []byte) [][]byte {
					return [][]byte{ask, v.DER, authority(s.t, "impostor").ARK.Raw}
				}
			}},
		{name: "a self-made chain in the report's own table", check: "sev-snp/chain",
			class: attestd.ClassChain, change: func(s *scene) {
				s.issuer = "impostor"
				withTable(s, func(v forge.VCEK) []forge.SNPTableEntry {
					return chainEntries(v, authority(s.t, "impostor"))
				})
			}},
		{name: "a Milan VCEK with Genoa's ASK", check: "sev-snp/chain", class: attestd.ClassChain,
			change: func(s *scene) {
				s.given = func(v forge.VCEK, _ []byte) [][]byte {
					return [][]byte{authority(s.t, "Genoa").ASK.Raw, v.DER}
				}
			}},
		{name: "a VCEK signed with PKCS #1 v1.5", check: "sev-snp/chain", class: attestd.ClassChain,
			change: edit(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA })},
		{name: "a VCEK signed with SHA-256", check: "sev-snp/chain", class: attestd.ClassChain,
			change: edit(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS })},

		{name: "a VCEK on P-256", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.Key = small })},
		{name: "a VCEK that is a CA", check: profile, class: attestd.ClassChain,
			change: edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })},
		{name: "a VCEK with an unknown critical extension", check: profile, class: attestd.ClassChain,
			change: edit(func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
					Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
			})},
		{name: "a VCEK with a VLEK's CSP_ID", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.CSPID = "some cloud" })},
		{name: "structure version 2", check: profile, class: attestd.ClassUnsupported,
			change: vcek(func(c *forge.VCEKConfig) { c.StructVersion = 2 })},
		{name: "Turin's structure version", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.StructVersion = 1 })},
		{name: "Turin's level beside the older ones", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.Extra = true })},
		{name: "Turin's structure version and short name under a Milan report",
			check: "sev-snp/vcek-chip-id", class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.StructVersion, c.HWID = 1, c.HWID[:8] })},
		{name: "Turin's structure version under a Milan report that masks its chip", check: "sev-snp/vcek-tcb",
			class: attestd.ClassTCB, change: func(s *scene) {
				mask(s)
				s.vcek = func(c *forge.VCEKConfig) { c.StructVersion, c.HWID = 1, make([]byte, 8) }
			}},
		{name: "no structure version", check: profile, class: attestd.ClassChain, change: omit("1")},
		{name: "no product name", check: profile, class: attestd.ClassChain, change: omit("2")},
		{name: "no boot loader level", check: profile, class: attestd.ClassChain, change: omit("3.1")},
		{name: "no microcode level", check: profile, class: attestd.ClassChain, change: omit("3.8")},
		{name: "no reserved level", check: profile, class: attestd.ClassChain, change: omit("3.4")},
		{name: "a reserved level in use", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.Reserved = 1 })},
		{name: "an HWID of 8 bytes", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.HWID = c.HWID[:8] })}, // neg: 102

		{name: "a VCEK past its end", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
			change: edit(func(c *x509.Certificate) { c.NotAfter = forge.AMDTime.AddDate(0, 0, -1) })},
		{name: "a VCEK before its beginning", check: "sev-snp/chain-validity",
			class:  attestd.ClassCertTime,
			change: edit(func(c *x509.Certificate) { c.NotBefore = forge.AMDTime.AddDate(0, 0, 1) })},
		{name: "an ASK past its end", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
			change: func(s *scene) { s.issuer = "old ASK" }},
		{name: "an ASK that may sign lists and no certificates", check: "sev-snp/chain",
			class: attestd.ClassChain, change: func(s *scene) { s.issuer = "ASK for lists" }},
		{name: "an ARK past its end", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
			change: func(s *scene) {
				s.at = forge.AMDTime.AddDate(5, 0, 0)
				s.vcek = func(c *forge.VCEKConfig) {
					c.Edit = func(c *x509.Certificate) { c.NotAfter = forge.AMDTime.AddDate(9, 0, 0) }
				}
			}},

		{name: "a VCEK for Turin issued for Milan", check: product, class: attestd.ClassChain,
			change: func(s *scene) { s.product = "Turin" }},
		{name: "a VCEK for Venice", check: product, class: attestd.ClassUnsupported,
			change: func(s *scene) { s.product = "Venice" }},
		{name: "a product name with something behind it", check: product,
			class: attestd.ClassUnsupported, change: func(s *scene) { s.product = "Milan-B0x" }},
		{name: "a VCEK for Genoa issued for Milan", check: product, class: attestd.ClassChain,
			change: func(s *scene) { s.product = "Genoa" }},
		{name: "a Milan chip with a VCEK of Genoa's line", check: product, class: attestd.ClassChain,
			change: func(s *scene) { s.product, s.issuer = "Genoa", "Genoa" }},
		{name: "a Genoa chip with a VCEK of Milan's line", product: "Genoa", check: product,
			class: attestd.ClassChain, change: func(s *scene) { s.product, s.issuer = "Milan", "Milan" }},
		{name: "version 2 with a VCEK for Milan issued by Genoa's ASK", version: 2, check: product,
			class: attestd.ClassChain, change: func(s *scene) { s.issuer = "Genoa" }}, // neg: 108

		{name: "a VCEK of another chip with the same TCB", check: "sev-snp/vcek-chip-id",
			class: attestd.ClassChain, change: vcek(func(c *forge.VCEKConfig) { c.HWID[63] ^= 1 })}, // neg: 96
		// neg: 98, 100
		{name: "a lower boot loader in the VCEK", check: "sev-snp/vcek-tcb", class: attestd.ClassTCB,
			change: level(0, -1)},
		{name: "a higher TEE in the VCEK", check: "sev-snp/vcek-tcb", class: attestd.ClassTCB,
			change: level(1, 1)},
		{name: "a lower SNP in the VCEK", check: "sev-snp/vcek-tcb", class: attestd.ClassTCB,
			change: level(2, -1)},
		{name: "other microcode in the VCEK", check: "sev-snp/vcek-tcb", class: attestd.ClassTCB,
			change: level(3, 1)},
		{name: "a VCEK for CURRENT_TCB instead of REPORTED_TCB", check: "sev-snp/vcek-tcb",
			class: attestd.ClassTCB, change: func(s *scene) {
				s.report.Reported[3] -= 10
				s.vcek = func(c *forge.VCEKConfig) { c.TCB = s.report.Current }
			}},
		{name: "a VCEK for this chip and TCB with another key", check: "sev-snp/signature",
			class: attestd.ClassSignature, change: func(s *scene) {
				s.given = func(_ forge.VCEK, ask []byte) [][]byte {
					other, err := authority(s.t, "Milan").IssueVCEK(s.report.VCEKConfig("Milan"))
					if err != nil {
						s.t.Fatal(err)
					}
					return [][]byte{other.DER, ask}
				}
			}},

		{name: "257 certificates", check: "sev-snp/endorsements", class: attestd.ClassTooLarge,
			change: func(s *scene) {
				s.given = func(v forge.VCEK, ask []byte) [][]byte {
					return append(make([][]byte, 255), v.DER, ask)
				}
			}},
		{name: "certificates of more than a mebibyte", check: "sev-snp/endorsements",
			class: attestd.ClassTooLarge, change: func(s *scene) {
				s.given = func(v forge.VCEK, ask []byte) [][]byte {
					return [][]byte{v.DER, ask, make([]byte, 1<<20)}
				}
			}},
		{name: "four VCEKs for the same chip and TCB", check: "sev-snp/endorsements",
			class: attestd.ClassTooLarge, change: func(s *scene) {
				s.given = func(v forge.VCEK, ask []byte) [][]byte {
					return [][]byte{ask, v.DER, spoilt(v.DER, 1), spoilt(v.DER, 2), spoilt(v.DER, 3)}
				}
			}},
		{name: "a VCEK larger than any", check: "sev-snp/chain", class: attestd.ClassTooLarge,
			change: func(s *scene) {
				withTable(s, func(v forge.VCEK) []forge.SNPTableEntry {
					return []forge.SNPTableEntry{{GUID: forge.GUIDVCEK,
						Data: append(bytes.Clone(v.DER), make([]byte, 8<<10)...)}}
				})
			}},
	}
}

// spoilt changes the signature of a certificate.
func spoilt(der []byte, by byte) []byte {
	out := bytes.Clone(der)
	out[len(out)-1] ^= by
	return out
}

func freshnessRows() []refusedRow {
	demand := func(nonce func(s *scene) []byte) func(*scene) {
		return func(s *scene) { s.demand = fresh(s.t, nonce(s)) }
	}
	const check = "sev-snp/report-data"
	// neg: 95
	return []refusedRow{
		{name: "REPORT_DATA is all zero", check: check, class: attestd.ClassBinding,
			change: func(s *scene) {
				s.report.ReportData = [64]byte{}
				s.demand = fresh(s.t, bytes.Repeat([]byte{7}, 64))
			}},
		{name: "the nonce stands in the first 32 bytes only", check: check, class: attestd.ClassBinding,
			change: demand(func(s *scene) []byte {
				return append(bytes.Clone(s.report.ReportData[:32]), make([]byte, 32)...)
			})},
		{name: "a nonce of 32 bytes is never padded", check: check, class: attestd.ClassBinding,
			change: func(s *scene) {
				clear(s.report.ReportData[32:])
				s.demand = fresh(s.t, s.report.ReportData[:32])
			}},
		{name: "a nonce of 65 bytes", check: check, class: attestd.ClassBinding,
			change: demand(func(s *scene) []byte { return append(s.report.ReportData[:], 0) })},
		{name: "the last bit differs", check: check, class: attestd.ClassBinding,
			change: demand(func(s *scene) []byte {
				out := bytes.Clone(s.report.ReportData[:])
				out[63] ^= 1
				return out
			})},
		{name: "a recorded demand with another nonce", check: check, class: attestd.ClassBinding,
			change: func(s *scene) {
				var err error
				if s.demand, err = attestd.Recorded().WithNonce([]byte("other")); err != nil {
					s.t.Fatal(err)
				}
			}},
		{name: "the binding of another key", check: check, class: attestd.ClassBinding,
			change: func(s *scene) {
				binding := attestd.Binding{Format: attestd.FormatSEVSNP, Nonce: make([]byte, 32)}
				binding.SPKI = []byte("key of the guest")
				digest, err := binding.Digest()
				if err != nil {
					s.t.Fatal(err)
				}
				copy(s.report.ReportData[:], digest)
				binding.SPKI = []byte("key of another")
				if s.demand, err = attestd.Bound(binding); err != nil {
					s.t.Fatal(err)
				}
			}},
	}
}

func allRows() []refusedRow {
	return slices.Concat(reportRows(), vcekRows(), turinRows(), vlekRows(), freshnessRows())
}

func TestForgedEvidenceIsRefusedByTheNamedCheck(t *testing.T) {
	v := forgedVerifier(t)
	for _, row := range allRows() {
		t.Run(row.name, func(t *testing.T) {
			if row.check == "" {
				row.check, row.class = "sev-snp/report-layout", attestd.ClassMalformed
			}
			if row.product == "" {
				row.product = "Milan"
			}
			if row.version == 0 {
				row.version = 3
			}
			s := newScene(t, row.product, row.version)
			row.change(s)
			input, _ := s.build()
			before := v.SignaturesVerified()
			claims, err := v.Verify(input)
			wantFailure(t, claims, err, row.check, row.class)
			if cost := v.SignaturesVerified() - before; cost > 8 {
				t.Errorf("%d signature verifications, want at most 8", cost)
			}
		})
	}
}

// TestEveryVerifyCheckHasARefusal keeps the tables above complete.
func TestEveryVerifyCheckHasARefusal(t *testing.T) {
	refused := map[attestd.CheckID]bool{
		"sev-snp/certificate-table": true,                          // table_test.go
		"sev-snp/revocation-list":   true, "sev-snp/revoked": true, // crl_test.go
	}
	for _, row := range allRows() {
		refused[row.check] = true
	}
	refused["sev-snp/report-layout"] = true
	for _, spec := range newVerifier(t).Checks() {
		if spec.Stage == attestd.StageVerify && !refused[spec.ID] {
			t.Errorf("no row is refused by %s", spec.ID)
		}
	}
}

// TestAsIf64BitTCB shows why levels are compared one by one: as one number the higher microcode
// would hide the lower boot loader.
func TestAsIf64BitTCB(t *testing.T) {
	s := newScene(t, "Milan", 3)
	s.report.Reported, s.report.Committed = forge.TCB{9, 0, 25, 100}, forge.TCB{4, 0, 25, 219}
	raw := s.report.Bytes()
	if binary.LittleEndian.Uint64(raw[0x180:]) > binary.LittleEndian.Uint64(raw[0x1e0:]) {
		t.Fatal("the case no longer shows anything")
	}
	claims, err := s.verify(forgedVerifier(t))
	if err != nil {
		t.Fatal(err)
	}
	if flag(t, claims, "tcb_ordered") {
		t.Error("a boot loader above the committed one passed as ordered")
	}
}
