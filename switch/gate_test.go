package acquirer

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Who waits at the gate is let in in the order of coming, never more than there are
// places, and refused when its time is up, whether places become free or not.
func TestF46Gate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.places = 2
		began := time.Now()
		type result struct {
			n      int
			passes bool
			after  time.Duration
		}
		var mu sync.Mutex
		var got []result
		ask := func(n int, patience time.Duration) {
			go func() {
				passes := g.pass(time.Now().Add(patience))
				mu.Lock()
				defer mu.Unlock()
				got = append(got, result{n, passes, time.Since(began)})
			}()
			synctest.Wait()
		}
		want := func(what string, want ...result) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			slices.SortStableFunc(got, func(a, b result) int { return cmp.Or(cmp.Compare(a.after, b.after), cmp.Compare(a.n, b.n)) }) // who goes on together
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
			got = nil
		}
		for n := range 7 {
			ask(n, 10*time.Second)
		}
		want("two places", result{0, true, 0}, result{1, true, 0})
		g.leave()
		want("one is free", result{2, true, 0})
		g.enter() // who does not wait
		g.leave()
		want("one more than there are places has left")
		g.leave()
		g.leave()
		want("two are free", result{3, true, 0}, result{4, true, 0})
		time.Sleep(5 * time.Second)
		ask(7, 10*time.Second)
		time.Sleep(5*time.Second + time.Millisecond)
		want("ten seconds later", result{5, false, 10 * time.Second}, result{6, false, 10 * time.Second})
		ask(8, time.Second) // no earlier than whoever came before
		time.Sleep(5 * time.Second)
		want("fifteen seconds later", result{7, false, 15 * time.Second}, result{8, false, 15 * time.Second})
		g.leave()
		g.leave()
		ask(9, 10*time.Second)
		want("nobody is there", result{9, true, 15*time.Second + time.Millisecond})
		g.leave()
		if g.wanted.Load() != 0 || g.queued.Load() != 0 {
			t.Errorf("%d places are taken and %d wait at the end", g.wanted.Load(), g.queued.Load())
		}
	})
}

// Nobody is forgotten at the gate and no place is lost, whoever comes and goes.
func TestF46GateUnderRaces(t *testing.T) {
	g := newGate()
	g.places = 3
	var inside, refused atomic.Int64
	var asking sync.WaitGroup
	for range 64 {
		asking.Go(func() {
			for range 300 {
				switch rand.IntN(8) {
				case 0:
					g.enter()
					g.leave()
					continue
				case 1:
					if !g.pass(time.Now().Add(-time.Second)) {
						refused.Add(1)
						continue
					}
				default:
					if !g.pass(time.Now().Add(time.Minute)) {
						t.Error("refused long before its time")
						return
					}
				}
				if n := inside.Add(1); n > g.places {
					t.Errorf("%d are inside", n)
				}
				if rand.IntN(4) == 0 {
					time.Sleep(10 * time.Microsecond)
				}
				inside.Add(-1)
				g.leave()
			}
		})
	}
	asking.Wait()
	if g.wanted.Load() != 0 || g.queued.Load() != 0 || g.first != nil {
		t.Errorf("%d places are taken and %d wait at the end", g.wanted.Load(), g.queued.Load())
	}
	t.Logf("%d were refused", refused.Load())
}

// While no processor is free, new requests wait, and are refused without a trace
// when their time is up; what was answered is told again, and what undoes, tells or
// settles is done.
func TestF46Overload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		defer h.stop()
		h.s.Narrow(1)
		for stan := range uint32(3) {
			h.want("in time", h.ask(sale("10000001", stan+1, 500)), txn.Approved, "00")
		}
		h.s.gate.enter() // and no end of it
		half := h.s.cfg.AnswerWithin / 2
		began, before := time.Now(), h.journal.Last()
		type told struct {
			txn.Answer
			after time.Duration
		}
		ask := func(req txn.Request) <-chan told {
			answer := make(chan told, 1)
			go func() { answer <- told{h.ask(req), time.Since(began)} }()
			synctest.Wait()
			return answer
		}
		waiting := []<-chan told{ask(sale("10000002", 1, 500)), ask(sale("10000002", 1, 500)), ask(about(txn.KindVoid, 9, 500, 2)), ask(sale("99999999", 1, 500))}
		if f := h.s.Figures(); f.Waiting != 3 || f.InFlight != 4 { // the copy waits for its twin
			t.Errorf("%d wait at the gate and %d are in flight, want 3 and 4", f.Waiting, f.InFlight)
		}
		other := sale("10000002", 1, 600)
		h.want("other content", h.ask(other), txn.DuplicateWithOtherContent, "94")
		h.want("a repeat", h.ask(sale("10000001", 1, 500)), txn.Approved, "00")
		signOff := sale("10000001", 20, 0)
		signOff.Kind, signOff.Key.Class, signOff.PAN = txn.KindSignOff, txn.ClassNetwork, txn.PAN{}
		h.want("a sign-off", h.ask(signOff), txn.Approved, "00")
		if n := h.journal.Last() - before; n != 0 {
			t.Errorf("%d records were written", n)
		}
		h.want("a reversal", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
		h.want("an advice", h.ask(about(txn.KindOfflineSale, 10, 700, 0)), txn.Approved, "00")
		h.want("a settlement", h.ask(settlement("10000001", 1, 11, debit(3, 1700))), txn.Approved, "00")
		h.settle()
		before = h.journal.Last()
		time.Sleep(half - time.Since(began))
		synctest.Wait()
		for i, answer := range waiting {
			select {
			case a := <-answer:
				h.want("a new request", a.Answer, txn.SwitchIsOverloaded, "96")
				if a.after != half || a.Replayed {
					t.Errorf("request %d is refused after %v (told again: %v), want %v", i, a.after, a.Replayed, half)
				}
			default:
				t.Errorf("request %d is not answered", i)
			}
		}
		if n := h.journal.Last() - before; n != 0 || h.used("10000002") != 0 || h.risk.InFlight() != 0 || h.risk.Unmatched() != 0 {
			t.Errorf("%d records, %d of a limit used, %d in flight, %d given back twice", n, h.used("10000002"), h.risk.InFlight(), h.risk.Unmatched())
		}

		began = time.Now()
		again := ask(sale("10000002", 1, 500))
		next := ask(sale("10000003", 1, 500))
		time.Sleep(half - time.Millisecond)
		h.s.gate.leave()
		for _, answer := range []<-chan told{again, next} {
			a := <-answer
			h.want("a new request, in time", a.Answer, txn.Approved, "00")
			if a.after != half-time.Millisecond {
				t.Errorf("it is answered after %v", a.after)
			}
		}
		if f := h.s.Figures(); f.Waiting != 0 || f.InFlight != 0 || h.s.gate.wanted.Load() != 0 {
			t.Errorf("at the end %+v, %d places taken", f, h.s.gate.wanted.Load())
		}
	})
}

// What waits for an issuer, or for what is in flight there, takes nobody's place, and
// where an issuer has none left the next is refused without a trace.
func TestF46SlowIssuerTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		defer h.stop()
		h.s.Narrow(1)
		slow := txn.MakeTerminalID("10000001")
		h.bank.behave = func(req *txn.Request) (txn.Outcome, txn.Reason, string) {
			if req.Key.Terminal == slow {
				time.Sleep(20 * time.Second)
			}
			return txn.OutcomeApproved, txn.Approved, "00"
		}
		var answers sync.WaitGroup
		for _, req := range []txn.Request{sale("10000001", 1, 500), sale("10000001", 2, 500), sale("10000001", 1, 500), reversal("10000001", 2, 500), settlement("10000001", 1, 3, debit(1, 500))} {
			answers.Go(func() { h.want("slow", h.ask(req), txn.Approved, "00") })
			synctest.Wait()
		}
		began := time.Now()
		h.want("another's", h.ask(sale("10000002", 1, 500)), txn.Approved, "00")
		before := h.journal.Last()
		h.bank.busy.Store(true)
		h.want("no place there", h.ask(sale("10000002", 2, 500)), txn.IssuerIsBusy, "91")
		if n := h.journal.Last() - before; n != 0 {
			t.Errorf("%d records were written", n)
		}
		h.want("a reversal all the same", h.ask(reversal("10000002", 1, 500)), txn.Approved, "00")
		h.bank.busy.Store(false)
		h.want("it comes again", h.ask(sale("10000002", 2, 500)), txn.Approved, "00")
		if took := time.Since(began); took != 0 {
			t.Errorf("others were held up for %v", took)
		}
		answers.Wait()
		h.settle()
		if n := h.s.gate.wanted.Load(); n != 0 {
			t.Errorf("%d places are taken at the end", n)
		}
	})
}

// A panic gives its place back.
func TestF46PanicGivesItsPlaceBack(t *testing.T) {
	h := newHouse(t)
	h.s.Narrow(1)
	h.bank.behave = func(req *txn.Request) (txn.Outcome, txn.Reason, string) { panic("planted") }
	for stan := range uint32(3) {
		h.want("sale", h.ask(sale("10000001", stan+1, 500)), txn.SwitchFailed, "96")
	}
	if n := h.s.gate.wanted.Load(); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}
