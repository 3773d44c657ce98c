package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// reload reads the files of the registry, of the certificates and of the downloads
// again; a bad one leaves the old in force.
func (a *app) reload() {
	a.reloadRegistry()
	a.reloadPolicy()
	if err := a.loadCardTypes(); err != nil {
		a.log.Error("types of cards not reloaded, the old ones stay in force", "error", err)
	}
	errs := []error{a.issuers.ReloadTLS(), a.terminals.ReloadTLS()}
	if a.adminTLS != nil {
		errs = append(errs, a.adminTLS.Reload())
	}
	if err := errors.Join(errs...); err != nil {
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

// cardTable reads the table of card prefixes, by which fees are priced, too. Without the
// file no card's type is known, and missing is where the file would be.
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
