package office

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// LastApproved is the last business day since a day, that day too, on which a
// terminal of a merchant had a transaction approved; 0 is none.
type LastApproved func(ctx context.Context, m txn.MerchantID, t txn.TerminalID, since txn.Date) (txn.Date, error)

// Due is what a sweep finds about a terminal.
type Due struct {
	Rule     txn.Rule // T15, T17
	Action   txn.Action
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	At       time.Time
	Since    time.Time // the end of the day on which it last sold, or was inspected
	Why      string
}

// Tell tells whom it concerns of what a sweep found, as a part of tx. The same, since
// the same instant, may come every day.
type Tell func(ctx context.Context, tx *sql.Tx, d Due) error

// Sweeper is who does what time does.
const Sweeper = "acqswitch"

// Swept is what a sweep did.
type Swept struct{ Held, Unverified, Retired int }

// sweepMax bounds how many machines one sweep asks about: the next goes on.
const sweepMax = 20_000

// Sweep does what a day that begins does to the registry: merchants whose licence
// has ended are held (M04), terminals that were idle for too long become
// unverified (T15) and then retired (T16), and so do those that nobody inspected
// (T17, unverified). Of T15, and of T17 as soon as an inspection is due, it tells. It
// is called when all transactions of the days before are in
// the ledger, which last asks; a terminal that is not idle as the day begins
// cannot become it during the day, so once a day is exact. It may be called more
// often, and goes on where it stopped.
func (o *Office) Sweep(ctx context.Context, last LastApproved, tell Tell) (n Swept, err error) {
	today := o.cfg.Day.Of(o.now())
	if n.Held, err = o.holdExpired(ctx, today); err != nil {
		return n, err
	}
	for _, rule := range []struct {
		query string
		days  int
		rule  int
		act   string
		count *int
		tell  Tell // nil: nobody
	}{
		{`SELECT document, seen FROM machine WHERE status = 'active' AND seen <= $1 ORDER BY serial LIMIT $2`, o.cfg.IdleDays, 15, "idle", &n.Unverified, tell},
		{`SELECT document, seen FROM machine WHERE status = 'unverified' AND seen <= $1 ORDER BY serial LIMIT $2`, o.cfg.StopDays, 16, "retire", &n.Retired, nil},
	} {
		limit := today.Plus(-rule.days)
		found, err := o.candidates(ctx, rule.query, limit)
		if err != nil {
			return n, err
		}
		for _, c := range found {
			sold, err := last(ctx, txn.MakeMerchantID(c.Get("merchant")), txn.MakeTerminalID(c.Get("tid")), c.seen)
			if err != nil {
				return n, err
			}
			if sold > c.seen {
				c.seen = sold
				if err := o.saw(ctx, c.Get("serial"), sold); err != nil {
					return n, err
				}
			}
			if c.seen > limit {
				continue
			}
			done, err := o.sweepMachine(ctx, &c, rule.act, o.due(&c, rule.rule, txn.ActionRefuse, "no approved transaction"), rule.tell)
			if err != nil {
				return n, err
			}
			if done {
				*rule.count++
			}
		}
	}
	// The latest first: where there are too many, those of whom it was told are left out.
	found, err := o.candidates(ctx, `SELECT document, inspected FROM machine WHERE status = 'active' AND inspected < $1 ORDER BY inspected DESC, serial LIMIT $2`,
		today.Plus(-o.cfg.InspectDays))
	if err != nil {
		return n, err
	}
	for _, c := range found {
		if err := o.db.Update(ctx, func(tx *sql.Tx) error { return tell(ctx, tx, o.due(&c, 17, txn.ActionAlert, "nobody inspected it")) }); err != nil {
			return n, err
		}
	}
	found, err = o.candidates(ctx, `SELECT document, inspected FROM machine WHERE status = 'active' AND inspected < $1 ORDER BY serial LIMIT $2`,
		today.Plus(-o.cfg.InspectDays-o.cfg.InspectGraceDays))
	if err != nil {
		return n, err
	}
	for _, c := range found {
		done, err := o.sweepMachine(ctx, &c, "idle", o.due(&c, 17, txn.ActionRefuse, "nobody inspected it"), nil)
		if err != nil {
			return n, err
		}
		if done {
			n.Unverified++
		}
	}
	return n, nil
}

func (o *Office) holdExpired(ctx context.Context, today txn.Date) (held int, err error) {
	var expired []registry.Entry
	if err := o.view(ctx, func(v *view) error {
		expired, err = readEntries(ctx, v.tx, registry.ParseMerchant,
			`SELECT document FROM merchant WHERE status = 'active' AND licence_ends > 0 AND licence_ends < $1 ORDER BY id LIMIT $2`, int64(today), sweepMax)
		return err
	}); err != nil {
		return 0, err
	}
	for _, e := range expired {
		id := e.Get("mid")
		done := false
		err := o.do(ctx, Act{Sweeper, "M04: its licence ended on " + e.Get("licence_ends")}, "merchant "+id, func(w *work) error {
			m, err := w.merchant(id)
			if done = m != nil && m.was == e.Text(); err != nil || !done {
				return err // somebody changed it meanwhile: the next sweep looks again
			}
			return w.stepMerchant(m, "hold")
		})
		if err != nil {
			return held, err
		}
		if done {
			held++
		}
	}
	return held, nil
}

// candidate is a machine and the day from which its time is counted.
type candidate struct {
	registry.Entry
	seen txn.Date
}

func (o *Office) candidates(ctx context.Context, query string, limit txn.Date) (found []candidate, err error) {
	err = o.view(ctx, func(v *view) error {
		return v.each(ctx, func(scan func(...any) error) error {
			var text string
			var c candidate
			if err := scan(&text, &c.seen); err != nil {
				return err
			}
			if c.Entry, err = registry.ParseTerminal(text); err != nil {
				return err
			}
			found = append(found, c)
			return nil
		}, query, int64(limit), sweepMax)
	})
	return found, err
}

// saw notes that a machine sold on a day. It is no change of the registry.
func (o *Office) saw(ctx context.Context, serial string, day txn.Date) error {
	return o.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE machine SET seen = $1 WHERE serial = $2 AND seen < $1`, int64(day), serial); err != nil {
			return failed("note when machine "+serial+" sold", err)
		}
		return nil
	})
}

// due is what rule T with a number finds about a candidate: what did not happen since
// its day.
func (o *Office) due(c *candidate, number int, action txn.Action, what string) Due {
	return Due{Rule: txn.MakeRule('T', number), Action: action, Merchant: txn.MakeMerchantID(c.Get("merchant")), Terminal: txn.MakeTerminalID(c.Get("tid")),
		At: o.now(), Since: o.cfg.Day.Start(c.seen.After()), Why: fmt.Sprintf("%s since %s", what, c.seen)}
}

// sweepMachine does an act on a machine, unless somebody changed it since, and tells
// of it.
func (o *Office) sweepMachine(ctx context.Context, c *candidate, act string, d Due, tell Tell) (done bool, err error) {
	serial := c.Get("serial")
	err = o.do(ctx, Act{Sweeper, d.Rule.String() + ": " + d.Why}, "machine "+serial, func(w *work) error {
		m, err := w.machine(serial)
		if done = m != nil && m.was == c.Text(); err != nil || !done {
			return err
		}
		if err := w.stepMachine(m, act); err != nil || tell == nil {
			return err
		}
		return tell(ctx, w.tx, d)
	})
	return done, err
}
