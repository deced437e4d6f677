package measurements

import (
	"encoding/hex"
	"regexp"
	"slices"
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

var schemaLine = regexp.MustCompile(`(?m)^schema:\s*["']?` + regexp.QuoteMeta(Schema) + `["']?\s*$`)

// IsDocument reports whether the bytes say that they are a document of reference values, good or not.
func IsDocument(doc []byte) bool { return schemaLine.Match(doc) }

func (s *Set) read(root *yamldoc.Node) {
	fields, ok := root.Fields([]string{"schema", "name", "format"},
		[]string{"version", "values", "bank", "attestation-keys", "endorsement-keys"})
	if node := fields.Get("schema"); node != nil && !node.IsText(Schema) {
		node.Problem("want %s", Schema)
	}
	s.Name = readName(fields.Get("name"))
	s.Version = readName(fields.Get("version"))
	form, known := s.readFormat(fields.Get("format"))
	if !ok || !known {
		return // without the format, every register would be reported as unknown
	}
	if !form.banked {
		for _, key := range []string{"bank", "attestation-keys", "endorsement-keys"} {
			if node := fields.Get(key); node != nil {
				node.Problem("only documents of format tpm have it; leave it out")
			}
		}
	} else {
		taken := make(map[[32]byte]string)
		s.AttestationKeys = readKeys(fields.Get("attestation-keys"), taken)
		s.EndorsementKeys = readKeys(fields.Get("endorsement-keys"), taken)
	}
	values, bank := fields.Get("values"), fields.Get("bank")
	switch {
	case values != nil:
		if form, known = s.readBank(root, bank, form); known {
			s.readValues(values, form)
		}
	case bank != nil && form.banked:
		bank.Problem("says nothing where there are no values")
	case !form.banked:
		root.Problem("values: is missing")
	case fields.Get("attestation-keys") == nil && fields.Get("endorsement-keys") == nil:
		root.Problem("want values, attestation-keys or endorsement-keys")
	}
}

// readBank returns the shape that the registers of the document have.
func (s *Set) readBank(root, node *yamldoc.Node, form shape) (shape, bool) {
	if !form.banked {
		return form, true
	}
	if node == nil {
		root.Problem("bank: is missing; want one of: %s", strings.Join(bankNames(), ", "))
		return shape{}, false
	}
	text, ok := node.Text()
	if !ok {
		return shape{}, false
	}
	if form, ok = form.in(text); !ok {
		node.Problem("got %q, want one of: %s", attestd.Excerpt(text, 20), strings.Join(bankNames(), ", "))
	}
	s.Bank = text
	return form, ok
}

func (s *Set) readValues(node *yamldoc.Node, form shape) {
	values, ok := node.Items()
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

func (s *Set) hasKeys() bool { return len(s.AttestationKeys)+len(s.EndorsementKeys) > 0 }

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
	optional := []string{"registers", "rules", "events", "canary", "until"}
	if form.single != "" {
		optional = append(optional, "measurement")
	}
	fields, ok := node.Fields([]string{"name", "state"}, optional)
	if !ok {
		return Value{}, false
	}
	value := Value{Name: readName(fields.Get("name"))}
	if !value.readLifecycle(node, fields) {
		return Value{}, false
	}
	if !value.readMeasured(node, fields, form) {
		return Value{}, false
	}
	if missing := form.missing(value); missing != "" {
		node.Problem("does not name %s; without it, other images would match too", missing)
		return Value{}, false
	}
	if value.demandsNothing() {
		node.Problem("demands nothing: every register may hold anything")
		return Value{}, false
	}
	return value, true
}

// readMeasured reads what must have been measured, and reports whether all of it will do.
func (v *Value) readMeasured(node *yamldoc.Node, fields yamldoc.Fields, form shape) bool {
	short, long := fields.Get("measurement"), fields.Get("registers")
	rules, events := fields.Get("rules"), fields.Get("events")
	for _, only := range []*yamldoc.Node{rules, events} {
		if only != nil && !form.banked {
			only.Problem("only values of format tpm have it; leave it out")
			return false
		}
	}
	switch {
	case (short == nil) == (long == nil) && form.single != "":
		node.Problem("want either measurement or registers")
		return false
	case long == nil && short == nil && rules == nil && form.banked:
		node.Problem("want registers, rules or both")
		return false
	case long == nil && short == nil && rules == nil:
		node.Problem("registers is missing")
		return false
	case short != nil:
		v.Registers = readDigest(nil, form.single, short, form)
	case long != nil:
		v.Registers = readRegisters(long, form)
	}
	if (short != nil || long != nil) && len(v.Registers) == 0 {
		return false // reported where it stands
	}
	if rules != nil {
		if v.Rules = readRules(rules, form); len(v.Rules) == 0 {
			return false
		}
		for _, register := range v.Registers {
			if slices.ContainsFunc(v.Rules, func(r RegisterRules) bool { return r.Register == register.Name }) {
				rules.Problem("%s stands in registers too; equal registers have equal events", register.Name)
				return false
			}
		}
	}
	return events == nil || v.readEvents(events, form)
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

// refuseTwins reports values that demand the same: two states for one thing contradict each other.
func (s *Set) refuseTwins(nodes []*yamldoc.Node) {
	if len(s.Values) != len(nodes) {
		return // something else is wrong already, and the lines would not fit
	}
	first := make(map[string]string, len(s.Values))
	for i, value := range s.Values {
		key := string(keyOf(sorted(value.Registers))) + string(appendRules(nil, value.Rules))
		if other, double := first[key]; double {
			nodes[i].Problem("has the same %s as %q", value.what(), other)
			continue
		}
		first[key] = value.Name
	}
}

func (v *Value) what() string {
	if len(v.Rules) > 0 {
		return "registers and rules"
	}
	return "registers"
}
