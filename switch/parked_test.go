package acquirer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestRefusedParks: which answers park what is owed, and after how many of them.
func TestRefusedParks(t *testing.T) {
	away, busy := errors.New("no answer"), errors.New("try later")
	const parkAfter = 3
	for _, c := range []struct {
		name string
		code string
		err  error
		want int // answers until it is parked; 0 never
	}{
		{"no answer at all", "", away, 0},
		{"nothing left us", "", txn.ErrNotSent, 0},
		{"refused", "12", nil, parkAfter},
		{"refused for the moment", "96", busy, 10 * parkAfter},
		{"its issuer takes none", "", txn.ErrNoReversals, 1},
	} {
		var o owed
		var code [2]byte
		copy(code[:], c.code)
		n := 1
		for ; n <= 100*parkAfter && !o.refused(code, c.err, parkAfter); n++ {
		}
		if n > 100*parkAfter {
			n = 0
		}
		if n != c.want {
			t.Errorf("%s: parked after %d answers, want %d", c.name, n, c.want)
		}
	}
	var o owed // both kinds count together
	for range 20 {
		if o.refused([2]byte{'9', '6'}, busy, parkAfter) {
			t.Error("20 answers that say nothing of the message are two")
		}
	}
	if !o.refused([2]byte{'1', '2'}, nil, parkAfter) {
		t.Error("with a refusal they are three")
	}
}

// refusing makes the bank refuse so many reversals and advices with 12.
func (b *bank) refusing(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusals = n
}

// parkedHouse has a sale whose reversal is parked, under number 1.
func parkedHouse(t *testing.T) (h *house, sold txn.Answer) {
	t.Helper()
	time.Sleep(time.Until(time.Date(2026, 3, 2, 12, 0, 0, 0, zone)))
	h = newHouse(t)
	h.s.cfg.ParkAfter = 2
	h.bank.refusing(2)
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	sold = h.ask(sale("10000001", 1, 1000))
	h.bank.behave = nil
	time.Sleep(time.Minute)
	if f := h.s.Figures(); f.ReversalsParked != 1 || f.ReversalsOwed != 1 {
		t.Fatalf("%d are owed, %d parked", f.ReversalsOwed, f.ReversalsParked)
	}
	return h, sold
}

// last is the latest record of a kind.
func (h *house) last(kind txn.RecordKind) (rec txn.Record) {
	for _, r := range h.records() {
		if r.Kind == kind {
			rec = r
		}
	}
	return rec
}

// What is parked is sent no more, also after a restart, uses its limit, and keeps
// nothing else from being told; a person has it sent again, from the first try on.
func TestParkedReversalIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, sold := parkedHouse(t)
		defer func() { h.stop(); h.stop = func() {} }()
		if rec := h.last(txn.RecordParked); rec.Original != sold.ID || rec.Attempts != 2 || string(rec.IssuerCode[:]) != "12" || rec.Held != txn.NoEffect {
			t.Errorf("parked as %+v", rec)
		}
		still := func(when string) {
			t.Helper()
			time.Sleep(time.Hour)
			if f := h.s.Figures(); f.ReversalsParked != 1 || f.ReversalsOwed != 1 || h.bank.undone(0) != 0 || h.used("10000001") != 1000 {
				t.Errorf("%s: %d are owed, %d parked, %d undone, %d used", when, f.ReversalsOwed, f.ReversalsParked, h.bank.undone(0), h.used("10000001"))
			}
		}
		still("parked")
		h.restart()
		still("after a restart")
		h.s.cfg.ParkAfter = 2

		h.want("another sale", h.ask(sale("10000002", 1, 500)), txn.Approved, "00")
		h.want("its reversal", h.ask(reversal("10000002", 1, 500)), txn.Approved, "00")
		time.Sleep(time.Minute)
		if h.bank.undone(0) != 1 || h.used("10000002") != 0 {
			t.Errorf("another's: %d undone, %d used", h.bank.undone(0), h.used("10000002"))
		}

		if err := h.s.Release(77, "nobody's"); !errors.Is(err, ErrNotParked) {
			t.Errorf("released what is not parked: %v", err)
		}
		h.bank.refusing(1) // one refusal more does not park it
		if err := h.s.Release(sold.ID, "the bank asks for it"); err != nil {
			t.Fatal(err)
		}
		if rec := h.last(txn.RecordReleased); rec.Original != sold.ID || string(rec.Data) != "the bank asks for it" || rec.Held != txn.NoEffect {
			t.Errorf("released as %+v", rec)
		}
		if err := h.s.Release(sold.ID, "twice"); !errors.Is(err, ErrNotParked) {
			t.Errorf("released twice: %v", err)
		}
		time.Sleep(time.Minute)
		h.settle()
		if h.bank.undone(0) != 2 || h.used("10000001") != 0 {
			t.Errorf("released: %d undone, %d used", h.bank.undone(0), h.used("10000001"))
		}
	})
}

// The refusals of before a release count no more.
func TestReleasedBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, sold := parkedHouse(t)
		h.bank.refusing(1)
		if err := h.s.Release(sold.ID, "try again"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if f := h.s.Figures(); f.ReversalsOwed != 0 || h.bank.undone(0) != 1 {
			t.Errorf("%d are owed, %d parked, %d undone", f.ReversalsOwed, f.ReversalsParked, h.bank.undone(0))
		}
		h.stop()
		h.stop = func() {}
	})
}

// A person resolves what is parked: the limits are given back, and nothing is sent or
// owed, also after a restart.
func TestParkedReversalIsResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, sold := parkedHouse(t)
		defer func() { h.stop(); h.stop = func() {} }()
		if err := h.s.Resolve(77, "nobody's", false); !errors.Is(err, ErrNotParked) {
			t.Errorf("resolved what is not parked: %v", err)
		}
		if err := h.s.Resolve(sold.ID, "paid by hand", false); err != nil {
			t.Fatal(err)
		}
		if rec := h.last(txn.RecordReversalDone); rec.Original != sold.ID || rec.Reason != txn.ResolvedByHand || string(rec.Data) != "paid by hand" || rec.Held != txn.Credit {
			t.Errorf("resolved as %+v", rec)
		}
		for range 2 {
			time.Sleep(time.Hour)
			if f := h.s.Figures(); f.ReversalsOwed != 0 || f.ReversalsParked != 0 || h.bank.undone(0) != 0 || h.used("10000001") != 0 {
				t.Errorf("%d are owed, %d parked, %d undone, %d used", f.ReversalsOwed, f.ReversalsParked, h.bank.undone(0), h.used("10000001"))
			}
			h.restart()
		}
	})
}

// A parked advice was taken note of, or was not: then what it told of never was.
func TestParkedAdviceIsResolved(t *testing.T) {
	for _, taken := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(time.Date(2026, 3, 2, 12, 0, 0, 0, zone)))
			h := newHouse(t)
			defer func() { h.stop(); h.stop = func() {} }()
			h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
			h.s.cfg.ParkAfter = 2
			h.bank.refusing(2)
			h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
				return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
			}
			refund := h.ask(about(txn.KindRefund, 2, 700, 1))
			h.want("refund", refund, txn.Approved, "00")
			h.bank.behave = nil
			time.Sleep(time.Minute)
			if f := h.s.Figures(); f.ReversalsParked != 1 {
				t.Fatalf("%d parked of %d", f.ReversalsParked, f.ReversalsOwed)
			}
			h.want("another refund meanwhile", h.ask(about(txn.KindRefund, 3, 300, 1)), txn.OriginalIsBusy, "09")
			if err := h.s.Resolve(refund.ID, "the bank says so", taken); err != nil {
				t.Fatal(err)
			}
			rec := h.last(txn.RecordAdviceDone)
			if rec.Original != refund.ID || (rec.Reason == txn.Approved) != taken || string(rec.Data) != "the bank says so" {
				t.Errorf("resolved as %+v", rec)
			}
			left, over := int64(300), int64(301)
			if !taken {
				left, over = 1000, 1001
			}
			h.restart()
			h.want("more than is left", h.ask(about(txn.KindRefund, 4, over, 1)), txn.OriginalAmountDiffers, "64")
			h.want("what is left", h.ask(about(txn.KindRefund, 5, left, 1)), txn.Approved, "00")
			if len(h.bank.advised) != 0 {
				t.Errorf("advised of %v", h.bank.advised)
			}
		})
	}
}

// A sale is not undone before its void is, which waits for a person over days: an issuer
// would undo the void last, and the sale would stand.
func TestReversalWaitsForAParkedDeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 3, 2, 12, 0, 0, 0, zone)))
		h := newHouse(t)
		h.s.cfg.ParkAfter = 2
		h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
		h.bank.refusing(2)
		h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
		}
		void := h.ask(about(txn.KindVoid, 2, 1000, 1))
		h.bank.behave = nil
		time.Sleep(time.Minute)
		h.want("reversal of the sale", h.ask(reversal("10000001", 1, 1000)), txn.Approved, "00")
		for n := range uint32(3) { // something is done about transactions of these days
			time.Sleep(24 * time.Hour)
			h.want("sale", h.ask(sale("10000002", 10+n, 1000)), txn.Approved, "00")
			refund := about(txn.KindRefund, 20+n, 500, 10+n)
			refund.Key.Terminal = txn.MakeTerminalID("10000002")
			h.want("refund", h.ask(refund), txn.Approved, "00")
		}
		if f := h.s.Figures(); f.ReversalsParked != 1 || f.ReversalsOwed != 2 || h.bank.undone(0) != 0 {
			t.Errorf("%d are owed, %d parked, %d undone", f.ReversalsOwed, f.ReversalsParked, h.bank.undone(0))
		}
		if err := h.s.Release(void.ID, "asked the issuer"); err != nil {
			t.Fatal(err)
		}
		h.settle()
		if h.bank.undone(1) != 1 || h.bank.undone(2) != 1 {
			t.Errorf("the sale was undone %d times, the void %d", h.bank.undone(1), h.bank.undone(2))
		}
	})
}
