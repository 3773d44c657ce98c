package batch

import (
	"encoding/binary"
	"iter"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// item is one transaction of a batch: 24 bytes, linked by index.
type item struct {
	next  int32
	stan  uint32 // 20 bits, and flags above them
	minor int64
	card  uint64 // of its keyed hash, 0 when it has no card
}

const (
	flagCredit   = 1 << (31 - iota)
	flagTaken    // reversed
	flagUploaded // the terminal told of it
	flagForeign  // and we have none such: it counts nowhere
	stanMask     = 1<<20 - 1
)

const _ = uint(stanMask - txn.STANMax)

func (it *item) number() uint32 { return it.stan & stanMask }

func (it *item) side() txn.Effect {
	if it.stan&flagCredit != 0 {
		return txn.Credit
	}
	return txn.Debit
}

// stands says that the item is in our totals.
func (it *item) stands() bool { return it.stan&(flagTaken|flagForeign) == 0 }

func short(card *txn.CardToken) uint64 { return binary.BigEndian.Uint64(card[:]) }

// none is the end of a list.
const none int32 = -1

// chunkSize is how many items are allocated at a time.
const chunkSize = 1024

// arena holds the items of a shard. What is dropped is used again.
type arena struct {
	chunks []*[chunkSize]item
	used   int32
	free   int32
}

func (a *arena) get(i int32) *item { return &a.chunks[i/chunkSize][i%chunkSize] }

func (a *arena) add(it item) int32 {
	i := a.free
	if i != none {
		a.free = a.get(i).next
	} else {
		if int(a.used) == len(a.chunks)*chunkSize {
			a.chunks = append(a.chunks, new([chunkSize]item))
		}
		i = a.used
		a.used++
	}
	*a.get(i) = it
	return i
}

// drop frees a list.
func (a *arena) drop(head int32) {
	for i := head; i != none; {
		next := a.get(i).next
		a.get(i).next, a.free = a.free, i
		i = next
	}
}

// of walks a list, newest first.
func (a *arena) of(head int32) iter.Seq[*item] {
	return func(yield func(*item) bool) {
		for i := head; i != none; {
			it := a.get(i)
			next := it.next
			if !yield(it) {
				return
			}
			i = next
		}
	}
}
