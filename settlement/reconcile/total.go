package reconcile

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Sum is one side's transactions of a day and currency, in minor units.
type Sum struct {
	Count   int64 `json:"count"`
	Debits  int64 `json:"debits"`
	Credits int64 `json:"credits"`
}

// add adds a signed amount, times of it: -1 takes it out again.
func (s *Sum) add(minor, times int64) {
	if s.Count += times; minor < 0 {
		s.Credits -= times * minor
	} else {
		s.Debits += times * minor
	}
}

// Net is debits less credits.
func (s *Sum) Net() int64 { return s.Debits - s.Credits }

// Total is what both sides have of a day in one currency, and what makes the
// difference. Theirs less Ours is Excepted, Late and Tolerated together.
type Total struct {
	Issuer   string       `json:"issuer"`
	File     string       `json:"file"`
	SHA256   string       `json:"sha256"`
	Currency txn.Currency `json:"-"`
	Ours     Sum          `json:"ours"`   // that stood when the file was taken
	Theirs   Sum          `json:"theirs"` // lines that count
	Excepted int64        `json:"excepted"`
	Late     int64        `json:"late"` // of another day's file
	Tolerated,
	Exceptions, Open int64 // how many the file has, and how many of these nobody has decided
}

// balance proves that a file's exceptions are all that its sides differ in. A failure
// is a fault of this program.
func (m *match) balance() error {
	for c, t := range m.totals {
		if off := t.Theirs.Net() - t.Ours.Net() - t.Excepted - t.Late - t.Tolerated; off != 0 {
			return fmt.Errorf("in %s the two sides differ by %d more than the exceptions of %s say", c.Letters(), off, m.in.Name)
		}
	}
	return nil
}

func (m *match) total(c txn.Currency) *Total {
	t := m.totals[c]
	if t == nil {
		t = &Total{}
		m.totals[c] = t
	}
	return t
}

// unlike counts what an exception has on both sides.
func (m *match) unlike(ours, theirs Side, times int64) {
	if ours.Currency != 0 {
		m.total(ours.Currency).Excepted -= times * ours.Minor
	}
	if theirs.Currency != 0 {
		m.total(theirs.Currency).Excepted += times * theirs.Minor
	}
}

func (m *match) storeTotals(ctx context.Context, tx *sql.Tx) error {
	for _, c := range slices.Sorted(maps.Keys(m.totals)) {
		t := m.totals[c]
		_, err := tx.ExecContext(ctx, `INSERT INTO recon_total (file, currency, ours, ours_debits, ours_credits, theirs, theirs_debits, theirs_credits, excepted, late, tolerated)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, m.result.SHA256, int64(c), t.Ours.Count, t.Ours.Debits, t.Ours.Credits, t.Theirs.Count, t.Theirs.Debits, t.Theirs.Credits,
			t.Excepted, t.Late, t.Tolerated)
		if err != nil {
			return fmt.Errorf("store the file's totals: %w", err)
		}
	}
	return nil
}

// Totals are those of the files of a business day that are of all merchants, by
// issuer and currency.
func (q *Queue) Totals(ctx context.Context, day txn.Date) (all []Total, err error) {
	err = q.db.View(ctx, func(tx *sql.Tx) error {
		err := sqldb.Each(ctx, tx, func(scan func(...any) error) error {
			var t Total
			err := scan(&t.Issuer, &t.File, &t.SHA256, &t.Currency, &t.Ours.Count, &t.Ours.Debits, &t.Ours.Credits, &t.Theirs.Count, &t.Theirs.Debits, &t.Theirs.Credits,
				&t.Excepted, &t.Late, &t.Tolerated, &t.Exceptions, &t.Open)
			all = append(all, t)
			return err
		}, `SELECT f.issuer, f.name, f.sha256, t.currency, t.ours, t.ours_debits, t.ours_credits, t.theirs, t.theirs_debits, t.theirs_credits, t.excepted, t.late, t.tolerated,
				(SELECT COUNT(*) FROM recon_exception AS e WHERE e.file = f.sha256 AND (e.ours_currency = t.currency OR e.theirs_currency = t.currency)),
				(SELECT COUNT(*) FROM recon_exception AS e WHERE e.file = f.sha256 AND (e.ours_currency = t.currency OR e.theirs_currency = t.currency)
					AND NOT EXISTS (SELECT 1 FROM recon_act AS a WHERE a.exception = e.number))
			FROM recon_file AS f JOIN recon_total AS t ON t.file = f.sha256 WHERE f.business_date = $1 AND f.merchant_id = '' ORDER BY f.issuer, t.currency`, day.String())
		if err != nil {
			return fmt.Errorf("read totals of %s: %w", day, err)
		}
		return nil
	})
	return all, err
}

// OfDay are the exceptions of a business day's files, by number, the first 10,000.
func (q *Queue) OfDay(ctx context.Context, day txn.Date) (all []Exception, err error) {
	err = q.db.View(ctx, func(tx *sql.Tx) error {
		all, err = list(ctx, tx, ` WHERE e.business_date = $1 ORDER BY e.number LIMIT $2`, day.String(), ListMax)
		return err
	})
	return all, err
}
