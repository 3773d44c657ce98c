package reconcile

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Subject is what proposals of dispositions are called on the desk.
const Subject = "reconciliation"

// Disposition is what somebody proposes to do about an exception.
type Disposition struct {
	Exception int64  `json:"exception"`
	As        string `json:"as"`
	Merchant  string `json:"merchant,omitempty"` // whose books a correction is in
}

// Propose puts dispositions on the desk, for another person to approve: all, or none.
// Each is a proposal of its own; it returns their numbers, in the order of what was
// given.
func (q *Queue) Propose(ctx context.Context, all []Disposition, by, reason string) (numbers []int64, err error) {
	if err := approval.Said(by, reason); err != nil {
		return nil, err
	}
	err = q.db.Update(ctx, func(tx *sql.Tx) error {
		numbers = numbers[:0]
		for i := range all {
			n, err := all[i].propose(ctx, tx, by, reason)
			if err != nil {
				return err
			}
			numbers = append(numbers, n)
		}
		return nil
	})
	return numbers, err
}

func (d *Disposition) propose(ctx context.Context, tx *sql.Tx, by, reason string) (int64, error) {
	e, err := get(ctx, tx, d.Exception)
	if err != nil {
		return 0, err
	}
	if _, err := d.correction(&e); err != nil {
		return 0, err
	}
	document, err := json.Marshal(d)
	if err != nil {
		return 0, err
	}
	p, err := approval.ProposeIn(ctx, tx, approval.Draft{Subject: Subject, Object: strconv.FormatInt(d.Exception, 10), Document: string(document), By: by, Reason: reason})
	return p.Number, err
}

// correction is what a disposition books; nil: nothing. What does not go is an
// approval.Refusal.
func (d *Disposition) correction(e *Exception) (*ledger.Act, error) {
	if e.Act != openText && e.Act != Claim && e.Act != Resend {
		return nil, refuse("exception %d is disposed of already: %s", e.Number, e.Act)
	}
	if !slices.Contains(Dispositions, d.As) {
		return nil, refuse("%q must be one of %s", d.As, strings.Join(Dispositions, ", "))
	}
	if d.As == e.Act {
		return nil, refuse("exception %d is a %s already", e.Number, d.As)
	}
	if d.As == Claim || d.As == Resend {
		return nil, nil
	}
	currency := e.Ours.Currency
	switch {
	case currency == 0:
		currency = e.Theirs.Currency
	case e.Theirs.Currency != 0 && e.Theirs.Currency != currency:
		return nil, refuse("exception %d is of two currencies: claim it, or propose a correction of each", e.Number)
	}
	off := e.Ours.Minor - e.Theirs.Minor
	if off == 0 {
		return nil, nil
	}
	merchant := cmp.Or(d.Merchant, e.Merchant)
	if merchant == "" || len(merchant) > len(txn.MerchantID{}) {
		return nil, refuse("whose books it is in is not known: name the merchant")
	}
	other := book.Rounding
	if d.As == Adjust {
		other = book.MerchantPayable
	}
	a := &ledger.Act{Kind: ledger.Correction, Claim: ledger.Claim{Merchant: txn.MakeMerchantID(merchant), Currency: currency}, Issuer: txn.MakeIssuerID(e.Issuer),
		Debit: other.String(), Credit: book.IssuerReceivable.String(), Minor: off}
	if off < 0 {
		a.Debit, a.Credit, a.Minor = a.Credit, a.Debit, -off
	}
	return a, nil
}

// Approve does what another person proposed, once: the exceptions are disposed of, and
// what that moves are corrections that the next run books. All proposals are approved, or
// none.
func (q *Queue) Approve(ctx context.Context, numbers []int64, by, why string) error {
	return q.decide(ctx, numbers, func(tx *sql.Tx, number int64) error {
		_, err := approval.ApproveIn(ctx, tx, Subject, number, by, why, func(tx *sql.Tx, p *approval.Proposal) error { return dispose(ctx, tx, p, by) })
		return err
	})
}

// dispose does what a proposal says that another person approves.
func dispose(ctx context.Context, tx *sql.Tx, p *approval.Proposal, by string) error {
	var d Disposition
	if err := json.Unmarshal([]byte(p.Document), &d); err != nil {
		return fmt.Errorf("read the disposition of proposal %d: %w", p.Number, err)
	}
	e, err := get(ctx, tx, d.Exception)
	if err != nil {
		return err
	}
	a, err := d.correction(&e)
	if err != nil {
		return err
	}
	now := time.Now()
	if a != nil {
		a.At, a.Who, a.Reason, a.Refers, a.Proposer = now, by, p.Reason, p.Number, p.By
		if err := ledger.AddActIn(ctx, tx, a); err != nil {
			return err
		}
	}
	_, items, err := lastAct(ctx, tx, d.Exception)
	if err != nil {
		return err
	}
	return addAct(ctx, tx, d.Exception, items, Act{At: now, Act: d.As, By: by, Reason: p.Reason, Proposal: p.Number})
}

// Reject leaves the exceptions as they are, all or none.
func (q *Queue) Reject(ctx context.Context, numbers []int64, by, why string) error {
	return q.decide(ctx, numbers, func(tx *sql.Tx, number int64) error {
		return approval.RejectIn(ctx, tx, Subject, number, by, why)
	})
}

func (q *Queue) decide(ctx context.Context, numbers []int64, one func(*sql.Tx, int64) error) error {
	return q.db.Update(ctx, func(tx *sql.Tx) error {
		for _, n := range numbers {
			if err := one(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
}
