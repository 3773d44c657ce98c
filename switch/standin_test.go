package acquirer

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var someStandIn = StandIn{Currency: txn.CNY, Transaction: 5000, Issuer: 20_000, Merchant: 15_000, Terminal: 8_000, Card: 12_000}

func TestStandInPermits(t *testing.T) {
	owner := &txn.Merchant{MCC: 5411}
	for _, c := range []struct {
		name   string
		rules  func(*StandIn)
		change func(*txn.Request)
		want   bool
	}{
		{"a small sale", nil, nil, true},
		{"of the most", nil, func(r *txn.Request) { r.Amount.Minor = 5000 }, true},
		{"of more", nil, func(r *txn.Request) { r.Amount.Minor = 5001 }, false},
		{"in another currency", nil, func(r *txn.Request) { r.Amount.Currency = 840 }, false},
		{"a pre-authorization", nil, func(r *txn.Request) { r.Kind = txn.KindPreauth }, false},
		{"of a listed category", func(s *StandIn) { s.MCCs = []uint16{5812, 5411} }, nil, true},
		{"of another category", func(s *StandIn) { s.MCCs = []uint16{5812} }, nil, false},
		{"of a listed card type", func(s *StandIn) { s.Cards = 1 << txn.CardDebit }, func(r *txn.Request) { r.CardType = txn.CardDebit }, true},
		{"of an unknown card type", func(s *StandIn) { s.Cards = 1 << txn.CardDebit }, nil, false},
		{"with a PIN", nil, func(r *txn.Request) { r.PINBlock = []byte{1} }, false},
		{"with a PIN that nobody checks", func(s *StandIn) { s.WithPIN = true }, func(r *txn.Request) { r.PINBlock = []byte{1} }, true},
	} {
		rules, req := someStandIn, sale("10000001", 1, 500)
		req.Acceptor = owner
		if c.rules != nil {
			c.rules(&rules)
		}
		if c.change != nil {
			c.change(&req)
		}
		if got := rules.permits(&req); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if checks, approved := rules.Explain(&req, &txn.Record{Amount: req.Amount}, nil); approved != c.want || len(checks) != 10 {
			t.Errorf("%s: %+v", c.name, checks)
		}
	}
	for _, bad := range []func(*StandIn){
		func(s *StandIn) { s.Currency = 1 },
		func(s *StandIn) { s.Transaction = 0 },
		func(s *StandIn) { s.Card = -1 },
	} {
		rules := someStandIn
		bad(&rules)
		if _, err := newStandIns(map[txn.IssuerID]StandIn{txn.MakeIssuerID("bank"): rules}); err == nil {
			t.Errorf("%+v is taken", rules)
		}
	}
}

// TestStandInExplains holds that each check is told with what it compares, and that
// an exposure which is just used up fits where one more does not.
func TestStandInExplains(t *testing.T) {
	bank := txn.MakeIssuerID("bank")
	record := func(id txn.ID, terminal string, minor int64) *txn.Record {
		return &txn.Record{ID: id, Leg: txn.Leg{Issuer: bank}, Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, Card: txn.CardToken{byte(id)},
			Key: txn.Key{Terminal: txn.MakeTerminalID(terminal)}, Merchant: txn.MakeMerchantID("m")}
	}
	open := []*txn.Record{record(1, "10000001", 3000), record(2, "10000002", 4000)}
	req := sale("10000001", 1, 5000)
	req.Acceptor = &txn.Merchant{MCC: 5411}
	for _, c := range []struct {
		name string
		ask  *txn.Record
		most StandIn
		want string // of the last check that is asked
	}{
		{"all fits", record(3, "10000001", 5000), someStandIn, "card's exposure with it: fits: 50.00 CNY of 120.00 CNY"},
		{"issuer", record(3, "10000001", 5000), StandIn{Issuer: 11_999, Merchant: 1 << 40, Terminal: 1 << 40, Card: 1 << 40}, "issuer's exposure with it: does not fit: 120.00 CNY of 119.99 CNY"},
		{"merchant", record(3, "10000001", 5000), StandIn{Issuer: 12_000, Merchant: 11_999, Terminal: 1 << 40, Card: 1 << 40}, "merchant's exposure with it: does not fit: 120.00 CNY of 119.99 CNY"},
		{"terminal", record(3, "10000001", 5000), StandIn{Issuer: 12_000, Merchant: 12_000, Terminal: 7_999, Card: 1 << 40}, "terminal's exposure with it: does not fit: 80.00 CNY of 79.99 CNY"},
		{"card", record(1, "10000001", 5000), StandIn{Issuer: 12_000, Merchant: 12_000, Terminal: 8_000, Card: 7_999}, "card's exposure with it: does not fit: 80.00 CNY of 79.99 CNY"},
	} {
		c.most.Currency, c.most.Transaction = txn.CNY, 5000
		checks, approved := c.most.Explain(&req, c.ask, open)
		last := ""
		for _, k := range checks {
			if k.Came != "not asked" {
				last = k.Asks + ": " + k.Came + ": " + k.Seen + " of " + k.Bound
			}
		}
		if last != c.want || approved != (c.name == "all fits") {
			t.Errorf("%s: %s, want %s", c.name, last, c.want)
		}
	}
}

// No exposure ever passes its most, however many ask at once; what ends makes
// room again.
func TestExposureNeverPassesItsMost(t *testing.T) {
	s, err := newStandIns(map[txn.IssuerID]StandIn{txn.MakeIssuerID("bank"): someStandIn})
	if err != nil {
		t.Fatal(err)
	}
	rules := someStandIn
	record := func(n int) *txn.Record { // 5 terminals, 2 merchants, 3 cards
		return &txn.Record{ID: txn.ID(n), Leg: txn.Leg{Issuer: txn.MakeIssuerID("bank")}, Amount: txn.Amount{Minor: 700, Currency: txn.CNY},
			Merchant: txn.MerchantID{byte(n % 2)}, Key: txn.Key{Terminal: txn.TerminalID{byte(n % 5)}}, Card: txn.CardToken{byte(n % 3)}}
	}
	var mu sync.Mutex
	var taken []txn.ID
	var asking sync.WaitGroup
	for n := 1; n <= 200; n++ {
		asking.Go(func() {
			if s.reserve(record(n), &rules) {
				mu.Lock()
				taken = append(taken, txn.ID(n))
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	check := func() {
		t.Helper()
		for p, sum := range s.sums {
			most := map[txn.LimitScope]int64{txn.ScopeNone: rules.Issuer, txn.ScopeMerchant: rules.Merchant, txn.ScopeTerminal: rules.Terminal, txn.ScopeCard: rules.Card}[p.scope]
			if sum > most || sum <= 0 {
				t.Errorf("%s %x has %d of %d", p.scope, p.id, sum, most)
			}
		}
	}
	check()
	if len(taken) != 28 { // 28 times 700 is 19,600 of 20,000
		t.Errorf("%d were taken", len(taken))
	}
	for _, id := range taken {
		s.release(id)
		s.release(id) // twice is once
	}
	if len(s.sums)+len(s.open) != 0 {
		t.Errorf("left: %v", s.sums)
	}
	if !s.reserve(record(1), &rules) {
		t.Error("no room after all of it ended")
	}
	check()
	s.release(1)
	for party, most := range map[string]*int64{"issuer": &rules.Issuer, "merchant": &rules.Merchant, "terminal": &rules.Terminal, "card": &rules.Card} {
		rules = StandIn{Issuer: 5000, Merchant: 5000, Terminal: 5000, Card: 5000}
		if *most = 699; s.reserve(record(2), &rules) {
			t.Errorf("700 is taken where the %s may have 699", party)
		}
		if *most = 700; !s.reserve(record(2), &rules) {
			t.Errorf("700 is not taken where the %s may have it", party)
		}
		s.release(2)
	}
}

// TestStandIn follows what was approved in the place of an issuer that is away,
// to the end of each way it can go.
func TestStandIn(t *testing.T) {
	away := func(h *house) {
		h.bank.mu.Lock()
		h.bank.refuse, h.bank.acknowledge = txn.IssuerIsUnavailable, func(int) bool { return false }
		h.bank.mu.Unlock()
	}
	back := func(h *house) {
		h.bank.mu.Lock()
		h.bank.refuse, h.bank.acknowledge = txn.Approved, nil
		h.bank.mu.Unlock()
		time.Sleep(2 * time.Minute)
		h.settle()
	}
	advised := func(h *house) int {
		h.bank.mu.Lock()
		defer h.bank.mu.Unlock()
		return len(h.bank.advised)
	}
	exposure := func(h *house) int64 { return h.s.Exposures()[0].Minor }
	run := func(name string, body func(t *testing.T, h *house)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.standIn = &someStandIn
				h.restart()
				body(t, h)
				h.stop()
				h.stop = func() {}
			})
		})
	}
	run("off", func(t *testing.T, h *house) {
		h.standIn = nil
		h.restart()
		away(h)
		h.want("sale", h.ask(sale("10000001", 1, 500)), txn.IssuerIsUnavailable, "91")
	})
	run("told", func(t *testing.T, h *house) {
		away(h)
		first := h.ask(sale("10000001", 1, 500))
		h.want("sale", first, txn.Approved, "00")
		if code := fmt.Sprintf("%06d", uint64(first.ID)%1_000_000); string(first.Reply.AuthCode[:]) != code || first.Issuer != txn.MakeIssuerID("bank") {
			t.Errorf("answered %+v", first)
		}
		again := h.ask(sale("10000001", 1, 500))
		if h.want("asked again", again, txn.Approved, "00"); again.Reply.AuthCode != first.Reply.AuthCode || !again.Replayed {
			t.Errorf("told %q and then %q", first.Reply.AuthCode, again.Reply.AuthCode)
		}
		h.want("too much", h.ask(sale("10000001", 2, 5001)), txn.IssuerIsUnavailable, "91")
		h.want("of another terminal", h.ask(sale("10000002", 1, 5000)), txn.Approved, "00")
		h.want("more than the terminal may", h.ask(sale("10000002", 2, 3001)), txn.IssuerIsUnavailable, "91")
		if exposure(h) != 5500 || h.used("10000002") != 5000 {
			t.Errorf("exposed %d, used %d", exposure(h), h.used("10000002"))
		}
		refund := sale("10000001", 9, 500)
		refund.Kind, refund.Original = txn.KindVoid, txn.Reference{STAN: 1, Batch: 1}
		h.want("a void of it", h.ask(refund), txn.OriginalIsBusy, "09")
		h.restart()
		if exposure(h) != 5500 {
			t.Errorf("exposed %d after a restart", exposure(h))
		}
		back(h)
		if advised(h) != 2 || exposure(h) != 0 || h.used("10000001") != 500 || h.bank.undone(0) != 0 {
			t.Errorf("advised %d, exposed %d, used %d, undone %d", advised(h), exposure(h), h.used("10000001"), h.bank.undone(0))
		}
		h.bank.mu.Lock()
		h.bank.refuse = txn.Approved
		h.bank.mu.Unlock()
		refund.Key.STAN = 10
		h.want("a void of it, once it is told", h.ask(refund), txn.Approved, "00")
	})
	run("too much in flight", func(t *testing.T, h *house) {
		away(h)
		h.s.issuers = unnumbered{h.bank}
		h.want("sale", h.ask(sale("10000001", 1, 500)), txn.IssuerIsUnavailable, "91")
		if exposure(h) != 0 || h.used("10000001") != 0 {
			t.Errorf("exposed %d, used %d", exposure(h), h.used("10000001"))
		}
	})
	run("refused by its issuer", func(t *testing.T, h *house) {
		away(h)
		h.ask(sale("10000001", 1, 500))
		h.bank.opinion = [2]byte{'5', '1'}
		back(h)
		h.restart()
		if exposure(h) != 500 || h.used("10000001") != 500 {
			t.Errorf("what is lost counts today: exposed %d, used %d", exposure(h), h.used("10000001"))
		}
		void := sale("10000001", 9, 500)
		void.Kind, void.Original = txn.KindVoid, txn.Reference{STAN: 1, Batch: 1}
		h.want("a void of what was never charged", h.ask(void), txn.OriginalDoesNotStand, "25")
		void.Kind, void.Key.STAN = txn.KindRefund, 10
		h.want("a refund of it", h.ask(void), txn.OriginalDoesNotStand, "25")
		away(h)
		for i := range int64(2) {
			h.want("another on the same day", h.ask(sale("10000001", uint32(12+i), 300)), txn.Approved, "00")
			if want := 500 + 300*(i+1); exposure(h) != want {
				t.Errorf("on the same day %d are exposed, want %d", exposure(h), want)
			}
		}
		h.bank.opinion = [2]byte{'0', '0'}
		back(h)
		time.Sleep(24 * time.Hour)
		away(h)
		if _, err := h.s.CloseBatches(t.Context(), h.s.cfg.Day.Of(time.Now()).Before()); err != nil {
			t.Fatal(err)
		}
		next := sale("10000001", 11, 700)
		next.Key.Batch = 2
		h.want("the day after", h.ask(next), txn.Approved, "00")
		if exposure(h) != 700 {
			t.Errorf("the day after %d are exposed, want 700", exposure(h))
		}
	})
	run("reversed before it is told", func(t *testing.T, h *house) {
		away(h)
		h.ask(sale("10000001", 1, 500))
		h.want("reversal", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
		back(h)
		if advised(h) != 0 || h.bank.undone(0) != 1 || exposure(h) != 0 || h.used("10000001") != 0 {
			t.Errorf("advised %d, undone %d, exposed %d, used %d", advised(h), h.bank.undone(0), exposure(h), h.used("10000001"))
		}
		h.restart()
		time.Sleep(time.Minute)
		if h.bank.undone(0) != 1 || advised(h) != 0 {
			t.Errorf("after a restart undone %d, advised %d", h.bank.undone(0), advised(h))
		}
	})
	run("reversed, and the switch dies", func(t *testing.T, h *house) {
		away(h)
		h.ask(sale("10000001", 1, 500))
		h.ask(reversal("10000001", 1, 500))
		h.restart()
		if exposure(h) != 0 || h.s.Figures().ReversalsOwed != 1 {
			t.Errorf("exposed %d, owed %d", exposure(h), h.s.Figures().ReversalsOwed)
		}
		back(h)
		if advised(h) != 0 || h.bank.undone(0) != 1 || h.used("10000001") != 0 {
			t.Errorf("advised %d, undone %d, used %d", advised(h), h.bank.undone(0), h.used("10000001"))
		}
	})
	run("reversed while it is told, and the switch dies", func(t *testing.T, h *house) {
		away(h)
		first := h.ask(sale("10000001", 1, 500))
		h.ask(reversal("10000001", 1, 500))
		// The advice had been sent before: its issuer takes note of it now.
		var told txn.Record
		h.journal.Scan(h.journal.First(), func(_ journal.Position, b []byte) error {
			if told.Kind != txn.RecordOutcome || told.ID != first.ID {
				told.Unmarshal(append([]byte(nil), b...))
			}
			return nil
		})
		told.Kind, told.Original, told.OriginalKey, told.Key, told.Held = txn.RecordAdviceDone, told.ID, told.Key, txn.Key{}, txn.NoEffect
		told.ID += 1 << 20
		if _, err := h.journal.Append(told.Append(nil)); err != nil {
			t.Fatal(err)
		}
		h.restart()
		if h.s.Figures().ReversalsOwed != 1 {
			t.Fatalf("%d reversals are owed, the terminal was told of one", h.s.Figures().ReversalsOwed)
		}
		back(h)
		if h.bank.undone(0) != 1 || h.used("10000001") != 0 {
			t.Errorf("undone %d, used %d", h.bank.undone(0), h.used("10000001"))
		}
	})
	run("reversed after it is told", func(t *testing.T, h *house) {
		away(h)
		h.ask(sale("10000001", 1, 500))
		back(h)
		h.want("reversal", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
		back(h)
		if advised(h) != 1 || h.bank.undone(0) != 1 || h.used("10000001") != 0 {
			t.Errorf("advised %d, undone %d, used %d", advised(h), h.bank.undone(0), h.used("10000001"))
		}
	})
	run("never delivered", func(t *testing.T, h *house) {
		away(h)
		req := sale("10000001", 1, 500)
		var ans txn.Answer
		h.s.Authorize(&req, &ans)
		h.s.Undelivered(&req, &ans)
		time.Sleep(2 * time.Minute)
		back(h)
		if advised(h) != 0 || h.bank.undone(0) != 1 || exposure(h) != 0 || h.used("10000001") != 0 {
			t.Errorf("advised %d, undone %d, exposed %d, used %d", advised(h), h.bank.undone(0), exposure(h), h.used("10000001"))
		}
	})
	run("the journal fails", func(t *testing.T, h *house) {
		h.stop()
		h.open(func(j Recorder) Recorder { return failing{j} })
		away(h)
		if ans := h.ask(sale("10000001", 1, 500)); !ans.Silent {
			t.Errorf("answered %v %s", ans.Reason, ans.Code)
		}
	})
}

// unnumbered is a bank with which too much is in flight.
type unnumbered struct{ *bank }

func (unnumbered) Number(*txn.Request) (txn.Leg, bool) { return txn.Leg{}, false }

// failing is a journal whose disk has failed.
type failing struct{ Recorder }

func (failing) Append([]byte) (journal.Position, error) { return 0, journal.ErrClosed }
