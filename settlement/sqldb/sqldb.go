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
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
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

	// Where a DSN says nothing else: how long one server may take to let us in. It is less
	// where there are others, for whoever asks may have no more than some seconds.
	connectMax = 5 * time.Second
	connectOne = 2 * time.Second

	pingAfter = time.Second // that a connection rested, it is asked whether its server is there
	pingMax   = 2 * time.Second
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

// openSQLite opens the file of a DSN sqlite:PATH. The journal could feed the
// ledger again after a power cut, so commits need no fsync for that; they get
// one (synchronous=FULL, 4 to 10 % of a batch's time) so that the position, once
// read, is never taken back and the journal may be truncated below it. A
// checkpoint waits for 32 MB of log: pages that many batches touch are copied
// into the file once (a quarter to a third of a batch's time).
func (d *DB) openSQLite() (err error) {
	path := strings.TrimPrefix(d.dsn, "sqlite:")
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return errors.New("a sqlite DSN must name a file, such as sqlite:data/ledger.db")
	}
	file := "file:" + (&url.URL{Path: path}).EscapedPath()
	common := "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"
	if d.Write, err = sql.Open("sqlite", file+common+"&_txlock=immediate&_pragma=synchronous(FULL)&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(8000)"); err != nil {
		return err
	}
	d.Write.SetMaxOpenConns(1)
	if d.Read, err = sql.Open("sqlite", file+common+"&_pragma=query_only(1)"); err != nil {
		return err
	}
	d.Read.SetMaxOpenConns(readersMax)
	return nil
}

func (d *DB) openPostgres() error {
	cfg, err := d.server()
	if err != nil {
		return err
	}
	cfg.RuntimeParams["jit"] = "off" // to compile a run's query takes seconds, it saves less
	d.Write = sql.OpenDB(connector{stdlib.GetConnector(*cfg, stdlib.OptionShouldPing(silent))})
	d.Write.SetMaxOpenConns(1)
	d.Read = sql.OpenDB(connector{stdlib.GetConnector(*cfg, stdlib.OptionShouldPing(silent), stdlib.OptionAfterConnect(readOnly))})
	d.Read.SetMaxOpenConns(readersMax)
	return nil
}

// readOnly keeps a connection from writing. It is not a setting that the connection
// begins with: one to a DSN of several servers with target_session_attrs=read-write
// would then be taken for one to a standby.
func readOnly(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SET default_transaction_read_only = on")
	return err
}

// silent says that a connection which rested is to be given up: its server does not
// answer. Without a bound of its own a server that is gone without a word would take
// all the time of whoever asks, once for each connection that is left of it.
func silent(ctx context.Context, p stdlib.ShouldPingParams) bool {
	if p.IdleDuration < pingAfter {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, pingMax)
	defer cancel()
	return p.Conn.Ping(ctx) != nil // it is closed then, so that the ping which follows fails at once
}

// server is how PostgreSQL is reached.
func (d *DB) server() (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(d.dsn)
	if err != nil {
		return nil, err // pgx hides the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectMax
		for _, f := range cfg.Fallbacks { // one may be the same server without TLS
			if f.Host != cfg.Host || f.Port != cfg.Port {
				cfg.ConnectTimeout = connectOne
			}
		}
	}
	cfg.RuntimeParams["application_name"] = "acqswitch"
	return cfg, nil
}

// connector connects to PostgreSQL, and says in one line why it cannot: pgx has a
// line for each address, and for each way to try it.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, &connectError{err}
	}
	return conn, nil
}

type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// Unreachable says that no connection to the database server could be made.
func Unreachable(err error) bool {
	var e *connectError
	return errors.As(err, &e)
}

// Error tells what is said of several tries once.
func (e *connectError) Error() string {
	head, rest, _ := strings.Cut(e.error.Error(), "\n")
	var tries []string
	for line := range strings.Lines(rest) {
		if line = strings.TrimSpace(line); !slices.Contains(tries, line) {
			tries = append(tries, line)
		}
	}
	if len(tries) == 0 {
		return head
	}
	return head + " " + strings.Join(tries, "; ")
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
	if _, _, err := d.version(ctx, p, s); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	for try := 1; ; try++ {
		// It fails where another process made the same tables meanwhile.
		if _, err = p.Up(ctx); err == nil || try == migrateMax {
			break
		}
		if sleep(ctx, migrateWait) != nil {
			break
		}
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42501" { // insufficient privilege
		err = fmt.Errorf("%w; 'acqswitch ledger migrate' brings the tables up to date as a role that may", pg)
	}
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
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

// Listen calls notify when it hears of a notice on a channel, in this process or
// another, and whenever it begins to listen: what came before was perhaps missed.
// It returns when ctx ends or the connection does. SQLite gives no notices.
func (d *DB) Listen(ctx context.Context, channel string, notify func()) error {
	if !d.postgres {
		return errors.New("SQLite gives no notices")
	}
	cfg, err := d.server()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to database: %w", &connectError{err})
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(late)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("listen to database: %w", err)
	}
	for {
		notify()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("wait for a notice of the database: %w", err)
		}
	}
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
