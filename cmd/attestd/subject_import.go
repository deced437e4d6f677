package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/nhi/desk"
	"github.com/attestd/attestd/internal/report"
)

// Forms of documents that records come from.
const (
	inventoryYAML       = "yaml"
	inventoryCSV        = "csv"
	inventoryKubernetes = "kubernetes"
	inventorySPIRE      = "spire"
)

var inventoryKinds = []string{inventoryYAML, inventoryCSV, inventoryKubernetes, inventorySPIRE}

// inventoryFile says how a document of records is read.
type inventoryFile struct {
	kind    string
	cluster nhi.Cluster
}

func (f *inventoryFile) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.kind, "kind", "", "`KIND` of document: "+strings.Join(inventoryKinds, ", ")+
		"; a name that ends in .csv, and what says of itself what it is, needs none")
	flags.StringVar(&f.cluster.Name, "cluster", "", "`NAME` of the cluster, in ids of Kubernetes' accounts")
	flags.StringVar(&f.cluster.TrustDomain, "trust-domain", "",
		"`DOMAIN` that gives Kubernetes' accounts SPIFFE IDs: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT")
	complete(command, "kind", inventoryKinds...)
}

// parse reads a document into records.
func (f *inventoryFile) parse(name string, document []byte) ([]nhi.Record, error) {
	kind := f.kind
	if kind == "" {
		kind = inventoryKind(name, document)
	}
	if err := knownNames("kind", []string{kind}, inventoryKinds); err != nil {
		return nil, usagef("add --kind and one of: "+strings.Join(inventoryKinds, ", "),
			"what kind of document %q is, neither it nor its name says", attestd.Excerpt(name, 200))
	}
	if f.cluster != (nhi.Cluster{}) && kind != inventoryKubernetes {
		return nil, usagef("leave --cluster and --trust-domain out",
			"a document of kind %s names its own ids", kind)
	}
	switch kind {
	case inventoryCSV:
		return nhi.ParseCSV(name, document)
	case inventoryKubernetes:
		return nhi.ParseManifests(name, document, f.cluster)
	case inventorySPIRE:
		return nhi.ParseSPIRE(name, document)
	default:
		return nhi.ParseYAML(name, document)
	}
}

// inventoryKind returns the kind that a document, or its name, says beyond doubt; empty for none.
func inventoryKind(name string, document []byte) string {
	head := document[:min(len(document), 4096)]
	switch {
	case strings.EqualFold(filepath.Ext(name), ".csv"):
		return inventoryCSV
	case bytes.Contains(head, []byte(nhi.Schema)):
		return inventoryYAML
	case bytes.Contains(head, []byte("apiVersion")):
		return inventoryKubernetes
	case bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) &&
		(bytes.Contains(head, []byte(`"entries"`)) || bytes.Contains(head, []byte(`"agents"`))):
		return inventorySPIRE
	}
	return ""
}

func newSubjectImport(a *app) *cobra.Command {
	var server *adminServer
	var file inventoryFile
	ask := wire.RecordsImport{}
	command := &cobra.Command{
		Use:   "import FILE",
		Short: "Take up records of who there is, whose, what for and how far it reaches",
		Long: `Import takes records into the inventory: from YAML (schema attestd.inventory.v1), from CSV with the
same names for columns, from Kubernetes' ServiceAccounts and Secrets (manifests, or what kubectl get
-o yaml or -o json prints), and from what spire-server entry show or agent list -output json prints.

What a record leaves empty stays as it is in the inventory; with --whole it becomes empty. All
problems of a file are said at once, and nothing of it is taken up then (exit 3). --dry-run shows
what would change. A file of more than 1000 records is written in parts; the same import again does
the rest of one that was cut off.`,
		Example: `  attestd subject import inventory.yaml --dry-run
  attestd subject import github.csv --tenant blue
  kubectl get serviceaccounts,secrets -A -o yaml | attestd subject import - --cluster prod
  spire-server entry show -output json | attestd subject import -`,
		Args: arguments(1, 1, "one FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			document, err := a.read("document", args[0], nhi.MaxDocument)
			if err != nil {
				return err
			}
			records, err := file.parse(args[0], document)
			if err != nil {
				return err
			}
			ask.Source = listName(args[0])
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			send := func(records []nhi.Record, dry bool) (wire.RecordsChanged, error) {
				part := ask
				part.Records, part.DryRun = records, dry
				return asking.ImportRecords(command.Context(), part)
			}
			done, err := importRecords(records, ask.DryRun, send)
			if err != nil {
				return err
			}
			if len(done.Problems) > 0 {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, done)
			}
			return changedText(done, "attestd subject lint", again(command, "dry-run")).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	file.flags(command)
	flags := command.Flags()
	flags.StringVar(&ask.Tenant, "tenant", "", "`TENANT` of records that name none")
	flags.BoolVar(&ask.Whole, "whole", false, "what a record leaves empty becomes empty")
	flags.BoolVar(&ask.DryRun, "dry-run", false, "say what would change, and change nothing")
	return command
}

// importRecords sends records in parts. Where there is more than one, all are looked at before any
// is written.
func importRecords(
	records []nhi.Record, dry bool, send func([]nhi.Record, bool) (wire.RecordsChanged, error),
) (wire.RecordsChanged, error) {
	all := func(dry bool) (wire.RecordsChanged, error) {
		sum := wire.RecordsChanged{
			Schema: "attestd.records-changed.v1", DryRun: dry, Problems: []string{},
			Changes: []wire.RecordChange{},
		}
		for part := range slices.Chunk(records, desk.MaxRecords) {
			done, err := send(part, dry)
			if err != nil {
				return sum, err
			}
			sum.Added += done.Added
			sum.Updated += done.Updated
			sum.Same += done.Same
			sum.Problems = append(sum.Problems, done.Problems...)
			if room := 100 - len(sum.Changes); room > 0 {
				sum.Changes = append(sum.Changes, done.Changes[:min(room, len(done.Changes))]...)
			}
		}
		return sum, nil
	}
	if dry || len(records) > desk.MaxRecords {
		looked, err := all(true)
		if err != nil || dry || len(looked.Problems) > 0 {
			looked.DryRun = dry
			return looked, err
		}
	}
	return all(false)
}

// changedText shows what changed, or would. Next is the command behind it, anew that of a dry run
// without being one.
func changedText(done wire.RecordsChanged, next, anew string) report.Blocks {
	if len(done.Problems) > 0 {
		rows := report.Block{}
		for _, one := range done.Problems {
			rows.Rows = append(rows.Rows, []string{one})
		}
		return report.Blocks{
			Lead: []string{
				"REFUSED", number(len(done.Problems), "problem", "problems"), "nothing was changed",
			},
			Bad: true, Blocks: []report.Block{rows}, Next: "attestd subject import FILE --dry-run",
		}
	}
	out := report.Blocks{Lead: []string{"CHANGED"}, Good: true, Next: next}
	if done.DryRun {
		out.Lead, out.Good, out.Next = []string{"DRY RUN"}, false, anew
	}
	for _, one := range []struct {
		n    int
		what string
	}{
		{done.Added, "added"}, {done.Updated, "updated"}, {done.Removed, "removed"},
		{done.Same, "unchanged"},
	} {
		if one.n > 0 {
			out.Lead = append(out.Lead, fmt.Sprintf("%d %s", one.n, one.what))
		}
	}
	rows := report.Block{Heads: []string{"id", "what", "field", "was", "is"}}
	for _, one := range done.Changes {
		if len(one.Fields) == 0 {
			rows.Rows = append(rows.Rows, []string{shortID(one.ID), one.Kind, "", "", ""})
		}
		for i, field := range one.Fields {
			id, kind := "", ""
			if i == 0 {
				id, kind = shortID(one.ID), one.Kind
			}
			rows.Rows = append(rows.Rows,
				[]string{id, kind, field.Field, orDash(field.Was), orDash(field.Is)})
		}
	}
	out.Blocks = []report.Block{rows}
	if total := done.Added + done.Updated + done.Removed; total > len(done.Changes) {
		out.Notes = []string{fmt.Sprintf("and %d more", total-len(done.Changes))}
	}
	return out
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
