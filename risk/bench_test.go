package risk

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// BenchmarkAssess decides on sales of random terminals and cards by the built-in
// rules and 50 own ones that ask for everything that takes long, with a million
// terminals, 200 thousand merchants, and the counters and windows of ten million
// cards, each used once in the last two hours, in memory. It gives every use back.
// The percentiles are of Assess alone and of Learn alone and include about 60 ns
// of reading the clock; MB is all that lives, registry rows included.
func BenchmarkAssess(b *testing.B) {
	const terminals, merchants, cards = 1_000_000, 200_000, 10_000_000
	e := policed(b, fifty)
	ms, ts := make([]txn.Merchant, merchants), make([]txn.Terminal, terminals)
	for i := range ms {
		m := *good().Owner
		m.ID, m.MCC = txn.MakeMerchantID(fmt.Sprintf("9992900%08d", i)), 0 // whatever category its number says
		m.Limits = txn.Limits{Transaction: 50_000_00, DayAmount: 1 << 50, DayCount: 1 << 30}
		m.Card = txn.Limits{Transaction: 20_000_00, DayAmount: 1 << 50, DayCount: 1 << 30}
		ms[i] = m
	}
	for i := range ts {
		t := *good().Holder
		t.ID, t.Merchant, t.Limits = txn.MakeTerminalID(fmt.Sprintf("%08d", i)), ms[i%merchants].ID, ms[0].Limits
		ts[i] = t
	}
	token := func(i uint64) (c txn.CardToken) { // as random as a keyed hash
		r := rand.NewPCG(i, 42)
		binary.LittleEndian.PutUint64(c[:], r.Uint64())
		binary.LittleEndian.PutUint64(c[8:], r.Uint64())
		return c
	}
	began := time.Now()
	rec := approved(good(), 0)
	rec.Serial = []byte("00002304SN0000000000")
	for i := range cards {
		t := &ts[i%terminals]
		rec.Card, rec.Key.Terminal, rec.Merchant = token(uint64(i)), t.ID, t.Merchant
		rec.At = noon.Add(-2*time.Hour + time.Duration(i)*2*time.Hour/cards)
		copy(rec.Serial[12:], t.ID[:])
		e.Learn(rec)
		e.Restore(txn.Hold{Card: token(uint64(i)), Terminal: t.ID, Merchant: t.Merchant, Day: today, Minor: 1, Currency: txn.CNY})
	}
	b.Logf("restored %d uses in %v", cards, time.Since(began).Round(time.Millisecond))

	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	times, learning := hdrhistogram.New(1, 1_000_000_000, 3), hdrhistogram.New(1, 1_000_000_000, 3)
	req, rnd := good(), rand.New(rand.NewPCG(1, 2))
	req.Info.Position = txn.Position{Lat: 31_230400, Lng: 121_473700, Known: true}
	copy(req.Expiry[:], "3012")
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		terminal := rnd.IntN(terminals)
		req.Holder = &ts[terminal]
		req.Owner = &ms[terminal%merchants]
		req.Merchant = req.Owner.ID
		req.Key.Terminal = req.Holder.ID
		req.CardToken = token(rnd.Uint64N(cards))
		t0 := time.Now()
		v := e.Assess(req)
		_ = times.RecordValue(int64(time.Since(t0)))
		if v.Reason != txn.Approved {
			b.Fatal(v.Reason)
		}
		e.Release(HoldOf(req))
		rec.Card, rec.Key.Terminal, rec.Merchant, rec.At = req.CardToken, req.Holder.ID, req.Merchant, req.Received
		copy(rec.Serial[12:], req.Holder.ID[:])
		t0 = time.Now()
		e.Learn(rec)
		_ = learning.RecordValue(int64(time.Since(t0)))
	}
	for _, p := range []float64{50, 99, 99.9} {
		b.ReportMetric(float64(times.ValueAtPercentile(p)), fmt.Sprintf("ns-p%v", p))
		b.ReportMetric(float64(learning.ValueAtPercentile(p)), fmt.Sprintf("ns-learn-p%v", p))
	}
	b.ReportMetric(float64(memory.HeapAlloc)/1e6, "MB")
	runtime.KeepAlive(ms)
	runtime.KeepAlive(ts)
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
				req.Holder.ID = txn.MakeTerminalID(fmt.Sprint(n))
				req.CardToken = txn.CardToken{byte(n)}
				if name == "own merchants" {
					req.Owner.ID = txn.MakeMerchantID(fmt.Sprint(n))
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
