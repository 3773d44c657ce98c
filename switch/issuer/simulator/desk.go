package simulator

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// kinds are the kinds a rule may name; the empty one is sales and balances.
var kinds = map[string]txn.Kind{"": txn.KindUnknown, "sale": txn.KindSale, "balance": txn.KindBalance, "reversal": txn.KindReversal,
	"sign-on": txn.KindSignOn, "sign-off": txn.KindSignOff, "echo": txn.KindEcho}

// request is what the desk needs of a message.
type request struct {
	kind     txn.Kind
	id       transaction
	amount   int64
	card     [txn.PANDigitsMax]byte
	cardSize int
	currency [3]byte
	rrn      [12]byte
}

// transaction is the acquirer's name for a request: what repeats and
// reversals are recognised by. It holds no pointers, for there are millions.
type transaction struct {
	stan     uint32
	time     uint32 // DE7 as a number
	terminal [8]byte
}

// fate is what became of a transaction.
type fate struct {
	amount int64
	code   [2]byte
	auth   [6]byte
	state  fateState
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
	rule    *Rule
	latency time.Duration
}

// desk decides. Its caller holds its mutex.
type desk struct {
	cfg   *Config
	used  []int // times each rule was applied
	rng   *rand.Rand
	known map[transaction]fate
	order []transaction // ring of the known, oldest at head once full
	head  int
}

var (
	code00 = [2]byte{'0', '0'}
	code12 = [2]byte{'1', '2'}
	code25 = [2]byte{'2', '5'}
	code64 = [2]byte{'6', '4'}
	code94 = [2]byte{'9', '4'}
)

// approveAtOnce is the rule of requests that no rule matches.
var approveAtOnce = Rule{Code: "00", Copies: 1}

func newDesk(cfg *Config, entries []Entry) *desk {
	d := &desk{cfg: cfg, used: make([]int, len(cfg.Rules)), rng: rand.New(rand.NewPCG(cfg.Seed, 0x9E3779B97F4A7C15)), known: make(map[transaction]fate)}
	for i := range entries {
		e := &entries[i]
		id := transaction{stan: e.STAN, time: number(e.Time), terminal: txn.MakeTerminalID(e.Terminal)}
		f := d.known[id]
		copy(f.code[:], e.Code)
		copy(f.auth[:], e.Auth)
		f.amount = e.Amount
		f.state = map[string]fateState{Approved: fateApproved, Declined: fateDeclined, Reversed: fateReversed, Unknown: fateBarred}[e.Kind]
		d.remember(id, f)
	}
	return d
}

// decide answers r and remembers it.
func (d *desk) decide(r *request) decision {
	rule := d.rule(r)
	dec := decision{rule: rule}
	copy(dec.code[:], rule.Code)
	dec.latency = rule.Latency.draw(d.rng.Float64(), d.rng.NormFloat64())
	if rule.Lose {
		return dec
	}
	switch r.kind {
	case txn.KindSale:
		d.sale(r, &dec)
	case txn.KindReversal:
		d.reversal(r, &dec)
	case txn.KindBalance:
		dec.balance = d.cfg.Balance
		if rule.Balance != nil {
			dec.balance = *rule.Balance
		}
	case txn.KindUnknown:
		dec.code = code12
	}
	return dec
}

// sale approves or declines a new request and repeats itself to a known one.
func (d *desk) sale(r *request, dec *decision) {
	if f, ok := d.known[r.id]; ok {
		switch {
		case f.state == fateBarred:
			// Its reversal overtook it: what was promised undone is not done.
			dec.code = code94
			dec.entry = Declined
			f.state, f.code, f.amount = fateDeclined, code94, r.amount
			d.known[r.id] = f
		case f.amount != r.amount:
			dec.code = code94
		default:
			dec.code, dec.auth = f.code, f.auth
		}
		return
	}
	f := fate{amount: r.amount, code: dec.code}
	dec.entry = Declined
	if dec.code == code00 {
		for i := range f.auth {
			f.auth[i] = byte('0' + d.rng.IntN(10))
		}
		dec.auth = f.auth
		f.state = fateApproved
		dec.entry = Approved
	}
	d.remember(r.id, f)
}

// reversal undoes an approval once, and bars a request that never arrived.
func (d *desk) reversal(r *request, dec *decision) {
	if dec.code != code00 {
		return // the rule refuses reversals
	}
	f, ok := d.known[r.id]
	switch {
	case !ok:
		dec.code, dec.entry = code25, Unknown
		d.remember(r.id, fate{state: fateBarred, amount: r.amount, code: code25})
	case f.state == fateBarred:
		dec.code = code25
	case f.state == fateApproved && f.amount != r.amount:
		dec.code = code64
	case f.state == fateApproved:
		f.state = fateReversed
		d.known[r.id] = f
		dec.entry = Reversed
	}
}

// rule is the first that matches r.
func (d *desk) rule(r *request) *Rule {
	for i := range d.cfg.Rules {
		c := &d.cfg.Rules[i]
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
	case c.Kind == "" && r.kind != txn.KindSale && r.kind != txn.KindBalance:
	case c.Kind != "" && kinds[c.Kind] != r.kind:
	case c.Card != "" && !strings.HasPrefix(string(r.card[:r.cardSize]), c.Card):
	case c.Amount != nil && r.amount != *c.Amount:
	case c.AmountMin != nil && r.amount < *c.AmountMin:
	case c.AmountMax != nil && r.amount > *c.AmountMax:
	default:
		return true
	}
	return false
}

// remember keeps id, in the place of the oldest when there is no room.
func (d *desk) remember(id transaction, f fate) {
	if _, ok := d.known[id]; !ok {
		if len(d.order) < d.cfg.Remember {
			d.order = append(d.order, id)
		} else {
			delete(d.known, d.order[d.head])
			d.order[d.head] = id
			d.head = (d.head + 1) % len(d.order)
		}
	}
	d.known[id] = f
}

// read takes what the desk needs from a message.
func (r *request) read(m *iso.Message) {
	*r = request{kind: kindOf(m)}
	stan, _ := m.Uint(11)
	at, _ := m.Uint(7)
	r.id = transaction{stan: uint32(stan), time: uint32(at)}
	copy(r.id.terminal[:], m.Value(41))
	if original := m.Value(90); r.kind == txn.KindReversal && len(original) >= 20 {
		// MTI 4, STAN 6, DE7 10: the request as it was known.
		r.id.stan, r.id.time = number(string(original[4:10])), number(string(original[10:20]))
	}
	amount, _ := m.Uint(4)
	r.amount = int64(amount)
	r.cardSize = copy(r.card[:], m.Value(2))
	copy(r.currency[:], m.Value(49))
	copy(r.rrn[:], m.Value(37))
}

func kindOf(m *iso.Message) txn.Kind {
	switch m.MTI() &^ 0xF {
	case 0x0100, 0x0200, 0x0220:
		if code := m.Value(3); len(code) > 0 && code[0] == '3' {
			return txn.KindBalance
		}
		return txn.KindSale
	case 0x0400, 0x0420:
		return txn.KindReversal
	case 0x0800, 0x0820:
		switch code, _ := m.Uint(70); code {
		case 1:
			return txn.KindSignOn
		case 2:
			return txn.KindSignOff
		}
		return txn.KindEcho
	}
	return txn.KindUnknown
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
