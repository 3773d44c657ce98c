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
// Not here: who owes whom (package book), what a merchant's volume is.
package fee

import (
	"fmt"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
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
	fee := max(txn.Share(minor, r.PPM)+r.Fixed, r.Min)
	if r.Capped {
		fee = min(fee, r.Cap)
	}
	return fee
}

// Explain is Of in words, as "1000.00 x 3500 ppm = 3.50".
func (r *Rate) Explain(deal txn.Amount) string {
	if deal.Minor <= 0 {
		return "nothing: 0"
	}
	say := func(minor int64) string { return txn.Amount{Minor: minor, Currency: deal.Currency}.Major() }
	part := txn.Share(deal.Minor, r.PPM)
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

// Card is what an issuer calls a card.
type Card uint8

// The cards. A quasi-credit card is listed as what its issuer is paid for.
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
	Above int64 // the volume above which the rate is for; 0: for any
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
	Masked   [txn.PANDigitsMax]byte // its first six digits count
	Way      txn.Way
	// Volume is what the merchant's sales came to in the calendar month before, in
	// minor units of the currency. It is asked for by schedules with Tiers only.
	Volume int64
}

// Terms are those of a deal, or why there are none.
func (s *Schedule) Terms(d *Deal) (t Terms, why Unpriced) {
	if _, ok := d.Currency.Exponent(); !ok {
		return t, CurrencyIsUnknown
	}
	plan := s.plan(d.Merchant, d.Day)
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
		*f.to = Line{r.rate, f.from.keeps, 0}
		for _, tier := range r.tiers {
			if d.Volume > tier.above {
				f.to.Rate, f.to.Above = tier.rate, tier.above
			}
		}
	}
	return t, Priced
}

// HasPlan says that a merchant has a plan on a day.
func (s *Schedule) HasPlan(m txn.MerchantID, day txn.Date) bool { return s.plan(m, day) != nil }

func (s *Schedule) plan(m txn.MerchantID, day txn.Date) *tariff {
	for _, a := range s.merchants[m] {
		if a.covers(day) {
			return a.plan
		}
	}
	return nil
}

// period is from the first day to the last; a last of 0 is without end.
type period struct{ from, to txn.Date }

func (p period) covers(d txn.Date) bool { return d >= p.from && (p.to == 0 || d <= p.to) }

// group is whom a rate is for; an MCC or a way of 0 is for all that have none of
// their own.
type group struct {
	card     Card
	currency txn.Currency
	mcc      uint16
	way      uint8 // txn.Way + 1
}

type dated struct {
	period
	rate  Rate
	tiers []tier // with rising volumes
}

// tier is the rate of merchants with more than a volume.
type tier struct {
	above int64
	rate  Rate
}

// tariff is a plan, the interchange or the network's fee. The periods of a group
// leave no gap and do not overlap.
type tariff struct {
	name  string
	keeps bool
	rates map[group][]dated
}

// rate is the one for the deal's category and way, or else for its category, for
// its way, for all.
func (t *tariff) rate(d *Deal, card Card) *dated {
	way := uint8(d.Way) + 1
	for _, g := range [...]group{{card, d.Currency, d.MCC, way}, {card, d.Currency, d.MCC, 0}, {card, d.Currency, 0, way}, {card, d.Currency, 0, 0}} {
		rates := t.rates[g]
		for i := range rates {
			if rates[i].covers(d.Day) {
				return &rates[i]
			}
		}
	}
	return nil
}

type assignment struct {
	period
	plan     *tariff
	agencies []Agency
}

// Agency has a share of what a merchant's day leaves us.
type Agency struct {
	Code string // up to CodeMax letters, digits and hyphens
	PPM  int64  // millionths of merchant fees less interchange and network fees
}

// CodeMax is how long an agency's code may be: it stands where issuers' names do.
const CodeMax = len(txn.IssuerID{})

// Agencies are those of a merchant on a day.
func (s *Schedule) Agencies(m txn.MerchantID, day txn.Date) []Agency {
	for _, a := range s.merchants[m] {
		if a.covers(day) {
			return a.agencies
		}
	}
	return nil
}

// Shares splits an income between agencies: each gets its part rounded down, all
// together cost us the whole part rounded down, and what is between the two is the
// remainder. Of a loss agencies bear the same parts.
func Shares(income int64, agencies []Agency) (shares []int64, total, remainder int64) {
	sign, abs := int64(1), income
	if income < 0 {
		sign, abs = -1, -income
	}
	var ppm, given int64
	for _, a := range agencies {
		ppm += a.PPM
		part := txn.ShareDown(abs, a.PPM)
		given += part
		shares = append(shares, sign*part)
	}
	total = txn.ShareDown(abs, ppm)
	return shares, sign * total, sign * (total - given)
}

// Tiers says that some rate depends on a merchant's volume.
func (s *Schedule) Tiers() bool { return s.tiers }

// Schedule is a checked set of plans. It is immutable and safe for concurrent use.
type Schedule struct {
	plansText, bins []byte
	sum             string

	tiers                bool
	interchange, network tariff
	merchants            map[txn.MerchantID][]assignment
	table                *txn.CardTable
}

// Sum is the SHA-256 of both texts, in hexadecimal: what a run was priced with.
func (s *Schedule) Sum() string { return s.sum }

// Plans is the file as it was read, with the plans that the registry gave.
func (s *Schedule) Plans() []byte { return s.plansText }

// BINs is the table of card prefixes as it was read.
func (s *Schedule) BINs() []byte { return s.bins }

// card is what the issuer is paid for. A prepaid card is priced as a debit card.
func (s *Schedule) card(masked []byte) Card {
	switch s.table.Type(masked) {
	case txn.CardDebit, txn.CardPrepaid:
		return Debit
	case txn.CardCredit:
		return Credit
	}
	return CardUnknown
}
