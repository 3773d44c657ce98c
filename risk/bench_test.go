package risk

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// city is an engine with 50 own rules that ask for everything that takes long,
// its registry, and the counters and windows of cards that were each used once in
// the last two hours.
type city struct {
	*Engine
	merchants []txn.Merchant
	terminals []txn.Terminal
	cards     uint64
}

// makeCity has five terminals at each merchant.
func makeCity(b *testing.B, terminals int, cards uint64) *city {
	b.Helper()
	c := &city{policed(b, fifty), make([]txn.Merchant, terminals/5), make([]txn.Terminal, terminals), cards}
	for i := range c.merchants {
		m := *good().Acceptor
		m.ID, m.MCC = txn.MakeMerchantID(fmt.Sprintf("9992900%08d", i)), 0 // whatever category its number says
		m.Limits = txn.Limits{Transaction: 50_000_00, DayAmount: 1 << 50, DayCount: 1 << 30}
		m.Card = txn.Limits{Transaction: 20_000_00, DayAmount: 1 << 50, DayCount: 1 << 30}
		c.merchants[i] = m
	}
	for i := range c.terminals {
		t := *good().Terminal
		t.ID, t.Merchant, t.Limits = txn.MakeTerminalID(fmt.Sprintf("%08d", i)), c.merchants[i%len(c.merchants)].ID, c.merchants[0].Limits
		c.terminals[i] = t
	}
	began := time.Now()
	s := c.shopper(0)
	for i := range cards {
		s.at(i, i)
		s.rec.At = noon.Add(-2*time.Hour + time.Duration(i)*2*time.Hour/time.Duration(cards))
		c.Learn(s.rec)
		h := HoldOf(s.req)
		h.Minor = 1
		c.Restore(h)
	}
	b.Logf("restored %d uses in %v", cards, time.Since(began).Round(time.Millisecond))
	return c
}

// shopper makes sales of random cards at random terminals.
type shopper struct {
	*city
	req *txn.Request
	rec *txn.Record
	rnd *rand.Rand
}

func (c *city) shopper(seed uint64) *shopper {
	s := &shopper{c, good(), approved(good(), 0), rand.New(rand.NewPCG(1, seed))}
	s.req.Info.Position = txn.Position{Lat: 31_230400, Lng: 121_473700, Known: true}
	copy(s.req.Expiry[:], "3012")
	s.rec.Serial = []byte("00002304SN0000000000")
	return s
}

// next makes the next sale, and is what is known of it once it is approved.
func (s *shopper) next() { s.at(s.rnd.Uint64(), s.rnd.Uint64()) }

func (s *shopper) at(terminal, card uint64) {
	s.req.Terminal = &s.terminals[terminal%uint64(len(s.terminals))]
	s.req.Acceptor = &s.merchants[terminal%uint64(len(s.merchants))]
	s.req.Merchant, s.req.Key.Terminal = s.req.Acceptor.ID, s.req.Terminal.ID
	r := rand.NewPCG(card%s.cards, 42) // as random as a keyed hash
	binary.LittleEndian.PutUint64(s.req.CardToken[:], r.Uint64())
	binary.LittleEndian.PutUint64(s.req.CardToken[8:], r.Uint64())
	s.rec.Card, s.rec.Key.Terminal, s.rec.Merchant, s.rec.At = s.req.CardToken, s.req.Terminal.ID, s.req.Merchant, s.req.Received
	copy(s.rec.Serial[12:], s.req.Terminal.ID[:])
}

// BenchmarkAssess decides on sales with a million terminals, 200 thousand merchants
// and ten million cards in memory, and gives every use back. The percentiles are of
// Assess alone and of Learn alone and include about 60 ns of reading the clock; MB is
// all that lives, registry rows included.
func BenchmarkAssess(b *testing.B) {
	c := makeCity(b, 1_000_000, 10_000_000)
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	times, learning := hdrhistogram.New(1, 1_000_000_000, 3), hdrhistogram.New(1, 1_000_000_000, 3)
	s := c.shopper(2)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		s.next()
		t0 := time.Now()
		v := c.Assess(s.req)
		_ = times.RecordValue(int64(time.Since(t0)))
		if v.Reason != txn.Approved {
			b.Fatal(v.Reason)
		}
		c.Release(HoldOf(s.req))
		t0 = time.Now()
		c.Learn(s.rec)
		_ = learning.RecordValue(int64(time.Since(t0)))
	}
	for _, p := range []float64{50, 99, 99.9} {
		b.ReportMetric(float64(times.ValueAtPercentile(p)), fmt.Sprintf("ns-p%v", p))
		b.ReportMetric(float64(learning.ValueAtPercentile(p)), fmt.Sprintf("ns-learn-p%v", p))
	}
	b.ReportMetric(float64(memory.HeapAlloc)/1e6, "MB")
	runtime.KeepAlive(c)
}

// BenchmarkAssessScales is what two processors decide in the time in which one does
// half of it, or less because of what they share: times, the median of pairs
// of runs that take turns. times-cpu is the same by processor time, which others on
// the machine do not lengthen, but which does not count waiting; of it a sale on one
// takes so much, Assess, Confirm and Learn together and some 60 ns of making it.
func BenchmarkAssessScales(b *testing.B) {
	c := makeCity(b, 100_000, 1_000_000)
	shoppers := []*shopper{c.shopper(1), c.shopper(2)}
	const sales = 20_000
	run := func(workers int) (wall, cpu time.Duration) {
		var wg sync.WaitGroup
		spent := make([]time.Duration, workers)
		began := time.Now()
		for w := range workers {
			wg.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				before, s := threadTime(), shoppers[w]
				for range sales {
					s.next()
					if v := c.Assess(s.req); v.Reason != txn.Approved {
						b.Error(v.Reason)
						return
					}
					c.Confirm(HoldOf(s.req))
					c.Learn(s.rec)
				}
				spent[w] = threadTime() - before
			})
		}
		wg.Wait()
		wall = time.Since(began)
		for _, d := range spent {
			cpu += d
		}
		return wall, cpu
	}
	var times, timesCPU, spent []float64
	run(2)
	b.ResetTimer()
	for b.Loop() {
		wall1, cpu1 := run(1)
		wall2, cpu2 := run(2)
		times = append(times, 2*float64(wall1)/float64(wall2))
		timesCPU = append(timesCPU, 4*float64(cpu1)/float64(cpu2))
		spent = append(spent, float64(cpu1)/sales)
	}
	for unit, all := range map[string][]float64{"times": times, "times-cpu": timesCPU, "ns-cpu/sale": spent} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], unit)
	}
}

func threadTime() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	_ = syscall.Getrusage(thread, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAssessParallel is what the processors cost each other: at one busy
// merchant, and at merchants of their own.
func BenchmarkAssessParallel(b *testing.B) {
	for _, name := range []string{"one merchant", "own merchants"} {
		b.Run(name, func(b *testing.B) {
			e := engine(b)
			var worker atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				n := worker.Add(1)
				req := good()
				req.Terminal.ID = txn.MakeTerminalID(fmt.Sprint(n))
				req.CardToken = txn.CardToken{byte(n)}
				if name == "own merchants" {
					req.Acceptor.ID = txn.MakeMerchantID(fmt.Sprint(n))
				}
				for pb.Next() {
					if v := e.Assess(req); v.Reason != txn.Approved {
						b.Error(v.Reason)
						return
					}
					e.Confirm(HoldOf(req))
				}
			})
		})
	}
}
