package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/backtest"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

func riskExplainCommand(c *console) *cobra.Command {
	var o explainOptions
	cmd := &cobra.Command{
		Use: "explain", Short: "Say how rules and limits decide about a transaction, check by check", Args: noArgs,
		Long: `explain judges one request behind what the ledger has of the month until then: a
recorded transaction (--rrn, with its --date), or one that FILE describes, as if
it came now. It prints the facts, each check in the order in which they are asked
and what came of it, each rule of your own with the facts it asks for, the limits
in force with what was used of them and where they come from, and what its
issuer's stand_in would say while that cannot be reached. The policy is the one
in force unless --policy names another, as for backtest.

FILE is YAML: kind, amount, currency, merchant, terminal, card (a token, as
card-token makes them), bin, card_type, entry (manual, stripe, code, chip,
contactless), pin, lat, lng, at (2026-11-22T23:30:00+08:00; default now).

Exit code 3 if the request would be refused.`,
		Example: `  acqswitch risk explain --rrn 632612345678 --date 2026-11-21
  acqswitch risk explain --request sale.yaml --policy new.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c) },
	}
	configFlag(cmd, &o.config)
	f := cmd.Flags()
	f.StringVar(&o.rrn, "rrn", "", "a recorded transaction's retrieval reference number")
	f.StringVar(&o.day, "date", "", "its business day as yyyy-mm-dd (default today)")
	f.StringVar(&o.day, "day", "", "--date by its former name")
	f.MarkHidden("day")
	f.StringVar(&o.request, "request", "", "a file that describes a request")
	f.StringVar(&o.policy, "policy", "", "the policy (default the one in force)")
	return cmd
}

type explainOptions struct{ config, rrn, day, request, policy string }

func (o *explainOptions) run(ctx context.Context, c *console) error {
	if (o.rrn == "") == (o.request == "") {
		return usage(errors.New("give one of --rrn and --request"))
	}
	cfg, err := readConfig(o.config)
	if err != nil {
		return err
	}
	business, err := cfg.businessDay()
	if err != nil {
		return err
	}
	day := business.Of(time.Now())
	if o.day != "" {
		if day, err = txn.ParseDate(o.day); err != nil {
			return usage(fmt.Errorf("--date: %w", err))
		}
	}
	var asked *txn.Record
	if o.request != "" {
		if asked, err = readRequest(o.request); err != nil {
			return err
		}
		day = business.Of(asked.At)
		asked.Day = day
	}
	parties, err := cfg.parties(ctx)
	if err != nil {
		return err
	}
	p, err := (&backtestOptions{config: o.config, policy: o.policy}).candidate(ctx, cfg)
	if err != nil {
		return err
	}
	test, err := backtest.New(backtest.Config{Before: p, After: p, Registry: parties, Zone: business.Zone, CountCards: cfg.Risk.CardsPerMonth, From: day})
	if err != nil {
		return usage(err)
	}
	var x *risk.Explanation
	var stand *standInSaid
	var rec txn.Record
	var judgeErr error
	known := false
	judge := func(r *txn.Record) {
		var req *txn.Request
		known, rec = true, *r
		if x, req = test.Explain(r); x != nil {
			stand, judgeErr = explainStandIn(ctx, cfg, x, req, rec, asked == nil)
		}
	}
	err = replayLedger(ctx, cfg, day, day, func(r *txn.Record) {
		if r.Kind == txn.RecordOutcome && r.Day == day && o.rrn != "" && txn.Text(r.RRN[:]) == o.rrn {
			judge(r)
		}
		test.Take(r)
	})
	if err == nil && asked != nil {
		judge(asked)
	}
	if err = errors.Join(err, judgeErr); err != nil {
		return err
	}
	switch {
	case !known:
		return &exitError{exitRefused, fmt.Errorf("the ledger has no transaction %s of %s: --date names its business day", o.rrn, day)}
	case x == nil:
		return &exitError{exitRefused, fmt.Errorf("merchant %s or terminal %s is not registered: such a request is refused before anything is counted", rec.Merchant, rec.Key.Terminal)}
	case c.json():
		err = c.print(explained(x, stand, toldThen(asked, &rec)))
	default:
		err = writeExplanation(c.out, x, stand, &rec, business.Zone, policyName(x.Policy, cmp.Or(o.policy, cfg.Risk.Policy)), toldThen(asked, &rec))
	}
	if err == nil && x.Verdict.Reason != txn.Approved {
		return refused()
	}
	return err
}

// policyName is what a policy is called that was read from a file or has a number.
func policyName(number uint32, file string) string {
	switch {
	case number != 0:
		return fmt.Sprintf("policy %d", number)
	case file != "":
		return "the candidate " + file
	}
	return "the built-in policy"
}

// toldThen is what a recorded transaction was told, whatever risk says of it; empty
// for one that was never made.
func toldThen(asked, rec *txn.Record) string {
	if asked != nil {
		return ""
	}
	return rec.Reason.String()
}

// candidate is the policy of --policy, or the one in force.
func (o *backtestOptions) candidate(ctx context.Context, cfg *config) (risk.Policy, error) {
	if o.policy == "" && cfg.Risk.Policy != "" {
		o.policy = cfg.Risk.Policy
	}
	_, p, err := o.policies(ctx, cfg)
	return p, err
}

// explained is an explanation as JSON has it.
func explained(x *risk.Explanation, stand *standInSaid, answered string) any {
	type check struct {
		Rule  string `json:"rule"`
		Finds string `json:"finds"`
		Came  string `json:"came"`
		Seen  int64  `json:"seen,omitempty"`
		Bound int64  `json:"bound,omitempty"`
	}
	type rule struct {
		Rule   string            `json:"rule"`
		Name   string            `json:"name"`
		When   string            `json:"when"`
		Action string            `json:"action"`
		Mode   string            `json:"mode"`
		Result string            `json:"result"`
		Facts  map[string]string `json:"facts"`
	}
	type limit struct {
		Of    string `json:"of"`
		Part  string `json:"part,omitempty"`
		What  string `json:"what"`
		Limit int64  `json:"limit"`
		Used  int64  `json:"used"`
	}
	type source struct {
		Of     string     `json:"of"`
		From   string     `json:"from"`
		Limits txn.Limits `json:"limits"`
	}
	facts := func(list []risk.FactSaid) map[string]string {
		m := map[string]string{}
		for _, f := range list {
			m[f.Name] = f.Value
		}
		return m
	}
	out := struct {
		Policy  uint32            `json:"policy"`
		Verdict string            `json:"verdict"`
		Told    string            `json:"answered,omitempty"` // at the time, by whoever decided last
		Facts   map[string]string `json:"facts"`
		Checks  []check           `json:"checks"`
		Rules   []rule            `json:"rules"`
		Limits  []limit           `json:"limits"`
		Sources []source          `json:"sources"`
		StandIn *standInSaid      `json:"stand_in,omitempty"`
	}{Policy: x.Policy, Verdict: x.Verdict.Reason.String(), Told: answered, Facts: facts(x.Facts), StandIn: stand}
	for _, k := range x.Checks {
		out.Checks = append(out.Checks, check{k.Rule.String(), k.Finds, k.Came, k.Seen, k.Bound})
	}
	for _, r := range x.Own {
		out.Rules = append(out.Rules, rule{r.Rule.Number.String(), r.Rule.Name, r.Rule.When, r.Rule.Action.String(), r.Rule.Mode.String(), r.Result.String(), facts(r.Facts)})
	}
	for _, l := range x.Limits {
		out.Limits = append(out.Limits, limit{l.Scope.String(), l.Part, l.What, l.Limit, l.Used})
	}
	for _, s := range x.Sources {
		out.Sources = append(out.Sources, source{s.Scope.String(), s.From, s.Bounds})
	}
	return out
}

func writeExplanation(out io.Writer, x *risk.Explanation, stand *standInSaid, rec *txn.Record, zone *time.Location, policy, answered string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	f := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	money := func(minor int64) string { return txn.Amount{Minor: minor, Currency: rec.Amount.Currency}.InLetters() }
	verdict := x.Verdict.Reason.String()
	if x.Verdict.Reason == txn.Approved {
		verdict = "risk lets it go on"
	}
	if answered != "" {
		verdict += "; it was answered: " + answered
	}
	f("%s of %s at %s, terminal %s of merchant %s, under %s: %s\n", rec.Request, rec.Amount.InLetters(), rec.At.In(zone).Format(time.RFC3339),
		rec.Key.Terminal, rec.Merchant, policy, verdict)
	f("\nCHECK\tCAME\tSEEN\tBOUND\tLOOKS FOR\n")
	for _, c := range x.Checks {
		seen, bound := "", ""
		if c.Seen != 0 || c.Bound != 0 {
			seen, bound = strconv.FormatInt(c.Seen, 10), strconv.FormatInt(c.Bound, 10)
		}
		f("%s\t%s\t%s\t%s\t%s\n", c.Rule, c.Came, seen, bound, c.Finds)
	}
	for _, r := range x.Own {
		f("%s %s\t%s: %s, %s\t\t\t%s\n", r.Rule.Number, r.Rule.Name, r.Result, r.Rule.Action, r.Rule.Mode, strings.Join(strings.Fields(r.Rule.When), " "))
		for _, v := range r.Facts {
			f("\t  %s = %s\n", v.Name, v.Value)
		}
	}
	if len(x.Limits) > 0 {
		f("\nLIMIT OF\tWHAT\tLIMIT\tUSED BEFORE\tCOUNTS\n")
	}
	for _, l := range x.Limits {
		say := func(n int64) string { return strconv.FormatInt(n, 10) }
		if l.Amount {
			say = money
		}
		used := say(l.Used)
		if l.What == "transaction" {
			used = "-" // it is this one's amount
		}
		f("%s\t%s\t%s\t%s\t%s\n", l.Scope, l.What, say(l.Limit), used, cmp.Or(l.Part, "all"))
	}
	if len(x.Sources) > 0 {
		f("\nLIMITS OF\tCOME FROM (the last that states one is in force)\n")
	}
	for _, s := range x.Sources {
		f("%s\t%s: %s\n", s.Scope, s.From, limitsSaid(&s.Bounds, money))
	}
	if stand != nil {
		f("\nIN PLACE OF %s\tCAME\tSEEN\tBOUND\n", stand.Issuer)
		for _, k := range stand.Checks {
			f("%s\t%s\t%s\t%s\n", k.Asks, k.Came, k.Seen, k.Bound)
		}
		f("%s\n", stand.Would)
	}
	if len(x.Facts) > 0 {
		f("\nFACT\tVALUE\n")
	}
	for _, v := range x.Facts {
		f("%s\t%s\n", v.Name, v.Value)
	}
	return w.Flush()
}

func limitsSaid(l *txn.Limits, money func(int64) string) string {
	var said []string
	for _, b := range []struct {
		what   string
		n      int64
		amount bool
	}{{"transaction", l.Transaction, true}, {"day amount", l.DayAmount, true}, {"day count", int64(l.DayCount), false},
		{"month amount", l.MonthAmount, true}, {"month count", int64(l.MonthCount), false}} {
		switch {
		case b.n == 0:
		case b.amount:
			said = append(said, b.what+" "+money(b.n))
		default:
			said = append(said, fmt.Sprintf("%s %d", b.what, b.n))
		}
	}
	return strings.Join(said, ", ")
}

// requestYAML is a request that somebody describes.
type requestYAML struct {
	Kind     yamlfile.Scalar `yaml:"kind"`
	Amount   yamlfile.Scalar `yaml:"amount"`
	Currency yamlfile.Scalar `yaml:"currency"`
	Merchant yamlfile.Scalar `yaml:"merchant"`
	Terminal yamlfile.Scalar `yaml:"terminal"`
	Card     yamlfile.Scalar `yaml:"card"`
	BIN      yamlfile.Scalar `yaml:"bin"`
	CardType yamlfile.Scalar `yaml:"card_type"`
	Entry    yamlfile.Scalar `yaml:"entry"`
	PIN      yamlfile.Scalar `yaml:"pin"`
	Lat      yamlfile.Scalar `yaml:"lat"`
	Lng      yamlfile.Scalar `yaml:"lng"`
	At       yamlfile.Scalar `yaml:"at"`
}

const requestSizeMax = 64 << 10

// entryWords are ways of reading a card by their words.
var entryWords = map[string]txn.EntryMode{"manual": txn.EntryManual, "stripe": txn.EntryStripe, "code": txn.EntryCode, "chip": txn.EntryChip, "contactless": txn.EntryContactless}

// readRequest reads a described request as the record that it would leave.
func readRequest(path string) (*txn.Record, error) {
	text, err := readWhole(path, requestSizeMax)
	if err != nil {
		return nil, usage(fmt.Errorf("read request: %w", err))
	}
	return parseRequest(text, path)
}

// parseRequest is readRequest of a file's text.
func parseRequest(text []byte, path string) (*txn.Record, error) {
	y, err := yamlfile.Decode[requestYAML](text, path, "say kind, amount, merchant and terminal")
	if err != nil {
		return nil, usage(err)
	}
	d := described{path: path, rec: txn.Record{Kind: txn.RecordOutcome, Request: txn.KindSale, Entry: txn.EntryChip, At: time.Now(), Card: txn.CardToken{1},
		Amount: txn.Amount{Currency: txn.CNY}}}
	copy(d.rec.Masked[:], "622202******0000")
	d.readAmount(y)
	d.readParties(y)
	d.readCard(y)
	d.readPlace(y)
	if d.problem != nil {
		return nil, usage(d.problem)
	}
	return &d.rec, nil
}

// described is the record that a description comes to.
type described struct {
	path    string
	rec     txn.Record
	problem error // the first one: it is a short file
}

func (d *described) bad(s yamlfile.Scalar, field, format string, args ...any) {
	if d.problem == nil {
		d.problem = s.Problem(d.path, field, format, args...)
	}
}

// readAmount reads what is asked for, and how much of what.
func (d *described) readAmount(y *requestYAML) {
	if y.Kind.Line > 0 {
		if k, ok := txn.ParseKind(y.Kind.Text); ok && k.Forwarded() {
			d.rec.Request = k
		} else {
			d.bad(y.Kind, "kind", "%q is nothing that an issuer answers: give sale, refund, preauth, ...", y.Kind.Text)
		}
	}
	if y.Currency.Line > 0 {
		c, err := txn.ParseCurrency(y.Currency.Text)
		if err != nil {
			d.bad(y.Currency, "currency", "%v", err)
		}
		d.rec.Amount.Currency = c
	}
	if a, err := txn.ParseAmount(y.Amount.Text, d.rec.Amount.Currency); err == nil {
		d.rec.Amount = a
	} else {
		d.bad(y.Amount, "amount", "%v", err)
	}
}

func (d *described) readParties(y *requestYAML) {
	if y.Merchant.Text == "" || len(y.Merchant.Text) > len(d.rec.Merchant) {
		d.bad(y.Merchant, "merchant", "%q must be a merchant's id", y.Merchant.Text)
	}
	if y.Terminal.Text == "" || len(y.Terminal.Text) > len(d.rec.Key.Terminal) {
		d.bad(y.Terminal, "terminal", "%q must be a terminal's id", y.Terminal.Text)
	}
	d.rec.Merchant, d.rec.Key.Terminal = txn.MakeMerchantID(y.Merchant.Text), txn.MakeTerminalID(y.Terminal.Text)
}

// readCard reads which card it is and how it was read.
func (d *described) readCard(y *requestYAML) {
	if y.Card.Line > 0 {
		if b, err := hex.DecodeString(y.Card.Text); err == nil && len(b) == len(d.rec.Card) {
			d.rec.Card = txn.CardToken(b)
		} else {
			d.bad(y.Card, "card", "must be a token of 32 hexadecimal digits, as acqswitch risk card-token makes them: never a card number")
		}
	}
	if y.BIN.Line > 0 {
		if len(y.BIN.Text) != 6 || !txn.Digits(y.BIN.Text) {
			d.bad(y.BIN, "bin", "%q must be a card's first six digits", y.BIN.Text)
		}
		copy(d.rec.Masked[:6], y.BIN.Text)
	}
	if y.CardType.Line > 0 {
		for d.rec.CardType = 0; d.rec.CardType.String() != y.CardType.Text; d.rec.CardType++ {
			if d.rec.CardType.String() == "invalid" {
				d.bad(y.CardType, "card_type", "%q must be credit, debit, prepaid or unknown", y.CardType.Text)
				break
			}
		}
	}
	if y.Entry.Line > 0 {
		mode, ok := entryWords[y.Entry.Text]
		if !ok {
			d.bad(y.Entry, "entry", "%q must be manual, stripe, code, chip or contactless", y.Entry.Text)
		}
		d.rec.Entry = mode
	}
	if y.PIN.Line > 0 {
		if d.rec.PIN = y.PIN.Text == "true"; !d.rec.PIN && y.PIN.Text != "false" {
			d.bad(y.PIN, "pin", "%q must be true or false", y.PIN.Text)
		}
	}
}

// readPlace reads where and when it is asked for.
func (d *described) readPlace(y *requestYAML) {
	for _, at := range []struct {
		s     yamlfile.Scalar
		field string
		to    *int32
		most  float64
	}{{y.Lat, "lat", &d.rec.Lat, 90}, {y.Lng, "lng", &d.rec.Lng, 180}} {
		if at.s.Line > 0 {
			degrees, err := strconv.ParseFloat(at.s.Text, 64)
			if err != nil || !(degrees >= -at.most && degrees <= at.most) {
				d.bad(at.s, at.field, "%q must be degrees", at.s.Text)
				continue
			}
			*at.to = int32(degrees * 1e6)
		}
	}
	if y.At.Line > 0 {
		var err error
		if d.rec.At, err = time.Parse(time.RFC3339, y.At.Text); err != nil {
			d.bad(y.At, "at", "%q must be a time as 2026-11-22T23:30:00+08:00", y.At.Text)
		}
	}
}
