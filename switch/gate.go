package acquirer

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// gate keeps what has come too early out of what is being decided. Where more is
// asked for than the processors can do, whoever is let in makes everybody's turn
// come later, until nobody is answered in time; while a request that waits costs
// nothing but its memory. So of what is begun no more than places may want a
// processor at one time, and the others wait in the order of their coming. One
// that would wait too long is refused.
//
// What waits for an issuer, for somebody else's decision or for the archive wants
// no processor, and leaves its place meanwhile: a slow issuer takes none from
// another. When its wait is over it goes on at once.
//
// Where places are free, to pass and to leave are an atomic operation each.
type gate struct {
	places int64
	wanted atomic.Int64 // by how many the processors are wanted
	queued atomic.Int64 // how many wait

	// mu guards the queue. It is held for memory operations only.
	mu          sync.Mutex
	first, last *waiter
	timer       *time.Timer // ends the first's wait; nil before there was one
	spare       *waiter     // linked by next
}

// waiter is a request that waits at the gate.
type waiter struct {
	until  time.Time
	passes chan bool // holds one
	next   *waiter
}

// placesEach is how many requests may want each of the threads that Go runs on
// processors. By Little's law it is what they do in 10 ms at 20 us each: more than
// one flush of the journal, so that processors never wait for requests, and far
// less than anybody's patience. With 32, half as many sales are served; with 128,
// a few percent less.
const placesEach = 512

func newGate() *gate { return &gate{places: int64(placesEach * runtime.GOMAXPROCS(0))} }

// pass waits for a place, at most until an instant. Unless it is false, leave must
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

// enter is pass for who does not wait.
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

// advance lets in who waits while there are places, and refuses whose wait is over.
// Whoever frees a place looks into the queue after it, and whoever joins the queue
// looks for places after it, so that one of the two sees the other. mu is held.
func (g *gate) advance() {
	for g.first != nil && g.wanted.Load() < g.places {
		passes := time.Now().Before(g.first.until)
		if passes {
			g.wanted.Add(1)
		}
		g.dismiss(passes)
	}
}

// dismiss ends the first's wait. mu is held.
func (g *gate) dismiss(passes bool) {
	w := g.first
	g.first = w.next
	g.queued.Add(-1)
	w.passes <- passes
}

// expire refuses whose wait is over, also while no place becomes free.
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

// wake has expire called after a while. mu is held.
func (g *gate) wake(after time.Duration) {
	if g.timer == nil {
		g.timer = time.AfterFunc(after, g.expire)
		return
	}
	g.timer.Reset(after)
}

// urgent says that a request of a kind is never kept waiting and never refused for
// want of time: what takes money back, tells what has happened already, or settles.
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
	case req.Kind.Forwarded() && s.issuers.Busy(&req.PAN):
		return txn.IssuerIsBusy
	case !s.gate.pass(req.Received.Add(s.cfg.AnswerWithin / 2)):
		return txn.SwitchIsOverloaded
	}
	return txn.Approved
}
