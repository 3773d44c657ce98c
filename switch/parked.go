package acquirer

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// What is owed to an issuer is parked when another try would be refused as the
// last ones were, or when its issuer takes no reversals: it is sent no more, stays
// owed, and waits for a person, who has it sent again or resolves it. Others flow.

// ErrNotParked says that nothing about a transaction is parked.
var ErrNotParked = errors.New("nothing about this transaction is parked")

// refusalWeight is what an answer that refuses the message counts for. One that
// says something of the time only, as 96, counts for one.
const refusalWeight = 10

// refused notes an answer that is no acknowledgement, and says whether o is to be
// parked. No answer at all is none: the issuer is away, and comes back.
func (o *owed) refused(code [2]byte, err error, parkAfter int) bool {
	switch {
	case errors.Is(err, txn.ErrNoReversals):
		return true
	case code == [2]byte{}:
		return false
	case err == nil:
		o.refusals += refusalWeight - 1
	}
	o.refusals++
	return o.refusals >= refusalWeight*parkAfter
}

// note is a record about what o owes.
func (l *lanes) note(o *owed, kind txn.RecordKind) txn.Record {
	rec := o.rec
	rec.Kind, rec.At, rec.ID = kind, time.Now(), l.s.newID(time.Now())
	rec.Key, rec.Held = txn.Key{}, txn.NoEffect
	rec.Serial, rec.Lat, rec.Lng, rec.Data, rec.Told = nil, 0, 0, nil, nil // no machine had a part in it
	rec.Findings, rec.Took = txn.Findings{}, [txn.StageRecorded]uint32{}
	rec.Attempts, rec.IssuerCode = uint32(o.attempts), [2]byte{}
	return rec
}

// park puts o aside, for good as far as the switch is concerned.
func (l *lanes) park(o *owed, code [2]byte, log *slog.Logger) error {
	rec := l.note(o, txn.RecordParked)
	rec.IssuerCode = code
	// A crash before this append begins the tries anew.
	if _, err := l.s.journal.Append(rec.Append(nil)); err != nil {
		return fmt.Errorf("park what is owed of %s: %w", rec.Original, err)
	}
	log.Error("what is owed is parked: it is not sent any more, a person must decide; see acqswitch parked list",
		"owed", o.name(), "attempts", o.attempts, "code", strings.TrimRight(string(code[:]), "\x00"))
	l.mu.Lock()
	o.parked = true
	l.mu.Unlock()
	return nil
}

// takeParked is what is parked about a transaction, which is parked no more.
func (l *lanes) takeParked(id txn.ID) (*owed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.byID[id]
	if o == nil || !o.parked {
		return nil, ErrNotParked
	}
	o.parked = false
	return o, nil
}

// Release has what is parked about a transaction sent again, from the first try
// on. why is a person's, for the records. After an error that is not ErrNotParked
// nobody knows what is durable.
func (s *Switch) Release(id txn.ID, why string) error {
	l := s.reversals
	o, err := l.takeParked(id)
	if err != nil {
		return err
	}
	rec := l.note(o, txn.RecordReleased)
	rec.Data = []byte(why)
	if _, err := s.journal.Append(rec.Append(nil)); err != nil {
		return fmt.Errorf("release what is owed of %s: %w", id, err)
	}
	o.refusals = 0
	l.push(o, 0)
	return nil
}

// Resolve ends what is parked about a transaction: a person has settled it with
// the issuer, or lost the money. An advice was taken, or was not; what was to be
// undone is undone. why is theirs, for the records. For errors see Release.
func (s *Switch) Resolve(id txn.ID, why string, taken bool) error {
	l := s.reversals
	o, err := l.takeParked(id)
	if err != nil {
		return err
	}
	rec := l.note(o, txn.RecordReversalDone)
	rec.Reason, rec.Data = txn.ResolvedByHand, []byte(why)
	switch {
	case !o.advice():
		rec.Held = -o.rec.Held
	case taken:
		rec.Kind, rec.Reason = txn.RecordAdviceDone, txn.Approved
	default:
		rec.Kind = txn.RecordAdviceDone
	}
	return l.end(o, &rec)
}
