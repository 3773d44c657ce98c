package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/dispute"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
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
		s, err := c.registryFile()
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
	if text, err = readWhole(path, sizeMax); err != nil {
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

// deadlinesConfig is one issuer's, in days; 0 is the default.
type deadlinesConfig struct {
	Issuer    string `yaml:"issuer"`
	Answer    int    `yaml:"answer"`
	Represent int    `yaml:"represent"`
	Second    int    `yaml:"second"`
	Contest   int    `yaml:"contest"`
}

// deadlines are those of disputes by issuer.
func (c *config) deadlines() (map[string]dispute.Deadlines, error) {
	all := map[string]dispute.Deadlines{}
	for _, y := range c.Settlement.Disputes {
		known := false
		for _, is := range c.Issuers {
			known = known || is.Name == y.Issuer
		}
		if _, twice := all[y.Issuer]; !known || twice {
			return nil, fmt.Errorf("issuer %q must be one of issuers, once", y.Issuer)
		}
		d := dispute.DefaultDeadlines
		d = dispute.Deadlines{Answer: cmp.Or(y.Answer, d.Answer), Represent: cmp.Or(y.Represent, d.Represent), Second: cmp.Or(y.Second, d.Second), Contest: cmp.Or(y.Contest, d.Contest)}
		if err := d.Check(); err != nil {
			return nil, fmt.Errorf("issuer %q: %w", y.Issuer, err)
		}
		all[y.Issuer] = d
	}
	return all, nil
}

// cases is the desk of disputes of a configuration that was checked.
func (c *config) cases(db *sqldb.DB, approvals *approval.Desk) *dispute.Desk {
	calendar, _ := c.businessDay()
	of, _ := c.deadlines()
	return dispute.New(db, approvals, calendar, func(issuer string) dispute.Deadlines {
		if d, ok := of[issuer]; ok {
			return d
		}
		return dispute.DefaultDeadlines
	})
}
