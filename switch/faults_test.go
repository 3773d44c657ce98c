package acquirer

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Tests named TestFnn are those of row nn of docs/reliability.md.

// cardUsed is the card's use of its day limit.
func (h *house) cardUsed() int64 {
	pan, _ := txn.ParsePAN(testPAN)
	p := risk.Party{Scope: txn.ScopeCard, Currency: txn.CNY, ID: h.s.cards.Token(&pan)}
	return h.risk.UsageOf(h.s.cfg.Day.Of(time.Now()), p).Minor
}

// A tip names its sale and carries no card: it uses the limits of the sale's, as
// its record says, and gives them back there.
func TestF68TipWithoutCardCountsForItsOriginalsCard(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	tip := about(txn.KindTip, 2, 100, 1)
	tip.PAN = txn.PAN{}
	h.want("tip", h.ask(tip), txn.Approved, "00")
	tip.Key.STAN, tip.Amount.Minor = 3, 900
	h.want("a tip too large", h.ask(tip), txn.OriginalAmountDiffers, "64")
	for _, when := range []string{"", "after a restart"} {
		if h.cardUsed() != 1100 || h.used("10000001") != 1100 || h.risk.Unmatched() != 0 || h.risk.InFlight() != 0 {
			t.Errorf("%s: card %d, terminal %d, want 1100; %d given back twice, %d in flight", when, h.cardUsed(), h.used("10000001"), h.risk.Unmatched(), h.risk.InFlight())
		}
		h.restart()
	}
}

// brittle is an archive that panics while it is broken.
type brittle struct {
	shelf
	broken bool
}

func (b *brittle) ByRRN(ctx context.Context, m txn.MerchantID, day txn.Date, rrn [12]byte) ([]txn.Record, error) {
	found, err := b.shelf.ByRRN(ctx, m, day, rrn)
	if len(found) == 0 && b.broken {
		panic("planted")
	}
	return found, err
}

func (b *brittle) Deeds(ctx context.Context, m txn.MerchantID, id txn.ID) ([]txn.Record, error) {
	if b.broken {
		panic("planted")
	}
	return b.shelf.Deeds(ctx, m, id)
}

// A panic while an original is looked for leaves no limit reserved, and one
// while it is held keeps nobody else from it.
func TestF69PanicAboutAnOriginalLeaksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 3, 2, 12, 0, 0, 0, zone)))
		h := newHouse(t)
		defer h.stop()
		archive := &brittle{broken: true}
		h.s.archive = archive
		first := h.ask(sale("10000001", 1, 1000))
		archive.recs = h.records()
		tip := about(txn.KindTip, 2, 100, 0)
		tip.Original = txn.Reference{RRN: first.RRN, Date: first.Date}
		tip.Original.RRN[11] ^= 1
		h.want("tip", h.ask(tip), txn.SwitchFailed, "96")
		if h.risk.InFlight() != 0 || h.used("10000001") != 1000 {
			t.Errorf("%d reservations and %d used after a panic", h.risk.InFlight(), h.used("10000001"))
		}
		time.Sleep(72 * time.Hour)
		refund := about(txn.KindRefund, 3, 400, 0)
		refund.Original = txn.Reference{RRN: first.RRN, Date: first.Date}
		h.want("refund", h.ask(refund), txn.SwitchFailed, "96")
		archive.broken = false
		h.want("the same refund", h.ask(refund), txn.Approved, "00")
	})
}

// A terminal reverses a sale whose void nobody knows the fate of: both are
// undone, the void first, also across a restart.
func TestF06ReversalWhileItsVoidIsBeingUndone(t *testing.T) {
	h := newHouse(t)
	silent := func(int) bool { return false }
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.bank.acknowledge = silent
	h.s.cfg.ReversalRetry = time.Millisecond
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	h.want("void", h.ask(about(txn.KindVoid, 2, 1000, 1)), txn.IssuerDidNotAnswer, "98")
	h.want("reversal of the sale", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
	if n := h.s.Figures().ReversalsOwed; n != 2 {
		t.Fatalf("%d reversals are owed, want that of the void and that of the sale", n)
	}
	h.retry = time.Millisecond
	h.restart()
	h.bank.mu.Lock()
	h.bank.acknowledge = func(int) bool { return len(h.bank.reversed) == 0 || h.bank.reversed[2] > 0 }
	h.bank.mu.Unlock()
	h.settle()
	var done []uint32
	for _, rec := range h.records() {
		if rec.Kind == txn.RecordReversalDone {
			done = append(done, rec.Leg.STAN)
		}
	}
	if len(done) != 2 || done[0] != 2 || done[1] != 1 || h.used("10000001") != 0 {
		t.Errorf("undone were the legs %v, %d is used; want the void's 2, then the sale's 1, and nothing", done, h.used("10000001"))
	}
}

// A terminal forgets its reversal with any answer: one that cannot be decided in
// time gets none, and is decided when it comes again.
func TestF06UndecidedReversalIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		defer h.stop()
		h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			time.Sleep(2 * time.Minute) // an issuer link that keeps no deadline
			return txn.OutcomeApproved, txn.Approved, "00"
		}
		done := make(chan struct{})
		go func() { h.ask(sale("10000001", 1, 500)); close(done) }()
		time.Sleep(time.Second)
		if ans := h.ask(reversal("10000001", 1, 500)); !ans.Silent {
			t.Errorf("the reversal of a sale in flight was told %v %s", ans.Reason, ans.Code)
		}
		<-done
		h.want("the reversal again", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
		time.Sleep(time.Minute)
		if h.bank.undone(1) != 1 {
			t.Error("the sale was not undone")
		}

		h.bank.behave = nil
		first := h.ask(sale("10000001", 2, 500))
		h.s.originals.acquire(first.ID, time.Now())
		if ans := h.ask(reversal("10000001", 2, 500)); !ans.Silent {
			t.Errorf("the reversal of a busy sale was told %v %s", ans.Reason, ans.Code)
		}
		h.s.originals.release(first.ID)
		h.want("the reversal again", h.ask(reversal("10000001", 2, 500)), txn.Approved, "00")
	})
}

// at starts the wall clock at an hour of 2 March 2026, days later.
func at(days, hour, minute int) {
	time.Sleep(time.Until(time.Date(2026, 3, 2+days, hour, minute, 0, 0, zone)))
}

// A number that was used three days ago is not yesterday's, however few requests
// came meanwhile: nor for a sale, nor for a reversal, nor for a tombstone.
func TestF04NumbersOfOlderDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer h.stop()
		h.want("sale", h.ask(sale("10000001", 1, 500)), txn.Approved, "00")
		h.want("sale", h.ask(sale("10000001", 2, 500)), txn.Approved, "00")
		h.want("reversal of nothing", h.ask(reversal("10000001", 3, 500)), txn.Approved, "00")
		for _, restarted := range []bool{false, true} {
			if restarted {
				h.restart()
				at(6, 23, 5)
			} else {
				at(3, 23, 5) // within the grace after the cut-over
			}
			h.want("reversal of an old sale", h.ask(reversal("10000001", 2, 500)), txn.OriginalIsOfAnotherDay, "25")
			h.want("another sale of the number", h.ask(sale("10000001", 1, 777)), txn.Approved, "00")
			h.want("reversal of nothing, again", h.ask(reversal("10000001", 3, 500)), txn.Approved, "00")
			h.want("its sale", h.ask(sale("10000001", 3, 500)), txn.ReversedBeforeRequest, "22")
			h.settle()
		}
		if h.bank.undone(0) != 0 {
			t.Error("a sale of an earlier day was undone")
		}
	})
}

// An advice that is told again the next morning is still the same.
func TestF02AdviceToldAgainTheNextDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 22, 0)
		h := newHouse(t)
		defer h.stop()
		offline := about(txn.KindOfflineSale, 1, 500, 0)
		first := h.ask(offline)
		h.want("offline sale", first, txn.Approved, "00")
		at(1, 9, 0)
		for range 2 {
			if again := h.ask(offline); !again.Replayed || !same(first, again) {
				t.Errorf("told again it is %v %s %s, was %s", again.Reason, again.Code, again.RRN, first.RRN)
			}
			h.restart()
		}
		if len(h.bank.sent) != 1 {
			t.Errorf("the issuer was told %d times", len(h.bank.sent))
		}
	})
}

// cut is a journal that was truncated before first.
type cut struct {
	Recorder
	first journal.Position
}

func (c cut) First() journal.Position { return c.first }

// What the records of a truncated journal give back was used in records that are
// gone: nothing is given back twice for it, and later days are exact.
func TestF68TruncatedJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer func() { h.stop() }()
		h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
		h.want("a smaller one", h.ask(sale("10000001", 2, 10)), txn.Approved, "00")
		h.want("void", h.ask(about(txn.KindVoid, 3, 1000, 1)), txn.Approved, "00")
		at(1, 12, 0)
		h.want("sale", h.ask(sale("10000001", 4, 300)), txn.Approved, "00")
		h.stop()
		h.open(func(r Recorder) Recorder { return cut{r, 3} }) // the first sale is gone
		if h.risk.Unmatched() != 0 || h.used("10000001") != 300 {
			t.Errorf("%d given back twice, %d used, want 0 and 300", h.risk.Unmatched(), h.used("10000001"))
		}
	})
}

// What is built on a transaction reaches its issuer after what happened to it
// before: while a tip, or an offline sale, is still to be told, nothing else is
// done about the sale.
func TestF37NothingOvertakesAnAdviceThatIsOwed(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	heard := false
	h.bank.acknowledge = func(int) bool { return heard }
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	h.want("tip", h.ask(about(txn.KindTip, 2, 100, 1)), txn.Approved, "00")
	h.want("offline sale", h.ask(about(txn.KindOfflineSale, 3, 500, 0)), txn.Approved, "00")
	h.bank.mu.Lock()
	h.bank.behave = nil
	h.bank.mu.Unlock()
	ofOffline := about(txn.KindRefund, 5, 500, 3)
	for range 2 {
		h.want("refund before the tip is heard", h.ask(about(txn.KindRefund, 4, 1100, 1)), txn.OriginalIsBusy, "09")
		h.want("refund before the offline sale is heard", h.ask(ofOffline), txn.OriginalIsBusy, "09")
		h.want("tip before the first is heard", h.ask(about(txn.KindTip, 6, 10, 1)), txn.OriginalIsBusy, "09")
		h.restart()
	}
	h.bank.mu.Lock()
	heard = true
	h.bank.mu.Unlock()
	h.settle()
	h.want("tip", h.ask(about(txn.KindTip, 6, 10, 1)), txn.Approved, "00")
	h.want("refund", h.ask(about(txn.KindRefund, 4, 1110, 1)), txn.Approved, "00")
	h.want("refund of the offline sale", h.ask(ofOffline), txn.Approved, "00")
}

// Another request under a number that is taken is refused, and changes nothing.
func TestF03OtherContentUnderATakenNumber(t *testing.T) {
	h := newHouse(t)
	first := h.ask(sale("10000001", 1, 1000))
	h.want("sale", first, txn.Approved, "00")
	before := len(h.records())
	for what, other := range map[string]txn.Request{"another amount": sale("10000001", 1, 1001), "a pre-authorization": about(txn.KindPreauth, 1, 1000, 0)} {
		h.want(what, h.ask(other), txn.DuplicateWithOtherContent, "94")
	}
	if again := h.ask(sale("10000001", 1, 1000)); !same(first, again) || len(h.records()) != before || len(h.bank.sent) != 1 || h.used("10000001") != 1000 {
		t.Errorf("afterwards it is told %v, %d records, %d exchanges, %d used", again.Reason, len(h.records())-before, len(h.bank.sent), h.used("10000001"))
	}
}

// One terminal asks for two things about one sale at the same time, and for two
// sales: each is decided, and what cannot both be is not.
func TestF12TwoRequestsAtATime(t *testing.T) {
	h := newHouse(t)
	for round := range uint32(20) {
		n := 10*round + 1
		both := func(a, b txn.Request) (x, y txn.Answer) {
			var wg sync.WaitGroup
			wg.Go(func() { x = h.ask(a) })
			wg.Go(func() { y = h.ask(b) })
			wg.Wait()
			return x, y
		}
		a, b := both(sale("10000001", n, 1000), sale("10000001", n+1, 1000))
		h.want("a sale", a, txn.Approved, "00")
		h.want("another", b, txn.Approved, "00")
		if a.RRN == b.RRN {
			t.Errorf("two sales have the number %s", a.RRN)
		}
		v, r := both(about(txn.KindVoid, n+2, 1000, n), about(txn.KindRefund, n+3, 1000, n))
		if (v.Reason == txn.Approved) == (r.Reason == txn.Approved) {
			t.Errorf("of a void and a refund of one sale both or neither are told yes: %v, %v", v.Reason, r.Reason)
		}
		h.want("what undoes the other", h.ask(about(txn.KindVoid, n+4, 1000, n+1)), txn.Approved, "00")
	}
}

// crowded is a journal whose queue has no place while it is full.
type crowded struct {
	Recorder
	full bool
}

func (c *crowded) Queue(rec []byte) (journal.Position, error) {
	if c.full {
		return 0, journal.ErrFull
	}
	return c.Recorder.Queue(rec)
}

// What is turned away because the disk is behind gives back what it reserved, and
// nothing that an earlier transaction uses.
func TestF68FullQueueGivesBackWhatWasReservedAlone(t *testing.T) {
	h := newHouse(t)
	h.stop()
	disk := &crowded{}
	h.open(func(r Recorder) Recorder { disk.Recorder = r; return disk })
	h.want("first sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	for _, kind := range []txn.Kind{txn.KindSale, txn.KindVoid, txn.KindRefund} {
		disk.full = true
		req := about(kind, 2, 1000, 1)
		if kind == txn.KindSale {
			req = sale("10000001", 2, 1000)
		}
		if got := h.ask(req); got.Reason != txn.SwitchIsOverloaded {
			t.Errorf("%s: %v, want %v", kind, got.Reason, txn.SwitchIsOverloaded)
		}
		if h.used("10000001") != 1000 || h.cardUsed() != 1000 || h.risk.InFlight() != 0 || h.risk.Unmatched() != 0 {
			t.Errorf("%s: terminal %d, card %d, want 1000; %d in flight, %d given back twice", kind, h.used("10000001"), h.cardUsed(), h.risk.InFlight(), h.risk.Unmatched())
		}
		disk.full = false
	}
	h.want("a void with a place", h.ask(about(txn.KindVoid, 2, 1000, 1)), txn.Approved, "00")
}

// A clock that was twenty hours ahead, over a cut-over, is put right: numbers go on
// rising, and each request has one answer, before and after a restart.
func TestF74ClockIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ask := func(stan uint32, ahead time.Duration) txn.Answer {
			var ans txn.Answer
			req := sale("10000001", stan, 500)
			req.Received = time.Now().Add(ahead)
			h.s.Authorize(&req, &ans)
			return ans
		}
		var told []txn.Answer
		for stan, ahead := range []time.Duration{20 * time.Hour, 0, 0, time.Hour, 0} {
			a := ask(uint32(stan+1), ahead)
			h.want("sale", a, txn.Approved, "00")
			for _, earlier := range told {
				if a.ID <= earlier.ID || a.RRN == earlier.RRN {
					t.Errorf("sale %d has id %s and RRN %s after %s and %s", stan+1, a.ID, a.RRN, earlier.ID, earlier.RRN)
				}
			}
			told = append(told, a)
		}
		for range 2 {
			for i := range told {
				if again := ask(uint32(i+1), 0); !again.Replayed || !same(told[i], again) {
					t.Errorf("sale %d again: %+v, was %+v", i+1, again, told[i])
				}
			}
			h.restart()
		}
		if a := ask(9, 0); a.ID <= told[len(told)-1].ID {
			t.Errorf("after a restart %s follows %s", a.ID, told[len(told)-1].ID)
		}
		h.stop()
	})
}

// A clock that is put years ahead makes nothing forgotten that is of the day that runs: each
// request has one answer, and sales go on when it is right again; where it was wrong from
// the start, after a restart.
func TestF74ClockIsPutYearsAhead(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		wrong time.Duration // by how much the clock was from the start
	}{{"while it runs", 0}, {"from the start", 400 * day}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				defer h.stop()
				h.believed = func() time.Time { return time.Now().Add(c.wrong) }
				h.restart()
				ask := func(stan uint32, ahead time.Duration) txn.Answer {
					var ans txn.Answer
					req := sale("10000001", stan, 500)
					if stan > 1 {
						req.Key.Batch = 0 // as of terminals that begin anew every day
					}
					req.Received = time.Now().Add(ahead)
					h.s.Authorize(&req, &ans)
					return ans
				}
				told := map[uint32]txn.Answer{}
				asks := func(stan uint32, ahead time.Duration) {
					t.Helper()
					told[stan] = ask(stan, ahead)
					h.want("sale", told[stan], txn.Approved, "00")
				}
				asks(1, 0)
				if c.wrong == 0 {
					if again := ask(1, 400*day); !again.Replayed || !same(told[1], again) {
						t.Errorf("a sale again while the clock is ahead: %+v, was %+v", again, told[1])
					}
				}
				asks(2, 400*day)
				asks(3, 401*day)
				if c.wrong != 0 { // when it is right again
					h.believed = time.Now
					h.restart()
				}
				asks(4, 0)
				for range 2 {
					for stan, was := range told {
						if again := ask(stan, 0); !again.Replayed || !same(was, again) {
							t.Errorf("sale %d again: %+v, was %+v", stan, again, was)
						}
					}
					h.restart()
				}
				time.Sleep(2 * day) // numbers begin anew
				for stan, was := range told {
					if a := ask(stan, 0); a.Replayed || a.ID <= was.ID {
						t.Errorf("sale %d two days later: %+v, was %+v", stan, a, was)
					}
				}
			})
		})
	}
}
