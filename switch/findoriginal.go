package acquirer

import (
	"context"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// claimOriginal finds the transaction that req is about, keeps others from it until
// releaseOriginal, and says whether req may be done.
func (s *Switch) claimOriginal(req *txn.Request, w *work) txn.Reason {
	ctx, cancel := s.firstHalf(req)
	defer cancel()
	rec, stands, reason := s.findOriginal(ctx, req)
	if reason != txn.Approved {
		return reason
	}
	if !s.acquireOriginal(rec.ID, req, w) {
		return txn.OriginalIsBusy
	}
	settled := false
	if sl, _, ok := s.slots.look(&rec.Key); ok && sl.id == rec.ID { // it may have been reversed while we waited
		stands = standing(sl, &rec)
		settled = s.batches.Settled(&rec.Key, uint64(sl.position))
	}
	if _, whole := s.originals.deeds(rec.ID); !whole && rec.Day < req.Day.Before() {
		undone, err := s.recall(ctx, &rec)
		if err != nil {
			s.log.Error("what was done about a transaction cannot be read", "id", rec.ID, "error", err)
			return txn.RecordsAreUnavailable
		}
		stands = stands && !undone
	}
	t := original.Transaction{ID: rec.ID, Kind: rec.Request.Asked(), Key: rec.Key, Merchant: rec.Merchant, Card: rec.Card,
		Amount: rec.Amount, Day: rec.Day, AuthCode: rec.AuthCode, Stands: stands, Settled: settled}
	if reason := s.permit(&t, req); reason != txn.Approved {
		return reason
	}
	if req.PAN.IsZero() { // the card is the original's, which has one: it was approved
		pan, err := s.cards.Open(&rec.SealedPAN, rec.ID)
		if err != nil {
			s.log.Error("an original's card number cannot be opened", "id", rec.ID, "error", err)
			return txn.SwitchFailed
		}
		req.PAN, req.CardToken, req.CardType = pan, rec.Card, rec.CardType
	}
	req.OriginalLeg, req.OriginalMTI, req.OriginalAmount = rec.Leg, rec.MTI, rec.Amount
	w.original, w.originalKey = rec.ID, rec.Key
	w.gives = req.Kind.Limits() == txn.Credit && rec.Held == txn.Debit && rec.Day == req.Day && rec.Key.Terminal == req.Key.Terminal
	w.given = rec.Hold()
	return txn.Approved
}

// busyWithin is how long a request waits for an issuer to take note of what is owed
// about its original, as long as that leaves most of its time to be forwarded in.
const busyWithin = 2 * time.Second

// permit says whether req may be done about t, which it keeps others from. What is under
// way about it mostly ends within one exchange with the issuer: a terminal that had no
// answer to its void reverses it and asks again at once (cup-pos I2).
func (s *Switch) permit(t *original.Transaction, req *txn.Request) txn.Reason {
	until := time.Now().Add(min(busyWithin, time.Until(req.Deadline)/4))
	for {
		deeds, _ := s.originals.deeds(t.ID)
		ended := s.reversals.ended(t.ID, deeds)
		deeds, _ = s.originals.deeds(t.ID) // it may have ended just before
		reason := s.cfg.Originals.Permit(t, deeds, req)
		if reason == txn.Approved && s.reversals.owes(t.ID) { // it was told, and its issuer does not know it yet
			reason = txn.OriginalIsBusy
		}
		if reason != txn.OriginalIsBusy || ended == nil || !s.gate.wait(ended, until) {
			return reason
		}
	}
}

// acquireOriginal keeps everybody else from doing something about id until
// releaseOriginal. It is false when req has no time left to wait for its turn.
func (s *Switch) acquireOriginal(id txn.ID, req *txn.Request, w *work) bool {
	if !s.originals.acquire(id, req.Deadline) {
		return false
	}
	w.acquired = id
	return true
}

// releaseOriginal ends what acquireOriginal began.
func (s *Switch) releaseOriginal(w *work) {
	if w.acquired != 0 {
		s.originals.release(w.acquired)
		w.acquired = 0
	}
}

// findOriginal is the transaction that req names, and whether it stood when it was
// looked at. A pre-authorization is known by card and code where none of that code has
// the number that req names (cup-pos C3): it may be another terminal's.
func (s *Switch) findOriginal(ctx context.Context, req *txn.Request) (rec txn.Record, stands bool, reason txn.Reason) {
	rec, stands, reason = s.findNamed(ctx, req)
	ref := req.Original
	switch {
	case ref.STAN == 0 || ref.AuthCode == [6]byte{} || !original.About(req.Kind, txn.KindPreauth):
		return rec, stands, reason
	case reason == txn.Approved && rec.Request == txn.KindPreauth && rec.AuthCode == ref.AuthCode:
		return rec, stands, reason
	case reason != txn.Approved && reason != txn.OriginalIsUnknown:
		return rec, stands, reason
	}
	req.Original.Batch, req.Original.STAN = 0, 0
	defer func() { req.Original = ref }()
	if coded, standing, found := s.findNamed(ctx, req); found != txn.OriginalIsUnknown {
		return coded, standing, found
	}
	return rec, stands, reason
}

// findNamed is findOriginal by the number or, where there is none, the code that req names.
func (s *Switch) findNamed(ctx context.Context, req *txn.Request) (rec txn.Record, stands bool, reason txn.Reason) {
	for _, key := range s.originals.candidates(req) {
		rec, stands, reason = s.recent(req, key)
		if reason != txn.OriginalIsUnknown {
			return rec, stands, reason
		}
	}
	if s.archive == nil {
		return rec, false, txn.OriginalIsUnknown
	}
	found, err := s.search(ctx, req)
	if s.unread(req, err) {
		return rec, false, txn.RecordsAreUnavailable
	}
	for i := range found {
		r := &found[i]
		if r.Taken() && r.Merchant == req.Merchant && r.Request.MovesMoney() && names(req, r) {
			return *r, true, txn.Approved
		}
	}
	return rec, false, txn.OriginalIsUnknown
}

// recent looks for the original among the requests of this business day and the
// one before.
func (s *Switch) recent(req *txn.Request, key txn.Key) (rec txn.Record, stands bool, reason txn.Reason) {
	rec, sl, reason := s.decided(key)
	switch {
	case reason != txn.Approved:
		return rec, false, reason
	case !names(req, &rec):
		return rec, false, txn.OriginalIsUnknown
	}
	return rec, standing(sl, &rec), txn.Approved
}

// decided is what a request of this business day or the one before came to.
func (s *Switch) decided(key txn.Key) (rec txn.Record, sl slot, reason txn.Reason) {
	sl, flight, known := s.slots.look(&key)
	switch {
	case !known || sl.state == slotTombstoned:
		return rec, sl, txn.OriginalIsUnknown
	case flight != nil:
		return rec, sl, txn.OriginalIsBusy
	case sl.position == 0:
		return rec, sl, txn.OriginalIsUnknown
	}
	b, err := s.journal.Read(sl.position, nil)
	if err == nil {
		err = rec.Unmarshal(b)
	}
	if err != nil {
		s.log.Error("an original cannot be read", "position", sl.position, "error", err)
		return rec, sl, txn.RecordsAreUnavailable
	}
	return rec, sl, txn.Approved
}

// standing says that what rec decided is approved and not undone, as far as its
// slot knows: what is told by repeating is never undone.
func standing(sl slot, rec *txn.Record) bool {
	return sl.state == slotApproved || rec.Request.Remedy() == txn.Repeat && !rec.Request.Reversible() && rec.Reason == txn.Approved
}

// names says that r is what req names as its original, as far as req says: by
// reference number, date, batch and trace number. The date may be a day off: a DE7 in
// DE90 is often UTC, and a sale after the cut-over belongs to the next business day.
func names(req *txn.Request, r *txn.Record) bool {
	ref := &req.Original
	return (ref.RRN == [12]byte{} || ref.RRN == r.RRN) &&
		(ref.Date == [4]byte{} || near(ref.Date, r.Day)) &&
		(ref.STAN == 0 || ref.STAN == r.Key.STAN && ref.Batch == r.Key.Batch)
}

// search asks the archive.
func (s *Switch) search(ctx context.Context, req *txn.Request) ([]txn.Record, error) {
	s.gate.leave()
	defer s.gate.enter()
	ref := &req.Original
	if ref.RRN != [12]byte{} {
		day, ok := dayOf(ref.RRN, req.Day)
		if !ok { // no number of ours
			return nil, nil
		}
		found, err := s.archive.ByRRN(ctx, req.Merchant, day, ref.RRN)
		if err != nil || len(found) > 0 || day < req.Day.Before() {
			return found, err
		}
		if err := s.archive.CatchUp(ctx); err != nil { // it may be of a moment ago
			return nil, err
		}
		return s.archive.ByRRN(ctx, req.Merchant, day, ref.RRN)
	}
	if ref.STAN == 0 {
		since := req.Day
		for range s.cfg.Originals.PreauthDays + 1 {
			since = since.Before()
		}
		return s.archive.Preauths(ctx, req.Merchant, req.CardToken, ref.AuthCode, since)
	}
	days := []txn.Date{req.Day, req.Day.Before()}
	if day, ok := dateOf(ref.Date, req.Day); ok {
		days = []txn.Date{day, day.After(), day.Before()} // after the cut-over, or by UTC: see names
	}
	for _, day := range days {
		key := txn.Key{Acquirer: req.Key.Acquirer, Terminal: req.Key.Terminal, Batch: ref.Batch, STAN: ref.STAN, Class: txn.ClassFinancial}
		found, err := s.archive.ByKey(ctx, req.Merchant, day, key)
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

// recall adds the archive's deeds about rec to those in memory, and says
// whether rec itself was undone. It is called with rec acquired.
func (s *Switch) recall(ctx context.Context, rec *txn.Record) (undone bool, err error) {
	if s.archive == nil {
		return false, nil
	}
	s.gate.leave()
	defer s.gate.enter()
	found, err := s.archive.Deeds(ctx, rec.Merchant, rec.ID)
	if err != nil {
		return false, fmt.Errorf("read deeds of %s: %w", rec.ID, err)
	}
	news := map[txn.ID]bool{}
	for i := range found {
		if r := &found[i]; r.Kind == txn.RecordOutcome {
			news[r.ID] = s.originals.learn(r)
		}
	}
	parts := 0 // reversals in part that memory did not know
	for i := range found {
		switch r := &found[i]; {
		case r.Kind == txn.RecordOutcome:
		case r.Original == rec.ID && r.Stays != 0:
			if r.Kind == txn.RecordReversalDue && s.originals.learn(r) {
				parts++
			} else if r.Kind == txn.RecordReversalDone && parts > 0 {
				s.originals.learn(r)
			}
		case r.Original == rec.ID:
			undone = undone || r.Kind == txn.RecordReversalDue || r.Kind == txn.RecordReversalDone ||
				r.Kind == txn.RecordAdviceDone && r.Reason != txn.Approved && rec.Request == txn.KindStandIn
		case news[r.Original]:
			s.originals.learn(r)
		}
	}
	s.originals.complete(rec.ID)
	return undone, nil
}
