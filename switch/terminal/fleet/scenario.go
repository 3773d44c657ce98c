package fleet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// scenario is something that happens at a terminal.
type scenario struct {
	name string
	fits func(*program) bool // nil: at any
	play func(*program)
}

// scenarios are the odd things of a day. Those of one terminal's own kind come
// first: they are chosen before the others while all are played as often.
var scenarios = []scenario{
	{"another machine", (*program).checkedCUP, (*program).anotherMachine},
	{"serial is missing", (*program).requiredCUP, (*program).serialMissing},
	{"another card's factor", func(p *program) bool { return p.checkedCUP() && !p.keyed() }, (*program).anotherFactor},
	{"another telephone line", func(p *program) bool { return terminal.IsCUP(p.dialect) && !p.keyed() && p.terminal.Phone != 0 }, (*program).anotherLine},
	{"old software", func(p *program) bool { return terminal.IsCUP(p.dialect) && p.ages }, (*program).oldSoftware},
	{"away from its premises again", (*program).fixedCUP, (*program).strays},
	{"in two places at a time", (*program).fixedCUP, (*program).cloned},
	{"a stripe where none is taken", (*program).chipsOnly, (*program).striped},
	{"far from premises", (*program).fixedCUP, func(p *program) { p.elsewhere(txn.TerminalIsFarFromPremises) }},
	{"outside its areas", (*program).movingCUP, func(p *program) { p.elsewhere(txn.TerminalIsOutsideItsAreas) }},
	{"position is missing", (*program).placedCUP, (*program).positionMissing},
	{"another country", (*program).overISO87, (*program).anotherCountry},
	{"a wrong MAC", (*program).keyed, func(p *program) {
		p.send(p.sale(cardGood), want{reason: txn.MACIsWrong})
		p.again(want{})
	}},
	{"wrong MACs in a row", (*program).keyed, (*program).wrongMACs},
	{"a PIN block without a PIN", (*program).keyed, func(p *program) {
		p.send(p.withPIN(p.sale(cardGood)), want{reason: txn.PINBlockIsWrong})
		p.network(txn.KindSignOn, txn.Approved)
		p.again(want{})
	}},

	{"repeated after the answer", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		p.repeat(n, false, want{sameAs: n + 1})
	}},
	{"repeated as a repeat", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		p.session++
		p.repeat(n, true, want{sameAs: n + 1})
	}},
	{"refusal repeated", nil, func(p *program) {
		n := p.send(p.sale("51"), want{reason: txn.IssuerDeclined, issuer: "51"})
		p.repeat(n, false, want{reason: txn.IssuerDeclined, issuer: "51", sameAs: n + 1})
	}},
	{"repeated before the answer", nil, func(p *program) {
		n := p.send(p.sale(cardSlow), want{giveUp: true})
		p.session++
		n = p.repeat(n, false, want{})
		p.repeat(n, false, want{sameAs: n + 1})
	}},
	{"number used again", nil, func(p *program) {
		m := p.sale(cardGood)
		n := p.send(m, want{})
		m.Amount.Minor += 100
		p.send(m, want{reason: txn.DuplicateWithOtherContent})
		p.repeat(n, false, want{sameAs: n + 1})
	}},
	{"reversed", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		r := p.reverse(n, "06", want{})
		p.repeat(r, false, want{sameAs: r + 1})
	}},
	{"reversed, then repeated", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		p.reverse(n, "98", want{})
		p.repeat(n, false, want{reason: txn.AnswerWasNotDelivered})
	}},
	{"reversed with another amount", nil, func(p *program) {
		m := p.sale(cardGood)
		p.send(m, want{})
		m.Amount.Minor++
		p.reverseMessage(m, "98", want{reason: txn.OriginalAmountDiffers})
	}},
	{"reversal of a refusal", nil, func(p *program) {
		n := p.send(p.sale("05"), want{reason: txn.IssuerDeclined, issuer: "05"})
		p.reverse(n, "06", want{})
	}},
	{"reversal overtakes its sale", nil, func(p *program) {
		m := p.sale(cardGood)
		p.reverseMessage(m, "98", want{})
		p.send(m, want{reason: txn.ReversedBeforeRequest})
	}},
	{"given up and reversed", nil, func(p *program) {
		n := p.send(p.sale(cardSlow), want{giveUp: true})
		p.session++
		p.reverse(n, "98", want{})
	}},
	{"request lost on the way to the issuer", nil, unanswered(cardLost, txn.IssuerDidNotAnswer)},
	{"issuer never answers", nil, unanswered(cardSilent, txn.IssuerDidNotAnswer)},
	{"issuer answers too late", nil, unanswered(cardLate, txn.IssuerDidNotAnswer)},
	{"issuer answers another amount", nil, unanswered(cardAmount, txn.IssuerAnsweredNonsense)},
	{"issuer answers another number", nil, unanswered(cardSTAN, txn.IssuerDidNotAnswer)},
	{"issuer answers twice", nil, func(p *program) { p.send(p.sale(cardTwice), want{}) }},

	{"voided", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		p.follow(txn.KindVoid, n, p.minor(n), want{})
		p.follow(txn.KindVoid, n, p.minor(n), want{reason: txn.OriginalDoesNotStand})
	}},
	{"voided in part", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		p.follow(txn.KindVoid, n, p.minor(n)-1, want{reason: txn.OriginalAmountDiffers})
	}},
	{"a void reversed", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		v := p.follow(txn.KindVoid, n, p.minor(n), want{})
		p.reverse(v, "98", want{about: n + 1})
	}},
	{"refunded in parts", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		p.follow(txn.KindRefund, n, p.minor(n)/2, want{})
		p.follow(txn.KindRefund, n, p.minor(n), want{reason: txn.OriginalAmountDiffers})
		p.follow(txn.KindRefund, n, p.minor(n)-p.minor(n)/2, want{})
		p.follow(txn.KindVoid, n, p.minor(n), want{reason: txn.OriginalDoesNotStand})
	}},
	{"voided with another card", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		m := p.about(txn.KindVoid, n, p.minor(n))
		m.Card = p.card(cardGood)
		p.send(m, want{reason: txn.CardIsNotTheOriginals, about: n + 1})
	}},
	{"pre-authorized and completed", nil, func(p *program) {
		n := p.send(p.preauth(), want{})
		c := p.follow(txn.KindCompletion, n, p.minor(n), want{})
		p.follow(txn.KindCompletion, n, p.minor(n), want{reason: txn.OriginalIsCompleted})
		p.follow(txn.KindCompletionVoid, c, p.minor(c), want{})
	}},
	{"pre-authorized and given back", nil, func(p *program) {
		n := p.send(p.preauth(), want{})
		p.follow(txn.KindPreauthVoid, n, p.minor(n), want{})
	}},
	{"pre-authorized and told", nil, func(p *program) {
		n := p.send(p.preauth(), want{})
		p.follow(txn.KindCompletionAdvice, n, p.minor(n)-1, want{})
	}},
	{"tipped and adjusted", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		p.follow(txn.KindTip, n, p.minor(n)/20, want{})
		p.follow(txn.KindAdjustment, n, p.minor(n)/20, want{})
		p.follow(txn.KindTip, n, p.minor(n), want{reason: txn.OriginalAmountDiffers})
	}},
	{"sold at the terminal", nil, func(p *program) {
		m := p.next(txn.KindOfflineSale)
		m.Card, m.Amount, m.Original.AuthCode = p.card(cardGood), p.amount(), "654321"
		p.send(m, want{})
	}},
	{"in instalments", nil, func(p *program) {
		m := p.next(txn.KindInstalment)
		m.Card, m.Amount, m.Months = p.card(cardGood), p.amount(), 12
		n := p.send(m, want{})
		p.follow(txn.KindInstalmentVoid, n, p.minor(n), want{})
	}},
	{"refund of a void", nil, func(p *program) {
		n := p.send(p.sale(cardGood), want{})
		v := p.follow(txn.KindVoid, n, p.minor(n), want{})
		p.follow(txn.KindRefund, v, p.minor(n), want{reason: txn.OriginalIsOfAnotherKind})
	}},
	{"verified", nil, func(p *program) {
		m := p.next(txn.KindVerify)
		m.Card = p.card(cardGood)
		p.send(m, want{})
	}},

	{"unknown merchant", nil, func(p *program) {
		p.as("999000099990000", func() { p.send(p.sale(cardGood), want{reason: txn.MerchantIsUnknown}) })
	}},
	{"another merchant", nil, (*program).anotherMerchant},
	{"refused for its form", nil, (*program).malformed},
	{"not offered", nil, func(p *program) { // cash onto a card
		m := p.sale(cardGood)
		m.Processing, m.Type = "620000", "46"
		p.send(m, want{reason: txn.KindIsNotOffered})
	}},
	{"another currency", nil, func(p *program) {
		m := p.sale(cardGood)
		if m.Amount.Currency = 840; p.merchant.Currency == 840 {
			m.Amount.Currency = txn.CNY
		}
		p.send(m, want{reason: txn.CurrencyIsNotAccepted})
	}},
	{"amount zero", nil, func(p *program) {
		m := p.sale(cardGood)
		m.Amount.Minor = 0
		p.send(m, want{reason: txn.AmountMustNotBeZero})
	}},
	{"card number mistyped", (*program).keysIn, (*program).mistyped},
	{"keyed in", func(p *program) bool { return !p.keysIn() }, (*program).keyedIn},
	{"stripe of a card with a chip", func(p *program) bool { return !p.chipsOnly() }, (*program).chipPassedOver},
	{"large contactless payment without PIN", (*program).inYuan, (*program).largeTap},
	{"card expired", nil, func(p *program) {
		m := p.sale(cardGood)
		m.Card.Expiry = "2001"
		n := p.send(m, want{reason: txn.CardIsExpired})
		p.repeat(n, false, want{reason: txn.CardIsExpired, sameAs: n + 1})
	}},
	{"over the transaction limit", func(p *program) bool { return p.transactionLimit() > 0 }, func(p *program) {
		p.pay(p.card(cardGood), p.transactionLimit()+1, txn.AmountIsOverTransactionLimit)
	}},
	{"nobody's card", nil, func(p *program) {
		m := p.sale(cardGood)
		m.Card = p.cardOf(binNobody + cardGood)
		p.send(m, want{reason: txn.IssuerIsUnknown})
	}},
	{"declined", nil, func(p *program) {
		for _, code := range [...]string{"51", "05", "55", "41", "75"} {
			p.send(p.sale(code), want{reason: txn.IssuerDeclined, issuer: code})
		}
	}},
	{"balance declined", nil, func(p *program) {
		m := p.next(txn.KindBalance)
		m.Card = p.card("55")
		p.send(m, want{reason: txn.IssuerDeclined, issuer: "55"})
	}},
	{"echo", nil, func(p *program) { p.network(txn.KindEcho, txn.Approved) }},
	{"signs on again", nil, func(p *program) {
		p.network(txn.KindSignOff, txn.Approved)
		p.session++
		p.network(txn.KindSignOn, txn.Approved)
	}},
}

// minor is the amount of the message in step n.
func (pr *program) minor(n int) int64 {
	if pr.err != nil {
		return 0
	}
	return pr.messages[n].Amount.Minor
}

func (pr *program) preauth() terminal.Message {
	m := pr.next(txn.KindPreauth)
	m.Card, m.Amount = pr.card(cardGood), pr.amount()
	return m
}

// unanswered is a sale on which the switch gives up, and its reversal by a
// terminal that was told so.
func unanswered(class string, reason txn.Reason) func(*program) {
	return func(p *program) {
		n := p.send(p.sale(class), want{reason: reason})
		p.reverse(n, "98", want{})
	}
}

// again sends the last sale again, under a new trace number.
func (pr *program) again(w want) {
	for i := len(pr.messages) - 1; pr.err == nil; i-- {
		if m := pr.messages[i]; m.Kind == txn.KindSale {
			m.STAN = pr.next(m.Kind).STAN
			pr.send(m, w)
			return
		}
	}
}

// customer is what happens most: somebody pays, with a PIN where the terminal
// has keys and the card asks for one, or asks what is left.
func (pr *program) customer() {
	if pr.rng.IntN(12) == 0 {
		pr.balance(want{})
		return
	}
	m := pr.sale(cardGood)
	if pr.keyed() && pr.rng.IntN(3) == 0 {
		m = pr.withPIN(m)
	}
	pr.send(m, want{})
}

func (pr *program) balance(w want) {
	m := pr.next(txn.KindBalance)
	m.Card = pr.card(cardGood)
	pr.send(m, w)
}

func (pr *program) overISO87() bool { return !terminal.IsCUP(pr.dialect) }
func (pr *program) placedCUP() bool { return terminal.IsCUP(pr.dialect) && pr.terminal.RequirePosition }
func (pr *program) checkedCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.SerialCheck != txn.SerialIgnored
}
func (pr *program) requiredCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.SerialCheck == txn.SerialRequired
}
func (pr *program) movingCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.Mobility != txn.Fixed
}
func (pr *program) fixedCUP() bool {
	return terminal.IsCUP(pr.dialect) && pr.terminal.Mobility == txn.Fixed && pr.terminal.Lat != 0
}

// elsewhere is a sale in Urumqi, where no merchant of the sample is.
func (pr *program) elsewhere(reason txn.Reason) {
	usual := pr.profile.Position
	pr.profile.Position = txn.Position{Lat: 43_825600, Lng: 87_616800, Known: true}
	pr.send(pr.sale(cardGood), want{reason: reason})
	pr.profile.Position = usual
}

// wrongMACs is a sale whose MAC is wrong until the terminal is told to sign on.
func (pr *program) wrongMACs() {
	pr.send(pr.sale(cardGood), want{reason: txn.MACIsWrong})
	pr.again(want{reason: txn.MACIsWrong})
	pr.again(want{reason: txn.SignOnIsRequired})
	pr.network(txn.KindSignOn, txn.Approved)
	pr.again(want{})
}

// anotherMachine is a sale on a machine that took this one's place.
func (pr *program) anotherMachine() {
	usual := pr.profile.Serial
	pr.profile.Serial = "00002304SN0000000099"
	pr.send(pr.sale(cardGood), want{reason: txn.SerialIsNotTheTerminals})
	pr.profile.Serial = usual
}

// anotherFactor is a sale whose machine proves its serial with the end of another
// card's number.
func (pr *program) anotherFactor() {
	m := pr.sale(cardGood)
	pr.profile.SerialKey = make(txn.Secret, 16)
	frame, err := m.Append(nil, pr.dialect, &pr.profile)
	pr.profile.SerialKey = nil
	at := bytes.Index(frame, []byte("03006"))
	if err != nil || at < 0 {
		pr.err = cmp.Or(pr.err, err, errors.New("a sale has no factor"))
		return
	}
	frame[at+5] ^= 1 // another digit
	pr.send(m, want{reason: txn.SerialCipherIsWrong, frame: frame})
}

// anotherLine is a sale that was called in from the terminal's own telephone, and
// one from a neighbour's.
func (pr *program) anotherLine() {
	for _, c := range [...]struct {
		phone  uint64
		reason txn.Reason
	}{{pr.terminal.Phone, txn.Approved}, {pr.terminal.Phone + 1, txn.CallerIsNotTheTerminals}} {
		const tpdu = 5
		m := pr.sale(cardGood)
		frame, err := m.Append(nil, pr.dialect, &pr.profile)
		if err != nil {
			pr.err = cmp.Or(pr.err, err)
			return
		}
		prefix := pr.dialect.PrefixSize()
		caller, _ := hex.DecodeString(fmt.Sprintf("%016d", c.phone))
		frame = slices.Insert(frame, prefix+tpdu, append([]byte{'L', 'R', 'I', 0, byte(len(caller))}, caller...)...)
		binary.BigEndian.PutUint16(frame, uint16(len(frame)-prefix))
		pr.send(m, want{reason: c.reason, frame: frame})
	}
}

// oldSoftware is a sale by a version that is not served any more, before an update.
func (pr *program) oldSoftware() {
	pr.profile.Version = "0"
	pr.send(pr.sale(cardGood), want{reason: txn.SoftwareIsTooOld})
	pr.profile.Version = ""
	pr.send(pr.sale(cardGood), want{})
}

func (pr *program) serialMissing() {
	m := pr.sale(cardGood)
	m.NoPlace = true
	pr.send(m, want{reason: txn.TerminalInfoIsRequired})
}

func (pr *program) positionMissing() {
	pr.send(pr.sale(cardGood), want{})
	for _, reason := range [...]txn.Reason{txn.Approved, txn.Approved, txn.PositionIsRequired} {
		m := pr.sale(cardGood)
		m.NoPlace = true
		pr.send(m, want{reason: reason})
	}
}

func (pr *program) anotherCountry() {
	usual := pr.profile.Country
	if pr.profile.Country = 643; usual == 643 {
		pr.profile.Country = 156
	}
	pr.send(pr.sale(cardGood), want{reason: txn.CountryIsNotAccepted})
	pr.profile.Country = usual
}

// as does something under another merchant's number.
func (pr *program) as(mid string, do func()) {
	usual := pr.profile.Merchant
	pr.profile.Merchant = txn.MakeMerchantID(mid)
	do()
	pr.profile.Merchant = usual
}

func (pr *program) anotherMerchant() {
	mid := "999290054110001"
	if pr.merchant.ID.String() == mid {
		mid = "999290054110002"
	}
	pr.as(mid, func() { pr.send(pr.sale(cardGood), want{reason: txn.TerminalIsBoundToAnotherMerchant}) })
}

// malformed are messages that can be read and make no sense.
func (pr *program) malformed() {
	for _, field := range [...]int{49, 4} {
		m := pr.sale(cardGood)
		m.Omit = []int{field}
		pr.send(m, want{reason: txn.FormatIsWrong})
	}
	if terminal.IsCUP(pr.dialect) {
		m := pr.sale(cardGood)
		pr.send(m, want{reason: txn.FormatIsWrong, frame: pr.damage(m)})
	}
}

// keysIn says that the merchant may key card numbers in.
func (pr *program) keysIn() bool { return pr.merchant.Entries.Has(txn.EntryManual) }

// inYuan says that a large payment without a PIN meets the regulator's limit first.
func (pr *program) inYuan() bool {
	most := pr.transactionLimit()
	return pr.merchant.Currency == txn.CNY && (most == 0 || most > 1_000_01)
}

// keyedIn is a card that is keyed in where it may not be.
func (pr *program) keyedIn() {
	m := pr.sale(cardGood)
	m.Card.Entry = terminal.Manual
	pr.send(m, want{reason: txn.ManualEntryIsNotAllowed})
}

// chipPassedOver is the stripe of a card that has a chip.
func (pr *program) chipPassedOver() {
	m := pr.sale(cardGood)
	var digits [txn.PANDigitsMax]byte
	m.Card.Entry = terminal.Stripe
	m.Card.Track2 = append(m.Card.PAN.Append(digits[:0]), "=49122010000000000"...)
	pr.send(m, want{reason: txn.FallbackIsNotAllowed})
}

// largeTap is a contactless payment without a PIN that needs one.
func (pr *program) largeTap() {
	m := pr.sale(cardGood)
	m.Card.Entry, m.Amount.Minor = terminal.Contactless, 1_000_01
	pr.send(m, want{reason: txn.PINIsRequired})
}

// premises is where the terminal belongs.
func (pr *program) premises() txn.Position {
	return txn.Position{Lat: pr.terminal.Lat, Lng: pr.terminal.Lng, Known: true}
}

// strays is a fixed terminal that is away from its premises again and again.
func (pr *program) strays() {
	usual := pr.profile.Position
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position.Lat += 10_000 // 1.1 km
	pr.send(pr.sale(cardGood), want{})
	pr.send(pr.sale(cardGood), want{})
	pr.send(pr.sale(cardGood), want{reason: txn.TerminalIsFarFromPremises})
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position = usual
}

// cloned is a fixed terminal that is elsewhere a moment later: no terminal moves so fast.
func (pr *program) cloned() {
	usual := pr.profile.Position
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position.Lat += 100_000 // 11 km
	pr.send(pr.sale(cardGood), want{reason: txn.TerminalMovesTooFast})
	pr.profile.Position = pr.premises()
	pr.send(pr.sale(cardGood), want{})
	pr.profile.Position = usual
}

// chipsOnly says that the merchant takes no stripes.
func (pr *program) chipsOnly() bool {
	return pr.merchant.Entries != 0 && !pr.merchant.Entries.Has(txn.EntryStripe)
}

// striped is a stripe where the merchant takes none.
func (pr *program) striped() {
	m := pr.sale(cardGood)
	m.Card.Entry = terminal.Stripe
	pr.send(m, want{reason: txn.EntryIsNotAllowed})
}

// mistyped is a card number whose check digit is wrong.
func (pr *program) mistyped() {
	m := pr.sale(cardGood)
	var digits [txn.PANDigitsMax]byte
	number := m.Card.PAN.Append(digits[:0])
	number[len(number)-1] = '0' + (number[len(number)-1]-'0'+1)%10
	pan, err := txn.ParsePAN(number)
	if err != nil {
		pr.err = err
		return
	}
	m.Card.PAN, m.Card.Entry = pan, terminal.Manual
	pr.send(m, want{reason: txn.CardNumberIsInvalid})
}

// transactionLimit is the lowest limit of one transaction here, 0 when there is
// none.
func (pr *program) transactionLimit() int64 {
	var lowest int64
	for _, l := range [...]int64{pr.terminal.Limits.Transaction, pr.merchant.Limits.Transaction, pr.merchant.Card.Transaction} {
		if l > 0 && (lowest == 0 || l < lowest) {
			lowest = l
		}
	}
	return lowest
}

// refusedEverywhere is the day of a terminal that is not served. An echo is
// answered all the same, and so is the reversal of a sale that never was, if
// the terminal is known.
func (pr *program) refusedEverywhere(reason txn.Reason) {
	pr.network(txn.KindEcho, txn.Approved)
	pr.network(txn.KindSignOn, reason)
	for range 4 {
		pr.send(pr.sale(cardGood), want{reason: reason})
	}
	pr.balance(want{reason: reason})
	pr.session++
	if pr.terminal != nil {
		reason = txn.Approved
	}
	pr.scenario = "reversal of nothing"
	pr.reverseMessage(pr.sale(cardGood), "98", want{reason: reason})
	pr.scenario = ""
	pr.network(txn.KindSignOff, reason)
}

// moved is the day of a terminal that stands outside its merchant's city.
func (pr *program) moved() {
	pr.network(txn.KindSignOn, txn.Approved)
	for range 4 {
		pr.send(pr.sale(cardGood), want{reason: txn.RegionIsNotTheMerchants})
	}
	pr.balance(want{reason: txn.RegionIsNotTheMerchants})
}

// balancesOnly is the day of a terminal whose merchant may not sell.
func (pr *program) balancesOnly() {
	pr.network(txn.KindSignOn, txn.Approved)
	for i := range 16 {
		if i%4 == 3 {
			pr.send(pr.sale(cardGood), want{reason: txn.KindIsNotAllowed})
			continue
		}
		pr.balance(want{})
	}
}

// limited is the day of a terminal with low limits. Each limit is run into from
// both sides: what fits goes through after what does not. Terminals that share
// a low limit of their merchant stay below it together, each by its own limit;
// a terminal without one there makes only sales that are too large for one
// transaction.
func (pr *program) limited() {
	t, m := pr.terminal, pr.merchant
	alone := m.Limits.DayCount == 0 // else the merchant's count is shared
	pr.network(txn.KindSignOn, txn.Approved)
	pr.scenario = "limits"
	if limit := pr.transactionLimit(); limit > 0 {
		pr.pay(pr.card(cardGood), limit+1, txn.AmountIsOverTransactionLimit)
	}
	switch {
	case t.Limits.DayCount > 0:
		for range t.Limits.DayCount {
			pr.pay(pr.card(cardGood), 10_00, txn.Approved)
		}
		pr.pay(pr.card(cardGood), 10_00, txn.DayCountIsOverLimit)
	case t.Limits.DayAmount > 0:
		pr.pay(pr.card(cardGood), t.Limits.DayAmount-10_00, txn.Approved)
		pr.pay(pr.card(cardGood), 10_01, txn.DayAmountIsOverLimit)
	case m.Card.DayCount > 0:
		c := pr.card(cardGood)
		for range m.Card.DayCount {
			pr.pay(c, 10_00, txn.Approved)
		}
		pr.pay(c, 10_00, txn.DayCountIsOverLimit)
		pr.scenario = "another card's limits"
		c = pr.card(cardGood)
		pr.pay(c, m.Card.Transaction, txn.Approved)
		pr.pay(c, m.Card.DayAmount-m.Card.Transaction+1, txn.DayAmountIsOverLimit)
		pr.pay(c, m.Card.DayAmount-m.Card.Transaction, txn.Approved)
	case m.Limits.DayAmount > 0 && alone:
		pr.pay(pr.card(cardGood), m.Limits.DayAmount-400_00, txn.Approved)
		pr.pay(pr.card(cardGood), 400_01, txn.DayAmountIsOverLimit)
		pr.pay(pr.card(cardGood), 400_00, txn.Approved)
		pr.pay(pr.card(cardGood), 1, txn.DayAmountIsOverLimit)
	}
	pr.scenario = ""
	pr.balance(want{})
}

func (pr *program) pay(c terminal.Card, minor int64, reason txn.Reason) int {
	m := pr.next(txn.KindSale)
	if c.Entry == terminal.Contactless { // which would need a PIN
		c.Entry = terminal.Chip
	}
	m.Card, m.Amount = c, txn.Amount{Minor: minor, Currency: pr.merchant.Currency}
	return pr.send(m, want{reason: reason})
}
