package settlement

import (
	"cmp"
	"context"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// MerchantPosition is what stands between us and a merchant in one currency after
// the run of a day: balances of its accounts, and what that run decided. Minor
// units; below zero the merchant owes.
type MerchantPosition struct {
	Date     txn.Date
	Merchant txn.MerchantID
	Currency txn.Currency
	Owed     int64 // carried forward: 2100
	Reserve  int64 // 2300
	Suspense int64 // 2900
	Disputed int64 // what cases are about that are not decided: 2600
	Ordered  int64 // the bank was told to pay and has not answered: 2200

	Opening, Net, Corrections, Returned, Disputes, Released, Reserved, Paid int64
	Executes                                                                txn.Date // of what was paid; 0: nothing
	Held                                                                    string   // why its payouts were, empty: they were not
}

// IssuerPosition is what clearing with an issuer brings in one currency. Minor
// units; below zero we owe.
type IssuerPosition struct {
	Date     txn.Date
	Issuer   txn.IssuerID
	Currency txn.Currency
	// Of the day's run: sales and refunds gross, interchange and network fees as
	// they are kept back, what is to come of all that.
	Sales, Refunds, Interchange, Network, Day int64
	Balance                                   int64 // of all runs up to it: 1100
}

// positioned is the last run up to a day, which must have come so far: 0 is the
// last day that is settled.
func positioned(ctx context.Context, s *ledger.Snapshot, day txn.Date) (last ledger.Run, err error) {
	runs, err := s.Runs(ctx)
	if err != nil {
		return last, err
	}
	for _, r := range runs {
		if r.State >= ledger.RunBooked && (day == 0 || r.Day <= day) {
			last = r
		}
	}
	switch {
	case last.Day == 0 && day == 0:
		return last, refuse("no day is settled")
	case last.Day == 0:
		return last, refuse("no day up to %s is settled", day)
	case day > last.Day:
		first, err := s.FirstDay(ctx, last.Day.After(), day)
		if err != nil {
			return last, err
		}
		if first != 0 {
			return last, refuse("%s is not settled; the last day before it that is, is %s", first, last.Day)
		}
	}
	return last, nil
}

// MerchantPositions calls fn with the positions of all merchants after a day, by
// merchant and currency; 0 is the last settled day. Where a day up to it has
// transactions and is not settled, that is an approval.Refusal.
func MerchantPositions(ctx context.Context, l *ledger.Ledger, day txn.Date, zone *time.Location, fn func(*MerchantPosition) error) error {
	return l.Read(ctx, func(s *ledger.Snapshot) error {
		run, err := positioned(ctx, s, day)
		if err != nil {
			return err
		}
		held, err := readHolding(ctx, s, run.Acts, zone)
		if err != nil {
			return err
		}
		decided := map[ledger.Claim]ledger.Payout{}
		if err := s.Payouts(ctx, run.Day, func(p *ledger.Payout) error { decided[p.Claim] = *p; return nil }); err != nil {
			return err
		}
		var p *MerchantPosition
		tell := func() error {
			if p == nil {
				return nil
			}
			d := decided[ledger.Claim{Merchant: p.Merchant, Currency: p.Currency}]
			p.Opening, p.Net, p.Corrections, p.Returned, p.Disputes = d.Opening, d.Net, d.Corrections, d.Returned, d.Disputes
			p.Released, p.Reserved, p.Paid, p.Executes = d.Released, d.Reserved, d.Paid, d.Executes
			p.Held = held.why(ledger.Claim{Merchant: p.Merchant, Currency: p.Currency})
			return fn(p)
		}
		err = s.MerchantAccounts(ctx, run.Day, func(b ledger.AccountSum) error {
			if m := txn.MakeMerchantID(b.Party); p == nil || p.Merchant != m || p.Currency != b.Currency {
				if err := tell(); err != nil {
					return err
				}
				p = &MerchantPosition{Date: run.Day, Merchant: m, Currency: b.Currency}
			}
			switch owed := b.Credit - b.Debit; accountsByName[b.Account] {
			case book.MerchantPayable:
				p.Owed = owed
			case book.Reserve:
				p.Reserve = owed
			case book.Suspense:
				p.Suspense = owed
			case book.Disputed:
				p.Disputed = owed
			case book.PayoutsOrdered:
				p.Ordered = owed
			}
			return nil
		})
		return cmp.Or(err, tell())
	})
}

// IssuerPositions calls fn with the positions of all issuers after a day, as
// MerchantPositions does.
func IssuerPositions(ctx context.Context, l *ledger.Ledger, day txn.Date, fn func(*IssuerPosition) error) error {
	return l.Read(ctx, func(s *ledger.Snapshot) error {
		run, err := positioned(ctx, s, day)
		if err != nil {
			return err
		}
		of := map[issuerOf]*IssuerPosition{}
		err = s.Postings(ctx, run.Day, func(sum *ledger.PostingSum) error {
			if accountsByName[sum.Account] != book.IssuerReceivable {
				return nil
			}
			p := made(of, issuerOf{sum.Issuer, sum.Currency})
			balance := sum.Debit - sum.Credit
			p.Day += balance
			switch itemsByName[sum.Item] {
			case book.Sale:
				p.Sales += balance
			case book.Refund:
				p.Refunds -= balance
			case book.Interchange:
				p.Interchange -= balance
			case book.Network:
				p.Network -= balance
			}
			return nil
		})
		if err != nil {
			return err
		}
		return s.IssuerAccounts(ctx, run.Day, book.IssuerReceivable.String(), func(b ledger.AccountSum) error {
			k := issuerOf{txn.MakeIssuerID(b.Party), b.Currency}
			p := made(of, k)
			p.Date, p.Issuer, p.Currency, p.Balance = run.Day, k.issuer, k.currency, b.Debit-b.Credit
			return fn(p)
		})
	})
}

// Figure is a business day in one currency. Of a day that is settled the totals are
// those of its run; else Transactions, Sales and Refunds are what would count now.
type Figure struct {
	Date     txn.Date
	State    string // open, or of its run: begun, booked, done
	Requests int64  // to move money or pre-authorize it
	Approved int64
	Totals
}

// Figures calls fn with the figures of the days in a range that have any, by day
// and currency.
func Figures(ctx context.Context, l *ledger.Ledger, from, to txn.Date, fn func(*Figure) error) error {
	return l.Read(ctx, func(s *ledger.Snapshot) error {
		runs, err := s.Runs(ctx)
		if err != nil {
			return err
		}
		position, err := s.Position(ctx)
		if err != nil {
			return err
		}
		for from <= to {
			day, err := s.FirstDay(ctx, from, to)
			if err != nil {
				return err
			}
			run := ledger.Run{}
			for _, r := range runs {
				if r.Day >= from && r.Day <= to && (day == 0 || r.Day <= day) {
					run, day = r, r.Day
					break
				}
			}
			if day == 0 {
				return nil
			}
			if err := figures(ctx, s, day, &run, position, fn); err != nil {
				return err
			}
			from = day.After()
		}
		return nil
	})
}

func figures(ctx context.Context, s *ledger.Snapshot, day txn.Date, run *ledger.Run, position uint64, fn func(*Figure) error) error {
	of := map[txn.Currency]*Figure{}
	at := func(c txn.Currency) *Figure {
		if of[c] == nil {
			of[c] = &Figure{Date: day, State: "open", Totals: *newTotals(c)}
			if run.Day != 0 {
				of[c].State = run.State.String()
			}
		}
		return of[c]
	}
	asked, err := s.Totals(ctx, day)
	if err != nil {
		return err
	}
	for _, t := range asked {
		if !t.Request.MovesMoney() {
			continue
		}
		f := at(t.Amount.Currency)
		f.Requests += t.Count
		if t.Reason == txn.Approved {
			f.Approved += t.Count
		}
	}
	if run.State >= ledger.RunBooked {
		err = s.Postings(ctx, day, func(p *ledger.PostingSum) error { at(p.Currency).add(p); return nil })
		if err == nil {
			err = s.Payouts(ctx, day, func(p *ledger.Payout) error { at(p.Currency).addPayout(p); return nil })
		}
	} else {
		var gross map[txn.Currency]ledger.Gross
		gross, err = s.Gross(ctx, day, position)
		for c, g := range gross {
			f := at(c)
			f.Transactions, f.Sales, f.Refunds = g.Count, g.Debit, g.Credit
		}
	}
	if err != nil {
		return err
	}
	for _, c := range sortedKeys(of) {
		if err := fn(of[c]); err != nil {
			return err
		}
	}
	return nil
}
