package issuer_test

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
)

// peer is an issuer under a test's direct control: it hands every message to
// on, which answers when and where it likes.
type peer struct {
	listener net.Listener
	on       func(p *peerConn, m *iso.Message)

	mu    sync.Mutex
	conns []*peerConn
	wg    sync.WaitGroup
}

type peerConn struct {
	net.Conn
	index int
	sales atomic.Int64 // and all else but network management that came
	mu    sync.Mutex
	stop  chan struct{} // closed when its reader has ended
}

// listen runs a peer until the test ends. Sign-ons, sign-offs and echoes are
// answered by network, everything else by on.
func listen(t testing.TB, secure *tls.Config, on func(p *peerConn, m *iso.Message)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	p := &peer{listener: l, on: on}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *peer) addr() string { return p.listener.Addr().String() }

func (p *peer) accept() {
	for {
		nc, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		c := &peerConn{Conn: nc, index: len(p.conns), stop: make(chan struct{})}
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		p.wg.Go(func() { p.read(c) })
	}
}

func (p *peer) read(c *peerConn) {
	defer close(c.stop)
	for {
		var prefix [2]byte
		if _, err := io.ReadFull(c, prefix[:]); err != nil {
			return
		}
		n, err := iso87.BodySize(prefix[:])
		if err != nil {
			return
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		m := new(iso.Message)
		if err := iso87.iso.Parse(m, body); err != nil {
			return
		}
		if m.MTI()>>8 != 0x08 {
			c.sales.Add(1)
		}
		p.on(c, m)
	}
}

// conn is the i-th connection accepted, or nil.
func (p *peer) conn(i int) *peerConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.conns) {
		return nil
	}
	return p.conns[i]
}

// network answers network management and says whether m was.
func network(c *peerConn, m *iso.Message) bool {
	if m.MTI()>>8 != 0x08 {
		return false
	}
	c.answer(m, "00")
	return true
}

// answer sends the answer to m.
func (c *peerConn) answer(m *iso.Message, code string) {
	c.answerAs(m.MTI()&^0xF+0x10, m, code)
}

// answerAs sends the answer to m under a type that may be another's.
func (c *peerConn) answerAs(mti uint16, m *iso.Message, code string) {
	e := iso87.iso.Begin(nil, nil, nil, mti)
	for _, n := range [...]int{2, 3, 4, 7, 11, 37} {
		e.Copy(n, m)
	}
	e.Text(39, []byte(code))
	for _, n := range [...]int{41, 42, 49, 70} {
		e.Copy(n, m)
	}
	frame, err := e.Finish()
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Write(frame)
}

// reset closes the connection so that the other end gets an RST.
func (c *peerConn) reset() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}
