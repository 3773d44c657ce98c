package acquirer

import (
	"context"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// recollected answers an advice or refund that was decided before the two
// business days that memory has: told again after a long silence it must not
// happen again. Its key is claimed, so it is looked for once at a time.
//
// Only the archive knows it. While that is away nobody can tell, so the request is
// refused for now, without a record, and its terminal tells it once more.
func (s *Switch) recollected(req *txn.Request, ans *txn.Answer) bool {
	if req.Kind.Remedy() != txn.Repeat || req.Key.Batch != 0 && s.batches.Recent(req) {
		return false
	}
	days := s.longAgo(req, &req.Key)
	if len(days) == 0 {
		return false
	}
	ctx, cancel := context.WithDeadline(context.Background(), req.Deadline)
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
			s.replayed.Add(1)
			recite(ans, rec)
			return true
		}
	}
	return false
}

// outlivedWithin is how long a reversal waits for the archive: a hundred times what
// a look takes.
const outlivedWithin = 2 * time.Second

// outlived says that a reversal is of what was approved before the two business
// days that memory has: it is not of a request that never came. Its batch does not say
// how old it can be: a pre-authorization counts in none, so after a restart nobody
// knows that the batch had one. Where the archive is away or hangs, or there is none,
// nobody knows, and a terminal that waits for it would sell nothing meanwhile: it is
// then false.
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

// unread says, once for each look that failed, that the archive could not be read.
func (s *Switch) unread(req *txn.Request, err error) bool {
	if err != nil {
		s.log.Error("earlier transactions cannot be read", "terminal", req.Key.Terminal.String(), "error", err)
	}
	return err != nil
}

// longAgo are the business days before those that memory has on which the request
// that req is, or is about, may have been decided under that key: none for one that
// is certainly recent. Where there are no batch numbers, trace numbers begin anew every
// day, and only a date of the terminal's own (DE13) tells an old one from today's of
// that number.
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
