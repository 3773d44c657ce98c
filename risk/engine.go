// Package risk decides whether this terminal may do this for this merchant,
// here, now, for this amount, and keeps count of what was allowed.
//
// Assess is a decision, not a conversation: no I/O, no clock, no allocation.
// What it needs arrives in the request: the registered terminal and merchant
// (nil is unknown), the business day, the instant of reception. A refusal is a
// value with a name; where several rules are broken the first in the order of
// the txn.Reason constants is told.
//
// An approved sale has already reserved its use of the limits of the day and the
// month, for the terminal, the merchant, the card and the merchant's person: all of
// it or nothing. Concurrent requests never pass a limit together, and a refused one
// never takes room from another. Each use is then settled by exactly one of Confirm
// and Release, and a confirmed one may end by Undo.
//
// Rules about the recent past (Window, Patterns) learn each request once it is
// decided, with its outcome. They are no limits: requests that are in flight side by
// side do not see each other.
//
// Not promised: durability. After a start the caller rebuilds the counters with
// Restore, the month with Recall and LoadMonth, and the windows with Learn, from
// the records of the days that are kept. Days and months before the previous one
// are forgotten: their limits bind nobody any more.
package risk

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// CardsPerDayDefault is Config.CardsPerDayMax when it is zero. Counters of so
// many cards take about 1.1 GB a day.
const CardsPerDayDefault = 20_000_000

// Config is what an Engine decides by, besides the registry.
type Config struct {
	// Policy is in force until SetPolicy; nil is DefaultPolicy.
	Policy *Policy
	// SkipCheckDigit admits card numbers whose Luhn digit is wrong.
	SkipCheckDigit bool
	// Zone is where cards expire: at the end of their month by the calendar
	// there, not by the business day, which may be an hour ahead. Nil is UTC.
	Zone *time.Location
	// CardsPerDayMax bounds the memory of card counters: a card beyond it is
	// refused as SwitchIsOverloaded, cards already counted go on.
	CardsPerDayMax int
	// CardsPerMonthMax is how many cards are counted by month; 0 is none, and then
	// no policy may limit a card's month.
	CardsPerMonthMax int
	// Unknown are facts that requests do not say of themselves, as those do not
	// which are made of records: own rules find them not known.
	Unknown []rules.Fact
}

// Engine makes the decisions. It is safe for concurrent use.
type Engine struct {
	// Immutable after New.
	skipCheckDigit bool
	zone           *time.Location
	cardsMax       int64
	cardsMonthMax  int64
	unknown        []rules.Fact

	// rules is the policy in force: a request is held to the one it found.
	rules atomic.Pointer[rulebook]

	recent *recent // of decided requests; has locks of its own
	watch  atomic.Pointer[WatchList]

	days, months calendar
	trails       trails

	desks     sync.Pool // of *desk
	flights   [flightsApart]flights
	unmatched atomic.Uint64
}

// flights counts the uses in flight of some terminals, on a cache line of its own:
// each decision changes one twice, which would take from all others what lies beside.
type flights struct {
	_ [56]byte
	n atomic.Int64
	_ [56]byte
}

const flightsApart = 16

// flightsOf is where a hold's flight is counted.
func (e *Engine) flightsOf(h *txn.Hold) *atomic.Int64 {
	return &e.flights[h.Terminal[len(h.Terminal)-1]%flightsApart].n
}

// desk is where one request is judged: memory that stays and is in the caches, where
// each session's stack would be made larger by it, and is cold.
type desk struct {
	judgement
	room [needsMax]need
}

// New checks cfg and returns an engine with empty counters.
func New(cfg Config) (*Engine, error) {
	if cfg.CardsPerDayMax < 0 {
		return nil, fmt.Errorf("set up risk: CardsPerDayMax is %d, give a positive number or 0 for %d", cfg.CardsPerDayMax, CardsPerDayDefault)
	}
	if cfg.CardsPerMonthMax < 0 {
		return nil, fmt.Errorf("set up risk: CardsPerMonthMax is %d, give a positive number or 0 to count no card by month", cfg.CardsPerMonthMax)
	}
	e := &Engine{skipCheckDigit: cfg.SkipCheckDigit, zone: cfg.Zone, cardsMax: int64(cfg.CardsPerDayMax), cardsMonthMax: int64(cfg.CardsPerMonthMax), unknown: cfg.Unknown}
	if e.zone == nil {
		e.zone = time.UTC
	}
	e.desks.New = func() any { return new(desk) }
	if e.cardsMax == 0 {
		e.cardsMax = CardsPerDayDefault
	}
	e.recent, e.trails = newRecent(e.zone, int(e.cardsMax)), trails{makeRows[trail]()}
	p := DefaultPolicy()
	if cfg.Policy != nil {
		p = *cfg.Policy
	}
	if err := e.SetPolicy(p); err != nil {
		return nil, fmt.Errorf("set up risk: %w", err)
	}
	return e, nil
}

// Assess decides on req. When the verdict is Approved and req.Kind.Limits is
// Debit, the use HoldOf(req) is reserved and in flight until Confirm or Release.
// What has happened at a terminal already is counted and meets no limit.
func (e *Engine) Assess(req *txn.Request) txn.Verdict { return e.assess(req, nil) }

// assess is Assess. Unless sink is nil, it also writes down there what it looks at.
func (e *Engine) assess(req *txn.Request, sink *Explanation) txn.Verdict {
	d := e.desks.Get().(*desk)
	defer e.desks.Put(d)
	j := &d.judgement
	*j = judgement{rulebook: e.rules.Load(), sink: sink}
	j.v.Findings.Policy = j.policy.Number
	sink.reach(byItself)
	if !j.check(e, req) {
		return j.v
	}
	j.lookBack(e, req)
	sink.reach(byThePast)
	if j.past(e, req) {
		return j.v
	}
	sink.reach(byOwnRules)
	if j.ownRules(e, req) || req.Kind.Limits() != txn.Debit {
		return j.v
	}
	sink.reach(byLimits)
	e.use(d, req)
	return j.v
}

// use reserves what req uses of its limits, or refuses it.
func (e *Engine) use(j *desk, req *txn.Request) {
	needs := j.limitsOf(req, j.room[:])
	if j.overTransaction(needs, req.Amount.Minor) {
		j.sink.limits(needs, req.Amount.Minor)
		return
	}
	d := e.days.open(req.Day, e.cardsMax, true)
	if d == nil { // no day at all, or one that is forgotten: nothing to count on
		j.v.Reason = txn.SwitchFailed
		return
	}
	h := HoldOf(req)
	reserved := j.reserve(d, e.months.open(monthOf(req.Day), e.cardsMonthMax, true), &h, needs)
	j.sink.limits(needs, req.Amount.Minor)
	if reserved {
		e.flightsOf(&h).Add(1)
	}
}

// HoldOf is the use of limits that Assess reserves for req.
func HoldOf(req *txn.Request) txn.Hold {
	return txn.Hold{Card: req.CardToken, Terminal: req.Terminal.ID, Merchant: req.Acceptor.ID, Day: req.Day,
		Identity: req.Acceptor.Identity, Minor: req.Amount.Minor, Currency: req.Amount.Currency, Method: req.Method(), CardType: req.CardType}
}

// Confirm ends the flight of a reserved use that stands: its request was
// approved, or nobody knows and a reversal is owed.
func (e *Engine) Confirm(h txn.Hold) { e.flightsOf(&h).Add(-1) }

// Release ends the flight of a reserved use that is given back: its request
// was refused or certainly never sent. It counts for the hold's own day, also
// after cut-over.
func (e *Engine) Release(h txn.Hold) {
	e.giveBack(h)
	e.flightsOf(&h).Add(-1)
}

// Undo gives back a use that stood: its transaction was reversed.
func (e *Engine) Undo(h txn.Hold) { e.giveBack(h) }

// Restore counts, without comparing it to any limit, a use that stood before
// the start. The limits may have been lowered since; the use is a fact.
func (e *Engine) Restore(h txn.Hold) {
	if d := e.days.open(h.Day, e.cardsMax, false); d != nil {
		d.add(&h, txn.Debit)
	}
	e.Recall(h, txn.Debit)
}

// Recall is Restore, or Undo, in the counters of the month alone: for uses on a day
// that the journal no longer has whole.
func (e *Engine) Recall(h txn.Hold, effect txn.Effect) {
	if effect == txn.NoEffect {
		return
	}
	if m := e.months.open(monthOf(h.Day), e.cardsMonthMax, false); m != nil {
		m.add(&h, effect)
	}
}

// LoadMonth counts in the month of a day what each yields: the use before the
// start that was not restored. From then on the month is whole; until then its
// limits bind by what is counted. An error of each leaves the month as it was.
func (e *Engine) LoadMonth(day txn.Date, each func(add func(Cell, Use)) error) error {
	m := e.months.open(monthOf(day), e.cardsMonthMax, false)
	if m == nil {
		return nil // over and forgotten
	}
	type use struct {
		party int
		key   key
		use   Use
	}
	var uses []use
	err := each(func(c Cell, u Use) {
		if i := indexOf(c.Scope); i >= 0 && i < scopes && m.counts[i] {
			uses = append(uses, use{i, makeKey(c.ID, c.Currency, c.Method, c.CardType), u})
		}
	})
	if err != nil {
		return err
	}
	for i := range uses {
		m.put(uses[i].party, &uses[i].key, uses[i].use)
	}
	m.whole.Store(true)
	return nil
}

// Learn takes note of a decided request, for the rules about the recent past. It
// is called for every outcome once, when it is durable, and at start for those of
// the day before: a day is as long as any window. CardsAtTerminal and
// AmountAtTerminal are counted only while an own rule of the policy asks for them.
func (e *Engine) Learn(rec *txn.Record) {
	if rec.Kind == txn.RecordOutcome {
		b := e.rules.Load()
		e.recent.learn(rec, &b.policy.Patterns.Near, b.counted)
		e.trails.learn(rec)
	}
}

// Forgotten is how often something was forgotten of the recent past before its time, for
// there was more of it than Config lets the engine keep: its windows begin anew.
func (e *Engine) Forgotten() uint64 { return e.recent.forgotten() }

// InFlight is how many uses are reserved and neither confirmed nor released.
// It is zero when the switch is idle.
func (e *Engine) InFlight() (n int64) {
	for i := range e.flights {
		n += e.flights[i].n.Load()
	}
	return n
}

// Unmatched counts the uses given back that were not counted: zero unless the
// caller gave something back twice. Counters stop at zero rather than lend.
func (e *Engine) Unmatched() uint64 { return e.unmatched.Load() }

// Days lists the business days that have counters, oldest first.
func (e *Engine) Days() []txn.Date { return e.days.list(func(*period) bool { return true }) }

// Months lists the months that are counted whole, by their first days.
func (e *Engine) Months() []txn.Date {
	ms := e.months.list(func(p *period) bool { return p.whole.Load() })
	for i := range ms {
		ms[i] = ms[i]*100 + 1
	}
	return ms
}

// Usage walks the counters of a day that are not zero, in no order. It copies
// a small part at a time, so requests go on meanwhile: exact at quiescence,
// else each counter is right for some instant of the walk.
func (e *Engine) Usage(day txn.Date) iter.Seq2[Cell, Use] { return e.days.usage(day) }

// MonthUsage is Usage of the month of a day.
func (e *Engine) MonthUsage(day txn.Date) iter.Seq2[Cell, Use] { return e.months.usage(monthOf(day)) }

// UsageOf is what p has used on a day.
func (e *Engine) UsageOf(day txn.Date, p Party) Use { return e.days.useOf(day, p) }

// MonthUsageOf is what p has used in the month of a day.
func (e *Engine) MonthUsageOf(day txn.Date, p Party) Use {
	return e.months.useOf(monthOf(day), p)
}

func (e *Engine) giveBack(h txn.Hold) {
	if !giveBack(e.days.kept(h.Day), e.months.open(monthOf(h.Day), e.cardsMonthMax, false), &h) {
		e.unmatched.Add(1)
	}
}

// monthOf is a date without its day.
func monthOf(d txn.Date) txn.Date { return d / 100 }

// calendar keeps the counters of the running period and of the one before, whose
// late refusals and reversals still come in after its end. It is read without a
// lock; mu serialises the opening of a period.
type calendar struct {
	periods [periodsKept]atomic.Pointer[period]
	mu      sync.Mutex
}

const periodsKept = 2

// kept is the counters of a period, nil when it has none.
func (c *calendar) kept(date txn.Date) *period {
	for i := range c.periods {
		if p := c.periods[i].Load(); p != nil && p.date == date {
			return p
		}
	}
	return nil
}

// open is kept that makes room for a new period by forgetting the oldest. It is
// nil for one older than all that are kept. Whoever still holds the forgotten
// one writes into counters that nobody reads again. A new one is whole if it
// begins with this.
func (c *calendar) open(date txn.Date, cardsMax int64, begins bool) *period {
	if p := c.kept(date); p != nil {
		return p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.kept(date); p != nil {
		return p
	}
	oldest, oldestDate := 0, ^txn.Date(0)
	for i := range c.periods {
		var kept txn.Date
		if p := c.periods[i].Load(); p != nil {
			kept = p.date
		}
		if kept < oldestDate {
			oldest, oldestDate = i, kept
		}
	}
	if date <= oldestDate {
		return nil
	}
	p := newPeriod(date, cardsMax)
	p.whole.Store(begins)
	c.periods[oldest].Store(p)
	return p
}

func (c *calendar) list(which func(*period) bool) (ds []txn.Date) {
	for i := range c.periods {
		if p := c.periods[i].Load(); p != nil && which(p) {
			ds = append(ds, p.date)
		}
	}
	slices.Sort(ds)
	return ds
}

func (c *calendar) usage(date txn.Date) iter.Seq2[Cell, Use] {
	return func(yield func(Cell, Use) bool) {
		if p := c.kept(date); p != nil {
			p.walk(yield)
		}
	}
}

func (c *calendar) useOf(date txn.Date, of Party) Use {
	if p := c.kept(date); p != nil {
		return p.use(of)
	}
	return Use{}
}
