package batch

import (
	"fmt"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const day txn.Date = 20261121

var (
	terminal = txn.MakeTerminalID("10000001")
	card     = txn.CardToken{1, 2, 3, 4, 5, 6, 7, 8}
)

// desk is a Book with a journal's positions.
type desk struct {
	t    *testing.T
	book *Book
	pos  uint64
	log  []txn.Record
}

func (d *desk) apply(rec txn.Record) {
	d.t.Helper()
	d.pos++
	d.log = append(d.log, rec)
	if err := d.book.Apply(&rec, d.pos); err != nil {
		d.t.Fatal(err)
	}
}

func request(kind txn.Kind, batch, stan uint32) *txn.Request {
	return &txn.Request{Kind: kind, Day: day, Amount: txn.Amount{Currency: txn.CNY},
		Key: txn.Key{Terminal: terminal, Batch: batch, STAN: stan, Class: txn.ClassFinancial}}
}

// outcome is an approval.
func outcome(kind txn.Kind, batch, stan uint32, minor int64) txn.Record {
	r := request(kind, batch, stan)
	return txn.Record{Kind: txn.RecordOutcome, Request: kind, Outcome: txn.OutcomeApproved, Key: r.Key, Day: day,
		Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, Card: card}
}

func (d *desk) settle(batch uint32, theirs txn.Totals) (txn.BatchFact, txn.Reason) {
	r := request(txn.KindSettlement, batch, 90)
	r.Totals[0] = theirs
	return d.do(r, d.book.Settle, nil)
}

func (d *desk) upload(batch uint32, items ...txn.BatchItem) (txn.BatchFact, txn.Reason) {
	return d.do(request(txn.KindUpload, batch, 91), d.book.Upload, items)
}

func (d *desk) end(batch uint32) (txn.BatchFact, txn.Reason) {
	return d.do(request(txn.KindUpload, batch, 92), d.book.End, nil)
}

// do drafts a fact and makes it one.
func (d *desk) do(r *txn.Request, draft func(*txn.Request, *txn.BatchFact) txn.Reason, items []txn.BatchItem) (txn.BatchFact, txn.Reason) {
	f := txn.BatchFact{Items: items}
	reason := draft(r, &f)
	if reason == txn.Approved {
		d.apply(txn.Record{Kind: txn.RecordOutcome, Request: r.Kind, Outcome: txn.OutcomeLocal, Key: r.Key, Day: r.Day, Data: f.Append(nil)})
	}
	return f, reason
}

func (d *desk) close(batch uint32) {
	var f txn.BatchFact
	if !d.book.Close(terminal, batch, &f) {
		d.t.Fatal("there is nothing to close")
	}
	d.apply(txn.Record{Kind: txn.RecordOutcome, Request: txn.KindSettlement, Key: txn.Key{Terminal: terminal, Batch: batch}, Day: day, Data: f.Append(nil)})
}

// Which outcomes are in the totals, and on which side (cup-pos C1, C4).
func TestCounts(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    txn.Kind
		outcome txn.Outcome
		want    txn.Totals
	}{
		{"消费", txn.KindSale, txn.OutcomeApproved, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}},
		{"消费 without an answer", txn.KindSale, txn.OutcomeUnknown, txn.Totals{}},
		{"消费 refused", txn.KindSale, txn.OutcomeDeclined, txn.Totals{}},
		{"消费撤销", txn.KindVoid, txn.OutcomeApproved, txn.Totals{Credit: txn.Sum{Count: 1, Minor: 500}}},
		{"退货", txn.KindRefund, txn.OutcomeApproved, txn.Totals{Credit: txn.Sum{Count: 1, Minor: 500}}},
		{"退货 not told yet", txn.KindRefund, txn.OutcomeUnknown, txn.Totals{Credit: txn.Sum{Count: 1, Minor: 500}}},
		{"预授权", txn.KindPreauth, txn.OutcomeApproved, txn.Totals{}},
		{"预授权撤销", txn.KindPreauthVoid, txn.OutcomeApproved, txn.Totals{}},
		{"预授权完成(请求)", txn.KindCompletion, txn.OutcomeApproved, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}},
		{"预授权完成(通知)", txn.KindCompletionAdvice, txn.OutcomeUnknown, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}},
		{"预授权完成撤销", txn.KindCompletionVoid, txn.OutcomeApproved, txn.Totals{Credit: txn.Sum{Count: 1, Minor: 500}}},
		{"离线结算, EC/IC脱机", txn.KindOfflineSale, txn.OutcomeUnknown, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}},
		{"离线结算 refused", txn.KindOfflineSale, txn.OutcomeLocal, txn.Totals{}},
		{"小费", txn.KindTip, txn.OutcomeApproved, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}},
		{"分期消费撤销", txn.KindInstalmentVoid, txn.OutcomeApproved, txn.Totals{Credit: txn.Sum{Count: 1, Minor: 500}}},
		{"追加预授权", txn.KindIncrement, txn.OutcomeApproved, txn.Totals{}},
		{"结算调整", txn.KindAdjustment, txn.OutcomeUnknown, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}},
		{"分期消费", txn.KindInstalment, txn.OutcomeApproved, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}},
		{"余额查询", txn.KindBalance, txn.OutcomeApproved, txn.Totals{}},
		{"账户验证", txn.KindVerify, txn.OutcomeApproved, txn.Totals{}},
		{"脚本结果通知", txn.KindScriptResult, txn.OutcomeLocal, txn.Totals{}},
		{"网络管理", txn.KindSignOn, txn.OutcomeLocal, txn.Totals{}},
		{"状态上送", txn.KindStatus, txn.OutcomeLocal, txn.Totals{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := desk{t: t, book: NewBook()}
			rec := outcome(c.kind, 1, 3, 500)
			rec.Outcome = c.outcome
			d.apply(rec)
			if got := d.book.Totals(terminal, 1, 0); got != c.want {
				t.Errorf("%s %s: got %v, want %v", c.kind, c.outcome, got, c.want)
			}
			due := rec
			due.Kind, due.OriginalKey, due.Key = txn.RecordReversalDue, rec.Key, txn.Key{}
			d.apply(due)
			d.apply(due)
			if got := d.book.Totals(terminal, 1, 0); got != (txn.Totals{}) {
				t.Errorf("%s %s, reversed: got %v", c.kind, c.outcome, got)
			}
		})
	}
}

// S06: a trace number behind the last of its batch is told, and admitted.
func TestS06NumbersThatGoBack(t *testing.T) {
	d := desk{t: t, book: NewBook()}
	for _, c := range []struct{ stan, ahead uint32 }{{10, 0}, {12, 0}, {11, 12}, {3, 11}, {4, 0}, {999_990, 4}, {2, 0}, {2, 0}} {
		r := request(txn.KindSale, 1, c.stan)
		if reason, ahead := d.book.Admit(r); reason != txn.Approved || ahead != c.ahead {
			t.Errorf("%06d: %s, behind %06d, want %06d", c.stan, reason, ahead, c.ahead)
		}
		d.apply(outcome(txn.KindSale, 1, c.stan, 500))
	}
	for _, r := range []*txn.Request{request(txn.KindOfflineSale, 1, 1), request(txn.KindSale, 0, 1)} { // told late; no batch
		if _, ahead := d.book.Admit(r); ahead != 0 {
			t.Errorf("%s of batch %d is behind %06d", r.Kind, r.Key.Batch, ahead)
		}
	}
}

// A reversal in part takes its part of the amount, and the transaction counts
// until one takes the rest; an upload is held against what stands.
func TestReversedInPart(t *testing.T) {
	d := desk{t: t, book: NewBook()}
	sold := outcome(txn.KindSale, 1, 2, 500)
	d.apply(sold)
	d.apply(outcome(txn.KindSale, 1, 3, 70))
	due := sold
	due.Kind, due.OriginalKey, due.Key = txn.RecordReversalDue, sold.Key, txn.Key{}
	for _, c := range []struct {
		gone, stays int64
		want        txn.Sum
	}{{0, 400, txn.Sum{Count: 2, Minor: 470}}, {100, 150, txn.Sum{Count: 2, Minor: 220}}, {350, 0, txn.Sum{Count: 1, Minor: 70}}} {
		due.Gone, due.Stays = c.gone, c.stays
		d.apply(due)
		if got := d.book.Totals(terminal, 1, 0); got != (txn.Totals{Debit: c.want}) {
			t.Errorf("%d stays: %v, want %v", c.stays, got, c.want)
		}
		if c.stays == 150 {
			d.settle(1, txn.Totals{})
			if f, _ := d.upload(1, txn.BatchItem{STAN: 2, Minor: 150, Card: card}); f.Items[0].Verdict != txn.ItemMatches || f.Items[0].Ours != 150 {
				t.Errorf("uploaded with what stands: %+v", f.Items[0])
			}
		}
	}
	if f, _ := d.upload(1, txn.BatchItem{STAN: 2, Minor: 150, Card: card}); f.Items[0].Verdict != txn.ItemWasReversed || f.Items[0].Ours != 150 {
		t.Errorf("uploaded when nothing stands: %+v", f.Items[0])
	}
}

// A terminal counts its tips, or raises the sales by them; it does not do both.
func TestTipsAreCountedEitherWay(t *testing.T) {
	for debit, want := range map[txn.Sum]txn.Comparison{
		{Count: 4, Minor: 660}: txn.Even,
		{Count: 2, Minor: 660}: txn.Even,
		{Count: 3, Minor: 660}: txn.Uneven,
		{Count: 2, Minor: 600}: txn.Uneven,
	} {
		d := desk{t: t, book: NewBook()}
		d.apply(outcome(txn.KindSale, 1, 2, 500))
		d.apply(outcome(txn.KindSale, 1, 3, 100))
		d.apply(outcome(txn.KindTip, 1, 4, 50))
		d.apply(outcome(txn.KindAdjustment, 1, 5, 10))
		if f, _ := d.settle(1, txn.Totals{Debit: debit}); f.Result[0] != want {
			t.Errorf("%d of %d: %s, want %s", debit.Count, debit.Minor, f.Result[0], want)
		}
	}
}

// The states of a batch: what each step is answered and leaves, and whether a
// sale is admitted then.
func TestStates(t *testing.T) {
	one := txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}
	var none txn.Totals // uneven
	item := txn.BatchItem{STAN: 2, Minor: 500, Card: card}
	for _, c := range []struct {
		name   string
		batch  uint32
		do     func(d *desk) (txn.BatchFact, txn.Reason)
		reason txn.Reason
		state  txn.BatchState
		admit  txn.Reason
	}{
		{"OPEN", 1, func(d *desk) (f txn.BatchFact, r txn.Reason) { return f, r }, txn.Approved, txn.BatchOpen, txn.Approved},
		{"open, upload", 1, func(d *desk) (txn.BatchFact, txn.Reason) { return d.upload(1, item) }, txn.BatchIsNotSettling, txn.BatchOpen, txn.Approved},
		{"open, end", 1, func(d *desk) (txn.BatchFact, txn.Reason) { return d.end(1) }, txn.BatchIsNotSettling, txn.BatchOpen, txn.Approved},
		{"OPEN to SETTLING, uneven", 1, func(d *desk) (txn.BatchFact, txn.Reason) { return d.settle(1, none) }, txn.Approved, txn.BatchSettling, txn.BatchIsNotCurrent},
		{"OPEN to CLOSED, even", 1, func(d *desk) (txn.BatchFact, txn.Reason) { return d.settle(1, one) }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"settled again, uneven", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.settle(1, none); return d.settle(1, none) }, txn.Approved, txn.BatchSettling, txn.BatchIsNotCurrent},
		{"SETTLING to CLOSED, even at last", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.settle(1, none); return d.settle(1, one) }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"SETTLING to UPLOADING", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.settle(1, none); return d.upload(1, item) }, txn.Approved, txn.BatchUploading, txn.BatchIsNotCurrent},
		{"UPLOADING, settled again", 1, func(d *desk) (txn.BatchFact, txn.Reason) {
			d.settle(1, none)
			d.upload(1, item)
			return d.settle(1, none)
		}, txn.Approved, txn.BatchUploading, txn.BatchIsNotCurrent},
		{"CLOSED, its chip data comes", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.settle(1, one); return d.upload(1, item) }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"SETTLING to CLOSED, ended", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.settle(1, none); return d.end(1) }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"ended again", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.settle(1, one); d.end(1); return d.end(1) }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"never settled, closed at the day's end", 1, func(d *desk) (f txn.BatchFact, r txn.Reason) { d.close(1); return f, r }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"closed by us, settled late", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.close(1); return d.settle(1, one) }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"closed by us, uploaded late", 1, func(d *desk) (txn.BatchFact, txn.Reason) { d.close(1); return d.upload(1, item) }, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"77: the next transaction is of another batch", 2, func(d *desk) (txn.BatchFact, txn.Reason) { return d.settle(2, one) }, txn.BatchIsNotCurrent, txn.BatchOpen, txn.BatchIsNotCurrent},
		{"another batch, this one settling", 2, func(d *desk) (txn.BatchFact, txn.Reason) { d.settle(1, none); return d.settle(2, one) }, txn.BatchIsNotCurrent, txn.BatchOpen, txn.BatchIsNotCurrent},
		{"another batch after this one, even and not ended", 2, func(d *desk) (f txn.BatchFact, r txn.Reason) { d.settle(1, one); return f, r }, txn.Approved, txn.BatchOpen, txn.Approved},
		{"another batch after this one", 2, func(d *desk) (f txn.BatchFact, r txn.Reason) { d.settle(1, one); d.end(1); return f, r }, txn.Approved, txn.BatchOpen, txn.Approved},
		{"an empty batch after this one is settled", 2, func(d *desk) (txn.BatchFact, txn.Reason) {
			d.settle(1, one)
			d.end(1)
			return d.settle(2, txn.Totals{})
		}, txn.Approved, txn.BatchClosed, txn.BatchIsNotCurrent},
		{"signed on with another", 2, func(d *desk) (f txn.BatchFact, r txn.Reason) {
			if n := d.book.SignOn(terminal, 2, day); n != 2 {
				t.Errorf("sign-on with 2: use %d", n)
			}
			return f, r
		}, txn.Approved, txn.BatchOpen, txn.Approved},
		{"signed on with a closed one", 2, func(d *desk) (f txn.BatchFact, r txn.Reason) {
			d.settle(1, one)
			d.end(1)
			if n := d.book.SignOn(terminal, 1, day); n != 2 {
				t.Errorf("sign-on with a closed 1: use %d", n)
			}
			return f, r
		}, txn.Approved, txn.BatchOpen, txn.Approved},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &desk{t: t, book: NewBook()}
			if r, _ := d.book.Admit(request(txn.KindSale, 1, 2)); r != txn.Approved {
				t.Fatalf("the first sale: %s", r)
			}
			d.apply(outcome(txn.KindSale, 1, 2, 500))
			if _, reason := c.do(d); reason != c.reason {
				t.Errorf("told %q, want %q", reason, c.reason)
			}
			if got, _ := d.book.Admit(request(txn.KindSale, c.batch, 3)); got != c.admit {
				t.Errorf("the next sale: %q, want %q", got, c.admit)
			}
			if got := d.state(c.batch); got != c.state {
				t.Errorf("the batch is %s, want %s", got, c.state)
			}
			for _, kind := range []txn.Kind{txn.KindOfflineSale, txn.KindScriptResult} {
				if got, _ := d.book.Admit(request(kind, 1, 4)); got != txn.Approved {
					t.Errorf("a %s told afterwards: %q", kind, got)
				}
			}
			again := NewBook()
			for i := range d.log {
				again.Apply(&d.log[i], uint64(i+1))
			}
			if a, b := contents(d.book), contents(again); a != b {
				t.Errorf("after a restart\n%swas\n%s", b, a)
			}
		})
	}
}

// TestF16BatchNumbersThatGoBack holds which batch a terminal may open when its last
// is closed: a later one, also behind the highest number. A message of an earlier
// batch is one that comes again, unless its terminal signed on to begin anew.
func TestF16BatchNumbersThatGoBack(t *testing.T) {
	for _, c := range []struct {
		closed, next uint32
		signsOn      bool
		want         txn.Reason
	}{
		{7, 8, false, txn.Approved},
		{7, 12, false, txn.Approved},
		{7, 7, false, txn.BatchIsNotCurrent},
		{7, 6, false, txn.BatchIsNotCurrent},
		{7, 1, false, txn.BatchIsNotCurrent},
		{7, 1, true, txn.Approved},
		{999_999, 1, false, txn.Approved},
		{1, 999_999, false, txn.BatchIsNotCurrent},
	} {
		d := &desk{t: t, book: NewBook()}
		d.apply(outcome(txn.KindSale, c.closed, 2, 500))
		d.settle(c.closed, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}})
		d.end(c.closed)
		if c.signsOn {
			d.book.SignOn(terminal, c.next, day)
		}
		if got, _ := d.book.Admit(request(txn.KindSale, c.next, 3)); got != c.want {
			t.Errorf("batch %d after %d, signed on %v: %q, want %q", c.next, c.closed, c.signsOn, got, c.want)
		}
		if got := d.book.Settle(request(txn.KindSettlement, c.next, 4), new(txn.BatchFact)); got != c.want && c.next != c.closed {
			t.Errorf("settlement of batch %d after %d, signed on %v: %q, want %q", c.next, c.closed, c.signsOn, got, c.want)
		}
	}
}

func (d *desk) state(number uint32) (s txn.BatchState) {
	d.book.Each(func(b *Batch) {
		if b.Number == number {
			s = b.State
		}
	})
	return s
}

// contents spells a Book; batches with nothing in them are left out.
func contents(b *Book) (s string) {
	for number := range uint32(5) {
		b.Each(func(x *Batch) {
			if x.Number == number && (x.Opened != 0 || x.State != txn.BatchOpen) {
				s += fmt.Sprintf("%+v\n", *x)
			}
		})
	}
	return s
}

// How totals compare, and what an uneven terminal is told (cup-pos C4).
func TestSettle(t *testing.T) {
	sale := txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}
	more := txn.Totals{Debit: txn.Sum{Count: 2, Minor: 700}}
	for _, c := range []struct {
		name     string
		domestic txn.Totals
		foreign  txn.Totals
		currency txn.Currency
		want     [2]txn.Comparison
	}{
		{"对账应答 1 平", more, txn.Totals{}, txn.CNY, [2]txn.Comparison{txn.Even, txn.Even}},
		{"split into halves", sale, txn.Totals{Debit: txn.Sum{Count: 1, Minor: 200}}, txn.CNY, [2]txn.Comparison{txn.Even, txn.Even}},
		{"对账应答 2 不平: another amount", txn.Totals{Debit: txn.Sum{Count: 2, Minor: 701}}, txn.Totals{}, txn.CNY, [2]txn.Comparison{txn.Uneven, txn.Even}},
		{"对账应答 2 不平: another count", txn.Totals{Debit: txn.Sum{Count: 1, Minor: 700}}, txn.Totals{}, txn.CNY, [2]txn.Comparison{txn.Uneven, txn.Even}},
		{"对账应答 2 不平: the other side", txn.Totals{Credit: txn.Sum{Count: 2, Minor: 700}}, txn.Totals{}, txn.CNY, [2]txn.Comparison{txn.Uneven, txn.Even}},
		{"too much in the foreign half", more, sale, txn.CNY, [2]txn.Comparison{txn.Even, txn.Uneven}},
		{"对账应答 3 错: another currency", more, txn.Totals{}, 840, [2]txn.Comparison{txn.NotComparable, txn.NotComparable}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &desk{t: t, book: NewBook()}
			d.apply(outcome(txn.KindSale, 1, 2, 500))
			d.apply(outcome(txn.KindSale, 1, 3, 200))
			r := request(txn.KindSettlement, 1, 9)
			r.Totals, r.Amount.Currency = [2]txn.Totals{c.domestic, c.foreign}, c.currency
			var f txn.BatchFact
			if reason := d.book.Settle(r, &f); reason != txn.Approved || f.Result != c.want || f.Ours != more {
				t.Errorf("%s, %v with ours %v, want %v", reason, f.Result, f.Ours, c.want)
			}
		})
	}
}

// What becomes of uploaded items, however often they come, and what the end
// lists.
func TestF14Items(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	d.apply(outcome(txn.KindSale, 1, 2, 500))
	d.apply(outcome(txn.KindSale, 1, 3, 600))
	d.apply(outcome(txn.KindSale, 1, 4, 700))
	d.apply(outcome(txn.KindRefund, 1, 5, 800))
	reversed := outcome(txn.KindSale, 1, 6, 900)
	d.apply(reversed)
	reversed.Kind, reversed.OriginalKey = txn.RecordReversalDue, reversed.Key
	d.apply(reversed)
	d.settle(1, txn.Totals{})
	rows := []struct {
		name    string
		item    txn.BatchItem
		verdict txn.ItemVerdict
		ours    int64
	}{
		{"by trace, PAN and amount", txn.BatchItem{STAN: 2, Minor: 500, Card: card}, txn.ItemMatches, 500},
		{"paid by a code", txn.BatchItem{STAN: 2, Minor: 500}, txn.ItemMatches, 500},
		{"batchup_flag 2: amount mismatch", txn.BatchItem{STAN: 3, Minor: 601, Card: card}, txn.ItemAmountDiffers, 600},
		{"another PAN", txn.BatchItem{STAN: 3, Minor: 600, Card: txn.CardToken{9}}, txn.ItemCardDiffers, 600},
		{"reversed", txn.BatchItem{STAN: 6, Minor: 900, Card: card}, txn.ItemWasReversed, 900},
		{"missing in the POSP", txn.BatchItem{STAN: 7, Minor: 100, Card: card}, txn.ItemIsNotOurs, 0},
	}
	for range 2 {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				f, reason := d.upload(1, row.item)
				if reason != txn.Approved || f.Items[0].Verdict != row.verdict || f.Items[0].Ours != row.ours {
					t.Errorf("item %d of %d: %s, %s, ours %d; want %s, %d", row.item.STAN, row.item.Minor, reason, f.Items[0].Verdict, f.Items[0].Ours, row.verdict, row.ours)
				}
			})
		}
	}
	// Chip data under a number of its own is of the like transaction that is
	// not uploaded yet.
	chip := request(txn.KindUpload, 1, 93)
	chip.Network = 205
	f, _ := d.do(chip, d.book.Upload, []txn.BatchItem{{STAN: 50, Minor: 700, Card: card}})
	if f.Items[0].Verdict != txn.ItemMatches || f.Items[0].STAN != 4 {
		t.Errorf("chip data: %+v", f.Items[0])
	}
	f, _ = d.end(1) // missing in the upload
	if len(f.Items) != 1 || f.Items[0].Verdict != txn.ItemIsNotUploaded || f.Items[0].STAN != 5 || f.Items[0].Ours != 800 ||
		f.Missing != (txn.Totals{Credit: txn.Sum{Count: 1, Minor: 800}}) || f.Received != 5 {
		t.Errorf("the end: %+v", f)
	}
}

// A day's closed batches are kept for the day after, and no longer; open ones
// for ever. Their memory is used again.
func TestForgets(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	d.apply(outcome(txn.KindSale, 1, 2, 500))
	d.settle(1, txn.Totals{})
	d.end(1)
	d.apply(outcome(txn.KindSale, 2, 3, 500))
	if first, _ := d.book.Oldest(day + 1); first != 1 {
		t.Errorf("a day later the Book needs the journal from %d", first)
	}
	if first, _ := d.book.Oldest(day + 2); first != 4 {
		t.Errorf("two days later the Book needs the journal from %d", first)
	}
	d.close(2)
	if first, ok := d.book.Oldest(day + 4); ok {
		t.Errorf("the Book needs the journal from %d", first)
	}
	sh := &d.book.shards[d.book.at(&terminal)]
	if len(sh.batches) != 0 || len(sh.current) != 0 || sh.items.free == none {
		t.Errorf("left behind: %v %v", sh.batches, sh.current)
	}
}

// Batch 0, of dialects without numbers, begins anew when it is closed.
func TestBatchWithoutNumber(t *testing.T) {
	one := txn.Totals{Debit: txn.Sum{Count: 1, Minor: 500}}
	d := &desk{t: t, book: NewBook()}
	for range 3 {
		if r, _ := d.book.Admit(request(txn.KindSale, 0, 2)); r != txn.Approved {
			t.Fatal(r)
		}
		d.apply(outcome(txn.KindSale, 0, 2, 500))
		if f, _ := d.settle(0, txn.Totals{}); f.Result[0] != txn.Uneven || f.State != txn.BatchSettling {
			t.Errorf("uneven: %+v", f)
		}
		if f, _ := d.settle(0, one); f.Result[0] != txn.Even || f.State != txn.BatchClosed {
			t.Errorf("even: %+v", f)
		}
		if f, r := d.end(0); r != txn.Approved || f.State != txn.BatchOpen || f.Step != txn.StepEnd {
			t.Errorf("an end after it: %s %+v", r, f)
		}
	}
}

// Transactions and totals without a batch number leave their terminal in the batch it is in,
// and keep it from none.
func TestWithoutNumberBesideABatch(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	for number := uint32(7); number < 9; number++ {
		d.apply(outcome(txn.KindSale, 0, 1, 500))
		d.settle(0, txn.Totals{})
		for stan := uint32(2); stan < 4; stan++ {
			if r, _ := d.book.Admit(request(txn.KindSale, number, stan)); r != txn.Approved {
				t.Fatalf("sale %d of batch %d: %s", stan, number, r)
			}
			d.apply(outcome(txn.KindSale, number, stan, 500))
			d.apply(outcome(txn.KindSale, 0, stan, 500))
			if r, _ := d.book.Admit(request(txn.KindSale, 0, stan+100)); r != txn.Approved {
				t.Fatalf("sale %d without number: %s", stan, r)
			}
			if r, _ := d.book.Admit(request(txn.KindSale, number+1, stan)); r == txn.Approved {
				t.Fatalf("batch %d was opened beside %d", number+1, number)
			}
		}
		d.settle(number, txn.Totals{Debit: txn.Sum{Count: 2, Minor: 1000}})
		if f, _ := d.settle(0, txn.Totals{Debit: txn.Sum{Count: 3, Minor: 1500}}); f.State != txn.BatchClosed {
			t.Errorf("without number: %+v", f)
		}
		if r, _ := d.book.Admit(request(txn.KindSale, 6, 1)); r == txn.Approved {
			t.Fatalf("batch 6 was opened behind %d", number)
		}
	}
}

// A sale costs the Book no allocation but its share of a chunk of items.
func TestASaleAllocatesNothing(t *testing.T) {
	b := NewBook()
	r, rec := request(txn.KindSale, 1, 2), outcome(txn.KindSale, 1, 2, 500)
	n := testing.AllocsPerRun(1000, func() {
		if reason, _ := b.Admit(r); reason != txn.Approved || b.Apply(&rec, 1) != nil {
			t.Fatal("refused")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSale(b *testing.B) {
	book := NewBook()
	r, rec := request(txn.KindSale, 1, 2), outcome(txn.KindSale, 1, 2, 500)
	for b.Loop() {
		book.Admit(r)
		book.Apply(&rec, 1)
	}
}

// A batch of which a terminal first told something that was done already, also
// one that a restart rebuilds from that, is opened by the next request; what is
// told of a batch does not take the terminal out of the one it is in.
func TestToldBeforeTheBatchWasOpened(t *testing.T) {
	d := &desk{t: t, book: NewBook()}
	d.apply(outcome(txn.KindOfflineSale, 7, 1, 10))
	if r, _ := d.book.Admit(request(txn.KindSale, 7, 2)); r != txn.Approved {
		t.Fatal(r)
	}
	d.apply(outcome(txn.KindTip, 6, 3, 10))
	if r, _ := d.book.Admit(request(txn.KindSale, 7, 4)); r != txn.Approved {
		t.Error(r)
	}
	if r, _ := d.book.Admit(request(txn.KindSale, 6, 5)); r != txn.BatchIsNotCurrent {
		t.Error(r)
	}
}

// Sign-ons with ever new numbers, which anybody can send, leave one empty batch;
// those with something in them stay.
func TestSignOnsLeaveNoEmptyBatches(t *testing.T) {
	d := desk{t: t, book: NewBook()}
	d.apply(outcome(txn.KindSale, 1, 2, 500))
	for n := range uint32(100) {
		d.book.SignOn(terminal, n+2, day)
	}
	if n := len(d.book.shards[d.book.at(&terminal)].batches); n != 2 {
		t.Errorf("%d batches are kept", n)
	}
	d.book.SignOn(terminal, 1, day)
	if r, _ := d.book.Admit(request(txn.KindSale, 1, 3)); r != txn.Approved {
		t.Errorf("a sale of the batch with something in it: %s", r)
	}
}
