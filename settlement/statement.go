package settlement

import (
	"bufio"
	"fmt"
	"html"
	"strings"

	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// statementLinesMax is how many transactions one page of statements has at most
// before the next merchant begins another: what a browser opens at once.
const statementLinesMax = 20_000

// statement writes merchants' statements as HTML that needs nothing else and
// prints one merchant after the other. The zero value writes nothing.
type statement struct {
	out   *files
	day   txn.Date
	payer string

	w        *bufio.Writer // of the page that is open
	name     string        // of that
	pages    int
	lines    int // on the page
	merchant string
	table    bool     // rows of statements.csv are open
	summary  []string // lines of positions of the merchant
	buf      []byte
}

const statementHead = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Statements %s</title><style>
body{font:10pt/1.35 system-ui,sans-serif;margin:2em;color:#111}
section{break-after:page;margin-bottom:3em}
h1{font-size:14pt;margin:0}p{margin:.2em 0 1em}
table{border-collapse:collapse;width:100%%;margin:0 0 1em}
th,td{padding:.15em .5em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
th{border-bottom:1px solid #111}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
thead{display:table-header-group}tr{break-inside:avoid}
</style></head><body>
`

func (s *statement) begin(out *files, day txn.Date, payer string) {
	s.out, s.day, s.payer = out, day, payer
}

// open begins the merchant's section, on a new page when the last one is full.
func (s *statement) open(merchant string) {
	if s.merchant == merchant || !s.out.writing() {
		return
	}
	if s.w == nil || s.lines >= statementLinesMax {
		s.close()
		s.pages++
		s.name, s.lines = fmt.Sprintf("statements-%03d.html", s.pages), 0
		if s.w = s.out.create(s.name); s.w == nil {
			return
		}
		fmt.Fprintf(s.w, statementHead, s.day)
	}
	s.merchant = merchant
	fmt.Fprintf(s.w, "<section><h1>Merchant %s</h1><p>Statement of %s, by %s</p>\n", html.EscapeString(merchant), s.day, html.EscapeString(s.payer))
}

var statementColumns = [...]struct {
	title  string
	column int // of statements.csv
	number bool
}{{"Time", 2, false}, {"Terminal", 3, false}, {"Trace", 5, false}, {"Reference", 6, false}, {"Card", 7, false}, {"Type", 8, false}, {"", 9, false},
	{"Amount", 10, true}, {"Fee", 11, true}, {"Net", 12, true}, {"Note", 13, false}}

// line adds a line of statements.csv.
func (s *statement) line(l *[14]string) {
	if s.open(l[0]); s.w == nil {
		return
	}
	b := s.buf[:0]
	if !s.table {
		s.table = true
		b = append(b, "<table><thead><tr>"...)
		for _, c := range statementColumns {
			b = appendCell(b, "th", c.title, c.number)
		}
		b = append(b, "</tr></thead>\n"...)
	}
	s.lines++
	b = append(b, "<tr>"...)
	for _, c := range statementColumns {
		b = appendCell(b, "td", l[c.column], c.number)
	}
	b = append(b, "</tr>\n"...)
	s.w.Write(b) // bufio keeps the error for Flush
	s.buf = b
}

// appendCell is a cell; what is in it has been told by terminals and people.
func appendCell(b []byte, tag, text string, number bool) []byte {
	b = append(append(b, '<'), tag...)
	if number {
		b = append(b, ` class="n"`...)
	}
	b = append(b, '>')
	if strings.ContainsAny(text, `<>&'"`) {
		text = html.EscapeString(text)
	}
	b = append(append(append(b, text...), "</"...), tag...)
	return append(b, '>')
}

var summaryColumns = [...]struct {
	title  string
	column int // of positions.csv
	number bool
}{{"", 1, false}, {"Transactions", 2, true}, {"Sales", 3, true}, {"Refunds", 4, true}, {"Fees", 5, true}, {"Net", 7, true}, {"Brought forward", 8, true},
	{"Corrections", 9, true}, {"Came back", 10, true}, {"Disputes", 11, true}, {"From reserve", 12, true}, {"To reserve", 13, true}, {"Paid", 14, true},
	{"Carried forward", 15, true}, {"On", 17, false}, {"", decisionColumn, false}}

const decisionColumn = 18

// position adds a line of positions.csv, and returns the page that it is on.
func (s *statement) position(l *[20]string, to *payout.Account) string {
	if s.open(l[0]); s.w == nil {
		return ""
	}
	b := append(s.buf[:0], "<tr>"...)
	for _, c := range summaryColumns {
		text := l[c.column]
		if to != nil && c.column == decisionColumn {
			text += " to " + to.Name + ", " + to.Number + ", " + to.Bank
		}
		b = appendCell(b, "td", text, c.number)
	}
	s.buf = append(b, "</tr>\n"...)
	s.summary = append(s.summary, string(s.buf))
	return s.name
}

// end ends the merchant's section.
func (s *statement) end() {
	if s.w == nil || s.merchant == "" {
		return
	}
	if s.table {
		s.w.WriteString("</table>\n")
	}
	b := append(s.buf[:0], "<table><thead><tr>"...)
	for _, c := range summaryColumns {
		b = appendCell(b, "th", c.title, c.number)
	}
	s.buf = append(b, "</tr></thead>\n"...)
	s.w.Write(s.buf)
	for _, line := range s.summary {
		s.w.WriteString(line)
	}
	s.w.WriteString("</table></section>\n")
	s.merchant, s.table, s.summary = "", false, s.summary[:0]
}

// close ends the page.
func (s *statement) close() {
	if s.w != nil {
		s.w.WriteString("</body></html>\n")
	}
	s.w = nil
}
