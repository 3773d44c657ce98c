package issuer_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// cupsPeer is UnionPay's network under a test's direct control: frames that it
// reads are on asked, and what is on says goes out.
type cupsPeer struct {
	link  *dialect.Link
	asked chan *iso.Message
	says  chan []byte
	ended chan struct{} // the test has
}

// listenCUPS takes one link until the test ends.
func listenCUPS(t *testing.T) (*cupsPeer, string) {
	t.Helper()
	link, err := dialect.LinkOf("cups")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cupsPeer{link: link, asked: make(chan *iso.Message, 10), says: make(chan []byte, 10), ended: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			p.read(conn)
		}()
		for {
			select {
			case frame := <-p.says:
				conn.Write(frame)
			case <-gone:
				return
			case <-p.ended:
				conn.Close()
				<-gone
				return
			}
		}
	}()
	t.Cleanup(func() { close(p.ended); l.Close(); <-done })
	return p, l.Addr().String()
}

func (p *cupsPeer) read(conn net.Conn) {
	for {
		var prefix [4]byte
		if _, err := io.ReadFull(conn, prefix[:]); err != nil {
			return
		}
		n, err := p.link.Codec().ReadLength(prefix[:])
		if err != nil {
			return
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		m := new(iso.Message)
		if err := p.link.Codec().Parse(m, body); err != nil {
			return
		}
		if m.MTI() == 0x0820 {
			p.says <- p.answer(m, "00", "")
		}
		select {
		case p.asked <- m:
		case <-p.ended:
			return
		}
	}
}

// answer is the answer to m, length included.
func (p *cupsPeer) answer(m *iso.Message, code, day string) []byte {
	e := p.link.BeginAnswer(nil, m)
	for _, n := range [...]int{2, 3, 4, 7, 11} {
		e.Copy(n, m)
	}
	if day != "" {
		e.Digits(15, []byte(day))
	}
	e.Text(39, []byte(code))
	for _, n := range [...]int{41, 49, 70} {
		e.Copy(n, m)
	}
	frame, err := e.Finish()
	if err != nil {
		panic(err)
	}
	return frame
}

func (p *cupsPeer) next(t *testing.T, mti uint16) *iso.Message {
	t.Helper()
	select {
	case m := <-p.asked:
		if m.MTI() != mti {
			t.Fatalf("got %04x, want %04x", m.MTI(), mti)
		}
		return m
	case <-time.After(10 * time.Second):
		t.Fatalf("no %04x came", mti)
	}
	return nil
}

// TestCUPSLink lives a link to UnionPay's network: it signs on, asks for life, is
// told of a cut-over, and takes a message that comes back for a refusal.
func TestCUPSLink(t *testing.T) {
	p, addr := listenCUPS(t)
	b := start(t, addr, func(c *issuer.Config) { c.Dialect, c.EchoEvery = "cups", 50*time.Millisecond })
	if m := p.next(t, 0x0820); string(m.Value(70)) != "001" {
		t.Fatalf("the link begins with 0820/%s", m.Value(70))
	}
	b.up(1)
	if m := p.next(t, 0x0820); string(m.Value(70)) != "301" || string(m.Value(33)) != "48802900" {
		t.Errorf("silence is asked for with 0820/%s of %q", m.Value(70), m.Value(33))
	}
	header := iso.MakeCUPSHeader("48802900", "00010000")
	e := p.link.Codec().Begin(nil, nil, header[:], 0x0820)
	e.Widen()
	for _, v := range [...]struct {
		field int
		value string
	}{{7, "1123230000"}, {11, "000009"}, {15, "1124"}, {33, "00010000"}, {70, "201"}} {
		e.Digits(v.field, []byte(v.value))
	}
	cutOver, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	p.says <- cutOver
	for m := range p.asked {
		if m.MTI() != 0x0830 { // an echo
			continue
		}
		if string(m.Value(39)) != "00" || string(m.Value(70)) != "201" || string(m.Value(33)) != "00010000" || string(m.Header()[6:14]) != "00010000" {
			t.Errorf("the cut-over is answered %q, %q, from %q, header %q", m.Value(39), m.Value(70), m.Value(33), m.Header())
		}
		break
	}

	sell := func(ask func(*txn.Request) result, answer func(m *iso.Message) []byte) result {
		t.Helper()
		got := make(chan result)
		go func() { got <- ask(sale("10000001", 100)) }()
		for m := range p.asked {
			if m.MTI() == 0x0200 {
				if frame := answer(m); frame != nil {
					p.says <- frame
				}
				return <-got
			}
		}
		panic("unreachable")
	}
	for _, c := range []struct {
		name    string
		answer  func(m *iso.Message) []byte
		outcome txn.Outcome
		reason  txn.Reason
		code    string
		day     string
	}{
		{"approved on the day that was begun", func(m *iso.Message) []byte { return p.answer(m, "00", "") }, txn.OutcomeApproved, txn.Approved, "00", "1124"},
		{"approved on a day of its own", func(m *iso.Message) []byte { return p.answer(m, "00", "1123") }, txn.OutcomeApproved, txn.Approved, "00", "1123"},
		{"declined", func(m *iso.Message) []byte { return p.answer(m, "51", "") }, txn.OutcomeDeclined, txn.IssuerDeclined, "51", "1124"},
		{"no answer of the issuer", func(m *iso.Message) []byte { return p.answer(m, "98", "") }, txn.OutcomeDeclined, txn.IssuerDeclined, "98", "1124"},
		{"given back", func(m *iso.Message) []byte {
			frame, err := p.link.Codec().Append(nil, m)
			if err != nil {
				panic(err)
			}
			copy(frame[4+41:], "30004")
			return frame
		}, txn.OutcomeDeclined, txn.IssuerDeclined, "30", "1124"},
		{"answered in a frame whose header disagrees", func(m *iso.Message) []byte {
			frame := p.answer(m, "00", "")
			frame[4+5]++
			return frame
		}, txn.OutcomeUnknown, txn.IssuerDidNotAnswer, "\x00\x00", "\x00\x00\x00\x00"},
	} {
		ask := b.exchange
		if c.outcome == txn.OutcomeUnknown {
			ask = b.unanswered
		}
		got := sell(ask, c.answer)
		got.want(t, c.outcome, c.reason)
		if string(got.reply.Code[:]) != c.code || string(got.reply.SettlementDate[:]) != c.day {
			t.Errorf("%s: code %q, day %q", c.name, got.reply.Code, got.reply.SettlementDate)
		}
	}
	b.tells(2)
	b.read(func() {
		if !slices.Contains(b.cutOvers, "1124") {
			t.Errorf("told of cut-overs to %s", strings.Join(b.cutOvers, ", "))
		}
	})
}

// TestCUPSMAC: an answer whose MAC is not its own is no answer: what was asked is
// unknown, and a reversal is owed; and it is counted.
func TestCUPSMAC(t *testing.T) {
	p, addr := listenCUPS(t)
	b := start(t, addr, func(c *issuer.Config) {
		c.Dialect, c.MAC, c.EchoEvery = "cups", "x9.9", -1
	}).up(1)
	p.next(t, 0x0820)
	for _, c := range []struct {
		mac     string
		outcome txn.Outcome
		reason  txn.Reason
		counted int
	}{
		{"31313131", txn.OutcomeApproved, txn.Approved, 0},
		{"31313132", txn.OutcomeUnknown, txn.IssuerDidNotAnswer, 1},
		{"", txn.OutcomeUnknown, txn.IssuerDidNotAnswer, 2},
	} {
		got := make(chan result)
		ask := b.exchange
		if c.outcome == txn.OutcomeUnknown {
			ask = b.unanswered
		}
		go func() { got <- ask(sale("10000001", 100)) }()
		m := p.next(t, 0x0200)
		if string(m.Value(128)) != "31313131" {
			t.Errorf("the sale has the MAC %q", m.Value(128))
		}
		e := p.link.BeginAnswer(nil, m)
		for _, n := range [...]int{4, 7, 11} {
			e.Copy(n, m)
		}
		e.Text(39, []byte("00"))
		for _, n := range [...]int{41, 49} {
			e.Copy(n, m)
		}
		if c.mac != "" {
			e.Bytes(128, []byte(c.mac))
		}
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		p.says <- frame
		(<-got).want(t, c.outcome, c.reason)
		b.tells(c.counted)
	}
}
