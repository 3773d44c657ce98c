package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Terms are the two files that a run paid by, under their hash.
type Terms struct{ Sum, Merchants, Calendar string }

// Terms are those of a hash.
func (q queries) Terms(ctx context.Context, sum string) (Terms, error) {
	t := Terms{Sum: sum}
	err := q.on.QueryRowContext(ctx, `SELECT merchants, calendar FROM payout_terms WHERE sha256 = $1`, sum).Scan(&t.Merchants, &t.Calendar)
	if err != nil {
		return t, fmt.Errorf("read payout terms %s: %w", sum, err)
	}
	return t, nil
}

// Claim is whose money it is.
type Claim struct {
	Merchant txn.MerchantID
	Currency txn.Currency
}

// Payout is a row of payout: what a run decided about a claim.
type Payout struct {
	Claim
	Opening, Net, Corrections, Returned, Disputes, Released, Reserved, Paid, Closing int64
	ReserveUntil, Executes                                                           txn.Date
}

var payoutTable = newTable("payout", "merchant_id", "business_date", "currency", "opening", "net", "corrections", "returned", "disputes", "released", "reserved",
	"reserve_until", "paid", "executes", "closing")

func payoutRows(day txn.Date, payouts []Payout) (r rows) {
	for i := range payouts {
		p := &payouts[i]
		r = r.texts(p.Merchant.String()).day(day).number(int64(p.Currency)).number(p.Opening).number(p.Net).number(p.Corrections).
			number(p.Returned).number(p.Disputes).number(p.Released).number(p.Reserved).day(p.ReserveUntil).number(p.Paid).day(p.Executes).number(p.Closing)
	}
	return r
}

const selectPayouts = `SELECT merchant_id, currency, opening, net, corrections, returned, disputes, released, reserved, reserve_until, paid, executes, closing FROM payout
	WHERE business_date = $1 ORDER BY merchant_id, currency`

// Payouts calls fn with what the run of a day decided.
func (q queries) Payouts(ctx context.Context, day txn.Date, fn func(*Payout) error) error {
	return q.rows(ctx, "read payouts of "+day.String(), func(scan func(...any) error) error {
		var p Payout
		var merchant, until, executes string
		err := scan(&merchant, &p.Currency, &p.Opening, &p.Net, &p.Corrections, &p.Returned, &p.Disputes, &p.Released, &p.Reserved, &until, &p.Paid, &executes, &p.Closing)
		if err == nil {
			err = errors.Join(untext(p.Merchant[:], ' ', []byte(merchant)), scanDay(&p.ReserveUntil, until), scanDay(&p.Executes, executes))
		}
		if err == nil {
			err = fn(&p)
		}
		return err
	}, selectPayouts, day.String())
}

// AccountSum is what all runs up to a day posted to an account of a
// merchant or an issuer. Account is a name.
type AccountSum struct {
	Party         string
	Currency      txn.Currency
	Account       string
	Debit, Credit int64
}

func selectAccounts(party, where string) string {
	return `SELECT ` + party + `, currency, account, CAST(SUM(debit) AS BIGINT), CAST(SUM(credit) AS BIGINT) FROM posting
		WHERE business_date <= $1 AND ` + where + ` GROUP BY ` + party + `, currency, account ORDER BY ` + party + `, currency, account`
}

var (
	selectMerchantAccounts = selectAccounts("merchant_id", "issuer = ''")
	selectIssuerAccounts   = selectAccounts("issuer", "account = $2")
)

// MerchantAccounts calls fn with the accounts of merchants after the run of a day,
// by merchant and currency. It adds up all postings there are.
func (q queries) MerchantAccounts(ctx context.Context, day txn.Date, fn func(AccountSum) error) error {
	return q.accounts(ctx, fn, selectMerchantAccounts, day.String())
}

// IssuerAccounts calls fn with one account of issuers, by issuer and currency.
func (q queries) IssuerAccounts(ctx context.Context, day txn.Date, account string, fn func(AccountSum) error) error {
	return q.accounts(ctx, fn, selectIssuerAccounts, day.String(), account)
}

func (q queries) accounts(ctx context.Context, fn func(AccountSum) error, query string, args ...any) error {
	return q.rows(ctx, "add up postings", func(scan func(...any) error) error {
		var b AccountSum
		if err := scan(&b.Party, &b.Currency, &b.Account, &b.Debit, &b.Credit); err != nil {
			return err
		}
		return fn(b)
	}, query, args...)
}

const selectReserves = `SELECT merchant_id, currency, CAST(SUM(reserved) AS BIGINT) FROM payout WHERE reserved <> 0 AND reserve_until > $1 AND reserve_until <= $2
	GROUP BY merchant_id, currency`

// Reserves are what comes back after the run of one day up to that of another.
func (q queries) Reserves(ctx context.Context, after, until txn.Date) (map[Claim]int64, error) {
	return q.claims(ctx, "read reserves", selectReserves, after.String(), until.String())
}

func (q queries) claims(ctx context.Context, what, query string, args ...any) (map[Claim]int64, error) {
	all := map[Claim]int64{}
	err := q.rows(ctx, what, func(scan func(...any) error) error {
		var c Claim
		var merchant string
		var minor int64
		err := errors.Join(scan(&merchant, &c.Currency, &minor), untext(c.Merchant[:], ' ', []byte(merchant)))
		all[c] = minor
		return err
	}, query, args...)
	return all, err
}

const selectTradingDays = `SELECT merchant_id, COUNT(DISTINCT business_date) FROM posting WHERE business_date >= $1 AND business_date < $2 AND item = 'sale'
	GROUP BY merchant_id`

// TradingDays are on how many settled days, from one on and before another,
// merchants had sales.
func (q queries) TradingDays(ctx context.Context, from, before txn.Date) (map[txn.MerchantID]int, error) {
	days := map[txn.MerchantID]int{}
	err := q.rows(ctx, "count trading days", func(scan func(...any) error) error {
		var id txn.MerchantID
		var merchant string
		var n int
		err := errors.Join(scan(&merchant, &n), untext(id[:], ' ', []byte(merchant)))
		days[id] = n
		return err
	}, selectTradingDays, from.String(), before.String())
	return days, err
}

// rows calls fn with each row of a query.
func (q queries) rows(ctx context.Context, what string, fn func(scan func(...any) error) error, query string, args ...any) error {
	err := sqldb.Each(ctx, q.on, fn, query, args...)
	switch {
	case sqldb.Unmigrated(err):
		return ErrNoSchema
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
