package risk

import (
	"math/bits"
	"sync"
)

// rows has a value for each registered merchant or terminal that something was
// learned about. It is open addressing over slots without pointers, which the
// collector never looks inside, and two thirds of them are taken on average. Nothing
// is removed: the registry bounds it.
type rows[V any] struct {
	shards *[rowShards]rowShard[V] // apart, so that each begins where a cache line does
}

const rowShards = 1 << 10

// rowShard is a cache line.
type rowShard[V any] struct {
	mu    sync.Mutex // guards slots and used
	slots []rowSlot[V]
	used  int
	_     [24]byte
}

type rowSlot[V any] struct {
	id  rowID // zero is a free slot
	row V
}

// rowID is a whole id, so that no two share a row.
type rowID [2]uint64

func (id rowID) hash() uint64 {
	hi, lo := bits.Mul64(id[0]^0x9e3779b97f4a7c15, id[1]^0x589965cc75374cc3)
	hi, lo = bits.Mul64(hi^lo^0x8ebc6af09c88c6e3, 0xe7037ed1a0b428db)
	return hi ^ lo
}

func makeRows[V any]() rows[V] { return rows[V]{new([rowShards]rowShard[V])} }

func (rs rows[V]) shard(hash uint64) *rowShard[V] { return &rs.shards[hash>>54] }

// lock is the row of id, which is made if there is none or is nil. It may be looked
// at and changed until unlock.
func (rs rows[V]) lock(id rowID, make bool) *V {
	hash := id.hash()
	s := rs.shard(hash)
	s.mu.Lock()
	slot := s.find(id, hash)
	switch {
	case slot != nil && slot.id == id:
		return &slot.row
	case !make:
		return nil
	case slot == nil || s.used >= len(s.slots)*3/4:
		s.grow()
		slot = s.find(id, hash)
	}
	s.used++
	slot.id = id
	return &slot.row
}

func (rs rows[V]) unlock(id rowID) { rs.shard(id.hash()).mu.Unlock() }

// find is the slot of id or the free one where it would be, nil where there are no
// slots at all.
func (s *rowShard[V]) find(id rowID, hash uint64) *rowSlot[V] {
	if len(s.slots) == 0 {
		return nil
	}
	for i := int(hash); ; i++ {
		if slot := &s.slots[i&(len(s.slots)-1)]; slot.id == id || slot.id == (rowID{}) {
			return slot
		}
	}
}

func (s *rowShard[V]) grow() {
	old := s.slots
	s.slots = make([]rowSlot[V], max(slotsFirst, 2*len(old)))
	for i := range old {
		if id := old[i].id; id != (rowID{}) {
			*s.find(id, id.hash()) = old[i]
		}
	}
}
