package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestDatabaseRoles plays the sample day on PostgreSQL as a role that may not change
// tables, and holds that neither it nor the others of deploy/postgres-roles.sql can do
// what they are not for.
func TestDatabaseRoles(t *testing.T) {
	t.Parallel()
	dir, owner := t.TempDir(), ledgertest.Postgres(t)
	env := []string{"ACQ_LEDGER_DSN=" + owner}
	acqswitch(t, dir, env, "", "ledger", "migrate", "--data", dir).check(t, exitOK, "goose_db_version", "")
	grants, err := os.ReadFile("../../deploy/postgres-roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	tables := connect(t, owner)
	for range 2 { // as after an upgrade
		execute(t, tables, string(grants))
	}
	as := func(role string) (dsn string) {
		t.Helper()
		name := "acqtest_" + strings.ToLower(rand.Text()[:12])
		execute(t, tables, "CREATE ROLE "+name+" LOGIN IN ROLE "+role)
		t.Cleanup(func() { execute(t, connect(t, owner), "DROP ROLE "+name) })
		u, err := url.Parse(owner)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.User(name)
		return u.String()
	}
	seller := as("acqswitch_switch")
	acqswitch(t, dir, nil, "", "run", "--exit", "--ledger", seller, "--cup", "127.0.0.1:0", "--iso87", "127.0.0.1:0", "--admin", "").
		check(t, exitOK, "Everything came out as it should.", "")

	// What is granted on every table, those of later migrations too.
	for _, c := range []struct {
		role, right string
		only        []string
	}{
		{"acqswitch_switch", "DELETE", []string{"blacklist"}},
		{"acqswitch_switch", "UPDATE", []string{"alert", "alert_feed", "drain", "machine", "merchant", "model", "region", "run", "ticket"}},
		{"acqswitch_archive", "DELETE", []string{"archived", "batch", "batch_item", "event", "finding", "txn"}},
		{"acqswitch_archive", "UPDATE", []string{"archived"}},
		{"acqswitch_report", "INSERT", nil},
		{"acqswitch_report", "UPDATE", nil},
		{"acqswitch_report", "DELETE", nil},
	} {
		check := "has_any_column_privilege"
		if c.right == "DELETE" {
			check = "has_table_privilege"
		}
		rows, err := tables.Query(t.Context(), `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND `+check+`($1, oid, $2) ORDER BY 1`, c.role, c.right)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || !slices.Equal(got, c.only) {
			t.Errorf("%s may %s %v, %v; want %v", c.role, c.right, got, err, c.only)
		}
	}

	archivist, reader := as("acqswitch_archive"), as("acqswitch_report")
	for _, c := range []struct {
		dsn       string
		statement string
		may       bool
	}{
		{seller, "UPDATE txn SET amount = 0", false},
		{seller, "DELETE FROM event", false},
		{seller, "TRUNCATE posting", false},
		{seller, "UPDATE run SET position = 0", false},
		{seller, "UPDATE change SET by_whom = 'nobody'", false},
		{seller, "INSERT INTO office_version (version_id, is_applied) VALUES (99, true)", false},
		{seller, "CREATE TABLE mine (n BIGINT)", false},
		{seller, "DROP TABLE txn", false},
		{archivist, "UPDATE txn SET amount = 0", false},
		{archivist, "DELETE FROM posting", false},
		{reader, "SELECT amount, pan_masked FROM txn JOIN event USING (position, amount, pan_masked)", true},
		{reader, "SELECT * FROM txn", false},
		{reader, "SELECT pan_sealed FROM event", false},
		{reader, "SELECT document FROM merchant", false},
		{reader, "SELECT merchants FROM payout_terms", false},
		{reader, "SELECT sha256 FROM dispute_document", false},
	} {
		_, err := connect(t, c.dsn).Exec(t.Context(), c.statement)
		denied := (*pgconn.PgError)(nil)
		if refused := errors.As(err, &denied) && denied.Code == "42501"; c.may != (err == nil) || !c.may && !refused {
			t.Errorf("%s: %v", c.statement, err)
		}
	}

	// What the archive does to a day is granted.
	l, err := ledger.Open(archivist)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var day ledger.ArchivedDay
	var name string
	var last int64
	if err := tables.QueryRow(t.Context(), `SELECT MAX(business_date), MAX(position) FROM txn`).Scan(&name, &last); err != nil {
		t.Fatal(err)
	}
	if day.Day, err = txn.ParseDate(name); err != nil {
		t.Fatal(err)
	}
	day.First, day.Last = 1, uint64(last)
	if err := errors.Join(l.Remove(t.Context(), &day), l.Purged(t.Context(), day.Day)); err != nil {
		t.Error(err)
	}

	// Tables of a newer program.
	execute(t, tables, "DROP TABLE archived")
	execute(t, tables, "DELETE FROM goose_db_version WHERE version_id = (SELECT MAX(version_id) FROM goose_db_version)")
	acqswitch(t, dir, []string{"ACQ_LEDGER_DSN=" + seller}, "", "ledger", "migrate", "--data", dir).
		check(t, exitFailed, "", "'acqswitch ledger migrate' brings the tables up to date as a role that may")
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn) // in cleanups the test's is over
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}
