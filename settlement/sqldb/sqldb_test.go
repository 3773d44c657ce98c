package sqldb_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var migrations = fstest.MapFS{
	"migrations/00001_one.sql": {Data: []byte("-- +goose Up\nCREATE TABLE counter (name TEXT NOT NULL PRIMARY KEY, n BIGINT NOT NULL);\nINSERT INTO counter (name, n) VALUES ('a', 0);\n")},
	"migrations/00002_two.sql": {Data: []byte("-- +goose Up\nCREATE TABLE noted (n BIGINT NOT NULL PRIMARY KEY);\n")},
}

func open(t *testing.T, dsn string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Several processes that start at once make the tables once.
func TestMigrateTogether(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		var wg sync.WaitGroup
		for range 4 {
			db := open(t, dsn)
			wg.Go(func() {
				if err := db.Migrate(t.Context(), sqldb.Schema{Files: migrations, Versions: "some_version"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// Who comes while others make a SQLite file, or are the last to leave it, waits.
func TestFileOpenedTogether(t *testing.T) {
	for range 50 {
		dsn := "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				db, err := sqldb.Open(dsn)
				if err == nil {
					err = errors.Join(db.Write.PingContext(t.Context()), db.Read.PingContext(t.Context()), db.Close())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// A program goes on beside a newer one that added to the schema, also when it is
// started again, and keeps off one that changed it.
func TestF66OlderProgram(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		newer := fstest.MapFS{"migrations/00003_three.sql": {Data: []byte("-- +goose Up\nALTER TABLE counter ADD COLUMN note TEXT NOT NULL DEFAULT '-';\n")}}
		maps.Copy(newer, migrations)
		older := open(t, dsn)
		stored := func(name string) error {
			return older.Update(t.Context(), func(tx *sql.Tx) error {
				_, err := tx.Exec("INSERT INTO counter (name, n) VALUES ($1, 1)", name)
				return err
			})
		}
		for _, step := range []struct {
			db        *sqldb.DB
			files     fstest.MapFS
			has, ours int64 // before it
		}{{older, migrations, 0, 2}, {open(t, dsn), newer, 2, 3}, {older, migrations, 3, 2}} {
			schema := sqldb.Schema{Files: step.files, Versions: "some_version"}
			if has, ours, err := step.db.Version(t.Context(), schema); err != nil || has != step.has || ours != step.ours {
				t.Errorf("version %d for a program of %d, %v; want %d and %d", has, ours, err, step.has, step.ours)
			}
			if err := step.db.Migrate(t.Context(), schema); err != nil {
				t.Fatal(err)
			}
		}
		if err := stored("b"); err != nil {
			t.Errorf("the older program after the newer one's migration: %v", err)
		}
		newer["migrations/01000_new.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE counter RENAME COLUMN n TO m;\n")}
		if err := open(t, dsn).Migrate(t.Context(), sqldb.Schema{Files: newer, Versions: "some_version"}); err != nil {
			t.Fatal(err)
		}
		older4 := maps.Clone(migrations)
		older4["migrations/00004_four.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE four (n BIGINT NOT NULL PRIMARY KEY);\n")}
		for _, files := range []fstest.MapFS{migrations, older4} {
			err := older.Migrate(t.Context(), sqldb.Schema{Files: files, Versions: "some_version"})
			if !errors.Is(err, sqldb.ErrNewer) || !strings.Contains(err.Error(), "some_version has version 1000, this program ") {
				t.Errorf("a program that is too old: %v", err)
			}
			if _, _, err := older.Version(t.Context(), sqldb.Schema{Files: files, Versions: "some_version"}); !errors.Is(err, sqldb.ErrNewer) {
				t.Errorf("the version that is too new: %v", err)
			}
		}
		if _, err := older.Read.ExecContext(t.Context(), "SELECT n FROM four"); !sqldb.NoTable(err) {
			t.Errorf("a program that is too old changed something: %v", err)
		}
	})
}

// A log that had to grow, for a long reader or a large transaction, is short again.
func TestLogOfSQLiteShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	d := open(t, "sqlite:"+path)
	size := func(statement string) int64 {
		t.Helper()
		if _, err := d.Write.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		f, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return f.Size()
	}
	if n := size("CREATE TABLE t AS SELECT zeroblob(65000000) AS b"); n < 65_000_000 {
		t.Fatalf("the log has %d bytes", n)
	}
	if n := size("CREATE TABLE u (b BLOB)"); n > 64_000_000 {
		t.Errorf("the log still has %d bytes", n)
	}
}

// A server that is away is told of in one line, however often it was tried.
func TestAwayIsOneLine(t *testing.T) {
	db := open(t, "postgres://nobody@127.0.0.1:1/nothing")
	var why *pgconn.ConnectError
	switch err := db.Read.Ping(); {
	case !errors.As(err, &why):
		t.Errorf("%v is no error of a connection", err)
	case strings.ContainsAny(err.Error(), "\n\t"), strings.Count(err.Error(), "127.0.0.1:1 ") != 1:
		t.Errorf("%q must be one line that names the server once", err)
	}
}

// A server that ends a connection is told of as one, not as a file that is too short.
func TestServerThatEndsAConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var length [4]byte
			io.ReadFull(c, length[:])
			io.ReadFull(c, make([]byte, binary.BigEndian.Uint32(length[:])-4))
			c.Close()
		}
	})
	db := open(t, "postgres://nobody@"+l.Addr().String()+"/nothing?sslmode=disable")
	if err := db.Read.Ping(); err == nil || !strings.Contains(err.Error(), "the database server ended the connection") {
		t.Errorf("%v does not say what happened", err)
	}
}

func TestMigrateNeedsAServer(t *testing.T) {
	db := open(t, "postgres://nobody@127.0.0.1:1/none")
	if err := db.Migrate(t.Context(), sqldb.Schema{Files: migrations, Versions: "some_version"}); err == nil {
		t.Fatal("migrated a database that is away")
	}
}

// What keeps us from making tables is said at once, and by its name.
func TestMigrateSaysWhatIsMissing(t *testing.T) {
	dsn := ledgertest.Postgres(t)
	for setting, want := range map[string]string{
		"search_path=nowhere":              "no schema has been selected to create in",
		"default_transaction_read_only=on": "in a read-only transaction (SQLSTATE 25006): the server is a standby or was made read-only, or a pooler",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // as long as a start waits
		if err := open(t, dsn+"&"+setting).Migrate(ctx, sqldb.Schema{Files: migrations, Versions: "some_version"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", setting, err, want)
		}
		cancel()
	}
}

// A migration that fails says why, however often it is tried; and the next one goes.
func TestMigrateOnAFullDisk(t *testing.T) {
	db := open(t, ledgertest.SQLite(t))
	schema := sqldb.Schema{Files: migrations, Versions: "some_version"}
	if _, err := db.Write.ExecContext(t.Context(), "PRAGMA max_page_count = 1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), schema); err == nil || !strings.Contains(err.Error(), "database or disk is full") {
		t.Errorf("%v", err)
	}
	if _, err := db.Write.ExecContext(t.Context(), "PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), schema); err != nil {
		t.Error(err)
	}
}

// Files that the DSN names are read for each connection: a password that is changed
// needs no restart.
func TestFilesOfTheDSNAreReadAgain(t *testing.T) {
	u, err := url.Parse(ledgertest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	service := filepath.Join(t.TempDir(), "services")
	say := func(database string) {
		t.Helper()
		text := fmt.Sprintf("[acq]\nhost=%s\nuser=%s\nsslmode=disable\ndbname=%s\n", u.Query().Get("host"), u.User.Username(), database)
		if err := os.WriteFile(service, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	say("nowhere")
	db := open(t, "postgres://?service=acq&servicefile="+service)
	if err := db.Write.PingContext(t.Context()); err == nil {
		t.Fatal("reached a database that is not there")
	}
	say(strings.TrimPrefix(u.Path, "/"))
	if err := db.Write.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
}

// A server that was made read-only keeps its connections: the one that writes leaves it
// for the server that takes writes now.
func TestServerThatBecameReadOnly(t *testing.T) {
	server, err := ledgertest.Start("fsync=off")
	if err != nil {
		t.Fatal(err)
	}
	standby, err := ledgertest.Standby(server)
	if err != nil {
		t.Fatal(err)
	}
	both := url.Values{"host": {server.Query().Get("host") + "," + standby.Query().Get("host")}, "sslmode": {"disable"}, "target_session_attrs": {"read-write"}}
	db := open(t, "postgres://"+server.User.String()+"@"+server.Path+"?"+both.Encode())
	write := func(statement string) error {
		_, err := db.Write.ExecContext(t.Context(), statement)
		return err
	}
	for _, statement := range []string{"CREATE TABLE noted (n BIGINT)", "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"} {
		if err := write(statement); err != nil {
			t.Fatal(err)
		}
	}
	err = open(t, standby.String()).Update(t.Context(), func(*sql.Tx) error { return nil })
	if err == nil || !strings.Contains(err.Error(), ": the server is a standby or was made read-only, or a pooler") {
		t.Errorf("%v does not say what may be the reason", err)
	}
	if err := ledgertest.Promote(standby); err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ {
		time.Sleep(1100 * time.Millisecond) // a drain that fails waits longer
		err := write("INSERT INTO noted VALUES (1)")
		if err == nil {
			break
		}
		if try == 20 {
			t.Fatal(err)
		}
	}
}

// Read, decide, write: of processes that do it at once each sees what the others
// wrote.
func TestUpdateIsAlone(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		const writers, times = 4, 10
		var wg sync.WaitGroup
		for i := range writers {
			db := open(t, dsn)
			if i == 0 {
				if err := db.Migrate(t.Context(), sqldb.Schema{Files: migrations, Versions: "some_version"}); err != nil {
					t.Fatal(err)
				}
			}
			wg.Go(func() {
				for range times {
					err := db.Update(t.Context(), func(tx *sql.Tx) error {
						var n int64
						if err := tx.QueryRow("SELECT n FROM counter WHERE name = 'a'").Scan(&n); err != nil {
							return err
						}
						_, err := tx.Exec("UPDATE counter SET n = $1 WHERE name = 'a'", n+1)
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		err := open(t, dsn).View(t.Context(), func(tx *sql.Tx) error {
			var n int64
			if err := tx.QueryRow("SELECT n FROM counter WHERE name = 'a'").Scan(&n); err != nil || n != writers*times {
				t.Errorf("%d, %v", n, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestErrors(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		db, ctx := open(t, dsn), t.Context()
		exec := func(query string) error {
			return db.Update(ctx, func(tx *sql.Tx) error { _, err := tx.Exec(query); return err })
		}
		if err := exec("INSERT INTO counter (name, n) VALUES ('a', 1)"); !sqldb.NoTable(err) || !sqldb.Unmigrated(err) {
			t.Errorf("no table: %v", err)
		}
		if err := db.Migrate(ctx, sqldb.Schema{Files: migrations, Versions: "some_version"}); err != nil {
			t.Fatal(err)
		}
		if err := exec("INSERT INTO counter (name, n) VALUES ('a', 1)"); !sqldb.IsDuplicate(err) || sqldb.NoTable(err) {
			t.Errorf("duplicate: %v", err)
		}
		if err := exec("UPDATE counter SET m = 1"); sqldb.NoTable(err) || !sqldb.Unmigrated(err) {
			t.Errorf("no column: %v", err)
		}
		// A transaction that fails leaves nothing behind.
		why := errors.New("no")
		if err := db.Update(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO noted (n) VALUES (1)")
			return errors.Join(err, why)
		}); !errors.Is(err, why) {
			t.Error(err)
		}
		if err := exec("INSERT INTO noted (n) VALUES (1)"); err != nil {
			t.Errorf("a transaction that failed left a row: %v", err)
		}
		if _, err := db.Read.ExecContext(ctx, "INSERT INTO noted (n) VALUES (2)"); err == nil {
			t.Error("a reader wrote")
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := db.Update(ended, func(*sql.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Rows that end before their time are no answer.
func TestEachSaysThatRowsEnded(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := sqldb.Each(ctx, open(t, dsn).Read, func(func(...any) error) error {
			cancel()
			return nil
		}, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000) SELECT i FROM n")
		if err == nil {
			t.Error("a query that was given up is complete")
		}
	})
}
