package admin

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// redacted returns the settings as a tree of names and values that can be shown to strangers. It
// shows what it knows to be harmless (numbers, switches, durations, single words) and leaves out every
// other text: a new setting that holds a secret is left out before anybody thought of it.
func redacted(settings any) any {
	if settings == nil {
		return map[string]any{}
	}
	return redact(reflect.ValueOf(settings), false)
}

var durationType = reflect.TypeFor[time.Duration]()

func redact(value reflect.Value, secret bool) any {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return redact(value.Elem(), secret)
	case reflect.Struct:
		return redactStruct(value, secret)
	case reflect.Slice, reflect.Array:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return fmt.Sprintf("(%d bytes)", value.Len())
		}
		list := make([]any, value.Len())
		for index := range list {
			list[index] = redact(value.Index(index), secret)
		}
		return list
	case reflect.Map:
		return fmt.Sprintf("(%d entries)", value.Len()) // keys can be anything
	case reflect.String:
		return redactText(value.String(), secret)
	case reflect.Bool:
		return value.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if value.Type() == durationType {
			return time.Duration(value.Int()).String()
		}
		return value.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return value.Uint()
	case reflect.Float32, reflect.Float64:
		return value.Float()
	default:
		return "(left out)"
	}
}

func redactStruct(value reflect.Value, secret bool) any {
	out := map[string]any{}
	for index := range value.NumField() {
		field := value.Type().Field(index)
		if !field.IsExported() {
			continue
		}
		name := field.Tag.Get("key")
		if name == "" {
			name = strings.ToLower(field.Name)
		}
		out[name] = redact(value.Field(index), secret || secretName(name))
	}
	return out
}

// secretName reports whether a name is one of things that are secret, or of whom.
func secretName(name string) bool {
	for _, part := range []string{
		"secret", "password", "passphrase", "credential", "dsn", "private", "tenant", "rules",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// redactText shows single words alone: no path, no address, no URL, nothing long enough for a secret.
func redactText(text string, secret bool) string {
	const letters = "abcdefghijklmnopqrstuvwxyz-"
	switch {
	case text == "":
		return ""
	case secret, len(text) > 24, strings.Trim(text, letters) != "":
		return "(set)"
	default:
		return text
	}
}
