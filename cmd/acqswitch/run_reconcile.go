package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/reconcile"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// span is a business day as a simulated issuer dates its book.
func span(calendar txn.BusinessDay, day txn.Date) simulator.Day {
	return simulator.Day{Date: day, From: calendar.Start(day), To: calendar.Start(day.After())}
}

// reconcile holds a file of each issuer's own book against the days that were
// settled.
func (r *sampleRun) reconcile(ctx context.Context, s *summary) error {
	calendar, err := r.cfg.businessDay()
	if err != nil {
		return err
	}
	acquirer, err := txn.ParseAcquirer(r.cfg.Acquirer)
	if err != nil {
		return err
	}
	layout, _ := reconcile.Builtin("acom")
	if err := r.app.approvals.Migrate(ctx); err != nil {
		return err
	}
	q := reconcile.NewQueue(r.app.db)
	if err := q.Migrate(ctx); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.books)) {
		entries, err := simulator.ReadBook(r.books[name])
		if err != nil {
			return err
		}
		for _, run := range s.Settled {
			day, err := txn.ParseDate(run.Date)
			if err != nil {
				return err
			}
			for _, currency := range currenciesOf(entries, span(calendar, day), run) {
				path := filepath.Join(r.dir, fmt.Sprintf("%s-%s-%s.acom", name, run.Date, currency.Letters()))
				err := replaceFile(path, func(w io.Writer) error { return simulator.WriteACOM(w, entries, span(calendar, day), currency) })
				if err != nil {
					return fmt.Errorf("write the file of issuer %s: %w", name, err)
				}
				file, err := os.Open(path)
				if err != nil {
					return err
				}
				result, err := q.Import(ctx, reconcile.Input{Ledger: r.app.ledger, Name: path, File: file, Layout: layout, Issuer: txn.MakeIssuerID(name), Day: day,
					Acquirer: acquirer, Currency: currency, Count: -1, Total: -1, By: "run", Now: time.Now()})
				file.Close()
				if errors.Is(err, reconcile.ErrGiven) { // by a run that was killed then
					continue
				}
				if err != nil {
					return err
				}
				s.Reconciled = append(s.Reconciled, result)
			}
		}
	}
	for _, run := range s.Settled {
		day, err := txn.ParseDate(run.Date)
		if err != nil {
			return err
		}
		p, err := prove(ctx, r.app.ledger, q, r.cfg.path(r.cfg.Settlement.Dir, "settlement"), day, calendar.Of(time.Now()))
		if err != nil {
			return err
		}
		s.Proved = append(s.Proved, p)
	}
	open, err := q.List(ctx, reconcile.Filter{Act: "open"})
	s.Unreconciled = len(open)
	return err
}

// currenciesOf are those that an issuer's book or we have of a day.
func currenciesOf(entries []simulator.Entry, day simulator.Day, run *settlement.RunResult) []txn.Currency {
	all := map[txn.Currency]bool{}
	for _, c := range simulator.Currencies(entries, day) {
		all[c] = true
	}
	for i := range run.Totals {
		if c, err := txn.ParseCurrency(run.Totals[i].Currency); err == nil {
			all[c] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
