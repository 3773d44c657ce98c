package yamlfile

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// Encode is the text of what Decode reads: a pointer to a struct of Scalars,
// structs, pointers and slices of these. What is not there is not written, and
// equal documents have equal texts. The lists of the document stand one element
// to a line.
func Encode(doc any) []byte {
	var b bytes.Buffer
	each(reflect.ValueOf(doc).Elem(), func(key string, v reflect.Value) {
		if v.Kind() != reflect.Slice {
			b.WriteString(key + ": " + flow(v) + "\n")
			return
		}
		b.WriteString(key + ":\n")
		for i := range v.Len() {
			b.WriteString("  - " + flow(v.Index(i)) + "\n")
		}
	})
	return b.Bytes()
}

// each walks the fields of a struct that are there.
func each(v reflect.Value, fn func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case f.Kind() == reflect.Pointer && f.IsNil(), f.Kind() == reflect.Slice && f.Len() == 0:
		case f.Type() == scalarType && f.Interface().(Scalar).Line == 0:
		default:
			fn(v.Type().Field(i).Tag.Get("yaml"), f)
		}
	}
}

var scalarType = reflect.TypeFor[Scalar]()

func flow(v reflect.Value) string {
	var parts []string
	switch {
	case v.Type() == scalarType:
		quoted, _ := json.Marshal(v.Interface().(Scalar).Text) // a JSON string is a YAML one
		return string(quoted)
	case v.Kind() == reflect.Pointer:
		return flow(v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, flow(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	each(v, func(key string, v reflect.Value) { parts = append(parts, key+": "+flow(v)) })
	return "{" + strings.Join(parts, ", ") + "}"
}
