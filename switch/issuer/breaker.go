package issuer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// breaker refuses requests to an issuer that does not serve them. While it is open
// nothing is sent; when its time is over, an echo is sent, and only after one
// was answered do a few requests try. It closes when all of those were served.
//
// A result counts when it arrives, however long ago its request was sent: a timeout
// may be longer than the window. The epoch, which changes with the state, keeps out
// results of requests that were sent before it: the timeouts of an outage do not
// reopen a healed breaker.
type breaker struct {
	cfg    BreakerConfig
	since  time.Time          // tenths of the window are counted from it
	told   func(state string) // of every new state; must not block
	opened chan struct{}      // holds one
	state  atomic.Uint32      // a breakerState; changed under mu
	epoch  atomic.Uint64      // changed under mu
	probed atomic.Bool        // since half-open, an echo was answered

	mu     sync.Mutex  // guards the rest, which a new state clears
	inRow  uint32      // failures since the last success
	tenths [10]results // of the window, by tenth % 10
	tenth  int64       // the newest
	tries  uint32      // half-open: requests that were let in
	served uint32      // and those of them that were served
}

// results are those of one tenth of the window.
type results struct{ all, failed uint32 }

type breakerState uint32

const (
	breakerClosed breakerState = iota
	breakerHalfOpen
	breakerOpen
)

var breakerStateNames = [...]string{"closed", "half-open", "open"}

var (
	errFailed  = errors.New("issuer did not serve the request")
	errNothing = errors.New("request says nothing about the issuer")
)

func newBreaker(cfg *Config, hooks *Hooks) *breaker {
	return &breaker{cfg: cfg.Breaker, since: time.Now(), opened: make(chan struct{}, 1), told: func(state string) { hooks.breaker(cfg.Name, state) }}
}

func (b *breaker) name() string { return breakerStateNames[b.state.Load()] }

// allow lets a call go on, or not. Every call that was let in is reported once, with
// its epoch. The epoch of one that goes on all the same is nobody's.
func (b *breaker) allow() (epoch uint64, ok bool) {
	epoch = b.epoch.Load()
	switch breakerState(b.state.Load()) {
	case breakerClosed:
		return epoch, true
	case breakerHalfOpen:
		b.mu.Lock()
		defer b.mu.Unlock()
		if epoch == b.epoch.Load() && b.probed.Load() && b.tries < b.cfg.Probes {
			b.tries++
			return epoch, true
		}
	}
	return 0, false
}

// report counts the result of a call: nil, errFailed or errNothing.
func (b *breaker) report(epoch uint64, result error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	state := breakerState(b.state.Load())
	halfOpen := state == breakerHalfOpen
	switch {
	case epoch != b.epoch.Load(), state == breakerOpen: // let in before, or just when it opened
	case result == errNothing && halfOpen:
		b.tries--
	case result == errNothing:
	case result != nil && (halfOpen || b.fails()):
		b.become(breakerOpen)
	case result != nil:
	case halfOpen:
		if b.served++; b.served == b.cfg.Probes {
			b.become(breakerClosed)
		}
	default:
		b.inRow = 0
		b.now().all++
	}
}

// fails counts a failure while the breaker is closed, and says whether it is one too
// many. mu is held.
func (b *breaker) fails() bool {
	b.inRow++
	now := b.now()
	now.all, now.failed = now.all+1, now.failed+1
	var sum results
	for _, r := range b.tenths {
		sum.all, sum.failed = sum.all+r.all, sum.failed+r.failed
	}
	return b.inRow >= b.cfg.Failures ||
		sum.all >= b.cfg.RequestsMin && uint64(sum.failed)*100 >= uint64(sum.all)*uint64(b.cfg.FailurePercent)
}

// now is the tenth of the window that runs; those that are over are forgotten. mu is
// held.
func (b *breaker) now() *results {
	tenth := int64(time.Since(b.since) / (b.cfg.Window / 10))
	if tenth-b.tenth >= int64(len(b.tenths)) {
		b.tenths, b.tenth = [10]results{}, tenth
	}
	for b.tenth < tenth {
		b.tenth++
		b.tenths[b.tenth%10] = results{}
	}
	return &b.tenths[b.tenth%10]
}

// become puts the breaker into another state, with nothing counted. mu is held.
func (b *breaker) become(s breakerState) {
	b.inRow, b.tenths, b.tries, b.served = 0, [10]results{}, 0, 0
	b.probed.Store(false)
	b.epoch.Add(1)
	b.state.Store(uint32(s))
	if s == breakerOpen {
		select {
		case b.opened <- struct{}{}:
		default:
		}
	}
	b.told(breakerStateNames[s])
}

// halfOpen ends the time of a breaker that is open.
func (b *breaker) halfOpen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if breakerState(b.state.Load()) == breakerOpen {
		b.become(breakerHalfOpen)
	}
}

// heal waits for the breaker to open and then asks until an echo is answered.
// It returns when ctx ends.
func (b *breaker) heal(ctx context.Context, is *issuer) {
	for {
		select {
		case <-b.opened:
		case <-ctx.Done():
			return
		}
		for !b.probed.Load() {
			if !sleep(ctx, b.cfg.OpenFor) {
				return
			}
			if b.halfOpen(); is.alive(ctx) {
				b.probed.Store(true)
			}
		}
	}
}
