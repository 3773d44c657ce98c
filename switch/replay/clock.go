package replay

import (
	"context"
	"math"
	"runtime"
	"sync"
	"time"
)

// clock wakes the lanes, all of them with one timer: what a session costs is then
// its writes. The timer is the kernel's own. The runtime's is late by a millisecond
// where nothing else goes on, which is more than many a host takes to answer.
type clock struct {
	began time.Time
	slot  func(at time.Duration) time.Duration // the least between two times at which it wakes

	mu   sync.Mutex
	at   []time.Duration // when each lane is to be woken, or what follows
	wake []chan struct{}
}

const (
	awake = time.Duration(-1)            // it may soon want to sleep
	ended = time.Duration(math.MaxInt64) // it will not
	// napMax is how long the clock looks at nothing.
	napMax = 10 * time.Millisecond
)

func newClock(began time.Time, lanes int, slot func(time.Duration) time.Duration) *clock {
	c := &clock{began: began, slot: slot, at: make([]time.Duration, lanes), wake: make([]chan struct{}, lanes)}
	for i := range c.wake {
		c.at[i], c.wake[i] = awake, make(chan struct{}, 1)
	}
	return c
}

// sleep returns at a time since the beginning, or up to a slot later, or when ctx
// ends.
func (c *clock) sleep(ctx context.Context, lane int, until time.Duration) {
	c.set(lane, until)
	select {
	case <-c.wake[lane]:
	case <-ctx.Done():
	}
}

func (c *clock) set(lane int, at time.Duration) {
	c.mu.Lock()
	c.at[lane] = at
	c.mu.Unlock()
}

// run wakes until done is closed.
func (c *clock) run(done chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		now := time.Since(c.began)
		slot := c.slot(now)
		next := now + napMax
		c.mu.Lock()
		for i, at := range c.at {
			switch {
			case at == awake:
				next = min(next, now+slot)
			case at <= now:
				c.at[i] = awake
				c.wake[i] <- struct{}{}
				next = now + slot
			default:
				next = min(next, at)
			}
		}
		c.mu.Unlock()
		runtime.Gosched() // they write before this processor sleeps
		nap(max(next-time.Since(c.began), slot))
	}
}
