package settlement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// run starts a drain; stop ends it and gives what Run returned.
func run(t *testing.T, d *Drain) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return func() error { cancel(); return <-ended }
}

// lagMax is what the switch's configuration has by itself.
const lagMax = 500_000

func records(first, n int) []*txn.Record {
	recs := make([]*txn.Record, n)
	for i := range recs {
		recs[i] = &txn.Record{Kind: txn.RecordOutcome, ID: txn.ID(first + i), At: time.UnixMicro(int64(first + i)).UTC(), Chip: []byte("chip"), Serial: fmt.Appendf(nil, "SN%d", first+i)}
		recs[i].Findings.Add(txn.Finding{Rule: txn.Rule(100 + (first+i)%100), Action: txn.ActionAlert})
	}
	return recs
}

func holds(t *testing.T, s *memStore, n int) {
	t.Helper()
	if len(s.got) != n {
		t.Fatalf("%d records stored, want %d", len(s.got), n)
	}
	for i, r := range s.got {
		if r.ID != txn.ID(i+1) || r.Chip != nil || string(r.Serial) != fmt.Sprintf("SN%d", i+1) || !finds(r, txn.Rule(100+(i+1)%100)) {
			t.Fatalf("record %d has id %d, chip %q, serial %q and findings %+v", i+1, r.ID, r.Chip, r.Serial, r.Findings)
		}
	}
}

// finds says that a record has this rule's finding and no other.
func finds(r txn.Record, rule txn.Rule) bool {
	for f := range r.Findings.All() {
		return f.Rule == rule && r.Findings.Len() == 1
	}
	return false
}

func TestDrainCopiesWhatIsThereAndWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const there, come = 2*batchMax + 500, 100
		j, s := newMemJournal(t, records(1, there)...), &memStore{t: t}
		d := NewDrain(j, s, lagMax, quiet)
		if st := d.Stats(); st.Lag != there {
			t.Errorf("before Run: %+v", st)
		}
		stop := run(t, d)
		if err := d.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range come { // one by one, closer together than the drain looks
			j.append(records(there+1+i, 1)...)
			time.Sleep(time.Millisecond)
		}
		if err := d.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		holds(t, s, there+come)
		if st := d.Stats(); st.Position != there+come || st.Lag != 0 || s.calls > 3+6 || st.Err != nil {
			t.Errorf("%+v", st)
		}
	})
}

// While others want the processors, the drain rests between batches. Whether a
// wait is seen depends on the scheduler, so it gets some tries.
func TestDrainGivesWay(t *testing.T) {
	for range 20 {
		if restsAmongBusy(t, false) > 0 {
			if rests := restsAmongBusy(t, true); rests > 0 {
				t.Errorf("it rested %d times while somebody waited for it", rests)
			}
			return
		}
	}
	t.Error("the drain never rested among busy goroutines")
}

// restsAmongBusy is how often a drain rests that has others beside it, also of those
// who wait for it.
func restsAmongBusy(t *testing.T, awaited bool) uint64 {
	j, s := newMemJournal(t, records(1, 4*batchMax)...), &memStore{t: t}
	d := NewDrain(j, s, lagMax, quiet)
	var busy sync.WaitGroup
	var enough atomic.Bool
	for range 4 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for !enough.Load() {
			}
		})
	}
	var err error
	var waiting sync.WaitGroup
	if awaited {
		begun := make(chan struct{})
		waiting.Go(func() { close(begun); err = d.CatchUp(t.Context()) })
		<-begun
		for d.awaited.Load() == 0 {
			runtime.Gosched()
		}
	}
	stop := run(t, d)
	for d.Stats().Lag > 0 {
		time.Sleep(time.Millisecond)
	}
	enough.Store(true)
	busy.Wait()
	waiting.Wait()
	if err := errors.Join(err, stop()); err != nil {
		t.Fatal(err)
	}
	holds(t, s, 4*batchMax)
	return d.rests.Load()
}

func TestDrainRetriesUntilTheLedgerIsBack(t *testing.T) {
	away := errors.New("ledger is away")
	for _, c := range []struct {
		name string
		fail func(call int) (error, bool)
	}{
		{"fails", func(call int) (error, bool) { return away, false }},
		{"fails but persists", func(call int) (error, bool) { return away, call == 1 }},
		{"fails in the middle", func(call int) (error, bool) {
			if call < 2 {
				return nil, true
			}
			return away, false
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, s := newMemJournal(t, records(1, 3*batchMax)...), &memStore{t: t}
				start := time.Now()
				s.fail = func(call int) (error, bool) {
					if time.Since(start) < time.Minute {
						return c.fail(call)
					}
					return nil, true
				}
				var said strings.Builder
				d := NewDrain(j, s, lagMax, slog.New(slog.NewTextHandler(&said, nil)))
				stop := run(t, d)
				time.Sleep(30 * time.Second)
				if st, failures := d.Stats(), d.failures.Load(); st.Lag == 0 || failures == 0 || failures > 30 {
					t.Errorf("during the outage: %+v", st)
				}
				if err := d.CatchUp(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > time.Minute+2*retryMax {
					t.Errorf("caught up after %s", took)
				}
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				holds(t, s, 3*batchMax)
				// One line when it begins, one when it ends; stopping is no failure.
				lines := strings.Split(strings.TrimSpace(said.String()), "\n")
				if len(lines) != 2 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], away.Error()) ||
					!strings.Contains(lines[1], "level=INFO") || !strings.Contains(lines[1], "after=1m") || !strings.Contains(lines[1], "behind=") {
					t.Errorf("it said:\n%s", said.String())
				}
			})
		})
	}
}

func TestDrainStopsRatherThanLoseARecord(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*memJournal, *memStore)
		want string
		is   error
	}{
		{"record that cannot be decoded", func(j *memJournal, _ *memStore) { j.appendRaw("\x04short") }, "record 11", txn.ErrRecordShort},
		{"record of a newer version", func(j *memJournal, _ *memStore) { j.appendRaw("\xff") }, "record 11", txn.ErrRecordVersion},
		{"ledger ahead of the journal", func(j *memJournal, s *memStore) { s.got = make([]txn.Record, 12) }, "drain at 12, journal at 10", ErrAhead},
		{"ledger lacks what the journal dropped", func(j *memJournal, s *memStore) { j.truncate(6); s.got = make([]txn.Record, 4) }, "drain at 4, the journal begins at 6", ErrBehind},
		{"record that is already there", func(_ *memJournal, s *memStore) {
			s.fail = func(int) (error, bool) { return ledger.ErrRepeated, false }
		}, "already in the ledger", ledger.ErrRepeated},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, s := newMemJournal(t, records(1, 10)...), &memStore{t: t}
				c.set(j, s)
				d := NewDrain(j, s, lagMax, quiet)
				err := d.Run(t.Context())
				if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%v, want %q", err, c.want)
				}
				if c.is == txn.ErrRecordShort && len(s.got) != 0 {
					t.Error("a batch was stored past the record")
				}
				if st := d.Stats(); !errors.Is(st.Err, c.is) || c.is == ErrBehind && st.Position != 4 {
					t.Errorf("its figures: %+v", st)
				}
				if err := d.CatchUp(t.Context()); c.is != ErrAhead && !errors.Is(err, c.is) {
					t.Errorf("CatchUp after the end: %v", err)
				}
			})
		})
	}
}

// A standby that takes over without the last commits is fed again, and it is told.
func TestDrainIntoALedgerThatWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := newMemJournal(t, records(1, 10)...), &memStore{t: t}
		s.fail = func(call int) (error, bool) {
			if call == 2 {
				s.got = s.got[:4]
				return errors.New("server closed the connection"), false
			}
			return nil, true
		}
		var said strings.Builder
		d := NewDrain(j, s, lagMax, slog.New(slog.NewTextHandler(&said, nil)))
		stop := run(t, d)
		time.Sleep(time.Second)
		j.append(records(11, 1)...)
		if err := d.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		holds(t, s, 11)
		if text := said.String(); strings.Count(text, "the ledger has lost records that it had") != 1 || !strings.Contains(text, "records=6") {
			t.Errorf("it said:\n%s", text)
		}
	})
}

// That is so without another sale, too.
func TestDrainIntoALedgerThatWentBackAtNight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := newMemJournal(t, records(1, 10)...), &memStore{t: t}
		var said strings.Builder
		d := NewDrain(j, s, lagMax, slog.New(slog.NewTextHandler(&said, nil)))
		stop := run(t, d)
		time.Sleep(time.Second)
		s.mu.Lock()
		s.got = s.got[:4]
		s.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		holds(t, s, 10)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if text := said.String(); strings.Count(text, "the ledger has lost records that it had") != 1 || !strings.Contains(text, "records=6") {
			t.Errorf("it said:\n%s", text)
		}
	})
}

// What a restart appends at once must not hide that the journal lost its end.
func TestDrainSeesALostEndBehindNewRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := newMemJournal(t, records(1, 10)...), &memStore{t: t, got: make([]txn.Record, 12)}
		d := NewDrain(j, s, lagMax, quiet)
		j.append(records(11, 5)...)
		if err := d.Run(t.Context()); !errors.Is(err, ErrAhead) || !strings.Contains(err.Error(), "drain at 12, journal at 10") {
			t.Errorf("%v, want %v", err, ErrAhead)
		}
		if len(s.got) != 12 {
			t.Error("records were stored behind another journal's")
		}
	})
}

func TestDrainEndsWithTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := newMemJournal(t, records(1, 5)...), &memStore{t: t}
		d := NewDrain(j, s, lagMax, quiet)
		ended := make(chan error, 1)
		go func() { ended <- d.Run(t.Context()) }()
		time.Sleep(time.Second)
		j.append(records(6, 5)...)
		j.end()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		holds(t, s, 10)
		if err := d.CatchUp(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A ledger that cannot store a whole batch in time gets smaller ones, and larger ones
// again once it can.
func TestF62DrainIntoASlowLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count, slow = 3 * batchMax, 40
		j, s := newMemJournal(t, records(1, count)...), &memStore{t: t, most: 100}
		s.fail = func(call int) (error, bool) {
			if call > slow {
				s.most = 0
			}
			return nil, true
		}
		j.end()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := NewDrain(j, s, lagMax, quiet).Run(ctx); err != nil {
			t.Fatal(err)
		}
		holds(t, s, count)
		if s.calls > 3*slow {
			t.Errorf("%d batches were tried", s.calls)
		}
	})
}

func TestCatchUpEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("ledger is away")
		j, s := newMemJournal(t, records(1, 5)...), &memStore{t: t, fail: func(int) (error, bool) { return away, false }}
		d := NewDrain(j, s, lagMax, quiet)
		stop := run(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := d.CatchUp(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, away) {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A real journal, written while a drain follows, ends and is replaced.
func TestDrainBehindAJournalOnDisk(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		j, err := journal.Open(t.TempDir(), journal.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		l, err := ledger.Open(dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := l.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- j.Run(ctx) }()
		recs := newHistoryMaker(3).history(600)
		stop := run(t, NewDrain(j, l, lagMax, quiet))
		for i, rec := range recs {
			if _, err := j.Append(rec.Append(nil)); err != nil {
				t.Fatal(err)
			}
			if i%300 == 299 {
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				stop = run(t, NewDrain(j, l, lagMax, quiet))
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if err := NewDrain(j, l, lagMax, quiet).Run(t.Context()); err != nil { // the journal has ended: the rest, and no more
			t.Fatal(err)
		}
		r, err := Verify(t.Context(), VerifyInput{Journal: j, Ledger: l, Live: liveOf(recs)})
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() || r.Lag != 0 || r.JournalLast != uint64(len(recs)) {
			t.Fatal(text(t, r))
		}
	})
}

// The server goes away in the middle; afterwards journal and ledger are equal.
func TestF61DrainThroughAnOutage(t *testing.T) {
	dsn := ledgertest.Postgres(t)
	l, err := ledger.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := newHistoryMaker(1)
	j := newMemJournal(t, h.history(500)...)
	d := NewDrain(j, l, lagMax, quiet)
	stop := run(t, d)
	for range 3 {
		before := d.failures.Load()
		end := ledgertest.Outage(t, dsn)
		j.append(h.history(300)...)
		for d.failures.Load() == before { // until it is noticed
			time.Sleep(time.Millisecond)
		}
		end()
		j.append(h.history(300)...)
		if err := d.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(t.Context(), VerifyInput{Journal: j, Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Lag != 0 {
		t.Fatal(text(t, r))
	}
	if facts, err := l.Batches(t.Context(), day); err != nil || int64(len(facts)) != r.check(RuleBatch).Checked {
		t.Errorf("%d of %d settlements are in the ledger, %v", len(facts), r.check(RuleBatch).Checked, err)
	}
}

// BenchmarkDrain copies a journal in memory into a ledger; an op is one record,
// of which about half are intents that leave no row.
func BenchmarkDrain(b *testing.B) {
	for name, dsn := range map[string]func(testing.TB) string{"sqlite": ledgertest.SQLite, "postgres": ledgertest.Postgres} {
		b.Run(name, func(b *testing.B) {
			l, err := ledger.Open(dsn(b))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			if err := l.Migrate(b.Context()); err != nil {
				b.Fatal(err)
			}
			h := newHistoryMaker(1)
			j := newMemJournal(b, h.history(b.N/2+1)...)
			j.end()
			n := float64(j.Last())
			b.ResetTimer()
			if err := NewDrain(j, l, lagMax, quiet).Run(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
			b.StopTimer()
			r, err := Verify(b.Context(), VerifyInput{Journal: j, Ledger: l})
			if err != nil {
				b.Fatal(err)
			}
			if !r.OK() {
				b.Fatal(text(b, r))
			}
			b.ReportMetric(n/time.Duration(r.Took).Seconds(), "verified/s")
		})
	}
}
