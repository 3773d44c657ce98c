package issuer

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/sony/gobreaker/v2"
)

// breaker refuses requests to an issuer that does not answer. While it is open
// nothing is sent; when its time is over, an echo is sent, and only after one
// was answered do a few requests try.
//
// gobreaker counts a result in the window in which the request was let in, and
// ignores it when that window is over: with a timeout longer than the window,
// no timeout would ever count. So a result is let in when it arrives, and the
// epoch, which changes with the state, keeps out results of requests that were
// sent before it: the timeouts of an outage do not reopen a healed breaker.
type breaker struct {
	cb     *gobreaker.TwoStepCircuitBreaker[struct{}]
	state  atomic.Int32 // gobreaker.State; cached, for reading it takes a mutex
	epoch  atomic.Uint64
	probed atomic.Bool   // since half-open, an echo was answered
	opened chan struct{} // holds one
}

var (
	errFailed  = errors.New("issuer did not serve the request")
	errNothing = errors.New("request says nothing about the issuer")
)

func newBreaker(cfg *Config, hooks *Hooks) *breaker {
	b := &breaker{opened: make(chan struct{}, 1)}
	bc := cfg.Breaker
	b.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         cfg.Name,
		MaxRequests:  bc.Probes,
		Interval:     bc.Window,
		BucketPeriod: bc.Window / 10,
		Timeout:      bc.OpenFor,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return n.ConsecutiveFailures >= bc.Failures ||
				n.Requests >= bc.RequestsMin && uint64(n.TotalFailures)*100 >= uint64(n.Requests)*uint64(bc.FailurePercent)
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errNothing) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			// Runs under gobreaker's mutex.
			b.probed.Store(false)
			b.epoch.Add(1)
			b.state.Store(int32(to))
			if to == gobreaker.StateOpen {
				select {
				case b.opened <- struct{}{}:
				default:
				}
			}
			hooks.breaker(name, to.String())
		},
	})
	return b
}

func (b *breaker) name() string { return gobreaker.State(b.state.Load()).String() }

// allow lets c go on, or not. Every call that was let in is reported once.
func (b *breaker) allow() (epoch uint64, probe func(error), ok bool) {
	epoch = b.epoch.Load()
	switch gobreaker.State(b.state.Load()) {
	case gobreaker.StateClosed:
		return epoch, nil, true
	case gobreaker.StateHalfOpen:
		if !b.probed.Load() {
			return 0, nil, false
		}
		done, err := b.cb.Allow()
		return epoch, done, err == nil
	}
	return 0, nil, false
}

// report counts the result of a call: nil, errFailed or errNothing.
func (b *breaker) report(epoch uint64, probe func(error), result error) {
	if probe != nil {
		probe(result)
		return
	}
	if epoch != b.epoch.Load() || result == errNothing {
		return
	}
	if done, err := b.cb.Allow(); err == nil {
		done(result)
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
			if !sleep(ctx, is.cfg.Breaker.OpenFor) {
				return
			}
			switch b.cb.State() { // reading it is what half-opens it
			case gobreaker.StateHalfOpen:
				if is.alive(ctx) {
					b.probed.Store(true)
				}
			case gobreaker.StateClosed:
				b.probed.Store(true)
			}
		}
	}
}
