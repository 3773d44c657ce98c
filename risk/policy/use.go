package policy

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Use is what one party used of a business day and of its month so far.
type Use struct {
	Scope    txn.LimitScope
	ID       [16]byte
	Currency txn.Currency
	// Amounts are minor units.
	DayAmount, DayCount, MonthAmount, MonthCount int64
}

// Exceeded says which limits of next are below what a party has used on day
// already, where before has not the same limit. It looks at limits of all of a
// party's use: overrides, and those of the plans of terminals and merchants, which
// plan tells. What a plan lets one card do is about the next card too, and is
// not looked at.
func Exceeded(before, next *risk.Policy, day txn.Date, used []Use, plan func(txn.LimitScope, [16]byte) (uint16, bool)) error {
	var problems yamlfile.Problems
	for i := range used {
		u := &used[i]
		for j := range next.Overrides {
			o := &next.Overrides[j]
			if o.Scope == u.Scope && o.ID == u.ID && !slices.Contains(before.Overrides, *o) {
				u.over(&problems, &o.Limit, "the override", day)
			}
		}
		if u.Scope != txn.ScopeTerminal && u.Scope != txn.ScopeMerchant {
			continue
		}
		number, ok := plan(u.Scope, u.ID)
		for j := range next.Plans {
			p := &next.Plans[j]
			if !ok || p.Number != number {
				continue
			}
			var had []risk.Limit
			if k := slices.IndexFunc(before.Plans, func(q risk.Plan) bool { return q.Number == number }); k >= 0 {
				had = before.Plans[k].Limits
			}
			for k := range p.Limits {
				if l := &p.Limits[k]; l.Scope == u.Scope && !slices.Contains(had, *l) {
					u.over(&problems, l, fmt.Sprintf("plan %d", number), day)
				}
			}
		}
	}
	return problems.Err()
}

// over notes which bounds of a limit in force are below the use.
func (u *Use) over(problems *yamlfile.Problems, l *risk.Limit, whose string, day txn.Date) {
	if l.Currency != u.Currency || l.Methods != 0 || l.Cards != 0 || l.MCC != 0 || l.Region != 0 || day < l.From || l.To != 0 && day > l.To {
		return
	}
	for _, b := range []struct {
		name        string
		bound, used int64
		amount      bool
		until       string
	}{
		{"day_amount", l.Bounds.DayAmount, u.DayAmount, true, day.After().String()},
		{"day_count", int64(l.Bounds.DayCount), u.DayCount, false, day.After().String()},
		{"month_amount", l.Bounds.MonthAmount, u.MonthAmount, true, nextMonth(day).String()},
		{"month_count", int64(l.Bounds.MonthCount), u.MonthCount, false, nextMonth(day).String()},
	} {
		if b.bound == 0 || b.used <= b.bound {
			continue
		}
		say := func(n int64) string { return fmt.Sprint(n) }
		if b.amount {
			say = func(n int64) string { return txn.Amount{Minor: n, Currency: l.Currency}.InLetters() }
		}
		problems.AddError(approval.Refuse("%s's %s of %s %s is %s, and %s is used already: give more, or from: %s",
			whose, b.name, u.Scope, partyName(u.Scope, u.ID), say(b.bound), say(b.used), b.until))
	}
}

func nextMonth(d txn.Date) txn.Date {
	for m := d / 100; d/100 == m; {
		d = d.After()
	}
	return d
}

func partyName(scope txn.LimitScope, id [16]byte) string {
	switch scope {
	case txn.ScopeTerminal:
		return txn.TerminalID(id[:8]).String()
	case txn.ScopeMerchant:
		return txn.MerchantID(id[:15]).String()
	}
	return hex.EncodeToString(id[:])
}
