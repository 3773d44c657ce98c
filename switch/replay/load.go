package replay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// LoadOptions are where a load goes and who makes it.
type LoadOptions struct {
	Name       string // of the profile, for the report
	Addr       string
	TLS        *tls.Config // nil: plain
	Identities []Identity  // the terminals that ask, at least one
	// Keys are their test master keys by DE41, "" for every other, and PIN the test
	// PIN of every card: of a profile with MACs and PINs.
	Keys     map[string]Key
	PIN      txn.Secret
	Progress func(Progress)
}

// Load is what a Report says of a generated load, in addition to what it says of any
// traffic.
type Load struct {
	Wrong    int     `json:"wrong"`   // answers whose code is not right
	Silent   int     `json:"silent"`  // requests without an answer in time
	Broken   int     `json:"broken"`  // sessions that the host ended or that could not be opened
	Repeats  int     `json:"repeats"` // requests sent twice
	Halves   int     `json:"halves"`  // half frames
	Undone   int     `json:"undone"`  // reversals of what was not answered
	Keyless  int     `json:"keyless"` // terminals that got no working keys, and asked nothing
	Trials   []Trial `json:"trials,omitempty"`
	Capacity float64 `json:"capacity,omitempty"` // the highest good rate of a search, requests a second
	// Stages are means of the host's own stages, where its metrics were asked.
	Stages []StageTime `json:"stages,omitempty"`
}

// Trial is one rate of a search.
type Trial struct {
	Rate     float64       `json:"rate"`
	Answered float64       `json:"answered"` // a second
	P99      time.Duration `json:"p99_ns"`
	Errors   int           `json:"errors"`
	Good     bool          `json:"good"`
	Why      string        `json:"why,omitempty"` // not
}

// Found is what a search found, and what ended it there, in a sentence.
func (l *Load) Found() string {
	found := "No rate was good"
	if l.Capacity > 0 {
		found = fmt.Sprintf("The highest good rate is %.0f/s", l.Capacity)
	}
	var bad *Trial // the lowest
	for i := range l.Trials {
		if t := &l.Trials[i]; !t.Good && (bad == nil || t.Rate < bad.Rate) {
			bad = t
		}
	}
	switch {
	case bad == nil:
		return found + "; no higher one was tried."
	case l.Capacity == 0:
		return fmt.Sprintf("%s; no lower one than %.0f/s was tried: %s.", found, bad.Rate, bad.Why)
	}
	return fmt.Sprintf("%s; at %.0f/s: %s.", found, bad.Rate, bad.Why)
}

// Errors are answers that were wrong, and those that did not come.
func (l *Load) Errors() int { return l.Wrong + l.Silent + l.Broken }

// RunLoad makes a load. The report is whole also with an error.
//
// Each session has a writer, which sends what is due in batches, and a reader beside
// it: requests go out when they are due however slow the answers are, and latency counts
// from when a request was due.
func RunLoad(ctx context.Context, p *Profile, o LoadOptions) (*Report, error) {
	all, err := enlist(p, &o)
	if err != nil {
		return newTally().report(0), err
	}
	if err := knock(ctx, map[string]string{"": o.Addr}, o.TLS); err != nil {
		g := newGenerator(p, &o, all)
		g.tally.problem(err.Error())
		return g.report(0), err
	}
	if p.SignOn == nil || *p.SignOn {
		all.signOn(ctx, p, &o)
	}
	if len(all.able()) == 0 {
		g, err := newGenerator(p, &o, all), ctx.Err()
		g.tally.problem("no terminal got working keys: nothing can be asked with a MAC")
		if err == nil && !all.heard {
			err = fmt.Errorf("%w: the host has answered no sign-on", ErrGivenUp)
		}
		return g.report(0), err
	}
	if p.Search == nil {
		return newGenerator(p, &o, all).run(ctx)
	}
	return search(ctx, p, &o, all)
}

// searchTo is at how small a ratio of the lowest bad to the highest good rate a search
// ends.
const searchTo = 1.05

// search looks for the highest good rate. The report is that of the last good
// trial, or of the first if there is none.
func search(ctx context.Context, p *Profile, o *LoadOptions, all *roster) (*Report, error) {
	var best, last *Report
	var trials []Trial
	try := func(rate float64) (bool, error) {
		one := *p
		one.Search, one.Arrivals = nil, []Stretch{{For: p.Search.Within, Rate: rate}}
		g := newGenerator(&one, o, all)
		g.trial = rate
		r, err := g.run(ctx)
		last = r
		t := Trial{Rate: rate, Answered: r.PerSecond, P99: r.Latency.P99, Errors: r.Load.Errors()}
		switch {
		case err != nil:
			t.Why = err.Error()
		case t.Errors > 0:
			t.Why = fmt.Sprintf("%d errors", t.Errors)
		case t.P99 > p.Search.P99 && r.Service.P99 <= p.Search.P99:
			t.Why = fmt.Sprintf("the sender was late by %v: it is the limit, not the host", r.Lag.P99)
		case t.P99 > p.Search.P99:
			t.Why = "p99 is too long"
		case r.Answered == 0:
			t.Why = "no request was due"
		}
		if t.Good = t.Why == ""; t.Good {
			best = r
		}
		trials = append(trials, t)
		if errors.Is(err, ErrGivenUp) && best != nil {
			err = nil // an overload that silences the host is a bad trial
		}
		return t.Good, err
	}
	low, high := 0.0, 0.0
	var err error
	for rate := p.Search.From; err == nil && high == 0; rate = min(2*rate, p.Search.To) {
		var good bool
		if good, err = try(rate); good {
			if low = rate; rate >= p.Search.To {
				break
			}
		} else {
			high = rate
		}
	}
	for err == nil && low > 0 && high > low*searchTo {
		rate := (low + high) / 2
		var good bool
		if good, err = try(rate); good {
			low = rate
		} else {
			high = rate
		}
	}
	r := cmp.Or(best, last)
	if r == nil {
		return newTally().report(0), err
	}
	r.Pace, r.Load.Trials, r.Load.Capacity = p.pace(), trials, low
	return r, err
}

// Limits of a generator.
const (
	slotsMax     = 1 << 17 // requests in flight, on all sessions
	slotsLeast   = 1 << 8  // and on one
	preparedMax  = 1 << 13 // messages that are made beforehand, of all sessions
	writeMax     = 32 << 10
	slotLeast    = 300 * time.Microsecond // what is due within that goes out in one write
	slotMost     = time.Millisecond       // at high rates, within that
	approvedMax  = 64                     // approvals that voids may be of, a session
	samplesMax   = 256
	halvesMax    = 64
	restAfter    = time.Second // a host that says nothing for that long owes no late answers
	redialEvery  = 200 * time.Millisecond
	sweepEvery   = 100 * time.Millisecond
	loadGiveUpAt = 3 // times Patience without any answer
)

// generator makes one load.
type generator struct {
	p       *Profile
	o       *LoadOptions
	d       *dialect.Terminal
	tally   *tally
	load    Load // guarded by tally.mu
	right   map[string]bool
	began   time.Time
	clock   *clock
	lanes   []*lane
	trial   float64 // the rate that a search tries with it, else 0
	giveUp  context.CancelCauseFunc
	over    atomic.Bool // nothing more is due
	waiting atomic.Int64
	halves  chan struct{} // taken by half frames on their way
	halving sync.WaitGroup
}

func newGenerator(p *Profile, o *LoadOptions, all *roster) *generator {
	g := &generator{p: p, o: o, d: all.d, tally: newTally(), right: map[string]bool{}, halves: make(chan struct{}, halvesMax)}
	for _, code := range p.Right {
		g.right[code] = true
	}
	able := all.able()
	sessions := min(p.Sessions, len(able))
	for i := range sessions {
		l := &lane{g: g, number: i, gap: float64(i) / float64(sessions), rng: rand.New(rand.NewPCG(uint64(i), 1)), named: map[txn.TerminalID]*member{}}
		for n := i; n < len(able); n += sessions {
			able[n].place, able[n].flights = len(l.members), nil
			l.members = append(l.members, able[n])
			l.named[able[n].Terminal] = able[n]
		}
		slots := max(slotsLeast, slotsMax/sessions)
		if p.Closed != nil {
			slots = max(slotsLeast, 2*len(l.members))
		}
		l.slots = make([]slot, slots)
		for i := range l.slots {
			l.free = append(l.free, &l.slots[i])
		}
		g.lanes = append(g.lanes, l)
	}
	g.tally.r.Capture, g.tally.r.Pace, g.tally.r.Targets, g.tally.r.Began = o.Name, p.pace(), []string{o.Addr}, time.Now().UTC()
	g.tally.r.Terminals, g.tally.r.SignOns, g.load.Keyless = len(able), all.signOns, len(all.members)-len(able)
	for _, problem := range all.problems() {
		g.tally.problem(problem)
	}
	return g
}

// run makes the load and reports.
func (g *generator) run(outer context.Context) (*Report, error) {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	g.giveUp = cancel
	for _, l := range g.lanes {
		if err := l.dial(ctx); err != nil {
			for _, l := range g.lanes {
				l.hangUp()
			}
			err = unreachable(err)
			g.tally.problem(err.Error())
			return g.report(0), err
		}
	}
	if err := g.prepare(); err != nil {
		for _, l := range g.lanes {
			l.hangUp()
		}
		g.tally.problem(err.Error())
		return g.report(0), err
	}
	g.began = time.Now()
	g.tally.r.Began, g.tally.answered = g.began.UTC(), g.began
	g.clock = newClock(g.began, len(g.lanes), g.slot)
	var writing, reading, sweeping sync.WaitGroup
	for _, l := range g.lanes {
		writing.Go(func() { l.write(ctx) })
		reading.Go(func() { l.read(ctx) })
	}
	done, written := make(chan struct{}), make(chan struct{})
	sweeping.Go(func() { g.sweep(ctx, done) })
	sweeping.Go(func() { g.clock.run(written) })
	writing.Wait()
	close(written)
	g.over.Store(true)
	for late := time.Now().Add(g.p.Patience + time.Second); g.waiting.Load() > 0 && ctx.Err() == nil && time.Now().Before(late); {
		terminal.Pause(ctx, time.Millisecond)
	}
	took := time.Since(g.began)
	close(done)
	sweeping.Wait()
	err := context.Cause(ctx)
	cancel(nil)
	if g.trial > 0 {
		g.rest(outer)
	}
	for _, l := range g.lanes {
		l.hangUp()
	}
	reading.Wait()
	for _, l := range g.lanes {
		l.lose() // of a load that was given up
	}
	g.halving.Wait()
	if err != nil {
		g.tally.problem(err.Error())
	}
	return g.report(took), err
}

// rest lets the host answer what it was asked in vain: the next trial is not to pay for
// it. What a rate of up to twice the host's best left over takes it as long again.
func (g *generator) rest(ctx context.Context) {
	end, quiet, before := time.Now().Add(g.p.lasts()), time.Duration(0), -1
	for quiet < restAfter && time.Now().Before(end) {
		g.tally.mu.Lock()
		late, silent := g.tally.r.Strays, g.load.Silent
		g.tally.mu.Unlock()
		if quiet += sweepEvery; late != before {
			before, quiet = late, 0
		}
		if silent == 0 || terminal.Pause(ctx, sweepEvery) != nil {
			return
		}
	}
}

// slot is for how long requests that become due are gathered into one write, at a moment
// of the load. A wake-up with its writes and reads costs much more than a request, so
// from 30,000 requests a second on the slot grows with the rate, up to slotMost.
func (g *generator) slot(at time.Duration) time.Duration {
	rate, _ := g.p.rate(at)
	return min(max(slotLeast, time.Duration(rate*10)), slotMost)
}

func (g *generator) report(took time.Duration) *Report {
	r := g.tally.report(took)
	load := g.load
	r.Load = &load
	return r
}

// sweep gives up on what was not answered in time, and on a host that answers
// nothing more.
func (g *generator) sweep(ctx context.Context, done chan struct{}) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Since(g.began)
		for _, l := range g.lanes {
			l.expire(now)
		}
		g.tally.mu.Lock()
		quiet, silent := time.Since(g.tally.answered), g.load.Silent
		progress := Progress{g.tally.r.Sent, g.tally.r.Answered, g.load.Errors(), g.tally.r.Requests, now, g.trial}
		g.tally.mu.Unlock()
		if limit := loadGiveUpAt * g.p.Patience; quiet > limit && silent >= loadGiveUpAt {
			g.giveUp(fmt.Errorf("%w: the host has answered nothing in time for %s", ErrGivenUp, limit))
		}
		if g.o.Progress != nil {
			g.o.Progress(progress)
		}
	}
}

// draws are a profile's distributions.
type draws struct {
	p         *Profile
	kinds     []txn.Kind
	kind      chooser
	instead   chooser // of what there is to void
	prefixes  []string
	prefix    chooser
	card      chooser
	terminals Spread
}

func newDraws(p *Profile) *draws {
	d := &draws{p: p, card: p.Cards.over(p.Cards.Count), terminals: p.Terminals}
	var weights []float64
	for _, name := range sortedKeys(p.Mix) {
		k, _ := txn.ParseKind(name)
		d.kinds, weights = append(d.kinds, k), append(weights, p.Mix[name])
	}
	d.kind = choose(weights)
	if i := slices.Index(d.kinds, txn.KindVoid); i >= 0 {
		weights[i] = 0
	}
	d.instead, weights = choose(weights), nil
	d.prefixes = sortedKeys(p.Cards.Prefixes)
	for _, prefix := range d.prefixes {
		weights = append(weights, p.Cards.Prefixes[prefix])
	}
	d.prefix = choose(weights)
	return d
}

// prepare makes the messages, all lanes at once.
func (g *generator) prepare() error {
	d := newDraws(g.p)
	var preparing sync.WaitGroup
	failed := make(chan error, len(g.lanes))
	for _, l := range g.lanes {
		preparing.Go(func() {
			if err := l.prepare(d); err != nil {
				failed <- err
			}
		})
	}
	preparing.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// half sends half a frame over a connection of its own and hangs up. It does nothing
// while halvesMax are under way.
func (g *generator) half(frame []byte) {
	select {
	case g.halves <- struct{}{}:
	default:
		return
	}
	g.halving.Go(func() {
		defer func() { <-g.halves }()
		conn, err := transport.Dial(context.Background(), g.o.Addr, g.d, g.o.TLS, dialTimeout)
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(dialTimeout))
		if _, err := conn.Write(frame); err == nil {
			g.tally.mu.Lock()
			g.load.Halves++
			g.tally.mu.Unlock()
		}
	})
}
