package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pdp "github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/report"
)

func newDecisionShow(a *app) *cobra.Command {
	var flags *decisionFlags
	command := &cobra.Command{
		Use:   "show ID",
		Short: "Show one decision with its three proofs",
		Long: `Show prints what was asked, what was answered and why: the three proofs with what each rests on and
how old that was, the reasons with what to do, the policies that decided, obligations, and the
techniques of MITRE ATLAS that it suggests. ID is the decision's (policy_snapshot), or 8 letters or
more of its beginning.`,
		Example: `  attestd decision show 0199c2a4-7f3e-7a10
  attestd decision show 0199c2a4-7f3e-7a10 --records /backup/decisions -o json`,
		Args: arguments(1, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			source, err := a.decisions(flags)
			if err != nil {
				return err
			}
			page, err := source.Decision(command.Context(), args[0])
			if err != nil {
				return err
			}
			if len(page.Decisions) != 1 {
				return usagef("check that --server names an attestd of this version: attestd version",
					"the answer has %d decisions, want one", len(page.Decisions))
			}
			if form == formJSON {
				return report.JSON(a.out, page.Decisions[0])
			}
			return decisionText(page.Decisions[0], a.now()).Text(a.out, a.page())
		},
	}
	flags = a.decisionFlags(command)
	return command
}

// decisionText lays a decision out.
func decisionText(one journal.Record, now time.Time) report.Blocks {
	out := report.Blocks{
		Lead: []string{"ALLOWED", shortID(string(one.Subject)), when(one.At, now)}, Good: true,
		Next: "attestd decision replay " + one.ID.String(),
	}
	if one.Decision != journal.Allow {
		out.Lead, out.Good, out.Bad = append([]string{"DENIED", string(one.Reason)}, out.Lead[1:]...), false, true
	}
	facts := decisionFacts(one)
	if one.Folded() {
		facts = append(facts, []string{"count", fmt.Sprintf("%d alike, the last %s", one.Count, when(one.Last, now))})
		out.Notes = append(out.Notes, "In a flood alike decisions are counted. The first of the minute, and every "+
			"hundredth, are written whole.")
		out.Next = "attestd decision ls --reason " + string(one.Reason)
	}
	if one.Scrubbed {
		out.Notes = append(out.Notes, "Something that looked like a secret was taken out before this was written: "+
			"a replay can differ.")
	}
	out.Blocks = []report.Block{proofBlock(one), reasonBlock(one), {Rows: facts}, duties(one)}
	return out
}

func proofBlock(one journal.Record) report.Block {
	block := report.Block{Heads: []string{"proof", "made", "age", "by", "detail"}}
	if one.Result == nil {
		return report.Block{}
	}
	for _, row := range []struct {
		name  string
		proof pdp.Proof
		age   int64
	}{
		{"who", one.Result.Proofs.Who, one.Ages.Who}, {"what", one.Result.Proofs.What, one.Ages.What},
		{"policy", one.Result.Proofs.Policy, one.Ages.Policy},
	} {
		made, old := "no", "-"
		if row.proof.OK {
			made, old = "yes", (time.Duration(row.age) * time.Millisecond).String()
		}
		source := row.proof.Source
		if source == "" {
			source = "-"
		}
		block.Rows = append(block.Rows, []string{row.name, made, old, source, row.proof.Detail})
	}
	return block
}

func reasonBlock(one journal.Record) report.Block {
	if one.Result == nil || one.Decision == journal.Allow {
		return report.Block{}
	}
	block := report.Block{Heads: []string{"reason", "why", "what to do"}}
	for _, reason := range one.Result.Reasons {
		spec, why := pdp.SpecOf(reason.Code), reason.Detail
		if why == "" {
			why = spec.Meaning
		}
		block.Rows = append(block.Rows, []string{string(reason.Code), why, spec.Remedy})
	}
	return block
}

// decisionFacts are the rows of what was asked and by whom.
func decisionFacts(one journal.Record) (facts [][]string) {
	add := func(name, value string) {
		if value = strings.TrimSpace(value); value != "" {
			facts = append(facts, []string{name, value})
		}
	}
	add("id", one.ID.String())
	if whole := string(one.Subject); shortID(whole) != whole {
		add("caller", whole)
	}
	add("tenant", one.Tenant)
	if in := one.Input; in != nil {
		attested := "not attested"
		if in.Standing.Attested {
			attested = "attested"
		}
		add("standing", fmt.Sprintf("%s, %s, risk %s %s, epoch %d", attested, in.Standing.State, in.Standing.Risk,
			in.Standing.Tier, in.Standing.Epoch))
		if in.Record != nil {
			add("inventory", strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", in.Record.Purpose, in.Record.Ring,
				in.Record.Zone, in.Record.Policy)), ", "))
		}
	}
	add("asked", one.Action+" "+one.Resource.Type+" "+one.Resource.ID)
	if one.Resource.Tenant != "" {
		add("resource of", one.Resource.Tenant)
	}
	add("datasets", datasetText(one.Datasets))
	add("by", one.Enforcer)
	if in := one.Input; in != nil {
		add("through", string(in.Via))
		add("request", in.Context.RequestID)
		add("sequence", fmt.Sprint(in.Sequence))
	}
	add("prompt", one.PromptID)
	add("chain", chainText(one.Chain))
	add("atlas", techniqueText(one.ATLAS))
	if one.Result != nil {
		add("policies", strings.Join(one.Result.Policies, ", "))
		add("answered in", brieflyIn(one.Took))
	}
	add("policy set", one.Policy)
	return facts
}

func datasetText(datasets []pdp.Dataset) string {
	var out []string
	for _, one := range datasets {
		text := one.ID
		if len(one.Classification) > 0 {
			text += " (" + strings.Join(one.Classification, ", ") + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// chainText draws who had a part in the request, the origin first.
func chainText(chain []pdp.Link) string {
	var out []string
	for _, one := range chain {
		how := "asserted"
		if one.Verified {
			how = "verified"
		}
		out = append(out, one.Type+" "+shortID(one.ID)+" ("+how+")")
	}
	return strings.Join(out, " > ")
}

func techniqueText(techniques []journal.Technique) string {
	var out []string
	for _, one := range techniques {
		out = append(out, one.ID+" "+one.State)
	}
	return strings.Join(out, ", ")
}

func duties(one journal.Record) report.Block {
	block := report.Block{Heads: []string{"obligation", "type", "properties"}}
	if one.Result != nil {
		for _, duty := range one.Result.Obligations {
			block.Rows = append(block.Rows, []string{duty.ID, duty.Type, propertyText(duty.Properties)})
		}
	}
	return block
}

// brieflyIn writes microseconds in the unit that people read them in.
func brieflyIn(microseconds int64) string {
	if microseconds < 1000 {
		return fmt.Sprintf("%d us", microseconds)
	}
	return (time.Duration(microseconds) * time.Microsecond).String()
}
