package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
)

// inventoryRecord is what a server answers about one identity.
func inventoryRecord() wire.Record {
	return wire.Record{
		Schema: "attestd.record.v1", Record: nhi.Record{
			ID: string(rag), Tenant: "default", Project: "search", Purpose: nhi.PurposeRetrieval, Ring: "stable",
			Tools: []string{"files.*", "search"}, Policy: "standard", Credential: nhi.CredentialAttested,
			Lifecycle: nhi.LifecycleActive, Source: "file:inventory.yaml", Updated: night.Add(-48 * time.Hour), Generation: 3,
		},
		Seen: wire.Seen{
			Known: true, Attested: true, State: attestd.StateTrusted, Tenant: "default", Risk: attestd.Risk(12),
			Tier: attestd.TierLow, AttestedAt: night.Add(-12 * time.Minute),
		},
		Findings: []nhi.Finding{
			{Code: nhi.FindingNoOwner, ID: string(rag), Tenant: "default"},
			{Code: nhi.FindingNoZone, ID: string(rag), Tenant: "default"},
		},
	}
}

func changedRecords() wire.RecordsChanged {
	return wire.RecordsChanged{
		Schema: "attestd.records-changed.v1", Added: 1, Updated: 1, Same: 3, Problems: []string{},
		Changes: []wire.RecordChange{
			{ID: string(rag), Tenant: "default", Kind: "updated", Fields: []wire.RecordField{
				{Field: "owner", Is: "team-search@example.org"}, {Field: "zone", Was: "trusted", Is: "semi-trusted"},
			}},
			{ID: "github:acme/train.yml", Kind: "added", Fields: []wire.RecordField{
				{Field: "credential", Is: "permanent"},
			}},
		},
	}
}

func lintedRecords() wire.InventoryLint {
	out := wire.InventoryLint{
		Schema: "attestd.inventory-lint.v1", At: night, Records: 412, Findings: []nhi.Finding{
			{Code: nhi.FindingConflict, ID: string(rag), Tenant: "blue", Detail: "the hardware is green's"},
		},
		Counts: []nhi.Count{{Name: "tenant-conflict", Count: 1}, {Name: "permanent-credential", Count: 12}},
	}
	for i := range 12 {
		out.Findings = append(out.Findings, nhi.Finding{
			Code: nhi.FindingPermanent, ID: fmt.Sprintf("github:acme/train-%d.yml", i), Detail: "from file:github.csv",
		})
	}
	return out
}

func reportedRecords() nhi.Report {
	return nhi.Report{
		Schema: nhi.ReportSchema, At: night, Records: 412, Retired: 12,
		Kinds:       []nhi.Count{{Name: "spiffe", Count: 300}, {Name: "github", Count: 100}},
		Purposes:    []nhi.Count{{Name: "retrieval", Count: 250}, {Name: "", Count: 150}},
		Zones:       []nhi.Count{{Name: "trusted", Count: 400}},
		Tenants:     []nhi.Count{{Name: "blue", Count: 220}, {Name: "green", Count: 180}},
		Credentials: []nhi.Count{{Name: "attested", Count: 290}, {Name: "permanent", Count: 100}, {Name: "", Count: 10}},
		Lifecycles:  []nhi.Count{{Name: "active", Count: 400}, {Name: "retired", Count: 12}},
		Findings:    []nhi.Count{{Name: "permanent-credential", Count: 100}},
		Permanent:   25.6, Unclassified: 10, Unbound: 40, Unattested: 8, Unrecorded: 2,
		Oldest:  []nhi.Dated{{ID: "github:acme/old.yml", At: night.Add(-700 * 24 * time.Hour)}},
		Stalest: []nhi.Dated{{ID: string(rag), Tenant: "blue", At: night.Add(-58 * time.Minute)}},
	}
}

// TestAReportIsATableForSpreadsheets: and nothing in it is a formula.
func TestAReportIsATableForSpreadsheets(t *testing.T) {
	docs := adminDocs()
	counted := reportedRecords()
	counted.Tenants = []nhi.Count{{Name: "=HYPERLINK(1)", Count: 1}}
	docs["GET records/report"] = counted
	server, _ := adminServerOf(t, docs)
	code, stdout, stderr := runAt(server, "subject", "report", "-o", "csv")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{
		"measure,name,value\n", "permanent_percent,,25.6\n", "purpose,retrieval,250\n", "tenant,'=HYPERLINK(1),1\n",
		"oldest_attestation," + string(rag) + ",2026-03-01T02:02:00Z\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no line %q in\n%s", want, stdout)
		}
	}
}

// TestLintOfNothingIsClean: and one finding alone decides the exit code.
func TestLintOfNothingIsClean(t *testing.T) {
	docs := adminDocs()
	server, _ := adminServerOf(t, docs)
	code, stdout, _ := runAt(server, "subject", "lint", "--finding", "no-owner")
	if code != 0 || !strings.HasPrefix(stdout.String(), "CLEAN") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	code, stdout, _ = runAt(server, "subject", "lint", "--finding", "tenant-conflict")
	if code != exitRejected || strings.Contains(stdout.String(), "github:") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	if code, _, stderr := runAt(server, "subject", "lint", "--finding", "x"); code != exitUsage {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestAnIdentityOfTheInventoryAloneIsShown(t *testing.T) {
	docs := adminDocs()
	show := func(form string) (int, string, string) {
		server, _ := adminServerOf(t, docs)
		code, stdout, stderr := runAt(server, "subject", "show", string(rag), "-o", form)
		return code, stdout.String(), stderr.String()
	}
	// A store that is down is no identity of the inventory alone.
	delete(docs, "GET subject")
	if code, stdout, _ := show("text"); code != exitUndecided || stdout != "" {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	docs["GET subject"] = notThere("subject")
	if code, stdout, stderr := show("text"); code != 0 || !strings.HasPrefix(stdout, "RECORD") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := show("json"); code != 0 || obeysSchema("attestd.record.v1", []byte(stdout)) != nil {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	docs["GET record"] = notThere("record")
	if code, stdout, stderr := show("text"); code == 0 || stdout != "" || !strings.Contains(stderr, "no such subject") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	// What has hardware and no record is shown, with what is missing; and so it is where nobody can
	// tell.
	docs["GET subject"] = adminDocs()["GET subject"]
	if code, stdout, _ := show("text"); code != 0 || !strings.Contains(stdout, "has no record of it") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	delete(docs, "GET record")
	if code, stdout, _ := show("text"); code != 0 || !strings.Contains(stdout, "inventory: not told: the disk is full") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

// TestImportsAreLookedAtBeforeTheyAreWritten: a list of several parts is taken up whole or not at
// all.
func TestImportsAreLookedAtBeforeTheyAreWritten(t *testing.T) {
	records := make([]nhi.Record, 2500)
	for i := range records {
		records[i].ID = fmt.Sprintf("github:acme/%d", i)
	}
	type sent struct {
		n   int
		dry bool
	}
	for name, row := range map[string]struct {
		records []nhi.Record
		dry     bool
		bad     bool
		want    []sent
	}{
		"one part":              {records[:3], false, false, []sent{{3, false}}},
		"a dry run":             {records[:3], true, false, []sent{{3, true}}},
		"several parts":         {records, false, false, []sent{{1000, true}, {1000, true}, {500, true}, {1000, false}, {1000, false}, {500, false}}},
		"a problem in the last": {records, false, true, []sent{{1000, true}, {1000, true}, {500, true}}},
	} {
		var got []sent
		done, err := importRecords(row.records, row.dry, func(part []nhi.Record, dry bool) (wire.RecordsChanged, error) {
			got = append(got, sent{len(part), dry})
			out := wire.RecordsChanged{Added: len(part)}
			if row.bad && len(part) == 500 {
				out = wire.RecordsChanged{Problems: []string{"x"}}
			}
			return out, nil
		})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(row.want) || done.DryRun != row.dry ||
			row.bad != (len(done.Problems) > 0) || !row.bad && done.Added != len(row.records) {
			t.Errorf("%s: sent %v, want %v; %+v %v", name, got, row.want, done, err)
		}
	}
}

// TestDocumentsSayWhatTheyAre: and what does not is asked about, never guessed.
func TestDocumentsSayWhatTheyAre(t *testing.T) {
	folder := t.TempDir()
	server, requests := adminServerOf(t, adminDocs())
	for name, row := range map[string]struct {
		document string
		flags    []string
		code     int
		says     string
	}{
		"a.csv":   {document: "id,owner\ngithub:a,me\n"},
		"b":       {document: "schema: attestd.inventory.v1\nrecords: [{id: github:a}]\n"},
		"c.json":  {document: `{"entries":[{"spiffe_id":{"trust_domain":"example.org","path":"/a"},"parent_id":{"path":"/n"}}]}`},
		"d.yaml":  {document: "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n", flags: []string{"--cluster", "prod"}},
		"e.txt":   {document: "id,owner\n", code: exitUsage, says: "--kind"},
		"f.csv":   {document: "id\ngithub:a\n", flags: []string{"--cluster", "prod"}, code: exitUsage, says: "--cluster"},
		"g.yaml":  {document: "schema: attestd.inventory.v1\nrecords:\n  - id: github:a\n    purpos: x\n", code: exitUsage, says: "did you mean purpose?"},
		"h.yaml":  {document: "", code: exitUsage, says: "empty"},
		"nothing": {code: exitUsage, says: "empty"},
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(row.document), 0o600); err != nil {
			t.Fatal(err)
		}
		*requests = nil
		code, _, stderr := runAt(server, append([]string{"subject", "import", path}, row.flags...)...)
		if code != row.code || !strings.Contains(stderr.String(), row.says) {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
		if asked := len(*requests) == 1; asked != (row.code == 0) {
			t.Errorf("%s: the server was asked %d times", name, len(*requests))
		}
	}
	server, _ = adminServerOf(t, map[string]any{"POST records/import": wire.RecordsChanged{
		Schema: "attestd.records-changed.v1", Problems: []string{"github:a: its record is not yours to write"},
	}})
	code, stdout, _ := runAt(server, "subject", "import", filepath.Join(folder, "a.csv"))
	if code != exitRejected || !bytes.HasPrefix(stdout.Bytes(), []byte("REFUSED   1 problem")) {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}
