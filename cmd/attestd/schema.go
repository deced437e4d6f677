package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/report/schema"
)

func newSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "schema [NAME]",
		Short:   "Print the JSON schema of an answer",
		Long:    `Schema prints a published JSON schema (draft 2020-12), or the names there are.`,
		Example: `  attestd schema attestd.verdict.v1 > verdict.schema.json`,
		Args:    arguments(0, 1, "one NAME at most"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				if _, err := a.form(formText); err != nil {
					return usagef("drop -o: the list of schemas is text", "%w", err)
				}
				table := report.Table{Lead: []string{"SCHEMAS"}, Heads: []string{"name"},
					Next: "attestd schema attestd.verdict.v1"}
				for _, name := range schema.Names() {
					table.Rows = append(table.Rows, []string{name})
				}
				return table.Text(a.out, a.page())
			}
			if _, err := a.form(formText, formJSON); err != nil {
				return err
			}
			doc, err := schema.Document(args[0])
			if err != nil {
				return usagef("give one of: "+strings.Join(schema.Names(), ", "), "unknown schema %q",
					attestd.Excerpt(args[0], 60))
			}
			return a.write(doc)
		},
		ValidArgsFunction: func(
			_ *cobra.Command, args []string, _ string,
		) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return schema.Names(), cobra.ShellCompDirectiveNoFileComp
		},
	}
}
