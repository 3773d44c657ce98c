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
//	unknown, but DE37 names one of ours
//	                    as that one (see referred)
//	in flight           waits for its outcome, then as below; none if that takes too long
//	declined, not sent  00                           none
//	unknown outcome     00                           none: a reversal is owed already
//	approved            00                           ReversalDue
//	already undone      00                           none
//	voided, refunded... 00                           none: its terminal has built on it
//	its void unknown    00                           ReversalDue, sent once the void is undone
//	a refund, an advice 12 (KindIsNotOffered)        none, and not remembered: it is repeated until it is taken, never undone
//	other amount        64 (OriginalAmountDiffers)   none, and not remembered
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
	reversed := req.Key
	reversed.Class, reversed.STAN = txn.ClassFinancial, req.Original.STAN
	if req.Original.Batch != 0 {
		reversed.Batch = req.Original.Batch
	}
	reason := s.assess(req).Reason
	if reason != txn.Approved {
		s.describe(req, ans, w).OriginalKey = reversed
		s.conclude(req, ans, w, txn.OutcomeLocal, reason)
		return
	}

	stays := req.Replacement.Minor
	sl, flight, known := s.slots.look(&reversed)
	if !known {
		if named, ok := s.referred(req); ok {
			reversed = named.Key
			if sl, flight, known = s.slots.look(&reversed); !known || flight != nil || sl.id != named.ID {
				// Memory has let go of it, and what has its number now is another.
				s.turnAway(req, ans, txn.OriginalIsOfAnotherDay)
				return
			}
		}
	}
	for !known || flight != nil {
		if !known {
			if stays != 0 {
				break
			}
			if s.outlived(req, &reversed) {
				if s.shun(req, &reversed) {
					s.turnAway(req, ans, txn.OriginalIsOfAnotherDay)
					return
				}
			} else if s.slots.bury(&reversed, req.Day, req.Received, slotTombstoned, slot{id: req.ID}) {
				// A crash before the record below forgets the tombstone together
				// with the answer: the terminal asks again.
				s.describe(req, ans, w).OriginalKey = reversed
				s.conclude(req, ans, w, txn.OutcomeLocal, txn.Approved)
				return
			}
		} else if !s.gate.wait(flight.done, req.Deadline) {
			s.describe(req, ans, w).OriginalKey = reversed
			s.slots.forget(&req.Key, txn.Approved)
			s.hush(req, ans, txn.IssuerDidNotAnswer)
			return
		}
		sl, flight, known = s.slots.look(&reversed)
	}
	if sl.state == slotTombstoned || sl.position == 0 {
		if stays != 0 {
			s.denyPart(req, ans, w, &reversed, txn.OriginalIsUnknown)
			return
		}
		s.slots.bury(&reversed, req.Day, req.Received, slotTombstoned, slot{id: req.ID}) // one of an earlier day is not found by today's request
		s.describe(req, ans, w).OriginalKey = reversed
		s.conclude(req, ans, w, txn.OutcomeLocal, txn.Approved)
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
	switch {
	case orig.Day != req.Day && (orig.Day != req.Day.Before() || req.Received.Sub(s.cfg.Day.Start(req.Day)) > replayGrace):
		reason = txn.OriginalIsOfAnotherDay
	case !orig.Request.Reversible() && orig.Reason == txn.Approved:
		reason = txn.KindIsNotOffered // a yes would say that it is undone
	case orig.Amount != req.Amount:
		reason = txn.OriginalAmountDiffers
	case stays != 0 && !orig.Request.Divisible():
		reason = txn.KindIsNotOffered
	}
	if reason == txn.OriginalIsOfAnotherDay {
		s.shun(req, &reversed)
	}
	if reason != txn.Approved {
		// Not recorded: the key stays free for the reversal with the right amount.
		s.turnAway(req, ans, reason)
		return
	}
	if !s.acquire(orig.ID, req, w) {
		s.describe(req, ans, w).OriginalKey = reversed
		s.slots.forget(&req.Key, txn.Approved)
		s.hush(req, ans, txn.OriginalIsBusy)
		return
	}
	deeds, _ := s.originals.deeds(orig.ID)
	gone := original.Reversed(deeds)
	done := stays != 0 && gone != 0 && stays == orig.Amount.Minor-gone
	if stays != 0 {
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
	rec.Original, rec.OriginalKey = orig.ID, reversed
	if done || stays == 0 && (original.Holds(deeds) || !s.slots.undo(&reversed, orig.ID, false)) {
		s.conclude(req, ans, w, txn.OutcomeLocal, reason)
		return
	}
	s.due(rec, &orig)
	rec.Gone, rec.Stays = gone, stays
	rec.Outcome, rec.Reason = txn.OutcomeLocal, txn.Approved
	ans.Reason = txn.Approved
	ans.Code = dialect.Code(req.Dialect, req.Kind, ans.Reason, ans.Reply.Code)
	rec.Code = ans.Code
	ans.Reply.SettlementDate = settlementDate(req.Day)
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
	s.reversals.add(rec, position, false)
	s.slots.decide(&req.Key, position, slotDecided)
	req.Trace.Mark(txn.StageRecorded, req.Received)
}

// referred is what a reversal names by the reference number that we gave it, of the
// same terminal and amount. Many clients number all that they send, so a
// number that is not found says nothing; nor does it while the archive is away.
func (s *Switch) referred(req *txn.Request) (named txn.Record, ok bool) {
	if s.archive == nil || req.Original.RRN == [12]byte{} {
		return named, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(outlivedWithin, time.Until(req.Deadline)))
	defer cancel()
	found, err := s.search(ctx, req)
	if err != nil {
		s.log.Error("earlier transactions cannot be read", "terminal", req.Key.Terminal.String(), "error", err)
	}
	for i := range found {
		if r := &found[i]; r.Key.Terminal == req.Key.Terminal && r.Key.Class == txn.ClassFinancial && r.Amount == req.Amount {
			return *r, true
		}
	}
	return named, false
}

// denyPart refuses the reversal of a part for what may be otherwise later.
func (s *Switch) denyPart(req *txn.Request, ans *txn.Answer, w *work, reversed *txn.Key, reason txn.Reason) {
	if req.Key.Batch == reversed.Batch && req.Key.STAN == reversed.STAN {
		s.turnAway(req, ans, reason)
		return
	}
	s.describe(req, ans, w).OriginalKey = *reversed
	s.conclude(req, ans, w, txn.OutcomeLocal, reason)
}

// shun keeps out for a while a request of today that a reversal of an earlier day's may
// mean: where numbers begin anew, it may still be on its way. In memory alone: what is
// on its way comes within the grace. It is false if it has come meanwhile.
func (s *Switch) shun(req *txn.Request, reversed *txn.Key) bool {
	return s.slots.bury(reversed, req.Day, req.Received, slotShunned, slot{id: req.ID})
}

// due makes rec a ReversalDue of orig: the MTI, leg, amount, card, day and
// processing code of what is to be undone, which is all that its message is made
// of.
func (s *Switch) due(rec *txn.Record, orig *txn.Record) {
	rec.Kind, rec.At = txn.RecordReversalDue, time.Now()
	rec.Original, rec.OriginalKey = orig.ID, orig.Key
	rec.Leg, rec.Amount, rec.Day = orig.Leg, orig.Amount, orig.Day
	rec.MTI, rec.ProcessingCode, rec.Condition = orig.MTI, orig.ProcessingCode, orig.Condition
	rec.Merchant, rec.MCC, rec.Region = orig.Merchant, orig.MCC, orig.Region
	rec.Card, rec.SealedPAN, rec.Masked = orig.Card, orig.SealedPAN, orig.Masked
	rec.AuthCode, rec.Held = orig.AuthCode, orig.Held
	rec.CardType, rec.PIN, rec.Method, rec.Identity = orig.CardType, orig.PIN, orig.Method, orig.Identity
}
