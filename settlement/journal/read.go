package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// Scan calls fn for every durable record from position from (0 is 1) to the
// one that was Last when Scan began, in order. The record is valid during the
// call only. Scan ends with fn's first error, as it is; with a *DamageError
// where a record does not read back as written; with ErrTruncated when from is
// before First.
//
// It reads the files in large chunks; right behind the writer they come from
// the page cache.
func (j *Journal) Scan(from Position, fn func(pos Position, rec []byte) error) error {
	return j.scan(max(from, 1), j.Last(), fn)
}

// Read appends the record at pos to dst.
func (j *Journal) Read(pos Position, dst []byte) ([]byte, error) {
	if pos == 0 || pos > j.Last() {
		return dst, fmt.Errorf("read journal position %d: the last is %d", pos, j.Last())
	}
	s, _, err := j.hold(pos)
	if err != nil {
		return dst, err
	}
	defer j.letGo(s)
	return s.read(pos, dst)
}

// Truncate removes segments whose records are all before the given position.
// It works in whole segments and keeps the newest, so records before it may
// stay: First says. The oldest segment goes first, and one that cannot be removed
// stays the first: neither a crash nor a failure leaves a gap.
func (j *Journal) Truncate(before Position) error {
	j.truncating.Lock()
	defer j.truncating.Unlock()
	for {
		j.mu.Lock()
		if j.state == stateClosed || j.cfg.ReadOnly {
			j.mu.Unlock()
			return fmt.Errorf("truncate journal %s: %w", j.dir, ErrClosed)
		}
		if len(j.segments) < 2 || j.segments[1].first > before {
			j.mu.Unlock()
			return nil
		}
		s := j.segments[0]
		j.mu.Unlock()
		if err := removeSegment(j.fs, j.dir, s.name); err != nil {
			return err
		}
		j.mu.Lock()
		j.segments = append([]*segment(nil), j.segments[1:]...)
		s.removed = true
		idle := s.refs == 0 && j.state != stateClosed
		j.mu.Unlock()
		if idle {
			if err := s.f.Close(); err != nil {
				return fmt.Errorf("close journal segment %s: %w", s.name, err)
			}
		}
	}
}

// Rewrite adds what each puts, which is all that counts of a log, in as few flushes as
// it takes, and then truncates what was there before. A crash in between leaves both, and
// so does an error of each. Nobody else may append meanwhile. It returns the number of
// records that were put.
func (j *Journal) Rewrite(each func(put func(rec []byte) error) error) (n int64, err error) {
	before, last := j.Last(), Position(0)
	err = each(func(rec []byte) (err error) {
		for {
			if last, err = j.Queue(rec); !errors.Is(err, ErrFull) { // a disk that stalls ends the journal
				n++
				return err
			}
		}
	})
	if err == nil && n > 0 {
		err = j.Wait(context.Background(), last-1)
	}
	if err != nil {
		return n, err
	}
	return n, j.Truncate(before + 1)
}

// scan is Scan up to and including position to.
func (j *Journal) scan(from, to Position, fn func(Position, []byte) error) error {
	for from <= to {
		s, end, err := j.hold(from)
		if err != nil {
			return err
		}
		last := min(to, end)
		err = s.scan(from, last, fn)
		j.letGo(s)
		if err != nil {
			return err
		}
		from = last + 1
	}
	return nil
}

// hold finds the segment of pos, keeps it from being closed, and returns the
// last position it can hold.
func (j *Journal) hold(pos Position) (*segment, Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state == stateClosed {
		return nil, 0, fmt.Errorf("read journal %s: %w", j.dir, ErrClosed)
	}
	end := ^Position(0)
	for i := len(j.segments) - 1; i >= 0; i-- {
		if s := j.segments[i]; s.first <= pos {
			s.refs++
			return s, end, nil
		}
		end = j.segments[i].first - 1
	}
	return nil, 0, fmt.Errorf("read journal position %d: the first is %d: %w", pos, j.segments[0].first, ErrTruncated)
}

func (j *Journal) letGo(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.refs--
	if s.refs == 0 && s.removed {
		s.f.Close() // read only by now: nothing can be lost
	}
}

const chunkSize = 256 << 10

// buffers holds the chunks that files are read into.
var buffers = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// scan calls fn for the records from..to, which the segment must hold.
func (s *segment) scan(from, to Position, fn func(Position, []byte) error) error {
	chunk := buffers.Get().(*[chunkSize]byte)
	defer buffers.Put(chunk)
	start := s.before(from)
	r := reader{s: s, off: start.off, next: start.first, buf: chunk[:0]}
	defer func() { s.stopped(r.next, r.off) }()
	for r.next <= to {
		b, err := r.peek(from)
		if err == io.EOF {
			return &DamageError{s.name, r.off, r.next, fmt.Sprintf("it ends before position %d", to)}
		}
		if err != nil {
			return err
		}
		s.mark(b.first, r.off)
		for pos, rec := range b.all {
			if pos > to {
				return nil
			}
			if pos < from {
				continue
			}
			if err := fn(pos, rec); err != nil {
				return err
			}
		}
		r.skip(b)
	}
	return nil
}

// read appends the record at pos to dst. It steps over the records before it by
// their lengths alone: the check of the one it ends at has its position in it.
func (s *segment) read(pos Position, dst []byte) ([]byte, error) {
	chunk := buffers.Get().(*[chunkSize]byte)
	defer buffers.Put(chunk)
	start := s.before(pos)
	r := reader{s: s, off: start.off, next: start.first, buf: chunk[:0]}
	for {
		h, err := r.window(blockHeaderSize)
		if err == io.EOF {
			return dst, r.damage(0, r.next, fmt.Sprintf("it ends before position %d", pos))
		}
		if err != nil {
			return dst, err
		}
		size, b, reason := r.parseHeader(h)
		if reason != "" {
			return dst, r.damage(0, r.next, reason)
		}
		if pos < b.first+Position(b.count) {
			break
		}
		r.off += int64(blockHeaderSize + size)
		r.next += Position(b.count)
	}
	r.off += blockHeaderSize
	for ; ; r.next++ {
		h, err := r.window(recordHeaderSize)
		if err != nil {
			return dst, r.damage(0, pos, "the file ends inside a block")
		}
		n := int(binary.BigEndian.Uint32(h))
		if n < 1 || n > RecordSizeMax {
			return dst, r.damage(0, r.next, "the record's length cannot be")
		}
		if r.next < pos {
			r.off += int64(recordHeaderSize + n)
			continue
		}
		rec, err := r.window(recordHeaderSize + n)
		if err != nil || !intact(rec, pos) {
			return dst, r.damage(0, pos, "the record's checksum is wrong")
		}
		return append(dst, rec[recordHeaderSize:]...), nil
	}
}

// intact says that a record's frame is as it was written, at this position.
func intact(frame []byte, pos Position) bool {
	return crc32.Checksum(frame[recordHeaderSize:], castagnoli)^uint32(pos) == binary.BigEndian.Uint32(frame[4:])
}

// block is one checked block.
type block struct {
	first   Position
	count   int
	records []byte
}

// all yields the block's records.
func (b block) all(yield func(Position, []byte) bool) {
	rest := b.records
	for i := range b.count {
		n := recordHeaderSize + int(binary.BigEndian.Uint32(rest))
		if !yield(b.first+Position(i), rest[recordHeaderSize:n:n]) {
			return
		}
		rest = rest[n:]
	}
}

// reader reads a segment's blocks in order through a window on the file.
type reader struct {
	s    *segment
	off  int64    // of the next block
	next Position // its first
	buf  []byte   // the window
	at   int64    // where it starts
	take int      // bytes the last read asked for: a long scan asks for more each time
}

// window returns the next n bytes of the file, or io.EOF where it is shorter.
func (r *reader) window(n int) ([]byte, error) {
	if i := r.off - r.at; i >= 0 && i+int64(n) <= int64(len(r.buf)) {
		return r.buf[i : int(i)+n], nil
	}
	if n > cap(r.buf) {
		r.buf = make([]byte, 0, n) // n was checked against the file's size
	}
	r.take = min(max(n, 2*r.take, chunkSize/16), cap(r.buf))
	got, err := r.s.f.ReadAt(r.buf[:r.take], r.off)
	r.buf, r.at = r.buf[:got], r.off
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read journal segment %s: %w", r.s.name, err)
	}
	if got < n {
		return nil, io.EOF
	}
	return r.buf[:n], nil
}

// peek reads and checks the next block. io.EOF is the clean end: zeros or the
// end of the file. Blocks wholly before from are not checked record by record.
func (r *reader) peek(from Position) (block, error) {
	h, err := r.window(blockHeaderSize)
	if err != nil {
		return block{}, err
	}
	size, b, reason := r.parseHeader(h)
	if reason != "" {
		if bytes.Count(h, []byte{0}) == len(h) {
			return block{}, io.EOF
		}
		return block{}, r.damage(0, r.next, reason)
	}
	whole, err := r.window(blockHeaderSize + size)
	if err == io.EOF {
		return block{}, r.damage(0, r.next, "the file ends inside a block")
	}
	if err != nil {
		return block{}, err
	}
	b.records = whole[blockHeaderSize:]
	if b.first+Position(b.count) <= from {
		return b, nil
	}
	return b, r.check(b)
}

// parseHeader reads a block header; the reason is empty when it is good.
func (r *reader) parseHeader(h []byte) (size int, b block, reason string) {
	size, count := int(binary.BigEndian.Uint32(h)), int(binary.BigEndian.Uint32(h[4:]))
	b = block{first: Position(binary.BigEndian.Uint64(h[8:])), count: count}
	switch {
	case crc32.Update(r.s.salt, castagnoli, h[:20]) != binary.BigEndian.Uint32(h[20:]):
		return 0, b, "a block header's checksum is wrong"
	case b.first != r.next:
		return 0, b, "a block starts at another position"
	case count < 1 || size < count*(recordHeaderSize+1) || int64(size) > r.s.size-r.off-blockHeaderSize:
		return 0, b, "a block's sizes cannot be"
	}
	return size, b, ""
}

// check verifies every record of b.
func (r *reader) check(b block) error {
	rest := b.records
	for i := range b.count {
		pos, off := b.first+Position(i), blockHeaderSize+len(b.records)-len(rest)
		if len(rest) < recordHeaderSize {
			return r.damage(off, pos, "the block ends inside a record")
		}
		n := uint64(binary.BigEndian.Uint32(rest))
		if n == 0 || n > RecordSizeMax || n > uint64(len(rest)-recordHeaderSize) {
			return r.damage(off, pos, "the record's length cannot be")
		}
		if !intact(rest[:recordHeaderSize+n], pos) {
			return r.damage(off, pos, "the record's checksum is wrong")
		}
		rest = rest[recordHeaderSize+n:]
	}
	if len(rest) != 0 {
		return r.damage(blockHeaderSize, b.first, "the block has bytes after its last record")
	}
	return nil
}

// skip moves on to the block after b.
func (r *reader) skip(b block) {
	r.off += int64(blockHeaderSize + len(b.records))
	r.next += Position(b.count)
}

func (r *reader) damage(at int, pos Position, reason string) error {
	return &DamageError{r.s.name, r.off + int64(at), pos, reason}
}
