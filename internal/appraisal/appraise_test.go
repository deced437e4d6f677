package appraisal_test

import (
	"bytes"
	"errors"
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
			level[component] = [4]uint8{3, 0, 23, 218}[component]
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
	for _, product := range []string{"Milan", "Milan-X", "Genoa", "Genoa-X", "Bergamo"} {
		input := guest(t, product, 3, nil)
		input.References = known(t, input, measurements.StateActive)
		verdict := under(builtin(t, appraisal.Production), input)
		var open []string
		for _, check := range verdict.Checks {
			if check.Result != attestd.ResultPass && check.Result != attestd.ResultNotApplicable {
				open = append(open, string(check.ID))
			}
		}
		want := []string{"roots/pinned", "sev-snp/crl", "ownership/known"}
		if !slices.Equal(open, want) {
			t.Errorf("%s: open are %v, want %v", product, open, want)
		}
		// Until revocation lists are read, nothing of SNP is accepted in production.
		if verdict.Verdict != attestd.VerdictUndecided || verdict.Tier != attestd.TierUnknown {
			t.Errorf("%s: got %v %v, want undecided unknown", product, verdict.Verdict, verdict.Tier)
		}
	}
}

func TestWhatAPolicyNamesIsDemanded(t *testing.T) {
	want := func(value string) string { return "{want: " + value + ", otherwise: reject}" }
	digest := fmt.Sprintf("[\"%x\"]", forge.AWSRegister(9))
	plain := enclave(t, forge.Document{PCRs: map[uint64][]byte{4: nil}})
	zeroed := enclave(t, forge.Document{PCRs: map[uint64][]byte{4: make([]byte, 48)}})
	milan := guest(t, "Milan", 3, nil)
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
			if text, _ := value.Text(); len(spec.Values) > 0 && !slices.Contains(spec.Values, text) {
				met, unmet = "", fmt.Sprintf("{want: [%s], otherwise: reject}", spec.Values[0])
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

// unmeetable are checks whose facts the forged evidence does not have: fields of zeros, the region,
// which is not visible in an instance's module id, and a revocation list, which nobody reads yet.
var unmeetable = []attestd.CheckID{
	"sev-snp/family-id", "sev-snp/image-id", "nitrotpm/region", "sev-snp/crl",
}

// wants returns a rule that value meets and one that it does not; met is empty where value is one
// that no rule may want, such as a field of zeros.
func wants(product string, kind attestd.Rule, value attestd.Value) (met, unmet string) {
	rule := func(format string, args ...any) string {
		return "{want: " + fmt.Sprintf(format, args...) + ", otherwise: reject}"
	}
	switch kind {
	case attestd.RuleFlag:
		flag, _ := value.Bool()
		return rule("%t", flag), rule("%t", !flag)
	case attestd.RuleAtLeast:
		number, _ := value.Uint()
		return rule("%d", number), rule("%d", number+1)
	case attestd.RuleOneOf:
		if number, ok := value.Uint(); ok {
			return rule("[%d, %d]", number+9, number), rule("[%d]", number+1)
		}
		text, ok := value.Text()
		if !ok {
			return "", rule("[other]")
		}
		return rule("[other, %q]", text), rule("[other]")
	case attestd.RuleDigest:
		raw, _ := value.Bytes()
		other := bytes.Clone(raw)
		other[0] ^= 0xff
		if !slices.ContainsFunc(raw, func(b byte) bool { return b != 0 }) {
			return "", rule("[\"%x\"]", other)
		}
		return rule("[\"%x\", \"%x\"]", other, raw), rule("[\"%x\"]", other)
	case attestd.RuleFloor:
		components, _ := value.Components()
		floor := func(raised int) string {
			var parts []string
			for i, component := range components {
				if i == raised {
					component.Value++
				}
				parts = append(parts, fmt.Sprintf("%s: %d", component.Name, component.Value))
			}
			return rule("{%s: {%s}}", product, strings.Join(parts, ", "))
		}
		return floor(-1), floor(len(components) - 1)
	default:
		return "", ""
	}
}

func TestReferenceValues(t *testing.T) {
	input := enclave(t, forge.Document{})
	other := enclave(t, forge.Document{PCRs: map[uint64][]byte{2: forge.AWSRegister(99)}})
	for _, row := range []struct {
		name, want string
		references *measurements.Index
		verdict    attestd.Verdict
		got        string
	}{
		{"no index at all leaves production undecided", undecided, nil, attestd.VerdictUndecided,
			"PCR0 "},
		{"a proposed value is none", undecided, known(t, input, measurements.StateProposed),
			attestd.VerdictUndecided, "proposed only: web"},
		{"an active value is met", nothing, known(t, input, measurements.StateActive),
			attestd.VerdictAccepted, "web / measured"},
		{"a retiring value is met, and it is said", nothing,
			known(t, input, measurements.StateRetiring), attestd.VerdictAccepted, "(retiring)"},
		{"another value is a rejection that names the closest", rejects,
			known(t, other, measurements.StateActive), attestd.VerdictRejected,
			"closest web / measured (1 of 3 differ)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			input := input
			input.References = row.references
			verdict := under(builtin(t, appraisal.Production), input)
			if got := effectOf(verdict, appraisal.CheckMeasurement); got != row.want ||
				verdict.Verdict != row.verdict {
				t.Errorf("got %v, %v, want %v, %v", got, verdict.Verdict, row.want, row.verdict)
			}
			for _, check := range verdict.Checks {
				if check.ID == appraisal.CheckMeasurement && !strings.Contains(check.Got, row.got) {
					t.Errorf("got %q, want it to contain %q", check.Got, row.got)
				}
			}
		})
	}
}

func TestReferenceValuesAreMadeOnlyOfWhatRuns(t *testing.T) {
	set, err := measurements.FromClaims("web", enclave(t, forge.Document{}).Claims)
	if err != nil || len(set.Values[0].Registers) != 3 || set.Values[0].State.Matches() {
		t.Errorf("got %+v, %v, want a proposed value of registers 0 to 2", set, err)
	}
	for name, claims := range map[string]*attestd.Claims{
		"a debug enclave":   enclave(t, forge.Document{Debug: true}).Claims,
		"a debug guest":     guest(t, "Milan", 3, func(r *forge.SNPReport) { r.Policy |= 1 << 19 }).Claims,
		"unverified claims": nil,
		"zero claims":       {},
	} {
		if set, err := measurements.FromClaims("web", claims); err == nil || set != nil {
			t.Errorf("%s: got %+v, want an error", name, set)
		}
	}
	var caller *attestd.CallerError
	_, err = measurements.FromClaims("a name", enclave(t, forge.Document{}).Claims)
	if !errors.As(err, &caller) || caller.Hint == "" {
		t.Errorf("got %v, want a CallerError with a hint", err)
	}
}

func TestWhatIsNotProvenIsNeverAccepted(t *testing.T) {
	good := enclave(t, forge.Document{})
	good.References = known(t, good, measurements.StateActive)
	other := enclave(t, forge.Document{Nonce: []byte("another")})
	policy := builtin(t, appraisal.Production)
	if verdict := under(policy, good); verdict.Verdict != attestd.VerdictAccepted {
		t.Fatalf("got %v, want the good input accepted: %+v", verdict.Verdict, verdict.Reasons)
	}
	for _, row := range []struct {
		name   string
		change func(*appraisal.Input)
		check  attestd.CheckID
		want   attestd.Verdict
	}{
		{"nil claims without an error", func(i *appraisal.Input) { i.Claims = nil },
			appraisal.CheckClaims, attestd.VerdictRejected},
		{"zero claims without an error", func(i *appraisal.Input) { i.Claims = &attestd.Claims{} },
			appraisal.CheckClaims, attestd.VerdictRejected},
		{"zero claims about nothing", func(i *appraisal.Input) {
			*i = appraisal.Input{Claims: &attestd.Claims{}, Policy: i.Policy}
		}, appraisal.CheckClaims, attestd.VerdictRejected},
		{"an answer that is nil", func(i *appraisal.Input) { i.Err = (*attestd.EvidenceError)(nil) },
			appraisal.CheckClaims, attestd.VerdictRejected},
		{"a missing answer that is nil", func(i *appraisal.Input) { i.Err = (*attestd.UndecidedError)(nil) },
			appraisal.CheckClaims, attestd.VerdictRejected},
		// neg: 53
		{"claims and an error together", func(i *appraisal.Input) {
			i.Err = &attestd.EvidenceError{Check: "nitro/signature", Class: attestd.ClassSignature}
		}, "nitro/signature", attestd.VerdictRejected},
		{"an error that is no answer", func(i *appraisal.Input) { i.Err = errors.New("lost") },
			appraisal.CheckClaims, attestd.VerdictRejected},
		{"claims of another format", func(i *appraisal.Input) { i.Format = attestd.FormatSEVSNP },
			appraisal.CheckClaims, attestd.VerdictRejected},
		{"claims about other evidence", func(i *appraisal.Input) { i.Claims = other.Claims },
			appraisal.CheckClaims, attestd.VerdictRejected},
		{"something missing", func(i *appraisal.Input) {
			i.Err = &attestd.UndecidedError{Check: "nitro/chain",
				Class: attestd.ClassCollateralUnavailable}
		}, "nitro/chain", attestd.VerdictUndecided},
		// neg: 176
		{"no policy", func(i *appraisal.Input) { i.Policy = nil }, appraisal.CheckPolicy,
			attestd.VerdictUndecided},
		{"a policy that does not name the format", func(i *appraisal.Input) {
			guests := guest(t, "Milan", 3, nil)
			i.Policy = demanding(t, guests, nil)
		}, appraisal.CheckFormat, attestd.VerdictRejected},
		{"a zero policy", func(i *appraisal.Input) { i.Policy = &appraisal.Policy{} },
			appraisal.CheckFormat, attestd.VerdictRejected},
	} {
		t.Run(row.name, func(t *testing.T) {
			input := good
			input.Policy = policy
			row.change(&input)
			verdict := appraisal.Appraise(input)
			if verdict.Verdict != row.want || verdict.Risk.Int() != 100 {
				t.Errorf("got %v with risk %v, want %v with 100", verdict.Verdict, verdict.Risk, row.want)
			}
			if len(verdict.Reasons) == 0 || verdict.Reasons[0].Check != row.check {
				t.Errorf("got %+v, want %s first", verdict.Reasons, row.check)
			}
		})
	}
}

func TestADefiniteRejectionOutranksUndecided(t *testing.T) {
	input := guest(t, "Milan", 3, func(r *forge.SNPReport) { r.Policy |= 1 << 19 })
	verdict := under(builtin(t, appraisal.Production), input)
	if verdict.Verdict != attestd.VerdictRejected || effectOf(verdict, "sev-snp/crl") != undecided {
		t.Errorf("got %v, %+v, want rejected with the missing list beside it", verdict.Verdict,
			verdict.Reasons)
	}
	if verdict.Reasons[0].Check != "sev-snp/guest-policy-debug" {
		t.Errorf("got %s first, want what rejects first", verdict.Reasons[0].Check)
	}
}

func TestInsecureRootsKeepTheRiskAtSixty(t *testing.T) {
	input := enclave(t, forge.Document{})
	for name, policy := range map[string]*appraisal.Policy{
		"a policy that demands nothing": demanding(t, input, nil),
		"recorded":                      builtin(t, appraisal.Recorded),
	} {
		verdict := under(policy, input)
		if verdict.Risk.Int() != appraisal.RootsFloor || !failed(verdict, appraisal.CheckRoots) {
			t.Errorf("%s: got risk %v, want 60 by a failed roots/pinned", name, verdict.Risk)
		}
	}
}

func TestTrustVector(t *testing.T) {
	ten := builtin(t, appraisal.Recorded)
	all := func(v int8) attestd.TrustVector {
		return attestd.TrustVector{
			InstanceIdentity: v, Configuration: v, Executables: v, FileSystem: v,
			Hardware: v, RuntimeOpaque: v, StorageOpaque: v, SourcedData: v,
		}
	}
	bad := enclave(t, forge.Document{Signature: func(s []byte) []byte { s[0] ^= 1; return s }})
	plain := enclave(t, forge.Document{})
	milan := guest(t, "Milan", 3, nil)
	old := guest(t, "Milan", 3, func(r *forge.SNPReport) { r.Reported[2] = 1 })
	debug := guest(t, "Milan", 3, func(r *forge.SNPReport) { r.Policy |= 1 << 19 })
	with := func(input appraisal.Input) appraisal.Input {
		input.References = known(t, input, measurements.StateActive)
		return input
	}
	for _, row := range []struct {
		name  string
		input appraisal.Input
		want  attestd.TrustVector
	}{
		{"a bad signature says 99 everywhere", bad, all(99)},
		{"an unknown version says 1 everywhere", guest(t, "Milan", 9, nil), all(1)},
		{"what is missing says nothing", appraisal.Input{Format: attestd.FormatSEVSNP,
			Err: &attestd.UndecidedError{Check: "sev-snp/vcek-present"}}, all(0)},
		// The roots are a laboratory's, so that nothing is said of hardware and memory.
		{"an unknown enclave", plain, attestd.TrustVector{Configuration: 2, Executables: 33}},
		{"a known enclave", with(plain), attestd.TrustVector{Configuration: 2, Executables: 2}},
		{"a known guest was measured at boot", with(milan),
			attestd.TrustVector{Configuration: 2, Executables: 3}},
		{"old firmware", with(old),
			attestd.TrustVector{Configuration: 2, Executables: 3, Hardware: 32}},
		{"debug is contraindicated", debug,
			attestd.TrustVector{Configuration: 96, Executables: 33}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := under(ten, row.input).Trust; got != row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}
