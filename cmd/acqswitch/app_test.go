package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/issuer"
)

func TestTerminalsLeaveFilesForTheJournal(t *testing.T) {
	two := []issuer.Config{{Connections: 3}, {}} // the second one's default is 1
	for _, c := range []struct {
		files uint64
		want  int
	}{
		{20_000, 20_000 - filesKept - 8},
		{1024, 1024 - filesKept - 8},
		{filesKept + 9, 1},
		{10, 1},
		{1<<64 - 1, 1<<31 - 1}, // no limit
	} {
		if got := sessionsWithin(c.files, two); got != c.want {
			t.Errorf("%d files have room for %d terminals, want %d", c.files, got, c.want)
		}
	}
}

// However many stages fail, all are stopped, the last one first, and the journal's
// failure hides what others only noticed of it.
func TestStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := newStages()
		var stopped []int
		full := errors.New("disk is full")
		running.start(t.Context(), "journal", func(context.Context) error { return full })
		for n := range 20 {
			running.start(t.Context(), "writer", func(ctx context.Context) error {
				<-ctx.Done()
				stopped = append(stopped, n)
				return journal.ErrClosed
			})
		}
		<-running.failed
		if err := running.stop(1); !errors.Is(err, full) || errors.Is(err, journal.ErrClosed) || err.Error() != "journal: disk is full" {
			t.Errorf("failed with %v", err)
		}
		slices.Reverse(stopped)
		if len(stopped) != 20 || !slices.IsSorted(stopped) {
			t.Errorf("stopped %v", stopped)
		}
		running.start(t.Context(), "more", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if err := running.stop(0); !errors.Is(err, full) || len(running.stops) != 0 {
			t.Errorf("failed with %v, %d left", err, len(running.stops))
		}
	})
}
