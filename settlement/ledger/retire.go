package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// DayTables are the tables whose rows belong to a business day and nothing changes.
// What runs made of them (run, posting, payout) is of the day too, and stays: what
// is owed is a sum over all of it.
var DayTables = []string{"txn", "event", "batch", "batch_item", "finding"}

var dayOrder = map[string]string{"batch_item": ", item", "finding": ", item"}

// removeStep is how many journal positions are removed in one transaction: the drain
// waits for no more than that.
const removeStep = 50_000

// ArchiveState is where the rows of a business day are.
type ArchiveState string

// The states. A day that was never archived, or was brought back, has none.
const (
	Removing ArchiveState = "removing" // its files are whole, its rows may be here in part
	Removed  ArchiveState = "removed"
	Purged   ArchiveState = "purged" // its files were removed when their time was over
)

// ArchivedDay is a business day whose rows are in files.
type ArchivedDay struct {
	Day         txn.Date
	At          time.Time
	First, Last uint64 // journal positions of its rows
	Txns        int64
	Manifest    string // hash of the manifest of its files
	State       ArchiveState
}

// ErrDayIsHere: the day has rows in this ledger already.
var ErrDayIsHere = errors.New("the ledger has transactions of this day")

// Archived are the days in a range whose rows are in files, in order.
func (q queries) Archived(ctx context.Context, from, to txn.Date) ([]ArchivedDay, error) {
	var days []ArchivedDay
	err := q.rows(ctx, "read which days are archived", func(scan func(...any) error) error {
		var d ArchivedDay
		var day, state string
		var at int64
		err := scan(&day, &at, &d.First, &d.Last, &d.Txns, &d.Manifest, &state)
		if err == nil {
			d.At, d.State = time.UnixMicro(at).UTC(), ArchiveState(state)
			err = scanDay(&d.Day, day)
		}
		days = append(days, d)
		return err
	}, `SELECT business_date, at, first, last, txns, manifest, state FROM archived WHERE business_date >= $1 AND business_date <= $2 ORDER BY business_date`,
		from.String(), to.String())
	return days, err
}

// DayBounds are the journal positions of the first and the last row of a day; 0 and
// 0 without one. The rows of the other tables are of the same positions as those of
// txn.
func (q queries) DayBounds(ctx context.Context, day txn.Date) (first, last uint64, err error) {
	for _, table := range [...]string{"txn", "event"} {
		err := q.rows(ctx, "look for the rows of "+day.String(), func(scan func(...any) error) error {
			var a, b uint64
			err := scan(&a, &b)
			if b != 0 && (first == 0 || a < first) {
				first = a
			}
			last = max(last, b)
			return err
		}, `SELECT COALESCE(MIN(position), 0), COALESCE(MAX(position), 0) FROM `+table+` WHERE business_date = $1`, day.String())
		if err != nil {
			return 0, 0, err
		}
	}
	return first, last, nil
}

// DayRows calls fn with the rows of a table and day between two journal positions,
// both included, in order: head has the columns
// with their types, as "id:bigint", row their values, which last until fn returns.
func (q queries) DayRows(ctx context.Context, table string, day txn.Date, first, last uint64, fn func(head []string, row []sql.RawBytes) error) error {
	fail := func(err error) error { return fmt.Errorf("read the %s of %s: %w", table, day, err) }
	rows, err := q.on.QueryContext(ctx, `SELECT * FROM `+table+` WHERE business_date = $1 AND position >= $2 AND position <= $3 ORDER BY position`+dayOrder[table],
		day.String(), int64(first), int64(last))
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return fail(err)
	}
	head, row, dest := make([]string, len(types)), make([]sql.RawBytes, len(types)), make([]any, len(types))
	for i, t := range types {
		dest[i] = &row[i]
		switch t.DatabaseTypeName() {
		case "TEXT":
			head[i] = t.Name() + textColumn
		case "BIGINT", "INT8":
			head[i] = t.Name() + numberColumn
		default:
			return fail(fmt.Errorf("column %s is of type %s", t.Name(), t.DatabaseTypeName()))
		}
	}
	if err := fn(head, nil); err != nil {
		return err
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return fail(err)
		}
		if err := fn(head, row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return nil
}

// The types of columns, behind their names.
const (
	textColumn   = ":text"
	numberColumn = ":bigint"
)

// MayRemove says what keeps Remove from removing rows: a right, a server that is read-only.
func (l *Ledger) MayRemove(ctx context.Context) error {
	return l.change(ctx, func(tx *sql.Tx, _ *sql.Conn) error {
		for _, table := range append([]string{"archived"}, DayTables...) {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE 1 = 0`); err != nil {
				return fmt.Errorf("remove rows of %s: %w", table, err)
			}
		}
		return nil
	})
}

// Remove notes that the rows of a day are in files, durably, and then removes them,
// some at a time. What it began another call finishes.
func (l *Ledger) Remove(ctx context.Context, d *ArchivedDay) error {
	err := l.change(ctx, func(tx *sql.Tx, _ *sql.Conn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO archived (business_date, at, first, last, txns, manifest, state) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (business_date) DO NOTHING`, d.Day.String(), d.At.UnixMicro(), int64(d.First), int64(d.Last), d.Txns, d.Manifest, string(Removing))
		return err
	})
	if err != nil {
		return fmt.Errorf("note that %s is archived: %w", d.Day, err)
	}
	for _, table := range DayTables {
		for from := d.First; from <= d.Last; from += removeStep {
			_, err := l.db.Write.ExecContext(ctx, `DELETE FROM `+table+` WHERE business_date = $1 AND position >= $2 AND position <= $3`,
				d.Day.String(), int64(from), int64(min(from+removeStep-1, d.Last)))
			if err != nil {
				return fmt.Errorf("remove the %s of %s: %w", table, d.Day, err)
			}
		}
	}
	d.State = Removed
	return l.setArchived(ctx, d.Day, Removing, Removed)
}

// Purged notes that the files of a day are removed.
func (l *Ledger) Purged(ctx context.Context, day txn.Date) error {
	return l.setArchived(ctx, day, Removed, Purged)
}

func (l *Ledger) setArchived(ctx context.Context, day txn.Date, from, to ArchiveState) error {
	if _, err := l.db.Write.ExecContext(ctx, `UPDATE archived SET state = $3 WHERE business_date = $1 AND state = $2`, day.String(), string(from), string(to)); err != nil {
		return fmt.Errorf("note that %s is %s: %w", day, to, err)
	}
	return nil
}

// restoreRows is how many rows are sent at once.
const restoreRows = 2048

// Restore puts the rows of a day back, all or none, and forgets that it is archived.
// read calls put with every row, whose head is as DayRows gives it; columns that a
// later version added get their defaults. It fails with ErrDayIsHere, or where the
// day's rows are still being removed.
func (l *Ledger) Restore(ctx context.Context, day txn.Date, read func(put func(table string, head, row []string) error) error) error {
	err := l.change(ctx, func(tx *sql.Tx, conn *sql.Conn) error {
		var here int
		err := tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM txn WHERE business_date = $1 LIMIT 1) AS rows_here)
			+ (SELECT COUNT(*) FROM archived WHERE business_date = $1 AND state = 'removing')`, day.String()).Scan(&here)
		if err != nil {
			return err
		}
		if here > 0 {
			return ErrDayIsHere
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM archived WHERE business_date = $1`, day.String()); err != nil {
			return err
		}
		if err := l.unaltered(ctx, tx); err != nil {
			return err
		}
		r := restoring{ctx: ctx, ledger: l, conn: conn}
		if err := read(r.put); err != nil {
			return err
		}
		return r.flush()
	})
	if err != nil {
		return fmt.Errorf("restore %s: %w", day, err)
	}
	return nil
}

// restoring sends the rows of one table after the other.
type restoring struct {
	ctx    context.Context
	ledger *Ledger
	conn   *sql.Conn
	of     string
	into   *table
	text   []bool
	rows   rows
	n      int // of them
	buf    []byte
}

func (r *restoring) put(name string, head, row []string) error {
	if r.of != name {
		if err := r.flush(); err != nil {
			return err
		}
		names := make([]string, len(head))
		r.of, r.text = name, make([]bool, len(head))
		for i, h := range head {
			if names[i], r.text[i] = strings.CutSuffix(h, textColumn); !r.text[i] {
				var number bool
				if names[i], number = strings.CutSuffix(h, numberColumn); !number {
					return fmt.Errorf("column %q of %s has no type", h, name)
				}
			}
			if !isName(names[i]) {
				return fmt.Errorf("%q is no column of %s", names[i], name)
			}
		}
		r.into = newTable(name, names...)
	}
	if len(row) != len(r.text) {
		return fmt.Errorf("a row of %s has %d values, it has %d columns", name, len(row), len(r.text))
	}
	for i, v := range row {
		if r.text[i] {
			r.rows = r.rows.texts(v)
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", head[i], err)
		}
		r.rows = r.rows.number(n)
	}
	if r.n++; r.n == restoreRows {
		return r.flush()
	}
	return nil
}

func (r *restoring) flush() error {
	if len(r.rows) == 0 {
		return nil
	}
	err := r.conn.Raw(func(driverConn any) error {
		if err := r.ctx.Err(); err != nil { // see Store
			return err
		}
		return r.ledger.insert(r.ctx, driverConn, r.into, r.rows, &r.buf)
	})
	r.rows, r.n = r.rows[:0], 0
	if sqldb.IsDuplicate(err) {
		return fmt.Errorf("%w: %w", ErrDayIsHere, err)
	}
	return err
}

// isName keeps what a file calls a column from being anything else in a statement.
func isName(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}
