package issuer_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// host is one of an issuer's: it approves everything, or is away and drops whoever
// connects at its first message.
type host struct {
	*peer
	away atomic.Bool
	mute atomic.Bool // it answers network management, and nothing else
}

func newHost(t testing.TB) *host {
	h := new(host)
	h.peer = listen(t, nil, func(c *peerConn, m *iso.Message) {
		if h.away.Load() {
			c.reset()
		} else if !network(c, m) && !h.mute.Load() {
			c.answer(m, "00")
		}
	})
	return h
}

// leave has the host drop all its connections.
func (h *host) leave() {
	h.away.Store(true)
	for i := 0; h.conn(i) != nil; i++ {
		h.conn(i).reset()
	}
}

// at waits until links stand to exactly these hosts.
func (b *bench) at(hosts ...*host) {
	b.t.Helper()
	var want []string
	for _, h := range hosts {
		want = append(want, h.addr())
	}
	eventually(b.t, fmt.Sprint("links to ", want), func() bool { return slices.Equal(b.Status()[0].Hosts, want) })
}

// Hosts that a link does not prefer stand by: it goes through its hand until one signs on,
// and back to the first when it lost one that stood long.
func TestHostStandsBy(t *testing.T) {
	one, two, three := newHost(t), newHost(t), newHost(t)
	one.away.Store(true)
	b := start(t, "", func(c *issuer.Config) {
		c.Hosts = issuer.Hosts{one.addr(), two.addr(), three.addr()}
		c.ReconnectMax = c.ReconnectMin
	})
	b.at(two)
	if r := b.exchange(sale("10000001", 100)); r.outcome != txn.OutcomeApproved {
		t.Errorf("a sale at the host that stood by: %+v", r)
	}
	time.Sleep(20 * time.Millisecond) // longer than ReconnectMax
	one.away.Store(false)
	two.conn(0).reset()
	b.at(one)
	one.leave()
	two.leave()
	b.at(three)
}

// A host that signs on and then drops its links at once is not the one to come back to.
func TestHostThatDropsIsLeft(t *testing.T) {
	good := newHost(t)
	drops := listen(t, nil, func(c *peerConn, m *iso.Message) {
		network(c, m)
		c.Close()
	})
	b := start(t, "", func(c *issuer.Config) {
		c.Hosts = issuer.Hosts{drops.addr(), good.addr()}
		c.ReconnectMax = lastResort
	})
	b.at(good)
	if drops.conn(0) == nil {
		t.Error("the first host was never tried")
	}
}

// givenUp is how often a link was ended since h answers no requests.
func (b *bench) givenUp(h *host) (n int) {
	b.read(func() {
		for _, err := range b.downs {
			if strings.Contains(err.Error(), h.addr()+": it answers no requests") {
				n++
			}
		}
	})
	return n
}

// With as many links as hosts each host has one, and keeps it alone when another is lost.
func TestHostsShareLinks(t *testing.T) {
	one, two := newHost(t), newHost(t)
	b := start(t, "", func(c *issuer.Config) { c.Hosts, c.Connections = issuer.Hosts{one.addr(), two.addr()}, 2 }).up(2)
	b.at(one, two)
	one.leave()
	b.at(two)
	for n := range int64(4) {
		if r := b.exchange(sale("10000001", 100+n)); r.outcome != txn.OutcomeApproved {
			t.Errorf("a sale while one host is away: %+v", r)
		}
	}
	if two.conn(1) != nil {
		t.Error("the host that is left was given the link of the other")
	}
	one.away.Store(false)
	b.at(one, two)

	// A host with two links is named once.
	start(t, "", func(c *issuer.Config) { c.Hosts, c.Connections = issuer.Hosts{one.addr(), two.addr()}, 3 }).up(3).at(one, two)
}

// A host that takes requests and answers none is left for the one that stands by, also after it
// has served for long, and for good where it has come to that once.
func TestMuteHostIsLeft(t *testing.T) {
	one, two := newHost(t), newHost(t)
	b := start(t, "", func(c *issuer.Config) {
		c.Hosts, c.Timeout, c.ReconnectMax = issuer.Hosts{one.addr(), two.addr()}, time.Second, 5*time.Millisecond
		c.Breaker = issuer.BreakerConfig{Failures: 3, OpenFor: 10 * time.Millisecond}
	}).up(1)
	b.at(one)
	time.Sleep(20 * time.Millisecond) // longer than ReconnectMax
	one.mute.Store(true)
	if n := b.sell(3); n != 0 {
		t.Errorf("%d sales are approved by a mute host", n)
	}
	b.at(two)
	eventually(t, "the other serves", func() bool { return b.sell(1) == 1 })
	if h := one.conn(1); h != nil {
		t.Error("the mute host was dialed again")
	}
}

// settled is how long a link that must not be left is watched.
const settled = 100 * time.Millisecond

// Of two hosts that share the requests a mute one costs those that it has, and then one each time
// that it is tried again. Where there is no other it is not left: the breaker knows.
func TestMuteHostAmongOthers(t *testing.T) {
	one, two := newHost(t), newHost(t)
	b := start(t, "", func(c *issuer.Config) {
		c.Hosts, c.Connections, c.Timeout = issuer.Hosts{one.addr(), two.addr()}, 2, time.Second
		c.ReconnectMin, c.ReconnectMax = 500*time.Millisecond, time.Minute
		c.Breaker = issuer.BreakerConfig{Failures: 3, RequestsMin: 1 << 30, OpenFor: 10 * time.Millisecond, Probes: 1}
	}).up(2)
	two.mute.Store(true)
	if n := b.sell(6); n != 3 {
		t.Errorf("%d of 6 sales are approved, want those of one host", n)
	}
	eventually(t, "the mute host is left", func() bool { return b.givenUp(two) == 1 })
	eventually(t, "the breaker is closed", func() bool { return b.sell(1) == 1 })
	b.at(one, two)
	times := b.givenUp(two)
	if n := b.sell(2); n != 1 {
		t.Errorf("%d of 2 sales are approved where the mute host was tried again", n)
	}
	eventually(t, "it is left at once", func() bool { return b.givenUp(two) == times+1 })

	two.mute.Store(false)
	b.at(one, two)
	if n := b.sell(2); n != 2 {
		t.Errorf("%d of 2 sales are approved where the mute host answers again", n)
	}
	two.mute.Store(true)
	if n := b.sell(2); n != 1 {
		t.Errorf("%d of 2 sales are approved where it is mute once more", n)
	}
	time.Sleep(settled)
	if hosts := b.Status()[0].Hosts; len(hosts) != 2 { // it has answered since
		t.Errorf("links lead to %v", hosts)
	}

	before := 0
	b.read(func() { before = len(b.downs) })
	one.leave()
	b.at(two)
	b.sell(4)
	time.Sleep(settled)
	b.read(func() {
		for _, err := range b.downs[before:] {
			if strings.Contains(err.Error(), two.addr()) {
				t.Errorf("the only host is left: %v", err)
			}
		}
	})
}

// sell sells n times at once and counts what is approved.
func (b *bench) sell(n int) int {
	var approved atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if b.exchange(sale(fmt.Sprintf("1000%04d", i), 100)).outcome == txn.OutcomeApproved {
				approved.Add(1)
			}
		})
	}
	wg.Wait()
	return int(approved.Load())
}
