package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func feeCommand(c *console) *cobra.Command {
	var of dataFlags
	check := &cobra.Command{
		Use: "check", Short: "Say whether the fees can be used, and which merchants are served without a plan", Args: noArgs,
		Example: "  acqswitch fee check --config acqswitch.yaml",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := of.config()
			if err != nil {
				return err
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
	of.register(check)
	var on dayFlags
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
			cfg, day, err := on.read()
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
				if err := settlement.NotArchived(cmd.Context(), l, day, day); err != nil {
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
	on.register(explain)
	return group("fee", "Check fees, or explain those of a transaction", check, explain)
}
