// Package sheet writes tables of CSV that people open in spreadsheets, and reads
// their cells back.
//
// Promises: no cell that a Writer wrote is a formula to a spreadsheet that opens
// the table, whatever stood in it, and Text gives it back as it was. Numbers stay
// numbers: a sign is no formula.
//
// Not here: what cells mean; and spreadsheets that are told to separate cells by
// anything but commas.
package sheet

import (
	"encoding/csv"
	"io"
	"slices"
	"strings"
)

// Writer writes lines of cells. Its errors are those of csv.Writer.
type Writer struct{ csv *csv.Writer }

// NewWriter writes to w, with a buffer: Flush it.
func NewWriter(w io.Writer) *Writer { return &Writer{csv.NewWriter(w)} }

// Write writes a line. cells stay as they are.
func (w *Writer) Write(cells []string) error {
	for i, text := range cells {
		if formula(text) {
			cells = slices.Clone(cells)
			for ; i < len(cells); i++ {
				cells[i] = cell(cells[i])
			}
			break
		}
	}
	return w.csv.Write(cells)
}

// Flush writes what is buffered, and returns the first error there was.
func (w *Writer) Flush() error {
	w.csv.Flush()
	return w.csv.Error()
}

// cell is a text as a cell: what a spreadsheet would take for a formula, and what
// looks like such a cell, gets an apostrophe before it.
func cell(text string) string {
	if formula(text) {
		return "'" + text
	}
	return text
}

// Text is the text of a cell. One that nobody put an apostrophe before stays as it
// is, so tables that people made are read as well.
func Text(cell string) string {
	if strings.HasPrefix(cell, "'") && formula(cell) {
		return cell[1:]
	}
	return cell
}

// formula says that a text, behind any apostrophes, begins as formulas do and is no
// number.
func formula(text string) bool {
	text = strings.TrimLeft(text, "'")
	for _, sign := range [...]string{"=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"} {
		if strings.HasPrefix(text, sign) {
			return !number(text)
		}
	}
	return false
}

// number says that a text is a sign and digits, with at most one point among them.
func number(text string) bool {
	if text[0] != '+' && text[0] != '-' {
		return false
	}
	whole, part, point := strings.Cut(text[1:], ".")
	return digits(whole) && (!point || digits(part))
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
