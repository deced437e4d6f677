package measurements

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// MaxDocument is the largest reference-values document, in bytes: some 30,000 values. Larger fleets
// split theirs into several documents.
const MaxDocument = 8 << 20

// nameForm keeps names printable everywhere: they end in terminals, logs and selectors.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)

const docHint = "docs/reference-values.md describes the document, key by key"

// Parse reads a reference-values document. Source names it in messages.
//
// Errors: a [*attestd.CallerError] of class CONFIG with every problem, each with line and key path.
func Parse(source string, doc []byte) (*Set, error) {
	root, problems := yamldoc.Parse(source, doc, MaxDocument)
	set := &Set{}
	if root != nil {
		set.read(root)
	}
	if err := problems.Err(); err != nil {
		return nil, &attestd.CallerError{Class: attestd.ClassConfig, Hint: docHint, Err: err}
	}
	return set, nil
}

func (s *Set) read(root *yamldoc.Node) {
	fields, ok := root.Fields([]string{"schema", "name", "format", "values"}, []string{"version"})
	if node := fields.Get("schema"); node != nil && !node.IsText(Schema) {
		node.Problem("want %s", Schema)
	}
	s.Name = readName(fields.Get("name"))
	s.Version = readName(fields.Get("version"))
	form, known := s.readFormat(fields.Get("format"))
	if !ok || !known {
		return // without the format, every register would be reported as unknown
	}
	values, ok := fields.Get("values").Items()
	if !ok {
		return
	}
	s.Values = make([]Value, 0, len(values))
	names := make(map[string]int, len(values))
	for _, node := range values {
		value, ok := readValue(node, form)
		if !ok {
			continue
		}
		if first, double := names[value.Name]; double {
			node.Problem("name %q stands twice, first in line %d", value.Name, first)
			continue
		}
		names[value.Name] = node.Line()
		s.Values = append(s.Values, value)
	}
	s.refuseTwins(values)
}

func (s *Set) readFormat(node *yamldoc.Node) (shape, bool) {
	if node == nil {
		return shape{}, false
	}
	text, ok := node.Text()
	if !ok {
		return shape{}, false
	}
	s.Format = attestd.Format(text)
	form, ok := shapes[s.Format]
	if !ok {
		node.Problem("no reference values for format %q; want one of: %s",
			attestd.Excerpt(text, 40), strings.Join(formatNames(), ", "))
	}
	return form, ok
}

// readName returns the text of an optional node in the form of names.
func readName(node *yamldoc.Node) string {
	if node == nil {
		return ""
	}
	text, ok := node.Text()
	if ok && !nameForm.MatchString(text) {
		node.Problem("got %q, want 1 to 64 of: letters, digits, . _ + -", attestd.Excerpt(text, 40))
	}
	return text
}

func readValue(node *yamldoc.Node, form shape) (Value, bool) {
	optional := []string{"registers"}
	if form.single != "" {
		optional = append(optional, "measurement")
	}
	fields, ok := node.Fields([]string{"name", "state"}, optional)
	if !ok {
		return Value{}, false
	}
	value := Value{Name: readName(fields.Get("name"))}
	state, ok := fields.Get("state").Text()
	index := slices.Index(stateNames[:], state)
	if index < 0 {
		if ok {
			fields.Get("state").Problem("got %q, want one of: %s",
				attestd.Excerpt(state, 20), strings.Join(stateNames[:], ", "))
		}
		return Value{}, false
	}
	value.State = State(index) //nolint:gosec // index of an array of three
	short, long := fields.Get("measurement"), fields.Get("registers")
	switch {
	case (short == nil) == (long == nil) && form.single != "":
		node.Problem("want either measurement or registers")
		return Value{}, false
	case long == nil && short == nil:
		node.Problem("registers is missing")
		return Value{}, false
	case short != nil:
		value.Registers = readDigest(nil, form.single, short, form)
	default:
		value.Registers = readRegisters(long, form)
	}
	if len(value.Registers) == 0 {
		return Value{}, false // reported where it stands
	}
	if missing := form.missing(value.Registers); missing != "" {
		node.Problem("does not name %s; without it, other images would match too", missing)
		return Value{}, false
	}
	return value, true
}

func readRegisters(node *yamldoc.Node, form shape) []attestd.Register {
	entries, _ := node.Entries()
	var registers []attestd.Register
	for _, entry := range entries {
		if !slices.Contains(form.names, entry.Key) {
			entry.Value.Problem("unknown register%s", yamldoc.DidYouMean(entry.Key, form.names))
			continue
		}
		registers = readDigest(registers, entry.Key, entry.Value, form)
	}
	return registers
}

func readDigest(
	registers []attestd.Register, name string, node *yamldoc.Node, form shape,
) []attestd.Register {
	text, ok := node.Text()
	if !ok {
		return registers
	}
	digest, err := hex.DecodeString(text)
	if err != nil {
		node.Problem("is not hex: %q", attestd.Excerpt(text, 20))
		return registers
	}
	if problem := form.problem(name, digest); problem != "" {
		node.Problem("%s", problem)
		return registers
	}
	return append(registers, attestd.Register{Name: name, Algorithm: form.algorithm, Digest: digest})
}

// refuseTwins reports values with equal registers: two states for one thing contradict each other.
func (s *Set) refuseTwins(nodes []*yamldoc.Node) {
	if len(s.Values) != len(nodes) {
		return // something else is wrong already, and the lines would not fit
	}
	first := make(map[string]string, len(s.Values))
	for i, value := range s.Values {
		key := string(keyOf(sorted(value.Registers)))
		if other, double := first[key]; double {
			nodes[i].Problem("has the same registers as %q", other)
			continue
		}
		first[key] = value.Name
	}
}

// FromClaims returns a set with one value, made from verified claims: the registers that say what
// runs, and not those that say where. Its state is proposed, which matches nothing: whoever knows
// that the evidence came from the right machine makes it active.
//
// Errors: a [*attestd.CallerError] where the name will not do, the claims are of a debug guest or
// nothing was measured; another error where the claims did not come out of a verification.
func FromClaims(name string, c *attestd.Claims) (*Set, error) {
	if !c.Proven() {
		return nil, errors.New("claims that did not come out of a verification measure nothing")
	}
	refuse := func(hint, format string, args ...any) (*Set, error) {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMeasurement, Hint: hint, Err: fmt.Errorf(format, args...),
		}
	}
	form, ok := shapes[c.Format()]
	if !ok {
		return refuse("reference values can be written for: "+strings.Join(formatNames(), ", "),
			"no reference values for format %q", c.Format())
	}
	if !nameForm.MatchString(name) {
		return refuse("use 1 to 64 of: letters, digits, . _ + -", "name %q will not do",
			attestd.Excerpt(name, 40))
	}
	if debug, ok := c.Fact("debug"); ok && debug.String() != "false" {
		// The host can change a debug guest after it was measured, so its digest names nothing.
		return refuse("start it without debug and collect the evidence again",
			"evidence is of a debug guest, whose measurement proves nothing")
	}
	value := Value{Name: "measured", State: StateProposed}
	for register := range c.Registers() {
		if !slices.Contains(form.taken, register.Name) {
			continue
		}
		if problem := form.problem(register.Name, register.Digest); problem != "" {
			if slices.Contains(form.required, register.Name) {
				return refuse("collect evidence of what really runs", "%s %s", register.Name, problem)
			}
			continue
		}
		value.Registers = append(value.Registers, attestd.Register{
			Name: register.Name, Algorithm: register.Algorithm, Digest: bytes.Clone(register.Digest),
		})
	}
	if missing := form.missing(value.Registers); missing != "" {
		return refuse("collect evidence of what really runs", "evidence has no %s", missing)
	}
	return &Set{Name: name, Format: c.Format(), Values: []Value{value}}, nil
}

// YAML returns the document that [Parse] reads back into an equal set.
//
// Errors: where the set is not one that Parse would return.
func (s *Set) YAML() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "schema: %s\nname: %s\n", Schema, strconv.Quote(s.Name))
	if s.Version != "" {
		fmt.Fprintf(&out, "version: %s\n", strconv.Quote(s.Version))
	}
	fmt.Fprintf(&out, "format: %s\nvalues:\n", strconv.Quote(string(s.Format)))
	for _, value := range s.Values {
		fmt.Fprintf(&out, "  - name: %s\n    state: %s\n    registers:\n",
			strconv.Quote(value.Name), value.State)
		for _, register := range value.Registers {
			fmt.Fprintf(&out, "      %s: \"%s\"\n", register.Name, folded(register.Digest))
		}
	}
	if _, err := Parse("reference values", out.Bytes()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// folded writes a digest in hex, 64 digits a line: YAML joins lines of a quoted text that end in a
// backslash without a space (YAML 1.2.2, section 7.3.1), and people's lines end at 100 columns.
func folded(digest []byte) string {
	digits := hex.EncodeToString(digest)
	var out strings.Builder
	for len(digits) > 64 {
		out.WriteString(digits[:64] + "\\\n        ")
		digits = digits[64:]
	}
	return out.String() + digits
}
