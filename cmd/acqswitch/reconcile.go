package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/reconcile"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// queue calls fn with the queue of exceptions of the configuration.
func (f *actFlags) queue(ctx context.Context, fn func(*config, *ledger.Ledger, *reconcile.Queue) error) error {
	return f.books(ctx, func(b *books) error {
		q := reconcile.NewQueue(b.db)
		err := approval.New(b.db).Migrate(ctx)
		if err == nil {
			err = q.Migrate(ctx)
		}
		if err != nil {
			return err
		}
		return fn(b.cfg, b.ledger, q)
	})
}

// layoutOf is a built-in layout, or that of a file.
func layoutOf(name string) (*reconcile.Layout, error) {
	if l, ok := reconcile.Builtin(name); ok {
		return l, nil
	}
	text, err := readWhole(name, reconcile.LayoutSizeMax)
	if err != nil {
		return nil, usage(fmt.Errorf("--layout must be acom, zm, ipm or a file: %w", err))
	}
	l, err := reconcile.LoadLayout(name, text)
	if err != nil {
		return nil, usage(err)
	}
	return l, nil
}

func reconcileCommand(c *console) *cobra.Command {
	return group("reconcile", "Hold issuers' files against the ledger; dispose of what does not match",
		reconcileImportCommand(c), reconcileListCommand(c), reconcileShowCommand(c), reconcileDisposeCommand(c),
		deciding(c, "approve", "Do what another person proposed about exceptions", "approved", (*reconcile.Queue).Approve),
		deciding(c, "reject", "Leave exceptions as they are", "rejected", (*reconcile.Queue).Reject))
}

// importFlags are those of reconcile import, beside by and merchant of its actFlags.
type importFlags struct {
	actFlags
	date, issuer, layout, currency, total string
	count, tolerance                      int64
}

func reconcileImportCommand(c *console) *cobra.Command {
	f := &importFlags{}
	cmd := f.on(&cobra.Command{
		Use:   "import FILE",
		Short: "Hold an issuer's file against a settled business day",
		Long: `import matches the lines of a file with the transactions of a settled business
day by trace number, transmission time and acquirer, or by reference number, as the
layout says, and puts what does not match into the queue of exceptions, each with
its cause. What an earlier file left open and this one has is settled. A file that
is cut off, has a wrong sum, a bad line or another day, or that was given before, is
refused as a whole.

Layouts: acom (UnionPay's acquirer detail), zm (UnionPay's merchant file), ipm
(Mastercard's clearing), or a YAML file; docs/settlement.md explains them. --count
and --total are for files without a trailer: what the issuer says it comes to.

Exit codes: 0 all matched; 2 the file, layout or command line is wrong, nothing was
applied; 3 taken, with exceptions, or refused: the day is not settled, or has a file.`,
		Example: `  acqswitch reconcile import IND26112201ACOM --issuer unionpay --date 2026-11-22 --config acqswitch.yaml`,
		Args:    args(1, "one file"),
		RunE:    func(cmd *cobra.Command, given []string) error { return f.run(cmd.Context(), c, given[0]) },
	}, false)
	fl := cmd.Flags()
	fl.StringVar(&f.by, "by", login(), "who imports it")
	fl.StringVar(&f.date, "date", "", "the business day as yyyy-mm-dd")
	fl.StringVar(&f.issuer, "issuer", "", "whose file it is, by its name in the configuration")
	fl.StringVar(&f.layout, "layout", "acom", "acom, zm, ipm, or the file of a layout")
	fl.StringVar(&f.currency, "currency", "", "of a layout without a column for it; default: the layout's")
	fl.StringVar(&f.merchant, "merchant", "", "of a file of one merchant only: its id (DE42)")
	fl.Int64Var(&f.tolerance, "tolerance", 0, "by how many minor units amounts may differ")
	fl.Int64Var(&f.count, "count", -1, "how many lines it must have; -1: not known")
	fl.StringVar(&f.total, "total", "", "what all amounts must come to, in minor units; empty: not known")
	return cmd
}

// run imports a file and prints what it came to.
func (f *importFlags) run(ctx context.Context, c *console, name string) error {
	in, err := f.input(name)
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return usage(fmt.Errorf("open the issuer's file: %w", err))
	}
	defer file.Close()
	in.File = file
	return f.queue(ctx, func(_ *config, l *ledger.Ledger, q *reconcile.Queue) error {
		if err := settlement.NotArchived(ctx, l, in.Day, in.Day); err != nil {
			return err
		}
		in.Ledger = l
		r, err := q.Import(ctx, in)
		if err != nil {
			return err
		}
		if c.json() {
			err = c.print(r)
		} else {
			err = writeReconciled(c.out, []*reconcile.Result{r})
		}
		if err == nil && r.Exceptions > 0 {
			return refused()
		}
		return err
	})
}

// input is what the flags say of a file, which is not opened yet.
func (f *importFlags) input(name string) (in reconcile.Input, err error) {
	in = reconcile.Input{Name: name, Tolerance: f.tolerance, Count: f.count, Total: -1, By: f.by, Now: time.Now()}
	if in.Day, err = readDay(f.date); err != nil {
		return in, err
	}
	cfg, err := f.config()
	if err != nil {
		return in, err
	}
	if !slices.ContainsFunc(cfg.Issuers, func(is issuer.Config) bool { return is.Name == f.issuer }) {
		return in, usage(fmt.Errorf("--issuer %q must be one of the configuration", f.issuer))
	}
	in.Issuer = txn.MakeIssuerID(f.issuer)
	if in.Layout, err = layoutOf(f.layout); err != nil {
		return in, err
	}
	if in.Acquirer, err = txn.ParseAcquirer(cfg.Acquirer); err != nil {
		return in, usage(fmt.Errorf("acquirer: %w", err))
	}
	if f.currency != "" {
		if in.Currency, err = txn.ParseCurrency(f.currency); err != nil {
			return in, usage(fmt.Errorf("--currency: %w", err))
		}
	}
	if f.merchant != "" {
		in.Merchant = txn.MakeMerchantID(f.merchant)
	}
	if f.tolerance < 0 || f.tolerance > txn.AmountMax {
		return in, usage(errors.New("--tolerance must be minor units, 0 or more"))
	}
	if f.total != "" {
		if in.Total, err = strconv.ParseInt(f.total, 10, 64); err != nil || in.Total < 0 {
			return in, usage(errors.New("--total must be minor units, 0 or more"))
		}
	}
	return in, nil
}

// writeReconciled prints what files came to.
func writeReconciled(w io.Writer, all []*reconcile.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "issuer\tbusiness day\tcurrency\tlines\tmatched\ttolerated\tlate\tno money\texceptions\t")
	for _, r := range all {
		if r.Lines == 0 && r.Exceptions == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", r.Issuer, r.Date, cmp.Or(r.Currency, "any"), r.Lines, r.Matched, r.Tolerated, r.Late, r.NoMoney, r.Exceptions)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range all {
		for _, cause := range slices.Sorted(maps.Keys(r.Causes)) {
			fmt.Fprintf(w, "%s %s: %d × %s\n", r.Issuer, r.Date, r.Causes[cause], cause)
		}
		var others []string
		for _, what := range slices.Sorted(maps.Keys(r.NotLines)) {
			others = append(others, fmt.Sprintf("%d %s", r.NotLines[what], what))
		}
		if len(others) > 0 {
			fmt.Fprintf(w, "%s %s: not read as lines: %s\n", r.Issuer, r.Date, strings.Join(others, ", "))
		}
	}
	return nil
}

// exceptionLine is an exception as it is printed.
type exceptionLine struct {
	*reconcile.Exception
	Date   string `json:"date"`
	State  string `json:"state"`
	Ours   string `json:"ours,omitempty"`
	Theirs string `json:"theirs,omitempty"`
	Age    int    `json:"age_days"`
}

func lineOf(e *reconcile.Exception, today txn.Date) exceptionLine {
	side := func(s reconcile.Side) string {
		if s.Currency == 0 {
			return ""
		}
		return s.InLetters()
	}
	return exceptionLine{e, e.Day.String(), string(e.Cause.State()), side(e.Ours), side(e.Theirs), e.Age(today)}
}

func reconcileListCommand(c *console) *cobra.Command {
	f := &actFlags{}
	var of filterFlags
	var older int
	var all bool
	cmd := f.on(&cobra.Command{
		Use: "list", Short: "Show exceptions: what is open, and for how long", Args: noArgs,
		Example: `  acqswitch reconcile list --older 3 --config acqswitch.yaml
  acqswitch reconcile list --issuer unionpay --date 2026-11-22 --cause "the issuer does not have it"
  acqswitch reconcile list --all -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := of.filter()
			if err != nil {
				return err
			}
			return f.queue(cmd.Context(), func(cfg *config, _ *ledger.Ledger, q *reconcile.Queue) error {
				calendar, err := cfg.businessDay()
				if err != nil {
					return err
				}
				today := calendar.Of(time.Now())
				if all {
					filter.Act = ""
				}
				if older > 0 {
					filter.Before = today.Plus(1 - older)
				}
				found, err := q.List(cmd.Context(), filter)
				if err != nil {
					return err
				}
				lines := []exceptionLine{}
				for i := range found {
					lines = append(lines, lineOf(&found[i], today))
				}
				return printTable(c, "NUMBER\tISSUER\tDAY\tAGE\tSTATE\tCAUSE\tOURS\tTHEIRS\tMERCHANT\tRRN\tACT", lines, func(x *exceptionLine) []any {
					return []any{x.Number, x.Issuer, x.Date, x.Age, x.State, x.Cause, x.Ours, x.Theirs, x.Merchant, x.RRN, x.Act}
				})
			})
		},
	}, false)
	of.on(cmd)
	cmd.Flags().IntVar(&older, "older", 0, "only those at least so many days old")
	cmd.Flags().BoolVar(&all, "all", false, "also those that are disposed of or settled")
	return cmd
}

func reconcileShowCommand(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "show NUMBER", Short: "Show an exception: both sides, its line, what was done", Args: args(1, "one number"),
		Example: "  acqswitch reconcile show 3 --config acqswitch.yaml",
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := number(given[0])
			if err != nil {
				return err
			}
			return f.queue(cmd.Context(), func(cfg *config, _ *ledger.Ledger, q *reconcile.Queue) error {
				e, err := q.Get(cmd.Context(), n)
				if err != nil {
					return err
				}
				calendar, err := cfg.businessDay()
				if err != nil {
					return err
				}
				x := lineOf(&e, calendar.Of(time.Now()))
				if c.json() {
					return c.print(x)
				}
				fmt.Fprintf(c.out, "exception %d: %s (%s), %s, %d days old\nissuer %s, business day %s, STAN %06d of %010d, line %d of file %.12s\n", e.Number, e.Cause, x.State, e.Act, x.Age,
					e.Issuer, x.Date, e.STAN, e.Time, e.Line, e.File)
				fmt.Fprintf(c.out, "ours %s, theirs %s; merchant %s, terminal %s, RRN %s, card %s, transaction %s\n", cmp.Or(x.Ours, "none"), cmp.Or(x.Theirs, "none"), cmp.Or(e.Merchant, "-"),
					cmp.Or(e.Terminal, "-"), cmp.Or(e.RRN, "-"), cmp.Or(e.Card, "-"), e.ID)
				for _, name := range slices.Sorted(maps.Keys(e.Columns)) {
					fmt.Fprintf(c.out, "    %-18s %s\n", name, e.Columns[name])
				}
				for _, a := range e.Acts {
					fmt.Fprintf(c.out, "%s  %s by %s: %s\n", a.At.Format(time.RFC3339), a.Act, a.By, a.Reason)
				}
				return nil
			})
		},
	}, false)
}
