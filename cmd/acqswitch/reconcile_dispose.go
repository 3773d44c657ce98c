package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/reconcile"
	"github.com/acqswitch/acqswitch/switch/approval"
)

// filterFlags choose exceptions of one issuer, of one day's file, with one cause.
type filterFlags struct{ issuer, date, cause string }

func (f *filterFlags) on(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.issuer, "issuer", "", "of one issuer only")
	cmd.Flags().StringVar(&f.date, "date", "", "of the file of one business day only, as yyyy-mm-dd")
	cmd.Flags().StringVar(&f.cause, "cause", "", "with one cause only, as reconcile list says it")
}

// filter chooses what is open.
func (f *filterFlags) filter() (of reconcile.Filter, err error) {
	of = reconcile.Filter{Issuer: f.issuer, Cause: f.cause, Act: "open"}
	if f.date != "" {
		if of.Day, err = readDay(f.date); err != nil {
			return of, err
		}
	}
	if f.cause != "" {
		if _, err := reconcile.ParseCause(f.cause); err != nil {
			return of, usage(fmt.Errorf("--cause: %w", err))
		}
	}
	return of, nil
}

func reconcileDisposeCommand(c *console) *cobra.Command {
	f := &actFlags{}
	var of filterFlags
	var d reconcile.Disposition
	cmd := f.on(&cobra.Command{
		Use: "dispose {NUMBER...|--issuer ISSUER --date DATE --cause CAUSE}", Short: "Propose what is to be done about exceptions",
		Args: argsFrom(0, reconcile.ListMax, "the numbers of exceptions"),
		Long: `dispose records a disposition that another person must approve:

  write-off  we bear the difference, or keep it: a correction between 1100 and 5900
  adjust     the merchant bears it, or gets it: a correction between 1100 and 2100
  claim      the issuer is asked for it; no money moves, a later file may settle it
  resend     it is to be in a later file; likewise

The next run that begins after the approval books the correction.

It takes one exception or several (3 5 9-12), or all open ones of an issuer's file of
a day with one cause; reconcile list with the same flags shows them. Each becomes a
proposal of its own, all of them or, if one is refused, none.`,
		Example: `  acqswitch reconcile dispose 3 --as claim --by wang --reason "their file of the 22nd lacks it"
  acqswitch reconcile dispose --issuer unionpay --date 2026-11-22 --cause "the issuer does not have it" --as claim \
    --by wang --reason "their second file is missing, case 4711"`,
		RunE: func(cmd *cobra.Command, given []string) error {
			numbers, err := numbersOf(given)
			if err != nil {
				return err
			}
			filter, err := of.filter()
			if err != nil {
				return err
			}
			if alike := filter.Issuer != "" && filter.Day != 0 && filter.Cause != ""; alike == (len(numbers) > 0) || !alike && of != (filterFlags{}) {
				return usage(errors.New("name the exceptions by their numbers, or by --issuer, --date and --cause"))
			}
			if !slices.Contains(reconcile.Dispositions, d.As) {
				return usage(fmt.Errorf("--as %q must be one of %s", d.As, strings.Join(reconcile.Dispositions, ", ")))
			}
			return f.queue(cmd.Context(), func(_ *config, _ *ledger.Ledger, q *reconcile.Queue) error {
				if len(numbers) == 0 {
					found, err := q.List(cmd.Context(), filter)
					if err != nil {
						return err
					}
					for i := range found {
						numbers = append(numbers, found[i].Number)
					}
				}
				if len(numbers) == 0 {
					return approval.Refuse("no open exception is of this issuer and day and has this cause")
				}
				all := make([]reconcile.Disposition, len(numbers))
				for i, n := range numbers {
					all[i] = reconcile.Disposition{Exception: n, As: d.As, Merchant: d.Merchant}
				}
				proposals, err := q.Propose(cmd.Context(), all, f.by, f.reason)
				if err != nil {
					return err
				}
				return c.doneAll(proposals, fmt.Sprintf("proposed; another person must approve it (reconcile approve %s)", ranges(proposals)))
			})
		},
	}, true)
	of.on(cmd)
	cmd.Flags().StringVar(&d.As, "as", "", "write-off, adjust, claim or resend")
	cmd.Flags().StringVar(&d.Merchant, "merchant", "", "whose books a correction is in, where the exception does not say it")
	return cmd
}

// deciding is a command that decides proposals of dispositions.
func deciding(c *console, use, short, done string, decide func(*reconcile.Queue, context.Context, []int64, string, string) error) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: use + " NUMBER...", Short: short, Args: argsFrom(1, reconcile.ListMax, "the numbers of proposals"),
		Long: short + ".\n\nIt takes one proposal or several (4 7 9-12): all of them are " + done + ", or none.",
		Example: fmt.Sprintf(`  acqswitch reconcile %s 4 --by li --reason "compared with their summary"
  acqswitch reconcile %[1]s 4-303 --by li --reason "their desk confirms it, case 4711"`, use),
		RunE: func(cmd *cobra.Command, given []string) error {
			numbers, err := numbersOf(given)
			if err != nil {
				return err
			}
			return f.queue(cmd.Context(), func(_ *config, _ *ledger.Ledger, q *reconcile.Queue) error {
				if err := decide(q, cmd.Context(), numbers, f.by, f.reason); err != nil {
					return err
				}
				return c.doneAll(numbers, done)
			})
		},
	}, true)
}

// numbersOf reads numbers and ranges of them, as 3 and 9-12, in order and each once.
func numbersOf(given []string) ([]int64, error) {
	var all []int64
	for _, text := range given {
		from, to, ranged := strings.Cut(text, "-")
		first, err := number(from)
		last := first
		if err == nil && ranged {
			last, err = number(to)
		}
		if err == nil && (last < first || last-first >= reconcile.ListMax) {
			err = usage(fmt.Errorf("%q must be a number, or the first and the last of at most %d", text, reconcile.ListMax))
		}
		if err != nil {
			return nil, err
		}
		for n := range last - first + 1 { // not up to last, which may be the greatest there is
			all = append(all, first+n)
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > reconcile.ListMax {
		return nil, usage(fmt.Errorf("%d numbers are given, at most %d are taken at once", len(all), reconcile.ListMax))
	}
	return all, nil
}

// ranges writes numbers that are in order as numbersOf reads them.
func ranges(numbers []int64) string {
	var words []string
	for i := 0; i < len(numbers); {
		first := i
		for i++; i < len(numbers) && numbers[i] == numbers[i-1]+1; i++ {
		}
		word := fmt.Sprint(numbers[first])
		if i-1 > first {
			word += fmt.Sprint("-", numbers[i-1])
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// doneAll is done of several.
func (c *console) doneAll(numbers []int64, what string) error {
	if c.json() {
		return c.print(map[string]any{"number": numbers[0], "numbers": numbers})
	}
	_, err := fmt.Fprintf(c.out, "%s: %s\n", ranges(numbers), what)
	return err
}
