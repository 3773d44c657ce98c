package acquirer

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Recovery is what Recover found.
type Recovery struct {
	Records  int
	Open     int       // intents without outcome, now unknown outcomes
	Owed     int       // reversals to send
	Newest   time.Time // when the last record was made
	Duration time.Duration
}

// Recover reads the journal once and rebuilds everything the switch keeps in
// memory: slots, limit use, numbers and the reversals owed. Every open intent
// becomes an Outcome{Unknown}, durable before Recover returns; a crash during
// recovery finds the same state or more of it decided. It must be called once,
// before the first Authorize, with the journal running.
func (s *Switch) Recover() (Recovery, error) {
	began := time.Now()
	s.tomorrow = s.cfg.Day.Of(began).After()
	r := recovering{s: s, open: map[txn.ID]txn.Record{}, owed: map[txn.ID][]owedAt{}, legs: map[txn.IssuerID]txn.Leg{}}
	if err := r.readJournal(); err != nil {
		return r.found, fmt.Errorf("recover: %w", err)
	}
	failpoint.Hit(failpoint.JournalRead)
	if err := s.opens(&r.sealed); err != nil {
		return r.found, fmt.Errorf("recover: %w", err)
	}
	for _, leg := range r.legs {
		s.issuers.Resume(leg)
	}
	r.found.Open = len(r.open)
	if err := r.decideOpen(); err != nil {
		return r.found, fmt.Errorf("recover: %w", err)
	}
	for _, about := range r.owed {
		for _, o := range about {
			if untold(&o.rec) {
				s.standIns.restore(&o.rec)
			}
			s.reversals.add(&o.rec, o.pos, o.parked, true)
		}
	}
	failpoint.Hit(failpoint.Recovered)
	r.found.Owed = len(r.owed)
	r.found.Duration = time.Since(began)
	return r.found, nil
}

// recovering is what Recover knows while it reads the journal.
type recovering struct {
	s      *Switch
	found  Recovery
	open   map[txn.ID]txn.Record    // intents without an outcome
	owed   map[txn.ID][]owedAt      // about one original, in the order in which it came to be owed
	legs   map[txn.IssuerID]txn.Leg // the last one of each issuer
	sealed txn.Record               // the last one with a card number
	cut    txn.Date                 // of a truncated journal: the last day of which it may lack records
}

func (r *recovering) readJournal() error {
	recount := newRecount(r.s)
	defer recount.end()
	return r.s.journal.Scan(r.s.journal.First(), func(pos journal.Position, b []byte) error {
		rec, err := recount.read(b)
		if err != nil {
			return fmt.Errorf("journal record %d: %w", pos, err)
		}
		if r.found.Records++; r.found.Records == 1 && pos > 1 {
			r.cut = r.s.cfg.Day.Of(rec.At) // older than the days that still bind anybody: see Floor
			recount.cut = r.cut
		}
		r.s.numbers.seen(rec)
		r.found.Newest = rec.At
		dated := rec
		if rec.Day > r.s.tomorrow {
			ahead := *rec
			ahead.Day, dated = r.s.tomorrow, &ahead
		}
		r.s.starts.saw(dated.Day, pos)
		if err := r.s.batches.Apply(dated, uint64(pos)); err != nil {
			return fmt.Errorf("journal record %d: %w", pos, err)
		}
		r.take(rec, pos)
		return nil
	})
}

// take does what the record at pos says.
func (r *recovering) take(rec *txn.Record, pos journal.Position) {
	subject, key := rec.Subject()
	switch rec.Kind {
	case txn.RecordIntent:
		r.open[rec.ID] = detach(rec)
		r.numbered(rec)
	case txn.RecordOutcome:
		delete(r.open, rec.ID)
		r.s.restore(rec, pos)
		if rec.Owes() {
			r.owed[subject] = []owedAt{{detach(rec), pos, false}}
		}
		if rec.Request == txn.KindStandIn { // it was numbered without an intent
			r.numbered(rec)
		}
	case txn.RecordParked, txn.RecordReleased:
		if about := r.owed[subject]; len(about) > 0 {
			about[0].parked = rec.Kind == txn.RecordParked
		}
	case txn.RecordReversalDue:
		if rec.Key != (txn.Key{}) {
			r.s.slots.restore(&rec.Key, min(r.s.cfg.Day.Of(rec.At), r.s.tomorrow), slot{position: pos, id: rec.ID, fingerprint: rec.Fingerprint, state: slotDecided})
		}
		if rec.Stays == 0 {
			r.s.slots.undo(&key, subject, false)
		}
		r.s.originals.learn(rec)
		if about := r.owed[subject]; len(about) > 0 && untold(&about[0].rec) {
			r.owed[subject] = nil
		}
		r.owed[subject] = append(r.owed[subject], owedAt{detach(rec), pos, false})
	case txn.RecordReversalDone, txn.RecordAdviceDone:
		// An advice that was being told when its reversal came to be owed is
		// done behind it, and is not that reversal.
		about := r.owed[subject]
		if len(about) > 0 && (rec.Kind == txn.RecordReversalDone || about[0].rec.Kind == txn.RecordOutcome) {
			about = about[1:]
		}
		if r.owed[subject] = about; len(about) == 0 {
			delete(r.owed, subject)
		}
		r.s.originals.learn(rec)
		r.s.refusedStandIn(rec)
	}
}

// numbered notes a record whose leg was given to an issuer.
func (r *recovering) numbered(rec *txn.Record) {
	r.legs[rec.Leg.Issuer] = later(r.legs[rec.Leg.Issuer], rec.Leg)
	r.sealed = *rec
}

// decideOpen makes an unknown outcome of each open intent.
func (r *recovering) decideOpen() error {
	s := r.s
	for _, rec := range r.open {
		rec.Kind, rec.At = txn.RecordOutcome, time.Now()
		rec.Outcome, rec.Reason = txn.OutcomeUnknown, txn.IssuerDidNotAnswer
		if rec.Request.Remedy() == txn.Repeat {
			rec.Reason = txn.Approved
		}
		rec.Code = dialect.Code(rec.Dialect, rec.Reason, rec.IssuerCode)
		if !rec.Owes() {
			rec.Held = txn.NoEffect
		}
		pos, err := s.commit(&rec, rec.Append(nil), false)
		if err != nil {
			return fmt.Errorf("decide open request %s: %w", rec.ID, err)
		}
		failpoint.Hit(failpoint.OpenDecided)
		s.restore(&rec, pos)
		s.recount(&rec, rec.Day > r.cut)
		if rec.Owes() {
			r.owed[rec.ID] = []owedAt{{rec, pos, false}}
		}
	}
	return nil
}

// later is the leg that was numbered later; the zero leg never is.
func later(a, b txn.Leg) txn.Leg {
	if a == (txn.Leg{}) || follows(uint64(b.STAN), uint64(a.STAN), txn.STANMax) {
		return b
	}
	return a
}

// opens refuses card keys that are not the ones the journal was written with. With
// others, repeats would not be recognised, card limits would begin anew, and no
// reversal could be built.
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
	rec    txn.Record
	pos    journal.Position
	parked bool
}

// restore puts back what an outcome left in memory, except in risk.
func (s *Switch) restore(rec *txn.Record, pos journal.Position) {
	s.originals.learn(rec)
	day := min(rec.Day, s.tomorrow)
	s.slots.restore(&rec.Key, day, slot{position: pos, id: rec.ID, fingerprint: rec.Fingerprint, state: stateOf(rec)})
	if rec.Request == txn.KindReversal && rec.Reason == txn.Approved && rec.Original == 0 {
		s.slots.bury(&rec.OriginalKey, day, rec.At, slotTombstoned, slot{position: pos, id: rec.ID})
	}
}

// recount has risk count a record again: its use of the day's limits only if the
// day is whole in the journal.
func (s *Switch) recount(rec *txn.Record, whole bool) {
	if rec.Day > s.tomorrow {
		return // its counters would take the place of those of a day that runs
	}
	switch rec.Kind {
	case txn.RecordOutcome:
		switch {
		case !whole:
			s.risk.Recall(rec.Hold(), rec.Held)
		case rec.Held == txn.Debit:
			s.risk.Restore(rec.Hold())
		case rec.Held == txn.Credit:
			s.risk.Undo(rec.Hold())
		}
		s.risk.Learn(rec)
	case txn.RecordReversalDone, txn.RecordAdviceDone:
		if whole {
			s.applyHold(rec)
		} else {
			s.risk.Recall(rec.Hold(), rec.Held)
		}
	}
}

// recount reads records for Recover and has risk count them on a goroutine of its own,
// since half of the time that a start takes is risk's.
type recount struct {
	cut     txn.Date // see Recover; set before the first page is full
	page    *page
	free    chan *page
	full    chan *page
	counted sync.WaitGroup
}

// page holds some records in order, and the bytes that they point to.
type page struct {
	recs  []txn.Record
	bytes []byte
}

// Pages in use, and the records of one. Four are 4 MB.
const (
	pagesMax    = 4
	pageRecords = 1024
)

func newRecount(s *Switch) *recount {
	r := &recount{free: make(chan *page, pagesMax), full: make(chan *page, pagesMax)}
	for range pagesMax {
		r.free <- &page{recs: make([]txn.Record, 0, pageRecords)}
	}
	r.counted.Go(func() {
		for p := range r.full {
			for i := range p.recs {
				s.recount(&p.recs[i], p.recs[i].Day > r.cut)
			}
			p.recs, p.bytes = p.recs[:0], p.bytes[:0]
			r.free <- p
		}
	})
	return r
}

// read decodes the next record. It is valid until the next one is read.
func (r *recount) read(b []byte) (*txn.Record, error) {
	if r.page != nil && len(r.page.recs) == pageRecords {
		r.full <- r.page
		r.page = nil
	}
	if r.page == nil {
		r.page = <-r.free
	}
	p := r.page
	at := len(p.bytes)
	p.bytes = append(p.bytes, b...) // records may point into the old array after it has grown
	p.recs = p.recs[:len(p.recs)+1]
	rec := &p.recs[len(p.recs)-1]
	*rec = txn.Record{}
	if err := rec.Unmarshal(p.bytes[at:len(p.bytes):len(p.bytes)]); err != nil {
		p.recs = p.recs[:len(p.recs)-1]
		return nil, err
	}
	return rec, nil
}

// end returns when every record that was read is counted.
func (r *recount) end() {
	if r.page != nil {
		r.full <- r.page
	}
	close(r.full)
	r.counted.Wait()
}

// detach copies rec away from the scan's buffer. What only an answer needs is
// left behind.
func detach(rec *txn.Record) txn.Record {
	r := *rec
	r.Balance, r.Chip, r.IssuerData = nil, nil, nil
	r.Serial = bytes.Clone(rec.Serial)                            // an open intent's outcome repeats it
	r.Data, r.Told = bytes.Clone(rec.Data), bytes.Clone(rec.Told) // an advice tells what is in them
	return r
}
