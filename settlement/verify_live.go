package settlement

import (
	"context"
	"iter"
	"maps"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// live compares the running switch with the journal, if both stood still while the
// switch's memory was read.
func (v *verifier) live(ctx context.Context) error {
	r := v.report
	c := r.check(RuleLive)
	if v.in.Live == nil {
		c.Note = "not checked: no switch runs in this process"
		return nil
	}
	const busy = "not checked: the switch was at work"
	if !v.in.Live.Idle() {
		c.Note = busy
		return nil
	}
	days, months := collectUses(v.in.Live.Usage()), collectUses(v.in.Live.Months())
	owed := v.in.Live.Owed()
	batches := map[batchKey]batch.Batch{}
	v.in.Live.Batches(func(b *batch.Batch) { batches[batchKey{b.Terminal, b.Number}] = *b })
	if !v.in.Live.Idle() || uint64(v.in.Journal.Last()) != r.JournalLast {
		c.Note = busy
		return nil
	}
	c.Checked++
	if r.OpenCount != 0 {
		r.broken(RuleLive, 0, "the switch is idle and %d requests have no outcome", r.OpenCount)
	}
	if owed != r.OwedCount {
		r.broken(RuleLive, 0, "the switch owes %d reversals, the journal %d", owed, r.OwedCount)
	}
	v.liveBatches(batches)
	v.liveDays(days)
	for month, got := range months {
		if err := v.liveMonth(ctx, month, got); err != nil {
			return err
		}
	}
	return nil
}

// collectUses keeps what counters say, by their first day.
func collectUses(counters iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]]) usage {
	all := usage{}
	for day, uses := range counters {
		all[day] = maps.Collect(uses)
	}
	return all
}

// liveDays compares the counters of the days that the switch keeps, and that are whole
// in the journal, with what the journal sums up to.
func (v *verifier) liveDays(got usage) {
	r, h := v.report, v.history
	c := r.check(RuleLive)
	want := h.usageAt(r.JournalLast)
	for day := range want {
		if day <= h.truncatedDay {
			c.Note = "days of which the journal no longer has all records were not compared"
		}
	}
	for day, uses := range got {
		if day <= h.truncatedDay {
			continue
		}
		for p, w := range want[day] {
			c.Checked++
			if g := uses[p]; g != w {
				r.broken(RuleLive, 0, "%s on %s: the switch counts %s, the journal sums up to %s", party(p), day, useOf(p, g), useOf(p, w))
			}
			delete(uses, p)
		}
		for p, g := range uses {
			if g != (ledger.Use{}) {
				c.Checked++
				r.broken(RuleLive, 0, "%s on %s: the switch counts %s, the journal has no use", party(p), day, useOf(p, g))
			}
		}
	}
}

// liveMonth compares a month's counters with the sum of what the ledger has from
// before the journal and of what the journal has.
func (v *verifier) liveMonth(ctx context.Context, month txn.Date, got map[ledger.Party]ledger.Use) error {
	r, h := v.report, v.history
	c := r.check(RuleLive)
	want := map[ledger.Party]ledger.Use{}
	add := func(p ledger.Party, u ledger.Use) error {
		want[p] = ledger.Use{Minor: want[p].Minor + u.Minor, Count: want[p].Count + u.Count}
		return nil
	}
	if r.JournalFirst > 1 {
		if err := v.ledger.UsageBefore(ctx, month, month+30, r.JournalFirst, add); err != nil {
			return err
		}
	}
	for day, uses := range h.usageAt(r.JournalLast) {
		if day/100 == month/100 {
			for p, u := range uses {
				add(p, u)
			}
		}
	}
	counted := map[txn.LimitScope]bool{txn.ScopeTerminal: true, txn.ScopeMerchant: true, txn.ScopeIdentity: true}
	for p := range got {
		counted[p.Scope] = true
	}
	for p, w := range want {
		if g := got[p]; counted[p.Scope] && g != w {
			r.broken(RuleLive, 0, "%s in the month of %s: the switch counts %s, journal and ledger sum up to %s", party(p), month, useOf(p, g), useOf(p, w))
		}
		c.Checked++
		delete(got, p)
	}
	for p, g := range got {
		r.broken(RuleLive, 0, "%s in the month of %s: the switch counts %s, journal and ledger have no use", party(p), month, useOf(p, g))
	}
	return nil
}

type batchKey struct {
	terminal txn.TerminalID
	number   uint32
}

// liveBatches compares batches that have transactions. Closed ones are kept
// for a while, which need not end at the same moment on both sides.
func (v *verifier) liveBatches(live map[batchKey]batch.Batch) {
	r, h := v.report, v.history
	c := r.check(RuleLive)
	h.batches.Each(func(want *batch.Batch) {
		k := batchKey{want.Terminal, want.Number}
		got, ok := live[k]
		delete(live, k)
		switch {
		case want.Opened == 0 && got.Opened == 0, h.maybeCut(want.Opened), h.maybeCut(got.Opened):
			return
		case !ok && want.State == txn.BatchClosed:
			return
		}
		c.Checked++
		if h.truncatedDay != 0 {
			got.State = want.State // a settlement may be older than all transactions that are left
		}
		if got != *want {
			r.broken(RuleLive, 0, "batch %06d of terminal %s: the switch has it %s with %s, the journal %s with %s",
				k.number, k.terminal, got.State, totals(got.Totals), want.State, totals(want.Totals))
		}
	})
	for k, got := range live {
		if got.Opened != 0 && got.State != txn.BatchClosed && !h.maybeCut(got.Opened) {
			c.Checked++
			r.broken(RuleLive, 0, "batch %06d of terminal %s: the switch has it %s with %s, the journal does not have it", k.number, k.terminal, got.State, totals(got.Totals))
		}
	}
}
