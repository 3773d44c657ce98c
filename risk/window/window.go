// Package window counts what happened lately: how often something happened, to
// how many different others, in how many places.
//
// Promises: memory without pointers and with a bound, given back as entries
// become old; no allocation but when a table grows; safe for concurrent use;
// no clock: time is an argument, in seconds, and may come a little late or out
// of order.
//
// Things are named by 64-bit hashes. They must be keyed, or come from a keyed hash,
// or an attacker could choose names that collide. Of a hash 44 bits are kept: among
// ten million entries, one new one in 1.7 million is taken for an older one and
// begins with that one's counts.
//
// Not here: what is counted, and what follows from it (package risk).
package window

import (
	"math"
	"math/bits"
	"time"
)

// Second is a time in seconds since 2020; before that it is 0.
type Second = uint32

const epoch = 1_577_836_800 // 2020-01-01 UTC

// At is the second of t.
func At(t time.Time) Second { return Second(max(0, min(t.Unix()-epoch, 1<<32-1))) }

// slices is into how many a span is divided.
const slices = 10

// Counts counts how often each thing happened in a span of time, and on one
// business day. An entry is 16 bytes, 21 to 27 with its share of free ones.
//
// The span moves on in tenths: what happened counts for nine tenths of the span
// at least and for all of it at most. Counts are exact up to 15; a tenth with
// more counts as 15, a day with more than 255 as 255.
type Counts struct {
	table
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

// At is the place of the thing with a hash.
func (c *Counts) At(hash uint64) Place { return c.table.at(hash) }

// Add counts one at a second, which was on a day: any number that rises, of which
// 16 bits are kept.
func (c *Counts) Add(p *Place, at Second, day uint16) {
	w, before := p.touch(at)
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

// Of is how often something was counted in the span before a second, and on a day.
func (c *Counts) Of(p *Place, at Second, day uint16) (recent, today int) {
	w, before := p.find(at)
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

// Sets keeps the latest different elements of each thing, exactly to the second
// and up to a number of elements; of more the one seen longest ago gives way. An
// entry is 8 bytes and 4 for each element, 1.3 to 1.7 times that with its share of
// free ones.
//
// Elements are hashes, or numbers, of which as many low bits are kept as the span
// leaves of 32: 22 of ten minutes, 19 of two hours, 15 of a day. Two that share
// them are one, and 0 is 1.
type Sets struct {
	table
	span       Second
	secondBits int
}

// NewSets keeps so many elements, rounded up to an even number, for a span. See
// NewCounts.
func NewSets(elements int, span time.Duration, entriesMax int) *Sets {
	s := &Sets{span: Second(span / time.Second)}
	s.secondBits = bits.Len32(s.span - 1)
	s.table.init((elements+1)/2, s.span, entriesMax)
	return s
}

// A word of an entry is two marks: the element in the high bits, and in the others
// the low bits of the second in which it was seen. They tell it because no mark is
// a span older than its entry: each Add takes out those that are. A mark of 0 is
// free.
func (s *Sets) mark(element uint64, at Second) uint32 {
	e := max(uint32(element)<<s.secondBits>>s.secondBits, 1)
	return e<<s.secondBits | at&(1<<s.secondBits-1)
}

func (s *Sets) same(mark uint32, element uint64) bool {
	return mark>>s.secondBits == s.mark(element, 0)>>s.secondBits
}

// seen is when a mark of an entry was made that was last written at a second.
func (s *Sets) seen(mark uint32, written Second) Second {
	return written - (written-mark)&(1<<s.secondBits-1)
}

func markAt(words []uint64, i int) uint32 { return uint32(words[i/2] >> (i % 2 * 32)) }

func setMark(words []uint64, i int, mark uint32) {
	shift := i % 2 * 32
	words[i/2] = words[i/2]&^(math.MaxUint32<<shift) | uint64(mark)<<shift
}

// At is the place of the thing with a hash.
func (s *Sets) At(hash uint64) Place { return s.table.at(hash) }

// Add notes that something was seen with an element at a second.
func (s *Sets) Add(p *Place, element uint64, at Second) {
	at = max(at, 1)
	words, before := p.touch(at)
	newest := max(at, before)
	place, oldest, found := 0, newest, false // where the element goes
	for i := range 2 * len(words) {
		m, seen := markAt(words, i), Second(0)
		if m != 0 {
			if seen = s.seen(m, before); !within(seen, newest, s.span) {
				setMark(words, i, 0)
				m, seen = 0, 0
			}
		}
		switch {
		case m != 0 && s.same(m, element):
			place, at, found = i, max(at, seen), true
		case !found && seen < oldest:
			place, oldest = i, seen
		}
	}
	if found || oldest < at && within(at, newest, s.span) {
		setMark(words, place, s.mark(element, at))
	}
}

// Count is how many elements something was seen with in the span before a second, no
// longer ago than since, and how many of them are this element: one or none.
func (s *Sets) Count(p *Place, element uint64, at, since Second) (all, this int) {
	words, before := p.find(at)
	for i := range 2 * len(words) {
		m := markAt(words, i)
		if seen := s.seen(m, before); m != 0 && seen >= since && within(seen, at, s.span) {
			all++
			if s.same(m, element) {
				this = 1
			}
		}
	}
	return all, this
}

// within says that something seen was less than span before now. Who is late
// finds what came after him.
func within(seen, now, span Second) bool { return int64(now)-int64(seen) < int64(span) }
