// Package simulator is a card issuer for tests, benchmarks and demonstrations:
// a TCP server that speaks ISO 8583:1987 or UnionPay's network, does what a script says (approve,
// decline, delay, lose, drop, repeat, answer with wrong echoes, disconnect) and
// keeps a book of what it approved and reversed, each with the earlier
// transaction that it is about.
//
// Promises. An approval or a reversal is in the book before its answer is
// sent, so a book read after kill -9 holds everything that anybody was told.
// Requests are known by STAN and DE7, so a simulator serves one acquirer: a
// repeat gets the first answer and moves nothing. The reversal of a request that
// never arrived is answered 25 and remembered; the request, should it come
// later, is declined. What cannot be is refused: a void or completion of
// something unknown (25), of the wrong kind or already ended (12), of another
// amount (64), a refund of more than is left (61). One seed and one order of
// requests give one result.
//
// Not here: accounts, limits, whether a PIN is the card's. Card
// numbers reach the book masked.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
)

// Limits. A simulator is a test tool: they protect it, not a customer.
const (
	readSize     = 64 << 10
	batchMax     = 1024    // requests decided under one lock and one flush
	delayedMax   = 1 << 16 // answers waiting for their time, per connection
	writeTimeout = time.Minute
)

// Simulator is one running issuer.
type Simulator struct {
	cfg      Config
	link     *dialect.Link
	listener net.Listener
	book     *book
	figures  Figures // atomic

	// mu guards the desk, the keys and the connections.
	mu    sync.Mutex
	desk  *desk
	keys  *sharedKeys
	conns map[*conn]bool
}

// Figures count what happened since the start.
type Figures struct {
	Requests   atomic.Int64 // messages read
	Malformed  atomic.Int64 // frames that were no message, not answered
	Forged     atomic.Int64 // messages with a wrong MAC, refused
	Withheld   atomic.Int64 // lost, dropped or disconnected by a rule
	Overflowed atomic.Int64 // delayed answers beyond delayedMax, not sent
}

// New opens the book and listens; connections are taken by Run.
func New(cfg Config) (*Simulator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Simulator{cfg: cfg.withDefaults(), conns: map[*conn]bool{}}
	var err error
	if s.link, err = dialect.LinkOf(s.cfg.Dialect); err != nil {
		return nil, err
	}
	if s.keys, err = readKeys(&s.cfg); err != nil {
		return nil, err
	}
	var entries []Entry
	if s.book, entries, err = openBook(s.cfg.Book, s.cfg.LogSync); err != nil {
		return nil, err
	}
	s.desk = newDesk(&s.cfg, entries)
	if s.listener, err = net.Listen("tcp", s.cfg.Listen); err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), s.book.close())
	}
	return s, nil
}

// Addr is where the simulator listens.
func (s *Simulator) Addr() string { return s.listener.Addr().String() }

// Figures are the live counters.
func (s *Simulator) Figures() *Figures { return &s.figures }

func (f *Figures) String() string {
	return fmt.Sprintf("%d messages; %d could not be read or answered, %d had a wrong MAC, %d were not to be answered, %d answers too many waited",
		f.Requests.Load(), f.Malformed.Load(), f.Forged.Load(), f.Withheld.Load(), f.Overflowed.Load())
}

// Book is every entry so far, in order.
func (s *Simulator) Book() ([]Entry, error) { return ReadBook(s.cfg.Book) }

// Instruct replaces the rules, for the requests that come from now on.
func (s *Simulator) Instruct(rules []Rule) error {
	with := s.cfg
	with.Rules = rules
	if err := with.Validate(); err != nil {
		return err
	}
	with = with.withDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	// Decisions that were made point into the rules of before, which stay as they are.
	s.desk.instruct(with.Rules)
	return nil
}

// Run serves until ctx ends, then closes every connection and the book. It may
// be called once.
func (s *Simulator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { s.listener.Close() })
	defer stop()
	var conns sync.WaitGroup
	conns.Go(func() { s.sendKeys(ctx) })
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			cancel(nil)
			conns.Wait()
			if closing := s.book.close(); closing != nil {
				return closing
			}
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return nil
		}
		conns.Go(func() {
			c := newConn(s, nc)
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			defer func() {
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			}()
			if err := c.serve(ctx); err != nil {
				cancel(err) // the book failed: nothing may be answered any more
			}
		})
	}
}
