package attestd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind of a fact's value.
type Kind uint8

// Kinds of values. The zero Kind is a value that was never set; no rule accepts it.
const (
	KindNone Kind = iota
	// KindNotVisible says that this evidence cannot show the fact, because its version has no field
	// for it. Not visible is not "no": it satisfies no rule except "any" and never lowers a risk.
	KindNotVisible
	KindBool
	KindUint
	KindText
	KindBytes
	KindTime
	// KindComponents is an ordered list of named version numbers (a TCB).
	KindComponents
)

var kindNames = [...]string{
	"none", "not-visible", "bool", "uint", "text", "bytes", "time", "components",
}

// String returns the kind's name in documentation.
func (k Kind) String() string { return nameOf(kindNames[:], int(k)) }

// Component is one named number of a TCB, as in {"microcode", 219}.
type Component struct {
	Name  string
	Value uint64
}

// Value of a fact. It is immutable; the zero Value is of KindNone.
type Value struct {
	kind       Kind
	number     uint64
	text       string
	raw        []byte
	moment     time.Time
	components []Component
}

// Bool returns a bool value.
func Bool(v bool) Value {
	if v {
		return Value{kind: KindBool, number: 1}
	}
	return Value{kind: KindBool}
}

// Uint returns an unsigned integer value.
func Uint(v uint64) Value { return Value{kind: KindUint, number: v} }

// Text returns a text value. Text from evidence must have been checked or cut (see [Excerpt]).
func Text(v string) Value { return Value{kind: KindText, text: v} }

// Bytes returns a byte-string value holding a copy of v.
func Bytes(v []byte) Value {
	raw := make([]byte, len(v))
	copy(raw, v)
	return Value{kind: KindBytes, raw: raw}
}

// Time returns a time value in UTC.
func Time(v time.Time) Value { return Value{kind: KindTime, moment: v.UTC()} }

// Components returns a TCB value holding a copy of v.
func Components(v ...Component) Value {
	return Value{kind: KindComponents, components: slices.Clone(v)}
}

// NotVisible returns the value of a fact that this evidence cannot show.
func NotVisible() Value { return Value{kind: KindNotVisible} }

// Kind returns the kind of the value.
func (v Value) Kind() Kind { return v.kind }

// Bool returns the value, and whether it is a bool.
func (v Value) Bool() (value, ok bool) { return v.number == 1, v.kind == KindBool }

// Uint returns the value, and whether it is an integer.
func (v Value) Uint() (uint64, bool) { return v.number, v.kind == KindUint }

// Text returns the value, and whether it is text.
func (v Value) Text() (string, bool) { return v.text, v.kind == KindText }

// Bytes returns a copy of the value, and whether it is a byte string.
func (v Value) Bytes() ([]byte, bool) { return bytes.Clone(v.raw), v.kind == KindBytes }

// Time returns the value in UTC, and whether it is a time.
func (v Value) Time() (time.Time, bool) { return v.moment, v.kind == KindTime }

// Components returns a copy of the value, and whether it is a list of components.
func (v Value) Components() ([]Component, bool) {
	return slices.Clone(v.components), v.kind == KindComponents
}

// String returns the value as people read it: hex for bytes, RFC 3339 for times,
// "bootloader=3 tee=0 snp=8" for components.
func (v Value) String() string {
	switch v.kind {
	case KindNotVisible:
		return "not visible"
	case KindBool:
		return strconv.FormatBool(v.number == 1)
	case KindUint:
		return strconv.FormatUint(v.number, 10)
	case KindText:
		return v.text
	case KindBytes:
		return hex.EncodeToString(v.raw)
	case KindTime:
		return v.moment.Format(time.RFC3339Nano)
	case KindComponents:
		parts := make([]string, len(v.components))
		for i, c := range v.components {
			parts[i] = c.Name + "=" + strconv.FormatUint(c.Value, 10)
		}
		return strings.Join(parts, " ")
	default:
		return "(not set)"
	}
}

// MarshalJSON writes bools and numbers as such, bytes as lower-case hex, times as RFC 3339,
// components as an object, and a fact that is not visible as null.
func (v Value) MarshalJSON() ([]byte, error) { return v.appendJSON(nil) }

// appendJSON is MarshalJSON into a buffer: every verdict writes some fifty facts.
func (v Value) appendJSON(out []byte) ([]byte, error) {
	switch v.kind {
	case KindNotVisible:
		return append(out, "null"...), nil
	case KindBool:
		return strconv.AppendBool(out, v.number == 1), nil
	case KindUint:
		return strconv.AppendUint(out, v.number, 10), nil
	case KindBytes:
		return append(hex.AppendEncode(append(out, '"'), v.raw), '"'), nil
	case KindText:
		return appendText(out, v.text)
	case KindTime:
		return append(v.moment.AppendFormat(append(out, '"'), time.RFC3339Nano), '"'), nil
	case KindComponents:
		out = append(out, '{')
		for i, c := range v.components {
			if i > 0 {
				out = append(out, ',')
			}
			var err error
			if out, err = appendText(out, c.Name); err != nil {
				return nil, err
			}
			out = strconv.AppendUint(append(out, ':'), c.Value, 10)
		}
		return append(out, '}'), nil
	default:
		return nil, fmt.Errorf("a fact without a value cannot be written")
	}
}

// appendText writes a JSON string. Text that needs no escaping is copied, all other goes through
// encoding/json.
func appendText(out []byte, text string) ([]byte, error) {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			escaped, err := json.Marshal(text)
			return append(out, escaped...), err
		}
	}
	return append(append(append(out, '"'), text...), '"'), nil
}

// Fact is one named statement that verified evidence makes.
type Fact struct {
	Name  string
	Value Value
}

// FactSpec documents a fact; docs/claims.md is made from it.
type FactSpec struct {
	Name string
	Kind Kind
	// Meaning in one sentence, with the unit.
	Meaning string
	// Spec names document, revision and section.
	Spec string
}
