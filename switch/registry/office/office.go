// Package office is where people keep the registry: merchants and their
// qualification review, machines and whose they are, tickets, the blacklist and
// the software that machines should have, in SQL, SQLite or PostgreSQL.
//
// Promises: every act is one transaction that behaves as if no other ran beside
// it; what it changed, from what to what, by whom, when and why is kept for good
// in that transaction. What would make a registry that requests cannot be held
// to is refused, so a snapshot can be made of every state. A machine is at one
// merchant under one terminal id at a time (T06), bound only with all five
// elements (T08), and moved only by an act that another person approved; so is
// where a merchant is paid, once it was submitted.
//
// Numbers of identity documents and settlement accounts are kept sealed and as
// keyed hashes, never in clear.
//
// Not here: what a request may do (package risk), and how a snapshot is looked
// up (package registry). Follow is the way from here to a running switch.
package office

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Config is what an acquirer may decide. Zero fields take the default.
type Config struct {
	Acquirer string // its institution code, the first of the five elements
	Day      txn.BusinessDay
	// IdleDays without an approved transaction make a terminal unverified (T15,
	// 90), StopDays retire it (T16, 365). InspectDays after its last inspection
	// one is due (T17, 180); InspectGraceDays later the terminal is unverified (30).
	IdleDays, StopDays, InspectDays, InspectGraceDays int
	// MicroMax is how many micro merchants one person may have (M06, 2).
	MicroMax int
}

// Office is safe for concurrent use, and so are several of them on one database.
type Office struct {
	db    *sqldb.DB
	desk  *approval.Desk
	cards *keys.Cards
	cfg   Config
	now   func() time.Time
}

// New is the office of a database. cards seals and hashes what must not be read
// there; without them nothing can be changed.
func New(db *sqldb.DB, desk *approval.Desk, cards *keys.Cards, cfg Config) *Office {
	cfg.IdleDays = cmp.Or(cfg.IdleDays, 90)
	cfg.StopDays = cmp.Or(cfg.StopDays, 365)
	cfg.InspectDays = cmp.Or(cfg.InspectDays, 180)
	cfg.InspectGraceDays = cmp.Or(cfg.InspectGraceDays, 30)
	cfg.MicroMax = cmp.Or(cfg.MicroMax, 2)
	return &Office{db: db, desk: desk, cards: cards, cfg: cfg, now: time.Now}
}

//go:embed migrations/*.sql
var migrations embed.FS

// Schema is what Migrate brings up to date.
var Schema = sqldb.Schema{Files: migrations, Versions: "office_version"}

// Migrate makes the tables, and the desk's.
func (o *Office) Migrate(ctx context.Context) error {
	if err := o.db.Migrate(ctx, Schema); err != nil {
		return err
	}
	return o.desk.Migrate(ctx)
}

// ErrNoSchema: nobody has called Migrate on this database yet.
var ErrNoSchema = errors.New("the database has no registry yet; a switch with registry_from: database makes it when it starts, and so does what changes it, such as merchant add")

// ErrNoCardKeys: what is in the registry was sealed with keys that are not here.
var ErrNoCardKeys = errors.New("the card keys with which the registry's numbers are sealed are not here: copy the switch's card.keys, or name it in card_keys")

// ErrUnknown: there is none of this id.
var ErrUnknown = approval.Refuse("it is not in the registry")

// Refusal is an act that the rules forbid, for the person who tried it.
type Refusal struct {
	Rule string // of the regulator's catalogue, such as T06; empty where none says it
	Key  string // of the entry that is at fault
	What string // what is wrong and what to do
}

func (r *Refusal) Error() string {
	if r.Rule == "" {
		return r.What
	}
	return r.Rule + ": " + r.What
}

func refuse(rule, key, format string, args ...any) error {
	return &Refusal{rule, key, fmt.Sprintf(format, args...)}
}

// Act is who does something, and why.
type Act struct{ By, Reason string }

// Change is one thing that was changed.
type Change struct {
	Number  int64     `json:"number"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	Reason  string    `json:"reason,omitempty"`
	Subject string    `json:"subject"`
	Object  string    `json:"object"`
	Act     string    `json:"act"`
	Was     string    `json:"was,omitempty"`     // its document before; empty: it was not there
	Becomes string    `json:"becomes,omitempty"` // and after
}

// Binding is a machine's coming to a merchant, or leaving it.
type Binding struct {
	Number   int64     `json:"number"`
	Serial   string    `json:"serial"`
	Terminal string    `json:"terminal"`
	Merchant string    `json:"merchant"`
	Act      string    `json:"act"` // bound, released
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
}

// failed says what could not be done, if there is an error.
func failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case sqldb.NoTable(err):
		err = ErrNoSchema
	}
	return fmt.Errorf("%s: %w", what, err)
}
