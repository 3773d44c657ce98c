package risk

import (
	"fmt"
	"slices"
	"testing"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestExplanationIsTheVerdict holds that an explanation says what Assess decides,
// where each limit comes from, and changes nothing.
func TestExplanationIsTheVerdict(t *testing.T) {
	e := policed(t, func(p *Policy) {
		p.Plans = []Plan{{Number: 3, Name: "small", Limits: []Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 900_00, DayCount: 9}}}}}
		p.Rules = map[txn.Rule]Setting{ruleR03: {Mode: rules.Off}}
		quiet := own("distance > 5 && amount > 1")
		loud := own("amount > 500_00")
		loud.Number, loud.Name = 1001, "loud"
		p.Own = []rules.Rule{quiet, loud}
		o := Override{Limit: Limit{Scope: txn.ScopeTerminal, Currency: txn.CNY, Bounds: txn.Limits{DayCount: 2}}}
		copy(o.ID[:], "10000001")
		p.Overrides = []Override{o}
	})
	r := good()
	r.Acceptor.Plan, r.Acceptor.Limits = 3, txn.Limits{DayAmount: 300_00}
	for range 2 {
		if v := e.Assess(r); v.Reason != txn.Approved {
			t.Fatal(v.Reason)
		}
	}
	came := func(x *Explanation, r txn.Rule) string {
		for _, c := range x.Checks {
			if c.Rule == r {
				return c.Came
			}
		}
		return "not there"
	}
	before := e.UsageOf(r.Day, partiesOf(HoldOf(r))[0])
	x := e.Explain(r)
	if x.Verdict.Reason != txn.DayCountIsOverLimit || x.Policy != 7 {
		t.Errorf("policy %d: %v", x.Policy, x.Verdict.Reason)
	}
	for rule, want := range map[txn.Rule]string{ruleM01: "nothing found", ruleR03: "off", ruleL03: "nothing found", ruleL04: "found: refuse"} {
		if got := came(x, rule); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
	var limits, sources []string
	for _, l := range x.Limits {
		limits = append(limits, fmt.Sprintf("%s %s %d of %d", l.Scope, l.What, l.Used, l.Limit))
	}
	for _, s := range x.Sources {
		sources = append(sources, fmt.Sprintf("%s %s", s.Scope, s.From))
	}
	if want := []string{"terminal day count 2 of 2", "merchant day amount 2000 of 30000", "merchant day count 2 of 9"}; !slices.Equal(limits, want) {
		t.Errorf("limits %q, want %q", limits, want)
	}
	if want := []string{"merchant plan 3 small", "merchant merchant's row", "terminal override"}; !slices.Equal(sources, want) {
		t.Errorf("sources %q, want %q", sources, want)
	}
	if len(x.Own) != 2 || x.Own[0].Result != rules.Undecided || x.Own[1].Result != rules.Misses ||
		!slices.Equal(x.Own[1].Facts, []FactSaid{{"amount", "1000"}}) {
		t.Errorf("own rules: %+v", x.Own)
	}
	if !slices.Contains(x.Facts, FactSaid{"terminal.day.count", "2"}) || !slices.Contains(x.Facts, FactSaid{"distance", "not known"}) {
		t.Errorf("facts: %+v", x.Facts)
	}

	// Each is what Assess says; what is refused earlier is asked no further.
	r.Amount.Minor = 500_01
	if x := e.Explain(r); x.Verdict.Reason != txn.AmountIsRefusedByRule || came(x, ruleL02) != "not asked" || came(x, ruleM07) != "nothing found" || len(x.Limits) != 0 {
		t.Errorf("%v, L02 %s, M07 %s", x.Verdict.Reason, came(x, ruleL02), came(x, ruleM07))
	}
	r.Acceptor.Status = txn.StatusSuspended
	if x := e.Explain(r); x.Verdict.Reason != txn.MerchantIsNotActive || came(x, ruleM02) != "found: refuse" || came(x, ruleT01) != "not asked" || len(x.Own) != 0 {
		t.Errorf("%v, M02 %s, T01 %s", x.Verdict.Reason, came(x, ruleM02), came(x, ruleT01))
	}
	r.Acceptor.Status, r.Amount.Minor, r.CardToken = txn.StatusActive, 1_00, txn.CardToken{9}
	r.Terminal.ID = txn.MakeTerminalID("10000002")
	e.Explain(r)
	if after := e.UsageOf(r.Day, partiesOf(HoldOf(good()))[0]); after != before || e.UsageOf(r.Day, partiesOf(HoldOf(r))[0]) != (Use{}) || e.InFlight() != 2 {
		t.Errorf("explaining used something: %+v after %+v, %d in flight", after, before, e.InFlight())
	}
	if e.Assess(good()).Reason != e.Explain(good()).Verdict.Reason {
		t.Error("Assess and Explain differ")
	}
}
