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
	past                       // what was decided before is held against it
)

// matrix says which rules apply to which kind. Rules that would keep money
// where it doesn't belong are left out: a reversal of a suspended merchant
// must go through, and so must what has happened at a terminal already, its
// settlement and its sign-off. The card of what is about an earlier transaction is held against
// that one's. An echo asks whether the line is alive and may come from a
// concentrator that is no terminal.
var matrix = [txn.Kinds]checks{
	txn.KindSale:             offered | parties | active | machine | told | place | allowed | price | card | past,
	txn.KindBalance:          offered | parties | active | machine | place | allowed | card | past,
	txn.KindReversal:         offered | parties,
	txn.KindSignOn:           offered | parties | active | machine | told,
	txn.KindSignOff:          offered | parties,
	txn.KindEcho:             offered,
	txn.KindVoid:             offered | parties | active | machine | allowed | price,
	txn.KindRefund:           offered | parties | active | machine | allowed | price | past,
	txn.KindPreauth:          offered | parties | active | machine | told | place | allowed | price | card | past,
	txn.KindIncrement:        offered | parties | active | machine | allowed | price | card,
	txn.KindPreauthVoid:      offered | parties | active | machine | allowed | price,
	txn.KindCompletion:       offered | parties | active | machine | allowed | price,
	txn.KindCompletionAdvice: offered | parties | allowed | price,
	txn.KindCompletionVoid:   offered | parties | active | machine | allowed | price,
	txn.KindOfflineSale:      offered | parties | allowed | price,
	txn.KindAdjustment:       offered | parties | allowed | price,
	txn.KindTip:              offered | parties | allowed | price,
	txn.KindInstalment:       offered | parties | active | machine | told | place | allowed | price | card | past,
	txn.KindInstalmentVoid:   offered | parties | active | machine | allowed | price,
	txn.KindVerify:           offered | parties | active | machine | place | allowed | card | past,
	txn.KindScriptResult:     offered | parties,
	txn.KindDownload:         offered | parties | active,
	txn.KindStatus:           offered | parties | active,
	txn.KindSettlement:       offered | parties,
	txn.KindUpload:           offered | parties,
}

// check applies every rule that needs no counter, in precedence order, and says
// whether the request may go on.
func (j *judgement) check(e *Engine, req *txn.Request) bool {
	var c checks
	if int(req.Kind) < len(matrix) {
		c = matrix[req.Kind]
	}
	t, m := req.Holder, req.Owner
	switch {
	case c&offered == 0:
		return j.refuse(txn.KindIsNotOffered)
	case c&parties != 0 && m == nil && j.finds(ruleM01, txn.MerchantIsUnknown),
		c&active != 0 && m.Status != txn.StatusActive && j.finds(ruleM02, txn.MerchantIsNotActive),
		c&parties != 0 && t == nil && j.finds(ruleT01, txn.TerminalIsUnknown),
		c&active != 0 && t.Status != txn.StatusActive && j.finds(ruleT01, txn.TerminalIsNotActive),
		c&parties != 0 && t.Merchant != req.Merchant && j.finds(ruleT02, txn.TerminalIsBoundToAnotherMerchant),
		c&machine != 0 && j.machine(req, t, c&told != 0),
		c&place != 0 && j.place(req, t, m):
		return false
	}
	switch {
	case c&allowed != 0 && !m.Allows(req.Kind) && j.finds(ruleM07, txn.KindIsNotAllowed):
	case c&price != 0 && (req.Amount.Currency != m.Currency || m.Currency == 0):
		return j.refuse(txn.CurrencyIsNotAccepted)
	case c&price != 0 && req.Amount.Minor <= 0 && j.finds(ruleL01, txn.AmountMustNotBeZero):
	case c&price != 0 && req.Amount.Minor > txn.AmountMax && j.finds(ruleL01, txn.AmountIsOverMaximum):
	case c&card != 0 && (req.PAN.IsZero() || !e.skipCheckDigit && req.Entry != txn.EntryCode && !req.PAN.LuhnValid()):
		return j.refuse(txn.CardNumberIsInvalid)
	case c&card != 0 && e.expired(req):
		return j.refuse(txn.CardIsExpired)
	default:
		return true
	}
	return false
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
