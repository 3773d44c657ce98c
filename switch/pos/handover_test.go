package pos

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestHandoverKeepsEverySession gives a front end's sockets to another one,
// twice, as a process gives them to its successor: sessions that are idle, in
// the middle of a frame, between two pipelined frames, and just connecting; and
// one whose answer is still being made when the first is told to stop. One that is
// reset between the two costs nothing but itself.
func TestHandoverKeepsEverySession(t *testing.T) {
	cup, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Listeners: []Listener{{Address: "127.0.0.1:0", Dialect: cup}, {Address: "127.0.0.1:0", Dialect: cup}}, InFlightMax: 1}
	run := func(adopt *Sockets) (s *Server, d *desk, stop func() *Sockets) {
		d = &desk{t: t, bad: map[Cause]int{}, delay: func(req *txn.Request) time.Duration {
			if req.Key.STAN == 900 {
				return 300 * time.Millisecond
			}
			return 0
		}}
		s = New(cfg, d, d, slog.New(slog.DiscardHandler))
		if adopt != nil {
			s.Adopt(adopt)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.Listen(ctx); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return s, d, func() *Sockets {
			s.Keep()
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if len(d.bad) > 0 || d.undelivered > 0 {
				t.Errorf("counted %v, %d undelivered", d.bad, d.undelivered)
			}
			return s.Kept()
		}
	}
	send := func(c net.Conn, b []byte) {
		t.Helper()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(name string, c net.Conn) {
		t.Helper()
		if _, err := readFrame(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	first, d, stop := run(nil)
	addr, second := first.Addrs()[0].String(), first.Addrs()[1].String()
	idle, half, piped, busy, gone := dial(t, addr), dial(t, addr), dial(t, second), dial(t, addr), dial(t, addr)
	send(idle, saleFrame(1))
	answered("idle", idle)
	frame := saleFrame(2)
	send(half, frame[:1])
	send(busy, saleFrame(900))
	send(piped, append(saleFrame(900), append(saleFrame(4), saleFrame(5)[:40]...)...))
	d.asked(3)
	eventually(t, "half a frame is read", func() bool { open, _ := first.Sessions(); return open == 5 && first.reading() })

	kept := stop()
	answered("busy, by the first", busy)
	answered("piped, by the first", piped)
	if len(kept.Sessions) != 5 || len(kept.Listeners) != 2 {
		t.Fatalf("kept %d sessions and %d listeners, want 5 and 2", len(kept.Sessions), len(kept.Listeners))
	}
	gone.(*net.TCPConn).SetLinger(0)
	gone.Close()
	between := dial(t, addr)
	send(between, saleFrame(6))

	_, _, stop = run(kept)
	answered("connected between", between)
	send(half, frame[1:50])
	time.Sleep(50 * time.Millisecond) // so that it was read, likely; it is all the same
	kept = stop()

	third, _, stop := run(kept)
	if third.Addrs()[0].String() != addr {
		t.Errorf("listens on %s, the first did on %s", third.Addrs()[0], addr)
	}
	send(half, frame[50:])
	answered("half a frame", half)
	answered("piped, whole", piped)
	send(piped, saleFrame(5)[40:])
	answered("piped, half", piped)
	send(idle, saleFrame(7))
	answered("idle", idle)
	send(busy, saleFrame(8))
	answered("busy", busy)
	for _, c := range []net.Conn{idle, half, piped, busy, between} {
		c.Close()
	}
	eventually(t, "sessions end when their peers leave", func() bool { open, _ := third.Sessions(); return open == 0 })
	if kept := stop(); len(kept.Sessions) != 0 {
		t.Errorf("kept %d sessions of peers that left", len(kept.Sessions))
	}
}

// A session whose dialect nobody speaks any more is closed, and so is a listener
// that the configuration dropped.
func TestHandoverToAnotherConfiguration(t *testing.T) {
	cup, _ := dialect.ForTerminal("cup-pos")
	iso87, _ := dialect.ForTerminal("iso87")
	start := func(d *dialect.Terminal, adopt *Sockets) (*Server, func()) {
		desk := &desk{t: t, bad: map[Cause]int{}}
		s := New(Config{Listeners: []Listener{{Address: "127.0.0.1:0", Dialect: d}}}, desk, desk, slog.New(slog.DiscardHandler))
		if adopt != nil {
			s.Adopt(adopt)
		}
		if err := s.Listen(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return s, func() { cancel(); <-done }
	}
	first, stop := start(cup, nil)
	addr := first.Addrs()[0].String()
	c := dial(t, addr)
	send := saleFrame(1)
	c.Write(send)
	readFrame(c)
	first.Keep()
	stop()
	_, stop = start(iso87, first.Kept())
	defer stop()
	if !closed(c) {
		t.Error("a session of a dropped dialect is open")
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("a dropped listener takes connections")
	}
}

// A listener keeps its socket, and whoever waits in its queue, when its address
// is spelled otherwise; one for more addresses takes its place.
func TestHandoverOfAnAddressSpelledOtherwise(t *testing.T) {
	cup, _ := dialect.ForTerminal("cup-pos")
	var port string
	var kept *Sockets
	for _, c := range []struct {
		name, host string
		waits      bool // who connected between the two is served
	}{{"as an address", "127.0.0.1", true}, {"by name", "localhost", true}, {"in IPv6's way", "::ffff:127.0.0.1", true}, {"every address", "", false}} {
		desk := &desk{t: t, bad: map[Cause]int{}}
		s := New(Config{Listeners: []Listener{{Address: net.JoinHostPort(c.host, cmp.Or(port, "0")), Dialect: cup}}}, desk, desk, slog.New(slog.DiscardHandler))
		var waiting net.Conn
		if kept != nil {
			waiting = dial(t, "127.0.0.1:"+port)
			s.Adopt(kept)
		}
		if err := s.Listen(t.Context()); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		_, port, _ = net.SplitHostPort(s.Addrs()[0].String())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		if waiting != nil {
			waiting.Write(saleFrame(1))
			if _, err := readFrame(waiting); err == nil != c.waits {
				t.Errorf("%s: who waited was answered with %v", c.name, err)
			}
		}
		after := dial(t, "127.0.0.1:"+port)
		after.Write(saleFrame(2))
		if _, err := readFrame(after); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		after.Close()
		s.Keep()
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		kept = s.Kept()
		kept.Sessions = nil
	}
	syscall.Close(kept.Listeners[0].FD)
}
