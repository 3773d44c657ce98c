// Package alert is the risk officer's workbench: what rules found becomes alerts,
// alerts get an assignee, and somebody disposes of them; who is watched, and how
// closely, is kept here too.
//
// Promises: a finding that is in the ledger becomes part of exactly one alert,
// however often Collect is called, by however many processes, and whatever broke
// between: the place up to which findings were looked at moves in the same
// transaction. What is disposed of stays as it was decided, with who and when,
// and so does the list of who is watched. A decision and what it does to payouts,
// to the watch list and to the registry are there together, or neither.
//
// Not here: what rules look for (package risk), how payouts are held (package
// settlement: an act of the ledger), the registry.
package alert

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	collectMax  = 1_000  // findings that one transaction takes in
	evidenceMax = 100    // findings that an alert keeps one by one; the others are counted
	listMax     = 10_000 // alerts that List returns
)

// State is how far an alert is.
type State string

// The states.
const (
	Open     State = "open"
	Assigned State = "assigned"
	Disposed State = "disposed"
)

// ParseState reads a state.
func ParseState(s string) (State, error) {
	if all := []State{Open, Assigned, Disposed}; slices.Contains(all, State(s)) {
		return State(s), nil
	}
	return "", fmt.Errorf("state %q must be open, assigned or disposed", s)
}

// Alert is what one rule found about one subject: a merchant, one of its
// terminals, or a card.
type Alert struct {
	Number   int64     `json:"number"`
	Rule     string    `json:"rule"`
	Merchant string    `json:"merchant,omitempty"`
	Terminal string    `json:"terminal,omitempty"`
	Card     string    `json:"card,omitempty"` // keyed hash; the evidence has the masked number
	Action   string    `json:"action"`         // the heaviest that was taken
	Count    int64     `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	State    State     `json:"state"`
	Assignee string    `json:"assignee,omitempty"`
	Hold     int64     `json:"hold,omitempty"` // the act that holds the merchant's payouts for it, until it is released
	// Proposal is what Dispose proposed: that the payouts are released.
	Proposal int64     `json:"proposal,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
	// Of one alert that was asked for.
	Evidence []Evidence `json:"evidence,omitempty"`
	History  []Act      `json:"history,omitempty"`
}

// Evidence is one finding with its transaction.
type Evidence struct {
	ID       txn.ID    `json:"id"`
	At       time.Time `json:"at"`
	RRN      string    `json:"rrn"`
	Merchant string    `json:"merchant"`
	Terminal string    `json:"terminal"`
	Card     string    `json:"card"` // masked
	Minor    int64     `json:"amount"`
	Currency uint16    `json:"currency"`
	Reason   string    `json:"reason"` // what the transaction was answered
	Action   string    `json:"action"`
	Seen     int64     `json:"seen"`  // what the rule compared
	Bound    int64     `json:"bound"` // and with what
	Policy   uint32    `json:"policy"`
}

// Act is what somebody did about an alert; of one beside transactions the first
// says what it is.
type Act struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Act  string    `json:"act"` // raise, assign, dispose
	Text string    `json:"text"`
}

func refuse(format string, args ...any) error { return approval.Refuse(format, args...) }

// ErrNoSchema: nobody has called Migrate on this database yet.
var ErrNoSchema = errors.New("the database has no tables of alerts yet; a switch makes them when it starts")

// Workbench is where alerts lie. It is safe for concurrent use, by several
// processes too.
type Workbench struct {
	db   *sqldb.DB
	desk *approval.Desk // what takes two people
}

// New is the workbench of the ledger's database.
func New(db *sqldb.DB) *Workbench { return &Workbench{db, approval.New(db)} }

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is what Migrate brings up to date.
var Schema = sqldb.Schema{Files: migrations, Versions: "alert_version"}

// Migrate makes the tables, beside the ledger's, and the desk's.
func (w *Workbench) Migrate(ctx context.Context) error {
	if err := w.db.Migrate(ctx, Schema); err != nil {
		return err
	}
	return w.desk.Migrate(ctx)
}

// hold holds a merchant's payouts.
func hold(ctx context.Context, tx *sql.Tx, merchant, who, why string) (int64, error) {
	a := ledger.Act{At: time.Now(), Kind: ledger.Hold, Who: who, Reason: why, Claim: ledger.Claim{Merchant: txn.MakeMerchantID(merchant)}}
	err := ledger.AddActIn(ctx, tx, &a)
	return a.Number, err
}

// release releases a hold. That somebody released it by hand before is no error.
func release(ctx context.Context, tx *sql.Tx, number int64, merchant, who, why string) error {
	a := ledger.Act{At: time.Now(), Kind: ledger.Release, Who: who, Reason: why, Refers: number, Claim: ledger.Claim{Merchant: txn.MakeMerchantID(merchant)}}
	if err := ledger.AddActIn(ctx, tx, &a); !errors.Is(err, ledger.ErrReleased) {
		return err
	}
	return nil
}

// Filter chooses alerts. Empty fields choose all; without a state, those that are
// not disposed of.
type Filter struct {
	State    State
	Rule     string
	Merchant string
	Assignee string
}

// List is the chosen alerts by number, at most 10,000, without evidence and
// history.
func (w *Workbench) List(ctx context.Context, f Filter) (all []Alert, err error) {
	err = w.db.View(ctx, func(tx *sql.Tx) error {
		return failed("list alerts", sqldb.Each(ctx, tx, func(scan func(...any) error) error {
			a, err := scanAlert(scan)
			all = append(all, a)
			return err
		}, selectAlert+` WHERE (state = $1 OR $1 = '' AND state <> 'disposed') AND ($2 = '' OR rule = $2) AND ($3 = '' OR merchant_id = $3)
			AND ($4 = '' OR assignee = $4) ORDER BY number LIMIT $5`, string(f.State), f.Rule, f.Merchant, f.Assignee, listMax))
	})
	return all, err
}

// Get is one alert with its evidence and history.
func (w *Workbench) Get(ctx context.Context, number int64) (a Alert, err error) {
	err = w.db.View(ctx, func(tx *sql.Tx) error {
		if a, err = get(ctx, tx, number); err != nil {
			return err
		}
		err := sqldb.Each(ctx, tx, func(scan func(...any) error) error {
			var e Evidence
			var id, at int64
			err := scan(&id, &at, &e.RRN, &e.Merchant, &e.Terminal, &e.Card, &e.Minor, &e.Currency, &e.Reason, &e.Action, &e.Seen, &e.Bound, &e.Policy)
			e.ID, e.At = txn.ID(id), time.UnixMicro(at).UTC()
			a.Evidence = append(a.Evidence, e)
			return err
		}, `SELECT id, at, rrn, merchant_id, terminal_id, pan_masked, amount, currency, reason, action, seen, bound, policy
			FROM alert_evidence WHERE alert = $1 ORDER BY item`, number)
		if err != nil {
			return failed("read the evidence of an alert", err)
		}
		return failed("read the history of an alert", sqldb.Each(ctx, tx, func(scan func(...any) error) error {
			var x Act
			var at int64
			err := scan(&at, &x.By, &x.Act, &x.Text)
			x.At = time.UnixMicro(at).UTC()
			a.History = append(a.History, x)
			return err
		}, `SELECT at, by_whom, act, text FROM alert_act WHERE alert = $1 ORDER BY item`, number))
	})
	return a, err
}

const selectAlert = `SELECT number, rule, merchant_id, terminal_id, card_token, action, count, first_at, last_at, state, assignee,
	CASE WHEN EXISTS (SELECT 1 FROM act WHERE act.refers <> 0 AND act.kind = 'release' AND act.refers = alert.hold) THEN 0 ELSE hold END, risk_type, source, dispositions FROM alert`

func scanAlert(scan func(...any) error) (a Alert, err error) {
	var first, last int64
	var state, risk, source, dispositions string
	err = scan(&a.Number, &a.Rule, &a.Merchant, &a.Terminal, &a.Card, &a.Action, &a.Count, &first, &last, &state, &a.Assignee, &a.Hold, &risk, &source, &dispositions)
	a.First, a.Last, a.State = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC(), State(state)
	if a.State == Disposed {
		a.Decision = &Decision{RiskType: risk, Source: source, Dispositions: strings.Split(dispositions, ",")}
	}
	return a, err
}

func get(ctx context.Context, tx *sql.Tx, number int64) (Alert, error) {
	a, err := scanAlert(tx.QueryRowContext(ctx, selectAlert+` WHERE number = $1`, number).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return a, refuse("there is no alert %d", number)
	case err != nil:
		return a, failed("read an alert", err)
	}
	return a, nil
}

// Assign gives an alert to somebody, who has it until it is disposed of or given
// to somebody else. What breaks a rule is an approval.Refusal.
func (w *Workbench) Assign(ctx context.Context, number int64, to, by string) (a Alert, err error) {
	if err := cmp.Or(approval.Person(to), approval.Person(by)); err != nil {
		return a, err
	}
	err = w.db.Update(ctx, func(tx *sql.Tx) error {
		if a, err = pending(ctx, tx, number); err != nil {
			return err
		}
		a.State, a.Assignee = Assigned, to
		if _, err := tx.ExecContext(ctx, `UPDATE alert SET state = $1, assignee = $2 WHERE number = $3`, string(a.State), to, number); err != nil {
			return failed("assign an alert", err)
		}
		return note(ctx, tx, number, by, "assign", "to "+to)
	})
	return a, err
}

// pending is an alert that is not disposed of.
func pending(ctx context.Context, tx *sql.Tx, number int64) (Alert, error) {
	a, err := get(ctx, tx, number)
	if err == nil && a.State == Disposed {
		return a, refuse("alert %d is disposed of already, as %s; if it happens again there will be another alert", number, strings.Join(a.Decision.Dispositions, ", "))
	}
	return a, err
}

// Registry is where merchants and terminals have their statuses.
type Registry interface {
	// Suspend stops serving a merchant, or one of its terminals, as a part of tx.
	// One that is not served anyway stays as it is.
	Suspend(ctx context.Context, tx *sql.Tx, merchant, terminal, by, reason string) error
}

// Dispose decides an assigned alert. Some dispositions do something, in the same
// transaction:
//
//	03, 04, 06  the merchant's payouts are held until the hold is released. Where
//	            a rule held them and none of these is said, it is proposed to
//	            release them: another person approves it, or they stay held
//	08          the merchant becomes high-risk: its payments are refused. The
//	            registry suspends it
//	09          likewise the terminal; that it is fetched is entered there
//	10          the merchant is watched one level higher, from warning on its
//	            payouts are held, too
//
// A registry that is a file is nil: who edits it suspends them there. What breaks a
// rule is an approval.Refusal.
func (w *Workbench) Dispose(ctx context.Context, number int64, d Decision, by string, registry Registry) (a Alert, err error) {
	if err := approval.Person(by); err != nil {
		return a, err
	}
	if err := errors.Join(d.Check(), approval.Short("note", d.Note)); err != nil {
		return a, refuse("%v", err)
	}
	err = w.db.Update(ctx, func(tx *sql.Tx) error {
		if a, err = pending(ctx, tx, number); err != nil {
			return err
		}
		switch {
		case a.State != Assigned:
			return refuse("alert %d is nobody's: assign it first", number)
		case a.Merchant == "" && d.does("03", "04", "06", "08", "10"):
			return refuse("alert %d is about a card, not a merchant: %s cannot be done about it", number, strings.Join(d.Dispositions, ", "))
		case a.Terminal == "" && d.does("09"):
			return refuse("alert %d is about no terminal that could be taken back", number)
		}
		if err := w.act(ctx, tx, &a, &d, by, registry); err != nil {
			return err
		}
		a.State, a.Decision = Disposed, &d
		if _, err := tx.ExecContext(ctx, `UPDATE alert SET state = $1, hold = $2, risk_type = $3, source = $4, dispositions = $5 WHERE number = $6`,
			string(a.State), a.Hold, d.RiskType, d.Source, strings.Join(d.Dispositions, ","), number); err != nil {
			return failed("dispose of an alert", err)
		}
		text := fmt.Sprintf("risk type %s, source %s, disposition %s.", d.RiskType, d.Source, strings.Join(d.Dispositions, ", "))
		if a.Proposal != 0 {
			text += fmt.Sprintf(" Payouts go on when another person approves proposal %d.", a.Proposal)
		}
		return note(ctx, tx, number, by, "dispose", strings.TrimSpace(text+" "+d.Note))
	})
	return a, err
}

// act does what a decision does besides being noted.
func (w *Workbench) act(ctx context.Context, tx *sql.Tx, a *Alert, d *Decision, by string, registry Registry) (err error) {
	why := fmt.Sprintf("alert %d: rule %s", a.Number, a.Rule)
	switch held := d.does("03", "04", "06"); {
	case held && a.Hold == 0:
		if a.Hold, err = hold(ctx, tx, a.Merchant, by, why); err != nil {
			return err
		}
	case !held && a.Hold != 0:
		if a.Proposal, err = settlement.ProposeReleaseIn(ctx, tx, a.Hold, by, why); err != nil {
			return err
		}
	}
	merchant, terminal := Party{Merchant: a.Merchant}, Party{Terminal: a.Terminal}
	if d.does("08") {
		if err := setLevel(ctx, tx, merchant, txn.HighRisk, by, why); err != nil {
			return err
		}
	} else if d.does("10") {
		was, err := watchedAt(ctx, tx, merchant)
		if err != nil {
			return err
		}
		if err := setLevel(ctx, tx, merchant, min(was.Level+1, txn.HighRisk), by, why); err != nil {
			return err
		}
	}
	if d.does("09") {
		if err := setLevel(ctx, tx, terminal, txn.HighRisk, by, why); err != nil {
			return err
		}
	}
	if registry == nil {
		return nil
	}
	if d.does("08") {
		if err := registry.Suspend(ctx, tx, a.Merchant, "", by, why); err != nil {
			return err
		}
	}
	if d.does("09") {
		return registry.Suspend(ctx, tx, a.Merchant, a.Terminal, by, why)
	}
	return nil
}

// note adds to the history of an alert.
func note(ctx context.Context, tx *sql.Tx, number int64, by, act, text string) error {
	var item int64
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM alert_act WHERE alert = $1`, number).Scan(&item)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO alert_act (alert, item, at, by_whom, act, text) VALUES ($1, $2, $3, $4, $5, $6)`, number, item, time.Now().UnixMicro(), by, act, text)
	}
	return failed("note an act about an alert", err)
}

// failed says what could not be done, if there is an error.
func failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case sqldb.NoTable(err):
		err = ErrNoSchema
	}
	return fmt.Errorf("%s: %w", what, err)
}
