package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func ledgerPositionsCommand(c *console) *cobra.Command {
	var on dayFlags
	// each runs what lists positions after a day; 0 is the last settled one.
	each := func(cmd *cobra.Command, columns []listColumn, list func(context.Context, *openedLedger, txn.Date, func(listed) error) error) *cobra.Command {
		cmd.Annotations = map[string]string{listsRows: ""}
		cmd.Args = noArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			var day txn.Date
			var err error
			if on.date != "" {
				if day, err = readDay(on.date); err != nil {
					return err
				}
			}
			return listLedger(c, &on.dataFlags, columns, func(l *openedLedger, add func(listed) error) error { return list(cmd.Context(), l, day, add) })
		}
		on.register(cmd)
		cmd.Flags().Lookup("date").Usage = "after the run of this business day; empty is the last settled one"
		return cmd
	}
	const told = `
Balances are sums of postings: of all runs up to that of the day. Where a day up to it
has transactions and is not settled, it is refused with exit code 3. JSON is one object
a line with amounts in minor units.`
	merchants := each(&cobra.Command{
		Use:   "merchants",
		Short: "Show what is owed to merchants",
		Long: `merchants lists what is owed to each merchant after a settled day: OWED is carried
forward (2100), RESERVE is kept back for later (2300), SUSPENSE waits for a price
(2900), DISPUTED for the end of a case (2600), ORDERED is what the bank has been told
to pay and has not answered (2200). Then what the day's run made of it: opening + net
+ corrections + returned + disputes + released - reserved - paid = owed, when the bank
is to pay, and why payouts are held.` + told,
		Example: `  acqswitch ledger positions merchants --date 2026-11-22
  acqswitch ledger positions merchants -o csv > positions.csv`,
	}, merchantColumns, func(ctx context.Context, l *openedLedger, day txn.Date, add func(listed) error) error {
		return settlement.MerchantPositions(ctx, l.Ledger, day, l.zone, func(p *settlement.MerchantPosition) error { return add(newMerchantRow(p)) })
	})
	issuers := each(&cobra.Command{
		Use:   "issuers",
		Short: "Show what is to come from issuers",
		Long: `issuers lists what clearing with each issuer brings: of the day's run sales, refunds,
interchange and network fees, which are kept back, and DAY, what is to come of that;
BALANCE is what all runs up to it brought (1100).` + told,
		Example: `  acqswitch ledger positions issuers --date 2026-11-22
  acqswitch ledger positions issuers -o json | jq .balance`,
	}, issuerColumns, func(ctx context.Context, l *openedLedger, day txn.Date, add func(listed) error) error {
		return settlement.IssuerPositions(ctx, l.Ledger, day, func(p *settlement.IssuerPosition) error { return add(newIssuerRow(p)) })
	})
	return group("positions", "Show what is owed to whom", merchants, issuers)
}

func ledgerFiguresCommand(c *console) *cobra.Command {
	var on dayFlags
	var from, to string
	cmd := &cobra.Command{
		Use:   "figures",
		Short: "Show what business days came to",
		Long: `figures lists business days, one row for each day and currency: how many requests there
were to move money or pre-authorize it, how many were approved, and what the day came
to. Of a settled day these are the totals of its run, as settle printed them. Of an open
day transactions, sales and refunds are what would count now, and the rest is zero. JSON is one object a line with amounts in minor units.`,
		Example: `  acqswitch ledger figures --from 2026-11-01 --to 2026-11-30
  acqswitch ledger figures --from 2026-11-01 -o csv > november.csv`,
		Annotations: map[string]string{listsRows: ""},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listLedger(c, &on.dataFlags, figureColumns, func(l *openedLedger, add func(listed) error) error {
				first, last, err := days(l.config, on.date, from, to)
				if err != nil {
					return err
				}
				return settlement.Figures(cmd.Context(), l.Ledger, first, last, func(f *settlement.Figure) error {
					return add(figureRow{f.Date.String(), f.State, f.Requests, f.Approved, f.Totals})
				})
			})
		},
	}
	on.register(cmd)
	rangeFlags(cmd, &from, &to)
	return cmd
}

// listLedger writes what list finds in the ledger of a configuration.
func listLedger(c *console, of *dataFlags, columns []listColumn, list func(*openedLedger, func(listed) error) error) error {
	l, err := of.openLedger()
	if err != nil {
		return err
	}
	defer l.Close()
	out := c.list(columns)
	err = list(l, out.add)
	if err == nil || out.rows > 0 {
		err = cmp.Or(err, out.close()) // the output that failed fails again
	}
	return err
}

type merchantRow struct {
	Date        string `json:"date"`
	Merchant    string `json:"merchant"`
	Currency    string `json:"currency"`
	Owed        int64  `json:"owed"`
	Reserve     int64  `json:"reserve"`
	Suspense    int64  `json:"suspense"`
	Disputed    int64  `json:"disputed"`
	Ordered     int64  `json:"ordered"`
	Opening     int64  `json:"opening"`
	Net         int64  `json:"net"`
	Corrections int64  `json:"corrections"`
	Returned    int64  `json:"returned"`
	Disputes    int64  `json:"disputes"`
	Released    int64  `json:"released"`
	Reserved    int64  `json:"reserved"`
	Paid        int64  `json:"paid"`
	Executes    string `json:"executes,omitempty"`
	Held        string `json:"held,omitempty"`
	code        txn.Currency
}

var merchantColumns = []listColumn{{"date", "DATE", 10}, {"merchant", "MERCHANT", 15}, {"currency", "", 3}, {"owed", "OWED", -14}, {"reserve", "RESERVE", -14},
	{"suspense", "SUSPENSE", -14}, {"disputed", "DISPUTED", -14}, {"ordered", "ORDERED", -14}, {"opening", "opening", -14}, {"net", "net", -14}, {"corrections", "corrections", -14},
	{"returned", "returned", -14}, {"disputes", "disputes", -14}, {"released", "released", -14}, {"reserved", "reserved", -14}, {"paid", "paid", -14}, {"executes", "executes", 10}, {"held", "held", 0}}

func newMerchantRow(p *settlement.MerchantPosition) merchantRow {
	r := merchantRow{p.Date.String(), p.Merchant.String(), p.Currency.Letters(), p.Owed, p.Reserve, p.Suspense, p.Disputed, p.Ordered, p.Opening, p.Net, p.Corrections,
		p.Returned, p.Disputes, p.Released, p.Reserved, p.Paid, "", p.Held, p.Currency}
	if p.Executes != 0 {
		r.Executes = p.Executes.String()
	}
	return r
}

func (r merchantRow) cells() []string {
	cells := append([]string{r.Date, r.Merchant, r.Currency}, majors(r.code, r.Owed, r.Reserve, r.Suspense, r.Disputed, r.Ordered, r.Opening, r.Net, r.Corrections,
		r.Returned, r.Disputes, r.Released, r.Reserved, r.Paid)...)
	return append(cells, r.Executes, r.Held)
}

type issuerRow struct {
	Date        string `json:"date"`
	Issuer      string `json:"issuer"`
	Currency    string `json:"currency"`
	Sales       int64  `json:"sales"`
	Refunds     int64  `json:"refunds"`
	Interchange int64  `json:"interchange"`
	Network     int64  `json:"network_fees"`
	Day         int64  `json:"day"`
	Balance     int64  `json:"balance"`
	code        txn.Currency
}

var issuerColumns = []listColumn{{"date", "DATE", 10}, {"issuer", "ISSUER", 12}, {"currency", "", 3}, {"sales", "sales", -16}, {"refunds", "refunds", -16},
	{"interchange", "interchange", -14}, {"network_fees", "network fees", -14}, {"day", "DAY", -16}, {"balance", "BALANCE", -16}}

func newIssuerRow(p *settlement.IssuerPosition) issuerRow {
	return issuerRow{p.Date.String(), p.Issuer.String(), p.Currency.Letters(), p.Sales, p.Refunds, p.Interchange, p.Network, p.Day, p.Balance, p.Currency}
}

func (r issuerRow) cells() []string {
	return append([]string{r.Date, r.Issuer, r.Currency}, majors(r.code, r.Sales, r.Refunds, r.Interchange, r.Network, r.Day, r.Balance)...)
}

// majors are amounts of one currency in major units.
func majors(c txn.Currency, minor ...int64) []string {
	cells := make([]string, len(minor))
	for i, n := range minor {
		cells[i] = txn.Amount{Minor: n, Currency: c}.Major()
	}
	return cells
}

type figureRow struct {
	Date     string `json:"date"`
	State    string `json:"state"`
	Requests int64  `json:"requests"`
	Approved int64  `json:"approved"`
	settlement.Totals
}

var figureColumns = []listColumn{{"date", "DATE", 10}, {"state", "STATE", 6}, {"currency", "", 3}, {"requests", "REQUESTS", -10}, {"approved", "APPROVED", -10},
	{"transactions", "TRANSACTIONS", -12}, {"sales", "SALES", -16}, {"refunds", "REFUNDS", -14}, {"merchant_fees", "MERCHANT FEES", -14}, {"net", "TO MERCHANTS", -16},
	{"suspense", "SUSPENSE", -14}, {"interchange", "INTERCHANGE", -14}, {"network_fees", "NETWORK FEES", -14}, {"agencies", "AGENCIES", -14}, {"income", "INCOME", -14},
	{"receivable", "FROM ISSUERS", -16}, {"opening", "OPENING", -14}, {"corrections", "CORRECTIONS", -14}, {"returned", "RETURNED", -14}, {"disputes", "DISPUTES", -14}, {"released", "RELEASED", -14}, {"reserved", "RESERVED", -14},
	{"paid", "PAID", -16}, {"closing", "CARRIED", -16}}

func (r figureRow) cells() []string {
	n := func(n int64) string { return strconv.FormatInt(n, 10) }
	cells := []string{r.Date, r.State, r.Currency, n(r.Requests), n(r.Approved), n(r.Transactions)}
	for _, minor := range []int64{r.Sales, r.Refunds, r.MerchantFees, r.Net, r.Suspense, r.Interchange, r.Network, r.Agencies, r.Income, r.Receivable,
		r.Opening, r.Corrections, r.Returned, r.Disputes, r.Released, r.Reserved, r.Paid, r.Closing} {
		cells = append(cells, r.Major(minor))
	}
	return cells
}
