package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// bench calls fn with the workbench of the configuration, once it has alerts of all
// that the ledger's findings say.
func (f *actFlags) bench(ctx context.Context, fn func(*alert.Workbench) error) error {
	return f.books(ctx, func(b *books) error {
		w := alert.New(b.db)
		err := w.Migrate(ctx)
		for n := 1; n > 0 && err == nil; {
			n, err = w.Collect(ctx)
		}
		if err != nil {
			return err
		}
		return fn(w)
	})
}

func alertCommand(c *console) *cobra.Command {
	return group("alert", "Look at what rules found, decide about it, and watch merchants and terminals",
		alertListCommand(c), alertShowCommand(c), alertAssignCommand(c), alertDisposeCommand(c), alertWatchCommand(c), alertCodesCommand(c))
}

func alertListCommand(c *console) *cobra.Command {
	f, filter, state := &actFlags{}, alert.Filter{}, ""
	cmd := f.on(&cobra.Command{
		Use: "list", Short: "List alerts: those that wait for somebody, or those of a state", Args: noArgs,
		Long: `list shows the alerts that are not disposed of, oldest first, or those that the
flags choose. An alert is what one rule found about one merchant, terminal or
card; what it finds again is counted until the alert is disposed of.`,
		Example: `  acqswitch alert list
  acqswitch alert list --assignee "Li Na" -o json
  acqswitch alert list --state disposed --rule R04`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if state != "" {
				if filter.State, err = alert.ParseState(state); err != nil {
					return usage(fmt.Errorf("--state: %w", err))
				}
			}
			if filter.Rule != "" {
				if _, err := txn.ParseRule(filter.Rule); err != nil {
					return usage(fmt.Errorf("--rule: %w", err))
				}
			}
			return f.bench(cmd.Context(), func(w *alert.Workbench) error {
				all, err := w.List(cmd.Context(), filter)
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(map[string]any{"alerts": append([]alert.Alert{}, all...)})
				}
				return writeTable(c.out, "number\trule\tabout\tdid\ttimes\tlast\tstate\tassignee\tdecided", all, func(a *alert.Alert) []any {
					decided := ""
					if a.Decision != nil {
						decided = a.Decision.RiskType + " " + strings.Join(a.Decision.Dispositions, ",")
					}
					return []any{a.Number, a.Rule, about(a), a.Action, a.Count, a.Last.Local().Format(time.DateTime), a.State, a.Assignee, decided}
				})
			})
		},
	}, false)
	cmd.Flags().StringVar(&state, "state", "", "open, assigned or disposed; empty is the first two")
	cmd.Flags().StringVar(&filter.Rule, "rule", "", "of this rule only, such as R04")
	cmd.Flags().StringVar(&filter.Merchant, "merchant", "", "about this merchant only")
	cmd.Flags().StringVar(&filter.Assignee, "assignee", "", "of this person only")
	return cmd
}

// about is what an alert is about, in words.
func about(a *alert.Alert) string {
	switch {
	case a.Card != "":
		return "card " + a.Card[:min(8, len(a.Card))]
	case a.Terminal != "":
		return "terminal " + a.Terminal + " of " + a.Merchant
	}
	return "merchant " + a.Merchant
}

// numbered is a command about one alert.
func numbered(c *console, f *actFlags, cmd *cobra.Command, deciding bool, do func(context.Context, *alert.Workbench, int64) (alert.Alert, error)) *cobra.Command {
	cmd.Use += " NUMBER"
	cmd.Args = args(1, "one number")
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		n, err := number(given[0])
		if err != nil {
			return err
		}
		return f.bench(cmd.Context(), func(w *alert.Workbench) error {
			a, err := do(cmd.Context(), w, n)
			if err != nil {
				return err
			}
			if c.json() {
				return c.print(a)
			}
			return printAlert(c.out, &a)
		})
	}
	f.on(cmd, false)
	if deciding {
		cmd.Flags().StringVar(&f.by, "by", login(), "who decides")
	}
	return cmd
}

func alertShowCommand(c *console) *cobra.Command {
	return numbered(c, &actFlags{}, &cobra.Command{
		Use: "show", Short: "Show an alert with its transactions and what was done about it",
		Example: "  acqswitch alert show 12\n  acqswitch alert show 12 -o json | jq .evidence",
	}, false, func(ctx context.Context, w *alert.Workbench, n int64) (alert.Alert, error) { return w.Get(ctx, n) })
}

func alertAssignCommand(c *console) *cobra.Command {
	f, to := &actFlags{}, ""
	cmd := numbered(c, f, &cobra.Command{
		Use: "assign", Short: "Give an alert to somebody",
		Example: `  acqswitch alert assign 12 --to "Li Na" --by Wang`,
	}, true, func(ctx context.Context, w *alert.Workbench, n int64) (alert.Alert, error) {
		if to == "" {
			return alert.Alert{}, usage(errors.New("--to must say who has it from now on"))
		}
		return w.Assign(ctx, n, to, f.by)
	})
	cmd.Flags().StringVar(&to, "to", "", "who has it from now on")
	return cmd
}

func alertDisposeCommand(c *console) *cobra.Command {
	f, d := &actFlags{}, alert.Decision{}
	cmd := numbered(c, f, &cobra.Command{
		Use: "dispose", Short: "Decide an assigned alert",
		Long: `dispose says what an alert turned out to be and what is done about it, in the
payment association's codes (alert codes lists them). Some are done at once:

  03, 04, 06  the merchant's payouts are held until two people release them
              (payout release)
  08          the merchant's card payments are refused, and it is suspended
  09          the terminal's card payments are refused, and it is suspended, until
              it is fetched
  10          the merchant is watched one level higher (alert watch)

Merchants and terminals are suspended where the registry is in the database. Where a
rule held payouts and none of the first three is said, it is proposed to release
them: when another person approves that (proposal approve), they go on.`,
		Example: `  acqswitch alert dispose 12 --risk 02 --disposition 06,10 --by "Li Na" --note "called, no explanation"
  acqswitch alert dispose 13 --risk 99 --disposition 99 --by "Li Na" --note "a wedding"`,
	}, true, func(ctx context.Context, w *alert.Workbench, n int64) (a alert.Alert, err error) {
		if err := d.Check(); err != nil {
			return a, usage(err)
		}
		cfg, err := f.config()
		if err != nil {
			return a, err
		}
		if cfg.RegistryFrom == "file" {
			return w.Dispose(ctx, n, d, f.by, nil)
		}
		err = cfg.withOffice(func(o *office.Office) error {
			a, err = w.Dispose(ctx, n, d, f.by, o)
			return err
		})
		return a, err
	})
	cmd.Flags().StringVar(&d.RiskType, "risk", "", "risk type, 01 to 99")
	cmd.Flags().StringVar(&d.Source, "source", "QT", "who said so")
	cmd.Flags().StringSliceVar(&d.Dispositions, "disposition", nil, "what is done, 01 to 11 or 99; several with commas")
	cmd.Flags().StringVar(&d.Note, "note", "", "for those who read it later")
	return cmd
}

func printAlert(out io.Writer, a *alert.Alert) error {
	fmt.Fprintf(out, "alert %d: rule %s about %s, %s, %s from %s to %s\n", a.Number, a.Rule, about(a), a.Action, plural(int(a.Count), "time"),
		a.First.Local().Format(time.DateTime), a.Last.Local().Format(time.DateTime))
	fmt.Fprintf(out, "%s, assignee %s\n", a.State, cmp.Or(a.Assignee, "nobody"))
	if a.Hold != 0 {
		fmt.Fprintf(out, "payouts are held by %d (payout holds)\n", a.Hold)
	}
	if a.Proposal != 0 {
		fmt.Fprintf(out, "that they go on is proposed; another person must approve it (proposal approve %d)\n", a.Proposal)
	}
	if d := a.Decision; d != nil {
		fmt.Fprintf(out, "risk type %s, source %s, disposition %s\n", d.RiskType, d.Source, strings.Join(d.Dispositions, ", "))
	}
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if len(a.Evidence) > 0 {
		fmt.Fprintln(t, "\nat\tRRN\tmerchant\tterminal\tcard\tamount\tanswered\tdid\tsaw\tof\tpolicy")
	}
	for i := range a.Evidence {
		e := &a.Evidence[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", e.At.Local().Format(time.DateTime), e.RRN, e.Merchant, e.Terminal, cmp.Or(e.Card, "-"),
			txn.Amount{Minor: e.Minor, Currency: txn.Currency(e.Currency)}.InLetters(), e.Reason, e.Action, e.Seen, e.Bound, e.Policy)
	}
	if n := a.Count - int64(len(a.Evidence)); n > 0 && len(a.Evidence) > 0 {
		fmt.Fprintf(t, "and %d more\n", n)
	}
	if len(a.History) > 0 {
		fmt.Fprintln(t, "\nat\tby\tact")
	}
	for _, x := range a.History {
		fmt.Fprintf(t, "%s\t%s\t%s %s\n", x.At.Local().Format(time.DateTime), x.By, x.Act, x.Text)
	}
	return t.Flush()
}

func alertWatchCommand(c *console) *cobra.Command {
	f, p, level := &actFlags{}, alert.Party{}, ""
	cmd := f.on(&cobra.Command{
		Use: "watch", Short: "List who is watched, or watch a merchant or terminal at a level", Args: noArgs,
		Long: `watch without --level lists who is watched. The levels, each with what those
below it do: suspicious (it is on the list), attention (its payments are alerted),
warning (its payouts are held), high-risk (its payments are refused), none (it is
on the list no more). More closely is done at once; less closely is proposed, and
another person approves it (proposal approve). A running switch follows within a
second. Who is not in the registry is not watched (exit code 3).`,
		Example: `  acqswitch alert watch
  acqswitch alert watch --merchant 999290054110001 --level attention --by Wang --reason "police asked"
  acqswitch alert watch --terminal 10000001 --level none --by Wang --reason "fetched, cleaned"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if level == "" && p != (alert.Party{}) {
				return usage(errors.New("--level must say how closely"))
			}
			var to txn.Level
			if level != "" {
				if (p.Merchant == "") == (p.Terminal == "") {
					return usage(errors.New("--merchant or --terminal must name whom"))
				}
				var err error
				if to, err = txn.ParseLevel(level); err != nil {
					return usage(fmt.Errorf("--level: %w", err))
				}
				if err := because(f.reason); err != nil {
					return err
				}
				if to != txn.Unwatched { // who has left the registry can leave the list, too
					if err := f.watchable(ctx, p); err != nil {
						return err
					}
				}
			}
			return f.bench(ctx, func(w *alert.Workbench) error {
				proposal := int64(0)
				if level != "" {
					var err error
					if proposal, err = w.SetLevel(ctx, p, to, f.by, f.reason); err != nil {
						return err
					}
				}
				list, version, err := w.Watch(ctx)
				if err != nil {
					return err
				}
				if c.json() {
					said := map[string]any{"version": version, "watched": append([]alert.Watched{}, list...)}
					if proposal != 0 {
						said["proposal"] = proposal
					}
					return c.print(said)
				}
				if proposal != 0 {
					fmt.Fprintf(c.out, "proposal %d: another person must approve it (proposal approve %d)\n", proposal, proposal)
				}
				return writeTable(c.out, "merchant\tterminal\tlevel\tsince\tby\twhy", list, func(x *alert.Watched) []any {
					return []any{x.Merchant, x.Terminal, x.Level, x.At.Local().Format(time.DateTime), x.By, x.Reason}
				})
			})
		},
	}, true)
	cmd.Flags().StringVar(&p.Merchant, "merchant", "", "the merchant")
	cmd.Flags().StringVar(&p.Terminal, "terminal", "", "or the terminal")
	cmd.Flags().StringVar(&level, "level", "", "none, suspicious, attention, warning or high-risk")
	return cmd
}

// watchable refuses a party that is not in the registry: to watch a mistyped one would
// be to watch nobody.
func (f *actFlags) watchable(ctx context.Context, p alert.Party) error {
	if f.merchant = p.Merchant; p.Merchant != "" {
		_, err := f.known()
		return err
	}
	cfg, err := f.config()
	if err != nil {
		return err
	}
	return knownTerminal(ctx, cfg, p.Terminal)
}

func alertCodesCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "codes", Short: "List the codes of risk types, dispositions and sources", Args: noArgs,
		Example: "  acqswitch alert codes",
		RunE: func(*cobra.Command, []string) error {
			if c.json() {
				return c.print(map[string]any{"risk_types": alert.RiskTypes, "dispositions": alert.Dispositions, "sources": alert.Sources})
			}
			t := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
			for _, l := range []struct {
				what string
				list []alert.Code
			}{{"risk type", alert.RiskTypes}, {"disposition", alert.Dispositions}, {"source", alert.Sources}} {
				for _, x := range l.list {
					fmt.Fprintf(t, "%s\t%s\t%s\n", l.what, x.Code, x.Name)
				}
			}
			return t.Flush()
		},
	}
}
