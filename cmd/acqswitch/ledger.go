package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func ledgerCommand(c *console) *cobra.Command {
	return group("ledger", "Look into the ledger", ledgerTransactionsCommand(c), ledgerPositionsCommand(c), ledgerFiguresCommand(c),
		ledgerArchiveCommand(c), ledgerArchivedCommand(c), ledgerRestoreCommand(c), ledgerPurgeCommand(c), ledgerMigrateCommand(c))
}

// searchFlags are a ledger.Search as it is typed.
type searchFlags struct {
	dayFlags
	from, to                            string
	rrn, merchant, terminal, kind, code string
	currency, least, most               string
	card, newest                        bool
	limit                               int64
}

func ledgerTransactionsCommand(c *console) *cobra.Command {
	var f searchFlags
	cmd := &cobra.Command{
		Use:   "transactions",
		Short: "Find transactions",
		Long: `transactions lists what the ledger of a running or stopped switch has, by business
day and in the order of decision, or the latest first. All that is given must hold.
Without a day it is the current one. A retrieval reference number or a merchant is
found at once; else the days' transactions are read one after the other.

--card reads one card number from standard input. It is looked for by its keyed
hash, with the key of card_keys, and is written nowhere.

Rows are written as they are found and none is kept, so millions can be exported.
JSON is one object a line with amounts in minor units; CSV has amounts as 12.50.
REVERSED is what was taken back of an amount, or is about to be. Nothing found is no
error. Exit code 3: days in the range are archived, and not in what was listed.`,
		Example: `  acqswitch ledger transactions --rrn 326000000017 --date 2026-11-22
  acqswitch ledger transactions --merchant 999290054110001 --from 2026-11-01 --to 2026-11-22 --min 1000 --newest --limit 50
  acqswitch ledger transactions --card --from 2026-11-01 < card.txt
  acqswitch ledger transactions --from 2026-11-01 --to 2026-11-30 -o csv > november.csv`,
		Annotations: map[string]string{listsRows: ""},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listLedger(c, &f.dataFlags, transactionColumns, func(l *openedLedger, add func(listed) error) error {
				s, err := f.search(l.config, cmd.InOrStdin())
				if err != nil {
					return err
				}
				if err := l.Search(cmd.Context(), s, func(t ledger.Found) error { return add(newTransactionRow(&t)) }); err != nil {
					return err
				}
				return settlement.NotArchived(cmd.Context(), l.Ledger, s.From, s.To)
			})
		},
	}
	fl := cmd.Flags()
	f.register(cmd)
	rangeFlags(cmd, &f.from, &f.to)
	fl.StringVar(&f.rrn, "rrn", "", "retrieval reference number")
	fl.StringVar(&f.merchant, "merchant", "", "merchant, 15 characters")
	fl.StringVar(&f.terminal, "terminal", "", "terminal, 8 characters")
	fl.BoolVar(&f.card, "card", false, "of the card whose number standard input has")
	fl.StringVar(&f.kind, "kind", "", "what was asked, as sale or refund")
	fl.StringVar(&f.code, "code", "", "response code that the terminal was told, as 00")
	fl.StringVar(&f.currency, "currency", "", "ISO 4217, three letters; with --min or --max CNY if nothing is given")
	fl.StringVar(&f.least, "min", "", "the lowest amount, as 12.50")
	fl.StringVar(&f.most, "max", "", "the highest amount")
	fl.BoolVar(&f.newest, "newest", false, "the latest first")
	fl.Int64Var(&f.limit, "limit", 0, "how many at most; 0 is all")
	return cmd
}

// search reads the flags, and the card number from in.
func (f *searchFlags) search(cfg *config, in io.Reader) (*ledger.Search, error) {
	s := &ledger.Search{RRN: f.rrn, Code: f.code, Newest: f.newest, Limit: f.limit}
	if f.limit < 0 {
		return nil, usage(fmt.Errorf("--limit %d must not be below zero", f.limit))
	}
	var err error
	if s.From, s.To, err = days(cfg, f.date, f.from, f.to); err != nil {
		return nil, err
	}
	for _, id := range []struct {
		flag, value string
		dst         []byte
	}{{"merchant", f.merchant, s.Merchant[:]}, {"terminal", f.terminal, s.Terminal[:]}} {
		if len(id.value) > len(id.dst) {
			return nil, usage(fmt.Errorf("--%s takes 1 to %d characters", id.flag, len(id.dst)))
		}
		if id.value != "" {
			copy(id.dst, id.value+strings.Repeat(" ", len(id.dst)-len(id.value)))
		}
	}
	if f.kind != "" {
		var known bool
		if s.Kind, known = txn.ParseKind(f.kind); !known || s.Kind == txn.KindUnknown {
			return nil, usage(fmt.Errorf("--kind %q is no kind of request, as sale, refund or balance", f.kind))
		}
	}
	if f.currency != "" || f.least != "" || f.most != "" {
		if s.Currency, err = txn.ParseCurrency(cmp.Or(f.currency, "CNY")); err != nil {
			return nil, usage(fmt.Errorf("--currency: %w", err))
		}
	}
	for _, a := range []struct {
		flag, value string
		dst         *int64
	}{{"min", f.least, &s.Min}, {"max", f.most, &s.Max}} {
		if a.value == "" {
			continue
		}
		amount, err := txn.ParseAmount(a.value, s.Currency)
		if err != nil {
			return nil, usage(fmt.Errorf("--%s: %w", a.flag, err))
		}
		*a.dst = amount.Minor
	}
	if f.card {
		s.Card, err = cardOf(cfg, in)
	}
	return s, err
}

// cardOf reads one card number, and forgets all of it but the token.
func cardOf(cfg *config, in io.Reader) (token txn.CardToken, err error) {
	line, err := bufio.NewReader(io.LimitReader(in, 64)).ReadString('\n')
	if err != nil && err != io.EOF {
		return token, fmt.Errorf("read the card number: %w", err)
	}
	pan, err := parseCard(strings.TrimSpace(line))
	if err != nil {
		return token, usage(fmt.Errorf("standard input %w", err))
	}
	cards, err := openCards(cfg)
	if err != nil {
		return token, err
	}
	return cards.Token(&pan), nil
}

// transactionRow is a transaction as it is listed; JSON has minor units.
type transactionRow struct {
	Date       string    `json:"date"`
	At         time.Time `json:"at"`
	Merchant   string    `json:"merchant"`
	Terminal   string    `json:"terminal"`
	Batch      uint32    `json:"batch"`
	STAN       uint32    `json:"stan"`
	RRN        string    `json:"rrn,omitempty"`
	Kind       string    `json:"kind"`
	Minor      int64     `json:"amount"`
	Currency   string    `json:"currency"`
	Card       string    `json:"card,omitempty"`
	CardType   string    `json:"card_type"`
	EntryMode  uint16    `json:"entry_mode"`
	MCC        uint16    `json:"mcc"`
	Issuer     string    `json:"issuer,omitempty"`
	Outcome    string    `json:"outcome"`
	Code       string    `json:"code"`
	IssuerCode string    `json:"issuer_code,omitempty"`
	AuthCode   string    `json:"auth_code,omitempty"`
	Reversed   int64     `json:"reversed"`
	ID         txn.ID    `json:"id"`
	Original   txn.ID    `json:"original,omitempty"`
	Reason     string    `json:"reason"`
	amount     txn.Amount
}

var transactionColumns = []listColumn{
	{"date", "DATE", 10}, {"at", "AT (UTC)", 23}, {"merchant", "MERCHANT", 15}, {"terminal", "TERMINAL", 8}, {"batch", "BATCH", 6}, {"stan", "STAN", 6},
	{"rrn", "RRN", 12}, {"kind", "KIND", 10}, {"amount", "AMOUNT", -12}, {"currency", "", 3}, {"card", "CARD", 19}, {"card_type", "TYPE", 7},
	{"entry_mode", "ENTRY", 5}, {"mcc", "MCC", 4}, {"issuer", "ISSUER", 12}, {"outcome", "OUTCOME", 8}, {"code", "CODE", 4}, {"issuer_code", "ISSUER SAID", 11},
	{"auth_code", "AUTH", 6}, {"reversed", "REVERSED", -12}, {"id", "ID", 16}, {"original", "ORIGINAL", 16}, {"reason", "REASON", 0},
}

func newTransactionRow(t *ledger.Found) transactionRow {
	return transactionRow{Date: t.Day.String(), At: t.At, Merchant: t.Merchant.String(), Terminal: t.Key.Terminal.String(), Batch: t.Key.Batch, STAN: t.Key.STAN,
		RRN: shown(t.RRN[:]), Kind: t.Request.String(), Minor: t.Amount.Minor, Currency: t.Amount.Currency.Letters(), Card: txn.Text(t.Masked[:]), CardType: t.CardType.String(),
		EntryMode: uint16(t.Entry), MCC: t.MCC, Issuer: t.Leg.Issuer.String(), Outcome: t.Outcome.String(), Code: shown(t.Code[:]), IssuerCode: shown(t.IssuerCode[:]),
		AuthCode: shown(t.AuthCode[:]), Reversed: t.Reversed, ID: t.ID, Original: t.Original, Reason: t.Reason.String(), amount: t.Amount}
}

// shown is text, or its bytes in hex if an issuer put there what a terminal window
// should not get.
func shown(b []byte) string {
	s := txn.Text(b)
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return fmt.Sprintf("%x", b)
	}
	return s
}

func (t transactionRow) cells() []string {
	original := ""
	if t.Original != 0 {
		original = t.Original.String()
	}
	return []string{t.Date, t.At.Format("2006-01-02T15:04:05.000"), t.Merchant, t.Terminal, fmt.Sprintf("%06d", t.Batch), fmt.Sprintf("%06d", t.STAN), t.RRN, t.Kind, t.amount.Major(),
		t.Currency, t.Card, t.CardType, fmt.Sprintf("%03d", t.EntryMode), fmt.Sprintf("%04d", t.MCC), t.Issuer, t.Outcome, t.Code, t.IssuerCode, t.AuthCode, txn.Amount{Minor: t.Reversed, Currency: t.amount.Currency}.Major(),
		t.ID.String(), original, t.Reason}
}
