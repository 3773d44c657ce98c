package settlement

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// entry is an act that moves money, as the run books it.
type entry struct {
	ledger.Act
	net int64 // what it adds to what the merchant is owed
}

// readActs reads what keeps payouts, and books the acts since the run before.
func (a *aggregate) readActs(ctx context.Context, s *ledger.Snapshot, prior *ledger.Run) (err error) {
	if a.held, err = readHolding(ctx, s, a.run.Acts, a.zone); err != nil {
		return err
	}
	if err := a.held.find(a.paidBy); err != nil {
		return err
	}
	sums := map[ledger.Claim]map[book.Key]*book.Sum{}
	err = s.Acts(ctx, prior.Acts, a.run.Acts, func(act *ledger.Act) error {
		if !act.Moves() {
			return nil
		}
		e := entry{Act: *act}
		of := sums[act.Claim]
		if of == nil {
			of = map[book.Key]*book.Sum{}
			sums[act.Claim] = of
		}
		for _, p := range book.Between(nil, itemsByName[string(act.Kind)], accountsByName[act.Debit], accountsByName[act.Credit], act.Minor) {
			k := book.Key{Item: p.Item, Account: p.Account, Currency: act.Currency}
			if k.Account == book.IssuerReceivable {
				k.Issuer = act.Issuer
			}
			if !made(of, k).Add(p.Minor) {
				return fmt.Errorf("the entries of merchant %s do not fit 64 bits", act.Merchant)
			}
			if p.Account == book.MerchantPayable {
				e.net -= p.Minor
			}
		}
		a.entries[act.Merchant] = append(a.entries[act.Merchant], e)
		return nil
	})
	if err != nil {
		return err
	}
	for k, of := range sums {
		c := a.claim(k)
		for key, sum := range of {
			if key.Account == book.MerchantPayable {
				*movedBy(&c.Position, key.Item) -= sum.Balance()
			}
			if _, err := a.book(k.Merchant, key, *sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// movedBy is the part of a position that entries of an item are.
func movedBy(p *payout.Position, item book.Item) *int64 {
	switch item {
	case book.PayoutBack:
		return &p.Returned
	case book.Dispute:
		return &p.Disputes
	}
	return &p.Corrections
}

// writeEntries writes the lines of a merchant's entries, those that change what it
// is owed in its statement too.
func (a *aggregate) writeEntries(m txn.MerchantID) {
	for i := range a.entries[m] {
		e := &a.entries[m][i]
		code, amount := e.Currency.Letters(), func(minor int64) string { return majorUnits(minor, e.Currency) }
		about := e.About
		if about == "" && e.Refers != 0 {
			about = "proposal " + strconv.FormatInt(e.Refers, 10)
		}
		at := e.At.In(a.zone).Format(time.DateTime)
		a.out.line(entriesFile, string(e.Kind), about, m.String(), code, amount(e.Minor), e.Debit, e.Credit, amount(e.net), e.Reason, e.Proposer, e.Who, at)
		if e.net == 0 {
			continue
		}
		l := [...]string{m.String(), a.run.Day.String(), at, "", "", "", "", "", string(e.Kind), code, amount(0), amount(0), amount(e.net),
			strings.TrimSuffix(about+": "+e.Reason, ": ")}
		a.out.line(statementsFile, l[:]...)
		a.statement.line(&l)
	}
	delete(a.entries, m)
}

// holding is what keeps payouts: of merchants by people, of claims because a payout
// came back.
type holding struct {
	merchants map[txn.MerchantID]string // why: of the first
	back      []ledger.Act
	refused   map[ledger.Claim][]payout.RefusedAccount // by find
	zone      *time.Location
}

// readHolding reads what keeps payouts by the acts up to a number.
func readHolding(ctx context.Context, s *ledger.Snapshot, upTo int64, zone *time.Location) (*holding, error) {
	h := &holding{merchants: map[txn.MerchantID]string{}, refused: map[ledger.Claim][]payout.RefusedAccount{}, zone: zone}
	err := s.Holding(ctx, upTo, func(act *ledger.Act) error {
		if act.Kind == ledger.PayoutBack {
			h.back = append(h.back, *act)
		} else if h.merchants[act.Merchant] == "" {
			h.merchants[act.Merchant] = fmt.Sprintf("%s (%s, %s)", act.Reason, act.Who, act.At.In(zone).Format(time.DateOnly))
		}
		return nil
	})
	return h, err
}

// find finds the accounts that payouts came back from: those of the terms that the
// run of a payout's day paid by.
func (h *holding) find(paidBy func(txn.Date) (*payout.Terms, error)) error {
	for i := range h.back {
		act := &h.back[i]
		day, err := payout.DayOf(act.About)
		if err != nil {
			return err
		}
		terms, err := paidBy(day)
		if err != nil {
			return err
		}
		if account := terms.AccountOf(act.Merchant, act.Currency); account != nil {
			h.refused[act.Claim] = append(h.refused[act.Claim], payout.RefusedAccount{Account: *account, Why: h.because(act)})
		}
	}
	return nil
}

// because says how a payout that came back can be paid again.
func (h *holding) because(act *ledger.Act) string {
	return fmt.Sprintf("%s (%s, payment %s): correct the account, or release %d", act.Reason, act.At.In(h.zone).Format(time.DateOnly), act.About, act.Number)
}

// why is why a claim's payouts are held, as far as the ledger alone says; empty:
// they are not.
func (h *holding) why(c ledger.Claim) string {
	if why := h.merchants[c.Merchant]; why != "" {
		return why
	}
	for i := range h.back {
		if act := &h.back[i]; act.Claim == c {
			return "a payout came back: " + h.because(act)
		}
	}
	return ""
}
