package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// booksReport is the comparison of three books once everything is at rest:
// what the terminals were told, what the switch's ledger says, and what the
// issuers booked.
type booksReport struct {
	Terminals booksSide `json:"terminals"` // told approved and not reversed
	Ledger    booksSide `json:"ledger"`    // approved and not reversed
	Issuers   booksSide `json:"issuers"`   // approved and not reversed
	Breaks    []string  `json:"breaks,omitempty"`

	// late are the deals of which the issuer took note only when it was told again:
	// their terminals may have been told that nobody knows.
	late map[dealKey]bool
}

// booksSide is one book's standing approvals by their currency.
type booksSide map[txn.Currency]booksSum

// MarshalJSON names currencies by their letters.
func (s booksSide) MarshalJSON() ([]byte, error) {
	named := map[string]booksSum{}
	for c, sum := range s {
		named[c.Letters()] = sum
	}
	return json.Marshal(named)
}

type booksSum struct {
	Count int `json:"count"`
	// Minor is what cardholders paid in the end: sales and completions less
	// voids and refunds.
	Minor int64 `json:"minor"`
}

func (s booksSide) add(d deal) {
	sum := s[d.amount.Currency]
	sum.Count++
	sum.Minor += int64(d.kind.Totals()) * d.amount.Minor
	s[d.amount.Currency] = sum
}

// deal is one approval that moved money or pre-authorized it.
type deal struct {
	kind   txn.Kind
	amount txn.Amount
}

func (d deal) String() string { return fmt.Sprintf("%s of %s", d.kind, d.amount.InLetters()) }

// like gives a deal that a book wrote down without its currency that of ours.
func (d deal) like(ours deal) deal {
	if d.amount.Currency == 0 {
		d.amount.Currency = ours.amount.Currency
	}
	return d
}

// OK says that the books agree.
func (r *booksReport) OK() bool { return len(r.Breaks) == 0 }

func (r *booksReport) broken(format string, args ...any) {
	r.Breaks = append(r.Breaks, fmt.Sprintf(format, args...))
}

func (r *booksReport) writeText(w io.Writer) {
	verdict := "they agree"
	if !r.OK() {
		verdict = "THEY DIFFER"
	}
	fmt.Fprintf(w, "Three books of standing approvals, and what cardholders paid in the end: %s\n", verdict)
	currencies := map[txn.Currency]bool{}
	for _, side := range []booksSide{r.Terminals, r.Ledger, r.Issuers} {
		for c := range side {
			currencies[c] = true
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range slices.Sorted(maps.Keys(currencies)) {
		say := func(s booksSide) string {
			return fmt.Sprintf("%d for %s", s[c].Count, txn.Amount{Minor: s[c].Minor, Currency: c}.InLetters())
		}
		fmt.Fprintf(t, "    %s\tterminals %s\tledger %s\tissuers %s\n", c.Letters(), say(r.Terminals), say(r.Ledger), say(r.Issuers))
	}
	t.Flush()
	for _, b := range r.Breaks {
		fmt.Fprintf(w, "BROKEN books: %s\n", b)
	}
}

// compareSettled holds what was settled against what the ledger's standing deals
// came to.
func (r *booksReport) compareSettled(runs []*settlement.RunResult) {
	settled := map[string]int64{}
	for _, run := range runs {
		for _, t := range run.Totals {
			settled[t.Currency] += t.Sales - t.Refunds
		}
	}
	for c, sum := range r.Ledger {
		if got := settled[c.Letters()]; got != sum.Minor {
			r.broken("%s was settled, the ledger's deals came to %s", txn.Amount{Minor: got, Currency: c}.InLetters(), txn.Amount{Minor: sum.Minor, Currency: c}.InLetters())
		}
	}
}

// legKey is what an issuer and the ledger both call a request.
type legKey struct {
	issuer   string
	stan     uint32
	time     string
	terminal string
}

// dealKey is what a terminal and the ledger both call a deal.
type dealKey struct {
	terminal    string
	batch, stan uint32
}

// compareBooks compares the three books: the ledger, the issuers' (files by
// name), and what the terminals were told. It needs a switch at rest.
func compareBooks(ctx context.Context, l *ledger.Ledger, books map[string]string, told []fleet.Event) (*booksReport, error) {
	r := &booksReport{Terminals: booksSide{}, Ledger: booksSide{}, Issuers: booksSide{}, late: map[dealKey]bool{}}
	standing, byTerminal, err := r.readLedger(ctx, l)
	if err != nil {
		return nil, err
	}
	for name, path := range books {
		if err := r.compareIssuer(name, path, standing); err != nil {
			return nil, err
		}
	}
	for k := range standing {
		r.broken("issuer %s has no standing approval for STAN %06d at %s of terminal %s, the ledger has", k.issuer, k.stan, k.time, k.terminal)
	}
	r.compareTerminals(told, byTerminal)
	return r, nil
}

// readLedger returns the standing deals under both their names.
func (r *booksReport) readLedger(ctx context.Context, l *ledger.Ledger) (map[legKey]deal, map[dealKey]deal, error) {
	deals, unknown := map[txn.ID]txn.Record{}, map[txn.ID]txn.Record{}
	stays, noted := map[txn.ID]int64{}, map[txn.ID]bool{} // stays has what was reversed
	err := l.Read(ctx, func(s *ledger.Snapshot) error {
		return s.Scan(ctx, func(e ledger.Entry) error {
			switch rec := e.Rec; rec.Kind {
			case txn.RecordOutcome:
				switch {
				case rec.Outcome == txn.OutcomeApproved && rec.Request.MovesMoney():
					deals[rec.ID] = *rec
				case rec.Outcome == txn.OutcomeUnknown && rec.Request.Remedy() == txn.Repeat:
					unknown[rec.ID] = *rec
				}
			case txn.RecordAdviceDone:
				noted[rec.Original] = rec.Reason == txn.Approved
			case txn.RecordReversalDue: // in no order: the last leaves the least
				if left, ok := stays[rec.Original]; !ok || rec.Stays < left {
					stays[rec.Original] = rec.Stays
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	for id, rec := range unknown {
		if noted[id] {
			deals[id] = rec
		}
	}
	byLeg, byTerminal := map[legKey]deal{}, map[dealKey]deal{}
	for id, rec := range deals {
		d := deal{rec.Request, rec.Amount}
		if left, ok := stays[id]; ok {
			d.amount.Minor = left
		}
		if d.amount.Minor == 0 {
			continue
		}
		r.Ledger.add(d)
		byLeg[legKey{rec.Leg.Issuer.String(), rec.Leg.STAN, txn.Text(rec.Leg.Time[:]), rec.Key.Terminal.String()}] = d
		k := dealKey{rec.Key.Terminal.String(), rec.Key.Batch, rec.Key.STAN}
		byTerminal[k] = d
		r.late[k] = noted[id]
	}
	return byLeg, byTerminal, nil
}

// compareIssuer strikes an issuer's standing approvals off the ledger's.
func (r *booksReport) compareIssuer(name, path string, standing map[legKey]deal) error {
	entries, err := simulator.ReadBook(path)
	if err != nil {
		return err
	}
	for _, e := range simulator.Standing(entries) {
		k := legKey{name, e.STAN, e.Time, e.Terminal}
		ours, ok := standing[k]
		currency, _ := strconv.ParseUint(e.Currency, 10, 16)
		d := deal{e.Transaction(), txn.Amount{Minor: e.Amount, Currency: txn.Currency(currency)}}.like(ours)
		r.Issuers.add(d)
		switch {
		case !ok:
			r.broken("issuer %s stands by a %s for STAN %06d at %s of terminal %s that the ledger does not have", name, d, k.stan, k.time, k.terminal)
		case ours != d:
			r.broken("issuer %s approved a %s for STAN %06d of terminal %s, the ledger says a %s", name, d, k.stan, k.terminal, ours)
		}
		delete(standing, k)
	}
	return nil
}

// compareTerminals compares what the terminals were told with the ledger.
func (r *booksReport) compareTerminals(events []fleet.Event, ledger map[dealKey]deal) {
	told := map[dealKey]deal{}
	for _, e := range events {
		if e.Event != fleet.EventAnswered || e.Code != "00" {
			continue
		}
		k := dealKey{e.Terminal, e.Batch, e.STAN}
		switch kind, _ := txn.ParseKind(e.Kind); {
		case kind.MovesMoney():
			told[k] = deal{kind, txn.Amount{Minor: e.Amount, Currency: e.Currency}}
		case kind == txn.KindReversal:
			delete(told, k)
		}
	}
	for k, d := range told {
		ours, ok := ledger[k]
		d = d.like(ours)
		r.Terminals.add(d)
		if !ok || ours != d {
			r.broken("terminal %s was told that its %s with STAN %06d was approved; the ledger says a %s", k.terminal, d, k.stan, ours)
		}
		delete(ledger, k)
	}
	for k, d := range ledger {
		if r.late[k] {
			r.Terminals.add(d)
			continue
		}
		r.broken("the ledger has a %s with STAN %06d of terminal %s, which was not told so or reversed it", d, k.stan, k.terminal)
	}
}
