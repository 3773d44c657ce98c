package acquirer

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// A sale that is being decided while its terminal settles is in the batch that was
// open when it came, and in the totals that the terminal is told: the settlement
// waits for it, and a sale that comes meanwhile for the settlement. Batches with a
// number and without.
func TestSettlementWaitsForWhatIsUndecided(t *testing.T) {
	for _, number := range []uint32{1, 0} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			defer h.stop()
			slow := 5 * time.Second
			h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
				time.Sleep(slow)
				return txn.OutcomeApproved, txn.Approved, "00"
			}
			sell := func(stan uint32, minor int64) txn.Answer {
				r := sale("10000001", stan, minor)
				r.Key.Batch = number
				return h.ask(r)
			}
			var all sync.WaitGroup
			all.Go(func() { h.want("sale", sell(1, 500), txn.Approved, "00") })
			time.Sleep(time.Second)
			began := time.Now()
			ans := h.ask(settlement("10000001", number, 2, debit(1, 500)))
			if ans.Reason != txn.Approved || ans.Result != [2]txn.Comparison{txn.Even, txn.Even} || time.Since(began) < 3*time.Second {
				t.Errorf("batch %d: settled after %v with %+v", number, time.Since(began), ans)
			}
			all.Wait()

			// One that its issuer keeps too long: the settlement is asked again.
			next := number
			if number != 0 {
				next = 2
				h.want("end", h.ask(end("10000001", number, 3, 0)), txn.Approved, "00")
			}
			number = next
			slow = 50 * time.Second
			all.Go(func() { sell(4, 700) })
			time.Sleep(time.Second)
			again := settlement("10000001", number, 5, debit(1, 700))
			h.want("settlement of a batch with something undecided", h.ask(again), txn.OriginalIsBusy, "09")
			if ans := h.ask(again); ans.Reason != txn.Approved || ans.Result != [2]txn.Comparison{txn.Even, txn.Even} {
				t.Errorf("batch %d: asked again: %+v", number, ans)
			}
			all.Wait()
		})
	}
}

// Nothing is kept of a batch in which nothing is undecided; who waits gives up in time.
func TestBatchLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newBatchLocks(newGate())
		key := txn.Key{Terminal: txn.MakeTerminalID("10000001"), Batch: 1}
		other := key
		other.Batch = 2
		soon := func() time.Time { return time.Now().Add(time.Second) }
		if !a.rlock(&key, soon()) || !a.rlock(&key, soon()) || a.lock(&key, soon()) || !a.lock(&other, soon()) {
			t.Fatal("what is undecided does not hold its settlement up, and no other")
		}
		if a.rlock(&other, soon()) || a.lock(&other, soon()) {
			t.Fatal("a settlement does not hold up what comes")
		}
		a.unlock(&other)
		held := false
		var all sync.WaitGroup
		all.Go(func() { held = a.lock(&key, soon()) })
		a.runlock(&key)
		time.Sleep(time.Millisecond)
		if held {
			t.Fatal("locked while something is undecided")
		}
		a.runlock(&key)
		all.Wait()
		if !held {
			t.Fatal("not held")
		}
		entered := false
		all.Go(func() { entered = a.rlock(&key, soon()) })
		time.Sleep(time.Millisecond)
		a.unlock(&key)
		if all.Wait(); !entered {
			t.Fatal("what waited for a settlement is refused when that is decided")
		}
		neighbour := key // of another terminal, in the same shard
		for n := 0; neighbour == key || neighbour.Terminal.Spread()%batchLockShards != key.Terminal.Spread()%batchLockShards; n++ {
			neighbour.Terminal = txn.MakeTerminalID(fmt.Sprintf("%08d", n))
		}
		if !a.lock(&neighbour, soon()) {
			t.Fatal("one terminal's transaction holds up another's settlement")
		}
		a.unlock(&neighbour)
		a.runlock(&key)
		many := make([]txn.Key, 9) // of one terminal, more than its shard has room for
		for i := range many {
			many[i] = key
			many[i].Batch = uint32(i)
			if !a.rlock(&many[i], soon()) || a.lock(&many[i], soon()) {
				t.Fatal("one of many batches is not counted")
			}
		}
		for _, i := range [...]int{4, 0, 8, 1, 7, 2, 6, 3, 5} {
			if a.runlock(&many[i]); !a.lock(&many[i], soon()) {
				t.Fatal("one of many batches is counted as another")
			}
			a.unlock(&many[i])
		}
		for i := range a.shards {
			if n := len(a.shards[i].batches); n != 0 {
				t.Errorf("%d batches are kept", n)
			}
		}
	})
}
