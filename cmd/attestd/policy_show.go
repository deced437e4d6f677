package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/report"
)

// policyDoc answers attestd policy show.
type policyDoc struct {
	Schema string `json:"schema"` // attestd.policy.v1
	// Source is a folder, or "standard".
	Source string `json:"source"`
	Digest string `json:"digest"`
	// Names are what a record of the inventory can be bound to.
	Names    []string          `json:"names"`
	Policies []cedarset.Listed `json:"policies"`
}

func newPolicyShow(a *app) *cobra.Command {
	var schema bool
	command := &cobra.Command{
		Use:   "show [DIR]",
		Short: "Show the policies of a folder, or those that come with attestd",
		Long: `Show reads the policies of DIR as decisions.policies reads them, and lists them: what records can
be bound to, the digest that records of decisions name, and for each policy its id, whether it
permits or forbids, the code that it denies as, and what it says. Without DIR, or with the word
standard, it shows those that come with attestd. A folder that would not be put in force is
refused with every problem, each with its file and line. --schema prints what policies can ask
about, in Cedar's words.`,
		Example: `  attestd policy show
  attestd policy show /etc/attestd/policies -o json
  attestd policy show --schema`,
		Args: arguments(0, 1, "one DIR at most"),
		RunE: func(_ *cobra.Command, args []string) error {
			if schema {
				if len(args) > 0 {
					return usagef("attestd policy show --schema", "the schema is the same for every folder")
				}
				if _, err := a.form(formText); err != nil {
					return usagef("drop -o: the schema is text", "%w", err)
				}
				return a.write([]byte(cedarset.Schema()))
			}
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			where := shippedPolicies
			if len(args) == 1 {
				where = args[0]
			}
			doc, err := a.policyDoc(where)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return doc.text(a.page()).Text(a.out, a.page())
		},
	}
	command.Flags().BoolVar(&schema, "schema", false, "what policies can ask about, in Cedar's words")
	return command
}

func (a *app) policyDoc(where string) (policyDoc, error) {
	set, err := a.policySet(where)
	if err != nil {
		return policyDoc{}, err
	}
	list, err := set.List()
	return policyDoc{
		Schema: "attestd.policy.v1", Source: where, Digest: set.Digest(), Names: append([]string{}, set.Names()...),
		Policies: list,
	}, err
}

func (d policyDoc) text(page report.Page) report.Blocks {
	out := report.Blocks{
		Lead: []string{"POLICIES", counted(len(d.Policies), "policy", "policies"), "of " + d.Source},
		Next: "attestd policy test " + report.QuoteArg(d.Source) + " CASES.yaml",
	}
	names := strings.Join(d.Names, ", ")
	if names == "" {
		names = "nothing: a record that is bound to a name is denied as no_policy"
	}
	out.Blocks = append(out.Blocks, report.Block{
		Rows: [][]string{{"digest", d.Digest}, {"bind records to", names}},
	})
	block := report.Block{}
	for _, one := range d.Policies {
		block.Rows = append(block.Rows, []string{one.Effect, policyTitle(one)},
			[]string{"", attestd.Excerpt(policyHead(one), page.Columns()-len("forbid  ")-len("..."))})
	}
	out.Blocks = append(out.Blocks, block)
	return out
}

// policyHead is what a policy says behind its effect. A scope that leaves nothing out says nothing.
func policyHead(one cedarset.Listed) string {
	head := strings.TrimPrefix(one.Head(), one.Effect+" ")
	switch rest := strings.TrimPrefix(head, "(principal, action, resource)"); {
	case rest == ";":
		return "always;"
	case rest != head:
		return strings.TrimSpace(rest)
	}
	return head
}

// policyTitle names a policy and what its annotations say.
func policyTitle(one cedarset.Listed) string {
	parts := []string{one.ID}
	switch {
	case one.Reason != "":
		parts = append(parts, "denies as "+string(one.Reason))
	case one.Effect == cedarset.Forbid:
		parts = append(parts, "denies as not_permitted")
	}
	if one.Bound != "" {
		parts = append(parts, "for records of "+one.Bound)
	}
	if len(one.Obligations) > 0 {
		parts = append(parts, "with "+strings.Join(one.Obligations, " and "))
	}
	return strings.Join(parts, ", ")
}

// counted writes a number and what is counted.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
