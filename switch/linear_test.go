package acquirer

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// asking is a sale of an amount under one number, or its reversal.
type asking struct {
	stan    uint32
	minor   int64
	reverse bool
}

// telling is what it was told.
type telling struct {
	reason txn.Reason
	rrn    [12]byte
}

// number is what one after another would know of a number.
type number struct {
	state string // free, sold, undone or barred
	minor int64
	told  telling
}

// step is the promise of idempotency, for requests that come one after another.
func step(n number, in asking, out telling) (bool, number) {
	switch {
	case in.reverse && n.state == "free":
		return out.reason == txn.Approved, number{state: "barred"}
	case in.reverse && n.state == "sold" && in.minor != n.minor:
		return out.reason == txn.OriginalAmountDiffers, n
	case in.reverse && n.state == "sold":
		n.state = "undone"
		return out.reason == txn.Approved, n
	case in.reverse:
		return out.reason == txn.Approved, n
	case n.state == "free":
		return out.reason == txn.Approved, number{"sold", in.minor, out}
	case n.state == "barred":
		return out.reason == txn.ReversedBeforeRequest, n
	case in.minor != n.minor:
		return out.reason == txn.DuplicateWithOtherContent, n
	case n.state == "undone":
		return out.reason == txn.AnswerWasNotDelivered, n
	}
	return out == n.told, n
}

// TestF02NumbersAreLinearizable has sales, their repeats, others under their
// numbers and their reversals come at the same time: what each was told is what
// one after another would have been told, in an order that is theirs.
func TestF02NumbersAreLinearizable(t *testing.T) {
	const workers, each, numbers = 6, 60, 30
	h := newHouse(t)
	anyOrder := risk.DefaultPolicy()
	anyOrder.Rules = map[txn.Rule]risk.Setting{txn.MakeRule('S', 6): {Mode: rules.Off}}
	if err := h.risk.SetPolicy(anyOrder); err != nil {
		t.Fatal(err)
	}
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		time.Sleep(rand.N(300 * time.Microsecond))
		return txn.OutcomeApproved, txn.Approved, "00"
	}
	model := porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := map[uint32][]porcupine.Operation{}
			for _, op := range history {
				stan := op.Input.(asking).stan
				parts[stan] = append(parts[stan], op)
			}
			var all [][]porcupine.Operation
			for _, part := range parts {
				all = append(all, part)
			}
			return all
		},
		Init: func() any { return number{state: "free"} },
		Step: func(state, input, output any) (bool, any) {
			ok, next := step(state.(number), input.(asking), output.(telling))
			return ok, next
		},
	}
	for round := range uint32(10) {
		began := time.Now()
		var mu sync.Mutex
		var history []porcupine.Operation
		var wg sync.WaitGroup
		for w := range workers {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
			wg.Go(func() {
				for range each {
					in := asking{stan: 1 + round*numbers + rng.Uint32N(numbers), minor: 1 + rng.Int64N(2), reverse: rng.IntN(4) == 0}
					req := sale("10000001", in.stan, in.minor)
					if in.reverse { // always the same one, or it would be a duplicate of its own kind
						in.minor = 1
						req = reversal("10000001", in.stan, in.minor)
					}
					call := time.Since(began)
					ans := h.ask(req)
					op := porcupine.Operation{ClientId: w, Input: in, Call: int64(call), Output: telling{ans.Reason, ans.RRN}, Return: int64(time.Since(began))}
					mu.Lock()
					history = append(history, op)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		switch porcupine.CheckOperationsTimeout(model, history, 10*time.Second) {
		case porcupine.Illegal:
			for _, part := range model.Partition(history) {
				if !porcupine.CheckOperations(model, part) {
					for _, op := range part {
						t.Logf("%d to %d: %+v: %v %s", op.Call, op.Return, op.Input, op.Output.(telling).reason, op.Output.(telling).rrn)
					}
				}
			}
			t.Fatalf("round %d: no order explains what was told", round)
		case porcupine.Unknown:
			t.Logf("round %d: not decided in time", round)
		}
	}
}

// Around a cut-over two days may have a number: what is undone is the one that is
// meant, whichever came last.
func TestF06UndoingYesterdaysNumberLeavesTodays(t *testing.T) {
	s := newSlots()
	k := txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 1, Class: txn.ClassFinancial}
	day := txn.MakeDate(time.Now())
	s.restore(&k, day.Before(), slot{position: 1, id: 1, state: slotApproved})
	s.restore(&k, day, slot{position: 2, id: 2, state: slotApproved})
	if !s.undo(&k, 1, false) || s.undo(&k, 1, false) {
		t.Error("yesterday's is not undone once")
	}
	if sl, _, _ := s.look(&k); sl.id != 2 || sl.state != slotApproved {
		t.Errorf("today's is %+v", sl)
	}
}
