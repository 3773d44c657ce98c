package risk

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func own(when string) rules.Rule {
	return rules.Rule{Number: 1000, Name: "own", When: when, Action: txn.ActionRefuse, Reason: txn.AmountIsRefusedByRule}
}

// TestWhatOwnRulesSee holds that every fact is what the request, its parties and
// the counters say: the rule holds for the request, and no longer once spoiled.
func TestWhatOwnRulesSee(t *testing.T) {
	full := func() *txn.Request {
		r := good()
		r.Amount.Minor = 123_45
		r.Entry = txn.EntryContactless
		r.PINBlock = txn.Secret("12345678")
		r.Instalments = 3
		r.Region = 310115
		r.CardType = txn.CardCredit
		r.Info.Position = txn.Position{Lat: 31_231300, Lng: 121_473700, Known: true} // 100 m north
		r.Received = time.Date(2026, 11, 22, 23, 30, 0, 0, shanghai)                 // a Sunday
		m, h := r.Acceptor, r.Terminal
		m.Type, m.Grade, m.Since, m.Identity = txn.Enterprise, 4, 20261120, txn.Identity{1}
		h.Model, h.Since = 7, 20261022
		return r
	}
	for _, c := range []struct {
		when  string
		spoil func(*txn.Request)
	}{
		{`amount == 123_45`, func(r *txn.Request) { r.Amount.Minor++ }},
		{`currency == "CNY"`, nil},
		{`kind == "sale"`, func(r *txn.Request) { r.Kind = txn.KindPreauth }},
		{`entry == "contactless"`, func(r *txn.Request) { r.Entry = txn.EntryChip }},
		{`pin`, func(r *txn.Request) { r.PINBlock = nil }},
		{`instalments == 3`, func(r *txn.Request) { r.Instalments = 0 }},
		{`hour == 23`, func(r *txn.Request) { r.Received = r.Received.Add(-time.Hour) }},
		{`weekday == 7`, func(r *txn.Request) { r.Received = r.Received.Add(time.Hour) }},
		{`day == 20261122`, func(r *txn.Request) { r.Day-- }},
		{`region == 310115 && city == 310000 && province == 310000`, func(r *txn.Request) { r.Region = 310101 }},
		{`region > 0`, func(r *txn.Request) { r.Region = 0 }},
		{`distance in 99..101`, func(r *txn.Request) { r.Info.Position.Known = false }},
		{`card.type == "credit"`, func(r *txn.Request) { r.CardType = txn.CardDebit }},
		{`card.bin == "622200"`, func(r *txn.Request) { r.PAN, _ = txn.ParsePAN("6011000000000004") }},
		{`card.token == "01000000000000000000000000000000"`, func(r *txn.Request) { r.CardToken[1] = 9 }},
		{`merchant.id == "999290054110001"`, nil},
		{`merchant.type == "enterprise"`, func(r *txn.Request) { r.Acceptor.Type = txn.NaturalPerson }},
		{`merchant.mcc == 5411`, func(r *txn.Request) { r.Acceptor.MCC = 0 }},
		{`merchant.grade == 4`, func(r *txn.Request) { r.Acceptor.Grade = 0 }},
		{`merchant.age == 2`, func(r *txn.Request) { r.Acceptor.Since = 0 }},
		{`merchant.city == 310000 && merchant.province == 310000`, nil},
		{`terminal.id == "10000001"`, nil},
		{`terminal.class == "fixed"`, nil},
		{`terminal.model == 7`, func(r *txn.Request) { r.Terminal.Model = 0 }},
		{`terminal.age == 31`, func(r *txn.Request) { r.Terminal.Since++ }},
		{`card.day.amount == 50_00 && card.day.count == 1`, func(r *txn.Request) { r.CardToken[1] = 9 }},
		{`terminal.day.amount == 50_00 && terminal.day.count == 1`, nil},
		{`merchant.day.amount == 50_00 && merchant.day.count == 1`, nil},
		{`person.day.amount == 50_00 && person.day.count == 1`, func(r *txn.Request) { r.Acceptor.Identity = txn.Identity{} }},
		{`terminal.month.amount == 50_00 && terminal.month.count == 1`, nil},
		{`merchant.month.amount == 50_00 && merchant.month.count == 1`, nil},
		{`person.month.amount == 50_00 && person.month.count == 1`, nil},
		{`!known(card.month.amount) && !known(card.month.count)`, nil}, // cards are not counted by month
	} {
		t.Run(c.when, func(t *testing.T) {
			e := policed(t, func(p *Policy) { p.Own = []rules.Rule{own(c.when)} })
			r := full()
			used := HoldOf(r)
			used.Minor = 50_00
			e.Restore(used)
			if err := e.LoadMonth(today, func(func(Cell, Use)) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if v := e.Assess(r); v.Reason != txn.AmountIsRefusedByRule {
				t.Errorf("it does not hold: %v", v.Reason)
			}
			if c.spoil == nil {
				return
			}
			c.spoil(r)
			if v := e.Assess(r); v.Reason != txn.Approved {
				t.Errorf("it holds after all: %v", v.Reason)
			}
		})
	}
}

// A month of which something is not counted yet is not known.
func TestOwnRulesKnowWholeMonthsOnly(t *testing.T) {
	e := policed(t, func(p *Policy) { p.Own = []rules.Rule{own("merchant.month.amount >= 0")} })
	e.Restore(HoldOf(good()))
	if v := e.Assess(good()); v.Reason != txn.Approved {
		t.Errorf("%v before the month is whole", v.Reason)
	}
	if err := e.LoadMonth(today, func(func(Cell, Use)) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if v := e.Assess(good()); v.Reason != txn.AmountIsRefusedByRule {
		t.Errorf("%v when it is", v.Reason)
	}
}

// TestOwnRulesSeeEveryWindow holds the facts about the recent past to the
// windows they are read from.
func TestOwnRulesSeeEveryWindow(t *testing.T) {
	for w := range Window(Windows) {
		if x := rules.RecentCardAtMerchant + rules.Fact(w); x.String() != "recent."+w.String() {
			t.Errorf("%s is read for %s", w, x)
		}
	}
	e := policed(t, func(p *Policy) {
		p.Own = []rules.Rule{own("recent.card_at_merchant == 1 && recent.merchant_sales == 1 && recent.card_declines == 0")}
	})
	r := good()
	if v := e.Assess(r); v.Reason != txn.Approved {
		t.Fatal(v.Reason)
	}
	e.Learn(&txn.Record{Kind: txn.RecordOutcome, Outcome: txn.OutcomeApproved, Request: r.Kind, At: r.Received, Day: r.Day, Merchant: r.Merchant,
		Key: r.Key, Card: r.CardToken, Amount: r.Amount})
	if v := e.Assess(r); v.Reason != txn.AmountIsRefusedByRule {
		t.Errorf("%v, want the rule to see one earlier sale", v.Reason)
	}
}

func TestOwnRulesComeBehindTheBuiltIn(t *testing.T) {
	e := policed(t, func(p *Policy) {
		p.Own = []rules.Rule{own("amount > 100_00")}
		p.Plans = []Plan{{Limits: []Limit{{Scope: txn.ScopeCard, Currency: txn.CNY, Bounds: txn.Limits{Transaction: 50_00}}}}}
	})
	r := good()
	for _, c := range []struct {
		minor int64
		spoil func()
		want  txn.Reason
	}{
		{50_00, func() {}, txn.Approved},
		{50_01, func() {}, txn.AmountIsOverTransactionLimit},
		{100_01, func() {}, txn.AmountIsRefusedByRule},
		{100_01, func() { r.Expiry = [4]byte{'2', '0', '0', '1'} }, txn.CardIsExpired},
	} {
		r.Amount.Minor = c.minor
		c.spoil()
		if v := e.Assess(r); v.Reason != c.want {
			t.Errorf("%d: %v, want %v", c.minor, v.Reason, c.want)
		}
	}
}

func TestOwnRulesAreKeptInMindAndCounted(t *testing.T) {
	alert := own("amount > 1")
	alert.Action = txn.ActionHold
	e := policed(t, func(p *Policy) { p.Own = []rules.Rule{alert} })
	want := []txn.Finding{{Rule: 1000, Action: txn.ActionHold}}
	v := e.Assess(good())
	if got := slices.Collect(v.Findings.All()); v.Reason != txn.Approved || !slices.Equal(got, want) || v.Findings.Policy != 7 {
		t.Errorf("%v %v of policy %d", v.Reason, got, v.Findings.Policy)
	}
	p := e.Policy()
	p.Number, p.Own = 8, []rules.Rule{alert, own("amout > 1")}
	if err := e.SetPolicy(p); err == nil || !strings.Contains(err.Error(), `policy 8: rule "own": name: another rule is called so`) || !strings.Contains(err.Error(), `"amout" is not known`) {
		t.Errorf("a policy with a bad rule: %v", err)
	}
	p.Own = []rules.Rule{alert}
	if err := e.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
	e.Assess(good())
	for r, n := range e.Own().All() {
		if n.Of(rules.Hits) != 2 {
			t.Errorf("%s held %d times, want once under each policy", r.Name, n.Of(rules.Hits))
		}
	}
}

// fifty are rules that ask for much and find nothing.
func fifty(p *Policy) {
	for i := range 50 {
		r := own(`amount > 1_000_000_00 && kind == "sale" || (hour >= 23 || hour < 6) && merchant.mcc in [5411, 5812] && !pin && card.day.count > 3 && distance > 400 && terminal.age < 30`)
		r.Number, r.Name, r.Action = txn.RuleCustom+txn.Rule(i), fmt.Sprintf("r-%d", i), txn.ActionAlert
		p.Own = append(p.Own, r)
	}
}

func TestOwnRulesAllocateNothing(t *testing.T) {
	e := policed(t, fifty)
	r := good()
	r.Info.Position = txn.Position{Lat: 31_230400, Lng: 121_473700, Known: true}
	r.Terminal.Since = 20261022
	if n := testing.AllocsPerRun(1000, func() {
		if v := e.Assess(r); v.Reason != txn.Approved {
			t.Fatal(v.Reason)
		}
		e.Release(HoldOf(r))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
