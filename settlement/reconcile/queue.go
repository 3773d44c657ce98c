package reconcile

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// ListMax bounds a list, and how many exceptions are disposed of at once.
const ListMax = 10_000

// Exception is one thing that did not match, of one file.
type Exception struct {
	Number   int64             `json:"number"`
	File     string            `json:"file"` // hash
	Issuer   string            `json:"issuer"`
	Day      txn.Date          `json:"-"`
	Cause    Cause             `json:"cause"`
	STAN     uint32            `json:"stan"` // as the issuer knows it
	Time     uint32            `json:"time"` // MMDDhhmmss
	Line     int64             `json:"line,omitempty"`
	ID       txn.ID            `json:"id"` // our transaction; 0: none
	Merchant string            `json:"merchant"`
	Terminal string            `json:"terminal"`
	RRN      string            `json:"rrn"`
	Card     string            `json:"card"`
	Ours     Side              `json:"-"`
	Theirs   Side              `json:"-"`
	Columns  map[string]string `json:"columns,omitempty"`
	// What was done about it last: open without anything.
	Act  string `json:"act"`
	Acts []Act  `json:"acts,omitempty"` // of one that was asked for
}

// Act is something that was done about an exception.
type Act struct {
	At       time.Time `json:"at"`
	Act      string    `json:"act"`
	By       string    `json:"by"`
	Reason   string    `json:"reason"`
	Proposal int64     `json:"proposal,omitempty"`
	File     string    `json:"file,omitempty"`
}

// What can be done about an exception. The first two move money.
const (
	WriteOff = "write-off" // we bear the difference, or keep it
	Adjust   = "adjust"    // the merchant bears it, or gets it
	Claim    = "claim"     // the issuer is asked for it
	Resend   = "resend"    // it is to be in a later file

	late     = "late" // a later file settled it
	openText = "open"
)

// ErrGiven is an approval.Refusal: a file is taken once, and of an issuer, day, currency and
// merchant one.
var ErrGiven = refuse("the file was given before, or another one of its issuer and day")

// Dispositions are those that people choose from.
var Dispositions = []string{WriteOff, Adjust, Claim, Resend}

// Queue is where exceptions lie. It is safe for concurrent use, by several
// processes too.
type Queue struct{ db *sqldb.DB }

// NewQueue is the queue of the ledger's database, in which proposals are kept, too.
func NewQueue(db *sqldb.DB) *Queue { return &Queue{db} }

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is what Migrate brings up to date.
var Schema = sqldb.Schema{Files: migrations, Versions: "reconcile_version"}

// Migrate makes the tables, beside the ledger's.
func (q *Queue) Migrate(ctx context.Context) error {
	return q.db.Migrate(ctx, Schema)
}

// Import holds a file against a business day that is settled, and puts what does
// not match into the queue. What is wrong with the file is a *yamlfile.Problem, what keeps
// it from being taken now an approval.Refusal; nothing is changed then.
func (q *Queue) Import(ctx context.Context, in Input) (*Result, error) {
	if err := approval.Person(in.By); err != nil {
		return nil, fmt.Errorf("who imports it: %w", err)
	}
	runs, err := in.Ledger.Runs(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(runs, func(r ledger.Run) bool { return r.Day == in.Day && r.State == ledger.RunDone }) {
		return nil, refuse("%s is not settled yet: settle it first", in.Day)
	}
	issuer := in.Issuer.String()
	open, given := map[key]Exception{}, map[txn.Date]bool{}
	err = q.db.View(ctx, func(tx *sql.Tx) error {
		all, err := list(ctx, tx, ` WHERE e.issuer = $1 AND e.state IN ('ours only', 'theirs only') AND e.cause <> $2
			AND COALESCE(a.act, 'open') IN ('open', 'claim', 'resend') ORDER BY e.number`, issuer, ItIsAnotherAcquirers.String())
		for _, e := range all {
			if k := e.key(in.Layout); k != 0 {
				open[k] = e
			}
		}
		if err != nil {
			return err
		}
		return sqldb.Each(ctx, tx, func(scan func(...any) error) error {
			var s string
			if err := scan(&s); err != nil {
				return err
			}
			d, err := txn.ParseDate(s)
			given[d] = true
			return err
		}, `SELECT business_date FROM recon_file WHERE issuer = $1`, issuer)
	})
	if err != nil {
		return nil, fmt.Errorf("read what is open of issuer %s: %w", issuer, err)
	}
	m, err := in.run(ctx, open, given)
	if err != nil {
		return nil, err
	}
	if err := q.db.Update(ctx, func(tx *sql.Tx) error { return m.apply(ctx, tx) }); err != nil {
		return nil, err
	}
	return m.result, nil
}

// apply makes what a file came to durable.
func (m *match) apply(ctx context.Context, tx *sql.Tx) error {
	r, in := m.result, m.in
	var before string
	err := tx.QueryRowContext(ctx, `SELECT name || ' of ' || business_date FROM recon_file WHERE sha256 = $1
		OR issuer = $2 AND business_date = $3 AND merchant_id = $5 AND (currency = $4 OR currency = 0 OR $4 = 0)`,
		r.SHA256, r.Issuer, r.Date, int64(in.Currency), r.Merchant).Scan(&before)
	if err == nil {
		return fmt.Errorf("%w: %s", ErrGiven, before)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look for the file: %w", err)
	}
	at := in.Now.UnixMicro()
	_, err = tx.ExecContext(ctx, `INSERT INTO recon_file (sha256, issuer, business_date, currency, merchant_id, layout, name, at, by_whom, lines, debits, credits, matched, tolerated, late, exceptions)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`, r.SHA256, r.Issuer, r.Date, int64(in.Currency), r.Merchant, in.Layout.Name, r.File, at, in.By,
		r.Lines, r.Debits, r.Credits, r.Matched, r.Tolerated, r.Late, r.Exceptions)
	if err != nil {
		return fmt.Errorf("store the file: %w", err)
	}
	if err := m.storeTotals(ctx, tx); err != nil {
		return err
	}
	for _, n := range m.settled {
		last, items, err := lastAct(ctx, tx, n)
		if err != nil {
			return err
		}
		if last != openText && last != Claim && last != Resend {
			return refuse("exception %d was disposed of meanwhile: import the file again", n)
		}
		if err := addAct(ctx, tx, n, items, Act{At: in.Now, Act: late, By: in.By, Reason: "settled by " + r.File, File: r.SHA256}); err != nil {
			return err
		}
	}
	var n int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) FROM recon_exception`).Scan(&n); err != nil {
		return fmt.Errorf("number exceptions: %w", err)
	}
	if len(m.found) == 0 {
		return nil
	}
	insert, err := tx.PrepareContext(ctx, `INSERT INTO recon_exception (number, file, issuer, business_date, state, cause, issuer_stan, issuer_time, line, id, merchant_id, terminal_id,
		rrn, pan_masked, ours, ours_currency, theirs, theirs_currency, columns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`)
	if err != nil {
		return fmt.Errorf("store exceptions: %w", err)
	}
	defer insert.Close()
	for i := range m.found {
		e := &m.found[i]
		columns, err := json.Marshal(e.Columns)
		if err != nil {
			return err
		}
		n++
		_, err = insert.ExecContext(ctx, n, r.SHA256, r.Issuer, r.Date, string(e.Cause.State()), e.Cause.String(), int64(e.STAN), e.timeText(), e.Line, int64(e.ID), e.Merchant, e.Terminal,
			e.RRN, e.Card, e.Ours.Minor, int64(e.Ours.Currency), e.Theirs.Minor, int64(e.Theirs.Currency), string(columns))
		if err != nil {
			return fmt.Errorf("store exception %d: %w", n, err)
		}
	}
	return nil
}

// key is what another file of a layout would have it under.
func (e *Exception) key(l *Layout) key { return l.keyOf(e.STAN, e.Time, []byte(e.RRN)) }

func (e *Exception) timeText() string { return fmt.Sprintf("%010d", e.Time) }

// Age is how many days it has been there on a day.
func (e *Exception) Age(today txn.Date) int { return today.Since(e.Day) }

const selectExceptions = `SELECT e.number, e.file, e.issuer, e.business_date, e.cause, e.issuer_stan, e.issuer_time, e.line, e.id, e.merchant_id, e.terminal_id, e.rrn, e.pan_masked,
	e.ours, e.ours_currency, e.theirs, e.theirs_currency, e.columns, COALESCE(a.act, 'open') FROM recon_exception AS e
	LEFT JOIN recon_act AS a ON a.exception = e.number AND a.item = (SELECT MAX(x.item) FROM recon_act AS x WHERE x.exception = e.number)`

func list(ctx context.Context, tx *sql.Tx, where string, args ...any) (all []Exception, err error) {
	err = sqldb.Each(ctx, tx, func(scan func(...any) error) error {
		var e Exception
		var day, cause, at, columns string
		err := scan(&e.Number, &e.File, &e.Issuer, &day, &cause, &e.STAN, &at, &e.Line, &e.ID, &e.Merchant, &e.Terminal, &e.RRN, &e.Card,
			&e.Ours.Minor, &e.Ours.Currency, &e.Theirs.Minor, &e.Theirs.Currency, &columns, &e.Act)
		if err == nil {
			var n uint64
			n, err = strconv.ParseUint(at, 10, 32)
			e.Time = uint32(n)
		}
		if err == nil {
			e.Day, err = txn.ParseDate(day)
		}
		if err == nil {
			e.Cause, err = ParseCause(cause)
		}
		if err == nil {
			err = json.Unmarshal([]byte(columns), &e.Columns)
		}
		all = append(all, e)
		return err
	}, selectExceptions+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read exceptions: %w", err)
	}
	return all, nil
}

// Filter chooses exceptions; empty fields choose all.
type Filter struct {
	Issuer string
	Act    string   // open, late or a disposition
	Day    txn.Date // of the file
	Before txn.Date
	Cause  string // as Cause.String says it
}

// List is the chosen exceptions by number, the first 10,000.
func (q *Queue) List(ctx context.Context, f Filter) (all []Exception, err error) {
	first, before := "", "9999-99-99"
	if f.Before != 0 {
		before = f.Before.String()
	}
	if f.Day != 0 {
		first, before = f.Day.String(), min(before, f.Day.After().String())
	}
	err = q.db.View(ctx, func(tx *sql.Tx) error {
		all, err = list(ctx, tx, ` WHERE ($1 = '' OR e.issuer = $1) AND ($2 = '' OR COALESCE(a.act, 'open') = $2) AND e.business_date >= $3 AND e.business_date < $4
			AND ($5 = '' OR e.cause = $5) ORDER BY e.number LIMIT $6`, f.Issuer, f.Act, first, before, f.Cause, ListMax)
		return err
	})
	return all, err
}

// Get is one exception with what was done about it.
func (q *Queue) Get(ctx context.Context, number int64) (e Exception, err error) {
	err = q.db.View(ctx, func(tx *sql.Tx) error {
		if e, err = get(ctx, tx, number); err != nil {
			return err
		}
		return sqldb.Each(ctx, tx, func(scan func(...any) error) error {
			var a Act
			var at int64
			err := scan(&at, &a.Act, &a.By, &a.Reason, &a.Proposal, &a.File)
			a.At = time.UnixMicro(at).UTC()
			e.Acts = append(e.Acts, a)
			return err
		}, `SELECT at, act, by_whom, reason, proposal, file FROM recon_act WHERE exception = $1 ORDER BY item`, number)
	})
	return e, err
}

func get(ctx context.Context, tx *sql.Tx, number int64) (Exception, error) {
	all, err := list(ctx, tx, ` WHERE e.number = $1`, number)
	if err == nil && len(all) == 0 {
		return Exception{}, refuse("there is no exception %d", number)
	}
	if err != nil {
		return Exception{}, err
	}
	return all[0], nil
}

func lastAct(ctx context.Context, tx *sql.Tx, number int64) (act string, items int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE((SELECT act FROM recon_act WHERE exception = $1 ORDER BY item DESC LIMIT 1), 'open'), (SELECT COUNT(*) FROM recon_act WHERE exception = $1)`,
		number).Scan(&act, &items)
	if err != nil {
		return "", 0, fmt.Errorf("read what was done about exception %d: %w", number, err)
	}
	return act, items, nil
}

func addAct(ctx context.Context, tx *sql.Tx, number, item int64, a Act) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO recon_act (exception, item, at, act, by_whom, reason, proposal, file) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		number, item, a.At.UnixMicro(), a.Act, a.By, a.Reason, a.Proposal, a.File)
	if err != nil {
		return fmt.Errorf("note what was done about exception %d: %w", number, err)
	}
	return nil
}
