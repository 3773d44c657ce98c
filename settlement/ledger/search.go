package ledger

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Search says which transactions are meant. The zero value of a field but From
// and To, which are both included, leaves it open.
type Search struct {
	From, To txn.Date
	RRN      string
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	Card     txn.CardToken
	Kind     txn.Kind
	Code     string       // DE39 told to the terminal
	Currency txn.Currency // needed with Min and Max
	Min, Max int64        // minor units, both included
	Newest   bool         // the latest first
	Limit    int64
}

// Found is a transaction as a search lists it: without its card number, and without
// the place where it was made.
type Found struct {
	*txn.Record
	Reversed int64 // minor units that were taken back, or are about to be
}

var (
	foundColumns = chosen(`merchant_id business_date terminal_id batch stan id position at request entry_mode mcc amount currency pan_masked
		issuer outcome reason code issuer_code auth_code rrn original_id card_type`)
	selectFound = `SELECT 'outcome' AS kind, ` + strings.Join(namesOf(foundColumns), ", ") + `, COALESCE((SELECT MAX(txn.amount - event.stays) FROM event
		WHERE event.merchant_id = txn.merchant_id AND event.original_id = txn.id AND event.kind || '' IN ('reversal due', 'reversal done')), 0) AS reversed
		FROM txn WHERE business_date = $1`
	selectDayFrom = `SELECT COALESCE(MIN(business_date), '0000-00-00') FROM txn WHERE business_date >= $1 AND business_date <= $2`
	selectDayTo   = `SELECT COALESCE(MAX(business_date), '0000-00-00') FROM txn WHERE business_date >= $1 AND business_date <= $2`
)

// Search calls fn with the transactions that are meant, by business day and
// journal position; the record is overwritten by the next call. It keeps one row
// at a time, whatever their number: a statement for each business day that has
// transactions reads it by an index, its RRNs', its merchants' or that of its
// positions. A day is one snapshot, held until its last row is taken.
func (q queries) Search(ctx context.Context, s *Search, fn func(Found) error) error {
	from, to, left := s.From, s.To, s.Limit
	if left == 0 {
		left = math.MaxInt64
	}
	for from <= to && left > 0 {
		next := q.FirstDay
		if s.Newest {
			next = q.LastDay
		}
		day, err := next(ctx, from, to)
		if err != nil || day == 0 {
			return err
		}
		query, args := s.statement(day, left)
		var reversed int64
		told := append(slices.Clip(foundColumns), column{name: "reversed", get: func(_ *Entry, v value) error { reversed = v.n; return nil }})
		err = q.eachOf(ctx, told, func(e Entry) error {
			left--
			return fn(Found{e.Rec, reversed})
		}, query, args...)
		if err != nil {
			return err
		}
		if s.Newest {
			to = day.Before()
		} else {
			from = day.After()
		}
	}
	return nil
}

// FirstDay is the first business day in a range that has transactions; 0 is none.
func (q queries) FirstDay(ctx context.Context, from, to txn.Date) (txn.Date, error) {
	return q.day(ctx, selectDayFrom, from, to)
}

// LastDay is the last such day.
func (q queries) LastDay(ctx context.Context, from, to txn.Date) (txn.Date, error) {
	return q.day(ctx, selectDayTo, from, to)
}

func (q queries) day(ctx context.Context, query string, from, to txn.Date) (d txn.Date, err error) {
	err = q.rows(ctx, "look for days with transactions", func(scan func(...any) error) error {
		var s string
		if err := scan(&s); err != nil {
			return err
		}
		return scanDay(&d, s)
	}, query, from.String(), to.String())
	return d, err
}

// statement reads what is meant of one day.
func (s *Search) statement(day txn.Date, limit int64) (string, []any) {
	var b strings.Builder
	b.WriteString(selectFound)
	args := []any{day.String()}
	where := func(is bool, condition string, arg any) {
		if is {
			args = append(args, arg)
			fmt.Fprintf(&b, " AND %s $%d", condition, len(args))
		}
	}
	// + 0 and || '' keep the database from an index: it would read the whole day
	// rather than sort the few rows of an RRN or a merchant.
	merchant, order := "merchant_id =", "position"
	if s.RRN != "" {
		merchant = "merchant_id || '' ="
	}
	if s.RRN != "" || s.Merchant != (txn.MerchantID{}) {
		order = "position + 0"
	}
	where(s.RRN != "", "rrn =", s.RRN)
	where(s.Merchant != txn.MerchantID{}, merchant, s.Merchant.String())
	where(s.Terminal != txn.TerminalID{}, "terminal_id =", s.Terminal.String())
	where(s.Card != txn.CardToken{}, "card_token =", hex.EncodeToString(s.Card[:]))
	where(s.Kind != txn.KindUnknown, "request =", s.Kind.String())
	where(s.Code != "", "code =", s.Code)
	where(s.Currency != 0, "currency =", int64(s.Currency))
	where(s.Min != 0, "amount >=", s.Min)
	where(s.Max != 0, "amount <=", s.Max)
	b.WriteString(" ORDER BY " + order)
	if s.Newest {
		b.WriteString(" DESC")
	}
	if limit < math.MaxInt64 {
		args = append(args, limit)
		fmt.Fprintf(&b, " LIMIT $%d", len(args))
	}
	return b.String(), args
}
