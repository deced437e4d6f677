package workloads_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements/workloads"
)

const (
	digestA = "1111111111111111111111111111111111111111111111111111111111111111"
	digestB = "2222222222222222222222222222222222222222222222222222222222222222"
	digestC = "3333333333333333333333333333333333333333333333333333333333333333"
	emptyFi = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func document(lines ...string) string {
	return "schema: attestd.workloads.v1\n" + strings.Join(lines, "\n") + "\n"
}

func TestEveryProblemOfADocumentIsReportedAtOnce(t *testing.T) {
	rows := []struct {
		name, doc string
		want      []string
	}{
		{"another schema", "schema: attestd.workloads.v2\nworkloads:\n  api:\n    - \"" + digestA + "\"\n",
			[]string{"line 1: schema: want attestd.workloads.v1"}},
		{"no workloads", "schema: attestd.workloads.v1\n", []string{"workloads: is missing"}},
		{"an unknown key", document("workload: {}"), []string{"did you mean workloads"}},
		{"a name without digests", document("workloads:", "  api: []"), []string{"is empty"}},
		{"an empty digest", document("workloads:", "  api:", `    - ""`), []string{"is empty"}},
		{"a digest that is too short", document("workloads:", "  api:", `    - "11"`),
			[]string{"line 4", `got "11"`}},
		{"a digest in upper case", document("workloads:", "  api:", `    - "`+strings.ToUpper("ab")+digestA[2:]+`"`),
			[]string{"lower-case hex"}},
		{"the digest of an empty file", document("workloads:", "  api:", `    - "`+emptyFi+`"`),
			[]string{"empty file"}},
		{"a digest of zeros", document("workloads:", "  api:", `    - "`+strings.Repeat("0", 64)+`"`),
			[]string{"no digest of any file"}},
		{"two names for one digest", document("workloads:", "  api:", `    - "`+digestA+`"`,
			"  web:", `    - "`+digestA+`"`), []string{"line 6", `has the name "api" already`}},
		{"a digest twice under one name", document("workloads:", "  api:", `    - "`+digestA+`"`,
			`    - "`+digestA+`"`), []string{"line 5"}},
		// neg: 199: such a name would read as another selector.
		{"a name with a colon", document("workloads:", `  "api:tier":`, `    - "`+digestA+`"`),
			[]string{`got the name "api:tier"`}},
		{"a name in upper case", document("workloads:", "  Api:", `    - "`+digestA+`"`),
			[]string{`got the name "Api"`}},
		{"an empty tenant", document(`tenant: ""`, "workloads:", "  api:", `    - "`+digestA+`"`),
			[]string{"line 2: tenant: is empty"}},
		{"a tenant that is no name", document(`tenant: "a/b"`, "workloads:", "  api:", `    - "`+digestA+`"`),
			[]string{`tenant: got "a/b"`}},
		{"several at once", document(`tenant: "a/b"`, "workloads:", "  Api:", `    - "11"`, `    - "`+emptyFi+`"`),
			[]string{"4 problems", "line 2", "line 4", "line 5", "line 6"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := workloads.Parse("w.yaml", []byte(row.doc))
			var refused *attestd.CallerError
			if !errors.As(err, &refused) || refused.Class != attestd.ClassConfig || refused.Hint == "" {
				t.Fatalf("got %v, want a CONFIG error with a hint", err)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to contain %q", err, want)
				}
			}
		})
	}
}

func parse(t *testing.T, source, doc string) *workloads.Set {
	t.Helper()
	set, err := workloads.Parse(source, []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestNamesAreThoseOfTheTenantAndOfAll(t *testing.T) {
	shared := parse(t, "all.yaml", document("workloads:", "  proxy:", `    - "`+digestA+`"`))
	acme := parse(t, "acme.yaml", document("tenant: acme", "workloads:", "  api:", `    - "`+digestB+`"`,
		`    - "`+digestC+`"`))
	index, err := workloads.NewIndex(acme, shared)
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		tenant string
		want   map[string]string
	}{
		{"acme", map[string]string{digestA: "proxy", digestB: "api", digestC: "api"}},
		{"other", map[string]string{digestA: "proxy"}},
		{"", map[string]string{digestA: "proxy"}},
	}
	revisions := make(map[string]string)
	for _, row := range rows {
		names, revision := index.Names(row.tenant)
		if !maps.Equal(names, row.want) || len(revision) != 32 {
			t.Errorf("tenant %q: got %v in %q, want %v", row.tenant, names, revision, row.want)
		}
		revisions[row.tenant] = revision
	}
	if revisions["acme"] == revisions["other"] || revisions["other"] != revisions[""] {
		t.Errorf("revisions do not follow the content: %v", revisions)
	}
	again, err := workloads.NewIndex(shared, acme)
	if err != nil {
		t.Fatal(err)
	}
	if _, revision := again.Names("acme"); revision != revisions["acme"] {
		t.Error("the order of the documents changed the revision")
	}
	var none *workloads.Index
	if names, revision := none.Names("acme"); len(names) != 0 || revision == "" {
		t.Errorf("an index that is not there knows %v in %q", names, revision)
	}
	empty, err := workloads.NewIndex()
	if err != nil {
		t.Fatal(err)
	}
	if names, revision := empty.Names("acme"); len(names) != 0 || len(revision) != 32 {
		t.Errorf("an empty index knows %v in %q", names, revision)
	}
}

func TestDocumentsThatContradictEachOtherAreRefused(t *testing.T) {
	one := func(source, tenant, name, digest string) *workloads.Set {
		return &workloads.Set{Source: source, Tenant: tenant,
			Workloads: []workloads.Workload{{Name: name, SHA256: []string{digest}}}}
	}
	rows := []struct {
		name string
		sets []*workloads.Set
		want string
	}{
		{"two names in two documents", []*workloads.Set{
			one("a.yaml", "", "api", digestA), one("b.yaml", "acme", "web", digestA)}, `has the name "api" already (a.yaml)`},
		{"one name in two documents", []*workloads.Set{
			one("a.yaml", "", "api", digestA), one("b.yaml", "acme", "api", digestB)}, "defined in a.yaml already"},
		{"a set made by hand with a name that injects", []*workloads.Set{
			one("a.yaml", "", "api\ntier:low", digestA)}, "is no name"}, // neg: 199
		{"a set made by hand with an empty digest", []*workloads.Set{one("a.yaml", "", "api", "")}, "is no digest"},
		{"a set made by hand without digests", []*workloads.Set{
			{Source: "a.yaml", Workloads: []workloads.Workload{{Name: "api"}}}}, "has no digests"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			index, err := workloads.NewIndex(row.sets...)
			if err == nil || index != nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
		})
	}
	// The same digest may have two names where no tenant sees both.
	if _, err := workloads.NewIndex(one("a.yaml", "acme", "api", digestA),
		one("b.yaml", "other", "web", digestA)); err != nil {
		t.Error(err)
	}
}

func TestATenantsDigestsAreBounded(t *testing.T) {
	var set workloads.Set
	for i := range workloads.MaxDigests + 1 {
		set.Workloads = append(set.Workloads, workloads.Workload{
			Name: fmt.Sprintf("w%d", i), SHA256: []string{fmt.Sprintf("%064x", i+1)},
		})
	}
	if _, err := workloads.NewIndex(&set); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Fatalf("got %v, want too many digests", err)
	}
	set.Workloads = set.Workloads[:workloads.MaxDigests]
	if _, err := workloads.NewIndex(&set); err != nil {
		t.Fatal(err)
	}
}
