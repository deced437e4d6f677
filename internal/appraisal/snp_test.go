package appraisal_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/testvectors/forge"
)

func chipOf(input appraisal.Input) string {
	value, _ := input.Claims.Fact("chip_id")
	return value.String()
}

// TestTurinsFloors lowers one component at a time. FMC stands where older products have the boot
// loader's level: read in their order it would be held to the wrong floor. neg: 98, 102
func TestTurinsFloors(t *testing.T) {
	const floors = "{want: {Turin: {fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 81}}, otherwise: reject}"
	met := forge.TCB{1, 1, 4, 81, 1} // bootloader, TEE, SNP, microcode, FMC
	for lowered := -1; lowered < len(met); lowered++ {
		level := met
		want := attestd.ResultPass
		if lowered >= 0 {
			level = forge.TCB{255, 255, 255, 255, 255}
			level[lowered] = met[lowered] - 1
			want = attestd.ResultFail
		}
		input := guest(t, "Turin", 5, func(r *forge.SNPReport) {
			r.Reported, r.Committed, r.Current, r.Launch = level, level, level, level
		})
		if input.Err != nil {
			t.Fatal(input.Err)
		}
		verdict := under(demanding(t, input, map[string]string{"tcb-floor": floors}), input)
		if got := resultOf(verdict, "sev-snp/tcb-floor"); got != want {
			t.Errorf("component %d lowered: %v, want %v", lowered, got, want)
		}
	}
}

func resultOf(verdict attestd.Appraisal, id attestd.CheckID) attestd.Result {
	for _, check := range verdict.Checks {
		if check.ID == id {
			return check.Result
		}
	}
	return attestd.ResultFail
}

// TestAMilanCanBeHeldAtARisk: whoever has the root seed of a chip signs what he wants, at any level,
// so that nothing in a report can show it. A policy can put a floor under the risk of the product.
// neg: 116
func TestAMilanCanBeHeldAtARisk(t *testing.T) {
	const rule = "{want: [Genoa, Genoa-X, Bergamo, Turin, Turin-Dense], otherwise: 40}"
	for product, want := range map[string]int{"Milan": 40, "Milan-X": 40, "Genoa": 0, "Turin": 0} {
		input := guest(t, product, 5, nil)
		verdict := under(demanding(t, input, map[string]string{"product-line": rule}), input)
		points := 0
		for _, reason := range verdict.Reasons {
			if reason.Check == "sev-snp/product-line" {
				points = reason.Points
			}
		}
		if points != want || verdict.Risk.Int() < want {
			t.Errorf("%s: %d points and risk %v, want %d", product, points, verdict.Risk, want)
		}
	}
}

// TestProductionWantsAChipOfItsOwn shows what production says of a key that names no chip: it wants a
// chip, whatever else is good. neg: 97, 104
func TestProductionWantsAChipOfItsOwn(t *testing.T) {
	input := guest(t, "Milan", 3, func(r *forge.SNPReport) { *r = r.WithVLEK() })
	verdict := under(builtin(t, appraisal.Production), input)
	compareEffect(t, appraisal.Production, verdict, "sev-snp/chip-id-masked", rejects)
	verdict = under(builtin(t, appraisal.Recorded), input)
	compareEffect(t, appraisal.Recorded, verdict, "sev-snp/chip-id-masked", scored)
}

// TestDenyIsNotWant: a list of what must not be, written as one of what is wanted, is refused, and so
// is the reverse; an empty one denies nothing, and is written `any`.
func TestDenyIsNotWant(t *testing.T) {
	good := recordedPolicy(t)
	chip := "[\"" + strings.Repeat("77", 64) + "\"]"
	for rule, wrong := range map[string]string{
		"chip-denied: {want: " + chip + ", otherwise: reject}":    "unknown key",
		"chip-id: {deny: " + chip + ", otherwise: reject}":        "unknown key",
		"chip-denied: {deny: [], otherwise: reject}":              "empty",
		"chip-denied: {deny: [\"00\"], otherwise: reject}":        "all zero",
		"chip-denied: {deny: [\"7x\"], otherwise: reject}":        "is not hex",
		"chip-denied: {otherwise: reject}":                        "is missing",
		"chip-denied: " + chip:                                    "want {deny: ..., otherwise: ...}, or any",
		"chip-denied: {deny: " + chip + ", otherwise: reject}":    "",
		"chip-denied: {deny: " + chip + ", otherwise: undecided}": "",
	} {
		name, _, _ := strings.Cut(rule, ":")
		doc := strings.Replace(good, "    "+name+": any\n", "    "+rule+"\n", 1)
		_, err := appraisal.ParsePolicy("mine.yaml", []byte(doc))
		switch {
		case wrong == "" && err != nil:
			t.Errorf("%s: %v", rule, err)
		case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%s: got %v, want %q", rule, err, wrong)
		}
	}
}

// TestEveryBitCanBeAddressed names each bit of POLICY and PLATFORM_INFO that has a meaning, wants it
// set and wants it clear: each is its own rule. neg: 111
func TestEveryBitCanBeAddressed(t *testing.T) {
	policy := map[string]uint{
		"guest-policy-smt": 16, "guest-policy-migrate": 18, "guest-policy-debug": 19,
		"guest-policy-single-socket": 20, "guest-policy-cxl": 21, "guest-policy-aes-256-xts": 22,
		"guest-policy-rapl": 23, "guest-policy-ciphertext-hiding": 24, "guest-policy-page-swap": 25,
	}
	platform := map[string]uint{
		"platform-smt": 0, "platform-tsme": 1, "platform-ecc": 2, "platform-rapl": 3,
		"platform-ciphertext-hiding": 4, "alias-check": 5, "iommu-write-safe": 6, "platform-tio": 7,
	}
	for _, set := range []bool{false, true} {
		input := guest(t, "Genoa", 5, func(r *forge.SNPReport) {
			r.Policy, r.PlatformInfo = 1<<17, 0
			if set {
				r.Policy, r.PlatformInfo = 1<<26-1<<16, 0xff
			}
		})
		if input.Err != nil {
			t.Fatal(input.Err)
		}
		for name := range concat(policy, platform) {
			for _, want := range []bool{false, true} {
				rule := map[bool]string{
					false: "{want: false, otherwise: reject}", true: "{want: true, otherwise: reject}"}[want]
				verdict := under(demanding(t, input, map[string]string{name: rule}), input)
				failed := failed(verdict, attestd.CheckID("sev-snp/"+name))
				if failed == (want == set) {
					t.Errorf("%s is %v, wanted %v: failed %v", name, set, want, failed)
				}
			}
		}
	}
	// One bit alone must not move another's rule.
	for name, bit := range platform {
		input := guest(t, "Genoa", 5, func(r *forge.SNPReport) { r.PlatformInfo = 1 << bit })
		for other := range platform {
			rules := map[string]string{other: "{want: true, otherwise: reject}"}
			verdict := under(demanding(t, input, rules), input)
			if failed(verdict, attestd.CheckID("sev-snp/"+other)) == (other == name) {
				t.Errorf("only bit %d is set: %s", bit, other)
			}
		}
	}
}

func concat(maps ...map[string]uint) map[string]uint {
	out := map[string]uint{}
	for _, from := range maps {
		for name, bit := range from {
			out[name] = bit
		}
	}
	return out
}
