package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func payoutCommand(c *console) *cobra.Command {
	f := &actFlags{}
	check := f.on(&cobra.Command{
		Use: "check", Short: "Say whether payouts and calendar can be used", Args: noArgs,
		Example: "  acqswitch payout check --config acqswitch.yaml",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			t, err := cfg.payoutTerms()
			if err != nil {
				return err
			}
			years, untold := t.Calendar.Years()
			if c.json() {
				return c.print(map[string]any{"sha256": t.Sum(), "years": years, "years_without_holidays": append([]int{}, untold...), "unusable": append([]string{}, t.Unusable...)})
			}
			for _, year := range untold {
				fmt.Fprintf(c.out, "warning: the calendar lists no holidays of %d, so its days are not settled\n", year)
			}
			for _, why := range t.Unusable {
				fmt.Fprintln(c.out, "not payable:", why)
			}
			_, err = fmt.Fprintln(c.out, "ok", t.Sum(), "working days are known of", years)
			return err
		},
	}, false)
	h := &actFlags{}
	hold := h.on(&cobra.Command{
		Use: "hold", Short: "Hold a merchant's payouts from the next run on", Args: noArgs,
		Long: `hold keeps what a merchant is owed from being paid, until the hold is released:
for a risk alert, an inspection, a dispute. It is carried forward meanwhile. The same
call again changes nothing.`,
		Example: `  acqswitch payout hold --merchant 999290054110001 --by wang --reason "alert 17: card testing"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := because(h.reason); err != nil {
				return err
			}
			merchant, err := h.known()
			if err != nil {
				return err
			}
			return h.open(cmd.Context(), func(l *ledger.Ledger, _ *approval.Desk) error {
				n, err := settlement.Hold(cmd.Context(), l, merchant, h.by, h.reason)
				if err != nil {
					return err
				}
				return c.done(n, "payouts are held from the next run on")
			})
		},
	}, true)
	hold.Flags().StringVar(&h.merchant, "merchant", "", "merchant id (DE42)")
	r := &actFlags{}
	release := r.on(&cobra.Command{
		Use: "release NUMBER", Short: "Propose to release a hold, or a payout that came back", Args: args(1, "one number"),
		Long: `release proposes that a hold ends, or that the account a payout came back from is in
order. What lets money go takes two people: when another person approves it (proposal
approve), the next run pays.`,
		Example: `  acqswitch payout release 3 --by li --reason "inspected, in order"`,
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := r.decides(given[0])
			if err != nil {
				return err
			}
			return r.open(cmd.Context(), func(l *ledger.Ledger, _ *approval.Desk) error {
				n, err := settlement.ProposeRelease(cmd.Context(), l, n, r.by, r.reason)
				if err != nil {
					return err
				}
				return c.proposed(n)
			})
		},
	}, true)
	return group("payout", "Check how merchants are paid; hold and release payouts; take the bank's answers", check, answerCommand(c), paymentsCommand(c),
		hold, release, holdsCommand(c))
}

func holdsCommand(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "holds", Short: "Show holds, standing and released", Example: "  acqswitch payout holds --config acqswitch.yaml", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.open(cmd.Context(), func(l *ledger.Ledger, _ *approval.Desk) error {
				type line struct {
					Number     int64  `json:"number"`
					Merchant   string `json:"merchant"`
					Since      string `json:"since"`
					By         string `json:"by"`
					Reason     string `json:"reason"`
					ReleasedBy string `json:"released_by,omitempty"`
					Why        string `json:"released_because,omitempty"`
				}
				var lines []line
				all, err := settlement.Holds(cmd.Context(), l)
				for _, h := range all {
					x := line{Number: h.Number, Merchant: h.Merchant.String(), Since: h.At.Format(time.RFC3339), By: h.Who, Reason: h.Reason}
					if h.Released != nil {
						x.ReleasedBy, x.Why = h.Released.Who, h.Released.Reason
					}
					lines = append(lines, x)
				}
				if err != nil {
					return err
				}
				return printTable(c, "NUMBER\tMERCHANT\tSINCE\tBY\tREASON\tRELEASED BY\tBECAUSE", lines, func(x *line) []any {
					return []any{x.Number, x.Merchant, x.Since, x.By, x.Reason, x.ReleasedBy, x.Why}
				})
			})
		},
	}, false)
}

func correctionCommand(c *console) *cobra.Command {
	f := &actFlags{}
	var debit, credit, amount, currency string
	propose := f.on(&cobra.Command{
		Use: "propose", Short: "Propose to move money between two accounts of a merchant", Args: noArgs,
		Long: `propose records a correction that another person must approve. The next run after
that books it as a new entry; nothing that is booked is ever changed. To pay out
what waits in suspense, debit 2900 and credit 2100. Nothing moves 2200 but what the
bank says (payout answer). The same call again, before somebody has decided, is the
same proposal.`,
		Example: `  acqswitch correction propose --merchant 999290054110001 --debit 2900 --credit 2100 --amount 9.99 --by wang --reason "plan was missing on 2026-11-20"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := because(f.reason); err != nil {
				return err
			}
			merchant, err := f.known()
			if err != nil {
				return err
			}
			x := settlement.Correction{Merchant: merchant.String()}
			if x.Currency, err = txn.ParseCurrency(currency); err != nil {
				return usage(fmt.Errorf("--currency: %w", err))
			}
			if x.Debit, err = settlement.ParseAccount(debit); err != nil {
				return usage(fmt.Errorf("--debit: %w", err))
			}
			if x.Credit, err = settlement.ParseAccount(credit); err != nil {
				return usage(fmt.Errorf("--credit: %w", err))
			}
			parsed, err := txn.ParseAmount(amount, x.Currency)
			if err != nil {
				return usage(fmt.Errorf("--amount: %w", err))
			}
			x.Minor = parsed.Minor
			return f.open(cmd.Context(), func(_ *ledger.Ledger, desk *approval.Desk) error {
				n, err := settlement.ProposeCorrection(cmd.Context(), desk, x, f.by, f.reason)
				if err != nil {
					return err
				}
				return c.done(n, fmt.Sprintf("proposed; another person must approve it (correction approve %d)", n))
			})
		},
	}, true)
	fl := propose.Flags()
	fl.StringVar(&f.merchant, "merchant", "", "merchant id (DE42)")
	fl.StringVar(&debit, "debit", "", "account to debit, by number or name")
	fl.StringVar(&credit, "credit", "", "account to credit")
	fl.StringVar(&amount, "amount", "", "in major units, as 9.99")
	fl.StringVar(&currency, "currency", "CNY", "ISO 4217, three letters")
	approve := ending(c, "approve", "Approve a correction that another person proposed", `  acqswitch correction approve 4 --by li --reason "checked against the merchant's slip"`,
		"approved; the next run books it", func(ctx context.Context, _ *ledger.Ledger, desk *approval.Desk, n int64, f *actFlags) error {
			return settlement.ApproveCorrection(ctx, desk, n, f.by, f.reason)
		})
	reject := ending(c, "reject", "Reject a correction", `  acqswitch correction reject 4 --by li --reason "the amount is wrong"`,
		"rejected", func(ctx context.Context, _ *ledger.Ledger, desk *approval.Desk, n int64, f *actFlags) error {
			return settlement.RejectCorrection(ctx, desk, n, f.by, f.reason)
		})
	return group("correction", "Correct the books, by two people", propose, approve, reject, correctionsCommand(c))
}

func correctionsCommand(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "list", Short: "Show corrections and what became of them", Example: "  acqswitch correction list --config acqswitch.yaml", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.open(cmd.Context(), func(l *ledger.Ledger, desk *approval.Desk) error {
				booked, err := settlement.Booked(cmd.Context(), l)
				if err != nil {
					return err
				}
				all, err := desk.List(cmd.Context(), approval.Filter{Subject: settlement.CorrectionSubject})
				if err != nil {
					return err
				}
				type line struct {
					Number   int64          `json:"number"`
					Merchant string         `json:"merchant"`
					Amount   string         `json:"amount"`
					Debit    string         `json:"debit"`
					Credit   string         `json:"credit"`
					By       string         `json:"by"`
					Reason   string         `json:"reason"`
					State    approval.State `json:"state"`
					Decider  string         `json:"decider,omitempty"`
					Booked   string         `json:"booked,omitempty"` // business day of the run
				}
				var lines []line
				for i := range all {
					p := &all[i]
					x, err := settlement.ReadCorrection(p)
					if err != nil {
						return err
					}
					y := line{p.Number, x.Merchant, txn.Amount{Minor: x.Minor, Currency: x.Currency}.InLetters(), x.Debit, x.Credit, p.By, p.Reason, p.State, p.Decider, ""}
					if day := booked[p.Number]; day != 0 {
						y.Booked = day.String()
					}
					lines = append(lines, y)
				}
				return printTable(c, "NUMBER\tMERCHANT\tAMOUNT\tDEBIT\tCREDIT\tBY\tREASON\tSTATE\tDECIDED BY\tBOOKED", lines, func(x *line) []any {
					return []any{x.Number, x.Merchant, x.Amount, x.Debit, x.Credit, x.By, x.Reason, x.State, x.Decider, x.Booked}
				})
			})
		},
	}, false)
}
