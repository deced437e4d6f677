package appraisal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// Schema names the policy document.
const Schema = "attestd.policy.v1"

// MaxPolicy is the largest policy document, in bytes.
const MaxPolicy = 256 << 10

// Names of the built-in policies.
const (
	// Production is the default.
	Production = "production"
	// Recorded is for archives and CI: it asks for authenticity and scores the rest.
	Recorded = "recorded"
	// Laboratory is production, less what a software TPM or a laboratory cannot have.
	Laboratory = "laboratory"
)

//go:embed policies/*.yaml
var builtins embed.FS

const policyHint = "docs/policy.md describes the document; the built-in policies are whole examples"

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Policy is one policy document, read and whole: for every format it names, it has a rule for every
// check. It is immutable and safe for concurrent use.
type Policy struct {
	ref      attestd.PolicyRef
	document []byte
	formats  map[attestd.Format]*section
}

// section is what a policy says about one format.
type section struct {
	rules []rule
	// composed says that the format's evidence is composed of that of devices.
	composed bool
}

// BuiltinNames lists the policies that are compiled in.
func BuiltinNames() []string { return []string{Production, Recorded, Laboratory} }

var parsedBuiltins = map[string]func() (*Policy, error){
	Production: sync.OnceValues(func() (*Policy, error) { return parseBuiltin(Production) }),
	Recorded:   sync.OnceValues(func() (*Policy, error) { return parseBuiltin(Recorded) }),
	Laboratory: sync.OnceValues(func() (*Policy, error) { return parseBuiltin(Laboratory) }),
}

func parseBuiltin(name string) (*Policy, error) {
	source := "policies/" + name + ".yaml"
	doc, err := builtins.ReadFile(source)
	if err != nil {
		return nil, fmt.Errorf("built-in policy: %w", err)
	}
	return ParsePolicy(source, doc)
}

// Builtin returns the compiled-in policy called name.
//
// Errors: a [*attestd.CallerError] that lists the names there are.
func Builtin(name string) (*Policy, error) {
	parsed, ok := parsedBuiltins[name]
	if !ok {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "give a file, or one of: " + strings.Join(BuiltinNames(), ", "),
			Err:   fmt.Errorf("no built-in policy is called %q", attestd.Excerpt(name, 40)),
		}
	}
	return parsed()
}

// PolicyError says everything that is wrong with a policy document, each with line and key path.
type PolicyError = yamldoc.Error

// ParsePolicy reads a policy document. Source names it in messages.
//
// Errors: a [*attestd.CallerError] of class CONFIG around a [*PolicyError].
func ParsePolicy(source string, doc []byte) (*Policy, error) {
	known, err := tables()
	if err != nil {
		return nil, fmt.Errorf("tables of checks: %w", err)
	}
	return parsePolicy(source, doc, known)
}

func parsePolicy(source string, doc []byte, known map[attestd.Format]*table) (*Policy, error) {
	root, problems := yamldoc.Parse(source, doc, MaxPolicy)
	digest := sha256.Sum256(doc)
	policy := &Policy{
		ref:      attestd.PolicyRef{Digest: "sha256:" + hex.EncodeToString(digest[:])},
		document: bytes.Clone(doc),
		formats:  make(map[attestd.Format]*section),
	}
	if root != nil {
		policy.read(root, known)
	}
	if err := problems.Err(); err != nil {
		return nil, &attestd.CallerError{Class: attestd.ClassConfig, Hint: policyHint, Err: err}
	}
	return policy, nil
}

// Ref returns the policy's id and the digest of its document.
func (p *Policy) Ref() attestd.PolicyRef { return p.ref }

// Document returns a copy of the document as it was read.
func (p *Policy) Document() []byte { return bytes.Clone(p.document) }

// Formats lists the formats that the policy names, in the order in which people are shown them.
func (p *Policy) Formats() []attestd.Format {
	var named []attestd.Format
	for _, format := range attestd.Formats() {
		if _, ok := p.formats[format]; ok {
			named = append(named, format)
		}
	}
	return named
}

func (p *Policy) read(root *yamldoc.Node, known map[attestd.Format]*table) {
	fields, _ := root.Fields([]string{"schema", "id", "formats"}, []string{"description"})
	if node := fields.Get("schema"); node != nil && !node.IsText(Schema) {
		node.Problem("want %s", Schema)
	}
	if node := fields.Get("id"); node != nil {
		id, ok := node.Text()
		if ok && !idForm.MatchString(id) {
			node.Problem("got %q, want 1 to 64 of: letters, digits, . _ -", attestd.Excerpt(id, 40))
		}
		p.ref.ID = id
	}
	if node := fields.Get("description"); node != nil {
		node.Text()
	}
	if node := fields.Get("formats"); node != nil {
		entries, _ := node.Entries()
		for _, entry := range entries {
			p.readFormat(entry, known)
		}
	}
}

func (p *Policy) readFormat(entry yamldoc.Entry, known map[attestd.Format]*table) {
	format, err := attestd.ParseFormat(entry.Key)
	if err != nil {
		var names []string
		for _, format := range attestd.Formats() {
			names = append(names, string(format))
		}
		entry.Value.Problem("unknown format%s", yamldoc.DidYouMean(entry.Key, names))
		return
	}
	of, ok := known[format]
	if !ok {
		entry.Value.Problem("this build has no verifier for the format")
		return
	}
	keys := make([]string, len(of.specs))
	for i, spec := range of.specs {
		keys[i] = keyOf(format, spec.ID)
	}
	// All keys are required: a check that is not named would be a check that is not made.
	fields, _ := entry.Value.Fields(keys, nil)
	rules := make([]rule, 0, len(of.specs))
	for i, spec := range of.specs {
		if node := fields.Get(keys[i]); node != nil {
			rules = append(rules, readRule(node, spec, of.kinds[spec.Fact]))
		}
	}
	p.formats[format] = &section{rules: rules, composed: of.composed}
}

// Describe says in words what the policy makes of a check of a format: "any", or what is wanted and
// what a difference leads to.
func (p *Policy) Describe(format attestd.Format, id attestd.CheckID) (text string, named bool) {
	of := p.formats[format]
	if of == nil {
		return "", false
	}
	if r := ruleOf(of.rules, id); r != nil {
		return r.describe(), true
	}
	return "", false
}
