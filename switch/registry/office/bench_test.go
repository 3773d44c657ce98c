package office

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	manyMerchants = 200_000
	manyTerminals = 1_000_000
)

// fill writes many merchants and terminals past the rules.
func fill(tb testing.TB, o *Office) {
	tb.Helper()
	err := o.db.Update(tb.Context(), func(tx *sql.Tx) error {
		const chunk = 10_000
		id := func(i int) string { return fmt.Sprintf("99929%02d5411%04d", i/10000, i%10000) }
		var rows []any
		for i := range manyMerchants {
			e := shop(id(i), "status=active", "limits.day_amount=2000000.00", "card_limits.transaction=20000.00", "since=2026-01-01", "grade=2",
				"account=", "account_sealed=00", "account_masked=****0007")
			rows = append(rows, id(i), "active", "", "", "", int64(0), e.Text())
			if len(rows) == 7*chunk || i == manyMerchants-1 {
				if err := o.insert(tb.Context(), tx, "merchant (id, status, identity, account, legal_name, licence_ends, document)", 7, rows, ""); err != nil {
					return err
				}
				rows = rows[:0]
			}
		}
		for i := range manyTerminals {
			serial, tid := fmt.Sprintf("00002304SN%010d", i), fmt.Sprintf("%08d", i)
			e := place(serial, id(i%manyMerchants), tid, "status=active", "mac=cup-ecb", "kind=smart", "capabilities=stripe, chip, contactless", "serial_check=compare",
				"limits.transaction=20000.00", "since=2026-01-01", "inspected=2026-10-01", "certification=P3100")
			rows = append(rows, serial, tid, id(i%manyMerchants), "active", int64(20260101), int64(20261001), e.Text())
			if len(rows) == 7*chunk || i == manyTerminals-1 {
				if err := o.insert(tb.Context(), tx, "machine (serial, terminal, merchant, status, seen, inspected, document)", 7, rows, ""); err != nil {
					return err
				}
				rows = rows[:0]
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkReload makes a snapshot of a million terminals and 200,000 merchants
// while requests look terminals up in the one in force, and tells how long the
// longest of them waited, the collector's longest stop, and the most memory.
func BenchmarkReload(b *testing.B) {
	dsn := os.Getenv("ACQ_TEST_LEDGER") // PostgreSQL, or else a file
	if dsn == "" {
		dsn = "sqlite:" + filepath.Join(b.TempDir(), "office.db")
	}
	db, err := sqldb.Open(dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	cards, err := keys.OpenCards(filepath.Join(b.TempDir(), "card.keys"))
	if err != nil {
		b.Fatal(err)
	}
	o := New(db, approval.New(db), cards, Config{Acquirer: "48802900", Day: txn.BusinessDay{Zone: time.UTC}})
	if err := o.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	fill(b, o)
	s, _, err := o.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if m, n := s.Len(); m != manyMerchants || n != manyTerminals {
		b.Fatal(m, n)
	}
	store := registry.NewStore(s)
	s = nil
	runtime.GC()
	stop, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for i := 0; ; i++ {
			select {
			case <-stop:
				longest <- most
				return
			default:
			}
			// A request: it may be stopped between these two, or held up in between.
			start := time.Now()
			t, ok := store.Snapshot().Terminal(txn.MakeTerminalID(fmt.Sprintf("%08d", i*7919%manyTerminals)))
			if !ok || t.Status != txn.StatusActive {
				panic("a terminal was lost")
			}
			most = max(most, time.Since(start))
			time.Sleep(100 * time.Microsecond)
		}
	}()
	before, used := stops(), processor(b)
	var heap uint64
	for b.Loop() {
		next, _, err := o.Snapshot(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap = max(heap, m.HeapSys-m.HeapReleased)
		store.Replace(next)
	}
	close(stop)
	b.ReportMetric((processor(b)-used).Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64((<-longest).Microseconds())/1000, "ms-longest-lookup")
	b.ReportMetric(longestSince(before)*1000, "ms-longest-stop")
	b.ReportMetric(float64(heap>>20), "MB-heap")
}

// processor is the time this process ran so far.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const stopsMetric = "/sched/pauses/total/gc:seconds"

func stops() []uint64 {
	sample := []metrics.Sample{{Name: stopsMetric}}
	metrics.Read(sample)
	return append([]uint64(nil), sample[0].Value.Float64Histogram().Counts...)
}

// longestSince is the upper bound of the longest stop since the counts, in seconds.
func longestSince(before []uint64) float64 {
	sample := []metrics.Sample{{Name: stopsMetric}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	for i := len(h.Counts) - 1; i >= 0; i-- {
		if h.Counts[i] > before[i] {
			return h.Buckets[i+1]
		}
	}
	return 0
}
