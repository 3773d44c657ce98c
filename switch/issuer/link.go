package issuer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/transport"
)

// link is one standing connection to an issuer: dialed, signed on, watched,
// and dialed again when lost.
type link struct {
	is    *issuer
	index int
	hosts []string             // of the issuer's, those that this link may lead to; the first is preferred
	wire  atomic.Pointer[wire] // nil while down
	mute  bool                 // the last host was left for errMute; run's own
}

// errDrained ends a wire at shutdown.
var errDrained = errors.New("switch is shutting down")

// errMute ends a wire whose host takes requests and answers none.
var errMute = errors.New("it answers no requests")

// Codes of network management (DE70).
const (
	signOn  = "001"
	signOff = "002"
	echo    = "301"
)

// echoesMissed in a row fail a link.
const echoesMissed = 2

// run keeps the link up until ctx ends.
func (l *link) run(ctx context.Context) {
	wait, host := l.is.cfg.ReconnectMin, 0
	for ctx.Err() == nil {
		stood, err := l.session(ctx, l.hosts[host])
		if ctx.Err() != nil {
			return
		}
		host = (host + 1) % len(l.hosts)
		l.mute = errors.Is(err, errMute)
		// A link that stood long starts over with short waits and the preferred host; a
		// peer that drops us right after the sign-on, or is mute, is not hammered.
		if stood > l.is.cfg.ReconnectMax && !l.mute {
			wait, host = l.is.cfg.ReconnectMin, 0
		}
		// Half of the wait is jitter: a returning issuer is not met by all at once.
		pause := wait/2 + rand.N(wait/2+1)
		l.is.hooks.linkDown(l.is.name(), l.index, err)
		sleep(ctx, pause)
		wait = min(2*wait, l.is.cfg.ReconnectMax)
	}
}

// session is one connection to host from dialing to its loss. It says how long it was
// signed on, and why it was lost.
func (l *link) session(ctx context.Context, host string) (stood time.Duration, err error) {
	cfg := &l.is.cfg
	nc, err := transport.Dial(ctx, host, nil, l.is.secured(), cfg.ConnectTimeout)
	if err != nil {
		return 0, fmt.Errorf("connect to issuer %s at %s: %w", cfg.Name, host, err)
	}
	w, err := newWire(l, nc, host)
	if err != nil {
		nc.Close()
		return 0, err
	}
	if l.mute && len(l.hosts) == 1 { // the same host again: one request is enough to see
		w.unanswered.Store(int64(cfg.Breaker.Failures) - 1)
	}
	var writer sync.WaitGroup
	writer.Go(w.write)

	if err = l.signOn(ctx, w); err == nil {
		err = l.is.fetchKeys(ctx, w)
	}
	if err == nil {
		began := time.Now()
		err = l.watch(ctx, w)
		stood = time.Since(began)
	}
	if err != nil {
		w.fail(err)
	}
	// From here nothing new is queued; what was queued before is decided by
	// close, after the reader has completed whatever did arrive.
	l.wire.CompareAndSwap(w, nil)
	err = <-w.failed
	<-w.conn.Done()
	writer.Wait()
	<-w.readDone
	w.close()
	return stood, err
}

func (l *link) signOn(ctx context.Context, w *wire) error {
	if l.is.cfg.SkipSignOn {
		return nil
	}
	if err := l.is.manage(ctx, w, signOn); err != nil {
		return fmt.Errorf("sign on to issuer %s at %s: %w", l.is.name(), w.host, err)
	}
	return nil
}

// watch has requests take the wire, until it ends (nil) or must be ended.
func (l *link) watch(ctx context.Context, w *wire) error {
	cfg := &l.is.cfg
	l.wire.Store(w)
	l.is.hooks.linkUp(l.is.name(), l.index, w.host)

	var tick <-chan time.Time // never, when echoes are off
	if cfg.EchoEvery > 0 {
		t := time.NewTicker(min(cfg.EchoEvery, cfg.EchoTimeout))
		defer t.Stop()
		tick = t.C
	}
	seen, sent, since := w.frames.Load(), w.written.Load(), time.Now()
	for {
		select {
		case <-ctx.Done():
			if !cfg.SkipSignOn {
				bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(cfg.EchoTimeout, time.Second))
				defer cancel()
				_ = l.is.manage(bye, w, signOff) // a courtesy: the connection ends either way
			}
			return errDrained
		case <-w.conn.Done():
			return nil
		case <-l.is.wrong:
			l.is.renewKeys(ctx, w)
			continue
		case <-tick:
		}
		// Any frame since the last look proves the peer alive; only silence asks. Where
		// something waits for an answer it asks soon: what is sent to a peer that is gone
		// waits for its timeout and is owed a reversal.
		if w.frames.Load() == seen {
			if w.written.Load() == sent && l.is.inFlight() == 0 && time.Since(since) < cfg.EchoEvery {
				continue
			}
			if err := l.ask(ctx, w); err != nil {
				return err
			}
		}
		seen, sent, since = w.frames.Load(), w.written.Load(), time.Now()
	}
}

// ask sends echoes until the peer shows life, or echoesMissed times. Meanwhile what
// can goes over other links.
func (l *link) ask(ctx context.Context, w *wire) error {
	w.doubted.Store(true)
	defer w.doubted.Store(false)
	seen := w.frames.Load()
	var err error
	for range echoesMissed {
		err = l.is.manage(ctx, w, echo)
		if err == nil || w.frames.Load() != seen || ctx.Err() != nil {
			return nil
		}
	}
	return fmt.Errorf("issuer %s at %s is silent: %d echoes unanswered: %w", l.is.name(), w.host, echoesMissed, err)
}

// elsewhere is whether the issuer has another host for what this link carries.
func (l *link) elsewhere() bool {
	if len(l.hosts) > 1 {
		return true
	}
	for _, other := range l.is.links {
		if w := other.wire.Load(); w != nil && w.host != l.hosts[0] {
			return true
		}
	}
	return false
}

// sleep waits for d and says whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
