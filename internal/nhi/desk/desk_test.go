package desk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/nhi/desk"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

const rag, eval = "spiffe://example.org/agent/rag", "spiffe://example.org/agent/eval"

// world is a desk on a real store, with hardware that the test says.
type world struct {
	*testing.T
	store    *registry.Store
	book     *nhi.Book
	desk     *desk.Desk
	stands   map[string]decision.Standing
	attested []string
	policies []string
	blind    bool // names of policies cannot be told
	meddle   func()
}

// meddling changes records between the look and the write.
type meddling struct{ *world }

func (m meddling) FindRecord(ctx context.Context, tenants []string, id string) (nhi.Record, bool, error) {
	return m.store.FindRecord(ctx, tenants, id)
}

func (m meddling) Records(ctx context.Context, filter nhi.Filter) ([]nhi.Record, string, error) {
	return m.store.Records(ctx, filter)
}

func (m meddling) RecordsAs(ctx context.Context, ids []string) ([]nhi.Record, error) {
	return m.store.RecordsAs(ctx, ids)
}

func (m meddling) WriteRecords(ctx context.Context, write nhi.Write) error {
	if m.meddle != nil {
		m.meddle()
	}
	return m.store.WriteRecords(ctx, write)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, book: nhi.NewBook(), stands: map[string]decision.Standing{}, policies: []string{"standard"}}
	var err error
	w.store, err = registry.Open(t.Context(), registry.Config{
		Path: filepath.Join(t.TempDir(), "attestd.db"), Clock: registry.SystemClock(), Inventory: w.book,
		Limits: registry.Limits{Outstanding: 9, PerTenant: 9, PerSource: 9, Appraisals: 9, KeepAppraisals: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	w.desk, err = desk.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) config() desk.Config {
	return desk.Config{
		Store: meddling{w}, Tenants: []string{"blue", "green"}, Now: w.store.Now,
		Stands: func(id subject.ID, _ time.Time) decision.Standing { return w.stands[string(id)] },
		Attested: func(context.Context) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				for _, id := range w.attested {
					if !yield(id, nil) {
						return
					}
				}
			}
		},
		Policies: func() ([]string, bool) { return w.policies, !w.blind },
	}
}

func somebody(tenants ...string) operator.Principal {
	return operator.Principal{Name: "ann", Via: operator.ViaToken, Roles: operator.Roles(), Tenants: tenants}
}

var (
	all   = somebody("*")
	blue  = somebody("blue")
	green = somebody("green")
	both  = somebody("blue", "green")
)

// take imports records as somebody and demands that it is done.
func (w *world) take(who operator.Principal, records ...nhi.Record) wire.RecordsChanged {
	w.Helper()
	done, err := w.desk.Import(w.Context(), who, wire.RecordsImport{Records: records, Source: "a.yaml"})
	if err != nil || len(done.Problems) > 0 {
		w.Fatalf("%+v %v", done, err)
	}
	return done
}

func whole(id, tenant string) nhi.Record {
	return nhi.Record{
		ID: id, Tenant: tenant, Owner: "team", Purpose: nhi.PurposeRetrieval, Zone: nhi.ZoneTrusted, Policy: "standard",
		Credential: nhi.CredentialAttested, Lifecycle: nhi.LifecycleActive, Source: "file:a.yaml",
	}
}

func TestAnImportIsShownAndThenCarriedOut(t *testing.T) {
	w := newWorld(t)
	ask := wire.RecordsImport{Source: "a.yaml", DryRun: true, Records: []nhi.Record{
		{ID: rag, Tenant: "blue", Tools: []string{"b", "a", "b"}}, {ID: "github:acme/train.yml"},
	}}
	size := w.store.AuditTree().Size()
	seen, err := w.desk.Import(t.Context(), all, ask)
	if err != nil || seen.Added != 2 || w.book.Len() != 0 || w.store.AuditTree().Size() != size {
		t.Fatalf("a dry run: %+v %v, %d records", seen, err, w.book.Len())
	}
	ask.DryRun = false
	done, err := w.desk.Import(t.Context(), all, ask)
	seen.DryRun = false
	if diff := cmp.Diff(seen, done); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	got, there := w.book.Record(rag)
	if !there || !slices.Equal(got.Tools, []string{"a", "b"}) || got.Lifecycle != nhi.LifecycleEnrolled ||
		got.Generation != 1 || got.Updated.IsZero() || got.Source != "operator" {
		t.Errorf("got %+v", got)
	}
	entries := w.entries(size)
	if len(entries) != 2 || entries[0].Tenant != "*" || entries[1].Tenant != "blue" || entries[1].Action != "subject.import" ||
		entries[1].Actor != "ann" || entries[1].Target != "a.yaml" || entries[1].Detail["records"] != "1" ||
		len(entries[1].Detail["sha256"]) != 64 {
		t.Errorf("%+v", entries)
	}
	// The same again changes nothing, and writes nothing down.
	if done := w.take(all, ask.Records...); done.Same != 2 || len(w.entries(size)) != 2 {
		t.Errorf("%+v", done)
	}
}

// entries returns what is in the audit log from a place on.
func (w *world) entries(from int64) (list []audit.Record) {
	w.Helper()
	leaves, _, err := w.store.AuditEntries(w.Context(), from, 100)
	if err != nil {
		w.Fatal(err)
	}
	for _, leaf := range leaves {
		var one audit.Record
		if err := json.Unmarshal(leaf, &one); err != nil {
			w.Fatal(err)
		}
		list = append(list, one)
	}
	return list
}

// TestWhatARecordLeavesEmptyStays: a list that a machine made knows nothing of owners.
func TestWhatARecordLeavesEmptyStays(t *testing.T) {
	w := newWorld(t)
	first := whole(rag, "blue")
	first.Project, first.Stage, first.Ring = "search", "ranking", "stable"
	first.Tools, first.Datasets, first.Lifecycle = []string{"a"}, []string{"b"}, nhi.LifecycleRetired
	w.take(all, first)
	done := w.take(all, nhi.Record{ID: rag, Credential: nhi.CredentialShortLived, Source: "spire:e.json"})
	want := []wire.RecordField{{Field: "credential", Was: "attested", Is: "short-lived"}}
	if len(done.Changes) != 1 || !slices.Equal(done.Changes[0].Fields, want) {
		t.Errorf("%+v", done)
	}
	got, _ := w.book.Record(rag)
	first.Credential, first.Source = nhi.CredentialShortLived, "spire:e.json"
	first.Generation, first.Updated = 2, got.Updated
	if diff := cmp.Diff(&first, got); diff != "" {
		t.Error(diff)
	}
	// One that is the whole record empties what it leaves out.
	if _, err := w.desk.Import(t.Context(), all, wire.RecordsImport{
		Source: "a.yaml", Whole: true, Records: []nhi.Record{{ID: rag, Tenant: "blue", Source: "x"}},
	}); err != nil {
		t.Fatal(err)
	}
	got, _ = w.book.Record(rag)
	want2 := &nhi.Record{
		ID: rag, Tenant: "blue", Source: "x", Lifecycle: nhi.LifecycleEnrolled, Generation: 3, Updated: got.Updated,
	}
	if diff := cmp.Diff(want2, got); diff != "" {
		t.Error(diff)
	}
}

// neg: 188
func TestNobodyWritesForAnotherTenant(t *testing.T) {
	w := newWorld(t)
	w.take(green, whole(eval, ""))
	w.take(all, nhi.Record{ID: "github:nobodys"})
	w.stands["spiffe://example.org/agent/theirs"] = decision.Standing{Attested: true, Tenant: "green"}
	for name, row := range map[string]struct {
		who    operator.Principal
		record nhi.Record
		says   string
	}{
		"a record of green":        {blue, nhi.Record{ID: eval, Owner: "me"}, "not yours to write"},
		"in another spelling":      {blue, nhi.Record{ID: "spiffe://example.org/agent/EVAL"}, "not yours to write"},
		"a record of nobody":       {blue, nhi.Record{ID: "github:nobodys"}, "not yours to write"},
		"for green":                {blue, nhi.Record{ID: rag, Tenant: "green"}, "or not yours"},
		"for nobody that is there": {blue, nhi.Record{ID: rag, Tenant: "none"}, "or not yours"},
		"of two tenants, for none": {both, nhi.Record{ID: rag}, "or not yours"},
		"what is attested as green's": {blue, nhi.Record{ID: "spiffe://example.org/agent/theirs"},
			"not yours to write"},
		"by all, for nobody that is there": {all, nhi.Record{ID: rag, Tenant: "none"}, "there is no tenant"},
	} {
		done, err := w.desk.Import(t.Context(), row.who, wire.RecordsImport{
			Source: "a.yaml", Records: []nhi.Record{{ID: "github:mine", Tenant: row.who.Tenants[0]}, row.record},
		})
		if row.who.Tenants[0] == "*" {
			done.Problems = slices.DeleteFunc(done.Problems, func(text string) bool { return strings.Contains(text, "github:mine") })
		}
		if err != nil || len(done.Problems) != 1 || !strings.Contains(done.Problems[0], row.says) || done.Added != 0 {
			t.Errorf("%s: %+v %v", name, done, err)
		}
		if _, there := w.book.Record("github:mine"); there {
			t.Fatalf("%s: a part was taken up", name)
		}
	}
	got, _ := w.book.Record(eval)
	if got.Tenant != "green" || got.Owner != "team" {
		t.Errorf("got %+v", got)
	}
	for _, order := range []func(context.Context, operator.Principal, wire.RecordOrder) (wire.RecordsChanged, error){
		w.desk.Retire, w.desk.Remove,
	} {
		for _, id := range []string{eval, "github:nobodys", "github:none"} {
			if _, err := order(t.Context(), blue, wire.RecordOrder{ID: id}); !errors.Is(err, desk.ErrNone) {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	// Whoever acts for all settles whose it is.
	w.take(all, nhi.Record{ID: eval, Tenant: "blue"})
	if got, _ := w.book.Record(eval); got.Tenant != "blue" {
		t.Errorf("got %+v", got)
	}
}

// neg: 188
func TestNobodySeesAnotherTenantsRecords(t *testing.T) {
	w := newWorld(t)
	w.take(all, whole(rag, "blue"), whole(eval, "green"), nhi.Record{ID: "github:nobodys"})
	w.stands[rag] = decision.Standing{Attested: true, Tenant: "green", AttestedAt: w.store.Now()}
	w.attested = []string{
		rag, "spiffe://example.org/agent/Eval", "spiffe://example.org/agent/b", "spiffe://example.org/agent/g",
		"spiffe://example.org/agent/nobodys", "spiffe://example.org/agent/unattested",
	}
	w.stands["spiffe://example.org/agent/b"] = decision.Standing{Attested: true, Tenant: "blue"}
	w.stands["spiffe://example.org/agent/g"] = decision.Standing{Attested: true, Tenant: "green"}
	w.stands["spiffe://example.org/agent/nobodys"] = decision.Standing{Attested: true}
	w.stands["spiffe://example.org/agent/Eval"] = decision.Standing{Attested: true, Tenant: "green"}

	for id, who := range map[string]operator.Principal{eval: blue, "github:nobodys": blue, "github:none": all} {
		if _, err := w.desk.Find(t.Context(), who, id); !errors.Is(err, desk.ErrNone) {
			t.Errorf("%s: %v", id, err)
		}
	}
	one, err := w.desk.Find(t.Context(), blue, rag)
	if err != nil || one.Seen.Tenant != "" || !one.Seen.Attested || len(one.Findings) != 1 ||
		one.Findings[0].Detail != "the hardware is another tenant's" {
		t.Errorf("%+v %v", one, err)
	}
	if one, err := w.desk.Find(t.Context(), all, rag); err != nil || one.Seen.Tenant != "green" ||
		one.Findings[0].Detail != "the hardware is green's" {
		t.Errorf("%+v %v", one, err)
	}
	page, err := w.desk.List(t.Context(), blue, nhi.Filter{Tenants: blue.Tenants, Limit: 9})
	if err != nil || len(page.Records) != 1 || page.Records[0].ID != rag {
		t.Errorf("%+v %v", page, err)
	}

	for _, row := range []struct {
		who  operator.Principal
		want string
	}{
		{blue, "1 records: tenant-conflict " + rag + ", unrecorded spiffe://example.org/agent/b"},
		{green, "1 records: never-seen " + eval + ", unrecorded spiffe://example.org/agent/g"},
		{all, "3 records: no-tenant github:nobodys, no-policy github:nobodys, no-purpose github:nobodys, " +
			"no-owner github:nobodys, no-zone github:nobodys, never-seen " + eval + ", tenant-conflict " + rag +
			", unrecorded spiffe://example.org/agent/b, unrecorded spiffe://example.org/agent/g, " +
			"unrecorded spiffe://example.org/agent/nobodys"},
	} {
		found, err := w.desk.Lint(t.Context(), row.who, row.who.Tenants)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, one := range found.Findings {
			got = append(got, string(one.Code)+" "+one.ID)
		}
		if text := fmt.Sprintf("%d records: %s", found.Records, strings.Join(got, ", ")); text != row.want || found.More != 0 {
			t.Errorf("%v sees\n%s\nwant\n%s", row.who.Tenants, text, row.want)
		}
		counted, err := w.desk.Report(t.Context(), row.who, row.who.Tenants)
		if err != nil || counted.Records != found.Records || !slices.Equal(counted.Findings, found.Counts) ||
			!counted.PoliciesKnown {
			t.Errorf("%+v %v", counted, err)
		}
	}
}

func TestImportsThatAreNone(t *testing.T) {
	w := newWorld(t)
	w.take(all, whole(rag, "blue"))
	for name, ask := range map[string]wire.RecordsImport{
		"no records":       {Source: "a.yaml"},
		"no source":        {Records: []nhi.Record{{ID: "github:a"}}},
		"too many records": {Source: "a.yaml", Records: make([]nhi.Record, desk.MaxRecords+1)},
	} {
		_, err := w.desk.Import(t.Context(), all, ask)
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed || caller.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for says, records := range map[string][]nhi.Record{
		"stands twice":                     {{ID: "github:a"}, {ID: "github:A"}},
		"is no purpose":                    {{ID: "github:a", Purpose: "No"}},
		"neither a SPIFFE ID":              {{ID: "a"}},
		"is missing":                       {{}},
		"the inventory spells it \"" + rag: {{ID: "spiffe://example.org/agent/RAG"}},
		"not its last character":           {{ID: "github:a", Tools: []string{"*x"}}},
	} {
		done, err := w.desk.Import(t.Context(), all, wire.RecordsImport{Source: "a.yaml", Records: records})
		if err != nil || len(done.Problems) == 0 || !strings.Contains(strings.Join(done.Problems, "\n"), says) {
			t.Errorf("%s: %+v %v", says, done, err)
		}
	}
	bad := make([]nhi.Record, 80)
	for i := range bad {
		bad[i] = nhi.Record{ID: fmt.Sprint("github:", i), Zone: "half"}
	}
	done, err := w.desk.Import(t.Context(), all, wire.RecordsImport{Source: "a.yaml", Records: bad})
	if err != nil || len(done.Problems) != 51 || done.Problems[50] != "and 30 more" {
		t.Errorf("%d problems, %v", len(done.Problems), err)
	}
}

func TestARecordIsRetiredAndRemoved(t *testing.T) {
	w := newWorld(t)
	w.take(all, whole(rag, "blue"))
	size := w.store.AuditTree().Size()
	dry, err := w.desk.Retire(t.Context(), blue, wire.RecordOrder{ID: rag, DryRun: true})
	if got, _ := w.book.Record(rag); err != nil || dry.Updated != 1 || got.Lifecycle != nhi.LifecycleActive {
		t.Errorf("%+v %v", dry, err)
	}
	done, err := w.desk.Retire(t.Context(), blue, wire.RecordOrder{ID: rag, Reason: "replaced"})
	if got, _ := w.book.Record(rag); err != nil || done.Updated != 1 || got.Lifecycle != nhi.LifecycleRetired {
		t.Errorf("%+v %v", done, err)
	}
	if again, err := w.desk.Retire(t.Context(), blue, wire.RecordOrder{ID: rag}); err != nil || again.Same != 1 {
		t.Errorf("%+v %v", again, err)
	}
	done, err = w.desk.Remove(t.Context(), blue, wire.RecordOrder{ID: rag, Reason: "gone"})
	if _, there := w.book.Record(rag); err != nil || done.Removed != 1 || there {
		t.Errorf("%+v %v", done, err)
	}
	var got []string
	for _, one := range w.entries(size) {
		got = append(got, one.Action+" "+one.Target+" "+one.Tenant+" "+one.Reason)
	}
	if want := []string{"subject.retire " + rag + " blue replaced", "subject.remove " + rag + " blue gone"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestWhatChangedMeanwhileIsLookedAtAgain: and given up where it never stands still.
func TestWhatChangedMeanwhileIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	w.take(all, whole(rag, "blue"))
	changes := 0
	other := func() {
		changes++
		now, _, err := w.store.FindRecord(t.Context(), []string{"*"}, rag)
		if err != nil {
			t.Fatal(err)
		}
		next := now
		next.Project = fmt.Sprint("p", changes)
		if err := w.store.WriteRecords(t.Context(), nhi.Write{
			Records: []nhi.RecordWrite{{ID: rag, Expect: now.Generation, Next: &next}},
			Audit:   []audit.Record{{At: w.store.Now(), Actor: "bob", Tenant: "blue", Action: "subject.import", Outcome: "done"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	w.meddle = func() {
		if changes == 0 {
			other()
		}
	}
	w.take(all, nhi.Record{ID: rag, Owner: "me"})
	if got, _ := w.book.Record(rag); got.Owner != "me" || got.Project != "p1" {
		t.Errorf("got %+v", got)
	}
	w.meddle = other
	_, err := w.desk.Import(t.Context(), all, wire.RecordsImport{Source: "a", Records: []nhi.Record{{ID: rag, Owner: "you"}}})
	var moved *subject.MovedError
	if !errors.As(err, &moved) {
		t.Errorf("got %v", err)
	}
	// A record that went over to another tenant meanwhile is not written any more.
	w.meddle = func() {
		w.meddle = nil
		w.take(all, nhi.Record{ID: rag, Tenant: "green"})
	}
	done, err := w.desk.Import(t.Context(), blue, wire.RecordsImport{Source: "a", Records: []nhi.Record{{ID: rag, Owner: "you"}}})
	if got, _ := w.book.Record(rag); err != nil || len(done.Problems) != 1 || got.Tenant != "green" || got.Owner != "me" {
		t.Errorf("%+v %v, there is %+v", done, err, got)
	}
}

// TestLintSaysWhatItCouldNotTell: names of policies that cannot be compared, and standings.
func TestLintSaysWhatItCouldNotTell(t *testing.T) {
	w := newWorld(t)
	w.take(all, whole(rag, "blue"))
	w.stands[rag] = decision.Standing{Fault: decision.CodeStateUnavailable}
	w.policies = nil
	found, err := w.desk.Lint(t.Context(), all, all.Tenants)
	if err != nil || !found.PoliciesKnown || len(found.Findings) != 1 || found.Findings[0].Code != nhi.FindingBadPolicy {
		t.Errorf("%+v %v", found, err)
	}
	w.blind = true
	found, err = w.desk.Lint(t.Context(), all, all.Tenants)
	if err != nil || found.PoliciesKnown || len(found.Findings) != 0 {
		t.Errorf("%+v %v", found, err)
	}
	if one, err := w.desk.Find(t.Context(), all, rag); err != nil || one.Seen.Known {
		t.Errorf("%+v %v", one, err)
	}
}

// TestLintOfManyIsCountedAndCut: 1,200 records on several pages.
func TestLintOfManyIsCountedAndCut(t *testing.T) {
	w := newWorld(t)
	records := make([]nhi.Record, 1200)
	for i := range records {
		records[i] = whole(fmt.Sprintf("github:acme/%04d", i), "blue")
		records[i].Owner, records[i].Credential = "", nhi.CredentialShortLived
		w.attested = append(w.attested, fmt.Sprintf("spiffe://example.org/agent/%d", i))
		w.stands[w.attested[i]] = decision.Standing{Attested: true, Tenant: "blue"}
	}
	w.take(all, records[:1000]...)
	w.take(all, records[1000:]...)
	found, err := w.desk.Lint(t.Context(), blue, blue.Tenants)
	want := []nhi.Count{{Name: "unrecorded", Count: 1200}, {Name: "no-owner", Count: 1200}}
	if err != nil || found.Records != 1200 || !slices.Equal(found.Counts, want) || len(found.Findings) != 1000 || found.More != 1400 {
		t.Errorf("%d records, %+v, %d findings and %d more, %v", found.Records, found.Counts, len(found.Findings), found.More, err)
	}
}

func TestADeskNeedsEveryPart(t *testing.T) {
	w := newWorld(t)
	for name, spoil := range map[string]func(*desk.Config){
		"Store": func(c *desk.Config) { c.Store = nil }, "Stands": func(c *desk.Config) { c.Stands = nil },
		"Attested": func(c *desk.Config) { c.Attested = nil }, "Policies": func(c *desk.Config) { c.Policies = nil },
		"Tenants": func(c *desk.Config) { c.Tenants = []string{"*"} }, "Now": func(c *desk.Config) { c.Now = nil },
	} {
		config := w.config()
		spoil(&config)
		_, err := desk.New(config)
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
