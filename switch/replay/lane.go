package replay

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// prepared is a message that goes out again and again under new numbers and
// times.
type prepared struct {
	kind    txn.Kind
	voids   bool        // it is a void of an approval, where there is one
	m       iso.Message // of frame, prefix excluded
	frame   []byte
	message terminal.Message
	member  *member
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

	members []*member
	named   map[txn.TerminalID]*member

	// Owned by the writer.
	rng    *rand.Rand
	gap    float64    // before its next request if gaps are even, in mean ones
	ready  []prepared // in a closed loop the terminals' in turn
	turn   int        // in an open loop, whose it is of ready: one after the other comes from memory sooner
	out    []byte
	unsent []*slot // whose requests are in out
	lags   []time.Duration

	// mu guards the rest, and the members' keys. It is held for a batch of frames at
	// most.
	mu       sync.Mutex
	conn     net.Conn
	slots    []slot
	free     []*slot // the last one to get free is the next to be taken: it is in the caches
	thought  []thought
	approved []approval
	undo     []undo
	ended    bool
}

// thought is when a terminal of a closed loop asks again.
type thought struct {
	at    time.Duration
	place int // its place among the lane's
}

func (a thought) compare(b thought) int { return cmp.Compare(a.at, b.at) }

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

// prepare makes the lane's share of messages.
func (l *lane) prepare(d *draws) error {
	closed := l.g.p.Closed
	who := d.terminals.over(len(l.members))
	n := max(64, preparedMax/len(l.g.lanes))
	if closed != nil { // each terminal has as many
		n = len(l.members) * max(1, n/len(l.members))
	}
	l.ready = make([]prepared, n)
	for i := range l.ready {
		r := &l.ready[i]
		if r.member = l.members[who.at(l.rng.Float64())]; closed != nil {
			r.member = l.members[i%len(l.members)]
		}
		if err := l.draw(d, r); err != nil {
			return err
		}
	}
	if closed != nil { // they begin spread over their first thought
		for i := range l.members {
			l.thought = append(l.thought, thought{time.Duration(l.rng.Float64() * float64(closed.Think)), i})
		}
		slices.SortFunc(l.thought, thought.compare)
	}
	return nil
}

// draw makes a message of its terminal.
func (l *lane) draw(d *draws, r *prepared) error {
	if r.kind = d.kinds[d.kind.at(l.rng.Float64())]; r.kind == txn.KindVoid {
		r.voids, r.kind = true, d.kinds[d.instead.at(l.rng.Float64())]
	}
	n := d.card.at(l.rng.Float64())
	// The n-th card has always the same prefix.
	of := d.prefixes[d.prefix.at(rand.New(rand.NewPCG(uint64(n), 2)).Float64())]
	pan, err := terminal.TestPAN(of, uint64(n))
	if err != nil {
		return err
	}
	amount := d.p.Amounts.low + l.rng.Int64N(d.p.Amounts.high-d.p.Amounts.low+1)
	r.message = terminal.Message{Kind: r.kind, STAN: 1, At: time.Now(), Card: terminal.Card{PAN: pan, Expiry: "4912", Entry: d.p.Cards.entry()}}
	if r.kind.MovesMoney() {
		r.message.Amount = txn.Amount{Minor: amount, Currency: r.member.Currency}
	}
	if r.kind != txn.KindOfflineSale && l.rng.Float64()*100 < d.p.PIN {
		r.message.Card.PIN = l.g.o.PIN
	}
	return l.compose(r)
}

// compose makes the frame of a message.
func (l *lane) compose(r *prepared) (err error) {
	if r.frame, err = r.member.keys.Append(nil, &r.message, l.g.d, &r.member.Profile); err != nil {
		return err
	}
	return l.g.d.Codec().Parse(&r.m, r.frame[l.g.d.PrefixSize():])
}

// fly notes the slot of a terminal's request.
func (t *member) fly(s *slot) {
	for {
		if n := uint32(len(t.flights)); n > 0 {
			if f := &t.flights[s.stan%n]; *f == nil || *f == s || !(*f).busy || (*f).ready.member != t {
				*f = s
				return
			}
		}
		before := t.flights
		t.flights = make([]*slot, max(1, 2*len(before)))
		for _, f := range before {
			if f != nil && f.busy && f.ready.member == t {
				t.flights[f.stan%uint32(len(t.flights))] = f
			}
		}
	}
}

// flight is the slot of a terminal's request, nil when it is not in flight.
func (t *member) flight(stan uint32) *slot {
	if t == nil || len(t.flights) == 0 {
		return nil
	}
	if f := t.flights[stan%uint32(len(t.flights))]; f != nil && f.busy && f.stan == stan && f.ready.member == t {
		return f
	}
	return nil
}

func (l *lane) dial(ctx context.Context) error {
	conn, err := transport.Dial(ctx, l.g.o.Addr, l.g.d, l.g.o.TLS, dialTimeout)
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
