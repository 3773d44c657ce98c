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

// pinVariable of the environment is --pin out of the list of processes.
const pinVariable = "ACQ_TEST_PIN"

// terminalFlags are common to all terminal commands.
type terminalFlags struct {
	addr, dialect      string
	terminal, merchant string
	currency           uint16
	stan, batch        uint32
	card, expiry       string
	entry, amount      string
	pin                string
	position           string
	tmk, keySet        string
	store              string
	timeout            time.Duration
	original           terminal.Original
	of                 string
	months             int
	stands             string
	left               int64 // stands in minor units, -1 for all undone
}

// need is what a terminal's command is told.
type need uint16

const (
	needCard need = 1 << iota
	needAmount
	mayAmount // the original has it
	needOriginal
	needMonths
	needAuth
	mayAuth
	takesNumber // --stan is the original's
	trades      // signs on first, with a master key
)

// verb is one command of a terminal.
type verb struct {
	kind    txn.Kind
	short   string
	needs   need
	example string
}

var verbs = []verb{
	{txn.KindSale, "Buy something", needCard | needAmount, "--amount 12.50"},
	{txn.KindBalance, "Ask for a card's balance", needCard, ""},
	{txn.KindVerify, "Ask whether a card is good", needCard, ""},
	{txn.KindVoid, "Undo a sale of the same batch", needCard | mayAmount | needOriginal, "--original-stan 42 --original-rrn 632500000042 --amount 12.50"},
	{txn.KindRefund, "Give back an amount of a sale", needCard | needAmount | needOriginal, "--original-stan 42 --original-rrn 632500000042 --original-date 1121 --amount 5.00"},
	{txn.KindPreauth, "Ask for a promise of money", needCard | needAmount, "--amount 300.00"},
	{txn.KindIncrement, "Ask for more of a promise", needCard | needAmount | needOriginal | needAuth, "--auth 123456 --amount 50.00"},
	{txn.KindPreauthVoid, "Give a promise back", needCard | mayAmount | needOriginal | needAuth, "--original-stan 43 --auth 123456 --amount 300.00"},
	{txn.KindCompletion, "Take what was promised", needCard | needAmount | needOriginal | needAuth, "--original-stan 43 --auth 123456 --amount 280.00"},
	{txn.KindCompletionAdvice, "Take what was promised, telling", needCard | needAmount | needOriginal | needAuth, "--original-stan 43 --auth 123456 --amount 280.00"},
	{txn.KindCompletionVoid, "Undo a completion of the same batch", needCard | mayAmount | needOriginal | mayAuth, "--original-stan 44 --original-rrn 632500000044 --auth 123456 --amount 280.00"},
	{txn.KindOfflineSale, "Tell of a sale made at the terminal", needCard | needAmount | mayAuth, "--amount 9.00 --auth 654321"},
	{txn.KindAdjustment, "Tell that a sale was for so much more", needAmount | needOriginal, "--original-stan 42 --original-rrn 632500000042 --amount 1.50"},
	{txn.KindTip, "Tell that so much was given on top of a sale", needAmount | needOriginal, "--original-stan 42 --original-rrn 632500000042 --amount 2.00"},
	{txn.KindInstalment, "Buy something in instalments", needCard | needAmount | needMonths, "--amount 1200.00 --months 12"},
	{txn.KindInstalmentVoid, "Undo an instalment sale of the same batch", needCard | mayAmount | needOriginal, "--original-stan 45 --original-rrn 632500000045 --amount 1200.00"},
	{txn.KindScriptResult, "Tell what a card did with its issuer's script", needCard | mayAmount | needOriginal, "--original-stan 42 --amount 12.50"},
	{txn.KindReversal, "Undo the transaction with the trace number --stan", needAmount | takesNumber | trades, "--amount 12.50 --stan 42"},
	{txn.KindSettlement, "Settle the batch: totals, items where they differ, and the end", trades, "--store day.terminal"},
	{txn.KindDownload, "Take parameters, keys and lists from the switch (cup-pos)", 0, ""},
	{txn.KindStatus, "Tell the switch that every part of the terminal works (cup-pos)", 0, ""},
	{txn.KindEcho, "Ask whether the switch is there", 0, ""},
	{txn.KindSignOn, "Sign on", 0, ""},
	{txn.KindSignOff, "Sign off", 0, ""},
}

func terminalCommand(c *console) *cobra.Command {
	f := &terminalFlags{}
	g := group("terminal", "Be a POS terminal")
	g.Long = `terminal sends one request as a POS terminal would, and prints the answer field
by field with card data masked. Exit code 0 only if approved; 3 if refused; 4 if
the switch could not be reached or did not answer.

Without --stan the trace number comes from the clock. With --store the terminal
has a memory: its numbers, what it owes (a reversal, a refund to repeat, advices
to tell, which go out first), its batch and how far the batch's settlement is.
Of a transaction in the batch --original-stan is then enough.

With a test master key (` + tmkVariable + ` or --tmk) everything but echo, sign-on and
sign-off signs on first, carries a MAC and believes no approval without its own,
and a test PIN (` + pinVariable + ` or --pin) can be sent.`
	g.Example = `  acqswitch terminal sale --amount 12.50
  acqswitch terminal sale --amount 12.50 --stan 42 && acqswitch terminal reversal --amount 12.50 --stan 42
  acqswitch terminal sale --amount 12.50 --stan 42 --store t1 && acqswitch terminal void --original-stan 42 --store t1
  acqswitch terminal echo --dialect iso87 --addr 127.0.0.1:8587
  ` + tmkVariable + `=0123456789ABCDEFFEDCBA9876543210 acqswitch terminal sale --amount 12.50`
	for _, v := range verbs {
		cmd := &cobra.Command{
			Use: v.kind.String(), Short: v.short, Args: noArgs,
			Example: strings.TrimRight("  acqswitch terminal "+v.kind.String()+" "+v.example, " "),
			RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), c, &v) },
		}
		f.register(cmd, &v)
		g.AddCommand(cmd)
	}
	g.AddCommand(dayCommand(c))
	return g
}

// common are the flags that say who the terminal is and where the switch.
func (f *terminalFlags) common(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.addr, "addr", "", "the switch's address; empty is 127.0.0.1:8583, for iso87 127.0.0.1:8587")
	fs.StringVar(&f.dialect, "dialect", "cup-pos", "cup-pos, iso87, iso87-hex32, iso87-binary or iso87-ascii4")
	fs.StringVar(&f.terminal, "terminal", "10000001", "terminal id (DE41)")
	fs.StringVar(&f.merchant, "merchant", "999290054110001", "merchant id (DE42)")
	fs.Uint16Var(&f.currency, "currency", uint16(txn.CNY), "ISO 4217 number (DE49)")
	fs.Uint32Var(&f.stan, "stan", 0, "trace number (DE11), 1 to 999999")
	fs.Uint32Var(&f.batch, "batch", 1, "batch number (DE60.2); a store knows later ones")
	fs.StringVar(&f.store, "store", "", "file of the terminal's memory, made where there is none; its key is beside it (.key)")
	fs.StringVar(&f.tmk, "tmk", "", "test master key, 32 hexadecimal digits (cup-pos); better in "+tmkVariable+", which other users cannot list. Never a real one")
	fs.StringVar(&f.keySet, "key-set", "003", "working keys to ask for at sign-on (DE60.3): 001, 003, 004, 005 or 006")
	fs.DurationVar(&f.timeout, "timeout", 60*time.Second, "how long to wait for the answer")
	fs.StringVar(&f.position, "position", "", "latitude,longitude to report, as 31.2304,121.4737")
}

func (f *terminalFlags) register(cmd *cobra.Command, v *verb) {
	f.common(cmd)
	fs := cmd.Flags()
	if v.needs&needCard != 0 {
		fs.StringVar(&f.card, "card", "", "test card number; empty is the original's where --store has it, else one that the sample issuers approve. Never a real one")
		fs.StringVar(&f.expiry, "expiry", "4912", "expiry YYMM")
		fs.StringVar(&f.entry, "entry", "chip", "how the card is read: chip, contactless, stripe, manual or code")
		fs.StringVar(&f.pin, "pin", "", "test PIN, 4 to 12 digits, with a master key; better in "+pinVariable)
	}
	if v.needs&(needAmount|mayAmount) != 0 {
		fs.StringVar(&f.amount, "amount", "", "amount in major units, as 12.50"+map[bool]string{true: "; empty is the original's where --store has it"}[v.needs&mayAmount != 0])
	}
	if v.needs&needOriginal != 0 {
		fs.Uint32Var(&f.original.STAN, "original-stan", 0, "the original's trace number (DE61.2, DE90)")
		fs.Uint32Var(&f.original.Batch, "original-batch", 0, "the original's batch (DE61.1); 0 is --batch")
		fs.StringVar(&f.original.RRN, "original-rrn", "", "the original's reference number (DE37)")
		fs.StringVar(&f.original.Date, "original-date", "", "the original's date MMDD (DE61.3)")
	}
	if v.needs&(needOriginal|mayAuth) != 0 {
		fs.StringVar(&f.original.AuthCode, "auth", "", "authorization code of the original, or given by telephone (DE38)")
	}
	if v.needs&needMonths != 0 {
		fs.IntVar(&f.months, "months", 12, "number of monthly instalments")
	}
	if v.needs&takesNumber != 0 {
		fs.StringVar(&f.of, "of", "sale", "kind of what is undone")
		fs.StringVar(&f.stands, "stands", "", "amount that stands, of a reversal in part (iso87)")
	}
}

func (f *terminalFlags) run(ctx context.Context, c *console, v *verb) error {
	t, err := f.transaction(v)
	if err != nil {
		return usage(err)
	}
	profile, err := f.profile()
	if err != nil {
		return usage(err)
	}
	signOn := len(profile.TMK) > 0 && (v.needs&trades != 0 || v.kind.Forwarded() || v.kind == txn.KindScriptResult)
	stan := f.stan
	if stan == 0 {
		stan = uint32(time.Now().UnixMilli()%txn.STANMax) + 1
	}
	if signOn { // it takes the number before
		stan = (stan+txn.STANMax-2)%txn.STANMax + 1
	}
	options := terminal.Options{Patience: f.timeout, STAN: stan}
	if f.store != "" {
		if options.Store, err = terminal.OpenStore(f.store); err != nil {
			return usage(err)
		}
		defer options.Store.Close()
	}
	client, err := terminal.Dial(ctx, f.address(), f.dialect, profile, options)
	if err != nil {
		return unreachable(err)
	}
	defer client.Close()
	if signOn {
		ans, err := client.SignOn(ctx)
		if err != nil {
			return unreachable(err)
		}
		if !ans.Approved() {
			return &exitError{exitRefused, fmt.Errorf("sign-on of terminal %s was refused with %s; nothing else was sent", f.terminal, ans.Code)}
		}
	}
	ans, err := f.do(ctx, c, client, v.kind, t)
	if err != nil {
		return unreachable(err)
	}
	used := client.STAN()
	if n, err := strconv.ParseUint(ans.STAN, 10, 32); err == nil {
		used = uint32(n) // a reversal repeats the original's number
	}
	if err := printAnswer(c, &ans, used); err != nil {
		return err
	}
	if !ans.Approved() {
		return refused()
	}
	return nil
}

// do sends the request.
func (f *terminalFlags) do(ctx context.Context, c *console, t *terminal.Client, k txn.Kind, tx terminal.Transaction) (terminal.Answer, error) {
	switch k {
	case txn.KindEcho:
		return t.Echo(ctx)
	case txn.KindSignOn:
		return t.SignOn(ctx)
	case txn.KindSignOff:
		return t.SignOff(ctx)
	case txn.KindStatus:
		return t.UploadStatus(ctx, terminal.StatusFine)
	case txn.KindDownload:
		return t.DownloadAll(ctx, func(d terminal.Download, items [][]byte) {
			if !c.json() {
				fmt.Fprintf(c.out, "%s: %d\n", d, len(items))
			}
		})
	case txn.KindSettlement:
		s, err := t.Settlement(ctx)
		if err == nil && !c.json() {
			fmt.Fprintf(c.out, "batch %06d is settled, terminal %s, switch %s; the next is %06d\n", s.Batch, totalsText(s.Terminal, t.Currency()), totalsText(s.Host, t.Currency()), t.Batch())
		}
		return s.Answer, err
	case txn.KindReversal:
		if f.stands != "" {
			return t.ReversePart(ctx, tx.Amount, tx.Original, f.left)
		}
		return t.Reversal(ctx, tx.Amount, tx.Original)
	}
	return t.Do(ctx, k, tx)
}

func totalsText(t txn.Totals, c txn.Currency) string {
	return fmt.Sprintf("debit %s in %d, credit %s in %d", txn.Amount{Minor: t.Debit.Minor, Currency: c}, t.Debit.Count, txn.Amount{Minor: t.Credit.Minor, Currency: c}, t.Credit.Count)
}

func (f *terminalFlags) address() string {
	switch {
	case f.addr != "":
		return f.addr
	case strings.HasPrefix(f.dialect, "iso87"):
		return "127.0.0.1:8587"
	}
	return "127.0.0.1:8583"
}

// transaction reads what the command is about.
func (f *terminalFlags) transaction(v *verb) (t terminal.Transaction, err error) {
	if _, err := dialect.ForTerminal(f.dialect); err != nil {
		return t, fmt.Errorf("--dialect: %w", err)
	}
	t.Original, t.Months = f.original, f.months
	if v.needs&needCard != 0 && (f.card != "" || f.store == "" || v.needs&needOriginal == 0) {
		if t.Card, err = f.readCard(); err != nil {
			return t, err
		}
	}
	if f.amount != "" {
		if t.Amount, err = txn.ParseAmount(f.amount, txn.Currency(f.currency)); err != nil {
			return t, fmt.Errorf("--amount: %w", err)
		}
	}
	switch {
	case f.amount == "" && (v.needs&needAmount != 0 || v.needs&mayAmount != 0 && f.store == ""):
		return t, errors.New("--amount must say how much, in major units, as 12.50")
	case v.needs&needOriginal != 0 && f.original.STAN == 0 && f.original.RRN == "" && f.original.AuthCode == "":
		return t, errors.New("--original-stan, --original-rrn or --auth must say what it is about")
	case v.needs&needAuth != 0 && f.original.AuthCode == "" && f.store == "":
		return t, errors.New("--auth must be the promise's authorization code")
	case v.needs&needMonths != 0 && (f.months < 2 || f.months > 99):
		return t, fmt.Errorf("--months %d must be 2 to 99", f.months)
	case f.original.Date != "" && (len(f.original.Date) != 4 || strings.Trim(f.original.Date, "0123456789") != ""):
		return t, fmt.Errorf("--original-date %q must be MMDD", f.original.Date)
	case f.original.STAN > txn.STANMax || f.stan > txn.STANMax:
		return t, fmt.Errorf("--stan %d must be 1 to %d", max(f.stan, f.original.STAN), txn.STANMax)
	}
	if len(t.Card.PIN) > 0 && f.tmk == "" && os.Getenv(tmkVariable) == "" {
		return t, fmt.Errorf("--pin needs a master key, --tmk or %s: a PIN is sent enciphered or not at all", tmkVariable)
	}
	if v.needs&takesNumber != 0 {
		if f.stan == 0 {
			return t, errors.New("--stan must say which sale to undo")
		}
		k, ok := txn.ParseKind(f.of)
		if !ok || k.Remedy() != txn.Reverse {
			return t, fmt.Errorf("--of %q must be a kind that can be reversed, such as sale", f.of)
		}
		t.Original = terminal.Original{Kind: k, STAN: f.stan, Batch: f.batch}
		if f.stands != "" {
			left, err := txn.ParseAmount(f.stands, txn.Currency(f.currency))
			if err != nil || !strings.HasPrefix(f.dialect, "iso87") {
				return t, fmt.Errorf("--stands %q must be an amount, of dialect iso87", f.stands)
			}
			f.left = left.Minor
		}
	}
	return t, nil
}

// profile reads who the terminal is.
func (f *terminalFlags) profile() (p terminal.Profile, err error) {
	if len(f.terminal) == 0 || len(f.terminal) > 8 || len(f.merchant) == 0 || len(f.merchant) > 15 {
		return p, errors.New("--terminal takes 1 to 8 characters, --merchant 1 to 15")
	}
	if f.batch > 999_999 || f.currency > 999 {
		return p, fmt.Errorf("--batch %d must be up to 999999, --currency %d up to 999", f.batch, f.currency)
	}
	p = terminal.Profile{Terminal: txn.MakeTerminalID(f.terminal), Merchant: txn.MakeMerchantID(f.merchant), Currency: txn.Currency(f.currency), Batch: f.batch}
	if p.Position, err = readPosition(f.position); err != nil {
		return p, err
	}
	return p, f.readKeys(&p)
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
	pin := f.pin
	if pin == "" {
		pin = os.Getenv(pinVariable)
	}
	if pin != "" && (len(pin) < 4 || len(pin) > 12 || strings.Trim(pin, "0123456789") != "") {
		return card, errors.New("--pin must be 4 to 12 digits")
	}
	card.PIN = txn.Secret(pin)
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
