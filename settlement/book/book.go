// Package book says what a financial result is in double entry: the chart of
// accounts, and the postings of a sale, a refund and their fees.
//
// Post is a pure function whose postings sum to zero in the result's currency,
// whatever it is given. What undoes a result posts the same, with both sides
// changed over: nothing is ever taken out of the books.
//
// Not here: prices (package fee), sums and files (package settlement), what is paid
// and when (package payout), what a dispute's steps are (package dispute).
package book

import (
	"math"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Account is one of the chart.
type Account uint8

// The accounts. Their names are in the ledger: renaming one is a migration.
const (
	// Bank: what the bank has paid for us. What issuers pay in is not booked yet.
	Bank Account = iota
	// IssuerReceivable: what clearing with an issuer brings us, after the
	// interchange and our side of the network's fee, which are kept back there.
	IssuerReceivable
	// MerchantPayable: what we owe a merchant.
	MerchantPayable
	// PayoutsOrdered: what the bank has been told to pay and has not answered yet.
	PayoutsOrdered
	// Reserve: a merchant's money that is kept back for a while.
	Reserve
	// AgencyPayable: what we owe the agencies that brought merchants.
	AgencyPayable
	// Disputed: a merchant's money that a dispute is about, until that is decided.
	Disputed
	// Suspense: a merchant's money that could not be priced, until somebody has
	// said how.
	Suspense
	FeeIncome
	InterchangeExpense
	NetworkExpense
	AgencyExpense
	// DisputeLoss: what disputes cost us, because no merchant bears it.
	DisputeLoss
	// Rounding: what is left of agencies' shares when each is rounded, and differences of less than a minor unit per transaction against
	// another side's computation. What we compute ourselves of a transaction is
	// whole.
	Rounding

	Accounts = int(Rounding) + 1
)

var chart = [Accounts]struct{ number, name string }{
	{"1000", "bank"},
	{"1100", "issuer receivable"},
	{"2100", "merchant payable"},
	{"2200", "payouts ordered"},
	{"2300", "reserve"},
	{"2400", "agency payable"},
	{"2600", "disputed"},
	{"2900", "suspense"},
	{"4100", "fee income"},
	{"5100", "interchange expense"},
	{"5200", "network expense"},
	{"5300", "agency expense"},
	{"5400", "dispute loss"},
	{"5900", "rounding"},
}

// Number is the account's place in the chart.
func (a Account) Number() string { return chart[a].number }

func (a Account) String() string {
	if int(a) < len(chart) {
		return chart[a].name
	}
	return "invalid"
}

// Item is what a posting is for.
type Item uint8

// The items.
const (
	Sale   Item = iota // the cardholder pays
	Refund             // the cardholder gets back
	Fee                // what the merchant pays us
	Interchange
	Network
	AgencyShare // agencies' part of what is left to us
	Correction  // what two people decided
	Reserving   // a part of what a merchant is owed is kept back
	Releasing   // and given back
	Payout      // the bank is told to pay the merchant
	PayoutPaid  // it has
	PayoutBack  // it has not, or the money came back
	Dispute     // a step of a case

	Items = int(Dispute) + 1
)

var itemNames = [Items]string{"sale", "refund", "merchant fee", "interchange", "network fee", "agency share", "correction", "reserve", "reserve release", "payout",
	"payout paid", "payout back", "dispute"}

func (i Item) String() string {
	if int(i) < len(itemNames) {
		return itemNames[i]
	}
	return "invalid"
}

// pairs are the accounts that an item debits and credits when money comes in.
// The merchant's account is Suspense while a result has no price. What is decided
// one by one (corrections, disputes, what the bank says) says itself between which
// accounts it moves money; a share of agencies has one credit each.
var pairs = [Items][2]Account{
	Sale:        {IssuerReceivable, MerchantPayable},
	Refund:      {IssuerReceivable, MerchantPayable},
	Fee:         {MerchantPayable, FeeIncome},
	Interchange: {InterchangeExpense, IssuerReceivable},
	Network:     {NetworkExpense, IssuerReceivable},
	Reserving:   {MerchantPayable, Reserve},
	Releasing:   {Reserve, MerchantPayable},
	Payout:      {MerchantPayable, PayoutsOrdered},
}

// Posting is money on one account: a debit above zero, a credit below.
type Posting struct {
	Item    Item
	Account Account
	Minor   int64
}

// Result is a financial result and its fees, in minor units of one currency.
type Result struct {
	Effect txn.Effect // Debit: the cardholder pays; Credit: gets back
	Minor  int64      // 0 to txn.AmountMax
	// What the result adds to the fees of its deal; below zero it gives back.
	Fee, Interchange, Network int64
	// Parked: there is no price, so the merchant's side waits in Suspense.
	Parked bool
	// Undo: an earlier result of this content no longer stands.
	Undo bool
}

// Net is what the result adds to what we owe its merchant.
func (r *Result) Net() int64 {
	if r.Parked {
		return 0
	}
	net := int64(r.Effect)*r.Minor - r.Fee
	if r.Undo {
		net = -net
	}
	return net
}

// Post appends the postings of r to dst. Items of zero have none, but the result
// itself always has its two, so that it is counted.
func Post(dst []Posting, r *Result) []Posting {
	sign := int64(1)
	if r.Undo {
		sign = -1
	}
	put := func(item Item, minor int64) {
		debit, credit := pairs[item][0], pairs[item][1]
		if r.Parked { // and has no fees
			credit = Suspense
		}
		dst = append(dst, Posting{item, debit, sign * minor}, Posting{item, credit, -sign * minor})
	}
	switch r.Effect {
	case txn.Debit:
		put(Sale, r.Minor)
	case txn.Credit:
		put(Refund, -r.Minor)
	default:
		return dst
	}
	if r.Parked {
		return dst
	}
	for _, f := range [...]struct {
		item  Item
		minor int64
	}{{Fee, r.Fee}, {Interchange, r.Interchange}, {Network, r.Network}} {
		if f.minor != 0 {
			put(f.item, f.minor)
		}
	}
	return dst
}

// Move appends the two postings of an amount that an item moves.
func Move(dst []Posting, item Item, minor int64) []Posting {
	return Between(dst, item, pairs[item][0], pairs[item][1], minor)
}

// Between appends the two postings of an amount that is moved between two accounts.
func Between(dst []Posting, item Item, debit, credit Account, minor int64) []Posting {
	return append(dst, Posting{item, debit, minor}, Posting{item, credit, -minor})
}

// Key is what postings of one merchant and run are summed up by.
type Key struct {
	Item     Item
	Account  Account
	Issuer   txn.IssuerID // on IssuerReceivable; on AgencyPayable the agency's code
	Currency txn.Currency
}

// Sum is both sides of a key, each as positive minor units, and how many
// postings it is made of.
type Sum struct{ Debit, Credit, Count int64 }

// Balance is the debits less the credits.
func (s Sum) Balance() int64 { return s.Debit - s.Credit }

// Add adds one posting. It says no when the sum would not fit 64 bits.
func (s *Sum) Add(minor int64) bool {
	side := &s.Debit
	if minor < 0 {
		side, minor = &s.Credit, -minor
	}
	if *side > math.MaxInt64-minor {
		return false
	}
	*side += minor
	s.Count++
	return true
}
