package settlement

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Hold holds a merchant's payouts from the next run on that begins, until the hold
// is released. It returns the hold's number, the same one where it is called again. What
// breaks a rule is an approval.Refusal.
func Hold(ctx context.Context, l *ledger.Ledger, m txn.MerchantID, who, reason string) (int64, error) {
	if err := approval.Said(who, reason); err != nil {
		return 0, err
	}
	a := ledger.Act{At: time.Now(), Kind: ledger.Hold, Who: who, Reason: reason, Claim: ledger.Claim{Merchant: m}}
	err := l.Decide(ctx, func(tx *sql.Tx) error {
		a.Number = 0
		err := ledger.HoldingIn(ctx, tx, func(h *ledger.Act) error {
			if h.Kind == a.Kind && h.Merchant == m && h.Who == who && h.Reason == reason {
				a.Number = h.Number
			}
			return nil
		})
		if err != nil || a.Number != 0 {
			return err
		}
		return ledger.AddActIn(ctx, tx, &a)
	})
	return a.Number, err
}

// ReleaseSubject is what proposals to release a hold are called on the desk.
const ReleaseSubject = "payout release"

// release is the document of such a proposal.
type release struct {
	Hold     int64  `json:"hold"`
	Merchant string `json:"merchant"`
	Held     string `json:"held_because"`
}

// ProposeRelease proposes that a hold ends, or that the account a payout came back
// from is in order: what lets money go takes two people. It returns the proposal's
// number. What breaks a rule is an approval.Refusal.
func ProposeRelease(ctx context.Context, l *ledger.Ledger, hold int64, by, reason string) (proposal int64, err error) {
	err = l.Decide(ctx, func(tx *sql.Tx) error {
		proposal, err = ProposeReleaseIn(ctx, tx, hold, by, reason)
		return err
	})
	return proposal, err
}

// ProposeReleaseIn is ProposeRelease as part of a transaction.
func ProposeReleaseIn(ctx context.Context, tx *sql.Tx, hold int64, by, reason string) (int64, error) {
	if err := approval.Said(by, reason); err != nil {
		return 0, err
	}
	held, err := ledger.HoldIn(ctx, tx, hold)
	if err != nil {
		return 0, noHold(hold, err)
	}
	document, err := json.Marshal(release{hold, held.Merchant.String(), held.Reason})
	if err != nil {
		return 0, err
	}
	p, err := approval.ProposeIn(ctx, tx, approval.Draft{Subject: ReleaseSubject, Object: fmt.Sprintf("hold %d", hold), Document: string(document), By: by, Reason: reason})
	return p.Number, err
}

// ApproveRelease does what another person proposed: the next run that begins pays.
func ApproveRelease(ctx context.Context, desk *approval.Desk, number int64, by, why string) error {
	_, err := desk.Approve(ctx, ReleaseSubject, number, by, why, func(tx *sql.Tx, p *approval.Proposal) error {
		var r release
		if err := json.Unmarshal([]byte(p.Document), &r); err != nil {
			return fmt.Errorf("read proposal %d: %w", p.Number, err)
		}
		held, err := ledger.HoldIn(ctx, tx, r.Hold)
		if err == nil {
			err = ledger.AddActIn(ctx, tx, &ledger.Act{At: time.Now(), Kind: ledger.Release, Who: by, Reason: p.Reason, Refers: r.Hold, Proposer: p.By, Claim: held.Claim})
		}
		return noHold(r.Hold, err)
	})
	return err
}

// noHold makes an approval.Refusal of what is not held, or not any more.
func noHold(number int64, err error) error {
	switch {
	case errors.Is(err, ledger.ErrNoHold):
		return refuse("there is no hold, and no payout that came back, with the number %d", number)
	case errors.Is(err, ledger.ErrReleased):
		return refuse("hold %d was released already", number)
	}
	return err
}

// Held is a hold and its release.
type Held struct {
	ledger.Act
	Released *ledger.Act // nil: it stands
}

// Holds are all holds, in order.
func Holds(ctx context.Context, l *ledger.Ledger) (all []Held, err error) {
	last, err := l.LastAct(ctx)
	if err != nil {
		return nil, err
	}
	at := map[int64]int{}
	err = l.ActsOf(ctx, ledger.Hold, last, func(a *ledger.Act) error {
		at[a.Number] = len(all)
		all = append(all, Held{Act: *a})
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = l.ActsOf(ctx, ledger.Release, last, func(a *ledger.Act) error {
		if i, ok := at[a.Refers]; ok {
			released := *a
			all[i].Released = &released
		}
		return nil
	})
	return all, err
}

// CorrectionSubject is what proposals of corrections are called on the desk.
const CorrectionSubject = "correction"

// Correction moves money between two accounts of a merchant: a new entry in the
// books, never a change of an old one.
type Correction struct {
	Merchant string       `json:"merchant"`
	Currency txn.Currency `json:"currency"`
	Debit    string       `json:"debit"` // names of accounts
	Credit   string       `json:"credit"`
	Minor    int64        `json:"minor"`
}

// check is an approval.Refusal of what breaks a rule.
func (c *Correction) check() error {
	debit, ok := accountsByName[c.Debit]
	credit, ok2 := accountsByName[c.Credit]
	_, known := c.Currency.Exponent()
	switch {
	case !ok || !ok2:
		return refuse("%q and %q must both be accounts of the chart", c.Debit, c.Credit)
	case debit == credit:
		return refuse("a correction moves money between two accounts, not from %s to itself", c.Debit)
	case debit == book.PayoutsOrdered || credit == book.PayoutsOrdered:
		return refuse("%s are payments that the bank has not answered: only what it says to one (payout answer) moves them", book.PayoutsOrdered)
	case c.Minor <= 0 || c.Minor > txn.AmountMax:
		return refuse("the amount must be above zero, and of at most 12 digits in minor units")
	case !known && debit != book.Suspense && credit != book.Suspense:
		return refuse("currency %s is not in ISO 4217: only suspense has amounts in it", c.Currency)
	}
	return nil
}

// ProposeCorrection puts a correction on the desk, once where it is called again before
// somebody has decided. What breaks a rule is an approval.Refusal.
func ProposeCorrection(ctx context.Context, desk *approval.Desk, c Correction, by, reason string) (int64, error) {
	if err := cmp.Or(approval.Said(by, reason), c.check()); err != nil {
		return 0, err
	}
	document, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	p, err := desk.Propose(ctx, approval.Draft{Subject: CorrectionSubject, Object: c.Merchant, Document: string(document), By: by, Reason: reason})
	return p.Number, err
}

// ApproveCorrection approves what another person proposed: the next run that
// begins books it.
func ApproveCorrection(ctx context.Context, desk *approval.Desk, number int64, by, why string) error {
	if err := approval.Said(by, why); err != nil {
		return err
	}
	_, err := desk.Approve(ctx, CorrectionSubject, number, by, why, func(tx *sql.Tx, p *approval.Proposal) error {
		c, err := ReadCorrection(p)
		if err := cmp.Or(err, c.check()); err != nil {
			return err
		}
		return ledger.AddActIn(ctx, tx, &ledger.Act{At: time.Now(), Kind: ledger.Correction, Who: by, Reason: p.Reason, Refers: p.Number, Proposer: p.By,
			Claim: ledger.Claim{Merchant: txn.MakeMerchantID(c.Merchant), Currency: c.Currency}, Debit: c.Debit, Credit: c.Credit, Minor: c.Minor})
	})
	return err
}

// RejectCorrection decides that a correction is not made.
func RejectCorrection(ctx context.Context, desk *approval.Desk, number int64, by, why string) error {
	if err := approval.Said(by, why); err != nil {
		return err
	}
	return desk.Reject(ctx, CorrectionSubject, number, by, why)
}

// ReadCorrection is the correction of a proposal.
func ReadCorrection(p *approval.Proposal) (c Correction, err error) {
	if err := json.Unmarshal([]byte(p.Document), &c); err != nil {
		return c, fmt.Errorf("read the correction of proposal %d: %w", p.Number, err)
	}
	return c, nil
}

// Booked are the business days of the runs that booked corrections, by the
// proposal's number; 0: the next run will.
func Booked(ctx context.Context, l *ledger.Ledger) (map[int64]txn.Date, error) {
	runs, err := l.Runs(ctx)
	if err != nil {
		return nil, err
	}
	last, err := l.LastAct(ctx)
	if err != nil {
		return nil, err
	}
	booked := map[int64]txn.Date{}
	err = l.ActsOf(ctx, ledger.Correction, last, func(a *ledger.Act) error {
		booked[a.Refers] = 0
		for _, r := range runs {
			if r.Acts >= a.Number {
				booked[a.Refers] = r.Day
				break
			}
		}
		return nil
	})
	return booked, err
}

// ParseAccount reads an account by its number or its name.
func ParseAccount(s string) (name string, err error) {
	var all []string
	for i := range book.Accounts {
		a := book.Account(i)
		if s == a.Number() || s == a.String() {
			return a.String(), nil
		}
		all = append(all, a.Number()+" "+a.String())
	}
	return "", fmt.Errorf("account %q must be one of %s", s, strings.Join(all, ", "))
}
