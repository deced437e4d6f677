package main

import (
	"crypto/sha256"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/report/inspect"
)

func newInspect(a *app) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "inspect [flags] FILE|-",
		Short: "Decode evidence without believing any of it",
		Long: `Inspect decodes evidence of every format, X.509 certificates and CRLs (DER or PEM) and other CBOR.
Nothing is checked: no signature, chain, time or nonce. Every line and every JSON field says so.`,
		Example: `  attestd inspect report.bin
  attestd inspect vcek.der -o json`,
		Args: arguments(1, 1, "one FILE, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			return a.inspect(format, args[0], form)
		},
	}
	command.Flags().StringVar(&format, "format", "", "`FORMAT` of the evidence (default: recognised)")
	complete(command, "format", formatNames()...)
	return command
}

func (a *app) inspect(name, path, form string) error {
	var format attestd.Format
	if name != "" {
		var err error
		if format, err = attestd.ParseFormat(name); err != nil {
			return err
		}
	}
	data, err := a.evidence(path)
	if err != nil {
		return err
	}
	seen, err := a.decode(format, data, path)
	if err != nil {
		return err
	}
	seen.Bytes, seen.Digest = len(data), sha256.Sum256(data)
	if form == formJSON {
		return report.InspectionJSON(a.out, seen)
	}
	next := "attestd verify " + report.QuoteArg(path) + " --nonce HEX"
	if seen.Inspection.Format == "" {
		next = "attestd verify EVIDENCE --nonce HEX --collateral FOLDER"
	}
	return report.InspectionText(a.out, a.page(), seen, next)
}

// decode asks the formats' verifiers first; what none of them recognises may be a certificate, a CRL
// or other CBOR. With a format that was named there is no second guess.
func (a *app) decode(format attestd.Format, data []byte, path string) (report.Inspected, error) {
	verifiers, err := a.judge(judge.Config{})
	if err != nil {
		return report.Inspected{}, err
	}
	inspection, evidenceErr := verifiers.Inspect(format, data)
	if evidenceErr == nil {
		return report.Inspected{Kind: string(inspection.Format), Inspection: inspection}, nil
	}
	if format == "" {
		if kind, inspection, ok := inspect.Any(data); ok {
			return report.Inspected{Kind: kind, Inspection: inspection}, nil
		}
	}
	return report.Inspected{}, undetected(evidenceErr, data, path)
}
