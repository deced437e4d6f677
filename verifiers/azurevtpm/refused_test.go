package azurevtpm_test

import (
	"crypto/sha512"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// row is a scene that must be refused.
type row struct {
	name   string
	change func(*scene)
	device string
	check  attestd.CheckID
	class  attestd.Class
}

func run(t *testing.T, tdx bool, rows []row) {
	t.Helper()
	v := forgedVerifier(t)
	for _, one := range rows {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, tdx)
			one.change(s)
			rejected(t, v, s.build(), one.device, one.check, one.class)
		})
	}
}

func around(change func(*forge.HCLReport)) func(*scene) {
	return func(s *scene) { s.report = change }
}

func number(value uint32) *uint32 { return &value }

// TestHeadersThatAreRefused: the CPU signs none of these bytes.
func TestHeadersThatAreRefused(t *testing.T) {
	const header, data = "azure-vtpm/hcl-header", "azure-vtpm/runtime-data"
	const malformed, unsupported = attestd.ClassMalformed, attestd.ClassUnsupported
	run(t, false, []row{
		{"another magic", around(func(r *forge.HCLReport) { r.Signature[3] = 'B' }), "", header, malformed},
		{"version 0", around(func(r *forge.HCLReport) { r.Version = 0 }), "", header, unsupported},
		{"version 3", around(func(r *forge.HCLReport) { r.Version = 3 }), "", header, unsupported},
		{"a size one short", around(func(r *forge.HCLReport) {
			r.ReportSize = number(uint32(len(r.Bytes()) - 1))
		}), "", header, malformed},
		{"a size of 4 GiB", around(func(r *forge.HCLReport) { r.ReportSize = number(1<<32 - 1) }), "", header,
			malformed},
		{"the zeros of the NV index", func(s *scene) { s.raw = forge.HCLIndex }, "", header, malformed},
		{"a key release request", around(func(r *forge.HCLReport) { r.Request = 1 }), "", header, unsupported},
		{"a status", around(func(r *forge.HCLReport) { r.Status = 1 }), "", header, malformed},
		{"reserved bytes", around(func(r *forge.HCLReport) { r.Reserved[11] = 1 }), "", header, malformed},
		{"nothing behind the CPU's report", func(s *scene) {
			s.raw = func(report []byte) []byte { return report[:1236] }
		}, "", header, malformed},
		{"runtime data of version 2", around(func(r *forge.HCLReport) { r.DataVersion = 2 }), "", data,
			unsupported},
		{"a data size one long", around(func(r *forge.HCLReport) {
			r.DataSize = number(uint32(len(r.Claims) + 21))
		}), "", data, malformed},
		{"claims one short", around(func(r *forge.HCLReport) {
			r.ClaimSize = number(uint32(len(r.Claims) - 1))
		}), "", data, malformed},
		{"SHA-384", around(func(r *forge.HCLReport) { r.Hash = 2 }), "", data, unsupported},
		{"a report of VBS", around(func(r *forge.HCLReport) { r.ReportType = 1 }), "",
			"azure-vtpm/report-type", unsupported},
		{"a Trusted Launch VM", around(func(r *forge.HCLReport) { r.ReportType = 3 }), "",
			"azure-vtpm/report-type", unsupported},
	})
	run(t, true, []row{
		{"bytes behind the TDREPORT", around(func(r *forge.HCLReport) {
			r.Hardware = append(slices.Clone(r.Hardware), 1)
		}), "", "azure-vtpm/report-type", unsupported},
	})
}

// TestPartsThatDoNotBelong: neg: 120
func TestPartsThatDoNotBelong(t *testing.T) {
	const parts = "azure-vtpm/parts"
	run(t, false, []row{
		{"a TD quote beside an SNP report", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { e.TDQuote = []byte{4} }
		}, "", parts, attestd.ClassMalformed},
		{"a certificate in PEM", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) {
				e.Certificates[0] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificates[0]})
			}
		}, "", parts, attestd.ClassMalformed},
		{"certificates in another order", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { slices.Reverse(e.Certificates) }
		}, "cpu", "sev-snp/chain", attestd.ClassChain},
		{"an SNP report said to be of TDX", func(s *scene) {
			s.report = func(r *forge.HCLReport) { r.ReportType = 4 }
			s.raw = func(report []byte) []byte { clear(report[32+1024 : 32+1184]); return report }
		}, "", parts, attestd.ClassMalformed},
	})
	run(t, true, []row{
		{"a TDREPORT alone", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { e.TDQuote = nil }
		}, "", parts, attestd.ClassMalformed},
		{"a TDREPORT in the quote's place", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { e.TDQuote = e.HCLReport[32 : 32+1024] }
		}, "cpu", "tdx/size", attestd.ClassMalformed},
		{"a chip's certificates", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { e.Certificates = [][]byte{{0x30, 0}} }
		}, "", parts, attestd.ClassMalformed},
		{"zeros behind the quote", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { e.TDQuote = append(e.TDQuote, 0) }
		}, "cpu", "tdx/layout", attestd.ClassMalformed},
	})
}

// document gives the scene claims that are written by hand; the CPU signs them as they are.
func document(edit func(string) string) func(*scene) {
	return func(s *scene) {
		written, err := s.claims.Bytes()
		s.fatal(err)
		s.claims.JSON = []byte(edit(string(written)))
	}
}

func instead(old, now string) func(*scene) {
	return document(func(text string) string { return strings.Replace(text, old, now, 1) })
}

// TestRuntimeClaimsThatAreRefused: signed as they stand, and read in one way or not at all.
func TestRuntimeClaimsThatAreRefused(t *testing.T) {
	refusals := map[string]func(*scene){
		"no JSON":                  document(func(string) string { return "keys" }),
		"a byte order mark":        document(func(text string) string { return "\ufeff" + text }),
		"something behind":         document(func(text string) string { return text + "{}" }),
		"an array":                 document(func(text string) string { return "[" + text + "]" }),
		"null":                     document(func(string) string { return "null" }),
		"too deep":                 instead(`"user-data":"`, `"x":[[[[[1]]]]],"user-data":"`),
		"a member twice":           instead(`"secure-boot":true`, `"secure-boot":true,"secure-boot":false`),
		"two lists of keys":        instead(`"user-data"`, `"keys":[],"user-data"`),
		"no keys":                  instead(`"keys"`, `"Keys"`),
		"no attestation key":       instead("HCLAkPub", "HCLTransferKey"),
		"no configuration":         instead(`"vm-configuration"`, `"vm-config"`),
		"a configuration of null":  document(nullConfig),
		"a key of another type":    instead(`"RSA"`, `"EC"`),
		"a key for other uses":     instead(`["sign"]`, `["sign","decrypt"]`),
		"a key with a member more": instead(`"kty"`, `"x":1,"kty"`),
		"a padded number":          instead(`"AQAB"`, `"AQAB="`),
		"a number with a zero":     instead(`"AQAB"`, `"AAEAAQ"`),
		"an exponent of 40 bits":   instead(`"AQAB"`, `"AQABAQE"`),
		"no exponent":              instead(`"AQAB"`, `""`),
		"text for a flag":          instead(`"secure-boot":true`, `"secure-boot":"true"`),
		"null for a flag":          instead(`"secure-boot":true`, `"secure-boot":null`),
		"a name that is none":      func(s *scene) { s.claims.Config.ID = "vm-1" },
		"a name of zeros": func(s *scene) {
			s.claims.Config.ID = "00000000-0000-0000-0000-000000000000"
		},
		"a name of ones": func(s *scene) {
			s.claims.Config.ID = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"
		},
		"a name in braces": func(s *scene) {
			s.claims.Config.ID = "{390CBCF5-6C67-4D9B-98EF-C3F1699CC8FC}"
		},
		"user data of 63 bytes": func(s *scene) { s.claims.UserData = make([]byte, 63) },
		"two attestation keys": func(s *scene) {
			public, err := theWorld(s.t).other.RSAPublic()
			s.fatal(err)
			s.claims.Keys = append(s.claims.Keys, forge.NewHCLKey("HCLAkPub", "sign", public))
		},
		"nine keys": func(s *scene) {
			for range 8 {
				s.claims.Keys = append(s.claims.Keys, forge.HCLKey{ID: "x"})
			}
		},
	}
	var rows []row
	for name, change := range refusals {
		rows = append(rows, row{name, change, "", "azure-vtpm/runtime-claims", attestd.ClassMalformed})
	}
	run(t, false, rows)
}

func nullConfig(text string) string {
	from := strings.Index(text, `"vm-configuration":`) + len(`"vm-configuration":`)
	return text[:from] + "null" + text[from+strings.Index(text[from:], "}")+1:]
}

// TestMembersOfNewerParavisors are counted and not refused: the policy has a rule for them.
func TestMembersOfNewerParavisors(t *testing.T) {
	t.Parallel()
	v := forgedVerifier(t)
	s := newScene(t, false)
	instead(`"secure-boot":true`, `"secure-boot":true,"new-thing":{"a":[1]},"tpm-version":"1.38",`+
		`"interactive-console-enabled":false,"current-time":1691103220`)(s)
	got := accepted(t, v, s.build())
	known, _ := got.Fact("configuration_known")
	members, _ := got.Fact("unknown_members")
	version, _ := got.Fact("tpm_version")
	input, _ := got.Fact("interactive_console_enabled")
	sealing, _ := got.Fact("hardware_sealing_policy")
	if known.String() != "false" || members.String() != "new-thing" || version.String() != "1.38" ||
		input.String() != "false" || sealing.Kind() != attestd.KindNotVisible {
		t.Errorf("known %s, members %s, version %s, console %s, sealing %s", known, members, version, input,
			sealing)
	}
}

// TestReportsThatAreNotTheParavisors: neg: 120
func TestReportsThatAreNotTheParavisors(t *testing.T) {
	const level, hash = "azure-vtpm/paravisor-level", "azure-vtpm/runtime-hash"
	run(t, false, []row{
		{"a report that the guest asked for", func(s *scene) {
			s.snp = func(r *forge.SNPReport) { r.VMPL = 2 }
		}, "", level, attestd.ClassPlatform},
		{"a report that the host asked for", func(s *scene) {
			s.snp = func(r *forge.SNPReport) { r.VMPL = 0xffffffff }
		}, "", level, attestd.ClassPlatform},
		{"a report over other claims", func(s *scene) {
			s.snp = func(r *forge.SNPReport) { r.ReportData[0] ^= 1 }
		}, "", hash, attestd.ClassBinding},
		{"a report with more than the hash", func(s *scene) {
			s.snp = func(r *forge.SNPReport) { r.ReportData[63] = 1 }
		}, "", hash, attestd.ClassBinding},
		{"claims that were changed", func(s *scene) {
			s.raw = func(report []byte) []byte {
				return []byte(strings.Replace(string(report), `"secure-boot":true`, `"secure-boot":!!!!`, 1))
			}
		}, "", "azure-vtpm/runtime-claims", attestd.ClassMalformed},
		{"a name that was changed", func(s *scene) {
			s.raw = func(report []byte) []byte {
				return []byte(strings.Replace(string(report), "390CBCF5", "390CBCF6", 1))
			}
		}, "", hash, attestd.ClassBinding},
		{"a report that nobody signed", func(s *scene) {
			s.raw = func(report []byte) []byte { report[32+0x90] ^= 1; return report }
		}, "cpu", "sev-snp/signature", attestd.ClassSignature},
	})
	run(t, true, []row{
		{"a quote over other claims", func(s *scene) {
			s.td = func(q *forge.TDQuote) { q.ReportData[31] ^= 1 }
		}, "", hash, attestd.ClassBinding},
		{"a quote with more than the hash", func(s *scene) {
			s.td = func(q *forge.TDQuote) { q.ReportData[32] = 1 }
		}, "", hash, attestd.ClassBinding},
	})
}

// TestTDReportsThatDisagree changes every field that the quote has too, with the hashes over it made
// anew, and what nothing may stand in. neg: 120
func TestTDReportsThatDisagree(t *testing.T) {
	rehash := func(report []byte) []byte {
		seam, info := sha512.Sum384(report[256:495]), sha512.Sum384(report[512:1024])
		copy(report[32:], seam[:])
		copy(report[80:], info[:])
		return report
	}
	var rows []row
	add := func(name string, at int, mend func([]byte) []byte) {
		rows = append(rows, row{name, func(s *scene) {
			s.domain = func(report []byte) []byte { report[at] ^= 2; return mend(report) }
		}, "", "azure-vtpm/td-report", attestd.ClassBinding})
	}
	for name, at := range map[string]int{
		"TEE_TCB_SVN": 264, "MRSEAM": 280, "MRSIGNERSEAM": 375, "SEAM attributes": 376, "ATTRIBUTES": 519,
		"XFAM": 520, "MRTD": 528, "MRCONFIGID": 576, "MROWNER": 624, "MROWNERCONFIG": 719, "RTMR0": 720,
		"RTMR1": 768, "RTMR2": 816, "RTMR3": 911, "REPORTDATA": 128, "its type": 0, "its subtype": 1,
		"its version": 3, "reserved bytes at 4": 4, "reserved bytes at 192": 192,
		"reserved bytes at 400": 400, "reserved bytes at 495": 495, "reserved bytes at 960": 960,
	} {
		add(name, at, rehash)
	}
	same := func(report []byte) []byte { return report }
	add("a hash of the module's part", 32, same)
	add("a hash of the domain's part", 127, same)
	add("what only the hash covers", 256, same)
	run(t, true, rows)

	// Bodies of TDX 1.5 have two fields more.
	rows = nil
	for name, at := range map[string]int{"TEE_TCB_SVN_2": 384, "MRSERVICETD": 912} {
		add(name, at, rehash)
	}
	for i := range rows {
		before := rows[i].change
		rows[i].change = func(s *scene) {
			before(s)
			s.td = func(q *forge.TDQuote) { q.Version, q.BodyType = 5, forge.TDBody15; q.HeaderSVN = [4]byte{} }
		}
	}
	run(t, true, rows)
	whole := newScene(t, true)
	whole.td = func(q *forge.TDQuote) { q.Version, q.BodyType = 5, forge.TDBody15; q.HeaderSVN = [4]byte{} }
	accepted(t, forgedVerifier(t), whole.build())
}

// TestQuotesOfOtherKeys: a quote by any other key is another machine's, whoever vouches for it.
func TestQuotesOfOtherKeys(t *testing.T) {
	other := func(s *scene) { s.ak = theWorld(s.t).other }
	run(t, false, []row{
		{"another key", other, "", "azure-vtpm/attestation-key", attestd.ClassBinding},
		{"another key that the operator named", func(s *scene) {
			other(s)
			fact, _ := accepted(s.t, forgedVerifier(s.t), otherMachine(s.t)).Fact("vm_unique_id")
			if fact.String() == "" {
				s.t.Error("the other machine is none")
			}
			s.input.Anchors.AttestationKeys = [][32]byte{keyOf(s.t, otherMachine(s.t))}
		}, "", "azure-vtpm/attestation-key", attestd.ClassBinding},
		{"another key that the caller says a TEE states", func(s *scene) {
			other(s)
			s.input.Anchors.TEEKeys = [][32]byte{keyOf(s.t, otherMachine(s.t))}
		}, "", "azure-vtpm/attestation-key", attestd.ClassBinding},
		{"TPM evidence that is none", func(s *scene) {
			s.parts = func(e *azureevidence.Evidence) { e.TPM = []byte{1} }
		}, "", "azure-vtpm/attestation-key", attestd.ClassMalformed},
		{"a public area that is none", func(s *scene) {
			s.machine = func(e *tpmevidence.Evidence) { e.AKPublic = []byte{1} }
		}, "", "azure-vtpm/attestation-key", attestd.ClassMalformed},
		{"the key with other attributes", func(s *scene) {
			s.machine = func(e *tpmevidence.Evidence) { e.AKPublic = slices.Clone(e.AKPublic); e.AKPublic[5] ^= 1 }
		}, "vtpm", "tpm/ak-attributes", attestd.ClassKeyProperties},
		{"an old quote", func(s *scene) {
			s.extra = []byte("fedcba9876543210fedcba9876543210")
			demand, err := attestd.Fresh(nonce)
			s.fatal(err)
			s.input.Demand = demand
		}, "vtpm", "tpm/nonce", attestd.ClassBinding},
	})
}

// otherMachine is a machine whose TPM has the other key.
func otherMachine(t testing.TB) attestd.Input {
	t.Helper()
	s := newScene(t, false)
	s.ak = theWorld(t).other
	public, err := s.ak.RSAPublic()
	s.fatal(err)
	s.claims = forge.NewHCLClaims(public, nil)
	return s.build()
}

func keyOf(t testing.TB, input attestd.Input) (out [32]byte) {
	t.Helper()
	for device := range accepted(t, forgedVerifier(t), input).Devices() {
		if fact, ok := device.Claims.Fact("ak_sha256"); ok {
			digest, _ := fact.Bytes()
			copy(out[:], digest)
		}
	}
	return out
}

// TestOtherContainers: a container that is broken or too large is refused before anything is read.
func TestOtherContainers(t *testing.T) {
	t.Parallel()
	v := forgedVerifier(t)
	input := newScene(t, false).build()
	good := input.Evidence
	input.Evidence = append(slices.Clone(good), 0)
	rejected(t, v, input, "", "azure-vtpm/encoding", attestd.ClassMalformed)
	input.Evidence = make([]byte, 9<<20)
	rejected(t, v, input, "", "azure-vtpm/size", attestd.ClassTooLarge)
	for name, change := range map[string]func(*attestd.Input){
		"no time":   func(i *attestd.Input) { i.At = time.Time{} },
		"no demand": func(i *attestd.Input) { i.Demand = attestd.Demand{} },
	} {
		asked := input
		asked.Evidence = good
		change(&asked)
		_, err := v.Verify(asked)
		if caller, ok := err.(*attestd.CallerError); !ok || caller.Class != attestd.ClassMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}
