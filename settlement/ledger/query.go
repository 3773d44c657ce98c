package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math"
	"strings"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// queries are the questions, on a pool or on one transaction's snapshot.
type queries struct {
	on interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	}
}

// Snapshot answers all queries from one state of the ledger.
type Snapshot struct {
	queries
	collate string // that sorts texts by their bytes
}

// Read calls fn with a snapshot, which is of no use after fn returned.
func (l *Ledger) Read(ctx context.Context, fn func(*Snapshot) error) error {
	collate := ""
	if l.db.Postgres() {
		collate = ` COLLATE "C"`
	}
	return l.db.View(ctx, func(tx *sql.Tx) error { return fn(&Snapshot{queries{tx}, collate}) })
}

const selectPosition = `SELECT position FROM drain WHERE name = 'journal'`

// Position is that of the last journal record stored; 0 is none yet.
func (q queries) Position(ctx context.Context) (uint64, error) {
	var n int64
	if err := q.on.QueryRowContext(ctx, selectPosition).Scan(&n); err != nil {
		if sqldb.NoTable(err) {
			return 0, ErrNoSchema
		}
		return 0, fmt.Errorf("read ledger position: %w", err)
	}
	return uint64(n), nil
}

var (
	transactions = `SELECT 'outcome' AS kind, ` + strings.Join(namesOf(columns), ", ") + `, 0 AS gone, 0 AS stays FROM txn`
	events       = `SELECT kind, ` + strings.Join(namesOf(eventColumns), ", ") + ` FROM event`
)

var selectByRRN = transactions + ` WHERE business_date = $1 AND rrn = $2`

// ByRRN finds the transactions of a business day with a retrieval reference
// number: one, or the switch has given a number twice.
func (q queries) ByRRN(ctx context.Context, day txn.Date, rrn string) ([]Entry, error) {
	return q.list(ctx, selectByRRN, day.String(), rrn)
}

var selectReversalsByRRN = events + ` WHERE business_date IN ($1, $2) AND kind = 'reversal due' AND rrn = $3`

// ReversalsByRRN finds what terminals' reversals of a business day took back, by the
// retrieval reference number that they were answered with: of that day's transactions,
// or of the day before.
func (q queries) ReversalsByRRN(ctx context.Context, day txn.Date, rrn string) ([]Entry, error) {
	return q.list(ctx, selectReversalsByRRN, day.String(), day.Before().String(), rrn)
}

var selectByKey = transactions + ` WHERE merchant_id = $1 AND business_date = $2
	AND terminal_id = $3 AND batch = $4 AND stan = $5 AND class = $6 ORDER BY repeat_id`

// ByKey finds the transactions of a key and business day: at most one that was
// put to an issuer, first.
func (q queries) ByKey(ctx context.Context, merchant txn.MerchantID, day txn.Date, key txn.Key) ([]Entry, error) {
	return q.list(ctx, selectByKey, merchant.String(), day.String(),
		key.Terminal.String(), int64(key.Batch), int64(key.STAN), int64(key.Class))
}

var selectEvents = events + ` WHERE merchant_id = $1 AND original_id = $2 ORDER BY position`

// ByOriginal finds the transactions that name another one: its voids, refunds and
// completions.
func (q queries) ByOriginal(ctx context.Context, merchant txn.MerchantID, original txn.ID) ([]Entry, error) {
	return q.list(ctx, selectByOriginal, merchant.String(), int64(original))
}

// Events are what happened to a transaction after its outcome, in order.
func (q queries) Events(ctx context.Context, merchant txn.MerchantID, original txn.ID) ([]Entry, error) {
	return q.list(ctx, selectEvents, merchant.String(), int64(original))
}

var selectOpenReversals = transactions + ` WHERE owes = 1 AND NOT EXISTS (SELECT 1 FROM event AS done
		WHERE done.merchant_id = txn.merchant_id AND done.original_id = txn.id
			AND (done.kind IN ('reversal done', 'advice done') OR txn.request = '` + txn.KindStandIn.String() + `' AND done.kind = 'reversal due'))
	UNION ALL ` + events + ` WHERE owes = 1 AND NOT EXISTS (SELECT 1 FROM event AS done
		WHERE done.merchant_id = event.merchant_id AND done.original_id = event.original_id AND done.kind = 'reversal done' AND done.stays = event.stays)
	ORDER BY position`

// OpenReversals are the records that owe a reversal or an advice which is not
// done.
func (q queries) OpenReversals(ctx context.Context) ([]Entry, error) {
	return q.list(ctx, selectOpenReversals)
}

var selectStandIns = transactions + ` WHERE owes = 1 AND request = '` + txn.KindStandIn.String() + `' AND position < $1 AND NOT EXISTS (SELECT 1 FROM event AS done
		WHERE done.merchant_id = txn.merchant_id AND done.original_id = txn.id AND done.position < $1
			AND (done.kind = 'reversal done' OR done.kind = 'advice done' AND (done.reason = '` + txn.Approved.String() + `' OR txn.business_date < $2)))
	ORDER BY position`

// StandIns are the sales that were approved in issuers' places and counted as
// exposed to losses before a journal position of a business day: which their issuer
// had not taken note of, or had refused on that day, and which were not reversed.
func (q queries) StandIns(ctx context.Context, before uint64, day txn.Date) ([]Entry, error) {
	return q.list(ctx, selectStandIns, int64(min(before, math.MaxInt64)), day.String())
}

var selectAll = transactions + ` UNION ALL ` + events

// Scan calls fn with every row, in no order. The entry is overwritten by the
// next call.
func (q queries) Scan(ctx context.Context, fn func(Entry) error) error {
	return q.each(ctx, fn, selectAll)
}

const selectLastDayBefore = `SELECT COALESCE(MAX(business_date), '0000-00-00') FROM txn WHERE position < $1`

// LastDayBefore is the latest business day of which there is a transaction from
// before a journal position; 0 is none.
func (q queries) LastDayBefore(ctx context.Context, position uint64) (txn.Date, error) {
	e := Entry{Rec: &txn.Record{}}
	var s string
	err := q.on.QueryRowContext(ctx, selectLastDayBefore, int64(position)).Scan(&s)
	if err == nil {
		err = getDay(&e, value{isText: true, s: []byte(s)})
	}
	if err != nil {
		return 0, fmt.Errorf("read last day before %d: %w", position, err)
	}
	return e.Rec.Day, nil
}

// LastApproved is the last business day since a day, that day too, on which a
// terminal of a merchant had a transaction approved; 0 is none.
func (q queries) LastApproved(ctx context.Context, m txn.MerchantID, t txn.TerminalID, since txn.Date) (txn.Date, error) {
	e := Entry{Rec: &txn.Record{}}
	var s string
	err := q.on.QueryRowContext(ctx, `SELECT COALESCE(MAX(business_date), '0000-00-00') FROM txn
		WHERE merchant_id = $1 AND business_date >= $2 AND terminal_id = $3 AND outcome = 'approved'`, m.String(), since.String(), t.String()).Scan(&s)
	if err == nil {
		err = getDay(&e, value{isText: true, s: []byte(s)})
	}
	if err != nil {
		return 0, fmt.Errorf("read when terminal %s last had an approval: %w", t, err)
	}
	return e.Rec.Day, nil
}

// Total is one line of a day's totals.
type Total struct {
	Request txn.Kind
	Code    string // DE39 told to the terminal
	Reason  txn.Reason
	Count   int64
	Amount  txn.Amount // what was asked for, also when it was refused; what a reversal takes back
}

// A terminal's reversal request of an approved sale is decided by the record
// that makes the reversal due; one without STAN is the switch's own.
const selectTotals = `SELECT request, code, reason, currency, COUNT(*), CAST(SUM(amount) AS BIGINT) FROM (
		SELECT request, code, reason, currency, amount FROM txn WHERE business_date = $1
		UNION ALL
		SELECT request, code, reason, currency, amount - gone - stays FROM event
			WHERE business_date = $1 AND kind = 'reversal due' AND stan <> 0
	) AS decided GROUP BY request, code, reason, currency ORDER BY request, code, reason, currency`

var (
	kinds   = valuesOf[txn.Kind]()
	reasons = valuesOf[txn.Reason]()
)

// Totals counts a business day's decided requests by what they asked and what
// they were told.
func (q queries) Totals(ctx context.Context, day txn.Date) ([]Total, error) {
	var totals []Total
	err := q.rows(ctx, "read totals of "+day.String(), func(scan func(...any) error) error {
		var t Total
		var request, reason string
		err := scan(&request, &t.Code, &reason, &t.Amount.Currency, &t.Count, &t.Amount.Minor)
		t.Request, t.Reason = kinds[request], reasons[reason]
		totals = append(totals, t)
		return err
	}, selectTotals, day.String())
	return totals, err
}

// Party is one whose use of limits is counted, in one currency, with the part of
// its use that is meant: what was paid by one method with cards of one type. ID
// is the terminal's or merchant's id, zero padded, the card's token or the keyed
// hash of the merchant's document.
type Party struct {
	Scope    txn.LimitScope
	Currency txn.Currency
	ID       [16]byte
	Method   txn.Method
	CardType txn.CardType
}

// Parties are those whose limits a hold uses.
func Parties(h txn.Hold) iter.Seq[Party] {
	return func(yield func(Party) bool) {
		var ids [4][16]byte
		copy(ids[0][:], h.Terminal[:])
		copy(ids[1][:], h.Merchant[:])
		ids[2], ids[3] = h.Card, h.Identity
		for i, id := range ids {
			p := Party{txn.ScopeTerminal + txn.LimitScope(i), h.Currency, id, h.Method, h.CardType}
			if id != [16]byte{} && !yield(p) {
				return
			}
		}
	}
}

// Use is how much of a business day's limits a party has used.
type Use struct {
	Minor int64
	Count int64
}

// A reversal done is of its original's day and card, and has no terminal. In part
// it gives an amount back, and the transaction goes on to count.
const selectUsage = `WITH held AS (
		SELECT terminal_id, merchant_id, card_token, identity, currency, method, card_type, held * amount AS amount, held FROM txn
			WHERE business_date >= $1 AND business_date <= $2 AND position < $3 AND held <> 0
		UNION ALL
		SELECT txn.terminal_id, event.merchant_id, event.card_token, event.identity, event.currency, event.method, event.card_type,
			event.held * (event.amount - event.gone - event.stays), CASE WHEN event.stays = 0 THEN event.held ELSE 0 END
			FROM event JOIN txn ON txn.merchant_id = event.merchant_id AND txn.id = event.original_id
			WHERE event.business_date >= $1 AND event.business_date <= $2 AND txn.business_date >= $1 AND txn.business_date <= $2
				AND event.position < $3 AND event.kind = 'reversal done' AND event.held <> 0)
	SELECT * FROM (
		SELECT 1 AS scope, terminal_id, currency, method, card_type, CAST(SUM(amount) AS BIGINT) AS minor, CAST(SUM(held) AS BIGINT) AS used
			FROM held GROUP BY terminal_id, currency, method, card_type
		UNION ALL
		SELECT 2, merchant_id, currency, method, card_type, CAST(SUM(amount) AS BIGINT), CAST(SUM(held) AS BIGINT)
			FROM held GROUP BY merchant_id, currency, method, card_type
		UNION ALL
		SELECT 3, card_token, currency, method, card_type, CAST(SUM(amount) AS BIGINT), CAST(SUM(held) AS BIGINT)
			FROM held WHERE card_token <> '' GROUP BY card_token, currency, method, card_type
		UNION ALL
		SELECT 4, identity, currency, method, card_type, CAST(SUM(amount) AS BIGINT), CAST(SUM(held) AS BIGINT)
			FROM held WHERE identity <> '' GROUP BY identity, currency, method, card_type
	) AS uses WHERE minor <> 0 OR used <> 0`

var (
	methods   = valuesOf[txn.Method]()
	cardTypes = valuesOf[txn.CardType]()
)

// Usage calls fn with the use of a business day's limits: what approved and
// unknown outcomes hold, less what voids and reversals gave back.
func (q queries) Usage(ctx context.Context, day txn.Date, fn func(Party, Use) error) error {
	return q.UsageBefore(ctx, day, day, math.MaxInt64, fn)
}

// UsageBefore is Usage of the business days from first to last, by the records
// before a position of the journal. It reads every transaction of these days.
func (q queries) UsageBefore(ctx context.Context, first, last txn.Date, position uint64, fn func(Party, Use) error) error {
	fail := func(err error) error { return fmt.Errorf("read usage of %s to %s: %w", first, last, err) }
	rows, err := q.on.QueryContext(ctx, selectUsage, first.String(), last.String(), int64(position))
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var id, method, cardType sql.RawBytes
	for rows.Next() {
		var p Party
		var u Use
		err := rows.Scan(&p.Scope, &id, &p.Currency, &method, &cardType, &u.Minor, &u.Count)
		if err == nil {
			p.Method, p.CardType = methods[string(method)], cardTypes[string(cardType)]
			err = p.setID(id)
		}
		if err != nil {
			return fail(err)
		}
		if err := fn(p, u); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return nil
}

func (p *Party) setID(s []byte) error {
	switch p.Scope {
	case txn.ScopeTerminal:
		return untext(p.ID[:len(txn.TerminalID{})], ' ', s)
	case txn.ScopeMerchant:
		return untext(p.ID[:len(txn.MerchantID{})], ' ', s)
	default:
		return unhexed(p.ID[:], s)
	}
}

func (q queries) list(ctx context.Context, query string, args ...any) ([]Entry, error) {
	var entries []Entry
	err := q.each(ctx, func(e Entry) error {
		rec := *e.Rec
		entries = append(entries, Entry{e.Pos, &rec})
		return nil
	}, query, args...)
	return entries, err
}

// each decodes the rows of a query for kind and columns.
func (q queries) each(ctx context.Context, fn func(Entry) error, query string, args ...any) error {
	return q.eachOf(ctx, eventColumns, fn, query, args...)
}

// eachOf is each of rows that have some columns only, behind their kind.
func (q queries) eachOf(ctx context.Context, columns []column, fn func(Entry) error, query string, args ...any) error {
	rows, err := q.on.QueryContext(ctx, query, args...)
	if err != nil {
		if sqldb.Unmigrated(err) {
			err = fmt.Errorf("%w: %w", ErrNoSchema, err)
		}
		return fmt.Errorf("read ledger: %w", err)
	}
	defer rows.Close()
	decode := newDecoder(columns)
	for rows.Next() {
		e, err := decode(rows)
		if err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	return nil
}
