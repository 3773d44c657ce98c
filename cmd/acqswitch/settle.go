package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// settlementConfig is where the end of the day takes its fees from and puts its
// files.
type settlementConfig struct {
	Fees     string            `yaml:"fees"`
	Cards    string            `yaml:"cards"`
	Payouts  string            `yaml:"payouts"`
	Calendar string            `yaml:"calendar"`
	Dir      string            `yaml:"dir"`
	Schedule time.Duration     `yaml:"schedule"`
	Disputes []deadlinesConfig `yaml:"disputes"`
}

// schedule reads the fees of a configuration; any fault is the files', or the
// registry's where that is in the database and gives merchants their plans.
func (c *config) schedule() (*fee.Schedule, error) {
	plans, plansPath, err := c.input("fees", c.Settlement.Fees, "fees.yaml", fee.FileSizeMax)
	if err != nil {
		return nil, err
	}
	cards, cardsPath, err := c.input("fees", c.Settlement.Cards, "cards.csv", fee.FileSizeMax)
	if err != nil {
		return nil, err
	}
	registered := map[string]string{}
	err = c.eachMerchant(func(m registry.Entry) {
		if plan := m.Get("fee_plan"); plan != "" {
			registered[m.Get("mid")] = plan
		}
	})
	if err != nil {
		return nil, err
	}
	s, err := fee.Load(fee.File{Name: plansPath, Text: plans}, fee.File{Name: cardsPath, Text: cards}, registered)
	if err != nil {
		return nil, usage(err)
	}
	return s, nil
}

// payoutTerms reads how merchants are paid, likewise.
func (c *config) payoutTerms() (*payout.Terms, error) {
	merchants, merchantsPath, err := c.input("payouts", c.Settlement.Payouts, "payouts.yaml", payout.FileSizeMax)
	if err != nil {
		return nil, err
	}
	calendar, calendarPath, err := c.input("the calendar", c.Settlement.Calendar, "calendar.yaml", payout.FileSizeMax)
	if err != nil {
		return nil, err
	}
	known := payout.Registry{Open: c.openAccount()}
	err = c.eachMerchant(func(m registry.Entry) {
		known.Merchants = append(known.Merchants, payout.Registered{ID: m.Get("mid"), Cycle: strings.ToUpper(m.Get("payout")), Onboarded: m.Get("since"),
			LicenceUntil: m.Get("licence_ends"), Held: held(m),
			Currency: m.Get("currency"), Owner: m.Get("account_owner"), Sealed: m.Get("account_sealed"), Bank: m.Get("bank")})
	})
	if err != nil {
		return nil, err
	}
	t, err := payout.Load(payout.File{Name: merchantsPath, Text: merchants}, payout.File{Name: calendarPath, Text: calendar}, known)
	if err != nil {
		return nil, usage(err)
	}
	return t, nil
}

// held says that a merchant's status keeps it from being paid.
func held(m registry.Entry) bool {
	s, err := registry.Parse[registry.MerchantStatus](m.Get("status"))
	return err == nil && s.Held()
}

// eachMerchant walks the merchants of a registry in the database. One in a file
// says nothing of money: the files of settlement do.
func (c *config) eachMerchant(fn func(registry.Entry)) error {
	if c.RegistryFrom == "file" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), officeWithin)
	defer cancel()
	return c.withOffice(func(o *office.Office) error { return o.EachMerchant(ctx, fn) })
}

// eachServed walks the merchants that are served, of either registry.
func (c *config) eachServed(fn func(mid string)) error {
	if c.RegistryFrom == "file" {
		s, err := readRegistry(c.path(c.Registry, "registry.yaml"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is where the switch runs
		}
		if err != nil {
			return err
		}
		for m := range s.Merchants() {
			if m.Status == txn.StatusActive {
				fn(m.ID.String())
			}
		}
		return nil
	}
	return c.eachMerchant(func(m registry.Entry) {
		if s, err := registry.Parse[registry.MerchantStatus](m.Get("status")); err == nil && s.Serves() == txn.StatusActive {
			fn(m.Get("mid"))
		}
	})
}

// openAccount gives the numbers of accounts that the office of the configuration
// sealed. It reads the keys when the first is asked for.
func (c *config) openAccount() func(merchant, sealed string) (string, error) {
	cards := sync.OnceValues(func() (*keys.Cards, error) { return openCards(c) })
	return func(merchant, sealed string) (string, error) {
		k, err := cards()
		if err != nil {
			return "", err
		}
		return office.OpenAccount(k, merchant, sealed)
	}
}

// input reads a file that settlement works on, of the data directory unless given.
func (c *config) input(what, given, name string, sizeMax int64) (text []byte, path string, err error) {
	path = c.path(given, name)
	info, err := os.Stat(path)
	if err == nil && info.Size() > sizeMax {
		err = fmt.Errorf("%s is larger than %d bytes", path, sizeMax)
	}
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, path, usage(fmt.Errorf("read %s: %w", what, err))
	}
	return text, path, nil
}

// runInput is what the run of a day works on, of a configuration that was checked.
func (c *config) runInput(l *ledger.Ledger, day txn.Date, now time.Time) settlement.RunInput {
	calendar, _ := c.businessDay()
	return settlement.RunInput{
		Ledger:      l,
		OpenJournal: func() (settlement.Journal, error) { return openJournalReadOnly(c.DataDir) },
		Fees:        c.schedule,
		Payouts:     c.payoutTerms,
		OpenAccount: c.openAccount(),
		Day:         day, Calendar: calendar, Now: now,
		Dir: c.path(c.Settlement.Dir, "settlement"),
	}
}

func settleCommand(c *console) *cobra.Command {
	var file, data, date string
	var dry, early bool
	cmd := &cobra.Command{
		Use:   "settle",
		Short: "Close a business day: fees, postings, statements, payouts",
		Long: `settle runs the end of a business day beside a running or stopped switch: it
prices every transaction that counts, books the postings, and writes statements,
payouts, general ledger and exceptions to a directory of the day, with a manifest
that sha256sum -c checks. docs/settlement.md explains all of it.

Days are settled in order, once. settle may be called again and again, at once,
or after a kill: it goes on where it was, and for a settled day changes nothing
and prints the same result.

--early settles the current day before its cut-over, with what has been recorded
so far; what comes later is in the next day's run, marked with its own day.

Exit codes: 0 the day is settled, with or without exceptions (their number is in
the result); 1 failed, call it again; 2 the command line, the configuration or
the fees are wrong; 3 the day cannot be settled now: it is not over, not wholly
in the ledger, or a day before it is not settled.`,
		Example: `  acqswitch settle --date 2026-11-22 --config acqswitch.yaml
  acqswitch settle --date 2026-11-22 --dry-run -o json | jq .totals`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, day, err := dayOf(file, data, date)
			if err != nil {
				return err
			}
			l, err := openLedger(cfg)
			if err != nil {
				return err
			}
			defer l.Close()
			in := cfg.runInput(l, day, time.Now())
			if in.Early, in.DryRun = early, dry; !dry {
				if err := cfg.expireCases(cmd.Context(), in.Now); err != nil {
					return err
				}
			}
			if isTerminal(c.errs) && !c.json() {
				in.Progress = func(done, all int64) {
					fmt.Fprintf(c.errs, "\r%d of %d transactions\033[K", done, all)
				}
				defer fmt.Fprint(c.errs, "\r\033[K")
			}
			r, err := settlement.Settle(cmd.Context(), in)
			if why := settlement.Refusal(""); errors.As(err, &why) {
				return &exitError{exitRefused, err}
			}
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(r)
			}
			return r.WriteText(c.out)
		},
	}
	f := cmd.Flags()
	dayFlags(cmd, &file, &data, &date)
	f.BoolVar(&early, "early", false, "settle a day that is not over; what comes later is in the next day's run")
	f.BoolVar(&dry, "dry-run", false, "show the result; change nothing and write no files")
	return cmd
}

func feeCommand(c *console) *cobra.Command {
	var file, data, date string
	check := &cobra.Command{
		Use: "check", Short: "Say whether the fees can be used, and which merchants are served without a plan", Args: noArgs,
		Example: "  acqswitch fee check --config acqswitch.yaml",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			if data != "" {
				cfg.DataDir = data
			}
			s, err := cfg.schedule()
			if err != nil {
				return err
			}
			day, err := cfg.businessDay()
			if err != nil {
				return err
			}
			without := []string{}
			if err := cfg.eachServed(func(mid string) {
				if !s.HasPlan(txn.MakeMerchantID(mid), day.Of(time.Now())) {
					without = append(without, mid)
				}
			}); err != nil {
				return err
			}
			if c.json() {
				return c.print(map[string]any{"sha256": s.Sum(), "without_plan": without})
			}
			for _, mid := range without {
				fmt.Fprintf(c.out, "no plan: merchant %s: what it sells waits in suspense\n", mid)
			}
			_, err = fmt.Fprintln(c.out, "ok", s.Sum())
			return err
		},
	}
	configFlag(check, &file)
	check.Flags().StringVar(&data, "data", "", "the data directory; overrides the configuration")
	explain := &cobra.Command{
		Use:   "explain RRN",
		Short: "Show how a transaction is priced and posted",
		Long: `explain shows the arithmetic of one transaction from the ledger's row: its plan,
its three fees before and after it, and its postings. A settled day is explained
with the fees it was settled with. Exit code 3: no such transaction on that day,
or it is not in the books.`,
		Example: "  acqswitch fee explain 326000000017 --date 2026-11-22 --config acqswitch.yaml",
		Args:    args(1, "one retrieval reference number"),
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, day, err := dayOf(file, data, date)
			if err != nil {
				return err
			}
			l, err := openLedger(cfg)
			if err != nil {
				return err
			}
			defer l.Close()
			found, err := settlement.Explain(cmd.Context(), l, day, given[0], cfg.schedule)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				if err := notArchived(cmd.Context(), l, day, day); err != nil {
					return err
				}
				return &exitError{exitRefused, fmt.Errorf("there is no transaction %s on %s", given[0], day)}
			}
			counts := false
			for i := range found {
				counts = counts || found[i].Counts
				if !c.json() {
					if err := found[i].WriteText(c.out); err != nil {
						return err
					}
				}
			}
			if c.json() {
				if err := c.print(found); err != nil {
					return err
				}
			}
			if !counts {
				return refused()
			}
			return nil
		},
	}
	dayFlags(explain, &file, &data, &date)
	return group("fee", "Check fees, or explain those of a transaction", check, explain)
}

func dayFlags(cmd *cobra.Command, file, data, date *string) {
	f := cmd.Flags()
	configFlag(cmd, file)
	f.StringVar(data, "data", "", "the data directory; overrides the configuration")
	f.StringVar(date, "date", "", "the business day as yyyy-mm-dd")
}

// readDay reads --date, which must be given.
func readDay(date string) (txn.Date, error) {
	if date == "" {
		return 0, usage(errors.New("--date must say which business day"))
	}
	day, err := txn.ParseDate(date)
	if err != nil {
		return 0, usage(fmt.Errorf("--date: %w", err))
	}
	return day, nil
}

// dayOf loads the configuration and reads a date, which must be given: a day
// should not be settled by default.
func dayOf(file, data, date string) (*config, txn.Date, error) {
	day, err := readDay(date)
	if err != nil {
		return nil, 0, err
	}
	cfg, err := readConfig(file)
	if err != nil {
		return nil, 0, err
	}
	if data != "" {
		cfg.DataDir = data
	}
	return cfg, day, nil
}
