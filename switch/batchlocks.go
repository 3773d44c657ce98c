package acquirer

import (
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// batchLocks is a read-write lock for each batch, with deadlines. Transactions that
// would count in a batch share it while they are decided; a settlement has it alone.
// A sale belongs to the batch that was open when it came, so a settlement waits for
// the sales under way, and the sales that come meanwhile wait for the settlement.
type batchLocks struct {
	gate   *gate                            // whoever waits here leaves its place there
	shards *[batchLockShards]batchLockShard // apart, so that each begins where a cache line does
}

// batchLockShards is large enough that most shards are empty while some thousands of
// transactions are being decided.
const batchLockShards = 1 << 12

// batchLockShard is two cache lines. While it has one batch, only the first is read.
type batchLockShard struct {
	mu      sync.Mutex // held for memory operations only
	batches []batchLock
	room    [3]batchLock // of batches, while these are no more
}

// batchLock is the lock of one batch. It exists only while somebody holds it.
type batchLock struct {
	terminal txn.TerminalID
	number   uint32
	n        int32         // transactions being decided
	empty    chan struct{} // closed when n becomes 0; nil: no settlement waits
	free     chan struct{} // closed when the settlement under way is decided; nil: there is none
}

func newBatchLocks(g *gate) *batchLocks {
	return &batchLocks{gate: g, shards: new([batchLockShards]batchLockShard)}
}

// open locks the shard of a key's batch and returns the batch, made if it is not
// there, until close.
func (l *batchLocks) open(k *txn.Key) (*batchLockShard, *batchLock) {
	sh := &l.shards[k.Terminal.Spread()%batchLockShards]
	sh.mu.Lock()
	for i := range sh.batches {
		if b := &sh.batches[i]; b.terminal == k.Terminal && b.number == k.Batch {
			return sh, b
		}
	}
	if len(sh.batches) == 0 {
		sh.batches = sh.room[:0]
	}
	sh.batches = append(sh.batches, batchLock{terminal: k.Terminal, number: k.Batch})
	return sh, &sh.batches[len(sh.batches)-1]
}

// close ends what open began, and the batch if nobody holds it.
func (sh *batchLockShard) close(b *batchLock) {
	if b.n == 0 && b.empty == nil && b.free == nil {
		last := len(sh.batches) - 1
		*b, sh.batches[last] = sh.batches[last], batchLock{}
		sh.batches = sh.batches[:last]
	}
	sh.mu.Unlock()
}

// rlock lets a transaction into its batch; runlock must follow. It is false when the
// settlement under way is not decided before the deadline.
func (l *batchLocks) rlock(k *txn.Key, deadline time.Time) bool {
	for {
		sh, b := l.open(k)
		free := b.free
		if free == nil {
			b.n++
		}
		sh.close(b)
		if free == nil {
			return true
		}
		if !l.gate.wait(free, deadline) {
			return false
		}
	}
}

func (l *batchLocks) runlock(k *txn.Key) {
	sh, b := l.open(k)
	if b.n--; b.n == 0 && b.empty != nil {
		close(b.empty)
		b.empty = nil
	}
	sh.close(b)
}

// lock waits until nothing is undecided in a batch and keeps it so until unlock. It
// is false when the deadline comes first.
func (l *batchLocks) lock(k *txn.Key, deadline time.Time) bool {
	for {
		sh, b := l.open(k)
		until := b.free // another settlement
		if until == nil && b.n == 0 {
			b.free = make(chan struct{})
			sh.close(b)
			return true
		}
		if until == nil {
			if b.empty == nil {
				b.empty = make(chan struct{})
			}
			until = b.empty
		}
		sh.close(b)
		if !l.gate.wait(until, deadline) {
			return false
		}
	}
}

func (l *batchLocks) unlock(k *txn.Key) {
	sh, b := l.open(k)
	close(b.free)
	b.free = nil
	sh.close(b)
}
