package acquirer

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// slots remembers, by Key, every request of the current and the previous
// business day: it is what makes a retransmission get the stored answer. A
// slot is 56 bytes without pointers; the answer itself stays in the journal,
// where a replay reads it back.
//
// A key of the day before matches only within replayGrace of the cut-over:
// terminals number from 1 again, and yesterday's 000042 is not today's.
type slots struct {
	day    txn.BusinessDay
	hash   maphash.Seed
	shards [slotShards]slotShard
}

const (
	slotShards = 64
	// replayGrace is how long after a cut-over a retransmission of a request of
	// the day before is still recognised.
	replayGrace = 10 * time.Minute
)

type slotShard struct {
	mu    sync.Mutex // held for map operations only, never across I/O
	day   txn.Date   // of now
	began time.Time  // when it did
	now   map[txn.Key]slot
	past  map[txn.Key]slot // the day before
	fight map[txn.Key]*flight
}

// slot is one decided or undecided request.
type slot struct {
	position    journal.Position // of the record that answers it; 0 while in flight
	id          txn.ID
	fingerprint uint64
	state       slotState
	// copies of an approval that were handed to a session and are not known to
	// have failed: the first answer and every replay. At zero the terminal has
	// certainly not heard yes.
	copies uint8
}

type slotState uint8

const (
	slotInFlight   slotState = iota
	slotDecided              // answered, and nothing to undo
	slotApproved             // answered with an approval that stands
	slotUndone               // answered; a reversal is owed or done
	slotTombstoned           // never seen: its reversal came first
)

// flight lets retransmissions and reversals wait for the request they are
// about. done is closed when the slot is decided or given up.
type flight struct{ done chan struct{} }

func newSlots(day txn.BusinessDay) *slots {
	s := &slots{day: day, hash: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].now = map[txn.Key]slot{}
		s.shards[i].past = map[txn.Key]slot{}
		s.shards[i].fight = map[txn.Key]*flight{}
	}
	return s
}

func (s *slots) shard(k *txn.Key) *slotShard {
	return &s.shards[maphash.Comparable(s.hash, *k)%slotShards]
}

// turn moves a shard to a later day. Requests in flight keep their slots: a
// flight's slot is found in past by decide.
func (s *slots) turn(sh *slotShard, day txn.Date) {
	if day <= sh.day {
		return
	}
	sh.day, sh.began = day, s.day.Start(day)
	sh.past, sh.now = sh.now, map[txn.Key]slot{}
}

func (sh *slotShard) find(k txn.Key, at time.Time) (slot, bool) {
	if sl, ok := sh.now[k]; ok {
		return sl, true
	}
	sl, ok := sh.past[k]
	if ok && sl.state != slotInFlight && at.Sub(sh.began) > replayGrace {
		return slot{}, false
	}
	return sl, ok
}

// claim takes the key for a new request. When the key is taken, it returns the
// slot, and the flight if the request is undecided; claimed is then false.
func (s *slots) claim(req *txn.Request) (sl slot, fl *flight, claimed bool) {
	sh := s.shard(&req.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.turn(sh, req.Day)
	if sl, ok := sh.find(req.Key, req.Received); ok {
		return sl, sh.follow(req.Key, sl), false
	}
	sl = slot{id: req.ID, fingerprint: req.Fingerprint}
	sh.now[req.Key] = sl
	return sl, nil, true
}

// decide stores how the request ended and lets everybody who waits go on.
func (s *slots) decide(k *txn.Key, position journal.Position, state slotState) {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, m := range [...]map[txn.Key]slot{sh.now, sh.past} {
		if sl, ok := m[*k]; ok {
			sl.position, sl.state, sl.copies = position, state, 1
			m[*k] = sl
			break
		}
	}
	sh.land(*k)
}

// forget gives the key back as if the request had never come.
func (s *slots) forget(k *txn.Key) {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, ok := sh.now[*k]; ok {
		delete(sh.now, *k)
	} else {
		delete(sh.past, *k) // it came before the cut-over
	}
	sh.land(*k)
}

// follow is the flight of a slot while it is undecided, made for the first who
// waits for it: nearly nobody does.
func (sh *slotShard) follow(k txn.Key, sl slot) *flight {
	if sl.state != slotInFlight {
		return nil
	}
	fl := sh.fight[k]
	if fl == nil {
		fl = &flight{done: make(chan struct{})}
		sh.fight[k] = fl
	}
	return fl
}

func (sh *slotShard) land(k txn.Key) {
	if len(sh.fight) == 0 {
		return
	}
	if fl := sh.fight[k]; fl != nil {
		delete(sh.fight, k)
		close(fl.done)
	}
}

// undo marks an approved original as undone, once: of any number of callers
// exactly one is told yes, and must make the reversal durable. With unheard set
// it does so only if no copy of the approval may have reached the terminal.
func (s *slots) undo(k *txn.Key, unheard bool) (undone bool) {
	s.change(k, func(sl *slot) {
		if undone = sl.state == slotApproved && !(unheard && sl.copies > 0); undone {
			sl.state = slotUndone
		}
	})
	return undone
}

// told notes that one more copy of an approval goes to its terminal.
func (s *slots) told(k *txn.Key) {
	s.change(k, func(sl *slot) { sl.copies = min(sl.copies, 254) + 1 })
}

// untold takes a copy back that could not be written, and says whether none is
// left.
func (s *slots) untold(k *txn.Key) (none bool) {
	s.change(k, func(sl *slot) {
		sl.copies = max(sl.copies, 1) - 1
		none = sl.copies == 0
	})
	return none
}

// change applies f to the key's slot, if there is one.
func (s *slots) change(k *txn.Key, f func(*slot)) {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, m := range [...]map[txn.Key]slot{sh.now, sh.past} {
		if sl, ok := m[*k]; ok {
			f(&sl)
			m[*k] = sl
			return
		}
	}
}

// look returns the slot of a key, of whatever age, and its flight while
// undecided.
func (s *slots) look(k *txn.Key) (slot, *flight, bool) {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sl, ok := sh.now[*k]
	if !ok {
		sl, ok = sh.past[*k]
	}
	if !ok {
		return sl, nil, false
	}
	return sl, sh.follow(*k, sl), true
}

// bury leaves a tombstone where no request was: its reversal came first, and
// the request, should it still come, must be refused. It says false if the
// request has come meanwhile.
func (s *slots) bury(k *txn.Key, day txn.Date, at time.Time, position journal.Position) bool {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.turn(sh, day)
	if _, ok := sh.find(*k, at); ok {
		return false
	}
	sh.now[*k] = slot{position: position, state: slotTombstoned}
	return true
}

// restore puts a slot back while the journal is read at start.
func (s *slots) restore(k *txn.Key, day txn.Date, sl slot) {
	sh := s.shard(k)
	s.turn(sh, day)
	sl.copies = 1 // nobody knows; the terminal asks again or reverses
	switch {
	case day == sh.day:
		sh.now[*k] = sl
	default: // a record of an earlier day, written after a later day's first
		sh.past[*k] = sl
	}
}
