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
	"iter"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Circle stands for a region where a message reports a position instead of a
// region code.
type Circle struct {
	Area txn.Area
	Name [40]byte
}

// Model is a kind of machine. Its number, txn.Terminal.Model, is its place in
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
		id := merchants[i].ID
		if _, twice := s.byMerchant[id]; twice {
			return nil, fmt.Errorf("make a registry: merchant %s is there twice", id)
		}
		s.byMerchant[id] = uint32(i)
	}
	machines := make(map[txn.Serial]txn.TerminalID, len(terminals))
	for i := range terminals {
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
		if other, twice := machines[t.Serial]; twice {
			return nil, fmt.Errorf("make a registry: terminals %s and %s are one machine, serial %s", other, t.ID, t.Serial)
		}
		s.byTerminal[t.ID], machines[t.Serial] = uint32(i), t.ID
	}
	return s, nil
}

// Terminal finds a terminal. The row must not be changed.
func (s *Snapshot) Terminal(id txn.TerminalID) (*txn.Terminal, bool) {
	i, ok := s.byTerminal[id]
	if !ok {
		return nil, false
	}
	return &s.rows.Terminals[i], true
}

// Merchant finds a merchant. The row must not be changed.
func (s *Snapshot) Merchant(id txn.MerchantID) (*txn.Merchant, bool) {
	i, ok := s.byMerchant[id]
	if !ok {
		return nil, false
	}
	return &s.rows.Merchants[i], true
}

// Model finds a model by its number.
func (s *Snapshot) Model(number uint16) (*Model, bool) {
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
	return len(s.rows.Merchants), len(s.rows.Terminals)
}

// Merchants walks the merchants in the order of the file.
func (s *Snapshot) Merchants() iter.Seq[*txn.Merchant] { return each(s.rows.Merchants) }

// Terminals walks the terminals in the order of the file.
func (s *Snapshot) Terminals() iter.Seq[*txn.Terminal] { return each(s.rows.Terminals) }

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

func each[T any](s []T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range s {
			if !yield(&s[i]) {
				return
			}
		}
	}
}
