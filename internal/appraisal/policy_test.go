package appraisal_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/all"
)

func TestABuiltinThatIsNotThereIsNamed(t *testing.T) {
	if _, err := appraisal.ParseBuiltin("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no such file", err)
	}
}

// TestBuiltinsNameEveryCheck holds the built-in policies to the verifiers' tables: a check that is
// new in a verifier, or gone from it, must be decided on here before anything starts.
func TestBuiltinsNameEveryCheck(t *testing.T) {
	list, err := all.New(all.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range appraisal.BuiltinNames() {
		policy := builtin(t, name)
		if policy.Ref().ID != name {
			t.Errorf("got id %q, want %q", policy.Ref().ID, name)
		}
		for _, verifier := range list {
			specs := append(verifier.Checks(), appraisal.Checks()...)
			for _, spec := range specs {
				_, named := policy.Describe(verifier.Format(), spec.ID)
				want := spec.Stage == attestd.StageAppraise
				if _, composes := verifier.(verifiers.Composer); composes && spec.ID == appraisal.CheckMeasurement {
					want = false // the devices are measured, each by the rules of its own format
				}
				if named != want {
					t.Errorf("%s names %s for %s: %t, want %t", name, spec.ID, verifier.Format(), named, want)
				}
			}
		}
		if len(policy.Formats()) != len(list) {
			t.Errorf("%s names %v, want the %d formats of this build", name, policy.Formats(), len(list))
		}
	}
}

// TestRecordedStaysBelowRejection adds up everything that recorded scores, as if all of it failed at
// once: authentic evidence must still be accepted.
func TestRecordedStaysBelowRejection(t *testing.T) {
	policy := builtin(t, appraisal.Recorded)
	for _, format := range policy.Formats() {
		reasons := appraisal.WorstScored(policy, format)
		risk, tier := appraisal.Score(reasons)
		if risk.Int() >= 70 || tier.Verdict() != attestd.VerdictAccepted {
			t.Errorf("%s: the worst case is %v, want less than 70: %+v", format, risk, reasons)
		}
		t.Logf("%s: worst case %v of %d scored checks", format, risk, len(reasons))
	}
	// The six things that recorded is for stay below 70 even if each were a cause of its own.
	sum := 0
	named := []attestd.CheckID{"sev-snp/tcb-floor", "sev-snp/alias-check", "sev-snp/vmpl",
		"sev-snp/chip-id-masked", "sev-snp/crl", "measurement/known"}
	for _, id := range named {
		most := 0
		for _, reason := range appraisal.WorstScored(policy, attestd.FormatSEVSNP) {
			if reason.Check == id {
				most = max(most, reason.Points)
			}
		}
		if most == 0 {
			t.Errorf("%s is not scored", id)
		}
		sum += most
	}
	if sum >= 70 {
		t.Errorf("got a sum of %d, want less than 70", sum)
	}
}

func TestProductionNeverAcceptsWhatHasNoOwnerAtLowRisk(t *testing.T) {
	for _, name := range []string{appraisal.Production, appraisal.Laboratory} {
		policy := builtin(t, name)
		for _, format := range policy.Formats() {
			text, _ := policy.Describe(format, appraisal.CheckOwnership)
			if !strings.HasSuffix(text, "otherwise 40 points") {
				t.Errorf("%s, %s: got %q, want 40 points without an owner", name, format, text)
			}
		}
	}
}

// TestLaboratoryIsProductionElsewhere: whatever else the laboratory asks is what production asks, so
// that a laboratory sees production's rejections.
func TestLaboratoryIsProductionElsewhere(t *testing.T) {
	own := map[attestd.CheckID]bool{"sev-snp/crl": true, "sev-snp/crl-stale": true, "tpm/ek-crl": true, "tpm/protection": true,
		"tpm/clock-safe": true, "tpm/secure-boot": true, "tpm/boot-log": true, "tpm/exit-boot-services": true,
		"tdx/tcb-status": true, "tdx/tcb-out-of-date": true, "tdx/tcb-behind": true, "tdx/tcb-relaunch": true,
		"tdx/tcb-unknown-fields": true, "azure-vtpm/console": true}
	laboratory, production := builtin(t, appraisal.Laboratory), builtin(t, appraisal.Production)
	list := must[[]verifiers.Verifier](t)(all.New(all.Config{}))
	for _, verifier := range list {
		for _, spec := range append(verifier.Checks(), appraisal.Checks()...) {
			got, _ := laboratory.Describe(verifier.Format(), spec.ID)
			want, _ := production.Describe(verifier.Format(), spec.ID)
			if (got == want) == own[spec.ID] {
				t.Errorf("%s: laboratory %q, production %q", spec.ID, got, want)
			}
		}
	}
}

const nitroRules = `    debug: {want: false, otherwise: reject}
    pcr3-role: any
    pcr4-instance: any
    pcr8-signer: any
    region: any
    crl: any
    measurement/known: {want: active-reference, otherwise: reject, none-loaded: undecided}
    ownership/known: any
`

const nitroPolicy = "schema: attestd.policy.v1\nid: mine\nformats:\n  nitro:\n" + nitroRules

func recordedPolicy(t *testing.T) string {
	t.Helper()
	return string(builtin(t, appraisal.Recorded).Document())
}

func TestParsePolicyRefuses(t *testing.T) {
	swap := func(old, new string) string {
		if !strings.Contains(nitroPolicy, old) {
			t.Fatalf("the policy has no %q", old)
		}
		return strings.Replace(nitroPolicy, old, new, 1)
	}
	for _, row := range []struct {
		name, doc, want string
		neg             int
	}{
		{name: "a misspelt check", neg: 177, doc: swap("measurement/known", "meassurement/known"),
			want: "line 11: formats.nitro.meassurement/known: unknown key; did you mean measurement/known?"},
		{name: "a misspelt key", neg: 177, doc: swap("otherwise", "otherwize"),
			want: "line 5: formats.nitro.debug.otherwize: unknown key; did you mean otherwise?"},
		{name: "an unknown key at the top", neg: 177, doc: nitroPolicy + "default: accept\n",
			want: "default: unknown key"},
		{name: "a check left out", neg: 177, doc: swap("    region: any\n", ""),
			want: "formats.nitro.region: is missing"},
		{name: "a check twice", doc: swap("    region: any\n", "    region: any\n    region: any\n"),
			want: "line 10: formats.nitro.region: stands twice, first in line 9"},
		{name: "nothing behind a check", doc: swap("region: any", "region:"),
			want: "formats.nitro.region: got nothing"},
		{name: "an empty text behind a check", doc: swap("region: any", `region: ""`),
			want: "want {want: ..., otherwise: ...}, or any"},
		{name: "an empty list of expected values", neg: 139,
			doc:  swap("region: any", "region: {want: [], otherwise: reject}"),
			want: "formats.nitro.region.want: is empty"},
		{name: "an empty expected value among others", neg: 139,
			doc:  swap("region: any", `region: {want: [eu-west-1, ""], otherwise: reject}`),
			want: "region.want[1]: is empty"},
		{name: "an empty expected digest", neg: 139,
			doc:  swap("pcr3-role: any", `pcr3-role: {want: [""], otherwise: reject}`),
			want: "pcr3-role.want[0]: is empty"},
		{name: "an expected digest of zeros",
			doc: swap("pcr3-role: any", `pcr3-role: {want: ["`+strings.Repeat("00", 48)+
				`"], otherwise: reject}`), want: "is all zero"},
		{name: "an expected digest that is not hex",
			doc:  swap("pcr3-role: any", `pcr3-role: {want: [role], otherwise: reject}`),
			want: "is not hex"},
		{name: "a value twice", doc: swap("region: any", "region: {want: [a, a], otherwise: reject}"),
			want: "stands twice"},
		{name: "no owner as an owner",
			doc:  swap("known: any", "known: {want: [inventory, none], otherwise: reject}"),
			want: `ownership/known.want[1]: got "none", want one of: inventory, cloud-account, enrolment`},
		{name: "a missing revocation list as a fresh one",
			doc:  strings.Replace(recordedPolicy(t), "want: [fresh, stale]", "want: [missing]", 1),
			want: `crl.want[0]: got "missing", want one of: fresh, stale; to accept everything, write any`},
		{name: "an owner that does not exist",
			doc:  swap("known: any", "known: {want: [inventroy], otherwise: 40}"),
			want: `ownership/known.want[0]: got "inventroy", want one of`},
		{name: "text for a flag", doc: swap("want: false", "want: no"),
			want: `debug.want: got "no", want true or false`},
		{name: "a list for a flag", doc: swap("want: false", "want: [false]"),
			want: "got a list, want true or false"},
		{name: "a flag for a list", doc: swap("region: any", "region: {want: true, otherwise: reject}"),
			want: "want a list"},
		{name: "another reference", doc: swap("active-reference", "proposed"),
			want: "measurement/known.want: want active-reference"},
		{name: "nothing said about no references", doc: swap(", none-loaded: undecided", ""),
			want: "none-loaded: is missing"},
		{name: "none-loaded where it has no meaning",
			doc: swap("otherwise: reject}", "otherwise: reject, none-loaded: reject}"), want: "unknown key"},
		{name: "no points", doc: swap("otherwise: reject", "otherwise: 0"),
			want: "got 0 points, want 1 to 100"},
		{name: "too many points", doc: swap("otherwise: reject", "otherwise: 101"),
			want: "got 101 points, want 1 to 100"},
		{name: "negative points", doc: swap("otherwise: reject", "otherwise: -5"), want: `got "-5"`},
		{name: "another effect", doc: swap("otherwise: reject", "otherwise: warn"),
			want: "want reject, undecided, or 1 to 100 points"},
		{name: "any for an effect", doc: swap("otherwise: reject", "otherwise: any"),
			want: "want reject, undecided, or 1 to 100 points"},
		{name: "any in a map", doc: swap("region: any", "region: {want: any, otherwise: reject}"),
			want: `got "any", want a list`},
		{name: "an unknown format", doc: swap("  nitro:", "  nitr0:"),
			want: "formats.nitr0: unknown format; did you mean nitro?"},
		{name: "no formats", doc: "schema: attestd.policy.v1\nid: a\nformats: {}\n",
			want: "formats: is empty"},
		{name: "no id", doc: swap("id: mine\n", ""), want: "id: is missing"},
		{name: "an id that breaks lines", doc: swap("id: mine", `id: "a\nb"`), want: "letters, digits"},
		{name: "another schema", doc: swap("policy.v1", "policy.v2"), want: "want attestd.policy.v1"},
		{name: "an anchor", doc: swap("region: any", "region: &x any"), want: "an anchor or alias"},
		{name: "an empty file", neg: 176, doc: "", want: "documents"},
		{name: "a file of comments", neg: 176, doc: "# later\n", want: "documents"},
		{name: "a file that is no YAML", neg: 176, doc: "{{{{", want: "mine.yaml: "},
		{name: "half a file", neg: 176, doc: nitroPolicy[:len(nitroPolicy)/2], want: "mine.yaml: "},
		{name: "a binary file", neg: 176, doc: "\x00\xff\x00", want: "mine.yaml: "},
		{name: "a list", neg: 176, doc: "- a\n", want: "want a map"},
	} {
		t.Run(row.name, func(t *testing.T) {
			policy, err := appraisal.ParsePolicy("mine.yaml", []byte(row.doc))
			var caller *attestd.CallerError
			var problems *appraisal.PolicyError
			if policy != nil || !errors.As(err, &caller) || !errors.As(err, &problems) {
				t.Fatalf("got %v, %v, want a CallerError around a PolicyError", policy, err)
			}
			if caller.Class != attestd.ClassConfig || caller.Hint == "" ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %s %q, want CONFIG and %q", caller.Class, err, row.want)
			}
		})
	}
}

// Two names that begin alike are two names, however long their beginning.
func TestNamesAreComparedWhole(t *testing.T) {
	long := strings.Repeat("a", 40)
	doc := strings.Replace(nitroPolicy, "region: any",
		"region: {want: ["+long+"1, "+long+"2], otherwise: reject}", 1)
	if _, err := appraisal.ParsePolicy("mine.yaml", []byte(doc)); err != nil {
		t.Error(err)
	}
}

func TestParsePolicyReportsEverythingAtOnce(t *testing.T) {
	doc := strings.NewReplacer("want: false", "want: 7", "region: any", "regoin: any",
		"active-reference", "best").Replace(nitroPolicy) + "  tdx: {}\n  sev-snp: {debug: any}\n"
	// A build without the verifier of TDX says so.
	list := slices.DeleteFunc(must[[]verifiers.Verifier](t)(all.New(all.Config{})),
		func(v verifiers.Verifier) bool { return v.Format() == attestd.FormatTDX })
	_, err := appraisal.ParsePolicyFor(list, "mine.yaml", []byte(doc))
	var problems *appraisal.PolicyError
	if !errors.As(err, &problems) || len(problems.Problems) < 40 {
		t.Fatalf("got %v, want some 45 problems", err)
	}
	for _, want := range []string{
		"line 5: formats.nitro.debug.want: got a whole number", "formats.nitro.regoin: unknown key",
		"formats.nitro.region: is missing", "measurement/known.want: want active-reference",
		"formats.tdx: this build has no verifier", "formats.sev-snp.tcb-floor: is missing",
		"formats.sev-snp.debug: unknown key",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to contain %q", err, want)
		}
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if len(line) > 120 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
}

func TestPolicyIsNamedByTheDigestOfItsBytes(t *testing.T) {
	doc := []byte(nitroPolicy)
	policy := must[*appraisal.Policy](t)(appraisal.ParsePolicy("mine.yaml", doc))
	want := fmt.Sprintf("sha256:%x", sha256.Sum256(doc))
	if got := policy.Ref(); got.ID != "mine" || got.Digest != want {
		t.Errorf("got %+v, want mine and %s", got, want)
	}
	doc[0] = 'X'
	policy.Document()[1] = 'X'
	if !bytes.Equal(policy.Document(), []byte(nitroPolicy)) {
		t.Error("the document can be changed from outside")
	}
	if _, err := appraisal.ParsePolicy("again", policy.Document()); err != nil {
		t.Errorf("got %v, want the document to be read again", err)
	}
}

func TestAnUnknownBuiltinIsTheCallersFault(t *testing.T) {
	var caller *attestd.CallerError
	if policy, err := appraisal.Builtin("prod"); policy != nil || !errors.As(err, &caller) ||
		!strings.Contains(caller.Hint, "production, recorded, laboratory") {
		t.Errorf("got %v, %v, want an error that lists the names", policy, err)
	}
}

func TestTheDocumentationSpeaksOfThisCode(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	_, block, found := strings.Cut(page, "```yaml\n")
	doc, _, _ := strings.Cut(block, "```")
	if _, err := appraisal.ParsePolicy("docs/policy.md", []byte(doc)); !found || err != nil {
		t.Errorf("the example: %v", err)
	}
	broken := strings.NewReplacer("want: false", "want: no", "region: any", "regoin: any",
		"measurement/known: ", "region: any\n    measurement/known: ").Replace(nitroPolicy)
	_, err = appraisal.ParsePolicy("mine.yaml", []byte(broken))
	if err == nil || !strings.Contains(page, err.Error()) {
		t.Errorf("the page does not show what is said of a broken policy: %v", err)
	}
	most := map[attestd.Format]string{}
	for _, format := range builtin(t, appraisal.Recorded).Formats() {
		risk, _ := appraisal.Score(appraisal.WorstScored(builtin(t, appraisal.Recorded), format))
		most[format] = risk.String()
	}
	row := "| all of it at once | " + most[attestd.FormatSEVSNP] + " | " + most[attestd.FormatNitro] + " | " +
		most[attestd.FormatTPM] + " |"
	if !strings.Contains(page, row) || most[attestd.FormatNitro] != most[attestd.FormatNitroTPM] {
		t.Errorf("the page has no row %q", row)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(nitroPolicy))
	for _, name := range appraisal.BuiltinNames() {
		doc, err := os.ReadFile("policies/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Add([]byte("schema: attestd.policy.v1\nid: a\nformats: {nitro: &a [*a]}\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		policy, err := appraisal.ParsePolicy("fuzz", doc)
		var caller *attestd.CallerError
		switch {
		case err == nil && (policy == nil || len(policy.Formats()) == 0):
			t.Fatal("a policy without formats was read")
		case err != nil && (policy != nil || !errors.As(err, &caller) || caller.Hint == ""):
			t.Fatalf("got %v, %v, want a CallerError with a hint alone", policy, err)
		}
	})
}
