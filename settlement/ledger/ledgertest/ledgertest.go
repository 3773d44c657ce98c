// Package ledgertest gives tests a ledger database of each engine: a SQLite
// file, and an empty database on a real PostgreSQL server.
//
// The first test of a process that asks for PostgreSQL starts a private server
// in a temporary directory, reachable by a unix socket only. Every test gets
// its own database on it. The server stops and its directory goes when the
// test process ends, however it ends. A machine without server binaries fails
// the test and says what to install; nothing is skipped.
//
// The environment variable ACQ_TEST_POSTGRES_URL names a server to use instead,
// as a role that may create databases and roles.
package ledgertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Each runs fn once for each engine, as a subtest, with an empty database.
func Each(t *testing.T, fn func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// SQLite is the DSN of a database file that does not exist yet.
func SQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
}

// Postgres is the DSN of an empty database, dropped at the end of the test.
func Postgres(t testing.TB) string {
	t.Helper()
	return PostgresWith(t)
}

// English makes a database sort texts as English does, not by their bytes.
const English = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"

// PostgresWith is Postgres with options of CREATE DATABASE.
func PostgresWith(t testing.TB, options ...string) string {
	t.Helper()
	base, err := serverURL()
	if err != nil {
		t.Fatal(err)
	}
	dsn, drop, err := Create(base, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	})
	return dsn
}

// Create makes an empty database on a server, with options of CREATE DATABASE, and
// says how to drop it.
func Create(server *url.URL, options ...string) (dsn string, drop func() error, err error) {
	name := "acqtest_" + strings.ToLower(rand.Text()[:12])
	if err := admin(server, strings.Join(append([]string{"CREATE DATABASE", name}, options...), " ")); err != nil {
		return "", nil, err
	}
	u := *server
	u.Path = "/" + name
	return u.String(), func() error {
		drop := "DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"
		err := admin(server, drop)
		if errors.Is(err, context.DeadlineExceeded) { // the machine may have stood still
			err = admin(server, drop)
		}
		return err
	}, nil
}

// Outage makes the PostgreSQL database of dsn refuse connections, and drops
// those it has, until end is called.
func Outage(t testing.TB, dsn string) (end func()) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	base := *u
	base.Path = "/postgres"
	err = admin(&base,
		"ALTER DATABASE "+name+" WITH ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := admin(&base, "ALTER DATABASE "+name+" WITH ALLOW_CONNECTIONS true"); err != nil {
			t.Fatal(err)
		}
	}
}

// admin runs statements on the server's own database.
func admin(base *url.URL, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, base.String())
	if err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}
