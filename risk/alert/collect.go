package alert

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// ruleS06 finds trace numbers that go back: two machines may share a number.
var ruleS06 = txn.MakeRule('S', 6)

// ruleS07 finds amounts that are not the chip's: somebody changes messages.
var ruleS07 = txn.MakeRule('S', 7)

// raises says that a finding becomes an alert. A finding of a rule in shadow does not,
// nor do everyday refusals that need nobody's attention: a limit that was reached, a
// terminal that is not in use, a version or sign-on that is due.
func raises(f *finding) bool {
	if f.shadow || f.rule == txn.MakeRule('T', 1) || f.rule == txn.MakeRule('M', 1) || f.rule == txn.MakeRule('M', 7) {
		return false
	}
	letter := f.rule.String()[0]
	return f.rule == ruleS06 || f.rule == ruleS07 || f.action != txn.ActionRefuse.String() || letter != 'L' && letter != 'S'
}

// subject is what alerts of a rule are about: findings of one rule about one
// subject are one alert until it is disposed of.
func (f *finding) subject() group {
	g := group{rule: f.rule, merchant: f.Merchant}
	switch {
	case f.rule == txn.MakeRule('R', 9):
		g.merchant, g.card = "", f.token
	case f.rule.String()[0] == 'T' || f.rule == txn.MakeRule('R', 6) || f.rule == ruleS06 || f.rule == ruleS07:
		g.terminal = f.Terminal
	}
	return g
}

// group names the alert of a finding.
type group struct {
	rule                     txn.Rule
	merchant, terminal, card string
}

// finding is a row of the ledger.
type finding struct {
	Evidence
	position, item int64
	rule           txn.Rule
	action         string
	shadow         bool
	token          string
}

var weights = []string{txn.ActionAlert.String(), txn.ActionReview.String(), txn.ActionHold.String(), txn.ActionRefuse.String()}

func heavier(a, b string) string {
	if slices.Index(weights, a) > slices.Index(weights, b) {
		return a
	}
	return b
}

// Collect makes alerts of what the ledger has found since the last call, a bounded
// part of it, and returns how many findings it looked at: 0 when there are no
// more.
func (w *Workbench) Collect(ctx context.Context) (n int, err error) {
	// Who only reads is in nobody's way.
	err = w.db.View(ctx, func(tx *sql.Tx) error {
		return failed("look for findings", tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT f.position FROM finding f JOIN alert_feed a
			ON f.position > a.position OR f.position = a.position AND f.item > a.item WHERE f.position >= a.position ORDER BY f.position LIMIT 1) x`).Scan(&n))
	})
	if err != nil || n == 0 {
		return 0, err
	}
	err = w.db.Update(ctx, func(tx *sql.Tx) error {
		n = 0
		var position, item int64
		if err := tx.QueryRowContext(ctx, `SELECT position, item FROM alert_feed WHERE name = 'finding'`).Scan(&position, &item); err != nil {
			return failed("read how far findings were looked at", err)
		}
		found, err := findings(ctx, tx, position, item)
		if n = len(found); err != nil || n == 0 {
			return err
		}
		last := found[n-1]
		if _, err := tx.ExecContext(ctx, `UPDATE alert_feed SET position = $1, item = $2 WHERE name = 'finding'`, last.position, last.item); err != nil {
			return failed("note how far findings were looked at", err)
		}
		groups := map[group][]finding{}
		var order []group
		for _, f := range found {
			if !raises(&f) {
				continue
			}
			g := f.subject()
			if groups[g] == nil {
				order = append(order, g)
			}
			groups[g] = append(groups[g], f)
		}
		for _, g := range order {
			if err := raise(ctx, tx, g, groups[g]); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// findings are those behind a place, in order.
func findings(ctx context.Context, tx *sql.Tx, position, item int64) ([]finding, error) {
	var all []finding
	err := sqldb.Each(ctx, tx, func(scan func(...any) error) error {
		var f finding
		var at, id int64
		var rule string
		err := scan(&f.position, &f.item, &rule, &f.action, &f.shadow, &f.Seen, &f.Bound, &f.Policy, &f.Merchant, &f.Terminal,
			&id, &at, &f.RRN, &f.Card, &f.token, &f.Minor, &f.Currency, &f.Reason)
		if err == nil {
			f.rule, err = txn.ParseRule(rule)
		}
		if err != nil {
			return fmt.Errorf("that at %d: %w", f.position, err)
		}
		f.ID, f.At, f.Action = txn.ID(id), time.UnixMicro(at).UTC(), f.action
		all = append(all, f)
		return nil
	}, `SELECT f.position, f.item, f.rule, f.action, f.shadow, f.seen, f.bound, f.policy, f.merchant_id, f.terminal_id,
			t.id, t.at, t.rrn, t.pan_masked, t.card_token, t.amount, t.currency, t.reason
		FROM finding f JOIN txn t ON t.id = f.id AND t.position = f.position
		WHERE f.position >= $1 AND (f.position > $1 OR f.item > $2) ORDER BY f.position, f.item LIMIT $3`, position, item, collectMax)
	return all, failed("read findings", err)
}

// raise adds findings to the pending alert of a group, or opens one. A rule that
// holds payouts does so once for an alert; who is watched at warning is held
// already.
func raise(ctx context.Context, tx *sql.Tx, g group, found []finding) error {
	a, isNew, err := alertOf(ctx, tx, g)
	if err != nil {
		return err
	}
	for i := range found {
		f := &found[i]
		if a.Count < evidenceMax {
			_, err := tx.ExecContext(ctx, `INSERT INTO alert_evidence (alert, item, id, at, rrn, merchant_id, terminal_id, pan_masked, amount, currency, reason, action, seen, bound, policy)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`, a.Number, a.Count, int64(f.ID), f.At.UnixMicro(), f.RRN, f.Merchant, f.Terminal,
				f.Card, f.Minor, int64(f.Currency), f.Reason, f.action, f.Seen, f.Bound, int64(f.Policy))
			if err != nil {
				return failed("keep the evidence of an alert", err)
			}
		}
		a.counts(f.At, f.action)
		if f.action == txn.ActionHold.String() && a.Hold == 0 && g.rule != txn.MakeRule('R', 11) {
			if a.Hold, err = hold(ctx, tx, f.Merchant, "risk", fmt.Sprintf("alert %d: rule %s", a.Number, a.Rule)); err != nil {
				return err
			}
		}
	}
	return store(ctx, tx, &a, isNew)
}

// alertOf is the pending alert of a group, or a new one.
func alertOf(ctx context.Context, tx *sql.Tx, g group) (a Alert, isNew bool, err error) {
	a, err = scanAlert(tx.QueryRowContext(ctx, selectAlert+` WHERE rule = $1 AND merchant_id = $2 AND terminal_id = $3 AND card_token = $4 AND state <> 'disposed'`,
		g.rule.String(), g.merchant, g.terminal, g.card).Scan)
	if isNew = errors.Is(err, sql.ErrNoRows); isNew {
		a = Alert{Rule: g.rule.String(), Merchant: g.merchant, Terminal: g.terminal, Card: g.card, State: Open}
		err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM alert`).Scan(&a.Number)
	}
	return a, isNew, failed("find an alert", err)
}

// counts adds what was found once.
func (a *Alert) counts(at time.Time, action string) {
	if a.Count++; a.Count == 1 || at.Before(a.First) {
		a.First = at
	}
	if at.After(a.Last) {
		a.Last = at
	}
	a.Action = heavier(a.Action, action)
}

func store(ctx context.Context, tx *sql.Tx, a *Alert, isNew bool) (err error) {
	if isNew {
		_, err = tx.ExecContext(ctx, `INSERT INTO alert (number, rule, merchant_id, terminal_id, card_token, action, count, first_at, last_at, state, assignee, hold, risk_type, source, dispositions)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', $11, '', '', '')`, a.Number, a.Rule, a.Merchant, a.Terminal, a.Card, a.Action, a.Count,
			a.First.UnixMicro(), a.Last.UnixMicro(), string(a.State), a.Hold)
	} else {
		_, err = tx.ExecContext(ctx, `UPDATE alert SET action = $1, count = $2, first_at = $3, last_at = $4, hold = $5 WHERE number = $6`,
			a.Action, a.Count, a.First.UnixMicro(), a.Last.UnixMicro(), a.Hold, a.Number)
	}
	return failed("store an alert", err)
}

// Notice is what was found about a terminal beside its transactions: it has no
// evidence, but says itself what it is.
type Notice struct {
	Rule     txn.Rule
	Merchant string
	Terminal string
	Action   txn.Action // that was taken
	At       time.Time
	Why      string
}

// Raise makes alerts of notices, all or none.
func (w *Workbench) Raise(ctx context.Context, notices ...Notice) error {
	return w.db.Update(ctx, func(tx *sql.Tx) error {
		for i := range notices {
			if err := RaiseIn(ctx, tx, &notices[i], time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// RaiseIn makes a notice part of the pending alert of its rule and terminal, or
// opens one, as a part of tx. Where there is one since an instant that is not zero,
// pending or not, it does nothing: the same was told.
func RaiseIn(ctx context.Context, tx *sql.Tx, n *Notice, since time.Time) error {
	g := group{rule: n.Rule, merchant: n.Merchant, terminal: n.Terminal}
	a, isNew, err := alertOf(ctx, tx, g)
	if err != nil {
		return err
	}
	if !since.IsZero() && !isNew && !a.Last.Before(since) {
		return nil
	}
	if !since.IsZero() && isNew {
		var told int64
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM alert WHERE rule = $1 AND merchant_id = $2 AND terminal_id = $3 AND last_at >= $4`,
			a.Rule, a.Merchant, a.Terminal, since.UnixMicro()).Scan(&told)
		if err != nil || told > 0 {
			return failed("find an alert", err)
		}
	}
	a.counts(n.At, n.Action.String())
	if err := store(ctx, tx, &a, isNew); err != nil || !isNew {
		return err
	}
	return note(ctx, tx, a.Number, "acqswitch", "raise", n.Why)
}
