package sevsnp_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// turinRows are refusals that only Turin's layout can earn. neg: 102
func turinRows() []refusedRow {
	vcek := func(change func(*forge.VCEKConfig)) func(*scene) {
		return func(s *scene) { s.vcek = change }
	}
	const profile, product = "sev-snp/vcek-profile", "sev-snp/vcek-product"
	rows := []refusedRow{
		{name: "reserved bytes of Turin's CURRENT_TCB", change: set(0x38+4, 1)},
		{name: "reserved bytes of Turin's REPORTED_TCB", change: set(0x180+5, 1)},
		{name: "reserved bytes of Turin's COMMITTED_TCB", change: set(0x1e0+6, 1)},
		{name: "reserved bytes of Turin's LAUNCH_TCB", change: set(0x1f0+6, 1)},
		{name: "a ninth byte in Turin's CHIP_ID", change: set(0x1a0+8, 1)},
		{name: "a last byte in Turin's CHIP_ID", change: set(0x1a0+63, 1)},

		{name: "a Turin VCEK of 64 bytes of HWID", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.HWID = append(c.HWID, make([]byte, 56)...) })},
		{name: "a Turin VCEK without the level FMC", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.Omit = "3.9" })},
		{name: "a Turin VCEK with the older reserved level", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.Extra = true })},
		{name: "a Turin VCEK with a reserved level in use", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.Reserved = 1 })},
		{name: "a Turin VCEK of the older structure version", check: profile, class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.StructVersion = 0 })},
		{name: "a VCEK of another Turin chip", check: "sev-snp/vcek-chip-id", class: attestd.ClassChain,
			change: vcek(func(c *forge.VCEKConfig) { c.HWID[7] ^= 1 })},
		{name: "a lower FMC in the VCEK", check: "sev-snp/vcek-tcb", class: attestd.ClassTCB,
			change: vcek(func(c *forge.VCEKConfig) { c.TCB[4]-- })},
		{name: "a lower boot loader in the VCEK of Turin", check: "sev-snp/vcek-tcb",
			class: attestd.ClassTCB, change: vcek(func(c *forge.VCEKConfig) { c.TCB[0]-- })},
		{name: "a Turin chip with a VCEK of Genoa's line", check: product, class: attestd.ClassChain,
			change: func(s *scene) { s.product, s.issuer = "Genoa", "Genoa" }},
	}
	for i := range rows {
		rows[i].product, rows[i].version = "Turin", 5
	}
	return append(rows, refusedRow{
		name: "a Turin VCEK under a report that names no product", version: 2, check: product,
		class: attestd.ClassChain, change: func(s *scene) { s.product, s.issuer = "Turin", "Turin" },
	})
}

// vlekRows are refusals around a cloud's keys. neg: 104, 107
func vlekRows() []refusedRow {
	const profile, cloud = "sev-snp/vcek-profile", "CN=some-region.example"
	vlek := func(change func(*scene)) func(*scene) {
		return func(s *scene) {
			s.cloud = cloud
			change(s)
		}
	}
	config := func(change func(*forge.VCEKConfig)) func(*scene) {
		return vlek(func(s *scene) { s.vcek = change })
	}
	return []refusedRow{
		{name: "no VLEK at all", check: "sev-snp/vcek-present",
			class: attestd.ClassCollateralUnavailable, change: vlek(func(s *scene) {
				s.given = func(_ forge.VCEK, asvk []byte) [][]byte { return [][]byte{asvk} }
			})},
		{name: "a VLEK signed it, and only the chip's VCEK is given", check: "sev-snp/chain",
			class: attestd.ClassChain, change: vlek(func(s *scene) {
				from := authority(s.t, "Milan")
				vcek, err := from.IssueVCEK(s.report.VCEKConfig("Milan"))
				if err != nil {
					s.t.Fatal(err)
				}
				s.given = func(_ forge.VCEK, asvk []byte) [][]byte {
					return [][]byte{from.ASK.Raw, asvk, vcek.DER}
				}
			})},
		{name: "the VCEK signed it, and only the cloud's VLEK is given", check: "sev-snp/chain",
			class: attestd.ClassChain, change: func(s *scene) {
				from := authority(s.t, "Milan")
				vlek, err := from.IssueVLEK(s.report.VLEKConfig("Milan", cloud))
				if err != nil {
					s.t.Fatal(err)
				}
				s.given = func(_ forge.VCEK, ask []byte) [][]byte {
					return [][]byte{ask, asvk(s.t, from).Raw, vlek.DER}
				}
			}},
		{name: "a VLEK's key under a report that says VCEK", check: "sev-snp/chain",
			class: attestd.ClassChain, change: vlek(func(s *scene) {
				s.raw = func(b []byte) { b[0x48] &^= 1 << 2 }
			})},
		{name: "a VLEK without its ASVK", check: "sev-snp/chain", class: attestd.ClassChain,
			change: vlek(func(s *scene) {
				s.given = func(v forge.VCEK, _ []byte) [][]byte {
					return [][]byte{v.DER, authority(s.t, "Milan").ASK.Raw}
				}
			})},
		{name: "an ASVK that bears the ASK's name", check: "sev-snp/chain", class: attestd.ClassChain,
			change: vlek(func(s *scene) { s.issuer = "ASVK named as an ASK" })},
		{name: "an ASVK with more in its name", check: "sev-snp/chain", class: attestd.ClassChain,
			change: vlek(func(s *scene) { s.issuer = "ASVK of another line's name" })},
		{name: "an ASVK past its end", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
			change: vlek(func(s *scene) { s.issuer = "old ASVK" })},
		{name: "a VLEK past its end", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
			change: config(func(c *forge.VCEKConfig) {
				c.Edit = func(c *x509.Certificate) { c.NotAfter = forge.AMDTime.AddDate(0, 0, -1) }
			})},
		{name: "a VLEK that also names a chip", check: profile, class: attestd.ClassChain,
			change: config(func(c *forge.VCEKConfig) { c.HWID = make([]byte, 64) })},
		{name: "a VLEK that names no cloud", check: profile, class: attestd.ClassChain,
			change: vlek(func(s *scene) {
				s.vcek = func(c *forge.VCEKConfig) {
					c.Edit = func(cert *x509.Certificate) {
						for i, extension := range cert.ExtraExtensions {
							if extension.Id[len(extension.Id)-1] == 5 && len(extension.Id) == 9 {
								cert.ExtraExtensions[i].Value = []byte{0x16, 0}
							}
						}
					}
				}
			})},
		{name: "a VLEK with a stepping, which only a chip has", check: "sev-snp/vcek-product",
			class: attestd.ClassChain, change: config(func(c *forge.VCEKConfig) { c.Product = "Milan-B1" })},
		{name: "a VLEK in another town's name", check: "sev-snp/vcek-profile",
			class: attestd.ClassChain, change: config(func(c *forge.VCEKConfig) {
				c.Edit = func(cert *x509.Certificate) {
					cert.Subject = pkix.Name{
						CommonName: "SEV-VLEK", Country: []string{"US"}, Province: []string{"CA"},
						Locality: []string{"Austin"}, Organization: []string{"Advanced Micro Devices"},
						OrganizationalUnit: []string{"Engineering"},
					}
				}
			})},
		{name: "a VLEK with a street in its name", check: "sev-snp/vcek-profile",
			class: attestd.ClassChain, change: config(func(c *forge.VCEKConfig) {
				c.Edit = func(cert *x509.Certificate) {
					cert.Subject.StreetAddress = []string{"Augustine Drive"}
				}
			})},
		{name: "a VLEK for another TCB", check: "sev-snp/vcek-tcb", class: attestd.ClassTCB,
			change: config(func(c *forge.VCEKConfig) { c.TCB[3]-- })},
		{name: "a VLEK for Genoa issued for Milan", check: "sev-snp/vcek-product",
			class: attestd.ClassChain, change: vlek(func(s *scene) { s.product = "Genoa" })},
		{name: "a Milan chip with a VLEK of Genoa's line", check: "sev-snp/vcek-product",
			class: attestd.ClassChain, change: vlek(func(s *scene) { s.product, s.issuer = "Genoa", "Genoa" })},
		{name: "a measurement changed after the VLEK signed", check: "sev-snp/signature",
			class: attestd.ClassSignature, change: vlek(func(s *scene) {
				s.sent = func(b []byte) []byte { b[0x90] ^= 1; return b }
			})},
		{name: "another VLEK of the same cloud and TCB", check: "sev-snp/signature",
			class: attestd.ClassSignature, change: vlek(func(s *scene) {
				from := authority(s.t, "Milan")
				other, err := from.IssueVLEK(s.report.VLEKConfig("Milan", cloud))
				if err != nil {
					s.t.Fatal(err)
				}
				s.given = func(_ forge.VCEK, asvk []byte) [][]byte {
					return [][]byte{other.DER, bytes.Clone(asvk)}
				}
			})},
	}
}
