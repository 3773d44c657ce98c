package approval

import "testing"

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
	} {
		if err := Person(name); (err == nil) != ok {
			t.Errorf("%q: %v, want %v", name, err, ok)
		}
	}
}
