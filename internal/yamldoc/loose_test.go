package yamldoc_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/yamldoc"
)

// TestNoDocumentOfAStreamIsLost: the parser drops all behind an empty one, and says nothing.
func TestNoDocumentOfAStreamIsLost(t *testing.T) {
	for doc, want := range map[string]string{
		"a: 1\n---\n---\na: 2\n---\na: 3\n":            "1 1,4 2,6 3",
		"---\n\n---\na: 2\n":                           "4 2",
		"a: 1\n---\n# nothing\n---\na: 2\n":            "1 1,5 2",
		"a: 1\n...\n---\na: 2\n...\n":                  "1 1,4 2",
		"---\r\na: 1\r\n--- \r\na: 2\r\n":              "2 1,4 2",
		"--- {a: 1}\n---\nnull\n--- {a: 2}\n---":       "1 1,4 2",
		"a: |\n  1\n  ---\n---x: y\n---\na: \"2\"\n":   "1 1\n---\n,6 2",
		"a: |\n  1\n  ---\nb: x\n---\na: -0x2\n":       "1 1\n---\n,6 -0x2",
		"a: .nan\n---\na: 1e3\n---\na: [1.5, ~, {}]\n": "1 .nan,3 1e3,5 ",
		"# nothing\n": "",
		"---\n":       "",
		strings.Repeat("---\n", 2000) + "a: 1\n---\n---": "2001 1",
	} {
		roots, problems := yamldoc.ParseStream("x.yaml", []byte(doc), 1<<20)
		var got []string
		for _, root := range roots {
			got = append(got, strconv.Itoa(root.Find("a").Line())+" "+root.Find("a").String())
		}
		err := problems.Err()
		if strings.Join(got, ",") != want || err != nil {
			t.Errorf("%.60q: got %q, want %q, %v", doc, got, want, err)
		}
	}
}

func TestStreamsThatAreRefused(t *testing.T) {
	for doc, says := range map[string]string{
		"a: 1\n---\nb: 1\nb: 2\n":                  "line 4: b: stands twice, first in line 3",
		"a: 1\n---\nb: &x 2\n":                     "line 3: b: got an anchor or alias",
		"a: 1\n---\nb: !!str 2\n":                  "line 3: b: got a tag",
		"a: 1\n---\nb: [\n":                        "line 3",
		"a: 1\n---\n%TAG ! x\n---\nb: 2\n":         "line 3",
		"a: 1\n---\nb: \"x\u200b\"\n":              "line 3: has the character U+200B",
		"a: 1\n---\nb: " + strings.Repeat("[", 40): "line 3: nests deeper",
	} {
		_, problems := yamldoc.ParseStream("x.yaml", []byte(doc), 1<<20)
		if err := problems.Err(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", doc, err, says)
		}
	}
	// What others wrote can be secret.
	_, problems := yamldoc.ParseStream("x.yaml", []byte("a: {token:CANARY}\n"), 100)
	if err := problems.Err(); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v", err)
	}
	if _, problems := yamldoc.ParseStream("x.yaml", make([]byte, 9), 8); problems.Err() == nil {
		t.Error("a stream that is too large was read")
	}
}

// TestADocumentOfOurOwnIsOne: and what is read loosely elsewhere is refused in it.
func TestADocumentOfOurOwnIsOne(t *testing.T) {
	for doc, good := range map[string]bool{
		"a: 1\n": true, "---\na: 1\n": true, "# x\n---\na: 1\n...\n": true,
		"a: 1\n---\n": false, "a: 1\n---\n# x\n": false, "a: 1\n---\n---\nb: 2\n": false, "a: 1\n...\nb: 2\n": false,
		"a: |\n  x\n": false, "a: ~\n": false, "a: 1.5\n": false,
	} {
		if _, problems := yamldoc.Parse("x.yaml", []byte(doc), 100); (problems.Err() == nil) != good {
			t.Errorf("%q: %v", doc, problems.Err())
		}
	}
}

func TestWhatIsNotThereCanBeAskedFor(t *testing.T) {
	roots, problems := yamldoc.ParseStream("x.yaml", []byte("a: {b: [c, 1]}\n"), 100)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	root := roots[0]
	if got := root.Find("a").Find("b").Members(); len(got) != 2 || got[1].String() != "1" || got[0].Column() != 9 {
		t.Errorf("got %+v", got)
	}
	none := root.Find("x").Find("y")
	if none != nil || none.String() != "" || none.Members() != nil || root.Find("a").Find("b").Find("c") != nil {
		t.Error("something was found")
	}
}
