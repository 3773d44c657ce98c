package risk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Both sides of every limit, the smallest of several, and the values told.
func TestLimits(t *testing.T) {
	lim := func(transaction, amount int64, count uint32) txn.Limits {
		return txn.Limits{Transaction: transaction, DayAmount: amount, DayCount: count}
	}
	for _, row := range []struct {
		name                     string
		terminal, merchant, card txn.Limits
		before                   []int64 // sales that pass
		minor                    int64
		want                     txn.Verdict
	}{
		{"none", lim(0, 0, 0), lim(0, 0, 0), lim(0, 0, 0), []int64{5, 5}, txn.AmountMax, txn.Verdict{}},
		{"transaction at the limit", lim(100, 0, 0), lim(0, 0, 0), lim(0, 0, 0), nil, 100, txn.Verdict{}},
		{"transaction over the terminal's", lim(100, 0, 0), lim(0, 0, 0), lim(0, 0, 0), nil, 101, txn.Verdict{Reason: txn.AmountIsOverTransactionLimit, Scope: txn.ScopeTerminal, Limit: 100, Used: 101}},
		{"transaction over the merchant's", lim(0, 0, 0), lim(100, 0, 0), lim(0, 0, 0), nil, 101, txn.Verdict{Reason: txn.AmountIsOverTransactionLimit, Scope: txn.ScopeMerchant, Limit: 100, Used: 101}},
		{"transaction over the card's", lim(0, 0, 0), lim(0, 0, 0), lim(100, 0, 0), nil, 101, txn.Verdict{Reason: txn.AmountIsOverTransactionLimit, Scope: txn.ScopeCard, Limit: 100, Used: 101}},
		{"transaction over all: the smallest", lim(30, 0, 0), lim(20, 0, 0), lim(10, 0, 0), nil, 40, txn.Verdict{Reason: txn.AmountIsOverTransactionLimit, Scope: txn.ScopeCard, Limit: 10, Used: 40}},
		{"transaction over all alike: the first", lim(10, 0, 0), lim(10, 0, 0), lim(10, 0, 0), nil, 40, txn.Verdict{Reason: txn.AmountIsOverTransactionLimit, Scope: txn.ScopeTerminal, Limit: 10, Used: 40}},
		{"day amount at the limit", lim(0, 100, 0), lim(0, 100, 0), lim(0, 100, 0), []int64{60}, 40, txn.Verdict{}},
		{"day amount over the terminal's", lim(0, 100, 0), lim(0, 0, 0), lim(0, 0, 0), []int64{60}, 41, txn.Verdict{Reason: txn.DayAmountIsOverLimit, Scope: txn.ScopeTerminal, Limit: 100, Used: 101}},
		{"day amount over the merchant's", lim(0, 0, 0), lim(0, 100, 0), lim(0, 0, 0), []int64{60}, 41, txn.Verdict{Reason: txn.DayAmountIsOverLimit, Scope: txn.ScopeMerchant, Limit: 100, Used: 101}},
		{"day amount over the card's", lim(0, 0, 0), lim(0, 0, 0), lim(0, 100, 0), []int64{60}, 41, txn.Verdict{Reason: txn.DayAmountIsOverLimit, Scope: txn.ScopeCard, Limit: 100, Used: 101}},
		{"day amount over all: the smallest", lim(0, 90, 0), lim(0, 80, 0), lim(0, 85, 0), []int64{60}, 40, txn.Verdict{Reason: txn.DayAmountIsOverLimit, Scope: txn.ScopeMerchant, Limit: 80, Used: 100}},
		{"day amount over with the first sale", lim(0, 100, 0), lim(0, 0, 0), lim(0, 0, 0), nil, 101, txn.Verdict{Reason: txn.DayAmountIsOverLimit, Scope: txn.ScopeTerminal, Limit: 100, Used: 101}},
		{"day count at the limit", lim(0, 0, 2), lim(0, 0, 2), lim(0, 0, 2), []int64{1}, 1, txn.Verdict{}},
		{"day count over the terminal's", lim(0, 0, 2), lim(0, 0, 0), lim(0, 0, 0), []int64{1, 1}, 1, txn.Verdict{Reason: txn.DayCountIsOverLimit, Scope: txn.ScopeTerminal, Limit: 2, Used: 3}},
		{"day count over the merchant's", lim(0, 0, 0), lim(0, 0, 2), lim(0, 0, 0), []int64{1, 1}, 1, txn.Verdict{Reason: txn.DayCountIsOverLimit, Scope: txn.ScopeMerchant, Limit: 2, Used: 3}},
		{"day count over the card's", lim(0, 0, 0), lim(0, 0, 0), lim(0, 0, 2), []int64{1, 1}, 1, txn.Verdict{Reason: txn.DayCountIsOverLimit, Scope: txn.ScopeCard, Limit: 2, Used: 3}},
		{"the card's amount comes before the terminal's count", lim(0, 0, 1), lim(0, 0, 0), lim(0, 100, 0), []int64{60}, 41, txn.Verdict{Reason: txn.DayAmountIsOverLimit, Scope: txn.ScopeCard, Limit: 100, Used: 101}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := engine(t)
			req := good()
			req.Terminal.Limits, req.Acceptor.Limits, req.Acceptor.Card = row.terminal, row.merchant, row.card
			var sum int64
			for _, minor := range row.before {
				req.Amount.Minor = minor
				if v := e.Assess(req); v.Reason != txn.Approved {
					t.Fatalf("before: %+v", v)
				}
				sum += minor
			}
			req.Amount.Minor = row.minor
			v := e.Assess(req)
			v.Findings = txn.Findings{} // the rules' own tests look at these
			if v != row.want {
				t.Fatalf("got %+v, want %+v", v, row.want)
			} else if v.Reason == txn.Approved {
				sum += row.minor
			}
			for _, p := range partiesOf(HoldOf(req)) {
				if u := e.UsageOf(today, p); u.Minor != sum {
					t.Errorf("%v used %d of %d", p, u.Minor, sum)
				}
			}
		})
	}
}

func TestPlansFillWhatRowsLeaveOut(t *testing.T) {
	card := func(c txn.Currency, l txn.Limits) Limit { return Limit{Scope: txn.ScopeCard, Currency: c, Bounds: l} }
	p := DefaultPolicy()
	p.Plans = []Plan{{Limits: []Limit{card(txn.CNY, txn.Limits{Transaction: 100, DayAmount: 1000, DayCount: 3}), card(840, txn.Limits{Transaction: 1})}}}
	e, err := New(Config{Policy: &p})
	if err != nil {
		t.Fatal(err)
	}
	j := judgement{rulebook: e.rules.Load()}
	req := good()
	req.Acceptor.Card = txn.Limits{DayAmount: 5000}
	if l := j.limitsOf(req, make([]need, needsMax))[2].bounds.Limits; l != (txn.Limits{Transaction: 100, DayAmount: 5000, DayCount: 3}) {
		t.Errorf("%+v", l)
	}
	req.Amount.Currency = 978
	if l := j.limitsOf(req, make([]need, needsMax))[2].bounds.Limits; l != req.Acceptor.Card {
		t.Errorf("another currency's default was taken: %+v", l)
	}
}

func TestCurrenciesAreCountedApart(t *testing.T) {
	e := engine(t)
	yuan, dollars := good(), good()
	dollars.Acceptor.Currency, dollars.Amount.Currency = 840, 840
	for _, r := range []*txn.Request{yuan, dollars} {
		r.Acceptor.Card.DayAmount = r.Amount.Minor
		if v := e.Assess(r); v.Reason != txn.Approved {
			t.Fatalf("%v: %q", r.Amount.Currency, v.Reason)
		}
		if v := e.Assess(r); v.Reason != txn.DayAmountIsOverLimit {
			t.Fatalf("%v twice: %q", r.Amount.Currency, v.Reason)
		}
	}
}

// A thousand requests race for limits that a tenth of them fit in.
func TestConcurrentRequestsNeverPassALimit(t *testing.T) {
	const requests, fit, minor = 1000, 100, 7
	for scope, limit := range map[string]func(*txn.Request){
		"terminal amount": func(r *txn.Request) { r.Terminal.Limits.DayAmount = fit*minor + minor - 1 },
		"merchant amount": func(r *txn.Request) { r.Acceptor.Limits.DayAmount = fit * minor },
		"card amount":     func(r *txn.Request) { r.Acceptor.Card.DayAmount = fit * minor },
		"merchant count":  func(r *txn.Request) { r.Acceptor.Limits.DayCount = fit },
	} {
		t.Run(scope, func(t *testing.T) {
			e := engine(t)
			var passed atomic.Int64
			var wg sync.WaitGroup
			start := make(chan struct{})
			for range requests {
				req := good()
				req.Amount.Minor = minor
				limit(req)
				wg.Go(func() {
					<-start
					if e.Assess(req).Reason == txn.Approved {
						passed.Add(1)
					}
				})
			}
			close(start)
			wg.Wait()
			if n := passed.Load(); n != fit {
				t.Errorf("%d passed", n)
			}
			if n := e.InFlight(); n != fit {
				t.Errorf("%d in flight", n)
			}
			for _, p := range partiesOf(HoldOf(good())) {
				if u := e.UsageOf(today, p); u != (Use{fit * minor, fit}) {
					t.Errorf("%v used %+v", p, u)
				}
			}
		})
	}
}

// Requests of different terminals and cards that meet at one merchant, half of
// them given back, leave exactly the other half.
func TestConcurrentHoldsAndReleasesAddUp(t *testing.T) {
	e := engine(t)
	const workers, each = 8, 2000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			req := good()
			req.Terminal.ID = txn.MakeTerminalID(fmt.Sprint(w))
			for i := range each {
				binary.LittleEndian.PutUint32(req.CardToken[:], uint32(i))
				if v := e.Assess(req); v.Reason != txn.Approved {
					t.Errorf("%q", v.Reason)
				}
				if i%2 == 0 {
					e.Release(HoldOf(req))
				} else {
					e.Confirm(HoldOf(req))
				}
			}
		})
	}
	wg.Wait()
	sums := map[txn.LimitScope]Use{}
	for p, u := range e.Usage(today) {
		s := sums[p.Scope]
		sums[p.Scope] = Use{s.Minor + u.Minor, s.Count + u.Count}
	}
	for scope := txn.ScopeTerminal; scope <= txn.ScopeIdentity; scope++ {
		if want := (Use{workers * each / 2 * 10_00, workers * each / 2}); sums[scope] != want {
			t.Errorf("%v: %+v, want %+v", scope, sums[scope], want)
		}
	}
	if e.InFlight() != 0 || e.Unmatched() != 0 {
		t.Errorf("in flight %d, unmatched %d", e.InFlight(), e.Unmatched())
	}
}

func TestDays(t *testing.T) {
	e := engine(t)
	hold := func(d txn.Date) txn.Hold {
		req := good()
		req.Day = d
		return HoldOf(req)
	}
	use := func(d txn.Date) Use { return e.UsageOf(d, partiesOf(hold(d))[0]) }
	sale := func(d txn.Date) txn.Reason {
		req := good()
		req.Day, req.Terminal.Limits.DayCount = d, 1
		return e.Assess(req).Reason
	}
	one := Use{10_00, 1}
	if sale(20261122) != txn.Approved || sale(20261122) != txn.DayCountIsOverLimit || sale(20261123) != txn.Approved {
		t.Fatal("each day has limits of its own")
	}
	if sale(20261122) != txn.DayCountIsOverLimit {
		t.Fatal("a request admitted before the cut-over counts for its own day")
	}
	e.Release(hold(20261122))
	if use(20261122) != (Use{}) || use(20261123) != one {
		t.Fatal("a release after the cut-over goes to the hold's own day")
	}
	if sale(20261124) != txn.Approved || use(20261123) != one {
		t.Fatal("the previous day is kept")
	}
	if got := e.Days(); !slices.Equal(got, []txn.Date{20261123, 20261124}) {
		t.Fatalf("kept %v", got)
	}
	if sale(20261122) != txn.SwitchFailed {
		t.Fatal("a forgotten day has no counters to decide by")
	}
	e.Release(hold(20261122))
	e.Undo(hold(20261122))
	e.Restore(hold(20261122))
	if e.Unmatched() != 0 || use(20261122) != (Use{}) {
		t.Fatal("a forgotten day is of no concern")
	}
	// A clock that jumped ahead for one request costs the day before, not today.
	if sale(20991231) != txn.Approved || use(20261124) != one || sale(20261124) != txn.DayCountIsOverLimit {
		t.Fatal("today was lost")
	}
	if sale(20261125) != txn.Approved || sale(20261125) != txn.DayCountIsOverLimit {
		t.Fatal("tomorrow can't begin")
	}
}

func TestRestoreCountsWhatLimitsWouldRefuse(t *testing.T) {
	e := engine(t)
	req := good()
	req.Terminal.Limits.DayAmount = 10_00
	e.Restore(HoldOf(req))
	e.Restore(HoldOf(req))
	if v := e.Assess(req); v.Reason != txn.DayAmountIsOverLimit || v.Used != 30_00 {
		t.Fatalf("%+v", v)
	}
	if e.InFlight() != 0 {
		t.Fatal("a restored use is in flight")
	}
	e.Undo(HoldOf(req))
	e.Undo(HoldOf(req))
	if v := e.Assess(req); v.Reason != txn.Approved {
		t.Fatalf("%+v", v)
	}
}

// What is given back of a part is an amount: the transaction goes on to count, in
// its day and its month.
func TestGivingBackAPart(t *testing.T) {
	e := engine(t)
	req := good()
	if v := e.Assess(req); v.Reason != txn.Approved {
		t.Fatalf("%+v", v)
	}
	whole := HoldOf(req)
	e.Confirm(whole)
	part := whole
	part.Minor, part.Part = 4_00, true
	e.Undo(part)
	rest := whole
	rest.Minor -= part.Minor
	for _, p := range partiesOf(whole) {
		if p.ID == [16]byte{} {
			continue
		}
		want := Use{rest.Minor, 1}
		if day, month := e.UsageOf(req.Day, p), e.MonthUsageOf(req.Day, p); day != want || month != want && month != (Use{}) {
			t.Errorf("%s: %+v is used on the day and %+v in the month, want %+v", p, day, month, want)
		}
	}
	e.Undo(rest)
	for cell, use := range e.Usage(req.Day) {
		t.Errorf("%v: %+v is left", cell, use)
	}
	if e.Unmatched() != 0 {
		t.Error("something was given back twice")
	}
}

// Recall of what was given back of a part, as at start, leaves the transaction
// counted; a use of nobody is counted nowhere.
func TestRecallOfAPart(t *testing.T) {
	e, err := New(Config{CardsPerMonthMax: 10, Zone: shanghai})
	if err != nil {
		t.Fatal(err)
	}
	whole := HoldOf(good())
	whole.Identity = txn.Identity{}
	part := whole
	part.Minor, part.Part = 4_00, true
	e.Recall(whole, txn.Debit)
	e.Recall(part, txn.Credit)
	e.Recall(whole, txn.NoEffect)
	n := 0
	for c, u := range e.MonthUsage(today) {
		if n++; u != (Use{6_00, 1}) || c.Scope == txn.ScopeIdentity {
			t.Errorf("%v: %+v", c, u)
		}
	}
	if parties := partiesOf(whole); n != 3 || parties[3] != (Party{}) {
		t.Errorf("%d parties are counted: %v", n, parties)
	}
}

// What was paid in one way and is given back as paid in another is taken from the
// party; one of its cells is below zero, and is told.
func TestGivingBackInAnotherWay(t *testing.T) {
	e := engine(t)
	req := good()
	if v := e.Assess(req); v.Reason != txn.Approved {
		t.Fatalf("%+v", v)
	}
	e.Confirm(HoldOf(req))
	back := HoldOf(req)
	back.Method, back.Minor, back.Part = txn.MakeMethod(txn.WayManual, false), 4_00, true
	e.Undo(back)
	terminal := partiesOf(back)[0]
	if u := e.UsageOf(today, terminal); u != (Use{6_00, 1}) || e.Unmatched() != 0 {
		t.Errorf("%+v is used, %d unmatched", u, e.Unmatched())
	}
	cells := map[txn.Method]Use{}
	for c, u := range e.Usage(today) {
		if c.Party == terminal {
			cells[c.Method] = u
		}
	}
	if want := map[txn.Method]Use{req.Method(): {10_00, 1}, back.Method: {-4_00, 0}}; !maps.Equal(cells, want) {
		t.Errorf("cells %v, want %v", cells, want)
	}
	back.Part = false
	for range 2 {
		e.Undo(back)
	}
	if u := e.UsageOf(today, terminal); u != (Use{}) || e.Unmatched() != 1 {
		t.Errorf("%+v is used, %d unmatched", u, e.Unmatched())
	}
}

// A month that cannot be read to its end is as it was, and not whole.
func TestLoadMonthIsAllOrNothing(t *testing.T) {
	e, err := New(Config{CardsPerMonthMax: 10, Zone: shanghai})
	if err != nil {
		t.Fatal(err)
	}
	cell := Cell{Party: partiesOf(HoldOf(good()))[0]}
	broken := errors.New("the ledger is gone")
	load := func(end error) error {
		return e.LoadMonth(today, func(add func(Cell, Use)) error {
			add(cell, Use{5_00, 2})
			add(Cell{Party: Party{Scope: txn.ScopeNone}}, Use{1, 1})
			add(Cell{Party: Party{Scope: txn.ScopeIdentity + 1}}, Use{1, 1})
			return end
		})
	}
	if err := load(broken); err != broken || e.MonthUsageOf(today, cell.Party) != (Use{}) || len(e.Months()) != 0 {
		t.Errorf("%v: %+v is used, %v are whole", err, e.MonthUsageOf(today, cell.Party), e.Months())
	}
	if err := load(nil); err != nil || e.MonthUsageOf(today, cell.Party) != (Use{5_00, 2}) || len(e.Months()) != 1 {
		t.Errorf("%v: %+v is used, %v are whole", err, e.MonthUsageOf(today, cell.Party), e.Months())
	}
}

func TestGivingBackTwiceLendsNothing(t *testing.T) {
	e := engine(t)
	req := good()
	e.Assess(req)
	e.Release(HoldOf(req))
	e.Undo(HoldOf(req))
	if e.Unmatched() != 1 {
		t.Errorf("unmatched %d", e.Unmatched())
	}
	for p, u := range e.Usage(today) {
		t.Errorf("%v used %+v", p, u)
	}
}

func TestCardsAreBounded(t *testing.T) {
	e, err := New(Config{CardsPerDayMax: 2, Zone: shanghai})
	if err != nil {
		t.Fatal(err)
	}
	sale := func(card byte) txn.Reason {
		req := good()
		req.CardToken[0] = card
		return e.Assess(req).Reason
	}
	if sale(1) != txn.Approved || sale(2) != txn.Approved || sale(3) != txn.SwitchIsOverloaded || sale(2) != txn.Approved {
		t.Error("want two cards counted, a third refused, the two going on")
	}
	if u := e.UsageOf(today, partiesOf(HoldOf(good()))[1]); u.Count != 3 {
		t.Errorf("the refused sale was counted for the merchant: %+v", u)
	}
	req := good()
	req.CardToken[0] = 4
	e.Restore(HoldOf(req))
	if u := e.UsageOf(today, partiesOf(HoldOf(req))[2]); u.Count != 1 {
		t.Error("a fact was refused for want of room")
	}
}

// What the windows have no room for is told: rules see less then.
func TestForgottenIsTold(t *testing.T) {
	e, err := New(Config{CardsPerDayMax: 1, Zone: shanghai}) // some thousands, at the least, in the windows
	if err != nil {
		t.Fatal(err)
	}
	req := good()
	learn := func(cards int) {
		for i := range cards {
			binary.BigEndian.PutUint32(req.CardToken[:], uint32(i))
			e.Learn(approved(req, 0))
		}
	}
	if learn(1_000); e.Forgotten() != 0 {
		t.Errorf("%d of 1,000 cards are forgotten", e.Forgotten())
	}
	if learn(100_000); e.Forgotten() == 0 {
		t.Error("none of 100,000 cards is forgotten")
	}
}

func TestSumsDoNotOverflow(t *testing.T) {
	e := engine(t)
	h := HoldOf(good())
	h.Minor = math.MaxInt64
	e.Restore(h)
	if v := e.Assess(good()); v.Reason != txn.DayAmountIsOverLimit || v.Used != math.MaxInt64 {
		t.Fatalf("%+v", v)
	}
}

// The counters against a plain map, whatever the order of events: limits of rows
// and of a plan, by method and type of card, of days and months.
func TestCountersEqualTheModel(t *testing.T) {
	type cell struct {
		date txn.Date // of a day, or of a month without its day
		Cell
	}
	chip, code := txn.MakeMethod(txn.WayChip, true), txn.MakeMethod(txn.WayCode, false)
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Int64Range(0, 60)
		limits := func(label string, times int64) txn.Limits {
			return txn.Limits{DayAmount: small.Draw(t, label) * times, DayCount: uint32(small.Draw(t, label)), MonthAmount: small.Draw(t, label) * 2 * times, MonthCount: uint32(small.Draw(t, label))}
		}
		p := DefaultPolicy()
		p.Plans = []Plan{{Limits: []Limit{
			{Scope: txn.ScopeMerchant, Currency: txn.CNY, Methods: 1 << code, Bounds: limits("codes at a merchant", 2)},
			{Scope: txn.ScopeCard, Currency: txn.CNY, Methods: 1 << chip, Cards: 1 << txn.CardCredit, Bounds: limits("credit cards by chip", 1)},
			{Scope: txn.ScopeIdentity, Currency: txn.CNY, Cards: 1<<txn.CardDebit | 1<<txn.CardUnknown, Bounds: limits("other cards of a person", 2)},
			{Scope: txn.ScopeTerminal, Currency: txn.CNY, MCC: 1234, Bounds: txn.Limits{DayCount: 1}},
		}}}
		e, err := New(Config{Zone: shanghai, Policy: &p, CardsPerMonthMax: 100})
		if err != nil {
			t.Fatal(err)
		}
		m := &txn.Merchant{ID: txn.MakeMerchantID("999290054110001"), Status: txn.StatusActive, Region: 310101, Country: 156, Currency: txn.CNY,
			Kinds: 1 << txn.KindSale, Identity: txn.Identity{7}, Limits: limits("merchant", 3), Card: limits("card", 1)}
		var terminals [3]txn.Terminal
		for i := range terminals {
			terminals[i] = txn.Terminal{ID: txn.MakeTerminalID(fmt.Sprint(i)), Merchant: m.ID, Status: txn.StatusActive, Region: 310101, Limits: limits("terminal", 2)}
		}
		model := map[cell]Use{}
		count := func(h txn.Hold, sign int64) {
			for _, p := range partiesOf(h) {
				for _, date := range [...]txn.Date{h.Day, h.Day / 100} {
					c := cell{date, Cell{p, h.Method, h.CardType}}
					u := model[c]
					model[c] = Use{u.Minor + sign*h.Minor, u.Count + sign}
				}
			}
		}
		used := func(date txn.Date, p Party, is func(Cell) bool) (u Use) {
			for c, x := range model {
				if c.date == date && c.Party == p && is(c.Cell) {
					u.Minor, u.Count = u.Minor+x.Minor, u.Count+x.Count
				}
			}
			return u
		}
		fits := func(h txn.Hold, req *txn.Request) txn.Reason {
			over := map[txn.Reason]bool{}
			hold := func(scope int, l txn.Limits, is func(Cell) bool) {
				p := partiesOf(h)[scope]
				if !is(Cell{p, h.Method, h.CardType}) {
					return
				}
				day, month := used(h.Day, p, is), used(h.Day/100, p, is)
				over[txn.DayAmountIsOverLimit] = over[txn.DayAmountIsOverLimit] || l.DayAmount > 0 && day.Minor+h.Minor > l.DayAmount
				over[txn.MonthAmountIsOverLimit] = over[txn.MonthAmountIsOverLimit] || l.MonthAmount > 0 && month.Minor+h.Minor > l.MonthAmount
				over[txn.DayCountIsOverLimit] = over[txn.DayCountIsOverLimit] || l.DayCount > 0 && day.Count >= int64(l.DayCount)
				over[txn.MonthCountIsOverLimit] = over[txn.MonthCountIsOverLimit] || l.MonthCount > 0 && month.Count >= int64(l.MonthCount)
			}
			all := func(Cell) bool { return true }
			hold(0, req.Terminal.Limits, all)
			hold(1, m.Limits, all)
			hold(2, m.Card, all)
			hold(1, p.Plans[0].Limits[0].Bounds, func(c Cell) bool { return c.Method == code })
			hold(2, p.Plans[0].Limits[1].Bounds, func(c Cell) bool { return c.Method == chip && c.CardType == txn.CardCredit })
			hold(3, p.Plans[0].Limits[2].Bounds, func(c Cell) bool { return c.CardType == txn.CardDebit || c.CardType == txn.CardUnknown })
			for _, r := range [...]txn.Reason{txn.DayAmountIsOverLimit, txn.MonthAmountIsOverLimit, txn.DayCountIsOverLimit, txn.MonthCountIsOverLimit} {
				if over[r] {
					return r
				}
			}
			return txn.Approved
		}
		var flying, standing []txn.Hold
		take := func(hs *[]txn.Hold, label string) txn.Hold {
			i := rapid.IntRange(0, len(*hs)-1).Draw(t, label)
			h := (*hs)[i]
			*hs = slices.Delete(*hs, i, i+1)
			return h
		}
		t.Repeat(map[string]func(*rapid.T){
			"assess": func(t *rapid.T) {
				req := good()
				req.Acceptor, req.Terminal = m, &terminals[rapid.IntRange(0, 2).Draw(t, "terminal")]
				req.CardToken = txn.CardToken{byte(rapid.IntRange(1, 5).Draw(t, "card"))}
				req.CardType = txn.CardType(rapid.IntRange(0, 3).Draw(t, "type"))
				if req.Entry = txn.EntryCode; rapid.Bool().Draw(t, "chip") {
					req.Entry, req.PINBlock = txn.EntryChip, txn.Secret("12345678")
				}
				req.Day = rapid.SampledFrom([]txn.Date{20261130, 20261201}).Draw(t, "day")
				req.Amount.Minor = rapid.Int64Range(1, 20).Draw(t, "minor")
				h := HoldOf(req)
				want := fits(h, req)
				if v := e.Assess(req); v.Reason != want {
					t.Fatalf("got %q, want %q", v.Reason, want)
				}
				if want == txn.Approved {
					count(h, 1)
					flying = append(flying, h)
				}
			},
			"confirm": func(t *rapid.T) {
				if len(flying) > 0 {
					h := take(&flying, "confirmed")
					e.Confirm(h)
					standing = append(standing, h)
				}
			},
			"release": func(t *rapid.T) {
				if len(flying) > 0 {
					h := take(&flying, "released")
					e.Release(h)
					count(h, -1)
				}
			},
			"undo": func(t *rapid.T) {
				if len(standing) > 0 {
					h := take(&standing, "undone")
					e.Undo(h)
					count(h, -1)
				}
			},
			"": func(t *rapid.T) {
				if e.InFlight() != int64(len(flying)) || e.Unmatched() != 0 {
					t.Fatalf("in flight %d of %d, unmatched %d", e.InFlight(), len(flying), e.Unmatched())
				}
			},
		})
		got := map[cell]Use{}
		for _, d := range e.Days() {
			for c, u := range e.Usage(d) {
				got[cell{d, c}] = u
			}
		}
		for _, d := range e.Months() {
			for c, u := range e.MonthUsage(d) {
				got[cell{d / 100, c}] = u
			}
		}
		maps.DeleteFunc(model, func(_ cell, u Use) bool { return u == Use{} })
		if !maps.Equal(got, model) {
			t.Fatalf("\ngot   %v\nmodel %v", got, model)
		}
	})
}

// Ids that people number in sequence must not crowd into a few slots, and no two share
// one, whatever places them beside each other.
func TestSequentialIDsSpread(t *testing.T) {
	d := newPeriod(today, math.MaxInt64)
	hold := func(i int) txn.Hold {
		return txn.Hold{Terminal: txn.MakeTerminalID(fmt.Sprintf("%08d", 10_000_000+i)), Merchant: txn.MakeMerchantID(fmt.Sprintf("9992900%08d", i)), Currency: txn.CNY, Minor: int64(i)}
	}
	for i := range 200_000 {
		h := hold(i)
		d.add(&h, txn.Debit)
	}
	for i := range 200_000 {
		parties := partiesOf(hold(i))
		for _, p := range parties[:2] {
			if u := d.use(p); u != (Use{int64(i), 1}) {
				t.Fatalf("%s: %+v", p, u)
			}
		}
	}
	for i := range 2 {
		for j := range d.tables[i].shards {
			s := &d.tables[i].shards[j]
			if mean := 200_000 / shardCount; s.used > 2*mean {
				t.Errorf("%v shard %d holds %d, the mean is %d", scopeOf(i), j, s.used, mean)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(slot{}); n != 32 {
		t.Errorf("a slot is %d bytes", n)
	}
	if n := unsafe.Sizeof(shard{}); n != 64 {
		t.Errorf("a shard is %d bytes", n)
	}
}

func TestPartiesName(t *testing.T) {
	var names []string
	for _, p := range partiesOf(HoldOf(good())) {
		names = append(names, p.String())
	}
	want := []string{"terminal 10000001 in 156", "merchant 999290054110001 in 156", "card 01000000... in 156", "identity 07000000... in 156"}
	if !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
}

func TestUsageCanBeStopped(t *testing.T) {
	e := engine(t)
	e.Assess(good())
	n := 0
	for range e.Usage(today) {
		n++
		break
	}
	if n != 1 || e.UsageOf(today, Party{}) != (Use{}) {
		t.Error("want one counter, and none for nobody")
	}
}

func TestAssessDoesNotAllocate(t *testing.T) {
	e := engine(t)
	req := good()
	req.Info.Position = txn.Position{Lat: 31_230400, Lng: 121_473700, Known: true}
	copy(req.Expiry[:], "3012")
	h := HoldOf(req)
	if n := testing.AllocsPerRun(1000, func() {
		if v := e.Assess(req); v.Reason != txn.Approved {
			t.Fatal(v)
		}
		e.Release(h)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
