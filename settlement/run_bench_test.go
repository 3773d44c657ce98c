package settlement

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var (
	benchTransactions = flag.Int("settle.transactions", 1_000_000, "transactions that BenchmarkSettle settles")
	benchDays         = flag.Int("settle.days", 1, "days of so many transactions: BenchmarkSettle settles the last, before it the others")
	benchDrained      = flag.Int("settle.drained", 200_000, "transactions that BenchmarkBook drains")
)

const benchMerchants = 20_000

// benchDeed is the i-th transaction of a day: one merchant has a third of them, one
// issuer all, and every twentieth is a refund.
func benchDeed(i int) *txn.Record {
	merchant := func(i int) int {
		if i%3 == 0 {
			return 0
		}
		return i * 7919 % benchMerchants
	}
	kind, original, m := txn.KindSale, txn.ID(0), merchant(i)
	if i%20 == 0 {
		kind, original, m = txn.KindRefund, txn.ID(i-3), merchant(i-3)
	}
	r := deed(i, kind, fmt.Sprintf("M%014d", m), day1, int64(100+i%9000), original)
	if kind == txn.KindRefund {
		r.Amount.Minor = 50
	}
	return r
}

// benchInput is the run of that day, with a plan and an account for each merchant.
func benchInput(b *testing.B, w *town) RunInput {
	plans := "version: 1\nplans: [{name: a, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 5000, cap: \"20.00\"}]}]\nmerchants:\n"
	payouts := "version: 1\npayer: {name: Us, accounts: &a [{currency: CNY, name: Us, number: '1', bank: '105290000012'}]}\nmerchants:\n"
	for m := range benchMerchants {
		plans += fmt.Sprintf("  - {mid: M%014d, plan: a, from: 2020-01-01}\n", m)
		payouts += fmt.Sprintf("  - {mid: M%014d, accounts: *a}\n", m)
	}
	s, err := fee.Load(fee.File{Name: "fees", Text: []byte(plans)}, fee.File{Name: "cards", Text: []byte(runCards)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	t, err := payout.Load(payout.File{Name: "payouts", Text: []byte(payouts)}, payout.File{Name: "calendar", Text: []byte(runWorkdays)}, payout.Registry{})
	if err != nil {
		b.Fatal(err)
	}
	in := w.input(day1)
	in.Fees = func() (*fee.Schedule, error) { return s, nil }
	in.Payouts = func() (*payout.Terms, error) { return t, nil }
	return in
}

// BenchmarkSettle settles a day of 1 million transactions of 20,000 merchants, with
// statistics of the tables. A day is booked once: after the first time everything is computed, written and
// compared anew, which is as much work. peak-MB is the most memory that this
// process had until then, loading the ledger included.
func BenchmarkSettle(b *testing.B) {
	n := *benchTransactions
	for _, engine := range []struct {
		name string
		dsn  func(testing.TB) string
	}{{"sqlite", ledgertest.SQLite}, {"postgres", ledgertest.Postgres}} {
		b.Run(engine.name, func(b *testing.B) {
			dsn := engine.dsn(b)
			w := newTown(b, dsn)
			in := benchInput(b, w)
			ctx := context.Background()
			loadDays(b, w, &in)
			before, serverBefore := cpuTime(), serverTime(b, dsn)
			for b.Loop() {
				in.Dir = filepath.Join(b.TempDir(), "settlement")
				if _, err := Settle(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "txn/s")
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(n*b.N), "cpu-us/txn")
			b.ReportMetric(float64((serverTime(b, dsn)-serverBefore).Microseconds())/float64(n*b.N), "server-us/txn")
			b.ReportMetric(peakMB(b), "peak-MB")
		})
	}
}

// loadDays stores so many days of so many transactions, and settles all but the last.
func loadDays(b *testing.B, w *town, in *RunInput) {
	n, ctx := *benchTransactions, context.Background()
	in.Dir = filepath.Join(b.TempDir(), "earlier")
	w.journal.recs, w.journal.first = make([][]byte, 1), 2 // truncated: the ledger alone has the days
	var stored time.Duration
	for i := 1; i <= n**benchDays; i++ {
		r := benchDeed(i)
		r.Day = in.Day
		w.entries = append(w.entries, ledger.Entry{Pos: uint64(i), Rec: r})
		if len(w.entries) == batchMax || i%n == 0 {
			began := time.Now()
			if err := w.ledger.Store(ctx, w.entries); err != nil {
				b.Fatal(err)
			}
			stored += time.Since(began)
			w.entries = w.entries[:0]
		}
		if i%n == 0 && i < n**benchDays {
			if _, err := Settle(ctx, *in); err != nil {
				b.Fatal(err)
			}
			in.Day = in.Day.After()
		}
	}
	b.Logf("stored at %.0f rows/s", float64(n**benchDays)/stored.Seconds())
	if _, err := w.db.Write.ExecContext(ctx, "ANALYZE"); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkArchive moves a settled day of 1 million transactions into files, and
// brings it back.
func BenchmarkArchive(b *testing.B) {
	for _, engine := range []struct {
		name string
		dsn  func(testing.TB) string
	}{{"sqlite", ledgertest.SQLite}, {"postgres", ledgertest.Postgres}} {
		b.Run(engine.name, func(b *testing.B) {
			w := newTown(b, engine.dsn(b))
			in := benchInput(b, w)
			loadDays(b, w, &in)
			ctx := context.Background()
			if _, err := Settle(ctx, in); err != nil {
				b.Fatal(err)
			}
			old := ArchiveInput{Ledger: w.ledger, Dir: b.TempDir(), Day: in.Day, Now: in.Now}
			for b.Loop() {
				began := time.Now()
				if _, err := ArchiveDay(ctx, old); err != nil {
					b.Fatal(err)
				}
				archived := time.Since(began)
				files, err := filepath.Glob(filepath.Join(old.Dir, "*", "*"))
				if err != nil {
					b.Fatal(err)
				}
				var size int64
				for _, f := range files {
					if info, err := os.Stat(f); err == nil {
						size += info.Size()
					}
				}
				began = time.Now()
				if _, err := RestoreDay(ctx, old); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(*benchTransactions)/archived.Seconds(), "archived/s")
				b.ReportMetric(float64(*benchTransactions)/time.Since(began).Seconds(), "restored/s")
				b.ReportMetric(float64(size)/float64(*benchTransactions), "bytes/txn")
				b.ReportMetric(peakMB(b), "peak-MB")
			}
		})
	}
}

// BenchmarkBook copies a journal of intents and outcomes into PostgreSQL, settles
// its day, and sends the same rows by a plain COPY into a table without indexes.
func BenchmarkBook(b *testing.B) {
	n := *benchDrained
	for range b.N {
		dsn := ledgertest.Postgres(b)
		w := newTown(b, dsn)
		in := benchInput(b, w)
		for i := 1; i <= n; i++ {
			r := benchDeed(i)
			intent := *r
			intent.Kind = txn.RecordIntent
			w.journal.recs = append(w.journal.recs, intent.Append(nil), r.Append(nil))
		}
		ctx, stop := context.WithCancel(context.Background())
		d := NewDrain(w.journal, w.ledger, 0, quiet)
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- d.Run(ctx) }()
		if err := d.CatchUp(ctx); err != nil {
			b.Fatal(err)
		}
		drained := time.Since(began)
		stop()
		<-ended
		began = time.Now()
		if _, err := Settle(context.Background(), in); err != nil {
			b.Fatal(err)
		}
		settled := time.Since(began)
		copied := plainCopy(b, dsn)
		b.ReportMetric(float64(n)/drained.Seconds(), "drained/s")
		b.ReportMetric(float64(n)/(drained+settled).Seconds(), "drained+posted/s")
		b.ReportMetric(float64(n)/copied.Seconds(), "copied/s")
		b.ReportMetric(copied.Seconds()/drained.Seconds(), "drain/copy")
		b.ReportMetric(copied.Seconds()/(drained+settled).Seconds(), "all/copy")
	}
}

// plainCopy is how long the rows of txn take by COPY into a table without indexes.
func plainCopy(b *testing.B, dsn string) time.Duration {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE plain (LIKE txn)"); err != nil {
		b.Fatal(err)
	}
	var rows bytes.Buffer
	if _, err := conn.PgConn().CopyTo(ctx, &rows, "COPY txn TO STDOUT (FORMAT binary)"); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if _, err := conn.PgConn().CopyFrom(ctx, io.Reader(&rows), "COPY plain FROM STDIN (FORMAT binary)"); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// serverTime is what the processes of a PostgreSQL server on this machine have used
// of processors, those that have ended too; 0 without a server.
func serverTime(b *testing.B, dsn string) time.Duration {
	if !strings.HasPrefix(dsn, "postgres:") {
		return 0
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	var file string
	if err := conn.QueryRow(ctx, "SELECT pg_read_file('postmaster.pid')").Scan(&file); err != nil {
		b.Fatal(err)
	}
	postmaster, _, _ := strings.Cut(file, "\n")
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	var ticks int64
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, _, _ := strings.Cut(string(stat), " ")
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third on
		counted := fields[11:13]
		switch {
		case pid == postmaster:
			counted = fields[11:15] // and its children that have ended
		case fields[1] != postmaster:
			continue
		}
		for _, f := range counted {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	const ticksASecond = 100 // USER_HZ
	return time.Duration(ticks) * time.Second / ticksASecond
}

// cpuTime is what this process has used of processors, which other work on the
// machine does not change much.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMB is the most memory that this process had; 0 where the kernel does not
// say.
func peakMB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.Atoi(fields[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) / 1024
}
