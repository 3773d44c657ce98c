package settlement

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestLife tells a sale's life: refused findings and waits of its answer, a void
// about it, a reversal of it; in order, each fact once, though the ledger has
// only the first of them.
func TestLife(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		sale := changed(deed(1, txn.KindSale, "M1", day1, 1000_00, 0), func(r *txn.Record) {
			r.Took[txn.StageAssessed], r.Took[txn.StageForwarded] = 12, 41_300
			r.Findings.Policy = 4
			r.Findings.Add(txn.Finding{Rule: txn.MakeRule('T', 11), Action: txn.ActionAlert, Shadow: true})
			r.CardType = txn.CardCredit
		})
		intent := *sale
		intent.Kind, intent.Held, intent.Findings, intent.Took = txn.RecordIntent, txn.Debit, txn.Findings{}, [txn.StageRecorded]uint32{}
		w.put(&intent, deed(2, txn.KindSale, "M1", day1, 5_00, 0), sale, deed(3, txn.KindVoid, "M1", day1, 1000_00, 1))
		w.drained()
		// What the ledger has not got yet.
		done := changed(later(102, txn.RecordReversalDone, sale), func(r *txn.Record) {
			r.Attempts, r.IssuerCode, r.Held = 3, [2]byte{'2', '5'}, txn.Credit
		})
		due := changed(later(101, txn.RecordReversalDue, sale), func(r *txn.Record) { copy(r.RRN[:], "000000000101") })
		w.put(due, done, deed(4, txn.KindSale, "M1", day1, 7_00, 0))

		lives, err := Lives(t.Context(), w.ledger, w.journal, day1, "000000000001", runSchedule)
		if err != nil || len(lives) != 1 {
			t.Fatalf("%d lives: %v", len(lives), err)
		}
		var told strings.Builder
		for _, s := range lives[0].Steps {
			fmt.Fprintln(&told, s.Position, s.Record, s.About, len(s.Stages), s.Findings)
		}
		const want = `1 intent false 0 []
3 outcome false 2 [rule T11: alert, shadow (policy 4)]
4 outcome true 0 []
5 reversal due false 0 []
6 reversal done false 0 []
`
		if told.String() != want {
			t.Errorf("told\n%swant\n%s", told.String(), want)
		}
		told.Reset()
		if err := lives[0].WriteText(&told); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"sale of 1000.00 CNY", "credit", "assess 12µs > forward 41.3ms", "limits reserved", "rule T11: alert, shadow (policy 4)",
			"#4 ", "outcome about it", ", RRN 000000000003\n", "the answer could not be delivered", "the issuer answered 25 at attempt 3, limits given back", "merchant fee: 5.00"} {
			if !strings.Contains(told.String(), part) {
				t.Errorf("%q is not told in\n%s", part, told.String())
			}
		}
		if lives, err := Lives(t.Context(), w.ledger, w.journal, day1, "000000000004", runSchedule); err != nil || len(lives) != 1 || lives[0].Explanation != nil {
			t.Errorf("of what only the journal has: %+v, %v", lives, err)
		}
		byReversal := func(of string, steps int) {
			t.Helper()
			lives, err := Lives(t.Context(), w.ledger, w.journal, day1, "000000000101", runSchedule)
			told.Reset()
			if err != nil || len(lives) != 1 || lives[0].ID != sale.ID || len(lives[0].Steps) != steps || lives[0].WriteText(&told) != nil ||
				!strings.Contains(told.String(), "The number is that of its reversal; its own is 000000000001.") {
				t.Errorf("%s by its reversal's number: %+v, %v", of, lives, err)
			}
		}
		byReversal("what only the journal has", 5)
		if lives, err := Lives(t.Context(), w.ledger, w.journal, day1, "000000000999", runSchedule); err != nil || len(lives) != 0 {
			t.Errorf("of nothing: %+v, %v", lives, err)
		}
		// A switch without fees tells the rest.
		none := func() (*fee.Schedule, error) { return nil, fmt.Errorf("read fees: %w", fs.ErrNotExist) }
		lives, err = Lives(t.Context(), w.ledger, w.journal, day1, "000000000001", none)
		if err != nil || len(lives) != 1 || len(lives[0].Steps) != 5 || !lives[0].Unpriced {
			t.Errorf("without fees: %+v, %v", lives, err)
		}
		// What comes when its day is settled is in the next run.
		w.drained()
		byReversal("what the ledger has", 5)
		w.settle(day1)
		w.put(deed(5, txn.KindSale, "M1", day1, 9_00, 0), changed(deed(6, txn.KindSale, "M1", day1, 9_00, 0), func(r *txn.Record) { r.Outcome = txn.OutcomeDeclined }))
		w.drained()
		for rrn, later := range map[string]bool{"000000000002": false, "000000000005": true, "000000000006": false} {
			told.Reset()
			lives, err := Lives(t.Context(), w.ledger, w.journal, day1, rrn, runSchedule)
			if err != nil || len(lives) != 1 || lives[0].WriteText(&told) != nil {
				t.Fatal(rrn, lives, err)
			}
			if got := strings.Contains(told.String(), "is in the next day's run"); got != later {
				t.Errorf("%s: later is %v, want %v, in\n%s", rrn, got, later, told.String())
			}
		}
		if lives, err := Lives(t.Context(), w.ledger, w.journal, day2, "000000000001", runSchedule); err != nil || len(lives) != 0 {
			t.Errorf("of another day: %+v, %v", lives, err)
		}
	})
}
