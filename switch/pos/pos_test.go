package pos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is an Acquirer and Observer that approves, after delay, and counts. It
// fails the test when a request is answered twice.
type desk struct {
	t     testing.TB
	delay func(*txn.Request) time.Duration

	mu          sync.Mutex
	requests    int
	finished    int
	undelivered int
	bad         map[Cause]int
}

func (d *desk) Authorize(req *txn.Request, ans *txn.Answer) {
	d.mu.Lock()
	d.requests++
	d.mu.Unlock()
	if d.delay != nil {
		time.Sleep(d.delay(req))
	}
	ans.Acquirer = "48802900"
	ans.Time, ans.Date = [6]byte([]byte("120000")), [4]byte([]byte("1122"))
	ans.RRN = [12]byte([]byte("326000000001"))
	ans.Code = dialect.Code(req.Dialect, ans.Reason, ans.Reply.Code)
}

func (d *desk) Sign(*txn.Request, []byte) ([8]byte, error) {
	return [8]byte{}, errors.New("nothing is signed")
}

func (d *desk) Undelivered(*txn.Request, *txn.Answer) { d.mu.Lock(); d.undelivered++; d.mu.Unlock() }

func (d *desk) Finish(*txn.Request, *txn.Answer, string) { d.mu.Lock(); d.finished++; d.mu.Unlock() }

func (d *desk) BadFrame(_ string, c Cause) { d.mu.Lock(); d.bad[c]++; d.mu.Unlock() }

func (d *desk) count(c Cause) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bad[c]
}

// asked waits until n requests have come, with those before.
func (d *desk) asked(n int) {
	d.t.Helper()
	eventually(d.t, "requests at the desk", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.requests == n
	})
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

// reading says whether a session is in the middle of a frame.
func (s *Server) reading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss := range s.sessions {
		if ss.frameBegan.Load() != 0 {
			return true
		}
	}
	return false
}

// open runs a server with cfg on a free port for each dialect.
func open(t testing.TB, cfg Config, d *desk) (cup, iso87 string, stop func()) {
	t.Helper()
	for _, name := range []string{"cup-pos", "iso87"} {
		cfg.Listeners = append(cfg.Listeners, listener(t, name, nil))
	}
	s, stop := run(t, cfg, d)
	return s.Addrs()[0].String(), s.Addrs()[1].String(), stop
}

// listener is one on a free port.
func listener(t testing.TB, name string, by *certs.Server) Listener {
	t.Helper()
	d, err := dialect.ForTerminal(name)
	if err != nil {
		t.Fatal(err)
	}
	return Listener{Address: "127.0.0.1:0", Dialect: d, TLS: by}
}

// run runs a server until stop, or the end of the test.
func run(t testing.TB, cfg Config, d *desk) (s *Server, stop func()) {
	t.Helper()
	d.t, d.bad = t, map[Cause]int{}
	s = New(cfg, d, d, slog.New(slog.DiscardHandler))
	return s, start(t, s)
}

func start(t testing.TB, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// saleFrame is the specification's CUP sale without its MAC, under a STAN.
func saleFrame(stan uint32) []byte {
	const sale = "006A600003000060310031000002007024048000C08010" +
		"19622202123456789012800000000000000123450000023012051000" + "3130303030303031" + "393939323930303534313130303031" + "313536" + "0013" + "22000001000600"
	b, err := hex.DecodeString(sale)
	if err != nil {
		panic(err)
	}
	at := bytes.Index(b, []byte{0x00, 0x00, 0x02, 0x30, 0x12})
	b[at], b[at+1], b[at+2] = byte(stan/100000%10<<4|stan/10000%10), byte(stan/1000%10<<4|stan/100%10), byte(stan/10%10<<4|stan%10)
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return b
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(lastResort))
	return c
}

func readFrame(r io.Reader) ([]byte, error) {
	var p [2]byte
	if _, err := io.ReadFull(r, p[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(p[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// flood makes sales until conn is closed.
func flood(conn net.Conn) {
	var frames []byte
	for stan := range uint32(200) {
		frames = append(frames, saleFrame(stan+1)...)
	}
	go func() {
		for {
			if _, err := conn.Write(frames); err != nil {
				return
			}
		}
	}()
}

// closed says that the peer ended the session without another byte.
func closed(c net.Conn) bool {
	var b [1]byte
	n, err := c.Read(b[:])
	var timeout net.Error
	return n == 0 && err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

func mutate(b []byte, f func([]byte) []byte) []byte {
	b = f(bytes.Clone(b))
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return b
}

// Each kind of bad input has one outcome and one counter, and another session
// is served before, while and after it.
func TestF19BadInput(t *testing.T) {
	d := &desk{}
	cup, _, _ := open(t, Config{FrameDeadline: 300 * time.Millisecond, WriteDeadline: 10 * time.Second}, d)
	const mti, bitmap, amount = 13, 15, 35 // offsets in a frame with its length
	sale := saleFrame(2)
	tls, _ := hex.DecodeString("16030100f1010000ed0303")
	for _, c := range []struct {
		name  string
		send  []byte
		cause Cause
		code  string // of the answer; "" when the session closes, "-" when it is ignored
	}{
		{"keep-alives", make([]byte, 2000), "", "-"},
		{"a keep-alive before a request", append([]byte{0, 0}, sale...), "", "00"},
		{"length 1", []byte{0, 1, 0x60}, CauseLength, ""},
		{"length over the cap", []byte{0xFF, 0xFF}, CauseLength, ""},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), CauseLength, ""},
		{"TLS hello", tls, CauseLength, ""},
		{"half a frame, then silence", sale[:40], CauseSlow, ""},
		{"one byte, then silence", sale[:1], CauseSlow, ""},
		{"unknown MTI: the acquirer's to refuse", mutate(sale, func(b []byte) []byte { b[mti] = 0x06; return b }), "", "00"},
		{"response MTI", mutate(sale, func(b []byte) []byte { b[mti+1] = 0x10; return b }), CauseResponse, "-"},
		{"MTI that is no number", mutate(sale, func(b []byte) []byte { b[mti] = 0xAB; return b }), CauseUnparsable, ""},
		{"bitmap promises a field that is not there", mutate(sale, func(b []byte) []byte { b[bitmap+7] |= 0x08; return b }), CauseFormat, "30"},
		{"bitmap hides a field that is there", mutate(sale, func(b []byte) []byte { b[bitmap+7] &^= 0x10; return b }), CauseFormat, "30"},
		{"bit 1 of the bitmap", mutate(sale, func(b []byte) []byte { b[bitmap] |= 0x80; return b }), CauseUnparsable, ""},
		{"non-decimal amount before anybody is named", mutate(sale, func(b []byte) []byte { b[amount+4] = 0x1F; return b }), CauseFormat, "30"},
		{"non-decimal amount, and nothing fits behind it", mutate(sale, func(b []byte) []byte { b[amount+4] = 0x1F; return append(b, 0) }), CauseUnparsable, ""},
		{"non-decimal DE60", mutate(sale, func(b []byte) []byte { b[len(b)-3] = 0xF1; return b }), CauseFormat, "30"},
		{"LLL over its maximum", mutate(sale, func(b []byte) []byte { b[len(b)-8] = 0x99; return b }), CauseFormat, "30"},
		{"trailing bytes", mutate(sale, func(b []byte) []byte { return append(b, 0) }), CauseFormat, "30"},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := dial(t, cup)
			before := d.count(c.cause)
			conn := dial(t, cup)
			if _, err := conn.Write(c.send); err != nil {
				t.Fatal(err)
			}
			other.Write(saleFrame(7))
			if _, err := readFrame(other); err != nil {
				t.Errorf("another session meanwhile: %v", err)
			}
			switch c.code {
			case "":
				if !closed(conn) {
					t.Error("the session stays open")
				}
			case "-":
				conn.Write(saleFrame(9))
				if b, err := readFrame(conn); err != nil || !bytes.Contains(b, []byte("00")) {
					t.Errorf("the next request: %x %v", b, err)
				}
			default:
				b, err := readFrame(conn)
				if err != nil {
					t.Fatal(err)
				}
				if b[12]&0x10 == 0 || !bytes.Contains(b, []byte(c.code)) {
					t.Errorf("answer %x, want code %s", b, c.code)
				}
			}
			if c.cause != "" {
				eventually(t, "it is counted", func() bool { return d.count(c.cause) > before })
				if got := d.count(c.cause) - before; got != 1 {
					t.Errorf("counted %d as %s, want 1", got, c.cause)
				}
			}
		})
	}
}

func TestF22OneByteASecondIsCutOff(t *testing.T) {
	d := &desk{}
	cup, _, _ := open(t, Config{FrameDeadline: 200 * time.Millisecond}, d)
	conn := dial(t, cup)
	for _, b := range saleFrame(1) {
		if _, err := conn.Write([]byte{b}); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !closed(conn) {
		t.Error("the session stays open")
	}
	eventually(t, "it is counted", func() bool { return d.count(CauseSlow) == 1 })
	if d.requests != 0 {
		t.Errorf("%d requests", d.requests)
	}
}

// However a frame is cut, and however many come in one segment, each has its
// answer.
func TestF23FramesInAnySegments(t *testing.T) {
	d := &desk{}
	cup, _, _ := open(t, Config{}, d)
	conn := dial(t, cup)
	conn.(*net.TCPConn).SetNoDelay(true)
	frame := saleFrame(1)
	asked := 0
	answered := func(n int) {
		t.Helper()
		for range n {
			if _, err := readFrame(conn); err != nil {
				t.Fatal(err)
			}
			asked++
		}
	}
	for cut := range frame {
		conn.Write(frame[:cut])
		time.Sleep(time.Millisecond)
		conn.Write(frame[cut:])
		answered(1)
	}
	conn.Write(bytes.Repeat(frame, 5))
	answered(5)
	conn.Write(append(bytes.Repeat(frame, 2), frame[:9]...))
	answered(2)
	conn.Write(frame[9:])
	answered(1)
	if d.requests != asked {
		t.Errorf("%d requests, want %d", d.requests, asked)
	}
}

func TestAnswerGoesBackThroughTheSwappedTPDU(t *testing.T) {
	cup, _, _ := open(t, Config{}, &desk{})
	conn := dial(t, cup)
	conn.Write(saleFrame(123456))
	b, err := readFrame(conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b[:13]); got != "60000000036031003100000210" {
		t.Errorf("answer starts %s", got)
	}
	if !bytes.Contains(b, []byte{0x12, 0x34, 0x56}) {
		t.Error("the answer does not repeat DE11")
	}
}

// A slow request does not hold up the ones behind it on the same session, and
// however the bytes arrive the requests are the same.
func TestManyInFlightOnOneSession(t *testing.T) {
	others := make(chan struct{})
	d := &desk{delay: func(r *txn.Request) time.Duration {
		if r.Key.STAN == 1 {
			<-others
		}
		return 0
	}}
	cup, _, _ := open(t, Config{}, d)
	conn := dial(t, cup)
	var all []byte
	for stan := range uint32(100) {
		all = append(all, saleFrame(stan+1)...)
	}
	go func() {
		for len(all) > 0 { // segments that end anywhere
			n := min(len(all), 61)
			conn.Write(all[:n])
			all = all[n:]
		}
	}()
	r := bufio.NewReader(conn)
	seen := map[string]bool{}
	for i := range 100 {
		if i == 99 {
			close(others)
		}
		b, err := readFrame(r)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		at := bytes.Index(b, []byte{0x00, 0x00, 0x01, 0x23, 0x45}) + 5
		stan := hex.EncodeToString(b[at : at+3])
		if seen[stan] {
			t.Errorf("STAN %s answered twice", stan)
		}
		seen[stan] = true
		if last := i == 99; last != (stan == "000001") {
			t.Errorf("answer %d is of STAN %s", i, stan)
		}
	}
}

// Workers are kept for the next frames, but not for ever those of the busiest moment
// that there was.
func TestWorkersOfAPeakLeave(t *testing.T) {
	const peak = 50
	all := make(chan struct{})
	d := &desk{t: t, bad: map[Cause]int{}, delay: func(*txn.Request) time.Duration { <-all; return 0 }}
	cup, _, _ := open(t, Config{IdleMax: time.Second}, d) // in which each of them has asked
	before := runtime.NumGoroutine()
	for stan := range uint32(peak) {
		dial(t, cup).Write(saleFrame(stan + 1))
	}
	d.asked(peak)
	if n := runtime.NumGoroutine(); n < before+peak {
		t.Fatalf("%d goroutines with %d frames in flight, %d before", n, peak, before)
	}
	close(all)
	eventually(t, "workers leave", func() bool { return runtime.NumGoroutine() < before+peak/2 })
}

func TestInFlightMaxHoldsTheSessionBack(t *testing.T) {
	release := make(chan struct{})
	d := &desk{delay: func(*txn.Request) time.Duration { <-release; return 0 }}
	cup, _, _ := open(t, Config{InFlightMax: 3}, d)
	conn := dial(t, cup)
	for stan := range uint32(10) {
		conn.Write(saleFrame(stan + 1))
	}
	d.asked(3)
	time.Sleep(100 * time.Millisecond)
	d.asked(3) // and no more
	close(release)
	for range 10 {
		if _, err := readFrame(conn); err != nil {
			t.Fatal(err)
		}
	}
}

func TestF78SessionCaps(t *testing.T) {
	d := &desk{}
	cup, _, _ := open(t, Config{SessionsMax: 10, SessionsPerAddressMax: 4}, d)
	var open []net.Conn
	for range 4 {
		c := dial(t, cup)
		c.Write(saleFrame(1))
		if _, err := readFrame(c); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if c := dial(t, cup); !closed(c) {
		t.Error("a fifth session from one address is served")
	}
	if d.count(CauseSessions) != 1 {
		t.Errorf("counted %d", d.count(CauseSessions))
	}
	open[0].Close()
	eventually(t, "the place of a closed session is given to another", func() bool {
		c := dial(t, cup)
		c.Write(saleFrame(1))
		_, err := readFrame(c)
		return err == nil
	})
}

func TestF83DrainAnswersWhatIsInFlight(t *testing.T) {
	d := &desk{delay: func(*txn.Request) time.Duration { return 300 * time.Millisecond }}
	cup, _, stop := open(t, Config{}, d)
	idle, busy := dial(t, cup), dial(t, cup)
	busy.Write(saleFrame(1))
	d.asked(1)
	go stop()
	if _, err := readFrame(busy); err != nil {
		t.Errorf("in flight at the stop: %v", err)
	}
	if !closed(idle) {
		t.Error("an idle session survives the stop")
	}
	stop()
	if _, err := net.DialTimeout("tcp", cup, time.Second); err == nil {
		t.Error("still accepting")
	}
}

func TestF42PeerThatDoesNotReadIsClosedAndItsAnswersUndelivered(t *testing.T) {
	d := &desk{}
	cup, _, _ := open(t, Config{WriteDeadline: 300 * time.Millisecond}, d)
	conn := dial(t, cup).(*net.TCPConn)
	conn.SetReadBuffer(4096) // soon full
	flood(conn)
	eventually(t, "it is closed", func() bool { return d.count(CauseStalled) > 0 })
	conn.Close()
	eventually(t, "its answers are undelivered", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.undelivered > 0
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bad[CauseStalled] != 1 {
		t.Errorf("stalled %d, requests %d, finished %d, %v", d.bad[CauseStalled], d.requests, d.finished, d.bad)
	}
}

// A stop, or an upgrade, does not wait as long for a terminal that does not read its
// answers as a session that goes on does.
func TestF83DrainDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	d := &desk{}
	cup, _, stop := open(t, Config{WriteDeadline: 20 * time.Second}, d)
	conn := dial(t, cup).(*net.TCPConn)
	conn.SetReadBuffer(4096) // soon full
	flood(conn)
	finished := -1
	eventually(t, "no answer is written any more", func() bool {
		time.Sleep(200 * time.Millisecond)
		d.mu.Lock()
		defer d.mu.Unlock()
		before := finished
		finished = d.finished
		return before == finished && d.requests > finished
	})
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if d.undelivered == 0 || d.bad[CauseStalled] != 1 {
		t.Errorf("%d undelivered, %v", d.undelivered, d.bad)
	}
}

func TestIdleSessionIsClosed(t *testing.T) {
	cup, _, _ := open(t, Config{IdleMax: 150 * time.Millisecond}, &desk{})
	if !closed(dial(t, cup)) {
		t.Error("an idle session stays open")
	}
}

func TestHalfClosedPeerIsStillAnswered(t *testing.T) {
	d := &desk{delay: func(*txn.Request) time.Duration { return 100 * time.Millisecond }}
	cup, _, _ := open(t, Config{}, d)
	conn := dial(t, cup).(*net.TCPConn)
	conn.Write(saleFrame(1))
	conn.CloseWrite()
	if _, err := readFrame(conn); err != nil {
		t.Error(err)
	}
}
