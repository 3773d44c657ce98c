package acquirer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestF79NoisyTerminalIsPacedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(2, 3)
		noisy, quiet := txn.MakeTerminalID("10000001"), txn.MakeTerminalID("10000002")
		count := func(id txn.TerminalID, n int) (taken int) {
			for range n {
				if p.takes(id, time.Now()) {
					taken++
				}
			}
			return taken
		}
		for _, step := range []struct {
			after time.Duration
			id    txn.TerminalID
			asks  int
			want  int
		}{
			{0, noisy, 1000, 3},                        // the burst
			{0, quiet, 2, 2},                           // another has its own
			{499 * time.Millisecond, noisy, 1, 0},      // not yet a token's time
			{time.Millisecond, noisy, 1000, 1},         // just one
			{10 * time.Second, noisy, 1000, 3},         // never more than the burst
			{1000 * time.Millisecond, noisy, 10, 2},    // two a second
			{1000 * time.Hour, txn.TerminalID{}, 4, 3}, // the clock goes far
		} {
			time.Sleep(step.after)
			if got := count(step.id, step.asks); got != step.want {
				t.Errorf("%v later %s asked %d times and got %d through, want %d", step.after, step.id, step.asks, got, step.want)
			}
		}
		if p := newPace(0, 0); !p.takes(noisy, time.Now()) || !p.takes(noisy, time.Now()) {
			t.Error("a pace of zero bounds somebody")
		}
	})
}

func TestF79NoisyTerminalMayStillReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.s.pace = newPace(1, 2)
		h.want("first", h.ask(sale("10000001", 1, 500)), txn.Approved, "00")
		h.want("second", h.ask(sale("10000001", 2, 500)), txn.Approved, "00")
		before := h.journal.Last()
		h.want("third", h.ask(sale("10000001", 3, 500)), txn.TerminalIsTooFast, "96")
		if h.journal.Last() != before {
			t.Error("a noisy terminal fills the journal")
		}
		h.want("the second again", h.ask(sale("10000001", 2, 500)), txn.Approved, "00")
		h.want("another terminal's", h.ask(sale("10000002", 1, 500)), txn.Approved, "00")
		h.want("its reversal", h.ask(reversal("10000001", 2, 500)), txn.Approved, "00")
		time.Sleep(time.Second)
		h.want("third, a second later", h.ask(sale("10000001", 3, 500)), txn.Approved, "00")
		h.stop()
		h.stop = func() {}
	})
}
