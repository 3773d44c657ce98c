package office

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// channel is where PostgreSQL tells of changes.
const channel = "acqswitch_registry"

const (
	pollEvery    = 250 * time.Millisecond // where nobody tells of changes
	pollAnyway   = 5 * time.Second        // where somebody does
	listenAgain  = time.Second
	amendMax     = 1000 // changes that are taken up one by one
	followWithin = 2 * time.Minute

	loadGCPercent = 20
)

// Version is a state of the registry: its last change, 0 before the first. Its time
// tells it from another one of that number: a server that a standby took the place of,
// or that was restored, may have lost changes and have got new ones since.
type Version struct {
	Number int64
	at     int64
}

// errEmptied: a database that has nothing where it had a registry is not believed.
var errEmptied = errors.New("the database has lost all of the registry: restore it, or import the registry again")

// Snapshot is the registry as requests need it, and its version.
func (o *Office) Snapshot(ctx context.Context) (s *registry.Snapshot, version Version, err error) {
	err = o.db.View(ctx, func(tx *sql.Tx) error {
		if version, err = readVersion(ctx, tx); err != nil {
			return err
		}
		s, err = load(ctx, tx)
		return err
	})
	return s, version, err
}

func readVersion(ctx context.Context, tx *sql.Tx) (Version, error) {
	return scanVersion(tx.QueryRowContext(ctx, `SELECT number, at FROM change ORDER BY number DESC LIMIT 1`))
}

// lost says that a version is none of the database's any more.
func lost(ctx context.Context, tx *sql.Tx, v Version) (bool, error) {
	found, err := scanVersion(tx.QueryRowContext(ctx, `SELECT number, at FROM change WHERE number = $1`, v.Number))
	return found != v, err
}

func scanVersion(row *sql.Row) (v Version, err error) {
	if err = row.Scan(&v.Number, &v.at); errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return v, failed("read the version of the registry", err)
}

// load reads all rows. It asks for their number first: growing a slice of a
// million rows would copy hundreds of megabytes at once. Every few rows it makes
// way for requests.
// Rows hold no pointers, so the collector may run often for next to nothing: it
// keeps what is read from standing beside two registries.
func load(ctx context.Context, tx *sql.Tx) (*registry.Snapshot, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(loadGCPercent))
	c, err := newChecker(ctx, tx)
	if err != nil {
		return nil, err
	}
	var merchants, terminals int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM merchant`).Scan(&merchants); err != nil {
		return nil, failed("count merchants", err)
	}
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM machine WHERE terminal <> ''`).Scan(&terminals); err != nil {
		return nil, failed("count terminals", err)
	}
	rows := registry.Rows{Circles: c.Circles(), Models: c.Models(), Merchants: make([]txn.Merchant, 0, merchants), Terminals: make([]txn.Terminal, 0, terminals)}
	places := make(map[string]uint32, merchants)
	e := registry.NewMerchant()
	if err := eachText(ctx, tx, func(text string) error {
		if err := e.Parse(text); err != nil {
			return err
		}
		places[strings.Clone(e.Get("mid"))] = uint32(len(rows.Merchants))
		rows.Merchants = append(rows.Merchants, c.Merchant(e))
		return c.Err()
	}, `SELECT document FROM merchant ORDER BY id`); err != nil {
		return nil, err
	}
	e = registry.NewTerminal()
	if err := eachText(ctx, tx, func(text string) error {
		if err := e.Parse(text); err != nil {
			return err
		}
		place, ok := places[e.Get("merchant")]
		if !ok {
			return fmt.Errorf("machine %s is at merchant %s, who is not there", e.Get("serial"), e.Get("merchant"))
		}
		rows.Terminals = append(rows.Terminals, c.Terminal(e, &rows.Merchants[place]))
		return c.Err()
	}, `SELECT document FROM machine WHERE terminal <> ''`); err != nil {
		return nil, err
	}
	return registry.New(rows)
}

func newChecker(ctx context.Context, tx *sql.Tx) (*registry.Checker, error) {
	regions, models, err := readTables(ctx, tx)
	if err != nil {
		return nil, err
	}
	c := registry.NewChecker("registry", false, regions, models)
	return c, c.Err()
}

// eachText calls fn with the text of each row, which is of no use after.
func eachText(ctx context.Context, tx *sql.Tx, fn func(string) error, query string, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return failed("read the registry", err)
	}
	defer rows.Close()
	for n := 1; rows.Next(); n++ {
		var text string
		if err := rows.Scan(&text); err != nil {
			return failed("read the registry", err)
		}
		if err := fn(text); err != nil {
			return err
		}
		registry.MakeWay(n)
	}
	if err := rows.Err(); err != nil {
		return failed("read the registry", err)
	}
	return nil
}

// amend is a snapshot of one version brought to the present one, and which that
// is: row by row where little was changed, else made anew.
func (o *Office) amend(ctx context.Context, s *registry.Snapshot, from Version) (next *registry.Snapshot, version Version, err error) {
	err = o.db.View(ctx, func(tx *sql.Tx) error {
		if version, err = readVersion(ctx, tx); err != nil || version == from {
			next = s
			return err
		}
		if version.Number == 0 {
			return errEmptied
		}
		gone, err := lost(ctx, tx, from)
		if err != nil {
			return err
		}
		if !gone {
			c, few, err := changed(ctx, tx, from.Number)
			if err != nil {
				return err
			}
			if few {
				if next, few = s.Amend(c); few {
					return nil
				}
			}
		}
		next, err = load(ctx, tx)
		return err
	})
	return next, version, err
}

// changed are the rows that were changed since a version, if they are few and no
// region is among them: rows have the circles of their areas.
func changed(ctx context.Context, tx *sql.Tx, from int64) (change registry.Change, few bool, err error) {
	objects, few, err := changedObjects(ctx, tx, from)
	if err != nil || !few {
		return change, false, err
	}
	r := changeReader{tx: tx, from: from, merchants: map[string]*txn.Merchant{}}
	if r.checker, err = newChecker(ctx, tx); err != nil {
		return change, false, err
	}
	r.change.Models = r.checker.Models()
	for o := range objects {
		switch o.subject {
		case "region":
			return change, false, nil
		case "merchant":
			m, err := r.merchant(ctx, o.id)
			if err != nil {
				return change, false, err
			}
			if m != nil {
				r.change.Merchants = append(r.change.Merchants, *m)
			}
		case "machine":
			if err := r.machine(ctx, o.id); err != nil {
				return change, false, err
			}
		}
	}
	return r.change, true, r.checker.Err()
}

// changedObject is what a change was made to.
type changedObject struct{ subject, id string }

// changedObjects are what was changed since a version; few is false where the changes
// are more than amendMax.
func changedObjects(ctx context.Context, tx *sql.Tx, from int64) (objects map[changedObject]bool, few bool, err error) {
	objects = map[changedObject]bool{}
	n := 0
	err = sqldb.Each(ctx, tx, func(scan func(...any) error) error {
		var o changedObject
		err := scan(&o.subject, &o.id)
		objects[o] = true
		n++
		return err
	}, `SELECT subject, object FROM change WHERE number > $1 LIMIT $2`, from, amendMax+1)
	return objects, n <= amendMax, failed("read what was changed", err)
}

// changeReader reads the present rows of what was changed into a change.
type changeReader struct {
	tx        *sql.Tx
	from      int64 // the version that the change begins at
	checker   *registry.Checker
	merchants map[string]*txn.Merchant // that were read
	change    registry.Change
}

// merchant reads a merchant's row; nil: there is none.
func (r *changeReader) merchant(ctx context.Context, id string) (*txn.Merchant, error) {
	if m := r.merchants[id]; m != nil {
		return m, nil
	}
	found, err := readEntries(ctx, r.tx, registry.ParseMerchant, `SELECT document FROM merchant WHERE id = $1`, id)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	m := r.checker.Merchant(found[0])
	r.merchants[id] = &m
	return &m, nil
}

// machine reads a machine's row into the change, and which terminal ids it had before:
// here or at a version between, they may be gone.
func (r *changeReader) machine(ctx context.Context, serial string) error {
	had, err := readEntries(ctx, r.tx, registry.ParseTerminal, `SELECT was FROM change WHERE subject = 'machine' AND object = $1 AND number > $2 AND was <> ''`, serial, r.from)
	if err != nil {
		return err
	}
	for _, e := range had {
		if tid := e.Get("tid"); tid != "" {
			r.change.Gone = append(r.change.Gone, txn.MakeTerminalID(tid))
		}
	}
	found, err := readEntries(ctx, r.tx, registry.ParseTerminal, `SELECT document FROM machine WHERE serial = $1 AND terminal <> ''`, serial)
	if err != nil {
		return err
	}
	for _, e := range found {
		m, err := r.merchant(ctx, e.Get("merchant"))
		if err != nil {
			return err
		}
		if m == nil {
			return fmt.Errorf("machine %s is at merchant %s, who is not there", serial, e.Get("merchant"))
		}
		r.change.Terminals = append(r.change.Terminals, r.checker.Terminal(e, m))
	}
	return nil
}

// Follow puts the present snapshot in force whenever the registry is changed, by
// this process or another, within a second, until ctx ends. What cannot be read
// leaves the one that is in force; it is tried again.
func (o *Office) Follow(ctx context.Context, s *registry.Snapshot, version Version, put func(*registry.Snapshot), log *slog.Logger) error {
	notice := make(chan struct{}, 1)
	listening := make(chan bool, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.listen(ctx, notice, listening, log)
	}()
	defer func() { <-ended }()
	every, broken := pollEvery, false
	for {
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case heard := <-listening:
			if every = pollEvery; heard {
				every = pollAnyway
			}
		case <-notice:
		case <-timer.C:
		}
		timer.Stop()
		within, cancel := context.WithTimeout(ctx, followWithin)
		next, now, err := o.amend(within, s, version)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if !broken {
				log.Error("the registry cannot be read; the one in force stays", "error", err)
			}
			broken, every = true, listenAgain
			continue
		case broken:
			broken, every = false, pollEvery
			log.Info("the registry can be read again")
		}
		if now == version {
			continue
		}
		if now.Number <= version.Number {
			log.Warn("the database has lost changes of the registry; what it has now comes into force", "was", version.Number)
		}
		s, version = next, now
		put(s)
		merchants, terminals := s.Len()
		log.Info("registry is in force", "version", version.Number, "merchants", merchants, "terminals", terminals)
	}
}

// listen passes notices on until ctx ends.
func (o *Office) listen(ctx context.Context, notice chan<- struct{}, listening chan bool, log *slog.Logger) {
	if !o.db.Postgres() {
		return
	}
	tell := func(heard bool) {
		select { // the last one counts
		case <-listening:
		default:
		}
		listening <- heard
	}
	deaf := false // and it was said
	for ctx.Err() == nil {
		first := true
		err := o.db.Listen(ctx, channel, func() {
			if first {
				first = false
				tell(true)
				if deaf {
					log.Info("changes of the registry are told of again")
				}
				deaf = false
			}
			select {
			case notice <- struct{}{}:
			default:
			}
		})
		if ctx.Err() != nil {
			return
		}
		if !deaf {
			log.Warn("nobody tells of changes of the registry for now; it is asked for them", "error", err)
		}
		deaf = true
		tell(false)
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}
