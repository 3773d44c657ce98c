package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// tmkVariable of the environment is --tmk out of the list of processes.
const tmkVariable = "ACQ_TEST_TMK"

// terminalFlags are common to all terminal commands.
type terminalFlags struct {
	addr, dialect      string
	terminal, merchant string
	currency           uint16
	stan, batch        uint32
	card, expiry       string
	entry, amount      string
	position           string
	tmk, keySet        string
	timeout            time.Duration
}

func terminalCommand(c *console) *cobra.Command {
	f := &terminalFlags{}
	verbs := []struct {
		use, short string
		card       bool
		amount     bool
		do         func(context.Context, *terminal.Client, *terminalFlags, terminal.Card, txn.Amount) (terminal.Answer, error)
	}{
		{"sale", "Buy something", true, true, func(ctx context.Context, t *terminal.Client, _ *terminalFlags, card terminal.Card, a txn.Amount) (terminal.Answer, error) {
			return t.Sale(ctx, card, a)
		}},
		{"balance", "Ask for a card's balance", true, false, func(ctx context.Context, t *terminal.Client, _ *terminalFlags, card terminal.Card, _ txn.Amount) (terminal.Answer, error) {
			return t.Balance(ctx, card)
		}},
		{"reversal", "Undo the sale with the trace number --stan", false, true, func(ctx context.Context, t *terminal.Client, f *terminalFlags, _ terminal.Card, a txn.Amount) (terminal.Answer, error) {
			return t.Reversal(ctx, f.stan, a)
		}},
		{"echo", "Ask whether the switch is there", false, false, func(ctx context.Context, t *terminal.Client, _ *terminalFlags, _ terminal.Card, _ txn.Amount) (terminal.Answer, error) {
			return t.Echo(ctx)
		}},
		{"sign-on", "Sign on", false, false, func(ctx context.Context, t *terminal.Client, _ *terminalFlags, _ terminal.Card, _ txn.Amount) (terminal.Answer, error) {
			return t.SignOn(ctx)
		}},
		{"sign-off", "Sign off", false, false, func(ctx context.Context, t *terminal.Client, _ *terminalFlags, _ terminal.Card, _ txn.Amount) (terminal.Answer, error) {
			return t.SignOff(ctx)
		}},
	}
	g := group("terminal", "Be a POS terminal")
	g.Long = `terminal sends one request as a POS terminal would, and prints the answer field
by field with card data masked. Exit code 0 only if approved; 3 if refused; 4 if
the switch could not be reached or did not answer.

Without --stan the trace number comes from the clock.

With a test master key (` + tmkVariable + ` or --tmk) sale, balance and reversal sign on
first, carry a MAC and believe no approval without its own.`
	g.Example = `  acqswitch terminal sale --amount 12.50
  acqswitch terminal sale --amount 12.50 --stan 42 && acqswitch terminal reversal --amount 12.50 --stan 42
  acqswitch terminal echo --dialect iso87 --addr 127.0.0.1:8587
  ` + tmkVariable + `=0123456789ABCDEFFEDCBA9876543210 acqswitch terminal sale --amount 12.50`
	for _, v := range verbs {
		cmd := &cobra.Command{
			Use: v.use, Short: v.short, Args: noArgs,
			Example: "  acqswitch terminal " + v.use + map[bool]string{true: " --amount 12.50", false: ""}[v.amount] + map[bool]string{true: " --stan 42", false: ""}[v.use == "reversal"],
			RunE: func(cmd *cobra.Command, _ []string) error {
				if v.use == "reversal" && f.stan == 0 {
					return usage(errors.New("--stan must say which sale to undo"))
				}
				return f.run(cmd.Context(), c, v.card, v.amount, v.do)
			},
		}
		fs := cmd.Flags()
		fs.StringVar(&f.addr, "addr", "", "the switch's address; empty is 127.0.0.1:8583, for iso87 127.0.0.1:8587")
		fs.StringVar(&f.dialect, "dialect", "cup-pos", "cup-pos, iso87, iso87-hex32, iso87-binary or iso87-ascii4")
		fs.StringVar(&f.terminal, "terminal", "10000001", "terminal id (DE41)")
		fs.StringVar(&f.merchant, "merchant", "999290054110001", "merchant id (DE42)")
		fs.Uint16Var(&f.currency, "currency", uint16(txn.CNY), "ISO 4217 number (DE49)")
		fs.Uint32Var(&f.stan, "stan", 0, "trace number (DE11), 1 to 999999")
		fs.Uint32Var(&f.batch, "batch", 1, "batch number (DE60.2)")
		fs.StringVar(&f.tmk, "tmk", "", "test master key, 32 hexadecimal digits (cup-pos); better in "+tmkVariable+", which other users cannot list. Never a real one")
		fs.StringVar(&f.keySet, "key-set", "003", "working keys to ask for at sign-on (DE60.3): 001, 003, 004, 005 or 006")
		fs.DurationVar(&f.timeout, "timeout", 60*time.Second, "how long to wait for the answer")
		if v.card {
			fs.StringVar(&f.card, "card", "", "test card number; empty is one that the sample issuers approve. Never a real one")
			fs.StringVar(&f.expiry, "expiry", "4912", "expiry YYMM")
			fs.StringVar(&f.entry, "entry", "chip", "how the card is read: chip, contactless, stripe or manual")
			fs.StringVar(&f.position, "position", "", "latitude,longitude to report, as 31.2304,121.4737")
		}
		if v.amount {
			fs.StringVar(&f.amount, "amount", "", "amount in major units, as 12.50")
		}
		g.AddCommand(cmd)
	}
	return g
}

func (f *terminalFlags) run(ctx context.Context, c *console, needCard, needAmount bool,
	do func(context.Context, *terminal.Client, *terminalFlags, terminal.Card, txn.Amount) (terminal.Answer, error),
) error {
	var card terminal.Card
	var amount txn.Amount
	if _, err := dialect.ForTerminal(f.dialect); err != nil {
		return usage(fmt.Errorf("--dialect: %w", err))
	}
	var err error
	if needCard {
		if card, err = f.readCard(); err != nil {
			return usage(err)
		}
	}
	if needAmount {
		if f.amount == "" {
			return usage(errors.New("--amount must say how much, in major units, as 12.50"))
		}
		if amount, err = txn.ParseAmount(f.amount, txn.Currency(f.currency)); err != nil {
			return usage(fmt.Errorf("--amount: %w", err))
		}
	}
	if len(f.terminal) == 0 || len(f.terminal) > 8 || len(f.merchant) == 0 || len(f.merchant) > 15 {
		return usage(errors.New("--terminal takes 1 to 8 characters, --merchant 1 to 15"))
	}
	if f.stan > txn.STANMax {
		return usage(fmt.Errorf("--stan %d must be 1 to %d", f.stan, txn.STANMax))
	}
	if f.batch > 999_999 || f.currency > 999 {
		return usage(fmt.Errorf("--batch %d must be up to 999999, --currency %d up to 999", f.batch, f.currency))
	}
	profile := terminal.Profile{Terminal: txn.MakeTerminalID(f.terminal), Merchant: txn.MakeMerchantID(f.merchant), Currency: txn.Currency(f.currency), Batch: f.batch}
	if profile.Position, err = readPosition(f.position); err != nil {
		return usage(err)
	}
	if err := f.readKeys(&profile); err != nil {
		return usage(err)
	}
	stan := f.stan
	if stan == 0 {
		stan = uint32(time.Now().UnixMilli()%txn.STANMax) + 1
	}
	signOn := len(profile.TMK) > 0 && (needCard || needAmount)
	if signOn { // it takes the number before
		stan = (stan+txn.STANMax-2)%txn.STANMax + 1
	}
	addr := f.addr
	if addr == "" {
		addr = "127.0.0.1:8583"
		if strings.HasPrefix(f.dialect, "iso87") {
			addr = "127.0.0.1:8587"
		}
	}
	t, err := terminal.Dial(ctx, addr, f.dialect, profile, terminal.Options{Patience: f.timeout, STAN: stan})
	if err != nil {
		return unreachable(err)
	}
	defer t.Close()
	if signOn {
		ans, err := t.SignOn(ctx)
		if err != nil {
			return unreachable(err)
		}
		if !ans.Approved() {
			return &exitError{exitRefused, fmt.Errorf("sign-on of terminal %s was refused with %s; nothing else was sent", f.terminal, ans.Code)}
		}
	}
	ans, err := do(ctx, t, f, card, amount)
	if err != nil {
		return unreachable(err)
	}
	used := t.STAN()
	if n, err := strconv.ParseUint(ans.STAN, 10, 32); err == nil {
		used = uint32(n) // a reversal repeats the sale's number
	}
	if err := printAnswer(c, &ans, used); err != nil {
		return err
	}
	if !ans.Approved() {
		return refused()
	}
	return nil
}

func (f *terminalFlags) readKeys(p *terminal.Profile) (err error) {
	if p.KeySet, err = terminal.ParseKeySet(f.keySet); err != nil {
		return fmt.Errorf("--key-set: %w", err)
	}
	tmk, from := f.tmk, "--tmk"
	if tmk == "" {
		tmk, from = os.Getenv(tmkVariable), tmkVariable
	}
	if tmk == "" {
		return nil
	}
	if !strings.HasPrefix(f.dialect, "cup") {
		return fmt.Errorf("%s: dialect %s has no keys; leave it out", from, f.dialect)
	}
	if p.TMK, err = terminal.ParseTMK(tmk); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

func (f *terminalFlags) readCard() (card terminal.Card, err error) {
	if card.Entry, err = terminal.ParseEntry(f.entry); err != nil {
		return card, fmt.Errorf("--entry: %w", err)
	}
	if _, err := time.Parse("0601", f.expiry); err != nil {
		return card, fmt.Errorf("--expiry %q must be YYMM", f.expiry)
	}
	card.Expiry = f.expiry
	if f.card == "" {
		card.PAN, err = terminal.TestPAN(fleet.SampleIssuers["east"][0], 1)
	} else {
		card.PAN, err = txn.ParsePAN(f.card)
	}
	if err != nil {
		return card, fmt.Errorf("--card: %w", err)
	}
	return card, nil
}

func readPosition(s string) (txn.Position, error) {
	if s == "" {
		return txn.Position{}, nil
	}
	var lat, lng float64
	if _, err := fmt.Sscanf(s, "%f,%f", &lat, &lng); err != nil || lat < -90 || lat > 90 || lng < -180 || lng > 180 {
		return txn.Position{}, fmt.Errorf("--position %q must be latitude,longitude, as 31.2304,121.4737", s)
	}
	return txn.Position{Lat: int32(lat * 1e6), Lng: int32(lng * 1e6), Known: true}, nil
}

func printAnswer(c *console, ans *terminal.Answer, stan uint32) error {
	b, err := ans.Describe(false)
	if err != nil {
		return err
	}
	if c.json() {
		return c.print(map[string]any{"approved": ans.Approved(), "code": ans.Code, "rrn": ans.RRN, "auth_code": ans.AuthCode, "stan": stan,
			"latency_ms": float64(ans.Latency) / 1e6, "message": b})
	}
	word := "refused"
	if ans.Approved() {
		word = "approved"
	}
	fmt.Fprintf(c.out, "%s: code %s, STAN %06d, RRN %s, %s\n\n", word, ans.Code, stan, or(ans.RRN, "-"), ms(ans.Latency))
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "MTI\t%s\n", b.MTI)
	for _, field := range b.Fields {
		fmt.Fprintf(w, "%d\t%s\t%s\n", field.Number, field.Value, field.Name)
	}
	return w.Flush()
}
