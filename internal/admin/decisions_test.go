package admin_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/operator"
)

const (
	blueDecision  = "01950000-0000-7000-8000-0000000000b1"
	greenDecision = "01950000-0000-7000-8000-0000000000c1"
)

// decisions has a record of blue and one of green.
type decisions struct{ *parts }

func recorded(id, tenant string) journal.Record {
	return journal.Record{
		Schema: journal.RecordSchema, ID: uuid.MustParse(id), Decision: journal.Deny, Reason: decision.CodeRing,
		Tenant: tenant, At: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Enforcer: tenant + "-gateway",
		Input: &decision.Input{}, Result: &decision.Result{},
	}
}

// Find errs on purpose: it finds all tenants' records.
func (d decisions) Find(_ context.Context, id string, tenants []string) (journal.Record, error) {
	err := d.note("decision %v", tenants)
	switch id {
	case blueDecision:
		return recorded(id, "blue"), err
	case greenDecision:
		return recorded(id, "green"), err
	}
	return journal.Record{}, journal.ErrNone
}

// List errs on purpose, too.
func (d decisions) List(_ context.Context, query journal.Query) (journal.Page, error) {
	page := journal.Page{
		Records: []journal.Record{recorded(blueDecision, "blue"), recorded(greenDecision, "green")}, Next: "7:123456",
	}
	return page, d.note("decisions %v after %q", query.Tenants, query.After)
}

func (d decisions) Replay(record *journal.Record) (journal.Replayed, error) {
	replayed := journal.Replayed{ID: record.ID, Differences: []journal.Difference{{Field: "allow", Was: "false", Is: "true"}}}
	return replayed, d.note("replay %s", record.Tenant)
}

func (d decisions) ReplayPage(_ context.Context, query journal.Query) (journal.Run, error) {
	run := journal.Run{Same: 3, Changed: []journal.Replayed{}, Next: "7:123456"}
	return run, d.note("replay %v limit %d", query.Tenants, query.Limit)
}

// neg: 188
func TestDecisionsOfOtherTenantsAreNotThere(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Viewer)
	for _, path := range []string{"decision?id=", "decisions/replay?id="} {
		theirs, none := w.get(blue, path+greenDecision), w.get(blue, path+"01950000-0000-7000-8000-0000000000d1")
		w.refused(theirs, http.StatusNotFound, attestd.ClassForbidden)
		if !bytes.Equal(theirs.body, none.body) {
			t.Errorf("green's is answered with\n%s\nwhat nobody has with\n%s", theirs.body, none.body)
		}
	}
	var page wire.Decisions
	w.read(w.get(blue, "decisions"), &page)
	if len(page.Decisions) != 1 || page.Decisions[0].Tenant != "blue" {
		t.Errorf("blue is shown %+v", page.Decisions)
	}
	if page.Next == "" || strings.Contains(page.Next, ":") {
		t.Errorf("the place %q tells how much there is of others", page.Next)
	}
	w.parts.since()
	w.read(w.get(blue, "decisions?after="+page.Next), &page)
	if asked := w.parts.since(); len(asked) != 1 || asked[0] != `decisions [blue] after "7:123456"` {
		t.Errorf("asked for %q", asked)
	}
	w.refused(w.get(blue, "decisions?tenant=green"), http.StatusNotFound, attestd.ClassForbidden)
	w.refused(w.get(blue, "decisions/replay?tenant=*"), http.StatusNotFound, attestd.ClassForbidden)
}

func TestAReplaySaysWhatItCameTo(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Viewer)
	var one, all wire.Replayed
	w.read(w.get(blue, "decisions/replay?id="+blueDecision), &one)
	if one.Verdict != "different" || one.Different != 1 || len(one.Changed) != 1 {
		t.Errorf("one: %+v", one)
	}
	w.read(w.get(blue, "decisions/replay"), &all)
	if all.Verdict != "same" || all.Same != 3 || strings.Contains(all.Next, ":") {
		t.Errorf("all: %+v", all)
	}
}

func TestQuestionsAboutDecisionsThatAreNone(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Viewer)
	w.parts.since()
	for _, query := range []string{
		"decision", "decisions?reason=because", "decisions?decision=maybe", "decisions?oldest=1",
		"decisions?since=yesterday", "decisions?until=1", "decisions?after=7:123456", "decisions?limit=0",
		"decisions?limit=1001", "decisions/replay?limit=201", "decisions?x=y",
	} {
		w.refused(w.get(blue, query), http.StatusBadRequest, attestd.ClassMalformed)
	}
	if asked := w.parts.since(); len(asked) != 0 {
		t.Errorf("the records were asked: %q", asked)
	}
}

func TestWithoutDecisionsThereAreNone(t *testing.T) {
	w := newWorld(t)
	must(t, w.close())
	w.config.Decisions, w.config.Registerer = nil, prometheus.NewRegistry()
	handler, err := admin.New(w.config)
	must(t, err)
	w.serve(handler)
	blue := w.named("vera", "blue", operator.Viewer)
	for _, path := range []string{"decisions", "decision?id=" + blueDecision, "decisions/replay"} {
		w.refused(w.get(blue, path), http.StatusNotFound, attestd.ClassConfig)
	}
}
