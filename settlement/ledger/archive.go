package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Archive answers the running switch what it asks of transactions that are no
// longer in its memory. It sees what was drained, which lags behind by seconds.
type Archive struct{ queries }

// Archive is the ledger as the switch asks it, on the pool for reading.
func (l *Ledger) Archive() Archive { return Archive{l.queries} }

// ByKey finds the transactions of a key and business day, of the financial or
// of the advice class.
func (a Archive) ByKey(ctx context.Context, merchant txn.MerchantID, day txn.Date, key txn.Key) ([]txn.Record, error) {
	found, err := records(a.queries.ByKey(ctx, merchant, day, key))
	if err != nil || len(found) > 0 {
		return found, err
	}
	key.Class = txn.ClassAdvice
	return records(a.queries.ByKey(ctx, merchant, day, key))
}

// decidedColumns are the parameters of Decided before its days.
const decidedColumns = 5

// Decided finds the decided requests of a key on any of some business days, the
// latest first: one look into the primary key for each day.
func (a Archive) Decided(ctx context.Context, merchant txn.MerchantID, days []txn.Date, key txn.Key) ([]txn.Record, error) {
	args := []any{merchant.String(), key.Terminal.String(), int64(key.Batch), int64(key.STAN), int64(key.Class)}
	var in strings.Builder
	for i, day := range days {
		if i > 0 {
			in.WriteString(", ")
		}
		fmt.Fprintf(&in, "$%d", decidedColumns+1+i)
		args = append(args, day.String())
	}
	return records(a.list(ctx, transactions+` WHERE merchant_id = $1 AND terminal_id = $2 AND batch = $3 AND stan = $4 AND class = $5
		AND business_date IN (`+in.String()+`) ORDER BY business_date DESC, repeat_id`, args...))
}

// ByRRN finds the transactions of a merchant and business day with a retrieval
// reference number.
func (a Archive) ByRRN(ctx context.Context, merchant txn.MerchantID, day txn.Date, rrn [12]byte) ([]txn.Record, error) {
	found, err := records(a.queries.ByRRN(ctx, day, string(rrn[:])))
	n := 0
	for i := range found {
		if found[i].Merchant == merchant {
			found[n] = found[i]
			n++
		}
	}
	return found[:n], err
}

var selectPreauths = transactions + ` WHERE merchant_id = $1 AND card_token = $2 AND request = 'preauth'
	AND auth_code = $3 AND business_date >= $4 ORDER BY position DESC`

// Preauths finds the pre-authorizations of a card at a merchant with an
// authorization code, since a business day, the latest first.
func (a Archive) Preauths(ctx context.Context, merchant txn.MerchantID, card txn.CardToken, auth [6]byte, since txn.Date) ([]txn.Record, error) {
	var token, code []byte
	e := Entry{Rec: &txn.Record{Card: card, AuthCode: auth}}
	for _, c := range columns {
		switch c.name {
		case "card_token":
			token = textOf(c, &e)
		case "auth_code":
			code = textOf(c, &e)
		}
	}
	return records(a.list(ctx, selectPreauths, merchant.String(), string(token), string(code), since.String()))
}

var selectByOriginal = transactions + ` WHERE merchant_id = $1 AND original_id = $2 AND original_id <> 0 ORDER BY position`

// Deeds are the outcomes that name an original, those that name these (voids of
// completions), and the events about it and about them all.
func (a Archive) Deeds(ctx context.Context, merchant txn.MerchantID, id txn.ID) ([]txn.Record, error) {
	var found []txn.Record
	for level := []txn.ID{id}; len(level) > 0; {
		var next []txn.ID
		for _, id := range level {
			events, err := records(a.Events(ctx, merchant, id))
			if err != nil {
				return nil, err
			}
			outcomes, err := records(a.ByOriginal(ctx, merchant, id))
			if err != nil {
				return nil, err
			}
			found = append(append(found, events...), outcomes...)
			for i := range outcomes {
				next = append(next, outcomes[i].ID)
			}
		}
		level = next
	}
	return found, nil
}

// records is what a query found; a ledger without tables has nothing in it yet.
func records(entries []Entry, err error) ([]txn.Record, error) {
	if err != nil && sqldb.NoTable(err) {
		return nil, nil
	}
	recs := make([]txn.Record, len(entries))
	for i, e := range entries {
		recs[i] = *e.Rec
	}
	return recs, err
}
