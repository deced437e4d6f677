package appraisal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
)

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
	case attestd.RuleCovers:
		set, _ := value.Uint()
		held, missing := bits.TrailingZeros64(set), bits.TrailingZeros64(^set)
		if set == 0 {
			return "", rule("[%d]", missing)
		}
		return rule("[%d]", held), rule("[%d, %d]", held, missing)
	case attestd.RuleNoneOf:
		raw, ok := value.Bytes()
		if !ok {
			return "", "" // a text is denied by one of the spec's values: see closed
		}
		other := bytes.Clone(raw)
		other[0] ^= 0xff
		deny := func(values ...[]byte) string {
			return fmt.Sprintf("{deny: [\"%x\"], otherwise: reject}", values[len(values)-1])
		}
		return deny(other), deny(other, raw)
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
		{"a retired value is none", undecided, known(t, input, measurements.StateRetired),
			attestd.VerdictUndecided, "retired only: web"},
		{"a canary that names the machine is met, and it is said", nothing,
			knownUntil(t, input, measurements.StateCanary, time.Time{}, machine(t, input)),
			attestd.VerdictAccepted, "web / measured (canary)"},
		{"a canary for others is a rejection that says so", rejects,
			knownUntil(t, input, measurements.StateCanary, time.Time{},
				attestd.Handle{Kind: attestd.HandleInstance, Value: "i-another"}),
			attestd.VerdictRejected, "canary, not for this machine: web"},
		{"a retiring value is met before its end", nothing,
			knownUntil(t, input, measurements.StateRetiring, input.At.Add(time.Second)),
			attestd.VerdictAccepted, "(retiring until "},
		{"a retiring value is not met at its end", rejects,
			knownUntil(t, input, measurements.StateRetiring, input.At),
			attestd.VerdictRejected, "retiring ended "},
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

// knownUntil is known, with an end and, for a canary, machines.
func knownUntil(
	t testing.TB, input appraisal.Input, state measurements.State, until time.Time,
	machines ...attestd.Handle,
) *measurements.Index {
	t.Helper()
	set := must[*measurements.Set](t)(measurements.FromClaims("web", input.Claims))
	set.Values[0].State, set.Values[0].Until = state, until
	if len(machines) > 0 {
		set.Values[0].Canary = &measurements.Canary{Handles: machines}
	}
	return must[*measurements.Index](t)(measurements.NewIndex(set))
}

// machine returns the handle of the instance that evidence is about.
func machine(t testing.TB, input appraisal.Input) attestd.Handle {
	t.Helper()
	for handle := range input.Claims.Handles() {
		if handle.Kind == attestd.HandleInstance {
			return handle
		}
	}
	t.Fatal("the claims name no instance")
	return attestd.Handle{}
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
	milan, genoa := guest(t, "Milan", 3, nil), guest(t, "Genoa", 3, nil)
	old := guest(t, "Genoa", 3, func(r *forge.SNPReport) { r.Reported[2] = 1 })
	debug := guest(t, "Genoa", 3, func(r *forge.SNPReport) { r.Policy |= 1 << 19 })
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
		{"a known guest was measured at boot", with(genoa),
			attestd.TrustVector{Configuration: 2, Executables: 3}},
		{"a product whose seed can be extracted", with(milan),
			attestd.TrustVector{Configuration: 2, Executables: 3, Hardware: 32}},
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
