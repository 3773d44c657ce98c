package yamlfile

import (
	"strings"
	"testing"
)

// What nests deeper than any file of ours is refused before the library reads it:
// 40 kB of brackets took it gigabytes.
func TestNestingIsBounded(t *testing.T) {
	for _, c := range []struct {
		name, text string
		line       int // of the problem, 0 for none
	}{
		{"lists in lists", "a: 1\nb: " + strings.Repeat("[", depthMax) + strings.Repeat("]", depthMax), 0},
		{"one deeper", "a: 1\nb: " + strings.Repeat("[", depthMax+1), 2},
		{"40 kB of brackets", strings.Repeat("[", 40_000), 1},
		{"maps in maps", "\n\n" + strings.Repeat("{a: ", depthMax+1), 3},
		{"dashes", strings.Repeat("- ", depthMax+1) + "x", 1},
		{"indentation", "a:\n" + strings.Repeat(" ", 8*depthMax+1) + "b", 2},
		{"many lists side by side", strings.Repeat("- [a, b]\n", 1000), 0},
		{"a line of dashes in a text", "a: " + strings.Repeat("-", 200), 0},
	} {
		if got := tooDeep([]byte(c.text)); got != c.line {
			t.Errorf("%s: line %d, want %d", c.name, got, c.line)
		}
	}
	if _, err := Decode[struct{}]([]byte(strings.Repeat("[", 40_000)), "x.yaml", ""); err == nil || !strings.HasPrefix(err.Error(), "x.yaml:1: this is nested deeper") {
		t.Errorf("got %v", err)
	}
}
