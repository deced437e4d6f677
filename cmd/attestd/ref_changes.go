package main

import (
	"encoding/hex"
	"fmt"

	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

const refChangesSchema = "attestd.ref-changes.v1"

// refChangesDoc says what differs between two documents of reference values, or what a command changes
// in one.
type refChangesDoc struct {
	Schema string `json:"schema"`
	File   string `json:"file"`
	// Written says that the file was changed; false for a comparison, and where --yes is missing.
	Written bool `json:"written"`
	// Widens says that something may match after that did not before.
	Widens bool           `json:"widens"`
	Head   []string       `json:"head"`
	Values []refChange    `json:"values"`
	Keys   []refKeyChange `json:"keys"`
	// Known are proposed values that the file had already.
	Known []string `json:"known"`
}

type refChange struct {
	Value  string `json:"value"`
	Change string `json:"change"`
	// Before and After are state, share and end; empty where there was no value.
	Before    string              `json:"before,omitempty"`
	After     string              `json:"after,omitempty"`
	Registers []refRegisterChange `json:"registers"`
	Rules     bool                `json:"rules"`
	Events    bool                `json:"events"`
}

type refRegisterChange struct {
	Name   string `json:"name"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

type refKeyChange struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Change string `json:"change"`
}

func toldChanges(file string, c measurements.Comparison, known []string) refChangesDoc {
	doc := refChangesDoc{
		Schema: refChangesSchema, File: file, Widens: c.Widens(), Head: append([]string{}, c.Head...),
		Values: []refChange{}, Keys: []refKeyChange{}, Known: append([]string{}, known...),
	}
	for _, change := range c.Values {
		row := refChange{
			Value: change.Name, Change: "changed", Registers: []refRegisterChange{}, Rules: change.Rules,
			Events: change.Events,
		}
		if change.Before == nil {
			row.Change = "added"
		} else {
			row.Before = change.Before.Lifecycle()
		}
		if change.After == nil {
			row.Change = "removed"
		} else {
			row.After = change.After.Lifecycle()
		}
		for _, register := range change.Registers {
			row.Registers = append(row.Registers, refRegisterChange{
				register.Name, hex.EncodeToString(register.Before), hex.EncodeToString(register.After),
			})
		}
		doc.Values = append(doc.Values, row)
	}
	for _, key := range c.Keys {
		row := refKeyChange{key.Kind, key.Key.Name, hex.EncodeToString(key.Key.SHA256[:]), "removed"}
		if key.Added {
			row.Change = "added"
		}
		doc.Keys = append(doc.Keys, row)
	}
	return doc
}

// table tells the changes under a head line.
func (d refChangesDoc) table(lead ...string) report.Table {
	table := report.Table{Lead: lead, Heads: []string{"value", "change", "before", "after"}}
	for _, v := range d.Values {
		table.Rows = append(table.Rows, []string{v.Value, v.Change, v.Before, v.After})
		for _, r := range v.Registers {
			table.Rows = append(table.Rows, []string{"", r.Name, short(r.Before), short(r.After)})
		}
		if v.Rules {
			table.Rows = append(table.Rows, []string{"", "rules", "differ", ""})
		}
		if v.Events {
			table.Rows = append(table.Rows, []string{"", "events", "differ", ""})
		}
	}
	for _, k := range d.Keys {
		table.Rows = append(table.Rows, []string{k.Name, "key " + k.Change, "", short(k.SHA256)})
	}
	table.Notes = append(table.Notes, d.Head...)
	for _, name := range d.Known {
		table.Notes = append(table.Notes, name+" is known already, and not added")
	}
	if d.Widens {
		table.Notes = append(table.Notes, "Something may match that did not before.")
	}
	return table
}

// short shows as much of a digest as tells it apart.
func short(digits string) string {
	if len(digits) <= 20 {
		return digits
	}
	return fmt.Sprintf("%s..%s", digits[:12], digits[len(digits)-4:])
}
