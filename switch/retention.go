package acquirer

import (
	"sync"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// dayStarts remembers where in the journal the last business days begin, so
// that what no restart needs any more can be dropped.
type dayStarts struct {
	last atomic.Uint32 // the day seen last: nearly every record is of it

	mu     sync.Mutex
	starts map[txn.Date]journal.Position
}

// saw notes a record of a day; the first position counts. While a day begins, a
// record may be noted a little after a later one of the same day.
func (d *dayStarts) saw(day txn.Date, pos journal.Position) {
	if d.last.Load() == uint32(day) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last.Store(uint32(day))
	if first, ok := d.starts[day]; !ok || pos < first {
		if d.starts == nil {
			d.starts = map[txn.Date]journal.Position{}
		}
		d.starts[day] = pos
	}
}

// since is the first position that belongs to day or a later one, and forgets
// the days before it.
func (d *dayStarts) since(day txn.Date) (first journal.Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for dd, pos := range d.starts {
		switch {
		case dd < day:
			delete(d.starts, dd)
		case first == 0 || pos < first:
			first = pos
		}
	}
	return first
}

// Floor is the first journal position that a restart still needs: those of the
// previous business day and this one, of every reversal that is owed and of
// every batch that is kept. What lies before it may be truncated once the ledger has it.
func (s *Switch) Floor(today txn.Date) journal.Position {
	floor := s.starts.since(today.Before())
	// Appends that ran side by side may have been noted out of order.
	slack := journal.Position(2 * s.cfg.InFlightMax)
	if floor <= slack {
		return 1
	}
	floor -= slack
	if owed, ok := s.reversals.oldest(); ok {
		floor = min(floor, owed)
	}
	if open, ok := s.batches.Oldest(today); ok {
		floor = min(floor, journal.Position(open))
	}
	return floor
}
