package main

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

const refPredictSchema = "attestd.ref-predict.v1"

// Kinds of predictions.
const (
	predictSNP   = "sev-snp"
	predictNitro = "nitro"
	predictPE    = "pe"
)

// refPredictDoc is what files are predicted to measure to.
type refPredictDoc struct {
	Schema string            `json:"schema"`
	Kind   string            `json:"kind"`
	File   string            `json:"file"`
	Values []refPredictValue `json:"values"`
}

// refPredictValue is one way to start what is in the file.
type refPredictValue struct {
	Name      string               `json:"name"`
	Registers []refPredictRegister `json:"registers"`
	Assumes   []string             `json:"assumes"`
}

type refPredictRegister struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
	What      string `json:"what"`

	raw []byte
}

func predicted(name, algorithm string, digest []byte, what string) refPredictRegister {
	return refPredictRegister{name, algorithm, hex.EncodeToString(digest), what, digest}
}

// predictedSet holds the flags for reference values that are written.
type predictedSet struct{ name, version, state string }

func (s *predictedSet) addFlags(command *cobra.Command, flags *pflag.FlagSet) {
	flags.StringVar(&s.name, "name", "", "write reference values with this `NAME`")
	flags.StringVar(&s.version, "version", "", "`VERSION` in the reference values")
	flags.StringVar(&s.state, "state", "proposed", "`STATE` of the values: proposed or active")
	complete(command, "state", "proposed", "active")
}

func (s predictedSet) check(form string) error {
	switch {
	case s.state != "proposed" && s.state != "active":
		return usagef("give proposed or active", "unknown state %q", attestd.Excerpt(s.state, 40))
	case form == formJSON && s.name != "":
		return usagef("drop -o or --name: a file of reference values is YAML",
			"--name writes YAML, -o json another document")
	case s.name == "" && (s.version != "" || s.state != "proposed"):
		return usagef("add --name, as in --name web-guest",
			"--version and --state speak of reference values, which have no name")
	}
	return nil
}

// tellPrediction shows a prediction, or writes it as reference values. Again is the command line
// that leads to it.
func (a *app) tellPrediction(
	doc refPredictDoc, set predictedSet, format attestd.Format, form, again string,
) error {
	doc.Schema = refPredictSchema
	switch {
	case form == formJSON:
		return report.JSON(a.out, doc)
	case set.name != "":
		return a.writePrediction(doc, set, format)
	}
	table := report.Table{Heads: []string{"register", "digest, and what it is of"}}
	said := map[string]bool{}
	for _, value := range doc.Values {
		for _, register := range value.Registers {
			table.Rows = append(table.Rows, []string{register.Name, register.Digest},
				[]string{"", value.Name + ": " + register.What})
		}
		for _, assumed := range value.Assumes {
			if !said[assumed] {
				table.Notes = append(table.Notes, "assumes: "+assumed)
			}
			said[assumed] = true
		}
	}
	table.Lead = []string{"PREDICTED", doc.Kind, attestd.Excerpt(doc.File, 60),
		fmt.Sprintf("%d value(s)", len(doc.Values))}
	table.Next = again
	return table.Text(a.out, a.page())
}

// writePrediction writes reference values.
func (a *app) writePrediction(
	doc refPredictDoc, to predictedSet, format attestd.Format,
) error {
	set := &measurements.Set{Name: to.name, Version: to.version, Format: format}
	for _, one := range doc.Values {
		value := measurements.Value{Name: one.Name}
		if to.state == "active" {
			value.State = measurements.StateActive
		}
		for _, register := range one.Registers {
			value.Registers = append(value.Registers, attestd.Register{
				Name: register.Name, Algorithm: register.Algorithm, Digest: register.raw,
			})
		}
		set.Values = append(set.Values, value)
	}
	document, err := set.YAML()
	if err != nil {
		return hinted(err, "use lower-case letters, digits, dots and hyphens in names")
	}
	var head bytes.Buffer
	head.WriteString("# Predicted, not measured: hold it against one real start before it is active.\n")
	for _, one := range doc.Values {
		for _, assumed := range one.Assumes {
			a.warn("%s assumes: %s", one.Name, assumed)
		}
	}
	return a.write(append(head.Bytes(), document...))
}
