package ledger

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// What COPY would store as something else is not stored, also where the column is being
// altered meanwhile; when it is as it was, nothing is missing.
func TestAlteredColumn(t *testing.T) {
	dsn := ledgertest.Postgres(t)
	l, dba, ctx := open(t, dsn), open(t, dsn), t.Context()
	exec := func(on interface {
		Exec(string, ...any) (sql.Result, error)
	}, statement string) {
		t.Helper()
		if _, err := on.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error, column string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "column "+column+" was altered to numeric, ") {
			t.Errorf("%v; want it to name %s", err, column)
		}
	}
	n := 0
	next := func() error {
		err := l.Store(ctx, entries(uint64(n+1), sale(n)))
		if err == nil {
			n++
		}
		return err
	}
	for range 10 { // the server plans a statement for good after some of them
		if err := next(); err != nil {
			t.Fatal(err)
		}
	}
	exec(dba.db.Write, "ALTER TABLE txn ADD COLUMN note JSON") // somebody's own
	exec(dba.db.Write, "ALTER TABLE txn ALTER COLUMN rrn TYPE VARCHAR(20)")
	if err := next(); err != nil {
		t.Fatal(err)
	}
	tx, err := dba.db.Write.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	exec(tx, "ALTER TABLE txn ALTER COLUMN amount TYPE NUMERIC")
	done := make(chan error, 1)
	go func() { done <- next() }()
	waits(t, dba)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	refused(<-done, "amount of txn")
	refused(next(), "amount of txn")
	exec(dba.db.Write, "ALTER TABLE txn ALTER COLUMN amount TYPE BIGINT")
	if err := next(); err != nil {
		t.Fatal(err)
	}
	for i, e := range scan(t, l) {
		if want := sale(i).Amount; e.Rec.Amount != want {
			t.Errorf("the amount at %d is %v, want %v", e.Pos, e.Rec.Amount, want)
		}
	}

	run := &Run{Day: day, Position: uint64(n)}
	if err := l.BeginRun(ctx, run, Schedule{Sum: "f"}, Terms{Sum: "t"}); err != nil {
		t.Fatal(err)
	}
	exec(dba.db.Write, "ALTER TABLE posting ALTER COLUMN debit TYPE NUMERIC")
	sums := []PostingSum{{Merchant: txn.MakeMerchantID("999290054110001"), Currency: txn.CNY, Item: "sale", Account: "issuer receivable", Debit: 100, Count: 1}}
	refused(l.BookRun(ctx, run, sums, nil), "debit of posting")
	refused(l.Restore(ctx, day.Before(), func(func(string, []string, []string) error) error { return nil }), "debit of posting")
}

// waits returns when a session of the ledger's waits for a lock of another one.
func waits(t *testing.T, on *Ledger) {
	t.Helper()
	for waiting := 0; waiting == 0; {
		err := on.db.Read.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting)
		if err != nil {
			t.Fatal(fmt.Errorf("look who waits: %w", err))
		}
	}
}
