package acquirer

import (
	"context"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// recollected answers an advice or refund that was decided on an earlier business day
// than the two in memory: repeated after a long silence, it must not be booked twice.
// Its key is claimed, so one lookup at a time is under way for it.
//
// Only the archive knows. While it is away the request is refused for now, without a
// record, and its terminal repeats it.
func (s *Switch) recollected(req *txn.Request, ans *txn.Answer) bool {
	if req.Kind.Remedy() != txn.Repeat || req.Key.Batch != 0 && s.batches.Recent(req) {
		return false
	}
	days := s.longAgo(req, &req.Key)
	if len(days) == 0 {
		return false
	}
	ctx, cancel := s.firstHalf(req)
	defer cancel()
	s.gate.leave()
	defer s.gate.enter()
	found, err := s.archive.Decided(ctx, req.Merchant, days, req.Key)
	if s.unread(req, err) {
		s.refuse(req, ans, txn.RecordsAreUnavailable)
		return true
	}
	for i := range found {
		if rec := &found[i]; rec.Fingerprint == req.Fingerprint { // else the number was used for something else, long ago
			recite(ans, rec)
			return true
		}
	}
	return false
}

// firstHalf ends with the first half of req's time, as a wait at the gate does: what is
// found later leaves its issuer too little of it, and what is not keeps its terminal.
func (s *Switch) firstHalf(req *txn.Request) (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), req.Received.Add(s.cfg.AnswerWithin/2))
}

// outlivedWithin is how long a reversal waits for the archive: a hundred times what a
// lookup takes.
const outlivedWithin = 2 * time.Second

// outlived says that what a reversal is about was approved on an earlier business day
// than the two in memory, so that it is not a request that never came. The batch number
// does not tell the age: a pre-authorization counts in no batch, so after a restart
// nobody knows that the batch had one. It is false where the archive cannot say, being
// away, slow or not there: a terminal that waited for it would sell nothing meanwhile.
func (s *Switch) outlived(req *txn.Request, reversed *txn.Key) bool {
	days := s.longAgo(req, reversed)
	if len(days) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(outlivedWithin, time.Until(req.Deadline)))
	defer cancel()
	s.gate.leave()
	defer s.gate.enter()
	found, err := s.archive.Decided(ctx, req.Merchant, days, *reversed)
	s.unread(req, err)
	return slices.ContainsFunc(found, func(rec txn.Record) bool { return rec.Taken() })
}

// unread says whether a lookup in the archive failed, and logs that.
func (s *Switch) unread(req *txn.Request, err error) bool {
	if err != nil {
		s.log.Error("earlier transactions cannot be read", "terminal", req.Key.Terminal.String(), "error", err)
	}
	return err != nil
}

// longAgo are the business days, before the two in memory, on which the request that
// req repeats or is about may have been decided under a key; none if it is certainly
// recent. Without batch numbers trace numbers begin anew every day, and only the
// terminal's own date (DE13) tells an old request from today's of the same number.
func (s *Switch) longAgo(req *txn.Request, key *txn.Key) (days []txn.Date) {
	if s.archive == nil {
		return nil
	}
	kept := req.Day.Before()
	if key.Batch == 0 {
		told, ok := dateOf(req.LocalDate, req.Day)
		if !ok || near(req.LocalDate, req.Day) {
			return nil
		}
		for _, day := range [...]txn.Date{told.After(), told, told.Before()} { // the business day is not always the calendar's
			if day < kept {
				days = append(days, day)
			}
		}
		return days
	}
	day := kept
	for range s.cfg.Originals.RefundDays - 1 {
		day = day.Before()
		days = append(days, day)
	}
	return days
}
