package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// tmkVariable of the environment is --tmk out of the list of processes.
const tmkVariable = "ACQ_TEST_TMK"

// initialVariable of the environment is --initial-key.
const initialVariable = "ACQ_TEST_INITIAL_KEY"

// pinVariable of the environment is --pin out of the list of processes.
const pinVariable = "ACQ_TEST_PIN"

// terminalFlags are common to all terminal commands.
type terminalFlags struct {
	to, dialect        string
	tls                tlsFlags
	terminal, merchant string
	tpdu               string
	serial             string
	currency           uint16
	stan, batch        uint32
	card, expiry       string
	entry, amount      string
	pin                string
	position           string
	tmk, keySet, mac   string
	dukpt, initial     string
	store              string
	timeout            time.Duration
	original           terminal.Original
	of                 string
	months             int
	replacement        string
	stays              int64 // replacement in minor units
}

// common are the flags that say who the terminal is and where the switch.
func (f *terminalFlags) common(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.to, "to", "", "the switch's address; empty is 127.0.0.1:8583, for iso87 127.0.0.1:8587")
	fs.StringVar(&f.to, "addr", "", "--to by its former name")
	fs.MarkHidden("addr")
	f.tls.register(fs)
	fs.StringVar(&f.dialect, "dialect", "cup-pos", "cup-pos, iso87, iso87-hex32, iso87-binary, iso87-ascii4 or iso87-bcd")
	fs.StringVar(&f.terminal, "terminal", "", "terminal id (DE41); empty is that of --store, else "+fleet.DemoTerminal)
	fs.StringVar(&f.merchant, "merchant", "", "merchant id (DE42); empty is that of --store, else "+fleet.DemoMerchant)
	fs.StringVar(&f.tpdu, "tpdu", "", "TPDU before every message, 10 hexadecimal digits; empty is 6000030000, for iso87 none")
	fs.StringVar(&f.serial, "serial", "", "serial number of the machine to report (cup-pos), up to 50 characters")
	fs.Uint16Var(&f.currency, "currency", uint16(txn.CNY), "ISO 4217 number (DE49)")
	fs.Uint32Var(&f.stan, "stan", 0, "trace number (DE11), 1 to 999999")
	fs.Uint32Var(&f.batch, "batch", 1, "batch number (DE60.2); a store knows later ones")
	fs.StringVar(&f.store, "store", "", "file of the terminal's memory, made where there is none and that terminal's from then on; its key is beside it (.key)")
	fs.StringVar(&f.tmk, "tmk", "", "test master key, 32 hexadecimal digits (cup-pos); better in "+tmkVariable+", which other users cannot list. Never a real one")
	fs.StringVar(&f.dukpt, "dukpt", "", "scheme and serial number of a DUKPT terminal's initial key (iso87), as dukpt-aes128:1234567890123456; needs --store")
	fs.StringVar(&f.initial, "initial-key", "", "test initial key of --dukpt, hexadecimal; better in "+initialVariable+". Never a real one")
	fs.StringVar(&f.keySet, "key-set", "003", "working keys to ask for at sign-on (DE60.3): 001, 003, 004, 005 or 006")
	fs.StringVar(&f.mac, "mac", "cup-ecb", "algorithm of its MACs, as the registry has it (cup-pos): cup-ecb, cup-fold, x9.9, x9.19, cmac or cbc-mac")
	fs.DurationVar(&f.timeout, "timeout", 60*time.Second, "how long to wait for the answer")
	fs.StringVar(&f.position, "position", "", "latitude,longitude to report, as 31.2304,121.4737")
}

func (f *terminalFlags) register(cmd *cobra.Command, v *verb) {
	f.common(cmd)
	fs := cmd.Flags()
	if v.needs&needCard != 0 {
		fs.StringVar(&f.card, "card", "", "test card number; empty is the original's where --store has it, as a keyed one, else one that the sample issuers approve. Never a real one")
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
		fs.StringVar(&f.replacement, "replacement", "", "amount that stands after a reversal in part (iso87), as 5.00")
	}
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
		return t, errors.New("--auth must be the pre-authorization's code")
	case (v.kind == txn.KindDownload || v.kind == txn.KindStatus) && strings.HasPrefix(f.dialect, "iso87"):
		return t, fmt.Errorf("--dialect %s has no %s; use cup-pos", f.dialect, v.kind)
	case v.needs&needMonths != 0 && (f.months < 2 || f.months > 99):
		return t, fmt.Errorf("--months %d must be 2 to 99", f.months)
	case f.original.Date != "" && (len(f.original.Date) != 4 || !txn.Digits(f.original.Date)):
		return t, fmt.Errorf("--original-date %q must be MMDD", f.original.Date)
	case f.original.STAN > txn.STANMax || f.stan > txn.STANMax:
		return t, fmt.Errorf("--stan %d must be 1 to %d", max(f.stan, f.original.STAN), txn.STANMax)
	}
	if len(t.Card.PIN) > 0 && f.tmk == "" && os.Getenv(tmkVariable) == "" && f.dukpt == "" {
		return t, fmt.Errorf("--pin needs a master key, --tmk or %s, or --dukpt: a PIN is sent enciphered or not at all", tmkVariable)
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
		if f.replacement != "" {
			stays, err := txn.ParseAmount(f.replacement, txn.Currency(f.currency))
			if err != nil || !strings.HasPrefix(f.dialect, "iso87") {
				return t, fmt.Errorf("--replacement %q must be an amount, of dialect iso87", f.replacement)
			}
			f.stays = stays.Minor
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
	if len(f.serial) > len(txn.Serial{}) || strings.ContainsFunc(f.serial, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return p, fmt.Errorf("--serial takes up to %d letters, digits and signs", len(txn.Serial{}))
	}
	p = terminal.Profile{Terminal: txn.MakeTerminalID(f.terminal), Merchant: txn.MakeMerchantID(f.merchant), Currency: txn.Currency(f.currency), Batch: f.batch, Serial: f.serial}
	if f.tpdu != "" {
		if p.TPDU, err = hex.DecodeString(f.tpdu); err != nil || len(p.TPDU) != 5 || p.TPDU[0]>>4 != 6 {
			return p, errors.New("--tpdu takes 10 hexadecimal digits, the first a 6, as 6000030000")
		}
	}
	if p.Position, err = readPosition(f.position); err != nil {
		return p, err
	}
	return p, f.readKeys(&p)
}

func (f *terminalFlags) readKeys(p *terminal.Profile) (err error) {
	if p.KeySet, err = terminal.ParseKeySet(f.keySet); err != nil {
		return fmt.Errorf("--key-set: %w", err)
	}
	if p.MAC, err = algo.ParseMAC(f.mac); err != nil {
		return fmt.Errorf("--mac: %w", err)
	}
	if f.dukpt != "" {
		if strings.HasPrefix(f.dialect, "cup") || f.tmk != "" || f.store == "" {
			return errors.New("--dukpt is for dialect iso87, with --store and without --tmk")
		}
		scheme, ksn, _ := strings.Cut(f.dukpt, ":")
		if p.Initial, err = terminal.ParseInitialKey(scheme, cmp.Or(f.initial, os.Getenv(initialVariable)), ksn); err != nil {
			return fmt.Errorf("--dukpt, --initial-key: %w", err)
		}
		return nil
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
	if pin != "" && (len(pin) < 4 || len(pin) > 12 || !txn.Digits(pin)) {
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
	first, second, _ := strings.Cut(s, ",")
	lat, err1 := strconv.ParseFloat(first, 64)
	lng, err2 := strconv.ParseFloat(second, 64)
	if err1 != nil || err2 != nil || !(math.Abs(lat) <= 90 && math.Abs(lng) <= 180) {
		return txn.Position{}, fmt.Errorf("--position %q must be latitude,longitude, as 31.2304,121.4737", s)
	}
	return txn.Position{Lat: int32(lat * 1e6), Lng: int32(lng * 1e6), Known: true}, nil
}

func (f *terminalFlags) address() string {
	switch {
	case f.to != "":
		return f.to
	case strings.HasPrefix(f.dialect, "iso87"):
		return "127.0.0.1:8587"
	}
	return "127.0.0.1:8583"
}
