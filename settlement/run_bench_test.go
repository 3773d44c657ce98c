package settlement

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// BenchmarkSettle settles a day of 100,000 transactions of 2,000 merchants, one of
// which has a third of them; every twentieth is a refund. A day is booked once:
// after the first time everything is computed, written and compared anew, which
// is as much work.
func BenchmarkSettle(b *testing.B) {
	const n, merchants = 100_000, 2_000
	for _, engine := range []struct {
		name string
		dsn  func(testing.TB) string
	}{{"sqlite", ledgertest.SQLite}, {"postgres", ledgertest.Postgres}} {
		b.Run(engine.name, func(b *testing.B) {
			w := newTown(b, engine.dsn(b))
			plans := "version: 1\nplans: [{name: a, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 5000, cap: \"20.00\"}]}]\nmerchants:\n"
			for m := range merchants {
				plans += fmt.Sprintf("  - {mid: M%014d, plan: a, from: 2020-01-01}\n", m)
			}
			s, err := fee.Load(fee.File{Name: "fees", Text: []byte(plans)}, fee.File{Name: "cards", Text: []byte(runCards)})
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			var stored time.Duration
			for i := 1; i <= n; i++ {
				m := i * 7919 % merchants
				if i%3 == 0 {
					m = 0
				}
				kind, original := txn.KindSale, txn.ID(0)
				if i%20 == 0 {
					kind, original = txn.KindRefund, txn.ID(i-3)
					m = (i - 3) * 7919 % merchants
					if (i-3)%3 == 0 {
						m = 0
					}
				}
				r := deed(i, kind, fmt.Sprintf("M%014d", m), day1, int64(100+i%9000), original)
				if kind == txn.KindRefund {
					r.Amount.Minor = 50
				}
				w.entries = append(w.entries, ledger.Entry{Pos: uint64(i), Rec: r})
				if len(w.entries) == batchMax || i == n {
					began := time.Now()
					if err := w.ledger.Store(ctx, w.entries); err != nil {
						b.Fatal(err)
					}
					stored += time.Since(began)
					w.entries = w.entries[:0]
				}
			}
			b.Logf("stored at %.0f rows/s", n/stored.Seconds())
			w.journal.first = n + 1 // truncated
			for b.Loop() {
				in := w.input(day1)
				in.Fees = func() (*fee.Schedule, error) { return s, nil }
				in.Dir = filepath.Join(b.TempDir(), "settlement")
				if _, err := Settle(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "txn/s")
		})
	}
}
