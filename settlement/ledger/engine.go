package ledger

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"
)

// table is one of the tables that are filled, with a statement to fill it for each engine.
type table struct {
	columns int
	insert  string // SQLite, up to the values
	copy    string // PostgreSQL
}

func newTable(name string, names ...string) *table {
	into := fmt.Sprintf("%s (%s)", name, strings.Join(names, ", "))
	return &table{
		columns: len(names),
		insert:  fmt.Sprintf("INSERT INTO %s VALUES (", into),
		copy:    fmt.Sprintf("COPY %s FROM STDIN (FORMAT binary)", into),
	}
}

var (
	txnTable   = newTable("txn", append([]string{"repeat_id"}, namesOf(columns)...)...)
	eventTable = newTable("event", append([]string{"kind"}, namesOf(eventColumns)...)...)
)

// insertion sends rows, whose values stand one after the other, in the
// transaction that is open on the connection. It is all in which SQLite and
// PostgreSQL differ here.
type insertion func(ctx context.Context, driverConn any, into *table, rows []value, buf *[]byte) error

// insertSQLite runs one prepared single-row statement in a loop: three times
// as fast as rows in one statement. It talks to the driver, since database/sql
// would copy every row's arguments twice. What is the same in all rows stands in
// the statement: a parameter costs the driver several times as much.
func insertSQLite(ctx context.Context, driverConn any, into *table, rows []value, buf *[]byte) error {
	query, varying := into.statement((*buf)[:0], rows)
	*buf = query
	stmt, err := driverConn.(driver.ConnPrepareContext).PrepareContext(ctx, string(query))
	if err != nil {
		return err
	}
	defer stmt.Close()
	args := make([]driver.NamedValue, len(varying))
	for i := range args {
		args[i].Ordinal = i + 1
	}
	for len(rows) > 0 {
		for i, at := range varying {
			// A text that the row before had too is not allocated again.
			if v := &rows[at]; v.isText {
				if was, ok := args[i].Value.(string); !ok || was != string(v.s) {
					args[i].Value = string(v.s)
				}
			} else if was, ok := args[i].Value.(int64); !ok || was != v.n {
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

// statement appends to dst the one that inserts any of rows into SQLite, and says
// which columns are its parameters, in order.
func (t *table) statement(dst []byte, rows []value) (query []byte, varying []int) {
	first := rows[:t.columns]
	varies := make([]bool, t.columns)
	for i, v := range first {
		varies[i] = bytes.ContainsAny(v.s, "'\x00") // what would end a literal
	}
	for rest := rows[t.columns:]; len(rest) > 0; rest = rest[t.columns:] {
		for i := range first {
			varies[i] = varies[i] || first[i].n != rest[i].n || !bytes.Equal(first[i].s, rest[i].s)
		}
	}
	dst = append(dst, t.insert...)
	for i, v := range first {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch {
		case varies[i]:
			// ? and not $N: SQLite looks up the name of each numbered parameter.
			dst = append(dst, '?')
			varying = append(varying, i)
		case v.isText:
			dst = append(append(append(dst, '\''), v.s...), '\'')
		default:
			dst = strconv.AppendInt(dst, v.n, 10)
		}
	}
	return append(dst, ')'), varying
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
