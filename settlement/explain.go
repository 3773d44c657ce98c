package settlement

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Explanation is the arithmetic of one transaction: the same function that the
// run used, on the same row.
type Explanation struct {
	ID       txn.ID `json:"id"`
	Merchant string `json:"merchant"`
	Terminal string `json:"terminal"`
	Date     string `json:"date"`
	Type     string `json:"type"`
	Currency string `json:"currency"`
	Amount   string `json:"amount"`
	Outcome  string `json:"outcome"`
	// Counts is false for what is not in the books: declined, reversed, no money.
	Counts bool `json:"counts"`
	// Settled says that a run has booked it; else its price is what today's
	// schedule gives.
	Settled bool `json:"settled"`
	// Later says that its day was settled before it came: the next day's run has it.
	Later    bool   `json:"later,omitempty"`
	Schedule string `json:"schedule,omitempty"`

	Plan       string           `json:"plan,omitempty"`
	Card       string           `json:"card,omitempty"`
	DealBefore string           `json:"deal_before,omitempty"`
	DealAfter  string           `json:"deal_after,omitempty"`
	Fees       []ExplainedFee   `json:"fees,omitempty"`
	Postings   []ExplainedEntry `json:"postings,omitempty"`
	Net        string           `json:"net,omitempty"`
	// Volume is what the merchant's sales came to in the month before, where a rate
	// depends on it; Tier the volume above which the merchant's rate is for.
	Volume     string           `json:"volume,omitempty"`
	Tier       string           `json:"tier,omitempty"`
	Agencies   []ExplainedShare `json:"agencies,omitempty"`
	Exceptions []string         `json:"exceptions,omitempty"`
}

// ExplainedShare is an agency's part of what the merchant's day leaves us.
type ExplainedShare struct {
	Agency string `json:"agency"`
	PPM    int64  `json:"ppm"`
}

// ExplainedFee is one of the three fees.
type ExplainedFee struct {
	Name   string `json:"name"`
	Before string `json:"before"` // how the deal's fee was computed before the transaction
	After  string `json:"after"`
	Kept   bool   `json:"kept,omitempty"` // a refund does not give it back
	Fee    string `json:"fee"`            // the difference: what the transaction costs
}

// ExplainedEntry is one posting.
type ExplainedEntry struct {
	Item    string `json:"item"`
	Account string `json:"account"`
	Debit   string `json:"debit,omitempty"`
	Credit  string `json:"credit,omitempty"`
}

// Explain shows how the transactions of a business day with a retrieval
// reference number are priced; normally there is one. fees is asked for the
// schedule of a day without a run.
func Explain(ctx context.Context, l *ledger.Ledger, day txn.Date, rrn string, fees func() (*fee.Schedule, error)) ([]Explanation, error) {
	runs, err := l.Runs(ctx)
	if err != nil {
		return nil, err
	}
	position, err := l.Position(ctx)
	if err != nil {
		return nil, err
	}
	var current *fee.Schedule
	settled := false
	for i := range runs {
		if runs[i].Day == day && runs[i].State >= ledger.RunBooked {
			position, settled = runs[i].Position, true
		}
	}
	if !settled {
		if current, err = fees(); err != nil {
			return nil, err
		}
		runs = append(runs, ledger.Run{Day: day, Position: position, Fees: current.Sum()})
	}
	p := newPricer(ctx, l, runs, current)
	entries, err := l.ByRRN(ctx, day, rrn)
	if err != nil {
		return nil, err
	}
	explained := make([]Explanation, len(entries))
	for i, e := range entries {
		r := e.Rec
		explained[i] = Explanation{ID: r.ID, Merchant: r.Merchant.String(), Terminal: r.Key.Terminal.String(), Date: r.Day.String(), Type: r.Request.String(),
			Currency: r.Amount.Currency.Letters(), Amount: majorUnits(r.Amount.Minor, r.Amount.Currency), Outcome: r.Outcome.String(),
			Later: settled && e.Pos > position && r.Taken() && r.Request.Totals() != txn.NoEffect}
	}
	err = l.FactsByRRN(ctx, day, position, rrn, func(f *ledger.Fact) error {
		for i := range explained {
			if explained[i].ID != f.ID {
				continue
			}
			priced, err := p.price(f)
			if err != nil {
				return err
			}
			explained[i].Settled = settled
			schedule, err := p.load(priced.Schedule)
			if err != nil {
				return err
			}
			explained[i].fill(f, &priced, schedule)
		}
		return nil
	})
	return explained, err
}

func (x *Explanation) fill(f *ledger.Fact, p *priced, s *fee.Schedule) {
	c := f.Amount.Currency
	major := func(minor int64) string { return majorUnits(minor, c) }
	x.Counts, x.Schedule = true, p.Schedule
	for _, e := range exceptionsOf(nil, f, p) {
		x.Exceptions = append(x.Exceptions, e.what)
	}
	x.DealBefore, x.DealAfter, x.Net = major(p.Before), major(p.After), major(p.Net())
	x.Plan = p.Terms.Plan
	if s.Tiers() {
		x.Volume = major(p.Volume)
	}
	if above := p.Terms.Merchant.Above; above > 0 {
		x.Tier = major(above)
	}
	for _, a := range s.Agencies(f.Merchant, f.Day) {
		x.Agencies = append(x.Agencies, ExplainedShare{a.Code, a.PPM})
	}
	if p.Terms.Card != fee.CardUnknown {
		x.Card = p.Terms.Card.String()
	}
	if p.Why == fee.Priced {
		for _, line := range [...]struct {
			name string
			line *fee.Line
		}{{"merchant fee", &p.Terms.Merchant}, {"interchange", &p.Terms.Interchange}, {"network fee", &p.Terms.Network}} {
			x.Fees = append(x.Fees, ExplainedFee{Name: line.name,
				Before: line.line.Rate.Explain(txn.Amount{Minor: p.Before, Currency: c}),
				After:  line.line.Rate.Explain(txn.Amount{Minor: p.After, Currency: c}),
				Kept:   line.line.Keeps && f.Kind == txn.KindRefund,
				Fee:    major(line.line.Charge(f.Kind, p.Before, p.After))})
		}
	}
	for _, posting := range book.Post(nil, &p.Result) {
		e := ExplainedEntry{Item: posting.Item.String(), Account: posting.Account.Number() + " " + posting.Account.String()}
		if posting.Minor < 0 {
			e.Credit = major(-posting.Minor)
		} else {
			e.Debit = major(posting.Minor)
		}
		x.Postings = append(x.Postings, e)
	}
}

// WriteText writes the explanation for people.
func (x *Explanation) WriteText(w io.Writer) error {
	e := &errWriter{w: w}
	fmt.Fprintf(e, "%s of %s %s on %s: merchant %s, terminal %s, transaction %s, %s\n", x.Type, x.Amount, x.Currency, x.Date, x.Merchant, x.Terminal, x.ID, x.Outcome)
	if x.Later {
		fmt.Fprintln(e, "Its day was settled before it came: what stands of it is in the next day's run.")
		return e.err
	}
	if !x.Counts {
		fmt.Fprintln(e, "It is not in the books: it moved no money, or was reversed.")
		return e.err
	}
	state := "not settled yet; priced with the schedule in force"
	if x.Settled {
		state = "settled with"
	}
	fmt.Fprintf(e, "%s %.12s: plan %s, card %s; its deal came to %s before and comes to %s after\n\n", state, x.Schedule, orDash(x.Plan), orDash(x.Card), x.DealBefore, x.DealAfter)
	if x.Volume != "" {
		fmt.Fprintf(e, "sales of the month before: %s, tier: %s\n", x.Volume, orDash(x.Tier))
	}
	for _, f := range x.Fees {
		switch {
		case f.Kept:
			fmt.Fprintf(e, "%s: %s, kept at a refund\n", f.Name, f.Fee)
		default:
			fmt.Fprintf(e, "%s: %s\n    after   %s\n    before  %s\n", f.Name, f.Fee, f.After, f.Before)
		}
	}
	t := tabwriter.NewWriter(e, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nITEM\taccount\tdebit\tcredit")
	for _, p := range x.Postings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Item, p.Account, p.Debit, p.Credit)
	}
	t.Flush()
	for _, a := range x.Agencies {
		fmt.Fprintf(e, "agency %s has %d ppm of what the merchant's day leaves us\n", a.Agency, a.PPM)
	}
	fmt.Fprintf(e, "\nto the merchant: %s %s\n", x.Net, x.Currency)
	for _, why := range x.Exceptions {
		fmt.Fprintf(e, "exception: %s\n", why)
	}
	return e.err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
