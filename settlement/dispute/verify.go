package dispute

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// verifyPage is how many cases are held in memory at once.
const verifyPage = 1000

// Verify follows every case by the rules, and holds its steps against the acts of
// the ledger. It calls broken with what does not hold, and returns how many steps it
// checked, with a note on what people should look at.
func (d *Desk) Verify(ctx context.Context, broken func(id txn.ID, what string)) (checked int64, note string, err error) {
	err = d.db.View(ctx, func(tx *sql.Tx) error {
		var over, ours int64
		for after := int64(0); ; {
			page, err := list(ctx, tx, ` WHERE d.number > $1 ORDER BY d.number LIMIT $2`, after, verifyPage)
			if err != nil {
				return err
			}
			for i := range page {
				c := &page[i]
				n, err := c.verify(ctx, tx, func(format string, args ...any) {
					broken(c.ID, fmt.Sprintf("case %d: %s", c.Number, fmt.Sprintf(format, args...)))
				})
				if err != nil {
					return err
				}
				ours += n
				checked += c.steps
				deal, ok, err := ledger.DealIn(ctx, tx, c.ID)
				if err != nil {
					return err
				}
				if taken, err := charged(ctx, tx, c.ID); err != nil {
					return err
				} else if ok && taken > deal.Left {
					over++
				}
				after = c.Number
			}
			if len(page) < verifyPage {
				break
			}
		}
		var acts int64
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM act WHERE kind = $1`, string(ledger.Dispute)).Scan(&acts); err != nil {
			return fmt.Errorf("count acts: %w", err)
		}
		if acts != ours {
			broken(0, fmt.Sprintf("the ledger has %d acts of disputes, the cases have %d", acts, ours))
		}
		if over > 0 {
			note = fmt.Sprintf("of %d cases refunds that came later and chargebacks together pass what was paid: represent them", over)
		}
		return nil
	})
	if sqldb.NoTable(err) {
		return 0, "not checked: no case was ever opened", nil
	}
	return checked, note, err
}

// verify holds one case; it returns how many of its steps moved money.
func (c *Case) verify(ctx context.Context, tx *sql.Tx, broken func(string, ...any)) (acts int64, err error) {
	steps, err := stepsOf(ctx, tx, c.Number)
	if err != nil {
		return 0, err
	}
	if int64(len(steps)) != c.steps {
		broken("it has %d steps, its last is the %d.", len(steps), c.steps)
	}
	at, amount := State(""), int64(0)
	for i := range steps {
		s, item := &steps[i], int64(i+1)
		m, err := find(s.Step, at)
		if err != nil {
			broken("step %d: %v", item, err)
			return acts, nil
		}
		if s.State != m.to {
			broken("step %d led from %q to %q, not to %q", item, at, s.State, m.to)
		}
		if s.Step != ChargeBack && s.Amount != amount {
			broken("step %d changes what is charged back from %s to %s", item, c.money(amount), c.money(s.Amount))
		}
		at, amount = m.to, s.Amount
		found, err := ledger.ActsAboutIn(ctx, tx, about(c.Number, item))
		if err != nil {
			return acts, err
		}
		if !m.money {
			if len(found) > 0 {
				broken("step %d moves no money, and act %d does", item, found[0].Number)
			}
			continue
		}
		if acts++; len(found) != 1 {
			broken("step %d has %d acts, it must have one", item, len(found))
			continue
		}
		a, issuer := &found[0], ""
		if m.debit == book.IssuerReceivable || m.credit == book.IssuerReceivable {
			issuer = c.Issuer
		}
		want := fmt.Sprint(s.Act, " ", ledger.Dispute, " ", c.Merchant, " ", c.money(s.Amount), " ", m.debit, " > ", m.credit, " ", issuer)
		got := fmt.Sprint(a.Number, " ", a.Kind, " ", a.Merchant, " ", c.money(a.Minor), " ", a.Debit, " > ", a.Credit, " ", a.Issuer)
		if a.Currency != c.Currency || got != want {
			broken("step %d is booked as %s, it must be %s", item, got, want)
		}
	}
	return acts, nil
}
