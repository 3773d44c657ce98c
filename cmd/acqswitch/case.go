package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement/dispute"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// expireCases acts on the deadlines of cases that are over, as the run of a day does
// before it begins.
func (c *config) expireCases(ctx context.Context, now time.Time) error {
	db, err := openDatabase(c)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = c.cases(db, approval.New(db)).Expire(ctx, now)
	return err
}

// cases calls fn with the desk of disputes.
func (f *actFlags) cases(ctx context.Context, fn func(*config, *dispute.Desk) error) error {
	return f.books(ctx, func(b *books) error {
		approvals := approval.New(b.db)
		desk := b.cfg.cases(b.db, approvals)
		err := approvals.Migrate(ctx)
		if err == nil {
			err = desk.Migrate(ctx)
		}
		if err != nil {
			return err
		}
		return fn(b.cfg, desk)
	})
}

// caseLine is a case as it is printed.
type caseLine struct {
	*dispute.Case
	Date     string `json:"date"`
	Currency string `json:"currency"`
	Deadline string `json:"deadline,omitempty"`
}

func caseLineOf(x *dispute.Case) caseLine {
	l := caseLine{Case: x, Date: x.Date.String(), Currency: x.Currency.Letters()}
	if x.Deadline != 0 {
		l.Deadline = x.Deadline.String()
	}
	return l
}

// tell prints what a case is now.
func (c *console) tell(x *dispute.Case) error {
	if c.json() {
		return c.print(caseLineOf(x))
	}
	what := fmt.Sprintf("case %d: %s", x.Number, x.State)
	if x.Amount != 0 {
		what += ", " + txn.Amount{Minor: x.Amount, Currency: x.Currency}.InLetters()
	}
	if x.Deadline != 0 {
		what += ", until " + x.Deadline.String()
	}
	_, err := fmt.Fprintln(c.out, what)
	return err
}

func caseCommand(c *console) *cobra.Command {
	return group("case", "Follow what issuers dispute: requests for copies, chargebacks, and what became of them",
		caseOpenCommand(c), caseImportCommand(c), caseListCommand(c), caseShowCommand(c), caseDocumentCommand(c),
		stepping(c, "answer", dispute.Answer, "Say that the copy an issuer asked for was sent", "sent by mail of the 25th"),
		stepping(c, "represent", dispute.Represent, "Present a charged back transaction again, with the documents of its case", "signed slip is there"),
		stepping(c, "accept", dispute.Accept, "Say nothing against a chargeback: the merchant bears it", "the merchant has no slip"),
		stepping(c, "second", dispute.Second, "Note that the issuer charges back again (pre-arbitration)", "their letter of the 3rd"),
		stepping(c, "contest", dispute.Contest, "Put a second chargeback to the network", "arbitration filed"),
		stepping(c, "won", dispute.Win, "Note that the issuer or the network gave in", "ruling 17"),
		stepping(c, "lost", dispute.Lose, "Note that the network decided against us", "ruling 17"),
		caseExpireCommand(c), caseWriteOffCommand(c),
		decidingCase(c, "approve", "Bear what another person proposed that we bear", "written off", (*dispute.Desk).Approve),
		decidingCase(c, "reject", "Leave a case as it is", "rejected", (*dispute.Desk).Reject))
}

func caseOpenCommand(c *console) *cobra.Command {
	f := &actFlags{}
	var o dispute.Opening
	var as, date, amount string
	cmd := f.on(&cobra.Command{
		Use: "open", Short: "Open a case, or charge back what a copy was asked of", Args: noArgs,
		Long: `open notes that an issuer asks for a copy of a slip (--as retrieval) or takes money back
(--as chargeback): all that is left of the transaction after refunds and voids, or
--amount of it, and never more, of all its cases together. The next run that begins books
a chargeback and takes it from what the merchant is owed.

A transaction has one case for each --reference, the issuer's number of it. The same call
again changes nothing.`,
		Example: `  acqswitch case open --as retrieval --rrn 326000000017 --date 2026-11-22 --reference R-881 --code 6321 --by wang --reason "asked on the 25th"
  acqswitch case open --as chargeback --rrn 326000000017 --date 2026-11-22 --reference R-881 --code 4853 --amount 80.00 --by wang --reason "not delivered"`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch as {
			case "retrieval":
				o.Step = dispute.Retrieval
			case "chargeback":
				o.Step = dispute.ChargeBack
			default:
				return usage(fmt.Errorf("--as %q must be retrieval or chargeback", as))
			}
			if o.Date, err = readDay(date); err != nil {
				return err
			}
			if o.RRN == "" {
				return usage(errors.New("--rrn must say which transaction"))
			}
			if amount != "" {
				currency, digits := txn.CNY, amount
				if number, code, ok := strings.Cut(amount, " "); ok {
					if currency, err = txn.ParseCurrency(code); err != nil {
						return usage(fmt.Errorf("--amount: %w", err))
					}
					digits = number
				}
				parsed, err := txn.ParseAmount(digits, currency)
				if err == nil && parsed.Minor == 0 {
					err = errors.New("must be above zero")
				}
				if err != nil {
					return usage(fmt.Errorf("--amount: %w", err))
				}
				o.Minor, o.Currency = parsed.Minor, currency
			}
			if err := because(f.reason); err != nil {
				return err
			}
			o.By, o.Reason, o.Now = f.by, f.reason, time.Now()
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				x, err := desk.Open(cmd.Context(), o)
				if err != nil {
					return err
				}
				return c.tell(&x)
			})
		},
	}, true)
	fl := cmd.Flags()
	fl.StringVar(&as, "as", "chargeback", "retrieval or chargeback")
	fl.StringVar(&o.RRN, "rrn", "", "retrieval reference number of the transaction (DE37)")
	fl.StringVar(&date, "date", "", "its business day as yyyy-mm-dd")
	fl.StringVar(&o.Reference, "reference", "", "the issuer's number of the case")
	fl.StringVar(&o.Code, "code", "", "the issuer's reason code")
	fl.StringVar(&amount, "amount", "", `in major units, as 80.00, of another currency than CNY as "80.000 KWD"; empty: all that is left`)
	return cmd
}

func caseImportCommand(c *console) *cobra.Command {
	f := &actFlags{}
	cmd := f.on(&cobra.Command{
		Use: "import FILE", Short: "Take an issuer's file of disputes", Args: args(1, "one file"),
		Long: `import takes a CSV whose first line names its columns: step (retrieval, chargeback,
second, win, lose), date and rrn of the transaction, and if wanted reference (the issuer's
number of the case), code, amount and reason. Cases are opened, or go on where they are.

A file is taken whole or not at all: what does not go is told with its line (exit code 2).
What was taken before is left as it is, so the same file may be given again.`,
		Example: `  printf 'step,date,rrn,reference,code,amount\nchargeback,2026-11-22,326000000017,R-881,4853,80.00\n' > disputes.csv
  acqswitch case import disputes.csv --by wang`,
		RunE: func(cmd *cobra.Command, given []string) error {
			file, err := os.Open(given[0])
			if err != nil {
				return usage(fmt.Errorf("open the issuer's disputes: %w", err))
			}
			defer file.Close()
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				r, err := desk.Import(cmd.Context(), given[0], file, f.by, time.Now())
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(r)
				}
				_, err = fmt.Fprintf(c.out, "%s, %d new\n", plural(r.Lines, "dispute"), r.Taken)
				return err
			})
		},
	}, false)
	cmd.Flags().StringVar(&f.by, "by", login(), "who imports it")
	return cmd
}

func caseListCommand(c *console) *cobra.Command {
	f := &actFlags{}
	var filter dispute.Filter
	var due int
	var all bool
	cmd := f.on(&cobra.Command{
		Use: "list", Short: "Show cases of which something is to come, and until when", Args: noArgs,
		Example: `  acqswitch case list --due 3
  acqswitch case list --all --merchant 999290054110001 -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.cases(cmd.Context(), func(cfg *config, desk *dispute.Desk) error {
				filter.Open = !all
				if cmd.Flags().Changed("due") {
					calendar, err := cfg.businessDay()
					if err != nil {
						return err
					}
					filter.Due = calendar.Of(time.Now()).Plus(due)
				}
				found, err := desk.List(cmd.Context(), filter)
				if err != nil {
					return err
				}
				var lines []caseLine
				for i := range found {
					lines = append(lines, caseLineOf(&found[i]))
				}
				return printTable(c, "NUMBER\tSTATE\tUNTIL\tAMOUNT\tCODE\tISSUER\tREFERENCE\tMERCHANT\tRRN\tDAY", lines, func(x *caseLine) []any {
					amount := txn.Amount{Minor: x.Amount, Currency: x.Case.Currency}.InLetters()
					return []any{x.Number, x.State, x.Deadline, amount, x.Code, x.Issuer, x.Reference, x.Merchant, x.RRN, x.Date}
				})
			})
		},
	}, false)
	cmd.Flags().IntVar(&due, "due", 0, "only those whose deadline is within so many days")
	cmd.Flags().StringVar(&filter.Merchant, "merchant", "", "of one merchant only (DE42)")
	cmd.Flags().BoolVar(&all, "all", false, "also those that have ended")
	return cmd
}

func caseShowCommand(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "show NUMBER", Short: "Show a case: its transaction, steps and documents", Args: args(1, "one number"),
		Example: "  acqswitch case show 3 --config acqswitch.yaml",
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := number(given[0])
			if err != nil {
				return err
			}
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				x, err := desk.Get(cmd.Context(), n)
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(caseLineOf(&x))
				}
				m := func(minor int64) string { return txn.Amount{Minor: minor, Currency: x.Currency}.InLetters() }
				if err := c.tell(&x); err != nil {
					return err
				}
				fmt.Fprintf(c.out, "transaction %s of %s, RRN %s, merchant %s, terminal %s, card %s: %s paid\nissuer %s, its number %s, its reason %s\n", x.ID, x.Date, x.RRN, x.Merchant, x.Terminal,
					x.Card, m(x.Paid), x.Issuer, cmp.Or(x.Reference, "-"), cmp.Or(x.Code, "-"))
				if x.Over > 0 {
					fmt.Fprintf(c.out, "refunds and chargebacks together are %s more than was paid: represent it with the refund\n", m(x.Over))
				}
				for _, s := range x.Steps {
					fmt.Fprintf(c.out, "%s  %s by %s: %s; then %s\n", s.At.Format(time.RFC3339), s.Step, s.By, s.Reason, s.State)
				}
				for _, d := range x.Documents {
					fmt.Fprintf(c.out, "    %s %s, %d bytes, SHA-256 %s, by %s\n", d.Kind, d.Name, d.Size, d.SHA256, d.By)
				}
				return nil
			})
		},
	}, false)
}

func caseDocumentCommand(c *console) *cobra.Command {
	f := &actFlags{}
	var kind string
	cmd := f.on(&cobra.Command{
		Use: "add-document NUMBER FILE", Short: "Note a document that is sent with a case", Args: args(2, "a number and a file"),
		Long: `add-document keeps kind, name, size and SHA-256 of a file, not what is in it. The file is
read, and stays where it is.`,
		Example: "  acqswitch case add-document 3 slip-326000000017.pdf --kind slip --by wang",
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := number(given[0])
			if err != nil {
				return err
			}
			if !slices.Contains(dispute.Kinds, kind) {
				return usage(fmt.Errorf("--kind %q must be one of %s", kind, strings.Join(dispute.Kinds, ", ")))
			}
			file, err := os.Open(given[1])
			if err != nil {
				return usage(fmt.Errorf("open the document: %w", err))
			}
			defer file.Close()
			hash := sha256.New()
			size, err := io.Copy(hash, file)
			if err != nil {
				return usage(fmt.Errorf("read the document: %w", err))
			}
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				x, err := desk.AddDocument(cmd.Context(), n, dispute.Document{At: time.Now(), By: f.by, Kind: kind, Name: filepath.Base(given[1]), SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size})
				if err != nil {
					return err
				}
				if c.json() {
					return c.print(caseLineOf(&x))
				}
				_, err = fmt.Fprintf(c.out, "case %d: %s\n", x.Number, plural(len(x.Documents), "document"))
				return err
			})
		},
	}, false)
	cmd.Flags().StringVar(&f.by, "by", login(), "who adds it")
	cmd.Flags().StringVar(&kind, "kind", "slip", strings.Join(dispute.Kinds, ", "))
	return cmd
}

// stepping is a command that takes a step.
func stepping(c *console, use string, step dispute.Step, short, reason string) *cobra.Command {
	f := &actFlags{}
	a := dispute.Act{Step: step}
	cmd := f.on(&cobra.Command{
		Use: use + " NUMBER", Short: short, Args: args(1, "one number"),
		Example: fmt.Sprintf("  acqswitch case %s 3 --by wang --reason %q", use, reason),
		RunE: func(cmd *cobra.Command, given []string) (err error) {
			if a.Case, err = f.decides(given[0]); err != nil {
				return err
			}
			a.By, a.Reason, a.Now = f.by, f.reason, time.Now()
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				x, err := desk.Act(cmd.Context(), a)
				if err != nil {
					return err
				}
				return c.tell(&x)
			})
		},
	}, true)
	if step == dispute.Second {
		cmd.Flags().StringVar(&a.Code, "code", "", "the issuer's reason code; empty: as before")
	}
	return cmd
}

func caseExpireCommand(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "expire", Short: "Act on deadlines that are over, as every run does before it begins", Args: noArgs,
		Long: `expire ends what nothing came of by its deadline: a request for a copy is unanswered, a
chargeback that was not represented and a second one that was not contested are lost, and
one that was represented and not charged back again is won. acqswitch settle, and a switch
that settles by itself, do the same before a run begins.`,
		Example: "  acqswitch case expire --config acqswitch.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				all, err := desk.Expire(cmd.Context(), time.Now())
				if err != nil {
					return err
				}
				if c.json() {
					lines := []caseLine{}
					for i := range all {
						lines = append(lines, caseLineOf(&all[i]))
					}
					return c.print(lines)
				}
				for i := range all {
					if err := c.tell(&all[i]); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintf(c.out, "%s expired\n", plural(len(all), "case"))
				return err
			})
		},
	}, false)
}

func caseWriteOffCommand(c *console) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: "write-off NUMBER", Short: "Propose that we bear a lost case that the merchant cannot be charged", Args: args(1, "one number"),
		Example: `  acqswitch case write-off 3 --by wang --reason "the merchant is bankrupt"`,
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := f.decides(given[0])
			if err != nil {
				return err
			}
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				p, err := desk.ProposeWriteOff(cmd.Context(), n, f.by, f.reason)
				if err != nil {
					return err
				}
				return c.done(p, fmt.Sprintf("proposed; another person must approve it (case approve %d)", p))
			})
		},
	}, true)
}

// decidingCase is a command that decides a proposal of a write-off.
func decidingCase(c *console, use, short, done string, decide func(*dispute.Desk, context.Context, int64, string, string) error) *cobra.Command {
	f := &actFlags{}
	return f.on(&cobra.Command{
		Use: use + " NUMBER", Short: short, Args: args(1, "the number of a proposal"),
		Example: fmt.Sprintf(`  acqswitch case %s 4 --by li --reason "seen the court's letter"`, use),
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := f.decides(given[0])
			if err != nil {
				return err
			}
			return f.cases(cmd.Context(), func(_ *config, desk *dispute.Desk) error {
				if err := decide(desk, cmd.Context(), n, f.by, f.reason); err != nil {
					return err
				}
				return c.done(n, done)
			})
		},
	}, true)
}
