package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/attestd/attestd/internal/report"
)

func newMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "man FOLDER",
		Short:   "Write the manual pages, one per command",
		Long:    `Man writes a manual page for every command into FOLDER, which it makes if need be.`,
		Example: `  attestd man /usr/local/share/man/man1`,
		Args:    arguments(1, 1, "one FOLDER"),
		RunE: func(command *cobra.Command, args []string) error {
			folder := args[0]
			if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // manual pages are for all
				return fileError("folder", folder, err)
			}
			if err := writeManual(command.Root(), folder); err != nil {
				return fileError("folder", folder, err)
			}
			return report.Table{
				Lead: []string{"WRITTEN", folder}, Next: "man " + report.QuoteArg(folder) + "/attestd.1",
			}.Text(a.out, a.page())
		},
	}
}

// writeManual writes the pages with a fixed date: the same binary writes the same pages.
func writeManual(root *cobra.Command, folder string) error {
	date := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	return doc.GenManTree(root, &doc.GenManHeader{
		Title: "ATTESTD", Section: "1", Source: "attestd", Manual: "attestd manual", Date: &date,
	}, folder)
}
