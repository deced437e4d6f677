package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/report"
)

// doctorFlags say what is looked at.
type doctorFlags struct {
	server               *adminServer
	config, only         string
	offline, strict, all bool
}

func newDoctor(a *app) *cobra.Command {
	var flags doctorFlags
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with attestd and its machine, and what to do",
		Long: `Doctor asks the server what is wrong with it. With --config it also looks at what the configuration
names on this machine: whether attestd starts with it, whether keys are private, when certificates
end; with --offline at that alone.

Exit code 0 is well or warnings only (with --strict: 3), 3 a failure, 4 something could not be
looked at.`,
		Example: `  attestd doctor
  attestd doctor --config /etc/attestd/attestd.yaml --offline
  attestd doctor --only store --all -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			return a.doctor(command.Context(), flags, form)
		},
	}
	flags.server = a.adminFlags(command)
	f := command.Flags()
	f.StringVar(&flags.config, "config", "", "look at this configuration `FILE` and what it names as well")
	f.StringVar(&flags.only, "only", "", "conditions of one `PART` only, as in store or audit")
	f.BoolVar(&flags.offline, "offline", false, "do not ask a server")
	f.BoolVar(&flags.strict, "strict", false, "exit 3 for warnings too")
	f.BoolVar(&flags.all, "all", false, "list what is well, too")
	completeWith(command, "only", cobra.ShellCompDirectiveNoFileComp, parts)
	return command
}

// parts are the beginnings of the names of conditions.
func parts() []string {
	var out []string
	for _, spec := range condition.All() {
		if part, _, _ := strings.Cut(spec.Name, "/"); !slices.Contains(out, part) {
			out = append(out, part)
		}
	}
	return out
}

// diagnosis is the answer of doctor.
type diagnosis struct {
	Schema     string           `json:"schema"` // attestd.doctor.v1
	Verdict    string           `json:"verdict"`
	Counts     map[string]int   `json:"counts"`
	Conditions []wire.Condition `json:"conditions"`
}

func (a *app) doctor(ctx context.Context, flags doctorFlags, form string) error {
	if flags.offline && flags.config == "" {
		return usagef("add --config FILE: without a server there is nothing else to look at",
			"--offline was given without --config")
	}
	if flags.only != "" && !slices.Contains(parts(), flags.only) {
		return usagef("give one of: "+strings.Join(parts(), ", "), "--only names %q, which is no part",
			attestd.Excerpt(flags.only, 40))
	}
	var found []wire.Condition
	if flags.config != "" {
		for _, one := range a.examine(flags.config) {
			found = append(found, shownCondition(one))
		}
	}
	if !flags.offline {
		found = append(found, a.askConditions(ctx, flags.server)...)
	}
	answer := diagnose(found, flags.only)
	a.exit = answer.exit(flags.strict)
	if form == formJSON {
		return report.JSON(a.out, answer)
	}
	return answer.text(flags.all).Text(a.out, a.page())
}

// askConditions asks the server. That nobody answers is a condition as well, and says no other is well.
func (a *app) askConditions(ctx context.Context, server *adminServer) []wire.Condition {
	asking, err := a.admin(server)
	if err == nil {
		var answer wire.Conditions
		if answer, err = asking.Conditions(ctx); err == nil {
			return append(answer.Conditions, shownCondition(condition.Finding{
				ID: condition.ServerAnswers, Severity: condition.OK, Detail: "answers",
			}))
		}
	}
	silent := shownCondition(condition.Finding{ID: condition.ServerAnswers, Detail: err.Error()})
	var caller *attestd.CallerError
	if errors.As(err, &caller) && caller.Hint != "" {
		silent.Fix = caller.Hint
	}
	return []wire.Condition{silent}
}

// shownCondition gives a finding the words of the list.
func shownCondition(found condition.Finding) wire.Condition {
	spec := condition.Of(found.ID)
	shown := wire.Condition{ID: spec.Name, Severity: found.Severity.String(), Detail: found.Detail}
	if found.Severity != condition.OK {
		shown.Effect, shown.Fix = spec.Effect, spec.Fix
	}
	return shown
}

// severities from the worst to the best, as doctor ends with them.
var severities = []string{"failure", "unknown", "warning", "ok"}

func rank(severity string) int {
	if at := slices.Index(severities, severity); at >= 0 {
		return at
	}
	return 1 // a word that is not known here is nothing well
}

func diagnose(found []wire.Condition, only string) diagnosis {
	answer := diagnosis{Schema: "attestd.doctor.v1", Counts: map[string]int{}, Conditions: []wire.Condition{}}
	for _, severity := range severities {
		answer.Counts[severity] = 0
	}
	worst := len(severities) - 1
	for _, one := range worse(found) {
		if part, _, _ := strings.Cut(one.ID, "/"); only != "" && part != only && one.ID != serverName() {
			continue
		}
		at := rank(one.Severity)
		one.Severity = severities[at]
		worst = min(worst, at)
		answer.Counts[one.Severity]++
		answer.Conditions = append(answer.Conditions, one)
	}
	slices.SortStableFunc(answer.Conditions, func(x, y wire.Condition) int {
		return cmp.Compare(rank(x.Severity), rank(y.Severity))
	})
	if answer.Verdict = severities[worst]; len(answer.Conditions) == 0 {
		answer.Verdict = "unknown"
	}
	return answer
}

// worse leaves one of two findings about the same: what the file says and what runs can differ, and the
// worse of them is what is shown.
func worse(found []wire.Condition) []wire.Condition {
	var out []wire.Condition
	for _, one := range found {
		at := slices.IndexFunc(out, func(other wire.Condition) bool { return other.ID == one.ID })
		switch {
		case at < 0:
			out = append(out, one)
		case rank(one.Severity) < rank(out[at].Severity):
			out[at] = one
		}
	}
	return out
}

func serverName() string { return condition.ServerAnswers.String() }

func (d diagnosis) exit(strict bool) int {
	switch {
	case d.Verdict == "failure", d.Verdict == "warning" && strict:
		return exitRejected
	case d.Verdict == "unknown":
		return exitUndecided
	default:
		return exitAccepted
	}
}

func (d diagnosis) text(all bool) report.Blocks {
	out := report.Blocks{
		Good: d.Verdict == "ok", Bad: d.Verdict == "failure", Next: "attestd status",
		Lead: []string{strings.ToUpper(d.Verdict), strconv.Itoa(len(d.Conditions)) + " looked at"},
	}
	for _, severity := range severities {
		if n := d.Counts[severity]; n > 0 {
			out.Lead = append(out.Lead, fmt.Sprintf("%d %s", n, severity))
		}
	}
	words := map[string]string{"failure": "FAIL", "unknown": "N/A", "warning": "WARN", "ok": "ok"}
	well := map[string]int{}
	var names []string
	for _, one := range d.Conditions {
		if one.Severity == "ok" && !all {
			part, _, _ := strings.Cut(one.ID, "/")
			if well[part]++; well[part] == 1 {
				names = append(names, part)
			}
			continue
		}
		block := report.Block{Rows: [][]string{{words[one.Severity], one.ID, one.Detail}}}
		if one.Severity != "ok" {
			block.Rows = append(block.Rows, []string{"", "effect", one.Effect}, []string{"", "fix", one.Fix})
		}
		out.Blocks = append(out.Blocks, block)
	}
	if len(names) > 0 {
		for i, name := range names {
			names[i] = fmt.Sprintf("%s %d", name, well[name])
		}
		out.Notes = []string{"ok: " + strings.Join(names, ", ") + " (--all lists them)"}
	}
	if d.Verdict != "ok" && len(d.Conditions) > 0 {
		out.Next = "attestd explain " + d.Conditions[0].ID
	}
	return out
}
