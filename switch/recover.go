package acquirer

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Recovery is what Recover found.
type Recovery struct {
	Records  int
	Open     int // intents without outcome, now unknown outcomes
	Owed     int // reversals to send
	Duration time.Duration
}

// Recover reads the journal once and rebuilds everything the switch keeps in
// memory: slots, limit use, numbers and the reversals owed. Every open intent
// becomes an Outcome{Unknown}, durable before Recover returns; a crash during
// recovery finds the same state or more of it decided. It must be called once,
// before the first Authorize, with the journal running.
func (s *Switch) Recover() (Recovery, error) {
	began := time.Now()
	var found Recovery
	open := map[txn.ID]txn.Record{}
	owed := map[txn.ID][]owedAt{}      // in the order in which it came to be owed
	legs := map[txn.IssuerID]txn.Leg{} // the last one of each issuer
	var rec, sealed txn.Record         // sealed is the last one with a card number
	var cut txn.Date                   // of a truncated journal: the last day of which it may lack records
	err := s.journal.Scan(s.journal.First(), func(pos journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("journal record %d: %w", pos, err)
		}
		if found.Records++; found.Records == 1 && pos > 1 {
			cut = s.cfg.Day.Of(rec.At) // older than the days that still bind anybody: see Floor
		}
		s.starts.saw(rec.Day, pos)
		s.numbers.seen(&rec)
		if err := s.batches.Apply(&rec, uint64(pos)); err != nil {
			return fmt.Errorf("journal record %d: %w", pos, err)
		}
		subject, key := rec.Subject()
		switch rec.Kind {
		case txn.RecordIntent:
			open[rec.ID] = detach(&rec)
			legs[rec.Leg.Issuer] = later(legs[rec.Leg.Issuer], rec.Leg)
			sealed = rec
		case txn.RecordOutcome:
			delete(open, rec.ID)
			s.restore(&rec, pos, rec.Day > cut)
			if rec.Owes() {
				owed[subject] = []owedAt{{detach(&rec), pos}}
			}
			if rec.Request == txn.KindStandIn { // it was numbered without an intent
				legs[rec.Leg.Issuer] = later(legs[rec.Leg.Issuer], rec.Leg)
				sealed = rec
			}
		case txn.RecordReversalDue:
			if rec.Key != (txn.Key{}) {
				s.slots.restore(&rec.Key, s.cfg.Day.Of(rec.At), slot{position: pos, id: rec.ID, fingerprint: rec.Fingerprint, state: slotDecided})
			}
			if rec.Stays == 0 {
				s.slots.undo(&key, false)
			}
			s.originals.learn(&rec)
			if about := owed[subject]; len(about) > 0 && untold(&about[0].rec) {
				owed[subject] = nil
			}
			owed[subject] = append(owed[subject], owedAt{detach(&rec), pos})
		case txn.RecordReversalDone, txn.RecordAdviceDone:
			if owed[subject] = owed[subject][min(1, len(owed[subject])):]; len(owed[subject]) == 0 {
				delete(owed, subject)
			}
			if rec.Day > cut {
				s.settle(&rec)
			} else {
				s.risk.Recall(rec.Hold(), rec.Held)
			}
			s.originals.learn(&rec)
		}
		return nil
	})
	if err != nil {
		return found, fmt.Errorf("recover: %w", err)
	}
	failpoint.Hit(failpoint.JournalRead)
	if err := s.opens(&sealed); err != nil {
		return found, fmt.Errorf("recover: %w", err)
	}
	for _, leg := range legs {
		s.issuers.Resume(leg)
	}
	found.Open = len(open)
	for _, rec := range open {
		rec.Kind, rec.At = txn.RecordOutcome, time.Now()
		rec.Outcome, rec.Reason = txn.OutcomeUnknown, txn.IssuerDidNotAnswer
		if rec.Request.Remedy() == txn.Repeat {
			rec.Reason = txn.Approved
		}
		rec.Code = dialect.Code(rec.Dialect, rec.Request, rec.Reason, rec.IssuerCode)
		if !rec.Owes() {
			rec.Held = txn.NoEffect
		}
		pos, err := s.commit(&rec, rec.Append(nil), false)
		if err != nil {
			return found, fmt.Errorf("recover: decide open request %s: %w", rec.ID, err)
		}
		failpoint.Hit(failpoint.OpenDecided)
		s.restore(&rec, pos, rec.Day > cut)
		if rec.Owes() {
			owed[rec.ID] = []owedAt{{rec, pos}}
		}
	}
	for _, about := range owed {
		for _, o := range about {
			if untold(&o.rec) {
				s.standIns.restore(&o.rec)
			}
			s.reversals.add(&o.rec, o.pos)
		}
	}
	failpoint.Hit(failpoint.Recovered)
	found.Owed = len(owed)
	found.Duration = time.Since(began)
	return found, nil
}

// later is the leg that was numbered later; the zero leg never is.
func later(a, b txn.Leg) txn.Leg {
	if a == (txn.Leg{}) || follows(b.STAN, a.STAN) {
		return b
	}
	return a
}

// follows is whether STAN a was given out after b: requests side by side are
// recorded in another order than they were numbered, and STANs wrap.
func follows(a, b uint32) bool { return (a+txn.STANMax-b)%txn.STANMax < txn.STANMax/2 }

// opens refuses card keys that are not the journal's: with others, repeats
// would not be known, card limits would begin anew, and no reversal could be
// built.
func (s *Switch) opens(rec *txn.Record) error {
	if rec.ID == 0 {
		return nil
	}
	pan, err := s.cards.Open(&rec.SealedPAN, rec.ID)
	if err == nil && s.cards.Token(&pan) != rec.Card {
		err = errors.New("the index key is another")
	}
	if err != nil {
		return fmt.Errorf("the card keys are not those of this journal, bring back the file it was written with: %w", err)
	}
	return nil
}

// owedAt is a record that owes a reversal and where it stands.
type owedAt struct {
	rec txn.Record
	pos journal.Position
}

// restore puts back what an outcome left in memory, its use of the day's limits
// if the day is whole in the journal.
func (s *Switch) restore(rec *txn.Record, pos journal.Position, whole bool) {
	switch {
	case !whole:
		s.risk.Recall(rec.Hold(), rec.Held)
	case rec.Held == txn.Debit:
		s.risk.Restore(rec.Hold())
	case rec.Held == txn.Credit:
		s.risk.Undo(rec.Hold())
	}
	s.originals.learn(rec)
	s.risk.Learn(rec)
	s.slots.restore(&rec.Key, rec.Day, slot{position: pos, id: rec.ID, fingerprint: rec.Fingerprint, state: stateOf(rec)})
	if rec.Request == txn.KindReversal && rec.Reason == txn.Approved && rec.Original == 0 {
		s.slots.bury(&rec.OriginalKey, rec.Day, rec.At, slot{position: pos, id: rec.ID})
	}
}

// detach copies rec away from the scan's buffer. What only an answer needs is
// left behind.
func detach(rec *txn.Record) txn.Record {
	r := *rec
	r.Balance, r.Chip, r.IssuerData = nil, nil, nil
	r.Serial, r.Data = bytes.Clone(rec.Serial), bytes.Clone(rec.Data) // an open intent's outcome repeats the serial; an advice tells what is in data
	return r
}
