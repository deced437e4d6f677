package admin_test

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// neg: 188
func TestPoliciesOfOtherTenantsAreNotNamed(t *testing.T) {
	w := newWorld(t)
	rows := map[string][]string{
		"blue": {"production sha256:9f2c41d7", "blue=lax sha256:b1"},
		"*":    {"production sha256:9f2c41d7", "blue=lax sha256:b1", "green=strict sha256:91"},
	}
	for tenant, want := range rows {
		var status wire.Status
		w.read(w.get(w.named("vera-"+strconv.Itoa(len(tenant)), tenant, operator.Viewer), "status"), &status)
		if !slices.Equal(status.Policies, want) {
			t.Errorf("tenant %s is told of %q, want %q", tenant, status.Policies, want)
		}
	}
}

// TestHoldsOfOtherTenantsAreNotTimed: the table of channels changes with each hold, and so tells when
// somebody else had an incident.
func TestHoldsOfOtherTenantsAreNotTimed(t *testing.T) {
	w := newWorld(t)
	blue, green := w.named("vera", "blue", operator.Viewer), w.named("gina", "green", operator.Security)
	got := w.post(green, "quarantine", wire.Order{Target: greenID, Reason: "exfil alert"})
	if got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	var status wire.Status
	w.read(w.get(blue, "status"), &status)
	if len(status.Channels) != 0 {
		t.Errorf("blue sees green's hold: %+v", status.Channels)
	}
	for name, as := range map[string]asker{"green": green, "all tenants": w.root()} {
		w.read(w.get(as, "status"), &status)
		if len(status.Channels) != 1 || status.Channels[0].After != 800 || status.Channels[0].Detail != "" {
			t.Errorf("%s sees %+v", name, status.Channels)
		}
	}
}

// TestHistoryDoesNotTellOfEarlierOwners: a cursor behind which nothing can be seen says that a subject
// had a life with somebody else.
func TestHistoryDoesNotTellOfEarlierOwners(t *testing.T) {
	w := newWorld(t)
	blue := w.named("vera", "blue", operator.Viewer)
	id := "spiffe://example.org/agent/b1"
	path := "subject/history?limit=1&id=" + url.QueryEscape(id)
	var page wire.History
	w.read(w.get(blue, path), &page)
	if len(page.Events) != 1 || page.Next != "" {
		t.Errorf("the one event that is blue's comes with %d events and the cursor %q", len(page.Events), page.Next)
	}
	// Blue, then green's, then blue's again: the older one of blue is not cut off.
	w.parts.mu.Lock()
	w.parts.events = append(w.parts.events, subject.Event{Number: 0, ID: subject.ID(id), Tenant: "blue", Kind: "first"})
	w.parts.mu.Unlock()
	var whole wire.History
	w.read(w.get(blue, path), &page)
	w.read(w.get(blue, "subject/history?limit=2&id="+url.QueryEscape(id)), &whole)
	if page.Next != "2" || len(whole.Events) != 2 || whole.Next != "" {
		t.Errorf("next %q; then %d events and next %q", page.Next, len(whole.Events), whole.Next)
	}
}

// TestCommitsOfAllAreNotCounted: the generation of an ownership is the number of a commit of the store,
// and its growth how much everybody does.
func TestCommitsOfAllAreNotCounted(t *testing.T) {
	w := newWorld(t)
	as := map[string]asker{"blue": w.named("olga", "blue", operator.Operator), "": w.root()}
	for tenant, one := range as {
		var listed wire.Enrolments
		w.read(w.get(one, "enrolments"), &listed)
		var imported wire.Imported
		w.read(w.post(one, "enrolments/import", wire.Import{Kind: "csv", Tenant: "blue", Source: "a"}), &imported)
		found := []uint64{listed.Enrolments[0].Generation, imported.Entries[0].Generation}
		for _, what := range []string{"approve", "deny", "remove"} {
			var done wire.Decided
			w.read(w.post(one, "enrolments/"+what, wire.Decide{Key: "instance:n1"}), &done)
			found = append(found, done.Enrolment.Generation)
		}
		want := []uint64{145, 146, 147, 147, 147}
		if tenant != "" {
			want = make([]uint64, len(want))
		}
		if !slices.Equal(found, want) {
			t.Errorf("for tenant %q the generations are %d, want %d", tenant, found, want)
		}
	}
}
