package settlement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
		sum := a.open[k]
		if sum == nil {
			sum = new(book.Sum)
			a.open[k] = sum
		}
		if !sum.Add(posting.Minor) {
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
	is := a.issuers[issuerOf{f.Issuer, f.Amount.Currency}]
	if is == nil {
		is = new(ledger.Gross)
		a.issuers[issuerOf{f.Issuer, f.Amount.Currency}] = is
	}
	addGross(is, effect, f.Amount.Minor)
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
	b := batchOf{f.Merchant, f.Terminal, f.Batch, f.Amount.Currency}
	totals := a.inBatches[b]
	if totals == nil {
		totals = new(txn.Totals)
		a.inBatches[b] = totals
	}
	for _, side := range [...]*txn.Sum{t.totals.Side(effect), totals.Side(effect)} {
		side.Count++
		side.Minor += f.Amount.Minor
	}
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
	code, amount := currencyCode(f.Amount.Currency), func(minor int64) string { return majorUnits(minor, f.Amount.Currency) }
	l := [...]string{f.Merchant.String(), f.Day.String(), a.clock(f.At), f.Terminal.String(), six(f.Batch), six(f.STAN), trimmed(f.RRN[:]), trimmed(f.Masked[:]),
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
				Account: d.Account, EndToEnd: payout.EndToEnd(a.run.Day, m, currencyCode(currency))})
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

// book adds a sum of postings to what the run posts.
func (a *aggregate) book(m txn.MerchantID, k book.Key, s book.Sum) (*ledger.PostingSum, error) {
	a.sums = append(a.sums, ledger.PostingSum{Merchant: m, Currency: k.Currency, Item: k.Item.String(), Account: k.Account.String(), Issuer: k.Issuer,
		Debit: s.Debit, Credit: s.Credit, Count: s.Count})
	all := a.general[k]
	if all == nil {
		all = new(book.Sum)
		a.general[k] = all
	}
	if all.Debit+s.Debit < 0 || all.Credit+s.Credit < 0 {
		return nil, fmt.Errorf("the %s do not fit 64 bits", k.Item)
	}
	all.Debit, all.Credit, all.Count = all.Debit+s.Debit, all.Credit+s.Credit, all.Count+s.Count
	return &a.sums[len(a.sums)-1], nil
}

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
	keys := make([]book.Key, 0, len(a.general))
	for k, s := range a.general {
		keys = append(keys, k)
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
	slices.SortFunc(keys, compareKeys)
	for _, k := range keys {
		s := a.general[k]
		a.out.line(generalFile, a.run.Day.String(), k.Account.Number(), k.Account.String(), k.Item.String(), k.Issuer.String(), currencyCode(k.Currency),
			majorUnits(s.Debit, k.Currency), majorUnits(s.Credit, k.Currency), strconv.FormatInt(s.Count, 10))
	}
	a.writeProof(gross)
	return a.out.err
}

// writePayments writes what the bank is to pay.
func (a *aggregate) writePayments() error {
	for i := range a.payments {
		p := &a.payments[i]
		a.out.line(payoutsFile, p.EndToEnd, p.Merchant.String(), currencyCode(p.Amount.Currency), majorUnits(p.Amount.Minor, p.Amount.Currency), p.Executes.String(),
			p.Account.Name, p.Account.Number, p.Account.Bank)
	}
	if w := a.out.writer(painFile); w != nil && len(a.payments) > 0 {
		if err := a.terms.WritePain(w, a.run.Day, a.run.At.In(a.zone), a.payments); err != nil {
			return fmt.Errorf("write %s: %w", painFile, err)
		}
	}
	return nil
}

// closeTerminals writes the lines of the merchant's terminals.
func (a *aggregate) closeTerminals() {
	keys := make([]terminalOf, 0, len(a.terminals))
	for k := range a.terminals {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y terminalOf) int {
		return cmp.Or(slices.Compare(x.id[:], y.id[:]), cmp.Compare(x.currency, y.currency))
	})
	for _, k := range keys {
		t := a.terminals[k]
		a.out.line(terminalsFile, a.run.Day.String(), a.merchant.String(), k.id.String(), fmt.Sprintf("%04d", t.mcc), currencyCode(k.currency),
			count(t.totals.Debit), majorUnits(t.totals.Debit.Minor, k.currency), count(t.totals.Credit), majorUnits(t.totals.Credit.Minor, k.currency),
			a.clock(t.first), a.clock(t.last))
	}
	clear(a.terminals)
}

func count(s txn.Sum) string { return strconv.FormatUint(uint64(s.Count), 10) }
