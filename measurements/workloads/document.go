package workloads

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// Schema names the document.
const Schema = "attestd.workloads.v1"

// MaxDocument is the largest document, in bytes.
const MaxDocument = 2 << 20

// MaxDigests is the greatest number of digests that one tenant may have, its own and those of all
// tenants: all of them travel to each of its nodes in one message of at most 2 MiB.
const MaxDigests = 8000

var (
	// nameForm is the alphabet that selectors leave as it is, so that a name reads the same in the
	// document, in a snapshot and in a registration entry.
	nameForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	tenantForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

const docHint = "docs/workloads.md describes the document, key by key"

// Set is one document.
type Set struct {
	// Source is the document's name in messages.
	Source string
	// Tenant whose nodes know the names; empty where the nodes of all tenants do.
	Tenant string
	// Workloads in the order of the document.
	Workloads []Workload
}

// Workload is one name and the executables that have it: a program in the versions that may run.
type Workload struct {
	Name string
	// SHA256 of the executable files, lower-case hex.
	SHA256 []string
}

// Parse reads a document. Source names it in messages.
//
// Errors: a [*attestd.CallerError] of class CONFIG with every problem, each with line and key path.
func Parse(source string, doc []byte) (*Set, error) {
	root, problems := yamldoc.Parse(source, doc, MaxDocument)
	set := &Set{Source: source}
	if root != nil {
		set.read(root)
	}
	if err := problems.Err(); err != nil {
		return nil, &attestd.CallerError{Class: attestd.ClassConfig, Hint: docHint, Err: err}
	}
	return set, nil
}

func (s *Set) read(root *yamldoc.Node) {
	fields, _ := root.Fields([]string{"schema", "workloads"}, []string{"tenant"})
	if node := fields.Get("schema"); node != nil && !node.IsText(Schema) {
		node.Problem("want %s", Schema)
	}
	if node := fields.Get("tenant"); node != nil {
		tenant, ok := node.Text()
		if ok && !tenantForm.MatchString(tenant) {
			node.Problem("got %q, want 1 to 64 of: letters, digits, . _ -", attestd.Excerpt(tenant, 40))
		}
		s.Tenant = tenant
	}
	if node := fields.Get("workloads"); node != nil {
		s.readWorkloads(node)
	}
}

func (s *Set) readWorkloads(node *yamldoc.Node) {
	entries, ok := node.Entries()
	if !ok {
		return
	}
	names := make(map[string]string)
	for _, entry := range entries {
		if !nameForm.MatchString(entry.Key) {
			entry.Value.Problem("got the name %q, want 1 to 64 of: a-z 0-9 . _ -, a letter or digit first",
				attestd.Excerpt(entry.Key, 40))
		}
		workload := Workload{Name: entry.Key}
		items, ok := entry.Value.Items()
		if !ok {
			continue
		}
		for _, item := range items {
			if digest, ok := readDigest(item); ok {
				if first, double := names[digest]; double {
					item.Problem("has the name %q already; a digest has one name", first)
					continue
				}
				names[digest] = entry.Key
				workload.SHA256 = append(workload.SHA256, digest)
			}
		}
		s.Workloads = append(s.Workloads, workload)
	}
	if len(names) > MaxDigests {
		node.Problem("got %d digests, want at most %d", len(names), MaxDigests)
	}
}

func readDigest(node *yamldoc.Node) (string, bool) {
	text, ok := node.Text()
	if !ok {
		return "", false
	}
	if !digestForm.MatchString(text) {
		node.Problem("got %q, want a SHA-256 of 64 characters in lower-case hex, in quotes",
			attestd.Excerpt(text, 70))
		return "", false
	}
	if problem := meansNothing(text); problem != "" {
		node.Problem("%s", problem)
		return "", false
	}
	return text, true
}

// meansNothing says why a digest stands for no executable: a build that failed leaves such values, and
// they must name nothing.
func meansNothing(digest string) string {
	empty := sha256.Sum256(nil)
	switch digest {
	case hex.EncodeToString(empty[:]):
		return "is the SHA-256 of an empty file"
	case strings.Repeat("0", 64), strings.Repeat("f", 64):
		return "is no digest of any file"
	}
	return ""
}
