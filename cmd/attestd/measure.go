package main

import (
	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// recordedQuestion holds the flags of commands that verify archived evidence without judging it.
type recordedQuestion struct {
	format, at, collateral, insecureRoots string
}

func (q *recordedQuestion) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&q.format, "format", "", "`FORMAT` of the evidence (default: recognised by its envelope)")
	flags.StringVar(&q.at, "at", "", "verify as of this RFC 3339 `TIME` (default now)")
	flags.StringVar(&q.collateral, "collateral", "", "`FOLDER` with the vendor's certificates and CRLs")
	flags.StringVar(&q.insecureRoots, "insecure-roots", "", "also trust the roots in this PEM `FILE`, for tests")
	complete(command, "format", formatNames()...)
}

func (q recordedQuestion) question() question {
	return question{
		recorded: true, format: q.format, at: q.at, collateral: q.collateral,
		insecureRoots: q.insecureRoots,
	}
}

// recordedClaims verifies evidence and returns its claims; there are none without a verification.
func (a *app) recordedClaims(q recordedQuestion, path string) (*attestd.Claims, error) {
	asked, err := a.ask(q.question(), path)
	if err != nil {
		return nil, err
	}
	claims, err := asked.judge.Verify(asked.request)
	if err != nil {
		return nil, undetected(err, asked.request.Evidence, path)
	}
	return claims, nil
}

func newMeasure(a *app) *cobra.Command {
	var (
		q                    recordedQuestion
		name, version, state string
	)
	command := &cobra.Command{
		Use:   "measure EVIDENCE --name NAME",
		Short: "Write a file of reference values from evidence",
		Long: `Measure verifies EVIDENCE as an archived document and writes its measurements to standard output
as a file of reference values. Evidence that is not authentic is refused: its measurements are
anybody's. The value is "proposed" unless --state says otherwise, and a proposed value matches
nothing: what runs in the evidence becomes known-good by somebody's decision, not by having run.`,
		Example: `  attestd measure report.bin --name web-guest --state active > web-guest.yaml`,
		Args:    arguments(1, 1, "one EVIDENCE, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := a.form(formText); err != nil {
				return usagef("drop -o: a file of reference values is YAML", "%w", err)
			}
			if name == "" {
				return usagef("add --name, as in --name web-guest", "the reference values have no name")
			}
			if state != "proposed" && state != "active" {
				return usagef("give proposed or active", "unknown state %q", attestd.Excerpt(state, 40))
			}
			claims, err := a.recordedClaims(q, args[0])
			if err != nil {
				return err
			}
			return a.measure(claims, name, version, state)
		},
	}
	q.addFlags(command)
	flags := command.Flags()
	flags.StringVar(&name, "name", "", "`NAME` of what was measured")
	flags.StringVar(&version, "version", "", "`VERSION` of what was measured")
	flags.StringVar(&state, "state", "proposed", "`STATE` of the value: proposed or active")
	complete(command, "state", "proposed", "active")
	return command
}

func (a *app) measure(claims *attestd.Claims, name, version, state string) error {
	const hint = "use lower-case letters, digits, dots and hyphens"
	set, err := measurements.FromClaims(name, claims)
	if err != nil {
		return hinted(err, "attestd inspect EVIDENCE shows what was measured")
	}
	set.Version = version
	if state == "active" {
		for index := range set.Values {
			set.Values[index].State = measurements.StateActive
		}
	}
	doc, err := set.YAML()
	if err != nil {
		return hinted(err, hint)
	}
	if _, err := measurements.Parse("the new file", doc); err != nil {
		return hinted(err, hint) // what is written here must be what is read later
	}
	if claims.InsecureRoots() {
		a.warn("these values come from evidence under a root that was loaded by hand")
	}
	return a.write(doc)
}
