package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal/memdisk"
)

// tiny makes a segment of about six of largeRecord's records.
var tiny = Config{SegmentSize: 6_000, QueueSize: 4_000}.withDefaults()

func largeRecord(pos Position) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%06d ", pos), 120+int(pos%7))
}

// workload opens, appends, truncates and appends until something fails. It
// returns the last position acknowledged and the last tried.
func workload(fs Disk) (acked, tried Position, err error) {
	j, err := open("d", tiny, fs)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended, j.Close())
	}()
	acked = j.Last()
	for range 20 {
		tried = acked + 1
		pos, err := j.Append(largeRecord(tried))
		if err != nil {
			return acked, tried, err
		}
		if pos != tried {
			return acked, tried, fmt.Errorf("position %d after %d", pos, acked)
		}
		acked = pos
		if pos == 15 {
			if err := j.Truncate(8); err != nil {
				return acked, tried, err
			}
		}
	}
	return acked, tried, nil
}

// readsBack fails unless j holds right records up to at least acked and at most
// tried, without a gap.
func readsBack(j *Journal, acked, tried Position) error {
	if j.Last() < acked || j.Last() > max(acked, tried) {
		return fmt.Errorf("Last is %d, acknowledged %d, tried %d", j.Last(), acked, tried)
	}
	next := j.First()
	if err := j.Scan(next, func(pos Position, rec []byte) error {
		if pos != next || !bytes.Equal(rec, largeRecord(pos)) {
			return fmt.Errorf("position %d where %d is due, or wrong content", pos, next)
		}
		next++
		return nil
	}); err != nil {
		return err
	}
	if next != j.Last()+1 {
		return fmt.Errorf("scan ended at %d of %d", next-1, j.Last())
	}
	return nil
}

// Every call of the file system goes wrong once, in every way, and the process
// dies there, alone or with the machine. Nothing that was acknowledged is lost,
// nothing wrong is read, and the journal works again; twice, because recovery
// is interrupted too.
func TestF57EveryCallFails(t *testing.T) {
	for _, mode := range []memdisk.Mode{memdisk.Fails, memdisk.FailsPersisted, memdisk.Tears, memdisk.Dies} {
		for _, power := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/power lost=%v", mode, power), func(t *testing.T) {
				t.Parallel()
				faults, seeds := 0, 1
				if power {
					seeds = 2
				}
				for n := 1; ; n++ {
					fs := memdisk.New()
					fs.Fault(n, mode, nil)
					acked, tried, err := workload(fs)
					if !fs.Hit() {
						if err != nil {
							t.Fatal(err)
						}
						break
					}
					if err == nil {
						t.Fatalf("call %d went wrong and nobody was told", n)
					}
					faults++
					for seed := range uint64(seeds) {
						if err := recovers(fs, power, seed, acked, tried); err != nil {
							t.Fatalf("call %d, seed %d: %v", n, seed, err)
						}
					}
				}
				if faults < 50 {
					t.Fatalf("only %d calls were tried", faults)
				}
			})
		}
	}
}

// recovers reopens what a crash left, interrupted at every call, and appends.
func recovers(crashed *memdisk.Disk, power bool, seed uint64, acked, tried Position) error {
	rng := func() *rand.Rand {
		if !power {
			return nil
		}
		return rand.New(rand.NewPCG(seed, 0))
	}
	for n := 1; ; n++ {
		fs := crashed.AfterCrash(rng())
		fs.Fault(n, memdisk.Tears, nil)
		j, err := open("d", tiny, fs)
		if !fs.Hit() {
			if err != nil {
				return err
			}
			if err := errors.Join(readsBack(j, acked, tried), j.Close()); err != nil {
				return err
			}
			fs.Fault(0, 0, nil)
			more, tried, err := workload(fs)
			if err != nil {
				return fmt.Errorf("append after recovery: %w", err)
			}
			if j, err = open("d", tiny, fs.AfterCrash(rng())); err != nil {
				return err
			}
			return readsBack(j, more, tried)
		}
		if err == nil {
			return fmt.Errorf("recovery's call %d failed and Open did not", n)
		}
		if j, err = open("d", tiny, fs.AfterCrash(rng())); err != nil {
			return fmt.Errorf("recovery's call %d, then: %w", n, err)
		}
		if err := readsBack(j, acked, tried); err != nil {
			return fmt.Errorf("recovery's call %d, then: %w", n, err)
		}
	}
}

// A segment that cannot be removed is tried again before any later one is: a journal
// with a gap would not be read at the next start.
func TestTruncateAfterAFailure(t *testing.T) {
	for _, mode := range []memdisk.Mode{memdisk.Fails, memdisk.FailsPersisted} {
		for n := 1; ; n++ {
			fs := memdisk.New()
			last, _, err := workload(fs)
			if err != nil {
				t.Fatal(err)
			}
			j, err := open("d", tiny, fs)
			if err != nil {
				t.Fatal(err)
			}
			fs.Fault(n, mode, nil)
			err = j.Truncate(last)
			hit := fs.Hit()
			if hit != (err != nil) {
				t.Fatalf("%v at call %d: %v", mode, n, err)
			}
			fs.Fault(0, 0, nil)
			err = errors.Join(readsBack(j, last, last), j.Truncate(last), readsBack(j, last, last))
			if len(j.segments) != 1 {
				t.Errorf("%v at call %d: %d segments are left", mode, n, len(j.segments))
			}
			if err = errors.Join(err, j.Close()); err == nil {
				j, err = open("d", tiny, fs)
			}
			if err == nil {
				err = errors.Join(readsBack(j, last, last), j.Close())
			}
			if err != nil {
				t.Fatalf("%v at call %d: %v", mode, n, err)
			}
			if !hit {
				break
			}
		}
	}
}

// A disk that loses synced data breaks an assumption. What is left is then a
// correct beginning, or Open or Scan says that it is damaged.
func TestLyingDiskIsNeverBelieved(t *testing.T) {
	for n := 1; n < 80; n++ {
		for seed := range uint64(5) {
			fs := memdisk.New()
			fs.Fault(n, memdisk.Lies, nil)
			_, tried, err := workload(fs)
			if err != nil {
				t.Fatal(err)
			}
			j, err := open("d", tiny, fs.AfterCrash(rand.New(rand.NewPCG(seed, 1))))
			if err == nil {
				err = readsBack(j, 0, tried)
			}
			if damage := (*DamageError)(nil); err != nil && !errors.As(err, &damage) {
				t.Fatalf("call %d, seed %d: %v", n, seed, err)
			}
		}
	}
}

// written returns a memory disk with one flush per group of records.
func written(t *testing.T, groups ...int) (*memdisk.Disk, Position) {
	t.Helper()
	fs := memdisk.New()
	j, err := open("d", tiny, fs)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range groups {
		for range n {
			rec := record(int(j.next))
			j.mu.Lock()
			j.open.buf = appendRecord(j.open.buf, j.next, crc32.Checksum(rec, castagnoli), rec)
			j.open.count++
			j.next++
			j.mu.Unlock()
		}
		f := j.take()
		if err := errors.Join(j.write(f), j.land(f)); err != nil {
			t.Fatal(err)
		}
	}
	return fs, j.Last()
}

func segmentAt(fs *memdisk.Disk, first Position) []byte {
	return fs.Bytes(filepath.Join("d", segmentName(first)))
}

// The last flush is cut at every byte, with zeros or with noise behind the cut:
// it is wholly there or gone, and what came before it stays.
func TestF56TornTailAtEveryByte(t *testing.T) {
	fs, _ := written(t, 5, 3)
	full := segmentAt(fs, 1)
	before, _ := written(t, 5)
	start := len(bytes.TrimRight(segmentAt(before, 1), "\x00"))
	end := len(bytes.TrimRight(full, "\x00"))
	rng := rand.New(rand.NewPCG(1, 2))
	for _, noise := range []bool{false, true} {
		for cut := start; cut <= end; cut++ {
			fs := fs.AfterCrash(nil)
			mem := segmentAt(fs, 1)
			for i := cut; i < end; i++ {
				if mem[i] = 0; noise {
					mem[i] = byte(rng.Uint32())
				}
			}
			j, err := open("d", tiny, fs)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			want := 5
			if cut == end {
				want = 8
			}
			holds(t, j, 1, want)
			if left := bytes.TrimRight(mem, "\x00"); want == 5 && len(left) > start {
				t.Fatalf("cut at %d: %d torn bytes were left behind", cut, len(left)-start)
			}
		}
	}
}

// Every bit of the blocks of a closed segment is flipped, one at a time: the
// scan names segment and position and gives nothing wrong before it.
func TestF58BitFlipInClosedSegment(t *testing.T) {
	fs := memdisk.New()
	if _, _, err := workload(fs); err != nil {
		t.Fatal(err)
	}
	j, err := open("d", tiny, fs)
	if err != nil {
		t.Fatal(err)
	}
	first := j.First()
	mem := segmentAt(fs, first)
	end := len(bytes.TrimRight(mem, "\x00"))
	for at := range end {
		if at > 200 && at%97 != 0 && at < end-200 {
			continue // the middle of records is all alike
		}
		bit := byte(1) << (at % 8)
		mem[at] ^= bit
		damaged := &DamageError{}
		j, err := open("d", tiny, fs)
		if err == nil {
			err = readsBack(j, 20, 20)
		}
		if !errors.As(err, &damaged) && at != 7 || err == nil { // byte 7 is the version
			t.Fatalf("bit flipped in byte %d: %v", at, err)
		}
		if errors.As(err, &damaged) && (damaged.Segment != segmentName(first) || damaged.Position < first || damaged.Position > first+6) {
			t.Fatalf("bit flipped in byte %d: %v", at, err)
		}
		for pos := first; pos < first+6 && j != nil; pos++ { // reading one by one is no less careful
			if rec, err := j.Read(pos, nil); err == nil && !bytes.Equal(rec, largeRecord(pos)) || err != nil && !errors.As(err, &damaged) {
				t.Fatalf("bit flipped in byte %d: position %d: %v", at, pos, err)
			}
		}
		mem[at] ^= bit
	}
}

// In the newest segment, too, only the last flush can be torn: damage before
// it was acknowledged, and Open refuses.
func TestF58BitFlipBeforeTheTail(t *testing.T) {
	fs, last := written(t, 5, 3)
	mem := segmentAt(fs, 1)
	before, _ := written(t, 5)
	end := len(bytes.TrimRight(segmentAt(before, 1), "\x00"))
	for at := segmentHeaderSize; at < end; at++ {
		mem[at] ^= 0x10
		j, err := open("d", tiny, fs.AfterCrash(nil))
		damaged := &DamageError{}
		if !errors.As(err, &damaged) || damaged.Position > last {
			t.Fatalf("byte %d flipped: %v, %v", at, j, err)
		}
		mem[at] ^= 0x10
	}
	clear(mem[segmentHeaderSize:end]) // a page that the disk lost
	if _, err := open("d", tiny, fs); err == nil {
		t.Fatal("a lost page was taken for the end")
	}
}

// A process that is stopped while it flushes, for longer than the disk has, goes on
// when it is continued: the disk has answered meanwhile, whoever hears of it first.
func TestStoppedProcessIsNoStalledDisk(t *testing.T) {
	fs := memdisk.New()
	cfg := tiny
	cfg.StallTimeout = time.Second
	j := start(t, "d", cfg, fs)
	appendN(t, j.Journal, 1)
	release := make(chan struct{})
	fs.Hold(release)
	appended := make(chan error, 1)
	go func() {
		_, err := j.Append([]byte("x"))
		appended <- err
	}()
	for j.takeoff().IsZero() {
		time.Sleep(time.Millisecond)
	}
	j.mu.Lock() // neither the watch nor the flusher goes on
	time.Sleep(2 * cfg.StallTimeout)
	close(release)
	j.mu.Unlock()
	if err := <-appended; err != nil {
		t.Errorf("append: %v", err)
	}
	if err := j.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestStalledDiskFailsTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memdisk.New()
		cfg := tiny
		cfg.StallTimeout = 5 * time.Second
		j := start(t, "d", cfg, fs)
		appendN(t, j.Journal, 1)
		release := make(chan struct{})
		fs.Hold(release)

		at := time.Now()
		_, err := j.Append([]byte("x"))
		if took := time.Since(at); !errors.Is(err, ErrClosed) || took < cfg.StallTimeout || took > 2*cfg.StallTimeout {
			t.Fatalf("append on a stalled disk: %v after %v", err, took)
		}
		if err := j.stop(); err == nil {
			t.Fatal("Run returned no cause")
		}
		close(release) // the sync succeeds after all: too late
		synctest.Wait()
		if j.Last() != 1 {
			t.Fatalf("Last is %d: a record was acknowledged after its append failed", j.Last())
		}
	})
}

func TestFullQueueWaitsThenRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memdisk.New()
		cfg := tiny
		cfg.QueueWait = time.Second
		j := start(t, "d", cfg, fs)
		appendN(t, j.Journal, 1)
		release := make(chan struct{})
		fs.Hold(release)

		big := make([]byte, 3_000)
		results := make(chan error, 3)
		for range 2 { // one flies, one fills the queue
			go func() { _, err := j.Append(big); results <- err }()
			synctest.Wait()
		}
		at := time.Now()
		if _, err := j.Append(big); err != ErrFull || time.Since(at) != cfg.QueueWait {
			t.Fatalf("append to a full queue: %v after %v", err, time.Since(at))
		}
		go func() { _, err := j.Append(big); results <- err }() // waits for room
		synctest.Wait()
		close(release)
		for range 3 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		if j.Last() != 4 {
			t.Fatalf("Last is %d", j.Last())
		}
	})
}
