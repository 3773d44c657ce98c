package ledger

import (
	"errors"
	"reflect"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// settled is a fact about the batch of r.
func settled(r *txn.Record, id txn.ID, f txn.BatchFact) *txn.Record {
	x := *r
	x.ID, x.Request, x.Outcome, x.Held, x.Key.Class, x.Key.STAN = id, txn.KindUpload, txn.OutcomeLocal, txn.NoEffect, txn.ClassUpload, uint32(id)
	x.Data = f.Append(nil)
	return &x
}

// What was settled, what is open and what people must look at, in both engines.
func TestBatches(t *testing.T) {
	batch := func(n int, number uint32, kind txn.Kind) *txn.Record {
		r := sale(n)
		r.Key.Terminal, r.Key.Batch, r.Request = txn.MakeTerminalID("10000001"), number, kind
		return r
	}
	one, refund, reversed := batch(1, 1, txn.KindSale), batch(2, 1, txn.KindRefund), batch(3, 1, txn.KindSale)
	told, preauth := batch(4, 1, txn.KindOfflineSale), batch(5, 1, txn.KindPreauth)
	told.Outcome = txn.OutcomeUnknown
	declined := batch(6, 1, txn.KindSale)
	declined.Outcome, declined.Reason = txn.OutcomeDeclined, txn.IssuerDeclined
	yesterday := batch(7, 1, txn.KindSale)
	yesterday.Day = day - 1
	part, rest := about(txn.RecordReversalDue, one), about(txn.RecordReversalDue, one)
	part.Stays = 90
	rest.Gone, rest.Stays = 11, 40
	totals := txn.Totals{Debit: txn.Sum{Count: 2, Minor: 40 + 104}, Credit: txn.Sum{Count: 1, Minor: 102}}
	theirs := txn.Totals{Debit: txn.Sum{Count: 3, Minor: 999}}
	foreign := txn.BatchItem{Verdict: txn.ItemIsNotOurs, Kind: txn.KindRefund, STAN: 77, Minor: 5, Card: txn.CardToken{7}}
	copy(foreign.Masked[:], "622202*********0128")
	matches := txn.BatchItem{Verdict: txn.ItemMatches, STAN: 1, Minor: 101, Ours: 101}
	missing := txn.BatchItem{Verdict: txn.ItemIsNotUploaded, STAN: 2, Ours: 102}

	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		ctx := t.Context()
		store(t, l, entries(1, one, refund, reversed, told, preauth, declined, yesterday, about(txn.RecordReversalDue, reversed), part, rest))
		wantOpen := []Batch{{Merchant: one.Merchant, Terminal: one.Key.Terminal, Number: 1, Currency: txn.CNY, Ours: totals}}
		checkOpen := func() {
			t.Helper()
			if got, err := l.OpenBatches(ctx, day); err != nil || !reflect.DeepEqual(got, wantOpen) {
				t.Errorf("open\n%+v, %v, want\n%+v", got, err, wantOpen)
			}
		}
		checkOpen()
		store(t, l, entries(11,
			settled(one, 901, txn.BatchFact{Step: txn.StepSettle, State: txn.BatchSettling, Opened: day - 1, Theirs: [2]txn.Totals{theirs, theirs}, Ours: totals, Result: [2]txn.Comparison{txn.Uneven, txn.Even}}),
			settled(one, 902, txn.BatchFact{Step: txn.StepUpload, State: txn.BatchUploading, Code: 201, Items: []txn.BatchItem{matches, foreign}}),
			settled(one, 903, txn.BatchFact{Step: txn.StepUpload, State: txn.BatchUploading, Code: 201, Items: []txn.BatchItem{foreign}})))
		wantOpen[0].State = txn.BatchUploading
		checkOpen()
		store(t, l, entries(14,
			settled(one, 904, txn.BatchFact{Step: txn.StepEnd, State: txn.BatchClosed, Code: 202, Announced: 2, Received: 3,
				Missing: txn.Totals{Credit: txn.Sum{Count: 1, Minor: 102}}, Items: []txn.BatchItem{missing}})))
		wantOpen = nil
		checkOpen()
		next := batch(8, 2, txn.KindSale)
		store(t, l, entries(15, next))
		wantOpen = []Batch{{Merchant: one.Merchant, Terminal: one.Key.Terminal, Number: 2, Currency: txn.CNY, Ours: txn.Totals{Debit: txn.Sum{Count: 1, Minor: 108}}}}
		checkOpen()

		facts, err := l.Batches(ctx, day)
		if err != nil || len(facts) != 4 {
			t.Fatalf("%d facts, %v", len(facts), err)
		}
		first := Batch{Merchant: one.Merchant, Terminal: one.Key.Terminal, Number: 1, State: txn.BatchSettling, Currency: txn.CNY, Ours: totals,
			At: one.At, Step: txn.StepSettle, Result: [2]txn.Comparison{txn.Uneven, txn.Even}, Theirs: theirs.Plus(theirs)}
		if !reflect.DeepEqual(facts[0], first) {
			t.Errorf("\n got %+v\nwant %+v", facts[0], first)
		}
		if last := facts[3]; last.State != txn.BatchClosed || last.Announced != 2 || last.Received != 3 || last.Missing.Credit.Minor != 102 {
			t.Errorf("the end: %+v", last)
		}
		got, err := l.BatchExceptions(ctx, day)
		foreign := foreign
		foreign.Card = txn.CardToken{}
		want := []BatchException{{one.Merchant, one.Key.Terminal, 1, txn.CNY, missing}, {one.Merchant, one.Key.Terminal, 1, txn.CNY, foreign}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("\n got %+v, %v\nwant %+v", got, err, want)
		}
		broken := settled(one, 905, txn.BatchFact{Step: txn.StepEnd})
		broken.Data = broken.Data[:9]
		if err := l.Store(ctx, entries(16, broken)); !errors.Is(err, txn.ErrBatchFact) {
			t.Errorf("data cut off: %v", err)
		}
	})
}
