package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// Where a DSN says nothing else: how long one server may take to let us in. It is less
	// where there are others, for whoever asks may have no more than some seconds.
	connectMax = 5 * time.Second
	connectOne = 2 * time.Second

	pingAfter = time.Second // that a connection rested, it is asked whether its server is there
	pingMax   = 2 * time.Second
)

func (d *DB) openPostgres() error {
	if _, err := d.server(); err != nil {
		return err
	}
	d.Write = sql.OpenDB(connector{d, []stdlib.OptionOpenDB{stdlib.OptionShouldPing(unfit)}})
	d.Write.SetMaxOpenConns(1)
	d.Read = sql.OpenDB(connector{d, []stdlib.OptionOpenDB{stdlib.OptionShouldPing(silent), stdlib.OptionAfterConnect(readOnly)}})
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

// unfit says likewise of one that writes, and where the DSN says what server it is to be
// (target_session_attrs), that it is none any more: it takes no writes, and another does.
func unfit(ctx context.Context, p stdlib.ShouldPingParams) bool {
	ask := p.Conn.Config().ValidateConnect
	if ask == nil || p.IdleDuration < pingAfter {
		return silent(ctx, p)
	}
	ctx, cancel := context.WithTimeout(ctx, pingMax)
	defer cancel()
	if ask(ctx, p.Conn.PgConn()) == nil {
		return false
	}
	p.Conn.Close(ctx)
	return true
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
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return stream{c}, nil
	}
	cfg.RuntimeParams["application_name"] = "acqswitch"
	cfg.RuntimeParams["jit"] = "off" // to compile a run's query takes seconds, it saves less
	return cfg, nil
}

// stream says what its end is: pgx calls it an unexpected EOF, which is taken for a file's.
type stream struct{ net.Conn }

var errEnded = errors.New("the database server ended the connection")

func (s stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err == io.EOF {
		err = errEnded
	}
	return n, err
}

// connector connects to PostgreSQL. What the DSN names is read anew each time: a password
// file, certificates, a service file may have been replaced. It says in one line why it
// cannot: pgx has a line for each address, and for each way to try it.
type connector struct {
	db      *DB
	options []stdlib.OptionOpenDB
}

func (c connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	cfg, err := c.db.server()
	if err != nil {
		return nil, err
	}
	conn, err := stdlib.GetConnector(*cfg, c.options...).Connect(ctx)
	if err != nil {
		return nil, &connectError{err}
	}
	return told{conn.(*stdlib.Conn)}, nil
}

// told is a connection whose errors say what may be the reason, where PostgreSQL only says
// that it takes no writes.
type told struct{ *driverConn }

type driverConn = stdlib.Conn // embedded under its own name it would hide its method Conn

func (c told) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.driverConn.ExecContext(ctx, query, args)
	return result, explained(err)
}

func (c told) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.driverConn.QueryContext(ctx, query, args)
	return rows, explained(err)
}

func (c told) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.driverConn.BeginTx(ctx, opts)
	return tx, explained(err)
}

// explained adds the reason. A standby refuses the isolation of Update before any write.
func explained(err error) error {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && (pg.Code == "25006" || pg.Code == "0A000" && strings.Contains(pg.Message, "hot standby")) {
		return fmt.Errorf("%w: the server is a standby or was made read-only, or a pooler between us gives connections away", err)
	}
	return err
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
