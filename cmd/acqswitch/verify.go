package main

import (
	"context"
	"iter"
	"sync"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func verifyCommand(c *console) *cobra.Command {
	var of dataFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hold journal and ledger against each other",
		Long: `verify reads the journal and the ledger of a running or stopped switch and
checks what the switch promises; it changes nothing. Exit code 3 when something
is broken; each break comes with the transaction's history.`,
		Example: `  acqswitch verify --config acqswitch.yaml
  acqswitch verify --data data/run/20261122-093000.000 --output json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := of.config()
			if err != nil {
				return err
			}
			report, err := verifyFiles(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if c.json() {
				err = c.print(report)
			} else {
				err = report.WriteText(c.out)
			}
			if err == nil && !report.OK() {
				return refused()
			}
			return err
		},
	}
	of.register(cmd)
	return cmd
}

// verifyFiles checks a data directory from outside, with or without a switch
// running on it.
func verifyFiles(ctx context.Context, cfg *config) (*settlement.Report, error) {
	if err := hasJournal(cfg.DataDir); err != nil {
		return nil, err
	}
	l, err := openLedger(cfg)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	j := sync.OnceValues(func() (settlement.Journal, error) { return openJournalReadOnly(cfg.DataDir) })
	defer func() {
		if opened, err := j(); err == nil {
			opened.(*journal.Journal).Close()
		}
	}()
	db, err := openDatabase(cfg)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return settlement.Verify(ctx, settlement.VerifyInput{OpenJournal: j, Ledger: l, Cases: cfg.cases(db, approval.New(db))})
}

// live is the running switch's memory for verify.
type live struct{ a *app }

func (l live) Idle() bool {
	f := l.a.acquirer.Figures()
	return f.InFlight == 0 && f.ReversalsSending == 0 && l.a.risk.InFlight() == 0
}

func (l live) Owed() int64 { return l.a.acquirer.Figures().ReversalsOwed }

func (l live) Batches(fn func(*batch.Batch)) { l.a.acquirer.Batches().Each(fn) }

func (l live) Usage() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return usesOf(l.a.risk.Days(), l.a.risk.Usage)
}

func (l live) Months() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return usesOf(l.a.risk.Months(), l.a.risk.MonthUsage)
}

func usesOf(dates []txn.Date, usage func(txn.Date) iter.Seq2[risk.Cell, risk.Use]) iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return func(yield func(txn.Date, iter.Seq2[ledger.Party, ledger.Use]) bool) {
		for _, date := range dates {
			if !yield(date, func(yield func(ledger.Party, ledger.Use) bool) {
				for c, u := range usage(date) {
					if !yield(ledger.Party{Scope: c.Scope, Currency: c.Currency, ID: c.ID, Method: c.Method, CardType: c.CardType}, ledger.Use(u)) {
						return
					}
				}
			}) {
				return
			}
		}
	}
}
