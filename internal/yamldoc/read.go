package yamldoc

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"

	"github.com/attestd/attestd"
)

// Problem reports something about the value's place in the document.
func (n *Node) Problem(format string, args ...any) {
	n.problems.at(&token.Position{Line: n.line, Column: n.column}, n.path, format, args...)
}

// Line returns where the value stands.
func (n *Node) Line() int { return n.line }

// Column returns where in its line the value begins, counted from 1.
func (n *Node) Column() int { return n.column }

// IsText reports whether the value is exactly the text want.
func (n *Node) IsText(want string) bool { return n.kind == kindText && n.text == want }

// IsUint, IsList and IsMap report the kind of the value.
func (n *Node) IsUint() bool { return n.kind == kindUint }

// IsList reports whether the value is a list.
func (n *Node) IsList() bool { return n.kind == kindList }

// IsMap reports whether the value is a map.
func (n *Node) IsMap() bool { return n.kind == kindMap }

// Text returns text that is not empty.
func (n *Node) Text() (string, bool) {
	if !n.wants(kindText) {
		return "", false
	}
	if strings.TrimSpace(n.text) == "" {
		n.Problem("is empty; an empty value must never match")
		return "", false
	}
	return n.text, true
}

// Uint returns a whole number.
func (n *Node) Uint() (uint64, bool) {
	if !n.wants(kindUint) {
		return 0, false
	}
	return n.number, true
}

// Flag returns true or false.
func (n *Node) Flag() (value, ok bool) {
	if !n.wants(kindFlag) {
		return false, false
	}
	return n.text == "true", true
}

// Items returns the members of a list that is not empty.
func (n *Node) Items() ([]*Node, bool) {
	if !n.wants(kindList) {
		return nil, false
	}
	if len(n.items) == 0 {
		n.Problem("is empty; an empty list would never, or always, match")
		return nil, false
	}
	return n.items, true
}

// Entries returns the keys and values of a map that is not empty, in the document's order.
func (n *Node) Entries() ([]Entry, bool) {
	if !n.wants(kindMap) {
		return nil, false
	}
	if len(n.entries) == 0 {
		n.Problem("is empty")
		return nil, false
	}
	return n.entries, true
}

// Fields reads a map whose keys are known: unknown ones are reported with the closest that is known,
// required ones that are missing are reported too.
func (n *Node) Fields(required, optional []string) (Fields, bool) {
	entries, ok := n.Entries()
	if !ok {
		return Fields{}, false
	}
	known := slices.Concat(required, optional)
	found := make(map[string]*Node, len(entries))
	for _, entry := range entries {
		if !slices.Contains(known, entry.Key) {
			entry.Value.Problem("unknown key%s", DidYouMean(entry.Key, known))
			ok = false
			continue
		}
		found[entry.Key] = entry.Value
	}
	for _, key := range required {
		if found[key] == nil {
			n.problems.at(&token.Position{Line: n.line, Column: n.column}, join(n.path, key), "is missing")
			ok = false
		}
	}
	return Fields{found: found}, ok
}

// Fields are the values of a map with known keys.
type Fields struct{ found map[string]*Node }

// Get returns the value of a key, or nil where it is not there.
func (f Fields) Get(key string) *Node { return f.found[key] }

func (n *Node) wants(want kind) bool {
	if n.kind == want {
		return true
	}
	got := kindNames[n.kind]
	if n.kind == kindText {
		got = `"` + attestd.Excerpt(n.text, 30) + `"`
	}
	if want == kindText && (n.kind == kindUint || n.kind == kindFlag) {
		n.Problem("got %s, want text: write it in quotes", got)
		return false
	}
	n.Problem("got %s, want %s", got, kindNames[want])
	return false
}

// DidYouMean returns a remark that names the closest of known, or lists them where none is close and
// there are few.
func DidYouMean(key string, known []string) string {
	best, distance := "", len(key)/3+2
	for _, candidate := range known {
		if d := Distance(key, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	switch {
	case best != "":
		return "; did you mean " + best + "?"
	case len(known) > 0 && len(known) <= 8:
		return "; want one of: " + strings.Join(known, ", ")
	default:
		return ""
	}
}

// Distance counts the letters that must be added, left out or changed to get from a to b. Texts are
// cut at 64 bytes: it is for names that people mistype.
func Distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
