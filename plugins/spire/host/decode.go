package host

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/token"

	"github.com/attestd/attestd"
)

// maxConfiguration bounds a configuration, far above any that a person writes.
const maxConfiguration = 1 << 20

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Line in the plugin's data as SPIRE hands it over; 0 where it belongs to no line.
	Line int
	// Key is the path of the key, as in "tpm.state_dir"; empty where it belongs to none.
	Key  string
	Text string
}

// String is the problem as people read it.
func (p Problem) String() string {
	var out strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&out, "line %d: ", p.Line)
	}
	if p.Key != "" {
		out.WriteString(p.Key + ": ")
	}
	out.WriteString(p.Text)
	return out.String()
}

// Problems are all that is wrong with a configuration; empty means nothing is.
type Problems []Problem

// Strings are the problems as people read them.
func (p Problems) Strings() []string {
	out := make([]string, 0, len(p))
	for _, problem := range p {
		out = append(out, problem.String())
	}
	return out
}

// Decode reads a plugin's HCL (version 1) into the struct that into points to, and returns every
// problem at once. It takes less than the HCL library does: a key must be one of the struct's, as its
// tag `hcl:"key"` spells it, and stand once; a value must be of the field's type; text and lists must
// not be empty. `hcl:"key,required"` demands the key. A key that is absent leaves its field as it was,
// so defaults are set before.
//
// Fields are string, bool, int, time.Duration (text, as in "2s"), []string, a struct or a pointer to one
// (a block), and embedded structs, whose keys stand beside the others.
func Decode(text string, into any) Problems {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		return Problems{{Text: "internal error: a configuration is read into a pointer to a struct"}}
	}
	if len(text) > maxConfiguration {
		return Problems{{Text: fmt.Sprintf("has %d bytes, want at most %d", len(text), maxConfiguration)}}
	}
	// The library's own check for duplicates stops at the first; the walk below names them all.
	file, err := parser.ParseDontErrorOnDuplicateKeys([]byte(text))
	if err != nil {
		var at *parser.PosError
		if errors.As(err, &at) {
			return Problems{{Line: at.Pos.Line, Text: "is not HCL: " + attestd.Excerpt(at.Err.Error(), 200)}}
		}
		return Problems{{Text: "is not HCL: " + attestd.Excerpt(err.Error(), 200)}}
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return Problems{{Text: "is not HCL: want keys and values"}}
	}
	walk := &hclWalk{}
	walk.object(list, target.Elem(), "", 0)
	slices.SortStableFunc(walk.problems, func(a, b Problem) int { return a.Line - b.Line })
	return walk.problems
}

type hclWalk struct{ problems Problems }

func (w *hclWalk) add(line int, key, format string, args ...any) {
	w.problems = append(w.problems, Problem{Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// field is one key that a struct has.
type field struct {
	key      string
	required bool
	value    reflect.Value
}

func fieldsOf(target reflect.Value) []field {
	var out []field
	for i := range target.NumField() {
		definition := target.Type().Field(i)
		tag, tagged := definition.Tag.Lookup("hcl")
		if !tagged {
			if definition.Anonymous && definition.Type.Kind() == reflect.Struct {
				out = append(out, fieldsOf(target.Field(i))...)
			}
			continue
		}
		key, option, _ := strings.Cut(tag, ",")
		out = append(out, field{key: key, required: option == "required", value: target.Field(i)})
	}
	return out
}

func (w *hclWalk) object(list *ast.ObjectList, target reflect.Value, path string, line int) {
	fields := fieldsOf(target)
	seen := map[string]int{}
	for _, item := range list.Items {
		at := item.Pos().Line
		name, ok := item.Keys[0].Token.Value().(string)
		if !ok {
			w.add(at, path, "a key is not text")
			continue
		}
		key := join(path, attestd.Excerpt(name, 60))
		index := slices.IndexFunc(fields, func(f field) bool { return f.key == name })
		switch {
		case index < 0:
			w.add(at, key, "there is no such key; want one of %s", strings.Join(keysOf(fields), ", "))
		case len(item.Keys) > 1:
			w.add(at, key, "a block of this name has no label")
		case seen[name] > 0:
			w.add(at, key, "stands twice, first in line %d", seen[name])
		default:
			seen[name] = max(at, 1)
			w.value(item.Val, fields[index].value, key, at)
		}
	}
	for _, one := range fields {
		if one.required && seen[one.key] == 0 {
			w.add(line, join(path, one.key), "is missing")
		}
	}
}

func keysOf(fields []field) []string {
	keys := make([]string, 0, len(fields))
	for _, one := range fields {
		keys = append(keys, one.key)
	}
	return keys
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (w *hclWalk) value(node ast.Node, target reflect.Value, key string, line int) {
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	switch {
	case target.Type() == reflect.TypeFor[time.Duration]():
		text, ok := w.text(node, key, line)
		if !ok {
			return
		}
		duration, err := time.ParseDuration(text)
		if err != nil {
			w.add(line, key, "got %q, want a duration, as in \"2s\"", attestd.Excerpt(text, 40))
			return
		}
		target.SetInt(int64(duration))
	case target.Kind() == reflect.String:
		if text, ok := w.text(node, key, line); ok {
			target.SetString(text)
		}
	case target.Kind() == reflect.Bool, target.Kind() == reflect.Int:
		w.literal(node, target, key, line)
	case target.Type() == reflect.TypeFor[[]string]():
		w.list(node, target, key, line)
	case target.Kind() == reflect.Struct:
		object, ok := node.(*ast.ObjectType)
		if !ok {
			w.add(line, key, "got %s, want a block", kindOf(node))
			return
		}
		w.object(object.List, target, key, line)
	default:
		w.add(line, key, "internal error: a field of type %s cannot be read", target.Type())
	}
}

// text reads a string that is not empty: an empty value is a slip that would otherwise mean "any".
func (w *hclWalk) text(node ast.Node, key string, line int) (string, bool) {
	literal, ok := node.(*ast.LiteralType)
	if !ok || literal.Token.Type != token.STRING && literal.Token.Type != token.HEREDOC {
		w.add(line, key, "got %s, want text in quotes", kindOf(node))
		return "", false
	}
	text, ok := literal.Token.Value().(string)
	if !ok || strings.TrimSpace(text) == "" {
		w.add(line, key, "is empty")
		return "", false
	}
	return text, true
}

func (w *hclWalk) literal(node ast.Node, target reflect.Value, key string, line int) {
	want, kind := token.BOOL, "true or false"
	if target.Kind() == reflect.Int {
		want, kind = token.NUMBER, "a whole number"
	}
	literal, ok := node.(*ast.LiteralType)
	if !ok || literal.Token.Type != want {
		w.add(line, key, "got %s, want %s", kindOf(node), kind)
		return
	}
	if want == token.BOOL {
		target.SetBool(literal.Token.Text == "true")
		return
	}
	number, err := strconv.ParseInt(literal.Token.Text, 10, 32)
	if err != nil {
		w.add(line, key, "got %q, want %s", attestd.Excerpt(literal.Token.Text, 40), kind)
		return
	}
	target.SetInt(number)
}

func (w *hclWalk) list(node ast.Node, target reflect.Value, key string, line int) {
	list, ok := node.(*ast.ListType)
	if !ok {
		w.add(line, key, "got %s, want a list", kindOf(node))
		return
	}
	if len(list.List) == 0 {
		w.add(line, key, "is empty")
		return
	}
	texts := make([]string, 0, len(list.List))
	for index, element := range list.List {
		at := line
		if literal, ok := element.(*ast.LiteralType); ok && literal.Pos().Line > 0 {
			at = literal.Pos().Line
		}
		if text, ok := w.text(element, fmt.Sprintf("%s[%d]", key, index), at); ok {
			texts = append(texts, text)
		}
	}
	target.Set(reflect.ValueOf(texts))
}

func kindOf(node ast.Node) string {
	switch node := node.(type) {
	case *ast.ListType:
		return "a list"
	case *ast.ObjectType:
		return "a block"
	case *ast.LiteralType:
		switch node.Token.Type {
		case token.NUMBER, token.FLOAT:
			return "a number"
		case token.BOOL:
			return "true or false"
		case token.STRING, token.HEREDOC:
			return "text"
		}
	}
	return "something else"
}
