// Package window counts what happened lately: how often something happened, to
// how many different others, in how many places.
//
// Promises: memory without pointers and with a bound, given back as entries
// become old; no allocation but when a table grows; safe for concurrent use;
// no clock: time is an argument, in seconds, and may come a little late or out
// of order.
//
// Things are named by 64-bit hashes that must be keyed or come from a keyed
// hash, or somebody could make his fall together with another's. Of a hash 44
// bits are kept: of ten million entries, one new one in 1.7 million is taken for
// an older one and begins with that one's counts.
//
// Not here: what is counted, and what follows from it (package risk).
package window

import "time"

// Second is a time in seconds since 2020; before that it is 0.
type Second = uint32

const epoch = 1_577_836_800 // 2020-01-01 UTC

// At is the second of t.
func At(t time.Time) Second { return Second(max(0, min(t.Unix()-epoch, 1<<32-1))) }

// slices is into how many a span is divided.
const slices = 10

// Counts counts how often each thing happened in a span of time, and on one
// business day. An entry is 16 bytes, 21 to 32 with its share of free ones.
//
// The span moves on in tenths: what happened counts for nine tenths of the span
// at least and for all of it at most. Counts are exact up to 15; a tenth with
// more counts as 15, a day with more than 255 as 255.
type Counts struct {
	table table
	grain Second
}

// The word of an entry: the day in 16 bits, its count in 8, and 4 bits for each
// tenth, the newest lowest. The newest is the tenth of the entry's head.
const (
	sliceBits = 4
	sliceMax  = 1<<sliceBits - 1
	slicesAll = 1<<(slices*sliceBits) - 1
	dayMax    = 255
	dayShift  = slices * sliceBits
	dateShift = dayShift + 8
)

// NewCounts counts by a span, and keeps what was counted for keep, which must
// be a day at least for counts of the day to be right. Of more than about
// entriesMax things at one time those that happened longest ago are forgotten.
func NewCounts(span, keep time.Duration, entriesMax int) *Counts {
	c := &Counts{grain: max(1, Second(span/time.Second)/slices)}
	c.table.init(1, Second(max(span, keep)/time.Second), entriesMax)
	return c
}

// Add counts one of hash at a second, which was on a day: any number that
// rises, of which 16 bits are kept.
func (c *Counts) Add(hash uint64, at Second, day uint16) {
	s := c.table.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	w, before := c.table.touch(s, hash, at)
	word := w[0]
	newest := max(at, before) / c.grain
	late := 0
	if before != 0 {
		word = word&^slicesAll | aged(word, newest-before/c.grain)
		late = int(newest - at/c.grain)
	}
	if shift := late * sliceBits; late < slices && word>>shift&sliceMax < sliceMax {
		word += 1 << shift
	}
	switch date := uint16(word >> dateShift); {
	case before == 0 || int16(day-date) > 0:
		word = word&slicesAll | uint64(day)<<dateShift | 1<<dayShift
	case day == date && word>>dayShift&dayMax < dayMax:
		word += 1 << dayShift
	}
	w[0] = word
}

// aged is the tenths of a word after so many more have passed.
func aged(word uint64, passed Second) uint64 {
	if passed >= slices {
		return 0
	}
	return word << (passed * sliceBits) & slicesAll
}

// Of is how often hash was counted in the span before a second, and on a day.
func (c *Counts) Of(hash uint64, at Second, day uint16) (recent, today int) {
	s := c.table.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	w, before := c.table.find(s, hash, at)
	if w == nil {
		return 0, 0
	}
	word := w[0]
	if uint16(word>>dateShift) == day {
		today = int(word >> dayShift & dayMax)
	}
	word &= slicesAll
	if now := at / c.grain; now > before/c.grain {
		word = aged(word, now-before/c.grain)
	}
	for ; word != 0; word >>= sliceBits {
		recent += int(word & sliceMax)
	}
	return recent, today
}

// Forgotten is how many entries gave way before their time.
func (c *Counts) Forgotten() uint64 { return c.table.forgot.Load() }

// Sets keeps the latest different elements of each thing, exactly to the second
// and up to a number of elements; of more the one seen longest ago gives way.
// An entry is 8 bytes and 8 for each element.
type Sets struct {
	table table
	span  Second
}

// NewSets keeps so many elements for a span. See NewCounts.
func NewSets(elements int, span time.Duration, entriesMax int) *Sets {
	s := &Sets{span: Second(span / time.Second)}
	s.table.init(elements, s.span, entriesMax)
	return s
}

// Add notes that hash was seen with an element at a second. Elements are hashes
// too, of which 32 bits are kept.
func (s *Sets) Add(hash, element uint64, at Second) {
	sh := s.table.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	marks, _ := s.table.touch(sh, hash, at)
	oldest := 0
	for i, m := range marks {
		if m != 0 && uint32(m>>32) == uint32(element) {
			marks[i] = mark(element, max(at, Second(m)))
			return
		}
		if Second(m) < Second(marks[oldest]) {
			oldest = i
		}
	}
	if Second(marks[oldest]) < max(at, 1) {
		marks[oldest] = mark(element, at)
	}
}

func mark(element uint64, at Second) uint64 { return element<<32 | uint64(max(at, 1)) }

// Others is how many elements besides this one hash was seen with in the span
// before a second.
func (s *Sets) Others(hash, element uint64, at Second) int {
	all, this := s.count(hash, element, at, 0)
	if this {
		all--
	}
	return all
}

// OthersSince is Others that looks no further back than since.
func (s *Sets) OthersSince(hash, element uint64, at, since Second) int {
	all, this := s.count(hash, element, at, since)
	if this {
		all--
	}
	return all
}

// All is how many elements hash was seen with in the span before a second.
func (s *Sets) All(hash uint64, at Second) int {
	all, _ := s.count(hash, 0, at, 0)
	return all
}

// count says also whether an element is among them.
func (s *Sets) count(hash, element uint64, at, since Second) (all int, has bool) {
	sh := s.table.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	marks, _ := s.table.find(sh, hash, at)
	for _, m := range marks {
		if seen := Second(m); m != 0 && seen >= since && within(seen, at, s.span) {
			all++
			has = has || uint32(m>>32) == uint32(element)
		}
	}
	return all, has
}

// Forgotten is how many entries gave way before their time.
func (s *Sets) Forgotten() uint64 { return s.table.forgot.Load() }

// within says that something seen was less than span before now. Who is late
// finds what came after him.
func within(seen, now, span Second) bool { return int64(now)-int64(seen) < int64(span) }

// Places keeps the last two different places of each thing, exactly to the
// second: 16 bytes an entry, for tables of very many. A place is a number from 1
// to 255; the span must be below 97 days.
type Places struct {
	table table
	span  Second
}

// NewPlaces keeps places for a span. See NewCounts.
func NewPlaces(span time.Duration, entriesMax int) *Places {
	p := &Places{span: Second(span / time.Second)}
	p.table.init(1, p.span, entriesMax)
	return p
}

// The word of an entry is two marks of 32 bits, the place in 8 and the low bits
// of the second in 24. What is older than the span is taken out whenever
// something is added, and an entry that is not live is empty: 24 bits say when.
const (
	placeShift = 24
	secondMask = 1<<placeShift - 1
)

// Add notes that hash was at a place.
func (p *Places) Add(hash uint64, place uint8, at Second) {
	s := p.table.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	w, before := p.table.touch(s, hash, at)
	newest := max(at, before)
	if !within(at, newest, p.span) {
		return
	}
	marks := [2]uint32{uint32(w[0]), uint32(w[0] >> 32)}
	oldest, oldestAge := 0, Second(0)
	for i, m := range marks {
		age := (newest - m) & secondMask
		switch {
		case m != 0 && age >= p.span:
			marks[i], age = 0, secondMask
		case m == 0:
			age = secondMask
		case uint8(m>>placeShift) == place:
			oldest, oldestAge = i, secondMask+1
			if age < newest-at { // seen there after this
				at = newest - age
			}
		}
		if age > oldestAge {
			oldest, oldestAge = i, age
		}
	}
	if oldestAge > newest-at {
		marks[oldest] = uint32(place)<<placeShift | at&secondMask
	}
	w[0] = uint64(marks[0]) | uint64(marks[1])<<32
}

// Others is at how many places besides this one hash was in the span before a
// second: 0, 1 or 2.
func (p *Places) Others(hash uint64, place uint8, at Second) int {
	s := p.table.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	w, before := p.table.find(s, hash, at)
	if w == nil {
		return 0
	}
	newest, n := max(at, before), 0
	for _, m := range [2]uint32{uint32(w[0]), uint32(w[0] >> 32)} {
		seen := newest - (newest-m)&secondMask
		if m != 0 && uint8(m>>placeShift) != place && within(seen, at, p.span) {
			n++
		}
	}
	return n
}

// Forgotten is how many entries gave way before their time.
func (p *Places) Forgotten() uint64 { return p.table.forgot.Load() }
