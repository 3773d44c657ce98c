package ledger

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// olderSince is the oldest version whose program may store beside the newest: the
// default of migration 7's column is not what older rows mean.
const olderSince = 8

// TestF66OlderProgramStores has a program of each older version of the schema store
// before the newest migrates, and go on after it, into the columns that it knows.
// The newest reads it all as it would have stored it, and goes on from there.
func TestF66OlderProgramStores(t *testing.T) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for i, name := range names[:len(names)-1] {
		if name < fmt.Sprintf("%05d", olderSince) {
			continue
		}
		tried++
		older := fstest.MapFS{}
		for _, n := range names[:i+1] {
			text, err := fs.ReadFile(dir, n)
			if err != nil {
				t.Fatal(err)
			}
			older["migrations/"+n] = &fstest.MapFile{Data: text}
		}
		t.Run(strings.TrimSuffix(name, ".sql"), func(t *testing.T) {
			ledgertest.Each(t, func(t *testing.T, dsn string) { olderStores(t, dsn, older) })
		})
	}
	if tried < 3 {
		t.Errorf("%d versions were tried", tried)
	}
}

func olderStores(t *testing.T, dsn string, schema fs.FS) {
	old, err := Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.db.Migrate(t.Context(), sqldb.Schema{Files: schema, Versions: Schema.Versions}); err != nil {
		t.Fatal(err)
	}
	known := map[*table][]string{txnTable: old.names(t, "txn"), eventTable: old.names(t, "event")}
	all := entries(1, sale(1), sale(2), about(txn.RecordReversalDue, sale(1)), sale(3), about(txn.RecordReversalDone, sale(1)), sale(4), sale(5))
	for i := range all { // as records of before the columns are
		all[i].Rec.Method = txn.MakeMethod(all[i].Rec.Entry.Way(), false)
	}
	old.storeOnly(t, known, all[:3])
	newest := open(t, dsn)
	old.storeOnly(t, known, all[3:5])
	if err := old.db.Migrate(t.Context(), sqldb.Schema{Files: schema, Versions: Schema.Versions}); err != nil {
		t.Errorf("the older program is started again: %v", err)
	}
	old.storeOnly(t, known, all[5:6])
	if got := position(t, newest); got != 6 {
		t.Errorf("position %d, want 6", got)
	}
	store(t, newest, all[3:])
	got := scan(t, newest)
	if len(got) != len(all) {
		t.Fatalf("%d rows, want %d", len(got), len(all))
	}
	for i := range all {
		if want := Kept(*all[i].Rec); got[i].Pos != all[i].Pos || fmt.Sprintf("%+v", *got[i].Rec) != fmt.Sprintf("%+v", want) {
			t.Errorf("row %d is\n%+v, want\n%+v", all[i].Pos, *got[i].Rec, want)
		}
	}
}

// names are the columns that a table has now.
func (l *Ledger) names(t *testing.T, name string) []string {
	rows, err := l.db.Read.QueryContext(t.Context(), "SELECT * FROM "+name+" LIMIT 0")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// storeOnly is Store as a program does it that knows these columns only.
func (l *Ledger) storeOnly(t *testing.T, known map[*table][]string, es []Entry) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	conn, err := l.db.Write.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := l.encode(es[0].Pos-1, es); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), claimPosition, int64(es[len(es)-1].Pos), int64(es[0].Pos-1)); err != nil {
		t.Fatal(err)
	}
	full := map[*table][]string{txnTable: append([]string{"repeat_id"}, namesOf(columns)...), eventTable: append([]string{"kind"}, namesOf(eventColumns)...)}
	if err := conn.Raw(func(driverConn any) error {
		for _, into := range []*table{txnTable, eventTable} {
			var names []string
			var old rows
			for i, all := 0, l.rows[into]; len(all) > 0; i++ {
				before := all
				all.next()
				name := full[into][i%len(into.columns)]
				if !slices.Contains(known[into], name) {
					continue
				}
				if old = append(old, before[:len(before)-len(all)]...); i < len(into.columns) {
					names = append(names, name)
				}
			}
			if len(old) == 0 {
				continue
			}
			if err := l.insert(t.Context(), driverConn, newTable(map[*table]string{txnTable: "txn", eventTable: "event"}[into], names...), old, &l.buf); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}
