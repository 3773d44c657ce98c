package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/switch/issuer"
)

// run serves until ctx ends or a stage fails, then drains: terminals stop
// being read and everything in flight is answered; then reversals pause (they
// are durable), issuers sign off, the ledger catches up for a moment, and the
// journal closes. ready is called once terminals can connect.
func (a *app) run(ctx context.Context, ready func()) (err error) {
	running := a.stages
	start := func(name string, run func(context.Context) error) { running.start(ctx, name, run) }
	var stopping time.Time
	defer func() {
		a.stops()
		running.stop(1) // what writes the log is the last to go
		running.ending.Store("files and connections")
		closed := a.close()
		if !stopping.IsZero() {
			a.log.Info("stopped", "took", time.Since(stopping).Round(time.Millisecond))
		}
		err = errors.Join(both(err, running.stop(0)), closed)
	}()

	start("log", a.logs.Run)
	start("journal", a.journal.Run)
	start("terminals' keys", a.keyLog.Run)
	if err := a.keys.Recover(); err != nil {
		return err
	}
	if err := a.cfg.checkZoneKeys(a.keys); err != nil {
		return err
	}
	if a.downloads != nil {
		start("downloads", a.takenLog.Run)
		if err := a.downloads.Recover(a.takenLog); err != nil {
			return err
		}
	}
	first := a.journal.First()
	if a.recovery, err = a.acquirer.Recover(); err != nil {
		return err
	}
	a.clock.follows(a.recovery.Newest)
	a.log.Info("recovered", "records", a.recovery.Records, "open", a.recovery.Open, "reversals_owed", a.recovery.Owed, "took", a.recovery.Duration)
	if err = a.migrateFirst(ctx); err != nil {
		return err
	}
	counted := a.loadMonthFirst(ctx, first)
	a.watchFirst(ctx)
	if err := a.terminals.Listen(ctx); err != nil {
		return err
	}
	start("telemetry", a.telemetry.Run)
	start("disk", a.disk.run)
	start("clock", a.clock.run)
	start("certificates", a.watchCertificates)
	start("ledger", a.runDrain)
	if !counted {
		start("month", func(ctx context.Context) error { return a.loadMonth(ctx, first) })
	}
	start("alerts", a.followAlerts)
	if a.policies != nil {
		start("policy", a.followPolicies)
	}
	start("batches", a.closeBatches)
	start("settlement", a.settleDays)
	start("retention", a.truncate)
	if a.office != nil {
		start("registry", func(ctx context.Context) error {
			return a.office.Follow(ctx, a.registry.Snapshot(), a.version, a.registry.Replace, a.log)
		})
		start("office", a.sweep)
	}
	start("issuers", a.issuers.Run)
	start("reversals", a.acquirer.Run)
	start("control", a.serveControl)
	if a.admin != nil {
		start("admin", a.serveAdmin)
	}
	if a.recorder != nil {
		start("recorder", a.record)
	}
	a.awaitLinks(ctx, a.linksFirst)
	start("terminals", a.terminals.Run)
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
	case <-running.failed:
		stopping = time.Now()
		a.log.Error("stopping", "error", running.failure())
		return nil // stop says what it was
	}
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
