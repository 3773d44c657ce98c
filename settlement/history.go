package settlement

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/bits"
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
		if fs := ledger.FindingsOf(pos, &rec); len(fs) > 0 && !h.inFiles(rec.Day, pos) {
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
		if even := f.Result == [2]txn.Comparison{txn.Even, txn.Even}; f.Step == txn.StepSettle && f.Result[0] != txn.NotComparable &&
			even != h.batches.Agrees(rec.Key.Terminal, rec.Key.Batch, rec.Day, theirs) {
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
			r.broken(RuleRRN, rec.ID, "RRN %s of %s is also that of transaction %s", printable(rec.RRN[:]), rec.Day, other)
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
