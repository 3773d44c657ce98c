package main

import (
	bigendian "encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
)

// liar stands between the switch and its issuer, lets every request through, and
// falsifies answers: one in every so many.
type liar struct {
	t        *testing.T
	listener net.Listener
	to       string
	codec    *iso.Codec
	working  sync.WaitGroup

	mu    sync.Mutex
	every int // 0: it is honest
	lies  map[string]int
	links map[net.Conn]*sync.Mutex // to the switch, and who writes there; nil once closed
}

func newLiar(t *testing.T, to string) *liar {
	link, err := dialect.LinkOf("iso87")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{t: t, listener: listener, to: to, codec: link.Codec(), lies: map[string]int{}, links: map[net.Conn]*sync.Mutex{}}
	l.working.Go(l.accept)
	t.Cleanup(func() {
		listener.Close()
		l.mu.Lock()
		for conn := range l.links {
			conn.Close()
		}
		l.links = nil
		l.mu.Unlock()
		l.working.Wait()
	})
	return l
}

func (l *liar) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.to)
		if err != nil {
			near.Close()
			continue
		}
		l.mu.Lock()
		if l.links == nil {
			l.mu.Unlock()
			near.Close()
			far.Close()
			return
		}
		l.links[near] = new(sync.Mutex)
		l.mu.Unlock()
		l.working.Go(func() {
			io.Copy(far, near)
			far.Close()
		})
		l.working.Go(func() {
			for frame, err := receive(far); err == nil && l.pass(near, frame); frame, err = receive(far) {
			}
			far.Close()
			near.Close()
			l.mu.Lock()
			delete(l.links, near)
			l.mu.Unlock()
		})
	}
}

// say writes a frame to the switch, on conn or, without one, on whatever link there is.
func (l *liar) say(conn net.Conn, frames ...[]byte) bool {
	l.mu.Lock()
	if conn == nil {
		for conn = range l.links {
			break
		}
	}
	mu := l.links[conn]
	l.mu.Unlock()
	if mu == nil {
		return false
	}
	mu.Lock()
	defer mu.Unlock()
	for _, frame := range frames {
		if _, err := conn.Write(append(bigendian.BigEndian.AppendUint16(nil, uint16(len(frame))), frame...)); err != nil {
			return false
		}
	}
	return true
}

// pass carries an answer, or what is made of it. It is false when the link is to end.
func (l *liar) pass(to net.Conn, frame []byte) bool {
	l.mu.Lock()
	every := l.every
	l.mu.Unlock()
	var m iso.Message
	if every == 0 || rand.IntN(every) > 0 || l.codec.Parse(&m, frame) != nil || m.MTI()>>8 == 0x08 {
		return l.say(to, frame)
	}
	names := make([]string, 0, len(lies))
	for name := range lies {
		names = append(names, name)
	}
	name := names[rand.IntN(len(names))]
	on := lies[name](l, to, &m)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lies[name]++
	return on
}

// with is m with another value of one field.
func (l *liar) with(m *iso.Message, mti uint16, field int, value string) []byte {
	e := l.codec.Begin(nil, nil, nil, mti)
	done := field == 0
	put := func() {
		if done = true; value != "" {
			e.Text(field, []byte(value))
		}
	}
	for n := range m.Fields() {
		switch {
		case n == field:
			put()
			continue
		case n > field && !done:
			put()
		}
		e.Copy(n, m)
	}
	frame, err := e.Finish()
	if err != nil {
		l.t.Errorf("the liar cannot say it: %v", err)
	}
	return frame[2:]
}

// later says frames again when some time has passed, on whatever link there is then.
func (l *liar) later(frames ...[]byte) {
	after := rand.N(3 * time.Second)
	l.working.Go(func() {
		time.Sleep(after)
		l.say(nil, frames...)
	})
}

// lies are what is made of an answer. None of them tells the switch that something was
// refused which the issuer has booked, or the reverse: nobody could see through that.
var lies = map[string]func(l *liar, to net.Conn, m *iso.Message) bool{
	"said twice":       func(l *liar, to net.Conn, m *iso.Message) bool { return l.say(to, m.Frame(), m.Frame()) },
	"said again later": func(l *liar, to net.Conn, m *iso.Message) bool { l.later(m.Frame()); return l.say(to, m.Frame()) },
	"late":             func(l *liar, _ net.Conn, m *iso.Message) bool { l.later(m.Frame()); return true },
	"another STAN": func(l *liar, to net.Conn, m *iso.Message) bool {
		stan, _ := m.Uint(11)
		return l.say(to, l.with(m, m.MTI(), 11, fmt.Sprintf("%06d", (stan+1+rand.Uint64N(5))%1_000_000)))
	},
	"another amount": func(l *liar, to net.Conn, m *iso.Message) bool {
		return l.say(to, l.with(m, m.MTI(), 4, "999999999999"))
	},
	"another currency": func(l *liar, to net.Conn, m *iso.Message) bool { return l.say(to, l.with(m, m.MTI(), 49, "840")) },
	"no currency that is": func(l *liar, to net.Conn, m *iso.Message) bool {
		return l.say(to, l.with(m, m.MTI(), 49, "\x00A "))
	},
	"another terminal": func(l *liar, to net.Conn, m *iso.Message) bool { return l.say(to, l.with(m, m.MTI(), 41, "99999999")) },
	"another time and reference": func(l *liar, to net.Conn, m *iso.Message) bool {
		var other iso.Message
		frame := l.with(m, m.MTI(), 7, "0101000000")
		if l.codec.Parse(&other, frame) != nil {
			return false
		}
		return l.say(to, l.with(&other, m.MTI(), 37, "NOTOURS"))
	},
	"no code":      func(l *liar, to net.Conn, m *iso.Message) bool { return l.say(to, l.with(m, m.MTI(), 39, "")) },
	"a blank code": func(l *liar, to net.Conn, m *iso.Message) bool { return l.say(to, l.with(m, m.MTI(), 39, "  ")) },
	"a code of zero bytes": func(l *liar, to net.Conn, m *iso.Message) bool {
		return l.say(to, l.with(m, m.MTI(), 39, "\x00\x00"))
	},
	"half a code": func(l *liar, to net.Conn, m *iso.Message) bool { return l.say(to, l.with(m, m.MTI(), 39, "0 ")) },
	"another type": func(l *liar, to net.Conn, m *iso.Message) bool {
		types := []uint16{0x0230, 0x0410, 0x0430, 0x0200, 0x0800, 0x1210, 0x0212, 0x9999}
		mti := types[rand.IntN(len(types))]
		if mti>>8 == 0x04 && m.MTI()>>8 == 0x04 || mti == 0x0230 && m.MTI() == 0x0230 {
			return l.say(to, m.Frame())
		}
		if mti>>8 == 0x04 { // of a reversal that nobody asked for
			return l.say(to, l.with(m, mti, 41, "99999999"))
		}
		return l.say(to, l.with(m, mti, 0, ""))
	},
	"cut": func(l *liar, to net.Conn, m *iso.Message) bool {
		to.Write(append(bigendian.BigEndian.AppendUint16(nil, uint16(len(m.Frame()))), m.Frame()[:rand.IntN(len(m.Frame()))]...))
		return false
	},
	"garbage before it": func(l *liar, to net.Conn, m *iso.Message) bool {
		return l.say(to, []byte(strings.Repeat("\xFF", 1+rand.IntN(40))), m.Frame())
	},
	"an endless frame": func(l *liar, to net.Conn, m *iso.Message) bool {
		to.Write([]byte{0xFF, 0xFF})
		return false
	},
	"requests of its own": func(l *liar, to net.Conn, m *iso.Message) bool {
		for range 20 {
			if !l.say(to, l.with(m, 0x0200, 11, fmt.Sprintf("%06d", rand.IntN(1_000_000))), l.with(m, 0x0800, 70, "301"), l.with(m, 0x0420, 0, "")) {
				return false
			}
		}
		return l.say(to, m.Frame())
	},
}

var (
	liarFor   = flag.Duration("liar.for", time.Second, "how long the issuer lies, between two kills")
	liarKills = flag.Int("liar.kills", 1, "how often the switch is killed meanwhile")
	liarSeed  = flag.Uint64("liar.seed", 1, "of what terminals and issuer do")
)

// TestF40LyingIssuer has an issuer say one answer in five otherwise than it is, or
// at another time, and the switch killed meanwhile: what it cannot understand it
// undoes, and the three books agree in the end.
func TestF40LyingIssuer(t *testing.T) {
	t.Parallel()
	var l *liar
	x := newMarket(t, *liarSeed, "sqlite:ledger.db", func(x *market) {
		l = newLiar(t, x.issuer)
		x.toIssuer = l.listener.Addr().String()
	})
	x.open()
	for kill := range *liarKills {
		l.mu.Lock()
		l.every = 5
		l.mu.Unlock()
		stop := x.work()
		time.Sleep(*liarFor)
		x.last = fmt.Sprintf("kill %d", kill)
		x.server.stop(syscall.SIGKILL)
		x.boot("")
		x.serving()
		time.Sleep(*liarFor / 2)
		stop()
		l.mu.Lock()
		l.every = 0
		t.Logf("%d lies: %v", len(l.lies), l.lies)
		l.mu.Unlock()
		if x.check(); t.Failed() {
			return
		}
	}
	x.tried()
	if x.server.stop(syscall.SIGTERM) != exitOK {
		t.Error("the switch did not end well")
	}
	x.checkNoCardInClear()
}
