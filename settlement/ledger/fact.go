package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// A column with || '' is one whose index must not be used: PostgreSQL without
// statistics, as on the first day, takes the many rows of a kind or merchant for
// few, and its runs then take five times as long.

// counts says in SQL that a row of txn, called t, counts in the books by the
// facts up to a position: it was taken (txn.Record.Taken), and nothing undid it as a
// whole.
func counts(t, position string) string {
	financial := func(k txn.Kind) bool { return k.Totals() != txn.NoEffect }
	return strings.NewReplacer("@t", t, "@p", position).Replace(`(@t.position <= @p
		AND ((@t.outcome = 'approved' AND @t.request IN ` + kindsWhere(financial) + `)
			OR (@t.outcome = 'unknown' AND @t.reason = '` + txn.Approved.String() + `' AND @t.request IN ` + kindsWhere(func(k txn.Kind) bool { return financial(k) && k.Remedy() == txn.Repeat }) + `))
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

// What a run counts: the rows of its day (factsOfRun), and what changed on earlier days
// since the run before: rows of which less stands, as after a reversal (factsOfRun), and
// rows that were stored since (factsSince). More than before never stands of a row.
var (
	factColumns = `merchant_id, terminal_id, id, position, business_date, at, batch, stan, request, currency, mcc, entry_mode, pan_masked, issuer, rrn, outcome, original_id`

	// what is left of a row that counted before
	leftNow = `CASE WHEN ` + counts("txn", "$2") + ` THEN ` + standing("txn", "$2") + ` ELSE 0 END`

	// what a run counts anew: all that stands, and nothing of it did before
	countedNow = standing("txn", "$2") + ` AS amount, 0 AS base, 0 AS undo, CAST($2 AS BIGINT) AS cut`

	// $1 day, $2 position, $3 position of the run before
	factsOfRun = `SELECT ` + factColumns + `, ` + countedNow + ` FROM txn WHERE business_date = $1 AND ` + counts("txn", "$2") + `
		UNION ALL
		SELECT ` + factColumns + `, ` + standing("txn", "$3") + ` - ` + leftNow + `, ` + leftNow + `, 1,
				(SELECT MIN(run.position) FROM run WHERE run.business_date >= txn.business_date AND run.position >= txn.position)
			FROM txn WHERE txn.id IN (SELECT original_id FROM event WHERE position > $3 AND position <= $2) AND business_date || '' < $1 AND position <= $3
			AND ` + counts("txn", "$3") + ` AND ` + standing("txn", "$3") + ` > ` + leftNow

	// and of an earlier day, $4 or another parameter
	factsSince = `
		UNION ALL
		SELECT ` + factColumns + `, ` + countedNow + ` FROM txn WHERE business_date = $%d AND position > $3 AND ` + counts("txn", "$2")

	// Two looks into the index by day and position for each day of which there are
	// transactions, be it settled or not: a clock that went back dates some on days that
	// had none. Neither engine walks an index so by itself: they read all rows.
	selectDaysSince = `WITH RECURSIVE day (d) AS (SELECT MAX(business_date) FROM txn WHERE business_date < $1
		UNION ALL SELECT (SELECT MAX(txn.business_date) FROM txn WHERE txn.business_date < day.d) FROM day WHERE day.d IS NOT NULL)
		SELECT d FROM day WHERE (SELECT MAX(txn.position) FROM txn WHERE txn.business_date = day.d) > $2 ORDER BY d`

	// $1 day, $2 position, $3 RRN
	factsOfRRN = `SELECT ` + factColumns + `, ` + countedNow + ` FROM txn WHERE business_date = $1 AND rrn = $3 AND ` + counts("txn", "$2")

	selectFactRRN = facts(factsOfRRN, "")
)

// facts completes chosen rows with their deals. By merchant and journal position,
// which is the order of everything that is made of them; merchants by their bytes, also
// where the database sorts as a language does (collate). Their originals are looked
// up one by one, in one text, for the few that name one: a join makes PostgreSQL sort
// all transactions of all days, where it has statistics.
func facts(chosen, collate string) string {
	original := `FROM txn AS root WHERE root.merchant_id || '' = c.merchant_id AND root.id = c.original_id
		AND root.request IN ` + kindsWhere(func(k txn.Kind) bool { return k.Totals() == txn.Debit })
	return `WITH chosen AS (` + chosen + `)
	SELECT c.merchant_id, c.terminal_id, c.id, c.position, c.business_date, c.at, c.batch, c.stan, c.request, c.amount, c.currency, c.mcc, c.entry_mode,
		c.pan_masked, c.issuer, c.rrn, c.outcome, c.undo,
		CASE WHEN c.outcome <> 'unknown' THEN '' ELSE COALESCE((SELECT MAX(noted.reason) FROM event AS noted WHERE noted.merchant_id = c.merchant_id
			AND noted.original_id = c.id AND noted.kind = 'advice done' AND noted.position <= c.cut), 'none') END,
		c.original_id,
		CASE WHEN c.original_id = 0 THEN '' ELSE COALESCE((SELECT root.business_date || ' ' || root.position || ' ' || root.mcc || ' ' || root.entry_mode || ' '
			|| root.pan_masked ` + original + `), '') END,
		c.base + CASE WHEN c.original_id = 0 THEN 0 ELSE COALESCE((SELECT
			CASE WHEN ` + counts("root", "c.cut") + ` THEN ` + standing("root", "c.cut") + ` ELSE 0 END
			+ COALESCE((SELECT CAST(SUM(deed.amount * ` + creditKinds("deed") + `) AS BIGINT) FROM txn AS deed WHERE deed.merchant_id = c.merchant_id
				AND deed.original_id = c.original_id AND deed.original_id <> 0 AND deed.position < c.position AND ` + counts("deed", "c.cut") + `), 0)
			` + original + `), 0) END
	FROM chosen AS c
	ORDER BY c.merchant_id` + collate + `, c.position`
}

var outcomes = valuesOf[txn.Outcome]()

// Facts calls fn with what the run of a day covers: by merchant and position.
// The fact is overwritten by the next call. It holds one row at a time; the
// database sorts on its disk.
func (q *Snapshot) Facts(ctx context.Context, r *Run, prior uint64, fn func(*Fact) error) error {
	chosen, args := factsOfRun, []any{r.Day.String(), int64(r.Position), int64(prior)}
	err := q.rows(ctx, "look for what was stored late", func(scan func(...any) error) error {
		var day string
		err := scan(&day)
		args = append(args, day)
		chosen += fmt.Sprintf(factsSince, len(args))
		return err
	}, selectDaysSince, r.Day.String(), int64(prior))
	if err != nil {
		return err
	}
	return q.facts(ctx, fn, facts(chosen, q.collate), args...)
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
	var merchant, terminal, day, request, masked, issuer, rrn, outcome, noted, root sql.RawBytes
	var id, at, original int64
	var f Fact
	dest := []any{&merchant, &terminal, &id, &f.Position, &day, &at, &f.Batch, &f.STAN, &request, &f.Amount.Minor, &f.Amount.Currency, &f.MCC, &f.Entry,
		&masked, &issuer, &rrn, &outcome, &f.Undo, &noted, &original, &root, &f.Before}
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
		if f.Names, f.Root = original != 0, len(root) > 0; f.Root {
			err = errors.Join(err, f.root(root))
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

// root reads the original that the deal began with.
func (f *Fact) root(text []byte) error {
	parts := bytes.SplitN(text, []byte(" "), 5)
	if len(parts) != 5 {
		return fmt.Errorf("%q is no original", text)
	}
	var n [3]uint64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(string(parts[1+i]), 10, 64); err != nil {
			return err
		}
	}
	f.RootPosition, f.RootMCC, f.RootEntry = n[0], uint16(n[1]), txn.EntryMode(n[2])
	return errors.Join(scanDay(&f.RootDay, string(parts[0])), untext(f.RootMasked[:], 0, parts[4]))
}

var selectGross = `SELECT currency, COUNT(*), CAST(SUM(CASE WHEN sign > 0 THEN amount ELSE 0 END) AS BIGINT), CAST(SUM(CASE WHEN sign < 0 THEN amount ELSE 0 END) AS BIGINT)
	FROM (SELECT currency, ` + standing("txn", "$2") + ` AS amount, ` + creditKinds("txn") + ` AS sign FROM txn WHERE business_date = $1 AND ` + counts("txn", "$2") + `) AS counted
	GROUP BY currency`

// Gross is what a day's transactions of a currency come to by a sum in the
// database: what the postings are held against.
type Gross struct{ Count, Debit, Credit int64 }

// Gross sums up a day by the facts up to a position.
func (q queries) Gross(ctx context.Context, day txn.Date, position uint64) (map[txn.Currency]Gross, error) {
	sums := map[txn.Currency]Gross{}
	err := q.rows(ctx, "sum up "+day.String(), func(scan func(...any) error) error {
		var c txn.Currency
		var g Gross
		err := scan(&c, &g.Count, &g.Debit, &g.Credit)
		sums[c] = g
		return err
	}, selectGross, day.String(), int64(position))
	return sums, err
}
