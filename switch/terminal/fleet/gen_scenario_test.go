package fleet

import (
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

// wrongMACs is a sale whose MAC is wrong until the terminal is told to sign on.
func (pr *program) wrongMACs() {
	pr.send(pr.sale(cardGood), want{reason: txn.MACIsWrong})
	pr.again(want{reason: txn.MACIsWrong})
	pr.again(want{reason: txn.SignOnIsRequired})
	pr.network(txn.KindSignOn, txn.Approved)
	pr.again(want{})
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
