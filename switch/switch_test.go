package acquirer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// bank is a Forwarder that behaves as told and polices its caller: a request
// without a durable intent, a leg used twice or a reversal of something never
// sent fails the test.
type bank struct {
	t       *testing.T
	journal *journal.Journal

	busy     atomic.Bool
	mu       sync.Mutex
	stan     uint32
	held     map[uint32]bool
	approved map[uint32]txn.ID // by STAN
	sent     map[uint32]txn.ID
	rrns     map[uint32][12]byte // DE37 of what was sent
	local    map[uint32]string   // and DE12 and 13
	reversed map[uint32]int
	left     map[uint32][]int64 // what acknowledged reversals were to leave, by STAN
	// behave decides an exchange; nil approves.
	behave func(req *txn.Request) (txn.Outcome, txn.Reason, string)
	// refuse is what Begin says; Approved by default.
	refuse  txn.Reason
	settles [4]byte // DE15 of its answers
	advised []uint32
	opinion [2]byte // of an advice
	// acknowledge says whether a reversal or advice is acknowledged.
	acknowledge func(attempt int) bool
	down        int // so many reversals and advices do not leave
	refusals    int // so many are refused with 12
}

func (b *bank) Resume(leg txn.Leg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for stan := range b.sent {
		if stan > leg.STAN {
			b.t.Errorf("numbering resumes after %d, %d was sent", leg.STAN, stan)
		}
	}
	b.stan = leg.STAN
}

func (b *bank) Busy(*txn.Request) bool { return b.busy.Load() }

func (b *bank) Begin(req *txn.Request) (txn.Leg, txn.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != txn.Approved {
		return txn.Leg{Issuer: txn.MakeIssuerID("bank")}, b.refuse
	}
	b.stan++
	b.held[b.stan] = true
	return txn.Leg{Issuer: txn.MakeIssuerID("bank"), STAN: b.stan, Time: [10]byte([]byte("1122093000"))}, txn.Approved
}

func (b *bank) Number(*txn.Request) (txn.Leg, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stan++
	return txn.Leg{Issuer: txn.MakeIssuerID("bank"), STAN: b.stan, Time: [10]byte([]byte("1122093000"))}, true
}

func (b *bank) Cancel(leg *txn.Leg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.held[leg.STAN] {
		b.t.Errorf("leg %d is given back but not held", leg.STAN)
	}
	delete(b.held, leg.STAN)
}

func (b *bank) Exchange(req *txn.Request, leg *txn.Leg, rrn [12]byte, position journal.Position, gone func(), reply *txn.Reply) (txn.Outcome, txn.Reason) {
	defer b.Cancel(leg) // also after a panic
	gone()
	if err := b.journal.Wait(context.Background(), position-1); err != nil {
		return txn.OutcomeNotSent, txn.IssuerIsUnavailable
	}
	var rec txn.Record
	intent, err := b.journal.Read(position, nil)
	if err == nil {
		err = rec.Unmarshal(intent)
	}
	if err != nil || rec.Kind != txn.RecordIntent || rec.ID != req.ID || rec.Leg != *leg || rec.RRN != rrn {
		b.t.Errorf("request %d reaches the issuer without a durable intent: %v", req.ID, err)
	}
	outcome, reason, code := txn.OutcomeApproved, txn.Approved, "00"
	if b.behave != nil {
		outcome, reason, code = b.behave(req)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if outcome != txn.OutcomeNotSent {
		b.sent[leg.STAN] = req.ID
		b.rrns[leg.STAN], b.local[leg.STAN] = rrn, string(req.LocalTime[:])+string(req.LocalDate[:])
	}
	copy(reply.Code[:], code)
	reply.SettlementDate = b.settles
	if outcome == txn.OutcomeApproved {
		b.approved[leg.STAN] = req.ID
		copy(reply.AuthCode[:], fmt.Sprintf("%06d", leg.STAN))
		reply.IssuerData = append(reply.IssuerData[:0], "bank"...)
	}
	return outcome, reason
}

func (b *bank) Reverse(_ context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if string(pan) != testPAN {
		b.t.Errorf("reversal of %d carries another card number", rec.Original)
	}
	frame, err := issuerDialect.AppendReversal(nil, rec, pan, 0x0400)
	if err != nil {
		b.t.Errorf("reversal of %d cannot be sent: %v", rec.Original, err)
	}
	if rrn, ok := b.rrns[rec.Leg.STAN]; ok && !bytes.Contains(frame, rrn[:]) {
		b.t.Errorf("reversal of %d has another DE37 than what it undoes", rec.Original)
	}
	if local, ok := b.local[rec.Leg.STAN]; ok && !bytes.Contains(frame, []byte(local)) {
		b.t.Errorf("reversal of %d has another DE12 or 13 than what it undoes: %s", rec.Original, local)
	}
	if b.down > 0 {
		b.down--
		return false, [2]byte{}, fmt.Errorf("link is down: %w", txn.ErrNotSent)
	}
	if b.refusals > 0 {
		b.refusals--
		return false, [2]byte{'1', '2'}, nil
	}
	if b.acknowledge != nil && !b.acknowledge(attempt) {
		return false, [2]byte{}, errors.New("no answer")
	}
	b.reversed[rec.Leg.STAN]++
	b.left[rec.Leg.STAN] = append(b.left[rec.Leg.STAN], rec.Stays)
	if _, ok := b.sent[rec.Leg.STAN]; !ok {
		return true, [2]byte{'2', '5'}, nil
	}
	return true, [2]byte{'0', '0'}, nil
}

func (b *bank) Advise(_ context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if string(pan) != testPAN {
		b.t.Errorf("advice of %d carries another card number", rec.Original)
	}
	if len(rec.Told) == 0 {
		b.t.Errorf("the %s of %d is told without what it said first", rec.Request, rec.ID)
	}
	frame, err := issuerDialect.AppendAdvice(nil, rec, pan, attempt > 0)
	if err != nil {
		b.t.Errorf("advice of %d cannot be sent: %v", rec.Original, err)
	}
	if rec.Request.NamesOriginal() && (len(rec.Data) < 20 || !bytes.Contains(frame, rec.Data[:20])) {
		b.t.Errorf("the %s of %d is told without its original", rec.Request, rec.Original)
	}
	if rec.Request == txn.KindOfflineSale && !bytes.Contains(frame, []byte(voiceCode)) {
		b.t.Errorf("the %s of %d is told without its authorization code", rec.Request, rec.ID)
	}
	if b.down > 0 {
		b.down--
		return false, [2]byte{}, fmt.Errorf("link is down: %w", txn.ErrNotSent)
	}
	if b.refusals > 0 {
		b.refusals--
		return false, [2]byte{'1', '2'}, nil
	}
	if b.acknowledge != nil && !b.acknowledge(attempt) {
		return false, [2]byte{}, errors.New("no answer")
	}
	b.advised = append(b.advised, rec.Leg.STAN)
	return true, b.opinion, nil
}

// undone is how often the issuer was asked to undo a leg, or any with 0.
func (b *bank) undone(stan uint32) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s, times := range b.reversed {
		if stan == 0 || s == stan {
			n += times
		}
	}
	return n
}

const testPAN = "6222021234567890128"

// issuerDialect is what every reversal must be able to be written in.
var issuerDialect = func() *dialect.Issuer {
	d, err := dialect.ForIssuer("iso87", "48802900", dialect.CUPS{})
	if err != nil {
		panic(err)
	}
	return d
}()

// house is a switch on a real journal, risk engine and registry.
type house struct {
	t       *testing.T
	dir     string
	bank    *bank
	risk    *risk.Engine
	journal *journal.Journal
	s       *Switch
	stop    func()
	ended   error         // of the last Run, after stop
	retry   time.Duration // Config.ReversalRetry of the next open
	standIn *StandIn      // likewise, for the bank; nil: never

	believed func() time.Time // likewise
}

var zone = time.FixedZone("CST", 8*3600)

func newHouse(t *testing.T) *house {
	h := &house{t: t, dir: t.TempDir()}
	h.bank = &bank{t: t, held: map[uint32]bool{}, approved: map[uint32]txn.ID{}, sent: map[uint32]txn.ID{}, rrns: map[uint32][12]byte{}, local: map[uint32]string{}, reversed: map[uint32]int{}, left: map[uint32][]int64{}, opinion: [2]byte{'0', '0'}}
	h.open(nil)
	t.Cleanup(func() {
		h.stop()
		if n, held := h.s.gate.wanted.Load(), len(h.bank.held); n != 0 || held != 0 {
			t.Errorf("at the end %d places at the gate and %d in flight are taken", n, held)
		}
	})
	return h
}

// open starts a switch on the house's journal; wrap may put faults between.
func (h *house) open(wrap func(Recorder) Recorder) Recovery {
	h.t.Helper()
	j, err := journal.Open(filepath.Join(h.dir, "journal"), journal.Config{SegmentSize: 1 << 20, QueueSize: 256 << 10})
	if err != nil {
		h.t.Fatal(err)
	}
	h.journal, h.bank.journal = j, j
	cards, err := keys.OpenCards(filepath.Join(h.dir, "card.keys"))
	if err != nil {
		h.t.Fatal(err)
	}
	if h.risk, err = risk.New(risk.Config{}); err != nil {
		h.t.Fatal(err)
	}
	merchant := txn.Merchant{ID: txn.MakeMerchantID("999290054110001"), Status: txn.StatusActive, Region: 310100, Country: 156, MCC: 5411,
		Currency: txn.CNY, Kinds: 1<<txn.Kinds - 1, Entries: 1<<16 - 1}
	var terminals []txn.Terminal
	for i := range 8 {
		terminals = append(terminals, txn.Terminal{ID: txn.MakeTerminalID(fmt.Sprintf("1000000%d", i+1)), Merchant: merchant.ID,
			Status: txn.StatusActive, Serial: txn.Serial{byte('1' + i)}, Region: 310101, Limits: txn.Limits{DayAmount: 100_000}})
	}
	terminals[7].Model = 1
	model := registry.Model{Minimum: [8]byte([]byte("310000  ")), Target: [8]byte([]byte("320001  "))}
	snapshot, err := registry.New(registry.Rows{Models: []registry.Model{model}, Merchants: []txn.Merchant{merchant}, Terminals: terminals})
	if err != nil {
		h.t.Fatal(err)
	}
	var rec Recorder = j
	if wrap != nil {
		rec = wrap(j)
	}
	cfg := Config{Acquirer: "48802900", ReversalRetry: h.retry, Believed: h.believed, Day: txn.BusinessDay{Zone: zone, CutOver: 23 * time.Hour}}
	if h.standIn != nil {
		cfg.StandIn = map[txn.IssuerID]StandIn{txn.MakeIssuerID("bank"): *h.standIn}
	}
	s, err := New(cfg, Parts{Registry: func() Registry { return snapshot }, Risk: h.risk, Issuers: h.bank, Journal: rec, Cards: cards, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.s = s
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	jctx, jstop := context.WithCancel(context.Background())
	var jwg sync.WaitGroup
	jwg.Go(func() { j.Run(jctx) })
	found, err := s.Recover()
	if err != nil {
		h.t.Fatal(err)
	}
	wg.Go(func() { h.ended = s.Run(ctx) })
	h.stop = func() {
		cancel()
		wg.Wait()
		jstop()
		jwg.Wait()
		j.Close()
	}
	return found
}

// restart ends the process without any goodbye to the journal's readers, and
// starts another.
func (h *house) restart() Recovery {
	h.t.Helper()
	h.stop()
	return h.open(nil)
}

func sale(terminal string, stan uint32, minor int64) txn.Request {
	pan, _ := txn.ParsePAN(testPAN)
	return txn.Request{Dialect: 1, Kind: txn.KindSale, MTI: 0x0200, Key: txn.Key{Terminal: txn.MakeTerminalID(terminal), Batch: 1, STAN: stan, Class: txn.ClassFinancial},
		Merchant: txn.MakeMerchantID("999290054110001"), ProcessingCode: [6]byte([]byte("000000")), Condition: [2]byte{'0', '0'},
		Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, PAN: pan, Received: time.Now()}
}

func reversal(terminal string, stan uint32, minor int64) txn.Request {
	r := sale(terminal, stan, minor)
	r.Kind, r.MTI, r.Key.Class, r.Original.STAN, r.Original.Batch = txn.KindReversal, 0x0400, txn.ClassReversal, stan, 1
	r.PAN = txn.PAN{}
	return r
}

func (h *house) ask(req txn.Request) txn.Answer {
	var ans txn.Answer
	req.Received = time.Now()
	h.s.Authorize(&req, &ans)
	return ans
}

// used is the terminal's use of its day limit.
func (h *house) used(terminal string) int64 {
	var p risk.Party
	p.Scope, p.Currency = txn.ScopeTerminal, txn.CNY
	copy(p.ID[:], terminal)
	day := h.s.cfg.Day.Of(time.Now())
	return h.risk.UsageOf(day, p).Minor
}

// settle waits until nothing is owed.
func (h *house) settle() {
	h.t.Helper()
	for range 10_000 {
		if h.s.Figures().ReversalsOwed == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	h.t.Fatal("reversals are still owed")
}

func (h *house) want(what string, got txn.Answer, reason txn.Reason, code string) {
	h.t.Helper()
	if got.Reason != reason || string(got.Code[:]) != code {
		h.t.Errorf("%s: %v %s, want %v %s", what, got.Reason, got.Code, reason, code)
	}
}

func TestF33AnswersAndLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse txn.Reason
		behave func(*txn.Request) (txn.Outcome, txn.Reason, string)
		reason txn.Reason
		code   string
		used   int64 // after everything owed is done
		undone int   // reversals the issuer saw
	}{
		{"C1 sent to success", 0, nil, txn.Approved, "00", 1000, 0},
		{"C1 sent to failed: the limit comes back", 0, func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			return txn.OutcomeDeclined, txn.IssuerDeclined, "51"
		}, txn.IssuerDeclined, "51", 0, 0},
		{"a code of our side is not passed on", 0, func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			return txn.OutcomeDeclined, txn.IssuerDeclined, "99"
		}, txn.IssuerDeclined, "05", 0, 0},
		{"C1 timeout to unknown to reversed", 0, func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
		}, txn.IssuerDidNotAnswer, "98", 0, 1},
		{"nonsense owes a reversal", 0, func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			return txn.OutcomeUnknown, txn.IssuerAnsweredNonsense, ""
		}, txn.IssuerAnsweredNonsense, "98", 0, 1},
		{"not sent owes nothing", 0, func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			return txn.OutcomeNotSent, txn.IssuerIsUnavailable, ""
		}, txn.IssuerIsUnavailable, "91", 0, 0},
		{"no such issuer", txn.IssuerIsUnknown, nil, txn.IssuerIsUnknown, "15", 0, 0},
		{"a panic inside the exchange is an unknown outcome", 0, func(*txn.Request) (txn.Outcome, txn.Reason, string) { panic("planted") },
			txn.SwitchFailed, "96", 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.bank.behave, h.bank.refuse = c.behave, c.refuse
			h.want("sale", h.ask(sale("10000001", 1, 1000)), c.reason, c.code)
			h.settle()
			if got := h.used("10000001"); got != c.used {
				t.Errorf("limit use %d, want %d", got, c.used)
			}
			if got := h.bank.undone(0); got != c.undone {
				t.Errorf("%d reversals, want %d", got, c.undone)
			}
			if n := h.risk.InFlight(); n != 0 {
				t.Errorf("%d holds are neither confirmed nor released", n)
			}
			if n := h.risk.Unmatched(); n != 0 {
				t.Errorf("%d uses were given back twice", n)
			}
			before := h.used("10000001")
			h.restart()
			if got := h.used("10000001"); got != before {
				t.Errorf("limit use %d after a restart, %d before", got, before)
			}
		})
	}
}

// What issuers refused is learned when it is durable, and again at start: who
// tries PINs out is told so at the sixth try, and no issuer hears of it.
func TestR06IsLearnedFromOutcomesAndAtStart(t *testing.T) {
	h := newHouse(t)
	h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeDeclined, txn.IssuerDeclined, "55"
	}
	for stan := range uint32(5) {
		h.want("wrong PIN", h.ask(sale("10000001", 1+stan, 1000)), txn.IssuerDeclined, "55")
	}
	sent := len(h.bank.sent)
	h.want("sixth try", h.ask(sale("10000001", 6, 1000)), txn.CardIsDeclinedTooOften, "75")
	h.restart()
	h.want("seventh try, after a restart", h.ask(sale("10000001", 7, 1000)), txn.CardIsDeclinedTooOften, "75")
	if n := len(h.bank.sent); n != sent {
		t.Errorf("%d requests reached the issuer after the fifth", n-sent)
	}
	h.want("at another terminal", h.ask(sale("10000002", 1, 1000)), txn.IssuerDeclined, "55")
	var found txn.Finding
	h.journal.Scan(h.journal.First(), func(_ journal.Position, b []byte) error {
		var rec txn.Record
		if err := rec.Unmarshal(b); err != nil {
			t.Error(err)
		}
		for x := range rec.Findings.All() {
			found = x
		}
		return nil
	})
	if want := (txn.Finding{Rule: txn.MakeRule('R', 6), Action: txn.ActionRefuse, Seen: 5, Bound: 5}); found != want {
		t.Errorf("the journal has %+v, want %+v", found, want)
	}
}

func TestLimitIsExactUnderConcurrency(t *testing.T) {
	h := newHouse(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	approved := 0
	for i := range 200 {
		wg.Go(func() {
			if ans := h.ask(sale("10000001", uint32(i+1), 1000)); ans.Reason == txn.Approved {
				mu.Lock()
				approved++
				mu.Unlock()
			} else if ans.Reason != txn.DayAmountIsOverLimit {
				t.Errorf("sale %d: %v", i, ans.Reason)
			}
		})
	}
	wg.Wait()
	if approved != 100 || h.used("10000001") != 100_000 {
		t.Errorf("%d approved, %d used, want 100 and 100000", approved, h.used("10000001"))
	}
}

func same(a, b txn.Answer) bool {
	return a.ID == b.ID && a.Reason == b.Reason && a.Code == b.Code && a.RRN == b.RRN && a.Time == b.Time && a.Date == b.Date &&
		a.Reply.AuthCode == b.Reply.AuthCode && a.Reply.SettlementDate == b.Reply.SettlementDate && string(a.Reply.IssuerData) == string(b.Reply.IssuerData) && a.Issuer == b.Issuer
}

func TestF02RetransmissionGetsTheStoredAnswer(t *testing.T) {
	h := newHouse(t)
	first := h.ask(sale("10000001", 7, 500))
	again := h.ask(sale("10000001", 7, 500))
	if !again.Replayed || !same(first, again) {
		t.Errorf("again: %+v, first %+v", again, first)
	}
	h.restart()
	if again = h.ask(sale("10000001", 7, 500)); !again.Replayed || !same(first, again) {
		t.Errorf("after a restart: %+v, first %+v", again, first)
	}
	h.want("other amount", h.ask(sale("10000001", 7, 501)), txn.DuplicateWithOtherContent, "94")
	if len(h.bank.sent) != 1 || h.used("10000001") != 500 {
		t.Errorf("%d sent, %d used; want one sale of 500", len(h.bank.sent), h.used("10000001"))
	}
}

func TestF02RetransmissionInFlightAttaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			time.Sleep(5 * time.Second)
			return txn.OutcomeApproved, txn.Approved, "00"
		}
		var wg sync.WaitGroup
		answers := make([]txn.Answer, 50)
		for i := range answers {
			wg.Go(func() { answers[i] = h.ask(sale("10000001", 7, 500)) })
		}
		wg.Wait()
		for i := range answers {
			if !same(answers[0], answers[i]) || answers[i].Reason != txn.Approved {
				t.Errorf("copy %d: %+v", i, answers[i])
			}
		}
		if len(h.bank.sent) != 1 {
			t.Errorf("%d sent to the issuer, want 1", len(h.bank.sent))
		}
		h.stop()
		h.stop = func() {}
	})
}

// The table of reverse.go, row by row: cup-pos C2's answers.
func TestF07TerminalReversal(t *testing.T) {
	decline := func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeDeclined, txn.IssuerDeclined, "51"
	}
	unknown := func(*txn.Request) (txn.Outcome, txn.Reason, string) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, ""
	}
	for _, c := range []struct {
		name   string
		behave func(*txn.Request) (txn.Outcome, txn.Reason, string)
		sale   bool
		minor  int64
		reason txn.Reason
		code   string
		undone int
	}{
		{"C2 not found: 00", nil, false, 500, txn.Approved, "00", 0},
		{"C2 original failed: 00", decline, true, 500, txn.Approved, "00", 0},
		{"C2 original timed out: 00", unknown, true, 500, txn.Approved, "00", 1},
		{"C2 still success: 00, and 00 when already reversed", nil, true, 500, txn.Approved, "00", 1},
		{"C2 amount differs: 64", nil, true, 400, txn.OriginalAmountDiffers, "64", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.bank.behave = c.behave
			if c.sale {
				h.ask(sale("10000001", 7, 500))
			}
			first := h.ask(reversal("10000001", 7, c.minor))
			h.want("reversal", first, c.reason, c.code)
			if c.reason == txn.OriginalAmountDiffers {
				h.want("with the right amount", h.ask(reversal("10000001", 7, 500)), txn.Approved, "00")
				h.settle()
				if got := h.bank.undone(0); got != 1 {
					t.Errorf("the issuer saw %d reversals, want 1", got)
				}
				return
			}
			for range 3 {
				if again := h.ask(reversal("10000001", 7, c.minor)); !same(first, again) {
					t.Errorf("repeat: %+v, first %+v", again, first)
				}
			}
			h.settle()
			h.restart()
			h.settle()
			if again := h.ask(reversal("10000001", 7, c.minor)); !same(first, again) {
				t.Errorf("after a restart: %+v, first %+v", again, first)
			}
			if got := h.bank.undone(0); got != c.undone {
				t.Errorf("the issuer saw %d reversals, want %d", got, c.undone)
			}
			if got := h.used("10000001"); got != 0 {
				t.Errorf("limit use %d, want none", got)
			}
		})
	}
}

// A terminal that lost its memory uses a number again. What it then reverses is not the
// sale of another card that has the number and the amount.
func TestReversalOfAnotherCardsSale(t *testing.T) {
	h := newHouse(t)
	h.ask(sale("10000001", 7, 500))
	other := reversal("10000001", 7, 500)
	other.PAN, _ = txn.ParsePAN("6222020000000007")
	h.want("of another card", h.ask(other), txn.CardIsNotTheOriginals, "14")
	h.settle()
	if got := h.bank.undone(0); got != 0 {
		t.Errorf("the issuer saw %d reversals of the other card's sale", got)
	}
	other.PAN, _ = txn.ParsePAN(testPAN)
	h.want("of its own", h.ask(other), txn.Approved, "00")
	h.settle()
	if got := h.bank.undone(0); got != 1 {
		t.Errorf("the issuer saw %d reversals, want 1", got)
	}
}

// Every answer about money has a card in it (cup-pos A4), also where the terminal
// named none because it is the original's: the first and what is told again.
func TestCardlessIsToldTheCard(t *testing.T) {
	h := newHouse(t)
	asked := func(what string, req txn.Request, want string) {
		t.Helper()
		for _, time := range []string{"first", "again", "after a restart"} {
			if time == "after a restart" {
				h.settle()
				h.restart()
			}
			req := req
			var ans txn.Answer
			h.s.Authorize(&req, &ans)
			h.want(what+" "+time, ans, txn.Approved, "00")
			if got := string(req.PAN.Append(nil)); got != want {
				t.Errorf("%s %s: card %q", what, time, got)
			}
		}
	}
	h.ask(sale("10000001", 7, 500))
	asked("reversal", reversal("10000001", 7, 500), testPAN)
	other := reversal("10000001", 7, 500)
	other.Key.STAN = 8
	asked("another of what is undone", other, testPAN)
	asked("one of what never came", reversal("10000001", 9, 500), "")
	h.ask(sale("10000001", 10, 500))
	void := about(txn.KindVoid, 11, 500, 10)
	void.PAN = txn.PAN{}
	asked("void", void, testPAN)
}

// A reversal that has a number of its own undoes what its DE61 names, if that has its
// codes and amount. Where DE61 names what the undone was about, nothing is undone.
func TestReversalWithANumberOfItsOwn(t *testing.T) {
	h := newHouse(t)
	asked := func(what string, req txn.Request, points uint32, want txn.Reason) txn.Answer {
		t.Helper()
		req.Pointed = txn.Number{Batch: 1, STAN: points}
		ans := h.ask(req)
		if ans.Reason != want {
			t.Errorf("%s: %v", what, ans.Reason)
		}
		return ans
	}
	undone := func(what string, want int) {
		t.Helper()
		h.settle()
		if got := h.bank.undone(0); got != want {
			t.Errorf("%s: %d reversals at the issuer, want %d", what, got, want)
		}
	}
	h.ask(sale("10000001", 7, 500))
	asked("another amount", reversal("10000001", 20, 400), 7, txn.Approved)
	void := reversal("10000001", 21, 500)
	void.ProcessingCode = [6]byte([]byte("200000"))
	asked("of a void that never came, which was about the sale", void, 7, txn.Approved)
	undone("other codes", 0)
	first := asked("of the sale", reversal("10000001", 22, 500), 7, txn.Approved)
	undone("the sale", 1)
	if again := asked("again", reversal("10000001", 22, 500), 7, txn.Approved); !same(first, again) {
		t.Errorf("again: %+v, first %+v", again, first)
	}
	h.restart()
	h.settle()
	if got := h.used("10000001"); got != 0 {
		t.Errorf("limit use %d, want none", got)
	}
	h.ask(sale("10000001", 8, 500))
	void = reversal("10000001", 8, 500)
	void.Detail, void.ProcessingCode = 23, [6]byte([]byte("200000"))
	asked("of a void, under the number of a sale", void, 0, txn.OriginalIsUnknown)
	undone("a sale by other codes", 1)
	asked("its own number is the sale's, whatever DE61 says", reversal("10000001", 8, 500), 7, txn.Approved)
	undone("by its own number", 2)
}

func TestSaleAfterItsReversalIsRefused(t *testing.T) {
	h := newHouse(t)
	h.want("reversal", h.ask(reversal("10000001", 7, 500)), txn.Approved, "00")
	h.want("late sale", h.ask(sale("10000001", 7, 500)), txn.ReversedBeforeRequest, "22")
	h.restart()
	h.want("late sale after a restart", h.ask(sale("10000001", 7, 500)), txn.ReversedBeforeRequest, "22")
	if len(h.bank.sent) != 0 {
		t.Error("the sale reached the issuer")
	}
}

// Terminals number from 1 again: what came to nothing yesterday is not today's.
func TestTombstoneIsOfItsDayOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		first, again := reversal("10000001", 7, 500), sale("10000001", 7, 500)
		first.Key.Batch, first.Original.Batch, again.Key.Batch = 0, 0, 0
		day := h.s.cfg.Day
		cut := day.Start(day.Of(time.Now()) + 1)
		time.Sleep(time.Until(cut) - 3*time.Minute)
		first.Received = time.Now()
		h.want("reversal", h.ask(first), txn.Approved, "00")
		time.Sleep(time.Until(cut) + 5*time.Minute)
		again.Received = time.Now()
		h.want("soon after the cut-over", h.ask(again), txn.ReversedBeforeRequest, "22")
		time.Sleep(6 * time.Minute)
		again.Received = time.Now()
		h.want("of the next day", h.ask(again), txn.Approved, "00")
		h.stop()
		h.stop = func() {}
	})
}

// Where numbers begin anew every day, a reversal that is told to be of yesterday may
// mean a sale of today that it overtook: that is refused when it comes. Yesterday's
// sale stays what it is, and a sale of the number later in the day is a new one.
func TestF06ReversalBeforeASaleOfYesterdaysNumber(t *testing.T) {
	unbatched := func(r txn.Request) txn.Request {
		r.Key.Batch, r.Original.Batch = 0, 0
		return r
	}
	synctest.Test(t, func(t *testing.T) {
		at(0, 12, 0)
		h := newHouse(t)
		defer h.stop()
		h.want("sale", h.ask(unbatched(sale("10000001", 7, 500))), txn.Approved, "00")
		at(1, 12, 0)
		for range 2 {
			h.want("reversal", h.ask(unbatched(reversal("10000001", 7, 500))), txn.OriginalIsOfAnotherDay, "25")
		}
		h.want("the sale that it overtook", h.ask(unbatched(sale("10000001", 7, 500))), txn.ReversedBeforeRequest, "22")
		h.want("refund of yesterday's", h.ask(unbatched(about(txn.KindRefund, 8, 100, 7))), txn.Approved, "00")
		time.Sleep(replayGrace + time.Second)
		h.want("today's of that number", h.ask(unbatched(sale("10000001", 7, 300))), txn.Approved, "00")
		h.want("its reversal", h.ask(unbatched(reversal("10000001", 7, 300))), txn.Approved, "00")
		h.settle()
		if h.bank.undone(0) != 1 || h.used("10000001") != 0 {
			t.Errorf("%d undone, %d used", h.bank.undone(0), h.used("10000001"))
		}
	})
}

// What a terminal says again on the next day, having had no answer, is known by
// its batch and number and done once. A terminal without batch numbers counts
// from 1 again: its sale is a new one, and an advice the old one if it is equal.
func TestRepeatOnTheNextDay(t *testing.T) {
	numbered := func(batch uint32, r txn.Request) txn.Request {
		r.Key.Batch = batch
		if r.Original.STAN != 0 {
			r.Original.Batch = batch
		}
		return r
	}
	offline := about(txn.KindOfflineSale, 3, 700, 0)
	online := about(txn.KindRefund, 2, 300, 1) // a request (0200), as ISO 8583:1987 terminals have it
	online.MTI, online.Key.Class, online.Original.Date = 0x0200, txn.ClassFinancial, [4]byte([]byte("0101"))
	for _, row := range []struct {
		name  string
		batch uint32
		asks  txn.Request
		known bool
	}{
		{"sale", 1, sale("10000001", 1, 1000), true},
		{"refund", 1, about(txn.KindRefund, 2, 300, 1), true},
		{"offline sale", 1, offline, true},
		{"sale without batch number", 0, sale("10000001", 1, 1000), false},
		{"refund without batch number", 0, about(txn.KindRefund, 2, 300, 1), true},
		{"refund without batch number, asked online", 0, online, true},
		{"offline sale without batch number", 0, offline, true},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHouse(t)
					ask := func(r txn.Request) txn.Answer {
						r = numbered(row.batch, r)
						r.Received = time.Now()
						return h.ask(r)
					}
					sold := ask(sale("10000001", 1, 1000))
					first := sold
					if row.asks.Key.STAN != 1 {
						first = ask(row.asks)
					}
					h.want("first", first, txn.Approved, "00")
					time.Sleep(time.Until(h.s.cfg.Day.Start(h.s.cfg.Day.Of(time.Now())+1)) + time.Minute)
					if again := ask(row.asks); (again.RRN == first.RRN) != row.known {
						t.Errorf("a minute after the cut-over: told %s, was %s", again.RRN, first.RRN)
					}
					if restarted {
						h.restart()
					}
					time.Sleep(9 * time.Hour)
					if again := ask(row.asks); again.Reason != txn.Approved || row.known && again.RRN != first.RRN {
						t.Errorf("in the morning: told %s %s, was %s", again.Reason, again.RRN, first.RRN)
					}
					if row.known && row.batch == 0 { // the number has come round
						other := row.asks
						other.Amount.Minor = 100
						if got := ask(other); got.Reason != txn.Approved || got.RRN == first.RRN {
							t.Errorf("another one of that number: told %s %s, was %s", got.Reason, got.RRN, first.RRN)
						}
					}
					h.stop()
					h.stop = func() {}
				})
			})
		}
	}
}

func TestReversalWaitsForItsOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bank.behave = func(*txn.Request) (txn.Outcome, txn.Reason, string) {
			time.Sleep(5 * time.Second)
			return txn.OutcomeApproved, txn.Approved, "00"
		}
		var wg sync.WaitGroup
		wg.Go(func() { h.want("sale", h.ask(sale("10000001", 7, 500)), txn.Approved, "00") })
		time.Sleep(time.Second)
		h.want("reversal", h.ask(reversal("10000001", 7, 500)), txn.Approved, "00")
		wg.Wait()
		h.settle()
		if h.bank.undone(1) != 1 || h.used("10000001") != 0 {
			t.Errorf("reversed %d times, %d used", h.bank.undone(1), h.used("10000001"))
		}
		h.stop()
		h.stop = func() {}
	})
}

func TestF36ReversalIsRepeatedUntilAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		tries := 0
		h.bank.acknowledge = func(attempt int) bool {
			if attempt != tries {
				t.Errorf("try %d says it is number %d", tries, attempt)
			}
			tries++
			return tries > 12
		}
		h.ask(sale("10000001", 7, 500))
		began := time.Now()
		h.want("reversal", h.ask(reversal("10000001", 7, 500)), txn.Approved, "00")
		for h.s.Figures().ReversalsOwed > 0 {
			if h.used("10000001") != 500 {
				t.Fatal("the limit came back before the issuer acknowledged")
			}
			time.Sleep(10 * time.Second)
		}
		if took := time.Since(began); took < 3*time.Minute || took > 12*time.Minute {
			t.Errorf("12 repeats took %v", took)
		}
		h.stop()
		h.stop = func() {}
	})
}

func TestF01UndeliveredApprovalIsReversedUnlessAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		deliver := func(stan uint32) (txn.Request, txn.Answer) {
			req := sale("10000001", stan, 500)
			var ans txn.Answer
			h.s.Authorize(&req, &ans)
			return req, ans
		}
		req, ans := deliver(1)
		h.s.Undelivered(&req, &ans)
		req, ans = deliver(2)
		h.s.Undelivered(&req, &ans)
		time.Sleep(30 * time.Second)
		h.want("asked again in time", h.ask(sale("10000001", 2, 500)), txn.Approved, "00")
		time.Sleep(2 * time.Minute)
		h.settle()
		if h.bank.undone(1) != 1 || h.bank.undone(2) != 0 {
			t.Errorf("reversed %d and %d times, want the first only", h.bank.undone(1), h.bank.undone(2))
		}
		h.want("asked again too late", h.ask(sale("10000001", 1, 500)), txn.AnswerWasNotDelivered, "98")
		h.stop()
		h.stop = func() {}
	})
}

// The first answer's write may fail after a retransmission was answered.
func TestF05LateWriteFailureDoesNotUndoAnApprovalThatWasHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		req := sale("10000001", 1, 500)
		var ans, again txn.Answer
		h.s.Authorize(&req, &ans)
		repeat := sale("10000001", 1, 500)
		h.s.Authorize(&repeat, &again)
		h.s.Undelivered(&req, &ans)
		time.Sleep(10 * time.Minute)
		if h.bank.undone(0) != 0 {
			t.Error("an approval that its terminal heard was reversed")
		}
		h.s.Undelivered(&repeat, &again)
		time.Sleep(10 * time.Minute)
		if h.bank.undone(0) != 1 {
			t.Error("an approval that nobody heard stands")
		}
		h.stop()
		h.stop = func() {}
	})
}

func TestF08ReversalAcrossTheCutOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		day := h.s.cfg.Day
		cut := day.Start(day.Of(time.Now()) + 1)
		time.Sleep(time.Until(cut) - 15*time.Minute)
		h.ask(sale("10000001", 1, 500))
		h.ask(sale("10000001", 2, 500))
		time.Sleep(time.Until(cut) + 5*time.Minute)
		h.want("soon after the cut-over", h.ask(reversal("10000001", 1, 500)), txn.Approved, "00")
		time.Sleep(time.Until(cut) + 11*time.Minute)
		h.want("too long after it", h.ask(reversal("10000001", 2, 500)), txn.OriginalIsOfAnotherDay, "25")
		h.stop()
		h.stop = func() {}
	})
}

// TestF48BothDatesAreKept has an issuer whose day was cut over before ours: the
// record has our business day, by which we settle, and the issuer's, which its
// terminal is told and which its files will name. A repeat is told the same.
func TestF48BothDatesAreKept(t *testing.T) {
	h := newHouse(t)
	ours := h.s.cfg.Day.Of(time.Now())
	for i, c := range []struct{ says, want [4]byte }{
		{settlementDate(ours.After()), settlementDate(ours.After())},
		{[4]byte{}, settlementDate(ours)},
	} {
		h.bank.settles = c.says
		req := sale("10000001", uint32(i+1), 500)
		first := h.ask(req)
		again := h.ask(req)
		h.restart()
		if last := h.ask(req); first.Reply.SettlementDate != c.want || !same(first, again) || !same(first, last) {
			t.Errorf("told %q, again %q, after a restart %q, want %q", first.Reply.SettlementDate[:], again.Reply.SettlementDate[:], last.Reply.SettlementDate[:], c.want)
		}
		recorded := 0
		h.journal.Scan(h.journal.First(), func(_ journal.Position, p []byte) error {
			var rec txn.Record
			if err := rec.Unmarshal(p); err != nil {
				return err
			}
			if rec.Kind == txn.RecordOutcome && rec.ID == first.ID {
				recorded++
				if rec.Day != ours || rec.SettlementDate != c.want {
					t.Errorf("recorded of %v, settled on %q, want %v and %q", rec.Day, rec.SettlementDate[:], ours, c.want[:])
				}
			}
			return nil
		})
		if recorded != 1 {
			t.Errorf("%d records", recorded)
		}
	}
}

func TestStrangersAreAnsweredAndNotRecorded(t *testing.T) {
	h := newHouse(t)
	before := h.journal.Last()
	h.want("unknown terminal", h.ask(sale("99999999", 1, 500)), txn.TerminalIsUnknown, "97")
	r := sale("10000001", 1, 500)
	r.Merchant = txn.MakeMerchantID("000000000000000")
	h.want("unknown merchant", h.ask(r), txn.MerchantIsUnknown, "03")
	r = sale("10000001", 1, 500)
	r.Kind = txn.KindUnknown
	h.want("not offered", h.ask(r), txn.KindIsNotOffered, "40")
	r.Kind = txn.KindEcho
	h.want("echo", h.ask(r), txn.Approved, "00")
	if h.journal.Last() != before {
		t.Errorf("%d records were written", h.journal.Last()-before)
	}
}

// What a restart needs stays: the previous day, this day, whatever is owed, and
// the batches that were not closed before.
func TestFloorKeepsWhatARestartNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.s.cfg.InFlightMax = 2
		h.bank.acknowledge = func(int) bool { return false }
		h.ask(sale("10000001", 1, 500))
		owed := h.journal.Last() + 1
		h.ask(reversal("10000001", 1, 500))
		var starts []journal.Position
		for day := range uint32(4) {
			time.Sleep(24 * time.Hour)
			if _, err := h.s.CloseBatches(context.Background(), h.s.cfg.Day.Of(time.Now()).Before()); err != nil {
				t.Fatal(err)
			}
			starts = append(starts, h.journal.Last()+1)
			for stan := range uint32(20) {
				req := sale("10000002", 20*day+stan+1, 1)
				req.Key.Batch = day + 1
				h.want("sale", h.ask(req), txn.Approved, "00")
			}
		}
		today := h.s.cfg.Day.Of(time.Now())
		if got := h.s.Floor(today); got > owed {
			t.Errorf("floor %d drops the reversal owed at %d", got, owed)
		}
		h.bank.mu.Lock()
		h.bank.acknowledge = nil
		h.bank.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if got := h.s.Floor(today); got != starts[1]+1 {
			t.Errorf("floor %d, the batch closed on the previous day begins at %d", got, starts[1]+1)
		}
		// On the next day that batch is forgotten, and the previous day is the floor.
		if got := h.s.Floor(h.s.cfg.Day.Of(time.Now().Add(24 * time.Hour))); got != starts[2]+1 {
			t.Errorf("floor %d a day later, the batch closed on this day would begin at %d", got, starts[2]+1)
		}
		h.stop()
		h.stop = func() {}
	})
}

func TestRecoverRefusesOtherCardKeys(t *testing.T) {
	h := newHouse(t)
	h.ask(sale("10000001", 1, 500))
	other, err := keys.OpenCards(filepath.Join(t.TempDir(), "card.keys"))
	if err != nil {
		t.Fatal(err)
	}
	h.s.cards = other
	if _, err := h.s.Recover(); err == nil || !strings.Contains(err.Error(), "card keys are not those of this journal") {
		t.Errorf("recovered with other keys: %v", err)
	}
}

// Requests side by side are numbered in one order and recorded in another.
func TestNumberingResumesAfterTheLastSTANNotTheLastRecord(t *testing.T) {
	for _, c := range []struct {
		name  string
		stans [2]uint32
		want  uint32
	}{
		{"in order", [2]uint32{11, 12}, 12},
		{"out of order", [2]uint32{12, 11}, 12},
		{"over the wrap", [2]uint32{txn.STANMax, 1}, 1},
		{"out of order over the wrap", [2]uint32{1, txn.STANMax}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			for i, stan := range c.stans {
				req := sale("10000001", uint32(i+1), 500)
				rec := txn.Record{Kind: txn.RecordIntent, ID: txn.ID(i + 1), Key: req.Key, Request: txn.KindBalance, Day: h.s.cfg.Day.Of(req.Received),
					Leg: txn.Leg{Issuer: txn.MakeIssuerID("bank"), STAN: stan}, Card: h.s.cards.Token(&req.PAN)}
				h.s.cards.Seal(&rec.SealedPAN, &req.PAN, rec.ID)
				if _, err := h.journal.Append(rec.Append(nil)); err != nil {
					t.Fatal(err)
				}
			}
			h.restart()
			if h.bank.stan != c.want {
				t.Errorf("numbering resumes after %d, want %d", h.bank.stan, c.want)
			}
		})
	}
}

// A request that is given up after the cut-over leaves no slot behind.
func TestF72ForgetFindsYesterdaysFlight(t *testing.T) {
	zone := time.FixedZone("", 8*3600)
	day := txn.BusinessDay{Zone: zone, CutOver: 23 * time.Hour}
	s := newSlots()
	req := sale("10000001", 1, 500)
	req.Day = day.Of(req.Received)
	s.claim(&req)
	sh, _ := s.shard(&req.Key)
	s.turn(sh, req.Day+1)
	s.forget(&req.Key, txn.Approved)
	if _, _, claimed := s.claim(&req); !claimed {
		t.Error("the key is still taken")
	}
}

// The table holds what a map would, whatever is put and removed, and a slot is
// a cache line; shards begin where a cache line does.
func TestSlotTableIsAMap(t *testing.T) {
	if size := unsafe.Sizeof(slotEntry{}); size != 64 {
		t.Errorf("an entry has %d bytes", size)
	}
	if a, b := unsafe.Sizeof(slotShard{}), unsafe.Sizeof(batchLockShard{}); a != 128 || b != 128 {
		t.Errorf("shards have %d and %d bytes", a, b)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var table slotTable
	want := map[txn.Key]txn.ID{}
	hash := func(k txn.Key) uint32 { return k.STAN % 37 } // nearly everything collides
	for n := range 20_000 {
		k := txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: rng.Uint32N(400)}
		if rng.Uint32N(2) == 0 {
			table.put(&k, hash(k), slot{id: txn.ID(n), state: slotDecided})
			want[k] = txn.ID(n)
		} else {
			_, ok := want[k]
			if table.remove(&k, hash(k)) != ok {
				t.Fatalf("step %d: remove does not say whether %s was there", n, k)
			}
			delete(want, k)
		}
		if table.used != len(want) {
			t.Fatalf("step %d: %d used, want %d", n, table.used, len(want))
		}
		k.STAN = rng.Uint32N(400)
		sl := table.find(&k, hash(k))
		if id, ok := want[k]; ok != (sl != nil) || ok && sl.id != id {
			t.Fatalf("step %d: %s is %v, want %d, %v", n, k, sl, id, ok)
		}
	}
}

// The type of a card is found out at admission, and is in the record that a
// restart counts by.
func TestCardTypeIsRecorded(t *testing.T) {
	table, problems := txn.ParseCardTable([]byte("prefix,card\n" + testPAN[:6] + ",credit\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	pan, err := txn.ParsePAN(testPAN)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	h.s.cfg.CardType = table.TypeOf
	req := txn.Request{PAN: pan}
	h.s.identify(&req)
	if req.CardType != txn.CardCredit {
		t.Errorf("it is %s", req.CardType)
	}
	var w work
	if rec := h.s.describe(&req, &txn.Answer{}, &w); rec.Hold().CardType != txn.CardCredit {
		t.Errorf("%s is recorded", rec.CardType)
	}
}
