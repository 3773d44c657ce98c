package acquirer

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// lanes holds the reversals and advices that are owed and sends each until its
// issuer acknowledges it. Every entry is backed by a durable record (a
// ReversalDue or an unknown Outcome), so the memory may be lost at any time:
// recovery fills it again. One original has at most one entry, and what else is
// owed about it waits behind that, so its messages stay in order; different
// originals go in parallel, at most cfg.ReversalsInFlight at a time.
type lanes struct {
	s    *Switch
	wake chan struct{} // capacity 1: the queue has something earlier than before

	// mu guards the rest. It is held for map and heap operations only.
	mu      sync.Mutex
	queue   owedHeap
	byID    map[txn.ID]*owed
	waiting map[txn.ID]undelivered // approvals whose terminal may still ask again
	closed  bool                   // draining: undelivered approvals become due at once
}

type owed struct {
	rec      txn.Record
	position journal.Position // of the record that owes it
	attempts int
	next     time.Time
	behind   *owed         // of the same original: sent when this one is acknowledged
	refusals int           // see refused
	vain     int           // tries that left us and were not acknowledged
	sent     bool          // its issuer may have got it before: it goes out as a repeat
	parked   bool          // it is not in the queue; mu guards it
	ended    chan struct{} // closed when it is not owed any more; nil while nobody waits. mu guards it

	// A reversal and the ones behind it have one number, so an answer does not say
	// which of them it is to.
	unanswered int // of those that left, up to this one
	doubtful   int // of the next answers, that may be to one before
}

// doubtfulMax bounds owed.doubtful: of many tries most never arrived.
const doubtfulMax = 4

// advice says that the issuer is told of rec until it takes note of it; otherwise rec
// is to be undone.
func (o *owed) advice() bool {
	return o.rec.Kind == txn.RecordOutcome && o.rec.Request.Remedy() == txn.Repeat
}

func (o *owed) name() string {
	if o.advice() {
		return "advice"
	}
	return "reversal"
}

type undelivered struct {
	key txn.Key
	at  time.Time // when it becomes due
}

func newLanes(s *Switch) *lanes {
	return &lanes{s: s, wake: make(chan struct{}, 1), byID: map[txn.ID]*owed{}, waiting: map[txn.ID]undelivered{}}
}

// add takes up the reversal or the advice that rec owes, which may be parked. sent
// says that its issuer may have got the advice already. rec must be durable, at
// position; it is copied.
func (l *lanes) add(rec *txn.Record, position journal.Position, parked, sent bool) {
	subject, key := rec.Subject()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, subject)
	o := &owed{rec: detach(rec), position: position, parked: parked}
	o.rec.Original, o.rec.OriginalKey = subject, key
	o.sent = sent && o.advice()
	if first := l.byID[subject]; first != nil {
		for first.behind != nil {
			first = first.behind
		}
		first.behind = o
		return
	}
	l.byID[subject] = o
	if !parked {
		heap.Push(&l.queue, o)
		l.poke()
	}
}

func (l *lanes) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lanes) figures() (owed, sending, parked, undelivered int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.byID {
		if o.parked {
			parked++
		}
	}
	return int64(len(l.byID)), int64(len(l.byID)-len(l.queue)) - parked, parked, int64(len(l.waiting))
}

// oldest is the first position of the records that owe a reversal.
func (l *lanes) oldest() (first journal.Position, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.byID {
		if !ok || o.position < first {
			first, ok = o.position, true
		}
	}
	return first, ok
}

// owes says that a message about a transaction is owed.
func (l *lanes) owes(id txn.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byID[id] != nil
}

// ended is closed when the first of what is owed about a transaction or one of its deeds,
// and waits for no people, is owed no more. It is nil where there is nothing.
func (l *lanes) ended(id txn.ID, deeds []original.Deed) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.byID[id]
	for i := 0; (o == nil || o.parked) && i < len(deeds); i++ {
		o = l.byID[deeds[i].ID]
	}
	if o == nil || o.parked {
		return nil
	}
	if o.ended == nil {
		o.ended = make(chan struct{})
	}
	return o.ended
}

// find is what is owed about the leg that a late answer names: of those with its STAN,
// which comes back every million requests, the one with its DE7 too, else the latest, for
// not every issuer sends the DE7 it got. Late answers ask for it, rarely.
func (l *lanes) find(leg txn.Leg) (found txn.Record, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.byID {
		switch {
		case o.rec.Leg == leg:
			return o.rec, true
		case o.rec.Leg.Issuer == leg.Issuer && o.rec.Leg.STAN == leg.STAN && (!ok || o.rec.At.After(found.At)):
			found, ok = o.rec, true
		}
	}
	return found, ok
}

// undelivered starts the grace of an approval that could not be written.
func (l *lanes) undelivered(key txn.Key, id txn.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := time.Now()
	if !l.closed {
		at = at.Add(l.s.cfg.UndeliveredGrace)
	}
	l.waiting[id] = undelivered{key, at}
	l.poke()
}

// run sends what is owed until ctx ends, then makes undelivered approvals due
// and returns when the sends under way have ended. What is still owed then is
// taken up at the next start.
func (l *lanes) run(ctx context.Context) error {
	var sends sync.WaitGroup
	defer sends.Wait()
	places := make(chan struct{}, l.s.cfg.ReversalsInFlight)
	failed := make(chan error, cap(places))
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
serve:
	for {
		next, err := l.expire(time.Now())
		if err != nil {
			return err
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			l.mu.Lock()
			l.closed = true
			for id, u := range l.waiting {
				u.at = time.Time{}
				l.waiting[id] = u
			}
			l.mu.Unlock()
			_, err := l.expire(time.Now())
			return err
		case err := <-failed:
			return err
		case err := <-l.s.broken:
			return err
		case <-l.wake:
		case <-timer.C:
		}
		for o := l.pop(time.Now()); o != nil; o = l.pop(time.Now()) {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				l.push(o, 0)
				continue serve
			}
			sends.Go(func() {
				if err := l.send(ctx, o); err != nil {
					failed <- err // at most one per place is unread
				}
				<-places
			})
		}
	}
}

// expire makes a reversal due of each undelivered approval whose grace is over. It
// returns the time until there is something to do again.
func (l *lanes) expire(now time.Time) (time.Duration, error) {
	type expired struct {
		key txn.Key
		id  txn.ID
	}
	var due []expired
	next := time.Minute
	l.mu.Lock()
	for id, u := range l.waiting {
		if u.at.After(now) {
			next = min(next, u.at.Sub(now))
			continue
		}
		delete(l.waiting, id)
		due = append(due, expired{u.key, id})
	}
	if len(l.queue) > 0 {
		next = max(0, min(next, l.queue[0].next.Sub(now)))
	}
	l.mu.Unlock()
	for _, e := range due {
		if err := l.undo(e.key, e.id); err != nil {
			return 0, err
		}
		next = 0
	}
	return next, nil
}

// undo makes a reversal due of an approval that its terminal never heard of.
func (l *lanes) undo(key txn.Key, id txn.ID) error {
	sl, _, ok := l.s.slots.look(&key)
	if !ok || sl.id != id || !l.s.originals.seize(id) {
		return nil // its terminal builds on it, or it is of a day that is gone
	}
	defer l.s.originals.release(id)
	if !l.s.slots.undo(&key, id, true) {
		return nil // told or reversed meanwhile
	}
	b, err := l.s.journal.Read(sl.position, nil)
	if err != nil {
		return fmt.Errorf("undo undelivered approval %s: %w", id, err)
	}
	var orig, rec txn.Record
	if err := orig.Unmarshal(b); err != nil {
		return fmt.Errorf("undo undelivered approval %s: %w", id, err)
	}
	l.s.due(&rec, &orig)
	rec.ID, rec.Reason, rec.Outcome = l.s.newID(rec.At), txn.AnswerWasNotDelivered, txn.OutcomeLocal
	position, err := l.s.commit(&rec, rec.Append(nil), false)
	if err != nil {
		return fmt.Errorf("undo undelivered approval %s: %w", id, err)
	}
	l.s.originals.learn(&rec)
	l.add(&rec, position, false, false)
	return nil
}

// send tries one reversal or advice once.
func (l *lanes) send(ctx context.Context, o *owed) error {
	o = l.latest(o)
	if l.s.originals.undoing(o.rec.Original) {
		l.push(o, l.s.cfg.ReversalRetry) // what was done about it is undone first
		return nil
	}
	log := l.s.log.With("id", o.rec.Original, "issuer", o.rec.Leg.Issuer.String(), "stan", o.rec.Leg.STAN)
	pan, err := l.s.cards.Open(&o.rec.SealedPAN, o.rec.Original)
	if err != nil {
		// Without the number the issuer cannot be asked; it stays owed and is
		// seen by people through this line, the gauge and verify.
		log.Error("reversal cannot be built", "error", err)
		l.push(o, l.s.cfg.ReversalRetryMax)
		return nil
	}
	var digits [txn.PANDigitsMax]byte
	tell, done, attempt := l.s.issuers.Reverse, txn.RecordReversalDone, 0
	if o.advice() {
		tell, done = l.s.issuers.Advise, txn.RecordAdviceDone
	}
	if o.sent {
		attempt = max(o.attempts, 1)
	}
	ok, code, err := tell(ctx, &o.rec, pan.Append(digits[:0]), attempt)
	clear(digits[:])
	o.attempts++
	o.sent = o.sent || !errors.Is(err, txn.ErrNotSent)
	switch {
	case errors.Is(err, txn.ErrNotSent):
	case code == [2]byte{}:
		o.unanswered++
	case o.doubtful > 0: // once more: the issuer does nothing twice
		o.doubtful--
		l.push(o, 0)
		return nil
	}
	if !ok {
		if o.refused(code, err, l.s.cfg.ParkAfter) {
			return l.park(o, code, log)
		}
		// That a link is down is said once, not by each of the thousands that wait for it.
		if !errors.Is(err, txn.ErrNotSent) {
			if o.vain++; o.vain == 1 || o.vain%10 == 0 {
				why := slog.String("code", strings.TrimRight(string(code[:]), "\x00"))
				if err != nil {
					why = slog.Any("error", err)
				}
				log.Warn("what is owed is not acknowledged yet", "owed", o.name(), "attempts", o.attempts, why)
			}
		}
		l.push(o, l.backoff(o.attempts))
		return nil
	}
	return l.acknowledged(o, done, code, log)
}

// latest is what to send instead of o: of a stand-in that was reversed before its
// issuer took note of it, the reversal alone. An issuer that had heard of the stand-in
// undoes it, and one that had not says so.
func (l *lanes) latest(o *owed) *owed {
	l.mu.Lock()
	defer l.mu.Unlock()
	if untold(&o.rec) && o.behind != nil {
		o = o.behind
		l.byID[o.rec.Original] = o
	}
	return o
}

// acknowledged records that the issuer acknowledged what it was owed.
func (l *lanes) acknowledged(o *owed, kind txn.RecordKind, code [2]byte, log *slog.Logger) error {
	if next := l.latest(o); next != o { // reversed while it was being told
		l.push(next, 0)
		return nil
	}
	done := l.note(o, kind)
	done.IssuerCode = code
	if kind == txn.RecordReversalDone {
		done.Held = -o.rec.Held
	} else if done.Reason = txn.Approved; !txn.Agrees(code) && code != hadCode {
		done.Reason = txn.IssuerDeclined
		log.Warn("the issuer refuses what happened already; people must look at it", "kind", done.Request.String(), "code", string(code[:]))
	}
	failpoint.Hit(failpoint.Acknowledged)
	return l.end(o, &done)
}

// end records done, which ends what o owes.
func (l *lanes) end(o *owed, done *txn.Record) error {
	// A crash before this append sends the message again after the restart; the
	// issuer knows it by its number and does nothing twice.
	if _, err := l.s.journal.Append(done.Append(nil)); err != nil {
		return fmt.Errorf("record what is acknowledged of %s: %w", done.Original, err)
	}
	failpoint.Hit(failpoint.Acknowledgment)
	l.s.applyHold(done)
	l.s.originals.learn(done)
	if !l.s.refusedStandIn(done) {
		l.s.standIns.release(done.Original)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.ended != nil {
		close(o.ended)
	}
	if o.behind == nil {
		delete(l.byID, done.Original)
		return nil
	}
	if !o.advice() {
		o.behind.unanswered, o.behind.doubtful = o.unanswered, min(o.unanswered, doubtfulMax)
	}
	l.byID[done.Original] = o.behind
	heap.Push(&l.queue, o.behind)
	l.poke()
	return nil
}

// applyHold does to the use of limits what a ReversalDone or AdviceDone says.
func (s *Switch) applyHold(rec *txn.Record) {
	switch rec.Held {
	case txn.Credit:
		s.risk.Undo(rec.Hold())
	case txn.Debit: // a void was reversed: the sale stands again
		s.risk.Restore(rec.Hold())
	}
}

// hadCode is DE39 of an issuer that had an advice before.
var hadCode = [2]byte{'9', '4'}

// backoff doubles from ReversalRetry to ReversalRetryMax, with a quarter of
// jitter so that a returning issuer is not met by all at once.
func (l *lanes) backoff(attempts int) time.Duration {
	d := l.s.cfg.ReversalRetry << min(attempts-1, 20)
	if d <= 0 || d > l.s.cfg.ReversalRetryMax {
		d = l.s.cfg.ReversalRetryMax
	}
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// pop takes the first reversal whose time has come.
func (l *lanes) pop(now time.Time) *owed {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || l.queue[0].next.After(now) {
		return nil
	}
	return heap.Pop(&l.queue).(*owed)
}

// push puts a reversal back to be tried after d.
func (l *lanes) push(o *owed, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o.next = time.Now().Add(d)
	heap.Push(&l.queue, o)
	l.poke()
}

// owedHeap orders reversals by their next try.
type owedHeap []*owed

func (h owedHeap) Len() int           { return len(h) }
func (h owedHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h owedHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *owedHeap) Push(x any)        { *h = append(*h, x.(*owed)) }
func (h *owedHeap) Pop() any {
	old := *h
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return o
}
