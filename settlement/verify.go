package settlement

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// VerifyInput is what Verify holds against each other. Nothing is changed, and
// the switch may run meanwhile.
type VerifyInput struct {
	Journal Journal
	// OpenJournal gives the journal instead, where it must be opened after the
	// ledger's view was taken: a journal opened read-only ends where it ended
	// then, and the ledger must not be ahead of it. Called once.
	OpenJournal func() (Journal, error)
	Ledger      Reader
	Live        Live  // nil when the switch is not running in this process
	Cases       Cases // nil: they are not checked
}

// Cases is what issuers dispute. Verify calls broken with what does not hold of a
// transaction's case, and returns how many steps it checked and what else is to say.
type Cases interface {
	Verify(ctx context.Context, broken func(id txn.ID, what string)) (checked int64, note string, err error)
}

// Reader gives a view of the ledger that stays the same; see ledger.Ledger.
type Reader interface {
	Read(ctx context.Context, fn func(*ledger.Snapshot) error) error
}

// Live is the running switch's memory.
type Live interface {
	// Idle says that no request is being decided and no reversal being sent.
	Idle() bool
	// Usage is the counters of the business days that are kept, without zeros.
	Usage() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]]
	// Months is the counters of the months that are counted whole, by their first
	// days. Cards need not be among them.
	Months() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]]
	// Owed is the number of reversals that are owed.
	Owed() int64
	// Batches calls fn with every batch that is kept.
	Batches(fn func(*batch.Batch))
}

// Verify checks what the Report's Checks promise. It needs about 300 bytes of
// memory for each transaction in the journal. An error says that something
// could not be read; breaks are in the Report.
//
// The order makes it right on a running switch: the ledger's snapshot is taken
// first, then the journal is read past it, then the live counters, which are
// compared only if nothing moved meanwhile.
func Verify(ctx context.Context, in VerifyInput) (*Report, error) {
	began := time.Now()
	r := &Report{Checks: newChecks()}
	err := in.Ledger.Read(ctx, func(s *ledger.Snapshot) error {
		position, err := s.Position(ctx)
		if err != nil {
			return err
		}
		r.LedgerPosition = position
		if in.Journal == nil {
			if in.Journal, err = in.OpenJournal(); err != nil {
				return err
			}
		}
		h, err := newHistory(ctx, r, in.Journal, s)
		if err != nil {
			return err
		}
		v := verifier{in: in, report: r, history: h, ledger: s}
		v.position()
		for _, check := range [...]func(context.Context) error{v.copied, v.findings, v.reversals, v.usage, v.postings, v.payouts, v.cases, v.live} {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return v.tell()
	})
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	r.Took = txn.Millis(time.Since(began))
	return r, nil
}

type verifier struct {
	in      VerifyInput
	report  *Report
	history *history
	ledger  *ledger.Snapshot
}

func (v *verifier) position() {
	r := v.report
	r.check(RulePosition).Checked = 1
	if r.LedgerPosition > r.JournalLast {
		r.broken(RulePosition, 0, "the ledger holds records up to %d, the journal ends at %d", r.LedgerPosition, r.JournalLast)
		return
	}
	if r.LedgerPosition+1 < r.JournalFirst {
		r.broken(RulePosition, 0, "the ledger holds records up to %d, the journal begins at %d: nobody has those between", r.LedgerPosition, r.JournalFirst)
	}
	r.Lag = r.JournalLast - r.LedgerPosition
}

// copied holds each ledger row against the journal record it came from.
func (v *verifier) copied(ctx context.Context) error {
	r, h := v.report, v.history
	c := r.check(RuleCopied)
	var before int64
	err := v.ledger.Scan(ctx, func(e ledger.Entry) error {
		if e.Pos < r.JournalFirst {
			before++
			return nil
		}
		if h.inFiles(e.Rec.Day, e.Pos) { // it is about to be removed
			return nil
		}
		c.Checked++
		id := subjectID(e.Rec)
		switch h.copied(e) {
		case copyEqual:
		case copyUnknown:
			r.broken(RuleCopied, id, "the ledger has a row of position %d, where the journal has no decided record", e.Pos)
		case copyTwice:
			r.broken(RuleCopied, id, "the ledger has position %d twice", e.Pos)
		case copyDiffers:
			field, err := v.firstDifference(e)
			if err != nil {
				return err
			}
			r.broken(RuleCopied, id, "the ledger's row of position %d differs from the journal in %s", e.Pos, field)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if before > 0 {
		c.Note = fmt.Sprintf("%d rows are older than the journal and were not compared", before)
	}
	return h.missing(ctx, r.LedgerPosition, func(pos uint64, rec *txn.Record) {
		r.broken(RuleCopied, subjectID(rec), "the ledger is at %d and lacks the record of position %d", r.LedgerPosition, pos)
	})
}

// findingsRead is how many findings are read at once: more than one request has.
const findingsRead = 4096

// findings holds what the ledger says that rules found against the records.
func (v *verifier) findings(ctx context.Context) error {
	r, h := v.report, v.history
	c := r.check(RuleFinding)
	seen := map[uint64]bool{}
	one := func(fs []ledger.Finding) {
		pos := fs[0].Position
		if h.inFiles(fs[0].Day, pos) { // it is about to be removed
			return
		}
		c.Checked += int64(len(fs))
		switch want, ok := h.found[pos]; {
		case !ok:
			r.broken(RuleFinding, fs[0].ID, "the ledger has %d findings of position %d, the journal none", len(fs), pos)
		case want != h.digestOf(fs):
			r.broken(RuleFinding, fs[0].ID, "the ledger's findings of position %d differ from the journal's", pos)
		}
		seen[pos] = true
	}
	for after := r.JournalFirst - 1; ; {
		all, err := v.ledger.Findings(ctx, after, findingsRead)
		if err != nil {
			return err
		}
		more := len(all) == findingsRead
		if more { // the last request's may go on
			last := all[len(all)-1].Position
			all = all[:slices.IndexFunc(all, func(f ledger.Finding) bool { return f.Position == last })]
		}
		for len(all) > 0 {
			n := slices.IndexFunc(all, func(f ledger.Finding) bool { return f.Position != all[0].Position })
			if n < 0 {
				n = len(all)
			}
			after = all[0].Position
			one(all[:n])
			all = all[n:]
		}
		if !more {
			break
		}
	}
	for pos := range h.found {
		if pos <= r.LedgerPosition && !seen[pos] {
			r.broken(RuleFinding, 0, "the ledger lacks the findings of position %d", pos)
		}
	}
	return nil
}

var errFound = errors.New("found")

// firstDifference names the first field in which the ledger's row is not the
// journal's record.
func (v *verifier) firstDifference(e ledger.Entry) (string, error) {
	var rec txn.Record
	err := v.in.Journal.Scan(journal.Position(e.Pos), func(_ journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return err
		}
		rec = ledger.Kept(rec)
		return errFound
	})
	if !errors.Is(err, errFound) {
		return "", fmt.Errorf("read journal record %d: %w", e.Pos, err)
	}
	a, b := reflect.ValueOf(rec), reflect.ValueOf(*e.Rec)
	for i := range a.NumField() {
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return a.Type().Field(i).Name, nil
		}
	}
	return "its stored form", nil
}

// reversals holds the ledger's list of open reversals against the journal's.
func (v *verifier) reversals(ctx context.Context) error {
	r, h := v.report, v.history
	entries, err := v.ledger.OpenReversals(ctx)
	if err != nil {
		return err
	}
	listed := map[uint64]bool{} // by position of what owes it
	for _, e := range entries {
		id := subjectID(e.Rec)
		if e.Pos < r.JournalFirst {
			continue
		}
		if listed[e.Pos] = true; !slices.ContainsFunc(h.txns[id].debts, func(d debt) bool { return d.due == e.Pos && d.open(r.LedgerPosition) }) {
			r.broken(RuleReversal, id, "the ledger lists a reversal as open which the journal does not owe at %d", r.LedgerPosition)
		}
	}
	for id, t := range h.txns {
		for _, d := range t.debts {
			if d.open(r.LedgerPosition) && !listed[d.due] {
				r.broken(RuleReversal, id, "a reversal is owed and the ledger does not list it as open")
			}
		}
	}
	return nil
}

// postings sums up both sides of what runs booked.
func (v *verifier) postings(ctx context.Context) error {
	c := v.report.check(RulePosting)
	balances, err := v.ledger.Balances(ctx)
	if len(balances) == 0 {
		c.Note = "not checked: no day has been settled"
	}
	for _, b := range balances {
		c.Checked += b.Rows
		if b.Minor != 0 {
			v.report.broken(RulePosting, 0, "the run of %s: debits less credits are %s", b.Day, txn.Amount{Minor: b.Minor, Currency: b.Currency})
		}
	}
	return err
}

// cases holds what issuers dispute.
func (v *verifier) cases(ctx context.Context) (err error) {
	c := v.report.check(RuleCase)
	if v.in.Cases == nil {
		c.Note = "not checked: cases are not at hand"
		return nil
	}
	c.Checked, c.Note, err = v.in.Cases.Verify(ctx, func(id txn.ID, what string) { v.report.broken(RuleCase, id, "%s", what) })
	return err
}

// usage recomputes the use of limits from both sides.
func (v *verifier) usage(ctx context.Context) error {
	r, h := v.report, v.history
	c := r.check(RuleUsage)
	for day, use := range h.usageAt(r.LedgerPosition) {
		if day <= h.truncatedDay {
			c.Note = "days of which the journal no longer has all records were not compared"
			continue
		}
		if _, archived := h.archived[day]; archived {
			c.Note = "days that are archived were not compared"
			continue
		}
		err := v.ledger.Usage(ctx, day, func(p ledger.Party, u ledger.Use) error {
			c.Checked++
			if want := use[p]; want != u {
				r.broken(RuleUsage, 0, "%s on %s: the ledger sums up to %s, the journal to %s", party(p), day, useOf(p, u), useOf(p, want))
			}
			delete(use, p)
			return nil
		})
		if err != nil {
			return err
		}
		for p, want := range use {
			if want != (ledger.Use{}) {
				c.Checked++
				r.broken(RuleUsage, 0, "%s on %s: the ledger has no use, the journal %s", party(p), day, useOf(p, want))
			}
		}
	}
	return nil
}

func party(p ledger.Party) string {
	id := fmt.Sprintf("%x", p.ID)
	if p.Scope == txn.ScopeTerminal || p.Scope == txn.ScopeMerchant {
		id = printable(p.ID[:])
	}
	return fmt.Sprintf("%s %s, %s by %s cards,", p.Scope, id, p.Method, p.CardType)
}

func useOf(p ledger.Party, u ledger.Use) string {
	return fmt.Sprintf("%s in %d", txn.Amount{Minor: u.Minor, Currency: p.Currency}, u.Count)
}

// tell adds the histories of broken transactions.
func (v *verifier) tell() error {
	about := map[txn.ID][]string{}
	for _, b := range v.report.Breaks {
		if b.ID != 0 {
			about[b.ID] = nil
		}
	}
	if len(about) == 0 {
		return nil
	}
	var rec txn.Record
	err := v.in.Journal.Scan(v.in.Journal.First(), func(pos journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("decode journal record %d: %w", pos, err)
		}
		if lines, ok := about[subjectID(&rec)]; ok && len(lines) < openMax {
			about[subjectID(&rec)] = append(lines, describe(uint64(pos), &rec))
		}
		return nil
	})
	for i := range v.report.Breaks {
		b := &v.report.Breaks[i]
		b.History = about[b.ID]
	}
	return err
}
