package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Deal is a transaction by which a cardholder paid, and what is left of it by all
// that is known now.
type Deal struct {
	ID       txn.ID
	Day      txn.Date
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	Issuer   txn.IssuerID
	RRN      [12]byte
	Masked   [txn.PANDigitsMax]byte
	Paid     txn.Amount // what stands of it; 0: it does not count
	Left     int64      // of that and what was added later, less refunds and voids; minor units
}

var selectDeals = `SELECT id, business_date, merchant_id, terminal_id, issuer, rrn, pan_masked, currency,
		CASE WHEN ` + counts("txn", "$2") + ` THEN ` + standing("txn", "$2") + ` ELSE 0 END,
		COALESCE((SELECT CAST(SUM(deed.amount * ` + creditKinds("deed") + `) AS BIGINT) FROM txn AS deed WHERE deed.merchant_id = txn.merchant_id
			AND deed.original_id = txn.id AND ` + counts("deed", "$2") + `), 0)
	FROM txn WHERE request IN ` + kindsWhere(func(k txn.Kind) bool { return k.Totals() == txn.Debit })

// DealIn is the deal of a transaction, in a transaction of the database; false: none
// took money under this id.
func DealIn(ctx context.Context, tx *sql.Tx, id txn.ID) (d Deal, ok bool, err error) {
	all, err := queries{tx}.deals(ctx, selectDeals+` AND id = $1`, int64(id))
	if len(all) > 0 {
		d, ok = all[0], true
	}
	return d, ok, err
}

// DealsIn are those of a business day and retrieval reference number, likewise.
func DealsIn(ctx context.Context, tx *sql.Tx, day txn.Date, rrn string) ([]Deal, error) {
	return queries{tx}.deals(ctx, selectDeals+` AND business_date = $3 AND rrn = $1 ORDER BY id`, rrn, day.String())
}

func (q queries) deals(ctx context.Context, query string, what any, more ...any) (all []Deal, err error) {
	err = q.rows(ctx, "read deals", func(scan func(...any) error) error {
		var d Deal
		var id, deeds int64
		var day, merchant, terminal, issuer, rrn, masked string
		err := scan(&id, &day, &merchant, &terminal, &issuer, &rrn, &masked, &d.Paid.Currency, &d.Paid.Minor, &deeds)
		d.ID, d.Left = txn.ID(id), d.Paid.Minor+deeds
		err = errors.Join(err, scanDay(&d.Day, day), untext(d.Merchant[:], ' ', []byte(merchant)), untext(d.Terminal[:], ' ', []byte(terminal)),
			untext(d.Issuer[:], 0, []byte(issuer)), untext(d.RRN[:], 0, []byte(rrn)), untext(d.Masked[:], 0, []byte(masked)))
		if err != nil {
			return fmt.Errorf("transaction %s: %w", d.ID, err)
		}
		all = append(all, d)
		return nil
	}, query, append([]any{what, int64(math.MaxInt64)}, more...)...)
	return all, err
}
