package appraisal_test

import (
	"slices"
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

// TestAMilanIsNeverOfLowRisk: whoever has the root seed of a chip signs what he wants, at any level,
// so that nothing in a report can show it. The policies that lead to identities put points on the
// product, which alone make a medium risk, and which do not add up with those of low firmware.
// neg: 116
func TestAMilanIsNeverOfLowRisk(t *testing.T) {
	for _, name := range []string{appraisal.Production, appraisal.Laboratory, appraisal.Recorded} {
		scored := 40
		if name == appraisal.Recorded {
			scored = 10
		}
		exposed := map[string]int{"Milan": scored, "Milan-X": scored}
		for _, product := range []string{
			"Milan", "Milan-X", "Genoa", "Genoa-X", "Bergamo", "Turin", "Turin-Dense",
		} {
			verdict := under(builtin(t, name), guest(t, product, 5, nil))
			if got := pointsOf(verdict, "sev-snp/product-exposed"); got != exposed[product] {
				t.Errorf("%s, %s: %d points, want %d", name, product, got, exposed[product])
			}
		}
	}
	if alone := attestd.Risk(40).Tier(); alone != attestd.TierMedium {
		t.Errorf("an enrolled Milan without another fault is of %v risk, want medium", alone)
	}
	// One root cause: the points of the product and those of the levels are not added.
	input := guest(t, "Milan", 5, func(r *forge.SNPReport) { r.Reported = forge.TCB{} })
	verdict := under(demanding(t, input, map[string]string{
		"product-exposed": "{deny: [Milan], otherwise: 40}",
		"mit-entrysign":   "{want: true, otherwise: 25}",
	}), input)
	reasons := slices.DeleteFunc(verdict.Reasons, func(r attestd.Reason) bool {
		return r.Check == appraisal.CheckRoots // a floor, and no summand
	})
	if risk, _ := appraisal.Score(reasons); risk.Int() != 40 || len(reasons) != 2 {
		t.Errorf("risk %v of %v, want the larger of 40 and 25", risk, reasons)
	}
}

// TestAChipIsDeniedByItsIDOrItsProduct denies one chip, and one product, of two. neg: 116
func TestAChipIsDeniedByItsIDOrItsProduct(t *testing.T) {
	input := guest(t, "Milan", 5, nil)
	for rule, want := range map[string]attestd.Result{
		"product-exposed: {deny: [Milan], otherwise: reject}":        attestd.ResultFail,
		"product-exposed: {deny: [Genoa, Milan], otherwise: reject}": attestd.ResultFail,
		"product-exposed: {deny: [Milan-X], otherwise: reject}":      attestd.ResultPass,
		"product-exposed: any": attestd.ResultNotApplicable,
		"chip-denied: {deny: [\"" + chipOf(input) + "\"], otherwise: reject}":     attestd.ResultFail,
		"chip-denied: {deny: [\"" + chipOf(input)[2:] + "\"], otherwise: reject}": attestd.ResultPass,
	} {
		name, value, _ := strings.Cut(rule, ": ")
		verdict := under(demanding(t, input, map[string]string{name: value}), input)
		id := attestd.CheckID("sev-snp/" + name)
		rejected := verdict.Verdict == attestd.VerdictRejected
		if got := resultOf(verdict, id); got != want || rejected != (want == attestd.ResultFail) {
			t.Errorf("%s: %v and %v, want %v", rule, got, verdict.Verdict, want)
		}
	}
}

// TestAMitigationThatIsNotVisibleIsNotThere: production scores what is proven absent and what cannot
// be seen alike, and both less than a product that is exposed.
func TestAMitigationThatIsNotVisibleIsNotThere(t *testing.T) {
	const check = "sev-snp/mit-rmpocalypse"
	mended := forge.TCB{0x0a, 0, 0x1b, 0x56}
	low := forge.TCB{0x0a, 0, 0x17, 0x54}
	at := func(level forge.TCB) func(*forge.SNPReport) {
		return func(r *forge.SNPReport) {
			r.Reported, r.Committed, r.Current, r.Launch = level, level, level, level
		}
	}
	for _, row := range []struct {
		name, product string
		change        func(*forge.SNPReport)
		want          int
	}{
		{"proven", "Genoa", at(mended), 0},
		{"absent", "Genoa", at(low), 10},
		{"not visible", "Bergamo", nil, 10},
	} {
		input := guest(t, row.product, 5, row.change)
		for _, policy := range []string{appraisal.Production, appraisal.Laboratory} {
			if got := pointsOf(under(builtin(t, policy), input), check); got != row.want {
				t.Errorf("%s, %s: %d points, want %d", policy, row.name, got, row.want)
			}
		}
	}
}

func pointsOf(verdict attestd.Appraisal, id attestd.CheckID) int {
	for _, reason := range verdict.Reasons {
		if reason.Check == id {
			return reason.Points
		}
	}
	return 0
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
	good := strings.Replace(recordedPolicy(t),
		"product-exposed: {deny: [Milan, Milan-X], otherwise: 10}", "product-exposed: any", 1)
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
		"product-exposed: {want: [Milan], otherwise: 40}":         "unknown key",
		"product-exposed: {deny: [], otherwise: 40}":              "empty",
		"product-exposed: {deny: [milan], otherwise: 40}":         "want one of: Milan, Milan-X",
		"product-exposed: {deny: [Milan, Milan], otherwise: 40}":  "stands twice",
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
