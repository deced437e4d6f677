package admin_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
)

const (
	greenID = "spiffe://example.org/agent/g1"
	noID    = "spiffe://example.org/agent/zz"
)

// neg: 188
func TestAnotherTenantsThingsAreNotThere(t *testing.T) {
	w := newWorld(t)
	viewer, runner := w.named("vera", "blue", operator.Viewer), w.named("olga", "blue", operator.Operator)
	guard, issuer := w.named("sina", "blue", operator.Security), w.named("ivo", "blue", operator.Issuer)
	all := w.named("vall", "*", operator.Viewer)
	var subject wire.Subject
	w.read(w.ask(all, http.MethodGet, "/v1/admin/subject?id="+url.QueryEscape(greenID), nil), &subject)
	if subject.Tenant != "green" {
		t.Fatal("who may act for all tenants does not see green's subject")
	}
	// Each row is asked for green's thing and for one that nobody has: nothing may tell them apart.
	rows := []struct {
		name         string
		as           asker
		path         string
		theirs, none string
		body         bool
	}{
		{name: "a subject by its id", as: viewer, path: "subject?id=%s", theirs: greenID, none: noID},
		{name: "a subject by its instance", as: viewer, path: "subject?id=%s", theirs: "cccccc", none: "dddddd"},
		{name: "its history", as: viewer, path: "subject/history?id=%s", theirs: "cccccc11", none: "dddddd11"},
		{name: "subjects of a tenant", as: viewer, path: "subjects?tenant=%s", theirs: "green", none: "violet"},
		{name: "enrolments of a tenant", as: viewer, path: "enrolments?tenant=%s", theirs: "green", none: "violet"},
		{name: "a grant", as: issuer, path: "grants", theirs: greenID, none: noID, body: true},
		{name: "an import for a tenant", as: runner, path: "enrolments/import", theirs: "green", none: "violet",
			body: true},
		{name: "a token for a tenant", as: runner, path: "enrolments/tokens", theirs: "green", none: "violet",
			body: true},
		{name: "an approval for a tenant", as: runner, path: "enrolments/approve", theirs: "green", none: "violet",
			body: true},
		{name: "a re-appraisal of a tenant", as: runner, path: "reappraisals", theirs: "green", none: "violet",
			body: true},
		{name: "a quarantine of a tenant's name", as: guard, path: "quarantine", theirs: "green", none: "violet",
			body: true},
		{name: "an operator's end", as: guard, path: "operators/revoke", theirs: "vall", none: "nobody", body: true},
	}
	bodies := map[string]string{
		"grants":             `{"id":%q,"seconds":60,"for":"x509-svid"}`,
		"enrolments/import":  `{"kind":"csv","tenant":%q,"document":"YQ==","source":"a"}`,
		"enrolments/tokens":  `{"tenant":%q,"formats":["tpm"],"seconds":60}`,
		"enrolments/approve": `{"key":"instance:cccccc11","tenant":%q}`, "reappraisals": `{"dry_run":true,"tenant":%q}`,
		"quarantine": `{"target":"spiffe://example.org/x","reason":"r","tenant":%q}`, "operators/revoke": `{"name":%q}`,
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w.TB = t
			ask := func(what string) (said, []string) {
				w.parts.since()
				if row.body {
					return w.post(row.as, row.path, fmt.Sprintf(bodies[row.path], what)), w.parts.since()
				}
				return w.get(row.as, fmt.Sprintf(row.path, url.QueryEscape(what))), w.parts.since()
			}
			theirs, askedTheirs := ask(row.theirs)
			none, askedNone := ask(row.none)
			if theirs.status != http.StatusNotFound && row.path != "grants" {
				t.Errorf("green's thing is answered with %d %s", theirs.status, theirs.body)
			}
			if row.path == "grants" {
				w.refused(theirs, http.StatusForbidden, attestd.ClassPolicyDeny)
			} else {
				w.refused(theirs, http.StatusNotFound, attestd.ClassForbidden)
			}
			same := bytes.ReplaceAll(theirs.body, []byte(row.theirs), []byte(row.none))
			if theirs.status != none.status || !bytes.Equal(same, none.body) {
				t.Errorf("green's thing is answered with\n%s\nwhat nobody has with\n%s", theirs.body, none.body)
			}
			// The same work, too: the parts behind are asked alike, for blue alone.
			if !slices.Equal(askedTheirs, askedNone) {
				t.Errorf("for green's thing the parts are asked %q, for what nobody has %q", askedTheirs, askedNone)
			}
			if text := strings.Join(askedTheirs, " "); strings.Contains(text, "green") || strings.Contains(text, "[*]") {
				t.Errorf("a part was asked beyond blue: %q", askedTheirs)
			}
		})
	}
}

var cursors = regexp.MustCompile(`"next":"[^"]*"`)

// neg: 188
func TestListsHaveTheAskersTenantsAlone(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Security)
	w.named("gustav", "green", operator.Viewer)
	for _, row := range admin.Rows() {
		if row.Method != http.MethodGet || row.Shared {
			continue
		}
		got := w.carryOut(blue, row)
		if got.status != http.StatusOK {
			t.Errorf("%s: %d %s", row.Path, got.status, got.body)
		}
		// A place to read on from is encrypted, so that its letters are any.
		body := cursors.ReplaceAllLiteral(got.body, []byte(`"next":""`))
		for _, secret := range []string{"green", "g1", "cccccc", "gustav", "GREEN-1", "n2"} {
			if bytes.Contains(body, []byte(secret)) {
				t.Errorf("%s shows blue %q: %s", row.Path, secret, got.body)
			}
		}
	}
	for _, asked := range w.parts.since() {
		if strings.Contains(asked, "*") || strings.Contains(asked, "green") {
			t.Errorf("a part was asked beyond blue: %s", asked)
		}
	}
	var shown wire.Subject
	w.read(w.get(blue, "subject?id=aaaaaa11"), &shown)
	if len(shown.Bars) != 2 || shown.Bars[0].By != "" || shown.Bars[0].Reason != "" || shown.Bars[1].By != "bertha" ||
		shown.Bars[0].State != attestd.StateQuarantined {
		t.Errorf("bars are shown as %+v", shown.Bars)
	}
	var events wire.History
	w.read(w.get(blue, "subject/history?id=aaaaaa11&limit=2"), &events)
	if len(events.Events) != 1 || events.Next != "" {
		t.Errorf("history is %+v", events)
	}
}

// neg: 168, 188
func TestMetricsNameNobody(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Viewer)
	w.get(blue, "subjects?tenant=violet")
	for i := range 50 {
		w.ask(blue, http.MethodGet, fmt.Sprintf("/v1/admin/made-up-%d", i), nil)
		w.ask(w.local("x"), fmt.Sprintf("M%d", i), "/v1/admin/status", nil)
	}
	families, err := w.registry.Gather()
	must(t, err)
	series := 0
	for _, family := range families {
		for _, metric := range family.Metric {
			series++
			if text := metric.String(); strings.Contains(text, "blue") || strings.Contains(text, "violet") ||
				strings.Contains(text, "vera") || strings.Contains(text, "made-up") || strings.Contains(text, "127.0.0.1") {
				t.Errorf("a metric names somebody: %s", text)
			}
		}
	}
	if series == 0 || series > 20 {
		t.Errorf("%d series after requests of two kinds", series)
	}
}

func TestFiltersAreRead(t *testing.T) {
	w := newWorld(t)
	all := w.named("vera", "*", operator.Viewer)
	w.parts.since()
	w.read(w.get(all, "subjects?tenant=blue&state=trusted,suspect&tier=low&format=tpm&limit=7&overdue=true"),
		new(wire.Subjects))
	want := "subjects [blue] state [trusted suspect] tier [low] format tpm limit 7 overdue true"
	if asked := w.parts.since(); len(asked) != 1 || asked[0] != want {
		t.Errorf("asked %q, want %q", asked, want)
	}
	for _, query := range []string{
		"state=happy", "tier=5", "format=sgx", "limit=0", "limit=1001", "limit=-1", "limit=07", "limit=x", "overdue=yes",
		"tenant=", "tenant=blue&tenant=blue", "colour=red", "host=%00", "text=%1b%5b31m", "text=%ff", "text=%e2%80%ae",
		"text=" + strings.Repeat("a", 4<<10), "state=" + strings.Repeat("trusted,", 16) + "trusted", "a;b", "%zz",
	} {
		w.refused(w.get(all, "subjects?"+query), http.StatusBadRequest, attestd.ClassMalformed)
	}
	w.refused(w.ask(all, http.MethodGet, "/v1/admin/subjects?text="+strings.Repeat("a", 9<<10), nil),
		http.StatusRequestEntityTooLarge, attestd.ClassTooLarge)
	w.refused(w.get(all, "enrolments?status=lost"), http.StatusBadRequest, attestd.ClassMalformed)
	w.refused(w.get(all, "subject?id=aaaaaa"), http.StatusConflict, attestd.ClassConflict)
	for _, path := range []string{
		"subject", "subject/history", "why", "reappraisals", "subject/history?id=aaaaaa11&after=-1",
	} {
		w.refused(w.get(all, path), http.StatusBadRequest, attestd.ClassMalformed)
	}
	w.refused(w.get(all, "reappraisals?id=r2"), http.StatusNotFound, attestd.ClassForbidden)
	if asked := strings.Join(w.parts.since(), " "); strings.Contains(asked, "subjects") {
		t.Errorf("a refused filter reached the store: %s", asked)
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	guard := w.named("sina", "*", operator.Security)
	var before, after wire.Status
	w.read(w.get(guard, "status"), &before)
	w.post(guard, "quarantine", `{"target":"aaaaaa11","reason":"r","dry_run":true}`)
	w.read(w.get(guard, "status"), &after)
	if len(after.Channels) != 0 {
		t.Errorf("a dry run counts as an effect: %+v", after.Channels)
	}
	w.post(guard, "quarantine", `{"target":"aaaaaa11","reason":"r"}`)
	w.read(w.get(guard, "status"), &after)
	if len(after.Channels) != 1 || after.Channels[0].After != 800 || after.Channels[0].Detail != "" {
		t.Errorf("channels are %+v", after.Channels)
	}
	if !before.Ready || before.Version != "0.0.1" || before.Pending != 2 || before.States["trusted"] != 1 ||
		len(before.Conditions) != 1 || before.Conditions[0].Detail != "3 of tenant green" ||
		before.Conditions[0].Severity != "failure" || before.Conditions[0].Fix == "" ||
		before.Now.Sub(w.clock()).Abs() > time.Hour {
		t.Errorf("the status is %+v", before)
	}
}
