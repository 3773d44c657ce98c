package issuer_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The four traps below were found in the library that keeps the connections;
// each test is the situation in which its own Send goes wrong.

// T1: a sale times out, its reversal goes out under the same STAN, and then
// the approval comes.
func TestF34T1LateApprovalIsNotTakenForTheReversalsAnswer(t *testing.T) {
	var mu sync.Mutex
	var asked *iso.Message
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case network(c, m):
		case m.MTI() == 0x0200:
			asked = m
		case m.MTI() == 0x0400:
			c.answer(asked, "00")
		default:
			c.answer(m, "00")
		}
	})
	b := start(t, p.addr(), nil).up(1)
	req := sale("10000001", 100)
	got := b.unanswered(req).want(t, txn.OutcomeUnknown, txn.IssuerDidNotAnswer)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		eventually(t, "late approval", func() (ok bool) { b.read(func() { ok = len(b.late) == 1 }); return ok })
		cancel()
	}()
	if ok, code, err := b.Reverse(ctx, got.record(req), []byte(card), 0); ok || err == nil {
		t.Fatalf("the reversal took code %q of the late approval for its answer", code)
	}
	if b.late[0].Leg != got.leg {
		t.Errorf("late answer of leg %+v, want %+v", b.late[0].Leg, got.leg)
	}
	if ok, code, err := b.reverse(got.record(req), 1); !ok || code != "00" {
		t.Fatalf("repeated reversal: %v %q %v", ok, code, err)
	}
}

// T2: the peer resets at the moment at which 64 requests time out.
func TestF41T2ResetWhileRequestsTimeOutHangsNobody(t *testing.T) {
	const rounds, callers, timeout = 40, 64, 15 * time.Millisecond
	var first atomic.Pointer[time.Timer]
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if !network(c, m) && first.Load() == nil {
			if timer := time.AfterFunc(timeout, c.reset); !first.CompareAndSwap(nil, timer) {
				timer.Stop()
			}
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) {
		cfg.Timeout = timeout
		cfg.Breaker = issuer.BreakerConfig{Failures: 1 << 30, RequestsMin: 1 << 30}
	})
	for range rounds {
		b.up(1)
		first.Store(nil)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if r := b.exchange(sale("10000001", 100)); r.outcome != txn.OutcomeUnknown && r.outcome != txn.OutcomeNotSent {
					t.Errorf("outcome %v", r.outcome)
				}
			})
		}
		all := make(chan struct{})
		go func() { wg.Wait(); close(all) }()
		select {
		case <-all:
		case <-time.After(lastResort):
			t.Fatal("callers hang")
		}
		eventually(t, "link lost", func() (ok bool) { b.read(func() { ok = len(b.downs) > 0; b.downs = nil }); return ok })
	}
}

// T3: the peer stops reading, with the socket's buffers full.
func TestF42T3PeerThatStopsReadingBlocksNobody(t *testing.T) {
	const callers, timeout = 5_000, 300 * time.Millisecond
	stalled := make(chan struct{})
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if m.Value(70) != nil && string(m.Value(70)) == "001" {
			c.Conn.(*net.TCPConn).SetReadBuffer(4096)
			network(c, m)
			return
		}
		<-stalled
	})
	defer close(stalled)
	b := start(t, p.addr(), func(cfg *issuer.Config) {
		cfg.Timeout, cfg.WriteTimeout, cfg.InFlightMax = timeout, 100*time.Millisecond, callers
		cfg.Breaker = issuer.BreakerConfig{Failures: 1 << 30, RequestsMin: 1 << 30}
	}).up(1)
	var slowest atomic.Int64
	var count [5]atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			began := time.Now()
			r := b.exchange(sale("10000001", 100))
			count[r.outcome].Add(1)
			for d := int64(time.Since(began)); d > slowest.Load(); {
				slowest.Store(d)
			}
		})
	}
	wg.Wait()
	t.Logf("slowest caller %v; unknown %d, not sent %d", time.Duration(slowest.Load()), count[txn.OutcomeUnknown].Load(), count[txn.OutcomeNotSent].Load())
	if d := time.Duration(slowest.Load()); d > lastResort { // the library's: for ever
		t.Errorf("slowest caller waited %v at a timeout of %v", d, timeout)
	}
	if count[txn.OutcomeUnknown].Load()+count[txn.OutcomeNotSent].Load() != callers {
		t.Error("an outcome was invented")
	}
}

// T4: every answer comes around the moment at which its request is given up: when
// its timeout is over and it was looked for once more.
func TestF35T4AnswerRacingTheTimeoutIsTakenOrReportedLate(t *testing.T) {
	const callers, timeout, givenUp = 2_000, 2 * time.Second, 2020 * time.Millisecond // a write may take half of it
	var step atomic.Int64                                                             // between one answer and the next
	step.Store(int64(500 * time.Microsecond))
	p := listen(t, nil, func(c *peerConn, m *iso.Message) {
		if !network(c, m) {
			stan, _ := m.Uint(11)
			time.AfterFunc(givenUp+(time.Duration(stan%64)-48)*time.Duration(step.Load()), func() { c.answer(m, "00") })
		}
	})
	b := start(t, p.addr(), func(cfg *issuer.Config) {
		cfg.Timeout, cfg.InFlightMax = timeout, callers
		cfg.Breaker = issuer.BreakerConfig{Failures: 1 << 30, RequestsMin: 1 << 30}
	}).up(1)
	var approved, unknown atomic.Int64
	requests := int64(0)
	for range 7 { // by then the answers come over the whole of the timeout
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				switch b.exchange(sale("10000001", 100)).outcome {
				case txn.OutcomeApproved:
					approved.Add(1)
				case txn.OutcomeUnknown:
					unknown.Add(1)
				}
			})
		}
		wg.Wait()
		requests += callers
		if approved.Load() > 0 && unknown.Load() > 0 {
			break
		}
		step.Store(2 * step.Load()) // the machine was late with all of it
	}
	late := func() (n int64) { // or lost to a full queue
		b.read(func() { n = int64(len(b.late)) + int64(b.Status()[0].LateLost) })
		return n
	}
	eventually(t, "every late answer", func() bool { return late() >= unknown.Load() })
	t.Logf("approved %d, unknown and late %d", approved.Load(), unknown.Load())
	if approved.Load()+unknown.Load() != requests || late() != unknown.Load() {
		t.Errorf("%d approved + %d unknown of %d, %d late", approved.Load(), unknown.Load(), requests, late())
	}
	if approved.Load() == 0 || unknown.Load() == 0 {
		t.Error("there was no race to test")
	}
}
