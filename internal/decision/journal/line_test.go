package journal_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

// fill sets every field below a value to something that is not zero.
func fill(value reflect.Value, text string) {
	switch at := value.Addr().Interface().(type) {
	case *time.Time:
		*at = begin.Add(123456789)
		return
	case *attestd.RiskScore:
		*at = attestd.Risk(45)
		return
	case *netip.Addr:
		*at = netip.MustParseAddr("2001:db8::7")
		return
	case *map[string]any:
		*at = map[string]any{text: []any{text, 1.5, nil, map[string]any{"z": 1, "a": 2}}}
		return
	}
	switch value.Kind() {
	case reflect.String:
		value.SetString(text)
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Int, reflect.Int64:
		value.SetInt(-3)
	case reflect.Uint8, reflect.Uint64:
		value.SetUint(2)
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem(), text)
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 2, 2))
		fill(value.Index(0), text)
		fill(value.Index(1), text)
	case reflect.Array:
		for index := range value.Len() {
			fill(value.Index(index), text)
		}
	case reflect.Struct:
		for index := range value.NumField() {
			fill(value.Field(index), text)
		}
	}
}

// TestALineIsWhatJSONIs: whatever a record has, its line is the one that json.Marshal makes. A field that
// is added to an input is in the line without anybody's help.
func TestALineIsWhatJSONIs(t *testing.T) {
	records := map[string]journal.Record{
		"zero": {}, "an allow": journal.RecordOf(answer(1, begin, ""), "x"),
		"a denial": journal.RecordOf(answer(1, begin.In(time.FixedZone("x", 3600)), decision.CodeRing), "x"),
		"empty parts": {Input: &decision.Input{Supported: []string{}}, Result: &decision.Result{
			Reasons: []decision.Reason{}, Obligations: []decision.Obligation{{}}}},
	}
	for _, text := range []string{"x", `"\`, "<&>", "\x00\n\x7f", "ä\u2028", "\xff", "\ud7ff"} {
		var full journal.Record
		fill(reflect.ValueOf(&full).Elem(), text)
		records["full of "+text] = full
	}
	for name, record := range records {
		want, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		got, err := journal.AppendRecord(nil, &record)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	for name, broken := range map[string]journal.Record{
		"a year that has five digits": {At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"no number": {Result: &decision.Result{Obligations: []decision.Obligation{{
			Properties: map[string]any{"x": math.NaN()}}}}},
	} {
		_, want := json.Marshal(broken)
		if _, err := journal.AppendRecord(nil, &broken); err == nil || want == nil {
			t.Errorf("%s is written: %v, %v", name, err, want)
		}
	}
}

// TestWhatCannotBeWrittenHoldsUpNobody: a record without what could not be written is written in its
// place, and those behind it are whole.
func TestWhatCannotBeWrittenHoldsUpNobody(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	broken := answer(1, begin, decision.CodeRing)
	broken.Obligations[0].Properties["x"] = math.NaN()
	w.keep(t, broken, answer(2, begin, ""))
	w.stop()
	found := w.all(t)
	if len(found) != 2 || found[0].Result != nil || !found[0].Scrubbed || found[0].Reason != decision.CodeRing ||
		found[1].Result == nil {
		t.Errorf("%+v", found)
	}
}
