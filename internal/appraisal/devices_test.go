package appraisal_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/verifiers"
)

// listed is a verifier as far as a policy knows it.
type listed struct {
	format attestd.Format
	specs  []attestd.CheckSpec
	facts  []attestd.FactSpec
}

func (l listed) Format() attestd.Format                        { return l.format }
func (l listed) Detect([]byte) bool                            { return false }
func (l listed) Verify(attestd.Input) (*attestd.Claims, error) { return nil, errors.ErrUnsupported }
func (l listed) Inspect([]byte) (attestd.Inspection, error) {
	return attestd.Inspection{}, errors.ErrUnsupported
}
func (l listed) Checks() []attestd.CheckSpec { return l.specs }
func (l listed) Facts() []attestd.FactSpec   { return l.facts }
func (l listed) SignaturesVerified() uint64  { return 0 }

// composer is one whose claims have devices.
type composer struct {
	listed
	parts []verifiers.Verifier
}

func (c composer) Parts() []verifiers.Verifier { return c.parts }

func specOf(id attestd.CheckID, group attestd.Group, rule attestd.Rule, fact string) attestd.CheckSpec {
	return attestd.CheckSpec{
		ID: id, Group: group, Rule: rule, Fact: fact, Stage: attestd.StageAppraise, Spec: "a document, section 1",
		Hint: "mend it", Proves: "it is so", Why: "otherwise it is not", Class: attestd.ClassTCB,
	}
}

// build is a processor with a status, days and a list that no policy waives, a TPM, and both together.
func build() []verifiers.Verifier {
	list := specOf("tdx/crl", attestd.GroupCollateral, attestd.RuleOneOf, "crl")
	list.Required, list.Values = true, []string{"fresh", "stale"}
	stale := specOf("tdx/crl-stale", attestd.GroupCollateral, attestd.RuleFlag, "crl_stale")
	stale.Required, stale.Values = true, []string{"false"}
	floor := specOf("tdx/tee-floor", attestd.GroupTCB, attestd.RuleFloor, "tee_tcb")
	floor.Values = []string{"module", "loader"}
	cpu := listed{
		format: attestd.FormatTDX,
		specs: []attestd.CheckSpec{
			specOf("tdx/debug", attestd.GroupDebug, attestd.RuleFlag, "debug"),
			specOf("tdx/tcb-behind", attestd.GroupTCB, attestd.RuleAtMost, "tcb_behind_days"),
			list, stale, floor,
		},
		facts: []attestd.FactSpec{
			{Name: "debug", Kind: attestd.KindBool}, {Name: "tcb_behind_days", Kind: attestd.KindUint},
			{Name: "crl", Kind: attestd.KindText}, {Name: "crl_stale", Kind: attestd.KindBool},
			{Name: "tee_tcb", Kind: attestd.KindComponents},
		},
	}
	tpm := listed{
		format: attestd.FormatTPM,
		specs:  []attestd.CheckSpec{specOf("tpm/clock-safe", attestd.GroupTCB, attestd.RuleFlag, "clock_safe")},
		facts:  []attestd.FactSpec{{Name: "clock_safe", Kind: attestd.KindBool}},
	}
	edge := specOf("composite/edge", attestd.GroupIdentity, attestd.RuleOneOf, "weakest_edge")
	whole := composer{listed{
		format: attestd.FormatComposite, specs: []attestd.CheckSpec{edge},
		facts: []attestd.FactSpec{{Name: "weakest_edge", Kind: attestd.KindText}},
	}, []verifiers.Verifier{cpu, tpm}}
	return []verifiers.Verifier{cpu, tpm, whole}
}

const (
	cpuRules = `  tdx:
    debug: {want: false, otherwise: reject}
    tcb-behind: {want: 30, otherwise: 35}
    crl: {want: [fresh], otherwise: undecided}
    crl-stale: {want: false, otherwise: undecided}
    tee-floor: {want: {TDX 1: {module: 3, loader: 0}}, otherwise: 10}
    measurement/known: {want: active-reference, otherwise: reject, none-loaded: 15}
    ownership/known: {want: [inventory], otherwise: reject}
`
	tpmRules = `  tpm:
    clock-safe: {want: true, otherwise: 20}
    measurement/known: any
    ownership/known: {want: [inventory], otherwise: reject}
`
	wholeRules = `  composite:
    edge: {want: [simultaneous, measured, cryptographic], otherwise: reject}
    ownership/known: {want: [inventory, enrolment], otherwise: 40}
`
	composedPolicy = "schema: attestd.policy.v1\nid: composed\nformats:\n" + cpuRules + tpmRules + wholeRules
)

// scene is a machine of two devices, good in everything but its owner.
type scene struct {
	cpu, tpm, whole attestd.ClaimValues
	policy          string
}

func newScene() *scene {
	digest := sha256.Sum256([]byte("evidence"))
	fact := func(name string, value attestd.Value) attestd.Fact { return attestd.Fact{Name: name, Value: value} }
	passed := func(id attestd.CheckID) []attestd.Check {
		return []attestd.Check{{ID: id, Result: attestd.ResultPass, Spec: "a document", Hint: "none"}}
	}
	return &scene{
		policy: composedPolicy,
		cpu: attestd.ClaimValues{
			Format: attestd.FormatTDX, Summary: "TDX 1.5", Product: "TDX 1", Freshness: attestd.FreshnessBinding,
			Checks: passed("tdx/signature"),
			Facts: []attestd.Fact{
				fact("debug", attestd.Bool(false)), fact("tcb_behind_days", attestd.Uint(0)),
				fact("crl", attestd.Text("fresh")), fact("crl_stale", attestd.Bool(false)),
				fact("tee_tcb", attestd.Components(
					attestd.Component{Name: "module", Value: 3}, attestd.Component{Name: "loader"})),
			},
			Handles: []attestd.Handle{{Kind: attestd.HandleHost, Value: strings.Repeat("ab", 16)}},
		},
		tpm: attestd.ClaimValues{
			Format: attestd.FormatTPM, Summary: "TPM 2.0", Freshness: attestd.FreshnessBinding,
			Checks: passed("tpm/signature"),
			Facts: []attestd.Fact{
				fact("clock_safe", attestd.Bool(true)), fact("protection", attestd.Text("hardware")),
			},
		},
		whole: attestd.ClaimValues{
			Format: attestd.FormatComposite, EvidenceDigest: digest, Freshness: attestd.FreshnessBinding,
			Checks: passed("composite/encoding"),
			Facts:  []attestd.Fact{fact("weakest_edge", attestd.Text("simultaneous"))},
			Edges:  []attestd.Edge{{From: "cpu", To: "vtpm", Grade: attestd.GradeSimultaneous, How: "one nonce"}},
			Handles: []attestd.Handle{
				{Kind: attestd.HandleInstance, Value: "ek:" + strings.Repeat("cd", 32)},
			},
		},
	}
}

// set gives a fact of the claims another value.
func set(values *attestd.ClaimValues, name string, value attestd.Value) {
	for i := range values.Facts {
		if values.Facts[i].Name == name {
			values.Facts[i].Value = value
			return
		}
	}
	values.Facts = append(values.Facts, attestd.Fact{Name: name, Value: value})
}

func (s *scene) input(t testing.TB) appraisal.Input {
	t.Helper()
	policy, err := appraisal.ParsePolicyFor(build(), "composed.yaml", []byte(s.policy))
	if err != nil {
		t.Fatal(err)
	}
	whole := s.whole
	if whole.Devices == nil {
		whole.Devices = []attestd.Device{
			{Path: "cpu", Claims: attestd.NewClaims(claims.Grant(), s.cpu)},
			{Path: "vtpm", Claims: attestd.NewClaims(claims.Grant(), s.tpm)},
		}
	}
	made := attestd.NewClaims(claims.Grant(), whole)
	if made == nil {
		t.Fatal("the scene makes no claims")
	}
	return appraisal.Input{
		Format: attestd.FormatComposite, Claims: made, Policy: policy, At: tpmTime,
		EvidenceDigest: whole.EvidenceDigest,
	}
}

func (s *scene) verdict(t testing.TB) attestd.Appraisal {
	t.Helper()
	return appraisal.Appraise(s.input(t))
}

func TestEachDeviceIsHeldToTheRulesOfItsOwnFormat(t *testing.T) {
	good := newScene().verdict(t)
	if good.Verdict != attestd.VerdictAccepted || good.Risk.Int() != 55 || len(good.Devices) != 2 ||
		len(good.Edges) != 1 {
		t.Fatalf("got %v, risk %v, devices %+v: %+v", good.Verdict, good.Risk, good.Devices, good.Reasons)
	}
	cpu, tpm := good.Devices[0], good.Devices[1]
	if cpu.Path != "cpu" || cpu.Format != attestd.FormatTDX || cpu.Risk.Int() != 15 || cpu.Summary != "TDX 1.5" ||
		cpu.Freshness != attestd.FreshnessBinding || len(cpu.Handles) != 1 ||
		!strings.HasPrefix(string(cpu.Claims), `{"debug":false`) {
		t.Errorf("the processor: %+v", cpu)
	}
	if tpm.Path != "vtpm" || tpm.Risk.Int() != 0 || tpm.Verdict != attestd.VerdictAccepted {
		t.Errorf("the TPM: %+v", tpm)
	}
	seen := map[string]bool{}
	for _, check := range good.Checks {
		name := string(check.ID) + "@" + check.Device
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
	}
	for _, name := range []string{
		"composite/encoding@", "tdx/signature@cpu", "tpm/signature@vtpm", "tdx/debug@cpu", "tpm/clock-safe@vtpm",
		"measurement/known@cpu", "roots/pinned@cpu", "roots/pinned@vtpm", "policy/format-named@vtpm",
		"composite/edge@", "ownership/known@",
	} {
		if !seen[name] {
			t.Errorf("%s was not made", name)
		}
	}
	for _, name := range []string{"ownership/known@cpu", "ownership/known@vtpm", "measurement/known@"} {
		if seen[name] {
			t.Errorf("%s was made", name)
		}
	}
	if good.Trust.Hardware != 2 || good.Trust.RuntimeOpaque != 2 || good.Trust.InstanceIdentity != 97 {
		t.Errorf("got trust %+v", good.Trust)
	}
}

// TestTheWholeIsNoBetterThanADevice: what speaks against one device speaks against the whole, under
// the device's path.
func TestTheWholeIsNoBetterThanADevice(t *testing.T) {
	for _, row := range []struct {
		name    string
		change  func(*scene)
		check   attestd.CheckID
		device  string
		verdict attestd.Verdict
		risk    int
	}{
		{"debug of the processor", func(s *scene) { set(&s.cpu, "debug", attestd.Bool(true)) },
			"tdx/debug", "cpu", attestd.VerdictRejected, 100},
		{"days within grace", func(s *scene) { set(&s.cpu, "tcb_behind_days", attestd.Uint(30)) },
			"ownership/known", "", attestd.VerdictAccepted, 55},
		{"a day beyond it", func(s *scene) { set(&s.cpu, "tcb_behind_days", attestd.Uint(31)) },
			"tdx/tcb-behind", "cpu", attestd.VerdictRejected, 90},
		{"days that nobody sees", func(s *scene) { set(&s.cpu, "tcb_behind_days", attestd.NotVisible()) },
			"tdx/tcb-behind", "cpu", attestd.VerdictRejected, 90},
		{"no list", func(s *scene) { set(&s.cpu, "crl", attestd.Text("missing")) },
			"tdx/crl", "cpu", attestd.VerdictUndecided, 100},
		{"a clock of the TPM that is not safe", func(s *scene) { set(&s.tpm, "clock_safe", attestd.Bool(false)) },
			"tpm/clock-safe", "vtpm", attestd.VerdictRejected, 75},
		{"one cause on two devices counts once, as its worst", func(s *scene) {
			set(&s.tpm, "clock_safe", attestd.Bool(false)) // tcb, 20 points
			set(&s.cpu, "tcb_behind_days", attestd.Uint(31))
		}, "tpm/clock-safe", "vtpm", attestd.VerdictRejected, 90},
		{"an edge that shows nothing", func(s *scene) { set(&s.whole, "weakest_edge", attestd.Text("none")) },
			"composite/edge", "", attestd.VerdictRejected, 100},
		{"a root by hand under one device", func(s *scene) { s.tpm.InsecureRoots = true },
			appraisal.CheckRoots, "vtpm", attestd.VerdictAccepted, 60},
		{"a policy that does not name the device's format", func(s *scene) {
			s.policy = strings.Replace(s.policy, tpmRules, "", 1)
		}, appraisal.CheckFormat, "vtpm", attestd.VerdictRejected, 100},
		{"a device that is composed itself", func(s *scene) {
			inner := newScene()
			inner.whole.Devices = []attestd.Device{
				{Path: "cpu", Claims: attestd.NewClaims(claims.Grant(), inner.cpu)},
				{Path: "vtpm", Claims: attestd.NewClaims(claims.Grant(), inner.tpm)},
			}
			s.whole.Devices = []attestd.Device{
				{Path: "cpu", Claims: attestd.NewClaims(claims.Grant(), inner.whole)},
				{Path: "vtpm", Claims: attestd.NewClaims(claims.Grant(), s.tpm)},
			}
		}, appraisal.CheckClaims, "cpu", attestd.VerdictRejected, 100},
		{"composed evidence without devices", func(s *scene) {
			s.whole.Devices, s.whole.Edges = []attestd.Device{}, nil
		}, appraisal.CheckClaims, "", attestd.VerdictRejected, 100},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScene()
			row.change(s)
			got := s.verdict(t)
			if got.Verdict != row.verdict || got.Risk.Int() != row.risk {
				t.Errorf("got %v, risk %v, want %v, %d: %+v", got.Verdict, got.Risk, row.verdict, row.risk, got.Reasons)
			}
			if !slices.ContainsFunc(got.Reasons, func(r attestd.Reason) bool {
				return r.Check == row.check && r.Device == row.device
			}) {
				t.Errorf("no reason is %s of %q: %+v", row.check, row.device, got.Reasons)
			}
			for _, device := range got.Devices {
				if device.Risk.Int() > got.Risk.Int() || worse[device.Verdict] > worse[got.Verdict] {
					t.Errorf("the whole, %v, is better than %s, %v", got.Risk, device.Path, device.Risk)
				}
			}
		})
	}
}

// TestDevicesOfEvidenceOfOneDevice: claims of a format that has no devices cannot bring some.
func TestDevicesOfEvidenceOfOneDevice(t *testing.T) {
	s := newScene()
	input := s.input(t)
	s.tpm.EvidenceDigest = s.whole.EvidenceDigest
	s.tpm.Devices = []attestd.Device{{Path: "cpu", Claims: attestd.NewClaims(claims.Grant(), s.cpu)}}
	input.Format, input.Claims = attestd.FormatTPM, attestd.NewClaims(claims.Grant(), s.tpm)
	if got := appraisal.Appraise(input); got.Verdict != attestd.VerdictRejected || !failed(got, appraisal.CheckClaims) {
		t.Errorf("got %v: %+v", got.Verdict, got.Reasons)
	}
}

// TestADeviceIsMeasuredByTheValuesOfItsFormat: what is known of a processor is asked of the processor.
func TestADeviceIsMeasuredByTheValuesOfItsFormat(t *testing.T) {
	s := newScene()
	for i, name := range []string{"MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3"} {
		s.cpu.Registers = append(s.cpu.Registers, attestd.Register{
			Name: name, Algorithm: "SHA384", Digest: bytes.Repeat([]byte{byte(i + 1)}, 48), //nolint:gosec // five
		})
	}
	single := attestd.NewClaims(claims.Grant(), s.cpu)
	input := s.input(t)
	values := must[*measurements.Set](t)(measurements.FromClaims("web", single))
	values.Values[0].State = measurements.StateActive
	input.References = must[*measurements.Index](t)(measurements.NewIndex(values))
	got := appraisal.Appraise(input)
	if got.Devices[0].Risk.Int() != 0 || got.Devices[0].Trust.Executables != 3 || got.Trust.Executables != 3 {
		t.Errorf("got %+v", got.Devices[0])
	}
}

// drawScene is a machine in which some things are wrong.
func drawScene(t *rapid.T) *scene {
	s := newScene()
	if rapid.Bool().Draw(t, "debug") {
		set(&s.cpu, "debug", attestd.Bool(true))
	}
	set(&s.cpu, "tcb_behind_days", attestd.Uint(uint64(rapid.IntRange(0, 60).Draw(t, "days"))))
	set(&s.cpu, "crl", attestd.Text(rapid.SampledFrom([]string{"fresh", "fresh", "missing"}).Draw(t, "crl")))
	set(&s.tpm, "clock_safe", attestd.Bool(rapid.Bool().Draw(t, "safe")))
	set(&s.tpm, "ak_residency", attestd.Text(rapid.SampledFrom([]string{"none", "activated"}).Draw(t, "ak")))
	set(&s.whole, "weakest_edge", attestd.Text(rapid.SampledFrom([]string{
		"none", "simultaneous", "cryptographic"}).Draw(t, "edge")))
	s.cpu.InsecureRoots, s.tpm.InsecureRoots = rapid.Bool().Draw(t, "cpu root"), rapid.Bool().Draw(t, "tpm root")
	unowned := rapid.SampledFrom([]string{"40", "reject", "undecided"}).Draw(t, "unowned")
	s.policy = strings.Replace(s.policy, "enrolment], otherwise: 40", "enrolment], otherwise: "+unowned, 1)
	return s
}

func TestTheWholeIsNeverBetterThanItsWorstDevice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt)
		got := s.verdict(t)
		for i := range got.Devices {
			device := &got.Devices[i]
			if device.Risk.Int() > got.Risk.Int() || worse[device.Verdict] > worse[got.Verdict] {
				rt.Fatalf("the whole is %v %v, and %s is %v %v", got.Verdict, got.Risk, device.Path,
					device.Verdict, device.Risk)
			}
			if device.Trust.Hardware > got.Trust.Hardware || device.Trust.Configuration > got.Trust.Configuration ||
				device.Trust.InstanceIdentity > got.Trust.InstanceIdentity ||
				device.Trust.Executables > got.Trust.Executables {
				rt.Fatalf("the whole says %+v, and %s says %+v", got.Trust, device.Path, device.Trust)
			}
		}
		// One more thing that is wrong with a device helps neither.
		set(&s.cpu, "debug", attestd.Bool(true))
		again := s.verdict(t)
		if again.Risk.Int() < got.Risk.Int() || worse[again.Verdict] < worse[got.Verdict] {
			rt.Fatalf("debug turned %v %v into %v %v", got.Verdict, got.Risk, again.Verdict, again.Risk)
		}
	})
}

func TestOwnOfComposedEvidenceIsWhatTheFactWouldHaveMade(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScene(rt)
		methods := rapid.SampledFrom([]string{"none", "inventory", "enrolment", "mine"})
		had, gets := methods.Draw(rt, "had"), methods.Draw(rt, "gets")
		set(&s.whole, "ownership", attestd.Text(had))
		input := s.input(t)
		before := appraisal.Appraise(input)
		set(&s.whole, "ownership", attestd.Text(gets))
		want := s.verdict(t)
		got := appraisal.Own(input.Policy, before, gets)
		want.Claims, got.Claims = nil, nil
		want.Policy = got.Policy
		if diff := cmp.Diff(want, got, risks); diff != "" {
			rt.Fatalf("%s -> %q (-want +got):\n%s", had, gets, diff)
		}
		for name, verdict := range map[string]attestd.Appraisal{
			"foreign": appraisal.Foreign(input.Policy, before), "denied": appraisal.Denied(input.Policy, before),
		} {
			if verdict.Verdict != attestd.VerdictRejected || !failed(verdict, appraisal.CheckTenant) ||
				len(verdict.Devices) != 2 {
				rt.Fatalf("%s: got %v", name, verdict.Verdict)
			}
		}
	})
}

// TestNoPolicyWaivesARequiredCheck: neither in so many words, nor by points, nor by wanting what the
// check is against.
//
// neg: 134
func TestNoPolicyWaivesARequiredCheck(t *testing.T) {
	for _, row := range []struct{ name, old, new, want string }{
		{"any", "crl: {want: [fresh], otherwise: undecided}", "crl: any",
			"line 7: formats.tdx.crl: cannot be any: no policy waives this check"},
		{"a point", "crl: {want: [fresh], otherwise: undecided}", "crl: {want: [fresh], otherwise: 1}",
			"line 7: formats.tdx.crl.otherwise: cannot be points: no policy waives this check"},
		{"a missing list as a good one", "want: [fresh]", "want: [fresh, missing]", `got "missing", want one of`},
		{"no value at all", "want: [fresh]", "want: []", "crl.want: is empty"},
		{"any for what is stale", "crl-stale: {want: false, otherwise: undecided}", "crl-stale: any",
			"formats.tdx.crl-stale: cannot be any"},
		{"what is stale and nothing else", "crl-stale: {want: false", "crl-stale: {want: true",
			"formats.tdx.crl-stale.want: got true, want false"},
		{"the line left out", "    crl: {want: [fresh], otherwise: undecided}\n", "",
			"formats.tdx.crl: is missing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			refusesPolicy(t, row.old, row.new, row.want)
		})
	}
	// To reject is as strict as to leave undecided, and allowed.
	doc := strings.Replace(composedPolicy, "crl: {want: [fresh], otherwise: undecided}",
		"crl: {want: [fresh], otherwise: reject}", 1)
	if _, err := appraisal.ParsePolicyFor(build(), "composed.yaml", []byte(doc)); err != nil {
		t.Error(err)
	}
}

// TestFloorsAndBoundsAreWhole: a floor for fewer components than there are would leave one to chance.
//
// neg: 138
func TestFloorsAndBoundsAreWhole(t *testing.T) {
	for _, row := range []struct{ name, old, new, want string }{
		{"a floor that leaves a component out", "{module: 3, loader: 0}", "{module: 3}",
			"formats.tdx.tee-floor.want.\"TDX 1\": component loader is missing"},
		{"a floor for a component that is none", "loader: 0}", "loader: 0, laoder: 1}",
			"laoder: unknown component; did you mean loader?"},
		{"a floor of nothing", "{module: 3, loader: 0}", "{}", "tee-floor.want.\"TDX 1\": is empty"},
		{"days in words", "{want: 30, otherwise: 35}", "{want: month, otherwise: 35}", "tcb-behind.want: got"},
		{"days below none", "{want: 30, otherwise: 35}", "{want: -1, otherwise: 35}", "tcb-behind.want: got"},
		{"a list of days", "{want: 30, otherwise: 35}", "{want: [30], otherwise: 35}", "tcb-behind.want: got a list"},
		{"a measurement of the whole", "    edge:", "    measurement/known: any\n    edge:",
			"formats.composite.measurement/known: unknown key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			refusesPolicy(t, row.old, row.new, row.want)
		})
	}
}

func refusesPolicy(t *testing.T, old, new, want string) {
	t.Helper()
	if !strings.Contains(composedPolicy, old) {
		t.Fatalf("the policy has no %q", old)
	}
	_, err := appraisal.ParsePolicyFor(build(), "composed.yaml",
		[]byte(strings.Replace(composedPolicy, old, new, 1)))
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" ||
		!strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("got %v, want CONFIG and %q", err, want)
	}
}
