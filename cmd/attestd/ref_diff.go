package main

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

const refDiffSchema = "attestd.ref-diff.v1"

// refDiffDoc says what differs between evidence and one reference value.
type refDiffDoc struct {
	Schema string `json:"schema"`
	// Differs is what exit codes 0 and 3 say; Match whether the value matches all the same, as rules
	// may allow.
	Differs  bool               `json:"differs"`
	Match    bool               `json:"match"`
	Format   attestd.Format     `json:"format"`
	Set      string             `json:"set"`
	Value    string             `json:"value"`
	State    measurements.State `json:"state"`
	Replayed bool               `json:"replayed"`
	Golden   bool               `json:"golden"`
	Rule     string             `json:"rule,omitempty"`
	// Registers are those that must be equal; Events those of the golden boot that differ.
	Registers []refDiffRegister `json:"registers"`
	Events    []refDiffEvent    `json:"events"`
	Evidence  string            `json:"evidence_sha256"`
}

type refDiffRegister struct {
	Name   string `json:"name"`
	Golden string `json:"golden"`
	// Now is empty where the register was not quoted.
	Now   string `json:"now"`
	Equal bool   `json:"equal"`
}

type refDiffEvent struct {
	Register string              `json:"register"`
	Change   measurements.Change `json:"change"`
	Golden   *refEvent           `json:"golden,omitempty"`
	Now      *refEvent           `json:"now,omitempty"`
}

type refEvent struct {
	Index  int          `json:"index"`
	Type   string       `json:"type"`
	Role   attestd.Role `json:"role"`
	Digest string       `json:"digest"`
	What   string       `json:"what"`
}

func newRefDiff(a *app) *cobra.Command {
	var q recordedQuestion
	var value string
	command := &cobra.Command{
		Use:   "diff EVIDENCE|OLD FILE...",
		Short: "Name what differs between a boot and the golden one, or between two files",
		Long: `Diff verifies EVIDENCE as an archived document (freshness is not shown; keys that the FILEs name
are trusted), replays its boot log and compares it, register by register, with the golden boot of
the value that comes closest, or of --value. Each event that is changed, missing or extra is named,
with both digests.

Where the first argument is a file of reference values too, the two files are compared: values and
keys that were added or removed, states, registers and rules that changed.

Exit code 0 is no difference, 3 a difference. Where a value has rules, an event may differ and the
value match all the same; the first line says so.`,
		Example: `  attestd ref diff today.tpm web-host.yaml
  attestd ref diff today.tpm web-host.yaml --value golden -o json
  attestd ref diff web-host.yaml web-host.new.yaml`,
		Args: arguments(2, -1, "the EVIDENCE, and one FILE or more"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if old, ok := a.document(args[0]); ok && len(args) == 2 {
				return a.diffFiles(old, args[0], args[1], form)
			}
			q.references = args[1:]
			claims, index, err := a.recordedClaims(q, args[0])
			if err != nil {
				return err
			}
			at, err := a.asOf(q.at)
			if err != nil {
				return err
			}
			doc, err := difference(claims, index, value, at)
			if err != nil {
				return err
			}
			if a.exit = exitAccepted; doc.Differs {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return doc.table(report.QuoteArg(args[0])+q.question().again()).Text(a.out, a.page())
		},
	}
	q.addFlags(command)
	command.Flags().StringVar(&value, "value", "",
		"compare with the value called `NAME` (default: the closest)")
	return command
}

// document returns the file where it is one of reference values.
func (a *app) document(path string) ([]byte, bool) {
	if path == "-" {
		return nil, false // it can be read once
	}
	doc, err := a.read("reference values", path, measurements.MaxDocument)
	return doc, err == nil && measurements.IsDocument(doc)
}

// diffFiles compares two files of reference values.
func (a *app) diffFiles(old []byte, oldPath, newPath, form string) error {
	fresh, err := a.read("reference values", newPath, measurements.MaxDocument)
	if err != nil {
		return err
	}
	before, err := measurements.Parse(oldPath, old)
	if err != nil {
		return err
	}
	after, err := measurements.Parse(newPath, fresh)
	if err != nil {
		return err
	}
	difference := measurements.Compare(before, after)
	if a.exit = exitAccepted; !difference.Same() {
		a.exit = exitRejected
	}
	told := toldChanges(newPath, difference, nil)
	if form == formJSON {
		return report.JSON(a.out, told)
	}
	table := told.table("NO DIFFERENCE", before.Label(), newPath)
	table.Good = difference.Same()
	if !difference.Same() {
		table.Lead[0], table.Bad = "DIFFERS", true
	}
	table.Next = "attestd ref show " + report.QuoteArg(newPath)
	return table.Text(a.out, a.page())
}

// difference compares claims with the closest value, or with the one called name.
func difference(
	claims *attestd.Claims, index *measurements.Index, name string, at time.Time,
) (doc refDiffDoc, err error) {
	match := index.MatchClaims(claims, at)
	set, value, err := chosen(index, claims.Format(), match, name)
	if err != nil {
		return doc, err
	}
	digest := claims.EvidenceDigest()
	doc = refDiffDoc{
		Schema: refDiffSchema, Format: claims.Format(), Set: set.Label(), Value: value.Name,
		State: value.State, Golden: len(value.Events) > 0, Registers: []refDiffRegister{},
		Events: []refDiffEvent{}, Evidence: hex.EncodeToString(digest[:]),
	}
	// The value alone, as if it were active: whether it matches does not depend on the others.
	alone := *value
	alone.State, alone.Canary, alone.Until = measurements.StateActive, nil, time.Time{}
	single, err := measurements.NewIndex(&measurements.Set{
		Name: set.Name, Format: set.Format, Bank: set.Bank, Values: []measurements.Value{alone},
	})
	if err != nil {
		return doc, hinted(err, "attestd ref show FILE shows its values")
	}
	match = single.MatchClaims(claims, at)
	doc.Match = match.Found
	if len(value.Rules) > 0 {
		doc.Rule = match.Event
	}
	for _, want := range value.Registers {
		doc.Registers = append(doc.Registers, compareRegister(claims, want))
	}
	for range claims.Events() {
		doc.Replayed = true
		break
	}
	if doc.Replayed {
		for _, one := range measurements.Diff(value.Events, claims.Events(), quotedIn(claims)) {
			doc.Events = append(doc.Events, refDiffEvent{
				Register: one.Register, Change: one.Change, Golden: toldEvent(one.Golden), Now: toldEvent(one.Now),
			})
		}
	}
	doc.Differs = !doc.Match || len(doc.Events) > 0
	return doc, nil
}

// quotedIn reports whether a register was quoted: of others no log says anything.
func quotedIn(claims *attestd.Claims) func(string) bool {
	return func(name string) bool {
		for register := range claims.Registers() {
			if register.Name == name {
				return true
			}
		}
		return false
	}
}

// chosen returns the value called name; without a name the one that matches or comes closest, or the
// only one there is.
func chosen(
	index *measurements.Index, format attestd.Format, match measurements.Match, name string,
) (*measurements.Set, *measurements.Value, error) {
	type choice struct {
		set   *measurements.Set
		value *measurements.Value
	}
	var all, found []choice
	for _, set := range index.Sets() {
		for i := range set.Values {
			one := choice{set, &set.Values[i]}
			if set.Format != format {
				continue
			}
			all = append(all, one)
			if name == one.value.Name ||
				name == "" && match.Label == set.Label() && match.Value == one.value.Name {
				found = append(found, one)
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0].set, found[0].value, nil
	case len(found) == 0 && name == "" && len(all) == 1:
		return all[0].set, all[0].value, nil
	case len(all) == 0:
		return nil, nil, usagef("attestd measure GOLDEN --name NAME writes one",
			"the files hold no value of format %q", format)
	case name == "":
		return nil, nil, usagef("name one with --value; attestd ref ls FILE... lists them",
			"no value comes close")
	default:
		return nil, nil, usagef("attestd ref ls FILE... lists them", "%d values are called %q, want one",
			len(found), attestd.Excerpt(name, 40))
	}
}

func compareRegister(claims *attestd.Claims, want attestd.Register) refDiffRegister {
	told := refDiffRegister{Name: want.Name, Golden: hex.EncodeToString(want.Digest)}
	for register := range claims.Registers() {
		if register.Name == want.Name && register.Algorithm == want.Algorithm {
			told.Now = hex.EncodeToString(register.Digest)
		}
	}
	told.Equal = told.Now == told.Golden
	return told
}

func toldEvent(event *attestd.Event) *refEvent {
	if event == nil {
		return nil
	}
	return &refEvent{
		Index: event.Index, Type: attestd.Excerpt(event.Type, 60), Role: event.Role,
		Digest: hex.EncodeToString(event.Digest), What: attestd.Excerpt(event.What, 120),
	}
}

// table writes three lines for each event that differs: what it is, and both digests.
func (d refDiffDoc) table(again string) report.Table {
	table := report.Table{
		Lead: []string{"NO DIFFERENCE"}, Good: true,
		Heads: []string{"register", "event", "", "what"}, Next: "attestd explain measurement/known",
	}
	label := d.Set + " / " + d.Value
	if d.Differs {
		table.Lead, table.Good, table.Bad = []string{"DIFFERENT"}, false, true
		table.Next = "attestd measure " + again + " --name NAME"
	}
	table.Lead = append(table.Lead, label, d.State.String(),
		fmt.Sprintf("%d event(s) differ", len(d.Events)))
	if d.Differs && d.Match {
		table.Lead = append(table.Lead, "its rules allow that: the value matches")
	}
	for _, one := range d.Events {
		shown := one.Now
		if shown == nil {
			shown = one.Golden
		}
		table.Rows = append(table.Rows, []string{one.Register, strconv.Itoa(shown.Index), string(one.Change),
			shown.Type + "   " + string(shown.Role)})
		table.Rows = append(table.Rows, one.Golden.row("golden")...)
		table.Rows = append(table.Rows, one.Now.row("now")...)
	}
	table.Notes = d.notes()
	return table
}

// row is empty for an event that is not there.
func (e *refEvent) row(which string) [][]string {
	if e == nil {
		return nil
	}
	rows := [][]string{{"", "", which, e.Digest}}
	if e.What != "" {
		rows = append(rows, []string{"", "", "", e.What})
	}
	return rows
}

// notes say what the events alone do not.
func (d refDiffDoc) notes() []string {
	var notes []string
	named := func(register string) bool {
		return slices.ContainsFunc(d.Events, func(e refDiffEvent) bool { return e.Register == register })
	}
	for _, register := range d.Registers {
		switch {
		case register.Equal:
		case register.Now == "":
			notes = append(notes, register.Name+" was not quoted, and the value names it.")
		case !named(register.Name):
			notes = append(notes, fmt.Sprintf("%s differs and no event says why: got %s, want %s.",
				register.Name, register.Now, register.Golden))
		}
	}
	switch {
	case !d.Golden:
		notes = append(notes, "The value has no events of a golden boot to compare with.")
	case !d.Replayed:
		notes = append(notes, "The evidence brought no boot log: send it to have the events named.")
	}
	if d.Rule != "" {
		notes = append(notes, "The first that fails a rule: "+d.Rule)
	}
	return notes
}
