package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// How long others may hold a file's lock before what we do fails.
const lockedMax = 5 * time.Second

// openSQLite opens the file of a DSN sqlite:PATH. The journal could feed the
// ledger again after a power cut, so commits need no fsync for that; they get
// one (synchronous=FULL, 4 to 10 % of a batch's time) so that the position, once
// read, is never taken back and the journal may be truncated below it. A
// checkpoint waits for 32 MB of log: pages that many batches touch are copied
// into the file once (a quarter to a third of a batch's time). What the log has
// grown beyond 64 MB, while a long reader kept it from being begun anew, the disk
// has back once it is.
func (d *DB) openSQLite() (err error) {
	path := strings.TrimPrefix(d.dsn, "sqlite:")
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return errors.New("a sqlite DSN must name a file, such as sqlite:data/ledger.db")
	}
	file := "file:" + (&url.URL{Path: path}).EscapedPath()
	common := fmt.Sprintf("?_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)", lockedMax.Milliseconds())
	if d.Write, err = openFile(file + common + "&_txlock=immediate&_pragma=synchronous(FULL)&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(8000)&_pragma=journal_size_limit(64000000)"); err != nil {
		return err
	}
	d.Write.SetMaxOpenConns(1)
	if d.Read, err = openFile(file + common + "&_pragma=query_only(1)"); err != nil {
		return err
	}
	d.Read.SetMaxOpenConns(readersMax)
	return nil
}

func openFile(dsn string) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(patient{c}), nil
}

// patient connects where SQLite would not wait. The first connection to a file gives it
// its log and the last takes that away: whoever comes at that moment may be told at
// once, whatever its busy_timeout, that the file is locked.
type patient struct{ driver.Connector }

func (p patient) Connect(ctx context.Context) (driver.Conn, error) {
	for end := time.Now().Add(lockedMax); ; {
		conn, err := p.Connector.Connect(ctx)
		if err == nil || !inTheWay(err) || time.Now().After(end) {
			return conn, err
		}
		if err := sleep(ctx, retryPause); err != nil {
			return nil, err
		}
	}
}
