package acquirer

import "github.com/acqswitch/acqswitch/switch/txn"

// slotTable is open addressing with linear probing, without pointers: a slot is
// found in one cache line, mostly, and the collector never looks inside.
type slotTable struct {
	entries []slotEntry // a power of two, or none
	used    int
}

// slotEntry is a cache line.
type slotEntry struct {
	key txn.Key
	slot
}

// slotsFirst is the size of a shard's first table.
const slotsFirst = 8

// at is where a key stands, or else the free place for it.
func (t *slotTable) at(k *txn.Key, hash uint32) int {
	for i := int(hash); ; i++ {
		i &= len(t.entries) - 1
		if e := &t.entries[i]; e.state == slotFree || e.hash == hash && e.key == *k {
			return i
		}
	}
}

func (t *slotTable) find(k *txn.Key, hash uint32) *slot {
	if t.used == 0 {
		return nil
	}
	if e := &t.entries[t.at(k, hash)]; e.state != slotFree {
		return &e.slot
	}
	return nil
}

// put sets the slot of a key.
func (t *slotTable) put(k *txn.Key, hash uint32, sl slot) {
	if t.used >= len(t.entries)*3/4 {
		from := t.entries
		t.entries = make([]slotEntry, max(slotsFirst, 2*len(from)))
		for i := range from {
			if e := &from[i]; e.state != slotFree {
				t.entries[t.at(&e.key, e.hash)] = *e
			}
		}
	}
	e := &t.entries[t.at(k, hash)]
	if e.state == slotFree {
		t.used++
	}
	sl.hash = hash
	*e = slotEntry{*k, sl}
}

// remove says whether the key was there.
func (t *slotTable) remove(k *txn.Key, hash uint32) bool {
	if t.used == 0 {
		return false
	}
	i := t.at(k, hash)
	if t.entries[i].state == slotFree {
		return false
	}
	t.entries[i] = slotEntry{}
	t.used--
	// Those behind it, up to the next free place, may stand there only because
	// this one was in their way: each is put anew.
	for {
		i = (i + 1) & (len(t.entries) - 1)
		e := t.entries[i]
		if e.state == slotFree {
			return true
		}
		t.entries[i] = slotEntry{}
		t.entries[t.at(&e.key, e.hash)] = e
	}
}
