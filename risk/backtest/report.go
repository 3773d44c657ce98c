package backtest

import (
	"cmp"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Report is what a policy would have changed.
type Report struct {
	Transactions int64 `json:"transactions"` // judged
	NotJudged    int64 `json:"not_judged"`   // refused before risk was asked, or of parties that are registered no more
	Changed      Sum   `json:"changed"`
	NowRefused   Sum   `json:"now_refused"`
	NowPassed    Sum   `json:"now_passed"`
	// Strayed are transactions that the old policy treats otherwise now than was
	// recorded: the registry changed, or a record lacks what mattered.
	Strayed   int64         `json:"strayed"`
	Strays    []Stray       `json:"strays,omitempty"`
	Rules     []RuleChange  `json:"rules,omitempty"`
	Merchants []PartyChange `json:"merchants,omitempty"`
	Regions   []PartyChange `json:"regions,omitempty"`
	// Silent are rules of the new policy that could not tell, or failed.
	Silent []Silence `json:"silent,omitempty"`
	Lacks  []string  `json:"lacks"` // what records do not say
}

// Stray is how many transactions were recorded so and replayed so.
type Stray struct {
	Recorded string `json:"recorded"`
	Replayed string `json:"replayed"`
	Count    int64  `json:"count"`
}

// Silence is how often a rule could not tell.
type Silence struct {
	Rule      string `json:"rule"`
	Name      string `json:"name"`
	Undecided uint64 `json:"undecided"`
	Failed    uint64 `json:"failed"`
}

// Sum is a number of transactions, and their amounts in minor units by currency.
type Sum struct {
	Count   int64            `json:"count"`
	Amounts map[string]int64 `json:"amounts,omitempty"`
}

func (s *Sum) add(a txn.Amount) {
	s.Count++
	if a.Currency == 0 {
		return
	}
	if s.Amounts == nil {
		s.Amounts = map[string]int64{}
	}
	s.Amounts[a.Currency.Letters()] += a.Minor
}

// RuleChange is what a rule with an action found under both policies: how often,
// and of which transactions under one of them only.
type RuleChange struct {
	Rule   string `json:"rule"`
	Name   string `json:"name"`
	Action string `json:"action"`
	Shadow bool   `json:"shadow,omitempty"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
	Came   Sum    `json:"came"`
	Lost   Sum    `json:"lost"`
}

// PartyChange is what changed for a merchant or a province.
type PartyChange struct {
	Name       string `json:"name"`
	NowRefused Sum    `json:"now_refused"`
	NowPassed  Sum    `json:"now_passed"`
	Otherwise  Sum    `json:"otherwise"` // other findings, or another reason
}

type changeKind uint8

const (
	found changeKind = iota
	refusals
	passes
)

func (p *PartyChange) add(k changeKind, a txn.Amount) {
	switch k {
	case refusals:
		p.NowRefused.add(a)
	case passes:
		p.NowPassed.add(a)
	default:
		p.Otherwise.add(a)
	}
}

func (p *PartyChange) total() int64 {
	return p.NowRefused.Count + p.NowPassed.Count + p.Otherwise.Count
}

type partyKey struct {
	merchant txn.MerchantID
	region   txn.Region
}

type ruleKey struct {
	rule   txn.Rule
	action txn.Action
	shadow bool
}

func (t *Test) party(k partyKey, name string) *PartyChange {
	c := t.parties[k]
	if c == nil {
		c = &PartyChange{Name: name}
		t.parties[k] = c
	}
	return c
}

func (t *Test) rule(x txn.Finding) *RuleChange {
	k := ruleKey{x.Rule, x.Action, x.Shadow}
	c := t.rules[k]
	if c == nil {
		c = new(RuleChange)
		t.rules[k] = c
	}
	return c
}

// compareStrings compares pairs until one differs.
func compareStrings(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if c := cmp.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}
