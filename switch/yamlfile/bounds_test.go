package yamlfile

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// shop is a document with what the files of the house have.
type shop struct {
	Version   Scalar `yaml:"version"`
	Merchants []struct {
		ID        Scalar   `yaml:"mid"`
		Kinds     []Scalar `yaml:"kinds"`
		Limits    limits   `yaml:"limits"`
		Terminals []struct {
			ID Scalar `yaml:"tid"`
		} `yaml:"terminals"`
	} `yaml:"merchants"`
}

type limits struct {
	Day Scalar `yaml:"day"`
}

// numbered is each line with its number put in twice.
func numbered(n int, line string) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, line, i, i-1)
	}
	return b.String()
}

// What the YAML library takes long for, or much memory, is refused before; what is
// long only is read. No case costs more memory than so many times its size.
func TestBounds(t *testing.T) {
	laughs := "version: 1\nmerchants:\n  - &a {mid: A, kinds: [" + strings.Repeat("sale, ", 2000) + "sale]}\n"
	for _, c := range []struct{ name, text, want string }{
		{"lists in lists", "version: " + strings.Repeat("[", depthMax-1) + strings.Repeat("]", depthMax-1), "f:1: a single value is needed here"},
		{"one deeper", "\nversion: " + strings.Repeat("[", depthMax), "f:2: this is nested deeper than 64 levels"},
		{"40 kB of brackets", strings.Repeat("[", 40_000), "f:1: this is nested deeper"},
		{"maps in maps", "\n\n" + strings.Repeat("{a: ", depthMax+1), "f:3: this is nested deeper"},
		{"dashes", strings.Repeat("- ", depthMax+1) + "x", "f:1: this is nested deeper"},
		{"question marks", strings.Repeat("? ", depthMax+1) + "x", "f:1: this is nested deeper"},
		{"indentation", func() (s string) {
			for i := range depthMax + 1 {
				s += strings.Repeat(" ", i) + "a:\n"
			}
			return s
		}(), "f:65: this is nested deeper"},
		{"a mark of UTF-8", "\uFEFFversion: 1\n", ""},
		{"a mark and a comment", "\uFEFF# the registry\nversion: 1\n", ""},
		{"brackets in a text", "version: '" + strings.Repeat("[", 200) + "'", ""},
		{"brackets in a comment", "version: 1 # " + strings.Repeat("[", 200), ""},
		{"dashes in a text", "version: " + strings.Repeat("-", 200), ""},
		{"many lists side by side", "version: 1\nmerchants:\n" + strings.Repeat("- kinds: [a, b]\n  limits: {day: 1}\n  terminals:\n  - tid: 1\n", 3000), ""},
		{"lists at the column of their keys", "merchants:\n" + numbered(3000, "- mid: %d # %d\n"), ""},
		{"keys", numbered(30_000, "k%d: %d\n"), "f:257: this map has more than 256 keys"},
		{"keys in brackets", "{" + numbered(30_000, "k%d: %d, ") + "}", "f:1: this map has more than 256 keys"},
		{"keys behind anchors", numbered(30_000, "&a%d k%[1]d: %d\n"), "f:257: this map has more than 256 keys"},
		{"keys under a dash", "merchants:\n- a: 1\n" + numbered(30_000, "  k%d: %d\n"), "f:258: this map has more than 256 keys"},
		{"keys of many maps", "merchants:\n" + numbered(10_000, "- mid: %d # %d\n  kinds: []\n"), ""},
		{"keys in one line", strings.Repeat("a: ", 30_000), "f:1: this map has more than 256 keys"},
		{"anchors of one value", "version: " + strings.Repeat("&a ", 20_000) + "1", "f:1: this has too many anchors and tags"},
		{"tags of one value", "version: " + strings.Repeat("!!str ", 20_000) + "1", "f:1: this has too many anchors and tags"},
		{"an anchor", "version: &a 1", ""},
		{"documents", strings.Repeat("---\nversion: 1\n", 20_000), "f:3: there is a second YAML document"},
		{"after the end", "version: 1\n...\nversion: 2\n", "f:3: there is a second YAML document"},
		{"a head and an end", "%YAML 1.2\n---\nversion: 1\n...\n", ""},
		{"comments only", "# a\n# b\n", "f:1: the file is empty: say something"},
		{"nothing", "", "f:1: the file is empty: say something"},
		{"a head only", "---\n", "f:1: the file is empty: say something"},
		{"aliases of much", laughs + strings.Repeat("  - *a\n", 2000), "aliases stand for more than is read: write it out"},
		{"aliases of little", "merchants:\n  - &a {mid: A}\n" + strings.Repeat("  - *a\n", 3000), ""},
		{"aliases of aliases", "version: &a1 [" + strings.Repeat("x, ", 9) + "]\n" + numbered(8, "k%d: &a%[1]d ["+strings.Repeat("*a%[2]d, ", 9)+"]\n"), ""},
		{"merges of merges", "merchants:\n  - &m0 {mid: A}\n" + numbered(2000, "  - &m%d {<<: *m%d}\n"), "aliases stand for more than is read"},
		{"merges of many merges", "merchants:\n  - &m0 {mid: A}\n" + numbered(9, "  - &m%d {<<: ["+strings.Repeat("*m%[2]d, ", 9)+"]}\n"), "aliases stand for more than is read"},
		{"a merge", "merchants:\n  - &m0 {mid: A, kinds: [sale]}\n  - {<<: *m0}\n", ""},
		{"an alias of what it is in", "merchants: &a\n- mid: *a\n", "f:"},
		{"comments", strings.Repeat("# c\n", 50_000) + "version: 1\n", ""},
		{"a text of many lines", "version: |\n" + strings.Repeat("  a\n", 50_000), ""},
		{"texts", "merchants:\n" + strings.Repeat("- mid: |\n    a\n", 5000), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Decode[shop]([]byte(c.text), "f", "say something")
			runtime.ReadMemStats(&after)
			switch {
			case c.name == "aliases of aliases":
				if err == nil {
					t.Error("it was read")
				}
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got:  %v\nwant: %s", err, c.want)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > uint64(5000*len(c.text)+1<<20) {
				t.Errorf("%d bytes took %d of memory", len(c.text), used)
			}
		})
	}
	if _, err := Decode[shop](make([]byte, SizeMax+1), "f", ""); err == nil || !strings.Contains(err.Error(), "f:1: the file is larger than 134217728 bytes") {
		t.Error(err)
	}
}

// FuzzDecode: no input panics, or costs more memory than a bound of its size.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"version: 1", "merchants: &a\n- mid: *a\n", "merchants:\n  - &m {mid: A, kinds: [a, b]}\n  - {<<: *m}\n", "? a\n: b\n", "- |\n  x\n- >\n y\n", "{a: [&b !!str 'c', *b]}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode[shop](text, "f", "")
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(20_000*len(text)+8<<20) {
			t.Fatalf("%d bytes took %d of memory: %v", len(text), used, err)
		}
	})
}
