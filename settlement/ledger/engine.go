package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// engine is everything in which SQLite and PostgreSQL differ.
type engine struct {
	dialect goose.Dialect
	// open makes the two pools: one connection to write, several to read.
	open func(dsn string) (write, read *sql.DB, err error)
	// snapshot is the isolation that gives a transaction one state to read.
	snapshot sql.IsolationLevel
	// insert sends rows, whose values stand one after the other, in the
	// transaction that is open on the connection.
	insert func(ctx context.Context, driverConn any, into *table, rows []value, buf *[]byte) error
	// isDuplicate says that err is a broken primary key.
	isDuplicate func(err error) bool
}

// table is one of the tables that are filled, with a statement to fill it for each engine.
type table struct {
	columns int
	insert  string // SQLite
	copy    string // PostgreSQL
}

func newTable(name string, names ...string) *table {
	into := fmt.Sprintf("%s (%s)", name, strings.Join(names, ", "))
	return &table{
		columns: len(names),
		// ? and not $N: SQLite looks up the name of each numbered parameter.
		insert: fmt.Sprintf("INSERT INTO %s VALUES (?%s)", into, strings.Repeat(", ?", len(names)-1)),
		copy:   fmt.Sprintf("COPY %s FROM STDIN (FORMAT binary)", into),
	}
}

var (
	txnTable   = newTable("txn", append([]string{"repeat_id"}, columnNames...)...)
	eventTable = newTable("event", append([]string{"kind"}, columnNames...)...)
)

// readersMax bounds the connections that queries use.
const readersMax = 4

var sqliteEngine = engine{
	dialect:  goose.DialectSQLite3,
	open:     openSQLite,
	snapshot: sql.LevelDefault, // the log up to where the first read found its end
	insert:   insertSQLite,
	isDuplicate: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) &&
			(e.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY || e.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE)
	},
}

// openSQLite opens the file of a DSN sqlite:PATH. The journal could feed the
// ledger again after a power cut, so commits need no fsync for that; they get
// one (synchronous=FULL, 4 to 10 % of a batch's time) so that the position, once
// read, is never taken back and the journal may be truncated below it. A
// checkpoint waits for 32 MB of log: pages that many batches touch are copied
// into the file once (a quarter to a third of a batch's time).
func openSQLite(dsn string) (write, read *sql.DB, err error) {
	path := strings.TrimPrefix(dsn, "sqlite:")
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return nil, nil, errors.New("open ledger: a sqlite DSN must name a file, such as sqlite:data/ledger.db")
	}
	file := "file:" + (&url.URL{Path: path}).EscapedPath()
	common := "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"
	if write, err = sql.Open("sqlite", file+common+"&_txlock=immediate&_pragma=synchronous(FULL)&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(8000)"); err != nil {
		return nil, nil, fmt.Errorf("open ledger: %w", err)
	}
	write.SetMaxOpenConns(1)
	if read, err = sql.Open("sqlite", file+common+"&_pragma=query_only(1)"); err != nil {
		return nil, nil, fmt.Errorf("open ledger: %w", err)
	}
	read.SetMaxOpenConns(readersMax)
	return write, read, nil
}

// insertSQLite runs one prepared single-row statement in a loop: three times
// as fast as rows in one statement. It talks to the driver, since database/sql
// would copy every row's arguments twice.
func insertSQLite(ctx context.Context, driverConn any, into *table, rows []value, _ *[]byte) error {
	stmt, err := driverConn.(driver.ConnPrepareContext).PrepareContext(ctx, into.insert)
	if err != nil {
		return err
	}
	defer stmt.Close()
	args := make([]driver.NamedValue, into.columns)
	for len(rows) > 0 {
		for i := range args {
			args[i].Ordinal = i + 1
			if v := &rows[i]; v.isText {
				args[i].Value = string(v.s)
			} else {
				args[i].Value = v.n
			}
		}
		rows = rows[into.columns:]
		// A context that can end would cost a goroutine per row; the caller
		// checks it once per batch.
		if _, err := stmt.(driver.StmtExecContext).ExecContext(context.Background(), args); err != nil {
			return err
		}
	}
	return nil
}

var postgresEngine = engine{
	dialect:  goose.DialectPostgres,
	open:     openPostgres,
	snapshot: sql.LevelRepeatableRead,
	insert:   insertPostgres,
	isDuplicate: func(err error) bool {
		var e *pgconn.PgError
		return errors.As(err, &e) && e.Code == "23505"
	},
}

func openPostgres(dsn string) (write, read *sql.DB, err error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("open ledger: %w", err) // pgx hides the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	cfg.RuntimeParams["application_name"] = "acqswitch"
	write = stdlib.OpenDB(*cfg)
	write.SetMaxOpenConns(1)
	readOnly := cfg.Copy()
	readOnly.RuntimeParams["default_transaction_read_only"] = "on"
	read = stdlib.OpenDB(*readOnly)
	read.SetMaxOpenConns(readersMax)
	return write, read, nil
}

// insertPostgres sends rows by binary COPY, encoded by hand: a quarter of the
// client's cost of pgx.CopyFrom, a tenth of the server's cost of INSERTs.
func insertPostgres(ctx context.Context, driverConn any, into *table, rows []value, buf *[]byte) error {
	be := binary.BigEndian
	b := append((*buf)[:0], "PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000"...)
	for i := range rows {
		if i%into.columns == 0 {
			b = be.AppendUint16(b, uint16(into.columns))
		}
		if v := &rows[i]; v.isText {
			b = be.AppendUint32(b, uint32(len(v.s)))
			b = append(b, v.s...)
		} else {
			b = be.AppendUint32(b, 8)
			b = be.AppendUint64(b, uint64(v.n))
		}
	}
	b = append(b, 0xff, 0xff)
	*buf = b
	_, err := driverConn.(*stdlib.Conn).Conn().PgConn().CopyFrom(ctx, bytes.NewReader(b), into.copy)
	if err != nil {
		// CopyFrom may return while its sender still reads: never write there again.
		*buf = nil
	}
	return err
}

// noTable says that a statement failed for want of a table: 42P01, or SQLite's
// generic error 1 with this text.
func noTable(err error) bool { return lacks(err, "42P01", "no such table") }

// unmigrated says that a statement failed for want of a table or a column.
func unmigrated(err error) bool {
	return noTable(err) || lacks(err, "42703", "no such column")
}

func lacks(err error, code, text string) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == code
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && strings.Contains(lite.Error(), text)
}
