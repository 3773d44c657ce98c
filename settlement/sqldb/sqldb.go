// Package sqldb is one SQL database, SQLite in a file or PostgreSQL, as all that
// keeps rows here uses it: one query text for both, one connection that writes
// and a few that read.
//
// Open does not connect: a database that is away at start keeps nobody from
// starting, and every call fails alone. Update runs a transaction as if no other
// ran beside it, and runs it again where the server says that one did.
//
// Not here: queries. Rows that are sent by the ten thousand (COPY) are the
// ledger's.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

const (
	readersMax  = 4  // connections that queries use
	triesMax    = 20 // of one Update
	retryPause  = 5 * time.Millisecond
	migrateMax  = 5 // tries of one Migrate
	migrateWait = 100 * time.Millisecond
)

// DB is safe for concurrent use. Close it.
type DB struct {
	Write *sql.DB // one connection
	Read  *sql.DB // up to four, which cannot write

	postgres bool
	dsn      string
}

// Open takes a DSN, sqlite:PATH or postgres://..., and does not connect.
func Open(dsn string) (*DB, error) {
	d := &DB{dsn: dsn}
	var err error
	switch {
	case strings.HasPrefix(dsn, "sqlite:"):
		err = d.openSQLite()
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		d.postgres = true
		err = d.openPostgres()
	default:
		scheme, _, _ := strings.Cut(dsn, ":") // the rest may hold a password
		err = fmt.Errorf("DSN of scheme %q: it must be sqlite:PATH or postgres://...", scheme)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Close closes the connections.
func (d *DB) Close() error { return errors.Join(d.Read.Close(), d.Write.Close()) }

// Postgres says that the database is a PostgreSQL server, not a file.
func (d *DB) Postgres() bool { return d.postgres }

// generation is how many versions of a schema older programs can go on with. A
// migration only adds: tables, and columns whose default is what a row of an older
// program means, so that programs of before and after it work side by side. One
// that takes something away or gives it another meaning has the next number that
// divides by this.
const generation = 1000

// ErrNewer: the schema has changed since this program so that it cannot use it.
var ErrNewer = errors.New("a newer program changed these tables so that this one cannot use them; run that one, or restore a backup of before")

// Schema is the tables of one part of a database.
type Schema struct {
	Files    fs.FS  // migrations/NUMBER_NAME.sql
	Versions string // the table of which of them were run
}

// Migrate brings a schema up to date. Of several processes that do
// it at once one does it, and the others find it done. A program that is older
// than the schema changes nothing; where it is too old for it, that is ErrNewer.
func (d *DB) Migrate(ctx context.Context, s Schema) error {
	p, err := d.provider(s)
	if err != nil {
		return err
	}
	if err := d.Write.PingContext(ctx); err != nil {
		return fmt.Errorf("connect to database: %w", err)
	}
	has, _, err := d.version(ctx, p, s)
	if err == nil && has == 0 && d.postgres {
		err = d.mayMake(ctx, s)
	}
	for try := 1; err == nil; try++ {
		// It fails where another process made the same tables meanwhile.
		if _, err = p.Up(ctx); err == nil {
			return nil
		}
		if try < migrateMax && sleep(ctx, migrateWait) == nil {
			p, err = d.provider(s) // one that failed to make its table takes it for made
		}
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42501" { // insufficient privilege
		err = fmt.Errorf("%w; 'acqswitch ledger migrate' brings the tables up to date as a role that may", pg)
	}
	return fmt.Errorf("migrate database: %w", err)
}

// mayMake says what keeps us from making tables: a right, a schema, a server that is
// read-only. goose tries for some seconds, and then names its own patience.
func (d *DB) mayMake(ctx context.Context, s Schema) error {
	tx, err := d.Write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "CREATE TABLE "+s.Versions+"_may (n BIGINT)")
	return err
}

// Version is that of a schema in the database, 0 before its first migration, and
// that which this program's Migrate would bring it to; where it would fail with
// ErrNewer, that.
func (d *DB) Version(ctx context.Context, s Schema) (has, ours int64, err error) {
	p, err := d.provider(s)
	if err != nil {
		return 0, 0, err
	}
	return d.version(ctx, p, s)
}

func (d *DB) version(ctx context.Context, p *goose.Provider, s Schema) (has, ours int64, err error) {
	var n sql.NullInt64
	if err := d.Read.QueryRowContext(ctx, "SELECT MAX(version_id) FROM "+s.Versions).Scan(&n); err != nil && !NoTable(err) {
		return 0, 0, fmt.Errorf("read version of database: %w", err)
	}
	sources := p.ListSources()
	has, ours = n.Int64, sources[len(sources)-1].Version
	if has/generation > ours/generation {
		err = fmt.Errorf("%s has version %d, this program %d: %w", s.Versions, has, ours, ErrNewer)
	}
	return has, ours, err
}

func (d *DB) provider(s Schema) (*goose.Provider, error) {
	dialect := goose.DialectSQLite3
	if d.postgres {
		dialect = goose.DialectPostgres
	}
	files, err := fs.Sub(s.Files, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	p, err := goose.NewProvider(dialect, d.Write, files, goose.WithDisableGlobalRegistry(true), goose.WithTableName(s.Versions))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

// Copy writes one state of a SQLite database into a file that does not exist yet,
// on stable storage when it returns nil; others go on writing meanwhile. A server's
// database is copied with the server's tools: ErrServer.
func (d *DB) Copy(ctx context.Context, path string) error {
	if d.postgres {
		return ErrServer
	}
	if _, err := d.Write.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	return nil
}

// ErrServer: the database is a server's.
var ErrServer = errors.New("the database is a server's")

// View calls fn with a transaction that reads one state of the database.
func (d *DB) View(ctx context.Context, fn func(*sql.Tx) error) error {
	isolation := sql.LevelDefault // SQLite: the log up to where the first read found its end
	if d.postgres {
		isolation = sql.LevelRepeatableRead
	}
	tx, err := d.Read.BeginTx(ctx, &sql.TxOptions{Isolation: isolation, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin database snapshot: %w", err)
	}
	defer tx.Rollback()
	return fn(tx)
}

// Update calls fn with a transaction that behaves as if no other ran beside it,
// and commits it, durable when Update returns nil. fn is called again, with a new
// transaction, where another one was in its way: it must have no effect but on
// tx. After an error of the commit nobody knows whether it was done.
func (d *DB) Update(ctx context.Context, fn func(*sql.Tx) error) error {
	for try := 1; ; try++ {
		err := d.update(ctx, fn)
		if err == nil || try == triesMax || !inTheWay(err) {
			return err
		}
		if err := sleep(ctx, retryPause+rand.N(retryPause*time.Duration(try))); err != nil {
			return err
		}
	}
}

func (d *DB) update(ctx context.Context, fn func(*sql.Tx) error) error {
	isolation := sql.LevelDefault // SQLite: one writer at a time (_txlock=immediate)
	if d.postgres {
		isolation = sql.LevelSerializable
	}
	tx, err := d.Write.BeginTx(ctx, &sql.TxOptions{Isolation: isolation})
	if err != nil {
		return fmt.Errorf("begin database transaction: %w", err)
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit database transaction: %w", err)
	}
	return nil
}

// Each calls fn with each row of a query on a database or one of its transactions, and
// returns the first error as it is.
func Each(ctx context.Context, on interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, fn func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// insertMax is how many rows go into one statement.
const insertMax = 200

// Insert sends rows, whose values stand one after the other, with INSERTs of many
// rows: into is a table with its columns in brackets, tail what follows the values.
func (d *DB) Insert(ctx context.Context, tx *sql.Tx, into string, columns int, values []any, tail string) error {
	for rows := range slices.Chunk(values, insertMax*columns) {
		var b strings.Builder
		fmt.Fprintf(&b, "INSERT INTO %s VALUES ", into)
		for i := range rows {
			switch {
			case i == 0:
				b.WriteByte('(')
			case i%columns == 0:
				b.WriteString("), (")
			default:
				b.WriteString(", ")
			}
			if d.postgres {
				fmt.Fprintf(&b, "$%d", i+1)
			} else {
				b.WriteByte('?') // SQLite looks the name of each numbered parameter up
			}
		}
		b.WriteString(") ")
		b.WriteString(tail)
		if _, err := tx.ExecContext(ctx, b.String(), rows...); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// inTheWay says that a transaction failed because of another one and may be
// tried again: 40001 serialization failure, 40P01 deadlock, SQLITE_BUSY.
func inTheWay(err error) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01"
	}
	lite := (*sqlite.Error)(nil)
	return errors.As(err, &lite) && lite.Code()&0xff == sqlitelib.SQLITE_BUSY
}

// IsDuplicate says that err is a broken primary or unique key.
func IsDuplicate(err error) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code == "23505"
	}
	lite := (*sqlite.Error)(nil)
	return errors.As(err, &lite) &&
		(lite.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY || lite.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE)
}

// NoTable says that a statement failed for want of a table: 42P01, or SQLite's
// generic error 1 with this text.
func NoTable(err error) bool { return lacks(err, "42P01", "no such table") }

// Unmigrated says that a statement failed for want of a table or a column.
func Unmigrated(err error) bool {
	return NoTable(err) || lacks(err, "42703", "no such column")
}

func lacks(err error, code, text string) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code == code
	}
	lite := (*sqlite.Error)(nil)
	return errors.As(err, &lite) && strings.Contains(lite.Error(), text)
}
