package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/report"
)

func newSubjectLint(a *app) *cobra.Command {
	var server *adminServer
	var tenant, finding string
	command := &cobra.Command{
		Use:   "lint",
		Short: "Say what is wrong with the inventory",
		Long: `Lint lists records without tenant, owner, purpose, policy or zone, permanent credentials, policies
that are not in force, records that conflict with attested hardware or that nothing stands behind,
and workloads that are attested and have no record. It exits 3 where it finds anything.`,
		Example: `  attestd subject lint
  attestd subject lint --tenant blue --finding permanent-credential
  attestd subject lint -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			if finding != "" {
				if err := knownNames("finding", []string{finding}, findingNames()); err != nil {
					return err
				}
			}
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			found, err := asking.LintRecords(command.Context(), tenant)
			if err != nil {
				return err
			}
			if finding != "" {
				found = only(found, nhi.FindingCode(finding))
			}
			if len(found.Counts) > 0 {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, found)
			}
			return lintText(found).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&tenant, "tenant", "", "one `TENANT` alone")
	flags.StringVar(&finding, "finding", "", "one `FINDING` alone")
	complete(command, "finding", findingNames()...)
	return command
}

func findingNames() (names []string) {
	for _, spec := range nhi.FindingSpecs() {
		names = append(names, string(spec.Code))
	}
	return names
}

// only keeps one finding. What more there is of it counts the rest of its number.
func only(found wire.InventoryLint, code nhi.FindingCode) wire.InventoryLint {
	counts, list := []nhi.Count{}, []nhi.Finding{}
	for _, one := range found.Findings {
		if one.Code == code {
			list = append(list, one)
		}
	}
	found.More = 0
	for _, one := range found.Counts {
		if one.Name == string(code) {
			counts = append(counts, one)
			found.More = max(0, one.Count-len(list))
		}
	}
	found.Counts, found.Findings = counts, list
	return found
}

// mostOfEach is how many of each finding people are shown.
const mostOfEach = 10

func lintText(found wire.InventoryLint) report.Blocks {
	out := report.Blocks{
		Lead: []string{"CLEAN", number(found.Records, "record", "records")}, Good: true,
		Next: "attestd subject report",
	}
	if !found.PoliciesKnown {
		out.Notes = append(out.Notes,
			"Which policies are in force is not known here: their names were not compared.")
	}
	total := 0
	for _, count := range found.Counts {
		total += count.Count
		spec := findingSpec(nhi.FindingCode(count.Name))
		head := fmt.Sprintf("%s (%d)", count.Name, count.Count)
		rows := report.Block{Heads: []string{head, "tenant", "detail"}}
		shown := 0
		for _, one := range found.Findings {
			if string(one.Code) == count.Name && shown < mostOfEach {
				shown++
				rows.Rows = append(rows.Rows, []string{shortID(one.ID), orDash(one.Tenant), one.Detail})
			}
		}
		if rest := count.Count - shown; rest > 0 {
			rows.Rows = append(rows.Rows, []string{fmt.Sprintf("and %d more", rest), "", ""})
		}
		out.Blocks = append(out.Blocks, rows, report.Block{Rows: [][]string{
			{"means", spec.Meaning}, {"fix", spec.Remedy},
		}})
	}
	if total > 0 {
		out.Lead = []string{"FINDINGS", strconv.Itoa(total), number(found.Records, "record", "records")}
		out.Good, out.Bad = false, true
		out.Next = "attestd subject lint --finding " + found.Counts[0].Name + " -o json"
	}
	return out
}

// formCSV is the form of a report for spreadsheets.
const formCSV = "csv"

func newSubjectReport(a *app) *cobra.Command {
	var server *adminServer
	var tenant string
	command := &cobra.Command{
		Use:   "report",
		Short: "Say what the inventory comes to: kinds, purposes, permanent credentials, what is open",
		Long: `Report is the inventory of the first thirty days: how many identities there are of each kind,
purpose, zone and tenant, what share has permanent credentials, who is bound to no policy, who no
attested hardware stands behind, and what is oldest. Retired records are counted apart.`,
		Example: `  attestd subject report
  attestd subject report --tenant blue -o csv > inventory.csv`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON, formCSV)
			if err != nil {
				return err
			}
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			counted, err := asking.ReportRecords(command.Context(), tenant)
			if err != nil {
				return err
			}
			switch form {
			case formJSON:
				return report.JSON(a.out, counted)
			case formCSV:
				return reportCSV(a.out, counted)
			}
			return reportText(counted, a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	command.Flags().StringVar(&tenant, "tenant", "", "one `TENANT` alone")
	command.Flags().StringVarP(&a.flags.output, "output", "o", formText,
		"`FORM` of the answer: text, json or csv")
	complete(command, "output", formText, formJSON, formCSV)
	return command
}

func percent(share float64) string { return strconv.FormatFloat(share, 'f', 1, 64) + " %" }

func reportText(of nhi.Report, now time.Time) report.Blocks {
	out := report.Blocks{
		Lead: []string{
			"INVENTORY", number(of.Records-of.Retired, "identity", "identities"),
			strconv.Itoa(of.Retired) + " retired", percent(of.Permanent) + " permanent credentials",
		},
		Blocks: []report.Block{{Rows: [][]string{
			{"unbound", strconv.Itoa(of.Unbound), "bound to no policy: decisions deny"},
			{"unattested", strconv.Itoa(of.Unattested), "no attested node stands behind the SPIFFE ID"},
			{"unrecorded", strconv.Itoa(of.Unrecorded), "attested, and in no record: decisions deny"},
			{"unclassified", strconv.Itoa(of.Unclassified), "what it authenticates with is not known"},
		}}},
		Next: "attestd subject lint",
	}
	for _, one := range reportCounts(of) {
		rows := report.Block{Heads: []string{one.name, "count", ""}}
		for _, count := range one.counts {
			share := ""
			if total := of.Records - of.Retired; one.share && total > 0 {
				share = percent(float64(count.Count*1000/total) / 10)
			}
			rows.Rows = append(rows.Rows, []string{orDash(count.Name), strconv.Itoa(count.Count), share})
		}
		out.Blocks = append(out.Blocks, rows)
	}
	for _, one := range []struct {
		name string
		list []nhi.Dated
	}{{"oldest record", of.Oldest}, {"oldest attestation", of.Stalest}} {
		rows := report.Block{Heads: []string{one.name, "tenant", "at"}}
		for _, dated := range one.list {
			rows.Rows = append(rows.Rows,
				[]string{shortID(dated.ID), orDash(dated.Tenant), when(dated.At, now)})
		}
		out.Blocks = append(out.Blocks, rows)
	}
	if of.Records == 0 {
		out.Notes = []string{"The inventory has no record that you may see."}
		out.Next = "attestd subject import FILE --dry-run"
	}
	return out
}

type reportCount struct {
	name   string
	counts []nhi.Count
	// share says that the counts add up to all that are not retired.
	share bool
}

func reportCounts(of nhi.Report) []reportCount {
	return []reportCount{
		{"kind", of.Kinds, true}, {"purpose", of.Purposes, true}, {"zone", of.Zones, true},
		{"tenant", of.Tenants, true}, {"credential", of.Credentials, true}, {"lifecycle", of.Lifecycles, false},
		{"finding", of.Findings, false},
	}
}

// reportCSV writes a line for each figure: measure, name, value. Names were checked when they came
// in; what a spreadsheet would take for a formula is written as text all the same.
func reportCSV(to io.Writer, of nhi.Report) error {
	rows := [][]string{
		{"measure", "name", "value"},
		{"records", "", strconv.Itoa(of.Records)}, {"retired", "", strconv.Itoa(of.Retired)},
		{"permanent_percent", "", strconv.FormatFloat(of.Permanent, 'f', 1, 64)},
		{"unclassified_credentials", "", strconv.Itoa(of.Unclassified)},
		{"unbound", "", strconv.Itoa(of.Unbound)}, {"unattested", "", strconv.Itoa(of.Unattested)},
		{"unrecorded", "", strconv.Itoa(of.Unrecorded)},
	}
	for _, one := range reportCounts(of) {
		for _, count := range one.counts {
			rows = append(rows, []string{one.name, count.Name, strconv.Itoa(count.Count)})
		}
	}
	for _, dated := range of.Oldest {
		rows = append(rows, []string{"oldest_record", dated.ID, dated.At.UTC().Format(time.RFC3339)})
	}
	for _, dated := range of.Stalest {
		rows = append(rows, []string{"oldest_attestation", dated.ID, dated.At.UTC().Format(time.RFC3339)})
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = attestd.Excerpt(cell, 4096)
			if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
				row[i] = "'" + row[i]
			}
		}
	}
	writer := csv.NewWriter(to)
	return writer.WriteAll(rows)
}
