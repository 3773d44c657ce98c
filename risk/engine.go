// Package risk decides whether this terminal may do this for this merchant,
// here, now, for this amount, and keeps count of what was allowed.
//
// Assess is a decision, not a conversation: no I/O, no clock, no allocation.
// What it needs arrives in the request: the registered terminal and merchant
// (nil is unknown), the business day, the instant of reception. A refusal is a
// value with a name; where several rules are broken the first in the order of
// the txn.Reason constants is told.
//
// An approved sale has already reserved its use of the day's limits, for the
// terminal, the merchant and the card at once or not at all. Concurrent
// requests never pass a limit, and what Assess refuses never stands in the way
// of another request. Each use is then settled by exactly one of Confirm and
// Release, and a confirmed one may end by Undo.
//
// What was decided before, its outcome included, is learned for rules about the
// recent past: see Window and Patterns. They are no limits: requests that are in
// flight side by side do not see each other.
//
// Not promised: durability. After a start the caller rebuilds the counters with
// Restore and the windows with Learn, from the records of the days that are kept. Days before the
// previous one are forgotten: their limits bind nobody any more.
package risk

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// daysKept is how many business days have counters: the running one and the
// one before, whose late refusals and reversals still come in after cut-over.
const daysKept = 2

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
}

// Engine makes the decisions. It is safe for concurrent use.
type Engine struct {
	// Immutable after New.
	skipCheckDigit bool
	zone           *time.Location
	cardsMax       int64

	// rules is the policy in force: a request is held to the one it found.
	rules atomic.Pointer[rulebook]

	recent *recent // of decided requests; has locks of its own

	inFlight  atomic.Int64
	unmatched atomic.Uint64

	// days is read without a lock. mu serialises the opening of a day.
	days [daysKept]atomic.Pointer[day]
	mu   sync.Mutex
}

// New checks cfg and returns an engine with empty counters.
func New(cfg Config) (*Engine, error) {
	if cfg.CardsPerDayMax < 0 {
		return nil, fmt.Errorf("set up risk: CardsPerDayMax is %d, give a positive number or 0 for %d", cfg.CardsPerDayMax, CardsPerDayDefault)
	}
	e := &Engine{skipCheckDigit: cfg.SkipCheckDigit, zone: cfg.Zone, cardsMax: int64(cfg.CardsPerDayMax)}
	if e.zone == nil {
		e.zone = time.UTC
	}
	if e.cardsMax == 0 {
		e.cardsMax = CardsPerDayDefault
	}
	e.recent = newRecent(e.zone, int(e.cardsMax))
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
func (e *Engine) Assess(req *txn.Request) txn.Verdict {
	j := judgement{rulebook: e.rules.Load()}
	j.v.Findings.Policy = j.policy.Number
	if j.check(e, req) && !j.past(e.recent, req) && !j.ownRules(e, req) && req.Kind.Limits() == txn.Debit {
		e.use(&j, req)
	}
	return j.v
}

// use reserves what req uses of its limits, or refuses it.
func (e *Engine) use(j *judgement, req *txn.Request) {
	var limits [scopes]txn.Limits
	if !req.Kind.Told() {
		limits = j.limitsOf(req)
	}
	if v := overTransaction(&limits, req.Amount.Minor); v.Reason != txn.Approved && j.finds(ruleL02, v.Reason) {
		j.v.Scope, j.v.Limit, j.v.Used = v.Scope, v.Limit, v.Used
		return
	}
	d := e.openDay(req.Day)
	if d == nil { // no day at all, or one that is forgotten: nothing to count on
		j.v.Reason = txn.SwitchFailed
		return
	}
	h := HoldOf(req)
	v := d.reserve(&h, &limits)
	if v.Reason == txn.Approved {
		e.inFlight.Add(1)
		return
	}
	j.v.Reason, j.v.Scope, j.v.Limit, j.v.Used = v.Reason, v.Scope, v.Limit, v.Used
	switch v.Reason {
	case txn.DayAmountIsOverLimit:
		j.finds(ruleL03, v.Reason)
	case txn.DayCountIsOverLimit:
		j.finds(ruleL04, v.Reason)
	}
}

// HoldOf is the use of limits that Assess reserves for req.
func HoldOf(req *txn.Request) txn.Hold {
	return txn.Hold{Card: req.CardToken, Terminal: req.Holder.ID, Merchant: req.Owner.ID, Day: req.Day,
		Minor: req.Amount.Minor, Currency: req.Amount.Currency}
}

// Confirm ends the flight of a reserved use that stands: its request was
// approved, or nobody knows and a reversal is owed.
func (e *Engine) Confirm(txn.Hold) { e.inFlight.Add(-1) }

// Release ends the flight of a reserved use that is given back: its request
// was refused or certainly never sent. It counts for the hold's own day, also
// after cut-over.
func (e *Engine) Release(h txn.Hold) {
	e.giveBack(h)
	e.inFlight.Add(-1)
}

// Undo gives back a use that stood: its transaction was reversed.
func (e *Engine) Undo(h txn.Hold) { e.giveBack(h) }

// Restore counts, without comparing it to any limit, a use that stood before
// the start. The limits may have been lowered since; the use is a fact.
func (e *Engine) Restore(h txn.Hold) {
	if d := e.openDay(h.Day); d != nil {
		d.add(&h)
	}
}

// Learn takes note of a decided request, for the rules about the recent past. It
// is called for every outcome once, when it is durable, and at start for those of
// the day before: a day is as long as any window.
func (e *Engine) Learn(rec *txn.Record) {
	if rec.Kind == txn.RecordOutcome {
		e.recent.learn(rec, &e.rules.Load().policy.Patterns.Near)
	}
}

// Recent is what a window has counted when req asks. Its parties must be known.
func (e *Engine) Recent(w Window, req *txn.Request) int64 { return e.recent.count(w, req) }

// Forgotten counts what left a window before its time because there was too
// much at once: zero unless there are more cards than Config.CardsPerDayMax.
func (e *Engine) Forgotten() uint64 { return e.recent.forgotten() }

// InFlight is how many uses are reserved and neither confirmed nor released.
// It is zero when the switch is idle.
func (e *Engine) InFlight() int64 { return e.inFlight.Load() }

// Unmatched counts the uses given back that were not counted: zero unless the
// caller gave something back twice. Counters stop at zero rather than lend.
func (e *Engine) Unmatched() uint64 { return e.unmatched.Load() }

// Days lists the business days that have counters, oldest first.
func (e *Engine) Days() []txn.Date {
	var ds []txn.Date
	for i := range e.days {
		if d := e.days[i].Load(); d != nil {
			ds = append(ds, d.date)
		}
	}
	slices.Sort(ds)
	return ds
}

// Usage walks the counters of a day that are not zero, in no order. It copies
// a small part at a time, so requests go on meanwhile: exact at quiescence,
// else each counter is right for some instant of the walk.
func (e *Engine) Usage(date txn.Date) iter.Seq2[Party, Use] {
	return func(yield func(Party, Use) bool) {
		if d := e.keptDay(date); d != nil {
			d.walk(yield)
		}
	}
}

// UsageOf is what p has used on a day.
func (e *Engine) UsageOf(date txn.Date, p Party) Use {
	if d := e.keptDay(date); d != nil {
		return d.use(p)
	}
	return Use{}
}

func (e *Engine) giveBack(h txn.Hold) {
	if d := e.keptDay(h.Day); d != nil && !d.subtract(&h) {
		e.unmatched.Add(1)
	}
}

// keptDay is the counters of a day, nil when it has none.
func (e *Engine) keptDay(date txn.Date) *day {
	for i := range e.days {
		if d := e.days[i].Load(); d != nil && d.date == date {
			return d
		}
	}
	return nil
}

// openDay is keptDay that makes room for a new day by forgetting the oldest.
// It is nil for a day older than all that are kept. Whoever still holds the
// forgotten day writes into counters that nobody reads again.
func (e *Engine) openDay(date txn.Date) *day {
	if d := e.keptDay(date); d != nil {
		return d
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if d := e.keptDay(date); d != nil {
		return d
	}
	oldest, oldestDate := 0, ^txn.Date(0)
	for i := range e.days {
		var kept txn.Date
		if d := e.days[i].Load(); d != nil {
			kept = d.date
		}
		if kept < oldestDate {
			oldest, oldestDate = i, kept
		}
	}
	if date <= oldestDate {
		return nil
	}
	d := newDay(date, e.cardsMax)
	e.days[oldest].Store(d)
	return d
}
