package settlement

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// RunResult is what a run came to. It is made of what is stored, so every call for a
// settled day gives the same one, except that a dry run says so in State.
type RunResult struct {
	Date       string    `json:"date"`
	State      string    `json:"state"` // done, dry run, or both: it was settled before
	Prior      string    `json:"prior,omitempty"`
	Position   uint64    `json:"position"` // journal records up to here count
	Fees       string    `json:"fees"`     // hash of the schedule
	Payouts    string    `json:"payouts"`  // hash of the payout terms
	Totals     []Totals  `json:"totals"`
	Exceptions int64     `json:"exceptions"`
	Directory  string    `json:"directory,omitempty"`
	Manifest   string    `json:"manifest,omitempty"`
	Files      []FileSum `json:"files,omitempty"`
}

// Totals are the sums of one currency, in minor units; refunds and costs are
// above zero.
type Totals struct {
	Currency     string `json:"currency"`
	Decimals     int    `json:"decimals"`
	Transactions int64  `json:"transactions"`
	Sales        int64  `json:"sales"`
	Refunds      int64  `json:"refunds"`
	MerchantFees int64  `json:"merchant_fees"`
	Net          int64  `json:"net"` // to merchants: sales - refunds - merchant fees - suspense
	Suspense     int64  `json:"suspense"`
	Interchange  int64  `json:"interchange"`
	Network      int64  `json:"network_fees"`
	Agencies     int64  `json:"agencies"`   // their shares
	Income       int64  `json:"income"`     // merchant fees - interchange - network fees - agencies
	Receivable   int64  `json:"receivable"` // from issuers: sales - refunds - interchange - network fees

	// What is done about what merchants are owed:
	// opening + net + corrections + returned + disputes + released - reserved - paid = closing.
	Opening     int64 `json:"opening"` // carried forward from the run before
	Corrections int64 `json:"corrections"`
	Returned    int64 `json:"returned"` // of earlier payouts
	Disputes    int64 `json:"disputes"` // below zero: taken from merchants
	Released    int64 `json:"released"` // from reserves
	Reserved    int64 `json:"reserved"`
	Paid        int64 `json:"paid"`
	Closing     int64 `json:"closing"` // carried forward
}

var (
	itemsByName    = byName[book.Item](book.Items)
	accountsByName = byName[book.Account](book.Accounts)
)

func byName[T interface {
	~uint8
	fmt.Stringer
}](n int) map[string]T {
	m := make(map[string]T, n)
	for i := range n {
		m[T(i).String()] = T(i)
	}
	return m
}

// add adds one sum of postings.
func (t *Totals) add(p *ledger.PostingSum) {
	item, balance := itemsByName[p.Item], p.Debit-p.Credit
	switch account := accountsByName[p.Account]; {
	case item == book.AgencyShare && account == book.AgencyExpense:
		t.Agencies += balance
		t.Income -= balance
		return
	case item > book.Network: // of payouts and what was decided one by one; see addPayout
		return
	}
	switch accountsByName[p.Account] {
	case book.IssuerReceivable:
		t.Receivable += balance
		switch item {
		case book.Sale:
			t.Sales += balance
			t.Transactions += p.Count
		case book.Refund:
			t.Refunds -= balance
			t.Transactions += p.Count
		}
	case book.MerchantPayable:
		t.Net -= balance
	case book.Suspense:
		t.Suspense -= balance
	case book.FeeIncome:
		t.MerchantFees -= balance
		t.Income -= balance
	case book.InterchangeExpense:
		t.Interchange += balance
		t.Income -= balance
	case book.NetworkExpense:
		t.Network += balance
		t.Income -= balance
	}
}

func (t *Totals) addPayout(p *ledger.Payout) {
	t.Opening += p.Opening
	t.Corrections += p.Corrections
	t.Returned += p.Returned
	t.Disputes += p.Disputes
	t.Released += p.Released
	t.Reserved += p.Reserved
	t.Paid += p.Paid
	t.Closing += p.Closing
}

// dayTotals are those of a run, by currency.
type dayTotals map[txn.Currency]*Totals

func (m dayTotals) of(c txn.Currency) *Totals {
	t := m[c]
	if t == nil {
		t = newTotals(c)
		m[c] = t
	}
	return t
}

func newTotals(c txn.Currency) *Totals {
	exp, _ := c.Exponent()
	return &Totals{Currency: c.Letters(), Decimals: exp}
}

func totalsOf(sums []ledger.PostingSum, payouts []ledger.Payout) dayTotals {
	m := dayTotals{}
	for i := range sums {
		m.of(sums[i].Currency).add(&sums[i])
	}
	for i := range payouts {
		m.of(payouts[i].Currency).addPayout(&payouts[i])
	}
	return m
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func comparePostings(a, b ledger.PostingSum) int {
	return cmp.Or(slices.Compare(a.Merchant[:], b.Merchant[:]), cmp.Compare(a.Currency, b.Currency), cmp.Compare(a.Item, b.Item),
		cmp.Compare(a.Account, b.Account), slices.Compare(a.Issuer[:], b.Issuer[:]))
}

func compareKeys(a, b book.Key) int {
	return cmp.Or(cmp.Compare(a.Currency, b.Currency), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Item, b.Item), slices.Compare(a.Issuer[:], b.Issuer[:]))
}

func resultOf(run *ledger.Run, dir string, all dayTotals, listed []FileSum) *RunResult {
	r := &RunResult{Date: run.Day.String(), State: "dry run", Position: run.Position, Fees: run.Fees, Payouts: run.Payouts, Totals: []Totals{}, Exceptions: run.Exceptions,
		Directory: dir, Manifest: run.Manifest, Files: listed}
	if run.State == ledger.RunDone {
		r.State = run.State.String()
	}
	if run.Prior != 0 {
		r.Prior = run.Prior.String()
	}
	for _, c := range sortedKeys(all) {
		r.Totals = append(r.Totals, *all[c])
	}
	return r
}

// result reads what a run that is done came to.
func (in *RunInput) result(ctx context.Context, run *ledger.Run, dir string) (*RunResult, error) {
	listed, err := readManifest(dir, run.Manifest)
	if err != nil && !in.DryRun {
		return nil, err
	}
	all := dayTotals{}
	err = in.Ledger.Postings(ctx, run.Day, func(p *ledger.PostingSum) error {
		all.of(p.Currency).add(p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = in.Ledger.Payouts(ctx, run.Day, func(p *ledger.Payout) error {
		all.of(p.Currency).addPayout(p)
		return nil
	})
	r := resultOf(run, dir, all, listed)
	if in.DryRun {
		r.State += ", dry run"
	}
	return r, err
}

// Major is an amount of the totals in major units, as 123.45.
func (t *Totals) Major(minor int64) string { return txn.Decimal(minor, t.Decimals) }

// WriteText writes the result for people.
func (r *RunResult) WriteText(w io.Writer) error {
	e := &errWriter{w: w}
	fmt.Fprintf(e, "Business day %s: %s, journal records up to %d, fees %.12s\n", r.Date, r.State, r.Position, r.Fees)
	if r.Prior != "" {
		fmt.Fprintf(e, "follows %s\n", r.Prior)
	}
	t := tabwriter.NewWriter(e, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nCURRENCY\ttransactions\tsales\trefunds\tmerchant fees\tto merchants\tsuspense\tinterchange\tnetwork fees\tagencies\tincome\tfrom issuers\t")
	for i := range r.Totals {
		s := &r.Totals[i]
		m := s.Major
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Currency, s.Transactions, m(s.Sales), m(s.Refunds), m(s.MerchantFees), m(s.Net),
			m(s.Suspense), m(s.Interchange), m(s.Network), m(s.Agencies), m(s.Income), m(s.Receivable))
	}
	t.Flush()
	fmt.Fprintln(t, "\nCURRENCY\topening\tto merchants\tcorrections\treturned\tdisputes\tfrom reserve\tto reserve\tpaid\tcarried forward\t")
	for i := range r.Totals {
		s := &r.Totals[i]
		m := s.Major
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Currency, m(s.Opening), m(s.Net), m(s.Corrections), m(s.Returned), m(s.Disputes), m(s.Released), m(s.Reserved), m(s.Paid), m(s.Closing))
	}
	t.Flush()
	fmt.Fprintf(e, "\nexceptions: %d", r.Exceptions)
	if r.Manifest != "" {
		fmt.Fprintf(e, ", in %s\n%d files, with their hashes in %s", filepath.Join(r.Directory, exceptionsFile), len(r.Files), filepath.Join(r.Directory, manifestName))
	}
	fmt.Fprintln(e)
	return e.err
}
