package simulator

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// kindNames are the kinds a rule may name.
var kindNames = func() (names []string) {
	for k := range txn.Kind(txn.Kinds) {
		switch {
		case k.Forwarded(), k == txn.KindReversal, k == txn.KindSignOn, k == txn.KindSignOff, k == txn.KindEcho:
			names = append(names, k.String())
		}
	}
	return names
}()

// request is what the desk needs of a message.
type request struct {
	kind     txn.Kind
	id       transaction // of a reversal, what it undoes
	original transaction // zero: none is named
	terminal txn.TerminalID
	merchant txn.MerchantID
	acquirer [11]byte
	amount   int64
	stays    int64 // what a reversal leaves of it (DE95)
	card     [txn.PANDigitsMax]byte
	cardSize int
	// acquirerSize digits of acquirer are there.
	acquirerSize int
	currency     [3]byte
	rrn          [12]byte
	auth         [6]byte // what its terminal was told in our place, else zero
}

// transaction is the acquirer's name for a request: what repeats, reversals and
// later transactions know it by. It holds no pointers, for there are millions.
type transaction struct {
	stan uint32
	time uint32 // DE7 as a number
}

// fate is what became of a transaction.
type fate struct {
	kind     txn.Kind
	state    fateState
	ended    bool // voided or, a pre-authorization, completed
	code     [2]byte
	auth     [6]byte
	amount   int64
	taken    int64 // of amount, by reversals in part
	added    int64 // by increments, adjustments and tips
	refunded int64
	original transaction
}

// memory is a fate that is remembered.
type memory struct {
	id   transaction
	next uint32 // number of an older one of the same place; 0: none
	fate fate
}

type fateState uint8

const (
	fateDeclined fateState = iota
	fateApproved
	fateReversed // approved, then undone
	fateBarred   // reversed before it arrived: never approve it
)

// decision is what the desk does with a request.
type decision struct {
	code    [2]byte
	auth    [6]byte // zero: none
	balance int64   // of an inquiry
	entry   string  // kind of the entry to write; empty: nothing moved
	kind    txn.Kind
	about   transaction // the original of what the entry is about
	stays   int64       // what a reversal left of it
	rule    *Rule
	latency time.Duration
}

// desk decides. Its caller holds its mutex.
type desk struct {
	cfg   *Config
	rules []Rule
	used  []int // times each rule was applied
	rng   *rand.Rand

	// The memories are a ring, numbered from 1; once it is full, head is the newest.
	// places is a hash table of them: the number of the newest of each place, or 0.
	memories []*[memoriesEach]memory
	known    uint32
	head     uint32
	places   []uint32
}

// memoriesEach is how many are allocated at a time: they are never moved.
const memoriesEach = 4096

var (
	code00 = [2]byte{'0', '0'}
	code12 = [2]byte{'1', '2'}
	code25 = [2]byte{'2', '5'}
	code55 = [2]byte{'5', '5'}
	code61 = [2]byte{'6', '1'}
	code63 = [2]byte{'6', '3'}
	code64 = [2]byte{'6', '4'}
	code94 = [2]byte{'9', '4'}
	code99 = [2]byte{'9', '9'}
	codeA0 = [2]byte{'A', '0'}
)

// passing are refusals that say nothing of a message: issuer away, malfunction
// and the like.
var passing = map[[2]byte]bool{{'0', '9'}: true, {'6', '8'}: true, {'9', '0'}: true, {'9', '1'}: true, {'9', '2'}: true, {'9', '6'}: true, {'9', '8'}: true}

// approveAtOnce is the rule of requests that no rule matches.
var approveAtOnce = Rule{Code: "00", Copies: 1}

// newDesk goes on where entries end.
func newDesk(cfg *Config, entries []Entry) *desk {
	d := &desk{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x9E3779B97F4A7C15)), places: make([]uint32, memoriesEach)}
	d.instruct(cfg.Rules)
	for i := range entries {
		e := &entries[i]
		id := transaction{stan: e.STAN, time: number(e.Time)}
		f := d.find(id)
		if f == nil {
			f = d.remember(id, fate{})
		}
		switch e.Kind {
		case Reversed:
			if f.taken = f.amount - e.Stays; e.Stays == 0 {
				d.effect(f, -1)
				f.state = fateReversed
			}
		case Unknown:
			f.state, f.amount = fateBarred, e.Amount
			copy(f.code[:], e.Code)
		default:
			*f = fate{kind: e.Transaction(), amount: e.Amount, original: transaction{e.OriginalSTAN, number(e.OriginalTime)}}
			copy(f.code[:], e.Code)
			copy(f.auth[:], e.Auth)
			if e.Kind == Approved {
				f.state = fateApproved
				d.effect(f, 1)
			}
		}
	}
	return d
}

func (d *desk) instruct(rules []Rule) { d.rules, d.used = rules, make([]int, len(rules)) }

// decide answers r and remembers it.
func (d *desk) decide(r *request) decision {
	rule := d.rule(r)
	dec := decision{rule: rule}
	copy(dec.code[:], rule.Code)
	dec.latency = rule.Latency.draw(d.rng.Float64(), d.rng.NormFloat64())
	if rule.Lose {
		return dec
	}
	switch {
	case r.kind.MovesMoney():
		d.authorize(r, &dec)
	case r.kind == txn.KindReversal:
		d.reversal(r, &dec)
	case r.kind == txn.KindBalance:
		dec.balance = d.cfg.Balance
		if rule.Balance != nil {
			dec.balance = *rule.Balance
		}
	case r.kind == txn.KindUnknown:
		dec.code = code12
	}
	return dec
}

// authorize approves or declines a new request and repeats itself to a known
// one.
func (d *desk) authorize(r *request, dec *decision) {
	if f := d.find(r.id); f != nil {
		switch {
		case f.state == fateBarred:
			// Its reversal overtook it: what was promised undone is not done.
			dec.code = code94
			dec.entry, dec.kind, dec.about = Declined, r.kind, r.original
			*f = fate{kind: r.kind, code: code94, amount: r.amount, original: r.original}
		case f.amount != r.amount || f.kind != r.kind || f.original != r.original:
			dec.code = code94
		default:
			dec.code, dec.auth = f.code, f.auth
		}
		return
	}
	switch {
	case txn.Agrees(dec.code):
		if no := d.possible(r); no != code00 {
			dec.code = no
		}
	case passing[dec.code] && r.kind.Remedy() == txn.Repeat:
		return // said again, it may be taken
	}
	f := fate{kind: r.kind, amount: r.amount, code: dec.code, original: r.original}
	dec.entry, dec.kind, dec.about = Declined, r.kind, r.original
	if txn.Agrees(dec.code) {
		if f.auth = r.auth; f.auth == [6]byte{} {
			for i := range f.auth {
				f.auth[i] = byte('0' + d.rng.IntN(10))
			}
		}
		dec.auth = f.auth
		f.state = fateApproved
		dec.entry = Approved
		d.effect(&f, 1)
	}
	d.remember(r.id, f)
}

// completionPercent is how much of a pre-authorization may be completed (cup-pos C3).
const completionPercent = 115

// possible is what the account says to r: 00, or why it cannot be. Rows are in
// precedence order.
func (d *desk) possible(r *request) [2]byte {
	if !r.kind.NamesOriginal() || r.kind == txn.KindCompletionAdvice && r.original == (transaction{}) { // authorized by telephone
		return code00
	}
	f := d.find(r.original)
	if f == nil {
		return code25
	}
	whole := f.amount - f.taken // a tip stays with the sale it was added to
	total := whole + f.added
	if f.kind == txn.KindPreauth {
		whole = total
	}
	switch {
	case f.state != fateApproved:
		return code25
	case !follows(r.kind, f.kind), f.ended:
		return code12
	case (takesBack(r.kind) || r.kind == txn.KindAdjustment || r.kind == txn.KindTip) && f.refunded > 0:
		return code12
	case takesBack(r.kind) && r.amount != whole:
		return code64
	case r.kind == txn.KindRefund && r.amount > total-f.refunded:
		return code61
	case f.kind == txn.KindPreauth && r.kind.Totals() == txn.Debit && r.amount > total*completionPercent/100:
		return code64
	}
	return code00
}

// takesBack says that kind undoes the whole of its original.
func takesBack(kind txn.Kind) bool {
	switch kind {
	case txn.KindVoid, txn.KindInstalmentVoid, txn.KindPreauthVoid, txn.KindCompletionVoid:
		return true
	}
	return false
}

// follows says that a transaction of kind may be about one of kind original.
func follows(kind, original txn.Kind) bool {
	sold := original == txn.KindSale || original == txn.KindOfflineSale || original == txn.KindStandIn
	taken := original == txn.KindCompletion || original == txn.KindCompletionAdvice
	switch kind {
	case txn.KindVoid:
		return original == txn.KindSale || original == txn.KindStandIn
	case txn.KindAdjustment, txn.KindTip:
		return sold
	case txn.KindRefund:
		return sold || taken
	case txn.KindInstalmentVoid:
		return original == txn.KindInstalment
	case txn.KindIncrement, txn.KindPreauthVoid, txn.KindCompletion, txn.KindCompletionAdvice:
		return original == txn.KindPreauth
	case txn.KindCompletionVoid:
		return taken
	}
	return false
}

// effect does to f's original what an approval of f does, or with -1 undoes it.
// A completion that is voided leaves its pre-authorization ended.
func (d *desk) effect(f *fate, sign int64) {
	if !f.kind.NamesOriginal() {
		return
	}
	o := d.find(f.original)
	if o == nil || !follows(f.kind, o.kind) {
		return
	}
	switch f.kind {
	case txn.KindRefund:
		o.refunded += sign * f.amount
	case txn.KindIncrement, txn.KindAdjustment, txn.KindTip:
		o.added += sign * f.amount
	default:
		o.ended = sign > 0
	}
}

// reversal undoes an approval once, or in parts, each of which leaves less than
// the one before, and bars a request that never arrived. What a later transaction
// stands on cannot be undone before that is.
func (d *desk) reversal(r *request, dec *decision) {
	if !txn.Agrees(dec.code) {
		return // the rule refuses reversals
	}
	f := d.find(r.id)
	switch {
	case f == nil:
		dec.code, dec.entry = code25, Unknown
		d.remember(r.id, fate{state: fateBarred, amount: r.amount, code: code25})
	case f.state == fateBarred:
		dec.code = code25
	case f.state != fateApproved && r.stays != 0:
		dec.code = code12 // nothing of it stands
	case f.state != fateApproved:
	case f.amount != r.amount:
		dec.code = code64
	case r.stays != 0 && r.stays == f.amount-f.taken: // said again
	case r.stays > f.amount-f.taken:
		dec.code = code64
	case f.ended || f.added != 0 || f.refunded != 0 || r.stays != 0 && !f.kind.Divisible():
		dec.code = code12
	default:
		if f.taken = f.amount - r.stays; r.stays == 0 {
			d.effect(f, -1)
			f.state = fateReversed
		}
		dec.entry, dec.kind, dec.about, dec.stays = Reversed, f.kind, f.original, r.stays
	}
}

// rule is the first that matches r.
func (d *desk) rule(r *request) *Rule {
	for i := range d.rules {
		c := &d.rules[i]
		if c.Times > 0 && d.used[i] >= c.Times || !c.matches(r) {
			continue
		}
		if c.Percent < 100 && d.rng.Float64()*100 >= c.Percent {
			continue
		}
		d.used[i]++
		return c
	}
	return &approveAtOnce
}

func (c *Rule) matches(r *request) bool {
	switch {
	case c.Kind == "" && !r.kind.Forwarded():
	case c.Kind != "" && c.Kind != r.kind.String():
	case c.Card != "" && !strings.HasPrefix(string(r.card[:r.cardSize]), c.Card):
	case c.Amount != nil && r.amount != *c.Amount:
	case c.AmountMin != nil && r.amount < *c.AmountMin:
	case c.AmountMax != nil && r.amount > *c.AmountMax:
	default:
		return true
	}
	return false
}

// find is what became of a transaction, nil when it is not known. It is valid until
// the next is remembered.
func (d *desk) find(id transaction) *fate {
	for n := *d.place(id); n != 0; n = d.memory(n).next {
		if m := d.memory(n); m.id == id {
			return &m.fate
		}
	}
	return nil
}

// place is that of a transaction. Trace numbers that follow each other have places
// that do, and so are in the caches.
func (d *desk) place(id transaction) *uint32 {
	return &d.places[(id.stan+id.time*0x9E3779B1)%uint32(len(d.places))]
}

func (d *desk) memory(n uint32) *memory { return &d.memories[(n-1)/memoriesEach][(n-1)%memoriesEach] }

// remember keeps what became of a transaction that is not known, in the place of the
// oldest when there is no room.
func (d *desk) remember(id transaction, f fate) *fate {
	n := d.known + 1
	if d.known == uint32(d.cfg.Remember) {
		d.head = d.head%d.known + 1
		n = d.head
		p := d.place(d.memory(n).id)
		for *p != n {
			p = &d.memory(*p).next
		}
		*p = d.memory(n).next
	} else {
		if d.known%memoriesEach == 0 {
			d.memories = append(d.memories, new([memoriesEach]memory))
		}
		if d.known == uint32(len(d.places)) {
			d.places = make([]uint32, 2*d.known)
			for old := uint32(1); old < n; old++ {
				d.link(old)
			}
		}
		d.known = n
	}
	m := d.memory(n)
	m.id, m.fate = id, f
	d.link(n)
	return &m.fate
}

// link makes a memory the first of its place.
func (d *desk) link(n uint32) {
	m := d.memory(n)
	p := d.place(m.id)
	m.next, *p = *p, n
}

// read takes what the desk needs from a message.
func (r *request) read(m *iso.Message, link *dialect.Link) {
	*r = request{kind: link.Kind(m)}
	if r.kind == txn.KindOfflineSale && m.Has(39) { // approved in our place: it says what was answered
		r.kind = txn.KindStandIn
		copy(r.auth[:], m.Value(38))
	}
	stan, _ := m.Uint(11)
	at, _ := m.Uint(7)
	r.id = transaction{stan: uint32(stan), time: uint32(at)}
	copy(r.terminal[:], m.Value(41))
	copy(r.merchant[:], m.Value(42))
	var digits [64]byte
	r.acquirerSize = copy(r.acquirer[:], m.AppendDigits(digits[:0], 32))
	if v := m.AppendDigits(digits[:0], 90); len(v) >= 20 {
		// MTI 4, STAN 6, DE7 10: the request as it was known.
		r.original = transaction{number(string(v[4:10])), number(string(v[10:20]))}
	}
	if r.kind == txn.KindReversal {
		if r.original != (transaction{}) {
			r.id, r.original = r.original, transaction{}
		}
		if actual := m.Value(95); len(actual) >= 12 {
			r.stays = amountOf(actual[:12])
		}
	}
	amount, _ := m.Uint(4)
	r.amount = int64(amount)
	r.cardSize = copy(r.card[:], m.AppendDigits(digits[:0], 2))
	copy(r.currency[:], m.Value(49))
	copy(r.rrn[:], m.Value(37))
}

// amountOf is the value of up to 12 digits; 0 for anything else.
func amountOf(digits []byte) (minor int64) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0
		}
		minor = minor*10 + int64(c-'0')
	}
	return minor
}

// number is the value of a string of digits; 0 for anything else.
func number(s string) uint32 {
	var v uint32
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0
		}
		v = v*10 + uint32(d)
	}
	return v
}
