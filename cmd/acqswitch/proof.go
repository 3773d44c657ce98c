package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/reconcile"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// proof is what all four books have of a settled day: terminals, journal, ledger with
// its postings, and issuers by their files.
type proof struct {
	Date   string                 `json:"date"`
	Books  []settlement.ProofLine `json:"books"`
	Breaks []exceptionLine        `json:"breaks"` // between issuers' files and the ledger, each with its cause
	// Equal says that all files are there and no break is open.
	Equal bool `json:"equal"`
}

// issuerFile is the book of issuers by their files.
const issuerFile = "issuer's file"

// prove puts the issuers' files beside what the run of a day proved.
func prove(ctx context.Context, l *ledger.Ledger, q *reconcile.Queue, dir string, day, today txn.Date) (*proof, error) {
	lines, err := settlement.ReadProof(ctx, l, dir, day)
	if err != nil {
		return nil, err
	}
	totals, err := q.Totals(ctx, day)
	if err != nil {
		return nil, err
	}
	p := &proof{Date: day.String(), Equal: true, Breaks: []exceptionLine{}}
	told := map[string]bool{}
	file := func(t *reconcile.Total) {
		told[t.Issuer+" "+t.Currency.Letters()] = true
		x := settlement.ProofLine{Book: issuerFile, Of: t.Issuer, Currency: t.Currency.Letters(), Count: strconv.FormatInt(t.Theirs.Count, 10),
			Debits: majors(t.Currency, t.Theirs.Debits)[0], Credits: majors(t.Currency, t.Theirs.Credits)[0], Result: "equal"}
		if off := t.Theirs.Net() - t.Ours.Net(); off != 0 || t.Exceptions > 0 {
			x.Result = fmt.Sprintf("net differs by %s: %s by %s, %s late, %s tolerated; %d open", majors(t.Currency, off)[0], plural(int(t.Exceptions), "exception"),
				majors(t.Currency, t.Excepted)[0], majors(t.Currency, t.Late)[0], majors(t.Currency, t.Tolerated)[0], t.Open)
		}
		p.Equal = p.Equal && t.Open == 0
		p.Books = append(p.Books, x)
	}
	of := func(issuer, currency string) int {
		return slices.IndexFunc(totals, func(t reconcile.Total) bool { return t.Issuer == issuer && t.Currency.Letters() == currency })
	}
	for _, x := range lines {
		if p.Books = append(p.Books, x); x.Book != settlement.IssuerBook {
			continue
		}
		p.Books[len(p.Books)-1].Result = "by the ledger"
		if i := of(x.Of, x.Currency); i >= 0 {
			file(&totals[i])
			continue
		}
		p.Equal = false
		p.Books = append(p.Books, settlement.ProofLine{Book: issuerFile, Of: x.Of, Currency: x.Currency, Result: "it is not there yet"})
	}
	for i := range totals { // of issuers with which we had nothing
		if t := &totals[i]; !told[t.Issuer+" "+t.Currency.Letters()] {
			file(t)
		}
	}
	found, err := q.OfDay(ctx, day)
	for i := range found {
		p.Breaks = append(p.Breaks, lineOf(&found[i], today))
	}
	return p, err
}

func (p *proof) writeText(w io.Writer) error {
	verdict := "they agree"
	if !p.Equal {
		verdict = "not proved yet"
	}
	fmt.Fprintf(w, "Four books of %s: %s\n", p.Date, verdict)
	err := writeTable(w, "BOOK\tOF\tCURRENCY\tCOUNT\tDEBITS\tCREDITS\tRESULT", p.Books, func(x *settlement.ProofLine) []any {
		return []any{x.Book, x.Of, x.Currency, x.Count, x.Debits, x.Credits, x.Result}
	})
	if err != nil || len(p.Breaks) == 0 {
		return err
	}
	return writeTable(w, "\nBREAK\tISSUER\tTRANSACTION\tRRN\tOURS\tTHEIRS\tCAUSE\tACT", p.Breaks, func(x *exceptionLine) []any {
		transaction := ""
		if x.ID != 0 {
			transaction = x.ID.String()
		}
		return []any{x.Number, x.Issuer, transaction, x.RRN, x.Ours, x.Theirs, x.Cause, x.Act}
	})
}

func proofCommand(c *console) *cobra.Command {
	f := &actFlags{}
	var date string
	cmd := f.on(&cobra.Command{
		Use: "proof", Short: "Hold terminals, journal, ledger and issuers' files of a settled day side by side", Args: noArgs,
		Long: `proof shows what each book has of a settled day: terminals' batches, the journal, the
ledger with its postings as its run proved them (proof.csv), and issuers by the files that
were imported since; and every break between these and the ledger, with its transaction
and its cause.

Exit codes: 0 all files are there and nobody has to decide anything any more; 3 a file is
not there, an exception is open, or the day is not settled.`,
		Example: `  acqswitch proof --date 2026-11-22 --config acqswitch.yaml
  acqswitch proof --date 2026-11-22 -o json | jq .breaks`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			day, err := readDay(date)
			if err != nil {
				return err
			}
			return f.queue(cmd.Context(), func(cfg *config, l *ledger.Ledger, q *reconcile.Queue) error {
				calendar, err := cfg.businessDay()
				if err != nil {
					return err
				}
				if err := settlement.NotArchived(cmd.Context(), l, day, day); err != nil {
					return err
				}
				p, err := prove(cmd.Context(), l, q, cfg.path(cfg.Settlement.Dir, "settlement"), day, calendar.Of(time.Now()))
				if err != nil {
					return err
				}
				if c.json() {
					err = c.print(p)
				} else {
					err = p.writeText(c.out)
				}
				if err == nil && !p.Equal {
					return refused()
				}
				return err
			})
		},
	}, false)
	cmd.Flags().StringVar(&date, "date", "", "the business day as yyyy-mm-dd")
	return cmd
}
