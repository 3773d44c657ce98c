package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

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
	example []string // what is done; nil: the verb alone
}

var verbs = []verb{
	{txn.KindSale, "Buy something", needCard | needAmount, []string{"sale --amount 12.50"}},
	{txn.KindBalance, "Ask for a card's balance", needCard, nil},
	{txn.KindVerify, "Ask whether a card is good", needCard, nil},
	{txn.KindVoid, "Undo a sale of the same batch", needCard | mayAmount | needOriginal, []string{"sale --amount 12.50 --stan 101 --store t101", "void --original-stan 101 --store t101"}},
	{txn.KindRefund, "Give back an amount of a sale", needCard | needAmount | needOriginal, []string{"sale --amount 12.50 --stan 201 --store t201", "refund --original-stan 201 --amount 5.00 --card 9999010000000011 --store t201"}},
	{txn.KindPreauth, "Pre-authorize an amount", needCard | needAmount, []string{"preauth --amount 300.00"}},
	{txn.KindIncrement, "Raise a pre-authorization", needCard | needAmount | needOriginal | needAuth, []string{"preauth --amount 300.00 --stan 301 --store t301", "increment --original-stan 301 --amount 50.00 --card 9999010000000011 --store t301"}},
	{txn.KindPreauthVoid, "Void a pre-authorization", needCard | mayAmount | needOriginal | needAuth, []string{"preauth --amount 300.00 --stan 401 --store t401", "preauth-void --original-stan 401 --store t401"}},
	{txn.KindCompletion, "Complete a pre-authorization, online", needCard | needAmount | needOriginal | needAuth, []string{"preauth --amount 300.00 --stan 501 --store t501", "completion --original-stan 501 --amount 280.00 --store t501"}},
	{txn.KindCompletionAdvice, "Complete a pre-authorization at the terminal, told afterwards", needCard | needAmount | needOriginal | needAuth, []string{"preauth --amount 300.00 --stan 601 --store t601", "completion-advice --original-stan 601 --amount 280.00 --store t601"}},
	{txn.KindCompletionVoid, "Undo a completion of the same batch", needCard | mayAmount | needOriginal | mayAuth, []string{"preauth --amount 300.00 --stan 701 --store t701", "completion --original-stan 701 --amount 280.00 --store t701", "completion-void --original-stan 702 --store t701"}},
	{txn.KindOfflineSale, "Tell the switch of a sale approved at the terminal", needCard | needAmount | mayAuth, []string{"offline-sale --amount 9.00 --auth 654321"}},
	{txn.KindAdjustment, "Raise the amount of a sale", needAmount | needOriginal, []string{"sale --amount 12.50 --stan 801 --store t801", "adjustment --original-stan 801 --amount 1.50 --store t801"}},
	{txn.KindTip, "Add a tip to a sale", needAmount | needOriginal, []string{"sale --amount 12.50 --stan 901 --store t901", "tip --original-stan 901 --amount 1.50 --store t901"}},
	{txn.KindInstalment, "Buy something in instalments", needCard | needAmount | needMonths, []string{"instalment --amount 1200.00 --months 12"}},
	{txn.KindInstalmentVoid, "Undo an instalment sale of the same batch", needCard | mayAmount | needOriginal, []string{"instalment --amount 1200.00 --stan 1001 --store t1001", "instalment-void --original-stan 1001 --store t1001"}},
	{txn.KindScriptResult, "Tell what a card did with its issuer's script", needCard | mayAmount | needOriginal, []string{"sale --amount 12.50 --stan 1101 --store t1101", "script-result --original-stan 1101 --store t1101"}},
	{txn.KindReversal, "Undo the transaction with the trace number --stan", mayAmount | takesNumber | trades, []string{"sale --amount 12.50 --stan 1201", "reversal --amount 12.50 --stan 1201"}},
	{txn.KindSettlement, "Settle the batch: totals, items where they differ, and the end", trades, []string{"sale --amount 12.50 --terminal 20000002 --store t1301", "settlement --store t1301"}},
	{txn.KindDownload, "Take parameters, keys and lists from the switch (cup-pos)", 0, nil},
	{txn.KindStatus, "Tell the switch that every part of the terminal works (cup-pos)", 0, nil},
	{txn.KindEcho, "Ask whether the switch is there", 0, nil},
	{txn.KindSignOn, "Sign on", 0, nil},
	{txn.KindSignOff, "Sign off", 0, nil},
}

func terminalCommand(c *console) *cobra.Command {
	f := &terminalFlags{}
	g := group("terminal", "Be a POS terminal")
	g.Long = `terminal sends one request as a POS terminal would, and prints the answer field
by field with card data masked. Exit code 0 only if approved; 3 if refused; 4 if
the switch could not be reached or did not answer.

Without --stan the trace number comes from the clock. With --store the terminal
has a memory: who it is, its numbers, what it owes (a reversal, a refund to repeat, advices
to tell, which go out first), its batch and how far the batch's settlement is.
Of a transaction in the batch --original-stan is then enough. It numbers its
requests itself: --stan is only for its first.

With a test master key that the switch has too (acqswitch keys load-terminal),
in ` + tmkVariable + ` or --tmk, everything but echo, sign-on and sign-off signs on first,
carries a MAC and believes no approval without its own, and a test PIN (` + pinVariable + ` or --pin) can be sent.

A DUKPT terminal (iso87) has an initial key instead, in ` + initialVariable + ` or
--initial-key, whose base key the switch has (acqswitch keys load-bdk); --dukpt says
which, and every message is numbered in --store.`
	g.Example = `  acqswitch terminal sale --amount 12.50
  acqswitch terminal sale --amount 12.50 --stan 51 && acqswitch terminal reversal --amount 12.50 --stan 51
  acqswitch terminal sale --amount 12.50 --stan 61 --store t1 && acqswitch terminal void --original-stan 61 --store t1
  acqswitch terminal echo --dialect iso87 --to 127.0.0.1:8587`
	for _, v := range verbs {
		cmd := &cobra.Command{
			Use: v.kind.String(), Short: v.short, Args: noArgs,
			Example: example(&v),
			RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), c, &v) },
		}
		f.register(cmd, &v)
		g.AddCommand(cmd)
	}
	return g
}

// example is what to type to try the verb. With the sample registry's terminals
// each can be typed once: their trace numbers are their own.
func example(v *verb) string {
	steps := v.example
	if steps == nil {
		steps = []string{v.kind.String()}
	}
	return "  acqswitch terminal " + strings.Join(steps, " &&\n    acqswitch terminal ")
}

func (f *terminalFlags) run(ctx context.Context, c *console, v *verb) error {
	t, err := f.transaction(v)
	if err != nil {
		return usage(err)
	}
	options := terminal.Options{Patience: f.timeout}
	if options.TLS, err = f.tls.config(); err == nil {
		err = transport.Check(f.address(), options.TLS != nil)
	}
	if err != nil {
		return usage(err)
	}
	if f.store != "" {
		if options.Store, err = f.openStore(v); err != nil {
			return usage(err)
		}
		defer options.Store.Close()
	}
	f.terminal, f.merchant = cmp.Or(f.terminal, fleet.DemoTerminal), cmp.Or(f.merchant, fleet.DemoMerchant)
	profile, err := f.profile()
	if err == nil && options.Store != nil {
		err = options.Store.Own(f.terminal, f.merchant)
	}
	if err != nil {
		return usage(err)
	}
	signOn := len(profile.TMK) > 0 && (v.needs&trades != 0 || v.kind.Forwarded() || v.kind == txn.KindScriptResult)
	stan := f.stan
	if stan == 0 || f.replacement != "" { // a part has a number of its own
		stan = uint32(time.Now().UnixMilli()%txn.STANMax) + 1
	}
	if signOn { // it takes the number before
		stan = (stan+txn.STANMax-2)%txn.STANMax + 1
	}
	options.STAN = stan
	client, err := terminal.Dial(ctx, f.address(), f.dialect, profile, options)
	if err != nil {
		return unreachable(err)
	}
	defer client.Close()
	if signOn {
		ans, err := client.SignOn(ctx)
		if err != nil {
			return failure(err)
		}
		if !ans.Approved() {
			return failure(fmt.Errorf("sign-on of terminal %s was %w; nothing else was sent", f.terminal, &terminal.RefusedError{Code: ans.Code}))
		}
	}
	if v.kind == txn.KindSettlement {
		return f.settle(ctx, c, client)
	}
	ans, err := f.do(ctx, c, client, v.kind, t)
	if err != nil {
		return failure(err)
	}
	if err := printAnswer(c, client, &ans, nil); err != nil {
		return err
	}
	if !ans.Approved() {
		return refused()
	}
	return nil
}

// openStore opens the terminal's memory, which says who the terminal is unless the
// command line does, and holds what the command line says to it.
func (f *terminalFlags) openStore(v *verb) (*terminal.Store, error) {
	s, err := terminal.OpenStore(f.store)
	if err != nil {
		return nil, err
	}
	if owner, merchant := s.Owner(); owner != "" {
		f.terminal, f.merchant = cmp.Or(f.terminal, owner), cmp.Or(f.merchant, merchant)
	}
	of := f.original.STAN
	described := f.original.RRN != "" || f.original.AuthCode != "" || f.original.Batch != 0
	if v.needs&takesNumber != 0 {
		of, described = f.stan, f.amount != ""
	} else if next := s.Next(); next != 0 && f.stan != 0 {
		err = fmt.Errorf("--stan %d: the store %s numbers its requests, the next is %d; leave --stan out", f.stan, f.store, next)
	}
	if known := s.Known(); err == nil && of != 0 && !described && !slices.Contains(known, of) {
		err = fmt.Errorf("the store has no STAN %d; it has %s", of, list(known))
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// failure is an error of a terminal with its exit code.
func failure(err error) error {
	var no *terminal.RefusedError
	switch {
	case errors.Is(err, terminal.ErrNoMasterKey):
		return &exitError{exitRefused, fmt.Errorf("%w: load it with acqswitch keys load-terminal, and have mac: in the registry other than none", err)}
	case errors.Is(err, terminal.ErrOtherMasterKey), errors.Is(err, terminal.ErrNothingThere), errors.As(err, &no):
		return &exitError{exitRefused, err}
	}
	return unreachable(err)
}

// settle settles the batch. An uneven one is closed too, and its exit code is
// that of a refusal: people must look at it.
func (f *terminalFlags) settle(ctx context.Context, c *console, t *terminal.Client) error {
	if f.store == "" && !c.json() {
		fmt.Fprintln(c.out, "without --store the terminal remembers no transaction: it settles totals of 0")
	}
	s, err := t.Settlement(ctx)
	if err != nil {
		return failure(err)
	}
	if err := printAnswer(c, t, &s.Answer, &s); err != nil {
		return err
	}
	if !c.json() {
		fmt.Fprintf(c.out, "\n%s\n", settledText(&s, t))
	}
	if !s.Even {
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
		return t.UploadStatus(ctx)
	case txn.KindDownload:
		return t.DownloadAll(ctx, func(d terminal.Download, items [][]byte) {
			if !c.json() {
				fmt.Fprintf(c.out, "%s: %d\n", d, len(items))
			}
		})
	case txn.KindReversal:
		if f.replacement != "" {
			return t.ReversePart(ctx, tx.Amount, tx.Original, f.stays)
		}
		return t.Reversal(ctx, tx.Amount, tx.Original)
	}
	return t.Do(ctx, k, tx)
}
