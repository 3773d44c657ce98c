package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// stage is a part of the app that runs. Stages start in order and stop in
// reverse: whoever uses another stops before it.
type stage struct {
	name string
	run  func(context.Context) error
}

// run serves until ctx ends or a stage fails, then drains: terminals stop
// being read and everything in flight is answered; then reversals pause (they
// are durable), issuers sign off, the ledger catches up for a moment, and the
// journal closes. ready is called once terminals can connect.
func (a *app) run(ctx context.Context, ready func()) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	failed := make(chan error, 8)
	var stop []func()
	var stopping time.Time
	defer func() {
		for i := len(stop) - 1; i >= 0; i-- {
			if i == 0 && !stopping.IsZero() { // what writes the log is the last to go
				a.log.Info("stopped", "took", time.Since(stopping).Round(time.Millisecond))
			}
			stop[i]()
		}
		for {
			select {
			case failure := <-failed:
				err = both(err, failure)
				continue
			default:
			}
			return
		}
	}()
	start := func(st stage) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := st.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				failed <- fmt.Errorf("%s: %w", st.name, err)
			}
		}()
		stop = append(stop, func() { cancel(); <-done })
	}

	start(stage{"log", a.logs.Run})
	start(stage{"journal", a.journal.Run})
	start(stage{"terminals' keys", a.keyLog.Run})
	if err := a.keys.Recover(); err != nil {
		return err
	}
	if err := a.cfg.checkZoneMACs(a.keys); err != nil {
		return err
	}
	if a.downloads != nil {
		start(stage{"downloads", a.takenLog.Run})
		if err := a.downloads.Recover(a.takenLog); err != nil {
			return err
		}
	}
	first := a.journal.First()
	if a.recovery, err = a.acquirer.Recover(); err != nil {
		return err
	}
	a.log.Info("recovered", "records", a.recovery.Records, "open", a.recovery.Open, "reversals_owed", a.recovery.Owed, "took", a.recovery.Duration)
	if err = a.migrateFirst(ctx); err != nil {
		return err
	}
	counted := a.loadMonthFirst(ctx, first)
	a.watchFirst(ctx)
	if err := a.terminals.Listen(ctx); err != nil {
		return err
	}
	start(stage{"telemetry", a.telemetry.Run})
	start(stage{"disk", a.disk.run})
	start(stage{"certificates", a.watchCertificates})
	start(stage{"ledger", a.runDrain})
	if !counted {
		start(stage{"month", func(ctx context.Context) error { return a.loadMonth(ctx, first) }})
	}
	start(stage{"alerts", a.followAlerts})
	if a.policies != nil {
		start(stage{"policy", a.followPolicies})
	}
	start(stage{"batches", a.closeBatches})
	start(stage{"settlement", a.settleDays})
	start(stage{"retention", a.truncate})
	if a.office != nil {
		start(stage{"registry", func(ctx context.Context) error {
			return a.office.Follow(ctx, a.registry.Snapshot(), a.version, a.registry.Replace, a.log)
		}})
		start(stage{"office", a.sweep})
	}
	start(stage{"issuers", a.issuers.Run})
	start(stage{"reversals", a.acquirer.Run})
	start(stage{"control", a.serveControl})
	if a.admin != nil {
		start(stage{"admin", a.serveAdmin})
	}
	if a.recorder != nil {
		start(stage{"recorder", a.record})
	}
	a.awaitLinks(ctx, a.linksFirst)
	start(stage{"terminals", a.terminals.Run})
	for i, addr := range a.terminals.Addrs() {
		l := a.cfg.Terminals.Listeners[i]
		a.log.Info("terminals can connect", "dialect", l.Dialect, "address", l.scheme()+addr.String())
	}
	ready()
	select {
	case <-ctx.Done():
		stopping = time.Now()
		a.log.Info("stopping")
		return nil
	case err := <-failed:
		stopping = time.Now()
		a.log.Error("stopping", "error", err)
		return err
	}
}

// both is what two stages failed with. When a journal fails, whoever writes to it
// says so as well: its own error is told, or one of theirs.
func both(a, b error) error {
	switch {
	case a != nil && errors.Is(b, journal.ErrClosed):
		return a
	case errors.Is(a, journal.ErrClosed):
		return b
	}
	return errors.Join(a, b)
}

// linksWithin bounds how long terminals wait for the links to come up.
const linksWithin = 5 * time.Second

// awaitLinks returns when each of the issuers has a link, or it has taken too long.
func (a *app) awaitLinks(ctx context.Context, issuers []string) {
	for late := time.Now().Add(linksWithin); time.Now().Before(late); {
		if !slices.ContainsFunc(a.issuers.Status(), func(s issuer.Status) bool { return s.Up == 0 && slices.Contains(issuers, s.Issuer) }) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

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
			return err // without its history the switch would sell twice what it sold
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

// migrateFirst brings the schema up to date before terminals are let in: what
// they ask of earlier transactions, and what people ask verify, then finds its
// tables. A ledger that is away does not keep the switch from selling: runDrain
// goes on trying. One that is too new for this program does.
func (a *app) migrateFirst(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	err := a.makeTables(ctx)
	if errors.Is(err, sqldb.ErrNewer) {
		return err
	}
	if err != nil {
		a.log.Warn("the ledger is not there at start", "error", err)
	}
	return nil
}

// watchFirst puts the watch list in force before terminals are let in, if the
// database is there: followAlerts goes on trying.
func (a *app) watchFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	if err := a.readWatchList(ctx); err != nil {
		a.log.Warn("nobody is watched until the database is there", "error", err)
	}
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
func (a *app) makeTables(ctx context.Context) error {
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

// monthWithin bounds the wait for the month's use before terminals are let in.
const monthWithin = 10 * time.Second

// loadMonthFirst is loadMonth once, and says whether that was enough.
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

// countMonth makes the counters of the running month whole. Recovery has counted
// every record of the journal, and what the journal no longer has, the ledger
// has: the head is dropped only up to what is copied. So each record is counted
// once, however far the copying is behind.
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

// closeEvery is how often unsettled batches are looked for: once a day there
// are some.
const closeEvery = 10 * time.Minute

// closeBatches closes, CloseAfter the cut-over, what no terminal settled on the
// day before, until ctx ends.
func (a *app) closeBatches(ctx context.Context) error {
	after := a.cfg.Batches.CloseAfter
	day, err := a.cfg.businessDay()
	if err != nil || after == 0 {
		return err
	}
	for {
		over := day.Of(time.Now().Add(-after)).Before() // the last day whose time has come
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

// settleDays settles, Schedule after the cut-over, the days that are due, until
// ctx ends. What fails is tried again; another process may do it first.
func (a *app) settleDays(ctx context.Context) error {
	after := a.cfg.Settlement.Schedule
	day, err := a.cfg.businessDay()
	if err != nil || after == 0 {
		return err
	}
	said := "" // the same failure is told once
	for {
		if err := a.settleDue(ctx, day.Of(time.Now().Add(-after))); ctx.Err() == nil && err != nil && err.Error() != said {
			said = err.Error()
			a.log.Error("a business day is not settled; it is tried again every minute", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settleEvery):
		}
	}
}

// settleDue settles all days before one that are due.
func (a *app) settleDue(ctx context.Context, before txn.Date) error {
	for {
		due, err := settlement.NextDue(ctx, a.ledger, before)
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
		if _, err := a.cfg.cases(a.db, a.approvals).Expire(ctx, time.Now()); err != nil {
			return err
		}
		in := a.cfg.runInput(a.ledger, due, time.Now())
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
		case now := <-ticker.C:
			floor := min(a.acquirer.Floor(day.Of(now)), journal.Position(a.drain.Stats().Position+1))
			if err := a.journal.Truncate(floor); err != nil {
				a.log.Error("the journal's head cannot be dropped; it grows until it can", "error", err)
			}
		}
	}
}

// serveAdmin answers operators until ctx ends.
func (a *app) serveAdmin(ctx context.Context) error {
	return serveHTTP(ctx, a.admin, a.telemetry.Handler(a.notReady))
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:      h,
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 20 * time.Second, // more than figures may take
		IdleTimeout:  time.Minute,
	}
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		srv.Shutdown(late)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// notReady says why sales cannot be made now, or nothing.
func (a *app) notReady(context.Context) error {
	for _, is := range a.issuers.Status() {
		if is.Up > 0 {
			return nil
		}
	}
	return errors.New("no issuer link is up")
}

// reload reads the files of the registry, of the certificates and of the downloads
// again; a bad one leaves the old in force.
func (a *app) reload() {
	a.reloadRegistry()
	a.reloadPolicy()
	if err := a.loadCardTypes(); err != nil {
		a.log.Error("types of cards not reloaded, the old ones stay in force", "error", err)
	}
	if err := errors.Join(a.issuers.ReloadTLS(), a.terminals.ReloadTLS()); err != nil {
		a.log.Error("certificates not reloaded, the old ones stay in force", "error", err)
	} else {
		for _, x := range a.certificates() {
			if !x.ends.IsZero() {
				a.log.Info("certificates reloaded", x.what, x.name, "ends", x.ends.UTC())
			}
		}
	}
	if a.downloads == nil {
		return
	}
	contents, err := readDownloads(a.cfg.Downloads)
	if err != nil {
		a.log.Error("downloads not reloaded, the old ones stay in force", "error", err)
		return
	}
	a.downloads.Replace(contents)
	a.log.Info("downloads reloaded", "file", a.cfg.Downloads)
}

// cardTable reads the table of card prefixes, which fees are priced by too. Without
// one no card's type is known: missing is where it would be.
func (c *config) cardTable() (table *txn.CardTable, missing string, err error) {
	text, path, err := c.input("types of cards", c.Settlement.Cards, "cards.csv", fee.FileSizeMax)
	if errors.Is(err, os.ErrNotExist) && c.Settlement.Cards == "" {
		text, missing, err = []byte("prefix,card\n"), path, nil
	}
	if err != nil {
		return nil, "", err
	}
	table, problems := txn.ParseCardTable(text)
	if len(problems) > 0 {
		p := problems[0]
		return nil, "", usage(fmt.Errorf("%s:%d: %s: %s", path, p.Line, p.Field, p.What))
	}
	return table, missing, nil
}

// loadCardTypes puts the table of card prefixes in force.
func (a *app) loadCardTypes() error {
	table, missing, err := a.cfg.cardTable()
	if err != nil {
		return err
	}
	if missing != "" {
		a.log.Warn("there is no table of cards: no limit of a type of cards will bind", "file", missing)
	}
	a.cardTypes.Store(table)
	return nil
}

func (a *app) reloadRegistry() {
	if a.office != nil {
		return // it follows the database
	}
	path := a.cfg.path(a.cfg.Registry, "registry.yaml")
	snapshot, err := readRegistry(path)
	if err != nil {
		a.log.Error("registry not reloaded, the old one stays in force", "error", err)
		return
	}
	a.registry.Replace(snapshot)
	merchants, terminals := snapshot.Len()
	a.log.Info("registry reloaded", "file", path, "merchants", merchants, "terminals", terminals)
}
