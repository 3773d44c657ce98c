package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// Copy writes the records up to Last into a directory that has no journal yet. The copy
// is a journal of its own, on stable storage when Copy returns nil; after an error it
// may be incomplete. The journal must be open ReadOnly; another process may go on
// appending and truncating meanwhile. A flush that was not acknowledged may be in the
// copy, as it may after a crash. Damage is copied as it is.
func (j *Journal) Copy(ctx context.Context, dir string) (err error) {
	if !j.cfg.ReadOnly {
		return errors.New("copy journal: it must be open read only")
	}
	lock, err := j.fs.Lock(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	names, err := j.fs.List(dir)
	if err != nil {
		return fmt.Errorf("copy journal: %w", err)
	}
	for _, name := range names {
		if filepath.Ext(name) == segmentSuffix {
			return fmt.Errorf("copy journal: %s has one already", dir)
		}
	}
	// A file stays readable when the writer truncates it: it was opened by Open.
	for _, s := range j.segments {
		end := s.size
		if s == j.tail {
			end = j.off // what follows may be under the writer's pen
		}
		if err := j.copySegment(ctx, s, end, filepath.Join(dir, s.name)); err != nil {
			return fmt.Errorf("copy journal segment %s: %w", s.name, err)
		}
	}
	return j.fs.SyncDir(dir)
}

// copySegment copies a segment up to an offset; the rest of its size is zeros.
func (j *Journal) copySegment(ctx context.Context, s *segment, end int64, path string) (err error) {
	f, err := j.fs.Create(path, s.size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	chunk := buffers.Get().(*[chunkSize]byte)
	defer buffers.Put(chunk)
	for off := int64(0); off < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := s.f.ReadAt(chunk[:min(chunkSize, end-off)], off)
		if n == 0 {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		if _, err := f.WriteAt(chunk[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return f.Sync()
}
