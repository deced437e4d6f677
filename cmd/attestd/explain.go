package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/explain"
	"github.com/attestd/attestd/internal/report"
)

func newExplain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [ID]",
		Short: "Say what a check, a class of errors or a fact means",
		Long: `Explain says what a check proves, what an attacker gains without it, which document demands it and
what to do when it fails. Without an ID it lists every id there is.`,
		Example: `  attestd explain
  attestd explain sev-snp/guest-policy-debug
  attestd explain COLLATERAL_UNAVAILABLE -o json`,
		Args: arguments(0, 1, "one ID at most"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			return a.explain(args, form)
		},
		ValidArgsFunction: func(
			_ *cobra.Command, args []string, start string,
		) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var ids []string
			for _, entry := range explain.All() {
				if strings.HasPrefix(entry.ID, start) {
					ids = append(ids, cobra.CompletionWithDesc(entry.ID, entry.Title))
				}
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func (a *app) explain(args []string, form string) error {
	if len(args) == 0 {
		if form == formJSON {
			return report.ExplainListJSON(a.out, explain.All())
		}
		return report.ExplainList(a.out, a.page(), explain.All())
	}
	entry, known := explain.Lookup(args[0])
	if !known {
		hint := "attestd explain lists every id"
		if near := explain.Suggest(args[0]); len(near) > 0 {
			hint = "did you mean: " + strings.Join(near[:min(len(near), 4)], ", ")
		}
		return usagef(hint, "nothing is known under the id %q", attestd.Excerpt(args[0], 80))
	}
	if form == formJSON {
		return report.ExplainJSON(a.out, entry)
	}
	return report.ExplainText(a.out, a.page(), entry)
}
