package acquirer_test

import (
	"fmt"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// compare holds the three books against each other, once nothing is owed.
func (w *world) compare() {
	w.shelf.mu.Lock()
	recs := w.shelf.recs
	w.shelf.mu.Unlock()
	type line struct {
		rec      *txn.Record
		undone   bool
		minor    int64 // that stands
		noted    bool  // an advice that the issuer approved
		declined bool  // or did not
	}
	ours := map[txn.ID]*line{}
	byKey := map[txn.Key][]*line{}
	intents := map[legID]bool{}
	for i := range recs {
		rec := &recs[i]
		switch rec.Kind {
		case txn.RecordIntent:
			intents[idOf(rec.Leg)] = true
		case txn.RecordOutcome:
			l := &line{rec: rec, minor: rec.Amount.Minor}
			ours[rec.ID] = l
			key := rec.Key
			key.Acquirer = 0
			byKey[key] = append(byKey[key], l)
		case txn.RecordReversalDue, txn.RecordReversalDone:
			if l := ours[rec.Original]; l != nil && rec.Stays == 0 {
				l.undone = true
			} else if l != nil {
				l.minor = min(l.minor, rec.Stays)
			}
		case txn.RecordAdviceDone:
			if l := ours[rec.Original]; l != nil {
				l.noted, l.declined = rec.Reason == txn.Approved, rec.Reason != txn.Approved
			}
		}
	}
	holds := func(l *line) bool {
		r := l.rec
		return r.Request.MovesMoney() && !l.undone && (r.Outcome == txn.OutcomeApproved || l.noted)
	}

	// The issuer's book and ours.
	standing := map[legID]*line{}
	for _, l := range ours {
		if holds(l) {
			standing[idOf(l.rec.Leg)] = l
		}
	}
	w.issuer.mu.Lock()
	defer w.issuer.mu.Unlock()
	for id, f := range w.issuer.known {
		if f.kind != txn.KindUnknown && !intents[id] {
			w.t.Errorf("the issuer has a %s (STAN %d) that the journal does not intend", f.kind, id.stan)
		}
		l := standing[id]
		delete(standing, id)
		switch {
		case f.state == "approved" && l == nil:
			w.t.Errorf("the issuer stands by a %s of %d (STAN %d, terminal %s), the journal does not", f.kind, f.minor-f.taken, id.stan, f.terminal)
		case f.state != "approved" && l != nil:
			w.t.Errorf("the journal stands by a %s of %d (STAN %d, terminal %s), the issuer has it %s", l.rec.Request, l.minor, id.stan, l.rec.Key.Terminal, f.state)
		case l != nil && (l.rec.Request != f.kind || l.minor != f.minor-f.taken):
			w.t.Errorf("the issuer has a %s of %d (STAN %d), the journal a %s of %d", f.kind, f.minor-f.taken, id.stan, l.rec.Request, l.minor)
		}
	}
	for id, l := range standing {
		w.t.Errorf("the journal stands by a %s of %d (STAN %d) of which the issuer knows nothing", l.rec.Request, l.rec.Amount.Minor, id.stan)
	}

	// The terminals' books and ours.
	explained := map[*line]bool{}
	for _, x := range w.terminals {
		for _, d := range x.deals {
			what := fmt.Sprintf("the %s %06d of batch %d of terminal %s (%d)", d.req.Kind, d.req.Key.STAN, d.req.Key.Batch, x.id, d.req.Amount.Minor)
			var all []*line
			for _, l := range byKey[d.req.Key] {
				if holds(l) {
					all = append(all, l)
				}
				explained[l] = true
			}
			told := len(byKey[d.req.Key]) == 1 && byKey[d.req.Key][0].declined // people look at it
			switch {
			case len(all) > 1:
				w.t.Errorf("%s stands %d times", what, len(all))
			case d.belief == stands && len(all) == 1 && all[0].minor != d.minor():
				w.t.Errorf("%s stands with %d, its terminal has it with %d\n\t%s", what, all[0].minor, d.minor(), w.history(all[0].rec))
			case d.belief == stands && len(all) == 0 && !told:
				w.t.Errorf("%s was told yes and does not stand", what)
			case d.belief == stands && len(all) == 1 && (all[0].rec.RRN != d.answer.RRN || all[0].rec.AuthCode != d.answer.Reply.AuthCode):
				w.t.Errorf("%s was told as %s and stands as %s", what, d.answer.RRN, all[0].rec.RRN)
			case (d.belief == refused || d.belief == reversed) && len(all) == 1:
				why := "it got no answer"
				if d.answer != nil {
					why = fmt.Sprintf("it was told %q", d.answer.Reason)
				}
				w.t.Errorf("%s stands, and its terminal has it %s: %s\n\t%s", what, d.belief, why, w.history(all[0].rec))
			}
		}
	}
	for _, l := range ours {
		if holds(l) && !explained[l] {
			w.t.Errorf("a %s %06d of terminal %s stands that the terminal does not know", l.rec.Request, l.rec.Key.STAN, l.rec.Key.Terminal)
		}
	}
}

// history is what the journal has about a transaction and about what was done
// about it.
func (w *world) history(of *txn.Record) string {
	about := map[txn.ID]bool{of.ID: true}
	var lines []string
	for i := range w.shelf.recs {
		rec := &w.shelf.recs[i]
		if id, _ := rec.Subject(); about[id] || about[rec.Original] || about[rec.ID] {
			about[rec.ID] = true
			lines = append(lines, fmt.Sprintf("%d at %s %s %s %06d: %s, %s, %x of %x", i+1, rec.At.In(simZone).Format("02T15:04:05.000"), rec.Kind, rec.Request, rec.Key.STAN, rec.Outcome, rec.Reason, uint64(rec.ID), uint64(rec.Original)))
		}
	}
	return joined(lines)
}

// owed is the history of what is owed.
func (w *world) owed() string {
	owed := map[txn.ID]txn.Record{}
	for _, rec := range w.shelf.recs {
		switch id, _ := rec.Subject(); {
		case rec.Owes():
			owed[id] = rec
		case rec.Kind == txn.RecordReversalDone, rec.Kind == txn.RecordAdviceDone:
			delete(owed, id)
		}
	}
	var lines []string
	for id, rec := range owed {
		rec.ID = id
		f := w.issuer.known[idOf(rec.Leg)]
		lines = append(lines, fmt.Sprintf("issuer has %+v\n\t%s", f, w.history(&rec)))
	}
	return joined(lines)
}

// differences are the transactions of a batch of which terminal and journal
// think differently.
func (x *pos) differences(number uint32) string {
	p := x.w.process()
	if p == nil {
		return "the switch is away"
	}
	type name struct {
		stan uint32
		kind txn.Kind
	}
	counts := map[name][]string{}
	var rec txn.Record
	undone := map[txn.ID]bool{}
	lines := map[name][]string{}
	p.j.Scan(p.j.First(), func(pos journal.Position, b []byte) error {
		if rec.Unmarshal(b) != nil {
			return nil
		}
		id, key := rec.Subject()
		if key.Terminal != txn.MakeTerminalID(x.id) || key.Batch != number {
			return nil
		}
		n := name{key.STAN, rec.Request}
		lines[n] = append(lines[n], fmt.Sprintf("%d at %s %s: %s, %s, of %d", pos, rec.At.In(simZone).Format("02T15:04:05.000"), rec.Kind, rec.Outcome, rec.Reason, rec.Original))
		if rec.Kind == txn.RecordReversalDue && rec.Stays == 0 {
			undone[id] = true
			for n := range counts {
				if n.stan == key.STAN {
					delete(counts, n)
				}
			}
		} else if batch.Counts(&rec) {
			counts[n] = append(counts[n], "")
		}
		return nil
	})
	var out []string
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, d := range x.deals {
		n := name{d.req.Key.STAN, d.req.Kind}
		if d.req.Key.Batch != number || d.req.Kind.Totals() == txn.NoEffect {
			continue
		}
		if (d.belief == stands) != (len(counts[n]) > 0) {
			out = append(out, fmt.Sprintf("%s %06d asked %s: the terminal has it %s, the journal %d times: %s", d.req.Kind, n.stan, d.at.Format("02T15:04:05.000"), d.belief, len(counts[n]), joined(append(lines[n], lines[name{n.stan, txn.KindReversal}]...))))
		}
		delete(counts, n)
	}
	for n := range counts {
		out = append(out, fmt.Sprintf("%s %06d is unknown to the terminal: %s", n.kind, n.stan, joined(lines[n])))
	}
	return joined(out)
}
