package acquirer

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// aloft counts, for each batch, the transactions that are being decided and would
// count in it, so that its settlement can wait for them: a sale belongs to the batch
// that was open when it came, and totals that do not have it would be wrong. While a
// settlement is being decided, what comes for its batch waits for that.
type aloft struct {
	gate   *gate // its places are left by who waits here
	seed   maphash.Seed
	shards [aloftShards]aloftShard
}

const aloftShards = 1 << 8

type aloftShard struct {
	mu      sync.Mutex // held for map operations only
	batches map[batchName]crowd
}

type batchName struct {
	terminal txn.TerminalID
	number   uint32
}

// crowd is what is aloft in one batch. A batch with neither has none.
type crowd struct {
	n     int
	empty chan struct{} // closed when n is 0; nil: nobody waits
	free  chan struct{} // closed when its settlement is decided; nil: none is being
}

func newAloft(g *gate) *aloft {
	a := &aloft{gate: g, seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].batches = map[batchName]crowd{}
	}
	return a
}

func (a *aloft) at(k *txn.Key) (*aloftShard, batchName) {
	n := batchName{k.Terminal, k.Batch}
	return &a.shards[maphash.Comparable(a.seed, n)%aloftShards], n
}

// enter counts a transaction, which must leave. It is false when the deadline comes
// before a settlement of its batch is decided.
func (a *aloft) enter(k *txn.Key, deadline time.Time) bool {
	sh, n := a.at(k)
	for {
		sh.mu.Lock()
		c := sh.batches[n]
		if c.free == nil {
			c.n++
			sh.batches[n] = c
			sh.mu.Unlock()
			return true
		}
		sh.mu.Unlock()
		if !a.gate.wait(c.free, deadline) {
			return false
		}
	}
}

func (a *aloft) leave(k *txn.Key) {
	sh, n := a.at(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.batches[n]
	if c.n--; c.n == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
	sh.put(n, c)
}

// hold waits until nothing is aloft in a batch and keeps it so until let go. It is
// false when the deadline comes first.
func (a *aloft) hold(k *txn.Key, deadline time.Time) bool {
	sh, n := a.at(k)
	for {
		sh.mu.Lock()
		c := sh.batches[n]
		if c.free == nil && c.n == 0 {
			c.free = make(chan struct{})
			sh.batches[n] = c
			sh.mu.Unlock()
			return true
		}
		until := c.free // another settlement
		if until == nil {
			if c.empty == nil {
				c.empty = make(chan struct{})
				sh.batches[n] = c
			}
			until = c.empty
		}
		sh.mu.Unlock()
		if !a.gate.wait(until, deadline) {
			return false
		}
	}
}

func (a *aloft) letGo(k *txn.Key) {
	sh, n := a.at(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.batches[n]
	close(c.free)
	c.free = nil
	sh.put(n, c)
}

func (sh *aloftShard) put(n batchName, c crowd) {
	if c == (crowd{}) {
		delete(sh.batches, n)
		return
	}
	sh.batches[n] = c
}
