package settlement

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// history is one pass over the journal: the rules that the journal must keep
// by itself, and what the ledger and the live switch are held against.
type history struct {
	report  *Report
	journal Journal
	seed    maphash.Seed
	buf     []byte

	digests []uint64          // of what the ledger keeps, by position - first; 0: nothing
	seen    []bool            // by position - first: the ledger has it
	found   map[uint64]uint64 // digests of findings, by position
	txns    map[txn.ID]lifecycle
	rrns    map[rrnOfDay]txn.ID
	keys    map[keyOfDay]answer
	batches *batch.Book
	early   usage // up to the ledger's position
	late    usage // after it

	archived map[txn.Date]ledger.ArchivedDay // whose rows the ledger does not have

	// Of a truncated journal: the last business day of which it lacks records,
	// and until when outcomes may follow whose intent it lacks. Else zero.
	truncatedDay txn.Date
	strayUntil   time.Time
}

// strayMax is longer than any request waits for its outcome.
const strayMax = 10 * time.Minute

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

type rrnOfDay struct {
	day txn.Date
	rrn [12]byte
}

type keyOfDay struct {
	day txn.Date
	key txn.Key
}

type answer struct {
	id          txn.ID
	fingerprint uint64
	digest      uint64 // of what the terminal was told
}

type usage map[txn.Date]map[ledger.Party]ledger.Use

func newHistory(ctx context.Context, r *Report, j Journal, s *ledger.Snapshot) (_ *history, err error) {
	h := &history{report: r, journal: j, seed: maphash.MakeSeed(), found: map[uint64]uint64{}, txns: map[txn.ID]lifecycle{},
		rrns: map[rrnOfDay]txn.ID{}, keys: map[keyOfDay]answer{}, batches: batch.NewBook(), early: usage{}, late: usage{}}
	r.JournalFirst = uint64(j.First())
	r.JournalLast = r.JournalFirst - 1
	if r.JournalFirst > 1 {
		if h.truncatedDay, err = s.LastDayBefore(ctx, r.JournalFirst); err != nil {
			return nil, err
		}
	}
	days, err := s.Archived(ctx, 0, dateMax)
	if err != nil {
		return nil, err
	}
	h.archived = make(map[txn.Date]ledger.ArchivedDay, len(days))
	for _, d := range days {
		h.archived[d.Day] = d
	}
	return h, h.read(ctx)
}

// dateMax is after every business day.
const dateMax txn.Date = 99991231

// inFiles says that the row of a record was archived, so that the ledger need not
// have it.
func (h *history) inFiles(day txn.Date, pos uint64) bool {
	d, is := h.archived[day]
	return is && pos >= d.First && pos <= d.Last
}

func (h *history) read(ctx context.Context) error {
	r := h.report
	var rec txn.Record
	err := h.journal.Scan(journal.Position(r.JournalFirst), func(at journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("decode journal record %d: %w", at, err)
		}
		pos := uint64(at)
		r.JournalLast = pos
		if pos == r.JournalFirst && pos > 1 {
			h.strayUntil = rec.At.Add(strayMax)
		}
		h.digests = append(h.digests, 0)
		if rec.Kind != txn.RecordIntent && !h.inFiles(rec.Day, pos) {
			h.digests[len(h.digests)-1] = h.digest(ledger.Kept(rec))
		}
		if fs := ledger.FindingsOf(pos, &rec); len(fs) > 0 {
			h.found[pos] = h.digestOf(fs)
		}
		h.add(pos, &rec)
		h.batch(pos, &rec)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	h.seen = make([]bool, len(h.digests))
	return h.findOpen(ctx)
}

// digestOf is of the findings of one request.
func (h *history) digestOf(fs []ledger.Finding) (d uint64) {
	for _, f := range fs {
		d = bits.RotateLeft64(d, 7) ^ maphash.Comparable(h.seed, f)
	}
	return d
}

// add takes the next record into account.
func (h *history) add(pos uint64, rec *txn.Record) {
	r := h.report
	switch rec.Kind {
	case txn.RecordIntent:
		r.Intents++
		h.intent(pos, rec)
	case txn.RecordOutcome:
		r.Outcomes++
		h.outcome(pos, rec)
		h.answered(rec)
	case txn.RecordReversalDue:
		r.ReversalsDue++
		h.reversalDue(pos, rec)
		if rec.Key != (txn.Key{}) { // a terminal asked for it and got this answer
			h.answered(rec)
		}
	case txn.RecordReversalDone:
		r.ReversalsDone++
		h.reversalDone(pos, rec)
	case txn.RecordAdviceDone:
		r.AdvicesDone++
		h.adviceDone(pos, rec)
	case txn.RecordParked, txn.RecordReleased:
		h.parked(pos, rec)
	case txn.RecordLate:
		r.LateAnswers++
	default:
		r.broken(RuleOutcome, 0, "the journal's record %d is of unknown kind %d", pos, rec.Kind)
	}
}

// batch holds a settlement against the transactions before it, and takes every
// record into its batch.
func (h *history) batch(pos uint64, rec *txn.Record) {
	r := h.report
	var f txn.BatchFact
	if rec.Kind == txn.RecordOutcome && rec.Request.Batch() && len(rec.Data) > 0 && f.Unmarshal(rec.Data) == nil && !h.maybeCut(f.Opened) {
		r.check(RuleBatch).Checked++
		if ours := h.batches.Totals(rec.Key.Terminal, rec.Key.Batch, rec.Day); ours != f.Ours {
			r.broken(RuleBatch, rec.ID, "the %s at %d says the batch has %s, the transactions before it are %s", f.Step, pos, totals(f.Ours), totals(ours))
		}
		theirs := f.Theirs[0].Plus(f.Theirs[1])
		if even := f.Result == [2]txn.Comparison{txn.Even, txn.Even}; f.Step == txn.StepSettle && f.Result[0] != txn.NotComparable && even != (theirs == f.Ours) {
			r.broken(RuleBatch, rec.ID, "the settlement at %d was told %s of %s and %s", pos, f.Result[0], totals(theirs), totals(f.Ours))
		}
	}
	if err := h.batches.Apply(rec, pos); err != nil {
		r.broken(RuleBatch, rec.ID, "the fact at %d cannot be read: %v", pos, err)
	}
}

func totals(t txn.Totals) string {
	return fmt.Sprintf("%d debits of %d and %d credits of %d", t.Debit.Count, t.Debit.Minor, t.Credit.Count, t.Credit.Minor)
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

// cutOff says that the journal may lack the outcome that rec is about.
func (h *history) cutOff(t *lifecycle, rec *txn.Record) bool {
	return t.outcome == 0 && rec.Day <= h.truncatedDay
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

// maybeCut says that the journal may lack transactions of a batch opened then.
func (h *history) maybeCut(opened txn.Date) bool {
	return h.truncatedDay != 0 && opened <= h.truncatedDay
}

// answered holds a decided request against the others of its day.
func (h *history) answered(rec *txn.Record) {
	r := h.report
	if rec.RRN != ([12]byte{}) {
		r.check(RuleRRN).Checked++
		k := rrnOfDay{rec.Day, rec.RRN}
		if other, ok := h.rrns[k]; ok && other != rec.ID {
			r.broken(RuleRRN, rec.ID, "RRN %s of %s is also that of transaction %s", trimmed(rec.RRN[:]), rec.Day, other)
		}
		h.rrns[k] = rec.ID
	}
	r.check(RuleKey).Checked++
	k := keyOfDay{rec.Day, rec.Key}
	told := answer{rec.ID, rec.Fingerprint, h.digest(txn.Record{RRN: rec.RRN, AuthCode: rec.AuthCode, Code: rec.Code})}
	switch other, ok := h.keys[k]; {
	case !ok:
		h.keys[k] = told
	case other.id == rec.ID: // RuleOutcome told of it
	case other.fingerprint != told.fingerprint:
		r.broken(RuleKey, rec.ID, "the key of %s is also that of transaction %s, which asked for something else", rec.Day, other.id)
	case other.digest != told.digest:
		r.broken(RuleKey, rec.ID, "transaction %d of %s was the same request and was told something else", other.id, rec.Day)
	default:
		r.broken(RuleKey, rec.ID, "transaction %d of %s was the same request", other.id, rec.Day)
	}
}

// use counts a hold, or takes it back, where the ledger will see it.
func (h *history) use(pos uint64, hold txn.Hold, sign int64) {
	if sign == 0 {
		return
	}
	u := h.early
	if pos > h.report.LedgerPosition {
		u = h.late
	}
	if u[hold.Day] == nil {
		u[hold.Day] = map[ledger.Party]ledger.Use{}
	}
	count := sign
	if hold.Part {
		count = 0
	}
	for p := range ledger.Parties(hold) {
		v := u[hold.Day][p]
		u[hold.Day][p] = ledger.Use{Minor: v.Minor + sign*hold.Minor, Count: v.Count + count}
	}
}

// usageAt is the use of limits after the records up to the ledger's position
// or, for any later one, after all. The caller may take it apart.
func (h *history) usageAt(position uint64) usage {
	sum := usage{}
	parts := []usage{h.early}
	if position > h.report.LedgerPosition {
		parts = append(parts, h.late)
	}
	for _, part := range parts {
		for day, uses := range part {
			if sum[day] == nil {
				sum[day] = make(map[ledger.Party]ledger.Use, len(uses))
			}
			for p, u := range uses {
				v := sum[day][p]
				sum[day][p] = ledger.Use{Minor: v.Minor + u.Minor, Count: v.Count + u.Count}
			}
		}
	}
	for _, uses := range sum {
		for p, u := range uses {
			if u == (ledger.Use{}) {
				delete(uses, p)
			}
		}
	}
	return sum
}

func (l lifecycle) open() bool { return l.intent != 0 && l.outcome == 0 }

// owedAt says that after the records up to pos something is owed.
func (l lifecycle) owedAt(pos uint64) bool {
	return slices.ContainsFunc(l.debts, func(d debt) bool { return d.open(pos) })
}

// findOpen counts what is not finished and lists the first of it.
func (h *history) findOpen(ctx context.Context) error {
	r := h.report
	list := map[txn.ID]bool{}
	for id, t := range h.txns {
		switch {
		case t.open():
			r.OpenCount++
		case t.owedAt(r.JournalLast):
			if r.OwedCount++; t.oldest() != nil && t.oldest().parked {
				r.ParkedCount++
			}
		default:
			continue
		}
		if len(list) < 2*openMax {
			list[id] = true
		}
	}
	if len(list) == 0 {
		return nil
	}
	var rec txn.Record
	return h.journal.Scan(journal.Position(r.JournalFirst), func(at journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("decode journal record %d: %w", at, err)
		}
		id := subjectID(&rec)
		if !list[id] {
			return ctx.Err()
		}
		o := Open{id, uint64(at), rec.At, describe(uint64(at), &rec)}
		t := h.txns[id]
		switch d := t.oldest(); {
		case uint64(at) == t.intent:
			if t.open() && len(r.OpenRequests) < openMax {
				r.OpenRequests = append(r.OpenRequests, o)
			}
		case d != nil && uint64(at) == d.due && len(r.OpenReversals) < openMax:
			r.OpenReversals = append(r.OpenReversals, o)
			delete(list, id)
		}
		return ctx.Err()
	})
}

// copied is what the ledger's row is to the journal.
func (h *history) copied(e ledger.Entry) copyState {
	i := e.Pos - h.report.JournalFirst
	switch {
	case i >= uint64(len(h.digests)) || h.digests[i] == 0:
		return copyUnknown
	case h.seen[i]:
		return copyTwice
	}
	h.seen[i] = true
	if h.digests[i] != h.digest(*e.Rec) {
		return copyDiffers
	}
	return copyEqual
}

type copyState uint8

const (
	copyEqual copyState = iota
	copyDiffers
	copyTwice
	copyUnknown
)

// missing calls fn for the records up to pos that the ledger has not shown.
func (h *history) missing(ctx context.Context, pos uint64, fn func(pos uint64, rec *txn.Record)) error {
	first := h.report.JournalFirst
	lacks := func(pos uint64) bool { return h.digests[pos-first] != 0 && !h.seen[pos-first] }
	for p := first; p <= min(pos, h.report.JournalLast); p++ {
		if !lacks(p) {
			continue
		}
		var rec txn.Record
		return h.journal.Scan(journal.Position(p), func(at journal.Position, b []byte) error {
			if uint64(at) <= min(pos, h.report.JournalLast) && lacks(uint64(at)) {
				if err := rec.Unmarshal(b); err != nil {
					return fmt.Errorf("decode journal record %d: %w", at, err)
				}
				fn(uint64(at), &rec)
			}
			return ctx.Err()
		})
	}
	return nil
}

// digest is never 0.
func (h *history) digest(rec txn.Record) uint64 {
	h.buf = rec.Append(h.buf[:0])
	return maphash.Bytes(h.seed, h.buf) | 1
}
