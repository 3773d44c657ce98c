package risk

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// shardCount trades memory for the longest wait: a shard doubles under its
// lock, and at ten million cards it holds 2,400, which takes about 30 us.
const shardCount = 1 << 12

// slotsFirst is the size of a shard's first table.
const slotsFirst = 8

// table counts the parties of one scope in one period. It is open addressing
// with linear probing over slots without pointers: the collector never looks
// inside. A counter is found by the whole id and currency, never by a hash of
// them, so no two parties share one. All cells of a party begin at the same
// place, so one probe meets them all. Nothing is removed; the period is dropped
// as a whole.
type table struct {
	max     int64              // immutable
	shards  *[shardCount]shard // apart, so that each begins where a cache line does
	entries atomic.Int64       // changed by new cells alone
}

// shard is a cache line.
type shard struct {
	mu    sync.Mutex // guards slots and used
	slots []slot
	used  int
	near  atomic.Uint32 // never written: reading it brings the line here
	_     [20]byte
}

// slot is one counter, half a cache line. With its share of free slots a cell
// costs 43 to 85 bytes, and 54 when there are ten million.
type slot struct {
	id0, id1 uint64
	minor    int64
	count    int32
	tag      uint32 // slotUsed, method, type of card and currency; 0 is a free slot
}

// The parts of a tag. Currencies have three digits.
const (
	slotUsed    = 1 << 31
	tagMethod   = 18 // bit of the first
	tagCardType = 16
	tagCurrency = 1<<16 - 1
)

// A method and a type of card have room in a tag.
const (
	_ = uint(1<<(31-tagMethod) - txn.MethodCount)
	_ = uint(1<<(tagMethod-tagCardType) - 1 - txn.CardPrepaid)
)

func (c *slot) method() txn.Method { return txn.Method(c.tag &^ slotUsed >> tagMethod) }

func (c *slot) cardType() txn.CardType { return txn.CardType(c.tag >> tagCardType & 3) }

func (c *slot) add(minor, count int64) {
	c.minor = saturated(c.minor, minor)
	c.count += int32(count)
}

// key is a cell's party with the hash that places it, and the cell's tag.
type key struct {
	id0, id1 uint64
	hash     uint64
	tag      uint32
}

// nobody says that there is no party: its id is zero.
func (k *key) nobody() bool { return k.id0 == 0 && k.id1 == 0 }

func makeKey(id [16]byte, c txn.Currency, m txn.Method, t txn.CardType) key {
	k := key{id0: binary.LittleEndian.Uint64(id[:8]), id1: binary.LittleEndian.Uint64(id[8:]),
		tag: slotUsed | uint32(m)<<tagMethod | uint32(t&3)<<tagCardType | uint32(c)}
	hi, lo := bits.Mul64(k.id0^0x9e3779b97f4a7c15, k.id1^uint64(c)<<40^0xe7037ed1a0b428db)
	hi, lo = bits.Mul64(hi^lo^0x8ebc6af09c88c6e3, 0x589965cc75374cc3)
	k.hash = hi ^ lo
	return k
}

func keysOf(h *txn.Hold) [scopes]key {
	var t, m [16]byte
	copy(t[:], h.Terminal[:])
	copy(m[:], h.Merchant[:])
	make := func(id [16]byte) key { return makeKey(id, h.Currency, h.Method, h.CardType) }
	return [scopes]key{make(t), make(m), make(h.Card), make(h.Identity)}
}

func (t *table) shard(k *key) *shard { return &t.shards[k.hash>>52] }

// full may let as many parties more than max pass as there are threads.
func (t *table) full() bool { return t.entries.Load() >= t.max }

// insert adds k, which s does not hold, to its shard s.
func (t *table) insert(s *shard, k *key) *slot {
	t.entries.Add(1)
	if s.used >= len(s.slots)*3/4 {
		s.grow()
	}
	s.used++
	c := s.free(k.hash)
	*c = slot{id0: k.id0, id1: k.id1, tag: k.tag}
	return c
}

func (s *shard) find(k *key) *slot { return s.sum(k, nil, 0, false) }

// sum adds up the cells of k's party into those needs of its scope that count
// them, and returns k's own cell.
func (s *shard) sum(k *key, needs []need, scope txn.LimitScope, month bool) (own *slot) {
	if len(s.slots) == 0 {
		return nil
	}
	for i := int(k.hash); ; i++ {
		c := &s.slots[i&(len(s.slots)-1)]
		switch {
		case c.tag == 0:
			return own
		case c.id0 != k.id0 || c.id1 != k.id1 || (c.tag^k.tag)&tagCurrency != 0:
			continue
		case c.tag == k.tag:
			own = c
		}
		for i := range needs {
			n := &needs[i]
			if n.scope != scope || n.methods != 0 && !n.methods.Has(c.method()) || n.cards != 0 && !n.cards.Has(c.cardType()) {
				continue
			}
			u := &n.day
			if month {
				u = &n.month
			}
			u.Minor = saturated(u.Minor, c.minor)
			u.Count += int64(c.count)
		}
	}
}

func (s *shard) free(hash uint64) *slot {
	for i := int(hash); ; i++ {
		if c := &s.slots[i&(len(s.slots)-1)]; c.tag == 0 {
			return c
		}
	}
}

func (s *shard) grow() {
	old := s.slots
	s.slots = make([]slot, max(slotsFirst, 2*len(old)))
	for i := range old {
		if c := &old[i]; c.tag != 0 {
			*s.free(c.hash()) = *c
		}
	}
}

func (c *slot) hash() uint64 {
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:8], c.id0)
	binary.LittleEndian.PutUint64(id[8:], c.id1)
	k := makeKey(id, txn.Currency(c.tag&tagCurrency), 0, 0)
	return k.hash
}
