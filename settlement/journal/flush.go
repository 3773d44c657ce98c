package journal

import (
	"fmt"
	"runtime"
	"time"
)

// gatherTurns is how often the flusher lets all others run before a flush.
const gatherTurns = 3

// aheadSize is how much of a segment is written at least at a time: behind a flush that
// gets where nothing was written yet, zeros are, up to the next multiple. Room that is
// only reserved has not been written to a file system: the first write to any of it
// changes what is kept about the file, and a sync has that to write too, which takes it
// twice as long. So one flush of a hundred or so pays for all.
const aheadSize = 256 << 10

var zeros [aheadSize]byte

// flushLoop writes one flush after another until appends stopped and the queue
// is empty, or until one fails.
func (j *Journal) flushLoop() error {
	for {
		// The records of the flush before have just been acknowledged. Who was
		// woken by that and appends next does it now, so that the next flush
		// carries more of them: a third more sales on two busy processors,
		// nothing lost on idle ones.
		for range gatherTurns {
			runtime.Gosched()
		}
		f := j.take()
		if f == nil {
			return nil
		}
		start := time.Now()
		if err := j.write(f); err != nil {
			// The write may have happened, wholly, partly or not at all. It is
			// not tried again: a sync that failed once may succeed the next time
			// although the kernel dropped the pages.
			return fmt.Errorf("flush journal %s: %w; check the disk and its room, then start again: what was acknowledged is there", j.dir, err)
		}
		if err := j.land(f); err != nil {
			return err
		}
		if j.cfg.OnFlush != nil {
			j.cfg.OnFlush(f.count, len(f.buf), time.Since(start))
		}
	}
}

// take waits for records and takes them off the queue; nil is the end.
func (j *Journal) take() *flush {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.open != nil && j.open.count == 0 && j.state == stateRunning {
		j.work.Wait()
	}
	if j.open == nil || j.open.count == 0 {
		return nil
	}
	f := j.open
	if f.taken != nil {
		close(f.taken)
	}
	j.flying, j.since = f, time.Now()
	j.open = newFlush(j.spare, j.next)
	j.spare = nil
	return f
}

func newFlush(buf []byte, first Position) *flush {
	if cap(buf) < blockHeaderSize {
		buf = make([]byte, blockHeaderSize, 64<<10)
	}
	return &flush{buf: buf[:blockHeaderSize], first: first, done: make(chan struct{})}
}

// write makes the flush durable as one block, in a new segment when the tail
// has no room for it. A new segment is itself durable before the first block
// goes in, and the old one has nothing unsynced: at most one block of the
// whole journal can ever be torn, the last.
func (j *Journal) write(f *flush) error {
	if j.off+int64(len(f.buf)) > j.tail.size {
		s, err := createSegment(j.fs, j.dir, f.first, j.cfg.SegmentSize)
		if err != nil {
			return err
		}
		j.mu.Lock()
		j.segments = append(j.segments, s)
		j.mu.Unlock()
		j.tail, j.off, j.written = s, segmentHeaderSize, 0
	}
	putBlockHeader(f.buf, f.first, f.count, j.tail.salt)
	if _, err := j.tail.f.WriteAt(f.buf, j.off); err != nil {
		return fmt.Errorf("write %s: %w", j.tail.name, err)
	}
	if end := j.off + int64(len(f.buf)); end > j.written {
		j.written = min((end+aheadSize-1)/aheadSize*aheadSize, j.tail.size)
		if _, err := j.tail.f.WriteAt(zeros[:j.written-end], end); err != nil {
			return fmt.Errorf("write %s: %w", j.tail.name, err)
		}
	}
	if err := j.tail.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", j.tail.name, err)
	}
	j.tail.mark(f.first, j.off)
	j.off += int64(len(f.buf))
	return nil
}

// land tells everybody that f is durable. When the journal was failed meanwhile
// it returns why: f's appenders have been told so and nothing may be
// acknowledged any more.
func (j *Journal) land(f *flush) error {
	j.mu.Lock()
	if j.state >= stateEnded {
		defer j.mu.Unlock()
		return j.err
	}
	j.last.Store(uint64(f.first) + uint64(f.count) - 1)
	j.flying, j.spare = nil, f.buf
	j.wakeWaiters()
	j.mu.Unlock()
	// f is ours alone now: who fails the journal from here on no longer finds it.
	// Its appenders are woken outside the lock, which those woken first want next.
	close(f.done)
	return nil
}

// stopAppends refuses new records; those queued are still flushed.
func (j *Journal) stopAppends() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state == stateRunning {
		j.state = stateClosing
		j.err = fmt.Errorf("append to journal %s: %w", j.dir, ErrClosed)
		j.work.Signal()
	}
}

// end closes the journal for good, with the cause when it failed. Whoever
// waits is told; whatever is queued is not written.
func (j *Journal) end(cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state < stateEnded {
		j.state = stateEnded
		j.refuseAppends(cause)
		j.work.Signal()
	}
}

// refuseAppends fails what is queued or flying and everything later. mu is held.
func (j *Journal) refuseAppends(cause error) {
	if cause != nil {
		j.err = fmt.Errorf("append to journal: %w: %w", ErrClosed, cause)
	} else if j.err == nil {
		j.err = fmt.Errorf("append to journal %s: %w", j.dir, ErrClosed)
	}
	for _, f := range []*flush{j.flying, j.open} {
		if f == nil {
			continue
		}
		f.err = j.err
		close(f.done)
		if f.taken != nil && f == j.open {
			close(f.taken)
		}
	}
	j.flying, j.open = nil, nil
	j.wakeWaiters()
}

// wakeWaiters wakes every Wait. mu is held.
func (j *Journal) wakeWaiters() {
	if j.progress != nil {
		close(j.progress)
		j.progress = nil
	}
}

// takeoff is when the present flush took off; zero between flushes.
func (j *Journal) takeoff() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.flying == nil {
		return time.Time{}
	}
	return j.since
}
