package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// ActKind is what people, the bank or an issuer decided.
type ActKind string

// The kinds. A hold stands until it is released. The others move money, and their
// names are those of the items that a run books them as.
const (
	Hold       ActKind = "hold"
	Release    ActKind = "release"
	Correction ActKind = "correction"
	PayoutPaid ActKind = "payout paid" // the bank has paid it
	PayoutBack ActKind = "payout back" // it has not, or it came back
	Dispute    ActKind = "dispute"     // a step of a case
)

// Act is a row of act.
type Act struct {
	Number      int64
	At          time.Time
	Kind        ActKind
	Who, Reason string
	// Refers is a hold's number, or that of a payout that came back, in its release;
	// the proposal's number of what two people agreed on.
	Refers int64
	// About is what it is about besides the merchant, once for each kind: a payment's
	// end-to-end id, the step of a case; may be empty.
	About string
	Claim // Currency is set of what moves money only
	// Of what moves money: who proposed it, the names of accounts, and what is moved
	// between them.
	Proposer, Debit, Credit string
	Minor                   int64
	Issuer                  txn.IssuerID // whose account, where one of the two is an issuer's; may be empty
}

// Moves says that an act moves money.
func (a *Act) Moves() bool { return a.Kind != Hold && a.Kind != Release }

const actColumns = `number, at, kind, who, reason, refers, about, merchant_id, proposer, currency, debit, credit, amount, issuer`

const (
	selectActs  = `SELECT ` + actColumns + ` FROM act WHERE number > $1 AND number <= $2 ORDER BY number`
	selectKind  = `SELECT ` + actColumns + ` FROM act WHERE kind = $1 AND number <= $2 ORDER BY number`
	selectAbout = `SELECT ` + actColumns + ` FROM act WHERE about = $1 AND about <> '' ORDER BY number`
	selectOfDay = `SELECT ` + actColumns + ` FROM act WHERE about >= $1 AND about < $2 AND about <> '' AND kind IN ('payout paid', 'payout back') ORDER BY number`

	notReleased = ` AND NOT EXISTS (SELECT 1 FROM act AS released WHERE released.kind = 'release' AND released.refers = act.number AND released.refers <> 0
		AND released.number <= $1)`

	// What came back keeps a claim's payouts until it is released or a later payment
	// of the claim was paid: end-to-end ids begin with the day.
	selectHolding = `SELECT ` + actColumns + ` FROM act WHERE number <= $1 AND kind = 'hold'` + notReleased + `
		UNION ALL SELECT ` + actColumns + ` FROM act WHERE number <= $1 AND kind = 'payout back'` + notReleased + `
			AND NOT EXISTS (SELECT 1 FROM act AS paid WHERE paid.merchant_id = act.merchant_id AND paid.currency = act.currency AND paid.kind = 'payout paid'
				AND paid.about > act.about AND paid.number <= $1)
		ORDER BY number`
)

func scanAct(scan func(...any) error) (a Act, err error) {
	var at int64
	var merchant, issuer string
	err = scan(&a.Number, &at, &a.Kind, &a.Who, &a.Reason, &a.Refers, &a.About, &merchant, &a.Proposer, &a.Currency, &a.Debit, &a.Credit, &a.Minor, &issuer)
	a.At = time.UnixMicro(at).UTC()
	return a, errors.Join(err, untext(a.Merchant[:], ' ', []byte(merchant)), untext(a.Issuer[:], 0, []byte(issuer)))
}

func (q queries) acts(ctx context.Context, fn func(*Act) error, query string, args ...any) error {
	return q.rows(ctx, "read acts", func(scan func(...any) error) error {
		a, err := scanAct(scan)
		if err == nil {
			err = fn(&a)
		}
		return err
	}, query, args...)
}

// Acts calls fn with the acts after a number up to another one, in order.
func (q queries) Acts(ctx context.Context, after, upTo int64, fn func(*Act) error) error {
	return q.acts(ctx, fn, selectActs, after, upTo)
}

// ActsOf calls fn with the acts of a kind up to a number, in order.
func (q queries) ActsOf(ctx context.Context, kind ActKind, upTo int64, fn func(*Act) error) error {
	return q.acts(ctx, fn, selectKind, string(kind), upTo)
}

// ActsOfDay calls fn with what the bank said to the payments of a day, in order.
func (q queries) ActsOfDay(ctx context.Context, day txn.Date, fn func(*Act) error) error {
	return q.acts(ctx, fn, selectOfDay, fmt.Sprintf("%08d", uint32(day)), fmt.Sprintf("%08d", uint32(day.After())))
}

// Holding calls fn with what keeps payouts by the acts up to a number, in order:
// holds that are not released, and payouts that came back after which the bank
// paid nothing to that merchant in that currency, likewise.
func (q queries) Holding(ctx context.Context, upTo int64, fn func(*Act) error) error {
	return q.acts(ctx, fn, selectHolding, upTo)
}

// LastAct is the number of the last act; 0 is none.
func (q queries) LastAct(ctx context.Context) (n int64, err error) {
	if err = q.on.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) FROM act`).Scan(&n); err != nil {
		if sqldb.NoTable(err) {
			return 0, ErrNoSchema
		}
		return 0, fmt.Errorf("read acts: %w", err)
	}
	return n, nil
}

// ErrReleased: the hold is there no more.
var ErrReleased = errors.New("the hold was released already")

// ErrNoHold: there never was one.
var ErrNoHold = errors.New("there is no such hold")

// HoldIn is the hold, or the payout that came back, with a number, in a transaction:
// ErrNoHold or ErrReleased where there is none to release.
func HoldIn(ctx context.Context, tx *sql.Tx, number int64) (held Act, err error) {
	err = queries{tx}.Acts(ctx, number-1, number, func(a *Act) error { held = *a; return nil })
	if err == nil && held.Kind != Hold && held.Kind != PayoutBack {
		err = ErrNoHold
	}
	if err != nil {
		return held, err
	}
	return held, unreleased(ctx, tx, Release, number)
}

// unreleased is ErrReleased where an act of a kind refers to number already.
func unreleased(ctx context.Context, tx *sql.Tx, kind ActKind, number int64) error {
	var n int64
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM act WHERE refers <> 0 AND kind = $1 AND refers = $2`, string(kind), number).Scan(&n); err != nil {
		return fmt.Errorf("look for the release of %d: %w", number, err)
	}
	if n > 0 {
		return ErrReleased
	}
	return nil
}

// AddAct numbers an act and makes it durable, as AddActIn does.
func (l *Ledger) AddAct(ctx context.Context, a *Act) error {
	return l.Decide(ctx, func(tx *sql.Tx) error { return AddActIn(ctx, tx, a) })
}

// Decide calls fn with a transaction of sqldb.DB.Update, for acts that follow from
// what is there.
func (l *Ledger) Decide(ctx context.Context, fn func(*sql.Tx) error) error {
	return l.db.Update(ctx, fn)
}

// ActsOfDayIn is ActsOfDay in a transaction.
func ActsOfDayIn(ctx context.Context, tx *sql.Tx, day txn.Date, fn func(*Act) error) error {
	return queries{tx}.ActsOfDay(ctx, day, fn)
}

// HoldingIn is Holding by all acts, in a transaction.
func HoldingIn(ctx context.Context, tx *sql.Tx, fn func(*Act) error) error {
	return queries{tx}.Holding(ctx, math.MaxInt64, fn)
}

// ActsAboutIn are the acts about one thing, in order, in a transaction.
func ActsAboutIn(ctx context.Context, tx *sql.Tx, about string) (all []Act, err error) {
	err = queries{tx}.acts(ctx, func(a *Act) error { all = append(all, *a); return nil }, selectAbout, about)
	return all, err
}

// AddActIn numbers an act in a transaction of sqldb.DB.Update. Numbers have no
// gaps, so a run that takes acts up to a number takes all of them. It fails with
// ErrReleased if it releases what is released.
func AddActIn(ctx context.Context, tx *sql.Tx, a *Act) error {
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM act`).Scan(&a.Number)
	if err == nil && a.Refers != 0 {
		if err := unreleased(ctx, tx, a.Kind, a.Refers); err != nil {
			return err
		}
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO act (`+actColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`, a.Number, a.At.UnixMicro(),
			string(a.Kind), a.Who, a.Reason, a.Refers, a.About, a.Merchant.String(), a.Proposer, int64(a.Currency), a.Debit, a.Credit, a.Minor, a.Issuer.String())
	}
	if err != nil {
		return fmt.Errorf("add the %s: %w", a.Kind, err)
	}
	return nil
}
