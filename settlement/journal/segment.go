package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
)

// The format, byte by byte, is in README.md. All integers are big-endian.
const (
	segmentHeaderSize = 24
	blockHeaderSize   = 24
	recordHeaderSize  = 8
	segmentSizeMax    = 1 << 30

	segmentSuffix   = ".seg"
	temporarySuffix = ".tmp"
)

// segmentMagic ends in the format's version.
var segmentMagic = [8]byte{'a', 'c', 'q', 'j', 'r', 'n', 'l', 1}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// DamageError says that an acknowledged record cannot be read back. It is never
// skipped: restore the segment from a copy, or keep the directory for a dump
// and start with a new one after the ledger was reconciled.
type DamageError struct {
	Segment  string   // file name
	Offset   int64    // of the bad block or record
	Position Position // of the first record that cannot be read
	Reason   string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("journal segment %s is damaged at byte %d, position %d: %s", e.Segment, e.Offset, e.Position, e.Reason)
}

// segment is one file of the journal.
type segment struct {
	name  string
	first Position // of the first record it holds or will hold
	size  int64
	salt  uint32 // seeds the checks of its block headers
	f     File

	// mu guards marks: where some blocks start, in order, markEvery bytes apart
	// or more, so that a read starts close to its position.
	mu    sync.Mutex
	marks []mark
	exact mark // where the last scan stopped: the next one starts there

	// Guarded by Journal.mu.
	refs    int  // scans reading it
	removed bool // truncated: closed by the last reader
}

type mark struct {
	first Position
	off   int64
}

const markEvery = 64 << 10

// mark notes that a block that starts with position first is at off.
func (s *segment) mark(first Position, off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.marks); n == 0 || off >= s.marks[n-1].off+markEvery {
		s.marks = append(s.marks, mark{first, off})
	}
}

// stopped notes where a scan stopped.
func (s *segment) stopped(first Position, off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exact = mark{first, off}
}

// before is the last known block that starts at or before pos.
func (s *segment) before(pos Position) mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	lo, hi := 0, len(s.marks) // marks[:lo] start at or before pos
	for lo < hi {
		if m := (lo + hi) / 2; s.marks[m].first <= pos {
			lo = m + 1
		} else {
			hi = m
		}
	}
	best := mark{s.first, segmentHeaderSize}
	if lo > 0 {
		best = s.marks[lo-1]
	}
	if s.exact.off > best.off && s.exact.first <= pos {
		best = s.exact
	}
	return best
}

func segmentName(first Position) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// createSegment makes an empty segment that survives a crash. Until the rename
// is durable, a crash leaves a temporary file that Open removes; after it, the
// header is whole. So a segment with a bad header is always damage.
func createSegment(fs Disk, dir string, first Position, size int64) (*segment, error) {
	s := &segment{name: segmentName(first), first: first, size: size, salt: rand.Uint32()}
	path := filepath.Join(dir, s.name)
	f, err := fs.Create(path+temporarySuffix, size)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", s.name, err)
	}
	s.f = f
	err = writeSync(f, s.header(), 0)
	if err == nil {
		err = fs.Rename(path+temporarySuffix, path)
	}
	if err == nil {
		err = fs.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create %s: %w", s.name, err), f.Close())
	}
	return s, nil
}

func (s *segment) header() []byte {
	h := make([]byte, segmentHeaderSize)
	copy(h, segmentMagic[:])
	binary.BigEndian.PutUint64(h[8:], uint64(s.first))
	binary.BigEndian.PutUint32(h[16:], s.salt)
	binary.BigEndian.PutUint32(h[20:], crc32.Checksum(h[:20], castagnoli))
	return h
}

func writeSync(f File, b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.Sync()
}

// openSegment opens an existing segment and checks its header.
func openSegment(fs Disk, dir, name string, first Position, readOnly bool) (*segment, error) {
	f, err := fs.Open(filepath.Join(dir, name), readOnly)
	if err != nil {
		return nil, fmt.Errorf("open journal segment %s: %w", name, err)
	}
	s := &segment{name: name, first: first, f: f}
	if err := s.readHeader(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *segment) readHeader() error {
	damaged := func(reason string) error { return &DamageError{s.name, 0, s.first, reason} }
	var err error
	if s.size, err = s.f.Size(); err != nil {
		return fmt.Errorf("open journal segment %s: %w", s.name, err)
	}
	header := make([]byte, segmentHeaderSize)
	if _, err := s.f.ReadAt(header, 0); err == io.EOF {
		return damaged("the file is shorter than its header")
	} else if err != nil {
		return fmt.Errorf("read journal segment %s: %w", s.name, err)
	}
	switch {
	case [7]byte(header[:7]) != [7]byte(segmentMagic[:7]):
		return damaged("it does not start as a journal segment does")
	case header[7] > segmentMagic[7]:
		return fmt.Errorf("open journal segment %s: format version %d is newer than this program; use the newer one", s.name, header[7])
	case crc32.Checksum(header[:20], castagnoli) != binary.BigEndian.Uint32(header[20:]):
		return damaged("the header's checksum is wrong")
	case Position(binary.BigEndian.Uint64(header[8:])) != s.first:
		return damaged("the header names another first position than the file name")
	case s.size > segmentSizeMax:
		return damaged("the file is larger than a segment can be")
	}
	s.salt = binary.BigEndian.Uint32(header[16:])
	return nil
}

// appendRecord appends a record's frame. The position is in the check, so a
// record in another's place is found.
func appendRecord(dst []byte, pos Position, check uint32, rec []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(rec)))
	dst = binary.BigEndian.AppendUint32(dst, check^uint32(pos))
	return append(dst, rec...)
}

// putBlockHeader fills the header that b starts with. The salt is in the check,
// so no record's content can pass for a block.
func putBlockHeader(b []byte, first Position, count int, salt uint32) {
	binary.BigEndian.PutUint32(b, uint32(len(b)-blockHeaderSize))
	binary.BigEndian.PutUint32(b[4:], uint32(count))
	binary.BigEndian.PutUint64(b[8:], uint64(first))
	binary.BigEndian.PutUint32(b[16:], 0)
	binary.BigEndian.PutUint32(b[20:], crc32.Update(salt, castagnoli, b[:20]))
}
