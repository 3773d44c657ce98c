package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// herd is the morning: terminals sell at a steady pace, and many more sign on
// within one second. It compares the sales' latency before with that until the
// last sign-on is answered, which has to be within the terminals' patience.
//
// Sellers have no MACs, so that what is measured is the herd's effect and not
// their cryptography.
type herd struct {
	binary, dir string
	signOns     int
	sessions    int // that they come over
	sellers     int
	every       time.Duration // a seller sells
	quiet       time.Duration // measured before the herd
	progress    io.Writer
}

const (
	herdWithin  = time.Second // in which all sign-ons are sent
	herdRatio   = 2.0         // of the sales' p99, with the herd to without
	herdSettled = time.Second // of sales before any is measured
)

func runHerd(ctx context.Context, args []string, out, progress io.Writer) error {
	h := herd{progress: progress}
	f := flag.NewFlagSet("bench herd", flag.ContinueOnError)
	f.SetOutput(progress)
	f.StringVar(&h.binary, "binary", "bin/acqswitch", "the switch to measure")
	f.StringVar(&h.dir, "dir", "", "directory for the journals: the disk that is measured; empty is the system's temporary one")
	f.IntVar(&h.signOns, "sign-ons", 20_000, "terminals that sign on within one second")
	f.IntVar(&h.sessions, "sessions", 500, "sessions that they come over")
	f.IntVar(&h.sellers, "sellers", 100, "terminals that sell")
	f.DurationVar(&h.every, "every", 100*time.Millisecond, "pause between the sales of one of them")
	f.DurationVar(&h.quiet, "quiet", 5*time.Second, "measured time before the herd")
	switch err := f.Parse(args); {
	case err != nil:
		return err
	case f.NArg() > 0:
		return fmt.Errorf("unknown argument %q; see bench herd -help", f.Arg(0))
	case h.sessions < 1 || h.signOns < h.sessions || h.signOns/h.sessions > 100 || h.sellers < 1 || h.sellers > 10_000:
		return errors.New("-sign-ons must be 1 to 100 for each of -sessions, and -sellers 1 to 10000")
	case h.every <= 0 || h.quiet <= 0 || h.quiet > time.Minute:
		return errors.New("-every must be positive, -quiet at most a minute")
	}
	return h.run(ctx, out)
}

func (h *herd) run(ctx context.Context, out io.Writer) error {
	s, err := h.system(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(ctx, h.quiet+2*txn.PatienceDefault)
	defer cancel()
	sales, err := h.sell(ctx, s.address)
	if err != nil {
		return err
	}
	defer sales.stop()
	conns, err := h.dial(ctx, s.address)
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	time.Sleep(herdSettled)
	serving := s.processes[len(s.processes)-1].pid
	used := -cpuTime(serving)
	before := sales.measure(func() { time.Sleep(h.quiet) })
	used += cpuTime(serving)
	var slowest time.Duration
	var refused int64
	herdUsed := -cpuTime(serving)
	during := sales.measure(func() { slowest, refused, err = h.signOn(conns) })
	herdUsed += cpuTime(serving)
	if err = errors.Join(err, sales.stop()); err != nil {
		return err
	}
	ms := func(h *hdrhistogram.Histogram, p float64) float64 { return float64(h.ValueAtPercentile(p)) / 1e6 }
	perSale := float64(used) / float64(max(before.TotalCount(), 1))
	ratio := ms(during, 99) / ms(before, 99)
	fmt.Fprintf(out, `%d sign-ons sent within %v over %d sessions: the last answered after %v (patience %v), %d refused
sales at %.0f a second   p50 ms   p99 ms   sales
without the herd       %8.2f %8.2f %7d
until its last answer  %8.2f %8.2f %7d
p99 with to without: %.2f, should be at most %.1f
processor time of the switch: %.0f us a sale without the herd, %.0f us a sign-on beside as many sales
`, h.signOns, herdWithin, h.sessions, slowest.Round(time.Millisecond), txn.PatienceDefault, refused,
		float64(h.sellers)/h.every.Seconds(), ms(before, 50), ms(before, 99), before.TotalCount(),
		ms(during, 50), ms(during, 99), during.TotalCount(), ratio, herdRatio,
		perSale/1e3, (float64(herdUsed)-perSale*float64(during.TotalCount()))/float64(h.signOns)/1e3)
	if refused > 0 || slowest > txn.PatienceDefault {
		return fmt.Errorf("%d sign-ons were refused, the last was answered after %v", refused, slowest)
	}
	return nil
}

const herdConfiguration = `
terminals:
  listeners:
    - { address: "127.0.0.1:0", dialect: cup-pos }
risk:
  policy: policy.yaml
admin:
  address: 127.0.0.1:0
log:
  level: warn
issuers:
  - { name: bench, address: %q, bins: ["622202"], in_flight_max: 65536 }
`

// system starts an issuer and a switch that knows sellers and the herd, and the
// herd's master keys.
func (h *herd) system(ctx context.Context) (s *system, err error) {
	s = &system{right: approved}
	defer closeUnless(&err, s)
	dir, err := os.MkdirTemp(h.dir, "acqswitch-herd-")
	if err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, func() { os.RemoveAll(dir) })
	script := filepath.Join(dir, "issuer.yaml")
	if err := os.WriteFile(script, []byte("log_sync: none\n"), 0o600); err != nil {
		return nil, err
	}
	issuer, err := s.start("issuer", "listens on", h.binary, "issuer", "--script", script, "--listen", "127.0.0.1:0", "--book", filepath.Join(dir, "issuer.book"))
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	registry := filepath.Join(data, "registry.yaml")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	if err := writeRegistry(registry, h.sellers+h.signOns, h.sellers); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "acqswitch.yaml")
	err = errors.Join(writeUnlimited(dir), os.WriteFile(config, fmt.Appendf(nil, herdConfiguration, issuer), 0o600))
	if err == nil {
		err = h.masterKeys(data)
	}
	if err != nil {
		return nil, err
	}
	if s.address, err = s.start("switch", "can connect to", h.binary, "serve", "--config", config); err != nil {
		return nil, err
	}
	admin, err := s.processes[len(s.processes)-1].says("metrics and health are on ")
	if err != nil {
		return nil, err
	}
	return s, s.ready(ctx, admin)
}

// masterKeys gives every terminal of the herd a master key, as keys
// load-terminal would.
func (h *herd) masterKeys(data string) error {
	fmt.Fprintf(h.progress, "%d terminals get their master keys\n", h.signOns)
	return loadKeys(data, func(vault *keys.Vault, ring *keyring.Ring) error {
		return eachAtOnce(h.signOns, func(i int) error {
			id := txn.MakeTerminalID(terminalID(h.sellers + i))
			key, err := vault.Generate(keys.OfTerminal(id), keys.PurposeTMK, algo.TDES2)
			if err == nil {
				err = ring.SetMaster(id, key)
			}
			return err
		})
	})
}

// sellers sell until they are stopped; while one measures, their latencies go to
// its histogram.
type sellers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed chan error

	mu   sync.Mutex
	into *hdrhistogram.Histogram // nil: nobody measures
}

// sell starts the sellers, each with a session of its own. They start spread
// over one pause, and a late answer does not move the next sale.
func (h *herd) sell(ctx context.Context, address string) (*sellers, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &sellers{cancel: cancel, failed: make(chan error, h.sellers)}
	for i := range h.sellers {
		sale, err := newSale(i)
		var conn net.Conn
		if err == nil {
			conn, err = net.Dial("tcp", address)
		}
		if err != nil {
			s.stop()
			return nil, fmt.Errorf("seller %d: %w", i, err)
		}
		first := time.Now().Add(h.every * time.Duration(i) / time.Duration(h.sellers))
		s.wg.Go(func() {
			defer conn.Close()
			if err := s.run(ctx, conn, sale, first, h.every); err != nil {
				s.failed <- err
			}
		})
	}
	return s, nil
}

func (s *sellers) run(ctx context.Context, conn net.Conn, sale sale, at time.Time, every time.Duration) error {
	r := bufio.NewReader(conn)
	var m iso.Message
	for stan := uint32(1); ; stan, at = stan%txn.STANMax+1, at.Add(every) {
		select {
		case <-time.After(time.Until(at)):
		case <-ctx.Done():
			return nil
		}
		sale.number(stan)
		conn.SetDeadline(time.Now().Add(answerMax))
		if _, err := conn.Write(sale.frame); err != nil {
			return fmt.Errorf("send a sale: %w", err)
		}
		body, err := peek(r)
		if err != nil {
			return fmt.Errorf("wait for a sale's answer: %w", err)
		}
		took := time.Since(at) // from when it was due: a wait to be sent is one too
		if err := cupPOS.Parse(&m, body); err != nil || !approved(&m) {
			return fmt.Errorf("a sale was answered %q: %w", m.Value(39), err)
		}
		r.Discard(prefixSize + len(body))
		s.mu.Lock()
		if s.into != nil {
			s.into.RecordValue(int64(took))
		}
		s.mu.Unlock()
	}
}

// measure is the latencies of the sales that were answered while do ran.
func (s *sellers) measure(do func()) *hdrhistogram.Histogram {
	latency := hdrhistogram.New(1, int64(2*time.Minute), 3)
	s.mu.Lock()
	s.into = latency
	s.mu.Unlock()
	do()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.into = nil
	return latency
}

// stop ends the sellers; the second call does nothing.
func (s *sellers) stop() error {
	s.cancel()
	s.wg.Wait()
	select {
	case err := <-s.failed:
		return err
	default:
		return nil
	}
}

func (h *herd) dial(ctx context.Context, address string) (conns []net.Conn, err error) {
	var d net.Dialer
	for i := range h.sessions {
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, fmt.Errorf("session %d of the herd: %w", i, err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// signOn lets the herd sign on, spread over herdWithin, and says how long the
// slowest waited and how many were not given keys.
func (h *herd) signOn(conns []net.Conn) (slowest time.Duration, refused int64, err error) {
	type reply struct {
		took    time.Duration
		refused int64
		err     error
	}
	replies := make(chan reply, len(conns))
	began := time.Now()
	pace := herdWithin / time.Duration(h.signOns)
	for n, conn := range conns {
		var mine []int // the sign-ons n, n+sessions, ...
		for i := n; i < h.signOns; i += len(conns) {
			mine = append(mine, i)
		}
		conn.SetDeadline(began.Add(txn.PatienceDefault + herdWithin))
		sent := make([]atomic.Int64, len(mine))
		go func() {
			for j, i := range mine {
				due := began.Add(pace * time.Duration(i))
				time.Sleep(time.Until(due))
				frame, err := signOnFrame(h.sellers+i, uint32(j+1))
				sent[j].Store(int64(due.Sub(began)))
				if err == nil {
					_, err = conn.Write(frame)
				}
				if err != nil {
					conn.Close() // its reader says so
					return
				}
			}
		}()
		go func() {
			var got reply
			r := bufio.NewReader(conn)
			var m iso.Message
			for range mine {
				body, err := peek(r)
				if err == nil {
					err = cupPOS.Parse(&m, body)
				}
				if err != nil {
					got.err = fmt.Errorf("wait for a sign-on's answer: %w", err)
					break
				}
				stan, _ := m.Uint(11)
				if j := int(stan) - 1; j >= 0 && j < len(mine) {
					got.took = max(got.took, time.Since(began)-time.Duration(sent[j].Load()))
				}
				if m.MTI() != 0x0810 || string(m.Value(39)) != "00" || len(m.Value(62)) != 40 {
					got.refused++
				}
				r.Discard(prefixSize + len(body))
			}
			replies <- got
		}()
	}
	var errs []error
	for range conns {
		got := <-replies
		slowest, refused = max(slowest, got.took), refused+got.refused
		if got.err != nil {
			errs = append(errs, got.err)
		}
	}
	if len(errs) > 0 {
		err = fmt.Errorf("%d sessions of the herd failed, one with: %w", len(errs), errs[0])
	}
	return slowest, refused, err
}

// signOnFrame is the sign-on of terminal n for double-length keys.
func signOnFrame(n int, stan uint32) ([]byte, error) {
	e := cupPOS.Begin(nil, []byte("\x60\x00\x03\x00\x00"), []byte("\x60\x31\x00\x31\x00\x00"), 0x0800)
	e.Digits(11, fmt.Appendf(nil, "%06d", stan))
	e.Text(41, []byte(terminalID(n)))
	e.Text(42, []byte(merchantID(n)))
	e.Digits(60, []byte("00000001003"))
	e.Text(63, []byte("001"))
	return e.Finish()
}
