// Package journal is an append-only file of opaque records, in segments.
//
// Append returns nil once the record is on stable storage. After any other
// result nobody knows what is on disk: the journal closes itself, Run returns
// the cause, the process restarts, and Open decides. Open drops a torn tail; it
// never drops a record that was acknowledged, and it refuses a journal in which
// an acknowledged record is damaged.
//
// Many goroutines append; one, Run, writes and syncs. It takes everything that
// queued while the last sync was under way, so the sync in flight is the only
// batching window and there is no timer. One such write is a flush: on disk it
// is a block that is either wholly there or never happened.
//
// Positions count records from 1 without gaps, across restarts and truncation.
//
// Not promised: that a record whose Append failed is absent (it may be found
// after the restart), and any defence against a disk that loses synced data.
// README.md has the format byte by byte, the assumptions and the limits.
package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Position is the number of a record, from 1. Zero is before the first.
type Position uint64

// RecordSizeMax is the largest record in bytes; the smallest is 1.
const RecordSizeMax = 64 << 10

// Errors that a caller tells apart.
var (
	// ErrClosed is in every error of an append that did not happen because the
	// journal was closed or has failed; the cause is in it too.
	ErrClosed = errors.New("journal is closed")
	// ErrFull says that the queue had no place for Config.QueueWait. The record
	// is certainly not in the journal.
	ErrFull = errors.New("journal queue is full: the disk is slower than the load")
	// ErrSize says that a record is empty or over RecordSizeMax.
	ErrSize = fmt.Errorf("journal record must be 1 to %d bytes", RecordSizeMax)
	// ErrTruncated says that a position was truncated away.
	ErrTruncated = errors.New("journal position was truncated")
)

// Config is how a journal works. The zero value of each field is its default.
type Config struct {
	// SegmentSize is the size of one file, reserved when it is created; 64 MiB.
	// A disk without room for one more is found at rotation, by Run's error.
	SegmentSize int64
	// QueueSize bounds the bytes that wait for the next flush, and so the size
	// of a flush; 4 MiB. The journal holds two such buffers.
	QueueSize int
	// QueueWait is how long Append waits for a place in a full queue before it
	// returns ErrFull; 1 s.
	QueueWait time.Duration
	// StallTimeout fails the journal when one flush takes longer; 10 s. A disk
	// that hangs then looks like a disk that failed.
	StallTimeout time.Duration
	// ReadOnly opens without lock or repair what another process may be
	// writing. Last stays where Open found it and Append is refused.
	ReadOnly bool
	// OnFlush, when set, is told of every flush by the flusher: keep it short.
	OnFlush func(records, bytes int, took time.Duration)
	// Disk is where the journal is; nil is the operating system's. Tests have
	// others, that fail.
	Disk Disk
}

func (c Config) withDefaults() Config {
	c.SegmentSize = cmp.Or(c.SegmentSize, 64<<20)
	c.QueueSize = cmp.Or(c.QueueSize, 4<<20)
	c.QueueWait = cmp.Or(c.QueueWait, time.Second)
	c.StallTimeout = cmp.Or(c.StallTimeout, 10*time.Second)
	return c
}

func (c Config) validate() error {
	switch {
	case c.QueueSize < blockHeaderSize+recordHeaderSize+RecordSizeMax:
		return fmt.Errorf("journal queue size %d must hold one record of %d bytes", c.QueueSize, RecordSizeMax)
	case c.SegmentSize < int64(segmentHeaderSize+c.QueueSize), c.SegmentSize > segmentSizeMax:
		return fmt.Errorf("journal segment size %d must hold one full queue (%d) and be at most %d", c.SegmentSize, c.QueueSize, segmentSizeMax)
	case c.QueueWait < 0, c.StallTimeout < 0:
		return errors.New("journal waits must not be negative")
	}
	return nil
}

// Journal is one open journal. All methods may be called by any goroutine.
type Journal struct {
	cfg  Config // immutable after Open
	dir  string
	fs   Disk
	lock io.Closer // nil when read only

	last atomic.Uint64 // position of the last durable record

	// Owned by the flusher after Open.
	tail    *segment // where the next block goes
	off     int64    // at which offset
	written int64    // up to where the tail has been written, with zeros behind off; 0 is not known

	// mu guards what follows. It is held for memory operations only, never
	// across I/O.
	mu       sync.Mutex
	work     sync.Cond // the flusher waits here for open.count > 0 or closing
	open     *flush    // what appenders fill; nil once closed
	flying   *flush    // what the flusher is writing; nil between flushes
	since    time.Time // when flying took off
	spare    []byte    // the buffer of the flush before
	next     Position  // the next record's
	segments []*segment
	progress chan struct{} // closed at the next flush or at the end; nil when nobody waits
	state    state
	err      error // why appends are refused; wraps ErrClosed

	truncating sync.Mutex // one Truncate at a time
}

// stallLooks is how often a flush is looked at within Config.StallTimeout.
const stallLooks = 4

// state only moves forward.
type state uint8

const (
	stateOpened state = iota
	stateRunning
	stateClosing // Run's context ended: no more appends, the queue is being flushed
	stateEnded   // Run has returned, or the journal failed
	stateClosed
)

// flush is one group of records on its way to the disk.
type flush struct {
	buf   []byte // block header, then records
	first Position
	count int
	done  chan struct{} // closed once durable or failed
	taken chan struct{} // closed once the flusher took it; nil when nobody waits for room
	err   error         // valid after done
}

// Run writes and syncs what is appended until ctx ends, then flushes what is
// queued and returns nil. It returns the cause when a write or sync fails or
// stalls; the process must then exit and recover at start, since after a failed
// sync nobody knows what is on disk. Records appended before Run wait for it.
func (j *Journal) Run(ctx context.Context) error {
	j.mu.Lock()
	if j.state != stateOpened || j.cfg.ReadOnly {
		j.mu.Unlock()
		return errors.New("run journal: it is read only, closed, or already run")
	}
	j.state = stateRunning
	j.mu.Unlock()

	ended := make(chan error, 1)
	go func() { ended <- j.flushLoop() }()
	watch := time.NewTicker(j.cfg.StallTimeout / stallLooks)
	defer watch.Stop()
	var since time.Time // when the flush of the last look took off
	looks := 0          // that found it in the air
	cancelled := ctx.Done()
	for {
		select {
		case err := <-ended:
			j.end(err)
			return err
		case <-cancelled:
			cancelled = nil
			j.stopAppends()
		case <-watch.C:
			// Looks are counted and not the clock alone: when the process was stopped
			// meanwhile, or its machine, the disk has answered perhaps and the flusher
			// not yet heard of it. A ticker makes up for no ticks.
			at := j.takeoff()
			if at.IsZero() || at != since {
				since, looks = at, 0
			}
			if looks++; !at.IsZero() && looks > stallLooks {
				took := time.Since(at)
				// The flusher may hang in the system call for ever; it finds the
				// journal ended when it comes back and acknowledges nothing.
				err := fmt.Errorf("flush journal %s: the disk has not answered for %v; check it, then restart", j.dir, took.Round(time.Millisecond))
				j.end(err)
				return err
			}
		}
	}
}

// Append adds one record, copying it. It returns nil once the record is on
// stable storage; on ErrFull and ErrSize the record is certainly not in the
// journal; after any other error it may or may not be.
func (j *Journal) Append(rec []byte) (Position, error) {
	f, pos, err := j.queue(rec)
	if err != nil {
		return 0, err
	}
	<-f.done
	if f.err != nil {
		return 0, f.err
	}
	return pos, nil
}

// Queue is Append without the wait: the record is on its way to stable storage, and
// gets there before every record that is added later. Wait says when it has.
func (j *Journal) Queue(rec []byte) (Position, error) {
	_, pos, err := j.queue(rec)
	return pos, err
}

func (j *Journal) queue(rec []byte) (*flush, Position, error) {
	if len(rec) == 0 || len(rec) > RecordSizeMax {
		return nil, 0, ErrSize
	}
	check := crc32.Checksum(rec, castagnoli)

	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.makeRoom(len(rec)); err != nil {
		return nil, 0, err
	}
	f, pos := j.open, j.next
	f.buf = appendRecord(f.buf, pos, check, rec)
	f.count++
	j.next++
	if f.count == 1 && j.flying == nil {
		j.work.Signal()
	}
	return f, pos, nil
}

// makeRoom returns nil with mu held and room for a record of n bytes in open.
func (j *Journal) makeRoom(n int) error {
	var deadline *time.Timer
	for {
		switch {
		case j.err != nil:
			return j.err
		case j.cfg.ReadOnly:
			return fmt.Errorf("append to journal %s: it is open read only: %w", j.dir, ErrClosed)
		case len(j.open.buf)+recordHeaderSize+n <= j.cfg.QueueSize:
			return nil
		}
		if deadline == nil {
			deadline = time.NewTimer(j.cfg.QueueWait)
			defer deadline.Stop()
		}
		if j.open.taken == nil {
			j.open.taken = make(chan struct{})
		}
		taken := j.open.taken
		j.mu.Unlock()
		var late bool
		select {
		case <-taken:
		case <-deadline.C:
			late = true
		}
		j.mu.Lock()
		if late {
			return ErrFull
		}
	}
}

// Wait returns nil as soon as a record after pos is durable. It returns an
// error with ErrClosed in it when none will come, and ctx's when that ends.
func (j *Journal) Wait(ctx context.Context, pos Position) error {
	for j.Last() <= pos {
		j.mu.Lock()
		if j.Last() > pos {
			j.mu.Unlock()
			return nil
		}
		if j.state >= stateEnded || j.cfg.ReadOnly {
			j.mu.Unlock()
			return fmt.Errorf("wait for journal position after %d: %w", pos, ErrClosed)
		}
		if j.progress == nil {
			j.progress = make(chan struct{})
		}
		progress := j.progress
		j.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Last is the position of the last durable record, 0 when there is none yet.
func (j *Journal) Last() Position { return Position(j.last.Load()) }

// First is the position of the oldest record still kept. It is Last()+1 when
// there is none.
func (j *Journal) First() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.segments[0].first
}

// Close releases the files and the directory. Run must have returned. Scans
// must have ended.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch j.state {
	case stateRunning, stateClosing:
		return errors.New("close journal: end Run's context first and wait for it")
	case stateClosed:
		return nil
	}
	j.refuseAppends(nil)
	j.state = stateClosed
	var errs []error
	for _, s := range j.segments {
		errs = append(errs, s.f.Close())
	}
	errs = append(errs, j.unlock())
	return errors.Join(errs...)
}

// unlock gives the directory back.
func (j *Journal) unlock() error {
	if j.lock == nil {
		return nil
	}
	return j.lock.Close()
}
