package dispute

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Filter chooses cases; empty fields choose all.
type Filter struct {
	Open     bool // only those of which something is to come
	Merchant string
	Due      txn.Date // only those whose deadline is on this day or before
}

// List is the chosen cases by number, the first 10,000.
func (d *Desk) List(ctx context.Context, f Filter) (all []Case, err error) {
	due := "9999-99-99"
	if f.Due != 0 {
		due = f.Due.String()
	}
	open := 0
	if f.Open {
		open = 1
	}
	err = d.db.View(ctx, func(tx *sql.Tx) error {
		all, err = list(ctx, tx, ` WHERE ($1 = 0 OR s.state IN ('requested', 'charged back', 'represented', 'charged back again', 'contested')) AND ($2 = '' OR d.merchant_id = $2)
			AND ($3 = '9999-99-99' OR s.deadline <> '0000-00-00' AND s.deadline <= $3) ORDER BY d.number LIMIT $4`, open, f.Merchant, due, listMax)
		return err
	})
	return all, err
}

// Get is one case with its steps and documents.
func (d *Desk) Get(ctx context.Context, number int64) (c Case, err error) {
	err = d.db.View(ctx, func(tx *sql.Tx) error {
		if c, err = get(ctx, tx, number); err != nil {
			return err
		}
		deal, ok, err := ledger.DealIn(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		taken, err := charged(ctx, tx, c.ID)
		if ok {
			c.Over = max(0, taken-deal.Left)
		}
		return err
	})
	return c, err
}

const selectCases = `SELECT d.number, d.id, d.reference, d.issuer, d.business_date, d.merchant_id, d.terminal_id, d.rrn, d.pan_masked, d.currency, d.paid,
	s.item, s.at, s.state, s.amount, s.code, s.deadline FROM dispute AS d JOIN dispute_step AS s ON s.dispute = d.number
	AND s.item = (SELECT MAX(x.item) FROM dispute_step AS x WHERE x.dispute = d.number)`

func list(ctx context.Context, tx *sql.Tx, where string, args ...any) (all []Case, err error) {
	err = sqldb.Each(ctx, tx, func(scan func(...any) error) error {
		var c Case
		var id, at int64
		var day, deadline string
		err := scan(&c.Number, &id, &c.Reference, &c.Issuer, &day, &c.Merchant, &c.Terminal, &c.RRN, &c.Card, &c.Currency, &c.Paid,
			&c.steps, &at, &c.State, &c.Amount, &c.Code, &deadline)
		c.ID, c.Since = txn.ID(id), time.UnixMicro(at).UTC()
		if err == nil {
			c.Date, err = txn.ParseDate(day)
		}
		if err == nil {
			c.Deadline, err = dateOf(deadline)
		}
		all = append(all, c)
		return err
	}, selectCases+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	return all, nil
}

func get(ctx context.Context, tx *sql.Tx, number int64) (Case, error) {
	all, err := list(ctx, tx, ` WHERE d.number = $1`, number)
	if err == nil && len(all) == 0 {
		err = refuse("there is no case %d", number)
	}
	if err != nil {
		return Case{}, err
	}
	c := all[0]
	if c.Steps, err = stepsOf(ctx, tx, number); err != nil {
		return c, err
	}
	err = sqldb.Each(ctx, tx, func(scan func(...any) error) error {
		var x Document
		var at int64
		err := scan(&at, &x.By, &x.Kind, &x.Name, &x.SHA256, &x.Size)
		x.At = time.UnixMicro(at).UTC()
		c.Documents = append(c.Documents, x)
		return err
	}, `SELECT at, by_whom, kind, name, sha256, size FROM dispute_document WHERE dispute = $1 ORDER BY item`, number)
	if err != nil {
		return c, fmt.Errorf("read documents of case %d: %w", number, err)
	}
	return c, nil
}

func stepsOf(ctx context.Context, tx *sql.Tx, number int64) (all []Taken, err error) {
	err = sqldb.Each(ctx, tx, func(scan func(...any) error) error {
		var s Taken
		var at int64
		var deadline string
		err := scan(&at, &s.Step, &s.State, &s.Amount, &s.Code, &s.By, &s.Reason, &deadline, &s.Proposal, &s.Act)
		if err == nil {
			s.Deadline, err = dateOf(deadline)
		}
		s.At = time.UnixMicro(at).UTC()
		all = append(all, s)
		return err
	}, `SELECT at, step, state, amount, code, by_whom, reason, deadline, proposal, act FROM dispute_step WHERE dispute = $1 ORDER BY item`, number)
	if err != nil {
		return nil, fmt.Errorf("read steps of case %d: %w", number, err)
	}
	return all, nil
}

// dateOf reads a day that need not be one.
func dateOf(s string) (txn.Date, error) {
	if s == txn.Date(0).String() {
		return 0, nil
	}
	return txn.ParseDate(s)
}
