package replay

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestClock has lanes sleep until they are due, one of them cut short, and the clock
// end when told to.
func TestClock(t *testing.T) {
	c := newClock(time.Now(), 4, func(time.Duration) time.Duration { return slotLeast })
	done := make(chan struct{})
	var running, sleeping sync.WaitGroup
	running.Go(func() { c.run(done) })
	for lane, until := range []time.Duration{0, 3 * time.Millisecond, 30 * time.Millisecond} {
		sleeping.Go(func() {
			for range 3 {
				c.sleep(t.Context(), lane, until)
				if woken := time.Since(c.began); woken < until {
					t.Errorf("lane %d is woken at %v, and is due at %v", lane, woken, until)
				}
				until += time.Millisecond
			}
			c.set(lane, ended)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	sleeping.Go(func() { c.sleep(ctx, 3, time.Hour) })
	cancel()
	sleeping.Wait()
	close(done)
	running.Wait()
}
