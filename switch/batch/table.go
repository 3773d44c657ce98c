package batch

import (
	"iter"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// table is the batches of a shard: open addressing with linear probing, without
// pointers. All batches of a terminal are found from the same place on, so that what a
// sale asks of its terminal lies in a line of memory or two. What find and its like
// return is good until the next add or remove.
type table struct {
	rows []row // a power of two, or none
	used int
}

// row is one batch.
type row struct {
	name
	taken   bool // else a free place
	current bool // its terminal is in it: opened last
	entry
}

// rowsFirst is the size of a first table.
const rowsFirst = 8

// from is where the search for a terminal's batches begins.
func (t *table) from(id *txn.TerminalID) int { return int(id.Spread() >> 32) }

func (t *table) at(i int) *row { return &t.rows[i&(len(t.rows)-1)] }

// find is a batch, nil where there is none.
func (t *table) find(n name) *row {
	if t.used == 0 {
		return nil
	}
	for i := t.from(&n.terminal); t.at(i).taken; i++ {
		if r := t.at(i); r.name == n {
			return r
		}
	}
	return nil
}

// currentOf is the batch that a terminal is in, nil where it is in none.
func (t *table) currentOf(id txn.TerminalID) *row {
	if t.used == 0 {
		return nil
	}
	for i := t.from(&id); t.at(i).taken; i++ {
		if r := t.at(i); r.current && r.terminal == id {
			return r
		}
	}
	return nil
}

// become makes a batch its terminal's current one.
func (t *table) become(r *row) {
	if last := t.currentOf(r.terminal); last != nil {
		last.current = false
	}
	r.current = true
}

// add puts a batch into the table that is not there.
func (t *table) add(n name, e entry) *row {
	if t.used >= len(t.rows)*3/4 {
		grown := table{rows: make([]row, max(rowsFirst, 2*len(t.rows)))}
		for r := range t.all() {
			*grown.free(&r.terminal) = *r
		}
		t.rows = grown.rows
	}
	t.used++
	r := t.free(&n.terminal)
	*r = row{name: n, taken: true, entry: e}
	return r
}

// free is where the next batch of a terminal goes.
func (t *table) free(id *txn.TerminalID) *row {
	i := t.from(id)
	for t.at(i).taken {
		i++
	}
	return t.at(i)
}

// remove takes out those batches that are told.
func (t *table) remove(told func(*row) bool) {
	kept := table{}
	for r := range t.all() {
		if !told(r) {
			kept.add(r.name, r.entry).current = r.current
		}
	}
	*t = kept
}

// all walks the batches in no order.
func (t *table) all() iter.Seq[*row] {
	return func(yield func(*row) bool) {
		for i := range t.rows {
			if r := &t.rows[i]; r.taken && !yield(r) {
				return
			}
		}
	}
}
