package acquirer

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// gate is the admission control under overload. When more requests come than the
// processors can serve, each one that is let in delays all the others, until none is
// answered in time; one that waits outside costs nothing but its memory. So no more
// requests than there are places compete for the processors at one time. The others
// wait in the order in which they came, and one that would wait too long is refused.
//
// A request that waits for its issuer, for another request's decision or for the
// archive needs no processor and leaves its place meanwhile, so a slow issuer takes no
// place from another. When that wait is over it goes on at once.
//
// While places are free, passing and leaving cost one atomic operation each.
type gate struct {
	places int64
	wanted atomic.Int64 // places taken; more than places where requests went on at once
	queued atomic.Int64 // requests that wait

	// mu guards the queue. It is held for memory operations only.
	mu          sync.Mutex
	first, last *waiter
	timer       *time.Timer // ends the first's wait; nil before anybody waited
	spare       *waiter     // free ones, linked by next
}

// waiter is a request that waits at the gate.
type waiter struct {
	until  time.Time
	passes chan bool // holds one
	next   *waiter
}

// placesEach is the number of places for each thread that Go runs (GOMAXPROCS). By
// Little's law they are what a thread serves in 10 ms at 20 us a request: longer than
// a flush of the journal, so that no processor runs out of requests, and far shorter
// than any terminal's patience. Measured, 32 places halve the sales served, and 128
// cost a few percent.
const placesEach = 512

func newGate() *gate { return &gate{places: int64(placesEach * runtime.GOMAXPROCS(0))} }

// pass waits for a place, at most until an instant. Where it is true, leave must
// follow.
func (g *gate) pass(until time.Time) bool {
	if g.wanted.Add(1) <= g.places && g.queued.Load() == 0 {
		return true
	}
	g.mu.Lock()
	w := g.spare
	if w == nil {
		w = &waiter{passes: make(chan bool, 1)}
	} else {
		g.spare = w.next
	}
	w.until, w.next = until, nil
	if g.first == nil {
		g.first = w
		g.wake(time.Until(until))
	} else {
		g.last.next = w
	}
	g.last = w
	g.queued.Add(1)
	g.wanted.Add(-1)
	g.advance()
	g.mu.Unlock()
	passes := <-w.passes // bounded: the timer ends it
	g.mu.Lock()
	w.next, g.spare = g.spare, w // bounded by the most that ever waited
	g.mu.Unlock()
	return passes
}

// enter takes a place without waiting, whether one is free or not.
func (g *gate) enter() { g.wanted.Add(1) }

// leave gives the place back: for good, or until enter.
func (g *gate) leave() {
	if g.wanted.Add(-1) < g.places && g.queued.Load() > 0 {
		g.mu.Lock()
		g.advance()
		g.mu.Unlock()
	}
}

// wait leaves the place until done is closed or the deadline has come, and says
// which.
func (g *gate) wait(done <-chan struct{}, deadline time.Time) bool {
	g.leave()
	defer g.enter()
	return wait(done, deadline)
}

// advance lets waiters in while places are free, and refuses those whose time is up.
// Whoever frees a place looks at the queue afterwards, and whoever joins the queue
// looks for a free place afterwards, so that one of the two sees the other. mu is held.
func (g *gate) advance() {
	for g.first != nil && g.wanted.Load() < g.places {
		passes := time.Now().Before(g.first.until)
		if passes {
			g.wanted.Add(1)
		}
		g.dismiss(passes)
	}
}

// dismiss ends the wait of the first in the queue. mu is held.
func (g *gate) dismiss(passes bool) {
	w := g.first
	g.first = w.next
	g.queued.Add(-1)
	w.passes <- passes
}

// expire refuses the waiters whose time is up while no place became free.
func (g *gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.first != nil {
		if left := time.Until(g.first.until); left > 0 {
			g.wake(left)
			return
		}
		g.dismiss(false)
	}
}

// wake sets the timer that calls expire. mu is held.
func (g *gate) wake(after time.Duration) {
	if g.timer == nil {
		g.timer = time.AfterFunc(after, g.expire)
		return
	}
	g.timer.Reset(after)
}

// urgent says that requests of a kind never wait at the gate and are never refused
// there: they take money back, tell what has happened already, or settle.
func urgent(k txn.Kind) bool {
	return k == txn.KindReversal || k == txn.KindScriptResult || k.Told() || k.Batch()
}

// begin takes req through the gate, or says why not. What is refused here has left
// no trace, and may come again. Where it is approved the gate's leave must follow.
//
// Half of the time until the answer may be spent at the gate: the longer terminals
// wait, the fewer ask again, and the other half is for the issuer.
func (s *Switch) begin(req *txn.Request) txn.Reason {
	switch {
	case urgent(req.Kind), req.Key.Class == txn.ClassNetwork: // sign-ons take turns of their own
		s.gate.enter()
	case s.inFlight.Load() > int64(s.cfg.InFlightMax):
		return txn.SwitchIsOverloaded
	case req.Kind.Forwarded() && s.issuers.Busy(req):
		return txn.IssuerIsBusy
	case !s.gate.pass(req.Received.Add(s.cfg.AnswerWithin / 2)):
		return txn.SwitchIsOverloaded
	}
	return txn.Approved
}
