package issuer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// class is what kind of message a call is. Each class has its own space of
// STANs, for a reversal carries the STAN of the request it undoes.
type class uint8

const (
	classRequest  class = iota + 1 // 01xx, 02xx: STANs are ours, one call each
	classAdvice                    // 012x, 022x: likewise, and their repeats
	classReversal                  // 04xx
	classNetwork                   // 08xx
)

// classOf is the class of a message type. ok is false for a request, which
// answers nothing, and for classes that are never sent.
func classOf(mti uint16) (c class, ok bool) {
	switch mti >> 8 {
	case 0x01, 0x02:
		c = classRequest
		if mti&0x20 != 0 {
			c = classAdvice
		}
	case 0x04:
		c = classReversal
	case 0x08:
		c = classNetwork
	}
	return c, c != 0 && mti>>4&1 == 1
}

// asks says that a message type is a request or an advice, which has to be answered; a
// notification (0x4x) has not.
func asks(mti uint16) bool { return mti>>8 >= 1 && mti>>8 <= 8 && mti&0xD0 == 0 }

// ending is how a call ended.
type ending uint8

const (
	endedLost     ending = iota // its link was lost after a byte may have left
	endedUnsent                 // its link was lost before a byte could have left
	endedAnswered               // reply holds the answer
	endedNonsense               // an answer came that contradicts the request
	endedOverdue                // its time was up
)

// call is one message of ours that waits for its answer. Calls are pooled.
type call struct {
	// Immutable while the call is in the table.
	class    class
	leg      txn.Leg
	terminal txn.TerminalID
	amount   txn.Amount
	network  uint16   // DE70 of a network call
	mti      uint16   // the type of a request or an advice; set before it is sent
	rrn      [12]byte // DE37 of a request or an advice; set before it is sent
	epoch    uint64   // the breaker's, at Begin
	probe    func(error)
	next     *call // the table's: same class and STAN

	// The table's: when its time is up, zero while it waits for nothing; and that it
	// was up already and an answer may be here.
	until  time.Time
	looked bool

	// wire and flush are written under wire.mu when the frame is queued: the
	// connection, and the number of the flush that will carry it.
	wire  atomic.Pointer[wire]
	flush uint64

	// Whoever takes the call out of the table writes reply and ending, then
	// sends on done. Its owner reads them after done, or owns them again when it
	// took the call out itself.
	reply  *txn.Reply
	ending ending
	fails  bool          // the loss of its link is the issuer's failure, and counted with c
	done   chan struct{} // holds one
}

// lossSays is what the loss of its link says of the issuer.
func (c *call) lossSays() error {
	if c.fails {
		return errFailed
	}
	return errNothing
}

// table holds the calls of one issuer, across its links: an answer may come
// back on another one. To be taken out of the table is to be decided, and only
// one goroutine can take: the reader with an answer, expire when its time is up,
// the owner who gives up, or the end of the link. That is the whole of the race
// between them.
type table struct {
	mu    sync.Mutex
	calls [classNetwork + 1][tableSize]*call // by class and STAN % tableSize; chained by next
	count [classNetwork + 1]atomic.Int32     // changed under mu
	stan  uint32
	free  []*call

	soonest time.Time   // when expire comes, zero: not at all
	came    time.Time   // when it came last
	timer   *time.Timer // calls it; nil before there was a call
}

// tableSize is how many requests can be in flight before their chains grow
// beyond one: STANs are given out in turn.
const tableSize = 1 << 12

func newTable(stan uint32) *table { return &table{stan: stan} }

// resume makes the next STAN the one after stan.
func (t *table) resume(stan uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stan = stan
}

// chain is where the calls of a class and STAN hang, among others.
func (t *table) chain(c class, stan uint32) **call { return &t.calls[c][stan%tableSize] }

// used says whether a call with the STAN is in flight.
func (t *table) used(class class, stan uint32) bool {
	for c := *t.chain(class, stan); c != nil; c = c.next {
		if c.leg.STAN == stan {
			return true
		}
	}
	return false
}

// sentAs is the class in which a kind is sent: what is repeated until it is
// acknowledged goes as an advice from its first sending.
func sentAs(k txn.Kind) class {
	if k.Remedy() == txn.Repeat {
		return classAdvice
	}
	return classRequest
}

// begin takes a place for a new request, numbered with a STAN that no other
// of its class in flight has. It is nil when limit calls are in flight already.
func (t *table) begin(limit int, class class, issuer txn.IssuerID, terminal txn.TerminalID, amount txn.Amount, at [10]byte) *call {
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(t.count[class].Load()) >= limit {
		return nil
	}
	for { // ends: there are more STANs than calls
		if t.stan++; t.stan > txn.STANMax {
			t.stan = 1
		}
		if !t.used(class, t.stan) {
			break
		}
	}
	c := t.get(class)
	c.leg = txn.Leg{Issuer: issuer, STAN: t.stan, Time: at}
	c.terminal, c.amount = terminal, amount
	t.put(c)
	return c
}

// beginNetwork takes a place for a network message; limit bounds them.
func (t *table) beginNetwork(limit int, issuer txn.IssuerID, code uint16, at [10]byte) *call {
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(t.count[classNetwork].Load()) >= limit {
		return nil
	}
	if t.stan++; t.stan > txn.STANMax {
		t.stan = 1
	}
	if t.used(classNetwork, t.stan) {
		return nil
	}
	c := t.get(classNetwork)
	c.leg = txn.Leg{Issuer: issuer, STAN: t.stan, Time: at}
	c.network = code
	t.put(c)
	return c
}

// again takes a place for a message under a leg that was given out before: its
// reversal, or an advice once more. A second one whose answer could not be told
// from the first one's is refused.
func (t *table) again(limit int, class class, leg txn.Leg, terminal txn.TerminalID, amount txn.Amount) (*call, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(t.count[class].Load()) >= limit {
		return nil, fmt.Errorf("%d of its class are in flight already", limit)
	}
	for c := *t.chain(class, leg.STAN); c != nil; c = c.next {
		if c.leg.STAN == leg.STAN && c.terminal == terminal && (class == classReversal || c.leg.Time == leg.Time) {
			return nil, fmt.Errorf("STAN %06d is in flight already", leg.STAN)
		}
	}
	c := t.get(class)
	c.leg, c.terminal, c.amount = leg, terminal, amount
	t.put(c)
	return c, nil
}

func (t *table) get(class class) *call {
	var c *call
	if n := len(t.free); n > 0 {
		c, t.free = t.free[n-1], t.free[:n-1]
	} else {
		c = &call{done: make(chan struct{}, 1)}
	}
	c.class = class
	return c
}

func (t *table) put(c *call) {
	head := t.chain(c.class, c.leg.STAN)
	c.next, *head = *head, c
	t.count[c.class].Add(1)
}

// find is the call of leg, which its owner began.
func (t *table) find(leg *txn.Leg) *call {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, class := range [...]class{classRequest, classAdvice} {
		for c := *t.chain(class, leg.STAN); c != nil; c = c.next {
			if c.leg.STAN == leg.STAN && c.leg.Time == leg.Time {
				return c
			}
		}
	}
	return nil
}

// take takes c out. It is false when another goroutine was first; c.done then
// tells when its ending stands.
func (t *table) take(c *call) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unlink(c)
}

func (t *table) unlink(c *call) bool {
	at := t.chain(c.class, c.leg.STAN)
	for *at != c {
		if *at == nil {
			return false
		}
		at = &(*at).next
	}
	*at, c.next = c.next, nil
	t.count[c.class].Add(-1)
	return true
}

// release gives a call back for reuse. Its owner calls it, once, when the call
// is out of the table and nobody else holds it.
func (t *table) release(c *call) {
	*c = call{done: c.done}
	t.mu.Lock()
	t.free = append(t.free, c) // bounded by the most that were ever in flight
	t.mu.Unlock()
}

// match takes out the call that a message answers. Without one it says why:
// which part of the key differs from the call that comes nearest.
func (t *table) match(h *txn.ReplyHead) (c *call, why string) {
	class, ok := classOf(h.MTI)
	if !ok {
		return nil, "message is not a response to anything we send"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	why = "no such STAN is waiting"
	for c := *t.chain(class, h.STAN); c != nil; c = c.next {
		if c.leg.STAN != h.STAN {
			continue
		}
		if why = c.differs(h); why != "" {
			continue
		}
		c.ending = endedAnswered
		if !c.echoes(h) {
			c.ending = endedNonsense
		}
		t.unlink(c)
		return c, ""
	}
	return nil, why
}

// differs says which part of the key keeps h from being the answer to c, whose class
// and STAN it has; empty: it is the answer.
//
// A request or an advice is known by its transmission time or its reference number,
// which no earlier use of its STAN shares: some issuers' answers have a time of their
// own. An answer that echoes neither must have the terminal right, or
// it may be a late one to somebody else. A reversal may go out with a time of
// its own, so it is known by its terminal, or where its answer names none by its time.
func (c *call) differs(h *txn.ReplyHead) string {
	timed := h.Time != [10]byte{} && c.class != classReversal
	switch {
	case c.wire.Load() == nil:
		return "the message with this STAN was not sent yet"
	case c.class == classNetwork || c.rrn != [12]byte{} && h.RRN == c.rrn:
		return ""
	case timed && h.Time != c.leg.Time:
		return "transmission time (DE7) differs"
	case timed:
		return ""
	case h.Terminal != c.terminal && (h.Terminal != txn.TerminalID{} || h.Time == [10]byte{} || h.Time != c.leg.Time):
		return "terminal (DE41) differs"
	}
	return ""
}

// echoes says that the answer to c is of its type, and repeats its terminal, amount
// and currency, as far as it carries them. An authorization (0110) is no answer to a
// sale (0200): its issuer would wait for a completion.
func (c *call) echoes(h *txn.ReplyHead) bool {
	switch {
	case c.class == classNetwork:
		return h.Network == 0 || h.Network == c.network
	case c.mti != 0 && h.MTI>>4 != c.mti>>4|1:
		return false
	case h.Terminal != txn.TerminalID{} && h.Terminal != c.terminal:
		return false
	case h.HasAmount && h.Amount.Minor != c.amount.Minor:
		return false
	case !h.HasAmount && c.amount.Minor == 0: // a balance may be in the account's currency
		return true
	}
	return h.Amount.Currency == 0 || h.Amount.Currency == c.amount.Currency
}

// lookAgain is for how long a call whose time is up still looks for an answer that
// came in time: a process that was late itself, for it was stopped or had no
// processor, finds the time over and the answer unread in the socket. It is more
// than Go takes to look at its sockets when all its threads are busy, 10 ms.
const lookAgain = 20 * time.Millisecond

// expireEvery is the least time between two visits of expire, and so the most by
// which a call ends late; and how often it sees whether a frame has left.
const expireEvery = 10 * time.Millisecond

// expect has c end at an instant, unless it has before.
func (t *table) expect(c *call, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.until = until
	if t.soonest.IsZero() || until.Before(t.soonest) {
		t.wake(until)
	}
}

// wake has expire come at an instant, or expireEvery after it came last: many calls with
// little time left would have it look at all of them for each. mu is held.
func (t *table) wake(at time.Time) {
	if earliest := t.came.Add(expireEvery); at.Before(earliest) {
		at = earliest
	}
	if at.Equal(t.soonest) {
		return
	}
	t.soonest = at
	if t.timer == nil {
		t.timer = time.AfterFunc(time.Until(at), t.expire)
		return
	}
	t.timer.Reset(time.Until(at))
}

// expire ends the calls whose time is up, and comes again when the next one's is.
// Where answers come, that is nearly a whole timeout later, and by then all that
// wait are others: no call needs a timer of its own.
func (t *table) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.soonest, t.came = time.Time{}, now
	var soonest time.Time
	for class := range t.calls {
		for _, c := range &t.calls[class] {
			for c != nil {
				next := c.next
				if !c.until.IsZero() && !t.overdue(c, now) && (soonest.IsZero() || c.until.Before(soonest)) {
					soonest = c.until
				}
				c = next
			}
		}
	}
	if !soonest.IsZero() {
		t.wake(soonest)
	}
}

// overdue ends c if its time is up. A call that gave up while its frame is held
// back, by a slow journal or a peer that does not read, could be undone on another
// link before it arrives: its time is not up until the frame has left, or the link is
// lost; nor while its answer may be here.
func (t *table) overdue(c *call, now time.Time) bool {
	w := c.wire.Load()
	switch {
	case now.Before(c.until):
		return false
	case w == nil || w.written.Load() < c.flush:
		c.until = now.Add(expireEvery)
		return false
	case !c.looked:
		c.until, c.looked = now.Add(lookAgain), true
		return false
	}
	c.ending = endedOverdue
	t.unlink(c)
	c.done <- struct{}{}
	return true
}

// lost ends every call whose frame was queued on w. The frames of the flushes up to
// flushed may have left, the others have not. A link has maybe thousands of calls, which
// all end at once: where another one stands the issuer has not failed, else once.
func (t *table) lost(w *wire, flushed uint64, another bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for class := range t.calls {
		for _, c := range &t.calls[class] {
			for c != nil {
				next := c.next
				if c.wire.Load() == w {
					c.ending, c.fails = endedLost, !another && c.class == classRequest
					another = another || c.fails
					if c.flush > flushed {
						c.ending = endedUnsent
					}
					t.unlink(c)
					c.done <- struct{}{}
				}
				c = next
			}
		}
	}
}

// busy is how many calls of a class are in flight.
func (t *table) busy(c class) int { return int(t.count[c].Load()) }
