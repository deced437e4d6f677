package nhi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of a record: it is held in memory, and is in each decision about its identity.
const (
	maxID    = 2048
	maxLabel = 128
	// MaxReach is the most tools, and the most datasets, that one record names.
	MaxReach = 256
	maxReach = 256 // bytes of one of them
)

var (
	// SPIFFE IDs have kinds of their own; "spiffe:" without slashes is a mistake and no kind.
	kindForm    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9._/@:+=,~-]+$`)
	tenantForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	wordForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)
	purposeForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// Fault is one thing that is wrong with a record. Field is its key in documents.
type Fault struct{ Field, Text string }

func (f Fault) String() string { return f.Field + ": " + f.Text }

// Purposes returns those that the shipped policies know.
func Purposes() []Purpose {
	return []Purpose{
		PurposeFeatureExtraction, PurposeInference, PurposeEvaluation, PurposeTraining, PurposeRetrieval,
		PurposeIngestion, PurposeOrchestration, PurposeCI, PurposeBatch,
	}
}

// Zones returns all there are.
func Zones() []Zone { return []Zone{ZoneTrusted, ZoneSemiTrusted, ZoneUntrusted} }

// Credentials returns all kinds of credentials there are.
func Credentials() []CredentialKind {
	return []CredentialKind{CredentialPermanent, CredentialShortLived, CredentialAttested}
}

// Lifecycles returns all steps of a life.
func Lifecycles() []Lifecycle {
	return []Lifecycle{LifecycleEnrolled, LifecycleActive, LifecycleRetired}
}

// Fold returns the form under which ids are kept apart: two that differ in case alone are one
// identity.
func Fold(id string) string { return strings.ToLower(id) }

// Kind returns what an id is one of: "spiffe", or what stands before the colon of a KIND:NAME.
func Kind(id string) string {
	kind, _, _ := strings.Cut(id, ":")
	return kind
}

// Tidy puts lists in order and leaves out what stands twice. The lists that were there are not
// written to.
func (r *Record) Tidy() {
	for _, list := range []*[]string{&r.Tools, &r.Datasets} {
		if len(*list) == 0 {
			*list = nil
			continue
		}
		*list = slices.Compact(slices.Sorted(slices.Values(*list)))
	}
}

// Check returns everything that is wrong with a record, and nothing where it can be kept. What is
// empty is not wrong but the id: that it is not known is for lint to say.
func (r *Record) Check() []Fault {
	var faults []Fault
	bad := func(field, format string, arguments ...any) {
		faults = append(faults, Fault{field, fmt.Sprintf(format, arguments...)})
	}
	if text := checkID(r.ID); text != "" {
		bad("id", "%s", text)
	}
	if r.Tenant != "" && !tenantForm.MatchString(r.Tenant) {
		bad("tenant", "%q is no tenant: lower-case letters, digits, dots and dashes, at most 63",
			attestd.Excerpt(r.Tenant, 40))
	}
	for _, one := range []struct{ field, text string }{
		{"project", r.Project}, {"stage", r.Stage}, {"ring", r.Ring}, {"policy", r.Policy},
	} {
		if one.text != "" && !wordForm.MatchString(one.text) {
			bad(one.field, "%q is no name: letters, digits, dots, dashes and slashes, at most 128",
				attestd.Excerpt(one.text, 40))
		}
	}
	for _, one := range []struct{ field, text string }{{"owner", r.Owner}, {"source", r.Source}} {
		if text := checkLabel(one.text); text != "" {
			bad(one.field, "%s", text)
		}
	}
	if r.Purpose != "" && !purposeForm.MatchString(string(r.Purpose)) {
		bad("purpose", "%q is no purpose: lower-case letters, digits and dashes, at most 63",
			attestd.Excerpt(string(r.Purpose), 40))
	}
	oneOf(bad, "zone", r.Zone, Zones())
	oneOf(bad, "credential", r.Credential, Credentials())
	if r.Credential == CredentialAttested && Kind(r.ID) != "spiffe" {
		bad("credential", "attested is for SPIFFE IDs: behind %s there is no evidence that attestd sees",
			attestd.Excerpt(Kind(r.ID), 40))
	}
	oneOf(bad, "lifecycle", r.Lifecycle, Lifecycles())
	checkReach(bad, "tools", r.Tools)
	checkReach(bad, "datasets", r.Datasets)
	return faults
}

func oneOf[T ~string](bad func(field, format string, arguments ...any), field string, got T, all []T) {
	if got == "" || slices.Contains(all, got) {
		return
	}
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = string(one)
	}
	bad(field, "got %q, want one of: %s", attestd.Excerpt(string(got), 40), strings.Join(names, ", "))
}

func checkID(id string) string {
	switch kind, name, found := strings.Cut(id, ":"); {
	case id == "":
		return "is missing"
	case len(id) > maxID:
		return fmt.Sprintf("has %d bytes, want at most %d", len(id), maxID)
	case strings.HasPrefix(strings.ToLower(id), "spiffe:"):
		if _, err := subject.ParseID(id); err != nil {
			return err.Error()
		}
		return ""
	case !found || !kindForm.MatchString(kind) || !nameForm.MatchString(name):
		return fmt.Sprintf("%q is neither a SPIFFE ID nor KIND:NAME, as in github:acme/train.yml",
			attestd.Excerpt(id, 80))
	}
	return ""
}

// checkLabel looks at words of people. They stand in tables that spreadsheets open: what such a
// program would take for a formula is refused here, once for every way in and out.
func checkLabel(text string) string {
	switch {
	case text == "":
		return ""
	case len(text) > maxLabel:
		return fmt.Sprintf("has %d bytes, want at most %d", len(text), maxLabel)
	case !utf8.ValidString(text), strings.ContainsFunc(text, hidden):
		return "has characters that do not show"
	case strings.TrimSpace(text) != text:
		return "begins or ends with a space"
	case strings.ContainsRune("=+-@", rune(text[0])):
		return fmt.Sprintf("begins with %q, which a spreadsheet takes for a formula", text[:1])
	}
	return ""
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }

// checkReach looks at a blast radius. A "*" within an id would look like a pattern and be none.
func checkReach(bad func(field, format string, arguments ...any), field string, list []string) {
	if len(list) > MaxReach {
		bad(field, "has %d ids, want at most %d", len(list), MaxReach)
		return
	}
	for i, id := range list {
		place := fmt.Sprintf("%s[%d]", field, i)
		star := strings.IndexByte(id, '*')
		switch {
		case id == "":
			bad(place, "is empty; an empty id would never, or always, match")
		case len(id) > maxReach:
			bad(place, "has %d bytes, want at most %d", len(id), maxReach)
		case strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }):
			bad(place, "%q has characters other than visible ASCII", attestd.Excerpt(id, 40))
		case star >= 0 && star != len(id)-1:
			bad(place, "%q has a \"*\" that is not its last character", attestd.Excerpt(id, 40))
		case strings.IndexByte("=+-@", id[0]) >= 0:
			bad(place, "begins with %q, which a spreadsheet takes for a formula", id[:1])
		case i > 0 && list[i-1] >= id:
			bad(place, "%q stands twice, or out of order", attestd.Excerpt(id, 40))
		}
	}
}
