package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// prepared is a message that goes out again and again under new numbers and
// times.
type prepared struct {
	kind    txn.Kind
	m       iso.Message // of frame, prefix excluded
	frame   []byte
	message terminal.Message
	profile *terminal.Profile
}

// slot is a request in flight.
type slot struct {
	busy    bool
	answers uint8 // that are still to come: two of a request that was sent twice
	stan    uint32
	due     time.Duration // since the beginning
	sent    time.Duration
	ready   *prepared
}

// lane is one session and the terminals that use it.
type lane struct {
	g      *generator
	number int

	profiles []*terminal.Profile // of its terminals

	// Owned by the writer.
	rng    *rand.Rand
	stan   uint32
	ready  []prepared // to choose from
	out    []byte
	unsent []*slot // whose requests are in out
	lags   []time.Duration

	// mu guards the rest. It is held for a batch of frames at most.
	mu       sync.Mutex
	conn     net.Conn
	slots    []slot // by trace number
	thought  []time.Duration
	approved []approval
	undo     []undo
	ended    bool
}

// approval is what a void may be of.
type approval struct {
	ready *prepared
	of    terminal.Original
}

// undo is a request that is to be reversed.
type undo struct {
	ready *prepared
	stan  uint32
}

// signOn opens the day of the lane's terminals, each of which takes the batch that
// the host names. What is refused or not answered shows in what they ask.
func (l *lane) signOn(ctx context.Context) {
	line := terminal.Line{Addr: l.g.o.Addr, Dialect: l.g.d}
	defer line.HangUp()
	for _, p := range l.profiles {
		l.stan = l.stan%txn.STANMax + 1
		m := terminal.Message{Kind: txn.KindSignOn, STAN: l.stan, At: time.Now()}
		frame, err := m.Append(nil, l.g.d, p)
		var answer terminal.Answer
		if err == nil {
			answer, err = line.Exchange(ctx, frame, l.g.p.Patience)
		}
		if err == nil && !answer.Approved() {
			err = &terminal.RefusedError{Code: answer.Code}
		}
		l.g.tally.mu.Lock()
		if l.g.tally.r.SignOns++; err != nil {
			l.g.tally.problem("sign-on: " + err.Error())
		}
		l.g.tally.mu.Unlock()
		if batch := answer.Batch(); err == nil && batch != 0 {
			p.Batch = batch
		}
		if errors.Is(err, terminal.ErrNoAnswer) || ctx.Err() != nil {
			return // the others will not be answered either
		}
	}
}

// prepare makes the lane's share of messages.
func (l *lane) prepare(d *draws) error {
	g, profiles := l.g, l.profiles
	who := d.terminals.over(len(profiles))
	entry := d.p.Cards.entry()
	l.ready = make([]prepared, max(64, preparedMax/len(g.lanes)))
	for i := range l.ready {
		r := &l.ready[i]
		r.kind, r.profile = d.kinds[d.kind.at(l.rng.Float64())], profiles[who.at(l.rng.Float64())]
		n := d.card.at(l.rng.Float64())
		// The n-th card has always the same prefix.
		of := d.prefixes[d.prefix.at(rand.New(rand.NewPCG(uint64(n), 2)).Float64())]
		pan, err := terminal.TestPAN(of, uint64(n))
		if err != nil {
			return err
		}
		amount := d.p.Amounts.low + l.rng.Int64N(d.p.Amounts.high-d.p.Amounts.low+1)
		r.message = terminal.Message{Kind: r.kind, STAN: 1, At: time.Now(), Card: terminal.Card{PAN: pan, Expiry: "4912", Entry: entry}}
		if r.kind.MovesMoney() {
			r.message.Amount = txn.Amount{Minor: amount, Currency: r.profile.Currency}
		}
		if r.kind == txn.KindVoid {
			continue // it is made of an approval
		}
		if r.frame, err = r.message.Append(nil, g.d, r.profile); err != nil {
			return err
		}
		if err := g.d.Codec().Parse(&r.m, r.frame[g.d.PrefixSize():]); err != nil {
			return err
		}
	}
	if l.g.p.Closed != nil { // they begin spread over their first thought
		for range profiles {
			l.thought = append(l.thought, time.Duration(l.rng.Float64()*float64(l.g.p.Closed.Think)))
		}
		slices.Sort(l.thought)
	}
	return nil
}

func (l *lane) dial(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", l.g.o.Addr)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	return nil
}

func (l *lane) hangUp() {
	l.mu.Lock()
	l.ended = true
	if l.conn != nil {
		l.conn.Close()
	}
	l.mu.Unlock()
}

// nextDue is when the lane's next request is due after the one that was due at.
// Each lane has its share of the rate.
func (l *lane) nextDue(at time.Duration) (time.Duration, bool) {
	for {
		rate, more := l.g.p.rate(at)
		if !more {
			return 0, false
		}
		if rate /= float64(len(l.g.lanes)); rate*wakeEvery.Seconds() < 1e-9 {
			at += time.Millisecond // nobody asks
			continue
		}
		gap := 1.0
		if l.g.p.Gaps == "random" {
			gap = l.rng.ExpFloat64()
		}
		// A long gap is walked in steps, since the rate may rise meanwhile.
		for step := 0.1 / rate; gap > 0 && step > 0.01; step = 0.1 / rate {
			at += 10 * time.Millisecond
			if gap -= 0.01 * rate; gap <= 0 {
				return at, true
			}
			if rate, more = l.g.p.rate(at); !more {
				return 0, false
			}
			if rate /= float64(len(l.g.lanes)); rate == 0 {
				break
			}
		}
		if rate > 0 {
			return at + time.Duration(gap/rate*1e9), true
		}
	}
}

// next is when the next request of the lane is due: by the arrivals, or when a
// terminal has thought. wait says that none is due before an answer comes.
func (l *lane) next(at time.Duration) (due time.Duration, more, wait bool) {
	if l.g.p.Closed == nil {
		due, more = l.nextDue(at)
		return due, more, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.thought) == 0 {
		return 0, true, true
	}
	due = l.thought[0]
	l.thought = l.thought[1:]
	return due, true, false
}

// write sends what is due until nothing more is, in one write what is due within
// wakeEvery.
func (l *lane) write(ctx context.Context) {
	end := l.g.p.lasts()
	at := time.Duration(0)
	if l.g.p.Gaps == "even" && l.g.p.Closed == nil { // lanes take turns
		if rate, _ := l.g.p.rate(0); rate > 0 {
			at = time.Duration(float64(l.number) / rate * 1e9)
		}
	}
	due, more, wait := l.next(at)
	for more && ctx.Err() == nil {
		now := time.Since(l.g.began)
		if now >= end && (wait || due >= end) {
			break
		}
		if wait || due > now {
			if l.flush(ctx); wait {
				terminal.Pause(ctx, wakeEvery)
			} else {
				terminal.Pause(ctx, max(due-now, wakeEvery))
			}
			if wait {
				due, more, wait = l.next(due)
			}
			continue
		}
		if !l.send(due) {
			l.flush(ctx)
			terminal.Pause(ctx, time.Millisecond) // as many as there may be are in flight
			continue
		}
		if len(l.out) >= writeMax {
			l.flush(ctx)
		}
		due, more, wait = l.next(due)
	}
	l.flush(ctx)
}

// send puts a request into the next write. It is false when too many are in
// flight.
func (l *lane) send(due time.Duration) bool {
	g := l.g
	r := &l.ready[l.rng.IntN(len(l.ready))]
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.undo) > 0 {
		l.reverse(l.undo[0])
		l.undo = l.undo[1:]
	}
	for r.kind == txn.KindVoid {
		if n := len(l.approved); n > 0 {
			of := l.approved[n-1]
			l.approved = l.approved[:n-1]
			return l.void(of, due)
		}
		r = &l.ready[l.rng.IntN(len(l.ready))] // nothing can be voided yet
	}
	s, ok := l.slot(due, r)
	if !ok {
		return false
	}
	l.stamp(r, s.stan)
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
		go g.half(slices.Clone(r.frame[:len(r.frame)/2]))
	}
	return true
}

// slot takes a place for a request.
func (l *lane) slot(due time.Duration, r *prepared) (*slot, bool) {
	stan := l.stan%txn.STANMax + 1
	s := &l.slots[stan%slotsMax]
	if s.busy {
		return nil, false
	}
	l.stan = stan
	*s = slot{busy: true, answers: 1, stan: stan, due: due, sent: -1, ready: r}
	l.unsent = append(l.unsent, s)
	l.g.waiting.Add(1)
	return s, true
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

// void takes an approval back.
func (l *lane) void(of approval, due time.Duration) bool {
	v := &prepared{kind: txn.KindVoid, profile: of.ready.profile, message: of.ready.message}
	v.message.Kind, v.message.Original = txn.KindVoid, of.of
	s, ok := l.slot(due, v)
	if !ok {
		return false
	}
	v.message.STAN, v.message.At = s.stan, time.Now()
	return l.compose(s, &v.message, v.profile)
}

// reverse undoes what was not answered.
func (l *lane) reverse(u undo) {
	m := u.ready.message
	m.STAN, m.At = u.stan, time.Now()
	frame, err := m.Append(nil, l.g.d, u.ready.profile)
	if err == nil {
		l.out, err = terminal.ReversalOf(l.out, l.g.d, frame[l.g.d.PrefixSize():], "98")
	}
	l.g.tally.mu.Lock()
	if l.g.load.Undone++; err != nil {
		l.g.tally.problem(err.Error())
	}
	l.g.tally.mu.Unlock()
}

func (l *lane) compose(s *slot, m *terminal.Message, p *terminal.Profile) bool {
	out, err := m.Append(l.out, l.g.d, p)
	if err != nil {
		s.busy = false
		l.g.waiting.Add(-1)
		l.g.tally.mu.Lock()
		l.g.tally.problem(err.Error())
		l.g.tally.mu.Unlock()
		return true
	}
	l.out = out
	return true
}

// flush writes what was put together. What was due is sent from then on.
func (l *lane) flush(ctx context.Context) {
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

// sample is one answer.
type sample struct {
	at, latency, service time.Duration
	kind                 txn.Kind
	code                 [2]byte
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
		err := l.answers(conn, &samples)
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

// answers reads answers and keeps what they say.
func (l *lane) answers(conn net.Conn, samples *[]sample) error {
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
			return errClosed
		}
		n, err := codec.ReadLength(prefix)
		if err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		blocked = blocked || in.Buffered() < size+n
		frame, err := in.Peek(size + n)
		if err != nil {
			return errClosed
		}
		if blocked { // what was read at once came at once
			now = time.Since(l.g.began)
		}
		if err := codec.Parse(&m, frame[size:]); err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		l.take(&m, now, samples)
		in.Discard(size + n)
	}
}

// take finds the request of an answer.
func (l *lane) take(m *iso.Message, now time.Duration, samples *[]sample) {
	stan, _ := m.Uint(11)
	l.mu.Lock()
	s := &l.slots[stan%slotsMax]
	if !s.busy || uint64(s.stan) != stan || s.sent < 0 {
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
	if s.ready.kind == txn.KindSale && one.code == [2]byte{'0', '0'} && l.g.p.Mix["void"] > 0 && len(l.approved) < approvedMax {
		l.approved = append(l.approved, approval{s.ready, terminal.Original{Kind: txn.KindSale, STAN: s.stan, Batch: s.ready.profile.Batch, RRN: string(m.Value(37)), AuthCode: string(m.Value(38)),
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
	l.g.waiting.Add(-1)
	if c := l.g.p.Closed; c != nil {
		think := time.Duration(0)
		if c.Think > 0 {
			think = time.Duration(rand.ExpFloat64() * float64(c.Think))
		}
		at := now + think
		i, _ := slices.BinarySearch(l.thought, at)
		l.thought = slices.Insert(l.thought, i, at)
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
		if t.r.Answered++; !l.g.right[code] {
			l.g.load.Wrong++
		}
	}
	t.answered = time.Now()
	t.mu.Unlock()
	*samples = (*samples)[:0]
}

// expire gives up on what was not answered in time.
func (l *lane) expire(now time.Duration) {
	l.end(now, func(s *slot) bool { return s.sent >= 0 && now-s.sent > l.g.p.Patience })
}

// lose gives up on what was in flight on a session that is gone.
func (l *lane) lose() { l.end(time.Since(l.g.began), func(s *slot) bool { return s.sent >= 0 }) }

func (l *lane) end(now time.Duration, which func(*slot) bool) {
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
		l.g.tally.problem(errSilent.Error())
		l.g.tally.mu.Unlock()
	}
}
