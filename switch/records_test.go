package acquirer

import (
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestRecordOfASale: what later steps read of a record is in it: fees the first digits
// of the card, reports the method and whether there was a PIN.
func TestRecordOfASale(t *testing.T) {
	h := newHouse(t)
	plain, paid := sale("10000001", 1, 1000), sale("10000001", 2, 700)
	plain.Entry = txn.EntryChip
	paid.Entry, paid.PINBlock = txn.EntryContactless, txn.Secret("12345678")
	h.want("without a PIN", h.ask(plain), txn.Approved, "00")
	h.want("with one", h.ask(paid), txn.Approved, "00")
	refund := about(txn.KindRefund, 3, 100, 1)
	refund.Entry = txn.EntryStripe
	h.want("refund", h.ask(refund), txn.Approved, "00")
	want := map[uint32]struct {
		way txn.Way
		pin bool
	}{1: {txn.WayChip, false}, 2: {txn.WayContactless, true}, 3: {txn.WayStripe, false}}
	for _, rec := range h.records() {
		w := want[rec.Key.STAN]
		masked := [txn.PANDigitsMax]byte([]byte("622202*********0128"))
		if rec.Masked != masked || rec.PIN != w.pin || rec.Method != txn.MakeMethod(w.way, w.pin) || rec.MCC != 5411 || rec.Region != 310101 || rec.Card == (txn.CardToken{}) ||
			string(rec.ProcessingCode[:]) != "000000" || string(rec.Condition[:]) != "00" {
			t.Errorf("%s of %d: %+v", rec.Kind, rec.Key.STAN, rec)
		}
	}
}

// A request that the issuer refused has done nothing about its original, and keeps
// nobody else from it.
func TestRefusedDeedsAreNone(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeDeclined, txn.IssuerDeclined, "05"
	}
	h.want("void that the issuer refuses", h.ask(about(txn.KindVoid, 2, 1000, 1)), txn.IssuerDeclined, "05")
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeNotSent, txn.IssuerIsUnavailable, ""
	}
	h.want("void that does not leave", h.ask(about(txn.KindVoid, 3, 1000, 1)), txn.IssuerIsUnavailable, "91")
	h.bank.behave = nil
	h.restart()
	h.want("void", h.ask(about(txn.KindVoid, 4, 1000, 1)), txn.Approved, "00")
}

// All that a request says of its original must be true of it.
func TestOriginalMustBeAsSaid(t *testing.T) {
	h := newHouse(t)
	sold := h.ask(sale("10000001", 1, 1000))
	other := h.ask(sale("10000001", 2, 1000))
	for i, c := range []struct {
		name string
		ref  txn.Reference
		want txn.Reason
	}{
		{"another's reference number", txn.Reference{STAN: 1, Batch: 1, RRN: other.RRN}, txn.OriginalIsUnknown},
		{"another batch", txn.Reference{STAN: 1, Batch: 2, RRN: sold.RRN}, txn.OriginalIsUnknown},
		{"a day of last month", txn.Reference{STAN: 1, Batch: 1, Date: settlementDate(h.s.cfg.Day.Of(time.Now().Add(-20 * 24 * time.Hour)))}, txn.OriginalIsUnknown},
		{"all of its own", txn.Reference{STAN: 1, Batch: 1, RRN: sold.RRN, Date: sold.Date}, txn.Approved},
	} {
		void := about(txn.KindVoid, uint32(10+i), 1000, 0)
		void.Original = c.ref
		if got := h.ask(void); got.Reason != c.want {
			t.Errorf("%s: %v, want %v", c.name, got.Reason, c.want)
		}
	}
}

// Of what the archive has under a number, the one is meant that was taken, was this
// merchant's, and moved money.
func TestArchiveHasWhatIsNoOriginal(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	old := h.last(txn.RecordOutcome)
	for range 10 {
		old.Day = old.Day.Before()
	}
	old.ID, old.Key.STAN, old.RRN, old.Date = 5, 900, h.s.numbers.rrn(old.Day.In(time.UTC).YearDay()), settlementDate(old.Day)
	pan, _ := txn.ParsePAN(testPAN)
	h.s.cards.Seal(&old.SealedPAN, &pan, old.ID)
	declined, balance := old, old
	declined.ID, declined.Outcome, declined.Reason = 6, txn.OutcomeDeclined, txn.IssuerDeclined
	balance.ID, balance.Request, balance.Amount.Minor = 7, txn.KindBalance, 0
	refund := about(txn.KindRefund, 20, 1000, 0)
	refund.Original = txn.Reference{RRN: old.RRN, Date: old.Date}
	for name, recs := range map[string][]txn.Record{"a refused sale": {declined}, "a balance": {balance}, "nothing": nil} {
		h.s.archive = &shelf{recs: recs}
		if got := h.ask(refund); got.Reason != txn.OriginalIsUnknown {
			t.Errorf("%s is refunded: %v", name, got.Reason)
		}
		refund.Key.STAN++
	}
	h.s.archive = &shelf{recs: []txn.Record{declined, balance, old}}
	h.want("the sale among them", h.ask(refund), txn.Approved, "00")
	if rec := h.last(txn.RecordOutcome); rec.Original != old.ID {
		t.Errorf("it is about %s", rec.Original)
	}
}

// A transaction of long ago is found by its number where the date that is said of it is
// a day off: its terminal's clock may be ahead of the acquirer's, or behind.
func TestArchiveByADateThatIsADayOff(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 1000)), txn.Approved, "00")
	old := h.last(txn.RecordOutcome)
	old.ID, old.Key.STAN, old.Day = 5, 900, old.Day.Plus(-10)
	pan, _ := txn.ParsePAN(testPAN)
	h.s.cards.Seal(&old.SealedPAN, &pan, old.ID)
	h.s.archive = &shelf{recs: []txn.Record{old}}
	for i, off := range []int{-2, -1, 0, 1, 2} {
		refund := about(txn.KindRefund, uint32(20+i), 100, 900)
		refund.Original.Date = settlementDate(old.Day.Plus(off))
		want := txn.Approved
		if off < -1 || off > 1 {
			want = txn.OriginalIsUnknown
		}
		if got := h.ask(refund); got.Reason != want {
			t.Errorf("%d days off: %v, want %v", off, got.Reason, want)
		}
	}
}

// TestDateOf: four digits are the latest day that they can mean, tomorrow at most.
func TestDateOf(t *testing.T) {
	for _, c := range []struct {
		mmdd  string
		today txn.Date
		want  txn.Date
	}{
		{"1231", 20270101, 20261231}, {"0101", 20270101, 20270101}, {"0102", 20270101, 20270102}, {"0103", 20270101, 20260103}, {"0101", 20261231, 20270101}, {"0102", 20261231, 20260102},
		{"1122", 20261122, 20261122}, {"\x00\x00\x00\x00", 20261122, 0}, {"11:2", 20261122, 0}, {"1/22", 20261122, 0}, {"    ", 20261122, 0},
	} {
		if got, ok := dateOf([4]byte([]byte(c.mmdd)), c.today); got != c.want || ok != (c.want != 0) {
			t.Errorf("%q on %s: %s, %v, want %s", c.mmdd, c.today, got, ok, c.want)
		}
	}
}

// Reference numbers go on where they stood, also where they have begun anew since.
func TestReferenceNumbersGoOn(t *testing.T) {
	for _, c := range []struct {
		name string
		seen []string
		want string
	}{
		{"in another order than they were given out", []string{"000000007", "000000009", "000000008"}, "000000010"},
		{"begun anew", []string{"999999998", "000000001", "999999999", "000000000"}, "000000002"},
	} {
		var n numbers
		for _, seq := range c.seen {
			rec := txn.Record{Kind: txn.RecordOutcome, RRN: [12]byte([]byte("326" + seq))}
			n.seen(&rec)
			rec.Kind, rec.RRN = txn.RecordReversalDone, [12]byte([]byte("001400000000"))
			n.seen(&rec)
		}
		if got := n.rrn(326); string(got[3:]) != c.want {
			t.Errorf("%s: %s after %s, want %s", c.name, got, c.seen, c.want)
		}
	}
}

// What was done about transactions is kept for the day and the day after, and while
// somebody is at one of them.
func TestOriginalsForget(t *testing.T) {
	const day txn.Date = 20261122
	o := newOriginals(newGate())
	o.add(1, original.Deed{ID: 11, Kind: txn.KindRefund}, day)
	o.add(2, original.Deed{ID: 12, Kind: txn.KindRefund}, day)
	o.learnPreauth(&txn.Record{Day: day, Key: txn.Key{STAN: 7}, AuthCode: [6]byte{'A'}})
	if !o.acquire(2, time.Now().Add(time.Hour)) {
		t.Fatal("nobody is at it")
	}
	for _, c := range []struct {
		day                       txn.Date
		affairs, owners, preauths int
	}{{day + 1, 3, 3, 1}, {day + 2, 3, 3, 0}, {day + 3, 3, 3, 0}} {
		o.add(100+txn.ID(c.day), original.Deed{ID: 200 + txn.ID(c.day), Kind: txn.KindRefund}, c.day)
		if len(o.affairs) != c.affairs || len(o.owner) != c.owners || len(o.preauths) != c.preauths {
			t.Errorf("on %s: %d affairs, %d deeds, %d pre-authorizations, want %+v", c.day, len(o.affairs), len(o.owner), len(o.preauths), c)
		}
	}
	if o.seize(2) {
		t.Error("what somebody is at was forgotten")
	}
	if o.add(2, original.Deed{ID: 12, Kind: txn.KindRefund}, day) {
		t.Error("its deed was forgotten")
	}
	o.release(2)
	o.turn(day + 4)
	if deeds, _ := o.deeds(2); deeds != nil {
		t.Errorf("kept: %v", deeds)
	}
}

// urgent requests pass a gate that is shut, and are not refused for how many are in
// flight; all others are.
func TestWhoWaitsAtTheGate(t *testing.T) {
	h := newHouse(t)
	h.s.cfg.InFlightMax = 0
	h.s.inFlight.Add(1)
	defer h.s.inFlight.Add(-1)
	for k := range txn.Kind(txn.Kinds) {
		req := sale("10000001", 1, 1000)
		req.Kind, req.Received = k, time.Now()
		want := txn.SwitchIsOverloaded
		switch k {
		case txn.KindReversal, txn.KindScriptResult, txn.KindSettlement, txn.KindUpload, txn.KindOfflineSale, txn.KindAdjustment, txn.KindTip, txn.KindCompletionAdvice:
			want = txn.Approved
		}
		got := h.s.begin(&req)
		if got != want {
			t.Errorf("%s: %v, want %v", k, got, want)
		}
		if got == txn.Approved {
			h.s.gate.leave()
		}
	}
	req := h.management(txn.KindSignOn, "10000001", 1)
	if got := h.s.begin(&req); got != txn.Approved {
		t.Errorf("a sign-on: %v", got)
	}
	h.s.gate.leave()
	h.s.cfg.InFlightMax = 1
	req = sale("10000001", 1, 1000)
	req.Received = time.Now()
	if got := h.s.begin(&req); got != txn.Approved {
		t.Errorf("with as many in flight as may be: %v", got)
	}
	h.s.gate.leave()
}

// brokenGuard panics where a PIN is translated.
type brokenGuard struct{ Guard }

func (brokenGuard) Check(*txn.Request) txn.Reason                      { return txn.Approved }
func (brokenGuard) ProveSerial(*txn.Request) txn.Reason                { return txn.Approved }
func (brokenGuard) TranslatePIN(*txn.Request, txn.IssuerID) txn.Reason { panic("planted") }

// A panic between an issuer's place in flight and the intent gives back all that was
// taken; the house's end looks whether it did.
func TestF69PanicBeforeTheIntentGivesThePlaceBack(t *testing.T) {
	h := newHouse(t)
	h.s.guard = brokenGuard{}
	reg := h.s.registry()
	h.s.registry = func() Registry { return secretive{reg} }
	req := sale("10000001", 1, 1000)
	req.PINBlock, req.MAC = txn.Secret("12345678"), []byte("12345678")
	h.want("sale", h.ask(req), txn.SwitchFailed, "96")
	if h.risk.InFlight() != 0 || h.used("10000001") != 0 {
		t.Errorf("%d in flight, %d used", h.risk.InFlight(), h.used("10000001"))
	}
}

// secretive gives every terminal keys.
type secretive struct{ Registry }

func (r secretive) Terminal(id txn.TerminalID) (*txn.Terminal, bool) {
	t, ok := r.Registry.Terminal(id)
	if t != nil {
		with := *t
		with.Keys = txn.KeysMasterSession
		t = &with
	}
	return t, ok
}

// A reversal is decided by risk before it is looked for, finds its original in the
// batch that it says, and owes nothing of its own.
func TestReversalIsDecidedHere(t *testing.T) {
	h := newHouse(t)
	h.want("a stranger's", h.ask(reversal("99999999", 1, 500)), txn.TerminalIsUnknown, "97")
	h.want("of nothing", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
	if rec := h.last(txn.RecordOutcome); rec.Request != txn.KindReversal || rec.Outcome != txn.OutcomeLocal || rec.Owes() {
		t.Errorf("recorded as %s, owes %v", rec.Outcome, rec.Owes())
	}
	h.want("sale", h.ask(sale("10000001", 2, 500)), txn.Approved, "00")
	later := reversal("10000001", 2, 500)
	later.Key.Batch, later.Key.STAN = 2, 9
	h.want("under a number of the next batch", h.ask(later), txn.Approved, "00")
	h.settle()
	if h.bank.undone(0) != 1 || h.used("10000001") != 0 {
		t.Errorf("%d undone, %d used", h.bank.undone(0), h.used("10000001"))
	}
}

// What was decided of a day is remembered also where it was written behind the first of
// the next; of a day before that nothing is.
func TestSlotsOfTheDayBeforeAreRestored(t *testing.T) {
	const day txn.Date = 20261122
	s := newSlots()
	key := func(stan uint32) *txn.Key {
		return &txn.Key{Terminal: txn.MakeTerminalID("10000001"), Batch: 1, STAN: stan}
	}
	sh, hash := s.shard(key(9))
	s.turn(sh, day+1)
	s.restore(key(9), day, slot{position: 8, state: slotDecided})
	if sl := sh.past.find(key(9), hash); sl == nil || sl.position != 8 {
		t.Errorf("it is not of the day before: %+v", sl)
	}
	s.restore(key(9), day-1, slot{position: 9, state: slotDecided})
	if sl, _, _ := s.look(key(9)); sl.position != 8 {
		t.Errorf("one of two days before took its place: %+v", sl)
	}
}

// While the disk is nearly full nothing new is taken, without a record; what undoes
// something is.
func TestSalesStopWhenTheDiskIsNearlyFull(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 500)), txn.Approved, "00")
	before := h.journal.Last()
	h.s.StopSales(true)
	if got := h.ask(sale("10000001", 2, 500)); got.Reason != txn.DiskIsNearlyFull || h.journal.Last() != before || h.used("10000001") != 500 {
		t.Errorf("%v, %d records, %d used", got.Reason, h.journal.Last()-before, h.used("10000001"))
	}
	h.want("its repeat is told", h.ask(sale("10000001", 1, 500)), txn.Approved, "00")
	h.want("its reversal is taken", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
	h.s.StopSales(false)
	h.want("the same sale afterwards", h.ask(sale("10000001", 2, 500)), txn.Approved, "00")
}
