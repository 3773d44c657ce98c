package registry

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/acqswitch/acqswitch/switch/sheet"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

var (
	regionKeys = keysOf[circleYAML]("region")
	modelKeys  = keysOf[modelYAML]("model")
)

// NewModel is a model with no value yet.
func NewModel() Entry { return newEntry(modelKeys) }

// ParseRegion reads Entry.Text's form.
func ParseRegion(text string) (Entry, error) { return parseEntry(regionKeys, text) }

// ParseModel reads Entry.Text's form.
func ParseModel(text string) (Entry, error) { return parseEntry(modelKeys, text) }

// Book is a registry as people write it, with what requests do not need.
// Terminals name their merchant; machines in stock name none.
type Book struct {
	Regions, Models, Merchants, Terminals []Entry
}

// Read reads a registry file as Load does, and checks it likewise, but numbers
// of identity documents may stand in it.
func Read(r io.Reader, name string) (*Book, error) {
	doc, err := decode(r, name)
	if err != nil {
		return nil, err
	}
	l := newLoader(name)
	l.clear = true
	l.document(doc)
	if err := l.Err(); err != nil {
		return nil, err
	}
	b := &Book{}
	for i := range doc.Regions {
		b.Regions = append(b.Regions, entryOf(regionKeys, reflect.ValueOf(&doc.Regions[i]).Elem()))
	}
	for i := range doc.Models {
		b.Models = append(b.Models, entryOf(modelKeys, reflect.ValueOf(&doc.Models[i]).Elem()))
	}
	for i := range doc.Merchants {
		y := &doc.Merchants[i]
		b.Merchants = append(b.Merchants, entryOf(merchantKeys, reflect.ValueOf(y).Elem()))
		for j := range y.Terminals {
			y.Terminals[j].Merchant = y.ID
			b.Terminals = append(b.Terminals, entryOf(terminalKeys, reflect.ValueOf(&y.Terminals[j]).Elem()))
		}
	}
	for i := range doc.Stock {
		b.Terminals = append(b.Terminals, entryOf(terminalKeys, reflect.ValueOf(&doc.Stock[i]).Elem()))
	}
	return b, nil
}

// Write writes the book as a file that Read reads into an equal one.
func (b *Book) Write(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "version: %s\n", yamlfile.FormatVersion)
	at := map[string][]Entry{}
	for _, t := range b.Terminals {
		at[t.Get("merchant")] = append(at[t.Get("merchant")], t)
	}
	for _, part := range []struct {
		key     string
		entries []Entry
	}{{"regions", b.Regions}, {"models", b.Models}, {"merchants", b.Merchants}, {"stock", at[""]}} {
		if len(part.entries) > 0 {
			fmt.Fprintf(w, "\n%s:\n", part.key)
		}
		for _, e := range part.entries {
			e.write(w, "  ")
			if part.key != "merchants" {
				continue
			}
			for i, t := range at[e.Get("mid")] {
				if i == 0 {
					fmt.Fprint(w, "    terminals:\n")
				}
				t = t.Clone()
				t.Put("merchant", "")
				t.write(w, "      ")
			}
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write registry: %w", err)
	}
	return nil
}

// write writes the entry as an element of a YAML list.
func (e Entry) write(w io.Writer, indent string) {
	dash, group := "- ", ""
	for i, s := range e.values {
		if s.Text == "" {
			continue
		}
		key, value := e.keys.names[i], scalarText(s.Text)
		if e.keys.list[i] {
			var texts []string
			for element := range strings.SplitSeq(s.Text, ",") {
				texts = append(texts, scalarText(strings.TrimSpace(element)))
			}
			value = "[" + strings.Join(texts, listSep) + "]"
		}
		parent, child, nested := strings.Cut(key, ".")
		if !nested {
			parent, child = "", key
		}
		if parent != group {
			if group = parent; nested {
				fmt.Fprintf(w, "%s%s%s:\n", indent, dash, parent)
				dash = "  "
			}
		}
		if nested {
			fmt.Fprintf(w, "%s    %s: %s\n", indent, child, value)
			continue
		}
		fmt.Fprintf(w, "%s%s%s: %s\n", indent, dash, child, value)
		dash = "  "
	}
}

// plainText is what stays itself without quotes.
var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+]*([ .-][A-Za-z0-9_+]+)*$`)

func scalarText(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null", "inf", "nan":
		return strconv.Quote(s)
	}
	if plainText.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// ReadTable reads a CSV table of merchants or of terminals: the first line names
// the keys, flat (limits.day_count), and says by its column mid or serial which
// they are. Columns may be left out; an empty cell takes away what was there.
// What the cells mean is not checked here. Cells are as package sheet writes them.
func ReadTable(r io.Reader, name string) ([]Entry, error) {
	text, err := readAll(r, name)
	if err != nil {
		return nil, err
	}
	in := csv.NewReader(bytes.NewReader(text))
	in.ReuseRecord, in.FieldsPerRecord = true, 0
	broken := func(err error) error {
		line := 1
		if p := (*csv.ParseError)(nil); errors.As(err, &p) {
			line, err = p.Line, p.Err
		}
		return &yamlfile.Problem{File: name, Line: line, What: "this is no table of CSV: " + err.Error()}
	}
	head, err := in.Read()
	if err != nil {
		return nil, broken(err)
	}
	k := merchantKeys
	for _, cell := range head {
		if strings.TrimPrefix(cell, "\ufeff") == "serial" {
			k = terminalKeys
		}
	}
	columns := make([]int, len(head))
	seen := map[int]bool{}
	for i, cell := range head {
		at, ok := k.index[strings.TrimPrefix(cell, "\ufeff")]
		if !ok || seen[at] {
			return nil, &yamlfile.Problem{File: name, Line: 1, What: fmt.Sprintf("a %s has no key %.40q, or it is there twice", k.what, cell)}
		}
		columns[i], seen[at] = at, true
	}
	id := "mid"
	if k == terminalKeys {
		id = "serial"
	}
	if !seen[k.index[id]] {
		return nil, &yamlfile.Problem{File: name, Line: 1, Field: id, What: "is missing: a table has a column mid (merchants) or serial (terminals)"}
	}
	var entries []Entry
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, broken(err)
		}
		e := newEntry(k)
		line, _ := in.FieldPos(0)
		for i, cell := range cells {
			e.values[columns[i]] = yamlfile.Scalar{Text: sheet.Text(strings.Clone(cell)), Line: line}
		}
		entries = append(entries, e)
	}
}

// WriteTable writes entries of one kind as ReadTable reads them, with all keys.
func WriteTable(w io.Writer, names []string, entries []Entry) error {
	out := sheet.NewWriter(w)
	if err := out.Write(names); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	cells := make([]string, len(names))
	for _, e := range entries {
		for i, s := range e.values {
			cells[i] = s.Text
		}
		if err := out.Write(cells); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// Checker makes rows of entries that do not come from one whole file, and
// collects what is wrong with them.
type Checker struct {
	l        *loader
	ids      map[string]int // of Once -> line
	merchant merchantYAML
	terminal terminalYAML
}

// NewChecker knows the regions and models of a book, in their order, and collects what
// is wrong with them, too. name is what problems call the source; they have lines if it
// is a file.
func NewChecker(name string, file bool, regions, models []Entry) *Checker {
	c := &Checker{l: newLoader(name), ids: map[string]int{}}
	c.l.clear, c.l.Unplaced = true, !file
	for _, e := range regions {
		var y circleYAML
		e.fill(reflect.ValueOf(&y).Elem())
		c.l.circle(&y)
	}
	for _, e := range models {
		var y modelYAML
		e.fill(reflect.ValueOf(&y).Elem())
		c.l.model(&y)
	}
	c.l.seen = nil
	return c
}

// Circles and Models are the rows of the regions and models.
func (c *Checker) Circles() []Circle { return c.l.rows.Circles }

// Models are the rows of the models; a model's number is its place, from 1.
func (c *Checker) Models() []Model { return c.l.rows.Models }

// Merchant is the row of a merchant.
func (c *Checker) Merchant(e Entry) txn.Merchant {
	c.merchant = merchantYAML{}
	e.fill(reflect.ValueOf(&c.merchant).Elem())
	m, _ := c.l.merchant(&c.merchant)
	return m
}

// Terminal is the row of a terminal at merchant m.
func (c *Checker) Terminal(e Entry, m *txn.Merchant) txn.Terminal {
	c.terminal = terminalYAML{}
	e.fill(reflect.ValueOf(&c.terminal).Elem())
	return c.l.terminal(&c.terminal, m, yamlfile.Scalar{Line: e.line("serial")})
}

// Stock checks a machine in stock.
func (c *Checker) Stock(e Entry) {
	c.terminal = terminalYAML{}
	e.fill(reflect.ValueOf(&c.terminal).Elem())
	c.l.stock(&c.terminal)
}

// Once refuses a second entry with the same text of a key: which of the two is
// meant, nobody knows.
func (c *Checker) Once(e Entry, key, kind string) {
	text := e.Get(key)
	if text == "" {
		return
	}
	id := kind + " " + text
	if line, twice := c.ids[id]; twice {
		c.Problem(e, key, "%s stands on line %d already: remove one of the two", id, line)
		return
	}
	c.ids[id] = e.line(key)
}

// Problem adds what somebody else finds wrong with a key of an entry.
func (c *Checker) Problem(e Entry, key, format string, args ...any) {
	c.l.Add(yamlfile.Scalar{Line: e.line(key)}, e.keys.what+"s[]."+key, format, args...)
}

// Err is what was wrong so far, as joined problems: the first of it, and how many more.
func (c *Checker) Err() error { return c.l.Err() }
