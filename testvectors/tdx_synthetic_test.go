package testvectors_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
)

// trustDomain is a quote of a test authority's platform with all that is published about it: up to date,
// until edit changes one of them. All of it is signed afterwards.
func trustDomain(
	t *testing.T, authority *forge.Intel, edit func(*forge.TDQuote, *forge.TCBInfoConfig),
) testvectors.Vector {
	t.Helper()
	quote, info := forge.NewTDQuote(5), forge.NewTCBInfoConfig()
	if edit != nil {
		edit(&quote, &info)
	}
	made := func(data []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	pck, err := authority.IssuePCK(forge.NewPCKConfig())
	if err != nil {
		t.Fatal(err)
	}
	return testvectors.Vector{
		Format: attestd.FormatTDX, Evidence: made(quote.Sign(pck)), At: forge.IntelTime, Synthetic: true,
		Endorsements: attestd.Endorsements{
			Certificates: [][]byte{authority.Signing.Raw},
			CRLs: [][]byte{
				made(authority.CRL(forge.IntelCRLConfig{CA: forge.IntelRootCA})),
				made(authority.CRL(forge.IntelCRLConfig{CA: forge.IntelPlatformCA})),
			},
			Documents: [][]byte{
				made(authority.TCBInfo(info)), made(authority.Identity(forge.NewIdentityConfig())),
			},
		},
	}
}

// TestTheWorstPartDecides judges platforms of which one part is not what the others are: the status of
// the whole is never better than that of its worst part, and a TD that was launched before its module
// was updated says so.
//
// neg: 125, 128
func TestTheWorstPartDecides(t *testing.T) {
	authority, err := forge.NewIntel(forge.IntelConfig{})
	if err != nil {
		t.Fatal(err)
	}
	entry := newLibrary(t, judge.Config{InsecureRoots: []*x509.Certificate{authority.Root}})
	status := func(platform, module string) func(*forge.TDQuote, *forge.TCBInfoConfig) {
		return func(_ *forge.TDQuote, info *forge.TCBInfoConfig) {
			info.Levels[0].Status, info.Modules[1].Levels[0].Status = platform, module
		}
	}
	for _, row := range []struct {
		name, status, reason string
		edit                 func(*forge.TDQuote, *forge.TCBInfoConfig)
	}{
		{"all up to date", "UpToDate", "", nil},
		{"a platform that is out of date behind a module that is not", "OutOfDate", "tdx/tcb-status",
			status("OutOfDate", "UpToDate")},
		{"a module that is out of date on a platform that is not", "OutOfDate", "tdx/tcb-status",
			status("UpToDate", "OutOfDate")},
		{"a platform that needs another configuration under an old module", "OutOfDateConfigurationNeeded",
			"tdx/tcb-status", status("ConfigurationNeeded", "OutOfDate")},
		{"a platform that Intel revoked behind a module that is up to date", "", "tdx/tcb-revoked",
			status("Revoked", "UpToDate")},
		{"a module that Intel revoked on a platform that is up to date", "", "tdx/tcb-revoked",
			status("UpToDate", "Revoked")},
		{"a TD that was launched under the module before", "OutOfDate", "tdx/tcb-relaunch",
			func(quote *forge.TDQuote, _ *forge.TCBInfoConfig) { quote.TEETCBSVN[0] = 4 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			vector := trustDomain(t, authority, row.edit)
			verdict := entry.ask(t, vector, vector.At)
			if row.reason != "" && !slices.ContainsFunc(verdict.Reasons, func(r attestd.Reason) bool {
				return string(r.Check) == row.reason
			}) {
				t.Errorf("no reason by %s: %+v", row.reason, verdict.Reasons)
			}
			if row.status == "" {
				if verdict.Verdict != attestd.VerdictRejected || string(decisive(verdict)) != row.reason {
					t.Errorf("%v by %q, want a rejection", verdict.Verdict, decisive(verdict))
				}
				return
			}
			vector.Claims = map[string]string{"tcb_status": row.status}
			goldenFacts(t, vector, verdict)
		})
	}
}

// TestWhatAPlatformMisses: whoever is refused for a level is told which part of it, as published
// evidence shows.
func TestWhatAPlatformMisses(t *testing.T) {
	entry := newLibrary(t, judge.Config{})
	for _, vector := range corpus(t).Format(attestd.FormatTDX) {
		if vector.Name != "tdx/dcap-qvl-v5-outdated" {
			continue
		}
		verdict := entry.ask(t, vector, vector.At)
		detail := verdict.Reasons[0].Detail
		if !strings.Contains(detail, "CPU SVN component 7 is 3") || !strings.Contains(detail, "wants 5") {
			t.Errorf("told %q, want the component, what it is and what every level wants", detail)
		}
	}
}
