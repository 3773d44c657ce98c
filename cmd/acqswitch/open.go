package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// dsn names the ledger's database. A relative path of SQLite's is below the data
// directory.
func (c *config) dsn() string {
	if path, ok := strings.CutPrefix(c.Ledger.DSN, "sqlite:"); ok && !filepath.IsAbs(path) {
		return "sqlite:" + filepath.Join(c.DataDir, path)
	}
	return c.Ledger.DSN
}

// openLedger opens the ledger for a command. It is a usage error if its directory is not
// there: most likely another data directory was meant.
func openLedger(cfg *config) (*ledger.Ledger, error) {
	if err := hasLedgerDir(cfg); err != nil {
		return nil, err
	}
	return ledger.Open(cfg.dsn())
}

// hasLedgerDir says that there is a directory for a ledger that is a file.
func hasLedgerDir(cfg *config) error {
	if path, ok := strings.CutPrefix(cfg.dsn(), "sqlite:"); ok {
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return usage(fmt.Errorf("no ledger: %w: name the data directory with --data, or the configuration with --config", err))
		}
	}
	return nil
}

// openDatabase opens the ledger's database for what else is kept there.
func openDatabase(cfg *config) (*sqldb.DB, error) {
	db, err := sqldb.Open(cfg.dsn())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return db, nil
}

// openKeys opens the key vault and the log of the terminals' keys. wrong is
// keyring.Config.WrongMACs.
func openKeys(cfg *config, log *slog.Logger, wrong func(txn.MerchantID, txn.TerminalID)) (*keys.Vault, *keyring.Ring, *journal.Journal, error) {
	day, err := cfg.businessDay()
	if err != nil {
		return nil, nil, nil, err
	}
	vault, err := cfg.Vault.open(cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	keyLog, err := cfg.openKeyLog(false)
	if err != nil {
		return nil, nil, nil, errors.Join(err, vault.Close())
	}
	ring := keyring.New(keyring.Config{Day: day, Grace: cfg.SignOn.Grace, SignOnsPerSecond: cfg.SignOn.PerSecond, WrongMACs: wrong}, vault, keyLog, log)
	return vault, ring, keyLog, nil
}

// openKeyLog opens the log of keys; read only also while a switch has it open.
func (c *config) openKeyLog(readOnly bool) (*journal.Journal, error) {
	log, err := journal.Open(filepath.Join(c.DataDir, "keys"), journal.Config{SegmentSize: 16 << 20, ReadOnly: readOnly})
	if err != nil {
		return nil, fmt.Errorf("open the log of terminals' keys: %w", err)
	}
	return log, nil
}

// openedLedger is the ledger of a configuration, open for a command.
type openedLedger struct {
	*ledger.Ledger
	config *config
	zone   *time.Location
}

func (f *dataFlags) openLedger() (*openedLedger, error) {
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	day, err := cfg.businessDay()
	if err != nil {
		return nil, err
	}
	l, err := openLedger(cfg)
	if err != nil {
		return nil, err
	}
	return &openedLedger{l, cfg, day.Zone}, nil
}

func hasJournal(dataDir string) error {
	if _, err := os.Stat(filepath.Join(dataDir, "journal")); err != nil {
		return usage(fmt.Errorf("no journal: %w: name the data directory with --data, or the configuration with --config", err))
	}
	return nil
}

func openJournalReadOnly(dataDir string) (*journal.Journal, error) {
	if err := hasJournal(dataDir); err != nil {
		return nil, err
	}
	return journal.Open(filepath.Join(dataDir, "journal"), journal.Config{ReadOnly: true})
}

// openCards opens the keys of card numbers for a command that must find those of
// a switch, not make new ones.
func openCards(cfg *config) (*keys.Cards, error) {
	path := cfg.path(cfg.CardKeys, "card.keys")
	if _, err := os.Stat(path); err != nil {
		return nil, usage(fmt.Errorf("read the key of cards, which a switch makes when it first starts: %w", err))
	}
	return keys.OpenCards(path)
}

// cards opens the keys of card numbers, and draws them where this is the first start.
func (c *config) cards() (*keys.Cards, error) {
	path := c.path(c.CardKeys, "card.keys")
	if err := c.lost(path, "journal"); err != nil {
		return nil, err
	}
	return keys.OpenCards(path)
}

// lost refuses keys that are not there where what was sealed with them is: new ones,
// which a first start draws, would open nothing of it.
func (c *config) lost(path, sealed string) error {
	if sealed = filepath.Join(c.DataDir, sealed); there(path) || !there(sealed) {
		return nil
	}
	return usage(fmt.Errorf("%s does not exist, and there is %s: bring back the keys that it was written with", path, sealed))
}
