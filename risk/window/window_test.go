package window

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hashes are a few that stand in one shard, so that they meet.
func hashes(n int) []uint64 {
	r, hs := rand.New(rand.NewPCG(1, 2)), make([]uint64, n)
	for i := range hs {
		hs[i] = r.Uint64() >> 12
	}
	return hs
}

// locked does something with a single place.
func locked(p Place, do func(*Place)) {
	places := []Place{{}, p}
	Lock(places)
	defer Unlock(places)
	do(&places[1])
}

func add(c *Counts, hash uint64, at Second, day uint16) {
	locked(c.At(hash), func(p *Place) { c.Add(p, at, day) })
}

func of(c *Counts, hash uint64, at Second, day uint16) (recent, today int) {
	locked(c.At(hash), func(p *Place) { recent, today = c.Of(p, at, day) })
	return recent, today
}

func see(s *Sets, hash, element uint64, at Second) {
	locked(s.At(hash), func(p *Place) { s.Add(p, element, at) })
}

func besides(s *Sets, hash, element uint64, at, since Second) (others int) {
	locked(s.At(hash), func(p *Place) {
		all, this := s.Count(p, element, at, since)
		others = all - this
	})
	return others
}

// event is one thing of a naive model: a list of all that happened.
type event struct {
	hash, element uint64
	at            Second
	day           uint16
}

const second0 Second = 200_000_000

// Counts against a list: in the last nine tenths of the span all counts, before
// the span nothing, and between them each event may.
func TestCountsAgainstAList(t *testing.T) {
	hs := hashes(40)
	rapid.Check(t, func(rt *rapid.T) {
		grain := rapid.SampledFrom([]Second{1, 7, 60}).Draw(rt, "grain")
		span := slices * grain
		c := NewCounts(time.Duration(span)*time.Second, 25*time.Hour, 1<<20)
		now, day := second0, uint16(900)
		var all []event
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			now += rapid.SampledFrom([]Second{0, 0, 1, 2, grain, 3 * grain, span, 2 * span}).Draw(rt, "passed")
			if rapid.IntRange(0, 30).Draw(rt, "midnight") == 0 {
				day++
			}
			h := rapid.SampledFrom(hs).Draw(rt, "hash")
			e := event{h, 0, now - rapid.SampledFrom([]Second{0, 0, 0, 1, grain}).Draw(rt, "late"), day}
			if n := countSince(all, h, 0, now+1); n < 15 { // more would stop at 15 a tenth
				add(c, h, e.at, day)
				all = append(all, e)
			}
			h = rapid.SampledFrom(hs).Draw(rt, "asked")
			recent, today := of(c, h, now, day)
			atLeast, atMost := countSince(all, h, now-span+grain, now+1), countSince(all, h, now-span+1, now+1)
			ofDay := 0
			for _, e := range all {
				if e.hash == h && e.day == day {
					ofDay++
				}
			}
			if recent < atLeast || recent > atMost || today != ofDay {
				rt.Fatalf("%d recent and %d today, want %d to %d and %d", recent, today, atLeast, atMost, ofDay)
			}
		}
	})
}

func countSince(all []event, h uint64, from, to Second) (n int) {
	for _, e := range all {
		if e.hash == h && e.at >= from && e.at < to {
			n++
		}
	}
	return n
}

// others is how many elements besides one a list has in a span.
func others(all []event, h, element uint64, now, since, span Second) int {
	seen := map[uint64]bool{}
	for _, e := range all {
		if e.hash == h && e.element != element && e.at >= since && int64(now)-int64(e.at) < int64(span) {
			seen[e.element] = true
		}
	}
	return len(seen)
}

func TestSetsAgainstAList(t *testing.T) {
	hs := hashes(40)
	rapid.Check(t, func(rt *rapid.T) {
		const places = 6
		span := rapid.SampledFrom([]Second{3, 60, 7200}).Draw(rt, "span")
		s := NewSets(places, time.Duration(span)*time.Second, 1<<20)
		now := second0
		var all []event
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			now += rapid.SampledFrom([]Second{0, 0, 1, 2, span - 1, span, 2 * span}).Draw(rt, "passed")
			e := event{rapid.SampledFrom(hs[:5]).Draw(rt, "hash"), rapid.SampledFrom(hs[5:13]).Draw(rt, "element"), now, 0}
			see(s, e.hash, e.element, e.at)
			all = append(all, e)
			h, element := rapid.SampledFrom(hs[:5]).Draw(rt, "asked"), rapid.SampledFrom(hs[5:13]).Draw(rt, "besides")
			since := now - rapid.SampledFrom([]Second{0, 1, span, 9 * span}).Draw(rt, "since")
			got, want := besides(s, h, element, now, since), others(all, h, element, now, since, span)
			// The latest places are kept, and the element asked for may be one of them.
			if got != want && (want < places || got < places-1) {
				rt.Fatalf("%d others, want %d", got, want)
			}
		}
	})
}

// The low bits of a second say when also where the span takes all of them, and
// after any pause.
func TestFewElementsAgainstAList(t *testing.T) {
	hs := hashes(5)
	rapid.Check(t, func(rt *rapid.T) {
		span := rapid.SampledFrom([]Second{2, 4, 1 << 13, 7200, 86400}).Draw(rt, "span")
		p := NewSets(2, time.Duration(span)*time.Second, 1<<20)
		now := second0
		var all []event
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			now += rapid.SampledFrom([]Second{0, 0, 1, 2, span - 1, span, 2 * span, 1 << 24, 1<<17 + 1}).Draw(rt, "passed")
			e := event{rapid.SampledFrom(hs).Draw(rt, "hash"), rapid.SampledFrom([]uint64{11, 31, 82, 255}).Draw(rt, "place"), now, 0}
			if rapid.Bool().Draw(rt, "add") {
				see(p, e.hash, e.element, now)
				all = append(all, e)
			}
			got, want := besides(p, e.hash, e.element, now, 0), others(all, e.hash, e.element, now, 0, span)
			if got != want && (want < 2 || got == 0) {
				rt.Fatalf("%d other places, want %d", got, want)
			}
		}
	})
}

// What came late is put where it belongs, and nothing newer gives way to it.
func TestLateComers(t *testing.T) {
	c := NewCounts(10*time.Second, 0, 100)
	for _, at := range []Second{109, 103, 98} { // 98 is beyond the span of 109
		add(c, 1, at, 0)
	}
	for at, want := range map[Second]int{109: 2, 112: 2, 113: 1, 118: 1, 119: 0} {
		if got, _ := of(c, 1, at, 0); got != want {
			t.Errorf("at %d there are %d, want %d", at, got, want)
		}
	}
	p := NewSets(2, 10*time.Second, 100)
	see(p, 1, 11, 109)
	see(p, 1, 11, 103)
	see(p, 1, 12, 107)
	see(p, 1, 13, 106)
	see(p, 1, 14, 90)
	if at116, at118 := besides(p, 1, 99, 116, 0), besides(p, 1, 99, 118, 0); at116 != 2 || at118 != 1 {
		t.Errorf("%d and then %d places, want 2 and 1", at116, at118)
	}
}

// A table with more than its share forgets the oldest, and goes on.
func TestFullTableForgetsTheOldest(t *testing.T) {
	const share = 10
	c := NewCounts(1000*time.Second, 0, share*shardCount)
	hs := hashes(200)
	for i, h := range hs {
		add(c, h, second0+Second(i), 0)
	}
	now := second0 + Second(len(hs))
	for i, h := range hs {
		recent, _ := of(c, h, now, 0)
		if i >= len(hs)-share/2 && recent != 1 {
			t.Errorf("number %d of %d was forgotten", i+1, len(hs))
		}
	}
	s := c.table.at(hs[0]).shard
	if entries := len(s.cells) / 2; entries > 4*share {
		t.Errorf("a shard whose share is %d has room for %d", share, entries)
	}
	if forgotten := c.Forgotten(); forgotten+uint64(s.used) != uint64(len(hs)) {
		t.Errorf("%d of %d were forgotten, and %d are there", forgotten, len(hs), s.used)
	}
}

// A full shard whose entries are all of a time to come, since the clock was put back,
// has room again.
func TestFullTableAfterTheClockWentBack(t *testing.T) {
	c := NewCounts(10*time.Minute, 0, 1)
	hs := hashes(4 * entriesFirst)
	for i, h := range hs {
		at := second0
		if i < entriesFirst*5/4 { // more than its share, and just as many as it takes before it grows again
			at += 1000
		}
		add(c, h, at, 1)
	}
	last := hs[len(hs)-1]
	if n, _ := of(c, last, second0, 1); n != 1 {
		t.Errorf("the last was counted %d times", n)
	}
}

// What is old makes room: the memory is that of what is recent.
func TestOldEntriesMakeRoom(t *testing.T) {
	c := NewCounts(10*time.Second, 0, 1<<20)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 1_000_000 {
		add(c, r.Uint64(), second0+Second(i/1000), 0)
	}
	cells := 0
	for i := range c.table.shards {
		cells += len(c.table.shards[i].cells)
	}
	if entries := cells / 2; entries > 10*shardCount {
		t.Errorf("room for %d entries, and at any time there were 10,000", entries)
	}
	if n := c.Forgotten(); n != 0 {
		t.Errorf("%d recent ones were forgotten", n)
	}
}

// Counts stop at their ends: 15 in a tenth, 255 on a day.
func TestCountsStop(t *testing.T) {
	c := NewCounts(600*time.Second, 0, 100)
	for range 300 {
		add(c, 1, second0, 7)
		add(c, 1, second0+60, 7)
	}
	if recent, today := of(c, 1, second0+60, 7); recent != 30 || today != 255 {
		t.Errorf("%d recent and %d today, want 30 and 255", recent, today)
	}
}

func TestSideBySide(t *testing.T) {
	c, s, p := NewCounts(100*time.Second, 0, 1<<20), NewSets(4, 100*time.Second, 1<<20), NewSets(2, 100*time.Second, 1<<20)
	hs := hashes(50)
	const workers, rounds = 4, 3
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				for _, h := range hs {
					add(c, h, second0, 1)
					see(s, h, uint64(w)+1, second0)
					see(p, h, uint64(w%2)+1, second0)
					of(c, h, second0, 1)
					besides(s, h, 9, second0, 0)
					besides(p, h, 9, second0, 0)
				}
			}
		})
	}
	wg.Wait()
	for _, h := range hs {
		if n, _ := of(c, h, second0, 1); n != workers*rounds {
			t.Errorf("%d were counted, want %d", n, workers*rounds)
		}
		if n := besides(s, h, 9, second0, 0); n != workers {
			t.Errorf("%d elements, want %d", n, workers)
		}
		if n := besides(p, h, 9, second0, 0); n != 2 {
			t.Errorf("%d places, want 2", n)
		}
	}
}

func BenchmarkTenMillion(b *testing.B) {
	const n = 10_000_000
	r := rand.New(rand.NewPCG(5, 6))
	c, p := NewCounts(600*time.Second, 25*time.Hour, 2*n), NewSets(2, 2*time.Hour, 2*n)
	for range n {
		h := r.Uint64()
		add(c, h, second0, 1)
		see(p, h, 31, second0)
	}
	for name, t := range map[string]*table{"counts": &c.table, "elements": &p.table} {
		cells := 0
		for i := range t.shards {
			cells += len(t.shards[i].cells)
		}
		b.Logf("%s: %.1f bytes each", name, float64(8*cells)/n)
	}
	for name, f := range map[string]func(uint64){
		"counts add":  func(h uint64) { add(c, h, second0, 1) },
		"counts of":   func(h uint64) { of(c, h, second0, 1) },
		"elements of": func(h uint64) { besides(p, h, 11, second0, 0) },
	} {
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			b.ReportAllocs()
			r := rand.New(rand.NewPCG(5, 6))
			for b.Loop() {
				f(r.Uint64())
			}
		})
	}
}
