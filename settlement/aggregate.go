package settlement

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// aggregate sums up postings, decides what merchants are paid and writes the files.
// It sees merchants in order: those with transactions as these come, those that
// only have something left from before between them.
type aggregate struct {
	out   *files
	run   *ledger.Run
	fees  *fee.Schedule
	terms *payout.Terms
	// paidBy gives the terms of an earlier run.
	paidBy func(txn.Date) (*payout.Terms, error)
	zone   *time.Location
	began  txn.Date

	// What was there before the day, by prepare.
	claims  map[txn.MerchantID]map[txn.Currency]*claim
	waiting []txn.MerchantID // those of claims, in order, from the next on
	held    *holding
	entries map[txn.MerchantID][]entry // of the merchants that are to come
	trading map[txn.MerchantID]int
	batches map[batchOf]ledger.Batch

	// Of the merchant that is open.
	merchant  txn.MerchantID
	open      map[book.Key]*book.Sum
	terminals map[terminalOf]*terminalDay
	inBatches map[batchOf]*txn.Totals
	statement statement

	// Of the run.
	sums       []ledger.PostingSum
	payouts    []ledger.Payout
	payments   []payout.Payment
	exceptions int64
	general    map[book.Key]*book.Sum
	own        map[txn.Currency]ledger.Gross // of the run's own day
	issuers    map[issuerOf]*ledger.Gross    // likewise
	settled    map[settledAs]*ledger.Gross   // likewise

	postings []book.Posting
	why      []exception
}

// claim is what a merchant is owed in a currency, and how that came about.
type claim struct {
	payout.Position
	totals *Totals // of the run's transactions
}

type terminalOf struct {
	id       txn.TerminalID
	currency txn.Currency
}

// terminalDay is what a regulator wants to know of a terminal.
type terminalDay struct {
	mcc         uint16
	totals      txn.Totals
	first, last time.Time
}

type batchOf struct {
	merchant txn.MerchantID
	terminal txn.TerminalID
	number   uint32
	currency txn.Currency
}

type issuerOf struct {
	issuer   txn.IssuerID
	currency txn.Currency
}

// settledAs is how the batches of transactions ended.
type settledAs struct {
	currency txn.Currency
	how      string
}

// exception is one thing for people to look at.
type exception struct{ class, what string }

// The classes of exceptions.
const (
	classUnpriced = "unpriced"
	classOriginal = "original"
	classIssuer   = "issuer"
	classPayout   = "payout"
	classBatch    = "batch"
)

// exceptionsOf are those of a fact.
func exceptionsOf(dst []exception, f *ledger.Fact, p *priced) []exception {
	if p.Why != fee.Priced {
		dst = append(dst, exception{classUnpriced, p.Why.String() + ": its amount is in suspense"})
	}
	if p.Alone {
		dst = append(dst, exception{classOriginal, "its original is not in the ledger: priced as if it undid a deal of its amount"})
	}
	if f.Outcome == txn.OutcomeUnknown {
		switch f.Noted {
		case ledger.NotedNot:
			dst = append(dst, exception{classIssuer, "its issuer has not taken note of it yet"})
		case ledger.NotedNo:
			dst = append(dst, exception{classIssuer, "its issuer refused it"})
		}
	}
	return dst
}

func newAggregate(out *files, run *ledger.Run, fees *fee.Schedule, t *payout.Terms, zone *time.Location, paidBy func(txn.Date) (*payout.Terms, error)) *aggregate {
	out.line(statementsFile, "merchant", "business_date", "time", "terminal", "batch", "trace", "rrn", "card", "type", "currency", "amount", "fee", "net", "note")
	out.line(positionsFile, "merchant", "currency", "transactions", "sales", "refunds", "fees", "suspense", "net", "opening", "corrections", "returned", "disputes", "released",
		"reserved", "paid", "closing", "cycle", "executes", "decision", "statement")
	out.line(payoutsFile, "end_to_end", "merchant", "currency", "amount", "executes", "name", "number", "bank")
	out.line(entriesFile, "item", "about", "merchant", "currency", "amount", "debit", "credit", "net", "reason", "proposed_by", "by", "at")
	out.line(exceptionsFile, "class", "merchant", "business_date", "terminal", "batch", "trace", "rrn", "id", "type", "currency", "amount", "exception")
	out.line(generalFile, "business_date", "account", "name", "item", "issuer", "currency", "debit", "credit", "postings")
	out.line(terminalsFile, "business_date", "merchant", "terminal", "mcc", "currency", "debits", "debit_amount", "credits", "credit_amount", "first", "last")
	out.line(batchesFile, "business_date", "merchant", "terminal", "batch", "currency", "debits", "debit_amount", "credits", "credit_amount", "ended")
	out.line(agenciesFile, "business_date", "agency", "merchant", "currency", "income", "ppm", "share")
	out.line(proofFile, "book", "of", "currency", "debits_and_credits", "debit_amount", "credit_amount", "result")
	a := &aggregate{out: out, run: run, fees: fees, terms: t, paidBy: paidBy, zone: zone, began: txn.MakeDate(run.At.In(zone)),
		entries: map[txn.MerchantID][]entry{}, claims: map[txn.MerchantID]map[txn.Currency]*claim{}, trading: map[txn.MerchantID]int{}, batches: map[batchOf]ledger.Batch{},
		open: map[book.Key]*book.Sum{}, terminals: map[terminalOf]*terminalDay{}, inBatches: map[batchOf]*txn.Totals{},
		general: map[book.Key]*book.Sum{}, own: map[txn.Currency]ledger.Gross{}, issuers: map[issuerOf]*ledger.Gross{}, settled: map[settledAs]*ledger.Gross{}}
	a.statement.begin(out, run.Day, t.Payer)
	return a
}

func (a *aggregate) claim(k ledger.Claim) *claim {
	of := a.claims[k.Merchant]
	if of == nil {
		of = map[txn.Currency]*claim{}
		a.claims[k.Merchant] = of
	}
	c := of[k.Currency]
	if c == nil {
		c = &claim{payout.Position{Merchant: k.Merchant, Currency: k.Currency, Held: a.held.merchants[k.Merchant], Refused: a.held.refused[k], TradingDays: a.trading[k.Merchant]},
			newTotals(k.Currency)}
		of[k.Currency] = c
	}
	return c
}

// prepare reads what there was before the day: what was carried forward, what
// comes back from reserves, what people decided, and how batches were settled.
func (a *aggregate) prepare(ctx context.Context, s *ledger.Snapshot, prior *ledger.Run) (err error) {
	if a.terms.SameDay() {
		if a.trading, err = s.TradingDays(ctx, a.run.Day.Plus(-payout.TradingWindow), a.run.Day); err != nil {
			return err
		}
	}
	if err := a.readActs(ctx, s, prior); err != nil {
		return err
	}
	err = s.Payouts(ctx, prior.Day, func(p *ledger.Payout) error {
		if p.Closing != 0 {
			a.claim(p.Claim).Opening = p.Closing
		}
		return nil
	})
	if err != nil {
		return err
	}
	released, err := s.Reserves(ctx, prior.Day, a.run.Day)
	if err != nil {
		return err
	}
	for k, minor := range released {
		a.claim(k).Released = minor
	}
	for m := range a.claims {
		a.waiting = append(a.waiting, m)
	}
	slices.SortFunc(a.waiting, compareMerchants)
	return a.readBatches(ctx, s, prior)
}

func compareMerchants(x, y txn.MerchantID) int { return slices.Compare(x[:], y[:]) }

// add takes the next transaction.
func (a *aggregate) add(f *ledger.Fact, p priced) error {
	if f.Merchant != a.merchant {
		if err := a.closeMerchant(); err != nil {
			return err
		}
		if err := a.closeWaiting(&f.Merchant); err != nil {
			return err
		}
		a.merchant = f.Merchant
	}
	if f.Day == a.run.Day {
		a.count(f, p.Effect)
	}
	a.postings = book.Post(a.postings[:0], &p.Result)
	for _, posting := range a.postings {
		k := book.Key{Item: posting.Item, Account: posting.Account, Currency: f.Amount.Currency}
		if k.Account == book.IssuerReceivable {
			k.Issuer = f.Issuer
		}
		if !made(a.open, k).Add(posting.Minor) {
			return fmt.Errorf("the %s of merchant %s do not fit 64 bits", posting.Item, f.Merchant)
		}
	}
	a.why = exceptionsOf(a.why[:0], f, &p)
	a.write(f, &p)
	return a.out.err
}

// count adds a transaction of the day to the totals that are held against others.
func (a *aggregate) count(f *ledger.Fact, effect txn.Effect) {
	g := a.own[f.Amount.Currency]
	addGross(&g, effect, f.Amount.Minor)
	a.own[f.Amount.Currency] = g
	addGross(made(a.issuers, issuerOf{f.Issuer, f.Amount.Currency}), effect, f.Amount.Minor)
	k := terminalOf{f.Terminal, f.Amount.Currency}
	t := a.terminals[k]
	if t == nil {
		t = &terminalDay{first: f.At, last: f.At}
		a.terminals[k] = t
	}
	t.mcc = f.MCC
	if f.At.Before(t.first) {
		t.first = f.At
	}
	if f.At.After(t.last) {
		t.last = f.At
	}
	totals := made(a.inBatches, batchOf{f.Merchant, f.Terminal, f.Batch, f.Amount.Currency})
	for _, side := range [...]*txn.Sum{t.totals.Side(effect), totals.Side(effect)} {
		side.Count++
		side.Minor += f.Amount.Minor
	}
}

// made is what a map has under a key, made if it has nothing.
func made[K comparable, V any](m map[K]*V, k K) *V {
	v := m[k]
	if v == nil {
		v = new(V)
		m[k] = v
	}
	return v
}

func addGross(g *ledger.Gross, effect txn.Effect, minor int64) {
	g.Count++
	if effect == txn.Debit {
		g.Debit += minor
	} else {
		g.Credit += minor
	}
}

// write writes the lines of a transaction.
func (a *aggregate) write(f *ledger.Fact, p *priced) {
	sign, fees, note := int64(p.Effect), p.Fee, ""
	if p.Undo {
		sign, fees, note = -sign, -fees, "no longer stands: taken back"
	}
	for _, x := range a.why {
		note = strings.TrimPrefix(note+"; "+x.what, "; ")
	}
	code, amount := f.Amount.Currency.Letters(), func(minor int64) string { return majorUnits(minor, f.Amount.Currency) }
	l := [...]string{f.Merchant.String(), f.Day.String(), a.clock(f.At), f.Terminal.String(), six(f.Batch), six(f.STAN), printable(f.RRN[:]), printable(f.Masked[:]),
		f.Kind.String(), code, amount(sign * f.Amount.Minor), amount(fees), amount(p.Net()), note}
	a.out.line(statementsFile, l[:]...)
	a.statement.line(&l)
	for _, x := range a.why {
		a.exception(x.class, l[0], l[1], l[3], l[4], l[5], l[6], f.ID.String(), l[8], l[9], l[10], x.what)
	}
}

// clock is an instant as its line has it.
func (a *aggregate) clock(t time.Time) string { return t.In(a.zone).Format(time.DateTime) }

// exception adds a line of exceptionsFile.
func (a *aggregate) exception(fields ...string) {
	a.exceptions++
	a.out.line(exceptionsFile, fields...)
}
