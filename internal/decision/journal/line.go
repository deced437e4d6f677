package journal

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Each decision is written, so writing it must cost little beside deciding it. What follows makes the
// line that json.Marshal makes, byte for byte, and several times as fast: types are looked at once, and
// values are added to one buffer. What it does not know it leaves to json.Marshal. A test compares both.

// appender adds a value to a line.
type appender func(line []byte, value reflect.Value) ([]byte, error)

// member is a field of a struct.
type member struct {
	index int
	// key is its name with quotes and colon.
	key    string
	append appender
	// omitted reports whether the value is left out.
	omitted func(reflect.Value) bool
}

// recordLine adds a record, as the value that a pointer points to.
var recordLine = appenderOf(reflect.TypeFor[Record]())

// appendRecord adds a record to a line.
func appendRecord(line []byte, record *Record) ([]byte, error) {
	return recordLine(line, reflect.ValueOf(record).Elem())
}

func appenderOf(kind reflect.Type) appender {
	pointer := reflect.PointerTo(kind)
	switch {
	case kind == reflect.TypeFor[time.Time]():
		return appendTime
	case kind == reflect.TypeFor[attestd.RiskScore]():
		return appendRisk
	case pointer.Implements(reflect.TypeFor[json.Marshaler]()):
		return appendAny
	case pointer.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return appendText
	}
	switch kind.Kind() {
	case reflect.String:
		return func(line []byte, value reflect.Value) ([]byte, error) { return appendString(line, value.String()) }
	case reflect.Bool:
		return func(line []byte, value reflect.Value) ([]byte, error) {
			return strconv.AppendBool(line, value.Bool()), nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(line []byte, value reflect.Value) ([]byte, error) {
			return strconv.AppendInt(line, value.Int(), 10), nil
		}
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(line []byte, value reflect.Value) ([]byte, error) {
			return strconv.AppendUint(line, value.Uint(), 10), nil
		}
	case reflect.Struct:
		return structAppender(kind)
	case reflect.Pointer:
		if kind.Elem().Kind() == reflect.Struct {
			return pointerAppender(appenderOf(kind.Elem()))
		}
	case reflect.Slice:
		if kind.Elem().Kind() != reflect.Uint8 {
			return listAppender(appenderOf(kind.Elem()))
		}
	}
	return appendAny
}

// appendAny leaves a value to json.Marshal. Values are reached through a pointer to the record, so they
// have addresses.
func appendAny(line []byte, value reflect.Value) ([]byte, error) {
	document, err := json.Marshal(value.Addr().Interface())
	return append(line, document...), err
}

func appendTime(line []byte, value reflect.Value) ([]byte, error) {
	line = append(line, '"')
	line, err := value.Addr().Interface().(*time.Time).AppendText(line)
	return append(line, '"'), err
}

func appendRisk(line []byte, value reflect.Value) ([]byte, error) {
	return strconv.AppendInt(line, int64(value.Addr().Interface().(*attestd.RiskScore).Int()), 10), nil
}

func appendText(line []byte, value reflect.Value) ([]byte, error) {
	text, err := value.Addr().Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return line, err
	}
	return appendString(line, string(text))
}

// appendString adds a text. What json.Marshal would escape it does escape.
func appendString(line []byte, text string) ([]byte, error) {
	for index := range len(text) {
		switch char := text[index]; {
		case char < ' ', char >= 0x7f, char == '"', char == '\\', char == '<', char == '>', char == '&':
			document, err := json.Marshal(text)
			return append(line, document...), err
		}
	}
	line = append(line, '"')
	line = append(line, text...)
	return append(line, '"'), nil
}

func pointerAppender(to appender) appender {
	return func(line []byte, value reflect.Value) ([]byte, error) {
		if value.IsNil() {
			return append(line, "null"...), nil
		}
		return to(line, value.Elem())
	}
}

func listAppender(of appender) appender {
	return func(line []byte, value reflect.Value) (_ []byte, err error) {
		if value.IsNil() {
			return append(line, "null"...), nil
		}
		line = append(line, '[')
		for index := range value.Len() {
			if index > 0 {
				line = append(line, ',')
			}
			if line, err = of(line, value.Index(index)); err != nil {
				return line, err
			}
		}
		return append(line, ']'), nil
	}
}

func structAppender(kind reflect.Type) appender {
	var members []member
	for index := range kind.NumField() {
		field := kind.Field(index)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || !field.IsExported() {
			continue
		}
		if field.Anonymous || name == "" || options != "" && options != "omitempty" && options != "omitzero" {
			return appendAny // nothing of the kind is in a record today
		}
		members = append(members, member{
			index: index, key: strconv.Quote(name) + ":", append: appenderOf(field.Type),
			omitted: omission(options, field.Type),
		})
	}
	return func(line []byte, value reflect.Value) (_ []byte, err error) {
		line = append(line, '{')
		for index := range members {
			one := &members[index]
			field := value.Field(one.index)
			if one.omitted(field) {
				continue
			}
			if line[len(line)-1] != '{' {
				line = append(line, ',')
			}
			line = append(line, one.key...)
			if line, err = one.append(line, field); err != nil {
				return line, err
			}
		}
		return append(line, '}'), nil
	}
}

// omission returns what leaves a field out, as the options of its tag say (encoding/json, Marshal).
func omission(options string, kind reflect.Type) func(reflect.Value) bool {
	never := func(reflect.Value) bool { return false }
	switch {
	case options == "omitzero" && kind == reflect.TypeFor[time.Time]():
		return func(value reflect.Value) bool { return value.Addr().Interface().(*time.Time).IsZero() }
	case options == "omitzero":
		return reflect.Value.IsZero
	case options == "":
		return never
	}
	switch kind.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return func(value reflect.Value) bool { return value.Len() == 0 }
	case reflect.Struct, reflect.Array:
		return never
	default:
		return reflect.Value.IsZero
	}
}
