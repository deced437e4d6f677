package main

import (
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

func newRef(a *app) *cobra.Command {
	return nounGroup("ref", "List, show and test files of reference values",
		newRefList(a), newRefShow(a), newRefTest(a))
}

// schemas of what these commands write as JSON.
const (
	refListSchema = "attestd.ref-list.v1"
	refTestSchema = "attestd.ref-test.v1"
)

type refListDoc struct {
	Schema string     `json:"schema"`
	Values []refValue `json:"values"`
}

type refValue struct {
	Source    string             `json:"source"`
	Set       string             `json:"set"`
	Version   string             `json:"version"`
	Format    attestd.Format     `json:"format"`
	Value     string             `json:"value"`
	State     measurements.State `json:"state"`
	Registers []refRegister      `json:"registers"`
}

type refRegister struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
}

func newRefList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls FILE...",
		Short:   "List the reference values in files",
		Example: `  attestd ref ls references/*.yaml`,
		Args:    arguments(1, -1, "one FILE or more"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, values, err := a.referenceValues(args)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, refListDoc{refListSchema, values})
			}
			table := report.Table{
				Lead:  []string{"REFERENCES", fmt.Sprintf("%d value(s) in %d file(s)", len(values), len(args))},
				Heads: []string{"set", "value", "format", "state", "registers", "file"},
				Next:  "attestd ref show " + report.QuoteArg(args[0]),
			}
			for _, v := range values {
				table.Rows = append(table.Rows, []string{
					v.label(), v.Value, string(v.Format), v.State.String(),
					fmt.Sprint(len(v.Registers)), v.Source,
				})
			}
			return table.Text(a.out, a.page())
		},
	}
}

func newRefShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show FILE...",
		Short:   "Show reference values with their digests",
		Example: `  attestd ref show web-guest.yaml`,
		Args:    arguments(1, -1, "one FILE or more"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, values, err := a.referenceValues(args)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, refListDoc{refListSchema, values})
			}
			for _, v := range values {
				table := report.Table{
					Lead:  []string{"REFERENCE", v.label() + " / " + v.Value, string(v.Format), v.State.String()},
					Heads: []string{"register", "digest"},
				}
				for _, r := range v.Registers {
					table.Rows = append(table.Rows, []string{r.Name, r.Digest})
				}
				if err := table.Text(a.out, a.page()); err != nil {
					return err
				}
				fmt.Fprintln(a.out)
			}
			return report.Table{
				Lead: []string{"next", "attestd ref test " + report.QuoteArg(args[0]) + " EVIDENCE"},
			}.Text(a.out, a.page())
		},
	}
}

func (v refValue) label() string {
	if v.Version == "" {
		return v.Set
	}
	return v.Set + " " + v.Version
}

// referenceValues reads the files and lists their values in order.
func (a *app) referenceValues(paths []string) (form string, values []refValue, err error) {
	if form, err = a.form(formText, formJSON); err != nil {
		return "", nil, err
	}
	sets, err := a.referenceSets(paths)
	if err != nil {
		return "", nil, err
	}
	for index, set := range sets {
		for _, value := range set.Values {
			row := refValue{
				Source: paths[index], Set: set.Name, Version: set.Version, Format: set.Format,
				Value: value.Name, State: value.State,
			}
			for _, register := range value.Registers {
				row.Registers = append(row.Registers, refRegister{
					register.Name, register.Algorithm, hex.EncodeToString(register.Digest),
				})
			}
			values = append(values, row)
		}
	}
	return form, values, nil
}

type refTestDoc struct {
	Schema string `json:"schema"`
	// Verdict is accepted for a match and rejected for none: what exit codes 0 and 3 say.
	Verdict   attestd.Verdict `json:"verdict"`
	Match     bool            `json:"match"`
	Loaded    int             `json:"loaded"`
	Closest   string          `json:"closest,omitempty"`
	Value     string          `json:"value,omitempty"`
	State     string          `json:"state,omitempty"`
	Differs   int             `json:"differs"`
	Registers int             `json:"registers"`
	Evidence  string          `json:"evidence_sha256"`
}

func newRefTest(a *app) *cobra.Command {
	var q recordedQuestion
	command := &cobra.Command{
		Use:   "test FILE... EVIDENCE",
		Short: "Compare evidence with reference values",
		Long: `Test verifies EVIDENCE as an archived document (freshness is not shown) and says whether it
measured to a reference value of the FILEs. Exit code 0 is a match, 3 none; evidence that is not
authentic is compared with nothing.`,
		Example: `  attestd ref test web-guest.yaml report.bin --collateral ./amd`,
		Args:    arguments(2, -1, "one FILE or more, and the EVIDENCE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			files, evidence := args[:len(args)-1], args[len(args)-1]
			index, err := a.references(files)
			if err != nil {
				return err
			}
			claims, err := a.recordedClaims(q, evidence)
			if err != nil {
				return err
			}
			match := index.Match(claims.Format(), claims.Registers(), claims.Events())
			return a.tellMatch(match, claims, report.QuoteArg(evidence)+q.question().again(), form)
		},
	}
	q.addFlags(command)
	return command
}

func (a *app) tellMatch(
	match measurements.Match, claims *attestd.Claims, again, form string,
) error {
	digest := claims.EvidenceDigest()
	verdict := attestd.VerdictRejected
	if match.Found {
		verdict = attestd.VerdictAccepted
	}
	a.exit = exitOfVerdict(verdict)
	if form == formJSON {
		doc := refTestDoc{
			Schema: refTestSchema, Verdict: verdict, Match: match.Found, Loaded: match.Loaded,
			Closest: match.Label, Value: match.Value, Differs: match.Differs, Registers: match.Registers,
			Evidence: hex.EncodeToString(digest[:]),
		}
		if match.Label != "" {
			doc.State = match.State.String()
		}
		return report.JSON(a.out, doc)
	}
	table := report.Table{Lead: []string{"NO MATCH"}, Bad: true}
	switch {
	case match.Found:
		table = report.Table{
			Lead: []string{"MATCH", match.Label + " / " + match.Value, match.State.String()}, Good: true,
		}
	case match.Label != "" && match.Differs == 0:
		table.Lead = append(table.Lead, match.Label+" / "+match.Value+" is equal, and "+match.State.String())
		table.Notes = []string{"A proposed value matches nothing. If this is what should run, set `state: active`."}
	case match.Label != "":
		table.Lead = append(table.Lead, fmt.Sprintf("closest: %s / %s, differs in %d of %d registers",
			match.Label, match.Value, match.Differs, match.Registers))
	}
	table.Lead = append(table.Lead, string(claims.Format()),
		fmt.Sprintf("%d active or retiring value(s) compared", match.Loaded))
	switch {
	case match.Found:
		table.Next = "attestd verify " + again + " --recorded --reference FILE"
	case len(table.Notes) > 0:
		table.Next = "attestd explain measurement/known"
	default:
		table.Next = "attestd measure " + again + " --name NAME"
	}
	return table.Text(a.out, a.page())
}

// write writes a whole document to standard output.
func (a *app) write(doc []byte) error {
	if _, err := a.out.Write(doc); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
