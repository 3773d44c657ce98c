package settlement

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Journal is the durable log as its readers need it.
type Journal interface {
	// First and Last are the positions that can be read; Last is 0 when there
	// is none.
	First() journal.Position
	Last() journal.Position
	// Scan calls fn for each durable record from a position to the one that was
	// Last at the call; rec is valid during fn only.
	Scan(from journal.Position, fn func(pos journal.Position, rec []byte) error) error
	// Wait returns when a record after pos is durable, or with
	// journal.ErrClosed when none will come.
	Wait(ctx context.Context, pos journal.Position) error
}

// Store is the ledger as Drain needs it. An error leaves open what was stored;
// Position says. See ledger.Ledger.
type Store interface {
	Position(ctx context.Context) (uint64, error)
	Store(ctx context.Context, entries []ledger.Entry) error
}

// ErrAhead says that the ledger has records the journal does not.
var ErrAhead = errors.New("the ledger is ahead of the journal: this is not the journal it was loaded from, or it lost its end")

// ErrBehind says that the ledger lacks records which the journal has no more.
var ErrBehind = errors.New("the ledger lacks what the journal no longer has: it is an old backup, or another switch's; restore a newer one")

const (
	// batchMax is the records of one SQL transaction. Half of them are intents,
	// which are no rows. Terminals' rows stand all over the primary key, whose pages
	// SQLite writes once a batch: in one of half the size a row costs a tenth more.
	batchMax = 8192

	// batchMin is what it shrinks to, by half each time it could not be stored, to grow
	// by an eighth each time it could: a ledger that takes more than storeTimeout for a
	// batch, or than a limit of its own, would not get on at all otherwise.
	batchMin = 64

	// linger is how long a new record may wait for company. Nobody waits for the
	// ledger, and a row in a full batch costs half of one in a small batch.
	linger = 20 * time.Millisecond

	// A goroutine that waits longer than turnMax for a processor waits for
	// others. While more than a quarter do, the drain rests after a batch,
	// restShare times as long as it took: sales first.
	turnMax   = 200 * time.Microsecond
	restShare = 31
	restStep  = 10 * time.Millisecond

	// While there is nothing to copy the ledger is looked at so often. Nothing else tells
	// that a standby took its server's place which lacks the last records.
	lookEvery = 30 * time.Second

	storeTimeout = 30 * time.Second
	retryMin     = 50 * time.Millisecond
	retryMax     = 5 * time.Second
)

// Drain copies the journal into the ledger, behind the sales. Make it with
// NewDrain and call Run once; the other methods are for any goroutine.
type Drain struct {
	journal Journal
	store   Store
	lagMax  journal.Position // records; see NewDrain
	found   journal.Position // the journal's last when it was opened: the ledger holds none after it
	log     *slog.Logger

	// Owned by Run.
	recs     []txn.Record // what batch points to
	serials  [][]byte     // the serial of each of recs
	batch    []ledger.Entry
	size     int // of the next batch, at most batchMax
	backoff  time.Duration
	failing  time.Time // since when the ledger fails; zero when it does not
	turns    turns
	compared bool // the ledger was not ahead of found

	position atomic.Uint64 // of the last record known to be stored
	failures atomic.Uint64 // SQL transactions that failed and were tried again
	rests    atomic.Uint64 // times sales were given the processors
	awaited  atomic.Int32  // by whom it is to catch up

	mu      sync.Mutex // guards what follows
	moved   chan struct{}
	lastErr error // of the failure being retried
	ended   error // why Run returned; errEnded for no error
}

// NewDrain starts nothing. It comes before the first append, for records made
// since then hide that the journal lost its end. While sales wait for a
// processor the drain gives way to them until the ledger is lagMax records
// behind; from there on it takes its share: a peak of seconds is put off, a
// load that lasts is carried along. With 0 it never gives way. An outage of the
// ledger is two lines of log: when it begins and when it is over.
func NewDrain(j Journal, s Store, lagMax uint64, log *slog.Logger) *Drain {
	return &Drain{journal: j, store: s, lagMax: journal.Position(lagMax), found: j.Last(), log: log, recs: make([]txn.Record, batchMax), serials: make([][]byte, batchMax), size: batchMax, moved: make(chan struct{}),
		turns: turns{sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}}
}

var errEnded = errors.New("drain has ended")

// Run copies until ctx ends, or until the journal has ended and all of it is
// copied; both return nil, and the next Run goes on where this one stopped.
// While the ledger fails it retries, forever, up to retryMax apart. It returns
// an error when going on would lose a record: one that cannot be decoded or
// placed, a gap, a journal that cannot be read. Sales may go on; a person must
// look.
func (d *Drain) Run(ctx context.Context) error {
	err := d.run(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended = err; err == nil {
		d.ended = errEnded
	}
	d.wake()
	return err
}

func (d *Drain) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := d.follow(ctx)
		if err == nil || errors.As(err, new(fatal)) {
			return err
		}
		if d.failing.IsZero() && ctx.Err() == nil {
			d.failing = time.Now()
			d.log.Warn("the ledger fails; sales go on", "error", err)
		}
		// What the failed Store did is unknown: follow asks for the position.
		d.failures.Add(1)
		d.mu.Lock()
		d.lastErr = err
		d.mu.Unlock()
		d.backoff = min(max(2*d.backoff, retryMin), retryMax)
		sleep(ctx, d.backoff/2+rand.N(d.backoff/2))
	}
	return nil
}

// fatal is an error that a retry cannot cure.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// follow copies from the ledger's position on until the journal ends.
func (d *Drain) follow(ctx context.Context) error {
	pos, err := d.storedPosition(ctx)
	if err != nil {
		return err
	}
	last := d.journal.Last()
	if !d.compared { // nothing was stored since the journal was opened
		last = min(last, d.found)
	}
	if pos > last {
		return fatal{fmt.Errorf("drain at %d, journal at %d: %w", pos, last, ErrAhead)}
	}
	d.compared = true
	if had := journal.Position(d.position.Load()); pos < had {
		d.log.Warn("the ledger has lost records that it had: a standby took its server's place, or it was restored; what people decided since is lost too", "records", uint64(had-pos))
	}
	d.reached(pos) // the journal keeps its head from here on
	if first := d.journal.First(); pos+1 < first {
		return fatal{fmt.Errorf("drain at %d, the journal begins at %d: %w", pos, first, ErrBehind)}
	}
	for {
		if pos, err = d.copy(ctx, pos); err != nil {
			return err
		}
		d.works(pos)
		idle, cancel := context.WithTimeout(ctx, lookEvery)
		err := d.journal.Wait(idle, pos)
		cancel()
		switch {
		case err == nil:
			sleep(ctx, linger)
		case errors.Is(err, journal.ErrClosed):
			// The last flush may have come after copy read Last.
			_, err := d.copy(ctx, pos)
			return err
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			if now, err := d.storedPosition(ctx); err != nil {
				return err
			} else if now != pos {
				return fmt.Errorf("it was left at record %d and is at %d", pos, now)
			}
		default:
			return fatal{fmt.Errorf("wait for the journal after %d: %w", pos, err)}
		}
	}
}

// NotAhead says whether the ledger is ahead of the journal, before Run does: no
// terminal is let in then. It is for whoever is about to call Run.
func (d *Drain) NotAhead(ctx context.Context) error {
	pos, err := d.storedPosition(ctx)
	if err == nil && pos > d.found {
		err = fmt.Errorf("drain at %d, journal at %d: %w", pos, d.found, ErrAhead)
	}
	return err
}

func (d *Drain) storedPosition(ctx context.Context) (journal.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	pos, err := d.store.Position(ctx)
	return journal.Position(pos), err
}

// copy stores what the journal has after pos, batch by batch.
func (d *Drain) copy(ctx context.Context, pos journal.Position) (journal.Position, error) {
	if pos >= d.journal.Last() {
		return pos, nil
	}
	d.batch = d.batch[:0]
	var storeErr error
	err := d.journal.Scan(pos+1, func(at journal.Position, b []byte) error {
		rec, serial := &d.recs[len(d.batch)], &d.serials[len(d.batch)]
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("decode journal record %d: %w", at, err)
		}
		data := rec.Data
		rec.Balance, rec.Chip, rec.IssuerData, rec.Data, rec.Told = nil, nil, nil, nil, nil // nothing may point into b
		*serial = append((*serial)[:0], rec.Serial...)
		if rec.Serial = *serial; rec.Request.Batch() {
			rec.Data = bytes.Clone(data)
		}
		d.batch = append(d.batch, ledger.Entry{Pos: uint64(at), Rec: rec})
		if len(d.batch) == d.size {
			began := time.Now()
			if pos, storeErr = d.flush(ctx, pos); storeErr == nil {
				d.giveWay(ctx, pos, time.Since(began))
			}
		}
		return storeErr
	})
	switch {
	case storeErr != nil:
		return pos, storeErr
	case err != nil:
		return pos, fatal{fmt.Errorf("drain journal: %w", err)}
	}
	return d.flush(ctx, pos)
}

// flush stores the batch. pos is the position before it.
func (d *Drain) flush(ctx context.Context, pos journal.Position) (journal.Position, error) {
	if len(d.batch) == 0 {
		return pos, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := d.store.Store(ctx, d.batch)
	switch {
	case errors.Is(err, ledger.ErrGap), errors.Is(err, ledger.ErrRepeated), errors.Is(err, ledger.ErrUnknownKind), errors.Is(err, ledger.ErrMoved), errors.Is(err, txn.ErrBatchFact):
		return pos, fatal{fmt.Errorf("drain journal: %w", err)}
	case err != nil:
		d.size = max(d.size/2, batchMin)
		return pos, err
	}
	d.size = min(d.size+d.size/8, batchMax)
	pos = journal.Position(d.batch[len(d.batch)-1].Pos)
	d.backoff = 0
	d.batch = d.batch[:0]
	d.works(pos)
	d.reached(pos)
	return pos, nil
}

// giveWay rests after a batch that took so long while goroutines wait for a
// processor. A scheduler is fair to goroutines, not to the terminals behind a
// thousand of them: without rests the drain has a processor of its own while it
// is behind. The rest ends when nobody waits any more, or somebody waits for the
// ledger.
func (d *Drain) giveWay(ctx context.Context, pos journal.Position, took time.Duration) {
	for until := time.Now().Add(restShare * took); d.journal.Last() < pos+d.lagMax && d.awaited.Load() == 0 && d.turns.late() && time.Now().Before(until) && ctx.Err() == nil; {
		d.rests.Add(1)
		sleep(ctx, restStep)
	}
}

// turns watches how long this process's goroutines wait for a processor.
type turns struct {
	sample    []metrics.Sample
	seen, bad uint64 // waits so far, and those longer than turnMax; the runtime samples
}

// late says whether more than a quarter of the waits since the last call were
// longer than turnMax.
func (t *turns) late() bool {
	metrics.Read(t.sample)
	h := t.sample[0].Value.Float64Histogram()
	var seen, bad uint64
	for i, n := range h.Counts {
		seen += n
		if h.Buckets[i] >= turnMax.Seconds() {
			bad += n
		}
	}
	newSeen, newBad := seen-t.seen, bad-t.bad
	t.seen, t.bad = seen, bad
	return newBad*4 > newSeen
}

// works notes that the ledger does, up to pos.
func (d *Drain) works(pos journal.Position) {
	if !d.failing.IsZero() {
		d.log.Info("the ledger is back", "after", time.Since(d.failing).Round(time.Millisecond), "behind", uint64(d.journal.Last()-pos))
		d.failing = time.Time{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastErr = nil
}

// reached notes that the ledger holds everything up to pos.
func (d *Drain) reached(pos journal.Position) {
	d.position.Store(uint64(pos))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wake()
}

// wake needs mu.
func (d *Drain) wake() {
	close(d.moved)
	d.moved = make(chan struct{})
}

// CatchUp waits until the ledger holds all that is in the journal now, and has the
// drain give way to nobody meanwhile. It fails when ctx ends or Run does.
func (d *Drain) CatchUp(ctx context.Context) error {
	d.awaited.Add(1)
	defer d.awaited.Add(-1)
	want := uint64(d.journal.Last())
	for {
		d.mu.Lock()
		moved, ended, lastErr := d.moved, d.ended, d.lastErr
		d.mu.Unlock()
		got := d.position.Load()
		switch {
		case got >= want:
			return nil
		case ended != nil:
			return fmt.Errorf("catch up from %d to %d: %w", got, want, ended)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("catch up from %d to %d: %w", got, want, errors.Join(context.Cause(ctx), lastErr))
		}
	}
}

// DrainStats are the live figures of a Drain.
type DrainStats struct {
	Position uint64 // of the last record known to be in the ledger
	Lag      uint64 // records in the journal after it
	Err      error  // why the ledger fails now, or Run ended; nil when it does not
}

// Stats reads the live figures.
func (d *Drain) Stats() DrainStats {
	s := DrainStats{Position: d.position.Load()}
	d.mu.Lock()
	if s.Err = d.lastErr; d.ended != nil && d.ended != errEnded {
		s.Err = d.ended
	}
	d.mu.Unlock()
	if last := uint64(d.journal.Last()); last > s.Position {
		s.Lag = last - s.Position
	}
	return s
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
