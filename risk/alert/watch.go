package alert

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Party is a merchant or a terminal: one of the two.
type Party struct {
	Merchant string `json:"merchant,omitempty"`
	Terminal string `json:"terminal,omitempty"`
}

// Watched is how closely a party is watched, and since when.
type Watched struct {
	Party
	Number int64     `json:"number"` // rises with every change of the list
	Level  txn.Level `json:"level"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Hold   int64     `json:"hold,omitempty"` // the act that holds the merchant's payouts
}

func (p Party) String() string {
	if p.Merchant != "" {
		return "merchant " + p.Merchant
	}
	return "terminal " + p.Terminal
}

// WatchSubject is what proposals to watch somebody less closely are about.
const WatchSubject = "watch level"

// change is the document of such a proposal.
type change struct {
	Party
	From txn.Level `json:"from"`
	To   txn.Level `json:"to"`
}

// SetLevel watches a party at a level: more closely at once, from warning on with
// a merchant's payouts held. Less closely, or with Unwatched not at all, takes two
// people: it is proposed, and proposal is its number, else 0. What breaks a rule is
// an approval.Refusal.
func (w *Workbench) SetLevel(ctx context.Context, p Party, level txn.Level, by, reason string) (proposal int64, err error) {
	if err := cmp.Or(approval.Person(by), approval.Short("reason", reason)); err != nil {
		return 0, err
	}
	switch {
	case (p.Merchant == "") == (p.Terminal == ""):
		return 0, refuse("name a merchant or a terminal")
	case len(p.Merchant) > len(txn.MerchantID{}) || len(p.Terminal) > len(txn.TerminalID{}):
		return 0, refuse("a merchant is named by at most %d characters and a terminal by %d", len(txn.MerchantID{}), len(txn.TerminalID{}))
	case level > txn.HighRisk:
		return 0, refuse("level %d is none", level)
	case reason == "":
		return 0, refuse("say why")
	}
	err = w.db.Update(ctx, func(tx *sql.Tx) error {
		proposal = 0
		was, err := watchedAt(ctx, tx, p)
		if err == nil && level == txn.Unwatched && was.Level == txn.Unwatched {
			err = refuse("%s is not watched", p)
		}
		if err != nil || level >= was.Level {
			return errors.Join(err, setLevel(ctx, tx, p, level, by, reason))
		}
		text, err := json.Marshal(change{p, was.Level, level})
		if err != nil {
			return err
		}
		x, err := approval.ProposeIn(ctx, tx, approval.Draft{Subject: WatchSubject, Object: p.String(), Document: string(text), By: by, Reason: reason})
		proposal = x.Number
		return err
	})
	return proposal, err
}

// ApproveLevel does what another person proposed: the party is watched less
// closely, and a merchant's payouts that a warning held are released. Whose level
// has changed meanwhile stays as it is, by an approval.Refusal.
func (w *Workbench) ApproveLevel(ctx context.Context, proposal int64, by, why string) error {
	_, err := w.desk.Approve(ctx, WatchSubject, proposal, by, why, func(tx *sql.Tx, p *approval.Proposal) error {
		var c change
		if err := json.Unmarshal([]byte(p.Document), &c); err != nil {
			return fmt.Errorf("read proposal %d: %w", p.Number, err)
		}
		was, err := watchedAt(ctx, tx, c.Party)
		if err != nil {
			return err
		}
		if was.Level != c.From {
			return refuse("%s is watched at %s meanwhile, and was at %s when proposal %d was made: propose it again", c.Party, was.Level, c.From, p.Number)
		}
		return setLevel(ctx, tx, c.Party, c.To, by, fmt.Sprintf("proposal %d by %s: %s", p.Number, p.By, p.Reason))
	})
	return err
}

func setLevel(ctx context.Context, tx *sql.Tx, p Party, level txn.Level, by, reason string) error {
	was, err := watchedAt(ctx, tx, p)
	if err != nil || was.Level == level {
		return err
	}
	held := was.Hold
	switch {
	case p.Merchant == "":
	case level >= txn.Warning && held == 0:
		held, err = hold(ctx, tx, p.Merchant, by, fmt.Sprintf("watched at %s: %s", level, reason))
	case level < txn.Warning && held != 0:
		err = release(ctx, tx, held, p.Merchant, by, fmt.Sprintf("watched at %s: %s", level, reason))
		held = 0
	}
	if err != nil {
		return err
	}
	var number int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM watch`).Scan(&number); err != nil {
		return failed("number a change of the watch list", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO watch (number, at, merchant_id, terminal_id, level, hold, by_whom, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		number, time.Now().UnixMicro(), p.Merchant, p.Terminal, int64(level), held, by, reason)
	return failed("change the watch list", err)
}

const selectWatch = `SELECT number, at, merchant_id, terminal_id, level, hold, by_whom, reason FROM watch x`

func scanWatched(scan func(...any) error) (x Watched, err error) {
	var at int64
	err = scan(&x.Number, &at, &x.Merchant, &x.Terminal, &x.Level, &x.Hold, &x.By, &x.Reason)
	x.At = time.UnixMicro(at).UTC()
	return x, err
}

// watchedAt is the zero Watched of a party that never was on the list.
func watchedAt(ctx context.Context, tx *sql.Tx, p Party) (Watched, error) {
	x, err := scanWatched(tx.QueryRowContext(ctx, selectWatch+` WHERE merchant_id = $1 AND terminal_id = $2 ORDER BY number DESC LIMIT 1`, p.Merchant, p.Terminal).Scan)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return x, failed("read the watch list", err)
	}
	return x, nil
}

// Watch is everybody who is watched, and the version of the list: the number of
// its last change.
func (w *Workbench) Watch(ctx context.Context) (list []Watched, version int64, err error) {
	err = w.db.View(ctx, func(tx *sql.Tx) error {
		if version, err = watchVersion(ctx, tx); err != nil {
			return err
		}
		return failed("read the watch list", sqldb.Each(ctx, tx, func(scan func(...any) error) error {
			x, err := scanWatched(scan)
			list = append(list, x)
			return err
		}, selectWatch+` WHERE level > 0 AND number = (SELECT MAX(number) FROM watch y WHERE y.merchant_id = x.merchant_id AND y.terminal_id = x.terminal_id) ORDER BY number`))
	})
	return list, version, err
}

// WatchVersion is the version of the list: who has the list of this version
// needs no other.
func (w *Workbench) WatchVersion(ctx context.Context) (version int64, err error) {
	err = w.db.View(ctx, func(tx *sql.Tx) error {
		version, err = watchVersion(ctx, tx)
		return err
	})
	return version, err
}

func watchVersion(ctx context.Context, tx *sql.Tx) (version int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) FROM watch`).Scan(&version)
	return version, failed("read the watch list", err)
}
