package risk

import "github.com/acqswitch/acqswitch/switch/txn"

// checks is a set of rules that a kind of request is held to.
type checks uint16

const (
	offered checks = 1 << iota // the kind exists
	parties                    // merchant and terminal are known, and bound to each other
	active                     // and both are active
	machine                    // what is said of the machine is the registered one's
	told                       // and it is said where the registration asks for it
	place                      // country, position, region
	allowed                    // the merchant may ask for the kind
	price                      // currency and amount
	card                       // card number and expiry
)

// matrix says which rules apply to which kind. Rules that would keep money
// where it doesn't belong are left out: a reversal of a suspended merchant
// must go through, and so must what has happened at a terminal already, its
// settlement and its sign-off. The card of what is about an earlier transaction is held against
// that one's. An echo asks whether the line is alive and may come from a
// concentrator that is no terminal.
var matrix = [txn.Kinds]checks{
	txn.KindSale:             offered | parties | active | machine | told | place | allowed | price | card,
	txn.KindBalance:          offered | parties | active | machine | place | allowed | card,
	txn.KindReversal:         offered | parties,
	txn.KindSignOn:           offered | parties | active | machine | told,
	txn.KindSignOff:          offered | parties,
	txn.KindEcho:             offered,
	txn.KindVoid:             offered | parties | active | machine | allowed | price,
	txn.KindRefund:           offered | parties | active | machine | allowed | price,
	txn.KindPreauth:          offered | parties | active | machine | told | place | allowed | price | card,
	txn.KindIncrement:        offered | parties | active | machine | allowed | price | card,
	txn.KindPreauthVoid:      offered | parties | active | machine | allowed | price,
	txn.KindCompletion:       offered | parties | active | machine | allowed | price,
	txn.KindCompletionAdvice: offered | parties | allowed | price,
	txn.KindCompletionVoid:   offered | parties | active | machine | allowed | price,
	txn.KindOfflineSale:      offered | parties | allowed | price,
	txn.KindAdjustment:       offered | parties | allowed | price,
	txn.KindTip:              offered | parties | allowed | price,
	txn.KindInstalment:       offered | parties | active | machine | told | place | allowed | price | card,
	txn.KindInstalmentVoid:   offered | parties | active | machine | allowed | price,
	txn.KindVerify:           offered | parties | active | machine | place | allowed | card,
	txn.KindScriptResult:     offered | parties,
	txn.KindDownload:         offered | parties | active,
	txn.KindStatus:           offered | parties | active,
	txn.KindSettlement:       offered | parties,
	txn.KindUpload:           offered | parties,
}

// check applies every rule that needs no counter, in precedence order.
func (e *Engine) check(req *txn.Request) txn.Reason {
	var c checks
	if int(req.Kind) < len(matrix) {
		c = matrix[req.Kind]
	}
	t, m := req.Holder, req.Owner
	switch {
	case c&offered == 0:
		return txn.KindIsNotOffered
	case c&parties != 0 && m == nil:
		return txn.MerchantIsUnknown
	case c&active != 0 && m.Status != txn.StatusActive:
		return txn.MerchantIsNotActive
	case c&parties != 0 && t == nil:
		return txn.TerminalIsUnknown
	case c&active != 0 && t.Status != txn.StatusActive:
		return txn.TerminalIsNotActive
	case c&parties != 0 && t.Merchant != req.Merchant:
		return txn.TerminalIsBoundToAnotherMerchant
	}
	if c&machine != 0 {
		if r := checkMachine(req, t, c&told != 0); r != txn.Approved {
			return r
		}
	}
	if c&place != 0 {
		if r := checkPlace(req, t, m); r != txn.Approved {
			return r
		}
	}
	switch {
	case c&allowed != 0 && !m.Allows(req.Kind):
		return txn.KindIsNotAllowed
	case c&price != 0 && (req.Amount.Currency != m.Currency || m.Currency == 0):
		return txn.CurrencyIsNotAccepted
	case c&price != 0 && req.Amount.Minor <= 0:
		return txn.AmountMustNotBeZero
	case c&price != 0 && req.Amount.Minor > txn.AmountMax:
		return txn.AmountIsOverMaximum
	case c&card != 0 && (req.PAN.IsZero() || !e.skipCheckDigit && req.Entry != txn.EntryCode && !req.PAN.LuhnValid()):
		return txn.CardNumberIsInvalid
	case c&card != 0 && e.expired(req):
		return txn.CardIsExpired
	}
	return txn.Approved
}

// expired says that the card's last month is over. A card is good until the
// last instant of that month. An absent expiry is the issuer's to judge; one
// that is no YYMM is taken for expired.
func (e *Engine) expired(req *txn.Request) bool {
	x := req.Expiry
	if x == [4]byte{} {
		return false
	}
	for _, b := range x {
		if b < '0' || b > '9' {
			return true
		}
	}
	year, month := int(x[0]-'0')*10+int(x[1]-'0'), int(x[2]-'0')*10+int(x[3]-'0')
	if month < 1 || month > 12 {
		return true
	}
	nowYear, nowMonth, _ := req.Received.In(e.zone).Date()
	// Two digits of a year mean the one from 50 years back to 49 ahead.
	ahead := (year-nowYear%100+150)%100 - 50
	return ahead < 0 || ahead == 0 && month < int(nowMonth)
}

// cardLimitsOf is what one card may do at m: what m states, and the currency's
// default where m states nothing.
func (e *Engine) cardLimitsOf(m *txn.Merchant) txn.Limits {
	l := m.Card
	for i := range e.cardLimits {
		if e.cardLimits[i].currency != m.Currency {
			continue
		}
		d := &e.cardLimits[i].limits
		if l.Transaction == 0 {
			l.Transaction = d.Transaction
		}
		if l.DayAmount == 0 {
			l.DayAmount = d.DayAmount
		}
		if l.DayCount == 0 {
			l.DayCount = d.DayCount
		}
	}
	return l
}

// overTransaction compares one amount with the three limits per transaction.
// The smallest that is passed is told.
func overTransaction(limits *[scopes]txn.Limits, minor int64) (v txn.Verdict) {
	for i := range limits {
		l := limits[i].Transaction
		if l > 0 && minor > l && (v.Reason == txn.Approved || l < v.Limit) {
			v = txn.Verdict{Reason: txn.AmountIsOverTransactionLimit, Scope: scopeOf(i), Limit: l, Used: minor}
		}
	}
	return v
}
