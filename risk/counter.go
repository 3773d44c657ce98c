package risk

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"sync"
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

// Cell is the part of a party's use that was paid by one method with cards of
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

// PartiesOf are the parties a hold counts for; one of Scope 0 is none.
func PartiesOf(h txn.Hold) (ps [scopes]Party) {
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

// need is one limit that a request must stay within: which use of which party
// it counts, how far it goes, and what has been used.
type need struct {
	scope   txn.LimitScope
	methods txn.Methods
	cards   txn.Cards
	rule    txn.Rule // 0: L03 of amounts, L04 of counts
	bounds  bounds
	day     Use
	month   Use
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

// limitClass is what a limit bounds.
type limitClass uint8

// The classes, in the order in which they are told.
const (
	dayAmount limitClass = iota
	monthAmount
	dayCount
	monthCount
	limitClasses
)

var classReasons = [limitClasses]txn.Reason{txn.DayAmountIsOverLimit, txn.MonthAmountIsOverLimit, txn.DayCountIsOverLimit, txn.MonthCountIsOverLimit}

// of is the limit of a class and what counts against it. Where there is none, it
// is what a counter holds.
func (n *need) of(c limitClass, minor int64) (limit, used, more int64, set bool) {
	switch c {
	case dayAmount:
		limit, used, more = n.bounds.DayAmount, n.day.Minor, minor
	case monthAmount:
		limit, used, more = n.bounds.MonthAmount, n.month.Minor, minor
	case dayCount:
		limit, used, more = int64(n.bounds.DayCount), n.day.Count, 1
	case monthCount:
		limit, used, more = int64(n.bounds.MonthCount), n.month.Count, 1
	}
	if limit > 0 {
		return limit, used, more, true
	}
	if c == dayAmount || c == monthAmount {
		return math.MaxInt64, used, more, false
	}
	return math.MaxInt32, used, more, false
}

// within says that what would be used passes no limit: first all amounts, then
// all counts. Of several passed the smallest is told.
func (j *judgement) within(needs []need, minor int64) bool {
	for c := range limitClasses {
		var over txn.Verdict
		var rule txn.Rule
		for i := range needs {
			limit, used, more, set := needs[i].of(c, minor)
			if used <= limit-more || over.Reason != txn.Approved && over.Limit <= limit {
				continue
			}
			r := needs[i].rule
			if r == 0 && c <= monthAmount {
				r = ruleL03
			} else if r == 0 {
				r = ruleL04
			}
			if set && !j.refuses(r) {
				if j.told(r) {
					continue
				}
				j.counts(r, 0, saturated(used, more), limit, classReasons[c])
				continue
			}
			over = txn.Verdict{Reason: classReasons[c], Scope: needs[i].scope, Limit: limit, Used: saturated(used, more)}
			rule = r
		}
		if over.Reason != txn.Approved {
			j.v.Reason, j.v.Scope, j.v.Limit, j.v.Used = over.Reason, over.Scope, over.Limit, over.Used
			j.counts(rule, 0, over.Used, over.Limit, over.Reason)
			return false
		}
	}
	return true
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
func (p *period) use(of Party, methods txn.Methods, types txn.Cards) Use {
	i := indexOf(of.Scope)
	if i < 0 || i >= scopes {
		return Use{}
	}
	k := makeKey(of.ID, of.Currency, 0, 0)
	n := [1]need{{scope: of.Scope, methods: methods, cards: types}}
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

func (c *slot) method() txn.Method     { return txn.Method(c.tag &^ slotUsed >> tagMethod) }
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
