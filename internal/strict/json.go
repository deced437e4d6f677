package strict

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/attestd/attestd"
)

// JSONLimits bound a JSON document. A zero limit allows nothing.
type JSONLimits struct {
	// Bytes is the greatest length of the document.
	Bytes int
	// Depth is the greatest nesting of arrays and objects; 1 allows a flat object.
	Depth int
}

// DecodeJSON reads one JSON value (RFC 8259) into the pointer into and accepts less than
// encoding/json does: no invalid UTF-8 and no lone surrogate, no duplicate key at any level, only
// keys that the target has, in its own case, no null for a bool, number, text or struct, nothing
// behind the value, and no more than limits. A target that decodes itself (json.Unmarshaler) decides
// about its keys; duplicates and limits hold within it too. A field that is absent is left as it was:
// the caller checks for what it must have.
//
// Errors: a plain error with the path of the key where there is one; into may be half written then.
func DecodeJSON(data []byte, limits JSONLimits, into any) error {
	target := reflect.TypeOf(into)
	if target == nil || target.Kind() != reflect.Pointer {
		return errors.New("json: the target is not a pointer")
	}
	if len(data) > limits.Bytes {
		return fmt.Errorf("json: document has %d bytes, want at most %d", len(data), limits.Bytes)
	}
	if !utf8.Valid(data) {
		return errors.New("json: document is not valid UTF-8")
	}
	if err := checkSurrogates(data); err != nil {
		return err
	}
	walk := jsonWalk{decoder: json.NewDecoder(bytes.NewReader(data)), limit: limits.Depth}
	walk.decoder.UseNumber()
	if err := walk.value(target.Elem(), nil, 0); err != nil {
		return err
	}
	if _, err := walk.decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("json: bytes follow the value")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("json: %s", attestd.Excerpt(err.Error(), 160))
	}
	return nil
}

// jsonWalk reads a document token by token beside the type it is meant for.
type jsonWalk struct {
	decoder *json.Decoder
	limit   int
}

// path names a place for messages; it is a list so that nothing is built where nothing is wrong.
type path struct {
	up   *path
	name string
}

func (p *path) String() string {
	if p == nil {
		return "document"
	}
	var names []string
	for ; p != nil; p = p.up {
		names = append([]string{p.name}, names...)
	}
	return strings.Join(names, ".")
}

func (p *path) wrong(format string, args ...any) error {
	return fmt.Errorf("json: %s: %s", attestd.Excerpt(p.String(), 80), fmt.Sprintf(format, args...))
}

func (w jsonWalk) value(target reflect.Type, at *path, depth int) error {
	token, err := w.decoder.Token()
	if err != nil {
		return at.wrong("%s", attestd.Excerpt(noEOF(err).Error(), 120))
	}
	if token == nil {
		if !takesNull(target) {
			return at.wrong("null in place of a value")
		}
		return nil
	}
	target = decodedBy(target)
	delim, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	if depth == w.limit {
		return at.wrong("nested deeper than %d", w.limit)
	}
	if delim == '{' {
		err = w.object(target, at, depth+1)
	} else {
		err = w.array(target, at, depth+1)
	}
	if err != nil {
		return err
	}
	if _, err := w.decoder.Token(); err != nil {
		return at.wrong("%s", attestd.Excerpt(noEOF(err).Error(), 120))
	}
	return nil
}

func (w jsonWalk) object(target reflect.Type, at *path, depth int) error {
	names := fieldsOf(target)
	seen := make(map[string]bool)
	for w.decoder.More() {
		token, err := w.decoder.Token()
		if err != nil {
			return at.wrong("%s", attestd.Excerpt(noEOF(err).Error(), 120))
		}
		key, ok := token.(string)
		if !ok {
			return at.wrong("a key that is not a string")
		}
		if seen[key] {
			return at.wrong("duplicate key %q", attestd.Excerpt(key, 40))
		}
		seen[key] = true
		inner := anyType
		switch {
		case names != nil:
			if inner, ok = names[key]; !ok {
				return at.wrong("unknown key %q", attestd.Excerpt(key, 40))
			}
		case target != nil && target.Kind() == reflect.Map:
			inner = target.Elem()
		}
		if err := w.value(inner, &path{up: at, name: key}, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w jsonWalk) array(target reflect.Type, at *path, depth int) error {
	inner := anyType
	if target != nil && (target.Kind() == reflect.Slice || target.Kind() == reflect.Array) {
		inner = target.Elem()
	}
	for index := 0; w.decoder.More(); index++ {
		if err := w.value(inner, &path{up: at, name: strconv.Itoa(index)}, depth); err != nil {
			return err
		}
	}
	return nil
}

var (
	anyType         = reflect.TypeFor[any]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	textType        = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decodedBy strips pointers and returns the type whose keys are known; any for one that reads itself.
func decodedBy(target reflect.Type) reflect.Type {
	for target.Kind() == reflect.Pointer && !readsItself(target, unmarshalerType, textType) {
		target = target.Elem()
	}
	if readsItself(target, unmarshalerType, textType) {
		return anyType
	}
	return target
}

// takesNull reports whether a null says something about target. For a bool, number, text or struct
// it would leave a zero in place of a value that somebody demanded.
func takesNull(target reflect.Type) bool {
	switch target.Kind() {
	case reflect.Interface, reflect.Slice, reflect.Map, reflect.Pointer:
		return true
	default:
		return readsItself(target, unmarshalerType)
	}
}

func readsItself(target reflect.Type, interfaces ...reflect.Type) bool {
	for _, one := range interfaces {
		if target.Implements(one) || reflect.PointerTo(target).Implements(one) {
			return true
		}
	}
	return false
}

// knownFields keeps what fieldsOf found: types are few, and documents many.
var knownFields sync.Map // of reflect.Type to map[string]reflect.Type, which nobody writes to

// fieldsOf returns the exact keys of a struct with the types behind them; nil for any other type.
func fieldsOf(target reflect.Type) map[string]reflect.Type {
	if target == nil || target.Kind() != reflect.Struct {
		return nil
	}
	if known, ok := knownFields.Load(target); ok {
		return known.(map[string]reflect.Type)
	}
	names := make(map[string]reflect.Type)
	for _, field := range reflect.VisibleFields(target) {
		tag := field.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-" || !field.IsExported() || (field.Anonymous && name == ""):
			continue
		case name == "":
			name = field.Name
		}
		names[name] = field.Type
	}
	knownFields.Store(target, names)
	return names
}

// checkSurrogates refuses \u escapes of one half of a surrogate pair (RFC 8259 section 8.2):
// encoding/json reads every one of them as U+FFFD, so that different texts become equal.
func checkSurrogates(data []byte) error {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		unit, ok := escapedUnit(data[i:])
		if !ok {
			i++ // the character behind the backslash; bad escapes are the decoder's to refuse
			continue
		}
		i += 5
		if unit < 0xd800 || unit > 0xdfff {
			continue
		}
		low, ok := escapedUnit(data[i+1:])
		if unit > 0xdbff || !ok || low < 0xdc00 || low > 0xdfff {
			return errors.New("json: a text holds half of a surrogate pair")
		}
		i += 6
	}
	return nil
}

func escapedUnit(data []byte) (uint64, bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return unit, err == nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
