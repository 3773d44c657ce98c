package window

import (
	"sync"
	"sync/atomic"
)

// shardCount trades memory for the longest wait: a shard grows under its lock,
// and at ten million entries it holds 2,400, which takes some 30 us.
const shardCount = 1 << 12

const (
	entriesFirst = 8 // the room of a shard's first entries
	// A shard grows when this much of it is taken, and then this much is.
	fullPercent, grownPercent = 80, 60
)

// table is a map from a 64-bit hash to a few words. It is open addressing with
// linear probing over one slice of words without pointers: the collector never
// looks inside. An entry is a head, which holds the lower half of its hash and
// when it was last written, and its words; a head of 0 is free.
//
// Entries end by time: one that was not written for keep seconds is as good as
// gone, and its memory is taken back when its shard would grow. A shard with more
// than its share forgets those that were not written in the last half, quarter,
// and so on, of that time; in the end all.
type table struct {
	// Immutable after init.
	stride int    // words of an entry, its head included
	keep   Second // seconds
	max    int    // entries that a shard keeps when it grows

	forgot atomic.Uint64
	shards *[shardCount]shard // apart, so that each begins where a cache line does
}

// shard is a cache line.
type shard struct {
	mu    sync.Mutex // guards cells and used
	cells []uint64
	used  int
	near  atomic.Uint32 // never written: reading it brings the line here
	_     [20]byte
}

// Place is where a table has one thing, or would have it. What is found or changed
// there stands between Lock and Unlock. The zero value is no place.
type Place struct {
	table *table
	shard *shard
	hash  uint64
	first uint64 // what was there first; read to bring it here
}

// Forgotten is how many entries gave way before their time.
func (t *table) Forgotten() uint64 { return t.forgot.Load() }

func (t *table) at(hash uint64) Place { return Place{t, &t.shards[hash>>52], hash, 0} }

// Is says that it is a place.
func (p *Place) Is() bool { return p.table != nil }

// Lock locks several places, each in another table, in the same order whoever
// does it. Most of what an access takes is waiting for memory, and a lock waits for
// all that was read before it: so these wait for all their memory together.
func Lock(places []Place) {
	for i := range places {
		if p := &places[i]; p.Is() {
			p.shard.near.Load()
		}
	}
	for i := range places {
		if p := &places[i]; p.Is() {
			p.shard.mu.Lock()
		}
	}
	for i := range places {
		if p := &places[i]; p.Is() {
			if n := len(p.shard.cells) / p.table.stride; n > 0 {
				p.first = p.shard.cells[place(p.hash<<32, n)*p.table.stride]
			}
		}
	}
}

// Unlock ends what Lock began.
func Unlock(places []Place) {
	for i := range places {
		if p := &places[i]; p.Is() {
			p.shard.mu.Unlock()
		}
	}
}

// init makes a table of about entriesMax entries of so many words.
func (t *table) init(words int, keep Second, entriesMax int) {
	t.stride, t.keep, t.max = 1+words, keep, max(entriesFirst, (entriesMax+shardCount-1)/shardCount)
	t.shards = new([shardCount]shard)
}

func head(hash uint64, at Second) uint64 { return hash<<32 | uint64(max(at, 1)) }

// place is where among n entries the search for a head's hash begins.
func place(head uint64, n int) int { return int(head >> 32 * uint64(n) >> 32) }

// live says that an entry is not too old at now.
func (t *table) live(head uint64, now Second) bool { return within(Second(head), now, t.keep) }

// find is the words of a live entry and when it was last written, or nil.
func (p *Place) find(now Second) ([]uint64, Second) {
	t, s, hash := p.table, p.shard, p.hash
	n := len(s.cells) / t.stride
	if n == 0 {
		return nil, 0
	}
	for i := place(hash<<32, n); ; i++ {
		if i == n {
			i = 0
		}
		e := s.cells[i*t.stride : (i+1)*t.stride]
		switch {
		case e[0] == 0:
			return nil, 0
		case uint32(e[0]>>32) != uint32(hash):
		case t.live(e[0], now):
			return e[1:], Second(e[0])
		default:
			return nil, 0
		}
	}
}

// touch is the words of an entry, which is written at now, and when it was
// written before: 0 where it is new or was too old, and all words are zero.
func (p *Place) touch(now Second) (words []uint64, before Second) {
	t, s, hash := p.table, p.shard, p.hash
	if s.used >= len(s.cells)/t.stride*fullPercent/100 {
		t.grow(s, now)
	}
	n := len(s.cells) / t.stride
	for i := place(hash<<32, n); ; i++ {
		if i == n {
			i = 0
		}
		e := s.cells[i*t.stride : (i+1)*t.stride]
		switch {
		case e[0] == 0:
			s.used++
			e[0] = head(hash, now)
			return e[1:], 0
		case uint32(e[0]>>32) == uint32(hash):
			if before = Second(e[0]); !t.live(e[0], now) {
				before = 0
				clear(e[1:])
			}
			e[0] = head(hash, max(now, before))
			return e[1:], before
		}
	}
}

// grow gives a shard so much room that what stays in it takes grownPercent.
func (t *table) grow(s *shard, now Second) {
	keep := t.keep
	live := s.younger(t.stride, now, keep)
	stay := live
	for stay > t.max && keep > 0 {
		keep /= 2
		stay = s.younger(t.stride, now, keep)
	}
	old := s.cells
	if stay > t.max { // all of a time to come: the clock was put back
		old, stay = nil, 0
	}
	t.forgot.Add(uint64(live - stay))
	n := max(entriesFirst, stay*100/grownPercent)
	s.cells, s.used = make([]uint64, n*t.stride), stay
	for i := 0; i < len(old); i += t.stride {
		if old[i] == 0 || !within(Second(old[i]), now, keep) {
			continue
		}
		j := place(old[i], n)
		for s.cells[j*t.stride] != 0 {
			if j++; j == n {
				j = 0
			}
		}
		copy(s.cells[j*t.stride:], old[i:i+t.stride])
	}
}

// younger counts the entries that were written less than keep before now.
func (s *shard) younger(stride int, now, keep Second) int {
	n := 0
	for i := 0; i < len(s.cells); i += stride {
		if s.cells[i] != 0 && within(Second(s.cells[i]), now, keep) {
			n++
		}
	}
	return n
}
