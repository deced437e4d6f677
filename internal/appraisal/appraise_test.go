package appraisal_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
)

const (
	rejects   = "rejects"
	undecided = "undecided"
	scored    = "scored"
	nothing   = "no reason"
)

func TestEnclavesUnderTheBuiltinPolicies(t *testing.T) {
	zero := make([]byte, 48)
	for _, row := range []struct {
		name     string
		neg      int
		document forge.Document
		check    attestd.CheckID
		// production and recorded are the effects of the check.
		production, recorded string
	}{
		{name: "a debug enclave is rejected", neg: 44, document: forge.Document{Debug: true},
			check: "nitro/debug", production: rejects, recorded: rejects},
		{name: "one zero register of three is debug", neg: 44,
			document: forge.Document{PCRs: map[uint64][]byte{2: zero}},
			check:    "nitro/debug", production: rejects, recorded: rejects},
		{name: "registers that are absent are a rejection", neg: 45,
			document: forge.Document{PCRs: map[uint64][]byte{0: nil, 1: nil, 2: nil}},
			check:    "nitro/measurements", production: rejects, recorded: rejects},
		{name: "an unknown measurement is scored in recorded", document: forge.Document{},
			check: "measurement/known", production: undecided, recorded: scored},
		{name: "nobody's enclave is scored in production", document: forge.Document{},
			check: "ownership/known", production: scored, recorded: nothing},
	} {
		t.Run(row.name, func(t *testing.T) {
			input := enclave(t, row.document)
			for name, want := range map[string]string{
				appraisal.Production: row.production, appraisal.Recorded: row.recorded,
			} {
				compareEffect(t, name, under(builtin(t, name), input), row.check, want)
			}
		})
	}
}

func compareEffect(
	t *testing.T, name string, verdict attestd.Appraisal, check attestd.CheckID, want string,
) {
	t.Helper()
	if got := effectOf(verdict, check); got != want {
		t.Errorf("%s: %s has effect %q, want %q; reasons %+v", name, check, got, want, verdict.Reasons)
	}
	if want == rejects && (verdict.Verdict != attestd.VerdictRejected || verdict.Risk.Int() != 100) {
		t.Errorf("%s: got %v with risk %v, want rejected with 100", name, verdict.Verdict, verdict.Risk)
	}
	if want != nothing && !failed(verdict, check) {
		t.Errorf("%s: check %s did not fail", name, check)
	}
}

func TestGuestsUnderTheBuiltinPolicies(t *testing.T) {
	const bitDebug, bitMigrate = 1 << 19, 1 << 18
	below := func(component int) func(*forge.SNPReport) {
		return func(r *forge.SNPReport) {
			// All others are as high as they can be: as one number, this TCB would be above the floor.
			level := forge.TCB{255, 255, 255, 255}
			r.Current, r.Committed, r.Launch = level, level, level
			level[component] = forge.TCB{3, 0, 23, 218}[component]
			r.Reported = level
		}
	}
	for _, row := range []struct {
		name                 string
		neg                  int
		version              uint32
		change               func(*forge.SNPReport)
		check                attestd.CheckID
		production, recorded string
	}{
		{name: "debug", neg: 92, change: func(r *forge.SNPReport) { r.Policy |= bitDebug },
			check: "sev-snp/guest-policy-debug", production: rejects, recorded: rejects},
		{name: "a guest that may migrate", neg: 93,
			change: func(r *forge.SNPReport) { r.Policy |= bitMigrate },
			check:  "sev-snp/guest-policy-migrate", production: rejects, recorded: rejects},
		{name: "a migration agent that the policy does not allow", neg: 93,
			change: func(r *forge.SNPReport) { r.ReportIDMA[3] = 7 },
			check:  "sev-snp/migration-agent", production: rejects, recorded: rejects},
		{name: "VMPL 1", neg: 94, change: func(r *forge.SNPReport) { r.VMPL = 1 },
			check: "sev-snp/vmpl", production: rejects, recorded: scored},
		{name: "VMPL 3", neg: 94, change: func(r *forge.SNPReport) { r.VMPL = 3 },
			check: "sev-snp/vmpl", production: rejects, recorded: scored},
		{name: "a report that the host asked for", neg: 94,
			change: func(r *forge.SNPReport) { r.VMPL = 0xffffffff },
			check:  "sev-snp/host-requested", production: rejects, recorded: rejects},
		{name: "a masked chip id", neg: 97,
			change: func(r *forge.SNPReport) { r.ChipID = [64]byte{} },
			check:  "sev-snp/chip-id-masked", production: rejects, recorded: scored},
		{name: "a boot loader below its floor, all else above", neg: 98, change: below(0),
			check: "sev-snp/tcb-floor", production: rejects, recorded: scored},
		{name: "SNP firmware below its floor, all else above", neg: 98, change: below(2),
			check: "sev-snp/tcb-floor", production: rejects, recorded: scored},
		{name: "microcode below its floor, all else above", neg: 98, change: below(3),
			check: "sev-snp/tcb-floor", production: rejects, recorded: scored},
		{name: "committed above current", neg: 99,
			change: func(r *forge.SNPReport) { r.Committed[3]++ },
			check:  "sev-snp/tcb-order", production: rejects, recorded: rejects},
		{name: "reported above current", neg: 99,
			change: func(r *forge.SNPReport) { r.Reported[2]++ },
			check:  "sev-snp/tcb-order", production: rejects, recorded: rejects},
		{name: "launched below the floor", neg: 99,
			change: func(r *forge.SNPReport) { r.Launch[2] = 8 },
			check:  "sev-snp/launch-tcb-floor", production: scored, recorded: nothing},
		{name: "memory aliases unchecked", neg: 111,
			change: func(r *forge.SNPReport) { r.PlatformInfo &^= 1 << 5 },
			check:  "sev-snp/alias-check", production: rejects, recorded: scored},
		{name: "a version that cannot show the alias check", neg: 111, version: 2,
			check: "sev-snp/alias-check", production: rejects, recorded: scored},
		{name: "platform bits that no known revision names", neg: 111,
			change: func(r *forge.SNPReport) { r.PlatformInfo |= 1 << 40 },
			check:  "sev-snp/unknown-bits", production: rejects, recorded: scored},
		{name: "provisional firmware", change: func(r *forge.SNPReport) { r.Kept[0]-- },
			check: "sev-snp/provisional-firmware", production: scored, recorded: scored},
		{name: "no revocation list", check: "sev-snp/crl", production: undecided, recorded: scored},
	} {
		t.Run(row.name, func(t *testing.T) {
			version := max(row.version, 3)
			if row.version != 0 {
				version = row.version
			}
			input := guest(t, "Milan", version, row.change)
			if input.Err != nil {
				t.Fatal(input.Err)
			}
			for name, want := range map[string]string{
				appraisal.Production: row.production, appraisal.Recorded: row.recorded,
			} {
				verdict := under(builtin(t, name), input)
				compareEffect(t, name, verdict, row.check, want)
				if want == scored && name == appraisal.Recorded &&
					verdict.Verdict != attestd.VerdictAccepted {
					t.Errorf("recorded: got %v, want accepted", verdict.Verdict)
				}
			}
		})
	}
}

// The microcode that AMD-SB-3019 asks for; Genoa's floor applied to Genoa-X, or the reverse, would pass
// microcode that takes anybody's updates, or refuse one that does not.
func TestMicrocodeFloorsAreThoseOfEachProduct(t *testing.T) {
	for product, floor := range map[string]uint8{ // neg: 98
		"Milan": 0xdb, "Milan-X": 0x44, "Genoa": 0x54, "Genoa-X": 0x4f, "Bergamo": 0x19,
		"Turin": 0x51, "Turin-Dense": 0x47,
	} {
		for _, name := range []string{appraisal.Production, appraisal.Recorded} {
			for level, want := range map[uint8]attestd.Result{
				floor: attestd.ResultPass, floor - 1: attestd.ResultFail,
			} {
				input := guest(t, product, 3, func(r *forge.SNPReport) { r.Reported[3] = level })
				var got attestd.Result
				for _, check := range under(builtin(t, name), input).Checks {
					if check.ID == "sev-snp/tcb-floor" {
						got = check.Result
					}
				}
				if got != want {
					t.Errorf("%s: %s at microcode %d: %v, want %v", name, product, level, got, want)
				}
			}
		}
	}
}

func TestAGoodGuestPassesEverythingButWhatCannotBeKnownYet(t *testing.T) {
	const rmp, stack = "sev-snp/mit-rmpocalypse", "sev-snp/mit-stackwarp"
	for product, open := range map[string][]string{
		"Milan":   {"sev-snp/product-exposed", rmp, stack},
		"Milan-X": {"sev-snp/product-exposed", rmp, stack},
		// The floors are those of an older bulletin than the mitigations' levels.
		"Genoa": {rmp, stack}, "Genoa-X": {rmp, stack},
		"Bergamo": {rmp, stack}, "Turin-Dense": {rmp, stack}, // for which none is known
		"Turin": nil,
	} {
		wanted := slices.Concat([]string{"roots/pinned"}, open, []string{"sev-snp/crl", "ownership/known"})
		input := guest(t, product, 3, nil)
		input.References = known(t, input, measurements.StateActive)
		verdict := under(builtin(t, appraisal.Production), input)
		var open []string
		for _, check := range verdict.Checks {
			if check.Result != attestd.ResultPass && check.Result != attestd.ResultNotApplicable {
				open = append(open, string(check.ID))
			}
		}
		if !slices.Equal(open, wanted) {
			t.Errorf("%s: open are %v, want %v", product, open, wanted)
		}
		// Without a revocation list nothing of SNP is accepted in production. A Milan that nobody owns is
		// not even undecided: no list could make good that anyone may have its root seed.
		tier := attestd.TierUnknown
		if strings.HasPrefix(product, "Milan") {
			tier = attestd.TierCritical
		}
		if verdict.Tier != tier || verdict.Verdict != tier.Verdict() {
			t.Errorf("%s: got %v %v, want %v", product, verdict.Verdict, verdict.Tier, tier)
		}
	}
}

func TestWhatAPolicyNamesIsDemanded(t *testing.T) {
	want := func(value string) string { return "{want: " + value + ", otherwise: reject}" }
	digest := fmt.Sprintf("[\"%x\"]", forge.AWSRegister(9))
	plain := enclave(t, forge.Document{PCRs: map[uint64][]byte{4: nil}})
	zeroed := enclave(t, forge.Document{PCRs: map[uint64][]byte{4: make([]byte, 48)}})
	milan := guest(t, "Milan", 3, nil)
	byCloud := guest(t, "Milan", 3, func(r *forge.SNPReport) { *r = r.WithVLEK() })
	for _, row := range []struct {
		name  string
		neg   int
		input appraisal.Input
		rules map[string]string
		check attestd.CheckID
	}{
		{name: "a role is wanted, the register is zero", neg: 49, input: plain,
			rules: map[string]string{"pcr3-role": want(digest)}, check: "nitro/pcr3-role"},
		{name: "an instance is wanted, the register is absent", neg: 49, input: plain,
			rules: map[string]string{"pcr4-instance": want(digest)}, check: "nitro/pcr4-instance"},
		{name: "an instance is wanted, the register is zero", neg: 49, input: zeroed,
			rules: map[string]string{"pcr4-instance": want(digest)}, check: "nitro/pcr4-instance"},
		{name: "an instance is wanted, it is another", neg: 49, input: enclave(t, forge.Document{}),
			rules: map[string]string{"pcr4-instance": want(digest)}, check: "nitro/pcr4-instance"},
		{name: "a signer is wanted, the register is zero", neg: 49, input: plain,
			rules: map[string]string{"pcr8-signer": want(digest)}, check: "nitro/pcr8-signer"},
		{name: "host data is wanted, it is another", neg: 110, input: milan,
			rules: map[string]string{"host-data": want(`["` + strings.Repeat("a1", 32) + `"]`)},
			check: "sev-snp/host-data"},
		{name: "an id block is wanted, there is none", neg: 109, input: milan,
			rules: map[string]string{"id-key-digest": want(`["` + strings.Repeat("a1", 48) + `"]`)},
			check: "sev-snp/id-key-digest"},
		{name: "an author key is wanted, there is none", neg: 109, input: milan,
			rules: map[string]string{"author-key-enabled": want("true")},
			check: "sev-snp/author-key-enabled"},
		{name: "SMT is forbidden, it is on", neg: 111, input: milan,
			rules: map[string]string{"platform-smt": want("false")}, check: "sev-snp/platform-smt"},
		{name: "a mitigation is wanted, version 3 has no field for it", neg: 112, input: milan,
			rules: map[string]string{"launch-mit-vector": want("[0]")}, check: "sev-snp/launch-mit-vector"},
		{name: "a mitigation is wanted, version 2 has no field for it", neg: 112,
			input: guest(t, "Milan", 2, nil),
			rules: map[string]string{"current-mit-vector": want("[0]")}, check: "sev-snp/current-mit-vector"},
		{name: "Milan is not wanted", neg: 116, input: milan,
			rules: map[string]string{"product-line": want("[Genoa]")}, check: "sev-snp/product-line"},
		{name: "this chip is denied", neg: 116, input: milan,
			rules: map[string]string{"chip-denied": "{deny: [\"" + strings.Repeat("77", 64) + "\", \"" +
				chipOf(milan) + "\"], otherwise: reject}"}, check: "sev-snp/chip-denied"},
		{name: "a chip is denied, and this one is masked", neg: 116,
			input: guest(t, "Milan", 3, func(r *forge.SNPReport) { r.ChipID = [64]byte{} }),
			rules: map[string]string{"chip-denied": "{deny: [\"" + chipOf(milan) + "\"], otherwise: reject}"},
			check: "sev-snp/chip-denied"},
		{name: "another cloud is wanted", neg: 107, input: byCloud,
			rules: map[string]string{"csp": want("[CN=other-region.example]")}, check: "sev-snp/csp"},
		{name: "a cloud is wanted, a chip's own key signed", neg: 107, input: milan,
			rules: map[string]string{"csp": want("[" + cloud + "]")}, check: "sev-snp/csp"},
		{name: "a chip's own key is wanted, a cloud's signed", neg: 104, input: byCloud,
			rules: map[string]string{"signed-by": want("[VCEK]")}, check: "sev-snp/signed-by"},
		{name: "a named chip is wanted, a cloud's key signed", neg: 97, input: byCloud,
			rules: map[string]string{"chip-id-masked": want("false")}, check: "sev-snp/chip-id-masked"},
		{name: "a masked chip is wanted, a cloud's key signed", neg: 97, input: byCloud,
			rules: map[string]string{"chip-id-masked": want("true")}, check: "sev-snp/chip-id-masked"},
		{name: "proof against IOMMU writes is wanted, there is none", neg: 111,
			input: guest(t, "Genoa", 5, nil),
			rules: map[string]string{"iommu-write-safe": want("true")}, check: "sev-snp/iommu-write-safe"},
		{name: "proof against IOMMU writes is wanted, version 3 has no bit for it", neg: 111, input: milan,
			rules: map[string]string{"iommu-write-safe": want("true")}, check: "sev-snp/iommu-write-safe"},
		{name: "IOMMU writes are wanted, version 3 has no bit for them", neg: 111, input: milan,
			rules: map[string]string{"iommu-write-safe": want("false")}, check: "sev-snp/iommu-write-safe"},
		{name: "a mitigation is wanted, no level is known for the product", input: milan,
			rules: map[string]string{"mit-rmpocalypse": want("true")}, check: "sev-snp/mit-rmpocalypse"},
		{name: "an absent mitigation is wanted, no level is known for the product", input: milan,
			rules: map[string]string{"mit-rmpocalypse": want("false")}, check: "sev-snp/mit-rmpocalypse"},
		{name: "a mitigation's bit is wanted, it is not set", neg: 112, input: guest(t, "Genoa", 5, nil),
			rules: map[string]string{"current-mit-vector": want("[0, 2]")}, check: "sev-snp/current-mit-vector"},
		{name: "a floor is given for another product only", neg: 98, input: milan,
			rules: map[string]string{"tcb-floor": want(
				"{Genoa: {bootloader: 0, tee: 0, snp: 0, microcode: 0}}")}, check: "sev-snp/tcb-floor"},
		{name: "a component has no floor", neg: 98, input: milan,
			rules: map[string]string{"tcb-floor": want("{Milan: {bootloader: 0, tee: 0, snp: 0}}")},
			check: "sev-snp/tcb-floor"},
		{name: "a floor has no component", neg: 98, input: milan,
			rules: map[string]string{"tcb-floor": want(
				"{Milan: {bootloader: 0, tee: 0, snp: 0, microcode: 0, fmc: 0}}")}, check: "sev-snp/tcb-floor"},
		{name: "an owner is wanted, none is known", input: milan,
			rules: map[string]string{"ownership/known": want("[inventory]")}, check: "ownership/known"},
	} {
		t.Run(row.name, func(t *testing.T) {
			verdict := under(demanding(t, row.input, row.rules), row.input)
			compareEffect(t, "only", verdict, row.check, rejects)
			for _, reason := range verdict.Reasons {
				if reason.Check != row.check && reason.Check != appraisal.CheckRoots {
					t.Errorf("also failed: %+v", reason)
				}
				// No firmware meets a floor that is not there: the policy is what is to be mended.
				if reason.Check == "sev-snp/tcb-floor" && !strings.Contains(reason.Remedy, "in the policy") {
					t.Errorf("got remedy %q, want one for the policy", reason.Remedy)
				}
			}
		})
	}
}

// TestEveryAppraisedCheckIsMade makes, for every appraised check of every format, one policy that the
// evidence meets and one that it does not, and nothing else is demanded.
func TestEveryAppraisedCheckIsMade(t *testing.T) {
	count := 0
	for _, input := range []appraisal.Input{
		enclave(t, forge.Document{PCRs: map[uint64][]byte{
			3: forge.AWSRegister(3), 8: forge.AWSRegister(8)}}),
		enclave(t, forge.Document{NitroTPM: true, PCRs: map[uint64][]byte{12: forge.AWSRegister(12)}}),
		guest(t, "Genoa", 5, func(r *forge.SNPReport) {
			r.HostData[0], r.IDKeyDigest[0], r.AuthorKeyDigest[0] = 1, 1, 1
		}),
	} {
		if input.Err != nil {
			t.Fatal(input.Err)
		}
		for _, spec := range input.Specs {
			if spec.Stage != attestd.StageAppraise {
				continue
			}
			value, ok := input.Claims.Fact(spec.Fact)
			if !ok {
				t.Errorf("%s compares %q, which is no fact of the claims", spec.ID, spec.Fact)
				continue
			}
			met, unmet := wants(input.Claims.Product(), spec.Rule, value)
			if text, _ := value.Text(); len(spec.Values) > 0 {
				met, unmet = closed(spec, text)
			}
			if met == "" {
				if !slices.Contains(unmeetable, spec.ID) {
					t.Errorf("%s: nothing meets %s %v", spec.ID, spec.Fact, value)
				}
				met = "any"
			}
			count++
			name := strings.TrimPrefix(string(spec.ID), string(input.Format)+"/")
			if verdict := under(demanding(t, input, map[string]string{name: met}), input); failed(verdict,
				spec.ID) || verdict.Verdict != attestd.VerdictAccepted {
				t.Errorf("%s: %s is failed by %v: %+v", spec.ID, met, value, verdict.Reasons)
			}
			verdict := under(demanding(t, input, map[string]string{name: unmet}), input)
			if !failed(verdict, spec.ID) || verdict.Verdict != attestd.VerdictRejected {
				t.Errorf("%s: %s is met by %v", spec.ID, unmet, value)
			}
		}
	}
	if count < 40 {
		t.Errorf("got %d appraised checks, want 40 or more", count)
	}
}

// closed does what wants does, for a fact whose texts are listed.
func closed(spec attestd.CheckSpec, text string) (met, unmet string) {
	for _, value := range spec.Values {
		denied := spec.Rule == attestd.RuleNoneOf
		key := map[bool]string{false: "want", true: "deny"}[denied]
		if rule := fmt.Sprintf("{%s: [%s], otherwise: reject}", key, value); (value == text) != denied {
			met = rule
		} else {
			unmet = rule
		}
	}
	return met, unmet
}

// unmeetable are checks whose facts the forged evidence does not have: fields of zeros, the region,
// which is not visible in an instance's module id, and a revocation list, of which it has none.
var unmeetable = []attestd.CheckID{
	"sev-snp/family-id", "sev-snp/image-id", "nitrotpm/region", "sev-snp/crl",
	"nitro/crl", "nitrotpm/crl",
	"sev-snp/csp", // of a cloud's key, and a chip's own signed
}
