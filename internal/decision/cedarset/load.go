package cedarset

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// Bounds of a folder.
const (
	maxFile  = 4 << 20
	maxFiles = 20_000
)

// SchemaVersion is part of every digest: the same files under another schema are other policies.
const SchemaVersion = "attestd.cedar.v1"

//go:embed schema.cedarschema
var schemaText []byte

//go:embed standard
var standard embed.FS

// Schema returns the schema that policies are checked by, in Cedar's words.
func Schema() string { return string(schemaText) }

// Standard returns the policies that come with attestd.
func Standard() fs.FS {
	files, err := fs.Sub(standard, "standard")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return files
}

var (
	tenantForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)
	idForm     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
)

// policy is one policy with what is read of its annotations.
type policy struct {
	id     types.PolicyID
	cedar  *cedar.Policy
	bound  string
	forbid bool
	reason decision.Code
	duty   []decision.Obligation
}

// byAction are policies by the action that they can speak about.
type byAction map[string][]*policy

// Set is one version of all policies. It never changes and is safe for concurrent use.
type Set struct {
	digest  string
	files   map[string][]byte
	shared  byAction
	tenants map[string]byAction
	// forbids are those of the tenants' own that forbid.
	forbids map[string]byAction
	bound   map[string]bool
	count   int
	made    *made
}

var _ decision.PolicySet = (*Set)(nil)

// Digest implements [decision.PolicySet].
func (s *Set) Digest() string { return s.digest }

// Count is how many policies there are.
func (s *Set) Count() int { return s.count }

// Names are what records can be bound to, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.bound)) }

// Load reads a folder of policies.
//
// Errors: a [*attestd.CallerError] of class CONFIG with every problem, by file and line. A folder without
// a policy is refused: it would deny everything, and nobody means that by an empty folder.
func Load(files fs.FS) (*Set, error) {
	if files == nil {
		return nil, unfit(errors.New("no folder of policies"))
	}
	read, err := readFiles(files)
	if err != nil {
		return nil, unfit(err)
	}
	l := &loader{set: &Set{
		files: read, digest: digestOf(read), shared: byAction{}, tenants: map[string]byAction{}, forbids: map[string]byAction{}, bound: map[string]bool{},
		made: newMade(),
	}}
	if l.check, err = validator(); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		l.file(name, read[name])
	}
	if len(l.errs) == 0 && l.set.count == 0 {
		l.errs = append(l.errs, errors.New("the folder has no policies"))
	}
	if len(l.errs) != 0 {
		const most = 50
		if len(l.errs) > most {
			l.errs = append(l.errs[:most], fmt.Errorf("and %d more", len(l.errs)-most))
		}
		return nil, unfit(errors.Join(l.errs...))
	}
	return l.set, nil
}

func unfit(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Err: err,
		Hint: "mend each, then attestd policy show FOLDER; with --schema it says what policies can ask about",
	}
}

// validator checks policies by the schema, which is compiled once.
var validator = sync.OnceValues(func() (*validate.Validator, error) {
	var read schema.Schema
	read.SetFilename("schema.cedarschema")
	if err := read.UnmarshalCedar(schemaText); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	resolved, err := read.Resolve()
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return validate.New(resolved, validate.WithStrict()), nil
})

// readFiles reads the policies of shared/ and tenants/TENANT/. What else lies there is refused: a file
// that is not read is a policy that somebody thinks is in force.
func readFiles(files fs.FS) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		parts := strings.Split(name, "/")
		if entry.IsDir() {
			known := name == "." || name == "shared" || name == "tenants" ||
				len(parts) == 2 && parts[0] == "tenants" && tenantForm.MatchString(parts[1])
			if !known {
				return fmt.Errorf("%s: want shared/ and tenants/TENANT/ alone", attestd.Excerpt(name, 80))
			}
			return nil
		}
		inPlace := len(parts) == 2 && parts[0] == "shared" || len(parts) == 3 && parts[0] == "tenants"
		if !inPlace || path.Ext(name) != ".cedar" || !entry.Type().IsRegular() {
			return fmt.Errorf("%s: want shared/*.cedar and tenants/TENANT/*.cedar alone", attestd.Excerpt(name, 80))
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxFile || len(out) >= maxFiles {
			return fmt.Errorf("%s: a file over %d bytes, or more than %d files", name, maxFile, maxFiles)
		}
		out[name], err = fs.ReadFile(files, name)
		return err
	})
	return out, err
}

// digestOf is over the names and contents of all files, in order, each with its length before it.
func digestOf(files map[string][]byte) string {
	hash := sha256.New()
	add := func(part []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = hash.Write(length[:])
		_, _ = hash.Write(part)
	}
	add([]byte(SchemaVersion))
	add(schemaText)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		add([]byte(name))
		add(files[name])
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// loader reads files into a set.
type loader struct {
	set   *Set
	check *validate.Validator
	errs  []error
}

func (l *loader) file(name string, document []byte) {
	list, err := cedar.NewPolicyListFromBytes(name, document)
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("%s: %s", name, attestd.Excerpt(err.Error(), 300)))
		return
	}
	var forbids byAction
	into, tenant := l.set.shared, ""
	if parts := strings.Split(name, "/"); parts[0] == "tenants" {
		tenant = parts[1]
		if l.set.tenants[tenant] == nil {
			l.set.tenants[tenant], l.set.forbids[tenant] = byAction{}, byAction{}
		}
		into, forbids = l.set.tenants[tenant], l.set.forbids[tenant]
	}
	seen := map[string]bool{}
	for _, one := range list {
		read, err := l.policy(name, one, seen)
		if err != nil {
			l.errs = append(l.errs, fmt.Errorf("%s:%d: %w", name, one.Position().Line, err))
			continue
		}
		for _, action := range actionsOf(one) {
			into[action] = append(into[action], read)
			if forbids != nil && read.forbid {
				forbids[action] = append(forbids[action], read)
			}
		}
		l.set.count++
		if read.bound != "" {
			l.set.bound[read.bound] = true
		}
	}
}

// policy reads one policy.
func (l *loader) policy(name string, one *cedar.Policy, seen map[string]bool) (*policy, error) {
	out := &policy{cedar: one, forbid: one.Effect() == types.Forbid}
	notes := one.Annotations()
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(notes)) {
		value := string(notes[key])
		switch key {
		case "id":
			if !idForm.MatchString(value) || seen[value] {
				errs = append(errs, fmt.Errorf("@id(%q) is no name, or stands twice in the file",
					attestd.Excerpt(value, 60)))
			}
			seen[value] = true
			out.id = types.PolicyID(strings.TrimSuffix(name, ".cedar") + "#" + value)
		case "reason":
			out.reason = decision.Code(value)
			if one.Effect() != types.Forbid || !policyReason(out.reason) {
				errs = append(errs, fmt.Errorf("@reason(%q): want the code of a denial, on a forbid",
					attestd.Excerpt(value, 40)))
			}
		case "obligation":
			if value != decision.ObligationStepUp {
				errs = append(errs, fmt.Errorf("@obligation(%q): want %q", attestd.Excerpt(value, 40),
					decision.ObligationStepUp))
			}
			out.duty = append(out.duty, decision.StepUp())
		case "notify":
			if !idForm.MatchString(value) {
				errs = append(errs, fmt.Errorf("@notify(%q) is no topic", attestd.Excerpt(value, 40)))
			}
			out.duty = append(out.duty, decision.Obligation{
				ID: "notify-" + value, Type: decision.ObligationNotification,
				Properties: map[string]any{"topic": value},
			})
		case "policy":
			if !idForm.MatchString(value) {
				errs = append(errs, fmt.Errorf("@policy(%q) is no name", attestd.Excerpt(value, 40)))
			}
			out.bound = value
		default:
			errs = append(errs, fmt.Errorf("unknown annotation @%s", attestd.Excerpt(string(key), 40)))
		}
	}
	if out.id == "" {
		errs = append(errs, errors.New("a policy without @id"))
	}
	if err := l.check.Policy(string(out.id), (*ast.Policy)(one.AST())); err != nil {
		errs = append(errs, errors.New(attestd.Excerpt(err.Error(), 300)))
	}
	return out, errors.Join(errs...)
}

// policyReason reports whether a policy may deny with the code. Codes of gates are attestd's alone.
func policyReason(code decision.Code) bool {
	switch code {
	case decision.CodeTenantMismatch, decision.CodePurposeMismatch, decision.CodeBlastRadius,
		decision.CodeRing, decision.CodeStepUp, decision.CodeClassification, decision.CodeWeakChain,
		decision.CodeNovelScope, decision.CodeTenantPivot, decision.CodeDenialBurst, decision.CodeTwoPlaces,
		decision.CodeNotPermitted:
		return true
	}
	return false
}

// actionsOf returns the actions that a policy can speak about: those that its scope names, with those
// that are within them. A policy that cannot be read so speaks about all.
func actionsOf(one *cedar.Policy) []string {
	document, err := one.MarshalJSON()
	if err != nil {
		return allActions
	}
	type named struct {
		ID string `json:"id"`
	}
	var read struct {
		Action struct {
			Op       string  `json:"op"`
			Entity   *named  `json:"entity"`
			Entities []named `json:"entities"`
		} `json:"action"`
	}
	if err := json.Unmarshal(document, &read); err != nil {
		return allActions
	}
	scope := read.Action.Entities
	if read.Action.Entity != nil {
		scope = append(scope, *read.Action.Entity)
	}
	if read.Action.Op != "==" && read.Action.Op != "in" || len(scope) == 0 {
		return allActions
	}
	var out []string
	for _, action := range allActions {
		for _, one := range scope {
			if action == one.ID || groupOf[action] == one.ID {
				out = append(out, action)
				break
			}
		}
	}
	return out
}
