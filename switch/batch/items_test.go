package batch

import (
	"slices"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// reverse is the ReversalDue of an outcome.
func reverse(rec txn.Record) txn.Record {
	rec.Kind, rec.OriginalKey, rec.Key = txn.RecordReversalDue, rec.Key, txn.Key{}
	return rec
}

// restarted is the Book that d's records make.
func (d *desk) restarted() *desk {
	again := &desk{t: d.t, book: NewBook()}
	for _, rec := range d.log {
		again.apply(rec)
	}
	return again
}

// A batch of thousands keeps each item its own, tells as many as a record holds and
// the totals of all, and what is forgotten leaves its memory to others.
func TestItemsOfALargeBatch(t *testing.T) {
	const n = 3*chunkSize + 1
	d := &desk{t: t, book: NewBook()}
	for round := range uint32(3) {
		batch := 1 + round
		for i := range uint32(n) {
			d.apply(outcome(txn.KindSale, batch, 1+i, int64(1+i)))
		}
		d.apply(reverse(outcome(txn.KindSale, batch, chunkSize+1, chunkSize+1)))
		d.settle(batch, txn.Totals{})
		if f, _ := d.upload(batch, txn.BatchItem{STAN: 1, Minor: 1, Card: card}, txn.BatchItem{STAN: n, Minor: n, Card: card}, txn.BatchItem{STAN: chunkSize + 1, Minor: chunkSize + 1, Card: card}); f.Items[0].Verdict != txn.ItemMatches ||
			f.Items[1].Verdict != txn.ItemMatches || f.Items[2].Verdict != txn.ItemWasReversed {
			t.Fatalf("%+v", f.Items)
		}
		f, _ := d.end(batch)
		want := txn.Totals{Debit: txn.Sum{Count: n - 3, Minor: n*(n+1)/2 - 1 - n - (chunkSize + 1)}}
		if f.Missing != want || len(f.Items) != txn.MissingItemsMax || f.Items[0].STAN != n-1 || f.Items[0].Ours != n-1 {
			t.Errorf("missing %+v, want %+v; %d are listed from %+v on", f.Missing, want, len(f.Items), f.Items[0])
		}
		d.book.Oldest(day + 2)
		sh := &d.book.shards[d.book.at(&terminal)]
		sh.today = 0 // the next round is of the same day
		if len(sh.batches) != 0 || len(sh.items.chunks) != n/chunkSize+1 || sh.items.used != n {
			t.Fatalf("round %d: %d batches, %d chunks, %d items", round, len(sh.batches), len(sh.items.chunks), sh.items.used)
		}
	}
}

// Of several items of one number the one that stands is meant, or else the newest.
func TestOneNumberTwice(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	for _, minor := range []int64{500, 600} {
		d.apply(outcome(txn.KindSale, 1, 3, minor))
	}
	newer := outcome(txn.KindSale, 1, 3, 600)
	d.apply(reverse(newer))
	d.settle(1, txn.Totals{})
	told := func() txn.BatchItem {
		f, _ := d.upload(1, txn.BatchItem{STAN: 3, Minor: 500, Card: card})
		return f.Items[0]
	}
	if got := told(); got.Verdict != txn.ItemMatches || got.Ours != 500 {
		t.Errorf("one stands: %+v", got)
	}
	d.apply(reverse(outcome(txn.KindSale, 1, 3, 500)))
	if got := told(); got.Verdict != txn.ItemWasReversed || got.Ours != 600 {
		t.Errorf("none stands: %+v", got)
	}
}

// Chip data comes under a number of its own in four kinds of uploads: each is of
// another transaction of its card and amount while there is one.
func TestChipData(t *testing.T) {
	for network, chip := range map[uint16]bool{0: false, 201: false, 202: false, 203: true, 204: true, 205: true, 206: true, 207: false} {
		d := &desk{t: t, book: NewBook()}
		d.apply(outcome(txn.KindSale, 1, 3, 700))
		d.apply(outcome(txn.KindSale, 1, 4, 700))
		cardless := outcome(txn.KindSale, 1, 5, 800)
		cardless.Card = txn.CardToken{}
		d.apply(cardless)
		d.settle(1, txn.Totals{})
		var stans []uint32
		for range 3 {
			r := request(txn.KindUpload, 1, 93)
			r.Network = network
			f, _ := d.do(r, d.book.Upload, []txn.BatchItem{{STAN: 50, Minor: 700, Card: card}, {STAN: 51, Minor: 800}, {STAN: 52, Minor: 800, Card: card}})
			if f.Items[1].Verdict != txn.ItemIsNotOurs || f.Items[2].Verdict != txn.ItemIsNotOurs || (f.Items[0].Verdict == txn.ItemMatches) != chip {
				t.Errorf("%d: %+v", network, f.Items)
			}
			stans = append(stans, f.Items[0].STAN)
		}
		if want := []uint32{4, 3, 3}; chip && !slices.Equal(stans, want) {
			t.Errorf("%d: of %v, want %v", network, stans, want)
		}
	}
}

// A batch uploads as many different items as its end can count, and no more.
func TestUploadsAreBounded(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	d.apply(outcome(txn.KindSale, 1, 1, 500))
	d.settle(1, txn.Totals{})
	items := func(from, n uint32) (items []txn.BatchItem) {
		for i := range n {
			items = append(items, txn.BatchItem{STAN: from + i, Minor: 1, Card: card})
		}
		return items
	}
	d.upload(1, items(1, 1)...)
	sh, n := &d.book.shards[d.book.at(&terminal)], name{terminal, 1}
	e := sh.batches[n]
	e.uploaded = UploadedMax - 7 // by others
	sh.batches[n] = e
	if _, reason := d.upload(1, items(UploadedMax-6, 8)...); reason != txn.FormatIsWrong {
		t.Errorf("one too many: %s", reason)
	}
	if _, reason := d.upload(1, items(UploadedMax-6, 7)...); reason != txn.Approved {
		t.Errorf("the last: %s", reason)
	}
	if f, _ := d.end(1); f.Received != UploadedMax {
		t.Errorf("%d were received", f.Received)
	}
	if _, reason := d.upload(2, items(1, 1)...); reason != txn.BatchIsNotCurrent {
		t.Errorf("of a batch that is not here: %s", reason)
	}
	if _, reason := d.upload(0, items(1, 1)...); reason != txn.BatchIsNotSettling {
		t.Errorf("without a number, of nothing: %s", reason)
	}
}

// After an even settlement only chip data is uploaded: nothing is missing at its end.
func TestEvenBatchMissesNothing(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	d.apply(outcome(txn.KindSale, 1, 2, 500))
	d.apply(outcome(txn.KindSale, 1, 3, 500))
	d.settle(1, txn.Totals{Debit: txn.Sum{Count: 2, Minor: 1000}})
	d.upload(1, txn.BatchItem{STAN: 3, Minor: 500, Card: card})
	if f, _ := d.end(1); len(f.Items) != 0 || f.Missing != (txn.Totals{}) || f.Received != 1 || f.Step != txn.StepEnd {
		t.Errorf("%+v", f)
	}
	// Another batch, of nothing: it is even in whatever currency, and neither it nor
	// what a restart makes of it has the items of others.
	none, _ := d.settle(2, txn.Totals{})
	if none.Result != [2]txn.Comparison{txn.Even, txn.Even} {
		t.Errorf("nothing against nothing: %v", none.Result)
	}
	d.settle(2, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 1}})
	for _, desk := range []*desk{d.restarted(), d} {
		if f, _ := desk.end(2); len(f.Items) != 0 || f.Missing != (txn.Totals{}) {
			t.Errorf("missing of nothing: %+v", f)
		}
	}
}

// What we close lists what is missing where an upload was under way, and is no longer
// among the unsettled, which are those of a day or before.
func TestUnsettled(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	unsettled := func(on txn.Date) (numbers []uint32) {
		d.book.Unsettled(on, func(b *Batch) { numbers = append(numbers, b.Number) })
		return numbers
	}
	d.book.Admit(request(txn.KindSale, 1, 2))
	if got := unsettled(day); got != nil {
		t.Errorf("a batch with nothing in it: %v", got)
	}
	if d.book.Close(terminal, 1, new(txn.BatchFact)) {
		t.Error("a batch with nothing in it was closed")
	}
	d.apply(outcome(txn.KindSale, 1, 2, 500))
	d.apply(outcome(txn.KindSale, 1, 3, 600))
	if before, after := unsettled(day.Before()), unsettled(day); before != nil || !slices.Equal(after, []uint32{1}) {
		t.Errorf("%v before, %v on its day", before, after)
	}
	for _, step := range []struct {
		do      func()
		missing int
	}{
		{func() {}, 0},
		{func() { d.settle(1, txn.Totals{}) }, 0},
		{func() { d.upload(1, txn.BatchItem{STAN: 2, Minor: 500, Card: card}) }, 1},
	} {
		step.do()
		var f txn.BatchFact
		if !d.book.Close(terminal, 1, &f) || f.Step != txn.StepClose || f.State != txn.BatchClosed || f.Opened != day || len(f.Items) != step.missing {
			t.Errorf("%+v, want %d missing", f, step.missing)
		}
	}
	d.close(1)
	if got := unsettled(day); got != nil {
		t.Errorf("closed: %v", got)
	}
	if d.book.Close(terminal, 1, new(txn.BatchFact)) || d.book.Close(terminal, 9, new(txn.BatchFact)) {
		t.Error("there was something to close")
	}
}

// A terminal is in one batch at a time, also where nothing has come of it yet or after
// a restart; what comes of closed ones does not take it back into those.
func TestOneBatchAtATime(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	admit := func(d *desk, batch uint32, want txn.Reason) {
		t.Helper()
		if got, _ := d.book.Admit(request(txn.KindSale, batch, 9)); got != want {
			t.Errorf("a sale of batch %d: %q, want %q", batch, got, want)
		}
	}
	admit(d, 5, txn.Approved)
	admit(d, 6, txn.BatchIsNotCurrent)
	d.apply(outcome(txn.KindSale, 5, 1, 500))
	admit(d.restarted(), 6, txn.BatchIsNotCurrent)
	admit(d.restarted(), 5, txn.Approved)
	for _, batch := range []uint32{5, 7} {
		d.apply(outcome(txn.KindSale, batch, 1, 500))
		d.settle(batch, txn.Totals{})
		d.end(batch)
	}
	d.settle(5, txn.Totals{})
	admit(d, 6, txn.BatchIsNotCurrent)
	admit(d, 8, txn.Approved)
}

// A closed batch is kept for the day after the last that came of it.
func TestLateItemsKeepABatch(t *testing.T) {
	for name, late := range map[string]func(d *desk){
		"told late": func(d *desk) {
			rec := outcome(txn.KindOfflineSale, 1, 3, 500)
			rec.Day = day + 1
			d.apply(rec)
		},
		"settled again": func(d *desk) {
			r := request(txn.KindSettlement, 1, 90)
			r.Day = day + 1
			d.do(r, d.book.Settle, nil)
		},
	} {
		d := &desk{t: t, book: NewBook()}
		d.apply(outcome(txn.KindSale, 1, 2, 500))
		d.close(1)
		late(d)
		if first, ok := d.book.Oldest(day + 2); first != 1 || !ok {
			t.Errorf("%s: two days later the Book needs the journal from %d, %v", name, first, ok)
		}
		if _, ok := d.book.Oldest(day + 3); ok {
			t.Errorf("%s: it is kept three days later", name)
		}
	}
}
