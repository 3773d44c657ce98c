// Package ledger keeps decided transactions in SQL: SQLite in a file, or
// PostgreSQL, behind one schema and the same queries.
//
// It is loaded from the journal, behind the sales. Store puts a run of journal
// records and their position into one SQL transaction, so each record arrives
// exactly once, however often the run is offered and whatever broke between. A
// row, once there, is never changed.
//
// A ledger that cannot be reached delays settlement, not sales: Open does not
// connect, and every method fails alone. Rows hold card numbers sealed, hashed
// under a key, and masked; never in clear.
//
// Not here: reading the journal and retrying (package settlement), balances
// and postings.
package ledger

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"sync"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Entry is a journal record and where in the journal it stands.
type Entry struct {
	Pos uint64
	Rec *txn.Record
}

// Errors of Store that no retry can cure.
var (
	// ErrGap: the entries do not follow the stored position. The journal was
	// truncated too early, or is not the one this ledger was loaded from.
	ErrGap = errors.New("journal records are missing before these")
	// ErrRepeated: a record breaks the rule of one transaction per terminal,
	// batch, STAN, class and business day, or stands in the ledger already.
	ErrRepeated = errors.New("a transaction is already in the ledger")
	// ErrUnknownKind: a record is of a kind this version has no table for.
	ErrUnknownKind = errors.New("record is of an unknown kind")
	// ErrMoved: another process stores into this ledger, records of its own journal
	// or of this one. Which of ours it kept out is what verify finds.
	ErrMoved = errors.New("another process stores into this ledger: give each switch a ledger of its own")
)

// ErrNoSchema: nobody has called Migrate on this ledger yet, or not since this
// version.
var ErrNoSchema = errors.New("the ledger has no tables yet, or an older version's; a switch makes them when it starts, or 'acqswitch ledger migrate' does")

// errRaced: the position moved after it was read. That may have been a commit of ours
// that was not acknowledged and that the server was slow to do; the next Store finds out.
var errRaced = errors.New("the ledger's position moved meanwhile")

// errWentBack: it lacks what was stored, as a standby does that took over without the
// last commits. From where it is now on it can be fed again.
var errWentBack = errors.New("the ledger has lost records that it had")

// Ledger is safe for concurrent use. Close it.
type Ledger struct {
	queries // on the read pool
	db      *sqldb.DB
	insert  insertion
	claim   string // claimPosition, or claimUnaltered

	mu      sync.Mutex // one Store at a time; guards what follows
	reached uint64     // the last position that a commit of ours may have left; 0 before one
	rows    map[*table]rows
	fact    txn.BatchFact
	buf     []byte
}

// Open takes a DSN, sqlite:PATH or postgres://..., and does not connect: a
// ledger that is away at start must not keep the switch from selling.
func Open(dsn string) (*Ledger, error) {
	db, err := sqldb.Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{queries: queries{db.Read}, db: db, insert: insertSQLite, claim: claimPosition, rows: map[*table]rows{}}
	if db.Postgres() {
		l.insert, l.claim = insertPostgres, claimUnaltered
	}
	return l, nil
}

// Close closes the connections.
func (l *Ledger) Close() error { return l.db.Close() }

// Copy is sqldb.DB.Copy. It says false of a server's ledger.
func (l *Ledger) Copy(ctx context.Context, path string) (bool, error) {
	err := l.db.Copy(ctx, path)
	if errors.Is(err, sqldb.ErrServer) {
		return false, nil
	}
	return err == nil, err
}

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is what Migrate brings up to date.
var Schema = sqldb.Schema{Files: migrations, Versions: "goose_db_version"}

// Migrate brings the schema up to date. It is a step of its own: one process
// runs it, before the ones that use the ledger.
func (l *Ledger) Migrate(ctx context.Context) error {
	return l.db.Migrate(ctx, Schema)
}

const claimPosition = `UPDATE drain SET position = $1 WHERE name = 'journal' AND position = $2`

// Store adds entries, which must be in journal order without gaps and begin no
// later than one past the stored position; those at or below it are skipped.
// All arrive or none, durable when Store returns nil: the journal below Position
// is no longer needed here. Intents leave no row; the position passes them.
//
// After an error nothing is known of the commit: ask Position and offer again
// from there. ErrGap, ErrRepeated, ErrUnknownKind, ErrMoved and txn.ErrBatchFact
// will not go away.
func (l *Ledger) Store(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	conn, err := l.db.Write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to ledger: %w", err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin ledger transaction: %w", err)
	}
	defer tx.Rollback()
	stored, err := queries{tx}.Position(ctx)
	if err != nil {
		return err
	}
	if l.reached > 0 && stored > l.reached {
		return fmt.Errorf("store journal records from %d on: the ledger is at %d: %w", entries[0].Pos, stored, ErrMoved)
	}
	for len(entries) > 0 && entries[0].Pos <= stored {
		entries = entries[1:]
	}
	if len(entries) == 0 {
		return nil
	}
	if next := entries[0].Pos; stored+1 < next && next <= l.reached+1 {
		return fmt.Errorf("store journal records from %d on: the ledger is at %d: %w", next, stored, errWentBack)
	}
	if err := l.encode(stored, entries); err != nil {
		return err
	}
	last := entries[len(entries)-1].Pos
	// First the position: a second writer waits here and then finds it moved.
	res, err := tx.ExecContext(ctx, l.claim, int64(last), int64(stored))
	if err != nil {
		return fmt.Errorf("move ledger position to %d: %w", last, err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		if err := l.unaltered(ctx, tx); err != nil {
			return fmt.Errorf("store journal records %d to %d: %w", stored+1, last, err)
		}
		return errors.Join(errRaced, err)
	}
	err = conn.Raw(func(driverConn any) error {
		// When ctx ends, database/sql rolls back from a goroutine of its own as
		// soon as it gets the connection, and what ran on it after that would
		// commit row by row, without the position. We hold the connection now: if
		// ctx has not ended yet, the transaction lives until we let go.
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, t := range []*table{txnTable, eventTable, batchTable, batchItemTable, findingTable} {
			if len(l.rows[t]) == 0 {
				continue
			}
			if err := l.insert(ctx, driverConn, t, l.rows[t], &l.buf); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil:
	case sqldb.IsDuplicate(err):
		return fmt.Errorf("store journal records %d to %d: %w: %w", stored+1, last, ErrRepeated, err)
	default:
		return fmt.Errorf("store journal records %d to %d: %w", stored+1, last, err)
	}
	failpoint.Hit(failpoint.Committing)
	l.reached = max(l.reached, last)
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit journal records %d to %d: %w", stored+1, last, err)
	}
	failpoint.Hit(failpoint.Committed)
	return nil
}

// encode fills l.rows.
func (l *Ledger) encode(stored uint64, entries []Entry) error {
	for t, rows := range l.rows {
		l.rows[t] = rows[:0]
	}
	for i := range entries {
		e := &entries[i]
		if want := stored + 1 + uint64(i); e.Pos != want {
			return fmt.Errorf("store journal record %d: the ledger needs %d next: %w", e.Pos, want, ErrGap)
		}
		switch e.Rec.Kind {
		case txn.RecordIntent:
		case txn.RecordOutcome:
			l.rows[txnTable] = putRow(l.rows[txnTable], e)
			if err := l.putBatch(e); err != nil {
				return err
			}
			l.putFindings(e)
		case txn.RecordReversalDue, txn.RecordReversalDone, txn.RecordLate, txn.RecordAdviceDone, txn.RecordParked, txn.RecordReleased:
			l.rows[eventTable] = putRow(l.rows[eventTable], e)
		default:
			return fmt.Errorf("store journal record %d: kind %d: %w", e.Pos, e.Rec.Kind, ErrUnknownKind)
		}
	}
	return nil
}
