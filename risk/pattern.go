package risk

import (
	"errors"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// NearMax is how many amounts Patterns.Near may have.
const NearMax = 4

// Patterns are the parameters of rules about the recent past. What is 0 is not looked
// for; only BackwardsMax has a meaning at 0. Each count is of requests decided before,
// and the one being assessed: requests side by side do not see each other.
type Patterns struct {
	// R03: approvals of one card at one merchant in ten minutes, or on a business
	// day, from which on it is alerted; and those in ten minutes from which on it
	// is refused.
	Repeats, RepeatsDay, RepeatsMax uint8
	// R04: the share of credit cards in a merchant's amounts of the day that is too
	// much, once these are CreditFrom minor units or more.
	CreditPercent uint8
	CreditFrom    int64
	// R04: so many credit payments on a day of an amount that is one of Near, or up
	// to 5 % below, in minor units.
	NearCount uint8
	Near      [NearMax]int64
	// R04: the share of a merchant's payments of 24 hours between 23:00 and 6:00
	// that is too much, once there are NightFrom of them.
	NightPercent, NightFrom uint8
	// R05: how many times its declared turnover of a month a merchant may sell in
	// a month while it is new: the 30 days from its Since.
	SurgeTimes uint8
	// R06: refusals of one card, and different cards refused, at one terminal in
	// ten minutes, after which the next request is refused.
	Declines, DeclinedCards uint8
	// R07: the share of a merchant's refunds in its sales of the day that is too
	// much, once there are RefundsFrom of them.
	RefundPercent, RefundsFrom uint8
	// R09: provinces of one card in two hours: 2 or 3.
	Provinces uint8
	// S06, where its action is to refuse: how often on a business day a terminal's
	// trace numbers may go back within their batch and only alert. From then on it is
	// refused; with 0, the first time.
	BackwardsMax uint8
}

// defaultPatterns are the catalogue's numbers, and ours where it has none:
// RepeatsMax (none), CreditFrom, NearCount, NightFrom, RefundsFrom and BackwardsMax.
var defaultPatterns = Patterns{
	Repeats: 3, RepeatsDay: 5,
	CreditPercent: 90, CreditFrom: 50_000_00, NearCount: 5, Near: [NearMax]int64{4_999_00, 49_999_00}, NightPercent: 50, NightFrom: 20,
	SurgeTimes: 3,
	Declines:   5, DeclinedCards: 10,
	RefundPercent: 30, RefundsFrom: 3,
	Provinces: 2, BackwardsMax: 3,
}

// check says what of p can never be counted.
func (p *Patterns) check() error {
	switch {
	case max(p.Repeats, p.RepeatsMax, p.Declines) > 15:
		return errors.New("patterns: more than 15 of one card in ten minutes are not counted, give 15 or fewer")
	case p.DeclinedCards > cardsKept:
		return errors.New("patterns: more than 16 different cards of one terminal are not counted, give 16 or fewer")
	case p.Provinces == 1 || p.Provinces > 3:
		return errors.New("patterns: provinces of a card are counted to 3, give 2 or 3")
	case min(p.CreditFrom, p.Near[0], p.Near[1], p.Near[2], p.Near[3]) < 0:
		return errors.New("patterns: an amount is negative, give 0 for none")
	case max(p.CreditPercent, p.NightPercent) > 99:
		return errors.New("patterns: a share of more than 99 percent is never found, give 0 for none")
	}
	return nil
}

// isNear says that an amount is one of those, or up to 5 % below it.
func isNear(minor int64, near *[NearMax]int64) bool {
	for _, l := range near {
		if l > 0 && minor <= l && minor >= l-l/20 {
			return true
		}
	}
	return false
}

// past holds a request against what happened lately, and says whether it is
// refused. What people decided (R11) comes first, then what is refused
// where a policy does not say otherwise, then what is alerted.
func (j *judgement) past(e *Engine, req *txn.Request) bool {
	if matrix[req.Kind]&past == 0 {
		return false
	}
	if j.watched(e.watch.Load(), req) {
		return true
	}
	l, p := &j.lately, &j.policy.Patterns
	if n := l.bound; n > 0 && j.counts(ruleT07, 0, n+1, 2, txn.MachineServesAnotherMerchant) {
		return true
	}
	if req.Kind == txn.KindRefund {
		return j.refunds()
	}
	if n := l.n[CardDeclines]; p.Declines > 0 && n >= int64(p.Declines) &&
		j.counts(ruleR06, 0, n, int64(p.Declines), txn.CardIsDeclinedTooOften) {
		return true
	}
	if n := l.declined; p.DeclinedCards > 0 && n >= int64(p.DeclinedCards) &&
		j.counts(ruleR06, 0, n, int64(p.DeclinedCards), txn.TerminalTestsCards) {
		return true
	}
	if payment(req.Kind) && j.repeats(l.n[CardAtMerchant]+1, l.n[CardAtMerchantDay]+1) {
		return true
	}
	if p.Provinces > 0 && province(req.Terminal.Region) != 0 {
		n := 1 + l.n[ProvincesOfCard]
		if n >= int64(p.Provinces) && j.counts(ruleR09, 0, n, int64(p.Provinces), txn.CardMovesTooFast) {
			return true
		}
	}
	return payment(req.Kind) && (j.asked(ruleR04) && j.cashOut(e, req) || j.asked(ruleR05) && j.surge(e, req))
}

// lookBack finds out what the windows that somebody asks say of a request.
func (j *judgement) lookBack(e *Engine, req *txn.Request) {
	of := j.windows
	if j.sink != nil {
		of |= ofBuiltin
	}
	if matrix[req.Kind]&past != 0 || j.own.Len() > 0 && req.Kind.Forwarded() || j.sink != nil {
		e.recent.look(&j.lately, req, of)
	}
}

// windowsOf are what built-in rules that are not off ask.
var windowsOf = map[txn.Rule]windows{
	ruleT07: 1 << MerchantsOfMachine,
	ruleR03: 1<<CardAtMerchant | 1<<CardAtMerchantDay,
	ruleR04: 1<<MerchantSales | 1<<CreditPercent | 1<<NearLimits,
	ruleR06: 1<<CardDeclines | 1<<DeclinedCards,
	ruleR07: 1<<MerchantSales | 1<<MerchantRefunds,
	ruleR09: 1 << ProvincesOfCard,
}

// windowsAsked are what rules of either kind ask.
func (b *rulebook) windowsAsked() (of windows) {
	for r, ws := range windowsOf {
		if b.settings[r].Mode != rules.Off {
			of |= ws
		}
	}
	return of | b.ownWindows()
}

func (b *rulebook) ownWindows() (of windows) {
	for w := range Window(Windows) {
		if b.own.Asks(rules.RecentCardAtMerchant + rules.Fact(w)) {
			of |= 1 << w
		}
	}
	return of
}

// repeats finds a card that comes again and again (R03).
func (j *judgement) repeats(recent, today int64) bool {
	p := &j.policy.Patterns
	switch {
	case p.RepeatsMax > 0 && recent >= int64(p.RepeatsMax):
		return j.counts(ruleR03, txn.ActionRefuse, recent, int64(p.RepeatsMax), txn.CardRepeatsAtMerchant)
	case p.Repeats > 0 && recent >= int64(p.Repeats):
		return j.counts(ruleR03, 0, recent, int64(p.Repeats), txn.CardRepeatsAtMerchant)
	case p.RepeatsDay > 0 && today >= int64(p.RepeatsDay):
		return j.counts(ruleR03, 0, today, int64(p.RepeatsDay), txn.CardRepeatsAtMerchant)
	}
	return false
}

// newFor is how many days a merchant is new.
const newFor = 30

// surge finds a new merchant that sells more than it declared (R05): in this month and,
// if it began before it, the one before together, as limits count them.
func (j *judgement) surge(e *Engine, req *txn.Request) bool {
	m, times := req.Acceptor, int64(j.policy.Patterns.SurgeTimes)
	if times == 0 || m.Turnover == 0 || m.Since == 0 || req.Day.Since(m.Since) >= newFor {
		return false
	}
	p := Party{Scope: txn.ScopeMerchant, Currency: req.Amount.Currency}
	copy(p.ID[:], m.ID[:])
	volume := saturated(e.MonthUsageOf(req.Day, p).Minor, req.Amount.Minor)
	if monthOf(m.Since) != monthOf(req.Day) {
		before := (monthOf(req.Day)*100 + 1).Before() // February's end on the 1st of March, also for who began on the 31st of January
		volume = saturated(volume, e.MonthUsageOf(before, p).Minor)
	}
	bound := m.Turnover * times
	if bound/times != m.Turnover {
		return false // nobody sells so much
	}
	return volume > bound && j.counts(ruleR05, 0, volume, bound, txn.TurnoverIsOverDeclared)
}

// refunds finds a merchant that gives back too much (R07).
func (j *judgement) refunds() bool {
	p := &j.policy.Patterns
	if p.RefundPercent == 0 || !j.asked(ruleR07) {
		return false
	}
	n, sales := j.lately.n[MerchantRefunds]+1, j.lately.n[MerchantSales]
	return n >= int64(p.RefundsFrom) && exceeds(n, sales, p.RefundPercent) &&
		j.counts(ruleR07, 0, n, sales*int64(p.RefundPercent)/100, txn.RefundsAreTooMany)
}

// cashOut finds a merchant whose payments look like cash for credit (R04): too
// much by credit cards, too many just below amounts that banks look at, too many
// at night. A payment that has no part in it is not blamed.
func (j *judgement) cashOut(e *Engine, req *txn.Request) bool {
	p, t := &j.policy.Patterns, &j.lately.merchant
	if req.CardType == txn.CardCredit {
		credit, all := saturated(t.creditMinor, req.Amount.Minor), saturated(t.minor, req.Amount.Minor)
		if p.CreditPercent > 0 && all >= p.CreditFrom && exceeds(credit, all, p.CreditPercent) &&
			j.counts(ruleR04, 0, percent(credit, all), int64(p.CreditPercent), txn.PaymentsLookLikeCash) {
			return true
		}
		if n := int64(t.near) + 1; p.NearCount > 0 && n >= int64(p.NearCount) && isNear(req.Amount.Minor, &p.Near) &&
			j.counts(ruleR04, 0, n, int64(p.NearCount), txn.PaymentsLookLikeCash) {
			return true
		}
	}
	if p.NightPercent == 0 {
		return false
	}
	hour := e.recent.hour(req.Received)
	if !night(hour) {
		return false
	}
	atNight, all := t.nights(hour)
	atNight, all = atNight+1, all+1
	return all >= int64(p.NightFrom) && exceeds(atNight, all, p.NightPercent) &&
		j.counts(ruleR04, 0, percent(atNight, all), int64(p.NightPercent), txn.PaymentsLookLikeCash)
}
