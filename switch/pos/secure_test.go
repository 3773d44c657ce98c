package pos

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/certs/certstest"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// issue is a listener's part of TLS by an authority.
func issue(by *certstest.Authority) *certs.Server {
	s := new(certs.Server)
	s.Cert, s.Key = by.Issue()
	return s
}

// shake connects with TLS. Where certificates are refused by TLS 1.3, the first read
// says so.
func shake(t *testing.T, addr string, config *tls.Config) (net.Conn, error) {
	t.Helper()
	conn, err := transport.Dial(t.Context(), addr, nil, config, lastResort)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(lastResort))
	return conn, nil
}

// terms are a terminal's that has these files.
func terms(t *testing.T, c certs.Client) *tls.Config {
	t.Helper()
	l, err := c.Load()
	if err != nil {
		t.Fatal(err)
	}
	return l.TLS
}

// ask makes one sale.
func ask(conn net.Conn, stan uint32) error {
	if _, err := conn.Write(saleFrame(stan)); err != nil {
		return err
	}
	_, err := readFrame(conn)
	return err
}

// Who gets through to a listener that asks for certificates, and what is counted of
// who does not.
func TestF24WhoConnectsToASecuredListener(t *testing.T) {
	ours, theirs, strangers := certstest.NewAuthority(t), certstest.NewAuthority(t), certstest.NewAuthority(t)
	by := issue(ours)
	by.CA = theirs.File
	d := &desk{}
	s, _ := run(t, Config{Listeners: []Listener{listener(t, "cup-pos", by)}}, d)
	addr := s.Addrs()[0].String()
	hasty, _ := run(t, Config{Listeners: []Listener{listener(t, "cup-pos", by)}, FrameDeadline: 100 * time.Millisecond}, d)
	with := func(cert, key string) certs.Client { return certs.Client{CA: ours.File, Cert: cert, Key: key} }
	good := with(theirs.Issue())
	secured := func(c certs.Client, change func(*tls.Config)) func() error {
		return func() error {
			config := terms(t, c)
			if change != nil {
				change(config)
			}
			conn, err := shake(t, addr, config)
			if err != nil {
				return err
			}
			return ask(conn, 1)
		}
	}
	plain := func(s *Server, write []byte) func() error {
		return func() error {
			conn := dial(t, s.Addrs()[0].String())
			conn.Write(write)
			_, err := io.Copy(io.Discard, conn) // an alert, then the end
			if err == nil {
				err = io.EOF
			}
			return err
		}
	}
	for _, row := range []struct {
		name    string
		try     func() error
		through bool
		counted Cause
	}{
		{"TLS 1.3", secured(good, nil), true, ""},
		{"TLS 1.2", secured(good, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), true, ""},
		{"TLS 1.1", secured(good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), false, CauseHandshake},
		{"no certificate", secured(with("", ""), nil), false, CauseHandshake},
		{"a stranger's certificate", secured(with(strangers.Issue()), nil), false, CauseHandshake},
		{"one that has ended", secured(with(theirs.IssueUntil(time.Now().Add(-time.Minute))), nil), false, CauseHandshake},
		{"who does not know our authority", secured(certs.Client{CA: strangers.File, Cert: good.Cert, Key: good.Key}, nil), false, CauseHandshake},
		{"a frame without TLS", plain(s, saleFrame(1)), false, CauseHandshake},
		{"a hello of 60 KB", plain(s, bytes.Join([][]byte{{22, 3, 1, 64, 0, 1, 0, 240, 0}, make([]byte, 16380), {22, 3, 1, 64, 0}, make([]byte, 16384), {22, 3, 1, 64, 0}, make([]byte, 5000)}, nil)), false, CauseHandshake},
		{"half a hello, then silence", plain(hasty, []byte{22, 3, 1, 0, 200, 1}), false, CauseSlow},
		{"nothing", plain(hasty, nil), false, CauseSlow},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := 0
			for _, c := range Causes {
				before += d.count(c)
			}
			was := d.count(row.counted)
			if err := row.try(); (err == nil) != row.through {
				t.Errorf("it ends with: %v", err)
			}
			counted := 0
			eventually(t, "it is counted", func() bool { return row.counted == "" || d.count(row.counted) > was })
			for _, c := range Causes {
				counted += d.count(c)
			}
			if want := min(1, len(row.counted)); counted-before != want || row.counted != "" && d.count(row.counted) != was+1 {
				t.Errorf("counted %v", d.bad)
			}
		})
	}
	t.Run("who leaves before a word", func(t *testing.T) {
		dial(t, addr).Close()
		conn, err := shake(t, addr, terms(t, good))
		if err != nil || ask(conn, 2) != nil {
			t.Fatal("a terminal is not served after it")
		}
	})
}

// Certificates are read again: sessions that stand go on, a file that is wrong
// changes nothing, and nobody comes in any more by an authority that was taken out,
// nor by the ticket of an earlier session.
func TestF86TerminalsCertificatesAreReloaded(t *testing.T) {
	ours, first, next := certstest.NewAuthority(t), certstest.NewAuthority(t), certstest.NewAuthority(t)
	by := issue(ours)
	by.CA = first.File
	s, _ := run(t, Config{Listeners: []Listener{listener(t, "cup-pos", by)}}, &desk{})
	addr := s.Addrs()[0].String()
	if left := time.Until(s.CertificateEnds()[0]); left < 25*time.Minute || left > time.Hour/2 {
		t.Errorf("the first certificate ends in %v", left)
	}
	file := func(a *certstest.Authority) certs.Client {
		c := certs.Client{CA: ours.File}
		c.Cert, c.Key = a.Issue()
		return c
	}
	old, renewed := terms(t, file(first)), terms(t, file(next))
	old.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	sells := func(config *tls.Config, stan uint32) (net.Conn, bool) {
		t.Helper()
		conn, err := shake(t, addr, config)
		return conn, err == nil && ask(conn, stan) == nil
	}
	standing, ok := sells(old, 1)
	if !ok {
		t.Fatal("the first session is not served")
	}
	if conn, ok := sells(old, 2); !ok || !conn.(*tls.Conn).ConnectionState().DidResume {
		t.Error("a terminal that connects again does not resume its session")
	}
	read := func(path string) []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(by.CA, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("no certificate"))
	if err := s.ReloadTLS(); err == nil || !strings.Contains(err.Error(), "tls.ca") || !strings.Contains(err.Error(), "127.0.0.1:0") {
		t.Errorf("a wrong file is taken: %v", err)
	}
	if _, ok := sells(old, 3); !ok {
		t.Error("a wrong file is in force")
	}
	write(read(next.File))
	if err := s.ReloadTLS(); err != nil {
		t.Fatal(err)
	}
	if err := ask(standing, 4); err != nil {
		t.Errorf("a session that stood: %v", err)
	}
	if _, ok := sells(old, 5); ok {
		t.Error("the authority that was taken out lets in")
	}
	if _, ok := sells(renewed, 6); !ok {
		t.Error("the authority that follows does not let in")
	}
}

// Secured sessions are answered before a drain ends them, and are not handed over; a
// plain one is not taken over by a switch that speaks its dialect with TLS only.
func TestSecuredSessionsAreNotHandedOver(t *testing.T) {
	ours := certstest.NewAuthority(t)
	d := &desk{delay: func(req *txn.Request) time.Duration { return time.Duration(req.Key.STAN) * 200 * time.Millisecond }}
	cfg := Config{Listeners: []Listener{listener(t, "cup-pos", issue(ours)), listener(t, "cup-pos", nil)}}
	s, stop := run(t, cfg, d)
	idle, err := shake(t, s.Addrs()[0].String(), terms(t, certs.Client{CA: ours.File}))
	if err != nil {
		t.Fatal(err)
	}
	busy, err := shake(t, s.Addrs()[0].String(), terms(t, certs.Client{CA: ours.File}))
	if err != nil {
		t.Fatal(err)
	}
	plain := dial(t, s.Addrs()[1].String())
	eventually(t, "it is accepted", func() bool { open, _ := s.Sessions(); return open == 3 })
	if err := ask(idle, 0); err != nil { // which ends its handshake at both ends
		t.Fatal(err)
	}
	busy.Write(saleFrame(1))
	d.asked(2)
	s.Keep()
	stop()
	if _, err := readFrame(busy); err != nil {
		t.Errorf("in flight at the stop: %v", err)
	}
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the end of a session is not said: %v", err)
	}
	kept := s.Kept()
	if len(kept.Listeners) != 2 || len(kept.Sessions) != 1 {
		t.Fatalf("%d listeners and %d sessions are handed over", len(kept.Listeners), len(kept.Sessions))
	}
	secured := Config{Listeners: cfg.Listeners[:1]}
	next := New(secured, d, d, s.log)
	next.Adopt(kept)
	if _, err := plain.Write(saleFrame(2)); err != nil {
		t.Fatal(err)
	}
	start(t, next)
	if !closed(plain) {
		t.Error("a plain session goes on where there is TLS only")
	}
}

// Each frame in a POST of its own, over TLS too: every answer in its order, what is
// wrong counted, other sessions served.
func TestFramesInHTTP(t *testing.T) {
	ours := certstest.NewAuthority(t)
	plain, secured := listener(t, "cup-pos", nil), listener(t, "cup-pos", issue(ours))
	plain.HTTP, secured.HTTP = true, true
	d := &desk{}
	s, stop := run(t, Config{Listeners: []Listener{plain, secured}}, d)
	hasty, _ := run(t, Config{Listeners: []Listener{plain}, FrameDeadline: 100 * time.Millisecond}, d)
	at := func(i int) net.Conn {
		t.Helper()
		address, config := "http://"+s.Addrs()[0].String()+"/mjc/webtrans/VPB_lb", (*tls.Config)(nil)
		if i == 1 {
			address, config = "https://"+s.Addrs()[1].String()+"/", terms(t, certs.Client{CA: ours.File})
		}
		conn, err := transport.Dial(t.Context(), address, plain.Dialect, config, lastResort)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(lastResort))
		return conn
	}
	for i := range 2 {
		conn := at(i)
		for stan := range uint32(3) {
			if err := ask(conn, stan+1); err != nil {
				t.Errorf("listener %d, sale %d: %v", i, stan, err)
			}
		}
		if _, err := conn.Write(append(saleFrame(7), saleFrame(8)...)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := readFrame(conn); err != nil {
				t.Errorf("one after the other: %v", err)
			}
		}
	}
	sale := saleFrame(1)
	for say, cause := range map[string]Cause{
		string(sale):                                                 CauseUnparsable,
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                          CauseUnparsable,
		"POST /%zz HTTP/1.1\r\nHost: x\r\n\r\n":                      CauseUnparsable,
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n": CauseUnparsable,
		"POST / HTTP/1.1\r\nHost: x\r\n\r\n":                         CauseLength,
		"POST / HTTP/1.1\r\nHost: x\r\n":                             CauseSlow,
		"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\x00\x02":       CauseSlow,
	} {
		before, at := d.count(cause), s
		if cause == CauseSlow {
			at = hasty
		}
		conn := dial(t, at.Addrs()[0].String())
		io.WriteString(conn, say)
		io.Copy(io.Discard, conn)
		eventually(t, "it is counted", func() bool { return d.count(cause) > before })
		if d.count(cause) != before+1 {
			t.Errorf("%q: counted %v, wanted one more %s", say, d.bad, cause)
		}
	}
	for what, say := range map[string]string{
		"a head": "POST / HTTP/1.1\r\nHost: x\r\n", "a body": "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\x00\x02",
		"a chunk": "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\x00",
	} {
		before := d.count(CauseTruncated)
		conn := dial(t, s.Addrs()[0].String())
		io.WriteString(conn, say)
		eventually(t, "it is being read", s.reading)
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close() // a reset
		eventually(t, "it is counted", func() bool { return d.count(CauseTruncated) > before })
		if d.count(CauseTruncated) != before+1 {
			t.Errorf("reset in %s: counted %v", what, d.bad)
		}
	}
	busy := at(0)
	d.delay = func(*txn.Request) time.Duration { return 200 * time.Millisecond }
	d.mu.Lock()
	before := d.requests
	d.mu.Unlock()
	busy.Write(saleFrame(9))
	d.asked(before + 1)
	s.Keep()
	stop()
	if _, err := readFrame(busy); err != nil {
		t.Errorf("in flight at the stop: %v", err)
	}
	if n := len(s.Kept().Sessions); n > 0 {
		t.Errorf("%d sessions are handed over", n)
	}
}

// Handshakes take turns at the processors, and who says nothing more has none.
func TestF78HandshakesTakeTurns(t *testing.T) {
	ours := certstest.NewAuthority(t)
	d := &desk{}
	s, _ := run(t, Config{Listeners: []Listener{listener(t, "cup-pos", issue(ours)), listener(t, "cup-pos", nil)}}, d)
	addr, config := s.Addrs()[0].String(), terms(t, certs.Client{CA: ours.File})
	var hello []byte
	here, there := net.Pipe()
	go tls.Client(here, &tls.Config{ServerName: "127.0.0.1", RootCAs: config.RootCAs}).Handshake()
	hello = make([]byte, 4096)
	n, err := there.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	here.Close()
	for range 2 * cap(s.turns) {
		dial(t, addr).Write(hello[:n])
	}
	conn, err := shake(t, addr, config)
	if err != nil || ask(conn, 1) != nil {
		t.Fatalf("beside hellos that nothing follows: %v", err)
	}
	for range cap(s.turns) {
		s.turns <- struct{}{}
	}
	shaken := make(chan error, 1)
	go func() {
		conn, err := transport.Dial(context.Background(), addr, nil, config, lastResort)
		if err == nil {
			conn.Close()
		}
		shaken <- err
	}()
	if err := ask(dial(t, s.Addrs()[1].String()), 2); err != nil {
		t.Errorf("a plain session while all turns are taken: %v", err)
	}
	select {
	case err := <-shaken:
		t.Errorf("a handshake is made out of turn: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := ask(conn, 3); err != nil {
		t.Errorf("a session that stood while all turns are taken: %v", err)
	}
	for range cap(s.turns) {
		<-s.turns
	}
	if err := <-shaken; err != nil {
		t.Errorf("a handshake in its turn: %v", err)
	}
}

// A session waits for its answer also where it may be idle for less than that takes.
func TestSessionWithARequestIsNotIdle(t *testing.T) {
	web := listener(t, "cup-pos", nil)
	web.HTTP = true
	d := &desk{delay: func(*txn.Request) time.Duration { return 600 * time.Millisecond }}
	s, _ := run(t, Config{Listeners: []Listener{web, listener(t, "cup-pos", nil)}, InFlightMax: 1, IdleMax: 200 * time.Millisecond}, d)
	for i, scheme := range []string{"http://", ""} {
		var conn net.Conn
		for asked := false; !asked; { // unless it was idle before it asked
			var err error
			if conn, err = transport.Dial(t.Context(), scheme+s.Addrs()[i].String(), web.Dialect, nil, lastResort); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(lastResort))
			err = ask(conn, uint32(i+1))
			d.mu.Lock()
			asked = d.requests > i
			d.mu.Unlock()
			if asked && err != nil {
				t.Errorf("listener %d: %v", i, err)
			}
		}
		if !closed(conn) {
			t.Errorf("listener %d: an idle session stays", i)
		}
	}
}

// A terminal that does not read is closed at once, whatever TLS would like to say.
func TestF42SecuredPeerThatDoesNotReadIsClosed(t *testing.T) {
	ours := certstest.NewAuthority(t)
	d := &desk{}
	s, _ := run(t, Config{Listeners: []Listener{listener(t, "cup-pos", issue(ours))}, WriteDeadline: 300 * time.Millisecond}, d)
	conn, err := shake(t, s.Addrs()[0].String(), terms(t, certs.Client{CA: ours.File}))
	if err != nil {
		t.Fatal(err)
	}
	conn.(*tls.Conn).NetConn().(*net.TCPConn).SetReadBuffer(4096) // soon full
	flood(conn)
	eventually(t, "it is closed", func() bool { return d.count(CauseStalled) > 0 })
	if d.count(CauseStalled) != 1 {
		t.Errorf("counted %v", d.bad)
	}
}
