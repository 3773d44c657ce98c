package acquirer

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// work is the memory of one Authorize call.
type work struct {
	rec txn.Record
	leg txn.Leg
	buf []byte

	// Of a request about an earlier transaction: which one, and whether an approval
	// of this request gives back the limits which that one used.
	original    txn.ID
	originalKey txn.Key
	gives       bool
	given       txn.Hold                      // those limits
	about       [dialect.OriginalSizeMax]byte // memory of this request's rec.Data
	told        []byte                        // and of its rec.Told
	acquired    txn.ID                        // the transaction that others are kept from; 0: none

	// Of a settlement or upload: its fact, and that its batch's order is held.
	fact    txn.BatchFact
	data    []byte
	ordered bool
}

// decide is steps 4 to 9 of an authorization for requests that are recorded.
func (s *Switch) decide(req *txn.Request, ans *txn.Answer, w *work) {
	slot, flight, claimed := s.slots.claim(req)
	for !claimed {
		if slot.fingerprint != req.Fingerprint && !slot.state.buried() {
			s.refuse(req, ans, txn.DuplicateWithOtherContent)
			return
		}
		if flight == nil {
			s.replay(req, ans, w, slot)
			return
		}
		// The same request is being decided: attach, and tell the same answer.
		switch {
		case !wait(flight.done, req.Deadline):
			s.hush(req, ans, txn.IssuerDidNotAnswer)
			return
		case flight.refused != txn.Approved:
			s.refuse(req, ans, flight.refused)
			return
		}
		slot, flight, claimed = s.slots.claim(req)
	}
	failpoint.Hit(failpoint.Claimed)
	if paced(req) && !s.pace.takes(req.Key.Terminal, req.Received) { // after replay: stored answers are told at any pace
		s.turnAway(req, ans, txn.TerminalIsTooFast)
		return
	}
	if reason := s.begin(req); reason != txn.Approved {
		s.turnAway(req, ans, reason)
		return
	}
	s.carry(req, ans, w)
}

// carry decides a request that has passed the gate, and gives back what it holds
// meanwhile, however that ends. (In proceed, with its many returns, the compiler would
// make slow defers of these.)
func (s *Switch) carry(req *txn.Request, ans *txn.Answer, w *work) {
	defer s.gate.leave() // the last thing
	w.rec, w.original, w.originalKey, w.gives = txn.Record{}, 0, txn.Key{}, false
	if req.Kind.Totals() != txn.NoEffect {
		if !s.batchLocks.rlock(&req.Key, req.Deadline) {
			s.turnAway(req, ans, txn.SwitchIsOverloaded)
			return
		}
		defer s.batchLocks.runlock(&req.Key) // after rescue, which may count it
	}
	defer s.releaseOriginal(w) // after rescue, which may decide something about it
	defer s.rescue(req, ans, w)
	s.proceed(req, ans, w)
}

// proceed decides a request that is claimed and counted.
func (s *Switch) proceed(req *txn.Request, ans *txn.Answer, w *work) {
	switch {
	case req.Kind == txn.KindReversal:
		s.reverse(req, ans, w)
		return
	case req.Kind.Batch():
		s.settleBatch(req, ans, w)
		return
	case s.recollected(req, ans): // whatever batch its terminal is in
		s.slots.forget(&req.Key, txn.Approved) // the next copy finds its answer in the archive too
		return
	case s.stopped.Load():
		s.turnAway(req, ans, txn.DiskIsNearlyFull)
		return
	}
	if s.misplaced(req) {
		s.turnAway(req, ans, txn.BatchIsNotCurrent)
		return
	}
	reason := s.assess(req).Reason
	failpoint.Hit(failpoint.Reserved)
	rec := s.describe(req, ans, w)
	if reason == txn.Approved && req.Kind.Limits() == txn.Debit {
		rec.Held = txn.Debit
	}
	if reason == txn.Approved && req.Kind.Forwarded() && req.Kind.NamesOriginal() {
		reason = s.claimOriginal(req, w)
		s.relate(req, w)
	}
	if reason != txn.Approved || !req.Kind.Forwarded() {
		s.local(req, ans, w, reason)
		return
	}
	rec.Data = dialect.AppendOriginal(w.about[:0], req)
	if req.Kind.Remedy() == txn.Repeat {
		w.keepTold(req)
	}
	w.leg, reason = s.issuers.Begin(req)
	leg := &w.leg
	switch {
	case reason == txn.IssuerIsUnavailable && s.standIn(req, ans, w, leg.Issuer):
		return
	case reason != txn.Approved:
		s.local(req, ans, w, reason)
		return
	}
	rec.Leg = *leg
	ans.Issuer = leg.Issuer
	if guarded(req) && len(req.PINBlock) > 0 {
		if reason := s.translatePIN(req, leg.Issuer); reason != txn.Approved {
			s.issuers.Cancel(leg)
			rec.Leg = txn.Leg{}
			s.local(req, ans, w, reason)
			return
		}
	}
	s.cards.Seal(&rec.SealedPAN, &req.PAN, req.ID)

	// The issuer's link keeps the frame back until this record is durable. From
	// then on a crash finds an open intent and makes it an unknown outcome.
	rec.Kind = txn.RecordIntent
	w.buf = rec.Append(w.buf[:0])
	intent, err := s.journal.Queue(w.buf)
	if err != nil {
		s.issuers.Cancel(leg)
		if errors.Is(err, journal.ErrFull) { // certainly not written: the disk is behind
			rec.Kind = 0
			s.postpone(req, ans, w, txn.SwitchIsOverloaded)
			return
		}
		s.fail(req, ans, err)
		return
	}
	s.starts.saw(rec.Day, intent)
	outcome, reason := s.exchange(req, leg, ans, intent)
	s.conclude(req, ans, w, outcome, reason)
}

// keepTold has the record keep what its issuer is to be told again.
func (w *work) keepTold(req *txn.Request) {
	w.told = dialect.AppendTold(w.told[:0], req)
	w.rec.Told = w.told
}

// exchange asks the issuer. The request keeps its place at the gate until its intent
// is durable and it is with its link: from then on it waits for its issuer, not for us.
func (s *Switch) exchange(req *txn.Request, leg *txn.Leg, ans *txn.Answer, intent journal.Position) (txn.Outcome, txn.Reason) {
	defer s.gate.enter() // also after a panic
	return s.issuers.Exchange(req, leg, ans.RRN, intent, s.leaveGate, &ans.Reply)
}

// local answers req without an issuer: for good, or, where postponed says so, only
// for now.
func (s *Switch) local(req *txn.Request, ans *txn.Answer, w *work, reason txn.Reason) {
	if postponed(req.Kind, reason) {
		s.postpone(req, ans, w, reason)
		return
	}
	s.conclude(req, ans, w, txn.OutcomeLocal, reason)
}

// postponed says that a request of this kind, refused for this reason, should be sent
// again under its number: it tells a fact or is a refund, and what is wrong is the
// moment, or us. The refusal must not be remembered: nobody was asked and nothing is
// recorded, so the next copy is decided as if it were the first.
func postponed(k txn.Kind, reason txn.Reason) bool {
	if k.Remedy() != txn.Repeat {
		return false
	}
	switch reason {
	case txn.IssuerIsUnavailable, txn.IssuerIsBusy, txn.OriginalIsBusy, txn.RecordsAreUnavailable, txn.PINCannotBeTranslated, txn.SwitchFailed:
		return true
	}
	return false
}

// postpone refuses req and gives everything back: it changed nothing.
func (s *Switch) postpone(req *txn.Request, ans *txn.Answer, w *work, reason txn.Reason) {
	if w.rec.Held == txn.Debit {
		s.risk.Release(w.rec.Hold())
	}
	s.turnAway(req, ans, reason)
}

// rescue keeps a bug that one request triggers from taking the process down:
// what may have reached an issuer becomes an unknown outcome, anything else is
// as if it had never come. After a panic while an outcome is being recorded
// nobody knows what is durable: Run fails, and the next start decides.
func (s *Switch) rescue(req *txn.Request, ans *txn.Answer, w *work) {
	cause := recover()
	if cause == nil {
		return
	}
	s.log.Error("a request made the switch panic", "id", req.ID, "kind", req.Kind.String(), "cause", fmt.Sprintf("%T", cause), "stack", string(debug.Stack()))
	switch w.rec.Kind {
	case txn.RecordIntent:
		s.conclude(req, ans, w, txn.OutcomeUnknown, txn.SwitchFailed)
	case txn.RecordOutcome, txn.RecordReversalDue:
		err := fmt.Errorf("panic while %s was being recorded", req.Key)
		s.fail(req, ans, err)
		select {
		case s.broken <- err:
		default: // Run has been told already
		}
	default:
		if w.rec.Leg.STAN != 0 {
			s.issuers.Cancel(&w.rec.Leg)
		}
		if w.rec.Held == txn.Debit {
			s.risk.Release(w.rec.Hold())
		}
		s.slots.forget(&req.Key, txn.Approved)
		s.hush(req, ans, txn.SwitchFailed)
	}
}

// conclude makes the outcome durable, settles the hold and fills the answer.
func (s *Switch) conclude(req *txn.Request, ans *txn.Answer, w *work, outcome txn.Outcome, reason txn.Reason) {
	rec := &w.rec
	sent := outcome == txn.OutcomeUnknown && rec.Request != txn.KindStandIn
	if (outcome == txn.OutcomeUnknown || outcome == txn.OutcomeNotSent) && rec.Request.Remedy() == txn.Repeat {
		// It has happened at the terminal, or is a refund that its original permits:
		// the terminal is told yes, and we go on telling the issuer until it takes
		// note. A terminal that heard no would not count what the card is given, and
		// one that repeats until it hears yes would hear that no for ever.
		outcome, reason = txn.OutcomeUnknown, txn.Approved
	}
	ans.Reason = reason
	ans.Code = dialect.Code(req.Dialect, reason, ans.Reply.Code)
	if ans.Reply.SettlementDate == ([4]byte{}) {
		ans.Reply.SettlementDate = settlementDate(req.Day) // the issuer named none: ours
	}
	rec.At = time.Now()
	if rec.Kind == txn.RecordIntent {
		req.Trace[txn.StageForwarded] = rec.At.Sub(req.Received)
	}
	rec.Kind, rec.Took = txn.RecordOutcome, req.Trace.Micros()
	rec.Outcome, rec.Reason, rec.Code = outcome, reason, ans.Code
	rec.IssuerCode, rec.AuthCode, rec.SettlementDate = ans.Reply.Code, ans.Reply.AuthCode, ans.Reply.SettlementDate
	rec.Balance, rec.Chip, rec.IssuerData = ans.Reply.Balance, ans.Reply.Chip, ans.Reply.IssuerData
	hold, reserved := rec.Hold(), rec.Held == txn.Debit
	switch {
	case outcome == txn.OutcomeApproved && w.gives:
		rec.Held = txn.Credit
	case outcome != txn.OutcomeApproved && outcome != txn.OutcomeUnknown:
		rec.Held = txn.NoEffect
	}

	// Until this append returns the terminal has heard nothing. A crash before
	// it leaves an open intent (reversed at start); after it, this answer.
	position, err := s.append(w)
	if err != nil {
		s.fail(req, ans, err)
		return
	}
	failpoint.Hit(failpoint.Decided)
	switch {
	case rec.Held == txn.Debit:
		s.risk.Confirm(hold)
	case reserved:
		s.risk.Release(hold)
	case rec.Held == txn.Credit:
		s.risk.Undo(hold)
	}
	s.originals.learn(rec)
	s.risk.Learn(rec)
	state := stateOf(rec)
	if rec.Owes() { // the use of limits stands until the reversal is acknowledged
		s.reversals.add(rec, position, false, sent)
	}
	s.slots.decide(&req.Key, position, state)
	req.Trace.Mark(txn.StageRecorded, req.Received)
}

// stateOf is the slot state that an outcome leaves.
func stateOf(rec *txn.Record) slotState {
	switch {
	case rec.Request == txn.KindStandIn:
		return slotApproved
	case rec.Request.Remedy() != txn.Reverse: // a reversal does not concern it
	case rec.Owes():
		return slotUndone
	case rec.Outcome == txn.OutcomeApproved:
		return slotApproved
	}
	return slotDecided
}

// describe starts the record of req, which was assessed, in w.rec, which is zero. It
// sets field by field: a composite literal would be built on the stack and copied.
func (s *Switch) describe(req *txn.Request, ans *txn.Answer, w *work) *txn.Record {
	rec := &w.rec
	rec.At = req.Received.Add(req.Trace[txn.StageAssessed])
	rec.ID, rec.Key, rec.Fingerprint = req.ID, req.Key, req.Fingerprint
	rec.Request, rec.Dialect, rec.Entry, rec.MTI = req.Kind, req.Dialect, req.Entry, req.MTI
	rec.ProcessingCode, rec.Condition = req.ProcessingCode, req.Condition
	rec.Merchant, rec.Amount, rec.Day, rec.Card = req.Merchant, req.Amount, req.Day, req.CardToken
	rec.RRN, rec.Time, rec.Date = ans.RRN, ans.Time, ans.Date
	if req.Acceptor != nil {
		rec.MCC, rec.Identity = req.Acceptor.MCC, req.Acceptor.Identity
	}
	if req.Terminal != nil {
		rec.Region = req.Terminal.Region
	}
	rec.Serial, rec.Lat, rec.Lng = req.Info.Serial.Bytes(), req.Info.Position.Lat, req.Info.Position.Lng
	rec.CardType, rec.PIN, rec.Method, rec.Findings = req.CardType, len(req.PINBlock) > 0, req.Method(), req.Findings
	req.PAN.AppendMasked(rec.Masked[:0])
	return rec
}

// relate adds to the record what claimOriginal found out. A request that carried no card
// has its original's by now: what was reserved without a card is moved to that card.
func (s *Switch) relate(req *txn.Request, w *work) {
	rec := &w.rec
	rec.Original, rec.OriginalKey = w.original, w.originalKey
	if w.gives { // back where it was counted, which may have been paid in another way
		rec.Method, rec.CardType, rec.Identity = w.given.Method, w.given.CardType, w.given.Identity
	}
	if rec.Card == req.CardToken {
		return
	}
	nobodys := rec.Hold()
	rec.Card, rec.CardType = req.CardToken, req.CardType
	req.PAN.AppendMasked(rec.Masked[:0])
	if rec.Held == txn.Debit {
		s.risk.Restore(rec.Hold())
		s.risk.Undo(nobodys)
	}
}

// append writes w's record, and waits for its place while the journal's queue is
// full.
func (s *Switch) append(w *work) (journal.Position, error) {
	w.buf = w.rec.Append(w.buf[:0])
	for {
		pos, err := s.commit(&w.rec, w.buf, w.ordered)
		if err == nil {
			s.starts.saw(w.rec.Day, pos)
		}
		if !errors.Is(err, journal.ErrFull) {
			return pos, err
		}
	}
}

// wait is whether done was closed before the deadline.
func wait(done <-chan struct{}, deadline time.Time) bool {
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
