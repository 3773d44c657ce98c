package txn

// Kind is what a request asks for, whatever its dialect calls it. The numbers
// are in every journal: a new kind takes the next free one.
type Kind uint8

// The kinds. KindUnknown is parsable but not offered.
const (
	KindUnknown Kind = iota
	KindSale
	KindBalance
	KindReversal
	KindSignOn
	KindSignOff
	KindEcho
	KindVoid             // of a sale of the same batch and day
	KindRefund           // of a sale or completion, also in parts and later
	KindPreauth          // money set aside on the card
	KindIncrement        // more of it, for the same pre-authorization
	KindPreauthVoid      // a pre-authorization given back
	KindCompletion       // a pre-authorization taken, online
	KindCompletionAdvice // a pre-authorization taken at the terminal, told afterwards
	KindCompletionVoid
	KindOfflineSale // a sale made at the terminal, told afterwards
	KindAdjustment  // more money for a sale, told afterwards
	KindTip         // likewise, for who serves
	KindInstalment
	KindInstalmentVoid
	KindVerify       // is this card good
	KindScriptResult // what a card did with an issuer's script
	KindSettlement   // a terminal's totals of its batch
	KindUpload       // what a terminal has in its batch, item by item
	KindDownload     // parameters, keys and lists for the terminal
	KindStatus       // a terminal says how it is
	KindStandIn      // a sale that we approved in its issuer's place, told afterwards; never a request
)

// Effect is which way money goes.
type Effect int8

// The effects.
const (
	NoEffect Effect = 0
	Debit    Effect = 1  // the cardholder pays
	Credit   Effect = -1 // the cardholder gets back
)

// Remedy is what is owed to an issuer that may have got a request and whose
// answer is not known.
type Remedy uint8

// The remedies.
const (
	NoRemedy Remedy = iota // it changed nothing there
	Reverse                // undo it until that is acknowledged
	Repeat                 // it is a fact: tell it until that is acknowledged
)

var remedyNames = [...]string{"nothing", "reversal", "advice"}

func (r Remedy) String() string { return name(remedyNames[:], r) }

// nature is what there is to know of a kind.
type nature struct {
	name      string
	forwarded bool   // an issuer answers it, not we
	remedy    Remedy // of an unknown outcome
	limits    Effect // Debit uses the day's limits, Credit gives back what its original used
	totals    Effect // its side of the terminal's batch totals (cup-pos C4)
	original  bool   // it is about an earlier transaction
}

var natures = [...]nature{
	KindUnknown:          {name: "unknown"},
	KindSale:             {"sale", true, Reverse, Debit, Debit, false},
	KindBalance:          {name: "balance", forwarded: true},
	KindReversal:         {name: "reversal", original: true},
	KindSignOn:           {name: "sign-on"},
	KindSignOff:          {name: "sign-off"},
	KindEcho:             {name: "echo"},
	KindVoid:             {"void", true, Reverse, Credit, Credit, true},
	KindRefund:           {"refund", true, Repeat, NoEffect, Credit, true},
	KindPreauth:          {"preauth", true, Reverse, Debit, NoEffect, false},
	KindIncrement:        {"increment", true, Reverse, Debit, NoEffect, true},
	KindPreauthVoid:      {"preauth-void", true, Reverse, Credit, NoEffect, true},
	KindCompletion:       {"completion", true, Reverse, NoEffect, Debit, true},
	KindCompletionAdvice: {"completion-advice", true, Repeat, NoEffect, Debit, true},
	KindCompletionVoid:   {"completion-void", true, Reverse, NoEffect, Credit, true},
	KindOfflineSale:      {"offline-sale", true, Repeat, Debit, Debit, false},
	KindAdjustment:       {"adjustment", true, Repeat, Debit, Debit, true},
	KindTip:              {"tip", true, Repeat, Debit, Debit, true},
	KindInstalment:       {"instalment", true, Reverse, Debit, Debit, false},
	KindInstalmentVoid:   {"instalment-void", true, Reverse, Credit, Credit, true},
	KindVerify:           {name: "verify", forwarded: true},
	KindScriptResult:     {name: "script-result", original: true},
	KindSettlement:       {name: "settlement"},
	KindUpload:           {name: "upload"},
	KindDownload:         {name: "download"},
	KindStatus:           {name: "status"},
	KindStandIn:          {"stand-in", true, Repeat, Debit, Debit, false},
}

// Kinds is the number of kinds; values at and above it are invalid.
const Kinds = len(natures)

func (k Kind) nature() *nature {
	if int(k) < len(natures) {
		return &natures[k]
	}
	return &nature{name: "invalid"}
}

func (k Kind) String() string { return k.nature().name }

// Forwarded says that the kind is answered by an issuer, not by us.
func (k Kind) Forwarded() bool { return k.nature().forwarded }

// MovesMoney says that an approval of this kind changes what somebody owes or
// has promised, so a request whose fate is unknown owes something.
func (k Kind) MovesMoney() bool { return k.nature().remedy != NoRemedy }

// Remedy is what is owed to the issuer when nobody knows.
func (k Kind) Remedy() Remedy { return k.nature().remedy }

// Limits is what an approval does to the day's limits.
func (k Kind) Limits() Effect { return k.nature().limits }

// Totals is the side of a terminal's batch totals on which an approval counts.
func (k Kind) Totals() Effect { return k.nature().totals }

// NamesOriginal says that the request is about an earlier transaction.
func (k Kind) NamesOriginal() bool { return k.nature().original }

// Divisible says that a transaction of the kind can be reversed in part. What is about
// an earlier transaction, but for a completion, cannot; nor what is repeated until it
// is taken, which is never reversed at all.
func (k Kind) Divisible() bool {
	switch k {
	case KindSale, KindPreauth, KindCompletion, KindInstalment:
		return true
	}
	return false
}

// Reversible says that a terminal may take back what it was told of a request of
// the kind: that is undone at the issuer, or never told to it.
func (k Kind) Reversible() bool { return k.nature().remedy == Reverse || k == KindStandIn }

// Asked is the kind that the terminal asked for: a sale, where it became a stand-in.
func (k Kind) Asked() Kind {
	if k == KindStandIn {
		return KindSale
	}
	return k
}

// Told says that the kind tells of what has happened at the terminal already: it is
// recorded whatever the limits say, and repeated to the issuer until that takes note.
func (k Kind) Told() bool { return k.nature().remedy == Repeat && k != KindRefund && k != KindStandIn }

// Licence is the kind that a merchant must be allowed to do k: leave for a kind includes
// what undoes or finishes it.
func (k Kind) Licence() Kind {
	switch k {
	case KindVoid, KindStandIn:
		return KindSale
	case KindInstalmentVoid:
		return KindInstalment
	case KindIncrement, KindPreauthVoid, KindCompletion, KindCompletionAdvice, KindCompletionVoid:
		return KindPreauth
	}
	return k
}

// Batch says that the kind settles a batch or tells what is in it.
func (k Kind) Batch() bool { return k == KindSettlement || k == KindUpload }

// ParseKind reads String's form.
func ParseKind(s string) (Kind, bool) {
	for k := range natures {
		if natures[k].name == s && k > 0 {
			return Kind(k), true
		}
	}
	return KindUnknown, false
}
