package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Leg is a transaction as its issuer knows it: what a file of that issuer is held
// against.
type Leg struct {
	ID       txn.ID
	Day      txn.Date
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	Acquirer txn.AcquirerID
	Kind     txn.Kind
	Amount   txn.Amount // what stands of it
	Masked   [txn.PANDigitsMax]byte
	Leg      txn.Leg
	RRN      [12]byte
	AuthCode [6]byte
	Outcome  txn.Outcome
	Stands   bool // it counts in the books by all that is known now
	Reversed bool // a reversal of the whole is due or done
}

var (
	legColumns = `id, business_date, merchant_id, terminal_id, acquirer, request, ` + standing("txn", "$3") + `, currency, pan_masked, issuer, issuer_stan, issuer_time, rrn, auth_code, outcome`

	selectStanding = `SELECT ` + legColumns + `, 1, 0 FROM txn WHERE business_date = $1 AND issuer = $2 AND ` + counts("txn", "$3")

	selectLegs = `SELECT ` + legColumns + `, CASE WHEN ` + counts("txn", "$3") + ` THEN 1 ELSE 0 END,
		CASE WHEN EXISTS (SELECT 1 FROM event AS undo WHERE undo.merchant_id = txn.merchant_id AND undo.original_id = txn.id
			AND undo.kind || '' IN ('reversal due', 'reversal done') AND undo.stays = 0) THEN 1 ELSE 0 END
		FROM txn WHERE business_date >= $1 AND business_date <= $2 AND issuer_stan <> 0`
)

// Standing calls fn with what counts of a business day and issuer by all that is
// known now, in no order. The leg is overwritten by the next call.
func (q queries) Standing(ctx context.Context, day txn.Date, issuer txn.IssuerID, fn func(*Leg) error) error {
	return q.legs(ctx, fn, selectStanding, day.String(), issuer.String(), int64(math.MaxInt64))
}

// LegNumber is a number by which legs are looked up.
type LegNumber uint8

// The numbers of a leg.
const (
	BySTAN LegNumber = iota // DE11 of our request to the issuer
	ByRRN                   // DE37, of twelve digits
)

// legsByNumber is up to how many numbers the database picks the rows; above,
// comparing each row with all of them costs more than reading it.
const legsByNumber = 1000

// Legs calls fn with all that was ever put to an issuer on the business days from
// first to last under one of some numbers, likewise. It may call it with others too.
func (q queries) Legs(ctx context.Context, first, last txn.Date, by LegNumber, numbers []uint64, fn func(*Leg) error) error {
	query := selectLegs
	if len(numbers) <= legsByNumber {
		column, form := " AND issuer_stan IN (0", ",%d"
		if by == ByRRN {
			column, form = " AND rrn IN (''", ",'%012d'"
		}
		b := []byte(query + column)
		for _, n := range numbers {
			b = fmt.Appendf(b, form, n)
		}
		query = string(append(b, ')'))
	}
	return q.legs(ctx, fn, query, first.String(), last.String(), int64(math.MaxInt64))
}

func (q queries) legs(ctx context.Context, fn func(*Leg) error, query string, args ...any) error {
	rows, err := q.on.QueryContext(ctx, query, args...)
	if err != nil {
		if sqldb.NoTable(err) {
			return ErrNoSchema
		}
		return fmt.Errorf("read legs: %w", err)
	}
	defer rows.Close()
	var day, merchant, terminal, request, masked, issuer, at, rrn, auth, outcome sql.RawBytes
	var id int64
	var g Leg
	dest := []any{&id, &day, &merchant, &terminal, &g.Acquirer, &request, &g.Amount.Minor, &g.Amount.Currency, &masked, &issuer, &g.Leg.STAN, &at, &rrn, &auth,
		&outcome, &g.Stands, &g.Reversed}
	e := Entry{Rec: &txn.Record{}}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return fmt.Errorf("read legs: %w", err)
		}
		err := errors.Join(getDay(&e, value{s: day}), untext(g.Merchant[:], ' ', merchant), untext(g.Terminal[:], ' ', terminal), untext(g.Masked[:], 0, masked),
			untext(g.Leg.Issuer[:], 0, issuer), untext(g.Leg.Time[:], 0, at), untext(g.RRN[:], 0, rrn), untext(g.AuthCode[:], 0, auth))
		g.ID, g.Day, g.Kind, g.Outcome = txn.ID(id), e.Rec.Day, kinds[string(request)], outcomes[string(outcome)]
		if err != nil {
			return fmt.Errorf("read the leg of transaction %s: %w", g.ID, err)
		}
		if err := fn(&g); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read legs: %w", err)
	}
	return nil
}
