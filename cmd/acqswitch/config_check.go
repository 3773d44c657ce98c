package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// check says why a switch of this configuration would not begin to serve, as far
// as that can be known without writing: it reads every file that a start reads,
// looks at the database's tables and binds every address. What the switch on its
// data directory has bound for the same purpose counts as free, for an upgrade
// passes it on. notes are what such a start would do first, or go without.
func (c *config) check(ctx context.Context) (notes []string, err error) {
	if err := newClock(nil).set(); err != nil {
		return nil, err
	}
	router, err := c.router(nil, nil, issuer.Hooks{})
	if err != nil {
		return nil, usage(fmt.Errorf("configuration: %w", err))
	}
	if err := c.checkCertificates(); err != nil {
		return nil, usage(fmt.Errorf("configuration: %w", err))
	}
	if _, err := newRisk(c, startPolicy); err != nil {
		return nil, usage(err)
	}
	_, untyped, err := c.cardTable()
	if err != nil {
		return nil, err
	}
	if c.Downloads != "" {
		if _, err := readDownloads(c.Downloads); err != nil {
			return nil, err
		}
	}
	if err := c.checkRecorder(); err != nil {
		return nil, usage(err)
	}
	if _, err := controlPath(c.DataDir); err != nil {
		return nil, usage(err)
	}
	cards, err := c.checkCardKeys()
	if err != nil {
		return nil, err
	}
	if err := c.checkJournal(); err != nil {
		return nil, err
	}
	parties, err := c.checkRegistry(ctx, cards)
	if err != nil {
		return nil, err
	}
	err = c.withKeysAsTheyLie(func(ring *keyring.Ring) error {
		if notes = c.notesOnKeys(ring, parties); untyped != "" {
			notes = append(notes, fmt.Sprintf("there is no table of cards %s: no limit of a type of cards binds", untyped))
		}
		return c.checkZoneKeys(ring)
	})
	if err != nil {
		return nil, err
	}
	tables, err := c.checkTables(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.checkAddresses(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	return slices.Concat(notes, c.notesOnRoom(), c.notesOnCertificates(router, now), c.notesOnSettlement(now), tables), nil
}

// checkRecorder says what keeps traffic from being recorded.
func (c *config) checkRecorder() error {
	if c.Recorder.File == "" {
		return nil
	}
	if there(c.Recorder.Key) { // else one is drawn
		if _, err := pseudonymKey(c.Recorder.Key); err != nil {
			return fmt.Errorf("recorder.key: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Dir(c.Recorder.File)); err != nil {
		return fmt.Errorf("recorder.file: %w", err)
	}
	return nil
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

// checkCardKeys opens the keys of cards; nil where a start would draw them.
func (c *config) checkCardKeys() (*keys.Cards, error) {
	path := c.path(c.CardKeys, "card.keys")
	if err := c.lost(path, "journal"); err != nil || !there(path) {
		return nil, err
	}
	return keys.OpenCards(path)
}

// checkJournal reads every record, as a start does: one may be damaged, or of a version
// that this program does not read.
func (c *config) checkJournal() error {
	if !there(filepath.Join(c.DataDir, "journal")) {
		return nil
	}
	j, err := openJournalReadOnly(c.DataDir)
	if err != nil {
		return err
	}
	var rec txn.Record
	err = j.Scan(j.First(), func(pos journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("journal record %d: %w", pos, err)
		}
		return nil
	})
	return errors.Join(err, j.Close())
}

// withKeysAsTheyLie calls fn with the keys in the log, also beside the switch that has
// it open, and changes nothing: where a start would draw the master key or begin the log
// there are none.
func (c *config) withKeysAsTheyLie(fn func(*keyring.Ring) error) (err error) {
	v := c.Vault
	v.CreateLMK = false
	if lmk := c.path(v.LMK, "lmk.keys"); v.Kind == "software" && !there(lmk) {
		if err := c.lost(lmk, "keys"); err != nil {
			return err
		}
		return fn(keyring.New(keyring.Config{}, nil, nil, nil))
	}
	vault, err := v.open(c)
	if err != nil {
		return err
	}
	if !there(filepath.Join(c.DataDir, "keys")) {
		return errors.Join(fn(keyring.New(keyring.Config{}, nil, nil, nil)), vault.Close())
	}
	log, err := c.openKeyLog(true)
	if err != nil {
		return errors.Join(err, vault.Close())
	}
	ring := keyring.New(keyring.Config{}, vault, log, slog.New(slog.DiscardHandler))
	defer func() { err = errors.Join(err, ring.Close(), log.Close()) }()
	if err := ring.Read(); err != nil {
		return err
	}
	return fn(ring)
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
// there, which is nil then. cards are nil where a start would draw them.
func (c *config) checkRegistry(ctx context.Context, cards *keys.Cards) (*registry.Snapshot, error) {
	if c.RegistryFrom == "file" {
		return c.registryFile()
	}
	if c.noLedger() {
		return nil, nil
	}
	db, err := openDatabase(c)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	o, err := c.office(db, cards)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, officeWithin)
	defer cancel()
	parties, _, err := o.Snapshot(ctx)
	if errors.Is(err, office.ErrNoSchema) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("registry_from: database: %w", err)
	}
	return parties, nil
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
