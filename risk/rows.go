package risk

import (
	"math/bits"
	"sync"
	"sync/atomic"
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
	near  atomic.Uint32 // never written: reading it brings the line here
	_     [20]byte
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

// spot is where rows have the row of an id, or would have it. It may be looked at and
// changed between lock and unlock. The zero value is no spot.
type spot[V any] struct {
	shard *rowShard[V]
	id    rowID
	hash  uint64
}

// at is the spot of an id, which is on its way here from then on: a lock waits for all
// that was read before it, so whoever needs several asks for all before he locks the first,
// and locks all before he looks at one.
func (rs rows[V]) at(id rowID) spot[V] {
	hash := id.hash()
	s := &rs.shards[hash>>54]
	s.near.Load()
	return spot[V]{s, id, hash}
}

func (p *spot[V]) lock() {
	if p.shard != nil {
		p.shard.mu.Lock()
	}
}

func (p *spot[V]) unlock() {
	if p.shard != nil {
		p.shard.mu.Unlock()
	}
}

// row is the row at a spot, nil where there is none.
func (p *spot[V]) row() *V {
	if p.shard == nil {
		return nil
	}
	if slot := p.shard.find(p.id, p.hash); slot != nil && slot.id == p.id {
		return &slot.row
	}
	return nil
}

// made is row that makes one where there is none. It must be a spot.
func (p *spot[V]) made() *V {
	s := p.shard
	slot := s.find(p.id, p.hash)
	if slot != nil && slot.id == p.id {
		return &slot.row
	}
	if slot == nil || s.used >= len(s.slots)*3/4 {
		s.grow()
		slot = s.find(p.id, p.hash)
	}
	s.used++
	slot.id = p.id
	return &slot.row
}

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
