package yamldoc_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/yamldoc"
)

// read reads a document the way its owners do: a map of known keys, of every kind.
func read(doc string) error {
	root, problems := yamldoc.Parse("doc.yaml", []byte(doc), 8192)
	if root == nil {
		return problems.Err()
	}
	fields, _ := root.Fields([]string{"text", "list"}, []string{"number", "flag", "map"})
	if node := fields.Get("text"); node != nil {
		node.Text()
	}
	if node := fields.Get("number"); node != nil {
		node.Uint()
	}
	if node := fields.Get("flag"); node != nil {
		node.Flag()
	}
	if node := fields.Get("map"); node != nil {
		node.Entries()
	}
	if node := fields.Get("list"); node != nil {
		items, _ := node.Items()
		for _, item := range items {
			item.Text()
		}
	}
	return problems.Err()
}

const good = "text: word\nlist: [a, \"b\"]\nnumber: 12\nflag: true\nmap: {k: {x: 1}}\n"

func TestReadsThePlainPart(t *testing.T) {
	for _, doc := range []string{
		good, "# comment: [{[{[{ " + strings.Repeat("[", 100) + "\n" + good + "# " + strings.Repeat(": {", 2000),
		strings.ReplaceAll(good, "\n", "  # why: [\n"), strings.ReplaceAll(good, "\n", "\r\n"),
		strings.Replace(good, "{x: 1}", `{"x":1, 'y':2}`, 1), strings.Replace(good, "word", "na\u00efve", 1),
	} {
		if err := read(doc); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusesWhatCouldReadInTwoWays(t *testing.T) {
	for _, row := range []struct{ name, doc, want string }{
		{"a key that stands twice", good + "text: other\n", "line 6: text: stands twice, first in line 1"},
		{"a key that stands twice further in", strings.Replace(good, "x: 1", "x: 1, x: 2", 1),
			"map.k.x: stands twice"},
		{"an unknown key", good + "txet: a\n", "txet: unknown key; did you mean text?"},
		{"a missing key", "text: a\n", "list: is missing"},
		{"an anchor and its alias", "text: &a word\nlist: [*a]\n", "an anchor or alias"},
		{"a merge key", "text: w\nlist: [a]\nmap:\n  <<: {x: 1}\n", "map"},
		{"a tag", "text: !!str word\nlist: [a]\n", "a tag"},
		{"null", "text:\nlist: [a]\n", "text: got nothing"},
		{"a tilde", "text: ~\nlist: [a]\n", "text: got nothing"},
		{"an empty text", "text: \"\"\nlist: [a]\n", "text: is empty"},
		{"an empty list", "text: a\nlist: []\n", "list: is empty"},
		{"an octal number", strings.Replace(good, "12", "010", 1), `number: got "010"`},
		{"a hexadecimal number", strings.Replace(good, "12", "0x10", 1), `number: got "0x10"`},
		{"a negative number", strings.Replace(good, "12", "-1", 1), `number: got "-1"`},
		{"a fraction", strings.Replace(good, "12", "1.5", 1), `number: got "1.5"`},
		{"not a number", strings.Replace(good, "12", ".nan", 1), "number: got"},
		{"a number that is too long", strings.Replace(good, "12", strings.Repeat("9", 30), 1), "number"},
		{"a number where text is wanted", strings.Replace(good, "word", "12", 1), "in quotes"},
		{"text where a number is wanted", strings.Replace(good, "12", "\"12\"", 1),
			`number: got "12", want a whole number`},
		{"yes for true", strings.Replace(good, "true", "yes", 1), `flag: got "yes", want true or false`},
		{"TRUE for true", strings.Replace(good, "true", "TRUE", 1), "flag: got"},
		{"a list for a map", "- a\n", "got a list, want a map"},
		{"two documents", good + "---\n" + good, "2 documents"},
		{"nothing", "", "documents"},
		{"a comment alone", "# nothing\n", "documents"},
		{"broken syntax", "text: [a\n", "doc.yaml: "},
		{"broken text", "text: \xff\n", "is not UTF-8"},
		{"a document that is too long", good + strings.Repeat("# x\n", 4096), "bytes, want at most 8192"},
		{"nesting in brackets", "text: " + strings.Repeat("[", 2000), "nests deeper"},
		{"nesting in dashes", strings.Repeat("- ", 500) + "a", "nests deeper"},
		{"nesting in question marks", strings.Repeat("? ", 500) + "a", "nests deeper"},
		{"a map of very many keys", strings.Repeat("a: 1\n", 1001), "more than 1000 keys"},
		{"a map of very many keys further in", "a:\n" + strings.Repeat(" a: 1\n", 1001),
			"more than 1000 keys"},
		{"a map of very many keys in brackets", "a: {" + strings.Repeat("b: 1, ", 1001) + "}",
			"more than 1000 keys"},
		{"a tab within a word, which the parser drops", strings.Replace(good, "true", "tr\tue", 1),
			"line 4: has the character U+0009"},
		{"a comment that ends at a carriage return", "# text: no\rtext: w\nlist: [a]\n",
			"line 1: has the character U+000D"},
		{"a line break of other readers", "text: w\u2028\nlist: [a]\n", "has the character U+2028"},
		{"a byte order mark", "\ufeff" + good, "line 1: has the character U+FEFF"},
		{"text turned round", "text: \"\u202ew\"\nlist: [a]\n", "has the character U+202E"},
		{"a control character", "text: \"w\x00\"\nlist: [a]\n", "has the character U+0000"},
		{"a value that touches its colon", strings.Replace(good, "x: 1", "x:1", 1),
			`line 5: want a space behind the colon before "1"`},
		{"a block of text", "text: |\n  word\nlist: [a]\n", "text: got a block of text"},
		{"a bad item deep in a list", "text: a\nlist: [a, null, 0x1]\n", "list[2]: got"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := read(row.doc)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want it to contain %q", err, row.want)
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if len(line) > 140 {
					t.Errorf("line of %d characters: %s", len(line), line)
				}
			}
		})
	}
}

func TestReportsEverythingAtOnceInTheOrderOfLines(t *testing.T) {
	err := read("flag: maybe\nnumber: many\ntext: \"\"\nlist: [\"\"]\nfoo: 1\n")
	var all *yamldoc.Error
	if !errors.As(err, &all) || len(all.Problems) != 5 {
		t.Fatalf("got %v, want five problems", err)
	}
	for i, problem := range all.Problems {
		if problem.Line != i+1 || problem.Path == "" {
			t.Errorf("problem %d: got %+v, want line %d and a path", i, problem, i+1)
		}
	}
	if _, problems := yamldoc.Parse("many", []byte(strings.Repeat("a: 1\n", 200)), 4096); !errors.As(
		problems.Err(), &all) || len(all.Problems) != 50 || all.More != 149 {
		t.Errorf("got %d problems and %d more, want 50 and 149", len(all.Problems), all.More)
	}
}

// TestQuotesHideNothingFromTheLimits: counted in the text, a bracket or a hash within quotes ended
// or hid what was counted. 60 KB of the first row took the parser 13 seconds, and some megabytes
// more its stack.
func TestQuotesHideNothingFromTheLimits(t *testing.T) {
	const many = 20000
	brackets := strings.Repeat("[", many) + strings.Repeat("]", many)
	for _, row := range []struct{ name, doc, want string }{
		{"brackets behind a hash in quotes", `a: [" #", ` + brackets + "]", "nests deeper"},
		{"brackets, each behind one in quotes", "a: [" + strings.Repeat(`"]", [`, many), "nests deeper"},
		{"keys behind a hash in quotes", `{" #": 1` + strings.Repeat(", a: 1", many) + "}", "more than 1000"},
		{"keys behind a bracket in quotes", `{"]": 1` + strings.Repeat(", a: 1", many) + "}",
			"more than 1000"},
		{"keys without values", "{a" + strings.Repeat(", a", many) + "}", "more than 1000"},
		{"pairs in a list", "[a: 1" + strings.Repeat(", a: 1", many) + "]", "more than 1000"},
		{"keys beside a list", strings.Repeat("a:\n- b\n", many), "more than 1000"},
		{"blocks in blocks", strings.Repeat("- a:\n  ", 1) + strings.Repeat("a: ", many), "nests deeper"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, problems := yamldoc.Parse("doc.yaml", []byte(row.doc), 1<<20)
			if err := problems.Err(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want it to contain %q", err, row.want)
			}
		})
	}
	long := "list:\n" + strings.Repeat("  - {name: a, other: b}\n  - name: c\n    other: [d, e]\n", many)
	if _, problems := yamldoc.Parse("doc.yaml", []byte(long), 2<<20); problems.Err() != nil {
		t.Errorf("a long list of small maps: %v", problems.Err())
	}
}
