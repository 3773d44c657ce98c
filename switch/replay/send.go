package replay

import (
	"context"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// nextDue is when the lane's next request is due after the one that was due at.
// Each lane has its share of the rate; with even gaps they take turns.
func (l *lane) nextDue(at time.Duration) (time.Duration, bool) {
	gap := l.gap
	if l.gap = 1; l.g.p.Gaps == "random" {
		gap = l.rng.ExpFloat64()
	}
	for {
		rate, more := l.g.p.rate(at)
		if !more {
			return 0, false
		}
		if rate /= float64(len(l.g.lanes)); rate*slotLeast.Seconds() < 1e-9 {
			at += time.Millisecond // nobody asks
			continue
		}
		// A long gap is walked in steps, since the rate may rise meanwhile.
		if rest := gap / rate; rest <= 0.01 || rate >= 10 {
			return at + time.Duration(rest*1e9), true
		}
		at += 10 * time.Millisecond
		gap -= 0.01 * rate
	}
}

// next is the lane's next request, and when it is due: as the arrivals say or, in a
// closed loop, when a terminal has thought. wait says that none is due before an answer
// comes.
func (l *lane) next(at time.Duration) (next thought, more, wait bool) {
	if l.g.p.Closed == nil {
		next.at, more = l.nextDue(at)
		return next, more, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.thought) == 0 {
		return thought{at: at}, true, true
	}
	next = l.thought[0]
	l.thought = l.thought[1:]
	return next, true, false
}

// write sends what is due until nothing more is; what is due within one slot goes out
// in one write.
func (l *lane) write(ctx context.Context) {
	defer l.g.clock.set(l.number, ended)
	end := l.g.p.lasts()
	next, more, wait := l.next(0)
	for more && ctx.Err() == nil {
		now := time.Since(l.g.began)
		if now >= end && (wait || next.at >= end) {
			break
		}
		if wait || next.at > now {
			if l.flush(); wait {
				l.g.clock.sleep(ctx, l.number, now+slotLeast)
				next, more, wait = l.next(next.at)
			} else {
				l.g.clock.sleep(ctx, l.number, next.at)
			}
			continue
		}
		if !l.send(next) {
			l.flush()
			l.g.clock.sleep(ctx, l.number, now+time.Millisecond) // as many as there may be are in flight
			continue
		}
		if len(l.out) >= writeMax {
			l.flush()
		}
		next, more, wait = l.next(next.at)
	}
	l.flush()
}

// send puts a request into the next write. It is false when too many are in
// flight.
func (l *lane) send(next thought) bool {
	g := l.g
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.undo) > 0 {
		l.reverse(l.undo[0])
		l.undo = l.undo[1:]
	}
	if len(l.free) == 0 {
		return false
	}
	r := &l.ready[l.turn]
	if g.p.Closed != nil {
		n := len(l.members)
		r = &l.ready[next.place+n*l.rng.IntN(len(l.ready)/n)]
	}
	l.turn = (l.turn + 1) % len(l.ready)
	if r.voids {
		if v := l.void(r); v != nil {
			r = v
		}
	}
	r.member.stan = r.member.next()
	l.stamp(r, r.member.stan)
	if err := r.member.keys.SealMessage(&r.m); err != nil {
		l.failed(err)
		return true
	}
	s := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	*s = slot{busy: true, answers: 1, stan: r.member.stan, due: next.at, sent: -1, ready: r}
	r.member.fly(s)
	l.unsent = append(l.unsent, s)
	g.waiting.Add(1)
	from := len(l.out)
	l.out = append(l.out, r.frame...)
	if f := &g.p.Faults; f.Duplicates > 0 && l.rng.Float64()*100 < f.Duplicates {
		l.out = append(l.out, l.out[from:]...)
		s.answers = 2
		g.tally.mu.Lock()
		g.load.Repeats++
		g.tally.mu.Unlock()
	}
	if f := &g.p.Faults; f.HalfFrames > 0 && l.rng.Float64()*100 < f.HalfFrames {
		g.half(slices.Clone(r.frame[:len(r.frame)/2]))
	}
	return true
}

// void makes a void of one of the lane's approvals; in a closed loop, of one of the same
// terminal. It is nil where there is none.
func (l *lane) void(instead *prepared) *prepared {
	for i := range l.approved {
		of := l.approved[i]
		if l.g.p.Closed != nil && of.ready.member != instead.member {
			continue
		}
		l.approved = slices.Delete(l.approved, i, i+1)
		v := &prepared{kind: txn.KindVoid, member: of.ready.member, message: of.ready.message}
		v.message.Kind, v.message.Original = txn.KindVoid, of.of
		if err := l.compose(v); err != nil {
			l.failed(err)
			return nil
		}
		return v
	}
	return nil
}

// failed notes what could not be made.
func (l *lane) failed(err error) {
	l.g.tally.mu.Lock()
	l.g.tally.problem(err.Error())
	l.g.tally.mu.Unlock()
}

// stamp writes number and time into a message.
func (l *lane) stamp(r *prepared, stan uint32) {
	var six [6]byte
	put := func(n uint32) []byte {
		for i := 5; i >= 0; i-- {
			six[i] = byte('0' + n%10)
			n /= 10
		}
		return six[:]
	}
	r.m.Overwrite(11, 0, put(stan))
	if r.m.Has(7) || r.m.Has(12) {
		now := time.Now()
		var ten [10]byte
		stamp := now.AppendFormat(ten[:0], "0102150405")
		if r.m.Has(7) {
			r.m.Overwrite(7, 0, stamp)
		}
		if r.m.Has(12) && r.m.Has(13) {
			r.m.Overwrite(13, 0, stamp[:4])
			r.m.Overwrite(12, 0, stamp[4:])
		}
	}
}

// reverse undoes what was not answered.
func (l *lane) reverse(u undo) {
	m, t := u.ready.message, u.ready.member
	m.STAN, m.At = u.stan, time.Now()
	frame, err := t.keys.Append(nil, &m, l.g.d, &t.Profile)
	from := len(l.out)
	if err == nil {
		l.out, err = terminal.ReversalOf(l.out, l.g.d, frame[l.g.d.PrefixSize():], "98")
	}
	if err == nil {
		err = t.keys.Seal(l.g.d, l.out[from:])
	}
	if err != nil {
		l.out = l.out[:from]
		l.failed(err)
		return
	}
	l.g.tally.mu.Lock()
	l.g.load.Undone++
	l.g.tally.mu.Unlock()
}

// flush writes the frames that were collected; they count as sent from here on.
func (l *lane) flush() {
	if len(l.out) == 0 {
		return
	}
	now := time.Since(l.g.began)
	n := 0
	l.mu.Lock()
	for _, s := range l.unsent {
		if s.busy && s.sent < 0 {
			s.sent = now
			n++
			l.lags = append(l.lags, now-s.due)
		}
	}
	l.unsent = l.unsent[:0]
	conn := l.conn
	l.mu.Unlock()
	l.g.tally.mu.Lock()
	l.g.tally.r.Requests += n
	l.g.tally.r.Sent += n
	for _, lag := range l.lags {
		record(l.g.tally.lag, lag)
	}
	l.g.tally.mu.Unlock()
	l.lags = l.lags[:0]
	if conn != nil {
		conn.SetWriteDeadline(time.Now().Add(l.g.p.Patience))
		if _, err := conn.Write(l.out); err != nil {
			conn.Close() // its reader opens another one
		}
	}
	l.out = l.out[:0]
}
