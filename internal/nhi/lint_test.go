package nhi_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/nhi"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestLintSaysWhatIsWrong(t *testing.T) {
	attested := nhi.Seen{Attested: true, Tenant: "blue", AttestedAt: noon}
	known := func(policy string) bool { return policy == "standard" }
	for _, row := range []struct {
		name   string
		change func(*nhi.Record, *nhi.Seen)
		want   []nhi.FindingCode
	}{
		{"nothing", func(*nhi.Record, *nhi.Seen) {}, nil},
		{"another tenant than its hardware", func(_ *nhi.Record, s *nhi.Seen) { s.Tenant = "green" },
			[]nhi.FindingCode{nhi.FindingConflict}},
		{"hardware of nobody", func(_ *nhi.Record, s *nhi.Seen) { s.Tenant = "" }, nil},
		{"no tenant", func(r *nhi.Record, _ *nhi.Seen) { r.Tenant = "" }, []nhi.FindingCode{nhi.FindingNoTenant}},
		{"no owner", func(r *nhi.Record, _ *nhi.Seen) { r.Owner = "" }, []nhi.FindingCode{nhi.FindingNoOwner}},
		{"no purpose", func(r *nhi.Record, _ *nhi.Seen) { r.Purpose = "" }, []nhi.FindingCode{nhi.FindingNoPurpose}},
		{"no zone", func(r *nhi.Record, _ *nhi.Seen) { r.Zone = "" }, []nhi.FindingCode{nhi.FindingNoZone}},
		{"no policy", func(r *nhi.Record, _ *nhi.Seen) { r.Policy = "" }, []nhi.FindingCode{nhi.FindingNoPolicy}},
		{"a policy that is not in force", func(r *nhi.Record, _ *nhi.Seen) { r.Policy = "strict" },
			[]nhi.FindingCode{nhi.FindingBadPolicy}},
		{"a permanent credential", func(r *nhi.Record, _ *nhi.Seen) { r.Credential = nhi.CredentialPermanent },
			[]nhi.FindingCode{nhi.FindingPermanent}},
		{"every tool", func(r *nhi.Record, _ *nhi.Seen) { r.Tools = []string{"*", "x"} },
			[]nhi.FindingCode{nhi.FindingBoundless}},
		{"every dataset", func(r *nhi.Record, _ *nhi.Seen) { r.Datasets = []string{"*"} },
			[]nhi.FindingCode{nhi.FindingBoundless}},
		{"never seen", func(_ *nhi.Record, s *nhi.Seen) { *s = nhi.Seen{} }, []nhi.FindingCode{nhi.FindingNeverSeen}},
		{"attested no more", func(_ *nhi.Record, s *nhi.Seen) { s.Attested = false },
			[]nhi.FindingCode{nhi.FindingNotAttested}},
		{"not to be told", func(_ *nhi.Record, s *nhi.Seen) { *s = nhi.Seen{Unknown: true} }, nil},
		{"no SPIFFE ID, which nothing can stand behind", func(r *nhi.Record, s *nhi.Seen) {
			r.ID, *s = "github:a", nhi.Seen{}
		}, nil},
		{"retired, and nothing of it matters", func(r *nhi.Record, s *nhi.Seen) {
			*r, *s = nhi.Record{ID: r.ID, Lifecycle: nhi.LifecycleRetired, Credential: nhi.CredentialPermanent}, nhi.Seen{}
		}, nil},
		{"retired, and in use", func(r *nhi.Record, _ *nhi.Seen) { r.Lifecycle = nhi.LifecycleRetired },
			[]nhi.FindingCode{nhi.FindingRetired}},
	} {
		record, seen := ragRecord("spire"), attested
		row.change(&record, &seen)
		var got []nhi.FindingCode
		for _, one := range record.Lint(seen, known) {
			got = append(got, one.Code)
			if one.ID != record.ID || one.Tenant != record.Tenant {
				t.Errorf("%s: %+v", row.name, one)
			}
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
	strict := ragRecord("spire")
	strict.Policy = "strict"
	if found := strict.Lint(attested, nil); found != nil {
		t.Errorf("without policies to compare with: %v", found)
	}
}

// TestEveryFindingIsExplained: with what it means and what to do.
func TestEveryFindingIsExplained(t *testing.T) {
	seen := map[nhi.FindingCode]bool{}
	for _, spec := range nhi.FindingSpecs() {
		if seen[spec.Code] || spec.Meaning == "" || spec.Remedy == "" {
			t.Errorf("%+v", spec)
		}
		seen[spec.Code] = true
	}
	if len(seen) != 13 {
		t.Errorf("%d findings", len(seen))
	}
}

func TestAReportCounts(t *testing.T) {
	var tally nhi.Tally
	add := func(seen nhi.Seen, change func(*nhi.Record)) {
		record := ragRecord("spire")
		record.Updated = noon
		change(&record)
		tally.Add(&record, seen, record.Lint(seen, nil))
	}
	good := nhi.Seen{Attested: true, Tenant: "blue", AttestedAt: noon}
	add(good, func(*nhi.Record) {})
	add(good, func(r *nhi.Record) { r.ID, r.Policy, r.Updated = "spiffe://example.org/b", "", noon.Add(-time.Hour) })
	add(nhi.Seen{}, func(r *nhi.Record) { r.ID, r.Credential, r.Tenant = "github:a", nhi.CredentialPermanent, "" })
	add(nhi.Seen{}, func(r *nhi.Record) { r.ID, r.Credential = "spiffe://example.org/c", "" })
	add(nhi.Seen{}, func(r *nhi.Record) { r.ID, r.Lifecycle = "spiffe://example.org/d", nhi.LifecycleRetired })
	tally.Unrecorded(nhi.Finding{Code: nhi.FindingUnrecorded, ID: "spiffe://example.org/e"})
	got := tally.Report(noon)
	want := nhi.Report{
		Schema: nhi.ReportSchema, At: noon, Records: 5, Retired: 1,
		Kinds:       []nhi.Count{{Name: "spiffe", Count: 3}, {Name: "github", Count: 1}},
		Purposes:    []nhi.Count{{Name: "retrieval", Count: 4}},
		Zones:       []nhi.Count{{Name: "semi-trusted", Count: 4}},
		Tenants:     []nhi.Count{{Name: "blue", Count: 3}, {Name: "", Count: 1}},
		Credentials: []nhi.Count{{Name: "attested", Count: 2}, {Name: "", Count: 1}, {Name: "permanent", Count: 1}},
		Lifecycles:  []nhi.Count{{Name: "active", Count: 4}, {Name: "retired", Count: 1}},
		Findings: []nhi.Count{
			{Name: "unrecorded", Count: 1}, {Name: "permanent-credential", Count: 1}, {Name: "no-tenant", Count: 1},
			{Name: "no-policy", Count: 1}, {Name: "never-seen", Count: 1},
		},
		Permanent: 33.3, Unclassified: 1, Unbound: 1, Unattested: 1, Unrecorded: 1,
		Oldest: []nhi.Dated{
			{ID: "spiffe://example.org/b", Tenant: "blue", At: noon.Add(-time.Hour)}, {ID: "github:a", At: noon},
			{ID: "spiffe://example.org/agent/rag", Tenant: "blue", At: noon}, {ID: "spiffe://example.org/c", Tenant: "blue", At: noon},
		},
		Stalest: []nhi.Dated{
			{ID: "spiffe://example.org/agent/rag", Tenant: "blue", At: noon}, {ID: "spiffe://example.org/b", Tenant: "blue", At: noon},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAReportIsBounded: the ten oldest, and no more names than people read.
func TestAReportIsBounded(t *testing.T) {
	var tally nhi.Tally
	for i := range 1000 {
		record := nhi.Record{ID: "github:a", Tenant: fmt.Sprint("t", i), Updated: noon.Add(time.Duration(i*7919%1000) * time.Hour)}
		tally.Add(&record, nhi.Seen{}, nil)
	}
	got := tally.Report(noon)
	if len(got.Tenants) != 201 || got.Tenants[0] != (nhi.Count{Name: "(others)", Count: 800}) {
		t.Errorf("%d tenants, %+v", len(got.Tenants), got.Tenants[0])
	}
	for i, one := range got.Oldest {
		if !one.At.Equal(noon.Add(time.Duration(i)*time.Hour)) || len(got.Oldest) != 10 {
			t.Errorf("%d of %d is of %s", i, len(got.Oldest), one.At)
		}
	}
}
