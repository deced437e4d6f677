package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/report"
)

// policyDiffDoc answers attestd policy diff.
type policyDiffDoc struct {
	Schema  string     `json:"schema"` // attestd.policy-diff.v1
	Verdict string     `json:"verdict"`
	Old     policySide `json:"old"`
	New     policySide `json:"new"`
	// Names are what records can be bound to in one of both alone.
	NamesAdded   []string          `json:"names_added"`
	NamesRemoved []string          `json:"names_removed"`
	Changes      []cedarset.Change `json:"changes"`
}

// policySide is one of two sets that are compared.
type policySide struct {
	Source string `json:"source"`
	Digest string `json:"digest"`
}

func newPolicyDiff(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Name the policies that were added, removed and changed",
		Long: `Diff compares two folders of policies (or the word standard for those that come with attestd),
policy by policy: each is known by its file, below shared/ or tenants/TENANT/, and its @id. What
could allow something that was denied comes first: a permit that was added, a forbid that was
removed, an obligation that is gone, and what was changed. Comments and how a policy is laid out
are no difference.

Exit code 0 is no difference, 3 a difference. What comes of it say attestd policy rehearse and
attestd policy test.`,
		Example: `  attestd policy diff /etc/attestd/policies policies.new
  attestd policy diff standard policies.new -o json`,
		Args: arguments(2, 2, "OLD and NEW"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			doc, err := a.diffPolicies(args[0], args[1])
			if err != nil {
				return err
			}
			if a.exit = exitAccepted; doc.Verdict != "same" {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return doc.text().Text(a.out, a.page())
		},
	}
}

func (a *app) diffPolicies(old, fresh string) (policyDiffDoc, error) {
	before, err := a.policySet(old)
	if err != nil {
		return policyDiffDoc{}, err
	}
	after, err := a.policySet(fresh)
	if err != nil {
		return policyDiffDoc{}, err
	}
	doc := policyDiffDoc{
		Schema: "attestd.policy-diff.v1", Verdict: "same",
		Old: policySide{old, before.Digest()}, New: policySide{fresh, after.Digest()},
		NamesAdded: without(after.Names(), before.Names()), NamesRemoved: without(before.Names(), after.Names()),
	}
	if doc.Changes, err = cedarset.Diff(before, after); len(doc.Changes) > 0 {
		doc.Verdict = "different"
	}
	return doc, err
}

// without returns what stands in a list and not in another one.
func without(list, other []string) []string {
	out := []string{}
	for _, one := range list {
		if !slices.Contains(other, one) {
			out = append(out, one)
		}
	}
	return out
}

func (d policyDiffDoc) text() report.Blocks {
	counts := map[string]int{}
	for _, one := range d.Changes {
		counts[one.Change]++
	}
	out := report.Blocks{
		Lead: []string{"SAME", d.Old.Source + " and " + d.New.Source + " decide alike"}, Good: true,
		Next: "attestd policy show " + report.QuoteArg(d.New.Source),
	}
	if d.Verdict != "same" {
		out.Lead = []string{"DIFFERENT", fmt.Sprintf("%d added", counts[cedarset.Added]),
			fmt.Sprintf("%d removed", counts[cedarset.Removed]), fmt.Sprintf("%d changed", counts[cedarset.Changed])}
		out.Good, out.Bad = false, true
		out.Next = "attestd policy rehearse " + report.QuoteArg(d.New.Source) + " --since 168h"
	}
	var opens, others report.Block
	for _, one := range d.Changes {
		if one.Opens {
			opens.Rows = append(opens.Rows, changeRows(one)...)
		} else {
			others.Rows = append(others.Rows, changeRows(one)...)
		}
	}
	sides := report.Block{Rows: [][]string{{"old", d.Old.Source + " " + d.Old.Digest},
		{"new", d.New.Source + " " + d.New.Digest}}}
	if len(d.NamesAdded) > 0 {
		sides.Rows = append(sides.Rows, []string{"binds anew", strings.Join(d.NamesAdded, ", ")})
	}
	if len(d.NamesRemoved) > 0 {
		sides.Rows = append(sides.Rows, []string{"no more", strings.Join(d.NamesRemoved, ", ") +
			": records that are bound to it are denied as no_policy"})
	}
	if len(opens.Rows) > 0 {
		opens.Heads = []string{"could allow", "what was denied"}
	}
	if len(others.Rows) > 0 {
		others.Heads = []string{"denies more", "or as before"}
	}
	out.Blocks = []report.Block{opens, others, sides}
	if d.Verdict == "same" && d.Old.Digest != d.New.Digest {
		out.Notes = []string{"The digests differ: comments, layout or order are not the same."}
	}
	return out
}

// changeRows are a line for a policy, and one for what it says, or said and says.
func changeRows(one cedarset.Change) [][]string {
	switch one.Change {
	case cedarset.Added:
		return [][]string{{one.Change, one.New.Effect + " " + policyTitle(*one.New)}, {"", policyHead(*one.New)}}
	case cedarset.Removed:
		return [][]string{{one.Change, one.Old.Effect + " " + policyTitle(*one.Old)}, {"", policyHead(*one.Old)}}
	}
	rows := [][]string{{one.Change, one.New.Effect + " " + policyTitle(*one.New)}}
	if was := one.Old.Effect + " " + policyTitle(*one.Old); was != rows[0][1] {
		rows = append(rows, []string{"  was", was})
	}
	was, is := policyHead(*one.Old), policyHead(*one.New)
	if was == is {
		return append(rows, []string{"", is})
	}
	return append(rows, []string{"  was", was}, []string{"  is", is})
}
