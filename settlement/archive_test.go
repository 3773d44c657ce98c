package settlement

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// dayOf are all rows of a business day, with their columns.
func dayOf(t *testing.T, l *ledger.Ledger, day txn.Date) string {
	t.Helper()
	var b strings.Builder
	for _, table := range ledger.DayTables {
		err := l.DayRows(t.Context(), table, day, 0, math.MaxInt64, func(head []string, row []sql.RawBytes) error {
			if row == nil {
				fmt.Fprintf(&b, "%s %q\n", table, head)
			} else {
				fmt.Fprintf(&b, "%q\n", row)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// oldDay has rows in every table of day1, and is settled; day2 takes back what came
// late.
func oldDay(w *town) {
	reversed, odd := deed(2, txn.KindSale, "M1", day1, 77_00, 0), deed(3, txn.KindSale, "M2", day1, 5_00, 0)
	odd.RRN = [12]byte{'"', ',', '\n', 0xff} // an issuer may send anything
	odd.Serial = []byte("S\"1,\\")
	odd.Findings.Add(txn.Finding{Rule: 7, Action: txn.ActionAlert, Seen: 3, Bound: 2})
	odd.Findings.Add(txn.Finding{Rule: 9, Action: txn.ActionAlert})
	settled := txn.BatchFact{Step: txn.StepSettle, State: txn.BatchClosed, Opened: day1, Result: [2]txn.Comparison{txn.Uneven, txn.Even},
		Items: []txn.BatchItem{{STAN: 9, Minor: 1, Verdict: txn.ItemIsNotOurs}}}
	w.put(deed(1, txn.KindSale, "M1", day1, 1000_00, 0), reversed, odd, answers(4, "M1", day1, 1, settled), deed(5, txn.KindRefund, "M1", day1, 1_00, 1))
	w.entries[2].Rec.Findings = odd.Findings
	w.drained()
	w.settle(day1)
	w.put(later(101, txn.RecordReversalDue, reversed), later(102, txn.RecordReversalDone, reversed), deed(6, txn.KindSale, "M1", day2, 1_00, 0))
	w.drained()
}

// TestArchive kills the archiving of a day at each step and does it again, brings the
// day back into its ledger and into one of the other engine, and compares all rows.
func TestArchive(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		oldDay(w)
		in := ArchiveInput{Ledger: w.ledger, Dir: t.TempDir(), Day: day1, Now: w.now}
		refused := func(what string, err error, want string) {
			t.Helper()
			if why := approval.Refusal(""); !errors.As(err, &why) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want a refusal: %s", what, err, want)
			}
		}
		_, err := ArchiveDay(t.Context(), in)
		refused("a reversal that no run has taken back", err, "no run that has ended covers all of it")
		w.settle(day2)
		before, other := dayOf(t, w.ledger, day1), dayOf(t, w.ledger, day2)
		if n := strings.Count(before, "\n"); n != 5+5+2+1+1+2 {
			t.Fatalf("the day has %d lines\n%s", n, before)
		}
		killed := errors.New("killed")
		for _, at := range []string{"files", "published", "noted"} {
			in.step = func(step string) error {
				if step == at {
					return killed
				}
				return nil
			}
			if _, err := ArchiveDay(t.Context(), in); !errors.Is(err, killed) {
				t.Fatalf("killed at %s: %v", at, err)
			}
			if got := dayOf(t, w.ledger, day1); got != before {
				t.Fatalf("killed at %s, the ledger has\n%s", at, got)
			}
		}
		in.step = nil
		file := filepath.Join(in.Dir, day1.String(), tableFile("txn"))
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, err := ArchiveDay(t.Context(), in)
		if err != nil || first.State != ledger.Removed || first.Txns != 5 {
			t.Fatalf("%+v, %v", first, err)
		}
		if got := dayOf(t, w.ledger, day1); strings.Count(got, "\n") != len(ledger.DayTables) {
			t.Errorf("after it the ledger has\n%s", got)
		}
		if got := dayOf(t, w.ledger, day2); got != other {
			t.Errorf("of the next day the ledger has\n%s", got)
		}
		again, err := ArchiveDay(t.Context(), in)
		if err != nil || again.Manifest != first.Manifest || again.State != ledger.Removed {
			t.Errorf("again: %+v, %v", again, err)
		}

		// What asks for the day is told.
		refused("a question", NotArchived(t.Context(), w.ledger, day1, day2), "acqswitch ledger restore "+day1.String())
		if err := os.RemoveAll(filepath.Join(w.dir, day1.String())); err != nil {
			t.Fatal(err)
		}
		_, err = Settle(t.Context(), w.input(day1))
		refused("lost files", err, "is archived")

		// A damaged file brings nothing back.
		if err := os.WriteFile(file, append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := RestoreDay(t.Context(), in); err == nil || !strings.Contains(err.Error(), "not those of their manifest") {
			t.Errorf("a damaged file: %v", err)
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		rename := func(from, to string) {
			t.Helper()
			if _, err := w.db.Write.ExecContext(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to); err != nil {
				t.Fatal(err)
			}
		}
		rename("event", "lost")
		if _, err := RestoreDay(t.Context(), in); err == nil || strings.Contains(err.Error(), ".csv.gz") {
			t.Errorf("a ledger that does not take the rows: %v; want nothing about the files", err)
		}
		rename("lost", "event")
		elsewhere := in
		otherDSN := ledgertest.SQLite(t)
		if strings.HasPrefix(dsn, "sqlite:") {
			otherDSN = ledgertest.Postgres(t)
		}
		elsewhere.Ledger = newTown(t, otherDSN).ledger
		for _, to := range []ArchiveInput{elsewhere, in} {
			n, err := RestoreDay(t.Context(), to)
			if got := dayOf(t, to.Ledger, day1); err != nil || n != 11 || got != before {
				t.Fatalf("restored: %d rows, %v\n%swas\n%s", n, err, got, before)
			}
			_, err = RestoreDay(t.Context(), to)
			refused("restored twice", err, "has transactions of this day")
		}
		if err := NotArchived(t.Context(), w.ledger, day1, day2); err != nil {
			t.Error(err)
		}
		refused("to purge a restored day", PurgeDay(t.Context(), in), "not in files only")
		w.settle(day1) // its files are made anew

		// A kill while rows are removed: the next call removes the rest.
		if _, err := ArchiveDay(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if _, err := RestoreDay(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		_, err = w.db.Write.ExecContext(t.Context(), `INSERT INTO archived (business_date, at, first, last, txns, manifest, state) VALUES ($1, 0, $2, $3, $4, $5, 'removing')`,
			day1.String(), int64(first.First), int64(first.Last), first.Txns, first.Manifest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.db.Write.ExecContext(t.Context(), `DELETE FROM txn WHERE business_date = $1 AND position < 3`, day1.String()); err != nil {
			t.Fatal(err)
		}
		if _, err := RestoreDay(t.Context(), in); err == nil {
			t.Error("a day was restored while it is being removed")
		}
		refused("to purge a day that is being removed", PurgeDay(t.Context(), in), "not in files only")
		if d, err := ArchiveDay(t.Context(), in); err != nil || d.State != ledger.Removed || d.Manifest != first.Manifest {
			t.Errorf("the rest: %+v, %v", d, err)
		}
		if got := dayOf(t, w.ledger, day1); strings.Count(got, "\n") != len(ledger.DayTables) {
			t.Errorf("after the rest the ledger has\n%s", got)
		}
		in.step = func(string) error { return errKill }
		if err := PurgeDay(t.Context(), in); !errors.Is(err, errKill) {
			t.Fatal(err)
		}
		in.step = nil
		days, err := w.ledger.Archived(t.Context(), day1, day1)
		if err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(filepath.Join(in.Dir, day1.String()))
		if days[0].State == ledger.Purged || len(left) > 0 || err != nil {
			t.Errorf("killed in between: %+v, %v, %v", days, left, err)
		}
		unmounted := in
		unmounted.Dir = t.TempDir()
		refused("to purge what is not there", PurgeDay(t.Context(), unmounted), "is the archive's disk mounted?")
		if err := PurgeDay(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(in.Dir, day1.String())); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after the purge: %v", err)
		}
		refused("a purged day", NotArchived(t.Context(), w.ledger, day1, day1), "its files were removed")
		_, err = RestoreDay(t.Context(), in)
		refused("a purged day's files", err, "2026-11-20 is not in files")
	})
}

// TestArchiveLate: what comes of an archived day stays in the ledger, beside what is
// brought back, and is archived with it the next time.
func TestArchiveLate(t *testing.T) {
	w := newTown(t, ledgertest.SQLite(t))
	oldDay(w)
	w.settle(day2)
	in := ArchiveInput{Ledger: w.ledger, Dir: t.TempDir(), Day: day1, Now: w.now}
	if _, err := ArchiveDay(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	w.put(later(103, txn.RecordLate, w.entries[0].Rec), deed(7, txn.KindSale, "M1", day3, 1_00, 0))
	w.drained()
	w.settle(day3)
	rows := func(want int) {
		t.Helper()
		if got := dayOf(t, w.ledger, day1); strings.Count(got, "\n") != len(ledger.DayTables)+want {
			t.Errorf("the ledger has, want %d rows\n%s", want, got)
		}
	}
	rows(1)
	if n, err := RestoreDay(t.Context(), in); err != nil || n != 11 {
		t.Fatal(n, err)
	}
	rows(12)
	if d, err := ArchiveDay(t.Context(), in); err != nil || d.State != ledger.Removed {
		t.Fatal(d, err)
	}
	rows(0)
	if n, err := RestoreDay(t.Context(), in); err != nil || n != 12 {
		t.Fatal(n, err)
	}
	rows(12)
}

// TestArchiveWaits: a day of which something is owed stays.
func TestArchiveWaits(t *testing.T) {
	w := newTown(t, ledgertest.SQLite(t))
	sampleDay(w)
	in := ArchiveInput{Ledger: w.ledger, Dir: t.TempDir(), Day: day1, Now: w.now}
	for _, c := range []struct {
		before func()
		day    txn.Date
		want   string
	}{
		{func() {}, day1, "no run that has ended"},
		{func() {}, day2, "it has no transactions"},
		{func() { w.settle(day1) }, day1, "owes its issuer"},
	} {
		c.before()
		in.Day = c.day
		if _, err := ArchiveDay(t.Context(), in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.day, err, c.want)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(in.Dir, "*20*")); len(names) > 0 {
		t.Errorf("%v were written", names)
	}
}

// TestArchiveOfALedgerThatIsReadOnly: no files are written of rows that would stay, none
// are removed where that cannot be noted, and it is said why.
func TestArchiveOfALedgerThatIsReadOnly(t *testing.T) {
	dsn := ledgertest.Postgres(t)
	w := newTown(t, dsn)
	oldDay(w)
	w.settle(day2)
	l, err := ledger.Open(dsn + "&default_transaction_read_only=on")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := ArchiveInput{Ledger: l, Dir: t.TempDir(), Day: day1, Now: w.now}
	refused := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "(SQLSTATE 25006): the server is a standby or was made read-only") {
			t.Error(err)
		}
	}
	_, err = ArchiveDay(t.Context(), in)
	refused(err)
	if names, _ := filepath.Glob(filepath.Join(in.Dir, "*20*")); len(names) > 0 {
		t.Errorf("%v were written", names)
	}
	in.Ledger = w.ledger
	if _, err := ArchiveDay(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in.Ledger = l
	refused(PurgeDay(t.Context(), in))
	if _, err := os.Stat(filepath.Join(in.Dir, day1.String(), archiveFile)); err != nil {
		t.Errorf("it was removed: %v", err)
	}
}

// FuzzArchiveTable: any file of a table is read or refused, compressed or not.
func FuzzArchiveTable(f *testing.F) {
	pack := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.Bytes()
	}
	f.Add([]byte("id:bigint,rrn:text\n1,\"a,\"\"\n\"\n"), true)
	f.Add([]byte("id:bigint\n1,2\n"), true)
	f.Add(pack("id:bigint\n1\n"), false)
	f.Add([]byte("\x1f\x8b"), false)
	f.Fuzz(func(t *testing.T, b []byte, text bool) {
		if text {
			b = pack(string(b))
		}
		var rows int64
		err := readRows(bytes.NewReader(b), sha256.New(), &rows, func(head, row []string) error {
			if len(head) != len(row) || len(head) > archiveColumnsMax {
				t.Fatalf("a row of %d values under a head of %d", len(row), len(head))
			}
			return nil
		})
		if err == nil && rows < 0 {
			t.Fatal(rows)
		}
	})
}
