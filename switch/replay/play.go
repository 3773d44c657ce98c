package replay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Options are how a capture is played.
type Options struct {
	// Name of the capture, for the report.
	Name string
	// Addrs are the hosts' addresses by dialect; "" is for every other.
	Addrs map[string]string
	// TLS secures the sessions with every host; nil: they are plain.
	TLS *tls.Config
	// Reference are the addresses of a second host, likewise, against which the
	// capture is played at the same time. What it answers is expected then, in place
	// of what was recorded. Empty: none.
	Reference map[string]string
	// Speed is how much faster than recorded: 1 keeps the pauses. Zero is as fast
	// as the answers come. It is not used with Rate.
	Speed float64
	// Rate is requests a second for all terminals together, whatever the host
	// does. Zero: Speed.
	Rate float64
	// Terminals is how many terminals play, those of the capture again and again.
	// Zero: those of the capture.
	Terminals int
	// Identities are who the copies are: the first copy's terminals are the first
	// ones, if there are any. Else a copy's terminals continue the numbers behind
	// the capture's highest.
	Identities []Identity
	// Keys are the terminals' test keys by DE41; "" is for every other.
	Keys map[string]Key
	// PIN is the test PIN that goes into every PIN block.
	PIN txn.Secret
	// STAN is the first trace number of each terminal. Zero takes the clock's.
	STAN uint32
	// Patience is how long a terminal waits for an answer. Default 20 s.
	Patience time.Duration
	Rules    Rules
	// Max stops after so many requests of the capture. Zero: all.
	Max int
	// Progress, when given, is called about every 100 ms from one goroutine.
	Progress func(Progress)
}

// Identity is a terminal of the host's.
type Identity struct{ Terminal, Merchant string }

// Key is a terminal's test master key, and what it needs to sign on.
type Key struct {
	TMK    txn.Secret
	Serial string
	Set    keys.KeySet
	MAC    algo.MACAlgorithm // 0: UnionPay's
	// Initial is a DUKPT terminal's, which is not replayed: a recording has no
	// place for its serial numbers.
	Initial terminal.InitialKey
}

// Progress is how far a replay is.
type Progress struct {
	Sent, Answered, Differ, Total int
	Elapsed                       time.Duration // of a search: of this trial
	Rate                          float64       // that a search tries; 0: no search
}

// Limits of a replay.
const (
	// queuedMax is how many requests may wait for their terminals to be ready.
	queuedMax = 1 << 14
	// terminalsMax bounds Options.Terminals.
	terminalsMax = 1 << 20
	// silenceTimes is after how many times Patience without any answer, and after
	// how many requests that should have one, a replay is given up.
	silenceTimes = 3
	// silentWait is how long a request that was not answered in the capture is
	// waited for at most.
	silentWait = 5 * time.Second
	// refusalsMax is how many requests in a row may find no session before a
	// replay is given up.
	refusalsMax = 100
)

// ErrGivenUp is why a replay or a load ended early; the report says the same.
var ErrGivenUp = errors.New("given up")

// Run plays what is left of the capture. The report is whole also with an error.
func Run(ctx context.Context, in *capture.Reader, index *capture.Index, o Options) (*Report, error) {
	o.Patience = cmp.Or(o.Patience, txn.PatienceDefault/3)
	p := &player{o: o, index: index, tally: newTally(), compare: o.Rules.comparison(), terminals: map[string]*actor{}, links: map[linkKey]*link{}, places: make(chan struct{}, queuedMax)}
	p.tally.r.Capture, p.tally.r.Pace = o.Name, o.pace()
	p.tally.r.Targets, p.tally.r.Reference = listedTargets(o.Addrs), listedTargets(o.Reference)
	if err := p.plan(); err != nil {
		return p.tally.report(0), err
	}
	p.began = time.Now()
	p.tally.r.Began = p.began.UTC()
	err := knock(ctx, o.Addrs, o.TLS)
	if err == nil {
		err = knock(ctx, o.Reference, o.TLS)
	}
	if err != nil {
		p.tally.problem(err.Error())
		return p.tally.report(0), err
	}
	p.tally.answered = p.began
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.giveUp = cancel
	watching := p.watch(ctx)
	err = p.deal(ctx, in)
	p.playing.Wait()
	cancel(nil)
	watching.Wait()
	for _, l := range p.links {
		l.close()
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrGivenUp) {
		err = cause
	}
	if err != nil {
		p.tally.problem(err.Error())
	}
	return p.tally.report(time.Since(p.began)), err
}

func listedTargets(addrs map[string]string) (all []string) {
	for _, name := range sortedKeys(addrs) {
		all = append(all, strings.TrimPrefix(name+"="+addrs[name], "="))
	}
	return all
}

// address is where sessions of a dialect go, empty when nobody said.
func (p *player) address(reference bool, dialect string) string {
	addrs := p.o.Addrs
	if reference {
		addrs = p.o.Reference
	}
	return cmp.Or(addrs[dialect], addrs[""])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (o *Options) pace() string {
	switch {
	case o.Rate > 0:
		return fmt.Sprintf("open loop, %g requests a second", o.Rate)
	case o.Speed > 0:
		return fmt.Sprintf("%gx the recorded pace", o.Speed)
	}
	return "as fast as the answers come"
}

type linkKey struct {
	copy      int
	session   uint32
	reference bool
}

// player plays a capture.
type player struct {
	o       Options
	index   *capture.Index
	tally   *tally
	compare *comparison
	began   time.Time
	copies  int
	total   int            // requests to play, about so many where Max stops before the end
	numbers map[string]int // of the capture's terminals
	highest int64          // of them, as numbers
	giveUp  context.CancelCauseFunc
	playing sync.WaitGroup
	places  chan struct{} // taken by requests that are dealt and not done

	// mu guards the rest.
	mu        sync.Mutex
	terminals map[string]*actor
	links     map[linkKey]*link
	refusals  [2]int // in a row, the host's and the reference's
}

// plan works out the copies.
func (p *player) plan() error {
	p.numbers = map[string]int{}
	for _, t := range p.index.Terminals {
		if _, known := p.numbers[t.Terminal]; !known {
			p.numbers[t.Terminal] = len(p.numbers)
			p.highest = max(p.highest, digits([]byte(strings.TrimSpace(t.Terminal))))
		}
	}
	all := max(1, len(p.numbers))
	if p.o.Terminals > terminalsMax {
		return fmt.Errorf("%d terminals are more than %d", p.o.Terminals, terminalsMax)
	}
	p.copies = max(1, (p.o.Terminals+all-1)/all)
	if p.o.Terminals == 0 {
		p.o.Terminals = all
	}
	if n := len(p.o.Identities); n > 0 && n < p.o.Terminals {
		return fmt.Errorf("%d terminals are to play and %d identities are given", p.o.Terminals, n)
	}
	for _, t := range p.index.Terminals {
		p.total += t.Requests * ((p.o.Terminals - p.numbers[t.Terminal] + all - 1) / all)
	}
	if p.o.Max > 0 && p.o.Max < p.index.Requests {
		p.total = p.total * p.o.Max / p.index.Requests
	}
	return nil
}

// knock finds out whether a host can be reached at all.
func knock(ctx context.Context, addrs map[string]string, config *tls.Config) error {
	for _, name := range sortedKeys(addrs) {
		conn, err := transport.Dial(ctx, addrs[name], nil, config, dialTimeout)
		if err != nil {
			return unreachable(err)
		}
		conn.Close()
	}
	return nil
}

func unreachable(err error) error {
	return fmt.Errorf("%w: the host cannot be reached: %w", ErrGivenUp, err)
}

// watch gives up on a host that answers nothing any more, and shows progress.
func (p *player) watch(ctx context.Context) *sync.WaitGroup {
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				p.show()
				return
			case <-ticker.C:
				p.show()
				p.tally.mu.Lock()
				quiet := time.Since(p.tally.answered)
				timeouts := p.tally.timeouts
				p.tally.mu.Unlock()
				if limit := silenceTimes * p.o.Patience; timeouts >= silenceTimes && quiet > limit {
					p.giveUp(fmt.Errorf("%w: the host has answered nothing in time for %s", ErrGivenUp, limit))
				}
			}
		}
	})
	return &watching
}

func (p *player) show() {
	if p.o.Progress == nil {
		return
	}
	p.tally.mu.Lock()
	r := &p.tally.r
	now := Progress{r.Sent, r.Answered, r.Differ + r.Missing, p.total, time.Since(p.began), 0}
	p.tally.mu.Unlock()
	p.o.Progress(now)
}

// deal reads the capture and gives its requests to their terminals when they
// are due.
func (p *player) deal(ctx context.Context, in *capture.Reader) error {
	var first time.Time
	dealt := 0
	for n := 0; p.o.Max == 0 || n < p.o.Max; n++ {
		e, err := in.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if first.IsZero() {
			first = e.At
		}
		var m iso.Message
		if err := e.Session.Dialect.Parse(&m, e.Request); err != nil {
			return fmt.Errorf("message %d: %w", e.Number, err)
		}
		tid := string(m.AppendText(nil, 41))
		number := p.numbers[tid]
		addressed := p.address(false, e.Session.Dialect.Name) != "" && (len(p.o.Reference) == 0 || p.address(true, e.Session.Dialect.Name) != "")
		for c := range p.copies {
			if c*len(p.numbers)+number >= p.o.Terminals {
				continue
			}
			j := &job{exchange: e, copy: c}
			now := time.Now()
			switch {
			case p.o.Rate > 0:
				j.due = p.began.Add(time.Duration(float64(dealt) / p.o.Rate * 1e9))
			case p.o.Speed > 0:
				j.due = p.began.Add(time.Duration(float64(e.At.Sub(first)) / p.o.Speed))
			default:
				j.due = now
			}
			if err := sleep(ctx, j.due.Sub(now)); err != nil {
				return cmp.Or(context.Cause(ctx), err)
			}
			dealt++
			select {
			case p.places <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			p.tally.mu.Lock()
			p.tally.r.Requests++
			if !addressed {
				p.tally.r.NotPlayed++
				p.tally.problem("no address is given for sessions in " + e.Session.Dialect.Name)
			} else if p.o.Rate > 0 || p.o.Speed > 0 {
				record(p.tally.lag, time.Since(j.due))
			}
			p.tally.mu.Unlock()
			if !addressed {
				<-p.places
				continue
			}
			p.actor(c, number, tid, e).add(ctx, j)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 50*time.Microsecond {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// job is a request that is due.
type job struct {
	exchange *capture.Exchange
	copy     int
	due      time.Time
}

// actor finds or makes the terminal of a request.
func (p *player) actor(c, number int, tid string, e *capture.Exchange) *actor {
	name := fmt.Sprintf("%d/%s", c, tid)
	if strings.TrimSpace(tid) == "" {
		name = fmt.Sprintf("%d/session %d", c, e.Session.ID)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.terminals[name]
	if a != nil {
		return a
	}
	stan := p.o.STAN
	if stan == 0 {
		// A hundred numbers a second: what a run uses the next one does not.
		stan = uint32(p.began.UnixMilli() / 10 % txn.STANMax)
	} else {
		stan--
	}
	a = &actor{player: p}
	p.terminals[name] = a
	rw := rewriter{rules: &p.o.Rules.Rewrite, stan: stan}
	who := strings.TrimSpace(tid)
	switch place := c*len(p.numbers) + number; {
	case len(p.o.Identities) > 0:
		who = p.o.Identities[place].Terminal
		rw.terminal, rw.merchant = who, p.o.Identities[place].Merchant
	case c > 0:
		who = p.copyOf(tid, c)
		rw.terminal = who
	}
	var key *Key
	if k, ok := p.o.Keys[who]; ok {
		key = &k
	} else if k, ok := p.o.Keys[""]; ok {
		key = &k
	}
	a.sides = append(a.sides, &side{player: p, rewriter: rw, key: key})
	if len(p.o.Reference) > 0 {
		a.sides = append(a.sides, &side{player: p, rewriter: rw, key: key, reference: true})
	}
	p.tally.mu.Lock()
	p.tally.r.Terminals++
	p.tally.mu.Unlock()
	return a
}

// copyOf numbers a copy of a terminal: behind the highest of the capture's, as a
// number of as many digits.
func (p *player) copyOf(tid string, c int) string {
	size := len(tid)
	n := p.highest + int64((c-1)*len(p.numbers)+p.numbers[tid]) + 1
	s := fmt.Sprintf("%0*d", size, n)
	return s[len(s)-size:]
}

func (p *player) stray() {
	p.tally.mu.Lock()
	p.tally.r.Strays++
	p.tally.mu.Unlock()
}

// failed notes a request that could not be played: the host is side 0, the reference 1.
func (p *player) failed(side int, err error, sent bool) {
	if side == 1 {
		err = fmt.Errorf("the reference: %w", err)
	}
	p.tally.mu.Lock()
	p.tally.r.NotPlayed++
	if sent {
		p.tally.r.Sent++
	}
	if !errors.Is(err, context.Canceled) {
		p.tally.problem(err.Error())
	}
	p.tally.mu.Unlock()
	if errors.Is(err, errRefused) {
		p.mu.Lock()
		p.refusals[side]++
		enough := p.refusals[side] == refusalsMax
		p.mu.Unlock()
		if enough {
			p.giveUp(fmt.Errorf("%w: %d requests in a row found no session: %w", ErrGivenUp, refusalsMax, err))
		}
	}
}
