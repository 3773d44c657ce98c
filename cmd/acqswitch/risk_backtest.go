package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/backtest"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/sheet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// backtestShown is how many changed transactions and parties are shown; the rest
// is in --csv.
const backtestShown = 20

func backtestCommand(c *console) *cobra.Command {
	var o backtestOptions
	cmd := &cobra.Command{
		Use: "backtest", Short: "Say what a policy would have changed of recorded transactions", Args: noArgs,
		Long: `backtest judges the transactions of some business days again, as the ledger has
them, under two policies, and says what the candidate treats otherwise: how many
and how much, by rule, merchant and province, and which transactions. Counters
and windows are filled in time order, each policy's by what it would have let
through, from the first of the month on. No card number is needed. It changes
nothing, and may run beside a switch.

A policy is a file, the number of a version, or pNUMBER for a proposal. Exit code
3 if anything would change.`,
		Example: `  acqswitch risk backtest --policy new.yaml --from 2026-11-01 --to 2026-11-21
  acqswitch risk backtest --policy p7 --against 3 --from 2026-11-21 --to 2026-11-21 --csv changes.csv`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c) },
	}
	configFlag(cmd, &o.config)
	f := cmd.Flags()
	f.StringVar(&o.policy, "policy", "", "the candidate")
	f.StringVar(&o.against, "against", "", "the policy it is compared with (default the one in force)")
	f.StringVar(&o.from, "from", "", "first business day, as 2026-11-01")
	f.StringVar(&o.to, "to", "", "last business day (default the first)")
	f.StringVar(&o.csv, "csv", "", "write every changed transaction to this file, - for standard output")
	return cmd
}

type backtestOptions struct{ config, policy, against, from, to, csv string }

// changedRow is a changed transaction as it is shown.
type changedRow struct {
	RRN      string `json:"rrn"`
	Day      string `json:"day"`
	Time     string `json:"time"`
	Merchant string `json:"merchant"`
	Terminal string `json:"terminal"`
	Region   string `json:"region"`
	Type     string `json:"type"`
	Amount   string `json:"amount"`
	Was      string `json:"was"`
	Is       string `json:"is"`
	Rules    string `json:"rules"` // such as "+C1000 alert, -L02 refuse"
}

var changedHead = []string{"rrn", "day", "time", "merchant", "terminal", "region", "type", "amount", "was", "is", "rules"}

func (r *changedRow) fields() []string {
	return []string{r.RRN, r.Day, r.Time, r.Merchant, r.Terminal, r.Region, r.Type, r.Amount, r.Was, r.Is, r.Rules}
}

func makeChangedRow(x *backtest.Change, zone *time.Location) changedRow {
	var rules []string
	for sign, list := range map[string][]txn.Finding{"-": x.Lost, "+": x.Came} {
		for _, f := range list {
			shadow := ""
			if f.Shadow {
				shadow = " (shadow)"
			}
			rules = append(rules, fmt.Sprintf("%s%s %s%s", sign, f.Rule, f.Action, shadow))
		}
	}
	slices.Sort(rules)
	r := x.Rec
	return changedRow{txn.Text(r.RRN[:]), r.Day.String(), r.At.In(zone).Format("15:04:05"), r.Merchant.String(), r.Key.Terminal.String(),
		fmt.Sprint(uint32(r.Region)), r.Request.String(), r.Amount.InLetters(), x.Was.String(), x.Is.String(), strings.Join(rules, ", ")}
}

func (o *backtestOptions) run(ctx context.Context, c *console) (err error) {
	if o.policy == "" {
		return usage(errors.New("name the candidate with --policy"))
	}
	from, err := txn.ParseDate(o.from)
	if err != nil {
		return usage(fmt.Errorf("--from: %w", err))
	}
	to, err := txn.ParseDate(cmp.Or(o.to, o.from))
	if err != nil || to < from {
		return usage(errors.Join(fmt.Errorf("--to %s must be a day, not before --from", cmp.Or(o.to, o.from)), err))
	}
	cfg, err := readConfig(o.config)
	if err != nil {
		return err
	}
	zone, err := time.LoadLocation(cfg.Zone)
	if err != nil {
		return err
	}
	parties, err := cfg.parties(ctx)
	if err != nil {
		return err
	}
	test := backtest.Config{Registry: parties, Zone: zone, CountCards: cfg.Risk.CardsPerMonth, From: from}
	if test.Before, test.After, err = o.policies(ctx, cfg); err != nil {
		return err
	}
	var rows []changedRow
	var all *sheet.Writer
	if o.csv != "" {
		w := c.out
		if o.csv != "-" {
			f, err := os.OpenFile(o.csv, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
			if err != nil {
				return usage(fmt.Errorf("write changed transactions: %w", err))
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			w = f
		}
		all = sheet.NewWriter(w)
		if err := all.Write(changedHead); err != nil {
			return fmt.Errorf("write changed transactions: %w", err)
		}
	}
	test.Changed = func(x *backtest.Change) {
		if len(rows) == backtestShown && all == nil {
			return
		}
		row := makeChangedRow(x, zone)
		if len(rows) < backtestShown {
			rows = append(rows, row)
		}
		if all != nil {
			all.Write(row.fields()) // Flush tells
		}
	}
	t, err := backtest.New(test)
	if err != nil {
		return usage(err)
	}
	if err := replayLedger(ctx, cfg, from, to, t.Take); err != nil {
		return err
	}
	if all != nil {
		if err := all.Flush(); err != nil {
			return fmt.Errorf("write changed transactions: %w", err)
		}
	}
	report := t.Report()
	switch {
	case o.csv == "-":
	case c.json():
		err = c.print(struct {
			*backtest.Report
			Shown []changedRow `json:"changes"`
		}{report, rows})
	default:
		err = writeBacktest(c.out, report, rows)
	}
	if err == nil && report.Changed.Count > 0 {
		return refused()
	}
	return err
}

// policies are what is compared. A switch that runs on a file has no versions.
func (o *backtestOptions) policies(ctx context.Context, cfg *config) (before, after risk.Policy, err error) {
	if cfg.Risk.Policy != "" {
		if before, err = readPolicy(cmp.Or(o.against, cfg.Risk.Policy)); err == nil {
			after, err = readPolicy(o.policy)
		}
		return before, after, err
	}
	err = cfg.onPolicies(ctx, func(d *policyDesk) error {
		for _, p := range []struct {
			name string
			to   *risk.Policy
		}{{o.against, &before}, {o.policy, &after}} {
			text, name, number, err := d.document(ctx, p.name)
			if err != nil {
				return err
			}
			if *p.to, err = policy.Load(text, name); err != nil {
				return usage(err)
			}
			p.to.Number = number
		}
		return nil
	})
	return before, after, err
}

// replayBatch is how many records pass from the reader of the ledger to the judge
// at once.
const replayBatch = 512

// replayLedger calls take with the records of the business days from the first of
// from's month, or the day before it, to the last, in the journal's order of each.
// They are read and judged by two goroutines.
func replayLedger(ctx context.Context, cfg *config, from, to txn.Date, take func(*txn.Record)) error {
	l, err := openLedger(cfg)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := settlement.NotArchived(ctx, l, from, to); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	full, empty := make(chan []txn.Record, 4), make(chan []txn.Record, 4)
	read := make(chan error, 1)
	go func() {
		defer close(full)
		read <- l.Read(ctx, func(s *ledger.Snapshot) error {
			batch := make([]txn.Record, 0, replayBatch)
			pass := func() error {
				select {
				case full <- batch:
				case <-ctx.Done():
					return ctx.Err()
				}
				select {
				case batch = <-empty:
					batch = batch[:0]
				default:
					batch = make([]txn.Record, 0, replayBatch)
				}
				return nil
			}
			for d := min(from/100*100+1, from.Before()); d <= to; d = d.After() {
				if err := s.Recorded(ctx, d, func(r *txn.Record) error {
					batch = append(batch, *r)
					last := &batch[len(batch)-1]
					last.Serial = bytes.Clone(r.Serial)
					if len(batch) < replayBatch {
						return nil
					}
					return pass()
				}); err != nil {
					return err
				}
			}
			return pass()
		})
	}()
	for batch := range full {
		for i := range batch {
			take(&batch[i])
		}
		select {
		case empty <- batch:
		default:
		}
	}
	return <-read
}

func writeBacktest(out io.Writer, r *backtest.Report, rows []changedRow) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	f := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	f("%d transactions judged, %d not judged\n", r.Transactions, r.NotJudged)
	f("%s would be treated otherwise: %s now refused, %s now let through\n", sum(r.Changed), sum(r.NowRefused), sum(r.NowPassed))
	if len(r.Rules) > 0 {
		f("\nRULE\tACTION\tBEFORE\tAFTER\tCAME\tLOST\tNAME\n")
		for _, x := range r.Rules {
			action := x.Action
			if x.Shadow {
				action += " (shadow)"
			}
			f("%s\t%s\t%d\t%d\t%s\t%s\t%s\n", x.Rule, action, x.Before, x.After, sum(x.Came), sum(x.Lost), x.Name)
		}
	}
	for _, p := range []struct {
		head string
		list []backtest.PartyChange
	}{{"MERCHANT", r.Merchants}, {"PROVINCE", r.Regions}} {
		if len(p.list) == 0 {
			continue
		}
		f("\n%s\tNOW REFUSED\tNOW LET THROUGH\tOTHERWISE\n", p.head)
		for _, x := range p.list[:min(len(p.list), backtestShown)] {
			f("%s\t%s\t%s\t%s\n", x.Name, sum(x.NowRefused), sum(x.NowPassed), sum(x.Otherwise))
		}
		if n := len(p.list) - backtestShown; n > 0 {
			f("and %d more: see -o json\n", n)
		}
	}
	if len(rows) > 0 {
		f("\nRRN\tDAY\tTIME\tMERCHANT\tTYPE\tAMOUNT\tWAS\tIS\tRULES\n")
		for _, x := range rows {
			f("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.RRN, x.Day, x.Time, x.Merchant, x.Type, x.Amount, x.Was, x.Is, x.Rules)
		}
		if n := r.Changed.Count - int64(len(rows)); n > 0 {
			f("and %d more: see --csv\n", n)
		}
	}
	for _, x := range r.Silent {
		f("\nrule %s %s could not tell of %d and failed on %d\n", x.Rule, x.Name, x.Undecided, x.Failed)
	}
	if r.Strayed > 0 {
		f("\n%d are treated otherwise by the old policy now than was recorded:\n", r.Strayed)
		for _, x := range r.Strays {
			f("  %d\trecorded: %s\tnow: %s\n", x.Count, x.Recorded, x.Replayed)
		}
	}
	f("\nRecords do not say:\n")
	for _, x := range r.Lacks {
		f("  %s\n", x)
	}
	return w.Flush()
}

// sum is such as "3 (300.00 CNY)".
func sum(s backtest.Sum) string {
	if s.Count == 0 {
		return "0"
	}
	var amounts []string
	for _, c := range slices.Sorted(maps.Keys(s.Amounts)) {
		amounts = append(amounts, majorOf(s.Amounts[c], c)+" "+c)
	}
	return fmt.Sprintf("%d (%s)", s.Count, strings.Join(amounts, ", "))
}

// majorOf is an amount of minor units in major ones.
func majorOf(minor int64, letters string) string {
	c, _ := txn.ParseCurrency(letters)
	return txn.Amount{Minor: minor, Currency: c}.Major()
}
