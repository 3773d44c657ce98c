package replay

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// sample is one answer.
type sample struct {
	at, latency, service time.Duration
	kind                 txn.Kind
	code                 [2]byte
	badMAC               bool
}

// read takes answers until the lane ends, and opens the session again where the
// host ended it.
func (l *lane) read(ctx context.Context) {
	samples := make([]sample, 0, samplesMax)
	for {
		l.mu.Lock()
		conn, ended := l.conn, l.ended
		l.mu.Unlock()
		if ended {
			return
		}
		heard, err := l.answers(conn, &samples)
		l.keep(&samples)
		l.mu.Lock()
		ended = l.ended
		l.conn = nil
		l.mu.Unlock()
		conn.Close()
		if ended {
			return
		}
		l.g.tally.mu.Lock()
		l.g.load.Broken++
		l.g.tally.problem(err.Error())
		l.g.tally.mu.Unlock()
		l.lose()
		if !heard && terminal.Pause(ctx, redialEvery) != nil { // who hangs up without a word is not called at once
			return
		}
		for l.dial(ctx) != nil {
			l.g.tally.mu.Lock()
			l.g.load.Broken++
			l.g.tally.problem(errRefused.Error())
			l.g.tally.mu.Unlock()
			if terminal.Pause(ctx, redialEvery) != nil {
				return
			}
		}
	}
}

// answers reads answers and keeps what they say. heard is that a message came.
func (l *lane) answers(conn net.Conn, samples *[]sample) (heard bool, err error) {
	in := bufio.NewReaderSize(conn, 64<<10)
	size := l.g.d.PrefixSize()
	codec := l.g.d.Codec()
	var m iso.Message
	now := time.Since(l.g.began)
	for {
		blocked := in.Buffered() < size
		if blocked {
			l.keep(samples)
		}
		prefix, err := in.Peek(size)
		if err != nil {
			return heard, over(err)
		}
		n, err := l.g.d.ReadLength(prefix)
		if err != nil {
			return heard, fmt.Errorf("%w: %w", errNonsense, err)
		}
		if n == 0 { // a keep-alive
			in.Discard(size)
			continue
		}
		blocked = blocked || in.Buffered() < size+n
		frame, err := in.Peek(size + n)
		if err != nil {
			return heard, over(err)
		}
		if blocked { // what was read at once came at once
			now = time.Since(l.g.began)
		}
		if err := codec.Parse(&m, frame[size:]); err != nil {
			return heard, fmt.Errorf("%w: %w", errNonsense, err)
		}
		heard = true
		l.take(&m, now, samples)
		in.Discard(size + n)
	}
}

// take finds the request of an answer.
func (l *lane) take(m *iso.Message, now time.Duration, samples *[]sample) {
	stan, _ := m.Uint(11)
	var id txn.TerminalID
	copy(id[:], m.Value(41))
	t := l.named[id]
	l.mu.Lock()
	s := t.flight(uint32(stan))
	if s == nil || s.sent < 0 || m.MTI() != s.ready.m.MTI()&^1+0x10 {
		l.mu.Unlock()
		if m.MTI()&^0xF != 0x0410 { // reversals are not waited for
			l.g.tally.mu.Lock()
			l.g.tally.r.Strays++
			l.g.tally.mu.Unlock()
		}
		return
	}
	if s.answers--; s.answers > 0 {
		l.mu.Unlock()
		return
	}
	one := sample{at: now, latency: now - s.due, service: now - s.sent, kind: s.ready.kind}
	copy(one.code[:], m.Value(39))
	one.badMAC = t.keys.Verify(&s.ready.m, m) != nil
	if s.ready.kind == txn.KindSale && one.code == [2]byte{'0', '0'} && l.g.p.Mix["void"] > 0 && len(l.approved) < approvedMax {
		l.approved = append(l.approved, approval{s.ready, terminal.Original{Kind: txn.KindSale, STAN: s.stan, Batch: t.Batch, RRN: string(m.Value(37)), AuthCode: string(m.Value(38)),
			Date: string(m.AppendDigits(nil, 13)), Sent: string(m.AppendDigits(nil, 7))}})
	}
	l.release(s, now)
	l.mu.Unlock()
	if *samples = append(*samples, one); len(*samples) == samplesMax {
		l.keep(samples)
	}
}

// release ends a request; in a closed loop its terminal thinks.
func (l *lane) release(s *slot, now time.Duration) {
	s.busy = false
	l.free = append(l.free, s)
	l.g.waiting.Add(-1)
	if c := l.g.p.Closed; c != nil {
		think := time.Duration(0)
		if c.Think > 0 {
			think = time.Duration(rand.ExpFloat64() * float64(c.Think))
		}
		next := thought{now + think, s.ready.member.place}
		i, _ := slices.BinarySearchFunc(l.thought, next, thought.compare)
		l.thought = slices.Insert(l.thought, i, next)
	}
}

// keep counts answers.
func (l *lane) keep(samples *[]sample) {
	if len(*samples) == 0 {
		return
	}
	t := l.g.tally
	t.mu.Lock()
	for i := range *samples {
		s := &(*samples)[i]
		record(t.latency, s.latency)
		record(t.service, s.service)
		t.series.add(s.at, s.latency)
		code := string(s.code[:])
		t.code(s.kind.String(), code, 1, 0)
		if t.r.Answered++; !l.g.right[code] || s.badMAC {
			l.g.load.Wrong++
		}
		if s.badMAC {
			t.r.BadMACs++
			t.problem(badMACs)
		}
	}
	t.answered = time.Now()
	t.mu.Unlock()
	*samples = (*samples)[:0]
}

// expire gives up on what was not answered in time.
func (l *lane) expire(now time.Duration) {
	l.end(now, errSilent, func(s *slot) bool { return s.sent >= 0 && now-s.sent > l.g.p.Patience })
}

// lose gives up on what was in flight on a session that is gone.
func (l *lane) lose() {
	l.end(time.Since(l.g.began), errLost, func(s *slot) bool { return s.sent >= 0 })
}

func (l *lane) end(now time.Duration, why error, which func(*slot) bool) {
	n := 0
	l.mu.Lock()
	for i := range l.slots {
		s := &l.slots[i]
		if !s.busy || !which(s) {
			continue
		}
		n++
		if l.g.p.Faults.ReverseUnanswered && s.ready.kind.MovesMoney() && len(l.undo) < slotsMax {
			l.undo = append(l.undo, undo{s.ready, s.stan})
		}
		l.release(s, now)
	}
	l.mu.Unlock()
	if n > 0 {
		l.g.tally.mu.Lock()
		l.g.load.Silent += n
		l.g.tally.problemOf(n, why.Error())
		l.g.tally.mu.Unlock()
	}
}
