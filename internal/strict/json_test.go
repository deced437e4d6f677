package strict_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/strict"
)

type inner struct {
	Count int      `json:"count"`
	Tags  []string `json:"tags"`
}

type embedded struct {
	Shared string `json:"shared"`
}

type target struct {
	embedded
	Name    string            `json:"name"`
	When    time.Time         `json:"when"`
	Inner   inner             `json:"inner"`
	Maybe   *inner            `json:"maybe"`
	List    []inner           `json:"list"`
	Labels  map[string]string `json:"labels"`
	Any     any               `json:"any"`
	Raw     json.RawMessage   `json:"raw"`
	Blob    []byte            `json:"blob"`
	Plain   string
	Skipped string `json:"-"`
}

var limits = strict.JSONLimits{Bytes: 4096, Depth: 6}

func TestDocumentsThatAreRead(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{
		"an empty object":               `{}`,
		"every field":                   `{"shared":"s","name":"n","when":"2026-06-01T12:00:00Z","inner":{"count":1,"tags":["a"]},"list":[{"count":2}],"labels":{"any":"key"},"blob":"AAE=","Plain":"p"}`,
		"null for what may be absent":   `{"maybe":null,"list":null,"labels":null,"any":null,"raw":null,"blob":null}`,
		"anything where anything goes":  `{"any":{"deep":[1,2,{"x":null}]},"raw":{"k":[null]}}`,
		"an escaped pair of surrogates": `{"name":"\ud83d\ude00"}`,
		"an escaped backslash before u": `{"name":"\\ud800"}`,
		"space around it":               " {\n}\t",
	} {
		var got target
		if err := strict.DecodeJSON([]byte(document), limits, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDocumentsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ document, says string }{
		"a key twice":                        {`{"name":"a","name":"b"}`, "duplicate key"},
		"a key twice, once escaped":          {`{"name":"a","nam\u0065":"b"}`, "duplicate key"},
		"a key twice, deeper":                {`{"inner":{"count":1,"count":2}}`, "inner: duplicate key"},
		"a key twice in a list":              {`{"list":[{},{"count":1,"count":1}]}`, "list.1: duplicate"},
		"a key twice in a map":               {`{"labels":{"a":"1","a":"2"}}`, "duplicate key"},
		"a key twice where anything goes":    {`{"any":[{"a":1,"a":2}]}`, "duplicate key"},
		"a key twice in raw JSON":            {`{"raw":{"a":1,"a":2}}`, "duplicate key"},
		"a key in another case":              {`{"Name":"a"}`, `unknown key "Name"`},
		"a key in another case, deeper":      {`{"maybe":{"Count":1}}`, "unknown key"},
		"a key that nobody knows":            {`{"nam":"a"}`, "unknown key"},
		"a key that Go alone knows":          {`{"Skipped":"a"}`, "unknown key"},
		"null for a text":                    {`{"name":null}`, "name: null"},
		"null for a number":                  {`{"inner":{"count":null}}`, "inner.count: null"},
		"null for an object":                 {`{"inner":null}`, "inner: null"},
		"null for the document":              {`null`, "null"},
		"null in a list of objects":          {`{"list":[null]}`, "list.0: null"},
		"a byte behind it":                   {`{}x`, "follow"},
		"a second document":                  {`{}{}`, "follow"},
		"a bracket behind it":                {`{}]`, "follow"},
		"nothing":                            {``, "unexpected EOF"},
		"half of it":                         {`{"name":`, "EOF"},
		"an object that does not end":        {`{"inner":{"count":1}`, "EOF"},
		"a list that does not end":           {`{"list":[`, "EOF"},
		"invalid UTF-8":                      {"{\"name\":\"\xff\"}", "UTF-8"},
		"half of a surrogate pair":           {`{"name":"\ud800"}`, "surrogate"},
		"the other half":                     {`{"name":"\udc00"}`, "surrogate"},
		"two first halves":                   {`{"name":"\ud800\ud800"}`, "surrogate"},
		"a first half before another escape": {`{"name":"\ud800\n"}`, "surrogate"},
		"a text for a number":                {`{"inner":{"count":"1"}}`, "json"},
		"a fraction for an integer":          {`{"inner":{"count":1.5}}`, "json"},
		"a number beyond its type":           {`{"inner":{"count":1e30}}`, "json"},
		"too deep":                           {`{"any":[[[[[[1]]]]]]}`, "deeper than 6"},
		"too deep by far":                    {`{"any":` + strings.Repeat("[", 1000), "deeper than 6"},
		"too long":                           {`{"name":"` + strings.Repeat("a", 5000) + `"}`, "bytes"},
		"a comment":                          {`{} // end`, "follow"},
		"a comma too many":                   {`{"name":"a",}`, "json"},
		"a bare word":                        {`{"name":NaN}`, "json"},
	} {
		var got target
		err := strict.DecodeJSON([]byte(row.document), limits, &got)
		if err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: got %v, want one that says %q", name, err, row.says)
		}
	}
}

func TestATargetMustBeAPointer(t *testing.T) {
	t.Parallel()
	for _, into := range []any{nil, target{}, 3} {
		if err := strict.DecodeJSON([]byte(`{}`), limits, into); err == nil {
			t.Errorf("%T was written to", into)
		}
	}
}

func TestZeroLimitsAllowNothing(t *testing.T) {
	t.Parallel()
	var got target
	if err := strict.DecodeJSON([]byte(`{}`), strict.JSONLimits{}, &got); err == nil {
		t.Error("a document was read under zero limits")
	}
	if err := strict.DecodeJSON([]byte(`{}`), strict.JSONLimits{Bytes: 9}, &got); err == nil {
		t.Error("an object was read where no depth is allowed")
	}
}

// FuzzJSON looks for documents that panic, or that are read though encoding/json refuses them or
// writes them back as something that is then refused.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"name":"a","name":"b"}`, `{"inner":{"count":1},"list":[{}],"labels":{"a":"b"}}`,
		`{"any":[1,{"a":null}]}`, `{"name":"\ud800"}`, `null`, `[]`, `{"maybe":null}`, `{"raw":[1e9]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var ours, theirs target
		if strict.DecodeJSON(data, limits, &ours) != nil {
			return
		}
		if err := json.Unmarshal(data, &theirs); err != nil {
			t.Fatalf("we read %q, encoding/json says %v", data, err)
		}
		again, err := json.Marshal(ours)
		if err != nil {
			return // a time beyond the year 9999
		}
		wide := strict.JSONLimits{Bytes: 1 << 20, Depth: limits.Depth}
		if err := strict.DecodeJSON(again, wide, &theirs); err != nil {
			t.Fatalf("%q is read, and not what is written of it, %q: %v", data, again, err)
		}
	})
}
