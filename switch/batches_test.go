package acquirer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func settlement(terminal string, batch, stan uint32, theirs txn.Totals) txn.Request {
	r := sale(terminal, stan, 0)
	r.Kind, r.MTI, r.Key.Class, r.Key.Batch, r.PAN = txn.KindSettlement, 0x0500, txn.ClassUpload, batch, txn.PAN{}
	r.Network, r.Totals[0] = 201, theirs
	return r
}

func upload(terminal string, batch, stan uint32, items ...txn.Item) txn.Request {
	r := settlement(terminal, batch, stan, txn.Totals{})
	r.Kind, r.MTI, r.Items = txn.KindUpload, 0x0320, items
	return r
}

func end(terminal string, batch, stan, announced uint32) txn.Request {
	r := upload(terminal, batch, stan)
	r.Network, r.Announced = 202, announced
	return r
}

func item(stan uint32, minor int64) txn.Item {
	pan, _ := txn.ParsePAN(testPAN)
	return txn.Item{STAN: stan, Minor: minor, PAN: pan}
}

func debit(count uint32, minor int64) txn.Totals {
	return txn.Totals{Debit: txn.Sum{Count: count, Minor: minor}}
}

// A settlement and an upload are answered again, word for word, also after a
// crash; and another one under their number is refused.
func TestF14SettlementIsRepeated(t *testing.T) {
	h := newHouse(t)
	h.ask(sale("10000001", 1, 500))
	h.ask(sale("10000001", 2, 700))
	uneven := h.ask(settlement("10000001", 1, 3, debit(1, 500)))
	h.want("uneven settlement", uneven, txn.Approved, "00")
	if uneven.Result != [2]txn.Comparison{txn.Uneven, txn.Even} || uneven.Totals != [2]txn.Totals{debit(2, 1200), {}} {
		t.Errorf("uneven settlement: %v %v", uneven.Result, uneven.Totals)
	}
	h.want("sale meanwhile", h.ask(sale("10000001", 9, 1)), txn.BatchIsNotCurrent, "77")
	first := h.ask(upload("10000001", 1, 4, item(1, 500)))
	h.want("upload", first, txn.Approved, "00")
	last := h.ask(end("10000001", 1, 5, 1))
	h.want("end", last, txn.Approved, "00")
	before := h.journal.Last()
	for range 2 {
		for what, c := range map[string]struct {
			req txn.Request
			was txn.Answer
		}{
			"settlement": {settlement("10000001", 1, 3, debit(1, 500)), uneven},
			"upload":     {upload("10000001", 1, 4, item(1, 500)), first},
			"end":        {end("10000001", 1, 5, 1), last},
		} {
			got := h.ask(c.req)
			if !got.Replayed || got.Totals != c.was.Totals || got.Result != c.was.Result || got.Count != c.was.Count ||
				got.RRN != c.was.RRN || got.Time != c.was.Time || got.Code != c.was.Code || got.Reply.SettlementDate != c.was.Reply.SettlementDate {
				t.Errorf("%s again: %+v, was %+v", what, got, c.was)
			}
		}
		h.want("other totals", h.ask(settlement("10000001", 1, 3, debit(1, 501))), txn.DuplicateWithOtherContent, "94")
		h.want("other items", h.ask(upload("10000001", 1, 4, item(1, 501))), txn.DuplicateWithOtherContent, "94")
		h.want("other code", h.ask(upload("10000001", 1, 5)), txn.DuplicateWithOtherContent, "94")
		if h.journal.Last() != before {
			t.Errorf("%d records were written", h.journal.Last()-before)
		}
		h.restart()
	}
	next := sale("10000001", 6, 1)
	next.Key.Batch = 2
	h.want("the next batch", h.ask(next), txn.Approved, "00")
}

// What a batch's state refuses leaves no record and keeps its number free.
func TestRefusedByTheBatchIsNotRecorded(t *testing.T) {
	h := newHouse(t)
	h.ask(sale("10000001", 1, 500))
	before := h.journal.Last()
	other := sale("10000001", 2, 500)
	other.Key.Batch = 2
	h.want("a sale of another batch", h.ask(other), txn.BatchIsNotCurrent, "77")
	h.want("a settlement of another batch", h.ask(settlement("10000001", 2, 3, txn.Totals{})), txn.BatchIsNotCurrent, "77")
	h.want("an upload before the settlement", h.ask(upload("10000001", 1, 4, item(1, 500))), txn.BatchIsNotSettling, "95")
	h.want("an end before the settlement", h.ask(end("10000001", 1, 4, 0)), txn.BatchIsNotSettling, "95")
	if h.journal.Last() != before {
		t.Errorf("%d records were written", h.journal.Last()-before)
	}
	signOn := sale("10000001", 4, 0)
	signOn.Kind, signOn.MTI, signOn.Key.Class, signOn.Key.Batch, signOn.PAN = txn.KindSignOn, 0x0800, txn.ClassNetwork, 2, txn.PAN{}
	if ans := h.ask(signOn); ans.Reason != txn.Approved || ans.Batch != 2 {
		t.Fatalf("sign-on: %s, batch %d", ans.Reason, ans.Batch)
	}
	h.want("the same sale after a sign-on", h.ask(other), txn.Approved, "00")
	h.want("the batch left behind", h.ask(settlement("10000001", 1, 5, debit(1, 500))), txn.Approved, "00")
	h.want("a stranger's merchant", func() txn.Answer {
		r := settlement("10000001", 2, 6, txn.Totals{})
		r.Merchant = txn.MakeMerchantID("999290054119999")
		return h.ask(r)
	}(), txn.MerchantIsUnknown, "03")
}

// A reversal that becomes due after the settlement is still taken out, and the
// upload says that the item was reversed.
func TestReversalDuringSettlement(t *testing.T) {
	h := newHouse(t)
	h.ask(sale("10000001", 1, 500))
	h.ask(sale("10000001", 2, 700))
	h.ask(settlement("10000001", 1, 3, txn.Totals{}))
	h.want("reversal", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
	h.ask(upload("10000001", 1, 4, item(1, 500), item(2, 700)))
	facts := h.facts()
	items := facts[len(facts)-1].Items
	if len(items) != 2 || items[0].Verdict != txn.ItemWasReversed || items[1].Verdict != txn.ItemMatches {
		t.Errorf("items %+v", items)
	}
	if got := h.s.Batches().Totals(txn.MakeTerminalID("10000001"), 1, 0); got != debit(1, 700) {
		t.Errorf("totals %v", got)
	}
	for _, b := range facts {
		for i := range b.Items {
			if m := string(b.Items[i].Masked[:]); m != "622202*********0128" {
				t.Errorf("the card is kept as %q", m)
			}
		}
	}
}

// facts are the durable facts of batches, in order.
func (h *house) facts() (all []txn.BatchFact) {
	h.t.Helper()
	var rec txn.Record
	err := h.journal.Scan(h.journal.First(), func(_ journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil || !rec.Request.Batch() || len(rec.Data) == 0 {
			return err
		}
		var f txn.BatchFact
		err := f.Unmarshal(rec.Data)
		all = append(all, f)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// Batches that no terminal settled are closed by day, once; a late settlement
// is still compared.
func TestUnsettledBatchesAreClosed(t *testing.T) {
	h := newHouse(t)
	for i := range 3 {
		h.ask(sale(fmt.Sprintf("1000000%d", i+1), 1, 500))
	}
	h.ask(settlement("10000002", 1, 2, debit(1, 499)))
	h.ask(settlement("10000003", 1, 2, debit(1, 500)))
	h.ask(end("10000003", 1, 3, 0))
	today := h.s.cfg.Day.Of(time.Now())
	for _, c := range []struct {
		day  txn.Date
		want int
	}{{today.Before(), 0}, {today, 2}, {today, 0}} {
		if n, err := h.s.CloseBatches(context.Background(), c.day); n != c.want || err != nil {
			t.Errorf("closed %d of %s, %v; want %d", n, c.day, err, c.want)
		}
	}
	h.restart()
	h.want("a sale of the closed batch", h.ask(sale("10000001", 2, 1)), txn.BatchIsNotCurrent, "77")
	late := h.ask(settlement("10000001", 1, 3, debit(1, 500)))
	if h.want("a late settlement", late, txn.Approved, "00"); late.Result[0] != txn.Even {
		t.Errorf("a late settlement: %v", late.Result)
	}
}

// A batch without number ends when its terminal settles it: what is in it is not voided
// or raised any more, but refunded. One that we closed, its terminal goes on with.
func TestVoidAfterABatchWithoutNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(0, 22, 30)
		h := newHouse(t)
		defer func() { h.stop() }()
		unnumbered := func(r txn.Request) txn.Request {
			r.Key.Batch, r.Original.Batch = 0, 0
			return r
		}
		stan := uint32(100)
		do := func(kind txn.Kind, minor int64, of uint32) txn.Answer {
			stan++
			return h.ask(unnumbered(about(kind, stan, minor, of)))
		}
		for n := range uint32(3) {
			h.want("sale", h.ask(unnumbered(sale("10000001", n+1, 1000))), txn.Approved, "00")
		}
		h.want("totals that are uneven", h.ask(settlement("10000001", 0, 10, debit(1, 1000))), txn.Approved, "00")
		h.want("void while it settles", do(txn.KindVoid, 1000, 1), txn.Approved, "00")
		h.want("totals", h.ask(settlement("10000001", 0, 11, txn.Totals{Debit: txn.Sum{Count: 3, Minor: 3000}, Credit: txn.Sum{Count: 1, Minor: 1000}})), txn.Approved, "00")
		for range 2 {
			h.want("void", do(txn.KindVoid, 1000, 2), txn.OriginalIsOfAnotherBatch, "25")
			h.want("tip", do(txn.KindTip, 100, 2), txn.OriginalIsOfAnotherBatch, "25")
			h.restart()
		}
		h.want("refund", do(txn.KindRefund, 1000, 2), txn.Approved, "00")
		h.want("sale", h.ask(unnumbered(sale("10000001", 4, 1000))), txn.Approved, "00")
		h.want("void of what came after", do(txn.KindVoid, 1000, 4), txn.Approved, "00")

		at(1, 10, 0)
		h.want("sale of the next day", h.ask(unnumbered(sale("10000001", 5, 1000))), txn.Approved, "00")
		if n, err := h.s.CloseBatches(t.Context(), h.s.cfg.Day.Of(time.Now()).Before()); n != 1 || err != nil {
			t.Fatalf("closed %d, %v", n, err)
		}
		h.want("void after we closed", do(txn.KindVoid, 1000, 5), txn.Approved, "00")
	})
}

// Sales and reversals side by side with settlements: each settlement's totals
// are those of the records before it in the journal.
func TestSettlementIsACutOfTheJournal(t *testing.T) {
	h := newHouse(t)
	var wg sync.WaitGroup
	for g := range uint32(4) {
		wg.Go(func() {
			for i := range uint32(40) {
				stan := g*1000 + i + 1
				r := sale("10000001", stan, int64(stan))
				r.Key.Batch = 0 // of a dialect whose batches take sales while they settle
				h.ask(r)
				if i%3 == 0 {
					r := reversal("10000001", stan, int64(stan))
					r.Key.Batch, r.Original.Batch = 0, 0
					h.ask(r)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range uint32(60) {
			ans := h.ask(settlement("10000001", 0, 9000+i, txn.Totals{}))
			for ans.Reason == txn.OriginalIsBusy { // something is undecided for longer than it waits
				ans = h.ask(settlement("10000001", 0, 9000+i, txn.Totals{}))
			}
			h.want("settlement", ans, txn.Approved, "00")
		}
	})
	wg.Wait()
	n := h.checkFacts()
	if n != 60 {
		t.Errorf("%d settlements", n)
	}
}

// checkFacts recomputes every settlement's totals from the records before it.
func (h *house) checkFacts() (settlements int) {
	h.t.Helper()
	book := batch.NewBook()
	var rec txn.Record
	err := h.journal.Scan(h.journal.First(), func(at journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return err
		}
		if rec.Request.Batch() && len(rec.Data) > 0 {
			var f txn.BatchFact
			if err := f.Unmarshal(rec.Data); err != nil {
				return err
			}
			settlements++
			if got := book.Totals(rec.Key.Terminal, rec.Key.Batch, rec.Day); got != f.Ours {
				h.t.Errorf("the settlement at %d says %v, the records before it %v", at, f.Ours, got)
			}
		}
		return book.Apply(&rec, uint64(at))
	})
	if err != nil {
		h.t.Fatal(err)
	}
	live := map[string]batch.Batch{}
	h.s.Batches().Each(func(b *batch.Batch) { live[fmt.Sprintf("%s/%d", b.Terminal, b.Number)] = *b })
	book.Each(func(b *batch.Batch) {
		if got := live[fmt.Sprintf("%s/%d", b.Terminal, b.Number)]; got != *b {
			h.t.Errorf("live %+v, the journal says %+v", got, *b)
		}
	})
	return settlements
}

// till is a terminal as it keeps its own batch: what it was told is approved,
// less what it reversed.
type till struct {
	h      *house
	t      *rapid.T
	number uint32 // of the batch
	stan   uint32
	items  map[uint32]entryOfTill
	owed   *txn.Request // the reversal it must send before anything else
	last   *txn.Request
	told   txn.Answer
}

type entryOfTill struct {
	minor  int64
	side   txn.Effect
	voided bool
}

func (p *till) next() uint32 { p.stan++; return p.stan }

func (p *till) totals() (t txn.Totals) {
	for _, e := range p.items {
		side := t.Side(e.side)
		side.Count, side.Minor = side.Count+1, side.Minor+e.minor
	}
	return t
}

// send asks; what is lost is an answer that the terminal never sees.
func (p *till) send(req txn.Request) (ans txn.Answer, heard bool) {
	req.Items = slices.Clone(req.Items) // the switch wipes card numbers
	ans = p.h.ask(req)
	return ans, !rapid.Bool().Draw(p.t, "the answer is lost")
}

// settleDebt sends the owed reversal until an answer is heard.
func (p *till) settleDebt() {
	for p.owed != nil {
		ans, heard := p.send(*p.owed)
		if ans.Reason != txn.Approved {
			p.t.Fatalf("reversal of %d: %s", p.owed.Key.STAN, ans.Reason)
		}
		if heard {
			p.owed = nil
		}
	}
}

// money sends a sale, void or refund.
func (p *till) money(req txn.Request) {
	p.settleDebt()
	req.Key.Batch = p.number
	ans, heard := p.send(req)
	p.last, p.told = &req, ans
	if !heard {
		p.last = nil
		if req.Kind.Remedy() == txn.Reverse {
			r := reversal("10000001", req.Key.STAN, req.Amount.Minor)
			r.ProcessingCode, r.Key.Batch, r.Original.Batch = req.ProcessingCode, p.number, p.number
			p.owed = &r
			return
		}
		for !heard { // a refund is repeated
			ans, heard = p.send(req)
		}
	}
	if ans.Reason == txn.Approved {
		p.items[req.Key.STAN] = entryOfTill{req.Amount.Minor, req.Kind.Totals(), req.Kind != txn.KindSale}
	}
}

// about is a void or a refund of a sale in the batch.
func (p *till) about(kind txn.Kind, stan uint32) txn.Request {
	r := sale("10000001", p.next(), p.items[stan].minor)
	r.Kind, r.ProcessingCode = kind, [6]byte([]byte("200000"))
	r.Original.STAN, r.Original.Batch = stan, p.number
	if kind == txn.KindRefund {
		r.MTI, r.Key.Class = 0x0220, txn.ClassAdvice
	}
	return r
}

// repeated sends until an answer is heard, and wants each to be the same.
func (p *till) repeated(req txn.Request) txn.Answer {
	first, heard := p.send(req)
	if first.Reason != txn.Approved {
		p.t.Fatalf("%s %d of batch %d: %s", req.Kind, req.Key.STAN, req.Key.Batch, first.Reason)
	}
	for ans := first; !heard; {
		if rapid.IntRange(0, 9).Draw(p.t, "crash") == 0 {
			p.h.restart()
		}
		ans, heard = p.send(req)
		if ans.Totals != first.Totals || ans.Result != first.Result || ans.Count != first.Count || ans.RRN != first.RRN {
			p.t.Fatalf("%s %d: told %+v, then %+v", req.Kind, req.Key.STAN, first, ans)
		}
	}
	return first
}

// settle settles, uploads if it must, and goes on to the next batch. lie is what
// the terminal has wrong.
func (p *till) settle(lie string) {
	p.settleDebt()
	ours := p.totals()
	var victim uint32
	for stan := range p.items {
		victim = max(victim, stan)
	}
	switch {
	case lie == "an item too many":
		p.items[999_000] = entryOfTill{3, txn.Debit, false}
	case victim == 0:
		lie = ""
	case lie == "an item forgotten":
		delete(p.items, victim)
	case lie == "another amount":
		e := p.items[victim]
		e.minor++
		p.items[victim] = e
	default:
		lie = ""
	}
	ans := p.repeated(settlement("10000001", p.number, p.next(), p.totals()))
	even := ans.Result == [2]txn.Comparison{txn.Even, txn.Even}
	if even != (lie == "") {
		p.t.Fatalf("lie %q: told %v; terminal %v, switch %v", lie, ans.Result, p.totals(), ans.Totals)
	}
	if !even && ans.Totals[0] != ours {
		p.t.Fatalf("the switch has %v, the terminal %v before it lied (%s)", ans.Totals[0], ours, lie)
	}
	before := len(p.h.facts())
	var items []txn.Item
	for stan, e := range p.items {
		items = append(items, item(stan, e.minor))
	}
	if !even {
		for part := range chunks(items) {
			for range rapid.IntRange(1, 2).Draw(p.t, "times") {
				p.repeated(upload("10000001", p.number, p.next(), part...))
			}
			if rapid.IntRange(0, 9).Draw(p.t, "crash") == 0 {
				p.h.restart()
			}
		}
	}
	e := end("10000001", p.number, p.next(), uint32(len(items)))
	if even {
		e.Network = 207
	}
	p.repeated(e)
	// Every difference has its exception.
	verdicts := map[txn.ItemVerdict]map[uint32]bool{}
	for _, f := range p.h.facts()[before:] {
		for _, it := range f.Items {
			if verdicts[it.Verdict] == nil {
				verdicts[it.Verdict] = map[uint32]bool{}
			}
			verdicts[it.Verdict][it.STAN] = true
		}
	}
	delete(verdicts, txn.ItemMatches)
	want := map[string]txn.ItemVerdict{"an item too many": txn.ItemIsNotOurs, "an item forgotten": txn.ItemIsNotUploaded, "another amount": txn.ItemAmountDiffers}[lie]
	if lie == "an item too many" {
		victim = 999_000
	}
	switch {
	case lie == "" && len(verdicts) != 0,
		lie != "" && (len(verdicts) != 1 || len(verdicts[want]) != 1 || !verdicts[want][victim]):
		p.t.Fatalf("lie %q about %d: exceptions %v", lie, victim, verdicts)
	}
	old := sale("10000001", p.next(), 1)
	old.Key.Batch = p.number
	if ans := p.h.ask(old); ans.Reason != txn.BatchIsNotCurrent {
		p.t.Fatalf("a sale of the closed batch: %s", ans.Reason)
	}
	p.number, p.items, p.last = p.number+1, map[uint32]entryOfTill{}, nil
}

func chunks(items []txn.Item) func(func([]txn.Item) bool) {
	return func(yield func([]txn.Item) bool) {
		for len(items) > 0 {
			n := min(len(items), txn.UploadItemsMax)
			if !yield(items[:n]) {
				return
			}
			items = items[n:]
		}
	}
}

// Terminal totals equal host totals under any interleaving of duplicates, lost
// answers, reversals, partial uploads and restarts, or an exception names the
// difference.
func TestF13TerminalAndSwitchAgreeOnTotals(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouse(t)
		defer func() { h.stop(); h.stop = func() {} }()
		h.bank.behave = func(req *txn.Request) (txn.Outcome, txn.Reason, string) {
			switch req.Amount.Minor % 5 {
			case 3:
				return txn.OutcomeDeclined, txn.IssuerDeclined, "51"
			case 4:
				return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
			}
			return txn.OutcomeApproved, txn.Approved, "00"
		}
		p := &till{h: h, t: rt, number: 1, items: map[uint32]entryOfTill{}}
		standing := func() []uint32 {
			var s []uint32
			for stan, e := range p.items {
				if !e.voided {
					s = append(s, stan)
				}
			}
			return s
		}
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"sale", "sale", "sale", "void", "refund", "again", "crash", "settle"}).Draw(rt, "step") {
			case "sale":
				p.money(sale("10000001", p.next(), rapid.Int64Range(1, 60).Draw(rt, "amount")))
			case "void", "refund":
				if s := standing(); len(s) > 0 {
					kind := rapid.SampledFrom([]txn.Kind{txn.KindVoid, txn.KindRefund}).Draw(rt, "kind")
					p.money(p.about(kind, s[0]))
				}
			case "again":
				if p.last != nil {
					// What was busy was not decided, and is asked anew.
					if ans := h.ask(*p.last); p.told.Reason != txn.OriginalIsBusy && (ans.Reason != p.told.Reason || ans.RRN != p.told.RRN) {
						rt.Fatalf("%s %d again: %s %s, was %s %s", p.last.Kind, p.last.Key.STAN, ans.Reason, ans.RRN, p.told.Reason, p.told.RRN)
					}
				}
			case "crash":
				h.restart()
			case "settle":
				p.settle(rapid.SampledFrom([]string{"", "", "an item too many", "an item forgotten", "another amount"}).Draw(rt, "lie"))
			}
		}
		p.settle("")
		h.checkFacts()
	})
}

// Every append of a settlement fails once, lost or persisted; the process then
// restarts and the terminal asks again. It ends as if nothing had happened, and
// what it was told before is what it is told again.
func TestEveryAppendOfASettlementFails(t *testing.T) {
	steps := []txn.Request{
		sale("10000001", 1, 500),
		sale("10000001", 2, 700),
		settlement("10000001", 1, 3, debit(1, 500)),
		upload("10000001", 1, 4, item(1, 500)),
		upload("10000001", 1, 5, item(9, 900)),
		end("10000001", 1, 6, 2),
	}
	for _, persisted := range []bool{false, true} {
		for n := 5; n <= 8; n++ { // the sales take four
			h := newHouse(t)
			h.stop()
			fault := &faulty{n: n, persisted: persisted}
			h.open(func(r Recorder) Recorder { fault.Recorder = r; return fault })
			silent := 0
			for i := range steps {
				req := steps[i]
				req.Items = slices.Clone(req.Items)
				ans := h.ask(req)
				if ans.Silent {
					silent++
					h.restart()
					req.Items = slices.Clone(steps[i].Items)
					ans = h.ask(req)
				}
				h.want(fmt.Sprintf("append %d (persisted %v), step %d", n, persisted, i), ans, txn.Approved, "00")
				again := steps[i]
				again.Items = slices.Clone(again.Items)
				if got := h.ask(again); got.Result != ans.Result || got.Totals != ans.Totals || got.Count != ans.Count || got.RRN != ans.RRN {
					t.Errorf("append %d (persisted %v), step %d: told %+v, then %+v", n, persisted, i, ans, got)
				}
			}
			if silent != 1 {
				t.Errorf("append %d: %d steps were cut off", n, silent)
			}
			if got := h.checkFacts(); got != 4 {
				t.Errorf("append %d (persisted %v): %d facts", n, persisted, got)
			}
			if all := h.facts(); all[3].State != txn.BatchClosed || all[3].Missing != debit(1, 700) {
				t.Errorf("append %d (persisted %v): the end is %+v", n, persisted, all[3])
			}
		}
	}
}
