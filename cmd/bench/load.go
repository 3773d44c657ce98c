package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// shape is how a load is offered: sessions at once, and requests in flight on
// each. Every request in flight belongs to a terminal of its own.
type shape struct{ sessions, inFlight int }

func (s shape) terminals() int { return s.sessions * s.inFlight }

// load is one closed-loop run: every terminal sends its next sale when it has
// the answer to the one before.
type load struct {
	shape    shape
	address  string
	right    func(*iso.Message) bool // whether an answer is the one wanted
	warm     time.Duration           // before the measured time
	duration time.Duration           // measured
	gate     *gate                   // nil: never closed
	guarded  bool                    // terminals sign on, and have MACs and PINs

	phase atomic.Int32
}

const (
	warming int32 = iota
	measuring
	stopping
)

// answerMax is how long a terminal waits. Beyond it the run has failed.
const answerMax = 20 * time.Second

// measured is what the terminals saw in the measured time.
type measured struct {
	answers int64
	wrong   int64 // of answers
	took    time.Duration
	latency *hdrhistogram.Histogram // nanoseconds
}

// run offers the load. began and ended are called at the ends of the measured
// time. When it returns, every sale sent has been answered.
func (l *load) run(ctx context.Context, began, ended func()) (measured, error) {
	deadline := time.Now().Add(l.warm + l.duration + answerMax)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	sessions := make([]*session, l.shape.sessions)
	for i := range sessions {
		s, err := l.dial(ctx, i, deadline)
		if err != nil {
			return measured{}, err
		}
		defer s.conn.Close()
		sessions[i] = s
	}
	failed := make(chan error, len(sessions))
	var running sync.WaitGroup
	for _, s := range sessions {
		running.Go(func() {
			if err := s.run(); err != nil {
				failed <- err
			}
		})
	}
	took, err := pass(ctx, &l.phase, l.warm, l.duration, failed, began)
	ended()
	if l.gate != nil {
		l.gate.set(true)
	}
	if err != nil {
		return measured{}, err
	}
	running.Wait()
	close(failed)
	m := measured{took: took, latency: hdrhistogram.New(1, int64(time.Minute), 3)}
	for _, s := range sessions {
		m.answers += int64(len(s.times))
		m.wrong += s.wrong
		for _, t := range s.times {
			if err := m.latency.RecordValue(t); err != nil {
				return measured{}, err
			}
		}
	}
	return m, <-failed
}

// pass takes a run from warming over measuring, for which began is called, to
// stopping, and says how long it measured. It is over at once when ctx ends or
// something failed.
func pass(ctx context.Context, phase *atomic.Int32, warm, duration time.Duration, failed <-chan error, began func()) (time.Duration, error) {
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := wait(warm)
	began()
	from := time.Now()
	phase.Store(measuring)
	if err == nil {
		err = wait(duration)
	}
	phase.Store(stopping)
	return time.Since(from), err
}

// session is one connection with its terminals.
type session struct {
	load  *load
	conn  net.Conn
	sales []sale
	sent  []time.Time // of each terminal's sale in flight
	stans []uint32
	wrong int64
	times []int64 // of the measured answers
}

func (l *load) dial(ctx context.Context, n int, deadline time.Time) (*session, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, fmt.Errorf("connect terminal %d: %w", n, err)
	}
	conn.SetDeadline(deadline) // once: a deadline for each answer would cost more than reading it
	s := &session{load: l, conn: conn, times: make([]int64, 0, 4096)}
	for i := range l.shape.inFlight {
		terminal := n*l.shape.inFlight + i
		sale, err := newSale(terminal)
		if err == nil && l.guarded {
			err = sale.guard(conn, terminal)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		s.sales = append(s.sales, sale)
		s.stans = append(s.stans, uint32(i+1))
	}
	s.sent = make([]time.Time, l.shape.inFlight)
	return s, nil
}

// run sells until the load stops. The trace numbers of a session are dealt out
// to its terminals in turn, so that an answer's number says whose it is.
func (s *session) run() error {
	l, n := s.load, uint32(len(s.sales))
	var out []byte
	for i := range s.sales {
		out = s.next(out, i, time.Now())
	}
	if _, err := s.conn.Write(out); err != nil {
		return fmt.Errorf("send sales: %w", err)
	}
	out = out[:0]
	r := bufio.NewReaderSize(s.conn, 1024*min(int(n), 64))
	var m iso.Message
	for open := int(n); open > 0; {
		body, err := peek(r)
		if err != nil {
			return fmt.Errorf("wait for an answer: %w", err)
		}
		now := time.Now()
		if err := cupPOS.Parse(&m, body); err != nil {
			return fmt.Errorf("read an answer: %w", err)
		}
		stan, _ := m.Uint(11)
		i := int(uint32(stan)-1) % int(n)
		if uint32(stan) != s.stans[i]-n {
			return fmt.Errorf("an answer has the trace number %06d: nobody waits for it", stan)
		}
		phase := l.phase.Load()
		if phase == measuring {
			s.times = append(s.times, int64(now.Sub(s.sent[i])))
		}
		if !l.right(&m) {
			s.wrong++
		}
		r.Discard(prefixSize + len(body))
		if phase == stopping || s.stans[i] > txn.STANMax {
			open--
		} else {
			if l.gate != nil {
				l.gate.pass()
				now = time.Now()
			}
			out = s.next(out, i, now)
		}
		if len(out) == 0 || whole(r) {
			continue
		}
		if _, err := s.conn.Write(out); err != nil {
			return fmt.Errorf("send sales: %w", err)
		}
		out = out[:0]
	}
	return nil
}

// next appends the next sale of terminal i.
func (s *session) next(out []byte, i int, now time.Time) []byte {
	s.sales[i].number(s.stans[i])
	s.stans[i] += uint32(len(s.sales))
	s.sent[i] = now
	return append(out, s.sales[i].frame...)
}

// gate holds terminals back while it is closed.
type gate struct {
	closed atomic.Pointer[chan struct{}]
	shut   atomic.Int64 // times it was closed
}

func (g *gate) pass() {
	for {
		c := g.closed.Load()
		if c == nil {
			return
		}
		<-*c
	}
}

// set opens or closes the gate; only one goroutine calls it at a time.
func (g *gate) set(open bool) {
	switch c := g.closed.Load(); {
	case open && c != nil:
		g.closed.Store(nil)
		close(*c)
	case !open && c == nil:
		c := make(chan struct{})
		g.closed.Store(&c)
		g.shut.Add(1)
	}
}
