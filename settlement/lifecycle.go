package settlement

import (
	"slices"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// lifecycle is what the journal says of one transaction. Positions are 0 for no such
// record.
type lifecycle struct {
	intent, outcome uint64
	digest          uint64 // of the intent's request and leg
	state           txn.Outcome
	held            txn.Effect // by its outcome
	standIn         bool       // approved in the issuer's place
	noted           bool       // and taken note of behind the reversal that replaced the advice
	debts           []debt     // in order
}

// debt is something that an issuer is owed: from the record at due, an outcome or a
// reversal due, to the one at done.
type debt struct {
	due, done   uint64
	gone, stays int64 // of the transaction's amount: before and after a reversal
	parked      bool
}

func (d *debt) open(pos uint64) bool { return d.due <= pos && (d.done == 0 || d.done > pos) }

// oldest is the debt to be done next, nil for none.
func (l *lifecycle) oldest() *debt {
	for i := range l.debts {
		if l.debts[i].done == 0 {
			return &l.debts[i]
		}
	}
	return nil
}

func (l lifecycle) open() bool { return l.intent != 0 && l.outcome == 0 }

// owedAt says that after the records up to pos something is owed.
func (l lifecycle) owedAt(pos uint64) bool {
	return slices.ContainsFunc(l.debts, func(d debt) bool { return d.open(pos) })
}

func (h *history) intent(pos uint64, rec *txn.Record) {
	t := h.txns[rec.ID]
	if t.intent != 0 {
		h.report.broken(RuleIntent, rec.ID, "the intent of position %d is repeated at %d", t.intent, pos)
	}
	if t.outcome != 0 {
		h.report.broken(RuleIntent, rec.ID, "the intent of position %d comes after the outcome at %d", pos, t.outcome)
	}
	t.intent, t.digest, t.held = pos, h.digest(shared(rec)), rec.Held
	h.txns[rec.ID] = t
}

// shared is the part of a record that an intent and its outcome share.
func shared(rec *txn.Record) txn.Record {
	return txn.Record{ID: rec.ID, Key: rec.Key, Fingerprint: rec.Fingerprint, Request: rec.Request,
		Merchant: rec.Merchant, Amount: rec.Amount, Day: rec.Day, Card: rec.Card, Leg: rec.Leg}
}

func (h *history) outcome(pos uint64, rec *txn.Record) {
	r := h.report
	t := h.txns[rec.ID]
	r.check(RuleOutcome).Checked++
	if t.outcome != 0 {
		r.broken(RuleOutcome, rec.ID, "the outcome of position %d is followed by another at %d", t.outcome, pos)
		return
	}
	if rec.Outcome == txn.OutcomeLocal && rec.Reason == txn.Approved && rec.Request.MovesMoney() {
		r.broken(RuleOutcome, rec.ID, "a %s was approved at %d without an issuer", rec.Request, pos)
	}
	told := rec.Outcome == txn.OutcomeApproved || rec.Outcome == txn.OutcomeUnknown && rec.Request.Remedy() == txn.Repeat
	if told != (rec.Reason == txn.Approved) && rec.Outcome != txn.OutcomeLocal {
		r.broken(RuleOutcome, rec.ID, "the issuer's answer at %d was %q and the terminal was told %q", pos, rec.Outcome, rec.Reason)
	}
	if rec.Outcome != txn.OutcomeLocal && rec.Request != txn.KindStandIn { // nothing was sent for that
		r.check(RuleIntent).Checked++
		switch {
		case t.intent == 0 && rec.At.Before(h.strayUntil):
		case t.intent == 0:
			r.broken(RuleIntent, rec.ID, "the outcome of position %d has no intent before it", pos)
		case t.digest != h.digest(shared(rec)):
			r.broken(RuleIntent, rec.ID, "the outcome of position %d is of another request than the intent at %d", pos, t.intent)
		}
	}
	r.check(RuleHold).Checked++
	if !mayHold(rec) {
		r.broken(RuleHold, rec.ID, "the %s %s at %d holds limits: %d", rec.Outcome, rec.Request, pos, rec.Held)
	}
	h.use(pos, rec.Hold(), int64(rec.Held))
	t.outcome, t.state, t.held, t.standIn = pos, rec.Outcome, rec.Held, rec.Request == txn.KindStandIn
	if rec.Owes() {
		r.check(RuleReversal).Checked++
		t.debts = append(t.debts, debt{due: pos})
	}
	h.txns[rec.ID] = t
}

// mayHold says that an outcome does to the limits what its kind may. Whether a
// void gives something back depends on the day and terminal of its original.
func mayHold(rec *txn.Record) bool {
	limits := rec.Request.Limits()
	switch rec.Outcome {
	case txn.OutcomeApproved:
		return rec.Held == limits || limits == txn.Credit && rec.Held == txn.NoEffect
	case txn.OutcomeUnknown:
		return rec.Held == max(limits, txn.NoEffect)
	}
	return rec.Held == txn.NoEffect
}

func (h *history) reversalDue(pos uint64, rec *txn.Record) {
	r := h.report
	r.check(RuleReversal).Checked++
	t := h.txns[rec.Original]
	if t.standIn && len(t.debts) == 1 { // it is not told any more, if it was not
		if d := &t.debts[0]; d.done == 0 {
			d.done = pos
		}
	}
	switch {
	case h.cutOff(&t, rec):
	case t.outcome == 0 || t.state != txn.OutcomeApproved && !t.standIn:
		r.broken(RuleReversal, rec.Original, "a reversal is due at %d for what was not approved", pos)
	case t.standIn && len(t.debts) == 1:
	case len(t.debts) > 0 && t.debts[len(t.debts)-1].stays == 0:
		r.broken(RuleReversal, rec.Original, "the reversal due at %d is due again at %d", t.debts[0].due, pos)
		return
	default:
		var gone int64
		if n := len(t.debts); n > 0 {
			gone = rec.Amount.Minor - t.debts[n-1].stays
		}
		if rec.Gone != gone || rec.Stays < 0 || rec.Undoes() <= 0 {
			r.broken(RuleReversal, rec.Original, "the reversal due at %d takes %d of %d and leaves %d, %d were taken before", pos, rec.Undoes(), rec.Amount.Minor, rec.Stays, gone)
		}
	}
	t.debts = append(t.debts, debt{due: pos, gone: rec.Gone, stays: rec.Stays})
	h.txns[rec.Original] = t
}

func (h *history) reversalDone(pos uint64, rec *txn.Record) {
	r := h.report
	t := h.txns[rec.Original]
	d := t.oldest()
	switch {
	case h.cutOff(&t, rec): // that it was due may be cut off as well
		if i := slices.IndexFunc(t.debts, func(d debt) bool { return d.done == 0 && d.stays == rec.Stays }); i >= 0 {
			t.debts[i].done = pos
		}
		h.use(pos, rec.Hold(), int64(rec.Held)) // for its month
		return
	case d == nil && len(t.debts) > 0:
		r.broken(RuleReversal, rec.Original, "the reversal done at %d is done again at %d", t.debts[len(t.debts)-1].done, pos)
		return
	case d == nil:
		r.broken(RuleReversal, rec.Original, "a reversal is done at %d that nothing owed", pos)
		t.debts = append(t.debts, debt{due: pos, done: pos})
		h.txns[rec.Original] = t
	case t.standIn && d.due == t.outcome: // what it owes is an advice
		r.broken(RuleReversal, rec.Original, "a reversal is done at %d that nothing owed", pos)
	case rec.Gone != d.gone || rec.Stays != d.stays:
		r.broken(RuleReversal, rec.Original, "the reversal done at %d takes %d and leaves %d, the one due at %d left %d", pos, rec.Undoes(), rec.Stays, d.due, d.stays)
	}
	if t.outcome != 0 && rec.Held != -t.held {
		r.broken(RuleHold, rec.Original, "the reversal done at %d holds limits: %d, and what it undid %d", pos, rec.Held, t.held)
	}
	h.use(pos, rec.Hold(), int64(rec.Held))
	if d != nil {
		d.done = pos
	}
}

func (h *history) adviceDone(pos uint64, rec *txn.Record) {
	t := h.txns[rec.Original]
	if t.standIn && len(t.debts) > 1 && t.debts[0].done == t.debts[1].due && !t.noted { // it was being told meanwhile
		t.noted = true
		h.txns[rec.Original] = t
		return
	}
	d := t.oldest()
	switch {
	case h.cutOff(&t, rec):
		return
	case d == nil && len(t.debts) > 0:
		h.report.broken(RuleReversal, rec.Original, "the advice done at %d is done again at %d", t.debts[0].done, pos)
		return
	case d == nil || rec.Request.Remedy() != txn.Repeat:
		h.report.broken(RuleReversal, rec.Original, "an advice is done at %d that nothing owed", pos)
	}
	if d != nil {
		d.done = pos
	}
}

// parked holds that only what is owed is put aside, and taken up again.
func (h *history) parked(pos uint64, rec *txn.Record) {
	t := h.txns[rec.Original]
	d := t.oldest()
	parking := rec.Kind == txn.RecordParked
	switch {
	case h.cutOff(&t, rec):
	case d == nil:
		h.report.broken(RuleReversal, rec.Original, "the record at %d is %s, and nothing is owed", pos, rec.Kind)
	case d.parked == parking:
		h.report.broken(RuleReversal, rec.Original, "the record at %d is %s, and so was one before", pos, rec.Kind)
	}
	if d != nil {
		d.parked = parking
	}
}

// cutOff says that the journal may lack the outcome that rec is about.
func (h *history) cutOff(t *lifecycle, rec *txn.Record) bool {
	return t.outcome == 0 && rec.Day <= h.truncatedDay
}
