package reconcile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// lineMax bounds a line, in bytes.
const lineMax = 64 << 10

// Line is one transaction of a file. Its texts are of the reader's buffer: they
// last until the next line.
type Line struct {
	Number       int64
	STAN         uint32
	Time         uint32 // DE7 as a number
	Acquirer     txn.AcquirerID
	Amount       txn.Amount
	Credit       bool // the cardholder gets back
	Reversal     bool
	Declined     bool
	OriginalSTAN uint32
	OriginalTime uint32
	// Empty where the layout does not have them.
	Terminal, Merchant, RRN, AuthCode, Card []byte

	columns []column
	values  [][]byte
}

// Sums are what the lines of a file come to.
type Sums struct {
	Count           int64
	Debits, Credits int64 // amounts of lines that cardholders pay by, and get back by
}

// Reader reads the lines of a file, one at a time: its memory does not grow with
// the file.
type Reader struct {
	name    string
	layout  *Layout
	in      *bufio.Reader
	columns []column // as the file has them
	n       int64    // of the line that was read last
	begun   bool
	ended   bool // the trailer was read
	values  [][]byte
	unquote []byte
	ipm     *ipm // of its form, otherwise nil

	Sums Sums
	Day  txn.Date // as header or trailer say; 0: they do not
	// NotLines counts, by what they are called, the records that are no lines.
	NotLines map[string]int64
}

// NewReader reads a file of a layout. name is for errors.
func NewReader(name string, in io.Reader, l *Layout) *Reader {
	r := &Reader{name: name, layout: l, in: bufio.NewReaderSize(in, lineMax), columns: l.detail.columns}
	if l.form == ipmForm {
		r.ipm, r.NotLines = &ipm{}, map[string]int64{}
	}
	return r
}

func (r *Reader) wrong(field, format string, args ...any) error {
	p := &yamlfile.Problem{File: r.name, Line: int(r.n), Field: field, What: fmt.Sprintf(format, args...)}
	if r.ipm != nil && r.ipm.at > 0 { // it has no lines
		p.File, p.Line = fmt.Sprintf("%s: record %d at byte %d", r.name, r.n, r.ipm.at), 0
	}
	return p
}

// Next reads the next line. It returns io.EOF once the file has ended as it
// should, and otherwise a *yamlfile.Problem, or what reading failed with.
func (r *Reader) Next(line *Line) error {
	if r.ipm != nil {
		return r.nextIPM(line)
	}
	for {
		text, err := r.line()
		if err != nil {
			return err
		}
		switch l := r.layout; {
		case r.ended:
			return r.wrong("", "there is a line behind the trailer")
		case !r.begun && l.header != nil:
			r.begun = true
			if !r.marked(text, l.header) {
				return r.wrong("", "the file must begin with a line %q: is it of this layout?", l.header.mark)
			}
			if err := r.control(text, l.header); err != nil {
				return err
			}
			continue
		case !r.begun && l.names:
			r.begun = true
			if err := r.nameColumns(text); err != nil {
				return err
			}
			continue
		case l.trailer != nil && r.marked(text, l.trailer):
			if err := r.control(text, l.trailer); err != nil {
				return err
			}
			r.ended = true
			continue
		}
		r.begun = true
		return r.detail(text, line)
	}
}

// line is the next one without its end.
func (r *Reader) line() ([]byte, error) {
	text, err := r.in.ReadSlice('\n')
	r.n++
	switch {
	case errors.Is(err, io.EOF) && len(text) == 0:
		r.n--
		if r.layout.trailerMust && !r.ended {
			return nil, r.wrong("", "the file is cut off: it has no line %q at its end", r.layout.trailer.mark)
		}
		if r.n == 0 {
			return nil, &yamlfile.Problem{File: r.name, What: "the file is empty"}
		}
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, r.wrong("", "the file is cut off: its last line does not end (add a line feed if it is whole)")
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, r.wrong("", "the line is longer than %d bytes", lineMax)
	case err != nil:
		return nil, fmt.Errorf("read %s, line %d: %w", r.name, r.n, err)
	}
	return bytes.TrimSuffix(text[:len(text)-1], []byte("\r")), nil
}

func (r *Reader) marked(text []byte, rec *record) bool {
	if r.layout.form == csvForm {
		first, _, _ := bytes.Cut(text, []byte{r.layout.separator})
		return string(bytes.Trim(first, ` "`)) == rec.mark
	}
	return len(text) >= len(rec.mark) && string(text[:len(rec.mark)]) == rec.mark
}

// nameColumns takes the first line for the order of the columns.
func (r *Reader) nameColumns(text []byte) error {
	if err := r.splitCSV(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))); err != nil {
		return err
	}
	if len(r.values) > columnsMax {
		return r.wrong("", "it names %d columns, at most %d are read", len(r.values), columnsMax)
	}
	known := r.layout.detail.columns
	r.columns = nil
	for _, v := range r.values {
		c := column{name: string(v)}
		if i := slices.IndexFunc(known, func(k column) bool { return k.name == c.name }); i >= 0 {
			c = known[i]
		}
		if slices.ContainsFunc(r.columns, func(x column) bool { return x.name == c.name }) {
			return r.wrong(c.name, "the column is there twice")
		}
		r.columns = append(r.columns, c)
	}
	for _, k := range known {
		if !slices.ContainsFunc(r.columns, func(x column) bool { return x.name == k.name }) {
			return r.wrong(k.name, "the column is missing")
		}
	}
	return nil
}

// split fills r.values with the columns of a line.
func (r *Reader) split(text []byte, columns []column, width int) error {
	r.values = r.values[:0]
	if r.layout.form == csvForm {
		if err := r.splitCSV(text); err != nil {
			return err
		}
		if len(r.values) != len(columns) {
			return r.wrong("", "it has %d columns, %d are expected: is it cut off, or of another layout?", len(r.values), len(columns))
		}
		return nil
	}
	if len(text) != width {
		return r.wrong("", "it is %d bytes long, %d are expected: is it cut off, or of another layout?", len(text), width)
	}
	for i := range columns {
		c := &columns[i]
		if i > 0 && r.layout.separator != 0 {
			if text[0] != r.layout.separator {
				return r.wrong(c.name, "%q is in front of it where %q should be", text[0], r.layout.separator)
			}
			text = text[1:]
		}
		r.values = append(r.values, bytes.TrimRight(bytes.TrimLeft(text[:c.width], " "), " "))
		text = text[c.width:]
	}
	return nil
}

// splitCSV splits a line whose values may be quoted, with a quote doubled in them.
// A value does not go on in the next line.
func (r *Reader) splitCSV(text []byte) error {
	r.values, r.unquote = r.values[:0], r.unquote[:0]
	sep := r.layout.separator
	for {
		if len(r.values) > columnsMax {
			return r.wrong("", "it has more than %d columns", columnsMax)
		}
		if len(text) == 0 || text[0] != '"' {
			n := bytes.IndexByte(text, sep)
			if n < 0 {
				r.values = append(r.values, bytes.TrimSpace(text))
				return nil
			}
			r.values = append(r.values, bytes.TrimSpace(text[:n]))
			text = text[n+1:]
			continue
		}
		start := len(r.unquote)
		for text = text[1:]; ; {
			n := bytes.IndexByte(text, '"')
			if n < 0 {
				return r.wrong("", "a quote in it does not end: is it cut off?")
			}
			r.unquote = append(r.unquote, text[:n]...)
			if text = text[n+1:]; len(text) == 0 || text[0] != '"' {
				break
			}
			r.unquote, text = append(r.unquote, '"'), text[1:]
		}
		r.values = append(r.values, r.unquote[start:len(r.unquote):len(r.unquote)])
		if len(text) == 0 {
			return nil
		}
		if text[0] != sep {
			return r.wrong("", "behind a quote in it is %q where %q should be", text[0], sep)
		}
		text = text[1:]
	}
}

// control reads a header or trailer, and holds its sums to those of the lines.
func (r *Reader) control(text []byte, rec *record) error {
	if err := r.split(text, rec.columns, rec.width); err != nil {
		return err
	}
	for i := range rec.columns {
		c, v := &rec.columns[i], r.values[i]
		var want, got int64
		var err error
		switch c.role {
		case roleDate:
			at, err := time.Parse(c.format, string(v))
			if err != nil {
				return r.wrong(c.name, "%q is no date of the form %s", clip(v), c.format)
			}
			r.Day = txn.MakeDate(at)
			continue
		case roleCount:
			got = r.Sums.Count
			want, err = strconv.ParseInt(string(v), 10, 64)
		case roleTotal:
			got = r.Sums.Debits + r.Sums.Credits
			want, err = r.sum(v)
		case roleDebits:
			got = r.Sums.Debits
			want, err = r.sum(v)
		case roleCredits:
			got = r.Sums.Credits
			want, err = r.sum(v)
		default:
			continue
		}
		if err != nil {
			return r.wrong(c.name, "%q is no number", clip(v))
		}
		if rec == r.layout.trailer && want != got {
			return r.wrong(c.name, "it says %d, the lines come to %d: lines are missing, or more than they should be", want, got)
		}
	}
	return nil
}

func (r *Reader) sum(v []byte) (int64, error) {
	if r.layout.major {
		a, err := txn.ParseAmount(string(v), r.layout.Currency)
		return a.Minor, err
	}
	return strconv.ParseInt(string(v), 10, 64)
}

// sumMax bounds the sums of a file, so that they never overflow.
const sumMax = 1 << 62

// detail reads a transaction.
func (r *Reader) detail(text []byte, line *Line) error {
	if err := r.split(text, r.columns, r.layout.detail.width); err != nil {
		return err
	}
	return r.fill(line)
}
