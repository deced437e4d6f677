package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

func newRefPropose(a *app) *cobra.Command {
	var as, key string
	command := &cobra.Command{
		Use:   "propose FILE NEW",
		Short: "Add proposed values to a file of reference values",
		Long: `Propose adds the values of NEW, a file as attestd measure, ref compute and ref import write it (or -
for standard input), to FILE. They are proposed whatever they were, and match nothing until attestd
ref apply says so. What FILE knows already is not added.`,
		Example: `  attestd measure report.bin --name web-guest | attestd ref propose web-guest.yaml -`,
		Args:    arguments(2, 2, "FILE and NEW"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			doc, err := a.read("reference values", args[1], measurements.MaxDocument)
			if err != nil {
				return err
			}
			from, err := measurements.Parse(args[1], doc)
			if err != nil {
				return err
			}
			if as != "" {
				if len(from.Values) != 1 {
					return usagef("drop --as", "%q has %d values, and --as names one",
						attestd.Excerpt(args[1], 200), len(from.Values))
				}
				from.Values[0].Name = as
			}
			file, err := a.edit(args[0])
			if err != nil {
				return err
			}
			defer file.close()
			changed, after, known, err := measurements.Propose(args[0], file.before, from)
			if err != nil {
				return err
			}
			before, err := measurements.Parse(args[0], file.before)
			if err != nil {
				return err
			}
			if changed, err = a.signedAgain(args[0], file.before, changed, key); err != nil {
				return err
			}
			if err := file.replace(changed); err != nil {
				return err
			}
			told := toldChanges(args[0], measurements.Compare(before, after), known)
			told.Written = true
			if form == formJSON {
				return report.JSON(a.out, told)
			}
			table := told.table("PROPOSED", after.Label(), args[0])
			table.Good = true
			table.Next = "attestd ref apply " + report.QuoteArg(args[0]) + " VALUE --to canary --percent 10"
			return table.Text(a.out, a.page())
		},
	}
	command.Flags().StringVar(&as, "as", "", "`NAME` of the value, where NEW has one")
	command.Flags().StringVar(&key, "key", "", "`FILE` with the private key, to sign again")
	return command
}

// application holds the flags of ref apply.
type application struct {
	to, until, retireUntil, key string
	percent                     uint8
	instances, retire           []string
	bringBack, yes              bool
}

func newRefApply(a *app) *cobra.Command {
	var q application
	command := &cobra.Command{
		Use:   "apply FILE VALUE",
		Short: "Bring a reference value into another state",
		Long: `Apply changes the state of VALUE in FILE, and with --retire those of others, in one step that is
done as a whole or not at all. Comments and order stay. It shows what changes; only with --yes is
anything written.

  proposed  ->  canary, active, retired
  canary    ->  a larger or smaller canary, active, retiring, retired, proposed (withdrawn)
  active    ->  retiring, retired
  retiring  ->  another end, retired

A canary matches for --instance (as attestd inspect shows it, with its kind in front) and for
--percent of all machines, the same ones wherever the file is loaded. --until ends a canary or a
retiring value: from then on it matches nothing. What a value has left behind comes back with
--bring-back only.`,
		Example: `  attestd ref apply web-guest.yaml 6.16 --to canary --percent 10 --yes
  attestd ref apply web-guest.yaml 6.16 --to active --retire 6.15 \
    --retire-until 2026-12-31T18:00:00Z --yes`,
		Args: arguments(2, 2, "FILE and VALUE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			steps, err := q.steps(args[1])
			if err != nil {
				return err
			}
			return a.applySteps(args[0], args[1], steps, q, form)
		},
	}
	flags := command.Flags()
	flags.StringVar(&q.to, "to", "active", "`STATE`: proposed, canary, active, retiring or retired")
	flags.Uint8Var(&q.percent, "percent", 0, "of a canary: `PERCENT` of all machines, 1 to 99")
	flags.StringArrayVar(&q.instances, "instance", nil,
		"of a canary: this `MACHINE`, as in instance:i-0123; may be repeated")
	flags.StringVar(&q.until, "until", "", "of a canary or retiring value: its end, an RFC 3339 `TIME`")
	flags.StringArrayVar(&q.retire, "retire", nil, "bring this `VALUE` to retiring as well; may be repeated")
	flags.StringVar(&q.retireUntil, "retire-until", "", "the end of those, an RFC 3339 `TIME`")
	flags.StringVar(&q.key, "key", "", "`FILE` with the private key, to sign again")
	flags.BoolVar(&q.bringBack, "bring-back", false, "a state that the value has left behind is meant")
	flags.BoolVar(&q.yes, "yes", false, "you have seen what changes: write it")
	complete(command, "to", "proposed", "canary", "active", "retiring", "retired")
	return command
}

// steps says what the flags mean.
func (q application) steps(value string) ([]measurements.Step, error) {
	to, ok := measurements.ParseState(q.to)
	if !ok {
		return nil, usagef("give one of: proposed, canary, active, retiring, retired", "unknown state %q",
			attestd.Excerpt(q.to, 20))
	}
	step := measurements.Step{Value: value, To: to, BringBack: q.bringBack}
	var err error
	if step.Until, err = parseEnd(q.until); err != nil {
		return nil, err
	}
	if q.percent > 0 || len(q.instances) > 0 {
		step.Canary = &measurements.Canary{Percent: q.percent}
		for _, text := range q.instances {
			handle, err := measurements.ParseHandle(text)
			if err != nil {
				return nil, usagef("attestd inspect EVIDENCE shows them", "--instance: %w", err)
			}
			step.Canary.Handles = append(step.Canary.Handles, handle)
		}
	}
	end, err := parseEnd(q.retireUntil)
	if err != nil {
		return nil, err
	}
	if q.retireUntil != "" && len(q.retire) == 0 {
		return nil, usagef("name them with --retire", "--retire-until speaks of values that are not named")
	}
	steps := []measurements.Step{step}
	for _, name := range q.retire {
		steps = append(steps, measurements.Step{Value: name, To: measurements.StateRetiring, Until: end})
	}
	return steps, nil
}

func parseEnd(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return parseAt(text)
}

func (a *app) applySteps(
	path, value string, steps []measurements.Step, q application, form string,
) error {
	file, err := a.edit(path)
	if err != nil {
		return err
	}
	defer file.close()
	before, err := measurements.Parse(path, file.before)
	if err != nil {
		return err
	}
	changed, after, err := measurements.Apply(path, file.before, a.now(), steps...)
	if err != nil {
		return err
	}
	difference := measurements.Compare(before, after)
	if difference.Same() {
		return usagef("attestd ref show "+report.QuoteArg(path)+" shows it", "%q is so already",
			attestd.Excerpt(value, 64))
	}
	// A value can be fine in its document and not beside the others of its format.
	if _, err := measurements.NewIndex(after); err != nil {
		return err
	}
	told := toldChanges(path, difference, nil)
	if changed, err = a.signedAgain(path, file.before, changed, q.key); err != nil {
		return err
	}
	if q.yes {
		if err := file.replace(changed); err != nil {
			return err
		}
		told.Written = true
	}
	lead := "APPLIED"
	if !q.yes {
		lead = "NOT WRITTEN"
	}
	if form == formJSON {
		err = report.JSON(a.out, told)
	} else {
		table := told.table(lead, after.Label(), strings.TrimSpace(path))
		table.Good, table.Bad = q.yes, !q.yes
		table.Next = "attestd ref test " + report.QuoteArg(path) + " EVIDENCE"
		err = table.Text(a.out, a.page())
	}
	if err == nil && !q.yes {
		return usagef("add --yes once you have seen what changes", "nothing was written")
	}
	return err
}
