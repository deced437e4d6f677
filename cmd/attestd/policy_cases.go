package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pdp "github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cases"
	"github.com/attestd/attestd/internal/report"
)

// policyTestDoc answers attestd policy test.
type policyTestDoc struct {
	Schema  string `json:"schema"` // attestd.policy-test.v1
	Verdict string `json:"verdict"`
	Source  string `json:"source"`
	Digest  string `json:"digest"`
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	// Results are in the order of the document.
	Results []cases.Outcome `json:"results"`
	// Silent are the policies that decided in no case.
	Silent []string `json:"silent"`
}

func newPolicyTest(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test DIR CASES",
		Short: "Ask policies questions, and compare the answers with those that are wanted",
		Long: `Test asks the policies of DIR (or the word standard) every question of CASES, a YAML document, and
compares the answers with what it wants: allow, or the code of a denial. A case names what differs
from a good question: an agent of tenant a, attested a minute ago and bound to the policies called
standard, that reads a dataset of its own tenant. Gates are asked as well, as in a decision.

CASES is refused where a key, a code or an action is not known, where two cases have one name, and
where there is no case: a test of nothing is none. Policies that decided in no case are named.

Exit code 0 is that every answer was the wanted one, 3 that one was not.`,
		Example: `  attestd policy test policies.new cases.yaml
  attestd policy test standard docs/decisions/standard-cases.yaml -o json`,
		Args: arguments(2, 2, "one DIR and one file of CASES"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			doc, err := a.testPolicies(args[0], args[1])
			if err != nil {
				return err
			}
			if a.exit = exitAccepted; doc.Failed > 0 {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return doc.text(args[1]).Text(a.out, a.page())
		},
	}
}

func (a *app) testPolicies(where, path string) (policyTestDoc, error) {
	set, err := a.policySet(where)
	if err != nil {
		return policyTestDoc{}, err
	}
	document, err := a.read("cases", path, cases.MaxDocument)
	if err != nil {
		return policyTestDoc{}, err
	}
	all, err := cases.Parse(path, document)
	if err != nil {
		return policyTestDoc{}, err
	}
	doc := policyTestDoc{
		Schema: "attestd.policy-test.v1", Verdict: "passed", Source: where, Digest: set.Digest(),
		Results: cases.Run(all, set, pdp.Judge), Silent: []string{},
	}
	spoke := map[string]bool{}
	for _, one := range doc.Results {
		if one.OK {
			doc.Passed++
		} else {
			doc.Failed++
			doc.Verdict = "failed"
		}
		for _, policy := range one.Policies {
			spoke[policy] = true
		}
	}
	list, err := set.List()
	for _, one := range list {
		if !spoke[one.ID] {
			doc.Silent = append(doc.Silent, one.ID)
		}
	}
	return doc, err
}

func (d policyTestDoc) text(path string) report.Blocks {
	out := report.Blocks{
		Lead: []string{"PASSED", counted(d.Passed, "case", "cases"), "by " + d.Source},
		Good: d.Failed == 0, Bad: d.Failed > 0,
		Next: "attestd policy rehearse " + report.QuoteArg(d.Source) + " --since 168h",
	}
	if d.Failed > 0 {
		out.Lead = []string{"FAILED", fmt.Sprintf("%d of %s", d.Failed, counted(len(d.Results), "case", "cases")),
			"by " + d.Source}
		out.Next = "attestd policy show " + report.QuoteArg(d.Source)
	}
	failed, passed := report.Block{}, report.Block{}
	for _, one := range d.Results {
		if one.OK {
			passed.Rows = append(passed.Rows, []string{"ok", one.Name + ": " + one.Got + decidedBy(one)})
			continue
		}
		failed.Rows = append(failed.Rows, []string{"FAIL", fmt.Sprintf("%s (%s:%d)", one.Name, path, one.Line)},
			[]string{"", "want " + one.Want}, []string{"", "got  " + one.Got + decidedBy(one)})
	}
	out.Blocks = []report.Block{failed, passed}
	if len(d.Silent) > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("%s decided in no case: %s",
			counted(len(d.Silent), "policy", "policies"), strings.Join(d.Silent, ", ")))
	}
	return out
}

// decidedBy names the policies that decided, or says what a gate said.
func decidedBy(one cases.Outcome) string {
	switch {
	case len(one.Policies) > 0:
		return ", by " + strings.Join(one.Policies, ", ")
	case len(one.Reasons) > 0 && one.Reasons[0].Detail != "":
		return ", " + one.Reasons[0].Detail
	}
	return ""
}
