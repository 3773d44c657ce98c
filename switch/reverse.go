package acquirer

import (
	"context"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// reverse decides a terminal's reversal request, whose own key is claimed. The
// terminal deletes its reversal at any answer, so the answer says yes as soon
// as the reversal is durable here; sending it is our debt, also while the
// issuer is away.
//
//	original            answer                       effect
//	unknown             00                           tombstone: a late original is refused
//	unknown, but DE37 or DE61 names one of ours
//	                    as that one (see referred, pointed)
//	in flight           waits for its outcome, then as below; none if that takes too long
//	declined, not sent  00                           none
//	unknown outcome     00                           none: a reversal is owed already
//	approved            00                           ReversalDue
//	already undone      00                           none
//	voided, refunded... 00                           none: its terminal has built on it
//	its void unknown    00                           ReversalDue, sent once the void is undone
//	a refund, an advice 12 (KindIsNotOffered)        none, and not remembered: it is repeated until it is taken, never undone
//	other amount        64 (OriginalAmountDiffers)   none, and not remembered
//	other card          14 (CardIsNotTheOriginals)   none, and not remembered: its terminal has used the number twice
//	other codes (CUP)   25 (OriginalIsUnknown)       none, and not remembered
//	an earlier day's    25 (OriginalIsOfAnotherDay)  none, but today's of that number is shunned; until replayGrace after the cut-over it still counts
//
// A reversal of a part (DE95) says what its terminal believes to stand, so where
// that cannot be it is refused. Where what is refused now might be done later, as
// when a void is undone, the refusal is remembered: its terminal has forgotten it, and
// a late copy must not do it. One under the number of its original alone is not
// remembered, for the reversal of the whole must find that number free:
//
//	approved            00                           ReversalDue, which leaves what is said
//	stands with so much 00                           none
//	with no more than that
//	                    13 (ReplacementIsNotLess)    none
//	unknown             25 (OriginalIsUnknown)       none, and no tombstone
//	not approved, undone, voided, refunded...
//	                    25 (OriginalDoesNotStand)    none
//	a void, an increment
//	                    12 (KindIsNotOffered)        none
func (s *Switch) reverse(req *txn.Request, ans *txn.Answer, w *work) {
	reversed := reversedKey(req)
	if reason := s.assess(req).Reason; reason != txn.Approved {
		s.concludeReversal(req, ans, w, &reversed, reason)
		return
	}
	sl, ok := s.findReversed(req, ans, w, &reversed)
	if !ok {
		return
	}
	b, err := s.journal.Read(sl.position, w.buf[:0])
	if err != nil {
		s.fail(req, ans, err)
		return
	}
	var orig txn.Record
	if err := orig.Unmarshal(b); err != nil {
		s.fail(req, ans, err)
		return
	}
	if reason := s.mayReverse(req, &orig); reason != txn.Approved {
		if reason == txn.OriginalIsOfAnotherDay {
			s.shun(req, &reversed)
		}
		// Not recorded: the key stays free for the reversal with the right amount.
		s.turnAway(req, ans, reason)
		return
	}
	if !s.acquireOriginal(orig.ID, req, w) {
		s.putOff(req, ans, txn.OriginalIsBusy)
		return
	}
	deeds, _ := s.originals.deeds(orig.ID)
	gone, stays := original.Reversed(deeds), req.Replacement.Minor
	done := stays != 0 && gone != 0 && stays == orig.Amount.Minor-gone
	if stays != 0 {
		reason := txn.Approved
		switch sl, _, _ := s.slots.look(&reversed); {
		case sl.id != orig.ID || sl.state != slotApproved || original.Holds(deeds):
			reason = txn.OriginalDoesNotStand
		case !done && stays >= orig.Amount.Minor-gone:
			reason = txn.ReplacementIsNotLess
		}
		if reason != txn.Approved {
			s.denyPart(req, ans, w, &reversed, reason)
			return
		}
	}
	rec := s.describe(req, ans, w)
	rec.Original, rec.OriginalKey, rec.SealedPAN = orig.ID, reversed, orig.SealedPAN
	s.showCard(req, rec)
	if done || stays == 0 && (original.Holds(deeds) || !s.slots.undo(&reversed, orig.ID, false)) {
		s.conclude(req, ans, w, txn.OutcomeLocal, txn.Approved)
		return
	}
	s.due(rec, &orig)
	rec.Gone, rec.Stays = gone, stays
	s.recordDue(req, ans, w)
}

// reversedKey is the key of the transaction whose number a reversal names.
func reversedKey(req *txn.Request) txn.Key {
	k := req.Key
	k.Class, k.STAN = txn.ClassFinancial, req.Original.STAN
	if req.Original.Batch != 0 {
		k.Batch = req.Original.Batch
	}
	return k
}

// findReversed finds the decided transaction that a reversal is about, and waits for
// one in flight. reversed becomes its key where DE37 or DE61 names it. Without one it is
// false, and req is answered.
func (s *Switch) findReversed(req *txn.Request, ans *txn.Answer, w *work, reversed *txn.Key) (slot, bool) {
	part := req.Replacement.Minor != 0
	sl, flight, known := s.slots.look(reversed)
	if !known {
		if named, ok := s.referred(req); ok {
			*reversed = named.Key
			if sl, flight, known = s.slots.look(reversed); !known || flight != nil || sl.id != named.ID {
				// Memory has let go of it, and what has its number now is another.
				s.turnAway(req, ans, txn.OriginalIsOfAnotherDay)
				return slot{}, false
			}
		} else if key, reason := s.pointed(req); reason == txn.OriginalIsBusy {
			s.putOff(req, ans, txn.IssuerDidNotAnswer)
			return slot{}, false
		} else if reason == txn.Approved {
			*reversed = key
			sl, flight, known = s.slots.look(reversed)
		}
	}
	for known && flight != nil || !known && !part {
		switch {
		case known:
			if !s.gate.wait(flight.done, req.Deadline) {
				s.putOff(req, ans, txn.IssuerDidNotAnswer)
				return slot{}, false
			}
		case s.outlived(req, reversed):
			if s.shun(req, reversed) {
				s.turnAway(req, ans, txn.OriginalIsOfAnotherDay)
				return slot{}, false
			}
		case s.slots.bury(reversed, req.Day, req.Received, slotTombstoned, slot{id: req.ID}):
			// A crash before the record below forgets the tombstone together
			// with the answer: the terminal asks again.
			s.concludeReversal(req, ans, w, reversed, txn.Approved)
			return slot{}, false
		}
		sl, flight, known = s.slots.look(reversed) // it has come, or is decided
	}
	switch {
	case sl.state != slotTombstoned && sl.position != 0:
		return sl, true
	case part:
		s.denyPart(req, ans, w, reversed, txn.OriginalIsUnknown)
	default:
		s.slots.bury(reversed, req.Day, req.Received, slotTombstoned, slot{id: req.ID}) // one of an earlier day is not found by today's request
		s.concludeReversal(req, ans, w, reversed, txn.Approved)
	}
	return slot{}, false
}

// mayReverse says whether a reversal may undo orig, as far as orig's own record tells.
func (s *Switch) mayReverse(req *txn.Request, orig *txn.Record) txn.Reason {
	switch {
	case orig.Day != req.Day && (orig.Day != req.Day.Before() || req.Received.Sub(s.cfg.Day.Start(req.Day)) > replayGrace):
		return txn.OriginalIsOfAnotherDay
	case !orig.Request.Reversible() && orig.Reason == txn.Approved:
		return txn.KindIsNotOffered // a yes would say that it is undone
	case req.Detail != 0 && !sameCodes(req, orig): // CUP's have the codes of what they undo
		return txn.OriginalIsUnknown
	case orig.Amount != req.Amount:
		return txn.OriginalAmountDiffers
	case !req.PAN.IsZero() && orig.Card != (txn.CardToken{}) && orig.Card != req.CardToken:
		return txn.CardIsNotTheOriginals
	case req.Replacement.Minor != 0 && !orig.Request.Divisible():
		return txn.KindIsNotOffered
	}
	return txn.Approved
}

// concludeReversal answers a reversal for good; nothing is owed for it.
func (s *Switch) concludeReversal(req *txn.Request, ans *txn.Answer, w *work, reversed *txn.Key, reason txn.Reason) {
	s.describe(req, ans, w).OriginalKey = *reversed
	s.conclude(req, ans, w, txn.OutcomeLocal, reason)
}

// putOff leaves a reversal without an answer and without a trace: its terminal sends
// it again.
func (s *Switch) putOff(req *txn.Request, ans *txn.Answer, reason txn.Reason) {
	s.slots.forget(&req.Key, txn.Approved)
	s.hush(req, ans, reason)
}

// recordDue makes w's ReversalDue durable and tells the terminal yes.
func (s *Switch) recordDue(req *txn.Request, ans *txn.Answer, w *work) {
	rec := &w.rec
	ans.Reason = txn.Approved
	ans.Code = dialect.Code(req.Dialect, ans.Reason, ans.Reply.Code)
	ans.Reply.SettlementDate = settlementDate(req.Day)
	rec.Outcome, rec.Reason, rec.Code = txn.OutcomeLocal, ans.Reason, ans.Code
	rec.SettlementDate = ans.Reply.SettlementDate
	// After this append the reversal is owed whatever happens, and this record
	// is what a repeat of the terminal's request is answered from.
	position, err := s.append(w)
	if err != nil {
		s.fail(req, ans, err)
		return
	}
	failpoint.Hit(failpoint.ReversalOwed)
	s.originals.learn(rec)
	s.reversals.add(rec, position, false, false)
	s.slots.decide(&req.Key, position, slotDecided)
	req.Trace.Mark(txn.StageRecorded, req.Received)
}

// referred is the transaction of the same terminal, and amount or card, that a reversal
// names by the reference number that we gave it (DE37). Many clients put a number of
// their own there, so one that is not found says nothing; nor does any while the archive
// is away.
func (s *Switch) referred(req *txn.Request) (named txn.Record, ok bool) {
	if s.archive == nil || req.Original.RRN == [12]byte{} {
		return named, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(outlivedWithin, time.Until(req.Deadline)))
	defer cancel()
	found, err := s.search(ctx, req)
	s.unread(req, err)
	for i := range found {
		if r := &found[i]; r.Key.Terminal == req.Key.Terminal && r.Key.Class == txn.ClassFinancial && (r.Amount == req.Amount || r.Card == req.CardToken) {
			return *r, true
		}
	}
	return named, false
}

// pointed is the key of the transaction of the same codes and amount that a reversal's
// DE61 names. Terminals give a reversal the number of what it undoes, and put that or what
// it was about into DE61; some number it anew. What it undoes has its codes, which what
// that was about has not. OriginalIsBusy is one that is not decided in time.
func (s *Switch) pointed(req *txn.Request) (txn.Key, txn.Reason) {
	key := req.Key
	key.Class, key.Batch, key.STAN = txn.ClassFinancial, req.Pointed.Batch, req.Pointed.STAN
	if key.STAN == 0 {
		return key, txn.OriginalIsUnknown
	}
	if _, flight, known := s.slots.look(&key); known && flight != nil && !s.gate.wait(flight.done, req.Deadline) {
		return key, txn.OriginalIsBusy
	}
	rec, _, reason := s.decided(key)
	if reason == txn.Approved && (!sameCodes(req, &rec) || rec.Amount != req.Amount) {
		reason = txn.OriginalIsUnknown
	}
	return key, reason
}

// sameCodes says that a reversal has the codes of rec, which tell what that was.
func sameCodes(req *txn.Request, rec *txn.Record) bool {
	return req.ProcessingCode == rec.ProcessingCode && req.Condition == rec.Condition
}

// denyPart refuses the reversal of a part for a reason that may pass. See reverse for
// when the refusal is remembered.
func (s *Switch) denyPart(req *txn.Request, ans *txn.Answer, w *work, reversed *txn.Key, reason txn.Reason) {
	if req.Key.Batch == reversed.Batch && req.Key.STAN == reversed.STAN {
		s.turnAway(req, ans, reason)
		return
	}
	s.concludeReversal(req, ans, w, reversed, reason)
}

// shun has today's request of a number refused for replayGrace, should it still come.
// The reversal is taken to mean an earlier day's transaction, but where numbers begin
// anew every day it may mean one of today that is still on its way. That is remembered
// in memory only, for what is on its way arrives within the grace. It is false if the
// request has come meanwhile.
func (s *Switch) shun(req *txn.Request, reversed *txn.Key) bool {
	return s.slots.bury(reversed, req.Day, req.Received, slotShunned, slot{id: req.ID})
}

// due makes rec a ReversalDue of orig. It copies the MTI, leg, amount, card, day, entry
// mode and codes of what is to be undone: all that the reversal's message is made of.
func (s *Switch) due(rec *txn.Record, orig *txn.Record) {
	rec.Kind, rec.At = txn.RecordReversalDue, time.Now()
	rec.Original, rec.OriginalKey = orig.ID, orig.Key
	rec.Leg, rec.Amount, rec.Day = orig.Leg, orig.Amount, orig.Day
	rec.MTI, rec.ProcessingCode, rec.Condition, rec.Entry = orig.MTI, orig.ProcessingCode, orig.Condition, orig.Entry
	rec.Merchant, rec.MCC, rec.Region = orig.Merchant, orig.MCC, orig.Region
	rec.Card, rec.SealedPAN, rec.Masked = orig.Card, orig.SealedPAN, orig.Masked
	rec.AuthCode, rec.Held = orig.AuthCode, orig.Held
	rec.Data = dialect.AppendUndone(nil, orig)
	rec.CardType, rec.PIN, rec.Method, rec.Identity = orig.CardType, orig.PIN, orig.Method, orig.Identity
}
