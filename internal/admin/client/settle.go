package client

import "reflect"

// settle puts empty lists and maps in place of those that a server left out or sent as null: what is
// printed as JSON obeys its schema, and nobody who reads it has to ask for both.
func settle(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			settle(value.Elem())
		}
	case reflect.Slice:
		if value.IsNil() && value.Type().Elem().Kind() != reflect.Uint8 {
			value.Set(reflect.MakeSlice(value.Type(), 0, 0))
		}
		for i := range value.Len() {
			settle(value.Index(i))
		}
	case reflect.Map:
		if value.IsNil() {
			value.Set(reflect.MakeMap(value.Type()))
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if value.Type().Field(i).IsExported() {
				settle(value.Field(i))
			}
		}
	}
}
