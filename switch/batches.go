package acquirer

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// settleBatch decides a terminal's settlement or upload, whose own key is claimed.
// Its one durable fact is the outcome, whose Data is what the batch is after it
// and all that the answer is made of: a repeat is answered from it.
//
// A request that the batch's state refuses, or a settlement of a batch in which
// something is being decided for too long, is not recorded: its key stays free
// for when the terminal has signed on, has told its totals first, or asks again.
func (s *Switch) settleBatch(req *txn.Request, ans *txn.Answer, w *work) {
	verdict := s.assess(req)
	rec := s.describe(req, ans, w)
	if verdict.Reason != txn.Approved {
		s.conclude(req, ans, w, txn.OutcomeLocal, verdict.Reason)
		return
	}
	rec.Amount.Currency = req.Acceptor.Currency // not all dialects name it
	f := &w.fact
	f.Reset()
	s.listItems(req, f)
	draft := s.batches.Settle
	switch {
	case req.Kind == txn.KindSettlement:
	case len(req.Items) > 0:
		draft = s.batches.Upload
	default:
		draft = s.batches.End
	}
	if req.Kind == txn.KindSettlement {
		// What is being decided belongs to this batch: the totals are those with it.
		// One that its issuer keeps longer than we may wait is told of later.
		if !s.batchLocks.lock(&req.Key, req.Deadline) {
			s.turnAway(req, ans, txn.OriginalIsBusy)
			return
		}
		defer s.batchLocks.unlock(&req.Key)
	}
	order := s.batches.Order(&req.Key.Terminal)
	order.Lock() // no record of this batch becomes durable between draft and fact
	defer order.Unlock()
	if reason := draft(req, f); reason != txn.Approved {
		s.turnAway(req, ans, reason)
		return
	}
	w.data = f.Append(w.data[:0])
	rec.Data = w.data
	w.ordered = true
	defer func() { w.ordered = false }()
	tell(ans, f)
	s.conclude(req, ans, w, txn.OutcomeLocal, txn.Approved)
}

// listItems puts what is uploaded into the fact, with hashed and masked cards,
// and wipes the numbers.
func (s *Switch) listItems(req *txn.Request, f *txn.BatchFact) {
	for i := range req.Items {
		it := &req.Items[i]
		up := txn.BatchItem{Kind: it.Kind, STAN: it.STAN, Minor: it.Minor}
		if !it.PAN.IsZero() {
			up.Card = s.cards.Token(&it.PAN)
			it.PAN.AppendMasked(up.Masked[:0])
			it.PAN = txn.PAN{}
		}
		f.Items = append(f.Items, up)
	}
}

// tell fills the answer from the fact.
func tell(ans *txn.Answer, f *txn.BatchFact) {
	ans.Result = f.Result
	switch f.Step {
	case txn.StepSettle:
		ans.Totals = f.Theirs
		if f.Result[0] == txn.Uneven || f.Result[1] == txn.Uneven {
			ans.Totals = [2]txn.Totals{f.Ours, {}}
		}
	case txn.StepUpload:
		ans.Count = uint32(len(f.Items))
	case txn.StepEnd:
		ans.Count = f.Announced
	}
}

// retell is tell for a repeat, from the stored answer.
func (s *Switch) retell(ans *txn.Answer, w *work) error {
	if !w.rec.Request.Batch() || len(w.rec.Data) == 0 {
		return nil
	}
	if err := w.fact.Unmarshal(w.rec.Data); err != nil {
		return err
	}
	tell(ans, &w.fact)
	return nil
}

// settlementFingerprint adds to a fingerprint what only settlements and uploads
// ask for. Cards go in under their keyed hash: the fingerprint is stored.
func (s *Switch) settlementFingerprint(req *txn.Request, f uint64) uint64 {
	h := fnv.New64a()
	be := binary.BigEndian
	b := be.AppendUint64(nil, f)
	b = be.AppendUint16(b, req.Network)
	b = be.AppendUint32(b, req.Announced)
	for _, t := range req.Totals {
		for _, sum := range [...]txn.Sum{t.Debit, t.Credit} {
			b = be.AppendUint64(be.AppendUint32(b, sum.Count), uint64(sum.Minor))
		}
	}
	for i := range req.Items {
		it := &req.Items[i]
		b = be.AppendUint64(be.AppendUint32(append(b, byte(it.Kind)), it.STAN), uint64(it.Minor))
		if !it.PAN.IsZero() {
			card := s.cards.Token(&it.PAN)
			b = append(b, card[:]...)
		}
	}
	h.Write(b)
	return h.Sum64()
}

// misplaced says that the request names a batch that its terminal is not in. Its key
// stays free, since the terminal signs on and asks again. A terminal or merchant that is
// not active is not misplaced: risk tells it so. Trace numbers that go back are noted
// for risk to judge (S06).
func (s *Switch) misplaced(req *txn.Request) bool {
	if req.Terminal.Status != txn.StatusActive || req.Acceptor.Status != txn.StatusActive {
		return false
	}
	reason, ahead := s.batches.Admit(req)
	if req.Ahead = ahead; ahead != 0 {
		s.backwards.Add(1)
		s.log.Warn("a terminal's trace numbers went back within its batch", "terminal", req.Key.Terminal.String(), "batch", req.Key.Batch, "stan", req.Key.STAN, "last", ahead)
	}
	return reason != txn.Approved
}

// commit makes b, which is rec encoded, durable and counts rec in its batch. Sales of a
// terminal do so side by side; its settlement waits for them and they for it, so that
// the journal has them in the order in which they were counted. ordered says that the
// caller holds that order's lock.
func (s *Switch) commit(rec *txn.Record, b []byte, ordered bool) (journal.Position, error) {
	if !ordered {
		_, key := rec.Subject()
		order := s.batches.Order(&key.Terminal)
		order.RLock()
		defer order.RUnlock()
	}
	pos, err := s.journal.Append(b)
	if err == nil {
		err = s.batches.Apply(rec, uint64(pos))
	}
	return pos, err
}

// CloseBatches closes every batch whose first transaction is of day or before
// and whose terminal has not settled it: one durable fact each, which the ledger
// reports. A terminal may still settle such a batch, and is told how its totals
// compare; new transactions in it are refused.
func (s *Switch) CloseBatches(ctx context.Context, day txn.Date) (closed int, err error) {
	s.batches.Unsettled(day, func(x *batch.Batch) {
		if err != nil || ctx.Err() != nil {
			return
		}
		var done bool
		if done, err = s.closeBatch(x); done {
			closed++
		}
	})
	if err != nil {
		return closed, fmt.Errorf("close batches of %s: %w", day, err)
	}
	return closed, ctx.Err()
}

func (s *Switch) closeBatch(x *batch.Batch) (bool, error) {
	order := s.batches.Order(&x.Terminal)
	order.Lock()
	defer order.Unlock()
	var f txn.BatchFact
	if !s.batches.Close(x.Terminal, x.Number, &f) {
		return false, nil // settled meanwhile
	}
	now := time.Now()
	rec := closeRecord(x, &f, s.newID(now), now, s.moment(now).day)
	rec.Key.Acquirer = s.acquirer
	_, err := s.commit(&rec, rec.Append(nil), true)
	return err == nil, err
}

// closeRecord is the durable fact that we closed a batch. It is nobody's
// request: it has no STAN and no RRN.
func closeRecord(x *batch.Batch, f *txn.BatchFact, id txn.ID, at time.Time, day txn.Date) txn.Record {
	return txn.Record{
		Kind: txn.RecordOutcome, At: at, ID: id, Request: txn.KindSettlement, Outcome: txn.OutcomeLocal,
		Key:      txn.Key{Terminal: x.Terminal, Batch: x.Number, Class: txn.ClassUpload},
		Merchant: x.Merchant, Amount: txn.Amount{Currency: x.Currency}, Day: day, Data: f.Append(nil),
	}
}

// Batches is the live book of batches.
func (s *Switch) Batches() *batch.Book { return s.batches }
