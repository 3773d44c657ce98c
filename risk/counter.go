package risk

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// scopes is the number of parties whose use is counted: the terminal, the
// merchant, the card and the merchant's identity, in the order of
// txn.LimitScope.
const scopes = 4

func scopeOf(i int) txn.LimitScope { return txn.ScopeTerminal + txn.LimitScope(i) }

func indexOf(s txn.LimitScope) int { return int(s) - int(txn.ScopeTerminal) }

// The parties by their places among the scopes.
const (
	terminals  = int(txn.ScopeTerminal - txn.ScopeTerminal)
	merchants  = int(txn.ScopeMerchant - txn.ScopeTerminal)
	cards      = int(txn.ScopeCard - txn.ScopeTerminal)
	identities = int(txn.ScopeIdentity - txn.ScopeTerminal)
)

// Party is one counted party. Each currency is counted apart.
type Party struct {
	Scope    txn.LimitScope
	Currency txn.Currency
	ID       [16]byte // the terminal's or the merchant's id, zero padded; the card's token; the identity
}

// cell is the part of a party's use that was paid by one method with cards of
// one type. A limit of some methods or cards is compared with the sum of some
// cells, so whatever is counted can be limited in whatever way from that moment
// on.
type Cell struct {
	Party
	Method   txn.Method
	CardType txn.CardType
}

// Use is what was used up of one business day or of one month of them.
type Use struct {
	Minor int64
	Count int64
}

// partiesOf are the parties a hold counts for; one of Scope 0 is none.
func partiesOf(h txn.Hold) (ps [scopes]Party) {
	for i := range ps {
		ps[i].Scope, ps[i].Currency = scopeOf(i), h.Currency
	}
	copy(ps[0].ID[:], h.Terminal[:])
	copy(ps[1].ID[:], h.Merchant[:])
	ps[2].ID = h.Card
	if ps[3].ID = h.Identity; h.Identity == (txn.Identity{}) {
		ps[3] = Party{}
	}
	return ps
}

// String names the party for an operator; a keyed hash is cut.
func (p Party) String() string {
	switch p.Scope {
	case txn.ScopeTerminal:
		return fmt.Sprintf("terminal %s in %s", txn.TerminalID(p.ID[:8]), p.Currency)
	case txn.ScopeMerchant:
		return fmt.Sprintf("merchant %s in %s", txn.MerchantID(p.ID[:15]), p.Currency)
	}
	return fmt.Sprintf("%s %x... in %s", p.Scope, p.ID[:4], p.Currency)
}

// period is the counters of one business day (a date) or of one month of
// business days (a date without its day).
type period struct {
	date   txn.Date
	counts [scopes]bool // which parties
	tables [scopes]table
	// whole says of a month that all its use is counted, also what was used before
	// the start.
	whole atomic.Bool
}

// newPeriod counts all parties, cards if there may be any.
func newPeriod(date txn.Date, cardsMax int64) *period {
	p := &period{date: date}
	for i := range p.tables {
		p.counts[i] = true
		p.tables[i].max = math.MaxInt64 // bounded by the registry
		p.tables[i].shards = new([shardCount]shard)
	}
	p.counts[cards], p.tables[cards].max = cardsMax > 0, cardsMax
	return p
}

// meter is where one party's use is counted in one period.
type meter struct {
	party int // its key
	month bool
	table *table
	shard *shard
	first uint64 // what stands where the party's cells begin; read to bring it here
	slot  *slot  // of the hold's cell; nil: nothing used yet
}

// meters are several of them, locked.
type meters struct {
	list [2 * scopes]meter
	n    int
}

// lockOrder is card, terminal, identity, merchant: a busy merchant's lock is
// taken last and held while no other party's cold memory is read.
var lockOrder = [scopes]int{cards, terminals, identities, merchants}

// scopeSet is a set of scopes: bit 1<<terminals and so on.
type scopeSet uint8

const everybody scopeSet = 1<<scopes - 1

// lock locks the meters of some parties' day and of some's month, and adds up what
// they say into those needs that count it. Everybody locks in lockOrder, the day
// before the month and one shard of a table at a time: no cycle. A lock waits for
// all that was read before it, so that memory is asked for in good time and for
// several at once: most of what this takes is waiting for it.
func (ms *meters) lock(d, m *period, ks *[scopes]key, day, month scopeSet, needs []need) {
	busy := 0
	for _, i := range lockOrder {
		if i == merchants {
			busy = ms.n
		}
		for _, p := range [...]*period{d, m} {
			of := day
			if p == m {
				of = month
			}
			if p == nil || of&(1<<i) == 0 || !p.counts[i] || ks[i].nobody() {
				continue
			}
			c := &ms.list[ms.n]
			ms.n++
			c.party, c.month, c.table = i, p == m, &p.tables[i]
			c.shard = c.table.shard(&ks[i])
			c.shard.near.Load()
		}
	}
	for _, some := range [...][]meter{ms.list[:busy], ms.list[busy:ms.n]} {
		for i := range some {
			some[i].shard.mu.Lock()
		}
		for i := range some {
			c := &some[i]
			if n := len(c.shard.slots); n > 0 {
				c.first = c.shard.slots[int(ks[c.party].hash)&(n-1)].id0
			}
		}
		for i := range some {
			c := &some[i]
			c.slot = c.shard.sum(&ks[c.party], needs, scopeOf(c.party), c.month)
		}
	}
}

func (ms *meters) unlock() {
	for i := ms.n - 1; i >= 0; i-- {
		ms.list[i].shard.mu.Unlock()
	}
}

// reserve adds h to all its counters of the day and the month, or to none of
// them, and says whether it did.
//
// It holds all the shards' locks while it compares and adds, so what others see
// is always the use of requests that passed.
func (j *judgement) reserve(d, m *period, h *txn.Hold, needs []need) bool {
	ks := keysOf(h)
	var ms meters
	ms.lock(d, m, &ks, everybody, everybody, needs)
	held := ms.list[:ms.n]
	ok := j.within(needs, h.Minor)
	for i := 0; i < len(held) && ok; i++ {
		if held[i].slot == nil && held[i].table.full() {
			ok = j.refuse(txn.SwitchIsOverloaded)
		}
	}
	for i := 0; i < len(held) && ok; i++ {
		c := &held[i]
		if c.slot == nil {
			c.slot = c.table.insert(c.shard, &ks[c.party])
		}
		c.slot.add(h.Minor, 1)
	}
	ms.unlock()
	return ok
}

func saturated(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// add counts a use whatever the limits say, even beyond table.max: it is a fact.
func (p *period) add(h *txn.Hold, e txn.Effect) {
	for i, k := range keysOf(h) {
		if !p.counts[i] || k.nobody() {
			continue
		}
		u := Use{int64(e) * h.Minor, int64(e)}
		if h.Part {
			u.Count = 0
		}
		p.put(i, &k, u)
	}
}

func (p *period) put(i int, k *key, u Use) {
	t := &p.tables[i]
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(k)
	if c == nil {
		c = t.insert(s, k)
	}
	c.add(u.Minor, u.Count)
}

// giveBack takes h, of a part its amount alone, out of all its counters of the day
// and the month, under all their locks as reserve put it in: who compares meanwhile
// finds the whole of it or nothing. It says whether each party had used so much on
// the day. It lends nothing: what a party has used on a day is never below zero, one
// of its cells may be, where several transactions are given back as one.
func giveBack(d, m *period, h *txn.Hold) bool {
	ks := keysOf(h)
	var uses [scopes]need
	for i := range uses {
		uses[i].scope = scopeOf(i)
	}
	var ms meters
	ms.lock(d, m, &ks, everybody, everybody, uses[:])
	whole := true
	for i := range ms.list[:ms.n] {
		c := &ms.list[i]
		minor, count := h.Minor, int64(1)
		if !c.month {
			used := &uses[c.party].day
			whole = whole && used.Count > 0 && used.Minor >= minor
			minor, count = max(min(minor, used.Minor), 0), max(min(count, used.Count), 0)
		}
		if h.Part {
			count = 0
		}
		if c.slot == nil && (c.month || minor+count > 0) {
			c.slot = c.table.insert(c.shard, &ks[c.party])
		}
		if c.slot != nil {
			c.slot.add(-minor, -count)
		}
	}
	ms.unlock()
	return whole
}

// use is the sum of a party's cells.
func (p *period) use(of Party) Use {
	i := indexOf(of.Scope)
	if i < 0 || i >= scopes {
		return Use{}
	}
	k := makeKey(of.ID, of.Currency, 0, 0)
	n := [1]need{{scope: of.Scope}}
	s := p.tables[i].shard(&k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum(&k, n[:], of.Scope, false)
	return n[0].day
}

func (p *period) walk(yield func(Cell, Use) bool) {
	var buf []slot
	for i := range p.tables {
		for j := range p.tables[i].shards {
			s := &p.tables[i].shards[j]
			s.mu.Lock()
			buf = append(buf[:0], s.slots...)
			s.mu.Unlock()
			for _, c := range buf {
				if c.tag == 0 || c.count == 0 && c.minor == 0 {
					continue
				}
				cell := Cell{Party{Scope: scopeOf(i), Currency: txn.Currency(c.tag & tagCurrency)}, c.method(), c.cardType()}
				binary.LittleEndian.PutUint64(cell.ID[:8], c.id0)
				binary.LittleEndian.PutUint64(cell.ID[8:], c.id1)
				if !yield(cell, Use{c.minor, int64(c.count)}) {
					return
				}
			}
		}
	}
}
