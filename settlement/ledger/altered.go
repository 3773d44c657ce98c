package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// selectAltered finds a column that is filled by COPY and is neither BIGINT (20) nor TEXT
// (25, or 1043 with a length) any more. It names the tables, of which it reads nothing, so
// that an ALTER TABLE is waited for, and the next one waits until the transaction ends.
var selectAltered = func() string {
	var tables, classes, names []string
	for _, t := range [...]*table{txnTable, eventTable, batchTable, batchItemTable, findingTable, postingTable, payoutTable} {
		tables = append(tables, t.name)
		classes = append(classes, "'"+t.name+"'::regclass")
		names = append(names, t.columns...)
	}
	return `SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid IN (` + strings.Join(classes, ", ") + `) AND attnum > 0 AND atttypid NOT IN (20, 25, 1043)
		AND attname = ANY ('{` + strings.Join(names, ",") + `}') AND NOT EXISTS (SELECT FROM ` + strings.Join(tables, ", ") + ` WHERE false)`
}()

// claimUnaltered is claimPosition where there is no such column: a query of its own would
// cost each batch a round trip.
var claimUnaltered = claimPosition + ` AND NOT EXISTS (` + selectAltered + `)`

// unaltered fails where somebody gave a column of PostgreSQL's another type: the bytes of
// a BIGINT, sent by COPY, are 0 to a NUMERIC, and the server says nothing. What it found
// holds until tx ends.
func (l *Ledger) unaltered(ctx context.Context, tx *sql.Tx) error {
	if !l.db.Postgres() {
		return nil
	}
	var table, column, is string
	err := tx.QueryRowContext(ctx, selectAltered+` ORDER BY 1, 2 LIMIT 1`).Scan(&table, &column, &is)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the types of columns: %w", err)
	}
	return fmt.Errorf("column %s of %s was altered to %s, in which values would be stored as others: alter it back", column, table, is)
}
