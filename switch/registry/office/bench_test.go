package office

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
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
	gaps []time.Duration // between one lookup and the next
}

// probe looks up until it is told to end. A gap is what a request would have waited
// for, whoever kept it from running: the collector, whoever reads the registry, or
// another process.
func probe(store *registry.Store) *prober {
	const most = 1 << 20
	p := &prober{make(chan struct{}), make(chan struct{}), make([]time.Duration, 0, most)}
	go func() {
		defer close(p.done)
		last := time.Now()
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
			now := time.Now()
			p.gaps = append(p.gaps, now.Sub(last))
			last = now
			time.Sleep(100 * time.Microsecond)
		}
	}()
	return p
}

// report ends it and tells the longest gap and the one that one in a thousand is
// longer than, in milliseconds, and how many a second were longer than the bar.
func (p *prober) report(b *testing.B) {
	close(p.stop)
	<-p.done
	slices.Sort(p.gaps)
	n := len(p.gaps)
	long, _ := slices.BinarySearch(p.gaps, reloadBar)
	b.ReportMetric(p.gaps[n-1].Seconds()*1000, "ms-longest")
	b.ReportMetric(p.gaps[n-1-n/1000].Seconds()*1000, "ms-p99.9")
	b.ReportMetric(float64(n-long)/b.Elapsed().Seconds(), "over-5ms/s")
}

// reloadBar is how long a reload may keep a request.
const reloadBar = 5 * time.Millisecond

// BenchmarkReload makes a snapshot of a million terminals and 200,000 merchants and
// puts it in force while a prober looks terminals up, and tells the prober's gaps.
// Beside it, for as long, the gaps while nothing else happens, and beside another
// process that only counts: what the machine and its kernel make a request wait for
// whenever somebody uses a processor is no fault of the reload's. Bars: ten seconds,
// and reloadBar. It also tells the collector's longest stop, and the most memory.
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
	b.Run("reload", func(b *testing.B) {
		runtime.GC()
		before, used := stops(), processor()
		var heap uint64
		p := probe(store)
		for b.Loop() {
			next, _, err := o.Snapshot(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			heap = max(heap, held())
			store.Replace(next)
		}
		p.report(b)
		b.ReportMetric((processor()-used).Seconds()/float64(b.N), "cpu-s/op")
		b.ReportMetric(longestSince(before)*1000, "ms-longest-stop")
		b.ReportMetric(float64(heap>>20), "MB-heap")
	})
	b.Run("nothing", func(b *testing.B) {
		runtime.GC()
		p := probe(store)
		for b.Loop() {
			time.Sleep(took)
		}
		p.report(b)
	})
	b.Run("counting", func(b *testing.B) {
		runtime.GC()
		counting := exec.CommandContext(b.Context(), "sh", "-c", "i=0; while :; do i=$((i+1)); done")
		if err := counting.Start(); err != nil {
			b.Fatal(err)
		}
		p := probe(store)
		for b.Loop() {
			time.Sleep(took)
		}
		p.report(b)
		counting.Process.Kill()
		counting.Wait()
	})
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
