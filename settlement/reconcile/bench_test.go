package reconcile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// benchLines is how many lines BenchmarkImport holds against as many transactions.
const benchLines = 999_000

// BenchmarkImport holds a file of a million lines against a million transactions of
// the day; of a thousand the times differ, so each side has a thousand alone. It
// reports lines a second, for reading the file alone too.
func BenchmarkImport(b *testing.B) {
	for name, dsn := range map[string]func(testing.TB) string{"sqlite": ledgertest.SQLite, "postgres": ledgertest.Postgres} {
		b.Run(name, func(b *testing.B) {
			bk := newBank(b, dsn(b))
			path := filepath.Join(b.TempDir(), "file")
			file, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			nth := func(n int) *txn.Record {
				r := sale(today, n)
				r.Amount.Minor = 10_000
				r.Key.Batch = uint32(n/100_000 + 1)
				return r
			}
			entries := make([]ledger.Entry, 0, 4096)
			store := func() {
				if err := bk.ledger.Store(b.Context(), entries); err != nil {
					b.Fatal(err)
				}
				entries = entries[:0]
			}
			for n := 1; n <= benchLines; n++ {
				r := nth(n)
				if entries = append(entries, ledger.Entry{Pos: uint64(n), Rec: r}); len(entries) == cap(entries) {
					store()
				}
				x := rowOf(r)
				if n%1000 == 0 {
					x.at = "1122101113" // theirs only, and one ours only
				}
				if _, err := io.WriteString(file, x.line()); err != nil {
					b.Fatal(err)
				}
			}
			store()
			bk.settled(today)
			for b.Loop() {
				for _, table := range []string{"recon_file", "recon_exception"} {
					if _, err := bk.queue.db.Write.ExecContext(b.Context(), "DELETE FROM "+table); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := file.Seek(0, io.SeekStart); err != nil {
					b.Fatal(err)
				}
				layout, _ := Builtin("acom")
				begun := time.Now()
				r := NewReader(path, file, layout)
				var line Line
				for err = nil; err == nil; {
					err = r.Next(&line)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				b.ReportMetric(benchLines/time.Since(begun).Seconds(), "read-lines/s")
				if _, err := file.Seek(0, io.SeekStart); err != nil {
					b.Fatal(err)
				}
				in := bk.input(today, "")
				in.File, in.Name = file, path
				begun = time.Now()
				result := bk.imported(in)
				b.ReportMetric(benchLines/time.Since(begun).Seconds(), "lines/s")
				if result.Matched != benchLines-benchLines/1000 || result.Exceptions != 2*benchLines/1000 {
					b.Fatal(fmt.Sprintf("%+v", result))
				}
			}
		})
	}
}
