package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// rejected is a verdict with one rejection and one scored difference.
func rejected() attestd.Appraisal {
	return attestd.Appraisal{
		Schema: attestd.VerdictSchema, Verdict: attestd.VerdictRejected, Format: attestd.FormatSEVSNP,
		Summary: "Milan, report v2", Tier: attestd.TierCritical, Risk: attestd.Risk(100),
		At: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC),
		Reasons: []attestd.Reason{
			{
				Check: "sev-snp/guest-policy-debug", Group: attestd.GroupDebug, Points: 100,
				Effect: attestd.EffectRejects, Detail: "debug true, want false",
				Remedy: "start the guest with policy 0x30000, then collect the report again",
			},
			{
				Check: "measurement/known", Group: attestd.GroupMeasurement, Points: 30,
				Effect: attestd.EffectScored, Detail: "no reference value matches",
				Remedy: "attestd measure report.bin --name web-guest",
			},
		},
		Checks: []attestd.Check{
			{ID: "sev-snp/signature", Result: attestd.ResultPass, Got: "valid", Spec: "AMD 56860"},
			{
				ID: "sev-snp/guest-policy-debug", Result: attestd.ResultFail,
				Got: "true   policy 0x00000000000b0000", Want: "false",
				Spec: "AMD 56860 rev 1.58, section 4.3", Hint: "start the guest without DEBUG",
			},
			{ID: "sev-snp/author-key", Result: attestd.ResultNotApplicable, Got: "no author key"},
			{
				ID: "measurement/known", Result: attestd.ResultFail,
				Got:  "closest known: web-guest 2025.5 (differs in 1 of 1 registers)",
				Want: "an active reference value", Hint: "attestd ref test",
			},
		},
		Claims:         json.RawMessage(`{"debug":true,"vmpl":0,"chip_id":null,"reported_tcb":{"snp":8}}`),
		Policy:         attestd.PolicyRef{ID: "recorded", Digest: "sha256:" + strings.Repeat("9f2c41d7", 8)},
		EvidenceSHA256: strings.Repeat("77b0c19e", 8),
	}
}

func accepted() attestd.Appraisal {
	a := rejected()
	a.Verdict, a.Tier, a.Risk = attestd.VerdictAccepted, attestd.TierLow, attestd.Risk(30)
	a.Freshness = attestd.FreshnessNonce
	a.Claims = json.RawMessage(`{"signed_at":"2025-05-31T23:59:56Z"}`)
	a.Reasons = a.Reasons[1:]
	a.Checks[1].Result = attestd.ResultPass
	return a
}

func standing(of attestd.Standing) attestd.Appraisal {
	a := accepted()
	a.Handles = []attestd.Handle{{Kind: attestd.HandleInstance, Value: "ek:9c41a2b7"}}
	a.Standing = &of
	return a
}

func undecided() attestd.Appraisal {
	a := rejected()
	a.Verdict, a.Tier = attestd.VerdictUndecided, attestd.TierUnknown
	a.Reasons[0].Effect = attestd.EffectUndecided
	a.Claims = json.RawMessage("null")
	return a
}

// hostile is a verdict in which every text was chosen by an attacker.
func hostile() attestd.Appraisal {
	nasty := "\x1b[2J\x1b[1;32mACCEPTED\r\nACCEPTED nitro\u202e\u2028 risk 0 low \xff " +
		strings.Repeat("AcceptedAccepted", 300) + " аpple \x00"
	a := rejected()
	a.Summary = nasty
	a.Policy.ID, a.Policy.Digest = nasty, nasty
	a.Standing = &attestd.Standing{Subject: nasty, Tenant: nasty, Ownership: nasty, Enrolment: nasty}
	for i := range a.Checks {
		a.Checks[i].Got, a.Checks[i].Want, a.Checks[i].Spec, a.Checks[i].Hint = nasty, nasty, nasty, nasty
	}
	for i := range a.Reasons {
		a.Reasons[i].Detail, a.Reasons[i].Remedy = nasty, nasty
	}
	a.Reasons = append(a.Reasons, attestd.Reason{Check: attestd.CheckID(nasty), Device: nasty, Detail: nasty})
	a.Checks[0].Device = nasty
	a.Devices = []attestd.DeviceAppraisal{{Path: nasty, Format: attestd.Format(nasty), Summary: nasty}}
	a.Edges = []attestd.Edge{{From: nasty, To: nasty, How: nasty}}
	return a
}

// composed is a verdict on a processor and a TPM: the same check warns of both.
func composed() attestd.Appraisal {
	a := accepted()
	a.Format, a.Tier, a.Risk = attestd.FormatComposite, attestd.TierMedium, attestd.Risk(60)
	a.Freshness, a.Claims = attestd.FreshnessBinding, json.RawMessage(`{"weakest_edge":"simultaneous"}`)
	a.Summary = "cpu: Milan, report v3; vtpm: TPM 2.0"
	a.Reasons, a.Checks = nil, []attestd.Check{
		{ID: "composite/encoding", Result: attestd.ResultPass, Got: "its one encoding"},
		{ID: "sev-snp/vmpl", Device: "cpu", Result: attestd.ResultPass, Got: "0"},
	}
	for _, device := range []string{"cpu", "vtpm"} {
		a.Checks = append(a.Checks, attestd.Check{
			ID: "roots/pinned", Device: device, Result: attestd.ResultFail, Got: "a root that was loaded by hand",
			Want: "a root that is compiled in", Hint: "leave --insecure-roots out",
		})
		a.Reasons = append(a.Reasons, attestd.Reason{
			Check: "roots/pinned", Device: device, Group: attestd.GroupRoots, Points: 60,
			Effect: attestd.EffectScored, Detail: "got a root that was loaded by hand of " + device,
			Remedy: "leave --insecure-roots out for " + device,
		})
		a.Devices = append(a.Devices, attestd.DeviceAppraisal{
			Path: device, Format: map[string]attestd.Format{
				"cpu": attestd.FormatSEVSNP, "vtpm": attestd.FormatTPM}[device],
			Summary: map[string]string{"cpu": "Milan, report v3", "vtpm": "TPM 2.0"}[device],
			Tier:    attestd.TierMedium, Verdict: attestd.VerdictAccepted, Risk: attestd.Risk(60),
			Freshness: attestd.FreshnessBinding, Claims: json.RawMessage(`{"a":1}`),
		})
	}
	a.Devices[1].Freshness = attestd.FreshnessNonce
	a.Edges = []attestd.Edge{{
		From: "cpu", To: "vtpm", Grade: attestd.GradeSimultaneous,
		How: "both answered a value of their own that was derived from one fresh nonce",
	}}
	return a
}

func about() report.Verdict {
	return report.Verdict{
		Source: "report.bin", Recorded: true,
		Why: func(attestd.CheckID) string { return "the hypervisor can read and change this guest's memory" },
	}
}

func TestTextIsTheGoldenText(t *testing.T) {
	all := about()
	all.AllChecks = true
	fresh := report.Verdict{Source: "nitro.cbor", Key: "sha256:5d3e91a2"}
	stdin := about()
	stdin.Source = "-"
	for _, row := range []struct {
		name  string
		a     attestd.Appraisal
		page  report.Page
		about report.Verdict
	}{
		{"rejected", rejected(), report.Page{}, about()},
		{"rejected at 60 columns", rejected(), report.Page{Width: 60}, about()},
		{"rejected with every check", rejected(), report.Page{}, all},
		{"rejected in colour", rejected(), report.Page{Color: true}, about()},
		{"rejected quietly", rejected(), report.Page{Quiet: true}, about()},
		{"accepted with a bound key", accepted(), report.Page{}, fresh},
		{"accepted and a subject", standing(attestd.Standing{
			Subject: "spiffe://example.org/spire/agent/attestd/tpm/ek:" + strings.Repeat("9c41a2b7", 8),
			Tenant:  "default", Ownership: "inventory", State: attestd.StateTrusted, Epoch: 3,
			Risk: attestd.Risk(30), DueAt: time.Date(2025, 6, 1, 1, 0, 0, 0, time.UTC),
		}), report.Page{}, fresh},
		{"accepted and waiting", standing(attestd.Standing{
			Ownership: "none", Enrolment: "pending",
		}), report.Page{}, fresh},
		{"undecided from standard input", undecided(), report.Page{}, stdin},
		{"zero appraisal", attestd.Appraisal{}, report.Page{}, report.Verdict{}},
		{"composed", composed(), report.Page{}, all},
		{"composed at 60 columns", composed(), report.Page{Width: 60}, about()},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := report.Text(&out, row.page, row.a, row.about); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.ReplaceAll(row.name, " ", "-")+".txt", out.Bytes())
			demandPage(t, out.String(), row.page)
		})
	}
}

func TestHostileTextStaysWithinThePageAndOnItsLine(t *testing.T) { // neg: 167
	for width := 0; width <= 130; width += 10 {
		for _, all := range []bool{false, true} {
			var out bytes.Buffer
			what := about()
			what.AllChecks, what.Source = all, "-rf $(x) \x1b[31m"
			if err := report.Text(&out, report.Page{Width: width}, hostile(), what); err != nil {
				t.Fatal(err)
			}
			demandPage(t, out.String(), report.Page{Width: width})
			for line := range strings.SplitSeq(out.String(), "\n") {
				if strings.HasPrefix(line, "ACCEPTED") {
					t.Fatalf("width %d: evidence wrote a verdict line of its own: %q", width, line)
				}
			}
			if !strings.HasPrefix(out.String(), "REJECTED") {
				t.Fatalf("width %d: first line is not the verdict: %.80q", width, out.String())
			}
		}
	}
}

func TestTheNextCommandIsOneCommandWhateverAVerdictNamesItsChecks(t *testing.T) { // neg: 167
	given := rejected()
	for i := range given.Checks {
		given.Checks[i].ID = "x; reboot"
	}
	for i := range given.Reasons {
		given.Reasons[i].Check = "x; reboot"
	}
	var out bytes.Buffer
	if err := report.Text(&out, report.Page{Width: 100}, given, about()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "attestd explain 'x; reboot'") {
		t.Errorf("the command to paste is another:\n%s", out.String())
	}
}

// TestHostileTextStaysTextInJSON: a verdict that came from another verifier holds what that one wrote.
func TestHostileTextStaysTextInJSON(t *testing.T) { // neg: 167
	const steering = "\x1b\x7f\u009b31m\u202e\u200b\u2028\ufeff\u061c"
	given := hostile()
	given.Checks[0].Got = steering
	given.Claims = json.RawMessage("{\"a\":\"\u009b\u202e\x9b\"}")
	var verdict, problem bytes.Buffer
	if err := report.JSON(&verdict, given); err != nil {
		t.Fatal(err)
	}
	if err := report.ProblemJSON(&problem, report.Problem{Class: steering}); err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{verdict.String(), problem.String()} {
		lines := strings.ReplaceAll(doc, "\n", "")
		if attestd.Excerpt(lines, len(lines)) != lines || !utf8.ValidString(doc) {
			t.Errorf("a terminal is steered by %q", doc)
		}
	}
	var back attestd.Appraisal
	if err := json.Unmarshal(verdict.Bytes(), &back); err != nil || back.Checks[0].Got != steering {
		t.Errorf("got %q back, %v", back.Checks[0].Got, err)
	}
}

func TestEveryReasonIsToldAndMissingResultsAreFailures(t *testing.T) {
	a := accepted()
	a.Reasons = append(a.Reasons, attestd.Reason{
		Check: "roots/pinned", Group: attestd.GroupRoots, Points: 60, Effect: attestd.EffectScored,
		Detail: "a root that was loaded by hand", Remedy: "drop --insecure-roots",
	})
	a.Checks = append(a.Checks, attestd.Check{ID: "nitro/forgotten"})
	var out bytes.Buffer
	if err := report.Text(&out, report.Page{}, a, about()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"roots: NOT PINNED", "WARN  roots/pinned", "+60 risk", "a root that was loaded by hand", "FAIL  nitro/forgotten",
		"the check did not run", "2 pass   1 fail   2 warnings   1 not applicable",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestVerdictJSONObeysItsSchema(t *testing.T) {
	for name, a := range map[string]attestd.Appraisal{
		"rejected": rejected(), "accepted": accepted(), "undecided": undecided(),
		"nobody's": standing(attestd.Standing{Ownership: "none", Enrolment: "expired"}),
		"a subject": standing(attestd.Standing{
			Subject: "spiffe://example.org/a", Tenant: "default", Ownership: "enrolment",
			State: attestd.StateSuspect, Epoch: 1, DueAt: time.Unix(0, 0).UTC(),
		}),
	} {
		var out bytes.Buffer
		if err := report.JSON(&out, a); err != nil {
			t.Fatal(err)
		}
		if err := obeys(t, attestd.VerdictSchema, out.Bytes()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemasRefuseWhatTheyDoNotPromise(t *testing.T) {
	var good bytes.Buffer
	if err := report.JSON(&good, rejected()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, from, to string }{
		{"a risk over 100", `"risk_score": 100`, `"risk_score": 101`},
		{"a risk that is text", `"risk_score": 100`, `"risk_score": "100"`},
		{"a tier that does not exist", `"tier": "critical"`, `"tier": "great"`},
		{"a result that is skipped", `"result": "pass"`, `"result": "skipped"`},
		{"an unknown member", `"tier": `, `"extra": 1, "tier": `},
		{"a digest in capitals", `"evidence_sha256": "77b0c19e`, `"evidence_sha256": "77B0C19E`},
		{"another schema", `attestd.verdict.v1`, `attestd.verdict.v2`},
	} {
		bad := strings.Replace(good.String(), row.from, row.to, 1)
		if bad == good.String() {
			t.Fatalf("%s: %q is not in the document", row.name, row.from)
		}
		if err := obeys(t, attestd.VerdictSchema, []byte(bad)); err == nil {
			t.Errorf("%s was accepted by the schema", row.name)
		}
	}
}

func TestInspectionMarksEveryLineAndField(t *testing.T) {
	seen := report.Inspected{
		Kind: "nitro", Bytes: 4500,
		Inspection: attestd.Inspection{Format: attestd.FormatNitro, Summary: "i-0abc", Fields: []attestd.InspectedField{
			{Name: "module_id", Value: "i-0abc-enc0123"},
			{Name: "pcrs.0", Value: strings.Repeat("ab", 48), Note: "image"},
			{Name: strings.Repeat("long.name.", 12), Value: strings.Repeat("word ", 80)},
			{Name: "user_data", Value: ""},
		}},
	}
	var text, doc bytes.Buffer
	if err := report.InspectionText(&text, report.Page{}, seen, "attestd verify"); err != nil {
		t.Fatal(err)
	}
	golden(t, "inspection.txt", text.Bytes())
	demandPage(t, text.String(), report.Page{})
	for line := range strings.SplitSeq(strings.TrimSpace(text.String()), "\n") {
		marked := strings.HasPrefix(line, "UNVERIFIED") || strings.HasPrefix(line, "unverified  ") ||
			strings.HasPrefix(line, "   nothing below") || strings.HasPrefix(line, "next ")
		if line != "" && !marked {
			t.Errorf("line without a mark: %q", line)
		}
	}
	if err := report.InspectionJSON(&doc, seen); err != nil {
		t.Fatal(err)
	}
	if err := obeys(t, report.InspectionSchema, doc.Bytes()); err != nil {
		t.Error(err)
	}
	if got := strings.Count(doc.String(), `"unverified": true`); got != 5 {
		t.Errorf("%d unverified marks, want 1 for the document and 1 for each of 4 fields", got)
	}
}

func TestJUnitCountsWhatItSays(t *testing.T) {
	for _, row := range []struct {
		name                            string
		a                               attestd.Appraisal
		tests, failures, errs, notAsked int
	}{
		{"a rejection fails its check and the verdict", rejected(), 5, 2, 0, 1},
		{"an acceptance with a warning is green", accepted(), 5, 0, 0, 1},
		{"undecided is an error, never a pass", undecided(), 5, 0, 2, 1},
		{"points that add up to a rejection fail", addedUp(), 5, 1, 0, 1},
		{"hostile text stays XML", hostile(), 6, 3, 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := report.JUnit(&out, row.a, about()); err != nil {
				t.Fatal(err)
			}
			var doc struct {
				Tests    int `xml:"tests,attr"`
				Failures int `xml:"failures,attr"`
				Errors   int `xml:"errors,attr"`
				Skipped  int `xml:"skipped,attr"`
				Suite    struct {
					Cases []struct {
						Failure *struct{} `xml:"failure"`
						Error   *struct{} `xml:"error"`
					} `xml:"testcase"`
				} `xml:"testsuite"`
			}
			if err := xml.Unmarshal(out.Bytes(), &doc); err != nil {
				t.Fatal(err)
			}
			if doc.Tests != row.tests || doc.Failures != row.failures || doc.Errors != row.errs ||
				doc.Skipped != row.notAsked || len(doc.Suite.Cases) != row.tests {
				t.Errorf("got %+v\n%s", doc, out.String())
			}
		})
	}
}
