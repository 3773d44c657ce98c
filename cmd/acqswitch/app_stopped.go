package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// asStopped does something in a switch that serves no terminals: what a crash left open
// is decided before it, and the ledger catches up after it. It is refused while a
// switch runs.
func asStopped(ctx context.Context, cfg *config, logs io.Writer, do func(*app) error) (err error) {
	if err := cfg.unserved("journal"); err != nil {
		return err
	}
	cfg.Admin.Address, cfg.Log.Level = "", "error"
	a, err := newApp(cfg, logs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	running := a.stages
	defer func() { err = both(err, running.stop(0)) }()
	running.start(ctx, "journal", a.journal.Run)
	if _, err := a.acquirer.Recover(); err != nil {
		return err
	}
	running.start(ctx, "ledger", a.runDrain)
	if err := do(a); err != nil {
		return err
	}
	late, cancel := context.WithTimeout(ctx, catchUpMax)
	defer cancel()
	if err := a.drain.CatchUp(late); err != nil {
		a.log.Warn("the ledger is behind the journal; the next start copies the rest", "error", err)
	}
	return nil
}

// unserved refuses to go on while a running switch has a log open, a directory of the
// data directory.
func (c *config) unserved(log string) error {
	if locked(filepath.Join(c.DataDir, log, "LOCK")) {
		return &exitError{exitRefused, fmt.Errorf("a switch runs on %s: stop it, then try again", c.DataDir)}
	}
	return nil
}
