package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

func newRef(a *app) *cobra.Command {
	return nounGroup("ref", "List, test, predict, import, sign and change reference values",
		newRefList(a), newRefShow(a), newRefTest(a), newRefDiff(a), newRefCompute(a), newRefImport(a),
		newRefPropose(a), newRefApply(a), newRefKeygen(a), newRefSign(a), newRefVerify(a))
}

// schemas of what these commands write as JSON.
const (
	refListSchema = "attestd.ref-list.v1"
	refTestSchema = "attestd.ref-test.v1"
)

type refListDoc struct {
	Schema string     `json:"schema"`
	Values []refValue `json:"values"`
	Keys   []refKey   `json:"keys"`
}

// refKey is a key that a file vouches for.
type refKey struct {
	Source string         `json:"source"`
	Set    string         `json:"set"`
	Format attestd.Format `json:"format"`
	Kind   string         `json:"kind"`
	Name   string         `json:"name"`
	SHA256 string         `json:"sha256"`
}

type refValue struct {
	Source    string             `json:"source"`
	Set       string             `json:"set"`
	Version   string             `json:"version"`
	Format    attestd.Format     `json:"format"`
	Value     string             `json:"value"`
	State     measurements.State `json:"state"`
	Registers []refRegister      `json:"registers"`
	Rules     []refRule          `json:"rules"`
	// Events counts those of the golden boot.
	Events int `json:"events"`
}

// refRule is what the events of a register and role may be; a rule `any` for the whole register has
// no role.
type refRule struct {
	Register string       `json:"register"`
	Role     attestd.Role `json:"role"`
	Demand   string       `json:"demand"`
	Values   []string     `json:"values"`
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
			form, doc, err := a.referenceValues(args)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			table := report.Table{
				Lead: []string{"REFERENCES", fmt.Sprintf("%d value(s) in %d file(s)",
					len(doc.Values), len(args))},
				Heads: []string{"set", "value", "format", "state", "registers", "file"},
				Next:  "attestd ref show " + report.QuoteArg(args[0]),
			}
			if len(doc.Keys) > 0 {
				table.Lead = append(table.Lead, fmt.Sprintf("%d key(s) are vouched for", len(doc.Keys)))
			}
			for _, v := range doc.Values {
				table.Rows = append(table.Rows, []string{
					v.label(), v.Value, string(v.Format), v.State.String(), v.counts(), v.Source,
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
			form, doc, err := a.referenceValues(args)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			for _, table := range doc.tables() {
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

// tables has one for each value and one for the keys.
func (d refListDoc) tables() []report.Table {
	var tables []report.Table
	for _, v := range d.Values {
		table := report.Table{
			Lead:  []string{"REFERENCE", v.label() + " / " + v.Value, string(v.Format), v.State.String()},
			Heads: []string{"register", "digest"},
		}
		for _, r := range v.Registers {
			table.Rows = append(table.Rows, []string{r.Name, r.Digest})
		}
		for _, r := range v.Rules {
			values := r.Values
			if len(values) == 0 {
				values = []string{""}
			}
			for _, value := range values {
				value = strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(value) // as the document has it
				table.Rows = append(table.Rows, []string{
					r.Register, strings.TrimSpace(string(r.Role) + " " + r.Demand + " " + value),
				})
			}
		}
		if v.Events > 0 {
			table.Notes = []string{fmt.Sprintf("%d events of the golden boot; attestd ref diff compares "+
				"a boot with them", v.Events)}
		}
		tables = append(tables, table)
	}
	if len(d.Keys) > 0 {
		table := report.Table{Lead: []string{"KEYS", fmt.Sprintf("%d", len(d.Keys))},
			Heads: []string{"kind", "name", "sha256"}}
		for _, k := range d.Keys {
			table.Rows = append(table.Rows, []string{k.Kind, k.Name, k.SHA256})
		}
		tables = append(tables, table)
	}
	return tables
}

// counts says how many registers must be equal, and how many rules there are.
func (v refValue) counts() string {
	if len(v.Rules) == 0 {
		return fmt.Sprint(len(v.Registers))
	}
	return fmt.Sprintf("%d, %d rule(s)", len(v.Registers), len(v.Rules))
}

func (v refValue) label() string {
	if v.Version == "" {
		return v.Set
	}
	return v.Set + " " + v.Version
}

// referenceValues reads the files and lists their values and keys in order.
func (a *app) referenceValues(paths []string) (form string, doc refListDoc, err error) {
	doc = refListDoc{Schema: refListSchema, Values: []refValue{}, Keys: []refKey{}}
	if form, err = a.form(formText, formJSON); err != nil {
		return "", doc, err
	}
	sets, err := a.referenceSets(paths)
	if err != nil {
		return "", doc, err
	}
	for index, set := range sets {
		for _, value := range set.Values {
			doc.Values = append(doc.Values, listed(paths[index], set, value))
		}
		for _, kind := range []struct {
			name string
			keys []measurements.Key
		}{{"attestation", set.AttestationKeys}, {"endorsement", set.EndorsementKeys}} {
			for _, key := range kind.keys {
				doc.Keys = append(doc.Keys, refKey{
					Source: paths[index], Set: set.Label(), Format: set.Format, Kind: kind.name, Name: key.Name,
					SHA256: hex.EncodeToString(key.SHA256[:]),
				})
			}
		}
	}
	return form, doc, nil
}

func listed(source string, set *measurements.Set, value measurements.Value) refValue {
	row := refValue{
		Source: source, Set: set.Name, Version: set.Version, Format: set.Format, Value: value.Name,
		State: value.State, Registers: []refRegister{}, Rules: []refRule{}, Events: len(value.Events),
	}
	for _, register := range value.Registers {
		row.Registers = append(row.Registers, refRegister{
			register.Name, register.Algorithm, hex.EncodeToString(register.Digest),
		})
	}
	for _, of := range value.Rules {
		if of.Any {
			row.Rules = append(row.Rules, refRule{of.Register, "", measurements.DemandAny.String(), []string{}})
		}
		for _, rule := range of.Roles {
			told := refRule{of.Register, rule.Role, rule.Demand.String(), append([]string{}, rule.Texts...)}
			for _, digest := range rule.Digests {
				told.Values = append(told.Values, hex.EncodeToString(digest))
			}
			row.Rules = append(row.Rules, told)
		}
	}
	return row
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
	Event     string          `json:"event,omitempty"`
	// Why an equal value does not match, and until when one does that has an end.
	Why      string     `json:"why,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
	Evidence string     `json:"evidence_sha256"`
}

func newRefTest(a *app) *cobra.Command {
	var q recordedQuestion
	command := &cobra.Command{
		Use:   "test FILE... EVIDENCE",
		Short: "Compare evidence with reference values",
		Long: `Test verifies EVIDENCE as an archived document (freshness is not shown) and says whether it
measured to a reference value of the FILEs. Exit code 0 is a match, 3 none; evidence that is not
authentic is compared with nothing. Keys that the FILEs name are trusted.`,
		Example: `  attestd ref test web-guest.yaml report.bin --collateral ./amd`,
		Args:    arguments(2, -1, "one FILE or more, and the EVIDENCE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			files, evidence := args[:len(args)-1], args[len(args)-1]
			q.references = files
			claims, index, err := a.recordedClaims(q, evidence)
			if err != nil {
				return err
			}
			at, err := a.asOf(q.at)
			if err != nil {
				return err
			}
			match := index.MatchClaims(claims, at)
			return a.tellMatch(match, claims, report.QuoteArg(evidence)+q.question().again(), form)
		},
	}
	q.addFlags(command)
	return command
}

// equalButNot says what to make of a value that is equal and does not match, by its state.
var equalButNot = map[measurements.State]string{
	measurements.StateProposed: "A proposed value matches nothing. If this is what should run, set `state: active`.",
	measurements.StateCanary:   "The canary does not choose this machine, or has had its time.",
	measurements.StateRetiring: "The value has had its time.",
	measurements.StateRetired:  "A retired value matches nothing.",
}

// asOf returns the time of a flag --at, or else now.
func (a *app) asOf(flag string) (time.Time, error) {
	if flag == "" {
		return a.now().UTC(), nil
	}
	return parseAt(flag)
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
			Event: match.Event, Evidence: hex.EncodeToString(digest[:]),
		}
		doc.Why = match.Why
		if !match.Until.IsZero() {
			doc.Until = &match.Until
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
		table.Lead = append(table.Lead, match.Label+" / "+match.Value+" is equal, and "+match.Why)
		table.Notes = []string{equalButNot[match.State]}
	case match.Label != "":
		table.Lead = append(table.Lead, fmt.Sprintf("closest: %s / %s, differs in %d of %d registers",
			match.Label, match.Value, match.Differs, match.Registers))
		if match.Event != "" {
			table.Notes = []string{match.Event}
		}
	}
	table.Lead = append(table.Lead, string(claims.Format()),
		fmt.Sprintf("%d value(s) compared that may match", match.Loaded))
	switch {
	case match.Found:
		table.Next = "attestd verify " + again + " --recorded --reference FILE"
	case match.Event != "":
		table.Next = "attestd ref diff " + again + " FILE"
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
