package issuer_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const card = "6222021234567890128"

// bench is a router with its links up, and what its hooks were told.
type bench struct {
	*issuer.Router
	t testing.TB

	mu        sync.Mutex
	late      []issuer.Late
	unmatched []string
	malformed int
	downs     []error
	states    []string
	cutOvers  []string
}

// start runs a router against one issuer at address until the test ends.
func start(t testing.TB, address string, change func(*issuer.Config)) *bench {
	t.Helper()
	return startOn(t, nil, address, change)
}

// startOn is start with a journal that has the intents.
func startOn(t testing.TB, j issuer.Journal, address string, change func(*issuer.Config)) *bench {
	t.Helper()
	return startWith(t, j, address, change, func(*issuer.Hooks) {})
}

// startWith is startOn with hooks of the test's own.
func startWith(t testing.TB, j issuer.Journal, address string, change func(*issuer.Config), own func(*issuer.Hooks)) *bench {
	t.Helper()
	cfg := issuer.Config{Name: "icbc", Hosts: issuer.Hosts{address}, BINs: []string{"622202"}, Timeout: lastResort / 2, ReconnectMin: 5 * time.Millisecond,
		ReconnectMax: 50 * time.Millisecond, EchoTimeout: lastResort / 2}
	if change != nil {
		change(&cfg)
	}
	b := &bench{t: t}
	note := func(f func()) { b.mu.Lock(); defer b.mu.Unlock(); f() }
	hooks := issuer.Hooks{
		Late:      func(l issuer.Late) { note(func() { b.late = append(b.late, l) }) },
		Unmatched: func(_ string, _ txn.ReplyHead, why string) { note(func() { b.unmatched = append(b.unmatched, why) }) },
		CutOver:   func(_ string, day [4]byte) { note(func() { b.cutOvers = append(b.cutOvers, string(day[:])) }) },
		Malformed: func(string, error) { note(func() { b.malformed++ }) },
		LinkDown:  func(_ string, _ int, err error) { note(func() { b.downs = append(b.downs, err) }) },
		Breaker:   func(_, state string) { note(func() { b.states = append(b.states, state) }) },
	}
	own(&hooks)
	r, err := issuer.New([]issuer.Config{cfg}, codecs, j, hooks)
	if err != nil {
		t.Fatal(err)
	}
	b.Router = r
	run(t, r.Run)
	return b
}

// run runs f until the test ends, and fails it on f's error.
func run(t testing.TB, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// simulate runs a scripted issuer until the test ends.
func simulate(t testing.TB, cfg simulator.Config) *simulator.Simulator {
	t.Helper()
	if cfg.Book == "" {
		cfg.Book = filepath.Join(t.TempDir(), "book")
	}
	s, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.Run)
	return s
}

// lastResort ends what hangs: nothing takes so long, on the slowest machine either.
const lastResort = time.Minute

// eventually waits for a condition that another goroutine makes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(lastResort); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// tells waits until n messages that cannot be used were told of: one may come when who
// asked has given up.
func (b *bench) tells(n int) {
	b.t.Helper()
	eventually(b.t, fmt.Sprint(n, " messages that cannot be used"), func() (told bool) {
		b.read(func() { told = b.malformed == n })
		return told
	})
}

func (b *bench) up(n int) *bench {
	b.t.Helper()
	eventually(b.t, "links up", func() bool { return b.Status()[0].Up == n })
	return b
}

// sale is a sale of minor units at a terminal.
func sale(terminal string, minor int64) *txn.Request {
	pan, err := txn.ParsePAN(card)
	if err != nil {
		panic(err)
	}
	return &txn.Request{Kind: txn.KindSale, MTI: 0x0200, ProcessingCode: [6]byte{'0', '0', '0', '0', '0', '0'}, PAN: pan,
		Key: txn.Key{Terminal: txn.MakeTerminalID(terminal), Class: txn.ClassFinancial}, Merchant: txn.MakeMerchantID("999290054110001"),
		Amount: txn.Amount{Minor: minor, Currency: txn.CNY}, Received: time.Now(), Deadline: time.Now().Add(time.Minute)}
}

// result is what Exchange said.
type result struct {
	leg     txn.Leg
	outcome txn.Outcome
	reason  txn.Reason
	reply   txn.Reply
}

func (b *bench) exchange(req *txn.Request) result {
	var r result
	r.leg, r.reason = b.Begin(req)
	if r.reason != txn.Approved {
		r.outcome = txn.OutcomeNotSent
		return r
	}
	r.outcome, r.reason = b.Exchange(req, &r.leg, [12]byte{'1', '1', '2', '2'}, 0, func() {}, &r.reply)
	return r
}

// unanswered exchanges a request whose time is soon up; again, while the machine was
// held up for so long that it did not leave.
func (b *bench) unanswered(req *txn.Request) result {
	for {
		req.Deadline = time.Now().Add(100 * time.Millisecond)
		if r := b.exchange(req); r.reason != txn.SwitchIsOverloaded {
			return r
		}
	}
}

// want fails the test unless r is what was asked for.
func (r result) want(t testing.TB, outcome txn.Outcome, reason txn.Reason) result {
	t.Helper()
	if r.outcome != outcome || r.reason != reason {
		t.Errorf("outcome %v, reason %v; want %v, %v", r.outcome, r.reason, outcome, reason)
	}
	return r
}

// record is the record that owes the reversal of r.
func (r result) record(req *txn.Request) *txn.Record {
	return &txn.Record{Kind: txn.RecordOutcome, Outcome: txn.OutcomeUnknown, Request: req.Kind, Key: req.Key, Amount: req.Amount, Leg: r.leg,
		RRN: [12]byte{'1', '1', '2', '2'}}
}

func (b *bench) reverse(rec *txn.Record, attempt int) (bool, string, error) {
	ok, code, err := b.Reverse(b.t.Context(), rec, []byte(card), attempt)
	return ok, string(code[:]), err
}

func (b *bench) read(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}
