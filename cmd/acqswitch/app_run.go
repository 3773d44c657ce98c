package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/issuer"
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
