package office

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// work is one act: what it read and what it will write. Writes are sent together
// at its end.
type work struct {
	o     *Office
	ctx   context.Context
	tx    *sql.Tx
	who   Act
	at    time.Time
	today txn.Date
	name  string // of the source, in problems
	file  bool   // the source is a file of that name
	next  int64  // number of the next change

	checker   *registry.Checker // at first use
	merchants map[string]*merchant
	machines  map[string]*machine
	holders   map[string]string // terminal id -> serial, of what was written here
	listed    map[[2]string]string

	changes  []Change
	bindings []Binding
}

type merchant struct {
	registry.Entry
	status registry.MerchantStatus
	was    string // its document; empty: it is new
	row    *txn.Merchant
	dirty  bool
}

type machine struct {
	registry.Entry
	status          registry.MachineStatus
	was             string
	seen, inspected txn.Date
	dirty           bool
}

// do makes one act of what fn does.
func (o *Office) do(ctx context.Context, who Act, name string, fn func(*work) error) error {
	return o.db.Update(ctx, func(tx *sql.Tx) error { return o.within(ctx, tx, who, name, fn) })
}

// within makes fn's act part of a transaction.
func (o *Office) within(ctx context.Context, tx *sql.Tx, who Act, name string, fn func(*work) error) error {
	if err := approval.Person(who.By); err != nil {
		return err
	}
	if o.cards == nil {
		return ErrNoCardKeys
	}
	now := o.now().UTC().Truncate(time.Microsecond)
	w := &work{o: o, ctx: ctx, tx: tx, who: who, at: now, today: o.cfg.Day.Of(now), name: name,
		merchants: map[string]*merchant{}, machines: map[string]*machine{}, holders: map[string]string{}}
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) FROM change`).Scan(&w.next); err != nil {
		return failed("read the version of the registry", err)
	}
	w.next++
	if err := fn(w); err != nil {
		return err
	}
	if err := w.problems(); err != nil {
		return err
	}
	return w.flush()
}

// problems are what is wrong with the entries that were checked.
func (w *work) problems() error {
	if w.checker == nil {
		return nil
	}
	return w.checker.Err()
}

// check is the checker, which knows the regions and models.
func (w *work) check() (*registry.Checker, error) {
	if w.checker == nil {
		regions, models, err := readTables(w.ctx, w.tx)
		if err != nil {
			return nil, err
		}
		w.checker = registry.NewChecker(w.name, w.file, regions, models)
	}
	return w.checker, nil
}

func readTables(ctx context.Context, tx *sql.Tx) (regions, models []registry.Entry, err error) {
	if regions, err = readEntries(ctx, tx, registry.ParseRegion, `SELECT document FROM region ORDER BY code`); err != nil {
		return nil, nil, err
	}
	models, err = readEntries(ctx, tx, registry.ParseModel, `SELECT document FROM model ORDER BY number`)
	return regions, models, err
}

func readEntries(ctx context.Context, tx *sql.Tx, parse func(string) (registry.Entry, error), query string, args ...any) ([]registry.Entry, error) {
	var entries []registry.Entry
	err := sqldb.Each(ctx, tx, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		e, err := parse(text)
		entries = append(entries, e)
		return err
	}, query, args...)
	return entries, failed("read the registry", err)
}

// merchant is one by its id, nil where there is none.
func (w *work) merchant(id string) (*merchant, error) {
	if m, ok := w.merchants[id]; ok {
		return m, nil
	}
	var text string
	err := w.tx.QueryRowContext(w.ctx, `SELECT document FROM merchant WHERE id = $1`, id).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, failed("read merchant "+id, err)
	}
	m := &merchant{was: text}
	if m.Entry, err = registry.ParseMerchant(text); err != nil {
		return nil, err
	}
	if m.status, err = registry.Parse[registry.MerchantStatus](m.Get("status")); err != nil {
		return nil, fmt.Errorf("merchant %s: status: %w", id, err)
	}
	w.merchants[id] = m
	return m, nil
}

// knownMerchant is one that must be there.
func (w *work) knownMerchant(id string) (*merchant, error) {
	m, err := w.merchant(id)
	if err == nil && m == nil {
		err = fmt.Errorf("merchant %s: %w", id, ErrUnknown)
	}
	return m, err
}

// machine is one by its serial, nil where there is none.
func (w *work) machine(serial string) (*machine, error) {
	if m, ok := w.machines[serial]; ok {
		return m, nil
	}
	m := &machine{}
	err := w.tx.QueryRowContext(w.ctx, `SELECT document, seen, inspected FROM machine WHERE serial = $1`, serial).Scan(&m.was, &m.seen, &m.inspected)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, failed("read machine "+serial, err)
	}
	if m.Entry, err = registry.ParseTerminal(m.was); err != nil {
		return nil, err
	}
	if m.status, err = registry.Parse[registry.MachineStatus](m.Get("status")); err != nil {
		return nil, fmt.Errorf("machine %s: status: %w", serial, err)
	}
	w.machines[serial] = m
	return m, nil
}

// knownMachine is one that must be there.
func (w *work) knownMachine(serial string) (*machine, error) {
	m, err := w.machine(serial)
	if err == nil && m == nil {
		err = fmt.Errorf("machine %s: %w", serial, ErrUnknown)
	}
	return m, err
}

// holder is the machine that has a terminal id, nil where none has.
func (w *work) holder(terminal string) (*machine, error) {
	serial, ok := w.holders[terminal]
	if !ok {
		err := w.tx.QueryRowContext(w.ctx, `SELECT serial FROM machine WHERE terminal = $1`, terminal).Scan(&serial)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, failed("read terminal "+terminal, err)
		}
	}
	m, err := w.machine(serial)
	if err != nil || m == nil || m.Get("tid") != terminal {
		return nil, err // it was bound to another id here
	}
	return m, nil
}

// note adds a change to the history and returns its number.
func (w *work) note(subject, object, act, was, becomes string) int64 {
	n := w.next
	w.next++
	w.changes = append(w.changes, Change{Number: n, At: w.at, By: w.who.By, Reason: w.who.Reason,
		Subject: subject, Object: object, Act: act, Was: was, Becomes: becomes})
	return n
}

// put checks a merchant and will write it, if it changed.
func (w *work) put(m *merchant, act string) error {
	m.Put("status", m.status.String())
	text := m.Text()
	if text == m.was {
		return nil
	}
	m.row, m.dirty = nil, true
	if _, err := w.rowOf(m); err != nil {
		return err
	}
	id := m.Get("mid")
	w.merchants[id] = m
	w.note("merchant", id, act, m.was, text)
	m.was = text
	return nil
}

// rowOf is a merchant's row.
func (w *work) rowOf(m *merchant) (*txn.Merchant, error) {
	if m.row == nil {
		c, err := w.check()
		if err != nil {
			return nil, err
		}
		row := c.Merchant(m.Entry)
		m.row = &row
	}
	return m.row, nil
}

// putMachine checks a machine and will write it, if it changed.
func (w *work) putMachine(m *machine, act string) error {
	m.Put("status", m.status.String())
	text := m.Text()
	if text == m.was {
		return nil
	}
	c, err := w.check()
	if err != nil {
		return err
	}
	serial, owner := m.Get("serial"), m.Get("merchant")
	if owner == "" {
		c.Stock(m.Entry)
	} else {
		at, err := w.knownMerchant(owner)
		if err != nil {
			return err
		}
		row, err := w.rowOf(at)
		if err != nil {
			return err
		}
		t := c.Terminal(m.Entry, row)
		m.inspected = max(t.Inspected, t.Since)
	}
	m.dirty = true
	w.machines[serial] = m
	if tid := m.Get("tid"); tid != "" {
		w.holders[tid] = serial
	}
	n := w.note("machine", serial, act, m.was, text)
	old, err := registry.ParseTerminal(m.was)
	if err != nil {
		return err
	}
	wasBound, isBound := bound(old), bound(m.Entry)
	if moved := old.Get("merchant") != owner || old.Get("tid") != m.Get("tid"); wasBound && (!isBound || moved) {
		w.bind(n, old, "released")
		if isBound {
			n = w.note("machine", serial, "bind", text, text)
		}
	}
	if isBound && (!wasBound || old.Get("merchant") != owner || old.Get("tid") != m.Get("tid")) {
		w.bind(n, m.Entry, "bound")
	}
	m.was = text
	return nil
}

// bound says that a document is of a machine at a merchant's.
func bound(e registry.Entry) bool {
	s, err := registry.Parse[registry.MachineStatus](e.Get("status"))
	return err == nil && s.Bound()
}

func (w *work) bind(number int64, e registry.Entry, act string) {
	w.bindings = append(w.bindings, Binding{Number: number, Serial: e.Get("serial"), Terminal: e.Get("tid"), Merchant: e.Get("merchant"),
		Act: act, At: w.at, By: w.who.By, Reason: w.who.Reason})
}

// flush writes what the act changed.
func (w *work) flush() error {
	if len(w.changes) == 0 {
		return nil
	}
	var merchants, machines, changes, bindings []any
	for id, m := range w.merchants {
		if !m.dirty {
			continue
		}
		account := ""
		if sealed := m.Get("account_sealed"); sealed != "" {
			if number, err := w.o.cards.OpenText(sealed, "account of "+id); err == nil {
				account = fmt.Sprintf("%x", w.o.cards.Hash("account", number))
			}
		}
		merchants = append(merchants, id, m.status.String(), m.Get("identity"), account, m.Get("legal_name"), int64(m.row.LicenceEnds), m.was)
	}
	for serial, m := range w.machines {
		if m.dirty {
			machines = append(machines, serial, m.Get("tid"), m.Get("merchant"), m.status.String(), int64(m.seen), int64(m.inspected), m.was)
		}
	}
	for _, c := range w.changes {
		changes = append(changes, c.Number, c.At.UnixMicro(), c.By, c.Reason, c.Subject, c.Object, c.Act, c.Was, c.Becomes)
	}
	for _, b := range w.bindings {
		bindings = append(bindings, b.Number, b.Serial, b.Terminal, b.Merchant, b.Act, b.At.UnixMicro(), b.By, b.Reason)
	}
	// Machines that gave their terminal ids up come first: the ids are unique.
	sortRows(machines, 7, func(row []any) bool { return row[1] == "" })
	for _, t := range []struct {
		into    string
		columns int
		rows    []any
		tail    string
	}{
		{"merchant (id, status, identity, account, legal_name, licence_ends, document)", 7, merchants,
			`ON CONFLICT (id) DO UPDATE SET status = excluded.status, identity = excluded.identity, account = excluded.account,
			legal_name = excluded.legal_name, licence_ends = excluded.licence_ends, document = excluded.document`},
		{"machine (serial, terminal, merchant, status, seen, inspected, document)", 7, machines,
			`ON CONFLICT (serial) DO UPDATE SET terminal = excluded.terminal, merchant = excluded.merchant, status = excluded.status,
			seen = excluded.seen, inspected = excluded.inspected, document = excluded.document`},
		{"change (number, at, by_whom, reason, subject, object, act, was, becomes)", 9, changes, ""},
		{"binding (number, serial, terminal, merchant, act, at, by_whom, reason)", 8, bindings, ""},
	} {
		if err := w.o.insert(w.ctx, w.tx, t.into, t.columns, t.rows, t.tail); err != nil {
			return err
		}
	}
	if w.o.db.Postgres() {
		if _, err := w.tx.ExecContext(w.ctx, `SELECT pg_notify('`+channel+`', '')`); err != nil {
			return failed("tell of the change", err)
		}
	}
	return nil
}

// sortRows puts the rows first of which first says so.
func sortRows(values []any, columns int, first func(row []any) bool) {
	rows := slices.Collect(slices.Chunk(slices.Clone(values), columns))
	slices.SortStableFunc(rows, func(a, b []any) int {
		switch fa, fb := first(a), first(b); {
		case fa && !fb:
			return -1
		case fb && !fa:
			return 1
		}
		return 0
	})
	copy(values, slices.Concat(rows...))
}

// insert sends rows, whose values stand one after the other.
func (o *Office) insert(ctx context.Context, tx *sql.Tx, into string, columns int, values []any, tail string) error {
	if err := o.db.Insert(ctx, tx, into, columns, values, tail); err != nil {
		return failed("write the registry", err)
	}
	return nil
}
