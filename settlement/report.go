package settlement

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Report is what Verify found. It holds no card number but masked ones.
type Report struct {
	JournalFirst   uint64 `json:"journal_first"`
	JournalLast    uint64 `json:"journal_last"`
	LedgerPosition uint64 `json:"ledger_position"`
	Lag            uint64 `json:"lag_records"` // in the journal, not yet in the ledger

	Intents       int64 `json:"intents"`
	Outcomes      int64 `json:"outcomes"`
	ReversalsDue  int64 `json:"reversals_due"`
	ReversalsDone int64 `json:"reversals_done"`
	AdvicesDone   int64 `json:"advices_done"`
	LateAnswers   int64 `json:"late_answers"`

	// What is not finished, which is no break: requests at an issuer now, or cut
	// off by a crash and taken up at the next start; and reversals still owed.
	OpenRequests  []Open `json:"open_requests,omitempty"`
	OpenReversals []Open `json:"open_reversals,omitempty"`
	OpenCount     int64  `json:"open_requests_count"`
	OwedCount     int64  `json:"open_reversals_count"`
	ParkedCount   int64  `json:"parked_count"` // of those: people must decide

	Checks []Check `json:"checks"`
	// Breaks are the first BreaksMax; each Check counts all of its own.
	Breaks []Break `json:"breaks,omitempty"`

	Took txn.Millis `json:"took_ms"`
}

// Limits of a Report's lists.
const (
	BreaksMax = 100
	openMax   = 20
)

// Check is one rule and how it held.
type Check struct {
	Rule    Rule   `json:"rule"`
	Promise string `json:"promise"`
	Checked int64  `json:"checked"` // things looked at
	Breaks  int64  `json:"breaks"`
	Note    string `json:"note,omitempty"` // what was left out, and why
}

// Break is one violation.
type Break struct {
	Rule    Rule     `json:"rule"`
	What    string   `json:"what"`
	ID      txn.ID   `json:"id,omitempty"`
	History []string `json:"history,omitempty"` // the transaction's journal records
}

// Open is a transaction that is not finished.
type Open struct {
	ID       txn.ID    `json:"id"`
	Position uint64    `json:"position"`
	Since    time.Time `json:"since"`
	What     string    `json:"what"`
}

// Rule names a check.
type Rule string

// The rules, in the order of a report.
const (
	RulePosition Rule = "position"
	RuleCopied   Rule = "copied"
	RuleFinding  Rule = "finding"
	RuleIntent   Rule = "intent"
	RuleOutcome  Rule = "outcome"
	RuleReversal Rule = "reversal"
	RuleRRN      Rule = "rrn"
	RuleKey      Rule = "key"
	RuleHold     Rule = "hold"
	RuleUsage    Rule = "usage"
	RuleBatch    Rule = "batch"
	RuleLive     Rule = "live"
	RulePosting  Rule = "posting"
	RulePayout   Rule = "payout"
	RuleCase     Rule = "case"
)

func newChecks() []Check {
	return []Check{
		{Rule: RulePosition, Promise: "the ledger is not ahead of the journal, and lacks nothing that the journal no longer has"},
		{Rule: RuleCopied, Promise: "each decided record up to the ledger's position is in the ledger once and equal, and nothing else is"},
		{Rule: RuleFinding, Promise: "what the rules of risk found of each of these is in the ledger in its order and equal, and nothing else is"},
		{Rule: RuleIntent, Promise: "each request an issuer may have seen has an earlier intent for the same thing"},
		{Rule: RuleOutcome, Promise: "each intent has at most one outcome, and money is approved by issuers only"},
		{Rule: RuleReversal, Promise: "each unknown outcome and each reversal due is done once, open or parked, in journal and ledger alike; nothing else is reversed"},
		{Rule: RuleRRN, Promise: "a retrieval reference number is given once a business day"},
		{Rule: RuleKey, Promise: "terminal, batch, STAN and class are one transaction with one answer a business day"},
		{Rule: RuleHold, Promise: "approved and unknown transactions that move money hold their limits, no others do"},
		{Rule: RuleUsage, Promise: "the use of limits recomputed from the ledger equals that of the journal"},
		{Rule: RuleBatch, Promise: "each settlement's totals of ours are those of the transactions before it, and it was told how they compare"},
		{Rule: RuleLive, Promise: "the running switch's counters, owed reversals and batches equal the journal's"},
		{Rule: RulePosting, Promise: "the debits of each run and currency are its credits"},
		{Rule: RulePayout, Promise: "each payout is opening + net + corrections + returned + disputes + released - reserved, of the books; what was decided is booked once, and ordered is what the bank has not answered"},
		{Rule: RuleCase, Promise: "each case followed the rules, and each of its steps that moves money is one act between the right accounts"},
	}
}

// OK says that no check found a break.
func (r *Report) OK() bool {
	for i := range r.Checks {
		if r.Checks[i].Breaks > 0 {
			return false
		}
	}
	return true
}

// Made says that the check was made, though perhaps not of everything; else its Note
// says why not.
func (c *Check) Made() bool { return c.Checked > 0 || c.Note == "" }

func (r *Report) check(rule Rule) *Check {
	for i := range r.Checks {
		if r.Checks[i].Rule == rule {
			return &r.Checks[i]
		}
	}
	panic("no check for rule " + string(rule))
}

func (r *Report) broken(rule Rule, id txn.ID, format string, args ...any) {
	r.check(rule).Breaks++
	if len(r.Breaks) < BreaksMax {
		r.Breaks = append(r.Breaks, Break{Rule: rule, ID: id, What: fmt.Sprintf(format, args...)})
	}
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	e := &errWriter{w: w}
	fmt.Fprintf(e, "journal  %d to %d: %d intents, %d outcomes, %d reversals due, %d done, %d advices done, %d late answers\n",
		r.JournalFirst, r.JournalLast, r.Intents, r.Outcomes, r.ReversalsDue, r.ReversalsDone, r.AdvicesDone, r.LateAnswers)
	fmt.Fprintf(e, "ledger   at %d, %d records behind\n", r.LedgerPosition, r.Lag)
	fmt.Fprintf(e, "open     %d requests, %d reversals, of which %d are parked\n\n", r.OpenCount, r.OwedCount, r.ParkedCount)
	t := tabwriter.NewWriter(e, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tCHECKED\tBREAKS\tPROMISE")
	for _, c := range r.Checks {
		checked := strconv.FormatInt(c.Checked, 10)
		if !c.Made() {
			checked = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", c.Rule, checked, c.Breaks, c.Promise)
		if c.Note != "" {
			fmt.Fprintf(t, "\t\t\t%s\n", c.Note)
		}
	}
	t.Flush()
	writeOpen(e, "open requests", r.OpenRequests, r.OpenCount)
	writeOpen(e, "open reversals", r.OpenReversals, r.OwedCount)
	for _, b := range r.Breaks {
		fmt.Fprintf(e, "\nBROKEN %s: %s\n", b.Rule, b.What)
		for _, h := range b.History {
			fmt.Fprintf(e, "    %s\n", h)
		}
	}
	verdict := "clean"
	if !r.OK() {
		verdict = "NOT CLEAN"
	}
	fmt.Fprintf(e, "\n%s, verified in %s\n", verdict, time.Duration(r.Took).Round(time.Millisecond))
	return e.err
}

func writeOpen(w io.Writer, title string, open []Open, count int64) {
	if count == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s (%d of %d):\n", title, len(open), count)
	for _, o := range open {
		fmt.Fprintf(w, "    %s\n", o.What)
	}
}

// errWriter keeps the first error of many writes.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(b []byte) (int, error) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
	return len(b), e.err
}

// describe is one record as a line of history.
func describe(pos uint64, r *txn.Record) string {
	_, key := r.Subject()
	s := fmt.Sprintf("#%d %s %s %s of %s: %s, merchant %s, terminal %s batch %06d STAN %06d, card %s",
		pos, r.At.Format("2006-01-02T15:04:05.000000Z"), r.Request, r.Kind, subjectID(r), r.Amount,
		r.Merchant, key.Terminal, key.Batch, key.STAN, printable(r.Masked[:]))
	if r.Kind == txn.RecordOutcome {
		s += fmt.Sprintf(", %s: %s, code %s, RRN %s, auth %s", r.Outcome, r.Reason, printable(r.Code[:]), printable(r.RRN[:]), printable(r.AuthCode[:]))
	}
	if r.Stays != 0 {
		s += fmt.Sprintf(", leaves %s", txn.Amount{Minor: r.Stays, Currency: r.Amount.Currency})
	}
	if r.Leg.Issuer != (txn.IssuerID{}) {
		s += fmt.Sprintf(", issuer %s STAN %06d", r.Leg.Issuer, r.Leg.STAN)
	}
	return s
}

func subjectID(r *txn.Record) txn.ID {
	id, _ := r.Subject()
	return id
}

// printable is a fixed field for people: without padding, - when empty, with ?
// for what cannot be printed.
func printable(b []byte) string {
	s := txn.Text(b)
	if s == "" {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}
