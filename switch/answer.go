package acquirer

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// replay tells the answer that an equal request got before.
func (s *Switch) replay(req *txn.Request, ans *txn.Answer, w *work, sl slot) {
	if sl.state.buried() {
		s.refuse(req, ans, txn.ReversedBeforeRequest)
		return
	}
	b, err := s.journal.Read(sl.position, w.buf[:0])
	if err != nil {
		s.fail(req, ans, fmt.Errorf("read the stored answer of %s: %w", req.Key, err))
		return
	}
	w.buf = b[:0]
	rec := &w.rec
	if err := rec.Unmarshal(b); err != nil {
		s.fail(req, ans, fmt.Errorf("read the stored answer of %s at %d: %w", req.Key, sl.position, err))
		return
	}
	recite(ans, rec)
	s.showCard(req, rec)
	if rec.Kind == txn.RecordReversalDue {
		return
	}
	if err := s.retell(ans, w); err != nil {
		s.fail(req, ans, fmt.Errorf("read the stored answer of %s at %d: %w", req.Key, sl.position, err))
		return
	}
	// The approval was taken back meanwhile because the terminal could not be
	// told of it: it must not hear yes now.
	if sl.state == slotUndone && rec.Reason == txn.Approved {
		s.refuse(req, ans, txn.AnswerWasNotDelivered)
		return
	}
	if sl.state == slotApproved {
		s.slots.told(&req.Key)
	}
}

// recite fills the answer with what rec says that its terminal was told.
func recite(ans *txn.Answer, rec *txn.Record) {
	ans.Replayed = true
	ans.ID, ans.Reason, ans.Code = rec.ID, rec.Reason, rec.Code
	ans.RRN, ans.Time, ans.Date = rec.RRN, rec.Time, rec.Date
	ans.Reply.SettlementDate = rec.SettlementDate
	if rec.Kind == txn.RecordReversalDue {
		return // leg and authorization code in it are the original's
	}
	ans.Issuer = rec.Leg.Issuer
	ans.Reply.Code, ans.Reply.AuthCode = rec.IssuerCode, rec.AuthCode
	ans.Reply.Balance = append(ans.Reply.Balance[:0], rec.Balance...)
	ans.Reply.Chip = append(ans.Reply.Chip[:0], rec.Chip...)
	ans.Reply.IssuerData = append(ans.Reply.IssuerData[:0], rec.IssuerData...)
}

// showCard gives a request that names no card the one that rec, its own record, is
// about, for its answer. A card's seal is bound to the transaction that was made with it:
// of a reversal, its original.
func (s *Switch) showCard(req *txn.Request, rec *txn.Record) {
	if !req.PAN.IsZero() || rec.SealedPAN == ([txn.SealedPANSize]byte{}) {
		return
	}
	made := rec.ID
	if rec.Request == txn.KindReversal {
		made = rec.Original
	}
	pan, err := s.cards.Open(&rec.SealedPAN, made)
	if err != nil { // the answer is as right without it
		s.log.Error("a card number cannot be opened", "id", made, "error", err)
		return
	}
	req.PAN = pan
}

// refuse answers without a record: the request changed nothing.
func (s *Switch) refuse(req *txn.Request, ans *txn.Answer, reason txn.Reason) {
	ans.Reply.Reset()
	ans.Reason = reason
	ans.Code = dialect.Code(req.Dialect, reason, ans.Reply.Code)
}

// turnAway is refuse for a request whose key is claimed, and leaves that free: the
// same request may come again and be decided.
func (s *Switch) turnAway(req *txn.Request, ans *txn.Answer, reason txn.Reason) {
	s.slots.forget(&req.Key, reason)
	s.refuse(req, ans, reason)
}

// hush refuses what could not be decided. A reversal gets no answer at all: with any
// answer its terminal would forget it, and without one it sends it again.
func (s *Switch) hush(req *txn.Request, ans *txn.Answer, reason txn.Reason) {
	s.refuse(req, ans, reason)
	ans.Silent = req.Kind == txn.KindReversal
}

// fail is for our own trouble: nobody knows what is durable, so nobody is told
// anything. The journal has closed itself and ends the process.
func (s *Switch) fail(req *txn.Request, ans *txn.Answer, err error) {
	s.log.Error("transaction cannot be recorded", "id", req.ID, "terminal", req.Key.Terminal.String(), "error", err)
	ans.Reason, ans.Silent = txn.JournalIsUnavailable, true
}
