package ledger

import (
	"bytes"
	"slices"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// What was decided comes in the journal's order, of its day, with all that
// judging it again needs.
func TestRecorded(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		first, second, other := sale(1), sale(2), sale(3)
		other.Day = first.Day.After()
		second.Findings = txn.Findings{}
		store(t, l, entries(1, first, second, about(txn.RecordReversalDue, first), other, about(txn.RecordReversalDone, first)))
		var got []string
		if err := l.Recorded(t.Context(), first.Day, func(r *txn.Record) error {
			got = append(got, r.Kind.String()+" "+r.ID.String())
			if r.ID != second.ID || r.Kind != txn.RecordOutcome {
				return nil
			}
			for _, c := range judged {
				if a, b := c.put(nil, &Entry{Rec: r, Pos: 2}), c.put(nil, &Entry{Rec: second, Pos: 2}); !bytes.Equal(a, b) {
					t.Errorf("%s is %q, want %q", c.name, a, b)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		done := about(txn.RecordReversalDone, first)
		want := []string{"outcome " + first.ID.String(), "outcome " + second.ID.String(), "reversal done " + done.ID.String()}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// BenchmarkRecorded reads a day of 50,000 sales, and says what of a processor one
// costs.
func BenchmarkRecorded(b *testing.B) {
	l := open(b, "sqlite:"+b.TempDir()+"/l.db")
	const sales = 50_000
	var es []Entry
	for n := range sales {
		es = append(es, entries(uint64(n+1), sale(n+1))...)
	}
	for batch := range slices.Chunk(es, 1000) {
		store(b, l, batch)
	}
	processor := func() int64 {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before, rows := processor(), 0
	for b.Loop() {
		if err := l.Recorded(b.Context(), sale(1).Day, func(*txn.Record) error { rows++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processor()-before)/float64(rows), "cpu-ns/row")
}
