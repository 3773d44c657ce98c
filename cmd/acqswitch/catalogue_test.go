package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEachRowOfTheCatalogueHasItsTest holds that docs/risk.md has each row of the
// regulator's catalogue once, and that its tests are where it says.
func TestEachRowOfTheCatalogueHasItsTest(t *testing.T) {
	var rows, want []string
	for _, of := range []struct {
		letter string
		last   int
	}{{"T", 17}, {"M", 8}, {"L", 6}, {"R", 11}, {"S", 6}} {
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
