package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
)

func settleCommand(c *console) *cobra.Command {
	var on dayFlags
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
			cfg, day, err := on.read()
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
	on.register(cmd)
	f.BoolVar(&early, "early", false, "settle a day that is not over; what comes later is in the next day's run")
	f.BoolVar(&dry, "dry-run", false, "show the result; change nothing and write no files")
	return cmd
}
