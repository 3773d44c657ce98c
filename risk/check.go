package risk

import (
	"bytes"

	"github.com/acqswitch/acqswitch/switch/txn"
)

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
	t, m := req.Terminal, req.Acceptor
	switch {
	case c&offered == 0:
		return j.refuse(txn.KindIsNotOffered)
	case c&parties != 0 && m == nil && t == nil && req.Merchant == txn.NoMerchant && j.finds(ruleT01, txn.TerminalIsUnknown), // a sign-on need not name a merchant
		c&parties != 0 && m == nil && j.finds(ruleM01, txn.MerchantIsUnknown),
		c&active != 0 && m.Status != txn.StatusActive && j.finds(ruleM02, txn.MerchantIsNotActive),
		c&active != 0 && len(j.policy.Shunned) > 0 && j.shuns(m) && j.finds(ruleM02, txn.MerchantIsShunned),
		c&parties != 0 && t == nil && j.finds(ruleT01, txn.TerminalIsUnknown),
		c&active != 0 && t.Status != txn.StatusActive && j.finds(ruleT01, txn.TerminalIsNotActive),
		c&parties != 0 && t.Merchant != req.Merchant && j.finds(ruleT02, txn.TerminalIsBoundToAnotherMerchant),
		c&machine != 0 && (j.machine(req, t, c&told != 0) || req.Ahead != 0 && j.goesBack(e, req)),
		c&place != 0 && j.place(e, req, t, m),
		c&(active|price) == active|price && j.unverified(req, m),
		c&allowed != 0 && !m.Allows(req.Kind) && j.finds(ruleM07, txn.KindIsNotAllowed),
		c&(allowed|active) == allowed|active && j.presented(req, t, m, c&card != 0):
		return false
	}
	switch {
	case c&price != 0 && (req.Amount.Currency != m.Currency || m.Currency == 0):
		return j.refuse(txn.CurrencyIsNotAccepted)
	case c&price != 0 && req.Amount.Minor <= 0 && j.finds(ruleL01, txn.AmountMustNotBeZero):
	case c&price != 0 && req.Amount.Minor > txn.AmountMax && j.finds(ruleL01, txn.AmountIsOverMaximum):
	case c&(price|card|past) == price|card|past && req.ChipAmount.Minor != 0 && j.chipDiffers(req):
	case c&card != 0 && (req.PAN.IsZero() || !e.skipCheckDigit && req.Entry != txn.EntryCode && !req.PAN.LuhnValid()):
		return j.refuse(txn.CardNumberIsInvalid)
	case c&card != 0 && e.expired(req):
		return j.refuse(txn.CardIsExpired)
	case c&card != 0 && len(j.policy.Blocked) > 0 && j.blocked(req):
	case c&(card|price) == card|price && j.withoutPIN(req):
	default:
		return true
	}
	return false
}

// shuns is M02 of a list: the merchant's person or enterprise is on it.
func (j *judgement) shuns(m *txn.Merchant) bool {
	_, on := j.policy.Shunned[m.Identity]
	return on && m.Identity != txn.Identity{}
}

// unverified is M03 and M04: what the merchant is registered as contradicts
// itself, or has run out.
func (j *judgement) unverified(req *txn.Request, m *txn.Merchant) bool {
	if mcc, ok := category(m.ID); ok && m.MCC != 0 && mcc != m.MCC && j.counts(ruleM03, 0, int64(mcc), int64(m.MCC), txn.CategoryIsNotTheMerchants) {
		return true
	}
	if m.LicenceEnds != 0 && req.Day > m.LicenceEnds {
		return j.counts(ruleM04, 0, int64(req.Day), int64(m.LicenceEnds), txn.MerchantMustBeVerified)
	}
	return m.Unmatched && j.finds(ruleM04, txn.MerchantMustBeVerified)
}

// presented is M07, R02 and R01 of the way a card was read. A payment is held to
// all of it; what is about an earlier one only to that no refund is keyed in.
func (j *judgement) presented(req *txn.Request, t *txn.Terminal, m *txn.Merchant, payment bool) bool {
	way := req.Entry.Way()
	if way == txn.WayManual && (req.Kind == txn.KindRefund || payment && !m.Entries.Has(txn.EntryManual)) && j.finds(ruleR02, txn.ManualEntryIsNotAllowed) {
		return true
	}
	if !payment {
		return false
	}
	mode := entryOf[way]
	return mode != 0 && mode != txn.EntryManual && (m.Entries != 0 && !m.Entries.Has(mode) || t.Capabilities != 0 && !t.Capabilities.Has(mode)) &&
		j.finds(ruleM07, txn.EntryIsNotAllowed) ||
		way == txn.WayStripe && hasChip(req) && j.finds(ruleR01, txn.FallbackIsNotAllowed) ||
		m.Cards != 0 && !m.Cards.Has(req.CardType) && j.finds(ruleM07, txn.CardTypeIsNotAllowed)
}

// entryOf is the entry mode that lists name a way by; 0 is in none.
var entryOf = [...]txn.EntryMode{txn.WayManual: txn.EntryManual, txn.WayStripe: txn.EntryStripe, txn.WayCode: txn.EntryCode,
	txn.WayChip: txn.EntryChip, txn.WayContactless: txn.EntryContactless}

// hasChip says that the stripe tells of a chip beside it: the service code,
// behind the separator and the expiry, begins with 2 or 6. A track that could
// not be deciphered tells nothing.
func hasChip(req *txn.Request) bool {
	if req.TrackDigits > 0 {
		return false
	}
	track := req.Track2
	i := bytes.IndexAny(track, "=D")
	return i >= 0 && len(track) > i+5 && (track[i+5] == '2' || track[i+5] == '6')
}

// chipDiffers is S07: a payment is of another amount than the card made its cryptogram
// over. Cash paid out besides (9F03) may be part of that amount or come on top of it;
// one in the cardholder's own currency cannot be compared.
func (j *judgement) chipDiffers(req *txn.Request) bool {
	told := req.ChipAmount
	return told.Minor != req.Amount.Minor && told.Minor+req.ChipOther != req.Amount.Minor && (told.Currency == 0 || told.Currency == req.Amount.Currency) &&
		j.counts(ruleS07, 0, req.Amount.Minor, told.Minor, txn.ChipAmountDiffers)
}

// blocked is R08: the card is on the list.
func (j *judgement) blocked(req *txn.Request) bool {
	b, on := j.policy.Blocked[req.CardToken]
	if !on || !during(req.Day, b.From, b.To) {
		return false
	}
	reason := txn.CardIsRestricted
	switch b.Why {
	case BlockLost:
		reason = txn.CardIsLost
	case BlockStolen:
		reason = txn.CardIsStolen
	}
	return j.finds(ruleR08, reason)
}

// withoutPIN is L06: a contactless payment without a PIN is too large, or the
// merchant's plan has none.
func (j *judgement) withoutPIN(req *txn.Request) bool {
	if req.Method() != txn.MakeMethod(txn.WayContactless, false) {
		return false
	}
	if j.planOf(req).NoPINRefused && j.finds(ruleL06, txn.PaymentWithoutPINIsNotAllowed) {
		return true
	}
	most := j.policy.Legal.NoPIN
	return most > 0 && req.Amount.Currency == txn.CNY && req.Amount.Minor > most && j.counts(ruleL06, 0, req.Amount.Minor, most, txn.PINIsRequired)
}

// expired says that the card's last month is over. A card is good until the
// last instant of that month. An absent expiry is the issuer's to judge; one
// that is no YYMM is taken for expired.
func (e *Engine) expired(req *txn.Request) bool {
	x := req.Expiry
	if x == [4]byte{} {
		return false
	}
	yymm, ok := txn.ParseDigits(x[:])
	year, month := int(yymm/100), int(yymm%100)
	if !ok || month < 1 || month > 12 {
		return true
	}
	nowYear, nowMonth, _ := req.Received.In(e.zone).Date()
	// Two digits of a year mean the one from 50 years back to 49 ahead.
	ahead := (year-nowYear%100+150)%100 - 50
	return ahead < 0 || ahead == 0 && month < int(nowMonth)
}
