package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// actFlags are the flags of commands that decide something.
type actFlags struct {
	dataFlags
	by, reason, merchant string
}

func (f *actFlags) on(cmd *cobra.Command, deciding bool) *cobra.Command {
	f.register(cmd)
	if deciding {
		cmd.Flags().StringVar(&f.by, "by", login(), "who decides")
		cmd.Flags().StringVar(&f.reason, "reason", "", "why, for those who read it later")
	}
	return cmd
}

// books are the ledger of a configuration, and its database for the other packages that
// keep rows there.
type books struct {
	cfg    *config
	ledger *ledger.Ledger
	db     *sqldb.DB
}

// books calls fn with the books of the configuration, whose ledger's tables are brought
// up to date first. It does not make a ledger where there is none.
func (f *actFlags) books(ctx context.Context, fn func(*books) error) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	l, err := openLedger(cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := l.Position(ctx); err != nil {
		return err
	}
	db, err := openDatabase(cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := l.Migrate(ctx); err != nil {
		return err
	}
	return fn(&books{cfg, l, db})
}

// open calls fn with the ledger of the configuration and the desk of proposals.
func (f *actFlags) open(ctx context.Context, fn func(*ledger.Ledger, *approval.Desk) error) error {
	return f.books(ctx, func(b *books) error {
		desk := approval.New(b.db)
		if err := desk.Migrate(ctx); err != nil {
			return err
		}
		return fn(b.ledger, desk)
	})
}

// because refuses a command that needs a reason and has none.
func because(reason string) error {
	if strings.TrimSpace(reason) == "" {
		return usage(errors.New("--reason must say why"))
	}
	return nil
}

// known is the merchant of the flags, which the registry must know: a hold of a
// mistyped merchant would hold nothing.
func (f *actFlags) known() (id txn.MerchantID, err error) {
	if f.merchant == "" {
		return id, usage(errors.New("--merchant must say whose"))
	}
	cfg, err := f.config()
	if err != nil {
		return id, err
	}
	registry, err := cfg.parties(context.Background())
	if err != nil {
		return id, err
	}
	id = txn.MakeMerchantID(f.merchant)
	if _, ok := registry.Merchant(id); !ok {
		return id, &exitError{exitRefused, fmt.Errorf("there is no merchant %q in the registry", f.merchant)}
	}
	return id, nil
}

// ending is a command that ends something by its number.
func ending(c *console, use, short, example, done string, end func(context.Context, *ledger.Ledger, *approval.Desk, int64, *actFlags) error) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: use + " NUMBER", Short: short, Example: example, Args: args(1, "one number"),
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := f.decides(given[0])
			if err != nil {
				return err
			}
			return f.open(cmd.Context(), func(l *ledger.Ledger, desk *approval.Desk) error {
				if err := end(cmd.Context(), l, desk, n, f); err != nil {
					return err
				}
				return c.done(n, done)
			})
		},
	}, true)
}

// decides reads the number of what is decided, and holds that it is said why.
func (f *actFlags) decides(text string) (int64, error) {
	n, err := number(text)
	if err == nil {
		err = because(f.reason)
	}
	return n, err
}

// number reads the number of something, as a list shows it.
func number(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, usage(fmt.Errorf("%q must be a number that a list shows", text))
	}
	return n, nil
}

// login is the name of the machine's account.
func login() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// toApprove says that a proposal waits for another person.
func toApprove(p approval.Proposal) string {
	return fmt.Sprintf("proposal %d: another person must approve it (proposal approve %[1]d)", p.Number)
}
