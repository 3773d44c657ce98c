package main

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// alertsEvery is how soon a finding in the ledger becomes an alert, and a change of the
// watch list takes effect.
const alertsEvery = time.Second

// followAlerts makes alerts of what the ledger has found, and puts the watch list
// in force, until ctx ends. While the database is away the list that was read last
// stays in force, and findings wait in the ledger.
func (a *app) followAlerts(ctx context.Context) error {
	a.awaitTables(ctx)
	away := false
	for {
		err := a.alertsOnce(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !away:
			a.log.Error("alerts and the watch list wait for the database", "error", err)
		case err == nil && away:
			a.log.Info("the database is back: alerts and the watch list go on")
		}
		away = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(alertsEvery):
		}
	}
}

// wrongMACs are the terminals that sent three wrong MACs in a row (S03) and of which
// there is no alert yet. Such requests leave no record, so these are in memory only: what
// came since the last round is lost with the process. There are no more of them than
// registered terminals.
type wrongMACs struct {
	mu    sync.Mutex
	since map[wrongMAC]time.Time // the last time
}

type wrongMAC struct {
	merchant txn.MerchantID
	terminal txn.TerminalID
}

func (w *wrongMACs) add(m txn.MerchantID, t txn.TerminalID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == nil {
		w.since = map[wrongMAC]time.Time{}
	}
	w.since[wrongMAC{m, t}] = time.Now()
}

// raise makes alerts of them. While that fails they stay.
func (w *wrongMACs) raise(ctx context.Context, bench *alert.Workbench) error {
	w.mu.Lock()
	said := maps.Clone(w.since)
	w.mu.Unlock()
	if len(said) == 0 {
		return nil
	}
	var notices []alert.Notice
	for of, at := range said {
		notices = append(notices, alert.Notice{Rule: txn.MakeRule('S', 3), Merchant: of.merchant.String(), Terminal: of.terminal.String(),
			Action: txn.ActionRefuse, At: at, Why: "three wrong MACs in a row"})
	}
	if err := bench.Raise(ctx, notices...); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.since, func(of wrongMAC, at time.Time) bool { return at.Equal(said[of]) })
	return nil
}

// alertsOnce is one round. The watch list comes first: it must not wait for a
// million findings.
func (a *app) alertsOnce(ctx context.Context) error {
	for {
		if err := a.readWatchList(ctx); err != nil {
			return err
		}
		if err := a.wrongMACs.raise(ctx, a.alerts); err != nil {
			return err
		}
		if n, err := a.alerts.Collect(ctx); err != nil || n == 0 {
			return err
		}
	}
}

// readWatchList puts the list in force if it changed.
func (a *app) readWatchList(ctx context.Context) error {
	version, err := a.alerts.WatchVersion(ctx)
	if err != nil || version == a.watchVersion {
		return err
	}
	watched, version, err := a.alerts.Watch(ctx)
	if err != nil {
		return err
	}
	list := risk.WatchList{Merchants: map[txn.MerchantID]txn.Level{}, Terminals: map[txn.TerminalID]txn.Level{}}
	for _, x := range watched {
		if x.Terminal != "" {
			list.Terminals[txn.MakeTerminalID(x.Terminal)] = x.Level
		} else {
			list.Merchants[txn.MakeMerchantID(x.Merchant)] = x.Level
		}
	}
	a.risk.Watch(list)
	a.watchVersion = version
	a.log.Info("watch list in force", "version", version, "watched", len(watched))
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
