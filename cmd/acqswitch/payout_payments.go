package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func answerCommand(c *console) *cobra.Command {
	f := &actFlags{}
	cmd := f.on(&cobra.Command{
		Use: "answer FILE", Short: "Take what the bank says to payments", Args: args(1, "one file"),
		Long: `answer reads what the bank says to payments: an ISO 20022 pain.002, or a CSV with the
columns end_to_end and status (paid, pending, rejected, returned) and, if wanted, amount
and reason. The next run that begins books it: what was paid is ordered no more; what was
rejected or returned is the merchant's again. It is not paid to the same account before
that is another one, or two people say that it is in order ("payout release").

The same answers again change nothing. A file with a bad line, a payment that was never
ordered, another amount, or a contradiction is refused as a whole, with line and field
(exit code 2).`,
		Example: `  acqswitch payout answer pain.002.xml --by wang
  printf 'end_to_end,status,reason\n20261122-999290054110001-CNY,returned,AC04 closed account\n' > answers.csv
  acqswitch payout answer answers.csv --by wang`,
		RunE: func(cmd *cobra.Command, given []string) error {
			file, err := os.Open(given[0])
			if err != nil {
				return usage(fmt.Errorf("open the bank's answers: %w", err))
			}
			defer file.Close()
			return f.open(cmd.Context(), func(l *ledger.Ledger, _ *approval.Desk) error {
				r, err := settlement.AnswerPayouts(cmd.Context(), settlement.AnswersInput{Ledger: l, Name: given[0], File: file, By: f.by, Now: time.Now()})
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(r)
				}
				_, err = fmt.Fprintf(c.out, "%s: %d paid, %d came back, %d pending, %d known before; the next run books what is new\n", r.File, r.Paid, r.Back, r.Pending, r.Known)
				return err
			})
		},
	}, false)
	cmd.Flags().StringVar(&f.by, "by", login(), "who imports it")
	return cmd
}

type paymentRow struct {
	EndToEnd string `json:"end_to_end"`
	Merchant string `json:"merchant"`
	Currency string `json:"currency"`
	Amount   int64  `json:"amount"`
	Executes string `json:"executes"`
	Status   string `json:"status"`
	Answered string `json:"answered,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Act      int64  `json:"act,omitempty"`
	code     txn.Currency
}

var paymentColumns = []listColumn{{"end_to_end", "PAYMENT", 30}, {"merchant", "MERCHANT", 15}, {"currency", "", 3}, {"amount", "AMOUNT", -14}, {"executes", "EXECUTES", 10},
	{"status", "STATUS", 8}, {"answered", "ANSWERED", 20}, {"act", "ACT", -4}, {"reason", "REASON", 0}}

func (r paymentRow) cells() []string {
	act := ""
	if r.Act != 0 {
		act = fmt.Sprint(r.Act)
	}
	return []string{r.EndToEnd, r.Merchant, r.Currency, majors(r.code, r.Amount)[0], r.Executes, r.Status, r.Answered, act, r.Reason}
}

func paymentsCommand(c *console) *cobra.Command {
	var on dayFlags
	var status string
	cmd := &cobra.Command{
		Use: "list", Short: "Show a day's payments and what the bank said to them", Args: noArgs,
		Long: `list shows the payments that a settled day's run ordered: ordered is what the bank has
not answered, paid what it has paid, back what it has not paid or what came back. ACT of
one that came back is the number to release it by. JSON is one object a line with amounts
in minor units.`,
		Example: `  acqswitch payout list --date 2026-11-22 --status back
  acqswitch payout list --date 2026-11-22 -o csv > payments.csv`,
		Annotations: map[string]string{listsRows: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, day, err := on.read()
			if err != nil {
				return err
			}
			if status != "" && status != string(settlement.Ordered) && status != string(settlement.IsPaid) && status != string(settlement.IsBack) {
				return usage(fmt.Errorf("--status %q must be ordered, paid or back", status))
			}
			return listLedger(c, &on.dataFlags, paymentColumns, func(l *openedLedger, add func(listed) error) error {
				return settlement.Payments(cmd.Context(), l.Ledger, day, func(p *settlement.Payment) error {
					if status != "" && status != string(p.Status) {
						return nil
					}
					r := paymentRow{p.EndToEnd, p.Merchant.String(), p.Amount.Currency.Letters(), p.Amount.Minor, p.Executes.String(), string(p.Status), "", p.Reason, p.Act, p.Amount.Currency}
					if !p.Answered.IsZero() {
						r.Answered = p.Answered.Format(time.RFC3339)
					}
					return add(r)
				})
			})
		},
	}
	on.register(cmd)
	cmd.Flags().StringVar(&status, "status", "", "only those that are ordered, paid or back")
	return cmd
}
