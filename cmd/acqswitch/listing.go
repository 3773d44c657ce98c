package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/sheet"
)

// listsRows is the annotation of commands that write a listing.
const listsRows = "lists rows"

// listColumn is a column of a listing: its name in CSV, its head and its width in
// a table. Numbers have a width below zero, and stand at the right.
type listColumn struct {
	name, head string
	width      int
}

// listing writes rows as they come, however many, and keeps none: a table, CSV
// with a head, or JSON, one object a line. Close it.
type listing struct {
	out     *bufio.Writer
	columns []listColumn
	rows    int64
	json    *json.Encoder
	csv     *sheet.Writer
}

// listed is a row.
type listed interface{ cells() []string }

func (c *console) list(columns []listColumn) *listing {
	l := &listing{out: bufio.NewWriterSize(c.out, 64<<10), columns: columns}
	switch c.output {
	case "json":
		l.json = json.NewEncoder(l.out)
	case "csv":
		l.csv = sheet.NewWriter(l.out)
		head := make([]string, len(columns))
		for i, col := range columns {
			head[i] = col.name
		}
		l.csv.Write(head)
	default:
		head := make([]string, len(columns))
		for i, col := range columns {
			head[i] = col.head
		}
		l.line(head)
	}
	return l
}

func (l *listing) add(row listed) error {
	l.rows++
	switch {
	case l.json != nil:
		return l.json.Encode(row)
	case l.csv != nil:
		return l.csv.Write(row.cells())
	}
	return l.line(row.cells())
}

func (l *listing) line(cells []string) error {
	for i, cell := range cells {
		var err error
		switch {
		case i == len(cells)-1:
			_, err = fmt.Fprintln(l.out, cmp.Or(cell, "-"))
		case l.columns[i].width < 0:
			_, err = fmt.Fprintf(l.out, "%*s  ", -l.columns[i].width, cmp.Or(cell, "-"))
		default:
			_, err = fmt.Fprintf(l.out, "%-*s  ", l.columns[i].width, cmp.Or(cell, "-"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) close() error {
	if l.csv != nil {
		if err := l.csv.Flush(); err != nil {
			return err
		}
	}
	return l.out.Flush()
}
