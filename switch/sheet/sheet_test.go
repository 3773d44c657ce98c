package sheet

import (
	"encoding/csv"
	"strings"
	"testing"
)

func TestCellsAreNoFormulas(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"Bund Books":          "Bund Books",
		"-12.50":              "-12.50",
		"+7":                  "+7",
		"-":                   "'-",
		"-1.":                 "'-1.",
		"-1.2.3":              "'-1.2.3",
		"-Inf":                "'-Inf",
		"=1":                  "'=1",
		"=HYPERLINK(\"x\")":   "'=HYPERLINK(\"x\")",
		"+cmd|calc!A0":        "'+cmd|calc!A0",
		"+81 3 0000":          "'+81 3 0000",
		"@SUM(A1)":            "'@SUM(A1)",
		"\t=1":                "'\t=1",
		"＝1":                  "'＝1",
		"-1+cmd|' /C calc'!A": "'-1+cmd|' /C calc'!A",
		"'=1":                 "''=1",
		"'tis":                "'tis",
		"'-5":                 "'-5",
		"a=1":                 "a=1",
	} {
		if got := cell(text); got != want {
			t.Errorf("%q is written %q, want %q", text, got, want)
		}
	}
	for cell, want := range map[string]string{"=1": "=1", "'=1": "=1", "'x": "'x", "'-5": "'-5", "'": "'", "''=1": "'=1"} {
		if got := Text(cell); got != want {
			t.Errorf("%q is read %q, want %q", cell, got, want)
		}
	}
}

func TestWriter(t *testing.T) {
	var b strings.Builder
	w := NewWriter(&b)
	row := []string{"a", "=1", "b,c", "@x"}
	if err := w.Write(row); err != nil || row[1] != "=1" {
		t.Errorf("%v, %q", err, row)
	}
	if err := w.Flush(); err != nil || b.String() != "a,'=1,\"b,c\",'@x\n" {
		t.Errorf("%v, %q", err, b.String())
	}
	plain := []string{"a", "b", "-1.50"}
	if n := testing.AllocsPerRun(100, func() { w.Write(plain) }); n >= 1 {
		t.Errorf("%v allocations of a plain line", n)
	}
}

// FuzzCell: any text comes back through a table, and its cell is no formula.
func FuzzCell(f *testing.F) {
	for _, s := range []string{"", "=1", "'=1", "-1", "''''@", "'", "\r\n", "\"=1", "＝"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cell := cell(text)
		if Text(cell) != text {
			t.Fatalf("%q becomes %q and then %q", text, cell, Text(cell))
		}
		if cell != "" && strings.ContainsRune("=@\t\r\n", rune(cell[0])) {
			t.Fatalf("%q is a formula", cell)
		}
		var b strings.Builder
		w := NewWriter(&b)
		if w.Write([]string{"x", text}) != nil || w.Flush() != nil {
			t.Fatal("not written")
		}
		row, err := csv.NewReader(strings.NewReader(b.String())).Read()
		// A reader of CSV takes the two ends of a line for one.
		if err != nil || Text(row[1]) != text && !strings.Contains(text, "\r\n") {
			t.Fatalf("%q is read %q, %v", text, row, err)
		}
	})
}
