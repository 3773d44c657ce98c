// Package rules are the risk officer's own rules: conditions in an expression
// language, and what is done where one holds.
//
// The language is that of github.com/expr-lang/expr, less whatever takes longer
// than its text is long: no loops, functions, variables or patterns. Its parser
// is used; its virtual machine is not. That takes 250 ns and five allocations
// for a condition of five comparisons (cel-go: 320 ns, three), fifty of which
// are more than a sale has. Here a condition becomes functions of one typed
// environment, Facts: 40 ns and nothing allocated.
//
// Promises: a rule that loads asks only for facts that there are, by their
// types, and compares words only with words there can be; evaluating it ends
// after at most one visit of each of its nodes, never panics through to the
// caller, and reaches no card number, since none is a fact. What depends on a
// fact that is not known is unknown, and a rule does nothing where it is.
//
// Not here: where facts come from (package risk), how rules are written down
// and put in force.
package rules

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// RulesMax is how many rules a set has at most.
const RulesMax = 500

// Mode is whether a rule is obeyed.
type Mode uint8

// The modes, of built-in rules too.
const (
	Enforce Mode = iota // what it says is done
	Shadow              // what it says is counted, and never done
	Off                 // it is not asked
)

var modeNames = [...]string{"enforce", "shadow", "off"}

func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return "invalid"
}

// ParseMode reads String's form.
func ParseMode(s string) (Mode, bool) {
	for m, name := range modeNames {
		if name == s {
			return Mode(m), true
		}
	}
	return 0, false
}

// Rule is one rule.
type Rule struct {
	Number txn.Rule // from txn.RuleCustom
	Name   string   // lower-case letters, digits and hyphens
	When   string   // the condition
	Action txn.Action
	Reason txn.Reason // of ActionRefuse: one of Refusals
	Mode   Mode
	// From and Until are the first and last business day of the rule; zero is open.
	From, Until txn.Date
	// RefuseOnError makes a rule of ActionRefuse refuse what it fails on. Any
	// other lets it go on; either way it is counted and people are told.
	RefuseOnError bool
}

// Refusals are what a rule may refuse with, by their names for the risk officer.
var Refusals = map[string]txn.Reason{
	"card":        txn.CardIsRefusedByRule,
	"transaction": txn.TransactionIsRefusedByRule,
	"amount":      txn.AmountIsRefusedByRule,
	"frequency":   txn.FrequencyIsRefusedByRule,
}

// Result is what a rule came to for one request.
type Result uint8

// The results.
const (
	Misses    Result = iota
	Hits             // the condition holds
	Undecided        // a fact that it depends on is not known
	Fails            // an overflow, a division by zero, a panic
	Idle             // it is off, or it is not its time
)

var resultNames = [...]string{"does not hold", "holds", "undecided", "failed", "not in force"}

func (r Result) String() string { return resultNames[r] }

// Counts are how often a rule came to what, since it was first loaded. They are
// counted in several places: many requests in flight that all change one would wait
// for each other.
type Counts struct{ apart [countsApart]counts }

const countsApart = 4

type counts struct {
	results [Idle]atomic.Uint64 // by Result
	_       [64 - 8*Idle]byte
}

// Of is how often it came to Hits, Undecided or Fails.
func (c *Counts) Of(r Result) (n uint64) {
	for i := range c.apart {
		n += c.apart[i].results[r].Load()
	}
	return n
}

// rule is a compiled one.
type rule struct {
	Rule
	is     condition
	uses   []Fact
	counts *Counts
}

// Set is rules that are obeyed together, in their order. It is safe for
// concurrent use.
type Set struct {
	rules []rule
	asks  uint64 // bit 1<<Fact: a rule in force, now or later, asks for it
}

// Problem is what is wrong with a rule: At is its place in the list, Field the part
// that is wrong, and Err an *Error if that is the condition.
type Problem struct {
	At    int
	Name  string
	Field string
	Err   error
}

func (p *Problem) Error() string { return fmt.Sprintf("rule %q: %s: %v", p.Name, p.Field, p.Err) }

func (p *Problem) Unwrap() error { return p.Err }

// New compiles rules, whose conditions may look things up in lists. All that is
// wrong with them is told, of rules as *Problems, all of it joined.
func New(list []Rule, lists ...List) (*Set, error) {
	s := &Set{}
	var problems []error
	named, err := lookups(lists)
	if err != nil {
		problems = append(problems, err)
	}
	names, numbers := map[string]bool{}, map[txn.Rule]bool{}
	for i := range list {
		r := rule{Rule: list[i], counts: new(Counts)}
		problem := func(field string, err error) {
			problems = append(problems, &Problem{i, r.Name, field, err})
		}
		if i == RulesMax {
			problem("name", fmt.Errorf("there are more than %d rules", RulesMax))
			break
		}
		if !wellNamed(r.Name) {
			problem("name", fmt.Errorf("%q must be of lower-case letters, digits and hyphens, at most 40", r.Name))
		}
		if names[r.Name] {
			problem("name", errors.New("another rule is called so"))
		}
		if r.Number < txn.RuleCustom {
			problem("number", fmt.Errorf("%d must be %d or more: those below are built in", uint16(r.Number), uint16(txn.RuleCustom)))
		}
		if numbers[r.Number] {
			problem("number", fmt.Errorf("another rule has %d", uint16(r.Number)))
		}
		names[r.Name], numbers[r.Number] = true, true
		if r.From != 0 && r.Until != 0 && r.Until < r.From {
			problem("until", fmt.Errorf("%s is before from, %s", r.Until, r.From))
		}
		var err error
		if r.is, r.uses, err = compile(r.When, named); err != nil {
			problem("when", err)
		}
		s.rules = append(s.rules, r)
		for _, x := range r.uses {
			if r.Mode != Off {
				s.asks |= 1 << x
			}
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return s, nil
}

func wellNamed(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-'
}

// Inherit goes on with the counts of the rules that old had by the same number.
// It is called before s is used.
func (s *Set) Inherit(old *Set) {
	for i := range s.rules {
		for j := range old.rules {
			if s.rules[i].Number == old.rules[j].Number {
				s.rules[i].counts = old.rules[j].counts
			}
		}
	}
}

// Judge lets every rule see the facts of a request of business day day, notes in
// found what they say, and returns the reason of the first that refuses, or
// txn.Approved. told says that the request tells of what has happened already: it
// cannot be refused, so a refusal becomes a review. each, unless nil, is called for
// every rule with its result.
func (s *Set) Judge(f *Facts, day txn.Date, told bool, found *txn.Findings, each func(*Rule, Result)) txn.Reason {
	reason := txn.Approved
	for i := 0; i < len(s.rules); i++ {
		var result Result
		if i, result = s.next(i, f, day, each != nil); i == len(s.rules) {
			break
		}
		r := &s.rules[i]
		if each != nil {
			each(&r.Rule, result)
		}
		x := txn.Finding{Rule: r.Number, Action: r.Action, Shadow: r.Mode == Shadow}
		if result.quiet() {
			continue
		}
		r.counts.apart[f.apart].results[result].Add(1)
		switch result {
		case Undecided:
			continue
		case Fails:
			if x.Action != txn.ActionRefuse || !r.RefuseOnError {
				x.Action = txn.ActionAlert
			}
		}
		if x.Action == txn.ActionRefuse {
			if told {
				x.Action = txn.ActionReview
			} else if reason == txn.Approved && !x.Shadow {
				reason = r.Reason
			}
		}
		found.Add(x)
	}
	return reason
}

// next is the next rule from i on that has something to say, or simply the next if all
// are wanted, and its result. A rule that panics has failed; the sale goes on.
func (s *Set) next(i int, f *Facts, day txn.Date, all bool) (at int, result Result) {
	defer func() {
		if recover() != nil {
			f.fault, result = panicked, Fails
		}
	}()
	for at = i; at < len(s.rules); at++ {
		if result = s.rules[at].judge(f, day); all || !result.quiet() {
			break
		}
	}
	return at, result
}

// judge evaluates one rule.
func (r *rule) judge(f *Facts, day txn.Date) Result {
	if r.Mode == Off || day < r.From || r.Until != 0 && day > r.Until {
		return Idle
	}
	f.fault = noFault
	switch r.is(f) {
	case yes:
		return Hits
	case no:
		return Misses
	}
	if f.fault != noFault {
		return Fails
	}
	return Undecided
}

// quiet says that there is nothing to note.
func (r Result) quiet() bool { return r == Misses || r == Idle }

// Asks says that a rule needs one of some facts.
func (s *Set) Asks(xs ...Fact) bool {
	for _, x := range xs {
		if s.asks&(1<<x) != 0 {
			return true
		}
	}
	return false
}

// Len is the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// All walks the rules with their counts, in their order.
func (s *Set) All() iter.Seq2[*Rule, *Counts] {
	return func(yield func(*Rule, *Counts) bool) {
		for i := range s.rules {
			if !yield(&s.rules[i].Rule, s.rules[i].counts) {
				return
			}
		}
	}
}

// Counts are those of a rule, nil if it is not in the set.
func (s *Set) Counts(number txn.Rule) *Counts {
	for i := range s.rules {
		if s.rules[i].Number == number {
			return s.rules[i].counts
		}
	}
	return nil
}

// Uses are the facts that a rule's condition asks for.
func (s *Set) Uses(number txn.Rule) []Fact {
	for i := range s.rules {
		if s.rules[i].Number == number {
			return s.rules[i].uses
		}
	}
	return nil
}
