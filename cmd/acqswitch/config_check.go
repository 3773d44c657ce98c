package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

// check says why a switch of this configuration would not begin to serve, as far
// as that can be known without writing: it reads every file that a start reads,
// looks at the database's tables and binds every address. What the switch on its
// data directory has bound for the same purpose counts as free, for an upgrade
// passes it on. notes are what such a start would do first, or go without.
func (c *config) check(ctx context.Context) (notes []string, err error) {
	if _, err := c.router(nil, nil, issuer.Hooks{}); err != nil {
		return nil, usage(fmt.Errorf("configuration: %w", err))
	}
	if err := c.checkCertificates(); err != nil {
		return nil, usage(fmt.Errorf("configuration: %w", err))
	}
	if _, err := newRisk(c, startPolicy); err != nil {
		return nil, usage(err)
	}
	if _, _, err := c.cardTable(); err != nil {
		return nil, err
	}
	if c.Downloads != "" {
		if _, err := readDownloads(c.Downloads); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(c.Recorder.Key); err == nil && c.Recorder.File != "" { // else one is drawn
		if _, err := pseudonymKey(c.Recorder.Key); err != nil {
			return nil, usage(fmt.Errorf("recorder.key: %w", err))
		}
	}
	cards, err := c.checkKeys()
	if err != nil {
		return nil, err
	}
	if err := c.checkRegistry(ctx, cards); err != nil {
		return nil, err
	}
	if notes, err = c.checkTables(ctx); err != nil {
		return nil, err
	}
	return notes, c.checkAddresses(ctx)
}

// checkTables says what a start would make of the database: older tables are brought
// up to date, newer ones used as they are unless they say that they cannot be, and a
// database that is away keeps nobody from selling.
func (c *config) checkTables(ctx context.Context) (notes []string, err error) {
	if c.noLedger() {
		if c.RegistryFrom == "database" {
			return []string{"the ledger is not there: serve makes it, with an empty registry"}, nil
		}
		return []string{"the ledger is not there: serve makes it"}, nil
	}
	db, err := openDatabase(c)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	var older, newer []string
	for _, s := range c.schemas() {
		has, ours, err := db.Version(ctx, s)
		switch {
		case errors.Is(err, sqldb.ErrNewer):
			return nil, err
		case err != nil:
			return []string{fmt.Sprintf("the ledger cannot be read, and serve sells without it until it can: %v", err)}, nil
		case has < ours:
			older = append(older, fmt.Sprintf("%s from %d to %d", s.Versions, has, ours))
		case has > ours:
			newer = append(newer, fmt.Sprintf("%s has %d, this program %d", s.Versions, has, ours))
		}
	}
	if len(older) > 0 {
		notes = append(notes, "serve brings tables up to date first: "+strings.Join(older, ", "))
	}
	if len(newer) > 0 {
		notes = append(notes, "serve uses tables of a newer program as they are: "+strings.Join(newer, ", "))
	}
	return notes, nil
}

// checkKeys opens the keys that there are. A start draws those that there are none of.
func (c *config) checkKeys() (cards *keys.Cards, err error) {
	path, lmk := c.path(c.CardKeys, "card.keys"), c.path(c.Vault.LMK, "lmk.keys")
	if err := c.lost(path, "journal"); err != nil {
		return nil, err
	}
	if there(path) {
		if cards, err = keys.OpenCards(path); err != nil {
			return nil, err
		}
	}
	v := c.Vault
	v.CreateLMK = false
	if v.Kind == "software" && !there(lmk) {
		return cards, c.lost(lmk, "keys")
	}
	vault, err := v.open(c)
	if err != nil {
		return nil, err
	}
	return cards, vault.Close()
}

// noLedger says that the ledger is a file that is not there; to look into it would
// make it.
func (c *config) noLedger() bool {
	path, ok := strings.CutPrefix(c.dsn(), "sqlite:")
	if !ok {
		return false
	}
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// checkRegistry reads the registry; in a database a start makes one that is not
// there. cards are nil where a start would draw them.
func (c *config) checkRegistry(ctx context.Context, cards *keys.Cards) error {
	if c.RegistryFrom == "file" {
		_, err := readRegistry(c.path(c.Registry, "registry.yaml"))
		return err
	}
	if c.noLedger() {
		return nil
	}
	db, err := openDatabase(c)
	if err != nil {
		return err
	}
	defer db.Close()
	o, err := c.office(db, cards)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, officeWithin)
	defer cancel()
	if _, _, err := o.Snapshot(ctx); err != nil && !errors.Is(err, office.ErrNoSchema) {
		return fmt.Errorf("registry_from: database: %w", err)
	}
	return nil
}

// checkAddresses binds every address for a moment.
func (c *config) checkAddresses(ctx context.Context) error {
	var held presence
	if locked(filepath.Join(c.DataDir, "journal", "LOCK")) {
		held, _ = readPresence(c.DataDir)
	}
	var bound []net.Listener
	defer func() {
		for _, l := range bound {
			l.Close()
		}
	}()
	var lc net.ListenConfig
	bind := func(address string, held *[]string) error {
		l, err := lc.Listen(ctx, "tcp", address)
		if err == nil {
			bound = append(bound, l)
			return nil
		}
		i := slices.IndexFunc(*held, func(of string) bool { return pos.InTheWay(of, address) })
		if errors.Is(err, syscall.EADDRINUSE) && i >= 0 {
			*held = slices.Delete(*held, i, i+1)
			return nil
		}
		return err
	}
	for _, l := range c.Terminals.Listeners {
		if err := bind(l.Address, &held.Terminals); err != nil {
			return fmt.Errorf("listen for %s terminals on %s: %w", l.Dialect, l.Address, err)
		}
	}
	if c.Admin.Address == "" {
		return nil
	}
	if err := bind(c.Admin.Address, &held.Admin); err != nil {
		return fmt.Errorf("listen for operators: %w", err)
	}
	return nil
}
