package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/attestd/attestd"
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
			if _, err := a.form(formText); err != nil {
				return usagef("drop -o: the answer is files", "%w", err)
			}
			folder := args[0]
			if err := writeManual(command.Root(), folder); err != nil {
				return usagef("give a folder that can be written to", "folder %q: %w",
					attestd.Excerpt(folder, 200), pathless(err))
			}
			return report.Table{
				Lead: []string{"WRITTEN", folder}, Next: "man " + report.QuoteArg(folder) + "/attestd.1",
			}.Text(a.out, a.page())
		},
	}
}

// writeManual writes a page for command and everything below it.
func writeManual(command *cobra.Command, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // manual pages are for all
		return err
	}
	for _, child := range command.Commands() {
		if !child.IsAvailableCommand() {
			continue
		}
		if err := writeManual(child, folder); err != nil {
			return err
		}
	}
	page, err := manualPage(command)
	if err != nil {
		return err
	}
	name := strings.ReplaceAll(command.CommandPath(), " ", "-") + ".1"
	return os.WriteFile(filepath.Join(folder, name), page, 0o644) //nolint:gosec // see above
}

// manualDate is fixed: the same binary writes the same pages.
var manualDate = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// manualFlag is a flag as the generator sets it: its meaning on a line that begins with a tab, which
// is no way to indent in filled text.
var manualFlag = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB-.*)\n\t`)

// manualPage returns the page of a command in the man(7) that formatters take without a warning.
func manualPage(command *cobra.Command) ([]byte, error) {
	var out bytes.Buffer
	err := doc.GenMan(command, &doc.GenManHeader{
		Title: "ATTESTD", Section: "1", Source: "attestd", Manual: "attestd manual", Date: &manualDate,
	}, &out)
	if err != nil {
		return nil, err
	}
	page := bytes.Replace(out.Bytes(), []byte(manualDate.Format(`"Jan 2006"`)),
		[]byte(manualDate.Format(`"2006-01-02"`)), 1)
	return manualFlag.ReplaceAll(page, []byte(".TP\n$1\n")), nil
}
