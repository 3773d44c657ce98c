package main

import (
	"context"
	"fmt"
	"io"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// booksReport is the comparison of three books once everything is at rest:
// what the terminals were told, what the switch's ledger says, and what the
// issuers booked.
type booksReport struct {
	Terminals booksSide `json:"terminals"` // sales told approved and not reversed
	Ledger    booksSide `json:"ledger"`    // approved and not reversed
	Issuers   booksSide `json:"issuers"`   // approved and not reversed
	Breaks    []string  `json:"breaks,omitempty"`
}

// booksSide is one book's standing sales. Amounts of different currencies are
// added only to be compared.
type booksSide struct {
	Count int   `json:"count"`
	Minor int64 `json:"minor"`
}

func (s *booksSide) add(minor int64) { s.Count++; s.Minor += minor }

// OK says that the books agree.
func (r *booksReport) OK() bool { return len(r.Breaks) == 0 }

func (r *booksReport) broken(format string, args ...any) {
	r.Breaks = append(r.Breaks, fmt.Sprintf(format, args...))
}

func (r *booksReport) writeText(w io.Writer) {
	fmt.Fprintf(w, "Three books of standing sales: terminals %d (%d), ledger %d (%d), issuers %d (%d): ",
		r.Terminals.Count, r.Terminals.Minor, r.Ledger.Count, r.Ledger.Minor, r.Issuers.Count, r.Issuers.Minor)
	if r.OK() {
		fmt.Fprintln(w, "they agree")
		return
	}
	fmt.Fprintln(w, "THEY DIFFER")
	for _, b := range r.Breaks {
		fmt.Fprintf(w, "BROKEN books: %s\n", b)
	}
}

// legKey is what an issuer and the ledger both call a request.
type legKey struct {
	issuer   string
	stan     uint32
	time     string
	terminal string
}

// saleKey is what a terminal and the ledger both call a sale.
type saleKey struct {
	terminal    string
	batch, stan uint32
}

// compareBooks compares the three books. It needs a switch at rest.
func compareBooks(ctx context.Context, l *ledger.Ledger, books map[string]string, terminalsLog string) (*booksReport, error) {
	r := &booksReport{}
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
	return r, r.compareTerminals(terminalsLog, byTerminal)
}

// readLedger returns the standing sales under both their names.
func (r *booksReport) readLedger(ctx context.Context, l *ledger.Ledger) (map[legKey]int64, map[saleKey]int64, error) {
	sales := map[txn.ID]txn.Record{}
	undone := map[txn.ID]bool{}
	err := l.Read(ctx, func(s *ledger.Snapshot) error {
		return s.Scan(ctx, func(e ledger.Entry) error {
			switch rec := e.Rec; rec.Kind {
			case txn.RecordOutcome:
				if rec.Outcome == txn.OutcomeApproved && rec.Request.MovesMoney() {
					sales[rec.ID] = *rec
				}
			case txn.RecordReversalDue:
				undone[rec.Original] = true
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	byLeg, byTerminal := map[legKey]int64{}, map[saleKey]int64{}
	for id, rec := range sales {
		if undone[id] {
			continue
		}
		r.Ledger.add(rec.Amount.Minor)
		byLeg[legKey{rec.Leg.Issuer.String(), rec.Leg.STAN, text(rec.Leg.Time[:]), rec.Key.Terminal.String()}] = rec.Amount.Minor
		byTerminal[saleKey{rec.Key.Terminal.String(), rec.Key.Batch, rec.Key.STAN}] = rec.Amount.Minor
	}
	return byLeg, byTerminal, nil
}

// compareIssuer strikes an issuer's standing approvals off the ledger's.
func (r *booksReport) compareIssuer(name, path string, standing map[legKey]int64) error {
	entries, err := simulator.ReadBook(path)
	if err != nil {
		return err
	}
	approved := map[legKey]int64{}
	for _, e := range entries {
		k := legKey{name, e.STAN, e.Time, e.Terminal}
		switch e.Kind {
		case simulator.Approved:
			approved[k] = e.Amount
		case simulator.Reversed:
			delete(approved, k)
		}
	}
	for k, minor := range approved {
		r.Issuers.add(minor)
		ours, ok := standing[k]
		switch {
		case !ok:
			r.broken("issuer %s stands by an approval of %d for STAN %06d at %s of terminal %s that the ledger does not have", name, minor, k.stan, k.time, k.terminal)
		case ours != minor:
			r.broken("issuer %s approved %d for STAN %06d of terminal %s, the ledger says %d", name, minor, k.stan, k.terminal, ours)
		}
		delete(standing, k)
	}
	return nil
}

// compareTerminals compares what the terminals were told with the ledger.
func (r *booksReport) compareTerminals(path string, ledger map[saleKey]int64) error {
	events, err := terminal.ReadLog(path)
	if err != nil {
		return err
	}
	told := map[saleKey]int64{}
	for _, e := range events {
		if e.Event != terminal.EventAnswered || e.Code != "00" {
			continue
		}
		k := saleKey{e.Terminal, e.Batch, e.STAN}
		switch e.Kind {
		case txn.KindSale.String():
			told[k] = e.Amount
		case txn.KindReversal.String():
			delete(told, k)
		}
	}
	for k, minor := range told {
		r.Terminals.add(minor)
		if ours, ok := ledger[k]; !ok || ours != minor {
			r.broken("terminal %s was told its sale %06d of %d was approved; the ledger says %d", k.terminal, k.stan, minor, ours)
		}
		delete(ledger, k)
	}
	for k, minor := range ledger {
		r.broken("the ledger has sale %06d of %d of terminal %s, which was not told so or reversed it", k.stan, minor, k.terminal)
	}
	return nil
}
