package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
)

// officeWithin bounds how long a start waits for the registry's database.
const officeWithin = time.Minute

// officeConfig are the limits that the office of the registry keeps, most of them days.
type officeConfig struct {
	IdleDays         int `yaml:"idle_days"`
	StopDays         int `yaml:"stop_days"`
	InspectDays      int `yaml:"inspect_days"`
	InspectGraceDays int `yaml:"inspect_grace_days"`
	MicroMax         int `yaml:"micro_max"`
}

func (c *officeConfig) validate() error {
	return errors.Join(between(c.IdleDays, 1, 3650), between(c.StopDays, c.IdleDays, 3650), between(c.InspectDays, 1, 3650),
		between(c.InspectGraceDays, 1, 3650), between(c.MicroMax, 1, 1000))
}

// office is the office of a database.
func (c *config) office(db *sqldb.DB, cards *keys.Cards) (*office.Office, error) {
	day, err := c.businessDay()
	if err != nil {
		return nil, err
	}
	o := c.Office
	return office.New(db, approval.New(db), cards, office.Config{Acquirer: c.Acquirer, Day: day, IdleDays: o.IdleDays, StopDays: o.StopDays,
		InspectDays: o.InspectDays, InspectGraceDays: o.InspectGraceDays, MicroMax: o.MicroMax}), nil
}

// withOffice calls fn with the office of the configuration. What fn refuses, or does not
// know, becomes exit code 3.
func (c *config) withOffice(fn func(*office.Office) error) error { return c.openOffice(false, fn) }

func (c *config) openOffice(draw bool, fn func(*office.Office) error) error {
	if c.RegistryFrom != "database" {
		return usage(errors.New("the registry of this configuration is a file: edit it, or say registry_from: database"))
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	db, err := openDatabase(c)
	if err != nil {
		return err
	}
	defer db.Close()
	var cards *keys.Cards // nil: the registry can be read
	if path := c.path(c.CardKeys, "card.keys"); there(path) {
		if cards, err = keys.OpenCards(path); err != nil {
			return err
		}
	} else if draw {
		if cards, err = c.firstCards(db); err != nil {
			return err
		}
	}
	o, err := c.office(db, cards)
	if err != nil {
		return err
	}
	return fn(o)
}

// firstCards draws the keys of card numbers where nobody is in the registry yet. Beside
// numbers that were sealed elsewhere new ones would open none of them.
func (c *config) firstCards(db *sqldb.DB) (*keys.Cards, error) {
	o, err := c.office(db, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), officeWithin)
	defer cancel()
	used := false
	if err := o.EachMerchant(ctx, func(registry.Entry) { used = true }); err != nil && !errors.Is(err, office.ErrNoSchema) {
		return nil, err
	}
	if used {
		return nil, usage(office.ErrNoCardKeys)
	}
	return c.cards()
}

// parties is the registry in force, from where the configuration has it.
func (c *config) parties(ctx context.Context) (s *registry.Snapshot, err error) {
	if c.RegistryFrom == "file" {
		return c.registryFile()
	}
	err = c.withOffice(func(o *office.Office) error {
		s, _, err = o.Snapshot(ctx)
		return err
	})
	return s, err
}

// office calls fn with the office and who acts.
func (f *actFlags) office(fn func(*office.Office, office.Act) error) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	return cfg.withOffice(func(o *office.Office) error { return fn(o, office.Act{By: f.by, Reason: f.reason}) })
}

// pairs puts KEY=TEXT arguments into an entry, each key once; @FILE is a file's text and @- that
// of standard input, for what should not stand in the shell's history.
func pairs(e registry.Entry, given []string, in io.Reader) error {
	seen := map[string]bool{}
	for _, pair := range given {
		key, text, ok := strings.Cut(pair, "=")
		switch {
		case !ok:
			return usage(fmt.Errorf("%q must be KEY=TEXT, such as name=Shop", pair))
		case seen[key]:
			return usage(fmt.Errorf("%s is given twice", key))
		}
		seen[key] = true
		if from, is := strings.CutPrefix(text, "@"); is {
			var b []byte
			var err error
			if from == "-" {
				b, err = io.ReadAll(io.LimitReader(in, 4096))
			} else {
				b, err = os.ReadFile(from)
			}
			if err != nil {
				return usage(fmt.Errorf("read %s: %w", key, err))
			}
			text = strings.TrimSpace(string(b))
		}
		if err := e.Set(key, text); err != nil {
			return usage(err)
		}
	}
	return nil
}

// acting is a command of one object that does an act.
func acting(c *console, use, short, example string, nargs cobra.PositionalArgs, do func(context.Context, *office.Office, office.Act, []string) (string, error)) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: use, Short: short, Example: example, Args: nargs,
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			return cfg.changeOffice(cmd.Context(), func(o *office.Office) error {
				done, err := do(cmd.Context(), o, office.Act{By: f.by, Reason: f.reason}, given)
				if err != nil {
					return err
				}
				return c.did(given[0], done)
			})
		},
	}, true)
}

// isNow says what became of an entry, which is none where it could not be read.
func isNow(e registry.Entry, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return "is " + e.Get("status"), nil
}

// reading is a command that shows something.
func reading(cmd *cobra.Command, read func(context.Context, *office.Office, []string) error) *cobra.Command {
	f := &actFlags{}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		return f.office(func(o *office.Office, _ office.Act) error { return read(cmd.Context(), o, given) })
	}
	return f.on(cmd, false)
}

// writes is an act of the office's that writes an entry, and what is said when it is done.
type writes func(context.Context, *office.Office, office.Act, registry.Entry) (string, error)

// writing is a command that writes what its KEY=TEXT pairs say of an entry, which its
// first argument names.
func writing(c *console, use, key, what, short, example string, blank func() registry.Entry, do writes) *cobra.Command {
	var cmd *cobra.Command
	cmd = acting(c, use+" KEY=TEXT ...", short, example, andPairs(what, 1),
		func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
			e := blank()
			if err := pairs(e, append([]string{key + "=" + given[0]}, given[1:]...), cmd.InOrStdin()); err != nil {
				return "", err
			}
			return do(ctx, o, who, e)
		})
	return cmd
}

func doneAs(done string, do func(*office.Office, context.Context, office.Act, registry.Entry) error) writes {
	return func(ctx context.Context, o *office.Office, who office.Act, e registry.Entry) (string, error) {
		return done, do(o, ctx, who, e)
	}
}

func proposed(do func(*office.Office, context.Context, office.Act, registry.Entry) (approval.Proposal, error)) writes {
	return func(ctx context.Context, o *office.Office, who office.Act, e registry.Entry) (string, error) {
		if err := because(who.Reason); err != nil {
			return "", err
		}
		p, err := do(o, ctx, who, e)
		return toApprove(p), err
	}
}
