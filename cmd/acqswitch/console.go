package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"strings"
	"text/tabwriter"

	"github.com/acqswitch/acqswitch/switch/registry"
)

// did says what was done.
func (c *console) did(object, act string) error {
	if c.json() {
		return c.print(map[string]string{"object": object, "done": act})
	}
	_, err := fmt.Fprintf(c.out, "%s: %s\n", object, act)
	return err
}

// printTable is writeTable for people, and for programs all that the rows are made of.
func printTable[T any](c *console, heads string, all []T, cells func(*T) []any) error {
	if c.json() {
		return c.print(append([]T{}, all...))
	}
	return writeTable(c.out, heads, all, cells)
}

// writeTable writes a row of cells for each of some things, under heads with tabs
// between them. What is empty is a dash.
func writeTable[T any](out io.Writer, heads string, all []T, cells func(*T) []any) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heads)
	for i := range all {
		row := cells(&all[i])
		texts := make([]string, len(row))
		for n, cell := range row {
			texts[n] = cmp.Or(fmt.Sprint(cell), "-")
		}
		fmt.Fprintln(w, strings.Join(texts, "\t"))
	}
	return w.Flush()
}

// entries prints the chosen keys of entries, or for programs all of them.
func (c *console) entries(list []registry.Entry, keys ...string) error {
	if c.json() {
		all := make([]map[string]string, len(list))
		for i, e := range list {
			all[i] = maps.Collect(e.All())
		}
		return c.print(all)
	}
	return writeTable(c.out, strings.Join(keys, "\t"), list, func(e *registry.Entry) (row []any) {
		for _, key := range keys {
			row = append(row, e.Get(key))
		}
		return row
	})
}

// plural is a number and a word, which gets an s unless the number is 1.
func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprint(n, " ", word)
}

// done prints what was decided under which number.
func (c *console) done(number int64, what string) error {
	if c.json() {
		return c.print(map[string]any{"number": number})
	}
	_, err := fmt.Fprintf(c.out, "%d: %s\n", number, what)
	return err
}

// proposed says what another person has to approve.
func (c *console) proposed(number int64) error {
	return c.done(number, fmt.Sprintf("proposed; another person must approve it (proposal approve %d)", number))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func usageIf(err error) error {
	if err != nil {
		return usage(err)
	}
	return nil
}
