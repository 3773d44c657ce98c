package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
)

// TestF59DiskMarks holds when sales are stopped and go on again: between the
// marks nothing changes, and a disk that cannot be read changes nothing.
func TestF59DiskMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		var mu sync.Mutex // guards the two
		free, failure := uint64(0), error(nil)
		w := &diskWatch{cfg: diskConfig{Low: 10, Enough: 20}, free: func() (uint64, error) { mu.Lock(); defer mu.Unlock(); return free, failure }, log: slog.New(slog.DiscardHandler)}
		w.stop = func(stop bool) { told = append(told, stop) }
		ctx, cancel := context.WithCancel(t.Context())
		free = 100 << 20
		ended := make(chan error)
		go func() { ended <- w.run(ctx) }()
		for _, c := range []struct {
			mib     uint64
			failure error
			stopped bool
		}{{10, nil, false}, {9, nil, true}, {19, nil, true}, {0, errors.New("no disk"), true}, {20, nil, false}, {10, nil, false}, {0, errors.New("no disk"), false}, {0, nil, true}} {
			mu.Lock()
			free, failure = c.mib<<20, c.failure
			mu.Unlock()
			time.Sleep(diskEvery)
			synctest.Wait()
			if w.stopped.Load() != c.stopped {
				t.Errorf("at %d MiB, error %v: stopped %v, want %v", c.mib, c.failure, w.stopped.Load(), c.stopped)
			}
		}
		if want := []bool{true, false, true}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// salesStopped asks the switch whether it refuses sales: 1, or 0.
func (s *stack) salesStopped(is string) func() bool {
	line := regexp.MustCompile(`(?m)^acq_sales_stopped(\{.*\})? ` + is + `$`)
	return func() bool { _, body := s.get("/metrics"); return line.MatchString(body) }
}

// TestF59NearlyFull starts a switch on a disk below its mark: a new sale is
// refused and not recorded, what was answered is answered the same, and a
// reversal is done.
func TestF59NearlyFull(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	sale := frame(t, "cup-03")
	first := s.tell(sale)
	checkAnswer(t, first, 0x0210, "00")
	s.server.stop(syscall.SIGTERM)
	config := read(t, s.dir+"/acqswitch.yaml")
	write(t, s.dir, "acqswitch.yaml", config+"journal: {disk: {low: 1000000000, enough: 1000000000}}\n") // a petabyte
	s.start()
	s.until("the disk was looked at", s.salesStopped("1"))
	checkAnswer(t, s.tell(renumbered(t, sale, 3)), 0x0210, "96")
	if again := s.tell(sale); string(again) != string(first) {
		t.Errorf("the sale again was answered\n%X, first\n%X", again, first)
	}
	checkAnswer(t, s.tell(frame(t, "cup-14")), 0x0410, "00")
	s.until("the issuer undid the sale", func() bool { return s.booked(simulator.Reversed) == 1 })
	s.server.stop(syscall.SIGTERM)
	write(t, s.dir, "acqswitch.yaml", config)
	s.start()
	checkAnswer(t, s.tell(renumbered(t, sale, 3)), 0x0210, "00") // it was not remembered
}

// TestF58DamagedJournal flips one bit of a record that was acknowledged: the
// switch does not start, and says which file is damaged where.
func TestF58DamagedJournal(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	for stan := range uint32(3) {
		checkAnswer(t, s.tell(renumbered(t, frame(t, "cup-03"), stan+1)), 0x0210, "00")
	}
	s.server.stop(syscall.SIGTERM)
	segments, err := filepath.Glob(filepath.Join(s.dir, "data/journal/*"))
	if err != nil {
		t.Fatal(err)
	}
	path := ""
	for _, name := range segments {
		if info, err := os.Stat(name); err == nil && info.Size() > 4096 {
			path = name
		}
	}
	b := []byte(read(t, path))
	b[200] ^= 4
	write(t, filepath.Dir(path), filepath.Base(path), string(b))
	r := acqswitch(t, s.dir, []string{"ACQ_LOG_LEVEL=error"}, "", "serve", "--config", "acqswitch.yaml")
	if r.code != exitFailed || !strings.Contains(r.errs, filepath.Base(path)) || !strings.Contains(r.errs, "is damaged at byte ") {
		t.Errorf("exit %d, want %d; %s", r.code, exitFailed, r.errs)
	}
	b[200] ^= 4
	write(t, filepath.Dir(path), filepath.Base(path), string(b))
	s.start()
}

// TestF59DiskFull gives the data directory a small disk of its own and fills it:
// sales are refused before it is full, reversals are taken, durable and done when
// not a byte is left, also over a kill, and with room again it sells by itself and
// the books are clean.
func TestF59DiskFull(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk")
	}
	s := newStack(t, "{}")
	s.server.stop(syscall.SIGTERM)
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=256m"); err != nil {
		t.Skipf("no disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		s.server.cmd.Process.Kill()
		<-s.server.ended
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	config := strings.Replace(read(t, filepath.Join(s.dir, "acqswitch.yaml")), "terminals:", "data_dir: disk\njournal: {disk: {low: 8, enough: 16}}\nterminals:", 1)
	write(t, s.dir, "acqswitch.yaml", config)
	s.cli("registry", "import", "--config", "acqswitch.yaml", "merchants.yaml").check(t, exitOK, "", "")
	s.start()
	sale := frame(t, "cup-03")
	checkAnswer(t, s.tell(sale), 0x0210, "00")
	checkAnswer(t, s.tell(renumbered(t, sale, 3)), 0x0210, "00")

	ballast := filepath.Join(disk, "ballast")
	fill := func() {
		t.Helper()
		f, err := os.OpenFile(ballast, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for block := make([]byte, 1<<20); len(block) > 0; {
			if n, err := f.Write(block); err != nil || n == 0 {
				block = block[:len(block)/2]
			}
		}
	}
	fill()
	s.until("sales are stopped", s.salesStopped("1"))
	checkAnswer(t, s.tell(renumbered(t, sale, 4)), 0x0210, "96")
	checkAnswer(t, s.tell(frame(t, "cup-14")), 0x0410, "00") // of the first
	s.until("the issuer undid the sale", func() bool { return s.booked(simulator.Reversed) == 1 })
	s.server.stop(syscall.SIGKILL)
	if free, err := freeSpace(disk); err != nil || free > 1<<20 {
		t.Errorf("%d bytes are free: %v", free, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.start()
	checkAnswer(t, s.tell(frame(t, "cup-14")), 0x0410, "00")
	fill()
	s.until("sales are stopped again", s.salesStopped("1"))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.until("sales go on", s.salesStopped("0"))
	checkAnswer(t, s.tell(renumbered(t, sale, 4)), 0x0210, "00")
	s.until("nothing is owed", func() bool { r := s.verify(); return r.OpenReversals+r.OpenRequests == 0 })
	if r := s.verify(); len(r.Breaks) != 0 || r.Outcomes != 3 {
		t.Errorf("verify: %+v", r)
	}
	if n := s.booked(simulator.Reversed); n != 1 {
		t.Errorf("the issuer undid %d sales, want 1", n)
	}
}
