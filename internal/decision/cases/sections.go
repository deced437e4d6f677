package cases

import (
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/yamldoc"
)

// section is one map of a case.
type section struct {
	key    string
	fields []field
	// none is what the word none does in place of the map; nil where it says nothing.
	none func(in *decision.Input)
	// begin is done before the fields are read, done after.
	begin func(in *decision.Input)
	done  func(node *yamldoc.Node, given yamldoc.Fields, in *decision.Input)
}

// field is one key of a section.
type field struct {
	name string
	set  func(node *yamldoc.Node, in *decision.Input)
}

// sections are all of a case, in the order in which they are applied.
var sections = []section{whoSection, standingSection, recordSection, resourceSection, contextSection}

func (s *section) names() []string {
	out := make([]string, len(s.fields))
	for i, one := range s.fields {
		out[i] = one.name
	}
	return out
}

func (s *section) read(node *yamldoc.Node, in *decision.Input) {
	if s.none != nil && node.IsText(None) {
		s.none(in)
		return
	}
	given, _ := node.Fields(nil, s.names())
	if s.begin != nil {
		s.begin(in)
	}
	for _, one := range s.fields {
		if value := given.Get(one.name); value != nil {
			one.set(value, in)
		}
	}
	if s.done != nil {
		s.done(node, given, in)
	}
}

// text reads a text; the word none is the empty one.
func text[T ~string](name string, at func(in *decision.Input) *T) field {
	return field{name, func(node *yamldoc.Node, in *decision.Input) {
		if value, ok := node.Text(); ok {
			if value == None {
				value = ""
			}
			*at(in) = T(value)
		}
	}}
}

// words reads a list of texts; the word none is the empty list.
func words(name string, set func(in *decision.Input, list []string)) field {
	return field{name, func(node *yamldoc.Node, in *decision.Input) {
		if node.IsText(None) {
			set(in, nil)
			return
		}
		items, ok := node.Items()
		list := make([]string, 0, len(items))
		for _, item := range items {
			value, fine := item.Text()
			list, ok = append(list, value), ok && fine
		}
		if ok {
			set(in, list)
		}
	}}
}

func flag(name string, set func(in *decision.Input, value bool)) field {
	return field{name, func(node *yamldoc.Node, in *decision.Input) {
		if value, ok := node.Flag(); ok {
			set(in, value)
		}
	}}
}

// number reads a whole number of at most a hundred: all that there are here are shares.
func number(name string, set func(in *decision.Input, value int)) field {
	return field{name, func(node *yamldoc.Node, in *decision.Input) {
		value, ok := node.Uint()
		switch {
		case !ok:
		case value > 100:
			node.Problem("got %d, want 0 to 100", value)
		default:
			set(in, int(value))
		}
	}}
}

// oneOf reads one of some words.
func oneOf[T ~string](name string, at func(in *decision.Input) *T, all ...T) field {
	return field{name, func(node *yamldoc.Node, in *decision.Input) {
		value, ok := node.Text()
		if !ok {
			return
		}
		if !slices.Contains(all, T(value)) {
			known := make([]string, len(all))
			for i, one := range all {
				known[i] = string(one)
			}
			node.Problem("%q is none there is%s", attestd.Excerpt(value, 40), yamldoc.DidYouMean(value, known))
			return
		}
		*at(in) = T(value)
	}}
}

func code(name string, set func(in *decision.Input, code decision.Code)) field {
	return field{name, func(node *yamldoc.Node, in *decision.Input) {
		if value, ok := node.Text(); ok {
			set(in, readCode(node, value))
		}
	}}
}

// nobody is what a question is of whose credential nobody could verify.
func nobody(in *decision.Input) {
	in.Who, in.Standing, in.Record = decision.Who{}, decision.Standing{Status: "none"}, nil
}

var whoSection = section{
	key: "who", none: nobody,
	fields: []field{
		{"id", func(node *yamldoc.Node, in *decision.Input) {
			value, ok := node.Text()
			if !ok {
				return
			}
			name, spiffe := strings.CutPrefix(value, "spiffe://")
			if faults := (&nhi.Record{ID: value}).Check(); len(faults) != 0 || !spiffe {
				node.Problem("%q is no SPIFFE ID", attestd.Excerpt(value, 80))
				return
			}
			in.Who.ID = subject.ID(value)
			in.Who.TrustDomain, _, _ = strings.Cut(name, "/")
		}},
		{"tenant", func(node *yamldoc.Node, in *decision.Input) {
			if value, ok := node.Text(); ok {
				in.Standing.Tenant = value
				if in.Record != nil {
					in.Record.Tenant = value
				}
				tenantForm(node, value)
			}
		}},
		oneOf("method", func(in *decision.Input) *string { return &in.Who.Method },
			decision.MethodJWT, decision.MethodX509),
		flag("expired", func(in *decision.Input, value bool) {
			if value {
				in.Who.Expires = in.At
			}
		}),
		code("fault", func(in *decision.Input, code decision.Code) {
			nobody(in)
			in.Who.Fault, in.Who.FaultDetail = code, "as the case says"
		}),
	},
}

var standingSection = section{
	key: "standing",
	none: func(in *decision.Input) {
		in.Standing = decision.Standing{Status: "none"}
	},
	fields: []field{
		flag("attested", func(in *decision.Input, value bool) { in.Standing.Attested = value }),
		{"state", func(node *yamldoc.Node, in *decision.Input) {
			value, ok := node.Text()
			if !ok {
				return
			}
			if err := in.Standing.State.UnmarshalText([]byte(value)); err != nil {
				node.Problem("want one of: unknown, trusted, suspect, quarantined, revoked")
			}
		}},
		text("tenant", func(in *decision.Input) *string { return &in.Standing.Tenant }),
		number("risk", func(in *decision.Input, value int) {
			in.Standing.Risk = attestd.Risk(value)
			in.Standing.Tier = in.Standing.Risk.Tier()
		}),
		{"age", func(node *yamldoc.Node, in *decision.Input) {
			value, ok := node.Text()
			if !ok {
				return
			}
			age, err := time.ParseDuration(value)
			if err != nil || age < 0 || age > 10*365*24*time.Hour {
				node.Problem("%q is no age: as 90s, 20m or 3h", attestd.Excerpt(value, 40))
				return
			}
			in.Standing.AttestedAt = in.At.Add(-age)
		}},
		flag("overdue", func(in *decision.Input, value bool) {
			if value {
				in.Standing.DueAt = in.At
			}
		}),
		text("ear_status", func(in *decision.Input) *string { return &in.Standing.Status }),
		text("tee", func(in *decision.Input) *string { return &in.Standing.TEE }),
		text("measurement", func(in *decision.Input) *string { return &in.Standing.Measurement }),
		text("key_grade", func(in *decision.Input) *string { return &in.Standing.KeyGrade }),
		text("devices", func(in *decision.Input) *string { return &in.Standing.Devices }),
		text("weakest_edge", func(in *decision.Input) *string { return &in.Standing.Edge }),
		code("fault", func(in *decision.Input, code decision.Code) { in.Standing.Fault = code }),
	},
}

var recordSection = section{
	key:  "record",
	none: func(in *decision.Input) { in.Record = nil },
	begin: func(in *decision.Input) {
		if in.Record == nil {
			in.Record = Question().Record
		}
	},
	fields: []field{
		text("tenant", func(in *decision.Input) *string { return &in.Record.Tenant }),
		text("project", func(in *decision.Input) *string { return &in.Record.Project }),
		text("owner", func(in *decision.Input) *string { return &in.Record.Owner }),
		text("purpose", func(in *decision.Input) *nhi.Purpose { return &in.Record.Purpose }),
		text("stage", func(in *decision.Input) *string { return &in.Record.Stage }),
		text("ring", func(in *decision.Input) *string { return &in.Record.Ring }),
		text("zone", func(in *decision.Input) *nhi.Zone { return &in.Record.Zone }),
		words("tools", func(in *decision.Input, list []string) { in.Record.Tools = list }),
		words("datasets", func(in *decision.Input, list []string) { in.Record.Datasets = list }),
		text("policy", func(in *decision.Input) *string { return &in.Record.Policy }),
		text("credential", func(in *decision.Input) *nhi.CredentialKind { return &in.Record.Credential }),
		text("lifecycle", func(in *decision.Input) *nhi.Lifecycle { return &in.Record.Lifecycle }),
	},
	done: func(node *yamldoc.Node, _ yamldoc.Fields, in *decision.Input) {
		in.Record.Tidy()
		for _, fault := range in.Record.Check() {
			if fault.Field != "id" {
				node.Problem("%s", fault)
			}
		}
	},
}
