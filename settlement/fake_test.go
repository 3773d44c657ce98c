package settlement

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// memJournal is a journal in memory. It fails the test when a record is read
// that does not exist.
type memJournal struct {
	t testing.TB

	mu     sync.Mutex
	first  journal.Position
	recs   [][]byte
	more   chan struct{}
	closed bool
}

func newMemJournal(t testing.TB, recs ...*txn.Record) *memJournal {
	j := &memJournal{t: t, first: 1, more: make(chan struct{})}
	j.append(recs...)
	return j
}

func (j *memJournal) append(recs ...*txn.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range recs {
		j.recs = append(j.recs, r.Append(nil))
	}
	close(j.more)
	j.more = make(chan struct{})
}

func (j *memJournal) appendRaw(b string) {
	j.append()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.recs = append(j.recs, []byte(b))
}

func (j *memJournal) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	close(j.more)
	j.more = make(chan struct{})
}

func (j *memJournal) First() journal.Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first
}

func (j *memJournal) Last() journal.Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return journal.Position(len(j.recs))
}

func (j *memJournal) Scan(from journal.Position, fn func(journal.Position, []byte) error) error {
	last := j.Last()
	if from < j.First() || from > last+1 {
		j.t.Errorf("scan from %d of %d to %d", from, j.First(), last)
	}
	var buf []byte
	for pos := from; pos <= last; pos++ {
		j.mu.Lock()
		buf = append(buf[:0], j.recs[pos-1]...)
		j.mu.Unlock()
		if err := fn(pos, buf); err != nil {
			return err
		}
		clear(buf) // whoever kept a slice of it sees zeros
	}
	return nil
}

func (j *memJournal) Wait(ctx context.Context, pos journal.Position) error {
	for {
		j.mu.Lock()
		more, closed, last := j.more, j.closed, len(j.recs)
		j.mu.Unlock()
		switch {
		case last > int(pos):
			return nil
		case closed:
			return journal.ErrClosed
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// memStore is a ledger in memory that polices the drain: it takes only what
// follows, and fails as told.
type memStore struct {
	t testing.TB

	mu    sync.Mutex
	got   []txn.Record
	calls int
	// fail is asked before each Store; persisted says that the batch arrives
	// although Store fails.
	fail func(call int) (err error, persisted bool)
	most int // entries that it can store in time; 0 is any
}

func (s *memStore) Position(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.got)), nil
}

func (s *memStore) Store(ctx context.Context, entries []ledger.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		s.t.Error("Store without deadline")
	}
	if len(entries) == 0 || len(entries) > batchMax {
		s.t.Errorf("batch of %d", len(entries))
	}
	s.calls++
	if s.most > 0 && len(entries) > s.most {
		return context.DeadlineExceeded
	}
	var err error
	persisted := true
	if s.fail != nil {
		err, persisted = s.fail(s.calls)
	}
	if err != nil && !persisted {
		return err
	}
	for _, e := range entries {
		if e.Pos != uint64(len(s.got)+1) {
			return fmt.Errorf("position %d after %d: %w", e.Pos, len(s.got), ledger.ErrGap)
		}
		rec := *e.Rec
		rec.Serial = bytes.Clone(rec.Serial)
		s.got = append(s.got, rec)
	}
	return err
}

// truncate forgets what is before first.
func (j *memJournal) truncate(first int) {
	for i := range first - 1 {
		j.recs[i] = nil
	}
	j.first = journal.Position(first)
}
