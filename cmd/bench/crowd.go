package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
)

// crowd is people at terminals, each with a session of its own. One sells, has the
// answer or loses patience, thinks, and sells again. What was not answered is
// reversed before the next sale, and so are some of the approved sales: until the
// switch says yes to it.
type crowd struct {
	address   string
	terminals int
	think     time.Duration // mean of an exponential distribution; 0: none
	patience  time.Duration
	warm      time.Duration // before the measured time
	duration  time.Duration // measured

	phase atomic.Int32
}

const (
	// takenBack is the part of the approved sales that are reversed.
	takenBack = 0.01
	// reversalTries is how often a terminal sends a reversal, each time with all its
	// patience.
	reversalTries = 10
	dialsAtOnce   = 64
)

// experience is what terminals saw: sales of the measured time, reversals of all
// the time.
type experience struct {
	people                int
	good, refused, silent int64 // approved in time; answered otherwise; not answered in time
	reversals             int64 // begun
	acknowledged          int64 // of those
	took                  time.Duration
	latency               *hdrhistogram.Histogram // of the good ones, nanoseconds
}

// goodput is how many sales a second were approved in time.
func (x experience) goodput() float64 { return float64(x.good) / x.took.Seconds() }

// run lets the crowd sell. When it returns, every sale has been answered or
// reversed.
func (c *crowd) run(ctx context.Context) (experience, error) {
	people := make([]*customer, c.terminals)
	defer func() {
		for _, p := range people {
			if p != nil {
				p.conn.SetLinger(0) // thousands of ports at rest would be missing soon
				p.conn.Close()
			}
		}
	}()
	if err := c.dial(ctx, people); err != nil {
		return experience{}, err
	}
	failed := make(chan error, len(people))
	var selling sync.WaitGroup
	for _, p := range people {
		selling.Go(func() {
			if err := p.run(); err != nil {
				failed <- err
			}
		})
	}
	took, err := pass(ctx, &c.phase, c.warm, c.duration, failed, func() {})
	all := experience{people: c.terminals, took: took, latency: hdrhistogram.New(1, int64(time.Minute), 3)}
	if err != nil {
		return all, err
	}
	selling.Wait() // bounded: each has a deadline for each answer, and so many tries
	close(failed)
	for _, p := range people {
		all.good += int64(len(p.times))
		all.refused, all.silent = all.refused+p.refused, all.silent+p.silent
		all.reversals, all.acknowledged = all.reversals+p.reversals, all.acknowledged+p.acknowledged
		for _, t := range p.times {
			if err := all.latency.RecordValue(t); err != nil {
				return all, err
			}
		}
	}
	return all, <-failed
}

func (c *crowd) dial(ctx context.Context, people []*customer) error {
	var next atomic.Int64
	var dialing sync.WaitGroup
	errs := make([]error, dialsAtOnce)
	for i := range dialsAtOnce {
		dialing.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(people) {
					return
				}
				people[n], errs[i] = c.join(ctx, n)
			}
		})
	}
	dialing.Wait()
	return errors.Join(errs...)
}

// customer is one terminal.
type customer struct {
	*crowd
	experience
	conn  *net.TCPConn
	r     *bufio.Reader
	sale  sale
	times []int64
	m     iso.Message
}

func (c *crowd) join(ctx context.Context, n int) (*customer, error) {
	sale, err := newSale(n)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, fmt.Errorf("connect terminal %d: %w", n, err)
	}
	return &customer{crowd: c, conn: conn.(*net.TCPConn), r: bufio.NewReaderSize(conn, 1024), sale: sale}, nil
}

// run sells until the crowd goes home.
func (p *customer) run() error {
	for stan := uint32(1); ; stan++ {
		if p.think > 0 {
			time.Sleep(time.Duration(rand.ExpFloat64() * float64(p.think)))
		}
		if p.phase.Load() == stopping {
			return nil
		}
		p.sale.number(stan)
		from := time.Now()
		answered, err := p.ask(p.sale.frame, 0x0210, stan)
		if err != nil {
			return err
		}
		took := time.Since(from)
		good := answered && approved(&p.m)
		if p.phase.Load() == measuring {
			switch {
			case good:
				p.times = append(p.times, int64(took))
			case answered:
				p.refused++
			default:
				p.silent++
			}
		}
		if !answered || good && rand.Float64() < takenBack {
			if err := p.reverse(stan); err != nil {
				return err
			}
		}
	}
}

// reverse sends the reversal of the last sale until it is answered.
func (p *customer) reverse(stan uint32) error {
	cup, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		return err
	}
	frame, err := terminal.ReversalOf(nil, cup, p.sale.frame[prefixSize:], "98")
	if err != nil {
		return err
	}
	p.reversals++
	for range reversalTries {
		answered, err := p.ask(frame, 0x0410, stan)
		if err != nil {
			return err
		}
		if answered {
			if string(p.m.Value(39)) == "00" {
				p.acknowledged++
			}
			return nil
		}
	}
	return nil
}

// ask sends a frame and waits for its answer, which is in m then, as long as
// patience lasts. Answers to what was given up before are passed by.
func (p *customer) ask(frame []byte, mti uint16, stan uint32) (answered bool, err error) {
	p.conn.SetDeadline(time.Now().Add(p.patience))
	if _, err := p.conn.Write(frame); err != nil {
		return false, fmt.Errorf("send to the switch: %w", err)
	}
	for {
		body, err := peek(p.r)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("wait for an answer: %w", err)
		}
		if err := cupPOS.Parse(&p.m, body); err != nil {
			return false, fmt.Errorf("read an answer: %w", err)
		}
		p.r.Discard(prefixSize + len(body)) // m stays good until the next answer is read
		if got, _ := p.m.Uint(11); uint32(got) == stan && p.m.MTI() == mti {
			return true, nil
		}
	}
}
