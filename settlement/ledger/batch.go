package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Batch is a batch of a terminal as one of its facts left it, or as its
// transactions make it.
type Batch struct {
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	Number   uint32
	State    txn.BatchState
	Currency txn.Currency
	Ours     txn.Totals

	// Of a fact only.
	At                  time.Time
	Step                txn.BatchStep
	Result              [2]txn.Comparison
	Theirs              txn.Totals // of all cards
	Announced, Received uint32
	Missing             txn.Totals
}

// BatchException is an item that people must decide about.
type BatchException struct {
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	Number   uint32
	Currency txn.Currency
	Item     txn.BatchItem // without its card's hash
}

var batchColumns = []string{"merchant_id", "terminal_id", "batch", "position", "business_date", "at", "id", "step", "state", "opened", "code",
	"currency", "result", "result_foreign", "theirs_debit_count", "theirs_debit_amount", "theirs_credit_count", "theirs_credit_amount",
	"ours_debit_count", "ours_debit_amount", "ours_credit_count", "ours_credit_amount", "announced", "received",
	"missing_debit_count", "missing_debit_amount", "missing_credit_count", "missing_credit_amount"}

var batchItemColumns = []string{"merchant_id", "terminal_id", "batch", "position", "item", "business_date", "stan", "verdict", "request",
	"currency", "theirs", "ours", "card_token", "pan_masked"}

var (
	batchTable     = newTable("batch", batchColumns...)
	batchItemTable = newTable("batch_item", batchItemColumns...)
)

// putBatch appends the rows of e's fact, if it is one.
func (l *Ledger) putBatch(e *Entry) error {
	rec := e.Rec
	if !rec.Request.Batch() || len(rec.Data) == 0 {
		return nil
	}
	f := &l.fact
	if err := f.Unmarshal(rec.Data); err != nil {
		return fmt.Errorf("store journal record %d: %w", e.Pos, err)
	}
	key := merchantColumn.put(nil, e)
	key = terminalColumn.put(key, e).number(int64(rec.Key.Batch)).number(int64(e.Pos))
	l.rows[batchTable] = append(l.rows[batchTable], key...).day(rec.Day).number(rec.At.UnixMicro()).number(int64(rec.ID)).
		texts(nameOf(f.Step), nameOf(f.State)).day(f.Opened).number(int64(f.Code)).number(int64(rec.Amount.Currency)).
		texts(nameOf(f.Result[0]), nameOf(f.Result[1])).totals(f.Theirs[0].Plus(f.Theirs[1])).totals(f.Ours).
		number(int64(f.Announced)).number(int64(f.Received)).totals(f.Missing)
	for i := range f.Items {
		it := &f.Items[i]
		if it.Verdict == txn.ItemMatches {
			continue
		}
		card := Entry{Rec: &txn.Record{Card: it.Card, Masked: it.Masked}}
		row := append(l.rows[batchItemTable], key...).number(int64(i)).day(rec.Day).number(int64(it.STAN)).texts(nameOf(it.Verdict), nameOf(it.Kind)).
			number(int64(rec.Amount.Currency)).number(it.Minor).number(it.Ours)
		l.rows[batchItemTable] = maskedColumn.put(cardColumn.put(row, &card), &card)
	}
	return nil
}

func (r rows) totals(t txn.Totals) rows {
	return r.number(int64(t.Debit.Count)).number(t.Debit.Minor).number(int64(t.Credit.Count)).number(t.Credit.Minor)
}

// kindsWhere lists kinds as an SQL list of names.
func kindsWhere(is func(txn.Kind) bool) string {
	var names []string
	for k := range txn.Kind(txn.Kinds) {
		if is(k) {
			names = append(names, "'"+k.String()+"'")
		}
	}
	return "(" + strings.Join(names, ", ") + ")"
}

// remains is in SQL what stands of the amount of a row of txn, called t, by the
// reversals in part that condition, which is on part, takes in.
func remains(t, condition string) string {
	return strings.NewReplacer("@t", t, "@c", condition).Replace(`(@t.amount - COALESCE((SELECT CAST(SUM(part.amount - part.gone - part.stays) AS BIGINT) FROM event AS part
		WHERE part.merchant_id = @t.merchant_id AND part.original_id = @t.id AND part.kind || '' = 'reversal due' AND part.stays <> 0 @c), 0))`)
}

// counted are the transactions that are in their batch's totals: the SQL of
// batch.Counts, less what is to be reversed as a whole.
var counted = `(txn.outcome IN ('approved', 'unknown') AND txn.reason = '` + txn.Approved.String() + `'
	AND txn.request IN ` + kindsWhere(func(k txn.Kind) bool { return k.Totals() != txn.NoEffect }) + `)
	AND NOT EXISTS (SELECT 1 FROM event WHERE event.merchant_id = txn.merchant_id AND event.original_id = txn.id AND event.kind = 'reversal due' AND event.stays = 0)`

var selectOpenBatches = `WITH open AS (
		SELECT merchant_id, terminal_id, batch, currency, ` + remains("txn", "") + ` AS amount,
			CASE WHEN request IN ` + kindsWhere(func(k txn.Kind) bool { return k.Totals() == txn.Credit }) + ` THEN 1 ELSE 0 END AS credit
		FROM txn WHERE business_date = $1 AND ` + counted + `
			AND position > COALESCE((SELECT MAX(position) FROM batch WHERE batch.merchant_id = txn.merchant_id
				AND batch.terminal_id = txn.terminal_id AND batch.batch = txn.batch AND batch.state = 'closed'), 0))
	SELECT merchant_id, terminal_id, batch, currency,
		COALESCE((SELECT state FROM batch WHERE batch.merchant_id = open.merchant_id AND batch.terminal_id = open.terminal_id
			AND batch.batch = open.batch ORDER BY position DESC LIMIT 1), 'open'),
		CAST(SUM(1 - credit) AS BIGINT), CAST(SUM(amount * (1 - credit)) AS BIGINT),
		CAST(SUM(credit) AS BIGINT), CAST(SUM(amount * credit) AS BIGINT)
	FROM open GROUP BY merchant_id, terminal_id, batch, currency ORDER BY merchant_id, terminal_id, batch, currency`

var states = valuesOf[txn.BatchState]()

// OpenBatches are the batches with transactions of a business day that nobody
// has closed, with the totals of that day's transactions.
func (q queries) OpenBatches(ctx context.Context, day txn.Date) ([]Batch, error) {
	var open []Batch
	err := q.batches(ctx, selectOpenBatches, day, func(scan func(...any) error) error {
		var b Batch
		var merchant, terminal, state string
		err := scan(&merchant, &terminal, &b.Number, &b.Currency, &state, &b.Ours.Debit.Count, &b.Ours.Debit.Minor, &b.Ours.Credit.Count, &b.Ours.Credit.Minor)
		b.State = states[state]
		err = errors.Join(err, parties(&b.Merchant, merchant, &b.Terminal, terminal))
		open = append(open, b)
		return err
	})
	return open, err
}

var selectBatches = `SELECT merchant_id, terminal_id, batch, at, step, state, currency, result, result_foreign,
		theirs_debit_count, theirs_debit_amount, theirs_credit_count, theirs_credit_amount,
		ours_debit_count, ours_debit_amount, ours_credit_count, ours_credit_amount, announced, received,
		missing_debit_count, missing_debit_amount, missing_credit_count, missing_credit_amount
	FROM batch WHERE business_date = $1 ORDER BY position`

var (
	steps       = valuesOf[txn.BatchStep]()
	comparisons = valuesOf[txn.Comparison]()
	verdicts    = valuesOf[txn.ItemVerdict]()
)

// Batches are the facts of a business day's settlements, in journal order.
func (q queries) Batches(ctx context.Context, day txn.Date) ([]Batch, error) {
	var facts []Batch
	err := q.batches(ctx, selectBatches, day, func(scan func(...any) error) error {
		var b Batch
		var merchant, terminal, step, state, result, foreign string
		var at int64
		err := scan(&merchant, &terminal, &b.Number, &at, &step, &state, &b.Currency, &result, &foreign,
			&b.Theirs.Debit.Count, &b.Theirs.Debit.Minor, &b.Theirs.Credit.Count, &b.Theirs.Credit.Minor,
			&b.Ours.Debit.Count, &b.Ours.Debit.Minor, &b.Ours.Credit.Count, &b.Ours.Credit.Minor, &b.Announced, &b.Received,
			&b.Missing.Debit.Count, &b.Missing.Debit.Minor, &b.Missing.Credit.Count, &b.Missing.Credit.Minor)
		err = errors.Join(err, parties(&b.Merchant, merchant, &b.Terminal, terminal))
		b.At, b.Step, b.State = time.UnixMicro(at).UTC(), steps[step], states[state]
		b.Result = [2]txn.Comparison{comparisons[result], comparisons[foreign]}
		facts = append(facts, b)
		return err
	})
	return facts, err
}

const selectBatchFacts = `SELECT merchant_id, terminal_id, batch, currency, step, state, result, result_foreign,
		theirs_debit_count, theirs_debit_amount, theirs_credit_count, theirs_credit_amount
	FROM batch WHERE business_date >= $1 AND position > $2 AND position <= $3 ORDER BY position`

// BatchFacts calls fn with the facts after a position up to another, which are of
// business days from one on, in journal order.
func (q queries) BatchFacts(ctx context.Context, from txn.Date, after, upTo uint64, fn func(*Batch) error) error {
	return q.rows(ctx, "read batches", func(scan func(...any) error) error {
		var b Batch
		var merchant, terminal, step, state, result, foreign string
		err := scan(&merchant, &terminal, &b.Number, &b.Currency, &step, &state, &result, &foreign,
			&b.Theirs.Debit.Count, &b.Theirs.Debit.Minor, &b.Theirs.Credit.Count, &b.Theirs.Credit.Minor)
		if err = errors.Join(err, parties(&b.Merchant, merchant, &b.Terminal, terminal)); err != nil {
			return err
		}
		b.Step, b.State, b.Result = steps[step], states[state], [2]txn.Comparison{comparisons[result], comparisons[foreign]}
		return fn(&b)
	}, selectBatchFacts, from.String(), int64(after), int64(upTo))
}

const selectBatchItems = `SELECT DISTINCT merchant_id, terminal_id, batch, currency, stan, verdict, request, theirs, ours, pan_masked
	FROM batch_item WHERE business_date >= $1 AND position > $2 AND position <= $3
	ORDER BY merchant_id, terminal_id, batch, stan, verdict, theirs, pan_masked, request, ours, currency`

// BatchItems calls fn with what uploads of the same facts left for people to
// decide.
func (q queries) BatchItems(ctx context.Context, from txn.Date, after, upTo uint64, fn func(*BatchException) error) error {
	return q.rows(ctx, "read items of batches", func(scan func(...any) error) error {
		x, err := scanBatchItem(scan)
		if err != nil {
			return err
		}
		return fn(&x)
	}, selectBatchItems, from.String(), int64(after), int64(upTo))
}

func scanBatchItem(scan func(...any) error) (x BatchException, err error) {
	var merchant, terminal, verdict, request, masked string
	err = scan(&merchant, &terminal, &x.Number, &x.Currency, &x.Item.STAN, &verdict, &request, &x.Item.Minor, &x.Item.Ours, &masked)
	err = errors.Join(err, parties(&x.Merchant, merchant, &x.Terminal, terminal))
	x.Item.Verdict, x.Item.Kind = verdicts[verdict], kinds[request]
	copy(x.Item.Masked[:], masked)
	return x, err
}

// An item that was uploaded again is one exception.
const selectBatchExceptions = `SELECT DISTINCT merchant_id, terminal_id, batch, currency, stan, verdict, request, theirs, ours, pan_masked
	FROM batch_item WHERE business_date = $1 ORDER BY merchant_id, terminal_id, batch, stan, verdict, theirs, pan_masked, request, ours, currency`

// BatchExceptions are what a business day's uploads left for people to decide.
func (q queries) BatchExceptions(ctx context.Context, day txn.Date) ([]BatchException, error) {
	var exceptions []BatchException
	err := q.batches(ctx, selectBatchExceptions, day, func(scan func(...any) error) error {
		x, err := scanBatchItem(scan)
		exceptions = append(exceptions, x)
		return err
	})
	return exceptions, err
}

func parties(m *txn.MerchantID, merchant string, t *txn.TerminalID, terminal string) error {
	return errors.Join(untext(m[:], ' ', []byte(merchant)), untext(t[:], ' ', []byte(terminal)))
}

// batches calls fn with each row of a query for a business day.
func (q queries) batches(ctx context.Context, query string, day txn.Date, fn func(scan func(...any) error) error) error {
	return q.rows(ctx, "read batches of "+day.String(), fn, query, day.String())
}
