package main

import (
	"fmt"
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

// table prints rows under heads.
func (c *console) table(heads []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heads, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// entries prints the chosen keys of entries, or for programs all of them.
func (c *console) entries(list []registry.Entry, keys ...string) error {
	if c.json() {
		all := make([]map[string]string, len(list))
		for i, e := range list {
			all[i] = entryMap(e)
		}
		return c.print(all)
	}
	rows := make([][]string, len(list))
	for i, e := range list {
		for _, key := range keys {
			rows[i] = append(rows[i], e.Get(key))
		}
	}
	return c.table(keys, rows)
}

func entryMap(e registry.Entry) map[string]string {
	m := map[string]string{}
	for key, text := range e.All() {
		m[key] = text
	}
	return m
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
