package config

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

var durationType = reflect.TypeFor[time.Duration]()

// reader fills a Config from a document by the tags of its fields.
type reader struct {
	nodes  map[string]*yamldoc.Node
	report func(format string, args ...any)
}

// problem reports at the line of the key, or with the key's path where the document has no such
// key (the default is then what does not fit).
func (r reader) problem(path, format string, args ...any) {
	if node := r.nodes[path]; node != nil {
		node.Problem(format, args...)
		return
	}
	r.report("%s: %s", path, fmt.Sprintf(format, args...))
}

// document reads the outermost map, which has the schema beside the fields.
func (r reader) document(root *yamldoc.Node, config *Config) {
	value := reflect.ValueOf(config).Elem()
	fields, _ := root.Fields([]string{"schema"}, keysOf(value.Type()))
	if schema := fields.Get("schema"); schema != nil && !schema.IsText(Schema) {
		schema.Problem("want %q", Schema)
	}
	r.fields(fields, value, "")
}

func (r reader) fields(fields yamldoc.Fields, into reflect.Value, path string) {
	for i, key := range keysOf(into.Type()) {
		if node := fields.Get(key); node != nil {
			r.value(node, into.Field(i), join(path, key))
		}
	}
}

func (r reader) value(node *yamldoc.Node, into reflect.Value, path string) {
	r.nodes[path] = node
	switch {
	case into.Type() == durationType:
		if text, ok := node.Text(); ok {
			duration, err := time.ParseDuration(text)
			if err != nil || duration <= 0 {
				node.Problem("got %q, want a duration above zero, as in 30s", attestd.Excerpt(text, 30))
			}
			into.SetInt(int64(duration))
		}
	case into.Kind() == reflect.Struct:
		fields, _ := node.Fields(nil, keysOf(into.Type()))
		r.fields(fields, into, path)
	case into.Kind() == reflect.Slice:
		items, _ := node.Items()
		texts := make([]string, 0, len(items))
		for _, item := range items {
			if text, ok := item.Text(); ok {
				texts = append(texts, text)
			}
		}
		into.Set(reflect.ValueOf(texts))
	case into.Kind() == reflect.Int:
		if number, ok := node.Uint(); ok {
			if number > math.MaxInt32 {
				node.Problem("got %d, want at most %d", number, math.MaxInt32)
				return
			}
			into.SetInt(int64(number)) //nolint:gosec // at most MaxInt32
		}
	case into.Kind() == reflect.Bool:
		if flag, ok := node.Flag(); ok {
			into.SetBool(flag)
		}
	default:
		if text, ok := node.Text(); ok {
			into.SetString(text)
		}
	}
}

func keysOf(of reflect.Type) []string {
	keys := make([]string, of.NumField())
	for i := range keys {
		keys[i] = of.Field(i).Tag.Get("key")
	}
	return keys
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Key documents one key of the configuration.
type Key struct{ Path, Default, Doc string }

// Keys lists every key with its default, in the order of the document. docs/config.md is compared
// with it.
func Keys() []Key {
	return keysUnder(reflect.ValueOf(Default()), "")
}

func keysUnder(value reflect.Value, path string) []Key {
	var keys []Key
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name := join(path, field.Tag.Get("key"))
		if field.Type.Kind() == reflect.Struct {
			keys = append(keys, keysUnder(value.Field(i), name)...)
			continue
		}
		shown := fmt.Sprint(value.Field(i).Interface())
		switch {
		case field.Type.Kind() == reflect.Slice:
			shown = strings.Trim(shown, "[]")
		case field.Type == durationType: // "1m0s" is how nobody writes it
			for _, tail := range []string{"m0s", "h0m"} {
				if strings.HasSuffix(shown, tail) {
					shown = shown[:len(shown)-len(tail)+1]
				}
			}
		}
		if shown == "" {
			shown = "none"
		}
		keys = append(keys, Key{Path: name, Default: shown, Doc: field.Tag.Get("doc")})
	}
	return keys
}
