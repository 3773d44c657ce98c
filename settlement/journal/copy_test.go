package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// A copy that is made while another process appends is a journal: of the first
// records, whole, and it can be appended to.
func TestCopyBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	small := Config{SegmentSize: 256 << 10, QueueSize: 128 << 10}
	j, err := Open(dir, small)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended, written := make(chan error, 1), make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	record := func(pos Position) []byte { return bytes.Repeat(fmt.Appendf(nil, "%8d", pos), 40) }
	enough := make(chan struct{})
	go func() {
		for pos := Position(1); ; pos++ {
			got, err := j.Append(record(pos))
			if err == nil && got != pos {
				err = fmt.Errorf("%d came to %d", pos, got)
			}
			if err != nil {
				written <- err
				return
			}
			if pos == 2000 { // three segments
				close(enough)
			}
		}
	}()
	<-enough
	for i := range 3 {
		reader, err := Open(dir, Config{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "copy")
		if i == 2 { // truncated between Open and Copy
			if err := j.Truncate(1500); err != nil {
				t.Fatal(err)
			}
		}
		if err := reader.Copy(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		if err := reader.Copy(t.Context(), to); err == nil {
			t.Error("a copy overwrites another")
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := reader.Copy(done, filepath.Join(t.TempDir(), "late")); !errors.Is(err, context.Canceled) {
			t.Errorf("copied without its context: %v", err)
		}
		copied, err := Open(to, small)
		if err != nil {
			t.Fatal(err)
		}
		if copied.Last() != reader.Last() || copied.First() != reader.First() || copied.Last() < 2000 {
			t.Errorf("%d to %d of %d to %d were copied", copied.First(), copied.Last(), reader.First(), reader.Last())
		}
		n := Position(0)
		err = copied.Scan(copied.First(), func(pos Position, rec []byte) error {
			if n++; !bytes.Equal(rec, record(pos)) {
				return fmt.Errorf("record %d is another", pos)
			}
			return nil
		})
		if err != nil || n != copied.Last() {
			t.Errorf("%d records, %v", n, err)
		}
		if err := errors.Join(copied.Close(), reader.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Copy(t.Context(), filepath.Join(t.TempDir(), "own")); err == nil {
		t.Error("the writer copies what it writes")
	}
	stop()
	if err := <-written; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
