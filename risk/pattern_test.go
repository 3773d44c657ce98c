package risk

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// decided is the record of a request that was decided so long ago.
func decided(req *txn.Request, ago time.Duration, outcome txn.Outcome, code string) *txn.Record {
	rec := &txn.Record{Kind: txn.RecordOutcome, At: req.Received.Add(-ago), Key: req.Key, Request: req.Kind, Merchant: req.Merchant, Amount: req.Amount,
		Day: req.Day, Card: req.CardToken, CardType: req.CardType, Region: req.Terminal.Region, Serial: req.Info.Serial.Bytes(), Outcome: outcome}
	copy(rec.IssuerCode[:], code)
	return rec
}

func approved(req *txn.Request, ago time.Duration) *txn.Record {
	return decided(req, ago, txn.OutcomeApproved, "00")
}

// history is what happened before: so many of the same.
type history struct {
	n    int
	ago  time.Duration
	does func(*txn.Request) // to the request it is made of
}

// pastRow is one request after a past. A rule that finds nothing has no finding.
type pastRow struct {
	name string
	past []history
	does func(*txn.Request)
	want txn.Finding
	told txn.Reason
}

func runPast(t *testing.T, rule txn.Rule, rows []pastRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			e, req := sixRefuse(t), good()
			if row.does != nil {
				row.does(req)
			}
			for _, p := range row.past {
				for i := range p.n {
					was, outcome, code := good(), txn.OutcomeApproved, "00"
					if p.does != nil {
						p.does(was)
					}
					if was.CardToken[15] != 0 { // a card for each
						was.CardToken[0] = byte(100 + i)
					}
					if was.ReversalReason != [2]byte{} { // stands for the issuer's refusal
						outcome, code = txn.OutcomeDeclined, string(was.ReversalReason[:])
					}
					e.Learn(decided(was, p.ago, outcome, code))
				}
			}
			v := e.Assess(req)
			if v.Reason != row.told || v.Reason != txn.Approved && e.InFlight() != 0 {
				t.Errorf("told %q with %d in flight, want %q", v.Reason, e.InFlight(), row.told)
			}
			if row.want.Rule = rule; row.want.Action == 0 {
				row.want = txn.Finding{}
			}
			var found txn.Finding
			if all := slices.Collect(v.Findings.All()); len(all) > 0 {
				found = all[0]
			}
			if found != row.want {
				t.Errorf("found %+v, want %+v", found, row.want)
			}
		})
	}
}

// sixRefuse is an engine whose policy refuses the sixth payment in ten minutes.
func sixRefuse(t testing.TB) *Engine {
	return policed(t, func(p *Policy) { p.Patterns.RepeatsMax = 6 })
}

func alert(seen, bound int64) txn.Finding {
	return txn.Finding{Action: txn.ActionAlert, Seen: seen, Bound: bound}
}

func refuse(seen, bound int64) txn.Finding {
	return txn.Finding{Action: txn.ActionRefuse, Seen: seen, Bound: bound}
}

func otherMerchant(r *txn.Request) {
	r.Merchant = txn.MakeMerchantID("999290054110002")
	r.Acceptor.ID, r.Terminal.Merchant = r.Merchant, r.Merchant
}
func otherTerminal(r *txn.Request) { r.Key.Terminal = txn.MakeTerminalID("10000002") }
func otherCard(r *txn.Request)     { r.CardToken = txn.CardToken{2} }
func eachItsCard(r *txn.Request)   { r.CardToken[15] = 1 }
func yesterday(r *txn.Request)     { r.Day = r.Day.Before() }
func declined(code string) func(*txn.Request) {
	return func(r *txn.Request) { copy(r.ReversalReason[:], code) }
}
func both(fs ...func(*txn.Request)) func(*txn.Request) {
	return func(r *txn.Request) {
		for _, f := range fs {
			f(r)
		}
	}
}

func TestR03CardRepeatsAtMerchant(t *testing.T) {
	const told = txn.CardRepeatsAtMerchant
	runPast(t, ruleR03, []pastRow{
		{"first", nil, nil, txn.Finding{}, 0},
		{"second", []history{{1, time.Minute, nil}}, nil, txn.Finding{}, 0},
		{"third in ten minutes", []history{{2, time.Minute, nil}}, nil, alert(3, 3), 0},
		{"fifth in ten minutes", []history{{4, time.Minute, nil}}, nil, alert(5, 3), 0},
		{"sixth in ten minutes", []history{{5, time.Minute, nil}}, nil, refuse(6, 6), told},
		{"third, the first nine minutes ago", []history{{2, 9 * time.Minute, nil}}, nil, alert(3, 3), 0},
		{"third, the first ten minutes ago", []history{{2, 10 * time.Minute, nil}}, nil, txn.Finding{}, 0},
		{"fourth on a day", []history{{3, 5 * time.Hour, nil}}, nil, txn.Finding{}, 0},
		{"fifth on a day", []history{{4, 5 * time.Hour, nil}}, nil, alert(5, 5), 0},
		{"fifth, four were yesterday", []history{{4, 5 * time.Hour, yesterday}}, nil, txn.Finding{}, 0},
		{"at another merchant", []history{{9, time.Minute, otherMerchant}}, nil, txn.Finding{}, 0},
		{"with another card", []history{{9, time.Minute, otherCard}}, nil, txn.Finding{}, 0},
		{"at another terminal of the merchant", []history{{2, time.Minute, otherTerminal}}, nil, alert(3, 3), 0},
		{"refused before", []history{{9, time.Minute, declined("61")}}, nil, txn.Finding{}, 0},
		{"balances", []history{{9, time.Minute, func(r *txn.Request) { r.Kind = txn.KindBalance }}}, nil, txn.Finding{}, 0},
		{"a balance after two", []history{{2, time.Minute, nil}}, func(r *txn.Request) { r.Kind = txn.KindBalance }, txn.Finding{}, 0},
	})
}

func TestR04CashOut(t *testing.T) {
	credit := func(minor int64) func(*txn.Request) {
		return func(r *txn.Request) { eachItsCard(r); r.CardType, r.Amount.Minor = txn.CardCredit, minor }
	}
	debit := func(minor int64) func(*txn.Request) {
		return func(r *txn.Request) { eachItsCard(r); r.CardType, r.Amount.Minor = txn.CardDebit, minor }
	}
	at := func(hour int) func(*txn.Request) {
		return func(r *txn.Request) {
			eachItsCard(r)
			r.Received = time.Date(2026, 11, 22, hour, 30, 0, 0, shanghai)
		}
	}
	runPast(t, ruleR04, []pastRow{
		{"90 percent by credit cards", []history{{1, time.Hour, debit(10_000_00)}, {1, time.Hour, credit(80_000_00)}}, credit(10_000_00), txn.Finding{}, 0},
		{"a cent more", []history{{1, time.Hour, debit(9_999_99)}, {1, time.Hour, credit(80_000_00)}}, credit(10_000_00), alert(90, 90), 0},
		{"all by credit cards, and little", []history{{1, time.Hour, credit(40_000_00)}}, credit(9_999_99), txn.Finding{}, 0},
		{"all by credit cards, and enough", []history{{1, time.Hour, credit(40_000_00)}}, credit(10_000_00), alert(100, 90), 0},
		{"debit card at such a merchant", []history{{1, time.Hour, credit(90_000_00)}}, debit(1_00), txn.Finding{}, 0},
		{"yesterday's", []history{{1, time.Hour, both(credit(90_000_00), yesterday)}}, credit(10_00), txn.Finding{}, 0},

		{"fourth near 4 999", []history{{3, time.Hour, credit(4_999_00)}}, credit(4_999_00), txn.Finding{}, 0},
		{"fifth", []history{{4, time.Hour, credit(4_999_00)}}, credit(4_999_00), alert(5, 5), 0},
		{"fifth, 5 percent below", []history{{4, time.Hour, credit(4_749_05)}}, credit(4_749_05), alert(5, 5), 0},
		{"fifth, more than 5 percent below", []history{{4, time.Hour, credit(4_749_05)}}, credit(4_749_04), txn.Finding{}, 0},
		{"fifth, above", []history{{4, time.Hour, credit(4_999_00)}}, credit(4_999_01), txn.Finding{}, 0},
		{"four of them above", []history{{4, time.Hour, credit(4_999_01)}}, credit(4_999_00), txn.Finding{}, 0},
		{"fifth, by debit card", []history{{4, time.Hour, credit(4_999_00)}}, debit(4_999_00), txn.Finding{}, 0},

		{"half at night", []history{{10, 24 * time.Hour, at(11)}, {9, time.Minute, at(5)}}, at(5), txn.Finding{}, 0},
		{"more than half", []history{{10, 24 * time.Hour, at(11)}, {10, time.Minute, at(5)}}, at(5), alert(52, 50), 0},
		{"more than half, by day", []history{{11, 5 * time.Hour, at(10)}, {9, time.Minute, at(11)}}, at(11), txn.Finding{}, 0},
		{"all at night, and few", []history{{18, time.Minute, at(5)}}, at(5), txn.Finding{}, 0},
		{"all at night, and enough", []history{{19, time.Minute, at(5)}}, at(5), alert(100, 50), 0},
		{"23:30 is night", []history{{19, time.Minute, at(23)}}, at(23), alert(100, 50), 0},
		{"22:30 is not", []history{{19, time.Minute, at(22)}}, at(22), txn.Finding{}, 0},
		{"6:30 is not", []history{{19, time.Minute, at(6)}}, at(6), txn.Finding{}, 0},
		{"nights of the day before", []history{{19, 24 * time.Hour, at(5)}}, at(5), txn.Finding{}, 0},
	})
}

func TestR05NewMerchantSellsMoreThanDeclared(t *testing.T) {
	for _, row := range []struct {
		name             string
		sold, before     int64 // this month and the one before
		turnover, amount int64
		since            txn.Date
		found            bool
	}{
		{"three times", 2_000_00, 0, 1_000_00, 1_000_00, 20261120, false},
		{"a cent more", 2_000_00, 0, 1_000_00, 1_000_01, 20261120, true},
		{"thirtieth day", 2_000_00, 0, 1_000_00, 1_000_01, 20261024, true},
		{"thirty days later", 2_000_00, 0, 1_000_00, 1_000_01, 20261023, false},
		{"part of it the month before", 1_500_00, 500_00, 1_000_00, 1_000_01, 20261024, true},
		{"this month's beginner has none before", 1_500_00, 500_00, 1_000_00, 1_000_01, 20261101, false},
		{"turnover not known", 1 << 40, 0, 0, 1_000_01, 20261120, false},
		{"beginning not known", 1 << 40, 0, 1_000_00, 1_000_01, 0, false},
		{"turnover of nobody", 1 << 40, 0, 1 << 62, 1_000_01, 20261120, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, req := engine(t), good()
			h := HoldOf(req)
			h.Card = txn.CardToken{2}
			h.Day, h.Minor = 20261031, row.before
			e.Restore(h)
			h.Day, h.Minor = today, row.sold
			e.Restore(h)
			req.Acceptor.Since, req.Acceptor.Turnover, req.Amount.Minor = row.since, row.turnover, row.amount
			v := e.Assess(req)
			want := txn.Finding{}
			if row.found {
				want = txn.Finding{Rule: ruleR05, Action: txn.ActionHold, Seen: 3_000_01, Bound: 3_000_00}
			}
			var found txn.Finding
			for found = range v.Findings.All() {
				break
			}
			if v.Reason != txn.Approved || found != want {
				t.Errorf("told %q and found %+v, want %+v", v.Reason, found, want)
			}
		})
	}
}

// Who began on the 31st of January is new on the 1st of March, when January's counters
// are gone: what counts is February's.
func TestR05AfterAShortMonth(t *testing.T) {
	e, req := engine(t), good()
	h := HoldOf(req)
	h.Card = txn.CardToken{2}
	h.Day, h.Minor = 20270228, 3_000_00
	e.Restore(h)
	req.Day, req.Acceptor.Since, req.Acceptor.Turnover, req.Amount.Minor = 20270301, 20270131, 1_000_00, 1
	v := e.Assess(req)
	for f := range v.Findings.All() {
		if f == (txn.Finding{Rule: ruleR05, Action: txn.ActionHold, Seen: 3_000_01, Bound: 3_000_00}) {
			return
		}
	}
	t.Errorf("told %q and found %+v", v.Reason, v.Findings)
}

func TestR06CardTesting(t *testing.T) {
	runPast(t, ruleR06, []pastRow{
		{"fourth refusal before", []history{{4, time.Minute, declined("55")}}, nil, txn.Finding{}, 0},
		{"fifth refusal before", []history{{5, time.Minute, declined("55")}}, nil, refuse(5, 5), txn.CardIsDeclinedTooOften},
		{"of all three codes", []history{{2, time.Minute, declined("55")}, {2, time.Minute, declined("51")}, {1, time.Minute, declined("05")}}, nil, refuse(5, 5), txn.CardIsDeclinedTooOften},
		{"other refusals", []history{{9, time.Minute, declined("54")}}, nil, txn.Finding{}, 0},
		{"ten minutes ago", []history{{9, 10 * time.Minute, declined("55")}}, nil, txn.Finding{}, 0},
		{"at another terminal", []history{{9, time.Minute, both(declined("55"), otherTerminal)}}, nil, txn.Finding{}, 0},
		{"approvals", []history{{2, time.Minute, nil}}, otherCard, txn.Finding{}, 0},
		{"a balance", []history{{5, time.Minute, declined("55")}}, func(r *txn.Request) { r.Kind = txn.KindBalance }, refuse(5, 5), txn.CardIsDeclinedTooOften},
		{"a void", []history{{5, time.Minute, declined("55")}}, func(r *txn.Request) { r.Kind = txn.KindVoid }, txn.Finding{}, 0},

		{"nine cards refused", []history{{9, time.Minute, both(declined("51"), eachItsCard)}}, nil, txn.Finding{}, 0},
		{"ten cards refused", []history{{10, time.Minute, both(declined("51"), eachItsCard)}}, nil, refuse(10, 10), txn.TerminalTestsCards},
		{"ten cards refused, nine minutes ago", []history{{10, 599 * time.Second, both(declined("51"), eachItsCard)}}, nil, refuse(10, 10), txn.TerminalTestsCards},
		{"ten cards refused, ten minutes ago", []history{{10, 600 * time.Second, both(declined("51"), eachItsCard)}}, nil, txn.Finding{}, 0},
		{"ten cards refused at another terminal", []history{{10, time.Minute, both(declined("51"), eachItsCard, otherTerminal)}}, nil, txn.Finding{}, 0},
	})
}

func TestR07Refunds(t *testing.T) {
	refund := func(r *txn.Request) { r.Kind = txn.KindRefund; eachItsCard(r) }
	runPast(t, ruleR07, []pastRow{
		{"30 percent", []history{{10, time.Hour, eachItsCard}, {2, time.Hour, refund}}, refund, txn.Finding{}, 0},
		{"more than 30 percent", []history{{9, time.Hour, eachItsCard}, {2, time.Hour, refund}}, refund, alert(3, 2), 0},
		{"second refund, and no sale", []history{{1, time.Hour, refund}}, refund, txn.Finding{}, 0},
		{"third refund, and no sale", []history{{2, time.Hour, refund}}, refund, alert(3, 0), 0},
		{"refunds of yesterday", []history{{9, time.Hour, both(refund, yesterday)}}, refund, txn.Finding{}, 0},
		{"refunds that were refused", []history{{9, time.Hour, both(refund, declined("61"))}}, refund, txn.Finding{}, 0},
		{"a sale", []history{{9, time.Hour, refund}}, nil, txn.Finding{}, 0},
	})
}

func TestR09CardMoves(t *testing.T) {
	in := func(region txn.Region) func(*txn.Request) {
		return both(otherMerchant, func(r *txn.Request) { r.Terminal.Region, r.Acceptor.Region = region, region })
	}
	runPast(t, ruleR09, []pastRow{
		{"same province", []history{{1, time.Minute, in(310115)}}, nil, txn.Finding{}, 0},
		{"two provinces", []history{{1, time.Minute, in(320500)}}, nil, alert(2, 2), 0},
		{"three provinces", []history{{1, time.Minute, in(320500)}, {1, time.Minute, in(110101)}}, nil, alert(3, 2), 0},
		{"within two hours", []history{{1, 2*time.Hour - time.Second, in(320500)}}, nil, alert(2, 2), 0},
		{"two hours ago", []history{{1, 2 * time.Hour, in(320500)}}, nil, txn.Finding{}, 0},
		{"another card", []history{{1, time.Minute, both(in(320500), otherCard)}}, nil, txn.Finding{}, 0},
		{"nowhere known", []history{{1, time.Minute, in(0)}}, nil, txn.Finding{}, 0},
	})
}

func TestT07MachineOfAnotherMerchant(t *testing.T) {
	serial := func(r *txn.Request) { r.Info.Serial = txn.MakeSerial("00002304SN0000000001") }
	there := both(serial, otherMerchant, otherCard)
	bound := func(d txn.Date) func(*txn.Request) {
		return both(serial, func(r *txn.Request) { r.Terminal.Serial, r.Terminal.Since = r.Info.Serial, d })
	}
	told := txn.MachineServesAnotherMerchant
	runPast(t, ruleT07, []pastRow{
		{"same merchant", []history{{1, time.Hour, both(serial, otherCard)}}, serial, txn.Finding{}, 0},
		{"another merchant", []history{{1, time.Hour, there}}, serial, refuse(2, 2), told},
		{"within 24 hours", []history{{1, 24*time.Hour - time.Second, there}}, serial, refuse(2, 2), told},
		{"24 hours ago", []history{{1, 24 * time.Hour, there}}, serial, txn.Finding{}, 0},
		{"no serial", []history{{1, time.Hour, both(otherMerchant, otherCard)}}, nil, txn.Finding{}, 0},
		{"refused there", []history{{1, time.Hour, both(there, declined("51"))}}, serial, txn.Finding{}, 0},
		{"bound here today", []history{{1, time.Hour, there}}, bound(20261122), txn.Finding{}, 0},
		{"bound here yesterday, before that", []history{{1, 13 * time.Hour, there}}, bound(20261121), txn.Finding{}, 0},
		{"bound here yesterday, after that", []history{{1, 11 * time.Hour, there}}, bound(20261121), refuse(2, 2), told},
		{"another machine is bound here", []history{{1, time.Hour, there}}, both(bound(20261122), func(r *txn.Request) { r.Terminal.Serial = txn.MakeSerial("2") }), refuse(2, 2), told},
	})
}

func TestR11WatchedParties(t *testing.T) {
	none := txn.Finding{}
	held := txn.Finding{Action: txn.ActionHold, Seen: int64(txn.Warning), Bound: 2}
	for _, row := range []struct {
		merchant, terminal txn.Level
		kind               txn.Kind
		want               txn.Finding
		told               txn.Reason
	}{
		{0, 0, txn.KindSale, none, 0},
		{txn.Suspicious, 0, txn.KindSale, none, 0},
		{txn.Attention, 0, txn.KindSale, alert(2, 2), 0},
		{0, txn.Attention, txn.KindSale, alert(2, 2), 0},
		{txn.Warning, 0, txn.KindSale, held, 0},
		{txn.Attention, txn.Warning, txn.KindRefund, held, 0},
		{txn.HighRisk, 0, txn.KindSale, refuse(4, 2), txn.PartyIsHighRisk},
		{0, txn.HighRisk, txn.KindPreauth, refuse(4, 2), txn.PartyIsHighRisk},
		{txn.HighRisk, 0, txn.KindRefund, refuse(4, 2), txn.PartyIsHighRisk},
		{txn.HighRisk, 0, txn.KindVoid, none, 0},
		{txn.HighRisk, 0, txn.KindOfflineSale, none, 0},
		{txn.HighRisk, 0, txn.KindSignOn, none, 0},
	} {
		e, req := engine(t), good()
		req.Kind = row.kind
		e.Watch(WatchList{map[txn.MerchantID]txn.Level{req.Merchant: row.merchant, {}: txn.HighRisk}, map[txn.TerminalID]txn.Level{req.Key.Terminal: row.terminal, {1}: txn.HighRisk}})
		v := e.Assess(req)
		var found txn.Finding
		for found = range v.Findings.All() {
			break
		}
		if row.want.Action != 0 {
			row.want.Rule = ruleR11
		}
		if v.Reason != row.told || found != row.want || v.Reason != txn.Approved && e.InFlight() != 0 {
			t.Errorf("%v of a merchant at %v and a terminal at %v: %q and %+v, want %q and %+v", row.kind, row.merchant, row.terminal, v.Reason, found, row.told, row.want)
		}
	}
}

// A graded rule in shadow refuses nothing, and one that is off is silent.
func TestPastRulesObeyTheirMode(t *testing.T) {
	for mode, want := range map[rules.Mode]int{rules.Enforce: 1, rules.Shadow: 1, rules.Off: 0} {
		e := policed(t, func(p *Policy) { p.Patterns.RepeatsMax, p.Rules = 6, map[txn.Rule]Setting{ruleR03: {Mode: mode}} })
		for range 9 {
			e.Learn(approved(good(), time.Minute))
		}
		v := e.Assess(good())
		if v.Findings.Len() != want || (v.Reason == txn.Approved) == (mode == rules.Enforce) {
			t.Errorf("%v: %d findings, %q", mode, v.Findings.Len(), v.Reason)
		}
		for f := range v.Findings.All() {
			if f.Shadow != (mode == rules.Shadow) || f.Action != txn.ActionRefuse {
				t.Errorf("%v: found %+v", mode, f)
			}
		}
	}
}

// What refuses for the past is told before limits, and reserves nothing.
func TestPastIsToldBeforeLimits(t *testing.T) {
	e, req := sixRefuse(t), good()
	req.Acceptor.Limits.Transaction = 1
	for range 5 {
		e.Learn(approved(good(), time.Minute))
	}
	if v := e.Assess(req); v.Reason != txn.CardRepeatsAtMerchant || e.InFlight() != 0 {
		t.Errorf("told %q with %d in flight", v.Reason, e.InFlight())
	}
}

// A pattern of zero is not looked for, whatever has happened.
func TestPatternsOfZeroFindNothing(t *testing.T) {
	none := policed(t, func(p *Policy) { p.Patterns = Patterns{Near: p.Patterns.Near} })
	all := policed(t, func(p *Policy) {})
	atNight := noon.Add(11 * time.Hour)
	for _, e := range []*Engine{none, all} {
		found := 0
		for _, kind := range []txn.Kind{txn.KindSale, txn.KindRefund} {
			for i := range 40 {
				req := good()
				req.Kind, req.Received, req.CardType, req.Amount.Minor = kind, atNight, txn.CardCredit, 49_999_00
				req.Acceptor.Turnover, req.Acceptor.Since = 1, today
				if req.Terminal.Region = 310101; i%2 == 0 {
					req.Terminal.Region, req.Acceptor.Region = 440300, 440300
				}
				v := e.Assess(req)
				for f := range v.Findings.All() {
					if f.Rule != ruleT11 && f.Rule != ruleT13 {
						found++
					}
				}
				outcome, code := txn.OutcomeApproved, "00"
				if i%4 == 3 {
					outcome, code = txn.OutcomeDeclined, "51"
				}
				e.Learn(decided(req, 0, outcome, code))
			}
		}
		if (found == 0) != (e == none) {
			t.Errorf("with patterns %v: %d findings", e == all, found)
		}
	}
}

func TestPatternsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Patterns){
		"repeats": func(p *Patterns) { p.Repeats = 16 }, "declines": func(p *Patterns) { p.Declines = 16 },
		"cards": func(p *Patterns) { p.DeclinedCards = 17 }, "one province": func(p *Patterns) { p.Provinces = 1 },
		"four provinces": func(p *Patterns) { p.Provinces = 4 }, "amount": func(p *Patterns) { p.Near[3] = -1 },
		"share": func(p *Patterns) { p.NightPercent = 100 },
	} {
		p := DefaultPolicy()
		change(&p.Patterns)
		if engine(t).SetPolicy(p) == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Every window against a list of what happened.
func TestWindowsAgainstAList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := policed(t, func(p *Policy) { p.Own = []rules.Rule{own("recent.amount_at_terminal + recent.cards_at_terminal < 0")} })
		// Of a merchant's hash a machine's window keeps 15 bits: under one seed of 30,000 the two are one.
		e.recent.seed = [2]uint64{0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F}
		now := noon
		cards, merchants := []txn.CardToken{{1}, {2}, {3}}, []string{"999290054110001", "999290054110002"}
		request := func() *txn.Request {
			r := good()
			r.Kind = rapid.SampledFrom([]txn.Kind{txn.KindSale, txn.KindSale, txn.KindRefund, txn.KindBalance}).Draw(rt, "kind")
			r.CardToken = rapid.SampledFrom(cards).Draw(rt, "card")
			r.Merchant = txn.MakeMerchantID(rapid.SampledFrom(merchants).Draw(rt, "merchant"))
			r.Key.Terminal = rapid.SampledFrom([]txn.TerminalID{{1}, {2}}).Draw(rt, "terminal")
			r.Terminal.Region = rapid.SampledFrom([]txn.Region{0, 310101, 320500}).Draw(rt, "region")
			r.Info.Serial = rapid.SampledFrom([]txn.Serial{{}, txn.MakeSerial("1"), txn.MakeSerial("2")}).Draw(rt, "serial")
			r.Amount.Minor = rapid.SampledFrom([]int64{1_00, 4_999_00}).Draw(rt, "amount")
			r.CardType = rapid.SampledFrom([]txn.CardType{txn.CardDebit, txn.CardCredit}).Draw(rt, "type")
			r.Received, r.Day = now, txn.MakeDate(now)
			return r
		}
		var all []*txn.Record
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 5 * time.Minute, 10 * time.Minute, 2 * time.Hour, 9 * time.Hour}).Draw(rt, "passed"))
			outcome := rapid.SampledFrom([]txn.Outcome{txn.OutcomeApproved, txn.OutcomeApproved, txn.OutcomeDeclined, txn.OutcomeUnknown}).Draw(rt, "outcome")
			rec := decided(request(), 0, outcome, rapid.SampledFrom([]string{"05", "51", "61"}).Draw(rt, "code"))
			e.Learn(rec)
			all = append(all, rec)
			req := request()
			for w := range windowCount {
				if got, least, most := e.Recent(w, req), naive(w, all, req, repeatSpan-repeatSpan/10), naive(w, all, req, repeatSpan); got < min(least, most) || got > max(least, most) {
					rt.Fatalf("%v is %d, want %d to %d", w, got, least, most)
				}
			}
		}
	})
}

// naive is what a window says, by going through everything.
func naive(w Window, all []*txn.Record, req *txn.Request, span time.Duration) int64 {
	n, others := int64(0), map[string]bool{}
	var minor, credit, atNight, nights int64
	for _, rec := range all {
		ago := req.Received.Sub(rec.At)
		paid := rec.Outcome == txn.OutcomeApproved && rec.Request == txn.KindSale
		bad := rec.Outcome == txn.OutcomeDeclined && string(rec.IssuerCode[:]) != "61"
		card, terminal, merchant := rec.Card == req.CardToken, rec.Key.Terminal == req.Key.Terminal, rec.Merchant == req.Merchant
		is := false
		switch w {
		case CardAtMerchant:
			is = paid && card && merchant && ago < span
		case CardAtMerchantDay:
			is = paid && card && merchant && rec.Day == req.Day
		case CardDeclines:
			is = bad && card && terminal && ago < span
		case AmountAtTerminal:
			is = paid && terminal && rec.Amount == req.Amount && ago < span
		case MerchantSales:
			is = paid && merchant && rec.Day == req.Day
		case MerchantRefunds:
			is = (rec.Outcome == txn.OutcomeApproved || rec.Outcome == txn.OutcomeUnknown) && rec.Request == txn.KindRefund && merchant && rec.Day == req.Day
		case NearLimits:
			is = paid && merchant && rec.Day == req.Day && rec.CardType == txn.CardCredit && rec.Amount.Minor == 4_999_00
		case DeclinedCards:
			if bad && terminal && !card && ago < repeatSpan {
				others[string(rec.Card[:])] = true
			}
		case CardsAtTerminal:
			if paid && terminal && !card && ago < repeatSpan {
				others[string(rec.Card[:])] = true
			}
		case ProvincesOfCard:
			if paid && card && rec.Region != 0 && rec.Region != req.Terminal.Region && ago < provinceSpan {
				others[fmt.Sprint(rec.Region)] = true
			}
		case MerchantsOfMachine:
			if paid && string(rec.Serial) == string(req.Info.Serial.Bytes()) && len(rec.Serial) > 0 && !merchant && ago < machineSpan {
				others[rec.Merchant.String()] = true
			}
		case CreditPercent:
			if paid && merchant && rec.Day == req.Day {
				if minor += rec.Amount.Minor; rec.CardType == txn.CardCredit {
					credit += rec.Amount.Minor
				}
			}
		case NightPercent:
			hours := req.Received.Truncate(time.Hour).Sub(rec.At.Truncate(time.Hour)) / time.Hour
			if paid && merchant && hours < 24 {
				if h := rec.At.In(shanghai).Hour(); h >= 23 || h < 6 {
					atNight++
				}
				nights++
			}
		}
		if is {
			n++
		}
	}
	switch w {
	case CreditPercent:
		return percent(credit, minor)
	case NightPercent:
		return percent(atNight, nights)
	}
	return n + int64(len(others))
}

func TestWindowNames(t *testing.T) {
	if len(windowNames) != Windows || Window(Windows).String() != "invalid" {
		t.Errorf("%d names of %d windows", len(windowNames), Windows)
	}
}

// What the past is asked and told costs no memory, and may be done at once.
func TestPastSideBySide(t *testing.T) {
	e := engine(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			req := good()
			req.Merchant = txn.MakeMerchantID(fmt.Sprint(w % 2))
			req.Terminal.Merchant, req.Acceptor.ID = req.Merchant, req.Merchant
			for range 200 {
				e.Assess(req)
				e.Learn(approved(req, 0))
				e.Recent(CreditPercent, req)
			}
		})
	}
	wg.Wait()
	req := good()
	req.Merchant = txn.MakeMerchantID("0")
	if n := e.Recent(MerchantSales, req); n != 400 {
		t.Errorf("%d sales, want 400", n)
	}
	rec := approved(req, 0)
	if n := testing.AllocsPerRun(100, func() { e.Learn(rec); e.Recent(CardAtMerchant, req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Recent is what a window has counted when req asks. Its parties must be known.
func (e *Engine) Recent(w Window, req *txn.Request) int64 {
	var l lately
	e.recent.look(&l, req, 1<<w)
	return l.n[w]
}
