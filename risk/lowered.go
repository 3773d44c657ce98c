package risk

import (
	"errors"
	"fmt"
	"iter"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Check says what stands against putting p in force on a business day: that it
// lowers a limit on all use of a merchant, a terminal or a merchant's person below
// what that has used of the day or the month already. Limits of some methods,
// cards, categories or regions, and those of cards, are not looked at: they bind
// at once, whatever was used.
func (e *Engine) Check(p Policy, day txn.Date, merchants iter.Seq[*txn.Merchant], terminals iter.Seq[*txn.Terminal]) error {
	b, err := newRulebook(p, e.cardsMonthMax > 0)
	if err != nil {
		return err
	}
	was, will := judgement{rulebook: e.rules.Load()}, judgement{rulebook: b}
	var problems []error
	var rooms [2][needsMax]need
	owners := map[txn.MerchantID]*txn.Merchant{}
	hold := func(t *txn.Terminal, m *txn.Merchant, from, to int) {
		req := txn.Request{Kind: txn.KindSale, Day: day, Terminal: t, Acceptor: m, Merchant: m.ID, Amount: txn.Amount{Currency: m.Currency}}
		before, after := was.limitsOf(&req, rooms[0][:]), will.limitsOf(&req, rooms[1][:])
		for i, party := range partiesOf(HoldOf(&req)) {
			if i < from || i > to || i == cards || party.Scope == txn.ScopeNone {
				continue
			}
			n, o := &after[i], &before[i]
			n.day, n.month = e.UsageOf(day, party), e.MonthUsageOf(day, party)
			for c := range limitClasses {
				limit, used, _, set := n.of(c, 0)
				if old, _, _, had := o.of(c, 0); set && used > limit && (!had || limit < old) && len(problems) < 20 {
					problems = append(problems, fmt.Errorf("%s has used %d already: a limit of %d (%s) is below that", party, used, limit, classReasons[c]))
				}
			}
		}
	}
	for m := range merchants {
		owners[m.ID] = m
		hold(&txn.Terminal{}, m, 1, scopes-1)
	}
	for t := range terminals {
		if m := owners[t.Merchant]; m != nil {
			hold(t, m, 0, 0)
		}
	}
	return errors.Join(problems...)
}
