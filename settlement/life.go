package settlement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Life is all that the books know of one transaction.
type Life struct {
	ID txn.ID `json:"id"`
	// RRN is the transaction's own number where it was asked for by that of its
	// reversal.
	RRN   string     `json:"rrn,omitempty"`
	Steps []LifeStep `json:"steps"` // as they happened
	// Explanation is the money; nil for what is not in the ledger yet, or where
	// Unpriced says that there are no fees.
	Explanation *Explanation `json:"explanation,omitempty"`
	Unpriced    bool         `json:"unpriced,omitempty"`
}

// LifeStep is one durable fact of a life.
type LifeStep struct {
	Position uint64    `json:"position"` // in the journal
	At       time.Time `json:"at"`
	Record   string    `json:"record"`
	// About says that it is of another transaction, about this one: a void, a
	// refund, a completion.
	About    bool     `json:"about,omitempty"`
	Text     string   `json:"text"`
	Stages   []Took   `json:"stages,omitempty"`   // of the answer, where the journal still has it
	Findings []string `json:"findings,omitempty"` // what the rules of risk said
}

// Took is when one stage ended, since the request's last byte was read.
type Took struct {
	Stage string     `json:"stage"`
	After txn.Millis `json:"after_ms"`
}

// Lives are the transactions of a business day with a retrieval reference
// number; normally there is one. What the journal still has is taken from it, so
// a transaction is found before the ledger has it. fees is as of Explain.
func Lives(ctx context.Context, l *ledger.Ledger, j Journal, day txn.Date, rrn string, fees func() (*fee.Schedule, error)) ([]Life, error) {
	s := &lives{day: day, rrn: rrn, steps: map[txn.ID]map[uint64]LifeStep{}}
	if err := s.fromLedger(ctx, l); err != nil {
		return nil, err
	}
	if err := s.fromJournal(ctx, j); err != nil {
		return nil, err
	}
	if len(s.steps) == 0 {
		orig, err := s.reversed(ctx, l, j)
		if err != nil || orig == nil {
			return nil, err
		}
		all, err := Lives(ctx, l, j, orig.Day, printable(orig.RRN[:]), fees)
		for i := range all {
			all[i].RRN = printable(orig.RRN[:])
		}
		return all, err
	}
	explained, err := Explain(ctx, l, day, rrn, fees)
	unpriced := errors.Is(err, fs.ErrNotExist) // a switch sells without a file of fees
	if err != nil && !unpriced {
		return nil, err
	}
	var all []Life
	for id, steps := range s.steps {
		life := Life{ID: id, Unpriced: unpriced}
		for _, step := range steps {
			life.Steps = append(life.Steps, step)
		}
		slices.SortFunc(life.Steps, func(a, b LifeStep) int { return cmp.Compare(a.Position, b.Position) })
		for i := range explained {
			if explained[i].ID == id {
				life.Explanation = &explained[i]
			}
		}
		all = append(all, life)
	}
	slices.SortFunc(all, func(a, b Life) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

type lives struct {
	day   txn.Date
	rrn   string
	steps map[txn.ID]map[uint64]LifeStep // by transaction and position
}

func (s *lives) fromLedger(ctx context.Context, l *ledger.Ledger) error {
	entries, err := l.ByRRN(ctx, s.day, s.rrn)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := e.Rec.ID
		s.add(id, e.Pos, e.Rec)
		step := s.steps[id][e.Pos]
		findings, err := l.FindingsAt(ctx, e.Pos)
		if err != nil {
			return err
		}
		for _, f := range findings {
			step.Findings = append(step.Findings, findingText(f.Finding, f.Policy))
		}
		s.steps[id][e.Pos] = step
		events, err := l.Events(ctx, e.Rec.Merchant, id)
		if err != nil {
			return err
		}
		for _, event := range events {
			s.add(id, event.Pos, event.Rec)
		}
		deeds, err := l.ByOriginal(ctx, e.Rec.Merchant, id)
		if err != nil {
			return err
		}
		for _, deed := range deeds {
			s.add(id, deed.Pos, deed.Rec)
		}
	}
	return nil
}

// fromJournal adds what the ledger does not keep: intents, stages, and what it
// has not got yet.
func (s *lives) fromJournal(ctx context.Context, j Journal) error {
	var rec txn.Record
	return j.Scan(j.First(), func(at journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("decode journal record %d: %w", at, err)
		}
		subject := subjectID(&rec)
		if rec.Day == s.day && printable(rec.RRN[:]) == s.rrn && subject == rec.ID {
			s.add(rec.ID, uint64(at), &rec)
			return ctx.Err()
		}
		for _, id := range [...]txn.ID{subject, rec.Original} {
			if s.steps[id] != nil && id != 0 {
				s.add(id, uint64(at), &rec)
				break
			}
		}
		return ctx.Err()
	})
}

// reversed is the transaction that the reversal with that number took back, nil when
// there is none.
func (s *lives) reversed(ctx context.Context, l *ledger.Ledger, j Journal) (orig *txn.Record, err error) {
	due, err := l.ReversalsByRRN(ctx, s.day, s.rrn)
	if err != nil {
		return nil, err
	}
	for _, e := range due {
		of, err := l.ByKey(ctx, e.Rec.Merchant, e.Rec.Day, e.Rec.OriginalKey)
		if err != nil {
			return nil, err
		}
		for i := range of {
			if of[i].Rec.ID == e.Rec.Original {
				return of[i].Rec, nil
			}
		}
	}
	// What the ledger has not got yet is in the journal, the outcome before the reversal:
	// that is found first, in a reading of its own.
	id := txn.ID(0)
	for _, wanted := range [...]func(*txn.Record) bool{
		func(r *txn.Record) bool {
			return r.Kind == txn.RecordReversalDue && (r.Day == s.day || r.Day == s.day.Before()) && printable(r.RRN[:]) == s.rrn
		},
		func(r *txn.Record) bool { return r.Kind == txn.RecordOutcome && r.ID == id },
	} {
		var rec txn.Record
		orig = nil
		err = j.Scan(j.First(), func(at journal.Position, b []byte) error {
			if err := rec.Unmarshal(b); err != nil {
				return fmt.Errorf("decode journal record %d: %w", at, err)
			}
			if orig == nil && wanted(&rec) {
				found := rec
				orig = &found
			}
			return ctx.Err()
		})
		if err != nil || orig == nil {
			return nil, err
		}
		id, _ = orig.Subject()
	}
	return orig, nil
}

// add notes a record as a step of id's life. What was known of it stays where
// the record says less.
func (s *lives) add(id txn.ID, pos uint64, rec *txn.Record) {
	if s.steps[id] == nil {
		s.steps[id] = map[uint64]LifeStep{}
	}
	step := s.steps[id][pos]
	step.Position, step.At, step.Record, step.Text = pos, rec.At, rec.Kind.String(), stepText(rec)
	if step.About = subjectID(rec) != id; step.About {
		step.Text += ", RRN " + printable(rec.RRN[:]) // by which it is explained itself
	}
	if rec.Kind == txn.RecordOutcome { // events repeat what they are about
		for i, micros := range rec.Took {
			if micros > 0 {
				step.Stages = append(step.Stages, Took{txn.Stage(i).String(), txn.Millis(time.Duration(micros) * time.Microsecond)})
			}
		}
		if rec.Findings.Len() > 0 {
			step.Findings = nil
		}
		for f := range rec.Findings.All() {
			step.Findings = append(step.Findings, findingText(f, rec.Findings.Policy))
		}
	}
	s.steps[id][pos] = step
}

func findingText(f txn.Finding, policy uint32) string {
	s := fmt.Sprintf("rule %s: %s", f.Rule, f.Action)
	if f.Shadow {
		s += ", shadow"
	}
	if policy == 0 {
		return s + " (the built-in policy, or a file's)"
	}
	return fmt.Sprintf("%s (policy %d)", s, policy)
}

// stepText says what a record adds to a life, without what all steps share.
func stepText(r *txn.Record) string {
	var b strings.Builder
	say := func(format string, args ...any) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, format, args...)
	}
	_, key := r.Subject()
	leg := func() {
		if r.Leg.Issuer != (txn.IssuerID{}) {
			say("issuer %s as STAN %06d of %s", r.Leg.Issuer, r.Leg.STAN, printable(r.Leg.Time[:]))
		}
	}
	switch r.Kind {
	case txn.RecordIntent:
		say("%s of %s", r.Request, r.Amount.InLetters())
		say("MTI %04X, DE3 %s, DE22 %02d", r.MTI, printable(r.ProcessingCode[:]), r.Entry)
		say("terminal %s batch %06d STAN %06d", key.Terminal, key.Batch, key.STAN)
		say("card %s", printable(r.Masked[:]))
		if r.CardType != txn.CardUnknown {
			say("%s", r.CardType)
		}
		leg()
		if r.Held == txn.Debit {
			say("limits reserved")
		}
	case txn.RecordOutcome:
		say("%s of %s", r.Request, r.Amount.InLetters())
		say("%s", r.Outcome)
		if r.Reason != txn.Approved {
			say("%s", r.Reason)
		}
		say("told %s", printable(r.Code[:]))
		if r.IssuerCode != ([2]byte{}) {
			say("issuer said %s", printable(r.IssuerCode[:]))
		}
		if r.AuthCode != ([6]byte{}) {
			say("authorization code %s", printable(r.AuthCode[:]))
		}
		if r.Owes() {
			say("a %s is owed", owedName(r))
		}
	case txn.RecordReversalDue:
		if r.Key != (txn.Key{}) {
			say("the terminal asked for it with STAN %06d and was told %s", r.Key.STAN, printable(r.Code[:]))
		} else {
			say("the answer could not be delivered")
		}
		if r.Stays != 0 {
			say("%s of it stays", majorUnits(r.Stays, r.Amount.Currency))
		}
		leg()
	case txn.RecordReversalDone, txn.RecordAdviceDone:
		if len(r.Data) > 0 {
			say("a person resolved it: %s", r.Data)
		} else {
			say("the issuer answered %s at attempt %d", printable(r.IssuerCode[:]), r.Attempts)
		}
		if r.Held != txn.NoEffect {
			say("limits given back")
		}
	case txn.RecordLate:
		say("the issuer answered %s after the request was decided", printable(r.IssuerCode[:]))
	case txn.RecordParked:
		say("the issuer answered %s at attempt %d; it is not sent any more, a person must decide", printable(r.IssuerCode[:]), r.Attempts)
	case txn.RecordReleased:
		say("a person has it sent again: %s", r.Data)
	}
	if len(r.Serial) > 0 {
		say("machine %s", r.Serial)
	}
	if r.Lat != 0 || r.Lng != 0 {
		say("at %.6f,%.6f", float64(r.Lat)/1e6, float64(r.Lng)/1e6)
	}
	return b.String()
}

func owedName(r *txn.Record) string {
	if r.Request.Remedy() == txn.Repeat {
		return "repeat"
	}
	return "reversal"
}

// WriteText writes the life for people.
func (l *Life) WriteText(w io.Writer) error {
	e := &errWriter{w: w}
	fmt.Fprintf(e, "transaction %s\n", l.ID)
	if l.RRN != "" {
		fmt.Fprintf(e, "The number is that of its reversal; its own is %s.\n", l.RRN)
	}
	for _, s := range l.Steps {
		name := s.Record
		if s.About {
			name += " about it"
		}
		fmt.Fprintf(e, "\n#%d  %s  %s\n    %s\n", s.Position, s.At.Format("2006-01-02 15:04:05.000000Z"), name, s.Text)
		if len(s.Stages) > 0 {
			fmt.Fprint(e, "    ")
			for i, took := range s.Stages {
				if i > 0 {
					fmt.Fprint(e, " > ")
				}
				fmt.Fprintf(e, "%s %s", took.Stage, time.Duration(took.After))
			}
			fmt.Fprintln(e)
		}
		for _, f := range s.Findings {
			fmt.Fprintf(e, "    %s\n", f)
		}
	}
	switch {
	case l.Unpriced:
		fmt.Fprintln(e, "\nIt is not priced: there is no file of fees (settlement.fees).")
		return e.err
	case l.Explanation == nil:
		fmt.Fprintln(e, "\nIt is not in the ledger yet.")
		return e.err
	}
	fmt.Fprintln(e)
	if e.err != nil {
		return e.err
	}
	return l.Explanation.WriteText(w)
}
