package acquirer

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// part is a terminal's reversal of all of a sale but stays, under a number of its
// own.
func part(stan, of uint32, minor, stays int64) txn.Request {
	r := reversal("10000001", of, minor)
	r.Key.STAN = stan
	r.Replacement = txn.Amount{Minor: stays, Currency: r.Amount.Currency}
	return r
}

// use is the terminal's use of its day limits.
func (h *house) use() risk.Use {
	p := risk.Party{Scope: txn.ScopeTerminal, Currency: txn.CNY}
	copy(p.ID[:], "10000001")
	return h.risk.UsageOf(h.s.cfg.Day.Of(time.Now()), p)
}

func (h *house) stands(what string, use risk.Use, debit, credit txn.Sum) {
	h.t.Helper()
	h.settle()
	if got := h.use(); got != use {
		h.t.Errorf("%s: %+v is used, want %+v", what, got, use)
	}
	want := txn.Totals{Debit: debit, Credit: credit}
	if got := h.s.Batches().Totals(txn.MakeTerminalID("10000001"), 1, 0); got != want {
		h.t.Errorf("%s: the batch has %+v, want %+v", what, got, want)
	}
	if n := h.risk.Unmatched(); n != 0 {
		h.t.Errorf("%s: %d uses were given back twice", what, n)
	}
}

// What a reversal in part leaves: in the limits, in the batch, for the issuer and
// for what may be done afterwards; live and after a restart.
func TestPartialReversal(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts %v", restarts), func(t *testing.T) {
			h := newHouse(t)
			again := func() {
				if restarts {
					h.restart()
				}
			}
			one := func(minor int64) txn.Sum { return txn.Sum{Count: 1, Minor: minor} }
			h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
			again()
			first := h.ask(part(2, 1, 1000, 400))
			h.want("all but 4.00", first, txn.Approved, "00")
			h.stands("all but 4.00", risk.Use{Minor: 400, Count: 1}, one(400), txn.Sum{})
			again()
			if got := h.ask(part(2, 1, 1000, 400)); !got.Replayed || !same(first, got) {
				t.Errorf("the same again: %+v, was %+v", got, first)
			}
			h.want("another one of the same", h.ask(part(3, 1, 1000, 400)), txn.Approved, "00")
			h.want("one that leaves more", h.ask(part(4, 1, 1000, 401)), txn.ReplacementIsNotLess, "13")
			h.want("one that leaves what there was", h.ask(part(11, 1, 1000, 1000)), txn.ReplacementIsNotLess, "13")
			h.want("the sale again", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
			h.want("void of the whole", h.ask(about(txn.KindVoid, 5, 1000, 1)), txn.OriginalAmountDiffers, "64")
			h.want("refund of more than stands", h.ask(about(txn.KindRefund, 6, 401, 1)), txn.OriginalAmountDiffers, "64")
			h.stands("refusals", risk.Use{Minor: 400, Count: 1}, one(400), txn.Sum{})
			again()
			h.want("all but 3.00", h.ask(part(7, 1, 1000, 300)), txn.Approved, "00")
			h.stands("all but 3.00", risk.Use{Minor: 300, Count: 1}, one(300), txn.Sum{})
			again()
			h.want("void of what stands", h.ask(about(txn.KindVoid, 8, 300, 1)), txn.Approved, "00")
			h.stands("void", risk.Use{}, one(300), one(300))
			h.want("part of what is voided", h.ask(part(9, 1, 1000, 200)), txn.OriginalDoesNotStand, "25")
			again()
			h.want("reversal of the void", h.ask(reversal("10000001", 8, 300)), txn.Approved, "00")
			again()
			h.want("a late copy of the part of what was voided", h.ask(part(9, 1, 1000, 200)), txn.OriginalDoesNotStand, "25")
			h.stands("reversal of the void", risk.Use{Minor: 300, Count: 1}, one(300), txn.Sum{})
			again()
			h.want("the rest", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
			h.stands("the rest", risk.Use{}, txn.Sum{}, txn.Sum{})
			again()
			h.want("part of nothing", h.ask(part(10, 1, 1000, 200)), txn.OriginalDoesNotStand, "25")
			h.want("the rest again", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
			h.stands("the end", risk.Use{}, txn.Sum{}, txn.Sum{})
			if want := []int64{400, 300, 0}; !slices.Equal(h.bank.left[1], want) {
				t.Errorf("the issuer was told to leave %v, want %v", h.bank.left[1], want)
			}
		})
	}
}

// Two parts are reversed under one number. The first was sent twice before it was
// acknowledged, so the other answer to it may come when the second part is on its way,
// and be taken for its answer: that is sent until an answer must be to itself.
func TestF34LateAnswerToAPartIsNotTakenForTheNextOnes(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	unanswered := 2
	hold := make(chan struct{})
	h.bank.acknowledge = func(int) bool {
		<-hold
		unanswered--
		return unanswered < 0
	}
	h.want("all but 4.00", h.ask(part(2, 1, 1000, 400)), txn.Approved, "00")
	h.want("all but 3.00", h.ask(part(3, 1, 1000, 300)), txn.Approved, "00")
	h.want("the rest", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
	close(hold)
	h.stands("the rest", risk.Use{}, txn.Sum{}, txn.Sum{})
	if want := []int64{400, 300, 300, 300, 0, 0, 0}; !slices.Equal(h.bank.left[1], want) {
		t.Errorf("the issuer was told to leave %v, want %v", h.bank.left[1], want)
	}
}

// Rows are in precedence order. None of them changes anything; under the number of
// its original none is remembered.
func TestPartialReversalIsRefused(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.want("void", h.ask(about(txn.KindVoid, 2, 1000, 1)), txn.Approved, "00")
	h.want("refunded", h.ask(sale("10000001", 3, 1000)), txn.Approved, "00")
	h.want("refund", h.ask(about(txn.KindRefund, 4, 100, 3)), txn.Approved, "00")
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeDeclined, txn.IssuerDeclined, "51"
	}
	h.want("declined", h.ask(sale("10000001", 5, 1000)), txn.IssuerDeclined, "51")
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	h.want("unknown", h.ask(sale("10000001", 6, 1000)), txn.IssuerDidNotAnswer, "98")
	h.bank.behave = nil
	h.want("sale", h.ask(sale("10000001", 7, 1000)), txn.Approved, "00")
	advice := part(30, 4, 100, 50)
	h.settle()
	before := h.use()
	dollars := part(30, 7, 1000, 500)
	dollars.Amount.Currency, dollars.Replacement.Currency = 840, 840
	for i, c := range []struct {
		name   string
		req    txn.Request
		reason txn.Reason
		code   string
	}{
		{"never seen", part(30, 77, 1000, 500), txn.OriginalIsUnknown, "25"},
		{"a refund", advice, txn.OriginalIsUnknown, "25"}, // its class is another: it is not found by this number
		{"another amount", part(30, 7, 999, 500), txn.OriginalAmountDiffers, "64"},
		{"another currency", dollars, txn.OriginalAmountDiffers, "64"},
		{"a void", part(30, 2, 1000, 500), txn.KindIsNotOffered, "40"},
		{"voided", part(30, 1, 1000, 500), txn.OriginalDoesNotStand, "25"},
		{"refunded", part(30, 3, 1000, 500), txn.OriginalDoesNotStand, "25"},
		{"declined", part(30, 5, 1000, 500), txn.OriginalDoesNotStand, "25"},
		{"unknown and undone", part(30, 6, 1000, 500), txn.OriginalDoesNotStand, "25"},
		{"more than all", part(30, 7, 1000, 1001), txn.ReplacementIsNotLess, "13"},
		{"all", part(30, 7, 1000, 1000), txn.ReplacementIsNotLess, "13"},
	} {
		c.req.Key.STAN += uint32(i)
		for range 2 {
			h.want(c.name, h.ask(c.req), c.reason, c.code)
		}
		own := c.req
		own.Key.STAN = own.Original.STAN
		h.want(c.name+" under its number", h.ask(own), c.reason, c.code)
	}
	h.settle()
	if got := h.use(); got != before {
		t.Errorf("refused reversals changed the use of limits from %+v to %+v", before, got)
	}
	h.want("the sale of one that came first", h.ask(sale("10000001", 77, 1000)), txn.Approved, "00") // no tombstone
	h.want("a late copy of one that came first", h.ask(part(30, 77, 1000, 500)), txn.OriginalIsUnknown, "25")
	h.want("the number is free", h.ask(reversal("10000001", 77, 1000)), txn.Approved, "00")
	h.want("the number is free", h.ask(part(7, 7, 1000, 500)), txn.Approved, "00")
}

// A reversal in part that comes while its sale is being decided waits for it, and
// one at a time is decided.
func TestPartialReversalWhileItsSaleIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		defer h.stop()
		h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			time.Sleep(5 * time.Second)
			return txn.OutcomeApproved, txn.Approved, "00"
		}
		var all sync.WaitGroup
		all.Go(func() { h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00") })
		time.Sleep(time.Second)
		for i := range 4 { // the same four times at once
			all.Go(func() { h.want(fmt.Sprint("part ", i), h.ask(part(2+uint32(i), 1, 1000, 400)), txn.Approved, "00") })
		}
		all.Wait()
		h.stands("four at once", risk.Use{Minor: 400, Count: 1}, txn.Sum{Count: 1, Minor: 400}, txn.Sum{})
		if want := []int64{400}; !slices.Equal(h.bank.left[1], want) {
			t.Errorf("the issuer was told to leave %v, want %v", h.bank.left[1], want)
		}
	})
}

// While the issuer has not heard of a reversal in part nothing is built on what
// stands; more can be taken back, and is told in order, across restarts.
func TestPartialReversalsAreToldInOrder(t *testing.T) {
	h := newHouse(t)
	h.bank.acknowledge = func(int) bool { return false }
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.want("all but 4.00", h.ask(part(2, 1, 1000, 400)), txn.Approved, "00")
	h.want("void of what stands", h.ask(about(txn.KindVoid, 3, 400, 1)), txn.OriginalIsBusy, "09")
	h.want("refund of what stands", h.ask(about(txn.KindRefund, 4, 400, 1)), txn.OriginalIsBusy, "09")
	h.want("all but 3.00", h.ask(part(5, 1, 1000, 300)), txn.Approved, "00")
	h.retry = time.Millisecond
	if found := h.restart(); found.Owed != 1 {
		t.Errorf("found %+v, of one transaction something is owed", found)
	}
	h.want("the rest", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
	if used := h.use(); used != (risk.Use{Minor: 1000, Count: 1}) {
		t.Errorf("%+v is used before the issuer heard of anything", used)
	}
	if n := h.s.Figures().ReversalsOwed; n != 1 {
		t.Errorf("reversals of %d transactions are owed, want one", n)
	}
	h.stop()
	h.bank.acknowledge = nil // while nothing asks it: a part sent twice would be told twice, and so would those after it
	h.open(nil)
	h.stands("all", risk.Use{}, txn.Sum{}, txn.Sum{})
	if want := []int64{400, 300, 0}; !slices.Equal(h.bank.left[1], want) {
		t.Errorf("the issuer was told to leave %v, want %v", h.bank.left[1], want)
	}
}

// A pre-authorization that was reversed in part promises what stands.
func TestPartialReversalOfAPreauth(t *testing.T) {
	h := newHouse(t)
	h.want("preauth", h.ask(about(txn.KindPreauth, 1, 1000, 0)), txn.Approved, "00")
	h.want("all but 4.00", h.ask(part(2, 1, 1000, 400)), txn.Approved, "00")
	h.stands("all but 4.00", risk.Use{Minor: 400, Count: 1}, txn.Sum{}, txn.Sum{})
	h.want("completion over 115 percent", h.ask(about(txn.KindCompletion, 3, 461, 1)), txn.OriginalAmountDiffers, "64")
	h.want("completion", h.ask(about(txn.KindCompletion, 4, 460, 1)), txn.Approved, "00")
	h.want("all but 1.00 of what is completed", h.ask(part(5, 1, 1000, 100)), txn.OriginalDoesNotStand, "25")
	h.want("all but 3.00 of the completion", h.ask(part(6, 4, 460, 300)), txn.Approved, "00")
	h.stands("completion", risk.Use{Minor: 400, Count: 1}, txn.Sum{Count: 1, Minor: 300}, txn.Sum{})
	h.want("void of the completion", h.ask(about(txn.KindCompletionVoid, 7, 300, 4)), txn.Approved, "00")
}

// What stands is known from the archive when memory has let go of it.
func TestRefundOfWhatWasReversedInPartLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer h.stop()
		first := h.ask(sale("10000001", 1, 1000))
		h.want("all but 4.00", h.ask(part(2, 1, 1000, 400)), txn.Approved, "00")
		time.Sleep(time.Minute)
		h.want("all but 3.00", h.ask(part(3, 1, 1000, 300)), txn.Approved, "00")
		time.Sleep(time.Minute)
		h.s.archive = &shelf{recs: h.records()}
		at(5, 12, 0)
		for i, c := range []struct {
			minor  int64
			reason txn.Reason
			code   string
		}{{301, txn.OriginalAmountDiffers, "64"}, {200, txn.Approved, "00"}, {101, txn.OriginalAmountDiffers, "64"}, {100, txn.Approved, "00"}} {
			refund := about(txn.KindRefund, 10+uint32(i), c.minor, 0)
			refund.Original = txn.Reference{RRN: first.RRN, Date: first.Date}
			h.want(fmt.Sprint("refund of ", c.minor), h.ask(refund), c.reason, c.code)
		}
	})
}

// Every append of a day of reversals in part fails once, lost or persisted. The
// terminal says again what it got no answer to, and all comes out as if nothing
// had happened.
func TestEveryAppendOfPartialReversalsFails(t *testing.T) {
	day := []txn.Request{sale("10000001", 1, 1000), part(2, 1, 1000, 400), part(3, 1, 1000, 300), reversal("10000001", 1, 1000), sale("10000001", 4, 500), part(5, 4, 500, 200)}
	for _, persisted := range []bool{false, true} {
		for n := 1; ; n++ {
			h := newHouse(t)
			h.stop()
			fault := &faulty{n: n, persisted: persisted}
			h.open(func(r Recorder) Recorder { fault.Recorder = r; return fault })
			at := 0
			for ; at < len(day); at++ {
				if h.ask(day[at]).Silent {
					break
				}
			}
			for !fault.failed() && h.s.Figures().ReversalsOwed > 0 { // those of what is owed are the last ones
				time.Sleep(time.Millisecond)
			}
			h.restart()
			failed := fault.failed()
			if at == 0 || at == 4 { // without an answer a sale is reversed, and made anew
				undo := reversal("10000001", day[at].Key.STAN, day[at].Amount.Minor)
				h.want("reversal of the unanswered sale", h.ask(undo), txn.Approved, "00")
				h.stop()
				if failed {
					continue
				}
			}
			for ; at < len(day); at++ {
				h.want(fmt.Sprintf("append %d, persisted %v, step %d", n, persisted, at), h.ask(day[at]), txn.Approved, "00")
			}
			h.stands(fmt.Sprintf("append %d, persisted %v", n, persisted), risk.Use{Minor: 200, Count: 1}, txn.Sum{Count: 1, Minor: 200}, txn.Sum{})
			for stan, want := range map[uint32][]int64{1: {400, 300, 0}, 2: {200}} {
				if got := slices.Compact(h.bank.left[stan]); !reflect.DeepEqual(got, want) {
					t.Errorf("append %d, persisted %v: the issuer was told to leave %v of %d, want %v", n, persisted, got, stan, want)
				}
			}
			h.stop()
			if !failed {
				if n < 12 {
					t.Fatalf("the day has only %d appends", n)
				}
				break
			}
		}
	}
}
