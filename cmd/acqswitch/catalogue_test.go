package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEachRowOfTheCatalogueHasItsTest holds that docs/risk.md has each row of the
// regulator's catalogue and ours (S07) once, and that its tests are where it says.
func TestEachRowOfTheCatalogueHasItsTest(t *testing.T) {
	var rows, want []string
	for _, of := range []struct {
		letter string
		last   int
	}{{"T", 17}, {"M", 8}, {"L", 6}, {"R", 11}, {"S", 7}} {
		for n := 1; n <= of.last; n++ {
			want = append(want, fmt.Sprintf("%s%02d", of.letter, n))
		}
	}
	_, table, _ := strings.Cut(read(t, "../../docs/risk.md"), "## The catalogue, row by row")
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Z]\d\d) \|.*\| ([a-z/, ]+) \|$`).FindAllStringSubmatch(table, -1) {
		rows = append(rows, m[1])
		for _, pkg := range strings.Split(m[2], ", ") {
			if !hasTest(t, pkg, "func Test"+m[1]) {
				t.Errorf("%s: package %s has no such test", m[1], pkg)
			}
		}
	}
	if !slices.Equal(rows, want) {
		t.Errorf("the table has %s, want %s", rows, want)
	}
}

// TestReliabilityNamesTests holds that every test that docs/reliability.md names is in
// the package that it names, switch where it names none. A star stands for any end.
func TestReliabilityNamesTests(t *testing.T) {
	tests := map[string]string{} // of the packages, by the last of their path
	err := filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			tests[filepath.Base(filepath.Dir(path))] += read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(?:([a-z]+)\\.)?((?:Test|Fuzz)\\w+)(\\*?)`").FindAllStringSubmatch(read(t, "../../docs/reliability.md"), -1)
	if len(named) < 100 {
		t.Fatalf("%d names", len(named))
	}
	for _, m := range named {
		pkg, start := cmp.Or(m[1], "switch"), "\nfunc "+m[2]
		if m[3] == "" {
			start += "("
		}
		if !strings.Contains(tests[pkg], start) {
			t.Errorf("%s is of no test in package %s", m[0], pkg)
		}
	}
}

func hasTest(t *testing.T, pkg, name string) bool {
	files, err := filepath.Glob("../../" + pkg + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), name)
	})
}
