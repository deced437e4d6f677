package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/internal/report"
)

// collateralDoc is what is held.
type collateralDoc struct {
	Schema string `json:"schema"`
	Folder string `json:"folder"`
	// Objects are lists and CAs, also those that are missing.
	Objects  []collateral.Row         `json:"objects"`
	Machines []collateral.HeldMachine `json:"machines"`
	Queue    []collateral.Waiting     `json:"queue"`
	// Problems counts what is held and does not verify.
	Problems int `json:"problems"`
	// Failing says why nothing comes from the service, where something is fetched.
	Failing string `json:"failing"`
}

func (a *app) collateralHeld(flags collateralFlags) (collateralDoc, error) {
	doc := collateralDoc{Schema: collateralSchema, Folder: flags.folder}
	store, err := a.collateralStore(flags, false)
	if err != nil {
		return doc, err
	}
	doc.Objects, doc.Queue = store.Health(time.Now()), store.Queue()
	if doc.Machines, err = store.Machines(); err != nil {
		return doc, hinted(err, "look at the folder: may this user read it?")
	}
	for _, row := range doc.Objects {
		if row.Problem != "" && row.SHA256 != "" { // one that was never there is no damage
			doc.Problems++
		}
	}
	for _, held := range doc.Machines {
		if held.Problem != "" {
			doc.Problems++
		}
	}
	if _, err := store.Fetching().Failing(); err != nil {
		doc.Failing = err.Error()
	}
	return doc, nil
}

func newCollateralList(a *app) *cobra.Command {
	var flags collateralFlags
	command := &cobra.Command{
		Use:   "ls",
		Short: "List what is held, and until when it is current",
		Long: `Ls lists revocation lists, CAs and Intel's documents with their age: fresh, due (past half of its
time), grace (its end is near) or expired; the certificates of machines; and what is wanted from AMD
or Intel and not there. The number of a document is Intel's tcbEvaluationDataNumber.`,
		Example: `  attestd collateral ls --folder ./collateral`,
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			doc, err := a.collateralHeld(flags)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return a.tellHeld(doc, flags)
		},
	}
	flags.add(command)
	return command
}

func (a *app) tellHeld(doc collateralDoc, flags collateralFlags) error {
	table := report.Table{
		Lead: []string{"COLLATERAL", fmt.Sprintf("%d machine(s)", len(doc.Machines)),
			fmt.Sprintf("%d wanted", len(doc.Queue))},
		Heads: []string{"kind", "name", "number", "until", "age", "from"},
		Next:  "attestd collateral verify" + flags.again(),
	}
	if doc.Failing != "" {
		table.Notes = append(table.Notes, "Fetching fails: "+doc.Failing)
	}
	for _, row := range doc.Objects {
		until, age := row.Until.Format(time.DateOnly), row.Age.String()
		if row.SHA256 == "" {
			until, age = "", "missing"
		}
		name := row.Name
		if row.Channel == collateral.Early {
			name += " (early)"
		}
		table.Rows = append(table.Rows, []string{row.Kind, name, row.Number, until, age, row.Source})
		if row.Problem != "" && row.SHA256 != "" {
			table.Notes = append(table.Notes, row.Name+": "+row.Problem)
		}
	}
	if err := table.Text(a.out, a.page()); err != nil || len(doc.Machines)+len(doc.Queue) == 0 {
		return err
	}
	machines := report.Table{Lead: []string{"MACHINES"}, Heads: []string{"key", "machine", "until", ""}}
	for _, held := range doc.Machines {
		machines.Rows = append(machines.Rows, []string{
			string(held.Machine.Kind), strings.TrimSpace(held.Machine.String() + " " + held.CSP),
			held.Until.Format(time.DateOnly), held.Problem,
		})
	}
	for _, wanted := range doc.Queue {
		kind, name, whose := string(wanted.Machine.Kind), wanted.Machine.String(), "AMD"
		if wanted.Platform != (collateral.Platform{}) {
			kind, name, whose = "tcb-info", wanted.Platform.String(), "Intel"
		}
		state := "wanted, " + strconv.Itoa(wanted.Tries) + " tries"
		if wanted.Refused {
			state = whose + " has none"
		}
		machines.Rows = append(machines.Rows, []string{kind, name, "", state})
	}
	fmt.Fprintln(a.out)
	return machines.Text(a.out, a.page())
}

// again is the flags as they were given, for the next command.
func (f collateralFlags) again() string {
	out := ""
	if f.folder != defaultCollateral {
		out += " --folder " + report.QuoteArg(f.folder)
	}
	if f.update != "" && f.update != string(collateral.Standard) {
		out += " --intel-update " + report.QuoteArg(f.update)
	}
	if f.insecureRoots != "" {
		out += " --insecure-roots " + report.QuoteArg(f.insecureRoots)
	}
	return out
}

func newCollateralVerify(a *app) *cobra.Command {
	var flags collateralFlags
	command := &cobra.Command{
		Use:   "verify",
		Short: "Verify everything that is held once more",
		Long: `Verify reads every object, verifies its signature up to a root and its place in the folder, and says
what does not hold; exit code 3 if there is any. What has expired verifies all the same: attestd
collateral ls says what is current.`,
		Example: `  attestd collateral verify --folder ./collateral`,
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			doc, err := a.collateralHeld(flags)
			if err != nil {
				return err
			}
			if doc.Problems > 0 {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return a.tellVerified(doc, flags)
		},
	}
	flags.add(command)
	return command
}

func (a *app) tellVerified(doc collateralDoc, flags collateralFlags) error {
	table := report.Table{
		Lead: []string{"VERIFIED"}, Good: true, Next: "attestd collateral ls" + flags.again(),
	}
	objects := 0
	for _, row := range doc.Objects {
		if row.SHA256 == "" {
			continue
		}
		objects++
		if row.Problem != "" {
			table.Rows = append(table.Rows, []string{row.Kind + " " + row.Name, row.Problem})
		}
	}
	for _, held := range doc.Machines {
		if held.Problem != "" {
			table.Rows = append(table.Rows, []string{held.File, held.Problem})
		}
	}
	table.Lead = append(table.Lead, fmt.Sprintf("%d list(s), CA(s) and document(s), %d machine(s)", objects, len(doc.Machines)))
	if doc.Problems > 0 {
		table.Lead[0], table.Good, table.Bad = "NOT VERIFIED", false, true
		table.Heads = []string{"what", "why"}
		table.Next = "import what is named once more; see docs/operate/collateral.md"
	}
	return table.Text(a.out, a.page())
}

func (a *app) tellImport(doc collateralImportDoc, flags collateralFlags) error {
	table := report.Table{
		Lead:  []string{"IMPORTED", fmt.Sprintf("%d of %d taken", doc.Taken, len(doc.Items)), doc.Source},
		Good:  true,
		Heads: []string{"kind", "name", "number", "until", ""},
		Next:  "attestd collateral ls" + flags.again(),
	}
	const most = 20 // machines come by the thousand
	for index, item := range doc.Items {
		if index == most {
			table.Notes = []string{fmt.Sprintf("and %d more; -o json has all", len(doc.Items)-most)}
			break
		}
		table.Rows = append(table.Rows, []string{
			item.Kind, attestd.Excerpt(item.Name, 60), item.Number, item.Until.Format(time.DateOnly), item.Outcome,
		})
	}
	return table.Text(a.out, a.page())
}
