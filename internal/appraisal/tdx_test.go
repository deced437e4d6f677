package appraisal_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx"
)

// domain is a forged TD quote with Intel-shaped collateral.
type domain struct {
	pck      forge.PCKConfig
	quote    forge.TDQuote
	tcb      forge.TCBInfoConfig
	identity forge.IdentityConfig
	given    func(*attestd.Endorsements)
	days     int // from forge.IntelTime to the time at which it is judged
}

// domainOf verifies a TD's quote under its collateral, both changed before they are made.
func domainOf(t testing.TB, change func(*domain)) appraisal.Input {
	t.Helper()
	made := domain{
		pck: forge.NewPCKConfig(), quote: forge.NewTDQuote(5), tcb: forge.NewTCBInfoConfig(),
		identity: forge.NewIdentityConfig(),
	}
	if change != nil {
		change(&made)
	}
	authority := must[*forge.Intel](t)(forge.NewIntel(forge.IntelConfig{}))
	quote := must[[]byte](t)(made.quote.Sign(must[forge.PCK](t)(authority.IssuePCK(made.pck))))
	collateral := must[forge.IntelCollateral](t)(authority.Collateral(made.tcb, made.identity))
	with := attestd.Endorsements{
		Certificates: collateral.Certificates, CRLs: collateral.CRLs, Documents: collateral.Documents,
	}
	if made.given != nil {
		made.given(&with)
	}
	verifier := must[*tdx.Verifier](t)(tdx.New(tdx.Config{InsecureRoots: []*x509.Certificate{authority.Root}}))
	return verified(t, verifier, quote, with, forge.IntelTime.AddDate(0, 0, made.days))
}

// TestTDsUnderTheBuiltinPolicies says what the policies make of a TCB: reasons of the verifier's checks
// alone, as "check: effect points".
func TestTDsUnderTheBuiltinPolicies(t *testing.T) {
	oldModule := func(d *domain) { d.quote.TEETCBSVN[0], d.quote.TEETCBSVN2[0] = 4, 4 }
	dated := func(days int) func(*domain) {
		return func(d *domain) {
			oldModule(d)
			d.tcb.Modules[1].Levels[0].Date = forge.IntelTime.AddDate(0, 0, -days)
			d.tcb.Modules[1].Levels[1].Date = forge.IntelTime.AddDate(0, 0, -days-90)
		}
	}
	nothing := func(d *domain) { d.given = func(with *attestd.Endorsements) { *with = attestd.Endorsements{} } }
	for _, row := range []struct {
		name, policy string
		change       func(*domain)
		want         []string
	}{
		{"up to date", appraisal.Production, nil, nil},
		{"up to date", appraisal.Laboratory, nil, nil},
		{"up to date", appraisal.Recorded, nil, nil},
		{"out of date, within the days of grace", appraisal.Production, dated(30), []string{
			"tdx/tcb-out-of-date: scored 35", "tdx/tcb-status: scored 20"}},
		{"out of date, after the days of grace", appraisal.Production, dated(31), []string{ // neg: 125
			"tdx/tcb-behind: rejects 100", "tdx/tcb-out-of-date: scored 35", "tdx/tcb-status: scored 20"}},
		{"out of date", appraisal.Laboratory, dated(31), []string{
			"tdx/tcb-out-of-date: scored 20", "tdx/tcb-status: scored 10"}},
		{"a setting is wrong", appraisal.Production, func(d *domain) {
			d.tcb.Levels[0].Status = "ConfigurationNeeded"
		}, []string{"tdx/tcb-status: scored 20"}},
		{"software must be hardened", appraisal.Production, func(d *domain) {
			d.tcb.Levels[0].Status = "SWHardeningNeeded"
		}, []string{"tdx/tcb-status: scored 20"}},
		{"launched before the update", appraisal.Production, func(d *domain) { // neg: 128
			dated(10)(d)
			d.quote.TEETCBSVN2[0] = 6
		}, []string{"tdx/tcb-out-of-date: scored 35", "tdx/tcb-relaunch: scored 25",
			"tdx/tcb-status: scored 20"}},
		// Whatever is missing or stale leaves undecided: under every policy, and never rejects.
		{"no collateral", appraisal.Production, nothing, []string{
			"tdx/collateral: undecided 100", "tdx/crl: undecided 100", "tdx/tcb-status: scored 20"}},
		{"no collateral", appraisal.Laboratory, nothing, []string{
			"tdx/collateral: undecided 100", "tdx/crl: undecided 100", "tdx/tcb-status: scored 10"}},
		{"no collateral", appraisal.Recorded, nothing, []string{
			"tdx/collateral: undecided 100", "tdx/crl: undecided 100", "tdx/tcb-status: scored 10"}},
		{"stale collateral", appraisal.Production, func(d *domain) { d.days = 30 }, []string{ // neg: 130
			"tdx/collateral-stale: undecided 100", "tdx/crl-stale: undecided 100"}},
		{"stale collateral", appraisal.Recorded, func(d *domain) { d.days = 30 }, []string{
			"tdx/collateral-stale: undecided 100", "tdx/crl-stale: undecided 100"}},
		{"the wrong CA's list", appraisal.Production, func(d *domain) { // neg: 133
			d.given = func(with *attestd.Endorsements) { with.CRLs = with.CRLs[:2] }
		}, []string{"tdx/crl: undecided 100"}},
		{"a document with more in it", appraisal.Production, func(d *domain) {
			d.tcb.Edit = func(object string) string { return `{"more":1,` + object[1:] }
		}, []string{"tdx/tcb-unknown-fields: scored 10"}},
		{"a debug TD", appraisal.Production, func(d *domain) { d.quote.TDAttributes |= 1 }, []string{ // neg: 122
			"tdx/td-debug: rejects 100"}},
	} {
		t.Run(row.policy+": "+row.name, func(t *testing.T) {
			input := domainOf(t, row.change)
			if input.Err != nil {
				t.Fatal(input.Err)
			}
			verdict := under(builtin(t, row.policy), input)
			var got []string
			for _, reason := range verdict.Reasons {
				if strings.HasPrefix(string(reason.Check), "tdx/") {
					got = append(got, fmt.Sprintf("%s: %s %d", reason.Check, reason.Effect, reason.Points))
				}
			}
			missing := strings.Join(row.want, "\n")
			for _, line := range got {
				if !strings.Contains(missing, line) {
					t.Errorf("%s, which nobody expects", line)
				}
			}
			for _, line := range row.want {
				if !strings.Contains(strings.Join(got, "\n"), line) {
					t.Errorf("no %s among %q", line, got)
				}
			}
			if row.policy != appraisal.Recorded && verdict.Verdict == attestd.VerdictAccepted {
				t.Error("accepted, with a root that was loaded by hand and no known measurement")
			}
		})
	}
}

// TestNoPolicyAcceptsARevokedTCB: it is no fact that a policy could want. neg: 125, 127
func TestNoPolicyAcceptsARevokedTCB(t *testing.T) {
	for name, change := range map[string]func(*domain){
		"tdx/tcb-revoked": func(d *domain) { d.tcb.Modules[1].Levels[0].Status = "Revoked" },
		"tdx/tcb-level":   func(d *domain) { d.pck.CPUSVN[7] = 3 },
	} {
		input := domainOf(t, change)
		var refused *attestd.EvidenceError
		if !errors.As(input.Err, &refused) || string(refused.Check) != name || refused.Class != attestd.ClassTCB {
			t.Fatalf("got %v", input.Err)
		}
		for _, policy := range []string{appraisal.Production, appraisal.Laboratory, appraisal.Recorded} {
			if verdict := under(builtin(t, policy), input); verdict.Verdict != attestd.VerdictRejected {
				t.Errorf("%s under %s: %v", name, policy, verdict.Verdict)
			}
		}
	}
	good := domainOf(t, nil)
	doc := string(only(good.Specs, attestd.FormatTDX, map[string]string{
		"tcb-status": "{want: [UpToDate, Revoked], otherwise: reject}",
	}))
	if _, err := appraisal.ParsePolicy("p.yaml", []byte(doc)); err == nil ||
		!strings.Contains(err.Error(), `"Revoked", want one of`) {
		t.Errorf("got %v", err)
	}
}

// TestDeniedAdvisories: each of several is looked at, and a part of a name is no name.
func TestDeniedAdvisories(t *testing.T) {
	input := domainOf(t, func(d *domain) { d.quote.TEETCBSVN[0] = 4 })
	for denied, want := range map[string]attestd.Result{
		"[INTEL-SA-01099]":                 attestd.ResultFail,
		"[INTEL-SA-00001, INTEL-SA-01036]": attestd.ResultFail,
		"[INTEL-SA-0103]":                  attestd.ResultPass,
		"[INTEL-SA-01036 INTEL-SA-01099]":  attestd.ResultPass, // no name: advisories have no blanks
		"[none]":                           attestd.ResultPass,
	} {
		verdict := under(demanding(t, input, map[string]string{
			"advisories-denied": "{deny: " + denied + ", otherwise: reject}",
		}), input)
		if got := resultOf(verdict, "tdx/advisories-denied"); got != want {
			t.Errorf("%s: %v, want %v", denied, got, want)
		}
	}
}

// TestFloorsOfModuleAndLoader: a floor names both components. neg: 138
func TestFloorsOfModuleAndLoader(t *testing.T) {
	input := domainOf(t, nil)
	for floor, want := range map[string]attestd.Result{
		"{TDX_01: {module: 6, loader: 3}}": attestd.ResultPass,
		"{TDX_01: {module: 7, loader: 3}}": attestd.ResultFail,
		"{TDX_01: {module: 6, loader: 4}}": attestd.ResultFail,
		"{TDX_03: {module: 1, loader: 1}}": attestd.ResultFail, // no floor for this major version
	} {
		verdict := under(demanding(t, input, map[string]string{
			"tee-tcb-floor": "{want: " + floor + ", otherwise: reject}",
		}), input)
		if got := resultOf(verdict, "tdx/tee-tcb-floor"); got != want {
			t.Errorf("%s: %v, want %v", floor, got, want)
		}
	}
	for _, floor := range []string{"{TDX_01: {module: 6}}", "{TDX_01: 060103}", "060103", "{}"} {
		doc := string(only(input.Specs, attestd.FormatTDX, map[string]string{
			"tee-tcb-floor": "{want: " + floor + ", otherwise: reject}",
		}))
		var caller *attestd.CallerError
		_, err := appraisal.ParsePolicy("p.yaml", []byte(doc))
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
			t.Errorf("%s: %v", floor, err)
		}
	}
}

// TestCollateralCannotBeSwitchedOff in any of the ways that a policy could try. neg: 134
func TestCollateralCannotBeSwitchedOff(t *testing.T) {
	input := domainOf(t, nil)
	for _, check := range []string{"collateral", "collateral-stale", "crl", "crl-stale"} {
		for _, rule := range []string{"any", "{want: [fresh, stale, missing], otherwise: undecided}",
			"{want: [fresh, stale], otherwise: 1}", "{want: false, otherwise: 1}", "{want: true, otherwise: undecided}"} {
			doc := string(only(input.Specs, attestd.FormatTDX, map[string]string{check: rule}))
			var caller *attestd.CallerError
			_, err := appraisal.ParsePolicy("p.yaml", []byte(doc))
			if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
				t.Errorf("%s: %s: %v", check, rule, err)
			}
		}
	}
}
