package risk

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/acqswitch/acqswitch/risk/window"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The spans of the windows.
const (
	repeatSpan   = 10 * time.Minute // R03, R06: moves on by the minute
	provinceSpan = 2 * time.Hour    // R09: to the second
	machineSpan  = 24 * time.Hour   // T07: to the second
	daySpan      = 25 * time.Hour   // a business day, and an hour for what is late
)

// cardsKept is how many different cards a terminal's windows tell apart.
const cardsKept = 16

// Window numbers a count of the recent past. It counts requests decided before, never
// the one that is being assessed.
type Window uint8

// The windows.
const (
	CardAtMerchant     Window = iota // approvals of the card at the merchant in ten minutes
	CardAtMerchantDay                // and on the business day
	CardDeclines                     // refusals of the card at the terminal by its issuer for 05, 51 or 55 in ten minutes
	DeclinedCards                    // different cards refused so at the terminal in ten minutes, this one aside; at most 16
	CardsAtTerminal                  // different cards approved at the terminal in ten minutes, this one aside; at most 16
	AmountAtTerminal                 // approvals of the same amount at the terminal in ten minutes
	ProvincesOfCard                  // provinces where the card was used in two hours, this one aside; at most 2
	MerchantsOfMachine               // merchants that the machine worked for in 24 hours, this one aside; at most 2
	MerchantSales                    // approved payments of the merchant on the business day
	MerchantRefunds                  // and refunds
	CreditPercent                    // of the merchant's amounts of the day, by credit cards
	NightPercent                     // of the merchant's payments of 24 hours, from 23:00 to 6:00
	NearLimits                       // credit payments of the merchant on the day that are near one of Patterns.Near
	windowCount
)

// Windows is the number of windows; values at and above it are invalid.
const Windows = int(windowCount)

var windowNames = [...]string{"card_at_merchant", "card_at_merchant_day", "card_declines", "declined_cards", "cards_at_terminal", "amount_at_terminal",
	"provinces_of_card", "merchants_of_machine", "merchant_sales", "merchant_refunds", "credit_percent", "night_percent", "near_limits"}

func (w Window) String() string {
	if int(w) < len(windowNames) {
		return windowNames[w]
	}
	return "invalid"
}

// recent is what an engine remembers of decided requests for its windows.
type recent struct {
	seed [2]uint64 // of hashes: nobody can make his things fall together with another's
	zone *time.Location

	cardAtMerchant   *window.Counts
	cardDeclines     *window.Counts
	declinedCards    *window.Sets
	cardsAtTerminal  *window.Sets
	amountAtTerminal *window.Counts
	provinces        *window.Sets
	machines         *window.Sets
	merchants        rows[tally]
}

// newRecent remembers up to about so many cards.
func newRecent(zone *time.Location, cardsMax int) *recent {
	return &recent{
		seed: [2]uint64{rand.Uint64(), rand.Uint64()}, zone: zone,
		cardAtMerchant:   window.NewCounts(repeatSpan, daySpan, cardsMax),
		cardDeclines:     window.NewCounts(repeatSpan, 0, cardsMax),
		declinedCards:    window.NewSets(cardsKept, repeatSpan, terminalsMax),
		cardsAtTerminal:  window.NewSets(cardsKept, repeatSpan, terminalsMax),
		amountAtTerminal: window.NewCounts(repeatSpan, 0, cardsMax),
		provinces:        window.NewSets(2, provinceSpan, cardsMax),
		machines:         window.NewSets(2, machineSpan, terminalsMax),
		merchants:        makeRows[tally](),
	}
}

// forgotten is how many cards, terminals and machines gave way before their time.
func (r *recent) forgotten() (n uint64) {
	for _, t := range [...]interface{ Forgotten() uint64 }{r.cardAtMerchant, r.cardDeclines, r.declinedCards, r.cardsAtTerminal, r.amountAtTerminal, r.provinces, r.machines} {
		n += t.Forgotten()
	}
	return n
}

// terminalsMax bounds the terminals and machines remembered at one time.
const terminalsMax = 4_000_000

func (r *recent) mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^r.seed[0], b^r.seed[1])
	hi, lo = bits.Mul64(hi^lo^r.seed[0], 0x589965cc75374cc3^r.seed[1])
	return hi ^ lo
}

func (r *recent) terminal(t txn.TerminalID) uint64 { return r.mix(binary.LittleEndian.Uint64(t[:]), 1) }

func (r *recent) merchant(m txn.MerchantID) uint64 {
	return r.mix(binary.LittleEndian.Uint64(m[:8]), binary.LittleEndian.Uint64(m[7:]))
}

func (r *recent) card(c txn.CardToken) uint64 {
	return r.mix(binary.LittleEndian.Uint64(c[:8]), binary.LittleEndian.Uint64(c[8:]))
}

// machine is 0 where no serial is known.
func (r *recent) machine(serial []byte) uint64 {
	h := uint64(0)
	for len(serial) > 0 {
		var word [8]byte
		n := copy(word[:], serial)
		serial = serial[n:]
		h = r.mix(h, binary.LittleEndian.Uint64(word[:])) | 1
	}
	return h
}

// payment says that a request of this kind is a purchase, not what is done about
// one.
func payment(k txn.Kind) bool { return k.Limits() == txn.Debit && !k.NamesOriginal() }

// province is GB/T 2260's two digits, 0 where there is none.
func province(r txn.Region) uint8 {
	if p := r / 10_000; p < 100 {
		return uint8(p)
	}
	return 0
}

// day is a number of a business day that rises.
func dayNumber(d txn.Date) uint16 { return uint16(d/10_000%100*512 + d/100%100*32 + d%100) }

// probing says that an issuer's refusal is what somebody gets who tries out
// cards or PINs: not honoured, no money, wrong PIN.
func probing(code [2]byte) bool {
	switch code {
	case [2]byte{'0', '5'}, [2]byte{'5', '1'}, [2]byte{'5', '5'}:
		return true
	}
	return false
}

var noCard txn.CardToken

// learn counts a decided request, for the windows that are wanted.
func (r *recent) learn(rec *txn.Record, near *[NearMax]int64, wanted windows) {
	at, day := window.At(rec.At), dayNumber(rec.Day)
	v := entries{terminal: r.terminal(rec.Key.Terminal)}
	switch {
	case rec.Outcome == txn.OutcomeDeclined && rec.Card != noCard && probing(rec.IssuerCode):
		v.card = r.card(rec.Card)
		v.at(r, 1<<CardDeclines|1<<DeclinedCards)
		window.Lock(v.places[:])
		r.cardDeclines.Add(&v.places[inCardDeclines], at, day)
		r.declinedCards.Add(&v.places[inDeclinedCards], v.card, at)
		window.Unlock(v.places[:])
		return
	case !rec.Taken():
		return
	case rec.Request == txn.KindRefund || payment(rec.Request):
		r.tally(rec, near)
	}
	if !payment(rec.Request) {
		return
	}
	v.merchant, v.machine, v.minor = r.merchant(rec.Merchant), r.machine(rec.Serial), rec.Amount.Minor
	home := province(rec.Region)
	wanted &^= 1<<CardDeclines | 1<<DeclinedCards
	if rec.Card == noCard {
		wanted &^= ofCard
	} else if v.card = r.card(rec.Card); home == 0 {
		wanted &^= 1 << ProvincesOfCard
	}
	v.at(r, wanted)
	window.Lock(v.places[:])
	if p := &v.places[inCardAtMerchant]; p.Is() {
		r.cardAtMerchant.Add(p, at, day)
	}
	if p := &v.places[inCardsAtTerminal]; p.Is() {
		r.cardsAtTerminal.Add(p, v.card, at)
	}
	if p := &v.places[inAmountAtTerminal]; p.Is() {
		r.amountAtTerminal.Add(p, at, day)
	}
	if p := &v.places[inProvinces]; p.Is() {
		r.provinces.Add(p, uint64(home), at)
	}
	if p := &v.places[inMachines]; p.Is() {
		r.machines.Add(p, v.merchant, at)
	}
	window.Unlock(v.places[:])
}

// windows is a set of them: bit 1<<Window.
type windows uint16

const _ = uint(16 - windowCount)

// Sets of windows.
const (
	ofCard     windows = 1<<CardAtMerchant | 1<<CardAtMerchantDay | 1<<CardsAtTerminal | 1<<ProvincesOfCard
	ofMerchant windows = 1<<MerchantSales | 1<<MerchantRefunds | 1<<CreditPercent | 1<<NightPercent | 1<<NearLimits
	// ofBuiltin may be asked by built-in rules and are always counted; the others
	// while an own rule asks for them.
	ofBuiltin windows = 1<<windowCount - 1 - (1<<CardsAtTerminal | 1<<AmountAtTerminal)
)

// entries are the places of one request where windows have its card, terminal, machine
// and merchant.
type entries struct {
	card, terminal, merchant, machine uint64 // hashes; of a machine 0 is none
	minor                             int64
	places                            [tables]window.Place
}

// The tables, in the order in which they are locked.
const (
	inCardAtMerchant = iota
	inCardDeclines
	inDeclinedCards
	inCardsAtTerminal
	inAmountAtTerminal
	inProvinces
	inMachines
	tables
)

// at finds the places of some windows.
func (v *entries) at(r *recent, of windows) {
	if of&(1<<CardAtMerchant|1<<CardAtMerchantDay) != 0 {
		v.places[inCardAtMerchant] = r.cardAtMerchant.At(r.mix(v.card, v.merchant))
	}
	if of&(1<<CardDeclines) != 0 {
		v.places[inCardDeclines] = r.cardDeclines.At(r.mix(v.card, v.terminal))
	}
	if of&(1<<DeclinedCards) != 0 {
		v.places[inDeclinedCards] = r.declinedCards.At(v.terminal)
	}
	if of&(1<<CardsAtTerminal) != 0 {
		v.places[inCardsAtTerminal] = r.cardsAtTerminal.At(v.terminal)
	}
	if of&(1<<AmountAtTerminal) != 0 {
		v.places[inAmountAtTerminal] = r.amountAtTerminal.At(r.mix(v.terminal, uint64(v.minor)))
	}
	if of&(1<<ProvincesOfCard) != 0 {
		v.places[inProvinces] = r.provinces.At(v.card)
	}
	if of&(1<<MerchantsOfMachine) != 0 && v.machine != 0 {
		v.places[inMachines] = r.machines.At(v.machine)
	}
}

// hour is a number of an hour by the clock of the zone; 24 of it are a day.
func (r *recent) hour(t time.Time) int64 {
	_, offset := t.In(r.zone).Zone()
	return (t.Unix() + int64(offset)) / 3600
}

// lately is what windows say of a request.
type lately struct {
	n        [windowCount]int64
	declined int64 // different cards refused at the terminal, this one too
	bound    int64 // MerchantsOfMachine since the machine was bound to this merchant
	merchant tally
}

// look is what some windows say of req, all in one go.
func (r *recent) look(l *lately, req *txn.Request, of windows) {
	at, day := window.At(req.Received), dayNumber(req.Day)
	v := entries{card: r.card(req.CardToken), terminal: r.terminal(req.Key.Terminal), merchant: r.merchant(req.Merchant),
		machine: r.machine(req.Info.Serial.Bytes()), minor: req.Amount.Minor}
	v.at(r, of)
	window.Lock(v.places[:])
	if p := &v.places[inCardAtMerchant]; p.Is() {
		n, today := r.cardAtMerchant.Of(p, at, day)
		l.n[CardAtMerchant], l.n[CardAtMerchantDay] = int64(n), int64(today)
	}
	if p := &v.places[inCardDeclines]; p.Is() {
		n, _ := r.cardDeclines.Of(p, at, day)
		l.n[CardDeclines] = int64(n)
	}
	if p := &v.places[inDeclinedCards]; p.Is() {
		all, this := r.declinedCards.Count(p, v.card, at, 0)
		l.declined, l.n[DeclinedCards] = int64(all), int64(all-this)
	}
	if p := &v.places[inCardsAtTerminal]; p.Is() {
		l.n[CardsAtTerminal] = others(r.cardsAtTerminal.Count(p, v.card, at, 0))
	}
	if p := &v.places[inAmountAtTerminal]; p.Is() {
		n, _ := r.amountAtTerminal.Of(p, at, day)
		l.n[AmountAtTerminal] = int64(n)
	}
	if p := &v.places[inProvinces]; p.Is() {
		l.n[ProvincesOfCard] = others(r.provinces.Count(p, uint64(province(req.Terminal.Region)), at, 0))
	}
	if p := &v.places[inMachines]; p.Is() {
		l.n[MerchantsOfMachine] = others(r.machines.Count(p, v.merchant, at, 0))
		if l.bound = l.n[MerchantsOfMachine]; l.bound > 0 {
			l.bound = others(r.machines.Count(p, v.merchant, at, r.boundTo(req)))
		}
	}
	window.Unlock(v.places[:])
	if of&ofMerchant == 0 {
		return
	}
	t := &l.merchant
	*t = r.of(req.Merchant, req.Day)
	l.n[MerchantSales], l.n[MerchantRefunds], l.n[NearLimits] = int64(t.sales), int64(t.refunds), int64(t.near)
	l.n[CreditPercent] = percent(t.creditMinor, t.minor)
	if of&(1<<NightPercent) != 0 {
		l.n[NightPercent] = percent(t.nights(r.hour(req.Received)))
	}
}

func others(all, this int) int64 { return int64(all - this) }

// boundTo is until when a machine may have worked for another merchant: the end of
// the day on which a registered one was bound to this.
func (r *recent) boundTo(req *txn.Request) window.Second {
	t := req.Terminal
	if t.Since == 0 || t.Serial != req.Info.Serial {
		return 0
	}
	return window.At(t.Since.After().In(r.zone))
}

// tally is what one merchant did, without pointers. There are at most as many as
// registered merchants.
type tally struct {
	day                           txn.Date // of what follows
	sales, credits, near, refunds uint32
	minor, creditMinor            int64
	hour                          int64 // the last that was counted
	hours                         [24]uint16
}

// tally counts a payment or a refund of a merchant.
func (r *recent) tally(rec *txn.Record, near *[NearMax]int64) {
	hour := r.hour(rec.At)
	t := r.merchants.lock(merchantRow(rec.Merchant), true)
	defer r.merchants.unlock(merchantRow(rec.Merchant))
	if t.open(rec.Day); rec.Request == txn.KindRefund {
		t.refunds++
	} else {
		t.pay(rec, hour, near)
	}
}

func merchantRow(m txn.MerchantID) rowID {
	return rowID{binary.LittleEndian.Uint64(m[:8]), binary.LittleEndian.Uint64(m[7:])}
}

// of is what m did, as it stands on a day.
func (r *recent) of(m txn.MerchantID, day txn.Date) tally {
	id := merchantRow(m)
	var t tally
	if row := r.merchants.lock(id, false); row != nil {
		t = *row
	}
	r.merchants.unlock(id)
	t.open(day)
	return t
}

// open begins a day. What comes late counts for the day that is open.
func (t *tally) open(day txn.Date) {
	if day > t.day {
		*t = tally{day: day, hour: t.hour, hours: t.hours}
	}
}

func (t *tally) pay(rec *txn.Record, hour int64, near *[NearMax]int64) {
	t.sales++
	t.minor = saturated(t.minor, rec.Amount.Minor)
	if rec.CardType == txn.CardCredit {
		t.credits++
		t.creditMinor = saturated(t.creditMinor, rec.Amount.Minor)
		if isNear(rec.Amount.Minor, near) {
			t.near++
		}
	}
	t.advance(hour)
	if h := &t.hours[hour%24]; t.hour-hour < 24 && *h < 1<<16-1 {
		*h++
	}
}

// advance empties the hours that have come round again.
func (t *tally) advance(hour int64) {
	if hour-t.hour >= 24 {
		t.hours, t.hour = [24]uint16{}, hour
	}
	for t.hour < hour {
		t.hour++
		t.hours[t.hour%24] = 0
	}
}

// The night of R04 is from 23:00 to 6:00.
const nightFrom, nightTo = 23, 6

func night(hour int64) bool { return hour%24 >= nightFrom || hour%24 < nightTo }

// nights is how many payments there were in the 24 hours that end with an hour,
// and how many of them at night.
func (t *tally) nights(hour int64) (atNight, all int64) {
	t.advance(hour)
	for h, n := range t.hours {
		if all += int64(n); night(int64(h)) {
			atNight += int64(n)
		}
	}
	return atNight, all
}

// percent is the share of a in b, rounded down; 0 of nothing.
func percent(a, b int64) int64 {
	if b <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), 100)
	share, _ := bits.Div64(hi%uint64(b), lo, uint64(b))
	return int64(share)
}

// exceeds says that a part is more than so many percent of the whole.
func exceeds(part, whole int64, percent uint8) bool {
	partHi, partLo := bits.Mul64(uint64(part), 100)
	wholeHi, wholeLo := bits.Mul64(uint64(whole), uint64(percent))
	return partHi > wholeHi || partHi == wholeHi && partLo > wholeLo
}
