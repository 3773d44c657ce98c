package reconcile

import (
	"context"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// conclude decides about what only one side has, once the whole file is read: what the
// file itself reverses, what an earlier file left open, and what stays an exception.
func (m *match) conclude(ctx context.Context) error {
	for i := range m.facts {
		if err := m.concludeOurs(&m.facts[i]); err != nil {
			return err
		}
	}
	rest := map[key]*Exception{} // lines that are still without a transaction of ours
	for i := range m.left {
		e := &m.left[i]
		k := e.key(m.in.Layout)
		if err := m.concludeTheirs(k, e); err != nil {
			return err
		}
		if !e.done {
			rest[k] = &e.Exception
		}
	}
	if err := m.explain(ctx, rest); err != nil {
		return err
	}
	for i := range m.left {
		if !m.left[i].done {
			if err := m.put(m.left[i].Exception); err != nil {
				return err
			}
		}
	}
	return nil
}

// concludeOurs decides about a transaction of ours that no line has, that the file
// reverses, or that the issuer declined.
func (m *match) concludeOurs(f *fact) error {
	k := m.in.Layout.keyOf(f.stan, f.at, f.rrn[:])
	e := m.of(nil, f, IssuerDoesNotHaveIt)
	switch {
	case m.reversed[k]:
		e.Cause = IssuerReversedIt
		m.takeBack(f, &e)
	case f.seen:
		return nil
	case f.declined:
		e.Cause = IssuerDeclinedIt
	default:
		if late, err := m.settleLate(k, &e, TheirsOnly); err != nil {
			return err
		} else if late {
			m.total(f.currency).Late -= f.minor
			return nil
		}
	}
	m.unlike(e.Ours, Side{}, 1)
	return m.put(e)
}

// takeBack takes the line of f, which the file reverses, out of the totals again, and
// what the two differed in. e is f's exception.
func (m *match) takeBack(f *fact, e *Exception) {
	if !f.seen {
		return
	}
	m.total(f.inTheirs).Theirs.add(f.theirs, -1)
	if !f.matched {
		m.unlike(e.Ours, Side{Minor: f.theirs, Currency: f.inTheirs}, -1)
		return
	}
	m.total(f.currency).Tolerated -= f.theirs - f.minor
	m.result.Matched--
	m.result.NoMoney++
}

// concludeTheirs decides about a line that our day does not have. It is done where the
// file reverses it, or where it settles what an earlier file left open.
func (m *match) concludeTheirs(k key, e *leftover) error {
	line := e.Theirs
	if e.done = m.reversed[k]; e.done {
		m.total(line.Currency).Theirs.add(line.Minor, -1)
		m.result.NoMoney++
		return nil
	}
	if e.Cause == WeDoNotHaveIt {
		var err error
		if e.done, err = m.settleLate(k, &e.Exception, OursOnly); err != nil {
			return err
		}
		if e.done {
			m.total(line.Currency).Late += line.Minor
			return nil
		}
	}
	m.unlike(Side{}, line, 1)
	return nil
}

// settleLate settles what an earlier file left open under the same key, if that had
// the other side only. late is true then; where the two sides differ, they do so in an
// exception of this file.
func (m *match) settleLate(k key, e *Exception, other State) (late bool, err error) {
	o, ok := m.open[k]
	if !ok || o.Cause.State() != other {
		return false, nil
	}
	m.settled = append(m.settled, o.Number)
	delete(m.open, k)
	m.result.Late++
	if e.Ours == (Side{}) {
		e.Ours, e.ID, e.Merchant, e.Terminal, e.RRN, e.Card = o.Ours, o.ID, o.Merchant, o.Terminal, o.RRN, o.Card
	} else {
		e.Theirs, e.Columns = o.Theirs, o.Columns
	}
	switch off := e.Ours.Minor - e.Theirs.Minor; {
	case e.Ours.Currency != e.Theirs.Currency:
		e.Cause = CurrencyDiffers
	case off > m.in.Tolerance, off < -m.in.Tolerance:
		e.Cause = AmountDiffers
	default:
		return true, nil
	}
	return true, m.put(*e)
}

// explain says of lines that our day does not have what we know of them.
func (m *match) explain(ctx context.Context, rest map[key]*Exception) error {
	if len(rest) == 0 {
		return nil
	}
	in := m.in
	by, numbers := ledger.BySTAN, make([]uint64, 0, len(rest))
	for k, e := range rest {
		n := uint64(e.STAN)
		if in.Layout.byRRN {
			by, n = ledger.ByRRN, uint64(k)
		}
		numbers = append(numbers, n)
	}
	return in.Ledger.Legs(ctx, in.Day.Plus(-lookBack), in.Day.Plus(lookAhead), by, numbers, func(g *ledger.Leg) error {
		at, ok := legTimeOf(g.Leg.Time[:], legTime)
		if !ok {
			return nil
		}
		e := rest[in.Layout.keyOf(g.Leg.STAN, at, g.RRN[:])]
		// Issuers number apart: another issuer's leg is this one only if all else is.
		if e == nil || e.Cause == ItIsAnotherAcquirers || g.Leg.Issuer != in.Issuer && (e.ID != 0 || e.RRN == "" || e.RRN != txn.Text(g.RRN[:])) {
			return nil
		}
		e.ID = g.ID
		switch {
		case g.Leg.Issuer != in.Issuer:
			e.Cause = ItWentToAnotherIssuer
		case g.Kind.Totals() == txn.NoEffect:
			e.Cause = ItMovedNoMoney
		case g.Reversed:
			e.Cause = WeReversedIt
		case g.Stands && in.Currency != 0 && g.Amount.Currency != in.Currency:
			e.Cause = CurrencyDiffers
			e.Ours = Side{Minor: int64(g.Kind.Totals()) * g.Amount.Minor, Currency: g.Amount.Currency}
		case g.Stands && g.Day != in.Day && m.given[g.Day]:
			e.Cause = ItWasGivenBefore
		case g.Stands && g.Day != in.Day:
			e.Cause = ItIsOfAnotherDay
		case g.Stands: // of another merchant, in a merchant's file
			e.Cause = MerchantDiffers
			e.Ours = Side{Minor: int64(g.Kind.Totals()) * g.Amount.Minor, Currency: g.Amount.Currency}
		case g.Outcome == txn.OutcomeDeclined:
			e.Cause = WeDeclinedIt
		default:
			e.Cause = WeDoNotKnowItsOutcome
		}
		return nil
	})
}
