package settlement

import (
	"context"
	"fmt"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// payoutVerifier follows what merchants are owed through all runs.
type payoutVerifier struct {
	*verifier
	closing  map[ledger.Claim]int64 // of the run before
	ordered  map[ledger.Claim]int64 // on 2200 by the postings of all runs
	awaiting map[ledger.Claim]int64 // ordered and not answered
	paid     map[string]int64       // payments that the bank is asked for, by end-to-end id
	bank     map[string]book.Account
	prior    ledger.Run
}

// payouts holds what each run decided against its postings, against what the run
// before left, and against what people, the bank and issuers said since.
func (v *verifier) payouts(ctx context.Context) error {
	c := v.report.check(RulePayout)
	runs, err := v.ledger.Runs(ctx)
	if err != nil {
		return err
	}
	p := payoutVerifier{verifier: v, closing: map[ledger.Claim]int64{}, ordered: map[ledger.Claim]int64{}, awaiting: map[ledger.Claim]int64{},
		paid: map[string]int64{}, bank: map[string]book.Account{}}
	for _, run := range runs {
		if run.State >= ledger.RunBooked {
			if err := p.run(ctx, run); err != nil {
				return err
			}
			p.prior = run
		}
	}
	if p.prior.Day == 0 {
		c.Note = "not checked: no day has been settled"
	}
	return nil
}

// moved is what a run's postings say of a claim, and what its row of payout says.
type moved struct{ books, row ledger.Payout }

// runVerifier is a payoutVerifier at one run.
type runVerifier struct {
	*payoutVerifier
	day     txn.Date
	claims  map[ledger.Claim]*moved
	entries map[entryKey]int64 // booked for acts, less the acts that were found
}

// run checks one run. Runs come in order: each begins with what the one before left.
func (p *payoutVerifier) run(ctx context.Context, run ledger.Run) error {
	v := runVerifier{p, run.Day, map[ledger.Claim]*moved{}, map[entryKey]int64{}}
	for c := range p.closing {
		v.of(c)
	}
	if err := p.ledger.Postings(ctx, run.Day, v.posting); err != nil {
		return err
	}
	back, err := p.ledger.Reserves(ctx, p.prior.Day, run.Day)
	if err != nil {
		return err
	}
	err = p.ledger.Payouts(ctx, run.Day, func(row *ledger.Payout) error {
		v.decided(row)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = p.ledger.Acts(ctx, p.prior.Acts, run.Acts, func(a *ledger.Act) error {
		p.act(run.Day, a, v.entries)
		return nil
	})
	if err != nil {
		return err
	}
	for k, minor := range v.entries {
		if minor != 0 {
			p.broken(run.Day, k.Claim, "%s on %s differs from what was decided by %s", k.item, k.account, majorUnits(minor, k.Currency))
		}
	}
	for c, m := range v.claims {
		p.claim(run.Day, c, m, back[c])
	}
	clear(p.closing)
	for c, m := range v.claims {
		if m.row.Closing != 0 {
			p.closing[c] = m.row.Closing
		}
	}
	return nil
}

// of is what moved of a claim, which begins with what the run before left.
func (v *runVerifier) of(c ledger.Claim) *moved {
	m := v.claims[c]
	if m == nil {
		m = &moved{books: ledger.Payout{Claim: c, Opening: v.closing[c]}, row: ledger.Payout{Claim: c}}
		v.claims[c] = m
	}
	return m
}

// posting adds a posting of the run to what it moved.
func (v *runVerifier) posting(s *ledger.PostingSum) error {
	c := ledger.Claim{Merchant: s.Merchant, Currency: s.Currency}
	item, account, credit := itemsByName[s.Item], accountsByName[s.Account], s.Credit-s.Debit
	b := &v.of(c).books
	if isEntry(item) {
		v.entries[entryKey{c, item, account}] -= credit
	}
	switch {
	case account == book.PayoutsOrdered:
		v.ordered[c] += credit
		if item == book.Payout {
			b.Paid += credit
		}
	case account == book.Reserve && item == book.Reserving:
		b.Reserved += credit
	case account == book.Reserve && item == book.Releasing:
		b.Released -= credit
	case account != book.MerchantPayable:
	case item <= book.Network:
		b.Net += credit
	case item == book.Correction:
		b.Corrections += credit
	case item == book.PayoutBack:
		b.Returned += credit
	case item == book.Dispute:
		b.Disputes += credit
	}
	return nil
}

// decided notes what the run decided about a claim.
func (v *runVerifier) decided(row *ledger.Payout) {
	v.report.check(RulePayout).Checked++
	v.of(row.Claim).row = *row
	if row.Paid > 0 {
		v.paid[payout.EndToEnd(v.day, row.Merchant, row.Currency.Letters())] = row.Paid
		v.awaiting[row.Claim] += row.Paid
	}
}

// entryKey is where entries of one kind are summed up.
type entryKey struct {
	ledger.Claim
	item    book.Item
	account book.Account
}

// isEntry says that postings of an item are acts that a run booked.
func isEntry(i book.Item) bool {
	return i == book.Correction || i == book.PayoutPaid || i == book.PayoutBack || i == book.Dispute
}

func (p *payoutVerifier) broken(day txn.Date, c ledger.Claim, format string, args ...any) {
	p.report.broken(RulePayout, 0, "the run of %s, merchant %s, %s: %s", day, c.Merchant, c.Currency.Letters(), fmt.Sprintf(format, args...))
}

// act takes an act that the run must have booked.
func (p *payoutVerifier) act(day txn.Date, a *ledger.Act, entries map[entryKey]int64) {
	if !a.Moves() {
		return
	}
	item := itemsByName[string(a.Kind)]
	entries[entryKey{a.Claim, item, accountsByName[a.Debit]}] -= a.Minor
	entries[entryKey{a.Claim, item, accountsByName[a.Credit]}] += a.Minor
	if item != book.PayoutPaid && item != book.PayoutBack {
		return
	}
	debit, credit := book.PayoutsOrdered, book.Bank
	if item == book.PayoutBack {
		debit, credit = p.bank[a.About], book.MerchantPayable
		if _, paid := p.bank[a.About]; !paid {
			debit = book.PayoutsOrdered
		}
	}
	ordered, ok := p.paid[a.About]
	switch {
	case !ok:
		p.broken(day, a.Claim, "act %d is about payment %s, which no run ordered, or which came back before", a.Number, a.About)
	case ordered != a.Minor:
		p.broken(day, a.Claim, "act %d moves %s of payment %s of %s", a.Number, majorUnits(a.Minor, a.Currency), a.About, majorUnits(ordered, a.Currency))
	case accountsByName[a.Debit] != debit || accountsByName[a.Credit] != credit:
		p.broken(day, a.Claim, "act %d books payment %s from %s to %s, it must be from %s to %s", a.Number, a.About, a.Debit, a.Credit, debit, credit)
	}
	if debit == book.PayoutsOrdered {
		p.awaiting[a.Claim] -= a.Minor
	}
	if item == book.PayoutPaid {
		p.bank[a.About] = book.Bank
	} else {
		delete(p.bank, a.About)
		delete(p.paid, a.About)
	}
}

// claim holds a row against the books.
func (p *payoutVerifier) claim(day txn.Date, c ledger.Claim, m *moved, released int64) {
	b, r := &m.books, &m.row
	for _, x := range [...]struct {
		what        string
		books, rows int64
	}{{"opening", b.Opening, r.Opening}, {"net", b.Net, r.Net}, {"corrections", b.Corrections, r.Corrections}, {"returned", b.Returned, r.Returned},
		{"disputes", b.Disputes, r.Disputes}, {"released", b.Released, r.Released}, {"reserved", b.Reserved, r.Reserved}, {"paid", b.Paid, r.Paid}} {
		if x.books != x.rows {
			p.broken(day, c, "%s is %s in its payout, %s in the books", x.what, majorUnits(x.rows, c.Currency), majorUnits(x.books, c.Currency))
		}
	}
	if released != r.Released {
		p.broken(day, c, "%s came back from the reserve, %s was due", majorUnits(r.Released, c.Currency), majorUnits(released, c.Currency))
	}
	if sum := r.Opening + r.Net + r.Corrections + r.Returned + r.Disputes + r.Released - r.Reserved - r.Paid; sum != r.Closing {
		p.broken(day, c, "its payout comes to %s and carries %s forward", majorUnits(sum, c.Currency), majorUnits(r.Closing, c.Currency))
	}
	if p.ordered[c] != p.awaiting[c] {
		p.broken(day, c, "%s is ordered in the books, the payments that the bank has not answered are %s", majorUnits(p.ordered[c], c.Currency), majorUnits(p.awaiting[c], c.Currency))
	}
}
