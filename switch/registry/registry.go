// Package registry holds the merchants and terminals that the switch serves,
// and reads and writes them as a file.
//
// A Snapshot is complete, checked and never changed: a file with one bad line
// makes none. A terminal id is bound to one merchant, and so is the machine
// with its serial number. A Store publishes the current snapshot to requests
// in flight; Replace swaps it between two lookups of theirs, so a request that
// needs both parties takes the snapshot once.
//
// Rows hold no pointers, so a million terminals cost the garbage collector
// nothing. Lookups take about 100 ns and allocate nothing; the rows they point
// to stay valid after a Replace, for as long as somebody holds them.
//
// Not here: what is allowed where and how much of it (package risk). The four
// digits of a CUP merchant id that name an area are not GB/T 2260 and are not
// compared with the region.
package registry

import (
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Circle stands for a region where a message reports a position instead of a
// region code.
type Circle struct {
	Area txn.Area
	Name [40]byte
}

// model is a kind of machine. Its number, txn.Terminal.Model, is its place in
// Rows.Models, from 1.
type Model struct {
	Name [20]byte
	// Minimum is the oldest version of its software that is served, Target the one
	// it should have: older ones are told to update and, after the day Deadline,
	// refused. Zero is none.
	Minimum, Target [8]byte
	Deadline        txn.Date
}

func (m *Model) String() string { return text(m.Name[:]) }

// Rows are what a snapshot is made of.
type Rows struct {
	Circles   []Circle
	Models    []Model
	Merchants []txn.Merchant
	Terminals []txn.Terminal
}

// Snapshot is one state of the registry. It is safe for concurrent use.
type Snapshot struct {
	rows Rows

	byMerchant map[txn.MerchantID]uint32
	byTerminal map[txn.TerminalID]uint32

	// What was changed since the rows were made: it stands before them. A nil
	// terminal is gone. Both are nil where nothing was.
	newMerchants map[txn.MerchantID]*txn.Merchant
	newTerminals map[txn.TerminalID]*txn.Terminal
}

// New makes a snapshot of rows that were checked before, and takes the slices
// over. It fails on an id or serial given twice, a terminal without serial and
// one of no merchant or model.
func New(rows Rows) (*Snapshot, error) {
	merchants, terminals := rows.Merchants, rows.Terminals
	s := &Snapshot{rows: rows,
		byMerchant: make(map[txn.MerchantID]uint32, len(merchants)),
		byTerminal: make(map[txn.TerminalID]uint32, len(terminals)),
	}
	for i := range merchants {
		MakeWay(i)
		id := merchants[i].ID
		if _, twice := s.byMerchant[id]; twice {
			return nil, fmt.Errorf("make a registry: merchant %s is there twice", id)
		}
		s.byMerchant[id] = uint32(i)
	}
	machines := newSerials(len(terminals))
	for i := range terminals {
		MakeWay(i)
		t := &terminals[i]
		if _, twice := s.byTerminal[t.ID]; twice {
			return nil, fmt.Errorf("make a registry: terminal %s is there twice", t.ID)
		}
		if _, ok := s.byMerchant[t.Merchant]; !ok {
			return nil, fmt.Errorf("make a registry: terminal %s is bound to merchant %s, who is not there", t.ID, t.Merchant)
		}
		if int(t.Model) > len(rows.Models) {
			return nil, fmt.Errorf("make a registry: terminal %s is of model %d, which is not there", t.ID, t.Model)
		}
		if t.Serial == (txn.Serial{}) {
			return nil, fmt.Errorf("make a registry: terminal %s has no serial", t.ID)
		}
		if other, twice := machines.add(terminals, uint32(i)); twice {
			return nil, fmt.Errorf("make a registry: terminals %s and %s are one machine, serial %s", terminals[other].ID, t.ID, t.Serial)
		}
		s.byTerminal[t.ID] = uint32(i)
	}
	return s, nil
}

// serials are the serial numbers of terminals, by their hashes: the numbers
// themselves would take a hundred bytes each.
type serials struct {
	seed   maphash.Seed
	first  map[uint64]uint32     // the first terminal of a hash
	others map[txn.Serial]uint32 // further serials of a hash
}

func newSerials(n int) *serials {
	return &serials{maphash.MakeSeed(), make(map[uint64]uint32, n), map[txn.Serial]uint32{}}
}

// add says which terminal has the serial of the one at i already, if any.
func (s *serials) add(terminals []txn.Terminal, i uint32) (uint32, bool) {
	serial := &terminals[i].Serial
	hash := maphash.Bytes(s.seed, serial[:])
	j, ok := s.first[hash]
	if !ok {
		s.first[hash] = i
		return 0, false
	}
	if terminals[j].Serial == *serial {
		return j, true
	}
	if j, ok := s.others[*serial]; ok {
		return j, true
	}
	s.others[*serial] = i
	return 0, false
}

// Terminal finds a terminal. The row must not be changed.
func (s *Snapshot) Terminal(id txn.TerminalID) (*txn.Terminal, bool) {
	if s.newTerminals != nil {
		if t, ok := s.newTerminals[id]; ok {
			return t, t != nil
		}
	}
	i, ok := s.byTerminal[id]
	if !ok {
		return nil, false
	}
	return &s.rows.Terminals[i], true
}

// Merchant finds a merchant. The row must not be changed.
func (s *Snapshot) Merchant(id txn.MerchantID) (*txn.Merchant, bool) {
	if s.newMerchants != nil {
		if m, ok := s.newMerchants[id]; ok {
			return m, true
		}
	}
	i, ok := s.byMerchant[id]
	if !ok {
		return nil, false
	}
	return &s.rows.Merchants[i], true
}

// model finds a model by its number.
func (s *Snapshot) model(number uint16) (*Model, bool) {
	if number == 0 || int(number) > len(s.rows.Models) {
		return nil, false
	}
	return &s.rows.Models[number-1], true
}

// Serial is the serial number of a terminal's machine, zero when the terminal
// is unknown.
func (s *Snapshot) Serial(id txn.TerminalID) txn.Serial {
	if t, ok := s.Terminal(id); ok {
		return t.Serial
	}
	return txn.Serial{}
}

// Len is the number of merchants and of terminals.
func (s *Snapshot) Len() (merchants, terminals int) {
	merchants, terminals = len(s.rows.Merchants), len(s.rows.Terminals)
	for id := range s.newMerchants {
		if _, ok := s.byMerchant[id]; !ok {
			merchants++
		}
	}
	for id, t := range s.newTerminals {
		switch _, ok := s.byTerminal[id]; {
		case t != nil && !ok:
			terminals++
		case t == nil && ok:
			terminals--
		}
	}
	return merchants, terminals
}

// Merchants walks the merchants in the order of the file, those that were
// changed since last and in no order.
func (s *Snapshot) Merchants() iter.Seq[*txn.Merchant] {
	return each(s.rows.Merchants, s.newMerchants, func(m *txn.Merchant) txn.MerchantID { return m.ID })
}

// Terminals walks the terminals likewise.
func (s *Snapshot) Terminals() iter.Seq[*txn.Terminal] {
	return each(s.rows.Terminals, s.newTerminals, func(t *txn.Terminal) txn.TerminalID { return t.ID })
}

// AmendMax bounds what Amend remembers.
const AmendMax = 10_000

// Change is what Amend changes: rows that are new or changed, terminals that are
// gone, and all models.
type Change struct {
	Models    []Model
	Merchants []txn.Merchant
	Terminals []txn.Terminal
	Gone      []txn.TerminalID
}

// amend is the snapshot with a change, in the time that the change takes and not
// that of a whole registry; the rows were checked before. It is false where the
// changes since the snapshot was made are more than AmendMax: make a new one.
func (s *Snapshot) Amend(c Change) (*Snapshot, bool) {
	if len(s.newMerchants)+len(s.newTerminals)+len(c.Merchants)+len(c.Terminals)+len(c.Gone) > AmendMax {
		return nil, false
	}
	next := *s
	next.rows.Models = c.Models
	next.newMerchants, next.newTerminals = maps.Clone(s.newMerchants), maps.Clone(s.newTerminals)
	if next.newMerchants == nil {
		next.newMerchants, next.newTerminals = map[txn.MerchantID]*txn.Merchant{}, map[txn.TerminalID]*txn.Terminal{}
	}
	for i := range c.Merchants {
		next.newMerchants[c.Merchants[i].ID] = &c.Merchants[i]
	}
	for _, id := range c.Gone {
		next.newTerminals[id] = nil
	}
	for i := range c.Terminals {
		next.newTerminals[c.Terminals[i].ID] = &c.Terminals[i]
	}
	return &next, true
}

// Store holds the snapshot in force.
type Store struct{ current atomic.Pointer[Snapshot] }

// NewStore returns a store with s in force.
func NewStore(s *Snapshot) *Store {
	st := &Store{}
	st.current.Store(s)
	return st
}

// Snapshot is the one in force now.
func (st *Store) Snapshot() *Snapshot { return st.current.Load() }

// Replace puts s in force. Requests that took the old one finish with it.
func (st *Store) Replace(s *Snapshot) { st.current.Store(s) }

func each[T any, ID comparable](rows []T, changed map[ID]*T, id func(*T) ID) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range rows {
			if _, ok := changed[id(&rows[i])]; !ok && !yield(&rows[i]) {
				return
			}
		}
		for _, row := range changed {
			if row != nil && !yield(row) {
				return
			}
		}
	}
}
