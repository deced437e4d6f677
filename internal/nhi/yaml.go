package nhi

import (
	"strconv"

	"github.com/attestd/attestd/internal/yamldoc"
)

// Schema is what a document of records must say that it is.
const Schema = "attestd.inventory.v1"

// fields are the keys of a record in documents, beside its id, each with where it goes.
var fields = []struct {
	name string
	text func(*Record) *string
	list func(*Record) *[]string
}{
	{name: "tenant", text: func(r *Record) *string { return &r.Tenant }},
	{name: "project", text: func(r *Record) *string { return &r.Project }},
	{name: "owner", text: func(r *Record) *string { return &r.Owner }},
	{name: "purpose", text: func(r *Record) *string { return (*string)(&r.Purpose) }},
	{name: "stage", text: func(r *Record) *string { return &r.Stage }},
	{name: "ring", text: func(r *Record) *string { return &r.Ring }},
	{name: "zone", text: func(r *Record) *string { return (*string)(&r.Zone) }},
	{name: "tools", list: func(r *Record) *[]string { return &r.Tools }},
	{name: "datasets", list: func(r *Record) *[]string { return &r.Datasets }},
	{name: "policy", text: func(r *Record) *string { return &r.Policy }},
	{name: "credential", text: func(r *Record) *string { return (*string)(&r.Credential) }},
	{name: "lifecycle", text: func(r *Record) *string { return (*string)(&r.Lifecycle) }},
}

// FieldNames returns the keys of a record in documents, its id first.
func FieldNames() []string {
	names := []string{"id"}
	for _, one := range fields {
		names = append(names, one.name)
	}
	return names
}

// ParseYAML reads a document of records:
//
//	schema: attestd.inventory.v1
//	records:
//	  - id: spiffe://example.org/agent/rag
//	    tenant: blue
//	    purpose: retrieval
//
// Source names it in messages, and in each record.
//
// Errors: a [*attestd.CallerError] of class MALFORMED around a [*DocumentError] with every problem.
func ParseYAML(source string, document []byte) ([]Record, error) {
	f := faultsOf(source, document)
	root, problems := yamldoc.Parse(f.source, document, MaxDocument)
	found := placesOf(f)
	if root != nil {
		top, _ := root.Fields([]string{"schema", "records"}, nil)
		if schema := top.Get("schema"); schema != nil && !schema.IsText(Schema) {
			schema.Problem("want %q", Schema)
		}
		if list := top.Get("records"); list != nil {
			items, _ := list.Items()
			for i, item := range items {
				found.takeNode(item, "records["+strconv.Itoa(i)+"]")
			}
		}
	}
	f.take(problems.Err())
	return found.done()
}

func (p *places) takeNode(node *yamldoc.Node, where string) {
	given, ok := node.Fields([]string{"id"}, FieldNames()[1:])
	if !ok {
		return
	}
	one := Record{Source: "file:" + p.faults.source}
	one.ID, ok = given.Get("id").Text()
	for _, field := range fields {
		value := given.Get(field.name)
		if value == nil {
			continue
		}
		if field.text != nil {
			text, fine := value.Text()
			*field.text(&one), ok = text, ok && fine
			continue
		}
		items, fine := value.Items()
		ok = ok && fine
		for _, item := range items {
			text, fine := item.Text()
			*field.list(&one), ok = append(*field.list(&one), text), ok && fine
		}
	}
	if !ok {
		return
	}
	p.take(one, node.Line(), 0, where, func(field string) (line, column int) {
		if value := given.Get(field); value != nil {
			return value.Line(), value.Column()
		}
		return 0, 0
	})
}
