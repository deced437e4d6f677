package sevsnp_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestFactsOfReports changes one field of a good report at a time. Every check that a policy decides
// has a row whose fact differs from the good report's, so that a check that looks at the wrong bit,
// or at none, is seen.
func TestFactsOfReports(t *testing.T) {
	v := forgedVerifier(t)
	for _, row := range []struct {
		name    string
		product string
		version uint32
		change  func(*scene)
		check   string // whose fact it is
		want    string
	}{
		{"debug is off", "Milan", 3, nil, "guest-policy-debug", "false"},
		{"debug is on", "Milan", 3, policyBit(19), "guest-policy-debug", "true"}, // neg: 92
		// neg: 93
		{"migration is allowed", "Milan", 3, policyBit(18), "guest-policy-migrate", "true"},
		{"migration is not allowed", "Milan", 3, nil, "guest-policy-migrate", "false"},
		{"a migration agent although none is allowed", "Milan", 3, func(s *scene) {
			s.report.ReportIDMA[31] = 0xfe
		}, "migration-agent", "true"},
		{"no migration agent", "Milan", 3, nil, "migration-agent", "false"},
		{"SMT is allowed", "Milan", 3, policyBit(16), "guest-policy-smt", "true"},
		{"SMT is forbidden", "Milan", 3, func(s *scene) { s.report.Policy = 1 << 17 },
			"guest-policy-smt", "false"},
		{"one socket", "Milan", 3, policyBit(20), "guest-policy-single-socket", "true"},
		{"CXL", "Milan", 3, policyBit(21), "guest-policy-cxl", "true"},
		{"AES-256-XTS", "Milan", 3, policyBit(22), "guest-policy-aes-256-xts", "true"},
		{"RAPL off demanded", "Milan", 3, policyBit(23), "guest-policy-rapl", "true"},
		{"ciphertext hiding demanded", "Milan", 3, policyBit(24),
			"guest-policy-ciphertext-hiding", "true"},
		{"page swap forbidden", "Milan", 5, policyBit(25), "guest-policy-page-swap", "true"},
		{"page swap before version 5", "Milan", 4, nil, "guest-policy-page-swap", "not visible"},
		{"ABI 1.31", "Milan", 3, func(s *scene) { s.report.Policy |= 0x11f }, "guest-policy-abi", "287"},

		// neg: 94
		{"VMPL 0", "Milan", 3, nil, "vmpl", "0"},
		{"VMPL 1", "Milan", 3, vmpl(1), "vmpl", "1"},
		{"VMPL 2", "Milan", 3, vmpl(2), "vmpl", "2"},
		{"VMPL 3", "Milan", 3, vmpl(3), "vmpl", "3"},
		{"the host asked", "Milan", 3, vmpl(0xffffffff), "host-requested", "true"},
		{"the host asked, as VMPL", "Milan", 3, vmpl(0xffffffff), "vmpl", "4294967295"},
		{"the guest asked", "Milan", 3, vmpl(3), "host-requested", "false"},

		// neg: 111
		{"alias check complete", "Milan", 3, nil, "alias-check", "true"},
		{"alias check not complete", "Milan", 3, platform(0x05), "alias-check", "false"},
		{"alias check in version 2", "Milan", 2, nil, "alias-check", "not visible"},
		{"SMT off", "Milan", 3, platform(0x24), "platform-smt", "false"},
		{"SMT on", "Milan", 3, nil, "platform-smt", "true"},
		{"TSME on", "Milan", 3, platform(0x22), "platform-tsme", "true"},
		{"ECC off", "Milan", 3, platform(0x21), "platform-ecc", "false"},
		{"ECC on", "Milan", 3, nil, "platform-ecc", "true"},
		{"RAPL off", "Milan", 3, platform(0x28), "platform-rapl", "true"},
		{"ciphertext hiding", "Milan", 3, platform(0x30), "platform-ciphertext-hiding", "true"},
		{"TIO on", "Milan", 5, platform(0xa0), "platform-tio", "true"},
		{"TIO off", "Milan", 5, nil, "platform-tio", "false"},
		{"TIO before version 5", "Milan", 4, nil, "platform-tio", "not visible"},
		{"no unknown bits", "Milan", 5, nil, "unknown-bits", "false"},
		{"policy bit 26", "Milan", 5, policyBit(26), "unknown-bits", "true"},
		{"policy bit 63", "Milan", 5, policyBit(63), "unknown-bits", "true"},
		{"policy bit 25 before version 5", "Milan", 4, policyBit(25), "unknown-bits", "true"},
		{"platform bit 6", "Milan", 5, platform(0x65), "unknown-bits", "false"},
		{"platform bit 6 before version 5", "Milan", 4, platform(0x65), "unknown-bits", "true"},
		{"IOMMU writes are safe", "Milan", 5, platform(0x65), "iommu-write-safe", "true"},
		{"IOMMU writes are not safe", "Milan", 5, nil, "iommu-write-safe", "false"},
		{"IOMMU writes before version 5", "Milan", 4, nil, "iommu-write-safe", "not visible"},
		{"platform bit 7 before version 5", "Milan", 4, platform(0xa5), "unknown-bits", "true"},
		{"platform bit 8", "Milan", 5, platform(0x125), "unknown-bits", "true"},
		{"platform bit 5 in version 2", "Milan", 2, platform(0x25), "unknown-bits", "true"},
		{"guest SVN", "Milan", 3, raw(0x04, 7), "guest-svn", "7"},

		{"Milan", "Milan", 2, nil, "product-line", "Milan"},
		{"Genoa", "Genoa", 3, nil, "product-line", "Genoa"},
		{"Bergamo or Siena", "Bergamo", 3, nil, "product-line", "Bergamo"},
		{"Milan with stacked cache", "Milan-X", 3, nil, "product-line", "Milan-X"},
		{"Genoa with stacked cache", "Genoa-X", 3, nil, "product-line", "Genoa-X"},
		{"a Milan of another stepping", "Milan", 3,
			func(s *scene) { s.report.CPUID[2] = 0 }, "product-line", "Milan"},
		{"a Genoa of another stepping", "Genoa", 3,
			func(s *scene) { s.report.CPUID[2] = 3 }, "product-line", "Genoa"},
		{"another Genoa model of stepping 2", "Genoa", 3,
			func(s *scene) { s.report.CPUID = [3]byte{0x19, 0x10, 2} }, "product-line", "Genoa"},
		{"a Milan with stacked cache before version 3", "Milan-X", 2, nil, "product-line", "Milan"},
		{"Turin", "Turin", 5, nil, "product-line", "Turin"},
		{"dense Turin", "Turin-Dense", 5, nil, "product-line", "Turin-Dense"}, // neg: 103
		{"a dense Turin of another model", "Turin-Dense", 5,
			func(s *scene) { s.report.CPUID = [3]byte{0x1a, 0x1f, 3} }, "product-line", "Turin-Dense"},
		// neg: 102
		{"Turin's reported TCB", "Turin", 5,
			func(s *scene) { s.report.Reported = forge.TCB{1, 2, 3, 4, 5} },
			"tcb-floor", "fmc=5 bootloader=1 tee=2 snp=3 microcode=4"},
		{"an FMC that was rolled back", "Turin", 5, func(s *scene) { s.report.Current[4]-- },
			"tcb-order", "false"},
		{"Turin's chip", "Turin", 5, nil, "chip-id", "c0c1c2c3c4c5c6c7"},
		{"microcode at the level of AMD-SB-3019", "Milan", 3,
			func(s *scene) { s.report.Reported = forge.TCB{4, 0, 0x18, 0xdb} }, "mit-entrysign", "true"},
		{"microcode below the level of AMD-SB-3019", "Milan", 3,
			func(s *scene) { s.report.Reported[3] = 0xda }, "mit-entrysign", "false"},
		{"firmware below the level of AMD-SB-3019", "Milan", 3,
			func(s *scene) { s.report.Reported[2] = 0x17 }, "mit-entrysign", "false"},
		{"the same level on a product that counts for itself", "Milan-X", 3,
			func(s *scene) { s.report.Reported[3] = 0x43 }, "mit-entrysign", "false"},
		{"a level of a product that is not named", "Milan", 2, nil, "mit-entrysign", "not visible"},
		{"Turin's microcode at the level", "Turin", 5,
			func(s *scene) { s.report.Reported[3] = 0x47 }, "mit-entrysign", "true"},
		{"Turin's microcode below the level", "Turin-Dense", 5,
			func(s *scene) { s.report.Reported[3] = 0x46 }, "mit-entrysign", "false"},
		{"Genoa at the level of AMD-SB-3020", "Genoa", 3, func(s *scene) {
			s.report.Reported = forge.TCB{10, 0, 0x1b, 0x56}
		}, "mit-rmpocalypse", "true"},
		{"Genoa's firmware below AMD-SB-3020", "Genoa", 3, func(s *scene) {
			s.report.Reported = forge.TCB{10, 0, 0x1a, 0x56}
		}, "mit-rmpocalypse", "false"},
		{"Genoa's microcode below AMD-SB-3020", "Genoa", 3, func(s *scene) {
			s.report.Reported = forge.TCB{10, 0, 0x1b, 0x55}
		}, "mit-rmpocalypse", "false"},
		{"no level is known for Milan", "Milan", 3, nil, "mit-rmpocalypse", "not visible"},
		{"Turin at the level of AMD-SB-3027", "Turin", 5,
			func(s *scene) { s.report.Reported[3] = 0x51 }, "mit-stackwarp", "true"},
		{"Turin below the level of AMD-SB-3027", "Turin", 5,
			func(s *scene) { s.report.Reported[3] = 0x50 }, "mit-stackwarp", "false"},
		{"a VCEK signed", "Milan", 3, nil, "signed-by", "VCEK"},
		{"a VLEK signed", "Milan", 3, cloud, "signed-by", "VLEK"},                   // neg: 104
		{"the cloud of a VLEK", "Milan", 3, cloud, "csp", "CN=some-region.example"}, // neg: 107
		{"a VCEK has no cloud", "Milan", 3, nil, "csp", "not visible"},
		{"a VLEK on Turin", "Turin", 5, cloud, "csp", "CN=some-region.example"},
		{"a VLEK names no chip", "Milan", 3, cloud, "chip-id", "not visible"},
		{"a VLEK does not say whether the chip is masked", "Milan", 3, cloud, "chip-id-masked",
			"not visible"},
		{"nor does it vouch for a chip that stands beside it", "Milan", 3, func(s *scene) {
			cloud(s)
			s.raw = func(b []byte) { b[0x1a0] = 7 }
		}, "chip-denied", "not visible"},
		{"reported TCB", "Milan", 3, func(s *scene) { s.report.Reported = forge.TCB{1, 2, 3, 4} },
			"tcb-floor", "bootloader=1 tee=2 snp=3 microcode=4"}, // neg: 98
		{"launch TCB", "Milan", 3, func(s *scene) { s.report.Launch = forge.TCB{1, 2, 3, 4} },
			"launch-tcb-floor", "bootloader=1 tee=2 snp=3 microcode=4"},
		// neg: 99
		{"ordered", "Milan", 3, func(s *scene) { s.report.Reported[2]--; s.report.Current[3]++ },
			"tcb-order", "true"},
		{"reported above committed", "Milan", 3, func(s *scene) { s.report.Reported[2]++ },
			"tcb-order", "false"},
		{"committed above current", "Milan", 3, func(s *scene) { s.report.Current[0]-- },
			"tcb-order", "false"},
		{"TEE out of order", "Milan", 3, func(s *scene) { s.report.Committed[1]++ },
			"tcb-order", "false"},
		{"microcode out of order", "Milan", 3, func(s *scene) { s.report.Committed[3]++ },
			"tcb-order", "false"},
		{"committed firmware", "Milan", 3, nil, "provisional-firmware", "false"},
		{"firmware that can be rolled back", "Milan", 3, func(s *scene) { s.report.Kept[0]-- },
			"provisional-firmware", "true"},
		{"mitigations at launch", "Milan", 5, func(s *scene) { s.report.LaunchMIT = 3 },
			"launch-mit-vector", "3"},
		{"mitigations now", "Milan", 5, func(s *scene) { s.report.Mitigate = 5 },
			"current-mit-vector", "5"},
		// neg: 112
		{"mitigations at launch before version 5", "Milan", 3, nil, "launch-mit-vector", "not visible"},
		{"mitigations now before version 5", "Milan", 3, nil, "current-mit-vector", "not visible"},
		{"revocation is not read yet", "Milan", 3, nil, "crl", "missing"},

		// neg: 97
		{"a chip that names itself", "Milan", 3, nil, "chip-id-masked", "false"},
		{"a masked chip", "Milan", 3, mask, "chip-id-masked", "true"},
		{"a masked chip has no id", "Milan", 3, mask, "chip-id", "not visible"},
		{"chip id", "Milan", 3, nil, "chip-id", "c0c1c2"},
		// neg: 109
		{"no ID block", "Milan", 3, nil, "id-key-digest", strings.Repeat("00", 48)},
		{"an ID key", "Milan", 3, func(s *scene) { s.report.IDKeyDigest[0] = 0xab }, "id-key-digest", "ab00"},
		{"an author key", "Milan", 3, func(s *scene) { s.report.AuthorKeyDigest[0] = 0xcd },
			"author-key-digest", "cd00"},
		{"author key enabled", "Milan", 3, func(s *scene) { s.report.KeyInfo = 1 },
			"author-key-enabled", "true"},
		{"author key not enabled", "Milan", 3, nil, "author-key-enabled", "false"},
		{"family", "Milan", 3, raw(0x10, 0x11), "family-id", "1100"},
		{"image", "Milan", 3, raw(0x20, 0x22), "image-id", "2200"},
		{"host data", "Milan", 3, func(s *scene) { s.report.HostData[0] = 0xef }, "host-data", "ef00"}, // neg: 110
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t, row.product, row.version)
			if row.change != nil {
				row.change(s)
			}
			claims, err := s.verify(v)
			if err != nil {
				t.Fatal(err)
			}
			value, found := claims.Fact(factOf(t, row.check))
			if !found {
				t.Fatalf("no fact %s", factOf(t, row.check))
			}
			got := value.String()
			if value.Kind() == attestd.KindBytes && len(got) > len(row.want) {
				got = got[:len(row.want)]
			}
			if got != row.want {
				t.Errorf("%s is %s, want %s", factOf(t, row.check), got, row.want)
			}
		})
	}
}

func policyBit(bit int) func(*scene) { return func(s *scene) { s.report.Policy |= 1 << bit } }
func vmpl(level uint32) func(*scene) { return func(s *scene) { s.report.VMPL = level } }
func platform(info uint64) func(*scene) {
	return func(s *scene) { s.report.PlatformInfo = info }
}
func raw(at int, value byte) func(*scene) {
	return func(s *scene) { s.raw = func(b []byte) { b[at] = value } }
}

// mask makes the report of a host that hides the chip; the VCEK still names it.
func mask(s *scene) {
	chip := s.report.ChipID
	s.report.ChipID = [64]byte{}
	s.vcek = func(c *vcekConfig) { c.HWID = chip[:len(c.HWID)] }
}

func factOf(t *testing.T, check string) string {
	t.Helper()
	for _, spec := range newVerifier(t).Checks() {
		if spec.ID == attestd.CheckID("sev-snp/"+check) {
			return spec.Fact
		}
	}
	t.Fatalf("no check %s", check)
	return ""
}

// appraisedChecks is what policies are written against: name, fact, rule, class, group.
const appraisedChecks = `guest-policy-debug debug flag DEBUG debug
guest-policy-migrate migrate_ma flag PLATFORM platform
migration-agent migration_agent flag PLATFORM platform
guest-policy-smt policy_smt_allowed flag PLATFORM platform
guest-policy-single-socket policy_single_socket flag PLATFORM platform
guest-policy-cxl policy_cxl_allowed flag PLATFORM platform
guest-policy-aes-256-xts policy_mem_aes_256_xts flag PLATFORM platform
guest-policy-rapl policy_rapl_disabled flag PLATFORM platform
guest-policy-ciphertext-hiding policy_ciphertext_hiding flag PLATFORM platform
guest-policy-page-swap policy_page_swap_disabled flag PLATFORM platform
guest-policy-abi policy_abi at-least PLATFORM platform
vmpl vmpl one-of PLATFORM platform
host-requested host_requested flag PLATFORM platform
alias-check alias_check_complete flag PLATFORM platform
platform-smt smt_enabled flag PLATFORM platform
platform-tsme tsme_enabled flag PLATFORM platform
platform-ecc ecc_enabled flag PLATFORM platform
platform-rapl rapl_disabled flag PLATFORM platform
platform-ciphertext-hiding ciphertext_hiding_enabled flag PLATFORM platform
iommu-write-safe iommu_write_safe flag PLATFORM platform
platform-tio tio_enabled flag PLATFORM platform
unknown-bits unknown_bits flag UNSUPPORTED platform
guest-svn guest_svn at-least PLATFORM platform
product-line product one-of TCB tcb
product-exposed product none-of TCB tcb
tcb-floor reported_tcb floor TCB tcb
launch-tcb-floor launch_tcb floor TCB tcb
tcb-order tcb_ordered flag TCB tcb
provisional-firmware provisional_firmware flag TCB tcb
launch-mit-vector launch_mit_vector covers TCB tcb
current-mit-vector current_mit_vector covers TCB tcb
mit-entrysign mit_entrysign flag TCB tcb
mit-rmpocalypse mit_rmpocalypse flag TCB tcb
mit-stackwarp mit_stackwarp flag TCB tcb
crl crl one-of COLLATERAL_UNAVAILABLE collateral
crl-stale crl_stale flag COLLATERAL_STALE collateral
signed-by signing_key one-of PLATFORM identity
csp csp_id one-of PLATFORM identity
chip-id-masked chip_id_masked flag PLATFORM identity
chip-id chip_id digest PLATFORM identity
chip-denied chip_id none-of PLATFORM identity
id-key-digest id_key_digest digest PLATFORM identity
author-key-digest author_key_digest digest PLATFORM identity
author-key-enabled author_key_enabled flag PLATFORM identity
family-id family_id digest PLATFORM identity
image-id image_id digest PLATFORM identity
host-data host_data digest MEASUREMENT measurement
`

// ruleNames are the rules of this format's checks in words: the numbers behind them are nobody's
// contract, and move when a rule comes between.
var ruleNames = map[attestd.Rule]string{
	attestd.RuleFlag: "flag", attestd.RuleOneOf: "one-of", attestd.RuleAtLeast: "at-least",
	attestd.RuleFloor: "floor", attestd.RuleDigest: "digest", attestd.RuleCovers: "covers",
	attestd.RuleNoneOf: "none-of",
}

// cloud makes the report one that a cloud's VLEK signed.
func cloud(s *scene) { s.cloud = "CN=some-region.example" }

func TestAppraisedChecksAreThoseThatPoliciesName(t *testing.T) {
	var got strings.Builder
	for _, spec := range newVerifier(t).Checks() {
		if spec.Stage == attestd.StageAppraise {
			name := strings.TrimPrefix(string(spec.ID), "sev-snp/")
			fmt.Fprintln(&got, name, spec.Fact, ruleNames[spec.Rule], spec.Class, spec.Group)
		}
	}
	if got.String() != appraisedChecks {
		t.Errorf("got\n%s\nwant\n%s", got.String(), appraisedChecks)
	}
}

func TestClaimsHaveEveryDocumentedFactInOrder(t *testing.T) {
	claims, err := newScene(t, "Milan", 5).verify(forgedVerifier(t))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for fact := range claims.Facts() {
		got = append(got, fact.Name)
	}
	for _, spec := range newVerifier(t).Facts() {
		want = append(want, spec.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestHandles looks at what names the machine: 64 bytes, Turin's eight, and nothing where a VLEK
// signed, since a rule keyed on that would bar a whole cloud.
func TestHandles(t *testing.T) {
	v := forgedVerifier(t)
	long := newScene(t, "Milan", 3).report.ChipID
	for _, row := range []struct {
		product, host string
		change        func(*scene)
	}{
		{"Milan", hex.EncodeToString(long[:]), nil},
		{"Turin", "c0c1c2c3c4c5c6c7", nil},
		{"Turin-Dense", "c0c1c2c3c4c5c6c7", nil},
		{"Turin", "", mask}, {"Milan", "", mask}, {"Milan", "", cloud}, {"Turin", "", cloud},
		{"Milan", "", func(s *scene) { cloud(s); s.raw = func(b []byte) { b[0x1a0] = 7 } }},
	} {
		s := newScene(t, row.product, 5)
		if row.change != nil {
			row.change(s)
		}
		claims, err := s.verify(v)
		if err != nil {
			t.Fatal(err)
		}
		host := ""
		for handle := range claims.Handles() {
			if handle.Kind == attestd.HandleHost {
				host = handle.Value
			}
		}
		if host != row.host {
			t.Errorf("%s: host handle %q, want %q", row.product, host, row.host)
		}
	}
}

func TestMaskedChipHasNoHostHandle(t *testing.T) {
	s := newScene(t, "Milan", 3)
	mask(s)
	claims, err := s.verify(forgedVerifier(t))
	if err != nil {
		t.Fatal(err)
	}
	for handle := range claims.Handles() {
		if handle.Kind == attestd.HandleHost {
			t.Errorf("host handle %s of a masked chip", handle.Value)
		}
	}
	for _, check := range claims.Checks() {
		if check.ID == "sev-snp/vcek-chip-id" && check.Result != attestd.ResultNotApplicable {
			t.Errorf("the chip of a masked report counts as %v", check.Result)
		}
	}
}
