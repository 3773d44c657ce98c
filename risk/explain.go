package risk

import (
	"fmt"
	"strings"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Explanation is how a verdict came about: what Assess looked at, written down
// as it looked. Nothing in it is a card number.
type Explanation struct {
	Policy  uint32
	Verdict txn.Verdict
	Facts   []FactSaid    // what own rules may ask, and what it is here
	Checks  []CheckSaid   // built-in rules, in the order in which they are asked
	Own     []OwnSaid     // own rules
	Limits  []LimitSaid   // that bind the request, with where they come from
	Sources []LimitSource // what each source of whole limits says
	reached assessment    // how far it came
	found   []txn.Finding // also those that found no place in the verdict
}

// FactSaid is one fact.
type FactSaid struct{ Name, Value string }

// CheckSaid is what came of a built-in rule: such as "nothing found", "found:
// refuse", "off", "not asked".
type CheckSaid struct {
	Rule        txn.Rule
	Finds       string
	Came        string
	Seen, Bound int64
}

// OwnSaid is what came of an own rule, with the facts that it asks for.
type OwnSaid struct {
	Rule   rules.Rule
	Result rules.Result
	Facts  []FactSaid
}

// LimitSaid is one limit in force and what was used of it before the request. For a
// limit of one transaction, Used is the request's amount.
type LimitSaid struct {
	Scope       txn.LimitScope
	Part        string // of its use that counts; empty is all
	What        string // such as day amount
	Limit, Used int64
	Amount      bool // of minor units, not a count
}

// LimitSource is what one source says of a party's limits. The last that says
// something of a bound is in force; of several limits of one plan the smallest.
type LimitSource struct {
	Scope  txn.LimitScope
	From   string // such as "plan 7 small shops", "merchant's row", "override"
	Bounds txn.Limits
}

// assessment is a step of Assess.
type assessment uint8

const (
	notAssessed assessment = iota
	byItself               // what is held against the message and its parties
	byThePast
	byOwnRules
	byLimits
)

// stages are from which built-in rule on which step asks; before the first of
// them it is byItself.
var stages = map[txn.Rule]assessment{ruleT07: byThePast, ruleL02: byLimits}

// Explain is what Assess would do with req now, and why. It counts nothing.
func (e *Engine) Explain(req *txn.Request) *Explanation {
	x := &Explanation{}
	x.Verdict = e.assess(req, x)
	x.Policy = x.Verdict.Findings.Policy
	if x.Verdict.Reason == txn.Approved && req.Kind.Limits() == txn.Debit {
		e.Release(HoldOf(req))
	}
	x.check(e.rules.Load())
	return x
}

// check says what came of each built-in rule.
func (x *Explanation) check(b *rulebook) {
	step, over := byItself, false
	for _, r := range builtins {
		if s, ok := stages[r.Rule]; ok {
			step = s
		}
		c := CheckSaid{Rule: r.Rule, Finds: r.Finds, Came: "nothing found"}
		switch s := b.settings[r.Rule]; {
		case s.Mode == rules.Off:
			c.Came = "off"
		case over || step > x.reached:
			c.Came = "not asked"
		}
		for _, f := range x.found {
			if f.Rule != r.Rule {
				continue
			}
			c.Came, c.Seen, c.Bound = "found: "+f.Action.String(), f.Seen, f.Bound
			if f.Shadow {
				c.Came += " (shadow)"
			} else if f.Action == txn.ActionRefuse {
				over = true
			}
		}
		x.Checks = append(x.Checks, c)
	}
}

// The rest is called while Assess goes on; a nil Explanation listens to nothing.

func (x *Explanation) reach(s assessment) {
	if x != nil {
		x.reached = s
	}
}

func (x *Explanation) finding(f txn.Finding) {
	if x != nil {
		x.found = append(x.found, f)
	}
}

// facts notes all facts, and is what listens to own rules.
func (x *Explanation) facts(s *rules.Set, f *rules.Facts) func(*rules.Rule, rules.Result) {
	if x == nil {
		return nil
	}
	for _, fact := range rules.All() {
		x.Facts = append(x.Facts, FactSaid{fact.String(), f.Say(fact)})
	}
	return func(r *rules.Rule, result rules.Result) {
		said := OwnSaid{Rule: *r, Result: result}
		for _, fact := range s.Uses(r.Number) {
			said.Facts = append(said.Facts, FactSaid{fact.String(), f.Say(fact)})
		}
		x.Own = append(x.Own, said)
	}
}

func (x *Explanation) source(scope txn.LimitScope, from string, b *txn.Limits) {
	if x != nil && *b != (txn.Limits{}) {
		x.Sources = append(x.Sources, LimitSource{scope, from, *b})
	}
}

func (x *Explanation) plan(scope txn.LimitScope, p *Plan, b *txn.Limits) {
	if x != nil {
		x.source(scope, strings.TrimSpace(fmt.Sprintf("plan %d %s", p.Number, p.Name)), b)
	}
}

// limits notes the limits that were gathered, with what was used of them.
func (x *Explanation) limits(needs []need, minor int64) {
	if x == nil {
		return
	}
	for i := range needs {
		n := &needs[i]
		part := []string{}
		for m := range txn.Method(txn.MethodCount) {
			if n.methods.Has(m) {
				part = append(part, m.String())
			}
		}
		for t := txn.CardUnknown; t.String() != "invalid"; t++ {
			if n.cards.Has(t) {
				part = append(part, t.String())
			}
		}
		if n.rule != 0 {
			part = append(part, "regulator's "+n.rule.String())
		}
		for _, b := range []struct {
			what        string
			limit, used int64
			amount      bool
		}{
			{"transaction", n.bounds.Transaction, minor, true}, {"day amount", n.bounds.DayAmount, n.day.Minor, true},
			{"day count", int64(n.bounds.DayCount), n.day.Count, false}, {"month amount", n.bounds.MonthAmount, n.month.Minor, true},
			{"month count", int64(n.bounds.MonthCount), n.month.Count, false},
		} {
			if b.limit > 0 {
				x.Limits = append(x.Limits, LimitSaid{n.scope, strings.Join(part, ", "), b.what, b.limit, b.used, b.amount})
			}
		}
	}
}
