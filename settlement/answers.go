package settlement

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/telemetry"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// AnswersInput is a file with what the bank says to payments.
type AnswersInput struct {
	Ledger *ledger.Ledger
	Name   string
	File   io.Reader
	By     string
	Now    time.Time
}

// Answered is what a file of answers came to.
type Answered struct {
	File    string `json:"file"`
	SHA256  string `json:"sha256"`
	Paid    int64  `json:"paid"`
	Back    int64  `json:"back"`    // rejected or returned: the merchants' money again
	Pending int64  `json:"pending"` // nothing follows from it
	Known   int64  `json:"known"`   // was said before
	Number  int64  `json:"last_act,omitempty"`
}

// payment is one that a run ordered, and what the bank has said to it.
type payment struct {
	ledger.Payout
	endToEnd string
	said     Status
}

// Status is how far a payment is.
type Status string

// The statuses. What was paid may come back later.
const (
	Ordered Status = "ordered"
	IsPaid  Status = "paid"
	IsBack  Status = "back"
)

// AnswerPayouts makes what the bank says to payments durable: the next run that
// begins books it. Money that the bank has not paid, or that came back, is the
// merchant's again, and waits until its account is another one or is released. The
// same answer again changes nothing; a file with a payment that was never ordered,
// for another amount, or that contradicts what was said, is refused as a whole with
// a *yamlfile.Problem.
func AnswerPayouts(ctx context.Context, in AnswersInput) (*Answered, error) {
	if err := approval.Person(in.By); err != nil {
		return nil, fmt.Errorf("who imports it: %w", err)
	}
	hash := sha256.New()
	name := filepath.Base(in.Name)
	said, err := payout.ReadAnswers(in.Name, io.TeeReader(in.File, hash))
	if err != nil {
		return nil, err
	}
	b := bank{in: &in, payments: map[string]*payment{}, days: map[txn.Date][]*payment{}}
	all, err := b.single(ctx, said)
	if err != nil {
		return nil, err
	}
	var r Answered
	err = in.Ledger.Decide(ctx, func(tx *sql.Tx) error {
		r = Answered{File: name, SHA256: hex.EncodeToString(hash.Sum(nil))}
		if err := b.saidBefore(ctx, tx); err != nil {
			return err
		}
		for i := range all {
			if err := b.answer(ctx, tx, &all[i], &r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// bank is a file of answers that is being held against what was ordered.
type bank struct {
	in       *AnswersInput
	payments map[string]*payment // by end-to-end id
	days     map[txn.Date][]*payment
}

func (b *bank) wrong(line int, field, format string, args ...any) error {
	return &yamlfile.Problem{File: b.in.Name, Line: line, Field: field, What: fmt.Sprintf(format, args...)}
}

// ordered are the payments of a day's run.
func (b *bank) ordered(ctx context.Context, day txn.Date) ([]*payment, error) {
	if known, ok := b.days[day]; ok {
		return known, nil
	}
	all := []*payment{}
	err := b.in.Ledger.Payouts(ctx, day, func(p *ledger.Payout) error {
		if p.Paid > 0 {
			x := &payment{Payout: *p, endToEnd: payout.EndToEnd(day, p.Merchant, p.Currency.Letters())}
			all = append(all, x)
			b.payments[x.endToEnd] = x
		}
		return nil
	})
	b.days[day] = all
	return all, err
}

// single makes one answer for each payment: an answer to a whole message or group holds
// for those of its payments that have no answer of their own.
func (b *bank) single(ctx context.Context, said []payout.Answer) ([]payout.Answer, error) {
	named := map[string]bool{}
	var all, wholes []payout.Answer
	for _, x := range said {
		if x.EndToEnd == "" {
			wholes = append(wholes, x)
			continue
		}
		day, err := payout.DayOf(x.EndToEnd)
		if err != nil {
			return nil, b.wrong(x.Line, "end_to_end", "%v", err)
		}
		if _, err := b.ordered(ctx, day); err != nil {
			return nil, err
		}
		p := b.payments[x.EndToEnd]
		if p == nil {
			return nil, b.wrong(x.Line, "end_to_end", "no run ordered the payment %s", x.EndToEnd)
		}
		if x.Amount != "" {
			if amount, err := txn.ParseAmount(x.Amount, p.Currency); err != nil || amount.Minor != p.Paid {
				return nil, b.wrong(x.Line, "amount", "the bank has %.30q of payment %s, we ordered %s", x.Amount, x.EndToEnd, majorUnits(p.Paid, p.Currency))
			}
		}
		named[x.EndToEnd] = true
		all = append(all, x)
	}
	// The answer to a group comes before that to its message: it says more.
	slices.SortStableFunc(wholes, func(x, y payout.Answer) int { return len(y.Of) - len(x.Of) })
	for _, x := range wholes {
		day, err := payout.DayOfMessage(x.Of)
		if err != nil {
			return nil, b.wrong(x.Line, "", "%v", err)
		}
		of, err := b.ordered(ctx, day)
		if err != nil {
			return nil, err
		}
		found := false
		for _, p := range of {
			if x.Of != payout.MessageID(day) && x.Of != payout.GroupID(day, p.Executes, p.Currency.Letters()) {
				continue
			}
			if found = true; !named[p.endToEnd] {
				named[p.endToEnd] = true
				one := x
				one.EndToEnd = p.endToEnd
				all = append(all, one)
			}
		}
		if !found {
			return nil, b.wrong(x.Line, "", "no run ordered payments under the id %.60q", x.Of)
		}
	}
	return all, nil
}

// saidBefore reads what the bank said to the payments of the days of the file.
func (b *bank) saidBefore(ctx context.Context, tx *sql.Tx) error {
	for _, p := range b.payments {
		p.said = Ordered
	}
	for day := range b.days {
		err := ledger.ActsOfDayIn(ctx, tx, day, func(a *ledger.Act) error {
			if p := b.payments[a.About]; p != nil {
				p.said = p.said.after(a.Kind)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// answer takes one answer: what is new in it becomes an act.
func (b *bank) answer(ctx context.Context, tx *sql.Tx, x *payout.Answer, r *Answered) error {
	p := b.payments[x.EndToEnd]
	act := ledger.Act{At: b.in.Now, Kind: ledger.PayoutPaid, Who: b.in.By, Reason: telemetry.Mask(x.Reason), About: p.endToEnd, Claim: p.Claim,
		Debit: book.PayoutsOrdered.String(), Credit: book.Bank.String(), Minor: p.Paid}
	switch {
	case x.Status == payout.StatusPending:
		r.Pending++
		return nil
	case x.Status == payout.StatusPaid && p.said == IsBack:
		return b.wrong(x.Line, "status", "payment %s came back by an earlier answer: it cannot be paid", p.endToEnd)
	case x.Status == payout.StatusPaid && p.said == IsPaid, x.Status == payout.StatusBack && p.said == IsBack:
		r.Known++
		return nil
	case x.Status == payout.StatusPaid:
		p.said = IsPaid
		r.Paid++
	default:
		act.Kind, act.Credit = ledger.PayoutBack, book.MerchantPayable.String()
		if p.said == IsPaid {
			act.Debit = book.Bank.String()
		}
		p.said = IsBack
		r.Back++
	}
	err := ledger.AddActIn(ctx, tx, &act)
	r.Number = act.Number
	return err
}

// after is how far a payment is after an act about it: what came back stays so.
func (s Status) after(k ledger.ActKind) Status {
	switch {
	case k == ledger.PayoutBack:
		return IsBack
	case k == ledger.PayoutPaid && s == Ordered:
		return IsPaid
	}
	return s
}

// Payment is a payout that was ordered, and what became of it.
type Payment struct {
	Merchant txn.MerchantID
	Amount   txn.Amount
	Executes txn.Date
	EndToEnd string
	Status   Status
	Reason   string // the bank's
	Answered time.Time
	Act      int64 // of one that came back: what to release
}

// Payments calls fn with the payments of a day's run, by merchant and currency.
func Payments(ctx context.Context, l *ledger.Ledger, day txn.Date, fn func(*Payment) error) error {
	return l.Read(ctx, func(s *ledger.Snapshot) error {
		runs, err := s.Runs(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(runs, func(r ledger.Run) bool { return r.Day == day && r.State >= ledger.RunBooked }) {
			return refuse("%s is not settled", day)
		}
		said, last := map[string]Status{}, map[string]ledger.Act{}
		err = s.ActsOfDay(ctx, day, func(a *ledger.Act) error {
			said[a.About], last[a.About] = cmp.Or(said[a.About], Ordered).after(a.Kind), *a
			return nil
		})
		if err != nil {
			return err
		}
		return s.Payouts(ctx, day, func(p *ledger.Payout) error {
			if p.Paid == 0 {
				return nil
			}
			x := Payment{Merchant: p.Merchant, Amount: txn.Amount{Minor: p.Paid, Currency: p.Currency}, Executes: p.Executes,
				EndToEnd: payout.EndToEnd(day, p.Merchant, p.Currency.Letters())}
			a := last[x.EndToEnd]
			x.Status, x.Reason, x.Answered, x.Act = cmp.Or(said[x.EndToEnd], Ordered), a.Reason, a.At, a.Number
			return fn(&x)
		})
	})
}
