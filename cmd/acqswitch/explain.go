package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
)

func explainCommand(c *console) *cobra.Command {
	var on dayFlags
	cmd := &cobra.Command{
		Use:   "explain RRN",
		Short: "Show the whole life of a transaction",
		Long: `explain tells what the books of a running or stopped switch know of one
transaction: each record in order, with how long every stage took, the route, the
issuer's answer, what the rules of risk found, reversals, voids and refunds about it,
and its fees and postings. Stages and intents are told as long as the journal keeps
them (two to three days). A reversal is told with what it took back, under that one's
number or its own. Card numbers are masked. Exit code 3: no such transaction on that day.`,
		Example: "  acqswitch explain 326000000017 --date 2026-11-22 --config acqswitch.yaml",
		Args:    args(1, "one retrieval reference number"),
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, day, err := on.read()
			if err != nil {
				return err
			}
			l, err := openLedger(cfg)
			if err != nil {
				return err
			}
			defer l.Close()
			if err := settlement.NotArchived(cmd.Context(), l, day, day); err != nil {
				return err
			}
			j, err := openJournalReadOnly(cfg.DataDir)
			if err != nil {
				return err
			}
			defer j.Close()
			found, err := settlement.Lives(cmd.Context(), l, j, day, given[0], cfg.schedule)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return &exitError{exitRefused, fmt.Errorf("there is no transaction %s on %s", given[0], day)}
			}
			if c.json() {
				return c.print(found)
			}
			for i := range found {
				if i > 0 {
					io.WriteString(c.out, "\n")
				}
				if err := found[i].WriteText(c.out); err != nil {
					return err
				}
			}
			return nil
		},
	}
	on.register(cmd)
	return cmd
}
