package issuer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	wire  atomic.Pointer[wire] // nil while down
}

// errDrained ends a wire at shutdown.
var errDrained = errors.New("switch is shutting down")

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
	wait := l.is.cfg.ReconnectMin
	for ctx.Err() == nil {
		started := time.Now()
		err := l.session(ctx)
		if ctx.Err() != nil {
			return
		}
		// A link that stood long starts over with short waits; a peer that drops
		// us right after the sign-on is not hammered.
		if time.Since(started) > l.is.cfg.ReconnectMax {
			wait = l.is.cfg.ReconnectMin
		}
		// Half of the wait is jitter: a returning issuer is not met by all at once.
		pause := wait/2 + rand.N(wait/2+1)
		l.is.hooks.linkDown(l.is.name(), l.index, err)
		sleep(ctx, pause)
		wait = min(2*wait, l.is.cfg.ReconnectMax)
	}
}

// session is one connection from dialing to its loss, and says why it was lost.
func (l *link) session(ctx context.Context) error {
	nc, err := l.dial(ctx)
	if err != nil {
		return fmt.Errorf("connect to issuer %s: %w", l.is.cfg.Name, err)
	}
	w, err := newWire(l, nc)
	if err != nil {
		nc.Close()
		return err
	}
	var writer sync.WaitGroup
	writer.Go(w.write)

	if err := l.stand(ctx, w); err != nil {
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
	return err
}

// stand signs on and watches the wire until it ends (nil) or must be ended.
func (l *link) stand(ctx context.Context, w *wire) error {
	cfg := &l.is.cfg
	if !cfg.SkipSignOn {
		if err := l.is.manage(ctx, w, signOn); err != nil {
			return fmt.Errorf("sign on to issuer %s: %w", cfg.Name, err)
		}
	}
	l.wire.Store(w)
	l.is.hooks.linkUp(l.is.name(), l.index)

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
	return fmt.Errorf("issuer %s is silent: %d echoes unanswered: %w", l.is.cfg.Name, echoesMissed, err)
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	return transport.Dial(ctx, l.is.cfg.Address, nil, l.is.secured(), l.is.cfg.ConnectTimeout)
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
