package acquirer

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// slots remembers, by Key, every request of the current and the previous
// business day: it is what makes a retransmission get the stored answer. The
// answer itself stays in the journal, where a replay reads it back.
//
// A key with a batch number belongs to one request for ever, so a retransmission is
// recognised also on the next morning. Without batch numbers terminals start at 1 again
// every day: yesterday's 000042 is taken for today's only within replayGrace of it, or
// if it is the same advice or refund, which a terminal repeats until it is answered.
type slots struct {
	seed   [2]uint64              // so that nobody can choose numbers that collide
	shards *[slotShards]slotShard // apart, so that each begins where a cache line does
}

// replayGrace is how long after a request of the day before its retransmission
// is recognised where there are no batch numbers, and how long after a cut-over
// such a request can be reversed.
const replayGrace = 10 * time.Minute

// slotShards trades memory for the longest wait: a shard's table doubles under
// its lock, and at ten million requests a day it holds 2,400.
const slotShards = 1 << 12

// slotShard is two cache lines, of which the first does for today's requests.
type slotShard struct {
	mu      sync.Mutex // held for memory operations only, never across I/O
	day     txn.Date   // of now
	now     slotTable
	flights map[txn.Key]*flight // nil until the first who waits
	_       [8]byte
	past    slotTable // the day before
	_       [32]byte
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
	hash   uint32 // of its key; the table's
}

type slotState uint8

const (
	slotFree slotState = iota // no request: a place in a table
	slotInFlight
	slotDecided    // answered, and nothing to undo
	slotApproved   // answered with an approval that stands
	slotUndone     // answered; a reversal is owed or done
	slotTombstoned // never seen: its reversal came first
	// slotShunned is a tombstone of today beside an equal number of the day before,
	// which a reversal that was refused may not have meant. It stands for replayGrace,
	// and hides the other from a request of that number alone.
	slotShunned
)

// buried says that no request was seen, and none is taken.
func (s slotState) buried() bool { return s == slotTombstoned || s == slotShunned }

// flight lets retransmissions and reversals wait for the request they are
// about. done is closed when the slot is decided or given up. refused is then why
// it was turned away, Approved where it was not: equal requests that wait hear the
// same, so that none of them is decided after its terminal was told no.
type flight struct {
	done    chan struct{}
	refused txn.Reason
}

func newSlots() *slots {
	return &slots{seed: [2]uint64{rand.Uint64(), rand.Uint64()}, shards: new([slotShards]slotShard)}
}

// shard is where a key's slot is, and the hash that finds it there.
func (s *slots) shard(k *txn.Key) (*slotShard, uint32) {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(k.Terminal[:])^s.seed[0], (uint64(k.Batch)<<32|uint64(k.STAN))^s.seed[1])
	hi, lo = bits.Mul64(hi^lo^uint64(k.Acquirer), uint64(k.Class)^s.seed[0]|1)
	hash := hi ^ lo
	return &s.shards[hash%slotShards], uint32(hash >> 32)
}

// turn moves a shard to a later day. Requests in flight keep their slots: a
// flight's slot is found in past by decide.
func (s *slots) turn(sh *slotShard, day txn.Date) {
	if day <= sh.day {
		return
	}
	sh.past = slotTable{}
	if sh.day == day.Before() { // else the journal may have let go of what it had
		sh.past = sh.now
	}
	sh.day, sh.now = day, slotTable{}
}

// find is the slot of a key of whatever age, nil when there is none. It is valid
// while the shard is locked and nothing is put.
func (sh *slotShard) find(k *txn.Key, hash uint32) *slot {
	if sl := sh.now.find(k, hash); sl != nil && sl.state != slotShunned {
		return sl
	}
	return sh.past.find(k, hash)
}

// recall is find for a new request, received at an instant: it passes over those of the
// day before that the request cannot be a retransmission of. said is the fingerprint of
// one that is said until it is answered, else 0.
func (sh *slotShard) recall(k *txn.Key, hash uint32, at time.Time, said uint64) *slot {
	if sl := sh.now.find(k, hash); sl != nil && !(sl.state == slotShunned && at.Sub(madeAt(sl.id)) > replayGrace) {
		return sl
	}
	sl := sh.past.find(k, hash)
	switch {
	case sl == nil, k.Batch != 0, sl.state == slotInFlight,
		at.Sub(madeAt(sl.id)).Abs() <= replayGrace,
		said != 0 && sl.fingerprint == said:
		return sl
	}
	return nil
}

// claim takes the key for a new request, among those of the shard's day: one that came
// just before a cut-over which others were through first is remembered for a day more,
// and so are today's where the clock was a day ahead. When the key is taken, it returns the
// slot, and the flight if the request is undecided; claimed is then false.
func (s *slots) claim(req *txn.Request) (sl slot, fl *flight, claimed bool) {
	sh, hash := s.shard(&req.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.turn(sh, req.Day)
	var said uint64
	if req.Key.Class == txn.ClassAdvice || req.Kind.Remedy() == txn.Repeat { // a refund may be a request (0200)
		said = req.Fingerprint
	}
	if sl := sh.recall(&req.Key, hash, req.Received, said); sl != nil {
		return *sl, sh.follow(req.Key, *sl), false
	}
	sl = slot{id: req.ID, fingerprint: req.Fingerprint, state: slotInFlight}
	sh.now.put(&req.Key, hash, sl)
	return sl, nil, true
}

// decide stores how the request ended and lets everybody who waits go on.
func (s *slots) decide(k *txn.Key, position journal.Position, state slotState) {
	sh, hash := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sl := sh.find(k, hash); sl != nil {
		sl.position, sl.state, sl.copies = position, state, 1
	}
	sh.land(*k, txn.Approved)
}

// forget gives the key back as if the request had never come. Equal requests that wait
// for it are refused for the same reason; where that is Approved, one of them is decided
// in its place.
func (s *slots) forget(k *txn.Key, refused txn.Reason) {
	sh, hash := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.now.remove(k, hash) {
		sh.past.remove(k, hash) // it came before the cut-over
	}
	sh.land(*k, refused)
}

// follow is the flight of an undecided slot, else nil. It is made for the first who
// waits for the slot, since hardly any is waited for.
func (sh *slotShard) follow(k txn.Key, sl slot) *flight {
	if sl.state != slotInFlight {
		return nil
	}
	fl := sh.flights[k]
	if fl == nil {
		fl = &flight{done: make(chan struct{})}
		if sh.flights == nil {
			sh.flights = map[txn.Key]*flight{}
		}
		sh.flights[k] = fl
	}
	return fl
}

func (sh *slotShard) land(k txn.Key, refused txn.Reason) {
	if len(sh.flights) == 0 {
		return
	}
	if fl := sh.flights[k]; fl != nil {
		delete(sh.flights, k)
		fl.refused = refused
		close(fl.done)
	}
}

// undo marks an approved original as undone, once: of any number of callers exactly one
// gets true, and must make the reversal durable. With unheard set it does so only if no
// copy of the approval can have reached the terminal. Around a cut-over two requests may
// have had the key: id says which is meant.
func (s *slots) undo(k *txn.Key, id txn.ID, unheard bool) (undone bool) {
	sh, hash := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, day := range [...]*slotTable{&sh.now, &sh.past} {
		sl := day.find(k, hash)
		if sl == nil || sl.id != id {
			continue
		}
		if undone = sl.state == slotApproved && !(unheard && sl.copies > 0); undone {
			sl.state = slotUndone
		}
	}
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
	sh, hash := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sl := sh.find(k, hash); sl != nil {
		f(sl)
	}
}

// look returns the slot of a key, of whatever age, and its flight while
// undecided.
func (s *slots) look(k *txn.Key) (slot, *flight, bool) {
	sh, hash := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sl := sh.find(k, hash)
	if sl == nil {
		return slot{}, nil, false
	}
	return *sl, sh.follow(*k, *sl), true
}

// bury puts a tombstone of a state where no request was: its reversal came first, and
// the request must be refused should it still come. sl has the reversal's id. It is
// false if the request has come meanwhile.
func (s *slots) bury(k *txn.Key, day txn.Date, at time.Time, state slotState, sl slot) bool {
	sh, hash := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.turn(sh, day)
	if sl := sh.recall(k, hash, at, 0); sl != nil && sl.state != slotShunned {
		return false
	}
	sl.state = state
	sh.now.put(k, hash, sl)
	return true
}

// restore puts a slot back while the journal is read at start.
func (s *slots) restore(k *txn.Key, day txn.Date, sl slot) {
	sh, hash := s.shard(k)
	s.turn(sh, day)
	sl.copies = 1 // nobody knows; the terminal asks again or reverses
	switch day {
	case sh.day:
		sh.now.put(k, hash, sl)
	case sh.day.Before(): // written after a later day's first
		sh.past.put(k, hash, sl)
	}
}
