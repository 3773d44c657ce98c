package approval

import "testing"

func TestSamePerson(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"wang", "Wang", true},
		{"wang", "ＷＡＮＧ", true}, // full width
		{"straße", "STRASSE", true},
		{"ſam", "Sam", true}, // a long s
		{"Anna Müller", "anna mu\u0308ller", true},
		{"wang", "wang2", false},
		{"li na", "li  na", true},
		{"li na", "lina", false},
	} {
		if SamePerson(c.a, c.b) != c.same {
			t.Errorf("%q and %q: %v", c.a, c.b, !c.same)
		}
	}
}

func TestPersonsAreSeen(t *testing.T) {
	for name, ok := range map[string]bool{
		"wang":         true,
		"王小明":          true,
		"Anna Müller":  true,
		"wang\u200b":   false, // zero width space
		"wa\u00adng":   false, // soft hyphen
		"wang\u0301":   false, // combining accent
		"wang\u202e":   false, // right to left
		"wang ":        false,
		"wang\u00a0li": false, // a blank that is none
		"wang\x00":     false,
		"wang\xff":     false, // not UTF-8
		"wang\u3164":   false, // a letter that is a blank
		"wang\u2800":   false, // a blank of Braille
	} {
		if err := Person(name); (err == nil) != ok {
			t.Errorf("%q: %v, want %v", name, err, ok)
		}
	}
}
