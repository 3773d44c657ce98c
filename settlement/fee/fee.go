// Package fee prices transactions: what the merchant pays us, what the issuer
// keeps (interchange) and what the network takes from our side.
//
// A schedule is one strict YAML file of plans and a table of card prefixes; Load
// refuses one with a gap or an overlap in its periods, naming line and field.
// Everything here is pure: the same schedule and the same deal give the same
// fees on every machine and at any time, in whole minor units.
//
// A fee belongs to a deal: a sale with its tips, its refunds and its void. A
// transaction costs the difference between the fee of the deal after it and the
// fee before it. So a cap, a minimum and a fixed part count once per deal however
// often it is changed, what is refunded in parts gives back exactly what was
// taken, and nothing is lost in rounding.
//
// Not here: who owes whom (package book), tiers by volume, shares of agencies.
package fee

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	million = 1_000_000

	// PPMMax is the whole amount. With it and txn.AmountMax a product fits 64 bits.
	PPMMax = million
)

// Rate is how a fee follows from an amount: a share rounded half up to a minor
// unit, and a fixed part; together no less than Min and no more than Cap. All
// but PPM (millionths of the amount) are minor units.
type Rate struct {
	PPM, Fixed, Min, Cap int64
	Capped               bool
}

// Of is the fee of a deal that came to minor. A deal that came to nothing, or
// gave back more than it took, costs nothing.
func (r *Rate) Of(minor int64) int64 {
	if minor <= 0 {
		return 0
	}
	fee := max(share(minor, r.PPM)+r.Fixed, r.Min)
	if r.Capped {
		fee = min(fee, r.Cap)
	}
	return fee
}

// share is ppm millionths of minor, half up. What a deal came to may have more
// digits than one amount, so the product is taken in 128 bits; the quotient is
// below 64 bits since ppm is at most a million.
func share(minor, ppm int64) int64 {
	hi, lo := bits.Mul64(uint64(minor), uint64(ppm))
	lo, carry := bits.Add64(lo, million/2, 0)
	q, _ := bits.Div64(hi+carry, lo, million)
	return int64(q)
}

// Explain is Of in words, as "1000.00 x 3500 ppm = 3.50".
func (r *Rate) Explain(deal txn.Amount) string {
	if deal.Minor <= 0 {
		return "nothing: 0"
	}
	say := func(minor int64) string { return major(minor, deal.Currency) }
	part := share(deal.Minor, r.PPM)
	var b strings.Builder
	fmt.Fprintf(&b, "%s x %d ppm = %s", say(deal.Minor), r.PPM, say(part))
	if r.Fixed != 0 {
		fmt.Fprintf(&b, ", + %s fixed = %s", say(r.Fixed), say(part+r.Fixed))
	}
	fee := r.Of(deal.Minor)
	switch {
	case r.Capped && fee < max(part+r.Fixed, r.Min):
		fmt.Fprintf(&b, ", at most %s: %s", say(r.Cap), say(fee))
	case fee > part+r.Fixed:
		fmt.Fprintf(&b, ", at least %s: %s", say(r.Min), say(fee))
	}
	return b.String()
}

// major is minor units in major ones, without the currency.
func major(minor int64, c txn.Currency) string {
	s, _, _ := strings.Cut(txn.Amount{Minor: minor, Currency: c}.String(), " ")
	return s
}

// Card is what an issuer calls a card.
type Card uint8

// The cards. A prepaid or quasi-credit card is listed as what its issuer is paid
// for.
const (
	CardUnknown Card = iota
	Debit
	Credit
)

var cardNames = [...]string{"unknown", "debit", "credit"}

func (c Card) String() string { return cardNames[c] }

// Line is one of a deal's three fees: its rate, and whether it stays when the
// deal is refunded. A void gives it back always: the deal never was.
type Line struct {
	Rate  Rate
	Keeps bool
}

// Charge is what a transaction adds to the fee of a deal that came to before and
// comes to after it; below zero it gives back.
func (l *Line) Charge(kind txn.Kind, before, after int64) int64 {
	if l.Keeps && kind == txn.KindRefund {
		return 0
	}
	return l.Rate.Of(after) - l.Rate.Of(before)
}

// Terms are the conditions of one deal.
type Terms struct {
	Plan                           string
	Card                           Card
	Merchant, Interchange, Network Line
}

// Fees are what a transaction adds to a deal's fees, in minor units.
type Fees struct{ Merchant, Interchange, Network int64 }

// Price is Charge for the three lines.
func (t *Terms) Price(kind txn.Kind, before, after int64) Fees {
	return Fees{t.Merchant.Charge(kind, before, after), t.Interchange.Charge(kind, before, after), t.Network.Charge(kind, before, after)}
}

// Unpriced is why a deal has no terms. The zero value is that it has.
type Unpriced uint8

// The reasons, in the order in which they are looked for.
const (
	Priced Unpriced = iota
	CurrencyIsUnknown
	MerchantHasNoPlan
	CardTypeIsUnknown
	PlanHasNoRate
	InterchangeHasNoRate
	NetworkHasNoRate
)

var unpricedNames = [...]string{
	"priced",
	"the currency is not in ISO 4217",
	"the merchant has no plan on this day",
	"the card's prefix is not in the table of cards",
	"the merchant's plan has no rate for this currency and card on this day",
	"interchange has no rate for this currency and card on this day",
	"the network has no rate for this currency and card on this day",
}

func (u Unpriced) String() string { return unpricedNames[u] }

// Deal is what a schedule needs to know of a deal: of its first transaction.
type Deal struct {
	Merchant txn.MerchantID
	Day      txn.Date
	MCC      uint16
	Currency txn.Currency
	Masked   [txn.PANDigitsMax]byte // its first PrefixMax digits count
}

// Terms are those of a deal, or why there are none.
func (s *Schedule) Terms(d *Deal) (t Terms, why Unpriced) {
	if _, ok := d.Currency.Exponent(); !ok {
		return t, CurrencyIsUnknown
	}
	var plan *tariff
	for _, a := range s.merchants[d.Merchant] {
		if a.covers(d.Day) {
			plan = a.plan
		}
	}
	if plan == nil {
		return t, MerchantHasNoPlan
	}
	t.Plan = plan.name
	if t.Card = s.card(d.Masked[:]); t.Card == CardUnknown {
		return t, CardTypeIsUnknown
	}
	for _, f := range [...]struct {
		from *tariff
		to   *Line
		why  Unpriced
	}{{plan, &t.Merchant, PlanHasNoRate}, {&s.interchange, &t.Interchange, InterchangeHasNoRate}, {&s.network, &t.Network, NetworkHasNoRate}} {
		r := f.from.rate(d, t.Card)
		if r == nil {
			return t, f.why
		}
		*f.to = Line{*r, f.from.keeps}
	}
	return t, Priced
}

// period is from the first day to the last; a last of 0 is without end.
type period struct{ from, to txn.Date }

func (p period) covers(d txn.Date) bool { return d >= p.from && (p.to == 0 || d <= p.to) }

// group is whom a rate is for; an MCC of 0 is for all that have none of their own.
type group struct {
	card     Card
	currency txn.Currency
	mcc      uint16
}

type dated struct {
	period
	rate Rate
}

// tariff is a plan, the interchange or the network's fee. The periods of a group
// are in order, without gap or overlap.
type tariff struct {
	name  string
	keeps bool
	rates map[group][]dated
}

// rate is the one for the deal's category, or else for all.
func (t *tariff) rate(d *Deal, card Card) *Rate {
	for _, mcc := range [...]uint16{d.MCC, 0} {
		rates := t.rates[group{card, d.Currency, mcc}]
		for i := range rates {
			if rates[i].covers(d.Day) {
				return &rates[i].rate
			}
		}
	}
	return nil
}

type assignment struct {
	period
	plan *tariff
}

// PrefixMax is how many digits of a card number the ledger shows.
const PrefixMax = 6

// Schedule is a checked set of plans. It is immutable and safe for concurrent use.
type Schedule struct {
	plansText, bins []byte
	sum             string

	interchange, network tariff
	merchants            map[txn.MerchantID][]assignment
	prefixes             map[string]Card // empty prefix: any card
}

// Sum is the SHA-256 of both files, in hexadecimal: what a run was priced with.
func (s *Schedule) Sum() string { return s.sum }

// Plans and BINs are the two files as they were read.
func (s *Schedule) Plans() []byte { return s.plansText }

// BINs is the table of card prefixes as it was read.
func (s *Schedule) BINs() []byte { return s.bins }

// card is by the longest prefix.
func (s *Schedule) card(masked []byte) Card {
	for n := PrefixMax; n >= 0; n-- {
		if c := s.prefixes[string(masked[:n])]; c != CardUnknown {
			return c
		}
	}
	return CardUnknown
}
