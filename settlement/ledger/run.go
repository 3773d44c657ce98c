package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
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
	rows, err := q.on.QueryContext(ctx, selectRuns)
	if err != nil {
		if sqldb.NoTable(err) {
			return nil, ErrNoSchema
		}
		return nil, fmt.Errorf("read runs: %w", err)
	}
	defer rows.Close()
	var runs []Run
	for rows.Next() {
		var r Run
		var day, prior, state string
		var at int64
		err := rows.Scan(&day, &prior, &r.Position, &at, &r.Acts, &r.Compared, &r.Fees, &r.Payouts, &state, &r.Exceptions, &r.Manifest)
		if err == nil {
			r.State, r.At = runStates[state], time.UnixMicro(at).UTC()
			err = errors.Join(scanDay(&r.Day, day), scanDay(&r.Prior, prior))
		}
		if err != nil {
			return nil, fmt.Errorf("read runs: %w", err)
		}
		runs = append(runs, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return runs, nil
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

// A column with || '' is one whose index must not be used: PostgreSQL without
// statistics, as on the first day, takes the many rows of a kind or merchant for
// few, and its runs then take five times as long.

// counts says in SQL that a row of txn, called t, counts in the books by the
// facts up to a position: it was taken (txn.Record.Taken), or is a refund whose
// terminal was told no and of which its issuer took note later, as older versions
// have them; and nothing undid it as a whole.
func counts(t, position string) string {
	financial := func(k txn.Kind) bool { return k.Totals() != txn.NoEffect }
	return strings.NewReplacer("@t", t, "@p", position).Replace(`(@t.position <= @p
		AND ((@t.outcome = 'approved' AND @t.request IN ` + kindsWhere(financial) + `)
			OR (@t.outcome = 'unknown' AND @t.reason = '` + txn.Approved.String() + `' AND @t.request IN ` + kindsWhere(func(k txn.Kind) bool { return financial(k) && k.Remedy() == txn.Repeat }) + `)
			OR (@t.outcome = 'unknown' AND @t.request = 'refund' AND EXISTS (SELECT 1 FROM event AS noted WHERE noted.merchant_id = @t.merchant_id
				AND noted.original_id = @t.id AND noted.position <= @p AND noted.kind || '' = 'advice done' AND noted.reason <> '` + txn.IssuerDeclined.String() + `')))
		AND NOT EXISTS (SELECT 1 FROM event AS undo WHERE undo.merchant_id = @t.merchant_id AND undo.original_id = @t.id
			AND undo.position <= @p AND undo.kind || '' IN ('reversal due', 'reversal done') AND undo.stays = 0))`)
}

// standing is in SQL what the books have of a row that counts by the facts up to a
// position.
func standing(t, position string) string { return remains(t, "AND part.position <= "+position) }

func creditKinds(t string) string {
	return `CASE WHEN ` + t + `.request IN ` + kindsWhere(func(k txn.Kind) bool { return k.Totals() == txn.Credit }) + ` THEN -1 ELSE 1 END`
}

// Fact is one financial result as a run counts it, with what is needed to price
// it.
type Fact struct {
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	ID       txn.ID
	Position uint64
	Day      txn.Date // its own, not the run's
	At       time.Time
	Batch    uint32
	STAN     uint32
	Kind     txn.Kind
	Amount   txn.Amount // what stands of it, or what the run undoes
	MCC      uint16
	Entry    txn.EntryMode
	Masked   [txn.PANDigitsMax]byte
	Issuer   txn.IssuerID
	RRN      [12]byte
	Outcome  txn.Outcome
	// Undo: it was counted by an earlier run, and Amount of it no longer stands.
	Undo bool
	// Noted says what the issuer said to an advice about it: nothing yet, yes or no.
	Noted Noted

	// The deal it belongs to. Names says that it names an original; Root that
	// this is there and money was taken by it. The rest is of the original then,
	// else its own.
	Names, Root  bool
	RootDay      txn.Date
	RootPosition uint64
	RootMCC      uint16
	RootEntry    txn.EntryMode
	RootMasked   [txn.PANDigitsMax]byte
	// Before is what the deal came to before it, in minor units; of an Undo, what
	// it comes to without it.
	Before int64
}

// Noted is what an issuer said to an advice.
type Noted uint8

// What an issuer said.
const (
	NotedNot Noted = iota
	NotedYes
	NotedNo
)

// A row of an earlier day whose standing changed since the run before: of rows
// that were stored since, and of those that something has happened to since.
// run gives the days, so that the index by day and position can be used.
var (
	factColumns = `merchant_id, terminal_id, id, position, business_date, at, batch, stan, request, currency, mcc, entry_mode, pan_masked, issuer, rrn, outcome, original_id`
	happened    = `txn.id IN (SELECT original_id FROM event WHERE position > $3 AND position <= $2)`

	// what is left of a row that counted before
	leftNow = `CASE WHEN ` + counts("txn", "$2") + ` THEN ` + standing("txn", "$2") + ` ELSE 0 END`

	// what a run counts anew: all that stands, and nothing of it did before
	countedNow = standing("txn", "$2") + ` AS amount, 0 AS base, 0 AS undo, CAST($2 AS BIGINT) AS cut`

	// $1 day, $2 position, $3 position of the run before
	factsOfRun = `SELECT ` + factColumns + `, ` + countedNow + ` FROM txn WHERE business_date = $1 AND ` + counts("txn", "$2") + `
		UNION ALL
		SELECT ` + prefixed("txn", factColumns) + `, ` + countedNow + ` FROM run JOIN txn ON txn.business_date = run.business_date AND txn.position > $3
			WHERE run.business_date < $1 AND ` + counts("txn", "$2") + `
		UNION ALL
		SELECT ` + factColumns + `, ` + countedNow + ` FROM txn WHERE ` + happened + ` AND business_date || '' < $1 AND position <= $3
			AND ` + counts("txn", "$2") + ` AND NOT ` + counts("txn", "$3") + `
		UNION ALL
		SELECT ` + factColumns + `, ` + standing("txn", "$3") + ` - ` + leftNow + `, ` + leftNow + `, 1,
				(SELECT MIN(run.position) FROM run WHERE run.business_date >= txn.business_date AND run.position >= txn.position)
			FROM txn WHERE ` + happened + ` AND business_date || '' < $1 AND position <= $3
			AND ` + counts("txn", "$3") + ` AND ` + standing("txn", "$3") + ` > ` + leftNow

	// $1 day, $2 position, $3 RRN
	factsOfRRN = `SELECT ` + factColumns + `, ` + countedNow + ` FROM txn WHERE business_date = $1 AND rrn = $3 AND ` + counts("txn", "$2")

	selectFacts   = facts(factsOfRun)
	selectFactRRN = facts(factsOfRRN)
)

func prefixed(table, names string) string {
	return table + "." + strings.ReplaceAll(names, ", ", ", "+table+".")
}

// facts completes chosen rows with their deals. By merchant and journal position,
// which is the order of everything that is made of them. NULL spares a look into the
// index for each of those that name no original, the most.
func facts(chosen string) string {
	return `WITH chosen AS (` + chosen + `)
	SELECT c.merchant_id, c.terminal_id, c.id, c.position, c.business_date, c.at, c.batch, c.stan, c.request, c.amount, c.currency, c.mcc, c.entry_mode,
		c.pan_masked, c.issuer, c.rrn, c.outcome, c.undo,
		CASE WHEN c.outcome <> 'unknown' THEN '' ELSE COALESCE((SELECT MAX(noted.reason) FROM event AS noted WHERE noted.merchant_id = c.merchant_id
			AND noted.original_id = c.id AND noted.kind = 'advice done' AND noted.position <= c.cut), 'none') END,
		c.original_id, COALESCE(root.business_date, ''), COALESCE(root.position, 0), COALESCE(root.mcc, 0), COALESCE(root.entry_mode, 0), COALESCE(root.pan_masked, ''),
		c.base + CASE WHEN root.id IS NULL THEN 0 ELSE
			CASE WHEN ` + counts("root", "c.cut") + ` THEN ` + standing("root", "c.cut") + ` ELSE 0 END
			+ COALESCE((SELECT CAST(SUM(deed.amount * ` + creditKinds("deed") + `) AS BIGINT) FROM txn AS deed WHERE deed.merchant_id = c.merchant_id
				AND deed.original_id = c.original_id AND deed.original_id <> 0 AND deed.position < c.position AND ` + counts("deed", "c.cut") + `), 0) END
	FROM chosen AS c LEFT JOIN txn AS root ON root.merchant_id || '' = c.merchant_id AND root.id = NULLIF(c.original_id, 0)
		AND root.request IN ` + kindsWhere(func(k txn.Kind) bool { return k.Totals() == txn.Debit }) + `
	ORDER BY c.merchant_id, c.position`
}

var outcomes = valuesOf[txn.Outcome]()

// Facts calls fn with what the run of a day covers: by merchant and position.
// The fact is overwritten by the next call. It holds one row at a time; the
// database sorts on its disk.
func (q queries) Facts(ctx context.Context, r *Run, prior uint64, fn func(*Fact) error) error {
	return q.facts(ctx, fn, selectFacts, r.Day.String(), int64(r.Position), int64(prior))
}

// FactsByRRN are the facts of a day and retrieval reference number that count up
// to a position.
func (q queries) FactsByRRN(ctx context.Context, day txn.Date, position uint64, rrn string, fn func(*Fact) error) error {
	return q.facts(ctx, fn, selectFactRRN, day.String(), int64(position), rrn)
}

func (q queries) facts(ctx context.Context, fn func(*Fact) error, query string, args ...any) error {
	rows, err := q.on.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	defer rows.Close()
	var merchant, terminal, day, request, masked, issuer, rrn, outcome, noted, rootDay, rootMasked sql.RawBytes
	var id, at, original int64
	var f Fact
	dest := []any{&merchant, &terminal, &id, &f.Position, &day, &at, &f.Batch, &f.STAN, &request, &f.Amount.Minor, &f.Amount.Currency, &f.MCC, &f.Entry,
		&masked, &issuer, &rrn, &outcome, &f.Undo, &noted, &original, &rootDay, &f.RootPosition, &f.RootMCC, &f.RootEntry, &rootMasked, &f.Before}
	var e = Entry{Rec: &txn.Record{}}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return fmt.Errorf("read facts: %w", err)
		}
		err := errors.Join(untext(f.Merchant[:], ' ', merchant), untext(f.Terminal[:], ' ', terminal), untext(f.Masked[:], 0, masked),
			untext(f.Issuer[:], 0, issuer), untext(f.RRN[:], 0, rrn), getDay(&e, value{s: day}))
		f.ID, f.At, f.Day, f.Kind, f.Outcome = txn.ID(id), time.UnixMicro(at).UTC(), e.Rec.Day, kinds[string(request)], outcomes[string(outcome)]
		switch string(noted) {
		case "", "none":
			f.Noted = NotedNot
		case txn.IssuerDeclined.String():
			f.Noted = NotedNo
		default:
			f.Noted = NotedYes
		}
		if f.Names, f.Root = original != 0, len(rootDay) > 0; f.Root {
			err = errors.Join(err, getDay(&e, value{s: rootDay}), untext(f.RootMasked[:], 0, rootMasked))
			f.RootDay = e.Rec.Day
		} else {
			f.RootDay, f.RootPosition, f.RootMCC, f.RootEntry, f.RootMasked = f.Day, f.Position, f.MCC, f.Entry, f.Masked
		}
		if err != nil {
			return fmt.Errorf("read fact of transaction %s: %w", f.ID, err)
		}
		if err := fn(&f); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	return nil
}

var selectGross = `SELECT currency, COUNT(*), CAST(SUM(CASE WHEN sign > 0 THEN amount ELSE 0 END) AS BIGINT), CAST(SUM(CASE WHEN sign < 0 THEN amount ELSE 0 END) AS BIGINT)
	FROM (SELECT currency, ` + standing("txn", "$2") + ` AS amount, ` + creditKinds("txn") + ` AS sign FROM txn WHERE business_date = $1 AND ` + counts("txn", "$2") + `) AS counted
	GROUP BY currency`

// Gross is what a day's transactions of a currency come to by a sum in the
// database: what the postings are held against.
type Gross struct{ Count, Debit, Credit int64 }

// Gross sums up a day by the facts up to a position.
func (q queries) Gross(ctx context.Context, day txn.Date, position uint64) (map[txn.Currency]Gross, error) {
	rows, err := q.on.QueryContext(ctx, selectGross, day.String(), int64(position))
	if err != nil {
		return nil, fmt.Errorf("sum up %s: %w", day, err)
	}
	defer rows.Close()
	sums := map[txn.Currency]Gross{}
	for rows.Next() {
		var c txn.Currency
		var g Gross
		if err := rows.Scan(&c, &g.Count, &g.Debit, &g.Credit); err != nil {
			return nil, fmt.Errorf("sum up %s: %w", day, err)
		}
		sums[c] = g
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sum up %s: %w", day, err)
	}
	return sums, nil
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
	rows, err := q.on.QueryContext(ctx, selectPostings, day.String())
	if err != nil {
		return fmt.Errorf("read postings of %s: %w", day, err)
	}
	defer rows.Close()
	for rows.Next() {
		var p PostingSum
		var merchant, issuer string
		err := rows.Scan(&merchant, &p.Currency, &p.Item, &p.Account, &issuer, &p.Debit, &p.Credit, &p.Count)
		if err == nil {
			err = errors.Join(untext(p.Merchant[:], ' ', []byte(merchant)), untext(p.Issuer[:], 0, []byte(issuer)))
		}
		if err == nil {
			err = fn(&p)
		}
		if err != nil {
			return fmt.Errorf("read postings of %s: %w", day, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read postings of %s: %w", day, err)
	}
	return nil
}

const selectVolumes = `SELECT merchant_id, currency, CAST(SUM(debit) - SUM(credit) AS BIGINT) FROM posting
	WHERE business_date >= $1 AND business_date < $2 AND item = 'sale' AND account = 'issuer receivable' GROUP BY merchant_id, currency`

// Volumes are what merchants' sales came to in the runs of days from one on and
// before another.
func (q queries) Volumes(ctx context.Context, from, before txn.Date) (map[Claim]int64, error) {
	volumes := map[Claim]int64{}
	err := q.rows(ctx, "read volumes", func(scan func(...any) error) error {
		var c Claim
		var merchant string
		var minor int64
		err := errors.Join(scan(&merchant, &c.Currency, &minor), untext(c.Merchant[:], ' ', []byte(merchant)))
		volumes[c] = minor
		return err
	}, selectVolumes, from.String(), before.String())
	return volumes, err
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
	rows, err := q.on.QueryContext(ctx, selectBalances)
	if err != nil {
		if sqldb.NoTable(err) { // of a version without runs
			return nil, nil
		}
		return nil, fmt.Errorf("sum up postings: %w", err)
	}
	defer rows.Close()
	var all []Balance
	for rows.Next() {
		var b Balance
		var day string
		if err := errors.Join(rows.Scan(&day, &b.Currency, &b.Rows, &b.Minor), scanDay(&b.Day, day)); err != nil {
			return nil, fmt.Errorf("sum up postings: %w", err)
		}
		all = append(all, b)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sum up postings: %w", err)
	}
	return all, nil
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
	rows := make([]value, 0, len(sums)*postingTable.columns)
	day := value{isText: true, s: []byte(r.Day.String())}
	str := func(s string) value { return value{isText: true, s: []byte(s)} }
	for i := range sums {
		p := &sums[i]
		rows = append(rows, str(p.Merchant.String()), day, value{n: int64(p.Currency)}, str(p.Item), str(p.Account), str(p.Issuer.String()),
			value{n: p.Debit}, value{n: p.Credit}, value{n: p.Count})
	}
	err := l.change(ctx, func(tx *sql.Tx, conn *sql.Conn) error {
		// First the state: a second process waits here and then finds it moved.
		res, err := tx.ExecContext(ctx, `UPDATE run SET state = 'booked', exceptions = $2 WHERE business_date = $1 AND state = 'begun'`, r.Day.String(), r.Exceptions)
		if err := one(res, err); err != nil {
			return err
		}
		return conn.Raw(func(driverConn any) error {
			if err := ctx.Err(); err != nil { // see Store
				return err
			}
			var buf []byte
			for _, t := range [...]struct {
				into *table
				rows []value
			}{{postingTable, rows}, {payoutTable, payoutRows(r.Day, payouts)}} {
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
