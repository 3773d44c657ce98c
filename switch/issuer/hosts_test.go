package issuer_test

import (
	"fmt"
	"slices"
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
}

func newHost(t testing.TB) *host {
	h := new(host)
	h.peer = listen(t, nil, func(c *peerConn, m *iso.Message) {
		if h.away.Load() {
			c.reset()
		} else if !network(c, m) {
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
