package acquirer

import (
	"container/heap"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// failAfter opens the house anew on a journal that fails after so many appends.
func (h *house) failAfter(n int) *faulty {
	h.t.Helper()
	h.stop()
	fault := &faulty{n: n + 1}
	h.open(func(r Recorder) Recorder { fault.Recorder = r; return fault })
	return fault
}

// What was with an issuer when the process ended is unknown: an answer that says so,
// and a reversal or, of what is told until it is taken, a repetition. What moves no
// money owes nothing.
func TestOpenIntentsBecomeUnknown(t *testing.T) {
	for _, c := range []struct {
		name     string
		req      txn.Request
		reason   txn.Reason
		code     string
		held     txn.Effect
		undone   int
		advised  int
		usedThen int64 // by the terminal when nothing is owed any more
	}{
		{"sale", sale("10000001", 2, 700), txn.IssuerDidNotAnswer, "98", txn.Debit, 1, 0, 1000},
		{"void", about(txn.KindVoid, 2, 1000, 1), txn.IssuerDidNotAnswer, "98", txn.NoEffect, 1, 0, 1000},
		{"refund", about(txn.KindRefund, 2, 700, 1), txn.Approved, "00", txn.NoEffect, 0, 1, 1000},
		{"balance", about(txn.KindBalance, 2, 0, 0), txn.IssuerDidNotAnswer, "98", txn.NoEffect, 0, 0, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.want("sale before", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
			h.failAfter(1)
			if ans := h.ask(c.req); !ans.Silent {
				t.Fatalf("answered %v", ans.Reason)
			}
			h.restart()
			rec := h.last(txn.RecordOutcome)
			if rec.Key.STAN != 2 || rec.Outcome != txn.OutcomeUnknown || rec.Reason != c.reason || string(rec.Code[:]) != c.code || rec.Held != c.held {
				t.Errorf("decided as %s, %v, %s, held %d", rec.Outcome, rec.Reason, rec.Code, rec.Held)
			}
			h.settle()
			h.want("asked again", h.ask(c.req), c.reason, c.code)
			if undone, advised := h.bank.undone(0), len(h.bank.advised); undone != c.undone || advised != c.advised || h.used("10000001") != c.usedThen {
				t.Errorf("%d undone, %d advised, %d used", undone, advised, h.used("10000001"))
			}
		})
	}
}

// TestReversalHasTheTimeOfThePlace: a reversal names the time of the terminal's place as its
// original did, not the link's, whoever asks for it; the bank holds what it is sent
// against that. A CUP terminal is told our time, others what they said.
func TestReversalHasTheTimeOfThePlace(t *testing.T) {
	own := func(req txn.Request) txn.Request {
		req.Dialect, req.LocalTime, req.LocalDate = 2, [6]byte([]byte("041500")), [4]byte([]byte("1121"))
		return req
	}
	h := newHouse(t)
	ours := h.ask(sale("10000001", 1, 1000))
	theirs := h.ask(own(sale("10000001", 2, 1000)))
	if now := h.s.moment(time.Now()); ours.Date != now.date || string(theirs.Time[:]) != "041500" || string(theirs.Date[:]) != "1121" {
		t.Errorf("told %s %s, and %s %s", ours.Date, ours.Time, theirs.Date, theirs.Time)
	}
	h.ask(reversal("10000001", 1, 1000))
	h.ask(own(reversal("10000001", 2, 1000)))
	h.settle() // what is noted of these is no append of the third
	h.failAfter(1)
	h.ask(own(sale("10000001", 3, 1000)))
	h.restart()
	h.settle()
	for stan := range uint32(3) {
		if h.bank.undone(stan+1) == 0 {
			t.Errorf("%d is not undone", stan+1)
		}
	}
}

// beside is a second switch on the house's journal, not recovered yet.
func (h *house) beside(rec Recorder) *Switch {
	h.t.Helper()
	e, err := risk.New(risk.Config{})
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := New(h.s.cfg, Parts{Registry: h.s.registry, Risk: e, Issuers: h.bank, Journal: rec, Cards: h.s.cards, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// A switch that cannot read its journal, or cannot decide what is open in it, does not
// start.
func TestRecoverFails(t *testing.T) {
	h := newHouse(t)
	h.failAfter(1)
	h.ask(sale("10000001", 1, 1000))
	if _, err := h.beside(&faulty{Recorder: h.journal, n: 1}).Recover(); !errors.Is(err, errDisk) {
		t.Errorf("an open request that cannot be decided: %v", err)
	}
	if _, err := h.beside(h.journal).Recover(); err != nil {
		t.Fatal(err)
	}
	position, err := h.journal.Append([]byte("no record"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.beside(h.journal).Recover(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("journal record %d", position)) {
		t.Errorf("what is no record, at %d: %v", position, err)
	}
}

// What cannot be recorded about something owed ends the process: the next start
// decides.
func TestRunEndsWithItsJournal(t *testing.T) {
	unknown := func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	for name, c := range map[string]struct {
		appends int
		do      func(h *house)
	}{
		"an acknowledgement": {2, func(h *house) {
			h.bank.behave = unknown
			h.ask(sale("10000001", 1, 500))
		}},
		"that something is parked": {2, func(h *house) {
			h.s.cfg.ParkAfter = 1
			h.bank.refusing(1)
			h.bank.behave = unknown
			h.ask(sale("10000001", 1, 500))
		}},
		"that an approval was not delivered": {2, func(h *house) {
			req := sale("10000001", 1, 500)
			var ans txn.Answer
			h.s.Authorize(&req, &ans)
			h.s.Undelivered(&req, &ans)
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			fault := h.failAfter(c.appends)
			c.do(h)
			time.Sleep(5 * time.Minute)
			h.stop()
			if !fault.failed() || !errors.Is(h.ended, errDisk) {
				t.Errorf("%s: %d appends are left, Run ended with %v", name, fault.n, h.ended)
			}
			h.bank.behave = nil
			h.open(nil)
			time.Sleep(5 * time.Minute)
			h.settle()
			if name == "that an approval was not delivered" {
				h.want("asked again", h.ask(sale("10000001", 1, 500)), txn.Approved, "00") // its terminal may ask for ever
			} else if h.used("10000001") != 0 {
				t.Errorf("%s: %d are used when all is undone", name, h.used("10000001"))
			}
			h.stop()
			h.stop = func() {}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		h, sold := parkedHouse(t)
		for what, decide := range map[string]func() error{
			"release": func() error { return h.s.Release(sold.ID, "why") },
			"resolve": func() error { return h.s.Resolve(sold.ID, "why", true) },
		} {
			h.failAfter(0)
			if err := decide(); !errors.Is(err, errDisk) {
				t.Errorf("%s: %v", what, err)
			}
			h.restart()
			if f := h.s.Figures(); f.ReversalsParked != 1 {
				t.Errorf("%s was lost, and %d are parked", what, f.ReversalsParked)
			}
		}
		h.stop()
		h.stop = func() {}
	})
}

// An orderly end makes due what a terminal was not told, without waiting for it to ask
// again.
func TestDrainEndsTheGraceOfUndelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		req := sale("10000001", 1, 500)
		var ans txn.Answer
		h.s.Authorize(&req, &ans)
		h.s.Undelivered(&req, &ans)
		time.Sleep(time.Second)
		if f := h.s.Figures(); f.Undelivered != 1 || f.ReversalsOwed != 0 {
			t.Errorf("%d undelivered, %d owed", f.Undelivered, f.ReversalsOwed)
		}
		if found := h.restart(); found.Owed != 1 {
			t.Errorf("%d are owed after the end", found.Owed)
		}
		time.Sleep(time.Second)
		if h.bank.undone(0) != 1 || h.used("10000001") != 0 {
			t.Errorf("%d undone, %d used", h.bank.undone(0), h.used("10000001"))
		}
		h.stop()
		h.stop = func() {}
	})
}

// An answer that comes too late is noted with what it belongs to, while that is owed,
// and changes nothing.
func TestLateAnswerIsNoted(t *testing.T) {
	h := newHouse(t)
	h.bank.acknowledge = func(int) bool { return false }
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	sold := h.ask(sale("10000001", 1, 500))
	other := h.ask(sale("10000002", 1, 700))
	leg := h.last(txn.RecordOutcome).Leg
	reply := txn.Reply{Code: [2]byte{'0', '0'}, AuthCode: [6]byte([]byte("A1B2C3"))}
	for _, c := range []struct {
		name  string
		leg   txn.Leg
		known bool
		of    txn.ID
	}{
		{"the second's", leg, true, other.ID},
		{"the first's", txn.Leg{Issuer: leg.Issuer, STAN: leg.STAN - 1, Time: leg.Time}, true, sold.ID},
		{"another issuer's of that number", txn.Leg{Issuer: txn.MakeIssuerID("west"), STAN: leg.STAN, Time: leg.Time}, false, 0},
		{"nobody's", txn.Leg{Issuer: leg.Issuer, STAN: 77}, false, 0},
	} {
		_, known := h.s.Late(c.leg, &reply)
		if rec := h.last(txn.RecordLate); known != c.known || rec.Original != c.of || rec.Leg != c.leg || rec.IssuerCode != reply.Code || rec.AuthCode != reply.AuthCode {
			t.Errorf("%s: known %v, recorded of %s: %+v", c.name, known, rec.Original, rec)
		}
	}
	if f := h.s.Figures(); f.ReversalsOwed != 2 || h.used("10000001") != 500 {
		t.Errorf("%d are owed, %d used", f.ReversalsOwed, h.used("10000001"))
	}
}

// An issuer's STANs come back while something of their first round is still owed: a late
// answer is to the one whose DE7 it has, or else to the latest.
func TestLateAnswerAfterItsSTANWasUsedAgain(t *testing.T) {
	l := newLanes(nil)
	leg := func(de7 string) (leg txn.Leg) {
		leg = txn.Leg{Issuer: txn.MakeIssuerID("east"), STAN: 42}
		copy(leg.Time[:], de7)
		return leg
	}
	for i, de7 := range []string{"1127080000", "1127080001", "1127080002"} {
		id := txn.ID(i + 1)
		l.byID[id] = &owed{rec: txn.Record{ID: id, At: time.Unix(int64(i), 0), Leg: leg(de7)}}
	}
	for _, c := range []struct {
		name string
		leg  txn.Leg
		of   txn.ID
	}{
		{"the first's DE7", leg("1127080000"), 1},
		{"the second's DE7", leg("1127080001"), 2},
		{"another DE7", leg("1127090000"), 3},
		{"no DE7", leg(""), 3},
		{"another issuer's", txn.Leg{Issuer: txn.MakeIssuerID("west"), STAN: 42}, 0},
	} {
		for range 20 { // what is owed stands in no order
			if rec, ok := l.find(c.leg); ok != (c.of != 0) || rec.ID != c.of {
				t.Fatalf("%s: found %v %s, want %s", c.name, ok, rec.ID, c.of)
			}
		}
	}
}

// What cannot be built, since its card number does not open, is not sent and stays owed.
func TestReversalThatCannotBeBuiltStaysOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.want("sale", h.ask(sale("10000001", 1, 500)), txn.Approved, "00")
		rec := h.last(txn.RecordOutcome)
		rec.SealedPAN[len(rec.SealedPAN)-1] ^= 1
		rec.Kind, rec.Original, rec.OriginalKey = txn.RecordReversalDue, rec.ID, rec.Key
		h.s.reversals.add(&rec, h.journal.Last(), false, false)
		time.Sleep(time.Hour)
		if f := h.s.Figures(); f.ReversalsOwed != 1 || f.ReversalsParked != 0 || h.bank.undone(0) != 0 || h.used("10000001") != 500 {
			t.Errorf("%d owed, %d parked, %d undone, %d used", f.ReversalsOwed, f.ReversalsParked, h.bank.undone(0), h.used("10000001"))
		}
		h.stop()
		h.stop = func() {}
	})
}

func TestOwedIsSentInOrderOfTime(t *testing.T) {
	var queue owedHeap
	now := time.Now()
	for i := range 100 {
		heap.Push(&queue, &owed{attempts: i, next: now.Add(time.Duration(rand.Int64N(1000)))})
	}
	last := now
	for range 100 {
		o := heap.Pop(&queue).(*owed)
		if o.next.Before(last) {
			t.Fatalf("%v comes behind %v", o.next, last)
		}
		last = o.next
	}
}
