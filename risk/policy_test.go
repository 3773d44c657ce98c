package risk

import (
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// policed is an engine under the default policy with changes.
func policed(t testing.TB, change func(*Policy)) *Engine {
	t.Helper()
	p := DefaultPolicy()
	p.Number = 7
	change(&p)
	e, err := New(Config{Zone: shanghai, Policy: &p})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestPoliciesThatAreRefused(t *testing.T) {
	limit := func(l Limit) func(*Policy) {
		return func(p *Policy) { p.Plans = []Plan{{Number: 3, Name: "small", Limits: []Limit{l}}} }
	}
	cny := Limit{Scope: txn.ScopeCard, Currency: txn.CNY}
	with := func(f func(*Limit)) func(*Policy) { l := cny; f(&l); return limit(l) }
	for _, row := range []struct {
		name   string
		change func(*Policy)
		want   string
	}{
		{"rule that is not built in", func(p *Policy) { p.Rules = map[txn.Rule]Setting{199: {}} }, "rule T99 is not built in"},
		{"rule of the officer's own", func(p *Policy) { p.Rules = map[txn.Rule]Setting{1000: {}} }, "rule C1000 is not built in"},
		{"binding switched off", func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleT02: {Mode: rules.Off}} }, "T02 cannot be changed"},
		{"unknown merchant only alerts", func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleM01: {Action: txn.ActionAlert}} }, "M01 cannot be changed"},
		{"mode that is none", func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleT11: {Mode: 3}} }, "T11 has mode 3"},
		{"action that is none", func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleT11: {Action: 5}} }, "action 5"},
		{"plan twice", func(p *Policy) { p.Plans = []Plan{{Number: 1}, {Number: 1}} }, "plan 1 is there twice"},
		{"too many limits", func(p *Policy) { p.Plans = []Plan{{Limits: make([]Limit, PlanLimits+1)}} }, "21 limits"},
		{"level that is none", func(p *Policy) { p.Plans = []Plan{{CodeLevel: 4}} }, "code level 4"},
		{"limit of nobody", with(func(l *Limit) { l.Scope = 0 }), "plan 3 small, limit 1: it is of nobody"},
		{"limit of something else", with(func(l *Limit) { l.Scope = txn.ScopeIdentity + 1 }), "it is of nobody"},
		{"override of nobody", func(p *Policy) { p.Overrides = []Override{{Limit: cny}, {}} }, "override 2: it is of nobody"},
		{"currency nobody has", with(func(l *Limit) { l.Currency = 1 }), "ISO 4217"},
		{"negative limit", with(func(l *Limit) { l.Bounds.DayAmount = -1 }), "negative"},
		{"month of cards that are not counted", with(func(l *Limit) { l.Bounds.MonthCount = 1 }), "cards_per_month_max"},
		{"limit that ends first", with(func(l *Limit) { l.From, l.To = 20261123, 20261122 }), "ends on 2026-11-22"},
		{"method that is none", with(func(l *Limit) { l.Methods = 1 << txn.MethodCount }), "method"},
		{"permit that ends first", func(p *Policy) { p.Permits = []Permit{{From: 20261123, To: 20261122}} }, "permit 1"},
		{"crossing that is none", func(p *Policy) { p.Classes[txn.Micro].City = 5 }, "micro"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := policed(t, func(*Policy) {})
			p := DefaultPolicy()
			row.change(&p)
			if err := e.SetPolicy(p); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("said %v, want %q", err, row.want)
			}
			if n := e.Policy().Number; n != 7 {
				t.Errorf("policy %d is in force", n)
			}
		})
	}
}

// What a rule finds is refused, alerted, only noted or not looked for.
func TestSettingsOfARule(t *testing.T) {
	for _, row := range []struct {
		name    string
		setting Setting
		want    txn.Reason
		finding txn.Finding
	}{
		{"as catalogued", Setting{}, txn.SerialIsNotTheTerminals, txn.Finding{Rule: ruleT03, Action: txn.ActionRefuse}},
		{"alert", Setting{Action: txn.ActionAlert}, txn.Approved, txn.Finding{Rule: ruleT03, Action: txn.ActionAlert}},
		{"shadow", Setting{Mode: rules.Shadow}, txn.Approved, txn.Finding{Rule: ruleT03, Action: txn.ActionRefuse, Shadow: true}},
		{"off", Setting{Mode: rules.Off}, txn.Approved, txn.Finding{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := policed(t, func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleT03: row.setting} })
			req := good()
			req.Terminal.SerialCheck, req.Info.Serial = txn.SerialCompared, txn.MakeSerial("another")
			v := e.Assess(req)
			if v.Reason != row.want || v.Findings.Policy != 7 {
				t.Errorf("got %q under policy %d, want %q", v.Reason, v.Findings.Policy, row.want)
			}
			var found txn.Finding
			for f := range v.Findings.All() {
				found = f
			}
			if found != row.finding {
				t.Errorf("found %+v, want %+v", found, row.finding)
			}
		})
	}
}
