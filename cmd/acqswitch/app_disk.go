package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"
)

// diskConfig are the marks of the disk that the journal is on, in MiB.
type diskConfig struct {
	Low    int `yaml:"low"`
	Enough int `yaml:"enough"`
}

// diskEvery is how often the disk is looked at: often enough for a low mark of 512 MiB
// unless the disk fills by a gigabyte a second, and no journal grows that fast.
const diskEvery = 500 * time.Millisecond

// diskWatch stops the sales while a disk is nearly full.
type diskWatch struct {
	cfg  diskConfig
	free func() (uint64, error) // bytes
	stop func(bool)             // the sales
	log  *slog.Logger

	left    atomic.Int64 // bytes, when it was last looked at
	stopped atomic.Bool
}

// run looks at the disk until ctx ends. Between the marks the sales stay as they
// are. A disk that cannot be looked at stops nothing: the journal finds out.
func (w *diskWatch) run(ctx context.Context) error {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	failing := false
	for {
		free, err := w.free()
		if err != nil && !failing {
			w.log.Warn("the free space of the disk cannot be read", "error", err)
		}
		if failing = err != nil; !failing {
			w.look(free)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *diskWatch) look(free uint64) {
	w.left.Store(int64(free))
	mib := free >> 20
	switch {
	case mib < uint64(w.cfg.Low) && !w.stopped.Load():
		w.log.Error("the disk is nearly full: sales are refused until there is room again; reversals and settlements go on", "free_mib", mib, "low_mib", w.cfg.Low)
		w.stop(true)
		w.stopped.Store(true)
	case mib >= uint64(w.cfg.Enough) && w.stopped.Load():
		w.log.Warn("the disk has room again: sales go on", "free_mib", mib, "enough_mib", w.cfg.Enough)
		w.stop(false)
		w.stopped.Store(false)
	}
}

// freeSpace is what the disk of a directory has left for this process.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}
