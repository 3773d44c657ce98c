package acquirer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// An advice or refund that is told again when memory has let go of it is told what
// it was told, and happens once; while the archive is away it is told to come again.
// What is certainly of these days, and sales, do not ask the archive.
func TestF02ToldAgainAfterManyDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer h.stop()
		archive := &shelf{}
		h.s.archive = archive
		h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
		offline, refund := about(txn.KindOfflineSale, 2, 500, 0), about(txn.KindRefund, 3, 400, 1)
		h.want("offline sale", h.ask(offline), txn.Approved, "00")
		sold, back := h.ask(offline), h.ask(refund)
		h.want("refund", back, txn.Approved, "00")
		if archive.asked != 0 {
			t.Errorf("the archive was asked %d times about a batch of today", archive.asked)
		}
		archive.recs = h.records()
		sent := len(h.bank.sent)
		time.Sleep(2 * time.Hour)
		h.s.CloseBatches(t.Context(), h.s.cfg.Day.Of(time.Now()))
		for days := 3; days < 30; days += 13 {
			at(days, 12, 0)
			for _, c := range []struct {
				req  txn.Request
				told txn.Answer
			}{{offline, sold}, {refund, back}} {
				archive.err = errors.New("the ledger is away")
				h.want("while the archive is away", h.ask(c.req), txn.RecordsAreUnavailable, "96")
				archive.err = nil
				for range 2 {
					if got := h.ask(c.req); !got.Replayed || got.Reason != c.told.Reason || got.RRN != c.told.RRN || got.Code != c.told.Code || got.Reply.AuthCode != c.told.Reply.AuthCode {
						t.Errorf("after %d days the %s is told %v %s, it was %v %s", days, c.req.Kind, got.Reason, got.RRN, c.told.Reason, c.told.RRN)
					}
				}
			}
		}
		if n := len(h.bank.sent); n != sent || h.used("10000001") != 0 {
			t.Errorf("%d requests more reached the issuer, %d is used today", n-sent, h.used("10000001"))
		}
		h.s.archive = hanging{archive}
		completion := about(txn.KindCompletion, 8, 1000, 77)
		completion.Key.Batch = 2
		for _, req := range []txn.Request{offline, completion} {
			began := time.Now()
			h.want("while the archive hangs", h.ask(req), txn.RecordsAreUnavailable, "96")
			if took := time.Since(began); took != h.s.cfg.AnswerWithin/2 {
				t.Errorf("the terminal waited %s for its %s", took, req.Kind)
			}
		}
		h.s.archive = archive
		other := offline
		other.Amount.Minor++
		h.want("another one under the number", h.ask(other), txn.Approved, "00")
		asked := archive.asked
		next := sale("10000001", 9, 100)
		next.Key.Batch = 2
		h.want("a sale", h.ask(next), txn.Approved, "00")
		if archive.asked != asked {
			t.Error("a sale asked the archive")
		}
	})
}

// A reversal that comes when memory has let go of its sale is told so, not that it
// is done; one of a sale that never came is told 00 as ever. While the archive is away
// nobody waits for it.
func TestF08ReversalManyDaysLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer h.stop()
		archive := &shelf{}
		h.s.archive = archive
		h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
		h.want("reversal of nothing, today", h.ask(reversal("10000001", 2, 1000)), txn.Approved, "00")
		archive.recs = h.records()
		time.Sleep(2 * time.Hour)
		h.s.CloseBatches(t.Context(), h.s.cfg.Day.Of(time.Now()))
		for days := 2; days < 30; days += 13 {
			at(days, 23, 30) // a third business day
			h.want("reversal of the sale", h.ask(reversal("10000001", 1, 1000)), txn.OriginalIsOfAnotherDay, "25")
			h.want("reversal of nothing", h.ask(reversal("10000001", 3+uint32(days), 1000)), txn.Approved, "00")
		}
		if h.bank.undone(0) != 0 || h.used("10000001") != 0 {
			t.Errorf("%d were undone", h.bank.undone(0))
		}
		archive.err = errors.New("the ledger is away")
		h.want("while the archive is away", h.ask(reversal("10000001", 50, 1000)), txn.Approved, "00")
		h.s.archive = hanging{archive}
		places := h.s.gate.wanted.Load()
		began := time.Now()
		go func() {
			time.Sleep(time.Second)
			if n := h.s.gate.wanted.Load(); n != places {
				t.Errorf("who waits for the archive has %d places at the gate", n-places)
			}
			h.want("a sale beside it", h.ask(sale("10000002", 1, 1000)), txn.Approved, "00")
		}()
		h.want("while the archive hangs", h.ask(reversal("10000001", 51, 1000)), txn.Approved, "00")
		if took := time.Since(began); took != outlivedWithin {
			t.Errorf("the terminal waited %s", took)
		}
		h.want("the sale, if it should come", h.ask(sale("10000001", 51, 1000)), txn.ReversedBeforeRequest, "22")
	})
}

// hanging is an archive that does not answer.
type hanging struct{ *shelf }

func (hanging) Decided(ctx context.Context, _ txn.MerchantID, _ []txn.Date, _ txn.Key) ([]txn.Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) ByKey(ctx context.Context, _ txn.MerchantID, _ txn.Date, _ txn.Key) ([]txn.Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A pre-authorization counts in no batch: it may be a day older than the first sale
// that does, also where a restart came between the two, or after both.
func TestF08ReversalOfAPreauthFromBeforeItsBatchsFirstSale(t *testing.T) {
	for _, restarts := range []string{"never", "after the preauth", "after the sales"} {
		t.Run("restarts "+restarts, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at(0, 22, 50)
				h := newHouse(t)
				defer func() { h.stop() }()
				h.want("preauth", h.ask(about(txn.KindPreauth, 1, 1000, 0)), txn.Approved, "00")
				if restarts == "after the preauth" {
					h.restart()
				}
				at(0, 23, 30)
				h.want("sale", h.ask(sale("10000001", 2, 500)), txn.Approved, "00")
				at(2, 12, 0)
				h.want("sale", h.ask(sale("10000001", 3, 500)), txn.Approved, "00")
				recs := h.records()
				if restarts == "after the sales" {
					h.restart()
				}
				h.s.archive = &shelf{recs: recs}
				for i := range h.s.slots.shards { // others sell as well
					h.s.slots.turn(&h.s.slots.shards[i], h.s.cfg.Day.Of(time.Now()))
				}
				h.want("reversal", h.ask(reversal("10000001", 1, 1000)), txn.OriginalIsOfAnotherDay, "25")
			})
		})
	}
}

// A reversal under a number of its own may name its original by the reference number
// that this was answered with; what names nothing of that terminal, and amount or card, is
// one of a sale that never came, as ever, also while the archive is away.
func TestF06ReversalByReferenceNumber(t *testing.T) {
	h := newHouse(t)
	archive := &shelf{late: h.records}
	h.s.archive = archive
	first := h.ask(sale("10000001", 1, 1000))
	h.want("sale", first, txn.Approved, "00")
	h.want("another terminal's sale", h.ask(sale("10000002", 1, 1000)), txn.Approved, "00")
	by := func(terminal string, stan uint32, minor int64, rrn [12]byte) txn.Request {
		r := reversal(terminal, stan, minor)
		r.Original.RRN = rrn
		return r
	}
	otherCard, sameCard := by("10000001", 50, 999, first.RRN), by("10000001", 55, 999, first.RRN)
	otherCard.PAN, _ = txn.ParsePAN("6222020000000007")
	sameCard.PAN, _ = txn.ParsePAN(testPAN)
	theirs := first.RRN
	copy(theirs[3:], "999999999")
	for i, req := range []txn.Request{
		otherCard, by("10000001", 56, 999, first.RRN), by("10000002", 51, 1000, first.RRN), by("10000001", 52, 1000, theirs), by("10000001", 53, 1000, [12]byte([]byte("ORDER0000001"))),
	} {
		h.want(fmt.Sprint("names nothing ", i), h.ask(req), txn.Approved, "00")
	}
	h.settle()
	if n := h.bank.undone(0); n != 0 {
		t.Fatalf("%d were undone", n)
	}
	h.want("by its reference, another amount", h.ask(sameCard), txn.OriginalAmountDiffers, "64")
	archive.err = errors.New("the ledger is away")
	h.want("while the archive is away", h.ask(by("10000001", 54, 1000, first.RRN)), txn.Approved, "00")
	archive.err = nil
	for range 2 {
		h.want("by its reference", h.ask(by("10000001", 60, 1000, first.RRN)), txn.Approved, "00")
	}
	h.settle()
	if h.used("10000001") != 0 || h.used("10000002") != 1000 {
		t.Errorf("%d and %d are used, want none and the other terminal's 1000", h.used("10000001"), h.used("10000002"))
	}
}

// Where numbers begin anew every day, the reference number of an earlier day's sale
// does not name today's of that number, nor one that never came.
func TestF08ReversalByReferenceNumberOfAnEarlierDay(t *testing.T) {
	for _, c := range []struct {
		days  int // between the two
		again bool
	}{{1, false}, {1, true}, {3, false}, {3, true}} {
		t.Run(fmt.Sprintf("%d days, sold again %v", c.days, c.again), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at(0, 12, 0)
				h := newHouse(t)
				defer h.stop()
				archive := &shelf{}
				h.s.archive = archive
				numbered := func(r txn.Request) txn.Request {
					r.Key.Batch = 0
					return r
				}
				first := h.ask(numbered(sale("10000001", 1, 1000)))
				h.want("sale", first, txn.Approved, "00")
				archive.recs = h.records()
				at(c.days, 12, 0)
				h.want("another sale", h.ask(numbered(sale("10000001", 2, 1000))), txn.Approved, "00")
				if c.again {
					h.want("sale of the number", h.ask(numbered(sale("10000001", 1, 1000))), txn.Approved, "00")
				}
				for i := range h.s.slots.shards { // others sell as well
					h.s.slots.turn(&h.s.slots.shards[i], h.s.cfg.Day.Of(time.Now()))
				}
				used := h.used("10000001")
				late := numbered(reversal("10000001", 50, 1000))
				late.Original.RRN = first.RRN
				h.want("reversal", h.ask(late), txn.OriginalIsOfAnotherDay, "25")
				h.settle()
				if h.bank.undone(0) != 0 || h.used("10000001") != used {
					t.Errorf("%d were undone, %d used, want %d", h.bank.undone(0), h.used("10000001"), used)
				}
			})
		})
	}
}

// meanwhile is an archive while which is asked something comes.
type meanwhile struct {
	*shelf
	comes func()
}

func (m meanwhile) Decided(ctx context.Context, merchant txn.MerchantID, days []txn.Date, key txn.Key) ([]txn.Record, error) {
	m.comes()
	return m.shelf.Decided(ctx, merchant, days, key)
}

// A reversal of what a batch of its number had long ago may mean a sale of a terminal
// that begins again with batch 1: one that it overtook is refused when it comes, one
// that comes while the archive is asked is undone, and one of the number later in the
// day is a new one.
func TestF06ReversalBeforeASaleOfAnOldBatchsNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer h.stop()
		for stan := range uint32(3) {
			h.want("sale", h.ask(sale("10000001", stan+1, 1000)), txn.Approved, "00")
		}
		archive := &shelf{recs: h.records()}
		h.s.archive = archive
		time.Sleep(2 * time.Hour)
		h.s.CloseBatches(t.Context(), h.s.cfg.Day.Of(time.Now()))
		at(20, 12, 0)
		for i := range h.s.slots.shards { // others sell as well
			h.s.slots.turn(&h.s.slots.shards[i], h.s.cfg.Day.Of(time.Now()))
		}
		for range 2 {
			h.want("reversal", h.ask(reversal("10000001", 1, 700)), txn.OriginalIsOfAnotherDay, "25")
			h.want("the sale that it overtook", h.ask(sale("10000001", 1, 700)), txn.ReversedBeforeRequest, "22")
		}
		h.want("another one's", h.ask(reversal("10000001", 2, 700)), txn.OriginalIsOfAnotherDay, "25")
		h.s.archive = &shelf{err: errors.New("the ledger is away")}
		h.want("and again, while the archive is away", h.ask(reversal("10000001", 2, 700)), txn.Approved, "00")
		h.s.archive = meanwhile{archive, func() { h.want("sale", h.ask(sale("10000001", 3, 700)), txn.Approved, "00") }}
		h.want("reversal", h.ask(reversal("10000001", 3, 700)), txn.Approved, "00")
		h.s.archive = archive
		time.Sleep(replayGrace + time.Second)
		h.want("a new sale of the number", h.ask(sale("10000001", 1, 300)), txn.Approved, "00")
		h.want("its reversal", h.ask(reversal("10000001", 1, 300)), txn.Approved, "00")
		h.settle()
		if h.bank.undone(0) != 2 || h.used("10000001") != 0 {
			t.Errorf("%d undone, %d used", h.bank.undone(0), h.used("10000001"))
		}
	})
}

// Without batch numbers an old advice says so by its own date.
func TestF02ToldAgainWithoutABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer h.stop()
		archive := &shelf{}
		h.s.archive = archive
		offline := about(txn.KindOfflineSale, 2, 500, 0)
		offline.Key.Batch, offline.LocalDate = 0, [4]byte([]byte("0302"))
		first := h.ask(offline)
		h.want("offline sale", first, txn.Approved, "00")
		archive.recs = h.records()
		at(4, 12, 0)
		if got := h.ask(offline); !got.Replayed || got.RRN != first.RRN {
			t.Errorf("told again: %v %s, was %s", got.Reason, got.RRN, first.RRN)
		}
		asked := archive.asked
		offline.LocalDate = [4]byte([]byte("0306"))
		if got := h.ask(offline); got.Replayed || got.Reason != txn.Approved || archive.asked != asked {
			t.Errorf("today's of that number: %+v, asked %d times", got, archive.asked-asked)
		}
	})
}
