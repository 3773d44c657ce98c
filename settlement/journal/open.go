package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Open opens the journal in dir, making it when there is none, and recovers it:
// a flush that was torn by a crash is removed, since none of its records was
// acknowledged. The directory is locked until Close. Open starts nothing; call
// Run.
func Open(dir string, cfg Config) (*Journal, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Disk == nil {
		cfg.Disk = osFileSystem{}
	}
	return open(dir, cfg, cfg.Disk)
}

func open(dir string, cfg Config, fs Disk) (_ *Journal, err error) {
	j := &Journal{cfg: cfg, dir: dir, fs: fs}
	j.work.L = &j.mu
	if !cfg.ReadOnly {
		if j.lock, err = fs.Lock(dir); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			for _, s := range j.segments {
				s.f.Close()
			}
			j.unlock()
		}
	}()
	if err := j.load(); err != nil {
		return nil, err
	}
	if err := j.recoverTail(); err != nil {
		return nil, err
	}
	j.next = j.Last() + 1
	j.open = newFlush(nil, j.next)
	return j, nil
}

// load opens the segments and removes what a crash left of a new one.
func (j *Journal) load() error {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return fmt.Errorf("open journal %s: %w", j.dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, temporarySuffix) && !j.cfg.ReadOnly {
			if err := removeSegment(j.fs, j.dir, name); err != nil {
				return err
			}
		}
		number, ok := strings.CutSuffix(name, segmentSuffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(number, 10, 64)
		if err != nil || first == 0 || segmentName(Position(first)) != name {
			return fmt.Errorf("open journal %s: %s is no segment's name; move it away", j.dir, name)
		}
		s, err := openSegment(j.fs, j.dir, name, Position(first), j.cfg.ReadOnly)
		if err != nil {
			return err
		}
		j.segments = append(j.segments, s)
	}
	if len(j.segments) > 0 {
		return nil
	}
	if j.cfg.ReadOnly {
		return fmt.Errorf("open journal %s: there is none", j.dir)
	}
	s, err := createSegment(j.fs, j.dir, 1, j.cfg.SegmentSize)
	if err != nil {
		return err
	}
	j.segments = append(j.segments, s)
	return nil
}

// removeSegment may be called again after an error.
func removeSegment(fs Disk, dir, name string) error {
	if err := fs.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove journal segment %s: %w", name, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("remove journal segment %s: %w", name, err)
	}
	return nil
}

// recoverTail finds the end of the newest segment. A bad block there is torn
// when nothing follows it, since the next flush starts only after the last one
// was synced; with a good block behind it, it was acknowledged and is damaged.
func (j *Journal) recoverTail() error {
	s := j.segments[len(j.segments)-1]
	chunk := buffers.Get().(*[chunkSize]byte)
	defer buffers.Put(chunk)
	r := reader{s: s, off: segmentHeaderSize, next: s.first, buf: chunk[:0]}
	var end mark // the last good block
	bad := &DamageError{s.name, 0, 0, "zeros where a block should be"}
	for {
		b, err := r.peek(0)
		if err == io.EOF || errors.As(err, &bad) {
			break
		}
		if err != nil {
			return err
		}
		end = mark{r.next, r.off}
		s.mark(r.next, r.off)
		r.skip(b)
	}
	j.tail, j.off = s, r.off
	j.last.Store(uint64(r.next) - 1)
	if j.cfg.ReadOnly {
		return nil // what follows may be under the writer's pen
	}
	torn, err := s.tornLength(r.off, chunk[:])
	if err != nil {
		return err
	}
	if off, found := s.findBlock(r.off+1, r.off+torn, r.next, chunk[:0]); found {
		bad.Offset, bad.Position = max(bad.Offset, r.off), max(bad.Position, r.next)
		bad.Reason += fmt.Sprintf("; a good block follows at byte %d, so this one was acknowledged: restore the file from a copy", off)
		return bad
	}
	if err := s.zero(r.off, torn); err != nil {
		return err
	}
	return s.writeAgain(end.off, r.off)
}

// tornLength is how many bytes from off to the last that is not zero.
func (s *segment) tornLength(off int64, b []byte) (int64, error) {
	start, end := off, off
	for off < s.size {
		n, err := s.f.ReadAt(b[:min(int64(len(b)), s.size-off)], off)
		if n == 0 {
			return 0, fmt.Errorf("read journal segment %s: %w", s.name, err)
		}
		if used := bytes.TrimRight(b[:n], "\x00"); len(used) > 0 {
			end = off + int64(len(used))
		}
		off += int64(n)
	}
	return end - start, nil
}

// findBlock looks for a good block with a position after bad between off and
// end, at any byte.
func (s *segment) findBlock(off, end int64, bad Position, buf []byte) (int64, bool) {
	r := reader{s: s, off: off, buf: buf}
	for ; r.off+blockHeaderSize < end; r.off++ {
		h, err := r.window(blockHeaderSize)
		if err != nil {
			return 0, false
		}
		// Every record takes more than a byte, so positions cannot run ahead of bytes.
		r.next = Position(binary.BigEndian.Uint64(h[8:]))
		if r.next <= bad || r.next > bad+Position(s.size) {
			continue
		}
		if _, err := r.peek(0); err == nil {
			return r.off, true
		}
	}
	return 0, false
}

// zero overwrites a torn block, so that its remains can never be taken for
// something behind the blocks written next. The sync is writeAgain's.
func (s *segment) zero(off, n int64) error {
	zeros := make([]byte, min(n, chunkSize))
	for end := off + n; off < end; off += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), end-off)]
		if _, err := s.f.WriteAt(zeros, off); err != nil {
			return fmt.Errorf("drop the torn end of journal segment %s: %w", s.name, err)
		}
	}
	return nil
}

// writeAgain writes the last block, off to end, once more and syncs. The last
// process may have died before its sync, or because the sync failed: then the
// block may be in memory only, in pages that the kernel takes for clean, and a
// sync alone would promise what is not there. An off of 0 is no block.
func (s *segment) writeAgain(off, end int64) error {
	var b []byte
	if off > 0 {
		b = make([]byte, end-off)
		if _, err := s.f.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read journal segment %s: %w", s.name, err)
		}
	}
	if err := writeSync(s.f, b, off); err != nil {
		return fmt.Errorf("sync journal segment %s: %w", s.name, err)
	}
	return nil
}
