package fleet

import (
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// special are the merchants of the sample whose terminals meet what the others do
// not: one refusal, or a few that would be in the others' way.
var special = map[string]func(*program){
	"100000054110001": (*program).miscoded,
	"999290059210001": func(p *program) { p.refusedEverywhere(txn.MerchantIsShunned) },
	"999290056610001": (*program).unverified,
	"999290059120001": (*program).debitOnly,
	"999290055420001": (*program).neverWithoutPIN,
	"999290058110001": (*program).monthly,
	"999290078320001": (*program).thrice,
	"999290059440001": (*program).jeweller,
	"999290053990001": (*program).cashOut,
	clothing:          (*program).givesBack,
	SampleWatched:     (*program).highRisk,
	"999290054990001": (*program).triesCards,
	"999290053110001": (*program).borrowed,
	"999290054410001": (*program).oddities,
	"999305054110001": (*program).farAway,
}

// clothing is the merchant whose machine turns up elsewhere, and its terminal.
const (
	clothing         = "999290056510001"
	clothingTerminal = "10000209"
)

// miscoded is the day of a terminal whose merchant's number contradicts its category.
func (pr *program) miscoded() {
	pr.network(txn.KindSignOn, txn.Approved)
	for range 3 {
		pr.send(pr.sale(cardGood), want{reason: txn.CategoryIsNotTheMerchants})
	}
	pr.balance(want{})
}

// chip is a new card of an issuer that is read by its chip.
func (pr *program) chip(bin string) terminal.Card {
	c := pr.cardOf(bin + cardGood)
	c.Entry = terminal.Chip
	return c
}

// unverified is a merchant whose account is another's.
func (pr *program) unverified() {
	pr.network(txn.KindSignOn, txn.Approved)
	pr.pay(pr.chip(binEast), 20_00, txn.MerchantMustBeVerified)
	pr.balance(want{})
}

func (pr *program) debitOnly() {
	pr.network(txn.KindSignOn, txn.Approved)
	pr.pay(pr.chip(binEast), 20_00, txn.Approved)
	pr.pay(pr.chip(binWest), 20_00, txn.CardTypeIsNotAllowed)
	pr.settle()
}

func (pr *program) neverWithoutPIN() {
	pr.network(txn.KindSignOn, txn.Approved)
	m := pr.sale(cardGood)
	m.Card.Entry = terminal.Contactless
	pr.send(m, want{reason: txn.PaymentWithoutPINIsNotAllowed})
	pr.pay(pr.chip(binEast), 20_00, txn.Approved)
	pr.settle()
}

// monthly is run into from both sides.
func (pr *program) monthly() {
	pr.network(txn.KindSignOn, txn.Approved)
	pr.pay(pr.chip(binEast), 300_00, txn.Approved)
	pr.pay(pr.chip(binEast), 200_01, txn.MonthAmountIsOverLimit)
	pr.pay(pr.chip(binEast), 200_00, txn.Approved)
	pr.settle()
}

func (pr *program) thrice() {
	pr.network(txn.KindSignOn, txn.Approved)
	for range 3 {
		pr.pay(pr.chip(binEast), 45_00, txn.Approved)
	}
	pr.pay(pr.chip(binEast), 45_00, txn.MonthCountIsOverLimit)
	pr.settle()
}

// jeweller meets the risk officer's own rules.
func (pr *program) jeweller() {
	pr.network(txn.KindSignOn, txn.Approved)
	pr.pay(pr.chip(binWest), 500_00, txn.Approved)
	pr.pay(pr.chip(binWest), 500_01, txn.CardIsRefusedByRule)
	keyed := pr.chip(binEast)
	keyed.Entry = terminal.Manual
	pr.pay(keyed, 90_00, txn.TransactionIsRefusedByRule)
	c := pr.chip(binEast)
	pr.pay(c, 5_000_01, txn.AmountIsRefusedByRule)
	pr.pay(c, 5_000_00, txn.Approved)
	pr.pay(c, 90_00, txn.Approved)
	pr.pay(c, 90_00, txn.FrequencyIsRefusedByRule)
	pr.settle()
}

func (pr *program) cashOut() {
	pr.network(txn.KindSignOn, txn.Approved)
	for range 4 {
		pr.pay(pr.chip(binWest), 4_999_00, txn.Approved)
	}
	pr.pay(pr.chip(binWest), 4_999_00, txn.PaymentsLookLikeCash)
	pr.pay(pr.chip(binEast), 4_999_00, txn.Approved) // a debit card's
	pr.settle()
}

func (pr *program) givesBack() {
	pr.network(txn.KindSignOn, txn.Approved)
	n := pr.pay(pr.travelling(), 200_00, txn.Approved)
	pr.pay(pr.travelling(), 200_00, txn.Approved) // a kill costs one of the two at most
	for range 14 {
		pr.follow(txn.KindRefund, n, 10_00, want{})
	}
	pr.follow(txn.KindRefund, n, 10_00, want{reason: txn.RefundsAreTooMany})
	pr.settle()
}

func (pr *program) highRisk() {
	pr.network(txn.KindSignOn, txn.Approved)
	pr.send(pr.sale(cardGood), want{reason: txn.PartyIsHighRisk})
	pr.balance(want{reason: txn.PartyIsHighRisk})
}

// triesCards is one card that its issuer refuses five times, and five others.
func (pr *program) triesCards() {
	const short = "51"
	refused := want{reason: txn.IssuerDeclined, issuer: short}
	pr.network(txn.KindSignOn, txn.Approved)
	m := pr.sale(short)
	for range 5 {
		pr.send(m, refused)
		m.STAN = pr.next(m.Kind).STAN
	}
	pr.send(m, want{reason: txn.CardIsDeclinedTooOften})
	for range 9 {
		pr.send(pr.sale(short), refused)
	}
	pr.send(pr.sale(cardGood), want{reason: txn.TerminalTestsCards})
}

// borrowed is a terminal whose work another merchant's machine does.
func (pr *program) borrowed() {
	pr.network(txn.KindSignOn, txn.Approved)
	for range 6 {
		pr.pay(pr.chip(binEast), 30_00, txn.Approved)
	}
	usual := pr.profile.Serial
	if from, ok := pr.reg.Terminal(txn.MakeTerminalID(clothingTerminal)); ok {
		pr.profile.Serial = from.Serial.String()
	}
	pr.afterClothing(pr.pay(pr.chip(binEast), 30_00, txn.MachineServesAnotherMerchant))
	pr.profile.Serial = usual
	pr.pay(pr.chip(binEast), 30_00, txn.Approved)
	pr.settle()
}

// afterClothing has step n sent behind the sales at clothing.
func (pr *program) afterClothing(n int) {
	if pr.err == nil {
		pr.script.Steps[n].After = &Moment{Terminal: clothingTerminal, Step: 2}
	}
}

// travelling is the card that pays at clothing, and in another province.
func (pr *program) travelling() terminal.Card {
	pan, err := terminal.TestPAN(binEast+"73", 1)
	if err != nil && pr.err == nil {
		pr.err = err
	}
	return terminal.Card{PAN: pan, Expiry: "4912", Entry: terminal.Chip}
}

// farAway is a terminal where a card pays that paid elsewhere a moment ago.
func (pr *program) farAway() {
	pr.network(txn.KindSignOn, txn.Approved)
	for range 6 {
		pr.pay(pr.chip(binEast), 30_00, txn.Approved)
	}
	pr.afterClothing(pr.pay(pr.travelling(), 30_00, txn.CardMovesTooFast))
	pr.settle()
}

// oddities are a card that pays again and again, blocked cards, the void of a sale
// that never was, trace numbers that go back, and a batch that is not the terminal's.
func (pr *program) oddities() {
	pr.stan = 20
	pr.network(txn.KindSignOn, txn.Approved)
	c := pr.chip(binEast)
	for range 9 {
		pr.pay(c, 3_00, txn.Approved)
	}
	n := pr.pay(c, 3_00, txn.CardRepeatsAtMerchant) - 1
	for i := range blockedCards {
		m := pr.sale(cardGood)
		m.Card.Entry = terminal.Chip
		var err error
		if m.Card.PAN, err = blockedCard(i); err != nil {
			pr.err = err
			return
		}
		pr.send(m, want{reason: blockedCards[i].reason})
	}
	m := pr.about(txn.KindVoid, n, 3_00)
	m.Original.STAN = 999_999
	pr.send(m, want{reason: txn.OriginalIsUnknown})
	ahead := pr.stan
	for i, reason := range [...]txn.Reason{txn.Approved, txn.Approved, txn.Approved, txn.TraceNumberWentBack} {
		pr.stan = 10 - uint32(i) // each behind the last, and not used
		pr.pay(pr.chip(binEast), 8_00, reason)
	}
	pr.stan = ahead
	pr.profile.Batch++
	pr.pay(pr.chip(binEast), 8_00, txn.BatchIsNotCurrent)
	pr.profile.Batch--
	pr.network(txn.KindSignOn, txn.Approved)
	pr.pay(pr.chip(binEast), 8_00, txn.Approved)
	pr.settle()
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
