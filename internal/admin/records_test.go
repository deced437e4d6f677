package admin_test

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/nhi/desk"
	"github.com/attestd/attestd/internal/operator"
)

const (
	blueRecord   = "spiffe://example.org/agent/b1"
	greenRecord  = "spiffe://example.org/agent/c1"
	nobodyRecord = "github:acme/train.yml"
)

// inventory has a record of blue, one of green and one of nobody, and shows them to everybody: what
// keeps tenants apart beyond it is the API's.
type inventory struct{ *parts }

func recordOf(id string) nhi.Record {
	return nhi.Record{ID: id, Tenant: map[string]string{blueRecord: "blue", greenRecord: "green"}[id], Generation: 1}
}

func (i inventory) List(
	_ context.Context, _ operator.Principal, filter nhi.Filter,
) (wire.Records, error) {
	return wire.Records{Schema: "attestd.records.v1", Records: []nhi.Record{
		recordOf(nobodyRecord), recordOf(blueRecord), recordOf(greenRecord),
	}}, i.note("records %v text %q after %q limit %d", filter.Tenants, filter.Text, filter.After, filter.Limit)
}

func (i inventory) Find(_ context.Context, _ operator.Principal, id string) (wire.Record, error) {
	err := i.note("record %s", id)
	if !slices.Contains([]string{nobodyRecord, blueRecord, greenRecord}, id) {
		return wire.Record{}, desk.ErrNone
	}
	return wire.Record{Schema: "attestd.record.v1", Record: recordOf(id), Findings: []nhi.Finding{}}, err
}

func (i inventory) Import(
	_ context.Context, who operator.Principal, ask wire.RecordsImport,
) (wire.RecordsChanged, error) {
	done := wire.RecordsChanged{Schema: "attestd.records-changed.v1", DryRun: ask.DryRun, Problems: []string{}}
	if ask.Source == "bad.yaml" {
		done.Problems = []string{"github:acme/train.yml: its record is not yours to write"}
	}
	return done, i.note("import by %s of %d for %q dry %t", who.Name, len(ask.Records), ask.Tenant, ask.DryRun)
}

func (i inventory) Retire(
	_ context.Context, _ operator.Principal, ask wire.RecordOrder,
) (wire.RecordsChanged, error) {
	if ask.ID == greenRecord {
		return wire.RecordsChanged{}, desk.ErrNone
	}
	return wire.RecordsChanged{Schema: "attestd.records-changed.v1"}, i.note("retire %s", ask.ID)
}

func (i inventory) Remove(
	ctx context.Context, who operator.Principal, ask wire.RecordOrder,
) (wire.RecordsChanged, error) {
	return i.Retire(ctx, who, ask)
}

func (i inventory) Lint(
	_ context.Context, _ operator.Principal, tenants []string,
) (wire.InventoryLint, error) {
	return wire.InventoryLint{Schema: "attestd.inventory-lint.v1"}, i.note("lint %v", tenants)
}

func (i inventory) Report(_ context.Context, _ operator.Principal, tenants []string) (nhi.Report, error) {
	return nhi.Report{Schema: nhi.ReportSchema}, i.note("report %v", tenants)
}

// neg: 188
func TestRecordsOfOtherTenantsAreNotThere(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Viewer, operator.Operator)
	none := w.get(blue, "record?id=spiffe://example.org/agent/none")
	w.refused(none, http.StatusNotFound, attestd.ClassForbidden)
	for _, id := range []string{greenRecord, nobodyRecord} {
		theirs := w.get(blue, "record?id="+id)
		w.refused(theirs, http.StatusNotFound, attestd.ClassForbidden)
		if !bytes.Equal(theirs.body, none.body) {
			t.Errorf("%s is answered with\n%s\nwhat nobody has with\n%s", id, theirs.body, none.body)
		}
	}
	var page wire.Records
	w.read(w.get(blue, "records"), &page)
	if len(page.Records) != 1 || page.Records[0].ID != blueRecord {
		t.Errorf("blue is shown %+v", page.Records)
	}
	w.read(w.get(w.named("zoe", "*", operator.Viewer), "records"), &page)
	if len(page.Records) != 3 {
		t.Errorf("who sees all is shown %+v", page.Records)
	}
	w.parts.since()
	for _, path := range []string{
		"records?tenant=green", "records?tenant=*", "records/lint?tenant=green", "records/report?tenant=none",
	} {
		w.refused(w.get(blue, path), http.StatusNotFound, attestd.ClassForbidden)
	}
	w.refused(w.post(blue, "records/import", wire.RecordsImport{
		Source: "a.yaml", Tenant: "green", Records: []nhi.Record{{ID: nobodyRecord}},
	}), http.StatusNotFound, attestd.ClassForbidden)
	for _, path := range []string{"records/retire", "records/remove"} {
		w.refused(w.post(blue, path, wire.RecordOrder{ID: greenRecord}), http.StatusNotFound, attestd.ClassForbidden)
	}
	if asked := w.parts.since(); len(asked) != 0 {
		t.Errorf("the inventory was asked: %q", asked)
	}
	for path, want := range map[string]string{
		"records/lint": "lint [blue]", "records/report?tenant=blue": "report [blue]",
		"records?text=b&after=a&limit=7": `records [blue] text "b" after "a" limit 7`,
	} {
		w.get(blue, path)
		if asked := w.parts.since(); len(asked) != 1 || asked[0] != want {
			t.Errorf("%s asks for %q, want %q", path, asked, want)
		}
	}
}

func TestImportsThatAreNone(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Operator)
	w.parts.since()
	for name, body := range map[string]string{
		"an unknown key":       `{"source":"a","records":[{"id":"github:a","colour":"red"}]}`,
		"a key twice":          `{"source":"a","records":[{"id":"github:a","id":"github:b"}]}`,
		"a generation":         `{"source":"a","records":[{"id":"github:a","generation":4}]}`,
		"a time":               `{"source":"a","records":[{"id":"github:a","updated":"2026-01-01T00:00:00Z"}]}`,
		"what nests too deep":  `{"source":"a","records":[{"id":"github:a","tools":[["x"]]}]}`,
		"a source that breaks": `{"source":"a\nb","records":[{"id":"github:a"}]}`,
	} {
		if got := w.ask(blue, "POST", admin.Prefix+"records/import", body); got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
	for _, path := range []string{"records/retire", "records/remove"} {
		w.refused(w.post(blue, path, wire.RecordOrder{}), http.StatusBadRequest, attestd.ClassMalformed)
		w.refused(w.post(blue, path, wire.RecordOrder{ID: "a\x00b"}), http.StatusBadRequest, attestd.ClassMalformed)
	}
	if asked := w.parts.since(); len(asked) != 0 {
		t.Errorf("the inventory was asked: %q", asked)
	}
}

// TestARefusedImportLeavesATrace: whoever tries ids of others in lists is seen.
func TestARefusedImportLeavesATrace(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Operator)
	ask := wire.RecordsImport{Source: "bad.yaml", Records: []nhi.Record{{ID: nobodyRecord}}}
	if got := w.post(blue, "records/import", ask); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	entries := w.parts.entries()
	for _, one := range entries {
		if one.Action == "subject.import" && one.Outcome == "refused" && one.Target == "bad.yaml" && one.Actor == "vera" {
			return
		}
	}
	t.Errorf("noted: %+v", entries)
}

func TestWithoutAnInventoryThereAreNoRecords(t *testing.T) {
	w := newWorld(t)
	must(t, w.close())
	w.config.Inventory, w.config.Registerer = nil, prometheus.NewRegistry()
	handler, err := admin.New(w.config)
	must(t, err)
	w.serve(handler)
	all := w.named("zoe", "*", operator.Operator)
	for _, row := range admin.Rows() {
		if strings.HasPrefix(row.Path, admin.Prefix+"record") {
			w.refused(w.carryOut(all, row), http.StatusNotFound, attestd.ClassConfig)
		}
	}
}
