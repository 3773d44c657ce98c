package main

import (
	"context"
	"database/sql"
	"time"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// tellDue makes an alert of what a sweep of the registry finds.
func tellDue(ctx context.Context, tx *sql.Tx, d office.Due) error {
	n := alert.Notice{Rule: d.Rule, Merchant: d.Merchant.String(), Terminal: d.Terminal.String(), Action: d.Action, At: d.At, Why: d.Why}
	return alert.RaiseIn(ctx, tx, &n, d.Since)
}

// sweepEvery is how often the app looks whether a day has begun.
const sweepEvery = time.Minute

// sweep does what a day that begins does to the registry, once the ledger has the
// days before it, until ctx ends.
func (a *app) sweep(ctx context.Context) error {
	day, err := a.cfg.businessDay()
	if err != nil {
		return err
	}
	last := func(ctx context.Context, m txn.MerchantID, t txn.TerminalID, since txn.Date) (txn.Date, error) {
		return a.ledger.LastApproved(ctx, m, t, since)
	}
	var swept txn.Date
	// What was recorded before this position was recorded before today, or is of
	// today: either way the ledger knows enough once it has it.
	position, of := a.journal.Last(), day.Of(time.Now())
	for {
		today := day.Of(time.Now())
		if today != of {
			position, of = a.journal.Last(), today
		}
		if today != swept && a.clock.wrongBy() == 0 && a.drain.Stats().Position >= uint64(position) {
			n, err := a.office.Sweep(ctx, last, tellDue)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				a.log.Error("the registry was not swept; it is tried again", "error", err)
			default:
				swept = today
				a.log.Info("the registry was swept", "day", today.String(), "merchants_held", n.Held, "terminals_unverified", n.Unverified, "terminals_retired", n.Retired)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
	}
}
