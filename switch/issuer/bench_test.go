package issuer_test

import (
	"sync/atomic"
	"testing"

	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// BenchmarkExchange is Begin and Exchange against the simulator over TCP; the
// two share the machine. Its figure is wall time per request, both ends' system
// calls and the simulator's own work included.
func BenchmarkExchange(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(map[int]string{1: "1", 16: "16", 256: "256"}[callers]+"_in_flight", func(b *testing.B) {
			sim := simulate(b, simulator.Config{LogSync: "none"})
			bench := start(b, sim.Addr(), func(cfg *issuer.Config) { cfg.Connections = 2 }).up(2)
			b.ReportAllocs()
			var next atomic.Int64
			done := make(chan struct{})
			b.ResetTimer()
			for range callers {
				go func() {
					defer func() { done <- struct{}{} }()
					req := sale("10000001", 100)
					var reply txn.Reply
					for next.Add(1) <= int64(b.N) {
						leg, reason := bench.Begin(req)
						if reason != txn.Approved {
							b.Error(reason)
							return
						}
						if outcome, reason := bench.Exchange(req, &leg, [12]byte{'1'}, 0, func() {}, &reply); outcome != txn.OutcomeApproved {
							b.Error(outcome, reason)
							return
						}
					}
				}()
			}
			for range callers {
				<-done
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}
