package settlement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// claim is what a merchant is owed in a currency, and how that came about.
type claim struct {
	payout.Position
	totals *Totals // of the run's transactions
}

func (a *aggregate) claim(k ledger.Claim) *claim {
	c := a.claims[k]
	if c == nil {
		c = &claim{payout.Position{Merchant: k.Merchant, Currency: k.Currency}, newTotals(k.Currency)}
		a.claims[k] = c
	}
	return c
}

// pay completes the claims with what was carried forward, corrected and released,
// decides about each, and books and writes what is done. It follows the
// transactions: all of them are in a.claims.
func (a *aggregate) pay(ctx context.Context, s *ledger.Snapshot, t *payout.Terms, run, prior *ledger.Run) error {
	for _, c := range a.claims {
		c.Net = c.totals.Net
	}
	err := s.Payouts(ctx, prior.Day, func(p *ledger.Payout) error {
		if p.Closing != 0 {
			a.claim(p.Claim).Opening = p.Closing
		}
		return nil
	})
	if err != nil {
		return err
	}
	released, err := s.Reserves(ctx, prior.Day, run.Day)
	if err != nil {
		return err
	}
	for k, minor := range released {
		a.claim(k).Released = minor
	}
	held, err := a.acts(ctx, s, run, prior)
	if err != nil {
		return err
	}
	trading := map[txn.MerchantID]int{}
	if t.SameDay() {
		if trading, err = s.TradingDays(ctx, run.Day.Plus(-payout.TradingWindow), run.Day); err != nil {
			return err
		}
	}
	began := run.At.In(a.zone)
	var payments []payout.Payment
	keys := make([]ledger.Claim, 0, len(a.claims))
	for k := range a.claims {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y ledger.Claim) int {
		return cmp.Or(slices.Compare(x.Merchant[:], y.Merchant[:]), cmp.Compare(x.Currency, y.Currency))
	})
	for _, k := range keys {
		c := a.claims[k]
		c.Held, c.TradingDays = held[k.Merchant], trading[k.Merchant]
		d, err := t.Decide(&c.Position, run.Day, txn.MakeDate(began))
		if err != nil {
			return err
		}
		if err := a.decided(c, &d); err != nil {
			return err
		}
		if d.Pay > 0 {
			payments = append(payments, payout.Payment{Merchant: k.Merchant, Amount: txn.Amount{Minor: d.Pay, Currency: k.Currency}, Executes: d.Executes,
				Account: d.Account, EndToEnd: payout.EndToEnd(run.Day, k.Merchant, currencyCode(k.Currency))})
		}
	}
	for i := range payments {
		p := &payments[i]
		a.out.line(payoutsFile, p.EndToEnd, p.Merchant.String(), currencyCode(p.Amount.Currency), majorUnits(p.Amount.Minor, p.Amount.Currency), p.Executes.String(),
			p.Account.Name, p.Account.Number, p.Account.Bank)
	}
	if w := a.out.writer(painFile); w != nil && len(payments) > 0 {
		if err := t.WritePain(w, run.Day, began, payments); err != nil {
			return fmt.Errorf("write %s: %w", painFile, err)
		}
	}
	return a.out.err
}

// decided books a decision and writes its lines.
func (a *aggregate) decided(c *claim, d *payout.Decision) error {
	for _, m := range [...]struct {
		item  book.Item
		minor int64
	}{{book.Releasing, c.Released}, {book.Reserving, d.Reserved}, {book.Payout, d.Pay}} {
		if m.minor == 0 {
			continue
		}
		if err := a.move(c.Merchant, c.Currency, book.Move(nil, m.item, m.minor)); err != nil {
			return err
		}
	}
	row := ledger.Payout{Claim: ledger.Claim{Merchant: c.Merchant, Currency: c.Currency}, Opening: c.Opening, Net: c.Net, Corrections: c.Corrections,
		Released: c.Released, Reserved: d.Reserved, Paid: d.Pay, Closing: d.Closing, ReserveUntil: d.ReserveUntil, Executes: d.Executes}
	if row.Opening != 0 || row.Net != 0 || row.Corrections != 0 || row.Released != 0 {
		a.payouts = append(a.payouts, row)
	}
	executes, decision := "", d.Why.String()
	if d.Why == payout.PayoutsAreHeld {
		decision += ": " + c.Held
	}
	if d.Executes != 0 {
		executes = d.Executes.String()
	}
	if d.Demoted {
		decision += fmt.Sprintf("; a same-day payout needs %d days with us and sales on %d of the last %d", payout.OnboardDaysMin, payout.TradingDaysMin, payout.TradingWindow)
	}
	t, m := c.totals, c.totals.Major
	a.out.line(positionsFile, c.Merchant.String(), t.Currency, fmt.Sprint(t.Transactions), m(t.Sales), m(t.Refunds), m(t.MerchantFees), m(t.Suspense), m(c.Net),
		m(c.Opening), m(c.Corrections), m(c.Released), m(d.Reserved), m(d.Pay), m(d.Closing), d.Cycle.String(), executes, decision)
	if d.Why.Exception() {
		a.exception(c.Merchant.String(), a.day.String(), "", "", "", "", "", "payout", t.Currency, m(d.Closing), decision)
	}
	return nil
}

// move books postings of a merchant that come of no transaction.
func (a *aggregate) move(m txn.MerchantID, c txn.Currency, postings []book.Posting) error {
	for _, p := range postings {
		var s book.Sum
		s.Add(p.Minor)
		if _, err := a.book(m, book.Key{Item: p.Item, Account: p.Account, Currency: c}, s); err != nil {
			return err
		}
	}
	return nil
}

// acts books the corrections that were approved since the run before and returns
// why merchants' payouts are held, by the acts that the run takes into account.
func (a *aggregate) acts(ctx context.Context, s *ledger.Snapshot, run, prior *ledger.Run) (map[txn.MerchantID]string, error) {
	standing := map[int64]ledger.Act{}
	var holds []int64
	corrections := map[ledger.Claim]map[book.Key]*book.Sum{}
	err := s.Acts(ctx, run.Acts, func(act *ledger.Act) error {
		switch act.Kind {
		case ledger.Hold:
			holds = append(holds, act.Number)
			standing[act.Number] = *act
		case ledger.Release:
			delete(standing, act.Refers)
		case ledger.Correction:
			if act.Number > prior.Acts {
				return a.correct(corrections, act)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for k, sums := range corrections {
		for key, sum := range sums {
			if _, err := a.book(k.Merchant, key, *sum); err != nil {
				return nil, err
			}
		}
	}
	held := map[txn.MerchantID]string{}
	for _, n := range holds {
		if act, ok := standing[n]; ok && held[act.Merchant] == "" {
			held[act.Merchant] = fmt.Sprintf("%s (%s, %s)", act.Reason, act.Who, act.At.In(a.zone).Format(time.DateOnly))
		}
	}
	return held, nil
}

// correct adds the postings of a correction to those of its merchant, and writes
// its line.
func (a *aggregate) correct(all map[ledger.Claim]map[book.Key]*book.Sum, act *ledger.Act) error {
	sums := all[act.Claim]
	if sums == nil {
		sums = map[book.Key]*book.Sum{}
		all[act.Claim] = sums
	}
	var net int64
	for _, p := range book.Correct(nil, accountsByName[act.Debit], accountsByName[act.Credit], act.Minor) {
		k := book.Key{Item: p.Item, Account: p.Account, Currency: act.Currency}
		if sums[k] == nil {
			sums[k] = new(book.Sum)
		}
		if !sums[k].Add(p.Minor) {
			return fmt.Errorf("the corrections of merchant %s do not fit 64 bits", act.Merchant)
		}
		if p.Account == book.MerchantPayable {
			net -= p.Minor
		}
	}
	a.claim(act.Claim).Corrections += net
	m := func(minor int64) string { return majorUnits(minor, act.Currency) }
	a.out.line(correctionsFile, fmt.Sprint(act.Refers), act.Merchant.String(), currencyCode(act.Currency), m(act.Minor), act.Debit, act.Credit,
		m(net), act.Reason, act.Proposer, act.Who, act.At.In(a.zone).Format(time.DateTime))
	return nil
}

// loadTerms are the terms of a run.
func loadTerms(ctx context.Context, l *ledger.Ledger, sum string) (*payout.Terms, error) {
	stored, err := l.Terms(ctx, sum)
	if err != nil {
		return nil, err
	}
	t, err := payout.Load(payout.File{Name: "stored payouts", Text: []byte(stored.Merchants)}, payout.File{Name: "stored calendar", Text: []byte(stored.Calendar)})
	if err == nil && t.Sum() != sum {
		err = errors.New("payout terms " + sum + " in the ledger are not what was stored")
	}
	return t, err
}
