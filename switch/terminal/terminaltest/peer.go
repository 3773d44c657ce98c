// Package terminaltest is a small switch for the tests of terminals.
package terminaltest

import (
	"bufio"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Peer is a switch of a hundred lines: it decodes and encodes for real, keeps
// its sales by key, and answers as told. It never forgets, so what a fleet owes
// it can be counted.
type Peer struct {
	Dialect *dialect.Terminal
	t       testing.TB
	Addr    string

	// Mu guards the rest.
	Mu      sync.Mutex
	Sales   map[txn.Key]*booked
	seen    int
	told    map[txn.Key][]byte                           // answers of settlements and uploads, to be said again
	got     []string                                     // what came, in order, in short
	closed  []uint32                                     // batches that were settled to their end, in order
	Chip    []byte                                       // DE55 of approvals
	Host    *Host                                        // nil: terminals have no keys
	Answers func(req *txn.Request, answer []byte) []byte // nil answers as it is; nil bytes: none
	Silent  func()                                       // unless nil, called when none will come
}

// booked is a sale as the peer knows it.
type booked struct {
	answer   txn.Answer
	kind     txn.Kind
	minor    int64
	reversed bool
}

// Start starts a peer that ends with the test.
func Start(t testing.TB, dialectName string) *Peer {
	t.Helper()
	d, err := dialect.ForTerminal(dialectName)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{Dialect: d, t: t, Addr: ln.Addr().String(), Sales: map[txn.Key]*booked{}, told: map[txn.Key][]byte{}}
	var serving sync.WaitGroup
	conns := make(chan net.Conn, 1024)
	serving.Go(func() {
		defer close(conns)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns <- c
			serving.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		for c := range conns {
			c.Close()
		}
		serving.Wait()
	})
	return p
}

func (p *Peer) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		prefix := make([]byte, p.Dialect.PrefixSize())
		if _, err := io.ReadFull(r, prefix); err != nil {
			return
		}
		n, err := p.Dialect.ReadLength(prefix)
		if err != nil {
			return
		}
		x := dialect.Exchange{Frame: make([]byte, n)}
		if _, err := io.ReadFull(r, x.Frame); err != nil {
			return
		}
		if err := p.Dialect.Decode(&x, time.Now()); err != nil {
			return
		}
		out := p.decide(&x)
		if out == nil {
			continue
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func (p *Peer) decide(x *dialect.Exchange) []byte {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.seen++
	req := &x.Request
	x.Answer.Acquirer = "48802900"
	copy(x.Answer.Time[:], "093000")
	copy(x.Answer.Date[:], "1122")
	copy(x.Answer.RRN[:], "326000000000")
	x.Answer.RRN[11] += byte(p.seen % 10)
	x.Answer.RRN[10] += byte(p.seen / 10 % 10)
	if p.Host != nil {
		x.Answer.Reason = p.Host.admit(req, &x.Answer)
	}
	p.got = append(p.got, short(x))
	if x.Answer.Reason == txn.Approved {
		p.book(x)
	}
	x.Answer.Code = dialect.Code(req.Dialect, x.Answer.Reason, [2]byte{})
	x.Answer.Signed = p.Host != nil && x.Answer.Reason == txn.Approved && req.Key.Class != txn.ClassNetwork
	out, err := p.settle(x)
	if out == nil && err == nil {
		out, err = p.Dialect.AppendAnswer(nil, x, p.Host.sign)
	}
	if err != nil {
		p.t.Errorf("answer %s: %v", short(x), err)
		return nil
	}
	if p.Answers != nil {
		out = p.Answers(req, out)
	}
	if out == nil && p.Silent != nil {
		p.Silent()
	}
	return out
}

// book does to the books what the request asks for. The same request has the
// same answer; another one under its number is the terminal's mistake.
func (p *Peer) book(x *dialect.Exchange) {
	req := &x.Request
	key := req.Key
	switch {
	case req.Kind == txn.KindReversal:
		key.Class, key.STAN = txn.ClassFinancial, req.Original.STAN
		if p.Sales[key] == nil {
			p.Sales[key] = &booked{answer: x.Answer}
		}
		if stays := req.Replacement.Minor; stays != 0 {
			p.Sales[key].minor = min(p.Sales[key].minor, stays)
			break
		}
		p.Sales[key].reversed = true
	case req.Kind.MovesMoney():
		old := p.Sales[key]
		switch {
		case old == nil:
			copy(x.Answer.Reply.AuthCode[:], "123456")
			x.Answer.Reply.Chip = p.Chip
			p.Sales[key] = &booked{answer: x.Answer, kind: req.Kind, minor: req.Amount.Minor}
		case old.reversed:
			x.Answer.Reason = txn.ReversedBeforeRequest
		case old.kind != req.Kind || old.minor != req.Amount.Minor:
			p.t.Errorf("terminal %s used %06d of batch %06d for a %s of %d and for a %s of %d", key.Terminal, key.STAN, key.Batch, old.kind, old.minor, req.Kind, req.Amount.Minor)
		default:
			x.Answer = old.answer
		}
	}
}

// Sale is what the peer knows of a terminal's trace number.
func (p *Peer) Sale(tid string, batch, stan uint32) (known, reversed bool) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	b := p.Sales[txn.Key{Terminal: txn.MakeTerminalID(tid), Batch: batch, STAN: stan, Class: txn.ClassFinancial}]
	return b != nil, b != nil && b.reversed
}

// All is what came, in order, in short.
func (p *Peer) All() []string {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return slices.Clone(p.got)
}

// Closed is the batches that were settled to their end, in order.
func (p *Peer) Closed() []uint32 {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return slices.Clone(p.closed)
}

// SetAnswers sets Answers while the peer serves.
func (p *Peer) SetAnswers(f func(*txn.Request, []byte) []byte) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	p.Answers = f
}
