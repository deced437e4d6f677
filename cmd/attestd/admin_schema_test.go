package main

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
	whynot "github.com/attestd/attestd/internal/why"
)

// words are values for texts that come from a closed list, by the name of their field.
var words = map[string]string{
	"action": "quarantine", "severity": "warning", "level": "info", "code": "overdue", "status": "pending",
	"ownership": "enrolment", "method": "inventory", "zone": "trusted", "credential": "attested",
	"lifecycle": "active", "kind": "added",
}

// fill sets every field of a document to something that is not its zero value.
func fill(value reflect.Value, name, state string) {
	switch at := value.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		return
	case *attestd.RiskScore:
		*at = attestd.Risk(12)
		return
	}
	switch value.Kind() {
	case reflect.String:
		text := "x"
		if word, closed := words[name]; closed {
			text = word
		}
		if name == "state" {
			text = state
		}
		value.SetString(text)
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Int, reflect.Int64:
		value.SetInt(1)
	case reflect.Uint8, reflect.Uint64:
		value.SetUint(1)
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 1, 1))
		fill(value.Index(0), name, state)
	case reflect.Map:
		value.Set(reflect.MakeMap(value.Type()))
		one := reflect.New(value.Type().Elem()).Elem()
		fill(one, "", state)
		value.SetMapIndex(reflect.ValueOf("x"), one)
	case reflect.Struct:
		for i := range value.NumField() {
			key, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			fill(value.Field(i), key, state)
		}
	}
}

// TestSchemasOfTheAdminAPIAreItsDocuments: a document with every field set obeys its schema, and one
// that lacks a demanded field or has another one does not: schema and code cannot drift apart.
func TestSchemasOfTheAdminAPIAreItsDocuments(t *testing.T) {
	for _, row := range []struct {
		name, state string
		doc         any
	}{
		{"attestd.whoami.v1", "", new(wire.Whoami)},
		{"attestd.receipt.v1", "durable", new(wire.Receipt)},
		{"attestd.subject.v1", "", new(wire.Subject)},
		{"attestd.subjects.v1", "", new(wire.Subjects)},
		{"attestd.history.v1", "", new(wire.History)},
		{"attestd.why.v1", "", new(wire.Why)},
		{"attestd.reattest.v1", "waiting", new(wire.Reattest)},
		{"attestd.grant.v1", "", new(wire.Grant)},
		{"attestd.enrolments.v1", "", new(wire.Enrolments)},
		{"attestd.imported.v1", "", new(wire.Imported)},
		{"attestd.enrolment.v1", "", new(wire.Decided)},
		{"attestd.enrolment-token.v1", "", new(wire.Token)},
		{"attestd.operators.v1", "", new(wire.Operators)},
		{"attestd.operator-added.v1", "", new(wire.OperatorAdded)},
		{"attestd.login.v1", "", new(wire.LoggedIn)},
		{"attestd.reappraisal.v1", "running", new(wire.Reappraisal)},
		{"attestd.status.v1", "ok", new(wire.Status)},
		{"attestd.conditions.v1", "", new(wire.Conditions)},
		{"attestd.audit-entries.v1", "", new(wire.AuditEntries)},
		{"attestd.log-level.v1", "", new(wire.LogLevel)},
		{"attestd.records.v1", "", new(wire.Records)},
		{"attestd.record.v1", "", new(wire.Record)},
		{"attestd.records-changed.v1", "", new(wire.RecordsChanged)},
		{"attestd.inventory-lint.v1", "", new(wire.InventoryLint)},
		{"attestd.inventory-report.v1", "", new(nhi.Report)},
		{"attestd.keys.v1", "active", new(wire.Keys)},
		{"attestd.key-rotated.v1", "next", new(wire.KeyRotated)},
		{"attestd.key-compromised.v1", "withdrawn", new(wire.KeyCompromised)},
	} {
		value := reflect.ValueOf(row.doc).Elem()
		fill(value, "", row.state)
		value.FieldByName("Schema").SetString(row.name)
		full, err := json.Marshal(row.doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := obeysSchema(row.name, full); err != nil {
			t.Errorf("%s: a full document: %v", row.name, err)
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(full, &fields); err != nil {
			t.Fatal(err)
		}
		for i := range value.NumField() {
			key, optional, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
			less := maps.Clone(fields)
			delete(less, key)
			doc, _ := json.Marshal(less)
			err := obeysSchema(row.name, doc)
			if demanded := optional == "" || key == "schema"; demanded != (err != nil) {
				t.Errorf("%s without %s: %v", row.name, key, err)
			}
		}
		fields["another"] = json.RawMessage("1")
		doc, _ := json.Marshal(fields)
		if obeysSchema(row.name, doc) == nil {
			t.Errorf("%s takes a field that nobody has described", row.name)
		}
	}
}

// TestSchemaOfWhyListsItsCodes: programs switch on them.
func TestSchemaOfWhyListsItsCodes(t *testing.T) {
	for _, code := range append(whynot.Codes(), "made-up") {
		doc, err := json.Marshal(wire.Why{Schema: whynot.Schema, Target: "x", Steps: []wire.WhyStep{}, Code: code})
		if err != nil {
			t.Fatal(err)
		}
		if known := slices.Contains(whynot.Codes(), code); known != (obeysSchema(whynot.Schema, doc) == nil) {
			t.Errorf("code %q: known %t, and the schema says otherwise", code, known)
		}
	}
}
