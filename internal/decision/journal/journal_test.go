package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

func TestARecordHasTheTelemetryOfADecision(t *testing.T) {
	given := answer(1, begin, decision.CodeBlastRadius)
	given.Input.Findings.Raised = []decision.Code{decision.CodeTenantPivot}
	line, err := journal.Encode(journal.RecordOf(given, "attestd 1.2.3"))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"schema": "attestd.decision.v1", "decision": "deny", "reason": "blast_radius", "tenant": "acme",
		"policy_snapshot": given.ID.String(), "prompt_id": prompt, "policy_digest": digest,
		"subject_chain": []any{
			map[string]any{"type": "human", "id": "ann@example.org", "verified": false, "attested": false},
			map[string]any{"type": "nhi", "id": "spiffe://x", "verified": true, "attested": false},
		},
		"dataset_scope": []any{map[string]any{"id": "orders", "classification": []any{"pii"}}},
		"atlas_mapping": []any{
			map[string]any{"id": "AML.T0053", "state": "suspected"},
			map[string]any{"id": "AML.T0086", "state": "suspected"},
			map[string]any{"id": "AML.T0085.000", "state": "observed"},
		},
		"atlas_version": "5.6.1", "took_us": 42.0,
		"proof_ages_ms": map[string]any{"who": 1500.0, "what": 0.0, "policy": 0.0},
	}
	for name, value := range want {
		if diff := cmp.Diff(value, fields[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Whoever reads records needs no second form for those without prompt, chain or datasets.
	bare := answer(2, begin, "")
	bare.Input.Context, bare.Input.Resource.Datasets = decision.Context{}, nil
	line, err = journal.Encode(journal.RecordOf(bare, "x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"prompt_id":""`, `"subject_chain":[]`, `"dataset_scope":[]`, `"atlas_mapping":[]`,
	} {
		if !bytes.Contains(line, []byte(part)) {
			t.Errorf("a bare record has no %s: %s", part, line)
		}
	}
}

func TestWhatIsKeptIsFoundAndListed(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	var kept []*decision.Answer
	for number := range 50 {
		code := decision.Code("")
		if number%5 == 0 {
			code = decision.CodeTenantMismatch
		}
		kept = append(kept, answer(number, begin.Add(time.Duration(number)*time.Second), code))
	}
	w.keep(t, kept...)
	w.stop()
	reader := w.Reader()
	for _, one := range kept {
		found, err := reader.Find(t.Context(), one.ID.String(), []string{"acme"})
		if err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(one.Input)
		got, _ := json.Marshal(found.Input)
		if !bytes.Equal(want, got) {
			t.Fatalf("the input is another:\n%s\n%s", want, got)
		}
	}
	rows := []struct {
		name  string
		query journal.Query
		want  int
	}{
		{"all", journal.Query{}, 50},
		{"denials", journal.Query{Decision: journal.Deny}, 10},
		{"a reason", journal.Query{Reason: decision.CodeTenantMismatch}, 10},
		{"another reason", journal.Query{Reason: decision.CodeRing}, 0},
		{"a technique", journal.Query{ATLAS: "AML.T0085.000"}, 10},
		{"a caller", journal.Query{Subject: "spiffe://example.org/tenant/acme/agent"}, 50},
		{"another caller", journal.Query{Subject: "spiffe://example.org/tenant/acme"}, 0},
		{"an enforcement point", journal.Query{Enforcer: "user:gateway"}, 50},
		{"an action", journal.Query{Action: decision.ActionToolCall}, 50},
		{"another action", journal.Query{Action: "tool"}, 0},
		{"since", journal.Query{Since: begin.Add(40 * time.Second)}, 10},
		{"until", journal.Query{Until: begin.Add(40 * time.Second)}, 40},
	}
	for _, row := range rows {
		for _, oldest := range []bool{false, true} {
			row.query.Tenants, row.query.Limit, row.query.Oldest = []string{"*"}, 7, oldest
			found := list(t, reader, row.query)
			if len(found) != row.want {
				t.Errorf("%s, oldest first %v: %d records, want %d", row.name, oldest, len(found), row.want)
			}
			for index := 1; index < len(found); index++ {
				if found[index].At.Before(found[index-1].At) == oldest {
					t.Fatalf("%s: not in order", row.name)
				}
			}
		}
	}
}

// neg: 188
func TestNobodyReadsAnotherTenantsRecords(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	own, other, nobody := answer(1, begin, ""), answer(2, begin, ""), answer(3, begin, decision.CodeUnauthenticated)
	other.Input.Standing.Tenant = "globex"
	// The inventory is written by people of a tenant: what it says makes a record nobody's to read.
	nobody.Input.Standing = decision.Standing{}
	w.keep(t, own, other, nobody)
	w.stop()
	for _, row := range []struct {
		tenants []string
		sees    []*decision.Answer
	}{
		{[]string{"acme"}, []*decision.Answer{own}},
		{[]string{"globex"}, []*decision.Answer{other}},
		{[]string{"*"}, []*decision.Answer{own, other, nobody}},
		{[]string{"acm"}, nil}, {[]string{""}, nil}, {nil, nil},
	} {
		found := list(t, w.Reader(), journal.Query{Tenants: row.tenants, Limit: 10, Oldest: true})
		if len(found) != len(row.sees) {
			t.Errorf("%q: lists %d, want %d", row.tenants, len(found), len(row.sees))
		}
		for _, one := range []*decision.Answer{own, other, nobody} {
			_, err := w.Reader().Find(t.Context(), one.ID.String(), row.tenants)
			seen := false
			for _, visible := range row.sees {
				seen = seen || visible == one
			}
			if seen != (err == nil) || !seen && !errors.Is(err, journal.ErrNone) {
				t.Errorf("%q: %s: %v, want seen %v", row.tenants, one.Input.Standing.Tenant, err, seen)
			}
		}
	}
}

func TestIDsCanBeShortened(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	first, second := answer(1, begin, ""), answer(2, begin.Add(time.Hour), "")
	third := answer(3, begin.Add(time.Hour), "")
	w.keep(t, first, second, third)
	w.stop()
	everybody := []string{"*"}
	if found, err := w.Reader().Find(t.Context(), first.ID.String()[:8], everybody); err != nil || found.ID != first.ID {
		t.Errorf("found %s, %v", found.ID, err)
	}
	var caller *attestd.CallerError
	_, err := w.Reader().Find(t.Context(), second.ID.String()[:13], everybody)
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConflict {
		t.Errorf("two that begin so: %v", err)
	}
	for _, text := range []string{
		"", "0195", "0195xxxx", "0195abcdef", "0195ABCD", strings.Repeat("0", 37), "01950000-0000-7000-8000-00000000000\n",
	} {
		if _, err := w.Reader().Find(t.Context(), text, everybody); !errors.As(err, &caller) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhatACrashLeavesTornIsCut(t *testing.T) {
	for name, torn := range map[string]string{
		"half a record": `{"schema":"attestd.decision.v1","policy_sn`, "zeros": strings.Repeat("\x00", 4096),
		"zeros and a line": strings.Repeat("\x00", 100) + "\n", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			w := start(t, folder, nil)
			w.keep(t, answer(1, begin, ""), answer(2, begin, ""))
			w.stop()
			names, err := filepath.Glob(filepath.Join(folder, "segments", "*.jsonl"))
			if err != nil || len(names) != 1 {
				t.Fatal(names, err)
			}
			file, err := os.OpenFile(names[0], os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(torn); err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			again := start(t, folder, nil)
			again.keep(t, answer(3, begin.Add(time.Second), ""))
			again.stop()
			if found := again.all(t); len(found) != 3 {
				t.Errorf("%d records, want 3", len(found))
			}
			verified, err := again.Reader().Verify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range verified.Problems {
				if problem.Segment != "" { // the policies are not kept by this test
					t.Errorf("%+v", problem)
				}
			}
		})
	}
}

func TestAnEmptySegmentOfACrashIsRemoved(t *testing.T) {
	folder := t.TempDir()
	w := start(t, folder, nil)
	w.keep(t, answer(1, begin, ""))
	w.stop()
	empty := filepath.Join(folder, "segments", "00000002-20260301T130000.000Z.jsonl")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, folder, nil)
	again.keep(t, answer(2, begin.Add(time.Second), ""))
	again.stop()
	if found := again.all(t); len(found) != 2 {
		t.Errorf("%d records, want 2", len(found))
	}
}

func TestOneProcessWritesAFolder(t *testing.T) {
	folder := t.TempDir()
	start(t, folder, nil)
	_, err := journal.New(config(t, folder))
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
		t.Errorf("a second writer: %v", err)
	}
}

func TestBoundsMustBeNamed(t *testing.T) {
	for name, change := range map[string]func(*journal.Config){
		"folder": func(c *journal.Config) { c.Folder = "" }, "age": func(c *journal.Config) { c.Age = 0 },
		"bytes": func(c *journal.Config) { c.Bytes = 0 }, "reserve": func(c *journal.Config) { c.Reserve = 0 },
		"allows": func(c *journal.Config) { c.Allows = 0 }, "engine": func(c *journal.Config) { c.Engine = "" },
		"clock": func(c *journal.Config) { c.Now = nil }, "logger": func(c *journal.Config) { c.Logger = nil },
		"metrics": func(c *journal.Config) { c.Registerer = nil },
	} {
		settings := config(t, t.TempDir())
		change(&settings)
		if _, err := journal.New(settings); err == nil {
			t.Errorf("without %s a journal opens", name)
		}
	}
}

type sink struct{ taken []string }

func (s *sink) Take(record *journal.Record) {
	s.taken = append(s.taken, fmt.Sprint(record.Decision, " ", record.Input.Context.Intent))
}

func TestSinksAndSealsAreTold(t *testing.T) {
	var seals []journal.Seal
	into := &sink{}
	w := start(t, t.TempDir(), func(c *journal.Config) {
		c.Sinks, c.Sealed = []journal.Sink{into}, func(seal journal.Seal) { seals = append(seals, seal) }
	})
	secret := answer(2, begin, decision.CodeRing)
	secret.Input.Context.Intent = canaries["a token"]
	w.keep(t, answer(1, begin, ""), secret)
	w.stop()
	if diff := cmp.Diff([]string{"allow ", "deny [redacted]"}, into.taken); diff != "" {
		t.Error(diff)
	}
	if secret.Input.Context.Intent != canaries["a token"] {
		t.Error("the answer was written to")
	}
	if len(seals) != 1 || seals[0].Records != 2 {
		t.Fatalf("%+v", seals)
	}
	back, ok := journal.SealOf(seals[0].Entry(begin))
	if !ok || back != seals[0] {
		t.Errorf("a seal does not come back from the audit log: %+v", back)
	}
}

func TestWhatIsWrittenLaterIsFollowed(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	w.SegmentOf(4 << 10)
	w.keep(t, answer(0, begin, ""))
	settle(t, func() bool { return len(w.all(t)) == 1 })
	ended := errors.New("seen enough")
	seen, begun := make(chan string, 100), make(chan error, 1)
	go func() {
		begun <- w.Reader().Follow(t.Context(), journal.Query{Tenants: []string{"acme"}}, func(one *journal.Record) error {
			seen <- one.Input.Context.RequestID
			if one.Input.Context.RequestID == "request-20" {
				return ended
			}
			return nil
		})
	}()
	time.Sleep(50 * time.Millisecond) // it begins behind what there is
	for number := range 20 {
		w.keep(t, answer(number+1, begin.Add(time.Duration(number)*time.Second), ""))
	}
	if err := <-begun; !errors.Is(err, ended) {
		t.Fatal(err)
	}
	for number := range 20 {
		if got, want := <-seen, fmt.Sprint("request-", number+1); got != want {
			t.Fatalf("%s is seen, want %s", got, want)
		}
	}
}

// TestAPageThatReadsTooMuchGoesOn: what matches nothing is not read for ever in one request.
func TestAPageThatReadsTooMuchGoesOn(t *testing.T) {
	w, run := open(t, t.TempDir(), nil)
	w.SegmentOf(4 << 10)
	run()
	for number := range 30 {
		code := decision.Code("")
		if number == 0 || number == 29 {
			code = decision.CodeRing
		}
		w.keep(t, answer(number, begin.Add(time.Duration(number)*time.Second), code))
	}
	w.stop()
	for _, oldest := range []bool{false, true} {
		reader := w.Reader()
		reader.ScanIs(10 << 10)
		query := journal.Query{Tenants: []string{"*"}, Decision: journal.Deny, Limit: 10, Oldest: oldest}
		page, err := reader.List(t.Context(), query)
		if err != nil || len(page.Records) != 1 || page.Next == "" {
			t.Errorf("%d records, next %q, %v", len(page.Records), page.Next, err)
		}
		if found := list(t, reader, query); len(found) != 2 {
			t.Errorf("%d records in all pages, want 2", len(found))
		}
	}
}
