package office

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
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

// prober looks terminals up as requests do, over and over.
type prober struct {
	stop chan struct{}
	done chan struct{}
	// Between one lookup and the next: time, and what this process ran in it.
	gaps, own []time.Duration
}

// probe looks up until it is told to end. A gap is what a request would have waited
// for, whoever kept it from running: the collector, whoever reads the registry, or
// another process. What this process ran in it is the part that is its own fault:
// it is the gap of a machine that has nothing else to do, of which one processor
// reads the registry.
func probe(store *registry.Store) *prober {
	const most = 1 << 20
	p := &prober{make(chan struct{}), make(chan struct{}), make([]time.Duration, 0, most), make([]time.Duration, 0, most)}
	go func() {
		defer close(p.done)
		last, ran := time.Now(), processor()
		for i := 0; len(p.gaps) < most; i++ {
			select {
			case <-p.stop:
				return
			default:
			}
			t, ok := store.Snapshot().Terminal(txn.MakeTerminalID(fmt.Sprintf("%08d", i*7919%manyTerminals)))
			if !ok || t.Status != txn.StatusActive {
				panic("a terminal was lost")
			}
			now, runs := time.Now(), processor()
			p.gaps, p.own = append(p.gaps, now.Sub(last)), append(p.own, runs-ran)
			last, ran = now, runs
			time.Sleep(100 * time.Microsecond)
		}
	}()
	return p
}

func (p *prober) finish() {
	close(p.stop)
	<-p.done
}

// report tells the longest gap, the one that one in a thousand is longer than, and
// the longest that is this process's own, in milliseconds.
func (p *prober) report(b *testing.B, when string) {
	slices.Sort(p.gaps)
	n := len(p.gaps)
	for unit, d := range map[string]time.Duration{"ms-longest": p.gaps[n-1], "ms-p99.9": p.gaps[n-1-n/1000], "ms-longest-own": slices.Max(p.own)} {
		b.ReportMetric(d.Seconds()*1000, unit+when)
	}
}

// BenchmarkReload makes a snapshot of a million terminals and 200,000 merchants and
// puts it in force while a prober looks terminals up, and tells the prober's gaps,
// beside those of one that runs for as long while nothing is read: on a machine
// with other work the two differ by what the reload does. Bars: ten seconds, and
// 5 ms of ms-longest-own. It also tells the collector's longest stop, and the most
// memory.
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
	began := time.Now()
	s, _, err := o.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	if m, n := s.Len(); m != manyMerchants || n != manyTerminals {
		b.Fatal(m, n)
	}
	store := registry.NewStore(s)
	s = nil
	runtime.GC()
	idle := probe(store)
	time.Sleep(took)
	idle.finish()
	runtime.GC()
	before, used := stops(), processor()
	var heap uint64
	busy := probe(store)
	for b.Loop() {
		next, _, err := o.Snapshot(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		heap = max(heap, held())
		store.Replace(next)
	}
	busy.finish()
	busy.report(b, "")
	idle.report(b, "-idle")
	b.ReportMetric((processor()-used).Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(longestSince(before)*1000, "ms-longest-stop")
	b.ReportMetric(float64(heap>>20), "MB-heap")
}

// held is the memory that the heap has from the machine. Asking for it stops
// nothing.
func held() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(sample)
	sum := uint64(0)
	for _, s := range sample {
		sum += s.Value.Uint64()
	}
	return sum
}

// processor is the time this process ran so far.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
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
