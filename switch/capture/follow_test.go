package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/acqswitch/acqswitch/iso"
)

// tape makes a pcap of one TCP session, packet by packet.
type tape struct {
	t     testing.TB
	link  string // ethernet, offloaded, vlan, vlan 0x9100, sll, sll2, raw, null
	six   bool
	at    time.Time
	seq   [2]uint32
	ports [2]uint16
	all   [][]byte
	times []time.Time
}

func newTape(t testing.TB, link string, six bool) *tape {
	return &tape{t: t, link: link, six: six, at: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC), seq: [2]uint32{0xFFFFFF00, 7000}, ports: [2]uint16{40001, 8583}}
}

// segment is a packet from a side (0 the client), whose sequence number does not
// move on.
func (p *tape) segment(side int, seq uint32, tcp layers.TCP, payload []byte) {
	p.t.Helper()
	p.at = p.at.Add(time.Millisecond)
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(p.ports[side]), layers.TCPPort(p.ports[1-side])
	tcp.Seq, tcp.Ack, tcp.Window = seq, p.seq[1-side], 60000
	addr := [2]net.IP{net.IPv4(10, 0, 0, 9).To4(), net.IPv4(10, 0, 0, 1).To4()}
	var network gopacket.SerializableLayer
	kind := layers.EthernetTypeIPv4
	if p.six {
		addr = [2]net.IP{net.ParseIP("fd00::9"), net.ParseIP("fd00::1")}
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: addr[side], DstIP: addr[1-side]}
		tcp.SetNetworkLayerForChecksum(ip)
		network, kind = ip, layers.EthernetTypeIPv6
	} else {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: addr[side], DstIP: addr[1-side]}
		tcp.SetNetworkLayerForChecksum(ip)
		network = ip
	}
	stack := []gopacket.SerializableLayer{network, &tcp, gopacket.Payload(payload)}
	ether := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: kind}
	var head []byte
	switch p.link {
	case "ethernet", "offloaded":
		stack = append([]gopacket.SerializableLayer{ether}, stack...)
	case "vlan", "vlan 0x9100":
		ether.EthernetType = layers.EthernetTypeDot1Q
		if p.link == "vlan 0x9100" {
			ether.EthernetType = 0x9100
		}
		stack = append([]gopacket.SerializableLayer{ether, &layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeDot1Q}, &layers.Dot1Q{VLANIdentifier: 9, Type: kind}}, stack...)
	case "sll": // packet type, ARPHRD, address length 6, address 8, protocol
		head = append([]byte{0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0}, byte(kind>>8), byte(kind))
	case "sll2": // protocol, reserved, interface, ARPHRD, type, length, address
		head = append([]byte{byte(kind >> 8), byte(kind)}, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0)
	case "null":
		head = []byte{2, 0, 0, 0}
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		p.t.Fatal(err)
	}
	packet := append(head, b.Bytes()...)
	if p.link == "offloaded" && len(payload) > 0 { // the length of the IP packet is 0
		copy(packet[14+map[bool]int{false: 2, true: 4}[p.six]:], "\x00\x00")
	}
	p.all = append(p.all, packet)
	p.times = append(p.times, p.at)
}

func (p *tape) open() {
	p.segment(0, p.seq[0], layers.TCP{SYN: true}, nil)
	p.seq[0]++
	p.segment(1, p.seq[1], layers.TCP{SYN: true, ACK: true}, nil)
	p.seq[1]++
}

func (p *tape) send(side int, payload []byte) {
	p.segment(side, p.seq[side], layers.TCP{ACK: true, PSH: true}, payload)
	p.seq[side] += uint32(len(payload))
}

// lose moves on as if a packet had been sent that the capture lacks.
func (p *tape) lose(side int, payload []byte) { p.seq[side] += uint32(len(payload)) }

func (p *tape) file() []byte {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	link := map[string]layers.LinkType{"ethernet": layers.LinkTypeEthernet, "vlan": layers.LinkTypeEthernet, "vlan 0x9100": layers.LinkTypeEthernet, "offloaded": layers.LinkTypeEthernet, "sll": layers.LinkTypeLinuxSLL,
		"sll2": layers.LinkTypeLinuxSLL2, "raw": layers.LinkTypeRaw, "null": layers.LinkTypeNull}[p.link]
	if err := w.WriteFileHeader(65535, link); err != nil {
		p.t.Fatal(err)
	}
	for i, data := range p.all {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.times[i], CaptureLength: len(data), Length: len(data)}, data); err != nil {
			p.t.Fatal(err)
		}
	}
	return b.Bytes()
}

// heard is a sink that notes what it is told.
type heard struct {
	sessions []*Session
	messages []string
	troubles []string
	closed   int
}

func (h *heard) Open(s *Session) error { h.sessions = append(h.sessions, s); return nil }
func (h *heard) Message(s *Session, up bool, frame []byte, _ time.Time) error {
	var m iso.Message
	if err := s.Dialect.Parse(&m, frame); err != nil {
		h.messages = append(h.messages, "unread")
		return nil
	}
	h.messages = append(h.messages, fmt.Sprintf("%04x %s %v", m.MTI(), m.AppendDigits(nil, 11), up))
	return nil
}
func (h *heard) Trouble(_ *Session, why string) error {
	h.troubles = append(h.troubles, why)
	return nil
}
func (h *heard) Close(*Session) error { h.closed++; return nil }

// message is a small message of a dialect.
func message(t testing.TB, d *Dialect, mti uint16, stan int) []byte {
	t.Helper()
	var tpdu, header []byte
	if d.Codec.Framing().TPDU {
		tpdu, header = terminalTPDU, terminalHeader
	}
	e := d.Codec.Begin(nil, tpdu, header, mti)
	e.Digits(2, []byte(secretPAN))
	e.Digits(3, []byte("000000"))
	e.Digits(4, []byte("000000001250"))
	e.Digits(11, fmt.Appendf(nil, "%06d", stan))
	if isAnswer(mti) {
		e.Text(37, []byte("326000000001"))
		e.Text(39, []byte("00"))
	}
	e.Text(41, []byte("10000001"))
	e.Text(42, []byte("999290054110001"))
	e.Text(49, []byte("156"))
	frame, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// On every link, over both IP versions, the dialect is found out and every
// message read, also where sequence numbers wrap.
func TestFollowLinksAndDialects(t *testing.T) {
	for _, link := range []string{"ethernet", "vlan", "vlan 0x9100", "offloaded", "sll", "sll2", "raw", "null"} {
		for _, six := range []bool{false, true} {
			if six && link == "null" {
				continue // its family number differs by system
			}
			for _, d := range Dialects() {
				t.Run(fmt.Sprintf("%s, IPv6 %v, %s", link, six, d.Name), func(t *testing.T) {
					p := newTape(t, link, six)
					p.open()
					for stan := 1; stan <= 3; stan++ {
						p.send(0, message(t, d, 0x0200, stan))
						p.send(1, message(t, d, 0x0210, stan))
					}
					var h heard
					stats, err := Follow(bytes.NewReader(p.file()), Options{Dialects: Dialects()}, &h)
					if err != nil || stats.Packets != 8 {
						t.Fatalf("%+v, %v", stats, err)
					}
					if len(h.sessions) != 1 || h.sessions[0].Dialect.Name != d.Name || h.sessions[0].Sure() != 1 || h.closed != 1 {
						t.Fatalf("%+v", h.sessions)
					}
					if got, want := strings.Join(h.messages, ", "), "0200 000001 true, 0210 000001 false, 0200 000002 true, 0210 000002 false, 0200 000003 true, 0210 000003 false"; got != want {
						t.Errorf("%s\nwant\n%s", got, want)
					}
					if s := h.sessions[0]; s.Client.Port() != 40001 || s.Server.Port() != 8583 {
						t.Errorf("client %s, server %s", s.Client, s.Server)
					}
				})
			}
		}
	}
}

// What a capture lacks costs the messages it was in, and no other.
func TestFollowGaps(t *testing.T) {
	d := Dialects()[0]
	ask, answer := func(n int) []byte { return message(t, d, 0x0200, n) }, func(n int) []byte { return message(t, d, 0x0210, n) }
	for _, row := range []struct {
		name     string
		play     func(p *tape)
		messages string
		troubles string
	}{
		{"begun in the middle of a message", func(p *tape) {
			p.send(0, ask(1)[20:])
			p.send(1, answer(1))
			p.send(0, ask(2))
			p.send(1, answer(2))
		}, "0210 000001 false, 0200 000002 true, 0210 000002 false", ""},
		{"begun with the end of a message that reads as the beginning of a long one", func(p *tape) {
			p.send(0, append([]byte{0x0F, 0x30}, ask(1)[30:]...))
			for n := 2; n <= 4; n++ {
				p.send(0, ask(n))
				p.send(1, answer(n))
			}
		}, "0200 000002 true, 0210 000002 false, 0200 000003 true, 0210 000003 false, 0200 000004 true, 0210 000004 false", ""},
		{"behind a gap the end of a message that reads as the beginning of a long one", func(p *tape) {
			p.open()
			p.send(0, ask(1))
			p.send(1, answer(1))
			p.lose(0, ask(2)[:30])
			p.send(0, append([]byte{0x0F, 0x30}, ask(2)[30:]...))
			p.at = p.at.Add(time.Second)
			for n := 3; n <= 4; n++ {
				p.send(1, answer(n-1))
				p.send(0, ask(n))
			}
		}, "0200 000001 true, 0210 000001 false, 0210 000002 false, 0200 000003 true, 0210 000003 false, 0200 000004 true", "lacks"},
		{"a length that is wrong", func(p *tape) {
			p.open()
			p.send(0, ask(1))
			p.send(0, append([]byte{0x0F, 0x30}, ask(2)[2:]...))
			p.send(0, ask(3))
			p.send(1, answer(3))
		}, "0200 000001 true, 0200 000003 true, 0210 000003 false", "of a message of 3890 bytes there are"},
		{"the ports again, farther on and farther back, begun before the capture", func(p *tape) {
			p.open()
			p.send(0, ask(1))
			p.send(1, answer(1))
			for n, seq := range []uint32{0x10000000, 0xE0000000, 0x70000000} {
				p.seq = [2]uint32{seq, seq + 0x40000000}
				p.send(0, ask(n+2))
				p.send(1, answer(n+2))
			}
		}, "0200 000001 true, 0210 000001 false, 0200 000002 true, 0210 000002 false, 0200 000003 true, 0210 000003 false, 0200 000004 true, 0210 000004 false", ""},
		{"the ports again behind a reset, begun before the capture", func(p *tape) {
			p.open()
			p.send(0, ask(1))
			p.segment(0, p.seq[0], layers.TCP{RST: true}, nil)
			p.send(1, answer(1)) // on its way
			p.seq = [2]uint32{0x10000000, 0x20000000}
			p.send(0, ask(2))
			p.send(1, answer(2))
		}, "0200 000001 true, 0200 000002 true, 0210 000002 false", ""},
		{"the ports again behind another protocol", func(p *tape) {
			p.open()
			p.send(0, []byte("\x16\x03\x01\x7F\xFFhello"))
			for range missesMax {
				p.send(1, []byte("\x16\x03\x01\x7F\xFFhello"))
			}
			p.seq = [2]uint32{0x10000000, 0x20000000}
			p.open()
			p.send(0, ask(2))
			p.send(1, answer(2))
		}, "0200 000002 true, 0210 000002 false", ""},
		{"a request is lacking", func(p *tape) {
			p.open()
			p.send(0, ask(1))
			p.send(1, answer(1))
			p.lose(0, ask(2))
			p.send(1, answer(2))
			p.send(0, ask(3))
			p.send(1, answer(3))
			p.at = p.at.Add(time.Second)
			p.send(0, ask(4))
			p.send(1, answer(4))
		}, "0200 000001 true, 0210 000001 false, 0210 000002 false, 0200 000003 true, 0210 000003 false, 0200 000004 true, 0210 000004 false", "lacks"},
		{"begun with one side's probes", func(p *tape) {
			for side := range 2 {
				p.segment(side, p.seq[side]-1, layers.TCP{ACK: true}, []byte{0})
			}
			p.send(0, ask(1))
			p.send(1, answer(1))
		}, "0200 000001 true, 0210 000001 false", ""},
		{"the ports again, of whose handshake the capture has the answer", func(p *tape) {
			p.open()
			p.send(0, ask(1))
			p.send(1, answer(1))
			p.segment(0, p.seq[0], layers.TCP{RST: true}, nil)
			p.seq = [2]uint32{50, 60}
			p.segment(1, p.seq[1]-1, layers.TCP{SYN: true, ACK: true}, nil)
			p.send(0, ask(2))
			p.send(1, answer(2))
		}, "0200 000001 true, 0210 000001 false, 0200 000002 true, 0210 000002 false", ""},
		{"keep-alives", func(p *tape) {
			p.open()
			p.send(1, []byte{0, 0})
			p.send(0, append([]byte{0, 0, 0, 0}, ask(1)...))
			p.send(1, append([]byte{0, 0}, answer(1)...))
			p.send(0, []byte{0})
			p.send(0, append([]byte{0}, ask(2)...))
		}, "0200 000001 true, 0210 000001 false, 0200 000002 true", ""},
		{"half of a request is lacking, to the end", func(p *tape) {
			p.open()
			p.send(0, ask(1)[:30])
			p.lose(0, ask(1)[30:])
			p.send(0, ask(2))
		}, "0200 000002 true", ""},
		{"repeated and out of order", func(p *tape) {
			p.open()
			whole := append(ask(1), ask(2)...)
			at := p.seq[0]
			p.segment(0, at+50, layers.TCP{ACK: true}, whole[50:])
			p.segment(0, at, layers.TCP{ACK: true}, whole[:40])
			p.segment(0, at, layers.TCP{ACK: true}, whole[:60])
			p.segment(0, at+10, layers.TCP{ACK: true}, whole[10:])
		}, "0200 000001 true, 0200 000002 true", ""},
		{"answers before their requests", func(p *tape) {
			p.open()
			for stan := 1; stan <= 3; stan++ {
				p.send(0, ask(stan))
				p.send(1, answer(stan))
				n := len(p.all)
				p.all[n-2], p.all[n-1] = p.all[n-1], p.all[n-2]
			}
		}, "0200 000001 true, 0210 000001 false, 0200 000002 true, 0210 000002 false, 0200 000003 true, 0210 000003 false", ""},
		{"in HTTP, which comes in pieces", func(p *tape) {
			p.open()
			for stan := 1; stan <= 2; stan++ {
				post := fmt.Appendf(nil, "POST /mjc/webtrans/VPB_lb HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(ask(stan)), ask(stan))
				p.send(0, post[:40])
				p.send(0, post[40:])
				p.send(1, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(answer(stan))))
				p.send(1, answer(stan))
			}
		}, "0200 000001 true, 0210 000001 false, 0200 000002 true, 0210 000002 false", ""},
		{"another protocol", func(p *tape) {
			p.open()
			for range 20 {
				p.send(0, []byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"))
				p.send(1, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			}
		}, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newTape(t, "ethernet", false)
			row.play(p)
			var h heard
			stats, err := Follow(bytes.NewReader(p.file()), Options{Dialects: Dialects()}, &h)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(h.messages, ", "); got != row.messages {
				t.Errorf("%s\nwant\n%s", got, row.messages)
			}
			if got := strings.Join(h.troubles, "; "); row.troubles != "" && !strings.Contains(got, row.troubles) {
				t.Errorf("troubles are %q", got)
			}
			if foreign := strings.HasSuffix(row.name, "another protocol"); (stats.Foreign == 1) != foreign {
				t.Errorf("%d sessions are another protocol's", stats.Foreign)
			}
		})
	}
}

// Fragments of IPv4 are counted, for what they hold is lost.
func TestFollowFragments(t *testing.T) {
	p := newTape(t, "raw", false)
	p.open()
	p.send(0, message(t, Dialects()[0], 0x0200, 1))
	p.send(1, message(t, Dialects()[0], 0x0210, 1))
	p.all[2][6] |= 0x20 // more follow
	var h heard
	if stats, err := Follow(bytes.NewReader(p.file()), Options{Dialects: Dialects()}, &h); err != nil || stats.Fragments != 1 || stats.Other != 1 {
		t.Errorf("%+v, %v", stats, err)
	}
}

// A file that is cut off is told to its last whole packet; the rest comes with
// the next file.
func TestFollowCut(t *testing.T) {
	d := Dialects()[0]
	p := newTape(t, "ethernet", false)
	p.open()
	p.send(0, message(t, d, 0x0200, 1))
	p.send(1, message(t, d, 0x0210, 1))
	file := p.file()
	var h heard
	_, err := Follow(bytes.NewReader(file[:len(file)-9]), Options{Dialects: Dialects()}, &h)
	if err == nil || err.Error() != "packet 4: is cut off" || len(h.messages) != 1 || h.closed != 1 {
		t.Errorf("%v, %v", h.messages, err)
	}
	first := p.all
	h = heard{}
	f := NewFollower(Options{Dialects: Dialects()}, &h)
	for _, part := range [][][]byte{first[:3], first[3:]} {
		p.all = part
		if err := f.Read(bytes.NewReader(p.file())); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Finish(); err != nil || len(h.messages) != 2 || len(h.sessions) != 1 {
		t.Errorf("%v, %d sessions, %v", h.messages, len(h.sessions), err)
	}
}

// A pcapng file is read gzipped, too, and a packet without a time has that of the
// one before.
func TestFollowSimplePackets(t *testing.T) {
	d := Dialects()[0]
	p := newTape(t, "ethernet", false)
	p.open()
	p.send(0, message(t, d, 0x0200, 1))
	var file bytes.Buffer
	z := gzip.NewWriter(&file)
	w, err := pcapgo.NewNgWriter(z, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range p.all[:2] {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.times[i], CaptureLength: len(data), Length: len(data)}, data); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	data := p.all[2]
	pad := make([]byte, -len(data)&3)
	size := uint32(16 + len(data) + len(pad))
	for _, part := range []any{uint32(3), size, uint32(len(data)), data, pad, size} {
		binary.Write(z, binary.LittleEndian, part)
	}
	z.Close()
	var h heard
	if _, err := Follow(&file, Options{Dialects: Dialects()}, &h); err != nil {
		t.Fatal(err)
	}
	if len(h.messages) != 1 || !h.sessions[0].End.Equal(p.times[1]) {
		t.Errorf("%v, %+v", h.messages, h.sessions)
	}
}

// The times of a pcapng file are in units of its interface, a power of ten or of two.
func TestFollowUnitsOfTime(t *testing.T) {
	p := newTape(t, "ethernet", false)
	p.open()
	p.send(0, message(t, Dialects()[0], 0x0200, 1))
	const fraction = 0.987654321
	for _, row := range []struct {
		unit   byte
		second float64 // in these units; 0: it is refused
	}{{6, 1e6}, {9, 1e9}, {12, 1e12}, {0x80 | 10, 1 << 10}, {0x80 | 20, 1 << 20}, {0x80 | 29, 1 << 29}, {0x80 | 30, 0}, {0x80 | 32, 0}} {
		var file bytes.Buffer
		put := func(parts ...any) {
			for _, part := range parts {
				binary.Write(&file, binary.LittleEndian, part)
			}
		}
		put(uint32(0x0A0D0D0A), uint32(28), uint32(0x1A2B3C4D), uint32(1), int64(-1), uint32(28))
		put(uint32(1), uint32(32), uint32(1), uint32(0), uint16(9), uint16(1), uint32(row.unit), uint32(0), uint32(32))
		for i, data := range p.all {
			at := uint64(float64(i+1) * row.second)
			at += uint64(fraction * row.second)
			pad := make([]byte, -len(data)&3)
			size := uint32(32 + len(data) + len(pad))
			put(uint32(6), size, uint32(0), uint32(at>>32), uint32(at), uint32(len(data)), uint32(len(data)), data, pad, size)
		}
		var h heard
		_, err := Follow(&file, Options{Dialects: Dialects()}, &h)
		if row.second == 0 {
			if err == nil || !strings.Contains(err.Error(), "packet 1: has its time in units of 2^-") {
				t.Errorf("unit %#x: %v", row.unit, err)
			}
			continue
		}
		if err != nil || len(h.sessions) != 1 {
			t.Fatalf("unit %#x: %d sessions, %v", row.unit, len(h.sessions), err)
		}
		want := time.Unix(1, fraction*1e9)
		if off := h.sessions[0].Start.Sub(want); off > 0 || off < -time.Duration(1e9/row.second)-time.Nanosecond {
			t.Errorf("unit %#x: %v, want %v", row.unit, h.sessions[0].Start, want)
		}
	}
}

// Packets that are no TCP over IP, or on a link that is not known, are counted.
func TestFollowCountsOthers(t *testing.T) {
	p := newTape(t, "ethernet", false)
	p.open()
	p.send(0, message(t, Dialects()[0], 0x0200, 1))
	p.link = "raw" // which Ethernet frames are not
	stats, err := Follow(bytes.NewReader(p.file()), Options{Dialects: Dialects()}, &heard{})
	if err != nil || stats.Other != 3 || stats.Packets != 3 {
		t.Errorf("%+v, %v", stats, err)
	}
}

// FuzzFollow holds the reader to an error or sessions that close: never a panic.
func FuzzFollow(f *testing.F) {
	d := Dialects()[0]
	p := newTape(f, "vlan", true)
	p.open()
	p.send(0, message(f, d, 0x0200, 1))
	p.lose(0, []byte("lost"))
	p.send(0, message(f, d, 0x0200, 2))
	f.Add(p.file())
	f.Add([]byte("\x0A\x0D\x0D\x0A\x00\x00\x00\x1c"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var h heard
		Follow(bytes.NewReader(file), Options{Dialects: Dialects()}, &h)
		if h.closed != len(h.sessions) {
			t.Errorf("%d sessions were opened, %d closed", len(h.sessions), h.closed)
		}
	})
}
