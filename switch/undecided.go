package acquirer

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// undecided is a read-write lock for each batch, with deadlines. Transactions that
// would count in a batch share it while they are decided; a settlement has it alone.
// A sale belongs to the batch that was open when it came, so a settlement waits for
// the sales under way, and the sales that come meanwhile wait for the settlement.
type undecided struct {
	gate   *gate // whoever waits here leaves its place there
	seed   maphash.Seed
	shards [undecidedShards]undecidedShard
}

const undecidedShards = 1 << 8

type undecidedShard struct {
	mu      sync.Mutex // held for map operations only
	batches map[batchName]inBatch
}

type batchName struct {
	terminal txn.TerminalID
	number   uint32
}

// inBatch is the lock of one batch. It exists only while somebody holds it.
type inBatch struct {
	n     int           // transactions being decided
	empty chan struct{} // closed when n becomes 0; nil: no settlement waits
	free  chan struct{} // closed when the settlement under way is decided; nil: there is none
}

func newUndecided(g *gate) *undecided {
	u := &undecided{gate: g, seed: maphash.MakeSeed()}
	for i := range u.shards {
		u.shards[i].batches = map[batchName]inBatch{}
	}
	return u
}

func (u *undecided) at(k *txn.Key) (*undecidedShard, batchName) {
	n := batchName{k.Terminal, k.Batch}
	return &u.shards[maphash.Comparable(u.seed, n)%undecidedShards], n
}

// enter lets a transaction into its batch; leave must follow. It is false when the
// settlement under way is not decided before the deadline.
func (u *undecided) enter(k *txn.Key, deadline time.Time) bool {
	sh, n := u.at(k)
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
		if !u.gate.wait(c.free, deadline) {
			return false
		}
	}
}

func (u *undecided) leave(k *txn.Key) {
	sh, n := u.at(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.batches[n]
	if c.n--; c.n == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
	sh.put(n, c)
}

// lock waits until nothing is undecided in a batch and keeps it so until unlock. It
// is false when the deadline comes first.
func (u *undecided) lock(k *txn.Key, deadline time.Time) bool {
	sh, n := u.at(k)
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
		if !u.gate.wait(until, deadline) {
			return false
		}
	}
}

func (u *undecided) unlock(k *txn.Key) {
	sh, n := u.at(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.batches[n]
	close(c.free)
	c.free = nil
	sh.put(n, c)
}

func (sh *undecidedShard) put(n batchName, c inBatch) {
	if c == (inBatch{}) {
		delete(sh.batches, n)
		return
	}
	sh.batches[n] = c
}
