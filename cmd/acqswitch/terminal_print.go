package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// list is the last few of trace numbers, in words.
func list(stans []uint32) string {
	const most = 10
	if len(stans) == 0 {
		return "none"
	}
	text := ""
	for _, n := range stans[max(0, len(stans)-most):] {
		text += fmt.Sprintf(", %d", n)
	}
	if n := len(stans) - most; n > 0 {
		text += fmt.Sprintf(" and %d before", n)
	}
	return text[2:]
}

// settledText says how a settlement came out.
func settledText(s *terminal.Settlement, t *terminal.Client) string {
	ours, theirs := totalsText(s.Terminal, t.Currency()), totalsText(s.Host, t.Currency())
	if s.Even {
		return fmt.Sprintf("batch %06d is settled, even: %s; the next is %06d", s.Batch, ours, t.Batch())
	}
	return fmt.Sprintf("batch %06d is closed, uneven: the terminal has %s; the switch has %s.\nWhat differs is left to people (acqswitch batches list); the next batch is %06d", s.Batch, ours, theirs, t.Batch())
}

func totalsText(t txn.Totals, c txn.Currency) string {
	return fmt.Sprintf("debit %s in %d, credit %s in %d", txn.Amount{Minor: t.Debit.Minor, Currency: c}, t.Debit.Count, txn.Amount{Minor: t.Credit.Minor, Currency: c}, t.Credit.Count)
}

// printAnswer prints an answer; settled is nil unless it ends a settlement.
func printAnswer(c *console, t *terminal.Client, ans *terminal.Answer, settled *terminal.Settlement) error {
	stan := t.STAN()
	if n, err := strconv.ParseUint(ans.STAN, 10, 32); err == nil {
		stan = uint32(n) // a reversal repeats the original's number
	}
	b, err := ans.Describe(false)
	if err != nil {
		return err
	}
	if c.json() {
		v := map[string]any{"approved": ans.Approved(), "code": ans.Code, "meaning": terminal.Meaning(ans.Code), "rrn": ans.RRN, "auth_code": ans.AuthCode, "stan": stan,
			"batch": t.Batch(), "latency_ms": float64(ans.Latency) / 1e6, "message": b}
		if ans.First != nil {
			v["first"] = map[string]any{"code": ans.First.Code, "stan": ans.First.STAN}
		}
		if settled != nil {
			v["settlement"] = map[string]any{"batch": settled.Batch, "even": settled.Even, "terminal": settled.Terminal, "switch": settled.Host}
		}
		return c.print(v)
	}
	word, code := "approved", ans.Code
	if !ans.Approved() {
		word = "refused"
		if m := terminal.Meaning(code); m != "" {
			code += ", " + m
		}
	}
	if note := again(ans); note != "" {
		fmt.Fprintf(c.out, "%s in batch %06d\n", note, t.Batch())
	}
	fmt.Fprintf(c.out, "%s: code %s, STAN %06d, RRN %s, %s\n\n", word, code, stan, cmp.Or(ans.RRN, "-"), ms(ans.Latency))
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "MTI\t%s\n", b.MTI)
	for _, field := range b.Fields {
		fmt.Fprintf(w, "%d\t%s\t%s\n", field.Number, field.Value, field.Name)
	}
	return w.Flush()
}

// again says that a terminal was told to sign on and asked again, and under
// which number; empty where it was not.
func again(ans *terminal.Answer) string {
	if ans.First == nil {
		return ""
	}
	number := func(stan string) string { return strings.TrimLeft(stan, "0") }
	return fmt.Sprintf("%s was told %s: signed on, asked again as %s", number(ans.First.STAN), ans.First.Code, number(ans.STAN))
}
