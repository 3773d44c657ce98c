package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func batchesCommand(c *console) *cobra.Command {
	var on dayFlags
	flags := func(cmd *cobra.Command) *cobra.Command {
		on.register(cmd)
		cmd.Flags().Lookup("date").Usage = "business day as yyyy-mm-dd; empty is today's"
		return cmd
	}
	load := func() (*config, txn.Date, error) {
		if on.date != "" {
			return on.read()
		}
		cfg, err := on.config()
		if err != nil {
			return nil, 0, err
		}
		day, err := cfg.businessDay()
		return cfg, day.Of(time.Now()), err
	}
	list := flags(&cobra.Command{
		Use:   "list",
		Short: "Show what terminals settled on a business day, and what is open",
		Long: `list reads the ledger of a running or stopped switch: the items that people must
decide about, the batches with transactions of the business day that are not
closed, and the settlements that were made on that day, also of batches that began
before it, with both sides' totals and how they compare.
JSON has each step of a settlement, and amounts in minor units.`,
		Example: `  acqswitch batches list --config acqswitch.yaml --date 2026-11-22
  acqswitch batches list -o json | jq .exceptions`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, day, err := load()
			if err != nil {
				return err
			}
			r, err := readBatches(cmd.Context(), cfg, day)
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(r)
			}
			return r.writeText(c.out)
		},
	})
	closing := flags(&cobra.Command{
		Use:   "close",
		Short: "Close batches that no terminal settled, while the switch is stopped",
		Long: `close closes every batch whose first transaction is of the business day or an
earlier one. A running switch does that by itself (batches.close_after); this is
for one that is stopped, as before it moves. Like a start it first decides what
a crash left open. A terminal can still settle a closed batch and is told how
its totals compare, but makes no more transactions in it. Exit code 3: a switch runs.`,
		Example: `  acqswitch batches close --config acqswitch.yaml --date 2026-11-22`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, day, err := load()
			if err != nil {
				return err
			}
			n, err := closeStopped(cmd.Context(), cfg, c.errs, day)
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(map[string]any{"date": day.String(), "closed": n})
			}
			_, err = fmt.Fprintf(c.out, "%d batches of %s and before are closed\n", n, day)
			return err
		},
	})
	return group("batches", "Show or close the batches that terminals settle", list, closing)
}

// closeStopped closes batches as a switch that serves nobody.
func closeStopped(ctx context.Context, cfg *config, logs io.Writer, day txn.Date) (closed int, err error) {
	err = asStopped(ctx, cfg, logs, func(a *app) (err error) {
		closed, err = a.acquirer.CloseBatches(ctx, day)
		return err
	})
	return closed, err
}

// batchesReport is what list prints.
type batchesReport struct {
	Date       string           `json:"date"`
	Open       []batchLine      `json:"open"`
	Settled    []batchLine      `json:"settled"`
	Exceptions []batchException `json:"exceptions"`
}

type batchLine struct {
	At       *time.Time     `json:"at,omitempty"`
	Merchant string         `json:"merchant"`
	Terminal string         `json:"terminal"`
	Batch    uint32         `json:"batch"`
	Step     string         `json:"step,omitempty"`
	State    string         `json:"state"`
	Result   []string       `json:"result,omitempty"` // domestic and foreign cards
	Currency txn.Currency   `json:"currency"`
	Ours     totalsLine     `json:"ours"`
	Theirs   *totalsLine    `json:"theirs,omitempty"`
	Missing  *totalsLine    `json:"not_uploaded,omitempty"`
	Items    *uploadedItems `json:"items,omitempty"`
}

type uploadedItems struct {
	Announced uint32 `json:"announced"`
	Received  uint32 `json:"received"`
}

// totalsLine is in minor units.
type totalsLine struct {
	Debits  uint32 `json:"debits"`
	Debit   int64  `json:"debit_amount"`
	Credits uint32 `json:"credits"`
	Credit  int64  `json:"credit_amount"`
}

func newTotalsLine(t txn.Totals) totalsLine {
	return totalsLine{t.Debit.Count, t.Debit.Minor, t.Credit.Count, t.Credit.Minor}
}

type batchException struct {
	Merchant string       `json:"merchant"`
	Terminal string       `json:"terminal"`
	Batch    uint32       `json:"batch"`
	STAN     uint32       `json:"stan"`
	Verdict  string       `json:"verdict"`
	Kind     string       `json:"kind,omitempty"`
	Card     string       `json:"card,omitempty"`
	Currency txn.Currency `json:"currency"`
	Theirs   int64        `json:"theirs"`
	Ours     int64        `json:"ours"`
}

// readBatches reads a business day out of the ledger.
func readBatches(ctx context.Context, cfg *config, day txn.Date) (*batchesReport, error) {
	l, err := openLedger(cfg)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := settlement.NotArchived(ctx, l, day, day); err != nil {
		return nil, err
	}
	r := &batchesReport{Date: day.String(), Open: []batchLine{}, Settled: []batchLine{}, Exceptions: []batchException{}}
	err = l.Read(ctx, func(s *ledger.Snapshot) error {
		open, err := s.OpenBatches(ctx, day)
		if err != nil {
			return err
		}
		facts, err := s.Batches(ctx, day)
		if err != nil {
			return err
		}
		exceptions, err := s.BatchExceptions(ctx, day)
		for i := range open {
			r.Open = append(r.Open, newBatchLine(&open[i]))
		}
		for i := range facts {
			r.Settled = append(r.Settled, newBatchLine(&facts[i]))
		}
		for _, x := range exceptions {
			e := batchException{Merchant: x.Merchant.String(), Terminal: x.Terminal.String(), Batch: x.Number, STAN: x.Item.STAN,
				Verdict: x.Item.Verdict.String(), Card: txn.Text(x.Item.Masked[:]), Currency: x.Currency, Theirs: x.Item.Minor, Ours: x.Item.Ours}
			if x.Item.Kind != txn.KindUnknown {
				e.Kind = x.Item.Kind.String()
			}
			r.Exceptions = append(r.Exceptions, e)
		}
		return err
	})
	return r, err
}

func newBatchLine(b *ledger.Batch) batchLine {
	l := batchLine{Merchant: b.Merchant.String(), Terminal: b.Terminal.String(), Batch: b.Number, State: b.State.String(),
		Currency: b.Currency, Ours: newTotalsLine(b.Ours)}
	if b.Step == 0 {
		return l
	}
	l.At, l.Step = &b.At, b.Step.String()
	switch b.Step {
	case txn.StepSettle:
		theirs := newTotalsLine(b.Theirs)
		l.Theirs, l.Result = &theirs, []string{b.Result[0].String(), b.Result[1].String()}
	case txn.StepEnd:
		missing := newTotalsLine(b.Missing)
		l.Missing, l.Items = &missing, &uploadedItems{b.Announced, b.Received}
	}
	return l
}

// batchRow is what came of a batch, all its steps in one row.
type batchRow struct {
	batchLine        // of the last totals, with the last state
	verdict   string // in words
}

// rows are the settlements in the order in which they began. A batch number that was
// used again has a row for each time.
func (r *batchesReport) rows() []*batchRow {
	type key struct {
		merchant, terminal string
		batch              uint32
		currency           txn.Currency
	}
	var rows []*batchRow
	last := map[key]*batchRow{}
	for _, l := range r.Settled {
		k := key{l.Merchant, l.Terminal, l.Batch, l.Currency}
		row := last[k]
		if row == nil || row.State == txn.BatchClosed.String() && (l.Theirs != nil || l.Step == txn.StepClose.String()) { // not what follows even totals
			row = &batchRow{batchLine: l, verdict: "began on an earlier day"} // unless l says otherwise
			rows, last[k] = append(rows, row), row
		}
		row.State = l.State
		switch {
		case l.Theirs != nil:
			row.Ours, row.Theirs, row.verdict = l.Ours, l.Theirs, l.Result[0]
			if f := l.Result[1]; f != txn.NotCompared.String() && f != txn.Even.String() {
				row.verdict += ", foreign cards " + f
			}
		case l.Items != nil && l.Items.Announced > 0:
			row.verdict += fmt.Sprintf(", %d of %d items uploaded", l.Items.Received, l.Items.Announced)
			if missing := l.Missing.Debits + l.Missing.Credits; missing > 0 {
				row.verdict += fmt.Sprintf(", %d of ours not", missing)
			}
		case l.Step == txn.StepClose.String():
			row.verdict = "closed by the switch, not settled"
		}
	}
	return rows
}

func (r *batchesReport) writeText(w io.Writer) error {
	say := func(t *totalsLine, c txn.Currency) string {
		if t == nil {
			return "-"
		}
		return fmt.Sprintf("%d for %s, %d for %s", t.Debits, txn.Amount{Minor: t.Debit, Currency: c}.InLetters(), t.Credits, txn.Amount{Minor: t.Credit, Currency: c}.InLetters())
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "Business day %s. OURS is what the switch has of a batch, THEIRS what the terminal said it has: how many\n", r.Date)
	fmt.Fprintf(t, "debits (the cardholder pays) for how much, and how many credits (the cardholder gets money back) for how much.\n")
	fmt.Fprintf(t, "\n%s for people to decide about\n", plural(len(r.Exceptions), "item"))
	if len(r.Exceptions) > 0 {
		fmt.Fprintln(t, "MERCHANT\tTERMINAL\tBATCH\tSTAN\tVERDICT\tKIND\tCARD\tTHEIRS\tOURS")
	}
	for _, e := range r.Exceptions {
		fmt.Fprintf(t, "%s\t%s\t%06d\t%06d\t%s\t%s\t%s\t%s\t%s\n", e.Merchant, e.Terminal, e.Batch, e.STAN, e.Verdict, cmp.Or(e.Kind, "-"), cmp.Or(e.Card, "-"),
			txn.Amount{Minor: e.Theirs, Currency: e.Currency}.InLetters(), txn.Amount{Minor: e.Ours, Currency: e.Currency}.InLetters())
	}
	fmt.Fprintf(t, "\n%d batches with transactions of this day that nobody closed\n", len(r.Open))
	if len(r.Open) > 0 {
		fmt.Fprintln(t, "MERCHANT\tTERMINAL\tBATCH\tSTATE\tOURS")
	}
	for _, l := range r.Open {
		fmt.Fprintf(t, "%s\t%s\t%06d\t%s\t%s\n", l.Merchant, l.Terminal, l.Batch, l.State, say(&l.Ours, l.Currency))
	}
	rows := r.rows()
	fmt.Fprintf(t, "\n%d settlements\n", len(rows))
	if len(rows) > 0 {
		fmt.Fprintln(t, "MERCHANT\tTERMINAL\tBATCH\tSTATE\tOURS\tTHEIRS\tVERDICT")
	}
	for _, l := range rows {
		fmt.Fprintf(t, "%s\t%s\t%06d\t%s\t%s\t%s\t%s\n", l.Merchant, l.Terminal, l.Batch, l.State, say(&l.Ours, l.Currency), say(l.Theirs, l.Currency), l.verdict)
	}
	return t.Flush()
}
