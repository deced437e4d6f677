package cases_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cases"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/nhi"
)

const head = "schema: attestd.policy-cases.v1\n"

func standard(tb testing.TB) *cedarset.Set {
	tb.Helper()
	set, err := cedarset.Load(cedarset.Standard())
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// The cases that the documentation shows pass, and every policy that comes with attestd decides in one.
func TestTheCasesOfTheDocumentation(t *testing.T) {
	document, err := os.ReadFile("../../../docs/decisions/standard-cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := cases.Parse("standard-cases.yaml", document)
	if err != nil {
		t.Fatal(err)
	}
	set, asked := standard(t), map[string]bool{}
	for _, one := range cases.Run(all, set, decision.Judge) {
		if !one.OK {
			t.Errorf("%+v", one)
		}
		for _, policy := range one.Policies {
			asked[policy] = true
		}
	}
	list, err := set.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list {
		if !asked[one.ID] {
			t.Errorf("%s decides in no case", one.ID)
		}
	}
	for _, sentence := range []struct {
		name string
		want decision.Code
	}{
		{"an evaluation agent does not write to the feature store", decision.CodePurposeMismatch},
		{"a worker of tenant a gets nothing of tenant b", decision.CodeTenantMismatch},
		{"who is not attested is refused before any policy", decision.CodeNotAttested},
	} {
		if !slices.ContainsFunc(all, func(c cases.Case) bool { return c.Name == sentence.name && c.Want == sentence.want }) {
			t.Errorf("no case is %q", sentence.name)
		}
	}
}

// Without its policy, a case that a policy decides fails: the cases test policies.
func TestCasesFailWhereTheirPolicyIsGone(t *testing.T) {
	document, err := os.ReadFile("../../../docs/decisions/standard-cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := cases.Parse("standard-cases.yaml", document)
	if err != nil {
		t.Fatal(err)
	}
	whole := standard(t)
	list, err := whole.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range list {
		files := map[string]string{}
		for _, one := range list {
			if one.ID != gone.ID {
				files[one.File] += one.Text + "\n"
			}
		}
		files["shared/other.cedar"] = `@id("other") @policy("standard") permit (principal, action, resource) when { false };`
		set, err := cedarset.Load(folder(files))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(cases.Run(all, set, decision.Judge), func(o cases.Outcome) bool { return !o.OK }) {
			t.Errorf("without %s every case passes", gone.ID)
		}
	}
}

func folder(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

// What a case does not say is let through by every gate and every policy.
func TestTheQuestionIsGood(t *testing.T) {
	in := cases.Question()
	if got := decision.Judge(&in, standard(t)); !got.Allow {
		t.Errorf("got %+v", got)
	}
	other := cases.Question()
	if in.Record.Tools[0] = "changed"; other.Record.Tools[0] == "changed" {
		t.Error("two questions share a record")
	}
}

// Each key does what it says: one question for each, and another answer than without it.
func TestKeysOfACase(t *testing.T) {
	for said, want := range map[string]decision.Code{
		"who: none":                        decision.CodeUnauthenticated,
		"who: {expired: true}":             decision.CodeExpired,
		"who: {fault: bundle_unavailable}": decision.CodeBundleUnavailable,
		"who: {tenant: b}":                 decision.CodeTenantMismatch,
		"who: {id: spiffe://other.org/x, method: x509-svid}": "",
		"standing: none":                                 decision.CodeNotAttested,
		"standing: {state: revoked}":                     decision.CodeRevoked,
		"standing: {tenant: none}":                       decision.CodeTenantUnknown,
		"standing: {tenant: b}":                          decision.CodeTenantMismatch,
		"standing: {overdue: true}":                      decision.CodeStale,
		"standing: {age: 91m}":                           decision.CodeStale,
		"standing: {age: 89m}":                           "",
		"standing: {risk: 70}":                           decision.CodeRiskSpike,
		"standing: {risk: 69}":                           "",
		"standing: {fault: state_unavailable}":           decision.CodeStateUnavailable,
		"record: none":                                   decision.CodeUnknownIdentity,
		"record: {lifecycle: retired}":                   decision.CodeRetired,
		"record: {policy: other}":                        decision.CodeNoPolicy,
		"record: {datasets: [x]}":                        decision.CodeBlastRadius,
		"record: {datasets: none}":                       decision.CodeBlastRadius,
		"record: {purpose: none}":                        decision.CodePurposeMismatch,
		"action: none":                                   decision.CodeMissingProof,
		"action: data.write":                             decision.CodePurposeMismatch,
		"resource: {tenant: none}":                       decision.CodeMissingProof,
		"resource: {name: none}":                         decision.CodeMissingProof,
		"resource: {ring: canary}":                       decision.CodeRing,
		"resource: {project: other}":                     decision.CodeTenantMismatch,
		"resource: {project: search}":                    "",
		"resource: {privileged: true}":                   "",
		"context: {throttled: true}":                     decision.CodeThrottled,
		"context: {late: true}":                          decision.CodeDeadline,
		"context: {raised: [novel_scope, tenant_pivot]}": decision.CodeTenantPivot,
		"context: {raised: none, novel: 100, intent: none, enforcer: none, via: ext_authz, exposure_score: 9}": "",
		"context: {chain: none, connectivity: air-gapped, classification: [x], supported_obligations: none}":   "",
	} {
		all, err := cases.Parse("c", []byte(head+"cases:\n  - name: x\n    want: allow\n    "+said+"\n"))
		if err != nil {
			t.Errorf("%s: %v", said, err)
			continue
		}
		wanted := string(want)
		if want == "" {
			wanted = cases.Allow
		}
		if got := cases.Run(all, standard(t), decision.Judge)[0]; got.Got != wanted || got.OK != (want == "") {
			t.Errorf("%s: got %+v, want %s", said, got, wanted)
		}
	}
}

// What all cases have is said once; a case can take it back, and changes nothing for the others.
func TestDefaults(t *testing.T) {
	all, err := cases.Parse("c", []byte(head+`defaults:
  record: {policy: agents, datasets: [docs]}
  standing: {risk: 30}
cases:
  - {name: as it is, want: allow}
  - {name: changed, record: {policy: other, datasets: [x]}, standing: {risk: 5}, want: allow}
  - {name: without, record: none, want: not_in_inventory}
  - {name: again, want: allow}
`))
	if err != nil || len(all) != 4 {
		t.Fatal(err)
	}
	for i, want := range []string{"agents [docs] 30", "other [x] 5", "", "agents [docs] 30"} {
		got := ""
		if in := all[i].Input; in.Record != nil {
			got = fmt.Sprint(in.Record.Policy, " ", in.Record.Datasets, " ", in.Standing.Risk)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", all[i].Name, got, want)
		}
	}
}

// A document in doubt is refused as a whole, with the line of each problem: a case that is not read as it
// was meant would pass for another reason.
func TestDocumentsThatAreRefused(t *testing.T) {
	one := "  - {name: x, want: allow}\n"
	for name, row := range map[string]struct{ document, says string }{
		"nothing":                     {"", "0 documents"},
		"no cases":                    {head, "cases: is missing"},
		"an empty list":               {head + "cases: []\n", "is empty"},
		"another schema":              {"schema: x\ncases:\n" + one, "attestd.policy-cases.v1"},
		"no name":                     {head + "cases:\n  - {want: allow}\n", "name: is missing"},
		"an empty name":               {head + "cases:\n  - {name: '', want: allow}\n", "is empty"},
		"nothing that is wanted":      {head + "cases:\n  - {name: x}\n", "want: is missing"},
		"one name twice":              {head + "cases:\n" + one + "  - {name: ' X ', want: allow}\n", "stands in line 3 already"},
		"a key twice":                 {head + "cases:\n  - {name: x, want: allow, want: deny}\n", "stands"},
		"an unknown key":              {head + "cases:\n  - {name: x, want: allow, recrod: none}\n", "did you mean record?"},
		"an unknown key of a section": {head + "cases:\n  - {name: x, want: allow, record: {purpos: ci}}\n", "did you mean purpose?"},
		"an unknown section":          {head + "tests:\n" + one + "cases:\n" + one, "unknown key"},
		"an answer that is none":      {head + "cases:\n  - {name: x, want: purpose_missmatch}\n", "did you mean purpose_mismatch?"},
		"deny":                        {head + "cases:\n  - {name: x, want: deny}\n", "is no code"},
		"an action that is none":      {head + "cases:\n  - {name: x, want: allow, action: data.wirte}\n", "did you mean data.write?"},
		"a zone that is none":         {head + "cases:\n  - {name: x, want: allow, record: {zone: dmz}}\n", "zone"},
		"a tenant that is none":       {head + "cases:\n  - {name: x, want: allow, who: {tenant: A}}\n", "tenant"},
		"an id that is none":          {head + "cases:\n  - {name: x, want: allow, who: {id: rag}}\n", "SPIFFE ID"},
		"a method that is none":       {head + "cases:\n  - {name: x, want: allow, who: {method: password}}\n", "is none there is"},
		"a state that is none":        {head + "cases:\n  - {name: x, want: allow, standing: {state: good}}\n", "want one of"},
		"an age that is none":         {head + "cases:\n  - {name: x, want: allow, standing: {age: -5m}}\n", "is no age"},
		"a risk above all":            {head + "cases:\n  - {name: x, want: allow, standing: {risk: 101}}\n", "0 to 100"},
		"a flag that is none":         {head + "cases:\n  - {name: x, want: allow, standing: {attested: 'no'}}\n", "true or false"},
		"classes of nothing":          {head + "cases:\n  - {name: x, want: allow, resource: {classification: [pii]}}\n", "names none"},
		"an empty blast radius":       {head + "cases:\n  - {name: x, want: allow, record: {tools: []}}\n", "is empty"},
		"an empty section":            {head + "cases:\n  - {name: x, want: allow, record: {}}\n", "is empty"},
		"a link of no kind":           {head + "cases:\n  - {name: x, want: allow, context: {chain: [{type: bot, id: x}]}}\n", "human or nhi"},
		"a link without a name":       {head + "cases:\n  - {name: x, want: allow, context: {chain: [{type: nhi}]}}\n", "id: is missing"},
		"a tier that is none":         {head + "cases:\n  - {name: x, want: allow, context: {chain: [{type: nhi, id: x, tier: best}]}}\n", "want one of"},
		"a detector that is none":     {head + "cases:\n  - {name: x, want: allow, context: {raised: [fire]}}\n", "is no code"},
		"defaults that are wrong":     {head + "defaults: {want: allow}\ncases:\n" + one, "unknown key"},
		"a long name":                 {head + "cases:\n  - {name: " + strings.Repeat("x", 121) + ", want: allow}\n", "at most 120"},
		"two documents":               {head + "cases:\n" + one + "---\n" + head, "documents"},
		"an anchor":                   {head + "cases:\n  - {name: &x x, want: allow}\n", "anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := cases.Parse("c.yaml", []byte(row.document))
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Hint == "" || got != nil || !strings.Contains(err.Error(), row.says) ||
				!strings.HasPrefix(err.Error(), "c.yaml:") {
				t.Errorf("got %v, want one that says %q", err, row.says)
			}
		})
	}
	for _, count := range []int{5000, 5001} {
		var many strings.Builder
		for n := range count {
			fmt.Fprintf(&many, "  - {name: x%d, want: allow}\n", n)
		}
		if got, err := cases.Parse("c", []byte(head+"cases:\n"+many.String())); (err == nil) != (count == 5000) {
			t.Errorf("%d cases: %d were taken, %v", count, len(got), err)
		}
	}
}

// TestActionsAreTheSchemas: a case can ask for every action that policies can speak of, and no other.
func TestActionsAreTheSchemas(t *testing.T) {
	found := regexp.MustCompile(`"([a-z]+\.[a-z]+)"`).FindAllStringSubmatch(cedarset.Schema(), -1)
	if len(found) < 10 {
		t.Fatalf("%d actions", len(found))
	}
	for _, action := range found {
		if _, err := cases.Parse("c", []byte(head+"cases:\n  - {name: x, want: allow, action: "+action[1]+"}\n")); err != nil {
			t.Error(err)
		}
	}
}

// TestDocsHaveEveryKey: the page names each key of a case, in the row of its section.
func TestDocsHaveEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../../docs/decisions/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| Key | Where it says nothing |")
	for section, keys := range cases.Keys() {
		_, rest, found := strings.Cut(table, "\n| `"+section+"` | ")
		row, _, _ := strings.Cut(rest, "\n")
		if !found {
			t.Errorf("no row for %s", section)
		}
		for _, key := range keys {
			if section != "record" && !strings.Contains(row, "`"+key) {
				t.Errorf("%s.%s is not on the page", section, key)
			}
		}
	}
	for _, key := range cases.Keys()["record"] {
		if !slices.Contains(nhi.FieldNames(), key) {
			t.Errorf("record.%s is no field of the inventory", key)
		}
	}
	if len(cases.Keys()["record"]) != len(nhi.FieldNames())-1 { // its id is the caller's
		t.Error("the inventory has a field that no case can say")
	}
}

func FuzzParse(f *testing.F) {
	document, err := os.ReadFile("../../../docs/decisions/standard-cases.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add([]byte(head + "defaults: {record: none}\ncases:\n  - {name: x, want: allow, who: {tenant: b}, record: {tools: none}}\n"))
	set := standard(f)
	f.Fuzz(func(t *testing.T, document []byte) {
		all, err := cases.Parse("c", document)
		if (err == nil) != (len(all) > 0) {
			t.Fatalf("%d cases and %v", len(all), err)
		}
		seen := map[string]bool{}
		for i, one := range cases.Run(all, set, decision.Judge) {
			if one.Name == "" || seen[one.Name] || one.Want == "" || one.OK != (one.Got == one.Want) {
				t.Fatalf("%+v", one)
			}
			if all[i].Want != "" && decision.SpecOf(all[i].Want).Code != all[i].Want {
				t.Fatalf("wants %q", all[i].Want)
			}
			seen[one.Name] = true
		}
	})
}
