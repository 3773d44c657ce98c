package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

// catchUpMax bounds how long a stop waits for the ledger. What is not copied
// by then is copied at the next start.
const catchUpMax = 5 * time.Second

// runDrain brings the ledger's schema up to date and copies the journal into it
// until ctx ends, and then the rest. Sales do not depend on it: while the
// ledger is away it tries again, and where copying cannot go on at all it says
// so and lets the switch sell; what is not copied stays in the journal.
func (a *app) runDrain(ctx context.Context) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		if err := a.migrate(ctx); err != nil {
			ended <- err // stopped before the ledger was there, or it is too new for us
			return
		}
		ended <- a.drain.Run(running)
	}()
	select {
	case <-ctx.Done():
	case err := <-ended:
		if errors.Is(err, settlement.ErrAhead) {
			return err // it was away at the start: see migrateFirst
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			a.log.Error("the ledger cannot follow the journal until somebody repairs it; sales go on", "error", err)
		}
		<-ctx.Done()
		return nil
	}
	if !a.handsOver.Load() {
		late, stop := context.WithTimeout(running, catchUpMax)
		defer stop()
		if err := a.drain.CatchUp(late); err != nil {
			a.log.Warn("the ledger is behind the journal; the next start copies the rest", "error", err)
		}
	}
	cancel()
	<-ended
	return nil
}

// migrateRetry is the wait between two tries to reach the ledger at start.
const migrateRetry = time.Second

// migrateWithin bounds the wait for the ledger before terminals are let in.
const migrateWithin = 3 * time.Second

// migrateFirst brings the schema up to date before terminals are let in, so that
// lookups of earlier transactions, and verify, find their tables. A ledger that is away
// does not keep the switch from selling, for runDrain goes on trying; a schema that is
// too new for this program does, and a ledger that is ahead of the journal: without its
// history the switch would sell twice what it sold.
func (a *app) migrateFirst(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	err := a.makeTables(ctx)
	if err == nil {
		err = a.drain.NotAhead(ctx)
	}
	if errors.Is(err, sqldb.ErrNewer) || errors.Is(err, settlement.ErrAhead) {
		return err
	}
	if err != nil {
		a.log.Warn("the ledger is not there at start", "error", err)
	}
	return nil
}

// schemas are those that a start brings up to date.
func (c *config) schemas() []sqldb.Schema {
	all := []sqldb.Schema{ledger.Schema, approval.Schema, alert.Schema}
	if c.Risk.Policy == "" {
		all = append(all, policy.Schema)
	}
	if c.RegistryFrom == "database" {
		all = append(all, office.Schema)
	}
	return all
}

// makeTables brings the schemas of the database up to date, once.
func (a *app) makeTables(ctx context.Context) (err error) {
	defer func() { a.noTables.Store(&err) }()
	for _, s := range a.cfg.schemas() {
		if err := a.db.Migrate(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// migrate brings the schema up to date, however long the ledger is away. It fails
// when ctx ends, and where the schema is a newer program's.
func (a *app) migrate(ctx context.Context) error {
	for try := 0; ; try++ {
		err := a.makeTables(ctx)
		if try == 0 {
			close(a.tried)
		}
		if err == nil || errors.Is(err, sqldb.ErrNewer) {
			return err
		}
		if try%30 == 0 {
			a.log.Error("the ledger cannot be used yet; sales go on", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(migrateRetry):
		}
	}
}

// awaitTables returns when the tables are there or cannot be made yet, or are waited for
// too long: who reads them finds none while the first start is making them.
func (a *app) awaitTables(ctx context.Context) {
	select {
	case <-a.tried:
	case <-ctx.Done():
	case <-time.After(tablesWithin):
	}
}

// tablesWithin bounds that wait.
const tablesWithin = 30 * time.Second

// monthWithin bounds the wait for the month's use before terminals are let in.
const monthWithin = 10 * time.Second

// loadMonthFirst tries loadMonth once, and says whether it succeeded.
func (a *app) loadMonthFirst(ctx context.Context, first journal.Position) bool {
	ctx, cancel := context.WithTimeout(ctx, monthWithin)
	defer cancel()
	err := a.countMonth(ctx, first)
	if err != nil {
		a.log.Warn("what the month used is not known yet; its limits bind by what the journal has", "error", err)
	}
	return err == nil
}

// loadMonth counts what the running month used before the journal begins, once
// the ledger can tell.
func (a *app) loadMonth(ctx context.Context, first journal.Position) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(migrateRetry):
		}
		if err := a.countMonth(ctx, first); err == nil {
			a.log.Info("what the month used is counted")
			return nil
		}
	}
}

// countMonth makes the counters of the running month whole. Recovery has counted every
// record of the journal, and this counts the earlier ones from the ledger, which has
// all that the journal no longer has: the journal's head is dropped only up to what is
// copied. So each record is counted once, however far the drain is behind.
func (a *app) countMonth(ctx context.Context, first journal.Position) error {
	business, err := a.cfg.businessDay()
	if err != nil {
		return err
	}
	today := business.Of(time.Now())
	return a.risk.LoadMonth(today, func(add func(risk.Cell, risk.Use)) error {
		if first <= 1 {
			return nil // the journal has it all
		}
		return a.ledger.UsageBefore(ctx, today/100*100+1, today, uint64(first), func(p ledger.Party, u ledger.Use) error {
			add(risk.Cell{Party: risk.Party{Scope: p.Scope, Currency: p.Currency, ID: p.ID}, Method: p.Method, CardType: p.CardType}, risk.Use(u))
			return nil
		})
	})
}

// closeEvery is how often unsettled batches are looked for. There are some once a day.
const closeEvery = 10 * time.Minute

// closeBatches closes the batches of the day before that no terminal settled, a while
// after the cut-over (batches.close_after), until ctx ends.
func (a *app) closeBatches(ctx context.Context) error {
	after := a.cfg.Batches.CloseAfter
	day, err := a.cfg.businessDay()
	if err != nil || after == 0 {
		return err
	}
	for {
		over := day.Of(a.clock.now().Add(-after)).Before() // the last day whose time has come
		closed, err := a.acquirer.CloseBatches(ctx, over)
		if err != nil {
			return err
		}
		if closed > 0 {
			a.log.Warn("batches were closed that no terminal settled; acqswitch batches list has them on the day of their closing", "count", closed, "day", over.String(), "closed_on", day.Of(time.Now()).String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(closeEvery):
		}
	}
}

// settleEvery is how often days that are due are looked for.
const settleEvery = time.Minute

// settleDays settles the days that are due, a while after the cut-over
// (settlement.schedule), until ctx ends. A day that fails is tried again; another
// process may settle it first.
func (a *app) settleDays(ctx context.Context) error {
	if a.cfg.Settlement.Schedule == 0 {
		return nil
	}
	a.awaitTables(ctx)
	said := "" // the same failure is told once
	for {
		if err := a.settleDue(ctx); ctx.Err() == nil {
			a.overdue.note(err, time.Now())
			if err != nil && err.Error() != said {
				a.log.Error("a business day is not settled; it is tried again every minute", "error", err)
			}
			said = ""
			if err != nil {
				said = err.Error()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settleEvery):
		}
	}
}

// overdue is for how long a business day that is due could not be settled.
type overdue struct{ since atomic.Int64 } // seconds since 1970; 0: all are settled

// note takes what came of a try.
func (o *overdue) note(err error, now time.Time) {
	if err == nil {
		o.since.Store(0)
		return
	}
	o.since.CompareAndSwap(0, now.Unix())
}

// seconds is at least 1 while a day is overdue, and else 0.
func (o *overdue) seconds(now time.Time) int64 {
	if since := o.since.Load(); since != 0 {
		return max(1, now.Unix()-since)
	}
	return 0
}

// settleDue settles all days that are due.
func (a *app) settleDue(ctx context.Context) error {
	day, err := a.cfg.businessDay()
	if err != nil {
		return err
	}
	for {
		now := a.clock.now()
		due, err := settlement.NextDue(ctx, a.ledger, day.Of(now.Add(-a.cfg.Settlement.Schedule)))
		if err != nil || due == 0 {
			return err
		}
		if c := a.cfg.Batches.CloseAfter; c > 0 && c <= a.cfg.Settlement.Schedule {
			if _, err := a.acquirer.CloseBatches(ctx, due); err != nil {
				return err
			}
			if err := a.drain.CatchUp(ctx); err != nil {
				return err
			}
		}
		if _, err := a.cfg.cases(a.db, a.approvals).Expire(ctx, now); err != nil {
			return err
		}
		in := a.cfg.runInput(a.ledger, due, now)
		in.OpenJournal = func() (settlement.Journal, error) { return struct{ settlement.Journal }{a.journal}, nil }
		r, err := settlement.Settle(ctx, in)
		if err != nil {
			return err
		}
		for i := range r.Totals {
			t := &r.Totals[i]
			a.log.Info("business day settled", "day", r.Date, "currency", t.Currency, "transactions", t.Transactions, "net", t.Major(t.Net), "paid", t.Major(t.Paid),
				"carried_forward", t.Major(t.Closing), "exceptions", r.Exceptions, "directory", r.Directory)
		}
	}
}

// truncateEvery is how often the head of the journal is dropped.
const truncateEvery = 10 * time.Minute

// truncate drops what neither the ledger nor a restart needs any more, until
// ctx ends. What stays is the previous business day, this one, and whatever
// owes a reversal.
func (a *app) truncate(ctx context.Context) error {
	day, err := a.cfg.businessDay()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(truncateEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			floor := min(a.acquirer.Floor(day.Of(a.clock.now())), journal.Position(a.drain.Stats().Position+1))
			if err := a.journal.Truncate(floor); err != nil {
				a.log.Error("the journal's head cannot be dropped; it grows until it can", "error", err)
			}
			if err := a.keys.Tidy(); err != nil {
				a.log.Error("the log of keys cannot be written anew; it grows until it can", "error", err)
			}
		}
	}
}
