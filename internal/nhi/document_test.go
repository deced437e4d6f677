package nhi_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/nhi"
)

const good = `schema: attestd.inventory.v1
records:
  - id: spiffe://example.org/agent/rag
    tenant: blue
    project: search
    owner: team-search@example.org
    purpose: retrieval
    stage: ranking
    ring: stable
    zone: semi-trusted
    tools: [search, search, "files.*"]
    datasets: [wiki]
    policy: standard
    credential: attested
    lifecycle: active
  - id: github:acme/train.yml
    credential: permanent
`

func ragRecord(source string) nhi.Record {
	return nhi.Record{
		ID: "spiffe://example.org/agent/rag", Tenant: "blue", Project: "search", Owner: "team-search@example.org",
		Purpose: nhi.PurposeRetrieval, Stage: "ranking", Ring: "stable", Zone: nhi.ZoneSemiTrusted,
		Tools: []string{"files.*", "search"}, Datasets: []string{"wiki"}, Policy: "standard",
		Credential: nhi.CredentialAttested, Lifecycle: nhi.LifecycleActive, Source: source,
	}
}

func TestDocumentsAreReadWhole(t *testing.T) {
	table := "\ufefftools,id,tenant,project,owner,purpose,stage,ring,zone,datasets,policy,credential,lifecycle\r\n" +
		"search search files.*,spiffe://example.org/agent/rag,blue,search,team-search@example.org,retrieval,ranking," +
		"stable,semi-trusted,wiki,standard,attested,active\r\n" +
		"\"\",\"github:acme/train.yml\",,,,,,,,,,permanent,\r\n"
	for name, read := range map[string]func() ([]nhi.Record, error){
		"YAML": func() ([]nhi.Record, error) { return nhi.ParseYAML("/home/somebody/inventory.x", []byte(good)) },
		"CSV":  func() ([]nhi.Record, error) { return nhi.ParseCSV("/home/somebody/inventory.x", []byte(table)) },
	} {
		got, err := read()
		want := []nhi.Record{
			ragRecord("file:inventory.x"),
			{ID: "github:acme/train.yml", Credential: nhi.CredentialPermanent, Source: "file:inventory.x"},
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// problemsOf returns what is wrong with a document, by line and text.
func problemsOf(t *testing.T, err error) *nhi.DocumentError {
	t.Helper()
	var caller *attestd.CallerError
	var found *nhi.DocumentError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed || caller.Hint == "" || !errors.As(err, &found) {
		t.Fatalf("got %v, want problems of a document", err)
	}
	return found
}

func TestDocumentsThatAreRefused(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, row := range []struct {
		name, document string
		line           int
		says           string
	}{
		{"another schema", with("inventory.v1", "inventory.v2"), 1, "attestd.inventory.v1"},
		{"no schema", with("schema: attestd.inventory.v1\n", ""), 1, "schema: is missing"},
		{"no records", "schema: attestd.inventory.v1\nrecords: []\n", 2, "is empty"},
		{"a misspelt key", with("purpose:", "purpos:"), 7, "did you mean purpose?"},
		{"a record without an id", with("id: github:acme/train.yml", "owner: me"), 16, "id: is missing"},
		{"an id that is empty", with("id: github:acme/train.yml", `id: ""`), 16, "is empty"},
		{"no SPIFFE ID", with("spiffe://example.org/agent/rag", "spiffe://Example.org/x"), 3, "is no SPIFFE ID"},
		{"spiffe for a kind", with("github:acme", "spiffe:acme"), 16, "is no SPIFFE ID"},
		{"an id of no kind", with("github:acme/train.yml", "acme"), 16, "KIND:NAME"},
		{"an id with a space", with("github:acme/train.yml", `"github:acme train"`), 16, "KIND:NAME"},
		{"an id with a line end", with("github:acme/train.yml", `"github:acme\ntrain"`), 16, "KIND:NAME"},
		{"a kind in capitals", with("github:acme", "GitHub:acme"), 16, "KIND:NAME"},
		{"an id that is long", with("acme/train", strings.Repeat("a", 2048)), 16, "at most 2048"},
		{"one id twice", with("github:acme/train.yml", "spiffe://example.org/agent/RAG"), 16, "stands twice, first in line 3"},
		{"a tenant in capitals", with("tenant: blue", "tenant: Blue"), 4, "is no tenant"},
		{"all tenants", with("tenant: blue", `tenant: "*"`), 4, "is no tenant"},
		{"a project with a space", with("project: search", "project: se arch"), 5, "is no name"},
		{"an owner that is a formula", with("owner: team", "owner: =team"), 6, "formula"},
		{"an owner that is long", with("owner: team", "owner: "+strings.Repeat("a", 129)), 6, "at most 128"},
		{"an owner with a zero width", with("owner: team", `owner: "te\u200bam`+`" #`), 6, "do not show"},
		{"an owner with a space behind it", with("owner: team-search@example.org", `owner: "me "`), 6, "a space"},
		{"a purpose in capitals", with("purpose: retrieval", "purpose: Retrieval"), 7, "is no purpose"},
		{"a zone of its own", with("zone: semi-trusted", "zone: half"), 10, "want one of: trusted"},
		{"a tool with a star within", with(`"files.*"`, `"files.*.read"`), 11, "not its last character"},
		{"a tool with two stars", with(`"files.*"`, `"files.**"`), 11, "not its last character"},
		{"a tool that is empty", with(`"files.*"`, `""`), 11, "is empty"},
		{"a tool that is a formula", with(`"files.*"`, `"@files"`), 11, "formula"},
		{"a tool with a space", with(`"files.*"`, `"a b"`), 11, "visible ASCII"},
		{"a tool that is long", with(`"files.*"`, strings.Repeat("x", 257)), 11, "at most 256"},
		{"too many tools", with(`"files.*"`, many(257)), 11, "want at most 256"},
		{"no tools", with(`[search, search, "files.*"]`, "[]"), 11, "is empty"},
		{"tools that are no list", with("datasets: [wiki]", "datasets: wiki"), 12, "want a list"},
		{"a number for a policy", with("policy: standard", "policy: 7"), 13, "want text"},
		{"a credential of its own", with("credential: attested", "credential: good"), 14, "want one of: permanent"},
		{"a life of its own", with("lifecycle: active", "lifecycle: dead"), 15, "want one of: enrolled"},
		{"two documents", good + "---\n" + good, 0, "2 documents"},
		{"nothing", "", 0, "documents"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := nhi.ParseYAML("a.yaml", []byte(row.document))
			found := problemsOf(t, err)
			if len(found.Problems) != 1 || found.Problems[0].Line != row.line || !strings.Contains(found.Error(), row.says) {
				t.Errorf("got %+v", found)
			}
		})
	}
}

func many(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("tool-%d", i)
	}
	return strings.Join(list, ", ")
}

func TestEveryProblemIsShownWhereItIs(t *testing.T) {
	_, err := nhi.ParseYAML("a.yaml", []byte("schema: attestd.inventory.v1\nrecords:\n"+
		"  - id: github:a\n    zone: half\n    colour: red\n  - id: \"b\"\n    tools: [a, \"x*y\"]\n"))
	want := `a.yaml: 3 problems
  line 5: records[0].colour: unknown key
        colour: red
                ^
  line 6: records[1].id: "b" is neither a SPIFFE ID nor KIND:NAME, as in github:acme/train.yml
      - id: "b"
            ^
  line 7: records[1].tools[1]: "x*y" has a "*" that is not its last character
        tools: [a, "x*y"]
               ^`
	if got := problemsOf(t, err).Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	long := "id,owner\n" + strings.Repeat("github:a,=b\n", 80)
	found := problemsOf(t, second(nhi.ParseCSV("a.csv", []byte(long))))
	if len(found.Problems) != 50 || found.More == 0 || !strings.Contains(found.Error(), fmt.Sprintf("and %d more", found.More)) {
		t.Errorf("got %d problems and %d more", len(found.Problems), found.More)
	}
	wide := "id,owner\n\"github:" + strings.Repeat("a", 300) + "\",=b\n"
	for line := range strings.SplitSeq(problemsOf(t, second(nhi.ParseCSV("a.csv", []byte(wide)))).Error(), "\n") {
		if len(line) > 100 {
			t.Errorf("a line of %d: %s", len(line), line)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestTablesThatAreRefused(t *testing.T) {
	for _, row := range []struct {
		name, document string
		line           int
		says           string
	}{
		{"nothing", "", 0, "is empty"},
		{"a header alone", "id\n", 0, "has no record"},
		{"no column of ids", "owner\nme\n", 1, `no column "id"`},
		{"a column that is unknown", "id,ownr\n", 1, "did you mean owner?"},
		{"a column with a space", "id, owner\n", 1, "unknown column"},
		{"a column twice", "id,owner,owner\n", 1, `"owner" stands twice`},
		{"a cell too many", "id,owner\ngithub:a,me,you\n", 2, "got 3 cells, want 2"},
		{"a cell too few", "id,owner\ngithub:a\n", 2, "got 1 cells, want 2"},
		{"a quote within a cell", "id,owner\ngithub:a,m\"e\n", 2, "bare"},
		{"a quote that does not end", "id,owner\ngithub:a,\"me\n", 2, "quote"},
		{"a formula", "id,owner\ngithub:a,\"=HYPERLINK(\"\"http://x\"\")\"\n", 2, "formula"},
		{"a formula with a plus", "id,owner\ngithub:a,+1\n", 2, "formula"},
		{"a formula for an id", "id\n=cmd|x\n", 2, "KIND:NAME"},
		{"two spaces between tools", "id,tools\ngithub:a,x  y\n", 2, "is empty"},
		{"an id that is empty", "id,owner\n,me\n", 2, "is missing"},
		{"an id twice", "id\ngithub:a\ngithub:A\n", 3, "stands twice"},
		{"no UTF-8", "id\ngithub:\xff\n", 0, "UTF-8"},
	} {
		t.Run(row.name, func(t *testing.T) {
			found := problemsOf(t, second(nhi.ParseCSV("a.csv", []byte(row.document))))
			if found.Problems[0].Line != row.line || !strings.Contains(found.Error(), row.says) {
				t.Errorf("got %+v", found)
			}
		})
	}
	if err := second(nhi.ParseCSV("a.csv", make([]byte, nhi.MaxDocument+1))); !strings.Contains(err.Error(), "want at most") {
		t.Errorf("got %v", err)
	}
}
