package office

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/registry"
)

// view reads one state of the database.
type view struct{ tx *sql.Tx }

func (o *Office) view(ctx context.Context, fn func(*view) error) error {
	return o.db.View(ctx, func(tx *sql.Tx) error { return fn(&view{tx}) })
}

// listMax bounds what a list for people tells.
const listMax = 10_000

// Merchant is one by its id.
func (o *Office) Merchant(ctx context.Context, id string) (registry.Entry, error) {
	return o.one(ctx, registry.ParseMerchant, "merchant "+id, `SELECT document FROM merchant WHERE id = $1`, id)
}

// Machine is one by its serial or its terminal id.
func (o *Office) Machine(ctx context.Context, serialOrTerminal string) (registry.Entry, error) {
	return o.one(ctx, registry.ParseTerminal, "machine "+serialOrTerminal,
		`SELECT document FROM machine WHERE serial = $1 OR terminal = $1 ORDER BY CASE WHEN serial = $1 THEN 0 ELSE 1 END LIMIT 1`, serialOrTerminal)
}

func (o *Office) one(ctx context.Context, parse func(string) (registry.Entry, error), what, query, id string) (e registry.Entry, err error) {
	err = o.view(ctx, func(v *view) error {
		found, err := readEntries(ctx, v.tx, parse, query, id)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("%s: %w", what, ErrUnknown)
		}
		if err == nil {
			e = found[0]
		}
		return err
	})
	return e, err
}

// Merchants are those of a status, or all of them, by id; at most 10,000.
func (o *Office) Merchants(ctx context.Context, status string) (list []registry.Entry, err error) {
	err = o.view(ctx, func(v *view) error {
		list, err = readEntries(ctx, v.tx, registry.ParseMerchant, `SELECT document FROM merchant WHERE status = $1 OR $1 = '' ORDER BY id LIMIT $2`, status, listMax)
		return err
	})
	return list, err
}

// EachMerchant calls fn with every merchant, by id, of one state of the registry.
func (o *Office) EachMerchant(ctx context.Context, fn func(registry.Entry)) error {
	return o.view(ctx, func(v *view) error {
		return v.each(ctx, func(scan func(...any) error) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			e, err := registry.ParseMerchant(text)
			if err == nil {
				fn(e)
			}
			return err
		}, `SELECT document FROM merchant ORDER BY id`)
	})
}

// MachineFilter chooses machines. Empty fields choose all.
type MachineFilter struct {
	Status, Merchant string
	// Overdue chooses those in use whose inspection is due (T17).
	Overdue bool
}

// Machines are the chosen ones, by merchant and terminal id; at most 10,000.
func (o *Office) Machines(ctx context.Context, f MachineFilter) (list []registry.Entry, err error) {
	due := int64(99991231)
	if f.Overdue {
		due = int64(o.cfg.Day.Of(o.now()).Plus(-o.cfg.InspectDays))
	}
	err = o.view(ctx, func(v *view) error {
		list, err = readEntries(ctx, v.tx, registry.ParseTerminal, `SELECT document FROM machine WHERE (status = $1 OR $1 = '') AND (merchant = $2 OR $2 = '')
			AND (inspected < $3 OR $3 = 99991231) AND (status IN ('active', 'bound') OR $3 = 99991231) ORDER BY merchant, terminal, serial LIMIT $4`, f.Status, f.Merchant, due, listMax)
		return err
	})
	return list, err
}

// Bindings is the report of every binding of a machine or merchant, or of all of
// them, in the order in which they were made; at most the last 10,000.
func (o *Office) Bindings(ctx context.Context, serialOrMerchant string) (list []Binding, err error) {
	err = o.view(ctx, func(v *view) error {
		return v.each(ctx, func(scan func(...any) error) error {
			var b Binding
			var at int64
			if err := scan(&b.Number, &b.Serial, &b.Terminal, &b.Merchant, &b.Act, &at, &b.By, &b.Reason); err != nil {
				return err
			}
			b.At = time.UnixMicro(at).UTC()
			list = append(list, b)
			return nil
		}, `SELECT number, serial, terminal, merchant, act, at, by_whom, reason FROM (SELECT * FROM binding
			WHERE serial = $1 OR merchant = $1 OR $1 = '' ORDER BY number DESC LIMIT $2) AS last ORDER BY number, act DESC`, serialOrMerchant, listMax)
	})
	return list, err
}

// History is what was changed about a merchant, machine, model, region or ticket,
// or about anything, in order; at most the last 10,000 changes.
func (o *Office) History(ctx context.Context, subject, object string) (list []Change, err error) {
	err = o.view(ctx, func(v *view) error {
		return v.each(ctx, func(scan func(...any) error) error {
			var c Change
			var at int64
			if err := scan(&c.Number, &at, &c.By, &c.Reason, &c.Subject, &c.Object, &c.Act, &c.Was, &c.Becomes); err != nil {
				return err
			}
			c.At = time.UnixMicro(at).UTC()
			list = append(list, c)
			return nil
		}, `SELECT number, at, by_whom, reason, subject, object, act, was, becomes FROM (SELECT * FROM change
			WHERE (subject = $1 OR $1 = '') AND (object = $2 OR $2 = '') ORDER BY number DESC LIMIT $3) AS last ORDER BY number`, subject, object, listMax)
	})
	return list, err
}

// Tickets are those that are not closed, or all of them, by number; at most the
// last 10,000.
func (o *Office) Tickets(ctx context.Context, all bool) (list []Ticket, err error) {
	open := "closed"
	if all {
		open = ""
	}
	err = o.view(ctx, func(v *view) error {
		return v.each(ctx, func(scan func(...any) error) error {
			t, err := scanTicket(scan)
			list = append(list, t)
			return err
		}, `SELECT * FROM (`+selectTickets+` WHERE status <> $1 ORDER BY number DESC LIMIT $2) AS last ORDER BY number`, open, listMax)
	})
	return list, err
}

// Papers are what a merchant handed in.
func (o *Office) Papers(ctx context.Context, id string) (list []Paper, err error) {
	err = o.view(ctx, func(v *view) error {
		return v.each(ctx, func(scan func(...any) error) error {
			var p Paper
			var at int64
			if err := scan(&p.Kind, &p.Name, &p.Size, &p.SHA256, &at, &p.By); err != nil {
				return err
			}
			p.At = time.UnixMicro(at).UTC()
			list = append(list, p)
			return nil
		}, `SELECT kind, name, size, sha256, at, by_whom FROM paper WHERE merchant = $1 ORDER BY at, sha256`, id)
	})
	return list, err
}

// Models are the models with the software they should have, by number.
func (o *Office) Models(ctx context.Context) (list []registry.Entry, err error) {
	err = o.view(ctx, func(v *view) error {
		_, list, err = readTables(ctx, v.tx)
		return err
	})
	return list, err
}

func (v *view) each(ctx context.Context, fn func(scan func(...any) error) error, query string, args ...any) error {
	return failed("read the registry", sqldb.Each(ctx, v.tx, fn, query, args...))
}
