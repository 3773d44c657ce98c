package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/settlement/journal/memdisk"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_CHILD"); dir != "" {
		appendUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// running is an open journal whose Run has been started.
type running struct {
	*Journal
	cancel context.CancelFunc
	ended  chan error
}

func start(t testing.TB, dir string, cfg Config, fs Disk) *running {
	t.Helper()
	j, err := open(dir, cfg.withDefaults(), fs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{j, cancel, make(chan error, 1)}
	go func() { r.ended <- j.Run(ctx) }()
	t.Cleanup(func() { r.stop() })
	return r
}

// stop ends Run and closes; it returns Run's error. Calling it twice is fine.
func (r *running) stop() error {
	r.cancel()
	err := <-r.ended
	r.ended <- err
	return errors.Join(err, r.Close())
}

func record(pos int) []byte {
	return []byte(fmt.Sprintf("record %d %s", pos, strings.Repeat("x", pos%300)))
}

func appendN(t testing.TB, j *Journal, n int) {
	t.Helper()
	for range n {
		want := j.Last() + 1
		if pos, err := j.Append(record(int(want))); err != nil || pos != want {
			t.Fatalf("Append = %d, %v, want position %d", pos, err, want)
		}
	}
}

// holds fails the test unless j has exactly the records first..last.
func holds(t testing.TB, j *Journal, first, last int) {
	t.Helper()
	next := first
	err := j.Scan(Position(first), func(pos Position, rec []byte) error {
		if int(pos) != next || string(rec) != string(record(next)) {
			return fmt.Errorf("record %d reads %q, want record %d", pos, rec, next)
		}
		next++
		return nil
	})
	if err != nil || next != last+1 || int(j.Last()) != last {
		t.Fatalf("scan from %d ended before %d with %v; Last is %d, want %d", first, next, err, j.Last(), last)
	}
}

const smallSegment = 256 << 10

var small = Config{SegmentSize: smallSegment, QueueSize: 128 << 10}

func TestRecordsSurviveRestarts(t *testing.T) {
	dir := t.TempDir()
	last := 0
	for range 5 {
		j := start(t, dir, small, osFileSystem{})
		holds(t, j.Journal, 1, last)
		appendN(t, j.Journal, 700)
		last += 700
		holds(t, j.Journal, 1, last)
		if err := j.stop(); err != nil {
			t.Fatal(err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(files) < 2 {
		t.Fatalf("%d segments: the test must rotate", len(files))
	}
}

func TestConcurrentAppendsHaveOnePositionEach(t *testing.T) {
	flushes, flushed := 0, 0
	cfg := small
	cfg.OnFlush = func(records, _ int, _ time.Duration) { flushes++; flushed += records }
	j := start(t, t.TempDir(), cfg, osFileSystem{})
	const workers, each = 64, 100
	seen := make([]string, workers*each+1)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				rec := fmt.Sprintf("%d/%d", w, i)
				pos, err := j.Append([]byte(rec))
				if err != nil {
					t.Error(err)
					return
				}
				seen[pos] = rec // two writers of one position are a race
			}
		})
	}
	wg.Wait()
	n := 0
	err := j.Scan(0, func(pos Position, rec []byte) error {
		n++
		if seen[pos] != string(rec) {
			return fmt.Errorf("position %d reads %q, was given to %q", pos, rec, seen[pos])
		}
		return nil
	})
	if err != nil || n != workers*each {
		t.Fatalf("%d records, %v", n, err)
	}
	if err := j.stop(); err != nil || flushed != n || flushes == 0 || flushes > n {
		t.Fatalf("%d flushes of %d records were told of, %v", flushes, flushed, err)
	}
}

func TestReadAnyPosition(t *testing.T) {
	dir := t.TempDir()
	j := start(t, dir, small, osFileSystem{})
	appendN(t, j.Journal, 3000)
	check := func(j *Journal) {
		for _, pos := range []int{3000, 1, 1500, 2, 2999, 1501, 1499} {
			if rec, err := j.Read(Position(pos), nil); err != nil || string(rec) != string(record(pos)) {
				t.Fatalf("Read(%d) = %q, %v", pos, rec, err)
			}
		}
		for _, pos := range []Position{0, 3001} {
			if _, err := j.Read(pos, nil); err == nil {
				t.Fatalf("Read(%d) did not fail", pos)
			}
		}
	}
	check(j.Journal)
	j.stop()
	again, err := Open(dir, small) // marks are found again by reading
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	check(again)
	holds(t, again, 1501, 3000)
}

func TestScanStopsWithTheCallersError(t *testing.T) {
	j := start(t, t.TempDir(), small, osFileSystem{})
	appendN(t, j.Journal, 10)
	stop := errors.New("enough")
	n := 0
	err := j.Scan(3, func(Position, []byte) error {
		if n++; n == 4 {
			return stop
		}
		return nil
	})
	if err != stop || n != 4 {
		t.Fatalf("scan: %v after %d", err, n)
	}
	holds(t, j.Journal, 6, 10) // the next scan starts in the right place
}

func TestTruncateKeepsPositions(t *testing.T) {
	dir := t.TempDir()
	j := start(t, dir, small, osFileSystem{})
	appendN(t, j.Journal, 4000)
	before := len(j.segments)
	if err := j.Truncate(2000); err != nil {
		t.Fatal(err)
	}
	first := int(j.First())
	if first == 1 || first > 2000 || len(j.segments) >= before {
		t.Fatalf("First is %d after Truncate(2000), %d segments were %d", first, len(j.segments), before)
	}
	holds(t, j.Journal, first, 4000)
	if err := j.Scan(1, nil); !errors.Is(err, ErrTruncated) {
		t.Fatalf("scan of truncated positions: %v", err)
	}
	// All of it: the newest segment stays, and with it the numbering.
	if err := j.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	j.stop()
	j = start(t, dir, small, osFileSystem{})
	holds(t, j.Journal, int(j.First()), 4000)
	appendN(t, j.Journal, 1)
}

// What counts of a log takes the place of all of it, in a few flushes; where it cannot
// be told whole, nothing goes.
func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	var flushes atomic.Int64
	cfg := small
	cfg.OnFlush = func(int, int, time.Duration) { flushes.Add(1) }
	j := start(t, dir, cfg, osFileSystem{})
	appendN(t, j.Journal, 4000)
	failed := errors.New("cannot be told")
	_, err := j.Rewrite(func(put func([]byte) error) error { return errors.Join(put(record(4001)), failed) })
	if !errors.Is(err, failed) || j.First() != 1 {
		t.Fatalf("after what failed First is %d: %v", j.First(), err)
	}
	flushes.Store(0)
	n, err := j.Rewrite(func(put func([]byte) error) error {
		for pos := 4002; pos <= 7000; pos++ {
			if err := put(record(pos)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || n != 2999 || j.Last() != 7000 {
		t.Fatalf("%d records, the last is %d: %v", n, j.Last(), err)
	}
	if n := flushes.Load(); n > 1000 {
		t.Errorf("%d flushes", n)
	}
	first := int(j.First())
	if first == 1 || first > 4002 {
		t.Errorf("First is %d", first)
	}
	j.stop()
	j = start(t, dir, small, osFileSystem{})
	holds(t, j.Journal, first, 7000)
}

func TestTruncateUnderAScan(t *testing.T) {
	j := start(t, t.TempDir(), small, osFileSystem{})
	appendN(t, j.Journal, 3000)
	n := 0
	err := j.Scan(1, func(pos Position, _ []byte) error {
		if n++; n == 1 {
			return j.Truncate(3000)
		}
		return nil
	})
	// The segment being read stays readable; the next is gone, and that is told.
	if n < 100 || !errors.Is(err, ErrTruncated) {
		t.Fatalf("scan gave %d records, then %v", n, err)
	}
}

// Who looks whether the journal is locked, and a disk that has no room for the number of
// the process, keep no switch from starting.
func TestLockIsTakenAllTheSame(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "LOCK")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { f.Close() })
	start(t, dir, small, osFileSystem{}).stop()

	if err := errors.Join(os.Remove(path), os.Symlink("/dev/full", path)); err != nil {
		t.Fatal(err)
	}
	start(t, dir, small, osFileSystem{})
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	j := start(t, dir, small, osFileSystem{})
	appendN(t, j.Journal, 3)
	_, err := Open(dir, small)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d has it open", os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	cfg := small
	cfg.ReadOnly = true
	reader, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	holds(t, reader, 1, 3)
	if _, err := reader.Append([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Fatalf("append to a read-only journal: %v", err)
	}
	if err := reader.Wait(t.Context(), 3); !errors.Is(err, ErrClosed) {
		t.Fatalf("wait on a read-only journal: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"queue below one record", Config{QueueSize: 1000}, "must hold one record"},
		{"segment below one queue", Config{SegmentSize: 100_000}, "must hold one full queue"},
		{"segment over the maximum", Config{SegmentSize: 2 << 30}, "at most"},
		{"negative wait", Config{QueueWait: -1}, "must not be negative"},
		{"nothing to read", Config{ReadOnly: true}, "there is none"},
	} {
		if j, err := Open(dir, c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, j, err)
		}
	}
	j := start(t, dir, small, osFileSystem{})
	for _, rec := range [][]byte{nil, make([]byte, RecordSizeMax+1)} {
		if _, err := j.Append(rec); err != ErrSize {
			t.Errorf("append of %d bytes: %v", len(rec), err)
		}
	}
	if _, err := j.Append(make([]byte, RecordSizeMax)); err != nil {
		t.Errorf("append of the largest record: %v", err)
	}
	if err := j.Close(); err == nil {
		t.Error("a running journal was closed")
	}
	if err := j.Run(t.Context()); err == nil {
		t.Error("a second Run ran")
	}
	j.stop()
	if _, err := j.Append([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("append after the end: %v", err)
	}
	if err := j.Scan(1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("scan after Close: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "7.seg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, small); err == nil || !strings.Contains(err.Error(), "no segment's name") {
		t.Errorf("stray file: %v", err)
	}
}

func TestWaitFollowsTheWriter(t *testing.T) {
	j := start(t, t.TempDir(), small, osFileSystem{})
	followed, done := make(chan struct{}), make(chan error)
	go func() {
		var err error
		n, pos := 0, Position(0)
		for err == nil {
			if err = j.Wait(t.Context(), pos); err == nil {
				err = j.Scan(pos+1, func(p Position, _ []byte) error {
					if n, pos = n+1, p; n == 500 {
						close(followed)
					}
					return nil
				})
			}
		}
		done <- err
	}()
	appendN(t, j.Journal, 500)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := j.Wait(ctx, 500); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait for what is not there: %v", err)
	}
	select {
	case <-followed: // each once: a second time would close it again
	case err := <-done:
		t.Fatalf("it followed no further: %v", err)
	}
	j.stop()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("at the end: %v", err)
	}
}

func TestQueuedRecordsAreFlushedAtTheEnd(t *testing.T) {
	j, err := Open(t.TempDir(), small)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	results := make(chan error, 10)
	for range cap(results) {
		go func() { _, err := j.Append([]byte("before Run")); results <- err }()
	}
	for queued := 0; queued < cap(results); {
		j.mu.Lock()
		queued = j.open.count
		j.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if j.Last() != 10 {
		t.Errorf("Last is %d", j.Last())
	}
}

// writesDisk notes the writes to files.
type writesDisk struct {
	*memdisk.Disk
	writes [][2]int64 // offset and length
}

type writesFile struct {
	File
	disk *writesDisk
}

func (d *writesDisk) Create(path string, size int64) (File, error) {
	f, err := d.Disk.Create(path, size)
	return writesFile{f, d}, err
}

func (f writesFile) WriteAt(b []byte, off int64) (int, error) {
	f.disk.writes = append(f.disk.writes, [2]int64{off, int64(len(b))})
	return f.File.WriteAt(b, off)
}

// What is written to a segment for the first time is written in large pieces: most
// flushes write over zeros.
func TestZerosAreWrittenAhead(t *testing.T) {
	d := &writesDisk{Disk: memdisk.New()}
	const size = 2*aheadSize + 1000
	j := start(t, "d", Config{SegmentSize: size, QueueSize: 128 << 10}, d)
	block := int64(blockHeaderSize + recordHeaderSize + RecordSizeMax)
	var want [][2]int64
	d.writes = nil // Open's
	at := int64(segmentHeaderSize)
	write := func(n int64) { want, at = append(want, [2]int64{at, n}), at+n }
	for n := range 9 {
		if _, err := j.Append(make([]byte, RecordSizeMax)); err != nil {
			t.Fatal(err)
		}
		if n == 8 { // the next segment
			at = 0
			write(segmentHeaderSize)
		}
		write(block)
		end := at
		switch n {
		case 0, 8:
			write(aheadSize - at)
		case 3:
			write(2*aheadSize - at)
		case 7:
			write(size - at)
		}
		at = end
	}
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.writes, want) {
		t.Errorf("writes of %v, want %v", d.writes, want)
	}
}
