package simulator

import (
	"bufio"
	"container/heap"
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// conn is one connection of an acquirer.
type conn struct {
	s  *Simulator
	nc net.Conn
	br *bufio.Reader

	// One batch's, owned by serve.
	message iso.Message
	request request
	lines   []byte // entries
	out     []byte // answers to send now
	slow    []answer
	money   bool // something was decided that must be durable first
	hangUp  bool

	// mu guards writes to nc and the answers that wait for their time.
	mu    sync.Mutex
	later delayed
	wake  chan struct{} // holds one: the earliest answer has changed
}

// answer is an encoded answer with the time it leaves.
type answer struct {
	due   time.Time
	frame []byte
}

func newConn(s *Simulator, nc net.Conn) *conn {
	return &conn{s: s, nc: nc, br: bufio.NewReaderSize(nc, readSize), wake: make(chan struct{}, 1)}
}

// serve decides batches of requests until the connection ends. Its error is
// the book's.
func (c *conn) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { c.nc.Close() })
	var later sync.WaitGroup
	later.Go(func() { c.deliver(ctx) })
	defer func() {
		cancel()
		later.Wait()
		stop()
		c.nc.Close()
	}()
	for {
		frame, ok := c.next(true)
		if !ok {
			return nil
		}
		flush := c.decide(frame)
		if c.money {
			// From here a crash may leave entries whose answers were never sent:
			// approvals nobody knows of, which the acquirer reverses.
			if err := c.s.book.wait(flush); err != nil {
				return err
			}
		}
		c.delay()
		if len(c.out) > 0 && !c.write(c.out) || c.hangUp {
			return nil
		}
	}
}

// next is the next whole frame without its prefix, valid until it is
// discarded. Unless wait, only what has arrived already counts.
func (c *conn) next(wait bool) ([]byte, bool) {
	size := c.s.link.Codec().Framing().PrefixSize()
	if !wait && c.br.Buffered() < size {
		return nil, false
	}
	prefix, err := c.br.Peek(size)
	if err != nil {
		return nil, false
	}
	length, err := c.s.link.Codec().ReadLength(prefix)
	if err != nil {
		c.hangUp = true
		return nil, false
	}
	if !wait && c.br.Buffered() < size+length {
		return nil, false
	}
	frame, err := c.br.Peek(size + length)
	if err != nil {
		return nil, false
	}
	return frame[size:], true
}

// decide takes frame and all others that have arrived, and says which flush of
// the book carries their entries.
func (c *conn) decide(frame []byte) (flush uint64) {
	c.lines, c.out, c.slow, c.money = c.lines[:0], c.out[:0], c.slow[:0], false
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for n, ok := 0, true; ok && n < batchMax && !c.hangUp; n++ {
		c.take(frame)
		c.br.Discard(c.s.link.Codec().Framing().PrefixSize() + len(frame))
		frame, ok = c.next(false)
	}
	if c.money {
		flush = c.s.book.add(c.lines)
	}
	return flush
}

// take decides one request.
func (c *conn) take(frame []byte) {
	figures := &c.s.figures
	figures.Requests.Add(1)
	err := c.s.link.Codec().Parse(&c.message, frame)
	if err == nil && c.s.acknowledged(frame, &c.message) {
		return
	}
	if err != nil || c.message.MTI()>>4&1 == 1 {
		figures.Malformed.Add(1)
		return
	}
	r := &c.request
	r.read(&c.message, c.s.link)
	var d decision
	cups := c.s.cfg.Dialect == dialect.NameCUPS
	switch {
	case !c.authentic():
		figures.Forged.Add(1)
		d = decision{code: code63, rule: &approveAtOnce}
		if cups {
			d.code = codeA0
		}
	case !c.s.keys.opens(&c.message, r.card[:r.cardSize]):
		d = decision{code: code55, rule: &approveAtOnce}
		if cups {
			d.code = code99
		}
	default:
		d = c.s.desk.decide(r)
	}
	var key []byte
	if mac, ok := c.s.link.AsksForKey(&c.message); ok {
		d.code = code12
		if key = c.s.keyAsked(mac); key != nil {
			d.code = code00
		}
	}
	if d.rule.Lose {
		figures.Withheld.Add(1)
		return
	}
	c.money = c.money || r.kind.MovesMoney() || r.kind == txn.KindReversal
	if d.entry != "" {
		c.lines = appendEntry(c.lines, r, &d)
	}
	switch {
	case d.rule.Disconnect:
		c.hangUp = true
		fallthrough
	case d.rule.Drop:
		figures.Withheld.Add(1)
		return
	}
	start := len(c.out)
	out, err := c.answer(c.out, &d)
	if err != nil {
		figures.Malformed.Add(1) // the request lacked what its answer must repeat
		return
	}
	out = append(out, key...)
	frame = out[start:]
	for range d.rule.Copies - 1 {
		out = append(out, frame...)
	}
	if d.latency > 0 {
		c.slow = append(c.slow, answer{time.Now().Add(d.latency), append([]byte(nil), out[start:]...)})
		out = out[:start]
	}
	c.out = out
}

// financial says that the message just read, and so its answer, has a MAC where the
// link has MACs.
func (c *conn) financial() bool { return c.message.MTI()>>8 != 0x08 }

// authentic says that the message just read is what the acquirer sent.
func (c *conn) authentic() bool {
	return !c.financial() || c.s.keys.authentic(c.s.link, &c.message)
}

// answer appends the answer to the message just read.
func (c *conn) answer(dst []byte, d *decision) ([]byte, error) {
	m, wrong := &c.message, &d.rule.Echo
	e := c.s.link.BeginAnswer(dst, m)
	for _, n := range [...]int{2, 3} {
		e.Copy(n, m)
	}
	if wrong.Amount != nil {
		e.Uint(4, uint64(*wrong.Amount))
	} else {
		e.Copy(4, m)
	}
	e.Copy(7, m)
	if wrong.STAN != nil {
		e.Uint(11, uint64(*wrong.STAN))
	} else {
		e.Copy(11, m)
	}
	for _, n := range [...]int{12, 13} {
		e.Copy(n, m)
	}
	if c.request.kind.MovesMoney() && m.Has(13) {
		var day [4]byte
		e.Digits(15, m.AppendDigits(day[:0], 13)) // settles on the day it was made
	}
	for _, n := range [...]int{25, 32, 33, 37} {
		e.Copy(n, m)
	}
	if d.auth != [6]byte{} {
		e.Text(38, d.auth[:])
	}
	e.Text(39, d.code[:])
	if wrong.Terminal != "" {
		e.Text(41, []byte(wrong.Terminal))
	} else {
		e.Copy(41, m)
	}
	for _, n := range [...]int{42, 49} {
		e.Copy(n, m)
	}
	if c.request.kind == txn.KindBalance && d.code == code00 {
		e.Text(54, c.balance(d.balance))
	}
	for _, n := range [...]int{70, 90, 100} {
		e.Copy(n, m)
	}
	if !c.financial() {
		return e.Finish()
	}
	key := c.s.keys.signer()
	if wrong.MAC && key != nil {
		key = wrongKey{key}
	}
	return c.s.link.Finish(&e, dst, key)
}

// balance is DE54: account type 00, amount type 02 (available), currency, sign
// and twelve digits.
func (c *conn) balance(minor int64) []byte {
	b := append(make([]byte, 0, 20), "0002"...)
	b = append(b, c.request.currency[:]...)
	sign := byte('C')
	if minor < 0 {
		sign, minor = 'D', -minor
	}
	b = append(b, sign)
	return append(b, strconv.FormatInt(1e12+minor%1e12, 10)[1:]...)
}

// delay queues the batch's slow answers.
func (c *conn) delay() {
	if len(c.slow) == 0 {
		return
	}
	c.mu.Lock()
	for _, a := range c.slow {
		if len(c.later) >= delayedMax {
			c.s.figures.Overflowed.Add(1)
			continue
		}
		heap.Push(&c.later, a)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// deliver sends slow answers when their time has come, those due together in
// one write. It ends with ctx.
func (c *conn) deliver(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var out []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		out = out[:0]
		now := time.Now()
		wait := time.Hour
		c.mu.Lock()
		for len(c.later) > 0 {
			if wait = c.later[0].due.Sub(now); wait > 0 {
				break
			}
			out = append(out, heap.Pop(&c.later).(answer).frame...)
			wait = time.Hour
		}
		c.mu.Unlock()
		timer.Reset(wait)
		if len(out) > 0 && !c.write(out) {
			c.nc.Close() // wakes serve, which ends this too
			return
		}
	}
}

func (c *conn) write(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
		return false
	}
	_, err := c.nc.Write(b)
	return err == nil
}

// delayed is a heap of answers by due time.
type delayed []answer

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *delayed) Push(x any)        { *d = append(*d, x.(answer)) }
func (d *delayed) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
