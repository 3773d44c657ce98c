package settlement

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// closeMerchant turns the sums of the open merchant into rows, decides what it is
// paid and ends its statement.
func (a *aggregate) closeMerchant() error {
	if a.merchant == (txn.MerchantID{}) {
		return nil
	}
	first := len(a.sums)
	for k, s := range a.open {
		row, err := a.book(a.merchant, k, *s)
		if err != nil {
			return err
		}
		a.claim(ledger.Claim{Merchant: a.merchant, Currency: k.Currency}).totals.add(row)
	}
	clear(a.open)
	slices.SortFunc(a.sums[first:], comparePostings)
	if err := a.closeAgencies(); err != nil {
		return err
	}
	a.closeTerminals()
	a.closeBatches()
	return a.settle(a.merchant)
}

// closeAgencies books the agencies' shares of what the merchant's day left us.
func (a *aggregate) closeAgencies() error {
	agencies := a.fees.Agencies(a.merchant, a.run.Day)
	if len(agencies) == 0 {
		return nil
	}
	claims := a.claims[a.merchant]
	for _, c := range sortedKeys(claims) {
		t := claims[c].totals
		shares, total, remainder := fee.Shares(t.Income, agencies)
		put := func(account book.Account, agency string, minor int64) error {
			if minor == 0 {
				return nil
			}
			var s book.Sum
			s.Add(minor)
			_, err := a.book(a.merchant, book.Key{Item: book.AgencyShare, Account: account, Issuer: txn.MakeIssuerID(agency), Currency: c}, s)
			return err
		}
		if err := errors.Join(put(book.AgencyExpense, "", total), put(book.Rounding, "", -remainder)); err != nil {
			return err
		}
		for i, x := range agencies {
			if err := put(book.AgencyPayable, x.Code, -shares[i]); err != nil {
				return err
			}
			a.out.line(agenciesFile, a.run.Day.String(), x.Code, a.merchant.String(), t.Currency, t.Major(t.Income), strconv.FormatInt(x.PPM, 10), t.Major(shares[i]))
		}
	}
	return nil
}

// closeWaiting decides about merchants that have no transactions, up to one; nil
// is all.
func (a *aggregate) closeWaiting(next *txn.MerchantID) error {
	for len(a.waiting) > 0 && (next == nil || compareMerchants(a.waiting[0], *next) <= 0) {
		m := a.waiting[0]
		a.waiting = a.waiting[1:]
		if next != nil && m == *next || a.claims[m] == nil { // it is the next; it had transactions
			continue
		}
		if err := a.settle(m); err != nil {
			return err
		}
	}
	return nil
}

// settle decides what a merchant is paid in each currency, books it and writes
// its lines.
func (a *aggregate) settle(m txn.MerchantID) error {
	a.writeEntries(m)
	claims := a.claims[m]
	currencies := sortedKeys(claims)
	for _, currency := range currencies {
		c := claims[currency]
		c.Net = c.totals.Net
		d, err := a.terms.Decide(&c.Position, a.run.Day, a.began)
		if err != nil {
			return err
		}
		if err := a.decided(c, &d); err != nil {
			return err
		}
		if d.Pay > 0 {
			a.payments = append(a.payments, payout.Payment{Merchant: m, Amount: txn.Amount{Minor: d.Pay, Currency: currency}, Executes: d.Executes,
				Account: d.Account, EndToEnd: payout.EndToEnd(a.run.Day, m, currency.Letters())})
		}
	}
	a.statement.end()
	delete(a.claims, m)
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
		for _, p := range book.Move(nil, m.item, m.minor) {
			var s book.Sum
			s.Add(p.Minor)
			if _, err := a.book(c.Merchant, book.Key{Item: p.Item, Account: p.Account, Currency: c.Currency}, s); err != nil {
				return err
			}
		}
	}
	row := ledger.Payout{Claim: ledger.Claim{Merchant: c.Merchant, Currency: c.Currency}, Opening: c.Opening, Net: c.Net, Corrections: c.Corrections,
		Returned: c.Returned, Disputes: c.Disputes, Released: c.Released, Reserved: d.Reserved, Paid: d.Pay, Closing: d.Closing, ReserveUntil: d.ReserveUntil, Executes: d.Executes}
	if row.Opening != 0 || row.Net != 0 || row.Corrections != 0 || row.Returned != 0 || row.Disputes != 0 || row.Released != 0 {
		a.payouts = append(a.payouts, row)
	}
	executes, decision := "", d.Why.String()
	if d.Held != "" {
		decision += ": " + d.Held
	}
	if d.Executes != 0 {
		executes = d.Executes.String()
	}
	if d.Demoted {
		decision += fmt.Sprintf("; a same-day payout needs %d days with us and sales on %d of the last %d", payout.OnboardDaysMin, payout.TradingDaysMin, payout.TradingWindow)
	}
	t, m := c.totals, c.totals.Major
	l := [...]string{c.Merchant.String(), t.Currency, strconv.FormatInt(t.Transactions, 10), m(t.Sales), m(t.Refunds), m(t.MerchantFees), m(t.Suspense), m(c.Net),
		m(c.Opening), m(c.Corrections), m(c.Returned), m(c.Disputes), m(c.Released), m(d.Reserved), m(d.Pay), m(d.Closing), d.Cycle.String(), executes, decision, ""}
	l[len(l)-1] = a.statement.position(&l, d.Account)
	a.out.line(positionsFile, l[:]...)
	if d.Why.Exception() {
		a.exception(classPayout, l[0], a.run.Day.String(), "", "", "", "", "", "payout", t.Currency, m(d.Closing), decision)
	}
	return nil
}

// closeTerminals writes the lines of the merchant's terminals.
func (a *aggregate) closeTerminals() {
	keys := slices.SortedFunc(maps.Keys(a.terminals), func(x, y terminalOf) int {
		return cmp.Or(slices.Compare(x.id[:], y.id[:]), cmp.Compare(x.currency, y.currency))
	})
	for _, k := range keys {
		t := a.terminals[k]
		a.out.line(terminalsFile, a.run.Day.String(), a.merchant.String(), k.id.String(), fmt.Sprintf("%04d", t.mcc), k.currency.Letters(),
			count(t.totals.Debit), majorUnits(t.totals.Debit.Minor, k.currency), count(t.totals.Credit), majorUnits(t.totals.Credit.Minor, k.currency),
			a.clock(t.first), a.clock(t.last))
	}
	clear(a.terminals)
}

func count(s txn.Sum) string { return strconv.FormatUint(uint64(s.Count), 10) }

// close ends the last merchants, writes what is of the whole run, and proves it:
// debits are credits in each currency, and what was posted for the day is what the
// database sums up. A failure here is a fault of this program: nothing is booked.
func (a *aggregate) close(gross map[txn.Currency]ledger.Gross) error {
	if err := errors.Join(a.closeMerchant(), a.closeWaiting(nil)); err != nil {
		return err
	}
	a.statement.close()
	if err := a.writePayments(); err != nil {
		return err
	}
	balance := map[txn.Currency]int64{}
	for k, s := range a.general {
		balance[k.Currency] += s.Balance()
	}
	for c, minor := range balance {
		if minor != 0 {
			return fmt.Errorf("the postings in currency %s are off by %d", c, minor)
		}
	}
	for _, c := range sortedKeys(gross) {
		if a.own[c] != gross[c] {
			return fmt.Errorf("the transactions in currency %s were posted as %+v, the ledger has %+v", c, a.own[c], gross[c])
		}
	}
	if len(a.own) != len(gross) {
		return fmt.Errorf("transactions of %d currencies were posted, the ledger has %d", len(a.own), len(gross))
	}
	for _, k := range slices.SortedFunc(maps.Keys(a.general), compareKeys) {
		s := a.general[k]
		a.out.line(generalFile, a.run.Day.String(), k.Account.Number(), k.Account.String(), k.Item.String(), k.Issuer.String(), k.Currency.Letters(),
			majorUnits(s.Debit, k.Currency), majorUnits(s.Credit, k.Currency), strconv.FormatInt(s.Count, 10))
	}
	a.writeProof(gross)
	return a.out.err
}

// writePayments writes what the bank is to pay.
func (a *aggregate) writePayments() error {
	for i := range a.payments {
		p := &a.payments[i]
		a.out.line(payoutsFile, p.EndToEnd, p.Merchant.String(), p.Amount.Currency.Letters(), majorUnits(p.Amount.Minor, p.Amount.Currency), p.Executes.String(),
			p.Account.Name, p.Account.Number, p.Account.Bank)
	}
	if w := a.out.writer(painFile); w != nil && len(a.payments) > 0 {
		if err := a.terms.WritePain(w, a.run.Day, a.run.At.In(a.zone), a.payments); err != nil {
			return fmt.Errorf("write %s: %w", painFile, err)
		}
	}
	return nil
}

// book adds a sum of postings to what the run posts.
func (a *aggregate) book(m txn.MerchantID, k book.Key, s book.Sum) (*ledger.PostingSum, error) {
	a.sums = append(a.sums, ledger.PostingSum{Merchant: m, Currency: k.Currency, Item: k.Item.String(), Account: k.Account.String(), Issuer: k.Issuer,
		Debit: s.Debit, Credit: s.Credit, Count: s.Count})
	all := made(a.general, k)
	if all.Debit+s.Debit < 0 || all.Credit+s.Credit < 0 {
		return nil, fmt.Errorf("the %s do not fit 64 bits", k.Item)
	}
	all.Debit, all.Credit, all.Count = all.Debit+s.Debit, all.Credit+s.Credit, all.Count+s.Count
	return &a.sums[len(a.sums)-1], nil
}
