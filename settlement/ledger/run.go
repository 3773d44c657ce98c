package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// RunState is how far a run is.
type RunState uint8

// The states, in order.
const (
	RunBegun  RunState = iota + 1 // the facts it covers are fixed
	RunBooked                     // its postings are in the ledger
	RunDone                       // its files are in place
)

var runStateNames = [...]string{"invalid", "begun", "booked", "done"}

func (s RunState) String() string {
	if int(s) < len(runStateNames) {
		return runStateNames[s]
	}
	return "invalid"
}

var runStates = valuesOf[RunState]()

// Run is the end-of-day run of a business day. It covers the facts up to
// Position: those of its own day, and of settled days what came after the run
// before, whose day is Prior (0: none).
type Run struct {
	Day, Prior txn.Date
	Position   uint64
	At         time.Time // when it began
	Acts       int64     // what people decided up to this act counts
	Compared   bool      // the journal had the same transactions when it began
	Fees       string    // hash of the fee schedule
	Payouts    string    // hash of the payout terms
	State      RunState
	Exceptions int64  // since booked
	Manifest   string // hash of the manifest of its files, since done
}

// Schedule is the two files of fees under their hash.
type Schedule struct{ Sum, Plans, BINs string }

// ErrRunMoved: another process did this step of the run first.
var ErrRunMoved = errors.New("another process moved this run on")

const selectRuns = `SELECT business_date, prior, position, at, acts, journal_compared, fees, payouts, state, exceptions, manifest FROM run ORDER BY business_date`

// Runs are all runs, by day.
func (q queries) Runs(ctx context.Context) ([]Run, error) {
	var runs []Run
	err := q.rows(ctx, "read runs", func(scan func(...any) error) error {
		var r Run
		var day, prior, state string
		var at int64
		err := scan(&day, &prior, &r.Position, &at, &r.Acts, &r.Compared, &r.Fees, &r.Payouts, &state, &r.Exceptions, &r.Manifest)
		if err == nil {
			r.State, r.At = runStates[state], time.UnixMicro(at).UTC()
			err = errors.Join(scanDay(&r.Day, day), scanDay(&r.Prior, prior))
		}
		runs = append(runs, r)
		return err
	}, selectRuns)
	return runs, err
}

func scanDay(d *txn.Date, s string) error {
	e := Entry{Rec: &txn.Record{}}
	err := getDay(&e, value{isText: true, s: []byte(s)})
	*d = e.Rec.Day
	return err
}

// Schedule is the one of a hash.
func (q queries) Schedule(ctx context.Context, sum string) (Schedule, error) {
	s := Schedule{Sum: sum}
	err := q.on.QueryRowContext(ctx, `SELECT plans, bins FROM fee_schedule WHERE sha256 = $1`, sum).Scan(&s.Plans, &s.BINs)
	if err != nil {
		return s, fmt.Errorf("read fee schedule %s: %w", sum, err)
	}
	return s, nil
}

var selectUnsettled = `SELECT COALESCE(MIN(business_date), '') FROM txn WHERE business_date > $1 AND business_date < $2 AND ` + counts("txn", "$3")

// Unsettled is the first day after one and before another with something to
// settle by the facts up to a position; 0 is none.
func (q queries) Unsettled(ctx context.Context, after, before txn.Date, position uint64) (d txn.Date, err error) {
	var s string
	err = q.on.QueryRowContext(ctx, selectUnsettled, after.String(), before.String(), int64(position)).Scan(&s)
	if err == nil && s != "" {
		err = scanDay(&d, s)
	}
	if err != nil {
		return 0, fmt.Errorf("look for days that are not settled: %w", err)
	}
	return d, nil
}

// PostingSum is a row of posting: what a run posted for one merchant under one
// item, account, issuer and currency. Item and account are names.
type PostingSum struct {
	Merchant      txn.MerchantID
	Currency      txn.Currency
	Item, Account string
	Issuer        txn.IssuerID
	Debit, Credit int64
	Count         int64
}

const selectPostings = `SELECT merchant_id, currency, item, account, issuer, debit, credit, postings FROM posting WHERE business_date = $1
	ORDER BY merchant_id, currency, item, account, issuer`

// Postings calls fn with what the run of a day posted.
func (q queries) Postings(ctx context.Context, day txn.Date, fn func(*PostingSum) error) error {
	return q.rows(ctx, "read postings of "+day.String(), func(scan func(...any) error) error {
		var p PostingSum
		var merchant, issuer string
		err := scan(&merchant, &p.Currency, &p.Item, &p.Account, &issuer, &p.Debit, &p.Credit, &p.Count)
		if err = errors.Join(err, untext(p.Merchant[:], ' ', []byte(merchant)), untext(p.Issuer[:], 0, []byte(issuer))); err != nil {
			return err
		}
		return fn(&p)
	}, selectPostings, day.String())
}

const selectVolumes = `SELECT merchant_id, currency, CAST(SUM(debit) - SUM(credit) AS BIGINT) FROM posting
	WHERE business_date >= $1 AND business_date < $2 AND item = 'sale' AND account = 'issuer receivable' GROUP BY merchant_id, currency`

// Volumes are what merchants' sales came to in the runs of days from one on and
// before another.
func (q queries) Volumes(ctx context.Context, from, before txn.Date) (map[Claim]int64, error) {
	return q.claims(ctx, "read volumes", selectVolumes, from.String(), before.String())
}

const selectBalances = `SELECT business_date, currency, COUNT(*), CAST(SUM(debit) - SUM(credit) AS BIGINT) FROM posting GROUP BY business_date, currency
	ORDER BY business_date, currency`

// Balance is what the postings of a run and currency come to: always zero.
type Balance struct {
	Day      txn.Date
	Currency txn.Currency
	Rows     int64
	Minor    int64
}

// Balances are those of all runs.
func (q queries) Balances(ctx context.Context) ([]Balance, error) {
	var all []Balance
	err := q.rows(ctx, "sum up postings", func(scan func(...any) error) error {
		var b Balance
		var day string
		if err := scan(&day, &b.Currency, &b.Rows, &b.Minor); err != nil {
			return err
		}
		err := scanDay(&b.Day, day)
		all = append(all, b)
		return err
	}, selectBalances)
	return all, err
}

// BeginRun claims the day for a run, durably, together with its schedule and its
// payout terms. It fails with ErrRunMoved if the day has a run already.
func (l *Ledger) BeginRun(ctx context.Context, r *Run, s Schedule, t Terms) error {
	compared := 0
	if r.Compared {
		compared = 1
	}
	err := l.change(ctx, func(tx *sql.Tx, _ *sql.Conn) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO fee_schedule (sha256, plans, bins) VALUES ($1, $2, $3) ON CONFLICT (sha256) DO NOTHING`, s.Sum, s.Plans, s.BINs); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO payout_terms (sha256, merchants, calendar) VALUES ($1, $2, $3) ON CONFLICT (sha256) DO NOTHING`, t.Sum, t.Merchants, t.Calendar); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO run (business_date, position, prior, at, acts, journal_compared, fees, payouts, state, exceptions, manifest)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'begun', 0, '') ON CONFLICT (business_date) DO NOTHING`, r.Day.String(), int64(r.Position), r.Prior.String(),
			r.At.UnixMicro(), r.Acts, compared, s.Sum, t.Sum)
		return one(res, err)
	})
	if err != nil {
		return fmt.Errorf("begin the run of %s: %w", r.Day, err)
	}
	r.Fees, r.Payouts, r.State = s.Sum, t.Sum, RunBegun
	return nil
}

var postingTable = newTable("posting", "merchant_id", "business_date", "currency", "item", "account", "issuer", "debit", "credit", "postings")

// BookRun adds the run's postings and payouts and its number of exceptions; all or
// nothing. It fails with ErrRunMoved if the run was booked already.
func (l *Ledger) BookRun(ctx context.Context, r *Run, sums []PostingSum, payouts []Payout) error {
	var postings rows
	for i := range sums {
		p := &sums[i]
		postings = postings.texts(p.Merchant.String()).day(r.Day).number(int64(p.Currency)).texts(p.Item, p.Account, p.Issuer.String()).
			number(p.Debit).number(p.Credit).number(p.Count)
	}
	err := l.change(ctx, func(tx *sql.Tx, conn *sql.Conn) error {
		// First the state: a second process waits here and then finds it moved.
		res, err := tx.ExecContext(ctx, `UPDATE run SET state = 'booked', exceptions = $2 WHERE business_date = $1 AND state = 'begun'`, r.Day.String(), r.Exceptions)
		if err := one(res, err); err != nil {
			return err
		}
		if err := l.unaltered(ctx, tx); err != nil {
			return err
		}
		return conn.Raw(func(driverConn any) error {
			if err := ctx.Err(); err != nil { // see Store
				return err
			}
			var buf []byte
			for _, t := range [...]struct {
				into *table
				rows rows
			}{{postingTable, postings}, {payoutTable, payoutRows(r.Day, payouts)}} {
				if len(t.rows) > 0 {
					if err := l.insert(ctx, driverConn, t.into, t.rows, &buf); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("book the run of %s: %w", r.Day, err)
	}
	r.State = RunBooked
	return nil
}

// EndRun notes that the run's files are in place.
func (l *Ledger) EndRun(ctx context.Context, r *Run, manifest string) error {
	err := l.change(ctx, func(tx *sql.Tx, _ *sql.Conn) error {
		return one(tx.ExecContext(ctx, `UPDATE run SET state = 'done', manifest = $2 WHERE business_date = $1 AND state = 'booked'`, r.Day.String(), manifest))
	})
	if err != nil {
		return fmt.Errorf("end the run of %s: %w", r.Day, err)
	}
	r.State, r.Manifest = RunDone, manifest
	return nil
}

// one is an error unless a statement changed one row.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(ErrRunMoved, err)
	}
	return nil
}

// change runs fn in one transaction of the connection for writing.
func (l *Ledger) change(ctx context.Context, fn func(*sql.Tx, *sql.Conn) error) error {
	conn, err := l.db.Write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx, conn); err != nil {
		return err
	}
	return tx.Commit()
}
