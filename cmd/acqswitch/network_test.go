package main

import (
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cable carries connections to an address, and fails as it is told to.
type cable struct {
	listener net.Listener
	to       string // an address of TCP, or the path of a socket
	trouble  atomic.Pointer[trouble]
	chunks   atomic.Int64 // carried
	faults   atomic.Int64 // of these in trouble
	carrying sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil once closed
}

// trouble is what happens to a chunk that was read from one side of a connection.
// It writes what is to come out at the other; false ends the connection.
type trouble func(c *cable, from, to net.Conn, chunk []byte) bool

func newCable(t *testing.T, to string) *cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: to, conns: map[net.Conn]bool{}}
	c.set(sound)
	c.carrying.Go(c.accept)
	t.Cleanup(c.close)
	return c
}

func (c *cable) addr() string { return c.listener.Addr().String() }

func (c *cable) set(t trouble) { c.trouble.Store(&t) }

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		network := "tcp"
		if filepath.IsAbs(c.to) {
			network = "unix"
		}
		far, err := net.Dial(network, c.to)
		if err != nil {
			near.Close()
			continue
		}
		if !c.hold(near, far) {
			return
		}
		c.carrying.Go(func() { c.carry(near, far) })
		c.carrying.Go(func() { c.carry(far, near) })
	}
}

// hold notes connections to be closed with the cable.
func (c *cable) hold(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		if c.conns == nil {
			conn.Close()
			continue
		}
		c.conns[conn] = true
	}
	return c.conns != nil
}

func (c *cable) carry(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		c.mu.Lock()
		delete(c.conns, from)
		c.mu.Unlock()
	}()
	chunk := make([]byte, 64<<10)
	for {
		n, err := from.Read(chunk)
		if err != nil {
			return
		}
		c.chunks.Add(1)
		if !(*c.trouble.Load())(c, from, to, chunk[:n]) {
			return
		}
	}
}

func (c *cable) close() {
	c.listener.Close()
	c.mu.Lock()
	for conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
	c.mu.Unlock()
	c.carrying.Wait()
}

func sound(_ *cable, _, to net.Conn, chunk []byte) bool {
	_, err := to.Write(chunk)
	return err == nil
}

// sliced cuts each chunk in two, the next one a byte later: over time at every
// byte of every message.
func sliced(c *cable, _, to net.Conn, chunk []byte) bool {
	at := 1 + int(c.faults.Add(1))%max(len(chunk), 2)
	for _, part := range [][]byte{chunk[:min(at, len(chunk))], chunk[min(at, len(chunk)):]} {
		if len(part) == 0 {
			continue
		}
		if _, err := to.Write(part); err != nil {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

// crumbled carries every byte alone.
func crumbled(c *cable, _, to net.Conn, chunk []byte) bool {
	c.faults.Add(1)
	for i := range chunk {
		if _, err := to.Write(chunk[i : i+1]); err != nil {
			return false
		}
	}
	return true
}

// late carries each chunk up to 400 ms later, some beyond the issuer's patience.
func late(c *cable, _, to net.Conn, chunk []byte) bool {
	c.faults.Add(1)
	time.Sleep(rand.N(400 * time.Millisecond))
	return sound(c, nil, to, chunk)
}

// reset breaks one connection in twenty after some byte, with a reset to both.
func reset(c *cable, from, to net.Conn, chunk []byte) bool {
	if rand.IntN(20) > 0 {
		return sound(c, from, to, chunk)
	}
	c.faults.Add(1)
	to.Write(chunk[:rand.IntN(len(chunk)+1)])
	for _, conn := range []net.Conn{from, to} {
		conn.(*net.TCPConn).SetLinger(0)
	}
	return false
}

// deaf makes one connection in thirty swallow all that comes after some byte, and
// nobody is told: a peer that is gone without a word.
func deaf(c *cable, from, to net.Conn, chunk []byte) bool {
	if rand.IntN(30) > 0 {
		return sound(c, from, to, chunk)
	}
	c.faults.Add(1)
	to.Write(chunk[:rand.IntN(len(chunk)+1)])
	io.Copy(io.Discard, from) // until its owner gives it up
	return false
}

// cut carries nothing any more, and nobody is told.
func cut(c *cable, from, _ net.Conn, _ []byte) bool {
	c.faults.Add(1)
	io.Copy(io.Discard, from)
	return false
}

// stuck stops reading one connection in thirty, for longer than an issuer has.
func stuck(c *cable, from, to net.Conn, chunk []byte) bool {
	if rand.IntN(30) == 0 {
		c.faults.Add(1)
		time.Sleep(time.Second)
	}
	return sound(c, from, to, chunk)
}

var (
	networkFor  = flag.Duration("network.for", 500*time.Millisecond, "how long each kind of trouble lasts at each place")
	networkSeed = flag.Uint64("network.seed", 1, "of what terminals and issuer do")
)

// TestF41Network has what is between terminals, switch and issuer fail in one way
// after another under load, at the terminals and then at the issuer: whatever came
// through, twice, in part, late or never, the three books agree when it works
// again.
func TestF41Network(t *testing.T) {
	t.Parallel() // it waits most of the time
	var terminals, iso87, issuer *cable
	x := newMarket(t, *networkSeed, "sqlite:ledger.db", func(x *market) {
		terminals, iso87, issuer = newCable(t, x.cup), newCable(t, x.iso87), newCable(t, x.issuer)
		x.toCUP, x.toISO87, x.toIssuer = terminals.addr(), iso87.addr(), issuer.addr()
	})
	x.open()
	for _, c := range []struct {
		name    string
		trouble trouble
	}{
		{"sliced at every byte", sliced}, {"a byte at a time", crumbled}, {"late", late}, {"reset", reset}, {"deaf", deaf}, {"not reading", stuck},
	} {
		x.last = c.name
		for _, where := range []struct {
			name   string
			cables []*cable
		}{{"at the terminals", []*cable{terminals, iso87}}, {"at the issuer", []*cable{issuer}}} {
			stop := x.work()
			t.Logf("%s %s: %d faults", c.name, where.name, x.trouble(where.cables, c.trouble, *networkFor))
			stop()
		}
		if x.check(); t.Failed() {
			return
		}
	}
	x.tried()
	if x.server.stop(syscall.SIGTERM) != exitOK {
		t.Error("the switch did not end well")
	}
}

// trouble has cables fail for a while, and until they have at least once. It says
// how often they did.
func (x *market) trouble(cables []*cable, how trouble, d time.Duration) (faults int64) {
	x.t.Helper()
	count := func() (n int64) {
		for _, c := range cables {
			n += c.faults.Load()
		}
		return n
	}
	before := count()
	for _, c := range cables {
		c.set(how)
	}
	time.Sleep(d)
	for late := time.Now().Add(restWithin); count() == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			x.t.Errorf("nothing was %s", x.last)
			break
		}
	}
	for _, c := range cables {
		c.set(sound)
	}
	return count() - before
}
