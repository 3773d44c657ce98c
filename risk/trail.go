package risk

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// trail is what is known of a terminal's last places, from the records of its
// requests.
type trail struct {
	silent, far uint8 // requests in a row that T10 and T11 found something about
	known       bool  // there was a position
	lat, lng    int32 // the last one
	at          uint32
}

// trails has one for each terminal that a record was learned about. It is open
// addressing over slots without pointers; 43 to 96 bytes a terminal. Nothing is
// removed: the registry bounds it.
type trails struct {
	shards [trailShards]trailShard
}

const trailShards = 1 << 10

type trailShard struct {
	mu    sync.Mutex // guards slots and used
	slots []trailSlot
	used  int
	_     [24]byte
}

type trailSlot struct {
	id uint64 // the terminal's eight characters; 0 is a free slot
	trail
}

// of is the trail of a terminal, empty where nothing is known.
func (ts *trails) of(t txn.TerminalID) trail {
	id, hash := trailKey(t)
	s := &ts.shards[hash>>54]
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot := s.find(id, hash); slot != nil {
		return slot.trail
	}
	return trail{}
}

// learn takes the record of a request that places are looked at for.
func (ts *trails) learn(rec *txn.Record) {
	if int(rec.Request) >= len(matrix) || matrix[rec.Request]&place == 0 {
		return
	}
	var silent, far, elsewhere bool
	for f := range rec.Findings.All() {
		silent = silent || f.Rule == ruleT10
		far = far || f.Rule == ruleT11
		elsewhere = elsewhere || (f.Rule == ruleT11 || f.Rule == ruleT12 || f.Rule == ruleT14) && f.Action == txn.ActionRefuse && !f.Shadow
	}
	positioned := rec.Lat != 0 || rec.Lng != 0
	id, hash := trailKey(rec.Key.Terminal)
	s := &ts.shards[hash>>54]
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.find(id, hash)
	if slot == nil {
		if !silent && !far && !positioned {
			return
		}
		slot = s.insert(id, hash)
	}
	slot.silent = next(slot.silent, silent)
	if far || positioned {
		slot.far = next(slot.far, far)
	}
	if at := uint32(rec.At.Unix()); positioned && !elsewhere && at >= slot.at {
		slot.known, slot.lat, slot.lng, slot.at = true, rec.Lat, rec.Lng, at
	}
}

// next counts what happens in a row.
func next(n uint8, again bool) uint8 {
	switch {
	case !again:
		return 0
	case n < 255:
		n++
	}
	return n
}

func trailKey(t txn.TerminalID) (id, hash uint64) {
	id = binary.LittleEndian.Uint64(t[:])
	hi, lo := bits.Mul64(id^0x9e3779b97f4a7c15, 0x589965cc75374cc3)
	return id, hi ^ lo
}

func (s *trailShard) find(id, hash uint64) *trailSlot {
	if len(s.slots) == 0 {
		return nil
	}
	for i := int(hash); ; i++ {
		switch slot := &s.slots[i&(len(s.slots)-1)]; slot.id {
		case id:
			return slot
		case 0:
			return nil
		}
	}
}

func (s *trailShard) insert(id, hash uint64) *trailSlot {
	if s.used >= len(s.slots)*3/4 {
		old := s.slots
		s.slots = make([]trailSlot, max(slotsFirst, 2*len(old)))
		for i := range old {
			if old[i].id != 0 {
				_, h := trailKey(idOf(old[i].id))
				*s.free(h) = old[i]
			}
		}
	}
	s.used++
	slot := s.free(hash)
	slot.id = id
	return slot
}

func idOf(id uint64) (t txn.TerminalID) {
	binary.LittleEndian.PutUint64(t[:], id)
	return t
}

func (s *trailShard) free(hash uint64) *trailSlot {
	for i := int(hash); ; i++ {
		if slot := &s.slots[i&(len(s.slots)-1)]; slot.id == 0 {
			return slot
		}
	}
}
