package attestd_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
)

// TestZeroValuesDeny covers every type whose zero value could be mistaken for a permission.
func TestZeroValuesDeny(t *testing.T) {
	var (
		risk     attestd.RiskScore
		tier     attestd.Tier
		state    attestd.State
		verdict  attestd.Verdict
		result   attestd.Result
		effect   attestd.Effect
		fresh    attestd.Freshness
		demand   attestd.Demand
		nothing  *attestd.Claims
		made     attestd.Claims
		value    attestd.Value
		appraise attestd.Appraisal
		seal     claims.Seal
	)
	rows := []struct {
		name   string
		denies bool
	}{
		{"a zero risk score reads 100", risk.Int() == 100},
		{"a zero risk score is critical", risk.Tier() == attestd.TierCritical},
		{"a zero tier is unknown", tier == attestd.TierUnknown && tier.String() == "unknown"},
		{"a zero tier is not accepted", tier.Verdict() == attestd.VerdictUndecided},
		{"a tier out of range is not accepted", attestd.Tier(77).Verdict() == attestd.VerdictUndecided},
		{"a zero state grants nothing", !state.Grants() && state == attestd.StateUnknown},
		{"a suspect state grants nothing", !attestd.StateSuspect.Grants()},
		{"a quarantined state grants nothing", !attestd.StateQuarantined.Grants()},
		{"a revoked state grants nothing", !attestd.StateRevoked.Grants()},
		{"a zero verdict is undecided", verdict == attestd.VerdictUndecided},
		{"a zero result is no pass", result != attestd.ResultPass && result.String() == "missing"},
		{"a zero effect rejects", effect == attestd.EffectRejects},
		{"zero freshness is not shown", fresh == attestd.FreshnessNotShown},
		{"a zero demand is no recorded demand", demand.IsZero() && !demand.IsRecorded()},
		{"nil claims are not proven", !nothing.Proven()},
		{"zero claims are not proven", !made.Proven()},
		{"a zero value is no fact", value.Kind() == attestd.KindNone},
		{"a zero appraisal is not accepted", appraise.Verdict != attestd.VerdictAccepted},
		{"a zero appraisal has risk 100", appraise.Risk.Int() == 100},
		{"a zero seal makes no claims", attestd.NewClaims(seal, attestd.ClaimValues{}) == nil},
	}
	for _, row := range rows {
		if !row.denies {
			t.Errorf("not so: %s", row.name)
		}
	}
}

// TestRiskScoreNeverReadsLowByAccident: a score that cannot be read is the worst one. neg: 148
func TestRiskScoreNeverReadsLowByAccident(t *testing.T) {
	for _, text := range []string{"NaN", "-1", "101", "1.0001", `"0"`, "1e400", "null", "{}", ""} {
		risk := attestd.Risk(0)
		if err := json.Unmarshal([]byte(text), &risk); err == nil {
			t.Errorf("risk score %q was read without an error", text)
		}
		if err := risk.UnmarshalJSON([]byte(text)); err == nil || risk.Int() != 100 {
			t.Errorf("risk score %q left %d, want an error and 100", text, risk.Int())
		}
	}
	for points, want := range map[int]int{-5: 0, 0: 0, 39: 39, 100: 100, 1000: 100} {
		if got := attestd.Risk(points).Int(); got != want {
			t.Errorf("Risk(%d) = %d, want %d", points, got, want)
		}
	}
}

func TestTiersMeetAtTheirBounds(t *testing.T) {
	for points := range 101 {
		want := attestd.TierLow
		switch {
		case points >= 90:
			want = attestd.TierCritical
		case points >= 70:
			want = attestd.TierHigh
		case points >= 40:
			want = attestd.TierMedium
		}
		if got := attestd.Risk(points).Tier(); got != want {
			t.Errorf("risk %d is %s, want %s", points, got, want)
		}
	}
}

func TestNamesRoundTripAndUnknownNamesAreErrors(t *testing.T) {
	type named interface {
		MarshalText() ([]byte, error)
		UnmarshalText([]byte) error
	}
	result, tier, verdict := attestd.ResultPass, attestd.TierLow, attestd.VerdictAccepted
	state, effect, fresh := attestd.StateTrusted, attestd.EffectScored, attestd.FreshnessNonce
	for _, value := range []named{&result, &tier, &verdict, &state, &effect, &fresh} {
		text, err := value.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := value.UnmarshalText(text); err != nil {
			t.Errorf("%T: %q does not read back: %v", value, text, err)
		}
		if err := value.UnmarshalText([]byte("Pass ")); err == nil {
			t.Errorf("%T reads a name it does not have", value)
		}
	}
	if result == attestd.ResultPass || verdict == attestd.VerdictAccepted {
		t.Error("a failed read left a granting value behind")
	}
}

func TestDemandsRefuseWhatWouldDemandNothing(t *testing.T) {
	if _, err := attestd.Fresh(make([]byte, 31)); err == nil {
		t.Error("a nonce of 31 bytes was taken as fresh")
	}
	// neg: 95
	if _, err := attestd.Fresh(make([]byte, 64)); err == nil {
		t.Error("a buffer that nobody filled was taken as fresh")
	}
	if _, err := attestd.Fresh(nil); err == nil {
		t.Error("a missing nonce was taken as fresh")
	}
	if _, err := attestd.Recorded().WithNonce(nil); err == nil {
		t.Error("an empty nonce was taken")
	}
	if _, err := (attestd.Demand{}).WithKey([]byte{1}); err == nil {
		t.Error("a zero demand took a key")
	}
	if _, err := attestd.Recorded().WithKey(nil); err == nil {
		t.Error("an empty key was taken")
	}
	if _, err := attestd.Bound(attestd.Binding{Format: attestd.FormatNitro}); err == nil {
		t.Error("a binding without a nonce was taken")
	}
	var caller *attestd.CallerError
	if _, err := attestd.ParseFormat("Nitro"); !errors.As(err, &caller) || caller.Hint == "" {
		t.Errorf("format %q: %v, want a caller error with a hint", "Nitro", err)
	}
}

// TestClaimsRefuseChecksThatDidNotPass: a verifier's slip must not become a proof.
func TestClaimsRefuseChecksThatDidNotPass(t *testing.T) {
	values := func(check attestd.Check, facts ...attestd.Fact) attestd.ClaimValues {
		return attestd.ClaimValues{Checks: []attestd.Check{check}, Facts: facts}
	}
	pass := attestd.Check{ID: "x/y", Result: attestd.ResultPass}
	fact := attestd.Fact{Name: "debug", Value: attestd.Bool(false)}
	if !attestd.NewClaims(claims.Grant(), values(pass, fact)).Proven() {
		t.Fatal("sound values made no claims")
	}
	for name, bad := range map[string]attestd.ClaimValues{
		"a failed check":    values(attestd.Check{ID: "x/y", Result: attestd.ResultFail}, fact),
		"a missing result":  values(attestd.Check{ID: "x/y"}, fact),
		"a fact twice":      values(pass, fact, fact),
		"an unset fact":     values(pass, attestd.Fact{Name: "vmpl"}),
		"a result unlisted": values(attestd.Check{ID: "x/y", Result: 9}, fact),
	} {
		if attestd.NewClaims(claims.Grant(), bad) != nil {
			t.Errorf("%s still made claims", name)
		}
	}
}

func TestFactsAreImmutable(t *testing.T) {
	raw := []byte{1, 2, 3}
	made := attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Facts: []attestd.Fact{
			{Name: "measurement", Value: attestd.Bytes(raw)},
			{Name: "mit_vector", Value: attestd.NotVisible()},
			{Name: "reported_tcb", Value: attestd.Components(attestd.Component{Name: "snp", Value: 8})},
			{Name: "signed_at", Value: attestd.Time(time.Unix(0, 0))},
		},
	})
	raw[0] = 9
	value, _ := made.Fact("measurement")
	got, _ := value.Bytes()
	got[1] = 9
	text, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"measurement":"010203","mit_vector":null,"reported_tcb":{"snp":8},` +
		`"signed_at":"1970-01-01T00:00:00Z"}`
	if string(text) != want {
		t.Errorf("claims read %s, want %s", text, want)
	}
}

// TestExcerptDisarmsForeignText: neg: 167
func TestExcerptDisarmsForeignText(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"plain text stays", "i-0bd44532fc1b8cf14", "i-0bd44532fc1b8cf14"},
		{"a new line cannot forge a log line", "a\nb\rc", "a?b?c"},
		{"an escape cannot drive a terminal", "\x1b[2Jx", "?[2Jx"},
		{"C1 controls are controls too", "a\u009b2Jb", "a?2Jb"},
		{"broken UTF-8 is replaced", "a\xff\xfeb", "a??b"},
		{"reordering characters are replaced", "a\u202eb\u2066c", "a?b?c"},
		{"the Arabic mark reorders too", "a\u061cb", "a?b"},
		{"a long text is cut", strings.Repeat("x", 1<<20), strings.Repeat("x", 40) + "..."},
	} {
		if got := attestd.Excerpt(row.in, 40); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}
