package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/reconcile"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// summary is what a run reports.
type summary struct {
	Directory string             `json:"directory"`
	Resumed   bool               `json:"resumed"`
	Day       *fleet.Result      `json:"day"`
	Totals    []ledgerTotal      `json:"ledger_totals"`
	Verify    *settlement.Report `json:"verify"`
	Books     *booksReport       `json:"books"`
	// Settled are the runs of the business days, in order.
	Settled []*settlement.RunResult `json:"settled"`
	// Reconciled are the issuers' files, and how many exceptions are open after them.
	Reconciled   []*reconcile.Result `json:"reconciled"`
	Unreconciled int                 `json:"unreconciled"`
	// Proved are the four books of each day that was settled.
	Proved []*proof `json:"proved"`
	OK     bool     `json:"ok"`
}

// ledgerTotal is one line of the ledger's day.
type ledgerTotal struct {
	Day    string `json:"day"`
	Kind   string `json:"kind"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
	Amount string `json:"amount"`
}

func (r *sampleRun) totals(ctx context.Context) ([]ledgerTotal, error) {
	var out []ledgerTotal
	err := r.app.ledger.Read(ctx, func(s *ledger.Snapshot) error {
		for _, day := range r.app.risk.Days() {
			totals, err := s.Totals(ctx, day)
			if err != nil {
				return err
			}
			for _, t := range totals {
				out = append(out, ledgerTotal{day.String(), t.Request.String(), t.Code, t.Reason.String(), t.Count, t.Amount.InLetters()})
			}
		}
		return nil
	})
	return out, err
}

// isTerminal says that a person may be watching.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// progressPrinter redraws one line on a terminal and prints a line every few
// seconds elsewhere.
func progressPrinter(w io.Writer) func(fleet.Progress) {
	tty := isTerminal(w)
	var last time.Duration
	return func(p fleet.Progress) {
		done := p.Done >= p.Total
		if !tty && !done && p.Elapsed-last < 2*time.Second {
			return
		}
		last = p.Elapsed
		const width = 30
		filled := 0
		if p.Total > 0 {
			filled = min(width, width*p.Done/p.Total)
		}
		bar := "==============================          "[:filled] + "                              "[:width-filled]
		line := fmt.Sprintf("[%s] %5d of %d messages, %3d terminals at work, %d approved, %d unexpected, %.1fs",
			bar, p.Done, p.Total, p.Open, p.Approved, p.Mismatches, p.Elapsed.Seconds())
		if tty {
			fmt.Fprintf(w, "\r%s\033[K", line)
			if done {
				fmt.Fprintln(w)
			}
			return
		}
		fmt.Fprintln(w, line)
	}
}

// report prints what happened.
func (r *sampleRun) report(s *summary) error {
	if r.c.json() {
		return r.c.print(s)
	}
	w := r.c.out
	d := s.Day
	fmt.Fprintf(w, "\nThe day: %d messages of %d terminals in %v (%.0f/s), %d answered, %d hung up on, %d reversals by terminals\n",
		d.Messages, d.Terminals, time.Duration(d.Elapsed).Round(10*time.Millisecond), d.PerSecond, d.Answered, d.GaveUp, d.Reversals)
	if d.Earlier > 0 {
		fmt.Fprintf(w, "         %d messages were sent by the killed run; %d answers differ because of its reversals\n", d.Earlier, d.Excused)
	}
	if r.o.details {
		r.tables(s)
	}
	fmt.Fprintf(w, "Latency with the issuers' own: p50 %s, p90 %s, p99 %s, p99.9 %s, max %s\n", ms(d.Latency.P50), ms(d.Latency.P90), ms(d.Latency.P99), ms(d.Latency.P999), ms(d.Latency.Max))
	if !r.o.details && s.Verify.OK() {
		var idle []string
		for i := range s.Verify.Checks {
			if c := &s.Verify.Checks[i]; !c.Made() {
				idle = append(idle, fmt.Sprintf("          %s is %s\n", c.Rule, c.Note))
			}
		}
		fmt.Fprintf(w, "Verified: %d promises checked on %d records, none is broken (--details shows them)\n%s\n",
			len(s.Verify.Checks)-len(idle), s.Verify.JournalLast, strings.Join(idle, ""))
	} else {
		fmt.Fprintln(w)
		if err := s.Verify.WriteText(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	for i := range d.Mismatches {
		fmt.Fprintf(w, "UNEXPECTED %s\n", &d.Mismatches[i])
	}
	s.Books.writeText(w)
	if err := s.writeSettled(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nReconciled: issuers' files of their own books with the ledger")
	if err := writeReconciled(w, s.Reconciled); err != nil {
		return err
	}
	for _, p := range s.Proved {
		fmt.Fprintln(w)
		if err := p.writeText(w); err != nil {
			return err
		}
	}
	verdict := "Everything came out as it should."
	if !s.OK {
		verdict = fmt.Sprintf("NOT as it should: %d unexpected answers, %d broken promises, %d differences between the books, %d open exceptions of issuers' files.",
			d.MismatchCount, len(s.Verify.Breaks), len(s.Books.Breaks), s.Unreconciled)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", verdict)
	return err
}

// proved says that the four books of all days agree.
func (s *summary) proved() bool {
	return !slices.ContainsFunc(s.Proved, func(p *proof) bool { return !p.Equal })
}

// writeSettled prints what the business days came to, and where their files are.
func (s *summary) writeSettled(w io.Writer) error {
	fmt.Fprintln(w, "\nSettled: what merchants are owed and paid")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "business day\tcurrency\ttransactions\tgross\trefunds\tfees\tnet\tin suspense\treserved\tpaid\tcarried\texceptions\t")
	for _, r := range s.Settled {
		for i := range r.Totals {
			c := &r.Totals[i]
			m := c.Major
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", r.Date, c.Currency, c.Transactions, m(c.Sales), m(c.Refunds), m(c.MerchantFees), m(c.Net), m(c.Suspense),
				m(c.Reserved), m(c.Paid), m(c.Closing), r.Exceptions)
		}
	}
	t.Flush()
	for _, r := range s.Settled {
		fmt.Fprintf(w, "statements, payouts and general ledger of %s are in %s\n", r.Date, r.Directory)
	}
	return nil
}

// tables prints every type and answer, and the ledger's totals.
func (r *sampleRun) tables(s *summary) {
	w, d := r.c.out, s.Day
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nMTI\tkind\tDE39\t%7s\t%8s\t%8s\t%8s\treason\n", "count", "p50", "p99", "max")
	for _, n := range d.Counts {
		fmt.Fprintf(t, "%s\t%s\t%s\t%7d\t%8s\t%8s\t%8s\t%s\n", n.MTI, n.Kind, cmp.Or(n.Code, "-"), n.N, ms(n.Latency.P50), ms(n.Latency.P99), ms(n.Latency.Max), n.Reason)
	}
	t.Flush()
	fmt.Fprintln(w, "\nLedger:")
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "business day\tkind\tDE39\t%7s\t%14s\treason\n", "count", "amount")
	for _, l := range s.Totals {
		fmt.Fprintf(t, "%s\t%s\t%s\t%7d\t%14s\t%s\n", l.Day, l.Kind, l.Code, l.Count, l.Amount, l.Reason)
	}
	t.Flush()
	fmt.Fprintln(w)
}

func ms[D time.Duration | txn.Millis](d D) string { return fmt.Sprintf("%.1fms", float64(d)/1e6) }
