// Package original decides what may still be done about an earlier transaction:
// void it, refund it, complete or widen a pre-authorization, add a tip. It is
// the state machine of cup-pos C1 and C3 in one place.
//
// The state of a transaction is not stored. It follows from what it was and
// from the deeds about it that stand, so it cannot disagree with the records.
// Permit is a pure function of those; its caller (package acquirer) must see to it that
// only one deed at a time is being done about a transaction.
//
//	sale, instalment   voided once, in its batch and on its day, while nothing was refunded or added
//	                   refunded (not an instalment) in parts up to its amount, within RefundDays
//	                   raised by adjustments and tips up to TipPercent of its amount
//	pre-authorization  raised, voided or completed (once, up to CompletionPercent), within PreauthDays
//	completion         voided as a sale is, and refunded as a sale is
//
// A transaction that was reversed in part counts with the amount that stands. A deed
// that was reversed never happened. One that an issuer may still have to undo or take
// note of keeps all others out until that is known.
package original

import (
	"cmp"
	"slices"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Rules are the limits that an acquirer sets. The zero value of each field is
// its default.
type Rules struct {
	// RefundDays is how many days after its business day a transaction can be
	// refunded. Default 30; issuers and schemes give up to 180.
	RefundDays int
	// PreauthDays is how long a pre-authorization can be completed, raised or
	// voided. Default 30.
	PreauthDays int
	// CompletionPercent is the most that a completion may take of what was
	// pre-authorized. Default 115; some acquirers allow 100.
	CompletionPercent int
	// TipPercent is the most that tips and adjustments together may add to a
	// sale. Default 15.
	TipPercent int
	// PreauthReopens lets a pre-authorization be used again after its completion
	// was voided. Default false: issuers differ, and a pre-authorization that is gone is
	// the safer reading.
	PreauthReopens bool
}

// WithDefaults fills what is zero.
func (r Rules) WithDefaults() Rules {
	r.RefundDays = cmp.Or(r.RefundDays, 30)
	r.PreauthDays = cmp.Or(r.PreauthDays, 30)
	r.CompletionPercent = cmp.Or(r.CompletionPercent, 115)
	r.TipPercent = cmp.Or(r.TipPercent, 15)
	return r
}

// Transaction is an approved transaction that a request is about.
type Transaction struct {
	ID       txn.ID
	Kind     txn.Kind
	Key      txn.Key
	Merchant txn.MerchantID
	Card     txn.CardToken
	Amount   txn.Amount
	Day      txn.Date
	AuthCode [6]byte
	// Stands is false once the transaction was reversed or a reversal is owed.
	Stands bool
	// Settled says that its batch, which has no number, was settled since.
	Settled bool
}

// Deed is something that was done about a transaction. A KindReversal is one in
// part, which took Minor back; a whole reversal is no deed, for it leaves nothing
// to do something about.
type Deed struct {
	ID    txn.ID
	Kind  txn.Kind
	Minor int64
	State State
	// Voided says of a completion that a void of it stands.
	Voided bool
}

// State is whether a deed counts.
type State uint8

// The states.
const (
	Standing  State = iota // approved, or told and taken note of
	Uncertain              // an issuer has still to undo it, or may not do it
	Undone                 // it never happened
	Untold                 // it has happened, and its issuer has still to take note of it
)

// Permit says whether req may be done about t, of which deeds were done, in the
// order of cup-pos C3. The request is one whose Kind.NamesOriginal.
func (r *Rules) Permit(t *Transaction, deeds []Deed, req *txn.Request) txn.Reason {
	done := r.tally(deeds)
	switch {
	case !About(req.Kind, t.Kind):
		return txn.OriginalIsOfAnotherKind
	case t.Merchant != req.Merchant:
		return txn.OriginalIsUnknown // not to be told of another's
	case !t.Stands:
		return txn.OriginalDoesNotStand
	case Pending(deeds):
		return txn.OriginalIsBusy
	case done.voids > 0:
		return txn.OriginalDoesNotStand
	case r.late(t, req):
		return txn.OriginalIsTooOld
	case inBatch(req.Kind) && (t.Day != req.Day || t.Key.Batch != req.Key.Batch || t.Settled || t.Key.Terminal != req.Key.Terminal):
		return txn.OriginalIsOfAnotherBatch
	case done.completions > 0:
		return txn.OriginalIsCompleted
	case !req.PAN.IsZero() && req.CardToken != t.Card:
		return txn.CardIsNotTheOriginals
	case req.Kind != txn.KindCompletionVoid && named(req.Original.AuthCode) && named(t.AuthCode) && req.Original.AuthCode != t.AuthCode:
		// The void of a completion may have the pre-authorization's code, as its completion had (cup-pos A8).
		return txn.OriginalIsUnknown
	case t.Amount.Currency != req.Amount.Currency:
		return txn.OriginalAmountDiffers
	}
	return r.amount(t, &done, req)
}

// About says that a request of this kind can be about a transaction of that.
func About(kind, original txn.Kind) bool {
	switch kind {
	case txn.KindVoid:
		return original == txn.KindSale
	case txn.KindInstalmentVoid:
		return original == txn.KindInstalment
	case txn.KindRefund:
		return original == txn.KindSale || original == txn.KindOfflineSale ||
			original == txn.KindCompletion || original == txn.KindCompletionAdvice
	case txn.KindAdjustment, txn.KindTip:
		return original == txn.KindSale || original == txn.KindOfflineSale
	case txn.KindIncrement, txn.KindPreauthVoid, txn.KindCompletion, txn.KindCompletionAdvice:
		return original == txn.KindPreauth
	case txn.KindCompletionVoid:
		return original == txn.KindCompletion || original == txn.KindCompletionAdvice
	}
	return false
}

// inBatch says that the kind undoes what was done in the same batch on the same
// day at the same terminal.
func inBatch(k txn.Kind) bool {
	switch k {
	case txn.KindVoid, txn.KindInstalmentVoid, txn.KindCompletionVoid, txn.KindAdjustment, txn.KindTip:
		return true
	}
	return false
}

// late says that the time in which the request could be made is over.
func (r *Rules) late(t *Transaction, req *txn.Request) bool {
	days := r.PreauthDays
	if t.Kind != txn.KindPreauth {
		days = r.RefundDays
	}
	return req.Day.Since(t.Day) > days
}

// amount holds the request's amount against the transaction's.
func (r *Rules) amount(t *Transaction, done *sums, req *txn.Request) txn.Reason {
	asked, whole := req.Amount.Minor, t.Amount.Minor-done.reversed
	within := true
	switch req.Kind {
	case txn.KindVoid, txn.KindInstalmentVoid, txn.KindCompletionVoid:
		if done.refunds > 0 {
			return txn.OriginalDoesNotStand
		}
		// A tip would stay charged; what is tipped is refunded.
		within = asked == whole && done.tips == 0
	case txn.KindPreauthVoid:
		within = asked == whole+done.increments
	case txn.KindRefund:
		within = asked <= whole+done.tips-done.refunds
	case txn.KindCompletion, txn.KindCompletionAdvice:
		within = asked <= percent(whole+done.increments, r.CompletionPercent)
	case txn.KindAdjustment, txn.KindTip:
		if done.refunds > 0 {
			return txn.OriginalDoesNotStand
		}
		within = done.tips+asked <= percent(whole, r.TipPercent) && (req.Bill == 0 || req.Bill == whole+done.tips+asked)
	}
	if !within {
		return txn.OriginalAmountDiffers
	}
	return txn.Approved
}

// percent is p hundredths of minor units, rounded down. Amounts have 12 digits,
// so the product fits.
func percent(minor int64, p int) int64 { return minor/100*int64(p) + minor%100*int64(p)/100 }

// sums are what the standing deeds come to.
type sums struct {
	voids, completions                  int
	refunds, increments, tips, reversed int64
}

func (r *Rules) tally(deeds []Deed) (s sums) {
	for _, d := range deeds {
		if d.State == Undone {
			continue
		}
		switch d.Kind {
		case txn.KindVoid, txn.KindInstalmentVoid, txn.KindPreauthVoid, txn.KindCompletionVoid:
			s.voids++
		case txn.KindCompletion, txn.KindCompletionAdvice:
			if !d.Voided || !r.PreauthReopens {
				s.completions++
			}
		case txn.KindRefund:
			s.refunds += d.Minor
		case txn.KindIncrement:
			s.increments += d.Minor
		case txn.KindAdjustment, txn.KindTip:
			s.tips += d.Minor
		case txn.KindReversal:
			s.reversed += d.Minor
		}
	}
	return s
}

// Pending says that an issuer has still to undo something that was done about a
// transaction, or to take note of it: what comes later must not reach it before that.
func Pending(deeds []Deed) bool {
	return slices.ContainsFunc(deeds, func(d Deed) bool { return d.State == Uncertain || d.State == Untold })
}

// Reversed is what reversals in part took back of a transaction, acknowledged or
// not.
func Reversed(deeds []Deed) (minor int64) {
	for _, d := range deeds {
		if d.Kind == txn.KindReversal {
			minor += d.Minor
		}
	}
	return minor
}

// Used says that something was done about a transaction and not undone, so that its
// terminal must have heard of it.
func Used(deeds []Deed) bool {
	for _, d := range deeds {
		if d.State != Undone {
			return true
		}
	}
	return false
}

// Holds says that something stands that was done about a transaction, or may
// come to stand: the transaction cannot be reversed under what was built on it.
// What is being undone holds nothing, nor do reversals in part.
func Holds(deeds []Deed) bool {
	for _, d := range deeds {
		if d.Kind == txn.KindReversal {
			continue
		}
		if d.State == Standing || d.State == Untold || d.State == Uncertain && d.Kind.Remedy() == txn.Repeat {
			return true
		}
	}
	return false
}

func named(code [6]byte) bool { return code != [6]byte{} && code != [6]byte([]byte("      ")) }
