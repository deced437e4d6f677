package cases

import (
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/yamldoc"
)

// Schema is what a document of cases must say that it is.
const Schema = "attestd.policy-cases.v1"

// Bounds of a document.
const (
	MaxDocument = 1 << 20
	maxCases    = 5000
	maxName     = 120
)

// Allow is what a case wants that wants no denial.
const Allow = "allow"

// None is what a case says where nothing is meant: no record, no tenant, no tools.
const None = "none"

// Case is one question with the answer that is wanted.
type Case struct {
	Name string
	// Line is where it begins.
	Line int
	// Want is the code of a denial, or empty for what is to be allowed.
	Want  decision.Code
	Input decision.Input
}

// Parse reads a document of cases:
//
//	schema: attestd.policy-cases.v1
//	cases:
//	  - name: an evaluation agent does not write to the feature store
//	    record: {purpose: evaluation}
//	    action: data.write
//	    resource: {type: feature-store, name: features}
//	    want: purpose_mismatch
//
// What a case leaves out is as in defaults, and what those leave out as in [Question]. Source names the
// document in messages.
//
// Errors: a [*attestd.CallerError] of class MALFORMED with every problem and its line.
func Parse(source string, document []byte) ([]Case, error) {
	root, problems := yamldoc.Parse(source, document, MaxDocument)
	var out []Case
	if root != nil {
		out = read(root)
	}
	if err := problems.Err(); err != nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Err: err, Hint: "docs/decisions/policies.md has what a case can say",
		}
	}
	return out, nil
}

func read(root *yamldoc.Node) (out []Case) {
	top, _ := root.Fields([]string{"schema", "cases"}, []string{"defaults"})
	if schema := top.Get("schema"); schema != nil && !schema.IsText(Schema) {
		schema.Problem("want %q", Schema)
	}
	base := Question()
	if node := top.Get("defaults"); node != nil {
		given, _ := node.Fields(nil, keys())
		change(given, &base)
	}
	list := top.Get("cases")
	if list == nil {
		return nil
	}
	items, _ := list.Items()
	if len(items) > maxCases {
		list.Problem("has %d cases, want at most %d", len(items), maxCases)
		return nil
	}
	names := map[string]int{}
	for _, item := range items {
		one := Case{Line: item.Line(), Input: base}
		if base.Record != nil {
			one.Input.Record = new(*base.Record) // the others have it as it was
		}
		fields, _ := item.Fields([]string{"name", "want"}, keys())
		if name := fields.Get("name"); name != nil {
			one.Name = readName(name, names)
		}
		if want := fields.Get("want"); want != nil {
			one.Want = readWant(want)
		}
		change(fields, &one.Input)
		out = append(out, one)
	}
	return out
}

// readName reads a name that no case before has: of two alike, one could be mended and the other fail.
func readName(node *yamldoc.Node, names map[string]int) string {
	name, ok := node.Text()
	if !ok {
		return ""
	}
	folded := strings.ToLower(strings.Join(strings.Fields(name), " "))
	switch {
	case len(name) > maxName:
		node.Problem("has %d bytes, want at most %d", len(name), maxName)
	case names[folded] != 0:
		node.Problem("stands in line %d already", names[folded])
	default:
		names[folded] = node.Line()
	}
	return name
}

func readWant(node *yamldoc.Node) decision.Code {
	text, ok := node.Text()
	if !ok || text == Allow {
		return ""
	}
	return readCode(node, text, Allow)
}

// readCode reads a code that there is.
func readCode(node *yamldoc.Node, text string, others ...string) decision.Code {
	known := others
	for _, spec := range decision.Specs() {
		if string(spec.Code) == text {
			return spec.Code
		}
		known = append(known, string(spec.Code))
	}
	node.Problem("%q is no code%s", attestd.Excerpt(text, 40), yamldoc.DidYouMean(text, known))
	return ""
}

// keys are those of a case beside its name and what it wants, in the order in which they are applied.
func keys() []string {
	out := make([]string, 0, len(sections)+1)
	for _, one := range sections {
		out = append(out, one.key)
	}
	return append(out, "action")
}

// change applies what is said to a question.
func change(said yamldoc.Fields, in *decision.Input) {
	for i := range sections {
		if node := said.Get(sections[i].key); node != nil {
			sections[i].read(node, in)
		}
	}
	if node := said.Get("action"); node != nil {
		readAction(node, in)
	}
	if in.Record != nil {
		in.Record.ID = string(in.Who.ID) // it is the caller's
	}
}

// actions are all that there are: of another one no policy could speak, so a case of it tests nothing.
var actions = []string{
	decision.ActionPromptAssemble, decision.ActionRetrieveQuery, decision.ActionToolCall, decision.ActionToolList,
	decision.ActionModelInvoke, decision.ActionSecretRead, decision.ActionDataRead, decision.ActionDataWrite,
	decision.ActionHTTPRead, decision.ActionHTTPWrite,
}

func readAction(node *yamldoc.Node, in *decision.Input) {
	name, ok := node.Text()
	switch {
	case !ok:
	case name == None:
		in.Action.Name = ""
	case !slices.Contains(actions, name):
		node.Problem("%q is no action%s", attestd.Excerpt(name, 40), yamldoc.DidYouMean(name, actions))
	default:
		in.Action.Name = name
	}
}
