package risk

import (
	"fmt"
	"testing"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// step is one request and what it is told.
type step struct {
	do   []func(*txn.Request)
	want txn.Reason
}

// steps assesses requests one after another; those that pass stand.
func steps(t *testing.T, e *Engine, all ...step) {
	t.Helper()
	for i, s := range all {
		req := good()
		for _, f := range s.do {
			f(req)
		}
		v := e.Assess(req)
		if v.Reason != s.want {
			t.Fatalf("step %d: got %q (%s, %d of %d), want %q", i+1, v.Reason, v.Scope, v.Used, v.Limit, s.want)
		}
		if v.Reason == txn.Approved && req.Kind.Limits() == txn.Debit {
			e.Confirm(HoldOf(req))
		}
	}
}

// found says that v names rule with an action.
func found(v txn.Verdict, rule txn.Rule, a txn.Action) bool {
	for f := range v.Findings.All() {
		if f.Rule == rule && f.Action == a && !f.Shadow {
			return true
		}
	}
	return false
}

func pay(minor int64) func(*txn.Request)    { return func(r *txn.Request) { r.Amount.Minor = minor } }
func by(m txn.EntryMode) func(*txn.Request) { return func(r *txn.Request) { r.Entry = m } }
func withPIN(r *txn.Request)                { r.PINBlock = txn.Secret("12345678") }
func with(c txn.CardType) func(*txn.Request) {
	return func(r *txn.Request) { r.CardType = c }
}
func on(d txn.Date) func(*txn.Request) { return func(r *txn.Request) { r.Day = d } }
func token(b byte) func(*txn.Request) {
	return func(r *txn.Request) { r.CardToken = txn.CardToken{b} }
}
func shop(n byte) func(*txn.Request) { // another merchant of the same person
	return func(r *txn.Request) { r.Acceptor.ID[14], r.Terminal.Merchant[14], r.Merchant[14] = n, n, n }
}

// planned is an engine whose default plan has limits.
func planned(t *testing.T, limits ...Limit) *Engine {
	return policed(t, func(p *Policy) { p.Plans = []Plan{{Limits: limits}} })
}

func TestL01AmountIsZeroOrBeyondTheMessage(t *testing.T) {
	steps(t, engine(t), step{fs(pay(0)), txn.AmountMustNotBeZero}, step{fs(pay(1)), 0},
		step{fs(pay(txn.AmountMax)), 0}, step{fs(pay(txn.AmountMax + 1)), txn.AmountIsOverMaximum})
}

func TestL02AmountIsOverALimitPerTransaction(t *testing.T) {
	over := txn.AmountIsOverTransactionLimit
	bound := func(minor int64) txn.Limits { return txn.Limits{Transaction: minor} }
	e := planned(t,
		Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: bound(900)},
		Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, Methods: 1 << txn.MakeMethod(txn.WayStripe, false), Bounds: bound(300)},
		Limit{Scope: txn.ScopeCard, Currency: txn.CNY, Cards: 1 << txn.CardCredit, Bounds: bound(500)},
		Limit{Scope: txn.ScopeTerminal, Currency: txn.CNY, MCC: 5944, Bounds: bound(200)},
		Limit{Scope: txn.ScopeTerminal, Currency: txn.CNY, Region: 650000, Bounds: bound(100)},
		Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, From: 20261124, To: 20261125, Bounds: bound(50)})
	jeweller := func(r *txn.Request) {
		r.Acceptor.MCC = 5944
		for _, id := range [...]*txn.MerchantID{&r.Acceptor.ID, &r.Terminal.Merchant, &r.Merchant} {
			copy(id[7:], "5944")
		}
	}
	xinjiang := func(r *txn.Request) { r.Acceptor.Region, r.Terminal.Region = 650102, 650102 }
	steps(t, e,
		step{fs(pay(900)), 0}, step{fs(pay(901)), over},
		step{fs(pay(300), by(txn.EntryStripe)), 0}, step{fs(pay(301), by(txn.EntryStripe)), over}, step{fs(pay(301), by(txn.EntryStripe), withPIN), 0},
		step{fs(pay(500), with(txn.CardCredit)), 0}, step{fs(pay(501), with(txn.CardCredit)), over}, step{fs(pay(501), with(txn.CardDebit)), 0},
		step{fs(pay(200), jeweller), 0}, step{fs(pay(201), jeweller), over},
		step{fs(pay(100), xinjiang), 0}, step{fs(pay(101), xinjiang), over},
		step{fs(pay(51), on(20261123)), 0}, step{fs(pay(50), on(20261124)), 0}, step{fs(pay(51), on(20261124)), over},
		step{fs(pay(51), on(20261125)), over}, step{fs(pay(51), on(20261126)), 0},
		step{fs(pay(901), on(20261126), func(r *txn.Request) { r.Kind = txn.KindOfflineSale }), 0}) // it has happened
}

// The sums of a day and of a month, on both sides of both ends.
func TestL03SumIsOverALimit(t *testing.T) {
	day, month := txn.DayAmountIsOverLimit, txn.MonthAmountIsOverLimit
	t.Run("day and month", func(t *testing.T) {
		e := planned(t, Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 100, MonthAmount: 250}})
		steps(t, e,
			step{fs(pay(60), on(20261128)), 0}, step{fs(pay(41), on(20261128)), day}, step{fs(pay(40), on(20261128)), 0},
			step{fs(pay(100), on(20261129)), 0}, step{fs(pay(51), on(20261130)), month}, step{fs(pay(50), on(20261130)), 0},
			step{fs(pay(1), on(20261129)), day}, // the day before the month is told
			step{fs(pay(1), on(20261130)), month}, step{fs(pay(100), on(20261201)), 0})
	})
	for name, scope := range map[string]txn.LimitScope{"terminal": txn.ScopeTerminal, "merchant": txn.ScopeMerchant, "card": txn.ScopeCard, "identity": txn.ScopeIdentity} {
		t.Run(name, func(t *testing.T) {
			e := planned(t, Limit{Scope: scope, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 100}})
			others := func(r *txn.Request) {
				r.Terminal.ID[7], r.CardToken = '9', txn.CardToken{9}
				shop('9')(r)
				r.Acceptor.Identity = txn.Identity{9}
			}
			steps(t, e, step{fs(pay(100)), 0}, step{fs(pay(1)), day}, step{fs(pay(100), others), 0})
		})
	}
	nobody := func(r *txn.Request) { r.Acceptor.Identity = txn.Identity{} }
	t.Run("identity across its merchants", func(t *testing.T) {
		e := planned(t, Limit{Scope: txn.ScopeIdentity, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 100}})
		steps(t, e, step{fs(pay(60)), 0}, step{fs(pay(41), shop('2')), day}, step{fs(pay(40), shop('2')), 0},
			step{fs(pay(100), shop('3'), nobody), 0}, step{fs(pay(1), shop('4'), nobody), 0}) // nobody's is not counted
	})
	t.Run("method", func(t *testing.T) {
		contactless, _ := txn.ParseMethods("contactless-pin")
		e := planned(t, Limit{Scope: txn.ScopeCard, Currency: txn.CNY, Methods: contactless, Bounds: txn.Limits{DayAmount: 100}})
		tap := by(txn.EntryContactless)
		steps(t, e, step{fs(pay(60), tap), 0}, step{fs(pay(1000), tap, withPIN), 0}, step{fs(pay(1000), by(txn.EntryChip)), 0},
			step{fs(pay(41), tap), day}, step{fs(pay(40), by(98)), 0}, step{fs(pay(1), tap), day})
	})
	t.Run("override for some days", func(t *testing.T) {
		e := policed(t, func(p *Policy) {
			p.Plans = []Plan{{Limits: []Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{Transaction: 150, DayAmount: 100}}}}}
			o := Override{Limit: Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, From: 20261123, To: 20261123, Bounds: txn.Limits{DayAmount: 200}}}
			copy(o.ID[:], good().Acceptor.ID[:])
			p.Overrides = []Override{o}
		})
		steps(t, e, step{fs(pay(101)), day}, step{fs(pay(150), on(20261123)), 0}, step{fs(pay(51), on(20261123)), day}, step{fs(pay(151), on(20261123)), txn.AmountIsOverTransactionLimit},
			step{fs(pay(101), on(20261124)), day}, step{fs(pay(101), on(20261123), shop('2')), day})
	})
	t.Run("row before plan", func(t *testing.T) {
		e := planned(t, Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 100, MonthAmount: 150}})
		row := func(r *txn.Request) { r.Acceptor.Limits.DayAmount = 120 }
		steps(t, e, step{fs(pay(121), row), day}, step{fs(pay(120), row), 0}, step{fs(pay(31), row, on(20261123)), month}, step{fs(pay(30), row, on(20261123)), 0})
	})
	t.Run("terminal with a plan of its own", func(t *testing.T) {
		e := policed(t, func(p *Policy) {
			limit := func(s txn.LimitScope, minor int64) Limit {
				return Limit{Scope: s, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: minor}}
			}
			p.Plans = []Plan{{Number: 1, Limits: []Limit{limit(txn.ScopeTerminal, 100), limit(txn.ScopeMerchant, 500)}},
				{Number: 2, Limits: []Limit{limit(txn.ScopeTerminal, 300), limit(txn.ScopeMerchant, 1)}}}
		})
		plan := func(r *txn.Request) { r.Acceptor.Plan = 1 }
		own := func(r *txn.Request) { r.Terminal.ID[7], r.Terminal.Plan = '2', 2 }
		steps(t, e, step{fs(pay(101), plan), day}, step{fs(pay(100), plan), 0}, step{fs(pay(301), plan, own), day}, step{fs(pay(300), plan, own), 0},
			step{fs(pay(99), plan, func(r *txn.Request) { r.Terminal.ID[7], r.Terminal.Plan = '3', 2 }), 0}, step{fs(pay(2), plan, own), day})
	})
}

func TestL04CountIsOverALimit(t *testing.T) {
	day, month := txn.DayCountIsOverLimit, txn.MonthCountIsOverLimit
	e := planned(t, Limit{Scope: txn.ScopeTerminal, Currency: txn.CNY, Bounds: txn.Limits{DayCount: 2, MonthCount: 3}})
	steps(t, e, step{nil, 0}, step{nil, 0}, step{nil, day}, step{fs(on(20261123)), 0}, step{fs(on(20261123)), month}, step{fs(on(20261201)), 0})
	row := func(r *txn.Request) { r.Acceptor.Limits = txn.Limits{MonthCount: 2} }
	e = planned(t, Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{MonthCount: 1}})
	steps(t, e, step{fs(row), 0}, step{fs(row, on(20261123)), 0}, step{fs(row, on(20261124)), month})
}

// Of a plan's limits on all use of one party the smallest bounds hold, whichever says
// them; one of a region binds beside what a row says; a plan that is not there is the
// default one.
func TestLimitsOfAPlanAreJoined(t *testing.T) {
	amount, count := txn.DayAmountIsOverLimit, txn.DayCountIsOverLimit
	limit := func(l txn.Limits) Limit {
		return Limit{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: l}
	}
	both := []Limit{limit(txn.Limits{DayAmount: 100}), limit(txn.Limits{DayCount: 2}), limit(txn.Limits{DayAmount: 200, DayCount: 3})}
	for range both {
		both = append(both[1:], both[0])
		e := planned(t, both...)
		steps(t, e, step{fs(pay(101)), amount}, step{fs(pay(50)), 0}, step{fs(pay(50)), 0}, step{fs(pay(1)), amount})
		e = planned(t, both...)
		steps(t, e, step{fs(pay(1)), 0}, step{fs(pay(1)), 0}, step{fs(pay(1)), count})
	}
	local := limit(txn.Limits{DayAmount: 100})
	local.Region = 310000
	row := func(r *txn.Request) { r.Acceptor.Limits.DayAmount = 500 }
	steps(t, planned(t, local), step{fs(pay(101), row), amount}, step{fs(pay(100), row), 0})
	stranger := func(r *txn.Request) { r.Acceptor.Plan, r.Terminal.Plan = 99, 98 }
	steps(t, planned(t, limit(txn.Limits{DayAmount: 100})), step{fs(pay(101), stranger), amount}, step{fs(pay(100), stranger), 0})
}

// What a limit's rule is set to: an alert lets it pass and counts it.
func TestLimitsThatOnlyAlert(t *testing.T) {
	e := policed(t, func(p *Policy) {
		p.Plans = []Plan{{Limits: []Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 10_00, DayCount: 3}}}}}
		p.Rules = map[txn.Rule]Setting{ruleL03: {Action: txn.ActionAlert}}
	})
	if v := e.Assess(good()); v.Reason != txn.Approved || v.Findings.Len() != 0 {
		t.Fatalf("at the limit: %+v", v)
	}
	if v := e.Assess(good()); v.Reason != txn.Approved || !found(v, ruleL03, txn.ActionAlert) || v.Findings.Len() != 1 {
		t.Fatalf("over the limit: %+v", v)
	}
	e.Assess(good())
	if v := e.Assess(good()); v.Reason != txn.DayCountIsOverLimit || !found(v, ruleL03, txn.ActionAlert) || !found(v, ruleL04, txn.ActionRefuse) {
		t.Fatalf("over the count: %+v", v)
	}
}

// A rule of limits that is only kept in mind, or off, refuses nothing; of several limits
// that it finds passed it tells one.
func TestLimitsInShadow(t *testing.T) {
	limits := []Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 10_00}}, {Scope: txn.ScopeCard, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 5_00}}}
	for mode, want := range map[rules.Mode]string{rules.Shadow: "0 [{L03 refuse shadow 2000 1000}]", rules.Off: "0 []"} {
		e := policed(t, func(p *Policy) {
			p.Plans = []Plan{{Limits: limits}}
			p.Rules = map[txn.Rule]Setting{ruleL03: {Mode: mode}}
		})
		e.Assess(good())
		v := e.Assess(good())
		told := []string{}
		for f := range v.Findings.All() {
			said := fmt.Sprintf("{%s %s shadow %d %d}", f.Rule, f.Action, f.Seen, f.Bound)
			if !f.Shadow {
				said = fmt.Sprint(f)
			}
			told = append(told, said)
		}
		if got := fmt.Sprint(uint8(v.Reason), " ", told); got != want {
			t.Errorf("%v: %s, want %s", mode, got, want)
		}
	}
}

func TestL05CodesOfAPayerAreOverHisLevel(t *testing.T) {
	day := txn.DayAmountIsOverLimit
	code := by(txn.EntryCode)
	static := func(r *txn.Request) { r.Info.Device = deviceStaticCode }
	for level, most := range []int64{CodeA: 0, CodeB: 5_000_00, CodeC: 1_000_00, CodeD: 500_00} {
		e := policed(t, func(p *Policy) { p.Plans = []Plan{{CodeLevel: CodeLevel(level)}} })
		if most == 0 {
			steps(t, e, step{fs(code, pay(100_000_00)), 0})
			most = 500_00
			steps(t, e, step{fs(code, static, token(5), pay(most)), 0}, step{fs(code, static, token(5), pay(1)), day})
			continue
		}
		steps(t, e, step{fs(code, pay(most-1)), 0}, step{fs(code, pay(2)), day}, step{fs(code, pay(1)), 0}, step{fs(code, pay(1)), day},
			step{fs(by(txn.EntryChip), pay(most)), 0}, step{fs(code, pay(most), token(2)), 0})
		req := good()
		req.Entry = txn.EntryCode
		if v := e.Assess(req); !found(v, ruleL05, txn.ActionRefuse) || v.Scope != txn.ScopeCard || v.Limit != most {
			t.Errorf("level %v: %+v", CodeLevel(level), v)
		}
	}
}

func TestM05CreditCardsOfAMicroMerchantsPerson(t *testing.T) {
	day, month := txn.DayAmountIsOverLimit, txn.MonthAmountIsOverLimit
	micro := func(r *txn.Request) { r.Acceptor.Type = txn.Micro }
	credit := with(txn.CardCredit)
	var days []step
	for d := range txn.Date(9) { // 9 days of 1000.00
		days = append(days, step{fs(micro, credit, pay(1_000_00), on(20261110+d), token(byte(d+1))), 0})
	}
	e := engine(t)
	steps(t, e, days...)
	steps(t, e,
		step{fs(micro, credit, pay(1), on(20261118)), day},
		step{fs(micro, credit, pay(1_000_01), on(20261120)), day},
		step{fs(micro, credit, pay(600_00), on(20261120)), 0},
		step{fs(micro, credit, pay(400_01), on(20261120), shop('2')), day}, // the person's other merchant
		step{fs(micro, credit, pay(399_99), on(20261120), shop('2')), 0},
		step{fs(micro, credit, pay(2), on(20261121)), month},
		step{fs(micro, credit, pay(1), on(20261121)), 0},
		step{fs(micro, credit, pay(1), on(20261121)), month},
		step{fs(micro, with(txn.CardDebit), pay(5_000_00), on(20261121)), 0},
		step{fs(credit, pay(5_000_00), on(20261121)), 0}, // an enterprise
		step{fs(micro, credit, pay(1_000_00), on(20261201)), 0})
	req := good()
	micro(req)
	credit(req)
	req.Day, req.Acceptor.Identity = 20261201, txn.Identity{}
	req.Amount.Minor = 1_000_01
	if v := e.Assess(req); v.Reason != day || v.Scope != txn.ScopeMerchant || !found(v, ruleM05, txn.ActionRefuse) {
		t.Errorf("a person nobody knows: %+v", v)
	}
}
