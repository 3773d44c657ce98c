package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/journal"
)

func verifyCommand(c *console) *cobra.Command {
	var file, data string
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
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			if data != "" {
				cfg.DataDir = data
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
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&data, "data", "", "the data directory; overrides the configuration")
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
	return settlement.Verify(ctx, settlement.VerifyInput{OpenJournal: j, Ledger: l})
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
